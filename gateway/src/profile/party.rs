//! How the parties of a call are written for a peer: From, To, Request-URI, and by which header it is told who calls
//! (P-Asserted-Identity and P-Preferred-Identity of RFC 3325, Remote-Party-ID of draft-ietf-sip-privacy).
//!
//! Numbers are written as its dialect says. Every name-addr of somebody else that leaves the gateway is written here.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use config::{CallerIdOut, DisplayName};
use sip_stack::leg::Extra;
use sip_stack::message::HeaderId;

use super::caller::is_number;
use super::{Caller, Profile, escaped};
use crate::numbers::written;

impl Profile {
    /// The number of who calls, or has sent the call on, as this peer reads it.
    pub fn shown<'n>(&self, number: &'n str) -> Cow<'n, str> {
        let country = self.country.as_ref().map(config::Country::as_str);
        written(number, self.dialect.numbers_out, country)
    }

    /// The called number as this peer reads it.
    pub fn dialled<'n>(&self, called: &'n str) -> Cow<'n, str> {
        let prefix = &self.dialect.called_prefix_out;
        let public = config::Number::parse(called).is_some_and(|called| !called.is_private());
        let written = self.shown(called);
        if prefix.is_empty() || !(public && called.starts_with('+')) {
            return written;
        }
        format!("{prefix}{written}").into()
    }

    /// From value without tag, for a request in the name of `caller`, whose number is `shown` so.
    pub fn from(&self, caller: &Caller, shown: &str) -> Bytes {
        let host = &self.face.host;
        let Some((user, display)) = caller.shown() else {
            return format!("\"Anonymous\" <sip:anonymous@{host}>").into();
        };
        let mut value = self.display(display);
        let _ = write!(value, "<sip:{}@{host}{}>", escaped(shown), self.phone(user));
        value.into()
    }

    /// What it is told of who calls beside From: the number that is vouched for, and that nobody is to be shown it where
    /// the caller wants that (RFC 3325 §9.1). That much is told to a trusted peer alone.
    pub fn identity(&self, caller: &Caller) -> Vec<Extra> {
        let shown = caller.shown();
        if shown.is_none() && !self.trusted {
            return Vec::new();
        }
        let said = shown.map(|(user, _)| user).filter(|user| is_number(user));
        let vouched = caller.vouched();
        let usual = if self.trusted { CallerIdOut::Asserted } else { CallerIdOut::From };
        let (id, number) = match self.dialect.caller_id_out.unwrap_or(usual) {
            CallerIdOut::From => return Vec::new(),
            CallerIdOut::Asserted => (HeaderId::PAssertedIdentity, vouched),
            CallerIdOut::Preferred => (HeaderId::PPreferredIdentity, vouched),
            CallerIdOut::RemotePartyId => (HeaderId::RemotePartyId, vouched.or(said)),
        };
        let Some(number) = number else { return Vec::new() };
        let name =
            if id == HeaderId::RemotePartyId { shown.and_then(|(_, name)| name) } else { None };
        let mut value = self.display(name);
        let text = self.shown(number);
        let phone = self.phone(number);
        let _ = write!(value, "<sip:{}@{}{phone}>", escaped(&text), self.face.host);
        if id == HeaderId::RemotePartyId {
            let screened = if vouched.is_some() { "yes" } else { "no" };
            let privacy = if shown.is_some() { "off" } else { "full" };
            let _ = write!(value, ";party=calling;screen={screened};privacy={privacy}");
            return vec![(id, value.into())];
        }
        let privacy = shown.is_none().then(|| (HeaderId::Privacy, Bytes::from_static(b"id")));
        std::iter::once((id, value.into())).chain(privacy).collect()
    }

    /// To value without tag: the called number, as it is `dialled`, at `host`.
    pub fn to(&self, dialled: &str, host: &str) -> Bytes {
        let mark = if self.dialect.user_phone { ";user=phone" } else { "" };
        format!("<sip:{}@{host}{mark}>", escaped(dialled)).into()
    }

    /// The mark of a telephone number, where this peer wants it.
    pub(super) fn phone(&self, user: &str) -> &'static str {
        if self.dialect.user_phone && is_number(user) { ";user=phone" } else { "" }
    }

    fn display(&self, name: Option<&str>) -> String {
        match name.filter(|_| self.dialect.display_name == DisplayName::Pass) {
            Some(name) => format!("\"{name}\" "),
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use config::{Dialect, NumberForm};

    use super::*;

    fn profile(dialect: Dialect) -> Profile {
        let mut profile = Profile::of_nobody();
        profile.face.host = "t001.sbc.test".into();
        profile.country = config::Country::parse("GB");
        profile.dialect = Arc::new(dialect);
        profile
    }

    fn marked() -> Dialect {
        Dialect { user_phone: true, ..Dialect::default() }
    }

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn numbers_are_marked_and_text_is_not() {
        let shown =
            |caller: &Caller| text(&profile(marked()).from(caller, caller.user())).to_owned();
        let number = "\"Ann\" <sip:+442079460000@t001.sbc.test;user=phone>";
        assert_eq!(shown(&Caller::named("+442079460000")), number);
        assert_eq!(shown(&Caller::named("alice")), "\"Ann\" <sip:alice@t001.sbc.test>");
        let anonymous = "\"Anonymous\" <sip:anonymous@t001.sbc.test>";
        assert_eq!(shown(&Caller::default()), anonymous);
    }

    #[test]
    fn a_feature_code_is_escaped() {
        assert_eq!(&profile(marked()).to("*21#", "x")[..], b"<sip:*21%23@x;user=phone>");
    }

    #[test]
    fn names_end_here_where_the_peer_wants_none() {
        let dialect = Dialect { display_name: DisplayName::Drop, ..Dialect::default() };
        let ann = Caller::named("+442079460000");
        let from = profile(dialect).from(&ann, ann.user());
        assert_eq!(text(&from), "<sip:+442079460000@t001.sbc.test>");
    }

    #[test]
    fn a_prefix_stands_before_numbers_of_the_public_network_alone() {
        let dialect = Dialect {
            numbers_out: NumberForm::National,
            called_prefix_out: "99#".into(),
            ..Dialect::default()
        };
        let profile = profile(dialect);
        let dialled = profile.dialled("+442079460000");
        assert_eq!(text(&profile.to(&dialled, "x")), "<sip:99%2302079460000@x>");
        for called in ["112", "+1001", "1001", "*21", "+112"] {
            assert_eq!(profile.dialled(called), called);
        }
        assert_eq!(profile.shown("+442079460000"), "02079460000");
    }

    #[test]
    fn who_calls_is_told_in_the_peers_way() {
        let told = |out, trusted, caller: &Caller| {
            let mut profile = profile(Dialect { caller_id_out: Some(out), ..Dialect::default() });
            profile.trusted = trusted;
            let lines = profile.identity(caller);
            lines.iter().map(|(id, v)| format!("{}: {}", id.name(), text(v))).collect::<Vec<_>>()
        };
        let ann = Caller::vouched_for(Some(("+442079460000", "Ann")), Some("+442079460009"));
        let hidden = Caller::vouched_for(None, Some("+442079460009"));
        let stranger = Caller::named("+442079460000");
        let uri = "<sip:+442079460009@t001.sbc.test>";
        for trusted in [false, true] {
            assert_eq!(told(CallerIdOut::From, trusted, &ann), [""; 0]);
            for (out, name) in [
                (CallerIdOut::Asserted, "P-Asserted-Identity"),
                (CallerIdOut::Preferred, "P-Preferred-Identity"),
            ] {
                assert_eq!(told(out, trusted, &ann), [format!("{name}: {uri}")]);
                assert_eq!(told(out, trusted, &stranger), [""; 0], "nobody vouches for it");
                let want = [format!("{name}: {uri}"), "Privacy: id".to_owned()];
                assert_eq!(told(out, trusted, &hidden), if trusted { &want[..] } else { &[] });
            }
            let rpid = CallerIdOut::RemotePartyId;
            let of = |name: &str, number: &str, screen: &str, privacy: &str| {
                [format!(
                    "Remote-Party-ID: {name}<sip:{number}@t001.sbc.test>;party=calling;screen={screen};privacy={privacy}"
                )]
            };
            let want = of("\"Ann\" ", "+442079460009", "yes", "off");
            assert_eq!(told(rpid, trusted, &ann), want);
            let want = of("\"Ann\" ", "+442079460000", "no", "off");
            assert_eq!(told(rpid, trusted, &stranger), want);
            let want = of("", "+442079460009", "yes", "full");
            assert_eq!(told(rpid, trusted, &hidden), if trusted { &want[..] } else { &[] });
        }
    }
}
