//! OPTIONS, ours and the peers'.

use super::*;

fn proxy_options(world: &mut World) -> Vec<(Duration, String)> {
    let start = world.now;
    let mut seen = Vec::new();
    for _ in 0..400 {
        world.wait(Duration::from_secs(1));
        for (target, text) in world.sent.drain(..) {
            if text.starts_with("OPTIONS ") && target.remote.to_string() == PROXY {
                seen.push((world.now - start, text));
            }
        }
        for (_, text) in &seen {
            if world.now - start == seen.last().unwrap().0 && *text == seen.last().unwrap().1 {
                let ok = reply(text, "200 OK", "o", "Allow: INVITE\n", "");
                let message = Message::parse(Bytes::from(ok.replace('\n', "\r\n"))).unwrap();
                let source = Source {
                    transport: Transport::Tls,
                    local: LocalId(0),
                    local_addr: "127.0.0.11:5061".parse().unwrap(),
                    remote: PROXY.parse().unwrap(),
                    flow: Some(FlowId(9)),
                };
                world.core.handle_message(source, message, world.now);
            }
        }
        world.drain();
    }
    seen
}

#[test]
fn tr_001_tr_002_tr_004_options_every_60_to_65_seconds_in_the_name_of_the_edge() {
    let mut world = World::new();
    world.core.handle_timeout(world.now);
    world.drain();
    let seen = proxy_options(&mut world);
    assert!((6..=7).contains(&seen.len()), "{}", seen.len());
    for pair in seen.windows(2) {
        let gap = pair[1].0 - pair[0].0;
        assert!((Duration::from_secs(60)..=Duration::from_secs(66)).contains(&gap), "{gap:?}");
    }
    let (_, first) = &seen[0];
    assert_eq!(line(first), "OPTIONS sip:sip.teams.test:5061;transport=tls SIP/2.0");
    assert_eq!(value(first, "Contact"), "<sip:sbc.test:5061;transport=tls>");
    assert!(value(first, "Via").starts_with("SIP/2.0/TLS sbc.test:5061;"));
    assert!(value(first, "From").starts_with("<sip:sbc.test:5061>;tag="));
    let allow = value(first, "Allow");
    assert!(allow.contains("REFER") && allow.contains("NOTIFY"));
    // TR-004: that 200 had no Contact.
    assert_eq!(world.core.health.rank(first_proxy(), world.now), 0);
}

#[test]
fn tr_003_options_of_the_peer_are_answered_on_the_same_connection() {
    let mut world = World::new();
    world.hear(
        PROXY,
        "OPTIONS sip:sbc.test:5061;transport=tls SIP/2.0\n\
         FROM: <sip:sip-du-a-eu.pstnhub.test:5061>;tag=1\nTO: <sip:sbc.test>\nCSEQ: 1 OPTIONS\n\
         CALL-ID: o1\nMAX-FORWARDS: 70\nVIA: SIP/2.0/TLS 127.0.0.20:5061;branch=z9hG4bKo1\n\
         CONTACT: <sip:sip-du-a-eu.pstnhub.test:5061>\nCONTENT-LENGTH: 0\n\n",
    );
    let (target, ok) =
        world.sent.iter().find(|(_, text)| text.starts_with("SIP/2.0 200")).cloned().unwrap();
    assert_eq!(target.flow, Some(FlowId(7)));
    assert_eq!(value(&ok, "Contact"), "<sip:sbc.test:5061;transport=tls>");
    assert!(value(&ok, "Allow").contains("REFER"));
    assert_eq!(value(&ok, "Supported"), "replaces, timer");
}
