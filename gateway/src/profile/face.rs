//! How we and the callers we speak for are written in headers.
//!
//! Every name-addr that leaves the gateway is written here. Never a `sips:` URI, never an empty user before an "@".

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use sip_stack::leg::Extra;
use sip_stack::message::HeaderId;
use sip_stack::transport::{LocalId, Transport};

use super::Caller;
use super::caller::is_number;

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
        match caller.shown() {
            None => {
                let _ = write!(value, "\"Anonymous\" <sip:anonymous@{}", self.host);
            }
            Some((user, display)) => {
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

    /// What a trusted peer is told of who calls (RFC 3325 §9.1): the number that stands for the caller, and that nobody is
    /// to be shown it where the caller wants that.
    pub fn asserted(&self, caller: &Caller) -> Vec<Extra> {
        let Some(number) = caller.vouched() else { return Vec::new() };
        let identity = format!("<sip:{}@{}>", escaped(number), self.host);
        let privacy =
            caller.shown().is_none().then(|| (HeaderId::Privacy, Bytes::from_static(b"id")));
        let identity = (HeaderId::PAssertedIdentity, Bytes::from(identity));
        std::iter::once(identity).chain(privacy).collect()
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
        let shown = |caller: &Caller| String::from_utf8(face().from(caller).to_vec()).unwrap();
        let number = "\"Ann\" <sip:+442079460000@t001.sbc.test;user=phone>";
        assert_eq!(shown(&Caller::named("+442079460000")), number);
        assert_eq!(shown(&Caller::named("alice")), "\"Ann\" <sip:alice@t001.sbc.test>");
        let anonymous = "\"Anonymous\" <sip:anonymous@t001.sbc.test>";
        assert_eq!(shown(&Caller::default()), anonymous);
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
