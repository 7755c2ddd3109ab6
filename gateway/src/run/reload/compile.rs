//! From files to a configuration that can be put in force, whole or not at all. Runs where it holds up nobody.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use config::{Change, Config, Credentials, Faults, Footprint, Loaded};
use sip_stack::net::resolver::Resolver;

use super::super::Failure;
use super::super::identities::Locals;
use super::super::music::{self, Music};
use super::Next;
use crate::routing::Routes;

/// What holds now.
#[derive(Clone, Debug)]
pub(in crate::run) struct InForce {
    pub(in crate::run) config: Arc<Config>,
    pub(in crate::run) credentials: Arc<Credentials>,
    pub(in crate::run) locals: Arc<Locals>,
    pub(in crate::run) music: Music,
}

/// What came of a reading.
pub(super) enum Verdict {
    /// The files say what holds already.
    Unchanged(Faults),
    /// Something is wrong.
    Refused(Refusal),
    /// Another configuration.
    Changed(Box<Changed>),
}

/// Why a configuration cannot be put in force.
pub(super) enum Refusal {
    /// These are wrong.
    Faults(Faults),
    /// These take a restart.
    Restart(Vec<Change>),
    /// It cannot be used for another reason.
    Unusable(Failure),
}

/// A configuration that is good.
pub(super) struct Changed {
    pub(super) next: Next,
    pub(super) in_force: InForce,
    pub(super) changes: Vec<Change>,
    pub(super) warnings: Faults,
}

/// Reads `path` and compares it with what holds.
pub(super) fn compile(path: &Path, now: &InForce) -> (Verdict, Footprint) {
    let (read, files) = music::read(path);
    let verdict = match read {
        Ok((loaded, music)) => judge(loaded, music, now),
        Err(faults) => Verdict::Refused(Refusal::Faults(faults)),
    };
    (verdict, files)
}

fn judge(loaded: Loaded, mut music: Music, now: &InForce) -> Verdict {
    let Loaded { mut config, warnings, credentials } = loaded;
    config.align(&now.config);
    let mut changes = config::diff(&now.config, &config);
    if changes.iter().any(|change| change.restart) {
        changes.retain(|change| change.restart);
        return Verdict::Refused(Refusal::Restart(changes));
    }
    changes.extend(now.credentials.diff(&credentials));
    music.share(&now.music);
    let unread = music.load();
    if !unread.is_empty() {
        let mut faults = Faults::default();
        faults.extend(unread);
        return Verdict::Refused(Refusal::Faults(faults));
    }
    changes.extend(now.music.diff(&music));
    if changes.is_empty() && config == *now.config {
        return Verdict::Unchanged(warnings);
    }
    let locals = match Locals::new(&config, &credentials, Some(&now.locals)) {
        Ok(locals) => locals,
        Err(failure) => return Verdict::Refused(Refusal::Unusable(failure)),
    };
    let resolver = if config.dns.servers == now.config.dns.servers {
        None
    } else {
        match Resolver::new(&config.dns.servers) {
            Ok(resolver) => Some(Arc::new(resolver)),
            Err(source) => {
                let failure = Failure::System { what: "a resolver", source };
                return Verdict::Refused(Refusal::Unusable(failure));
            }
        }
    };
    let config = Arc::new(config);
    let next = Next {
        routes: Arc::new(Routes::new(Arc::clone(&config)).with_sounds(music.sounds())),
        locals: locals.configs(),
        renewed: locals.renewed(&now.locals),
        resolver,
    };
    let (credentials, locals) = (Arc::new(credentials), Arc::new(locals));
    let in_force = InForce { config, credentials, locals, music };
    Verdict::Changed(Box::new(Changed { next, in_force, changes, warnings }))
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged(_) => f.write_str("Unchanged"),
            Self::Refused(Refusal::Faults(faults)) => write!(f, "Faults({faults})"),
            Self::Refused(Refusal::Restart(changes)) => write!(f, "Restart({changes:?})"),
            Self::Refused(Refusal::Unusable(failure)) => write!(f, "Unusable({failure})"),
            Self::Changed(changed) => write!(f, "Changed({:?})", changed.changes),
        }
    }
}
