//! What a kind of peer needs, as data and small functions: names in headers, what is allowed, how media are secured.
//!
//! A [`Profile`] is made once per end and hop; legs and media plans only read it.

mod called;
mod caller;
mod diversion;
mod face;
mod headers;
mod location;
mod party;
mod remote_party;
pub mod teams;
pub mod trunk;

pub use called::{called, number, phone_param};
pub use caller::{Caller, Word};
pub use diversion::Diversions;
pub use face::{Face, escaped};
pub use headers::Further;
pub use location::Location;

use std::sync::Arc;
use std::time::Duration;

use config::{CallerId, Country, Dialect, Diversion, EarlyMedia, ReliableProvisional};
use sip_stack::message::Message;
use sip_stack::transport::{LocalId, Transport};

use crate::call::media_plan::{Codecs, Holds, MediaRules, Secure};
use crate::failure::Verdict;

/// How one leg appears to its peer and what it asks of media.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Names and addresses in our headers.
    pub face: Face,
    /// What offers and answers must look like.
    pub media: MediaRules,
    /// The Allow value inside dialogs: only what works.
    pub allow: &'static str,
    /// The Supported value inside dialogs.
    pub supported: &'static str,
    /// Where a caller's number stands.
    pub caller_id: CallerId,
    /// How it is told who has sent a call on.
    pub diversion: Diversion,
    /// It is told where callers are.
    pub located: bool,
    /// It is told numbers that are to be shown to nobody (RFC 3325).
    pub trusted: bool,
    /// By which its national numbers are written and read.
    pub country: Option<Country>,
    /// What it expects of headers.
    pub dialect: Arc<Dialect>,
    /// What it asserts of callers may be told to those.
    pub vouches: bool,
    /// What it hears as a caller until the answer.
    pub early_media: EarlyMedia,
    /// How long it waits as a caller, hearing nothing but 100, before it gives the call to somebody else.
    pub patience: Option<Duration>,
    /// Whether requests and responses of this peer carry a correlation id, and where.
    pub correlation: Option<fn(&Message) -> Option<String>>,
    /// How what ends a call is read, where this peer has codes of its own for that.
    pub verdict: Option<fn(&Message) -> Option<Verdict>>,
}

impl Profile {
    /// Whether its provisional responses and ours have to be reliable.
    pub fn wants_reliable(&self) -> bool {
        self.dialect.reliable_provisional == ReliableProvisional::Required
    }

    /// Of a peer that is gone from the configuration: enough to end what there was with it.
    pub fn of_nobody() -> Self {
        Self {
            face: Face {
                host: String::new(),
                port: 0,
                transport: Transport::Udp,
                local: LocalId(0),
                always_name_transport: false,
            },
            media: MediaRules {
                secure: Secure::Off,
                offered_suites: &[],
                offer_mux: false,
                holds: Holds::AsOffered,
                codecs: Codecs::ANY,
                t38: false,
            },
            allow: "",
            supported: "",
            caller_id: CallerId::From,
            diversion: Diversion::None,
            located: false,
            trusted: false,
            country: None,
            dialect: Arc::default(),
            vouches: false,
            early_media: EarlyMedia::Pass,
            patience: None,
            correlation: None,
            verdict: None,
        }
    }
}

/// User-Agent and Server of everything we send.
pub const AGENT: &str = concat!("trunkgate/", env!("CARGO_PKG_VERSION"));
