//! What the ends of many calls sent and received, as it was on the wire: libsrtp judges it afterwards, over all lives of
//! the gateway.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::media::Crypto;
use super::peer::{peers_dir, python};

/// All records in one file, in the order in which they came to be.
pub struct Tape {
    path: PathBuf,
    file: Arc<Mutex<BufWriter<File>>>,
}

/// Where one end of a call is recorded.
#[derive(Clone)]
pub struct Track {
    file: Arc<Mutex<BufWriter<File>>>,
    call: u16,
    secure: bool,
}

/// What must hold for a call.
pub struct Judged {
    pub call: usize,
    /// What the secure end sends with, and what it receives with.
    pub own: Crypto,
    pub theirs: Crypto,
    /// How many deaths of the gateway it outlived.
    pub lives: usize,
    /// So many packets at least, each way, before the first death and after each that it outlived.
    pub least: usize,
}

/// What libsrtp found. Had anything been wrong, [`Tape::judge`] would have failed.
#[derive(Debug)]
pub struct Verdict {
    pub packets: u64,
    /// The fewest reports that an end of a call received.
    pub reports: u64,
    /// By how much a sequence went forward at most from one life to the next.
    pub jump: u64,
    /// The smallest number of packets of a call one way in one life.
    pub least: u64,
}

const SECURE: u8 = 1;
const RECEIVED: u8 = 2;
const DIED: u8 = 4;
const REKEYED: u8 = 8;

impl Tape {
    pub fn new(path: &Path) -> Self {
        let file = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
        Self { path: path.to_owned(), file: Arc::new(Mutex::new(file)) }
    }

    pub fn track(&self, call: usize, secure: bool) -> Track {
        Track { file: Arc::clone(&self.file), call: u16::try_from(call).unwrap(), secure }
    }

    /// What is received from now on was sent by another life of the gateway.
    pub fn died(&self) {
        write(&self.file, u16::MAX, DIED, &[]);
    }

    /// When no end speaks any more.
    pub fn judge(self, calls: &[Judged]) -> Verdict {
        self.judged(calls).unwrap_or_else(|why| panic!("verify_tape: {why}"))
    }

    /// The same; `Err` says what is wrong.
    pub fn judged(self, calls: &[Judged]) -> Result<Verdict, String> {
        self.file.lock().unwrap().flush().unwrap();
        let wanted: Vec<Value> = calls
            .iter()
            .map(|judged| {
                assert_eq!(judged.own.suite, judged.theirs.suite);
                json!({
                    "call": judged.call, "suite": judged.own.suite, "own": judged.own.key,
                    "theirs": judged.theirs.key, "lives": judged.lives, "least": judged.least,
                })
            })
            .collect();
        let output = Command::new(python())
            .arg(peers_dir().join("verify_tape.py"))
            .arg(&self.path)
            .arg(Value::from(wanted).to_string())
            .output()
            .expect("python");
        let text = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("{text}{said}"));
        }
        let found: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let [packets, reports, jump, least] =
            ["packets", "reports", "jump", "least"].map(|name| found[name].as_u64().unwrap());
        Ok(Verdict { packets, reports, jump, least })
    }
}

impl Track {
    pub fn sent(&self, bytes: &[u8]) {
        self.keep(0, bytes);
    }

    pub fn received(&self, bytes: &[u8]) {
        self.keep(RECEIVED, bytes);
    }

    /// The secure end sends under this key (base64) from now on.
    pub fn rekeyed(&self, key: &str) {
        write(&self.file, self.call, REKEYED, key.as_bytes());
    }

    fn keep(&self, kind: u8, bytes: &[u8]) {
        write(&self.file, self.call, kind | if self.secure { SECURE } else { 0 }, bytes);
    }
}

fn write(file: &Mutex<BufWriter<File>>, call: u16, kind: u8, bytes: &[u8]) {
    let mut file = file.lock().unwrap();
    let length = u16::try_from(bytes.len()).expect("a datagram").to_le_bytes();
    let [low, high] = call.to_le_bytes();
    file.write_all(&[low, high, kind, length[0], length[1]]).unwrap();
    file.write_all(bytes).unwrap();
}
