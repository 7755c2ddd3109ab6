//! The locator against small zones on virtual time, by the cases of RFC 3263 and by what zones and
//! resolvers do wrong.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::rig::{Bench, bench, by, record, text, to};
use super::*;

const SERVICES: &[(&str, &[&str])] = &[
    ("h.example", &["A 10.0.0.9"]),
    ("_sip._udp.h.example", &["SRV 10 0 5070 a.example"]),
    ("_sip._tcp.h.example", &["SRV 10 0 5071 b.example"]),
    ("_sips._tcp.h.example", &["SRV 10 0 5072 a.example", "SRV 20 0 5073 b.example"]),
    ("a.example", &["A 10.0.0.1"]),
    ("b.example", &["A 10.0.0.2", "AAAA 2001:db8::2"]),
];

/// RFC 3263 §4.1 and §4.2, row by row: what is asked and what comes of it.
#[test]
fn table() {
    let naptr: &[&str] = &[
        "NAPTR 90 50 s SIP+D2T _sip._tcp.h.example",
        "NAPTR 50 60 s SIPS+D2T _sips._tcp.h.example",
        "NAPTR 50 50 s SIP+D2U _sip._udp.h.example.",
        "NAPTR 10 10 s SIP+D2S _sip._sctp.h.example",
        "NAPTR 10 10 u E2U+sip .",
    ];
    let with_naptr = |bench: &mut Bench| {
        let mut records = vec!["A 10.0.0.9"];
        records.extend(naptr);
        bench.set("h.example", 300, &records);
    };
    type Row = (&'static str, bool, Destination, &'static [&'static str], &'static [&'static str]);
    let rows: [Row; 12] = [
        ("an address", false, to("192.0.2.1"), &[], &["UDP 192.0.2.1:5060"]),
        ("an IPv6 address", false, to("[2001:db8::1]"), &[], &["UDP [2001:db8::1]:5060"]),
        (
            "an address and a transport",
            false,
            by("192.0.2.1", Transport::Tls),
            &[],
            &["TLS 192.0.2.1:5061"],
        ),
        (
            "a secure address",
            false,
            Destination { secure: true, port: Some(7), ..to("192.0.2.1") },
            &[],
            &["TLS 192.0.2.1:7"],
        ),
        (
            "a name and a port",
            true,
            Destination { port: Some(5090), ..to("h.example") },
            &["A h.example", "Aaaa h.example"],
            &["UDP 10.0.0.9:5090"],
        ),
        (
            "a name, a port and a transport",
            true,
            Destination { port: Some(5090), ..by("H.Example.", Transport::Tcp) },
            &["A h.example", "Aaaa h.example"],
            &["TCP 10.0.0.9:5090"],
        ),
        (
            "a name and a transport",
            true,
            by("h.example", Transport::Tcp),
            &["Srv _sip._tcp.h.example", "A b.example", "Aaaa b.example"],
            &["TCP 10.0.0.2:5071", "TCP [2001:db8::2]:5071"],
        ),
        (
            "TLS",
            false,
            Destination { family: Family::V4, ..by("h.example", Transport::Tls) },
            &["Srv _sips._tcp.h.example", "A a.example", "A b.example"],
            &["TLS 10.0.0.1:5072", "TLS 10.0.0.2:5073"],
        ),
        (
            "a name with NAPTR",
            true,
            to("h.example"),
            &["Naptr h.example", "Srv _sip._udp.h.example", "A a.example", "Aaaa a.example"],
            &["UDP 10.0.0.1:5070"],
        ),
        (
            "a secure name with NAPTR",
            true,
            Destination { secure: true, family: Family::V4, ..to("h.example") },
            &["Naptr h.example", "Srv _sips._tcp.h.example", "A a.example", "A b.example"],
            &["TLS 10.0.0.1:5072", "TLS 10.0.0.2:5073"],
        ),
        (
            "a name without NAPTR",
            false,
            Destination { family: Family::V4, ..to("h.example") },
            &[
                "Naptr h.example",
                "Srv _sip._udp.h.example",
                "Srv _sip._tcp.h.example",
                "Srv _sips._tcp.h.example",
                "A a.example",
            ],
            &["UDP 10.0.0.1:5070"],
        ),
        (
            "IPv6 alone",
            false,
            Destination { family: Family::V6, ..by("h.example", Transport::Tls) },
            &["Srv _sips._tcp.h.example", "Aaaa a.example", "Aaaa b.example"],
            &["TLS [2001:db8::2]:5073"],
        ),
    ];
    for (name, naptr, destination, asked, found) in rows {
        let mut bench = bench(SERVICES);
        if naptr {
            with_naptr(&mut bench);
        }
        assert_eq!(bench.locate(destination), found, "{name}");
        assert_eq!(bench.asked(), asked, "{name}");
    }
}

#[test]
fn name_without_any_service_is_its_own_server() {
    let zone: &[(&str, &[&str])] = &[("h.example", &["A 10.0.0.1", "AAAA 2001:db8::1"])];
    for (destination, found) in [
        (to("h.example"), ["UDP 10.0.0.1:5060", "UDP [2001:db8::1]:5060"]),
        (by("h.example", Transport::Tls), ["TLS 10.0.0.1:5061", "TLS [2001:db8::1]:5061"]),
        (
            Destination { secure: true, ..to("h.example") },
            ["TLS 10.0.0.1:5061", "TLS [2001:db8::1]:5061"],
        ),
    ] {
        assert_eq!(bench(zone).locate(destination), found);
    }
}

#[test]
fn certificate_name_is_the_one_asked_for() {
    let mut bench = bench(SERVICES);
    assert!(bench.begin(by("H.example", Transport::Tls)).is_none());
    let ended = bench.answer();
    let addresses = ended[0].1.as_ref().unwrap();
    assert!(addresses.iter().all(|address| &*address.name == "h.example"));
}

#[test]
fn n01_secure_never_falls_to_a_naptr_without_tls() {
    let mut bench = bench(&[
        (
            "h.example",
            &[
                "NAPTR 50 50 s SIPS+D2T _sips._tcp.h.example",
                "NAPTR 90 50 s SIP+D2T _sip._tcp.h.example",
            ],
        ),
        ("_sip._tcp.h.example", &["SRV 0 0 5060 a.example"]),
        ("a.example", &["A 10.0.0.1"]),
    ]);
    let destination = Destination { secure: true, ..to("h.example") };
    assert_eq!(bench.locate(destination), ["NotFound"]);
    assert_eq!(bench.asked(), ["Naptr h.example", "Srv _sips._tcp.h.example"]);
}

#[test]
fn n02_lower_order_goes_first_and_the_next_only_when_it_leads_nowhere() {
    let zone: &[(&str, &[&str])] = &[
        (
            "h.example",
            &[
                "NAPTR 90 50 s SIP+D2T _sip._tcp.h.example",
                "NAPTR 50 50 s SIP+D2U _sip._udp.h.example",
            ],
        ),
        ("_sip._udp.h.example", &["SRV 0 0 5060 a.example"]),
        ("_sip._tcp.h.example", &["SRV 0 0 5060 b.example"]),
        ("a.example", &["A 10.0.0.1"]),
        ("b.example", &["A 10.0.0.2"]),
    ];
    let mut first = bench(zone);
    assert_eq!(first.locate(to("h.example")), ["UDP 10.0.0.1:5060"]);
    let mut second = bench(zone);
    second.set("a.example", 300, &[]);
    assert_eq!(second.locate(to("h.example")), ["TCP 10.0.0.2:5060"]);
}

#[test]
fn n03_servers_stand_in_order_of_priority() {
    let mut bench = bench(&[
        ("_sips._tcp.h.example", &["SRV 20 0 5061 b.example", "SRV 10 0 5061 a.example"]),
        ("a.example", &["A 10.0.0.1", "A 10.0.0.2"]),
        ("b.example", &["A 10.0.0.3"]),
    ]);
    assert_eq!(
        bench.locate(by("h.example", Transport::Tls)),
        ["TLS 10.0.0.1:5061", "TLS 10.0.0.2:5061", "TLS 10.0.0.3:5061"]
    );
}

#[test]
fn n06_weights_share_the_first_place() {
    let mut bench = bench(&[
        (
            "_sip._udp.h.example",
            &[
                "SRV 10 60 5060 a.example",
                "SRV 10 20 5060 b.example",
                "SRV 10 20 5060 c.example",
                "SRV 10 0 5060 z.example",
                "SRV 20 900 5060 last.example",
            ],
        ),
        ("a.example", &["A 10.0.0.1"]),
        ("b.example", &["A 10.0.0.2"]),
        ("c.example", &["A 10.0.0.3"]),
        ("z.example", &["A 10.0.0.4"]),
        ("last.example", &["A 10.0.0.5"]),
    ]);
    let mut first: HashMap<String, u32> = HashMap::new();
    for _ in 0..10_000 {
        let found = bench.locate(by("h.example", Transport::Udp));
        assert_eq!(found.len(), 5);
        assert_eq!(found[4], "UDP 10.0.0.5:5060");
        *first.entry(found[0].clone()).or_default() += 1;
    }
    let share = |host: u8| first[&format!("UDP 10.0.0.{host}:5060")];
    assert!((5800..=6200).contains(&share(1)), "{first:?}");
    assert!((1800..=2200).contains(&share(2)), "{first:?}");
    assert!((1800..=2200).contains(&share(3)), "{first:?}");
    assert!(share(4) > 0, "weight 0 has a small chance: {first:?}");
}

#[test]
fn n07_service_that_is_not_offered_asks_for_no_address() {
    let mut bench = bench(&[
        ("h.example", &["A 10.0.0.1"]),
        ("_sip._udp.h.example", &["SRV 0 0 0 ."]),
        ("_sips._tcp.h.example", &["SRV 0 0 5061 a.example"]),
        ("a.example", &["A 10.0.0.2"]),
    ]);
    assert_eq!(bench.locate(by("h.example", Transport::Udp)), ["NotOffered"]);
    assert_eq!(bench.asked(), ["Srv _sip._udp.h.example"]);
    let found = bench.locate(to("h.example"));
    assert_eq!(found, ["TLS 10.0.0.2:5061"], "another transport is offered");
    bench.set("_sips._tcp.h.example", 300, &[]);
    bench.pass(Duration::from_secs(400));
    assert_eq!(bench.locate(to("h.example")), ["NotOffered"]);
}

#[test]
fn n08_passed_answers_serve_while_the_resolver_fails() {
    let mut bench = bench(&[("h.example", &["A 10.0.0.1"])]);
    let destination = || Destination { port: Some(5060), family: Family::V4, ..to("h.example") };
    assert_eq!(bench.locate(destination()), ["UDP 10.0.0.1:5060"]);
    bench.fail("h.example");
    bench.pass(Duration::from_secs(400));
    for _ in 0..600 {
        assert_eq!(bench.locate(destination()), ["UDP 10.0.0.1:5060"]);
        bench.pass(Duration::from_secs(1));
    }
    assert!(bench.locator.counters().stale >= 599, "{:?}", bench.locator.counters());
    assert!(bench.locator.counters().failures <= 340, "asked at most every two seconds");
    assert_eq!(bench.locator.counters().errors, 0);
    bench.set("h.example", 300, &["A 10.0.0.2"]);
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.locate(destination()), ["UDP 10.0.0.2:5060"]);
}

#[test]
fn n08_grace_has_an_end() {
    let mut bench = bench(&[("h.example", &["A 10.0.0.1"])]);
    let destination = || Destination { port: Some(5060), ..to("h.example") };
    bench.locate(destination());
    bench.fail("h.example");
    bench.pass(Duration::from_secs(86_400));
    assert_eq!(bench.locate(destination()), ["UDP 10.0.0.1:5060"]);
    bench.pass(Duration::from_secs(600));
    assert_eq!(bench.locate(destination()), ["Failed"]);
}

#[test]
fn name_that_is_gone_has_no_grace() {
    let mut bench = bench(&[("h.example", &["A 10.0.0.1"])]);
    let destination = || Destination { port: Some(5060), ..to("h.example") };
    bench.locate(destination());
    bench.set("h.example", 300, &[]);
    bench.pass(Duration::from_secs(301));
    assert_eq!(bench.locate(destination()), ["NotFound"]);
    bench.set("h.example", 300, &["A 10.0.0.2"]);
    bench.pass(Duration::from_secs(31));
    assert_eq!(bench.locate(destination()), ["UDP 10.0.0.2:5060"], "and is not forgotten for long");
}

#[test]
fn n09_new_calls_follow_the_zone_within_its_ttl() {
    for ttl in [1, 5, 60, 300, 900, 86_400_u64] {
        let mut bench = bench(&[]);
        bench.set("h.example", ttl, &["A 10.0.0.1"]);
        let destination = || Destination { port: Some(5060), ..to("h.example") };
        assert_eq!(bench.locate(destination()), ["UDP 10.0.0.1:5060"]);
        bench.pass(Duration::from_millis(700));
        bench.set("h.example", ttl, &["A 10.0.0.2"]);
        bench.pass(Duration::from_secs(ttl.min(900)));
        assert_eq!(bench.locate(destination()), ["UDP 10.0.0.2:5060"], "TTL {ttl}");
    }
}

#[test]
fn answers_in_use_are_fetched_before_they_pass_and_others_are_not() {
    let mut bench = bench(&[("h.example", &["A 10.0.0.1"]), ("idle.example", &["A 10.0.0.7"])]);
    let destination = |host: &str| Destination { port: Some(5060), family: Family::V4, ..to(host) };
    bench.locate(destination("idle.example"));
    bench.locate(destination("h.example"));
    bench.asked();
    for _ in 0..60 {
        bench.pass(Duration::from_secs(60));
        assert!(bench.begin(destination("h.example")).is_some(), "no call waits for a name in use");
    }
    let asked = bench.asked();
    assert_eq!(asked.iter().filter(|asked| *asked == "A h.example").count(), 15);
    assert_eq!(asked.len(), 16, "and the idle name once, for its first use: {asked:?}");
}

#[test]
fn n10_answers_are_bounded() {
    let many: Vec<String> = (0..100).map(|n| format!("A 10.0.1.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let servers: Vec<String> = (0..100).map(|n| format!("SRV {n} 0 5060 s{n}.example")).collect();
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    let mut bench = bench(&[("h.example", &many), ("_sip._udp.h.example", &servers)]);
    assert_eq!(bench.locate(Destination { port: Some(5060), ..to("h.example") }).len(), 32);
    bench.asked();
    assert_eq!(bench.locate(by("h.example", Transport::Udp)), ["NotFound"]);
    assert_eq!(bench.asked().len(), 1 + 2 * 16);
}

#[test]
fn n10_silent_resolver_fails_a_lookup_within_two_seconds() {
    let mut bench = bench(&[]);
    let start = bench.now;
    assert!(bench.begin(to("h.example")).is_none());
    let mut ended = bench.ignore();
    while ended.is_empty() {
        bench.now = bench.locator.poll_timeout().unwrap();
        bench.locator.handle_timeout(bench.now);
        ended = bench.ignore();
    }
    assert_eq!(text(&ended[0].1), ["Failed"]);
    assert!(bench.now - start < Duration::from_secs(2));
}

#[test]
fn silent_resolver_delays_a_known_name_by_half_a_second_once() {
    let mut bench = bench(&[("h.example", &["A 10.0.0.1"])]);
    let destination = || Destination { port: Some(5060), family: Family::V4, ..to("h.example") };
    bench.locate(destination());
    bench.now += Duration::from_secs(1000);
    bench.locator.handle_timeout(bench.now);
    bench.ignore();
    assert!(bench.begin(destination()).is_none());
    bench.ignore();
    bench.now += Duration::from_millis(499);
    bench.locator.handle_timeout(bench.now);
    assert!(bench.ignore().is_empty());
    bench.now += Duration::from_millis(1);
    bench.locator.handle_timeout(bench.now);
    let ended = bench.ignore();
    assert_eq!(text(&ended[0].1), ["UDP 10.0.0.1:5060"]);
    for _ in 0..8 {
        assert!(bench.begin(destination()).is_some(), "while that query is out");
        bench.now += Duration::from_secs(1);
        bench.locator.handle_timeout(bench.now);
    }
}

#[test]
fn answer_that_comes_late_serves_the_next() {
    let mut bench = bench(&[("h.example", &["A 10.0.0.1"])]);
    let destination = || Destination { port: Some(5060), family: Family::V4, ..to("h.example") };
    assert!(bench.begin(destination()).is_none());
    let Some(Output::Query { id, .. }) = bench.locator.poll_output() else { panic!() };
    let ended = bench.pass(Duration::from_secs(5));
    assert_eq!(text(&ended[0].1), ["Failed"]);
    let records = vec![record("A 10.0.0.1").1];
    let answer = Answer::Found { records, ttl: Duration::from_secs(60) };
    bench.locator.handle_answer(id, answer.clone(), bench.now);
    assert_eq!(bench.locate(destination()), ["UDP 10.0.0.1:5060"]);
    bench.locator.handle_answer(id, answer, bench.now);
    bench.locator.handle_answer(QueryId(999), Answer::Failed, bench.now);
}

#[test]
fn n13_hostile_answers_are_refused() {
    let own = SocketAddr::from(([10, 0, 0, 5], 5060));
    for ip in [
        "127.0.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "10.0.0.5",
    ] {
        let mut bench = bench(&[("h.example", &[&format!("A {ip}")])]);
        bench.locator.set_own(vec![own]);
        let destination = Destination { port: Some(5060), ..to("h.example") };
        assert_eq!(bench.locate(destination), ["Forbidden"], "{ip}");
    }
    for ip in ["::1", "::", "fe80::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.1.1"] {
        let mut bench = bench(&[("h.example", &[&format!("AAAA {ip}")])]);
        let destination = Destination { port: Some(5060), ..to("h.example") };
        assert_eq!(bench.locate(destination), ["Forbidden"], "{ip}");
    }
    let mut bench = bench(&[("h.example", &["A 127.0.0.1", "A 10.0.0.5", "A 10.0.0.6"])]);
    bench.locator.set_own(vec![own]);
    let destination = Destination { port: Some(5060), ..to("h.example") };
    assert_eq!(bench.locate(destination), ["UDP 10.0.0.6:5060"], "the good one stays");
    assert!(!bench.locator.permits(own) && !bench.locator.permits("127.0.0.1:1".parse().unwrap()));
}

#[test]
fn where_we_listen_on_loopback_loopback_answers_are_fine() {
    let mut bench = bench(&[("h.example", &["A 127.0.0.2", "A 127.0.0.3"])]);
    bench.locator.set_own(vec![SocketAddr::from(([127, 0, 0, 3], 5060))]);
    let destination = Destination { port: Some(5060), ..to("h.example") };
    assert_eq!(bench.locate(destination), ["UDP 127.0.0.2:5060"]);
}

#[test]
fn n14_families_that_the_sender_lacks_are_not_asked() {
    let mut bench = bench(&[("h.example", &["AAAA 2001:db8::1"])]);
    let v4 = Destination { port: Some(5060), family: Family::V4, ..to("h.example") };
    assert_eq!(bench.locate(v4), ["NotFound"]);
    assert_eq!(bench.asked(), ["A h.example"]);
    let v6_literal = Destination { family: Family::V4, ..to("[2001:db8::1]") };
    assert_eq!(bench.locate(v6_literal), ["NotFound"]);
}

#[test]
fn n14_address_that_failed_is_remembered_for_a_while() {
    let mut bench = bench(&[("h.example", &["A 10.0.0.1", "A 10.0.0.2", "A 10.0.0.3"])]);
    let destination = || Destination { port: Some(5060), ..to("h.example") };
    let bad = SocketAddr::from(([10, 0, 0, 1], 5060));
    bench.locator.demote(bad, bench.now + Duration::from_secs(60), bench.now);
    assert_eq!(
        bench.locate(destination()),
        ["UDP 10.0.0.2:5060", "UDP 10.0.0.3:5060", "UDP 10.0.0.1:5060"]
    );
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.locate(destination())[0], "UDP 10.0.0.1:5060");
}

#[test]
fn overrides_ask_nothing() {
    let hosts = HashMap::from([
        (
            "SIP.Test.".to_owned(),
            vec![IpAddr::from([127, 0, 0, 20]), IpAddr::from([127, 0, 0, 21])],
        ),
        ("empty.test".to_owned(), Vec::new()),
    ]);
    let mut bench = bench(&[]);
    bench.locator.set_hosts(hosts);
    assert_eq!(
        bench.locate(Destination { port: Some(7), ..by("sip.test", Transport::Tls) }),
        ["TLS 127.0.0.20:7", "TLS 127.0.0.21:7"]
    );
    assert_eq!(bench.locate(to("sip.TEST."))[0], "UDP 127.0.0.20:5060");
    assert_eq!(bench.locate(to("empty.test")), ["NotFound"]);
    assert!(bench.asked().is_empty());
}

#[test]
fn what_is_no_name_is_not_asked() {
    let mut bench = bench(&[]);
    for host in [
        "",
        ".",
        "a..b",
        "a b",
        "a\r\nb",
        "-\u{e9}",
        "*",
        "[::1",
        &"a".repeat(64),
        &"a.".repeat(200),
    ] {
        assert_eq!(bench.locate(to(host)), ["Name"], "{host:?}");
    }
    assert!(bench.asked().is_empty());
}

#[test]
fn records_of_the_wrong_kind_are_passed_over() {
    let mut bench = bench(&[]);
    let odd = vec![record("AAAA 2001:db8::1").1, record("SRV 1 1 1 x").1];
    let ttl = Duration::from_secs(60);
    bench.zone.insert(("h.example".to_owned(), Kind::A), Answer::Found { records: odd, ttl });
    assert_eq!(bench.locate(Destination { port: Some(1), ..to("h.example") }), ["NotFound"]);
}

#[test]
fn equal_lookups_share_their_queries() {
    let mut bench = bench(&[("h.example", &["A 10.0.0.1"])]);
    for _ in 0..50 {
        let destination = Destination { port: Some(5060), ..to("h.example") };
        assert!(bench.begin(destination).is_none());
    }
    let ended = bench.answer();
    assert_eq!(ended.len(), 50);
    assert_eq!(bench.asked(), ["A h.example", "Aaaa h.example"]);
    assert_eq!(bench.locator.sizes(), (2, 0, 0));
}

#[test]
fn forgotten_lookup_is_not_told() {
    let mut bench = bench(&[("h.example", &["A 10.0.0.1"])]);
    assert!(bench.begin(to("h.example")).is_none());
    bench.locator.forget(LookupId(1));
    assert!(bench.answer().is_empty());
    assert_eq!(bench.locator.sizes().1, 0);
    bench.pass(Duration::from_secs(20));
}

#[test]
fn names_that_peers_choose_fill_nothing_without_end() {
    let mut bench = bench(&[]);
    for n in 0..20_000 {
        bench.set(&format!("n{n}.example"), 900, &["A 10.0.0.1"]);
        bench.locate(Destination { port: Some(5060), ..to(&format!("n{n}.example")) });
        bench.zone.clear();
        bench.asked.clear();
    }
    let (kept, lookups, flights) = bench.locator.sizes();
    assert!(kept <= 4096 && lookups == 0 && flights == 0, "{kept}");
    assert!(bench.locator.timers.is_empty());
}

#[test]
fn lookups_in_progress_are_bounded() {
    let mut bench = bench(&[]);
    let mut busy = 0;
    for n in 0..10_100 {
        if bench.begin(to(&format!("n{n}.example"))) == Some(Err(LocateError::Busy)) {
            busy += 1;
        }
    }
    assert_eq!(busy, 100);
    let (_, lookups, flights) = bench.locator.sizes();
    assert_eq!((lookups, flights), (10_000, 1000));
    bench.ignore();
    bench.now += Duration::from_secs(2);
    bench.locator.handle_timeout(bench.now);
    assert_eq!(bench.ignore().len(), 10_000, "all end in time");
}

#[test]
fn failing_services_do_not_hide_the_host() {
    let mut bench = bench(&[("h.example", &["A 10.0.0.1"])]);
    bench.zone.insert(("h.example".to_owned(), Kind::Naptr), Answer::Failed);
    bench.fail("_sip._udp.h.example");
    bench.fail("_sip._tcp.h.example");
    bench.fail("_sips._tcp.h.example");
    assert_eq!(bench.locate(to("h.example")), ["UDP 10.0.0.1:5060"]);
    assert_eq!(bench.locate(to("other.example")), ["NotFound"]);
    bench.fail("dead.example");
    assert_eq!(bench.locate(Destination { port: Some(1), ..to("dead.example") }), ["Failed"]);
}
