//! `name-addr` and `addr-spec` (RFC 3261 §20.10, §25.1): the shape of From, To, Contact, Route,
//! Refer-To, P-Asserted-Identity, Diversion, History-Info and their kin.
//!
//! Without angle brackets every parameter belongs to the header, not to the URI (§20). A display
//! name that should have been quoted is taken as it is; the URI is delimited, not parsed.

use std::borrow::Cow;

use super::scan::{Params, are_quotes_closed, is_lws, quoted_len, trim, unquote};
use super::vector::{find, find_any, is_unfit_for_uri};

/// One address with its header parameters. Borrows the value that was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as received, quotes included; `None` when absent or empty.
    pub display: Option<&'a [u8]>,
    /// The URI without angle brackets.
    pub uri: &'a [u8],
    /// The header parameters, from their first `;`; empty when there are none.
    pub params: &'a [u8],
}

/// Why a value is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameAddrError {
    /// A quoted string is not closed, or stands in the middle of a display name.
    #[error("quotes do not match")]
    Quote,
    /// `<` without `>`, or text between the display name and `<`.
    #[error("angle brackets do not match")]
    Bracket,
    /// The URI is empty, has no scheme, or holds white space or control bytes.
    #[error("not a URI")]
    Uri,
    /// Something other than parameters follows the address.
    #[error("unexpected text after the address")]
    Trailing,
    /// A URI with a `?` or `,` must stand in angle brackets (RFC 3261 §20).
    #[error("a URI with headers or a comma must stand in angle brackets")]
    Unbracketed,
}

impl<'a> NameAddr<'a> {
    /// Reads one address: a whole From or To value, or one element of a list.
    ///
    /// # Errors
    /// When the address cannot be delimited; see [`NameAddrError`].
    pub fn parse(value: &'a [u8]) -> Result<Self, NameAddrError> {
        let value = trim(value);
        let before = match value.first() {
            Some(b'"') => quoted_len(value).ok_or(NameAddrError::Quote)?,
            Some(_) => match find_any([b'<', b';', b'"'], value) {
                Some(at) if value[at] == b'<' => at,
                Some(at) if value[at] == b'"' => return Err(NameAddrError::Quote),
                Some(at) => return Self::bare(&value[..at], &value[at..]),
                None => return Self::bare(value, &[]),
            },
            None => return Err(NameAddrError::Uri),
        };
        let display = trim(&value[..before]);
        let rest = trim_start(&value[before..]);
        let [b'<', rest @ ..] = rest else {
            return Err(NameAddrError::Bracket);
        };
        let end = find(b'>', rest).ok_or(NameAddrError::Bracket)?;
        let params = trim_start(&rest[end + 1..]);
        if !matches!(params.first(), None | Some(b';')) {
            return Err(NameAddrError::Trailing);
        }
        if !are_quotes_closed(params) {
            return Err(NameAddrError::Quote);
        }
        let display = (!display.is_empty() && display != b"\"\"").then_some(display);
        Ok(Self { display, uri: checked_uri(&rest[..end])?, params })
    }

    fn bare(uri: &'a [u8], params: &'a [u8]) -> Result<Self, NameAddrError> {
        let uri = checked_uri(trim(uri))?;
        if find_any([b'?', b','], uri).is_some() {
            return Err(NameAddrError::Unbracketed);
        }
        if !are_quotes_closed(params) {
            return Err(NameAddrError::Quote);
        }
        Ok(Self { display: None, uri, params })
    }

    /// The header parameter of that name, in any case: `Some(None)` when it has no value.
    pub fn param(&self, name: &str) -> Option<Option<&'a [u8]>> {
        Params::new(self.params).find(name)
    }

    /// All header parameters in order.
    pub fn params(&self) -> Params<'a> {
        Params::new(self.params)
    }

    /// The `tag` parameter, where it has a value.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.param("tag").flatten().filter(|tag| !tag.is_empty())
    }

    /// The display name without quotes and escapes; empty when there is none.
    pub fn display_text(&self) -> Cow<'a, [u8]> {
        self.display.map_or(Cow::Borrowed(&[]), unquote)
    }
}

fn trim_start(value: &[u8]) -> &[u8] {
    let start = value.iter().position(|&b| !is_lws(b)).unwrap_or(value.len());
    &value[start..]
}

fn checked_uri(uri: &[u8]) -> Result<&[u8], NameAddrError> {
    let scheme = find(b':', uri).ok_or(NameAddrError::Uri)?;
    if scheme == 0 || !uri[0].is_ascii_alphabetic() || is_unfit_for_uri(uri) {
        return Err(NameAddrError::Uri);
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> NameAddr<'_> {
        NameAddr::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn ordinary_forms() {
        let quoted = parse("\"A. \\\"Bell\\\"\" <sip:a@b;lr>;tag=x;q=0.1");
        assert_eq!(quoted.display_text().as_ref(), b"A. \"Bell\"");
        assert_eq!(quoted.uri, b"sip:a@b;lr");
        assert_eq!(quoted.tag(), Some(&b"x"[..]));
        assert_eq!(quoted.param("Q"), Some(Some(&b"0.1"[..])));

        let plain = parse("John Doe<sip:+1@h:5061;user=phone> ; tag=ab12");
        assert_eq!(plain.display, Some(&b"John Doe"[..]));
        assert_eq!(plain.tag(), Some(&b"ab12"[..]));

        let bare = parse("sip:a@b;tag=1");
        assert_eq!((bare.display, bare.uri), (None, &b"sip:a@b"[..]));
        assert_eq!(bare.tag(), Some(&b"1"[..]));

        let tel = parse("<tel:+123>");
        assert_eq!((tel.uri, tel.params), (&b"tel:+123"[..], &b""[..]));
        assert_eq!(parse("\"\" <sip:h>").display, None);
        assert_eq!(parse("Bell, Alexander <sip:h>").display, Some(&b"Bell, Alexander"[..]));
        assert_eq!(
            parse("sip:vivekg@chair-dnrc.example.com ; tag\r\n =\r\n x").tag().unwrap(),
            b"x"
        );
    }

    #[test]
    fn what_is_refused() {
        for (text, error) in [
            ("", NameAddrError::Uri),
            ("  ", NameAddrError::Uri),
            ("<>", NameAddrError::Uri),
            ("nobody", NameAddrError::Uri),
            ("\"open <sip:h>", NameAddrError::Quote),
            ("a \"b\" <sip:h>", NameAddrError::Quote),
            ("<sip:h>;a=\"b", NameAddrError::Quote),
            ("sip:h;a=\"b", NameAddrError::Quote),
            ("\"a\" b <sip:h>", NameAddrError::Bracket),
            ("<sip:h", NameAddrError::Bracket),
            ("< sip:h>", NameAddrError::Uri),
            ("<sip:h > ;tag=1", NameAddrError::Uri),
            ("<sip:h> tag=1", NameAddrError::Trailing),
            ("<<sip:h>>", NameAddrError::Trailing),
            ("<<sip:h>", NameAddrError::Uri),
            ("<:h>", NameAddrError::Uri),
            ("sip:h?Route=x", NameAddrError::Unbracketed),
            ("sip:h,sip:i", NameAddrError::Unbracketed),
        ] {
            assert_eq!(NameAddr::parse(text.as_bytes()), Err(error), "{text}");
        }
    }

    #[test]
    fn an_empty_tag_is_no_tag() {
        assert_eq!(parse("<sip:h>;tag=").tag(), None);
        assert_eq!(parse("<sip:h>;tag").tag(), None);
    }
}
