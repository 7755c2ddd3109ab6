//! A provider's configuration: a thousand tenants in a thousand files, read, compared and looked up; and the whole
//! process from its start to the end of `check`, and to `ready`, each of which must take less than a second.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benches::peer::Gateway;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use lab::pki::{Leaf, Pki};

const TENANTS: usize = 1000;
const LONGEST: Duration = Duration::from_secs(1);

/// Four shared carriers; each tenant with a block, and every tenth with a list of 200 numbers and a PBX of its own.
fn write(dir: &Path) {
    let pki = Pki::create(&dir.join("pki")).expect("a PKI");
    let own = pki.issue("sbc", &Leaf::gateway("sbc.test")).expect("a certificate");
    fs::create_dir_all(dir.join("tenants.d")).expect("a directory");
    let mut main = format!(
        r#"schema = 1
[gateway]
node = "bench"
fqdn = "sbc.test"
[tls]
certificate = "{}"
key = "{}"
[teams]
listen = "127.0.9.11:5061"
proxies = ["sip.teams.test"]
certificate_names = ["sip.teams.test"]
roots = "{}"
networks = ["127.0.9.0/24"]
[carrier]
listen = ["udp:127.0.9.10:5060"]
[media]
teams = {{ address = "127.0.9.11", ports = "20000-20999" }}
carrier = {{ address = "127.0.9.10", ports = "20000-20999" }}
workers = 1
[dns]
hosts = {{ "sip.teams.test" = ["127.0.9.20"] }}
"#,
        own.certificate.display(),
        own.key.display(),
        pki.roots_path().display(),
    );
    for carrier in 0..4 {
        let _ = write!(
            main,
            "[[trunk]]\nname = \"carrier-{carrier}\"\npeers = [\"udp:127.0.9.{}\"]\nnetworks = [\"127.0.9.{}/32\"]\n",
            50 + carrier,
            50 + carrier,
        );
    }
    fs::write(dir.join("gateway.toml"), main).expect("the main file");
    for tenant in 0..TENANTS {
        fs::write(dir.join(format!("tenants.d/t{tenant:04}.toml")), text(dir, tenant))
            .expect("a file");
    }
}

fn text(dir: &Path, tenant: usize) -> String {
    let mut numbers = format!("\"+1555{:07}-+1555{:07}\"", tenant * 1000, tenant * 1000 + 999);
    let mut own = String::new();
    if tenant.is_multiple_of(10) {
        let list: String =
            (0..200).map(|n| format!("+4420{:08}\n", 70_000_000 + tenant * 1000 + n * 2)).collect();
        fs::write(dir.join(format!("tenants.d/t{tenant:04}.csv")), list).expect("a list");
        let _ = write!(numbers, ", {{ file = \"t{tenant:04}.csv\" }}");
        own = format!(
            "[[trunk]]\nname = \"pbx-{tenant}\"\npeers = [\"udp:127.1.{}.{}\"]\nnetworks = [\"127.1.{}.{}/32\"]\n",
            tenant / 250,
            tenant % 250 + 1,
            tenant / 250,
            tenant % 250 + 1,
        );
    }
    format!(
        "[tenant]\nname = \"t{tenant:04}\"\nlabel = \"t{tenant:04}\"\ntrunks = [\"carrier-{}\"]\nnumbers = [{numbers}]\nmax_calls = 50\n{own}",
        tenant % 4,
    )
}

fn configuration(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path());
    let path = dir.path().join("gateway.toml");
    for command in ["check", "run"] {
        let times: Vec<Duration> = (0..3).map(|_| process(&path, command)).collect();
        let best = times.iter().min().expect("three");
        eprintln!("trunkgate {command}, {TENANTS} tenants: {times:.0?}");
        assert!(*best < LONGEST, "{command} takes {best:?}");
    }
    let load = || config::load(&path).unwrap_or_else(|faults| panic!("{faults}"));
    let mut group = c.benchmark_group("configuration");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    group.bench_function("read", |b| b.iter(load));
    let before = load();
    let mut after = load();
    after.config.tenants[500].limits.all.calls = None;
    group.bench_function("diff", |b| {
        b.iter(|| black_box(config::diff(&before.config, &after.config)).len());
    });
    group.bench_function("look again", |b| {
        let files = config::read(&path).files;
        b.iter(|| black_box(files.look_again() == files));
    });
    group.bench_function("drop", |b| {
        b.iter_batched(load, drop, BatchSize::PerIteration);
    });
    group.finish();
}

/// From the start of the process to the end of `check`, or to the word `ready`.
fn process(config: &Path, command: &str) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "it is what is measured")]
    let now = Instant::now;
    let began = now();
    let mut child = Command::new(Gateway::binary())
        .args([command, "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary of this build");
    let mut first = String::new();
    let out = child.stdout.take().expect("piped");
    let _ = BufReader::new(out).read_line(&mut first);
    let took = if command == "run" { now() - began } else { Duration::ZERO };
    if command == "run" {
        assert_eq!(first, "ready\n");
        let _ = child.kill();
    }
    let status = child.wait().expect("its end");
    if command == "run" {
        return took;
    }
    assert!(status.success(), "{first}");
    now() - began
}

criterion_group!(benches, configuration);
criterion_main!(benches);
