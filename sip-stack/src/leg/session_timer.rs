//! Session timers (RFC 4028): both ends agree on an interval, one of them refreshes, and a session
//! that is not refreshed is ended by BYE.
//!
//! Refreshes are re-INVITEs with our last SDP, unchanged. An UPDATE is never sent. The refresher
//! is whom the 2xx names; as the called side we let the caller refresh unless it wants us to, or
//! cannot. An interval under 90 s is refused with 422, or read as 90 s where 422 is not allowed
//! (a peer without `timer` in Supported, a 2xx). The session ends min(32 s, interval / 3) before
//! its interval runs out (§10).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::offer_answer::Exchange;
use super::timer::Timer;
use super::{EndedBy, Leg, LegIdentity, Outbox, Phase, supports};
use crate::message::{Draft, HeaderId, Message};

/// The session timer of one leg.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    /// What our initial INVITE asks for.
    asked: Option<Duration>,
    /// The smallest interval that the peer's side takes, as far as we know.
    min_se: Duration,
    /// What was agreed.
    pub(super) agreed: Option<Agreed>,
}

/// An interval that both ends agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) interval: Duration,
    pub(super) we_refresh: bool,
}

impl Default for Session {
    fn default() -> Self {
        Self { asked: None, min_se: FLOOR, agreed: None }
    }
}

impl Session {
    /// Session-Expires, and Min-SE if it is not the default, into our initial INVITE.
    pub(super) fn ask(&self, draft: &mut Draft) {
        if let Some(interval) = self.asked {
            draft.set(HeaderId::SessionExpires, interval.as_secs().to_string());
            self.push_min_se(draft);
        }
    }

    fn push_min_se(&self, draft: &mut Draft) {
        if self.min_se > FLOOR {
            draft.set(HeaderId::MinSe, self.min_se.as_secs().to_string());
        }
    }
}

impl Leg {
    /// Begins an initial INVITE of ours.
    pub(super) fn ask_for_session(&mut self, draft: &mut Draft) {
        if takes_part(&self.identity) {
            self.session.asked = self.identity.session_expires.map(|wish| wish.max(FLOOR));
            self.session.ask(draft);
        }
    }

    /// Keeps what was agreed in a re-INVITE of ours (§7.4).
    pub(super) fn keep_session(&self, draft: &mut Draft) {
        if let Some(agreed) = self.session.agreed {
            let refresher = if agreed.we_refresh { "uac" } else { "uas" };
            let value = format!("{};refresher={refresher}", agreed.interval.as_secs());
            draft.set(HeaderId::SessionExpires, value);
            self.session.push_min_se(draft);
        }
    }

    /// A 422 to a request of ours (§7.3): takes over its Min-SE; whether to try again.
    pub(super) fn raise_session(&mut self, message: &Message) -> bool {
        let Some(min_se) = message.value(HeaderId::MinSe).and_then(seconds) else { return false };
        let current = self.session.agreed.map(|agreed| agreed.interval).or(self.session.asked);
        let Some(current) = current else { return false };
        if min_se <= current || min_se > CEILING {
            return false;
        }
        self.session.min_se = min_se;
        self.session.asked = self.session.asked.map(|_| min_se);
        if let Some(agreed) = &mut self.session.agreed {
            agreed.interval = min_se;
        }
        true
    }

    /// A 2xx to an INVITE of ours (§7.2): without Session-Expires the session does not expire.
    pub(super) fn take_session(&mut self, response: &Message, now: Instant) {
        let wish = Wish::of(response).filter(|_| takes_part(&self.identity));
        self.session.agreed = wish.map(|wish| Agreed {
            interval: wish.interval.clamp(FLOOR, CEILING),
            we_refresh: wish.refresher != Some(Refresher::Uas),
        });
        self.restart_session(now);
    }

    /// Our 2xx to an INVITE or UPDATE of the peer (§9).
    pub(super) fn grant_session(&mut self, request: &Message, draft: &mut Draft, now: Instant) {
        let wish = Wish::of(request).filter(|_| takes_part(&self.identity));
        self.session.agreed = wish.map(|wish| {
            let peer_can = peer_takes_part(request);
            let we_refresh = !peer_can || wish.refresher == Some(Refresher::Uas);
            Agreed { interval: wish.interval.clamp(FLOOR, CEILING), we_refresh }
        });
        if let Some(agreed) = self.session.agreed {
            let refresher = if agreed.we_refresh { "uas" } else { "uac" };
            let value = format!("{};refresher={refresher}", agreed.interval.as_secs());
            draft.set(HeaderId::SessionExpires, value);
            if !agreed.we_refresh {
                draft.push(HeaderId::Require, Bytes::from_static(b"timer"));
            }
        }
        self.restart_session(now);
    }

    fn restart_session(&mut self, now: Instant) {
        self.timers.stop(Timer::Refresh);
        self.timers.stop(Timer::Expiry);
        if let Some(agreed) = self.session.agreed {
            let margin = (agreed.interval / 3).min(Duration::from_secs(32));
            self.timers.set(Timer::Expiry, now + agreed.interval - margin);
            if agreed.we_refresh {
                self.timers.set(Timer::Refresh, now + agreed.interval / 2);
            }
        }
    }

    /// [`Timer::Refresh`].
    pub(super) fn refresh(&mut self, now: Instant, out: &mut Outbox) {
        let free = matches!(self.phase, Phase::Talking)
            && matches!(self.offers.exchange, Exchange::Idle)
            && self.offers.next.is_none();
        match self.offers.local.clone() {
            Some(sdp) if free => self.send_offer(sdp, true, now, out),
            Some(_) | None => self.timers.set(Timer::Refresh, now + AGAIN),
        }
    }

    /// A refresh was refused, which does not end the session: again, until it expires.
    pub(super) fn refresh_refused(&mut self, now: Instant) {
        if self.session.agreed.is_some() {
            self.timers.set(Timer::Refresh, now + AGAIN);
        }
    }

    /// [`Timer::Expiry`].
    pub(super) fn expired(&mut self, now: Instant, out: &mut Outbox) {
        self.end(EndedBy::Expired, None, now, out);
    }
}

/// 422 for a Session-Expires under our floor, from a peer that understands a 422 (§9).
pub(super) fn too_brief(request: &Message, identity: &LegIdentity) -> Option<Draft> {
    let wish = Wish::of(request)?;
    if wish.interval >= FLOOR || !takes_part(identity) || !peer_takes_part(request) {
        return None;
    }
    let mut draft = Draft::response(request, 422);
    draft.push(HeaderId::MinSe, FLOOR.as_secs().to_string());
    Some(draft)
}

/// A Session-Expires value.
struct Wish {
    interval: Duration,
    refresher: Option<Refresher>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Refresher {
    Uac,
    Uas,
}

impl Wish {
    fn of(message: &Message) -> Option<Self> {
        let value = message.value(HeaderId::SessionExpires)?;
        let mut parts = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let interval = seconds(parts.next()?)?;
        let refresher = parts.find_map(|part| {
            let (name, value) = part.split_at(part.iter().position(|byte| *byte == b'=')?);
            if !name.trim_ascii().eq_ignore_ascii_case(b"refresher") {
                return None;
            }
            match value[1..].trim_ascii().to_ascii_lowercase().as_slice() {
                b"uac" => Some(Refresher::Uac),
                b"uas" => Some(Refresher::Uas),
                _ => None,
            }
        });
        Some(Self { interval, refresher })
    }
}

fn takes_part(identity: &LegIdentity) -> bool {
    supports(&identity.supported, b"timer")
}

fn peer_takes_part(request: &Message) -> bool {
    request
        .elements(HeaderId::Supported)
        .chain(request.elements(HeaderId::Require))
        .any(|tag| tag.eq_ignore_ascii_case(b"timer"))
}

/// Delta-seconds, with parameters behind it or not.
fn seconds(value: &[u8]) -> Option<Duration> {
    let digits = value.split(|byte| *byte == b';').next()?.trim_ascii();
    let seconds: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

/// RFC 4028 §4: the smallest Min-SE.
const FLOOR: Duration = Duration::from_secs(90);
/// A longer interval is read as this one; a 422 that wants more is not heeded.
const CEILING: Duration = Duration::from_secs(86_400);
/// When a refresh that could not be sent or was refused is tried again.
const AGAIN: Duration = Duration::from_secs(10);
