//! Figures of the configuration: what came of each reload, since when it is in force, how long certificates hold.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge, counter, gauge};

/// What came of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Another configuration is in force.
    Applied,
    /// The files say what they said before.
    Unchanged,
    /// Something is wrong, or takes a restart: nothing has changed.
    Refused,
}

/// Cached handles.
pub struct ConfigurationMeters {
    reloads: [Counter; 3],
    ok: Gauge,
    since: Gauge,
    days: BTreeMap<PathBuf, Gauge>,
}

impl ConfigurationMeters {
    /// Registers every figure. The configuration in force since then was good.
    pub fn new(since: SystemTime) -> Self {
        let of = |result: Reload| counter!("trunkgate_reloads_total", "result" => result.label());
        let meters = Self {
            reloads: [of(Reload::Applied), of(Reload::Unchanged), of(Reload::Refused)],
            ok: gauge!("trunkgate_reload_ok"),
            since: gauge!("trunkgate_configuration_timestamp_seconds"),
            days: BTreeMap::new(),
        };
        meters.reloads.iter().for_each(|counter| counter.increment(0));
        meters.ok.set(1.0);
        meters.in_force(since);
        meters
    }

    /// Counts a reload.
    pub fn note(&self, result: Reload) {
        let (index, ok) = match result {
            Reload::Applied => (0, 1.0),
            Reload::Unchanged => (1, 1.0),
            Reload::Refused => (2, 0.0),
        };
        self.reloads[index].increment(1);
        self.ok.set(ok);
    }

    /// Another configuration is in force since then.
    pub fn in_force(&self, since: SystemTime) {
        self.since.set(since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    }

    /// How many days each certificate in use still holds; those that are not in use any more show no number.
    pub fn certificates<'a>(&mut self, leaves: impl Iterator<Item = (&'a Path, i64)>) {
        self.days.values().for_each(|gauge| gauge.set(f64::NAN));
        for (path, days) in leaves {
            let gauge = self.days.entry(path.to_owned()).or_insert_with(
                || gauge!("trunkgate_certificate_days_left", "file" => path.display().to_string()),
            );
            gauge.set(f64::from(i32::try_from(days).unwrap_or(i32::MAX)));
        }
    }
}

impl Reload {
    const fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}
