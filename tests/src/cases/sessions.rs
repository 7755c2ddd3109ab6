//! Calls that are changed while they go on, with PJSIP at both ends: refreshes, and holds in each form (TR-042, TR-044,
//! TR-050, TR-051). Both hear each other after each; libsrtp judges the whole call from the wire.

use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::harness::peer::Pjsip;
use crate::harness::stage::{Stage, hear_each_other, hold};

/// PJSIP's port of media.
const PJSIP_PORT: u16 = 43_000;

/// PJSIP refreshes, holds in each form and resumes, from either side, and both hear each other after each. With
/// `TRUNKGATE_CALL_MINUTES` for so long in real time (`make soak`: 30, beyond the 27 minutes and 2^16 packets). Over the
/// whole time every packet and report on either side decrypts, and what comes out is what went in.
#[test]
fn tr_042_tr_044_pjsip_refreshes_and_holds_for_as_long_as_it_likes() {
    let minutes = std::env::var("TRUNKGATE_CALL_MINUTES").map_or(0, |n| n.parse().unwrap());
    let limit = Duration::from_secs(120 + 120 * minutes);
    let mut stage = Stage::within("pjsip_refreshes", "udp", limit, |_| String::new());
    let mut carrier = stage.pjsip_calls_pjsip();
    for minute in 0..=minutes {
        refresh(&mut carrier, &mut stage.teams);
        refresh(&mut stage.teams, &mut carrier);
        if minute % 9 == 0 {
            for form in ["sendonly", "inactive", "null"] {
                hold(&mut carrier, &mut stage.teams, form);
                hold(&mut stage.teams, &mut carrier, form);
            }
        }
        if minute < minutes {
            thread::sleep(Duration::from_secs(60));
        }
    }
    stage.teams.hang_up();
    carrier.state("DISCONNECTED");
    stage.teams.state("DISCONNECTED");
    carrier.finish();
    let evidence = stage.end(1);
    let [record] = &evidence.records[..] else { panic!("{:?}", evidence.records) };
    for direction in record["media"].as_array().expect("media") {
        let count = |key: &str| direction[key].as_u64().expect(key);
        assert_eq!([count("refused"), count("lost")], [0, 0], "{record}");
    }
    let compared = evidence.media_is_equal(PJSIP_PORT, 700 + 2900 * minutes);
    for direction in &compared {
        // A report every five seconds, PJSIP's now and then later.
        assert!(direction.reports >= 2 + 8 * minutes, "{compared:?}");
    }
    let silent = ["carrier", "teams"]
        .map(|name| longest_quiet(&evidence.scene.dir().join(format!("{name}.wav"))));
    println!("{compared:?}; longest time without a sound in what each recorded: {silent:?}");
    // A hold lasts half a second.
    assert!(silent.iter().all(|time| *time < Duration::from_secs(2)), "{silent:?}");
}

/// The same SDP again, and both hear fifty packets more.
fn refresh(by: &mut Pjsip, other: &mut Pjsip) {
    by.resume("first");
    hear_each_other(by, other);
}

/// In a mono 16-bit WAV file, the longest time without a sample that is loud.
fn longest_quiet(wav: &Path) -> Duration {
    let file = std::fs::read(wav).unwrap();
    let rate = u32::from_le_bytes(file[24..28].try_into().unwrap());
    let data = file.windows(4).position(|bytes| bytes == b"data").unwrap() + 8;
    let loud = |sample: &[u8]| i16::from_le_bytes([sample[0], sample[1]]).unsigned_abs() > 1000;
    let (mut longest, mut quiet) = (0, 0);
    for sample in file[data..].chunks_exact(2) {
        quiet = if loud(sample) { 0 } else { quiet + 1 };
        longest = longest.max(quiet);
    }
    Duration::from_secs(longest) / rate
}
