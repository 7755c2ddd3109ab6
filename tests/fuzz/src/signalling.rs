//! SIP messages, session descriptions, and the framing of streams.

use bytes::Bytes;
use sip_stack::auth::{Authorization, Challenge, Login, Role, Session};
use sip_stack::framing::{Frame, Framer};
use sip_stack::message::{
    Draft, HeaderId, Limits, Message, Method, NameAddr, ParseErrorKind, Via, stamp_via,
};
use sip_stack::sdp::Sdp;
use sip_stack::uri::Uri;

/// One message, and the same bytes as each of the smaller things that stand in messages.
///
/// # Panics
/// When what must hold does not.
pub fn message(bytes: &[u8]) {
    let raw = Bytes::copy_from_slice(bytes);
    match Message::parse(raw.clone()) {
        Ok(message) => accepted(&message),
        Err(error) => refused(error.kind, error.reply.as_deref(), bytes.len()),
    }
    pieces(&raw);
}

fn accepted(message: &Message) {
    let head = &message.raw()[..message.raw().len() - message.body().len()];
    let lines = head.windows(2).filter(|two| two == b"\r\n").count();
    assert!(!head.contains(&0), "a NUL in the header block");
    assert_eq!(head.iter().filter(|b| **b == b'\n').count(), lines, "a bare LF was taken");
    assert_eq!(head.iter().filter(|b| **b == b'\r').count(), lines, "a bare CR was taken");
    assert!(message.cseq() < 1 << 31 && !message.call_id().is_empty());

    let via = message.top_via();
    let _ = (via.branch(), via.received(), via.has_rport(), via.rport(), via.host_ip());
    for field in message.fields() {
        let _ = NameAddr::parse(field.value).map(|address| {
            let _ = (address.display_text(), address.tag(), address.params().count());
            Uri::parse(address.uri).map(|uri| (uri.user_text(), uri.header("Route")))
        });
        let _ = message.elements(field.id).count();
    }
    if let Some(Ok(parts)) = message.parts() {
        assert!(parts.len() <= 16);
        let whole: usize = parts.iter().map(|part| part.headers.len() + part.body.len()).sum();
        assert!(whole <= message.body().len());
    }
    if let Some(sdp) = message.sdp() {
        assert!(sdp.len() <= message.body().len());
    }

    // Drafted and written it reads the same, and drafted again it is the same bytes.
    let written = Draft::from(message).write();
    let again = Message::parse(written.clone()).expect("what we write we read");
    assert_eq!(again.method(), message.method());
    assert_eq!(again.uri(), message.uri());
    assert_eq!(again.status(), message.status());
    assert_eq!(again.body(), message.body());
    assert_eq!((again.cseq(), again.call_id()), (message.cseq(), message.call_id()));
    assert_eq!((again.from_tag(), again.to_tag()), (message.from_tag(), message.to_tag()));
    assert_eq!(Draft::from(&again).write(), written);

    if message.is_request() {
        let mut reply = Draft::response(message, 200);
        reply.set_to_tag(b"t").stamp_via("192.0.2.1:1".parse().expect("an address"));
        let reply = Message::parse(reply.write()).expect("our answer reads");
        assert!(reply.to_tag().is_some());
        assert_eq!(reply.branch(), message.branch());
        assert_eq!(reply.from_tag(), message.from_tag());
        assert_eq!(reply.values(HeaderId::Via).count(), message.values(HeaderId::Via).count());
    }
}

/// A refusal is made of whole lines, no more than came, and is not longer than what came by more
/// than our own words.
fn refused(kind: ParseErrorKind, reply: Option<&Draft>, came: usize) {
    let (status, phrase) = kind.status();
    assert!((400..600).contains(&status) && !phrase.is_empty());
    let Some(reply) = reply else { return };
    assert_eq!(reply.status(), status);
    let written = reply.write();
    let lines = written.windows(2).filter(|two| two == b"\r\n").count();
    assert_eq!(lines, reply.fields().count() + 3);
    assert_eq!(written.iter().filter(|b| matches!(b, b'\r' | b'\n')).count(), 2 * lines);
    assert!(!written.contains(&0));
    // Compact names become long ones.
    assert!(written.len() <= came + 128 + 12 * lines, "amplified");
}

fn pieces(raw: &Bytes) {
    if let Ok(uri) = Uri::parse(raw) {
        assert_eq!(uri.as_bytes(), &raw[..]);
        assert!(raw.starts_with(uri.without_params()));
        let _ = (uri.user_text(), uri.password(), uri.params().count(), uri.header("a"));
        // Its own text, cut at the parameters, is a URI again.
        assert!(Uri::parse(uri.without_headers()).is_ok());
    }
    if let Ok(address) = NameAddr::parse(raw) {
        let _ = (address.display_text(), address.tag(), address.params().count());
    }
    if let Some(via) = Via::parse(raw) {
        let _ = (via.branch(), via.received(), via.rport());
    }
    let _ = stamp_via(raw, "[::1]:1".parse().expect("an address"));
    let _ = HeaderId::from_name(raw);
}

/// A session description: what is written reads the same.
///
/// # Panics
/// When what must hold does not.
pub fn sdp(bytes: &[u8]) {
    let Ok(sdp) = Sdp::parse(bytes) else { return };
    let _ = (sdp.origin(), sdp.connection(), sdp.attribute("group"));
    for (at, media) in sdp.media.iter().enumerate() {
        let _ = (sdp.address(at), sdp.direction(at), sdp.hold(at));
        for crypto in media.crypto() {
            let _ = (crypto.write(), crypto.has_unsupported_params());
            assert!(!format!("{crypto:?}").contains("inline:"));
        }
        let _ = (media.rtcp(), media.ptime(), media.maxptime(), media.is_secure());
        for payload in media.payload_types() {
            let _ = (media.rtpmap(payload), media.fmtp(payload));
        }
    }
    let written = sdp.write();
    let again = Sdp::parse(&written).expect("what we write we read");
    assert_eq!(again, sdp);
    assert_eq!(again.write(), written);
}

/// A challenge and an answer to one: what is written reads the same, and an answer of ours proves what it was made of.
///
/// # Panics
/// When what must hold does not.
pub fn auth(bytes: &[u8]) {
    if let Some(answer) = Authorization::parse(bytes) {
        let written = answer.write();
        assert!(!written.iter().any(u8::is_ascii_control), "a line could end");
        assert!(Authorization::parse(&written) == Some(answer.clone()), "what we write we read");
        let _ = answer.proves(&Method::Invite, "word");
    }
    let Some(challenge) = Challenge::parse(Role::Proxy, bytes) else { return };
    let written = challenge.write();
    assert!(!written.iter().any(u8::is_ascii_control), "a line could end");
    assert_eq!(Challenge::parse(Role::Proxy, &written).as_ref(), Some(&challenge));
    let login = Login { username: "user", password: "word" };
    let mut session = Session::new(challenge, Bytes::from_static(b"c"));
    let answer = session.answer(login, &Method::Invite, b"sip:a@b");
    let read = Authorization::parse(&answer.write()).expect("our own answer");
    assert!(read == answer && read.proves(&Method::Invite, "word"));
    assert!(!read.proves(&Method::Invite, "other"));
}

/// A stream: the first byte says in writes of which size the rest comes. The cut must not matter,
/// and nothing may come after a fault.
///
/// # Panics
/// When what must hold does not.
pub fn framing(bytes: &[u8]) {
    let Some((size, stream)) = bytes.split_first() else { return };
    let whole = frames(stream, stream.len().max(1));
    let cut = frames(stream, usize::from(size % 64) + 1);
    assert_eq!(cut, whole, "the cut of a stream matters");
    let fault = whole.iter().position(|frame| frame.starts_with("broken"));
    assert!(fault.is_none_or(|at| at + 1 == whole.len()), "something after a fault");
}

fn frames(stream: &[u8], size: usize) -> Vec<String> {
    let limits = Limits::default();
    let mut framer = Framer::new(limits);
    let mut found = Vec::new();
    for chunk in stream.chunks(size) {
        framer.push(chunk);
        while let Some(frame) = framer.next() {
            found.push(match frame {
                Frame::Message(bytes) => {
                    assert!(bytes.len() <= limits.message_bytes);
                    match Message::parse_within(bytes.clone(), &limits) {
                        // On a stream nothing is left over and nothing is missing.
                        Ok(message) => assert_eq!(message.raw().len(), bytes.len()),
                        Err(error) => {
                            assert!(
                                !matches!(
                                    error.kind,
                                    ParseErrorKind::Short
                                        | ParseErrorKind::TooLarge
                                        | ParseErrorKind::Unterminated
                                        | ParseErrorKind::BareLineEnd
                                ),
                                "framing and parser disagree: {}",
                                error.kind
                            );
                        }
                    }
                    format!("{bytes:?}")
                }
                Frame::KeepAlive => "keep-alive".into(),
                Frame::Broken(error) => format!("broken: {}", error.kind),
            });
        }
        if found.last().is_some_and(|frame| frame.starts_with("broken")) {
            assert!(!framer.is_partial());
        }
    }
    found
}
