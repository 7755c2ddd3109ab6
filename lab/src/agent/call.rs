//! One call, step by step. Whoever holds it decides; what needs no decision is answered here.

mod callee;
mod caller;
mod media;
mod session;
pub(crate) mod transfer;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::agent::core::{Core, Offer};
use crate::agent::dialect::{Face, Head, branch, via};
use crate::agent::dialog::Dialog;
use crate::agent::invite::{Edit, Invite};
use crate::agent::{Fault, digits};
use crate::clock;
use crate::media::Port;
use crate::media::srtp::Key;
use crate::sip::{Message, Sdp, tag_of};
use crate::wire::{Arrival, Channel};

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
    /// Changes each SDP of ours.
    edit: Option<Edit>,
    /// Our last SDP.
    said: String,
    /// Our INVITE had no offer: the SDP goes with the ACK.
    late: bool,
    sequence: Option<u16>,
    /// The call stands: the 2xx is acknowledged.
    confirmed: bool,
    /// Our BYE is under way.
    leaving: bool,
    ended: Option<Arc<Message>>,
    /// NOTIFYs that came and were not asked for yet.
    notices: VecDeque<Arc<Message>>,
}

enum Side {
    Caller { invite: Box<Head>, channel: Channel },
    Callee { invite: Arrival, tags: Vec<String>, cancelled: bool },
}

impl Call {
    pub(crate) async fn outgoing(core: &Arc<Core>, invite: Invite) -> Result<Self, Fault> {
        let home = &core.homes[invite.home % core.homes.len()];
        let port = Port::open(home.address.ip()).await?;
        let mut names = core.dialect.names(&invite, core.gateway()?, home.address);
        if let Some(from) = &invite.from {
            names.from.clone_from(from);
        }
        let channel = core.dial(invite.home, &names.uri).await?;
        let contact = core.dialect.contact(home.address, home.transport, &invite.caller);
        let record_route = core.dialect.record_route(home.address);
        let key = invite.key.clone().or_else(|| core.dialect.key());
        let from = format!("{};tag={}", names.from, clock::token::<4>());
        let dialog = Dialog::caller(clock::token::<12>(), from, names.to, names.uri);
        let mut extra = invite.extra.clone();
        extra.push(core.dialect.invite_lines().to_owned());
        extra.retain(|line| !line.is_empty());
        let offer = core.dialect.offer(port.rtp(), key.as_ref(), 0, "sendrecv");
        let offer = Edit::apply(invite.sdp.as_ref(), offer);
        let mut head = Head {
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
            sdp: if invite.late { String::new() } else { offer.clone() },
            ..Head::default()
        };
        if let Some(around) = &invite.around {
            head.kind.clone_from(&around.kind);
            head.sdp = format!("{}{offer}{}", around.before, around.after);
        }
        let mailbox = core.mailbox(&dialog.call_id);
        let call = Self {
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
            edit: invite.sdp.clone(),
            said: offer,
            late: invite.late,
            sequence: invite.sequence,
            confirmed: false,
            leaving: false,
            ended: None,
            notices: VecDeque::new(),
        };
        call.prepare_ack(&head, &channel);
        let text = call.core.dialect.request(&head);
        let text = match &invite.text {
            Some(_) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                Edit::apply(invite.text.as_ref(), text).into_bytes()
            }
            None => text,
        };
        call.core.send_in_parts(&channel, text, invite.parts).await;
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
            edit: None,
            said: String::new(),
            late: false,
            sequence: None,
            confirmed: false,
            leaving: false,
            ended: None,
            notices: VecDeque::new(),
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

    /// Our Contact.
    #[must_use]
    pub fn contact(&self) -> &str {
        &self.contact
    }

    /// The Record-Route that we put into what begins the dialog; empty for none.
    #[must_use]
    pub fn record_route(&self) -> &str {
        &self.record_route
    }

    /// Which of our homes it is at.
    #[must_use]
    pub const fn home(&self) -> usize {
        self.home
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

    /// The BYE that ended it, if the other side did.
    #[must_use]
    pub fn ended_by(&self) -> Option<&Message> {
        self.ended.as_deref()
    }

    // Steps of both.

    /// Ends the call and waits for the 200.
    pub async fn bye(&mut self, limit: Duration) -> Result<(), Fault> {
        self.leaving = true;
        let reason = self.core.dialect.reason(&self.contact, 16, "Normal");
        let answer = self.ask("BYE", &reason, "", limit).await?;
        match answer.status() {
            200 => Ok(()),
            status => Err(Fault::Refused { status, phrase: "to BYE".to_owned() }),
        }
    }

    /// Waits for the other side's BYE, which is answered here.
    pub async fn ended(&mut self, limit: Duration) -> Result<(), Fault> {
        if self.ended.is_some() {
            return Ok(());
        }
        let own = self.own_tag();
        let is_bye = |message: &Arc<Message>| {
            message.is_request() && message.method() == "BYE" && message.to_tag() == Some(&own)
        };
        self.wait(limit, "BYE", |message| is_bye(message).then_some(())).await
    }

    /// Lets time pass, answering what comes. An early end of the call is an error.
    pub async fn stay(&mut self, time: Duration) -> Result<(), Fault> {
        match self.wait(time, "", |_| None::<()>).await {
            Ok(()) | Err(Fault::Silence(_)) if self.ended.is_none() => Ok(()),
            Ok(()) | Err(_) => Err(Fault::Ended("its time")),
        }
    }

    /// A request inside the dialog; waits for its final answer, whatever that says.
    pub async fn ask(
        &mut self,
        method: &'static str,
        extra: &str,
        sdp: &str,
        limit: Duration,
    ) -> Result<Arc<Message>, Fault> {
        let cseq = self.request(method, extra, sdp).await?;
        self.wait(limit, "final answer", |message| {
            let ours = !message.is_request() && message.cseq() == cseq;
            (ours && message.method() == method && message.status() >= 200)
                .then(|| Arc::clone(message))
        })
        .await
    }

    // Below: what the steps are made of.

    fn own_tag(&self) -> String {
        tag_of(&self.dialog.local).unwrap_or_default().to_owned()
    }

    fn face(&self) -> Face {
        let (contact, record_route) = (format!("<{}>", self.contact), self.record_route.clone());
        Face { contact, record_route }
    }

    fn prepare_ack(&self, head: &Head, channel: &Channel) {
        let ack = Head {
            method: "ACK",
            to: "{to}".to_owned(),
            contact: String::new(),
            record_route: String::new(),
            extra: String::new(),
            sdp: String::new(),
            kind: String::new(),
            ..head.clone()
        };
        let branch = head.via.rsplit_once("branch=").map_or("", |(_, branch)| branch);
        self.core.prepare_ack(branch, channel, self.core.dialect.request(&ack));
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
            self.prepare_ack(&head, &channel);
        }
        self.core.send(&channel, self.core.dialect.request(&head)).await;
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
        let recorded = method == "INVITE";
        let with_contact = matches!(method, "INVITE" | "REFER" | "UPDATE");
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
            record_route: if recorded { self.record_route.clone() } else { String::new() },
            extra: extra.to_owned(),
            sdp: sdp.to_owned(),
            kind: String::new(),
        };
        Ok((head, channel))
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
            if self.ended.is_some() && !self.leaving {
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
                // Another fork's end is not ours.
                if message.to_tag() == Some(&self.own_tag()) {
                    self.ended = Some(Arc::clone(message));
                }
                self.core.reply(arrival, 200, "OK").await;
            }
            "CANCEL" => self.given_up().await,
            "INVITE" => return self.reinvited(arrival).await,
            "ACK" => {
                if let Some(sdp) = message.sdp() {
                    self.apply(&sdp).await?;
                }
            }
            "NOTIFY" => {
                self.notices.push_back(Arc::clone(message));
                self.core.reply(arrival, 200, "OK").await;
            }
            "OPTIONS" => self.core.reply(arrival, 200, "OK").await,
            _ => self.core.reply(arrival, 405, "Method Not Allowed").await,
        }
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
