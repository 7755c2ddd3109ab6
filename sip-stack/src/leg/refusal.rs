//! What an INVITE must have before a leg can begin (RFC 3261 §8.2): checked once, before
//! [`Leg::incoming`], without keeping any state.

use bytes::Bytes;

use super::{Leg, LegIdentity, session_timer};
use crate::dialog::contact;
use crate::message::{Draft, HeaderId, Message};

impl Leg {
    /// The response that refuses an initial INVITE, or `None` when a leg may begin:
    ///
    /// - 400: no Contact, a CSeq of 2^31 or more, or a multipart body that cannot be read or describes several sessions
    /// - 415: a body that must be understood and is not SDP
    /// - 420: Require names an option tag that `identity.supported` lacks (100rel, for example)
    /// - 422: Session-Expires is under our floor (RFC 4028 §9)
    ///
    /// The endpoint adds a To tag.
    pub fn refusal(invite: &Message, identity: &LegIdentity) -> Option<Draft> {
        if contact(invite).is_none() || invite.cseq() >= 1 << 31 {
            return Some(Draft::response(invite, 400));
        }
        Self::refusal_in_dialog(invite, identity)
    }

    /// As [`Leg::refusal`], less what only an initial INVITE must have.
    pub(super) fn refusal_in_dialog(request: &Message, identity: &LegIdentity) -> Option<Draft> {
        if let Some(tags) = unsupported(request, &identity.supported) {
            let mut draft = Draft::response(request, 420);
            draft.push(HeaderId::Unsupported, tags);
            return Some(draft);
        }
        if matches!(request.parts(), Some(Err(_))) {
            return Some(Draft::response(request, 400));
        }
        if has_foreign_body(request) {
            let mut draft = Draft::response(request, 415);
            draft.push(HeaderId::Accept, Bytes::from_static(b"application/sdp"));
            return Some(draft);
        }
        session_timer::too_brief(request, identity)
    }
}

/// The option tags of Require that we do not support, comma-separated.
pub(super) fn unsupported(request: &Message, supported: &[u8]) -> Option<Bytes> {
    let unknown: Vec<&[u8]> =
        request.elements(HeaderId::Require).filter(|tag| !supports(supported, tag)).collect();
    if unknown.is_empty() { None } else { Some(Bytes::from(unknown.join(&b", "[..]))) }
}

/// Whether a comma-separated list of tokens holds one, in any case.
pub(super) fn supports(list: &[u8], token: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

/// A body without SDP in it whose handling is not optional (RFC 3261 §20.11).
fn has_foreign_body(request: &Message) -> bool {
    if request.body().is_empty() || request.sdp().is_some() {
        return false;
    }
    !request.value(HeaderId::ContentDisposition).is_some_and(|value| {
        value
            .split(|byte| *byte == b';')
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(b"handling=optional"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::rig::{Rig, THEIRS, identity, message};
    use super::*;

    #[test]
    fn table() {
        let contact = "Contact: <sip:a@a.example>";
        let foreign = "Content-Type: application/isup";
        for (headers, body, status) in [
            (contact, THEIRS, None),
            (contact, "", None),
            ("", THEIRS, Some(400)),
            ("Contact: *", THEIRS, Some(400)),
            ("Contact: <sip:a@a.example>\nRequire: 100rel", THEIRS, Some(420)),
            ("Contact: <sip:a@a.example>\nRequire: Timer, replaces", THEIRS, None),
            ("Contact: <sip:a@a.example>\nSupported: 100rel", THEIRS, None),
        ] {
            let headers = format!(
                "From: <sip:a@a.example>;tag=a\nTo: <sip:b@b.example>\nCall-ID: c\n\
                 CSeq: 1 INVITE\n{headers}"
            );
            let invite = message("INVITE sip:b@b.example SIP/2.0", &headers, body);
            let refusal = Leg::refusal(&invite, &identity());
            assert_eq!(refusal.map(|draft| draft.status()), status, "{headers}");
        }
        for (more, status) in [
            ("", Some(415)),
            ("\nContent-Disposition: session;handling=required", Some(415)),
            ("\nContent-Disposition: signal; Handling=optional", None),
        ] {
            let text = format!(
                "INVITE sip:b@b.example SIP/2.0\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\n\
                 From: <sip:a@a.example>;tag=a\nTo: <sip:b@b.example>\nCall-ID: c\n\
                 CSeq: 1 INVITE\n{contact}\n{foreign}{more}\nContent-Length: 4\n\nISUP"
            );
            let invite = Message::parse(Bytes::from(text.replace('\n', "\r\n"))).unwrap();
            let refusal = Leg::refusal(&invite, &identity());
            assert_eq!(refusal.map(|draft| draft.status()), status, "{more}");
        }
    }

    #[test]
    fn at_55_a_multipart_body_that_cannot_be_read_is_400_not_415() {
        for (kind, body, status) in [
            ("multipart/mixed;boundary=b", "--b\r\n\r\nISUP\r\n--b--", Some(415)),
            ("multipart/mixed;boundary=b", "--b\r\n\r\nISUP", Some(400)),
            ("multipart/mixed", "--b\r\n\r\nISUP\r\n--b--", Some(400)),
            (
                "multipart/mixed;boundary=b",
                "--b\r\nc:application/sdp\r\n\r\nv=0\r\n--b\r\nc:application/sdp\r\n\r\nv=0\r\n--b--",
                Some(400),
            ),
            (
                "multipart/mixed;boundary=b",
                "--b\r\nc:multipart/mixed;boundary=c\r\n\r\n--c\r\nc:application/sdp\r\n\r\nv=0\r\n--c--\r\n--b--",
                Some(415),
            ),
        ] {
            let text = format!(
                "INVITE sip:b@b.example SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\n\
                 From: <sip:a@a.example>;tag=a\r\nTo: <sip:b@b.example>\r\nCall-ID: c\r\n\
                 CSeq: 1 INVITE\r\nContact: <sip:a@a.example>\r\nContent-Type: {kind}\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let invite = Message::parse(Bytes::from(text)).unwrap();
            let refusal = Leg::refusal(&invite, &identity());
            assert_eq!(refusal.map(|draft| draft.status()), status, "{body}");
        }
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let invite = Rig::invite_with("Require: 100rel, a\nRequire: timer, b", THEIRS);
        let draft = Leg::refusal(&invite, &identity()).unwrap();
        assert_eq!(draft.value(HeaderId::Unsupported), Some(&b"100rel, a, b"[..]));
        assert_eq!(draft.value(HeaderId::CallId), Some(&b"call"[..]));
    }
}
