//! How a tenant's calls for help go.

use std::collections::BTreeSet;

use crate::numbers::{Number, Numbers};

/// How a tenant's calls for help go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emergency {
    /// By which trunks, in order of preference; index in [`Config::trunks`](crate::Config::trunks).
    pub trunks: Vec<usize>,
    /// By which numbers, beside 112 and 911; `None`: those of its country.
    pub numbers: Option<BTreeSet<String>>,
    /// From where.
    pub sites: Vec<Site>,
}

/// A place from which a tenant's users call for help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Unique in its tenant.
    pub name: String,
    /// Whose callers are there.
    pub numbers: Numbers,
    /// As which numbers they are shown; never empty.
    pub elins: Vec<Number>,
}
