//! Answers that keep nothing: RFC 3261 §8.2.7, and refusals of what cannot be read.
//!
//! An INVITE that has to be refused for load is refused from a glance at its bytes, in about a
//! microsecond: the work that we cannot do must cost next to nothing. The To tag of such an answer
//! is made of the Call-ID under our key, so that a repeat gets the same answer, and the ACK is known
//! for what it is.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Endpoint, key, route};
use crate::glance::Glance;
use crate::message::{Draft, Elements, HeaderId, Message, Method, Via, stamp_via};
use crate::transport::{Source, Target};

/// What became of an INVITE that was to be refused for load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// A 503 is on its way.
    Refused,
    /// It repeats one that was taken, stands in a dialog of ours, or is no INVITE: give it to
    /// [`Endpoint::handle_message`].
    NotNew,
    /// Nobody can be answered.
    Unreadable,
}

impl Endpoint {
    /// Refuses an INVITE for load, without keeping anything of it: 503, to be tried again after so
    /// many seconds.
    pub fn shed(&mut self, source: &Source, raw: &Bytes, retry_after: u16) -> Shed {
        match Glance::request(raw) {
            Some(glance) if glance.method != b"INVITE" => return Shed::NotNew,
            Some(glance) if key::glance_at(&mut self.key, source, &glance) => {
                if self.keys.contains_key(&self.key[..]) {
                    return Shed::NotNew;
                }
                if self.refuse_glanced(source, raw, &glance, retry_after) {
                    self.counters.refused += 1;
                    return Shed::Refused;
                }
            }
            Some(_) | None => {}
        }
        self.shed_read(source, raw, retry_after)
    }

    /// Whether this is the ACK for such a refusal, to be dropped; `tag` is its To tag, which is known to be ours.
    pub fn is_ack_of_shed(&self, ack: &Glance<'_>, tag: &[u8]) -> bool {
        ack.method == b"ACK" && self.identifiers.is_derived(tag, ack.call_id)
    }

    /// Answers a request that was not given to [`Endpoint::handle_message`], keeping nothing of it, by at most so many bytes.
    /// False when the answer is longer: then there is none.
    pub fn answer_once(&mut self, source: &Source, reply: Draft, most: usize) -> bool {
        let (target, reply) = self.stateless(source, reply);
        let fits = reply.len() <= most;
        if fits {
            self.push_send(target, reply);
        }
        fits
    }

    /// Answers without a transaction.
    pub(super) fn reply_stateless(&mut self, source: &Source, reply: Draft) {
        let (target, reply) = self.stateless(source, reply);
        self.push_send(target, reply);
    }

    fn stateless(&self, source: &Source, mut reply: Draft) -> (Target, Bytes) {
        let via = reply.value(HeaderId::Via).and_then(first_via);
        // A Via that cannot be read, of another SIP version for one, says nothing of a port: what is left is where the
        // request came from.
        let target =
            via.map_or_else(|| Target::reply(source), |via| route::response_target(source, &via));
        let call = reply.value(HeaderId::CallId).unwrap_or_default();
        let tag = self.identifiers.derived(call);
        reply.set_to_tag(&tag);
        reply.stamp_via(source.remote);
        (target, reply.write())
    }

    /// The refusal that a glance allows. False when it does not.
    fn refuse_glanced(
        &mut self,
        source: &Source,
        raw: &Bytes,
        glance: &Glance<'_>,
        retry_after: u16,
    ) -> bool {
        let Some(via) = glance.top_via() else { return false };
        if glance.to_tag().is_some() || !crate::message::are_quotes_closed(glance.to) {
            return false;
        }
        let target = route::response_target(source, &via);
        let tag = self.identifiers.derived(glance.call_id);
        let mut vias = glance.vias();
        let mut out = BytesMut::with_capacity(raw.len().min(MOST_HEADERS) + 160);
        out.put_slice(b"SIP/2.0 503 Service Unavailable\r\nVia: ");
        if let Some(top) = vias.next() {
            out.put_slice(&stamp_via(&raw.slice_ref(top), source.remote));
        }
        for via in vias {
            line(&mut out, b"\r\nVia: ", via);
        }
        line(&mut out, b"\r\nFrom: ", glance.from);
        line(&mut out, b"\r\nTo: ", glance.to);
        line(&mut out, b";tag=", &tag);
        line(&mut out, b"\r\nCall-ID: ", glance.call_id);
        line(&mut out, b"\r\nCSeq: ", glance.cseq);
        line(&mut out, b"\r\nRetry-After: ", retry_after.to_string().as_bytes());
        out.put_slice(b"\r\nContent-Length: 0\r\n\r\n");
        self.push_send(target, out.freeze());
        true
    }

    /// The same for an INVITE that has to be read.
    fn shed_read(&mut self, source: &Source, raw: &Bytes, retry_after: u16) -> Shed {
        let Ok(message) = Message::parse(raw.clone()) else { return Shed::Unreadable };
        let ours = message.to_tag().is_some_and(|tag| self.origin(tag).is_some());
        if ours || !message.is_request() || *message.method() != Method::Invite {
            return Shed::NotNew;
        }
        if self.find(key::Class::Invite, source, &message).is_some() {
            return Shed::NotNew;
        }
        let mut refusal = Draft::response(&message, 503);
        refusal.push(HeaderId::RetryAfter, retry_after.to_string());
        self.reply_stateless(source, refusal);
        self.counters.refused += 1;
        Shed::Refused
    }
}

fn line(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.put_slice(name);
    out.put_slice(value);
}

fn first_via(value: &[u8]) -> Option<Via<'_>> {
    Via::parse(Elements::new(value).next()?)
}

/// Room for the lines of a refusal: more than requests of real peers need.
const MOST_HEADERS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::super::fixture::{drain, endpoint, incoming, source};
    use super::*;
    use crate::transport::Transport::{Tls, Udp};

    const VIAS: &str = "Via: SIP/2.0/UDP peer.example:5070;branch=z9hG4bKpeer1;rport, SIP/2.0/UDP x\r\nv: SIP/2.0/UDP y";

    #[test]
    fn a_glanced_refusal_says_what_a_read_one_says() {
        for (changes, transport) in [
            (&[VIAS][..], Udp),
            (&[], Tls),
            (&["To: \"a;tag=b\" <sip:alice@us.example>;x=y"], Udp),
            (&["Via: SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bKpeer1;received=198.51.100.1"], Udp),
        ] {
            let invite = incoming("INVITE", changes);
            let (mut endpoint, _) = endpoint();
            assert_eq!(endpoint.shed(&source(transport), invite.raw(), 7), Shed::Refused);
            let glanced = drain(&mut endpoint).sent;
            assert_eq!(endpoint.shed_read(&source(transport), invite.raw(), 7), Shed::Refused);
            let read = drain(&mut endpoint).sent;

            assert_eq!((glanced.len(), &glanced[0].1), (1, &read[0].1));
            let (glanced, read) = (&glanced[0].2, &read[0].2);
            assert_eq!(glanced.status(), 503);
            for id in [
                HeaderId::From,
                HeaderId::To,
                HeaderId::CallId,
                HeaderId::CSeq,
                HeaderId::RetryAfter,
            ] {
                assert_eq!(glanced.value(id), read.value(id));
            }
            let vias =
                |m: &Message| m.elements(HeaderId::Via).map(<[u8]>::to_vec).collect::<Vec<_>>();
            assert_eq!(vias(glanced), vias(read));
            assert_eq!(endpoint.transactions(), (0, 0));
            assert_eq!(endpoint.timers(), 0);
        }
    }

    #[test]
    fn what_a_glance_cannot_tell_is_read() {
        for changes in [&["Via: SIP/2.0/UDP peer.example"][..], &["X: a\r\n b"]] {
            let (mut endpoint, _) = endpoint();
            let invite = incoming("INVITE", changes);
            assert_eq!(endpoint.shed(&source(Udp), invite.raw(), 7), Shed::Refused);
            assert_eq!(drain(&mut endpoint).kinds(), ["503"]);
        }
        let (mut endpoint, _) = endpoint();
        assert_eq!(
            endpoint.shed(&source(Udp), &Bytes::from_static(b"INVITE x"), 7),
            Shed::Unreadable
        );
        assert!(endpoint.poll_output().is_none());
    }

    #[test]
    fn a_call_that_was_taken_is_not_refused_by_its_repeat() {
        let (mut endpoint, _) = endpoint();
        let tagged = |tag: &[u8]| {
            let to = format!("To: <sip:alice@us.example>;tag={}", String::from_utf8_lossy(tag));
            incoming("INVITE", &[&to])
        };
        let inside = tagged(&endpoint.new_tag());
        assert_eq!(endpoint.shed(&source(Udp), inside.raw(), 7), Shed::NotNew);
        assert_eq!(endpoint.shed(&source(Udp), tagged(b"1").raw(), 7), Shed::Refused);
        let refusal = drain(&mut endpoint).sent.remove(0).2;
        assert_eq!(refusal.to_tag(), Some(&b"1"[..]), "RFC 3261 §8.2.6.2");
        for changes in [&[][..], &["Via: SIP/2.0/UDP peer.example"]] {
            let (mut endpoint, now) = super::super::fixture::endpoint();
            let invite = incoming("INVITE", changes);
            endpoint.handle_message(source(Udp), invite.clone(), now);
            drain(&mut endpoint);
            assert_eq!(endpoint.shed(&source(Udp), invite.raw(), 7), Shed::NotNew);
            assert!(endpoint.poll_output().is_none());
        }
    }

    #[test]
    fn the_ack_of_a_refusal_is_known() {
        let (mut endpoint, _) = endpoint();
        endpoint.shed(&source(Udp), incoming("INVITE", &[]).raw(), 7);
        let refusal = drain(&mut endpoint).sent.remove(0).2;
        let to = format!("To: {}", String::from_utf8_lossy(refusal.value(HeaderId::To).unwrap()));
        let is_ack = |method, changes: &[&str]| {
            let request = incoming(method, changes);
            let glance = Glance::request(request.raw()).unwrap();
            endpoint.is_ack_of_shed(&glance, glance.to_tag().unwrap())
        };
        assert!(is_ack("ACK", &[&to]));
        assert!(!is_ack("ACK", &[&to, "Call-ID: other"]));
        assert!(!is_ack("BYE", &[&to]));
        assert!(!is_ack("ACK", &["To: <sip:a@b>;tag=c"]));
    }
}
