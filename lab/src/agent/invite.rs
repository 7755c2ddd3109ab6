//! A call to be placed, with everything that may be odd about it.

use std::fmt;
use std::sync::Arc;

use crate::media::srtp::Key;

/// A change of text that is about to be sent.
#[derive(Clone)]
pub struct Edit(Arc<dyn Fn(&str) -> String + Send + Sync>);

impl Edit {
    /// A change by a function.
    pub fn new(change: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(change))
    }

    /// One text in place of another.
    #[must_use]
    pub fn replace(from: &str, to: &str) -> Self {
        let [from, to] = [from, to].map(str::to_owned);
        Self::new(move |text| text.replace(&from, &to))
    }

    /// The text, changed if there is a change.
    pub(crate) fn apply(edit: Option<&Self>, text: String) -> String {
        edit.map_or_else(|| text.clone(), |edit| (edit.0)(&text))
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Edit")
    }
}

/// A body around the SDP.
#[derive(Clone, Debug)]
pub struct Around {
    /// Its Content-Type.
    pub kind: String,
    /// What stands before the SDP.
    pub before: String,
    /// What stands behind it.
    pub after: String,
}

impl Around {
    /// A multipart/mixed body (RFC 2046) of the SDP and another part, given with its own headers.
    #[must_use]
    pub fn multipart(part: &str) -> Self {
        Self {
            kind: "multipart/mixed;boundary=lab".to_owned(),
            before: "--lab\r\nContent-Type: application/sdp\r\n\r\n".to_owned(),
            after: format!("\r\n--lab\r\n{part}\r\n--lab--\r\n"),
        }
    }
}

/// A call to the gateway.
#[derive(Clone, Debug)]
pub struct Invite {
    /// User part of From.
    pub caller: String,
    /// User part of the Request-URI.
    pub called: String,
    /// Host of the Request-URI: the tenant's FQDN, or the gateway's address.
    pub host: String,
    /// Which of our homes it leaves from.
    pub home: usize,
    /// Whole header lines to be added.
    pub extra: Vec<String>,
    /// From without tag, in place of what the caller's number makes.
    pub from: Option<String>,
    /// Changes each SDP of ours in this call.
    pub sdp: Option<Edit>,
    /// The INVITE has no offer; our SDP goes with the ACK (RFC 3264 §5).
    pub late: bool,
    /// What the SDP stands in.
    pub around: Option<Around>,
    /// Changes the INVITE as it is sent.
    pub text: Option<Edit>,
    /// In how many parts a stream carries the INVITE; under TLS each is a record.
    pub parts: usize,
    /// What we protect with, in place of a random key.
    pub key: Option<Key>,
    /// Sequence number of our first packet.
    pub sequence: Option<u16>,
}

impl Invite {
    /// A call without anything special, from the first home.
    #[must_use]
    pub fn new(caller: &str, called: &str, host: &str) -> Self {
        let [caller, called, host] = [caller, called, host].map(str::to_owned);
        Self {
            caller,
            called,
            host,
            home: 0,
            extra: Vec::new(),
            from: None,
            sdp: None,
            late: false,
            around: None,
            text: None,
            parts: 1,
            key: None,
            sequence: None,
        }
    }

    /// The same with one more header line.
    #[must_use]
    pub fn with(mut self, line: &str) -> Self {
        self.extra.push(line.to_owned());
        self
    }
}
