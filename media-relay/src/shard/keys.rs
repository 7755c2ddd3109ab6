//! The SRTP contexts of one side, kept or replaced as its plan says: a context lives as long as
//! its key. What we hear is a machine of its own (`inbound`); what we send goes under the one key
//! that the plan names. A key of ours that was left and is named again goes on where it was: no index
//! comes twice under it (RFC 3711 §9.1). Who comes to a stream of ours whose numbers have gone round cannot know its
//! rollover counter: an encrypted peer that moves gets a source of ours that begins with 0 (`Change::Peer`).

mod inbound;

use std::net::SocketAddr;
use std::time::Instant;

pub(crate) use self::inbound::{Opened, Standing};

use self::inbound::Inbound;
use super::refusal::Refusal;
use crate::packet::Ssrc;
use crate::plan::Security;
use crate::srtp::{MasterKey, Receiver, Sender, SrtpError};
use crate::state::{ADVANCE, KeySnapshot};

/// How packets of one side are protected.
pub(crate) enum Keys {
    /// Plain RTP.
    Plain,
    /// SRTP. Apart, so that plain sides stay small.
    Secure(Box<Contexts>),
}

/// Whether indexes go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// The snapshot is of another key.
    Not,
    /// Beyond this sequence number; `None` where no RTP was sent.
    Beyond(Option<u16>),
}

/// What a plan changes in what we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It goes on as it was.
    Nothing,
    /// It begins anew, under another key.
    OurKey,
    /// It goes to another peer than before: one at another place, with none of the keys so far. Who moves has to take
    /// another key, since it cannot know the indexes of before (RFC 4568 §7.1.4); so it cannot know our rollover counter.
    Peer,
}

/// Both directions of an SRTP side.
pub(crate) struct Contexts {
    /// Where the peer said last that it is.
    place: Option<SocketAddr>,
    send: (MasterKey, Sender),
    /// Keys of ours that were in use before, the oldest first: at most `LEFT`.
    left: Vec<(MasterKey, Sender)>,
    receive: Inbound,
}

impl Keys {
    pub(crate) const fn is_secure(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Secure(_) => true,
        }
    }

    /// Takes on the keys of a plan. `place` is where the peer says that it is; a hold by a null address says nothing.
    pub(crate) fn apply(
        &mut self,
        security: Option<&Security>,
        place: Option<SocketAddr>,
        now: Instant,
    ) -> Change {
        let Some(security) = security else {
            *self = Self::Plain;
            return Change::OurKey;
        };
        let Self::Secure(contexts) = self else {
            *self = Self::Secure(Box::new(Contexts::new(security, place, now)));
            return Change::OurKey;
        };
        let before = contexts.place;
        contexts.place = place.or(before);
        let moved = before.is_some() && contexts.place != before;
        let another = moved && !contexts.receive.knows(&security.receive);
        contexts.receive.apply(&security.receive, now);
        match contexts.send_under(&security.send) {
            true => Change::OurKey,
            false if another => Change::Peer,
            false => Change::Nothing,
        }
    }

    /// Whether the rollover counter of a source of ours has left 0, or will before another peer has heard of it: who comes
    /// later takes the first number that it hears for one of the first round (RFC 3711 §3.3.1).
    pub(crate) fn has_rolled(&self, ssrc: Ssrc) -> bool {
        match self {
            Self::Plain => false,
            Self::Secure(contexts) => {
                contexts.send.1.highest(ssrc).is_some_and(|index| index > FIRST_ROUND)
            }
        }
    }

    /// Forgets keys of the peer whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        if let Self::Secure(contexts) = self {
            contexts.receive.expire(now);
        }
    }

    /// What a restart should know of both directions.
    pub(crate) fn snapshot(&self) -> (Option<KeySnapshot>, Option<KeySnapshot>) {
        let Self::Secure(contexts) = self else { return (None, None) };
        let (key, sender) = &contexts.send;
        let send = KeySnapshot { key: key.fingerprint(), indexes: sender.snapshot() };
        (Some(send), contexts.receive.snapshot())
    }

    /// All that is known of the peer's keys, as text.
    #[cfg(test)]
    pub(crate) fn peer_state(&self) -> String {
        match self {
            Self::Plain => String::new(),
            Self::Secure(contexts) => contexts.receive.text(),
        }
    }

    /// Takes nothing again of what the peer sent under its key to another process.
    pub(crate) fn resume_receive(&mut self, snapshot: &KeySnapshot) {
        if let Self::Secure(contexts) = self {
            contexts.receive.resume(snapshot);
        }
    }

    /// Goes on beyond what another process can have sent under our key: `false` if it was another
    /// key. The newest number that counts as sent by that source, if there is any.
    pub(crate) fn resume_send(&mut self, snapshot: &KeySnapshot, ssrc: Ssrc) -> Resumed {
        let Self::Secure(contexts) = self else { return Resumed::Not };
        let (key, sender) = &mut contexts.send;
        if key.fingerprint() != snapshot.key {
            return Resumed::Not;
        }
        *sender = Sender::restore(key, &snapshot.indexes, ADVANCE);
        Resumed::Beyond(sender.highest(ssrc).map(|index| index as u16))
    }

    /// Gives up a source of ours for good.
    pub(crate) fn forget(&mut self, ssrc: Ssrc) {
        if let Self::Secure(contexts) = self {
            contexts.send.1.forget(ssrc);
        }
    }

    /// Opens an RTP packet that fills `buf`.
    pub(crate) fn open_rtp(&mut self, buf: &mut [u8], now: Instant) -> Result<Opened, Refusal> {
        match self {
            Self::Plain => Ok(Opened { len: buf.len(), standing: Standing::Current }),
            Self::Secure(contexts) => contexts.receive.open(buf, now, Receiver::unprotect_rtp),
        }
    }

    /// Opens an RTCP packet that fills `buf`.
    pub(crate) fn open_rtcp(&mut self, buf: &mut [u8], now: Instant) -> Result<Opened, Refusal> {
        match self {
            Self::Plain => Ok(Opened { len: buf.len(), standing: Standing::Current }),
            Self::Secure(contexts) => contexts.receive.open(buf, now, Receiver::unprotect_rtcp),
        }
    }

    /// Protects the RTP packet in `buf[..len]`; its new length.
    pub(crate) fn seal_rtp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, Refusal> {
        match self {
            Self::Plain => Ok(len),
            Self::Secure(contexts) => {
                contexts.send.1.protect_rtp(buf, len).map_err(|_| Refusal::Dropped)
            }
        }
    }

    /// Protects the RTCP packet in `buf[..len]`; its new length.
    pub(crate) fn seal_rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, Refusal> {
        match self {
            Self::Plain => Ok(len),
            Self::Secure(contexts) => {
                contexts.send.1.protect_rtcp(buf, len).map_err(|_| Refusal::Dropped)
            }
        }
    }
}

impl Contexts {
    fn new(security: &Security, place: Option<SocketAddr>, now: Instant) -> Self {
        let mut receive = Inbound::default();
        receive.apply(&security.receive, now);
        let send = (security.send.clone(), Sender::new(&security.send));
        Self { place, send, left: Vec::new(), receive }
    }

    /// Sends under this key from now on; `true` when that is another one.
    fn send_under(&mut self, new: &MasterKey) -> bool {
        let same = self.send.0.same_key(new);
        if !same {
            let known = self.left.iter().position(|(key, _)| key.same_key(new));
            let next = match known {
                Some(at) => self.left.remove(at),
                None => (new.clone(), Sender::new(new)),
            };
            self.left.push(std::mem::replace(&mut self.send, next));
            self.left.drain(..self.left.len().saturating_sub(LEFT));
        }
        let (key, sender) = &mut self.send;
        sender.adopt(new);
        key.clone_from(new);
        !same
    }
}

/// One for each suite that an offer of ours can name, beside the one in use: forks may choose differently.
const LEFT: usize = 3;

const fn refusal(error: SrtpError) -> Refusal {
    match error {
        SrtpError::Malformed | SrtpError::TooLong | SrtpError::NoRoom => Refusal::Malformed,
        SrtpError::Unauthenticated | SrtpError::Exhausted | SrtpError::TooManySources => {
            Refusal::Unauthentic
        }
        SrtpError::Replayed | SrtpError::Late => Refusal::Duplicate,
    }
}

/// Where the first round of numbers is as good as over: 40 s of audio before.
const FIRST_ROUND: u64 = 0xffff - 2048;
