//! Names of headers: a closed list that the stack knows, with canonical and compact spelling
//! (RFC 3261 §7.3.3, §20, and the RFCs beside each block), and a fast look-up that ignores case.
//!
//! A name that is not in the list is [`HeaderId::Other`]; its bytes stay in the message.

use super::vector::equal_with;

macro_rules! headers {
    ($($(#[$doc:meta])* $id:ident = $name:literal $(/ $short:literal)?),+ $(,)?) => {
        /// A header that the stack knows by name, or [`HeaderId::Other`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum HeaderId {
            $(#[doc = concat!("`", $name, "`")] $(#[$doc])* $id,)+
            /// Any name that is not in this list.
            Other,
        }

        const NAMES: &[(HeaderId, &str, Option<u8>)] =
            &[$((HeaderId::$id, $name, headers!(@short $($short)?)),)+];
    };
    (@short $short:literal) => { Some($short) };
    (@short) => { None };
}

headers! {
    Via = "Via" / b'v',
    From = "From" / b'f',
    To = "To" / b't',
    CallId = "Call-ID" / b'i',
    CSeq = "CSeq",
    Contact = "Contact" / b'm',
    MaxForwards = "Max-Forwards",
    Route = "Route",
    RecordRoute = "Record-Route",
    ContentType = "Content-Type" / b'c',
    ContentLength = "Content-Length" / b'l',
    ContentEncoding = "Content-Encoding" / b'e',
    ContentDisposition = "Content-Disposition",
    ContentLanguage = "Content-Language",
    ContentId = "Content-ID",
    MimeVersion = "MIME-Version",
    Allow = "Allow",
    Supported = "Supported" / b'k',
    Require = "Require",
    ProxyRequire = "Proxy-Require",
    Unsupported = "Unsupported",
    UserAgent = "User-Agent",
    Server = "Server",
    Reason = "Reason",
    RetryAfter = "Retry-After",
    SessionExpires = "Session-Expires" / b'x',
    MinSe = "Min-SE",
    ReferTo = "Refer-To" / b'r',
    ReferredBy = "Referred-By" / b'b',
    ReferSub = "Refer-Sub",
    Replaces = "Replaces",
    Join = "Join",
    TargetDialog = "Target-Dialog",
    HistoryInfo = "History-Info",
    Diversion = "Diversion",
    PAssertedIdentity = "P-Asserted-Identity",
    PPreferredIdentity = "P-Preferred-Identity",
    PEarlyMedia = "P-Early-Media",
    PChargingVector = "P-Charging-Vector",
    PAccessNetworkInfo = "P-Access-Network-Info",
    PCalledPartyId = "P-Called-Party-ID",
    RemotePartyId = "Remote-Party-ID",
    Privacy = "Privacy",
    RSeq = "RSeq",
    RAck = "RAck",
    Event = "Event" / b'o',
    AllowEvents = "Allow-Events" / b'u',
    SubscriptionState = "Subscription-State",
    Expires = "Expires",
    MinExpires = "Min-Expires",
    SipIfMatch = "SIP-If-Match",
    SipEtag = "SIP-ETag",
    Accept = "Accept",
    AcceptEncoding = "Accept-Encoding",
    AcceptLanguage = "Accept-Language",
    AcceptContact = "Accept-Contact" / b'a',
    RejectContact = "Reject-Contact" / b'j',
    RequestDisposition = "Request-Disposition" / b'd',
    Warning = "Warning",
    Authorization = "Authorization",
    AuthenticationInfo = "Authentication-Info",
    WwwAuthenticate = "WWW-Authenticate",
    ProxyAuthenticate = "Proxy-Authenticate",
    ProxyAuthorization = "Proxy-Authorization",
    Identity = "Identity" / b'y',
    IdentityInfo = "Identity-Info" / b'n',
    Date = "Date",
    Timestamp = "Timestamp",
    Subject = "Subject" / b's',
    Organization = "Organization",
    Priority = "Priority",
    ResourcePriority = "Resource-Priority",
    ReplyTo = "Reply-To",
    InReplyTo = "In-Reply-To",
    AlertInfo = "Alert-Info",
    CallInfo = "Call-Info",
    ErrorInfo = "Error-Info",
    Path = "Path",
    ServiceRoute = "Service-Route",
    Geolocation = "Geolocation",
    GeolocationRouting = "Geolocation-Routing",
    GeolocationError = "Geolocation-Error",
    UserToUser = "User-to-User",
    SessionId = "Session-ID",
    InfoPackage = "Info-Package",
    RecvInfo = "Recv-Info",
    FeatureCaps = "Feature-Caps",
}

impl HeaderId {
    /// The header that a name or compact name stands for, in any case.
    pub fn from_name(name: &[u8]) -> Self {
        Self::of_name(name, name.len())
    }

    /// [`Self::from_name`] of the first `len` bytes of `text`; quicker with sixteen bytes to look at, whatever they
    /// are behind the name.
    pub(crate) fn of_name(text: &[u8], len: usize) -> Self {
        match (text.first_chunk(), len) {
            (Some(head), 2..=16) => {
                let beyond = u32::MAX << len;
                probe(len, head[0], head[len - 1], |known, at| {
                    known.len() == len && HEADS[at].same(head) | beyond == u32::MAX
                })
            }
            _ => Self::of_odd_name(&text[..len]),
        }
    }

    /// The rest: no name, one letter, a long one, one with little behind it. Rare, and kept out of the way.
    #[cold]
    fn of_odd_name(name: &[u8]) -> Self {
        match name {
            [] => Self::Other,
            [short] => COMPACT[usize::from(*short)],
            [first, .., last] => {
                probe(name.len(), *first, *last, |known, _| name.eq_ignore_ascii_case(known))
            }
        }
    }

    /// The canonical spelling; empty for [`HeaderId::Other`].
    pub fn name(self) -> &'static str {
        NAMES.get(self as usize).map_or("", |(_, name, _)| name)
    }

    /// The compact form, a lower-case letter, where one is registered (RFC 3261 §7.3.3).
    pub fn compact(self) -> Option<u8> {
        NAMES.get(self as usize).and_then(|(_, _, short)| *short)
    }

    /// How many headers there are, [`HeaderId::Other`] included.
    pub(crate) const COUNT: usize = NAMES.len() + 1;

    /// Every header in the list, without [`HeaderId::Other`].
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(id, _, _)| *id)
    }

    /// Whether a second line of this header makes a message ambiguous, so that it is refused
    /// (RFC 4475 §3.3.8; RFC 3515 §2.4.2, RFC 3891 §3).
    pub(crate) const fn is_single(self) -> bool {
        matches!(
            self,
            Self::From
                | Self::To
                | Self::CallId
                | Self::CSeq
                | Self::MaxForwards
                | Self::ContentLength
                | Self::ContentType
                | Self::ReferTo
                | Self::Replaces
        )
    }
}

/// The header whose name, its place in [`NAMES`] beside it, `is` the one looked for.
#[inline]
fn probe(len: usize, first: u8, last: u8, is: impl Fn(&[u8], usize) -> bool) -> HeaderId {
    let mut slot = hash(len, first, last);
    loop {
        let at = usize::from(SLOTS[slot]);
        let Some((id, known, _)) = NAMES.get(at) else {
            return HeaderId::Other;
        };
        if is(known.as_bytes(), at) {
            return *id;
        }
        slot = (slot + 1) % SLOT_COUNT;
    }
}

/// The first 16 bytes of a name in lower case, and the bit that case changes where there is a letter.
struct Head {
    lower: [u8; 16],
    case: [u8; 16],
}

impl Head {
    /// A bit for each byte that is the same in any case.
    #[inline]
    fn same(&self, name: &[u8; 16]) -> u32 {
        equal_with(name, &self.case, &self.lower)
    }
}

/// Beside [`NAMES`].
static HEADS: [Head; NAMES.len()] = {
    let mut heads = [const { Head { lower: [0; 16], case: [0; 16] } }; NAMES.len()];
    let mut at = 0;
    while at < NAMES.len() {
        let name = NAMES[at].1.as_bytes();
        let mut byte = 0;
        while byte < name.len() && byte < 16 {
            heads[at].lower[byte] = name[byte].to_ascii_lowercase();
            heads[at].case[byte] = if name[byte].is_ascii_alphabetic() { 0x20 } else { 0 };
            byte += 1;
        }
        at += 1;
    }
    heads
};

const fn hash(len: usize, first: u8, last: u8) -> usize {
    let first = (first | 0x20) as usize;
    let last = (last | 0x20) as usize;
    (len * 37 + first * 5 + last * 11) % SLOT_COUNT
}

const SLOT_COUNT: usize = 512;
const FREE: u8 = u8::MAX;

/// Open addressing over `hash`; a free slot holds [`FREE`], which is past the end of `NAMES`.
static SLOTS: [u8; SLOT_COUNT] = {
    let mut slots = [FREE; SLOT_COUNT];
    let mut at = 0;
    while at < NAMES.len() {
        let name = NAMES[at].1.as_bytes();
        let mut slot = hash(name.len(), name[0], name[name.len() - 1]);
        while slots[slot] != FREE {
            slot = (slot + 1) % SLOT_COUNT;
        }
        slots[slot] = at as u8;
        at += 1;
    }
    slots
};

static COMPACT: [HeaderId; 256] = {
    let mut table = [HeaderId::Other; 256];
    let mut at = 0;
    while at < NAMES.len() {
        if let Some(short) = NAMES[at].2 {
            table[short as usize] = NAMES[at].0;
            table[short.to_ascii_uppercase() as usize] = NAMES[at].0;
        }
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for id in HeaderId::all() {
            let name = id.name();
            assert_eq!(HeaderId::from_name(name.as_bytes()), id);
            assert_eq!(HeaderId::from_name(name.to_ascii_uppercase().as_bytes()), id);
            assert_eq!(HeaderId::from_name(name.to_ascii_lowercase().as_bytes()), id);
            if let Some(short) = id.compact() {
                assert_eq!(HeaderId::from_name(&[short]), id);
                assert_eq!(HeaderId::from_name(&[short.to_ascii_uppercase()]), id);
            }
        }
    }

    /// As [`HeaderId::from_name`], without any table.
    fn slowly(name: &[u8]) -> HeaderId {
        let known = HeaderId::all().find(|id| {
            let short = id.compact().is_some_and(|short| name.eq_ignore_ascii_case(&[short]));
            short || name.eq_ignore_ascii_case(id.name().as_bytes())
        });
        known.unwrap_or(HeaderId::Other)
    }

    #[test]
    fn a_name_with_one_byte_changed_is_another() {
        let look_up = |name: &[u8]| {
            let expected = slowly(name);
            assert_eq!(HeaderId::from_name(name), expected, "{name:?}");
            for behind in [&b": sixteen bytes and more"[..], b":short", &[0; 20]] {
                let line = [name, behind].concat();
                assert_eq!(HeaderId::of_name(&line, name.len()), expected, "{line:?}");
            }
        };
        for id in HeaderId::all() {
            let name = id.name().as_bytes();
            for at in 0..name.len() {
                for byte in 0..=255 {
                    let mut changed = name.to_vec();
                    changed[at] = byte;
                    look_up(&changed);
                }
                look_up(&name[..at]);
            }
            look_up(&[name, b"-"].concat());
            look_up(&id.compact().map(|short| vec![short]).unwrap_or_default());
        }
    }

    #[test]
    fn unknown_names_are_other() {
        for name in ["", "q", "X-Custom", "Vias", "Vie", "\u{0}", "Content-Lengtj", ":"] {
            assert_eq!(HeaderId::from_name(name.as_bytes()), HeaderId::Other, "{name}");
        }
        assert_eq!(HeaderId::Other.name(), "");
        assert_eq!(HeaderId::Other.compact(), None);
    }

    #[test]
    fn look_ups_probe_little() {
        let probes: usize = HeaderId::all()
            .map(|id| {
                let name = id.name().as_bytes();
                let home = hash(name.len(), name[0], name[name.len() - 1]);
                let slot = SLOTS.iter().position(|&at| at == id as u8).unwrap();
                (slot + SLOT_COUNT - home) % SLOT_COUNT
            })
            .sum();
        assert!(probes < NAMES.len() / 4, "{probes} probes for {} names", NAMES.len());
    }
}
