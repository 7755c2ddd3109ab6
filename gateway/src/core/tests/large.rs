//! Requests too long for a datagram (TR-072).

use config::{Dialect, HeaderRule};

use super::*;
use crate::event::Large;

/// The usual configuration with so many bytes for a datagram to the carrier, and a header by rule.
fn with(most: u32) -> config::Config {
    let mut config = config();
    let header = HeaderRule::Add { name: "X-Long".into(), value: "x".repeat(100) };
    let dialect = Dialect { max_message: most, headers_to: vec![header], ..Dialect::default() };
    config.trunks[0].dialect = Arc::new(dialect);
    config
}

/// Teams calls the carrier; that INVITE, and how it was sent.
fn called(world: &mut World, name: &str, more: &str) -> (Transport, String) {
    world.hear(PROXY, &teams_invite("+33123456789", name, more, SECURE));
    world.wait(Duration::ZERO);
    invited(world)
}

/// The newest INVITE to the carrier, taken away with those before it.
fn invited(world: &mut World) -> (Transport, String) {
    let is = |(target, text): &(Target, String)| {
        target.remote.to_string() == CARRIER && text.starts_with("INVITE ")
    };
    let (target, text) = world.sent.iter().rfind(|sent| is(sent)).cloned().expect("an INVITE");
    world.sent.retain(|sent| !is(sent));
    (target.transport, text)
}

fn busy(world: &mut World, invite: &str) {
    world.hear(CARRIER, &reply(invite, "486 Busy Here", "b", "", ""));
    assert_eq!(world.core.delivery.waiting(), 0);
}

#[test]
fn tr_072_what_is_too_long_for_a_datagram_goes_by_tcp() {
    let mut world = World::with(with(1300));
    let (transport, invite) = called(&mut world, "a", "");
    assert_eq!(transport, Transport::Udp, "{}", invite.len());
    assert!(invite.len() < 1300 && value(&invite, "Via").starts_with("SIP/2.0/UDP "));
    busy(&mut world, &invite);
    let mut world = World::with(with(512));
    let (transport, invite) = called(&mut world, "b", "");
    assert_eq!((transport, invite.len() > 512), (Transport::Tcp, true));
    assert!(value(&invite, "Via").starts_with("SIP/2.0/TCP "), "{invite}");
    assert_eq!(value(&invite, "X-Long").len(), 100, "nothing is left out");
    assert_eq!(world.large, [Large::Tcp]);
    busy(&mut world, &invite);
}

#[test]
fn tr_072_where_no_tcp_is_taken_it_goes_by_udp_with_less_in_it() {
    let mut world = World::with(with(650));
    world.dead.insert(CARRIER.parse().unwrap(), Dead::Refuses);
    let (transport, invite) = called(&mut world, "a", "");
    assert_eq!(transport, Transport::Udp);
    assert!(invite.len() <= 650, "{}: {invite}", invite.len());
    assert!(!invite.contains("X-Long") && !invite.contains("User-Agent"), "{invite}");
    assert_eq!(world.large, [Large::Tcp, Large::Trimmed]);
    busy(&mut world, &invite);
    // The next one asks for no connection, for a while.
    world.large.clear();
    let (transport, invite) = called(&mut world, "b", "");
    assert_eq!((transport, &world.large[..]), (Transport::Udp, &[Large::Trimmed][..]));
    busy(&mut world, &invite);
    world.dead.clear();
    world.wait(Duration::from_secs(601));
    let (transport, invite) = called(&mut world, "c", "");
    assert_eq!(transport, Transport::Tcp);
    busy(&mut world, &invite);
}

#[test]
fn tr_072_a_silent_connection_costs_one_call_a_moment() {
    let mut world = World::with(with(512));
    world.dead.insert(CARRIER.parse().unwrap(), Dead::Hangs);
    let (transport, _) = called(&mut world, "a", "");
    assert_eq!(transport, Transport::Tcp);
    world.wait(Duration::from_millis(1500));
    let (transport, invite) = invited(&mut world);
    assert_eq!(transport, Transport::Udp);
    busy(&mut world, &invite);
    world.expect(PROXY, "SIP/2.0 486");
}

/// What a call cannot do without stays, whatever the length: that is counted.
#[test]
fn tr_072_what_does_not_fit_is_sent_and_counted() {
    let mut world = World::with(with(512));
    world.dead.insert(CARRIER.parse().unwrap(), Dead::Refuses);
    let entry = |n: u8| format!("<sip:+4420794600{n:02}@x?Reason=SIP%3Bcause%3D302>;index=1");
    let entries: Vec<String> = (10..14).map(entry).collect();
    let more = format!("HISTORY-INFO: {},<sip:x@x>;index=1\n", entries.join(","));
    let (transport, invite) = called(&mut world, "a", &more);
    assert_eq!((transport, invite.len() > 512), (Transport::Udp, true), "{invite}");
    assert_eq!(world.large, [Large::Tcp, Large::Fragmented]);
    let diversions: Vec<&str> = invite.lines().filter(|l| l.starts_with("Diversion")).collect();
    assert_eq!(diversions.len(), 1, "{invite}");
    assert!(diversions[0].contains("+442079460013"), "the newest: {invite}");
    let session = body(&invite);
    for gone in ["a=sendrecv", "a=rtcp:", "a=rtpmap:8 "] {
        assert!(!session.contains(gone), "{session}");
    }
    for kept in ["m=audio ", "a=rtpmap:101 telephone-event/8000", "c=IN IP4 "] {
        assert!(session.contains(kept), "{session}");
    }
    let length = value(&invite, "Content-Length").trim();
    assert_eq!(length.parse(), Ok(session.len()));
    busy(&mut world, &invite);
}

/// A call that is taken back while its INVITE waits for a connection is not made by UDP when none comes about.
#[test]
fn tr_072_what_was_taken_back_meanwhile_is_not_sent_by_udp() {
    let mut world = World::with(with(512));
    world.dead.insert(CARRIER.parse().unwrap(), Dead::Hangs);
    let (transport, _) = called(&mut world, "a", "");
    assert_eq!(transport, Transport::Tcp);
    world.wait(Duration::from_millis(500));
    let invite = teams_invite("+33123456789", "a", "", "");
    world.hear(PROXY, &invite.replace("INVITE", "CANCEL"));
    world.expect(PROXY, "SIP/2.0 487");
    world.wait(Duration::from_secs(60));
    let sent = world.sent.iter().filter(|(target, _)| target.remote.to_string() == CARRIER);
    assert_eq!(sent.map(|(_, text)| line(text)).collect::<Vec<_>>(), [""; 0]);
    assert_eq!((world.core.delivery.waiting(), world.core.calls()), (0, 0));
    assert_eq!(world.records.len(), 1);
}

/// Once the peer has said something on the connection, its end is no reason to ask again.
#[test]
fn tr_072_nobody_is_asked_twice() {
    let mut world = World::with(with(512));
    let (_, invite) = called(&mut world, "a", "");
    world.hear(CARRIER, &reply(&invite, "100 Trying", "", "", "").replace(";tag=\n", "\n"));
    assert_eq!(world.core.delivery.waiting(), 0);
    world.sent.clear();
    world.wait(Duration::from_secs(5));
    world.nothing_but(CARRIER, &["OPTIONS"]);
}

/// However many places take no TCP: each call tries it at most once.
#[test]
fn tr_072_places_that_take_no_tcp_are_bounded() {
    let mut world = World::with(with(512));
    for port in 1..=5000 {
        let place = SocketAddr::from(([192, 0, 2, 1], port));
        world.core.delivery.larges.refuse(place, world.now);
    }
    world.dead.insert(CARRIER.parse().unwrap(), Dead::Refuses);
    let (transport, invite) = called(&mut world, "a", "");
    assert_eq!(transport, Transport::Udp);
    assert_eq!(world.large, [Large::Tcp, Large::Fragmented]);
    busy(&mut world, &invite);
}
