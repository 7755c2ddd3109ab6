//! Further headers of an INVITE that begins a call: what the rules of the trunks make of them.
//!
//! The rules of the trunk that calls come first, then those of the trunk that is called. They work on lines that rules
//! have made: nothing of the caller's INVITE is among them but what a rule copies, and nothing that the gateway writes by
//! itself, which `check` sees to. The INVITE to the target of a transfer has no caller's INVITE to copy from. Requests
//! inside a dialog carry none of them.

use std::sync::Arc;

use bytes::Bytes;
use config::{Dialect, HeaderRule};
use sip_stack::message::Message;

/// What a call's INVITEs may take over from the caller's.
#[derive(Clone, Debug, Default)]
pub struct Further {
    invite: Option<Message>,
    caller: Option<Arc<Dialect>>,
}

/// Name and value.
type Line = (Bytes, Bytes);

impl Further {
    /// Of a caller's INVITE, read by that caller's rules.
    pub fn of(invite: &Message, caller: &Arc<Dialect>) -> Self {
        Self { invite: Some(invite.clone()), caller: Some(Arc::clone(caller)) }
    }

    /// The lines of an INVITE to who speaks that dialect.
    pub fn headers(&self, to: &Dialect) -> Vec<Line> {
        let mut lines = Vec::new();
        let from = self.caller.iter().flat_map(|caller| &caller.headers_from);
        for rule in from.chain(&to.headers_to) {
            self.apply(rule, &mut lines);
            lines.truncate(MOST_LINES);
        }
        lines
    }

    fn apply(&self, rule: &HeaderRule, lines: &mut Vec<Line>) {
        let is = |line: &Line| line.0.eq_ignore_ascii_case(rule.name().as_bytes());
        let line =
            |value: &str| (Bytes::from(rule.name().to_owned()), Bytes::from(value.to_owned()));
        match rule {
            HeaderRule::Add { value, .. } => lines.push(line(value)),
            HeaderRule::Set { value, .. } => {
                lines.retain(|line| !is(line));
                lines.push(line(value));
            }
            HeaderRule::Remove { .. } => lines.retain(|line| !is(line)),
            HeaderRule::Copy { name } => lines.extend(self.copied(name)),
            HeaderRule::Replace { pattern, with, .. } => {
                for line in lines.iter_mut().filter(|line| is(line)) {
                    let text = String::from_utf8_lossy(&line.1);
                    line.1 = Bytes::from(pattern.replace(&text, with).into_owned());
                }
                lines.retain(|line| line.1.len() <= LONGEST);
            }
        }
    }

    /// The lines of that name in the caller's INVITE; a folded one is one line.
    fn copied(&self, name: &str) -> impl Iterator<Item = Line> {
        let fields = self.invite.iter().flat_map(Message::fields);
        let named = fields.filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes()));
        let short = named.filter(|field| field.value.len() <= LONGEST).take(MOST_LINES);
        short.map(|field| {
            let flat = |byte: &u8| if byte.is_ascii_control() { b' ' } else { *byte };
            let value: Vec<u8> = field.value.iter().map(flat).collect();
            (Bytes::copy_from_slice(field.name), value.into())
        })
    }
}

/// Lines that rules can make; more of them are dropped.
const MOST_LINES: usize = 32;
/// Bytes of a value: longer ones do not pass.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn add(name: &str, value: &str) -> HeaderRule {
        HeaderRule::Add { name: name.into(), value: value.into() }
    }

    fn copy(name: &str) -> HeaderRule {
        HeaderRule::Copy { name: name.into() }
    }

    fn made(received: &str, from: Vec<HeaderRule>, to: Vec<HeaderRule>) -> Vec<String> {
        let text = format!(
            "INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
             From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n{received}\r\n"
        );
        let invite = Message::parse(text.into()).unwrap();
        let caller = Dialect { headers_from: from, ..Dialect::default() };
        let callee = Dialect { headers_to: to, ..Dialect::default() };
        let lines = Further::of(&invite, &Arc::new(caller)).headers(&callee);
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        lines.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect()
    }

    #[test]
    fn rules_are_applied_in_their_order_the_callers_first() {
        let set =
            |name: &str, value: &str| HeaderRule::Set { name: name.into(), value: value.into() };
        let remove = |name: &str| HeaderRule::Remove { name: name.into() };
        let received = "X-A: 1\r\nx-a: 2\r\nX-B: b\r\nX-Secret: s\r\n";
        assert_eq!(made(received, vec![], vec![]), [""; 0], "nothing passes by itself");
        assert_eq!(made(received, vec![], vec![copy("X-A")]), ["X-A: 1", "x-a: 2"]);
        assert_eq!(made(received, vec![copy("x-b")], vec![remove("X-B")]), [""; 0]);
        assert_eq!(
            made(received, vec![copy("X-B")], vec![add("X-B", "c"), set("X-A", "a")]),
            ["X-B: b", "X-B: c", "X-A: a"]
        );
        assert_eq!(
            made(received, vec![copy("X-B"), add("X-B", "c")], vec![set("X-B", "d")]),
            ["X-B: d"]
        );
    }

    #[test]
    fn at_18_a_header_that_passes_stays_one_line() {
        let received = "X-A: one\r\n Via: two\r\n";
        assert_eq!(made(received, vec![], vec![copy("X-A")]), ["X-A: one   Via: two"]);
    }

    #[test]
    fn what_peers_send_is_bounded() {
        let long = format!("X-A: {}\r\nX-A: fits\r\n", "a".repeat(1025));
        assert_eq!(made(&long, vec![], vec![copy("X-A")]), ["X-A: fits"]);
        let many = "X-A: a\r\n".repeat(100);
        assert_eq!(made(&many, vec![copy("X-A"), add("X-B", "b")], vec![]).len(), MOST_LINES);
    }
}
