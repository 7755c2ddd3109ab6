//! How we ourselves are written in headers: never a `sips:` URI, never an empty user before an "@".

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use sip_stack::transport::{LocalId, Transport};

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
            always_name_transport: true,
        }
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
