//! A fax between two peers: UDPTL (ITU-T T.38 §9), relayed unread while the plan says so of both sides.
//!
//! Source filter → latch → direction → the other side, byte for byte: the numbers of UDPTL are the peers' own. A peer that was
//! heard from where it said it is has that place until it says otherwise: a page takes longer than the silence after which RTP
//! may come from elsewhere. Nothing of ours
//! goes into it (no report, no music), and nobody is silent by it: a fax may pause for as long as paper takes.
//!
//! What comes is told apart by the plan, not by its bytes: UDPTL begins with a sequence number, so that its first bits may be
//! those of any version of RTP.
//!
//! | comes | to a side of RTP | to a side of UDPTL |
//! |---|---|---|
//! | UDPTL | malformed; from number 32768 on, which no fax has in its first minutes, it may look like RTP | relayed |
//! | RTP, RTCP on its port | relayed | dropped until it has paused for [`LATE`], by the source that was heard before; else relayed, to be dropped by the peer |
//! | RTCP on a port of its own | relayed | malformed |
//!
//! A datagram of UDPTL that has the bits of RTP and those 32 of the peer's source in their place in just these seconds is
//! dropped as well, which its redundancy makes good.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Forward;
use super::checkpoint::News;
use super::refusal::Refusal;
use super::session::{Session, split};
use super::side::SideState;
use crate::packet::{Header, Kind, Ssrc, classify, u32_at};
use crate::plan::Side;

impl Session {
    /// Relays the UDPTL in `datagram` from the peer of `side`.
    pub(crate) fn handle_udptl(
        &mut self,
        side: Side,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Result<Forward, Refusal> {
        let (this, other) = split(&mut self.sides, side);
        if !this.admits(false, from, now) || this.rtp.is_exactly_elsewhere(from) {
            return Err(Refusal::Foreign);
        }
        if this.keys.is_secure() {
            return Err(Refusal::Unauthentic);
        }
        if this.is_late_rtp(datagram, now) {
            return Err(Refusal::Dropped);
        }
        self.news = self.news.max(News::Some);
        if this.rtp.heard(from, now) {
            self.latched[side.index()] = true;
            self.attention = true;
            self.news = News::Urgent;
        }
        if !this.pace.admits(now) {
            return Err(Refusal::Dropped);
        }
        if !other.udptl || other.keys.is_secure() || !this.receive || !other.send {
            return Err(Refusal::Held);
        }
        let to = other.rtp.destination().ok_or(Refusal::Held)?;
        this.stats.udptl += 1;
        Ok(Forward { slot: other.slot, rtcp: false, to, len: datagram.len() })
    }
}

impl SideState {
    /// Takes on what a plan says. A fax is no gap in the RTP before and after it.
    pub(super) fn set_udptl(&mut self, udptl: bool, now: Instant) {
        if self.udptl != udptl {
            self.observer.pass_over(now);
        }
        self.udptl = udptl;
    }

    /// Whether this was sent before the peer knew of the change, or by one that never knows: what goes on is late as long as it
    /// goes on.
    fn is_late_rtp(&mut self, datagram: &[u8], now: Instant) -> bool {
        let ssrc = match classify(datagram) {
            Kind::Rtp => Header::peek(datagram).map(|header| header.ssrc),
            Kind::Rtcp => u32_at(datagram, 4).map(Ssrc),
            Kind::Stun | Kind::Dtls | Kind::Other => None,
        };
        ssrc.is_some_and(|ssrc| self.observer.lingers(ssrc, now, LATE))
    }
}

/// How long RTP may be under way after UDPTL was agreed: far more than any network keeps it.
const LATE: Duration = Duration::from_secs(2);
