//! How Teams writes, and what it refuses: as seen in captures and in Microsoft's documents.

use std::net::{IpAddr, SocketAddr};

use crate::agent::dialect::{Names, accepted_crypto};
use crate::agent::{Invite, Order};
use crate::clock;
use crate::sip::{Message, Sdp, host_of};
use crate::wire::Peer;

/// Its domain and the names it knows.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    pub(crate) domain: String,
    pub(crate) tenants: Vec<String>,
}

impl Habits {
    pub(crate) fn proxy_uri(&self, port: u16) -> String {
        format!("sip:sip-du-a-eu.{}:{port}", self.domain)
    }

    pub(crate) fn contact(&self) -> String {
        let (guid, one, other) = (clock::guid(), clock::token::<16>(), clock::token::<16>());
        format!("sip:api-du-a-euwe.{}:443;x-i={guid};x-c={one}/s/1/{other}", self.domain)
    }

    pub(crate) fn record_route(&self, port: u16) -> String {
        format!("<{};transport=tls;lr>", self.proxy_uri(port))
    }

    pub(crate) fn names(&self, invite: &Invite, gateway: SocketAddr) -> Names {
        let callee = format!("sip:{}@{}:{};user=phone", invite.called, invite.host, gateway.port());
        Names {
            uri: format!("{callee};transport=tls"),
            from: format!("Lab User<sip:{}@sip.{}:5061;user=phone>", invite.caller, self.domain),
            to: format!("<{callee}>"),
        }
    }

    /// A user of Teams, who has no number at all; Referred-By with escapes and tokens whose case matters.
    pub(crate) fn order(&self, port: u16, length: usize) -> Order {
        let (proxy, token) = (format!("sip:sip.{}:{port}", self.domain), clock::guid());
        let target = format!("{proxy};transport=tls;x-m=8:orgid:{token}");
        let words = "aHR0cHM6Ly9hUEkuZmxpZ2h0cHJveHkuc2t5cGUuY29t".repeat(length);
        let by = format!("<{proxy};x-m=8:orgid:9A8b;x-t=T-1;x-ti=cOrr;x-tt={words}%3D%3d>");
        Order { target, token, by }
    }

    /// The checks of Direct Routing on what begins a dialog, in the order Teams seems to make them.
    pub(crate) fn refuse(&self, message: &Message, peer: Option<&Peer>) -> Option<(u16, String)> {
        if let Some(why) = blame(message, peer) {
            return Some((403, why));
        }
        let host = message.contact().map(host_of).unwrap_or_default();
        let known = self.tenants.is_empty()
            || self.tenants.iter().any(|tenant| tenant.eq_ignore_ascii_case(host));
        if !known {
            return Some((403, format!("no trunk config for {host}")));
        }
        if !message.uri().starts_with("sip:") {
            return Some((400, "a scheme other than sip".to_owned()));
        }
        if message.method() != "INVITE" {
            return None;
        }
        self.refuse_invite(message)
    }

    fn refuse_invite(&self, message: &Message) -> Option<(u16, String)> {
        if message.header("Replaces").is_some() {
            return Some((400, "Replaces is forbidden".to_owned()));
        }
        if message.lines("Require").any(|value| value.contains("100rel")) {
            return Some((420, "100rel is required".to_owned()));
        }
        // A user of Teams who is transferred to has no number.
        let user = message.uri().contains(";x-m=") && message.header("Referred-By").is_some();
        let number = message.called().starts_with('+') && message.uri().contains(";user=phone");
        if !number && !user {
            return Some((404, "the number lacks + or user=phone".to_owned()));
        }
        if message.body().is_empty() {
            return Some((488, "an INVITE without offer".to_owned()));
        }
        let kind = message.header("Content-Type").unwrap_or_default();
        if !kind.eq_ignore_ascii_case("application/sdp") {
            return Some((415, format!("a body of type {kind}")));
        }
        let sdp = message.sdp().as_deref().and_then(Sdp::read);
        let secure = sdp.filter(|sdp| sdp.protocol == "RTP/SAVP" && accepted_crypto(sdp).is_some());
        if secure.is_none() {
            return Some((488, "SrtpEncryptionRequired".to_owned()));
        }
        None
    }
}

/// What is wrong with Contact, whatever the message.
pub(crate) fn blame(message: &Message, peer: Option<&Peer>) -> Option<String> {
    let needed = matches!(message.method(), "INVITE" | "OPTIONS")
        && (message.is_request() || message.status() / 100 == 2);
    let Some(contact) = message.contact() else {
        return needed.then(|| "neither Contact nor Record-Route".to_owned());
    };
    let host = host_of(contact);
    if host.parse::<IpAddr>().is_ok() {
        return Some(format!("an address in Contact: {contact}"));
    }
    if contact.starts_with("sip:@") || !contact.starts_with("sip:") {
        return Some(format!("Contact {contact}"));
    }
    if !peer.is_none_or(|peer| peer.covers(host)) {
        return Some(format!("the certificate does not cover {host}"));
    }
    None
}

/// What Teams wants in the 200 to its OPTIONS.
pub(crate) fn blame_ping_answer(answer: &Message) -> Option<String> {
    if answer.status() != 200 {
        return Some(format!("{} {}", answer.status(), answer.phrase()));
    }
    let allow = answer.elements("Allow");
    for method in ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REFER", "NOTIFY"] {
        if !allow.iter().any(|allowed| allowed == method) {
            return Some(format!("{method} is not in Allow"));
        }
    }
    blame(answer, None)
}

/// `REASON` with the GUID of our Contact.
pub(crate) fn reason(contact: &str, cause: u16, text: &str) -> String {
    let guid = contact.split(';').find_map(|param| param.strip_prefix("x-i=")).unwrap_or_default();
    format!("REASON: Q.850;cause={cause};text=\"{guid};{text}\"")
}

pub(crate) const INVITE_LINES: &str = "MIN-SE: 300\r\nSUPPORTED: timer\r\nSESSION-EXPIRES: 3600";

pub(crate) const REQUEST: &str = "{method} {uri} SIP/2.0
FROM: {from}
TO: {to}
CSEQ: {cseq} {method}
CALL-ID: {call}
MAX-FORWARDS: 70
VIA: {via}
{route}
{record_route}
{contact}
CONTENT-LENGTH: {length}
{extra}
USER-AGENT: Microsoft.PSTNHub.SIPProxy v.2024.2.6.5 i.USEA.5
{content_type}
ALLOW: INVITE,ACK,OPTIONS,CANCEL,BYE,NOTIFY";

pub(crate) const RESPONSE: &str = "SIP/2.0 {status} {phrase}
FROM: {from}
TO: {to}
CSEQ: {cseq}
CALL-ID: {call}
{vias}
{record_route}
{contact}
CONTENT-LENGTH: {length}
{extra}
{content_type}
ALLOW: INVITE,ACK,OPTIONS,CANCEL,BYE,NOTIFY
SERVER: Microsoft.PSTNHub.SIPProxy v.2024.2.6.5 i.USEA.5";

pub(crate) const OFFER: &str = "v=0
o=- 31201 {version} IN {address}
s=session
c=IN {address}
b=CT:10000000
t=0 0
m=audio {port} RTP/SAVP 104 9 103 111 18 0 8 97 101 13 118
c=IN {address}
a=rtcp:{rtcp}
a=label:main-audio
{crypto}
a={way}
a=rtpmap:104 SILK/16000
a=rtpmap:9 G722/8000
a=rtpmap:103 SILK/8000
a=rtpmap:111 SIREN/16000
a=fmtp:111 bitrate=16000
a=rtpmap:18 G729/8000
a=fmtp:18 annexb=no
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:97 RED/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=rtpmap:13 CN/8000
a=rtpmap:118 CN/16000
a=ptime:20";

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:+15550010001@sip.teams.test:5061;user=phone SIP/2.0\r\n\
        Contact: <sip:+1555@t001.sbc.test:5061;transport=tls>\r\nCSeq: 1 INVITE\r\n\
        Content-Type: application/sdp\r\n\r\n\
        v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 2 RTP/SAVP 0\r\n\
        a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd|2^31\r\n";

    fn status(text: &str) -> u16 {
        let tenants = vec!["sbc.test".to_owned(), "t001.sbc.test".to_owned()];
        let habits = Habits { domain: "teams.test".to_owned(), tenants };
        habits.refuse(&Message::read(text.as_bytes()).unwrap(), None).map_or(200, |it| it.0)
    }

    #[test]
    fn what_teams_refuses_is_refused_with_its_status() {
        assert_eq!(status(INVITE), 200);
        for (from, to, wanted) in [
            ("t001.sbc.test", "127.0.0.1", 403),
            ("t001.sbc.test", "t009.sbc.test", 403),
            ("Contact:", "X-Contact:", 403),
            ("sip:+15550010001", "sip:15550010001", 404),
            (";user=phone", "", 404),
            ("SAVP", "AVP", 488),
            ("a=crypto", "a=x", 488),
            ("application/sdp", "multipart/mixed", 415),
            ("CSeq", "Require: 100rel\r\nCSeq", 420),
            ("CSeq", "Replaces: a;to-tag=b;from-tag=c\r\nCSeq", 400),
        ] {
            assert_eq!(status(&INVITE.replace(from, to)), wanted, "{from} -> {to}");
        }
    }

    #[test]
    fn the_answer_to_options_needs_allow_and_a_name() {
        let good = "SIP/2.0 200 OK\r\nCSeq: 1 OPTIONS\r\nContact: <sip:sbc.test:5061>\r\n\
            Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, REFER, NOTIFY\r\n\r\n";
        let blamed = |text: &str| blame_ping_answer(&Message::read(text.as_bytes()).unwrap());
        assert_eq!(blamed(good), None);
        for (from, to) in [("200 OK", "503 No"), (", REFER", ""), ("sbc.test", "127.0.0.1")] {
            assert!(blamed(&good.replace(from, to)).is_some(), "{from}");
        }
    }
}
