//! What a journal amounts to: the newest entries of each call. Used at a start to know what to restore, and while
//! running to leave out what is past.
//!
//! ```text
//! call     | Begun     | Standing   | Media      | Ending   | Ended
//! ---------+-----------+------------+------------+----------+--------
//! unknown  | → begun   | → standing | -          | → ending | → ended
//! begun    | newest    | → standing | newest     | → ending | → ended
//! standing | newest    | newest     | newest     | → ending | → ended
//! ending   | -         | -          | -          | newest   | → ended
//! ended    | -         | -          | -          | -        | -
//! ```

use std::collections::HashMap;

use super::CallId;
use super::frame::{Frame, Kind};

/// The newest entries of all calls.
#[derive(Debug, Default)]
pub(crate) struct Fold<'a> {
    calls: HashMap<CallId, Life<'a>>,
}

/// The newest entries of one call. `S` tells where they lie.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Life<'a> {
    /// Its place among all calls.
    order: usize,
    /// The directory that has its newest entry.
    pub(crate) directory: usize,
    pub(crate) begun: Option<Frame<'a>>,
    /// With the number of the directory, whose key opens it.
    pub(crate) standing: Option<(usize, Frame<'a>)>,
    pub(crate) media: Option<Frame<'a>>,
    pub(crate) ending: Option<Frame<'a>>,
    pub(crate) ended: Option<Frame<'a>>,
}

impl<'a> Fold<'a> {
    /// Takes in the next entry.
    pub(crate) fn take(&mut self, directory: usize, frame: Frame<'a>) {
        let unknown = !self.calls.contains_key(&frame.call);
        if frame.kind == Kind::Head || frame.kind == Kind::Media && unknown {
            return;
        }
        let order = self.calls.len();
        let fresh = || Life { order, directory, ..Life::default() };
        let life = self.calls.entry(frame.call).or_insert_with(fresh);
        let over = life.ended.is_some();
        let order = life.order;
        life.directory = directory;
        match frame.kind {
            Kind::Begun if !over && life.ending.is_none() => life.begun = Some(frame),
            Kind::Standing if !over && life.ending.is_none() => {
                life.standing = Some((directory, frame));
            }
            Kind::Media if !over && life.ending.is_none() => life.media = Some(frame),
            Kind::Ending if !over => {
                *life = Life { order, directory, ending: Some(frame), ..Life::default() };
            }
            Kind::Ended if !over => {
                *life = Life { order, directory, ended: Some(frame), ..Life::default() };
            }
            Kind::Head
            | Kind::Begun
            | Kind::Standing
            | Kind::Media
            | Kind::Ending
            | Kind::Ended => {}
        }
    }

    /// All calls in the order in which they came.
    pub(crate) fn calls(self) -> Vec<(CallId, Life<'a>)> {
        let mut calls: Vec<_> = self.calls.into_iter().collect();
        calls.sort_unstable_by_key(|(_, life)| life.order);
        calls
    }

    /// The entries that still matter, as they lay, in an order that folds to the same: without the calls that ended,
    /// but for those that `unwritten` knows.
    pub(crate) fn compact(self, into: &mut Vec<u8>, unwritten: impl Fn(CallId) -> bool) {
        for (call, life) in self.calls() {
            let Life { begun, standing, media, ending, ended, .. } = life;
            let standing = standing.map(|(_, frame)| frame);
            let ended = ended.filter(|_| unwritten(call));
            for frame in [begun, standing, media, ending, ended].into_iter().flatten() {
                into.extend_from_slice(frame.whole);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::{read, write};
    use super::*;

    fn segment(entries: &[(Kind, u8)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (at, (kind, call)) in entries.iter().enumerate() {
            write(&mut bytes, *kind, CallId([*call; 16]), |b| b.push(at as u8));
        }
        bytes
    }

    fn folded(bytes: &[u8]) -> Fold<'_> {
        let mut fold = Fold::default();
        read(bytes).for_each(|frame| fold.take(0, frame));
        fold
    }

    /// Call, then the payloads of begun, standing, media, ending, ended.
    fn seen(bytes: &[u8]) -> Vec<(u8, [Option<u8>; 5])> {
        let payload = |frame: Option<Frame<'_>>| frame.map(|f| f.payload[0]);
        folded(bytes)
            .calls()
            .into_iter()
            .map(|(call, l)| {
                let standing = l.standing.map(|(_, frame)| frame);
                (call.0[0], [l.begun, standing, l.media, l.ending, l.ended].map(payload))
            })
            .collect()
    }

    #[test]
    fn each_state_meets_each_entry() {
        use Kind::{Begun, Ended, Ending, Media, Standing};
        let states: [&[Kind]; 5] =
            [&[], &[Begun], &[Begun, Standing, Media], &[Begun, Ending], &[Begun, Ended]];
        let mut table = Vec::new();
        for before in states {
            for kind in [Begun, Standing, Media, Ending, Ended] {
                let entries: Vec<_> = before.iter().chain([&kind]).map(|kind| (*kind, 1)).collect();
                table.push(seen(&segment(&entries)).first().map(|(_, life)| *life));
            }
        }
        let stood = |b, s, m| Some([Some(b), Some(s), Some(m), None, None]);
        let ending = |at| Some([None, None, None, Some(at), None]);
        let ended = |at| Some([None, None, None, None, Some(at)]);
        let expected = [
            // unknown
            Some([Some(0), None, None, None, None]),
            Some([None, Some(0), None, None, None]),
            None,
            ending(0),
            ended(0),
            // begun
            Some([Some(1), None, None, None, None]),
            Some([Some(0), Some(1), None, None, None]),
            Some([Some(0), None, Some(1), None, None]),
            ending(1),
            ended(1),
            // standing
            stood(3, 1, 2),
            stood(0, 3, 2),
            stood(0, 1, 3),
            ending(3),
            ended(3),
            // ending
            ending(1),
            ending(1),
            ending(1),
            ending(2),
            ended(2),
            // ended
            ended(1),
            ended(1),
            ended(1),
            ended(1),
            ended(1),
        ];
        assert_eq!(table, expected);
    }

    fn kinds() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::Begun),
            Just(Kind::Standing),
            Just(Kind::Media),
            Just(Kind::Ending),
            Just(Kind::Ended),
        ]
    }

    proptest! {
        /// Cut anywhere, a journal amounts to what it amounted to at some moment before.
        #[test]
        fn a_cut_at_any_byte_leaves_a_state_that_was(
            entries in proptest::collection::vec((kinds(), 0_u8..4), 0..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = segment(&entries);
            let cut = cut.index(bytes.len() + 1);
            let whole = read(&bytes[..cut]).count();
            prop_assert!(entries.len() == whole || cut < bytes.len());
            prop_assert_eq!(seen(&bytes[..cut]), seen(&segment(&entries[..whole])));
        }

        /// What is compacted, at any moment and again later, amounts to the same.
        #[test]
        fn compaction_changes_nothing_that_matters(
            entries in proptest::collection::vec((kinds(), 0_u8..4), 0..30),
            first in any::<prop::sample::Index>(),
            unwritten in 0_u8..4,
        ) {
            let matters = |call: CallId| call.0[0] == unwritten;
            let alive = |bytes: &[u8]| -> Vec<_> {
                let mut calls = seen(bytes);
                calls.retain(|(call, life)| life[4].is_none() || matters(CallId([*call; 16])));
                calls.sort_unstable();
                calls
            };
            let bytes = segment(&entries);
            let split = read(&bytes).take(first.index(entries.len() + 1)).map(|f| f.whole.len()).sum();
            let (old, new) = bytes.split_at(split);
            // An entry of a call that ended and was left out is a new call's: none comes after its end.
            let ended: Vec<_> = seen(old).into_iter().filter(|(_, l)| l[4].is_some()).collect();
            prop_assume!(read(new).all(|f| ended.iter().all(|(call, _)| *call != f.call.0[0])));
            let mut base = Vec::new();
            folded(old).compact(&mut base, matters);
            prop_assert_eq!(alive(&base), alive(old));
            base.extend_from_slice(new);
            prop_assert_eq!(alive(&base), alive(&bytes));
            let mut again = Vec::new();
            folded(&base).compact(&mut again, matters);
            prop_assert_eq!(alive(&again), alive(&bytes));
        }
    }
}
