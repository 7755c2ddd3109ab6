//! What the fuzz targets do with bytes, one function for each thing that reads bytes of others.
//!
//! Each function reads, looks at everything that can be had from what was read, writes it again
//! where it can be written, and asserts what must hold whatever the bytes are. A panic, a failed
//! assertion, an overflow, a hang or a lot of memory is a find. `make fuzz` runs them under
//! libFuzzer; the test below runs the corpus, in which every find of the past stands as a file.

mod configuration;
mod glance;
mod media;
mod signalling;

pub use configuration::configuration;
pub use glance::glance;
pub use media::{rtcp, rtp, srtp};
pub use signalling::{auth, framing, message, sdp};

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A function under test, by the name of its folder.
    type Target = (&'static str, fn(&[u8]));

    const TARGETS: [Target; 9] = [
        ("message", message),
        ("glance", glance),
        ("sdp", sdp),
        ("auth", auth),
        ("framing", framing),
        ("rtp", rtp),
        ("rtcp", rtcp),
        ("srtp", srtp),
        ("configuration", configuration),
    ];

    #[test]
    fn what_was_found_once_stays_found() {
        for (name, target) in TARGETS {
            let count = run(&Path::new("corpus").join(name), target);
            assert!(count > 0, "no corpus for {name}");
        }
    }

    /// The torture messages belong to every target that reads SIP.
    #[test]
    fn torture_messages() {
        for folder in ["rfc4475", "rfc5118"] {
            let folder = Path::new("../../sip-stack/tests/torture").join(folder);
            for target in [message, glance, sdp, auth, framing] {
                assert!(run(&folder, target) > 0);
            }
        }
    }

    /// A few bytes of every kind to every target: also where the corpus has nothing.
    #[test]
    #[allow(clippy::cast_possible_truncation, reason = "bytes are what is wanted")]
    fn bytes_of_every_kind() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..2_000_usize {
            let bytes: Vec<u8> = (0..round % 97)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    (state >> 24) as u8
                })
                .collect();
            for (name, target) in TARGETS {
                if name != "configuration" || round % 20 == 0 {
                    target(&bytes);
                }
            }
        }
    }

    fn run(folder: &Path, target: fn(&[u8])) -> usize {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut count = 0;
        for entry in entries {
            let path = entry.unwrap().path();
            // Shown when the next line panics.
            println!("{}", path.display());
            target(&std::fs::read(&path).unwrap());
            count += 1;
        }
        count
    }
}
