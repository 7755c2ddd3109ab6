//! Tones by country: ringing and busy, as ITU-T E.180 Supplement 2 lists them; 425 Hz where it lists nothing that is
//! known here (E.180 §5, §6). Each at -10 dBm0, as E.180 §3 wants it where a tone is sent.

use std::f64::consts::TAU;

use super::{Clip, RATE};

/// What a tone says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tone {
    /// The called party is being alerted.
    Ringback,
    /// The called party is busy.
    Busy,
}

/// One country's tones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct National {
    /// ISO 3166-1 codes.
    countries: &'static str,
    ringback: Cadence,
    busy: Cadence,
}

/// Frequencies in Hz, sounded together, and milliseconds of sound and silence in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cadence {
    hertz: &'static [u32],
    times: &'static [u32],
}

/// One turn of a tone's cadence, to be played again and again. `country` is an ISO 3166-1 code.
#[must_use]
pub fn tone(tone: Tone, country: Option<&str>) -> Clip {
    let Cadence { hertz, times } = cadence(tone, country);
    let loudness = LOUDNESS / (hertz.len() as f64).sqrt();
    let mut samples = Vec::new();
    for (turn, time) in times.iter().enumerate() {
        let length = time * RATE / 1000;
        samples.extend((0..length).map(|n| {
            let wave = |hertz: &u32| (TAU * f64::from(hertz * n % RATE) / f64::from(RATE)).sin();
            let sum: f64 = hertz.iter().map(wave).sum();
            if turn % 2 == 0 { (sum * loudness) as i16 } else { 0 }
        }));
    }
    Clip::new(&samples).expect("no cadence of the table is empty")
}

fn cadence(tone: Tone, country: Option<&str>) -> Cadence {
    let of = |national: &&National| {
        country.is_some_and(|country| national.countries.split(' ').any(|c| c == country))
    };
    let national = TABLE.iter().find(of).unwrap_or(&USUAL);
    match tone {
        Tone::Ringback => national.ringback,
        Tone::Busy => national.busy,
    }
}

const fn national(countries: &'static str, ringback: Cadence, busy: Cadence) -> National {
    National { countries, ringback, busy }
}

const fn on(hertz: &'static [u32], times: &'static [u32]) -> Cadence {
    Cadence { hertz, times }
}

/// A tone that is modulated (400 Hz by 17 Hz, say) stands as its two side bands.
const TABLE: &[National] = &[
    national(
        "US CA PR VI GU AS MP DO JM BS BB BM TT AG AI DM GD KN KY LC MS TC VC VG SX",
        on(&[440, 480], &[2000, 4000]),
        on(&[480, 620], &[500, 500]),
    ),
    national("GB GG JE IM GI MT", on(&[400, 450], &[400, 200, 400, 2000]), on(&[400], &[375, 375])),
    national("IE", on(&[400, 450], &[400, 200, 400, 2000]), on(&[425], &[500, 500])),
    national("DE", on(&[425], &[1000, 4000]), on(&[425], &[480, 480])),
    national("AT", on(&[420], &[1000, 5000]), on(&[420], &[400, 400])),
    national("CH LI", on(&[425], &[1000, 4000]), on(&[425], &[500, 500])),
    national("FR MC RE GP MQ GF YT", on(&[440], &[1500, 3500]), on(&[440], &[500, 500])),
    national("IT SM VA", on(&[425], &[1000, 4000]), on(&[425], &[500, 500])),
    national("ES AD", on(&[425], &[1500, 3000]), on(&[425], &[200, 200])),
    national("PT", on(&[425], &[1000, 5000]), on(&[425], &[500, 500])),
    national("NL", on(&[425], &[1000, 4000]), on(&[425], &[500, 500])),
    national("BE", on(&[425], &[1000, 3000]), on(&[425], &[500, 500])),
    national("DK", on(&[425], &[1000, 4000]), on(&[425], &[500, 500])),
    national("SE", on(&[425], &[1000, 5000]), on(&[425], &[250, 250])),
    national("NO", on(&[425], &[1000, 4000]), on(&[425], &[500, 500])),
    national("FI", on(&[425], &[1000, 4000]), on(&[425], &[300, 300])),
    national("PL", on(&[425], &[1000, 4000]), on(&[425], &[500, 500])),
    national("CZ SK", on(&[425], &[1000, 4000]), on(&[425], &[330, 330])),
    national("HU", on(&[425], &[1250, 3750]), on(&[425], &[300, 300])),
    national("GR CY", on(&[425], &[1000, 4000]), on(&[425], &[300, 300])),
    national("TR", on(&[450], &[2000, 4000]), on(&[450], &[500, 500])),
    national("RU BY KZ", on(&[425], &[800, 3200]), on(&[425], &[350, 350])),
    national("IL", on(&[400], &[1000, 3000]), on(&[400], &[500, 500])),
    national("AU", on(&[383, 417], &[400, 200, 400, 2000]), on(&[425], &[375, 375])),
    national("NZ", on(&[400, 450], &[400, 200, 400, 2000]), on(&[400], &[500, 500])),
    national("JP", on(&[384, 416], &[1000, 2000]), on(&[400], &[500, 500])),
    national("CN", on(&[450], &[1000, 4000]), on(&[450], &[350, 350])),
    national("HK", on(&[440, 480], &[400, 200, 400, 3000]), on(&[480, 620], &[500, 500])),
    national("TW KR", on(&[440, 480], &[1000, 2000]), on(&[480, 620], &[500, 500])),
    national("SG", on(&[401, 449], &[400, 200, 400, 2000]), on(&[425], &[750, 750])),
    national("IN", on(&[375, 425], &[400, 200, 400, 2000]), on(&[400], &[750, 750])),
    national("ZA", on(&[367, 433], &[400, 200, 400, 2000]), on(&[400], &[500, 500])),
    national("BR", on(&[425], &[1000, 4000]), on(&[425], &[250, 250])),
    national("MX", on(&[425], &[1000, 4000]), on(&[425], &[250, 250])),
    national("AR", on(&[425], &[1000, 4000]), on(&[425], &[300, 200])),
    national("CL", on(&[400], &[1000, 3000]), on(&[400], &[500, 500])),
];

/// As E.180 would have it where there is a choice.
const USUAL: National = national("", on(&[425], &[1000, 4000]), on(&[425], &[500, 500]));

/// The peak of a single sine of -10 dBm0; one of +3.14 dBm0 just fits into G.711.
const LOUDNESS: f64 = 7082.0;

#[cfg(test)]
mod tests {
    use super::super::Law;
    use super::*;

    /// How much of a sine of that frequency lies in these samples: its peak.
    fn goertzel(samples: &[i16], hertz: u32) -> f64 {
        let coefficient = 2.0 * (TAU * f64::from(hertz) / f64::from(RATE)).cos();
        let (mut last, mut before) = (0.0, 0.0);
        for sample in samples {
            (last, before) = (f64::from(*sample) + coefficient * last - before, last);
        }
        let power = last * last + before * before - coefficient * last * before;
        power.max(0.0).sqrt() * 2.0 / samples.len() as f64
    }

    fn samples(clip: &Clip, law: Law) -> Vec<i16> {
        clip.bytes(law).iter().map(|byte| law.decode(*byte)).collect()
    }

    /// Written down here a second time: frequencies, then milliseconds of sound and silence.
    #[test]
    fn the_tones_of_each_country_are_heard_in_their_cadence() {
        let rows: [(&str, Tone, &[u32], &[usize]); 16] = [
            ("US", Tone::Ringback, &[440, 480], &[2000, 4000]),
            ("CA", Tone::Busy, &[480, 620], &[500, 500]),
            ("GB", Tone::Ringback, &[400, 450], &[400, 200, 400, 2000]),
            ("GB", Tone::Busy, &[400], &[375, 375]),
            ("DE", Tone::Ringback, &[425], &[1000, 4000]),
            ("DE", Tone::Busy, &[425], &[480, 480]),
            ("FR", Tone::Ringback, &[440], &[1500, 3500]),
            ("IT", Tone::Ringback, &[425], &[1000, 4000]),
            ("ES", Tone::Ringback, &[425], &[1500, 3000]),
            ("ES", Tone::Busy, &[425], &[200, 200]),
            ("NL", Tone::Busy, &[425], &[500, 500]),
            ("AU", Tone::Busy, &[425], &[375, 375]),
            ("JP", Tone::Ringback, &[384, 416], &[1000, 2000]),
            ("JP", Tone::Busy, &[400], &[500, 500]),
            ("AQ", Tone::Ringback, &[425], &[1000, 4000]),
            ("AQ", Tone::Busy, &[425], &[500, 500]),
        ];
        for (country, kind, hertz, times) in rows {
            for law in [Law::A, Law::Mu] {
                let heard = samples(&tone(kind, Some(country)), law);
                let whole: usize = times.iter().sum();
                assert_eq!(heard.len(), whole * 8, "{country} {kind:?}");
                let mut rest = &heard[..];
                for (turn, time) in times.iter().enumerate() {
                    let (part, behind) = rest.split_at(time * 8);
                    rest = behind;
                    if turn % 2 == 1 {
                        assert!(part.iter().all(|s| s.abs() <= 8), "{country} {kind:?}: silence");
                        continue;
                    }
                    for one in hertz {
                        let peak = goertzel(part, *one) * (hertz.len() as f64).sqrt();
                        assert!((6600.0..7600.0).contains(&peak), "{country} {kind:?} {peak}");
                    }
                    for other in (300..=700).step_by(10).filter(|hz| {
                        let near = |one: &u32| one.abs_diff(*hz) < 20;
                        !hertz.iter().any(near)
                    }) {
                        let peak = goertzel(part, other);
                        assert!(peak < 500.0, "{country} {kind:?}: {peak} of {other} Hz");
                    }
                }
            }
        }
    }

    #[test]
    fn the_table_is_sound() {
        let mut seen = Vec::new();
        for national in TABLE {
            for country in national.countries.split(' ') {
                assert!(country.len() == 2 && !seen.contains(&country), "{country}");
                seen.push(country);
            }
            for Cadence { hertz, times } in [national.ringback, national.busy] {
                assert!(times.len() % 2 == 0 && times.iter().all(|time| *time > 0));
                assert!(hertz.iter().all(|hz| (300..=700).contains(hz)));
            }
        }
        assert_eq!(cadence(Tone::Busy, None), USUAL.busy);
        assert_eq!(cadence(Tone::Busy, Some("us")), USUAL.busy);
    }
}
