//! Samples of any rate as samples at 8 kHz, by a windowed sinc.
//!
//! Each new sample is the sum of the samples around it, weighted by the impulse response of a low-pass below half of the
//! lower rate, eight zeros to each side, under a Hann window. What 8 kHz cannot carry is thus left out, not folded down.
//! Of what comes in only what the next new sample needs is kept.

use std::f64::consts::PI;

use super::RATE;

/// Takes samples in the range -1 to 1 one by one.
pub(super) struct Resampler {
    /// One half of the impulse response.
    response: Vec<f64>,
    /// Samples of the file for one new sample.
    step: f64,
    /// In samples of the file, how far the zeros of the response lie apart.
    stretch: f64,
    /// The last samples of the file.
    window: Vec<f32>,
    /// Samples of the file that are not kept any more.
    gone: usize,
    made: Vec<i16>,
}

impl Resampler {
    /// For a file of this rate.
    pub(super) fn new(rate: u32) -> Self {
        let step = f64::from(rate) / f64::from(RATE);
        Self {
            response: response(),
            step,
            stretch: step.max(1.0),
            window: Vec::with_capacity(2 * KEPT),
            gone: 0,
            made: Vec::new(),
        }
    }

    /// The next sample.
    pub(super) fn push(&mut self, sample: f32) {
        self.window.push(sample);
        while self.gone + self.window.len() > self.last() {
            self.make();
        }
        if self.window.len() == 2 * KEPT {
            let needed = (self.middle() - self.reach()).max(0.0) as usize;
            let idle = needed.saturating_sub(self.gone).min(self.window.len());
            self.window.drain(..idle);
            self.gone += idle;
        }
    }

    /// All that was made of them.
    pub(super) fn finish(mut self) -> Vec<i16> {
        let count = ((self.gone + self.window.len()) as f64 / self.step) as usize;
        while self.made.len() < count {
            self.make();
        }
        self.made.truncate(count);
        self.made
    }

    /// Where the next new sample lies, in samples of the file.
    fn middle(&self) -> f64 {
        self.made.len() as f64 * self.step
    }

    fn reach(&self) -> f64 {
        ZEROS as f64 * self.stretch
    }

    /// The last sample that the next new one needs.
    fn last(&self) -> usize {
        (self.middle() + self.reach()) as usize
    }

    fn make(&mut self) {
        if self.step == 1.0 {
            let sample = self.window.get(self.made.len() - self.gone).copied().unwrap_or_default();
            return self.made.push(whole(f64::from(sample)));
        }
        let middle = self.middle();
        let first = (middle - self.reach()).ceil().max(0.0) as usize;
        let last = self.last().min((self.gone + self.window.len()).saturating_sub(1));
        let needed = self.window.get(first - self.gone..=last - self.gone).unwrap_or_default();
        let (mut sum, mut weights) = (0.0, 0.0);
        for (at, sample) in (first..).zip(needed) {
            let distance = (at as f64 - middle).abs() / self.stretch * f64::from(FINENESS);
            let weight = self.response.get(distance as usize).copied().unwrap_or_default();
            sum += f64::from(*sample) * weight;
            weights += weight;
        }
        self.made.push(if weights > 0.0 { whole(sum / weights) } else { 0 });
    }
}

fn whole(sample: f64) -> i16 {
    (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16
}

fn response() -> Vec<f64> {
    let at = |n: u32| {
        let x = f64::from(n) / f64::from(FINENESS);
        let window = 0.5 + 0.5 * (PI * x / ZEROS as f64).cos();
        let angle = PI * x * PASS;
        if n == 0 { 1.0 } else { angle.sin() / angle * window }
    };
    (0..ZEROS as u32 * FINENESS).map(at).collect()
}

/// Zeros of the impulse response to each side.
const ZEROS: usize = 8;
/// Steps of the table between two of them.
const FINENESS: u32 = 512;
/// Where the low-pass ends, by half of the lower rate.
const PASS: f64 = 0.92;
/// Beyond what one new sample needs at 192 kHz (two times `ZEROS` times 24), so that old samples leave many at a time.
const KEPT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

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

    /// A second of a sine.
    fn heard(hertz: f64, rate: u32) -> Vec<i16> {
        let mut resampler = Resampler::new(rate);
        for n in 0..rate {
            let sample = (2.0 * PI * hertz * f64::from(n) / f64::from(rate)).sin() * 12_000.0;
            resampler.push((sample / 32_768.0) as f32);
        }
        resampler.finish()
    }

    #[test]
    fn other_rates_keep_what_8_khz_can_carry_and_nothing_else() {
        for rate in [4000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000] {
            let samples = heard(1000.0, rate);
            assert!(samples.len().abs_diff(8000) <= 1, "{rate}: {}", samples.len());
            let level = peak(&samples[200..7800], 1000.0);
            assert!((11_900.0..12_100.0).contains(&level), "{rate}: {level}");
            if rate < 16_000 {
                continue;
            }
            // 5 kHz would come back as 3 kHz.
            let folded = peak(&heard(5000.0, rate)[200..7800], 3000.0);
            assert!(folded < 120.0, "{rate}: {folded}");
        }
    }

    #[test]
    fn samples_at_8_khz_are_taken_as_they_are() {
        let mut resampler = Resampler::new(RATE);
        (-16_384..16_384).for_each(|n| resampler.push((n * 2) as f32 / 32_768.0));
        assert_eq!(resampler.finish(), (-16_384..16_384).map(|n| n as i16 * 2).collect::<Vec<_>>());
    }

    #[test]
    fn however_few_samples_come_their_time_is_kept() {
        for (rate, count, made) in [(48_000, 0, 0), (48_000, 5, 0), (48_000, 6, 1), (4000, 1, 2)] {
            let mut resampler = Resampler::new(rate);
            (0..count).for_each(|_| resampler.push(0.5));
            assert_eq!(resampler.finish(), vec![16_384; made], "{rate} {count}");
        }
    }
}
