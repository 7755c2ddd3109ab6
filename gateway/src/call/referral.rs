//! REFER of a trunk that is passed on (RFC 3515): where its `refer` is "pass" and the other side is a trunk as well, that
//! one is asked to call the target by itself. Its answer and its NOTIFYs come back in words of our own; any other REFER is
//! [`super::transfer`]'s.
//!
//! ```text
//! input                    | none          | asked                  | accepted
//! -------------------------+---------------+------------------------+----------------------------------
//! REFER                    | to the other  | 491                    | 491
//! 2xx to ours              | -             | 2xx, → accepted        | -
//! failure of ours          | -             | the same, → none       | -
//! 20 s                     | -             | 504, → none            | -
//! 180 s without a NOTIFY   | -             | -                      | NOTIFY: 408, the last one; → none
//! NOTIFY of the other side | 481           | as after 202, which it | 200; NOTIFY with a new status;
//!                          |               | has overtaken          | the last one → none
//! ```
//!
//! Who hangs up ends the call, as always: after a transfer that came about, the referrer does.

use std::time::{Duration, Instant};

use bytes::Bytes;
use config::Refer;
use sip_stack::endpoint::ServerId;
use sip_stack::leg::Extra;
use sip_stack::message::{HeaderId, Message};

use super::transfer::{SUBSCRIPTION, count};
use super::{Call, Context};
use crate::event;
use crate::routing::End;

/// A REFER that was passed on.
#[derive(Debug)]
pub(super) struct Referral {
    /// The leg that asked.
    referrer: usize,
    /// Its REFER, while that is not answered.
    open: Option<(ServerId, Message)>,
    /// The Event of our NOTIFYs.
    event: Bytes,
    /// What it was told last.
    told: u16,
    /// When it is answered, and then when its subscription ends, if the other side says nothing.
    pub(super) due: Instant,
}

impl Call {
    /// A leg wants the other side to talk to somebody else.
    pub(super) fn refer(
        &mut self,
        at: usize,
        server: ServerId,
        refer: &Message,
        cx: &mut Context<'_>,
    ) {
        let Some(other) = self.other(at).filter(|other| self.passes(at, *other)) else {
            return self.referred(at, server, refer, cx);
        };
        // Headers in it would name what exists on our side only, a dialog above all (Replaces).
        let plain = |uri: &[u8]| if uri.contains(&b'?') { Err(603) } else { Ok(()) };
        let target = self.refer_to(at, refer).and_then(|it| plain(it.uri).map(|()| it.uri));
        let target = match target {
            Ok(uri) => [b"<", uri, b">"].concat(),
            Err(status) => {
                count(event::Transfer::Refused, cx);
                return self.respond(at, server, refer, status, cx);
            }
        };
        let mut headers: Vec<Extra> = vec![(HeaderId::ReferTo, target.into())];
        let by = refer.value(HeaderId::ReferredBy).map(Bytes::copy_from_slice);
        headers.extend(by.map(|by| (HeaderId::ReferredBy, by)));
        let mut sent = false;
        self.on_leg(other, cx, |leg, _, out| sent = leg.refer(&headers, out));
        if !sent {
            count(event::Transfer::Refused, cx);
            return self.respond(at, server, refer, 491, cx);
        }
        tracing::info!(call = self.story.id(), "transfer passed on");
        count(event::Transfer::Passed, cx);
        let event = self.next_event(refer);
        let open = Some((server, refer.clone()));
        let due = cx.now + PATIENCE;
        self.referral = Some(Referral { referrer: at, open, event, told: 0, due });
    }

    /// The other side's answer to it.
    pub(super) fn referral_answered(&mut self, status: u16, cx: &mut Context<'_>) {
        let Some(referral) = &mut self.referral else { return };
        let Some((server, refer)) = referral.open.take() else { return };
        let (referrer, accepted) = (referral.referrer, status < 300);
        referral.due = cx.now + SUBSCRIPTION;
        if !accepted {
            self.referral = None;
        }
        self.respond(referrer, server, &refer, if accepted { 202 } else { status }, cx);
    }

    /// The other side says nothing: the referrer hears of it before it gives up.
    pub(super) fn referral_timeout(&mut self, cx: &mut Context<'_>) {
        let Some(referral) = self.referral.take_if(|it| it.due <= cx.now) else { return };
        if referral.open.is_some() {
            self.referral = Some(referral);
            return self.referral_answered(504, cx);
        }
        self.notify(referral.referrer, &referral.event, 408, true, cx);
    }

    /// How the other side's call fares; a NOTIFY may come before the 2xx to the REFER, whose acceptance it shows (RFC 6665
    /// §4.1.2.4). There are no other subscriptions (§4.1.3).
    pub(super) fn notified(
        &mut self,
        at: usize,
        server: ServerId,
        notify: &Message,
        cx: &mut Context<'_>,
    ) {
        let other = self.other(at);
        if self.referral.as_ref().is_none_or(|it| other != Some(it.referrer)) {
            return self.respond(at, server, notify, 481, cx);
        }
        self.referral_answered(202, cx);
        let Some(referral) = &mut self.referral else { return };
        let state = notify.value(HeaderId::SubscriptionState).unwrap_or_default();
        let last = state.len() >= ENDED.len() && state[..ENDED.len()].eq_ignore_ascii_case(ENDED);
        let status = match status_in(&notify.body()) {
            Some(status) => status,
            None if last => 503,
            None => referral.told,
        };
        let news = referral.told != status || last;
        referral.told = status;
        if news {
            referral.due = cx.now + SUBSCRIPTION;
        }
        let (referrer, event) = (referral.referrer, referral.event.clone());
        if last {
            self.referral = None;
        }
        self.respond(at, server, notify, 200, cx);
        if news {
            self.notify(referrer, &event, status, last, cx);
        }
    }

    /// Whether a REFER of this leg is for the other side.
    fn passes(&self, at: usize, other: usize) -> bool {
        let [Some(End::Trunk(trunk)), Some(End::Trunk(_))] =
            [at, other].map(|leg| self.legs[leg].end)
        else {
            return false;
        };
        self.routes.config().trunks[trunk.0].refer == Refer::Pass
    }
}

/// The status in a message/sipfrag (RFC 3420).
fn status_in(fragment: &[u8]) -> Option<u16> {
    let digits = fragment.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    let status: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (100..700).contains(&status).then_some(status)
}

/// Who sent a REFER waits 64*T1 for an answer, and then takes the dialog for gone (RFC 3261 §12.2.1.2).
const PATIENCE: Duration = Duration::from_secs(20);
const ENDED: &[u8] = b"terminated";
