//! Teams as a machine: whoever calls one number is answered at once, and hangs up.

use std::fmt::Write as _;

use super::dialog::token;
use super::media::Crypto;
use super::scene::{TEAMS_CONTACT, options_without_contact};
use super::wire::Received;

/// The number that is answered.
pub const ANSWERED: &str = "+15550010077";

/// OPTIONS, and every call to [`ANSWERED`].
pub fn answers(received: &Received) -> bool {
    let msg = &received.msg;
    if !msg.is_request() || !msg.need("To").contains(ANSWERED) {
        return options_without_contact(received);
    }
    let respond = |status: &str, tag: &str, more: &str, body: &str| {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for via in msg.all("Via") {
            write!(text, "VIA: {via}\r\n").unwrap();
        }
        let (from, to) = (msg.need("From"), msg.need("To"));
        let (call_id, cseq) = (msg.call_id(), msg.need("CSeq"));
        write!(
            text,
            "FROM: {from}\r\nTO: {to}{tag}\r\nCALL-ID: {call_id}\r\nCSEQ: {cseq}\r\n{more}\
             CONTENT-LENGTH: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        drop(received.flow.try_send(text.as_bytes()));
    };
    let allow = "ALLOW: INVITE,ACK,OPTIONS,CANCEL,BYE,NOTIFY\r\n";
    match msg.method() {
        "INVITE" => {
            let tag = format!(";tag={}", token("m"));
            let offered = Crypto::of(msg);
            let own = Crypto::fresh(offered.tag, &offered.suite);
            let ip = received.flow.local().ip();
            let sdp = format!(
                "v=0\r\no=- 1 0 IN IP4 {ip}\r\ns=session\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
                 m=audio 9000 RTP/SAVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
                 a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n\
                 a=crypto:{}\r\na=sendrecv\r\n",
                own.write()
            );
            let more = format!(
                "CONTACT: {TEAMS_CONTACT}\r\n{allow}\
                 RECORD-ROUTE: <sip:sip.teams.test:5061;transport=tls;lr>\r\n"
            );
            respond("180 Ringing", &tag, &more, "");
            let more = format!("{more}CONTENT-TYPE: application/sdp\r\n");
            respond("200 OK", &tag, &more, &sdp);
        }
        "ACK" => {}
        _ => respond("200 OK", "", allow, ""),
    }
    true
}
