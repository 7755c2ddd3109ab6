//! The SRTP contexts of one side, kept or replaced as its plan says: a context lives as long as
//! its key. What we hear is a machine of its own (`inbound`); what we send goes under the one key
//! that the plan names. A key of ours that was left and is named again goes on where it was, also where the plan
//! named none in between: no index comes twice under it (RFC 3711 §9.1). Who comes to a stream of ours whose numbers have
//! gone round cannot know its rollover counter: an encrypted peer that moves gets a source of ours that begins with 0
//! (`Change::Peer`).

mod inbound;

use std::net::SocketAddr;
use std::time::Instant;

pub(crate) use self::inbound::{Opened, Standing};

use self::inbound::Inbound;
use super::refusal::Refusal;
use crate::packet::{Header, Ssrc};
use crate::plan::Security;
use crate::srtp::{MasterKey, Receiver, Sender, SrtpError};
use crate::state::{ADVANCE, KeySnapshot};

/// How packets of one side are protected: plain so far without contexts, which are apart, so that plain sides stay small.
#[derive(Default)]
pub(crate) struct Keys(Option<Box<Contexts>>);

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
    /// Whether the plan names keys; else this is plain RTP until it does again.
    named: bool,
}

impl Keys {
    pub(crate) fn is_secure(&self) -> bool {
        self.0.as_ref().is_some_and(|contexts| contexts.named)
    }

    /// Takes on the keys of a plan. `place` is where the peer says that it is; a hold by a null address says nothing.
    pub(crate) fn apply(
        &mut self,
        security: Option<&Security>,
        place: Option<SocketAddr>,
        now: Instant,
    ) -> Change {
        match (security, &mut self.0) {
            (Some(security), Some(contexts)) => contexts.apply(security, place, now),
            (Some(security), none @ None) => {
                *none = Some(Box::new(Contexts::new(security, place, now)));
                Change::OurKey
            }
            (None, Some(contexts)) => {
                contexts.named = false;
                contexts.receive.apply(&[], now);
                Change::Nothing
            }
            (None, None) => Change::Nothing,
        }
    }

    /// Whether the rollover counter of a source of ours has left 0, or will before another peer has heard of it: who comes
    /// later takes the first number that it hears for one of the first round (RFC 3711 §3.3.1).
    pub(crate) fn has_rolled(&self, ssrc: Ssrc) -> bool {
        let highest = self.0.as_ref().and_then(|contexts| contexts.send.1.highest(ssrc));
        highest.is_some_and(|index| index > FIRST_ROUND)
    }

    /// Leaves keys of the peer whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        if let Some(contexts) = &mut self.0 {
            contexts.receive.expire(now);
        }
    }

    /// What a restart should know of both directions.
    pub(crate) fn snapshot(&self) -> (Option<KeySnapshot>, Option<KeySnapshot>) {
        let Some(contexts) = self.0.as_ref().filter(|contexts| contexts.named) else {
            return (None, None);
        };
        let (key, sender) = &contexts.send;
        let send = KeySnapshot { key: key.fingerprint(), indexes: sender.snapshot() };
        (Some(send), contexts.receive.snapshot())
    }

    /// All that is known of the peer's keys, as text.
    #[cfg(test)]
    pub(crate) fn peer_state(&self) -> String {
        self.0.as_ref().map(|contexts| contexts.receive.text()).unwrap_or_default()
    }

    /// Takes nothing again of what the peer sent under its key to another process.
    pub(crate) fn resume_receive(&mut self, snapshot: &KeySnapshot) {
        if let Some(contexts) = self.in_use() {
            contexts.receive.resume(snapshot);
        }
    }

    /// Goes on beyond what another process can have sent under our key: `false` if it was another
    /// key. The newest number that counts as sent by that source, if there is any.
    pub(crate) fn resume_send(&mut self, snapshot: &KeySnapshot, ssrc: Ssrc) -> Resumed {
        let Some(contexts) = self.in_use() else { return Resumed::Not };
        let (key, sender) = &mut contexts.send;
        if key.fingerprint() != snapshot.key {
            return Resumed::Not;
        }
        *sender = Sender::restore(key, &snapshot.indexes, ADVANCE);
        Resumed::Beyond(sender.highest(ssrc).map(|index| index as u16))
    }

    /// Gives up a source of ours for good.
    pub(crate) fn forget(&mut self, ssrc: Ssrc) {
        if let Some(contexts) = self.in_use() {
            contexts.send.1.forget(ssrc);
        }
    }

    /// Opens an RTP packet that fills `buf`.
    pub(crate) fn open_rtp(&mut self, buf: &mut [u8], now: Instant) -> Result<Opened, Refusal> {
        match self.in_use() {
            None => Ok(Opened { len: buf.len(), standing: Standing::Current }),
            Some(contexts) => contexts.receive.open(buf, now, rtp_source, Receiver::unprotect_rtp),
        }
    }

    /// Opens an RTCP packet that fills `buf`.
    pub(crate) fn open_rtcp(&mut self, buf: &mut [u8], now: Instant) -> Result<Opened, Refusal> {
        match self.in_use() {
            None => Ok(Opened { len: buf.len(), standing: Standing::Current }),
            Some(contexts) => {
                contexts.receive.open(buf, now, rtcp_source, Receiver::unprotect_rtcp)
            }
        }
    }

    /// Protects the RTP packet in `buf[..len]`; its new length.
    pub(crate) fn seal_rtp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, Refusal> {
        match self.in_use() {
            None => Ok(len),
            Some(contexts) => contexts.send.1.protect_rtp(buf, len).map_err(|_| Refusal::Dropped),
        }
    }

    /// Protects the RTCP packet in `buf[..len]`; its new length.
    pub(crate) fn seal_rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, Refusal> {
        match self.in_use() {
            None => Ok(len),
            Some(contexts) => contexts.send.1.protect_rtcp(buf, len).map_err(|_| Refusal::Dropped),
        }
    }

    #[inline]
    fn in_use(&mut self) -> Option<&mut Contexts> {
        self.0.as_deref_mut().filter(|contexts| contexts.named)
    }
}

impl Contexts {
    fn new(security: &Security, place: Option<SocketAddr>, now: Instant) -> Self {
        let mut receive = Inbound::new(now);
        receive.apply(&security.receive, now);
        let send = (security.send.clone(), Sender::new(&security.send));
        Self { place, send, left: Vec::new(), receive, named: true }
    }

    fn apply(&mut self, security: &Security, place: Option<SocketAddr>, now: Instant) -> Change {
        self.named = true;
        let before = self.place;
        self.place = place.or(before);
        let moved = before.is_some() && self.place != before;
        let another = moved && !self.receive.knows(&security.receive);
        self.receive.apply(&security.receive, now);
        match self.send_under(&security.send) {
            true => Change::OurKey,
            false if another => Change::Peer,
            false => Change::Nothing,
        }
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

fn rtp_source(packet: &[u8]) -> Option<Ssrc> {
    Header::peek(packet).map(|header| header.ssrc)
}

/// RFC 3711 §3.4: the sender stands in clear behind the first word.
fn rtcp_source(packet: &[u8]) -> Option<Ssrc> {
    let source = packet.get(4..8)?.first_chunk()?;
    Some(Ssrc(u32::from_be_bytes(*source)))
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
