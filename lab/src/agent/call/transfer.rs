//! Transfers: REFER and what is told of it (RFC 3515), INVITE with Replaces (RFC 3891).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::agent::{Call, Fault, Invite, digits};
use crate::sip::{Message, host_of, tag_of, uri_of};

/// Who is asked for, and the words about who asks.
#[derive(Clone, Debug)]
pub struct Order {
    /// Refer-To.
    pub target: String,
    /// What is in that and in no other.
    pub token: String,
    /// Referred-By; empty for none.
    pub by: String,
}

impl Call {
    /// A target as this kind of end names it, with a Referred-By that grows with `length`.
    #[must_use]
    pub fn order(&self, length: usize) -> Order {
        let home = self.core.homes[self.home % self.core.homes.len()].address;
        self.core.dialect.order(home, length)
    }

    /// Another call of ours takes the place of this one, by INVITE with Replaces.
    pub async fn take_over(&mut self, limit: Duration) -> Result<Self, Fault> {
        let host = host_of(&self.dialog.target).to_owned();
        let [ours, theirs] = [&self.dialog.local, &self.dialog.remote]
            .map(|value| format!("+{}", digits(uri_of(value).split('@').next().unwrap_or(""))));
        let invite = Invite::new(&ours, &theirs, &host).with(&self.replaces());
        let mut heir = Box::pin(Self::outgoing(&self.core, invite)).await?;
        heir.answered(limit).await?;
        Ok(heir)
    }

    /// Asks the other side to call somebody else in our place; gives the status of its answer.
    pub async fn refer(&mut self, to: &str, by: &str, limit: Duration) -> Result<u16, Fault> {
        let cased = |name: &str| self.core.dialect.cased(name);
        let mut extra = format!("{}: <{to}>", cased("Refer-To"));
        if !by.is_empty() {
            extra.push_str(&format!("\r\n{}: {by}", cased("Referred-By")));
        }
        Ok(self.ask("REFER", &extra, "", limit).await?.status())
    }

    /// The next NOTIFY: how the request that was asked for fares.
    pub async fn notified(&mut self, limit: Duration) -> Result<Arc<Message>, Fault> {
        let last = Instant::now() + limit;
        loop {
            if let Some(notice) = self.notices.pop_front() {
                return Ok(notice);
            }
            self.next(last, "NOTIFY").await?;
        }
    }

    /// This dialog as the other side knows it, in the form of a Replaces header.
    #[must_use]
    pub fn replaces(&self) -> String {
        let [theirs, ours] =
            [&self.dialog.remote, &self.dialog.local].map(|value| tag_of(value).unwrap_or(""));
        format!(
            "{}: {};to-tag={theirs};from-tag={ours}",
            self.core.dialect.cased("Replaces"),
            self.dialog.call_id
        )
    }
}
