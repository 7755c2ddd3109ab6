//! What the core tells whoever wants to know (metrics; later a console): may be dropped, never waited for.

use std::sync::Arc;
use std::time::Duration;

use media_relay::{SideStats, Sound};

use crate::authentication::Flaw;
use crate::failure::Cause;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// An initial INVITE was taken.
    CallStarted,
    /// An INVITE was refused before it became a call.
    CallRefused {
        /// Why.
        cause: Cause,
    },
    /// A call of a process that died goes on.
    CallRestored,
    /// A refused INVITE left neither log line nor record: too many are refused each second.
    RefusalUnrecorded,
    /// A call was answered.
    CallAnswered {
        /// From the INVITE to the 2xx.
        setup: Duration,
    },
    /// A call is over, answered or not.
    CallEnded {
        /// Why.
        cause: Cause,
    },
    /// A proxy of an edge was found up or down.
    Proxy {
        /// Name of the edge.
        edge: Arc<str>,
        /// Host name of the proxy.
        proxy: Arc<str>,
        /// Whether it answers OPTIONS with a 2xx.
        up: bool,
        /// Whether it answers them with a refusal: it does not know us.
        refused: bool,
    },
    /// A peer of a trunk was found up or down.
    Peer {
        /// Name of the trunk.
        trunk: Arc<str>,
        /// The peer as configured.
        peer: Arc<str>,
        /// Whether it says anything.
        up: bool,
    },
    /// How the registrations of a trunk stand now.
    Registration {
        /// Name of the trunk.
        trunk: Arc<str>,
        /// Whether all that it has are in force.
        up: bool,
        /// The shortest time that was granted.
        granted: Duration,
    },
    /// A registration was tried.
    Registering {
        /// Name of the trunk.
        trunk: Arc<str>,
        /// What came of it.
        outcome: Registering,
    },
    /// So many contacts of a trunk are registered with us now.
    Registered {
        /// Name of the trunk.
        trunk: Arc<str>,
        /// How many.
        contacts: usize,
    },
    /// A REGISTER was answered.
    RegisterAnswered(RegisterAnswer),
    /// An answer to a challenge of ours did not prove what it should.
    Unauthentic(Flaw),
    /// A message was dropped without an answer.
    Dropped(Dropped),
    /// A message was handed to another process, in an upgrade.
    Handed,
    /// A known peer sent what is no message; it was refused where it shows whom to answer.
    Unreadable {
        /// What is wrong, a label.
        cause: &'static str,
    },
    /// A fault of ours was caught; it cost one call or one message.
    Fault,
    /// A connection was refused.
    Refused(Refusal),
    /// A request that begins no call was refused: outside a dialog, or in one.
    RequestRefused,
    /// A transfer was asked for, and what came of it.
    Transfer(Transfer),
    /// A request was too long for a datagram.
    Large(Large),
    /// Sides of an answered call that should be heard are not.
    Silent(Silent),
    /// A session's media ended with these figures.
    MediaEnded {
        /// Per side.
        stats: Box<[SideStats; 2]>,
    },
}

/// What a REGISTER that came to us was answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegisterAnswer {
    /// Its contacts are registered.
    Registered,
    /// Its contacts are registered no more.
    Removed,
    /// It was told what is registered.
    Told,
    /// A challenge.
    Challenged,
    /// Nothing: any answer would have been longer.
    TooShort,
    /// It asked for too little time.
    TooBrief,
    /// A refusal.
    Refused,
    /// A refusal without a look at its credentials: too many were wrong.
    LockedOut,
}

impl RegisterAnswer {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Registered,
        Self::Removed,
        Self::Told,
        Self::Challenged,
        Self::TooShort,
        Self::TooBrief,
        Self::Refused,
        Self::LockedOut,
    ];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Removed => "removed",
            Self::Told => "told",
            Self::Challenged => "challenged",
            Self::TooShort => "too_short",
            Self::TooBrief => "too_brief",
            Self::Refused => "refused",
            Self::LockedOut => "locked_out",
        }
    }
}

/// What came of a REGISTER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Registering {
    /// It was granted.
    Registered,
    /// The registrar did not take the credentials, or asked for others.
    Unauthorized,
    /// It refused.
    Refused,
    /// It could not serve just then.
    Unavailable,
    /// It said nothing.
    Unanswered,
    /// It was not reached.
    Unreachable,
    /// It was not found.
    NotLocated,
}

impl Registering {
    /// The label in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Unauthorized => "unauthorized",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Unanswered => "unanswered",
            Self::Unreachable => "unreachable",
            Self::NotLocated => "not_located",
        }
    }

    /// Whether another peer may do better.
    pub const fn is_elsewhere(self) -> bool {
        match self {
            Self::Unavailable | Self::Unanswered | Self::Unreachable | Self::NotLocated => true,
            Self::Registered | Self::Unauthorized | Self::Refused => false,
        }
    }
}

/// What came of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transfer {
    /// Somebody else has taken a place in the call.
    Done,
    /// The target was not reached.
    Failed,
    /// What was asked for cannot be done, or not by who asked.
    Refused,
    /// The other side was asked.
    Passed,
}

impl Transfer {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::Refused, Self::Passed];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Passed => "passed",
        }
    }
}

/// What became of a request that was too long for a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Large {
    /// It went by TCP.
    Tcp,
    /// It went by UDP with less in it.
    Trimmed,
    /// It went by UDP as it was.
    Fragmented,
}

impl Large {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Trimmed, Self::Fragmented];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Trimmed => "trimmed",
            Self::Fragmented => "fragmented",
        }
    }
}

/// Which sides of a call are silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Silent {
    /// One-way audio: nothing comes from the caller.
    Caller,
    /// One-way audio: nothing comes from the callee.
    Callee,
    /// No audio at all.
    Both,
}

impl Silent {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Caller, Self::Callee, Self::Both];

    /// What the relay tells of caller and callee; none when both are heard.
    pub fn of(sounds: [Sound; 2]) -> Option<Self> {
        match sounds.map(|sound| sound != Sound::Heard) {
            [true, true] => Some(Self::Both),
            [true, false] => Some(Self::Caller),
            [false, true] => Some(Self::Callee),
            [false, false] => None,
        }
    }

    /// The label in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::Both => "both",
        }
    }
}

/// Why a message was dropped without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// It came from an address that belongs to nobody.
    Stranger,
    /// The same, and that address had overdone it before.
    Banned,
    /// Its User-Agent is a scanner's.
    Scanner,
    /// The ACK of a refusal that nothing is kept of.
    Absorbed,
    /// A response to nothing that we have asked.
    Astray,
    /// Too many were waiting.
    Full,
}

impl Dropped {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Stranger, Self::Banned, Self::Scanner, Self::Absorbed, Self::Astray, Self::Full];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Banned => "banned",
            Self::Scanner => "scanner",
            Self::Absorbed => "absorbed",
            Self::Astray => "astray",
            Self::Full => "full",
        }
    }
}

/// Why a connection was refused before any SIP was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Its source address is not admitted.
    Network,
    /// It does not speak TLS where TLS is spoken.
    NotTls,
    /// No TLS version or cipher in common.
    Version,
    /// It showed no client certificate.
    NoCertificate,
    /// Its certificate comes from an authority that is not trusted.
    Issuer,
    /// Its certificate is expired, or not valid yet.
    Date,
    /// Its certificate is another's.
    Name,
    /// Its certificate is for another purpose.
    Purpose,
    /// The TLS handshake took too long.
    Slow,
    /// The TLS handshake failed for anything else.
    Handshake,
    /// As many connections as there may be.
    Limit,
    /// One that we wanted to open: not reached, or not ready in time.
    Dial,
    /// One that we wanted to open: its certificate does not prove who it is.
    Untrusted,
}

impl Refusal {
    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::NotTls => "not_tls",
            Self::Version => "tls_version",
            Self::NoCertificate => "no_certificate",
            Self::Issuer => "certificate_issuer",
            Self::Date => "certificate_date",
            Self::Name => "certificate_name",
            Self::Purpose => "certificate_purpose",
            Self::Slow => "slow_handshake",
            Self::Handshake => "handshake",
            Self::Limit => "limit",
            Self::Dial => "dial",
            Self::Untrusted => "untrusted",
        }
    }

    /// Whether it is about a connection of ours.
    pub const fn is_ours(self) -> bool {
        match self {
            Self::Dial | Self::Untrusted => true,
            Self::Network
            | Self::NotTls
            | Self::Version
            | Self::NoCertificate
            | Self::Issuer
            | Self::Date
            | Self::Name
            | Self::Purpose
            | Self::Slow
            | Self::Handshake
            | Self::Limit => false,
        }
    }
}
