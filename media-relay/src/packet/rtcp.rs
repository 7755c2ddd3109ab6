//! RTCP compounds (RFC 3550 §6): walking them within strict bounds, and putting other sources in.
//!
//! A compound is taken whole or not at all: every length must add up (RFC 3550 A.2). What a
//! packet type means is read only where it is needed; unknown types are walked over.

use super::{ReportBlock, SenderInfo, Ssrc, u16_at, u32_at};

/// A compound RTCP packet whose lengths have been checked.
#[derive(Clone, Copy)]
pub struct Compound<'a> {
    bytes: &'a [u8],
}

impl<'a> Compound<'a> {
    /// Checks version 2, that the lengths add up to the datagram, that only the last packet is
    /// padded and that the counts of reports, sources and chunks fit. Reduced-size packets
    /// (RFC 5506), which do not begin with a report, are taken too.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        loop {
            let (packet, padded, after) = split(rest)?;
            if padded && !after.is_empty() {
                return None;
            }
            packet.check()?;
            if after.is_empty() {
                return Some(Self { bytes });
            }
            rest = after;
        }
    }

    /// Who sends it: the SSRC that every packet type has after its first four bytes.
    #[must_use]
    pub fn sender(&self) -> Option<Ssrc> {
        u32_at(self.bytes, 4).map(Ssrc)
    }

    /// The packets in their order.
    #[must_use]
    pub fn packets(&self) -> Packets<'a> {
        Packets { rest: self.bytes }
    }
}

/// The packets of a compound.
#[derive(Clone)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        let (packet, _, rest) = split(self.rest)?;
        self.rest = rest;
        Some(packet.read())
    }
}

/// One packet of a compound.
#[derive(Clone, Copy)]
pub enum Packet<'a> {
    /// SR, type 200.
    SenderReport(Report<'a>),
    /// RR, type 201.
    ReceiverReport(Report<'a>),
    /// SDES, type 202: the chunks (RFC 3550 §6.5).
    SourceDescription(&'a [u8]),
    /// BYE, type 203. Never a reason to end a call: anyone on a plain leg could send it.
    Goodbye(Goodbye<'a>),
    /// Any other type: its number, the five bits after the padding bit, and what follows the
    /// first four bytes.
    Other {
        /// APP 204, RTPFB 205, PSFB 206, XR 207, ...
        kind: u8,
        /// Subtype or feedback message type.
        count: u8,
        /// Without padding.
        body: &'a [u8],
    },
}

/// A sender's or receiver's report.
#[derive(Clone, Copy)]
pub struct Report<'a> {
    /// Who reports.
    pub ssrc: Ssrc,
    /// What it sent; `None` in a receiver report.
    pub info: Option<SenderInfo>,
    blocks: &'a [[u8; ReportBlock::LEN]],
}

impl<'a> Report<'a> {
    /// What it heard of others, at most 31 blocks.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = ReportBlock> + use<'a> {
        self.blocks.iter().map(ReportBlock::from_bytes)
    }
}

/// Sources that leave.
#[derive(Clone, Copy)]
pub struct Goodbye<'a> {
    sources: &'a [[u8; 4]],
    /// Why, in the peer's words; empty when it does not say.
    pub reason: &'a [u8],
}

impl<'a> Goodbye<'a> {
    /// At most 31.
    pub fn sources(&self) -> impl ExactSizeIterator<Item = Ssrc> + use<'a> {
        self.sources.iter().map(|ssrc| Ssrc(u32::from_be_bytes(*ssrc)))
    }
}

/// Puts other sources into a compound where it lies: whoever sends, reports, is reported on,
/// described, says goodbye, or is the target of feedback. `map` gives the new source, or `None`
/// to leave it. `false` when `bytes` is no valid compound, which is then unchanged.
pub fn rewrite_ssrcs(bytes: &mut [u8], map: impl Fn(Ssrc) -> Option<Ssrc>) -> bool {
    if Compound::parse(bytes).is_none() {
        return false;
    }
    let mut start = 0;
    while let Some((raw, _, after)) = split(&bytes[start..]) {
        let (kind, count) = (raw.kind, usize::from(raw.count));
        let body = start + 4..start + 4 + raw.body.len();
        let next = bytes.len() - after.len();
        rewrite_packet(&mut bytes[body], kind, count, &map);
        start = next;
    }
    true
}

/// One packet cut out of a compound.
struct Raw<'a> {
    kind: u8,
    count: u8,
    body: &'a [u8],
}

/// Cuts the first packet off: the packet without padding, whether it was padded, and the rest.
fn split(bytes: &[u8]) -> Option<(Raw<'_>, bool, &[u8])> {
    let &[first, kind, ..] = bytes else { return None };
    if first >> 6 != 2 {
        return None;
    }
    let end = 4 + 4 * usize::from(u16_at(bytes, 2)?);
    let (packet, rest) = bytes.split_at_checked(end)?;
    let padded = first & 0x20 != 0;
    let mut body = &packet[4..];
    if padded {
        let padding = usize::from(*body.last()?);
        if padding == 0 || !padding.is_multiple_of(4) {
            return None;
        }
        body = body.get(..body.len().checked_sub(padding)?)?;
    }
    Some((Raw { kind, count: first & 0x1f, body }, padded, rest))
}

impl<'a> Raw<'a> {
    /// Whether the counted parts lie within the packet.
    fn check(&self) -> Option<()> {
        let count = usize::from(self.count);
        match self.kind {
            SENDER_REPORT => self.body.get(..24 + count * ReportBlock::LEN).map(drop),
            RECEIVER_REPORT => self.body.get(..4 + count * ReportBlock::LEN).map(drop),
            SOURCE_DESCRIPTION => chunks(self.body, count, |_| ()),
            GOODBYE => self.body.get(..4 * count).map(drop),
            // Every type in use begins with the sender's SSRC.
            _ => self.body.get(..4).map(drop),
        }
    }

    fn read(self) -> Packet<'a> {
        let Self { kind, count, body } = self;
        match kind {
            SENDER_REPORT => match report(body, count, SenderInfo::LEN) {
                Some(report) => Packet::SenderReport(report),
                None => Packet::Other { kind, count, body },
            },
            RECEIVER_REPORT => match report(body, count, 0) {
                Some(report) => Packet::ReceiverReport(report),
                None => Packet::Other { kind, count, body },
            },
            SOURCE_DESCRIPTION => Packet::SourceDescription(body),
            GOODBYE => match goodbye(body, count) {
                Some(goodbye) => Packet::Goodbye(goodbye),
                None => Packet::Other { kind, count, body },
            },
            _ => Packet::Other { kind, count, body },
        }
    }
}

fn report(body: &[u8], count: u8, info_len: usize) -> Option<Report<'_>> {
    let ssrc = Ssrc(u32_at(body, 0)?);
    let info = body.get(4..4 + info_len)?.first_chunk().map(SenderInfo::from_bytes);
    let (blocks, _) = body.get(4 + info_len..)?.as_chunks();
    Some(Report { ssrc, info, blocks: blocks.get(..usize::from(count))? })
}

fn goodbye(body: &[u8], count: u8) -> Option<Goodbye<'_>> {
    let (sources, text) = body.split_at_checked(4 * usize::from(count))?;
    let reason = match text {
        [len, text @ ..] => text.get(..usize::from(*len)).unwrap_or_default(),
        [] => &[],
    };
    Some(Goodbye { sources: sources.as_chunks().0, reason })
}

/// Walks the chunks of an SDES body and gives the offset of each chunk's SSRC. `None` when
/// `count` chunks do not fit (RFC 3550 §6.5: items end with a zero byte, chunks on four bytes).
fn chunks(body: &[u8], count: usize, mut each: impl FnMut(usize)) -> Option<()> {
    let mut at = 0;
    for _ in 0..count {
        u32_at(body, at)?;
        each(at);
        at += 4;
        while *body.get(at)? != 0 {
            at += 2 + usize::from(*body.get(at + 1)?);
        }
        at = (at + 1).next_multiple_of(4);
    }
    (at <= body.len()).then_some(())
}

fn rewrite_packet(body: &mut [u8], kind: u8, count: usize, map: &impl Fn(Ssrc) -> Option<Ssrc>) {
    match kind {
        SENDER_REPORT | RECEIVER_REPORT => {
            rewrite_at(body, 0, map);
            let first = if kind == SENDER_REPORT { 4 + SenderInfo::LEN } else { 4 };
            for block in 0..count {
                rewrite_at(body, first + block * ReportBlock::LEN, map);
            }
        }
        SOURCE_DESCRIPTION => {
            let mut starts = [0; 31];
            let mut found = 0;
            let whole = chunks(body, count, |at| {
                starts[found] = at;
                found += 1;
            });
            if whole.is_some() {
                for &at in &starts[..found] {
                    rewrite_at(body, at, map);
                }
            }
        }
        GOODBYE => {
            for source in 0..count {
                rewrite_at(body, 4 * source, map);
            }
        }
        TRANSPORT_FEEDBACK | PAYLOAD_FEEDBACK => {
            rewrite_at(body, 0, map);
            rewrite_at(body, 4, map);
        }
        _ => rewrite_at(body, 0, map),
    }
}

fn rewrite_at(body: &mut [u8], at: usize, map: &impl Fn(Ssrc) -> Option<Ssrc>) {
    if let Some(four) = body.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>)
        && let Some(ssrc) = map(Ssrc(u32::from_be_bytes(*four)))
    {
        *four = ssrc.0.to_be_bytes();
    }
}

pub(super) const SENDER_REPORT: u8 = 200;
pub(super) const RECEIVER_REPORT: u8 = 201;
pub(super) const SOURCE_DESCRIPTION: u8 = 202;
pub(super) const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
