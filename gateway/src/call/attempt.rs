//! Reaching somebody: hops one after the other, each located, each address an INVITE of its own ([`super::invitation`]).
//! Whom, is the callee, or the target of a transfer.
//!
//! The next one is tried when a hop cannot be reached, is silent, or answers with a status that says "elsewhere", and
//! only while nothing has rung. Another hop comes before another address of the same one. The timers are in
//! [`super::attempt_timers`]; what went wrong is told to whoever orders the hops of later calls ([`Do::Trouble`]).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sip_stack::leg::Rejection;
use sip_stack::locate::{Address, Located};
use sip_stack::message::{HeaderId, Message};
use sip_stack::transport::Transport;

use super::attempt_timers::{Timer, Timers, silent_at};
use super::{CALLEE, CALLER, Call, Context, Do, Phase};
use crate::credentials::{Unanswered, unanswered};
use crate::failure::Cause;
use crate::routing::{EdgeId, End, Hop, Place, Routes, TenantId};

/// What went wrong at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It said nothing to an INVITE.
    Silent,
    /// No connection to it could be made.
    Unreachable,
    /// It asked for no further calls for so long (503 with Retry-After, RFC 3261 §21.5.4).
    Busy(Duration),
}

/// What is left to try.
#[derive(Debug)]
pub(super) struct Attempts {
    ways: VecDeque<Way>,
    pub(super) current: Option<Current>,
    pub(super) timers: Timers,
    /// Something rang: no other hop is tried any more.
    rang: bool,
    /// Why the last one failed.
    pub(super) last: Cause,
    /// Whose answer that was.
    refused_by: Option<End>,
    pub(super) made: usize,
}

/// A hop to be tried.
#[derive(Debug)]
struct Way {
    hop: Hop,
    /// What is left of its addresses; `None` before it was located.
    addresses: Option<VecDeque<Address>>,
}

/// The hop being tried.
#[derive(Debug)]
pub(super) struct Current {
    hop: Hop,
    /// Addresses not tried yet.
    rest: VecDeque<Address>,
    /// The INVITE that is out.
    pub(super) sent: Option<Sent>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) transport: Transport,
    pub(super) remote: SocketAddr,
    pub(super) at: Instant,
}

impl Attempts {
    pub(super) fn new(hops: Vec<Hop>, timers: Timers) -> Self {
        Self {
            ways: hops.into_iter().map(|hop| Way { hop, addresses: None }).collect(),
            current: None,
            timers,
            rang: false,
            last: Cause::Unreachable,
            refused_by: None,
            made: 0,
        }
    }
}

impl Attempts {
    /// The hop being tried.
    pub(super) fn tried_hop(&self) -> Option<Hop> {
        self.current.as_ref().map(|current| current.hop)
    }

    /// These hops, and no others any more.
    fn lead_to(&mut self, hops: Vec<Hop>) {
        self.current = None;
        self.ways = hops.into_iter().map(|hop| Way { hop, addresses: None }).collect();
    }
}

impl Call {
    /// Tries the next hop, or gives up when there is none.
    pub(super) fn next_hop(&mut self, cx: &mut Context<'_>) {
        self.attempts.timers.stop(Timer::Silence);
        self.attempts.timers.search(cx.now);
        if let Some(Current { hop, rest, .. }) = self.attempts.current.take()
            && !rest.is_empty()
        {
            self.attempts.ways.push_back(Way { hop, addresses: Some(rest) });
        }
        let Some(Way { hop, addresses }) = self.attempts.ways.pop_front() else {
            let cause = self.attempts.last;
            self.attempts_over("gateway", cause, None, cx);
            return;
        };
        let located = addresses.is_some();
        let rest = addresses.unwrap_or_default();
        self.attempts.current = Some(Current { hop, rest, sent: None });
        if located {
            self.next_address(cx);
        } else {
            self.searches += 1;
            let reach = self.routes.reach(hop.place());
            cx.out.push(Do::Locate { reach, search: self.searches });
        }
    }

    /// The addresses of the hop that was asked for, by the search of that number.
    pub fn located(&mut self, search: u32, located: Located, cx: &mut Context<'_>) {
        let seeks = self.phase == Phase::Trying || self.transfer.is_some();
        if !seeks || search != self.searches {
            return;
        }
        let Some(current) = &mut self.attempts.current else { return };
        match located {
            Ok(found) if found.is_empty() => self.not_registered(cx),
            Ok(found) => current.rest.extend(found.into_iter().take(MOST_ADDRESSES)),
            Err(error) => {
                let name = self.routes.place_name(current.hop.place());
                tracing::warn!(hop = %name, %error, "next hop not located");
                self.story.attempt(name.to_string(), cx.wall);
                self.story.attempt_result(0);
            }
        }
        self.next_address(cx);
    }

    fn next_address(&mut self, cx: &mut Context<'_>) {
        let next = self
            .attempts
            .current
            .as_mut()
            .and_then(|current| Some((current.hop, current.rest.pop_front()?)));
        match next {
            Some((hop, address)) if self.attempts.made < MOST_ATTEMPTS => {
                self.invite(hop, address, cx);
            }
            Some(_) | None => self.next_hop(cx),
        }
    }

    /// What is due among the timers of the attempts.
    pub(super) fn attempt_timeout(&mut self, cx: &mut Context<'_>) {
        while let Some(timer) = self.attempts.timers.take_due(cx.now) {
            match timer {
                Timer::Silence => self.attempt_silent(cx),
                Timer::Search => self.search_over(cx),
                Timer::Progress => self.progress(cx),
                Timer::Ring => {
                    self.give_up_attempt(cx);
                    self.attempts_over("gateway", Cause::NoAnswer, None, cx);
                }
            }
        }
    }

    /// An attempt said nothing in time, unless its connection has opened only lately.
    fn attempt_silent(&mut self, cx: &mut Context<'_>) {
        let Some(at) = self.attempt() else { return };
        let local = self.legs[at].leg.identity().local_id;
        if let Some(Current { hop, sent: Some(sent), .. }) = &self.attempts.current {
            let due = when_silent(*hop, local, *sent, cx);
            if due > cx.now {
                return self.attempts.timers.set(Timer::Silence, due);
            }
        }
        self.give_up_attempt(cx);
        self.trouble(Trouble::Silent, cx);
        self.next_hop(cx);
    }

    /// All the time there is for a first sign of life has passed.
    fn search_over(&mut self, cx: &mut Context<'_>) {
        if self.attempt().is_some() {
            self.give_up_attempt(cx);
        }
        let cause = self.attempts.last;
        self.attempts_over("gateway", cause, None, cx);
    }

    fn give_up_attempt(&mut self, cx: &mut Context<'_>) {
        self.attempts.last = Cause::Silent;
        self.story.attempt_result(408);
        if let Some(at) = self.set_attempt(None) {
            self.on_leg(at, cx, |leg, now, out| leg.cancel(None, now, out));
        }
    }

    /// The caller would give up soon, having heard nothing: it hears that the call goes on.
    fn progress(&mut self, cx: &mut Context<'_>) {
        if self.phase == Phase::Trying && self.rung.is_none() {
            self.on_leg(CALLER, cx, |leg, now, out| leg.ring(183, None, &[], now, out));
        }
    }

    /// An attempt is alive.
    pub(super) fn attempt_alive(&mut self, rings: bool, now: Instant) {
        self.attempts.timers.heard(now);
        self.attempts.rang |= rings;
    }

    /// An attempt failed for good: the next one, or the end.
    pub(super) fn attempt_failed(
        &mut self,
        status: u16,
        message: Option<&Message>,
        why: Rejection,
        cx: &mut Context<'_>,
    ) {
        let failed = self.set_attempt(None);
        let (cause, elsewhere) = match why {
            Rejection::Response => {
                // 420 is about 100rel, which not everybody has.
                let demanded = failed.is_some_and(|at| self.legs[at].leg.identity().reliable);
                let elsewhere = self.tries_elsewhere(status) || demanded && status == 420;
                (self.refusal(status, message), elsewhere)
            }
            Rejection::Timeout => (Cause::Silent, true),
            Rejection::Transport => (Cause::Unreachable, true),
            Rejection::Cancelled => (Cause::NoAnswer, false),
            Rejection::NoAnswer => (Cause::BadOffer, false),
        };
        self.attempts.last = cause;
        self.attempts.refused_by = self.attempts.current.as_ref().map(|current| current.hop.end());
        self.story.attempt_result(match why {
            Rejection::Transport => 0,
            Rejection::Response
            | Rejection::Timeout
            | Rejection::Cancelled
            | Rejection::NoAnswer => status,
        });
        match why {
            Rejection::Timeout => self.trouble(Trouble::Silent, cx),
            Rejection::Transport => self.trouble(Trouble::Unreachable, cx),
            Rejection::Response => {
                if let Some(wait) = message.filter(|_| status == 503).and_then(retry_after) {
                    self.trouble(Trouble::Busy(wait), cx);
                }
            }
            Rejection::Cancelled | Rejection::NoAnswer => {}
        }
        let other = message.filter(|_| (300..400).contains(&status));
        if let Some(hops) = other.and_then(|message| self.redirected(message, cx)) {
            self.attempts.lead_to(hops);
            self.next_hop(cx);
        } else if elsewhere && !self.attempts.rang {
            self.next_hop(cx);
        } else {
            self.attempts_over("callee", cause, message, cx);
        }
    }

    /// What the caller is told of this end: what its trunk's `status_map` makes of a status of the callee.
    pub(super) fn status_for_caller(&self, cause: Cause) -> u16 {
        if let (true, Some(End::Trunk(trunk))) = (cause.is_limit(), self.legs[CALLER].end) {
            return self.routes.config().trunks[trunk.0].limit_status;
        }
        match (cause, self.attempts.refused_by) {
            (Cause::Peer(status), Some(End::Trunk(trunk))) => {
                let map = &self.routes.config().trunks[trunk.0].status_map;
                map.get(&status).copied().unwrap_or_else(|| cause.status_for_caller())
            }
            _ => cause.status_for_caller(),
        }
    }

    /// Tells what is wrong with the hop being tried, for later calls.
    fn trouble(&self, trouble: Trouble, cx: &mut Context<'_>) {
        let Some(Current { hop, rest, sent: Some(sent) }) = &self.attempts.current else { return };
        cx.out.push(Do::Trouble {
            place: self.routes.place_name(hop.place()),
            address: sent.remote,
            all: rest.is_empty(),
            trouble,
        });
    }

    /// Where the INVITE of this leg went, while it is the one being tried.
    pub fn tried(&self, leg: usize) -> Option<Place> {
        let current = self.attempts.current.as_ref().filter(|_| self.attempt() == Some(leg))?;
        Some(current.hop.place())
    }

    /// The leg of the attempt that is alive.
    const fn attempt(&self) -> Option<usize> {
        match &self.transfer {
            Some(transfer) => transfer.leg,
            None => self.speakers[CALLEE],
        }
    }

    /// Names another one; the one before.
    pub(super) const fn set_attempt(&mut self, leg: Option<usize>) -> Option<usize> {
        let place = match &mut self.transfer {
            Some(transfer) => &mut transfer.leg,
            None => &mut self.speakers[CALLEE],
        };
        std::mem::replace(place, leg)
    }

    /// Nobody is reached: the end of the call, or of the transfer.
    fn attempts_over(
        &mut self,
        by: &'static str,
        cause: Cause,
        message: Option<&Message>,
        cx: &mut Context<'_>,
    ) {
        match self.transfer.take() {
            Some(transfer) => self.transfer_failed(&transfer, cause, cx),
            None => self.conclude(by, cause, message, cx),
        }
    }

    /// The configuration under which the call lives.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// What a final status from the hop being tried means.
    fn refusal(&self, status: u16, message: Option<&Message>) -> Cause {
        let end = self.attempts.current.as_ref().map(|current| current.hop.end());
        let (Some(End::Trunk(trunk)), Some(message), 401 | 407) = (end, message, status) else {
            return Cause::Peer(status);
        };
        let trunk = &self.routes.config().trunks[trunk.0];
        if trunk.credentials.is_empty() {
            return Cause::Peer(status);
        }
        match unanswered(trunk, message) {
            Unanswered::ForeignRealm => Cause::ForeignRealm,
            Unanswered::Refused => Cause::CredentialsRefused,
        }
    }

    /// Whether a final status means that another hop may do better. A tenant's proxies say so by 503 alone: every
    /// other answer is the phone system's word on the call.
    fn tries_elsewhere(&self, status: u16) -> bool {
        match self.attempts.current.as_ref().map(|current| current.hop) {
            Some(Hop::Proxy { .. }) => status == 503,
            Some(Hop::Peer { .. }) => matches!(status, 408 | 500 | 502..=504),
            None => false,
        }
    }
}

pub(super) fn when_silent(
    hop: Hop,
    local: sip_stack::transport::LocalId,
    sent: Sent,
    cx: &Context<'_>,
) -> Instant {
    let reliable = sent.transport.is_reliable();
    let opened = (cx.opened)(local, sent.remote).filter(|_| reliable);
    silent_at(hop, reliable, sent.at, opened, cx.now)
}

/// Retry-After in seconds, with a comment or parameters behind it or not (RFC 3261 §20.33).
pub fn retry_after(message: &Message) -> Option<Duration> {
    let value = message.value(HeaderId::RetryAfter)?.trim_ascii();
    let end = value.iter().position(|b| !b.is_ascii_digit()).unwrap_or(value.len());
    let seconds: u64 = std::str::from_utf8(&value[..end]).ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds)).filter(|wait| !wait.is_zero())
}

/// The name of a tenant at an edge.
pub fn tenant_name(routes: &Routes, tenant: TenantId, edge: EdgeId) -> &str {
    let names = &routes.config().tenants[tenant.0].names;
    names.iter().find(|name| name.edge == edge.0).map_or("", |name| name.fqdn.as_str())
}

const MOST_ADDRESSES: usize = 4;
const MOST_ATTEMPTS: usize = 16;
