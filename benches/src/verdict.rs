//! What the figures must be: every bench ends with its bounds, each beside what was measured, and with a failure when one
//! was missed.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// Bounds and what was measured against them.
#[derive(Debug, Default)]
pub struct Verdicts {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    what: String,
    bound: String,
    seen: String,
    held: bool,
}

impl Verdicts {
    /// `seen` shall be below `bound`, both in `unit`. What was not measured is missed.
    pub fn below(&mut self, what: &str, seen: Option<f64>, bound: f64, unit: &str) {
        self.push(what, "<", seen, bound, unit, seen.is_some_and(|seen| seen < bound));
    }

    /// `seen` shall be `bound` or more, both in `unit`. What was not measured is missed.
    pub fn at_least(&mut self, what: &str, seen: Option<f64>, bound: f64, unit: &str) {
        self.push(what, ">=", seen, bound, unit, seen.is_some_and(|seen| seen >= bound));
    }

    fn push(
        &mut self,
        what: &str,
        sign: &str,
        seen: Option<f64>,
        bound: f64,
        unit: &str,
        held: bool,
    ) {
        let seen = seen.map_or("not measured".to_owned(), |seen| figure(seen, unit));
        let bound = format!("{sign} {}", figure(bound, unit));
        self.rows.push(Row { what: what.to_owned(), bound, seen, held });
    }

    /// Writes the table to stdout; a failure when anything was missed.
    pub fn conclude(self) -> ExitCode {
        let mut text =
            String::from("\n| bound | must be | measured | |\n| --- | ---: | ---: | --- |\n");
        for Row { what, bound, seen, held } in &self.rows {
            let word = if *held { "held" } else { "MISSED" };
            let _ = writeln!(text, "| {what} | {bound} | {seen} | {word} |");
        }
        let written = io::stdout().write_all(text.as_bytes());
        let held = self.rows.iter().all(|row| row.held);
        if held && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn figure(value: f64, unit: &str) -> String {
    // Enough digits that no rounding turns a miss into a hit.
    let digits = if value.abs() >= 1000.0 { 0 } else { 3 };
    format!("{value:.digits$} {unit}").trim_end().to_owned()
}

/// The mean time of one iteration in ns, as criterion left it under `directory`; `id` is `group/function`.
#[must_use]
pub fn nanoseconds(directory: &Path, id: &str) -> Option<f64> {
    let text = fs::read(directory.join(id).join("new/estimates.json")).ok()?;
    let estimates: serde_json::Value = serde_json::from_slice(&text).ok()?;
    estimates.get("mean")?.get("point_estimate")?.as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_held(of: impl Fn(&mut Verdicts)) -> bool {
        let mut verdicts = Verdicts::default();
        of(&mut verdicts);
        verdicts.conclude() == ExitCode::SUCCESS
    }

    #[test]
    fn one_bound_missed_is_a_failure() {
        assert!(is_held(|v| v.below("time", Some(0.299), 0.3, "ms")));
        assert!(!is_held(|v| v.below("time", Some(0.3), 0.3, "ms")));
        assert!(is_held(|v| v.at_least("rate", Some(2500.0), 2500.0, "/s")));
        assert!(!is_held(|v| {
            v.at_least("rate", Some(2499.0), 2500.0, "/s");
            v.below("time", Some(0.1), 0.3, "ms");
        }));
    }

    #[test]
    fn what_was_not_measured_is_missed() {
        assert!(!is_held(|v| v.below("time", None, 0.3, "ms")));
        assert_eq!(nanoseconds(Path::new("/nowhere"), "group/function"), None);
    }

    #[test]
    fn the_mean_is_read_as_criterion_writes_it() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let new = dir.path().join("group/function/new");
        fs::create_dir_all(&new).expect("a directory");
        let text =
            r#"{"mean":{"confidence_interval":{},"point_estimate":812.5,"standard_error":1.0}}"#;
        fs::write(new.join("estimates.json"), text).expect("a file");
        assert_eq!(nanoseconds(dir.path(), "group/function"), Some(812.5));
    }
}
