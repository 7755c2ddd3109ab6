//! What the machine's host took for itself: while others run on its processors, nothing of ours does, and no figure of that
//! time says anything of the gateway.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

/// Time for which our processors were taken away since the machine started, all together (proc(5), `/proc/stat`: steal).
///
/// # Errors
/// When the kernel does not tell.
pub fn stolen() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let ticks = ticks(&text).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Duration::from_millis(ticks * 1000 / clock_ticks_per_second().max(1)))
}

fn ticks(text: &str) -> Option<u64> {
    let all = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    all.split_ascii_whitespace().nth(7)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eighth_column_is_what_was_stolen() {
        let text =
            "cpu  377085 320044 67328 139251 2822 0 1305 12473 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        assert_eq!(ticks(text), Some(12_473));
        assert_eq!(ticks("cpu0 1 2 3 4 5 6 7 8 0 0\n"), None);
        assert!(stolen().is_ok());
    }
}
