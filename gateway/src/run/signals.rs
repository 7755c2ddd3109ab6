//! The signals that the daemon obeys: SIGTERM and SIGINT to stop, SIGHUP to reload. SIGXFSZ is heard and left alone: a
//! file that may not grow is a disk that is full, and the write that failed says so.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// One signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// Hears them from its opening on.
pub(crate) struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
    /// Only so that it does not kill.
    _file_size: Stream,
}

impl Signals {
    /// From now on these signals no longer kill the process. Inside a runtime only.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            _file_size: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// Waits for the next one; nothing is lost when this is dropped.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}
