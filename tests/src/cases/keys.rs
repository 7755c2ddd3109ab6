//! Keys of the configuration, by what they do to a call.

use crate::harness::dialog::{Dialog, Invite};
use crate::harness::media::{CM_80, Crypto, MediaEnd, talk};
use crate::harness::place::{CARRIER_A, CARRIER_B, PROXY};
use crate::harness::scene::{Carrier, Scene, Teams};
use crate::harness::talking::{CALLED, CALLER, Talking, answer_to};

const TENANT: &str = "t001.sbc.test";
const NUMBER: &str = "+442079460001";

/// A call that Teams answers with 486; gives the INVITE that Teams saw.
fn probe(teams: &Teams, carrier: &Carrier, uri: &str) -> crate::harness::sip::Msg {
    let media = MediaEnd::new(carrier.ip(), 7000);
    let mut call = Dialog::invite(
        &carrier.persona,
        &carrier.flow,
        &Invite {
            uri,
            from: &format!("<sip:{CALLER}@{}>", carrier.ip()),
            to: &format!("<{uri}>"),
            extra: "",
            sdp: &media.plain_sdp("sendrecv"),
        },
    );
    let (invite, callee) = teams.invited();
    callee.is_busy(&invite, &mut call);
    invite.msg
}

/// A call that gets nowhere; gives the status.
fn refused(carrier: &Carrier, uri: &str) -> u16 {
    let media = MediaEnd::new(carrier.ip(), 7000);
    let mut call = Dialog::invite(
        &carrier.persona,
        &carrier.flow,
        &Invite {
            uri,
            from: &format!("<sip:{CALLER}@{}>", carrier.ip()),
            to: &format!("<{uri}>"),
            extra: "",
            sdp: &media.plain_sdp("sendrecv"),
        },
    );
    let status = call.final_response().msg.status();
    call.ack_failure();
    status
}

#[test]
fn numbers_as_ranges_single_numbers_and_files() {
    let mut scene = Scene::new("numbers");
    scene
        .trunk("carrier-a", "udp", CARRIER_A, "")
        .file("tenants.d/t001.csv", "+15550012000\n+15550013000-+15550013009\n")
        .file(
            "tenants.d/t001.toml",
            "[tenant]\nname = \"t001\"\nfqdn = \"t001.sbc.test\"\ntrunks = [\"carrier-a\"]\n\
             numbers = [\"+15550010000-+15550010009\", \"+15550011000\", { file = \"t001.csv\" }]\n",
        );
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let gate = carrier.flow.remote();
    for number in ["+15550010000", "+15550010009", "+15550011000", "+15550012000", "+15550013005"] {
        let invite = probe(&teams, &carrier, &format!("sip:{number}@{gate}"));
        assert_eq!(invite.host_of("Contact"), TENANT);
    }
    for number in ["+15550010010", "+15550010999", "+15550011001", "+15550013010"] {
        assert_eq!(refused(&carrier, &format!("sip:{number}@{gate}")), 404, "{number}");
    }
}

/// TR-019 in short: national formats are read by the trunk's country.
#[test]
fn country_reads_national_numbers() {
    let mut scene = Scene::new("country");
    scene.trunk("carrier-a", "udp", CARRIER_A, "country = \"GB\"").tenant(
        "t001",
        &["carrier-a"],
        &["+442079461000-+442079461999"],
        "",
    );
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let gate = carrier.flow.remote();
    for uri in [
        format!("sip:02079461234@{gate}"),
        format!("sip:+442079461234@{gate};user=phone"),
        format!("sip:00442079461234@{gate}"),
        "tel:+44-20-7946-1234".to_owned(),
    ] {
        let invite = probe(&teams, &carrier, &uri);
        assert!(invite.uri().starts_with("sip:+442079461234@"), "{uri}: {}", invite.uri());
        assert!(invite.uri_of("To").starts_with("sip:+442079461234@"), "{uri}: {invite}");
    }
    // Nothing that could be a number.
    assert_eq!(refused(&carrier, &format!("sip:reception@{gate}")), 484);
}

/// Two trunks behind the same address are told apart by what is dialled, and how.
#[test]
fn match_chooses_among_trunks_of_one_network() {
    let mut scene = Scene::new("match");
    let address = scene.place.ip(CARRIER_A);
    let common = format!("peers = [\"udp:{address}:5060\"]\nnetworks = [\"{address}/32\"]");
    for (name, rule) in [
        ("by-prefix", "called_prefix = \"+1555002\""),
        ("by-host", "uri_host = \"special.carrier.test\""),
        ("by-group", "tgrp = \"gold\""),
    ] {
        scene.trunk_text(&format!("name = \"{name}\"\n{common}\nmatch = {{ {rule} }}"));
    }
    scene
        .tenant("t001", &["by-group"], &["+15550010001", "+1001"], "")
        .tenant("t002", &["by-prefix"], &["+15550020001", "+1002"], "")
        .tenant("t003", &["by-host"], &["+15550030001", "+1001"], "");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let gate = carrier.flow.remote();
    for (uri, tenant) in [
        (format!("sip:+15550020001@{gate}"), "t002"),
        ("sip:+1001@special.carrier.test".to_owned(), "t003"),
        (format!("sip:+1001;tgrp=gold;trunk-context=carrier.test@{gate}"), "t001"),
    ] {
        let invite = probe(&teams, &carrier, &uri);
        assert_eq!(invite.host_of("Contact"), format!("{tenant}.sbc.test"), "{uri}");
    }
}

/// `inbound_trunks` lets calls in, `trunks` lets them out as well; a tenant's own trunk is its own.
#[test]
fn trunks_inbound_trunks_and_a_trunk_of_ones_own() {
    let mut scene = Scene::new("inbound");
    let own = scene.place.ip(52);
    scene
        .trunk("carrier-a", "udp", CARRIER_A, "")
        .trunk("carrier-b", "udp", CARRIER_B, "")
        .tenant(
            "t001",
            &["own-pbx"],
            &["+15550010000-+15550019999"],
            &format!(
                "inbound_trunks = [\"carrier-b\"]\n[[trunk]]\nname = \"own-pbx\"\npeers = [\"udp:{own}:5060\"]"
            ),
        );
    let teams = scene.teams();
    let (a, b, pbx) =
        (scene.carrier_udp(CARRIER_A), scene.carrier_udp(CARRIER_B), scene.carrier_udp(52));
    let gateway = scene.start();
    gateway.healthy();
    let gate = a.flow.remote();
    let uri = format!("sip:{CALLED}@{gate}");
    assert_eq!(refused(&a, &uri), 404);
    probe(&teams, &b, &uri);
    probe(&teams, &pbx, &uri);
    let flow = teams.connect(TENANT);
    let call = Talking::outgoing(&teams, &flow, TENANT, &pbx, NUMBER);
    call.teams_hangs_up();
    a.not_invited();
    b.not_invited();
}

#[test]
fn max_calls_bounds_one_tenant_only() {
    let mut scene = Scene::new("max_calls");
    scene
        .trunk("carrier-a", "udp", CARRIER_A, "")
        .tenant("t001", &["carrier-a"], &["+15550010000-+15550019999"], "max_calls = 2")
        .tenant("t002", &["carrier-a"], &["+15550020000-+15550029999"], "");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let gate = carrier.flow.remote();
    let first = Talking::incoming_from(&teams, &carrier, "+15550010001", 7010);
    let second = Talking::incoming_from(&teams, &carrier, "+15550010002", 7012);
    let status = refused(&carrier, &format!("sip:+15550010003@{gate}"));
    assert!(matches!(status, 486 | 503), "{status}");
    let other = Talking::incoming_from(&teams, &carrier, "+15550020001", 7014);
    first.carrier_hangs_up();
    let third = Talking::incoming_from(&teams, &carrier, "+15550010003", 7016);
    for call in [second, third, other] {
        call.teams_hangs_up();
    }
}

/// A trunk over TLS with SRTP: both legs are encrypted, each with its own keys.
#[test]
fn a_trunk_over_tls_with_srtp() {
    let mut scene = Scene::new("tls_trunk");
    let address = scene.place.ip(CARRIER_A);
    scene
        .host("secure.carrier.test", CARRIER_A)
        .trunk_text(&format!(
            "name = \"carrier-a\"\npeers = [\"tls:secure.carrier.test:5061\"]\nnetworks = [\"{address}/32\"]"
        ))
        .tenant("t001", &["carrier-a"], &["+15550010000-+15550019999"], "");
    let teams = scene.teams();
    let gateway = scene.start();
    let carrier = scene.carrier_tls(CARRIER_A, "secure.carrier.test");
    gateway.healthy();
    // In.
    let own = Crypto::fresh(1, CM_80);
    let mut near = MediaEnd::new(carrier.ip(), 7000);
    let mut far = MediaEnd::new(scene.place.ip(PROXY), 7000);
    let mut caller = carrier.call(CALLER, CALLED, &near.secure_sdp(&[&own], "sendrecv", ""));
    let (invite, callee) = teams.invited();
    let (sdp, _, theirs) = answer_to(&mut far, &invite.msg);
    callee.reply(&invite, "200 OK", "", &sdp);
    let answer = caller.response(200);
    caller.ack();
    assert_ne!(Crypto::of(&answer.msg).key, theirs.key, "keys of one leg on the other");
    near.secure(&own, &Crypto::of(&answer.msg));
    near.towards(&answer.msg);
    talk(&mut near, &mut far, 40);
    caller.send("BYE", "", "");
    callee.hung_up();
    // Out, by name.
    let flow = teams.connect(TENANT);
    let mut call =
        teams.call(&flow, TENANT, CALLED, NUMBER, &far.secure_sdp(&[&own], "sendrecv", ""));
    let (invite, callee) = carrier.invited();
    assert_eq!(invite.flow.transport(), "TLS");
    let mut near = MediaEnd::new(carrier.ip(), 7002);
    let (sdp, _, _) = answer_to(&mut near, &invite.msg);
    callee.reply(&invite, "200 OK", "", &sdp);
    let answer = call.response(200);
    call.ack();
    far.mux = false;
    far.secure(&own, &Crypto::of(&answer.msg));
    far.towards(&answer.msg);
    talk(&mut near, &mut far, 40);
    call.hang_up();
}
