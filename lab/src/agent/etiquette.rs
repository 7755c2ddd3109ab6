//! What any well-behaved message has, whoever sent it (RFC 3261 §8.1.1, §20).

use crate::sip::Message;

/// The rules that a request breaks, in words.
pub(crate) fn faults(message: &Message) -> Vec<&'static str> {
    let has = |name: &str| message.header(name).is_some_and(|value| !value.is_empty());
    let mut faults = Vec::new();
    for (bad, what) in [
        (!has("Via") || !has("From") || !has("To"), "Via, From or To is missing"),
        (!has("Call-ID") || message.cseq() == 0, "Call-ID or CSeq is missing"),
        (!message.branch().starts_with("z9hG4bK"), "the branch lacks its magic cookie"),
        (message.from_tag().is_none_or(str::is_empty), "From has no tag"),
        (!has("Max-Forwards"), "Max-Forwards is missing"),
        (length(message).is_some_and(|it| it != message.body().len()), "Content-Length is wrong"),
        (cseq_method(message) != message.method(), "CSeq names another method"),
        (message.method() == "INVITE" && !has("Contact"), "an INVITE without Contact"),
        (!message.body().is_empty() && !has("Content-Type"), "a body without Content-Type"),
    ] {
        if bad {
            faults.push(what);
        }
    }
    faults
}

/// Whether a body talks of SRTP.
pub(crate) fn speaks_of_srtp(message: &Message) -> bool {
    message.sdp().is_some_and(|sdp| sdp.contains("a=crypto") || sdp.contains("SAVP"))
}

fn length(message: &Message) -> Option<usize> {
    message.header("Content-Length")?.parse().ok()
}

fn cseq_method(message: &Message) -> &str {
    let cseq = message.header("CSeq").unwrap_or_default();
    cseq.split_whitespace().nth(1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "BYE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\nFrom: a;tag=1\r\n\
        To: b\r\nCall-ID: c\r\nCSeq: 1 BYE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n";

    fn found(text: &str) -> Vec<&'static str> {
        faults(&Message::read(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_good_request_has_none_and_each_fault_is_found() {
        assert!(found(GOOD).is_empty());
        for (from, to) in [
            ("To: b\r\n", ""),
            ("Call-ID: c\r\n", ""),
            ("z9hG4bKx", "x"),
            (";tag=1", ""),
            ("Max-Forwards: 70\r\n", ""),
            ("Length: 0", "Length: 3"),
            ("1 BYE", "1 INVITE"),
        ] {
            assert_eq!(found(&GOOD.replace(from, to)).len(), 1, "{from} -> {to}");
        }
        let invite = GOOD.replace("BYE", "INVITE");
        assert_eq!(found(&invite), ["an INVITE without Contact"]);
    }
}
