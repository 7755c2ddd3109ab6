//! What may be done with each number that somebody has: most are in use, some wait, some rest.

use std::cmp::Reverse;

use crate::numbers::{Number, NumberRange, Numbers};

/// What a number is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NumberState {
    /// Use: it is called, and shown as a caller's.
    #[default]
    Active,
    /// Store: it is kept for its owner, and neither called nor shown yet.
    Reserved,
    /// Porting: as in use; but others in the house reach it by a trunk, since it may still be at another carrier.
    Porting,
    /// Quarantine: it was given back, and is neither called nor shown until it goes to somebody else.
    Quarantine,
}

/// The states of a set of numbers: whatever is not named here is active. Sorted ranges that do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct States(Box<[(NumberRange, NumberState)]>);

impl NumberState {
    /// Whether calls to it are taken, and it may be shown.
    pub const fn is_in_use(self) -> bool {
        match self {
            Self::Active | Self::Porting => true,
            Self::Reserved | Self::Quarantine => false,
        }
    }

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Reserved => "reserved",
            Self::Porting => "porting",
            Self::Quarantine => "quarantine",
        }
    }
}

impl States {
    /// Of ranges with their states, in any order. Of two that overlap the narrower one counts.
    pub fn new(numbers: impl Iterator<Item = (NumberRange, NumberState)>) -> Self {
        let mut numbers: Vec<_> = numbers.collect();
        if numbers.iter().all(|(_, state)| *state == NumberState::Active) {
            return Self::default();
        }
        numbers.sort_unstable_by_key(|(range, state)| (range.first, Reverse(range.last), *state));
        let mut sweep = Sweep::default();
        for (range, state) in numbers {
            sweep.come_to(Some(range.first));
            sweep.open.push((range.last, state));
            sweep.at = Some(range.first);
        }
        sweep.come_to(None);
        Self(sweep.done.into_boxed_slice())
    }

    /// The state of a number of the set.
    pub fn of(&self, number: Number) -> NumberState {
        let after = self.0.partition_point(|(range, _)| range.first <= number);
        let found = after.checked_sub(1).map(|at| self.0[at]);
        found.filter(|(range, _)| number <= range.last).map_or(NumberState::Active, |at| at.1)
    }

    /// The ranges that are not active.
    pub fn ranges(&self) -> &[(NumberRange, NumberState)] {
        &self.0
    }

    /// Whether all numbers are active.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The numbers of a set in pieces of one state each, in order.
    pub(crate) fn pieces(&self, numbers: &Numbers) -> Vec<(NumberRange, NumberState)> {
        let mut pieces = Vec::with_capacity(numbers.ranges().len());
        let mut states = self.0.iter().peekable();
        for range in numbers.ranges() {
            let mut next = Some(range.first);
            while let Some(first) = next {
                while states.next_if(|(passed, _)| passed.last < first).is_some() {}
                let (last, state) = match states.peek() {
                    Some((other, state)) if other.first <= first => {
                        (other.last.min(range.last), *state)
                    }
                    Some((other, _)) if other.first <= range.last => {
                        (other.first.before(), NumberState::Active)
                    }
                    Some(_) | None => (range.last, NumberState::Active),
                };
                pieces.push((NumberRange { first, last }, state));
                next = (last < range.last).then(|| last.after());
            }
        }
        pieces
    }
}

/// Goes through ranges in the order of their beginnings, the wider one first.
#[derive(Default)]
struct Sweep {
    /// The ends and states of the ranges around this place, from the outermost to the innermost.
    open: Vec<(Number, NumberState)>,
    /// The first number that stands in none of the pieces yet.
    at: Option<Number>,
    done: Vec<(NumberRange, NumberState)>,
}

impl Sweep {
    /// Makes pieces of everything before a number; of everything when there is none.
    fn come_to(&mut self, next: Option<Number>) {
        while let (Some((last, state)), Some(first)) = (self.open.last().copied(), self.at) {
            let before = next.filter(|next| *next <= last);
            if first <= last && before.is_none_or(|next| first < next) {
                self.piece(first, before.map_or(last, Number::before), state);
            }
            if before.is_some() {
                return;
            }
            self.open.pop();
            self.at = Some(first.max(last.after()));
        }
    }

    fn piece(&mut self, first: Number, last: Number, state: NumberState) {
        if state == NumberState::Active {
            return;
        }
        match self.done.last_mut() {
            Some((before, same)) if *same == state && before.last.after() == first => {
                before.last = last;
            }
            Some(_) | None => self.done.push((NumberRange { first, last }, state)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(first: &str, last: &str) -> NumberRange {
        let read = |text| Number::parse(text).unwrap();
        NumberRange { first: read(first), last: read(last) }
    }

    proptest! {
        /// The narrower range counts, wherever it stands: as a look at each range shows.
        #[test]
        fn the_narrower_range_counts(
            ranges in proptest::collection::vec((0_u64..100, 0_u64..20, 0_u8..4), 0..8),
        ) {
            use NumberState::{Active, Porting, Quarantine, Reserved};
            let number = |n: u64| Number::parse(&format!("+{n:03}")).unwrap();
            let states = [Active, Reserved, Porting, Quarantine];
            let mut all: Vec<(u64, u64, NumberState)> = Vec::new();
            for (first, more, state) in ranges {
                let last = first + more;
                // Only what the configuration admits: nested or apart.
                let fits = |(a, b, _): &(u64, u64, NumberState)| {
                    let apart = last < *a || *b < first;
                    let nested = (*a <= first && last <= *b) || (first <= *a && *b <= last);
                    apart || nested && (*a, *b) != (first, last)
                };
                if all.iter().all(fits) {
                    all.push((first, last, states[usize::from(state)]));
                }
            }
            let ranges = all.iter().map(|(a, b, s)| {
                (NumberRange { first: number(*a), last: number(*b) }, *s)
            });
            let made = States::new(ranges);
            for n in 0..130 {
                let around = all.iter().filter(|(a, b, _)| *a <= n && n <= *b);
                let narrowest = around.min_by_key(|(a, b, _)| b - a);
                let want = narrowest.map_or(Active, |(.., state)| *state);
                prop_assert_eq!(made.of(number(n)), want, "{} of {:?}", n, all);
            }
            prop_assert!(made.ranges().windows(2).all(|two| two[0].0.last < two[1].0.first));
        }
    }

    #[test]
    fn what_is_not_named_is_active() {
        use NumberState::{Active, Porting, Quarantine, Reserved};
        let states = States::new(
            [
                (range("+50", "+59"), Reserved),
                (range("+10", "+99"), Active),
                (range("+61", "+61"), Active),
                (range("+60", "+60"), Quarantine),
                (range("+55", "+58"), Reserved),
                (range("+70", "+71"), Porting),
            ]
            .into_iter(),
        );
        for (number, state) in [
            ("+49", Active),
            ("+50", Reserved),
            ("+59", Reserved),
            ("+60", Quarantine),
            ("+61", Active),
            ("+71", Porting),
            ("+072", Active),
        ] {
            assert_eq!(states.of(Number::parse(number).unwrap()), state, "{number}");
        }
        let numbers = Numbers::new(vec![range("+10", "+55"), range("+58", "+70")]);
        let pieces: Vec<_> = states
            .pieces(&numbers)
            .into_iter()
            .map(|(range, state)| format!("{range} {}", state.as_str()))
            .collect();
        assert_eq!(
            pieces,
            [
                "+10-+49 active",
                "+50-+55 reserved",
                "+58-+59 reserved",
                "+60 quarantine",
                "+61-+69 active",
                "+70 porting",
            ]
        );
        assert_eq!(States::default().pieces(&numbers).len(), 2);
    }
}
