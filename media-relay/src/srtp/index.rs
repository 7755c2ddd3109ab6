//! The 48-bit packet index: rollover counter and sequence number (RFC 3711 §3.3.1).

/// The index of a packet with `sequence` in a stream whose newest index is `highest` (RFC 3711
/// Appendix A). Where the RFC's arithmetic gives a rollover counter of -1 it is taken as 0, as
/// libsrtp does: the first 2^15 packets of a stream can only have been preceded by nothing.
#[inline]
pub(super) fn estimate(highest: u64, sequence: u16) -> u64 {
    let (rollovers, newest) = (highest >> 16, highest as u16);
    let rollovers = if newest < HALF {
        if sequence > newest && sequence - newest > HALF {
            rollovers.saturating_sub(1)
        } else {
            rollovers
        }
    } else if newest - HALF > sequence {
        rollovers + 1
    } else {
        rollovers
    };
    rollovers << 16 | u64::from(sequence)
}

/// Half the sequence numbers.
pub(super) const HALF: u16 = 1 << 15;

/// One rollover.
pub(super) const ROLLOVER: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3711_appendix_a() {
        let table = [
            (0x0_0000, 0x0001, 0x0_0001),
            (0x0_7fff, 0xffff, 0x0_ffff),
            (0x0_ffff, 0x0000, 0x1_0000),
            (0x0_ffff, 0x7ffe, 0x1_7ffe),
            (0x0_ffff, 0x7fff, 0x0_7fff),
            (0x1_0000, 0xffff, 0x0_ffff),
            (0x1_0000, 0x8001, 0x0_8001),
            (0x1_0000, 0x8000, 0x1_8000),
            (0x1_7fff, 0xffff, 0x1_ffff),
            (0x1_8000, 0x0000, 0x1_0000),
            (0x1_8001, 0x0000, 0x2_0000),
            // Nothing is before the beginning.
            (0x0_0002, 0xffff, 0x0_ffff),
            (0x0_0000, 0x8001, 0x0_8001),
        ];
        for (highest, sequence, index) in table {
            assert_eq!(estimate(highest, sequence), index, "{highest:x} {sequence:x}");
        }
    }

    #[test]
    fn right_within_half_the_sequence_space() {
        for highest in (0x5_0000..0x7_0000_u64).step_by(97) {
            for step in (-0x7fff..0x7fff_i64).step_by(331) {
                let index = highest.wrapping_add_signed(step);
                assert_eq!(estimate(highest, index as u16), index);
            }
        }
    }
}
