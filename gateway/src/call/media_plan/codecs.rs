//! Which codecs a peer is spoken to in, and in which order: its trunk's `codecs`.
//!
//! An offer or answer of the peer is read as if it had nothing else, and it is told of nothing else. Telephone events and
//! comfort noise are no matter of taste: they pass.

use config::Codec;

use super::Format;

/// The codecs of a trunk, by preference; none of them: all, as the other side has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codecs([Option<Codec>; Codec::COUNT]);

impl Codecs {
    /// All of them.
    pub const ANY: Self = Self([None; Codec::COUNT]);

    /// Those of a list.
    pub fn new(list: &[Codec]) -> Self {
        let mut codecs = Self::ANY;
        codecs.0.iter_mut().zip(list).for_each(|(place, codec)| *place = Some(*codec));
        codecs
    }

    /// Of these formats those that the peer is spoken to in, by its preference.
    pub(super) fn of(self, formats: Vec<Format>) -> Vec<Format> {
        if self == Self::ANY {
            return formats;
        }
        let rank = |format: &Format| {
            let is = |codec: &Option<Codec>| {
                codec.is_some_and(|codec| format.name.eq_ignore_ascii_case(codec.encoding()))
            };
            match format.is_speech() {
                true => self.0.iter().position(is),
                false => Some(usize::MAX),
            }
        };
        let mut ranked: Vec<_> =
            formats.into_iter().filter_map(|format| Some((rank(&format)?, format))).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, format)| format).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(codecs: &[Codec], formats: &[&str]) -> Vec<String> {
        let format = |name: &&str| Format {
            payload: 0,
            name: (*name).to_owned(),
            clock: 8000,
            channels: 1,
            fmtp: None,
        };
        let formats = formats.iter().map(format).collect();
        Codecs::new(codecs).of(formats).into_iter().map(|format| format.name).collect()
    }

    #[test]
    fn codecs_are_chosen_and_ordered_and_the_rest_passes() {
        let offered = ["SILK", "telephone-event", "pcmu", "G722", "PCMA", "CN"];
        assert_eq!(names(&[], &offered), offered);
        let want = ["PCMA", "pcmu", "telephone-event", "CN"];
        assert_eq!(names(&[Codec::Pcma, Codec::Pcmu, Codec::G729], &offered), want);
        assert_eq!(names(&[Codec::G729], &offered), ["telephone-event", "CN"]);
    }
}
