//! Opening what a peer sends under one master key (RFC 3711 §3.3).

use super::{
    MAX_PACKET, MAX_RTCP_PACKETS, MAX_RTP_PACKETS, MasterKey, Mki, Snapshot, SrtpError, Usage,
    cipher::Cipher,
    index::{HALF, ROLLOVER, estimate},
    replay::{Verdict, Window},
    sender::rtcp_ssrc,
    streams::{Stream, Streams},
};
use crate::packet::{Header, Ssrc};

/// The receiving context of a leg: session keys, and for each authenticated source the indexes
/// heard.
pub struct Receiver {
    cipher: Cipher,
    streams: Streams,
    /// `None` for most peers.
    names: Option<Box<Names>>,
    lifetime: u64,
    rtp: u64,
    rtcp: u64,
}

/// By which MKI a packet may name the key.
struct Names {
    now: Option<Mki>,
    /// What is under way may still carry it.
    before: Option<Mki>,
}

impl Receiver {
    /// A context at the beginning of a key: rollover counter 0.
    #[must_use]
    pub fn new(key: &MasterKey) -> Self {
        Self {
            cipher: Cipher::new(key),
            streams: Streams::default(),
            names: key.mki().map(|mki| Box::new(Names { now: Some(mki.clone()), before: None })),
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

    /// Takes another MKI and lifetime for the same key ([`MasterKey::same_key`]); indexes go on. Packets with the former
    /// MKI are taken as well: what tells whose they are is the key.
    pub fn adopt(&mut self, key: &MasterKey) {
        let now = self.names.as_ref().and_then(|names| names.now.as_ref());
        if now != key.mki() {
            let before = now.cloned();
            self.names = Some(Box::new(Names { now: key.mki().cloned(), before }));
        }
        self.lifetime = key.lifetime();
    }

    /// Whether that source was heard.
    #[must_use]
    pub fn knows(&self, source: Option<Ssrc>) -> bool {
        source.is_some_and(|source| self.streams.find(source).is_some())
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
        for mki in framings(self.names.as_deref()) {
            let Some(index) = self.cipher.rtcp_index(buf, mki) else { continue };
            let found = match stream.rtcp.check(index.into()) {
                Verdict::Fresh => SrtpError::Unauthenticated,
                Verdict::Seen => SrtpError::Replayed,
                Verdict::Late => SrtpError::Late,
            };
            if error == SrtpError::Malformed {
                error = found;
            }
            if found == SrtpError::Unauthenticated
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
        framings(self.names.as_deref())
            .find_map(|mki| self.cipher.open_rtp(buf, header, index, mki))
    }
}

/// With the MKI that was signalled, with the former one, and without: peers exist that signal one and leave it out.
/// Authentication decides.
fn framings(names: Option<&Names>) -> impl Iterator<Item = &[u8]> {
    let with = names.into_iter().flat_map(|Names { now, before }| now.iter().chain(before));
    with.map(Mki::as_bytes).chain(std::iter::once(&[][..]))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::{
        Sender, Suite,
        fixture::{key, protect, protect_rtcp, rtcp, rtp, unprotect, unprotect_rtcp},
    };

    const SUITE: Suite = Suite::AesCm128HmacSha1_80;

    /// Protected packets of one source with these indexes.
    fn wires(key: &MasterKey, indexes: impl IntoIterator<Item = u64>) -> Vec<Vec<u8>> {
        let mut sender = Sender::new(key);
        let mut at = None;
        let mut one = |index: u64| {
            // Steps that keep the rollover counter with the index.
            while at.is_some_and(|at| at + 30_000 < index) || at.is_none() && index > 65_535 {
                let next = at.map_or(30_000, |at| at + 30_000);
                protect(&mut sender, &rtp(1, next as u16, &[])).unwrap();
                at = Some(next);
            }
            at = Some(index);
            protect(&mut sender, &rtp(1, index as u16, &[index as u8; 20])).unwrap()
        };
        indexes.into_iter().map(&mut one).collect()
    }

    #[test]
    fn a_stream_that_rolled_over_before_its_key_came_is_heard() {
        for suite in Suite::ALL {
            let key = key(suite, 1);
            let heard = wires(&key, [65_536 + 3, 65_536 + 4, 65_536 + 32_767]);
            for wire in &heard {
                unprotect(&mut Receiver::new(&key), wire).unwrap();
            }
            let mut receiver = Receiver::new(&key);
            unprotect(&mut receiver, &heard[0]).unwrap();
            assert_eq!(receiver.highest(Ssrc(1)), Some(65_539));
            unprotect(&mut receiver, &heard[1]).unwrap();
            assert_eq!(unprotect(&mut receiver, &heard[0]), Err(SrtpError::Replayed));

            // Heard late, from before the rollover.
            let late = &wires(&key, [65_530])[0];
            unprotect(&mut receiver, late).unwrap();
            assert_eq!(receiver.highest(Ssrc(1)), Some(65_540));
        }
    }

    #[test]
    fn one_rollover_may_be_missed_and_no_more() {
        let key = key(SUITE, 1);
        for index in [65_536 + 40_000, 2 * 65_536 + 5] {
            let wire = &wires(&key, [index])[0];
            let refused = unprotect(&mut Receiver::new(&key), wire);
            assert_eq!(refused, Err(SrtpError::Unauthenticated), "{index}");
        }
    }

    #[test]
    fn half_the_sequence_numbers_may_be_lost() {
        let key = key(SUITE, 1);
        let mut receiver = Receiver::new(&key);
        for wire in wires(&key, [60_000, 60_000 + 32_767, 60_000 + 65_534]) {
            unprotect(&mut receiver, &wire).unwrap();
        }
    }

    #[test]
    fn a_restored_receiver_takes_nothing_old_and_finds_a_rollover() {
        for suite in Suite::ALL {
            let key = key(suite, 1);
            let indexes = [50_000, 50_001, 50_002, 65_536 + 40_000, 65_536 + 40_001];
            let heard = wires(&key, indexes);
            let mut before = Receiver::new(&key);
            heard[..2].iter().for_each(|wire| drop(unprotect(&mut before, wire).unwrap()));
            let report = protect_rtcp(&mut Sender::new(&key), &rtcp(1)).unwrap();
            unprotect_rtcp(&mut before, &report).unwrap();

            let json = serde_json::to_string(&before.snapshot()).unwrap();
            let snapshot = serde_json::from_str(&json).unwrap();
            let mut after = Receiver::restore(&key, &snapshot);
            assert_eq!(after.snapshot(), snapshot);
            for wire in &heard[..2] {
                assert_eq!(unprotect(&mut after, wire), Err(SrtpError::Replayed));
            }
            assert_eq!(unprotect_rtcp(&mut after, &report), Err(SrtpError::Replayed));
            // The newest was 50,001; the next heard is 55,535 later, which looks like a step back.
            unprotect(&mut after, &heard[3]).unwrap();
            assert_eq!(after.highest(Ssrc(1)), Some(105_536));
            unprotect(&mut after, &heard[4]).unwrap();
            assert_eq!(unprotect(&mut after, &heard[2]), Err(SrtpError::Unauthenticated));
        }
    }

    #[test]
    fn an_mki_is_taken_with_it_and_without_it_and_no_other() {
        let mki = |byte| Some(Mki::new(&[byte, byte]).unwrap());
        for suite in Suite::ALL {
            let receive = |sent: Option<Mki>| {
                let mut sender = Sender::new(&key(suite, 1).with_mki(sent));
                let mut receiver = Receiver::new(&key(suite, 1).with_mki(mki(5)));
                let wire = protect(&mut sender, &rtp(1, 7, &[3; 20])).unwrap();
                let report = protect_rtcp(&mut sender, &rtcp(1)).unwrap();
                let clear = unprotect(&mut receiver, &wire);
                assert!(clear.is_err() || clear == Ok(rtp(1, 7, &[3; 20])));
                let clear_report = unprotect_rtcp(&mut receiver, &report);
                assert!(clear_report.is_err() || clear_report == Ok(rtcp(1)));
                (clear.is_ok(), clear_report.is_ok())
            };
            assert_eq!(receive(mki(5)), (true, true));
            assert_eq!(receive(None), (true, true));
            assert_eq!(receive(mki(6)), (false, false));
        }
    }

    #[test]
    fn an_mki_that_was_not_signalled_is_refused_until_it_is() {
        let with = key(SUITE, 1).with_mki(Some(Mki::new(&[1]).unwrap()));
        let mut receiver = Receiver::new(&key(SUITE, 1));
        let wire = protect(&mut Sender::new(&with), &rtp(1, 7, &[])).unwrap();
        assert_eq!(unprotect(&mut receiver, &wire), Err(SrtpError::Unauthenticated));
        receiver.adopt(&with);
        assert_eq!(unprotect(&mut receiver, &wire), Ok(rtp(1, 7, &[])));
    }

    #[test]
    fn a_used_up_lifetime_is_reported_and_nothing_refused() {
        let key = key(SUITE, 1);
        let mut receiver = Receiver::new(&key.clone().with_lifetime(2));
        for (wire, exhausted) in wires(&key, 0..3).iter().zip([false, true, true]) {
            unprotect(&mut receiver, wire).unwrap();
            assert_eq!(receiver.usage().exhausted, exhausted);
        }
        assert_eq!(receiver.usage(), Usage { rtp: 3, rtcp: 0, exhausted: true });
    }

    /// More authenticated sources than are kept: the oldest is forgotten, not the newest refused.
    #[test]
    fn sources_come_and_go() {
        let key = key(SUITE, 1);
        let (mut sender, mut receiver) = (Sender::new(&key), Receiver::new(&key));
        let sources = 0..Streams::MAX as u32;
        for ssrc in sources.clone() {
            let wire = protect(&mut sender, &rtp(ssrc, 100, &[])).unwrap();
            unprotect(&mut receiver, &wire).unwrap();
        }
        for ssrc in sources {
            let wire = protect(&mut sender, &rtp(ssrc, 101, &[])).unwrap();
            unprotect(&mut receiver, &wire).unwrap();
            assert_eq!(unprotect(&mut receiver, &wire), Err(SrtpError::Replayed));
        }
        let wire = protect(&mut Sender::new(&key), &rtp(99, 100, &[])).unwrap();
        unprotect(&mut receiver, &wire).unwrap();
        assert_eq!(receiver.snapshot().streams.len(), Streams::MAX);
        assert_eq!(receiver.highest(Ssrc(0)), None);
    }

    /// RTP and RTCP of one source have windows of their own.
    #[test]
    fn rtcp_does_not_touch_the_window_of_rtp() {
        let key = key(SUITE, 1);
        let (mut sender, mut receiver) = (Sender::new(&key), Receiver::new(&key));
        for _ in 0..200 {
            let wire = protect_rtcp(&mut sender, &rtcp(1)).unwrap();
            unprotect_rtcp(&mut receiver, &wire).unwrap();
        }
        assert_eq!(receiver.highest(Ssrc(1)), None);
        let wire = protect(&mut sender, &rtp(1, 0, &[])).unwrap();
        unprotect(&mut receiver, &wire).unwrap();
        assert_eq!(receiver.usage(), Usage { rtp: 1, rtcp: 200, exhausted: false });
    }
}
