//! A callee that names another destination (3xx, RFC 3261 §8.1.3.4): refused, or followed where its trunk has
//! `redirects = "follow"`.
//!
//! What is followed is the number in the first Contact, by preference, that was not asked yet. It goes where it would go if
//! the caller had dialled it: by the caller's plan, with permits for the ends that it leads to. At most two are followed,
//! each one an attempt of its own in the record; what cannot be followed is refused as before.

use config::Redirects;
use sip_stack::message::{HeaderId, Message, NameAddr};
use sip_stack::uri::Uri;

use super::{CALLEE, CALLER, Call, Context};
use crate::numbers::{Masked, Number};
use crate::profile;
use crate::routing::{End, Hop};

impl Call {
    /// Hops to where a 3xx of the callee leads; none where that is not followed.
    pub(super) fn redirected(
        &mut self,
        message: &Message,
        cx: &mut Context<'_>,
    ) -> Option<Vec<Hop>> {
        let at = self.attempts.tried_hop()?;
        let End::Trunk(trunk) = at.end() else { return None };
        let follows = self.routes.config().trunks[trunk.0].dialect.redirects == Redirects::Follow;
        // Somebody who has sent early media has begun to speak for the callee.
        let spoke = self.media.side(CALLEE).agreed().is_some();
        if !follows || spoke || self.transfer.is_some() || self.asked.len() >= MOST_TARGETS {
            return None;
        }
        let number = self.target_of(message, at.end())?;
        let from = self.legs[CALLER].end?;
        let help = self.routes.is_help(from, b"", &number);
        let plan = self.routes.plan(from, &number, help, cx.rank, cx.random).ok()?;
        let to = Masked::new(number.as_str(), self.routes.config().log.mask_numbers).to_string();
        tracing::info!(call = self.story.id(), status = message.status(), %to, "redirected");
        self.asked.push(std::mem::replace(&mut self.called, number));
        Some(plan.hops)
    }

    /// The number of the Contact that is preferred among those not asked yet.
    fn target_of(&self, message: &Message, end: End) -> Option<Number> {
        let contacts = message.elements(HeaderId::Contact).take(MOST_READ);
        let read = |contact| {
            let address = NameAddr::parse(contact).ok()?;
            let uri = Uri::parse(address.uri).ok()?;
            let number = profile::number(&uri, "", self.routes.country(end))?;
            let new = number != self.called && !self.asked.contains(&number);
            new.then(|| (preference(address.param("q").flatten()), number))
        };
        let mut targets: Vec<(u16, Number)> = contacts.filter_map(read).collect();
        targets.sort_by_key(|(preference, _)| std::cmp::Reverse(*preference));
        targets.into_iter().next().map(|(_, number)| number)
    }
}

/// A q-value in thousandths (RFC 3261 §25.1: "0" to "1", at most three decimals); 1 where there is none.
fn preference(value: Option<&[u8]>) -> u16 {
    let text = value.and_then(|value| std::str::from_utf8(value).ok());
    let Some((whole, decimals)) = text.map(|text| text.split_once('.').unwrap_or((text, "")))
    else {
        return 1000;
    };
    let digits = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    match (whole, digits) {
        ("0", true) => format!("{decimals:0<3}").parse().unwrap_or_default(),
        _ => 1000,
    }
}

/// Redirections of one call that are followed.
const MOST_TARGETS: usize = 2;
/// Contacts that are looked at.
const MOST_READ: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_values_are_thousandths() {
        for (text, want) in [
            ("0", 0),
            ("0.5", 500),
            ("0.05", 50),
            ("0.123", 123),
            ("1", 1000),
            ("1.0", 1000),
            ("x", 1000),
        ] {
            assert_eq!(preference(Some(text.as_bytes())), want, "{text}");
        }
        assert_eq!(preference(None), 1000);
    }
}
