//! Telephone events (RFC 4733 §2.3): the four bytes that carry a DTMF digit. Reads one event of a
//! payload; which payload type carries events is the session's knowledge.

use super::{u16_at, u32_at};

/// The first event report of a telephone-event payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// 0-15 are the DTMF digits `0`-`9`, `*`, `#`, `A`-`D` (RFC 4733 §3.2).
    pub event: u8,
    /// The event is over; sent three times (§2.5.1.4).
    pub end: bool,
    /// Power in -dBm0, 0-63; only for DTMF.
    pub volume: u8,
    /// How long the event has lasted, in timestamp units.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Reads the payload of an RTP packet. `None` unless it is one or more whole reports.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        if !payload.len().is_multiple_of(4) {
            return None;
        }
        let [event, flags, ..] = u32_at(payload, 0)?.to_be_bytes();
        Some(Self {
            event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16_at(payload, 2)?,
        })
    }

    /// The report as it stands in a payload.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [self.event, (u8::from(self.end) << 7) | (self.volume & 0x3f), high, low]
    }

    /// The DTMF digit; `None` for events that are none (flash, tones, event 255).
    #[must_use]
    pub fn digit(self) -> Option<char> {
        DIGITS.get(usize::from(self.event)).map(|&digit| char::from(digit))
    }
}

/// RFC 4733 §3.2, table 3.
const DIGITS: &[u8; 16] = b"0123456789*#ABCD";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_digit() {
        let event = TelephoneEvent::parse(&[11, 0x8a, 0x03, 0x20]).unwrap();
        assert_eq!(event, TelephoneEvent { event: 11, end: true, volume: 10, duration: 800 });
        assert_eq!(event.digit(), Some('#'));
        assert_eq!(event.to_bytes(), [11, 0x8a, 0x03, 0x20]);
    }

    #[test]
    fn reserved_bit_is_ignored_and_never_sent() {
        let event = TelephoneEvent::parse(&[1, 0x4a, 0xff, 0xff]).unwrap();
        assert_eq!((event.end, event.volume, event.duration), (false, 10, 65535));
        assert_eq!(event.to_bytes(), [1, 0x0a, 0xff, 0xff]);
    }

    #[test]
    fn first_of_several_reports_counts() {
        let event = TelephoneEvent::parse(&[5, 10, 0, 160, 6, 10, 0, 160]).unwrap();
        assert_eq!(event.digit(), Some('5'));
    }

    #[test]
    fn broken_lengths_are_no_event() {
        for len in [0, 1, 2, 3, 5, 6, 7, 160 + 1] {
            assert_eq!(TelephoneEvent::parse(&vec![0; len]), None, "{len}");
        }
    }

    #[test]
    fn every_digit_and_nothing_else() {
        for (event, digit) in (0..16).zip("0123456789*#ABCD".chars()) {
            let event = TelephoneEvent { event, end: false, volume: 10, duration: 160 };
            assert_eq!(event.digit(), Some(digit));
        }
        for event in 16..=255 {
            let event = TelephoneEvent { event, end: false, volume: 10, duration: 160 };
            assert_eq!(event.digit(), None);
        }
    }
}
