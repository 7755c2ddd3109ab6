//! Speech quality from network figures: the E-model of ITU-T G.107 at its default values.
//!
//! R = 93.2 − Id − Ie,eff. Ie,eff = Ie + (95 − Ie) · Ppl / (Ppl / BurstR + Bpl) with the codec's Ie and
//! Bpl (G.113 Appendix I) and BurstR = 1, since loss is known as a mean. Id, the delay's part, is the
//! fit of Cole and Rosenbluth (2001) to G.107 at its defaults: 0.024 d + 0.11 (d − 177.3) H(d − 177.3),
//! d in ms. MOS follows from R by G.107 Annex B. One scale, the narrowband one, for all codecs: a
//! wideband codec without loss counts as G.711 does, never as more.
//!
//! The relay sees neither the jitter buffer nor the loudspeaker, so that delay is taken as half the round
//! trip to the peer and an adaptive buffer of twice the jitter ([`mouth_to_ear`]). Arithmetic with
//! fractions happens here alone, and never for a packet.

use std::time::Duration;

/// What a payload type carries, as far as quality and silence depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Speech of which nothing else is known.
    #[default]
    Other,
    /// PCMU and PCMA, with a concealment of losses as in G.711 Appendix I, which all present peers have.
    G711,
    /// G.722.
    G722,
    /// G.729, with its Annexes A and B.
    G729,
    /// AMR at 12.2 kbit/s.
    Amr,
    /// AMR-WB (G.722.2).
    AmrWb,
    /// SILK at any rate.
    Silk,
    /// Opus.
    Opus,
    /// Comfort noise (RFC 3389): the peer speaks again when there is something to hear.
    ComfortNoise,
    /// Telephone events (RFC 4733).
    Events,
}

/// How much a codec itself costs, and how it stands losses (G.113).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairment {
    /// Equipment impairment factor.
    pub ie: f32,
    /// Packet-loss robustness factor.
    pub bpl: f32,
}

impl Impairment {
    /// G.711 with the concealment of its Appendix I (G.113 Appendix I).
    pub const G711: Self = Self { ie: 0.0, bpl: 25.1 };
    /// G.711 whose receiver plays nothing for what is lost (G.113 Appendix I).
    pub const G711_BARE: Self = Self { ie: 0.0, bpl: 4.3 };
    /// G.729A with voice activity detection (G.113 Appendix I).
    pub const G729: Self = Self { ie: 11.0, bpl: 19.0 };
    /// GSM enhanced full rate, which AMR at 12.2 kbit/s is (G.113 Appendix I).
    pub const AMR: Self = Self { ie: 5.0, bpl: 10.0 };
    /// A default of ours where G.113 has nothing on the narrowband scale (wideband codecs, SILK, Opus):
    /// no cost, and the robustness of GSM EFR, the least of the predictive codecs in Appendix I.
    pub const OTHER: Self = Self { ie: 0.0, bpl: 10.0 };
}

impl Codec {
    /// What RFC 3551 §6 says of a payload type that nobody has named.
    #[must_use]
    pub const fn of_static(payload_type: u8) -> Self {
        match payload_type {
            0 | 8 => Self::G711,
            9 => Self::G722,
            13 => Self::ComfortNoise,
            18 => Self::G729,
            _ => Self::Other,
        }
    }

    /// The codec of an encoding name (RFC 3551, RFC 4733), in any case.
    #[must_use]
    pub fn of_encoding(name: &str) -> Self {
        const NAMES: [(&str, Codec); 10] = [
            ("PCMU", Codec::G711),
            ("PCMA", Codec::G711),
            ("G722", Codec::G722),
            ("G729", Codec::G729),
            ("AMR", Codec::Amr),
            ("AMR-WB", Codec::AmrWb),
            ("SILK", Codec::Silk),
            ("opus", Codec::Opus),
            ("CN", Codec::ComfortNoise),
            ("telephone-event", Codec::Events),
        ];
        let known = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map_or(Self::Other, |(_, codec)| *codec)
    }

    /// Its figures for the E-model.
    #[must_use]
    pub const fn impairment(self) -> Impairment {
        match self {
            Self::G711 => Impairment::G711,
            Self::G729 => Impairment::G729,
            Self::Amr => Impairment::AMR,
            Self::G722
            | Self::AmrWb
            | Self::Silk
            | Self::Opus
            | Self::Other
            | Self::ComfortNoise
            | Self::Events => Impairment::OTHER,
        }
    }

    /// Whether people are heard by it.
    pub(crate) const fn is_speech(self) -> bool {
        !matches!(self, Self::ComfortNoise | Self::Events)
    }

    /// Whether a packet of it says that the peer pauses until there is something to hear: comfort noise, or a
    /// frame of 2 bytes of G.729 Annex B at the end.
    pub(crate) const fn pauses(self, payload: usize) -> bool {
        match self {
            Self::ComfortNoise => true,
            Self::G729 => payload % 10 == 2,
            Self::Other
            | Self::G711
            | Self::G722
            | Self::Amr
            | Self::AmrWb
            | Self::Silk
            | Self::Opus
            | Self::Events => false,
        }
    }
}

/// The rating R for a share of lost packets (0 to 1) and a delay from mouth to ear; 0 to 93.2.
#[must_use]
pub fn rating(impairment: Impairment, loss: f32, delay: Duration) -> f32 {
    let Impairment { ie, bpl } = impairment;
    let percent = 100.0 * if loss.is_finite() { loss.clamp(0.0, 1.0) } else { 0.0 };
    let equipment = ie + (95.0 - ie) * percent / (percent / BURST_RATIO + bpl);
    let d = delay.as_secs_f32() * 1000.0;
    let late = 0.024 * d + 0.11 * (d - 177.3).max(0.0);
    (HIGHEST - late - equipment).clamp(0.0, HIGHEST)
}

/// The mean opinion score that a rating stands for (G.107 Annex B), 1 to 4.5. The polynomial dips below 1 for
/// ratings up to 6.5, which are 1.
#[must_use]
pub fn mos(rating: f32) -> f32 {
    let r = if rating.is_finite() { rating.clamp(0.0, 100.0) } else { 0.0 };
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

/// The delay from mouth to ear that is assumed: half the round trip, and a jitter buffer of twice the jitter, 40 ms
/// (two packets) at least and 200 ms at most.
#[must_use]
pub fn mouth_to_ear(round_trip: Duration, jitter: Duration) -> Duration {
    let buffer = jitter.saturating_mul(2).clamp(SMALLEST_BUFFER, LARGEST_BUFFER);
    (round_trip / 2).saturating_add(buffer)
}

/// The score of a stream in hundredths, 100 to 450; 0 when nothing was expected.
pub(crate) fn score(codec: Codec, lost: u64, expected: u64, delay: Duration) -> u16 {
    if expected == 0 {
        return 0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a share: seven digits are plenty")]
    let loss = lost.min(expected) as f32 / expected as f32;
    let score = mos(rating(codec.impairment(), loss, delay)) * 100.0;
    score.round().clamp(100.0, 450.0) as u16
}

/// R0 − Is of G.107 at its default values.
const HIGHEST: f32 = 93.2;
/// Random loss.
const BURST_RATIO: f32 = 1.0;
const SMALLEST_BUFFER: Duration = Duration::from_millis(40);
const LARGEST_BUFFER: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn close(left: f32, right: f32) {
        assert!((left - right).abs() < 0.005, "{left} {right}");
    }

    /// 1 + 0.035 · 93.2 + 93.2 · 33.2 · 6.8 · 7e-6 = 1 + 3.262 + 0.147 = 4.409
    #[test]
    fn g711_without_loss_is_93_2_and_4_41() {
        close(rating(Impairment::G711, 0.0, NOW), 93.2);
        close(mos(93.2), 4.409);
    }

    /// 95 · 2 / (2 + 25.1) = 7.011: R = 86.189, 1 + 3.0166 + 86.189 · 26.189 · 13.811 · 7e-6 = 4.235.
    /// Without concealment 95 · 2 / (2 + 4.3) = 30.159: R = 63.041, 1 + 2.2064 + 0.0496 = 3.256.
    #[test]
    fn g711_with_two_percent_lost() {
        close(rating(Impairment::G711, 0.02, NOW), 86.189);
        close(mos(86.189), 4.235);
        close(rating(Impairment::G711_BARE, 0.02, NOW), 63.041);
        close(mos(63.041), 3.256);
    }

    /// 11 + 84 · 2 / (2 + 19) = 19: R = 74.2, 1 + 2.597 + 74.2 · 14.2 · 25.8 · 7e-6 = 3.787.
    #[test]
    fn g729_with_two_percent_lost() {
        close(rating(Impairment::G729, 0.02, NOW), 74.2);
        close(mos(74.2), 3.787);
    }

    /// 100 ms: 2.4. 250 ms: 6 + 0.11 · 72.7 = 13.997.
    #[test]
    fn delay_costs_little_up_to_177_ms_and_much_beyond() {
        close(rating(Impairment::G711, 0.0, Duration::from_millis(100)), 90.8);
        close(rating(Impairment::G711, 0.0, Duration::from_millis(250)), 79.203);
    }

    #[test]
    fn the_buffer_follows_the_jitter_within_its_bounds() {
        let ms = Duration::from_millis;
        for (trip, jitter, delay) in [(0, 0, 40), (100, 10, 90), (100, 50, 150), (0, 900, 200)] {
            assert_eq!(mouth_to_ear(ms(trip), ms(jitter)), ms(delay));
        }
    }

    #[test]
    fn codecs_are_known_by_name_and_by_static_number() {
        for (name, codec) in [("pcma", Codec::G711), ("Opus", Codec::Opus), ("x", Codec::Other)] {
            assert_eq!(Codec::of_encoding(name), codec);
        }
        let statics = [0, 8, 9, 13, 18, 96].map(Codec::of_static);
        use Codec::{ComfortNoise, G711, G722, G729, Other};
        assert_eq!(statics, [G711, G711, G722, ComfortNoise, G729, Other]);
        assert!(G729.pauses(22) && !G729.pauses(20) && ComfortNoise.pauses(1) && !G711.pauses(2));
    }

    /// All lost: 95 · 100 / (100 + 25.1) = 75.939: R = 17.261,
    /// 1 + 0.6041 − 17.261 · 42.739 · 82.739 · 7e-6 = 1.177. Of G.729 84 · 100 / 119 = 70.588: R = 11.612,
    /// 1 + 0.4064 − 11.612 · 48.388 · 88.388 · 7e-6 = 1.059.
    #[test]
    fn nothing_expected_has_no_score() {
        assert_eq!(score(Codec::G711, 0, 0, NOW), 0);
        assert_eq!(score(Codec::G711, 0, 9, NOW), 441);
        assert_eq!(score(Codec::G729, 2, 100, NOW), 379);
        assert_eq!(score(Codec::G711, 9, 5, NOW), 118);
        assert_eq!(score(Codec::G729, 5, 5, NOW), 106);
    }

    fn any_impairment() -> impl Strategy<Value = Impairment> {
        use Codec::{Amr, AmrWb, G711, G722, G729, Opus, Other, Silk};
        let codecs = prop::sample::select(vec![G711, G722, G729, Amr, AmrWb, Silk, Opus, Other]);
        prop_oneof![codecs.prop_map(Codec::impairment), Just(Impairment::G711_BARE)]
    }

    proptest! {
        #[test]
        fn no_score_rises_with_loss_or_delay_or_leaves_its_range(
            impairment in any_impairment(),
            losses in (any::<f32>(), any::<f32>()),
            delays in (any::<u64>(), 0..2000_u64),
        ) {
            let ms = Duration::from_millis;
            let score = |loss, delay| mos(rating(impairment, loss, ms(delay)));
            for value in [score(losses.0, delays.0), mos(losses.0), mos(losses.1)] {
                prop_assert!((1.0..=4.5).contains(&value), "{value}");
            }
            let share = |loss: f32| if loss.is_finite() { loss.abs() % 1.0 } else { 0.0 };
            let (a, b) = (share(losses.0), share(losses.1));
            let (less, more) = (a.min(b), a.max(b));
            let (soon, late) = (delays.1, delays.1 + delays.0 % 1000);
            // As near as seven digits come.
            prop_assert!(score(more, soon) <= score(less, soon) + 1e-4);
            prop_assert!(score(less, late) <= score(less, soon) + 1e-4);
        }

        #[test]
        fn scores_are_in_hundredths(lost: u64, expected in 1..u64::MAX, nanos: u64) {
            let score = score(Codec::Silk, lost, expected, Duration::from_nanos(nanos));
            prop_assert!((100..=450).contains(&score));
        }
    }
}
