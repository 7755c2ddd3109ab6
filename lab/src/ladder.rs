//! A call drawn from its captured messages: carrier left, gateway in the middle, Teams right.

use std::fmt::Write;
use std::time::Instant;

use crate::capture::Record;
use crate::sip::Message;

/// Draws the messages of one call, in the order of their times, as lines of text. `left` and
/// `right` name the two ends; times are milliseconds since the first message.
#[must_use]
pub fn draw(records: &[Record], left: &str, right: &str) -> String {
    let mut records: Vec<&Record> = records.iter().collect();
    records.sort_by_key(|record| record.at);
    let mut text = format!("      ms  {left:<SPAN$}{:<SPAN$} {right}\n", "gateway");
    let Some(start) = records.first().map(|record| record.at) else {
        return text;
    };
    let blank = " ".repeat(SPAN - 1);
    for record in records {
        let on_left = &*record.end == left;
        let label = label(record);
        // An arrow points right when the left end sends or the right end receives.
        let arrow = arrow(&label, on_left == record.sent);
        let ms = since(start, record.at);
        // Writing to a String cannot fail.
        let _ = match on_left {
            true => writeln!(text, "{ms:8.1}  |{arrow}|{blank}|"),
            false => writeln!(text, "{ms:8.1}  |{blank}|{arrow}|"),
        };
    }
    text
}

fn since(start: Instant, at: Instant) -> f64 {
    at.saturating_duration_since(start).as_secs_f64() * 1000.0
}

fn arrow(label: &str, right: bool) -> String {
    let label: String = label.chars().take(SPAN - 6).collect();
    let line = "-".repeat((SPAN - 5).saturating_sub(label.chars().count()));
    if right { format!("- {label} {line}>") } else { format!("< {label} {line}-") }
}

fn label(record: &Record) -> String {
    let message: &Message = &record.message;
    let sdp = if message.sdp().is_some() { " (SDP)" } else { "" };
    if message.is_request() {
        let number = if message.method() == "INVITE" { message.called() } else { "" };
        let gap = if number.is_empty() { "" } else { " " };
        return format!("{}{gap}{number}{sdp}", message.method());
    }
    // Each phone that rings has a tag of its own.
    let fork = match (message.status(), message.to_tag()) {
        (101..=199, Some(tag)) => format!(" tag {}", tag.get(..6).unwrap_or(tag)),
        (_, Some(_) | None) => String::new(),
    };
    let method = if message.method() == "INVITE" { "" } else { message.method() };
    let gap = if method.is_empty() { "" } else { " " };
    format!("{} {}{gap}{method}{sdp}{fork}", message.status(), message.phrase())
}

/// Columns from one upright to the next.
const SPAN: usize = 44;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Transport;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn both_legs_stand_beside_each_other_in_order_of_time() {
        let start = crate::now();
        let record = |ms: u64, end: &str, sent: bool, text: &str| Record {
            at: start + Duration::from_millis(ms),
            end: end.into(),
            sent,
            transport: Transport::Udp,
            local: "127.0.0.1:1".parse().unwrap(),
            remote: "127.0.0.1:2".parse().unwrap(),
            message: Arc::new(Message::read(text.as_bytes()).unwrap()),
        };
        let invite = "INVITE sip:+1555@h SIP/2.0\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n";
        let ringing = "SIP/2.0 180 Ringing\r\nTo: a;tag=t1\r\nCSeq: 1 INVITE\r\n\r\n";
        let bye = "SIP/2.0 200 OK\r\nTo: a;tag=t1\r\nCSeq: 2 BYE\r\n\r\n";
        let drawn = draw(
            &[
                record(2, "Teams", false, invite),
                record(0, "carrier-a", true, invite),
                record(5, "Teams", true, ringing),
                record(9, "carrier-a", false, bye),
            ],
            "carrier-a",
            "Teams",
        );
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines[0].contains("carrier-a") && lines[0].ends_with("Teams"));
        assert!(lines[1].starts_with("     0.0  |- INVITE +1555 (SDP) ---"), "{drawn}");
        assert!(lines[2].contains("|- INVITE +1555 (SDP) ---") && lines[2].ends_with(">|"));
        assert!(lines[3].contains("|< 180 Ringing tag t1 ---"), "{drawn}");
        assert!(lines[4].starts_with("     9.0  |< 200 OK BYE ---"));
        let widths: Vec<usize> = lines[1..].iter().map(|line| line.len()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{drawn}");
    }

    #[test]
    fn nothing_draws_only_the_names() {
        assert_eq!(draw(&[], "a", "b").lines().count(), 1);
    }
}
