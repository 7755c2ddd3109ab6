//! A fax in a call: one stream of T.38 over UDPTL in place of the audio (ITU-T T.38 annex D, RFC 3362, RFC 3264 §8.3.3).
//!
//! It is taken from a side in clear whose trunk has `t38 = "pass"`, where no audio is live beside it, and offered to the other
//! side if that is such a one as well. Our address and port are those of the audio. Its attributes pass as they are written;
//! they are not understood here. Beside live audio a fax is a refused stream like any other.
//!
//! | offer of one side | to the other, which has one stream | to the other, which has lines of both kinds |
//! |---|---|---|
//! | the fax where the audio was | the same | the live line is the other one, the former has port 0 |
//! | the fax beside the audio with port 0 | the same, one line more | the same |
//!
//! The way back to audio is the same with the words exchanged. No line of ours is ever taken away (RFC 3264 §8), but those of an
//! offer that was refused are, since there was none then. What a side was told of its audio is kept meanwhile, so that payload
//! types mean the same before and after.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sip_stack::sdp::{Direction, Line, Media, Sdp, Writer};

use super::description::{line, place_of};
use super::side::Local;
use super::{Description, Format, MediaSide, Owned, Secure, StreamLine};
use crate::failure::Cause;

/// What a description says of a fax: its `T38…` attributes in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fax {
    attributes: Vec<(String, Option<String>)>,
}

/// The m= lines of a session and which of them is live, as they stood.
#[derive(Clone, Debug)]
pub(super) struct Lines(Vec<StreamLine>, usize);

impl Fax {
    /// Of the session as a whole and of the stream, as far as they have the form of such attributes, and no more than there are
    /// sensible ones.
    fn of(session: &[Line], media: &Media) -> Self {
        let attributes = session.iter().chain(&media.lines).filter(|line| line.kind == b'a');
        Self { attributes: attributes.filter_map(|a| attribute(&a.value)).take(MOST).collect() }
    }

    /// Writes what stands below its m= line.
    pub(super) fn write(&self, direction: Direction, sdp: &mut Writer) {
        for (name, value) in &self.attributes {
            match value {
                Some(value) => sdp.attribute(name, format_args!("{value}")),
                None => sdp.flag(name),
            }
        }
        // Two ways is what goes without saying (RFC 8866 §6.7), and some gateways know no other.
        if direction != Direction::SendRecv {
            sdp.direction(direction);
        }
    }
}

impl Description {
    /// Reads an offer or answer with a fax, and no further live stream of its kind or of audio.
    pub(super) fn read_fax(sdp: &[u8], owned: &Owned) -> Result<Self, Cause> {
        let sdp = Sdp::parse(sdp).map_err(|_| Cause::BadOffer)?;
        let kinds = ["image", "audio"];
        let rivals = |media: &Media| kinds.iter().any(|it| media.kind().eq_ignore_ascii_case(it));
        let all = sdp.media.iter().enumerate();
        let mut live = all.filter(|(_, media)| !media.is_rejected() && rivals(media));
        let (Some((place, media)), None) = (live.next(), live.next()) else {
            return Err(Cause::NothingInCommon);
        };
        let is_t38 = |format: &bytes::Bytes| format.eq_ignore_ascii_case(FORMAT.as_bytes());
        if !line(media).is_fax() || !media.formats.iter().any(is_t38) {
            return Err(Cause::NothingInCommon);
        }
        let (direction, rtp) = place_of(&sdp, place, owned)?;
        Ok(Self {
            formats: Vec::new(),
            direction,
            rtp,
            rtcp: None,
            mux: false,
            ptime: None,
            key: None,
            streams: sdp.media.iter().map(line).collect(),
            place,
            fax: Some(Fax::of(&sdp.session, media)),
        })
    }

    /// Whether the stream is a fax.
    pub const fn is_fax(&self) -> bool {
        self.fax.is_some()
    }

    /// Whether it keeps a line for the other kind of stream.
    fn has_both(&self) -> bool {
        self.streams.iter().any(StreamLine::is_fax) && self.streams.iter().any(StreamLine::is_plain)
    }
}

impl StreamLine {
    fn fax() -> Self {
        Self::new("image", "udptl", FORMAT)
    }

    fn audio() -> Self {
        Self::new("audio", "RTP/AVP", "0")
    }

    fn new(kind: &str, protocol: &str, format: &str) -> Self {
        Self { kind: kind.to_owned(), protocol: protocol.to_owned(), format: format.to_owned() }
    }

    pub(super) fn is_fax(&self) -> bool {
        self.kind.eq_ignore_ascii_case("image") && self.protocol.eq_ignore_ascii_case("udptl")
    }

    /// Whether it is audio in clear.
    fn is_plain(&self) -> bool {
        let protocol = self.protocol.to_ascii_uppercase();
        self.kind.eq_ignore_ascii_case("audio") && protocol.starts_with("RTP/AVP")
    }
}

impl MediaSide {
    /// Whether faxes pass by this side: never where media are encrypted.
    pub(super) fn takes_fax(&self) -> bool {
        // One that stands goes on, whatever the rules are after a restart.
        (self.rules.t38 || self.is_fax()) && self.rules.secure == Secure::Off
    }

    /// The peer has left. A fax goes with it; whoever stays may go back to audio alone.
    pub(super) fn vacate(&mut self) {
        self.vacant = true;
        self.remote = self.remote.take().filter(|remote| !remote.is_fax());
    }

    /// Whether what was agreed is a fax.
    pub(super) fn is_fax(&self) -> bool {
        self.agreed().is_some_and(Description::is_fax)
    }

    /// How the peer talks, for whoever is to talk to it: as agreed, or during a fax as it did before.
    pub(super) fn talk(&self) -> Option<Cow<'_, Description>> {
        let agreed = self.agreed()?;
        if !agreed.is_fax() {
            return Some(Cow::Borrowed(agreed));
        }
        let formats = &self.local()?.formats;
        let talks = formats.iter().any(Format::is_speech);
        talks.then(|| {
            Cow::Owned(Description { formats: formats.clone(), fax: None, ..agreed.clone() })
        })
    }

    /// Whether our open offer is of another kind than what stands.
    pub(super) fn switches(&self) -> bool {
        let of = |local: &Option<Local>| local.as_ref().is_some_and(|local| local.fax.is_some());
        self.before.is_some() && of(&self.before) != of(&self.local)
    }

    /// Our offer of the fax that somebody has `described`, as it is to be `shown`.
    pub(super) fn offer_fax(&mut self, described: &Description, shown: Direction) -> Vec<u8> {
        self.lay(StreamLine::is_fax, StreamLine::fax(), described);
        let (formats, mux) = self.audio_told();
        let (direction, fax) = (self.held(shown), described.fax.clone());
        let local = Local { formats, direction, suites: Vec::new(), mux, shown, fax };
        self.before = self.local.replace(local);
        self.write(Vec::new(), None)
    }

    /// Makes a line of audio the live one, if the live one is a fax.
    pub(super) fn lay_audio(&mut self, described: Option<&Description>) {
        let live = self.streams.get(self.place);
        if let Some(described) = described.filter(|_| live.is_some_and(StreamLine::is_fax)) {
            self.lay(StreamLine::is_plain, StreamLine::audio(), described);
        } else if live.is_some_and(StreamLine::is_fax) {
            self.lines_before.get_or_insert_with(|| Lines(self.streams.clone(), self.place));
            self.streams[self.place] = StreamLine::audio();
        }
    }

    /// What it was told of its audio last: formats, and whether rtcp-mux was named.
    pub(super) fn audio_told(&self) -> (Vec<super::Format>, bool) {
        let told = self.local.as_ref();
        told.map_or((Vec::new(), self.rules.offer_mux), |l| (l.formats.clone(), l.mux))
    }

    /// Our offer was refused: with it go its lines.
    pub(super) fn restore_lines(&mut self) {
        if let Some(Lines(streams, place)) = self.lines_before.take() {
            (self.streams, self.place) = (streams, place);
        }
    }

    /// Makes a line of this kind the live one: one that there is, a further one where the description has both, or else the
    /// one that was live.
    fn lay(&mut self, kind: fn(&StreamLine) -> bool, new: StreamLine, described: &Description) {
        if self.streams.get(self.place).is_some_and(kind) {
            return;
        }
        if self.streams.is_empty() {
            return self.lay_first(&new, described);
        }
        self.lines_before.get_or_insert_with(|| Lines(self.streams.clone(), self.place));
        let payload = self.local.as_ref().and_then(|local| local.formats.first());
        if let Some(live) = self.streams.get_mut(self.place).filter(|l| l.format.is_empty()) {
            live.format = payload.map_or(0, |format| format.payload).to_string();
        }
        self.place = match self.streams.iter().position(kind) {
            Some(place) => place,
            None if described.has_both() => {
                self.streams.push(new);
                self.streams.len() - 1
            }
            None => {
                self.streams[self.place] = new;
                self.place
            }
        };
    }

    /// The lines of the first offer, which is a fax: that, and the first line of audio before or behind it.
    fn lay_first(&mut self, new: &StreamLine, described: &Description) {
        let audio = described.streams.iter().position(StreamLine::is_plain);
        for place in 0..described.streams.len() {
            if place == described.place {
                self.place = self.streams.len();
                self.streams.push(new.clone());
            } else if Some(place) == audio {
                self.streams.push(StreamLine::audio());
            }
        }
    }
}

/// An attribute of T.38 as it is written: `T38FaxVersion:0`, or a name alone.
fn attribute(written: &[u8]) -> Option<(String, Option<String>)> {
    let text = std::str::from_utf8(written).ok().filter(|text| text.len() <= LONGEST)?.trim();
    let (name, value) = match text.split_once(':') {
        Some((name, value)) => (name, Some(value.trim())),
        None => (text, None),
    };
    let known = name.get(..PREFIX.len()).is_some_and(|at| at.eq_ignore_ascii_case(PREFIX));
    let word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let clean = value.is_none_or(|value| value.bytes().all(|b| (b' '..=b'~').contains(&b)));
    (known && word && clean).then(|| (name.to_owned(), value.map(str::to_owned)))
}

/// The format of an m= line (RFC 3362).
pub(super) const FORMAT: &str = "t38";
/// Of the names of all its attributes.
const PREFIX: &str = "T38";
/// Attributes of one fax: T.38 has some fifteen.
const MOST: usize = 24;
/// Bytes of one attribute.
const LONGEST: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_words_of_t_38_and_nothing_else() {
        for (written, read) in [
            ("T38FaxVersion:0", Some(("T38FaxVersion", Some("0")))),
            ("t38FaxUdpEC:t38UDPRedundancy", Some(("t38FaxUdpEC", Some("t38UDPRedundancy")))),
            ("T38FaxFillBitRemoval", Some(("T38FaxFillBitRemoval", None))),
            ("T38VendorInfo: 0 0 37 ", Some(("T38VendorInfo", Some("0 0 37")))),
            ("sendrecv", None),
            ("rtpmap:8 PCMA/8000", None),
            ("T3", None),
            ("", None),
            ("T38 Fax:1", None),
            ("T38\tx", None),
            ("T38Fax:a\u{7f}", None),
            ("T38Fax:\u{e9}", None),
            ("\u{e9}38Fax:1", None),
        ] {
            let read = read.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
            assert_eq!(attribute(written.as_bytes()), read, "{written:?}");
        }
        let long = |n: usize| format!("T38VendorInfo:{}", "1".repeat(n));
        assert!(attribute(long(LONGEST - 14).as_bytes()).is_some());
        assert_eq!(attribute(long(LONGEST - 13).as_bytes()), None);
        assert_eq!(attribute(b"T38Fax:\xff"), None);
    }

    /// Whatever stands below an m= line, what is taken of it is written so that the same is read again, and nothing else.
    #[test]
    fn what_is_written_reads_the_same() {
        let head = "v=0\r\no=- 1 1 IN IP4 203.0.113.5\r\ns=-\r\nc=IN IP4 203.0.113.5\r\nt=0 0\r\n";
        let mut random = crate::random::Random::seeded(7);
        for round in 0..500 {
            let mut text = format!("{head}m=image 30000 udptl t38\r\n").into_bytes();
            for n in 0..random.number() % 40 {
                text.extend(format!("a=T38F{n}").into_bytes());
                let mut bytes = vec![0; (random.number() % 12) as usize];
                random.fill(&mut bytes);
                // Anything that can stand in a line, and DEL.
                text.extend(bytes.into_iter().map(|b| b % 96 + b' '));
                text.extend(b"\r\n");
            }
            let Ok(fax) = Description::read_fax(&text, &Owned::default()) else { continue };
            let fax = fax.fax.unwrap();
            assert!(fax.attributes.len() <= MOST);
            let mut sdp = Writer::new(1, round, "203.0.113.5".parse().unwrap());
            sdp.media("image", 30000, "udptl", [FORMAT]);
            fax.write(Direction::Inactive, &mut sdp);
            let written = sdp.finish();
            let lines = written.split(|b| *b == b'\n').count();
            assert_eq!(lines, 5 + 1 + fax.attributes.len() + 1 + 1);
            let again = Description::read_fax(&written, &Owned::default()).unwrap();
            assert_eq!((again.fax, again.direction), (Some(fax), Direction::Inactive));
        }
    }
}
