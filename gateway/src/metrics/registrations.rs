//! The figures of registrations with carriers.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::{Counter, Gauge, counter, gauge};

use crate::event::{Event, Registering};

/// Handles by name of the trunk. As many as the configuration has.
#[derive(Default)]
pub(super) struct Registrations {
    standing: HashMap<Arc<str>, [Gauge; 2]>,
    attempts: HashMap<(Arc<str>, Registering), Counter>,
}

impl Registrations {
    /// Shows a change; other events are none of these.
    pub(super) fn note(&mut self, event: &Event) {
        if let Event::Registration { trunk, up, granted } = event {
            let [is_up, expires] = self.standing.entry(Arc::clone(trunk)).or_insert_with(|| {
                ["trunkgate_registration_up", "trunkgate_registration_expires_seconds"]
                    .map(|name| gauge!(name, "trunk" => trunk.to_string()))
            });
            is_up.set(f64::from(u8::from(*up)));
            expires.set(granted.as_secs_f64());
        }
        if let Event::Registering { trunk, outcome } = event {
            let name = "trunkgate_registration_attempts_total";
            let counter = self.attempts.entry((Arc::clone(trunk), *outcome)).or_insert_with(
                || counter!(name, "trunk" => trunk.to_string(), "outcome" => outcome.label()),
            );
            counter.increment(1);
        }
    }
}
