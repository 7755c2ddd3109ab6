//! A call's media as data (versioned with the call's own snapshot): what both sides agreed, our keys, origin and ports.
//!
//! Holds keys: it is written only where it is sealed.

use std::net::{IpAddr, SocketAddr};

use media_relay::srtp::{MasterKey, Mki, Suite};
use media_relay::{Port, SessionId};
use serde::{Deserialize, Serialize};
use sip_stack::sdp::Direction;
use zeroize::Zeroizing;

use super::side::Local;
use super::{CallMedia, Description, Fax, Format, MediaRules, MediaSide, Secure, StreamLine};

/// One side.
#[derive(Clone, Serialize, Deserialize)]
pub struct SideSnapshot {
    port: Port,
    /// What the peer was told.
    address: IpAddr,
    secure: bool,
    session_id: u64,
    version: u64,
    #[serde(default)]
    keys: Vec<KeyRecord>,
    #[serde(default)]
    local: Option<LocalRecord>,
    #[serde(default)]
    remote: Option<RemoteRecord>,
    #[serde(default)]
    streams: Vec<StreamLine>,
    #[serde(default)]
    place: usize,
}

#[derive(Clone, Serialize, Deserialize)]
struct LocalRecord {
    formats: Vec<Format>,
    direction: (bool, bool),
    #[serde(default)]
    suites: Vec<String>,
    /// Of these suites; counted from 1 where absent.
    #[serde(default)]
    tags: Vec<u32>,
    #[serde(default)]
    mux: bool,
    /// Absent where nothing but `direction` was shown.
    shown: Option<(bool, bool)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fax: Option<Fax>,
}

#[derive(Clone, Serialize, Deserialize)]
struct RemoteRecord {
    formats: Vec<Format>,
    direction: (bool, bool),
    #[serde(default)]
    rtp: Option<SocketAddr>,
    #[serde(default)]
    rtcp: Option<SocketAddr>,
    #[serde(default)]
    mux: bool,
    #[serde(default)]
    ptime: Option<u16>,
    #[serde(default)]
    key: Option<(u32, KeyRecord)>,
    #[serde(default)]
    streams: Vec<StreamLine>,
    #[serde(default)]
    place: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fax: Option<Fax>,
}

/// A master key, in hexadecimal.
#[derive(Clone, Serialize, Deserialize)]
struct KeyRecord {
    suite: String,
    key: Zeroizing<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mki: Option<String>,
    lifetime: u64,
}

impl SideSnapshot {
    /// Our port, as it was numbered, and the address that the peer was told.
    pub const fn port(&self) -> (Port, IpAddr) {
        (self.port, self.address)
    }

    /// The side again: on this port, with these rules but encrypted as it was, and with our last SDP. `None` when
    /// something in it cannot be read.
    pub fn restore(
        self,
        port: Port,
        rules: MediaRules,
        sources: Vec<ipnet::IpNet>,
        sdp: &[u8],
    ) -> Option<MediaSide> {
        let secure = if self.secure { Secure::Required } else { Secure::Off };
        Some(MediaSide {
            port,
            sources,
            music: None,
            ringback: None,
            vacant: false,
            rules: MediaRules { secure, ..rules },
            address: self.address,
            session_id: self.session_id,
            version: self.version,
            keys: self.keys.into_iter().map(KeyRecord::restore).collect::<Option<_>>()?,
            local: self.local.map(LocalRecord::restore),
            before: None,
            remote: match self.remote {
                None => None,
                Some(remote) => Some(remote.restore()?),
            },
            early: Vec::new(),
            offered: None,
            streams: self.streams,
            place: self.place,
            lines_before: None,
            sdp: sdp.to_vec(),
        })
    }
}

impl MediaSide {
    fn snapshot(&self) -> SideSnapshot {
        SideSnapshot {
            port: self.port,
            address: self.address,
            secure: self.rules.secure == Secure::Required,
            session_id: self.session_id,
            version: self.version,
            keys: self.keys.iter().map(KeyRecord::of).collect(),
            local: self.local.as_ref().map(LocalRecord::of),
            remote: self.remote.as_ref().map(RemoteRecord::of),
            streams: self.streams.clone(),
            place: self.place,
        }
    }
}

impl CallMedia {
    /// Both sides as data. An offer that is open is left out.
    pub fn snapshot(&self) -> [SideSnapshot; 2] {
        self.sides.each_ref().map(MediaSide::snapshot)
    }

    /// The media of a call that was restored.
    pub const fn restored(session: SessionId, sides: [MediaSide; 2]) -> Self {
        Self { session, sides, third: None }
    }
}

impl LocalRecord {
    fn of(local: &Local) -> Self {
        Self {
            formats: local.formats.clone(),
            direction: (local.direction.sends(), local.direction.receives()),
            suites: local.suites.iter().map(|(_, suite)| suite.name().to_owned()).collect(),
            tags: local.suites.iter().map(|(tag, _)| *tag).collect(),
            mux: local.mux,
            shown: Some((local.shown.sends(), local.shown.receives())),
            fax: local.fax.clone(),
        }
    }

    fn restore(self) -> Local {
        let (sends, receives) = self.direction;
        let shown = self.shown.unwrap_or(self.direction);
        let counted = (self.tags.len() as u32 + 1)..;
        let tags = self.tags.iter().copied().chain(counted);
        let known = |(tag, name): (u32, &String)| Some((tag, Suite::from_name(name.as_bytes())?));
        Local {
            formats: self.formats,
            direction: Direction::of(sends, receives),
            suites: tags.zip(&self.suites).filter_map(known).collect(),
            mux: self.mux,
            shown: Direction::of(shown.0, shown.1),
            fax: self.fax,
        }
    }
}

impl RemoteRecord {
    fn of(remote: &Description) -> Self {
        Self {
            formats: remote.formats.clone(),
            direction: (remote.direction.sends(), remote.direction.receives()),
            rtp: remote.rtp,
            rtcp: remote.rtcp,
            mux: remote.mux,
            ptime: remote.ptime,
            key: remote.key.as_ref().map(|(tag, key)| (*tag, KeyRecord::of(key))),
            streams: remote.streams.clone(),
            place: remote.place,
            fax: remote.fax.clone(),
        }
    }

    fn restore(self) -> Option<Description> {
        let (sends, receives) = self.direction;
        let key = match self.key {
            None => None,
            Some((tag, key)) => Some((tag, key.restore()?)),
        };
        Some(Description {
            formats: self.formats,
            direction: Direction::of(sends, receives),
            rtp: self.rtp,
            rtcp: self.rtcp,
            mux: self.mux,
            ptime: self.ptime,
            key,
            streams: self.streams,
            place: self.place,
            fax: self.fax,
        })
    }
}

impl KeyRecord {
    fn of(key: &MasterKey) -> Self {
        Self {
            suite: key.suite().name().to_owned(),
            key: Zeroizing::new(hex(key.key_salt())),
            mki: key.mki().map(|mki| hex(mki.as_bytes())),
            lifetime: key.lifetime(),
        }
    }

    fn restore(self) -> Option<MasterKey> {
        let suite = Suite::from_name(self.suite.as_bytes())?;
        let bytes = Zeroizing::new(unhex(&self.key)?);
        let mki = match self.mki {
            None => None,
            Some(mki) => Some(Mki::new(&unhex(&mki)?).ok()?),
        };
        let key = MasterKey::new(suite, &bytes).ok()?;
        Some(key.with_mki(mki).with_lifetime(self.lifetime))
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pair = |pair: &[u8]| u8::try_from(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?).ok();
    text.as_bytes().chunks(2).map(pair).collect()
}

impl std::fmt::Debug for SideSnapshot {
    /// Its port only: it holds keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SideSnapshot").field("port", &self.port).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_their_digits() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&all)), Some(all));
        for wrong in ["0", "0g", "é"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn keys_come_back_whole() {
        for suite in Suite::ALL {
            let bytes: Vec<u8> = (0..suite.key_salt_len() as u8).collect();
            let mki = Some(Mki::new(&[1, 2, 3]).unwrap());
            let key = MasterKey::new(suite, &bytes).unwrap().with_mki(mki).with_lifetime(1 << 20);
            let back = KeyRecord::of(&key).restore().unwrap();
            assert!(back.same_key(&key));
            assert_eq!((back.mki(), back.lifetime()), (key.mki(), key.lifetime()));
        }
    }
}
