//! Transfers with PJSIP as the users of Teams: blind by REFER to the gateway, consultative by INVITE with Replaces from the
//! one who was asked (RFC 5589 §7). The carrier's PJSIP stays in its call and hears whoever is there.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::peer::Pjsip;
use crate::harness::stage::{OTHER_TEAMS, Stage, hold};
use crate::harness::wire::SOON;

const OTHER: &str = "+15550010007";

/// Two clients in a call, with the name that each has for it.
type Ends<'a> = [(&'a mut Pjsip, &'a str); 2];

/// Each hears whoever is there now, and fifty packets of it in a row, none lost.
fn hear(ends: Ends<'_>) {
    for (peer, call) in ends {
        let count = |stats: &Value, name: &str| stats[name].as_u64().expect("a number");
        let before = count(&peer.stats_of(call), "rx");
        let end = Instant::now() + SOON;
        let now = loop {
            let stats = peer.stats_of(call);
            if count(&stats, "rx") >= before + 10 {
                break stats;
            }
            assert!(Instant::now() < end, "nothing is heard in {call}: {stats}");
            thread::sleep(Duration::from_millis(50));
        };
        peer.hears_on(call, count(&now, "rx") + 50, count(&now, "lost"));
    }
}

/// The client on Teams' side takes another key: a re-INVITE with fresh media.
fn rekey(teams: &mut Pjsip, call: &str) -> usize {
    let keys = |teams: &Pjsip| {
        let sent = teams.messages().into_iter().filter(|(received, _)| !received);
        let mut keys: Vec<String> =
            sent.filter_map(|(_, msg)| Some(msg.attribute("crypto")?.to_owned())).collect();
        keys.dedup();
        keys.len()
    };
    let before = keys(teams);
    teams.command(&json!({"do": "rekey", "on": call}));
    teams.media_of(call, "active");
    let end = Instant::now() + SOON;
    while keys(teams) == before {
        assert!(Instant::now() < end, "no other key");
        thread::sleep(Duration::from_millis(50));
    }
    keys(teams)
}

/// The methods of what the carrier was asked inside its call.
fn asked(carrier: &Pjsip) -> Vec<String> {
    let got = carrier.messages().into_iter().filter(|(received, _)| *received);
    let requests = got.map(|(_, msg)| msg).filter(|msg| msg.is_request() && msg.method() != "ACK");
    requests.map(|msg| msg.method().to_owned()).collect()
}

/// TR-055 to TR-057 with real clients: REFER to a number, the target answers, everybody talks, is held and resumed, and
/// talks under another key.
#[test]
fn tr_055_tr_056_a_blind_transfer_by_pjsip() {
    let mut stage = Stage::new("refer_pjsip", "udp");
    let mut carrier = stage.pjsip_calls_pjsip();
    let teams = &mut stage.teams;
    let target = format!("<sip:{OTHER}@sip.teams.test:5061;user=phone;transport=tls>");
    teams.command(&json!({"do": "transfer", "to": target}));
    let invite = teams.wait(&json!({"event": "incoming", "on": "second"}));
    assert!(invite["uri"].as_str().is_some_and(|uri| uri.starts_with(&target[1..20])), "{invite}");
    teams.wait_all([
        &json!({"event": "state", "on": "second", "state": "CONFIRMED"}),
        &json!({"event": "transfer", "on": "first", "code": 200, "final": true}),
    ]);
    teams.command(&json!({"do": "hangup"}));
    teams.state_of("first", "DISCONNECTED");
    hear([(&mut carrier, "first"), (teams, "second")]);
    assert_eq!(asked(&carrier), [""; 0]);
    carrier.hold("first", "sendonly");
    teams.media_of("second", "remote hold");
    carrier.resume("first");
    teams.media_of("second", "active");
    hear([(&mut carrier, "first"), (teams, "second")]);
    assert!(rekey(teams, "second") > 2);
    hear([(&mut carrier, "first"), (teams, "second")]);
    carrier.hang_up();
    teams.state_of("second", "DISCONNECTED");
    drop(carrier);
    let evidence = stage.end(1);
    let legs = evidence.records[0]["legs"].as_array().expect("legs");
    assert_eq!(
        (legs.len(), &legs[2]["role"], &legs[2]["called"]),
        (3, &json!("target"), &json!(OTHER))
    );
}

/// TR-060 with real clients: a user consults another one, who then takes the call over; on either side of the transfer the
/// carrier talks, is held and resumed.
#[test]
fn tr_060_a_consultative_transfer_by_pjsip() {
    let mut stage = Stage::new("replaces_pjsip", "udp");
    let mut other = stage.another_teams(OTHER);
    let mut carrier = stage.pjsip_calls_pjsip();
    let teams = &mut stage.teams;
    hold(teams, &mut carrier, "inactive");
    let uri = format!("sip:{OTHER}@{OTHER_TEAMS}:5061;transport=tls");
    teams.command(&json!({"do": "call", "on": "second", "uri": uri}));
    other.state_of("first", "CONFIRMED");
    teams.state_of("second", "CONFIRMED");
    teams.command(&json!({"do": "transfer", "on": "second", "to_call": "first"}));
    other.state_of("second", "CONFIRMED");
    teams.state_of("first", "DISCONNECTED");
    hear([(&mut carrier, "first"), (&mut other, "second")]);
    other.hold("second", "inactive");
    carrier.media("remote hold");
    other.resume("second");
    carrier.media("active");
    hear([(&mut carrier, "first"), (&mut other, "second")]);
    assert!(rekey(&mut other, "second") > 2);
    hear([(&mut carrier, "first"), (&mut other, "second")]);
    carrier.hang_up();
    other.state_of("second", "DISCONNECTED");
    drop(carrier);
    drop(other);
    let evidence = stage.end(1);
    let legs = evidence.records[0]["legs"].as_array().expect("legs");
    assert_eq!((legs.len(), &legs[2]["role"]), (3, &json!("target")));
}
