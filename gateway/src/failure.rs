//! Why a call failed or ended, and what that means to everyone who asks: SIP status, Q.850 cause, who is at fault,
//! metric label and plain words. The one place that maps a cause; total, without a wildcard. What to check stands beside, in
//! `failure/advice.rs`.
//!
//! SIP: RFC 3261 §21; Q.850 in Reason: RFC 3326; mapping between them: RFC 3398 §7.2.6, §8.2.6.

mod advice;

use std::fmt;

pub use advice::{Advice, Verdict};

/// Why a call was refused or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// One side hung up an answered call.
    Normal,
    /// The caller gave up before an answer.
    CallerGaveUp,
    /// The far end refused with this final status.
    Peer(u16),
    /// The Request-URI names no tenant of this edge.
    UnknownTenant,
    /// Nobody who takes calls from there has this number.
    UnknownNumber,
    /// The called number cannot be read as a number.
    IncompleteNumber,
    /// The called number is kept in store or was given back.
    NumberNotInUse,
    /// The caller's number is not its end's own, and calls in another's name are refused.
    ForeignCaller,
    /// The number is known, but there is no trunk to reach it by.
    NoRoute,
    /// The end that calls may not call this number.
    Barred,
    /// The tenant has as many calls as it may have.
    TenantFull,
    /// The trunk has as many calls as it may have.
    TrunkFull,
    /// A number has as many calls as it may have.
    NumberFull,
    /// The calls of a tenant, trunk or number come faster than they may.
    TooFast,
    /// The calls of a tenant or trunk have lasted as long today as they may.
    MinutesSpent,
    /// No media port is free.
    NoPorts,
    /// The daemon takes no new calls: it is stopping.
    Draining,
    /// More calls come in than can be served.
    Overload,
    /// Max-Forwards is used up.
    TooManyHops,
    /// The call has come back to us by a proxy.
    Looped,
    /// The call was diverted so often, or has come so often, that it goes round in circles.
    DivertedTooOften,
    /// The INVITE itself cannot be taken: damaged, an extension or body that we do not have, a session interval that is
    /// too short. The status says which.
    BadRequest(u16),
    /// The session description cannot be read or asks for something impossible.
    BadOffer,
    /// Media without encryption where it is compulsory, or no usable key.
    NotEncrypted,
    /// No audio stream or no codec in common.
    NothingInCommon,
    /// An extension is required that we do not have.
    Unsupported,
    /// None of the next hops could be reached.
    Unreachable,
    /// The next hops were reached but said nothing.
    Silent,
    /// It rang, and nobody answered in time.
    NoAnswer,
    /// The caller never confirmed the answer.
    NotConfirmed,
    /// The caller never acknowledged an 18x that had to be.
    NotAcknowledged,
    /// A peer did not answer inside an answered call.
    Lost,
    /// A fault of ours; the log has its trace.
    Internal,
    /// The gateway died and could not take the call up again.
    Restart,
    /// An answered call has lasted as long as its tenant or trunk lets calls last.
    TooLong,
    /// This side should send media, and neither RTP nor RTCP has come from it for too long.
    MediaTimeout(Party),
    /// What must be kept of a call cannot be kept: the disk is full, and so is what waits for it.
    NoRecord,
    /// The trunk asks for credentials that it has none of: of another realm, or by an algorithm that we do not have.
    ForeignRealm,
    /// The trunk did not take its credentials.
    CredentialsRefused,
    /// The trunk that calls has given wrong answers to our challenges too often.
    LockedOut,
    /// The trunk registers with us, and has not, or not any more.
    NotRegistered,
}

/// One side of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// The side that called.
    Caller,
    /// The side that was called.
    Callee,
}

/// Who can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody: an ordinary end.
    Nobody,
    /// The side that called.
    Caller,
    /// The side that was called.
    Callee,
    /// The operator of this gateway.
    Operator,
    /// This gateway itself.
    Us,
}

/// What a new call found too little of here.
#[derive(Clone, Copy)]
enum Shortage {
    /// What the operator allows.
    Limit,
    /// What we have.
    Ours,
}

impl Cause {
    /// The status for a caller who is still waiting for an answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::Normal | Self::CallerGaveUp => 487,
            Self::Peer(status) => status,
            Self::UnknownTenant | Self::UnknownNumber | Self::NumberNotInUse | Self::NoRoute => 404,
            Self::ForeignCaller | Self::Barred => 403,
            Self::IncompleteNumber => 484,
            Self::TenantFull | Self::TrunkFull | Self::NumberFull => 503,
            Self::TooFast | Self::MinutesSpent => 503,
            Self::NoPorts | Self::Draining | Self::Overload | Self::NoRecord => 503,
            Self::Unreachable | Self::Silent => 503,
            Self::NotRegistered => 480,
            Self::TooManyHops => 483,
            Self::Looped | Self::DivertedTooOften => 482,
            Self::BadRequest(status) => status,
            Self::BadOffer | Self::NotEncrypted | Self::NothingInCommon => 488,
            Self::Unsupported => 420,
            Self::NoAnswer => 408,
            Self::NotConfirmed | Self::Lost | Self::TooLong | Self::MediaTimeout(_) => 408,
            Self::NotAcknowledged => 504,
            Self::Internal | Self::Restart => 500,
            Self::ForeignRealm | Self::CredentialsRefused | Self::LockedOut => 403,
        }
    }

    /// The status that a waiting caller gets: redirections are not followed, and challenges are not the caller's to
    /// answer, so both would mislead it.
    pub const fn status_for_caller(self) -> u16 {
        match self.status() {
            300..=399 => 480,
            401 | 407 => 403,
            status => status,
        }
    }

    /// Whether it is a limit that the operator has set on calls: the caller's trunk says how it wants to hear of that.
    pub const fn is_limit(self) -> bool {
        matches!(self.shortage(), Some(Shortage::Limit))
    }

    /// Whether our 503 shall say when to come back: only when it is us who are short of something. After a hop that
    /// failed it would keep the caller from calling anybody else.
    pub const fn asks_to_wait(self) -> bool {
        self.shortage().is_some()
    }

    /// What there was too little of here.
    const fn shortage(self) -> Option<Shortage> {
        match self {
            Self::TenantFull
            | Self::TrunkFull
            | Self::NumberFull
            | Self::TooFast
            | Self::MinutesSpent => Some(Shortage::Limit),
            Self::NoPorts | Self::Draining | Self::Overload | Self::NoRecord => {
                Some(Shortage::Ours)
            }
            Self::Normal
            | Self::CallerGaveUp
            | Self::Peer(_)
            | Self::UnknownTenant
            | Self::UnknownNumber
            | Self::IncompleteNumber
            | Self::NumberNotInUse
            | Self::ForeignCaller
            | Self::Barred
            | Self::NoRoute
            | Self::TooManyHops
            | Self::Looped
            | Self::DivertedTooOften
            | Self::BadRequest(_)
            | Self::BadOffer
            | Self::NotEncrypted
            | Self::NothingInCommon
            | Self::Unsupported
            | Self::Unreachable
            | Self::Silent
            | Self::NoAnswer
            | Self::NotConfirmed
            | Self::NotAcknowledged
            | Self::Lost
            | Self::TooLong
            | Self::MediaTimeout(_)
            | Self::Internal
            | Self::ForeignRealm
            | Self::CredentialsRefused
            | Self::LockedOut
            | Self::NotRegistered
            | Self::Restart => None,
        }
    }

    /// The Q.850 cause value.
    pub const fn q850(self) -> u8 {
        match self {
            Self::Normal | Self::CallerGaveUp => 16,
            Self::Peer(status) => q850_of_status(status),
            Self::UnknownTenant | Self::NoRoute => 3,
            Self::UnknownNumber | Self::NumberNotInUse => 1,
            Self::ForeignCaller | Self::Barred => 21,
            Self::IncompleteNumber => 28,
            Self::TenantFull | Self::TrunkFull | Self::NumberFull => 34,
            Self::TooFast | Self::MinutesSpent => 34,
            Self::NoPorts | Self::Overload => 34,
            Self::Draining | Self::Unreachable | Self::NoRecord => 41,
            Self::TooManyHops | Self::Looped | Self::DivertedTooOften => 25,
            Self::BadRequest(status) => q850_of_status(status),
            Self::BadOffer | Self::NotEncrypted | Self::NothingInCommon => 65,
            Self::Unsupported => 79,
            Self::Silent | Self::NotConfirmed | Self::NotAcknowledged | Self::Lost => 102,
            Self::TooLong | Self::MediaTimeout(_) => 102,
            Self::NoAnswer => 19,
            Self::NotRegistered => 20,
            Self::Internal | Self::Restart => 41,
            Self::ForeignRealm | Self::CredentialsRefused | Self::LockedOut => 21,
        }
    }

    /// Who can do something about it.
    pub const fn fault(self) -> Fault {
        match self {
            Self::Normal | Self::CallerGaveUp => Fault::Nobody,
            Self::MediaTimeout(Party::Caller) => Fault::Caller,
            Self::MediaTimeout(Party::Callee) => Fault::Callee,
            Self::Peer(_) | Self::Unreachable | Self::NotRegistered => Fault::Callee,
            Self::Silent | Self::NoAnswer | Self::Lost => Fault::Callee,
            Self::UnknownTenant
            | Self::UnknownNumber
            | Self::IncompleteNumber
            | Self::NumberNotInUse
            | Self::ForeignCaller
            | Self::Barred
            | Self::TooManyHops
            | Self::Looped
            | Self::DivertedTooOften
            | Self::BadRequest(_)
            | Self::BadOffer
            | Self::NotEncrypted
            | Self::NothingInCommon
            | Self::Unsupported
            | Self::LockedOut
            | Self::NotConfirmed
            | Self::NotAcknowledged => Fault::Caller,
            Self::NoRoute
            | Self::TenantFull
            | Self::TrunkFull
            | Self::NumberFull
            | Self::TooFast
            | Self::MinutesSpent
            | Self::NoPorts
            | Self::Draining
            | Self::Overload
            | Self::TooLong
            | Self::ForeignRealm
            | Self::CredentialsRefused
            | Self::NoRecord => Fault::Operator,
            Self::Internal | Self::Restart => Fault::Us,
        }
    }

    /// The label in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::CallerGaveUp => "caller_gave_up",
            Self::Peer(_) => "peer",
            Self::UnknownTenant => "unknown_tenant",
            Self::UnknownNumber => "unknown_number",
            Self::IncompleteNumber => "incomplete_number",
            Self::NumberNotInUse => "number_not_in_use",
            Self::ForeignCaller => "foreign_caller",
            Self::NoRoute => "no_route",
            Self::Barred => "barred",
            Self::TenantFull => "tenant_full",
            Self::TrunkFull => "trunk_full",
            Self::NumberFull => "number_full",
            Self::TooFast => "too_fast",
            Self::MinutesSpent => "minutes_spent",
            Self::NoPorts => "no_ports",
            Self::Draining => "draining",
            Self::Overload => "overload",
            Self::TooManyHops => "too_many_hops",
            Self::Looped => "looped",
            Self::DivertedTooOften => "diverted_too_often",
            Self::BadRequest(_) => "bad_request",
            Self::BadOffer => "bad_offer",
            Self::NotEncrypted => "not_encrypted",
            Self::NothingInCommon => "nothing_in_common",
            Self::Unsupported => "unsupported",
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
            Self::NoAnswer => "no_answer",
            Self::NotConfirmed => "not_confirmed",
            Self::NotAcknowledged => "not_acknowledged",
            Self::Lost => "lost",
            Self::Internal => "internal",
            Self::Restart => "restart",
            Self::TooLong => "max_duration",
            Self::MediaTimeout(_) => "media_timeout",
            Self::NoRecord => "no_record",
            Self::ForeignRealm => "foreign_realm",
            Self::CredentialsRefused => "credentials_refused",
            Self::LockedOut => "locked_out",
            Self::NotRegistered => "not_registered",
        }
    }
}

/// The reason in words, for the CDR and the log.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::Normal => "hung up",
            Self::CallerGaveUp => "the caller gave up before an answer",
            Self::Peer(status) => return write!(f, "the far end refused with {status}"),
            Self::UnknownTenant => "the Request-URI names no tenant of this edge",
            Self::UnknownNumber => "no tenant or trunk that takes calls from there has this number",
            Self::IncompleteNumber => "the called number cannot be read",
            Self::NumberNotInUse => "the called number is reserved or in quarantine",
            Self::ForeignCaller => {
                "the caller's number is not that of the tenant or trunk that calls"
            }
            Self::NoRoute => "no trunk leads to this number",
            Self::Barred => "this number may not be called from there",
            Self::TenantFull => "the tenant has as many calls as it may have",
            Self::TrunkFull => "the trunk has as many calls as it may have",
            Self::NumberFull => "the number has as many calls as it may have",
            Self::TooFast => "more calls in a second than the tenant, trunk or number may have",
            Self::MinutesSpent => {
                "the calls of the tenant or trunk have lasted as long today as they may"
            }
            Self::NoPorts => "no media port is free",
            Self::Draining => "the gateway is stopping and takes no new calls",
            Self::Overload => "more calls come in than can be served",
            Self::TooManyHops => "Max-Forwards is used up",
            Self::Looped => "the call has passed here before",
            Self::DivertedTooOften => "the call goes round: diverted, or under way, five times",
            Self::BadRequest(status) => return write!(f, "the INVITE cannot be taken: {status}"),
            Self::BadOffer => "the session description cannot be used",
            Self::NotEncrypted => "no usable SRTP key was offered where encryption is compulsory",
            Self::NothingInCommon => "no audio codec in common",
            Self::Unsupported => "a required extension is not supported",
            Self::Unreachable => "no next hop could be reached",
            Self::Silent => "the next hops did not answer",
            Self::NoAnswer => "nobody answered in time",
            Self::NotConfirmed => "the caller never confirmed the answer (ACK missing)",
            Self::NotAcknowledged => "the caller never acknowledged its ringing (PRACK missing)",
            Self::Lost => "a peer stopped answering during the call",
            Self::Internal => "a fault of the gateway, see the log",
            Self::Restart => "cut by a restart of the gateway",
            Self::TooLong => "the call has lasted for max_duration",
            Self::MediaTimeout(Party::Caller) => "no media came from the caller for media_timeout",
            Self::MediaTimeout(Party::Callee) => "no media came from the callee for media_timeout",
            Self::NoRecord => "the disk is full and no record could be kept",
            Self::ForeignRealm => "the trunk asks for credentials of another realm",
            Self::CredentialsRefused => "the trunk did not take its credentials",
            Self::LockedOut => "this source has given too many wrong passwords",
            Self::NotRegistered => "not registered: nobody knows where the trunk can be reached",
        };
        f.write_str(words)
    }
}

impl Fault {
    /// The label in CDRs and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::Operator => "operator",
            Self::Us => "us",
        }
    }
}

/// Retry-After of our own 503, in seconds; short, because another gateway of the operator may be free at once.
pub const RETRY_AFTER: &str = "2";

/// The value of a Reason header (RFC 3326) for this cause.
pub fn reason_header(cause: Cause) -> String {
    format!("Q.850;cause={}", cause.q850())
}

/// RFC 3398 §8.2.6.1 read backwards, with 486 and 603 as §7.2.6 has them.
const fn q850_of_status(status: u16) -> u8 {
    match status {
        401 | 402 | 403 | 407 | 603 => 21,
        404 | 485 | 604 => 1,
        408 | 504 => 102,
        410 => 22,
        413 | 414 | 416 | 420 | 421 | 423 | 505 | 513 => 127,
        480 => 18,
        483 => 25,
        484 => 28,
        486 | 600 => 17,
        487 => 16,
        488 | 606 => 65,
        500 | 503 => 41,
        502 => 38,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const ALL: [Cause; 41] = [
        Cause::Normal,
        Cause::CallerGaveUp,
        Cause::Peer(486),
        Cause::UnknownTenant,
        Cause::UnknownNumber,
        Cause::IncompleteNumber,
        Cause::NumberNotInUse,
        Cause::ForeignCaller,
        Cause::NoRoute,
        Cause::Barred,
        Cause::TenantFull,
        Cause::TrunkFull,
        Cause::NumberFull,
        Cause::TooFast,
        Cause::MinutesSpent,
        Cause::NoPorts,
        Cause::Draining,
        Cause::Overload,
        Cause::TooManyHops,
        Cause::Looped,
        Cause::DivertedTooOften,
        Cause::BadRequest(420),
        Cause::BadOffer,
        Cause::NotEncrypted,
        Cause::NothingInCommon,
        Cause::Unsupported,
        Cause::Unreachable,
        Cause::Silent,
        Cause::NoAnswer,
        Cause::NotConfirmed,
        Cause::NotAcknowledged,
        Cause::Lost,
        Cause::Internal,
        Cause::Restart,
        Cause::TooLong,
        Cause::MediaTimeout(Party::Callee),
        Cause::NoRecord,
        Cause::ForeignRealm,
        Cause::CredentialsRefused,
        Cause::LockedOut,
        Cause::NotRegistered,
    ];

    #[test]
    fn every_cause_has_a_failure_status_a_q850_cause_and_its_own_label() {
        for cause in ALL {
            assert!((400..700).contains(&cause.status()), "{cause:?}");
            assert!((1..=127).contains(&cause.q850()), "{cause:?}");
            assert_eq!(ALL.iter().filter(|c| c.label() == cause.label()).count(), 1, "{cause:?}");
        }
    }

    #[test]
    fn a_caller_is_neither_redirected_nor_challenged() {
        let shown = [302, 401, 407, 486].map(|status| Cause::Peer(status).status_for_caller());
        assert_eq!(shown, [480, 403, 403, 486]);
    }

    #[test]
    fn busy_is_busy_on_both_scales() {
        assert_eq!(Cause::Peer(486).status(), 486);
        assert_eq!(reason_header(Cause::Peer(486)), "Q.850;cause=17");
        assert_eq!(Cause::Peer(603).q850(), 21);
    }
}
