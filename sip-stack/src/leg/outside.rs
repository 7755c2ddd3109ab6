//! What any request outside a dialog must be before its method is served (RFC 3261 §8.2.2): a URI that can be read,
//! and no extension required that we lack. Keeps no state.

use crate::message::{Draft, HeaderId, Message};
use crate::uri::{Scheme, Uri};

use super::refusal::unsupported;

/// The response that refuses such a request, or `None`:
///
/// - 416: the Request-URI has a scheme that we do not know (§8.2.2.1)
/// - 420: Require names an option tag that `supported`, a comma-separated list, lacks (§8.2.2.3)
///
/// Proxy-Require is for proxies, and we are none. The endpoint adds a To tag.
pub fn refusal_outside(request: &Message, supported: &[u8]) -> Option<Draft> {
    let known = |uri: Uri<'_>| match uri.scheme() {
        Scheme::Sip | Scheme::Sips | Scheme::Tel => true,
        Scheme::Other => false,
    };
    if !Uri::parse(request.uri()).is_ok_and(known) {
        return Some(Draft::response(request, 416));
    }
    let tags = unsupported(request, supported)?;
    let mut draft = Draft::response(request, 420);
    draft.push(HeaderId::Unsupported, tags);
    Some(draft)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn table() {
        for (uri, more, status, tags) in [
            ("sip:h", "", None, None),
            ("sips:h", "Require: Timer\r\n", None, None),
            ("tel:+1", "Proxy-Require: x\r\n", None, None),
            ("soap.beep://192.0.2.103:3002", "", Some(416), None),
            ("nobody:opaque", "Require: x\r\n", Some(416), None),
            ("sip:h", "Require: x, timer\r\nRequire: y\r\n", Some(420), Some(&b"x, y"[..])),
        ] {
            let text = format!(
                "OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\n\
                 To: <sip:b>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n{more}\r\n"
            );
            let request = Message::parse(Bytes::from(text)).unwrap();
            let refusal = refusal_outside(&request, b"timer");
            assert_eq!(refusal.as_ref().map(Draft::status), status, "{uri} {more}");
            assert_eq!(refusal.as_ref().and_then(|r| r.value(HeaderId::Unsupported)), tags);
        }
    }
}
