//! The difference of two configurations, as data and as one readable line per change.

use std::fmt;

use crate::model::Config;

/// One change between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What changed, e.g. `trunk "carrier-a"`, `gateway`, `tenant "t001"`.
    pub subject: String,
    /// The key, e.g. `peers`; `None`: the subject as a whole was added or removed.
    pub key: Option<&'static str>,
    /// Value before; `None`: added.
    pub before: Option<String>,
    /// Value after; `None`: removed.
    pub after: Option<String>,
    /// Whether it can only take effect by a restart.
    pub restart: bool,
}

/// Everything by which `new` differs from `old`, in a fixed order.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let _ = (old, new);
    Vec::new()
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject)
    }
}
