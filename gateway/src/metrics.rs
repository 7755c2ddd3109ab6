//! The figures on `/metrics`. The door for `metrics` and its Prometheus exporter.
//!
//! Names end in their unit; labels come from closed sets (causes, tenants, trunks, edges), never from the wire.

mod configuration;
mod places;
mod registrar;
mod registrations;

use std::collections::HashMap;
use std::time::Duration;

use media_relay::net::ThreadCounters;
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

pub use self::configuration::{ConfigurationMeters, Reload};
use self::places::Places;
use self::registrar::Registrar;
use self::registrations::Registrations;
use crate::authentication::Flaw;
use crate::core::Gauges;
use crate::event::{Dropped, Event, Large, Refusal, Silent, Transfer};
use crate::failure::Cause;

/// Renders what has been counted.
#[derive(Clone)]
pub struct Exporter(PrometheusHandle);

impl Exporter {
    /// Installs the recorder of this process. Call once, before [`Meters::new`] and [`Tally::of`].
    pub fn install() -> Result<Self, InstallError> {
        let recorder = builder().and_then(PrometheusBuilder::install_recorder);
        recorder.map(Self).map_err(|_| InstallError)
    }

    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Sorts what was measured into its buckets, for ever, so that a gateway that nobody asks for its metrics does not
    /// keep every measurement.
    pub async fn tend(self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            self.0.run_upkeep();
        }
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let score = Matcher::Full("trunkgate_media_mos".to_owned());
    let builder = PrometheusBuilder::new().set_buckets(&SETUP_BUCKETS)?;
    builder.set_buckets_for_metric(score, &SCORE_BUCKETS)
}

/// The process has a recorder already.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the recorder of metrics cannot be installed: the process has one already")]
pub struct InstallError;

/// What is lost when a queue is full or a sink fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A try to write CDRs, or to shorten the journal, failed; it is tried again.
    RecordNotWritten,
    /// A relay thread took no more commands.
    MediaCommandDropped,
    /// Too many questions to DNS were open.
    QueryRefused,
    /// Another process of an upgrade took no more messages.
    HandedDropped,
    /// A call for help that the webhook did not take, however often it was tried.
    HelpUntold,
}

/// What there is to know of what must be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durability {
    /// Entries written to the journal.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Writes that failed.
    pub failures: u64,
    /// Bytes that wait for the disk.
    pub pending: usize,
    /// CDRs that wait for the disk.
    pub lines: usize,
}

/// Counts one kind of loss, from any thread.
#[derive(Clone)]
pub struct Tally(Counter);

impl Tally {
    /// The counter of this kind.
    pub fn of(loss: Loss) -> Self {
        Self(counter!("trunkgate_losses_total", "what" => loss.label()))
    }

    /// Counts so many more.
    pub fn add(&self, more: u64) {
        self.0.increment(more);
    }
}

impl Loss {
    const ALL: [Self; 5] = [
        Self::RecordNotWritten,
        Self::MediaCommandDropped,
        Self::QueryRefused,
        Self::HandedDropped,
        Self::HelpUntold,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::RecordNotWritten => "record_not_written",
            Self::MediaCommandDropped => "media_command_dropped",
            Self::QueryRefused => "query_refused",
            Self::HandedDropped => "handed_dropped",
            Self::HelpUntold => "help_untold",
        }
    }
}

/// Cached handles: an event costs a few nanoseconds, not a look-up.
pub struct Meters {
    started: Counter,
    answered: Counter,
    setup: Histogram,
    ended: HashMap<&'static str, Counter>,
    refused_flows: HashMap<&'static str, Counter>,
    unreadable: HashMap<&'static str, Counter>,
    calls: Gauge,
    transactions: Gauge,
    ports: Gauge,
    connections: Gauge,
    waiting: Gauge,
    banned: Gauge,
    retiring_connections: Gauge,
    dropped: [Counter; Dropped::ALL.len()],
    handed: Counter,
    elder_calls: Gauge,
    faults: Counter,
    unrecorded: Counter,
    media: [Counter; 8],
    score: Histogram,
    silent: [Counter; Silent::ALL.len()],
    transfers: [Counter; Transfer::ALL.len()],
    large: [Counter; Large::ALL.len()],
    requests_refused: Counter,
    /// Of the relay threads together: bound pairs, sessions, faults, unsent and stray packets.
    relay: (Gauge, Gauge, [Counter; 3]),
    places: Places,
    registrations: Registrations,
    registrar: Registrar,
    unauthentic: [Counter; Flaw::ALL.len()],
    restored: Counter,
    /// Entries, bytes and failed writes of the journal.
    journal: [Counter; 3],
    /// Bytes of the journal, and CDRs, that wait for the disk.
    pending: [Gauge; 2],
}

impl Meters {
    /// Registers every figure, so that `/metrics` shows zeros from the start.
    pub fn new() -> Self {
        describe();
        for loss in Loss::ALL {
            Tally::of(loss).add(0);
        }
        Self {
            started: counter!("trunkgate_calls_started_total"),
            answered: counter!("trunkgate_calls_answered_total"),
            setup: histogram!("trunkgate_call_setup_seconds"),
            ended: HashMap::new(),
            refused_flows: HashMap::new(),
            unreadable: HashMap::new(),
            calls: gauge!("trunkgate_active_calls"),
            transactions: gauge!("trunkgate_transactions"),
            ports: gauge!("trunkgate_free_port_pairs"),
            connections: gauge!("trunkgate_open_connections"),
            waiting: gauge!("trunkgate_waiting_messages"),
            banned: gauge!("trunkgate_banned_addresses"),
            retiring_connections: gauge!("trunkgate_retiring_connections"),
            dropped: Dropped::ALL
                .map(|why| counter!("trunkgate_messages_dropped_total", "cause" => why.label())),
            handed: counter!("trunkgate_messages_handed_total"),
            elder_calls: gauge!("trunkgate_elder_calls"),
            faults: counter!("trunkgate_faults_total"),
            unrecorded: counter!("trunkgate_refusals_unrecorded_total"),
            media: [
                counter!("trunkgate_media_received_packets_total"),
                counter!("trunkgate_media_relayed_packets_total"),
                counter!("trunkgate_media_played_packets_total"),
                counter!("trunkgate_media_lost_packets_total"),
                counter!("trunkgate_media_unauthentic_packets_total"),
                counter!("trunkgate_media_foreign_packets_total"),
                counter!("trunkgate_media_malformed_packets_total"),
                counter!("trunkgate_media_fax_datagrams_total"),
            ],
            score: histogram!("trunkgate_media_mos"),
            silent: Silent::ALL
                .map(|who| counter!("trunkgate_silent_calls_total", "silent" => who.label())),
            requests_refused: counter!("trunkgate_requests_refused_total"),
            transfers: Transfer::ALL
                .map(|it| counter!("trunkgate_transfers_total", "result" => it.label())),
            large: Large::ALL
                .map(|it| counter!("trunkgate_large_requests_total", "sent" => it.label())),
            relay: (
                gauge!("trunkgate_bound_port_pairs"),
                gauge!("trunkgate_media_sessions"),
                [
                    counter!("trunkgate_relay_faults_total"),
                    counter!("trunkgate_relay_unsent_packets_total"),
                    counter!("trunkgate_relay_stray_packets_total"),
                ],
            ),
            places: Places::default(),
            registrations: Registrations::default(),
            registrar: Registrar::new(),
            unauthentic: Flaw::ALL
                .map(|flaw| counter!("trunkgate_auth_failures_total", "reason" => flaw.label())),
            restored: counter!("trunkgate_calls_restored_total"),
            journal: [
                counter!("trunkgate_journal_entries_total"),
                counter!("trunkgate_journal_written_bytes_total"),
                counter!("trunkgate_journal_failed_writes_total"),
            ],
            pending: [
                gauge!("trunkgate_journal_pending_bytes"),
                gauge!("trunkgate_pending_records"),
            ],
        }
    }

    /// Counts one event.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::CallStarted => self.started.increment(1),
            Event::CallRestored => self.restored.increment(1),
            Event::CallAnswered { setup } => {
                self.answered.increment(1);
                self.setup.record(setup.as_secs_f64());
            }
            Event::CallRefused { cause } | Event::CallEnded { cause } => {
                self.ended(*cause).increment(1)
            }
            Event::Proxy { .. } | Event::Peer { .. } => self.places.note(event),
            Event::Registration { .. } | Event::Registering { .. } => {
                self.registrations.note(event);
            }
            Event::Registered { .. } | Event::RegisterAnswered(_) => self.registrar.note(event),
            Event::Dropped(why) => self.dropped[*why as usize].increment(1),
            Event::Handed => self.handed.increment(1),
            Event::Unreadable { cause } => self
                .unreadable
                .entry(*cause)
                .or_insert_with(
                    || counter!("trunkgate_messages_unreadable_total", "cause" => *cause),
                )
                .increment(1),
            Event::RefusalUnrecorded => self.unrecorded.increment(1),
            Event::RequestRefused => self.requests_refused.increment(1),
            Event::Transfer(it) => self.transfers[*it as usize].increment(1),
            Event::Large(how) => self.large[*how as usize].increment(1),
            Event::Silent(who) => self.silent[*who as usize].increment(1),
            Event::Unauthentic(flaw) => self.unauthentic[*flaw as usize].increment(1),
            Event::Fault => self.faults.increment(1),
            Event::Refused(refusal) => self.refused(*refusal).increment(1),
            Event::MediaEnded { stats } => {
                for side in stats.iter() {
                    let figures = [
                        side.received,
                        side.relayed,
                        side.played,
                        side.lost,
                        side.auth_failed,
                        side.foreign,
                        side.malformed,
                        side.udptl,
                    ];
                    for (meter, figure) in self.media.iter().zip(figures) {
                        meter.increment(figure);
                    }
                    if side.mos > 0 {
                        self.score.record(f64::from(side.mos) / 100.0);
                    }
                }
            }
        }
    }

    /// Shows what there is now.
    pub fn show(&self, gauges: &Gauges) {
        self.calls.set(count(gauges.calls));
        self.transactions.set(count(gauges.transactions));
        self.ports.set(count(gauges.free_port_pairs));
        self.connections.set(count(gauges.connections));
        self.retiring_connections.set(count(gauges.retiring_connections));
    }

    /// Shows what waits at the door, and who does not get in.
    pub fn show_door(&self, waiting: usize, banned: usize) {
        self.waiting.set(count(waiting));
        self.banned.set(count(banned));
    }

    /// Shows how many calls are left in the process that was taken over from.
    pub fn show_elder(&self, calls: usize) {
        self.elder_calls.set(count(calls));
    }

    /// Shows what the relay threads have done so far.
    pub fn show_relay(&self, threads: impl Iterator<Item = ThreadCounters>) {
        let (mut pairs, mut sessions, mut figures) = (0, 0, [0; 3]);
        for ThreadCounters { shard, send_failed, bound } in threads {
            pairs += bound;
            sessions += shard.sessions;
            for (sum, figure) in figures.iter_mut().zip([shard.faults, send_failed, shard.stray]) {
                *sum += figure;
            }
        }
        let (bound, active, counters) = &self.relay;
        bound.set(count(pairs as usize));
        active.set(count(sessions as usize));
        for (counter, figure) in counters.iter().zip(figures) {
            counter.absolute(figure);
        }
    }

    /// Shows what was kept, and what waits.
    pub fn show_durability(&self, figures: &Durability) {
        let Durability { entries, bytes, failures, pending, lines } = *figures;
        for (counter, figure) in self.journal.iter().zip([entries, bytes, failures]) {
            counter.absolute(figure);
        }
        for (gauge, figure) in self.pending.iter().zip([pending, lines]) {
            gauge.set(count(figure));
        }
    }

    fn ended(&mut self, cause: Cause) -> &Counter {
        let label = cause.label();
        self.ended
            .entry(label)
            .or_insert_with(|| counter!("trunkgate_calls_ended_total", "cause" => label))
    }

    fn refused(&mut self, refusal: Refusal) -> &Counter {
        let label = refusal.label();
        self.refused_flows
            .entry(label)
            .or_insert_with(|| counter!("trunkgate_connections_refused_total", "cause" => label))
    }
}

/// Says what each figure is.
fn describe() {
    for &(name, help) in COUNTERS {
        describe_counter!(name, help);
    }
    for &(name, help) in GAUGES {
        describe_gauge!(name, help);
    }
    describe_histogram!("trunkgate_call_setup_seconds", "From the INVITE to the 2xx");
    describe_histogram!(
        "trunkgate_media_mos",
        "Mean opinion score of what came from a side of an ended call"
    );
}

impl Default for Meters {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts stay far below 2^52")]
fn count(n: usize) -> f64 {
    n as f64
}

/// Upper bounds of the buckets of the set-up time, in seconds.
const SETUP_BUCKETS: [f64; 12] =
    [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];
/// Of mean opinion scores.
const SCORE_BUCKETS: [f64; 7] = [2.0, 2.5, 3.0, 3.5, 4.0, 4.2, 4.4];
const COUNTERS: &[(&str, &str)] = &[
    ("trunkgate_calls_started_total", "Initial INVITEs taken"),
    ("trunkgate_calls_restored_total", "Calls of a process that died, taken up by this one"),
    ("trunkgate_journal_entries_total", "Entries written to the journal"),
    ("trunkgate_journal_written_bytes_total", "Bytes written to the journal"),
    ("trunkgate_journal_failed_writes_total", "Writes to the journal that failed; tried again"),
    ("trunkgate_calls_answered_total", "Calls that were answered"),
    ("trunkgate_calls_ended_total", "Calls that are over or were refused, by cause"),
    ("trunkgate_messages_dropped_total", "Messages dropped unanswered, by cause"),
    ("trunkgate_messages_handed_total", "Messages handed to another process in an upgrade"),
    ("trunkgate_messages_unreadable_total", "Bytes of known peers that are no message, by cause"),
    (
        "trunkgate_refusals_unrecorded_total",
        "Refused calls without a log line and a record, because there were too many",
    ),
    ("trunkgate_faults_total", "Faults of the gateway that cost one call or one message"),
    ("trunkgate_reloads_total", "Reloads, by what came of them"),
    ("trunkgate_connections_refused_total", "Connections refused, or not reached, by cause"),
    ("trunkgate_losses_total", "What was lost because a queue was full or a sink failed"),
    ("trunkgate_media_received_packets_total", "RTP packets taken from peers, of ended sessions"),
    ("trunkgate_media_relayed_packets_total", "Of these, passed on to the other side"),
    ("trunkgate_media_played_packets_total", "RTP packets of music on hold, of ended sessions"),
    ("trunkgate_media_lost_packets_total", "RTP packets missing by sequence number"),
    ("trunkgate_media_unauthentic_packets_total", "SRTP packets that did not authenticate"),
    ("trunkgate_media_foreign_packets_total", "Packets from addresses that may not send"),
    ("trunkgate_media_malformed_packets_total", "Packets that are neither RTP nor RTCP"),
    ("trunkgate_media_fax_datagrams_total", "Datagrams of faxes by T.38 taken from peers"),
    (
        "trunkgate_relay_faults_total",
        "Faults of the relay's own code, each of which ended a session or cut a turn short",
    ),
    ("trunkgate_requests_refused_total", "Requests refused that begin no call"),
    ("trunkgate_transfers_total", "Transfers that peers asked for, by what came of them"),
    ("trunkgate_large_requests_total", "Requests too long for a datagram, by how they were sent"),
    ("trunkgate_silent_calls_total", "Times that sides of a call that should be heard were not"),
    ("trunkgate_relay_unsent_packets_total", "Media packets that the system did not take"),
    ("trunkgate_relay_stray_packets_total", "Packets to media ports that no session uses"),
    (
        "trunkgate_auth_failures_total",
        "Answers to challenges of ours that prove nothing, by reason",
    ),
    ("trunkgate_registration_attempts_total", "REGISTERs to carriers, by what came of them"),
    ("trunkgate_registrar_requests_total", "REGISTERs of trunks to us, by how they were answered"),
];
const GAUGES: &[(&str, &str)] = &[
    ("trunkgate_active_calls", "Calls now, also those still ringing"),
    ("trunkgate_elder_calls", "Calls left in the process that was taken over from"),
    ("trunkgate_transactions", "Client and server transactions now"),
    ("trunkgate_free_port_pairs", "Pairs of media ports that are bound and free"),
    ("trunkgate_bound_port_pairs", "Pairs of media ports that are bound"),
    ("trunkgate_reload_ok", "1 when the last reload was good, 0 when it was refused"),
    ("trunkgate_configuration_timestamp_seconds", "Since when the configuration is in force"),
    ("trunkgate_certificate_days_left", "Days until a certificate of ours expires"),
    ("trunkgate_open_connections", "TCP and TLS connections now"),
    ("trunkgate_waiting_messages", "Messages that have come in and are not served yet"),
    ("trunkgate_banned_addresses", "Unknown addresses left out for knocking too often"),
    ("trunkgate_retiring_connections", "Connections now that only finish what calls owe on them"),
    ("trunkgate_journal_pending_bytes", "Bytes of the journal that wait for the disk"),
    ("trunkgate_pending_records", "CDRs that wait for the disk"),
    ("trunkgate_media_sessions", "Sessions of the relay now"),
    ("trunkgate_proxy_up", "1 while OPTIONS to that proxy are answered with 200"),
    ("trunkgate_proxy_refused", "1 while OPTIONS to that proxy are answered with a refusal"),
    ("trunkgate_peer_up", "0 while that peer of a trunk does not answer"),
    ("trunkgate_registration_up", "1 while that trunk is registered with its registrar"),
    ("trunkgate_registration_expires_seconds", "For how long its registrar has last granted it"),
    ("trunkgate_registered_contacts", "Contacts of that trunk that are registered with us"),
];
/// How often measurements are sorted into their buckets.
pub const TEND_INTERVAL: Duration = Duration::from_secs(5);
/// How often the gauges are shown.
pub const GAUGE_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Registering;
    use media_relay::SideStats;

    fn rendered(work: impl FnOnce(&mut Meters)) -> String {
        let recorder = builder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || work(&mut Meters::new()));
        recorder.handle().render()
    }

    #[test]
    fn every_figure_says_what_it_is() {
        let text = rendered(|meters| {
            meters.note(&Event::CallStarted);
            meters.note(&Event::CallAnswered { setup: Duration::from_millis(150) });
            meters.note(&Event::CallEnded { cause: Cause::Normal });
            meters.note(&Event::Dropped(Dropped::Stranger));
            meters.note(&Event::Unreadable { cause: "bare_line_end" });
            meters.note(&Event::Refused(Refusal::Network));
            let (edge, proxy) = ("default".into(), "sip".into());
            meters.note(&Event::Proxy { edge, proxy, up: true, refused: false });
            meters.note(&Event::Peer { trunk: "a".into(), peer: "udp:b".into(), up: false });
            let granted = Duration::from_secs(60);
            meters.note(&Event::Registration { trunk: "a".into(), up: true, granted });
            let outcome = Registering::Registered;
            meters.note(&Event::Registering { trunk: "a".into(), outcome });
            meters.note(&Event::Registered { trunk: "a".into(), contacts: 1 });
            meters.show(&Gauges::default());
            let mut configuration = ConfigurationMeters::new(std::time::UNIX_EPOCH);
            configuration.certificates(std::iter::once((std::path::Path::new("a"), 30)));
        });
        for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        }
        for (name, _) in COUNTERS.iter().chain(GAUGES) {
            assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
        }
        assert!(text.contains("trunkgate_call_setup_seconds_bucket{le=\"0.2\"} 1"), "{text}");
        assert!(text.contains("trunkgate_calls_ended_total{cause=\"normal\"} 1"), "{text}");
    }

    #[test]
    fn media_of_both_sides_is_added_up() {
        let side = |received, relayed| SideStats { received, relayed, ..SideStats::default() };
        let text = rendered(|meters| {
            meters.note(&Event::MediaEnded { stats: Box::new([side(5, 4), side(7, 7)]) });
        });
        assert!(text.contains("trunkgate_media_received_packets_total 12"), "{text}");
        assert!(text.contains("trunkgate_media_relayed_packets_total 11"), "{text}");
    }

    #[test]
    fn relay_threads_are_added_up() {
        let thread = |bound| ThreadCounters { bound, send_failed: 1, ..ThreadCounters::default() };
        let text = rendered(|meters| meters.show_relay([thread(3), thread(4)].into_iter()));
        assert!(text.contains("trunkgate_bound_port_pairs 7"), "{text}");
        assert!(text.contains("trunkgate_relay_unsent_packets_total 2"), "{text}");
    }
}
