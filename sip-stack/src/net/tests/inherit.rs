//! Sockets that pass from one driver to another.

use super::*;

const ALL: [Transport; 2] = [Transport::Udp, Transport::Tcp];

/// A driver and one that has taken its sockets over.
fn generations() -> (Net, Net, Vec<SocketAddr>) {
    let (old, addresses) = plain(&ALL);
    let mut config = config(&ALL);
    for (listen, address) in config.listen.iter_mut().zip(&addresses) {
        listen.1 = *address;
    }
    let inherited = Inherited::new(old.export().unwrap());
    let new = Net::bind_with(vec![config], inherited, Limits::default(), service()).unwrap();
    assert_eq!(old.local_addrs(), new.local_addrs());
    (old, new, addresses)
}

#[tokio::test]
async fn r03_exactly_one_reads_and_nothing_is_lost_between() {
    let (mut old, mut new, addresses) = generations();
    new.stop_listening(|_, _| true);
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut early = TcpStream::connect(addresses[1]).await.unwrap();
    opened(&mut old, true).await;
    peer.send_to(options("before", "UDP").as_bytes(), addresses[0]).await.unwrap();
    let Input::Message { source, .. } = next(&mut old).await else { panic!("no message") };

    old.stop_listening(|_, _| true);
    peer.send_to(options("between", "UDP").as_bytes(), addresses[0]).await.unwrap();
    let mut late = TcpStream::connect(addresses[1]).await.unwrap();
    quiet(&mut old).await;
    quiet(&mut new).await;
    new.listen_again();
    let mut between = 0;
    for _ in 0..2 {
        match next(&mut new).await {
            Input::Message { raw, .. } => {
                assert_eq!(message(raw).call_id(), b"between");
                between += 1;
            }
            Input::Opened { inbound, .. } => assert!(inbound),
            other @ (Input::Unreadable { .. }
            | Input::SendFailed { .. }
            | Input::Closed { .. }
            | Input::Refused { .. }) => panic!("{other:?}"),
        }
    }
    assert_eq!(between, 1);

    // The old one still speaks: on its socket, and on its connection both ways.
    old.send(SendId(1), Target::reply(&source), Bytes::from_static(b"old"));
    old.flush();
    let (length, from) = soon(peer.recv_from(&mut [0; 100])).await.unwrap();
    assert_eq!((length, from), (3, addresses[0]));
    early.write_all(options("early", "TCP").as_bytes()).await.unwrap();
    let Input::Message { raw, source, .. } = next(&mut old).await else { panic!("no message") };
    assert_eq!(message(raw).call_id(), b"early");
    old.send(SendId(2), Target::reply(&source), Bytes::from_static(b"answer"));
    assert_eq!(read(&mut early, 6).await, b"answer");
    late.write_all(options("late", "TCP").as_bytes()).await.unwrap();
    let Input::Message { raw, .. } = next(&mut new).await else { panic!("no message") };
    assert_eq!(message(raw).call_id(), b"late");
}

#[tokio::test]
async fn r03_the_old_one_takes_back_what_a_dead_successor_leaves() {
    let (mut old, new, addresses) = generations();
    old.stop_listening(|_, _| true);
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    peer.send_to(options("a", "UDP").as_bytes(), addresses[0]).await.unwrap();
    let mut stream = TcpStream::connect(addresses[1]).await.unwrap();
    quiet(&mut old).await;

    drop(new);
    old.listen_again();
    stream.write_all(options("b", "TCP").as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 2 {
        if let Input::Message { raw, .. } = next(&mut old).await {
            heard.push(message(raw).call_id().to_vec());
        }
    }
    heard.sort();
    assert_eq!(heard, [b"a", b"b"]);
}

#[tokio::test]
async fn only_what_was_taken_is_no_longer_read() {
    let (mut old, addresses) = plain(&[Transport::Udp, Transport::Udp]);
    old.stop_listening(|transport, address| (transport, address) == (Transport::Udp, addresses[1]));
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for (id, address) in ["mine", "taken"].into_iter().zip(&addresses) {
        peer.send_to(options(id, "UDP").as_bytes(), *address).await.unwrap();
    }
    let Input::Message { raw, .. } = next(&mut old).await else { panic!("no message") };
    assert_eq!(message(raw).call_id(), b"mine");
    quiet(&mut old).await;
}

#[tokio::test]
async fn an_answer_leaves_from_the_socket_on_which_another_process_heard_the_peer() {
    let (mut old, addresses) = plain(&[Transport::Udp, Transport::Udp]);
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let source = Source {
        transport: Transport::Udp,
        local: HERE,
        local_addr: addresses[1],
        remote: peer.local_addr().unwrap(),
        flow: None,
    };
    old.note_heard(&source);
    old.send(SendId(1), Target::reply(&source), Bytes::from_static(b"answer"));
    old.flush();
    let (_, from) = soon(peer.recv_from(&mut [0; 100])).await.unwrap();
    assert_eq!(from, addresses[1]);
}

#[tokio::test]
async fn a_socket_of_another_kind_is_not_taken_for_a_listener() {
    let (old, addresses) = plain(&[Transport::Udp]);
    let mut sockets = old.export().unwrap();
    sockets[0].transport = Transport::Tcp;
    let config = LocalConfig { listen: vec![(Transport::Tcp, addresses[0])], ..config(&[]) };
    let error = Net::bind_with(vec![config], Inherited::new(sockets), Limits::default(), service());
    let BindError::Listen { transport: Transport::Tcp, address, .. } = error.unwrap_err() else {
        panic!("another reason")
    };
    assert_eq!(address, addresses[0]);
}
