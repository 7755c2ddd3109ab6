//! Challenges: WWW-Authenticate in a 401, Proxy-Authenticate in a 407 (RFC 3261 §20.27, §20.44; RFC 7616 §3.3).

use bytes::{BufMut, Bytes, BytesMut};

use super::algorithm::Algorithm;
use super::pairs::Pairs;
use crate::dialog::keep;
use crate::message::{HeaderId, Message};

/// Who challenges, which decides on the headers (RFC 3261 §22.2, §22.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The server itself: 401.
    Server,
    /// A proxy on the way: 407.
    Proxy,
}

/// A challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Who challenges.
    pub role: Role,
    /// For which realm a password is wanted, as it stands between the quotes.
    pub realm: Bytes,
    /// The nonce.
    pub nonce: Bytes,
    /// To be given back as it is.
    pub opaque: Option<Bytes>,
    /// The hash to be used.
    pub algorithm: Algorithm,
    /// Whether `qop=auth` is to be used; a server of RFC 2069 knows none.
    pub qop: bool,
    /// Nothing was wrong with the answer but the age of its nonce.
    pub stale: bool,
}

impl Role {
    /// The status of a challenge.
    pub const fn status(self) -> u16 {
        match self {
            Self::Server => 401,
            Self::Proxy => 407,
        }
    }

    /// The header of a challenge.
    pub const fn challenge(self) -> HeaderId {
        match self {
            Self::Server => HeaderId::WwwAuthenticate,
            Self::Proxy => HeaderId::ProxyAuthenticate,
        }
    }

    /// The header of an answer.
    pub const fn answer(self) -> HeaderId {
        match self {
            Self::Server => HeaderId::Authorization,
            Self::Proxy => HeaderId::ProxyAuthorization,
        }
    }

    const ALL: [Self; 2] = [Self::Server, Self::Proxy];
}

impl Challenge {
    /// `None` when it cannot be answered: another scheme, an unknown algorithm, a quality of protection that we do not
    /// have, or no sense.
    pub fn parse(role: Role, value: &[u8]) -> Option<Self> {
        let pairs = Pairs::read(value)?;
        let algorithm = pairs.find("algorithm").map_or(Some(Algorithm::MD5), Algorithm::parse)?;
        let offered = pairs.find("qop").unwrap_or_default();
        let mut words = offered.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let qop = words.any(|word| word.eq_ignore_ascii_case(b"auth"));
        // Without `qop` there is no cnonce, which -sess needs.
        let answerable = qop || (offered.is_empty() && !algorithm.session);
        answerable.then_some(Self {
            role,
            realm: keep(pairs.find("realm")?),
            nonce: keep(pairs.find("nonce").filter(|nonce| !nonce.is_empty())?),
            opaque: pairs.find("opaque").map(keep),
            algorithm,
            qop,
            stale: pairs.find("stale").is_some_and(|word| word.eq_ignore_ascii_case(b"true")),
        })
    }

    /// All in a 401 or 407 that can be answered, the strongest first (RFC 8760 §2.4 leaves the choice to the order of
    /// the headers, which anybody on the way could change).
    pub fn all(response: &Message) -> Vec<Self> {
        if !Role::ALL.iter().any(|role| role.status() == response.status()) {
            return Vec::new();
        }
        let mut all = Vec::new();
        for role in Role::ALL {
            let values = response.values(role.challenge()).take(MOST);
            all.extend(values.filter_map(|value| Self::parse(role, value)));
        }
        // Stable: among equals the server's order.
        all.sort_by_key(|challenge: &Self| std::cmp::Reverse(challenge.algorithm));
        all
    }

    /// The header value.
    pub fn write(&self) -> Bytes {
        let mut text = BytesMut::with_capacity(self.realm.len() + self.nonce.len() + 96);
        text.put_slice(b"Digest realm=\"");
        text.put_slice(&self.realm);
        text.put_slice(b"\", nonce=\"");
        text.put_slice(&self.nonce);
        if let Some(opaque) = &self.opaque {
            text.put_slice(b"\", opaque=\"");
            text.put_slice(opaque);
        }
        text.put_slice(b"\", algorithm=");
        text.put_slice(self.algorithm.name().as_bytes());
        text.put_slice(if self.qop { b", qop=\"auth\"" } else { b"" });
        text.put_slice(if self.stale { b", stale=true" } else { b"" });
        text.freeze()
    }
}

/// How many challenges of one kind are looked at.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::Hash;
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)]) -> Message {
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let text = format!(
            "SIP/2.0 {status} No\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\nFrom: <sip:a@a>;tag=1\r\n\
             To: <sip:b@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    /// RFC 8760 §2.4: one header for each algorithm.
    #[test]
    fn the_strongest_known_algorithm_comes_first_whatever_the_order() {
        let md5 = "Digest realm=\"a\", nonce=\"1\", algorithm=MD5, qop=\"auth\"";
        let sha = "Digest realm=\"a\", nonce=\"2\", algorithm=SHA-256, qop=\"auth\"";
        let best = "Digest realm=\"a\", nonce=\"3\", algorithm=SHA-512-256, qop=\"auth\"";
        let unknown = "Digest realm=\"a\", nonce=\"4\", algorithm=SHA3-512, qop=\"auth\"";
        let name = "WWW-Authenticate";
        let response = response(401, &[(name, md5), (name, unknown), (name, best), (name, sha)]);
        let nonces: Vec<_> = Challenge::all(&response).iter().map(|c| c.nonce.clone()).collect();
        assert_eq!(nonces, ["3", "2", "1"]);
    }

    #[test]
    fn both_kinds_are_read_from_401_and_407_alone() {
        let headers = [
            ("Proxy-Authenticate", "Digest realm=\"p\", nonce=\"1\""),
            ("WWW-Authenticate", "Digest realm=\"s\", nonce=\"2\""),
        ];
        for status in [401, 407] {
            let all = Challenge::all(&response(status, &headers));
            let roles: Vec<_> = all.iter().map(|challenge| challenge.role).collect();
            assert_eq!(roles, [Role::Server, Role::Proxy]);
        }
        for status in [200, 403, 494] {
            assert!(Challenge::all(&response(status, &headers)).is_empty());
        }
    }

    #[test]
    fn a_server_of_rfc_2069_wants_md5_without_qop() {
        let challenge = Challenge::parse(Role::Server, b"Digest realm=\"r\", nonce=\"n\"").unwrap();
        assert_eq!(challenge.algorithm, Algorithm { hash: Hash::Md5, session: false });
        assert!(!challenge.qop && !challenge.stale && challenge.opaque.is_none());
    }

    #[test]
    fn what_cannot_be_answered_is_no_challenge() {
        for (rest, answerable) in [
            (", qop=\"auth\"", true),
            (", qop=auth", true),
            (", qop=\"auth-int, auth\"", true),
            (", qop=\"\"", true),
            (", qop=\"auth-int\"", false),
            (", algorithm=MD5-sess, qop=\"auth\"", true),
            (", algorithm=MD5-sess", false),
            (", algorithm=AKAv1-MD5", false),
            (", stale=TRUE", true),
        ] {
            let value = format!("Digest realm=\"r\", nonce=\"n\"{rest}");
            let challenge = Challenge::parse(Role::Proxy, value.as_bytes());
            assert_eq!(challenge.is_some(), answerable, "{rest}");
        }
        for value in ["Digest realm=\"r\"", "Digest nonce=\"n\"", "Digest realm=\"r\", nonce=\"\""]
        {
            assert!(Challenge::parse(Role::Server, value.as_bytes()).is_none(), "{value}");
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for (opaque, qop, stale) in [
            (None, true, false),
            (Some("o\\\"p".into()), true, true),
            (Some("".into()), false, false),
        ] {
            let challenge = Challenge {
                role: Role::Proxy,
                realm: "a, b".into(),
                nonce: "n=".into(),
                opaque,
                algorithm: Algorithm { hash: Hash::Sha256, session: false },
                qop,
                stale,
            };
            assert_eq!(Challenge::parse(Role::Proxy, &challenge.write()), Some(challenge));
        }
    }
}
