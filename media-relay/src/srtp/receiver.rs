//! Opening what a peer sends under one master key (RFC 3711 §3.3).

use super::{
    MAX_PACKET, MAX_RTCP_PACKETS, MAX_RTP_PACKETS, MasterKey, Mki, Snapshot, SrtpError, Usage,
    cipher::Cipher,
    index::{HALF, ROLLOVER, estimate},
    replay::{Verdict, Window},
    sender::{mki, rtcp_ssrc},
    streams::{Stream, Streams},
};
use crate::packet::{Header, Ssrc};

/// The receiving context of a leg: session keys, and for each authenticated source the indexes
/// heard.
pub struct Receiver {
    cipher: Cipher,
    streams: Streams,
    mki: Option<Mki>,
    lifetime: u64,
    rtp: u64,
    rtcp: u64,
}

impl Receiver {
    /// A context at the beginning of a key: rollover counter 0.
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

    /// Goes on under a key that was used before. Nothing up to the snapshot is taken again; a
    /// rollover since then is found by the first packet.
    #[must_use]
    pub fn restore(key: &MasterKey, snapshot: &Snapshot) -> Self {
        Self {
            streams: Streams::restore(snapshot, 0),
            rtp: snapshot.rtp,
            rtcp: snapshot.rtcp,
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

    /// The newest index heard of a source: rollover counter * 2^16 + sequence number.
    #[must_use]
    pub fn highest(&self, ssrc: Ssrc) -> Option<u64> {
        self.streams.find(ssrc)?.rtp.highest()
    }

    /// How much of the key's life is used. The peer's to mind: nothing is refused for it.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let exhausted =
            self.rtp >= self.lifetime || self.rtcp >= self.lifetime.min(MAX_RTCP_PACKETS);
        Usage { rtp: self.rtp, rtcp: self.rtcp, exhausted }
    }

    /// Opens the SRTP packet `buf` where it lies and returns the length of the RTP packet.
    pub fn unprotect_rtp(&mut self, buf: &mut [u8]) -> Result<usize, SrtpError> {
        let header = Header::peek(buf).ok_or(SrtpError::Malformed)?;
        if buf.len() > MAX_PACKET {
            return Err(SrtpError::TooLong);
        }
        if buf.len() < header.len + self.cipher.rtp_tag_len() {
            return Err(SrtpError::Malformed);
        }
        let mut stream = self.find(header.ssrc);
        let (likely, possible) = indexes(&stream, header.sequence);
        let likely_error = match admit(&stream.rtp, likely) {
            Ok(()) => SrtpError::Unauthenticated,
            Err(error) if possible.is_none() => return Err(error),
            Err(error) => error,
        };
        for index in [Some(likely), possible].into_iter().flatten() {
            if admit(&stream.rtp, index).is_err() {
                continue;
            }
            if let Some(len) = self.open_rtp(buf, &header, index) {
                stream.rtp.accept(index);
                stream.unsettled = false;
                self.streams.put(stream);
                self.rtp += 1;
                return Ok(len);
            }
        }
        Err(likely_error)
    }

    /// Opens the SRTCP packet `buf` where it lies and returns the length of the RTCP compound.
    pub fn unprotect_rtcp(&mut self, buf: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = rtcp_ssrc(buf).ok_or(SrtpError::Malformed)?;
        if buf.len() > MAX_PACKET {
            return Err(SrtpError::TooLong);
        }
        let mut stream = self.find(ssrc);
        let mut error = SrtpError::Malformed;
        for mki in framings(self.mki.as_ref()) {
            let Some(index) = self.cipher.rtcp_index(buf, mki) else { continue };
            error = match stream.rtcp.check(index.into()) {
                Verdict::Fresh => SrtpError::Unauthenticated,
                Verdict::Seen => SrtpError::Replayed,
                Verdict::Late => SrtpError::Late,
            };
            if error == SrtpError::Unauthenticated
                && let Some(len) = self.cipher.open_rtcp(buf, ssrc, mki)
            {
                stream.rtcp.accept(index.into());
                self.streams.put(stream);
                self.rtcp += 1;
                return Ok(len);
            }
        }
        Err(error)
    }

    fn find(&self, ssrc: Ssrc) -> Stream {
        let unknown = Stream { ssrc, unsettled: true, ..Stream::default() };
        self.streams.find(ssrc).unwrap_or(unknown)
    }

    fn open_rtp(&self, buf: &mut [u8], header: &Header, index: u64) -> Option<usize> {
        framings(self.mki.as_ref()).find_map(|mki| self.cipher.open_rtp(buf, header, index, mki))
    }
}

/// With the MKI that was signalled, and without: peers exist that signal one and leave it out.
/// Authentication decides.
fn framings(with: Option<&Mki>) -> impl Iterator<Item = &[u8]> {
    let without = with.is_some().then_some(&[][..]);
    std::iter::once(mki(with)).chain(without)
}

/// The likely index of a packet, and another that is possible while the stream is not settled:
/// one that was never heard may have begun before its key reached us, and rolled over since; one
/// that was restored may have rolled over while we were away.
fn indexes(stream: &Stream, sequence: u16) -> (u64, Option<u64>) {
    match stream.rtp.highest() {
        Some(highest) => {
            let likely = estimate(highest, sequence);
            (likely, stream.unsettled.then_some(likely + ROLLOVER))
        }
        None => {
            let first = u64::from(sequence);
            (first, (sequence < HALF).then_some(first + ROLLOVER))
        }
    }
}

fn admit(window: &Window, index: u64) -> Result<(), SrtpError> {
    if index >= MAX_RTP_PACKETS {
        return Err(SrtpError::Exhausted);
    }
    match window.check(index) {
        Verdict::Fresh => Ok(()),
        Verdict::Seen => Err(SrtpError::Replayed),
        Verdict::Late => Err(SrtpError::Late),
    }
}
