//! Whom an INVITE asks for: in which header, and as which telephone number (RFC 3966, RFC 4694).
//!
//! A local number with a global context (`phone-context=+44`) is that of the context; a number that is global already
//! stays, whatever context stands beside it. The routing number of a ported one (`rn`) is nobody's: the number itself is
//! the called one. A call for help is known by the Request-URI alone, and stays one.

use config::{CalledFrom, Dialect};
use sip_stack::message::{HeaderId, Message, NameAddr, Params};
use sip_stack::uri::{Scheme, Uri};

use crate::emergency::calls_for_help;
use crate::numbers::Number;

/// The called number of an INVITE, and the user part in which it was found, as received. Where the Request-URI is our own
/// contact, the one that we registered with, it names nobody, and To does (RFC 3261 §10.2, SIPconnect 2.0 §14).
pub fn called<'m>(
    message: &'m Message,
    dialect: &Dialect,
    country: Option<&str>,
    contact: Option<&str>,
) -> Option<(Number, &'m [u8])> {
    let read = |uri: &'m [u8]| {
        let uri = Uri::parse(uri).ok()?;
        let number = number(&uri, &dialect.called_prefix_in, country)?;
        Some((number, uri.user()?))
    };
    if calls_for_help(message.uri(), country, None) {
        // As it was dialled: no prefix and no context make another number of it.
        let user = Uri::parse(message.uri()).ok()?.user()?;
        return Some((Number::read(user, country)?, user));
    }
    let address = |id| {
        let first = message.elements(id).next()?;
        Some(NameAddr::parse(first).ok()?.uri)
    };
    let to = || Some(NameAddr::parse(message.value(HeaderId::To)?).ok()?.uri);
    let asked = Uri::parse(message.uri()).ok().and_then(|uri| uri.user().map(<[u8]>::to_vec));
    let ours = contact.is_some_and(|contact| asked.as_deref() == Some(contact.as_bytes()));
    let mut places = dialect.called_from.iter();
    let found = places.find_map(|place| {
        read(match place {
            CalledFrom::RequestUri if ours => to()?,
            CalledFrom::RequestUri => message.uri(),
            CalledFrom::To => to()?,
            CalledFrom::CalledPartyId => address(HeaderId::PCalledPartyId)?,
            CalledFrom::Diversion => address(HeaderId::Diversion)?,
        })
    });
    found.or_else(|| ours.then(|| read(message.uri())).flatten())
}

/// A parameter of a telephone number: of the user part in a sip: URI (RFC 3261 §19.1.6), of the URI in a tel: one.
pub fn phone_param<'u>(uri: &Uri<'u>, name: &str) -> Option<&'u [u8]> {
    match uri.scheme() {
        Scheme::Tel => uri.param(name).flatten(),
        Scheme::Sip | Scheme::Sips => {
            let user = uri.user()?;
            let start = user.iter().position(|byte| *byte == b';')?;
            Params::new(&user[start..]).find(name).flatten()
        }
        Scheme::Other => None,
    }
}

/// The number that a URI names; digits of `prefix` before it are no part of it.
pub fn number(uri: &Uri<'_>, prefix: &str, country: Option<&str>) -> Option<Number> {
    let user = uri.user()?;
    let plain = prefixed(user, prefix).unwrap_or(user);
    let context = phone_param(uri, "phone-context").and_then(Number::context);
    match context {
        Some(context) => Number::read_within(plain, &context, country),
        None => Number::read(plain, country),
    }
}

/// What is left of a user part that begins with a prefix, a "#" of which may be escaped.
fn prefixed<'u>(user: &'u [u8], prefix: &str) -> Option<&'u [u8]> {
    if prefix.is_empty() {
        return None;
    }
    let plain = user.strip_prefix(prefix.as_bytes());
    plain.or_else(|| user.strip_prefix(super::escaped(prefix).as_bytes())).filter(|r| !r.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str, more: &str, dialect: &Dialect) -> Option<String> {
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
             From: <sip:a@x>;tag=1\r\nTo: <sip:+442079460007@x>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
             {more}\r\n"
        );
        let message = Message::parse(text.into()).unwrap();
        called(&message, dialect, Some("GB"), Some("trunk-7"))
            .map(|(number, _)| number.as_str().to_owned())
    }

    fn plain(uri: &str) -> Option<String> {
        read(uri, "", &Dialect::default())
    }

    #[test]
    fn at_06_every_form_of_a_number_is_the_number_that_it_means() {
        for (uri, want) in [
            ("tel:+44-20-7946-0001", "+442079460001"),
            ("tel:02079460001;phone-context=+44", "+442079460001"),
            ("tel:2079460001;phone-context=+44", "+442079460001"),
            ("tel:7946-0001;phone-context=+44-20", "+442079460001"),
            ("tel:79460001;phone-context=+4420;isub=1", "+442079460001"),
            ("sip:79460001;phone-context=+4420@x;user=phone", "+442079460001"),
            ("sip:2025550143;phone-context=+1@x", "+12025550143"),
            // Of no numbering plan that is known here, and still of that country.
            ("sip:5550010001;phone-context=+1@x", "+15550010001"),
            ("sip:15550010001;phone-context=+1@x", "+15550010001"),
            ("sip:011442079460001;phone-context=+1@x", "+442079460001"),
            ("sip:02079460001;phone-context=carrier.test@x", "+442079460001"),
            // A global number is what it is.
            ("sip:+19005550143;phone-context=+44@x", "+19005550143"),
            ("sip:0019005550143;phone-context=+44@x", "+19005550143"),
            ("sip:%2B19005550143;phone-context=+4420@x", "+19005550143"),
            // RFC 4694: ported, with the number of the switch that has it now.
            ("sip:+442079460001;npdi;rn=+442079460099@x", "+442079460001"),
            ("tel:+442079460001;npdi;rn=0999;rn-context=+44", "+442079460001"),
            ("sip:+442079460001;tgrp=t1;trunk-context=x@x", "+442079460001"),
            // Short ones stay short.
            ("sip:1001;phone-context=+44@x", "1001"),
            ("tel:112;phone-context=+44", "112"),
            ("tel:116117;phone-context=+49", "116117"),
            ("sip:*21%23;phone-context=+44@x", "*21#"),
        ] {
            assert_eq!(plain(uri).as_deref(), Some(want), "{uri}");
        }
        let forty = "1".repeat(40);
        for uri in [
            &*format!("sip:{forty}@x"),
            &*format!("sip:{forty};phone-context=+44@x"),
            "sip:%D9%A1%D9%A2%D9%A3@x",
            "sip:alice@x",
            "sip:x",
            "tel:1234567890;phone-context=+44207946000",
        ] {
            assert_eq!(plain(uri), None, "{uri}");
        }
    }

    #[test]
    fn the_first_place_with_a_number_counts() {
        use CalledFrom::{CalledPartyId, Diversion, RequestUri, To};
        let pilot = "sip:+442079460000@x";
        let more = "P-Called-Party-ID: <tel:+442079460008>\r\n\
                    Diversion: <sip:02079460009@x>;reason=user-busy,<sip:+442079460005@x>\r\n";
        for (from, more, want) in [
            (vec![RequestUri], more, "+442079460000"),
            (vec![To, RequestUri], more, "+442079460007"),
            (vec![CalledPartyId, RequestUri], more, "+442079460008"),
            (vec![Diversion, To], more, "+442079460009"),
            (vec![CalledPartyId, Diversion, RequestUri], "", "+442079460000"),
            (vec![CalledPartyId, To], "P-Called-Party-ID: <sip:ann@x>\r\n", "+442079460007"),
        ] {
            let dialect = Dialect { called_from: from, ..Dialect::default() };
            assert_eq!(read(pilot, more, &dialect).as_deref(), Some(want), "{dialect:?}");
            for help in ["sip:112@x", "sip:112;phone-context=+8821612345@x"] {
                let dialect = Dialect { called_prefix_in: "1".into(), ..dialect.clone() };
                assert_eq!(read(help, more, &dialect).as_deref(), Some("112"));
            }
            // Where we registered as that, it names nobody.
            let registered = read("sip:trunk-7@x", more, &dialect);
            let want = if dialect.called_from == [RequestUri] { "+442079460007" } else { want };
            assert_eq!(registered.as_deref(), Some(want.replace("0000", "0007").as_str()));
        }
        let dialect = Dialect { called_from: vec![CalledPartyId], ..Dialect::default() };
        assert_eq!(read(pilot, "", &dialect), None);
    }

    #[test]
    fn a_prefix_is_taken_off_once() {
        let dialect = Dialect { called_prefix_in: "99#".into(), ..Dialect::default() };
        for uri in ["sip:99%2302079460001@x", "sip:02079460001@x", "sip:99%23+442079460001@x"] {
            assert_eq!(read(uri, "", &dialect).as_deref(), Some("+442079460001"), "{uri}");
        }
        assert_eq!(read("sip:99%23@x", "", &dialect).as_deref(), Some("99#"));
    }
}
