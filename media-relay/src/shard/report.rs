//! RTCP towards one peer, as a translator makes it (RFC 3550 §7.2): reports of the other side put
//! into our numbers, and reports of our own when nothing else was sent for a while.
//!
//! Of a relayed compound only the reports pass: sender information for the source that the peer
//! hears from us, and the block about what we sent. The CNAME is the plan's, so that no address of
//! the other network leaks. BYE does not pass: the peer's source is ours and stays. Extended
//! reports and feedback name sources and times that the peer has never seen, and do not pass; the
//! VoIP metrics about what we sent are read.

use std::time::{Duration, Instant, SystemTime};

use super::random::Random;
use super::side::SideState;
use crate::packet::{
    Compound, EXTENDED_REPORT, Packet, ReportBlock, RtcpWriter, SenderInfo, Ssrc, voip_metrics,
};
use crate::plan::SideStats;
use crate::state::SideSnapshot;

/// What has to be remembered between reports of one side.
#[derive(Debug)]
pub(crate) struct Reports {
    /// When RTCP was last sent to the peer.
    sent: Instant,
    /// Our source before any RTP was sent and where the plan gives none.
    drawn: Ssrc,
    name: Name,
    /// Payload bytes sent, modulo 2^32.
    pub(crate) octets: u32,
    /// RTP packets sent when the last sender report was.
    packets: u64,
    /// The last sender report heard from the peer: the middle of its NTP time, and when.
    heard: Option<(u32, Instant)>,
    /// The middle of the NTP time of the last sender report that was relayed to the peer.
    relayed: Option<u32>,
}

/// A CNAME.
#[derive(Debug)]
struct Name {
    random: [u8; 16],
    planned: Option<Box<[u8]>>,
}

/// The time of sender reports: NTP at the shard's birth, and the birth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch {
    pub(crate) ntp: u64,
    pub(crate) start: Instant,
    /// The same time of day in milliseconds since 1970.
    pub(crate) unix: u64,
}

impl Epoch {
    pub(crate) fn new(wall: SystemTime, start: Instant) -> Self {
        let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs().wrapping_add(NTP_TO_UNIX);
        let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
        // The era is lost on purpose (RFC 3550 §4).
        let ntp = (seconds << 32).wrapping_add(fraction);
        Self { ntp, start, unix: millis(since) }
    }

    /// The time of day in milliseconds since 1970.
    pub(crate) fn unix(&self, now: Instant) -> u64 {
        self.unix.saturating_add(millis(now.saturating_duration_since(self.start)))
    }

    fn ntp(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start);
        let fraction = (u64::from(elapsed.subsec_nanos()) << 32) / 1_000_000_000;
        self.ntp.wrapping_add(elapsed.as_secs() << 32).wrapping_add(fraction)
    }
}

impl Reports {
    pub(crate) fn new(random: &mut Random, now: Instant) -> Self {
        let mut name = [0; 16];
        for byte in &mut name {
            *byte = ALPHABET[random.below(ALPHABET.len() as u32) as usize];
        }
        Self {
            sent: now,
            drawn: Ssrc(random.next_u32()),
            name: Name { random: name, planned: None },
            octets: 0,
            packets: 0,
            heard: None,
            relayed: None,
        }
    }

    pub(crate) fn set_name(&mut self, name: Option<&str>) {
        let planned = name.map(str::as_bytes).filter(|name| !name.is_empty());
        let planned = planned.map(|name| &name[..name.len().min(MAX_NAME)]);
        if self.name.planned.as_deref() != planned {
            self.name.planned = planned.map(Into::into);
        }
    }

    /// Goes on as what another process was to the peer.
    pub(crate) fn resume(&mut self, state: &SideSnapshot, stats: &SideStats) {
        self.drawn = Ssrc(state.ssrc);
        self.octets = state.octets;
        self.packets = stats.sent;
        if let Ok(name) = <[u8; 16]>::try_from(state.name.as_bytes())
            && name.iter().all(|byte| ALPHABET.contains(byte))
        {
            self.name.random = name;
        }
    }

    /// The CNAME that was drawn.
    pub(crate) fn drawn_name(&self) -> String {
        self.name.random.iter().copied().map(char::from).collect()
    }

    /// The peer is another one.
    pub(crate) const fn forget(&mut self) {
        self.heard = None;
        self.relayed = None;
    }

    /// Another source of ours than before.
    pub(crate) const fn draw(&mut self, ssrc: Ssrc) {
        self.drawn = ssrc;
    }

    pub(crate) const fn drawn(&self) -> Ssrc {
        self.drawn
    }

    /// When a report of our own is due.
    pub(crate) fn due(&self) -> Instant {
        self.sent + INTERVAL
    }

    /// RTCP was sent, or could not be and shall be tried after another interval.
    pub(crate) const fn note_sent(&mut self, now: Instant) {
        self.sent = now;
    }
}

impl Name {
    fn as_bytes(&self) -> &[u8] {
        self.planned.as_deref().unwrap_or(&self.random)
    }
}

/// What is worth relaying of a compound that came from `this` for `other`. Reads only.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Relayable {
    info: Option<SenderInfo>,
    block: Option<ReportBlock>,
    sender: Option<Ssrc>,
}

/// Takes in a compound of `this` side's peer. `None`: no RTCP. Within: nothing to relay.
pub(crate) fn read(
    this: &mut SideState,
    other: &SideState,
    bytes: &[u8],
    now: Instant,
) -> Option<Option<Relayable>> {
    let compound = Compound::parse(bytes)?;
    let mut relayable = None;
    for packet in compound.packets() {
        let report = match packet {
            Packet::SenderReport(report) | Packet::ReceiverReport(report) => report,
            Packet::Other { kind: EXTENDED_REPORT, body, .. } => {
                let ours = this.rewriter.sent().map(|sent| sent.ssrc);
                for metrics in voip_metrics(body).filter(|metrics| Some(metrics.ssrc) == ours) {
                    this.remote.note_metrics(&metrics, &mut this.stats);
                }
                continue;
            }
            Packet::SourceDescription(_) | Packet::Goodbye(_) | Packet::Other { .. } => continue,
        };
        let relayable = relayable.get_or_insert_with(Relayable::default);
        relayable.sender.get_or_insert(report.ssrc);
        if let Some(info) = report.info {
            if this.observer.ssrc() == Some(report.ssrc) {
                this.reports.heard = Some((info.short_ntp(), now));
            }
            if other.rewriter.source() == Some(report.ssrc) {
                relayable.info = Some(info);
            }
        }
        let Some(sent) = this.rewriter.sent() else { continue };
        let block = report.blocks().find(|block| block.ssrc == sent.ssrc);
        if let Some(block) = &block {
            this.remote.heard(block, sent.clock, &mut this.stats, now);
        }
        if let (Some(mut block), Some(source)) = (block, this.rewriter.source()) {
            block.ssrc = source;
            block.highest = this.rewriter.source_highest(block.highest);
            if this.reports.relayed != Some(block.last_sr) {
                // It answers a report of our own, which the other side has never seen.
                block.last_sr = 0;
                block.delay_since_last_sr = 0;
            }
            relayable.block = Some(block);
        }
    }
    Some(relayable)
}

/// Writes what was read from the other side as RTCP for `to`; its length.
pub(crate) fn relay(
    to: &mut SideState,
    relayable: &Relayable,
    buf: &mut [u8],
    epoch: Epoch,
    now: Instant,
) -> Option<usize> {
    let own = sender_info(to, epoch, now);
    let info = match (relayable.info, own) {
        (Some(info), Some(own)) => {
            to.reports.relayed = Some(info.short_ntp());
            let rtp_timestamp = to.rewriter.timestamp(info.rtp_timestamp);
            Some(SenderInfo { ntp: info.ntp, rtp_timestamp, ..own })
        }
        (_, own) => own,
    };
    let ssrc = source(to).or(relayable.sender).unwrap_or(to.reports.drawn);
    write(to, ssrc, info, relayable.block, buf, now)
}

/// Writes a report of our own for `to`; its length.
pub(crate) fn own(to: &mut SideState, buf: &mut [u8], epoch: Epoch, now: Instant) -> Option<usize> {
    let info = sender_info(to, epoch, now);
    let heard = to.reports.heard;
    let block = to.observer.report().map(|reception| ReportBlock {
        ssrc: reception.ssrc,
        fraction_lost: reception.fraction_lost,
        lost: reception.lost,
        highest: reception.highest,
        jitter: reception.jitter,
        last_sr: heard.map_or(0, |(ntp, _)| ntp),
        delay_since_last_sr: heard.map_or(0, |(_, at)| short(now.saturating_duration_since(at))),
    });
    let ssrc = source(to).unwrap_or(to.reports.drawn);
    write(to, ssrc, info, block, buf, now)
}

fn write(
    to: &mut SideState,
    ssrc: Ssrc,
    info: Option<SenderInfo>,
    block: Option<ReportBlock>,
    buf: &mut [u8],
    now: Instant,
) -> Option<usize> {
    let mut writer = RtcpWriter::new(buf);
    match info {
        Some(info) => {
            to.remote.note_sent(info.short_ntp(), now);
            writer.sender_report(ssrc, &info, block.as_slice())
        }
        None => writer.receiver_report(ssrc, block.as_slice()),
    }
    .ok()?;
    writer.source_description(ssrc, to.reports.name.as_bytes()).ok()?;
    to.reports.packets = to.stats.sent;
    to.reports.sent = now;
    Some(writer.len())
}

/// Who we are to a peer.
fn source(to: &SideState) -> Option<Ssrc> {
    to.rewriter.own().or_else(|| to.rewriter.sent().map(|sent| sent.ssrc))
}

/// What we sent to a peer, if anything since the last report (RFC 3550 §6.4).
fn sender_info(to: &SideState, epoch: Epoch, now: Instant) -> Option<SenderInfo> {
    let sent = to.rewriter.sent().filter(|_| to.stats.sent != to.reports.packets)?;
    Some(SenderInfo {
        ntp: epoch.ntp(now),
        rtp_timestamp: sent.timestamp_at(now),
        packets: to.stats.sent as u32,
        octets: to.reports.octets,
    })
}

/// A time in 1/65536 s.
fn short(time: Duration) -> u32 {
    u32::try_from(time.as_nanos() * 65_536 / 1_000_000_000).unwrap_or(u32::MAX)
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds from 1900 to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;
/// The longest time without RTCP. Peers want some within 5 s, on hold too.
const INTERVAL: Duration = Duration::from_millis(4500);
/// RFC 7022 §4.2 makes 16 such characters of 96 random bits.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const MAX_NAME: usize = 63;
