//! Faxes by T.38: between two trunks in clear they pass, everywhere else the call stays as it is.

use config::{Dialect, Srtp, T38};

use super::restore::{restarted_with, resumed};
use super::*;

const CENTRE: &str = "127.0.0.52:5070";
const OTHER: &str = "127.0.0.51:5070";
/// The sides of the call: carrier-a has called the contact centre.
const ENDS: [&str; 2] = [CARRIER, CENTRE];
const HOSTS: [u8; 2] = [50, 52];

/// An answered call from one trunk to another one.
struct Call {
    world: World,
    parties: [Party; 2],
}

/// How one end appears in its own requests.
struct Party {
    from: String,
    to: String,
    call_id: String,
    cseq: u32,
}

impl Call {
    fn new() -> Self {
        Self::with(config(), PLAIN)
    }

    fn with(config: config::Config, offer: &str) -> Self {
        let mut world = World::with(config);
        world.hear(CARRIER, &carrier_invite("+442079470001", offer));
        let invite = world.expect(CENTRE, "INVITE ");
        let contact = "Contact: <sip:c@127.0.0.52:5070>\n";
        let answer = if offer == PLAIN { at(1, PLAIN) } else { fax(1, 1, "") };
        world.hear(CENTRE, &reply(&invite, "200 OK", "e1", contact, &answer));
        let ok = world.expect(CARRIER, "SIP/2.0 200");
        world.hear(CARRIER, &carrier_ack(&ok));
        world.sent.clear();
        let [from, to] = ["From", "To"].map(|name| value(&ok, name).to_owned());
        let carrier = Party { from, to, call_id: "c1".to_owned(), cseq: 1 };
        let centre = Party {
            from: format!("{};tag=e1", value(&invite, "To")),
            to: value(&invite, "From").to_owned(),
            call_id: value(&invite, "Call-ID").to_owned(),
            cseq: 1,
        };
        Self { world, parties: [carrier, centre] }
    }

    /// A re-INVITE of that side.
    fn offers(&mut self, side: usize, sdp: &str) {
        self.parties[side].cseq += 1;
        let text = self.parties[side].request(ENDS[side], "INVITE", sdp);
        self.world.hear(ENDS[side], &text);
        self.world.expect(ENDS[side], "SIP/2.0 100");
    }

    /// Our re-INVITE to that side.
    fn offered(&mut self, side: usize) -> String {
        self.world.expect(ENDS[side], "INVITE ")
    }

    /// Its answer.
    fn answers(&mut self, side: usize, invite: &str, status: &str, sdp: &str) {
        let contact = format!("Contact: <sip:c@{}>\n", ENDS[side]);
        let reply = reply(invite, status, "", &contact, sdp).replace(";tag=\n", "\n");
        self.world.hear(ENDS[side], &reply);
        self.world.expect(ENDS[side], "ACK ");
    }

    /// Our final answer to the re-INVITE of that side.
    fn answered(&mut self, side: usize) -> String {
        let answer = self.world.expect(ENDS[side], "SIP/2.0 ");
        let ack = self.parties[side].request(ENDS[side], "ACK", "");
        self.world.hear(ENDS[side], &ack);
        answer
    }

    /// A whole exchange that side begins: what the other one was offered, and what came back.
    fn changes(&mut self, side: usize, offer: &str, answer: &str) -> [String; 2] {
        self.offers(side, offer);
        let passed = self.offered(1 - side);
        self.answers(1 - side, &passed, "200 OK", answer);
        let back = self.answered(side);
        assert!(back.starts_with("SIP/2.0 200"), "{back}");
        [passed, back]
    }

    /// Both are hung up on, for want of anything in common.
    fn ends(&mut self) {
        for end in ENDS {
            let bye = self.world.expect(end, "BYE ");
            let contact = format!("Contact: <sip:c@{end}>\n");
            let reply = reply(&bye, "200 OK", "", &contact, "").replace(";tag=\n", "\n");
            self.world.hear(end, &reply);
        }
        self.world.wait(Duration::from_secs(6));
        let record = serde_json::to_value(&self.world.records[0]).unwrap();
        assert_eq!(
            (&record["cause"]["sip"], &record["ended_by"]),
            (&488.into(), &"gateway".into())
        );
    }

    /// Whether each side is a fax by the newest plan.
    fn udptl(&self) -> [bool; 2] {
        self.world.plan().sides.each_ref().map(|side| side.udptl)
    }

    /// Nothing of an offer of that side has changed anything.
    fn goes_on_in_audio(&mut self, side: usize, before: &str) {
        assert_eq!(format!("{:?}", self.world.plan()), before);
        self.world.nothing_but(ENDS[1 - side], &["OPTIONS"]);
        assert!(self.world.records.is_empty());
    }
}

impl Party {
    fn request(&self, at: &str, method: &str, sdp: &str) -> String {
        let Self { from, to, call_id, cseq } = self;
        let head = format!(
            "{method} sip:x@127.0.0.10:5060 SIP/2.0\nVia: SIP/2.0/UDP {at};branch=z9hG4bKf{method}{cseq}\n\
             Max-Forwards: 70\nFrom: {from}\nTo: {to}\nCall-ID: {call_id}\nCSeq: {cseq} {method}\n\
             Contact: <sip:c@{at}>\n"
        );
        with_body(&head, sdp)
    }
}

/// A description of that side.
fn at(side: usize, sdp: &str) -> String {
    sdp.replace("127.0.0.50", &format!("127.0.0.{}", HOSTS[side]))
}

/// Another version of it.
fn version(side: usize, version: u32, sdp: &str) -> String {
    at(side, sdp).replace("o=- 1 1", &format!("o=- 1 {version}"))
}

/// A fax of that side, behind these m= lines.
fn fax(side: usize, number: u32, before: &str) -> String {
    let audio = PLAIN.find("m=audio").expect("audio");
    version(side, number, &format!("{}{before}{}", &PLAIN[..audio], image(side)))
}

fn image(side: usize) -> String {
    format!("m=image 3200{side} udptl t38\na=T38FaxVersion:{side}\na=T38MaxBitRate:14400\n")
}

/// The m= lines of a message, without formats, and its attributes of T.38.
fn shape(message: &str) -> (Vec<String>, Vec<&str>) {
    let lines = body(message).lines().filter_map(|line| line.strip_prefix("m="));
    let word = |line: &str| line.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let of_fax = body(message).lines().filter(|line| line.starts_with("a=T38"));
    (lines.map(word).collect(), of_fax.collect())
}

fn strings(all: &[&str]) -> Vec<String> {
    all.iter().map(|one| (*one).to_owned()).collect()
}

const OFF: &str = "m=audio 0 RTP/AVP 8\n";

/// The fax passes whoever asks, as the first stream or behind the audio; so does the way back, whoever asks. Ports and
/// addresses of ours stay, those of the peers are what they say.
#[test]
fn t_38_passes_between_two_trunks_and_back() {
    for (asks, returns, before) in [(1, 0, ""), (1, 1, ""), (0, 1, OFF), (1, 0, OFF), (0, 0, "")] {
        let mut call = Call::new();
        let ports = call.world.plan().sides.each_ref().map(|side| side.port);
        assert_eq!(call.udptl(), [false, false]);
        let [passed, back] = call.changes(asks, &fax(asks, 2, before), &fax(1 - asks, 2, before));
        for (message, side) in [(&passed, 1 - asks), (&back, asks)] {
            let image = format!("image {} udptl", ports[side].number);
            let lines = if before.is_empty() {
                vec![image]
            } else {
                vec!["audio 0 RTP/AVP".to_owned(), image]
            };
            let version = format!("a=T38FaxVersion:{}", 1 - side);
            assert_eq!(shape(message), (lines, vec![&version[..], "a=T38MaxBitRate:14400"]));
            assert!(!message.contains("a=rtpmap") && !message.contains("a=rtcp"), "{message}");
            assert!(body(message).contains("c=IN IP4 127.0.0.10"), "{message}");
        }
        assert_eq!(call.udptl(), [true, true]);
        for (side, plan) in call.world.plan().sides.iter().enumerate() {
            let place = format!("127.0.0.{}:3200{side}", HOSTS[side]).parse().unwrap();
            assert_eq!((plan.port, plan.rtp), (ports[side], Some(place)));
            assert!(plan.send && plan.receive && plan.play.is_none());
        }
        // Another place of the fax concerns nobody else.
        let moved = fax(asks, 3, before).replace("image 3200", "image 3210");
        call.offers(asks, &moved);
        let answer = call.answered(asks);
        assert_eq!(shape(&answer).1, shape(&back).1);
        call.world.nothing_but(ENDS[1 - asks], &["OPTIONS"]);
        assert_eq!(call.world.plan().sides[asks].rtp.unwrap().port(), 32100 + asks as u16);
        // And back.
        let rest = if before.is_empty() { "" } else { "m=image 0 udptl t38\n" };
        let audio = |side| version(side, 4, PLAIN) + rest;
        let [passed, back] = call.changes(returns, &audio(returns), &audio(1 - returns));
        for (message, side) in [(&passed, 1 - returns), (&back, returns)] {
            let mut lines = vec![format!("audio {} RTP/AVP", ports[side].number)];
            lines.extend((!rest.is_empty()).then(|| "image 0 udptl".to_owned()));
            assert_eq!(shape(message), (lines, vec![]), "{message}");
            assert!(message.contains("a=rtpmap:101 telephone-event/8000"), "{message}");
        }
        assert_eq!(call.udptl(), [false, false]);
        for (side, plan) in call.world.plan().sides.iter().enumerate() {
            let place = format!("127.0.0.{}:30000", HOSTS[side]).parse().unwrap();
            assert_eq!((plan.port, plan.rtp), (ports[side], Some(place)));
            assert!(plan.send && plan.receive && plan.payloads.contains(&(8, 8)));
        }
    }
}

/// One side writes the fax in place of the audio, the other one has a line for each already: neither loses a line.
#[test]
fn no_side_loses_an_m_line() {
    let mut call = Call::new();
    call.changes(0, &fax(0, 2, OFF), &fax(1, 2, OFF));
    let rest = "m=image 0 udptl t38\n";
    call.changes(1, &(version(1, 3, PLAIN) + rest), &(version(0, 3, PLAIN) + rest));
    // The centre takes its own line for audio away, which it should not; the carrier keeps both of its.
    let [passed, back] = call.changes(1, &fax(1, 4, ""), &fax(0, 4, OFF));
    let port = |side: usize| call.world.plan().sides[side].port.number;
    let both = ["audio 0 RTP/AVP", &format!("image {} udptl", port(0))];
    assert_eq!(shape(&passed).0, both);
    assert_eq!(shape(&back).0, [format!("image {} udptl", port(1))]);
    let audio = version(1, 5, PLAIN);
    let [passed, back] = call.changes(1, &audio, &(version(0, 5, PLAIN) + rest));
    let ports = call.world.plan().sides.each_ref().map(|side| side.port.number);
    assert_eq!(
        shape(&passed).0,
        strings(&[&format!("audio {} RTP/AVP", ports[0]), "image 0 udptl"])
    );
    assert_eq!(shape(&back).0, [format!("audio {} RTP/AVP", ports[1])]);
}

/// A call that begins as a fax.
#[test]
fn an_invite_may_ask_for_a_fax_at_once() {
    for (offer, lines) in [
        (fax(0, 1, ""), vec!["image 20000 udptl"]),
        (fax(0, 1, OFF), vec!["audio 0 RTP/AVP", "image 20000 udptl"]),
    ] {
        let mut world = World::new();
        world.hear(CARRIER, &carrier_invite("+442079470001", &offer));
        let invite = world.expect(CENTRE, "INVITE ");
        let port = world.core.gauges().free_port_pairs;
        assert_eq!(port, 98);
        let (shape, attributes) = shape(&invite);
        // Some port of ours, or none.
        let any = |line: &str| match line.split_once(" 2") {
            Some((kind, rest)) => format!("{kind} any{}", &rest[rest.find(' ').unwrap()..]),
            None => line.to_owned(),
        };
        let shape: Vec<_> = shape.iter().map(|line| any(line)).collect();
        assert_eq!(shape, lines.iter().map(|line| any(line)).collect::<Vec<_>>());
        assert_eq!(attributes, ["a=T38FaxVersion:0", "a=T38MaxBitRate:14400"]);
        let mut call = Call::with(config(), &offer);
        assert_eq!(call.udptl(), [true, true]);
        // On to audio, which nobody has spoken yet.
        let [passed, _] = call.changes(1, &version(1, 2, PLAIN), &version(0, 2, PLAIN));
        assert!(passed.contains("a=rtpmap:8 PCMA/8000"), "{passed}");
        assert_eq!(call.udptl(), [false, false]);
    }
    // To Teams it is 488; anywhere, if it has both streams live but no codec of ours.
    let both = fax(0, 1, "m=audio 30000 RTP/SAVP 8\n");
    for (number, offer) in
        [("+442079460001", &fax(0, 1, "")), ("+442079460001", &both), ("+442079470001", &both)]
    {
        let mut world = World::new();
        world.hear(CARRIER, &carrier_invite(number, offer));
        world.expect(CARRIER, "SIP/2.0 488");
        world.nothing_but(PROXY, &["OPTIONS"]);
        world.nothing_but(CENTRE, &["OPTIONS"]);
    }
    // Beside a stream that nobody relays it is one.
    let other = fax(0, 1, "m=application 5000 UDP/BFCP *\n");
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079470001", &other));
    assert_eq!(shape(&world.expect(CENTRE, "INVITE ")).1.len(), 2);
}

/// A refusal of the other side comes back as it is, and nothing has changed; whatever form it takes.
#[test]
fn a_refused_fax_leaves_the_audio_as_it_was() {
    for (status, before) in [(488, ""), (415, ""), (606, OFF), (403, OFF)] {
        let mut call = Call::new();
        let plan = format!("{:?}", call.world.plan());
        call.offers(1, &fax(1, 2, before));
        let passed = call.offered(0);
        call.answers(0, &passed, &format!("{status} No"), "");
        let answer = call.answered(1);
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{answer}");
        call.goes_on_in_audio(1, &plan);
        // A hold afterwards has one line again.
        call.offers(1, &(version(1, 3, PLAIN) + "a=sendonly\n"));
        let hold = call.offered(0);
        assert_eq!(shape(&hold).0.len(), 1, "{hold}");
        assert!(hold.contains("a=sendonly") && hold.contains("m=audio 2"), "{hold}");
    }
}

/// A 200 by which every stream has port 0 is a refusal too; but one that stands. So the audio is offered anew.
#[test]
fn a_fax_answered_by_port_0_is_refused_and_audio_comes_back() {
    for (before, lines) in [("", 1), (OFF, 2)] {
        let mut call = Call::new();
        call.offers(1, &fax(1, 2, before));
        let passed = call.offered(0);
        let none = fax(0, 2, before).replace("m=image 32000", "m=image 0");
        call.answers(0, &passed, "200 OK", &none);
        let refusal = call.answered(1);
        assert!(refusal.starts_with("SIP/2.0 488"), "{refusal}");
        assert_eq!(call.udptl(), [false, false]);
        let again = call.offered(0);
        let (streams, attributes) = shape(&again);
        assert_eq!((streams.len(), attributes.len()), (lines, 0), "{again}");
        assert!(streams[0].starts_with("audio 2"), "{again}");
        call.answers(0, &again, "200 OK", &version(0, 3, PLAIN));
        call.world.nothing_but(CENTRE, &["OPTIONS"]);
        assert!(call.world.plan().sides.iter().all(|side| side.send && side.receive));
        // Now it would take one.
        call.changes(0, &fax(0, 4, before), &fax(1, 4, before));
        assert_eq!(call.udptl(), [true, true]);
    }
}

/// A change of a fax is refused by port 0: the peer has no stream at all, so the fax is offered anew. Once more, and the call
/// is over.
#[test]
fn a_change_of_a_fax_answered_by_port_0_is_offered_anew_once() {
    for takes in [true, false] {
        let mut call = Call::new();
        call.changes(1, &fax(1, 2, ""), &fax(0, 2, ""));
        call.offers(1, &fax(1, 3, "").replace("14400", "9600"));
        let passed = call.offered(0);
        let none = |version| fax(0, version, "").replace("m=image 32000", "m=image 0");
        call.answers(0, &passed, "200 OK", &none(3));
        assert!(call.answered(1).starts_with("SIP/2.0 488"));
        let again = call.offered(0);
        assert!(shape(&again).0[0].starts_with("image 2"), "{again}");
        let answer = if takes { fax(0, 4, "") } else { none(4) };
        call.answers(0, &again, "200 OK", &answer);
        if takes {
            assert_eq!(call.udptl(), [true, true]);
            assert!(call.world.plan().sides.iter().all(|side| side.send && side.receive));
        } else {
            call.ends();
        }
    }
}

/// Attributes of the session as a whole are those of the fax as well.
#[test]
fn attributes_above_the_m_line_pass_too() {
    let mut call = Call::new();
    let offer = fax(1, 2, "").replace("t=0 0\n", "t=0 0\na=T38FaxMaxDatagram:200\n");
    let [passed, _] = call.changes(1, &offer, &fax(0, 2, ""));
    let all = ["a=T38FaxMaxDatagram:200", "a=T38FaxVersion:1", "a=T38MaxBitRate:14400"];
    assert_eq!(shape(&passed).1, all, "{passed}");
}

/// The way back may be refused as well: then it stays a fax.
#[test]
fn a_refused_way_back_leaves_the_fax() {
    let mut call = Call::new();
    call.changes(1, &fax(1, 2, ""), &fax(0, 2, ""));
    let plan = format!("{:?}", call.world.plan());
    call.offers(0, &version(0, 3, PLAIN));
    let passed = call.offered(1);
    call.answers(1, &passed, "488 No", "");
    assert!(call.answered(0).starts_with("SIP/2.0 488"));
    call.goes_on_in_audio(0, &plan);
    assert_eq!(call.udptl(), [true, true]);
}

/// An offer that crosses another one, and one that is taken back.
#[test]
fn glare_and_cancel_of_a_fax() {
    let mut call = Call::new();
    call.offers(1, &fax(1, 2, ""));
    let passed = call.offered(0);
    call.offers(0, &fax(0, 2, ""));
    assert!(call.answered(0).starts_with("SIP/2.0 491"));
    let cancel = call.parties[1].request(CENTRE, "CANCEL", "");
    call.world.hear(CENTRE, &cancel.replace("z9hG4bKfCANCEL", "z9hG4bKfINVITE"));
    call.world.expect(CENTRE, "SIP/2.0 200");
    assert!(call.answered(1).starts_with("SIP/2.0 487"));
    // It was too late to tell the carrier: it is offered what stands.
    call.answers(0, &passed, "200 OK", &fax(0, 3, ""));
    let again = call.offered(0);
    assert!(shape(&again).0[0].starts_with("audio 2"), "{again}");
    call.answers(0, &again, "200 OK", &version(0, 4, PLAIN));
    assert_eq!(call.udptl(), [false, false]);
    assert!(call.world.plan().sides.iter().all(|side| side.send && side.receive));
}

/// A fax that was taken back too late, and a peer that does not go back to audio: the two would never hear each other.
#[test]
fn sides_that_cannot_be_brought_together_are_hung_up_on() {
    let mut call = Call::new();
    call.offers(1, &fax(1, 2, ""));
    let passed = call.offered(0);
    let cancel = call.parties[1].request(CENTRE, "CANCEL", "");
    call.world.hear(CENTRE, &cancel.replace("z9hG4bKfCANCEL", "z9hG4bKfINVITE"));
    call.world.expect(CENTRE, "SIP/2.0 200");
    assert!(call.answered(1).starts_with("SIP/2.0 487"));
    call.answers(0, &passed, "200 OK", &fax(0, 3, ""));
    let again = call.offered(0);
    call.answers(0, &again, "488 No", "");
    call.ends();
}

/// An UPDATE after the answer is served as a re-INVITE.
#[test]
fn an_update_may_ask_for_a_fax() {
    let mut call = Call::new();
    call.parties[0].cseq += 1;
    let update = call.parties[0].request(CARRIER, "UPDATE", &fax(0, 2, ""));
    call.world.hear(CARRIER, &update);
    let passed = call.offered(1);
    call.answers(1, &passed, "200 OK", &fax(1, 2, ""));
    let answer = call.world.expect(CARRIER, "SIP/2.0 200");
    assert!(value(&answer, "CSeq").ends_with("UPDATE"), "{answer}");
    assert_eq!(call.udptl(), [true, true]);
}

/// Trunks that refuse, or are encrypted: 488 at once, for either side, and the audio goes on.
#[test]
fn a_trunk_that_refuses_or_is_encrypted_gets_no_fax_and_sends_none() {
    for trunk in [0, 2] {
        let mut config = config();
        let dialect = Dialect { t38: T38::Refuse, ..Dialect::default() };
        config.trunks[trunk].dialect = Arc::new(dialect);
        let mut call = Call::with(config, PLAIN);
        let plan = format!("{:?}", call.world.plan());
        for side in [0, 1] {
            call.offers(side, &fax(side, 2, OFF));
            assert!(call.answered(side).starts_with("SIP/2.0 488"));
            call.goes_on_in_audio(side, &plan);
        }
    }
    let mut config = config();
    config.trunks[2].srtp = Srtp::Required;
    let mut world = World::with(config);
    world.hear(CARRIER, &carrier_invite("+442079470001", PLAIN));
    let invite = world.expect(CENTRE, "INVITE ");
    let contact = "Contact: <sip:c@127.0.0.52:5070>\n";
    let secure = SECURE.replace("127.0.0.20", "127.0.0.52");
    world.hear(CENTRE, &reply(&invite, "200 OK", "e1", contact, &secure));
    let ok = world.expect(CARRIER, "SIP/2.0 200");
    world.hear(CARRIER, &carrier_ack(&ok));
    world.sent.clear();
    let before = format!("{:?}", world.plan());
    world.hear(CARRIER, &carrier_reinvite(&ok, 2, &fax(0, 2, "")));
    world.expect(CARRIER, "SIP/2.0 488");
    let centre = Party {
        from: format!("{};tag=e1", value(&invite, "To")),
        to: value(&invite, "From").to_owned(),
        call_id: value(&invite, "Call-ID").to_owned(),
        cseq: 2,
    };
    world.hear(CENTRE, &centre.request(CENTRE, "INVITE", &fax(1, 2, "")));
    world.expect(CENTRE, "SIP/2.0 488");
    assert_eq!(format!("{:?}", world.plan()), before);
    world.nothing_but(CARRIER, &["OPTIONS", "SIP/2.0 100"]);
}

/// Beside live audio it is a stream like any other that is not ours: port 0, and nobody else hears of it.
#[test]
fn a_fax_beside_live_audio_is_no_fax() {
    let mut call = Call::new();
    for side in [0, 1] {
        let plan = format!("{:?}", call.world.plan());
        call.offers(side, &(version(side, 2, PLAIN) + &image(side)));
        let answer = call.answered(side);
        let (lines, attributes) = shape(&answer);
        assert!(answer.starts_with("SIP/2.0 200") && attributes.is_empty(), "{answer}");
        assert!(lines[0].starts_with("audio 2") && lines[1] == "image 0 udptl", "{answer}");
        call.goes_on_in_audio(side, &plan);
    }
}

/// What is no fax of ours is refused, and no attribute makes a line or grows without bounds.
#[test]
fn hostile_faxes() {
    let mut call = Call::new();
    let plan = format!("{:?}", call.world.plan());
    for (what, by) in [
        ("m=image 32000 udptl t38", "m=image 32000 tcp t38"),
        ("m=image 32000 udptl t38", "m=image 32000 udptl t39"),
        ("m=image 32000 udptl t38", "m=image 32000 udptl"),
        ("m=image 32000 udptl t38", "m=image 0 udptl t38"),
        ("m=image 32000 udptl t38", "m=image 5060 udptl t38"),
        ("m=image 32000 udptl t38", "m=image 32000 udptl t38\nm=image 32002 udptl t38"),
        ("c=IN IP4 127.0.0.50", "c=IN IP4 224.0.0.1"),
        ("c=IN IP4 127.0.0.50", "c=IN IP4 127.0.0.10\na=x"),
    ] {
        // Also a port of the gateway itself.
        let offer = fax(0, 2, "").replace(what, by);
        let offer = if by.contains("127.0.0.10") {
            offer.replace("image 32000", "image 20002")
        } else {
            offer
        };
        call.offers(0, &offer);
        let answer = call.answered(0);
        assert!(answer.starts_with("SIP/2.0 488"), "{by}: {answer}");
        call.goes_on_in_audio(0, &plan);
    }
    let many: String = (0..200).map(|n| format!("a=T38Vendor{n}:1\n")).collect();
    let odd = format!(
        "a=t38fillbitremoval\na=T38FaxMaxBuffer:{}\na=T38 x:1\na=sendrecv\na=rtpmap:8 PCMA/8000\na=crypto:1 x\n{many}",
        "9".repeat(4000)
    );
    call.offers(0, &(fax(0, 2, "") + &odd));
    let passed = call.offered(1);
    let (lines, attributes) = shape(&passed);
    assert_eq!((lines.len(), attributes.len()), (1, 23), "{passed}");
    assert!(passed.contains("\r\na=t38fillbitremoval\r\n"), "{passed}");
    for absent in ["999", "T38 x", "rtpmap", "crypto", "Vendor21"] {
        assert!(!body(&passed).contains(absent), "{absent}: {passed}");
    }
}

/// Who takes a place in a fax is talked to, and the other side comes back to audio.
#[test]
fn a_transfer_ends_a_fax() {
    let (mut call, _) = transferred();
    let again = call.offered(0);
    assert!(shape(&again).0[0].starts_with("audio 2"), "{again}");
    call.answers(0, &again, "200 OK", &version(0, 5, PLAIN));
    assert_eq!(call.udptl(), [false, false]);
    assert!(call.world.plan().sides.iter().all(|side| side.send && side.receive));
}

/// Whoever is left does not want to talk.
#[test]
fn a_transfer_of_a_fax_that_stays_one_ends_the_call() {
    let (mut call, target) = transferred();
    let again = call.offered(0);
    call.answers(0, &again, "488 No", "");
    call.world.expect(CARRIER, "BYE ");
    let bye = call.world.expect(OTHER, "BYE ");
    assert_eq!(value(&bye, "Call-ID"), value(&target, "Call-ID"));
}

/// A fax whose peer has asked for somebody else and left may go back to audio meanwhile.
#[test]
fn who_is_left_of_a_fax_may_go_back_to_audio() {
    let (mut call, _) = referred();
    call.parties[1].cseq += 1;
    let bye = call.parties[1].request(CENTRE, "BYE", "");
    call.world.hear(CENTRE, &bye);
    call.world.expect(CENTRE, "SIP/2.0 200");
    call.offers(0, &version(0, 5, PLAIN));
    let answer = call.answered(0);
    assert!(answer.starts_with("SIP/2.0 200") && shape(&answer).0[0].starts_with("audio 2"));
}

/// A restart under a configuration that refuses faxes leaves those that stand.
#[test]
fn a_fax_that_stands_outlives_a_configuration_that_refuses_it() {
    let mut call = Call::new();
    call.changes(1, &fax(1, 2, ""), &fax(0, 2, ""));
    let mut refusing = config();
    let dialect = Dialect { t38: T38::Refuse, ..Dialect::default() };
    refusing.trunks[0].dialect = Arc::new(dialect);
    let (next, restored) = restarted_with(&call.world, refusing, Duration::from_millis(500));
    assert_eq!(restored, Restored { resumed: 1, cut: 0 });
    call.world = next;
    call.offers(0, &fax(0, 3, "").replace("image 3200", "image 3210"));
    assert!(call.answered(0).starts_with("SIP/2.0 200"));
    assert_eq!(call.world.plan().sides[0].rtp.unwrap().port(), 32100);
}

/// The centre, in mid fax, has the carrier sent on.
fn referred() -> (Call, String) {
    let mut config = config();
    config.trunks[2].refer = config::Refer::Local;
    let mut call = Call::with(config, PLAIN);
    let one_codec = |side| version(side, 2, PLAIN).replace(" 8 0 101", " 8 101");
    call.changes(1, &one_codec(1), &one_codec(0));
    call.changes(1, &fax(1, 3, ""), &fax(0, 3, ""));
    call.parties[1].cseq += 1;
    let refer = call.parties[1].request(CENTRE, "REFER", "");
    let refer = refer.replace("Contact:", "Refer-To: <sip:0033123456789@127.0.0.10>\nContact:");
    call.world.hear(CENTRE, &refer);
    let target = call.world.expect(OTHER, "INVITE ");
    assert!(target.contains("m=audio 2") && !target.contains("image"), "{target}");
    // In what the carrier has talked before, and in nothing else.
    let formats = target.lines().find_map(|line| line.strip_prefix("m=audio ")).unwrap();
    let formats: Vec<_> = formats.split(' ').skip(2).collect();
    assert_eq!(formats, ["8", "101"], "{target}");
    (call, target)
}

/// And whoever it is sent to has answered.
fn transferred() -> (Call, String) {
    let (mut call, target) = referred();
    let contact = "Contact: <sip:o@127.0.0.51:5070>\n";
    let answer = PLAIN.replace("127.0.0.50", "127.0.0.51");
    call.world.hear(OTHER, &reply(&target, "200 OK", "o1", contact, &answer));
    assert!(call.world.plan().sides.iter().all(|side| !side.send && !side.receive));
    (call, target)
}

/// The next process goes on with the fax, and from there back to audio.
#[test]
fn r01_a_fax_goes_on_in_the_next_process() {
    let mut call = Call::new();
    call.changes(1, &fax(1, 2, OFF), &fax(0, 2, OFF));
    let before = call.world.plan().sides.clone();
    let later = Duration::from_millis(500);
    let (next, restored) = restarted_with(&call.world, config(), later);
    assert_eq!(restored, Restored { resumed: 1, cut: 0 });
    for (side, old) in resumed(&next).0.sides.iter().zip(&before) {
        assert!(side.udptl && side.send && side.receive);
        assert_eq!((side.port, side.rtp), (old.port, old.rtp));
    }
    call.world = next;
    let rest = "m=image 0 udptl t38\n";
    call.offers(0, &(version(0, 3, PLAIN) + rest));
    call.world.wait(Duration::from_secs(3));
    let passed = call.offered(1);
    assert!(shape(&passed).0[0].starts_with("audio 2") && shape(&passed).0.len() == 2, "{passed}");
    // A payload type keeps its number.
    assert!(passed.contains("a=rtpmap:101 telephone-event/8000"), "{passed}");
    call.answers(1, &passed, "200 OK", &(version(1, 3, PLAIN) + rest));
    assert!(call.answered(0).starts_with("SIP/2.0 200"));
    assert_eq!(call.udptl(), [false, false]);
}
