//! Transfer by REFER (RFC 3515, RFC 3892, RFC 5589): a side of an answered call asks that somebody else takes its place.
//!
//! The REFER ends here, and so does everything that comes of it: who asked (the referrer) is told by NOTIFY how the INVITE
//! to the target fares; the other side (the survivor) hears ringback, and then the target, in the session that it has. A
//! tenant's goes by the edge of the referrer, whomever its Refer-To names: a phone number, too, is the phone system's to
//! route. A trunk's asks for a number, which is routed as a call of that trunk (`refer` of the trunk; where that is "pass",
//! [`super::referral`] comes first).
//!
//! ```text
//! input                 | no transfer              | the target is asked             | the target has answered
//! ----------------------+--------------------------+---------------------------------+------------------------
//! REFER                 | 202, NOTIFY 100, INVITE  | 491                             | as with none
//! 18x of the target     | -                        | NOTIFY, ringback to the survivor| -
//! 2xx of the target     | -                        | its place, NOTIFY 200           | -
//! failure of the target | -                        | NOTIFY; back as it was, or BYE  | -
//!                       |                          | to the survivor if it is alone  |
//! BYE of the referrer   | ends the call            | its place is vacant             | 200
//! BYE of the survivor   | ends the call            | CANCEL, BYE: ends the call      | ends the call
//! 32 s                  | -                        | -                               | BYE to the referrer
//! ```

use std::time::Duration;

use bytes::Bytes;
use config::Refer;
use sip_stack::endpoint::ServerId;
use sip_stack::leg::Event as LegEvent;
use sip_stack::message::{HeaderId, Message, NameAddr, default_phrase};
use sip_stack::uri::{Scheme, Uri};

use super::attempt::Attempts;
use super::attempt_timers::Timers;
use super::bridge::reason;
use super::invitation::Parties;
use super::{CALLER, Call, Context, Do, Phase};
use crate::admission::{Request, Way};
use crate::event::{self, Event};
use crate::failure::Cause;
use crate::locals::{self, Side};
use crate::numbers::{Masked, Number};
use crate::profile::{Caller, Profile};
use crate::routing::{End, Hop, TenantId};

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Transfer {
    /// The side whose place is to be taken.
    pub(super) side: usize,
    /// The leg that asked.
    referrer: usize,
    /// The attempt that is alive.
    pub(super) leg: Option<usize>,
    order: Order,
    /// The Event of our NOTIFYs.
    event: Bytes,
    /// What the referrer was told last.
    told: u16,
}

/// What a REFER asks for.
#[derive(Debug)]
struct Order {
    whom: Whom,
    /// Referred-By byte for byte: it holds tokens whose case matters.
    referred_by: Option<Bytes>,
}

/// Who is asked for.
#[derive(Debug)]
enum Whom {
    /// Whoever the referrer's phone system has there.
    Uri {
        /// Refer-To byte for byte, less its headers (RFC 3261 §19.1.5): a Replaces in them is not for us to send.
        target: Bytes,
        /// The same without parameters.
        to: Bytes,
    },
    /// A number of our own plan.
    Number(Number),
}

impl Transfer {
    /// Who is asked for, as the record shows it: the user part, else the URI.
    pub(super) fn asked_for(&self) -> &str {
        match &self.order.whom {
            Whom::Number(number) => number.as_str(),
            Whom::Uri { target, .. } => {
                let text = std::str::from_utf8(target).unwrap_or_default();
                let user = Uri::parse(text.as_bytes()).ok().and_then(|uri| uri.user());
                user.and_then(|user| std::str::from_utf8(user).ok()).unwrap_or(text)
            }
        }
    }
}

impl Call {
    /// Whether a transfer asks for help.
    pub(super) fn asks_for_help(&self, transfer: &Transfer) -> bool {
        match (&transfer.order.whom, self.legs[transfer.referrer].end) {
            (Whom::Number(number), Some(end)) => self.routes.is_help(end, b"", number),
            (Whom::Number(_) | Whom::Uri { .. }, _) => false,
        }
    }

    /// Whether somebody is asked to take a side's place.
    pub const fn is_transferring(&self) -> bool {
        self.transfer.is_some()
    }

    /// A leg is asked to be replaced.
    pub(super) fn referred(
        &mut self,
        at: usize,
        server: ServerId,
        refer: &Message,
        cx: &mut Context<'_>,
    ) {
        let ordered = self.order(at, refer, cx).and_then(|(order, hops)| {
            self.may_call(at, &order, cx)?;
            Ok((order, hops))
        });
        let (order, hops) = match ordered {
            Ok(begun) => begun,
            Err(status) => {
                tracing::info!(call = self.story.id(), status, "transfer refused");
                count(event::Transfer::Refused, cx);
                return self.respond(at, server, refer, status, cx);
            }
        };
        self.respond(at, server, refer, 202, cx);
        let (side, event) = (self.legs[at].side, self.next_event(refer));
        let transfer = Transfer { side, referrer: at, leg: None, order, event, told: 0 };
        let hidden = self.routes.config().log.mask_numbers;
        let to = Masked::new(transfer.asked_for(), hidden);
        tracing::info!(call = self.story.id(), %to, "transfer");
        self.tell(&transfer, 100, cx);
        self.transfer = Some(transfer);
        self.attempts = Attempts::new(hops, Timers::begin(None, cx.now));
        self.next_hop(cx);
    }

    /// The Event of the NOTIFYs for a REFER: the first of a dialog needs no name (RFC 3515 §2.4.6).
    pub(super) fn next_event(&mut self, refer: &Message) -> Bytes {
        self.transfers += 1;
        if self.transfers == 1 {
            return Bytes::from_static(b"refer");
        }
        format!("refer;id={}", refer.cseq()).into()
    }

    /// The target of a REFER of a leg that may ask for one, or the status that refuses it.
    pub(super) fn refer_to<'m>(&self, at: usize, refer: &'m Message) -> Result<NameAddr<'m>, u16> {
        if self.phase != Phase::Talking || self.transfers >= MOST_TRANSFERS {
            return Err(603);
        }
        let busy = self.transfer.is_some() || self.referral.is_some();
        if busy || !self.speakers.contains(&Some(at)) {
            return Err(491);
        }
        let lengths = [HeaderId::ReferTo, HeaderId::ReferredBy]
            .map(|id| refer.values(id).map(<[u8]>::len).sum::<usize>());
        if lengths.iter().any(|length| *length > LONGEST) {
            return Err(513);
        }
        let mut targets = refer.values(HeaderId::ReferTo);
        let (Some(target), None) = (targets.next(), targets.next()) else { return Err(400) };
        let address = NameAddr::parse(target).map_err(|_| 400_u16)?;
        Uri::parse(address.uri).map_err(|_| 400_u16)?;
        Ok(address)
    }

    /// What is asked for, and by which hops; or the status that refuses it.
    fn order(
        &self,
        at: usize,
        refer: &Message,
        cx: &mut Context<'_>,
    ) -> Result<(Order, Vec<Hop>), u16> {
        let target = self.refer_to(at, refer)?.uri;
        let uri = Uri::parse(target).map_err(|_| 400_u16)?;
        let referred_by = refer.value(HeaderId::ReferredBy).map(Bytes::copy_from_slice);
        let (whom, hops) = match self.legs[at].end.ok_or(603_u16)? {
            End::Tenant(tenant) => {
                if uri.scheme() != Scheme::Sip {
                    return Err(416);
                }
                (whom(target), self.proxies(at, tenant))
            }
            End::Trunk(trunk) => {
                // There is no call to it that the survivor could be put into.
                let replaces = target.contains(&b'?');
                if self.routes.config().trunks[trunk.0].refer == Refer::Refuse || replaces {
                    return Err(603);
                }
                let end = End::Trunk(trunk);
                let number = uri.user().and_then(|it| Number::read(it, self.routes.country(end)));
                let number = number.ok_or(484_u16)?;
                let help = self.routes.is_help(end, b"", &number);
                let plan = self
                    .routes
                    .plan(end, &number, help, cx.rank, cx.random)
                    .map_err(Cause::status)?;
                (Whom::Number(number), plan.hops)
            }
        };
        if hops.is_empty() { Err(603) } else { Ok((Order { whom, referred_by }, hops)) }
    }

    /// Whether a trunk may make the call that it asks for: it is one of its own, and counts as such while the target is there.
    fn may_call(&self, at: usize, order: &Order, cx: &mut Context<'_>) -> Result<(), u16> {
        let (Some(end @ End::Trunk(trunk)), Whom::Number(called)) =
            (self.legs[at].end, &order.whom)
        else {
            return Ok(());
        };
        let by_caller = self.legs[at].side == CALLER;
        let number = match by_caller {
            true => self.caller.shown().map(|(user, _)| user).or(self.caller.vouched()),
            false => Some(self.called.as_str()),
        };
        let help = self.help || self.routes.is_help(end, b"", called);
        let asked = Request { end, way: Way::Made, number, help };
        let granted = cx.permits.for_referrer(&self.routes, asked, by_caller, cx.now);
        granted.map_err(|cause| match cause.is_limit() {
            true => self.routes.config().trunks[trunk.0].limit_status,
            false => cause.status(),
        })
    }

    /// The proxies of the edge by which a leg's tenant is spoken to.
    fn proxies(&self, at: usize, tenant: TenantId) -> Vec<Hop> {
        let config = self.routes.config();
        match locals::side(config, self.legs[at].leg.identity().local_id) {
            Side::Edge(edge) => {
                let proxies = 0..config.edges[edge.0].proxies.len();
                proxies.map(|proxy| Hop::Proxy { tenant, edge, proxy }).collect()
            }
            Side::Realm(_) => Vec::new(),
        }
    }

    /// The INVITE to the target: in the name of the survivor.
    pub(super) fn parties_of_transfer(
        &self,
        transfer: &Transfer,
        hop: Hop,
        profile: &Profile,
    ) -> Parties {
        let caller = if transfer.side == CALLER {
            Caller::of_number(self.called.as_str())
        } else {
            self.caller.clone()
        };
        match &transfer.order.whom {
            Whom::Number(number) => {
                Parties { max_forwards: MAX_FORWARDS, ..self.parties(number, caller, hop, profile) }
            }
            Whom::Uri { target, to } => {
                let referred_by = transfer.order.referred_by.clone();
                let extra = referred_by.map(|value| (HeaderId::ReferredBy, value));
                Parties {
                    request_uri: target.clone(),
                    dialled: String::new(),
                    to: to.clone(),
                    caller,
                    extra: extra.into_iter().collect(),
                    beside: Vec::new(),
                    max_forwards: MAX_FORWARDS,
                }
            }
        }
    }

    /// Something happened on the leg to the target.
    pub(super) fn on_target(&mut self, at: usize, event: LegEvent, cx: &mut Context<'_>) {
        match event {
            LegEvent::Provisional { message, .. } => {
                let status = message.status();
                self.attempt_alive(status > 100, cx.now);
                if status > 100 {
                    self.note(at, Some(&message));
                    self.survivor_rings(cx);
                    self.tell_again(status, cx);
                }
            }
            LegEvent::Answered { message, sdp } => {
                self.note(at, Some(&message));
                self.target_answered(at, sdp.as_ref(), cx);
            }
            LegEvent::Rejected { status, message, why } => {
                self.note(at, message.as_ref());
                self.attempt_failed(status, message.as_ref(), why, cx);
            }
            LegEvent::Request { server, message } => self.respond(at, server, &message, 481, cx),
            LegEvent::Offer { .. } => {
                self.on_leg(at, cx, |leg, now, out| leg.refuse_offer(488, now, out));
            }
            LegEvent::Confirmed
            | LegEvent::Answer { .. }
            | LegEvent::Refreshed { .. }
            | LegEvent::OfferWithdrawn
            | LegEvent::OfferRefused { .. }
            | LegEvent::Referred { .. }
            | LegEvent::Ended { .. }
            | LegEvent::Cancelled { .. } => {}
        }
    }

    fn target_answered(&mut self, at: usize, sdp: Option<&Bytes>, cx: &mut Context<'_>) {
        let Some(transfer) = self.transfer.take() else { return };
        let side = transfer.side;
        self.attempts.timers.stop_all();
        let taken = match sdp {
            Some(sdp) => self.media.take_third(sdp, cx.owned),
            None => Err(Cause::BadOffer),
        };
        if let Err(cause) = taken {
            self.story.attempt_result(cause.status());
            self.on_leg(at, cx, |leg, now, out| leg.bye(&reason(cause), now, out));
            return self.transfer_failed(&transfer, cause, cx);
        }
        self.story.attempt_result(200);
        tracing::info!(call = self.story.id(), "transferred");
        count(event::Transfer::Done, cx);
        self.drop_exchange_of(transfer.referrer, cx);
        self.seat(at, cx);
        self.tell(&transfer, 200, cx);
        self.part_from(transfer.referrer, cx);
        self.bring_together(side, cx);
    }

    /// The target is not reached. The call goes on as it was, if the referrer is still there.
    pub(super) fn transfer_failed(
        &mut self,
        transfer: &Transfer,
        cause: Cause,
        cx: &mut Context<'_>,
    ) {
        tracing::info!(call = self.story.id(), cause = cause.label(), "transfer failed");
        count(event::Transfer::Failed, cx);
        self.attempts.timers.stop_all();
        cx.ports.give_back(self.media.drop_third(), cx.now);
        self.media.end_ringback(1 - transfer.side);
        self.tell(transfer, cause.status(), cx);
        if self.speakers[transfer.side].is_none() {
            return self.conclude("gateway", cause, None, cx);
        }
        self.apply(cx);
    }

    /// The referrer has left before the target answered: nobody is there for the survivor but ringback.
    pub(super) fn referrer_left(&mut self, at: usize, cx: &mut Context<'_>) {
        let side = self.legs[at].side;
        tracing::debug!(call = self.story.id(), "the referrer has left");
        self.drop_exchange_of(at, cx);
        self.speakers[side] = None;
        self.media.vacate(side);
        self.media.begin_ringback(1 - side, self.ringback_of(1 - side), false);
        self.apply(cx);
    }

    fn survivor_rings(&mut self, cx: &mut Context<'_>) {
        let Some(survivor) = self.transfer.as_ref().map(|transfer| 1 - transfer.side) else {
            return;
        };
        if !self.media.rings(survivor) {
            self.media.begin_ringback(survivor, self.ringback_of(survivor), false);
            self.apply(cx);
        }
    }

    fn tell_again(&mut self, status: u16, cx: &mut Context<'_>) {
        let Some(mut transfer) = self.transfer.take() else { return };
        if transfer.told != status {
            transfer.told = status;
            self.tell(&transfer, status, cx);
        }
        self.transfer = Some(transfer);
    }

    fn tell(&mut self, transfer: &Transfer, status: u16, cx: &mut Context<'_>) {
        self.notify(transfer.referrer, &transfer.event, status, status >= 200, cx);
    }

    /// NOTIFY to a referrer (RFC 3515 §2.4.5); the last one ends the subscription.
    pub(super) fn notify(
        &mut self,
        referrer: usize,
        event: &Bytes,
        status: u16,
        last: bool,
        cx: &mut Context<'_>,
    ) {
        let phrase = default_phrase(status);
        let line = Bytes::from(format!("SIP/2.0 {status} {phrase}\r\n"));
        let state = if last { TERMINATED } else { ACTIVE };
        self.on_leg(referrer, cx, |leg, _, out| leg.notify(event.clone(), state, line, out));
    }
}

pub(super) fn count(transfer: event::Transfer, cx: &mut Context<'_>) {
    cx.out.push(Do::Event(Event::Transfer(transfer)));
}

/// A Refer-To as it is asked for.
fn whom(refer_to: &[u8]) -> Whom {
    let end = refer_to.iter().position(|b| *b == b'?').unwrap_or(refer_to.len());
    let target = &refer_to[..end];
    let bare = match target.iter().rposition(|b| *b == b'@') {
        Some(user) => user + target[user..].iter().position(|b| *b == b';').unwrap_or(end - user),
        None => target.iter().position(|b| *b == b';').unwrap_or(end),
    };
    let to = [b"<", &target[..bare], b">"].concat();
    Whom::Uri { target: Bytes::copy_from_slice(target), to: to.into() }
}

/// Of one call: more of them are a loop.
pub(super) const MOST_TRANSFERS: u32 = 8;
/// Bytes of Refer-To, of Referred-By; they go on as they are. What is seen in the field stays below 2 kB.
const LONGEST: usize = 8 * 1024;
/// A transferred call begins its way anew, and can come round no more often than [`MOST_TRANSFERS`].
const MAX_FORWARDS: u32 = 69;
/// How long the subscription of a referrer lasts without a NOTIFY.
pub(super) const SUBSCRIPTION: Duration = Duration::from_secs(180);
const ACTIVE: &str = "active;expires=180";
const TERMINATED: &str = "terminated;reason=noresource";
