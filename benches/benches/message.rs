//! Reading a message: our index of a 1.5 kB INVITE, with the accessors a transaction needs, beside rsip's parse of the
//! same bytes in the same run. One message for ever: the processor has learnt every branch of both.

use std::hint::black_box;
use std::process::ExitCode;

use benches::verdict::{Verdicts, nanoseconds};
use bytes::Bytes;
use criterion::Criterion;
use sip_stack::message::Message;
use sip_stack::sdp::Sdp;

/// An INVITE as the phone system sends it, with names that rsip can read as well.
const INVITE: &str = concat!(
    "INVITE sip:+14255550100@c1.sbc.example.com:5061;user=phone;transport=tls SIP/2.0\r\n",
    "FROM: \"John Doe\"<sip:+14255550123@sip.example.com:5061;user=phone>;tag=ab12\r\n",
    "TO: <sip:+14255550100@c1.sbc.example.com:5061;user=phone>\r\n",
    "CSEQ: 1 INVITE\r\nCALL-ID: 8c2f5a5e-7f5a-4b57-9f39-1f2d0d7c4f11\r\nMAX-FORWARDS: 70\r\n",
    "VIA: SIP/2.0/TLS 192.0.2.78:5061;branch=z9hG4bK7d5f1c2a\r\n",
    "CONTACT: <sip:api-du-a-euwe.example.com:443;x-i=b712d12c-77e8-4017-b50d-6d321507aa28;",
    "x-c=a35ae5eac0105fb38b0c8892d3467cb5/s/1/4b30e7706660465fbbd332a888abd49a>\r\n",
    "RECORD-ROUTE: <sip:sip-du-a-eu.example.com:5061;transport=tls;lr>\r\n",
    "P-ASSERTED-IDENTITY: <tel:+14255550123>,<sip:john.doe@example.com>\r\nPRIVACY: id\r\n",
    "HISTORY-INFO: <sip:+14255550100@sip.example.com:5061;user=phone>;index=1\r\n",
    "X-CHARGE: 14255550100\r\nMIN-SE: 300\r\nSUPPORTED: timer\r\nUSER-AGENT: Proxy v.2024.2.6.5 i.USEA.5\r\n",
    "CONTENT-TYPE: application/sdp\r\nALLOW: INVITE,ACK,OPTIONS,CANCEL,BYE,NOTIFY\r\n",
    "SESSION-EXPIRES: 3600\r\nCONTENT-LENGTH: 555\r\n\r\n",
    "v=0\r\no=- 31201 0 IN IP4 192.0.2.1\r\ns=session\r\nc=IN IP4 192.0.2.78\r\nb=CT:10000000\r\nt=0 0\r\n",
    "m=audio 49170 RTP/SAVP 104 9 103 111 18 0 8 97 101 13 118\r\na=rtcp:49171\r\n",
    "a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd|2^31\r\n",
    "a=sendrecv\r\na=rtpmap:104 SILK/16000\r\na=rtpmap:9 G722/8000\r\na=rtpmap:103 SILK/8000\r\n",
    "a=rtpmap:111 SIREN/16000\r\na=fmtp:111 bitrate=16000\r\na=rtpmap:18 G729/8000\r\n",
    "a=fmtp:18 annexb=no\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:97 RED/8000\r\n",
    "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n",
);

fn message(c: &mut Criterion) {
    let mut raw = INVITE.to_owned();
    let body = raw.find("\r\n\r\n").map_or(0, |end| raw.len() - end - 4);
    raw = raw.replace("CONTENT-LENGTH: 555", &format!("CONTENT-LENGTH: {body}"));
    assert!((1480..1520).contains(&raw.len()), "{} bytes are not 1.5 kB", raw.len());
    let bytes = Bytes::from(raw.clone());
    let mut group = c.benchmark_group("message");
    group.bench_function("index", |b| {
        b.iter(|| {
            let message = Message::parse(black_box(bytes.clone())).expect("a good INVITE");
            black_box(&message);
            black_box((message.branch().len(), message.call_id().len(), message.cseq()))
        });
    });
    group.bench_function("rsip", |b| {
        b.iter(|| rsip::SipMessage::try_from(black_box(raw.as_bytes())).expect("a good INVITE"));
    });
    let message = Message::parse(bytes).expect("a good INVITE");
    let sdp = message.sdp().expect("its body");
    group.bench_function("sdp", |b| b.iter(|| Sdp::parse(black_box(&sdp)).expect("good SDP")));
    group.finish();
}

fn main() -> ExitCode {
    let results = tempfile::TempDir::with_prefix("message-").expect("a directory");
    let mut criterion = Criterion::default().output_directory(results.path()).configure_from_args();
    message(&mut criterion);
    criterion.final_summary();
    let mut verdicts = Verdicts::default();
    let index = nanoseconds(results.path(), "message/index");
    verdicts.below("index of a 1.5 kB INVITE", index, 1000.0, "ns");
    let rsip = nanoseconds(results.path(), "message/rsip");
    let ratio = index.zip(rsip).map(|(index, rsip)| index / rsip);
    verdicts.below("index beside rsip's parse", ratio, 0.25, "");
    verdicts.conclude()
}
