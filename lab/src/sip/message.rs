//! One captured SIP message, taken apart (RFC 3261 §7): lines, names in any case or compact, folds.

use std::fmt;

/// A message as it was captured.
#[derive(Clone, Debug)]
pub struct Message {
    raw: Vec<u8>,
    start: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Message {
    /// Takes the bytes of one message apart. `None` if there is no empty line after the headers or
    /// the start line is not SIP/2.0.
    #[must_use]
    pub fn read(raw: &[u8]) -> Option<Self> {
        let end = raw.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&raw[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_owned();
        if !start.starts_with("SIP/2.0 ") && !start.ends_with(" SIP/2.0") {
            return None;
        }
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t']) {
                let (_, value) = headers.last_mut()?;
                value.push(' ');
                value.push_str(line.trim());
            } else {
                let (name, value) = line.split_once(':')?;
                headers.push((name.trim_end().to_owned(), value.trim().to_owned()));
            }
        }
        Some(Self { raw: raw.to_vec(), start, headers, body: raw[end + 4..].to_vec() })
    }

    /// All bytes, as captured.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The first line.
    #[must_use]
    pub fn start(&self) -> &str {
        &self.start
    }

    /// Whether this is a request.
    #[must_use]
    pub fn is_request(&self) -> bool {
        !self.start.starts_with("SIP/2.0 ")
    }

    /// The method; of a response the method in CSeq.
    #[must_use]
    pub fn method(&self) -> &str {
        if self.is_request() {
            self.start.split(' ').next().unwrap_or_default()
        } else {
            self.header("CSeq")
                .and_then(|value| value.split_whitespace().nth(1))
                .unwrap_or_default()
        }
    }

    /// The Request-URI; empty for a response.
    #[must_use]
    pub fn uri(&self) -> &str {
        if self.is_request() {
            let rest = self.start.split_once(' ').map_or("", |(_, rest)| rest);
            rest.rsplit_once(' ').map_or("", |(uri, _)| uri)
        } else {
            ""
        }
    }

    /// The status code; 0 for a request.
    #[must_use]
    pub fn status(&self) -> u16 {
        let number = self.start.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3));
        number.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// The reason phrase of a response.
    #[must_use]
    pub fn phrase(&self) -> &str {
        if self.is_request() { "" } else { self.start.get(12..).unwrap_or_default().trim() }
    }

    /// The first value of a header, by its long name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.lines(name).next()
    }

    /// All header lines of that name, in order, one item per line.
    pub fn lines<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(written, _)| same_name(written, name))
            .map(|(_, value)| value.as_str())
    }

    /// All header lines as (name as written, value).
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The elements of a comma-separated header over all its lines (quotes and `<>` respected).
    #[must_use]
    pub fn elements(&self, name: &str) -> Vec<String> {
        self.lines(name).flat_map(split_elements).collect()
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text if it is SDP.
    #[must_use]
    pub fn sdp(&self) -> Option<String> {
        let kind = self.header("Content-Type")?;
        let sdp = kind.to_ascii_lowercase().starts_with("application/sdp");
        (sdp && !self.body.is_empty()).then(|| String::from_utf8_lossy(&self.body).into_owned())
    }

    /// The Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        self.header("Call-ID").unwrap_or_default()
    }

    /// The number in CSeq.
    #[must_use]
    pub fn cseq(&self) -> u32 {
        let number = self.header("CSeq").and_then(|value| value.split_whitespace().next());
        number.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// The branch of the top Via.
    #[must_use]
    pub fn branch(&self) -> &str {
        let via = self.header("Via").unwrap_or_default();
        via.split([';', ',']).find_map(|part| part.trim().strip_prefix("branch=")).unwrap_or("")
    }

    /// The tag in From, if any.
    #[must_use]
    pub fn from_tag(&self) -> Option<&str> {
        self.header("From").and_then(tag_of)
    }

    /// The tag in To, if any.
    #[must_use]
    pub fn to_tag(&self) -> Option<&str> {
        self.header("To").and_then(tag_of)
    }

    /// The URI in the first Contact, if any.
    #[must_use]
    pub fn contact(&self) -> Option<&str> {
        self.header("Contact").map(uri_of)
    }

    /// The user part of the Request-URI without parameters, as a number.
    #[must_use]
    pub fn called(&self) -> &str {
        user_of(self.uri())
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.raw))
    }
}

/// The URI of a name-addr or addr-spec header value.
#[must_use]
pub fn uri_of(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split_once('>').map_or(rest, |(uri, _)| uri),
        None => value.split([';', ',']).next().unwrap_or_default().trim(),
    }
}

/// The `tag` parameter of a From or To value.
#[must_use]
pub fn tag_of(value: &str) -> Option<&str> {
    let params = value.rsplit_once('>').map_or(value, |(_, params)| params);
    params.split(';').find_map(|param| param.trim().strip_prefix("tag="))
}

/// The host of a SIP URI, without port, in the case it was written.
#[must_use]
pub fn host_of(uri: &str) -> &str {
    let (host, _) = split_host(uri);
    host
}

/// The port of a SIP URI, if written.
#[must_use]
pub fn port_of(uri: &str) -> Option<u16> {
    let (_, port) = split_host(uri);
    port.and_then(|digits| digits.parse().ok())
}

fn user_of(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let user = rest.split_once('@').map_or("", |(user, _)| user);
    user.split(';').next().unwrap_or_default()
}

fn split_host(uri: &str) -> (&str, Option<&str>) {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    let rest = rest.split([';', '?', '>']).next().unwrap_or_default();
    if let Some(address) = rest.strip_prefix('[') {
        let (host, port) = address.split_once(']').unwrap_or((address, ""));
        return (host, port.strip_prefix(':'));
    }
    match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    }
}

fn split_elements(line: &str) -> Vec<String> {
    let (mut quoted, mut angle) = (false, false);
    let mut elements = vec![String::new()];
    let mut escaped = false;
    for letter in line.chars() {
        match letter {
            '"' if !escaped => quoted = !quoted,
            '<' if !quoted => angle = true,
            '>' if !quoted => angle = false,
            ',' if !quoted && !angle => {
                elements.push(String::new());
                continue;
            }
            _ => {}
        }
        escaped = letter == '\\' && !escaped;
        if let Some(last) = elements.last_mut() {
            last.push(letter);
        }
    }
    elements.iter().map(|element| element.trim().to_owned()).filter(|e| !e.is_empty()).collect()
}

fn same_name(written: &str, name: &str) -> bool {
    let long = COMPACT
        .iter()
        .find(|(short, _)| written.eq_ignore_ascii_case(short))
        .map_or(written, |(_, long)| long);
    long.eq_ignore_ascii_case(name)
}

/// RFC 3261 §20 and the registry: one-letter names.
const COMPACT: [(&str, &str); 16] = [
    ("v", "Via"),
    ("f", "From"),
    ("t", "To"),
    ("i", "Call-ID"),
    ("m", "Contact"),
    ("l", "Content-Length"),
    ("c", "Content-Type"),
    ("k", "Supported"),
    ("s", "Subject"),
    ("e", "Content-Encoding"),
    ("x", "Session-Expires"),
    ("r", "Refer-To"),
    ("b", "Referred-By"),
    ("o", "Event"),
    ("u", "Allow-Events"),
    ("j", "Reject-Contact"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:+15550010001@c1.sbc.test:5061;user=phone SIP/2.0\r\n\
        FROM: \"a <b>, c\" <sip:+15@x.test>;tag=ab\r\n\
        t : <sip:+15550010001@c1.sbc.test>\r\n\
        CSEQ: 7\r\n INVITE\r\n\
        i: call\r\n\
        VIA: SIP/2.0/TLS 127.0.0.1:5061;rport;branch=z9hG4bKx, SIP/2.0/TCP b;branch=z9hG4bKy\r\n\
        CONTACT: <sip:api.test:443;x-i=GUID>;q=1\r\n\
        Allow: INVITE, ACK\r\n\
        Allow: BYE\r\n\
        CONTENT-TYPE: application/sdp\r\n\r\nv=0\r\n";

    #[test]
    fn a_request_in_capitals_compact_and_folded_is_read() {
        let message = Message::read(INVITE.as_bytes()).unwrap();
        assert!(message.is_request());
        assert_eq!((message.method(), message.status()), ("INVITE", 0));
        assert_eq!(message.uri(), "sip:+15550010001@c1.sbc.test:5061;user=phone");
        assert_eq!(message.called(), "+15550010001");
        assert_eq!((message.from_tag(), message.to_tag()), (Some("ab"), None));
        assert_eq!((message.cseq(), message.call_id()), (7, "call"));
        assert_eq!(message.branch(), "z9hG4bKx");
        assert_eq!(message.contact(), Some("sip:api.test:443;x-i=GUID"));
        assert_eq!(message.elements("allow"), ["INVITE", "ACK", "BYE"]);
        assert_eq!(message.elements("Via").len(), 2);
        assert_eq!(message.sdp().as_deref(), Some("v=0\r\n"));
    }

    #[test]
    fn a_response_is_read() {
        let text = "SIP/2.0 183 Session Progress\r\nTo: sip:a@b;tag=x\r\nCSeq: 1 INVITE\r\n\r\n";
        let message = Message::read(text.as_bytes()).unwrap();
        assert_eq!((message.status(), message.phrase()), (183, "Session Progress"));
        assert_eq!((message.method(), message.uri()), ("INVITE", ""));
        assert_eq!(message.to_tag(), Some("x"));
        assert_eq!(uri_of(message.header("to").unwrap()), "sip:a@b");
    }

    #[test]
    fn hosts_and_ports_come_out_of_uris() {
        for (uri, host, port) in [
            ("sip:sbc.test", "sbc.test", None),
            ("sip:a@sbc.test:5061;lr", "sbc.test", Some(5061)),
            ("sip:[::1]:5060", "::1", Some(5060)),
            ("sip:a@127.0.0.1?x=y", "127.0.0.1", None),
        ] {
            assert_eq!((host_of(uri), port_of(uri)), (host, port), "{uri}");
        }
    }

    #[test]
    fn what_is_no_message_is_none() {
        for text in ["", "\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "OPTIONS sip:a SIP/2.0\r\nX\r\n\r\n"]
        {
            assert!(Message::read(text.as_bytes()).is_none(), "{text:?}");
        }
    }
}
