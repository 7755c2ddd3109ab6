//! `emergency_webhook`: a URL that can be posted to, and that is kept like a password.

use crate::fault::{Draft, Findings};
use crate::model::Secret;
use crate::read::Text;
use crate::resolve::access::secret;
use crate::section::access::RawSecret;
use crate::source::At;
use crate::surroundings::Surroundings;
use crate::text::name::UriHost;

/// The URL; `None` where a fault was noted.
pub(crate) fn resolve(
    raw: &At<RawSecret>,
    around: &Surroundings,
    out: &mut Findings,
) -> Option<Secret> {
    let secret = secret(&raw.value, "URL", raw.span, around, out)?;
    if !is_url(secret.reveal()) {
        let message = "`emergency_webhook`: this is no URL that can be posted to";
        let help = "Write one such as \"https://hooks.example.com/help\", with http or https.";
        out.fault(Draft::new(message, help).at(raw.span, "no URL"));
        return None;
    }
    Some(secret)
}

/// The scheme, a host with or without a port, and whatever path, in ASCII without spaces (RFC 3986).
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest.filter(|_| text.bytes().all(|byte| byte.is_ascii_graphic())) else {
        return false;
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    };
    port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
        && <UriHost as Text>::parse(host).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_web_servers_and_nothing_else() {
        for good in [
            "https://hooks.example.com/help",
            "http://127.0.0.1:8080",
            "http://[::1]:8080/a?b=c",
            "https://a.example?token=1",
        ] {
            assert!(is_url(good), "{good}");
        }
        for bad in [
            "hooks.example.com",
            "ftp://a.example/",
            "https://",
            "https:///path",
            "https://a.example:0/",
            "https://a.example:http/",
            "https://a b.example/",
            "https://ä.example/",
        ] {
            assert!(!is_url(bad), "{bad}");
        }
    }
}
