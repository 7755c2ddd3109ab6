//! `[[trunk]]`: SIP peers that are no tenants.

use serde_json::{Value as Json, json};

use crate::country::Country;
use crate::fault::Findings;
use crate::key::{Key, Section};
use crate::model::{CallerId, Diversion, EarlyMedia, ForeignCaller, Location, Peer, Refer, Srtp};
use crate::numbers::Number;
use crate::read::{Node, Table, Value};
use crate::section::access::{AUTHENTICATE, CREDENTIALS, REGISTER, RawAccess};
use crate::section::admission::{self, RawAdmission};
use crate::section::callers;
use crate::section::failover::{LimitStatus, PeerInterval, StatusMap};
use crate::section::fax;
use crate::section::numbers::{Numbered, NumbersEntry};
use crate::section::profile::{self, RawRules};
use crate::section::registrar;
use crate::section::reliable::RELIABLE_PROVISIONAL;
use crate::source::{At, Span};
use crate::text::address::{MediaNetwork, Network};
use crate::text::file::FilePath;
use crate::text::name::{Name, UriHost};
use crate::text::scalar::{Int, NumberPrefix, Patience, TrunkGroup};

pub(crate) static NAME: Key<Name> = Key::required(
    "name",
    "Unique among all trunks, also those of tenants: stands in logs, metrics and CDRs.",
);
pub(crate) static REALM: Key<Name> = Key::computed(
    "realm",
    "\"carrier\", or the only realm there is",
    "The realm through which it is reached.",
);
pub(crate) static COUNTRY: Key<Country> =
    Key::optional("country", "How its national numbers are read (ISO 3166-1, such as GB).");
pub(crate) static PROFILE: Key<Name> = Key::default(
    "profile",
    "\"generic\"",
    "What holds for the keys that a profile can say and that do not stand here: a [[profile]], or one that is shipped (trunkgate profiles).",
);
pub(crate) static PEERS: Key<Vec<At<PeerEntry>>> = Key::required(
    "peers",
    "Where calls go, in order of preference, such as \"udp:192.0.2.50:5060\"; a host name without port is located by RFC 3263; \"registered\": where it has registered with the gateway from (`registrar`).",
);
pub(crate) static NETWORKS: Key<Vec<At<Network>>> = Key::computed(
    "networks",
    "the peers that are IP addresses",
    "Who may call us as this trunk; an empty list: nobody.",
);
pub(crate) static MEDIA_NETWORKS: Key<Vec<At<MediaNetwork>>> = Key::default(
    "media_networks",
    "[\"signalled\"]",
    "From where its media may come: the signalled address, and networks.",
);
pub(crate) static MATCH: Key<RawMatch> =
    Key::optional("match", "Chooses among trunks with equal networks: every key must fit.");
pub(crate) static SRTP: Key<Srtp> = Key::computed(
    "srtp",
    "\"required\" when every peer is reached by TLS, else \"off\"",
    "Whether its media are encrypted (SDES): \"off\" or \"required\".",
);
pub(crate) static EARLY_MEDIA: Key<EarlyMedia> = Key::default(
    "early_media",
    "\"first\"",
    "What its callers hear until the answer. \"first\": they get the first 180, or 183 with SDP, and no other. \"pass\": they get each. \"generate\": ringback of the trunk's country from the gateway until the other side speaks.",
);
pub(crate) static REFER: Key<Refer> = Key::default(
    "refer",
    "\"refuse\"",
    "What becomes of its REFER, by which it wants to transfer a call. \"refuse\": 405. \"local\": the gateway calls the target, as a call of this trunk goes, and joins it to the other side. \"pass\": the other side is asked to call it, if that is a trunk; else as \"local\".",
);
pub(crate) static CALLER_ID: Key<CallerId> = Key::default(
    "caller_id",
    "\"asserted\"",
    "Which number its callers are shown with: \"asserted\", that of P-Asserted-Identity where there is one, \"remote-party-id\", that of Remote-Party-ID where there is one, else as \"asserted\", or \"from\".",
);
pub(crate) static DIVERSION: Key<Diversion> = Key::default(
    "diversion",
    "\"diversion\"",
    "By which header it is told who has sent a call on: \"diversion\" (RFC 5806, what most carriers read), \"history-info\" (RFC 7044), or \"none\".",
);
pub(crate) static LOCATION: Key<Location> = Key::default(
    "location",
    "\"strip\"",
    "What becomes of where a caller is (RFC 6442): \"pass\" hands it to this trunk as it came, for a provider of emergency calls; with \"strip\" it ends here.",
);
pub(crate) static TRUSTED: Key<bool> = Key::default(
    "trusted",
    "false",
    "Whether it is told who calls also where that is to be shown to nobody, and believed when it tells: P-Asserted-Identity with Privacy (RFC 3325).",
);
pub(crate) static NUMBERS: Key<Vec<At<NumbersEntry>>> = Key::optional(
    "numbers",
    "Numbers reached through this trunk: numbers, ranges of them (\"+15550010000-+15550019999\"), { file = \"…\" } with one per line, and { range = \"…\", state = \"…\" }.",
);
pub(crate) static TRUNKS: Key<Vec<At<Name>>> = Key::computed(
    "trunks",
    "none; in a tenant's file the tenant's, except itself",
    "By which trunks calls from this one go out when nobody owns the called number, in order of preference; calls to its numbers are taken from these as well.",
);
pub(crate) static INBOUND_TRUNKS: Key<Vec<At<Name>>> =
    Key::optional("inbound_trunks", "Further trunks from which calls to its numbers are taken.");
pub(crate) static OPTIONS_INTERVAL: Key<PeerInterval> = Key::computed(
    "options_interval",
    "only peers that have failed are asked",
    "Time between two OPTIONS to each of its peers, 5s to 10m; peers that do not answer are tried last.",
);
pub(crate) static LIMIT_STATUS: Key<LimitStatus> = Key::default(
    "limit_status",
    "503",
    "What it is told as a caller when a limit of its own or of who is called is reached: 503 with Retry-After, 486 (busy) or 403. Many carriers call elsewhere, or not at all for a while, after a 503.",
);
pub(crate) static MAX_DURATION: Key<Patience> = Key::computed(
    "max_duration",
    "unlimited",
    "The longest call, from its answer; where several hold, the shortest.",
);
pub(crate) static STATUS_MAP: Key<StatusMap> = Key::default(
    "status_map",
    "{ 500 = 503, 502 = 503 }",
    "What a caller is told when a call to this trunk fails with such a status; every other status stays.",
);
pub(crate) static HOLD_MUSIC: Key<FilePath> = Key::computed(
    "hold_music",
    "the tenant's; without one the hold is passed on",
    "A WAV file that its side of a call hears while the other side holds, in place of the hold.",
);

pub(crate) static TRUNK: Section = Section {
    title: "[[trunk]]",
    doc: "A SIP peer: a carrier, a contact centre, a PBX. In a tenant's file it belongs to that tenant alone.",
    keys: &[
        &NAME,
        &REALM,
        &COUNTRY,
        &PROFILE,
        &PEERS,
        &NETWORKS,
        &MEDIA_NETWORKS,
        &MATCH,
        &SRTP,
        &EARLY_MEDIA,
        &REFER,
        &profile::NUMBERS_OUT,
        &profile::CALLED_PREFIX_OUT,
        &profile::CALLED_PREFIX_IN,
        &profile::USER_PHONE,
        &profile::CALLED_FROM,
        &CALLER_ID,
        &profile::CALLER_ID_OUT,
        &profile::DISPLAY_NAME,
        &DIVERSION,
        &LOCATION,
        &TRUSTED,
        &profile::HEADERS_TO,
        &profile::HEADERS_FROM,
        &profile::CODECS,
        &profile::REDIRECTS,
        &RELIABLE_PROVISIONAL,
        &fax::T38,
        &profile::MAX_MESSAGE,
        &NUMBERS,
        &callers::MAIN_NUMBER,
        &callers::FOREIGN_CALLER,
        &TRUNKS,
        &INBOUND_TRUNKS,
        &admission::MAX_CALLS,
        &admission::LIMITS,
        &admission::TIMEZONE,
        &LIMIT_STATUS,
        &admission::BARRED,
        &admission::UNBARRED,
        &OPTIONS_INTERVAL,
        &MAX_DURATION,
        &STATUS_MAP,
        &HOLD_MUSIC,
        &CREDENTIALS,
        &REGISTER,
        &AUTHENTICATE,
        &registrar::REGISTRAR,
    ],
    named: None,
};

pub(crate) static CALLED_PREFIX: Key<NumberPrefix> =
    Key::optional("called_prefix", "The called number begins so, such as \"+4420\".");
pub(crate) static URI_HOST: Key<UriHost> =
    Key::optional("uri_host", "The host of the Request-URI.");
pub(crate) static TGRP: Key<TrunkGroup> =
    Key::optional("tgrp", "The trunk group in the Request-URI (RFC 4904).");

pub(crate) static MATCH_SECTION: Section = Section {
    title: "match",
    doc: "Chooses among trunks with equal networks.",
    keys: &[&CALLED_PREFIX, &URI_HOST, &TGRP],
    named: None,
};

pub(crate) static URI: Key<Peer> =
    Key::required("uri", "The peer, such as \"udp:192.0.2.50:5060\".");
pub(crate) static WEIGHT: Key<Int<1, 1000>> = Key::optional(
    "weight",
    "Its share of the calls among the peers beside it that have one: of two with 3 and 1, the first gets three of four. The others are tried when it fails.",
);

static PEER_SECTION: Section =
    Section { title: "peer", doc: "A peer with options.", keys: &[&URI, &WEIGHT], named: None };

#[derive(Debug)]
pub(crate) struct RawTrunk {
    pub(crate) name: Option<At<Name>>,
    pub(crate) realm: Option<At<Name>>,
    pub(crate) realm_written: bool,
    pub(crate) country: Option<Country>,
    pub(crate) peers: Option<At<Vec<At<PeerEntry>>>>,
    pub(crate) networks: Option<At<Vec<At<Network>>>>,
    pub(crate) networks_written: bool,
    pub(crate) media_networks: At<Vec<At<MediaNetwork>>>,
    pub(crate) matches: Option<At<RawMatch>>,
    pub(crate) profile: Option<At<Name>>,
    /// What it says of what its profile can say.
    pub(crate) rules: RawRules,
    /// As written.
    pub(crate) entries: Vec<At<NumbersEntry>>,
    /// All its numbers, also those of files, once these are read.
    pub(crate) numbers: Vec<At<Numbered>>,
    pub(crate) main_number: Option<At<Number>>,
    pub(crate) foreign_caller: Option<ForeignCaller>,
    pub(crate) trunks: Option<At<Vec<At<Name>>>>,
    pub(crate) trunks_written: bool,
    pub(crate) inbound_trunks: Option<At<Vec<At<Name>>>>,
    pub(crate) inbound_trunks_written: bool,
    pub(crate) admission: RawAdmission,
    pub(crate) limit_status: LimitStatus,
    pub(crate) max_duration: Option<Patience>,
    pub(crate) hold_music: Option<At<FilePath>>,
    pub(crate) access: RawAccess,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) struct RawMatch {
    pub(crate) called_prefix: Option<NumberPrefix>,
    pub(crate) uri_host: Option<UriHost>,
    pub(crate) tgrp: Option<TrunkGroup>,
}

/// A peer: a string, or a table around it.
#[derive(Clone, Debug)]
pub(crate) struct PeerEntry(pub(crate) Peer);

impl RawTrunk {
    /// Whether calls come to it or go out from it without a tenant: it has numbers, or names
    /// trunks.
    pub(crate) fn is_end(&self) -> bool {
        let names =
            |list: &Option<At<Vec<_>>>| list.as_ref().is_some_and(|at| !at.value.is_empty());
        !self.numbers.is_empty() || names(&self.trunks) || names(&self.inbound_trunks)
    }
}

impl Value for RawTrunk {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&TRUNK, node, out)?;
        let raw = Self {
            name: table.required(&NAME),
            realm: table.optional(&REALM),
            realm_written: table.has(REALM.name),
            country: table.optional(&COUNTRY).map(|at| at.value),
            peers: table.required(&PEERS),
            networks: table.optional(&NETWORKS),
            networks_written: table.has(NETWORKS.name),
            media_networks: table.value(&MEDIA_NETWORKS),
            matches: table.optional(&MATCH),
            profile: table.optional(&PROFILE),
            rules: RawRules::read(&mut table),
            entries: table.optional(&NUMBERS).map(|at| at.value).unwrap_or_default(),
            numbers: Vec::new(),
            main_number: table.optional(&callers::MAIN_NUMBER),
            foreign_caller: table.optional(&callers::FOREIGN_CALLER).map(|at| at.value),
            trunks: table.optional(&TRUNKS),
            trunks_written: table.has(TRUNKS.name),
            inbound_trunks: table.optional(&INBOUND_TRUNKS),
            inbound_trunks_written: table.has(INBOUND_TRUNKS.name),
            admission: RawAdmission::read(&mut table),
            limit_status: table.value(&LIMIT_STATUS).value,
            max_duration: table.optional(&MAX_DURATION).map(|at| at.value),
            hold_music: table.optional(&HOLD_MUSIC),
            access: RawAccess::read(&mut table),
            span: node.span,
        };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        TRUNK.schema()
    }
}

impl Value for RawMatch {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&MATCH_SECTION, node, out)?;
        let raw = Self {
            called_prefix: table.optional(&CALLED_PREFIX).map(|at| at.value),
            uri_host: table.optional(&URI_HOST).map(|at| at.value),
            tgrp: table.optional(&TGRP).map(|at| at.value),
        };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        MATCH_SECTION.schema()
    }
}

impl Value for PeerEntry {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        if !node.value.is_table() {
            return Peer::read(node, out).map(Self);
        }
        let mut table = Table::open(&PEER_SECTION, node, out)?;
        let peer = table.required(&URI);
        let weight = table.optional(&WEIGHT).and_then(|at| u16::try_from(at.value.0).ok());
        table.finish();
        peer.map(|at| Self(Peer { weight, ..at.value }))
    }

    fn schema() -> Json {
        json!({ "anyOf": [<Peer as Value>::schema(), PEER_SECTION.schema()] })
    }
}
