//! What is said and heard in a call.

use crate::agent::dialect::accepted_crypto;
use crate::agent::{Call, Fault};
use crate::media::{Incoming, Law, Outgoing, Tape};
use crate::sip::Sdp;

impl Call {
    /// The SRTP suite in use.
    #[must_use]
    pub fn suite(&self) -> Option<&'static str> {
        self.key.as_ref().map(|key| key.suite().name())
    }

    /// Begins to send a tone, or goes on after [`Self::mute`].
    pub async fn talk(&self, hertz: u32) -> Result<(), Fault> {
        let remote = self.remote.as_ref().ok_or(Fault::Media("no SDP yet"))?;
        let payload = remote.g711().ok_or(Fault::Media("no G.711"))?;
        let outgoing = Outgoing {
            rtp: remote.rtp,
            rtcp: remote.rtcp,
            mux: remote.mux,
            payload,
            law: law(remote, payload),
            hertz,
            key: self.key.clone(),
            sequence: self.sequence,
        };
        self.port.send(outgoing).await;
        Ok(())
    }

    /// Sends digits as telephone-events between the voice.
    pub async fn dial(&self, digits: &str) -> Result<(), Fault> {
        let events = self.remote.as_ref().and_then(|sdp| sdp.payload("telephone-event", 8000));
        self.port.dial(digits, events.ok_or(Fault::Media("no telephone-event"))?).await;
        Ok(())
    }

    /// Falls silent.
    pub async fn mute(&self) {
        self.port.mute().await;
    }

    /// The tape so far.
    pub async fn tape(&self) -> Tape {
        self.port.take().await
    }

    /// Takes an SDP of the other side and listens accordingly.
    pub(super) async fn apply(&mut self, sdp: &str) -> Result<(), Fault> {
        let sdp = Sdp::read(sdp).ok_or(Fault::Media("unreadable"))?;
        let voice = sdp.g711().ok_or(Fault::Media("no G.711"))?;
        let theirs = accepted_crypto(&sdp).map(|(_, key)| key);
        if self.key.is_some() != (sdp.protocol == "RTP/SAVP") {
            return Err(Fault::Media("the wrong protocol"));
        }
        if self.key.is_some() && theirs.is_none() {
            return Err(Fault::Media("no usable key"));
        }
        if self.remote.as_ref().is_some_and(|before| *before == sdp) {
            return Ok(());
        }
        let incoming = Incoming {
            key: self.key.is_some().then_some(theirs).flatten(),
            law: law(&sdp, voice),
            events: sdp.payload("telephone-event", 8000),
        };
        self.remote = Some(sdp);
        self.port.listen(incoming).await;
        Ok(())
    }
}

fn law(sdp: &Sdp, payload: u8) -> Law {
    if sdp.is_alaw(payload) { Law::A } else { Law::Mu }
}
