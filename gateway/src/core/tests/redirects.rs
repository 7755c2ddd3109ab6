//! 3xx of a trunk.

use config::{Dialect, Redirects};

use super::*;

fn with(redirects: Redirects) -> config::Config {
    let mut config = config();
    let dialect = Dialect { redirects, ..Dialect::default() };
    config.trunks[0].dialect = Arc::new(dialect);
    config
}

/// A call of Teams to the carrier; its INVITE there.
fn called(world: &mut World) -> String {
    world.hear(PROXY, &teams_invite("+33123456789", "t1", "", SECURE));
    world.expect(CARRIER, "INVITE ")
}

fn moved(world: &mut World, invite: &str, status: &str, contact: &str) {
    let contact = format!("Contact: {contact}\n");
    world.hear(CARRIER, &reply(invite, status, "m", &contact, ""));
    world.expect(CARRIER, "ACK ");
}

#[test]
fn a_redirection_is_refused_unless_the_trunk_has_it_followed() {
    for status in ["300 Choices", "301 Moved", "302 Moved", "305 Proxy", "380 Alternative"] {
        let mut world = World::with(with(Redirects::Refuse));
        let invite = called(&mut world);
        moved(&mut world, &invite, status, "<sip:+33987654321@127.0.0.50>");
        world.expect(PROXY, "SIP/2.0 480");
        world.nothing_but(CARRIER, &["OPTIONS"]);
        let refused: u16 = status[..3].parse().unwrap();
        assert_eq!(world.records[0].cause.text, Cause::Peer(refused).to_string());
        assert_eq!(world.core.unfinished(), 0);
    }
}

#[test]
fn a_followed_redirection_is_another_attempt_of_the_same_call() {
    let mut world = World::with(with(Redirects::Follow));
    let invite = called(&mut world);
    world.hear(CARRIER, &reply(&invite, "180 Ringing", "m", "", ""));
    let contacts = "<sip:alice@x>, <sip:+33123456789@x>;q=1.0, <tel:+33111111111>;q=0.3, <sip:0033987654321@x>;q=0.7";
    moved(&mut world, &invite, "302 Moved", contacts);
    let again = world.expect(CARRIER, "INVITE ");
    assert!(line(&again).starts_with("INVITE sip:+33987654321@127.0.0.50:5070"), "{again}");
    assert_eq!(value(&again, "To"), "<sip:+33987654321@127.0.0.50>");
    assert_ne!(value(&again, "Call-ID"), value(&invite, "Call-ID"));
    world.hear(CARRIER, &reply(&again, "200 OK", "n", "Contact: <sip:c@127.0.0.50:5070>\n", PLAIN));
    world.expect(PROXY, "SIP/2.0 200");
    world.core.end_all(world.now);
    world.drain();
    let bye = world.expect(CARRIER, "BYE ");
    world.hear(CARRIER, &reply(&bye, "200 OK", "", "", "").replace(";tag=\n", "\n"));
    world.wait(Duration::from_secs(40));
    let record = &world.records[0];
    let statuses: Vec<u16> = record.attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [302, 200]);
    assert_eq!(record.legs[1].called, "+33987654321");
}

#[test]
fn at_51_no_more_than_two_are_followed_and_none_twice() {
    let mut world = World::with(with(Redirects::Follow));
    let mut invite = called(&mut world);
    for next in ["+33987654321", "+33987654322"] {
        moved(&mut world, &invite, "302 Moved", &format!("<sip:{next}@x>"));
        invite = world.expect(CARRIER, &format!("INVITE sip:{next}@"));
    }
    moved(&mut world, &invite, "302 Moved", "<sip:+33987654323@x>");
    world.expect(PROXY, "SIP/2.0 480");
    world.nothing_but(CARRIER, &["OPTIONS"]);
    let statuses: Vec<u16> = world.records[0].attempts.iter().map(|it| it.status).collect();
    assert_eq!(statuses, [302, 302, 302]);
    // In a circle.
    let mut world = World::with(with(Redirects::Follow));
    let invite = called(&mut world);
    moved(&mut world, &invite, "302 Moved", "<sip:+33987654321@x>");
    let invite = world.expect(CARRIER, "INVITE ");
    moved(&mut world, &invite, "302 Moved", "<sip:+33123456789@x>, <sip:+33987654321@x>");
    world.expect(PROXY, "SIP/2.0 480");
    world.nothing_but(CARRIER, &["OPTIONS"]);
}

/// AT-04: a redirection leads where the caller's own calls go, and nowhere else.
#[test]
fn at_04_a_redirection_leads_where_the_caller_could_have_called() {
    const CENTRE: &str = "127.0.0.52:5070";
    for (target, to) in [
        // Nobody else has it: it goes out as any number that the tenant's user dials.
        ("sip:+442079460007@x", Some(CARRIER)),
        ("sip:+442079470001@x", Some(CENTRE)),
        // Of a tenant that takes no calls from this one's trunk: by the carrier.
        ("sip:+12025550105@x", Some(CARRIER)),
        ("sip:alice@x", None),
        ("sip:x", None),
        ("sip:127.0.0.99", None),
        ("mailto:x@y", None),
    ] {
        let mut world = World::with(with(Redirects::Follow));
        let invite = called(&mut world);
        moved(&mut world, &invite, "302 Moved", &format!("<{target}>"));
        match to {
            Some(to) => {
                let invite = world.expect(to, "INVITE ");
                world.hear(to, &reply(&invite, "404 Not Found", "m", "", ""));
                world.expect(PROXY, "SIP/2.0 404");
            }
            None => drop(world.expect(PROXY, "SIP/2.0 480")),
        }
        for (to, text) in &world.sent {
            assert!(!text.starts_with("INVITE "), "{}: {text}", to.remote);
        }
        assert_eq!(world.core.unfinished(), 0, "{target}");
    }
}
