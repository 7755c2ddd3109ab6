//! Dialogs (RFC 3261 §12): identity by Call-ID and tags, route set, remote target, CSeq order, and
//! the requests that are sent inside them.
//!
//! Pure data. A dialog is found by Call-ID and tags alone, never by the connection that a message
//! came on. It knows nothing of transactions; when it begins and ends is decided in [`crate::leg`].

use bytes::{BufMut, Bytes, BytesMut};

use crate::message::{Draft, HeaderId, Message, Method, NameAddr};
use crate::transport::{Source, Target};
use crate::uri::Uri;

/// What names a dialog (RFC 3261 §12): the Call-ID and both tags, ours first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialogId {
    /// The Call-ID, byte for byte.
    pub call_id: Bytes,
    /// Our tag: of From in what we send as a request, of To in what we receive as one.
    pub local_tag: Bytes,
    /// The peer's tag; empty while unknown, or for a peer that has none (RFC 2543).
    pub remote_tag: Bytes,
}

impl DialogId {
    /// The dialog that a received request names: its To tag is ours. `None` outside dialogs.
    pub fn of_request(request: &Message) -> Option<Self> {
        let local_tag = request.to_tag()?;
        Some(Self {
            call_id: keep(request.call_id()),
            local_tag: keep(local_tag),
            remote_tag: tag_of(request.from_tag()),
        })
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hop {
    /// To this address, which the owner chose.
    Target(Target),
    /// To where this URI leads: the first Route, or the remote target (RFC 3261 §12.2.1.1). The
    /// owner locates it (RFC 3263).
    Uri {
        /// The URI to locate, without brackets.
        uri: Bytes,
        /// Where the dialog was last heard: the fallback, and the connection to prefer.
        last: Target,
    },
}

/// How the CSeq of a request stands to those before it (RFC 3261 §12.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Not lower than any before.
    Fine,
    /// Lower than one before: 500.
    Behind,
}

/// One dialog.
#[derive(Clone, PartialEq, Eq)]
pub struct Dialog {
    /// Its name.
    pub id: DialogId,
    /// Our name-addr without tag, as From shows it.
    pub local: Bytes,
    /// The peer's name-addr without tag, as To shows it.
    pub remote: Bytes,
    /// The peer's Contact URI, byte for byte; the Request-URI of what we send.
    pub remote_target: Bytes,
    /// The Route values of what we send, in that order, each a whole name-addr.
    pub route_set: Vec<Bytes>,
    /// The CSeq of our last request.
    pub local_cseq: u32,
    /// The CSeq of the peer's last request, once there was one.
    pub remote_cseq: Option<u32>,
    /// Where the peer was last heard.
    pub heard: Target,
}

impl Dialog {
    /// The called side's dialog, from the INVITE (RFC 3261 §12.1.1).
    pub fn uas(
        invite: &Message,
        source: &Source,
        local_tag: Bytes,
        local: Bytes,
        remote: Bytes,
    ) -> Self {
        Self {
            id: DialogId {
                call_id: keep(invite.call_id()),
                local_tag,
                remote_tag: tag_of(invite.from_tag()),
            },
            local,
            remote,
            remote_target: contact(invite).unwrap_or_default(),
            route_set: record_route(invite),
            local_cseq: 0,
            remote_cseq: Some(invite.cseq()),
            heard: Target::reply(source),
        }
    }

    /// The calling side's dialog before an answer made one: no tag, no route set.
    pub const fn calling(
        call_id: Bytes,
        local_tag: Bytes,
        local: Bytes,
        remote: Bytes,
        request_uri: Bytes,
        heard: Target,
    ) -> Self {
        Self {
            id: DialogId { call_id, local_tag, remote_tag: Bytes::new() },
            local,
            remote,
            remote_target: request_uri,
            route_set: Vec::new(),
            local_cseq: 0,
            remote_cseq: None,
            heard,
        }
    }

    /// The calling side's dialog as a response makes it (RFC 3261 §12.1.2). A response without
    /// Contact keeps the target of `self`, so that such a peer can still be hung up on.
    pub fn uac(&self, response: &Message, source: &Source) -> Self {
        let mut dialog = self.clone();
        dialog.id.remote_tag = tag_of(response.to_tag());
        dialog.route_set = record_route(response);
        dialog.route_set.reverse();
        dialog.follow(response);
        dialog.hear(source);
        dialog
    }

    /// Whether a received request is of this dialog.
    pub fn owns_request(&self, request: &Message) -> bool {
        request.call_id() == self.id.call_id
            && request.to_tag() == Some(&self.id.local_tag[..])
            && request.from_tag().unwrap_or_default() == self.id.remote_tag
    }

    /// Takes the CSeq of a received request into account.
    pub fn order(&mut self, cseq: u32) -> Order {
        if self.remote_cseq.is_some_and(|last| cseq < last) {
            return Order::Behind;
        }
        self.remote_cseq = Some(cseq);
        Order::Fine
    }

    /// Target refresh (RFC 3261 §12.2.1.2, §12.2.2): the Contact of a re-INVITE, an UPDATE or a
    /// 2xx of these is the new remote target.
    pub fn follow(&mut self, message: &Message) {
        if let Some(uri) = contact(message) {
            self.remote_target = uri;
        }
    }

    /// Notes where the peer was heard. The peer's name stays known while its address is the same.
    pub fn hear(&mut self, source: &Source) {
        let mut target = Target::reply(source);
        if target.remote == self.heard.remote && target.transport == self.heard.transport {
            target.name = self.heard.name.take();
        }
        self.heard = target;
    }

    /// The next request inside this dialog (RFC 3261 §12.2.1.1): From, To, Call-ID, CSeq,
    /// Max-Forwards and Route are set; Via is the endpoint's.
    pub fn request(&mut self, method: Method) -> (Draft, Hop) {
        self.local_cseq += 1;
        self.draft(method, self.local_cseq)
    }

    /// The ACK for a 2xx to our INVITE of that CSeq (RFC 3261 §13.2.2.4).
    pub fn ack(&self, cseq: u32) -> (Draft, Hop) {
        self.draft(Method::Ack, cseq)
    }

    fn draft(&self, method: Method, cseq: u32) -> (Draft, Hop) {
        let routing = self.routing();
        let cseq = cseq_value(cseq, &method);
        let mut draft = Draft::request(method, routing.request_uri);
        draft.push(HeaderId::MaxForwards, Bytes::from_static(MAX_FORWARDS));
        for route in routing.routes {
            draft.push(HeaderId::Route, route);
        }
        draft.push(HeaderId::From, with_tag(&self.local, &self.id.local_tag));
        draft.push(HeaderId::To, with_tag(&self.remote, &self.id.remote_tag));
        draft.push(HeaderId::CallId, self.id.call_id.clone());
        draft.push(HeaderId::CSeq, cseq);
        (draft, Hop::Uri { uri: routing.next_hop, last: self.heard.clone() })
    }

    /// RFC 3261 §12.2.1.1, with the strict router of RFC 2543 as a special case.
    fn routing(&self) -> Routing {
        let target = &self.remote_target;
        let Some((first, rest)) = self.route_set.split_first() else {
            return Routing {
                request_uri: target.clone(),
                routes: Vec::new(),
                next_hop: target.clone(),
            };
        };
        let next_hop = route_uri(first);
        if is_loose(&next_hop) {
            return Routing {
                request_uri: target.clone(),
                routes: self.route_set.clone(),
                next_hop,
            };
        }
        let mut routes = rest.to_vec();
        routes.push(bracketed(target));
        Routing { request_uri: next_hop.clone(), routes, next_hop }
    }
}

struct Routing {
    request_uri: Bytes,
    routes: Vec<Bytes>,
    next_hop: Bytes,
}

/// The URI of the first Contact, without brackets and parameters; `None` for none, or `*`.
pub fn contact(message: &Message) -> Option<Bytes> {
    let first = message.elements(HeaderId::Contact).next()?;
    let address = NameAddr::parse(first).ok()?;
    if address.uri.is_empty() || address.uri == b"*" {
        return None;
    }
    Some(keep(address.uri))
}

/// A name-addr with a tag; as it is when the tag is empty.
pub(crate) fn with_tag(name_addr: &Bytes, tag: &[u8]) -> Bytes {
    if tag.is_empty() {
        return name_addr.clone();
    }
    let mut value = BytesMut::with_capacity(name_addr.len() + 5 + tag.len());
    value.put_slice(name_addr);
    value.put_slice(b";tag=");
    value.put_slice(tag);
    value.freeze()
}

/// A CSeq value: "4 INVITE".
pub(crate) fn cseq_value(cseq: u32, method: &Method) -> Bytes {
    let mut value = BytesMut::from(cseq.to_string().as_bytes());
    value.put_u8(b' ');
    value.put_slice(method.as_bytes());
    value.freeze()
}

fn record_route(message: &Message) -> Vec<Bytes> {
    message.elements(HeaderId::RecordRoute).map(keep).collect()
}

fn route_uri(route: &Bytes) -> Bytes {
    NameAddr::parse(route).map_or_else(|_| route.clone(), |address| route.slice_ref(address.uri))
}

fn is_loose(uri: &Bytes) -> bool {
    Uri::parse(uri).is_ok_and(|uri| uri.param("lr").is_some())
}

fn bracketed(uri: &Bytes) -> Bytes {
    let mut value = BytesMut::with_capacity(uri.len() + 2);
    value.put_u8(b'<');
    value.put_slice(uri);
    value.put_u8(b'>');
    value.freeze()
}

fn tag_of(tag: Option<&[u8]>) -> Bytes {
    tag.map_or_else(Bytes::new, keep)
}

/// A copy of its own: what lives as long as a dialog must not hold a whole read buffer.
pub(crate) fn keep(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// RFC 3261 §8.1.1.6.
const MAX_FORWARDS: &[u8] = b"70";

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::transport::{FlowId, LocalId, Transport};

    fn source(port: u16) -> Source {
        Source {
            transport: Transport::Tls,
            local: LocalId(1),
            local_addr: SocketAddr::from(([127, 0, 0, 1], 5061)),
            remote: SocketAddr::from(([127, 0, 0, 2], port)),
            flow: Some(FlowId(7)),
        }
    }

    fn message(start: &str, headers: &str) -> Message {
        let text = format!(
            "{start}\r\nVia: SIP/2.0/TLS a.example;branch=z9hG4bKx\r\n{}Content-Length: 0\r\n\r\n",
            headers.lines().map(|line| format!("{}\r\n", line.trim())).collect::<String>()
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    fn invite(headers: &str) -> Message {
        let fixed = "From: \"A\" <sip:a@a.example>;tag=theirs\nTo: <sip:b@b.example>\n\
                     Call-ID: c1\nCSeq: 7 INVITE";
        message("INVITE sip:b@b.example SIP/2.0", &format!("{fixed}\n{headers}"))
    }

    fn answer(headers: &str) -> Message {
        let fixed = "From: <sip:b@b.example>;tag=ours\nTo: <sip:a@a.example>;tag=theirs\n\
                     Call-ID: c1\nCSeq: 1 INVITE";
        message("SIP/2.0 200 OK", &format!("{fixed}\n{headers}"))
    }

    fn uas(headers: &str) -> Dialog {
        let (local, remote) = ("<sip:b@b.example>".into(), "<sip:a@a.example>".into());
        Dialog::uas(&invite(headers), &source(5061), "ours".into(), local, remote)
    }

    fn uac(headers: &str) -> Dialog {
        let seed = Dialog::calling(
            "c1".into(),
            "ours".into(),
            "<sip:b@b.example>".into(),
            "<sip:a@a.example>".into(),
            "sip:a@a.example".into(),
            Target::reply(&source(5061)),
        );
        seed.uac(&answer(headers), &source(5061))
    }

    fn values(draft: &Draft, id: HeaderId) -> Vec<String> {
        draft
            .fields()
            .filter(|field| field.id == id)
            .map(|field| String::from_utf8(field.value.to_vec()).unwrap())
            .collect()
    }

    fn next_hop(hop: &Hop) -> &[u8] {
        match hop {
            Hop::Uri { uri, .. } => uri,
            Hop::Target(_) => panic!("in-dialog requests go to a URI"),
        }
    }

    const ROUTES: &str = "Contact: <sip:t@t.example:443;x-i=%41b;x-c=a/s/1>;q=1\n\
                          Record-Route: <sip:r1.example;lr>, \"x\" <sip:r2.example;lr;y=1>\n\
                          Record-Route: <sip:r3.example;lr>";

    #[test]
    fn called_side_keeps_the_order_of_record_route() {
        let mut dialog = uas(ROUTES);
        let (draft, hop) = dialog.request(Method::Bye);
        assert_eq!(
            values(&draft, HeaderId::Route),
            ["<sip:r1.example;lr>", "\"x\" <sip:r2.example;lr;y=1>", "<sip:r3.example;lr>"]
        );
        assert_eq!(draft.uri(), b"sip:t@t.example:443;x-i=%41b;x-c=a/s/1");
        assert_eq!(next_hop(&hop), b"sip:r1.example;lr");
        assert_eq!(values(&draft, HeaderId::CSeq), ["1 BYE"]);
        assert_eq!(values(&draft, HeaderId::From), ["<sip:b@b.example>;tag=ours"]);
        assert_eq!(values(&draft, HeaderId::To), ["<sip:a@a.example>;tag=theirs"]);
        assert_eq!(values(&draft, HeaderId::MaxForwards), ["70"]);
    }

    #[test]
    fn calling_side_reverses_it() {
        let (draft, hop) = uac(ROUTES).ack(1);
        assert_eq!(
            values(&draft, HeaderId::Route),
            ["<sip:r3.example;lr>", "\"x\" <sip:r2.example;lr;y=1>", "<sip:r1.example;lr>"]
        );
        assert_eq!(next_hop(&hop), b"sip:r3.example;lr");
        assert_eq!(values(&draft, HeaderId::CSeq), ["1 ACK"]);
    }

    #[test]
    fn strict_router_takes_the_request_uri() {
        let routes =
            "Contact: <sip:t@t.example>\nRecord-Route: <sip:s.example>, <sip:r.example;lr>";
        let (draft, hop) = uas(routes).request(Method::Bye);
        assert_eq!(draft.uri(), b"sip:s.example");
        assert_eq!(values(&draft, HeaderId::Route), ["<sip:r.example;lr>", "<sip:t@t.example>"]);
        assert_eq!(next_hop(&hop), b"sip:s.example");
    }

    #[test]
    fn without_routes_the_target_is_the_next_hop() {
        let (draft, hop) = uas("Contact: sip:t@t.example;x=1").request(Method::Bye);
        assert_eq!(draft.uri(), b"sip:t@t.example");
        assert_eq!(next_hop(&hop), b"sip:t@t.example");
        assert!(values(&draft, HeaderId::Route).is_empty());
    }

    #[test]
    fn response_without_contact_keeps_the_request_uri() {
        assert_eq!(uac("").remote_target, "sip:a@a.example");
        assert_eq!(uac("Contact: *").remote_target, "sip:a@a.example");
        assert_eq!(uac("Contact: <sip:1.example>, <sip:2.example>").remote_target, "sip:1.example");
    }

    #[test]
    fn requests_are_owned_by_call_id_and_tags() {
        let dialog = uac("");
        let request = |call: &str, from: &str, to: &str| {
            message(
                "BYE sip:b@b.example SIP/2.0",
                &format!(
                    "From: <sip:a@a.example>{from}\nTo: <sip:b@b.example>{to}\n\
                     Call-ID: {call}\nCSeq: 2 BYE"
                ),
            )
        };
        for (call, from, to, owned) in [
            ("c1", ";tag=theirs", ";tag=ours", true),
            ("c2", ";tag=theirs", ";tag=ours", false),
            ("c1", ";tag=other", ";tag=ours", false),
            ("c1", "", ";tag=ours", false),
            ("c1", ";tag=theirs", ";tag=other", false),
            ("c1", ";tag=theirs", "", false),
            ("c1", ";tag=THEIRS", ";tag=ours", false),
        ] {
            let request = request(call, from, to);
            assert_eq!(dialog.owns_request(&request), owned, "{call} {from} {to}");
            let named = DialogId::of_request(&request);
            assert_eq!(named.as_ref() == Some(&dialog.id), owned, "{call} {from} {to}");
            assert_eq!(named.is_none(), to.is_empty());
        }
    }

    #[test]
    fn peer_without_tags_has_an_empty_one() {
        let old = message(
            "SIP/2.0 200 OK",
            "From: <sip:b@b.example>;tag=ours\nTo: <sip:a@a.example>\nCall-ID: c1\nCSeq: 1 INVITE",
        );
        let mut dialog = uac("").uac(&old, &source(5061));
        assert_eq!(dialog.id.remote_tag, "");
        let (draft, _) = dialog.request(Method::Bye);
        assert_eq!(values(&draft, HeaderId::To), ["<sip:a@a.example>"]);
    }

    #[test]
    fn order_of_cseq() {
        let mut dialog = uas("");
        assert_eq!(dialog.order(6), Order::Behind);
        assert_eq!(dialog.order(7), Order::Fine);
        assert_eq!(dialog.order(900), Order::Fine);
        assert_eq!(dialog.order(899), Order::Behind);
        let mut dialog = uac("");
        assert_eq!(dialog.order(0), Order::Fine);
        assert_eq!(dialog.order(0), Order::Fine);
    }

    #[test]
    fn name_of_the_peer_stays_with_its_address() {
        let mut dialog = uac("");
        dialog.heard.name = Some("a.example".into());
        dialog.hear(&source(5061));
        assert_eq!(dialog.heard.name.as_deref(), Some("a.example"));
        assert_eq!(dialog.heard.flow, Some(FlowId(7)));
        dialog.hear(&source(40_000));
        assert_eq!(dialog.heard.name, None);
        assert_eq!(dialog.heard.remote.port(), 40_000);
    }
}
