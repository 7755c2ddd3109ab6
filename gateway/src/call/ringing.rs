//! What the caller hears before the answer. Ringing and early media of the callee, on every tag, become one early dialog
//! towards the caller, with one description (RFC 3261 §13.2.1: the first one is the answer). What it gets of them is its
//! trunk's `early_media`.
//!
//! | | 180 | 183 with SDP, first | 180, then 183 with SDP |
//! |---|---|---|---|
//! | `first` | 180 | 183 with SDP | 180 |
//! | `pass` | 180 | 183 with SDP | 180, 183 with SDP |
//! | `generate` | 183 with SDP, ringback | the same | the same |
//!
//! Ringback ends with the first speech of the callee (the relay sees to that), or the answer. A call with it speaks G.711,
//! so that what the caller is told before anybody has answered is what the callee agrees to. Without G.711, or an offer,
//! `generate` is `first`.

use std::sync::Arc;

use bytes::Bytes;
use config::EarlyMedia;
use media_relay::audio::Clip;
use sip_stack::message::Message;

use super::{CALLEE, CALLER, Call, Context, Phase};

impl Call {
    /// The ringback of a side.
    pub(super) fn ringback_of(&self, side: usize) -> Arc<Clip> {
        let end = self.speakers[side].and_then(|leg| self.legs[leg].end);
        self.routes.ringback(end)
    }

    /// Decides whether the caller will hear ringback of ours; its offer was read.
    pub(super) fn plan_ringback(&mut self) {
        let generates = self.legs[CALLER].profile.early_media == EarlyMedia::Generate;
        if generates && self.media.speak_g711(CALLER) {
            self.ringback = Some(self.ringback_of(CALLER));
        }
    }

    /// The callee rings, or sends early media.
    pub(super) fn provisional(
        &mut self,
        message: &Message,
        sdp: Option<&Bytes>,
        cx: &mut Context<'_>,
    ) {
        let status = message.status();
        if self.phase != Phase::Trying {
            return;
        }
        self.attempt_alive(status > 100, cx.now);
        if status == 100 {
            return;
        }
        self.story.rings(cx.wall);
        if let Some(at) = self.speakers[CALLEE] {
            self.note(at, Some(message));
        }
        let tag = message.to_tag().unwrap_or_default();
        let early =
            sdp.is_some_and(|sdp| self.media.take_early(CALLEE, tag, sdp, cx.owned).is_ok());
        let ring = if self.hears_enough() { None } else { self.ring(status, early, cx) };
        if early || ring.as_ref().is_some_and(|(_, sdp)| sdp.is_some()) {
            self.apply(cx);
        }
        if let Some((status, sdp)) = ring {
            self.on_leg(CALLER, cx, |leg, now, out| leg.ring(status, sdp, &[], now, out));
        }
    }

    /// Whether the caller hears something already that nothing else may break off.
    fn hears_enough(&self) -> bool {
        match self.legs[CALLER].profile.early_media {
            EarlyMedia::Pass => false,
            EarlyMedia::First | EarlyMedia::Generate => {
                matches!(self.rung, Some((180, _) | (_, true)))
            }
        }
    }

    /// What the caller is told now, if that is anything new. `early`: the callee has just described its early media.
    fn ring(
        &mut self,
        status: u16,
        early: bool,
        cx: &mut Context<'_>,
    ) -> Option<(u16, Option<Bytes>)> {
        let ringback = self.ringback.take();
        let rings = ringback.is_some();
        if self.told.is_none() && (early || rings) && self.legs[CALLER].leg.remote_offer().is_some()
        {
            self.told = self.media.answer(CALLER, cx.random).ok().map(Bytes::from);
        }
        let sdp = self.told.clone().filter(|_| early || rings);
        if let Some(clip) = ringback {
            self.media.begin_ringback(CALLER, clip, true);
        }
        let status = if rings && sdp.is_some() { 183 } else { status };
        let ring = (status, sdp.is_some());
        (self.rung.replace(ring) != Some(ring)).then_some((status, sdp))
    }
}
