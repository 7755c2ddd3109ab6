//! Offers before the answer: where ringing is reliable (RFC 3262), either side may change by UPDATE or PRACK what its early
//! media are (RFC 3311 §5). It is answered here at once, with what the other side has described so far; the other side, which
//! cannot be asked yet, is told after the answer where that is not what it has agreed to.

use bytes::Bytes;

use super::{CALLEE, CALLER, Call, Context, Exchange, Phase};

impl Call {
    /// A side changes its early media.
    pub(super) fn offered_early(&mut self, at: usize, sdp: Option<&Bytes>, cx: &mut Context<'_>) {
        let own = self.legs[at].side;
        let Some(sdp) = sdp else { return self.refuse(at, 488, cx) };
        if let Err(cause) = self.media.take_offer(own, sdp, cx.owned) {
            return self.refuse(at, cause.status(), cx);
        }
        self.amended |= own == CALLER;
        self.accept(at, cx);
    }

    /// The caller's session stands: the callee is told what the caller has changed meanwhile, once nothing else is
    /// being exchanged.
    pub(super) fn settle_amended(&mut self, cx: &mut Context<'_>) {
        if self.phase == Phase::Talking
            && self.exchange == Exchange::Idle
            && std::mem::take(&mut self.amended)
            && !self.media.agrees(CALLER)
            && let Some(callee) = self.speakers[CALLEE]
        {
            self.offer_again(callee, cx);
        }
    }
}
