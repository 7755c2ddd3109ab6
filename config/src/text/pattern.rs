//! Regular expressions of header rules; the door of `regex`.

use std::borrow::Cow;
use std::fmt;

use regex::{Error, Regex, RegexBuilder};

use crate::read::{Bad, Text};

/// A regular expression; matching takes time linear in the length of the text.
#[derive(Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// The text with every match replaced.
    pub fn replace<'t>(&self, text: &'t str, with: &str) -> Cow<'t, str> {
        self.0.replace_all(text, with)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Text for Pattern {
    const WHAT: &'static str = "a regular expression";

    fn parse(text: &str) -> Result<Self, Bad> {
        if text.is_empty() || text.len() > LONGEST_PATTERN {
            let message = format!("the pattern has {} bytes", text.len());
            return Err(Bad::new(message, format!("It has 1 to {LONGEST_PATTERN}.")));
        }
        match RegexBuilder::new(text).size_limit(LARGEST_PATTERN).build() {
            Ok(regex) => Ok(Self(regex)),
            Err(Error::CompiledTooBig(_)) => Err(Bad::new(
                "the pattern is too large once it is compiled",
                "Repeat fewer things fewer times.",
            )),
            Err(error) => {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                let help = "See https://docs.rs/regex for what it can be; there is no look-around.";
                Err(Bad::new(format!("this is no pattern: {last}"), help))
            }
        }
    }
}

const LONGEST_PATTERN: usize = 256;
/// Bytes of a compiled pattern.
const LARGEST_PATTERN: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_bounded() {
        for pattern in ["", &"a".repeat(257), "(((a{200}){200}){200})", "(?=a)", "(", "a{99999}"] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern:?}");
        }
        let pattern = Pattern::parse(r"^<sip:(\d+)@.*$").unwrap();
        assert_eq!(pattern.replace("<sip:123@x>", "$1"), "123");
    }
}
