//! A scratch directory with the examples, certificates for their names and a file where music is named.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use config::{Config, Faults, Loaded, Surroundings, load_in};
use tempfile::TempDir;

/// The examples, copied, with certificates beside them.
pub(crate) struct Scratch {
    dir: TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(Path::new("examples"), dir.path());
        std::fs::create_dir(dir.path().join("certs")).unwrap();
        let scratch = Self { dir };
        let (certificate, key) = key_of_environment();
        scratch.pair("sbc", certificate, key);
        scratch.certificate("gov", "gov.example.com");
        scratch.write("certs/carriers.pem", certificate);
        scratch.write("hold.wav", "");
        scratch
    }

    /// Makes a certificate for `base` and `*.base` with its key.
    pub(crate) fn certificate(&self, name: &str, base: &str) {
        let (certificate, key) = make(base);
        self.pair(name, &certificate, &key);
    }

    fn pair(&self, name: &str, certificate: &str, key: &str) {
        self.write(&format!("certs/{name}.pem"), certificate);
        self.write(&format!("certs/{name}.key"), key);
        let path = self.path(&format!("certs/{name}.key"));
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Replaces text that must be there.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, text.replacen(from, to, 1));
    }

    pub(crate) fn load(&self, name: &str) -> Result<Loaded, Faults> {
        load_in(&self.path(name), &surroundings())
    }

    pub(crate) fn config(&self, name: &str) -> Config {
        self.load(name).unwrap_or_else(|faults| panic!("{faults}")).config
    }
}

/// Today, two cores, and a key in the environment.
pub(crate) fn surroundings() -> Surroundings {
    Surroundings { now: SystemTime::now(), node: "host".to_owned(), cores: 4, variable }
}

fn variable(name: &str) -> Option<String> {
    (name == "TRUNKGATE_TLS_KEY").then(|| key_of_environment().1.clone())
}

/// The key that also stands in the environment, and its certificate.
fn key_of_environment() -> &'static (String, String) {
    static PAIR: OnceLock<(String, String)> = OnceLock::new();
    PAIR.get_or_init(|| make("sbc.example.com"))
}

fn make(base: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec![base.to_owned(), format!("*.{base}")];
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
