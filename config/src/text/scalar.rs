//! Numbers, spans of time, prefixes, and the choices among words.

use std::fmt;
use std::time::Duration;

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::country::Country;
use crate::fault::{Draft, Findings};
use crate::model::{CallerId, Diversion, EarlyMedia, Location, LogFormat, LogLevel, Refer, Srtp};
use crate::numbers::{Number, NumberRange};
use crate::read::{Bad, Choice, Node, Text, Value};

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Int<const MIN: u32, const MAX: u32>(pub(crate) u32);

/// The time between two OPTIONS: Microsoft wants 60 s to 180 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval(pub(crate) Duration);

/// How long something may go on: a second to a week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience(pub(crate) Duration);

/// The beginning of a number: "+" and 1 to 15 digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NumberPrefix(pub(crate) String);

/// A trunk group (RFC 4904): visible ASCII that needs no escape in a URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrunkGroup(pub(crate) String);

/// The name of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvName(pub(crate) String);

/// Which of Microsoft's clouds: chooses proxies, certificate names, networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cloud {
    Commercial,
    Gcch,
    Dod,
}

/// The only mode of media so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plain;

/// The only pairing so far: one OPTIONS for all names below the edge's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Derived;

/// How phone numbers and addresses stand in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogNumbers {
    Masked,
    Plain,
}

impl<const MIN: u32, const MAX: u32> Value for Int<MIN, MAX> {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let DeValue::Integer(integer) = node.value else {
            node.wrong_kind("a whole number", out);
            return None;
        };
        let value = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let value = value.and_then(|value| u32::try_from(value).ok());
        match value.filter(|value| (MIN..=MAX).contains(value)) {
            Some(value) => Some(Self(value)),
            None => {
                let help = match MIN == MAX {
                    true => format!("Only {MIN} is supported."),
                    false => format!("Write a whole number from {MIN} to {MAX}."),
                };
                let message = format!("`{}`: {integer} is out of range", node.key);
                out.fault(Draft::new(message, help).at(node.span, "out of range"));
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

impl Text for Interval {
    const WHAT: &'static str = "a span of time";

    fn parse(text: &str) -> Result<Self, Bad> {
        let span = seconds(text).ok_or_else(|| {
            let message = format!("\"{text}\" is no span of time");
            Bad::new(message, "Write a number with s or m, such as \"60s\" or \"2m\".")
        })?;
        if (60..=180).contains(&span) {
            return Ok(Self(Duration::from_secs(span)));
        }
        let message = format!(
            "{text} is {} than Microsoft takes",
            if span < 60 { "shorter" } else { "longer" }
        );
        Err(Bad::new(message, "Write a span from \"60s\" to \"180s\"; 60s is expected."))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(s|m)$" })
    }
}

impl Text for Patience {
    const WHAT: &'static str = "a span of time";

    fn parse(text: &str) -> Result<Self, Bad> {
        let hours = text.strip_suffix('h').and_then(|digits| seconds(&format!("{digits}m")));
        let span = hours.map_or_else(|| seconds(text), |minutes| minutes.checked_mul(60));
        let help =
            "Write a span from \"1s\" to \"168h\", with s, m or h, such as \"30s\" or \"4h\".";
        match span {
            Some(span @ 1..=LONGEST_PATIENCE) => Ok(Self(Duration::from_secs(span))),
            Some(0) => Err(Bad::new(format!("{text} is no time at all"), help)),
            Some(_) => Err(Bad::new(format!("{text} is longer than a week"), help)),
            None => Err(Bad::new(format!("\"{text}\" is no span of time"), help)),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(s|m|h)$" })
    }
}

impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            span if span % 3600 == 0 => write!(f, "{}h", span / 3600),
            span if span % 60 == 0 => write!(f, "{}m", span / 60),
            span => write!(f, "{span}s"),
        }
    }
}

impl Text for NumberPrefix {
    const WHAT: &'static str = "the beginning of a number";

    fn parse(text: &str) -> Result<Self, Bad> {
        match Number::parse(text) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(no_number(text)),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^\\+[0-9]{1,15}$" })
    }
}

impl Text for NumberRange {
    const WHAT: &'static str = "a number or a range of numbers";

    fn parse(text: &str) -> Result<Self, Bad> {
        let read = |part: &str| Number::parse(part).ok_or_else(|| no_number(part));
        // A hyphen inside one number, as people write it, does not make a range.
        let ends = text.split_once('-').filter(|(_, last)| last.trim_start().starts_with('+'));
        let Some((first, last)) = ends else {
            let number = read(text)?;
            return Ok(Self { first: number, last: number });
        };
        let (first, last) = (read(first.trim_end())?, read(last.trim_start())?);
        if first.digits() != last.digits() {
            let message = format!("{first} and {last} have different lengths");
            return Err(Bad::new(message, "Both ends of a range have the same number of digits."));
        }
        if first > last {
            return Err(Bad::new("the range runs backwards", format!("Write \"{last}-{first}\".")));
        }
        Ok(Self { first, last })
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^\\+[0-9]{1,15}( *- *\\+[0-9]{1,15})?$" })
    }
}

impl Text for TrunkGroup {
    const WHAT: &'static str = "a trunk group";

    fn parse(text: &str) -> Result<Self, Bad> {
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&byte);
        if text.is_empty() || text.len() > 128 || !text.bytes().all(allowed) {
            let message = format!("{text:?} is no trunk group");
            return Err(Bad::new(
                message,
                "It has 1 to 128 characters that may stand in a URI's parameter (RFC 4904).",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Text for EnvName {
    const WHAT: &'static str = "the name of an environment variable";

    fn parse(text: &str) -> Result<Self, Bad> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let digit_first = text.starts_with(|first: char| first.is_ascii_digit());
        if text.is_empty() || text.len() > 128 || digit_first || !text.bytes().all(allowed) {
            let message = "this is no name of an environment variable";
            return Err(Bad::new(
                message,
                "It has letters, digits and `_`, with no digit first, such as \"TLS_KEY\".",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Text for Country {
    const WHAT: &'static str = "a country";

    fn parse(text: &str) -> Result<Self, Bad> {
        if let Some(country) = Self::parse(text) {
            return Ok(country);
        }
        let help = match text.to_ascii_uppercase().as_str() {
            "UK" => "Write \"GB\".".to_owned(),
            upper if Self::parse(upper).is_some() => format!("Write \"{upper}\"."),
            _ => "Write two capital letters (ISO 3166-1), such as \"GB\".".to_owned(),
        };
        Err(Bad::new(format!("\"{text}\" is no country code"), help))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Z]{2}$" })
    }
}

impl Choice for Cloud {
    const WHAT: &'static str = "a cloud";
    const WORDS: &'static [(&'static str, Self)] =
        &[("commercial", Self::Commercial), ("gcch", Self::Gcch), ("dod", Self::Dod)];
}

impl Choice for Plain {
    const WHAT: &'static str = "a mode";
    const WORDS: &'static [(&'static str, Self)] = &[("plain", Self)];
    const LATER: &'static [&'static str] = &["bypass"];
}

impl Choice for Derived {
    const WHAT: &'static str = "a pairing";
    const WORDS: &'static [(&'static str, Self)] = &[("derived", Self)];
    const LATER: &'static [&'static str] = &["own"];
}

impl Choice for Srtp {
    const WHAT: &'static str = "a use of SRTP";
    const WORDS: &'static [(&'static str, Self)] =
        &[("off", Self::Off), ("required", Self::Required)];
}

impl Choice for CallerId {
    const WHAT: &'static str = "a place of the caller's number";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("asserted", Self::Asserted),
        ("remote-party-id", Self::RemotePartyId),
        ("from", Self::From),
    ];
}

impl Choice for EarlyMedia {
    const WHAT: &'static str = "a way with early media";
    const WORDS: &'static [(&'static str, Self)] =
        &[("first", Self::First), ("pass", Self::Pass), ("generate", Self::Generate)];
}

impl Choice for Refer {
    const WHAT: &'static str = "a way with REFER";
    const WORDS: &'static [(&'static str, Self)] =
        &[("refuse", Self::Refuse), ("local", Self::Local), ("pass", Self::Pass)];
}

impl Choice for Diversion {
    const WHAT: &'static str = "a way to tell of diversions";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("diversion", Self::Diversion),
        ("history-info", Self::HistoryInfo),
        ("none", Self::None),
    ];
}

impl Choice for Location {
    const WHAT: &'static str = "a way with locations";
    const WORDS: &'static [(&'static str, Self)] = &[("strip", Self::Strip), ("pass", Self::Pass)];
}

impl Choice for LogLevel {
    const WHAT: &'static str = "a level";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

impl Choice for LogFormat {
    const WHAT: &'static str = "a format";
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

impl Choice for LogNumbers {
    const WHAT: &'static str = "a way to log numbers";
    const WORDS: &'static [(&'static str, Self)] =
        &[("masked", Self::Masked), ("plain", Self::Plain)];
}

/// Says why `text` is no number, and what was probably meant.
pub(crate) fn no_number(text: &str) -> Bad {
    const HELP: &str =
        "Write \"+\" and 1 to 15 digits, with country code (or \"+1001\" for a private number).";
    let shown: String = text.chars().take(64).collect();
    let digits: String = text.chars().filter(char::is_ascii_digit).take(17).collect();
    let written = text.chars().all(|char| char.is_ascii_digit() || "+ .()/-".contains(char));
    // 00 is how most of the world dials "+"; a single 0 stands for a country code left out.
    let digits = digits.strip_prefix("00").unwrap_or(&digits);
    if digits.len() > Number::MAX_DIGITS {
        let message = format!("\"{shown}\" has more than {} digits", Number::MAX_DIGITS);
        return Bad::new(message, HELP);
    }
    let help = match Number::parse(&format!("+{digits}")) {
        Some(_) if written && digits.starts_with('0') => {
            "Write \"+\" and the country code in place of the leading 0, and digits only."
                .to_owned()
        }
        Some(number) if written => format!("Write \"{number}\" if that is meant."),
        Some(_) | None => HELP.to_owned(),
    };
    Bad::new(format!("\"{shown}\" is no number"), help)
}

/// A number of seconds or minutes.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let (digits, unit) = match (text.strip_suffix('s'), text.strip_suffix('m')) {
        (Some(digits), _) => (digits, 1),
        (None, Some(digits)) => (digits, 60),
        (None, None) => return None,
    };
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| plain)?.checked_mul(unit)
}

const LONGEST_PATIENCE: u64 = 7 * 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_read_as_it_is_shown() {
        for (text, want) in [("1s", 1), ("30s", 30), ("4h", 14_400), ("168h", 604_800), ("2m", 120)]
        {
            let read = Patience::parse(text).unwrap();
            assert_eq!((read.0, read.to_string()), (Duration::from_secs(want), text.to_owned()));
        }
        assert_eq!(Patience::parse("120s").unwrap().to_string(), "2m");
        for text in ["", "4", "h", "0s", "0h", "169h", "-1s", "1 h", "4hm", "18446744073709551615h"]
        {
            assert!(Patience::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_interval_lies_within_what_is_taken() {
        for (text, want) in [("60s", 60), ("180s", 180), ("1m", 60), ("3m", 180), ("090s", 90)] {
            assert_eq!(Interval::parse(text), Ok(Interval(Duration::from_secs(want))));
        }
        for text in [
            "",
            "60",
            "s",
            "59s",
            "181s",
            "4m",
            "1h",
            "-60s",
            "+60s",
            "6 0s",
            "18446744073709551615m",
        ] {
            assert!(Interval::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ranges_of_numbers() {
        for text in ["+15550010000-+15550019999", "+442079460000", "+1001", "+01-+09"] {
            assert_eq!(NumberRange::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(NumberRange::parse("+10 - +19").unwrap().to_string(), "+10-+19");
        for text in [
            "",
            "+",
            "1001",
            "+1-2",
            "+1-+22",
            "+9-+1",
            "+1-+2-+3",
            "+1234567890123456",
            "+49 30 1",
            "+1a",
            "tel:+1",
            "+١٢",
        ] {
            assert!(NumberRange::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(no_number("+49 (30) 123").help, "Write \"+4930123\" if that is meant.");
    }

    #[test]
    fn choices_suggest_the_nearest_and_know_what_is_to_come() {
        let bad = <Cloud as Text>::parse("comercial").unwrap_err();
        assert!(bad.help.starts_with("Did you mean \"commercial\"?"), "{bad:?}");
        assert!(
            <Plain as Text>::parse("bypass").unwrap_err().message.contains("not supported yet")
        );
        assert_eq!(Cloud::Gcch.word(), "gcch");
    }

    #[test]
    fn other_words() {
        assert!(TrunkGroup::parse("tg-1/2").is_ok() && TrunkGroup::parse("a b").is_err());
        assert!(EnvName::parse("TLS_KEY").is_ok());
        assert!(["", "1A", "A-B", "A B"].iter().all(|text| EnvName::parse(text).is_err()));
        assert_eq!(<Country as Text>::parse("UK").unwrap_err().help, "Write \"GB\".");
        assert_eq!(<Country as Text>::parse("de").unwrap_err().help, "Write \"DE\".");
    }
}
