//! Media that come from another peer than before, and go there, while PJSIP is the other end of the call: transfers in
//! mid call (TR-044), forks before the answer (TR-027). Each packet is judged from the wire: PJSIP is sent what the present
//! peer says and nothing else, in one stream; the present peer hears all that PJSIP says, and the former ones nothing.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::capture::{Capture, heard_on_the_wire};
use crate::harness::dialog::Dialog;
use crate::harness::gateway::Gateway;
use crate::harness::media::{CM_80, Crypto, MediaEnd, Rtp};
use crate::harness::peer::Pjsip;
use crate::harness::place::{CARRIER_A, CARRIER_B, CARRIER_SIDE, PROXY};
use crate::harness::scene::{Carrier, Scene};
use crate::harness::sip::Msg;
use crate::harness::stage::{CALLED, HOTLINE, Stage, pjsip_as_carrier};
use crate::harness::talking::{CALLER, answer_to};

/// Packets that may be missing where one peer takes the place of another, and at the end.
const CROSSING: usize = 2;

/// How the media are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// A re-INVITE names the new address.
    Offer,
    /// A re-INVITE asks for an offer, and its ACK names the new address (RFC 3264 §5, as in third-party call control).
    Late,
    /// The call is put on hold first, and resumed at the new address.
    Held,
    /// The new peer speaks another codec.
    Codec,
}

/// The present peer and the former ones, and all that was said and heard.
struct Voices {
    present: MediaEnd,
    former: Vec<Former>,
    said: Vec<Rtp>,
    heard: Vec<Rtp>,
    /// Of the former ones.
    strays: u64,
}

struct Former {
    media: MediaEnd,
    reports: usize,
}

impl Voices {
    fn new(present: MediaEnd) -> Self {
        Self { present, former: vec![], said: vec![], heard: vec![], strays: 0 }
    }

    /// The present one talks with PJSIP; the former ones speak beside it, as if nobody had told them.
    fn talk(&mut self, packets: usize) {
        for n in 0..packets {
            let due = Instant::now() + Duration::from_millis(20);
            self.said.push(self.present.speak());
            if n >= 2 {
                for former in &mut self.former {
                    former.media.speak();
                    self.strays += 1;
                }
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.listen();
        }
    }

    fn listen(&mut self) {
        self.heard.extend(self.present.hear());
        assert_eq!(self.present.undecryptable, 0);
    }

    /// Another one takes the place of the present one, which hears nothing from now on but what is under way.
    fn replace(&mut self, next: MediaEnd) {
        thread::sleep(Duration::from_millis(40));
        self.listen();
        let media = std::mem::replace(&mut self.present, next);
        self.former.push(Former { reports: media.reports.len(), media });
    }

    fn former_ones_are_left_alone(&mut self) {
        for (n, Former { media, reports }) in self.former.iter_mut().enumerate() {
            assert_eq!(media.hear(), [], "former peer {n} was sent media");
            assert_eq!(
                (media.reports.len(), media.undecryptable),
                (*reports, 0),
                "former peer {n}"
            );
        }
    }

    /// `sent` is what PJSIP was sent on the wire, `came` what came from it. Where it is encrypted we are `one_source`; in
    /// clear each peer keeps its own.
    fn judge(&self, sent: &[Rtp], came: &[Rtp], one_source: bool) {
        let missing = [in_order("PJSIP was sent", &self.said, sent), {
            in_order("the peers were sent", came, &self.heard)
        }];
        println!(
            "{} said, {} heard by {} peers, {missing:?} not; {} strays of former ones",
            self.said.len(),
            self.heard.len(),
            self.former.len() + 1,
            self.strays
        );
        let most = CROSSING * (self.former.len() + 1);
        assert!(missing.iter().all(|missing| *missing <= most), "{missing:?} missing");
        for pair in sent.windows(2) {
            if !one_source && pair[1].ssrc != pair[0].ssrc {
                continue;
            }
            assert_eq!(pair[1].ssrc, pair[0].ssrc, "another source");
            assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
            let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
            assert!((1..=8000 * 8).contains(&step), "timestamps: {step}");
        }
    }
}

/// Everything that came out went in, in that order; how many did not come out.
fn in_order(what: &str, went_in: &[Rtp], came_out: &[Rtp]) -> usize {
    let mut rest = went_in.iter();
    for (n, packet) in came_out.iter().enumerate() {
        let found = rest.any(|said| {
            (said.payload_type, &said.payload) == (packet.payload_type, &packet.payload)
        });
        assert!(found, "{what} a packet that nobody said then: {n} of {}", came_out.len());
    }
    went_in.len() - came_out.len()
}

/// One codec of speech, PCMU or PCMA: of several PJSIP would choose one by another offer.
fn one_codec(payload_type: u8, sdp: &str) -> String {
    let other = if payload_type == 0 { "8 PCMA" } else { "0 PCMU" };
    let formats = format!(" {payload_type} 101\r\n");
    sdp.replace(" 0 8 101\r\n", &formats).replace(&format!("a=rtpmap:{other}/8000\r\n"), "")
}

/// Of the present stream: as many packets as were said, about, and none lost.
fn hears_well(pjsip: &mut Pjsip, at_least: u64) {
    let stats = pjsip.stats();
    assert!(stats["rx"].as_u64() >= Some(at_least), "{stats}");
    assert_eq!(stats["lost"], 0, "{stats}");
}

fn is_offer(msg: &Msg) -> bool {
    msg.is_request() && msg.method() == "INVITE"
}

/// Former peers knock at a socket that is closed to them, but for a moment. Nothing of the present one or of PJSIP was
/// refused.
fn hardly_anything_was_refused(gateway: &Gateway) {
    let record = &gateway.wait_records(1)[0];
    let media = record["media"].as_array().expect("media");
    let count = |key: &str| media.iter().map(|way| way[key].as_u64().expect(key)).sum::<u64>();
    assert!(count("refused") + count("foreign") < 20, "{record}");
}

/// The carrier's end of a call with PJSIP at Teams; its B2BUA moves the media again and again.
struct TrunkSide {
    secure: bool,
    dialog: Dialog,
    voices: Voices,
    /// Under which the gateway sends, where the trunk is encrypted.
    theirs: Option<Crypto>,
    /// Our place for its media.
    ours: std::net::SocketAddr,
}

impl TrunkSide {
    fn begin(stage: &mut Stage, carrier: &Carrier, secure: bool, incoming: bool) -> Self {
        let mut media = MediaEnd::new(carrier.ip(), 7000);
        let own = Crypto::fresh(1, CM_80);
        let describe = |media: &MediaEnd| {
            if secure {
                one_codec(0, &media.secure_sdp(&[&own], "sendrecv", ""))
            } else {
                one_codec(0, &media.plain_sdp("sendrecv"))
            }
        };
        let (dialog, described) = if incoming {
            let mut caller = carrier.call(CALLER, CALLED, &describe(&media));
            let answer = caller.response(200);
            caller.ack();
            (caller, answer.msg)
        } else {
            stage.teams.call(&format!("sip:{HOTLINE}@t001.sbc.test:5061;user=phone;transport=tls"));
            let (invite, callee) = carrier.invited();
            callee.reply(&invite, "200 OK", "", &describe(&media));
            callee.take("ACK");
            (callee, invite.msg)
        };
        stage.teams.state("CONFIRMED");
        media.towards(&described);
        let theirs = secure.then(|| Crypto::of(&described));
        if let Some(theirs) = &theirs {
            media.secure(&own, theirs);
        }
        let ours = described.media();
        Self { secure, dialog, voices: Voices::new(media), theirs, ours }
    }

    /// A new peer at another host or port, with a source, numbers and a key of its own.
    fn next(&self, carrier: &Carrier) -> (MediaEnd, String) {
        let n = self.voices.former.len() as u16;
        let host = if n.is_multiple_of(2) { carrier.place.ip(CARRIER_B) } else { carrier.ip() };
        let mut next = MediaEnd::new(host, 7400 + 10 * n);
        next.sequence = 65_533_u16.wrapping_add(n.wrapping_mul(20_011));
        next.remote = Some(self.ours);
        let Some(theirs) = &self.theirs else {
            let sdp = next.plain_sdp("sendrecv");
            return (next, sdp);
        };
        let own = Crypto::fresh(theirs.tag, &theirs.suite);
        next.secure(&own, theirs);
        let sdp = next.secure_sdp(&[&own], "sendrecv", "");
        (next, sdp)
    }

    fn transfer(&mut self, how: Move, carrier: &Carrier) {
        let (mut next, sdp) = self.next(carrier);
        let present = &self.voices.present;
        if how == Move::Held {
            let held = if self.secure {
                present.own_sdp("inactive")
            } else {
                present.plain_sdp("inactive")
            };
            let answer = self.dialog.ask("INVITE", "", &one_codec(0, &held)).msg;
            self.dialog.ack();
            assert_eq!(answer.direction(), "inactive", "{answer}");
        }
        if how == Move::Codec {
            next.payload_type = 8;
        }
        let sdp = one_codec(next.payload_type, &sdp);
        let asked = if how == Move::Late { "" } else { &sdp };
        let answer = self.dialog.ask("INVITE", "", asked).msg;
        if how == Move::Late {
            self.dialog.ack_with(&sdp)
        } else {
            self.dialog.ack()
        }
        assert_eq!((answer.status(), answer.direction()), (200, "sendrecv"), "{answer}");
        assert_eq!(answer.media(), self.ours, "our place stays");
        if let Some(theirs) = &self.theirs {
            assert_eq!(Crypto::of(&answer).key, theirs.key, "our key stays");
        }
        self.voices.replace(next);
    }
}

/// A carrier's B2BUA connects its side of the call to others, in each of the ways there are; PJSIP is Teams.
fn the_trunk_moves_its_media(secure: bool, incoming: bool) {
    let mut scene = Scene::within("transfer_trunk", Duration::from_secs(90));
    if secure {
        let address = scene.place.ip(CARRIER_A);
        scene.host("secure.carrier.test", CARRIER_A).trunk_text(&format!(
            "name = \"carrier-a\"\npeers = [\"tls:secure.carrier.test:5061\"]\nnetworks = [\"{address}/32\"]"
        ));
    } else {
        scene.trunk("carrier-a", "udp", CARRIER_A, "");
    }
    let mut stage = Stage::around(scene, "udp");
    let carrier = if secure {
        stage.scene.carrier_tls(CARRIER_A, "secure.carrier.test")
    } else {
        stage.scene.carrier_udp(CARRIER_A)
    };
    let mut trunk = TrunkSide::begin(&mut stage, &carrier, secure, incoming);
    trunk.voices.talk(60);
    hears_well(&mut stage.teams, 50);
    for how in [Move::Offer, Move::Late, Move::Held, Move::Offer, Move::Codec] {
        trunk.transfer(how, &carrier);
        let before = stage.teams.heard();
        trunk.voices.talk(60);
        hears_well(&mut stage.teams, before + 50);
        trunk.voices.former_ones_are_left_alone();
    }
    // Beyond the time in which a latch forgets, and a report is due.
    trunk.voices.talk(300);
    trunk.voices.former_ones_are_left_alone();
    assert!(!trunk.voices.present.reports.is_empty(), "reports go to the present peer");
    trunk.dialog.hang_up();
    stage.teams.state("DISCONNECTED");
    hardly_anything_was_refused(&stage.gateway);
    let messages = stage.teams.messages();
    // For a hold, its end, and another codec: who moves is not its business.
    let asked = messages.iter().filter(|(received, msg)| *received && is_offer(msg)).count();
    assert_eq!(asked, usize::from(incoming) + 3);
    let evidence = if secure { stage.end_encrypted(1) } else { stage.end(1) };
    let [sent, came] = evidence.heard_and_said_by_teams();
    trunk.voices.judge(&sent, &came, true);
}

#[test]
fn tr_044_a_plain_trunk_moves_its_media_to_new_peers_and_pjsip_hears_them() {
    the_trunk_moves_its_media(false, true);
    the_trunk_moves_its_media(false, false);
}

#[test]
fn tr_044_an_encrypted_trunk_moves_its_media_to_new_peers_and_pjsip_hears_them() {
    the_trunk_moves_its_media(true, true);
    the_trunk_moves_its_media(true, false);
}

/// PJSIP is the trunk. Teams moves its media to another processor, with another key, at once or by way of a hold.
#[test]
fn tr_043_tr_044_teams_moves_its_media_to_new_peers_and_pjsip_hears_them() {
    for incoming in [true, false] {
        let scene = Scene::usual("transfer_teams");
        let teams = scene.teams();
        let mut pjsip = pjsip_as_carrier(&scene, "udp");
        let capture = Capture::start(scene.dir(), scene.place);
        let gateway = scene.start();
        gateway.healthy();
        let mut media = MediaEnd::new(scene.place.ip(PROXY), 7000);
        let (mut dialog, described, theirs) = if incoming {
            pjsip.call(&format!("sip:{CALLED}@{}", scene.place.at(CARRIER_SIDE, 5060)));
            let (invite, callee) = teams.invited();
            let (sdp, _, theirs) = answer_to(&mut media, &invite.msg);
            callee.reply(&invite, "200 OK", "", &one_codec(0, &sdp));
            callee.take("ACK");
            (callee, invite.msg, theirs)
        } else {
            let own = Crypto::fresh(1, CM_80);
            let offer = one_codec(0, &media.secure_sdp(&[&own], "sendrecv", ""));
            let flow = teams.connect("t001.sbc.test");
            let mut caller = teams.call(&flow, "t001.sbc.test", CALLED, HOTLINE, &offer);
            let answer = caller.response(200);
            caller.ack();
            let theirs = Crypto::of(&answer.msg);
            media.secure(&own, &theirs);
            media.towards(&answer.msg);
            (caller, answer.msg, theirs)
        };
        pjsip.state("CONFIRMED");
        let mux = media.mux;
        let mut voices = Voices::new(media);
        voices.talk(60);
        hears_well(&mut pjsip, 50);
        for (n, how) in (0..).zip([Move::Offer, Move::Held, Move::Offer]) {
            let mut next =
                MediaEnd::new(scene.place.ip(PROXY + 10 + n % 2), 7400 + 10 * u16::from(n));
            let own = Crypto::fresh(theirs.tag, &theirs.suite);
            next.sequence = 65_533_u16.wrapping_add(u16::from(n) * 20_011);
            next.remote = Some(described.media());
            next.mux = mux;
            next.secure(&own, &theirs);
            if how == Move::Held {
                let held = one_codec(0, &voices.present.own_sdp("inactive"));
                assert_eq!(dialog.ask("INVITE", "", &held).msg.direction(), "inactive");
                dialog.ack();
                pjsip.media("remote hold");
            }
            let offer = one_codec(0, &next.own_sdp("sendrecv"));
            let answer = dialog.ask("INVITE", "", &offer).msg;
            dialog.ack();
            if how == Move::Held {
                pjsip.media("active");
            }
            assert_eq!((answer.status(), answer.direction()), (200, "sendrecv"), "{answer}");
            assert_eq!(answer.media(), described.media(), "our place stays");
            assert_eq!(Crypto::of(&answer).key, theirs.key, "our key stays");
            voices.replace(next);
            let before = pjsip.heard();
            voices.talk(60);
            hears_well(&mut pjsip, before + 50);
            voices.former_ones_are_left_alone();
        }
        voices.talk(300);
        voices.former_ones_are_left_alone();
        assert!(!voices.present.reports.is_empty(), "reports go to the present peer");
        dialog.hang_up();
        pjsip.state("DISCONNECTED");
        hardly_anything_was_refused(&gateway);
        let pcap = capture.stop();
        judge_plain(&voices, &pjsip.finish(), &pcap, 2 + usize::from(!incoming));
    }
}

/// By what PJSIP at a trunk was sent in clear, and what it sent; it was asked by so many INVITEs.
fn judge_plain(voices: &Voices, messages: &[(bool, Msg)], pcap: &std::path::Path, offers: usize) {
    let described = |received: bool| {
        let mut with_sdp =
            messages.iter().filter(|(r, msg)| *r == received && msg.line('m').is_some());
        with_sdp.next().expect("an SDP").1.media()
    };
    let (ours, theirs) = (described(true), described(false));
    let [sent, came] =
        [(ours, theirs), (theirs, ours)].map(|(from, to)| heard_on_the_wire(pcap, from, to, None));
    voices.judge(&sent, &came, false);
    let asked = messages.iter().filter(|(received, msg)| *received && is_offer(msg)).count();
    assert_eq!(asked, offers);
}

/// PJSIP is the trunk and calls. Two phones behind Teams send early media, each under a key of its own from a place of its
/// own; one of them answers, or a third one. PJSIP hears the one that spoke up last, then the one that answered.
#[test]
fn forked_early_media_with_two_keys_as_pjsip_hears_them() {
    for winner in 0..3 {
        let scene = Scene::usual("forked_pjsip");
        let teams = scene.teams();
        let mut pjsip = pjsip_as_carrier(&scene, "udp");
        let capture = Capture::start(scene.dir(), scene.place);
        let gateway = scene.start();
        gateway.healthy();
        pjsip.call(&format!("sip:{CALLED}@{}", scene.place.at(CARRIER_SIDE, 5060)));
        let (invite, mut callee) = teams.invited();
        let mut phones: Vec<_> = (0..3)
            .map(|n| {
                let mut media = MediaEnd::new(scene.place.ip(PROXY + 10 + n), 7000);
                media.ssrc ^= u32::from(n) << 24;
                media.sequence = 65_533_u16.wrapping_add(u16::from(n) * 20_011);
                let (sdp, ..) = answer_to(&mut media, &invite.msg);
                (Some(media), one_codec(0, &sdp))
            })
            .collect();
        let mut tags = Vec::new();
        let mut progress = |callee: &mut Dialog, sdp: &str| {
            callee.fork();
            tags.push(callee.local_tag().to_owned());
            callee.reply(&invite, "183 Session Progress", "", sdp);
        };
        progress(&mut callee, &phones[0].1);
        pjsip.media("active");
        let mut voices = Voices::new(phones[0].0.take().unwrap());
        voices.talk(60);
        hears_well(&mut pjsip, 50);
        progress(&mut callee, &phones[1].1);
        voices.replace(phones[1].0.take().unwrap());
        voices.talk(60);
        hears_well(&mut pjsip, 110);
        match winner {
            2 => callee.fork(),
            n => callee.answer_as(&tags[n]),
        }
        callee.reply(&invite, "200 OK", "", &phones[winner].1);
        callee.take("ACK");
        pjsip.state("CONFIRMED");
        match winner {
            0 => {
                let Former { media, .. } = voices.former.remove(0);
                voices.replace(media);
            }
            1 => {}
            _ => voices.replace(phones[2].0.take().unwrap()),
        }
        let before = pjsip.heard();
        voices.talk(300);
        hears_well(&mut pjsip, before + 250);
        voices.former_ones_are_left_alone();
        callee.hang_up();
        pjsip.state("DISCONNECTED");
        let pcap = capture.stop();
        judge_plain(&voices, &pjsip.finish(), &pcap, 0);
    }
}
