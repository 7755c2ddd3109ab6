//! Random walks: a leg under any order of owner's calls, responses, requests, failures and time,
//! sensible or not. Whatever comes, every request gets one final response, the leg tells one end
//! and nothing after it, and what it keeps is bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::rig::{OURS, Rig, THEIRS, bytes};
use super::{Action, Event, Failure, State};
use crate::message::Draft;

/// One step, chosen by a number, with a number to vary it.
fn step(rig: &mut Rig, what: u8, how: u8) {
    let token = u32::from(how % 6) + 1;
    let tag = ["them", "fork", "third", ""][usize::from(how % 4)];
    let sdp = ["", THEIRS, "v=0 theirs 2"][usize::from(how % 3)];
    let cseq = u32::from(how % 16);
    match what {
        0 => rig.ring(180 + u16::from(how % 4), sdp),
        1 => rig.answer(OURS),
        2 => rig.reject(400 + u16::from(how)),
        3 => rig.cancel(),
        4 => rig.bye(),
        5 => rig.offer(OURS),
        6 | 7 => rig.accept("v=0 ours 2"),
        8 => rig.refuse(488),
        9 | 10 => rig.response("INVITE", token, 100 + u16::from(how % 84), tag, sdp),
        11 | 12 => rig.response("INVITE", token, 200, tag, sdp),
        13 => rig.response("INVITE", token, 300 + u16::from(how), tag, ""),
        14 => rig.response_with("INVITE", token, 422, tag, "Min-SE: 200", ""),
        15 => rig.response("INVITE", token, 491, tag, ""),
        16 => rig.response("BYE", token, 200, tag, ""),
        17 => rig.failed(token, Failure::Timeout),
        18 => rig.failed(token, Failure::Transport),
        19 | 20 => rig.request("INVITE", "Supported: timer\nSession-Expires: 90", sdp),
        21 => rig.request("UPDATE", "", sdp),
        22 => rig.request("BYE", "", ""),
        23 => rig.request(["INFO", "OPTIONS", "PRACK", "MESSAGE"][usize::from(how % 4)], "", ""),
        24 => rig.request_as("INVITE", cseq, tag, "", sdp),
        25 | 26 => rig.ack(cseq + 5, sdp),
        27 => rig.cancelled(cseq + 5),
        28 => {
            let headers = format!("Require: 100rel\nRSeq: {}", how % 5 + 1);
            rig.response_with("INVITE", token, 183, tag, &headers, sdp);
        }
        29 => {
            let rseq = rig.last_rseq().unwrap_or(1) + u32::from(how % 5 / 4);
            rig.request("PRACK", &format!("RAck: {rseq} 10 INVITE"), sdp);
        }
        30 => rig.pass(Duration::from_millis(u64::from(how) * 20)),
        _ => rig.seconds(u64::from(how)),
    }
}

/// Keeps the score of what the leg did, and answers half of the owner's requests.
#[derive(Default)]
struct Score {
    /// Final statuses by server transaction.
    finals: BTreeMap<u64, Vec<u16>>,
    ends: u32,
}

impl Score {
    fn take(&mut self, rig: &mut Rig) {
        for action in rig.take() {
            match action {
                Action::Respond { server, draft } if draft.status() >= 200 => {
                    self.finals.entry(server.0).or_default().push(draft.status());
                }
                Action::Event(event) => {
                    assert_eq!(self.ends, 0, "told after the end: {event:?}");
                    match event {
                        Event::Rejected { .. } | Event::Ended { .. } | Event::Cancelled { .. } => {
                            self.ends += 1;
                        }
                        Event::Request { server, message } if server.0 % 2 == 0 => {
                            let draft = Draft::response(&message, 200);
                            rig.leg.respond(server, draft, &mut rig.out);
                        }
                        Event::Request { .. }
                        | Event::Provisional { .. }
                        | Event::Answered { .. }
                        | Event::Confirmed
                        | Event::Answer { .. }
                        | Event::Refreshed { .. }
                        | Event::Offer { .. }
                        | Event::OfferWithdrawn
                        | Event::OfferRefused { .. }
                        | Event::Referred { .. } => {}
                    }
                }
                Action::Respond { .. }
                | Action::Request { .. }
                | Action::Ack { .. }
                | Action::Cancel { .. } => {}
            }
        }
    }
}

fn walk(mut rig: Rig, called: bool, steps: &[(u8, u8)]) {
    let mut score = Score::default();
    for (what, how) in steps {
        step(&mut rig, *what, *how);
        score.take(&mut rig);
        score.take(&mut rig);
        assert_eq!(score.ends == 1, matches!(rig.state(), State::Ending | State::Ended));
        assert!(rig.leg.acks.len() <= 18 && rig.leg.byes.len() <= 18);
        assert!(rig.leg.waiting.len() <= 8 && rig.out.is_empty());
    }
    rig.bye();
    score.take(&mut rig);
    for _ in 0..10 {
        rig.seconds(20);
        score.take(&mut rig);
    }
    assert_eq!(rig.state(), State::Ended);
    assert_eq!(score.ends, 1);
    assert_eq!(rig.leg.poll_timeout(), None);
    let mut servers: Vec<u64> = (101..=rig.requests()).collect();
    servers.extend(called.then_some(1));
    for server in servers {
        let finals = score.finals.get(&server).map_or(&[][..], Vec::as_slice);
        assert!(!finals.is_empty(), "{server} got no final response");
        assert!(finals.iter().all(|status| status == &finals[0]), "{server}: {finals:?}");
        assert!(finals.len() == 1 || finals[0] == 200, "{server}: {finals:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn any_walk_ends_well(
        steps in prop::collection::vec((0..32_u8, any::<u8>()), 1..80),
        start in 0..4_u8,
        required: bool,
    ) {
        let reliable = if required { "Require: 100rel" } else { "Supported: 100rel" };
        let (mut rig, called) = match start {
            0 => (Rig::calling(OURS), false),
            1 => (Rig::calling(""), false),
            2 => (Rig::called_with(reliable, THEIRS), true),
            _ => (Rig::called_with(reliable, ""), true),
        };
        rig.leg.identity.supported = bytes("replaces, timer, 100rel");
        walk(rig, called, &steps);
    }
}
