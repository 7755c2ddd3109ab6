//! The figures of where calls go: which proxies and peers are up.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::{Gauge, gauge};

use crate::event::Event;

/// Handles by name of edge or trunk, and of place. As many as the configuration has.
#[derive(Default)]
pub(super) struct Places {
    proxies: HashMap<(Arc<str>, Arc<str>), [Gauge; 2]>,
    peers: HashMap<(Arc<str>, Arc<str>), Gauge>,
}

impl Places {
    /// Shows a change; other events are none of these.
    pub(super) fn note(&mut self, event: &Event) {
        if let Event::Proxy { edge, proxy, up, refused } = event {
            let gauges = self.proxies.entry((Arc::clone(edge), Arc::clone(proxy)));
            let [is_up, is_refused] = gauges.or_insert_with(|| {
                ["trunkgate_proxy_up", "trunkgate_proxy_refused"].map(
                    |name| gauge!(name, "edge" => edge.to_string(), "proxy" => proxy.to_string()),
                )
            });
            is_up.set(f64::from(u8::from(*up)));
            is_refused.set(f64::from(u8::from(*refused)));
        }
        if let Event::Peer { trunk, peer, up } = event {
            self.peers
                .entry((Arc::clone(trunk), Arc::clone(peer)))
                .or_insert_with(|| {
                    gauge!("trunkgate_peer_up", "trunk" => trunk.to_string(), "peer" => peer.to_string())
                })
                .set(f64::from(u8::from(*up)));
        }
    }
}
