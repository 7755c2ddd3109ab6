//! Addresses of nobody we know that keep knocking: counted in bounded memory, and left out for a while when they
//! overdo it.
//!
//! Whoever is known to a realm or an edge never comes here, so no ban can hit a configured network, whatever source
//! somebody forges. A ban spares us the look at what a stranger sends: but for what carries an identifier of ours, it
//! is dropped for its source alone.
//!
//! Bounded: `MOST` addresses (IPv6: networks of 64 bits); the one that was quiet for longest is forgotten first.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What is known of strangers.
#[derive(Debug, Default)]
pub struct Strangers {
    seen: HashMap<IpAddr, Stranger>,
    /// By when they were last heard, the oldest first.
    quiet: BTreeSet<(Instant, IpAddr)>,
}

#[derive(Debug)]
struct Stranger {
    /// Bad things since `since`.
    count: u32,
    since: Instant,
    heard: Instant,
    banned_until: Option<Instant>,
}

impl Strangers {
    /// Whether that address is left out now.
    pub fn is_banned(&self, address: IpAddr, now: Instant) -> bool {
        let stranger = self.seen.get(&holder(address));
        stranger.is_some_and(|stranger| stranger.banned_until.is_some_and(|until| now < until))
    }

    /// It did something that nobody we know does. True when it is left out from now on.
    pub fn note(&mut self, address: IpAddr, now: Instant) -> bool {
        let holder = holder(address);
        if !self.seen.contains_key(&holder) && self.seen.len() >= MOST {
            self.forget_quietest();
        }
        let stranger = self.seen.entry(holder).or_insert(Stranger {
            count: 0,
            since: now,
            heard: now,
            banned_until: None,
        });
        // A second's grain is enough, and a flood does not sort its source anew each time.
        if stranger.count == 0 || now.saturating_duration_since(stranger.heard) >= GRAIN {
            self.quiet.remove(&(stranger.heard, holder));
            stranger.heard = now;
            self.quiet.insert((now, holder));
        }
        if now.saturating_duration_since(stranger.since) >= WINDOW {
            (stranger.since, stranger.count) = (now, 0);
        }
        stranger.count = stranger.count.saturating_add(1);
        let free = stranger.banned_until.is_none_or(|until| until <= now);
        if free && stranger.count >= TOO_MANY {
            stranger.banned_until = Some(now + BAN);
            return true;
        }
        false
    }

    /// How many addresses are left out.
    pub fn banned(&self, now: Instant) -> usize {
        let banned = |s: &&Stranger| s.banned_until.is_some_and(|until| now < until);
        self.seen.values().filter(banned).count()
    }

    fn forget_quietest(&mut self) {
        if let Some((_, address)) = self.quiet.pop_first() {
            self.seen.remove(&address);
        }
    }
}

/// Who is counted as one: an IPv4 address, or the /64 that one IPv6 customer has.
fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

/// Addresses that are remembered: half a megabyte.
const MOST: usize = 4096;
/// So many bad things in [`WINDOW`] are too many.
const TOO_MANY: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// How long one is left out.
const BAN: Duration = Duration::from_secs(300);
const GRAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    #[test]
    fn who_overdoes_it_is_left_out_for_a_while() {
        let (mut strangers, now) = (Strangers::default(), start());
        let bans = (0..TOO_MANY + 5).filter(|_| strangers.note(address(1), now)).count();
        assert_eq!(bans, 1);
        assert!(strangers.is_banned(address(1), now + BAN / 2));
        assert!(!strangers.is_banned(address(2), now));
        assert_eq!((strangers.banned(now), strangers.banned(now + BAN)), (1, 0));
        assert!(!strangers.is_banned(address(1), now + BAN));
        assert!(!strangers.note(address(1), now + BAN), "it begins anew");
    }

    #[test]
    fn a_mistake_now_and_then_is_none() {
        let (mut strangers, start) = (Strangers::default(), start());
        for n in 0..TOO_MANY * 3 {
            assert!(!strangers.note(address(1), start + WINDOW / TOO_MANY * 2 * n));
        }
    }

    #[test]
    fn one_customer_of_ipv6_is_one_stranger() {
        let (mut strangers, now) = (Strangers::default(), start());
        for n in 0..TOO_MANY {
            strangers.note(format!("2001:db8::{n}").parse().unwrap(), now);
        }
        assert!(strangers.is_banned("2001:db8::ffff".parse().unwrap(), now));
        assert!(!strangers.is_banned("2001:db8:0:1::".parse().unwrap(), now));
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        assert!((0..TOO_MANY).any(|_| strangers.note(mapped, now)));
        assert!(strangers.is_banned(address(1), now));
    }

    #[test]
    fn at_01_a_hundred_thousand_sources_take_the_room_of_a_few_thousand() {
        let (mut strangers, start) = (Strangers::default(), start());
        for _ in 0..TOO_MANY {
            strangers.note(address(7), start);
        }
        for n in 1..=100_000 {
            let now = start + Duration::from_millis(n.into());
            strangers.note(address(n + 10), now);
            strangers.note(address(7), now);
        }
        assert_eq!((strangers.seen.len(), strangers.quiet.len()), (MOST, MOST));
        let now = start + Duration::from_secs(100);
        assert!(strangers.is_banned(address(7), now), "who keeps knocking is not forgotten");
        assert!(!strangers.seen.contains_key(&address(11)));
    }
}
