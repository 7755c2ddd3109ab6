//! A copy of what a peer says, taken by the relay thread and read by any other: one ring of fixed size for each tap.
//!
//! One writes, one reads, and neither ever waits: what finds no room is dropped and counted. The relay allocates nothing
//! for a packet and takes no lock; a reader that stalls costs the call nothing. What is copied has been authenticated, is
//! no second copy and not more than a peer may send; it is copied also while the call is held.
//!
//! The ring is of 64-bit words, each an atomic of its own. A frame is five words and its payload, in bytes, padded. The
//! writer makes it readable by moving `written` on (release), the reader frees it by moving `read` on (release).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use crate::packet::{Header, Rtp, Ssrc};

/// A tap before it is put on: hand it to [`Command::Tap`](crate::Command::Tap), which takes it once.
#[derive(Clone, Debug)]
pub struct Tap(Arc<Ring>);

/// The reading end.
#[derive(Debug)]
pub struct TapReader(Arc<Ring>);

/// The writing end, on a side of a session.
#[derive(Debug)]
pub(crate) struct Writer(Arc<Ring>);

/// What is known of one packet; its payload lies in the reader's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When it came.
    pub at: Instant,
    /// As the peer sent it.
    pub payload_type: u8,
    /// The marker bit.
    pub marker: bool,
    /// The peer's number.
    pub sequence: u16,
    /// The peer's timestamp.
    pub timestamp: u32,
    /// The peer's source.
    pub ssrc: Ssrc,
    /// Bytes of payload at the beginning of the buffer: decrypted, without padding.
    pub len: usize,
}

#[derive(Debug)]
struct Ring {
    words: Box<[AtomicU64]>,
    /// Words written and read in all; modulo the length of `words` the place of the next one. They never wrap.
    written: AtomicU64,
    read: AtomicU64,
    dropped: AtomicU64,
    /// There is, or was, a writer.
    taken: AtomicBool,
    /// The reader is gone.
    unread: AtomicBool,
    /// Times are told from here.
    epoch: Instant,
}

/// A tap with room for `bytes` of frames (at least one of the longest, at most 16 MiB), and its reading end. `now` is any
/// time before the first packet.
#[must_use]
pub fn tap(bytes: usize, now: Instant) -> (Tap, TapReader) {
    let words = (bytes / WORD).clamp(HEAD + LONGEST / WORD, MOST / WORD);
    let words = std::iter::repeat_with(AtomicU64::default).take(words).collect();
    let ring = Arc::new(Ring {
        words,
        written: AtomicU64::new(0),
        read: AtomicU64::new(0),
        dropped: AtomicU64::new(0),
        taken: AtomicBool::new(false),
        unread: AtomicBool::new(false),
        epoch: now,
    });
    (Tap(Arc::clone(&ring)), TapReader(ring))
}

impl Tap {
    /// The writing end; once.
    pub(crate) fn writer(&self) -> Option<Writer> {
        (!self.0.taken.swap(true, Ordering::AcqRel)).then(|| Writer(Arc::clone(&self.0)))
    }
}

impl Writer {
    /// Copies a packet in the clear, if there is room.
    pub(crate) fn copy(&mut self, header: &Header, packet: &[u8], now: Instant) {
        let ring = &*self.0;
        if ring.unread.load(Ordering::Relaxed) {
            return;
        }
        let payload = Rtp::parse(packet).map_or(&[][..], |packet| packet.payload());
        let written = ring.written.load(Ordering::Relaxed);
        let used = written - ring.read.load(Ordering::Acquire);
        let need = words(payload.len());
        if payload.len() > LONGEST || used + need > ring.words.len() as u64 {
            ring.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let nanos = now.saturating_duration_since(ring.epoch).as_nanos();
        let head = [
            payload.len() as u64,
            u64::try_from(nanos).unwrap_or(u64::MAX),
            u64::from(header.payload_type) << 8 | u64::from(header.marker),
            u64::from(header.sequence),
            u64::from(header.timestamp) << 32 | u64::from(header.ssrc.0),
        ];
        for (n, word) in head.into_iter().enumerate() {
            ring.put(written, n, word);
        }
        for (n, bytes) in payload.chunks(WORD).enumerate() {
            let mut word = [0; WORD];
            word[..bytes.len()].copy_from_slice(bytes);
            ring.put(written, HEAD + n, u64::from_le_bytes(word));
        }
        ring.written.store(written + need, Ordering::Release);
    }
}

impl TapReader {
    /// The longest payload: a buffer of that size takes any.
    pub const LONGEST: usize = LONGEST;

    /// The next frame, its payload at the beginning of `payload`, which is cut off where that is too short. `None`: there
    /// is none now, and when [`TapReader::has_ended`] said so before, none will come.
    pub fn read(&mut self, payload: &mut [u8]) -> Option<Frame> {
        let ring = &*self.0;
        let read = ring.read.load(Ordering::Relaxed);
        if ring.written.load(Ordering::Acquire) == read {
            return None;
        }
        let [len, nanos, kind, sequence, source] = std::array::from_fn(|n| ring.get(read, n));
        let len = len as usize;
        let shown = len.min(payload.len());
        for (n, bytes) in payload[..shown].chunks_mut(WORD).enumerate() {
            let word = ring.get(read, HEAD + n).to_le_bytes();
            bytes.copy_from_slice(&word[..bytes.len()]);
        }
        ring.read.store(read + words(len), Ordering::Release);
        Some(Frame {
            at: ring.epoch + Duration::from_nanos(nanos),
            payload_type: (kind >> 8) as u8,
            marker: kind & 1 == 1,
            sequence: sequence as u16,
            timestamp: (source >> 32) as u32,
            ssrc: Ssrc(source as u32),
            len: shown,
        })
    }

    /// Frames that found no room so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Whether it was taken off, its session ended, or it never met one, and no copy of the [`Tap`] is left that could
    /// still be put on: what is in the ring can be read, and nothing follows.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let alone = Arc::strong_count(&self.0) == 1;
        // What whoever is gone had written is seen by now.
        fence(Ordering::Acquire);
        alone
    }
}

impl Drop for TapReader {
    fn drop(&mut self) {
        self.0.unread.store(true, Ordering::Relaxed);
    }
}

impl Ring {
    fn put(&self, from: u64, n: usize, word: u64) {
        self.word(from, n).store(word, Ordering::Relaxed);
    }

    fn get(&self, from: u64, n: usize) -> u64 {
        self.word(from, n).load(Ordering::Relaxed)
    }

    fn word(&self, from: u64, n: usize) -> &AtomicU64 {
        &self.words[((from + n as u64) % self.words.len() as u64) as usize]
    }
}

/// How many a frame takes.
const fn words(payload: usize) -> u64 {
    (HEAD + payload.div_ceil(WORD)) as u64
}

/// Bytes in a word.
const WORD: usize = 8;
/// Words before the payload.
const HEAD: usize = 5;
/// The longest payload: more than any datagram that is relayed.
const LONGEST: usize = 1600;
/// The largest ring: a minute and a half of G.711.
const MOST: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn packet(number: u16, length: usize) -> Vec<u8> {
        let mut bytes = vec![0x80, 8];
        bytes.extend(number.to_be_bytes());
        bytes.extend((u32::from(number) * 160).to_be_bytes());
        bytes.extend(7_u32.to_be_bytes());
        bytes.extend((0..length).map(|n| (n as u16).wrapping_mul(3).wrapping_add(number) as u8));
        bytes
    }

    fn write(writer: &mut Writer, number: u16, length: usize, now: Instant) {
        let bytes = packet(number, length);
        writer.copy(&Header::peek(&bytes).unwrap(), &bytes, now);
    }

    #[test]
    fn what_is_written_is_read_until_there_is_no_room() {
        let start = now();
        let (tap, mut reader) = tap(0, start);
        let mut writer = tap.writer().unwrap();
        assert!(tap.clone().writer().is_none(), "one writes");
        let mut payload = [0; TapReader::LONGEST];
        assert_eq!(reader.read(&mut payload), None);
        for round in 0..200_u16 {
            let at = start + Duration::from_millis(round.into());
            // 205 words: eight frames of 25.
            (0..10).for_each(|n| write(&mut writer, round * 10 + n, 160, at));
            for n in 0..8 {
                let frame = reader.read(&mut payload).unwrap();
                let number = round * 10 + n;
                let expected = Frame {
                    at,
                    payload_type: 8,
                    marker: false,
                    sequence: number,
                    timestamp: u32::from(number) * 160,
                    ssrc: Ssrc(7),
                    len: 160,
                };
                assert_eq!(frame, expected);
                assert_eq!(payload[..160], packet(number, 160)[12..]);
            }
            assert_eq!(reader.read(&mut payload), None);
            assert_eq!(reader.dropped(), u64::from(round + 1) * 2);
        }
        for length in [0, 1, 7, 8, 9, 1599, 1600, 1601] {
            write(&mut writer, 1, length, start);
            match reader.read(&mut payload) {
                Some(frame) => assert_eq!(payload[..frame.len], packet(1, length)[12..]),
                None => assert_eq!(length, 1601),
            }
        }
        write(&mut writer, 2, 100, start);
        assert_eq!(reader.read(&mut payload[..10]).map(|frame| frame.len), Some(10));
        write(&mut writer, 3, 100, start);
        assert!(!reader.has_ended());
        drop(writer);
        assert!(!reader.has_ended(), "it could be handed over still");
        drop(tap);
        assert!(reader.has_ended() && reader.read(&mut payload).is_some());
    }

    #[test]
    fn without_a_reader_nothing_is_copied() {
        let start = now();
        let (tap, reader) = tap(100_000, start);
        let mut writer = tap.writer().unwrap();
        drop(reader);
        write(&mut writer, 1, 160, start);
        assert_eq!(writer.0.written.load(Ordering::Relaxed), 0);
    }

    /// Two threads: what arrives is whole and in order, and with what was dropped it is all.
    #[test]
    fn a_reader_in_another_thread_sees_whole_frames_in_order() {
        const COUNT: u64 = 200_000;
        let start = now();
        let (tap, mut reader) = tap(4000, start);
        let mut writer = tap.writer().unwrap();
        let reading = thread::spawn(move || {
            let (mut count, mut last, mut payload) = (0_u64, None, [0; TapReader::LONGEST]);
            loop {
                let ended = reader.has_ended();
                while let Some(frame) = reader.read(&mut payload) {
                    let length = usize::from(frame.sequence) % 400;
                    assert_eq!(payload[..frame.len], packet(frame.sequence, length)[12..]);
                    assert!(last.is_none_or(|last| frame.at > last));
                    last = Some(frame.at);
                    count += 1;
                }
                if ended {
                    return (count, reader.dropped());
                }
            }
        });
        for n in 0..COUNT {
            let number = n as u16;
            let at = start + Duration::from_micros(n);
            write(&mut writer, number, usize::from(number) % 400, at);
        }
        drop((tap, writer));
        let (count, dropped) = reading.join().unwrap();
        assert_eq!(count + dropped, COUNT);
        assert!(count > 0);
    }

    #[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
    fn now() -> Instant {
        Instant::now()
    }
}
