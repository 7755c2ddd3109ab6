//! Who calls, as the other end is to see it: From, P-Asserted-Identity (RFC 3325), Privacy (RFC 3323).
//!
//! A caller that wants privacy, or calls itself anonymous, is shown to nobody; a number that its network vouches for is kept
//! beside, for trunks of the same trust domain, if whoever says so is trusted itself. Whoever calls for help is shown.

use config::CallerId;
use sip_stack::message::{HeaderId, Message, NameAddr};
use sip_stack::uri::Uri;

use super::remote_party;
use crate::numbers::Number;

/// Who calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Caller {
    /// Display name, without anything that needs an escape; written between quotes.
    display: Option<String>,
    /// The number, or what stands in its place; `None` is anonymous.
    user: Option<String>,
    /// The number that a trusted network vouches for.
    asserted: Option<String>,
}

/// How a peer's word on who calls is taken.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// Where the number stands.
    pub place: CallerId,
    /// Its country, for national numbers.
    pub country: Option<&'a str>,
    /// What it asserts may be told to others (RFC 3325 §5).
    pub vouches: bool,
    /// It calls for help.
    pub help: bool,
}

impl Caller {
    /// Reads the caller of an INVITE. A number becomes E.164 by `country`; text stays if it is harmless; anything else is
    /// anonymous: an unreadable caller never fails a call.
    pub fn of(message: &Message, word: Word<'_>) -> Self {
        let Word { place, country, vouches, help } = word;
        let from = Identity::read(message.value(HeaderId::From).unwrap_or_default(), country);
        let remote =
            (place == CallerId::RemotePartyId).then(|| remote_party::read(message, country));
        let remote = remote.flatten();
        let private = remote.as_ref().is_some_and(|remote| remote.private);
        let screened = remote.as_ref().is_none_or(|remote| remote.screened);
        let remote = remote.map(|remote| remote.identity);
        let asserted = remote.or_else(|| Identity::asserted(message, country));
        let said = asserted.as_ref().or(Some(&from));
        let said = said.filter(|said| vouches && screened && said.number);
        let number = said.and_then(|said| said.user.clone());
        if help {
            let shown = if from.number { from } else { asserted.unwrap_or(from) };
            return Self { display: shown.display, user: shown.user, asserted: number };
        }
        if private || wants_privacy(message) || from.user.is_none() {
            return Self { display: None, user: None, asserted: number };
        }
        let shown = match (place, asserted) {
            (CallerId::Asserted | CallerId::RemotePartyId, Some(mut asserted)) => {
                asserted.display = asserted.display.or(from.display);
                asserted
            }
            (CallerId::Asserted | CallerId::RemotePartyId, None) | (CallerId::From, _) => from,
        };
        Self { display: shown.display, user: shown.user, asserted: number }
    }

    /// Somebody of whom only the number is known.
    pub fn of_number(number: &str) -> Self {
        Self { user: Some(number.to_owned()), ..Self::default() }
    }

    /// The same with another number in place of the one shown and of the one vouched for, or of none where there is no
    /// other. A name goes with its number.
    #[must_use]
    pub fn replaced(self, [shown, vouched]: [bool; 2], number: Option<&str>) -> Self {
        let number = number.map(str::to_owned);
        let asserted = if vouched { number.clone() } else { self.asserted };
        match shown {
            true => Self { display: None, user: number, asserted },
            false => Self { asserted, ..self },
        }
    }

    /// The number or name in Contact and logs.
    pub fn user(&self) -> &str {
        self.user.as_deref().unwrap_or("anonymous")
    }

    /// What may be shown: number or name, and display name. None of an anonymous caller.
    pub fn shown(&self) -> Option<(&str, Option<&str>)> {
        Some((self.user.as_deref()?, self.display.as_deref()))
    }

    /// The number that a trusted peer may be told.
    pub fn vouched(&self) -> Option<&str> {
        self.asserted.as_deref()
    }

    /// The number in P-Asserted-Identity as it was received, for the record.
    pub fn asserted_in(message: &Message, country: Option<&str>) -> Option<String> {
        Identity::asserted(message, country)?.user
    }

    #[cfg(test)]
    pub(super) fn named(user: &str) -> Self {
        Self::vouched_for(Some((user, "Ann")), None)
    }

    #[cfg(test)]
    pub(super) fn vouched_for(shown: Option<(&str, &str)>, asserted: Option<&str>) -> Self {
        Self {
            display: shown.map(|(_, name)| name.to_owned()),
            user: shown.map(|(user, _)| user.to_owned()),
            asserted: asserted.map(str::to_owned),
        }
    }
}

/// What one header says of somebody.
#[derive(Debug, Default)]
pub(super) struct Identity {
    display: Option<String>,
    user: Option<String>,
    /// That is a telephone number.
    pub(super) number: bool,
}

impl Identity {
    /// Of P-Asserted-Identity: among several, often a sip: and a tel: one, the first with a number.
    fn asserted(message: &Message, country: Option<&str>) -> Option<Self> {
        let values = message.elements(HeaderId::PAssertedIdentity);
        values.map(|value| Self::read(value, country)).find(|identity| identity.number)
    }

    pub(super) fn read(value: &[u8], country: Option<&str>) -> Self {
        let Ok(address) = NameAddr::parse(value) else { return Self::default() };
        let Ok(uri) = Uri::parse(address.uri) else { return Self::default() };
        let user = uri.user().filter(|user| !user.eq_ignore_ascii_case(b"anonymous"));
        let Some(user) = user else { return Self::default() };
        let number = Number::read(user, country).map(|number| number.as_str().to_owned());
        let display = address.display.and_then(harmless_display);
        let is_number = number.is_some();
        Self { display, user: number.or_else(|| harmless_user(user)), number: is_number }
    }
}

/// Whether Privacy asks that nobody is shown who calls: `id` (RFC 3325 §9.3), `user` and `header`, with which a network
/// takes identities out by itself (RFC 3323 §4.2), and `critical`, which would rather have no call than a name shown.
pub(super) fn wants_privacy(message: &Message) -> bool {
    asks_for(message, &["id", "user", "header", "critical"])
}

/// Whether one of these words stands in Privacy.
pub(super) fn asks_for(message: &Message, asked: &[&str]) -> bool {
    let values = message.values(HeaderId::Privacy);
    let mut words = values.flat_map(|value| value.split(|b| b",;".contains(b)));
    words.any(|word| asked.iter().any(|ask| word.trim_ascii().eq_ignore_ascii_case(ask.as_bytes())))
}

/// Whether a user part is a telephone number.
pub(super) fn is_number(user: &str) -> bool {
    let digits = user.strip_prefix('+').unwrap_or(user);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// A display name that fits between quotes (RFC 3261 §25.1 quoted-string); nothing that could end a line.
fn harmless_display(display: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(display);
    let inner = text.trim().trim_matches('"');
    let mut clean = String::with_capacity(inner.len());
    for c in inner.chars() {
        match c {
            // Legal when escaped, but not every reader of the far end gets quoting right.
            '\\' | '"' | '<' | '>' | '@' => {}
            c if c.is_control() => clean.push(' '),
            c => clean.push(c),
        }
    }
    (!clean.is_empty()).then_some(clean)
}

/// A user part that is no number: kept when it consists of unreserved characters (RFC 3261 §25.1).
fn harmless_user(user: &[u8]) -> Option<String> {
    let fine = |b: &u8| b.is_ascii_alphanumeric() || b"-_.!~*'()+".contains(b);
    let short = user.len() <= LONGEST_USER && user.iter().all(fine);
    (short && !user.is_empty()).then(|| String::from_utf8_lossy(user).into_owned())
}

const LONGEST_USER: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(uri: &str, place: CallerId, headers: &[&str]) -> Caller {
        let mut text = format!("INVITE {uri} SIP/2.0\r\n");
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        text.push_str("Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\nTo: <sip:b@x>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n");
        let message = sip_stack::message::Message::parse(text.into()).unwrap();
        let help = uri.contains(":112@");
        Caller::of(&message, Word { place, country: Some("GB"), vouches: true, help })
    }

    const CALLED: &str = "sip:+442079460001@x";
    const FROM: &str = "From: \"Ann\" <sip:02079460002@x>;tag=1";
    const PAI: &str = "P-Asserted-Identity: <sip:+442079460003@x>";

    fn shown(headers: &[&str]) -> String {
        caller(CALLED, CallerId::Asserted, headers).user().to_owned()
    }

    #[test]
    fn tr_020_the_asserted_number_is_shown_unless_that_is_not_wanted() {
        assert_eq!(shown(&[FROM]), "+442079460002");
        assert_eq!(shown(&[FROM, PAI]), "+442079460003");
        assert_eq!(caller(CALLED, CallerId::From, &[FROM, PAI]).user(), "+442079460002");
        for privacy in
            ["id", "user", "header", "critical", "Id;critical", "none;id", "session, USER"]
        {
            let privacy = format!("Privacy: {privacy}");
            let caller = caller(CALLED, CallerId::Asserted, &[FROM, PAI, &privacy]);
            assert_eq!(caller.shown(), None, "{privacy}");
            assert_eq!(caller.vouched(), Some("+442079460003"));
        }
        for privacy in ["none", "session", "history", ""] {
            assert_eq!(shown(&[FROM, PAI, &format!("Privacy: {privacy}")]), "+442079460003");
        }
    }

    /// RFC 3325 §5: what an untrusted peer says of itself is shown as it says, and vouched for to nobody.
    #[test]
    fn nobody_vouches_for_what_an_untrusted_peer_says() {
        let text = format!(
            "INVITE {CALLED} SIP/2.0\r\n{FROM}\r\n{PAI}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\nTo: <sip:b@x>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n"
        );
        let message = sip_stack::message::Message::parse(text.into()).unwrap();
        let place = CallerId::Asserted;
        for (vouches, vouched) in [(false, None), (true, Some("+442079460003"))] {
            let word = Word { place, country: None, vouches, help: false };
            let caller = Caller::of(&message, word);
            assert_eq!((caller.user(), caller.vouched()), ("+442079460003", vouched));
        }
        assert_eq!(Caller::asserted_in(&message, None).as_deref(), Some("+442079460003"));
    }

    #[test]
    fn who_calls_itself_anonymous_is_not_shown() {
        let from = "From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1";
        let caller = caller(CALLED, CallerId::Asserted, &[from, PAI]);
        assert_eq!(caller.shown(), None);
        assert_eq!(caller.vouched(), Some("+442079460003"));
    }

    #[test]
    fn who_calls_for_help_is_shown() {
        for (from, want) in [
            (FROM, "+442079460002"),
            ("From: <sip:anonymous@anonymous.invalid>;tag=1", "+442079460003"),
        ] {
            let caller = caller("sip:112@x", CallerId::From, &[from, PAI, "Privacy: id"]);
            assert_eq!(caller.user(), want);
        }
    }

    #[test]
    fn a_remote_party_is_the_caller_where_the_trunk_says_so() {
        let rpid = "Remote-Party-ID: \"Bob\" <sip:02079460005@x>;party=calling";
        let called = "Remote-Party-ID: <sip:02079460006@x>;party=called";
        let read = |place, more: &[&str]| {
            let headers: Vec<&str> = [&[FROM], more].concat();
            let caller = caller(CALLED, place, &headers);
            let vouched = caller.vouched().map(str::to_owned);
            (caller.user().to_owned(), vouched.unwrap_or_default())
        };
        let place = CallerId::RemotePartyId;
        let is = |shown: &str, vouched: &str| (shown.to_owned(), vouched.to_owned());
        let (from, bob) = ("+442079460002", "+442079460005");
        assert_eq!(read(place, &[rpid]), is(bob, ""));
        assert_eq!(read(place, &[called, &format!("{rpid};screen=yes;privacy=off")]), is(bob, bob));
        assert_eq!(
            read(place, &[&format!("{rpid};privacy=full;screen=yes")]),
            is("anonymous", bob)
        );
        assert_eq!(read(place, &[rpid, "Privacy: id"]), is("anonymous", ""));
        assert_eq!(read(place, &[called]), is(from, from));
        assert_eq!(read(place, &["Remote-Party-ID: nonsense, <sip:ann@x>"]), is(from, from));
        assert_eq!(read(place, &[PAI]), is("+442079460003", "+442079460003"));
        assert_eq!(read(CallerId::Asserted, &[rpid]), is(from, from));
    }

    #[test]
    fn of_several_asserted_identities_the_first_number_counts() {
        let both = "P-Asserted-Identity: \"A, B\" <sip:ann@x>, <tel:+44-20-7946-0004>";
        let caller = caller(CALLED, CallerId::Asserted, &[FROM, both]);
        assert_eq!(caller.shown(), Some(("+442079460004", Some("Ann"))));
        assert_eq!(shown(&[FROM, "P-Asserted-Identity: <sip:@x>, nonsense"]), "+442079460002");
    }

    #[test]
    fn names_and_nonsense_never_fail_a_call() {
        for (from, want) in [
            ("<sip:alice@x>", "alice"),
            ("<sip:5558@x>", "5558"),
            ("<sip:@x>", "anonymous"),
            ("<sip:a%0d%0aX@x>", "anonymous"),
        ] {
            assert_eq!(shown(&[&format!("From: {from};tag=1")]), want, "{from}");
        }
        let name = "From: \"A \\\"B\\\" \\\\ <sip:@>\" <sip:alice@x>;tag=1";
        let caller = caller(CALLED, CallerId::From, &[name]);
        assert_eq!(caller.shown(), Some(("alice", Some("A B  sip:"))));
    }
}
