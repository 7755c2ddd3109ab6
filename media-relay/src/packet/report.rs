//! Building RTCP (RFC 3550 §6.4-6.6): reports, a CNAME, a goodbye, one after the other into the
//! caller's buffer.

use super::rtcp::{GOODBYE, RECEIVER_REPORT, SENDER_REPORT, SOURCE_DESCRIPTION};
use super::{Ssrc, u32_at};

/// What a sender says of itself (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// Wall clock as NTP: seconds since 1900 in the upper, fraction in the lower 32 bits.
    pub ntp: u64,
    /// The same moment on the RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent since the start, modulo 2^32.
    pub packets: u32,
    /// Payload bytes sent since the start, modulo 2^32.
    pub octets: u32,
}

impl SenderInfo {
    /// Bytes on the wire.
    pub const LEN: usize = 20;

    /// The middle 32 bits of the NTP time, which a peer returns in `last_sr`.
    #[must_use]
    pub fn short_ntp(&self) -> u32 {
        let [_, _, a, b, c, d, _, _] = self.ntp.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let word = |at| u32_at(bytes, at).unwrap_or_default();
        Self {
            ntp: u64::from(word(0)) << 32 | u64::from(word(4)),
            rtp_timestamp: word(8),
            packets: word(12),
            octets: word(16),
        }
    }

    fn words(&self) -> [u32; 5] {
        let [a, b, c, d, e, f, g, h] = self.ntp.to_be_bytes();
        [
            u32::from_be_bytes([a, b, c, d]),
            u32::from_be_bytes([e, f, g, h]),
            self.rtp_timestamp,
            self.packets,
            self.octets,
        ]
    }
}

/// What a receiver says of one source (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The source reported on.
    pub ssrc: Ssrc,
    /// Lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the start; negative with duplicates. 24 bits: written clamped.
    pub lost: i32,
    /// Sequence number heard last, with the number of its rollovers in the upper 16 bits.
    pub highest: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// [`SenderInfo::short_ntp`] of the last sender report heard from the source, or 0.
    pub last_sr: u32,
    /// Time since then in 1/65536 s, or 0.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    /// Bytes on the wire.
    pub const LEN: usize = 24;

    pub(super) fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let word = |at| u32_at(bytes, at).unwrap_or_default();
        Self {
            ssrc: Ssrc(word(0)),
            fraction_lost: bytes[4],
            lost: (word(4) << 8).cast_signed() >> 8,
            highest: word(8),
            jitter: word(12),
            last_sr: word(16),
            delay_since_last_sr: word(20),
        }
    }

    fn words(&self) -> [u32; 6] {
        let lost = self.lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned() & 0xff_ffff;
        [
            self.ssrc.0,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest,
            self.jitter,
            self.last_sr,
            self.delay_since_last_sr,
        ]
    }
}

/// The buffer is too small for the packet, or a list or text is longer than RTCP can say. What
/// was written before stays whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room for the RTCP packet")]
pub struct NoRoom;

/// Writes a compound. Each call appends one whole packet or nothing.
pub struct RtcpWriter<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> RtcpWriter<'a> {
    /// Begins an empty compound at the start of `buf`.
    #[must_use]
    pub fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends an SR. At most 31 blocks.
    pub fn sender_report(
        &mut self,
        ssrc: Ssrc,
        info: &SenderInfo,
        blocks: &[ReportBlock],
    ) -> Result<(), NoRoom> {
        let len = 8 + SenderInfo::LEN + blocks.len() * ReportBlock::LEN;
        self.packet(SENDER_REPORT, blocks.len(), len, |out| {
            out.word(ssrc.0);
            info.words().into_iter().for_each(|word| out.word(word));
            blocks.iter().flat_map(ReportBlock::words).for_each(|word| out.word(word));
        })
    }

    /// Appends an RR. At most 31 blocks.
    pub fn receiver_report(&mut self, ssrc: Ssrc, blocks: &[ReportBlock]) -> Result<(), NoRoom> {
        let len = 8 + blocks.len() * ReportBlock::LEN;
        self.packet(RECEIVER_REPORT, blocks.len(), len, |out| {
            out.word(ssrc.0);
            blocks.iter().flat_map(ReportBlock::words).for_each(|word| out.word(word));
        })
    }

    /// Appends an SDES with one CNAME of at most 255 bytes.
    pub fn source_description(&mut self, ssrc: Ssrc, cname: &[u8]) -> Result<(), NoRoom> {
        let name_len = u8::try_from(cname.len()).map_err(|_| NoRoom)?;
        let len = (8 + 2 + cname.len() + 1).next_multiple_of(4);
        self.packet(SOURCE_DESCRIPTION, 1, len, |out| {
            out.word(ssrc.0);
            out.bytes(&[CNAME, name_len]);
            out.bytes(cname);
        })
    }

    /// Appends a BYE for at most 31 sources, with a reason of at most 255 bytes (may be empty).
    pub fn goodbye(&mut self, sources: &[Ssrc], reason: &[u8]) -> Result<(), NoRoom> {
        let reason_len = u8::try_from(reason.len()).map_err(|_| NoRoom)?;
        let text = if reason.is_empty() { 0 } else { (1 + reason.len()).next_multiple_of(4) };
        self.packet(GOODBYE, sources.len(), 4 + 4 * sources.len() + text, |out| {
            sources.iter().for_each(|ssrc| out.word(ssrc.0));
            if !reason.is_empty() {
                out.bytes(&[reason_len]);
                out.bytes(reason);
            }
        })
    }

    /// Appends one packet of `len` bytes; what `fill` leaves stays zero.
    fn packet(
        &mut self,
        kind: u8,
        count: usize,
        len: usize,
        fill: impl FnOnce(&mut Cursor<'_>),
    ) -> Result<(), NoRoom> {
        let count = u8::try_from(count).ok().filter(|count| *count <= 31).ok_or(NoRoom)?;
        let words = u16::try_from(len / 4 - 1).map_err(|_| NoRoom)?;
        let out = self.buf.get_mut(self.len..self.len + len).ok_or(NoRoom)?;
        out.fill(0);
        let mut out = Cursor { out };
        out.bytes(&[0x80 | count, kind]);
        out.bytes(&words.to_be_bytes());
        fill(&mut out);
        self.len += len;
        Ok(())
    }
}

/// What is left of a packet being written. Its length was computed from what is written into it.
struct Cursor<'a> {
    out: &'a mut [u8],
}

impl Cursor<'_> {
    fn word(&mut self, word: u32) {
        self.bytes(&word.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let out = std::mem::take(&mut self.out);
        let (now, rest) = out.split_at_mut(bytes.len().min(out.len()));
        now.copy_from_slice(&bytes[..now.len()]);
        self.out = rest;
    }
}

const CNAME: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::{array::uniform6, collection::vec, prelude::*};

    use super::*;
    use crate::packet::{Compound, Packet};

    #[test]
    fn a_receiver_report_without_blocks() {
        let mut buf = [0xff; 16];
        let mut writer = RtcpWriter::new(&mut buf);
        assert!(writer.is_empty());
        writer.receiver_report(Ssrc(0x0102_0304), &[]).unwrap();
        assert_eq!(writer.len(), 8);
        assert_eq!(buf[..8], [0x80, 201, 0, 1, 1, 2, 3, 4]);
    }

    #[test]
    fn a_name_is_padded_with_at_least_one_zero() {
        for len in 0..=255_usize {
            let mut buf = [0xff; 300];
            let mut writer = RtcpWriter::new(&mut buf);
            writer.source_description(Ssrc(1), &vec![b'n'; len]).unwrap();
            let end = writer.len();
            assert!(Compound::parse(&buf[..end]).is_some(), "{len}");
            assert_eq!(buf[8..10], [1, len as u8]);
            assert_eq!(buf[10 + len], 0);
            assert_eq!(end, (11 + len).next_multiple_of(4));
        }
    }

    #[test]
    fn what_does_not_fit_leaves_the_rest_whole() {
        let mut buf = [0; 40];
        let mut writer = RtcpWriter::new(&mut buf);
        let info = SenderInfo::default();
        writer.receiver_report(Ssrc(1), &[]).unwrap();
        assert_eq!(writer.receiver_report(Ssrc(1), &[ReportBlock::default(); 32]), Err(NoRoom));
        assert_eq!(writer.receiver_report(Ssrc(1), &[ReportBlock::default(); 2]), Err(NoRoom));
        assert_eq!(writer.sender_report(Ssrc(1), &info, &[ReportBlock::default()]), Err(NoRoom));
        assert_eq!(writer.source_description(Ssrc(1), &[b'n'; 256]), Err(NoRoom));
        assert_eq!(writer.goodbye(&[Ssrc(1); 32], b""), Err(NoRoom));
        assert_eq!(writer.goodbye(&[], &[b'r'; 256]), Err(NoRoom));
        assert_eq!(writer.goodbye(&[Ssrc(1); 8], b""), Err(NoRoom));
        assert_eq!(writer.len(), 8);
        writer.goodbye(&[Ssrc(1); 7], b"").unwrap();
        assert_eq!(writer.len(), 40);
        assert_eq!(Compound::parse(&buf).unwrap().packets().count(), 2);
    }

    #[test]
    fn the_middle_of_the_ntp_time() {
        let info = SenderInfo { ntp: 0x0123_4567_89ab_cdef, ..SenderInfo::default() };
        assert_eq!(info.short_ntp(), 0x4567_89ab);
    }

    #[test]
    fn loss_is_clamped_to_24_bits() {
        let written = |lost| {
            let mut buf = [0; 32];
            let block = ReportBlock { lost, fraction_lost: 7, ..ReportBlock::default() };
            RtcpWriter::new(&mut buf).receiver_report(Ssrc(1), &[block]).unwrap();
            let block = ReportBlock::from_bytes(buf[8..].first_chunk().unwrap());
            assert_eq!(block.fraction_lost, 7);
            block.lost
        };
        for lost in [0, 1, -1, 0x7f_ffff, -0x80_0000] {
            assert_eq!(written(lost), lost);
        }
        assert_eq!((written(i32::MAX), written(i32::MIN)), (0x7f_ffff, -0x80_0000));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            ssrc: u32,
            sent in prop::option::of((any::<u64>(), any::<[u32; 3]>())),
            words in vec((uniform6(any::<u32>()), any::<u8>()), 0..=31),
        ) {
            let blocks: Vec<_> = words
                .into_iter()
                .map(|([ssrc, lost, highest, jitter, last_sr, delay], fraction)| ReportBlock {
                    ssrc: Ssrc(ssrc),
                    fraction_lost: fraction,
                    lost: lost.cast_signed() >> 8,
                    highest,
                    jitter,
                    last_sr,
                    delay_since_last_sr: delay,
                })
                .collect();
            let info = sent.map(|(ntp, [rtp_timestamp, packets, octets])| SenderInfo {
                ntp,
                rtp_timestamp,
                packets,
                octets,
            });
            let mut buf = [0; 1000];
            let mut writer = RtcpWriter::new(&mut buf);
            match &info {
                Some(info) => writer.sender_report(Ssrc(ssrc), info, &blocks).unwrap(),
                None => writer.receiver_report(Ssrc(ssrc), &blocks).unwrap(),
            }
            let len = writer.len();
            let packet = Compound::parse(&buf[..len]).unwrap().packets().next();
            let Some(Packet::SenderReport(report) | Packet::ReceiverReport(report)) = packet
            else {
                panic!("no report");
            };
            prop_assert_eq!((report.ssrc, report.info), (Ssrc(ssrc), info));
            prop_assert_eq!(report.blocks().collect::<Vec<_>>(), blocks);
        }
    }
}
