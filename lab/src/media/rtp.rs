//! RTP and RTCP headers, as bytes (RFC 3550 §5.1, §6.4, §6.5; RFC 4733 §2.3).

/// An RTP packet, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtp<'a> {
    /// Payload type.
    pub payload_type: u8,
    /// Marker.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// The payload, without padding.
    pub payload: &'a [u8],
}

impl<'a> Rtp<'a> {
    /// Reads one packet; `None` if it is no RTP of version 2 or too short for what it says.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..12)?;
        if header[0] >> 6 != 2 {
            return None;
        }
        let mut start = 12 + usize::from(header[0] & 0x0f) * 4;
        if header[0] & 0x10 != 0 {
            let words = bytes.get(start + 2..start + 4)?;
            start += 4 + usize::from(u16::from_be_bytes([words[0], words[1]])) * 4;
        }
        let padding = if header[0] & 0x20 == 0 { 0 } else { usize::from(*bytes.last()?) };
        let end = bytes.len().checked_sub(padding)?;
        Some(Self {
            payload_type: header[1] & 0x7f,
            marker: header[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([header[2], header[3]]),
            timestamp: word(header, 4),
            ssrc: word(header, 8),
            payload: bytes.get(start..end)?,
        })
    }

    /// Writes the packet with the twelve-byte header.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = vec![0x80, u8::from(self.marker) << 7 | self.payload_type];
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.ssrc.to_be_bytes());
        bytes.extend_from_slice(self.payload);
        bytes
    }
}

/// A sender report with a CNAME. `wall` is the time since 1970.
pub(crate) fn sender_report(
    ssrc: u32,
    wall: std::time::Duration,
    timestamp: u32,
    packets: u32,
    octets: u32,
) -> Vec<u8> {
    let seconds = wall.as_secs().wrapping_add(NTP_OFFSET) as u32;
    let fraction = ((u64::from(wall.subsec_nanos()) << 32) / 1_000_000_000) as u32;
    let mut bytes = vec![0x80, 200, 0, 6];
    for value in [ssrc, seconds, fraction, timestamp, packets, octets] {
        bytes.extend_from_slice(&value.to_be_bytes());
    }
    // SDES: one chunk, CNAME "lab@test", end and padding to a word.
    bytes.extend_from_slice(&[0x81, 202, 0, 4]);
    bytes.extend_from_slice(&ssrc.to_be_bytes());
    bytes.extend_from_slice(&[1, 8]);
    bytes.extend_from_slice(b"lab@test");
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

/// Whether a plain packet is RTCP (RFC 5761 §4: payload types 64 to 95 with the marker).
pub(crate) fn is_rtcp(bytes: &[u8]) -> bool {
    bytes.len() >= 8 && bytes[0] >> 6 == 2 && (192..=223).contains(&bytes[1])
}

/// A compound RTCP packet whose length words add up and which begins with a report.
pub(crate) fn is_compound(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut first = true;
    while !rest.is_empty() {
        if rest.len() < 4 || rest[0] >> 6 != 2 || first && !matches!(rest[1], 200 | 201) {
            return false;
        }
        let length = (usize::from(u16::from_be_bytes([rest[2], rest[3]])) + 1) * 4;
        let Some(next) = rest.get(length..) else {
            return false;
        };
        rest = next;
        first = false;
    }
    !first
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Seconds from 1900 to 1970.
const NTP_OFFSET: u64 = 2_208_988_800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let packet = Rtp {
            payload_type: 8,
            marker: true,
            sequence: 65_535,
            timestamp: 0x0102_0304,
            ssrc: 0xa0b0_c0d0,
            payload: b"voice",
        };
        assert_eq!(Rtp::read(&packet.write()), Some(packet));
    }

    #[test]
    fn sources_extension_and_padding_are_skipped() {
        let mut bytes = vec![0xb1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 9, 9, 9];
        bytes.extend_from_slice(&[0xbe, 0xde, 0, 1, 1, 1, 1, 1]);
        bytes.extend_from_slice(b"abc");
        bytes.extend_from_slice(&[0, 2]);
        assert_eq!(Rtp::read(&bytes).unwrap().payload, b"abc");
    }

    #[test]
    fn short_or_lying_packets_are_none() {
        assert_eq!(Rtp::read(&[]), None);
        assert_eq!(Rtp::read(&[0x80; 11]), None);
        assert_eq!(Rtp::read(&[0x8f; 12]), None);
        assert_eq!(Rtp::read(&[0x40; 20]), None);
        assert_eq!(Rtp::read(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200]), None);
    }

    #[test]
    fn a_sender_report_is_a_good_compound() {
        let report = sender_report(1, std::time::Duration::from_millis(1500), 2, 3, 4);
        assert!(is_rtcp(&report) && is_compound(&report));
        assert!(!is_compound(&report[..report.len() - 1]));
        assert!(!is_rtcp(&[0x80, 0, 0, 0, 0, 0, 0, 0]));
    }
}
