//! What a peer described: the stream we relay, read out of its SDP.

use std::net::SocketAddr;

use media_relay::srtp::{MasterKey, Mki, Suite};
use serde::{Deserialize, Serialize};
use sip_stack::sdp::{Crypto, Direction, Media, Sdp};

use super::{Fax, MediaRules, Owned, Secure};
use crate::failure::Cause;

/// A codec, telephone-event or comfort noise in a description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// Its RTP payload type.
    pub payload: u8,
    /// Encoding name as written.
    pub name: String,
    /// RTP clock rate in Hz.
    pub clock: u32,
    /// Channels.
    pub channels: u8,
    /// Format parameters as written.
    pub fmtp: Option<String>,
}

/// The stream of a peer's offer or answer that is relayed: audio, or a fax.
#[derive(Clone)]
pub struct Description {
    /// What it can receive, in its order of preference; nothing of a fax.
    pub formats: Vec<Format>,
    /// Its direction, as the peer sees it.
    pub direction: Direction,
    /// Where it wants RTP; `None` when it wants none (c=0.0.0.0).
    pub rtp: Option<SocketAddr>,
    /// Where it wants RTCP, when it said so.
    pub rtcp: Option<SocketAddr>,
    /// Whether it has rtcp-mux.
    pub mux: bool,
    /// `ptime` in milliseconds.
    pub ptime: Option<u16>,
    /// The key with which it sends, and the tag of its crypto attribute.
    pub key: Option<(u32, MasterKey)>,
    /// The streams of the SDP: kind, protocol, formats; ours to relay is at [`Description::place`].
    pub streams: Vec<StreamLine>,
    /// Which of the streams is relayed.
    pub place: usize,
    /// It is a fax, and this is said of it.
    pub fax: Option<Fax>,
}

/// An m= line as it must appear again, in place, in what we send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamLine {
    /// "audio", "video", ...
    pub kind: String,
    /// "RTP/SAVP", ...
    pub protocol: String,
    /// The first format, enough for a refused stream.
    pub format: String,
}

impl Format {
    /// Whether both are the same encoding (RFC 3264 §6.1: by name, clock and channels).
    pub fn is_same(&self, other: &Self) -> bool {
        self.name.eq_ignore_ascii_case(&other.name)
            && self.clock == other.clock
            && self.channels == other.channels
    }

    /// Whether it carries speech, which telephone events and comfort noise do not.
    pub fn is_speech(&self) -> bool {
        !self.name.eq_ignore_ascii_case("telephone-event") && !self.name.eq_ignore_ascii_case("CN")
    }
}

impl std::fmt::Debug for Description {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Description")
            .field("formats", &self.formats)
            .field("direction", &self.direction)
            .field("rtp", &self.rtp)
            .finish_non_exhaustive()
    }
}

impl Description {
    /// Reads an offer or answer. `offered` are tags and suites of our own offer when this is its answer.
    pub fn read(
        sdp: &[u8],
        rules: MediaRules,
        offered: Option<&[(u32, Suite)]>,
        owned: &Owned,
    ) -> Result<Self, Cause> {
        let sdp = Sdp::parse(sdp).map_err(|_| Cause::BadOffer)?;
        let (place, media) = choose(&sdp, rules)?;
        let key = match rules.secure {
            Secure::Off => None,
            Secure::Required => Some(key(media, offered).ok_or(Cause::NotEncrypted)?),
        };
        let formats = rules.codecs.of(formats(media));
        if !formats.iter().any(Format::is_speech) {
            return Err(Cause::NothingInCommon);
        }
        let (direction, rtp) = place_of(&sdp, place, owned)?;
        let address = sdp.address(place).ok_or(Cause::BadOffer)?;
        let rtcp = media
            .rtcp()
            .map(|(port, ip)| SocketAddr::new(ip.unwrap_or(address), port))
            .filter(|at| rtp.is_some() && !owned.forbids(*at));
        Ok(Self {
            formats,
            direction,
            rtp,
            rtcp,
            mux: media.rtcp_mux(),
            ptime: media.ptime(),
            key,
            streams: sdp.media.iter().map(line).collect(),
            place,
            fax: None,
        })
    }
}

/// Whether a description has streams, and none of them is live.
pub(super) fn is_empty(sdp: &[u8]) -> bool {
    Sdp::parse(sdp).is_ok_and(|sdp| sdp.media.iter().all(Media::is_rejected))
}

/// The direction of a stream, and where its peer wants it.
pub(super) fn place_of(
    sdp: &Sdp,
    place: usize,
    owned: &Owned,
) -> Result<(Direction, Option<SocketAddr>), Cause> {
    let address = sdp.address(place).ok_or(Cause::BadOffer)?;
    let direction = sdp.direction(place);
    if address.is_unspecified() {
        // RFC 3264 §8.4: the old way to say "send me nothing".
        return Ok((Direction::of(direction.sends(), false), None));
    }
    let port = sdp.media.get(place).map_or(0, |media| media.port);
    let at = SocketAddr::new(address, port);
    if owned.forbids(at) {
        return Err(Cause::BadOffer);
    }
    Ok((direction, Some(at)))
}

/// The first audio stream that the rules can take.
fn choose(sdp: &Sdp, rules: MediaRules) -> Result<(usize, &Media), Cause> {
    let mut cause = Cause::NothingInCommon;
    for (place, media) in sdp.media.iter().enumerate() {
        if !media.kind().eq_ignore_ascii_case("audio") || media.is_rejected() || !media.is_rtp() {
            continue;
        }
        match (rules.secure, media.is_secure()) {
            (Secure::Required, true) | (Secure::Off, false) => return Ok((place, media)),
            (Secure::Required, false) => cause = Cause::NotEncrypted,
            (Secure::Off, true) => cause = Cause::NothingInCommon,
        }
    }
    Err(cause)
}

/// The peer's key: of an answer the one attribute that fits our offer; of an offer the best that we can take, with
/// AES_CM_128_HMAC_SHA1_80 before anything that the peer may list first.
fn key(media: &Media, offered: Option<&[(u32, Suite)]>) -> Option<(u32, MasterKey)> {
    let mut usable = Vec::new();
    for crypto in media.crypto() {
        let Some(suite) = Suite::from_name(crypto.suite.as_bytes()) else { continue };
        if crypto.has_unsupported_params() {
            continue;
        }
        if offered.is_some_and(|offered| !offered.contains(&(crypto.tag, suite))) {
            continue;
        }
        if let Some(key) = master_key(&crypto, suite) {
            usable.push((crypto.tag, key));
        }
    }
    let best = usable
        .iter()
        .position(|(_, key)| key.suite() == Suite::AesCm128HmacSha1_80)
        .unwrap_or_default();
    (!usable.is_empty()).then(|| usable.swap_remove(best))
}

fn master_key(crypto: &Crypto, suite: Suite) -> Option<MasterKey> {
    let param = crypto.keys.first()?;
    let mki = match &param.mki {
        None => None,
        Some(bytes) => Some(Mki::new(bytes).ok()?),
    };
    let key = MasterKey::new(suite, &param.key_salt).ok()?.with_mki(mki);
    Some(match param.lifetime {
        Some(packets) => key.with_lifetime(packets),
        None => key,
    })
}

/// The formats with a known encoding, each payload type and each encoding once.
fn formats(media: &Media) -> Vec<Format> {
    let mut formats: Vec<Format> = Vec::new();
    for payload in media.payload_types().take(MOST_FORMATS) {
        let Some(map) = media.rtpmap(payload) else { continue };
        let format = Format {
            payload,
            name: map.name.to_owned(),
            clock: map.clock,
            channels: map.channels,
            fmtp: media.fmtp(payload).map(str::to_owned),
        };
        let known = formats
            .iter()
            .any(|f| f.payload == payload || (f.is_same(&format) && f.fmtp == format.fmtp));
        if !known {
            formats.push(format);
        }
    }
    formats
}

pub(super) fn line(media: &Media) -> StreamLine {
    StreamLine {
        kind: media.kind().to_owned(),
        protocol: media.protocol().to_owned(),
        format: media
            .formats
            .first()
            .map_or_else(|| "0".to_owned(), |format| String::from_utf8_lossy(format).into_owned()),
    }
}

const MOST_FORMATS: usize = 64;
