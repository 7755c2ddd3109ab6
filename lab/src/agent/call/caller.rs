//! The caller's steps: ringing, the answer, a refusal, giving up.

use std::time::Duration;

use tokio::time::Instant;

use crate::agent::dialect::Head;
use crate::agent::{Call, Fault};
use crate::sip::Message;
use crate::wire::Arrival;

use super::Side;

impl Call {
    /// Waits for a 18x and gives its status.
    pub async fn ringing(&mut self, limit: Duration) -> Result<u16, Fault> {
        self.until(limit, "18x", |message| {
            (message.status() > 100 && message.status() < 200).then(|| message.status())
        })
        .await
    }

    /// Waits for a 18x with SDP; its media are heard from now on.
    pub async fn early(&mut self, limit: Duration) -> Result<u16, Fault> {
        self.until(limit, "18x with SDP", |message| {
            let early = message.status() > 100 && message.status() < 200;
            (early && message.sdp().is_some()).then(|| message.status())
        })
        .await
    }

    /// Waits for a reliable 18x and acknowledges it (RFC 3262); gives the status of the answer to the PRACK.
    pub async fn acknowledge(&mut self, limit: Duration) -> Result<u16, Fault> {
        let ring = self
            .until(limit, "reliable 18x", |message| {
                let reliable = message.status() < 200 && message.header("RSeq").is_some();
                reliable.then(|| message.clone())
            })
            .await?;
        self.dialog.accepted(&ring, &self.record_route);
        let rseq = ring.header("RSeq").unwrap_or_default();
        let rack = format!("RAck: {rseq} {} INVITE\r\n", ring.cseq());
        Ok(self.ask("PRACK", &rack, "", limit).await?.status())
    }

    /// Waits for the 200 and acknowledges it.
    pub async fn answered(&mut self, limit: Duration) -> Result<(), Fault> {
        match self.until(limit, "200 to the INVITE", |_| None::<()>).await {
            Ok(()) | Err(Fault::Ended(_)) if self.confirmed => Ok(()),
            Ok(()) => Err(Fault::Silence("200 to the INVITE")),
            Err(fault) => Err(fault),
        }
    }

    /// A refusal that has come already, if any.
    pub(crate) fn refusal(&mut self) -> Option<Fault> {
        while let Ok(arrival) = self.mailbox.try_recv() {
            let (status, phrase) = (arrival.message.status(), arrival.message.phrase());
            if status >= 300 {
                return Some(Fault::Refused { status, phrase: phrase.to_owned() });
            }
        }
        None
    }

    /// Waits for a final answer that refuses, and gives its status.
    pub async fn refused(&mut self, limit: Duration) -> Result<u16, Fault> {
        match self.until(limit, "refusal", |_| None::<()>).await {
            Err(Fault::Refused { status, .. }) => Ok(status),
            Err(fault) => Err(fault),
            Ok(()) => Err(Fault::Silence("refusal")),
        }
    }

    /// Cancels the INVITE and waits for its 487.
    pub async fn cancel(&mut self, limit: Duration) -> Result<(), Fault> {
        let reason = self.core.dialect.reason(&self.contact, 16, "Cancelled");
        self.cancel_with(&reason, limit).await
    }

    /// The same with header lines of one's own.
    pub async fn cancel_with(&mut self, extra: &str, limit: Duration) -> Result<(), Fault> {
        let Side::Caller { invite, channel } = &self.side else {
            return Err(Fault::Ended("CANCEL"));
        };
        let head = Head {
            method: "CANCEL",
            contact: String::new(),
            record_route: String::new(),
            extra: extra.to_owned(),
            sdp: String::new(),
            kind: String::new(),
            ..(**invite).clone()
        };
        self.core.send(channel, self.core.dialect.request(&head)).await;
        match self.refused(limit).await? {
            487 => Ok(()),
            status => Err(Fault::Refused { status, phrase: "instead of 487".to_owned() }),
        }
    }

    /// Waits for an answer to the first INVITE that `wanted` accepts; a final one ends the wait.
    async fn until<T>(
        &mut self,
        limit: Duration,
        what: &'static str,
        mut wanted: impl FnMut(&Message) -> Option<T>,
    ) -> Result<T, Fault> {
        let last = Instant::now() + limit;
        loop {
            let message = self.next(last, what).await?;
            if message.is_request() || message.method() != "INVITE" {
                continue;
            }
            if let Some(found) = wanted(&message) {
                return Ok(found);
            }
            match message.status() {
                0..=199 => {}
                200..=299 => return Err(Fault::Ended(what)),
                status => {
                    return Err(Fault::Refused { status, phrase: message.phrase().to_owned() });
                }
            }
        }
    }

    /// An answer to an INVITE of ours, the first or a later one.
    pub(super) async fn responded(&mut self, arrival: &Arrival) -> Result<(), Fault> {
        let message = &arrival.message;
        if message.status() >= 300 {
            self.late = false;
            return Ok(());
        }
        let accepted = message.status() >= 200;
        if accepted && self.confirmed {
            self.dialog.refresh(message);
        } else if accepted {
            self.dialog.accepted(message, &self.record_route);
        }
        if let Some(sdp) = message.sdp() {
            self.apply(&sdp).await?;
        }
        if !accepted {
            return Ok(());
        }
        let sdp = if std::mem::take(&mut self.late) {
            self.answer_sdp("sendrecv")?
        } else {
            String::new()
        };
        let (head, channel) = self.head("ACK", message.cseq(), "", &sdp).await?;
        let ack = self.core.dialect.request(&head);
        self.core.acknowledge(message, &channel, ack).await;
        self.confirmed = true;
        if self.remote.is_none() { Err(Fault::Media("no answer in the 200")) } else { Ok(()) }
    }
}
