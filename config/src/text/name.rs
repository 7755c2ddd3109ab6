//! Names: of hosts (RFC 1123 §2.1), of our own FQDNs, of things in the configuration.

use std::net::IpAddr;

use serde_json::{Value as Json, json};

use crate::read::{Bad, Text};

/// A host name, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostName(pub(crate) String);

/// A name of ours: a host name with a dot in it, of at most 63 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fqdn(pub(crate) String);

/// The first label of a tenant's FQDN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label(pub(crate) String);

/// The name of a node, tenant, trunk, edge, realm or media entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) String);

/// A host in a Request-URI: a name, or an address in any of its spellings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UriHost(pub(crate) String);

/// The longest name that Microsoft takes.
pub(crate) const LONGEST_FQDN: usize = 63;

impl Text for HostName {
    const WHAT: &'static str = "a host name";

    fn parse(text: &str) -> Result<Self, Bad> {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<IpAddr>().is_ok() {
            let message = format!("the IP address {text} stands where a host name must");
            return Err(Bad::new(message, "Write the name; its address comes from [dns] or DNS."));
        }
        if let Some((before, _)) = text.split_once(':') {
            let message = format!("\"{text}\" is more than a host name");
            return Err(Bad::new(
                message,
                format!("Write the name alone, without port or scheme, such as \"{before}\"."),
            ));
        }
        if let Some(bare) = text.strip_suffix('.') {
            return Err(Bad::new("the name ends in a dot", format!("Write \"{bare}\".")));
        }
        if text.len() > 253 {
            let message = format!("the name has {} characters", text.len());
            return Err(Bad::new(message, "A host name has at most 253."));
        }
        let labels = text.split('.').map(check_label).collect::<Result<Vec<_>, _>>()?;
        if labels.last().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
            let message = format!("\"{text}\" is neither a host name nor an IP address");
            return Err(Bad::new(message, "The last part of a host name is not a number."));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "format": "hostname" })
    }
}

impl Text for Fqdn {
    const WHAT: &'static str = "a fully qualified name";

    fn parse(text: &str) -> Result<Self, Bad> {
        let HostName(name) = HostName::parse(text)?;
        if let Some(bad) = fqdn_fault(&name) {
            return Err(bad);
        }
        Ok(Self(name))
    }

    fn schema() -> Json {
        json!({ "type": "string", "format": "hostname", "maxLength": LONGEST_FQDN })
    }
}

impl Text for Label {
    const WHAT: &'static str = "one label of a host name";

    fn parse(text: &str) -> Result<Self, Bad> {
        if text.contains('.') {
            return Err(Bad::new(
                format!("\"{text}\" has a dot in it"),
                "A label is one part, since a wildcard certificate covers one; give a full name as `fqdn`.",
            ));
        }
        check_label(text).map(|label| Self(label.to_ascii_lowercase()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$" })
    }
}

impl Text for Name {
    const WHAT: &'static str = "a name";

    fn parse(text: &str) -> Result<Self, Bad> {
        let allowed = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
        const HELP: &str = "A name has 1 to 64 letters, digits, `-`, `_` or `.`: it stands in logs, metrics and CDRs.";
        if text.is_empty() {
            return Err(Bad::new("the name is empty", HELP));
        }
        if text.len() > 64 {
            return Err(Bad::new(format!("the name has {} characters", text.len()), HELP));
        }
        match text.chars().find(|char| !allowed(*char)) {
            Some(char) => Err(Bad::new(format!("{char:?} cannot stand in a name"), HELP)),
            None => Ok(Self(text.to_owned())),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" })
    }
}

impl Text for UriHost {
    const WHAT: &'static str = "the host of a URI";

    fn parse(text: &str) -> Result<Self, Bad> {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(ip) => Ok(Self(ip.to_string())),
            Err(_) => HostName::parse(text).map(|HostName(name)| Self(name)),
        }
    }
}

/// What keeps a host name (in lower case) from being a name of ours.
pub(crate) fn fqdn_fault(name: &str) -> Option<Bad> {
    if !name.contains('.') {
        let message = format!("\"{name}\" is not fully qualified");
        return Some(Bad::new(message, "Write the whole name, e.g. \"sbc.example.com\"."));
    }
    if name.len() > LONGEST_FQDN {
        let message = format!("\"{name}\" has {} characters", name.len());
        return Some(Bad::new(message, "Microsoft takes names of at most 63 characters."));
    }
    if name == "onmicrosoft.com" || name.ends_with(".onmicrosoft.com") {
        let message = format!("\"{name}\" is a name under onmicrosoft.com");
        return Some(Bad::new(
            message,
            "Microsoft refuses these for an SBC: use a domain of your own that is verified in the tenant.",
        ));
    }
    None
}

/// One part of a host name.
fn check_label(label: &str) -> Result<&str, Bad> {
    const HELP: &str = "The parts of a host name have 1 to 63 letters, digits or hyphens, with no hyphen at either end.";
    let allowed = |char: char| char.is_ascii_alphanumeric() || char == '-';
    if label.is_empty() {
        return Err(Bad::new("a part of the name is empty", HELP));
    }
    if let Some(char) = label.chars().find(|char| !allowed(*char)) {
        return Err(Bad::new(format!("{char:?} cannot stand in a host name"), HELP));
    }
    if label.len() > 63 {
        return Err(Bad::new(format!("the part \"{label}\" has {} characters", label.len()), HELP));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(Bad::new(format!("the part \"{label}\" begins or ends with a hyphen"), HELP));
    }
    Ok(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_read_in_lower_case() {
        for (text, want) in [
            ("Sip.PstnHub.microsoft.com", "sip.pstnhub.microsoft.com"),
            ("a", "a"),
            ("1a.b-c", "1a.b-c"),
        ] {
            assert_eq!(HostName::parse(text), Ok(HostName(want.into())));
        }
        let long = format!("{}.test", "a".repeat(64));
        let longer = format!("{}test", "a.".repeat(125));
        for text in [
            "",
            ".",
            "a..b",
            ".a",
            "a.",
            "-a.test",
            "a-.test",
            "a_b.test",
            "*.test",
            "é.test",
            "a b",
            "127.0.0.1",
            "::1",
            "[::1]",
            "1.2.3.400",
            "12",
            "sip:a.test",
            "a.test:5061",
            &long,
            &longer,
        ] {
            assert!(HostName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn our_own_names_are_short_qualified_and_not_microsofts() {
        let ok = format!("{}.test", "a".repeat(58));
        assert!(Fqdn::parse(&ok).is_ok() && Fqdn::parse("sbc.test").is_ok());
        let long = format!("{}.test", "a".repeat(59));
        for text in ["sbc", "contoso.onmicrosoft.com", "ONMICROSOFT.com", &long] {
            assert!(Fqdn::parse(text).is_err(), "{text:?}");
        }
        assert!(Fqdn::parse("notonmicrosoft.com").is_ok());
    }

    #[test]
    fn other_names() {
        assert_eq!(Label::parse("T001"), Ok(Label("t001".into())));
        assert!(["", "a.b", "-", "a_b"].iter().all(|text| Label::parse(text).is_err()));
        assert!(Name::parse("carrier-a_1.x").is_ok());
        assert!(
            ["", "a b", "a/b", "\n", "ü", &"a".repeat(65)]
                .iter()
                .all(|text| Name::parse(text).is_err())
        );
        assert_eq!(UriHost::parse("[0:0::1]"), Ok(UriHost("::1".into())));
        assert_eq!(UriHost::parse("PBX.test"), Ok(UriHost("pbx.test".into())));
        assert!(UriHost::parse("pbx.test:5060").is_err());
    }
}
