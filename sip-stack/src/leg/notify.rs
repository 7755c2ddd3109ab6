//! NOTIFY inside the dialog, for the subscription that a REFER of the peer made (RFC 3515 §2.4.4, RFC 6665 §4.2.2).
//!
//! The owner answers the REFER and knows how the request that it asked for fares; the leg only writes and sends. What the
//! peer says to a NOTIFY changes nothing about the session.

use bytes::Bytes;

use super::{Action, Leg, Outbox, Phase};
use crate::message::{HeaderId, Method};

impl Leg {
    /// Tells the peer how far the request is: `fragment` is a status line (RFC 3420), `event` and `state` are the values of
    /// Event and Subscription-State. Nothing, unless the session is up.
    pub fn notify(&mut self, event: Bytes, state: &'static str, fragment: Bytes, out: &mut Outbox) {
        if !matches!(self.phase, Phase::Talking) {
            return;
        }
        let (mut draft, hop) = self.dialog.request(Method::Notify);
        self.sign(&mut draft, &Method::Notify);
        draft.push(HeaderId::Event, event);
        draft.push(HeaderId::SubscriptionState, state);
        draft.body(FRAGMENT, fragment);
        let token = self.next_token();
        out.push_back(Action::Request { token, draft, hop });
    }
}

/// RFC 3515 §2.4.4, RFC 3420.
const FRAGMENT: &str = "message/sipfrag;version=2.0";

#[cfg(test)]
mod tests {
    use super::super::rig::{Rig, bytes};
    use super::*;

    #[test]
    fn a_notify_goes_out_while_the_session_is_up_and_its_answer_changes_nothing() {
        let mut rig = Rig::talking();
        let line = bytes("SIP/2.0 180 Ringing\r\n");
        rig.leg.notify(bytes("refer"), "active;expires=60", line.clone(), &mut rig.out);
        let Some(Action::Request { token, draft, .. }) = rig.out.pop_front() else { panic!() };
        assert_eq!(*draft.method(), Method::Notify);
        let written = String::from_utf8(draft.write().to_vec()).unwrap();
        for line in [
            "Event: refer\r\n",
            "Subscription-State: active;expires=60\r\n",
            "Content-Type: message/sipfrag;version=2.0\r\n",
            "\r\n\r\nSIP/2.0 180 Ringing\r\n",
        ] {
            assert!(written.contains(line), "{line} in {written}");
        }
        rig.leg.handle_failed(token, super::super::Failure::Timeout, rig.now, &mut rig.out);
        assert!(rig.drain().is_empty());
        rig.bye();
        rig.drain();
        rig.leg.notify(bytes("refer"), "terminated", line, &mut rig.out);
        assert!(rig.drain().is_empty());
    }
}
