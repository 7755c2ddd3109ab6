//! Datagrams in and out.

use super::super::listen::DATAGRAMS;
use super::*;

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
    assert!(net.read(raw).unwrap().is_err());
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
async fn a_datagram_is_read_within_the_same_bounds_as_a_stream() {
    let messages = crate::message::Limits { headers: 9, ..Default::default() };
    let limits = Limits { messages, ..Limits::default() };
    let (mut net, addresses) = bind(config(&[Transport::Udp]), limits);
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let long = options("a", "UDP").replacen("\r\n", &format!("\r\n{}", "X: y\r\n".repeat(9)), 1);
    for (text, fits) in [(options("a", "UDP"), true), (long, false)] {
        peer.send_to(text.as_bytes(), addresses[0]).await.unwrap();
        let Input::Message { raw, .. } = next(&mut net).await else { panic!("nothing came") };
        assert_eq!(net.read(raw).unwrap().is_ok(), fits);
    }
}
