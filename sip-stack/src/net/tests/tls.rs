//! TLS: both certificates, whoever shows a wrong one or says nothing, and a certificate that is renewed.

use super::super::pool::server_name;
use super::*;

#[tokio::test]
async fn tls_goes_both_ways_with_both_certificates() {
    let pki = Pki::new();
    let tls = pki.identity(&["sbc.example"], &["peer.example"]);
    let (mut here, addresses) = bind(with_tls(config(&[Transport::Tls]), tls), Limits::default());
    let tls = pki.identity(&["peer.example"], &["sbc.example"]);
    let (mut there, _) = bind(with_tls(config(&[]), tls), Limits::default());

    let sbc = target(Transport::Tls, addresses[0], Some("sbc.example"));
    there.send(SendId(1), sbc.clone(), Bytes::from(options("a", "TLS")));
    there.send(SendId(2), sbc, Bytes::from(options("b", "TLS")));
    let (inbound, outbound) = tokio::join!(opened(&mut here, true), opened(&mut there, false));
    for id in ["a", "b"] {
        let Input::Message { source, raw, .. } = next(&mut here).await else {
            panic!("{id}: no message")
        };
        assert_eq!((message(raw).call_id(), source.flow), (id.as_bytes(), Some(inbound)));
        here.send(SendId(3), Target::reply(&source), Bytes::from(options("back", "TLS")));
        let Input::Message { source, .. } = next(&mut there).await else { panic!("no answer") };
        assert_eq!(source.flow, Some(outbound));
    }
}

#[tokio::test]
async fn tls_without_the_right_certificate_is_refused_on_both_sides() {
    let pki = Pki::new();
    let tls = pki.identity(&["sbc.example"], &["other.example"]);
    let (mut here, addresses) = bind(with_tls(config(&[Transport::Tls]), tls), Limits::default());
    let tls = pki.identity(&["peer.example"], &["elsewhere.example"]);
    let (mut there, _) = bind(with_tls(config(&[]), tls), Limits::default());
    there.send(SendId(1), target(Transport::Tls, addresses[0], None), Bytes::from_static(b"x"));
    let (inbound, outbound) = tokio::join!(refused(&mut here), refused(&mut there));
    assert_eq!(outbound, Refusal::Untrusted(Flaw::Name));
    assert!(matches!(inbound, Refusal::Handshake(Flaw::Name | Flaw::Ours)), "{inbound:?}");
    assert!(matches!(next(&mut there).await, Input::SendFailed { id: SendId(1) }));
    assert!(here.addresses.is_empty());
}

#[tokio::test]
async fn a_request_fails_when_the_peer_dislikes_our_certificate_after_the_handshake() {
    let pki = Pki::new();
    let tls = pki.identity(&["sbc.example"], &["other.example"]);
    let (mut here, addresses) = bind(with_tls(config(&[Transport::Tls]), tls), Limits::default());
    let tls = pki.identity(&["peer.example"], &["sbc.example"]);
    let (mut there, _) = bind(with_tls(config(&[]), tls), Limits::default());
    there.send(SendId(1), target(Transport::Tls, addresses[0], None), Bytes::from_static(b"x"));
    // With TLS 1.3 the client is done before its certificate has been looked at.
    let (inbound, _) = tokio::join!(refused(&mut here), opened(&mut there, false));
    assert_eq!(inbound, Refusal::Handshake(Flaw::Name));
    let mut closed = 0;
    loop {
        // What had not left when the refusal came leaves on a second connection, and no third.
        let input = tokio::select! {
            input = next(&mut there) => input,
            _ = next(&mut here) => continue,
        };
        if let Input::Closed { reason, .. } = input {
            assert_eq!(reason, CloseReason::Reset);
            closed += 1;
        } else if let Input::SendFailed { id } = input {
            assert_eq!(id, SendId(1));
            break;
        }
    }
    assert!((1..=2).contains(&closed), "{closed}");
}

#[tokio::test]
async fn a_tls_peer_that_says_nothing_is_let_go() {
    let pki = Pki::new();
    let short = Duration::from_millis(50);
    let tls = pki.identity(&["sbc.example"], &["peer.example"]);
    let limits = Limits { handshake: short, handshakes: 1, ..Limits::default() };
    let (mut net, addresses) = bind(with_tls(config(&[Transport::Tls]), tls.clone()), limits);
    let _stream = TcpStream::connect(addresses[0]).await.unwrap();
    let _other = TcpStream::connect(addresses[0]).await.unwrap();
    assert_eq!(refused(&mut net).await, Refusal::Busy);
    assert_eq!(refused(&mut net).await, Refusal::Handshake(Flaw::Slow));

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits = Limits { connect: short, ..Limits::default() };
    let (mut net, _) = bind(with_tls(config(&[]), tls), limits);
    let target = target(Transport::Tls, silent.local_addr().unwrap(), None);
    net.send(SendId(1), target, Bytes::from_static(b"x"));
    assert_eq!(refused(&mut net).await, Refusal::Silent);
    assert!(matches!(next(&mut net).await, Input::SendFailed { .. }));
}

#[tokio::test]
async fn tr_015_the_next_handshake_shows_the_new_certificate_and_the_old_connection_stays() {
    let pki = Pki::new();
    let before = pki.identity(&["sbc.example"], &["peer.example"]);
    let bound = with_tls(config(&[Transport::Tls]), before);
    let (mut here, addresses) = bind(bound.clone(), Limits::default());
    let tls = pki.identity(&["peer.example"], &["sbc.example"]);
    let (mut there, _) = bind(with_tls(config(&[]), tls), Limits::default());
    let sbc = target(Transport::Tls, addresses[0], Some("sbc.example"));
    there.send(SendId(1), sbc.clone(), Bytes::from(options("a", "TLS")));
    let (old, outbound) = tokio::join!(opened(&mut here, true), opened(&mut there, false));
    assert!(matches!(next(&mut here).await, Input::Message { .. }));

    // The same objects are no change; new ones are, and the old name is no longer shown.
    assert_eq!(here.reconfigure(vec![bound.clone()]).unwrap().renewed, []);
    let after = pki.identity(&["renewed.example"], &["peer.example"]);
    let done = here.reconfigure(vec![with_tls(bound, after)]).unwrap();
    assert_eq!(done, Reconfigured { renewed: vec![HERE], last: old });

    there.send(SendId(2), sbc.clone(), Bytes::from(options("b", "TLS")));
    let Input::Message { source, raw, .. } = next(&mut here).await else { panic!("cut") };
    assert_eq!((message(raw).call_id(), source.flow), (&b"b"[..], Some(old)));
    there.retire(outbound);
    there.send(SendId(3), sbc, Bytes::from(options("c", "TLS")));
    let (_, refusal) = tokio::join!(next(&mut here), refused(&mut there));
    assert_eq!(
        refusal,
        Refusal::Untrusted(Flaw::Name),
        "another name than sbc.example is shown now"
    );
}

#[tokio::test]
async fn r05_what_the_listeners_do_not_allow_changes_nothing() {
    let pki = Pki::new();
    let tls = pki.identity(&["sbc.example"], &["peer.example"]);
    let bound = with_tls(config(&[Transport::Tls]), tls);
    let (mut net, _) = bind(bound.clone(), Limits::default());
    let networks = Some(vec![("192.0.2.0".parse().unwrap(), 24)]);
    let elsewhere = vec![(Transport::Tcp, "127.0.0.1:0".parse().unwrap())];
    let cases = [
        (vec![], "the identities are others"),
        (vec![bound.clone(), bound.clone()], "the identities are others"),
        (vec![LocalConfig { id: LocalId(2), ..bound.clone() }], "the identities are others"),
        (vec![LocalConfig { listen: elsewhere, ..bound.clone() }], "identity 1 has other"),
        (vec![LocalConfig { tls: None, ..bound.clone() }], "cannot listen on TLS 127.0.0.1:0"),
    ];
    for (configs, start) in cases {
        let configs = configs
            .into_iter()
            .map(|config| LocalConfig { networks: networks.clone(), ..config })
            .collect();
        let error = net.reconfigure(configs).unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
        assert!(net.locals[&HERE].networks.is_none() && net.locals[&HERE].tls.is_some());
    }
    net.reconfigure(vec![LocalConfig { networks, ..bound }]).unwrap();
    assert!(!net.locals[&HERE].admits("127.0.0.1".parse().unwrap()));
}

#[test]
fn the_name_to_check_is_the_targets_then_the_default_then_the_address() {
    let target = |name| target(Transport::Tls, "192.0.2.1:5061".parse().unwrap(), name);
    let cases = [
        (Some("sip.example."), Some("d.example"), "sip.example"),
        (None, Some("d.example"), "d.example"),
        (Some("192.0.2.1"), Some("d.example"), "d.example"),
        (Some("not a name"), None, "192.0.2.1"),
        (None, None, "192.0.2.1"),
    ];
    for (name, default, expected) in cases {
        assert_eq!(server_name(&target(name), default).to_str(), expected);
    }
}
