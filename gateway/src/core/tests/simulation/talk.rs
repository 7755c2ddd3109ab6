//! The session descriptions of a simulated peer: what it offers and how it answers (RFC 3264).

use bytes::Bytes;

/// What an offer of a peer changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing: a session refresh.
    Refresh,
    Hold,
    HoldInactive,
    /// RFC 2543: the address 0.0.0.0.
    HoldZero,
    Resume,
    /// Another port.
    Move,
    /// Another key, where there is one.
    Rekey,
    /// Another set of codecs.
    Codecs,
}

/// A peer's side of one session.
#[derive(Clone)]
pub(super) struct Talk {
    host: String,
    secure: bool,
    version: u32,
    port: u16,
    key: u8,
    zero: bool,
    codecs: &'static str,
    direction: &'static str,
    /// What we said last, and what of it is agreed.
    pub(super) local: Option<Bytes>,
    pub(super) remote: Option<Bytes>,
}

impl Talk {
    pub(super) const fn new(host: String, secure: bool, port: u16, key: u8) -> Self {
        Self {
            host,
            secure,
            version: 0,
            port,
            key,
            zero: false,
            codecs: "8 0 101",
            direction: "sendrecv",
            local: None,
            remote: None,
        }
    }

    /// Whether we want to be heard and to hear.
    pub(super) fn is_open(&self) -> bool {
        self.direction == "sendrecv" && !self.zero
    }

    /// Whether the gateway has told us of a hold.
    pub(super) fn is_held(&self) -> bool {
        let text = self.remote.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        ["a=sendonly", "a=recvonly", "a=inactive"].iter().any(|line| text.contains(line))
    }

    /// Our offer came to nothing: all is as in `before`.
    pub(super) fn take_back(&mut self, before: &Self) {
        let version = self.version;
        *self = Self { version, ..before.clone() };
    }

    /// Our offer after that change; agreed when it is answered.
    pub(super) fn offer(&mut self, change: Change) -> Bytes {
        match change {
            Change::Refresh => {
                if let Some(local) = &self.local {
                    return local.clone();
                }
            }
            Change::Hold => self.direction = "sendonly",
            Change::HoldInactive => self.direction = "inactive",
            Change::HoldZero => self.zero = true,
            Change::Resume => (self.direction, self.zero) = ("sendrecv", false),
            Change::Move => self.port += 2,
            Change::Rekey => self.key += 1,
            Change::Codecs => {
                self.codecs = if self.codecs == "8 0 101" { "8 101" } else { "8 0 101" };
            }
        }
        self.write(self.codecs, self.direction)
    }

    /// Our answer to that offer, which is agreed by it.
    pub(super) fn answer(&mut self, offer: &Bytes) -> Bytes {
        let text = String::from_utf8_lossy(offer);
        let formats = text.lines().find_map(|line| line.strip_prefix("m=audio ")).unwrap();
        let common: Vec<&str> =
            formats.split(' ').skip(2).filter(|f| ["8", "0", "101"].contains(f)).collect();
        let has = |name: &str| text.lines().any(|line| line.strip_prefix("a=") == Some(name));
        let direction = match self.direction {
            _ if has("inactive") => "inactive",
            "inactive" => "inactive",
            "sendonly" if has("sendonly") => "inactive",
            _ if has("sendonly") => "recvonly",
            _ if has("recvonly") => "sendonly",
            ours => ours,
        };
        let answer = self.write(&common.join(" "), direction);
        self.agree(answer.clone(), offer.clone());
        answer
    }

    pub(super) fn agree(&mut self, local: Bytes, remote: Bytes) {
        (self.local, self.remote) = (Some(local), Some(remote));
    }

    fn write(&mut self, codecs: &str, direction: &str) -> Bytes {
        self.version += 1;
        let Self { host, version, port, secure, .. } = self;
        let connection = if self.zero { "0.0.0.0" } else { host.as_str() };
        let profile = if *secure { "RTP/SAVP" } else { "RTP/AVP" };
        let mut text = format!(
            "v=0\r\no=- 1 {version} IN IP4 {host}\r\ns=-\r\nc=IN IP4 {connection}\r\nt=0 0\r\n\
             m=audio {port} {profile} {codecs}\r\n"
        );
        if codecs.contains("101") {
            text += "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n";
        }
        if *secure {
            // 40 characters of base64 for 30 bytes; the last two characters are the key's number.
            let number = char::from(b'A' + self.key % 26);
            text += &format!(
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 \
                 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGx{number}d|2^31\r\n"
            );
        }
        text += &format!("a={direction}\r\n");
        text.into()
    }
}
