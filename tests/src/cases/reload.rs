//! Reload and renewed certificates while calls go on (R04, R05, TR-014, TR-015, TR-074).
//!
//! `TRUNKGATE_RELOAD_SECONDS` makes the long one longer: `make soak` sets it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lab::pki::{KeyKind, Leaf, Usage, Validity};
use rustix::process::Signal;

use crate::harness::gateway::{Gateway, binary};
use crate::harness::load::{Calls, Load};
use crate::harness::media::MediaEnd;
use crate::harness::place::{CARRIER_A, CARRIER_B, CARRIER_SIDE, EDGE, PROXY};
use crate::harness::scene::{Carrier, FQDN, Scene};
use crate::harness::talking::{CALLED, CALLER, Talking};
use crate::harness::tls;
use crate::harness::wire::SOON;

const TENANT: &str = "t001.sbc.test";
/// A file of a tenant that nobody calls.
const ANOTHER: &str = "[tenant]\nname = \"t002\"\nlabel = \"t002\"\ntrunks = [\"carrier-a\"]\nnumbers = [\"+15550020000-+15550029999\"]\n";

fn reloads(gateway: &Gateway, result: &str) -> u64 {
    gateway.figure(&format!("trunkgate_reloads_total{{result=\"{result}\"}}")) as u64
}

/// Sends SIGHUP and waits for what comes of it.
fn reload(gateway: &Gateway, result: &str) {
    let before = reloads(gateway, result);
    gateway.signal(Signal::HUP);
    gateway.until(result, || reloads(gateway, result) > before);
}

/// Whether a call to that number is taken, or what it is refused with.
fn tries(carrier: &Carrier, number: &str) -> u16 {
    let media = MediaEnd::new(carrier.ip(), 7300);
    let mut call = carrier.call(CALLER, number, &media.plain_sdp("sendrecv"));
    let status = call.final_response().msg.status();
    call.ack_failure();
    status
}

#[test]
fn r05_watch_takes_up_a_new_tenant_and_nothing_of_a_broken_file() {
    let mut scene = Scene::usual("r05_watch");
    scene.gateway_keys("watch = true");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    assert_eq!(tries(&carrier, "+15550020001"), 404);
    let file = scene.dir().join("tenants.d/t002.toml");
    let written = Instant::now();
    fs::write(&file, ANOTHER).unwrap();
    gateway.until("applied", || reloads(&gateway, "applied") == 1);
    assert!(written.elapsed() < Duration::from_secs(5), "{:?}", written.elapsed());
    let call = Talking::incoming(&teams, &carrier, "+15550020001");
    assert_eq!(call.invite.host_of("Contact"), "t002.sbc.test");
    call.carrier_hangs_up();
    gateway.until("told", || gateway.log().contains("reload change=tenant \"t002\": added"));

    fs::write(&file, ANOTHER.replace("[\"carrier-a\"]", "[\"carrier-x\"]")).unwrap();
    gateway.until("refused", || reloads(&gateway, "refused") == 1);
    gateway.until("told", || gateway.log().contains("nothing has changed"));
    let log = gateway.log();
    for part in ["\"carrier-x\"", "t002.toml:4", "help:", "reload refused: nothing has changed"] {
        assert!(log.contains(part), "{part} in {log}");
    }
    assert_eq!(gateway.figure("trunkgate_reload_ok"), 0.0);
    Talking::incoming(&teams, &carrier, "+15550020001").carrier_hangs_up();
    // The very same text again: nothing has changed, and that is good.
    fs::write(&file, ANOTHER).unwrap();
    gateway.until("unchanged", || reloads(&gateway, "unchanged") == 1);
    assert_eq!(gateway.figure("trunkgate_reload_ok"), 1.0);
}

#[test]
fn r05_a_call_outlives_its_tenant_and_no_new_one_begins() {
    let scene = Scene::usual("r05_removed");
    fs::create_dir_all(scene.dir().join("tenants.d")).unwrap();
    let file = scene.dir().join("tenants.d/t002.toml");
    fs::write(&file, ANOTHER).unwrap();
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, "+15550020001");
    fs::remove_file(&file).unwrap();
    reload(&gateway, "applied");
    assert_eq!(tries(&carrier, "+15550020001"), 404);
    call.talk();
    call.carrier_offers("sendonly", "recvonly");
    call.carrier_offers("sendrecv", "sendrecv");
    call.talk();
    call.teams_hangs_up();
    let records = gateway.wait_records(2);
    let record = records.iter().find(|record| record["cause"]["sip"] == 200).unwrap();
    assert_eq!(record["legs"][1]["tenant"], "t002");
}

#[test]
fn r05_what_takes_a_restart_refuses_the_whole_reload() {
    let mut scene = Scene::usual("r05_restart");
    let carrier = scene.carrier_udp(CARRIER_A);
    let gateway = scene.start();
    fs::write(scene.dir().join("tenants.d/t002.toml"), ANOTHER).unwrap();
    scene.ports("20000-20299").tables(
        "[[realm]]\nname = \"more\"\nlisten = [\"udp:127.0.0.1:5990\"]\nmedia = \"carrier\"",
    );
    scene.write();
    reload(&gateway, "refused");
    gateway.until("told", || gateway.log().contains("take these back or restart"));
    let log = gateway.log();
    for part in
        ["realm \"more\": added (needs a restart)", "media: teams: ", "take these back or restart"]
    {
        assert!(log.contains(part), "{part} in {log}");
    }
    assert!(!log.contains("tenant \"t002\""), "what would have been good is not told");
    assert_eq!(tries(&carrier, "+15550020001"), 404, "nothing of it holds");
}

#[test]
fn r05_a_storm_of_sighup_is_a_few_reloads() {
    let scene = Scene::usual("r05_storm");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let call = Talking::incoming(&teams, &carrier, CALLED);
    let begin = Instant::now();
    let mut sent = 0_u64;
    while begin.elapsed() < Duration::from_secs(2) {
        gateway.signal(Signal::HUP);
        sent += 1;
        thread::sleep(Duration::from_micros(500));
    }
    fs::write(scene.dir().join("tenants.d/t002.toml"), ANOTHER).unwrap();
    reload(&gateway, "applied");
    let done = reloads(&gateway, "unchanged");
    assert!(sent > 500 && done < sent / 2, "{done} reloads for {sent} signals");
    call.carrier_hangs_up();
    Talking::incoming(&teams, &carrier, "+15550020001").carrier_hangs_up();
}

/// What `openssl s_client` is shown at the edge: the SHA-256 fingerprint of the leaf.
fn shown(scene: &Scene) -> String {
    let pki = scene.dir().join("pki");
    let edge = scene.place.at(EDGE, 5061).to_string();
    let client = Command::new("openssl")
        .args(["s_client", "-connect", &edge, "-servername", FQDN, "-bind"])
        .arg(format!("{}:0", scene.place.ip(PROXY)))
        .arg("-cert")
        .arg(pki.join("teams.pem"))
        .arg("-key")
        .arg(pki.join("teams.key"))
        .stdin(Stdio::null())
        .output()
        .expect("openssl");
    fingerprint(&client.stdout)
}

fn fingerprint(pem: &[u8]) -> String {
    use std::io::Write as _;
    let mut x509 = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl");
    drop(x509.stdin.take().expect("piped").write_all(pem));
    String::from_utf8(x509.wait_with_output().expect("openssl").stdout).unwrap()
}

fn leaf_of(path: &Path) -> String {
    fingerprint(&fs::read(path).unwrap())
}

#[test]
fn tr_015_a_renewed_certificate_is_shown_within_five_seconds_and_cuts_no_call() {
    let mut scene = Scene::usual("tr_015");
    scene.gateway_keys("watch = true");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let certificate = scene.dir().join("pki/gateway.pem");
    let before = leaf_of(&certificate);
    assert_eq!(shown(&scene), before);
    let flow = teams.connect(TENANT);
    let mut inbound = Talking::incoming(&teams, &carrier, CALLED);
    let mut outbound = Talking::outgoing(&teams, &flow, TENANT, &carrier, "+442079460001");
    let ours = teams.inbox.flows().into_iter().find(|f| !f.same(&flow)).expect("one of ours");

    // A key that is not its own is refused, whole.
    let key = scene.dir().join("pki/gateway.key");
    let own = fs::read(&key).unwrap();
    let leaf = || Leaf::gateway(FQDN).key(KeyKind::EcdsaP256);
    let next = scene.pki.issue("next", &leaf()).unwrap();
    fs::copy(&next.key, &key).unwrap();
    gateway.until("refused", || reloads(&gateway, "refused") == 1);
    gateway.until("told", || gateway.log().contains("the key does not belong"));
    assert_eq!(shown(&scene), before);

    let renewed = Instant::now();
    fs::copy(&next.certificate, &certificate).unwrap();
    let after = leaf_of(&next.certificate);
    assert_ne!(after, before);
    while shown(&scene) != after {
        assert!(renewed.elapsed() < Duration::from_secs(5), "still the former one");
    }
    gateway.until("applied", || reloads(&gateway, "applied") == 1);
    gateway.until("told", || gateway.log().contains("reload: in force"));
    let log = gateway.log();
    assert!(log.contains("reload change=certificate \"") && log.contains("valid until"), "{log}");
    assert!(!log.contains(std::str::from_utf8(&own).unwrap().lines().nth(1).unwrap()), "a key");

    inbound.talk();
    outbound.talk();
    assert!(!flow.is_closed() && !ours.is_closed(), "calls are up on both");
    // New calls towards Teams go by a new connection, which shows the new certificate.
    Talking::incoming_from(&teams, &carrier, "+15550010002", 7400).carrier_hangs_up();
    let flows = teams.inbox.flows();
    let newest = flows.last().expect("a connection");
    assert!(!newest.same(&ours));
    assert_eq!(newest.tls().chain, tls::chain(&next.certificate));
    inbound.carrier_hangs_up();
    outbound.teams_hangs_up();
    let end = Instant::now() + Duration::from_secs(15);
    while !(flow.is_closed() && ours.is_closed()) {
        assert!(Instant::now() < end, "former connections stay though their calls are over");
        thread::sleep(Duration::from_millis(50));
    }
    gateway.until("none", || gateway.figure("trunkgate_retiring_connections") < 1.0);
    let flow = teams.connect(TENANT);
    Talking::outgoing(&teams, &flow, TENANT, &carrier, "+442079460001").teams_hangs_up();
}

/// TR-014: what a certificate of ours must be. `check` and a reload say the same, and name whom it concerns.
#[test]
fn tr_014_a_certificate_that_does_not_serve_is_refused_and_one_that_soon_will_not_is_told() {
    let mut scene = Scene::usual("tr_014");
    let leaf = || Leaf::gateway(FQDN).key(KeyKind::EcdsaP256);
    let own = scene.pki.issue("own", &leaf()).unwrap();
    scene.certificate(&own);
    let gateway = scene.start();
    let file = own.certificate.display().to_string();
    let days = format!("trunkgate_certificate_days_left{{file=\"{file}\"}}");
    gateway.until("the days", || gateway.get("/metrics").1.contains(&days));
    assert!(gateway.figure(&days) > 300.0);

    let other = Leaf::new([FQDN, "*.other.test"]).key(KeyKind::EcdsaP256);
    // A wildcard stands for one label.
    let shallow = Leaf::new([FQDN, "*.test"]).key(KeyKind::EcdsaP256);
    let cases = [
        (other, "tenant \"t001\": the certificate does not cover \"t001.sbc.test\""),
        (shallow, "tenant \"t001\": the certificate does not cover \"t001.sbc.test\""),
        (
            Leaf::new(["*.sbc.test"]).key(KeyKind::EcdsaP256),
            "edge \"default\": the certificate does not cover \"sbc.test\"",
        ),
        (leaf().usage(Usage::ClientOnly), "the certificate is not for servers"),
        (leaf().validity(Validity::Expired), "the certificate expired"),
        (leaf().validity(Validity::NotYet), "the certificate is not valid yet"),
    ];
    for (wrong, words) in cases {
        scene.pki.issue("own", &wrong).unwrap();
        reload(&gateway, "refused");
        gateway.until(words, || gateway.log().contains(words));
        let check = Command::new(binary())
            .args(["check", "--config"])
            .arg(scene.dir().join("gateway.toml"))
            .output()
            .unwrap();
        assert_eq!(check.status.code(), Some(78), "{words}");
    }
    scene.pki.issue("own", &leaf().validity(Validity::Days(29))).unwrap();
    reload(&gateway, "applied");
    gateway.until("the warning", || gateway.log().contains("the certificate expires in 2"));
    assert!((28.0..=29.0).contains(&gateway.figure(&days)));
}

/// AT-60: whatever is wrong in the files, they are refused with a line, and what holds goes on.
#[test]
fn at_60_bad_files_are_refused_with_their_line_and_a_call_goes_on() {
    let scene = Scene::usual("at_60");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = Talking::incoming(&teams, &carrier, CALLED);
    let file = scene.dir().join("tenants.d/t002.toml");
    let huge = format!("{ANOTHER}# {}\n", "x".repeat(10 << 20));
    let cases = [
        (huge, "larger than 4 MiB"),
        (format!("{ANOTHER}colour = \"red\"\n"), "`colour`"),
        (ANOTHER.replace("name = \"t002\"", "name = \"t001\""), "t001"),
        (ANOTHER.replace("label = \"t002\"", "label = \"t001\""), "t001.sbc.test"),
        (ANOTHER.replace("+15550020000-", "+15550019999-"), "+15550019999"),
        ("\0\u{1b}[2J".repeat(1000), "TOML"),
        (ANOTHER.replace("numbers", "numbers = [[[[\"+1\"]]]]\nx"), "numbers"),
    ];
    for (text, words) in cases {
        let before = gateway.log().len();
        fs::write(&file, text).unwrap();
        reload(&gateway, "refused");
        gateway.until("told", || gateway.log()[before..].contains("nothing has changed"));
        let log = gateway.log();
        let said = &log[before..];
        assert!(said.contains(words) && said.contains("t002.toml"), "{words} in {said}");
        assert!(!said.contains('\u{1b}'), "{said:?}");
        assert_eq!(tries(&carrier, "+15550020001"), 404, "{words}");
    }
    // A key that everyone can read is told; a link to it is as good as the file.
    let key = scene.dir().join("pki/gateway.key");
    let moved = scene.dir().join("pki/moved.key");
    fs::rename(&key, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &key).unwrap();
    fs::set_permissions(&moved, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&file, ANOTHER).unwrap();
    reload(&gateway, "applied");
    let words = "every user of this host can read the key";
    gateway.until(words, || gateway.log().contains(words));
    call.talk();
    call.carrier_hangs_up();
    Talking::incoming(&teams, &carrier, "+15550020001").carrier_hangs_up();
}

/// What one version of the configuration says: three things that show in one INVITE, and a tenant's file.
struct Version(u32);

impl Version {
    fn advertised(&self) -> u8 {
        200 + u8::try_from(self.0 % 3).unwrap()
    }

    fn callee(&self) -> u8 {
        120 + u8::try_from(self.0 % 3).unwrap()
    }

    fn country(&self) -> (&'static str, &'static str) {
        [("FR", "+33291234567"), ("DE", "+49291234567"), ("AU", "+61291234567")]
            [self.0 as usize % 3]
    }

    /// Writes it; every tenth has a fault, each time another.
    fn write(&self, scene: &mut Scene) {
        let Self(number) = *self;
        let advertise = scene.place.ip(self.advertised());
        let place = scene.place;
        scene.bare().carrier_keys(&format!("advertise = \"{advertise}\""));
        scene.trunk("load-a", "udp", CARRIER_A, "");
        scene.trunk(
            "load-b",
            "udp",
            CARRIER_B,
            "numbers = [\"+447700900000-+447700900099\"]\ninbound_trunks = [\"load-a\"]",
        );
        scene.trunk_text(&format!(
            "name = \"probe\"\npeers = [\"udp:{}:5060\"]\nnetworks = [\"{}/32\"]\ncountry = \"{}\"\ntrunks = [\"sink\"]",
            place.ip(60), place.ip(60), self.country().0
        ));
        scene.trunk_text(&format!(
            "name = \"sink\"\npeers = [\"udp:{}:5060\"]\nnetworks = [\"{}/32\"]",
            place.ip(self.callee()),
            place.ip(119)
        ));
        let numbers = format!("+1555{:07}-+1555{:07}", number * 100, number * 100 + 99);
        scene.tenant("t001", &["load-a"], &[&numbers], "");
        let name = format!("n{number}");
        scene.tenant(&name, &["load-a"], &[], "");
        let tenants = scene.dir().join("tenants.d");
        fs::remove_dir_all(&tenants).unwrap_or_default();
        let state = match (number % 10, number / 10 % 4) {
            (9, 0) => {
                scene.tenant(&name, &["nobody"], &[], "");
                "state"
            }
            (9, 1) => {
                scene.tenant(&name, &["load-a"], &["+44x"], "");
                "state"
            }
            (9, 2) => {
                scene.tables("[[trunk]\nname");
                "state"
            }
            // A restart would do.
            (9, _) => "elsewhere",
            _ => "state",
        };
        let path = scene.write();
        if state != "state" {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("state = \"state\"", "state = \"elsewhere\"")).unwrap();
        }
    }

    fn is_broken(&self) -> bool {
        self.0 % 10 == 9
    }
}

/// Reload each second at 20 calls/s, every tenth file broken: no call fails, no INVITE shows anything but one whole
/// version.
#[test]
fn r04_r05_reload_each_second_under_load_loses_nothing_and_mixes_nothing() {
    let seconds: u32 = match std::env::var("TRUNKGATE_RELOAD_SECONDS") {
        Ok(text) => text.parse().expect("seconds"),
        Err(_) => 12,
    };
    let mut scene = Scene::within("r04_r05", Duration::from_secs(u64::from(seconds) + 60));
    scene.ports("20000-21199");
    let mut version = Version(0);
    version.write(&mut scene);
    let mut gateway = scene.start();
    let sinks: Vec<Carrier> = (120..123).map(|host| scene.carrier_udp(host)).collect();
    let probe = scene.carrier_udp(60);
    let _callee = Load::callee(scene.dir(), scene.place.at(CARRIER_B, 5060));
    let calls = Calls {
        to: scene.place.at(CARRIER_SIDE, 5060),
        number: "+447700900001",
        rate: 20,
        count: 20 * seconds,
        hold: Duration::from_millis(1500),
    };
    thread::sleep(Duration::from_millis(500));
    let mut load = Load::caller(scene.dir(), scene.place.at(CARRIER_A, 5060), &calls);
    let begin = Instant::now();
    let (mut applied, mut refused, mut probes) = (0, 0, 0_u32);
    let mut whole = [0_u32; 3];
    while load.goes_on() {
        let next = begin + Duration::from_secs(u64::from(version.0) + 1);
        // Probes before, during and after the reload of this second.
        while Instant::now() < next && load.goes_on() {
            whole[probe_once(&scene, &probe, &sinks) as usize] += 1;
            probes += 1;
            thread::sleep(Duration::from_millis(40));
        }
        version = Version(version.0 + 1);
        version.write(&mut scene);
        gateway.signal(Signal::HUP);
        let (result, count) = if version.is_broken() {
            refused += 1;
            ("refused", refused)
        } else {
            applied += 1;
            ("applied", applied)
        };
        while reloads(&gateway, result) < count {
            whole[probe_once(&scene, &probe, &sinks) as usize] += 1;
            probes += 1;
            assert!(begin.elapsed() < Duration::from_secs(u64::from(seconds) + 30), "{result}");
        }
    }
    load.finish(Duration::from_secs(20));
    assert!(gateway.is_running());
    let records = gateway.wait_records((calls.count + probes) as usize);
    let good = records.iter().filter(|record| record["cause"]["sip"] == 200).count();
    assert_eq!(good, calls.count as usize, "calls of the load with a normal end");
    assert_eq!(records.len(), (calls.count + probes) as usize);
    assert!(applied >= u64::from(seconds) * 7 / 10, "{applied} reloads in {seconds} s");
    assert!(refused >= (u64::from(seconds) / 10).saturating_sub(1).max(1), "{refused} broken ones");
    assert!(whole.iter().all(|count| *count > 0), "{whole:?}");
    assert_eq!(reloads(&gateway, "refused"), refused, "no other refusal");
    println!(
        "{seconds} s: {applied} reloads in force, {refused} refused, {} calls, {probes} probes, 0 failed, 0 mixed",
        calls.count
    );
}

/// One call whose INVITE shows three keys of the configuration: they must be of one version. Which of the three.
fn probe_once(scene: &Scene, probe: &Carrier, sinks: &[Carrier]) -> u32 {
    let media = MediaEnd::new(probe.ip(), 7300);
    let mut call = probe.call(CALLER, "0291234567", &media.plain_sdp("sendrecv"));
    let end = Instant::now() + SOON;
    let (at, received) = loop {
        let found = sinks.iter().enumerate().find_map(|(at, sink)| {
            let invite = sink.inbox.find(Duration::from_millis(1), |r| {
                r.msg.is_request() && r.msg.method() == "INVITE" && r.msg.to_tag().is_none()
            })?;
            Some((u32::try_from(at).unwrap(), invite))
        });
        if let Some(found) = found {
            break found;
        }
        assert!(Instant::now() < end, "no INVITE for the probe: {}", probe.inbox.transcript());
    };
    let version = Version(at);
    let contact = received.msg.host_of("Contact");
    assert_eq!(contact, scene.place.ip(version.advertised()).to_string(), "{}", received.msg);
    let uri = received.msg.uri().to_owned();
    assert!(
        uri.starts_with(&format!("sip:{}", version.country().1)),
        "{uri} to the callee of {at}"
    );
    let answering =
        crate::harness::dialog::Dialog::answering(&sinks[at as usize].persona, &received);
    answering.is_busy(&received, &mut call);
    at
}
