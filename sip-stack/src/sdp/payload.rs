//! Static RTP payload types (RFC 3551 §6).

use super::attribute::RtpMap;

/// The encoding that a payload type means without `a=rtpmap`; `None` for dynamic, reserved and
/// unassigned ones.
pub const fn static_payload(payload: u8) -> Option<RtpMap<'static>> {
    let (name, clock, channels) = match payload {
        0 => ("PCMU", 8000, 1),
        3 => ("GSM", 8000, 1),
        4 => ("G723", 8000, 1),
        5 => ("DVI4", 8000, 1),
        6 => ("DVI4", 16000, 1),
        7 => ("LPC", 8000, 1),
        8 => ("PCMA", 8000, 1),
        // The clock of G.722 is 8000 although it samples at 16 kHz (RFC 3551 §4.5.2).
        9 => ("G722", 8000, 1),
        10 => ("L16", 44100, 2),
        11 => ("L16", 44100, 1),
        12 => ("QCELP", 8000, 1),
        13 => ("CN", 8000, 1),
        14 => ("MPA", 90000, 1),
        15 => ("G728", 8000, 1),
        16 => ("DVI4", 11025, 1),
        17 => ("DVI4", 22050, 1),
        18 => ("G729", 8000, 1),
        25 => ("CelB", 90000, 1),
        26 => ("JPEG", 90000, 1),
        28 => ("nv", 90000, 1),
        31 => ("H261", 90000, 1),
        32 => ("MPV", 90000, 1),
        33 => ("MP2T", 90000, 1),
        34 => ("H263", 90000, 1),
        _ => return None,
    };
    Some(RtpMap { name, clock, channels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_ones() {
        let names = [(0, "PCMU"), (8, "PCMA"), (9, "G722"), (13, "CN"), (18, "G729")];
        for (payload, name) in names {
            assert_eq!(static_payload(payload), Some(RtpMap { name, clock: 8000, channels: 1 }));
        }
    }

    #[test]
    fn dynamic_and_reserved_ones_mean_nothing() {
        assert!((72..=255).chain([1, 2, 19, 20, 30, 35]).all(|pt| static_payload(pt).is_none()));
    }
}
