//! Microsoft's own codes for the end of a call: where they stand in its messages, and what they mean.
//!
//! Its reports show "SIP code / Microsoft code", such as 404/511404. On the wire a code, or the words that go with it, may
//! stand in the text of Reason (behind the correlation id), in the phrase, in Warning or in a header of its own; any of them
//! will do. Codes 560xyz say that the other side, which is this gateway, answered xyz; anything else is Microsoft's word.

use sip_stack::message::{HeaderId, Message};

use crate::failure::{Advice, Verdict};

/// A code as it is shown with a status.
struct Code {
    status: u16,
    code: u32,
    /// What stands in the text of Reason in its place; empty if nothing is known.
    words: &'static str,
    meaning: &'static str,
    check: &'static str,
}

/// What Microsoft says of the end of a call, if it says anything of its own: words say more than the number that several
/// have in common.
pub(super) fn verdict(message: &Message) -> Option<Verdict> {
    let texts: Vec<&[u8]> = texts(message).collect();
    let said =
        |code: &&Code| !code.words.is_empty() && texts.iter().any(|text| holds(text, code.words));
    // Most messages say nothing.
    let known = if texts.is_empty() { None } else { CODES.iter().find(said) };
    let known = known.or_else(|| numbers(&texts).find_map(|it| of_number(it, message.status())));
    if let Some(code) = known {
        return Some(Verdict { code: code.code, advice: code.advice() });
    }
    numbers(&texts).find_map(|code| Some(Verdict { code, advice: strange(code)? }))
}

/// The table as the document has it.
#[cfg(test)]
pub(crate) fn code_rows() -> impl Iterator<Item = String> {
    let known = CODES.iter().map(|code| {
        format!("| {}/{} | {} | {} |", code.status, code.code, code.meaning, code.check)
    });
    let others = [("560xyz", OURS), ("5xxxxx", OTHERS)];
    known.chain(others.map(|(code, it)| format!("| {code} | {} | {} |", it.meaning, it.check)))
}

impl Code {
    const fn advice(&self) -> Advice {
        Advice { meaning: self.meaning, check: self.check }
    }
}

/// The row of a number; of several with that number, the one with this status.
fn of_number(number: u32, status: u16) -> Option<&'static Code> {
    let mut rows = CODES.iter().filter(|code| code.code == number);
    let first = rows.next()?;
    Some(if first.status == status {
        first
    } else {
        rows.find(|code| code.status == status).unwrap_or(first)
    })
}

/// A code that looks like one of Microsoft's, but is in no row.
const fn strange(number: u32) -> Option<Advice> {
    match number {
        560_100..=560_699 => Some(OURS),
        500_000..=599_999 => Some(OTHERS),
        _ => None,
    }
}

/// Where codes and their words may stand, unless it is too short for any.
fn texts(message: &Message) -> impl Iterator<Item = &[u8]> {
    let own = |name: &[u8]| name.get(..MARK.len()).is_some_and(|it| it.eq_ignore_ascii_case(MARK));
    let fields = message.fields().filter(move |field| {
        matches!(field.id, HeaderId::Reason | HeaderId::Warning) || own(field.name)
    });
    let all = std::iter::once(message.reason_phrase()).chain(fields.map(|field| field.value));
    all.filter(|text| text.len() >= SHORTEST)
}

/// Numbers that stand alone: not those within a GUID, a name or an address.
fn numbers(texts: &[&[u8]]) -> impl Iterator<Item = u32> {
    let words = |text| <[u8]>::split(text, |byte| b" ;,:/()[]\"=\t".contains(byte));
    texts.iter().copied().flat_map(words).filter_map(|word| {
        let fits = (SHORTEST..=6).contains(&word.len()) && word.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(word).ok().filter(|_| fits)?.parse().ok()
    })
}

fn holds(text: &[u8], words: &str) -> bool {
    text.windows(words.len()).any(|window| window.eq_ignore_ascii_case(words.as_bytes()))
}

const fn code(
    status: u16,
    code: u32,
    words: &'static str,
    meaning: &'static str,
    check: &'static str,
) -> Code {
    Code { status, code, words, meaning, check }
}

const MARK: &[u8] = b"X-MS-";
/// Of numbers; all words are longer.
const SHORTEST: usize = 4;
const OURS: Advice = Advice {
    meaning: "this gateway answered xyz to Teams",
    check: "this record's own cause: Microsoft only repeats it",
};
const OTHERS: Advice = Advice {
    meaning: "Microsoft refused or ended the call for a reason of its own",
    check: "the code on learn.microsoft.com; its support wants `correlation_id`",
};
const POLICY: &str = "a policy of the tenant does not allow the call";
const POLICIES: &str = "the calling policy, voice routing policy and call restrictions of the user in the Teams admin centre";
const TLS: &str = "Microsoft cannot connect to this gateway by TLS";
const TLS_CHECK: &str = "address, port and firewall of the tenant's name; names, age and chain of the certificate: `trunkgate check`";
const MEDIA: &str =
    "the firewall between Microsoft's media networks and the ports of `[media]`; `advertise`";

/// In the order of the document: by status, then code.
const CODES: [Code; 38] = [
    code(
        400,
        540_400,
        "",
        "Microsoft could not read a message of ours",
        "a capture of the call; please report it",
    ),
    code(403, 10_199, "", POLICY, POLICIES),
    code(
        403,
        10_500,
        "",
        "location-based routing does not allow the call",
        "the sites and `-GatewaySiteLbrEnabled` of the trunk in Microsoft 365",
    ),
    code(
        403,
        10_553,
        "",
        "the compliance recorder that the user must have failed",
        "the recording bot of that tenant",
    ),
    code(
        403,
        510_532,
        "No trunk config",
        "Microsoft knows no trunk of this name",
        "that the tenant's name is a verified domain of its Microsoft 365 tenant with an activated account (up to 24 hours), that the base name has a trunk (New-CsOnlinePSTNGateway), and that `label` is right",
    ),
    code(
        403,
        510_534,
        "",
        "the caller is blocked in the tenant",
        "Get-CsInboundBlockedNumberPattern of that tenant",
    ),
    code(
        403,
        510_546,
        "",
        "location-based routing does not allow the call",
        "the sites and `-GatewaySiteLbrEnabled` of the trunk in Microsoft 365",
    ),
    code(403, 510_559, "", POLICY, POLICIES),
    code(403, 510_560, "", POLICY, POLICIES),
    code(403, 510_562, "", POLICY, POLICIES),
    code(403, 510_563, "", POLICY, POLICIES),
    code(
        404,
        10_202,
        "",
        "the call that was to be replaced is gone",
        "nothing: it ended while it was transferred",
    ),
    code(
        404,
        511_404,
        "",
        "no user of the tenant has the called number",
        "Get-CsPhoneNumberAssignment of that tenant, and `legs[1].called`: plus sign and country code",
    ),
    code(
        408,
        1_106,
        "",
        "Microsoft did not get our ACK for its 200",
        "whether the trunk's ACK came, and the connections to Microsoft in the log",
    ),
    code(
        408,
        500_001,
        "",
        "this gateway did not answer Microsoft in time",
        "`attempts`: a trunk that is silent; `FailoverTimeSeconds` of the trunk in Microsoft 365",
    ),
    code(
        410,
        531_000,
        "",
        "Microsoft could not read our SDP",
        "a capture of the call; please report it",
    ),
    code(
        410,
        531_004,
        "IceConnectivityChecksFailed",
        "no path for media was found by ICE",
        "that media bypass is off for the trunk (`-MediaBypass $false`), and the firewall",
    ),
    code(410, 531_005, "MediaConnectivityFailure", "Microsoft got no media", MEDIA),
    code(
        412,
        510_412,
        "",
        "the called number is malformed",
        "`legs[1].called`: plus sign and country code",
    ),
    code(
        415,
        540_415,
        "",
        "Microsoft does not take a body of this type",
        "a capture of the call; please report it",
    ),
    code(420, 560_420, "", "Replaces was not supported", "a capture of the call; please report it"),
    code(
        422,
        540_422,
        "",
        "the session interval is too short for Microsoft",
        "nothing: it is tried again with a longer one",
    ),
    code(
        480,
        10_037,
        "No callee endpoints",
        "nobody is signed in as the called user, or the name is used for Azure Communication Services as well",
        "the user's clients; that the trunk's name is in no ACS resource",
    ),
    code(
        480,
        10_191,
        "",
        "the user has no voicemail, and nobody answered",
        "the user's voicemail policy and licence",
    ),
    code(487, 540_200, "Call completed elsewhere", "it was answered by another phone", "nothing"),
    code(
        488,
        531_000,
        "",
        "Microsoft could not use our SDP",
        "codecs of the trunk; a capture of the call",
    ),
    code(
        488,
        531_000,
        "SrtpEncryptionRequired",
        "Microsoft found no SRTP key in our SDP",
        "a capture of the call; please report it",
    ),
    code(
        488,
        531_000,
        "CannotSupportAnyMedia",
        "Microsoft has none of the offered codecs",
        "codecs of the trunk: Teams has G.711, G.722, G.729 and SILK",
    ),
    code(
        488,
        531_027,
        "",
        "the trunk in Microsoft 365 wants media bypass",
        "Set-CsOnlinePSTNGateway -MediaBypass $false",
    ),
    code(
        500,
        510_482,
        "",
        "Microsoft found the call going round",
        "the forwarding of the called user and of the number it leads to",
    ),
    code(
        500,
        510_544,
        "",
        "Microsoft has no trunk for the number",
        "the voice routes and the voice routing policy of the caller, also for emergency numbers",
    ),
    code(
        503,
        10_320,
        "",
        "a bot of Microsoft failed",
        "once again later; the auto attendant or call queue",
    ),
    code(
        503,
        540_998,
        "",
        "the address of Microsoft that was called is out of service",
        "that DNS answers freshly: the names of the proxies are looked up at least every 15 minutes",
    ),
    code(504, 549_002, "", TLS, TLS_CHECK),
    code(504, 569_002, "", TLS, TLS_CHECK),
    code(504, 569_003, "", TLS, TLS_CHECK),
    code(
        504,
        569_008,
        "",
        "Microsoft refuses our certificate: it has expired",
        "the certificate in `[tls]`; renew it, a reload takes it",
    ),
    code(
        504,
        569_009,
        "",
        "Microsoft refuses our certificate: it does not trust its root",
        "that the CA is in the Microsoft Trusted Root Program, and that the intermediates are in the file",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn said(start: &str, headers: &str) -> Option<(u32, &'static str)> {
        let method = if start.starts_with("BYE") { "BYE" } else { "INVITE" };
        let text = format!(
            "{start}\r\nVia: SIP/2.0/TLS h;branch=z9hG4bKa\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\n\
             Call-ID: 1\r\nCSeq: 1 {method}\r\n{headers}\r\n\r\n"
        );
        let verdict = verdict(&Message::parse(text.into()).unwrap())?;
        Some((verdict.code, verdict.advice.meaning))
    }

    #[test]
    fn tr_071_a_code_is_found_wherever_it_stands() {
        let guid = "0900a0b8-5114-4045-b1bd-000000511404";
        for headers in [
            format!("REASON: Q.850;cause=1;text=\"{guid};511404 User not found\""),
            format!("Reason: Q.850;cause=1;text=\"{guid};404/511404\""),
            "X-MS-Diagnostics: 511404;reason=\"x\"".to_owned(),
            "Warning: 399 sip.teams.test \"511404\"".to_owned(),
        ] {
            let found = said("SIP/2.0 404 Not Found", &headers);
            assert_eq!(found.unwrap().0, 511_404, "{headers}");
        }
        assert_eq!(said("SIP/2.0 404 511404 Not Found", "X: y").unwrap().0, 511_404);
        let plain = format!("REASON: Q.850;cause=17;text=\"{guid};User busy\"\r\nX-Other: 511404");
        assert_eq!(said("SIP/2.0 486 Busy Here", &plain), None);
    }

    #[test]
    fn words_stand_for_a_code_and_the_status_chooses_among_equal_ones() {
        let words = "Reason: Q.850;cause=65;text=\"x;srtpencryptionrequired\"";
        assert!(said("SIP/2.0 488 Not Acceptable Here", words).unwrap().1.contains("SRTP key"));
        let code = "Reason: Q.850;cause=65;text=\"x;531000\"";
        let [gone, refused] = ["410 Gone", "488 Not Acceptable Here"]
            .map(|status| said(&format!("SIP/2.0 {status}"), code).unwrap().1);
        assert_ne!(gone, refused);
        let bye = "BYE sip:a@x SIP/2.0";
        assert_eq!(said(bye, code).unwrap().0, 531_000);
    }

    #[test]
    fn other_codes_say_at_least_whose_they_are() {
        let found =
            |code: &str| said("SIP/2.0 403 Forbidden", &format!("Reason: SIP;text=\"{code}\""));
        assert_eq!(found("560403"), Some((560_403, OURS.meaning)));
        assert_eq!(found("540403"), Some((540_403, OTHERS.meaning)));
        assert_eq!(found("5061"), None);
    }

    #[test]
    fn the_table_is_in_order_and_says_something() {
        for pair in CODES.windows(2) {
            assert!(pair[0].status <= pair[1].status, "{}/{}", pair[1].status, pair[1].code);
        }
        for code in &CODES {
            assert!(!code.meaning.is_empty() && !code.check.is_empty(), "{}", code.code);
            assert!(!code.check.contains('"'), "the log escapes it: {}", code.code);
            assert!(code.words.is_empty() || code.words.len() > SHORTEST, "{}", code.words);
        }
    }
}
