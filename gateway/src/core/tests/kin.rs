//! Several cores after an upgrade: each message reaches the one whose it is, whoever hears it.

use super::door::{raw, source};
use super::*;
use crate::handover::flow;
use crate::handover::note::Load;

/// Processes in the order of their age, each linked with the next.
struct Family(Vec<World>);

impl Family {
    /// One process that serves.
    fn new() -> Self {
        Self(vec![World::born(config(), 1)])
    }

    /// The next process takes over.
    fn upgrade(&mut self) {
        let epoch = self.0.len() as u32 + 1;
        let mut heir = World::born(config(), epoch);
        let elder = self.0.last_mut().unwrap();
        heir.now = elder.now;
        let origins = elder.core.origins();
        let known = elder.core.hand_over(elder.now);
        elder.drain();
        heir.core.succeed(origins, known);
        self.0.push(heir);
    }

    /// One of them hears something; the links carry it on until nobody hands it on any more.
    fn hear(&mut self, who: usize, from: &str, text: &str) {
        self.0[who].hear(from, text);
        self.carry();
    }

    fn carry(&mut self) {
        let mut handed = 0;
        while let Some(who) = self.0.iter().position(|world| !world.handed.is_empty()) {
            handed += 1;
            assert!(handed < 100, "handed round and round");
            let (to, mut source, raw) = self.0[who].handed.pop_front().unwrap();
            let (next, from) = match to {
                Kin::Heir => (who + 1, Kin::Elder),
                Kin::Elder => (who - 1, Kin::Heir),
            };
            source.flow = source.flow.map(|own| flow::beyond(from, own).unwrap());
            let world = &mut self.0[next];
            world.core.handle_handed(from, source, Message::parse(raw).unwrap(), world.now);
            world.drain();
        }
    }

    fn calls(&self) -> Vec<usize> {
        self.0.iter().map(|world| world.core.calls()).collect()
    }

    fn silent(&mut self, who: usize) {
        let sent: Vec<_> = self.0[who].sent.iter().map(|(_, text)| line(text)).collect();
        assert!(sent.iter().all(|l| l.starts_with("OPTIONS")), "{who} sent {sent:?}");
    }
}

fn rings(family: &mut Family) -> String {
    family.hear(0, CARRIER, &carrier_invite("+442079460001", PLAIN));
    let invite = family.0[0].expect(PROXY, "INVITE ");
    family.hear(0, PROXY, &reply(&invite, "180 Ringing", "t1", "", ""));
    family.0[0].expect(CARRIER, "SIP/2.0 180");
    invite
}

#[test]
fn r03_a_ringing_call_is_answered_across_an_upgrade() {
    let mut family = Family::new();
    let invite = rings(&mut family);
    family.upgrade();
    // The repeat, the answer and the ACK all come to the new process.
    family.hear(1, CARRIER, &carrier_invite("+442079460001", PLAIN));
    family.0[0].expect(CARRIER, "SIP/2.0 180");
    family.hear(1, PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    let ok = family.0[0].expect(CARRIER, "SIP/2.0 200");
    family.hear(1, CARRIER, &carrier_bye(&ok));
    family.0[0].expect(PROXY, "BYE ");
    family.0[0].expect(CARRIER, "SIP/2.0 200");
    family.silent(1);
}

/// TR-060: who has a leg in the elder takes it over there, and all that follows is the elder's.
#[test]
fn tr_060_a_leg_is_taken_over_across_an_upgrade() {
    let mut family = Family::new();
    let invite = rings(&mut family);
    family.hear(0, PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    let ok = family.0[0].expect(CARRIER, "SIP/2.0 200");
    family.hear(0, CARRIER, &carrier_ack(&ok));
    family.upgrade();
    family.upgrade();
    let replacing = takeover::replacing(&invite, "t001", "from-tag=t1", SECURE);
    family.hear(2, takeover::SECOND, &replacing);
    let ok = family.0[0].expect(takeover::SECOND, "SIP/2.0 200");
    family.hear(2, takeover::SECOND, &takeover::within(&ok, "ACK", 1, ""));
    family.0[0].expect(PROXY, "BYE ");
    family.hear(2, takeover::SECOND, &takeover::within(&ok, "BYE", 2, ""));
    family.0[0].expect(CARRIER, "BYE ");
    for who in [1, 2] {
        family.silent(who);
    }
    // What no process has is refused by the one that hears it.
    let unknown = replacing.replace("to-tag=", "to-tag=x").replace("CALL-ID: n1", "CALL-ID: n9");
    family.hear(2, takeover::SECOND, &unknown.replace("branch=z9hG4bK", "branch=z9hG4bKu"));
    family.0[2].expect(takeover::SECOND, "SIP/2.0 481");
}

#[test]
fn r03_a_ringing_call_is_cancelled_across_an_upgrade() {
    let mut family = Family::new();
    rings(&mut family);
    family.upgrade();
    family.upgrade();
    let cancel = carrier_invite("+442079460001", "")
        .replace("INVITE sip", "CANCEL sip")
        .replace("CSeq: 1 INVITE", "CSeq: 1 CANCEL");
    family.hear(2, CARRIER, &cancel);
    family.0[0].expect(CARRIER, "SIP/2.0 200");
    let refusal = family.0[0].expect(CARRIER, "SIP/2.0 487");
    let ack = carrier_invite("+442079460001", "")
        .replace("INVITE sip", "ACK sip")
        .replace("CSeq: 1 INVITE", "CSeq: 1 ACK")
        .replace("To: <sip:+442079460001@127.0.0.10>", &format!("To: {}", value(&refusal, "To")));
    family.hear(2, CARRIER, &ack);
    family.0[0].sent.clear();
    family.0[0].wait(Duration::from_secs(3));
    family.0[0].nothing_but(CARRIER, &["OPTIONS"]);
    for who in [1, 2] {
        family.silent(who);
    }
}

#[test]
fn r03_what_is_new_belongs_to_the_newest_whoever_hears_it() {
    let mut family = Family::new();
    family.upgrade();
    family.upgrade();
    let teams = in_dialog("To: x\nFrom: y\nCall-ID: z\n", "OPTIONS", 1, "t", "", "");
    let options = teams
        .lines()
        .map(|l| if l.starts_with("To:") { "To: <sip:t001.sbc.test>" } else { l })
        .map(|l| if l.starts_with("From:") { "From: <sip:sip.teams.test>;tag=t" } else { l })
        .fold(String::new(), |text, l| text + l + "\n");
    family.hear(0, PROXY, &options);
    let (target, answer) = family.0[2].sent.pop_back().unwrap();
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    let (kin, inner) = flow::owner(target.flow.unwrap()).unwrap();
    assert_eq!((kin, flow::owner(inner).unwrap().0), (Kin::Elder, Kin::Elder));
    family.hear(0, CARRIER, &carrier_invite("+442079460001", PLAIN));
    assert_eq!(family.calls(), [0, 0, 1]);
    let invite = family.0[2].expect(PROXY, "INVITE ");
    // Its messages find it from everywhere.
    family.hear(0, PROXY, &reply(&invite, "180 Ringing", "t1", "", ""));
    family.hear(1, PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    let ok = family.0[2].expect(CARRIER, "SIP/2.0 200");
    let ack = carrier_bye(&ok).replace("BYE", "ACK").replace("CSeq: 2", "CSeq: 1");
    family.hear(0, CARRIER, &ack);
    family.hear(0, PROXY, &in_dialog(&invite, "BYE", 3, "t1", "", ""));
    family.0[2].expect(PROXY, "SIP/2.0 200");
    family.0[2].expect(CARRIER, "BYE ");
    family.hear(1, CARRIER, &carrier_bye(&ok));
    assert_eq!(family.calls(), [0, 0, 0]);
}

#[test]
fn r03_each_of_three_processes_keeps_its_calls() {
    let mut family = Family::new();
    let mut dialogs = Vec::new();
    for who in 0..3 {
        if who > 0 {
            family.upgrade();
        }
        let invite = carrier_invite("+442079460001", PLAIN).replace("c1", &format!("c{who}x"));
        family.hear(who, CARRIER, &invite);
        let invite = family.0[who].expect(PROXY, "INVITE ");
        family.hear(who, PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
        let ok = family.0[who].expect(CARRIER, "SIP/2.0 200");
        let ack = carrier_bye(&ok).replace("BYE", "ACK").replace("CSeq: 2", "CSeq: 1");
        let ack = ack.replace("Call-ID: c1", &format!("Call-ID: c{who}x"));
        family.hear(who, CARRIER, &ack);
        dialogs.push((invite, ok));
        break_in_two(&mut family, who);
    }
    assert_eq!(family.calls(), [1, 1, 1]);
    for (who, (invite, ok)) in dialogs.into_iter().enumerate() {
        if who == 1 {
            family.hear(2, PROXY, &in_dialog(&invite, "BYE", 3, "t1", "", ""));
            family.0[1].expect(CARRIER, "BYE ");
        } else {
            let bye = carrier_bye(&ok).replace("Call-ID: c1", &format!("Call-ID: c{who}x"));
            family.hear(2, CARRIER, &bye);
            family.0[who].expect(PROXY, "BYE ");
        }
    }
    assert_eq!(family.calls(), [0, 0, 0]);
}

/// What nobody made and nobody knows is answered by whoever hears it, once.
fn break_in_two(family: &mut Family, newest: usize) {
    let bye = format!(
        "BYE sip:x@127.0.0.10 SIP/2.0\nVia: SIP/2.0/UDP {CARRIER};branch=z9hG4bKlost{newest}\n\
         Max-Forwards: 70\nFrom: <sip:a@127.0.0.50>;tag=1\nTo: <sip:b@127.0.0.10>;tag=2\n\
         Call-ID: lost\nCSeq: {} BYE\nContent-Length: 0\n\n",
        newest + 1
    );
    for who in 0..=newest {
        family.hear(who, CARRIER, &bye);
        family.0[who].expect(CARRIER, "SIP/2.0 481");
    }
}

#[test]
fn r03_a_dead_heir_leaves_everything_to_its_elder() {
    let mut family = Family::new();
    family.upgrade();
    family.0.pop();
    family.0[0].core.take_back();
    let (_, ok) = answered(&mut family.0[0]);
    family.hear(0, CARRIER, &carrier_bye(&ok));
    family.0[0].expect(PROXY, "BYE ");
    assert!(family.0[0].handed.is_empty());
}

#[test]
fn r03_a_dead_elder_leaves_its_heir_alone() {
    let mut family = Family::new();
    let (_, ok) = answered(&mut family.0[0]);
    family.upgrade();
    family.0.remove(0);
    family.0[0].core.outlive_elder();
    family.hear(0, CARRIER, &carrier_bye(&ok));
    family.0[0].expect(CARRIER, "SIP/2.0 481");
}

#[test]
fn tr_073_only_the_newest_process_sends_options() {
    let mut family = Family::new();
    family.upgrade();
    for world in &mut family.0 {
        world.sent.clear();
        world.wait(Duration::from_secs(120));
    }
    assert!(family.0[0].sent.is_empty(), "{:?}", family.0[0].sent);
    family.0[1].expect(PROXY, "OPTIONS ");
}

#[test]
fn calls_of_both_processes_count_against_a_tenant() {
    let mut family = Family::new();
    answered(&mut family.0[0]);
    family.upgrade();
    let load = family.0[0].core.load();
    let of = |trunk: bool, name: &str, calls| Load { trunk, name: name.to_owned(), calls };
    assert_eq!(load, [of(false, "t001", [0, 1]), of(true, "carrier-a", [1, 0])]);
    family.0[1].core.note_load(load, false);
    for (n, status) in [(2, "SIP/2.0 100"), (3, "SIP/2.0 503")] {
        let invite = carrier_invite("+442079460001", PLAIN).replace("c1", &format!("c{n}"));
        family.hear(1, CARRIER, &invite);
        family.0[1].expect(CARRIER, status);
    }
    assert_eq!(family.calls(), [1, 1]);
    family.0[1].core.outlive_elder();
    let invite = carrier_invite("+442079460001", PLAIN).replace("c1", "c4");
    family.hear(1, CARRIER, &invite);
    assert_eq!(family.calls(), [1, 2], "t001 may have two");
}

/// Limits of a trunk, and of one direction, count what the elder has as well; told in parts.
#[test]
fn calls_of_both_processes_count_against_a_trunk_and_each_direction() {
    let bounds: [fn(&mut config::Limits, config::Bound); 3] = [
        |limits, bound| limits.all = bound,
        |limits, bound| limits.made = bound,
        |limits, bound| limits.received = bound,
    ];
    for (which, set) in bounds.into_iter().enumerate() {
        let mut family = Family::new();
        answered(&mut family.0[0]);
        family.upgrade();
        let mut config = config();
        let bound = config::Bound { calls: Some(2), rate: None };
        set(&mut config.trunks[0].limits, bound);
        config.tenants[0].limits = config::Limits::default();
        super::reload::reload(&mut family.0[1], |now| *now = config);
        let load = family.0[0].core.load();
        for (n, part) in load.chunks(1).enumerate() {
            family.0[1].core.note_load(part.to_vec(), n > 0);
        }
        let mut served = Vec::new();
        for n in 2..=4 {
            let invite = carrier_invite("+442079460001", PLAIN).replace("c1", &format!("c{n}"));
            family.hear(1, CARRIER, &invite);
            served.push(family.calls()[1]);
        }
        // The trunk calls: what it may receive is not in question.
        let expected = if which == 2 { [1, 2, 3] } else { [1, 1, 1] };
        assert_eq!(served, expected, "{which}");
        family.0[1].core.outlive_elder();
        let invite = carrier_invite("+442079460001", PLAIN).replace("c1", "c9");
        family.hear(1, CARRIER, &invite);
        assert_eq!(family.calls()[1], expected[2] + 1, "{which}: the elder is gone");
    }
}

#[test]
fn r03_a_connection_of_the_elder_is_given_back_when_its_calls_are_set_up() {
    let mut family = Family::new();
    family.hear(0, PROXY, "OPTIONS sip:t001.sbc.test SIP/2.0\nVia: SIP/2.0/TLS sip.teams.test:5061;branch=z9hG4bKo1\nMax-Forwards: 70\nFrom: <sip:t>;tag=1\nTo: <sip:u>\nCall-ID: o1\nCSeq: 1 OPTIONS\nContent-Length: 0\n\n");
    family.upgrade();
    let own = flow_of(PROXY.parse().unwrap());
    assert_eq!(family.0[0].retired, [own]);
    let invite = with_body(
        "INVITE sip:+441632960000@t001.sbc.test:5061;user=phone SIP/2.0\n\
         Via: SIP/2.0/TLS sip.teams.test:5061;branch=z9hG4bKi1\nMax-Forwards: 70\n\
         From: <sip:+442079460001@sip.teams.test>;tag=1\nTo: <sip:+441632960000@t001.sbc.test>\n\
         Call-ID: i1\nCSeq: 1 INVITE\nContact: <sip:api.teams.test:443>\n",
        SECURE,
    );
    family.hear(0, PROXY, &invite);
    let to_carrier = family.0[1].expect(CARRIER, "INVITE ");
    for world in &mut family.0 {
        world.wait(Duration::from_millis(1500));
    }
    let lent = flow::beyond(Kin::Elder, own).unwrap();
    assert_eq!(family.0[0].closed, [own], "nothing of the elder's leans on it");
    assert_eq!(family.0[1].closed, [], "the call is not set up yet");
    family.hear(
        1,
        CARRIER,
        &reply(&to_carrier, "200 OK", "k1", "Contact: <sip:k@127.0.0.50:5070>\n", PLAIN),
    );
    let ok = family.0[1].sent.iter().rev().find(|(_, text)| text.starts_with("SIP/2.0 200"));
    let (target, ok) = ok.cloned().unwrap();
    assert_eq!(target.flow, Some(lent));
    let ack = format!(
        "ACK sip:x@t001.sbc.test:5061 SIP/2.0\nVia: SIP/2.0/TLS sip.teams.test:5061;branch=z9hG4bKi2\n\
         Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: i1\nCSeq: 1 ACK\nContent-Length: 0\n\n",
        value(&ok, "From"),
        value(&ok, "To"),
    );
    family.hear(0, PROXY, &ack);
    family.0[1].wait(Duration::from_secs(3));
    assert_eq!(family.0[1].closed, [lent]);
}

#[test]
fn r03_a_repeat_of_what_the_elder_has_is_not_refused_for_load() {
    let mut family = Family::new();
    rings(&mut family);
    family.upgrade();
    let from = source(CARRIER);
    let repeat = raw(&carrier_invite("+442079460001", PLAIN));
    let other = second_invite();
    let now = family.0[1].now;
    assert!(!family.0[1].core.shed(&from, &repeat, now), "it rings in the elder");
    assert!(family.0[1].core.shed(&from, &raw(&other), now));
    assert!(!family.0[0].core.shed(&from, &raw(&other), now), "the heir decides");
    family.0.iter_mut().for_each(World::drain);
    family.hear(1, CARRIER, &carrier_invite("+442079460001", PLAIN));
    family.0[0].expect(CARRIER, "SIP/2.0 180");
}
