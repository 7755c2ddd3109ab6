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

    /// Gives up a source, so that there is room for another one. Nothing may be sent by it any more.
    pub fn forget(&mut self, ssrc: Ssrc) {
        self.streams.forget(ssrc);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::{
        Receiver, Suite,
        fixture::{key, protect, protect_rtcp, rtcp, rtp, unprotect, unprotect_rtcp},
    };

    const SUITE: Suite = Suite::AesCm128HmacSha1_80;

    #[test]
    fn a_context_is_small() {
        assert!(size_of::<Sender>() <= 512, "{}", size_of::<Sender>());
        assert!(size_of::<Receiver>() <= 512, "{}", size_of::<Receiver>());
    }

    #[test]
    fn no_index_is_protected_twice() {
        let mut sender = Sender::new(&key(SUITE, 1));
        for sequence in [300, 301, 305, 303, 302, 304] {
            protect(&mut sender, &rtp(1, sequence, b"one")).unwrap();
        }
        for sequence in 300..=305 {
            let again = protect(&mut sender, &rtp(1, sequence, b"two"));
            assert_eq!(again, Err(SrtpError::Replayed));
        }
        assert_eq!(protect(&mut sender, &rtp(1, 305 - 128, b"old")), Err(SrtpError::Late));
        assert_eq!(protect(&mut sender, &rtp(1, 305 - 127, b"old")).map(drop), Ok(()));
        assert_eq!(sender.highest(Ssrc(1)), Some(305));
        assert_eq!(sender.usage().rtp, 7);
    }

    /// Taken for a jump forward it would roll over the counter, and the peer would not know if
    /// this one packet were lost.
    #[test]
    fn a_packet_from_before_the_first_is_refused() {
        let mut sender = Sender::new(&key(SUITE, 1));
        protect(&mut sender, &rtp(1, 2, &[])).unwrap();
        assert_eq!(protect(&mut sender, &rtp(1, 65_535, &[])), Err(SrtpError::Late));
        protect(&mut sender, &rtp(1, 3, &[])).unwrap();
        assert_eq!(sender.highest(Ssrc(1)), Some(3));
    }

    #[test]
    fn rollovers_are_counted_for_each_source() {
        let mut sender = Sender::new(&key(SUITE, 1));
        for sequence in (0..200_000_u32).step_by(1000) {
            protect(&mut sender, &rtp(1, sequence as u16, &[])).unwrap();
        }
        protect(&mut sender, &rtp(2, 65_535, &[])).unwrap();
        protect(&mut sender, &rtp(2, 0, &[])).unwrap();
        assert_eq!(sender.highest(Ssrc(1)), Some(199_000));
        assert_eq!(sender.highest(Ssrc(2)), Some(65_536));
        assert_eq!(sender.highest(Ssrc(3)), None);
    }

    #[test]
    fn a_source_that_comes_back_goes_on_and_one_too_many_is_refused() {
        let mut sender = Sender::new(&key(SUITE, 1));
        for ssrc in 0..Streams::MAX as u32 {
            protect(&mut sender, &rtp(ssrc, 100, &[])).unwrap();
        }
        let one_more = protect(&mut sender, &rtp(99, 100, &[]));
        assert_eq!(one_more, Err(SrtpError::TooManySources));
        assert_eq!(protect(&mut sender, &rtp(0, 100, &[])), Err(SrtpError::Replayed));
        assert_eq!(protect(&mut sender, &rtp(0, 99, &[])), Err(SrtpError::Replayed));
        protect(&mut sender, &rtp(0, 101, &[])).unwrap();
    }

    #[test]
    fn srtcp_indexes_begin_at_zero_and_are_encrypted() {
        let mut sender = Sender::new(&key(SUITE, 1));
        for index in 0..5_u32 {
            let wire = protect_rtcp(&mut sender, &rtcp(index % 2)).unwrap();
            let word = &wire[wire.len() - 14..wire.len() - 10];
            assert_eq!(word, (index | 1 << 31).to_be_bytes());
        }
        assert_eq!(sender.usage(), Usage { rtp: 0, rtcp: 5, exhausted: false });
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        let mut sender = Sender::new(&key(SUITE, 1));
        for packet in [&[][..], &[0x80; 11], &[0x40; 40], &[0x9f; 16]] {
            assert_eq!(protect(&mut sender, packet), Err(SrtpError::Malformed));
        }
        for packet in [&[][..], &[0x80; 7], &[0x40; 40]] {
            assert_eq!(protect_rtcp(&mut sender, packet), Err(SrtpError::Malformed));
        }
        assert_eq!(sender.protect_rtp(&mut [0x80; 20], 21), Err(SrtpError::Malformed));
        assert_eq!(sender.protect_rtcp(&mut [0x80; 20], 21), Err(SrtpError::Malformed));
        assert_eq!(sender.snapshot(), Snapshot::default());
    }

    #[test]
    fn the_signalled_lifetime_ends_a_key() {
        let mut sender = Sender::new(&key(SUITE, 1).with_lifetime(3));
        for sequence in 0..3 {
            assert!(!sender.usage().exhausted);
            protect(&mut sender, &rtp(1, sequence, &[])).unwrap();
        }
        assert!(sender.usage().exhausted);
        assert_eq!(protect(&mut sender, &rtp(1, 3, &[])), Err(SrtpError::Exhausted));
        protect_rtcp(&mut sender, &rtcp(1)).unwrap();

        sender.adopt(&key(SUITE, 1).with_lifetime(5));
        protect(&mut sender, &rtp(1, 3, &[])).unwrap();
        for _ in 1..5 {
            protect_rtcp(&mut sender, &rtcp(1)).unwrap();
        }
        assert_eq!(protect_rtcp(&mut sender, &rtcp(1)), Err(SrtpError::Exhausted));
    }

    /// RFC 3711 §9.2: 2^48 SRTP packets, 2^31 SRTCP packets.
    #[test]
    fn the_indexes_end_a_key() {
        let last = (1 << 48) - 1;
        let snapshot = Snapshot {
            rtp: 1000,
            rtcp: (1 << 31) - 1,
            streams: vec![crate::srtp::StreamSnapshot { ssrc: 1, rtp: Some(last - 1), rtcp: None }],
            ..Snapshot::default()
        };
        let none = Advance { rtp: 0, rtcp: 0 };
        let key = key(SUITE, 1);
        let mut sender = Sender::restore(&key, &snapshot, none);
        protect(&mut sender, &rtp(1, 65_535, &[])).unwrap();
        assert_eq!(sender.highest(Ssrc(1)), Some(last));
        assert_eq!(protect(&mut sender, &rtp(1, 0, &[])), Err(SrtpError::Exhausted));

        let wire = protect_rtcp(&mut sender, &rtcp(1)).unwrap();
        assert_eq!(wire[wire.len() - 14..wire.len() - 10], [0xff; 4]);
        unprotect_rtcp(&mut Receiver::new(&key), &wire).unwrap();
        assert_eq!(protect_rtcp(&mut sender, &rtcp(1)), Err(SrtpError::Exhausted));
        assert!(sender.usage().exhausted);

        let jumped = Sender::restore(&key, &snapshot, Advance { rtp: u16::MAX, rtcp: u32::MAX });
        assert_eq!(jumped.highest(Ssrc(1)), Some(last));
        assert!(jumped.usage().exhausted);
    }

    #[test]
    fn a_restored_sender_jumps_past_what_may_have_been_sent() {
        for suite in Suite::ALL {
            let key = key(suite, 1);
            let (mut sender, mut receiver) = (Sender::new(&key), Receiver::new(&key));
            for sequence in 65_000..65_500 {
                let wire = protect(&mut sender, &rtp(1, sequence, &[1; 20])).unwrap();
                unprotect(&mut receiver, &wire).unwrap();
            }
            let snapshot = sender.snapshot();
            // Sent after the snapshot, then the process died.
            for sequence in 65_500..65_520 {
                let wire = protect(&mut sender, &rtp(1, sequence, &[2; 20])).unwrap();
                unprotect(&mut receiver, &wire).unwrap();
            }
            let wire = protect_rtcp(&mut sender, &rtcp(1)).unwrap();
            unprotect_rtcp(&mut receiver, &wire).unwrap();

            let advance = Advance { rtp: 1000, rtcp: 100 };
            let mut sender = Sender::restore(&key, &snapshot, advance);
            let next = sender.highest(Ssrc(1)).unwrap() + 1;
            assert_eq!(next, 65_500 + 1000);
            for sequence in [65_510, 65_535, (next - 1) as u16] {
                assert!(protect(&mut sender, &rtp(1, sequence, &[3; 20])).is_err(), "{sequence}");
            }
            for index in next..next + 5 {
                let clear = rtp(1, index as u16, &[3; 20]);
                let wire = protect(&mut sender, &clear).unwrap();
                assert_eq!(unprotect(&mut receiver, &wire).unwrap(), clear);
            }
            let wire = protect_rtcp(&mut sender, &rtcp(1)).unwrap();
            assert_eq!(unprotect_rtcp(&mut receiver, &wire).unwrap(), rtcp(1));
        }
    }
}
