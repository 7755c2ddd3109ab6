//! How the peers of a trunk share its calls: neighbours with a weight take turns by chance, each as often as it weighs
//! (as RFC 2782 has it for records of one priority).

use super::Hop;
use crate::random::Random;

/// Draws the order of each run of hops that share, which are those of one trunk and rank with a weight. No others move.
pub(super) fn share(
    hops: &mut [Hop],
    weight: impl Fn(Hop) -> Option<u16>,
    rank: impl Fn(Hop) -> u8,
    random: &mut Random,
) {
    let together = |one: &Hop, other: &Hop| {
        let weighed = weight(*one).is_some() && weight(*other).is_some();
        weighed && one.end() == other.end() && rank(*one) == rank(*other)
    };
    for run in hops.chunk_by_mut(together).filter(|run| run.len() > 1) {
        for at in 0..run.len() - 1 {
            let rest = &mut run[at..];
            let weights = rest.iter().map(|hop| u64::from(weight(*hop).unwrap_or(1)));
            let mut drawn = random.number() % weights.clone().sum::<u64>();
            let next = weights.take_while(|weight| take(&mut drawn, *weight)).count();
            rest[..=next].rotate_right(1);
        }
    }
}

/// Goes on behind a share; not, when what was drawn lies in it.
const fn take(drawn: &mut u64, weight: u64) -> bool {
    let behind = *drawn >= weight;
    *drawn = drawn.saturating_sub(if behind { weight } else { 0 });
    behind
}

#[cfg(test)]
mod tests {
    use super::super::TrunkId;
    use super::*;

    fn peer(peer: usize) -> Hop {
        Hop::Peer { trunk: TrunkId(0), peer }
    }

    fn peer_of(hop: Hop) -> usize {
        match hop {
            Hop::Peer { peer, .. } => peer,
            Hop::Proxy { .. } => panic!("a proxy"),
        }
    }

    #[test]
    fn each_comes_first_as_often_as_it_weighs_and_all_come() {
        let weights = [Some(1), Some(2), Some(5)];
        let (mut random, mut first) = (Random::seeded(7), [0_u32; 3]);
        for _ in 0..8000 {
            let mut hops = [peer(0), peer(1), peer(2)];
            share(&mut hops, |hop| weights[peer_of(hop)], |_| 0, &mut random);
            first[peer_of(hops[0])] += 1;
            let mut all = hops.map(peer_of);
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2]);
        }
        for (count, weight) in first.into_iter().zip([1, 2, 5]) {
            assert!(count.abs_diff(weight * 1000) < 150, "{first:?}");
        }
    }

    #[test]
    fn without_weight_beyond_a_rank_and_of_another_trunk_none_moves() {
        let mut random = Random::seeded(7);
        let other = |peer| Hop::Peer { trunk: TrunkId(1), peer };
        for _ in 0..100 {
            let mut hops = [peer(0), peer(1), peer(2), other(1)];
            let weights = [None, Some(1), Some(1)];
            share(
                &mut hops,
                |hop| weights[peer_of(hop)],
                |hop| u8::from(peer_of(hop) == 2),
                &mut random,
            );
            assert_eq!(hops, [peer(0), peer(1), peer(2), other(1)]);
        }
    }
}
