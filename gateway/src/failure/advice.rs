//! What to check when a call failed, in plain words: by cause, by the status with which the far end refused, and by a code
//! of the far end's own. `docs/why-did-my-call-fail.md` has the same rows, which a test sees to.

use super::Cause;

/// What is known of a final status or a code, and what to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What it means.
    pub meaning: &'static str,
    /// What to check.
    pub check: &'static str,
}

/// What a peer's own code of failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The code.
    pub code: u32,
    /// What it means.
    pub advice: Advice,
}

impl Cause {
    /// What it means beyond its words, if anything.
    pub fn meaning(self) -> Option<&'static str> {
        match self {
            Self::Peer(status) | Self::BadRequest(status) => Some(of_status(status).meaning),
            Self::Normal
            | Self::CallerGaveUp
            | Self::UnknownTenant
            | Self::UnknownNumber
            | Self::IncompleteNumber
            | Self::NumberNotInUse
            | Self::ForeignCaller
            | Self::NoRoute
            | Self::Barred
            | Self::TenantFull
            | Self::TrunkFull
            | Self::NumberFull
            | Self::TooFast
            | Self::MinutesSpent
            | Self::NoPorts
            | Self::Draining
            | Self::Overload
            | Self::TooManyHops
            | Self::Looped
            | Self::DivertedTooOften
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
            | Self::Internal
            | Self::Restart
            | Self::TooLong
            | Self::MediaTimeout(_)
            | Self::ForeignRealm
            | Self::CredentialsRefused
            | Self::LockedOut
            | Self::NotRegistered
            | Self::NoRecord => None,
        }
    }

    /// What to check; nothing where a call ended as calls do.
    pub fn check(self) -> Option<&'static str> {
        Some(match self {
            Self::Normal => return None,
            Self::Peer(status) | Self::BadRequest(status) => of_status(status).check,
            Self::CallerGaveUp => "`t_ring`: if it never rang, `attempts` says where the time went",
            Self::UnknownTenant => {
                "the name in the voice route of Microsoft 365: a tenant's `label` or `fqdn` must be the same"
            }
            Self::UnknownNumber => {
                "`numbers` of the tenant, and whether its `trunks` or `inbound_trunks` name the trunk that calls"
            }
            Self::IncompleteNumber => {
                "`legs[0].called`: it should be a number; and the trunk's `country`"
            }
            Self::NumberNotInUse => "the state of the number in `numbers` of its tenant or trunk",
            Self::ForeignCaller => {
                "`numbers` and `foreign_caller` of the tenant or trunk, and the number that the caller shows"
            }
            Self::NoRoute => "`trunks` of the tenant or trunk that calls",
            Self::Barred => "`barred` and `unbarred` of the tenant or trunk that calls",
            Self::TenantFull => "`max_calls` and `limits` of the tenant",
            Self::TrunkFull => "`max_calls` and `limits` of the trunk",
            Self::NumberFull => "`limits.number` of the tenant and the trunk",
            Self::TooFast => {
                "`per_second` in `limits` of the tenant and the trunk, and who calls so often"
            }
            Self::MinutesSpent => {
                "`minutes_per_day` in `limits` of the tenant and the trunk, and what they have called so long"
            }
            Self::NoPorts => {
                "the port ranges of `[media]`; `trunkgate check` says how many calls they allow"
            }
            Self::Draining => "nothing: the gateway is being stopped; calls go to another gateway",
            Self::Overload => "the machine, and who sends so many: trunkgate_waiting_messages",
            Self::TooManyHops => "the routes on both sides: calls go round between them",
            Self::Looped => "the routes of the proxy that sent the call back",
            Self::DivertedTooOften => {
                "the forwarding of the called user and of the number it leads to"
            }
            Self::BadOffer => "the SDP of the INVITE or of its answer; the log at level debug",
            Self::NotEncrypted => "`srtp` of the trunk, and whether the peer offers SDES keys",
            Self::NothingInCommon => {
                "the codecs of both sides, and IPv4 or IPv6: there is no transcoding"
            }
            Self::Unsupported => {
                "Require in the INVITE; for 100rel, `reliable_provisional` of the trunk"
            }
            Self::Unreachable => {
                "`attempts`: the addresses, DNS, the firewall, the peer's listener and its certificate"
            }
            Self::Silent => {
                "`attempts`: whether the peer is up and its answers come back through the firewall"
            }
            Self::NoAnswer => {
                "nothing, if nobody was there; else the forwarding of the called user"
            }
            Self::NotConfirmed => {
                "whether our responses reach the caller: firewall, NAT, `advertise`"
            }
            Self::NotAcknowledged => {
                "whether our 18x reach the caller and its PRACK us; `reliable_provisional` of the trunk"
            }
            Self::Lost => "the line to the peer, and whether it was restarted",
            Self::Internal => "the log at the time of the call, and please report it",
            Self::Restart => {
                "why the process ended, and whether it was started again within 5 minutes"
            }
            Self::TooLong => "`max_duration` of the tenant and the trunk",
            Self::MediaTimeout(_) => {
                "`media` of this record: firewall, NAT, `media_networks`; and `media_timeout`"
            }
            Self::NoRecord => "the disk that holds `state`",
            Self::ForeignRealm => {
                "the realm and algorithm in the trunk's challenge (a capture), and `realm` of its `credentials`"
            }
            Self::CredentialsRefused => "`username` and `password` of the trunk's `credentials`",
            Self::NotRegistered => {
                "whether the trunk registers: trunkgate_registered_contacts, the log, its password and `registrar`"
            }
            Self::LockedOut => {
                "the caller's password, and `authenticate` of its trunk; it may try again within 30 minutes"
            }
        })
    }
}

/// What a final status of the far end says.
fn of_status(status: u16) -> Advice {
    let known = STATUSES.iter().find(|(known, ..)| *known == status);
    let (_, meaning, check) = known.unwrap_or(match status {
        300..400 => &STATUSES[0],
        400..500 => &(0, "a refusal of the far end", "`cause.reason`, and the far end's own log"),
        500..600 => &(0, "a fault of the far end", "the far end's own log; other trunks meanwhile"),
        _ => &(0, "refused by the called side as a whole", "`cause.reason`"),
    });
    Advice { meaning, check }
}

/// Status, what it means, what to check. RFC 3261 §21.
const STATUSES: [(u16, &str, &str); 30] = [
    (
        302,
        "it names another destination",
        "the far end's routes; its trunk's `redirects`, without which redirections are not followed",
    ),
    (400, "it could not read the message", "`cause.reason`, and both sides' messages in a capture"),
    (
        401,
        "it asks for a password",
        "`credentials` of the trunk, or the address that the carrier knows us by",
    ),
    (
        402,
        "a licence or credit is missing",
        "the licence of the user, or the account at the carrier",
    ),
    (
        403,
        "it does not allow the call",
        "the caller's number, the dial plan and the address that the carrier knows us by",
    ),
    (
        404,
        "it does not know the number",
        "the number as sent in `legs[1].called`, and who has it there",
    ),
    (405, "it does not know the method", "the far end's settings"),
    (
        407,
        "it asks for a password",
        "`credentials` of the trunk, or the address that the carrier knows us by",
    ),
    (408, "it reached nobody in time", "the far end's next hop, and the called phone"),
    (
        410,
        "the number is gone, or media could not be set up",
        "the number; from a tenant also SDP and firewall",
    ),
    (412, "a condition is not met", "the number's form: plus sign and country code"),
    (415, "it cannot take the body", "whether the body is SDP, or multipart with one SDP in it"),
    (420, "it lacks an extension that is required", "Require and Unsupported in a capture"),
    (422, "the session interval is too short", "Session-Expires and Min-SE of that side"),
    (
        480,
        "nobody can be reached there now",
        "whether a phone or client is signed in; call settings of the user",
    ),
    (481, "it does not know the call any more", "whether that side was restarted"),
    (482, "the call goes round", "the routes on both sides"),
    (483, "the call passed too many hops", "the routes on both sides: calls go round between them"),
    (484, "the number is incomplete", "the number as sent in `legs[1].called`"),
    (486, "busy, or declined", "nothing: the called side said so"),
    (487, "the call was taken back", "nothing, if the caller hung up or it was answered elsewhere"),
    (
        488,
        "the media do not suit it",
        "codecs and SRTP of both sides: `srtp` of the trunk; there is no transcoding",
    ),
    (491, "two changes crossed", "nothing: it is tried again"),
    (500, "a fault of its own", "the far end's own log; other trunks meanwhile"),
    (501, "it does not know how", "`cause.reason`, and the extension that the message asks for"),
    (502, "its next hop failed", "the far end's own routes"),
    (503, "it is overloaded or out of service", "the far end; whether `attempts` has other hops"),
    (
        504,
        "its next hop was silent",
        "the far end's own routes; towards us: DNS, firewall and our certificate",
    ),
    (600, "busy everywhere", "nothing: the called side said so"),
    (603, "declined", "nothing: the called side said so"),
];

#[cfg(test)]
mod tests {
    use super::super::tests::ALL;
    use super::*;
    use crate::profile::teams;

    /// Rows that the document lacks, as they should stand there.
    fn missing(rows: impl Iterator<Item = String>) -> Vec<String> {
        let document = include_str!("../../../docs/why-did-my-call-fail.md");
        rows.filter(|row| !document.lines().any(|line| line == row)).collect()
    }

    #[test]
    fn the_document_has_every_cause_status_and_code() {
        let causes = ALL.into_iter().filter_map(|cause| {
            let (label, status) = (cause.label(), cause.status());
            let own = !matches!(cause, Cause::Peer(_) | Cause::BadRequest(_));
            let check = cause.check().filter(|_| own)?;
            Some(format!("| `{label}` | {status} | {cause} | {check} |"))
        });
        let statuses = STATUSES
            .iter()
            .map(|(status, meaning, check)| format!("| {status} | {meaning} | {check} |"));
        let rows = causes.chain(statuses).chain(teams::code_rows());
        let missing = missing(rows);
        assert!(missing.is_empty(), "add to the document:\n{}", missing.join("\n"));
    }

    #[test]
    fn every_failure_says_what_to_check() {
        for cause in ALL {
            assert_eq!(cause.check().is_none(), cause == Cause::Normal, "{cause:?}");
        }
        for status in 300..700 {
            let advice = of_status(status);
            assert!(!advice.meaning.is_empty() && !advice.check.is_empty(), "{status}");
            assert!(!advice.check.contains('"'), "the log escapes it: {status}");
        }
        assert!(STATUSES.is_sorted_by_key(|(status, ..)| *status));
    }
}
