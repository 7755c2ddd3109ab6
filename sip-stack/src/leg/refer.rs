//! Our REFER inside the dialog (RFC 3515): the peer is asked to call somebody. How that fares comes by NOTIFY, which is the
//! owner's.

use super::{Action, Event, Extra, Failure, Leg, Outbox, Phase};
use crate::message::Method;

impl Leg {
    /// Sends a REFER with these headers, Refer-To among them; [`Event::Referred`] follows. Nothing, unless the session is up
    /// and no other REFER of ours is open: whether it was sent.
    pub fn refer(&mut self, headers: &[Extra], out: &mut Outbox) -> bool {
        if !matches!(self.phase, Phase::Talking) || self.referral.is_some() {
            return false;
        }
        let (mut draft, hop) = self.dialog.request(Method::Refer);
        self.sign(&mut draft, &Method::Refer);
        for (id, value) in headers {
            draft.push(*id, value.clone());
        }
        let token = self.next_token();
        self.referral = Some(token);
        out.push_back(Action::Request { token, draft, hop });
        true
    }

    pub(super) fn referred(&mut self, status: u16, out: &mut Outbox) {
        if status >= 200 && self.referral.take().is_some() && matches!(self.phase, Phase::Talking) {
            out.push_back(Action::Event(Event::Referred { status }));
        }
    }
}

/// What stands for a response that did not come.
pub(super) const fn status_of(why: Failure) -> u16 {
    match why {
        Failure::Timeout => 408,
        Failure::Transport => 503,
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::{Rig, bytes};
    use super::*;
    use crate::message::HeaderId;

    #[test]
    fn one_refer_at_a_time_and_each_has_an_end() {
        let mut rig = Rig::talking();
        let headers = [(HeaderId::ReferTo, bytes("<sip:bob@example>"))];
        assert!(rig.leg.refer(&headers, &mut rig.out) && !rig.leg.refer(&headers, &mut rig.out));
        let Some(Action::Request { token, draft, .. }) = rig.out.pop_front() else { panic!() };
        assert_eq!(draft.value(HeaderId::ReferTo), Some(&b"<sip:bob@example>"[..]));
        for (why, status) in [(Failure::Timeout, 408), (Failure::Transport, 503)] {
            assert_eq!(status_of(why), status);
        }
        rig.leg.handle_failed(token, Failure::Timeout, rig.now, &mut rig.out);
        let event = rig.out.pop_front();
        assert!(matches!(event, Some(Action::Event(Event::Referred { status: 408 }))));
        assert!(rig.leg.refer(&headers, &mut rig.out));
        rig.drain();
        rig.bye();
        rig.drain();
        assert!(!rig.leg.refer(&headers, &mut rig.out) && rig.drain().is_empty());
    }
}
