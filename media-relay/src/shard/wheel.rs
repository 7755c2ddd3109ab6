//! When peers are played something: a wheel of 20 places, one for each millisecond of a packet's time.
//!
//! A side that plays stands in one place for as long as it plays, and is visited there every 20 ms, which moves nothing and
//! allocates nothing. Whoever stands there for nothing any more is taken out by the visit. There are never more entries
//! than sides of sessions.

use std::time::{Duration, Instant};

use crate::audio::FRAME_TIME;
use crate::plan::Side;

/// Who is played something.
#[derive(Debug)]
pub(super) struct Wheel {
    /// Sessions by their keys.
    places: [Vec<(usize, Side)>; PLACES],
    began: Instant,
    /// Ticks since then that were served.
    served: u64,
}

/// Where a side stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(usize);

impl Wheel {
    /// Nobody yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { places: std::array::from_fn(|_| Vec::new()), began: now, served: 0 }
    }

    /// Where a side is visited from `due` on, at most a tick later; not before the next tick.
    pub(super) fn enter(&mut self, key: usize, side: Side, due: Instant) -> Place {
        let ticks =
            due.saturating_duration_since(self.began).as_micros().div_ceil(TICK.as_micros());
        let tick = u64::try_from(ticks).unwrap_or(u64::MAX).max(self.served + 1);
        let place = Place((tick % PLACES as u64) as usize);
        let entries = &mut self.places[place.0];
        // It may have left that place and not been visited since.
        if !entries.contains(&(key, side)) {
            entries.push((key, side));
        }
        place
    }

    /// Visits all whose tick has come since the last turn, each once; `stays` says whether it still stands there.
    pub(super) fn turn(&mut self, now: Instant, mut stays: impl FnMut(usize, Side, Place) -> bool) {
        let ticks = now.saturating_duration_since(self.began).as_micros() / TICK.as_micros();
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX);
        let first = (self.served + 1).max((ticks + 1).saturating_sub(PLACES as u64));
        self.served = self.served.max(ticks);
        for tick in first..=ticks {
            let place = (tick % PLACES as u64) as usize;
            self.places[place].retain(|(key, side)| stays(*key, *side, Place(place)));
        }
    }

    /// When somebody is to be visited next.
    pub(super) fn due(&self) -> Option<Instant> {
        let mut next = self.served + 1..=self.served + PLACES as u64;
        let tick = next.find(|tick| !self.places[(tick % PLACES as u64) as usize].is_empty())?;
        Some(self.began + Duration::from_millis(tick * TICK.as_millis() as u64))
    }
}

/// From one place to the next.
const TICK: Duration = Duration::from_millis(1);
const PLACES: usize = (FRAME_TIME.as_millis() / TICK.as_millis()) as usize;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::super::Shard;
    use super::*;
    use crate::audio::{Clip, Law};
    use crate::plan::{Command, Plan, Play, PoolConfig, PoolId, Port, SessionId, SidePlan};
    use crate::ports::PortMap;

    #[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
    fn start() -> Instant {
        Instant::now()
    }

    fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// Who is visited by a turn; `gone` leave.
    fn turn(wheel: &mut Wheel, now: Instant, gone: &[usize]) -> Vec<usize> {
        let mut visited = Vec::new();
        wheel.turn(now, |key, _, _| {
            visited.push(key);
            !gone.contains(&key)
        });
        visited
    }

    #[test]
    fn each_is_visited_every_20_ms_until_it_leaves() {
        let began = start();
        let mut wheel = Wheel::new(began);
        assert_eq!(wheel.due(), None);
        turn(&mut wheel, began + us(7_300), &[]);
        for (key, due) in [(1, 7_300), (2, 7_000), (3, 9_100), (4, 27_000)] {
            wheel.enter(key, Side::A, began + us(due));
        }
        for round in 0..50 {
            // The first two cannot be visited before the next tick; who is due within it is visited at its end.
            for (due, keys) in [(8_000, &[1, 2][..]), (10_000, &[3]), (27_000, &[4])] {
                let due = began + us(due + round * 20_000);
                assert_eq!(wheel.due(), Some(due));
                assert_eq!(turn(&mut wheel, due - us(1), &[]).len(), 0);
                assert_eq!(turn(&mut wheel, due, &[]), keys);
                assert_eq!(turn(&mut wheel, due + us(900), &[]).len(), 0);
            }
        }
        let late = began + us(1_000_000);
        assert_eq!(turn(&mut wheel, late + us(60_000), &[1, 3]), [4, 1, 2, 3], "each once");
        assert_eq!(turn(&mut wheel, late + us(80_000), &[2, 4]), [4, 2]);
        assert_eq!(wheel.due(), None);
        assert_eq!(turn(&mut wheel, late, &[]).len(), 0, "time that goes back changes nothing");
    }

    /// The two sides of a session are two; one side stands in a place once.
    #[test]
    fn one_side_stands_in_a_place_once() {
        let began = start();
        let mut wheel = Wheel::new(began);
        let place = wheel.enter(1, Side::A, began + us(5_000));
        assert_eq!(wheel.enter(1, Side::A, began + us(5_000)), place);
        assert_eq!(wheel.enter(1, Side::B, began + us(25_000)), place);
        assert_ne!(wheel.enter(1, Side::A, began + us(6_000)), place);
        assert_eq!(turn(&mut wheel, began + us(5_000), &[]).len(), 2);
    }

    /// However long a shard lives, its ticks are counted.
    #[test]
    fn a_wheel_turns_for_months() {
        let began = start();
        let mut wheel = Wheel::new(began);
        let now = began + Duration::from_secs(100 * 86_400);
        turn(&mut wheel, now, &[]);
        wheel.enter(1, Side::A, now);
        assert_eq!(wheel.due(), Some(now + TICK));
        assert_eq!(turn(&mut wheel, now + TICK, &[]), [1]);
        assert_eq!(wheel.due(), Some(now + TICK + FRAME_TIME));
    }

    /// A packet of what a peer is played costs the wheel a visit, and its session's timer nothing.
    #[test]
    fn a_packet_moves_no_timer() {
        let began = start();
        let address = std::net::IpAddr::from([127, 0, 0, 1]);
        let pool = PoolConfig { id: PoolId(0), address, ports: 20000..=20019, dscp: None };
        let map = PortMap::new(1, &[pool]);
        let mut shard = Shard::new(map, 0, [9; 32], began, SystemTime::UNIX_EPOCH);
        let clip = Arc::new(Clip::new(&[1; 100]).unwrap());
        let sides = [20000, 20002].map(|number| {
            let mut side = SidePlan::new(Port { shard: 0, pool: PoolId(0), index: 0, number });
            side.rtp = Some(([192, 0, 2, 1], number).into());
            let clip = Arc::clone(&clip);
            side.play = Some(Play { clip, law: Law::A, payload: 8, looped: true, yields: false });
            side
        });
        let plan = Plan { session: SessionId(1), sides };
        shard.handle_command(&Command::Apply(Box::new(plan)), began);
        let timers = shard.timers.clone();
        let (mut buf, mut sent, mut now) = ([0; 300], Vec::new(), began);
        while now < began + us(400_000) {
            now = shard.poll_timeout().unwrap();
            shard.handle_timeout(now);
            while let Some(forward) = shard.poll_transmit(&mut buf, now) {
                sent.push((forward.slot, now));
            }
        }
        assert_eq!(shard.timers, timers);
        assert_eq!(shard.counters().played, 42, "each side from 1 ms to 401 ms");
        for pair in sent.windows(4).step_by(2) {
            let [(a, at), (b, also), (c, next), _] = *pair else { panic!("{pair:?}") };
            assert!(a == c && a != b && at == also && next == at + FRAME_TIME, "{pair:?}");
        }
    }
}
