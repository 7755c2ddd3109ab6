//! What was found, as text, as JSON, and as the page docs/teams-conformance.md: the same for the same SBC in each run.

use std::fmt::Write;

use super::rule::{Rule, rules};

/// The verdict on one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The SBC does what the rule demands.
    Kept,
    /// It does not, for this reason.
    Broken(String),
    /// That could not be seen, for this reason.
    NotJudged(String),
}

impl Verdict {
    const fn word(&self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Broken(_) => "broken",
            Self::NotJudged(_) => "not judged",
        }
    }

    fn why(&self) -> &str {
        match self {
            Self::Kept => "",
            Self::Broken(why) | Self::NotJudged(why) => why,
        }
    }
}

/// One step of a play, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// What was sent.
    Sent(String),
    /// What came back.
    Came(String),
}

impl Step {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Sent(what) => ("sent", what),
            Self::Came(what) => ("came", what),
        }
    }
}

/// One rule, played.
pub struct Entry {
    /// The rule.
    pub rule: &'static Rule,
    /// What was sent and what came back.
    pub steps: Vec<Step>,
    /// Kept or not.
    pub verdict: Verdict,
    /// The messages of a broken one's calls.
    pub ladder: Option<String>,
}

impl Entry {
    pub(crate) fn unseen(rule: &'static Rule, why: &str) -> Self {
        let verdict = Verdict::NotJudged(why.to_owned());
        Self { rule, steps: Vec::new(), verdict, ladder: None }
    }

    /// Number, verdict, title.
    #[must_use]
    pub fn line(&self) -> String {
        let Rule { number, title, .. } = self.rule;
        let why = self.verdict.why();
        let colon = if why.is_empty() { "" } else { ": " };
        format!("TR-{number:03} {:<10} {title}{colon}{why}", self.verdict.word())
    }
}

impl Entry {
    /// The same, and the ladder of its calls where the rule is broken.
    #[must_use]
    pub fn whole(&self) -> String {
        let ladder = self.ladder.as_deref().unwrap_or_default();
        format!("{}\n{ladder}", self.line())
    }
}

/// All that were played.
pub struct Report {
    /// In the order of their numbers.
    pub entries: Vec<Entry>,
    /// The SBC is our own gateway, whose tests have names.
    pub own: bool,
}

impl Report {
    /// No rule is broken.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        !self.entries.iter().any(|entry| matches!(entry.verdict, Verdict::Broken(_)))
    }

    /// How many were kept, broken, not judged.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        let count = |word: &str| self.entries.iter().filter(|it| it.verdict.word() == word).count();
        ["kept", "broken", "not judged"].map(count)
    }

    /// For people at a terminal; with the messages of what is broken.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            line(&mut text, &entry.line());
            for (what, words) in entry.steps.iter().map(Step::parts) {
                line(&mut text, &format!("       {what}: {words}"));
            }
            if let Some(test) = entry.rule.shown_by.filter(|_| self.own) {
                line(&mut text, &format!("       test: {test}"));
            }
            if let Some(ladder) = &entry.ladder {
                line(&mut text, &format!("\n{ladder}"));
            }
        }
        line(&mut text, &self.summary());
        text
    }

    fn summary(&self) -> String {
        let [kept, broken, not_judged] = self.counts();
        format!("{kept} rules kept, {broken} broken, {not_judged} not judged.")
    }

    /// For programs: an array of objects.
    #[must_use]
    pub fn json(&self) -> String {
        let objects: Vec<String> = self.entries.iter().map(|entry| self.object(entry)).collect();
        format!("[\n{}\n]\n", objects.join(",\n"))
    }

    fn object(&self, entry: &Entry) -> String {
        let steps: Vec<String> = entry
            .steps
            .iter()
            .map(Step::parts)
            .map(|(what, words)| format!("{{\"{what}\": {}}}", quoted(words)))
            .collect();
        let test = entry.rule.shown_by.filter(|_| self.own);
        format!(
            "  {{\"rule\": \"TR-{:03}\", \"title\": {}, \"steps\": [{}], \"verdict\": \"{}\", \"reason\": {}, \"ladder\": {}, \"test\": {}}}",
            entry.rule.number,
            quoted(entry.rule.title),
            steps.join(", "),
            entry.verdict.word(),
            quoted(entry.verdict.why()),
            entry.ladder.as_deref().map_or("null".to_owned(), quoted),
            test.map_or("null".to_owned(), quoted),
        )
    }

    /// The page.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from(HEAD);
        line(&mut text, &self.summary());
        line(&mut text, "");
        line(&mut text, "| rule | demands | verdict |");
        line(&mut text, "|---|---|---|");
        for entry in &self.entries {
            let Rule { number, title, .. } = entry.rule;
            let word = entry.verdict.word();
            line(
                &mut text,
                &format!("| [TR-{number:03}](#tr-{number:03}) | {} | {word} |", cell(title)),
            );
        }
        for entry in &self.entries {
            line(
                &mut text,
                &format!("\n## TR-{:03}\n\n{}.\n", entry.rule.number, entry.rule.title),
            );
            for (what, words) in entry.steps.iter().map(Step::parts) {
                line(&mut text, &format!("- {what}: {words}"));
            }
            let why = entry.verdict.why();
            let colon = if why.is_empty() { "" } else { ": " };
            line(&mut text, &format!("- **{}**{colon}{why}", entry.verdict.word()));
            if let Some(test) = entry.rule.shown_by.filter(|_| self.own) {
                line(&mut text, &format!("- test: `{test}`"));
            }
        }
        text
    }
}

/// The rules without verdicts, for `--list`.
#[must_use]
pub fn list() -> String {
    let mut text = String::new();
    for rule in rules() {
        let played = if rule.when().is_some() { "played" } else { "not seen from outside" };
        line(&mut text, &format!("TR-{:03} {} ({played})", rule.number, rule.title));
    }
    text
}

fn line(text: &mut String, words: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{words}");
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// A JSON string (RFC 8259 §7).
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

const HEAD: &str = "# The rules of Teams Direct Routing, as trunkgate keeps them

Written by `trunkgate lab conformance --markdown docs/teams-conformance.md`, which plays each rule on the wire between a fake
Teams, fake trunks and a gateway of this build, and reads what was captured; a test compares this page with what it finds now.
The same command with `--target` judges any other SBC. What cannot be seen from outside says why, and names the test that
shows it.

";

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: Verdict) -> Report {
        let steps = vec![Step::Sent("a \"word\"".to_owned()), Step::Came("b".to_owned())];
        let entry = Entry { rule: rules()[1], steps, verdict, ladder: Some("->".to_owned()) };
        Report { entries: vec![entry, Entry::unseen(rules()[75], "live")], own: true }
    }

    #[test]
    fn a_broken_rule_shows_in_every_form_and_what_is_not_judged_breaks_nothing() {
        let kept = report(Verdict::Kept);
        assert!(kept.is_ok() && kept.counts() == [1, 0, 1]);
        let broken = report(Verdict::Broken("no Contact".to_owned()));
        assert!(!broken.is_ok());
        let text = broken.text();
        assert!(
            text.contains("TR-002 broken") && text.contains("no Contact") && text.contains("->")
        );
        assert!(
            text.contains("sent: a \"word\"")
                && text.ends_with("0 rules kept, 1 broken, 1 not judged.\n")
        );
        let json = broken.json();
        assert!(
            json.contains("\"verdict\": \"broken\"") && json.contains("a \\\"word\\\""),
            "{json}"
        );
        let page = broken.markdown();
        assert!(page.contains("- **broken**: no Contact") && !page.contains("->"), "{page}");
        assert!(page.contains("- **not judged**: live"));
        assert_eq!(list().lines().count(), 76);
    }
}
