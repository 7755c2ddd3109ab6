//! WAV files (RIFF, linear PCM of 8 to 32 bits, one or two channels) as clips.
//!
//! Two channels become their mean; another rate than 8 kHz is brought there (`resample`). What a header can tell is
//! told at once, so that a start need not wait until minutes of music are read.

use std::fmt;
use std::io::{Read, Seek};
use std::time::Duration;

use hound::{SampleFormat, WavReader, WavSpec};

use super::resample::Resampler;
use super::{Clip, RATE};

/// Why a file cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WavError {
    /// No RIFF file of type WAVE, or one that is cut off.
    #[error("this is no WAV file: {0}")]
    NotWav(&'static str),
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

/// A file whose header is good.
pub struct Wav<R> {
    reader: WavReader<R>,
}

impl<R: Read + Seek> Wav<R> {
    /// Reads the header, and the first and the last sample: what can be wrong with a file is found here, however long it
    /// is. Afterwards only reading can fail.
    pub fn open(file: R) -> Result<Self, WavError> {
        let mut reader = WavReader::new(file).map_err(|error| refused(&error))?;
        let WavSpec { channels, sample_rate, sample_format, .. } = reader.spec();
        if sample_format != SampleFormat::Int {
            return Err(WavError::NotPcm);
        }
        if !(1..=2).contains(&channels) {
            return Err(WavError::Channels(channels));
        }
        if !RATES.contains(&sample_rate) {
            return Err(WavError::Rate(sample_rate));
        }
        let frames = reader.duration();
        let seconds = u64::from(frames) / u64::from(sample_rate);
        if seconds > Clip::LONGEST.as_secs() {
            return Err(WavError::TooLong(seconds));
        }
        if u64::from(frames) * u64::from(RATE) < u64::from(sample_rate) {
            return Err(WavError::Empty);
        }
        for frame in [0, frames - 1] {
            reader.seek(frame).map_err(|_| CUT_OFF)?;
            if let Some(Err(error)) = reader.samples::<i32>().take(channels.into()).last() {
                return Err(refused(&error));
            }
        }
        reader.seek(0).map_err(|_| CUT_OFF)?;
        Ok(Self { reader })
    }

    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.reader.duration().into()) / self.reader.spec().sample_rate
    }

    /// Reads all of it.
    pub fn decode(mut self) -> Result<Clip, WavError> {
        let WavSpec { channels, sample_rate, bits_per_sample, .. } = self.reader.spec();
        let scale = f64::from(bits_per_sample.saturating_sub(1)).exp2() * f64::from(channels);
        let mut resampler = Resampler::new(sample_rate);
        let mut sum = 0.0;
        for (number, sample) in self.reader.samples::<i32>().enumerate() {
            sum += f64::from(sample.map_err(|error| refused(&error))?) / scale;
            if (number + 1) % usize::from(channels) == 0 {
                resampler.push(std::mem::take(&mut sum) as f32);
            }
        }
        Clip::new(&resampler.finish()).ok_or(WavError::Empty)
    }
}

impl<R> fmt::Debug for Wav<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wav").finish_non_exhaustive()
    }
}

fn refused(error: &hound::Error) -> WavError {
    match error {
        hound::Error::Unsupported | hound::Error::InvalidSampleFormat | hound::Error::TooWide => {
            WavError::NotPcm
        }
        hound::Error::IoError(_) => CUT_OFF,
        hound::Error::FormatError(why) => WavError::NotWav(why),
        hound::Error::UnfinishedSample => WavError::NotWav("it ends within a sample"),
    }
}

/// It ends before its header says.
const CUT_OFF: WavError = WavError::NotWav("it is cut off");
/// Rates that are read.
const RATES: std::ops::RangeInclusive<u32> = 4000..=192_000;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use hound::WavWriter;

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

    fn read(file: &[u8]) -> Result<Clip, WavError> {
        let wav = Wav::open(Cursor::new(file))?;
        let told = wav.duration();
        let clip = wav.decode().expect("the header was good");
        assert!(told.abs_diff(clip.duration()) < Duration::from_micros(250), "{told:?}");
        Ok(clip)
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
    fn other_rates_and_sizes_keep_their_level() {
        for (rate, bits) in [(44_100, 16), (16_000, 24), (48_000, 32)] {
            let value = 1 << (bits - 3);
            let file = wav(spec(2, rate, bits), (0..rate * 2).map(|_| value));
            assert_eq!(read(&file).unwrap(), Clip::new(&[8192; 8000]).unwrap(), "{rate} {bits}");
        }
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
            (good[..good.len() - 1].to_vec(), "no WAV"),
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
                let all = |file: &[u8]| Wav::open(Cursor::new(file))?.decode();
                drop(all(&bad));
                drop(all(&bad[..at]));
            }
        }
    }
}
