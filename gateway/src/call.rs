//! A call: its legs, its media, and what passes between them.
//!
//! One code path for every pair of ends. Leg 0 is the caller's; each attempt to reach the callee is a leg of its own,
//! and the one that answers stays. A call is a core: it gets events of its legs, queues [`Do`]s, and never touches
//! endpoint, relay or clock.

mod amended;
mod attempt;
mod attempt_timers;
mod bridge;
mod invitation;
mod limits;
pub mod media_plan;
mod port;
mod redirect;
mod referral;
mod registered;
mod ringing;
mod seat;
mod snapshot;
mod story;
mod takeover;
mod transfer;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use media_relay::audio::Clip;
use media_relay::{Command, SideStats};
use sip_stack::leg::{Action, Failure, Leg, Outbox, Token};
use sip_stack::locate::Address;
use sip_stack::message::Message;
use sip_stack::transport::{FlowId, LocalId, Source};

pub use attempt::{Trouble, retry_after, tenant_name};
pub use port::{Pools, PortBook, sources};
pub use snapshot::Snapshot;
pub use story::{Story, leg_record};
pub use takeover::Newcomer;

use self::attempt::Attempts;
use self::attempt_timers::Timers;
use self::limits::Bounds;
use self::media_plan::{CallMedia, Owned};
use self::referral::Referral;
use self::seat::Parting;
use self::snapshot::Saved;
use self::transfer::Transfer;
use crate::admission::PermitBook;
use crate::event::Event;
use crate::failure::Cause;
use crate::numbers::Number;
use crate::profile::{Caller, Diversions, Further, Location, Profile};
use crate::random::Random;
use crate::routing::{End, Place, PlaceName, Reach, Routes, TrunkId};

/// Names a call within this process; counts up from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey(pub u64);

/// What a call asks of its owner, in order.
#[derive(Debug)]
pub enum Do {
    /// An action of a leg; never [`Action::Event`].
    Leg {
        /// Which leg.
        leg: u8,
        /// `host:port` of our Via on that leg.
        sent_by: Bytes,
        /// What to do.
        action: Box<Action>,
    },
    /// Find the addresses of a next hop; [`Call::located`] gets them.
    Locate {
        /// How.
        reach: Reach,
        /// Names the search; an older one is over.
        search: u32,
    },
    /// Remember that something is wrong at a place.
    Trouble {
        /// Where.
        place: PlaceName,
        /// At which of its addresses.
        address: SocketAddr,
        /// Whether no other address of it is left.
        all: bool,
        /// What.
        trouble: Trouble,
    },
    /// Tell the relay.
    Media(Command),
    /// Tell whoever listens.
    Event(Event),
    /// The legs now have these tags, by which their dialogs are found.
    Dialog {
        /// Our tag.
        tag: Bytes,
        /// Which leg.
        leg: u8,
    },
}

/// Contacts that are registered with us.
pub type Contacts<'a> = dyn Fn(&str, &Address) -> Option<(Bytes, Option<FlowId>)> + 'a;

/// What a call may use while it handles something.
pub struct Context<'a> {
    /// The time.
    pub now: Instant,
    /// The time of day, for records.
    pub wall: SystemTime,
    /// Random source.
    pub random: &'a mut Random,
    /// Fresh identifiers: a Call-ID and a tag.
    pub identifiers: &'a mut dyn FnMut() -> (Bytes, Bytes),
    /// How likely a place fails: what is higher is tried later.
    pub rank: &'a dyn Fn(Place) -> u8,
    /// Since when a connection to that address is open, if one is.
    pub opened: &'a dyn Fn(LocalId, SocketAddr) -> Option<Instant>,
    /// The contact of a trunk that has registered with us, by where it is reached, and its connection.
    pub contact: &'a Contacts<'a>,
    /// Our own media addresses.
    pub owned: &'a Owned,
    /// The ports of this call.
    pub ports: &'a mut PortBook<'a>,
    /// Its permits.
    pub permits: &'a mut PermitBook<'a>,
    /// What to do.
    pub out: &'a mut Vec<Do>,
}

/// One leg in a call.
#[derive(Debug)]
struct CallLeg {
    leg: Leg,
    /// The side of the call, and of its media, that it stands on.
    side: usize,
    /// How we appear on it.
    profile: Profile,
    /// The end that the leg leads to; none when it is gone from the configuration.
    end: Option<End>,
    /// The address it began with.
    peer: IpAddr,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Trying hops; the caller waits.
    Trying,
    /// Both sides answered.
    Talking,
    /// Concluded; legs finish what they owe.
    Over,
}

/// The exchange of offer and answer that is under way after the first one. Another offer meanwhile is refused with 491
/// (RFC 3261 §14.1), so that an answer is never taken for that to another offer.
///
/// ```text
/// state      | offer          | answer            | refused        | withdrawn by its peer
/// -----------+----------------+-------------------+----------------+----------------------
/// Idle       | → For or InAck | applied           | -              | -
/// For(a)     | 491            | passed to a→ Idle | to a → Idle    | → Withdrawn(a)
/// Withdrawn  | 491            | → Resync          | → Idle         | -
/// Resync(a)  | 491            | applied → Idle    | → Idle         | -
/// InAck(a)   | 491            | applied → Idle    | → Idle         | → Idle
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    Idle,
    /// The offer of this leg waits for the other leg's answer.
    For(usize),
    /// This leg took its offer back while the other had it already.
    Withdrawn(usize),
    /// This leg is being told again what stays agreed.
    Resync(usize),
    /// Our own offer to this leg is answered in its ACK.
    InAck(usize),
}

/// One call.
#[derive(Debug)]
pub struct Call {
    routes: Arc<Routes>,
    caller: Caller,
    called: Number,
    /// Who was called before, and has named another one instead.
    asked: Vec<Number>,
    /// Who has sent it on before.
    diversions: Diversions,
    /// Where its caller is; forgotten when it is answered.
    location: Location,
    /// What its INVITEs take over from the caller's; forgotten when it is answered.
    further: Further,
    /// It is a call for help: no limit ends it.
    help: bool,
    max_forwards: u32,
    phase: Phase,
    legs: Vec<CallLeg>,
    /// The leg that speaks for each side: the caller's own, and the attempt that is alive or has won.
    speakers: [Option<usize>; 2],
    attempts: Attempts,
    /// How many times addresses were asked for.
    searches: u32,
    media: CallMedia,
    /// The exchange of offer and answer that is under way.
    exchange: Exchange,
    /// The last 18x passed to the caller: status, and whether it had SDP.
    rung: Option<(u16, bool)>,
    /// What the caller hears when the callee first rings, if that is ringback of ours.
    ringback: Option<Arc<Clip>>,
    /// The caller has changed its early media before the answer.
    amended: bool,
    /// The answer that stood in an 18x to the caller; none once its 2xx was acknowledged.
    told: Option<Bytes>,
    story: Story,
    /// The relay has a session of ours whose figures are still to come.
    relayed: bool,
    /// When the figures are no longer waited for.
    figures_deadline: Option<Instant>,
    /// What ends it unasked, once it is answered.
    bounds: Bounds,
    /// Somebody is asked to take a side's place.
    transfer: Option<Transfer>,
    /// How many were begun.
    transfers: u32,
    parting: Parting,
    /// Somebody's REFER was passed to the other side.
    referral: Option<Referral>,
    /// What was told of it as data.
    saved: Saved,
}

/// Everything a new call begins with.
pub struct NewCall {
    /// The configuration under which it lives.
    pub routes: Arc<Routes>,
    /// As shown to the other end.
    pub caller: Caller,
    /// Who is called.
    pub called: Number,
    /// Who has sent it on before.
    pub diversions: Diversions,
    /// Where its caller is.
    pub location: Location,
    /// What its INVITEs take over from the caller's.
    pub further: Further,
    /// It is a call for help.
    pub help: bool,
    /// How we appear to the caller.
    pub profile: Profile,
    /// The end that calls.
    pub from: End,
    /// The address that it calls from.
    pub peer: IpAddr,
    /// The caller's leg.
    pub leg: Leg,
    /// What is left of Max-Forwards.
    pub max_forwards: u32,
    /// The hops to try.
    pub plan: crate::routing::Plan,
    /// Ports and rules of both sides.
    pub media: CallMedia,
    /// The record so far.
    pub story: Story,
}

impl Call {
    /// Starts a call: reads the caller's offer and tries the first hop.
    pub fn start(new: NewCall, cx: &mut Context<'_>) -> Self {
        let offer = new.leg.remote_offer().cloned();
        let timers = Timers::begin(new.profile.patience, cx.now);
        let first = CallLeg {
            leg: new.leg,
            side: CALLER,
            profile: new.profile,
            end: Some(new.from),
            peer: new.peer,
        };
        let mut call = Self {
            routes: new.routes,
            caller: new.caller,
            called: new.called,
            asked: Vec::new(),
            diversions: new.diversions,
            location: new.location,
            further: new.further,
            help: new.help,
            max_forwards: new.max_forwards,
            phase: Phase::Trying,
            legs: vec![first],
            speakers: [Some(CALLER), None],
            attempts: Attempts::new(new.plan.hops, timers),
            searches: 0,
            media: new.media,
            exchange: Exchange::Idle,
            rung: None,
            ringback: None,
            told: None,
            amended: false,
            story: new.story,
            relayed: false,
            figures_deadline: None,
            bounds: Bounds::default(),
            transfer: None,
            transfers: 0,
            parting: Parting::default(),
            referral: None,
            saved: Saved::default(),
        };
        let tag = call.legs[CALLER].leg.local_tag().clone();
        cx.out.push(Do::Dialog { tag, leg: 0 });
        cx.out.push(Do::Event(Event::CallStarted));
        if let Some(offer) = offer
            && let Err(cause) = call.media.take_offer(CALLER, &offer, cx.owned)
        {
            call.conclude("gateway", cause, None, cx);
            return call;
        }
        call.plan_ringback();
        call.next_hop(cx);
        call
    }

    /// Whether a request inside a dialog of this leg may come from there: by the same edge (which has checked network and
    /// certificate, and whose peers change connections in the middle of a call), or in the same realm from the trunk's
    /// networks or the very address that the leg began with. Call-ID and tags alone admit nobody.
    pub fn admits(&self, leg: usize, source: &Source) -> bool {
        let Some(slot) = self.legs.get(leg) else { return false };
        let ip = source.remote.ip();
        source.local == slot.leg.identity().local_id
            && match slot.end {
                None => ip == slot.peer,
                Some(End::Tenant(_)) => true,
                Some(End::Trunk(id)) => {
                    let networks = &self.routes.config().trunks[id.0].networks;
                    ip == slot.peer || networks.iter().any(|network| network.contains(&ip))
                }
            }
    }

    /// The longest datagram to the peer of a leg; none where the peer is no trunk.
    pub fn longest_datagram(&self, leg: usize) -> Option<usize> {
        let slot = self.legs.get(leg)?;
        matches!(slot.end, Some(End::Trunk(_))).then_some(slot.profile.dialect.max_message as usize)
    }

    /// A request inside a dialog of a leg.
    pub fn handle_request(
        &mut self,
        leg: usize,
        server: sip_stack::endpoint::ServerId,
        source: &Source,
        message: &Message,
        cx: &mut Context<'_>,
    ) {
        self.on_leg(leg, cx, |leg, now, out| leg.handle_request(server, source, message, now, out));
    }

    /// The ACK for a 2xx of a leg.
    pub fn handle_ack(
        &mut self,
        leg: usize,
        source: &Source,
        message: &Message,
        cx: &mut Context<'_>,
    ) {
        self.on_leg(leg, cx, |leg, now, out| leg.handle_ack(source, message, now, out));
    }

    /// The CANCEL of an INVITE of a leg.
    pub fn handle_cancelled(&mut self, leg: usize, message: &Message, cx: &mut Context<'_>) {
        self.on_leg(leg, cx, |leg, now, out| leg.handle_cancelled(message, now, out));
    }

    /// A response to a request of a leg.
    pub fn handle_response(
        &mut self,
        leg: usize,
        token: Token,
        source: &Source,
        message: &Message,
        cx: &mut Context<'_>,
    ) {
        self.on_leg(leg, cx, |leg, now, out| {
            leg.handle_response(token, source, message, now, out);
        });
    }

    /// A request of a leg failed without a response.
    pub fn handle_failed(&mut self, leg: usize, token: Token, why: Failure, cx: &mut Context<'_>) {
        self.on_leg(leg, cx, |leg, now, out| leg.handle_failed(token, why, now, out));
    }

    /// The relay's final figures.
    pub fn handle_media_ended(&mut self, stats: Box<[SideStats; 2]>, cx: &mut Context<'_>) {
        self.relayed = false;
        self.story.media(&stats, &self.media);
        cx.out.push(Do::Event(Event::MediaEnded { stats }));
        if self.phase != Phase::Over {
            // The relay gave up on the session by itself: nobody hears anything any more.
            self.conclude("gateway", Cause::Internal, None, cx);
        }
    }

    /// There is music that was not there yet when the call began. Who is held now begins to hear it.
    pub fn handle_music(&mut self, cx: &mut Context<'_>) {
        let callee = self.speakers[CALLEE].map_or_else(|| self.legs.last(), |at| self.legs.get(at));
        let caller = self.speakers[CALLER].unwrap_or(CALLER);
        let ends = [self.legs[caller].end, callee.and_then(|leg| leg.end)];
        self.media.set_music(self.routes.hold_music(ends));
        if self.phase == Phase::Talking && self.media.plays() {
            self.apply(cx);
        }
    }

    /// Serves what is due.
    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        for at in 0..self.legs.len() {
            if self.legs[at].leg.poll_timeout().is_some_and(|due| due <= cx.now) {
                self.on_leg(at, cx, Leg::handle_timeout);
            }
        }
        self.attempt_timeout(cx);
        self.limit_timeout(cx);
        self.parting_timeout(cx);
        self.referral_timeout(cx);
        if self.figures_deadline.is_some_and(|due| due <= cx.now) {
            self.figures_deadline = None;
            if std::mem::take(&mut self.relayed) {
                tracing::error!(call = self.story.id(), "the relay told no figures");
            }
        }
    }

    /// When [`Call::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let figures = self.figures_deadline.filter(|_| self.relayed);
        let limit = self.bounds.due().filter(|_| self.phase == Phase::Talking);
        let referral = self.referral.as_ref().map(|referral| referral.due);
        let own = [self.attempts.timers.next(), figures, limit, self.parting.due(), referral];
        let legs = self.legs.iter().filter_map(|l| l.leg.poll_timeout());
        legs.chain(own.into_iter().flatten()).min()
    }

    /// Ends the call from our side.
    pub fn end(&mut self, cause: Cause, cx: &mut Context<'_>) {
        self.conclude("gateway", cause, None, cx);
    }

    /// Whether the call is concluded: nobody talks any more.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether it was answered and goes on.
    pub fn is_answered(&self) -> bool {
        self.phase == Phase::Talking
    }

    /// Whether the record can be written: concluded, with the relay's figures in.
    pub fn is_recorded(&self) -> bool {
        self.phase == Phase::Over && !self.relayed
    }

    /// The relay's figures are not waited for any more, if the call is over.
    pub fn forgo_figures(&mut self) {
        if self.phase == Phase::Over {
            self.relayed = false;
        }
    }

    /// Whether nothing is left to do.
    pub fn is_finished(&self) -> bool {
        self.is_recorded() && self.legs.iter().all(|l| l.leg.is_ended())
    }

    /// Its legs, also those of attempts that were given up.
    pub fn legs(&self) -> impl Iterator<Item = &Leg> {
        self.legs.iter().map(|slot| &slot.leg)
    }

    /// The address with which a leg began.
    pub fn peer(&self, leg: usize) -> Option<IpAddr> {
        Some(self.legs.get(leg)?.peer)
    }

    /// Whether it is a call for help.
    pub const fn is_help(&self) -> bool {
        self.help
    }

    /// The trunk that a leg leads to, in the configuration under which the call lives.
    pub fn trunk(&self, leg: usize) -> Option<(Arc<Routes>, TrunkId)> {
        match self.legs.get(leg)?.end? {
            End::Trunk(trunk) => Some((Arc::clone(&self.routes), trunk)),
            End::Tenant(_) => None,
        }
    }

    /// The CSeq for a request of that leg that is sent once more.
    pub fn next_cseq(&mut self, leg: usize) -> Option<u32> {
        self.legs.get_mut(leg).map(|slot| slot.leg.next_cseq())
    }

    /// The call's UUID.
    pub fn id(&self) -> &str {
        self.story.id()
    }

    /// What happened.
    pub const fn story(&mut self) -> &mut Story {
        &mut self.story
    }

    /// Calls into a leg, passes its actions on and reacts to its events, until nothing is left.
    fn on_leg(
        &mut self,
        at: usize,
        cx: &mut Context<'_>,
        work: impl FnOnce(&mut Leg, Instant, &mut Outbox),
    ) {
        let Some(slot) = self.legs.get_mut(at) else { return };
        let mut outbox = VecDeque::new();
        work(&mut slot.leg, cx.now, &mut outbox);
        self.pass_on(at, outbox, cx);
    }

    fn pass_on(&mut self, at: usize, outbox: Outbox, cx: &mut Context<'_>) {
        for action in outbox {
            if let Action::Event(event) = action {
                self.on_event(at, event, cx);
            } else {
                let sent_by = self.legs[at].leg.identity().sent_by.clone();
                let action = Box::new(action);
                cx.out.push(Do::Leg { leg: leg_number(at), sent_by, action });
            }
        }
    }
}

/// The caller's side, and the leg by which the call began.
const CALLER: usize = 0;
/// The callee's side.
const CALLEE: usize = 1;
/// How long a call that is over waits for the relay's figures.
const FIGURES: Duration = Duration::from_secs(5);

fn leg_number(at: usize) -> u8 {
    u8::try_from(at).expect("attempts are bounded below 255")
}
