//! trunkgate as it is run: the binary, a configuration, CDRs and the INFO log on.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::Process;
use super::{Server, Site};
use crate::load::{DOMAIN, FQDN, Load};

/// The running gateway.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    dir: PathBuf,
}

impl Gateway {
    /// The binary: `TRUNKGATE_BIN`, or the one of this build.
    #[must_use]
    pub fn binary() -> PathBuf {
        if let Some(path) = std::env::var_os("TRUNKGATE_BIN") {
            return path.into();
        }
        let own = std::env::current_exe().unwrap_or_default();
        // <target>/<profile>/load, or <target>/<profile>/deps/gateway-<hash>
        let beside = own.ancestors().skip(1).take(2).map(|dir| dir.join("trunkgate"));
        beside.filter(|path| path.exists()).last().unwrap_or_else(|| "trunkgate".into())
    }

    /// How long it is left alone once it is connected.
    pub const SETTLED: Duration = Duration::from_millis(500);

    /// Starts it for `site` and waits until calls can be made.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(binary: &Path, site: &Site, load: &mut Load) -> io::Result<Self> {
        let config = configure(&site.dir.join("trunkgate"), site, "info")?;
        Self::run(binary, &config, load)
    }

    /// Starts it with a configuration and waits until calls can be made.
    ///
    /// # Errors
    /// When it does not start.
    pub fn run(binary: &Path, config: &Path, load: &mut Load) -> io::Result<Self> {
        let dir = config.parent().unwrap_or(config).to_owned();
        let log = dir.join("trunkgate.log");
        let arguments = ["run", "--config", &config.to_string_lossy()];
        let process = Process::start(binary, &arguments, &log)?;
        let mut gateway = Self { process, dir };
        // A second as a rule; a minute under an instrument.
        for _ in 0..600 {
            load.idle(Duration::from_millis(100))?;
            if load.is_connected() {
                // The answer to its OPTIONS arrives.
                load.idle(Self::SETTLED)?;
                return Ok(gateway);
            }
            if !gateway.process.is_running() {
                break;
            }
        }
        let mut said = String::new();
        let _ = fs::File::open(&log)?.read_to_string(&mut said);
        Err(io::Error::other(format!("trunkgate does not start:\n{said}")))
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Reloads that came into force so far, by its log.
    #[must_use]
    pub fn reloads(&self) -> f64 {
        let log = fs::read_to_string(self.dir.join("trunkgate.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains("reload: in force")).count() as f64
    }

    /// CDRs written so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        let files = fs::read_dir(self.dir.join("state/cdr")).into_iter().flatten();
        let lines = |path: PathBuf| {
            let text = fs::read(path).unwrap_or_default();
            memchr::memchr_iter(b'\n', &text).count() as u64
        };
        files.filter_map(|entry| Some(lines(entry.ok()?.path()))).sum()
    }
}

impl Server for Gateway {
    fn cpu(&self) -> Duration {
        self.process.cpu()
    }

    fn resident(&self) -> u64 {
        self.process.resident()
    }
}

/// Writes the configuration of one tenant and one UDP trunk, as the load generator speaks to them: its path. The state is
/// beside it, in `state`.
///
/// # Errors
/// When files cannot be written.
pub fn configure(dir: &Path, site: &Site, level: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(dir.join("tenants.d"))?;
    fs::write(dir.join("tenants.d/t001.toml"), TENANT)?;
    let config = dir.join("trunkgate.toml");
    fs::write(&config, text(site, level))?;
    Ok(config)
}

fn text(site: &Site, level: &str) -> String {
    let place = site.place;
    let (edge, realm, proxy) = (place.edge(), place.realm(), place.proxy());
    format!(
        r#"schema = 1

[gateway]
node = "bench"
fqdn = "{FQDN}"
state = "state"
tenants = "tenants.d"

[log]
level = "{level}"

[tls]
certificate = "{certificate}"
key = "{key}"

[teams]
listen = "{edge}"
proxies = ["sip.{DOMAIN}"]
port = {port}
certificate_names = ["sip.{DOMAIN}"]
roots = "{roots}"
networks = ["{network}"]

[carrier]
listen = ["udp:{realm}"]

[media]
teams = {{ address = "{teams_media}", ports = "20000-27999" }}
carrier = {{ address = "{carrier_media}", ports = "20000-27999" }}
workers = 1

[admin]
listen = "{admin}"

[dns]
hosts = {{ "sip.{DOMAIN}" = ["{proxy_ip}"] }}

[[trunk]]
name = "carrier-a"
peers = ["udp:{carrier}"]
networks = ["{carrier_ip}/32"]
"#,
        certificate = site.server.0.display(),
        key = site.server.1.display(),
        port = proxy.port(),
        roots = site.roots.display(),
        network = place.network(),
        teams_media = edge.ip(),
        carrier_media = realm.ip(),
        admin = place.control(8080),
        proxy_ip = proxy.ip(),
        carrier = place.carrier(),
        carrier_ip = place.carrier().ip(),
    )
}

const TENANT: &str = "[tenant]\nname = \"t001\"\nlabel = \"t001\"\ntrunks = [\"carrier-a\"]\n\
                      numbers = [\"+15550010000-+15550019999\"]\n";
