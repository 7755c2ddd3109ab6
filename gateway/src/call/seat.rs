//! Who speaks for a side of an answered call: a leg takes its side's place, in signalling and in media, and whoever had it
//! is hung up on. How it comes to that is told in [`super::transfer`] and [`super::takeover`].

use std::time::{Duration, Instant};

use sip_stack::leg::Event as LegEvent;

use super::bridge::reason;
use super::{CALLER, Call, Context, Exchange};
use crate::failure::Cause;

/// Legs that have been replaced, and when they are hung up on.
#[derive(Debug, Default)]
pub(super) struct Parting(Vec<(usize, Instant)>);

impl Parting {
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.iter().map(|(_, due)| *due).min()
    }
}

impl Call {
    /// A leg takes its side's place, in signalling and in media.
    pub(super) fn seat(&mut self, at: usize, cx: &mut Context<'_>) {
        let side = self.legs[at].side;
        self.media.put_third(side);
        self.speakers[side] = Some(at);
        cx.permits.settle(side == CALLER, cx.now);
        self.media.end_ringback(1 - side);
        let ends = self.speakers.map(|leg| leg.and_then(|leg| self.legs[leg].end));
        self.media.set_music(self.routes.hold_music(ends));
        self.apply(cx);
    }

    /// The other side is told, where it was told of something else: of a hold by who was here before, of other codecs.
    pub(super) fn bring_together(&mut self, side: usize, cx: &mut Context<'_>) {
        if self.exchange == Exchange::Idle
            && (!self.media.agrees(side) || self.media.wants_more(side))
            && let Some(other) = self.speakers[1 - side]
        {
            self.offer_again(other, cx);
        }
    }

    /// An offer that this leg made, or waits for, leads nowhere any more.
    pub(super) fn drop_exchange_of(&mut self, at: usize, cx: &mut Context<'_>) {
        match self.exchange {
            // The other side has its offer already: what that answers is put right afterwards.
            Exchange::For(waiting) if waiting == at => {
                self.exchange = Exchange::Withdrawn(at);
                self.on_leg(at, cx, |leg, now, out| leg.refuse_offer(488, now, out));
            }
            Exchange::For(waiting) => {
                self.exchange = Exchange::Idle;
                self.refuse(waiting, 491, cx);
            }
            // Ours to this leg has an answer that nobody waits for.
            Exchange::Withdrawn(by) if by != at => self.exchange = Exchange::Idle,
            Exchange::Resync(leg) | Exchange::InAck(leg) if leg == at => {
                self.exchange = Exchange::Idle;
            }
            Exchange::Idle | Exchange::Withdrawn(_) | Exchange::Resync(_) | Exchange::InAck(_) => {}
        }
    }

    /// A leg that speaks for nobody any more: its peer is asked for nothing, and gets no answer but that.
    pub(super) fn on_parted(&mut self, at: usize, event: LegEvent, cx: &mut Context<'_>) {
        match event {
            LegEvent::Offer { .. } => {
                self.on_leg(at, cx, |leg, now, out| leg.refuse_offer(488, now, out));
            }
            LegEvent::Request { server, message } => self.respond(at, server, &message, 481, cx),
            LegEvent::Ended { .. } => self.parting.0.retain(|(leg, _)| *leg != at),
            LegEvent::Provisional { .. }
            | LegEvent::Answered { .. }
            | LegEvent::Rejected { .. }
            | LegEvent::Confirmed
            | LegEvent::Answer { .. }
            | LegEvent::Refreshed { .. }
            | LegEvent::OfferWithdrawn
            | LegEvent::OfferRefused { .. }
            | LegEvent::Referred { .. }
            | LegEvent::Cancelled { .. } => {}
        }
    }

    /// A leg that was replaced may stay for a while: its peer is the one to hang up.
    pub(super) fn part_from(&mut self, at: usize, cx: &Context<'_>) {
        if !self.legs[at].leg.is_ended() {
            self.parting.0.push((at, cx.now + PARTING));
        }
    }

    /// Hangs up on referrers that have stayed.
    pub(super) fn parting_timeout(&mut self, cx: &mut Context<'_>) {
        while let Some(place) = self.parting.0.iter().position(|(_, due)| *due <= cx.now) {
            let (at, _) = self.parting.0.swap_remove(place);
            self.on_leg(at, cx, |leg, now, out| leg.bye(&reason(Cause::Normal), now, out));
        }
    }
}

/// How long the referrer may keep its leg after the transfer.
const PARTING: Duration = Duration::from_secs(32);
