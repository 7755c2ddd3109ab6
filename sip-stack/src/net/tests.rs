//! The driver on the loopback interface, against bare sockets and against itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use certs::{ClientAuth, ClientVerifier, Identities, Identity, Roots, ServerVerifier};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::listen::DATAGRAMS;
use super::pool::{holder, server_name};
use super::*;

mod faults;
mod hostile;
mod inherit;

const HERE: LocalId = LocalId(1);

#[tokio::test]
async fn datagrams_go_both_ways() {
    let (mut net, addresses) = plain(&[Transport::Udp]);
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for byte in [&b"\r\n\r\n"[..], b"", options("a", "UDP").as_bytes()] {
        peer.send_to(byte, addresses[0]).await.unwrap();
    }

    let Input::Message { source, raw, .. } = next(&mut net).await else { panic!("no message") };
    assert_eq!(message(raw).call_id(), b"a");
    assert_eq!((source.remote, source.flow), (peer.local_addr().unwrap(), None));
    assert_eq!((source.local, source.local_addr), (HERE, addresses[0]));

    net.send(SendId(1), Target::reply(&source), Bytes::from_static(b"answer"));
    net.flush();
    let mut buffer = [0; 100];
    let (length, from) = soon(peer.recv_from(&mut buffer)).await.unwrap();
    assert_eq!((&buffer[..length], from), (&b"answer"[..], addresses[0]));
}

#[tokio::test]
async fn a_datagram_leaves_from_the_socket_that_heard_the_peer() {
    let (mut net, addresses) = plain(&[Transport::Udp, Transport::Udp]);
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for address in [addresses[1], addresses[0], addresses[1]] {
        peer.send_to(options("a", "UDP").as_bytes(), address).await.unwrap();
        let Input::Message { source, .. } = next(&mut net).await else { panic!("no message") };
        net.send(SendId(1), Target::reply(&source), Bytes::from_static(b"answer"));
        net.flush();
        let (_, from) = soon(peer.recv_from(&mut [0; 100])).await.unwrap();
        assert_eq!(from, address);
    }
}

#[tokio::test]
async fn datagrams_that_are_no_message_are_told() {
    let (mut net, addresses) = plain(&[Transport::Udp]);
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    peer.send_to(b"nonsense", addresses[0]).await.unwrap();
    let Input::Message { raw, .. } = next(&mut net).await else { panic!("nothing came") };
    assert!(super::read(raw).unwrap().is_err());
}

#[tokio::test]
async fn a_flood_of_datagrams_does_not_starve_a_stream() {
    let (mut net, addresses) = plain(&[Transport::Udp, Transport::Tcp]);
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(addresses[1]).await.unwrap();
    stream.write_all(options("stream", "TCP").as_bytes()).await.unwrap();
    for _ in 0..2000 {
        peer.send_to(options("flood", "UDP").as_bytes(), addresses[0]).await.unwrap();
    }

    let mut flood = 0;
    loop {
        if let Input::Message { raw, .. } = next(&mut net).await {
            if message(raw).call_id() == b"stream" {
                break;
            }
            flood += 1;
        }
    }
    assert!(flood <= 3 * DATAGRAMS, "{flood} datagrams came first");
}

#[tokio::test]
async fn a_stream_is_cut_into_messages_however_it_is_written() {
    let (mut net, addresses) = plain(&[Transport::Tcp]);
    let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
    let flow = opened(&mut net, true).await;
    stream.set_nodelay(true).unwrap();
    let slow = tokio::spawn(async move {
        for part in options("slow", "TCP").as_bytes().chunks(7) {
            stream.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        let together = ["b", "c", "d"].map(|id| options(id, "TCP")).concat();
        stream.write_all(together.as_bytes()).await.unwrap();
        stream
    });
    for id in ["slow", "b", "c", "d"] {
        let Input::Message { source, raw, .. } = next(&mut net).await else { panic!("{id}") };
        assert_eq!((message(raw).call_id(), source.flow), (id.as_bytes(), Some(flow)));
    }
    drop(slow.await.unwrap());
    let Input::Closed { reason, .. } = next(&mut net).await else { panic!("not closed") };
    assert_eq!(reason, CloseReason::Peer);
    assert!(net.connections.is_empty() && net.addresses.is_empty());
    assert_eq!(net.locals[&HERE].accepted, 0);
}

#[tokio::test]
async fn keep_alives_are_answered() {
    let (mut net, addresses) = plain(&[Transport::Tcp]);
    let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
    opened(&mut net, true).await;
    stream.write_all(b"\r\n\r\n\r\n\r\n").await.unwrap();
    let mut pongs = [0; 4];
    let read = stream.read_exact(&mut pongs);
    tokio::select! {
        read = soon(read) => assert_eq!(read.unwrap(), 4),
        input = next(&mut net) => panic!("{input:?}"),
    }
    assert_eq!(&pongs, b"\r\n\r\n");
}

#[tokio::test]
async fn a_connection_is_used_again_and_opened_anew_after_the_peer_closed_it() {
    let (mut net, _) = plain(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(Transport::Tcp, listener.local_addr().unwrap(), None);

    net.send(SendId(1), target.clone(), Bytes::from_static(b"one "));
    net.send(SendId(2), target.clone(), Bytes::from_static(b"two "));
    let first = opened(&mut net, false).await;
    net.send(SendId(3), target.clone(), Bytes::from_static(b"three"));
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    assert_eq!(read(&mut stream, 13).await, b"one two three");

    stream.write_all(b"\r\n").await.unwrap();
    drop(stream);
    let Input::Closed { flow, reason } = next(&mut net).await else { panic!("not closed") };
    assert_eq!((flow, reason), (first, CloseReason::Peer));
    net.send(SendId(4), Target { flow: Some(first), ..target }, Bytes::from_static(b"four"));
    assert_ne!(opened(&mut net, false).await, first);
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    assert_eq!(read(&mut stream, 4).await, b"four");
}

#[tokio::test]
async fn a_request_written_to_a_peer_that_closes_without_a_word_has_failed() {
    let (mut net, _) = plain(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(Transport::Tcp, listener.local_addr().unwrap(), None);
    let request = Bytes::from(options("a", "TCP"));
    net.send(SendId(1), target.clone(), request.clone());
    opened(&mut net, false).await;
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    read(&mut stream, request.len()).await;
    stream.write_all(options("b", "TCP").as_bytes()).await.unwrap();
    assert!(matches!(next(&mut net).await, Input::Message { .. }));

    let more = [&b"SIP/2.0 200 OK\r\n"[..], b"ACK sip:a SIP/2.0\r\n"];
    for (id, bytes) in (2..).zip(more) {
        net.send(SendId(id), target.clone(), Bytes::from_static(bytes));
    }
    net.send(SendId(4), target, request.clone());
    let all = more.concat().len() + request.len();
    let (_, read) = tokio::join!(quiet(&mut net), read(&mut stream, all));
    assert_eq!(read.len(), all);
    drop(stream);
    assert!(matches!(next(&mut net).await, Input::Closed { reason: CloseReason::Peer, .. }));
    assert!(matches!(next(&mut net).await, Input::SendFailed { id: SendId(4) }));
    assert!(net.ready.is_empty());
}

#[tokio::test]
async fn what_waited_on_a_connection_that_ends_leaves_on_another() {
    let limits = Limits { queue_bytes: 64 << 20, turn_bytes: 64 << 20, ..Limits::default() };
    let (mut net, _) = bind(config(&[]), limits);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(Transport::Tcp, listener.local_addr().unwrap(), None);
    net.send(SendId(1), target.clone(), Bytes::from(vec![b'1'; 32 << 20]));
    opened(&mut net, false).await;
    let (stream, _) = soon(listener.accept()).await.unwrap();
    quiet(&mut net).await;
    net.send(SendId(2), target, Bytes::from_static(b"two"));
    drop(stream);
    let mut inputs = Vec::new();
    let mut again = loop {
        tokio::select! {
            accepted = listener.accept() => break accepted.unwrap().0,
            input = next(&mut net) => inputs.push(input),
        }
    };
    while inputs.len() < 2 {
        inputs.push(next(&mut net).await);
    }
    assert!(matches!(inputs[0], Input::Closed { reason: CloseReason::Reset, .. }), "{inputs:?}");
    assert!(matches!(inputs[1], Input::SendFailed { id: SendId(1) }), "{inputs:?}");
    assert_eq!(read(&mut again, 3).await, b"two");
}

#[tokio::test]
async fn connections_are_told_apart_by_name() {
    let (mut net, _) = plain(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remote = listener.local_addr().unwrap();
    for (id, name) in
        [None, Some("a.example"), Some("b.example"), Some("a.example")].iter().enumerate()
    {
        let id = SendId(u64::try_from(id).unwrap());
        net.send(id, target(Transport::Tcp, remote, *name), Bytes::from_static(b"x"));
    }
    assert_eq!((net.connections.len(), net.pool.len()), (3, 3));
}

#[tokio::test]
async fn what_cannot_be_sent_comes_back() {
    let (mut net, _) = plain(&[]);
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let unknown = Target { local: LocalId(9), ..target(Transport::Tcp, free, None) };
    let sends = [
        target(Transport::Tcp, free, None),
        target(Transport::Tcp, free, None),
        // Without a certificate there is no TLS, without a socket there are no datagrams.
        target(Transport::Tls, free, None),
        target(Transport::Udp, free, None),
        unknown,
    ];
    for (id, target) in (0..).zip(sends) {
        net.send(SendId(id), target, Bytes::from_static(b"x"));
    }
    let mut failed = Vec::new();
    let mut refusals = Vec::new();
    while failed.len() < 5 {
        let input = next(&mut net).await;
        if let Input::SendFailed { id } = input {
            failed.push(id.0);
        } else if let Input::Refused { reason, .. } = input {
            refusals.push(reason);
        } else {
            panic!("{input:?}");
        }
    }
    failed.sort_unstable();
    assert_eq!(failed, [0, 1, 2, 3, 4]);
    assert_eq!(refusals, [Refusal::Unreachable]);
}

#[tokio::test]
async fn a_peer_that_takes_nothing_bounds_the_queue() {
    let (mut net, _) = plain(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(Transport::Tcp, listener.local_addr().unwrap(), None);
    let queue = u64::try_from(net.limits.queue).unwrap();
    for id in 0..=queue {
        net.send(SendId(id), target.clone(), Bytes::from_static(b"x"));
    }
    let Input::SendFailed { id } = next(&mut net).await else { panic!("not failed") };
    assert_eq!(id, SendId(queue));
}

#[tokio::test]
async fn an_answer_leaves_before_an_unreadable_stream_is_closed() {
    let (mut net, addresses) = plain(&[Transport::Tcp]);
    let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
    opened(&mut net, true).await;
    let text = options("a", "TCP").replace("Content-Length: 0", "Content-Length: 999999");
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.write_all(&[b'x'; 100_000]).await.unwrap();

    let Input::Unreadable { source, error } = next(&mut net).await else { panic!("readable") };
    assert!(error.reply.is_some());
    net.send(SendId(1), Target::reply(&source), Bytes::from_static(b"too large"));
    let mut answer = Vec::new();
    let whole = soon(stream.read_to_end(&mut answer));
    let (whole, closed) = tokio::join!(whole, next(&mut net));
    whole.unwrap();
    assert_eq!(answer, b"too large");
    assert!(matches!(closed, Input::Closed { reason: CloseReason::Unreadable, .. }));
}

#[tokio::test]
async fn a_message_that_cannot_be_read_leaves_the_stream_open_until_there_are_many() {
    let (mut net, addresses) = plain(&[Transport::Tcp]);
    let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
    opened(&mut net, true).await;
    let bad = options("bad", "TCP").replace("CSeq: 1 OPTIONS", "CSeq: x");
    let all = format!("{}{}", bad.repeat(net.limits.faults), options("good", "TCP"));
    stream.write_all(all.as_bytes()).await.unwrap();
    let mut inputs = Vec::new();
    while inputs.len() <= net.limits.faults {
        inputs.push(next(&mut net).await);
    }
    for (n, input) in inputs.into_iter().enumerate() {
        let Input::Message { source, raw, .. } = input else { panic!("{n}") };
        let good = super::read(raw).unwrap().is_ok();
        assert_eq!(good, n == net.limits.faults);
        if !good {
            net.note_unreadable(&source);
        }
        net.send(SendId(1), Target::reply(&source), Bytes::from_static(b"x"));
    }
    net.flush();
    let mut answers = Vec::new();
    let (whole, closed) = tokio::join!(soon(stream.read_to_end(&mut answers)), next(&mut net));
    whole.unwrap();
    assert_eq!(answers.len(), net.limits.faults + 1, "every answer left before the end");
    assert!(matches!(closed, Input::Closed { reason: CloseReason::Local, .. }));
}

#[tokio::test]
async fn strangers_are_bounded_in_number() {
    let (mut net, address) = closed(Transport::Tcp);
    let _stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(refused(&mut net).await, Refusal::Network);

    let cases = [
        (Limits { per_address: 1, ..Limits::default() }, Refusal::PerAddress),
        (Limits { per_local: 1, ..Limits::default() }, Refusal::Full),
        (Limits { total: 1, ..Limits::default() }, Refusal::Full),
    ];
    for (limits, reason) in cases {
        let (mut net, addresses) = bind(config(&[Transport::Tcp]), limits);
        let first = TcpStream::connect(addresses[0]).await.unwrap();
        opened(&mut net, true).await;
        let _second = TcpStream::connect(addresses[0]).await.unwrap();
        assert_eq!(refused(&mut net).await, reason);
        drop(first);
        assert!(matches!(next(&mut net).await, Input::Closed { .. }));
        let _third = TcpStream::connect(addresses[0]).await.unwrap();
        opened(&mut net, true).await;
    }
}

#[tokio::test]
async fn strangers_are_bounded_in_time() {
    let short = Duration::from_millis(50);
    let cases: [(Limits, &[u8], CloseReason); 3] = [
        (Limits { first_message: short, ..Limits::default() }, b"\r\n\r\n", CloseReason::Idle),
        (Limits { message: short, ..Limits::default() }, b"OPTI", CloseReason::Slow),
        (Limits { idle: short, ..Limits::default() }, b"", CloseReason::Idle),
    ];
    for (limits, bytes, reason) in cases {
        let (mut net, addresses) = bind(config(&[Transport::Tcp]), limits);
        let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
        opened(&mut net, true).await;
        stream.write_all(bytes).await.unwrap();
        let Input::Closed { reason: why, .. } = next(&mut net).await else { panic!("open") };
        assert_eq!(why, reason);
    }
}

#[tokio::test]
async fn closing_lets_out_what_waits() {
    let (mut net, _) = plain(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(Transport::Tcp, listener.local_addr().unwrap(), None);
    net.send(SendId(1), target, Bytes::from_static(b"last"));
    let flow = opened(&mut net, false).await;
    net.close(flow);
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    let Input::Closed { reason, .. } = next(&mut net).await else { panic!("open") };
    assert_eq!(reason, CloseReason::Local);
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(bytes, b"last");
}

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
async fn binding_fails_with_the_reason() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap().into_std().unwrap();
    let mut local = config(&[]);
    local.listen = vec![(Transport::Udp, taken.local_addr().unwrap())];
    let error = Net::bind(vec![local], Limits::default(), Handle::current()).unwrap_err();
    assert!(error.to_string().starts_with("cannot listen on UDP 127.0.0.1:"), "{error}");

    let local = config(&[Transport::Tls]);
    let error = Net::bind(vec![local], Limits::default(), Handle::current()).unwrap_err();
    assert!(matches!(error, BindError::NoCertificate { .. }));

    let twice = vec![config(&[]), config(&[])];
    let error = Net::bind(twice, Limits::default(), Handle::current()).unwrap_err();
    assert_eq!(error.to_string(), "two identities have the number 1");
}

#[tokio::test]
async fn a_retired_connection_carries_what_names_it_and_nothing_new() {
    let (mut net, _) = plain(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(Transport::Tcp, listener.local_addr().unwrap(), None);
    net.send(SendId(1), target.clone(), Bytes::from_static(b"one"));
    let first = opened(&mut net, false).await;
    let (mut old, _) = soon(listener.accept()).await.unwrap();
    assert_eq!(read(&mut old, 3).await, b"one");

    net.retire(first);
    net.send(SendId(2), target.clone(), Bytes::from_static(b"two"));
    let second = opened(&mut net, false).await;
    assert_ne!(second, first);
    let (mut new, _) = soon(listener.accept()).await.unwrap();
    assert_eq!(read(&mut new, 3).await, b"two");
    let named = Target { flow: Some(first), ..target.clone() };
    net.send(SendId(3), named, Bytes::from_static(b"three"));
    old.write_all(options("late", "TCP").as_bytes()).await.unwrap();
    let Input::Message { source, .. } = next(&mut net).await else { panic!("not served") };
    assert_eq!(source.flow, Some(first));
    assert_eq!(read(&mut old, 5).await, b"three");

    net.close(first);
    assert!(matches!(next(&mut net).await, Input::Closed { flow, .. } if flow == first));
    net.send(SendId(4), target, Bytes::from_static(b"four"));
    assert_eq!(read(&mut new, 4).await, b"four");
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

#[test]
fn one_ipv6_customer_is_one_peer() {
    let [a, b, c] = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"]
        .map(|address| holder(address.parse().unwrap()));
    assert_eq!(a, b);
    assert_ne!(a, c);
}

/// A driver with these listeners on loopback, and their addresses.
fn plain(transports: &[Transport]) -> (Net, Vec<SocketAddr>) {
    bind(config(transports), Limits::default())
}

/// A driver that lets in nobody from loopback.
fn closed(transport: Transport) -> (Net, SocketAddr) {
    let networks = Some(vec![("192.0.2.0".parse().unwrap(), 24)]);
    let (net, addresses) =
        bind(LocalConfig { networks, ..config(&[transport]) }, Limits::default());
    (net, addresses[0])
}

fn bind(config: LocalConfig, limits: Limits) -> (Net, Vec<SocketAddr>) {
    let net = Net::bind(vec![config], limits, service()).unwrap();
    let addresses = net.local_addrs().into_iter().map(|(_, _, address)| address).collect();
    (net, addresses)
}

/// A second runtime without a clock, on a thread that lives as long as the tests.
fn service() -> Handle {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
}

fn config(transports: &[Transport]) -> LocalConfig {
    let address = "127.0.0.1:0".parse().unwrap();
    LocalConfig {
        id: HERE,
        listen: transports.iter().map(|&transport| (transport, address)).collect(),
        tls: None,
        networks: None,
        reserve: 0,
        dscp: Some(24),
    }
}

fn with_tls(config: LocalConfig, tls: TlsIdentity) -> LocalConfig {
    LocalConfig { tls: Some(tls), ..config }
}

fn target(transport: Transport, remote: SocketAddr, name: Option<&str>) -> Target {
    Target { transport, local: HERE, remote, name: name.map(Arc::from), flow: None }
}

fn options(call_id: &str, transport: &str) -> String {
    format!(
        "OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1;branch=z9hG4bK1\r\n\
         From: <sip:b@127.0.0.1>;tag=1\r\nTo: <sip:a@127.0.0.1>\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(5), future).await.expect("it comes in time")
}

fn message(raw: Bytes) -> Message {
    super::read(raw).unwrap().unwrap()
}

/// The next input, one at a time.
async fn next(net: &mut Net) -> Input {
    let mut batch = Vec::new();
    soon(net.receive(&mut batch)).await;
    let first = batch.remove(0);
    for input in batch.into_iter().rev() {
        net.ready.push_front(input);
    }
    first
}

/// Drives for a while in which nothing comes in.
async fn quiet(net: &mut Net) {
    let mut batch = Vec::new();
    let _ = timeout(Duration::from_millis(50), net.receive(&mut batch)).await;
    assert!(batch.is_empty(), "{batch:?}");
}

async fn opened(net: &mut Net, expected: bool) -> FlowId {
    let input = next(net).await;
    let Input::Opened { flow, inbound, local: HERE, .. } = input else { panic!("{input:?}") };
    assert_eq!(inbound, expected);
    flow
}

async fn refused(net: &mut Net) -> Refusal {
    let input = next(net).await;
    let Input::Refused { reason, .. } = input else { panic!("{input:?}") };
    reason
}

async fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    soon(stream.read_exact(&mut bytes)).await.unwrap();
    bytes
}

/// An authority in memory.
struct Pki {
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// Settings of someone with these names, for peers with those.
    fn identity(&self, own: &[&str], peers: &[&str]) -> TlsIdentity {
        let names: Vec<String> = own.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let (chain, key) = (leaf.pem(), key.serialize_pem());
        let path = Path::new("test.pem");
        let identity = Identity::from_pem((chain.as_bytes(), path), (key.as_bytes(), path));
        let identities = Identities::new(Arc::new(identity.unwrap()), Vec::new());
        let roots = Roots::from_pem(self.root.as_bytes(), path).unwrap();
        let clients = ClientAuth::Required(ClientVerifier::new(&roots, peers).unwrap());
        let servers = ServerVerifier::new(&roots, peers).unwrap();
        TlsIdentity {
            server: Some(certs::server_config(Arc::clone(&identities), clients)),
            client: certs::client_config(Some(identities), servers),
            default_name: None,
        }
    }
}
