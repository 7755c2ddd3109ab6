//! Media that goes on and on in the background, both ways, and how well it got through.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::media::MediaEnd;

/// Two ends that speak a packet every 20 ms.
pub struct Stream {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(MediaEnd, MediaEnd, [Heard; 2])>,
}

/// What one end heard of the other.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub sent: usize,
    pub lost: usize,
    /// The longest time without a packet, beyond what this thread itself paused meanwhile.
    pub gap: Duration,
}

impl Stream {
    /// Begins; both ends know where to send.
    pub fn start(mut a: MediaEnd, mut b: MediaEnd) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            drop((a.hear(), b.hear()));
            let mut ways = [Way::default(), Way::default()];
            let mut next = Instant::now();
            let mut rest = None;
            let (mut looked, mut paused) = (Instant::now(), Duration::ZERO);
            loop {
                let now = Instant::now();
                // Neither sent nor heard anything for so long.
                let turn = now.saturating_duration_since(looked);
                (looked, paused) = (now, paused + turn.saturating_sub(TURN));
                if rest.is_none() && now >= next {
                    next = now.max(next + INTERVAL - Duration::from_millis(5)) + INTERVAL;
                    next = next.min(now + INTERVAL);
                    ways[0].sent(a.speak().payload);
                    ways[1].sent(b.speak().payload);
                }
                let came = (Instant::now(), paused);
                b.hear().iter().for_each(|packet| ways[0].came(&packet.payload, came));
                a.hear().iter().for_each(|packet| ways[1].came(&packet.payload, came));
                if told.load(Ordering::Relaxed) {
                    let until = *rest.get_or_insert(now + Duration::from_millis(500));
                    if now >= until || ways.iter().all(|way| way.open.is_empty()) {
                        break;
                    }
                }
                thread::sleep(Duration::from_millis(1));
            }
            (a, b, ways.map(Way::heard))
        });
        Self { stop, thread }
    }

    /// Ends it: the ends, and what the second heard and what the first heard.
    pub fn stop(self) -> (MediaEnd, MediaEnd, [Heard; 2]) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the stream's thread")
    }
}

#[derive(Default)]
struct Way {
    /// By payload: the gateway may renumber packets.
    open: HashSet<Vec<u8>>,
    count: usize,
    /// When the newest packet came, and how long this thread had paused until then.
    last: Option<(Instant, Duration)>,
    gap: Duration,
}

impl Way {
    fn sent(&mut self, payload: Vec<u8>) {
        self.open.insert(payload);
        self.count += 1;
    }

    fn came(&mut self, payload: &[u8], (now, paused): (Instant, Duration)) {
        if !self.open.remove(payload) {
            return;
        }
        if let Some((last, before)) = self.last.replace((now, paused)) {
            let silent = now.saturating_duration_since(last);
            self.gap = self.gap.max(silent.saturating_sub(paused - before));
        }
    }

    fn heard(self) -> Heard {
        Heard { sent: self.count, lost: self.open.len(), gap: self.gap }
    }
}

const INTERVAL: Duration = Duration::from_millis(20);
/// One turn of the thread takes no longer, unless it does not get a CPU.
const TURN: Duration = Duration::from_millis(5);
