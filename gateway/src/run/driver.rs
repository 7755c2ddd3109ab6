//! The event loop of signalling: reads, feeds the core, drains it, writes, sleeps until the
//! deadline. No protocol knowledge.
//!
//! Each turn serves, in this order and each within a budget, so that none starves another: signals
//! and a reloaded configuration; what the network brought, in the order of [`crate::intake`]; events
//! of the relay; answers of the resolver; timers; what the core wants done.

use std::mem::take;
use std::sync::Arc;
use std::time::{Duration, Instant};

use media_relay::{Command, Full, Relay};
use sip_stack::locate::{Answer, QueryId};
use sip_stack::net::{self, Flaw, Input, Net};
use tokio::sync::Notify;
use tracing::{error, info};

use super::durable::Durable;
use super::kin::Kindred;
use super::reload::{self, Ready, Reloaded, Reloader};
use super::signals::{Signal, Signals};
use super::state_file::{CALLBACKS, Keeper, REGISTERED};
use super::stop::{Left, Order, Stop};
use super::{clock, time_of_day};
use crate::admin::Health;
use crate::core::{Callback, Core, Opened, Output, Renewal};
use crate::event::{Dropped, Refusal};
use crate::handover::note::Kind;
use crate::intake::{Intake, Next, Victim, Waiting};
use crate::logging::Flood;
use crate::metrics::{GAUGE_INTERVAL, Loss, Meters, Tally};
use crate::registrar::Kept;
use crate::service::Service;
use crate::webhook::Webhook;

/// Everything that signalling owns.
pub(super) struct Driver {
    pub(super) core: Core,
    pub(super) net: Net,
    pub(super) kin: Kindred,
    /// What the process that takes over says it has taken.
    pub(super) kin_taken: Vec<Kind>,
    service: Service,
    relay: Relay,
    media: Arc<Notify>,
    pub(super) durable: Durable,
    pub(super) meters: Meters,
    health: Arc<Health>,
    reloader: Reloader,
    pub(super) callbacks: Keeper<Callback>,
    pub(super) registered: Keeper<Kept>,
    pub(super) stop: Stop,
    gauges_at: Instant,
    inputs: Vec<Input>,
    intake: Intake,
    events: Vec<media_relay::Event>,
    relay_full: (Tally, Flood),
    webhook: Webhook,
    /// What is done when the journal is written.
    held: Vec<Output>,
}

/// What ended the sleep.
enum Woken {
    Signal(Signal),
    Answer(QueryId, Answer),
    Ready(Box<Ready>),
    /// The network, the relay or time.
    Work,
}

impl Driver {
    /// Nothing has been fed yet.
    #[allow(clippy::too_many_arguments, reason = "one place makes it, of everything there is")]
    pub(super) fn new(
        core: Core,
        net: Net,
        service: Service,
        relay: Relay,
        media: Arc<Notify>,
        durable: Durable,
        meters: Meters,
        health: Arc<Health>,
        reloader: Reloader,
        kin: Kindred,
    ) -> Self {
        let callbacks = Keeper::new(kin.state(), &CALLBACKS, service.handle());
        let registered = Keeper::new(kin.state(), &REGISTERED, service.handle());
        let webhook = Webhook::new(service.handle());
        Self {
            core,
            net,
            kin,
            callbacks,
            kin_taken: Vec::new(),
            service,
            relay,
            media,
            durable,
            registered,
            meters,
            health,
            reloader,
            stop: Stop::Serving,
            gauges_at: clock(),
            inputs: Vec::with_capacity(256),
            intake: Intake::new(),
            events: Vec::with_capacity(256),
            relay_full: (Tally::of(Loss::MediaCommandDropped), Flood::default()),
            webhook,
            held: Vec::with_capacity(256),
        }
    }

    /// The first turn: the relay's ports become known, and what the core wants from the start is
    /// done.
    pub(super) fn begin(&mut self) {
        let now = clock();
        self.serve_relay(now);
        self.finish_turn(now);
    }

    /// Turns until the stop is over.
    pub(super) async fn run(&mut self, signals: &mut Signals) {
        while self.stop != Stop::Over {
            let woken = self.sleep(signals).await;
            let now = clock();
            match woken {
                Woken::Signal(signal) => self.obey(signal, now),
                Woken::Ready(ready) => match *ready {
                    Ready::Music => self.core.handle_music(now),
                    Ready::Reloaded(reloaded) => self.put_in_force(reloaded, now),
                },
                Woken::Answer(id, answer) => self.core.handle_answer(id, answer, now),
                Woken::Work => {}
            }
            self.serve_net(now);
            self.serve_intake(now);
            self.serve_kin(now);
            self.serve_relay(now);
            self.serve_answers(now);
            self.serve_timers(now);
            self.finish_turn(now);
        }
        info!(calls = self.core.calls(), unfinished = self.core.unfinished(), "stopped");
    }

    /// Waits until the relay says something, and hears it.
    pub(super) async fn relay_tells(&mut self) {
        self.media.notified().await;
        let now = clock();
        self.serve_relay(now);
        self.drain(now);
    }

    /// Lets what was sent last leave, and ends the threads.
    pub(super) async fn close(mut self) {
        let (handed_over, longest) = match self.kin.has_heir() {
            true => (true, FAREWELL_TO_HEIR),
            false => (false, FAREWELL),
        };
        self.net.hold_streams(false);
        self.net.close_all();
        let farewell = async {
            loop {
                self.net.receive(&mut self.inputs).await;
                if handed_over {
                    // What peers had sent before they saw the end of their connection is the heir's.
                    let now = clock();
                    self.serve_net(now);
                    self.serve_intake(now);
                    self.drain(now);
                    self.net.flush();
                } else {
                    self.inputs.clear();
                }
            }
        };
        // It never ends by itself.
        let _ = tokio::time::timeout(longest, farewell).await;
        let now = clock();
        self.core.close(now);
        self.drain(now);
        if let Some(kept) = self.core.last_registered(now) {
            self.registered.keep(kept);
        }
        let Self { core, net, mut durable, registered, relay, callbacks, webhook, .. } = self;
        callbacks.flush();
        registered.flush();
        drop(net);
        webhook.close();
        relay.stop();
        durable.ledger.close(core.spent());
        durable.close(core.calls(), now);
    }

    async fn sleep(&mut self, signals: &mut Signals) -> Woken {
        let due = tokio::time::Instant::from_std(self.due());
        // Without room streams wait in their connections; datagrams have a room of their own, and will be repeated.
        let held = self.intake.room() < ROOM || self.kin.holds_up(clock());
        self.net.hold_streams(held);
        let waiting = !self.intake.is_empty();
        tokio::select! {
            biased;
            signal = signals.next() => Woken::Signal(signal),
            ready = self.reloader.next() => Woken::Ready(Box::new(ready)),
            () = self.net.receive(&mut self.inputs) => Woken::Work,
            () = self.kin.hear() => Woken::Work,
            () = self.media.notified() => Woken::Work,
            (id, answer) = self.service.answer() => Woken::Answer(id, answer),
            () = tokio::time::sleep_until(due) => Woken::Work,
            // Connections and clocks have their turn before what still waits.
            () = tokio::task::yield_now(), if waiting => Woken::Work,
        }
    }

    fn due(&self) -> Instant {
        let due = [
            self.core.poll_timeout(),
            self.stop.deadline(),
            self.durable.poll_timeout(),
            self.kin.poll_timeout(),
        ];
        due.into_iter().flatten().fold(self.gauges_at, Instant::min)
    }

    fn obey(&mut self, signal: Signal, now: Instant) {
        match signal {
            Signal::Reload => self.reloader.ask(),
            Signal::Stop => {
                let drain = self.core.routes().config().gateway.drain;
                let order = self.stop.signal(drain, now);
                self.order(order, now);
            }
        }
    }

    /// Another configuration, in one turn: the transport layer and the core go by it from the next message on, or
    /// neither does.
    fn put_in_force(&mut self, reloaded: Reloaded, now: Instant) {
        let Reloaded { next, done } = reloaded;
        let reload::Next { routes, locals, renewed, resolver } = next;
        let former = self.net.reconfigure(locals).map(|reconfigured| {
            if let Some(resolver) = resolver {
                self.service.set_resolver(resolver);
            }
            let renewal = Renewal { locals: renewed, last: reconfigured.last };
            self.core.replace(routes, renewal, now)
        });
        // Nobody waits for it only when the service thread is gone.
        let _ = done.send(former);
    }

    pub(super) fn order(&mut self, order: Option<Order>, now: Instant) {
        if let Some(order) = order {
            self.order_elder(order);
        }
        let (calls, unfinished) = (self.core.calls(), self.core.unfinished());
        match order {
            None => {}
            Some(Order::Drain) => {
                info!(calls, unfinished, "stopping: no new calls; a second signal stops at once");
                self.core.drain(now);
            }
            Some(Order::EndAll) => {
                info!(calls, unfinished, "stopping: ending the calls that are left");
                self.core.end_all(now);
            }
        }
    }

    fn serve_net(&mut self, now: Instant) {
        let mut inputs = take(&mut self.inputs);
        for input in inputs.drain(..) {
            match input {
                Input::Message { source, received, raw } => {
                    if let Some(place) = self.core.sort(&source, &raw, now) {
                        let message = Waiting { source, received, raw };
                        match self.intake.push(place, message) {
                            None => {}
                            Some(Victim::Dropped(_)) => self.core.note_dropped(Dropped::Full),
                            Some(Victim::Refused(message)) => self.refuse(message, now),
                        }
                    }
                }
                Input::Unreadable { source, error } => {
                    self.core.handle_unreadable(source, error, now);
                }
                Input::SendFailed { id } => {
                    if !self.unsent_of_others(id) {
                        self.core.handle_send_failed(id, now);
                    }
                }
                Input::Opened { flow, local, remote, inbound } => {
                    self.core.handle_opened(flow, Opened { local, remote, inbound }, now);
                }
                Input::Closed { flow, .. } => {
                    self.forget_flow(flow);
                    self.core.handle_closed(flow, now);
                }
                Input::Refused { remote, reason, .. } => {
                    self.core.handle_refused(refusal(reason), remote, now);
                }
            }
        }
        // The room is kept.
        self.inputs = inputs;
    }

    /// Serves all that waits.
    pub(super) fn serve_waiting(&mut self, now: Instant) {
        while !self.intake.is_empty() {
            self.serve_intake(now);
        }
    }

    /// Serves what waits, in its order and within the turn's budgets.
    fn serve_intake(&mut self, now: Instant) {
        self.intake.begin_turn(now);
        while let Some(next) = self.intake.next(now) {
            match next {
                Next::Refuse(message) => self.refuse(message, now),
                Next::Serve(message) => self.serve(message, now),
            }
        }
    }

    /// Refuses a new call for load. What turns out to be none is served: that is as quick.
    fn refuse(&mut self, message: Waiting, now: Instant) {
        if !self.core.shed(&message.source, &message.raw, now) {
            self.serve(message, now);
        }
    }

    fn serve(&mut self, message: Waiting, now: Instant) {
        let Waiting { source, raw, .. } = message;
        match self.net.read(raw) {
            None => {}
            Some(Ok(message)) => self.core.handle_message(source, message, now),
            Some(Err(error)) => {
                self.net.note_unreadable(&source);
                self.core.handle_unreadable(source, error, now);
            }
        }
    }

    fn serve_relay(&mut self, now: Instant) {
        self.relay.poll_events(&mut self.events);
        for event in self.events.drain(..) {
            self.core.handle_media(event, now);
        }
    }

    fn serve_answers(&mut self, now: Instant) {
        for _ in 0..ANSWERS_A_TURN {
            let Some((id, answer)) = self.service.answer_now() else { return };
            self.core.handle_answer(id, answer, now);
        }
    }

    fn serve_timers(&mut self, now: Instant) {
        if self.core.poll_timeout().is_some_and(|due| due <= now) {
            self.core.handle_timeout(now);
        }
        if self.gauges_at <= now {
            self.gauges_at = now + GAUGE_INTERVAL;
            self.core.set_wall(now, time_of_day());
            self.keep_minutes(now);
            self.meters.show(&self.core.gauges());
            self.meters.show_door(self.intake.len(), self.core.banned(now));
            self.meters.show_relay(self.relay.counters());
            self.meters.show_durability(&self.durable.figures());
            self.health.beat(now);
            self.beat_kin();
        }
    }

    fn finish_turn(&mut self, now: Instant) {
        self.drain(now);
        let owed = self.kin.owed();
        let left =
            Left { calls: self.core.calls() + owed, unfinished: self.core.unfinished() + owed };
        let order = self.stop.check(left, now);
        if order.is_some() {
            self.order(order, now);
            self.drain(now);
        }
        self.net.flush();
        self.health.set_able(self.stop == Stop::Serving && self.core.is_able());
    }

    /// Does what the core wants. What must be kept is written before anything else is done.
    fn drain(&mut self, now: Instant) {
        loop {
            while let Some(output) = self.core.poll_output() {
                match output {
                    Output::Journal(entry) => self.durable.keep(&entry),
                    Output::Callbacks(callbacks) => self.callbacks.keep(callbacks),
                    Output::Registered(kept) => self.registered.keep(kept),
                    Output::Event(event) => self.meters.note(&event),
                    Output::Send { .. }
                    | Output::Query { .. }
                    | Output::Media { .. }
                    | Output::Retire(_)
                    | Output::Hand { .. }
                    | Output::Help { .. }
                    | Output::Close(_) => self.held.push(output),
                }
            }
            let kept = self.durable.commit(now);
            if self.held.is_empty() {
                break;
            }
            let mut held = std::mem::take(&mut self.held);
            for output in held.drain(..) {
                if !kept && matches!(output, Output::Media { command: Command::Kept(_), .. }) {
                    continue;
                }
                self.carry_out(output, now);
            }
            self.held = held;
        }
        self.relay.flush();
        self.core.set_recordable(self.durable.has_room());
    }

    fn carry_out(&mut self, output: Output, now: Instant) {
        match output {
            Output::Send { id, target, bytes } => self.send(id, target, bytes),
            Output::Hand { to, source, raw } => self.hand(to, &source, &raw),
            Output::Query { id, name, kind } => {
                if !self.service.query(id, &name, kind) {
                    self.core.handle_answer(id, Answer::Failed, now);
                }
            }
            Output::Media { shard, command: command @ Command::Kept(_) } => {
                // What finds no room is said of the next checkpoint again.
                let _ = self.relay.send(shard, command);
            }
            Output::Media { shard, command } => {
                let session = match &command {
                    Command::Apply(plan) | Command::Resume { plan, .. } => Some(plan.session),
                    Command::Kept(_)
                    | Command::Tap { .. }
                    | Command::Release(_)
                    | Command::Cool { .. } => None,
                };
                if let Err(Full) = self.relay.send(shard, command) {
                    self.note_full(shard, now);
                    if let Some(session) = session {
                        self.core.handle_media_refused(session, now);
                    }
                }
            }
            Output::Retire(flow) => self.net.retire(flow),
            Output::Close(flow) => self.close_flow(flow),
            Output::Journal(entry) => self.durable.keep(&entry),
            Output::Callbacks(callbacks) => self.callbacks.keep(callbacks),
            Output::Help { url, call } => self.webhook.tell(&url, &call),
            Output::Registered(kept) => self.registered.keep(kept),
            Output::Event(event) => self.meters.note(&event),
        }
    }

    fn keep_minutes(&mut self, now: Instant) {
        if self.durable.ledger.is_due(now) {
            self.durable.ledger.keep(self.core.spent());
        }
        if let Some(others) = self.durable.ledger.others() {
            self.core.learn_spent(&others, now);
        }
    }

    fn note_full(&mut self, shard: u8, now: Instant) {
        let (tally, flood) = &mut self.relay_full;
        tally.add(1);
        if let Some(count) = flood.note(now) {
            error!(shard, count, "a relay thread takes no more commands");
        }
    }
}

const fn refusal(reason: net::Refusal) -> Refusal {
    match reason {
        net::Refusal::Network => Refusal::Network,
        net::Refusal::Handshake(flaw) => match flaw {
            Flaw::NotTls => Refusal::NotTls,
            Flaw::Version => Refusal::Version,
            Flaw::NoCertificate => Refusal::NoCertificate,
            Flaw::Issuer => Refusal::Issuer,
            Flaw::Date => Refusal::Date,
            Flaw::Name => Refusal::Name,
            Flaw::Purpose => Refusal::Purpose,
            Flaw::Slow => Refusal::Slow,
            Flaw::Ours | Flaw::Other => Refusal::Handshake,
        },
        net::Refusal::PerAddress | net::Refusal::Full | net::Refusal::Busy => Refusal::Limit,
        net::Refusal::Unreachable | net::Refusal::Silent => Refusal::Dial,
        net::Refusal::Untrusted(_) => Refusal::Untrusted,
    }
}

/// More than one turn of the network brings.
const ROOM: usize = 2048;
/// How long connections may take to write what was sent last.
const FAREWELL: Duration = Duration::from_millis(100);
/// The same where another process serves what still comes in on them: connections are given so long to end.
const FAREWELL_TO_HEIR: Duration = Duration::from_millis(600);
/// Answers of the resolver that one turn takes.
const ANSWERS_A_TURN: usize = 64;
