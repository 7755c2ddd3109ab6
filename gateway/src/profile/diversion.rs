//! Who has sent a call on before it came here: History-Info (RFC 7044) and Diversion (RFC 5806), each read and written,
//! mapped by RFC 7544; where neither is there, the number in Referred-By (RFC 3892).
//!
//! Only numbers of the public network pass, and only those that whoever tells of them may tell of. A number that is to be
//! shown to nobody, or that diverted a call whose caller is not to be shown, is told to trusted trunks alone. No other part
//! of these headers is passed on. Too many diversions are a loop: a call that is sent round comes back with one more.

use std::fmt::Write as _;

use bytes::Bytes;
use config::Diversion;
use sip_stack::leg::Extra;
use sip_stack::message::{HeaderId, Message, NameAddr, Params, unquote};
use sip_stack::uri::{Uri, unescape};

use super::caller::{asks_for, wants_privacy};
use super::{Profile, escaped};
use crate::numbers::Number;

/// The diversions of a call, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diversions {
    hops: Vec<Diverted>,
    /// How many there were, also those of which nothing is known.
    count: u32,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Diverted {
    number: Option<Number>,
    /// In the words of RFC 5806.
    reason: &'static str,
    private: bool,
    /// How many diversions it stands for.
    times: u32,
}

impl Diversions {
    /// Reads those of an INVITE. What is to be shown to nobody is kept only from peers whose word is passed on.
    pub fn of(message: &Message, country: Option<&str>, vouches: bool) -> Self {
        let (history, listed) = (history(message, country), diversions(message, country));
        let sum =
            |hops: &[Diverted]| hops.iter().fold(0, |sum: u32, hop| sum.saturating_add(hop.times));
        let count = sum(&history).max(sum(&listed));
        let mut hops = if history.is_empty() { listed } else { history };
        if hops.is_empty() {
            hops.extend(referrer(message, country));
        }
        let count = count.max(sum(&hops));
        let private = wants_privacy(message) || asks_for(message, &["history", "session"]);
        hops.iter_mut().for_each(|hop| hop.private |= private);
        hops.retain(|hop| hop.number.is_some() && (vouches || !hop.private));
        hops.drain(..hops.len().saturating_sub(MOST_KEPT));
        Self { hops, count }
    }

    /// The same with the numbers of which `fine` is true.
    #[must_use]
    pub fn known(mut self, fine: impl Fn(&Number) -> bool) -> Self {
        self.hops.retain(|hop| hop.number.as_ref().is_some_and(&fine));
        self
    }

    /// Whether there are so many that the call must be going round in circles.
    pub const fn is_loop(&self) -> bool {
        self.count >= LOOP
    }

    /// Whether one of those who diverted has such a number.
    pub fn any(&self, fine: impl Fn(&str) -> bool) -> bool {
        self.hops.iter().any(|hop| hop.number.as_ref().is_some_and(|number| fine(number.as_str())))
    }

    /// The number that diverted last.
    pub fn last(&self) -> Option<&str> {
        Some(self.hops.last()?.number.as_ref()?.as_str())
    }

    /// The headers that tell a peer of them; `called` is whom they have led to.
    pub fn headers(&self, called: &str, profile: &Profile) -> Vec<Extra> {
        let shown = |hop: &&Diverted| profile.trusted || !hop.private;
        let hops: Vec<&Diverted> = self.hops.iter().filter(shown).collect();
        if hops.is_empty() {
            return Vec::new();
        }
        match profile.diversion {
            Diversion::None => Vec::new(),
            Diversion::Diversion => self.as_diversion(&hops, profile),
            Diversion::HistoryInfo => as_history(&hops, called, profile),
        }
    }

    /// RFC 5806 §3: the latest first, and how many each stands for.
    fn as_diversion(&self, hops: &[&Diverted], profile: &Profile) -> Vec<Extra> {
        let untold = self.count.saturating_sub(u32::try_from(hops.len()).unwrap_or(u32::MAX));
        let mut lines: Vec<Extra> = Vec::new();
        for (at, hop) in hops.iter().enumerate().rev() {
            let mut line = format!("<{}>;reason={}", uri(hop.number(), profile), hop.reason);
            line.push_str(if hop.private { ";privacy=full" } else { ";privacy=off" });
            let times = if at == 0 { 1 + untold } else { 1 };
            let _ = write!(line, ";counter={times}");
            lines.push((HeaderId::Diversion, line.into()));
        }
        lines
    }
}

impl Diverted {
    fn number(&self) -> &str {
        self.number.as_ref().map_or("anonymous", Number::as_str)
    }
}

/// RFC 7044 §9: each that was called, the oldest first, and the one who is called now. The reason stands with the number
/// that diverted (Reason), and with the one that was called instead (`cause`, RFC 4458): some read the one, some the other.
fn as_history(hops: &[&Diverted], called: &str, profile: &Profile) -> Vec<Extra> {
    let mut lines: Vec<Extra> = Vec::new();
    let mut index = String::from("1");
    let mut came: Option<u16> = None;
    let targets = hops.iter().map(|hop| (hop.number(), Some(*hop)));
    for (number, hop) in targets.chain([(called, None)]) {
        let mut line = format!("<{}", uri(number, profile));
        if let Some(cause) = came {
            let _ = write!(line, ";cause={cause}");
        }
        if let Some(hop) = hop {
            let privacy = if hop.private { "Privacy=history&" } else { "" };
            let _ = write!(line, "?{privacy}Reason=SIP%3Bcause%3D{}", cause_of(hop.reason));
        }
        let _ = write!(line, ">;index={index}");
        if came.is_some() {
            let _ = write!(line, ";mp={}", &index[..index.len() - 2]);
        }
        came = hop.map(|hop| cause_of(hop.reason));
        index.push_str(".1");
        lines.push((HeaderId::HistoryInfo, Bytes::from(line)));
    }
    lines
}

fn uri(number: &str, profile: &Profile) -> String {
    let (shown, phone) = (profile.shown(number), profile.phone(number));
    format!("sip:{}@{}{phone}", escaped(&shown), profile.face.host)
}

/// The entries of History-Info that were diverted, which is told by a Reason of their own, or by `cause` or `mp` of the one
/// that came after.
fn history(message: &Message, country: Option<&str>) -> Vec<Diverted> {
    let entries = message.elements(HeaderId::HistoryInfo).take(MOST_READ);
    let entries: Vec<_> = entries.map(|entry| NameAddr::parse(entry).ok()).collect();
    let uri = |at: usize| entries.get(at).copied().flatten().and_then(|it| Uri::parse(it.uri).ok());
    let mut found = Vec::new();
    for at in 0..entries.len() {
        let own = uri(at);
        let next = uri(at + 1);
        let led = next.as_ref().and_then(|next| number_of(next.param("cause")??));
        let reason = own.as_ref().and_then(|own| sip_cause(own.header("Reason")?));
        let mapped =
            entries.get(at + 1).copied().flatten().is_some_and(|it| it.param("mp").is_some());
        let Some(cause) = led.or(reason).or(mapped.then_some(UNKNOWN)) else { continue };
        let privacy = own.as_ref().and_then(|own| own.header("Privacy"));
        found.push(Diverted {
            number: own.as_ref().and_then(|own| public(own, country)),
            reason: reason_of(cause),
            private: privacy.is_some_and(|it| !it.eq_ignore_ascii_case(b"none")),
            times: 1,
        });
    }
    found
}

/// The entries of Diversion, the oldest first.
fn diversions(message: &Message, country: Option<&str>) -> Vec<Diverted> {
    let entries = message.elements(HeaderId::Diversion).take(MOST_READ);
    let read = |entry: &[u8]| {
        let address = NameAddr::parse(entry).ok();
        let param = |name| address.as_ref().and_then(|it| it.param(name).flatten());
        let word = unquote(param("reason").unwrap_or_default());
        let known = REASONS.iter().find(|(known, _)| word.eq_ignore_ascii_case(known.as_bytes()));
        let uri = address.as_ref().and_then(|it| Uri::parse(it.uri).ok());
        let open = |it: &[u8]| it.eq_ignore_ascii_case(b"off") || it.eq_ignore_ascii_case(b"none");
        Diverted {
            number: uri.and_then(|uri| public(&uri, country)),
            reason: known.map_or(reason_of(UNKNOWN), |(word, _)| word),
            private: param("privacy").is_some_and(|it| !open(it)),
            times: param("counter").and_then(number_of).map_or(1, |it| u32::from(it).max(1)),
        }
    };
    let mut found: Vec<Diverted> = entries.map(read).collect();
    found.reverse();
    found
}

/// Who has transferred the call, if that is a number.
fn referrer(message: &Message, country: Option<&str>) -> Option<Diverted> {
    let address = NameAddr::parse(message.value(HeaderId::ReferredBy)?).ok()?;
    let number = public(&Uri::parse(address.uri).ok()?, country)?;
    Some(Diverted { number: Some(number), reason: reason_of(UNKNOWN), private: false, times: 1 })
}

fn public(uri: &Uri<'_>, country: Option<&str>) -> Option<Number> {
    Number::read(uri.user()?, country).filter(Number::is_public)
}

/// The cause of an escaped Reason that speaks of SIP.
fn sip_cause(escaped: &[u8]) -> Option<u16> {
    let mut reason = unescape(escaped).into_owned();
    reason.retain(|byte| *byte != b'\\');
    let protocol = reason.split(|byte| *byte == b';').next()?.trim_ascii();
    if !protocol.eq_ignore_ascii_case(b"SIP") {
        return None;
    }
    number_of(Params::new(&reason).find("cause")??)
}

/// A number of at most five digits; more are the largest.
fn number_of(digits: &[u8]) -> Option<u16> {
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| all)?;
    Some(text.parse().unwrap_or(u16::MAX))
}

fn reason_of(cause: u16) -> &'static str {
    REASONS.iter().find(|(_, known)| *known == cause).map_or(REASONS[0].0, |(word, _)| word)
}

fn cause_of(reason: &str) -> u16 {
    REASONS.iter().find(|(known, _)| *known == reason).map_or(UNKNOWN, |(_, cause)| *cause)
}

/// RFC 5806 §3 and RFC 4458 §2, brought together by RFC 7544 §7: what has no cause of its own is unknown there.
const REASONS: [(&str, u16); 12] = [
    ("unknown", UNKNOWN),
    ("unconditional", 302),
    ("user-busy", 486),
    ("no-answer", 408),
    ("deflection", 480),
    ("deflection", 487),
    ("unavailable", 503),
    ("do-not-disturb", UNKNOWN),
    ("time-of-day", UNKNOWN),
    ("follow-me", UNKNOWN),
    ("out-of-service", UNKNOWN),
    ("away", UNKNOWN),
];
const UNKNOWN: u16 = 404;
/// A call that was diverted so often is going round in circles: phone systems stop at about that many themselves.
const LOOP: u32 = 5;
/// More are a loop, but for calls for help.
const MOST_KEPT: usize = 4;
/// Entries of a header that are looked at.
const MOST_READ: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(headers: &str) -> Diversions {
        let text = format!(
            "INVITE sip:+442079460001@x SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
             From: <sip:+442071234567@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
             {headers}\r\n\r\n"
        );
        Diversions::of(&Message::parse(text.into()).unwrap(), Some("GB"), true)
    }

    fn seen(headers: &str) -> Vec<(String, &'static str, bool)> {
        let hops = told(headers).hops;
        hops.iter().map(|hop| (hop.number().to_owned(), hop.reason, hop.private)).collect()
    }

    fn one(reason: &'static str) -> Vec<(String, &'static str, bool)> {
        vec![("+442079460009".to_owned(), reason, false)]
    }

    #[test]
    fn tr_069_each_way_of_telling_a_diversion_is_read() {
        let number = "sip:+442079460009@x";
        for (header, reason) in [
            (
                format!(
                    "HISTORY-INFO: <{number}?Reason=SIP%3Bcause%3D302%3Btext%3D%22Moved%22>;index=1,<sip:b@x>;index=1.1"
                ),
                "unconditional",
            ),
            (format!("History-Info: <{number}?reason=sip;cause=486>;index=1"), "user-busy"),
            (format!("History-Info: <{number}?Reason=SIP%3B\\cause%3D408>;index=1"), "no-answer"),
            (
                format!(
                    "History-Info: <{number}>;index=1\r\nHistory-Info: <sip:b@x;cause=503>;index=1.1;mp=1"
                ),
                "unavailable",
            ),
            (format!("History-Info: <{number}>;index=1,<sip:b@x>;index=1.1;mp=1"), "unknown"),
            (
                format!("History-Info: <{number};cause=302?Reason=SIP%3Bcause%3D487>;index=1"),
                "deflection",
            ),
            (format!("Diversion: <{number}>;reason=No-Answer;screen=no;privacy=off"), "no-answer"),
            ("Diversion: <tel:02079460009>;reason=\"user-busy\"".to_owned(), "user-busy"),
            (format!("Diversion: {number};reason=do-not-disturb"), "do-not-disturb"),
            (format!("Referred-By: <{number};user=phone;x-tt=aBc>"), "unknown"),
        ] {
            assert_eq!(seen(&header), one(reason), "{header}");
            assert_eq!(told(&header).count, 1, "{header}");
        }
        for header in [
            "History-Info: <sip:+442079460009@x>;index=1",
            "History-Info: <sip:+442079460009@x>;index=1,<sip:phone@192.0.2.1>;index=1.1;rc=1",
            "History-Info: <sip:+442079460009@x?Reason=Q.850%3Bcause%3D17>;index=1",
            "History-Info: ,,<>,<sip:>,\"",
            "Referred-By: <sip:sip.teams.test:5061;x-m=8:orgid:1;x-tt=aBc>",
            "Referred-By: <sip:1001@x>",
        ] {
            assert_eq!(told(header), Diversions::default(), "{header}");
        }
    }

    #[test]
    fn tr_069_the_oldest_comes_first_whichever_header_told() {
        let want = ["+442079460008", "+442079460009"];
        for header in [
            "Diversion: <sip:+442079460009@x>;reason=user-busy,<sip:+442079460008@x>;reason=no-answer",
            "History-Info: <sip:+442079460008@x>;index=1,<sip:+442079460009@x;cause=408>;index=1.1,<sip:+442079460001@x;cause=486>;index=1.1.1",
        ] {
            let numbers: Vec<String> =
                seen(header).into_iter().map(|(number, ..)| number).collect();
            assert_eq!(numbers, want, "{header}");
            assert_eq!(told(header).last(), Some("+442079460009"));
        }
    }

    #[test]
    fn tr_069_five_diversions_are_a_loop_however_they_are_told() {
        let many =
            |n: usize| vec!["<sip:+442079460009@x?Reason=SIP%3Bcause%3D302>;index=1"; n].join(",");
        for (header, is_loop) in [
            (format!("History-Info: {}", many(4)), false),
            (format!("History-Info: {}", many(5)), true),
            (format!("History-Info: {}", many(200)), true),
            ("Diversion: <sip:a@x>;counter=4".to_owned(), false),
            ("Diversion: <sip:a@x>;counter=3,<sip:b@x>;counter=2".to_owned(), true),
            ("Diversion: <sip:a@x>;counter=99999999999999999999".to_owned(), true),
            (format!("History-Info: {}\r\nDiversion: <sip:a@x>;counter=5", many(1)), true),
            ("Diversion: <sip:a@x>;counter=-5".to_owned(), false),
        ] {
            let found = told(&header);
            assert_eq!(found.is_loop(), is_loop, "{header}");
            assert!(found.hops.len() <= MOST_KEPT, "{header}");
        }
    }

    #[test]
    fn tr_069_privacy_of_the_entry_or_of_the_caller_makes_it_private() {
        let plain = "Diversion: <sip:+442079460009@x>;reason=user-busy";
        for (header, private) in [
            (plain.to_owned(), false),
            (format!("{plain};privacy=off"), false),
            (format!("{plain};privacy=full"), true),
            (format!("{plain}\r\nPrivacy: id"), true),
            (format!("{plain}\r\nPrivacy: history"), true),
            (format!("{plain}\r\nPrivacy: none"), false),
            ("History-Info: <sip:+442079460009@x?Privacy=history&Reason=SIP%3Bcause%3D486>;index=1".to_owned(), true),
        ] {
            assert_eq!(seen(&header)[0].2, private, "{header}");
        }
    }

    #[test]
    fn every_reason_comes_back_as_it_was_if_the_other_form_knows_it() {
        for (word, cause) in REASONS {
            assert_eq!(cause_of(word), if cause == 487 { 480 } else { cause });
            assert_eq!(reason_of(cause), if cause == UNKNOWN { "unknown" } else { word });
        }
    }

    const PIECES: [&str; 22] = [
        "<sip:+442079460009@x",
        "<sip:a%0d%0aX:b@x",
        "<tel:+1",
        ">",
        "<",
        ";cause=",
        "302",
        "?Reason=SIP%3Bcause%3D",
        "486",
        ";index=1",
        ",",
        "\"",
        ";counter=",
        "4294967295",
        "?Privacy=history",
        "&",
        ";privacy=full",
        ";mp=1",
        " ",
        ";reason=",
        "user-busy",
        "\\",
    ];

    proptest::proptest! {
        #[test]
        fn tr_069_whatever_is_told_what_goes_out_is_short_and_in_our_words(
            pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..40),
            more in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..20),
        ) {
            let (told_first, told_then) = (pieces.concat(), more.concat());
            let found = told(&format!(
                "History-Info: {told_first}\r\nDiversion: {told_then}\r\nReferred-By: {told_then}"
            ));
            for diversion in [Diversion::Diversion, Diversion::HistoryInfo, Diversion::None] {
                let profile = Profile { diversion, trusted: true, ..Profile::of_nobody() };
                let lines = found.headers("+442079460001", &profile);
                proptest::prop_assert!(lines.len() <= MOST_KEPT + 1);
                for (_, line) in lines {
                    let fine = |b: &u8| b.is_ascii_alphanumeric() || b"<>:;=+@?%&.-".contains(b);
                    proptest::prop_assert!(line.len() < 150 && line.iter().all(fine), "{line:?}");
                }
            }
        }
    }
}
