//! The secret of a state directory: `state/key`, 32 random bytes, mode 0600, made at the first start.
//!
//! Keys for different purposes are derived from it by HMAC-SHA256 (RFC 2104) of a label, so that none of them
//! tells another. Every process of the directory has the same ones: what one wrote, the next can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

/// The secret.
pub struct StateKey(Zeroizing<[u8; LENGTH]>);

impl StateKey {
    /// Reads the key of this directory; makes both when they are missing.
    ///
    /// # Errors
    /// When the file cannot be read or made, or is no key of ours.
    pub fn open(state: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state)?;
        let path = state.join("key");
        match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => return read,
        }
        make(state, &path)?;
        read(&path)
    }

    /// The key for the purpose that this label names.
    pub fn derive(&self, label: &[u8]) -> Zeroizing<[u8; LENGTH]> {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0[..]), label);
        let mut key = Zeroizing::new([0; LENGTH]);
        key.copy_from_slice(tag.as_ref());
        key
    }

    /// Under which our identifiers show who made them ([`sip_stack::endpoint::Settings::mask`]).
    pub fn mask(&self) -> [u8; LENGTH] {
        *self.derive(b"mask")
    }

    /// Under which secrets lie in the journal.
    pub fn journal(&self) -> Zeroizing<[u8; LENGTH]> {
        self.derive(b"journal")
    }
}

impl std::fmt::Debug for StateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StateKey")
    }
}

fn read(path: &Path) -> io::Result<StateKey> {
    let mut key = Zeroizing::new([0; LENGTH]);
    let mut file = File::open(path)?;
    let whole = file.metadata()?.len() == LENGTH as u64;
    if !whole {
        let what = format!("{} is no key of {LENGTH} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    file.read_exact(&mut key[..])?;
    Ok(StateKey(key))
}

/// Written whole under another name first: neither a crash nor a second process leaves half a key or two.
fn make(state: &Path, path: &Path) -> io::Result<()> {
    let mut key = Zeroizing::new([0; LENGTH]);
    getrandom::fill(&mut key[..]).map_err(io::Error::from)?;
    let mut name = [0; 8];
    getrandom::fill(&mut name).map_err(io::Error::from)?;
    let draft = state.join(format!("key.{:016x}", u64::from_be_bytes(name)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file.write_all(&key[..]).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

const LENGTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_nobody_else_reads_it() {
        let scratch = tempfile::tempdir().unwrap();
        let state = scratch.path().join("new");
        let first = StateKey::open(&state).unwrap();
        let second = StateKey::open(&state).unwrap();
        assert_eq!(first.mask(), second.mask());
        assert_ne!(first.mask(), *first.journal());
        assert_ne!(StateKey::open(&scratch.path().join("other")).unwrap().mask(), first.mask());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&state.join("key"))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_broken_key_is_an_error_and_not_replaced() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("key"), b"short").unwrap();
        let error = StateKey::open(state.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(fs::read(state.path().join("key")).unwrap(), b"short");
    }

    #[test]
    fn many_at_once_get_one_key() {
        let state = tempfile::tempdir().unwrap();
        let masks: Vec<_> = std::thread::scope(|scope| {
            let opened: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| StateKey::open(state.path()).unwrap().mask()))
                .collect();
            opened.into_iter().map(|opened| opened.join().unwrap()).collect()
        });
        assert!(masks.iter().all(|mask| *mask == masks[0]));
    }

    #[test]
    fn a_derived_key_is_hmac_sha256_of_its_label() {
        // RFC 4231 §4.2 has a key of 20 bytes; this one was computed with another implementation.
        let key = StateKey(Zeroizing::new([0x0b; LENGTH]));
        let expected = "198a607eb44bfbc69903a0f1cf2bbdc5ba0aa3f3d9ae3c1c7a3b1696a0b68cf7";
        let hex: String = key.derive(b"Hi There").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, expected);
    }
}
