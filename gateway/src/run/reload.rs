//! Reload: SIGHUP, or with `watch` a change of a file, has the configuration read again. It is put in force whole or
//! not at all, and calls that are up notice nothing.
//!
//! A task on the service runtime does it, one reload at a time; requests meanwhile become one more. It computes on a
//! thread beside, so that neither handshakes nor calls wait. What is good goes to the event loop, which puts it in force in one
//! turn and hands back the former one. That is dropped here, when the last call that holds it has ended.

mod compile;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use config::{Faults, Footprint};
use sip_stack::net::resolver::Resolver;
use sip_stack::net::{LocalConfig, ReconfigureError};
use sip_stack::transport::LocalId;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

pub(super) use self::compile::InForce;
use self::compile::{Changed, Refusal, Verdict, compile};
use self::watch::{LOOK, Watch};
use super::beside::beside;
use super::{clock, time_of_day};
use crate::core::Retired;
use crate::logging::Levels;
use crate::metrics::{ConfigurationMeters, Reload};
use crate::routing::Routes;

/// A configuration that is good, as the event loop needs it.
pub(super) struct Next {
    pub(super) routes: Arc<Routes>,
    pub(super) locals: Vec<LocalConfig>,
    /// Identities whose connections have to make room.
    pub(super) renewed: Vec<(LocalId, Retired)>,
    /// Where other resolvers are asked than before.
    pub(super) resolver: Option<Arc<Resolver>>,
}

/// What comes out of the files.
pub(super) enum Ready {
    /// The music of the first configuration is there.
    Music,
    /// Another configuration.
    Reloaded(Reloaded),
}

/// A configuration on its way into force. The answer is the former one.
pub(super) struct Reloaded {
    pub(super) next: Next,
    pub(super) done: oneshot::Sender<Result<Arc<Routes>, ReconfigureError>>,
}

/// The event loop's end.
pub(super) struct Reloader {
    asked: Arc<Notify>,
    ready: mpsc::Receiver<Ready>,
}

impl Reloader {
    /// Reads the music, then begins to wait for requests, and to watch if that is configured. `files` are those that were
    /// read for what is in force.
    pub(super) fn start(
        service: &Handle,
        path: PathBuf,
        in_force: InForce,
        files: Footprint,
        levels: Levels,
    ) -> Self {
        let asked = Arc::new(Notify::new());
        let (hand, ready) = mpsc::channel(1);
        let task = Task {
            path,
            watch: Watch::new(files),
            meters: ConfigurationMeters::new(time_of_day()),
            in_force,
            levels,
            asked: Arc::clone(&asked),
            hand,
            former: Vec::new(),
            checked: None,
        };
        service.spawn(task.run());
        Self { asked, ready }
    }

    /// Has the files read again, once more if they are being read just now.
    pub(super) fn ask(&self) {
        self.asked.notify_one();
    }

    /// What is to be put in force next; nothing is lost when this is dropped. Never when the task is gone.
    pub(super) async fn next(&mut self) -> Ready {
        match self.ready.recv().await {
            Some(handover) => handover,
            None => std::future::pending().await,
        }
    }
}

/// The task's end.
struct Task {
    path: PathBuf,
    in_force: InForce,
    watch: Watch,
    meters: ConfigurationMeters,
    levels: Levels,
    asked: Arc<Notify>,
    hand: mpsc::Sender<Ready>,
    /// Former configurations that calls may still hold.
    former: Vec<Arc<Routes>>,
    /// When certificates were last looked at.
    checked: Option<Instant>,
}

impl Task {
    /// Ends with the event loop.
    async fn run(mut self) {
        self.load_music().await;
        let asked = Arc::clone(&self.asked);
        let mut look = Instant::from_std(clock()) + LOOK;
        while !self.hand.is_closed() {
            let due = tokio::select! {
                () = asked.notified() => true,
                () = sleep_until(look) => {
                    look = Instant::from_std(clock()) + LOOK;
                    self.drop_former().await;
                    self.check_certificates();
                    self.in_force.config.gateway.watch && self.has_changed().await
                }
            };
            if due {
                let began = Instant::from_std(clock());
                self.reload().await;
                // However often we are asked, half of the time is left for the rest of the thread.
                let now = Instant::from_std(clock());
                sleep_until(now + (now - began).min(LONGEST_PAUSE)).await;
            }
        }
    }

    /// A start does not wait for it.
    async fn load_music(&mut self) {
        let music = self.in_force.music.clone();
        if music.is_empty() {
            return;
        }
        let loaded = beside(move || music.load()).await;
        for fault in loaded.unwrap_or_default() {
            error!(help = fault.help, "{}", fault.message);
        }
        info!("music: read");
        // Nobody is there any more when the process ends.
        let _ = self.hand.send(Ready::Music).await;
    }

    async fn has_changed(&mut self) -> bool {
        let files = self.watch.files().clone();
        let found = beside(move || files.look_again()).await;
        found.is_some_and(|found| self.watch.look(found, clock()))
    }

    /// Large ones take a while to drop.
    async fn drop_former(&mut self) {
        let free: Vec<_> =
            self.former.extract_if(.., |routes| Arc::strong_count(routes) == 1).collect();
        if !free.is_empty() {
            beside(move || drop(free)).await;
        }
    }

    async fn reload(&mut self) {
        let (path, in_force) = (self.path.clone(), self.in_force.clone());
        let compiled = beside(move || compile(&path, &in_force)).await;
        let Some((verdict, files)) = compiled else {
            error!("a reload failed by a fault of the gateway; nothing has changed");
            return self.meters.note(Reload::Refused);
        };
        self.watch = Watch::new(files);
        match verdict {
            Verdict::Unchanged(warnings) => {
                tell_warnings(&warnings);
                info!("reload: nothing has changed");
                self.meters.note(Reload::Unchanged);
            }
            Verdict::Refused(refusal) => {
                tell_refusal(&refusal);
                self.meters.note(Reload::Refused);
            }
            Verdict::Changed(changed) => self.hand_over(*changed).await,
        }
    }

    async fn hand_over(&mut self, changed: Changed) {
        let Changed { next, in_force, changes, warnings } = changed;
        let (done, answer) = oneshot::channel();
        if self.hand.send(Ready::Reloaded(Reloaded { next, done })).await.is_err() {
            return;
        }
        let Ok(answer) = answer.await else { return };
        match answer {
            Ok(former) => self.former.push(former),
            Err(reason) => {
                error!(%reason, "reload refused: nothing has changed");
                return self.meters.note(Reload::Refused);
            }
        }
        let before = std::mem::replace(&mut self.in_force, in_force);
        let count = changes.len();
        for change in changes.iter().take(MOST_LINES) {
            info!(%change, "reload");
        }
        if count > MOST_LINES {
            info!(more = count - MOST_LINES, "reload: further changes");
        }
        tell_warnings(&warnings);
        info!(changes = count, "reload: in force");
        self.levels.set(self.in_force.config.log.level);
        self.meters.note(Reload::Applied);
        self.meters.in_force(time_of_day());
        self.show_certificates(time_of_day());
        beside(move || drop(before)).await;
    }

    /// How long certificates hold changes without a reload as well.
    fn check_certificates(&mut self) {
        let now = Instant::from_std(clock());
        let Some(checked) = self.checked else {
            self.checked = Some(now);
            return self.show_certificates(time_of_day());
        };
        if now < checked + CERTIFICATES {
            return;
        }
        self.checked = Some(now);
        let wall = time_of_day();
        self.show_certificates(wall);
        for (file, leaf) in self.in_force.credentials.leaves() {
            let (file, days) = (file.display(), leaf.days_left(wall));
            if days < 0 {
                error!(%file, days, "a certificate has expired");
            } else if days < SOON {
                warn!(%file, days, "a certificate expires soon");
            }
        }
    }

    fn show_certificates(&mut self, wall: SystemTime) {
        let leaves = self.in_force.credentials.leaves();
        self.meters.certificates(leaves.map(|(file, leaf)| (file, leaf.days_left(wall))));
    }
}

/// What is worth a look in a configuration that is good.
pub(super) fn tell_warnings(warnings: &Faults) {
    for warning in warnings.iter() {
        warn!(help = warning.help, "{}", warning.message);
    }
}

fn tell_refusal(refusal: &Refusal) {
    match refusal {
        Refusal::Faults(faults) => {
            for fault in faults.iter().take(MOST_LINES) {
                let place = fault.places.first();
                error!(
                    fault = fault.message,
                    file = place.map(|place| place.file.as_str()),
                    line = place.map(|place| place.line),
                    help = fault.help,
                    report = %format_args!("\n{}", fault.render(false)),
                    "reload refused"
                );
            }
            error!(faults = faults.len(), "reload refused: nothing has changed");
        }
        Refusal::Restart(changes) => {
            for change in changes.iter().take(MOST_LINES) {
                error!(%change, "reload refused");
            }
            error!(
                changes = changes.len(),
                "reload refused: nothing has changed; take these back or restart"
            );
        }
        Refusal::Unusable(reason) => error!(%reason, "reload refused: nothing has changed"),
    }
}

/// Lines that one reload writes.
const MOST_LINES: usize = 200;
/// However long a reading took, the next one waits no longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at the dates of certificates.
const CERTIFICATES: Duration = Duration::from_secs(24 * 3600);
/// Days before expiry from which on a certificate is worth a warning.
const SOON: i64 = 30;
