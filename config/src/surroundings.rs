//! What a configuration depends on besides its files.

use std::time::SystemTime;

/// Clock, host name, cores and environment: given, so that checks can be tested.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// By which certificates are valid or expired.
    pub now: SystemTime,
    /// The host name: the default of `node`.
    pub node: String,
    /// Processor cores that may be used: media threads are one fewer.
    pub cores: usize,
    /// Looks up an environment variable.
    pub variable: fn(&str) -> Option<String>,
}

impl Surroundings {
    /// Those of this process.
    #[expect(clippy::disallowed_methods, reason = "start-up and reload happen at some wall time")]
    pub fn of_process() -> Self {
        Self {
            now: SystemTime::now(),
            node: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            variable: |name| std::env::var(name).ok(),
        }
    }
}
