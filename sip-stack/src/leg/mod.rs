//! Legs: one INVITE dialog that we end ourselves (RFC 3261 §9, §12-15; offers and answers by
//! RFC 3264 and RFC 6337; 2xx by RFC 6026; session timers by RFC 4028).
//!
//! A [`Leg`] is a pure core: calls carry the time, and what shall happen is queued in the
//! [`Outbox`] given with the call. It never touches the endpoint; its owner routes messages to it
//! by Call-ID and tag and applies its actions. Every method may be called in any state: what no
//! longer makes sense (an answer after the caller cancelled) does nothing.
//!
//! ```text
//!             outgoing()                            incoming()
//!                 |                                     |
//!   1xx  +---- Inviting ----+ 3xx-6xx,     ring() +-- Invited --+ reject(), CANCEL,
//!        +-------> |        | time-out,           +----> |      | BYE
//!                  | 2xx    | cancel()                   |      |
//!                  |        |           Answered <-------+      |
//!                  |        |    ACK -----> |   answer()        |
//!                  +-----------------> Confirmed                |
//!                           |      offers, BYE |                |
//!                           |                Ending             |
//!                           +----------------> | <--------------+
//!                                            Ended
//! ```
//!
//! Provisional responses are reliable (RFC 3262) as far as [`LegIdentity`] says. On purpose: no UPDATE
//! is ever sent (changes and refreshes of ours are re-INVITEs, which every peer knows); UPDATE from a
//! peer is understood (RFC 3311), in an early dialog once its offer was answered reliably. Requests of
//! other usages (REFER, NOTIFY, INFO) are the owner's. Authentication is the owner's.
//!
//! Departures from the RFCs:
//! - ACK and BYE carry Contact (RFC 3261 §20.10 gives it no meaning in BYE): some peers choose the
//!   account of a message by its Contact.
//! - A 2xx without SDP to an INVITE with an offer is completed by the SDP of an 18x on the same To
//!   tag, if there was one (RFC 3261 §13.2.1 wants it in the 2xx).
//! - A second 2xx to an INVITE without offer is acknowledged without an answer, then hung up on.
//! - Where an INVITE requires `100rel` and makes no offer, no 18x is sent (RFC 3262 §5 wants our offer
//!   in the first one).
//! - Re-INVITEs of ours do not name `100rel` (RFC 3262 §4 wants it in all).
//! - After an end of the session the leg waits for 2xx of further forks only if it has seen
//!   several To tags; RFC 3261 §13.2.2.4 would always wait 32 s.

mod ack;
mod action;
mod bye;
mod fork;
mod in_dialog;
mod notify;
mod offer_answer;
mod outside;
mod prack;
mod random;
mod refer;
mod refusal;
mod reinvite;
mod reliable;
mod reply;
mod session_timer;
mod snapshot;
mod timer;
mod uac;
mod uas;

#[cfg(test)]
mod pair;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod walk;

use std::fmt;
use std::time::Instant;

use bytes::Bytes;

pub use self::action::{
    Action, EndedBy, Event, Extra, Failure, Hop, LegIdentity, Outbox, Rejection, Token,
};
pub use self::outside::refusal_outside;
pub use self::snapshot::{Snapshot, Stamp};
pub use self::uac::Outgoing;

use self::ack::Acked;
use self::bye::Closing;
use self::offer_answer::{Exchange, Offers};
use self::random::Random;
use self::refusal::supports;
use self::reliable::Provisionals;
use self::session_timer::Session;
use self::timer::{Timer, Timers};
use self::uac::Calling;
use self::uas::Called;
use crate::dialog::{Dialog, DialogId};
use crate::endpoint::ServerId;
use crate::message::Message;
use crate::transport::{Source, Target};

/// Where a leg stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Our INVITE has no final response yet.
    Inviting,
    /// The peer's INVITE has no final response yet.
    Invited,
    /// We answered; the ACK has not come.
    Answered,
    /// The session is up.
    Confirmed,
    /// The session is over or never came; the leg still owes or is owed messages.
    Ending,
    /// Nothing is left to do: the owner may drop the leg.
    Ended,
}

/// One INVITE dialog that we end ourselves.
pub struct Leg {
    identity: LegIdentity,
    /// While `Inviting`, the seed of the dialogs that responses make: it has no remote tag.
    dialog: Dialog,
    /// We sent the INVITE; makes the Call-ID ours (RFC 3261 §14.1).
    caller: bool,
    phase: Phase,
    offers: Offers,
    session: Session,
    timers: Timers,
    random: Random,
    last_token: u32,
    /// Our initial INVITE, for its 2xx that come later.
    invite: Option<Token>,
    /// The ACKs we sent, to be sent again with each repeated 2xx.
    acks: Vec<Acked>,
    /// When our INVITE was answered, and whether several To tags were seen on it.
    answered: Option<Instant>,
    forked: bool,
    /// BYEs without a final response.
    byes: Vec<Token>,
    /// Our REFER without a final response.
    referral: Option<Token>,
    /// Requests that the owner has not answered yet.
    waiting: Vec<(ServerId, Message)>,
    /// The CSeq of the peer's initial INVITE.
    invite_cseq: Option<u32>,
    /// Our reliable 18x to it.
    provisionals: Provisionals,
}

impl fmt::Debug for Leg {
    /// Its name and state only: a leg holds numbers and keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leg")
            .field("id", self.id())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// The phase of a leg, with the data of just that phase.
enum Phase {
    Calling(Box<Calling>),
    Called(Box<Called>),
    Talking,
    Closing(Closing),
    Closed,
}

impl Leg {
    fn new(
        identity: LegIdentity,
        dialog: Dialog,
        caller: bool,
        phase: Phase,
        offers: Offers,
    ) -> Self {
        let random = Random::new(&dialog.id.local_tag);
        Self {
            identity,
            dialog,
            caller,
            phase,
            offers,
            session: Session::default(),
            timers: Timers::default(),
            random,
            last_token: 0,
            invite: None,
            acks: Vec::new(),
            answered: None,
            forked: false,
            byes: Vec::new(),
            referral: None,
            waiting: Vec::new(),
            invite_cseq: None,
            provisionals: Provisionals::default(),
        }
    }

    /// The dialog's name. The remote tag is empty until the peer's first final answer shows it.
    pub const fn id(&self) -> &DialogId {
        &self.dialog.id
    }

    /// Our tag.
    pub const fn local_tag(&self) -> &Bytes {
        &self.dialog.id.local_tag
    }

    /// The Call-ID.
    pub const fn call_id(&self) -> &Bytes {
        &self.dialog.id.call_id
    }

    /// Who we are on this leg.
    pub const fn identity(&self) -> &LegIdentity {
        &self.identity
    }

    /// The peer's Contact URI, byte for byte; the Request-URI of what we send in the dialog.
    pub const fn remote_target(&self) -> &Bytes {
        &self.dialog.remote_target
    }

    /// Where the peer was last heard; before that, where our INVITE went.
    pub const fn heard(&self) -> &Target {
        &self.dialog.heard
    }

    /// Whether our side sent the INVITE.
    pub const fn is_caller(&self) -> bool {
        self.caller
    }

    /// Our SDP as last agreed; `None` before the first offer was answered.
    pub const fn local_sdp(&self) -> Option<&Bytes> {
        self.offers.local.as_ref()
    }

    /// The peer's SDP as last agreed; while `Invited`, the offer of its INVITE.
    pub const fn remote_sdp(&self) -> Option<&Bytes> {
        self.offers.remote.as_ref()
    }

    /// Where the leg stands.
    pub const fn state(&self) -> State {
        match &self.phase {
            Phase::Calling(_) => State::Inviting,
            Phase::Called(_) => State::Invited,
            Phase::Talking => match &self.offers.exchange {
                Exchange::AckAwaited(ack) if ack.initial => State::Answered,
                Exchange::Idle
                | Exchange::Sent(_)
                | Exchange::AckOwed { .. }
                | Exchange::Received(_)
                | Exchange::AckAwaited(_) => State::Confirmed,
            },
            Phase::Closing(_) => State::Ending,
            Phase::Closed => State::Ended,
        }
    }

    /// Whether nothing is left to do, so that the owner may drop the leg.
    pub const fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// A response to a request of this leg.
    pub fn handle_response(
        &mut self,
        token: Token,
        source: &Source,
        message: &Message,
        now: Instant,
        out: &mut Outbox,
    ) {
        if matches!(&self.phase, Phase::Calling(calling) if calling.token == token) {
            self.invite_response(source, message, now, out);
        } else if self.invite == Some(token) {
            self.late_invite_response(token, source, message, out);
        } else if self.offers.is_sent(token) {
            self.reinvite_response(source, message, now, out);
        } else if self.byes.contains(&token) {
            self.bye_response(token, message.status());
        } else if self.referral == Some(token) {
            self.referred(message.status(), out);
        } else if matches!(self.phase, Phase::Calling(_)) {
            self.prack_answered(token, message.status(), now, out);
        } else if (200..300).contains(&message.status()) {
            self.repeat_ack(token, message, out);
        }
        self.settle();
    }

    /// A request of this leg failed without a response.
    pub fn handle_failed(&mut self, token: Token, why: Failure, now: Instant, out: &mut Outbox) {
        if matches!(&self.phase, Phase::Calling(calling) if calling.token == token) {
            self.invite_failed(why, out);
        } else if self.offers.is_sent(token) {
            self.reinvite_failed(why, now, out);
        } else if self.referral == Some(token) {
            self.referred(refer::status_of(why), out);
        } else if matches!(self.phase, Phase::Calling(_)) {
            self.prack_answered(token, refer::status_of(why), now, out);
        } else {
            self.byes.retain(|bye| *bye != token);
        }
        self.settle();
    }

    /// The earliest time at which `handle_timeout` has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Serves what is due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        while let Some(timer) = self.timers.due(now) {
            match timer {
                Timer::Ring => self.ring_again(now, out),
                Timer::Provisional => self.provisional_again(now, out),
                Timer::Prack => self.prack_missing(out),
                Timer::Answer => self.answer_again(now, out),
                Timer::Ack => self.ack_missing(now, out),
                Timer::Cancel => self.cancel_unanswered(out),
                Timer::Retry => self.flush(now, out),
                Timer::Offer => self.offer_unanswered(now, out),
                Timer::Decision => self.undecided(now, out),
                Timer::Refresh => self.refresh(now, out),
                Timer::Expiry => self.expired(now, out),
                Timer::Closing => self.close_late(out),
            }
        }
        self.settle();
    }

    /// The CSeq for a request of this leg that its owner sends once more, with an answer to a challenge (RFC 3261 §22.2).
    /// The leg's next request has a higher one.
    pub const fn next_cseq(&mut self) -> u32 {
        self.dialog.local_cseq += 1;
        self.dialog.local_cseq
    }

    const fn next_token(&mut self) -> Token {
        self.last_token = if self.last_token >= TOKEN_LIMIT { 1 } else { self.last_token + 1 };
        Token(self.last_token)
    }
}

/// Tokens stay below 2^24, so that an owner can put its own number beside them in 32 bits.
const TOKEN_LIMIT: u32 = (1 << 24) - 1;
