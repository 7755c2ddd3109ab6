//! The SRTP contexts of one side, kept or replaced as its plan says: a context lives as long as
//! its key. With a new key comes a new context whose rollover counter is 0 (RFC 4568 §7.1.4, and
//! what peers really do); with the same key everything goes on (RFC 3711 §3.3.1).

use super::refusal::Refusal;
use crate::plan::Security;
use crate::srtp::{MasterKey, Receiver, Sender, SrtpError};

/// How packets of one side are protected.
pub(crate) enum Keys {
    /// Plain RTP.
    Plain,
    /// SRTP. Apart, so that plain sides stay small.
    Secure(Box<Contexts>),
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

    /// Takes on the keys of a plan.
    pub(crate) fn apply(&mut self, security: Option<&Security>) {
        let Some(security) = security else {
            *self = Self::Plain;
            return;
        };
        let Self::Secure(contexts) = self else {
            *self = Self::Secure(Box::new(Contexts::new(security)));
            return;
        };
        let (key, sender) = &mut contexts.send;
        if key.same_key(&security.send) {
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
