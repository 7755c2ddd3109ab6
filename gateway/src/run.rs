//! `trunkgate run`: opens everything, says `ready`, and runs until it is told to stop.
//!
//! Threads: this one owns signalling (sockets, core, timers); `service` does TLS handshakes, DNS
//! and the admin pages; `records` writes CDRs; the relay has its own. They meet in bounded queues. A reload, and a look at
//! its files, has a thread of its own for a moment (`beside`). Beside them the allocator has up to one for each processor, which
//! give memory back to the system.

mod beside;
mod capacity;
mod driver;
mod durable;
mod enter;
mod identities;
mod kin;
mod ledger;
pub(crate) mod music;
mod pages;
mod records;
mod reload;
mod signals;
mod state_file;
mod stop;

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use config::{Config, Footprint, Loaded};
use media_relay::{Relay, RelayConfig};
use sip_stack::net::{Limits, Net};
use tokio::sync::Notify;
use tracing::{info, warn};

pub use self::capacity::{Capacity, descriptors};
pub(crate) use self::identities::Locals;
pub(crate) use self::signals::Signals;

use self::driver::Driver;
use self::durable::Durable;
use self::enter::Entry;
use self::kin::Kindred;
use self::ledger::Ledger;
use self::pages::Pages;
use self::records::Records;
use self::reload::{InForce, Reloader};
use self::state_file::{CALLBACKS, REGISTERED};
use crate::admin::Health;
use crate::call::Pools;
use crate::cli::{EXIT_CONFIG, EXIT_FAILURE};
use crate::core::{Core, CoreConfig, Restored};
use crate::handover::elder::Failed;
use crate::journal::{self, Entry as Kept, Left};
use crate::logging::{self, Levels};
use crate::metrics::{Exporter, Meters, TEND_INTERVAL};
use crate::random::{Drawn, Random};
use crate::routing::Routes;
use crate::service::Service;
use crate::state_key::StateKey;

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The configuration is wrong.
    #[error("{}", .0.render(false))]
    Configuration(config::Faults),
    /// A certificate, key or file of roots cannot be used.
    #[error(transparent)]
    Certificate(#[from] certs::Error),
    /// A private key cannot be read.
    #[error("{}: the private key cannot be read: {source}", key.display())]
    Key {
        /// Its file, or `$VARIABLE`.
        key: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory for CDRs and what else must survive a restart cannot be used.
    #[error("{}: cannot be used: {source}; see [gateway] state", state.display())]
    State {
        /// The directory.
        state: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The address of the admin pages cannot be opened.
    #[error("{address}: cannot be opened: {source}; see [admin] listen")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Another process has the state directory.
    #[error(
        "{}: another trunkgate runs with this state directory; `run --upgrade` takes over from it",
        state.display()
    )]
    Occupied {
        /// The directory.
        state: PathBuf,
    },
    /// The running process was not taken over from, and goes on.
    #[error("{}: the running trunkgate was not taken over from and goes on: {why}{words}", state.display())]
    Upgrade {
        /// The directory.
        state: PathBuf,
        /// Why.
        why: Failed,
        /// What the running process says.
        words: String,
    },
    /// A SIP listener cannot be opened.
    #[error(transparent)]
    Listener(#[from] sip_stack::net::BindError),
    /// No media can be relayed.
    #[error(transparent)]
    Relay(#[from] media_relay::StartError),
    /// The operating system gives no thread, no event queue or no signals.
    #[error("the operating system refuses {what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The figures cannot be set up.
    #[error(transparent)]
    Metrics(#[from] crate::metrics::InstallError),
}

impl Failure {
    /// The exit code of the process.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Certificate(_) | Self::Key { .. } => EXIT_CONFIG,
            Self::State { .. }
            | Self::Occupied { .. }
            | Self::Upgrade { .. }
            | Self::Admin { .. }
            | Self::Listener(_)
            | Self::Relay(_)
            | Self::System { .. }
            | Self::Metrics(_) => EXIT_FAILURE,
        }
    }
}

/// `trunkgate run`: says on stderr why it failed, if it did. The exit code.
pub fn command(path: &Path, upgrade: bool) -> u8 {
    let Err(failure) = run(path, upgrade) else { return 0 };
    let colour = io::stderr().is_terminal();
    let text = if let Failure::Configuration(faults) = &failure {
        faults.render(colour)
    } else {
        format!("trunkgate: {failure}\n")
    };
    // Whoever closed stderr does not want to read it.
    let _ = io::stderr().write_all(text.as_bytes());
    failure.exit_code()
}

/// Runs the gateway configured in `path` until a signal stops it; with `upgrade` takes over from the one that runs.
fn run(path: &Path, upgrade: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build()
        .map_err(system("an event queue"))?;
    // First of all: a reload that is asked for while the files are read must not end the process.
    let signals = {
        let _inside = runtime.enter();
        Signals::open().map_err(system("signals"))?
    };
    let (read, files) = music::read(path);
    let (Loaded { config, warnings, credentials }, music) = read.map_err(Failure::Configuration)?;
    let config = Arc::new(config);
    let (_log, levels) = logging::start(config.log).map_err(system("a thread"))?;
    reload::tell_warnings(&warnings);
    let capacity = Capacity::new(&config, capacity::raise_descriptors());
    tell(&config, capacity);
    let locals = Locals::new(&config, &credentials, None)?;
    let (credentials, locals) = (Arc::new(credentials), Arc::new(locals));
    let in_force = InForce { config, credentials, locals, music };
    // A task of its own: what wakes itself inside `block_on` wakes by system calls.
    let serving = serve(path.to_owned(), upgrade, signals, in_force, files, levels);
    runtime.block_on(async {
        let served = tokio::spawn(serving).await;
        served.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))
    })
}

/// Opens everything, runs, closes everything.
async fn serve(
    path: PathBuf,
    upgrade: bool,
    mut signals: Signals,
    in_force: InForce,
    files: Footprint,
    levels: Levels,
) -> Result<(), Failure> {
    let config = Arc::clone(&in_force.config);
    let exporter = Exporter::install()?;
    let health = Arc::new(Health::new(clock()));
    let service = Service::start(&config.dns).map_err(system("a thread"))?;
    service.handle().spawn(exporter.clone().tend(TEND_INTERVAL));
    let state = &config.gateway.state;
    let entered = enter::enter(state, upgrade).await?;
    let Entry { lock, control, inherited, taken, admin, elder } = entered;
    let mut net =
        Net::bind_with(in_force.locals.configs(), inherited, Limits::default(), service.handle())?;
    if elder.is_some() {
        net.stop_listening(|_, _| true);
    }
    let key = state_key(state)?;
    let wall = time_of_day();
    let former = elder.as_ref().map_or(0, |elder| elder.epoch.saturating_add(1));
    let opened = journal(state, &key, epoch(wall).max(former))?;
    let media = Arc::new(Notify::new());
    let reserve = capacity::reserve(&config, capacity::descriptors());
    let relay = relay(&config, reserve, elder.is_some(), &media)?;
    let ports = relay.ports();
    let mut drawn = Drawn::new(fill_random);
    let core = CoreConfig {
        routes: Arc::new(Routes::new(Arc::clone(&config)).with_sounds(in_force.music.sounds())),
        random: Random::new(move |buffer| drawn.fill(buffer)),
        ports,
        node_epoch: opened.epoch,
        mask: key.mask(),
        wall,
    };
    let epoch = opened.epoch;
    let mut core = Core::new(core, clock());
    core.keep_ports_for_help(elder.is_none());
    let durable = take_up(&mut core, state, epoch, opened)?;
    if elder.is_none() {
        core.learn_registered(state_file::read(state, &REGISTERED), clock());
    }
    let pages = config.admin.map(|address| {
        let failed = |source| Failure::Admin { address, source };
        Pages::new(address, admin, exporter, Arc::clone(&health), service.handle()).map_err(failed)
    });
    let names = crate::locals::names(&config);
    let kin = Kindred::new(
        (state.clone(), key.journal()),
        lock,
        control,
        pages.transpose()?,
        names,
        epoch,
        reserve,
    );
    let meters = Meters::new();
    let reloader = Reloader::start(&service.handle(), path, in_force, files, levels);
    let mut driver =
        Driver::new(core, net, service, relay, media, durable, meters, health, reloader, kin);
    driver.begin();
    crate::numbers::warm_up();
    match elder {
        Some(elder) => driver.take_over(elder, state, taken).await?,
        None => driver.begin_alone(),
    }
    driver.kin.open_pages();
    ready();
    driver.run(&mut signals).await;
    driver.close().await;
    Ok(())
}

fn state_key(state: &Path) -> Result<StateKey, Failure> {
    StateKey::open(state).map_err(|source| Failure::State { state: state.to_owned(), source })
}

fn journal(state: &Path, key: &StateKey, epoch: u32) -> Result<journal::Opened, Failure> {
    let failed = |source| Failure::State { state: state.to_owned(), source };
    let mut salt = [0; 32];
    fill_random(&mut salt);
    journal::open(state, &key.journal(), epoch, salt).map_err(failed)
}

/// Goes on with what dead processes left.
fn take_up(
    core: &mut Core,
    state: &Path,
    epoch: u32,
    opened: journal::Opened,
) -> Result<Durable, Failure> {
    let journal::Opened { journal, store, left, .. } = opened;
    let Left { calls, ended, unreadable, dead } = left;
    let records = Records::start(store).map_err(system("a thread"))?;
    let ledger = Ledger::start(state, epoch).map_err(system("a thread"))?;
    let mut durable = Durable::new(journal, records, ledger, dead);
    durable.ledger.others().iter().for_each(|others| core.learn_spent(others, clock()));
    let late = ended.len();
    for record in ended {
        durable.keep(&Kept::Ended(record));
    }
    core.learn_callbacks(state_file::read(state, &CALLBACKS), clock());
    let Restored { resumed, cut } = core.restore(calls, clock());
    if resumed + cut + late + unreadable > 0 {
        warn!(resumed, cut, late, unreadable, "taken up what a process that died had left");
    }
    Ok(durable)
}

fn relay(
    config: &Config,
    reserve: u16,
    patient: bool,
    media: &Arc<Notify>,
) -> Result<Relay, Failure> {
    let mut seed = [0; 32];
    fill_random(&mut seed);
    let workers = u8::try_from(config.workers).unwrap_or(u8::MAX);
    let settings = RelayConfig {
        workers,
        pools: Pools::new(config).configs().to_vec(),
        warm: WARM,
        reserve,
        // The process that is taken over from may still hold every pair.
        patient,
        rest: REST,
        // A single relay thread gains nothing by it where other processes share the machine.
        pin: workers > 1,
        seed,
    };
    let wake = Arc::clone(media);
    Ok(Relay::start(settings, move || wake.notify_one())?)
}

/// What an operator wants to see in the log of a start.
fn tell(config: &Config, capacity: Capacity) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        node = config.gateway.node,
        fqdn = config.gateway.fqdn,
        edges = config.edges.len(),
        realms = config.realms.len(),
        trunks = config.trunks.len(),
        tenants = config.tenants.len(),
        workers = config.workers,
        "starting"
    );
    let Capacity { by_ports, by_descriptors, descriptors } = capacity;
    info!(by_ports, by_descriptors, descriptors, "calls at one time");
    if by_descriptors < by_ports {
        warn!(descriptors, "fewer calls than media ports allow: raise the limit of open files");
    }
    for edge in &config.edges {
        info!(edge = edge.name, listen = %edge.listen, fqdn = edge.fqdn, "edge");
    }
    for realm in &config.realms {
        for listener in &realm.listen {
            info!(realm = realm.name, listen = %listener, "realm");
        }
    }
}

/// The one line on stdout. Who closed stdout does not want to know.
fn ready() {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "ready");
    let _ = out.flush();
    info!("ready");
}

fn system(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |source| Failure::System { what, source }
}

fn fill_random(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the operating system has random bytes");
}

/// Tells this instance from the ones before it on the same node.
fn epoch(wall: SystemTime) -> u32 {
    let seconds = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    (seconds & u64::from(u32::MAX)) as u32
}

#[expect(clippy::disallowed_methods, reason = "a driver gives its core the time")]
fn clock() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a driver gives its core the time of day")]
fn time_of_day() -> SystemTime {
    SystemTime::now()
}

/// Pairs of ports that each relay thread binds on each address before it is ready.
const WARM: u16 = 64;
/// After so many tasks the sockets are looked at, also while there is always something to do. A busy turn of the
/// driver takes milliseconds, and what has come in on a connection must not wait for dozens of them.
const EVENT_INTERVAL: u32 = 4;
/// How long a released pair rests before another call gets it, while others are free.
const REST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// An edge, a realm, a trunk and a tenant; no file that it names exists.
    pub(super) fn example() -> Config {
        crate::routing::tests::config()
    }

    #[test]
    fn the_epoch_grows_and_fits() {
        let second = |n| epoch(UNIX_EPOCH + Duration::from_secs(n));
        assert!(second(1_800_000_000) < second(1_800_000_001));
        assert_eq!(second(u64::from(u32::MAX) + 5), 4);
    }
}
