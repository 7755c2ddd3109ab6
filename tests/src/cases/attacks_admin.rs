//! The admin pages (AT-57): an address of their own, and nothing to be had or held there.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::attack::Standing;
use crate::harness::place::{ADMIN, CARRIER_A, CARRIER_SIDE, EDGE};
use crate::harness::wire::connect_from;

#[test]
fn at_57_the_admin_pages_are_nowhere_else() {
    let standing = Standing::new("at_57");
    let place = standing.scene.place;
    for host in [CARRIER_SIDE, EDGE] {
        assert!(connect_from(place.ip(CARRIER_A), place.at(host, 8080)).is_err(), "host {host}");
    }
    standing.untouched();
}

#[test]
fn at_57_paths_and_methods_that_are_none() {
    let standing = Standing::new("at_57_paths");
    for path in [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/metrics/../x",
        "/state/key",
        "//",
        "/tenants.d",
    ] {
        let (status, body) = standing.gateway.get(path);
        assert!((400..500).contains(&status), "{path}: {status}");
        assert!(!body.contains("root:"), "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "TRACE", "CONNECT"] {
        let mut stream = TcpStream::connect(standing.scene.place.at(ADMIN, 8080)).unwrap();
        write!(stream, "{method} /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        drop(stream.read_to_string(&mut text));
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{method}: {text}");
    }
    standing.untouched();
}

#[test]
fn at_57_slow_and_endless_requests_hold_nothing_up() {
    let standing = Standing::within("at_57_slow", Duration::from_secs(120));
    let admin = standing.scene.place.at(ADMIN, 8080);
    let before = standing.gateway.resident();
    let slow: Vec<TcpStream> = (0..200)
        .filter_map(|n| connect_from(standing.scene.place.ip(100 + n % 3), admin).ok())
        .map(|mut stream| {
            drop(stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: "));
            stream
        })
        .collect();
    let mut endless = TcpStream::connect(admin).unwrap();
    endless.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    drop(
        endless
            .write_all(b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n"),
    );
    for _ in 0..200 {
        if endless.write_all(&[b'x'; 64 * 1024]).is_err() {
            break;
        }
    }
    let mut header = TcpStream::connect(admin).unwrap();
    header.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    drop(header.write_all(b"GET /metrics HTTP/1.1\r\n"));
    for _ in 0..2000 {
        if header.write_all(&[b'x'; 4096]).is_err() {
            break;
        }
    }
    // Who asks from elsewhere is answered all the while.
    assert_eq!(standing.gateway.get("/live").0, 200);
    assert!(standing.gateway.resident() < before + 16 * 1024);
    let end = Instant::now() + Duration::from_secs(45);
    for mut stream in slow {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).unwrap();
        let read = stream.read(&mut [0; 512]);
        let open = matches!(&read, Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
        assert!(!open, "a slow request is open after 45 s");
    }
    standing.untouched();
}
