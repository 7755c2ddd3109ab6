//! Attributes and addresses: the small grammars inside `a=` and `c=` lines.

use std::net::IpAddr;

use bytes::Bytes;

use super::Line;

/// The direction of a stream, as its describer sees it (RFC 8866 §6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Sends and receives; the default.
    SendRecv,
    /// Only sends.
    SendOnly,
    /// Only receives.
    RecvOnly,
    /// Neither; RTCP goes on.
    Inactive,
}

impl Direction {
    /// The attribute's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The same stream seen from the other end.
    pub const fn reversed(self) -> Self {
        match self {
            Self::SendRecv => Self::SendRecv,
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            Self::Inactive => Self::Inactive,
        }
    }

    /// Whether the describer sends.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the describer receives.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The direction with this sending and receiving.
    pub const fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    pub(super) const ALL: [Self; 4] =
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive];
}

/// A payload type's encoding (RFC 8866 §6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpMap<'a> {
    /// The encoding name; compare ignoring case.
    pub name: &'a str,
    /// The RTP clock rate in Hz.
    pub clock: u32,
    /// Audio channels; 1 when not stated.
    pub channels: u8,
}

impl<'a> RtpMap<'a> {
    /// Reads `name/clock[/channels]`.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.trim().split('/');
        let name = parts.next().filter(|name| !name.is_empty())?;
        let clock = parts.next()?.parse().ok().filter(|&clock| clock > 0)?;
        let channels = parts.next().map_or(Ok(1), str::parse).ok()?;
        Some(Self { name, clock, channels })
    }

    /// Whether both name the same encoding at the same rate (RFC 3264 §5.1: names ignore case).
    pub fn is_same(&self, other: &RtpMap<'_>) -> bool {
        self.name.eq_ignore_ascii_case(other.name)
            && self.clock == other.clock
            && self.channels == other.channels
    }
}

/// The values of all attributes of that name; empty for flags. Names are case-sensitive.
pub(super) fn all<'a>(lines: &'a [Line], name: &str) -> impl Iterator<Item = &'a [u8]> {
    lines.iter().filter_map(move |line| value(line, name))
}

fn value<'a>(line: &'a Line, name: &str) -> Option<&'a [u8]> {
    if line.kind != b'a' {
        return None;
    }
    match line.value.strip_prefix(name.as_bytes())? {
        [] => Some(&[]),
        [b':', value @ ..] => Some(value.trim_ascii()),
        [b' ' | b'\t', rest @ ..] if rest.trim_ascii().is_empty() => Some(&[]),
        _ => None,
    }
}

pub(super) fn remove(lines: &mut Vec<Line>, name: &str) {
    lines.retain(|line| value(line, name).is_none());
}

pub(super) fn line(name: &str, value: &[u8]) -> Line {
    let text = if value.is_empty() {
        Bytes::copy_from_slice(name.as_bytes())
    } else {
        Bytes::from([name.as_bytes(), b":", value].concat())
    };
    Line { kind: b'a', value: text }
}

pub(super) fn direction(lines: &[Line]) -> Option<Direction> {
    lines.iter().find_map(|line| {
        Direction::ALL.into_iter().find(|direction| value(line, direction.name()).is_some())
    })
}

/// Whether a line holds key material (RFC 4568, RFC 4567).
pub(super) fn holds_key(line: &Line) -> bool {
    value(line, "crypto").is_some() || value(line, "key-mgmt").is_some()
}

/// `IN IP4 192.0.2.1`
pub(super) fn connection_value(address: IpAddr) -> String {
    let family = if address.is_ipv6() { "IP6" } else { "IP4" };
    format!("IN {family} {address}")
}

/// Whether a `c=` value has the shape `IN IP4|IP6 address`.
pub(super) fn is_connection(value: &[u8]) -> bool {
    words(value).is_some_and(|[net, family, address]| {
        net.eq_ignore_ascii_case("IN")
            && (family.eq_ignore_ascii_case("IP4") || family.eq_ignore_ascii_case("IP6"))
            && !address.is_empty()
    })
}

/// The address of a `c=` value, where it is an IP address; a multicast TTL is dropped.
pub(super) fn address(value: &[u8]) -> Option<IpAddr> {
    let [_, _, address] = words(value)?;
    address.split('/').next()?.parse().ok()
}

fn words(value: &[u8]) -> Option<[&str; 3]> {
    let mut words = std::str::from_utf8(value).ok()?.split_ascii_whitespace();
    let found = [words.next()?, words.next()?, words.next()?];
    words.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions() {
        for direction in Direction::ALL {
            assert_eq!(direction.reversed().reversed(), direction);
            assert_eq!(Direction::of(direction.sends(), direction.receives()), direction);
        }
        assert_eq!(Direction::SendOnly.reversed(), Direction::RecvOnly);
    }

    #[test]
    fn rtpmaps() {
        let opus = RtpMap::parse("opus/48000/2").unwrap();
        assert_eq!((opus.name, opus.clock, opus.channels), ("opus", 48000, 2));
        let event = RtpMap::parse(" telephone-event/8000").unwrap();
        assert!(event.is_same(&RtpMap::parse("Telephone-Event/8000/1").unwrap()));
        assert!(!event.is_same(&RtpMap::parse("telephone-event/16000").unwrap()));
        for bad in ["", "PCMU", "/8000", "PCMU/0", "PCMU/x", "PCMU/99999999999", "PCMU/8000/x"] {
            assert_eq!(RtpMap::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_are_not_prefixes() {
        let lines = [line("rtcp-mux", b""), line("rtcp", b"9"), Line::new(b'b', "rtcp:1")];
        assert_eq!(all(&lines, "rtcp").collect::<Vec<_>>(), [b"9"]);
        assert_eq!(all(&lines, "rtcp-mux").collect::<Vec<_>>(), [b""]);
    }

    #[test]
    fn connections() {
        assert_eq!(address(b"IN IP4 224.2.1.1/127"), Some("224.2.1.1".parse().unwrap()));
        assert_eq!(address(b"IN IP6 2001:db8::1"), Some("2001:db8::1".parse().unwrap()));
        assert!(is_connection(b"IN IP4 host.example.com"));
        assert_eq!(address(b"IN IP4 host.example.com"), None);
        for bad in ["", "IN IP4", "IN IP5 ::1", "ATM IP4 192.0.2.1", "IN IP4 192.0.2.1 x", "\u{ff}"]
        {
            assert!(!is_connection(bad.as_bytes()), "{bad}");
        }
    }
}
