//! Time zones, by which days begin; the door of `jiff`'s.

use std::fmt;
use std::ops::Range;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use crate::read::{Bad, Text};

/// A time zone of the IANA database, which is part of the program.
#[derive(Clone, PartialEq, Eq)]
pub struct Timezone(TimeZone);

impl Timezone {
    /// The day that a time lies in, from its first to its last millisecond; all in milliseconds since 1970. Days are
    /// between 23 and 25 hours long where clocks are put forward and back.
    pub fn day(&self, millis: u64) -> Range<u64> {
        let at = i64::try_from(millis).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
        let day = || {
            let start = at?.to_zoned(self.0.clone()).start_of_day().ok()?;
            let end = start.tomorrow().ok()?.start_of_day().ok()?;
            let millis =
                |zoned: jiff::Zoned| u64::try_from(zoned.timestamp().as_millisecond()).ok();
            Some(millis(start)?..millis(end)?)
        };
        // Beyond all calendars: days of their own.
        day().unwrap_or_else(|| millis..millis.saturating_add(DAY))
    }

    /// That of a name of the database, such as "Europe/London".
    pub fn named(name: &str) -> Option<Self> {
        let known = TimeZone::get(name).ok().filter(|zone| zone.iana_name().is_some());
        known.map(Self)
    }

    /// Its name, such as "Europe/London".
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }
}

impl Default for Timezone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl fmt::Debug for Timezone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Timezone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Text for Timezone {
    const WHAT: &'static str = "a time zone";

    fn parse(text: &str) -> Result<Self, Bad> {
        Self::named(text).ok_or_else(|| {
            let help = "Write a name of the IANA database, such as \"Europe/London\" or \"UTC\".";
            Bad::new(format!("\"{text}\" is no time zone"), help)
        })
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

const DAY: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(zone: &str, time: &str) -> (String, u64) {
        let at: Timestamp = time.parse().unwrap();
        let at = u64::try_from(at.as_millisecond()).unwrap();
        let day = Timezone::parse(zone).unwrap().day(at);
        assert!(day.contains(&at));
        let start = Timestamp::from_millisecond(i64::try_from(day.start).unwrap()).unwrap();
        (start.to_string(), (day.end - day.start) / 3_600_000)
    }

    #[test]
    fn days_begin_by_the_clock_on_the_wall() {
        for (zone, time, start, long) in [
            ("UTC", "2026-11-22T12:00:00Z", "2026-11-22T00:00:00Z", 24),
            ("Europe/London", "2026-07-01T00:30:00Z", "2026-06-30T23:00:00Z", 24),
            ("Europe/London", "2026-03-29T12:00:00Z", "2026-03-29T00:00:00Z", 23),
            ("America/New_York", "2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", 25),
            ("Asia/Kathmandu", "2026-11-22T18:15:00Z", "2026-11-22T18:15:00Z", 24),
        ] {
            assert_eq!(hours(zone, time), (start.to_owned(), long), "{zone} {time}");
        }
    }

    #[test]
    fn only_names_of_zones() {
        for text in ["", "Europe", "London", "CEST+2", "../etc/passwd", "Local"] {
            assert!(Timezone::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Timezone::parse("europe/london").unwrap().name(), "Europe/London");
    }
}
