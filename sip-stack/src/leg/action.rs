//! What a leg asks its owner to do and tells it, and what the owner gives a leg at birth.
//!
//! Plain data. A leg never touches the endpoint: it queues [`Action`]s in an [`Outbox`], and the
//! owner applies them after the call into the leg has returned.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::endpoint::ServerId;
use crate::message::{Draft, HeaderId, Message};
use crate::transport::LocalId;

pub use crate::dialog::Hop;
pub use crate::endpoint::Failure;

/// A header line that the owner adds to a message of a leg.
pub type Extra = (HeaderId, Bytes);

/// The queue a leg writes to, emptied by the owner in order. One call into a leg writes at most a
/// handful of actions.
pub type Outbox = VecDeque<Action>;

/// Who we are on a leg: everything that shows on the wire as ours, byte for byte.
#[derive(Clone, PartialEq, Eq)]
pub struct LegIdentity {
    /// Our name-addr without tag: From of our requests.
    pub local: Bytes,
    /// The peer's name-addr without tag: To of our requests.
    pub remote: Bytes,
    /// Our Contact value, with its brackets.
    pub contact: Bytes,
    /// `host[:port]` of our Via; the owner hands it to the endpoint with each request.
    pub sent_by: Bytes,
    /// The Allow value. Requests inside the dialog whose method it lacks are answered 405.
    pub allow: Bytes,
    /// The Supported value: option tags, comma-separated. A Require of any other tag is answered
    /// 420. Session timers are taken part in when `timer` is listed.
    pub supported: Bytes,
    /// Whether 18x have to be reliable (RFC 3262): our INVITE requires it, and ours are where the peer
    /// can. Otherwise they are where the peer has them so, if `100rel` is listed in `supported`.
    pub reliable: bool,
    /// User-Agent of our requests and Server of our responses; left out when empty.
    pub agent: Bytes,
    /// The identity whose sockets send and receive.
    pub local_id: LocalId,
    /// The session interval that our initial INVITE asks for (RFC 4028); `None` asks for none, and
    /// still honours the peer's. Not below 90 s.
    pub session_expires: Option<Duration>,
}

/// One client transaction of a leg, named by the leg. Counts from 1; below 2^24.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u32);

/// What the owner does for a leg, in this order.
#[derive(Clone)]
pub enum Action {
    /// Start a client transaction. The draft lacks only its Via. What comes of it returns through
    /// `handle_response` or `handle_failed` with this token.
    Request {
        /// Its name.
        token: Token,
        /// The request.
        draft: Draft,
        /// Where to.
        hop: Hop,
    },
    /// Send an ACK for a 2xx, outside transactions. The draft lacks only its Via.
    Ack {
        /// The ACK.
        draft: Draft,
        /// Where to.
        hop: Hop,
    },
    /// Answer a server transaction. A 2xx to an INVITE comes again and again until its ACK
    /// (RFC 3261 §13.3.1.4).
    Respond {
        /// Which.
        server: ServerId,
        /// The response.
        draft: Draft,
    },
    /// Cancel a client INVITE transaction (RFC 3261 §9.1).
    Cancel {
        /// Which.
        token: Token,
        /// The value of a Reason header for the CANCEL (RFC 3326).
        reason: Option<Bytes>,
    },
    /// Something the owner should know.
    Event(Event),
}

/// What happened on a leg.
///
/// Exactly one of `Rejected`, `Cancelled` and `Ended` is the last event of every leg; the leg then
/// finishes what it owes the peer in silence until [`is_ended`](super::Leg::is_ended).
#[derive(Clone)]
pub enum Event {
    /// Our INVITE got a 1xx, 100 included: the attempt is alive. Several To tags may alternate
    /// (forks), and a repeated 18x is told again.
    Provisional {
        /// The 1xx.
        message: Message,
        /// Its SDP: a preview of the answer on that tag, not yet the answer. When our INVITE had no
        /// offer and the 1xx is reliable, this is the peer's: `accept_offer` must follow, or
        /// `refuse_offer`, which gives up the call.
        sdp: Option<Bytes>,
    },
    /// Our INVITE was answered. Told once, for the first 2xx.
    Answered {
        /// The 2xx.
        message: Message,
        /// The answer to our offer, always present then (from an 18x of the same tag when the 2xx
        /// has none). When our INVITE had no offer this is the peer's: `accept_offer` or
        /// `refuse_offer` must follow, and the ACK waits for it; both do nothing where a reliable 1xx
        /// had the offer.
        sdp: Option<Bytes>,
    },
    /// Our INVITE failed, for good. Told once; the leg's last event.
    Rejected {
        /// The status, or the one that stands for it: 408 time-out, 503 transport, 487 cancelled.
        status: u16,
        /// The final response, if one came.
        message: Option<Message>,
        /// What kind of failure.
        why: Rejection,
    },
    /// The ACK for our first 2xx came.
    Confirmed,
    /// The answer to an offer of ours: in the 2xx of our re-INVITE, or in an ACK.
    Answer {
        /// The answer.
        sdp: Bytes,
    },
    /// The answer to a session refresh of ours is not what was agreed: the peer has changed its side of the session
    /// (RFC 4028 §7.4 has it answer as any re-INVITE).
    Refreshed {
        /// The answer.
        sdp: Bytes,
    },
    /// The peer offers a change (re-INVITE, UPDATE or PRACK, the latter two also before the call is
    /// answered, where a reliable 18x has answered the first offer), or with `None` asks us to offer
    /// (re-INVITE without SDP). `accept_offer` or `refuse_offer` must follow, now or later.
    Offer {
        /// The offer.
        sdp: Option<Bytes>,
        /// The request.
        message: Message,
    },
    /// The peer's offer lies with the owner no more: the peer took it back (CANCEL of a re-INVITE,
    /// answered 487 here), or the owner thought for too long (504). Nothing is to be accepted or
    /// refused.
    OfferWithdrawn,
    /// Our offer in a re-INVITE was refused; what was agreed before stays. 491 here means that the
    /// peer's own offer came first: offer again, if still wanted, after it is settled. 488 also
    /// stands for a 2xx or an ACK without the answer it owed.
    OfferRefused {
        /// The status.
        status: u16,
    },
    /// A request inside the dialog that is not the leg's to answer (REFER, NOTIFY, INFO, ...).
    /// [`respond`](super::Leg::respond) must follow.
    Request {
        /// Its server transaction.
        server: ServerId,
        /// The request.
        message: Message,
    },
    /// Our REFER got its final response.
    Referred {
        /// The status, or the one that stands for it: 408 time-out, 503 transport.
        status: u16,
    },
    /// The session is over; the leg's last event.
    Ended {
        /// Why.
        by: EndedBy,
        /// The BYE, or the response that showed it.
        message: Option<Message>,
    },
    /// The caller gave up before we answered: CANCEL, or BYE on the early dialog. The INVITE was
    /// answered 487 here. The leg's last event.
    Cancelled {
        /// The CANCEL or BYE.
        message: Message,
    },
}

/// Why our INVITE failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// A final response from 300 to 699.
    Response,
    /// No final response in time.
    Timeout,
    /// It could not be delivered.
    Transport,
    /// We cancelled it; a 2xx that crossed the CANCEL was acknowledged and hung up on.
    Cancelled,
    /// It was answered without the SDP it owed; acknowledged and hung up on.
    NoAnswer,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The owner asked for it, by `bye`, `cancel` or `reject`.
    Local,
    /// The peer's BYE.
    Remote,
    /// No ACK came for our 2xx in 64*T1 (RFC 3261 §13.3.1.4, §14.2).
    NoAck,
    /// No PRACK came for a reliable 18x of ours in 64*T1 (RFC 3262 §3).
    NoPrack,
    /// The ACK lacked the answer to the offer in our 2xx (RFC 3264 §4).
    NoAnswer,
    /// A request inside the dialog got 481 or 408, or no response (RFC 3261 §12.2.1.2).
    Gone,
    /// The session interval passed without a refresh (RFC 4028 §10).
    Expired,
}

impl fmt::Debug for LegIdentity {
    /// Without the numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LegIdentity")
            .field("sent_by", &self.sent_by)
            .field("local_id", &self.local_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Action {
    /// What it is, without addresses and bodies.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { token, draft, .. } => {
                write!(f, "Request({} {})", token.0, draft.method())
            }
            Self::Ack { .. } => f.write_str("Ack"),
            Self::Respond { server, draft } => {
                write!(f, "Respond({} {} {})", server.0, draft.status(), draft.method())
            }
            Self::Cancel { token, .. } => write!(f, "Cancel({})", token.0),
            Self::Event(event) => fmt::Debug::fmt(event, f),
        }
    }
}

impl fmt::Debug for Event {
    /// What it is, without SDP, which holds keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provisional { message, .. } => write!(f, "Provisional({})", message.status()),
            Self::Answered { .. } => f.write_str("Answered"),
            Self::Rejected { status, why, .. } => write!(f, "Rejected({status} {why:?})"),
            Self::Confirmed => f.write_str("Confirmed"),
            Self::Answer { .. } => f.write_str("Answer"),
            Self::Refreshed { .. } => f.write_str("Refreshed"),
            Self::Offer { message, .. } => write!(f, "Offer({})", message.method()),
            Self::OfferWithdrawn => f.write_str("OfferWithdrawn"),
            Self::OfferRefused { status } => write!(f, "OfferRefused({status})"),
            Self::Request { server, message } => {
                write!(f, "Request({} {})", server.0, message.method())
            }
            Self::Referred { status } => write!(f, "Referred({status})"),
            Self::Ended { by, .. } => write!(f, "Ended({by:?})"),
            Self::Cancelled { message } => write!(f, "Cancelled({})", message.method()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::{Rig, bytes};

    #[test]
    fn keys_and_numbers_are_not_shown() {
        let mut rig = Rig::talking();
        rig.request("INVITE", "", "v=0 inline:secret");
        rig.offer("v=0 inline:secret");
        rig.leg.bye(&[], rig.now, &mut rig.out);
        let identity = rig.leg.identity().clone();
        let snapshot = Rig::talking().leg.snapshot(rig.now, std::time::UNIX_EPOCH);
        let shown = format!("{:?} {:?} {identity:?} {snapshot:?}", rig.leg, rig.out);
        for hidden in ["secret", "v=0", "us@gw", "them@"] {
            assert!(!shown.contains(hidden), "{hidden} in {shown}");
        }
        assert_eq!(identity.local, bytes("<sip:us@gw.example>"));
    }
}
