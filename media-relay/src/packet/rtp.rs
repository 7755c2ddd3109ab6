//! RTP packets (RFC 3550 §5.1): the header alone, a whole packet, and rewriting in place.
//!
//! [`Header`] reads what stands before the payload and so also serves SRTP, where the padding
//! count at the end is still cipher text. [`Rtp`] is a whole packet in the clear.

use rtp_rs::RtpReader;

use super::{Ssrc, u16_at, u32_at};

/// The fixed header of an RTP packet with CSRC list and extension skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Who sends.
    pub ssrc: Ssrc,
    /// In units of the payload type's clock.
    pub timestamp: u32,
    /// Grows by one with each packet, modulo 2^16.
    pub sequence: u16,
    /// Payload type, 0-127.
    pub payload_type: u8,
    /// The marker bit.
    pub marker: bool,
    /// Bytes before the payload: 12, CSRC list and extension.
    pub len: usize,
}

impl Header {
    /// The shortest RTP header in bytes.
    pub const MIN: usize = 12;

    /// Reads the header of an RTP or SRTP packet. `None` unless it is version 2 and the CSRC list
    /// and the extension lie within `packet`.
    #[must_use]
    #[inline]
    pub fn peek(packet: &[u8]) -> Option<Self> {
        let fixed = packet.first_chunk::<{ Self::MIN }>()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let mut len = Self::MIN + 4 * usize::from(fixed[0] & 0x0f);
        if fixed[0] & 0x10 != 0 {
            len += 4 + 4 * usize::from(u16_at(packet, len + 2)?);
        }
        if len > packet.len() {
            return None;
        }
        Some(Self {
            ssrc: Ssrc(u32_at(fixed, 8)?),
            timestamp: u32_at(fixed, 4)?,
            sequence: u16_at(fixed, 2)?,
            payload_type: fixed[1] & 0x7f,
            marker: fixed[1] & 0x80 != 0,
            len,
        })
    }
}

/// A whole RTP packet in the clear.
pub struct Rtp<'a> {
    reader: RtpReader<'a>,
}

impl<'a> Rtp<'a> {
    /// Checks version, lengths of CSRC list and extension, and padding. `None` is not RTP.
    #[must_use]
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        RtpReader::new(packet).ok().map(|reader| Self { reader })
    }

    /// Who sends.
    #[must_use]
    pub fn ssrc(&self) -> Ssrc {
        Ssrc(self.reader.ssrc())
    }

    /// The 16-bit sequence number.
    #[must_use]
    pub fn sequence(&self) -> u16 {
        self.reader.sequence_number().into()
    }

    /// In units of the payload type's clock.
    #[must_use]
    pub fn timestamp(&self) -> u32 {
        self.reader.timestamp()
    }

    /// Payload type, 0-127.
    #[must_use]
    pub fn payload_type(&self) -> u8 {
        self.reader.payload_type()
    }

    /// The marker bit.
    #[must_use]
    pub fn marker(&self) -> bool {
        self.reader.mark()
    }

    /// The contributing sources, at most 15.
    pub fn csrcs(&self) -> impl Iterator<Item = Ssrc> + '_ {
        self.reader.csrc().map(Ssrc)
    }

    /// The header extension: its profile number and its data.
    #[must_use]
    pub fn extension(&self) -> Option<(u16, &'a [u8])> {
        self.reader.extension()
    }

    /// The payload without padding.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.reader.payload()
    }
}

/// Rewrites header fields of an RTP packet where it lies.
pub struct RtpMut<'a> {
    fixed: &'a mut [u8; Header::MIN],
}

impl<'a> RtpMut<'a> {
    /// `None` when `packet` is shorter than an RTP header or not version 2.
    #[must_use]
    pub fn new(packet: &'a mut [u8]) -> Option<Self> {
        let fixed = packet.first_chunk_mut()?;
        (fixed[0] >> 6 == 2).then_some(Self { fixed })
    }

    /// Puts in another source.
    pub fn set_ssrc(&mut self, ssrc: Ssrc) {
        self.fixed[8..12].copy_from_slice(&ssrc.0.to_be_bytes());
    }

    /// Puts in another sequence number.
    pub fn set_sequence(&mut self, sequence: u16) {
        self.fixed[2..4].copy_from_slice(&sequence.to_be_bytes());
    }

    /// Puts in another timestamp.
    pub fn set_timestamp(&mut self, timestamp: u32) {
        self.fixed[4..8].copy_from_slice(&timestamp.to_be_bytes());
    }

    /// Puts in another payload type; only the lower seven bits count, the marker stays.
    pub fn set_payload_type(&mut self, payload_type: u8) {
        self.fixed[1] = (self.fixed[1] & 0x80) | (payload_type & 0x7f);
    }

    /// Sets or clears the marker bit.
    pub fn set_marker(&mut self, marker: bool) {
        self.fixed[1] = (self.fixed[1] & 0x7f) | (u8::from(marker) << 7);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Two CSRCs, an extension of one word, four bytes of payload, four of padding.
    const FULL: [u8; 36] = [
        0xb2, 0x88, 0x12, 0x34, 0, 0, 1, 0x40, 0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 1, 0, 0, 0, 2,
        0xbe, 0xde, 0, 1, 0x10, 7, 0, 0, b'p', b'a', b'y', b'!', 0, 0, 0, 4,
    ];

    #[test]
    fn all_parts_are_read() {
        let rtp = Rtp::parse(&FULL).unwrap();
        assert_eq!((rtp.ssrc(), rtp.sequence(), rtp.timestamp()), (Ssrc(0xcafe_babe), 0x1234, 320));
        assert_eq!((rtp.payload_type(), rtp.marker()), (8, true));
        assert_eq!(rtp.csrcs().collect::<Vec<_>>(), [Ssrc(1), Ssrc(2)]);
        assert_eq!(rtp.extension(), Some((0xbede, &[0x10, 7, 0, 0][..])));
        assert_eq!(rtp.payload(), b"pay!");
        let header = Header::peek(&FULL).unwrap();
        assert_eq!((header.ssrc, header.sequence), (rtp.ssrc(), rtp.sequence()));
        assert_eq!((header.timestamp, header.len), (rtp.timestamp(), 28));
        assert_eq!((header.payload_type, header.marker), (8, true));
    }

    #[test]
    fn a_header_must_lie_within_the_packet() {
        for len in 0..28 {
            assert_eq!(Header::peek(&FULL[..len]), None, "{len}");
            assert!(Rtp::parse(&FULL[..len]).is_none());
        }
        assert_eq!(Header::peek(&FULL[..28]).map(|header| header.len), Some(28));
        for version in [0x00, 0x40, 0xc0] {
            let mut packet = FULL;
            packet[0] = packet[0] & 0x3f | version;
            assert_eq!(Header::peek(&packet), None);
            assert!(RtpMut::new(&mut packet).is_none());
        }
    }

    /// The last byte of an SRTP packet says nothing about padding.
    #[test]
    fn padding_counts_in_a_clear_packet_only() {
        for count in [0, 9, 255] {
            let mut packet = FULL;
            packet[35] = count;
            assert!(Rtp::parse(&packet).is_none(), "{count}");
            assert!(Header::peek(&packet).is_some());
        }
    }

    #[test]
    fn each_field_is_rewritten_alone() {
        let rewritten = |rewrite: fn(&mut RtpMut<'_>)| {
            let mut packet = FULL;
            rewrite(&mut RtpMut::new(&mut packet).unwrap());
            assert_eq!(packet[12..], FULL[12..]);
            Header::peek(&packet).unwrap()
        };
        let old = Header::peek(&FULL).unwrap();
        assert_eq!(rewritten(|rtp| rtp.set_ssrc(Ssrc(5))), Header { ssrc: Ssrc(5), ..old });
        assert_eq!(rewritten(|rtp| rtp.set_sequence(6)), Header { sequence: 6, ..old });
        assert_eq!(rewritten(|rtp| rtp.set_timestamp(7)), Header { timestamp: 7, ..old });
        assert_eq!(rewritten(|rtp| rtp.set_payload_type(101)), Header { payload_type: 101, ..old });
        assert_eq!(
            rewritten(|rtp| rtp.set_payload_type(0xff)),
            Header { payload_type: 127, ..old }
        );
        assert_eq!(rewritten(|rtp| rtp.set_marker(false)), Header { marker: false, ..old });
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_both_readers_agree(
            mut bytes in vec(any::<u8>(), 0..120),
            looks_like_rtp: bool,
        ) {
            if looks_like_rtp && let Some(first) = bytes.first_mut() {
                *first = *first & 0x1f | 0x80;
            }
            let header = Header::peek(&bytes);
            match Rtp::parse(&bytes) {
                Some(rtp) => {
                    let header = header.unwrap();
                    prop_assert_eq!(header.ssrc, rtp.ssrc());
                    prop_assert_eq!(header.sequence, rtp.sequence());
                    prop_assert_eq!(header.timestamp, rtp.timestamp());
                    prop_assert_eq!(header.payload_type, rtp.payload_type());
                    prop_assert!(bytes[header.len..].starts_with(rtp.payload()));
                    prop_assert!(rtp.csrcs().count() <= 15);
                    let _ = rtp.extension();
                }
                // Without the padding bit both look at the same things.
                None => prop_assert!(header.is_none() || bytes[0] & 0x20 != 0),
            }
            if let Some(mut rtp) = RtpMut::new(&mut bytes) {
                rtp.set_ssrc(Ssrc(1));
                rtp.set_marker(true);
            }
        }
    }
}
