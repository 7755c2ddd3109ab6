//! Calls for help as the operator hears of them: a line in the log, and the webhook.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::media::{CM_80, Crypto, MediaEnd};
use crate::harness::place::{CARRIER_A, PROXY};
use crate::harness::scene::Scene;
use crate::harness::talking::CALLED;
use crate::harness::wire::SOON;

const TENANT: &str = "t001.sbc.test";
const SECOND: Duration = Duration::from_secs(1);

/// A web server that takes one POST: when it came, and what it said.
fn hook(listener: TcpListener) -> (Instant, Value) {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let came = Instant::now();
    let mut reader = BufReader::new(&stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (&stream).write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").unwrap();
    (came, serde_json::from_slice(&body).unwrap())
}

#[test]
fn tr_068_a_call_for_help_is_told_within_a_second_and_its_url_is_shown_nowhere() {
    let mut scene = Scene::usual("help_webhook");
    let listener = TcpListener::bind((scene.place.ip(PROXY), 0)).unwrap();
    let url = format!("http://{}/very-secret", listener.local_addr().unwrap());
    scene.gateway_keys(&format!("emergency_webhook = \"{url}\""));
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let told = thread::spawn(move || hook(listener));
    let media = MediaEnd::new(scene.place.ip(PROXY), 7400);
    let sdp = media.secure_sdp(&[&Crypto::fresh(1, CM_80)], "sendrecv", "");
    let flow = teams.connect(TENANT);
    let asked = Instant::now();
    let mut call = teams.call(&flow, TENANT, CALLED, "112", &sdp);
    let (invite, callee) = carrier.invited();
    let (came, body) = told.join().unwrap();
    assert!(came - asked < SECOND, "{:?}", came - asked);
    // The log tells it as early, and not only what became of it.
    let id = body["id"].as_str().unwrap();
    let tells = |line: &str| line.contains("a call for help") && line.contains(id);
    while !gateway.log().lines().any(tells) {
        assert!(asked.elapsed() < SECOND, "{}", gateway.log());
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!((&body["tenant"], &body["called"]), (&"t001".into(), &"112".into()));
    assert_eq!((&body["caller"], &body["refused"]), (&CALLED.into(), &Value::Null));
    callee.reply(&invite, "486 Busy Here", "", "");
    assert_eq!(call.final_response().msg.status(), 486);
    call.ack_failure();
    let record = &gateway.wait_records(1)[0];
    assert_eq!(record["id"], body["id"]);
    let log = gateway.log();
    assert!(!log.contains("very-secret"), "{log}");
}
