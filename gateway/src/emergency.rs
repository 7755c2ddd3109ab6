//! Calls for help: known by the Request-URI alone, so that they can be told before anything else is read. They are
//! never refused for load.
//!
//! `urn:service:sos` and what is below it (RFC 5031), and the numbers by which people call for help; an operator's own
//! short numbers are not among them.

/// Whether a request for this Request-URI calls for help.
pub fn is_emergency(uri: &[u8]) -> bool {
    let Some(colon) = uri.iter().position(|b| *b == b':') else { return false };
    let (scheme, rest) = (&uri[..colon], &uri[colon + 1..]);
    if scheme.eq_ignore_ascii_case(b"urn") {
        return is_sos(rest);
    }
    let user = if scheme.eq_ignore_ascii_case(b"tel") {
        rest
    } else {
        let Some(at) = rest.iter().position(|b| *b == b'@') else { return false };
        &rest[..at]
    };
    let end = user.iter().position(|b| *b == b';').unwrap_or(user.len());
    let number = user[..end].strip_prefix(b"+").unwrap_or(&user[..end]);
    NUMBERS.iter().any(|known| known.as_bytes() == number)
}

fn is_sos(name: &[u8]) -> bool {
    let Some((start, rest)) = name.split_at_checked(SOS.len()) else { return false };
    start.eq_ignore_ascii_case(SOS) && (rest.is_empty() || rest[0] == b'.')
}

const SOS: &[u8] = b"service:sos";
/// Police, fire, ambulance: 112 (GSM, EU), 911 (North America), 999 (UK, Ireland), 000 (Australia), 110, 118 and 119
/// (Japan, China, Korea), 111 (New Zealand), 100 to 102, 108 (India), 190, 192, 193 (Brazil), 113 and 115 (Italy,
/// Norway), 117 and 144 (Switzerland), 122 (Austria), 127 (Greece).
const NUMBERS: [&str; 21] = [
    "112", "911", "999", "000", "110", "118", "119", "111", "100", "101", "102", "108", "190",
    "192", "193", "113", "115", "117", "144", "122", "127",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_for_help_are_known() {
        for uri in [
            "sip:112@sbc.test",
            "SIPS:911;phone-context=+1@sbc.test:5061;user=phone",
            "sip:+112@sbc.test",
            "tel:999",
            "TEL:000;phone-context=+61",
            "urn:service:sos",
            "URN:Service:SOS.fire",
        ] {
            assert!(is_emergency(uri.as_bytes()), "{uri}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for uri in [
            "sip:112",
            "sip:1122@sbc.test",
            "sip:+44112@sbc.test",
            "sip:a@112",
            "urn:service:sosx",
            "urn:service:counseling",
            "",
            "112",
            "tel:",
        ] {
            assert!(!is_emergency(uri.as_bytes()), "{uri}");
        }
    }
}
