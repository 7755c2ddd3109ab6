//! Peers that mean no good, on loopback: they cost a bounded amount of memory and time, and the others
//! go on.

use super::*;

fn of(id: u16, reserve: usize) -> LocalConfig {
    LocalConfig { id: LocalId(id), reserve, ..config(&[Transport::Tcp]) }
}

#[tokio::test]
async fn at_27_a_flood_on_one_listener_leaves_the_reserve_of_the_others() {
    let limits = Limits { total: 20, per_address: 100, ..Limits::default() };
    let net = Net::bind(vec![of(1, 6), of(2, 0)], limits, service());
    let mut net = net.unwrap();
    let addresses: Vec<_> = net.local_addrs().into_iter().map(|(.., address)| address).collect();
    let mut held = Vec::new();
    let (mut opened, mut full) = (0, 0);
    for _ in 0..30 {
        held.push(TcpStream::connect(addresses[1]).await.unwrap());
        let input = next(&mut net).await;
        opened += usize::from(matches!(input, Input::Opened { local: LocalId(2), .. }));
        full += usize::from(matches!(input, Input::Refused { reason: Refusal::Full, .. }));
    }
    assert_eq!((opened, full), (14, 16));
    for _ in 0..6 {
        held.push(TcpStream::connect(addresses[0]).await.unwrap());
        assert!(matches!(next(&mut net).await, Input::Opened { local: LocalId(1), .. }));
    }
    held.push(TcpStream::connect(addresses[0]).await.unwrap());
    assert!(matches!(next(&mut net).await, Input::Refused { reason: Refusal::Full, .. }));

    held.clear();
    for _ in 0..20 {
        assert!(matches!(next(&mut net).await, Input::Closed { .. }));
    }
    assert_eq!(net.held, Held { reserved: 6, ..Held::default() });
    assert!(net.addresses.is_empty() && net.connections.is_empty());
}

/// Who may register from anywhere is let in from anywhere.
#[tokio::test]
async fn at_27_a_flood_of_strangers_leaves_room_for_networks_that_are_known() {
    let limits =
        Limits { strangers: 4, strange_handshakes: 2, per_address: 100, ..Limits::default() };
    let known = Some(vec![("127.0.0.2".parse().unwrap(), 32)]);
    let server = Pki::new().identity(&["sbc.example"], &["peer.example"]);
    let here = LocalConfig { known, ..config(&[Transport::Tcp, Transport::Tls]) };
    let (mut net, addresses) = bind(with_tls(here, server), limits);
    let from = |own: &str, to: SocketAddr| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{own}:0").parse().unwrap()).unwrap();
        socket.connect(to)
    };
    let mut held = Vec::new();
    // Handshakes that never come.
    for _ in 0..2 {
        held.push(from("127.0.0.3", addresses[1]).await.unwrap());
    }
    held.push(from("127.0.0.3", addresses[1]).await.unwrap());
    assert!(matches!(next(&mut net).await, Input::Refused { reason: Refusal::Busy, .. }));
    for _ in 0..2 {
        held.push(from("127.0.0.3", addresses[0]).await.unwrap());
        opened(&mut net, true).await;
    }
    held.push(from("127.0.0.4", addresses[0]).await.unwrap());
    assert!(matches!(next(&mut net).await, Input::Refused { reason: Refusal::Full, .. }));
    for _ in 0..10 {
        held.push(from("127.0.0.2", addresses[0]).await.unwrap());
        opened(&mut net, true).await;
    }
    // Its handshake begins: nothing is said of it.
    held.push(from("127.0.0.2", addresses[1]).await.unwrap());
    held.push(from("127.0.0.2", addresses[0]).await.unwrap());
    opened(&mut net, true).await;
    assert_eq!((net.locals[&HERE].strange, net.held.strange_shaking, net.held.shaking), (4, 2, 3));
    held.clear();
    for _ in 0..16 {
        assert!(matches!(next(&mut net).await, Input::Closed { .. } | Input::Refused { .. }));
    }
    assert_eq!((net.held, net.locals[&HERE].strange), (Held::default(), 0));
}

#[tokio::test]
async fn at_27_a_reserve_can_be_changed_while_it_is_in_use() {
    let (mut net, addresses) =
        bind(LocalConfig { reserve: 2, ..config(&[Transport::Tcp]) }, Limits::default());
    let _first = TcpStream::connect(addresses[0]).await.unwrap();
    opened(&mut net, true).await;
    assert_eq!(net.held.reserved, 1);
    let changed = LocalConfig { reserve: 5, ..config(&[Transport::Tcp]) };
    net.reconfigure(vec![changed]).unwrap();
    assert_eq!(net.held.reserved, 4);
}

#[tokio::test]
async fn at_26_keep_alives_without_end_close_a_connection() {
    let (mut net, addresses) = plain(&[Transport::Tcp]);
    let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
    opened(&mut net, true).await;
    stream.write_all(&b"\r\n\r\n".repeat(100)).await.unwrap();
    let closed = next(&mut net).await;
    assert!(matches!(closed, Input::Closed { reason: CloseReason::Flood, .. }), "{closed:?}");
    let mut pongs = Vec::new();
    let _ = stream.read_to_end(&mut pongs).await;
    assert!(pongs.len() <= 2 * net.limits.keep_alives as usize, "{} bytes", pongs.len());
}

#[tokio::test]
async fn at_24_a_peer_that_asks_and_does_not_read_is_held_up_and_costs_a_bounded_amount() {
    let limits = Limits { message: Duration::from_millis(700), ..Limits::default() };
    let (mut net, addresses) = bind(config(&[Transport::Tcp]), limits);
    let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
    opened(&mut net, true).await;
    // It asks and asks, as long as anybody listens.
    let asking = tokio::spawn(async move {
        let request = options("a", "TCP").repeat(100);
        for _ in 0..100 {
            if stream.write_all(request.as_bytes()).await.is_err() {
                break;
            }
        }
        stream
    });
    let answer = Bytes::from(vec![b'x'; 2000]);
    let (mut asked, mut most) = (0, 0);
    let mut batch = Vec::new();
    let reason = 'all: loop {
        soon(net.receive(&mut batch)).await;
        for input in batch.drain(..) {
            if let Input::Message { source, .. } = input {
                asked += 1;
                net.send(SendId(asked), Target::reply(&source), answer.clone());
            } else if let Input::Closed { reason, .. } = input {
                break 'all reason;
            }
        }
        let waiting = |c: &pool::Connection| c.waiting();
        most = most.max(net.connections.values().map(waiting).max().unwrap_or(0));
    };
    assert_eq!(reason, CloseReason::Stalled);
    assert!(asked < 10_000, "it was held up: {asked} requests were read");
    // What one turn brings comes on top.
    assert!(most < 2 * limits.queue_bytes + 2000 * 300, "{most} bytes");
    drop(asking.await);
}

#[tokio::test]
async fn at_13_who_does_not_speak_tls_on_a_tls_port_gets_nothing() {
    let pki = Pki::new();
    let tls = pki.identity(&["sbc.example"], &["peer.example"]);
    let (mut net, addresses) = bind(with_tls(config(&[Transport::Tls]), tls), Limits::default());
    for bytes in [options("a", "TLS").as_bytes(), b"GET / HTTP/1.1\r\n\r\n", b"\0", b"\x80\x2e\x01"]
    {
        let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert_eq!(refused(&mut net).await, Refusal::Handshake(Flaw::NotTls));
        let mut answer = Vec::new();
        let _ = soon(stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"");
    }
    assert_eq!(net.held, Held::default());
}

#[tokio::test]
async fn at_13_tls_on_a_tcp_port_gets_nothing() {
    let (mut net, addresses) = plain(&[Transport::Tcp]);
    let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";
    for bytes in [&hello[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0\x01\0\0\x21\x12\xa4\x42"] {
        let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
        opened(&mut net, true).await;
        stream.write_all(bytes).await.unwrap();
        let Input::Unreadable { error, .. } = next(&mut net).await else { panic!("readable") };
        assert!(error.reply.is_none());
        let mut answer = Vec::new();
        let (closed, _) = tokio::join!(next(&mut net), soon(stream.read_to_end(&mut answer)));
        assert!(matches!(closed, Input::Closed { reason: CloseReason::Unreadable, .. }));
        assert_eq!(answer, b"");
    }
}
