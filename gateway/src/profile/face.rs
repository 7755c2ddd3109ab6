//! How we and the callers we speak for are written in headers.
//!
//! Every name-addr that leaves the gateway is written here. Never a `sips:` URI, never an empty user before an "@".

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use sip_stack::message::NameAddr;
use sip_stack::transport::{LocalId, Transport};
use sip_stack::uri::Uri;

use crate::numbers::Number;

/// Our name or address on a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Face {
    /// Host in our URIs: a tenant's FQDN, or our address in a realm (in brackets when IPv6).
    pub host: String,
    /// The port at which we are reached.
    pub port: u16,
    /// The transport at which we are reached.
    pub transport: Transport,
    /// The identity that sends and receives.
    pub local: LocalId,
    /// Whether numbers are marked `user=phone`.
    pub user_phone: bool,
    /// Whether Contact names its transport even where it is the default.
    pub always_name_transport: bool,
}

/// Who calls, as shown to the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Caller {
    /// Display name, without anything that needs an escape; written between quotes.
    pub display: Option<String>,
    /// The number, or what stands in its place; `None` is anonymous.
    pub user: Option<String>,
}

impl Caller {
    /// Reads a From value. A number becomes E.164 by `country`; text stays if it is harmless; anything else is
    /// anonymous: an unreadable caller never fails a call.
    pub fn read(from: &[u8], country: Option<&str>) -> Self {
        let anonymous = Self { display: None, user: None };
        let Ok(address) = NameAddr::parse(from) else { return anonymous };
        let display = address.display.and_then(harmless_display);
        let Ok(uri) = Uri::parse(address.uri) else { return anonymous };
        let Some(user) = uri.user() else { return anonymous };
        if user.eq_ignore_ascii_case(b"anonymous") {
            return anonymous;
        }
        let user = match Number::read(user, country) {
            Some(number) => Some(number.as_str().to_owned()),
            None => harmless_user(user),
        };
        Self { display, user }
    }

    /// The number or name in Contact and logs.
    pub fn user(&self) -> &str {
        self.user.as_deref().unwrap_or("anonymous")
    }
}

impl Face {
    /// `host:port` for Via.
    pub fn sent_by(&self) -> Bytes {
        format!("{}:{}", self.host, self.port).into()
    }

    /// Contact value: `<sip:user@host:port;transport=tls>`; without user part when `user` is `None`.
    pub fn contact(&self, user: Option<&str>) -> Bytes {
        let mut value = String::from("<sip:");
        if let Some(user) = user.filter(|user| !user.is_empty()) {
            value.push_str(&escaped(user));
            value.push('@');
        }
        let _ = write!(value, "{}:{}", self.host, self.port);
        if self.always_name_transport || self.transport != Transport::Udp {
            let _ = write!(value, ";transport={}", self.transport.uri_name());
        }
        value.push('>');
        value.into()
    }

    /// From value without tag, for a request in the name of `caller`.
    pub fn from(&self, caller: &Caller) -> Bytes {
        let mut value = String::new();
        match (&caller.user, &caller.display) {
            (None, _) => {
                let _ = write!(value, "\"Anonymous\" <sip:anonymous@{}", self.host);
            }
            (Some(user), display) => {
                if let Some(display) = display {
                    let _ = write!(value, "\"{display}\" ");
                }
                let _ = write!(value, "<sip:{}@{}", escaped(user), self.host);
                if self.user_phone && is_number(user) {
                    value.push_str(";user=phone");
                }
            }
        }
        value.push('>');
        value.into()
    }

    /// To value without tag: the called number at `host`.
    pub fn to(&self, called: &str, host: &str) -> Bytes {
        let phone = if self.user_phone { ";user=phone" } else { "" };
        format!("<sip:{}@{host}{phone}>", escaped(called)).into()
    }
}

/// A dialled number as a user part: "#" has to be escaped there (RFC 3261 §25.1).
pub fn escaped(number: &str) -> Cow<'_, str> {
    if number.contains('#') { number.replace('#', "%23").into() } else { number.into() }
}

/// Whether a user part is a telephone number.
fn is_number(user: &str) -> bool {
    let digits = user.strip_prefix('+').unwrap_or(user);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// A display name that fits between quotes (RFC 3261 §25.1 quoted-string); nothing that could end a line.
fn harmless_display(display: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(display);
    let inner = text.trim().trim_matches('"');
    let mut clean = String::with_capacity(inner.len());
    for c in inner.chars() {
        match c {
            // Legal when escaped, but not every reader of the far end gets quoting right.
            '\\' | '"' | '<' | '>' | '@' => {}
            c if c.is_control() => clean.push(' '),
            c => clean.push(c),
        }
    }
    (!clean.is_empty()).then_some(clean)
}

/// A user part that is no number: kept when it consists of unreserved characters (RFC 3261 §25.1).
fn harmless_user(user: &[u8]) -> Option<String> {
    let fine = |b: &u8| b.is_ascii_alphanumeric() || b"-_.!~*'()+".contains(b);
    let short = user.len() <= LONGEST_USER && user.iter().all(fine);
    (short && !user.is_empty()).then(|| String::from_utf8_lossy(user).into_owned())
}

const LONGEST_USER: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn face() -> Face {
        Face {
            host: "t001.sbc.test".into(),
            port: 5061,
            transport: Transport::Tls,
            local: LocalId(0),
            user_phone: true,
            always_name_transport: true,
        }
    }

    #[test]
    fn numbers_are_marked_and_text_is_not() {
        let shown = |from: &str| {
            let caller = Caller::read(from.as_bytes(), Some("GB"));
            String::from_utf8(face().from(&caller).to_vec()).unwrap()
        };
        assert_eq!(
            shown("\"Ann\" <sip:02079460000@carrier>;tag=1"),
            "\"Ann\" <sip:+442079460000@t001.sbc.test;user=phone>"
        );
        assert_eq!(shown("<sip:alice@x>"), "<sip:alice@t001.sbc.test>");
        let anonymous = "\"Anonymous\" <sip:anonymous@t001.sbc.test>";
        assert_eq!(shown("<sip:anonymous@anonymous.invalid>;tag=a"), anonymous);
        assert_eq!(shown("<sip:@x>"), anonymous);
        assert_eq!(shown("nonsense"), anonymous);
        assert_eq!(shown("<sip:a%0d%0aX@x>"), anonymous);
    }

    #[test]
    fn a_display_name_stays_inside_its_quotes() {
        let caller = Caller::read(b"\"A \\\"B\\\" \\\\ <sip:@>\" <sip:alice@x>", None);
        let value = face().from(&caller);
        assert_eq!(&value[..], b"\"A B  sip:\" <sip:alice@t001.sbc.test>");
    }

    #[test]
    fn a_feature_code_is_escaped() {
        assert_eq!(&face().to("*21#", "x")[..], b"<sip:*21%23@x;user=phone>");
    }

    #[test]
    fn contact_has_no_empty_user() {
        assert_eq!(&face().contact(Some(""))[..], b"<sip:t001.sbc.test:5061;transport=tls>");
        assert_eq!(
            &face().contact(Some("+44207"))[..],
            b"<sip:+44207@t001.sbc.test:5061;transport=tls>"
        );
    }
}
