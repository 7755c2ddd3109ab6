//! Reserving, resting and reusing, on virtual time.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

#[test]
fn numbering_keeps_whole_even_pairs_and_deals_them_to_the_shards() {
    let map = PortMap::new(2, &[pool(1, 20001..=20006), pool(2, 30000..=30003)]);
    // 20001 and 20006 have no partner inside the range.
    assert_eq!(map.pairs(), 4);
    let ports: Vec<Port> = (0..4).map(|slot| map.port(Slot(slot))).collect();
    let seen: Vec<_> = ports.iter().map(|p| (p.pool.0, p.number, p.shard)).collect();
    assert_eq!(seen, [(1, 20002, 0), (1, 20004, 1), (2, 30000, 0), (2, 30002, 1)]);
    for (slot, port) in ports.iter().enumerate() {
        assert_eq!(map.slot(*port), Some(Slot(slot as u32)));
    }
}

#[test]
fn numbering_ends_with_the_last_port() {
    let map = PortMap::new(1, &[pool(1, 65534..=65535), pool(2, 65535..=65535)]);
    assert_eq!(map.pairs(), 1);
    assert_eq!(map.port(Slot(0)).number, 65534);
    assert_eq!(map.port(Slot(0)).rtcp(), 65535);
}

#[test]
fn what_is_kept_back_goes_to_the_urgent_alone() {
    let (mut ports, now) = warm(1, &[pool(1, 20000..=20127)]);
    ports.keep_back(8);
    let mut count = |urgent: bool| {
        let want = Want { urgent, ..PoolId(1).into() };
        std::iter::from_fn(|| ports.reserve_in(0, want, now)).count()
    };
    // A sixteenth of 64 pairs.
    assert_eq!([count(false), count(false), count(true)], [60, 0, 4]);
}

#[test]
fn ports_of_others_have_no_place() {
    let map = PortMap::new(2, &[pool(1, 20000..=20003)]);
    let good = map.port(Slot(0));
    for bad in [
        Port { number: 20001, ..good },
        Port { number: 19998, ..good },
        Port { number: 20004, ..good },
        Port { number: 20002, ..good },
        Port { shard: 1, ..good },
        Port { index: 1, ..good },
        Port { pool: PoolId(2), ..good },
    ] {
        assert_eq!(map.slot(bad), None, "{bad:?}");
    }
}

#[test]
fn exactly_this_pair_is_claimed_once_whatever_it_was() {
    let (mut ports, now) = warm(1, &[pool(1, 20000..=20007)]);
    let taken = ports.reserve_in(0, PoolId(1), now).unwrap();
    let resting = ports.reserve_in(0, PoolId(1), now).unwrap();
    ports.release(resting, now);
    let mut cold = Ports::new(1, &[pool(1, 20000..=20007)], ms(1000));
    let mut free = (20000..=20006).step_by(2).map(|number| Port { number, ..taken });
    let free = free.rfind(|port| ![taken, resting].contains(port)).unwrap();
    for (port, mine) in [
        (taken, false),
        (resting, true),
        (free, true),
        (Port { number: 20008, ..taken }, false),
        (Port { shard: 1, ..taken }, false),
    ] {
        assert_eq!(ports.claim(port), mine, "{port:?}");
        assert!(!ports.claim(port), "{port:?} again");
    }
    assert_eq!(ports.capacity(PoolId(1)).reserved, 3);
    assert!(cold.claim(taken) && !cold.claim(taken));
    // What was claimed is nobody else's, told as warm or not, and rests like any other.
    cold.warm(&[taken]);
    assert_eq!(cold.reserve_in(0, PoolId(1), now), None);
    cold.release(taken, now);
    assert_eq!(cold.reserve_in(0, PoolId(1), now), Some(taken));
    let left = ports.reserve_in(0, PoolId(1), now).unwrap();
    assert!(![taken, resting, free].contains(&left));
    assert_eq!(ports.reserve_in(0, PoolId(1), now), None);
}

#[test]
fn a_pair_that_went_cold_is_not_to_be_had_until_it_is_warm() {
    let (mut ports, now) = warm(1, &[pool(1, 20000..=20003)]);
    let (a, b) = ports.reserve(PoolId(1), PoolId(1), now).unwrap();
    ports.release(b, now);
    ports.cold(a);
    ports.cold(b);
    ports.release(a, now);
    assert_eq!(ports.capacity(PoolId(1)).warm, 0);
    assert_eq!(ports.reserve_in(0, PoolId(1), now), None);
    ports.warm(&[a]);
    assert_eq!(ports.reserve_in(0, PoolId(1), now), Some(a));
}

#[test]
fn free_pairs_are_given_up_beyond_some() {
    let (mut ports, now) = warm(2, &[pool(1, 20000..=20019), pool(2, 30000..=30019)]);
    let (a, b) = ports.reserve(PoolId(1), PoolId(2), now).unwrap();
    let (c, _) = ports.reserve(PoolId(1), PoolId(2), now).unwrap();
    ports.release(c, now);
    // Of five pairs each queue keeps two; two in each pool are reserved, and one rests.
    let given = ports.cool(2);
    assert!(!given.contains(&a) && !given.contains(&b));
    let left = [1, 2].map(|id| ports.capacity(PoolId(id)));
    assert_eq!(left.map(|c| (c.reserved, c.free + c.resting)), [(1, 4), (2, 4)]);
    assert_eq!(given.len(), 20 - 3 - 8);
    assert_eq!(ports.cool(2), []);
    ports.warm(&given);
    assert_eq!(ports.capacity(PoolId(1)).warm, 10);
}

#[test]
fn both_sides_lie_in_one_shard_and_shards_take_turns() {
    let (mut ports, now) = warm(3, &[pool(1, 20000..=20029), pool(2, 30000..=30029)]);
    let shards: Vec<_> = (0..6)
        .map(|_| {
            let (a, b) = ports.reserve(PoolId(1), PoolId(2), now).unwrap();
            assert_eq!((a.shard, a.pool, b.pool), (b.shard, PoolId(1), PoolId(2)));
            a.shard
        })
        .collect();
    assert_eq!(shards, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn nothing_is_kept_when_only_one_side_is_left() {
    let (mut ports, now) = warm(1, &[pool(1, 20000..=20003), pool(2, 30000..=30001)]);
    assert!(ports.reserve(PoolId(1), PoolId(2), now).is_some());
    assert_eq!(ports.reserve(PoolId(1), PoolId(2), now), None);
    assert_eq!(ports.capacity(PoolId(1)).free, 1);
    assert_eq!(ports.reserve(PoolId(1), PoolId(9), now), None);
}

#[test]
fn one_pool_serves_both_sides_with_different_pairs() {
    let (mut ports, now) = warm(1, &[pool(1, 20000..=20003)]);
    let (a, b) = ports.reserve(PoolId(1), PoolId(1), now).unwrap();
    assert_ne!(a, b);
    assert_eq!(ports.reserve(PoolId(1), PoolId(1), now), None);
}

#[test]
fn a_released_pair_rests_and_the_oldest_comes_first() {
    let (mut ports, now) = warm(1, &[pool(1, 20000..=20005)]);
    let taken: Vec<_> = (0..3).map(|_| ports.reserve_in(0, PoolId(1), now).unwrap()).collect();
    ports.release(taken[1], now);
    ports.release(taken[0], now + ms(600));
    // Under demand the rest is cut short, oldest first.
    assert_eq!(ports.reserve_in(0, PoolId(1), now + ms(700)), Some(taken[1]));
    ports.release(taken[1], now + ms(800));
    ports.release(taken[2], now + ms(900));
    assert_eq!(ports.capacity(PoolId(1)).resting, 3);
    // After their rest they come in the order of release.
    let later = now + ms(5000);
    let again: Vec<_> = (0..3).map(|_| ports.reserve_in(0, PoolId(1), later).unwrap()).collect();
    assert_eq!(again, [taken[0], taken[1], taken[2]]);
}

#[test]
fn a_resting_pair_waits_while_others_are_free() {
    let (mut ports, now) = warm(1, &[pool(1, 20000..=20003)]);
    let first = ports.reserve_in(0, PoolId(1), now).unwrap();
    ports.release(first, now);
    let second = ports.reserve_in(0, PoolId(1), now + ms(10)).unwrap();
    assert_ne!(first, second);
}

#[test]
fn a_pair_that_still_gets_packets_is_the_last_resort() {
    let (mut ports, now) = warm(1, &[pool(1, 20000..=20003)]);
    let free = ports.reserve_in(0, PoolId(1), now).unwrap();
    ports.release(free, now);
    let soon = now + ms(10);
    let other = Port { number: 20002, ..free };
    ports.stray(other, soon);
    // The resting pair is quiet, the free one is not.
    assert_eq!(ports.reserve_in(0, PoolId(1), soon), Some(free));
    // And yet it is used when nothing else is left.
    assert_eq!(ports.reserve_in(0, PoolId(1), soon), Some(other));
    assert_eq!(ports.reserve_in(0, PoolId(1), soon), None);
}

#[test]
fn a_pool_of_two_families_gives_the_one_that_is_asked_for() {
    let v6 = PoolConfig { address: "::1".parse().unwrap(), ..pool(1, 20000..=20003) };
    let (mut ports, now) = warm(1, &[pool(1, 20000..=20003), v6]);
    let want = Want { family: Family::V6, ..PoolId(1).into() };
    for _ in 0..2 {
        let port = ports.reserve_in(0, want, now).unwrap();
        assert_eq!(port.index, 1);
        assert!(ports.address(port).unwrap().is_ipv6());
    }
    assert_eq!(ports.reserve_in(0, want, now), None);
    assert_eq!(ports.capacity(PoolId(1)).free, 2);
}

#[test]
fn what_was_not_reserved_is_not_released_and_warm_twice_is_warm_once() {
    let (mut ports, now) = warm(1, &[pool(1, 20000..=20001)]);
    let port = ports.reserve_in(0, PoolId(1), now).unwrap();
    ports.warm(&[port]);
    ports.release(port, now);
    ports.release(port, now);
    let before = Capacity { configured: 1, warm: 1, resting: 1, ..Capacity::default() };
    assert_eq!(ports.capacity(PoolId(1)), before);
    assert!(ports.reserve_in(0, PoolId(1), now).is_some());
    assert_eq!(ports.reserve_in(0, PoolId(1), now), None);
}

proptest! {
    /// No pair is ever in two hands, none is lost, and the figures add up.
    #[test]
    fn pairs_are_conserved(steps in prop::collection::vec((0u8..5, any::<u8>()), 1..200)) {
        let pools = [pool(1, 20000..=20011), pool(2, 30000..=30007)];
        let (mut ports, start) = warm(2, &pools);
        let mut held: Vec<Port> = Vec::new();
        for (time, (step, pick)) in steps.into_iter().enumerate() {
            let now = start + ms(100 * time as u64);
            match step {
                0 | 1 => held.extend(
                    ports.reserve(PoolId(1), PoolId(2), now).map(<[Port; 2]>::from).into_iter().flatten(),
                ),
                2 => held.extend(ports.reserve_in(pick % 2, PoolId(1), now)),
                3 if !held.is_empty() => {
                    let port = held.swap_remove(usize::from(pick) % held.len());
                    ports.release(port, now);
                }
                _ => ports.stray(Port { shard: 0, pool: PoolId(1), index: 0, number: 20000 }, now),
            }
            let distinct: HashSet<_> = held.iter().collect();
            prop_assert_eq!(distinct.len(), held.len());
            let (one, two) = (ports.capacity(PoolId(1)), ports.capacity(PoolId(2)));
            prop_assert_eq!((one.reserved + two.reserved) as usize, held.len());
            prop_assert_eq!(one.free + one.resting + one.reserved, 6);
            prop_assert_eq!(two.free + two.resting + two.reserved, 4);
            let queued: usize = ports.queues.iter().map(Queue::available).sum();
            prop_assert_eq!(queued + held.len(), 10);
        }
    }
}

fn pool(id: u8, ports: std::ops::RangeInclusive<u16>) -> PoolConfig {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    PoolConfig { id: PoolId(id), address, ports, dscp: None }
}

fn warm(shards: u8, pools: &[PoolConfig]) -> (Ports, Instant) {
    let mut ports = Ports::new(shards, pools, Duration::from_secs(1));
    let all: Vec<_> = (0..ports.map.pairs()).map(|slot| ports.map.port(Slot(slot))).collect();
    ports.warm(&all);
    #[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
    let now = Instant::now();
    (ports, now)
}

fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}
