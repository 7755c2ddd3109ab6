//! Calls by the hundred from the raw ends: each is answered at once by a machine at the other side, held for a while and
//! hung up by who made it; and what became of them. Who made a call is known by a word of the test's own.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::dialog::{Dialog, Invite, Persona};
use super::robot;
use super::scene::answer_options;
use super::wire::{Auto, Flow, Received};

/// All calls of a test, and the machines that answer them.
#[derive(Default)]
pub struct Crowd {
    calls: Mutex<HashMap<String, Placed>>,
    over: AtomicBool,
}

struct Placed {
    group: &'static str,
    dialog: Dialog,
    hold: Duration,
    sent: Instant,
    /// When the final answer came, and which.
    told: Option<(Instant, u16)>,
    /// What a refusal said of when to come again.
    retry_after: Option<String>,
    hung_up: bool,
    /// BYE was answered, too.
    done: bool,
}

/// What became of the calls of a group.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub placed: usize,
    /// Answered, and their BYE as well.
    pub whole: usize,
    /// By status; 0: never told anything.
    pub refused: BTreeMap<u16, usize>,
    /// Refusals with Retry-After.
    pub asked_to_wait: usize,
    /// From INVITE to 200, in order.
    pub set_up: Vec<Duration>,
    /// From the first INVITE to the last.
    pub span: Duration,
}

impl Crowd {
    /// With a thread that hangs up when it is time.
    pub fn new() -> Arc<Self> {
        let crowd = Arc::<Self>::default();
        let hanging_up = Arc::clone(&crowd);
        thread::spawn(move || {
            while !hanging_up.over.load(Ordering::Relaxed) {
                hanging_up.hang_up();
                thread::sleep(Duration::from_millis(5));
            }
        });
        crowd
    }

    /// What each end of this crowd does with what it hears.
    pub fn machine(self: &Arc<Self>) -> Box<Auto> {
        let crowd = Arc::clone(self);
        Box::new(move |received| {
            if received.msg.is_request() {
                return answer_options(received, "") || robot::serve(received);
            }
            crowd.heard(received)
        })
    }

    /// Makes a call.
    pub fn call(
        &self,
        group: &'static str,
        hold: Duration,
        (persona, flow): (&Persona, &Flow),
        invite: &Invite<'_>,
    ) {
        let mut dialog = Dialog::prepare(persona, flow, invite);
        let (text, id) = (dialog.invite_text(invite), dialog.call_id.clone());
        let placed = Placed {
            group,
            dialog,
            hold,
            sent: Instant::now(),
            told: None,
            retry_after: None,
            hung_up: false,
            done: false,
        };
        self.lock().insert(id, placed);
        flow.send(text);
    }

    /// Makes `count` calls, one each `gap`; what cannot be made in time is made up for.
    pub fn calls(count: u32, gap: Duration, mut call: impl FnMut(u32)) {
        let begin = Instant::now();
        for n in 0..count {
            thread::sleep((begin + gap * n).saturating_duration_since(Instant::now()));
            call(n);
        }
    }

    /// Waits until every call is over, and gives what became of those since the last time.
    pub fn settle(&self, limit: Duration) -> HashMap<&'static str, Figures> {
        let end = Instant::now() + limit;
        while self.lock().values().any(|call| !call.is_over()) && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
        let calls = std::mem::take(&mut *self.lock());
        let mut groups: HashMap<&'static str, Vec<Placed>> = HashMap::new();
        for call in calls.into_values() {
            groups.entry(call.group).or_default().push(call);
        }
        groups.into_iter().map(|(group, calls)| (group, Figures::of(&calls))).collect()
    }

    fn heard(&self, received: &Received) -> bool {
        let (_, method) = received.msg.cseq();
        let mut calls = self.lock();
        let Some(call) = calls.get_mut(received.msg.call_id()) else { return false };
        let status = received.msg.status();
        match method {
            "INVITE" if status >= 200 => {
                if call.told.is_none() {
                    call.told = Some((received.at, status));
                    call.retry_after = received.msg.get("Retry-After").map(str::to_owned);
                    call.dialog.heard(received);
                }
                // Once more when the answer is repeated.
                if status < 300 { call.dialog.ack() } else { call.dialog.ack_failure() }
            }
            "BYE" => call.done = status == 200,
            _ => {}
        }
        true
    }

    fn hang_up(&self) {
        let now = Instant::now();
        for call in self.lock().values_mut() {
            let due = matches!(call.told, Some((at, 200)) if now >= at + call.hold);
            if due && !call.hung_up {
                call.hung_up = true;
                call.dialog.send("BYE", "", "");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Placed>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No more calls.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Placed {
    fn is_over(&self) -> bool {
        self.done || matches!(self.told, Some((_, 300..)))
    }
}

impl Figures {
    fn of(calls: &[Placed]) -> Self {
        let mut figures = Self { placed: calls.len(), ..Self::default() };
        for call in calls {
            match call.told {
                Some((at, 200)) => {
                    figures.whole += usize::from(call.done);
                    figures.set_up.push(at.duration_since(call.sent));
                }
                told => {
                    *figures.refused.entry(told.map_or(0, |(_, status)| status)).or_default() += 1;
                    figures.asked_to_wait += usize::from(call.retry_after.is_some());
                }
            }
        }
        figures.set_up.sort();
        let sent = calls.iter().map(|call| call.sent);
        let ends = (sent.clone().min(), sent.max());
        figures.span = ends.0.zip(ends.1).map_or(Duration::ZERO, |(a, b)| b.duration_since(a));
        figures
    }

    /// Set-up within which that part of the answered calls was, in percent.
    pub fn within(&self, percent: usize) -> Duration {
        let last = (self.set_up.len() * percent).div_ceil(100).saturating_sub(1);
        self.set_up.get(last).copied().unwrap_or(Duration::MAX)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let [half, most] = [50, 99].map(|percent| ms(self.within(percent)));
        write!(f, "{} calls, {} whole, refused {:?}, ", self.placed, self.whole, self.refused)?;
        write!(f, "set-up p50 {half:.1} ms, p99 {most:.1} ms")
    }
}
