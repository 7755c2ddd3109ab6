//! Connections of other processes, as this one names them.
//!
//! The upper eight bits of a [`FlowId`] say by which links it is reached, two bits a link, the nearest lowest; the
//! rest is the number that its owner gave it. Connections of our own have none of these bits.

use sip_stack::transport::FlowId;

/// Another process, by how it stands to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kin {
    /// The one that we took over from.
    Elder,
    /// The one that took over from us.
    Heir,
}

impl Kin {
    const fn bits(self) -> u64 {
        match self {
            Self::Elder => 1,
            Self::Heir => 2,
        }
    }
}

/// What we call a connection that `kin` calls `flow`; `None` when it is too many links away.
pub const fn beyond(kin: Kin, flow: FlowId) -> Option<FlowId> {
    let (way, number) = (flow.0 >> NUMBER, flow.0 & OWN);
    if way >> 6 != 0 {
        return None;
    }
    Some(FlowId((way << 2 | kin.bits()) << NUMBER | number))
}

/// Whose connection it is, and what the neighbour on the way there calls it; `None` for one of ours.
pub const fn owner(flow: FlowId) -> Option<(Kin, FlowId)> {
    let (way, number) = (flow.0 >> NUMBER, flow.0 & OWN);
    let kin = match way & 3 {
        1 => Kin::Elder,
        2 => Kin::Heir,
        _ => return None,
    };
    Some((kin, FlowId((way >> 2) << NUMBER | number)))
}

const NUMBER: u32 = 56;
const OWN: u64 = (1 << NUMBER) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_found_again_over_four_links_and_no_more() {
        let ours = FlowId(77);
        assert_eq!(owner(ours), None);
        let ways = [Kin::Elder, Kin::Heir, Kin::Heir, Kin::Elder];
        let mut flow = ours;
        for kin in ways {
            flow = beyond(kin, flow).unwrap();
        }
        assert_eq!(beyond(Kin::Heir, flow), None);
        for kin in ways.into_iter().rev() {
            let (next, inner) = owner(flow).unwrap();
            assert_eq!(next, kin);
            flow = inner;
        }
        assert_eq!(flow, ours);
    }
}
