//! Why a call ended, as its record says it: who, what the far end's code means, and what to check (TR-071).

use super::*;
use crate::cdr::CauseRecord;

const GUID: &str = "0900a0b8-ffff-4f45-b1bd-000000000002";

fn reason(cause: u8, text: &str) -> String {
    format!("REASON: Q.850;cause={cause};text=\"{GUID};{text}\"\n")
}

/// The record of a call from the carrier that Teams refuses so.
fn refused(status: &str, extra: &str) -> CauseRecord {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, status, "t1", extra, ""));
    assert_eq!(world.records[0].ended_by, "callee");
    world.records[0].cause.clone()
}

#[test]
fn tr_071_microsofts_code_is_explained_in_the_record() {
    let cause = refused("404 Not Found", &reason(1, "511404 no user has this number"));
    assert_eq!((cause.sip, cause.code), (404, Some(511_404)));
    assert_eq!(cause.meaning.as_deref(), Some("no user of the tenant has the called number"));
    assert!(cause.check.unwrap().contains("Get-CsPhoneNumberAssignment"));
    assert!(cause.reason.unwrap().contains(GUID));
    let cause = refused("403 Forbidden", &reason(21, "No trunk config found for 'x'"));
    assert_eq!(cause.code, Some(510_532));
    // Without a code the status has to do.
    let cause = refused("486 Busy Here", &reason(17, "User busy"));
    assert_eq!((cause.code, cause.meaning.as_deref()), (None, Some("busy, or declined")));
    assert_eq!(cause.check.as_deref(), Some("nothing: the called side said so"));
}

/// A code counts only for the message that ended the call.
#[test]
fn tr_071_the_code_of_an_attempt_before_is_not_that_of_the_end() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let first = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&first, "503 Service Unavailable", "t1", &reason(41, "540998"), ""));
    let second = world.expect("127.0.0.21:5061", "INVITE ");
    world.hear("127.0.0.21:5061", &reply(&second, "486 Busy Here", "t2", "", ""));
    let record = &world.records[0];
    assert_eq!((record.cause.sip, record.cause.code), (486, None));
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let first = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&first, "503 Service Unavailable", "t1", &reason(41, "540998"), ""));
    world.wait(Duration::from_secs(60));
    let cause = &world.records[0].cause;
    assert_eq!((cause.text.clone(), cause.code), (Cause::Silent.to_string(), None));
    assert_eq!(cause.check.as_deref(), Cause::Silent.check());
}

#[test]
fn tr_071_a_call_that_teams_ends_says_why_and_one_that_was_hung_up_says_nothing() {
    for (extra, code) in [
        (reason(16, "410/531005 MediaConnectivityFailure"), Some(531_005)),
        (reason(16, "Call Cleared"), None),
    ] {
        let mut world = World::new();
        let (invite, _) = answered(&mut world);
        world.hear(PROXY, &in_dialog(&invite, "BYE", 2, "t1", &extra, ""));
        world.expect(PROXY, "SIP/2.0 200");
        let cause = &world.records[0].cause;
        assert_eq!((cause.sip, cause.code, cause.check.is_some()), (200, code, code.is_some()));
        assert_eq!(world.records[0].ended_by, "callee");
    }
}

/// Numbers in what a trunk says are no codes of Microsoft.
#[test]
fn a_trunks_refusal_and_our_own_say_what_to_check_as_well() {
    let mut world = World::new();
    world.hear(PROXY, &teams_invite("+33123456789", "t1", "", SECURE));
    let invite = world.expect(CARRIER, "INVITE ");
    world.hear(CARRIER, &reply(&invite, "404 511404 Not Found", "c1", &reason(1, "511404"), ""));
    let cause = &world.records[0].cause;
    assert_eq!((cause.code, cause.meaning.as_deref()), (None, Some("it does not know the number")));
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079461234", PLAIN));
    let cause = &world.records[0].cause;
    assert_eq!(cause.check.as_deref(), Cause::UnknownNumber.check());
    assert!(cause.check.as_ref().is_some_and(|check| check.contains("inbound_trunks")));
}
