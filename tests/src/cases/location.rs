//! Calls for help on the wire: where the caller is, towards trunks that may know and towards nobody else; no limit in the
//! way (TR-068).

use crate::harness::dialog::Dialog;
use crate::harness::media::{CM_80, Crypto, MediaEnd};
use crate::harness::place::{CARRIER_A, PROXY};
use crate::harness::scene::{Carrier, Scene, Teams};
use crate::harness::talking::CALLED;
use crate::harness::wire::Flow;

const TENANT: &str = "t001.sbc.test";
const NUMBER: &str = "+442079460001";
const PIDF: &str = "Content-Type: application/pidf+xml\r\nContent-ID: <loc-1@contoso.test>\r\n\r\n\
    <?xml version=\"1.0\"?>\r\n<!DOCTYPE x [<!ENTITY a \"b\">]>\n<presence entity=\"pres:ann@contoso.test\">\t&a;</presence>";
const GEO: &str = "GEOLOCATION: <cid:loc-1@contoso.test>\r\nGEOLOCATION-ROUTING: yes\r\n";

fn scene(test: &str, keys: &str) -> Scene {
    let mut scene = Scene::new(test);
    scene.trunk("carrier-a", "udp", CARRIER_A, keys);
    scene.tenant("t001", &["carrier-a"], &["+15550010000-+15550019999"], "max_calls = 1");
    scene
}

fn offer(scene: &Scene) -> String {
    let media = MediaEnd::new(scene.place.ip(PROXY), 7500);
    media.secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", "")
}

fn mixed(parts: &[&str]) -> String {
    let parts: String = parts.iter().map(|part| format!("--b1\r\n{part}\r\n")).collect();
    format!("{parts}--b1--\r\n")
}

/// A call of Teams with this body.
fn call(teams: &Teams, flow: &Flow, called: &str, body: &str) -> Dialog {
    let uri = format!("sip:{called}@{TENANT}:5061;user=phone;transport=tls");
    let invite = crate::harness::dialog::Invite {
        uri: &uri,
        from: &format!("<sip:{CALLED}@sip.teams.test:5061;user=phone>"),
        to: &format!("<sip:{called}@{TENANT}:5061;user=phone>"),
        extra: GEO,
        sdp: body,
    };
    let mut dialog = Dialog::prepare(&teams.persona, flow, &invite);
    let text = dialog.invite_text(&invite);
    let kind = "Content-Type: multipart/mixed;boundary=b1\r\n";
    let text = text.replacen("Content-Type: application/sdp\r\n", kind, 1);
    text.as_bytes().chunks(16_000).for_each(|piece| flow.send(piece));
    dialog
}

fn busy(carrier: &Carrier, mut call: Dialog) -> crate::harness::sip::Msg {
    let (invite, callee) = carrier.invited();
    callee.reply(&invite, "486 Busy Here", "", "");
    assert_eq!(call.final_response().msg.status(), 486);
    call.ack_failure();
    invite.msg
}

#[test]
fn tr_068_a_call_for_help_brings_its_location_where_the_trunk_takes_it() {
    for (keys, passes) in [("", false), ("location = \"pass\"", true)] {
        let scene = scene("tr_068", keys);
        let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
        let gateway = scene.start();
        gateway.healthy();
        let flow = teams.connect(TENANT);
        let sdp = format!("Content-Type: application/sdp\r\n\r\n{}", offer(&scene));
        let invite = busy(&carrier, call(&teams, &flow, "112", &mixed(&[&sdp, PIDF])));
        let raw = String::from_utf8_lossy(&invite.raw).into_owned();
        assert_eq!(raw.contains(PIDF), passes, "{raw}");
        assert_eq!(invite.get("Geolocation"), passes.then_some("<cid:loc-1@contoso.test>"));
        assert_eq!(invite.get("Geolocation-Routing"), passes.then_some("yes"));
        let kind = invite.need("Content-Type");
        assert_eq!(kind.starts_with("multipart/mixed;boundary="), passes, "{kind}");
        assert_eq!(raw.matches("Content-Type: application/sdp\r\n").count(), 1, "{raw}");
        assert!(raw.contains("RTP/AVP") && !raw.contains("a=crypto"), "our own SDP: {raw}");
    }
}

/// A tenant with one call at most, which it has.
#[test]
fn tr_068_a_call_for_help_is_taken_when_the_tenant_is_full() {
    let scene = scene("tr_068_full", "");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let sdp = offer(&scene);
    let mut first = teams.call(&flow, TENANT, CALLED, NUMBER, &sdp);
    let (waiting, callee) = carrier.invited();
    let mut second = teams.call(&flow, TENANT, CALLED, NUMBER, &sdp);
    assert_eq!(second.final_response().msg.status(), 503);
    second.ack_failure();
    carrier.not_invited();
    for called in ["112", "911", "+999"] {
        let invite = busy(&carrier, teams.call(&flow, TENANT, CALLED, called, &sdp));
        assert!(invite.uri().starts_with(&format!("sip:{called}@")), "{invite}");
    }
    assert_eq!(gateway.figure("trunkgate_calls_ended_total{cause=\"tenant_full\"}"), 1.0);
    callee.reply(&waiting, "486 Busy Here", "", "");
    assert_eq!(first.final_response().msg.status(), 486);
    first.ack_failure();
}

#[test]
fn tr_068_at_55_bodies_that_cannot_be_taken_are_refused_and_counted() {
    let scene = scene("tr_068_bad", "location = \"pass\"");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let sdp = format!("Content-Type: application/sdp\r\n\r\n{}", offer(&scene));
    let nested =
        format!("Content-Type: multipart/mixed;boundary=c\r\n\r\n--c\r\n{sdp}\r\n--c--\r\n");
    let endless = mixed(&[&sdp, PIDF]).replace("--b1--", "--b1-");
    let refusals = [
        (mixed(&[&sdp, &sdp, PIDF]), 400),
        (mixed(&[PIDF]), 415),
        (mixed(&[&nested, PIDF]), 415),
        (mixed(&vec![sdp.as_str(); 60]), 400),
        (endless, 400),
    ];
    for (body, status) in &refusals {
        let mut call = call(&teams, &flow, "112", body);
        assert_eq!(call.final_response().msg.status(), *status, "{body:.300}");
        call.ack_failure();
    }
    let counted = gateway.figure("trunkgate_calls_ended_total{cause=\"bad_request\"}");
    assert_eq!(counted, refusals.len() as f64);
    carrier.not_invited();
    // 64 kB of location: the call goes on, without it.
    let large = PIDF.replace("&a;", &"x".repeat(65_536));
    let invite = busy(&carrier, call(&teams, &flow, "112", &mixed(&[&sdp, &large])));
    assert_eq!(invite.need("Content-Type"), "application/sdp");
    assert!(invite.get("Geolocation").is_none(), "{invite}");
}
