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
    serve(received)
}

/// Answers a request of a call, whatever its number: as Teams where the offer is encrypted, else as a carrier.
pub fn serve(received: &Received) -> bool {
    let msg = &received.msg;
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
            let (sdp, contact) = described(received);
            let more = format!("{contact}{allow}");
            respond("180 Ringing", &tag, &more, "");
            let more = format!("{more}CONTENT-TYPE: application/sdp\r\n");
            respond("200 OK", &tag, &more, &sdp);
        }
        "ACK" => {}
        _ => respond("200 OK", "", allow, ""),
    }
    true
}

/// The answer to an offer, and the lines that say where we are.
fn described(received: &Received) -> (String, String) {
    let (msg, local) = (&received.msg, received.flow.local());
    let ip = local.ip();
    let secure = msg.attribute("crypto").is_some().then(|| {
        let offered = Crypto::of(msg);
        format!("a=crypto:{}\r\n", Crypto::fresh(offered.tag, &offered.suite).write())
    });
    let contact = match secure {
        Some(_) => format!(
            "CONTACT: {TEAMS_CONTACT}\r\n\
             RECORD-ROUTE: <sip:sip.teams.test:5061;transport=tls;lr>\r\n"
        ),
        None => {
            let transport = received.flow.transport().to_ascii_lowercase();
            format!("CONTACT: <sip:{local};transport={transport}>\r\n")
        }
    };
    let profile = if secure.is_some() { "SAVP" } else { "AVP" };
    let sdp = format!(
        "v=0\r\no=- 1 0 IN IP4 {ip}\r\ns=session\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio 9000 RTP/{profile} 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n\
         {}a=sendrecv\r\n",
        secure.unwrap_or_default()
    );
    (sdp, contact)
}
