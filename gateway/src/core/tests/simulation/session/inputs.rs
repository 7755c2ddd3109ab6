//! What a session makes of what the gateway sends it.

use super::*;

impl Session {
    /// A response to a request of ours.
    pub(in super::super) fn handle_response(
        &mut self,
        errand: Errand,
        source: &Source,
        message: &Message,
        tools: &mut Tools<'_>,
    ) {
        let status = message.status();
        if status < 200 || self.state == State::Forgotten {
            return;
        }
        match errand {
            Errand::Invite => self.invite_answered(source, message, tools),
            Errand::Offer => self.offer_answered(message, tools),
            // A 481 to NOTIFY ends the subscription alone (RFC 6665 §4.2.2).
            Errand::Bye | Errand::Notify => {}
            Errand::Tell => {
                if matches!(status, 408 | 481) {
                    self.hang_up(tools);
                }
            }
        }
    }

    /// A request of ours has failed without a response.
    pub(in super::super) fn handle_failed(&mut self, errand: Errand, tools: &mut Tools<'_>) {
        match errand {
            Errand::Invite if self.state == State::Calling => self.over(),
            // RFC 3261 §12.2.1.2.
            Errand::Offer => {
                self.exchange = Exchange::Idle;
                self.hang_up(tools);
            }
            Errand::Tell => self.hang_up(tools),
            Errand::Invite | Errand::Bye | Errand::Notify => {}
        }
    }

    fn invite_answered(&mut self, source: &Source, message: &Message, tools: &mut Tools<'_>) {
        if self.acknowledged(message, tools) {
            return;
        }
        if message.status() >= 300 {
            if self.state == State::Calling {
                self.over();
            }
            return;
        }
        if self.state != State::Calling {
            let tag = message.to_tag().map(String::from_utf8_lossy);
            return tools.faults.push(format!("an INVITE has a second 2xx, of {tag:?}"));
        }
        self.dialog = self.dialog.uac(message, source);
        self.state = State::Up;
        let Some(theirs) = message.sdp() else {
            tools.faults.push("a 2xx to an INVITE without SDP".to_owned());
            return self.hang_up(tools);
        };
        let answer = match self.offer.take() {
            Some(ours) => {
                self.talk.agree(ours, theirs);
                None
            }
            None => Some(self.talk.answer(&theirs)),
        };
        self.acknowledge(message, answer, tools);
        if let Some(expires) = message.value(HeaderId::SessionExpires)
            && expires.ends_with(b"uac")
        {
            let every = Duration::from_secs(45);
            self.later.push((tools.now + every, Later::Refresh(every)));
        }
        if self.cancelled {
            self.hang_up(tools);
        }
    }

    fn offer_answered(&mut self, message: &Message, tools: &mut Tools<'_>) {
        if self.acknowledged(message, tools) {
            return;
        }
        let sent = std::mem::replace(&mut self.exchange, Exchange::Idle);
        let Exchange::Sent { offer, .. } = sent else {
            self.exchange = sent;
            return;
        };
        if let Some(before) = self.before.take().filter(|_| message.status() >= 300) {
            self.talk.take_back(&before);
        }
        match message.status() {
            200..300 => {
                let Some(theirs) = message.sdp() else {
                    return tools.faults.push("a 2xx to a re-INVITE without SDP".to_owned());
                };
                let answer = match offer {
                    Some(ours) => {
                        self.talk.agree(ours, theirs);
                        None
                    }
                    None => Some(self.talk.answer(&theirs)),
                };
                self.dialog.follow(message);
                self.acknowledge(message, answer, tools);
            }
            408 | 481 => self.hang_up(tools),
            491 if offer.is_some() => {
                // RFC 3261 §14.1: who made the Call-ID waits for longer.
                let wait = if self.calls() {
                    tools.dice.millis(2100, 4000)
                } else {
                    tools.dice.millis(0, 2000)
                };
                self.later.push((tools.now + wait, Later::Offer(Change::Resume)));
            }
            _ => {}
        }
    }

    /// Sends the ACK for a 2xx.
    fn acknowledge(&mut self, message: &Message, answer: Option<Bytes>, tools: &mut Tools<'_>) {
        let (mut draft, _) = self.dialog.ack(message.cseq());
        if let Some(answer) = answer {
            draft.body(SDP, answer);
        }
        self.acks.push((message.cseq(), draft));
        self.acknowledged(message, tools);
    }

    /// Sends the ACK for a 2xx again, if there was one. False when there was none.
    pub(in super::super) fn acknowledged(&self, message: &Message, tools: &mut Tools<'_>) -> bool {
        let same = message.to_tag() == Some(&self.dialog.id.remote_tag[..]);
        let ack = self.acks.iter().find(|(cseq, _)| same && *cseq == message.cseq());
        if let Some((_, draft)) = ack {
            let (target, sent_by) = (tools.site.target(), tools.site.sent_by.clone().into());
            tools.endpoint.send(target, sent_by, draft.clone(), tools.now);
        }
        ack.is_some()
    }

    /// A request inside the dialog.
    pub(in super::super) fn handle_request(
        &mut self,
        server: ServerId,
        source: &Source,
        message: &Message,
        tools: &mut Tools<'_>,
    ) {
        let method = message.method();
        if self.state == State::Forgotten || !self.dialog.owns_request(message) {
            return self.reply(server, message, 481, tools);
        }
        if self.dialog.order(message.cseq()) == Order::Behind {
            return self.reply(server, message, 500, tools);
        }
        self.dialog.hear(source);
        if *method == Method::Bye {
            if let Exchange::Thinking { server, message, .. } = &self.exchange {
                let draft = self.response(message, 487, tools.site);
                tools.endpoint.respond(*server, draft, tools.now);
            }
            self.over();
            return self.reply(server, message, 200, tools);
        }
        if self.state != State::Up {
            return self.reply(server, message, 481, tools);
        }
        if *method == Method::Refer {
            return self.referred(server, message, tools);
        }
        if *method != Method::Invite {
            self.noted(message, tools);
            return self.reply(server, message, 200, tools);
        }
        match &self.exchange {
            Exchange::Idle => {
                // A refresh is nothing to think about: the session would pass meanwhile (RFC 4028 §10).
                let refresh = message.sdp() == self.talk.remote;
                let thought = tools.dice.weigh(&THOUGHTS);
                let until = tools.now + if refresh { Duration::ZERO } else { thought };
                let message = message.clone();
                self.exchange = Exchange::Thinking { until, server, message };
                if until == tools.now {
                    self.decide(tools);
                }
            }
            Exchange::Sent { .. } => self.reply(server, message, 491, tools),
            Exchange::Thinking { .. } | Exchange::Answered(_) => {
                self.reply(server, message, 500, tools);
            }
        }
    }

    /// The gateway passes a REFER on. What we say of the call that it asks for is made up.
    fn referred(&mut self, server: ServerId, message: &Message, tools: &mut Tools<'_>) {
        let status = tools.dice.weigh(&[(8, 202), (1, 603), (1, 405)]);
        self.reply(server, message, status, tools);
        if status == 202 {
            let ends = tools.now + tools.dice.within(&[(1, 300), (1, 20_000)]);
            let outcome = tools.dice.pick(&[200, 486]);
            self.later.push((tools.now, Later::Notify(100)));
            self.later.push((ends, Later::Notify(outcome)));
        }
    }

    /// Who was told that another has its place leaves, most often.
    fn noted(&mut self, message: &Message, tools: &mut Tools<'_>) {
        let state = message.value(HeaderId::SubscriptionState).unwrap_or_default();
        let replaced =
            message.body().starts_with(b"SIP/2.0 200") && state.starts_with(b"terminated");
        if replaced && tools.dice.chance(800) {
            let at = tools.now + tools.dice.millis(0, 3000);
            self.later.push((at, Later::Bye));
        }
    }

    /// The re-INVITE that was thought about is answered or refused.
    pub(super) fn decide(&mut self, tools: &mut Tools<'_>) {
        let Exchange::Thinking { server, message, .. } =
            std::mem::replace(&mut self.exchange, Exchange::Idle)
        else {
            return;
        };
        let refresh = message.sdp() == self.talk.remote;
        if !refresh && tools.dice.chance(60) {
            self.refused = true;
            return self.reply(server, &message, 488, tools);
        }
        self.dialog.follow(&message);
        let mut draft = self.response(&message, 200, tools.site);
        if let Some(expires) = message.value(HeaderId::SessionExpires) {
            draft.push(HeaderId::SessionExpires, Bytes::copy_from_slice(expires));
        }
        let offer = match message.sdp() {
            Some(theirs) => {
                // A refresh is answered by the same SDP.
                let same = self.talk.remote.as_ref() == Some(&theirs);
                let local = self.talk.local.clone().filter(|_| same);
                draft.body(SDP, local.unwrap_or_else(|| self.talk.answer(&theirs)));
                None
            }
            None => {
                let offer = self.talk.offer(Change::Resume);
                draft.body(SDP, offer.clone());
                Some(offer)
            }
        };
        self.await_ack(server, message.cseq(), draft, offer, tools);
    }

    /// The CANCEL of an INVITE of the gateway.
    pub(in super::super) fn handle_cancelled(&mut self, server: ServerId, tools: &mut Tools<'_>) {
        let invite = self.invite.clone().filter(|(of, _)| *of == server);
        if let (State::Called, Some((_, invite))) = (self.state, invite) {
            self.over();
            return self.reply(server, &invite, 487, tools);
        }
        if let Exchange::Thinking { server: of, message, .. } = &self.exchange
            && *of == server
        {
            let draft = self.response(message, 487, tools.site);
            tools.endpoint.respond(server, draft, tools.now);
            self.exchange = Exchange::Idle;
        }
    }

    /// The ACK for a 2xx of ours.
    pub(in super::super) fn handle_ack(&mut self, message: &Message, tools: &mut Tools<'_>) {
        let Exchange::Answered(answered) = &mut self.exchange else { return };
        if answered.cseq != message.cseq() || !self.dialog.owns_request(message) {
            return;
        }
        match (answered.offer.take(), message.sdp()) {
            (Some(ours), Some(theirs)) => self.talk.agree(ours, theirs),
            (Some(_), None) => tools.faults.push("an ACK without the answer it owes".to_owned()),
            (None, _) => {}
        }
        self.exchange = Exchange::Idle;
        if std::mem::take(&mut self.held) {
            self.hang_up(tools);
        }
    }
}

/// How long a re-INVITE is thought about.
const THOUGHTS: [(u64, Duration); 4] = [
    (70, Duration::ZERO),
    (15, Duration::from_millis(300)),
    (10, Duration::from_secs(3)),
    (5, Duration::from_secs(25)),
];
