//! A panic in the work on one session ends that session and no other (architecture: panics are
//! bugs, and end one call). The owner catches it and calls
//! [`Shard::handle_fault`](super::Shard::handle_fault); here are faults on purpose, and the proof.

use crate::plan::SessionId;

/// What is being done for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Plan,
    Packet,
    Timer,
    Checkpoint,
}

/// In unit tests some sessions fail in this moment.
#[cfg(test)]
pub(super) fn strike(session: SessionId, moment: Moment) {
    assert!(FAULTS.get((u64::MAX - session.0) as usize) != Some(&moment), "a fault on purpose");
}

#[cfg(not(test))]
#[inline]
pub(super) const fn strike(_: SessionId, _: Moment) {}

/// The moments in which the sessions `u64::MAX`, one below, and so on, fail.
#[cfg(test)]
const FAULTS: [Moment; 4] = [Moment::Packet, Moment::Plan, Moment::Timer, Moment::Checkpoint];

/// A packet of this session panics.
#[cfg(test)]
pub(crate) const FAULTY: SessionId = SessionId(u64::MAX);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::{Duration, Instant, SystemTime};

    use super::super::session::Session;
    use super::super::{Counters, Output, Shard};
    use super::*;
    use crate::plan::{Command, End, Event, Plan, PoolConfig, PoolId, Port, Security, SidePlan};
    use crate::ports::PortMap;
    use crate::srtp::{MasterKey, Suite};

    /// Architecture: a panic ends one session, not the thread.
    #[test]
    fn a_fault_ends_the_session_it_struck_and_no_other() {
        let (mut shard, now) = shard();
        for (session, ports) in [(SessionId(1), [20000, 20002]), (FAULTY, [20004, 20006])] {
            let plan = Plan { session, sides: ports.map(side) };
            shard.handle_command(&Command::Apply(Box::new(plan)), now);
        }
        while shard.poll_output().is_some() {}
        let mut buf = packet();
        let faulty = shard.socket(port(20004), false).unwrap();
        let struck = catch_unwind(AssertUnwindSafe(|| {
            shard.handle_packet(faulty, peer(), &mut buf, 172, now);
        }));
        assert!(struck.is_err());
        shard.handle_fault();
        let outputs: Vec<_> = std::iter::from_fn(|| shard.poll_output()).collect();
        let other = shard.socket(port(20006), false).unwrap();
        assert_eq!(outputs, [Output::Idle(faulty.slot), Output::Idle(other.slot)]);
        let Some(Event::Ended { session: FAULTY, why: End::Failed, .. }) = shard.poll_event()
        else {
            panic!("the end is told");
        };
        let good = shard.socket(port(20000), false).unwrap();
        assert!(shard.handle_packet(good, peer(), &mut buf, 172, now).is_some());
        // No session was at work: none ends.
        shard.handle_fault();
        let Counters { faults, sessions, .. } = shard.counters();
        assert_eq!((faults, sessions), (2, 1));
    }

    /// Whatever fails in one session, and in the same batch: what its neighbours send, tell and are
    /// told is the same, byte for byte, as beside a session that does not fail.
    #[test]
    fn neighbours_of_a_fault_cannot_tell() {
        for (n, moment) in FAULTS.iter().enumerate() {
            let harmless = course(SessionId(77));
            let beside = course(SessionId(u64::MAX - n as u64));
            assert_eq!((harmless.failed, beside.failed), (0, 1), "{moment:?}");
            assert!(harmless.neighbours == beside.neighbours, "{moment:?}");
            assert!(harmless.neighbours.len() > 1000, "{}", harmless.neighbours.len());
        }
    }

    #[derive(Default)]
    struct Course {
        neighbours: Vec<String>,
        failed: usize,
    }

    /// Ten seconds of three calls, the middle one of which may fail.
    fn course(middle: SessionId) -> Course {
        let (mut shard, start) = shard();
        let mut course = Course::default();
        let ids = [SessionId(1), SessionId(2), middle];
        let ports = [[20000, 20002], [20008, 20010], [20004, 20006]];
        for (session, ports) in ids.into_iter().zip(ports) {
            let mut sides = ports.map(side);
            let key = MasterKey::new(Suite::AeadAes128Gcm, &[session.0 as u8; 28]).unwrap();
            sides[1].security = Some(Security { send: key, receive: Vec::new() });
            let apply = Command::Apply(Box::new(Plan { session, sides }));
            guarded(&mut shard, |shard| shard.handle_command(&apply, start));
        }
        let mut buf = packet();
        for round in 0..500_u64 {
            let now = start + Duration::from_millis(20 * round);
            for first in [20000, 20004, 20008] {
                buf.fill(7);
                buf[..12].copy_from_slice(&[0x80, 8, 0, round as u8, 0, 0, 0, 0, 0, 0, 0, 9]);
                buf[2] = (round >> 8) as u8;
                let socket = shard.socket(port(first), false).unwrap();
                let forward = guarded(&mut shard, |shard| {
                    shard.handle_packet(socket, peer(), &mut buf, 172, now)
                });
                if first != 20004 {
                    let sent =
                        forward.flatten().map(|forward| (forward, buf[..forward.len].to_vec()));
                    course.neighbours.push(format!("{sent:?}"));
                }
            }
            if shard.poll_timeout().is_some_and(|at| at <= now) {
                guarded(&mut shard, |shard| shard.handle_timeout(now));
            }
            while let Some(forward) = shard.poll_transmit(&mut buf, now) {
                let of_middle = [20004, 20006]
                    .map(|number| shard.socket(port(number), false).unwrap().slot)
                    .contains(&forward.slot);
                if !of_middle {
                    course.neighbours.push(format!("{:?}", &buf[..forward.len]));
                }
            }
            let event =
                |shard: &mut Shard| shard.poll_event().or_else(|| shard.poll_checkpoint(now));
            while let Some(event) =
                guarded(&mut shard, event).flatten().or_else(|| event(&mut shard))
            {
                match event {
                    Event::Ended { session, why: End::Failed, .. } if session == middle => {
                        course.failed += 1;
                    }
                    Event::Checkpoint { sessions } => {
                        for (session, state) in sessions.into_iter().filter(|(id, _)| *id != middle)
                        {
                            course.neighbours.push(format!("{session:?} {state:?}"));
                        }
                    }
                    Event::Latched { session, side, from } if session != middle => {
                        course.neighbours.push(format!("{session:?} {side:?} {from}"));
                    }
                    Event::Latched { .. } | Event::Sound { .. } | Event::Stray { .. } => {}
                    Event::Ended { .. } | Event::Warm { .. } | Event::Cold { .. } => {
                        panic!("{event:?}")
                    }
                }
            }
            while shard.poll_output().is_some() {}
        }
        // Which of them stands first in a batch is no matter.
        course.neighbours.sort();
        let Counters { sessions, faults, .. } = shard.counters();
        assert_eq!((sessions, faults), (3 - course.failed as u64, course.failed as u64));
        course
    }

    /// As the relay thread does it.
    fn guarded<T>(shard: &mut Shard, work: impl FnOnce(&mut Shard) -> T) -> Option<T> {
        let result = catch_unwind(AssertUnwindSafe(|| work(shard)));
        if result.is_err() {
            shard.handle_fault();
        }
        result.ok()
    }

    #[test]
    fn a_pair_that_cannot_be_had_ends_its_session() {
        let (mut shard, now) = shard();
        let plan = Plan { session: SessionId(1), sides: [20000, 20002].map(side) };
        shard.handle_command(&Command::Apply(Box::new(plan)), now);
        let slot = shard.socket(port(20002), false).unwrap().slot;
        shard.handle_lost(slot);
        shard.handle_lost(slot);
        let Some(Event::Ended { why: End::Refused, .. }) = shard.poll_event() else {
            panic!("the end is told");
        };
        assert_eq!((shard.poll_event(), shard.poll_timeout()), (None, None));
    }

    /// The hot part of a session stays small: keys lie apart.
    #[test]
    fn a_session_fits_into_little() {
        assert!(size_of::<Session>() <= 3072, "{}", size_of::<Session>());
    }

    fn shard() -> (Shard, Instant) {
        #[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
        let now = Instant::now();
        let address = Ipv4Addr::LOCALHOST.into();
        let pool = PoolConfig { id: PoolId(0), address, ports: 20000..=20019, dscp: None };
        let map = PortMap::new(1, &[pool]);
        (Shard::new(map, 0, [7; 32], now, SystemTime::UNIX_EPOCH), now)
    }

    fn side(number: u16) -> SidePlan {
        SidePlan { rtp: Some(peer()), ..SidePlan::new(port(number)) }
    }

    fn port(number: u16) -> Port {
        Port { shard: 0, pool: PoolId(0), index: 0, number }
    }

    fn peer() -> SocketAddr {
        "192.0.2.1:4000".parse().unwrap()
    }

    fn packet() -> Vec<u8> {
        let mut bytes = vec![0; 2048];
        bytes[0] = 0x80;
        bytes
    }
}
