//! Names of headers: a closed list that the stack knows, with canonical and compact spelling
//! (RFC 3261 §7.3.3, §20, and the RFCs beside each block), and a fast look-up that ignores case.
//!
//! A name that is not in the list is [`HeaderId::Other`]; its bytes stay in the message.

use super::near::folded_same;

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

    /// [`Self::from_name`] of the first `len` bytes of `text`: what stands behind a name is read with it, sixteen
    /// bytes at once.
    pub(crate) fn of_name(text: &[u8], len: usize) -> Self {
        let (Some(head), 2..=16) = (text.first_chunk(), len) else {
            return Self::of_odd_name(&text[..len]);
        };
        let mut slot = hash(len, head[0], head[len - 1]);
        let all = u32::MAX << len;
        while let Some(known) = KNOWN.get(usize::from(SLOTS[slot])) {
            // Known names are letters and `-`, so that bit 0x20 is all that case changes.
            if len == known.name.len() && folded_same(head, &known.head) | all == u32::MAX {
                return known.id;
            }
            slot = (slot + 1) % SLOTS.len();
        }
        Self::Other
    }

    /// A name of one letter, a long one, or one with little behind it.
    #[inline(never)]
    fn of_odd_name(name: &[u8]) -> Self {
        match name {
            [] => Self::Other,
            [short] => COMPACT[usize::from(*short)],
            [first, .., last] => {
                let mut slot = hash(name.len(), *first, *last);
                while let Some(known) = KNOWN.get(usize::from(SLOTS[slot])) {
                    if name.eq_ignore_ascii_case(known.name) {
                        return known.id;
                    }
                    slot = (slot + 1) % SLOTS.len();
                }
                Self::Other
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

/// A name, and its first 16 bytes in lower case.
struct Known {
    head: [u8; 16],
    name: &'static [u8],
    id: HeaderId,
}

static KNOWN: [Known; NAMES.len()] = {
    let mut all = [const { Known { head: [0; 16], name: &[], id: HeaderId::Other } }; NAMES.len()];
    let mut at = 0;
    while at < NAMES.len() {
        let (id, name, _) = NAMES[at];
        all[at].id = id;
        all[at].name = name.as_bytes();
        let mut byte = 0;
        while byte < name.len() && byte < 16 {
            all[at].head[byte] = name.as_bytes()[byte].to_ascii_lowercase();
            byte += 1;
        }
        at += 1;
    }
    all
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
