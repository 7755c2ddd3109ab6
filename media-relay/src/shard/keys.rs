//! The SRTP contexts of one side, kept or replaced as its plan says: a context lives as long as
//! its key. With a new key comes a new context whose rollover counter is 0 (RFC 4568 §7.1.4, and
//! what peers really do); with the same key everything goes on (RFC 3711 §3.3.1).

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

/// Both directions of an SRTP side.
pub(crate) struct Contexts {
    send: (MasterKey, Sender),
    receive: Option<(MasterKey, Receiver)>,
}

impl Keys {
    pub(crate) const fn is_secure(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Secure(_) => true,
        }
    }

    /// Takes on the keys of a plan. `true` when what we send begins anew under it.
    pub(crate) fn apply(&mut self, security: Option<&Security>) -> bool {
        let Some(security) = security else {
            *self = Self::Plain;
            return true;
        };
        let Self::Secure(contexts) = self else {
            *self = Self::Secure(Box::new(Contexts::new(security)));
            return true;
        };
        let (key, sender) = &mut contexts.send;
        let same = key.same_key(&security.send);
        if same {
            sender.adopt(&security.send);
        } else {
            *sender = Sender::new(&security.send);
        }
        key.clone_from(&security.send);
        match (&mut contexts.receive, &security.receive) {
            (Some((key, receiver)), Some(new)) if key.same_key(new) => {
                receiver.adopt(new);
                key.clone_from(new);
            }
            (receive, Some(new)) => *receive = Some((new.clone(), Receiver::new(new))),
            (receive, None) => *receive = None,
        }
        !same
    }

    /// What a restart should know of both directions.
    pub(crate) fn snapshot(&self) -> (Option<KeySnapshot>, Option<KeySnapshot>) {
        let Self::Secure(contexts) = self else { return (None, None) };
        let (key, sender) = &contexts.send;
        let send = KeySnapshot { key: key.fingerprint(), indexes: sender.snapshot() };
        let receive = contexts.receive.as_ref().map(|(key, receiver)| KeySnapshot {
            key: key.fingerprint(),
            indexes: receiver.snapshot(),
        });
        (Some(send), receive)
    }

    /// Takes nothing again of what the peer sent under its key to another process.
    pub(crate) fn resume_receive(&mut self, snapshot: &KeySnapshot) {
        if let Self::Secure(contexts) = self
            && let Some((key, receiver)) = &mut contexts.receive
            && key.fingerprint() == snapshot.key
        {
            *receiver = Receiver::restore(key, &snapshot.indexes);
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

    /// Opens an RTP packet that fills `buf`; its new length.
    pub(crate) fn open_rtp(&mut self, buf: &mut [u8]) -> Result<usize, Refusal> {
        match self {
            Self::Plain => Ok(buf.len()),
            Self::Secure(contexts) => contexts.receiver()?.unprotect_rtp(buf).map_err(refusal),
        }
    }

    /// Opens an RTCP packet that fills `buf`; its new length.
    pub(crate) fn open_rtcp(&mut self, buf: &mut [u8]) -> Result<usize, Refusal> {
        match self {
            Self::Plain => Ok(buf.len()),
            Self::Secure(contexts) => contexts.receiver()?.unprotect_rtcp(buf).map_err(refusal),
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
    fn new(security: &Security) -> Self {
        Self {
            send: (security.send.clone(), Sender::new(&security.send)),
            receive: security.receive.as_ref().map(|key| (key.clone(), Receiver::new(key))),
        }
    }

    /// Before the peer's key is known nothing of it can be believed.
    fn receiver(&mut self) -> Result<&mut Receiver, Refusal> {
        self.receive.as_mut().map(|(_, receiver)| receiver).ok_or(Refusal::Unauthentic)
    }
}

const fn refusal(error: SrtpError) -> Refusal {
    match error {
        SrtpError::Malformed | SrtpError::TooLong | SrtpError::NoRoom => Refusal::Malformed,
        SrtpError::Unauthenticated | SrtpError::Exhausted | SrtpError::TooManySources => {
            Refusal::Unauthentic
        }
        SrtpError::Replayed | SrtpError::Late => Refusal::Duplicate,
    }
}
