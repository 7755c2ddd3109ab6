//! One side of a call's media: what we told this peer, what it told us, and what is being negotiated.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use media_relay::audio::Clip;
use media_relay::srtp::{MasterKey, Suite};
use media_relay::{Port, Security};
use sip_stack::sdp::{Crypto, Direction, Writer};

use super::description::StreamLine;
use super::fax::{self, Lines};
use super::{Description, Fax, Format, Holds, MediaRules, Owned, Secure, hold};
use crate::failure::Cause;
use crate::random::Random;

/// What we last told a peer.
#[derive(Clone, Debug)]
pub struct Local {
    /// What it may send to us; during a fax, before and after it.
    pub formats: Vec<Format>,
    /// Direction as we see it.
    pub direction: Direction,
    /// Our crypto attributes: tag and suite. An answer names one of them (RFC 4568 §5.1.2).
    pub(super) suites: Vec<(u32, Suite)>,
    /// Whether it named rtcp-mux.
    pub(super) mux: bool,
    /// The direction of the other side as it was shown to the peer, before both were put together.
    pub(super) shown: Direction,
    /// It was told of this fax, and not of audio.
    pub(super) fax: Option<Fax>,
}

/// An early answer: that of one early dialog. Forks of one INVITE answer on the one port of our offer, each with an
/// address and a key of its own (RFC 3261 §13.2.2.4, RFC 3960).
pub(super) struct Early {
    /// The To tag of its dialog.
    tag: Vec<u8>,
    /// As it was written.
    sdp: Vec<u8>,
    /// As it was read.
    description: Description,
}

/// One side of a call's media.
pub struct MediaSide {
    /// Our pair of ports, for the whole call.
    pub port: Port,
    /// From where plain media may come besides the signalled address.
    pub sources: Vec<IpNet>,
    /// What the peer hears while the other side holds (see `hold.rs`).
    pub music: Option<Arc<Clip>>,
    /// What the peer hears while the other side rings.
    pub(super) ringback: Option<(Arc<Clip>, bool)>,
    /// The peer has left, and nobody has its place yet.
    pub(super) vacant: bool,
    pub(super) rules: MediaRules,
    /// The address we tell the peer.
    pub(super) address: IpAddr,
    pub(super) session_id: u64,
    pub(super) version: u64,
    /// Our keys, one per suite that was ever named; they stay for the whole call.
    pub(super) keys: Vec<MasterKey>,
    pub(super) local: Option<Local>,
    /// What we had told it before our open offer.
    pub(super) before: Option<Local>,
    /// What was agreed; before the answer, what an early answer described last.
    pub(super) remote: Option<Description>,
    /// The early answers to our offer, the newest first: at most `MOST_EARLY`, the oldest makes room.
    pub(super) early: Vec<Early>,
    /// An offer of the peer that is not answered yet.
    pub(super) offered: Option<Description>,
    /// The m= lines of the session, ours to relay at `place`.
    pub(super) streams: Vec<StreamLine>,
    pub(super) place: usize,
    /// The same before our open offer, if that has others.
    pub(super) lines_before: Option<Lines>,
    pub(super) sdp: Vec<u8>,
}

impl MediaSide {
    /// A side with a port of ours and nothing agreed.
    pub fn new(
        port: Port,
        address: IpAddr,
        rules: MediaRules,
        sources: Vec<IpNet>,
        random: &mut Random,
    ) -> Self {
        Self {
            port,
            sources,
            music: None,
            ringback: None,
            vacant: false,
            rules,
            address,
            // Below 2^62, so that every reader's integer holds it.
            session_id: random.number() >> 2,
            version: 0,
            keys: Vec::new(),
            local: None,
            before: None,
            remote: None,
            early: Vec::new(),
            offered: None,
            streams: Vec::new(),
            place: 0,
            lines_before: None,
            sdp: Vec::new(),
        }
    }

    /// What this peer needs.
    pub const fn rules(&self) -> MediaRules {
        self.rules
    }

    /// What the peer described last: its offer while that is open, else what was agreed.
    pub fn described(&self) -> Option<&Description> {
        self.offered.as_ref().or(self.remote.as_ref())
    }

    /// What was agreed, as far as the peer described it; an early answer counts.
    pub const fn agreed(&self) -> Option<&Description> {
        self.remote.as_ref()
    }

    /// Whether media may flow as agreed: never in clear where encryption is compulsory.
    pub fn is_safe(&self) -> bool {
        match self.rules.secure {
            Secure::Required => self.security().is_some(),
            Secure::Off => true,
        }
    }

    /// What we told the peer last.
    pub const fn local(&self) -> Option<&Local> {
        self.local.as_ref()
    }

    /// Our last SDP to the peer.
    pub fn sdp(&self) -> &[u8] {
        &self.sdp
    }

    /// Whether RTP and RTCP share the port: both have to have said so.
    pub fn mux(&self) -> bool {
        let ours = self.local.as_ref().is_some_and(|local| local.mux);
        ours && self.agreed().is_some_and(|description| description.mux)
    }

    /// The suite in use.
    pub fn suite(&self) -> Option<Suite> {
        let (_, key) = self.agreed()?.key.as_ref()?;
        Some(key.suite())
    }

    /// The keys in use: what was described last says with which of ours we send; each early dialog is heard under its own.
    pub(super) fn security(&self) -> Option<Security> {
        let (_, theirs) = self.agreed()?.key.as_ref()?;
        let send = self.keys.iter().find(|key| key.suite() == theirs.suite())?;
        let early = self.early.iter().filter_map(|early| early.description.key.as_ref());
        let receive = std::iter::once(theirs).chain(early.map(|(_, key)| key));
        let mut keys: Vec<MasterKey> = Vec::new();
        for key in receive {
            if !keys.iter().any(|known| known.same_key(key)) {
                keys.push(key.clone());
            }
        }
        Some(Security { send: send.clone(), receive: keys })
    }

    /// Whether what the peer offered asks `other` for anything new.
    pub(super) fn changed(&self, other: &Self) -> bool {
        let seen = |described: &Description| other.hears(self, described);
        match (&self.offered, &self.remote) {
            (Some(offered), Some(agreed)) => {
                let same_formats = agreed
                    .formats
                    .iter()
                    .all(|format| offered.formats.iter().any(|new| new.is_same(format)));
                let apart = other.agreed().is_some_and(|other| other.is_fax() != offered.is_fax());
                apart || offered.fax != agreed.fax || seen(offered) != seen(agreed) || !same_formats
            }
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    pub(super) fn take_offer(&mut self, sdp: &[u8], owned: &Owned) -> Result<(), Cause> {
        let description = match Description::read(sdp, self.rules, None, owned) {
            Err(Cause::NothingInCommon) if self.takes_fax() => Description::read_fax(sdp, owned),
            read => read,
        };
        self.offered = Some(description?);
        Ok(())
    }

    /// Narrows the open offer to G.711, if it has any.
    pub(super) fn speak_g711(&mut self) -> bool {
        let Some(offered) = &mut self.offered else { return false };
        if hold::g711(&offered.formats).is_none() {
            return false;
        }
        offered.formats.retain(|format| !format.is_speech() || hold::is_g711(format));
        true
    }

    pub(super) fn drop_offer(&mut self) {
        self.offered = None;
    }

    pub(super) fn withdraw(&mut self) {
        if let Some(before) = self.before.take() {
            self.local = Some(before);
        }
        self.restore_lines();
    }

    pub(super) fn take_answer(&mut self, sdp: &[u8], owned: &Owned) -> Result<(), Cause> {
        let description = self.read_answer(sdp, owned)?;
        self.forget_other_keys(&description);
        self.early.clear();
        self.agree(description);
        Ok(())
    }

    /// Takes the early answer of one early dialog. What is described last counts, as far as only one can: where we send,
    /// and under which key of ours. A dialog that only repeats itself has described nothing.
    pub(super) fn take_early(
        &mut self,
        tag: &[u8],
        sdp: &[u8],
        owned: &Owned,
    ) -> Result<(), Cause> {
        if self.early.iter().any(|early| early.tag == tag && early.sdp == sdp) {
            return Ok(());
        }
        let description = self.read_answer(sdp, owned)?;
        self.early.retain(|early| early.tag != tag);
        self.early.truncate(MOST_EARLY - 1);
        let early = Early { tag: tag.into(), sdp: sdp.into(), description: description.clone() };
        self.early.insert(0, early);
        self.agree(description);
        Ok(())
    }

    /// Takes what the peer answered to a refresh: its side of what stands. An offer of ours that waits behind the refresh
    /// is not answered by it.
    pub(super) fn take_refreshed(&mut self, sdp: &[u8], owned: &Owned) -> Result<(), Cause> {
        let stands = self.before.as_ref().or(self.local.as_ref());
        self.remote = Some(self.read_answer_to(stands, sdp, owned)?);
        Ok(())
    }

    fn read_answer(&self, sdp: &[u8], owned: &Owned) -> Result<Description, Cause> {
        self.read_answer_to(self.local.as_ref(), sdp, owned)
    }

    fn read_answer_to(
        &self,
        offer: Option<&Local>,
        sdp: &[u8],
        owned: &Owned,
    ) -> Result<Description, Cause> {
        if offer.is_some_and(|local| local.fax.is_some()) {
            return Description::read_fax(sdp, owned);
        }
        let suites = offer.map(|local| &local.suites[..]).unwrap_or_default();
        Description::read(sdp, self.rules, Some(suites), owned)
    }

    fn agree(&mut self, description: Description) {
        self.remote = Some(description);
        self.offered = None;
        self.before = None;
        self.lines_before = None;
    }

    /// Our offer: what `other` described, or G.711 and telephone events when nothing is known yet.
    pub(super) fn offer(&mut self, other: &Self, random: &mut Random) -> Vec<u8> {
        let described = other.described();
        let shown = described.map_or(Direction::SendRecv, |d| self.hears(other, d));
        self.offer_of(described, shown, random)
    }

    /// Our offer to a peer that asks for one: the same, but that `other` is not taken at its word where it only obeys a hold
    /// of this very peer, which may want to take it back.
    pub(super) fn offer_asked_for(&mut self, other: &Self, random: &mut Random) -> Vec<u8> {
        let described = other.described();
        let held = described.filter(|described| other.holds(described));
        let shown = held.map_or(Direction::SendRecv, |d| self.hears(other, d));
        self.offer_of(described, shown, random)
    }

    /// Our offer of what somebody has `described`, as it is to be `shown`.
    pub(super) fn offer_of(
        &mut self,
        described: Option<&Description>,
        shown: Direction,
        random: &mut Random,
    ) -> Vec<u8> {
        if let Some(described) = described.filter(|described| described.is_fax()) {
            return self.offer_fax(described, shown);
        }
        let mut formats = self.spoken(described);
        for format in &mut formats {
            // A payload type that was agreed for an encoding keeps it (RFC 3264 §8.3.2).
            let known = self.local.iter().flat_map(|local| &local.formats);
            if let Some(known) = known.into_iter().find(|known| known.is_same(format)) {
                format.payload = known.payload;
            }
        }
        let formats = unique(formats);
        let suites: Vec<_> = match self.rules.secure {
            Secure::Required => (1..).zip(self.rules.offered_suites.iter().copied()).collect(),
            Secure::Off => Vec::new(),
        };
        let cryptos = suites.iter().map(|(tag, s)| self.crypto(*tag, *s, random)).collect();
        if self.streams.is_empty() {
            self.streams = vec![StreamLine {
                kind: "audio".to_owned(),
                protocol: match self.rules.secure {
                    Secure::Required => "RTP/SAVP".to_owned(),
                    Secure::Off => "RTP/AVP".to_owned(),
                },
                format: String::new(),
            }];
        }
        self.lay_audio(described);
        // An offer during a call repeats what was agreed; the first one says what we would like.
        let mux = self.local.as_ref().map_or(self.rules.offer_mux, |local| local.mux);
        let direction = self.held(shown);
        self.before =
            self.local.replace(Local { formats, direction, suites, mux, shown, fax: None });
        self.write(cryptos, described.and_then(|d| d.ptime))
    }

    /// Whether there is a codec among those that somebody has `described`, if anybody has, in which the peer is spoken to;
    /// or whether it takes the fax that is described.
    pub(super) fn can_offer(&self, described: Option<&Description>) -> bool {
        if described.is_some_and(Description::is_fax) {
            return self.takes_fax();
        }
        described.is_none() || self.spoken(described).iter().any(Format::is_speech)
    }

    /// What somebody has `described`, or else G.711, as far as the peer is spoken to in it; G.711 is the last resort.
    fn spoken(&self, described: Option<&Description>) -> Vec<Format> {
        let Some(described) = described else {
            let formats = self.rules.codecs.of(own_choice());
            return if formats.iter().any(Format::is_speech) { formats } else { own_choice() };
        };
        self.rules.codecs.of(described.formats.clone())
    }

    /// Our answer to the peer's open offer: the codecs that `other` took, with the peer's own payload types. Where that
    /// leaves none, everything stays as it was.
    pub(super) fn answer(&mut self, other: &Self, random: &mut Random) -> Result<Vec<u8>, Cause> {
        let described = other.described();
        let formats = self.in_common(described)?;
        let speaks = hold::g711(&formats).is_some();
        let shown = described.map_or(Direction::SendRecv, |d| self.hears_if(speaks, other, d));
        self.answer_with(formats, described, shown, random)
    }

    /// Our answer of what somebody has `described`, open both ways.
    pub(super) fn answer_of(
        &mut self,
        described: Option<&Description>,
        random: &mut Random,
    ) -> Result<Vec<u8>, Cause> {
        let formats = self.in_common(described)?;
        self.answer_with(formats, described, Direction::SendRecv, random)
    }

    /// What the peer's open offer and a description have in common: at least one codec of speech, or a fax.
    fn in_common(&self, described: Option<&Description>) -> Result<Vec<Format>, Cause> {
        let offered = self.described().ok_or(Cause::BadOffer)?;
        match (offered.is_fax(), described.is_some_and(Description::is_fax)) {
            (true, true) => return Ok(Vec::new()),
            (true, false) | (false, true) => return Err(Cause::NothingInCommon),
            (false, false) => {}
        }
        let formats: Vec<Format> = match described {
            None => offered.formats.clone(),
            Some(described) => described
                .formats
                .iter()
                .filter_map(|wanted| {
                    let theirs = offered.formats.iter().find(|f| f.is_same(wanted))?;
                    Some(Format { payload: theirs.payload, ..wanted.clone() })
                })
                .collect(),
        };
        let formats = self.rules.codecs.of(formats);
        let speech = formats.iter().any(Format::is_speech);
        speech.then_some(formats).ok_or(Cause::NothingInCommon)
    }

    fn answer_with(
        &mut self,
        formats: Vec<Format>,
        described: Option<&Description>,
        shown: Direction,
        random: &mut Random,
    ) -> Result<Vec<u8>, Cause> {
        let offered = self.described().cloned().ok_or(Cause::BadOffer)?;
        let direction = self.held(Direction::of(
            offered.direction.receives() && shown.sends(),
            offered.direction.sends() && shown.receives(),
        ));
        let suites: Vec<_> = offered.key.iter().map(|(tag, key)| (*tag, key.suite())).collect();
        let cryptos = suites.iter().map(|(tag, s)| self.crypto(*tag, *s, random)).collect();
        self.streams.clone_from(&offered.streams);
        self.place = offered.place;
        let fax = described.and_then(|d| d.fax.clone());
        let (formats, mux) = match &fax {
            Some(_) => self.audio_told(),
            None => (formats, offered.mux),
        };
        let ptime = described.and_then(|d| d.ptime);
        self.forget_other_keys(&offered);
        self.agree(offered);
        let formats = unique(formats);
        self.local = Some(Local { formats, direction, suites, mux, shown, fax });
        Ok(self.write(cryptos, ptime))
    }

    pub(super) fn held(&self, direction: Direction) -> Direction {
        match (self.rules.holds, direction) {
            (Holds::AsOffered, as_it_is) => as_it_is,
            (Holds::InactiveOnly, Direction::SendRecv) => Direction::SendRecv,
            (
                Holds::InactiveOnly,
                Direction::SendOnly | Direction::RecvOnly | Direction::Inactive,
            ) => Direction::Inactive,
        }
    }

    /// Whether the peer knows of the direction of the other side, which describes itself so: as a whole, or as far as it
    /// sends and receives itself.
    pub(super) fn was_told(&self, other: &Self, described: &Description) -> bool {
        let Some(told) = &self.local else { return true };
        let whole = self.hears(other, described);
        let wanted = self.agreed().map_or(Direction::SendRecv, |agreed| agreed.direction);
        let part =
            Direction::of(wanted.receives() && whole.sends(), wanted.sends() && whole.receives());
        [whole, part].map(|one| self.held(one)).contains(&told.direction)
    }

    /// Only the key of the suite in use stays: one that is taken up again later would begin at rollover counter 0 and
    /// repeat its key stream.
    fn forget_other_keys(&mut self, agreed: &Description) {
        if let Some((_, theirs)) = &agreed.key {
            self.keys.retain(|key| key.suite() == theirs.suite());
        }
    }

    /// A crypto attribute with our key of that suite, which is drawn once.
    fn crypto(&mut self, tag: u32, suite: Suite, random: &mut Random) -> Crypto {
        if !self.keys.iter().any(|key| key.suite() == suite) {
            let mut material = zeroize::Zeroizing::new(vec![0; suite.key_salt_len()]);
            random.fill(&mut material);
            let key = MasterKey::new(suite, &material).expect("drawn in the suite's own length");
            self.keys.push(key);
        }
        let key = self.keys.iter().find(|key| key.suite() == suite).expect("drawn just above");
        let mut crypto = Crypto::new(tag, suite.name(), key.key_salt());
        crypto.keys[0].lifetime = Some(LIFETIME);
        crypto
    }

    /// Writes our SDP. The version rises with each change (RFC 3264 §8), not with each repetition.
    pub(super) fn write(&mut self, cryptos: Vec<Crypto>, ptime: Option<u16>) -> Vec<u8> {
        let text = self.render(&cryptos, ptime);
        if self.sdp.is_empty() {
            self.sdp = text;
        } else if text != self.sdp {
            self.version += 1;
            self.sdp = self.render(&cryptos, ptime);
        }
        self.sdp.clone()
    }

    fn render(&self, cryptos: &[Crypto], ptime: Option<u16>) -> Vec<u8> {
        let mut sdp = Writer::new(self.session_id, self.version, self.address);
        for (place, stream) in self.streams.iter().enumerate() {
            let StreamLine { kind, protocol, format } = stream;
            let Some(local) = self.local.as_ref().filter(|_| place == self.place) else {
                let port = if place == self.place { self.port.number } else { 0 };
                sdp.media(kind, port, protocol, [format]);
                continue;
            };
            if let Some(fax) = &local.fax {
                sdp.media(kind, self.port.number, protocol, [fax::FORMAT]);
                fax.write(local.direction, &mut sdp);
                continue;
            }
            let payloads = local.formats.iter().map(|format| format.payload);
            sdp.media(kind, self.port.number, protocol, payloads);
            describe(&mut sdp, local, self.port.rtcp());
            cryptos.iter().for_each(|crypto| sdp.crypto(crypto));
            if let Some(ptime) = ptime {
                sdp.attribute("ptime", format_args!("{ptime}"));
            }
        }
        sdp.finish()
    }
}

impl std::fmt::Debug for MediaSide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaSide")
            .field("port", &self.port)
            .field("local", &self.local)
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

fn describe(sdp: &mut Writer, local: &Local, rtcp: u16) {
    for Format { payload, name, clock, channels, fmtp } in &local.formats {
        if *channels > 1 {
            sdp.attribute("rtpmap", format_args!("{payload} {name}/{clock}/{channels}"));
        } else {
            sdp.attribute("rtpmap", format_args!("{payload} {name}/{clock}"));
        }
        if let Some(parameters) = fmtp {
            sdp.attribute("fmtp", format_args!("{payload} {parameters}"));
        }
    }
    sdp.direction(local.direction);
    if local.mux {
        sdp.flag("rtcp-mux");
    }
    sdp.attribute("rtcp", format_args!("{rtcp}"));
}

/// Each payload type once (RFC 3264 §5.1; a doubled one is refused by some peers): who comes second moves to a free
/// dynamic number.
fn unique(mut formats: Vec<Format>) -> Vec<Format> {
    for place in 1..formats.len() {
        let (before, rest) = formats.split_at_mut(place);
        let Some(format) = rest.first_mut() else { break };
        if before.iter().any(|f| f.payload == format.payload) {
            let free = DYNAMIC.clone().find(|free| before.iter().all(|f| f.payload != *free));
            format.payload = free.unwrap_or(format.payload);
        }
    }
    formats
}

/// What we offer when nobody described anything: G.711 and telephone events.
fn own_choice() -> Vec<Format> {
    let format = |payload, name: &str, fmtp: Option<&str>| Format {
        payload,
        name: name.to_owned(),
        clock: 8000,
        channels: 1,
        fmtp: fmtp.map(str::to_owned),
    };
    vec![
        format(8, "PCMA", None),
        format(0, "PCMU", None),
        format(101, "telephone-event", Some("0-16")),
    ]
}

/// 2^31 packets, as every peer accepts it; a call never comes near (RFC 4568 §6.1).
const LIFETIME: u64 = 1 << 31;
/// Early dialogs that are heard at the same time, as many as the relay takes.
const MOST_EARLY: usize = 4;
/// RFC 3551 §3.
const DYNAMIC: RangeInclusive<u8> = 96..=127;
