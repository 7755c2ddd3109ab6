//! What is not seen on the wire, or belongs to later features: TR-052, TR-054, TR-063 to TR-067, TR-071 to TR-073, TR-076.

use super::rule::Rule;

const DIGITS: &str = "conversion of digits and silence is not part of this version";
const BYPASS: &str = "media bypass (ICE) is not part of this version";
const LOCAL: &str = "local media optimization is not part of this version";

pub(crate) static RULES: [Rule; 11] = [
    Rule::unseen(52, "Digits: RFC 4733 both ways; INFO and in-band are converted", DIGITS),
    Rule::unseen(
        54,
        "A trunk that sends nothing while it is silent: Teams gets packets all the same",
        DIGITS,
    ),
    Rule::unseen(
        63,
        "Bypass: the checks of three clients at once are answered; audio from each nomination",
        BYPASS,
    ),
    Rule::unseen(
        64,
        "Bypass: no STUN requests of ours; a wrong MESSAGE-INTEGRITY is dropped",
        BYPASS,
    ),
    Rule::unseen(
        65,
        "Bypass: one ufrag and password in 183 and 200; new ones at a restart only",
        BYPASS,
    ),
    Rule::unseen(66, "Bypass: a trunk without candidates is told at the start", BYPASS),
    Rule::unseen(67, "X-MS-UserLocation and X-MS-MediaPath choose where media are anchored", LOCAL),
    Rule::unseen(
        71,
        "The GUIDs of Reason and of Contact (x-i) stand in CDR and log",
        "records and logs are not on the wire",
    )
    .shown_by("tr_071_microsofts_id_of_the_call_is_in_the_record"),
    Rule::unseen(
        72,
        "An INVITE of more than 1400 bytes goes to a UDP trunk with less SDP, or by TCP",
        "only who runs the SBC says how long a datagram to a trunk may be",
    )
    .shown_by("tr_072_an_invite_too_long_for_a_datagram_goes_by_tcp_or_with_less_in_it"),
    Rule::unseen(
        73,
        "While the SBC drains, OPTIONS of Teams get 503 and running calls finish",
        "only who runs the SBC can drain it",
    )
    .shown_by("tr_073_options_get_503_while_the_gateway_drains"),
    Rule::unseen(
        76,
        "OPTIONS to sip.g1.pstnhub.microsoft.com get 200",
        "it takes a tenant of Microsoft's and a public certificate",
    ),
];
