//! The table of rules: number, title, and how each is seen.

use std::pin::Pin;

use super::bench::{Bench, Judged};
use super::{
    answers, emergency, forms, identity, options, outside, provisional, sdp, session, tls,
    transfer, whole,
};

/// One rule of the table.
pub struct Rule {
    /// NNN of TR-NNN.
    pub number: u16,
    /// What it demands, in one line.
    pub title: &'static str,
    pub(crate) how: How,
    /// The test that shows of our own gateway what is not seen here.
    pub shown_by: Option<&'static str>,
}

/// A rule being played.
pub(crate) type Playing<'a> = Pin<Box<dyn Future<Output = Judged> + Send + 'a>>;

/// How a rule is seen.
pub(crate) enum How {
    /// By this play.
    Played { when: When, play: for<'a> fn(&'a mut Bench) -> Playing<'a> },
    /// Not from outside, for this reason.
    Unseen(&'static str),
}

/// When a rule is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// From the beginning, beside all others, for longer than they take.
    Throughout,
    /// Beside others.
    Any,
    /// After those, alone: it disturbs others.
    Alone,
    /// When everything has been captured.
    Last,
}

impl Rule {
    pub(crate) const fn played(
        number: u16,
        title: &'static str,
        play: for<'a> fn(&'a mut Bench) -> Playing<'a>,
    ) -> Self {
        Self { number, title, how: How::Played { when: When::Any, play }, shown_by: None }
    }

    pub(crate) const fn unseen(number: u16, title: &'static str, why: &'static str) -> Self {
        Self { number, title, how: How::Unseen(why), shown_by: None }
    }

    pub(crate) const fn at(mut self, at: When) -> Self {
        if let How::Played { when, .. } = &mut self.how {
            *when = at;
        }
        self
    }

    pub(crate) const fn shown_by(mut self, test: &'static str) -> Self {
        self.shown_by = Some(test);
        self
    }

    /// When it is played, if it is.
    pub(crate) const fn when(&self) -> Option<When> {
        match &self.how {
            How::Played { when, .. } => Some(*when),
            How::Unseen(_) => None,
        }
    }
}

/// All rules in the order of their numbers.
#[must_use]
pub fn rules() -> Vec<&'static Rule> {
    let chapters: [&'static [Rule]; 12] = [
        &options::RULES,
        &tls::RULES,
        &identity::RULES,
        &forms::RULES,
        &provisional::RULES,
        &answers::RULES,
        &session::RULES,
        &sdp::RULES,
        &transfer::RULES,
        &emergency::RULES,
        &outside::RULES,
        &whole::RULES,
    ];
    let mut all: Vec<&'static Rule> = chapters.into_iter().flatten().collect();
    all.sort_by_key(|rule| rule.number);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_stands_in_the_table_once() {
        let numbers: Vec<u16> = rules().iter().map(|rule| rule.number).collect();
        assert_eq!(numbers, (1..=76).collect::<Vec<u16>>());
    }

    #[test]
    fn what_is_not_seen_has_a_reason_and_a_test_or_is_of_later() {
        const LATER: [u16; 8] = [52, 54, 63, 64, 65, 66, 67, 76];
        for rule in rules() {
            if let How::Unseen(why) = &rule.how {
                assert!(!why.is_empty());
                assert_eq!(
                    rule.shown_by.is_none(),
                    LATER.contains(&rule.number),
                    "{}",
                    rule.number
                );
            }
        }
    }
}
