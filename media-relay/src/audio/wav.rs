//! WAV files (RIFF, linear PCM of 8 to 32 bits, one or two channels) as clips.
//!
//! Two channels become their mean. Another rate than 8 kHz is brought there by a windowed sinc: each new sample is the
//! sum of the samples around it, weighted by the impulse response of a low-pass below half of the lower rate, eight zeros
//! to each side, under a Hann window. What 8 kHz cannot carry is thus left out, not folded down.

use std::f64::consts::PI;

use hound::{SampleFormat, WavReader};

use super::{Clip, RATE};

/// Why a file cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WavError {
    /// No RIFF file of type WAVE, or one that is cut off.
    #[error("this is no WAV file: {0}")]
    NotWav(String),
    /// A codec, or floating-point samples.
    #[error("its samples are not linear PCM")]
    NotPcm,
    /// More channels than two.
    #[error("it has {0} channels")]
    Channels(u16),
    /// A rate that no file of speech or music has.
    #[error("it has {0} samples in a second")]
    Rate(u32),
    /// No sample at all.
    #[error("it is empty")]
    Empty,
    /// Longer than a clip may be.
    #[error("it lasts for {0} s")]
    TooLong(u64),
}

impl WavError {
    /// What to do.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        match self {
            Self::NotWav(_) | Self::NotPcm => {
                "Save it as WAV with linear PCM, best 16 bits, mono, 8000 Hz: sox music.mp3 -b 16 -c 1 -r 8000 music.wav"
            }
            Self::Channels(_) => "Save it with one channel, or two.",
            Self::Rate(_) => "Save it with 8000 samples in a second (4000 to 192000 are read).",
            Self::Empty => "Name a file with something to hear.",
            Self::TooLong(_) => "Cut it to 10 minutes: it is played again and again.",
        }
    }
}

/// Reads a whole file.
pub fn read(file: &[u8]) -> Result<Clip, WavError> {
    let mut reader = WavReader::new(file).map_err(|error| refused(&error))?;
    let spec = reader.spec();
    if spec.sample_format != SampleFormat::Int {
        return Err(WavError::NotPcm);
    }
    if !(1..=2).contains(&spec.channels) {
        return Err(WavError::Channels(spec.channels));
    }
    if !RATES.contains(&spec.sample_rate) {
        return Err(WavError::Rate(spec.sample_rate));
    }
    let seconds = u64::from(reader.duration()) / u64::from(spec.sample_rate);
    if seconds > Clip::LONGEST.as_secs() {
        return Err(WavError::TooLong(seconds));
    }
    let scale = f64::from(spec.bits_per_sample.saturating_sub(1)).exp2() * f64::from(spec.channels);
    let mut mono = Vec::with_capacity((reader.duration() as usize).min(file.len()));
    let mut sum = 0.0;
    for (number, sample) in reader.samples::<i32>().enumerate() {
        sum += f64::from(sample.map_err(|error| refused(&error))?) / scale;
        if (number + 1) % usize::from(spec.channels) == 0 {
            mono.push(std::mem::take(&mut sum) as f32);
        }
    }
    let samples = resampled(&mono, spec.sample_rate);
    Clip::new(&samples).ok_or(WavError::Empty)
}

fn refused(error: &hound::Error) -> WavError {
    match error {
        hound::Error::Unsupported | hound::Error::InvalidSampleFormat | hound::Error::TooWide => {
            WavError::NotPcm
        }
        hound::Error::IoError(_) => WavError::NotWav("it is cut off".to_owned()),
        hound::Error::FormatError(why) => WavError::NotWav((*why).to_owned()),
        hound::Error::UnfinishedSample => WavError::NotWav("it ends within a sample".to_owned()),
    }
}

/// At 8 kHz.
fn resampled(samples: &[f32], rate: u32) -> Vec<i16> {
    let whole = |sample: f64| (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16;
    if rate == RATE {
        return samples.iter().map(|sample| whole(f64::from(*sample))).collect();
    }
    let response = response();
    let step = f64::from(rate) / f64::from(RATE);
    // In samples of the file, how far the zeros of the response lie apart.
    let stretch = step.max(1.0);
    let reach = ZEROS as f64 * stretch;
    let count = (samples.len() as f64 / step) as usize;
    let one = |number: usize| {
        let middle = number as f64 * step;
        let first = (middle - reach).ceil().max(0.0) as usize;
        let last = ((middle + reach) as usize).min(samples.len().saturating_sub(1));
        let (mut sum, mut weights) = (0.0, 0.0);
        for (at, sample) in (first..).zip(samples.get(first..=last).unwrap_or_default()) {
            let distance = (at as f64 - middle).abs() / stretch * f64::from(FINENESS);
            let weight = response.get(distance as usize).copied().unwrap_or_default();
            sum += f64::from(*sample) * weight;
            weights += weight;
        }
        if weights > 0.0 { whole(sum / weights) } else { 0 }
    };
    (0..count).map(one).collect()
}

/// One half of the low-pass' impulse response.
fn response() -> Vec<f64> {
    let at = |n: u32| {
        let x = f64::from(n) / f64::from(FINENESS);
        let window = 0.5 + 0.5 * (PI * x / ZEROS as f64).cos();
        let angle = PI * x * PASS;
        if n == 0 { 1.0 } else { angle.sin() / angle * window }
    };
    (0..ZEROS as u32 * FINENESS).map(at).collect()
}

/// Rates that are read.
const RATES: std::ops::RangeInclusive<u32> = 4000..=192_000;
/// Zeros of the impulse response to each side.
const ZEROS: usize = 8;
/// Steps of the table between two of them.
const FINENESS: u32 = 512;
/// Where the low-pass ends, by half of the lower rate.
const PASS: f64 = 0.92;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use hound::{WavSpec, WavWriter};

    use super::super::Law;
    use super::*;

    fn wav(spec: WavSpec, samples: impl Iterator<Item = i32>) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
        samples.for_each(|sample| writer.write_sample(sample).unwrap());
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    const fn spec(channels: u16, sample_rate: u32, bits_per_sample: u16) -> WavSpec {
        WavSpec { channels, sample_rate, bits_per_sample, sample_format: SampleFormat::Int }
    }

    /// The peak of a sine among these samples.
    fn peak(samples: &[i16], hertz: f64) -> f64 {
        let (mut sine, mut cosine) = (0.0, 0.0);
        for (n, sample) in samples.iter().enumerate() {
            let angle = 2.0 * PI * hertz * n as f64 / f64::from(RATE);
            sine += f64::from(*sample) * angle.sin();
            cosine += f64::from(*sample) * angle.cos();
        }
        (sine * sine + cosine * cosine).sqrt() * 2.0 / samples.len() as f64
    }

    fn sine(hertz: f64, rate: u32, peak: f64) -> impl Iterator<Item = i32> {
        let at = move |n: u32| (2.0 * PI * hertz * f64::from(n) / f64::from(rate)).sin() * peak;
        (0..rate).map(move |n| at(n) as i32)
    }

    fn heard(file: &[u8]) -> Vec<i16> {
        let clip = read(file).unwrap();
        clip.bytes(Law::Mu).iter().map(|byte| Law::Mu.decode(*byte)).collect()
    }

    #[test]
    fn samples_at_8_khz_are_taken_as_they_are() {
        let samples: Vec<i16> = (0..1000).map(|n| n * 30).collect();
        let file = wav(spec(1, 8000, 16), samples.iter().map(|sample| i32::from(*sample)));
        assert_eq!(read(&file).unwrap(), Clip::new(&samples).unwrap());
        let file = wav(spec(1, 8000, 8), (-100..100).chain(0..1));
        let wide: Vec<i16> = (-100..100).chain(0..1).map(|sample| sample * 256).collect();
        assert_eq!(read(&file).unwrap(), Clip::new(&wide).unwrap());
        // Two channels of opposite sign are silence.
        let file = wav(spec(2, 8000, 16), (0..2000).map(|n| if n % 2 == 0 { 900 } else { -900 }));
        assert_eq!(read(&file).unwrap(), Clip::new(&[0; 1000]).unwrap());
    }

    #[test]
    fn other_rates_keep_what_8_khz_can_carry_and_nothing_else() {
        for rate in [4000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000] {
            let samples = heard(&wav(spec(1, rate, 16), sine(1000.0, rate, 12_000.0)));
            assert!(samples.len().abs_diff(8000) <= 1, "{rate}: {}", samples.len());
            let level = peak(&samples[200..7800], 1000.0);
            assert!((11_500.0..12_500.0).contains(&level), "{rate}: {level}");
            if rate < 16_000 {
                continue;
            }
            // 5 kHz would come back as 3 kHz.
            let samples = heard(&wav(spec(1, rate, 16), sine(5000.0, rate, 12_000.0)));
            let folded = peak(&samples[200..7800], 3000.0);
            assert!(folded < 120.0, "{rate}: {folded}");
        }
        let samples = heard(&wav(spec(1, 44_100, 24), sine(500.0, 44_100, 4_000_000.0)));
        let level = peak(&samples[200..7800], 500.0);
        assert!((15_000.0..16_200.0).contains(&level), "{level}");
    }

    #[test]
    fn what_is_no_music_says_what_to_do() {
        let good = wav(spec(1, 8000, 16), 0..1000);
        let float = {
            let mut bytes = Cursor::new(Vec::new());
            let spec = WavSpec {
                sample_format: SampleFormat::Float,
                bits_per_sample: 32,
                ..spec(1, 8000, 16)
            };
            let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
            writer.write_sample(0.5_f32).unwrap();
            writer.finalize().unwrap();
            bytes.into_inner()
        };
        let mut a_law = good.clone();
        a_law[20] = 6;
        for (file, wrong) in [
            (Vec::new(), "no WAV"),
            (b"ID3 and then an MP3".to_vec(), "no WAV"),
            (good[..30].to_vec(), "no WAV"),
            (good[..good.len() - 9].to_vec(), "no WAV"),
            (float, "not linear PCM"),
            (a_law, "not linear PCM"),
            (wav(spec(3, 8000, 16), 0..3), "3 channels"),
            (wav(spec(1, 1000, 16), 0..3), "1000 samples"),
            (wav(spec(1, 8000, 16), 0..0), "empty"),
            (wav(spec(1, 4000, 8), (0..601 * 4000).map(|_| 0)), "601 s"),
        ] {
            let error = read(&file).unwrap_err();
            assert!(error.to_string().contains(wrong), "{error}: {wrong}");
            assert!(error.help().ends_with(['.', 'v']), "{}", error.help());
        }
        assert_eq!(
            read(&wav(spec(1, 4000, 8), (0..600 * 4000).map(|_| 0))).unwrap().duration(),
            Clip::LONGEST
        );
    }

    /// Whatever stands in a file, it is read or refused.
    #[test]
    fn files_that_were_damaged_are_read_or_refused() {
        let good = wav(spec(2, 16_000, 16), 0..400);
        for at in 0..good.len().min(60) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                drop(read(&bad));
                drop(read(&bad[..at]));
            }
        }
    }
}
