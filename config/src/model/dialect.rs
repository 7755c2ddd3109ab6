//! How a trunk writes and reads what SIP leaves open: numbers, who is called, who calls, further headers.

pub use crate::text::pattern::Pattern;

use super::{ReliableProvisional, T38};

/// What a trunk's peers expect of headers, and what theirs mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// How numbers of the public network are written towards it.
    pub numbers_out: NumberForm,
    /// Written before called numbers of the public network.
    pub called_prefix_out: String,
    /// Taken off called numbers that begin so.
    pub called_prefix_in: String,
    /// Whether numbers are marked `user=phone`.
    pub user_phone: bool,
    /// Where the called number stands, in order of preference; never empty.
    pub called_from: Vec<CalledFrom>,
    /// By which header it is told who calls, beside From; `None`: `Asserted` when it is trusted, else `From`.
    pub caller_id_out: Option<CallerIdOut>,
    /// What becomes of display names.
    pub display_name: DisplayName,
    /// What is done to further headers of an INVITE to it.
    pub headers_to: Vec<HeaderRule>,
    /// What is done to further headers of the INVITE that a call from it leads to.
    pub headers_from: Vec<HeaderRule>,
    /// The codecs in which it is spoken to, by preference; empty: all that the other side has.
    pub codecs: Vec<Codec>,
    /// What becomes of its 3xx.
    pub redirects: Redirects,
    /// Whether provisional responses are acknowledged.
    pub reliable_provisional: ReliableProvisional,
    /// What becomes of faxes by T.38.
    pub t38: T38,
    /// Bytes of the longest request that goes to it by UDP.
    pub max_message: u32,
}

/// How a number of the public network is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberForm {
    /// "+442079460000".
    E164,
    /// "442079460000".
    WithoutPlus,
    /// "02079460000" in the trunk's country, else as `International`.
    National,
    /// "00442079460000": behind the international prefix of the trunk's country, which is "00" without one.
    International,
}

/// Where a called number stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalledFrom {
    /// In the Request-URI.
    RequestUri,
    /// In To.
    To,
    /// In P-Called-Party-ID (RFC 7315).
    CalledPartyId,
    /// In the newest Diversion (RFC 5806).
    Diversion,
}

/// By which header a trunk is told who calls, beside From.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerIdOut {
    /// From alone.
    From,
    /// P-Asserted-Identity (RFC 3325).
    Asserted,
    /// P-Preferred-Identity (RFC 3325), for a network that asserts by itself.
    Preferred,
    /// Remote-Party-ID (draft-ietf-sip-privacy).
    RemotePartyId,
}

/// What becomes of the names that callers show beside their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisplayName {
    /// They pass.
    Pass,
    /// They end here.
    Drop,
}

/// What becomes of a final response that names another destination (3xx).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// The call is refused.
    Refuse,
    /// The destination is called, as if the caller had dialled it.
    Follow,
}

/// A codec for speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// G.711 A-law.
    Pcma,
    /// G.711 µ-law.
    Pcmu,
    /// G.722.
    G722,
    /// G.729.
    G729,
    /// iLBC (RFC 3952).
    Ilbc,
    /// Opus (RFC 7587).
    Opus,
    /// SILK, in any of its rates.
    Silk,
    /// AMR (RFC 4867).
    Amr,
    /// AMR-WB (RFC 4867).
    AmrWb,
}

/// One thing done to the further headers of an INVITE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderRule {
    /// One more line.
    Add {
        /// The header.
        name: String,
        /// Its value.
        value: String,
    },
    /// This line in place of all of that name.
    Set {
        /// The header.
        name: String,
        /// Its value.
        value: String,
    },
    /// No line of that name.
    Remove {
        /// The header.
        name: String,
    },
    /// The lines of that name in the INVITE of the caller.
    Copy {
        /// The header.
        name: String,
    },
    /// In each line of that name, what fits a pattern is replaced.
    Replace {
        /// The header.
        name: String,
        /// What is looked for.
        pattern: Pattern,
        /// What stands there instead; `$1` is the first group.
        with: String,
    },
}

impl Codec {
    /// How many there are.
    pub const COUNT: usize = 9;

    /// Its encoding name in SDP, in any case.
    pub const fn encoding(self) -> &'static str {
        match self {
            Self::Pcma => "PCMA",
            Self::Pcmu => "PCMU",
            Self::G722 => "G722",
            Self::G729 => "G729",
            Self::Ilbc => "iLBC",
            Self::Opus => "opus",
            Self::Silk => "SILK",
            Self::Amr => "AMR",
            Self::AmrWb => "AMR-WB",
        }
    }
}

impl HeaderRule {
    /// The header that it is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Add { name, .. }
            | Self::Set { name, .. }
            | Self::Remove { name }
            | Self::Copy { name }
            | Self::Replace { name, .. } => name,
        }
    }
}

/// That of the profile `generic`.
impl Default for Dialect {
    fn default() -> Self {
        crate::resolve::profile::generic().dialect()
    }
}
