//! Several customers on shared trunks, and one of them calls ten times as fast as it may: it gets its share, the others
//! notice nothing, and who calls for help is through whatever is full (AT-07, TR-068).

use std::collections::HashMap;
use std::env;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::crowd::{Crowd, Figures};
use crate::harness::dialog::{Dialog, Invite};
use crate::harness::gateway::Gateway;
use crate::harness::media::{CM_80, Crypto, MediaEnd};
use crate::harness::place::{CARRIER_A, CARRIER_B, PROXY};
use crate::harness::robot;
use crate::harness::scene::{Carrier, Scene, Teams, options_without_contact};
use crate::harness::talking::{CALLER, Talking};
use crate::harness::wire::Flow;

/// What the greedy tenant may have a second, and at once after a quiet while.
const SHARE: u32 = 20;
/// Each of its two directions alone calls five times as fast as that.
const GREEDY_GAP: Duration = Duration::from_millis(10);
/// Each direction of the neighbours' calls: 100 a second together.
const GAP: Duration = Duration::from_millis(20);
const HOLD: Duration = Duration::from_millis(300);
/// Without limits its calls alone would be more than both trunks take.
const GREEDY_HOLD: Duration = Duration::from_secs(2);
/// A number of t004, where every call is answered.
const LATE: &str = "+15550040001";
/// By how much a set-up of the neighbours may take longer.
const LONGER: Duration = Duration::from_millis(20);

struct Street {
    crowd: Arc<Crowd>,
    teams: Teams,
    flow: Flow,
    carriers: [Carrier; 2],
    offers: [String; 2],
}

/// Two phases of so many seconds each, without the greedy tenant and with it. What other programs do to this machine in
/// one of them tells nothing of the gateway, so set-up times are judged by the best of three rounds: where the neighbours
/// suffer from the greedy one, they do in each. So is who got how much, in a round in which the machine stood still for so
/// long that calls were refused for load. All else counts in every round.
#[test]
fn at_07_a_tenant_at_ten_times_its_rate_gets_its_share_and_its_neighbours_notice_nothing() {
    let seconds = env::var("TRUNKGATE_NEIGHBOUR_SECONDS").ok();
    let seconds: u32 = seconds.and_then(|text| text.parse().ok()).unwrap_or(10);
    let mut scene = Scene::within("neighbours", Duration::from_secs(90 + 7 * u64::from(seconds)));
    scene.ports("20000-20999").trunk("carrier-a", "udp", CARRIER_A, "max_calls = 120").trunk(
        "carrier-b",
        "udp",
        CARRIER_B,
        "max_calls = 120\nlimit_status = 486",
    );
    for n in 1..=4 {
        let trunk = if n <= 2 { "carrier-a" } else { "carrier-b" };
        scene.tenant(&tenant(n), &[trunk], &[&numbers(n)], "");
    }
    let limits = format!("limits = {{ per_second = {SHARE} }}");
    scene.tenant(&tenant(9), &["carrier-a", "carrier-b"], &[&numbers(9)], &limits);
    let crowd = Crowd::new();
    let teams = scene.teams_with(1, crowd.machine());
    let carriers = [CARRIER_A, CARRIER_B].map(|host| scene.carrier_udp_with(host, crowd.machine()));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect("t001.sbc.test");
    let media = [MediaEnd::new(scene.place.ip(PROXY), 7000), MediaEnd::new(carriers[0].ip(), 7000)];
    let secure = media[0].secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", "");
    let offers = [secure, media[1].plain_sdp("sendrecv")];
    let street = Street { crowd, teams, flow, carriers, offers };
    let mut last = Vec::new();
    for round in 1..=3 {
        let before = gateway.count(&ended("overload"));
        let alone = street.phase(seconds, false);
        let beside = street.phase(seconds, true);
        let overload = gateway.count(&ended("overload")) - before;
        for full in ["tenant_full", "trunk_full", "number_full"] {
            assert!(gateway.count(&ended(full)) < 1.0, "{}", causes(&gateway));
        }
        last = judge(&alone, &beside, seconds, overload);
        println!("measured: round {round}, alone:  {}", alone["neighbours"]);
        for (group, figures) in &beside {
            println!("measured: round {round}, beside: {group}: {figures}");
        }
        if last.is_empty() {
            break;
        }
        println!("round {round}: {last:?}");
    }
    street.crowd.end();
    assert!(last.is_empty(), "in each of three rounds: {last:?}\n{}", causes(&gateway));
}

/// What the neighbours would complain of; panics at what no busy machine explains. `overload`: how many calls were
/// refused for it.
fn judge(
    alone: &HashMap<&'static str, Figures>,
    beside: &HashMap<&'static str, Figures>,
    seconds: u32,
    overload: f64,
) -> Vec<String> {
    let help = &beside["help"];
    assert_eq!((help.whole, help.placed), (2 * seconds as usize, 2 * seconds as usize), "{help}");
    let mut faults = Vec::new();
    let greedy = ["greedy from teams", "greedy from a", "greedy from b"].map(|name| &beside[name]);
    let span = greedy.iter().map(|of| of.span).max().unwrap_or_default().as_secs_f64();
    let got: usize = greedy.iter().map(|of| of.set_up.len()).sum();
    let (offered, share) = (greedy.map(|of| of.placed).iter().sum::<usize>(), f64::from(SHARE));
    // A token bucket: what it holds at first, and one more each time that a share of a second is over. It goes by when
    // a call is read, and the span by when it is sent.
    let [least, most] = [-0.1, 0.5].map(|off| (share + share * (span + off)).floor() as usize);
    println!("measured: {got} of {offered} in {span:.3} s, {least} to {most} are its share");
    assert!(got <= most, "{got} calls, and its share is {most}");
    if got < least {
        faults.push(format!("{got} calls of the greedy one, and its share is {least}"));
    }
    // How each of its calls beyond is refused.
    for (of, status) in greedy.into_iter().zip([503, 503, 486]) {
        let refused = of.placed - of.set_up.len();
        let as_it_should = of.refused.get(&status).copied().unwrap_or(0);
        let waits = if status == 503 { refused } else { 0 };
        if (as_it_should, of.asked_to_wait) != (refused, waits) || of.whole != of.set_up.len() {
            faults.push(format!("{status} expected, {} asked to wait: {of}", of.asked_to_wait));
        }
    }
    let [alone, beside] = [&alone["neighbours"], &beside["neighbours"]];
    let refused = |phase: &Figures| phase.refused.values().sum::<usize>() as f64;
    // Who was refused, was so for load, which is nobody's share.
    assert!(refused(alone) + refused(beside) <= overload, "{overload}: {alone}, {beside}");
    for phase in [alone, beside] {
        assert_eq!(phase.placed, 100 * seconds as usize);
        if phase.whole * 1000 < phase.placed * 999 {
            faults.push(format!("less than 99.9 % of the neighbours' calls: {phase}"));
        }
    }
    assert!(faults.is_empty() || overload > 0.0, "{faults:?}");
    // A test that stood still has not called ten times as fast.
    if (offered as f64) < 9.0 * share * span {
        faults.push(format!("{offered} offered in {span:.3} s"));
    }
    let [before, with] = [alone, beside].map(|phase| phase.within(99));
    if with > before + LONGER {
        faults.push(format!("set-up p99 {before:?} alone, {with:?} beside"));
    }
    faults
}

/// Causes by which calls ended.
fn causes(gateway: &Gateway) -> String {
    let (_, metrics) = gateway.get("/metrics");
    let lines = metrics.lines().filter(|line| line.starts_with("trunkgate_calls_ended_total"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The name of the counter.
fn ended(cause: &str) -> String {
    format!("trunkgate_calls_ended_total{{cause=\"{cause}\"}}")
}

fn tenant(n: u32) -> String {
    format!("t{n:03}")
}

fn numbers(n: u32) -> String {
    format!("+155500{n}0000-+155500{n}9999")
}

impl Street {
    fn phase(&self, seconds: u32, greedy: bool) -> HashMap<&'static str, Figures> {
        thread::scope(|scope| {
            let count = |gap: Duration| seconds * 1000 / gap.as_millis() as u32;
            scope.spawn(move || {
                Crowd::calls(count(GAP), GAP, |n| {
                    let called = format!("+44207946{n:04}");
                    self.out("neighbours", HOLD, 1 + n % 4, n, &called);
                });
            });
            scope.spawn(move || {
                Crowd::calls(count(GAP), GAP, |n| {
                    self.inward("neighbours", HOLD, 1 + n % 4, n, usize::from(n % 4 >= 2));
                });
            });
            if !greedy {
                return;
            }
            scope.spawn(move || {
                Crowd::calls(count(GREEDY_GAP), GREEDY_GAP, |n| {
                    let called = format!("+44207946{n:04}");
                    self.out("greedy from teams", GREEDY_HOLD, 9, n, &called);
                });
            });
            scope.spawn(move || {
                Crowd::calls(count(GREEDY_GAP), GREEDY_GAP, |n| {
                    let by = n as usize % 2;
                    let group = ["greedy from a", "greedy from b"][by];
                    self.inward(group, GREEDY_HOLD, 9, n, by);
                });
            });
            // Somebody at the greedy tenant calls for help all the while.
            let gap = Duration::from_millis(500);
            scope.spawn(move || {
                Crowd::calls(count(gap), gap, |n| self.out("help", HOLD, 9, n, "112"));
            });
        });
        self.crowd.settle(Duration::from_secs(12))
    }

    /// A call that a tenant makes.
    fn out(&self, group: &'static str, hold: Duration, of: u32, n: u32, called: &str) {
        let (tenant, caller) = (format!("{}.sbc.test", tenant(of)), format!("+155500{of}{n:04}"));
        let invite = Invite {
            uri: &format!("sip:{called}@{tenant}:5061;user=phone;transport=tls"),
            from: &format!("<sip:{caller}@sip.teams.test:5061;user=phone>"),
            to: &format!("<sip:{called}@{tenant}:5061;user=phone>"),
            extra: "",
            sdp: &self.offers[0],
        };
        self.crowd.call(group, hold, (&self.teams.persona, &self.flow), &invite);
    }

    /// A call that it receives by one of the trunks.
    fn inward(&self, group: &'static str, hold: Duration, of: u32, n: u32, by: usize) {
        let carrier = &self.carriers[by];
        let (gate, called) = (carrier.flow.remote(), format!("+155500{of}{n:04}"));
        let invite = Invite {
            uri: &format!("sip:{called}@{gate}"),
            from: &format!("<sip:+44207123{n:04}@{}>", carrier.ip()),
            to: &format!("<sip:{called}@{gate}>"),
            extra: "",
            sdp: &self.offers[1],
        };
        self.crowd.call(group, hold, (&carrier.persona, &carrier.flow), &invite);
    }
}

/// Its tenant has as many calls as it may, so has its trunk, and all ports are taken but those that are kept back; or the
/// gateway has been away for so long that it refuses new calls.
#[test]
fn tr_068_with_everything_full_a_call_for_help_is_through() {
    let mut scene = Scene::new("everything_full");
    scene
        // 32 pairs on each side, of which two are kept back.
        .ports("20000-20063")
        .trunk("carrier-a", "udp", CARRIER_A, "max_calls = 4")
        .trunk("carrier-b", "udp", CARRIER_B, "")
        .tenant("t001", &["carrier-a"], &[&numbers(1)], "max_calls = 4")
        .tenant("t002", &["carrier-a"], &[&numbers(2)], "")
        .tenant("t003", &["carrier-b"], &[&numbers(3)], "")
        .tenant("t004", &["carrier-b"], &[&numbers(4)], "");
    let teams = scene.teams_with(
        1,
        Box::new(|received| {
            let late = received.msg.is_request() && received.msg.need("To").contains(LATE);
            if late { robot::serve(received) } else { options_without_contact(received) }
        }),
    );
    let [a, b] = [CARRIER_A, CARRIER_B].map(|host| scene.carrier_udp(host));
    let gateway = scene.start();
    gateway.healthy();
    let flow = teams.connect("t001.sbc.test");
    let out = |tenant: &str, carrier: &Carrier, called: &str, port: u16| {
        Talking::outgoing_from(&teams, &flow, tenant, carrier, (called, port))
    };
    let mut up = Vec::new();
    for n in 0..4 {
        up.push(out("t001.sbc.test", &a, &format!("+44207946000{n}"), 7000 + 2 * n));
    }
    let mut crowd = Vec::new();
    for n in 0..26 {
        crowd.push(out("t003.sbc.test", &b, &format!("+4420794601{n:02}"), 7100 + 2 * n));
    }
    let media = MediaEnd::new(scene.place.ip(PROXY), 7200);
    let offer = media.secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", "");
    let far = MediaEnd::new(a.ip(), 7210);
    let plain = far.plain_sdp("sendrecv");
    let refused = |tenant: &str, cause: &str| {
        let fqdn = format!("{tenant}.sbc.test");
        let mut call = teams.call(&flow, &fqdn, CALLER, "+442079460099", &offer);
        let refusal = call.final_response().msg;
        assert_eq!((refusal.status(), refusal.need("Retry-After")), (503, "2"), "{refusal}");
        call.ack_failure();
        gateway.until(cause, || gateway.count(&ended(cause)) == 1.0);
    };
    refused("t001", "tenant_full");
    refused("t002", "trunk_full");
    refused("t003", "no_ports");
    let mut help = out("t001.sbc.test", &a, "112", 7300);
    help.talk();

    // Ports are free again, and carrier-b and t004 have room. The gateway is stopped while far more comes than it is told
    // of later: calls but those for help have waited too long, all but the last sixteen.
    crowd.into_iter().for_each(Talking::teams_hangs_up);
    gateway.signal(Signal::STOP);
    let late: Vec<Dialog> =
        (0..50).map(|n| b.call(&format!("+4420712300{n:02}"), LATE, &plain)).collect();
    let mut again = teams.call(&flow, "t001.sbc.test", "+15550010002", "112", &offer);
    thread::sleep(Duration::from_millis(200));
    gateway.signal(Signal::CONT);
    let (invite, callee) = a.invited();
    assert!(invite.msg.uri().contains("112@"), "{}", invite.msg);
    callee.reply(&invite, "200 OK", "", &plain);
    again.response(200);
    again.ack();
    callee.take("ACK");
    let mut refused = 0;
    for mut call in late {
        let answer = call.final_response().msg;
        if answer.status() == 200 {
            call.ack();
            call.hang_up();
        } else {
            assert_eq!((answer.status(), answer.need("Retry-After")), (503, "2"), "{answer}");
            call.ack_failure();
            refused += 1;
        }
    }
    let overload = gateway.count(&ended("overload"));
    println!("measured: {refused} of 50 refused, {overload} for load");
    assert!(refused >= 30 && overload == f64::from(refused), "{}", causes(&gateway));
    help.talk();
    again.send("BYE", "", "");
    callee.hung_up();
    again.took_200("BYE");
    up.push(help);
    for call in up {
        call.teams_hangs_up();
    }
    // Refusals have records as well, so that it is not told by their number when all are there.
    let helped = |r: &&Value| r["legs"][0]["called"] == "112" && r["cause"]["sip"] == 200;
    gateway.until("recorded", || gateway.records().iter().filter(helped).count() == 2);
}
