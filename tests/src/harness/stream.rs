//! Media that goes on and on in the background, both ways, and how well it got through.

use std::collections::HashMap;
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
    /// The longest time without a packet, beyond what the sender itself paused.
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
            loop {
                let now = Instant::now();
                if rest.is_none() && now >= next {
                    next = now.max(next + INTERVAL - Duration::from_millis(5)) + INTERVAL;
                    next = next.min(now + INTERVAL);
                    ways[0].sent(a.speak().payload, now);
                    ways[1].sent(b.speak().payload, now);
                }
                let now = Instant::now();
                b.hear().iter().for_each(|packet| ways[0].came(&packet.payload, now));
                a.hear().iter().for_each(|packet| ways[1].came(&packet.payload, now));
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
    open: HashMap<Vec<u8>, Instant>,
    count: usize,
    /// When the newest packet that came was sent, and when it came.
    last: Option<(Instant, Instant)>,
    gap: Duration,
}

impl Way {
    fn sent(&mut self, payload: Vec<u8>, now: Instant) {
        self.open.insert(payload, now);
        self.count += 1;
    }

    fn came(&mut self, payload: &[u8], now: Instant) {
        let Some(sent) = self.open.remove(payload) else { return };
        if let Some((last_sent, last_came)) = self.last {
            let paused = sent.saturating_duration_since(last_sent).saturating_sub(INTERVAL);
            let silent = now.saturating_duration_since(last_came);
            // A lost packet is no pause of the sender: all that were sent in between count.
            let lost = self.open.values().filter(|at| **at > last_sent && **at < sent).count();
            let paused = if lost > 0 { Duration::ZERO } else { paused };
            self.gap = self.gap.max(silent.saturating_sub(paused));
        }
        self.last = Some((sent, now));
    }

    fn heard(self) -> Heard {
        Heard { sent: self.count, lost: self.open.len(), gap: self.gap }
    }
}

const INTERVAL: Duration = Duration::from_millis(20);
