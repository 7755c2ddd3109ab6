//! What a journal amounts to: the newest entries of each call. Used at a start to know what to restore, and while
//! running to leave out what is past.
//!
//! ```text
//! call     | Begun     | Standing   | Media      | Ended
//! ---------+-----------+------------+------------+--------
//! unknown  | → begun   | → standing | -          | → ended
//! begun    | newest    | → standing | newest     | → ended
//! standing | newest    | newest     | newest     | → ended
//! ended    | -         | -          | -          | -
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
    pub(crate) begun: Option<Frame<'a>>,
    /// With the number of the directory, whose key opens it.
    pub(crate) standing: Option<(usize, Frame<'a>)>,
    pub(crate) media: Option<Frame<'a>>,
    pub(crate) ended: Option<Frame<'a>>,
}

impl<'a> Fold<'a> {
    /// Takes in the next entry.
    pub(crate) fn take(&mut self, directory: usize, frame: Frame<'a>) {
        let order = self.calls.len();
        let entry = || Life { order, ..Life::default() };
        match frame.kind {
            Kind::Head => {}
            Kind::Begun => {
                let life = self.calls.entry(frame.call).or_insert_with(entry);
                if life.ended.is_none() {
                    life.begun = Some(frame);
                }
            }
            Kind::Standing => {
                let life = self.calls.entry(frame.call).or_insert_with(entry);
                if life.ended.is_none() {
                    life.standing = Some((directory, frame));
                }
            }
            Kind::Media => {
                if let Some(life) = self.calls.get_mut(&frame.call)
                    && life.ended.is_none()
                {
                    life.media = Some(frame);
                }
            }
            Kind::Ended => {
                let life = self.calls.entry(frame.call).or_insert_with(entry);
                if life.ended.is_none() {
                    *life = Life { order: life.order, ended: Some(frame), ..Life::default() };
                }
            }
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
            let Life { begun, standing, media, ended, .. } = life;
            let standing = standing.map(|(_, frame)| frame);
            let ended = ended.filter(|_| unwritten(call));
            for frame in [begun, standing, media, ended].into_iter().flatten() {
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

    /// Call, then the payloads of begun, standing, media, ended.
    fn seen(bytes: &[u8]) -> Vec<(u8, [Option<u8>; 4])> {
        let payload = |frame: Option<Frame<'_>>| frame.map(|f| f.payload[0]);
        folded(bytes)
            .calls()
            .into_iter()
            .map(|(call, l)| {
                let standing = l.standing.map(|(_, frame)| frame);
                (call.0[0], [l.begun, standing, l.media, l.ended].map(payload))
            })
            .collect()
    }

    #[test]
    fn each_state_meets_each_entry() {
        use Kind::{Begun, Ended, Media, Standing};
        let states: [&[Kind]; 4] = [&[], &[Begun], &[Begun, Standing, Media], &[Begun, Ended]];
        let mut table = Vec::new();
        for before in states {
            for kind in [Begun, Standing, Media, Ended] {
                let entries: Vec<_> = before.iter().chain([&kind]).map(|kind| (*kind, 1)).collect();
                table.push(seen(&segment(&entries)).first().map(|(_, life)| *life));
            }
        }
        let expected = [
            Some([Some(0), None, None, None]),
            Some([None, Some(0), None, None]),
            None,
            Some([None, None, None, Some(0)]),
            Some([Some(1), None, None, None]),
            Some([Some(0), Some(1), None, None]),
            Some([Some(0), None, Some(1), None]),
            Some([None, None, None, Some(1)]),
            Some([Some(3), Some(1), Some(2), None]),
            Some([Some(0), Some(3), Some(2), None]),
            Some([Some(0), Some(1), Some(3), None]),
            Some([None, None, None, Some(3)]),
            Some([None, None, None, Some(1)]),
            Some([None, None, None, Some(1)]),
            Some([None, None, None, Some(1)]),
            Some([None, None, None, Some(1)]),
        ];
        assert_eq!(table, expected);
    }

    fn kinds() -> impl Strategy<Value = Kind> {
        prop_oneof![Just(Kind::Begun), Just(Kind::Standing), Just(Kind::Media), Just(Kind::Ended)]
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
                calls.retain(|(call, life)| life[3].is_none() || matters(CallId([*call; 16])));
                calls.sort_unstable();
                calls
            };
            let bytes = segment(&entries);
            let split = read(&bytes).take(first.index(entries.len() + 1)).map(|f| f.whole.len()).sum();
            let (old, new) = bytes.split_at(split);
            // An entry of a call that ended and was left out is a new call's: none comes after its end.
            let ended: Vec<_> = seen(old).into_iter().filter(|(_, l)| l[3].is_some()).collect();
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
