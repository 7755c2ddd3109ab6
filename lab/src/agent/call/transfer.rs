//! Transfers: REFER and what is told of it (RFC 3515), INVITE with Replaces (RFC 3891).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::agent::{Call, Fault};
use crate::sip::{Message, tag_of};

impl Call {
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
        format!("Replaces: {};to-tag={theirs};from-tag={ours}", self.dialog.call_id)
    }
}
