//! Which of an identity's several UDP sockets a peer was last heard on: what goes to the peer leaves
//! from there, or its NAT or firewall drops it (RFC 3581 §4).
//!
//! Bounded: two generations, the older of which is forgotten when the younger is full.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::transport::LocalId;

/// Peers and the index of the socket that heard them.
#[derive(Debug, Default)]
pub(super) struct Heard {
    young: HashMap<(LocalId, SocketAddr), usize>,
    old: HashMap<(LocalId, SocketAddr), usize>,
}

impl Heard {
    pub(super) fn note(&mut self, local: LocalId, remote: SocketAddr, socket: usize) {
        if self.young.len() >= GENERATION && !self.young.contains_key(&(local, remote)) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert((local, remote), socket);
    }

    pub(super) fn on(&self, local: LocalId, remote: SocketAddr) -> Option<usize> {
        let key = (local, remote);
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }
}

/// Peers in one generation.
const GENERATION: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_heard_are_known_and_no_more_than_two_generations() {
        let peer =
            |n: usize| SocketAddr::from(([127, 0, 0, 1], u16::try_from(n + 1).expect("few peers")));
        let local = LocalId(1);
        let mut heard = Heard::default();
        for n in 0..2 * GENERATION + 1 {
            heard.note(local, peer(n), n);
        }
        assert_eq!(heard.on(local, peer(2 * GENERATION)), Some(2 * GENERATION));
        assert_eq!(heard.on(local, peer(GENERATION)), Some(GENERATION));
        assert_eq!(heard.on(local, peer(GENERATION - 1)), None);
        assert_eq!(heard.on(LocalId(2), peer(GENERATION)), None);
        heard.note(local, peer(GENERATION), 7);
        assert_eq!(heard.on(local, peer(GENERATION)), Some(7));
        assert!(heard.young.len() + heard.old.len() <= 2 * GENERATION);
    }
}
