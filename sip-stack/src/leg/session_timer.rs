//! Session timers (RFC 4028): both ends agree on an interval, one of them refreshes, and a session
//! that is not refreshed is ended by BYE.
//!
//! Refreshes are re-INVITEs with our last SDP, unchanged. An UPDATE is never sent. The refresher
//! is whom the 2xx names; as the called side we let the caller refresh unless it wants us to, or
//! cannot. An interval under 90 s is refused with 422, or read as 90 s where 422 is not allowed
//! (a peer without `timer` in Supported, a 2xx). The session ends min(32 s, interval / 3) before
//! its interval runs out (§10).
//!
//! A leg that another process had and that has no interval is asked after once, by the same
//! re-INVITE: whoever answers has the session, 408, 481 or silence ends it, and so does a peer that
//! cannot be reached for minutes.

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

    /// A 422 to a request of ours (§7.3): takes over its Min-SE; whether to try again. An initial
    /// INVITE that asked for no interval asks for that one then: somebody on the way must have
    /// asked in our place (§8.1).
    pub(super) fn raise_session(&mut self, message: &Message) -> bool {
        let Some(min_se) = message.value(HeaderId::MinSe).and_then(seconds) else { return false };
        let current = self.session.agreed.map(|agreed| agreed.interval).or(self.session.asked);
        let initial = matches!(self.phase, Phase::Calling(_)) && takes_part(&self.identity);
        let Some(current) = current.or_else(|| initial.then_some(Duration::ZERO)) else {
            return false;
        };
        if min_se <= current || min_se > CEILING {
            return false;
        }
        let min_se = min_se.max(FLOOR);
        self.session.min_se = min_se;
        if initial || self.session.asked.is_some() {
            self.session.asked = Some(min_se);
        }
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

    /// Finds out whether the peer still has the session, soon; restored legs each at their own
    /// moment.
    pub(super) fn ask_after(&mut self, now: Instant) {
        let wait = Duration::from_millis(self.random.between(1000, ASKED_WITHIN_MS));
        self.timers.set(Timer::Refresh, now + wait);
        self.timers.set(Timer::Expiry, now + UNREACHABLE);
    }

    /// The peer answered a re-INVITE of ours, if only by a refusal: it has the session. An interval
    /// that was agreed holds whatever it answered.
    pub(super) const fn peer_is_there(&mut self) {
        if self.session.agreed.is_none() {
            self.timers.stop(Timer::Expiry);
            self.timers.stop(Timer::Refresh);
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

    /// A refresh was refused or did not reach the peer, which does not end the session: again, until
    /// it expires.
    pub(super) fn refresh_refused(&mut self, now: Instant) {
        if self.timers.runs(Timer::Expiry) {
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
/// Restored legs that are asked after are spread over as long, in milliseconds.
const ASKED_WITHIN_MS: u64 = 30_000;
/// How long a peer that is asked after may be out of reach.
const UNREACHABLE: Duration = Duration::from_secs(300);
/// When a refresh that could not be sent or was refused is tried again.
const AGAIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::super::rig::{OURS, Rig, THEIRS, identity};
    use super::super::{Failure, State};
    use super::*;

    fn agreed_as_caller(session: &str) -> Rig {
        let mut asks = identity();
        asks.session_expires = Some(Duration::from_secs(1800));
        let mut rig = Rig::calling_as(asks, OURS);
        rig.response_with("INVITE", 1, 200, "them", session, THEIRS);
        rig.drain();
        rig
    }

    fn agreed_as_called(headers: &str) -> Rig {
        let mut rig = Rig::called_with(headers, THEIRS);
        rig.answer(OURS);
        rig
    }

    #[test]
    fn we_refresh_at_half_time_with_our_last_sdp() {
        let mut rig = agreed_as_caller("Session-Expires: 1800;refresher=uac");
        rig.seconds(899);
        assert!(rig.drain().is_empty());
        rig.seconds(1);
        assert_eq!(rig.header(HeaderId::SessionExpires), "1800;refresher=uac");
        assert_eq!(rig.last_draft().payload(), OURS);
        assert_eq!(rig.drain(), ["INVITE 2 +sdp"]);
        let session = "Session-Expires: 1800;refresher=uac";
        rig.response_with("INVITE", 2, 200, "them", session, THEIRS);
        assert_eq!(rig.drain(), ["ACK"], "nothing to tell");
        rig.seconds(900);
        assert_eq!(rig.drain(), ["INVITE 3 +sdp"], "and so on");
    }

    #[test]
    fn refresh_that_brings_a_change_is_told() {
        let mut rig = agreed_as_caller("Session-Expires: 1800;refresher=uac");
        rig.seconds(900);
        rig.drain();
        rig.response("INVITE", 2, 200, "them", "v=0 changed");
        assert_eq!(rig.drain(), ["ACK", "Refreshed v=0 changed"]);
    }

    #[test]
    fn peer_that_does_not_refresh_is_hung_up_on() {
        let mut rig = agreed_as_caller("Session-Expires: 1800;refresher=uas");
        rig.seconds(1767);
        assert!(rig.drain().is_empty());
        rig.seconds(1);
        assert_eq!(rig.drain(), ["BYE 2", "Ended Expired"]);
    }

    #[test]
    fn peers_refresh_begins_the_interval_anew() {
        for (method, sdp) in [("INVITE", THEIRS), ("UPDATE", "")] {
            let mut rig = agreed_as_called("Supported: timer\nSession-Expires: 1800;refresher=uac");
            rig.ack(10, "");
            rig.drain();
            for cseq in 11..14 {
                rig.seconds(900);
                let session = "Supported: timer\nSession-Expires: 1800;refresher=uac";
                rig.request(method, session, sdp);
                assert_eq!(rig.header(HeaderId::SessionExpires), "1800;refresher=uac");
                assert_eq!(rig.drain().len(), 1);
                rig.ack(cseq, "");
            }
            rig.seconds(1767);
            assert!(rig.drain().is_empty());
            rig.seconds(1);
            assert_eq!(rig.drain(), ["BYE 1", "Ended Expired"]);
        }
    }

    #[test]
    fn interval_under_the_floor_from_a_2xx_is_read_as_the_floor() {
        let mut rig = agreed_as_caller("Session-Expires: 1;refresher=uac");
        rig.seconds(44);
        assert!(rig.drain().is_empty());
        rig.seconds(1);
        assert_eq!(rig.drain(), ["INVITE 2 +sdp"]);
    }

    #[test]
    fn no_session_expires_in_the_2xx_means_no_expiry() {
        let mut rig = agreed_as_caller("");
        rig.seconds(100_000);
        assert!(rig.drain().is_empty());
    }

    #[test]
    fn refresher_is_the_caller_unless_it_wants_or_needs_us() {
        for (headers, answer, require) in [
            ("Supported: timer\nSession-Expires: 1800", "1800;refresher=uac", "timer"),
            ("k: timer\nx: 1800;refresher=uac", "1800;refresher=uac", "timer"),
            ("Supported: timer\nSession-Expires: 1800;Refresher=UAS", "1800;refresher=uas", ""),
            ("Session-Expires: 1800", "1800;refresher=uas", ""),
            ("Session-Expires: 30", "90;refresher=uas", ""),
            ("Supported: timer\nSession-Expires: 4294967295", "86400;refresher=uac", "timer"),
            ("Supported: timer\nSession-Expires: 99999999999", "", ""),
            ("Supported: timer\nSession-Expires: soon", "", ""),
            ("Supported: timer", "", ""),
        ] {
            let rig = agreed_as_called(headers);
            assert_eq!(rig.header(HeaderId::SessionExpires), answer, "{headers}");
            assert_eq!(rig.header(HeaderId::Require), require, "{headers}");
        }
    }

    #[test]
    fn as_called_side_we_refresh_when_asked_to() {
        let mut rig = agreed_as_called("Supported: timer\nSession-Expires: 200;refresher=uas");
        rig.ack(10, "");
        rig.drain();
        rig.seconds(100);
        assert_eq!(rig.header(HeaderId::SessionExpires), "200;refresher=uac");
        assert_eq!(rig.drain(), ["INVITE 1 +sdp"]);
    }

    #[test]
    fn without_timer_in_supported_we_take_no_part() {
        let mut shy = identity();
        shy.supported = "replaces".into();
        shy.session_expires = Some(Duration::from_secs(1800));
        let mut rig = Rig::calling_as(shy.clone(), OURS);
        assert_eq!(rig.header(HeaderId::SessionExpires), "");
        let session = "Session-Expires: 90;refresher=uac";
        rig.response_with("INVITE", 1, 200, "them", session, THEIRS);
        rig.drain();
        rig.seconds(1000);
        assert!(rig.drain().is_empty());
        let brief = Rig::invite_with("Supported: timer\nSession-Expires: 30", THEIRS);
        assert!(Leg::refusal(&brief, &shy).is_none());
    }

    #[test]
    fn interval_under_the_floor_is_refused() {
        for (headers, refused) in [
            ("Supported: timer\nSession-Expires: 1", true),
            ("Supported: timer\nSession-Expires: 89;refresher=uac", true),
            ("Supported: timer\nSession-Expires: 90", false),
            ("Session-Expires: 1", false),
        ] {
            let invite = Rig::invite_with(headers, THEIRS);
            let refusal = Leg::refusal(&invite, &identity());
            assert_eq!(refusal.is_some(), refused, "{headers}");
            if let Some(draft) = refusal {
                assert_eq!(draft.status(), 422);
                assert_eq!(draft.value(HeaderId::MinSe), Some(&b"90"[..]));
            }
        }
        let mut rig = Rig::talking();
        rig.request("INVITE", "Supported: timer\nSession-Expires: 1", THEIRS);
        rig.request("UPDATE", "Supported: timer\nSession-Expires: 1", "");
        assert_eq!(rig.drain(), ["422 INVITE", "422 UPDATE"]);
    }

    #[test]
    fn refused_refresh_is_tried_again_until_the_session_expires() {
        let mut rig = agreed_as_caller("Session-Expires: 90;refresher=uac");
        let mut refused = 0;
        let ended = loop {
            rig.seconds(1);
            let words = rig.drain();
            if let Some(ended) = words.iter().find(|word| word.starts_with("Ended")) {
                break ended.clone();
            }
            if words.iter().any(|word| word.starts_with("INVITE")) {
                refused += 1;
                rig.response("INVITE", refused + 1, 500, "them", "");
            }
        };
        assert_eq!(ended, "Ended Expired");
        assert_eq!(refused, 2, "at 45 s and 55 s; the end is at 60 s");
    }

    #[test]
    fn refresh_with_glare_is_tried_again_after_the_wait() {
        let mut rig = agreed_as_caller("Session-Expires: 1800;refresher=uac");
        rig.seconds(900);
        rig.response("INVITE", 2, 491, "them", "");
        rig.drain();
        rig.seconds(5);
        assert_eq!(rig.drain(), ["INVITE 3 +sdp"]);
    }

    #[test]
    fn refresh_too_brief_is_raised() {
        let mut rig = agreed_as_caller("Session-Expires: 1800;refresher=uac");
        rig.seconds(900);
        rig.drain();
        rig.response_with("INVITE", 2, 422, "them", "Min-SE: 3600", "");
        assert_eq!(rig.header(HeaderId::SessionExpires), "3600;refresher=uac");
        assert_eq!(rig.header(HeaderId::MinSe), "3600");
        assert_eq!(rig.drain(), ["INVITE 3 +sdp"]);
        rig.response_with("INVITE", 3, 422, "them", "Min-SE: 4294967296", "");
        assert!(rig.drain().is_empty(), "tried again later, as it was");
        assert_eq!(rig.state(), State::Confirmed);
    }

    #[test]
    fn refresh_waits_for_an_exchange_and_is_spared_by_an_offer() {
        let mut rig = agreed_as_caller("Session-Expires: 1800;refresher=uac");
        rig.seconds(899);
        rig.request("INVITE", "", "v=0 new");
        rig.drain();
        rig.seconds(30);
        assert!(rig.drain().is_empty());
        rig.refuse(488);
        rig.seconds(10);
        assert_eq!(rig.drain(), ["488 INVITE", "INVITE 2 +sdp"]);

        let mut rig = agreed_as_caller("Session-Expires: 1800;refresher=uac");
        rig.seconds(800);
        rig.offer("v=0 ours 2");
        rig.drain();
        let session = "Session-Expires: 1800;refresher=uac";
        rig.response_with("INVITE", 2, 200, "them", session, "v=0 t2");
        rig.drain();
        rig.seconds(899);
        assert!(rig.drain().is_empty(), "the offer was a refresh");
    }

    #[test]
    fn refresh_without_response_ends_the_session() {
        let mut rig = agreed_as_caller("Session-Expires: 1800;refresher=uac");
        rig.seconds(900);
        rig.drain();
        rig.failed(2, Failure::Timeout);
        assert_eq!(rig.drain(), ["BYE 3", "Ended Gone"]);
    }
}
