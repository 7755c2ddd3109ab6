//! Trunks by profile on the wire: numbers, who is called, who calls, further headers.

use crate::harness::dialog::{Dialog, Invite};
use crate::harness::media::{CM_80, Crypto, MediaEnd};
use crate::harness::place::{CARRIER_A, CARRIER_B, PROXY};
use crate::harness::scene::{Carrier, Scene};
use crate::harness::talking::{CALLED, CALLER};

const TENANT: &str = "t001.sbc.test";

fn scene(test: &str, tables: &str, keys: &str) -> Scene {
    let mut scene = Scene::new(test);
    scene.trunk("carrier-a", "udp", CARRIER_A, keys).usual_tenant();
    scene.tables(tables);
    scene
}

fn offer(scene: &Scene) -> String {
    let media = MediaEnd::new(scene.place.ip(PROXY), 7400);
    media.secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", "")
}

/// A call of the carrier for that URI, with header lines of its own.
fn asks(carrier: &Carrier, uri: &str, extra: &str) -> Dialog {
    let gateway = carrier.flow.remote();
    let uri = uri.replace("GATEWAY", &gateway.to_string());
    Dialog::invite(
        &carrier.persona,
        &carrier.flow,
        &Invite {
            uri: &uri,
            from: &format!("<sip:{CALLER}@{}>", carrier.ip()),
            to: &format!("<sip:{CALLED}@{gateway}>"),
            extra,
            sdp: &MediaEnd::new(carrier.ip(), 7402).plain_sdp("sendrecv"),
        },
    )
}

#[test]
fn tr_019_a_trunk_of_an_operators_profile_gets_its_own_form_of_numbers_and_headers() {
    let tables = "[[profile]]\nname = \"mine\"\nbase = \"sipconnect\"\nnumbers_out = \"national\"\n\
        called_prefix_out = \"99#\"\nuser_phone = false\n\
        headers_to = [{ add = \"X-Account\", value = \"4711\" }, { copy = \"P-Charging-Vector\" }]\n";
    let mut scene = Scene::new("tr_019_profile");
    scene
        .trunk("carrier-a", "udp", CARRIER_A, "profile = \"mine\"\ncountry = \"US\"")
        .tenant("t001", &["carrier-a"], &["+12025550100-+12025550199"], "")
        .tables(tables);
    let own = "2025550101";
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let more = "P-Charging-Vector: icid-value=\"a\"\r\nX-Other: b\r\n";
    for (number, dialled) in [
        ("+12025550143", "99%232025550143"),
        ("+442079460001", "99%23011442079460001"),
        ("112", "112"),
    ] {
        let mut call =
            teams.call_with(&flow, TENANT, ["+12025550101", number], more, &offer(&scene));
        let (invite, callee) = carrier.invited();
        let msg = &invite.msg;
        assert!(msg.uri().starts_with(&format!("sip:{dialled}@{}", carrier.ip())), "{msg}");
        assert!(msg.uri_of("To").starts_with(&format!("sip:{dialled}@")), "{msg}");
        assert!(msg.uri_of("From").starts_with(&format!("sip:{own}@")), "{msg}");
        let asserted = msg.uri_of("P-Asserted-Identity");
        assert!(asserted.starts_with(&format!("sip:{own}@")), "{msg}");
        assert_eq!(msg.need("X-Account"), "4711");
        assert_eq!(msg.need("P-Charging-Vector"), "icid-value=\"a\"");
        assert_eq!(msg.get("X-Other"), None, "{msg}");
        callee.reply(&invite, "486 Busy Here", "", "");
        assert_eq!(call.final_response().msg.status(), 486);
        call.ack_failure();
    }
    let record = &gateway.wait_records(3)[0];
    assert_eq!(record["legs"][0]["called"], "+12025550143");
    assert_eq!(record["legs"][1]["called"], "99#2025550143");
}

#[test]
fn an_ims_trunk_names_who_was_called_beside_its_pilot_number() {
    let scene = scene("profile_ims", "", "profile = \"ims\"\ncountry = \"GB\"");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let called = CALLED.strip_prefix("+1").unwrap();
    let local = format!("tel:{called};phone-context=+1");
    for (uri, extra) in [
        ("sip:+442079460000@GATEWAY", format!("P-Called-Party-ID: <tel:{CALLED}>\r\n")),
        ("sip:+442079460000@GATEWAY", format!("P-Called-Party-ID: <{local}>\r\n")),
        (&*local, String::new()),
        (&format!("sip:{CALLED};npdi;rn=+442079460099@GATEWAY"), String::new()),
    ] {
        let extra = format!("{extra}P-Asserted-Identity: <tel:+442079460007>\r\nPrivacy: id\r\n");
        let mut call = asks(&carrier, uri, &extra);
        let (invite, callee) = teams.invited();
        let msg = &invite.msg;
        assert!(msg.uri().starts_with(&format!("sip:{CALLED}@sip.teams.test")), "{uri}: {msg}");
        assert!(msg.uri_of("From").starts_with("sip:anonymous@"), "{msg}");
        assert!(!msg.to_string().contains("44207946000"), "{msg}");
        callee.reply(&invite, "486 Busy Here", "", "");
        assert_eq!(call.final_response().msg.status(), 486);
        call.ack_failure();
    }
    let records = gateway.wait_records(4);
    assert_eq!(records[0]["legs"][0]["called"], CALLED);
    assert_eq!(records[1]["legs"][0]["called"], called);
}

/// AT-18: what passes by a rule is one line, whatever the other trunk has put into it; and what nobody names passes not.
#[test]
fn at_18_a_header_between_two_trunks_passes_by_rule_and_stays_one_line() {
    let mut scene = scene("at_18_headers", "", "");
    scene.trunk(
        "centre",
        "udp",
        CARRIER_B,
        "numbers = [\"+442079460000-+442079460099\"]\ninbound_trunks = [\"carrier-a\"]\n\
         headers_to = [{ copy = \"X-Note\" }, { replace = \"X-Note\", match = 'secret=\\w+', with = \"secret=x\" }]",
    );
    let teams = scene.teams();
    let (carrier, centre) = (scene.carrier_udp(CARRIER_A), scene.carrier_udp(CARRIER_B));
    let gateway = scene.start();
    gateway.healthy();
    let extra = "X-Note: one;secret=abc\r\n Via: SIP/2.0/UDP 192.0.2.1\r\nX-Else: two\r\n";
    let mut call = asks(&carrier, "sip:+442079460042@GATEWAY", extra);
    let (invite, callee) = centre.invited();
    let msg = &invite.msg;
    assert_eq!(msg.need("X-Note"), "one;secret=x   Via: SIP/2.0/UDP 192.0.2.1");
    assert_eq!((msg.all("Via").count(), msg.get("X-Else")), (1, None), "{msg}");
    callee.reply(&invite, "486 Busy Here", "", "");
    assert_eq!(call.final_response().msg.status(), 486);
    call.ack_failure();
    teams.not_invited();
}

/// TR-072: by TCP to who takes it, though the trunk is written with udp; else by UDP with less in it, and both are counted.
#[test]
fn tr_072_an_invite_too_long_for_a_datagram_goes_by_tcp_or_with_less_in_it() {
    let long = "x".repeat(400);
    let keys =
        format!("max_message = 900\nheaders_to = [{{ add = \"X-Long\", value = \"{long}\" }}]");
    for takes_tcp in [true, false] {
        let scene = scene("tr_072", "", &keys);
        let teams = scene.teams();
        let gateway = scene.start();
        let carrier =
            if takes_tcp { scene.carrier_tcp(CARRIER_A) } else { scene.carrier_udp(CARRIER_A) };
        gateway.healthy();
        let flow = teams.connect(TENANT);
        for count in [1.0, 2.0] {
            let mut call = teams.call(&flow, TENANT, CALLED, "+442079460001", &offer(&scene));
            let (invite, callee) = carrier.invited();
            let msg = &invite.msg;
            let via = if takes_tcp { "SIP/2.0/TCP " } else { "SIP/2.0/UDP " };
            assert!(msg.need("Via").starts_with(via), "{msg}");
            assert_eq!(msg.get("X-Long"), takes_tcp.then_some(&*long), "{msg}");
            assert!(takes_tcp || msg.to_string().len() <= 900, "{msg}");
            let sent = |how: &str| {
                gateway.count(&format!("trunkgate_large_requests_total{{sent=\"{how}\"}}"))
            };
            let figures = [sent("tcp"), sent("trimmed"), sent("fragmented")];
            // Who took no TCP once is not asked again.
            let want = if takes_tcp { [count, 0.0, 0.0] } else { [1.0, count, 0.0] };
            assert_eq!(figures, want);
            callee.reply(&invite, "486 Busy Here", "", "");
            assert_eq!(call.final_response().msg.status(), 486);
            call.ack_failure();
        }
    }
}

#[test]
fn a_redirection_is_followed_on_the_trunk_that_has_it_so_in_its_own_codecs() {
    let keys = "redirects = \"follow\"\ncodecs = [\"PCMU\"]";
    let scene = scene("redirects", "", keys);
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect(TENANT);
    let mut call = teams.call(&flow, TENANT, CALLED, "+442079460001", &offer(&scene));
    let (invite, callee) = carrier.invited();
    assert_eq!(invite.msg.line('m').map(|line| line.split(' ').nth(3)), Some(Some("0")));
    callee.reply(&invite, "302 Moved", "Contact: <sip:+442079460002@192.0.2.1>\r\n", "");
    let (invite, callee) = carrier.invited();
    let target = format!("sip:+442079460002@{}", carrier.ip());
    assert!(invite.msg.uri().starts_with(&target), "{}", invite.msg);
    callee.reply(&invite, "486 Busy Here", "", "");
    assert_eq!(call.final_response().msg.status(), 486);
    call.ack_failure();
    let record = &gateway.wait_records(1)[0];
    let statuses: Vec<_> =
        record["attempts"].as_array().unwrap().iter().map(|it| &it["status"]).collect();
    assert_eq!(statuses, [302, 486]);
}
