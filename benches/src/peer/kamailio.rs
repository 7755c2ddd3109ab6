//! Kamailio, alone or with rtpengine in user space, for the same two ends.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::Process;
use super::{Server, Site};
use crate::load::{Direction, Load, Plan};

/// Kamailio, and rtpengine where media is anchored.
#[derive(Debug)]
pub struct Kamailio {
    processes: Vec<Process>,
}

/// Whether both are installed here (Debian: kamailio, kamailio-tls-modules, rtpengine).
#[must_use]
pub fn is_installed() -> bool {
    program("kamailio").is_some() && program("rtpengine").is_some()
}

impl Kamailio {
    /// Starts it for `site` and waits until calls can be made.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(site: &Site, media: bool, load: &mut Load) -> io::Result<Self> {
        let missing = || io::Error::other("kamailio or rtpengine is not installed");
        let dir = site.dir.join(if media { "kamailio-rtpengine" } else { "kamailio" });
        fs::create_dir_all(&dir)?;
        let place = site.place;
        let mut processes = Vec::new();
        let ng = place.control(2223).to_string();
        if media {
            let teams = format!("--interface=teams/{}", place.edge().ip());
            let carrier = format!("--interface=carrier/{}", place.realm().ip());
            let listen = format!("--listen-ng={ng}");
            let pid = format!("--pidfile={}", dir.join("rtpengine.pid").display());
            let arguments = [
                "--foreground",
                "--log-stderr",
                "--log-level=5",
                "--table=-1",
                "--port-min=20000",
                "--port-max=39999",
                "--num-threads=2",
                "--delete-delay=0",
                "--config-file=none",
                &carrier,
                &teams,
                &listen,
                &pid,
            ];
            let program = program("rtpengine").ok_or_else(missing)?;
            processes.push(Process::start(&program, &arguments, &dir.join("rtpengine.log"))?);
        }
        let tls = dir.join("tls.cfg");
        let text = TLS
            .replace("@KEY@", &site.server.1.to_string_lossy())
            .replace("@CERTIFICATE@", &site.server.0.to_string_lossy())
            .replace("@ROOTS@", &site.roots.to_string_lossy());
        fs::write(&tls, text)?;
        let config = dir.join("kamailio.cfg");
        let text = CONFIG
            .replace("@MEDIA@", if media { "" } else { "# " })
            .replace("@REALM@", &place.realm().to_string())
            .replace("@EDGE@", &place.edge().to_string())
            .replace("@PROXY@", &place.proxy().to_string())
            .replace("@CARRIER_IP@", &place.carrier().ip().to_string())
            .replace("@NG@", &ng)
            .replace("@TLS@", &tls.to_string_lossy());
        fs::write(&config, text)?;
        let log = dir.join("kamailio.log");
        let (config, runtime) = (config.to_string_lossy(), dir.to_string_lossy());
        let arguments =
            ["-DD", "-E", "-m", "512", "-M", "16", "-f", &config, "-Y", &runtime, "-w", &runtime];
        let program = program("kamailio").ok_or_else(missing)?;
        processes.push(Process::start(&program, &arguments, &log)?);
        let mut server = Self { processes };
        load.idle(Duration::from_secs(2))?;
        // Its first call opens the connection to the Teams end.
        let plan = Plan { direction: Direction::FromCarrier, ..Plan::new(5.0, FIRST) };
        for _ in 0..5 {
            if !server.processes.iter_mut().all(Process::is_running) {
                break;
            }
            let report = load.run(&plan)?;
            if report.answered == report.begun && report.byes_served == report.byes {
                return Ok(server);
            }
        }
        let mut said = String::new();
        let _ = fs::File::open(&log)?.read_to_string(&mut said);
        Err(io::Error::other(format!("kamailio carries no call:\n{said}")))
    }
}

impl Server for Kamailio {
    fn cpu(&self) -> Duration {
        self.processes.iter().map(Process::cpu).sum()
    }

    fn resident(&self) -> u64 {
        self.processes.iter().map(Process::resident).sum()
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let here = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    here.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())
}

const CONFIG: &str = include_str!("../../kamailio/kamailio.cfg");
const TLS: &str = include_str!("../../kamailio/tls.cfg");
const FIRST: Duration = Duration::from_secs(1);
