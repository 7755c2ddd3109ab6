//! What no message towards Teams may contain, whatever the call (TR-038, TR-075).

use std::net::IpAddr;

use super::sip::{Msg, host_in, unquoted, uri_in};

/// Faults of one message that the gateway sent to the Teams side.
pub fn towards_teams(msg: &Msg) -> Vec<String> {
    let mut faults = Vec::new();
    let head = String::from_utf8_lossy(&msg.raw);
    let head = head.split("\r\n\r\n").next().unwrap_or_default();
    let head = unquoted(head).to_ascii_lowercase();
    if head.contains("sips:") {
        faults.push("a SIPS URI".to_owned());
    }
    if head.contains("sip:@") {
        faults.push("\"sip:@\"".to_owned());
    }
    // A response repeats the Via and From of the request; what we wrote ourselves is Contact.
    for name in ["Contact", "Record-Route"] {
        for value in msg.all(name) {
            literal(name, host_in(uri_in(value)), &mut faults);
        }
    }
    if msg.is_request() {
        literal("From", msg.host_of("From"), &mut faults);
        let sent_by = msg.sent_by();
        literal("Via", sent_by.split(':').next().unwrap_or_default(), &mut faults);
        if msg.all("Via").count() != 1 {
            faults.push("more than our own Via".to_owned());
        }
        if matches!(msg.method(), "UPDATE" | "PRACK" | "INFO" | "REFER" | "SUBSCRIBE" | "MESSAGE") {
            faults.push(format!("a {} request", msg.method()));
        }
        if msg.get("Replaces").is_some() {
            faults.push("Replaces".to_owned());
        }
    }
    let needs_contact = match msg.method() {
        "INVITE" => msg.is_request() || (101..300).contains(&msg.status()),
        "OPTIONS" => msg.is_request() || msg.status() == 200,
        _ => false,
    };
    if needs_contact && msg.get("Contact").is_none() {
        faults.push("no Contact".to_owned());
    }
    // How a transfer fares is told by a status line, and by nothing else (RFC 3515 §2.4.5).
    let (kind, event) = match msg.method() {
        "NOTIFY" if msg.is_request() => ("message/sipfrag;version=2.0", Some("refer")),
        _ => ("application/sdp", None),
    };
    if !msg.body.is_empty() && msg.get("Content-Type") != Some(kind) {
        faults.push(format!("a body of type {:?}", msg.get("Content-Type")));
    }
    if event.is_some() && msg.get("Event").and_then(|event| event.split(';').next()) != event {
        faults.push(format!("a NOTIFY of {:?}", msg.get("Event")));
    }
    length(msg, &mut faults);
    faults
}

/// Faults of one message on any side.
pub fn anywhere(msg: &Msg) -> Vec<String> {
    let mut faults = Vec::new();
    length(msg, &mut faults);
    // A 400 repeats what could be read of what it refuses, and no more (RFC 4475 §3.3.1).
    let unreadable = !msg.is_request() && msg.status() == 400;
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        if msg.get(name).is_none() && (name == "Via" || !unreadable) {
            faults.push(format!("no {name}"));
        }
    }
    if msg.is_request() && msg.get("Max-Forwards").is_none() {
        faults.push("no Max-Forwards".to_owned());
    }
    faults
}

fn length(msg: &Msg, faults: &mut Vec<String>) {
    let stated = msg.get("Content-Length").and_then(|value| value.parse::<usize>().ok());
    let real =
        msg.raw.len() - msg.raw.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
    if stated != Some(real) {
        faults.push(format!("Content-Length {stated:?} and {real} bytes"));
    }
}

fn literal(name: &str, host: &str, faults: &mut Vec<String>) {
    if host.is_empty() || host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
        faults.push(format!("{host:?} in {name}, a host name must stand there"));
    }
}
