//! Protecting what we send under one master key (RFC 3711 §3.3).

use super::{
    Advance, MAX_RTCP_PACKETS, MasterKey, Mki, Snapshot, SrtpError, Usage,
    cipher::{Cipher, RTCP_HEADER},
    index::estimate,
    replay::{Verdict, Window},
    streams::{Stream, Streams},
};
use crate::packet::{Header, Ssrc};

/// The sending context of a leg: session keys, and for each source the indexes used.
pub struct Sender {
    cipher: Cipher,
    streams: Streams,
    mki: Option<Mki>,
    lifetime: u64,
    rtp: u64,
    /// SRTCP packets so far, which is also the next SRTCP index. One count for all sources: it
    /// only grows, which is all that a receiver asks of a source's index.
    rtcp: u64,
}

impl Sender {
    /// A context at the beginning of a key: rollover counter 0, SRTCP index 0.
    #[must_use]
    pub fn new(key: &MasterKey) -> Self {
        Self {
            cipher: Cipher::new(key),
            streams: Streams::default(),
            mki: key.mki().cloned(),
            lifetime: key.lifetime(),
            rtp: 0,
            rtcp: 0,
        }
    }

    /// Goes on under a key that was used before: everything up to `advance` packets after the
    /// snapshot counts as sent. The next packet of a source must come after [`Self::highest`].
    #[must_use]
    pub fn restore(key: &MasterKey, snapshot: &Snapshot, advance: Advance) -> Self {
        Self {
            streams: Streams::restore(snapshot, advance.rtp.into()),
            rtp: snapshot.rtp.saturating_add(advance.rtp.into()),
            rtcp: snapshot.rtcp.saturating_add(advance.rtcp.into()),
            ..Self::new(key)
        }
    }

    /// What [`Self::restore`] needs beside the key.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            rtp: self.rtp,
            rtcp: self.rtcp,
            streams: self.streams.snapshot(),
            ..Snapshot::default()
        }
    }

    /// Takes another MKI and lifetime for the same key ([`MasterKey::same_key`]); indexes go on.
    pub fn adopt(&mut self, key: &MasterKey) {
        self.mki = key.mki().cloned();
        self.lifetime = key.lifetime();
    }

    /// The newest index that a source has used: rollover counter * 2^16 + sequence number.
    #[must_use]
    pub fn highest(&self, ssrc: Ssrc) -> Option<u64> {
        self.streams.find(ssrc)?.rtp.highest()
    }

    /// How much of the key's life is used.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let exhausted = self.rtp >= self.lifetime || self.rtcp >= self.max_rtcp();
        Usage { rtp: self.rtp, rtcp: self.rtcp, exhausted }
    }

    /// Protects the RTP packet in the first `len` bytes of `buf`, which must have room for
    /// [`MAX_TRAILER`](super::MAX_TRAILER) more, and returns its new length.
    pub fn protect_rtp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let packet = buf.get(..len).ok_or(SrtpError::Malformed)?;
        let header = Header::peek(packet).ok_or(SrtpError::Malformed)?;
        if self.rtp >= self.lifetime {
            return Err(SrtpError::Exhausted);
        }
        let mut stream = match self.streams.find(header.ssrc) {
            Some(stream) => stream,
            // A source that was forgotten could come back and use its indexes again.
            None if self.streams.is_full() => return Err(SrtpError::TooManySources),
            None => Stream { ssrc: header.ssrc, ..Stream::default() },
        };
        let index = next_index(&stream.rtp, header.sequence)?;
        let sealed = self.cipher.seal_rtp(buf, len, &header, index, mki(self.mki.as_ref()))?;
        stream.rtp.accept(index);
        self.streams.put(stream);
        self.rtp += 1;
        Ok(sealed)
    }

    /// Protects the RTCP compound in the first `len` bytes of `buf`, which must have room for
    /// [`MAX_TRAILER`](super::MAX_TRAILER) more, and returns its new length.
    pub fn protect_rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let packet = buf.get(..len).ok_or(SrtpError::Malformed)?;
        let ssrc = rtcp_ssrc(packet).ok_or(SrtpError::Malformed)?;
        if self.rtcp >= self.max_rtcp() {
            return Err(SrtpError::Exhausted);
        }
        let index = u32::try_from(self.rtcp).map_err(|_| SrtpError::Exhausted)?;
        let sealed = self.cipher.seal_rtcp(buf, len, ssrc, index, mki(self.mki.as_ref()))?;
        self.rtcp += 1;
        Ok(sealed)
    }

    fn max_rtcp(&self) -> u64 {
        self.lifetime.min(MAX_RTCP_PACKETS)
    }
}

/// The index of a packet that is to be sent.
fn next_index(window: &Window, sequence: u16) -> Result<u64, SrtpError> {
    let Some(highest) = window.highest() else { return Ok(sequence.into()) };
    let behind = (highest as u16).wrapping_sub(sequence);
    if highest < behind.into() && u64::from(behind) < Window::LEN {
        // From before the stream's first packet, where no index is. Taken for a jump forward it
        // would move the rollover counter, for the peer only if it arrives.
        return Err(SrtpError::Late);
    }
    let index = estimate(highest, sequence);
    if index >= super::MAX_RTP_PACKETS {
        return Err(SrtpError::Exhausted);
    }
    match window.check(index) {
        Verdict::Fresh => Ok(index),
        Verdict::Seen => Err(SrtpError::Replayed),
        Verdict::Late => Err(SrtpError::Late),
    }
}

/// The sender of an RTCP or SRTCP packet.
pub(super) fn rtcp_ssrc(packet: &[u8]) -> Option<Ssrc> {
    let header = packet.first_chunk::<RTCP_HEADER>()?;
    let [first, _, _, _, ssrc @ ..] = *header;
    (first >> 6 == 2).then_some(Ssrc(u32::from_be_bytes(ssrc)))
}

/// The bytes of an MKI; none when there is none.
pub(super) fn mki(mki: Option<&Mki>) -> &[u8] {
    mki.map(Mki::as_bytes).unwrap_or_default()
}
