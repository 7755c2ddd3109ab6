//! When files that changed are worth a reading: as soon as they are at rest, or have been in motion for a while.
//!
//! ```text
//! look finds          | not in motion          | in motion
//! --------------------+------------------------+---------------------------------------
//! what was read       | -                      | → not in motion
//! what the last found | read (→ not in motion) | read
//! something else      | → in motion            | read when it lasts too long, else wait
//! ```

use std::time::{Duration, Instant};

use config::Footprint;

/// Between two looks.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// Files that never rest are read all the same.
const LONGEST: Duration = Duration::from_secs(2);

/// The files of the last reading, and how they looked since.
#[derive(Debug)]
pub(super) struct Watch {
    read: Footprint,
    last: Footprint,
    moving_since: Option<Instant>,
}

impl Watch {
    /// They were just read.
    pub(super) fn new(read: Footprint) -> Self {
        Self { last: read.clone(), read, moving_since: None }
    }

    /// The files to look at.
    pub(super) const fn files(&self) -> &Footprint {
        &self.read
    }

    /// They look so now. True: read them.
    pub(super) fn look(&mut self, found: Footprint, now: Instant) -> bool {
        if found == self.read {
            (self.last, self.moving_since) = (found, None);
            return false;
        }
        let rests = found == self.last;
        let since = *self.moving_since.get_or_insert(now);
        self.last = found;
        rests || now.saturating_duration_since(since) >= LONGEST
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
mod tests {
    use std::path::Path;

    use super::*;

    /// A scratch file, and how it looks after each change.
    struct File(tempfile::TempDir, usize);

    impl File {
        fn look(&self) -> Footprint {
            self.read().look_again()
        }

        fn read(&self) -> Footprint {
            config::read(&self.path()).files
        }

        fn path(&self) -> std::path::PathBuf {
            self.0.path().join("gateway.toml")
        }

        fn change(&mut self) -> Footprint {
            self.1 += 1;
            std::fs::write(self.path(), vec![b'#'; self.1]).unwrap();
            self.look()
        }
    }

    #[test]
    fn files_are_read_when_they_rest_and_at_the_latest_after_two_seconds() {
        let mut file = File(tempfile::tempdir().unwrap(), 1);
        std::fs::write(file.path(), "#").unwrap();
        let mut now = Instant::now();
        let mut watch = Watch::new(file.read());
        assert!(watch.files().paths().any(|path| path.ends_with(Path::new("gateway.toml"))));
        assert!(!watch.look(file.look(), now), "nothing changed");
        let changed = file.change();
        assert!(!watch.look(changed.clone(), now), "it may still be written");
        assert!(watch.look(changed, now + LOOK), "it rests");

        watch = Watch::new(file.read());
        let mut looks = 0;
        while !watch.look(file.change(), now) {
            (now, looks) = (now + LOOK, looks + 1);
        }
        assert_eq!(looks, 4, "in motion for two seconds");
    }

    #[test]
    fn what_was_put_back_is_no_change() {
        let mut file = File(tempfile::tempdir().unwrap(), 1);
        let now = Instant::now();
        let missing = file.read();
        let mut watch = Watch::new(missing.clone());
        assert!(!watch.look(file.change(), now));
        std::fs::remove_file(file.path()).unwrap();
        assert!(!watch.look(file.look(), now + LOOK));
        assert_eq!(file.look(), missing);
        assert!(!watch.look(file.change(), now + LOOK * 9), "it moves anew");
    }
}
