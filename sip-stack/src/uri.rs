//! URIs as SIP uses them (RFC 3261 §19.1, tel: of RFC 3966, any other scheme as opaque text).
//!
//! A view over the bytes as received: nothing is unescaped or normalised unless asked, because a
//! remote target must go back byte for byte.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use crate::message::Params;
use crate::message::vector::{find, is_unfit_for_uri};

/// A parsed view of a URI. Borrows the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    raw: &'a [u8],
    scheme: Scheme,
    user: Option<&'a [u8]>,
    password: Option<&'a [u8]>,
    host: Host<'a>,
    port: Option<u16>,
    params: &'a [u8],
    headers: Option<&'a [u8]>,
}

/// The scheme of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Anything else; the URI is opaque.
    Other,
}

/// The host of a sip or sips URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A name as received (compare ignoring case); empty for tel: and unknown schemes.
    Name(&'a str),
    /// An address.
    Ip(IpAddr),
}

/// Why text is not a URI that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// No scheme before a colon.
    #[error("no scheme")]
    Scheme,
    /// White space, a control byte, an angle bracket or a quote.
    #[error("a byte that no URI may hold")]
    Byte,
    /// The user part before `@` is empty.
    #[error("empty user part")]
    User,
    /// The host is empty or holds a byte that no host may.
    #[error("malformed host")]
    Host,
    /// The port is not a number from 0 to 65535.
    #[error("malformed port")]
    Port,
    /// A tel number without a digit.
    #[error("malformed telephone number")]
    Number,
}

impl<'a> Uri<'a> {
    /// Reads a URI without angle brackets.
    ///
    /// # Errors
    /// See [`UriError`].
    pub fn parse(raw: &'a [u8]) -> Result<Self, UriError> {
        let colon = find(b':', raw).ok_or(UriError::Scheme)?;
        let (scheme, rest) = (&raw[..colon], &raw[colon + 1..]);
        let named = scheme.iter().all(|&b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !named || !scheme.first().is_some_and(u8::is_ascii_alphabetic) {
            return Err(UriError::Scheme);
        }
        if is_unfit_for_uri(rest) {
            return Err(UriError::Byte);
        }
        if scheme.eq_ignore_ascii_case(b"sip") {
            Self::sip(raw, Scheme::Sip, rest)
        } else if scheme.eq_ignore_ascii_case(b"sips") {
            Self::sip(raw, Scheme::Sips, rest)
        } else if scheme.eq_ignore_ascii_case(b"tel") {
            Self::tel(raw, rest)
        } else if rest.is_empty() {
            Err(UriError::Host)
        } else {
            Ok(Self { ..Self::empty(raw, Scheme::Other) })
        }
    }

    const fn empty(raw: &'a [u8], scheme: Scheme) -> Self {
        Self {
            raw,
            scheme,
            user: None,
            password: None,
            host: Host::Name(""),
            port: None,
            params: &[],
            headers: None,
        }
    }

    fn sip(raw: &'a [u8], scheme: Scheme, rest: &'a [u8]) -> Result<Self, UriError> {
        let mut uri = Self::empty(raw, scheme);
        // The user part may hold `;` and `?`, never `@`: so the first `@` ends it, unless it stands
        // behind the host part's own `?` or `;`, which an unescaped `@` there forbids.
        let mut tail = rest;
        if let Some(at) = find(b'@', rest) {
            let info = &rest[..at];
            let (user, password) = match find(b':', info) {
                Some(colon) => (&info[..colon], Some(&info[colon + 1..])),
                None => (info, None),
            };
            if user.is_empty() {
                return Err(UriError::User);
            }
            uri.user = Some(user);
            uri.password = password;
            tail = &rest[at + 1..];
        }
        if let Some(question) = find(b'?', tail) {
            uri.headers = Some(&tail[question + 1..]);
            tail = &tail[..question];
        }
        if let Some(semicolon) = find(b';', tail) {
            uri.params = &tail[semicolon..];
            tail = &tail[..semicolon];
        }
        (uri.host, uri.port) = host_port(tail)?;
        Ok(uri)
    }

    fn tel(raw: &'a [u8], rest: &'a [u8]) -> Result<Self, UriError> {
        let mut uri = Self::empty(raw, Scheme::Tel);
        let end = find(b';', rest).unwrap_or(rest.len());
        let number = &rest[..end];
        let digits = number.strip_prefix(b"+").unwrap_or(number);
        let dialable =
            |b: &u8| b.is_ascii_hexdigit() || matches!(b, b'*' | b'#' | b'-' | b'.' | b'(' | b')');
        if !digits.iter().all(dialable) || !digits.iter().any(|b| !b"-.()".contains(b)) {
            return Err(UriError::Number);
        }
        uri.user = Some(number);
        uri.params = &rest[end..];
        Ok(uri)
    }

    /// The URI as received.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }

    /// The scheme.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The scheme as written.
    pub fn scheme_text(&self) -> &'a [u8] {
        self.raw.split(|&b| b == b':').next().unwrap_or_default()
    }

    /// The user part as received, without password; of a tel URI, the number with its separators.
    pub const fn user(&self) -> Option<&'a [u8]> {
        self.user
    }

    /// The user part with `%` escapes resolved.
    pub fn user_text(&self) -> Option<Cow<'a, [u8]>> {
        self.user.map(unescape)
    }

    /// The password, should there be one.
    pub const fn password(&self) -> Option<&'a [u8]> {
        self.password
    }

    /// The host; an empty name for tel: and unknown schemes.
    pub const fn host(&self) -> Host<'a> {
        self.host
    }

    /// The port, where one is written.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The URI parameter of that name, in any case: `Some(None)` when it has no value.
    pub fn param(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.params().find(name)
    }

    /// All URI parameters in order.
    pub fn params(&self) -> Params<'a> {
        Params::new(self.params)
    }

    /// The part behind `?`, as received.
    pub const fn headers(&self) -> Option<&'a [u8]> {
        self.headers
    }

    /// The first embedded header of that name, in any case, still escaped.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers?.split(|&b| b == b'&').find_map(|item| {
            let equals = find(b'=', item)?;
            let known = unescape(&item[..equals]);
            known.eq_ignore_ascii_case(name.as_bytes()).then(|| &item[equals + 1..])
        })
    }

    /// The URI without its headers part.
    pub fn without_headers(&self) -> &'a [u8] {
        let tail = self.headers.map_or(0, |headers| headers.len() + 1);
        &self.raw[..self.raw.len() - tail]
    }

    /// The URI without headers and parameters: scheme, user, host, port.
    pub fn without_params(&self) -> &'a [u8] {
        let plain = self.without_headers();
        &plain[..plain.len() - self.params.len()]
    }
}

/// Text with `%` escapes resolved; a `%` without two hexadecimal digits stays as it is.
pub fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let digit = |at: usize| text.get(at).and_then(|&b| (b as char).to_digit(16));
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(plain)
}

fn host_port(text: &[u8]) -> Result<(Host<'_>, Option<u16>), UriError> {
    let text = std::str::from_utf8(text).map_err(|_| UriError::Host)?;
    let (host, port) = match text.strip_prefix('[') {
        Some(inner) => {
            let (address, rest) = inner.split_once(']').ok_or(UriError::Host)?;
            let address = ipv6(address).ok_or(UriError::Host)?;
            match rest.split_at_checked(1) {
                None => (Host::Ip(address), None),
                Some((":", port)) => (Host::Ip(address), Some(port)),
                Some(_) => return Err(UriError::Host),
            }
        }
        None => {
            let (name, port) = match find(b':', text.as_bytes()) {
                Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
                None => (text, None),
            };
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
            if name.is_empty() || !plain {
                return Err(UriError::Host);
            }
            // Most hosts are names; only what begins with a digit is worth reading as an address.
            let address = name.starts_with(|c: char| c.is_ascii_digit()).then(|| name.parse().ok());
            (address.flatten().map_or(Host::Name(name), Host::Ip), port)
        }
    };
    let port = match port {
        None => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse().map_err(|_| UriError::Port)?)
        }
        Some(_) => return Err(UriError::Port),
    };
    Ok((host, port))
}

/// An IPv6 address; `:::` before an embedded IPv4 address is read as `::`, for the grammar of RFC
/// 3261 produces it (RFC 5118 §4.8).
fn ipv6(text: &str) -> Option<IpAddr> {
    let address: Option<Ipv6Addr> = match text.parse() {
        Ok(address) => Some(address),
        Err(_) => text.replacen(":::", "::", 1).parse().ok().filter(|_| text.contains('.')),
    };
    address.map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn sip_uris() {
        let full =
            uri("sip:+1425;npdi@Sbc.Example.com:5061;user=phone;transport=tls?Reason=SIP%3B&x=y");
        assert_eq!(full.scheme(), Scheme::Sip);
        assert_eq!(full.user(), Some(&b"+1425;npdi"[..]));
        assert_eq!(full.host(), Host::Name("Sbc.Example.com"));
        assert_eq!(full.port(), Some(5061));
        assert_eq!(full.param("USER"), Some(Some(&b"phone"[..])));
        assert_eq!(full.param("lr"), None);
        assert_eq!(full.headers(), Some(&b"Reason=SIP%3B&x=y"[..]));
        assert_eq!(full.header("reason"), Some(&b"SIP%3B"[..]));
        assert_eq!(
            full.without_headers(),
            b"sip:+1425;npdi@Sbc.Example.com:5061;user=phone;transport=tls"
        );
        assert_eq!(full.without_params(), b"sip:+1425;npdi@Sbc.Example.com:5061");

        let bare = uri("SIPS:h;lr");
        assert_eq!((bare.scheme(), bare.scheme_text()), (Scheme::Sips, &b"SIPS"[..]));
        assert_eq!((bare.user(), bare.host(), bare.port()), (None, Host::Name("h"), None));
        assert_eq!(bare.param("lr"), Some(None));

        let secret = uri("sip:a:b:c@h");
        assert_eq!((secret.user(), secret.password()), (Some(&b"a"[..]), Some(&b"b:c"[..])));
        // RFC 4475 §3.1.1.9, §3.1.1.2
        assert_eq!(uri("sip:user;par=u%40example.net@example.com").user().unwrap().len(), 24);
        assert_eq!(
            uri("sip:1_u~(b!)&i'+$/c?,/;;*:&w!*pa$w(d-)@example.com").host(),
            Host::Name("example.com")
        );
    }

    #[test]
    fn addresses() {
        let host = |text| uri(text).host();
        assert_eq!(host("sip:192.0.2.1:5060"), Host::Ip("192.0.2.1".parse().unwrap()));
        assert_eq!(host("sip:u@[2001:db8::9]:7"), Host::Ip("2001:db8::9".parse().unwrap()));
        assert_eq!(uri("sip:u@[2001:db8::9]:7").port(), Some(7));
        assert_eq!(uri("sip:[2001:db8::10:5070]").port(), None);
        assert_eq!(
            host("sip:user@[2001:db8:::192.0.2.1]"),
            Host::Ip("2001:db8::192.0.2.1".parse().unwrap())
        );
    }

    #[test]
    fn other_schemes() {
        let tel = uri("tel:+1-201-555-0123;phone-context=example.com");
        assert_eq!((tel.scheme(), tel.user()), (Scheme::Tel, Some(&b"+1-201-555-0123"[..])));
        assert_eq!(tel.param("phone-context"), Some(Some(&b"example.com"[..])));
        assert_eq!(tel.host(), Host::Name(""));
        assert_eq!(tel.without_params(), b"tel:+1-201-555-0123");
        let odd = uri("soap.beep://192.0.2.103:3002");
        assert_eq!((odd.scheme(), odd.user(), odd.host()), (Scheme::Other, None, Host::Name("")));
        assert_eq!(odd.scheme_text(), b"soap.beep");
        assert_eq!(odd.without_headers(), odd.as_bytes());
    }

    #[test]
    fn what_is_refused() {
        for (text, error) in [
            ("", UriError::Scheme),
            ("h", UriError::Scheme),
            (":h", UriError::Scheme),
            ("1sip:h", UriError::Scheme),
            ("<sip:h>", UriError::Scheme),
            ("sip:", UriError::Host),
            ("sip:u@", UriError::Host),
            ("sip:@h", UriError::User),
            ("sip:a@b@c", UriError::Host),
            ("sip:h h", UriError::Byte),
            ("sip:h\r\n", UriError::Byte),
            ("sip:h>", UriError::Byte),
            ("sip:h%41", UriError::Host),
            ("sip:\u{e9}.example", UriError::Host),
            ("sip:2001:db8::10", UriError::Port),
            ("sip:[2001:db8::10", UriError::Host),
            ("sip:[2001:db8::10]x", UriError::Host),
            ("sip:[2001:db8:::1]", UriError::Host),
            ("sip:[::1%25eth0]", UriError::Host),
            ("sip:h:", UriError::Port),
            ("sip:h:65536", UriError::Port),
            ("sip:h:+5", UriError::Port),
            ("tel:", UriError::Number),
            ("tel:+", UriError::Number),
            ("tel:12x", UriError::Number),
            ("x:", UriError::Host),
        ] {
            assert_eq!(Uri::parse(text.as_bytes()), Err(error), "{text}");
        }
    }

    #[test]
    fn unescaping() {
        assert_eq!(
            uri("sip:sips%3Auser%40example.com@h").user_text().unwrap().as_ref(),
            b"sips:user@example.com"
        );
        assert_eq!(unescape(b"%00%zz%4").as_ref(), b"\0%zz%4");
        assert_eq!(unescape(b"plain").as_ref(), b"plain");
    }
}
