//! `[[profile]]`: keys of trunks under a name, so that what a kind of peer needs is written once.
//!
//! The keys stand in `[[trunk]]` as well; what stands there wins over the trunk's profile, and that over its base.

use serde_json::Value as Json;

use crate::fault::Findings;
use crate::key::{Key, Section};
use crate::model::{
    CalledFrom, CallerId, CallerIdOut, Codec, DisplayName, Diversion, EarlyMedia, Location,
    NumberForm, Redirects, Refer, ReliableProvisional, Srtp, T38,
};
use crate::read::{Bad, Choice, Node, Table, Text, Value};
use crate::section::failover::{PeerInterval, StatusMap};
use crate::section::fax;
use crate::section::header::Rules;
use crate::section::reliable::RELIABLE_PROVISIONAL;
use crate::section::trunk;
use crate::source::{At, Span};
use crate::text::name::Name;
use crate::text::scalar::Int;

pub(crate) static NAME: Key<Name> = Key::required(
    "name",
    "By which trunks and other profiles refer to it; that of a shipped one takes its place.",
);
pub(crate) static BASE: Key<Name> = Key::default(
    "base",
    "\"generic\"",
    "The profile that says what this one does not: one of yours, or a shipped one (trunkgate profiles).",
);
pub(crate) static NUMBERS_OUT: Key<NumberForm> = Key::default(
    "numbers_out",
    "\"e164\"",
    "How numbers of the public network are written towards it: \"e164\", \"without-plus\", \"national\" (those of its country; others as \"international\") or \"international\" (00…, or what stands for that in its country). What cannot be written so stays E.164; private and short numbers stay.",
);
pub(crate) static CALLED_PREFIX_OUT: Key<DialPrefix> = Key::default(
    "called_prefix_out",
    "\"\"",
    "Digits, * and # written before called numbers of the public network.",
);
pub(crate) static CALLED_PREFIX_IN: Key<DialPrefix> = Key::default(
    "called_prefix_in",
    "\"\"",
    "Digits, * and # taken off called numbers that begin so, before they are read.",
);
pub(crate) static USER_PHONE: Key<bool> =
    Key::default("user_phone", "false", "Whether numbers are marked user=phone.");
pub(crate) static CALLED_FROM: Key<CalledPlaces> = Key::default(
    "called_from",
    "[\"request-uri\"]",
    "Where the called number of its calls stands, the first place that has one: \"request-uri\", \"to\", \"p-called-party-id\", \"diversion\" (the newest).",
);
pub(crate) static CALLER_ID_OUT: Key<CallerIdOut> = Key::computed(
    "caller_id_out",
    "\"asserted\" when `trusted`, else \"from\"",
    "By which header it is told who calls, beside From: \"from\" (no other), \"asserted\" (P-Asserted-Identity), \"preferred\" (P-Preferred-Identity) or \"remote-party-id\". Who is to be shown to nobody is told to trusted trunks alone.",
);
pub(crate) static DISPLAY_NAME: Key<DisplayName> = Key::default(
    "display_name",
    "\"pass\"",
    "What becomes of callers' names on the way to it: \"pass\" or \"drop\".",
);
pub(crate) static HEADERS_TO: Key<Rules> = Key::default(
    "headers_to",
    "[]",
    "What is done, in this order, to further headers of an INVITE that begins a call to it: { add = \"X-A\", value = \"…\" }, { set = \"X-A\", value = \"…\" }, { remove = \"X-A\" }, { copy = \"X-A\" } (from the caller's INVITE), { replace = \"X-A\", match = \"regular expression\", with = \"$1\" }.",
);
pub(crate) static HEADERS_FROM: Key<Rules> = Key::default(
    "headers_from",
    "[]",
    "The same for the INVITE that a call from it leads to; before the `headers_to` of the trunk that is called.",
);

pub(crate) static CODECS: Key<Codecs> = Key::default(
    "codecs",
    "[]",
    "The codecs in which it is spoken to, by preference, such as [\"PCMA\", \"PCMU\"]; an empty list: all that the other side has. A call that has none of them is refused with 488.",
);
pub(crate) static REDIRECTS: Key<Redirects> = Key::default(
    "redirects",
    "\"refuse\"",
    "What becomes of its 3xx, by which it names another number. \"refuse\": the call is refused. \"follow\": that number is called as if the caller had dialled it; at most twice in a call.",
);
pub(crate) static MAX_MESSAGE: Key<Int<512, 65000>> = Key::default(
    "max_message",
    "1300",
    "Bytes of the longest request that goes to it by UDP; a longer one goes by TCP, and where the peer takes none, with less in it.",
);

pub(crate) static PROFILE: Section = Section {
    title: "[[profile]]",
    doc: "Keys of trunks under a name.",
    keys: &[
        &NAME,
        &BASE,
        &trunk::SRTP,
        &trunk::EARLY_MEDIA,
        &trunk::REFER,
        &NUMBERS_OUT,
        &CALLED_PREFIX_OUT,
        &CALLED_PREFIX_IN,
        &USER_PHONE,
        &CALLED_FROM,
        &trunk::CALLER_ID,
        &CALLER_ID_OUT,
        &DISPLAY_NAME,
        &trunk::DIVERSION,
        &trunk::LOCATION,
        &trunk::TRUSTED,
        &HEADERS_TO,
        &HEADERS_FROM,
        &CODECS,
        &REDIRECTS,
        &RELIABLE_PROVISIONAL,
        &fax::T38,
        &MAX_MESSAGE,
        &trunk::OPTIONS_INTERVAL,
        &trunk::STATUS_MAP,
    ],
    named: None,
};

/// Profiles alone: the form of those that are shipped.
pub(crate) static FILE: Section =
    Section { title: "a profile's file", doc: "Profiles.", keys: &[&LIST], named: None };

/// In `gateway.toml`, and in the files of those that are shipped.
pub(crate) static LIST: Key<Vec<At<RawProfile>>> =
    Key::optional("profile", "Keys of trunks under a name, each [[profile]].");

/// What a trunk and a profile can both say.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawRules {
    pub(crate) srtp: Option<At<Srtp>>,
    pub(crate) early_media: Option<EarlyMedia>,
    pub(crate) refer: Option<Refer>,
    pub(crate) numbers_out: Option<At<NumberForm>>,
    pub(crate) called_prefix_out: Option<DialPrefix>,
    pub(crate) called_prefix_in: Option<DialPrefix>,
    pub(crate) user_phone: Option<bool>,
    pub(crate) called_from: Option<CalledPlaces>,
    pub(crate) caller_id: Option<CallerId>,
    pub(crate) caller_id_out: Option<CallerIdOut>,
    pub(crate) display_name: Option<DisplayName>,
    pub(crate) diversion: Option<Diversion>,
    pub(crate) location: Option<Location>,
    pub(crate) trusted: Option<bool>,
    pub(crate) headers_to: Option<Rules>,
    pub(crate) headers_from: Option<Rules>,
    pub(crate) codecs: Option<Codecs>,
    pub(crate) redirects: Option<Redirects>,
    pub(crate) reliable_provisional: Option<ReliableProvisional>,
    pub(crate) t38: Option<T38>,
    pub(crate) max_message: Option<Int<512, 65000>>,
    pub(crate) options_interval: Option<PeerInterval>,
    pub(crate) status_map: Option<StatusMap>,
}

#[derive(Debug)]
pub(crate) struct RawProfile {
    pub(crate) name: Option<At<Name>>,
    /// `None`: not written, or no good.
    pub(crate) base: Option<At<Name>>,
    pub(crate) rules: RawRules,
    pub(crate) span: Span,
}

/// A file of profiles.
#[derive(Debug)]
pub(crate) struct RawProfileFile(pub(crate) Vec<RawProfile>);

/// What is dialled before a number: at most 16 digits, `*`, `#`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DialPrefix(pub(crate) String);

/// Places of a called number, each once, at least one.
#[derive(Clone, Debug)]
pub(crate) struct CalledPlaces(pub(crate) Vec<CalledFrom>);

/// Codecs, each once.
#[derive(Clone, Debug)]
pub(crate) struct Codecs(pub(crate) Vec<Codec>);

impl RawRules {
    /// What of them stands in a table.
    pub(crate) fn read(table: &mut Table<'_, '_>) -> Self {
        Self {
            srtp: table.optional(&trunk::SRTP),
            early_media: table.plain(&trunk::EARLY_MEDIA),
            refer: table.plain(&trunk::REFER),
            numbers_out: table.optional(&NUMBERS_OUT),
            called_prefix_out: table.plain(&CALLED_PREFIX_OUT),
            called_prefix_in: table.plain(&CALLED_PREFIX_IN),
            user_phone: table.plain(&USER_PHONE),
            called_from: table.plain(&CALLED_FROM),
            caller_id: table.plain(&trunk::CALLER_ID),
            caller_id_out: table.plain(&CALLER_ID_OUT),
            display_name: table.plain(&DISPLAY_NAME),
            diversion: table.plain(&trunk::DIVERSION),
            location: table.plain(&trunk::LOCATION),
            trusted: table.plain(&trunk::TRUSTED),
            headers_to: table.plain(&HEADERS_TO),
            headers_from: table.plain(&HEADERS_FROM),
            codecs: table.plain(&CODECS),
            redirects: table.plain(&REDIRECTS),
            reliable_provisional: table.plain(&RELIABLE_PROVISIONAL),
            t38: table.plain(&fax::T38),
            max_message: table.plain(&MAX_MESSAGE),
            options_interval: table.plain(&trunk::OPTIONS_INTERVAL),
            status_map: table.plain(&trunk::STATUS_MAP),
        }
    }

    /// These, and what `base` says where they say nothing.
    pub(crate) fn over(&self, base: &Self) -> Self {
        fn first<T: Clone>(own: &Option<T>, base: &Option<T>) -> Option<T> {
            own.as_ref().or(base.as_ref()).cloned()
        }
        Self {
            srtp: first(&self.srtp, &base.srtp),
            early_media: first(&self.early_media, &base.early_media),
            refer: first(&self.refer, &base.refer),
            numbers_out: first(&self.numbers_out, &base.numbers_out),
            called_prefix_out: first(&self.called_prefix_out, &base.called_prefix_out),
            called_prefix_in: first(&self.called_prefix_in, &base.called_prefix_in),
            user_phone: first(&self.user_phone, &base.user_phone),
            called_from: first(&self.called_from, &base.called_from),
            caller_id: first(&self.caller_id, &base.caller_id),
            caller_id_out: first(&self.caller_id_out, &base.caller_id_out),
            display_name: first(&self.display_name, &base.display_name),
            diversion: first(&self.diversion, &base.diversion),
            location: first(&self.location, &base.location),
            trusted: first(&self.trusted, &base.trusted),
            headers_to: first(&self.headers_to, &base.headers_to),
            headers_from: first(&self.headers_from, &base.headers_from),
            codecs: first(&self.codecs, &base.codecs),
            redirects: first(&self.redirects, &base.redirects),
            reliable_provisional: first(&self.reliable_provisional, &base.reliable_provisional),
            t38: first(&self.t38, &base.t38),
            max_message: first(&self.max_message, &base.max_message),
            options_interval: first(&self.options_interval, &base.options_interval),
            status_map: first(&self.status_map, &base.status_map),
        }
    }
}

impl Value for RawProfile {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&PROFILE, node, out)?;
        let raw = Self {
            name: table.required(&NAME),
            base: table.optional(&BASE),
            rules: RawRules::read(&mut table),
            span: node.span,
        };
        table.finish();
        Some(raw)
    }

    fn schema() -> Json {
        PROFILE.schema()
    }
}

impl Value for RawProfileFile {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut table = Table::open(&FILE, node, out)?;
        let list = table.plain(&LIST).unwrap_or_default();
        table.finish();
        Some(Self(list.into_iter().map(|at| at.value).collect()))
    }

    fn schema() -> Json {
        FILE.schema()
    }
}

impl Text for DialPrefix {
    const WHAT: &'static str = "what is dialled before a number";

    fn parse(text: &str) -> Result<Self, Bad> {
        let fine =
            text.len() <= 16 && text.bytes().all(|b| b.is_ascii_digit() || b"*#".contains(&b));
        if !fine {
            let message = format!("{text:?} cannot be dialled before a number");
            return Err(Bad::new(message, "Write at most 16 digits, * or #, such as \"99#\"."));
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "string", "pattern": "^[0-9*#]{0,16}$" })
    }
}

impl Value for CalledPlaces {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut places = Vec::new();
        for At { value, .. } in Vec::<At<CalledFrom>>::read(node, out)? {
            if !places.contains(&value) {
                places.push(value);
            }
        }
        if places.is_empty() && !out.has_fault_within(node.span) {
            let message = format!("`{}`: no place is named", node.key);
            let help = "Name at least one, such as \"request-uri\".";
            out.fault(crate::fault::Draft::new(message, help).at(node.span, "empty"));
            return None;
        }
        Some(Self(places))
    }

    fn schema() -> Json {
        Vec::<At<CalledFrom>>::schema()
    }
}

impl Value for Codecs {
    fn read(node: Node<'_>, out: &mut Findings) -> Option<Self> {
        let mut codecs = Vec::new();
        for At { value, .. } in Vec::<At<Codec>>::read(node, out)? {
            if !codecs.contains(&value) {
                codecs.push(value);
            }
        }
        Some(Self(codecs))
    }

    fn schema() -> Json {
        Vec::<At<Codec>>::schema()
    }
}

impl Choice for Redirects {
    const WHAT: &'static str = "a way with redirections";
    const WORDS: &'static [(&'static str, Self)] =
        &[("refuse", Self::Refuse), ("follow", Self::Follow)];
}

impl Choice for Codec {
    const WHAT: &'static str = "a codec";
    const WORDS: &'static [(&'static str, Self)] = &[
        (Self::Pcma.encoding(), Self::Pcma),
        (Self::Pcmu.encoding(), Self::Pcmu),
        (Self::G722.encoding(), Self::G722),
        (Self::G729.encoding(), Self::G729),
        (Self::Ilbc.encoding(), Self::Ilbc),
        (Self::Opus.encoding(), Self::Opus),
        (Self::Silk.encoding(), Self::Silk),
        (Self::Amr.encoding(), Self::Amr),
        (Self::AmrWb.encoding(), Self::AmrWb),
    ];
}

impl Choice for NumberForm {
    const WHAT: &'static str = "a way to write numbers";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("e164", Self::E164),
        ("without-plus", Self::WithoutPlus),
        ("national", Self::National),
        ("international", Self::International),
    ];
}

impl Choice for CalledFrom {
    const WHAT: &'static str = "a place of the called number";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("request-uri", Self::RequestUri),
        ("to", Self::To),
        ("p-called-party-id", Self::CalledPartyId),
        ("diversion", Self::Diversion),
    ];
}

impl Choice for CallerIdOut {
    const WHAT: &'static str = "a way to tell who calls";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("from", Self::From),
        ("asserted", Self::Asserted),
        ("preferred", Self::Preferred),
        ("remote-party-id", Self::RemotePartyId),
    ];
}

impl Choice for DisplayName {
    const WHAT: &'static str = "a way with names of callers";
    const WORDS: &'static [(&'static str, Self)] = &[("pass", Self::Pass), ("drop", Self::Drop)];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_dialled() {
        for text in ["", "99#", "*8", "1234567890123456"] {
            assert_eq!(DialPrefix::parse(text), Ok(DialPrefix(text.to_owned())));
        }
        for text in ["+44", "a", "12345678901234567", "1 2", "٣"] {
            assert!(DialPrefix::parse(text).is_err(), "{text:?}");
        }
    }

    /// What a profile may say, a trunk may say.
    #[test]
    fn every_key_of_a_profile_is_one_of_trunks() {
        for key in PROFILE.keys.iter().filter(|key| !["name", "base"].contains(&key.name())) {
            let known = |of: &&&dyn crate::key::AnyKey| of.name() == key.name();
            assert!(trunk::TRUNK.keys.iter().any(|of| known(&of)), "{}", key.name());
        }
    }
}
