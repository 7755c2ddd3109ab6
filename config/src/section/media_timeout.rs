//! How long a call may be without media.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::read::{Bad, Text};
use crate::text::scalar::Patience;

/// The time without RTP and RTCP after which a call is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MediaTimeout(pub(crate) Duration);

impl Text for MediaTimeout {
    const WHAT: &'static str = "a span of time";

    fn parse(text: &str) -> Result<Self, Bad> {
        let Patience(span) = Patience::parse(text)?;
        if span < SHORTEST {
            let message = format!("{text} is shorter than the time between two reports");
            return Err(Bad::new(message, "Write a span from \"5s\" on, such as \"60s\"."));
        }
        Ok(Self(span))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(s|m|h)$" })
    }
}

/// RTCP comes every 5 s (RFC 3550 §6.2).
const SHORTEST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_ends_between_two_reports() {
        for (text, want) in [("5s", 5), ("60s", 60), ("2h", 7200)] {
            assert_eq!(MediaTimeout::parse(text), Ok(MediaTimeout(Duration::from_secs(want))));
        }
        for text in ["4s", "0s", "60", "169h"] {
            assert!(MediaTimeout::parse(text).is_err(), "{text:?}");
        }
    }
}
