//! REGISTER as we write it, and what its answer says (RFC 3261 §10.2, §10.2.4, §10.2.8).

use std::time::Duration;

use bytes::Bytes;
use config::Register;
use sip_stack::message::{Draft, HeaderId, Message, Method, NameAddr};

use crate::profile::{AGENT, Face};
use crate::routing::{End, Routes};

/// What a request is named by.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The Call-ID.
    pub call_id: &'a Bytes,
    /// Our tag.
    pub tag: &'a Bytes,
    /// The CSeq.
    pub cseq: u32,
}

/// Asks for so long.
pub fn register(face: &Face, of: &Register, names: Names<'_>, expires: Duration) -> Draft {
    let Register { registrar, user, contact, .. } = of;
    let address = format!("<sip:{user}@{registrar}>");
    let mut draft = Draft::request(Method::Register, format!("sip:{registrar}"));
    draft.push(HeaderId::MaxForwards, "70");
    draft.push(HeaderId::From, [address.as_bytes(), b";tag=", names.tag].concat());
    draft.push(HeaderId::To, address);
    draft.push(HeaderId::CallId, names.call_id.clone());
    draft.push(HeaderId::CSeq, format!("{} REGISTER", names.cseq));
    draft.push(HeaderId::Contact, face.contact(Some(contact)));
    draft.push(HeaderId::Expires, expires.as_secs().to_string());
    draft.push(HeaderId::UserAgent, AGENT);
    draft
}

/// The same, taking the registration back (RFC 3261 §10.2.2).
pub fn take_back(draft: &mut Draft, cseq: u32) {
    draft.set(HeaderId::CSeq, format!("{cseq} REGISTER"));
    draft.set(HeaderId::Expires, "0");
}

/// What a 2xx grants: the time of our own Contact, else that of the answer as a whole, else what was asked for. A
/// registrar that writes another Contact for us (a proxy did) shows it alone.
pub fn granted(response: &Message, contact: &[u8], asked: Duration) -> Duration {
    let uri = |value: &[u8]| NameAddr::parse(value).ok().map(|address| address.uri.to_vec());
    let own = uri(contact);
    let mut contacts: Vec<&[u8]> = response.elements(HeaderId::Contact).collect();
    if let Some(at) = contacts.iter().position(|value| is_same(uri(value), own.clone())) {
        contacts = vec![contacts[at]];
    }
    let told = match contacts[..] {
        [only] => NameAddr::parse(only).ok().and_then(|it| seconds(it.param("expires")??)),
        _ => None,
    };
    told.or_else(|| seconds(response.value(HeaderId::Expires)?)).unwrap_or(asked)
}

/// What a 423 asks for.
pub fn least(response: &Message) -> Option<Duration> {
    seconds(response.value(HeaderId::MinExpires)?)
}

/// The user part of our Contact, where an end is registered with: whoever calls it means a number that stands elsewhere.
pub fn contact(routes: &Routes, from: End) -> Option<&str> {
    let End::Trunk(trunk) = from else { return None };
    Some(routes.config().trunks[trunk.0].register.as_ref()?.contact.as_str())
}

/// Scheme and host in any case, everything else as it is (RFC 3261 §19.1.4, as far as our own URI needs it).
fn is_same(one: Option<Vec<u8>>, other: Option<Vec<u8>>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return false };
    let bare = |uri: &[u8]| {
        let end = uri.iter().position(|byte| *byte == b';').unwrap_or(uri.len());
        uri[..end].to_ascii_lowercase()
    };
    bare(&one) == bare(&other)
}

fn seconds(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: u32 = text.parse().ok().filter(|_| digits)?;
    Some(Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &str) -> Message {
        let lines: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
        let text = format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:a@a>;tag=2\r\n\
             Call-ID: c\r\nCSeq: 1 REGISTER\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    #[test]
    fn what_is_granted_is_that_of_our_own_contact() {
        let ours = b"<sip:u@192.0.2.1:5060;transport=tcp>";
        for (headers, seconds) in [
            ("Contact: <sip:u@192.0.2.1:5060;transport=tcp>;expires=90", 90),
            ("Contact: <sip:u@192.0.2.1:5060;transport=TCP>;q=1;expires=90\nExpires: 7", 90),
            ("Contact: <sip:x@192.0.2.9>;expires=5, <SIP:u@192.0.2.1:5060>;expires=\"90\"", 600),
            ("Contact: <sip:x@192.0.2.9>;expires=5, <SIP:u@192.0.2.1:5060>;expires=90", 90),
            ("Contact: <sip:u@10.0.0.1:9>;expires=60", 60),
            (
                "Contact: <sip:u@10.0.0.1:9>;expires=60, <sip:u@10.0.0.2>;expires=50\nExpires: 40",
                40,
            ),
            ("Expires: 300", 300),
            ("Expires: 5000000000", 600),
            ("", 600),
        ] {
            let granted = granted(&answer(headers), ours, Duration::from_secs(600));
            assert_eq!(granted.as_secs(), seconds, "{headers}");
        }
    }

    #[test]
    fn min_expires_is_read() {
        assert_eq!(least(&answer("Min-Expires: 1800")), Some(Duration::from_secs(1800)));
        assert_eq!(least(&answer("Min-Expires: +1")), None);
        assert_eq!(least(&answer("")), None);
    }
}
