//! Where a caller is (RFC 6442): Geolocation, Geolocation-Routing, and the parts of the body that hold the location
//! (PIDF-LO, RFC 4119). They pass from one side to the other byte for byte and unread, or not at all: who gets them says the
//! profile.

use sip_stack::leg::Extra;
use sip_stack::message::{HeaderId, Message, NameAddr, Part};

/// What an INVITE says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    headers: Vec<Extra>,
    parts: Vec<Part>,
}

impl Location {
    /// Reads it. A part that is too large is left out, and so is a reference to a part that is not there.
    pub fn of(message: &Message) -> Self {
        let parts = message.parts().and_then(Result::ok).unwrap_or_default();
        let mut room = LARGEST;
        let mut fits = |part: &Part| {
            let size = part.headers.len() + part.body.len();
            let fits = part.is_type("application", "pidf+xml") && size <= room;
            room -= if fits { size } else { 0 };
            fits
        };
        let parts: Vec<Part> =
            parts.into_iter().filter(|part| fits(part)).take(MOST_PARTS).collect();
        let values = message.elements(HeaderId::Geolocation).take(MOST_VALUES);
        let values = values.filter(|value| value.len() <= LONGEST_VALUE && leads(value, &parts));
        let mut headers: Vec<Extra> =
            values.map(|value| (HeaderId::Geolocation, message.slice(value))).collect();
        let routing = message.value(HeaderId::GeolocationRouting);
        let routing = routing.filter(|value| value.len() <= LONGEST_VALUE && !headers.is_empty());
        headers.extend(routing.map(|value| (HeaderId::GeolocationRouting, message.slice(value))));
        Self { headers, parts }
    }

    /// The headers, and the parts that go beside the offer.
    pub fn told(&self) -> (Vec<Extra>, Vec<Part>) {
        (self.headers.clone(), self.parts.clone())
    }
}

/// Whether a value of Geolocation is of use without anything that is not among `parts`.
fn leads(value: &[u8], parts: &[Part]) -> bool {
    let Ok(address) = NameAddr::parse(value) else { return false };
    let Some(id) = address.uri.strip_prefix(b"cid:") else { return true };
    let named = |part: &Part| {
        let known = part.header(HeaderId::ContentId).unwrap_or_default();
        known.strip_prefix(b"<").and_then(|known| known.strip_suffix(b">")) == Some(id)
    };
    parts.iter().any(named)
}

/// Bytes of all parts together.
const LARGEST: usize = 32 * 1024;
const MOST_PARTS: usize = 4;
const MOST_VALUES: usize = 8;
const LONGEST_VALUE: usize = 1024;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const PIDF: &str = "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\">\n <a/>\r\n</presence>";

    fn message(headers: &str, parts: &[&str]) -> Message {
        let parts: String = parts.iter().map(|part| format!("--b\r\n{part}\r\n")).collect();
        let body = format!("{parts}--b--\r\n");
        let text = format!(
            "INVITE sip:112@x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:a@x>;tag=1\r\n\
             To: <sip:b@x>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n{headers}\
             Content-Type: multipart/mixed;boundary=b\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Message::parse(text.into()).unwrap()
    }

    fn part(id: &str, text: &str) -> String {
        format!("Content-Type: application/pidf+xml\r\nContent-ID: <{id}>\r\n\r\n{text}")
    }

    fn told(message: &Message) -> (Vec<String>, Vec<Bytes>) {
        let (headers, parts) = Location::of(message).told();
        let text =
            |(id, value): &Extra| format!("{}: {}", id.name(), String::from_utf8_lossy(value));
        (headers.iter().map(text).collect(), parts.into_iter().map(|part| part.body).collect())
    }

    #[test]
    fn tr_068_headers_and_parts_are_kept_to_the_letter() {
        let sdp = "Content-Type: application/sdp\r\n\r\nv=0\r\n";
        let isup = "Content-Type: application/isup\r\n\r\nx";
        let headers = "GEOLOCATION: <cid:A%40b@x> ; inserted-by=\"y\" , <https://lis.test/1>\r\nGeolocation-Routing: yes\r\n";
        let (headers, parts) = told(&message(headers, &[sdp, &part("A%40b@x", PIDF), isup]));
        let want = [
            "Geolocation: <cid:A%40b@x> ; inserted-by=\"y\"",
            "Geolocation: <https://lis.test/1>",
            "Geolocation-Routing: yes",
        ];
        assert_eq!(headers, want);
        assert_eq!(parts, [PIDF]);
    }

    #[test]
    fn tr_068_at_54_what_is_too_large_or_leads_nowhere_is_left_out() {
        let large = part("a@x", &"x".repeat(LARGEST));
        let fine = part("a@x", PIDF);
        let [fine, large] = [fine.as_str(), large.as_str()];
        for (headers, parts, want) in [
            ("Geolocation: <cid:a@x>\r\n", vec![fine], (1, 1)),
            ("Geolocation: <cid:b@x>\r\nGeolocation-Routing: yes\r\n", vec![fine], (0, 1)),
            ("Geolocation: nonsense, <>, \"\r\n", vec![fine], (0, 1)),
            ("Geolocation: <cid:a@x>\r\n", vec![], (0, 0)),
            ("Geolocation: <cid:a@x>\r\n", vec![large], (0, 0)),
            ("", vec![fine; 9], (0, 4)),
            ("Geolocation-Routing: no\r\n", vec![], (0, 0)),
        ] {
            let parts = if parts.is_empty() { vec!["\r\nx"] } else { parts };
            let (headers_told, parts_told) = told(&message(headers, &parts));
            assert_eq!((headers_told.len(), parts_told.len()), want, "{headers}");
        }
        let long = format!("Geolocation: {}\r\n", vec!["<https://lis.test/1>"; 50].join(","));
        assert_eq!(told(&message(&long, &[fine])).0.len(), MOST_VALUES);
    }
}
