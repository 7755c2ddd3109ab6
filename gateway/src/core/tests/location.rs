//! Calls for help and where they come from: the location beside the offer, by policy of the trunk (TR-068); none of it
//! towards Teams (TR-022); no limit in the way.

use config::Location;

use super::*;

const PIDF: &str = "<?xml version=\"1.0\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"pres:ann@contoso.test\">\n\
    \t<!-- &lol; -- > --><dm:device id=\"1\"/>\n</presence>\n";
const GEO: &str = "GEOLOCATION: <cid:A-1@contoso.test>\nGEOLOCATION-ROUTING: yes\n";

fn part(kind: &str, headers: &str, text: &str) -> String {
    format!("--b 1\nContent-Type: {kind}\n{headers}\n{text}\n")
}

fn pidf() -> String {
    part(
        "application/pidf+xml",
        "Content-ID: <A-1@contoso.test>\nContent-Disposition: render\n",
        PIDF,
    )
}

fn sdp(text: &str) -> String {
    part("application/sdp", "", text)
}

/// An INVITE with its body replaced by these parts.
fn with_parts(invite: &str, parts: &[String]) -> String {
    let head = invite.split_once("Content-Type").expect("a body").0;
    let body = parts.concat() + "--b 1--\n";
    let length = body.replace('\n', "\r\n").len();
    let kind = "multipart/mixed; boundary=\"b 1\"";
    format!("{head}MIME-Version: 1.0\nContent-Type: {kind}\nContent-Length: {length}\n\n{body}")
}

fn call_for_help(parts: &[String]) -> String {
    with_parts(&teams_invite("112", "t1", GEO, SECURE), parts)
}

fn passing() -> config::Config {
    let mut config = config();
    config.trunks[0].location = Location::Pass;
    config
}

#[test]
fn tr_068_a_location_reaches_the_trunk_to_the_letter_or_not_at_all() {
    for parts in [[sdp(SECURE), pidf()], [pidf(), sdp(SECURE)]] {
        let mut world = World::new();
        world.hear(PROXY, &call_for_help(&parts));
        let invite = world.expect(CARRIER, "INVITE sip:112@");
        assert_eq!(value(&invite, "Content-Type"), "application/sdp");
        assert!(!invite.contains("Geolocation") && !invite.contains("presence"), "{invite}");
        let mut world = World::with(passing());
        world.hear(PROXY, &call_for_help(&parts));
        let invite = world.expect(CARRIER, "INVITE sip:112@");
        assert_eq!(value(&invite, "Geolocation"), "<cid:A-1@contoso.test>");
        assert_eq!(value(&invite, "Geolocation-Routing"), "yes");
        let sent = Message::parse(Bytes::from(invite.clone())).unwrap();
        let [own, location] = &sent.parts().unwrap().unwrap()[..] else { panic!("{invite}") };
        assert_eq!(&own.content_type[..], b"application/sdp");
        let described = String::from_utf8_lossy(&own.body);
        assert!(described.contains("RTP/AVP") && described.contains("c=IN IP4 127.0.0.10"));
        let as_sent = pidf().replacen("--b 1\n", "", 1).replace('\n', "\r\n");
        let whole = [&location.headers[..], b"\r\n", &location.body[..], b"\r\n"].concat();
        assert_eq!(String::from_utf8_lossy(&whole), as_sent);
        // The call is one like any other.
        let answer = PLAIN.replace("AVP 8 0 101", "AVP 8 101");
        world.hear(
            CARRIER,
            &reply(&invite, "200 OK", "c1", "Contact: <sip:x@127.0.0.50:5070>\n", &answer),
        );
        let ok = world.expect(PROXY, "SIP/2.0 200");
        assert_eq!(value(&ok, "Content-Type"), "application/sdp");
    }
}

#[test]
fn tr_068_every_hop_of_the_call_is_told() {
    let mut config = passing();
    let mut second = config.trunks[0].peers[0].clone();
    second.host = config::Host::Ip("127.0.0.55".parse().unwrap());
    config.trunks[0].peers.push(second);
    let mut world = World::with(config);
    world.hear(PROXY, &call_for_help(&[sdp(SECURE), pidf()]));
    let first = world.expect(CARRIER, "INVITE ");
    world.hear(CARRIER, &reply(&first, "503 Service Unavailable", "c1", "", ""));
    let second = world.expect("127.0.0.55:5070", "INVITE ");
    for invite in [first, second] {
        assert!(invite.contains("Content-ID: <A-1@contoso.test>\r\n"), "{invite}");
    }
}

/// TR-022: Teams is told no location, from whomever.
#[test]
fn tr_022_tr_068_no_location_reaches_teams() {
    for called in ["+442079460001", "+12025550101"] {
        let mut config = passing();
        config.tenants[1].inbound_trunks.push(0);
        let mut world = World::with(config);
        let invite = carrier_invite(called, PLAIN);
        let geo = format!("{GEO}Geolocation: <https://lis.test/1>\nContact: <sip:ann");
        let invite = invite.replace("Contact: <sip:ann", &geo);
        world.hear(CARRIER, &with_parts(&invite, &[pidf(), sdp(PLAIN)]));
        let invite = world.expect(PROXY, "INVITE ");
        assert_eq!(value(&invite, "Content-Type"), "application/sdp");
        assert!(!invite.contains("eolocation") && !invite.contains("presence"), "{invite}");
    }
}

#[test]
fn tr_068_calls_for_help_are_taken_at_max_calls_and_count() {
    let mut world = World::new();
    for n in 1..=5 {
        let help = teams_invite("112", &format!("h{n}"), "", SECURE);
        world.hear(PROXY, &help);
        world.expect(CARRIER, "INVITE sip:112@");
    }
    // t001 may have two calls; others are refused now.
    world.hear(PROXY, &teams_invite("+33123456789", "x1", "", SECURE));
    let refused = world.expect(PROXY, "SIP/2.0 503");
    assert_eq!(value(&refused, "Retry-After"), "2");
    assert_eq!(world.records[0].cause.text, Cause::TenantFull.to_string());
    // Nor does a full disk stand in the way.
    world.core.set_recordable(false);
    world.hear(PROXY, &teams_invite("+112", "h6", "", SECURE));
    world.expect(CARRIER, "INVITE sip:+112@");
    world.hear(PROXY, &teams_invite("+33123456789", "x2", "", SECURE));
    world.expect(PROXY, "SIP/2.0 503");
}

/// AT-55: one rule for each body that cannot be taken; what is only too large to pass on does not stop the call.
#[test]
fn tr_068_at_55_bodies_that_cannot_be_taken_are_refused_by_rule() {
    let nested = part(
        "multipart/mixed;boundary=c",
        "",
        &format!("--c\nContent-Type: application/sdp\n\n{SECURE}\n--c--"),
    );
    for (parts, status) in [
        (vec![sdp(SECURE), sdp(SECURE), pidf()], 400),
        (vec![pidf()], 415),
        (vec![nested, pidf()], 415),
        (vec![sdp(SECURE); 40], 400),
        (vec![sdp(SECURE), part("x/y", "nonsense\n", "")], 400),
    ] {
        let mut world = World::with(passing());
        world.hear(PROXY, &call_for_help(&parts));
        world.expect(PROXY, &format!("SIP/2.0 {status}"));
        world.nothing_but(CARRIER, &["OPTIONS"]);
        assert_eq!((world.core.calls(), world.core.unfinished()), (0, 0));
    }
    let open = call_for_help(&[sdp(SECURE), pidf()]).replace("--b 1--", "--b 1 -");
    let mut world = World::with(passing());
    world.hear(PROXY, &open);
    world.expect(PROXY, "SIP/2.0 400");
    for size in [40_000, 100_000] {
        let large = pidf().replace("<dm", &format!("{}<dm", "x".repeat(size)));
        let mut world = World::with(passing());
        world.hear(PROXY, &call_for_help(&[large, sdp(SECURE)]));
        let invite = world.expect(CARRIER, "INVITE sip:112@");
        assert_eq!(value(&invite, "Content-Type"), "application/sdp");
        assert!(!invite.contains("Geolocation"), "{invite}");
    }
}
