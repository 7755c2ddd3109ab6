//! Many calls whose media go on by themselves, on one thread, and how long each end hears nothing. With a tape, for libsrtp
//! to judge.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::media::MediaEnd;
use super::tape::Tape;

/// What was on its way is heard so much later at most.
const HEARD_LATE: Duration = Duration::from_millis(100);
/// A silence is longer than that.
const SILENCE: Duration = Duration::from_millis(40);

/// Every so many packets an end sends a report.
const REPORT: usize = 50;

/// Both ends of each call speak every 20 ms and listen.
pub struct Speaking {
    orders: SyncSender<Order>,
    thread: JoinHandle<Tape>,
    news: Arc<Mutex<News>>,
}

enum Order {
    /// The gateway is dead: what was on its way is heard, then the tape says so.
    Died(SyncSender<()>),
    Stop,
}

#[derive(Default)]
struct News {
    /// Packets heard by each end of each call.
    heard: Vec<[usize; 2]>,
    /// Of each end: when it heard the last packet.
    last: Vec<[Option<Instant>; 2]>,
    /// Each silence that is over: of which call, since when, and how long.
    silences: Vec<(usize, Instant, Duration)>,
    undecryptable: usize,
}

impl Speaking {
    /// Each call: the plain end, then the secure one.
    pub fn begin(mut ends: Vec<[MediaEnd; 2]>, tape: Tape) -> Self {
        for (call, [plain, secure]) in ends.iter_mut().enumerate() {
            plain.track = Some(tape.track(call, false));
            secure.track = Some(tape.track(call, true));
        }
        let (orders, told) = sync_channel(1);
        let news = Arc::new(Mutex::new(News {
            heard: vec![[0; 2]; ends.len()],
            last: vec![[None; 2]; ends.len()],
            ..News::default()
        }));
        let kept = Arc::clone(&news);
        let thread = thread::spawn(move || {
            let mut next = Instant::now();
            for turn in 0.. {
                next += Duration::from_millis(20);
                for (call, ends) in ends.iter_mut().enumerate() {
                    for end in ends {
                        drop(end.speak());
                        if (turn + call) % REPORT == 0 {
                            end.report();
                        }
                    }
                }
                thread::sleep(next.saturating_duration_since(Instant::now()));
                let order = told.try_recv();
                kept.lock().unwrap().hear(&mut ends);
                match order {
                    Ok(Order::Died(done)) => {
                        tape.died();
                        done.send(()).unwrap();
                    }
                    Ok(Order::Stop) => return tape,
                    Err(_) => {}
                }
            }
            unreachable!("turns without end")
        });
        Self { orders, thread, news }
    }

    /// The gateway is dead: what comes from now on is of its next life.
    pub fn died(&self) {
        let (done, waiting) = sync_channel(1);
        self.orders.send(Order::Died(done)).unwrap();
        waiting.recv().unwrap();
    }

    pub fn heard(&self) -> Vec<[usize; 2]> {
        self.news.lock().unwrap().heard.clone()
    }

    /// Of those calls, the longest silence that was going on then, or began when what was on its way had been heard. An end
    /// that is still silent, or never heard anything, counts as silent until now.
    pub fn longest_gap(&self, then: Instant, calls: &[usize]) -> Duration {
        let (news, now) = (self.news.lock().unwrap(), Instant::now());
        let over = news.silences.iter().copied().filter(|(call, ..)| calls.contains(call));
        let still = calls.iter().flat_map(|call| news.last[*call].map(|last| (*call, last)));
        let still = still.map(|(call, last)| {
            let since = last.unwrap_or(then);
            (call, since, now.saturating_duration_since(since))
        });
        over.chain(still.filter(|(.., length)| *length > 2 * SILENCE))
            .filter(|(_, since, length)| *since <= then + HEARD_LATE && *since + *length >= then)
            .map(|(.., length)| length)
            .max()
            .unwrap_or_default()
    }

    /// Ends it: packets that did not decrypt, and the tape.
    pub fn stop(self) -> (usize, Tape) {
        self.orders.send(Order::Stop).unwrap();
        let tape = self.thread.join().unwrap();
        (self.news.lock().unwrap().undecryptable, tape)
    }
}

impl News {
    fn hear(&mut self, ends: &mut [[MediaEnd; 2]]) {
        self.undecryptable = 0;
        for (call, ends) in ends.iter_mut().enumerate() {
            for (side, end) in ends.iter_mut().enumerate() {
                let count = end.hear().len();
                self.undecryptable += end.undecryptable;
                if count == 0 {
                    continue;
                }
                self.heard[call][side] += count;
                let now = Instant::now();
                if let Some(last) = self.last[call][side].replace(now)
                    && now - last > SILENCE
                {
                    self.silences.push((call, last, now - last));
                }
            }
        }
    }
}
