//! The configuration: bytes as the main file.

use std::cell::RefCell;
use std::time::SystemTime;

use config::{Surroundings, diff, effective, load_in};
use tempfile::TempDir;

thread_local! {
    /// One directory for each thread; it goes when the thread ends.
    static PLACE: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// `gateway.toml` in a directory of its own: good, or every fault explained.
///
/// # Panics
/// When what must hold does not.
pub fn configuration(bytes: &[u8]) {
    PLACE.with_borrow_mut(|place| {
        let place = place.get_or_insert_with(|| {
            // In memory where there is such a place: a file is written for each input.
            TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a directory")
        });
        let path = place.path().join("gateway.toml");
        std::fs::write(&path, bytes).expect("a file");
        let around = Surroundings {
            now: SystemTime::UNIX_EPOCH,
            node: "host".to_owned(),
            cores: 2,
            variable: |_| None,
        };
        match load_in(&path, &around) {
            Ok(loaded) => {
                loaded.warnings.render(false);
                effective(&loaded.config);
                assert_eq!(diff(&loaded.config, &loaded.config), []);
            }
            Err(faults) => {
                let explained =
                    |fault: &config::Fault| !fault.message.is_empty() && !fault.help.is_empty();
                assert!(faults.iter().all(explained), "a fault without words");
                let report = faults.render(false);
                let control = |char: char| char.is_control() && char != '\n' && char != '\t';
                assert!(!report.contains(control), "a control character in {report:?}");
            }
        }
    });
}
