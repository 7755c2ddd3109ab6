//! RTCP compounds (RFC 3550 §6): walking them within strict bounds, and putting other sources in.
//!
//! A compound is taken whole or not at all: every length must add up (RFC 3550 A.2). What a
//! packet type means is read only where it is needed; unknown types are walked over.

use super::extended;
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

    /// Who sends it: the SSRC at the head of its first packet. `None` for a source description or
    /// a goodbye of nobody.
    #[must_use]
    pub fn sender(&self) -> Option<Ssrc> {
        let (first, ..) = split(self.bytes)?;
        u32_at(first.body, 0).map(Ssrc)
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
            EXTENDED_REPORT => extended::is_whole(self.body).then_some(()),
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
/// RFC 3611.
pub(crate) const EXTENDED_REPORT: u8 = 207;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::packet::RtcpWriter;

    /// SR with one block, SDES, BYE.
    fn compound() -> Vec<u8> {
        let mut buf = [0; 256];
        let mut writer = RtcpWriter::new(&mut buf);
        let block = ReportBlock { ssrc: Ssrc(2), lost: -3, highest: 70_000, ..Default::default() };
        writer.sender_report(Ssrc(1), &SenderInfo::default(), &[block]).unwrap();
        writer.source_description(Ssrc(1), b"a@b").unwrap();
        writer.goodbye(&[Ssrc(1), Ssrc(3)], b"done").unwrap();
        let len = writer.len();
        buf[..len].to_vec()
    }

    fn kinds(bytes: &[u8]) -> Option<Vec<u8>> {
        let kind = |packet| match packet {
            Packet::SenderReport(_) => 200,
            Packet::ReceiverReport(_) => 201,
            Packet::SourceDescription(_) => 202,
            Packet::Goodbye(_) => 203,
            Packet::Other { kind, .. } => kind,
        };
        Some(Compound::parse(bytes)?.packets().map(kind).collect())
    }

    #[test]
    fn a_compound_is_walked() {
        let bytes = compound();
        let compound = Compound::parse(&bytes).unwrap();
        assert_eq!(compound.sender(), Some(Ssrc(1)));
        let packets: Vec<_> = compound.packets().collect();
        let [Packet::SenderReport(report), Packet::SourceDescription(text), Packet::Goodbye(bye)] =
            packets[..]
        else {
            panic!("{:?}", kinds(&bytes));
        };
        assert_eq!((report.ssrc, report.info), (Ssrc(1), Some(SenderInfo::default())));
        let blocks: Vec<_> = report.blocks().collect();
        assert_eq!((blocks.len(), blocks[0].ssrc, blocks[0].lost), (1, Ssrc(2), -3));
        assert_eq!(text, [0, 0, 0, 1, 1, 3, b'a', b'@', b'b', 0, 0, 0]);
        assert_eq!(bye.sources().collect::<Vec<_>>(), [Ssrc(1), Ssrc(3)]);
        assert_eq!(bye.reason, b"done");
    }

    #[test]
    fn every_cut_and_every_wrong_length_is_refused() {
        let bytes = compound();
        let ends = [52, 68];
        for len in 0..bytes.len() {
            assert_eq!(Compound::parse(&bytes[..len]).is_some(), ends.contains(&len), "{len}");
        }
        // Lengths that end where a packet ends are right: the report may have an appendix.
        for wrong in (0..=255_u8).filter(|words| ![12, 16, 21].contains(words)) {
            let mut bytes = bytes.clone();
            bytes[3] = wrong;
            assert!(Compound::parse(&bytes).is_none(), "{wrong}");
        }
    }

    #[test]
    fn counts_must_fit() {
        let head = |count: u8, kind: u8, body: &[u8]| {
            let words = (body.len() / 4) as u8;
            [&[0x80 | count, kind, 0, words][..], body].concat()
        };
        let table = [
            (head(0, 200, &[0; 24]), true),
            (head(0, 200, &[0; 20]), false),
            (head(1, 200, &[0; 48]), true),
            (head(1, 200, &[0; 44]), false),
            (head(31, 201, &[0; 4 + 31 * 24]), true),
            (head(31, 201, &[0; 31 * 24]), false),
            // A profile may append to a report.
            (head(0, 201, &[0; 12]), true),
            (head(0, 202, &[]), true),
            (head(1, 202, &[0; 8]), true),
            (head(1, 202, &[0; 4]), false),
            (head(2, 202, &[0; 8]), false),
            // An item longer than its chunk.
            (head(1, 202, &[0, 0, 0, 1, 1, 9, 0, 0]), false),
            // Items without their end.
            (head(1, 202, &[0, 0, 0, 1, 1, 2, 3, 4]), false),
            (head(0, 203, &[]), true),
            (head(1, 203, &[]), false),
            (head(2, 203, &[0; 8]), true),
            (head(2, 203, &[0; 4]), false),
            (head(1, 204, &[]), false),
            (head(1, 206, &[0; 8]), true),
        ];
        for (bytes, whole) in table {
            assert_eq!(Compound::parse(&bytes).is_some(), whole, "{bytes:02x?}");
        }
    }

    #[test]
    fn only_the_last_packet_may_be_padded() {
        let padded = [0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4];
        let plain = [0x80, 201, 0, 1, 0, 0, 0, 1];
        assert_eq!(kinds(&padded), Some(vec![201]));
        assert_eq!(kinds(&[&plain[..], &padded].concat()), Some(vec![201, 201]));
        assert_eq!(kinds(&[&padded[..], &plain].concat()), None);
        for padding in [0, 1, 3, 5, 8, 12, 255] {
            let mut padded = padded;
            padded[11] = padding;
            assert_eq!(kinds(&padded), None, "{padding}");
        }
    }

    #[test]
    fn a_goodbye_that_lies_about_its_reason_has_none() {
        let bytes = [0x81, 203, 0, 2, 0, 0, 0, 1, 200, b'x', b'y', 0];
        let mut packets = Compound::parse(&bytes).unwrap().packets();
        let Some(Packet::Goodbye(bye)) = packets.next() else { panic!() };
        assert_eq!((bye.sources().len(), bye.reason), (1, &b""[..]));
    }

    #[test]
    fn nobody_says_goodbye() {
        let bytes = [0x80, 203, 0, 0, 0x80, 203, 0, 0];
        assert_eq!(Compound::parse(&bytes).unwrap().sender(), None);
    }

    #[test]
    fn every_source_is_rewritten() {
        let mut bytes = compound();
        let feedback = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        let application = [0x80, 204, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1];
        bytes.extend(feedback);
        bytes.extend(application);
        assert!(rewrite_ssrcs(&mut bytes, |ssrc| (ssrc.0 < 3).then_some(Ssrc(ssrc.0 + 100))));
        let packets: Vec<_> = Compound::parse(&bytes).unwrap().packets().collect();
        let Packet::SenderReport(report) = packets[0] else { panic!() };
        assert_eq!(report.ssrc, Ssrc(101));
        assert_eq!(report.blocks().next().unwrap().ssrc, Ssrc(102));
        let Packet::SourceDescription(text) = packets[1] else { panic!() };
        assert_eq!(text[..4], [0, 0, 0, 101]);
        let Packet::Goodbye(bye) = packets[2] else { panic!() };
        assert_eq!(bye.sources().collect::<Vec<_>>(), [Ssrc(101), Ssrc(3)]);
        let Packet::Other { kind: 206, count: 1, body } = packets[3] else { panic!() };
        assert_eq!(body, [0, 0, 0, 101, 0, 0, 0, 102]);
        // What follows the sender of an APP is data.
        let Packet::Other { kind: 204, body, .. } = packets[4] else { panic!() };
        assert_eq!(body, [0, 0, 0, 101, 0, 0, 0, 1]);
    }

    #[test]
    fn what_is_no_compound_is_not_rewritten() {
        let mut bytes = compound();
        bytes.pop();
        let before = bytes.clone();
        assert!(!rewrite_ssrcs(&mut bytes, |_| Some(Ssrc(9))));
        assert_eq!(bytes, before);
    }

    /// Packets with a true length and any content.
    fn framed() -> impl Strategy<Value = Vec<u8>> {
        let packet = (any::<u8>(), 199..209_u8, vec(any::<[u8; 4]>(), 0..20)).prop_map(
            |(first, kind, words)| {
                let first = 0x80 | first & if first & 0x40 == 0 { 0x1f } else { 0x3f };
                let head = [first, kind, 0, words.len() as u8];
                [&head[..], words.as_flattened()].concat()
            },
        );
        vec(packet, 1..5).prop_map(|packets| packets.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in prop_oneof![framed(), vec(any::<u8>(), 0..200)]) {
            let len = bytes.len();
            if let Some(compound) = Compound::parse(&bytes) {
                let _ = compound.sender();
                let mut walked = 0;
                for packet in compound.packets() {
                    walked += 1;
                    match packet {
                        Packet::SenderReport(report) | Packet::ReceiverReport(report) => {
                            prop_assert!(report.blocks().count() <= 31);
                        }
                        Packet::Goodbye(bye) => prop_assert!(bye.sources().count() <= 31),
                        Packet::SourceDescription(_) | Packet::Other { .. } => {}
                    }
                }
                prop_assert!(walked > 0);
                let before = bytes.clone();
                prop_assert!(rewrite_ssrcs(&mut bytes, Some));
                prop_assert_eq!(&bytes, &before);
                rewrite_ssrcs(&mut bytes, |ssrc| Some(Ssrc(!ssrc.0)));
                prop_assert!(kinds(&bytes).is_some());
            } else {
                prop_assert!(!rewrite_ssrcs(&mut bytes, |_| Some(Ssrc(0))));
            }
            prop_assert_eq!(bytes.len(), len);
        }
    }
}
