//! The configuration of the gateway: read, checked, resolved, compared.
//!
//! [`load`] reads `gateway.toml` and every file of its tenants' directory and gives either a
//! [`Config`] in which nothing can be invalid any more, or [`Faults`]: everything that is wrong,
//! with file, line, snippet and what to do. It reads files and opens no port.
//!
//! Files → `load` (TOML with places) → `section` (typed values, one file per table) → `resolve`
//! (names to indices, one thing against another) → [`Config`] → `block` (tables again) →
//! [`effective`] and [`diff`]. A key's name, type, default and meaning stand once, in `section`;
//! the JSON schema comes from there too.

mod align;
mod block;
mod country;
mod credentials;
mod diff;
mod effective;
mod emergency;
mod excerpt;
mod fault;
mod footprint;
mod inventory;
mod key;
mod limits;
mod load;
mod model;
mod number_file;
mod numbers;
mod read;
mod reference;
mod resolve;
mod section;
mod sounds;
mod source;
mod surroundings;
mod text;

use std::path::Path;

pub use country::Country;
pub use credentials::Credentials;
pub use diff::{Change, ChangeKind, diff};
pub use emergency::{Emergency, Site};
pub use fault::{Fault, Faults, Place};
pub use footprint::Footprint;
pub use inventory::{NumberState, States};
pub use limits::{Barring, Bound, Limits, Minutes, Rate};
pub use model::*;
pub use numbers::{Number, NumberRange, Numbers};
pub use reference::reference;
pub use resolve::profile::Shipped;
pub use sounds::SoundFile;
pub use surroundings::Surroundings;
pub use text::timezone::Timezone;

/// A good configuration, and what may be worth a look in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Nothing that forbids a start: a readable key, a certificate about to expire.
    pub warnings: Faults,
    /// The certificates, keys and roots that it names.
    pub credentials: Credentials,
}

/// What came of a reading, and of which files.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The configuration, or everything that is wrong with it.
    pub outcome: Result<Loaded, Faults>,
    /// Every file that it depends on, also when it is wrong.
    pub files: Footprint,
    /// The music that it names, in the order of the places that name it, as far as the files are TOML. What stands in
    /// those files was not looked at.
    pub sounds: Vec<SoundFile>,
}

/// Reads the configuration whose main file is `path`.
///
/// Relative paths inside are relative to the file that names them.
pub fn load(path: &Path) -> Result<Loaded, Faults> {
    load_in(path, &Surroundings::of_process())
}

/// [`load`], with the files that were looked at.
pub fn read(path: &Path) -> Reading {
    read_in(path, &Surroundings::of_process())
}

/// [`load`] with clock, host name, cores and environment given.
pub fn load_in(path: &Path, around: &Surroundings) -> Result<Loaded, Faults> {
    read_in(path, around).outcome
}

/// [`read`] with clock, host name, cores and environment given.
pub fn read_in(path: &Path, around: &Surroundings) -> Reading {
    let mut out = fault::Findings::default();
    let raw = load::read(path, &mut out);
    let config = raw.and_then(|raw| resolve::resolve(&raw, around, &mut out));
    let clean = out.is_clean();
    let files = std::mem::take(&mut out.files);
    let sounds = out.take_sounds();
    let (faults, warnings) = out.finish();
    let outcome = if clean {
        let (config, credentials) = config.expect("what could not be resolved has left a fault");
        Ok(Loaded { config, warnings, credentials })
    } else {
        Err(faults)
    };
    Reading { outcome, files, sounds }
}

/// The whole configuration as TOML with every default shown: the main file, then each tenant's,
/// headed by comments `# file: …`. Keys given by environment variable stay names.
pub fn effective(config: &Config) -> String {
    effective::effective(config)
}

/// The profiles that come with the gateway.
pub const fn profiles() -> &'static [Shipped] {
    &resolve::profile::SHIPPED
}

/// The JSON schema of `gateway.toml` (and, under `$defs`, of a tenant's file).
pub fn schema() -> serde_json::Value {
    section::root::schema()
}
