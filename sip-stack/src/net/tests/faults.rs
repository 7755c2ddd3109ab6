//! A fault of ours while something is read costs that message or that connection, nothing beside it.

use super::super::guard::{FRAMING, READING};
use super::*;

fn with(fault: &str, call_id: &str, transport: &str) -> String {
    options(call_id, transport).replacen("\r\n", &format!("\r\n{fault}\r\n"), 1)
}

/// The Call-IDs of what can be read, in order, until one of that name.
async fn heard_until(net: &mut Net, last: &str) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.last().is_none_or(|name: &String| name != last) {
        if let Input::Message { raw, .. } = next(net).await
            && let Some(read) = net.read(raw)
        {
            heard.push(String::from_utf8(read.unwrap().call_id().to_vec()).unwrap());
        }
    }
    heard
}

#[tokio::test]
async fn a_fault_in_reading_one_message_costs_that_message_of_its_batch_or_stream() {
    let (mut net, addresses) = plain(&[Transport::Udp, Transport::Tcp]);
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for (fault, name) in [("X-A: b", "u1"), (READING, "u2"), ("X-A: b", "u3")] {
        peer.send_to(with(fault, name, "UDP").as_bytes(), addresses[0]).await.unwrap();
    }
    assert_eq!(heard_until(&mut net, "u3").await, ["u1", "u3"]);

    let mut stream = TcpStream::connect(addresses[1]).await.unwrap();
    let batch = [("X-A: b", "s1"), (READING, "s2"), ("X-A: b", "s3")];
    let text: String = batch.iter().map(|(fault, name)| with(fault, name, "TCP")).collect();
    stream.write_all(text.as_bytes()).await.unwrap();
    assert_eq!(heard_until(&mut net, "s3").await, ["s1", "s3"]);
    stream.write_all(options("s4", "TCP").as_bytes()).await.unwrap();
    assert_eq!(heard_until(&mut net, "s4").await, ["s4"], "the stream goes on");
}

#[tokio::test]
async fn a_fault_in_framing_costs_that_connection_and_no_other() {
    let (mut net, addresses) = plain(&[Transport::Udp, Transport::Tcp]);
    let mut broken = TcpStream::connect(addresses[1]).await.unwrap();
    let mut sound = TcpStream::connect(addresses[1]).await.unwrap();
    sound.write_all(options("a", "TCP").as_bytes()).await.unwrap();
    assert_eq!(heard_until(&mut net, "a").await, ["a"]);
    broken.write_all(with(FRAMING, "x", "TCP").as_bytes()).await.unwrap();
    loop {
        if let Input::Closed { reason, .. } = next(&mut net).await {
            assert_eq!(reason, CloseReason::Unreadable);
            break;
        }
    }
    assert_eq!(soon(broken.read(&mut [0; 10])).await.unwrap_or(0), 0);
    sound.write_all(options("b", "TCP").as_bytes()).await.unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(heard_until(&mut net, "b").await, ["b"]);
    peer.send_to(options("c", "UDP").as_bytes(), addresses[0]).await.unwrap();
    assert_eq!(heard_until(&mut net, "c").await, ["c"]);
}
