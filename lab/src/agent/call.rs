//! One call, step by step. Whoever holds it decides; what needs no decision is answered here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::agent::core::{Core, Offer};
use crate::agent::dialect::{Face, Head, accepted_crypto, branch, via};
use crate::agent::dialog::Dialog;
use crate::agent::{Fault, digits};
use crate::clock;
use crate::media::srtp::Key;
use crate::media::{Incoming, Law, Outgoing, Port, Tape};
use crate::sip::{Direction, Message, Sdp};
use crate::wire::{Arrival, Channel};

/// A call to the gateway.
#[derive(Clone, Debug)]
pub struct Invite {
    /// User part of From.
    pub caller: String,
    /// User part of the Request-URI.
    pub called: String,
    /// Host of the Request-URI: the tenant's FQDN, or the gateway's address.
    pub host: String,
    /// Which of our homes it leaves from.
    pub home: usize,
    /// Whole header lines to be added.
    pub extra: Vec<String>,
}

impl Invite {
    /// A call without anything special, from the first home.
    #[must_use]
    pub fn new(caller: &str, called: &str, host: &str) -> Self {
        let [caller, called, host] = [caller, called, host].map(str::to_owned);
        Self { caller, called, host, home: 0, extra: Vec::new() }
    }
}

/// One call with its dialog and its media port.
pub struct Call {
    core: Arc<Core>,
    dialog: Dialog,
    home: usize,
    mailbox: mpsc::Receiver<Arrival>,
    port: Port,
    contact: String,
    record_route: String,
    side: Side,
    /// What we protect with, if this kind of end does.
    key: Option<Key>,
    remote: Option<Sdp>,
    /// Version in the o= line of our next SDP.
    version: u64,
    /// The call stands: the 2xx is acknowledged.
    confirmed: bool,
    ended: Option<Arc<Message>>,
}

enum Side {
    Caller { invite: Box<Head>, channel: Channel },
    Callee { invite: Arrival, tags: Vec<String>, cancelled: bool },
}

impl Call {
    pub(crate) async fn outgoing(core: &Arc<Core>, invite: Invite) -> Result<Self, Fault> {
        let home = &core.homes[invite.home % core.homes.len()];
        let port = Port::open(home.address.ip()).await?;
        let names = core.dialect.names(&invite, core.gateway()?, home.address);
        let channel = core.dial(invite.home, &names.uri).await?;
        let contact = core.dialect.contact(home.address, home.transport, &invite.caller);
        let record_route = core.dialect.record_route(home.address);
        let key = core.dialect.key();
        let from = format!("{};tag={}", names.from, clock::token::<4>());
        let dialog = Dialog::caller(clock::token::<12>(), from, names.to, names.uri);
        let mut extra = invite.extra;
        extra.push(core.dialect.invite_lines().to_owned());
        extra.retain(|line| !line.is_empty());
        let head = Head {
            method: "INVITE",
            uri: dialog.target.clone(),
            via: via(&channel, home.address, &branch()),
            from: dialog.local.clone(),
            to: dialog.remote.clone(),
            call: dialog.call_id.clone(),
            cseq: dialog.cseq,
            contact: format!("<{contact}>"),
            record_route: record_route.clone(),
            extra: extra.join("\r\n"),
            sdp: core.dialect.offer(port.rtp(), key.as_ref(), 0, "sendrecv"),
            ..Head::default()
        };
        let mailbox = core.mailbox(&dialog.call_id);
        let mut call = Self {
            core: Arc::clone(core),
            dialog,
            home: invite.home,
            mailbox,
            port,
            contact,
            record_route,
            side: Side::Caller { invite: Box::new(head.clone()), channel: channel.clone() },
            key,
            remote: None,
            version: 1,
            confirmed: false,
            ended: None,
        };
        call.send_invite(head, channel).await;
        Ok(call)
    }

    pub(crate) async fn incoming(offer: Offer) -> Result<Self, Fault> {
        let Offer { core, invite, mailbox } = offer;
        let local = invite.channel.local;
        let home = core.homes.iter().position(|home| home.address == local).unwrap_or(0);
        let address = core.homes[home].address;
        let port = Port::open(address.ip()).await?;
        let number = digits(invite.message.called());
        let contact = core.dialect.contact(address, core.homes[home].transport, &number);
        let tag = clock::token::<4>();
        let mut call = Self {
            dialog: Dialog::callee(&invite.message, &tag),
            home,
            mailbox,
            port,
            contact,
            record_route: core.dialect.record_route(address),
            key: core.dialect.key(),
            core,
            remote: None,
            version: 0,
            confirmed: false,
            ended: None,
            side: Side::Callee { invite: invite.clone(), tags: vec![tag], cancelled: false },
        };
        call.note(&invite);
        let sdp = invite.message.sdp().ok_or(Fault::Media("no offer in the INVITE"))?;
        call.apply(&sdp).await?;
        Ok(call)
    }

    /// Its Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        &self.dialog.call_id
    }

    /// The INVITE, if it came in.
    #[must_use]
    pub fn invite(&self) -> Option<&Message> {
        match &self.side {
            Side::Caller { .. } => None,
            Side::Callee { invite, .. } => Some(&invite.message),
        }
    }

    /// The SDP of the other side that counts now.
    #[must_use]
    pub const fn remote(&self) -> Option<&Sdp> {
        self.remote.as_ref()
    }

    /// The SRTP suite in use.
    #[must_use]
    pub fn suite(&self) -> Option<&'static str> {
        self.key.as_ref().map(|key| key.suite().name())
    }

    /// The BYE that ended it, if the other side did.
    #[must_use]
    pub fn ended_by(&self) -> Option<&Message> {
        self.ended.as_deref()
    }

    // The caller's steps.

    /// Waits for a 18x and gives its status.
    pub async fn ringing(&mut self, limit: Duration) -> Result<u16, Fault> {
        self.until(limit, "18x", |message| {
            (message.status() > 100 && message.status() < 200).then(|| message.status())
        })
        .await
    }

    /// Waits for a 18x with SDP; its media are heard from now on.
    pub async fn early(&mut self, limit: Duration) -> Result<u16, Fault> {
        self.until(limit, "18x with SDP", |message| {
            let early = message.status() > 100 && message.status() < 200;
            (early && message.sdp().is_some()).then(|| message.status())
        })
        .await
    }

    /// Waits for the 200 and acknowledges it.
    pub async fn answered(&mut self, limit: Duration) -> Result<(), Fault> {
        match self.until(limit, "200 to the INVITE", |_| None::<()>).await {
            Ok(()) | Err(Fault::Ended(_)) if self.confirmed => Ok(()),
            Ok(()) => Err(Fault::Silence("200 to the INVITE")),
            Err(fault) => Err(fault),
        }
    }

    /// A refusal that has come already, if any.
    pub(crate) fn refusal(&mut self) -> Option<Fault> {
        while let Ok(arrival) = self.mailbox.try_recv() {
            let (status, phrase) = (arrival.message.status(), arrival.message.phrase());
            if status >= 300 {
                return Some(Fault::Refused { status, phrase: phrase.to_owned() });
            }
        }
        None
    }

    /// Waits for a final answer that refuses, and gives its status.
    pub async fn refused(&mut self, limit: Duration) -> Result<u16, Fault> {
        match self.until(limit, "a refusal", |_| None::<()>).await {
            Err(Fault::Refused { status, .. }) => Ok(status),
            Err(fault) => Err(fault),
            Ok(()) => Err(Fault::Silence("a refusal")),
        }
    }

    /// Cancels the INVITE and waits for its 487.
    pub async fn cancel(&mut self, limit: Duration) -> Result<(), Fault> {
        let Side::Caller { invite, channel } = &self.side else {
            return Err(Fault::Ended("CANCEL"));
        };
        let head = Head {
            method: "CANCEL",
            contact: String::new(),
            record_route: String::new(),
            extra: self.core.dialect.reason(&self.contact, 16, "Cancelled"),
            sdp: String::new(),
            ..(**invite).clone()
        };
        self.core.send(channel, self.core.dialect.request(&head)).await;
        match self.refused(limit).await? {
            487 => Ok(()),
            status => Err(Fault::Refused { status, phrase: "instead of 487".to_owned() }),
        }
    }

    // The callee's steps.

    /// Rings as one of several endpoints, each with a To-tag of its own.
    pub async fn ring(&mut self, status: u16, fork: usize) {
        self.provisional(status, fork, "").await;
    }

    /// 183 with SDP: media before the answer.
    pub async fn progress(&mut self, fork: usize) -> Result<(), Fault> {
        let sdp = self.answer_sdp("sendrecv")?;
        self.provisional(183, fork, &sdp).await;
        Ok(())
    }

    /// 200 with SDP on one of the forks; waits for the ACK.
    pub async fn answer(&mut self, fork: usize, limit: Duration) -> Result<(), Fault> {
        let sdp = self.answer_sdp("sendrecv")?;
        let tag = self.tag(fork);
        let Side::Callee { invite, cancelled: false, .. } = &self.side else {
            return Err(Fault::Ended("the answer"));
        };
        self.dialog.local = invite.message.header("To").unwrap_or_default().to_owned();
        self.dialog.local.push_str(";tag=");
        self.dialog.local.push_str(&tag);
        let bytes = self.core.dialect.response(
            &invite.message,
            200,
            "OK",
            &tag,
            Some(&self.face()),
            "",
            &sdp,
        );
        self.core.answer(&invite.clone(), bytes).await;
        self.wait(limit, "ACK", |message| (message.method() == "ACK").then_some(())).await?;
        self.confirmed = true;
        Ok(())
    }

    /// Refuses.
    pub async fn refuse(&mut self, status: u16, phrase: &str) {
        if let Side::Callee { invite, .. } = &self.side {
            self.core.reply(invite, status, phrase).await;
        }
    }

    /// Waits until the caller has given up; the 487 is sent here. Gives the CANCEL.
    pub async fn cancelled(&mut self, limit: Duration) -> Result<Arc<Message>, Fault> {
        let mut cancel = None;
        self.wait(limit, "CANCEL and the ACK of its 487", |message| {
            if message.method() == "CANCEL" {
                cancel = Some(Arc::clone(message));
            }
            (message.method() == "ACK").then_some(())
        })
        .await?;
        cancel.ok_or(Fault::Silence("CANCEL"))
    }

    // Steps of both.

    /// Ends the call and waits for the 200.
    pub async fn bye(&mut self, limit: Duration) -> Result<(), Fault> {
        let reason = self.core.dialect.reason(&self.contact, 16, "Normal");
        let cseq = self.request("BYE", &reason, "").await?;
        let done = |message: &Arc<Message>| {
            let ours = !message.is_request() && message.method() == "BYE" && message.cseq() == cseq;
            (ours && message.status() >= 200).then(|| message.status())
        };
        match self.wait(limit, "200 to BYE", done).await? {
            200 => Ok(()),
            status => Err(Fault::Refused { status, phrase: "to BYE".to_owned() }),
        }
    }

    /// Waits for the other side's BYE, which is answered here.
    pub async fn ended(&mut self, limit: Duration) -> Result<(), Fault> {
        if self.ended.is_some() {
            return Ok(());
        }
        let is_bye = |message: &Arc<Message>| message.is_request() && message.method() == "BYE";
        self.wait(limit, "BYE", |message| is_bye(message).then_some(())).await
    }

    /// Lets time pass, answering what comes. An early end of the call is an error.
    pub async fn stay(&mut self, time: Duration) -> Result<(), Fault> {
        match self.wait(time, "", |_| None::<()>).await {
            Ok(()) | Err(Fault::Silence(_)) if self.ended.is_none() => Ok(()),
            Ok(()) | Err(_) => Err(Fault::Ended("its time")),
        }
    }

    /// A re-INVITE with this direction; waits for the answer, acknowledges it and gives it.
    pub async fn reinvite(&mut self, way: Direction, limit: Duration) -> Result<Sdp, Fault> {
        let sdp =
            self.core.dialect.offer(self.port.rtp(), self.key.as_ref(), self.version, way.name());
        self.version += 1;
        let cseq = self.request("INVITE", self.core.dialect.invite_lines(), &sdp).await?;
        let (status, phrase) = self
            .wait(limit, "answer to re-INVITE", |message| {
                let ours = !message.is_request() && message.cseq() == cseq;
                let last = ours && message.status() >= 200;
                last.then(|| (message.status(), message.phrase().to_owned()))
            })
            .await?;
        if status >= 300 {
            return Err(Fault::Refused { status, phrase });
        }
        self.remote.clone().ok_or(Fault::Media("no answer"))
    }

    /// Begins to send a tone, or goes on after [`Self::mute`].
    pub async fn talk(&self, hertz: u32) -> Result<(), Fault> {
        let remote = self.remote.as_ref().ok_or(Fault::Media("no SDP yet"))?;
        let payload = remote.g711().ok_or(Fault::Media("no G.711"))?;
        let outgoing = Outgoing {
            rtp: remote.rtp,
            rtcp: remote.rtcp,
            mux: remote.mux,
            payload,
            law: law(remote, payload),
            hertz,
            key: self.key.clone(),
        };
        self.port.send(outgoing).await;
        Ok(())
    }

    /// Sends digits as telephone-events between the voice.
    pub async fn dial(&self, digits: &str) -> Result<(), Fault> {
        let events = self.remote.as_ref().and_then(|sdp| sdp.payload("telephone-event", 8000));
        self.port.dial(digits, events.ok_or(Fault::Media("no telephone-event"))?).await;
        Ok(())
    }

    /// Falls silent.
    pub async fn mute(&self) {
        self.port.mute().await;
    }

    /// The tape so far.
    pub async fn tape(&self) -> Tape {
        self.port.take().await
    }

    // Below: what the steps are made of.

    async fn provisional(&mut self, status: u16, fork: usize, sdp: &str) {
        let tag = self.tag(fork);
        let Side::Callee { invite, cancelled: false, .. } = &self.side else {
            return;
        };
        let phrase = match status {
            180 => "Ringing",
            181 => "Call Is Being Forwarded",
            _ => "Session Progress",
        };
        let message = &invite.message;
        let dialect = &self.core.dialect;
        let bytes = dialect.response(message, status, phrase, &tag, Some(&self.face()), "", sdp);
        self.core.answer(&invite.clone(), bytes).await;
    }

    fn face(&self) -> Face {
        let (contact, record_route) = (format!("<{}>", self.contact), self.record_route.clone());
        Face { contact, record_route }
    }

    fn tag(&mut self, fork: usize) -> String {
        let Side::Callee { tags, .. } = &mut self.side else {
            return String::new();
        };
        while tags.len() <= fork {
            tags.push(clock::token::<4>());
        }
        tags[fork].clone()
    }

    fn answer_sdp(&self, way: &str) -> Result<String, Fault> {
        let offer = self.remote.as_ref().ok_or(Fault::Media("no offer"))?;
        let (rtp, key) = (self.port.rtp(), self.key.as_ref());
        let answer = self.core.dialect.sdp_answer(offer, rtp, key, self.version, way);
        answer.ok_or(Fault::Media("no G.711 in the offer"))
    }

    async fn send_invite(&mut self, head: Head, channel: Channel) {
        let ack = Head {
            method: "ACK",
            to: "{to}".to_owned(),
            contact: String::new(),
            record_route: String::new(),
            extra: String::new(),
            sdp: String::new(),
            ..head.clone()
        };
        let branch = head.via.rsplit_once("branch=").map_or("", |(_, branch)| branch);
        self.core.prepare_ack(branch, &channel, self.core.dialect.request(&ack));
        self.core.send(&channel, self.core.dialect.request(&head)).await;
    }

    /// A request inside the dialog; gives its CSeq.
    async fn request(
        &mut self,
        method: &'static str,
        extra: &str,
        sdp: &str,
    ) -> Result<u32, Fault> {
        self.dialog.cseq += 1;
        let (head, channel) = self.head(method, self.dialog.cseq, extra, sdp).await?;
        if method == "INVITE" {
            self.send_invite(head, channel).await;
        } else {
            self.core.send(&channel, self.core.dialect.request(&head)).await;
        }
        Ok(self.dialog.cseq)
    }

    async fn head(
        &mut self,
        method: &'static str,
        cseq: u32,
        extra: &str,
        sdp: &str,
    ) -> Result<(Head, Channel), Fault> {
        if method != "ACK" {
            self.home = self.core.dialect.next_home(self.home, self.core.homes.len());
        }
        let channel = self.core.dial(self.home, self.dialog.next_hop()).await?;
        let home: SocketAddr = self.core.homes[self.home % self.core.homes.len()].address;
        let with_contact = method == "INVITE";
        let head = Head {
            method,
            uri: self.dialog.target.clone(),
            via: via(&channel, home, &branch()),
            from: self.dialog.local.clone(),
            to: self.dialog.remote.clone(),
            call: self.dialog.call_id.clone(),
            cseq,
            contact: if with_contact { format!("<{}>", self.contact) } else { String::new() },
            routes: self.dialog.routes.clone(),
            record_route: if with_contact { self.record_route.clone() } else { String::new() },
            extra: extra.to_owned(),
            sdp: sdp.to_owned(),
        };
        Ok((head, channel))
    }

    /// Waits for an answer to the first INVITE that `wanted` accepts; a final one ends the wait.
    async fn until<T>(
        &mut self,
        limit: Duration,
        what: &'static str,
        mut wanted: impl FnMut(&Message) -> Option<T>,
    ) -> Result<T, Fault> {
        let last = Instant::now() + limit;
        loop {
            let message = self.next(last, what).await?;
            if message.is_request() || message.method() != "INVITE" {
                continue;
            }
            if let Some(found) = wanted(&message) {
                return Ok(found);
            }
            match message.status() {
                0..=199 => {}
                200..=299 => return Err(Fault::Ended(what)),
                status => {
                    return Err(Fault::Refused { status, phrase: message.phrase().to_owned() });
                }
            }
        }
    }

    /// Waits for a message that `wanted` accepts, in a call that stands or comes in.
    async fn wait<T>(
        &mut self,
        limit: Duration,
        what: &'static str,
        mut wanted: impl FnMut(&Arc<Message>) -> Option<T>,
    ) -> Result<T, Fault> {
        let last = Instant::now() + limit;
        loop {
            let message = self.next(last, what).await?;
            if let Some(found) = wanted(&message) {
                return Ok(found);
            }
            if self.ended.is_some() && what != "200 to BYE" {
                return Err(Fault::Ended(what));
            }
        }
    }

    async fn next(&mut self, last: Instant, what: &'static str) -> Result<Arc<Message>, Fault> {
        let got = timeout_at(last, self.mailbox.recv()).await;
        let arrival = got.map_err(|_| Fault::Silence(what))?.ok_or(Fault::Silence(what))?;
        self.note(&arrival);
        if arrival.message.is_request() {
            self.requested(&arrival).await?;
        } else if arrival.message.method() == "INVITE" {
            self.responded(&arrival).await?;
        }
        Ok(arrival.message)
    }

    async fn requested(&mut self, arrival: &Arrival) -> Result<(), Fault> {
        let message = &arrival.message;
        match message.method() {
            "BYE" => {
                self.ended = Some(Arc::clone(message));
                self.core.reply(arrival, 200, "OK").await;
            }
            "CANCEL" => {
                let Side::Callee { invite, cancelled, .. } = &mut self.side else {
                    return Ok(());
                };
                *cancelled = true;
                let invite = invite.clone();
                let tag = self.tag(0);
                let response = &self.core.dialect;
                let bytes = response.response(
                    &invite.message,
                    487,
                    "Request Terminated",
                    &tag,
                    None,
                    "",
                    "",
                );
                self.core.answer(&invite, bytes).await;
            }
            "INVITE" => return self.reinvited(arrival).await,
            "ACK" => {
                if let Some(sdp) = message.sdp() {
                    self.apply(&sdp).await?;
                }
            }
            "OPTIONS" => self.core.reply(arrival, 200, "OK").await,
            _ => self.core.reply(arrival, 405, "Method Not Allowed").await,
        }
        Ok(())
    }

    async fn reinvited(&mut self, arrival: &Arrival) -> Result<(), Fault> {
        self.dialog.refresh(&arrival.message);
        let way = match arrival.message.sdp() {
            Some(sdp) => {
                self.apply(&sdp).await?;
                let way = self.remote.as_ref().map(|sdp| sdp.direction);
                way.unwrap_or(Direction::SendRecv).mirrored()
            }
            None => return Err(Fault::Media("a re-INVITE without offer")),
        };
        self.version += 1;
        let sdp = self.answer_sdp(way.name())?;
        let (dialect, face) = (&self.core.dialect, self.face());
        let bytes = dialect.response(&arrival.message, 200, "OK", "", Some(&face), "", &sdp);
        self.core.answer(arrival, bytes).await;
        Ok(())
    }

    /// An answer to an INVITE of ours, the first or a later one.
    async fn responded(&mut self, arrival: &Arrival) -> Result<(), Fault> {
        let message = &arrival.message;
        if message.status() >= 300 {
            return Ok(());
        }
        if message.status() >= 200 {
            if self.confirmed {
                self.dialog.refresh(message);
            } else {
                self.dialog.accepted(message, &self.record_route);
            }
            let (head, channel) = self.head("ACK", message.cseq(), "", "").await?;
            let ack = self.core.dialect.request(&head);
            self.core.acknowledge(message, &channel, ack).await;
            self.confirmed = true;
        }
        match message.sdp() {
            Some(sdp) => self.apply(&sdp).await,
            None if message.status() >= 200 && self.remote.is_none() => {
                Err(Fault::Media("no answer in the 200"))
            }
            None => Ok(()),
        }
    }

    /// Takes an SDP of the other side and listens accordingly.
    async fn apply(&mut self, sdp: &str) -> Result<(), Fault> {
        let sdp = Sdp::read(sdp).ok_or(Fault::Media("unreadable"))?;
        let voice = sdp.g711().ok_or(Fault::Media("no G.711"))?;
        let theirs = accepted_crypto(&sdp).map(|(_, key)| key);
        if self.key.is_some() != (sdp.protocol == "RTP/SAVP") {
            return Err(Fault::Media("the wrong protocol"));
        }
        if self.key.is_some() && theirs.is_none() {
            return Err(Fault::Media("no usable key"));
        }
        if self.remote.as_ref().is_some_and(|before| *before == sdp) {
            return Ok(());
        }
        let incoming = Incoming {
            key: self.key.is_some().then_some(theirs).flatten(),
            law: law(&sdp, voice),
            events: sdp.payload("telephone-event", 8000),
        };
        self.remote = Some(sdp);
        self.port.listen(incoming).await;
        Ok(())
    }

    /// Notes what is wrong with a message of this call.
    fn note(&self, arrival: &Arrival) {
        let message = &arrival.message;
        if let Some(why) = self.core.dialect.blame(arrival) {
            self.core.complain(format!("{}: {why}", message.start()));
        }
        let inside = message.is_request()
            && message.to_tag().is_some()
            && self.confirmed
            && message.method() != "CANCEL";
        if inside && message.uri() != self.contact {
            self.core.complain(format!("{}: not our Contact {}", message.start(), self.contact));
        }
        let recorded = !self.record_route.is_empty();
        if inside && recorded && message.elements("Route") != [self.record_route.as_str()] {
            self.core.complain(format!("{}: without our Record-Route", message.start()));
        }
    }
}

fn law(sdp: &Sdp, payload: u8) -> Law {
    if sdp.is_alaw(payload) { Law::A } else { Law::Mu }
}
