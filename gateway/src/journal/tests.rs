//! Processes that die at any point, one after the other, on one state directory: every call has one CDR in the end.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const MASTER: [u8; 32] = [9; 32];
const SECONDS: u32 = 1_795_046_400;

/// What a process does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(u8),
    End(u8),
    /// Its figures are still to come.
    Leave(u8),
    /// Signalling's turn ends.
    Commit,
    /// The thread of records gets to work.
    Write,
    /// The disk becomes full, or is not any more.
    Fill,
    Free,
}

/// A disk that may be full.
struct Full {
    segments: Segments,
    full: bool,
}

impl Disk for Full {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.segments.append(bytes)
    }

    fn size(&self) -> u64 {
        self.segments.size()
    }

    fn next(&mut self, head: &[u8]) -> io::Result<Turn> {
        self.segments.next(head)
    }
}

/// The signalling thread and the thread of records in one, in any interleaving.
struct Process {
    journal: Journal<Full>,
    keeper: Keeper<Store>,
    /// On the way to the thread of records: a line, or a segment that was closed.
    queue: Vec<Result<Line, Turn>>,
    dead: Option<Dead>,
    now: Instant,
}

impl Process {
    /// Starts, and takes up what the one before left.
    fn start(state: &Path, salt: u8) -> Self {
        let opened = open(state, &MASTER, SECONDS, [salt; 32]).unwrap();
        let Opened { journal, store, left, .. } = opened;
        let Journal { disk, sealer, head, .. } = journal;
        let disk = Full { segments: disk, full: false };
        let mut journal = Journal::new(disk, sealer, head);
        journal.limit = 1500;
        #[expect(clippy::disallowed_methods, reason = "the origin of virtual time")]
        let now = Instant::now();
        let dead = Some(left.dead);
        let mut this = Self { journal, keeper: Keeper::new(store), queue: Vec::new(), dead, now };
        assert_eq!(left.unreadable, 0);
        for record in left.ended {
            this.keep(&Entry::Ended(record));
        }
        for call in left.calls {
            let Restorable::Begun(record) = call.call else { panic!("none stood") };
            this.keep(&Entry::Ended(Arc::new(Record { t_end: end(), ..(*record).clone() })));
        }
        this
    }

    fn keep(&mut self, entry: &Entry) {
        self.journal.add(entry);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Begin(call) => self.keep(&Entry::Begun(Arc::new(record(call)))),
            Step::End(call) => {
                self.keep(&Entry::Ended(Arc::new(Record { t_end: end(), ..record(call) })));
            }
            Step::Leave(call) => {
                self.keep(&Entry::Ending(Arc::new(Record { t_end: end(), ..record(call) })));
            }
            Step::Commit => {
                self.now += RETRY;
                let queue = &mut self.queue;
                if let Ok(turn) = self.journal.commit(self.now, |line| queue.push(Ok(line))) {
                    self.journal.limit = 1500;
                    self.queue.extend(turn.map(Err));
                    if let Some(mut dead) = self.dead.take() {
                        dead.remove().unwrap();
                    }
                }
            }
            Step::Write => {
                for job in self.queue.drain(..) {
                    match job {
                        Ok(line) => self.keeper.take(line),
                        Err(turn) => self.keeper.close(turn, self.now).unwrap(),
                    }
                }
                self.keeper.write(self.now).unwrap();
            }
            Step::Fill => self.journal.disk.full = true,
            Step::Free => self.journal.disk.full = false,
        }
    }
}

fn record(call: u8) -> Record {
    let id = format!("01936b6a-2f3c-7c41-9d0e-0000000000{call:02x}");
    Record { id, t_invite: end(), ..Record::default() }
}

fn end() -> String {
    "2026-11-19T01:00:00.000Z".to_owned()
}

/// How often each call stands in the CDR file.
fn counts(state: &Path) -> HashMap<u8, usize> {
    let text = std::fs::read_to_string(state.join("cdr/2026-11-19.jsonl")).unwrap_or_default();
    let mut counts = HashMap::new();
    for line in text.lines() {
        let record: Record = serde_json::from_str(line).unwrap();
        *counts.entry(CallId::of(&record).0[15]).or_default() += 1;
    }
    counts
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => any::<u8>().prop_map(Step::Begin),
        3 => any::<u8>().prop_map(Step::End),
        2 => any::<u8>().prop_map(Step::Leave),
        4 => Just(Step::Commit),
        2 => Just(Step::Write),
        1 => Just(Step::Fill),
        1 => Just(Step::Free),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_call_has_one_cdr_wherever_processes_die(
        lives in proptest::collection::vec(steps(), 1..4),
    ) {
        let state = tempfile::tempdir().unwrap();
        // Calls that were kept: begun or ended, and written.
        let mut kept: HashMap<u8, usize> = HashMap::new();
        let mut next = 0;
        for (salt, steps) in lives.into_iter().enumerate() {
            let mut process = Process::start(state.path(), salt as u8);
            let (mut alive, mut unwritten) = (Vec::new(), Vec::new());
            for step in steps {
                // Every call is a new one, and ends once.
                let step = match step {
                    Step::Begin(_) => {
                        next += 1;
                        alive.push(next);
                        unwritten.push(next);
                        Step::Begin(next)
                    }
                    Step::End(_) | Step::Leave(_) if alive.is_empty() => Step::Commit,
                    Step::Leave(which) => Step::Leave(alive[usize::from(which) % alive.len()]),
                    Step::End(which) => Step::End(alive.remove(usize::from(which) % alive.len())),
                    other @ (Step::Commit | Step::Write | Step::Fill | Step::Free) => other,
                };
                process.step(step);
                if process.journal.is_written() {
                    kept.extend(unwritten.drain(..).map(|call| (call, 1)));
                }
            }
            // It dies here: what is in memory is lost, and what was to be sent never was.
            drop(process);
            let so_far = counts(state.path());
            prop_assert!(so_far.values().all(|count| *count == 1), "{:?}", so_far);
        }
        let mut last = Process::start(state.path(), 100);
        for step in [Step::Commit, Step::Write] {
            last.step(step);
        }
        let Process { keeper, journal, .. } = last;
        prop_assert!(journal.is_written() && keeper.unwritten() == 0);
        let in_the_end = counts(state.path());
        prop_assert!(in_the_end.values().all(|count| *count == 1), "{:?}", in_the_end);
        for call in kept.keys() {
            prop_assert!(in_the_end.contains_key(call), "{} is missing: {:?}", call, in_the_end);
        }
        keeper.into_sink().remove().unwrap();
        drop(journal);
        let after = open(state.path(), &MASTER, SECONDS, [101; 32]).unwrap().left;
        prop_assert!(after.calls.is_empty() && after.ended.is_empty() && after.dead.is_empty());
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
fn a_journal_of_json_is_read_as_well() {
    let state = tempfile::tempdir().unwrap();
    let mut older = open(state.path(), &MASTER, SECONDS, [1; 32]).unwrap();
    for (number, kind) in [(1, Kind::Begun), (2, Kind::Begun), (2, Kind::Ending), (3, Kind::Ended)]
    {
        let record = Record { t_end: end(), ..record(number) };
        let into = &mut older.journal.pending;
        frame::write(into, kind, CallId::of(&record), |into| cdr::write(&record, into));
    }
    older.journal.commit(Instant::now(), drop).unwrap();
    drop(older);
    let left = open(state.path(), &MASTER, SECONDS, [2; 32]).unwrap().left;
    let begun: Vec<_> = left.calls.into_iter().map(|call| call.call).collect();
    assert!(matches!(&begun[..], [Restorable::Begun(it)] if it.id == record(1).id), "{begun:?}");
    let ended: Vec<_> = left.ended.iter().map(|record| &record.id).collect();
    assert_eq!((ended, left.unreadable), (vec![&record(2).id, &record(3).id], 0));
}

fn begin(opened: &mut Opened, calls: std::ops::Range<u8>) {
    for call in calls {
        opened.journal.add(&Entry::Begun(Arc::new(record(call))));
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
fn r10_entries_wait_in_memory_while_the_disk_is_full_and_are_written_once() {
    let state = tempfile::tempdir().unwrap();
    let mut process = Process::start(state.path(), 1);
    let journal = &mut process.journal;
    let now = Instant::now();
    journal.disk.full = true;
    journal.add(&Entry::Begun(Arc::new(record(1))));
    assert!(journal.commit(now, drop).is_err());
    assert_eq!(journal.commit(now, drop).unwrap(), None, "not tried again at once");
    assert_eq!(journal.poll_timeout(), Some(now + RETRY));
    let state_of = SessionState::default();
    let media = Entry::Media { call: CallId::of(&record(1)), state: Box::new(state_of) };
    let before = journal.figures();
    assert_eq!(before.failures, 1);
    journal.add(&media);
    assert_eq!(journal.figures(), before, "media entries are left out");
    assert!(journal.take_left_out() && !journal.take_left_out() && !journal.is_written());
    journal.add(&Entry::Ended(Arc::new(record(1))));
    assert!(journal.commit(now + RETRY, drop).is_err());
    journal.disk.full = false;
    let mut lines = 0;
    journal.commit(now + 2 * RETRY, |_| lines += 1).unwrap();
    assert_eq!((lines, journal.lines()), (1, 0));
    let after = journal.figures();
    assert_eq!((after.entries, after.failures, after.pending), (2, 2, 0));
    assert_eq!(journal.poll_timeout(), None);
    drop(process);
    let left = open(state.path(), &MASTER, SECONDS, [2; 32]).unwrap().left;
    assert_eq!((left.calls.len(), left.ended.len()), (0, 1));
}

#[test]
fn r10_no_more_is_taken_than_memory_may_hold() {
    let state = tempfile::tempdir().unwrap();
    let mut process = Process::start(state.path(), 1);
    process.journal.disk.full = true;
    let large = Record { node: "x".repeat(1 << 20), ..record(1) };
    let mut count = 0;
    while !process.journal.is_full() {
        process.journal.add(&Entry::Ended(Arc::new(large.clone())));
        count += 1;
    }
    assert_eq!(count, MOST_PENDING >> 20);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
fn what_a_living_process_has_is_left_alone() {
    let state = tempfile::tempdir().unwrap();
    let mut first = open(state.path(), &MASTER, SECONDS, [1; 32]).unwrap();
    begin(&mut first, 0..3);
    first.journal.commit(Instant::now(), drop).unwrap();
    let second = open(state.path(), &MASTER, SECONDS, [2; 32]).unwrap();
    assert_eq!((first.epoch, second.epoch), (SECONDS, SECONDS + 1));
    assert!(second.left.calls.is_empty() && second.left.dead.is_empty());
    drop(first);
    let third = open(state.path(), &MASTER, SECONDS, [3; 32]).unwrap();
    assert_eq!((third.epoch, third.left.calls.len()), (SECONDS + 2, 3));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
fn a_journal_stays_short_however_many_calls_there_were() {
    let state = tempfile::tempdir().unwrap();
    let mut process = Process::start(state.path(), 1);
    process.journal.add(&Entry::Begun(Arc::new(record(255))));
    let (mut largest, directory) = (0, state.path().join(format!("journal/{SECONDS}")));
    for round in 0..200 {
        let call = round % 250;
        process.step(Step::Begin(call));
        process.step(Step::Commit);
        process.step(Step::End(call));
        process.step(Step::Commit);
        process.step(Step::Write);
        let files = std::fs::read_dir(&directory).unwrap();
        let size: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        largest = largest.max(size);
    }
    assert!(largest < 4 * 1500, "{largest}");
    drop(process);
    let left = open(state.path(), &MASTER, SECONDS, [2; 32]).unwrap().left;
    assert_eq!(left.calls.len(), 1, "the one that goes on");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
fn r01_when_a_process_was_seen_last_is_known_though_it_wrote_nothing() {
    let state = tempfile::tempdir().unwrap();
    let mut opened = open(state.path(), &MASTER, SECONDS, [1; 32]).unwrap();
    begin(&mut opened, 0..1);
    let now = Instant::now();
    opened.journal.commit(now, drop).unwrap();
    let written = std::time::SystemTime::now();
    let hour = Duration::from_secs(3600);
    let mut keeper = Keeper::new(opened.store);
    keeper.beat(now, written + hour).unwrap();
    keeper.beat(now + SYNC, written + 2 * hour).unwrap();
    drop((keeper, opened.journal));
    let left = open(state.path(), &MASTER, SECONDS, [2; 32]).unwrap().left;
    assert_eq!(left.calls[0].seen, written + hour, "not touched more often than needed");
    // Without a beat: when something was written last.
    let lock = state.path().join(format!("journal/{SECONDS}/lock"));
    drop(left);
    std::fs::File::open(lock).unwrap().set_modified(written - hour).unwrap();
    let seen = open(state.path(), &MASTER, SECONDS, [3; 32]).unwrap().left.calls[0].seen;
    assert!(seen + Duration::from_secs(5) > written && seen < written + Duration::from_secs(5));
}

/// A journal that is done with is not read again, however far its removal got.
#[test]
fn a_journal_that_cannot_be_removed_is_taken_up_once() {
    let state = tempfile::tempdir().unwrap();
    let mut first = open(state.path(), &MASTER, SECONDS, [1; 32]).unwrap();
    begin(&mut first, 0..3);
    #[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
    let now = Instant::now();
    first.journal.commit(now, drop).unwrap();
    drop(first);
    let journal = state.path().join("journal");
    let mut second = open(state.path(), &MASTER, SECONDS, [2; 32]).unwrap();
    assert_eq!(second.left.calls.len(), 3);
    // Something is there that stays, as on a disk with faults: not even the name can be changed.
    let stubborn = journal.join(format!("{SECONDS}.done"));
    std::fs::write(&stubborn, "").unwrap();
    assert!(second.left.dead.remove().is_err());
    assert!(!second.left.dead.is_empty(), "tried again");
    assert!(dead(state.path(), &MASTER).unwrap().dead.is_empty(), "and held meanwhile");
    std::fs::remove_file(&stubborn).unwrap();
    second.left.dead.remove().unwrap();
    assert!(second.left.dead.is_empty());
    // Its process died in the middle of it.
    std::fs::create_dir(&stubborn).unwrap();
    let segment = disk::path(&journal.join((SECONDS + 1).to_string()), 1);
    std::fs::copy(segment, disk::path(&stubborn, 2)).unwrap();
    drop(second);
    let third = open(state.path(), &MASTER, SECONDS, [3; 32]).unwrap();
    assert!(third.left.calls.is_empty() && third.left.unreadable == 0);
    assert!(!stubborn.exists(), "whoever comes next removes it");
}

#[test]
fn r10_what_is_written_now_reaches_the_disk_behind_a_segment_that_came_to_nothing() {
    let state = tempfile::tempdir().unwrap();
    let Opened { journal, mut store, .. } = open(state.path(), &MASTER, SECONDS, [1; 32]).unwrap();
    let Journal { mut disk, .. } = journal;
    let stray = disk::path(&store.directory.path, 2);
    std::fs::write(&stray, b"").unwrap();
    let turn = disk.next(b"HEAD").unwrap();
    store.closed(turn).unwrap();
    std::fs::remove_file(&stray).unwrap();
    store.sync().unwrap();
}
