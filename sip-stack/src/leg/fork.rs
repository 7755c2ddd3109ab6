//! 2xx to our initial INVITE after the first one (RFC 3261 §13.2.2.4): on the tag of the first its
//! ACK is sent again; any other tag (a fork) is its own dialog, acknowledged and hung up on.
//!
//! Forks are bounded: those past [`FORKS`] get ACK and BYE anew with each repeat of their 2xx,
//! without being remembered.

use super::ack::Acked;
use super::uac::FORKS;
use super::{Action, Leg, Outbox, Token};
use crate::message::{Message, Method};
use crate::transport::Source;

impl Leg {
    /// A response to our INVITE after its first 2xx.
    pub(super) fn late_invite_response(
        &mut self,
        token: Token,
        source: &Source,
        message: &Message,
        out: &mut Outbox,
    ) {
        if !(200..300).contains(&message.status()) {
            return;
        }
        let tag = message.to_tag().unwrap_or_default();
        let known = self.acks.iter().any(|ack| ack.token == token && ack.tag == tag);
        if known {
            self.repeat_ack(token, message, out);
        } else if self.dialog.id.remote_tag != tag {
            self.hang_up_fork(token, source, message, out);
        }
    }

    /// RFC 3261 §13.2.2.4: a 2xx of another fork makes its own dialog, which we end at once.
    fn hang_up_fork(&mut self, token: Token, source: &Source, message: &Message, out: &mut Outbox) {
        let mut fork = self.dialog.uac(message, source);
        let (mut draft, hop) = fork.ack(message.cseq());
        self.sign(&mut draft, &Method::Ack);
        if self.acks.len() < FORKS {
            let tag = fork.id.remote_tag.clone();
            self.acks.push(Acked { token, tag, draft: draft.clone(), hop: hop.clone() });
        }
        out.push_back(Action::Ack { draft, hop });
        let (mut draft, hop) = fork.request(Method::Bye);
        self.sign(&mut draft, &Method::Bye);
        let token = self.next_token();
        if self.byes.len() < FORKS {
            self.byes.push(token);
        }
        out.push_back(Action::Request { token, draft, hop });
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::{OURS, Rig, THEIRS};
    use super::super::{Action, Hop, State};
    use super::*;
    use crate::message::HeaderId;

    #[test]
    fn second_200_is_acknowledged_and_hung_up_on_in_its_own_dialog() {
        let mut rig = Rig::calling(OURS);
        rig.response("INVITE", 1, 180, "a", "");
        rig.response("INVITE", 1, 180, "b", "");
        rig.response("INVITE", 1, 200, "a", THEIRS);
        rig.drain();
        let other = "Contact: <sip:b@10.0.0.9>\nRecord-Route: <sip:r2;lr>, <sip:r1;lr>";
        rig.response_with("INVITE", 1, 200, "b", other, "v=0 b");
        let actions = rig.take();
        let [Action::Ack { draft: ack, .. }, Action::Request { token, draft: bye, hop }] =
            &actions[..]
        else {
            panic!("{actions:?}")
        };
        for draft in [ack, bye] {
            assert_eq!(draft.uri(), b"sip:b@10.0.0.9");
            assert_eq!(draft.value(HeaderId::To), Some(&b"<sip:them@peer.example>;tag=b"[..]));
            assert_eq!(draft.value(HeaderId::Route), Some(&b"<sip:r1;lr>"[..]));
        }
        assert_eq!(bye.value(HeaderId::CSeq), Some(&b"2 BYE"[..]));
        assert!(matches!(hop, Hop::Uri { uri, .. } if uri == "sip:r1;lr"));
        assert_eq!(rig.state(), State::Confirmed);
        assert_eq!(rig.leg.id().remote_tag, "a");

        rig.response_with("INVITE", 1, 200, "b", other, "v=0 b");
        assert_eq!(rig.drain(), ["ACK"], "its repeat");
        rig.response("BYE", token.0, 200, "b", "");
        rig.offer("v=0 ours 2");
        assert_eq!(rig.header(HeaderId::CSeq), "2 INVITE");
        assert_eq!(rig.drain(), ["INVITE 3 +sdp"]);
    }

    #[test]
    fn after_forks_an_ended_leg_still_hangs_up_on_late_answers() {
        let mut rig = Rig::calling(OURS);
        rig.response("INVITE", 1, 180, "a", "");
        rig.response("INVITE", 1, 200, "b", THEIRS);
        rig.bye();
        rig.drain();
        rig.response("BYE", 2, 200, "b", "");
        assert_eq!(rig.state(), State::Ending);
        rig.response("INVITE", 1, 200, "a", THEIRS);
        assert_eq!(rig.drain(), ["ACK", "BYE 3"]);
        rig.response("BYE", 3, 200, "a", "");
        rig.seconds(33);
        assert_eq!(rig.state(), State::Ended);
    }

    #[test]
    fn without_forks_an_ended_leg_is_done_at_once() {
        let mut rig = Rig::talking();
        rig.bye();
        rig.response("BYE", 2, 200, "them", "");
        assert!(rig.leg.is_ended());
    }

    #[test]
    fn early_dialogs_and_forks_are_bounded() {
        let mut rig = Rig::calling(OURS);
        for tag in 0..1000 {
            rig.response("INVITE", 1, 180, &format!("early{tag}"), "");
        }
        rig.drain();
        rig.response("INVITE", 1, 200, "them", THEIRS);
        for tag in 0..1000 {
            rig.response("INVITE", 1, 200, &format!("fork{tag}"), THEIRS);
            rig.drain();
        }
        assert!(rig.leg.acks.len() <= FORKS && rig.leg.byes.len() <= FORKS);
        rig.response("INVITE", 1, 200, "them", THEIRS);
        assert_eq!(rig.drain(), ["ACK"], "the call's own ACK is never forgotten");
    }

    #[test]
    fn repeated_200_gets_its_ack_again_and_no_event() {
        let mut rig = Rig::calling(OURS);
        rig.response("INVITE", 1, 200, "them", THEIRS);
        rig.drain();
        for _ in 0..5 {
            rig.response("INVITE", 1, 200, "them", THEIRS);
            assert_eq!(rig.drain(), ["ACK"]);
        }
        rig.bye();
        rig.drain();
        rig.response("INVITE", 1, 200, "them", THEIRS);
        assert_eq!(rig.drain(), ["ACK"], "also while the BYE is out");
    }

    #[test]
    fn provisional_that_comes_after_the_200_does_nothing() {
        let mut rig = Rig::talking();
        rig.response("INVITE", 1, 180, "them", "");
        rig.response("INVITE", 1, 183, "fork", THEIRS);
        rig.response("INVITE", 1, 486, "fork", "");
        assert!(rig.drain().is_empty());
    }

    #[test]
    fn initial_200_repeated_after_a_reinvite_still_gets_its_own_ack() {
        let mut rig = Rig::talking();
        rig.offer("v=0 ours 2");
        rig.response("INVITE", 2, 200, "them", "v=0 theirs 2");
        rig.drain();
        rig.response("INVITE", 1, 200, "them", THEIRS);
        assert_eq!(rig.header(HeaderId::CSeq), "1 ACK");
        rig.response("INVITE", 2, 200, "them", "v=0 theirs 2");
        assert_eq!(rig.header(HeaderId::CSeq), "2 ACK");
    }
}
