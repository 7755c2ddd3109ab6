//! What a datagram on a media port is, by its first two bytes (RFC 7983 §7, RFC 5761 §4).
//! Says nothing about whether the packet is whole; that is for the reader of its kind.

/// The kinds of packet that share a media port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// RTP or SRTP.
    Rtp,
    /// RTCP or SRTCP: packet types 192-223, where RTP payload types 64-95 with a marker would be.
    Rtcp,
    /// STUN (RFC 8489): first byte 0-3.
    Stun,
    /// DTLS record: first byte 20-63.
    Dtls,
    /// Anything else, ZRTP and TURN channels included.
    Other,
}

/// Tells the kinds of packet apart that may come to one port. Shorter than any header is `Other`.
#[must_use]
pub fn classify(datagram: &[u8]) -> Kind {
    let &[first, second, ..] = datagram else { return Kind::Other };
    match first {
        0..=3 => Kind::Stun,
        20..=63 => Kind::Dtls,
        128..=191 if (192..=223).contains(&second) => Kind::Rtcp,
        128..=191 => Kind::Rtp,
        4..=19 | 64..=127 | 192..=255 => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_two_bytes_decide() {
        let table = [
            (&[][..], Kind::Other),
            (&[0x80], Kind::Other),
            (&[0x80, 0], Kind::Rtp),
            (&[0x80, 0x80], Kind::Rtp),
            (&[0x80, 8 | 0x80], Kind::Rtp),
            (&[0x80, 63 | 0x80], Kind::Rtp),
            (&[0x80, 96 | 0x80], Kind::Rtp),
            (&[0x80, 127 | 0x80], Kind::Rtp),
            (&[0x80, 191], Kind::Rtp),
            (&[0x81, 192], Kind::Rtcp),
            (&[0x81, 200], Kind::Rtcp),
            (&[0x81, 207], Kind::Rtcp),
            (&[0x81, 223], Kind::Rtcp),
            (&[0x81, 224], Kind::Rtp),
            (&[0xbf, 0], Kind::Rtp),
            (&[0xc0, 200], Kind::Other),
            (&[0, 1], Kind::Stun),
            (&[3, 1], Kind::Stun),
            (&[4, 1], Kind::Other),
            (&[16, 1], Kind::Other),
            (&[20, 254], Kind::Dtls),
            (&[63, 254], Kind::Dtls),
            (&[64, 0], Kind::Other),
            (&[127, 0], Kind::Other),
        ];
        for (bytes, kind) in table {
            assert_eq!(classify(bytes), kind, "{bytes:02x?}");
        }
    }
}
