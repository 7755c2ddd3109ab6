//! How connections end: what was on its way in either direction arrives, or is known to have failed.

use super::*;

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

/// The Call-IDs of what comes until a connection is closed, and why it was.
async fn heard_until_closed(net: &mut Net) -> (Vec<String>, CloseReason) {
    let mut heard = Vec::new();
    loop {
        let input = next(net).await;
        if let Input::Message { raw, .. } = input {
            heard.push(String::from_utf8(message(raw).call_id().to_vec()).unwrap());
        } else if let Input::Closed { reason, .. } = input {
            return (heard, reason);
        }
    }
}

/// Names of so many messages, and all of them as one text.
fn many(count: usize) -> (Vec<String>, String) {
    let names: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    let text = names.iter().map(|name| options(name, "TCP")).collect();
    (names, text)
}

/// More than the queue to the driver holds: some wait there, some in the framer, some in the kernel.
#[tokio::test]
async fn a_close_by_us_loses_nothing_that_the_peer_had_sent() {
    let (mut net, addresses) = plain(&[Transport::Tcp]);
    let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
    let flow = opened(&mut net, true).await;
    let (names, text) = many(EVENTS + 500);
    stream.write_all(text.as_bytes()).await.unwrap();
    // The queue to the driver is full, and nobody takes anything out.
    tokio::time::sleep(Duration::from_millis(50)).await;
    net.close(flow);
    // The peer closes as soon as it sees our end, as TLS peers do.
    let peer = tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (heard, reason) = heard_until_closed(&mut net).await;
    assert_eq!((heard.len(), reason), (names.len(), CloseReason::Local));
    assert_eq!(heard, names, "each once, in their order");
    peer.await.unwrap().unwrap();
}

/// However long the driver is busy, what is whole waits for it.
#[tokio::test]
async fn a_close_by_us_waits_for_a_busy_driver() {
    let limits = Limits { grace: Duration::from_millis(20), ..Limits::default() };
    let (mut net, addresses) = bind(config(&[Transport::Tcp]), limits);
    let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
    let flow = opened(&mut net, true).await;
    let (names, text) = many(EVENTS + 8);
    stream.write_all(text.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    net.close(flow);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(heard_until_closed(&mut net).await, (names, CloseReason::Local));
}

/// TR-015: an INVITE or a BYE that crosses our end is repeated by nobody.
#[tokio::test]
async fn tr_015_what_crosses_our_end_on_tls_is_served() {
    let pki = Pki::new();
    let tls = pki.identity(&["sbc.example"], &["peer.example"]);
    let (mut net, addresses) = bind(with_tls(config(&[Transport::Tls]), tls), Limits::default());
    let client = pki.identity(&["peer.example"], &["sbc.example"]).client;
    let connector = tokio_rustls::TlsConnector::from(client);
    let name = rustls::pki_types::ServerName::try_from("sbc.example").unwrap();
    let dial = async {
        let stream = TcpStream::connect(addresses[0]).await.unwrap();
        connector.connect(name, stream).await.unwrap()
    };
    let (mut stream, flow) = tokio::join!(dial, opened(&mut net, true));
    net.close(flow);
    // It has even seen our end when it writes.
    let mut end = Vec::new();
    soon(stream.read_to_end(&mut end)).await.unwrap();
    stream.write_all(options("late", "TLS").as_bytes()).await.unwrap();
    stream.write_all(options("later", "TLS").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let (heard, reason) = heard_until_closed(&mut net).await;
    assert_eq!((heard, reason), (vec!["late".into(), "later".into()], CloseReason::Local));
}

/// The driver is busy, and the peer takes nothing: what was whole by the time it is given up is served all the same.
#[tokio::test]
async fn what_was_read_from_a_peer_that_is_given_up_is_served() {
    let limits = Limits {
        message: Duration::from_millis(200),
        queue_bytes: 64 << 20,
        turn_bytes: 64 << 20,
        ..Limits::default()
    };
    let (mut net, addresses) = bind(config(&[Transport::Tcp]), limits);
    let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
    let flow = opened(&mut net, true).await;
    let (names, text) = many(EVENTS + 500);
    stream.write_all(text.as_bytes()).await.unwrap();
    let remote = stream.local_addr().unwrap();
    let target = Target { flow: Some(flow), ..target(Transport::Tcp, remote, None) };
    net.send(SendId(1), target, Bytes::from(vec![b'x'; 24 << 20]));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (heard, reason) = heard_until_closed(&mut net).await;
    assert_eq!(reason, CloseReason::Stalled);
    assert!(heard.len() > EVENTS, "more than was with the driver already: {}", heard.len());
    assert_eq!(heard, names[..heard.len()]);
}

#[tokio::test]
async fn what_comes_on_streams_waits_while_it_is_held_and_datagrams_do_not() {
    let (mut net, addresses) = plain(&[Transport::Udp, Transport::Tcp]);
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(addresses[1]).await.unwrap();
    opened(&mut net, true).await;
    net.hold_streams(true);
    stream.write_all(options("stream", "TCP").as_bytes()).await.unwrap();
    quiet(&mut net).await;
    for name in ["a", "b"] {
        peer.send_to(options(name, "UDP").as_bytes(), addresses[0]).await.unwrap();
        let Input::Message { raw, .. } = next(&mut net).await else { panic!("nothing came") };
        assert_eq!(message(raw).call_id(), name.as_bytes());
    }
    net.hold_streams(false);
    let Input::Message { raw, .. } = next(&mut net).await else { panic!("nothing came") };
    assert_eq!(message(raw).call_id(), b"stream");
}
