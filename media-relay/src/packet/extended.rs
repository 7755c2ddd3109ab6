//! RTCP extended reports (RFC 3611): the walk over their blocks within strict bounds, and the VoIP metrics
//! block (§4.7). Read only: they speak of sources that nobody but their receiver knows.

use super::{Ssrc, u16_at, u32_at};

/// What a peer measured of one stream that it hears (RFC 3611 §4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoipMetrics {
    /// The stream.
    pub ssrc: Ssrc,
    /// Lost on the way, in 1/256.
    pub loss: u8,
    /// Came too late or too early for the jitter buffer, in 1/256.
    pub discard: u8,
    /// The round trip between the RTP interfaces in ms; `None` when it is not known.
    pub round_trip: Option<u16>,
    /// MOS for conversation, else for listening, in tenths (10 to 50); `None` when neither is known.
    pub mos: Option<u8>,
}

/// Whether the blocks of an XR packet, whose `body` begins with its sender's SSRC, add up (§3), and those of VoIP
/// metrics have their length.
pub(super) fn is_whole(body: &[u8]) -> bool {
    let mut rest = body.get(4..).unwrap_or_default();
    while !rest.is_empty() {
        let Some((kind, content, after)) = split(rest) else { return false };
        if kind == VOIP_METRICS && content.len() != VOIP_METRICS_LEN {
            return false;
        }
        rest = after;
    }
    body.len() >= 4
}

/// The VoIP metrics of an XR packet.
pub fn voip_metrics(body: &[u8]) -> impl Iterator<Item = VoipMetrics> + '_ {
    let mut rest = body.get(4..).unwrap_or_default();
    std::iter::from_fn(move || {
        loop {
            let (kind, content, after) = split(rest)?;
            rest = after;
            if kind == VOIP_METRICS {
                return read(content);
            }
        }
    })
}

/// The type, the content and what follows a block.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let kind = *bytes.first()?;
    let len = 4 * usize::from(u16_at(bytes, 2)?);
    let (content, rest) = bytes.get(4..)?.split_at_checked(len)?;
    Some((kind, content, rest))
}

fn read(content: &[u8]) -> Option<VoipMetrics> {
    let [listening, conversation] = [*content.get(22)?, *content.get(23)?];
    let score = |score: &u8| (10..=50).contains(score);
    Some(VoipMetrics {
        ssrc: Ssrc(u32_at(content, 0)?),
        loss: *content.get(4)?,
        discard: *content.get(5)?,
        round_trip: u16_at(content, 12).filter(|trip| *trip != 0),
        mos: Some(conversation).filter(score).or(Some(listening).filter(score)),
    })
}

/// RFC 3611 §4.7.
const VOIP_METRICS: u8 = 7;
const VOIP_METRICS_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn body() -> Vec<u8> {
        let mut body = vec![0, 0, 0, 9];
        // A receiver reference time block (type 4), two words.
        body.extend([4, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8]);
        body.extend([7, 0, 0, 8, 0, 0, 0, 2, 5, 3, 0, 0, 0, 0, 0, 0, 0, 120, 0, 60]);
        body.extend([0, 0, 0, 16, 80, 127, 41, 39, 0, 0, 0, 40, 0, 60, 0, 80]);
        body
    }

    #[test]
    fn voip_metrics_are_found_behind_other_blocks() {
        let metrics: Vec<_> = voip_metrics(&body()).collect();
        let mos = Some(39);
        let expected =
            VoipMetrics { ssrc: Ssrc(2), loss: 5, discard: 3, round_trip: Some(120), mos };
        assert_eq!(metrics, [expected]);
        assert!(is_whole(&body()));
    }

    #[test]
    fn what_the_peer_does_not_know_is_none() {
        let mut body = body();
        let at = body.len() - 32;
        body[at + 12..at + 14].fill(0);
        body[at + 23] = 127;
        let metrics = voip_metrics(&body).next().unwrap();
        assert_eq!((metrics.round_trip, metrics.mos), (None, Some(41)));
        body[at + 22] = 127;
        assert_eq!(voip_metrics(&body).next().unwrap().mos, None);
    }

    #[test]
    fn at_42_lengths_that_lie_are_refused() {
        let whole = body();
        let ends = [4, 16, whole.len()];
        for end in 0..=whole.len() {
            assert_eq!(is_whole(&whole[..end]), ends.contains(&end), "{end}");
        }
        for words in (0..=255).filter(|words| *words != 8) {
            let mut body = whole.clone();
            body[19] = words;
            assert!(!is_whole(&body), "{words}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in vec(any::<u8>(), 0..120)) {
            let found = voip_metrics(&body).count();
            prop_assert!(found * 36 <= body.len());
            let _ = is_whole(&body);
        }
    }
}
