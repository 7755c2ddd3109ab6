//! The callee's steps: several phones ring, one or two of them answer, or nobody does.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::{Call, Fault};
use crate::clock;
use crate::sip::Message;

use super::Side;

impl Call {
    /// Rings as one of several endpoints, each with a To-tag of its own.
    pub async fn ring(&mut self, status: u16, fork: usize) {
        self.provisional(status, fork, "").await;
    }

    /// 183 with SDP: media before the answer.
    pub async fn progress(&mut self, fork: usize) -> Result<(), Fault> {
        let sdp = self.answer_sdp("sendrecv")?;
        self.provisional(183, fork, &sdp).await;
        Ok(())
    }

    /// 200 with SDP on one of the forks; waits for the ACK.
    pub async fn answer(&mut self, fork: usize, limit: Duration) -> Result<(), Fault> {
        self.answer_with(fork, "", limit).await
    }

    /// The same with header lines of one's own.
    pub async fn answer_with(
        &mut self,
        fork: usize,
        extra: &str,
        limit: Duration,
    ) -> Result<(), Fault> {
        let tag = self.tag(fork);
        let Side::Callee { invite, cancelled: false, .. } = &self.side else {
            return Err(Fault::Ended("the answer"));
        };
        self.dialog.local = invite.message.header("To").unwrap_or_default().to_owned();
        self.dialog.local.push_str(";tag=");
        self.dialog.local.push_str(&tag);
        self.accept(&tag, extra).await?;
        self.acknowledged(&tag, limit).await?;
        self.confirmed = true;
        Ok(())
    }

    /// Another endpoint answers too: waits for the ACK of its 200 and for the BYE that ends it.
    pub async fn answer_too(&mut self, fork: usize, limit: Duration) -> Result<(), Fault> {
        let tag = self.tag(fork);
        self.accept(&tag, "").await?;
        self.acknowledged(&tag, limit).await?;
        self.wait(limit, "BYE of the second answer", |message| {
            let theirs = message.is_request() && message.to_tag() == Some(&tag);
            (theirs && message.method() == "BYE").then_some(())
        })
        .await
    }

    /// Refuses.
    pub async fn refuse(&mut self, status: u16, phrase: &str) {
        self.refuse_with(status, phrase, "").await;
    }

    /// Refuses with a header line.
    pub async fn refuse_with(&mut self, status: u16, phrase: &str, extra: &str) {
        if let Side::Callee { invite, .. } = &self.side {
            self.core.reply_with(invite, status, phrase, extra).await;
        }
    }

    /// Waits until the caller has given up; the 487 is sent here. Gives the CANCEL.
    pub async fn cancelled(&mut self, limit: Duration) -> Result<Arc<Message>, Fault> {
        let mut cancel = None;
        self.wait(limit, "CANCEL and the ACK of its 487", |message| {
            if message.method() == "CANCEL" {
                cancel = Some(Arc::clone(message));
            }
            (message.method() == "ACK").then_some(())
        })
        .await?;
        cancel.ok_or(Fault::Silence("CANCEL"))
    }

    /// The caller has given up.
    pub(super) async fn given_up(&mut self) {
        let Side::Callee { invite, cancelled, .. } = &mut self.side else { return };
        *cancelled = true;
        let invite = invite.clone();
        let tag = self.tag(0);
        let phrase = "Request Terminated";
        let bytes = self.core.dialect.response(&invite.message, 487, phrase, &tag, None, "", "");
        self.core.answer(&invite, bytes).await;
    }

    async fn accept(&mut self, tag: &str, extra: &str) -> Result<(), Fault> {
        let sdp = self.answer_sdp("sendrecv")?;
        let Side::Callee { invite, .. } = &self.side else {
            return Err(Fault::Ended("the answer"));
        };
        let (message, face) = (&invite.message, self.face());
        let bytes = self.core.dialect.response(message, 200, "OK", tag, Some(&face), extra, &sdp);
        self.core.answer(&invite.clone(), bytes).await;
        Ok(())
    }

    async fn acknowledged(&mut self, tag: &str, limit: Duration) -> Result<(), Fault> {
        self.wait(limit, "ACK", |message| {
            (message.method() == "ACK" && message.to_tag() == Some(tag)).then_some(())
        })
        .await
    }

    async fn provisional(&mut self, status: u16, fork: usize, sdp: &str) {
        let tag = self.tag(fork);
        let Side::Callee { invite, cancelled: false, .. } = &self.side else {
            return;
        };
        let phrase = match status {
            180 => "Ringing",
            181 => "Call Is Being Forwarded",
            _ => "Session Progress",
        };
        let message = &invite.message;
        let dialect = &self.core.dialect;
        let bytes = dialect.response(message, status, phrase, &tag, Some(&self.face()), "", sdp);
        self.core.answer(&invite.clone(), bytes).await;
    }

    fn tag(&mut self, fork: usize) -> String {
        let Side::Callee { tags, .. } = &mut self.side else {
            return String::new();
        };
        while tags.len() <= fork {
            tags.push(clock::token::<4>());
        }
        tags[fork].clone()
    }
}
