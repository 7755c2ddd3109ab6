//! The figures of trunks that register with us.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::{Counter, Gauge, counter, gauge};

use crate::event::{Event, RegisterAnswer};

/// Handles by name of the trunk. As many as the configuration has.
pub(super) struct Registrar {
    contacts: HashMap<Arc<str>, Gauge>,
    answers: [Counter; RegisterAnswer::ALL.len()],
}

impl Registrar {
    pub(super) fn new() -> Self {
        let name = "trunkgate_registrar_requests_total";
        let answers = RegisterAnswer::ALL.map(|it| counter!(name, "result" => it.label()));
        Self { contacts: HashMap::new(), answers }
    }

    /// Shows a change; other events are none of these.
    pub(super) fn note(&mut self, event: &Event) {
        if let Event::Registered { trunk, contacts } = event {
            let gauge = self.contacts.entry(Arc::clone(trunk)).or_insert_with(
                || gauge!("trunkgate_registered_contacts", "trunk" => trunk.to_string()),
            );
            gauge.set(super::count(*contacts));
        }
        if let Event::RegisterAnswered(answer) = event {
            self.answers[*answer as usize].increment(1);
        }
    }
}
