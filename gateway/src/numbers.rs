//! Telephone numbers: what a peer wrote becomes E.164, or stays what it is.
//!
//! The door for `phonenumber` (a port of libphonenumber). ITU-T E.164, RFC 3966. Owns no policy: who may use which
//! number is decided in `routing`.

mod context;
mod written;

use std::borrow::Cow;
use std::fmt;

use phonenumber::country::Id;

pub use written::written;

/// A called or calling number after normalisation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Number {
    /// "+" and 8 to 15 digits: a number of the public network.
    Public(String),
    /// A short or private number as the peer wrote it, less punctuation ("1001", "+1001", "112", "*21#").
    Private(String),
}

impl Number {
    /// Reads the user part of a SIP or tel: URI.
    ///
    /// `country` (ISO 3166 alpha-2) says how a national number is read. Returns `None` when no number is in there
    /// (text, empty, more digits than E.164 has).
    pub fn read(user: &[u8], country: Option<&str>) -> Option<Self> {
        let text = dialled(user)?;
        let (plus, digits) = match text.strip_prefix('+') {
            Some(rest) => (true, rest),
            None => (false, text.as_str()),
        };
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return (!plus).then_some(Self::Private(text));
        }
        if plus {
            let number = config::Number::parse(&text)?;
            return Some(if number.is_private() {
                Self::Private(text)
            } else {
                Self::Public(text)
            });
        }
        if let Some(number) = country.and_then(|code| national(digits, code)) {
            return Some(Self::Public(number));
        }
        if let Some(rest) = abroad(digits, country)
            && (SHORTEST_PUBLIC..=LONGEST_PUBLIC).contains(&rest.len())
        {
            return Some(Self::Public(format!("+{rest}")));
        }
        match digits.len() {
            0 => None,
            1..SHORTEST_PUBLIC => Some(Self::Private(text)),
            // Many carriers send E.164 without the plus; a leading 0 is a national prefix, which needs a country.
            SHORTEST_PUBLIC..=LONGEST_PUBLIC if !digits.starts_with('0') => {
                Some(Self::Public(format!("+{digits}")))
            }
            SHORTEST_PUBLIC..=LONGEST_PUBLIC => Some(Self::Private(text)),
            _ => None,
        }
    }

    /// The number as it is looked up and sent.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Public(text) | Self::Private(text) => text,
        }
    }

    /// Whether this is a number of the public network.
    pub const fn is_public(&self) -> bool {
        matches!(self, Self::Public(_))
    }
}

/// A number in a log line: with its middle hidden ("+442…60"), so that an operator recognises it and a log is no
/// directory of who called whom; or in full where the configuration says so.
pub struct Masked<'a> {
    number: &'a str,
    hidden: bool,
}

impl<'a> Masked<'a> {
    /// The number, hidden or not.
    pub const fn new(number: &'a str, hidden: bool) -> Self {
        Self { number, hidden }
    }
}

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.hidden {
            return f.write_str(self.number);
        }
        let chars: Vec<char> = self.number.chars().collect();
        if chars.len() < 7 {
            return f.write_str("…");
        }
        let head: String = chars[..chars.len().min(8) - 4].iter().collect();
        let tail: String = chars[chars.len() - 2..].iter().collect();
        write!(f, "{head}…{tail}")
    }
}

/// Loads the numbering plans, so that the first call does not wait for them.
pub fn warm_up() {
    let _ = national("2079460000", "GB");
}

/// Whether the numbering plan of its country says that a number (E.164) costs more than a call. Digits beyond those of the
/// plan are taken off: networks do the same.
pub fn is_premium(number: &str) -> bool {
    let kind = |number: &str| {
        let number = phonenumber::parse(None, number).ok()?;
        Some((number.is_valid(), number.number_type(&phonenumber::metadata::DATABASE)))
    };
    let mut shorter =
        (SHORTEST_PUBLIC + 1..=number.len()).rev().filter_map(|end| number.get(..end));
    let known = shorter.find_map(|number| kind(number).filter(|(valid, _)| *valid));
    known.is_some_and(|(_, kind)| kind == phonenumber::Type::PremiumRate)
}

/// The number that national digits with a trunk prefix 0 would be, whether the plan of the country has it or not.
pub fn beyond_plan(digits: &str, country: &str) -> Option<String> {
    let id: Id = country.parse().ok()?;
    let code = phonenumber::metadata::DATABASE.by_id(id.as_ref())?.country_code();
    Some(format!("+{code}{}", digits.strip_prefix('0')?))
}

fn national(digits: &str, country: &str) -> Option<String> {
    let id: Id = country.parse().ok()?;
    let e164 = |number: phonenumber::PhoneNumber| {
        number.is_valid().then(|| number.format().mode(phonenumber::Mode::E164).to_string())
    };
    let found = phonenumber::parse(Some(id), digits).ok().and_then(e164);
    found.or_else(|| {
        // The port takes a beginning for the country's code, or a prefix for none, where libphonenumber tries both. What is
        // dialled for abroad is no national number, whether there is such a number abroad or not.
        let plan = phonenumber::metadata::DATABASE.by_id(id.as_ref())?;
        let prefix = plan.national_prefix().unwrap_or_default();
        let mut rests = [Some(digits), digits.strip_prefix(prefix)].into_iter().flatten();
        let national = |rest: &str| {
            let number =
                e164(phonenumber::parse(None, format!("+{}{rest}", plan.country_code())).ok()?)?;
            // The port takes off prefixes by itself: only what stands there counts.
            (number.strip_prefix('+')?.strip_prefix(&plan.country_code().to_string())? == rest)
                .then_some(number)
        };
        rests.find_map(|rest| national(rest).filter(|_| abroad(digits, Some(country)).is_none()))
    })
}

/// What stands behind the international prefix: that of the country, or 00.
fn abroad<'d>(digits: &'d str, country: Option<&str>) -> Option<&'d str> {
    let own = country.and_then(written::international_prefix);
    own.and_then(|own| digits.strip_prefix(own)).or_else(|| digits.strip_prefix("00"))
}

/// The dialled characters of a user part: percent escapes decoded (RFC 3261 §19.1.2), parameters (RFC 3966 §3) and
/// visual separators removed. `None` when something else is in there or it is unreasonably long.
fn dialled(user: &[u8]) -> Option<String> {
    let end = user.iter().position(|b| *b == b';').unwrap_or(user.len());
    let plain = unescape(&user[..end])?;
    if plain.len() > LONGEST_DIALLED {
        return None;
    }
    let mut text = String::with_capacity(plain.len());
    for (place, byte) in plain.iter().enumerate() {
        match byte {
            b'-' | b'.' | b'(' | b')' | b' ' => {}
            // Behind a code as well: "#31#+442079460000".
            b'+' if place == 0 || text.ends_with(['*', '#']) => text.push('+'),
            b'0'..=b'9' | b'*' | b'#' => text.push(char::from(*byte)),
            _ => return None,
        }
    }
    (!text.is_empty()).then_some(text)
}

fn unescape(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !text.contains(&b'%') {
        return Some(Cow::Borrowed(text));
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let [high, low, tail @ ..] = tail else { return None };
            let digit = |b: u8| char::from(b).to_digit(16);
            plain.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
            rest = tail;
        } else {
            plain.push(*first);
            rest = tail;
        }
    }
    Some(Cow::Owned(plain))
}

/// Fewer digits than this, and a number is private or a short code.
const SHORTEST_PUBLIC: usize = 8;
/// ITU-T E.164 §6.
const LONGEST_PUBLIC: usize = 15;
const LONGEST_DIALLED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(user: &str, country: Option<&str>) -> Option<String> {
        Number::read(user.as_bytes(), country).map(|n| n.as_str().to_owned())
    }

    #[test]
    fn international_numbers_stay_as_they_are() {
        assert_eq!(read("+442079460000", None).as_deref(), Some("+442079460000"));
        assert_eq!(read("+44-20.7946(0000)", None).as_deref(), Some("+442079460000"));
        assert_eq!(read("%2B442079460000;phone-context=x", None).as_deref(), Some("+442079460000"));
        assert_eq!(read("442079460000", None).as_deref(), Some("+442079460000"));
        assert_eq!(read("00442079460000", None).as_deref(), Some("+442079460000"));
    }

    #[test]
    fn national_numbers_follow_the_country() {
        assert_eq!(read("02079460000", Some("GB")).as_deref(), Some("+442079460000"));
        assert_eq!(read("2025550143", Some("US")).as_deref(), Some("+12025550143"));
        assert_eq!(read("011442079460000", Some("US")).as_deref(), Some("+442079460000"));
        assert_eq!(read("030123456", Some("DE")).as_deref(), Some("+4930123456"));
    }

    #[test]
    fn what_is_dialled_for_abroad_is_no_number_at_home() {
        // Numbers that no plan has: too short, or newer than the plans.
        for (dialled, country, number) in [
            ("003012345678", "DE", "+3012345678"),
            ("003456789012", "GB", "+3456789012"),
            ("0015351234567", "HK", "+5351234567"),
            ("00115351234567", "AU", "+5351234567"),
            ("0115351234567", "US", "+5351234567"),
            ("0088216123456", "AU", "+88216123456"),
        ] {
            assert_eq!(
                read(dialled, Some(country)).as_deref(),
                Some(number),
                "{dialled} {country}"
            );
        }
    }

    #[test]
    fn private_numbers_and_short_codes_stay_as_dialled() {
        assert_eq!(Number::read(b"+1001", Some("US")), Some(Number::Private("+1001".into())));
        assert_eq!(Number::read(b"112", Some("DE")), Some(Number::Private("112".into())));
        assert_eq!(Number::read(b"*21#", None), Some(Number::Private("*21#".into())));
        assert_eq!(Number::read(b"02079460000", None), Some(Number::Private("02079460000".into())));
    }

    #[test]
    fn what_is_no_number_is_none() {
        for user in
            ["", "alice", "+", "+12345678901234567", "%", "%4", "1%0a2", "+44\u{0661}207946000"]
        {
            assert_eq!(read(user, Some("GB")), None, "{user:?}");
        }
    }

    #[test]
    fn masks_keep_the_ends_only() {
        assert_eq!(Masked::new("+442079460000", true).to_string(), "+442…00");
        assert_eq!(Masked::new("1001", true).to_string(), "…");
        assert_eq!(Masked::new("+442079460000", false).to_string(), "+442079460000");
    }
}
