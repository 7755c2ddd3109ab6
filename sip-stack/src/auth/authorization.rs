//! Answers to challenges: Authorization and Proxy-Authorization (RFC 3261 §20.7, §20.28; RFC 7616 §3.4).
//!
//! ```text
//! A1       = username ":" realm ":" password, with -sess H(that) ":" nonce ":" cnonce
//! A2       = method ":" uri
//! response = H(H(A1) ":" nonce ":" nc ":" cnonce ":" qop ":" H(A2)), without qop H(H(A1) ":" nonce ":" H(A2))
//! ```

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::challenge::Challenge;
use super::pairs::{Pairs, is_closed};
use crate::dialog::keep;
use crate::message::Method;

/// Who answers, and the password. Neither has quotes or control characters.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The user's name.
    pub username: &'a str,
    /// The password.
    pub password: &'a str,
}

/// A challenge that is answered in one request after the other: the count of its nonce goes up.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    challenge: Challenge,
    cnonce: Bytes,
    count: u32,
}

/// The answer in a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization {
    /// The user's name.
    pub username: Bytes,
    /// The realm of the challenge.
    pub realm: Bytes,
    /// The nonce of the challenge.
    pub nonce: Bytes,
    /// The Request-URI, as the client wrote it.
    pub uri: Bytes,
    /// The proof, in hexadecimal.
    pub response: Bytes,
    /// The hash.
    pub algorithm: Algorithm,
    /// The client's own nonce and the count of the server's, with `qop=auth`.
    pub count: Option<(Bytes, u32)>,
    /// As it stood in the challenge.
    pub opaque: Option<Bytes>,
}

impl Session {
    /// `cnonce` is random: letters and digits.
    pub const fn new(challenge: Challenge, cnonce: Bytes) -> Self {
        Self { challenge, cnonce, count: 0 }
    }

    /// What is answered.
    pub const fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// The answer for the next request.
    pub fn answer(&mut self, login: Login<'_>, method: &Method, uri: &[u8]) -> Authorization {
        self.count = self.count.wrapping_add(1);
        let Challenge { realm, nonce, opaque, algorithm, qop, .. } = &self.challenge;
        let mut answer = Authorization {
            username: keep(login.username.as_bytes()),
            realm: realm.clone(),
            nonce: nonce.clone(),
            uri: keep(uri),
            response: Bytes::new(),
            algorithm: *algorithm,
            count: qop.then(|| (self.cnonce.clone(), self.count)),
            opaque: opaque.clone(),
        };
        answer.response = keep(answer.proof(method, login.password).as_bytes());
        answer
    }
}

impl Authorization {
    /// `None` when it is another scheme or has no sense.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let pairs = Pairs::read(value)?;
        let required = |name| pairs.find(name).map(keep);
        let count = match pairs.find("qop") {
            Some(qop) if !qop.eq_ignore_ascii_case(b"auth") => return None,
            Some(_) => {
                let digits = pairs.find("nc").filter(|nc| nc.len() == 8)?;
                let fits = digits.iter().all(u8::is_ascii_hexdigit);
                let digits = std::str::from_utf8(digits).ok().filter(|_| fits)?;
                Some((required("cnonce")?, u32::from_str_radix(digits, 16).ok()?))
            }
            None => None,
        };
        let algorithm = pairs.find("algorithm").map_or(Some(Algorithm::MD5), Algorithm::parse)?;
        if algorithm.session && count.is_none() {
            return None;
        }
        Some(Self {
            username: required("username")?,
            realm: required("realm")?,
            nonce: required("nonce")?,
            uri: required("uri")?,
            response: required("response")?,
            algorithm,
            count,
            opaque: required("opaque"),
        })
    }

    /// Whether whoever wrote it has this password. Takes the same time whatever is wrong with the response. Whether
    /// realm, nonce, count and URI are those that were to be used is the owner's to ask.
    pub fn proves(&self, method: &Method, password: &str) -> bool {
        let proof = self.proof(method, password);
        let told = Zeroizing::new(self.response.to_ascii_lowercase());
        proof.as_bytes().ct_eq(&told).into()
    }

    /// The header value.
    pub fn write(&self) -> Bytes {
        let mut text = BytesMut::with_capacity(320);
        text.put_slice(b"Digest ");
        for (name, value) in [
            ("username", &self.username),
            ("realm", &self.realm),
            ("nonce", &self.nonce),
            ("uri", &self.uri),
            ("response", &self.response),
        ] {
            debug_assert!(is_closed(value), "{name} cannot stand between quotes");
            text.put_slice(name.as_bytes());
            text.put_slice(b"=\"");
            text.put_slice(value);
            text.put_slice(b"\", ");
        }
        text.put_slice(b"algorithm=");
        text.put_slice(self.algorithm.name().as_bytes());
        if let Some((cnonce, count)) = &self.count {
            text.put_slice(b", qop=auth, nc=");
            text.put_slice(format!("{count:08x}").as_bytes());
            text.put_slice(b", cnonce=\"");
            text.put_slice(cnonce);
            text.put_slice(b"\"");
        }
        if let Some(opaque) = &self.opaque {
            text.put_slice(b", opaque=\"");
            text.put_slice(opaque);
            text.put_slice(b"\"");
        }
        text.freeze()
    }

    fn proof(&self, method: &Method, password: &str) -> Zeroizing<String> {
        let hash = self.algorithm.hash;
        let mut key = hash.hex(&[&self.username, &self.realm, password.as_bytes()]);
        if let Some((cnonce, _)) = self.count.as_ref().filter(|_| self.algorithm.session) {
            key = hash.hex(&[key.as_bytes(), &self.nonce, cnonce]);
        }
        let request = hash.hex(&[method.as_bytes(), &self.uri]);
        let (key, request) = (key.as_bytes(), request.as_bytes());
        match &self.count {
            Some((cnonce, count)) => {
                let count = format!("{count:08x}");
                hash.hex(&[key, &self.nonce, count.as_bytes(), cnonce, b"auth", request])
            }
            None => hash.hex(&[key, &self.nonce, request]),
        }
    }
}

impl fmt::Debug for Session {
    /// Without what was agreed on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("count", &self.count).finish_non_exhaustive()
    }
}

impl fmt::Debug for Authorization {
    /// Without the proof, from which a password can be guessed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::*;

    const GET: Method = Method::Other(Bytes::from_static(b"GET"));

    fn answer(challenge: &str, cnonce: &str, login: (&str, &str), uri: &str) -> Authorization {
        let challenge = Challenge::parse(Role::Server, challenge.as_bytes()).unwrap();
        let mut session = Session::new(challenge, Bytes::copy_from_slice(cnonce.as_bytes()));
        let login = Login { username: login.0, password: login.1 };
        session.answer(login, &GET, uri.as_bytes())
    }

    /// RFC 7616 §3.9.1.
    #[test]
    fn sha_256_and_md5_of_rfc_7616() {
        for (algorithm, response) in [
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ] {
            let challenge = format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
                 opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            );
            let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
            let login = ("Mufasa", "Circle of Life");
            let answer = answer(&challenge, cnonce, login, "/dir/index.html");
            assert_eq!(answer.response, response);
        }
    }

    /// RFC 7616 §3.9.2 as corrected by erratum 4897, its user's hashed name being what is hashed.
    #[test]
    fn sha_512_256_of_rfc_7616() {
        let answer = answer(
            "Digest realm=\"api@example.org\", qop=\"auth\", algorithm=SHA-512-256, \
             nonce=\"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK\", \
             opaque=\"HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS\"",
            "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
            ("J\u{e4}s\u{f8}n Doe", "Secret, or not?"),
            "/doe.json",
        );
        let corrected = "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5";
        assert_eq!(answer.response, corrected);
    }

    /// RFC 2617 §3.5, and the same by the rule of RFC 2069 (§2.4 there as its erratum has it).
    #[test]
    fn md5_of_the_older_rfcs() {
        let nonce = "nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", realm=\"testrealm@host.com\"";
        for (qop, password, response) in [
            (", qop=\"auth\"", "Circle Of Life", "6629fae49393a05397450978507c4ef1"),
            ("", "CircleOfLife", "1949323746fe6a43ef61f9606e7febea"),
        ] {
            let challenge = format!("Digest {nonce}{qop}");
            let answer = answer(&challenge, "0a4f113b", ("Mufasa", password), "/dir/index.html");
            assert_eq!(answer.response, response);
        }
    }

    #[test]
    fn the_count_goes_up_and_each_answer_is_another() {
        let value =
            b"Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=SHA-256, opaque=\"o\"";
        let challenge = Challenge::parse(Role::Proxy, value).unwrap();
        let mut session = Session::new(challenge, "c".into());
        let login = Login { username: "u", password: "p" };
        let [first, second] = [1, 2].map(|_| session.answer(login, &Method::Invite, b"sip:a@b"));
        assert_eq!((first.count.as_ref().unwrap().1, second.count.as_ref().unwrap().1), (1, 2));
        assert_ne!(first.response, second.response);
        let written = String::from_utf8(second.write().to_vec()).unwrap();
        assert!(written.contains("qop=auth, nc=00000002, cnonce=\"c\", opaque=\"o\""), "{written}");
    }

    #[test]
    fn an_answer_proves_one_password_for_one_request() {
        for qop in [", qop=\"auth\"", ""] {
            for algorithm in ["MD5", "SHA-256", "SHA-512-256", "SHA-256-sess"] {
                if qop.is_empty() && algorithm.ends_with("sess") {
                    continue;
                }
                let value = format!("Digest realm=\"r\", nonce=\"n\", algorithm={algorithm}{qop}");
                let challenge = Challenge::parse(Role::Server, value.as_bytes()).unwrap();
                let login = Login { username: "u", password: "p" };
                let answer = Session::new(challenge, "c".into()).answer(
                    login,
                    &Method::Register,
                    b"sip:r.example",
                );
                let read = Authorization::parse(&answer.write()).unwrap();
                assert!(read == answer && read.proves(&Method::Register, "p"), "{value}");
                assert!(!read.proves(&Method::Register, "P"));
                assert!(!read.proves(&Method::Invite, "p"));
                for changed in [
                    Authorization { uri: "sip:r".into(), ..read.clone() },
                    Authorization { nonce: "m".into(), ..read.clone() },
                    Authorization { realm: "s".into(), ..read.clone() },
                    Authorization { username: "v".into(), ..read.clone() },
                    Authorization { response: "".into(), ..read.clone() },
                    Authorization { response: read.response.slice(1..), ..read.clone() },
                ] {
                    assert!(!changed.proves(&Method::Register, "p"));
                }
                let count = read.count.clone().map(|(cnonce, count)| (cnonce, count + 1));
                let counted = Authorization { count, ..read.clone() };
                assert_eq!(counted.proves(&Method::Register, "p"), qop.is_empty());
                let upper = Bytes::from(read.response.to_ascii_uppercase());
                let upper = Authorization { response: upper, ..read };
                assert!(upper.proves(&Method::Register, "p"), "hexadecimal in either case");
            }
        }
    }

    #[test]
    fn an_answer_without_what_it_needs_is_none() {
        let whole = "Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"sip:a\", response=\"0\", qop=auth, \
                     nc=0000000a, cnonce=\"c\"";
        let read = Authorization::parse(whole.as_bytes()).unwrap();
        assert_eq!(read.count, Some(("c".into(), 10)));
        for (part, other) in [
            ("username=\"u\", ", ""),
            ("realm=\"r\", ", ""),
            ("nonce=\"n\", ", ""),
            ("uri=\"sip:a\", ", ""),
            ("response=\"0\", ", ""),
            (", cnonce=\"c\"", ""),
            ("nc=0000000a, ", ""),
            ("0000000a", "0000000g"),
            ("0000000a", "+000000a"),
            ("0000000a", "a"),
            ("qop=auth", "qop=auth-int"),
            ("qop=auth", "algorithm=SHA-1, qop=auth"),
            ("Digest", "Basic"),
        ] {
            let text = whole.replacen(part, other, 1);
            assert_ne!(text, whole);
            assert!(Authorization::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let value = "Digest realm=\"r\", nonce=\"nnn\", qop=\"auth\"";
        let answer = answer(value, "ccc", ("uuu", "ppp"), "sip:a");
        let shown = format!("{answer:?}");
        for hidden in ["uuu", "nnn", "ccc", std::str::from_utf8(&answer.response).unwrap()] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }
}
