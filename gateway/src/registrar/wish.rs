//! What a REGISTER asks for (RFC 3261 §10.2.1, §10.3 steps 6 and 7), and contacts as URIs.

use bytes::Bytes;
use sip_stack::message::{HeaderId, Message, NameAddr};
use sip_stack::uri::{Host, Scheme, Uri, unescape};

/// What a REGISTER asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To be told what there is.
    Query,
    /// `Contact: *`: that nothing stays.
    RemoveAll,
    /// These contacts, each URI once.
    Set(Vec<Contact>),
}

/// One contact that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Its URI, without headers.
    pub uri: Bytes,
    /// Its preference, in thousandths.
    pub q: u16,
    /// For how many seconds; `None`: it does not say.
    pub expires: Option<u32>,
}

impl Wish {
    /// `None` when it makes no sense: 400.
    pub fn of(message: &Message) -> Option<Self> {
        let values: Vec<&[u8]> = message.elements(HeaderId::Contact).collect();
        let header = message.value(HeaderId::Expires).and_then(seconds);
        match values[..] {
            [] => return Some(Self::Query),
            [b"*"] => return (header == Some(0)).then_some(Self::RemoveAll),
            _ if values.len() > MOST => return None,
            _ => {}
        }
        let mut contacts: Vec<Contact> = Vec::new();
        for value in values {
            let contact = Contact::of(value, header)?;
            contacts.retain(|other| !is_same(&other.uri, &contact.uri));
            contacts.push(contact);
        }
        Some(Self::Set(contacts))
    }
}

impl Contact {
    fn of(value: &[u8], header: Option<u32>) -> Option<Self> {
        let address = NameAddr::parse(value).ok()?;
        let uri = Uri::parse(address.uri).ok().filter(|uri| is_sip(uri))?;
        let uri = uri.without_headers();
        if uri.len() > LONGEST || std::str::from_utf8(uri).is_err() {
            return None;
        }
        let own = address.param("expires").flatten().and_then(seconds);
        Some(Self {
            uri: Bytes::copy_from_slice(uri),
            q: address.param("q").flatten().and_then(thousandths).unwrap_or(1000),
            expires: own.or(header),
        })
    }
}

/// Whether two URIs mean the same contact: RFC 3261 §19.1.4, but for parameters that say nothing of where it is.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let (Ok(one), Ok(other)) = (Uri::parse(one), Uri::parse(other)) else { return false };
    let host = |uri: &Uri<'_>| match uri.host() {
        Host::Name(name) => name.to_ascii_lowercase(),
        Host::Ip(ip) => ip.to_string(),
    };
    let transport =
        |uri: &Uri<'_>| uri.param("transport").flatten().map(<[u8]>::to_ascii_lowercase);
    one.scheme() == other.scheme()
        && one.user().map(unescape) == other.user().map(unescape)
        && host(&one) == host(&other)
        && one.port() == other.port()
        && transport(&one) == transport(&other)
}

/// A contact as a Request-URI: with this user in place of its own.
pub fn with_user(uri: &[u8], user: &str) -> Vec<u8> {
    let scheme = uri.iter().position(|byte| *byte == b':').map_or(0, |at| at + 1);
    let own = uri.iter().position(|byte| *byte == b'@').map(|at| at + 1);
    let rest = own.unwrap_or(scheme);
    [&uri[..scheme], user.as_bytes(), b"@", &uri[rest..]].concat()
}

/// The host of a contact as it stands in a URI.
pub fn host(uri: &[u8]) -> String {
    let host = Uri::parse(uri).map(|uri| match uri.host() {
        Host::Name(name) => name.to_owned(),
        Host::Ip(ip) => crate::profile::trunk::host(ip),
    });
    host.unwrap_or_default()
}

fn is_sip(uri: &Uri<'_>) -> bool {
    match uri.scheme() {
        Scheme::Sip | Scheme::Sips => uri.host() != Host::Name(""),
        Scheme::Tel | Scheme::Other => false,
    }
}

fn seconds(value: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // What is too large for a number is as long as can be (§20.19).
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

/// `qvalue` (RFC 3261 §25.1).
fn thousandths(value: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    let part: u16 = format!("{part:0<3}").parse().ok().filter(|_| digits)?;
    match whole {
        "0" => Some(part),
        "1" if part == 0 => Some(1000),
        _ => None,
    }
}

/// Contacts of one request that are looked at.
const MOST: usize = 16;
/// The longest URI that is kept.
const LONGEST: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn register(headers: &str) -> Option<Message> {
        let lines: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
        let text = format!(
            "REGISTER sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:a@a>\r\n\
             Call-ID: c\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).ok()
    }

    fn wish(headers: &str) -> Option<Wish> {
        Wish::of(&register(headers)?)
    }

    fn set(contacts: &[(&str, u16, Option<u32>)]) -> Option<Wish> {
        let contact = |(uri, q, expires): &(&str, u16, Option<u32>)| Contact {
            uri: Bytes::copy_from_slice(uri.as_bytes()),
            q: *q,
            expires: *expires,
        };
        Some(Wish::Set(contacts.iter().map(contact).collect()))
    }

    #[test]
    fn contacts_have_times_and_preferences_of_their_own() {
        for (headers, expected) in [
            ("", Some(Wish::Query)),
            ("Expires: 60", Some(Wish::Query)),
            ("Contact: *\nExpires: 0", Some(Wish::RemoveAll)),
            ("Contact: *\nExpires: 60", None),
            ("Contact: *", None),
            ("Contact: *, <sip:u@h>\nExpires: 0", None),
            ("Contact: <sip:u@h>", set(&[("sip:u@h", 1000, None)])),
            ("Contact: sip:u@h;expires=90\nExpires: 60", set(&[("sip:u@h", 1000, Some(90))])),
            ("Contact: <sip:u@h;x=1?a=b>;expires=x;q=0.7", set(&[("sip:u@h;x=1", 700, None)])),
            ("m: \"A, B\" <sip:u@h>;q=1.5\nExpires: 60", set(&[("sip:u@h", 1000, Some(60))])),
            (
                "Contact: <sip:u@h>;q=0.1, <sip:u@i>;q=0.25;expires=0\nContact: <sip:u@H>\nExpires: 99999999999",
                set(&[("sip:u@i", 250, Some(0)), ("sip:u@H", 1000, Some(u32::MAX))]),
            ),
            ("Contact: <tel:+1>", None),
            ("Contact: <sip:u@h", None),
            ("Contact: <mailto:u@h>", None),
        ] {
            assert_eq!(wish(headers), expected, "{headers}");
        }
        let many: String = (0..17).map(|n| format!("Contact: <sip:u{n}@h>\n")).collect();
        assert_eq!(wish(&many), None);
        assert_eq!(wish(&format!("Contact: <sip:u@h;x={}>", "a".repeat(600))), None);
    }

    #[test]
    fn uris_are_the_same_when_they_lead_to_the_same_place() {
        for (one, other, same) in [
            ("sip:u@h:5060;ob", "SIP:u@H:5060;x=2", true),
            ("sip:u@h;transport=TCP", "sip:u@h;transport=tcp", true),
            ("sip:%75@h", "sip:u@h", true),
            ("sip:u@h:5060", "sip:u@h:5061", false),
            ("sip:u@h:5060", "sip:u@h", false),
            ("sip:u@h", "sip:U@h", false),
            ("sip:u@h", "sips:u@h", false),
            ("sip:u@h;transport=tcp", "sip:u@h", false),
            ("sip:u@[2001:db8::1]", "sip:u@[2001:DB8:0::1]", true),
        ] {
            assert_eq!(is_same(one.as_bytes(), other.as_bytes()), same, "{one} {other}");
        }
    }

    #[test]
    fn the_user_of_a_contact_gives_way() {
        for (uri, expected) in [
            ("sip:pbx@10.0.0.9:5062;ob", "sip:+491@10.0.0.9:5062;ob"),
            ("sip:10.0.0.9", "sip:+491@10.0.0.9"),
            ("sips:a:b@h;x=a@b", "sips:+491@h;x=a@b"),
        ] {
            assert_eq!(with_user(uri.as_bytes(), "+491"), expected.as_bytes(), "{uri}");
        }
        assert_eq!(host(b"sip:u@[2001:db8::1]:5060;ob"), "[2001:db8::1]");
        assert_eq!(host(b"sip:u@PBX.test"), "PBX.test");
    }
}
