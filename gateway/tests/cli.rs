//! The command line from outside: exit codes, what goes to stdout and what to stderr, start and
//! stop.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a panic is a failed test"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn version_and_help_are_data() {
    for arguments in [&["version"][..], &["--version"], &["--help"], &["run", "--help"]] {
        let output = trunkgate(arguments);
        assert_eq!(code(&output), 0, "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{arguments:?}");
    }
    let output = trunkgate(&["version"]);
    assert_eq!(text(&output.stdout), format!("trunkgate {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_command_line_is_64_and_explained_on_stderr() {
    let wrong = [
        &[][..],
        &["fly"],
        &["run", "--fast"],
        &["run", "--config"],
        &["check", "--effective", "--schema"],
        &["check", "--effective", "--json"],
    ];
    for arguments in wrong {
        let output = trunkgate(arguments);
        assert_eq!(code(&output), 64, "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn profiles_are_listed_and_printed() {
    let output = trunkgate(&["profiles"]);
    assert_eq!((code(&output), text(&output.stderr)), (0, String::new()));
    let names: Vec<String> = text(&output.stdout)
        .lines()
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["generic", "sipconnect", "sipconnect-registration", "ims", "pbx"]);
    for name in &names {
        let output = trunkgate(&["profiles", name]);
        assert_eq!(code(&output), 0);
        let printed = text(&output.stdout);
        assert!(printed.contains(&format!("\n[[profile]]\nname = \"{name}\"\n")), "{printed}");
    }
    let output = trunkgate(&["profiles", "imz"]);
    assert_eq!(code(&output), 64);
    assert!(output.stdout.is_empty() && text(&output.stderr).contains("there are generic,"));
}

#[test]
fn a_good_configuration_is_0_and_says_how_many_calls_fit() {
    let scene = Scene::new(1);
    let output = scene.check(&[]);
    assert_eq!((code(&output), text(&output.stderr)), (0, String::new()));
    let said = text(&output.stdout);
    assert!(said.contains("1 edge, 1 realm, 1 trunk, 1 tenant"), "{said}");
    assert!(said.contains("media ports allow 50;"), "{said}");
}

#[test]
fn check_opens_no_port() {
    let scene = Scene::new(2);
    let _taken = TcpListener::bind(scene.edge()).unwrap();
    assert_eq!(code(&scene.check(&[])), 0);
}

#[test]
fn the_effective_configuration_is_the_configuration() {
    let scene = Scene::new(3);
    let output = scene.check(&["--effective"]);
    assert_eq!(code(&output), 0);
    let said = text(&output.stdout);
    assert!(said.contains("options_interval = \"60s\""), "{said}");
    assert!(said.contains("t001"), "{said}");
}

#[test]
fn the_schema_needs_no_file() {
    let output = trunkgate(&["check", "--schema", "--config", "/nowhere.toml"]);
    assert_eq!(code(&output), 0);
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema["properties"]["gateway"].is_object(), "{schema:#}");
}

#[test]
fn a_bad_configuration_is_78_with_file_line_and_snippet() {
    let scene = Scene::new(4);
    scene.append("gateway.toml", "[admim]\n");
    scene.append("tenants.d/t001.toml", "max_cals = 3\n");
    for output in [scene.check(&[]), scene.check(&["--effective"]), scene.run_to_end()] {
        assert_eq!(code(&output), 78);
        assert!(output.stdout.is_empty());
        let said = text(&output.stderr);
        for part in ["gateway.toml:", "[admim]", "t001.toml:", "max_cals"] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }
}

/// What a file of music holds is judged with everything else, at the places that name it.
#[test]
fn music_that_cannot_be_played_is_78_with_file_line_and_snippet() {
    let scene = Scene::new(11);
    fs::write(scene.path("hold.wav"), "an MP3, perhaps").unwrap();
    scene.append("gateway.toml", "hold_music = \"hold.wav\"\n");
    scene.append("tenants.d/t001.toml", "hold_music = \"../hold.wav\"\n");
    let expected = "  × hold.wav cannot be played: this is no WAV file: no RIFF tag found
    ╭─[gateway.toml:30:14]
 29 │ networks = [\"CLOUD/32\"]
 30 │ hold_music = \"hold.wav\"
    ·              ─────┬────
    ·                   ╰── this file
 31 │ 
    ╰────
  help: Save it as WAV with linear PCM, best 16 bits, mono, 8000 Hz: sox music.mp3 -b 16 -c 1 -r
        8000 music.wav

  × tenants.d/../hold.wav cannot be played: this is no WAV file: no RIFF tag found
   ╭─[tenants.d/t001.toml:6:14]
 5 │ numbers = [\"+442079460000\"]
 6 │ hold_music = \"../hold.wav\"
   ·              ──────┬──────
   ·                    ╰── this file
 7 │ 
   ╰────
  help: Save it as WAV with linear PCM, best 16 bits, mono, 8000 Hz: sox music.mp3 -b 16 -c 1 -r
        8000 music.wav

";
    let expected = expected.replace("CLOUD", &scene.address(4).to_string());
    for command in ["check", "run"] {
        let mut trunkgate = Command::new(env!("CARGO_BIN_EXE_trunkgate"));
        let trunkgate = trunkgate.args([command, "--config", "gateway.toml"]);
        let output = trunkgate.current_dir(&scene.directory).output().unwrap();
        assert_eq!((code(&output), text(&output.stderr)), (78, expected.clone()), "{command}");
    }
}

#[test]
fn faults_are_json_for_programs() {
    let scene = Scene::new(5);
    let output = scene.check(&["--json"]);
    assert_eq!(code(&output), 0);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["faults"], &said["calls"]["ports"]), (&Value::Array(vec![]), &50.into()));

    scene.append("gateway.toml", "[admim]\n");
    let output = scene.check(&["--json"]);
    assert_eq!(code(&output), 78);
    assert!(output.stderr.is_empty());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let place = &said["faults"][0]["places"][0];
    assert!(place["file"].as_str().unwrap().ends_with("gateway.toml"), "{said:#}");
    assert!(place["line"].as_u64().unwrap() > 10, "{said:#}");
}

#[test]
fn a_missing_file_or_key_is_78() {
    let scene = Scene::new(6);
    assert_eq!(code(&trunkgate(&["check", "--config", "/nowhere/gateway.toml"])), 78);
    assert_eq!(code(&trunkgate(&["run", "--config", "/nowhere/gateway.toml"])), 78);
    fs::write(scene.path("sbc.key"), "no key").unwrap();
    for output in [scene.check(&[]), scene.run_to_end()] {
        assert_eq!(code(&output), 78);
        assert!(text(&output.stderr).contains("sbc.key"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_taken_listener_is_1_and_named() {
    let scene = Scene::new(7);
    let _taken = UdpSocket::bind((scene.address(2), 5060)).unwrap();
    let output = scene.run_to_end();
    assert_eq!(code(&output), 1);
    assert!(output.stdout.is_empty());
    let said = text(&output.stderr);
    assert!(said.contains(&format!("{}:5060", scene.address(2))), "{said}");
}

#[test]
fn run_says_ready_serves_its_pages_reloads_and_ends_on_sigterm() {
    let scene = Scene::new(8);
    let mut gateway = scene.run();
    assert_eq!(gateway.line(), "ready\n");
    TcpStream::connect(scene.edge()).unwrap();
    let page = |path| get(scene.address(1), path);
    assert!(page("/live").starts_with("HTTP/1.1 200 "));
    // Nobody listens where the proxy should be.
    assert!((0..500).any(|_| page("/health").starts_with("HTTP/1.1 503 ")));
    assert!(page("/nothing").starts_with("HTTP/1.1 404 "));
    let figures = page("/metrics");
    for figure in
        ["trunkgate_calls_started_total 0", "trunkgate_active_calls 0", "trunkgate_losses_total{"]
    {
        assert!(figures.contains(figure), "{figure} in {figures}");
    }

    gateway.signal(Signal::HUP);
    let log = gateway.wait_for("reload: nothing has changed");
    assert!(page("/live").starts_with("HTTP/1.1 200 "), "{log}");

    let stopped = Instant::now();
    gateway.signal(Signal::TERM);
    let (code, rest) = gateway.end();
    assert_eq!((code, rest), (Some(0), String::new()), "nothing but `ready` on stdout");
    assert!(stopped.elapsed() < Duration::from_secs(5));
    assert!(scene.path("state/cdr").is_dir());
}

#[test]
fn sigint_ends_it_as_well() {
    let scene = Scene::new(9);
    let mut gateway = scene.run();
    gateway.line();
    gateway.signal(Signal::INT);
    assert_eq!(gateway.end().0, Some(0));
}

#[cfg(feature = "lab")]
#[test]
fn the_demo_goes_well() {
    let output = trunkgate(&["demo"]);
    let said = text(&output.stdout);
    assert_eq!(code(&output), 0, "{said}\n{}", text(&output.stderr));
    assert!(said.ends_with("The demo went well.\n"), "{said}");
}

#[cfg(feature = "lab")]
#[test]
fn one_end_alone_calls_another() {
    let scene = Scene::new(10);
    let [callee, caller] = [1, 2].map(|last| format!("{}:5060", scene.address(last)));
    let end = |own: &str, other: &str, more: &[&str]| {
        let arguments =
            ["lab", "carrier", "--transport", "udp", "--listen", own, "--gateway", other];
        Gateway::spawn(&[&arguments[..], more].concat(), &scene.path("log"))
    };
    let mut callee = end(&callee, &caller, &[]);
    assert!(callee.line().starts_with("listening on UDP"));
    let mut caller =
        end(&caller, &format!("{}:5060", scene.address(1)), &["--call", "+2", "--seconds", "1"]);
    let mut heard = String::new();
    while !heard.contains("a tone of 440 Hz") {
        heard += &caller.line();
    }
    for end in [&mut callee, &mut caller] {
        end.signal(Signal::TERM);
        assert_eq!(end.end().0, Some(0));
    }
}

fn trunkgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trunkgate")).args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// One page of the admin listener, with its head.
fn get(address: Ipv4Addr, path: &str) -> String {
    let mut stream = TcpStream::connect((address, 8080)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A good configuration in a directory of its own, on loopback addresses of its own.
struct Scene {
    directory: TempDir,
    number: u8,
}

impl Scene {
    fn new(number: u8) -> Self {
        let scene = Self { directory: tempfile::tempdir().unwrap(), number };
        scene.certificates();
        fs::create_dir(scene.path("tenants.d")).unwrap();
        let [admin, carrier, edge, cloud] = [1, 2, 3, 4].map(|last| scene.address(last));
        let gateway = format!(
            r#"
[gateway]
node = "a"
fqdn = "sbc.test"
state = "state"
tenants = "tenants.d"
[tls]
certificate = "sbc.pem"
key = "sbc.key"
[teams]
listen = "{edge}:5061"
proxies = ["sip.cloud.test"]
certificate_names = ["sip.cloud.test"]
roots = "ca.pem"
networks = ["127.0.0.0/8"]
[carrier]
listen = ["udp:{carrier}:5060", "tcp:{carrier}:5060"]
[media]
teams = {{ address = "{edge}", ports = "20000-20199" }}
carrier = {{ address = "{carrier}", ports = "20000-20099" }}
workers = 1
[admin]
listen = "{admin}:8080"
[dns]
hosts = {{ "sip.cloud.test" = ["{cloud}"] }}
[[trunk]]
name = "carrier-a"
peers = ["udp:{cloud}:5070"]
networks = ["{cloud}/32"]
"#
        );
        fs::write(scene.path("gateway.toml"), gateway).unwrap();
        let tenant = "[tenant]\nname = \"t001\"\nlabel = \"t001\"\ntrunks = [\"carrier-a\"]\n\
            numbers = [\"+442079460000\"]\n";
        fs::write(scene.path("tenants.d/t001.toml"), tenant).unwrap();
        scene
    }

    fn certificates(&self) {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["sbc.test".to_owned(), "*.sbc.test".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &ca).unwrap();
        fs::write(self.path("ca.pem"), ca.pem()).unwrap();
        fs::write(self.path("sbc.pem"), leaf.pem()).unwrap();
        fs::write(self.path("sbc.key"), key.serialize_pem()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(self.path("sbc.key"), mode).unwrap();
    }

    /// An address that no other scene and no other run of the tests uses.
    fn address(&self, last: u8) -> Ipv4Addr {
        let [.., middle, low] = std::process::id().to_be_bytes();
        Ipv4Addr::new(127, 64 | (middle & 0x3f), low, self.number * 8 + last)
    }

    fn edge(&self) -> (Ipv4Addr, u16) {
        (self.address(3), 5061)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn append(&self, name: &str, line: &str) {
        let mut file = fs::OpenOptions::new().append(true).open(self.path(name)).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }

    fn check(&self, more: &[&str]) -> Output {
        let config = self.path("gateway.toml");
        let config = config.to_str().unwrap();
        trunkgate(&[&["check", "--config", config], more].concat())
    }

    /// Runs a gateway that is expected not to start.
    fn run_to_end(&self) -> Output {
        trunkgate(&["run", "--config", self.path("gateway.toml").to_str().unwrap()])
    }

    fn run(&self) -> Gateway {
        let config = self.path("gateway.toml");
        Gateway::spawn(&["run", "--config", config.to_str().unwrap()], &self.path("log"))
    }
}

/// A running gateway; killed if the test fails.
struct Gateway {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    log: Box<Path>,
}

impl Gateway {
    fn spawn(arguments: &[&str], log: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_trunkgate"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(log).unwrap())
            .spawn();
        let mut child = child.unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out, log: log.into() }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{}", fs::read_to_string(&self.log).unwrap());
        line
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The log, once it contains this.
    fn wait_for(&self, part: &str) -> String {
        for _ in 0..500 {
            let log = fs::read_to_string(&self.log).unwrap();
            if log.contains(part) {
                return log;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no {part:?} in {}", fs::read_to_string(&self.log).unwrap());
    }

    /// Waits for its end: exit code, and what else it wrote to stdout.
    fn end(&mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Most often it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
