//! A set of networks, for one question: is that address inside?

use std::net::IpAddr;

/// Disjoint ranges in order, of each family: a look-up costs the logarithm of their number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Networks {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    /// These networks: address and prefix length.
    pub(super) fn new(networks: &[(IpAddr, u8)]) -> Self {
        let mut set = Self::default();
        for &(network, length) in networks {
            let (width, bits) = bits(network);
            let host = width - u32::from(length).min(width);
            let last = u128::MAX.checked_shr(128 - host).unwrap_or(0);
            let first = bits & !last;
            set.of_mut(network).push((first, first | last));
        }
        merge(&mut set.v4);
        merge(&mut set.v6);
        set
    }

    /// Whether one of them contains the address.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let ranges = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let (_, bits) = bits(address);
        let after = ranges.partition_point(|(first, _)| *first <= bits);
        after.checked_sub(1).is_some_and(|at| bits <= ranges[at].1)
    }

    const fn of_mut(&mut self, address: IpAddr) -> &mut Vec<(u128, u128)> {
        if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }
}

fn merge(ranges: &mut Vec<(u128, u128)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let joins = next.0 <= kept.1;
        if joins {
            kept.1 = kept.1.max(next.1);
        }
        joins
    });
}

/// The width of the family's addresses, and this one as a number.
fn bits(address: IpAddr) -> (u32, u128) {
    match address {
        IpAddr::V4(v4) => (32, v4.to_bits().into()),
        IpAddr::V6(v6) => (128, v6.to_bits()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(networks: &[&str]) -> Networks {
        let parse = |text: &&str| {
            let (network, length) = text.split_once('/').unwrap();
            (network.parse().unwrap(), length.parse().unwrap())
        };
        Networks::new(&networks.iter().map(parse).collect::<Vec<_>>())
    }

    #[test]
    fn networks_contain_by_prefix() {
        for (network, address, expected) in [
            ("52.112.0.0/14", "52.115.255.255", true),
            ("52.112.0.1/14", "52.112.0.0", true),
            ("52.112.0.0/14", "52.116.0.0", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "::1", false),
            ("192.0.2.1/32", "192.0.2.1", true),
            ("192.0.2.1/32", "192.0.2.2", false),
            ("2603:1063::/38", "2603:1063:3ff::1", true),
            ("2603:1063::/38", "2603:1063:400::1", false),
            ("::/0", "ffff::", true),
            ("::/0", "127.0.0.1", false),
            ("2001:db8::1/128", "2001:db8::1", true),
        ] {
            assert_eq!(
                set(&[network]).contains(address.parse().unwrap()),
                expected,
                "{network} {address}"
            );
        }
        assert!(!set(&[]).contains("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn overlapping_networks_are_one_range() {
        let networks = set(&["10.0.0.0/9", "10.64.0.0/16", "10.0.0.0/8", "192.0.2.0/24", "::/128"]);
        assert_eq!((networks.v4.len(), networks.v6.len()), (2, 1));
        for (address, expected) in
            [("10.255.255.255", true), ("11.0.0.0", false), ("192.0.2.9", true), ("9.9.9.9", false)]
        {
            assert_eq!(networks.contains(address.parse().unwrap()), expected);
        }
    }
}
