//! Who owns which numbers, and from which trunks an end takes calls: tables made for a look-up among a million numbers, where
//! what takes time is memory that no cache has.

use std::collections::HashMap;

use config::{Config, Number, NumberRange};

use super::{End, TenantId, TrunkId};

/// Ranges that do not overlap. The number where each begins stands apart; of those every [`FAN`]th is in the level above, and
/// so on, so that each step down reads one or two lines of memory, and the steps at the top are in the cache.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// The finest level last.
    levels: Vec<Vec<Number>>,
    spans: Vec<Span>,
}

/// What belongs to the number where a range begins.
#[derive(Clone, Copy, Debug)]
struct Span {
    last: Number,
    owner: Owner,
}

/// An [`End`] in four bytes: a tenant's position doubled, or a trunk's and one more.
#[derive(Clone, Copy, Debug)]
struct Owner(u32);

/// From which trunks ends take calls. Most tenants of a provider take them from the same few, so the sets are kept once.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    sets: Vec<Box<[TrunkId]>>,
    tenants: Vec<u32>,
    trunks: Vec<u32>,
}

impl Owners {
    pub(super) fn new(mut ranges: Vec<(NumberRange, End)>) -> Self {
        ranges.sort_unstable_by_key(|(range, _)| range.first);
        let spans = ranges
            .iter()
            .map(|(range, end)| Span { last: range.last, owner: Owner::new(*end) })
            .collect();
        let mut level: Vec<Number> = ranges.iter().map(|(range, _)| range.first).collect();
        drop(ranges);
        let mut levels = Vec::new();
        while level.len() > FAN {
            let above = level.iter().step_by(FAN).copied().collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        levels.push(level);
        levels.reverse();
        Self { levels, spans }
    }

    /// Whose range holds the number.
    pub(super) fn of(&self, number: Number) -> Option<End> {
        let mut at = 0;
        for level in &self.levels {
            let start = at * FAN;
            let firsts = &level[start..level.len().min(start + FAN)];
            at = start + firsts.partition_point(|first| *first <= number).checked_sub(1)?;
        }
        let span = self.spans.get(at)?;
        (number <= span.last).then(|| span.owner.end())
    }
}

impl Owner {
    fn new(end: End) -> Self {
        let (position, trunk) = match end {
            End::Tenant(TenantId(position)) => (position, 0),
            End::Trunk(TrunkId(position)) => (position, 1),
        };
        Self(narrow(position) << 1 | trunk)
    }

    const fn end(self) -> End {
        let position = (self.0 >> 1) as usize;
        match self.0 & 1 {
            0 => End::Tenant(TenantId(position)),
            _ => End::Trunk(TrunkId(position)),
        }
    }
}

impl Inbound {
    pub(super) fn new(config: &Config) -> Self {
        let mut inbound = Self::default();
        let mut known = HashMap::new();
        let mut set_of = |trunks: &[usize]| {
            *known.entry(trunks.to_vec()).or_insert_with(|| {
                inbound.sets.push(trunks.iter().copied().map(TrunkId).collect());
                narrow(inbound.sets.len() - 1)
            })
        };
        inbound.tenants =
            config.tenants.iter().map(|tenant| set_of(&tenant.inbound_trunks)).collect();
        inbound.trunks = config.trunks.iter().map(|trunk| set_of(&trunk.inbound_trunks)).collect();
        inbound
    }

    /// Whether that end takes calls from that trunk.
    pub(super) fn takes(&self, end: End, trunk: TrunkId) -> bool {
        let set = match end {
            End::Tenant(id) => self.tenants[id.0],
            End::Trunk(id) => self.trunks[id.0],
        };
        self.sets[set as usize].contains(&trunk)
    }
}

/// A position in a configuration: a file of that many tenants fits in no memory.
fn narrow(position: usize) -> u32 {
    u32::try_from(position).ok().filter(|it| *it < 1 << 31).expect("fewer than 2^31 ends")
}

/// Numbers of a level for one of the level above: two lines of a cache.
const FAN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn among_many_ranges_each_number_has_the_owner_of_its_range() {
        let number = |n: u64| Number::parse(&format!("+4420{n:08}")).unwrap();
        for count in [0, 1, 15, 16, 17, 255, 256, 257, 4096, 5000] {
            // Three numbers each, and two of nobody behind them; not in order.
            let end = |n: u64| match n.is_multiple_of(3) {
                true => End::Trunk(TrunkId(n as usize)),
                false => End::Tenant(TenantId(n as usize)),
            };
            let range =
                |n: u64| NumberRange { first: number(10 + n * 5), last: number(12 + n * 5) };
            let owners = Owners::new((0..count).rev().map(|n| (range(n), end(n))).collect());
            for n in 0..20 + count * 5 {
                let within = n >= 10 && (n - 10) % 5 < 3 && (n - 10) / 5 < count;
                let owner = within.then(|| end((n - 10) / 5));
                assert_eq!(owners.of(number(n)), owner, "{n} of {count}");
            }
        }
    }

    #[test]
    fn ends_take_calls_from_their_own_trunks_and_equal_sets_are_kept_once() {
        let mut config = super::super::tests::config();
        let one = config.tenants[0].clone();
        config.tenants.extend((0..5).map(|_| one.clone()));
        let inbound = Inbound::new(&config);
        for (index, tenant) in config.tenants.iter().enumerate() {
            for trunk in 0..config.trunks.len() {
                let takes = inbound.takes(End::Tenant(TenantId(index)), TrunkId(trunk));
                assert_eq!(takes, tenant.inbound_trunks.contains(&trunk), "{index} {trunk}");
            }
        }
        for (index, from) in config.trunks.iter().enumerate() {
            for trunk in 0..config.trunks.len() {
                let takes = inbound.takes(End::Trunk(TrunkId(index)), TrunkId(trunk));
                assert_eq!(takes, from.inbound_trunks.contains(&trunk), "{index} {trunk}");
            }
        }
        assert!(inbound.sets.len() < config.tenants.len());
    }
}
