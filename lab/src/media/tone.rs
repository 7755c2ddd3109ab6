//! G.711 (ITU-T, both laws), sine frames with a mark in them, and Goertzel's question: which tone?

use std::f64::consts::PI;

/// Bytes in one 20 ms frame at 8 kHz.
pub const FRAME: usize = 160;

/// One of the two laws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// PCMU, static payload type 0.
    Mu,
    /// PCMA, static payload type 8.
    A,
}

impl Law {
    /// One sample to one byte.
    #[must_use]
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Mu => mu_encode(sample),
            Self::A => a_encode(sample),
        }
    }

    /// One byte to one sample.
    #[must_use]
    pub fn decode(self, byte: u8) -> i16 {
        match self {
            Self::Mu => mu_decode(byte),
            Self::A => a_decode(byte),
        }
    }
}

/// An endless sine of one stream, frame by frame.
pub(crate) struct Tone {
    hertz: u32,
    law: Law,
    stream: u32,
    frame: u32,
}

impl Tone {
    pub(crate) const fn new(hertz: u32, law: Law, stream: u32) -> Self {
        Self { hertz, law, stream, frame: 0 }
    }

    /// The next frame, marked with the stream and its number.
    pub(crate) fn next(&mut self) -> [u8; FRAME] {
        let mut bytes = [0; FRAME];
        let first = u64::from(self.frame) * FRAME as u64;
        let mark = u64::from(self.stream) << 32 | u64::from(self.frame);
        for (i, byte) in bytes.iter_mut().enumerate() {
            // The phase is taken modulo one second, where every whole frequency repeats.
            let second = ((first + i as u64) % u64::from(RATE)) as f64 / f64::from(RATE);
            let wave = (2.0 * PI * f64::from(self.hertz) * second).sin();
            *byte = self.law.encode((wave * LEVEL) as i16);
            if i < 64 {
                *byte = (*byte & 0xfe) | (mark >> i & 1) as u8;
            }
        }
        self.frame = self.frame.wrapping_add(1);
        bytes
    }
}

/// The strongest frequency between 300 and 2000 Hz in steps of 10 Hz, if it holds most of the
/// energy. Needs 400 samples.
#[must_use]
pub fn loudest(samples: &[i16]) -> Option<u32> {
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    if samples.len() < 400 || energy == 0.0 {
        return None;
    }
    let loudness = |hertz: u32| (hertz, goertzel(samples, hertz));
    let (hertz, power) = (300..=2000)
        .step_by(10)
        .map(loudness)
        .max_by(|(_, one), (_, other)| one.total_cmp(other))?;
    // A pure sine of n samples has the Goertzel power energy * n / 2.
    (power > energy * samples.len() as f64 / 2.0 * 0.7).then_some(hertz)
}

fn goertzel(samples: &[i16], hertz: u32) -> f64 {
    let coefficient = 2.0 * (2.0 * PI * f64::from(hertz) / f64::from(RATE)).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        let now = f64::from(*sample) + coefficient * last - before;
        before = last;
        last = now;
    }
    last * last + before * before - coefficient * last * before
}

fn mu_encode(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(32_635) + 0x84;
    let exponent = (31 - (magnitude as u32).leading_zeros()).saturating_sub(7).min(7);
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | (exponent as u8) << 4 | mantissa as u8)
}

fn mu_decode(byte: u8) -> i16 {
    let byte = !byte;
    let exponent = byte >> 4 & 7;
    let magnitude = (((i32::from(byte & 0x0f) << 3) + 0x84) << exponent) - 0x84;
    (if byte & 0x80 == 0 { magnitude } else { -magnitude }) as i16
}

fn a_encode(sample: i16) -> u8 {
    let sign = if sample < 0 { 0 } else { 0x80 };
    let magnitude = (if sample < 0 { !i32::from(sample) } else { i32::from(sample) }) >> 3;
    let exponent = (32 - (magnitude as u32).leading_zeros()).saturating_sub(5).min(7);
    let shift = if exponent < 2 { 1 } else { exponent };
    let mantissa = (magnitude >> shift) & 0x0f;
    (sign | (exponent as u8) << 4 | mantissa as u8) ^ 0x55
}

fn a_decode(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let exponent = byte >> 4 & 7;
    let step = i32::from(byte & 0x0f) << 4;
    let magnitude = if exponent == 0 { step + 8 } else { (step + 0x108) << (exponent - 1) };
    (if byte & 0x80 == 0 { -magnitude } else { magnitude }) as i16
}

const RATE: u32 = 8000;
/// -6 dB under full scale.
const LEVEL: f64 = 16_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_g711_values() {
        // ITU-T G.711 tables: silence, full scale, the smallest steps.
        for (law, sample, byte) in [
            (Law::Mu, 0, 0xff),
            (Law::Mu, 32_124, 0x80),
            (Law::Mu, -32_124, 0x00),
            (Law::Mu, 8, 0xfe),
            (Law::A, 8, 0xd5),
            (Law::A, -8, 0x55),
            (Law::A, 32_256, 0xaa),
            (Law::A, -32_256, 0x2a),
            (Law::A, 264, 0xc5),
        ] {
            assert_eq!(law.encode(sample), byte, "{law:?} {sample}");
            assert_eq!(law.decode(byte), sample, "{law:?} {byte:02x}");
        }
    }

    #[test]
    fn every_byte_decodes_and_encodes_to_itself() {
        for byte in 0..=255_u8 {
            assert_eq!(Law::A.encode(Law::A.decode(byte)), byte, "A {byte:02x}");
            // 0x7f is negative zero.
            if byte != 0x7f {
                assert_eq!(Law::Mu.encode(Law::Mu.decode(byte)), byte, "mu {byte:02x}");
            }
        }
    }

    #[test]
    fn a_tone_is_heard_and_its_frames_all_differ() {
        for law in [Law::Mu, Law::A] {
            for hertz in [400, 1000, 1850] {
                let mut tone = Tone::new(hertz, law, 7);
                let frames: Vec<_> = (0..50).map(|_| tone.next()).collect();
                let samples: Vec<i16> =
                    frames.iter().flatten().map(|byte| law.decode(*byte)).collect();
                assert_eq!(loudest(&samples), Some(hertz), "{law:?}");
                let mut unique = frames.clone();
                unique.sort_unstable();
                unique.dedup();
                assert_eq!(unique.len(), frames.len());
            }
        }
    }

    #[test]
    fn silence_and_noise_have_no_tone() {
        assert_eq!(loudest(&[0; 1600]), None);
        let mut state = 1_u32;
        let noise: Vec<i16> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i16
        })
        .take(1600)
        .collect();
        assert_eq!(loudest(&noise), None);
    }
}
