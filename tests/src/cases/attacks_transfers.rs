//! Attacks by requests that are about a call and not the session: transfers of what is not one's own, of what is too large,
//! in numbers. Each is refused by a rule, counted, and costs the calls that are up nothing.

use std::time::Duration;

use crate::harness::attack::Standing;
use crate::harness::dialog::{Dialog, Invite, token};
use crate::harness::media::{CM_80, Crypto, MediaEnd};
use crate::harness::place::PROXY;
use crate::harness::scene::Teams;
use crate::harness::sip::Msg;
use crate::harness::wire::Flow;

const TARGET: &str = "sip:sip.teams.test:5061;transport=tls;x-m=8:orgid:1";

/// A REFER of Teams outside of any dialog, or in one that nobody knows.
fn refer_outside(teams: &Teams, flow: &Flow, to_tag: &str) -> Msg {
    let call_id = token("refer-");
    flow.send(format!(
        "REFER sip:t001.sbc.test:5061;transport=tls SIP/2.0\r\nVia: SIP/2.0/TLS sip.teams.test:5061;branch={}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:sip.teams.test>;tag=1\r\nTo: <sip:t001.sbc.test>{to_tag}\r\n\
         Call-ID: {call_id}\r\nCSeq: 1 REFER\r\nContact: <sip:api.teams.test:443>\r\nRefer-To: <{TARGET}>\r\n\
         Content-Length: 0\r\n\r\n",
        token("z9hG4bK-"),
    ));
    teams.inbox.take("answer to REFER", |r| r.msg.call_id() == call_id && r.msg.status() >= 200).msg
}

/// Nothing but the session's own BYE may ever reach the trunk.
fn trunk_hears_nothing(standing: &Standing) {
    standing.carrier.inbox.nothing("a request to the trunk", |r| {
        r.msg.is_request() && !["ACK", "OPTIONS"].contains(&r.msg.method())
    });
}

#[test]
fn a_refer_without_a_call_is_refused() {
    let standing = Standing::new("refer_outside");
    let flow = standing.teams.connect("t001.sbc.test");
    let refused = refer_outside(&standing.teams, &flow, "");
    assert_eq!(refused.status(), 405);
    assert!(!refused.need("Allow").contains("REFER"));
    assert_eq!(refer_outside(&standing.teams, &flow, ";tag=nobody").status(), 481);
    standing.rises("trunkgate_requests_refused_total", 2.0);
    standing.teams.not_invited();
    trunk_hears_nothing(&standing);
    standing.untouched();
}

/// TR-060: the other tenant knows Call-ID and both tags, and still has no such dialog.
#[test]
fn tr_060_replaces_that_names_the_dialog_of_another_tenant_is_481() {
    let standing = Standing::beside("replaces_other", Duration::from_secs(60), |scene| {
        scene.tenant("t002", &["carrier-a"], &["+15550020000-+15550020999"], "");
    });
    let Standing { teams, scene, call, .. } = &standing;
    let invite = &call.invite;
    let own_tag = invite.need("From").split_once(";tag=").expect("a tag").1.to_owned();
    let their_tag = call.teams.local_tag().to_owned();
    let replaces = format!("{};to-tag={own_tag};from-tag={their_tag}", invite.call_id());
    let media = MediaEnd::new(scene.place.ip(PROXY), 7820);
    let offer = media.secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", "");
    for (tenant, status) in [("t002", 481), ("t003", 404), ("t001", 200)] {
        let name = format!("{tenant}.sbc.test");
        let flow = teams.connect(&name);
        let invite = Invite {
            uri: &format!("sip:+442071230000@{name}:5061;user=phone;transport=tls"),
            from: "<sip:+15550020001@sip.teams.test:5061;user=phone>",
            to: &format!("<sip:+442071230000@{name}:5061;user=phone>"),
            extra: &format!("Require: replaces\r\nReplaces: {replaces}\r\n"),
            sdp: &offer,
        };
        let mut dialog = Dialog::invite(&teams.persona, &flow, &invite);
        let answer = dialog.final_response().msg;
        assert_eq!(answer.status(), status, "{tenant}");
        if status == 200 {
            // Who may, may: the old leg is hung up on.
            dialog.ack();
            call.teams.hung_up();
            dialog.hang_up();
        } else {
            dialog.ack_failure();
            trunk_hears_nothing(&standing);
        }
    }
    assert_eq!(standing.gateway.count("trunkgate_transfers_total{result=\"done\"}"), 1.0);
    standing.gateway.wait_records(3);
}

/// What Teams writes passes to the letter; what nobody writes is refused: by the rule for a transfer, or as no message.
#[test]
fn a_referred_by_of_64_kilobytes_is_refused() {
    let mut standing = Standing::new("referred_by");
    for (length, status) in [(9 * 1024, 513), (50 * 1024, 513)] {
        let by = format!("<sip:a@b;x={}>", "a".repeat(length));
        let extra = format!("Refer-To: <{TARGET}>\r\nReferred-By: {by}\r\n");
        let refused = standing.call.teams.ask("REFER", &extra, "").msg;
        assert_eq!(refused.status(), status, "{length}");
    }
    standing.rises("trunkgate_transfers_total{result=\"refused\"}", 2.0);
    standing.teams.not_invited();
    // Beyond the bound on header lines the connection is not to be trusted any more; the call goes on on another one.
    let flow = standing.teams.connect("t001.sbc.test");
    let refer = format!(
        "REFER sip:t001.sbc.test:5061 SIP/2.0\r\nReferred-By: <sip:a@b;x={}>\r\n\r\n",
        "a".repeat(64 * 1024)
    );
    // It may close while we still write.
    let _ = flow.try_send(refer.as_bytes());
    standing.gateway.until("the connection is closed", || flow.is_closed());
    standing.untouched();
}

/// Two thousand NOTIFYs about nothing, and as many REFERs while one transfer is under way: each is answered, none goes on.
#[test]
fn storms_of_notify_and_refer_are_answered_and_go_nowhere() {
    const STORM: usize = 2_000;
    let mut standing = Standing::new("notify_storm");
    let resident = standing.gateway.resident();
    for (method, extra, status) in [
        ("NOTIFY", "Event: refer\r\nSubscription-State: active\r\n".to_owned(), 481),
        ("REFER", "Refer-To: <tel:+1>\r\n".to_owned(), 416),
    ] {
        for _ in 0..STORM {
            standing.call.teams.send(method, &extra, "");
        }
        let call_id = standing.call.teams.call_id.clone();
        standing.teams.inbox.until("all are answered", Duration::from_secs(20), |all, _| {
            let answers = all.iter().filter(|r| {
                let of_storm = r.msg.method() == method && r.msg.call_id() == call_id;
                assert!(!of_storm || r.msg.status() == status, "{}", r.msg);
                of_storm
            });
            answers.count() == STORM
        });
    }
    standing.rises("trunkgate_transfers_total{result=\"refused\"}", STORM as f64);
    standing.rises("trunkgate_requests_refused_total", 2.0 * STORM as f64);
    let grown = standing.gateway.resident().saturating_sub(resident);
    println!("grown by {} KiB", grown / 1024);
    assert!(grown < 48 << 20, "{grown} bytes");
    trunk_hears_nothing(&standing);
    standing.untouched();
}

/// Five hundred re-INVITEs that wait for no answer: each is answered, with what stands or a refusal, and the trunk hears of
/// none.
#[test]
fn a_flood_of_re_invites_is_answered_and_goes_nowhere() {
    const FLOOD: usize = 500;
    let mut standing = Standing::new("reinvite_flood");
    let sdp = standing.call.teams_media.secure_sdp(&[&standing.call.own], "sendrecv", "");
    for _ in 0..FLOOD {
        standing.call.teams.send("INVITE", "", &sdp);
    }
    let call_id = standing.call.teams.call_id.clone();
    let mut answers = [0_usize; 3];
    for _ in 0..FLOOD {
        let answer = standing.teams.inbox.take("a final answer", |r| {
            r.msg.method() == "INVITE" && r.msg.status() >= 200 && r.msg.call_id() == call_id
        });
        standing.call.teams.ack_to(&answer.msg);
        let kind = [200, 491, 500].iter().position(|status| *status == answer.msg.status());
        answers[kind.unwrap_or_else(|| panic!("{}", answer.msg))] += 1;
    }
    println!("200, 491, 500: {answers:?}");
    assert!(answers[0] >= 1, "{answers:?}");
    standing.rises("trunkgate_requests_refused_total", (answers[1] + answers[2]) as f64);
    trunk_hears_nothing(&standing);
    standing.untouched();
}
