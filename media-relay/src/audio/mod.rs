//! Audio of our own: G.711 (ITU-T), clips that are ready to be sent, tones by country, WAV files.
//!
//! A [`Clip`] lies ready under both laws, so that a packet of it costs a copy. Everything here is done before a call
//! needs it; nothing reads a file or a clock. The door to `audio-codec-algorithms` (both laws) and, in [`wav`], to
//! `hound`.

mod resample;
pub mod tone;
pub mod wav;

use std::fmt;
use std::time::Duration;

use audio_codec_algorithms::{decode_alaw, decode_ulaw, encode_alaw, encode_ulaw};

/// Samples in a second (RFC 3551 §4.5.14).
pub const RATE: u32 = 8000;
/// Samples in one packet of ours.
pub const FRAME: usize = 160;
/// The time that a packet of ours lasts, whatever `ptime` a peer would like: RFC 3551 §4.2 has 20 ms as the usual time, and
/// has every receiver take any up to 200 ms; a wish for another time binds nobody (RFC 8866 §6.4).
pub const FRAME_TIME: Duration = Duration::from_millis(20);

/// One of the two laws of G.711.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Law {
    /// PCMA.
    A,
    /// PCMU.
    Mu,
}

impl Law {
    /// A sample as a byte.
    #[must_use]
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Self::A => encode_alaw(sample),
            Self::Mu => encode_ulaw(sample),
        }
    }

    /// A byte as a sample.
    #[must_use]
    pub fn decode(self, byte: u8) -> i16 {
        match self {
            Self::A => decode_alaw(byte),
            Self::Mu => decode_ulaw(byte),
        }
    }
}

/// Audio to play: at least one sample, at most [`Clip::LONGEST`], under both laws.
#[derive(Clone, PartialEq, Eq)]
pub struct Clip {
    a: Box<[u8]>,
    mu: Box<[u8]>,
}

impl Clip {
    /// The longest clip.
    pub const LONGEST: Duration = Duration::from_secs(600);

    /// Of samples at [`RATE`], as far as they last for [`Clip::LONGEST`]; `None` without any.
    #[must_use]
    pub fn new(samples: &[i16]) -> Option<Self> {
        let longest = Self::LONGEST.as_secs() as usize * RATE as usize;
        let samples = &samples[..samples.len().min(longest)];
        let under = |law: Law| samples.iter().map(|sample| law.encode(*sample)).collect();
        (!samples.is_empty()).then(|| Self { a: under(Law::A), mu: under(Law::Mu) })
    }

    /// The samples, each one byte.
    #[must_use]
    pub fn bytes(&self, law: Law) -> &[u8] {
        match law {
            Law::A => &self.a,
            Law::Mu => &self.mu,
        }
    }

    /// How long it lasts.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.a.len() as u64) / RATE
    }

    /// Copies the samples from position `at` on to `frame`, and from the beginning again if `looped`, else silence behind the
    /// end. The position of what comes next: none behind the end.
    pub(crate) fn copy(
        &self,
        law: Law,
        mut at: usize,
        looped: bool,
        frame: &mut [u8],
    ) -> Option<usize> {
        let bytes = self.bytes(law);
        let mut filled = 0;
        while filled < frame.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.is_empty() {
                if looped {
                    at = 0;
                    continue;
                }
                frame[filled..].fill(law.encode(0));
                return None;
            }
            let length = rest.len().min(frame.len() - filled);
            frame[filled..filled + length].copy_from_slice(&rest[..length]);
            filled += length;
            at += length;
        }
        (looped || at < bytes.len()).then_some(at)
    }
}

impl fmt::Debug for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clip").field(&self.duration()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ITU-T G.711, tables 1a to 2b: silence, the smallest and the largest steps.
    #[test]
    fn both_laws_are_those_of_g_711() {
        for (law, sample, byte) in [
            (Law::Mu, 0, 0xff),
            (Law::Mu, 8, 0xfe),
            (Law::Mu, 32_124, 0x80),
            (Law::Mu, -32_124, 0x00),
            (Law::A, 8, 0xd5),
            (Law::A, -8, 0x55),
            (Law::A, 264, 0xc5),
            (Law::A, 32_256, 0xaa),
            (Law::A, -32_256, 0x2a),
        ] {
            assert_eq!(law.encode(sample), byte, "{law:?} {sample}");
            assert_eq!(law.decode(byte), sample, "{law:?} {byte:02x}");
        }
        for law in [Law::A, Law::Mu] {
            for sample in i16::MIN..=i16::MAX {
                let (there, back) = (i32::from(sample), law.decode(law.encode(sample)));
                // Half a step of its segment.
                let most = ((there.abs() + 132) / 30).max(8);
                assert!((there - i32::from(back)).abs() <= most, "{law:?} {sample} {back}");
            }
        }
    }

    #[test]
    fn a_clip_goes_round_or_ends_in_silence() {
        let samples: Vec<i16> = (0..250).map(|n| n * 100).collect();
        let clip = Clip::new(&samples).unwrap();
        let mut frame = [0; FRAME];
        let at = clip.copy(Law::A, 0, true, &mut frame).unwrap();
        assert_eq!((at, &frame[..]), (160, &clip.bytes(Law::A)[..160]));
        let at = clip.copy(Law::A, at, true, &mut frame).unwrap();
        assert_eq!(at, 70);
        assert_eq!(frame[..90], clip.bytes(Law::A)[160..]);
        assert_eq!(frame[90..], clip.bytes(Law::A)[..70]);
        assert_eq!(clip.copy(Law::Mu, 160, false, &mut frame), None);
        assert_eq!(frame[..90], clip.bytes(Law::Mu)[160..]);
        assert!(frame[90..].iter().all(|byte| *byte == 0xff));
        // Shorter than a packet, and just one.
        let tick = Clip::new(&[1000]).unwrap();
        assert_eq!(tick.copy(Law::A, 0, true, &mut frame), Some(1));
        assert!(frame.iter().all(|byte| *byte == Law::A.encode(1000)));
        let packet = Clip::new(&[5; FRAME]).unwrap();
        assert_eq!(packet.copy(Law::A, 0, false, &mut frame), None);
    }

    #[test]
    fn a_clip_has_an_end_and_a_beginning() {
        assert_eq!(Clip::new(&[]), None);
        let long = Clip::new(&vec![0; 601 * RATE as usize]).unwrap();
        assert_eq!(long.duration(), Clip::LONGEST);
    }
}
