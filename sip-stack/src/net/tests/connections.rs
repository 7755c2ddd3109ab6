//! Streams: cut into messages, used again, and bounded in number, time and memory.

use super::super::pool::holder;
use super::*;

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
        let good = net.read(raw).unwrap().is_ok();
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

#[test]
fn one_ipv6_customer_is_one_peer() {
    let [a, b, c] = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"]
        .map(|address| holder(address.parse().unwrap()));
    assert_eq!(a, b);
    assert_ne!(a, c);
}
