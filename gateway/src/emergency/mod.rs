//! Calls for help: `urn:service:sos` and what is below it (RFC 5031), and the numbers by which people call for help; an
//! operator's own short numbers are not among them.
//!
//! They can be told by the Request-URI before anything else is read, so that load never refuses them; whether they are calls
//! for help where they come from is seen afterwards.

mod numbers;

use std::collections::BTreeSet;

/// Whether a request for this Request-URI calls for help somewhere.
pub fn is_emergency(uri: &[u8]) -> bool {
    match whom(uri) {
        Whom::Service => true,
        Whom::Digits(digits) => numbers::reach_help_somewhere(digits),
        Whom::Other => false,
    }
}

/// Whether a request for this Request-URI calls one of these numbers.
pub fn is_among(uri: &[u8], numbers: &BTreeSet<String>) -> bool {
    match whom(uri) {
        Whom::Digits(digits) => numbers.contains(digits),
        Whom::Service | Whom::Other => false,
    }
}

/// Whether it calls for help where its caller is: by the numbers that the caller has of its own, else by those of its
/// country.
pub fn calls_for_help(uri: &[u8], country: Option<&str>, own: Option<&BTreeSet<String>>) -> bool {
    match (whom(uri), own) {
        (Whom::Service, _) => true,
        (Whom::Digits(digits), own) => is_for_help(digits, country, own),
        (Whom::Other, _) => false,
    }
}

/// The same of digits.
pub fn is_for_help(digits: &str, country: Option<&str>, own: Option<&BTreeSet<String>>) -> bool {
    match own {
        Some(own) => own.contains(digits) || numbers::EVERYWHERE.contains(&digits),
        None => numbers::reach_help(digits, country),
    }
}

/// Whom a Request-URI asks for.
enum Whom<'a> {
    /// Help, without a number.
    Service,
    /// A number, without plus and parameters.
    Digits(&'a str),
    Other,
}

fn whom(uri: &[u8]) -> Whom<'_> {
    let Some(colon) = uri.iter().position(|b| *b == b':') else { return Whom::Other };
    let (scheme, rest) = (&uri[..colon], &uri[colon + 1..]);
    if scheme.eq_ignore_ascii_case(b"urn") {
        return if is_sos(rest) { Whom::Service } else { Whom::Other };
    }
    let user = if scheme.eq_ignore_ascii_case(b"tel") {
        rest
    } else {
        let Some(at) = rest.iter().position(|b| *b == b'@') else { return Whom::Other };
        &rest[..at]
    };
    let end = user.iter().position(|b| *b == b';').unwrap_or(user.len());
    let number = user[..end].strip_prefix(b"+").unwrap_or(&user[..end]);
    std::str::from_utf8(number).map_or(Whom::Other, Whom::Digits)
}

fn is_sos(name: &[u8]) -> bool {
    let Some((start, rest)) = name.split_at_checked(SOS.len()) else { return false };
    start.eq_ignore_ascii_case(SOS) && (rest.is_empty() || rest[0] == b'.')
}

const SOS: &[u8] = b"service:sos";
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
    fn where_the_caller_is_decides() {
        let own = BTreeSet::from(["7777".to_owned()]);
        for (number, country, own, want) in [
            ("110", Some("DE"), None, true),
            ("110", Some("GB"), None, false),
            ("110", None, None, true),
            ("7777", Some("DE"), Some(&own), true),
            ("110", Some("DE"), Some(&own), false),
            ("112", Some("DE"), Some(&own), true),
            ("7777", None, None, false),
        ] {
            let uri = format!("sip:{number}@sbc.test");
            let help = calls_for_help(uri.as_bytes(), country, own);
            assert_eq!(help, want, "{number} in {country:?}, {own:?}");
        }
        assert!(calls_for_help(b"urn:service:sos.police", Some("GB"), None));
        assert!(is_emergency(b"sip:17@sbc.test") && !is_emergency(b"sip:7777@sbc.test"));
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
