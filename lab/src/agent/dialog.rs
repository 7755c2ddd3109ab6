//! What both sides of a call remember (RFC 3261 §12): tags, numbers, target, route.

use crate::sip::{Message, uri_of};

/// One dialog, or what will become one.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    /// Our From or To value with its tag, once there is one.
    pub(crate) local: String,
    /// Theirs.
    pub(crate) remote: String,
    pub(crate) cseq: u32,
    /// Where requests are addressed: their Contact, byte for byte.
    pub(crate) target: String,
    /// Route values, nearest first.
    pub(crate) routes: Vec<String>,
}

impl Dialog {
    /// As the one who sends the INVITE: nothing is known of the other side yet.
    pub(crate) fn caller(call_id: String, from: String, to: String, uri: String) -> Self {
        Self { call_id, local: from, remote: to, cseq: 1, target: uri, routes: Vec::new() }
    }

    /// As the one who got it; `tag` is ours.
    pub(crate) fn callee(invite: &Message, tag: &str) -> Self {
        let value = |name: &str| invite.header(name).unwrap_or_default().to_owned();
        Self {
            call_id: invite.call_id().to_owned(),
            local: format!("{};tag={tag}", value("To")),
            remote: value("From"),
            cseq: 0,
            target: invite.contact().unwrap_or_default().to_owned(),
            routes: invite.elements("Record-Route"),
        }
    }

    /// The caller's side takes what the 2xx says (RFC 3261 §12.1.2). `own` is the Record-Route that
    /// we put in ourselves: a caller stands before its own proxy, which is no hop for it.
    pub(crate) fn accepted(&mut self, answer: &Message, own: &str) {
        self.remote = answer.header("To").unwrap_or_default().to_owned();
        self.routes = answer.elements("Record-Route");
        self.routes.retain(|route| route != own);
        self.routes.reverse();
        self.refresh(answer);
    }

    /// A new Contact moves the target (RFC 3261 §12.2).
    pub(crate) fn refresh(&mut self, message: &Message) {
        if let Some(contact) = message.contact() {
            contact.clone_into(&mut self.target);
        }
    }

    /// Where the next request goes: the nearest Route, else the target.
    pub(crate) fn next_hop(&self) -> &str {
        self.routes.first().map_or(&self.target, |route| uri_of(route))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_is_as_recorded_for_the_callee_and_turned_round_for_the_caller() {
        let invite = "INVITE sip:b SIP/2.0\r\nFrom: a;tag=1\r\nTo: <sip:b>\r\nCall-ID: c\r\n\
            Record-Route: <sip:p1;lr>\r\nRecord-Route: <sip:p2;lr>\r\nContact: <sip:a:443;x-i=G>\r\n\r\n";
        let dialog = Dialog::callee(&Message::read(invite.as_bytes()).unwrap(), "t");
        assert_eq!(dialog.next_hop(), "sip:p1;lr");
        assert_eq!(
            (dialog.target.as_str(), dialog.local.as_str()),
            ("sip:a:443;x-i=G", "<sip:b>;tag=t")
        );

        let answer = "SIP/2.0 200 OK\r\nTo: <sip:b>;tag=t\r\nContact: <sip:b@h>\r\n\
            Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\n\r\n";
        let (from, to) = ("a;tag=1".to_owned(), "<sip:b>".to_owned());
        let mut dialog = Dialog::caller("c".to_owned(), from, to, "sip:b".to_owned());
        assert_eq!(dialog.next_hop(), "sip:b");
        let answer = Message::read(answer.as_bytes()).unwrap();
        dialog.accepted(&answer, "<sip:p2;lr>");
        assert_eq!(dialog.next_hop(), "sip:p1;lr");
        dialog.accepted(&answer, "");
        assert_eq!(dialog.next_hop(), "sip:p2;lr");
        assert_eq!((dialog.target.as_str(), dialog.remote.as_str()), ("sip:b@h", "<sip:b>;tag=t"));
    }
}
