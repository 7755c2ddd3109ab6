//! Attacks on numbers by their number, AT-nn: tenants that cross into others, toll fraud, transfers that somebody else pays for.

use crate::harness::gateway::Gateway;
use crate::harness::media::{CM_80, Crypto, MediaEnd};
use crate::harness::place::{CARRIER_A, CARRIER_B, PROXY};
use crate::harness::scene::{Carrier, Scene, Teams};
use crate::harness::talking::{CALLED, CALLER, Talking};

/// The PBX of t001.
const PBX: u8 = 54;
const TENANT: &str = "t001.sbc.test";
const NUMBER: &str = "+442079460001";
/// A number of t002.
const OTHERS: &str = "+15550020001";

/// t001 on carrier-a and with a PBX of its own, t002 on carrier-b.
fn scene(test: &str, pbx_keys: &str) -> Scene {
    let mut scene = Scene::new(test);
    let pbx = scene.place.ip(PBX);
    let own = format!(
        "country = \"GB\"\n\n[[trunk]]\nname = \"pbx-1\"\ncountry = \"GB\"\npeers = [\"udp:{pbx}:5060\"]\n\
         networks = [\"{pbx}/32\"]\n{pbx_keys}"
    );
    scene
        .trunk("carrier-a", "udp", CARRIER_A, "")
        .trunk("carrier-b", "udp", CARRIER_B, "")
        .tenant("t001", &["carrier-a", "pbx-1"], &["+15550010000-+15550019999"], &own)
        .tenant("t002", &["carrier-b"], &["+15550020000-+15550029999"], "");
    scene
}

struct Ends {
    teams: Teams,
    a: Carrier,
    pbx: Carrier,
    gateway: Gateway,
    plain: String,
    secure: String,
}

fn ends(scene: &Scene) -> Ends {
    let teams = scene.teams();
    let [a, pbx] = [CARRIER_A, PBX].map(|host| scene.carrier_udp(host));
    let gateway = scene.start();
    gateway.healthy();
    let plain = MediaEnd::new(pbx.ip(), 7900).plain_sdp("sendrecv");
    let keys = Crypto::fresh(1, CM_80);
    let secure = MediaEnd::new(scene.place.ip(PROXY), 7900).secure_sdp(&[&keys], "sendrecv", "");
    Ends { teams, a, pbx, gateway, plain, secure }
}

/// AT-04: neither a carrier nor a PBX that does not serve a tenant reaches its numbers at Teams; nobody shows one, or has it send
/// calls on, but its owner.
#[test]
fn at_04_numbers_of_another_tenant_are_neither_reached_nor_shown() {
    let scene = scene("at_04", "");
    let Ends { teams, a, pbx, gateway, plain, .. } = ends(&scene);
    let mut call = a.call(CALLER, OTHERS, &plain);
    let refusal = call.final_response().msg;
    assert_eq!(refusal.status(), 404, "{refusal}");
    call.ack_failure();
    let record = &gateway.wait_records(1)[0];
    assert_eq!(record["legs"][0]["trunk"], "carrier-a", "{record}");
    assert_eq!(record["legs"][0]["tenant"], serde_json::Value::Null, "{record}");
    assert_eq!(record["attempts"], serde_json::json!([]), "{record}");
    // For the PBX it is a number of the public network, to be reached by its tenant's carrier and by nothing shorter.
    let mut call = pbx.call(CALLED, OTHERS, &plain);
    let (invite, callee) = a.invited();
    assert!(invite.msg.uri().contains(OTHERS), "{}", invite.msg);
    callee.is_busy(&invite, &mut call);
    teams.not_invited();
    let record = &gateway.wait_records(2)[1];
    let [caller, callee] = [0, 1].map(|leg| &record["legs"][leg]);
    assert_eq!(
        (&caller["trunk"], &caller["tenant"]),
        (&"pbx-1".into(), &"t001".into()),
        "{record}"
    );
    assert_eq!((&callee["trunk"], callee.get("tenant")), (&"carrier-a".into(), None), "{record}");
    let diversion =
        |number: &str| format!("Diversion: <sip:{number}@pbx.test>;reason=no-answer\r\n");
    let history = |number: &str| {
        format!(
            "History-Info: <sip:{number}@pbx.test?Reason=SIP%3Bcause%3D408>;index=1\r\n\
             History-Info: <sip:{CALLED}@gateway.test>;index=1.1\r\n"
        )
    };
    let referred = |number: &str| format!("Referred-By: <sip:{number}@pbx.test>\r\n");
    let (main, own) = ("+15550010000", "+15550010009");
    for (caller, extra, shown) in [
        ("+15550010007", String::new(), "+15550010007"),
        (OTHERS, String::new(), main),
        (OTHERS, diversion(OTHERS), main),
        (OTHERS, history(OTHERS), main),
        (OTHERS, referred(OTHERS), main),
        // Behind a number of its own the original caller stays.
        (OTHERS, diversion(own), OTHERS),
        (OTHERS, history(own), OTHERS),
        (OTHERS, referred(own), OTHERS),
    ] {
        let mut call = pbx.call_with(caller, CALLED, &extra, &plain);
        let (invite, callee) = teams.invited();
        let text = invite.msg.to_string();
        let from = invite.msg.need("From");
        assert!(from.contains(&format!("sip:{shown}@")), "{caller} {extra}: {text}");
        assert_eq!(text.contains(OTHERS), shown == OTHERS, "{caller} {extra}: {text}");
        callee.is_busy(&invite, &mut call);
    }
}

/// AT-06: what costs more than a call is barred however it is dialled, and what is no number is none; nothing is sent.
#[test]
fn at_06_numbers_that_cost_more_are_barred_however_they_are_dialled() {
    let scene = scene("at_06", "trunks = [\"carrier-a\"]");
    let Ends { teams, a, pbx, gateway, plain, secure } = ends(&scene);
    let flow = teams.connect(TENANT);
    let mut refused = 0;
    for (called, status) in [
        ("+88213456789", 403),
        ("0088213456789", 403),
        ("+979123456789", 403),
        ("+5355512345", 403),
        ("+449098790000", 403),
        ("09098790000", 403),
        ("09098790000;phone-context=+44", 403),
        ("%2331%23+442079460001", 403),
        ("*21*442079460001%23", 403),
        ("+4420794600014420794600014420794600014420", 0),
        ("%D9%A1%D9%A2%D9%A3%D9%A4%D9%A5%D9%A6%D9%A7%D9%A8", 0),
    ] {
        for from_teams in [true, false] {
            let mut call = match from_teams {
                true => teams.call(&flow, TENANT, CALLED, called, &secure),
                false => pbx.call(CALLED, called, &plain),
            };
            let refusal = call.final_response().msg;
            let fits = if status == 0 { &[403, 404, 484][..] } else { &[status][..] };
            assert!(fits.contains(&refusal.status()), "{called}: {refusal}");
            call.ack_failure();
            refused += 1;
        }
    }
    a.not_invited();
    gateway.wait_records(refused);
    // The same numbers without what makes them dear.
    for from_teams in [true, false] {
        let mut call = match from_teams {
            true => teams.call(&flow, TENANT, CALLED, NUMBER, &secure),
            false => pbx.call(CALLED, "02079460001", &plain),
        };
        let (invite, callee) = a.invited();
        assert!(invite.msg.uri().contains(NUMBER), "{}", invite.msg);
        callee.is_busy(&invite, &mut call);
    }
}

/// AT-08: who may not transfer does not; who may cannot reach what it may not call, and the call counts as its own.
#[test]
fn at_08_a_refer_reaches_nobody_whom_its_trunk_may_not_call_and_counts() {
    let keys = "refer = \"local\"\ntrunks = [\"carrier-a\"]\nlimits = { made = { calls = 2 } }";
    let scene = scene("at_08", keys);
    let Ends { teams, a, pbx, gateway, plain, .. } = ends(&scene);
    let to = |number: &str| format!("Refer-To: <sip:{number}@gateway.test>\r\n");
    let mut carrier_call = Talking::incoming(&teams, &a, CALLED);
    let refusal = carrier_call.carrier.ask("REFER", &to(NUMBER), "").msg;
    assert_eq!(refusal.status(), 405, "{refusal}");
    carrier_call.carrier_hangs_up();

    let mut call = Talking::incoming_from(&teams, &pbx, CALLED, 7300);
    for barred in ["+88213456789", "09098790000", "+979123456789"] {
        let refusal = call.carrier.ask("REFER", &to(barred), "").msg;
        assert_eq!(refusal.status(), 403, "{refusal}");
    }
    a.not_invited();
    let accepted = call.carrier.ask("REFER", &to(NUMBER), "").msg;
    assert_eq!(accepted.status(), 202, "{accepted}");
    let (invite, target) = a.invited();
    assert!(invite.msg.uri().contains(NUMBER), "{}", invite.msg);
    // Its own call and that one: as many as it may make.
    let mut third = pbx.call(CALLED, "+442079460002", &plain);
    let refusal = third.final_response().msg;
    assert_eq!(refusal.status(), 503, "{refusal}");
    third.ack_failure();
    let full = "trunkgate_calls_ended_total{cause=\"trunk_full\"}";
    gateway.until("counted", || gateway.count(full) == 1.0);
    target.reply(&invite, "486 Busy Here", "", "");
    for told in ["100 Trying", "486 Busy Here"] {
        let notify = call.carrier.take("NOTIFY");
        call.carrier.reply(&notify, "200 OK", "", "");
        assert!(notify.msg.body.contains(told), "{}", notify.msg);
    }
    let mut third = pbx.call(CALLED, "+442079460002", &plain);
    let (invite, callee) = a.invited();
    callee.is_busy(&invite, &mut third);
    call.talk();
    call.carrier_hangs_up();
}
