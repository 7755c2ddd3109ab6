//! Payload types as one peer sends them and as the other side shall get them, with their clocks and codecs.

use crate::quality::Codec;

/// The payload types of one direction.
#[derive(Clone, Debug)]
pub(crate) struct Payloads {
    /// By received type; [`UNLISTED`] is dropped.
    to: [u8; 128],
    /// Only the types whose clock is not the usual one.
    clocks: Box<[(u8, u32)]>,
    /// Only the types that a plan names.
    codecs: Box<[(u8, Codec)]>,
}

impl Payloads {
    /// An empty `map` lets every type pass as it is. Numbers above 127 are left out.
    pub(crate) fn new(map: &[(u8, u8)], clocks: &[(u8, u32)], named: &[(u8, Codec)]) -> Self {
        let mut to = [UNLISTED; 128];
        if map.is_empty() {
            for (number, entry) in (0..).zip(&mut to) {
                *entry = number;
            }
        }
        for (received, sent) in map.iter().filter(|(_, sent)| *sent < 128) {
            if let Some(entry) = to.get_mut(usize::from(*received)) {
                *entry = *sent;
            }
        }
        let unusual = |(kind, clock): &&(u8, u32)| {
            *kind < 128 && *clock != USUAL_CLOCK && (1..=HIGHEST_CLOCK).contains(clock)
        };
        let clocks = clocks.iter().filter(unusual).take(128).copied().collect();
        let codecs = named.iter().filter(|(kind, _)| *kind < 128).take(128).copied().collect();
        Self { to, clocks, codecs }
    }

    /// The type to send for a received type.
    pub(crate) fn map(&self, received: u8) -> Option<u8> {
        self.to.get(usize::from(received)).copied().filter(|to| *to != UNLISTED)
    }

    /// The codec of a received type.
    pub(crate) fn codec(&self, received: u8) -> Codec {
        let named = self.codecs.iter().find(|(kind, _)| *kind == received);
        named.map_or(Codec::of_static(received), |(_, codec)| *codec)
    }

    /// The RTP clock of a received type in Hz.
    pub(crate) fn clock(&self, received: u8) -> u32 {
        let listed = self.clocks.iter().find(|(kind, _)| *kind == received);
        listed.map_or(USUAL_CLOCK, |(_, clock)| *clock)
    }
}

const UNLISTED: u8 = 0xff;
/// Telephone audio (RFC 3551 §4.5); G.722 keeps it too.
const USUAL_CLOCK: u32 = 8000;
/// Beyond any audio or video clock in use.
const HIGHEST_CLOCK: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_map_passes_all_and_a_listed_one_only_what_it_names() {
        let open = Payloads::new(&[], &[], &[]);
        assert!((0..128).all(|kind| open.map(kind) == Some(kind)));
        let strict = Payloads::new(&[(8, 8), (101, 96), (13, 13)], &[], &[]);
        assert_eq!(strict.map(8), Some(8));
        assert_eq!(strict.map(101), Some(96));
        assert_eq!(strict.map(13), Some(13));
        assert_eq!(strict.map(96), None);
        assert_eq!(strict.map(0), None);
    }

    #[test]
    fn clocks_default_to_telephone_audio() {
        let payloads = Payloads::new(&[], &[(104, 16000), (8, 8000), (9, 0), (200, 48000)], &[]);
        assert_eq!(payloads.clock(104), 16000);
        assert_eq!(payloads.clock(8), 8000);
        assert_eq!(payloads.clock(9), 8000);
        assert_eq!(payloads.clocks.len(), 1);
    }

    #[test]
    fn codecs_are_the_static_ones_unless_named() {
        let payloads =
            Payloads::new(&[], &[], &[(104, Codec::Silk), (0, Codec::Other), (200, Codec::G729)]);
        let codecs = [104, 0, 8, 18, 96, 255].map(|kind| payloads.codec(kind));
        use Codec::{G711, G729, Other, Silk};
        assert_eq!(codecs, [Silk, Other, G711, G729, Other, Other]);
    }

    #[test]
    fn impossible_types_are_left_out() {
        let payloads = Payloads::new(&[(8, 200), (130, 0), (0, 8)], &[], &[]);
        assert_eq!(payloads.map(8), None);
        assert_eq!(payloads.map(130), None);
        assert_eq!(payloads.map(0), Some(8));
    }
}
