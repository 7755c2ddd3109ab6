//! Music on hold, by ends that are not ours: whoever is held hears it, is told nothing, and hears the other side again.

use std::f64::consts::TAU;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lab::media::{Law, loudest};
use rustix::process::Signal;

use crate::harness::gateway::Gateway;
use crate::harness::media::{MediaEnd, Rtp};
use crate::harness::place::{CARRIER_A, CARRIER_SIDE};
use crate::harness::scene::Scene;
use crate::harness::sip::Msg;
use crate::harness::stage::Stage;
use crate::harness::talking::{CALLED, Talking};

const TENANT: &str = "t001.sbc.test";
const HERTZ: u32 = 1000;
const FILE: &str = "music/hold.wav";

/// Just over a second of one tone, with two channels of 44.1 kHz and 16 bits.
fn write_music(dir: &Path, hertz: u32) {
    write_tone(dir, 44_100, 44_100 + 441, hertz, 0);
}

/// So many samples of one tone in two channels of 16 bits, and seconds of silence that take no place on the disk.
fn write_tone(dir: &Path, rate: u32, sounding: u32, hertz: u32, seconds: u32) {
    let frames = sounding.max(rate * seconds);
    let mut file = Vec::new();
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + frames * 4).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    for word in [16_u32, 0x0002_0001, rate, rate * 4, 0x0010_0004] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(b"data");
    file.extend_from_slice(&(frames * 4).to_le_bytes());
    for n in 0..sounding {
        let wave = (TAU * f64::from(hertz) * f64::from(n) / f64::from(rate)).sin() * 9000.0;
        for _ in 0..2 {
            file.extend_from_slice(&(wave as i16).to_le_bytes());
        }
    }
    fs::create_dir_all(dir.join("music")).unwrap();
    fs::write(dir.join(FILE), file).unwrap();
    let file = fs::File::options().write(true).open(dir.join(FILE)).unwrap();
    file.set_len((44 + frames * 4).into()).unwrap();
}

/// A tenant and its trunk, one of which names the file.
fn scene(test: &str, trunk: &str, tenant: &str) -> Scene {
    let mut scene = Scene::new(test);
    write_music(scene.dir(), HERTZ);
    scene.trunk("carrier-a", "udp", CARRIER_A, trunk).tenant(
        "t001",
        &["carrier-a"],
        &["+15550010000-+15550019999"],
        tenant,
    );
    scene
}

/// A gateway that has read its music: it is ready before.
fn start(scene: &Scene) -> Gateway {
    let gateway = scene.start();
    gateway.healthy();
    gateway.until("music", || gateway.log().contains("music: read"));
    gateway
}

/// What the trunk hears for so long, while it speaks itself; that is heard nowhere.
fn listen(held: &mut MediaEnd, holder: &mut MediaEnd, time: Duration) -> Vec<Rtp> {
    drop((held.hear(), holder.hear()));
    let (mut heard, end) = (Vec::new(), Instant::now() + time);
    while Instant::now() < end {
        held.speak();
        thread::sleep(Duration::from_millis(20));
        heard.extend(held.hear());
    }
    assert!(holder.hear().is_empty(), "who is held is not heard");
    heard
}

/// One stream of G.711 every 20 ms, with nothing in it but the tone.
fn is_music(heard: &[Rtp], time: Duration, hertz: u32) {
    let expected = time.as_millis() as usize / 20;
    assert!(heard.len().abs_diff(expected) <= 5, "{} packets in {time:?}", heard.len());
    for pair in heard.windows(2) {
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160));
    }
    let law = |kind: u8| if kind == 8 { Law::A } else { Law::Mu };
    let samples: Vec<i16> = heard
        .iter()
        .flat_map(|packet| packet.payload.iter().map(|byte| law(packet.payload_type).decode(*byte)))
        .collect();
    assert!(heard.iter().all(|packet| matches!(packet.payload_type, 0 | 8)));
    // Over each beginning of the file but the seam itself.
    for (n, part) in samples.chunks_exact(2000).enumerate() {
        let second = n % 4 == 0 && n > 0;
        assert!(loudest(part) == Some(hertz) || second, "part {n}: {:?}", loudest(part));
    }
}

/// Re-INVITE of Teams that nobody else is asked about.
fn teams_offers(call: &mut Talking, direction: &str) -> Msg {
    let mux = if call.teams_media.mux { "a=rtcp-mux\r\n" } else { "" };
    let sdp = call.teams_media.secure_sdp(&[&call.own], direction, mux);
    call.teams.send("INVITE", "", &sdp);
    let done = call.teams.response(200);
    call.teams.ack();
    done.msg
}

/// Teams understands `inactive` alone (TR-051); the trunk is told nothing and hears music, whoever called.
#[test]
fn tr_051_teams_holds_and_the_trunk_hears_music_without_a_re_invite() {
    let key = format!("hold_music = \"{FILE}\"");
    // Paths are relative to the file that names them.
    let of_tenant = format!("hold_music = \"../{FILE}\"");
    for (test, trunk, tenant) in [("music_trunk", &*key, ""), ("music_tenant", "", &*of_tenant)] {
        let scene = scene(test, trunk, tenant);
        let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
        let gateway = start(&scene);
        let flow = teams.connect(TENANT);
        for incoming in [true, false] {
            let mut call = Talking::either(incoming, &teams, &flow, &carrier);
            call.talk();
            call.carrier_media.speak();
            let time = Duration::from_secs(2);
            for _ in 0..2 {
                let held = teams_offers(&mut call, "inactive");
                assert_eq!(held.direction(), "inactive", "{held}");
                let heard = listen(&mut call.carrier_media, &mut call.teams_media, time);
                is_music(&heard[2..], time, HERTZ);
                let back = teams_offers(&mut call, "sendrecv");
                assert_eq!(back.direction(), "sendrecv", "{back}");
                thread::sleep(Duration::from_millis(50));
                call.talk();
            }
            carrier.inbox.nothing("a re-INVITE", |r| {
                r.msg.is_request() && r.msg.method() == "INVITE" && r.msg.to_tag().is_some()
            });
            call.carrier_hangs_up();
        }
        gateway.wait_records(2);
        let played = gateway.count("trunkgate_media_played_packets_total");
        assert!((380.0..500.0).contains(&played), "{played}");
    }
}

/// TR-050: a trunk's hold, where the tenant has music for its users; Teams stays sendrecv and hears it as SRTP.
#[test]
fn tr_050_a_trunk_holds_and_teams_hears_music_without_a_re_invite() {
    let scene = scene("music_teams", "", &format!("hold_music = \"../{FILE}\""));
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let _gateway = start(&scene);
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    call.talk();
    for direction in ["sendonly", "inactive"] {
        let sdp = call.carrier_media.plain_sdp(direction);
        call.carrier.send("INVITE", "", &sdp);
        call.carrier.response(200);
        call.carrier.ack();
        let time = Duration::from_secs(2);
        let heard = listen(&mut call.teams_media, &mut call.carrier_media, time);
        is_music(&heard[2..], time, HERTZ);
        let sdp = call.carrier_media.plain_sdp("sendrecv");
        call.carrier.send("INVITE", "", &sdp);
        call.carrier.response(200);
        call.carrier.ack();
        thread::sleep(Duration::from_millis(50));
        call.talk();
    }
    teams.inbox.nothing("a re-INVITE", |r| {
        r.msg.is_request() && r.msg.method() == "INVITE" && r.msg.to_tag().is_some()
    });
    call.carrier_hangs_up();
}

/// The process dies while it plays: the next one goes on, as the same source, and knows what to come back to.
#[test]
fn r01_music_survives_kill_9() {
    let scene = scene("music_kill_9", &format!("hold_music = \"{FILE}\""), "");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let mut gateway = start(&scene);
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    call.talk();
    teams_offers(&mut call, "inactive");
    let time = Duration::from_millis(1500);
    let before = listen(&mut call.carrier_media, &mut call.teams_media, time);
    is_music(&before[2..], time, HERTZ);
    gateway.signal(Signal::KILL);
    gateway.wait(Duration::from_secs(5));
    drop(gateway);
    let _gateway = start(&scene);
    let after = listen(&mut call.carrier_media, &mut call.teams_media, time);
    is_music(&after[2..], time, HERTZ);
    let (last, next) = (before.last().unwrap(), after.first().unwrap());
    assert_eq!(next.ssrc, last.ssrc, "the same source");
    let ahead = next.sequence.wrapping_sub(last.sequence);
    assert!((1..2000).contains(&ahead), "{ahead}");
    call.teams.flow = teams.connect(TENANT);
    let back = teams_offers(&mut call, "sendrecv");
    assert_eq!(back.direction(), "sendrecv", "{back}");
    thread::sleep(Duration::from_millis(50));
    drop((call.carrier_media.hear(), call.teams_media.hear()));
    call.talk();
    call.carrier_hangs_up();
}

/// Ten minutes of 48 kHz in two channels take longer to read than a start may take: calls go on before, and who is
/// held hears it as soon as it is there.
#[test]
fn r01_a_start_waits_for_no_music() {
    let scene = scene("music_long", &format!("hold_music = \"{FILE}\""), "");
    write_tone(scene.dir(), 48_000, 48_000, HERTZ, 600);
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let mut gateway = start(&scene);
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    call.talk();
    teams_offers(&mut call, "inactive");
    let time = Duration::from_millis(500);
    let heard = listen(&mut call.carrier_media, &mut call.teams_media, time);
    is_music(&heard[2..], time, HERTZ);
    gateway.signal(Signal::KILL);
    gateway.wait(Duration::from_secs(5));
    drop(gateway);
    let began = Instant::now();
    let gateway = scene.start();
    let (took, starved) = (began.elapsed(), gateway.starved());
    gateway.until("music", || gateway.log().contains("music: read"));
    let late = began.elapsed();
    println!("ready in {took:?}, of which {starved:?} without a CPU; music in {late:?}");
    assert!(took.saturating_sub(starved) <= Duration::from_secs(1), "{took:?} {starved:?}");
    let heard = listen(&mut call.carrier_media, &mut call.teams_media, time);
    is_music(&heard[2..], time, HERTZ);
    call.teams.flow = teams.connect(TENANT);
    call.teams_hangs_up();
}

/// A reload with another file: running calls keep what they began with, the next one gets the new one. A bad file is
/// refused with its place, and nothing changes.
#[test]
fn a_reload_changes_the_music_of_new_calls() {
    let scene = scene("music_reload", &format!("hold_music = \"{FILE}\""), "");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = start(&scene);
    let mut call = Talking::incoming_from(&teams, &carrier, CALLED, 7000);
    teams_offers(&mut call, "inactive");
    write_music(scene.dir(), 600);
    gateway.signal(Signal::HUP);
    gateway.until("another piece", || gateway.log().contains("reload: in force"));
    assert!(gateway.log().contains("hold.wav"), "{}", gateway.log());
    let time = Duration::from_secs(1);
    let heard = listen(&mut call.carrier_media, &mut call.teams_media, time);
    is_music(&heard[2..], time, HERTZ);
    fs::write(scene.dir().join(FILE), "an MP3, perhaps").unwrap();
    gateway.signal(Signal::HUP);
    gateway.until("it is refused", || gateway.log().contains("cannot be played"));
    gateway.until("with what to do", || gateway.log().contains("Save it as WAV"));
    let mut next = Talking::incoming_from(&teams, &carrier, CALLED, 7010);
    teams_offers(&mut next, "inactive");
    let heard = listen(&mut next.carrier_media, &mut next.teams_media, time);
    is_music(&heard[2..], time, 600);
    next.carrier_hangs_up();
    call.carrier_hangs_up();
}

/// PJSIP on both sides. What the one that is held has recorded is noise, then the tone, then noise again.
#[test]
fn pjsip_is_held_and_records_the_music() {
    let mut stage = Stage::with("pjsip_music", "udp", |scene| {
        write_music(scene.dir(), HERTZ);
        format!("hold_music = \"{FILE}\"")
    });
    let mut carrier = stage.pjsip_as_carrier();
    carrier.call(&format!("sip:{CALLED}@{}", stage.scene.place.at(CARRIER_SIDE, 5060)));
    carrier.state("CONFIRMED");
    stage.teams.state("CONFIRMED");
    carrier.hears(50);
    stage.teams.hears(50);
    stage.teams.hold("first", "sendonly");
    carrier.hears(250);
    assert!(!carrier.messages().iter().any(is_offer), "it is not asked");
    stage.teams.resume("first");
    stage.teams.hears(20);
    carrier.hears(300);
    stage.teams.hang_up();
    carrier.state("DISCONNECTED");
    stage.teams.state("DISCONNECTED");
    let recorded = stage.scene.dir().join("carrier.wav");
    // When it is back, PJSIP offers the codec in use alone, which is the carrier's business too.
    let mut offers = carrier.finish().into_iter().filter(is_offer);
    assert!(offers.all(|(_, msg)| msg.direction() == "sendrecv"));
    let parts = tones(&fs::read(recorded).unwrap());
    let is_tone = |part: &Option<u32>| part.is_some_and(|hertz| hertz.abs_diff(HERTZ) <= 10);
    let first = parts.iter().position(is_tone).expect("music");
    let last = parts.iter().rposition(is_tone).expect("music");
    let music = parts.iter().filter(|part| is_tone(part)).count();
    println!(
        "quarters of seconds: {first} of noise, {music} of music, {} after",
        parts.len() - last
    );
    assert!((12..=20).contains(&music), "{parts:?}");
    assert!(first >= 2 && parts.len() - last > 2, "{parts:?}");
    assert!(last - first + 1 - music <= 5, "it is not broken but at its seams: {parts:?}");
    stage.end(1);
}

/// An INVITE that PJSIP received.
fn is_offer((received, msg): &(bool, Msg)) -> bool {
    *received && msg.is_request() && msg.method() == "INVITE"
}

/// The loudest tone in each quarter of a second of a mono 16-bit WAV file.
fn tones(file: &[u8]) -> Vec<Option<u32>> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let step = word(24) as usize / 8000;
    let data = file.windows(4).position(|bytes| bytes == b"data").unwrap() + 8;
    let sample = |bytes: &[u8]| i16::from_le_bytes([bytes[0], bytes[1]]);
    let samples: Vec<i16> = file[data..].chunks_exact(2 * step).map(sample).collect();
    samples.chunks_exact(2000).map(loudest).collect()
}
