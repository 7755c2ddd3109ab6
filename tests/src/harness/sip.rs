//! A reader of SIP messages of its own: lines, names, values. It shares nothing with the gateway's
//! parser and is strict where a sender has to be strict.

use std::fmt;

/// One message as it came over the wire.
#[derive(Clone)]
pub struct Msg {
    pub raw: Vec<u8>,
    start: String,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Msg {
    /// Reads a whole message; says what a receiver would stumble over.
    pub fn read(raw: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(raw);
        let (head, body) = text.split_once("\r\n\r\n").ok_or("no empty line")?;
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        if !start.starts_with("SIP/2.0 ") && !start.ends_with(" SIP/2.0") {
            return Err(format!("start line {start:?}"));
        }
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.contains(['\r', '\n', '\0']) {
                return Err(format!("bare control character in {line:?}"));
            }
            if line.starts_with([' ', '\t']) {
                let (_, value) = headers.last_mut().ok_or("a folded first header")?;
                value.push(' ');
                value.push_str(line.trim());
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(format!("header line {line:?}"))?;
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let body = body.to_owned();
        Ok(Self { raw: raw.to_owned(), start, headers, body })
    }

    pub fn is_request(&self) -> bool {
        !self.start.starts_with("SIP/2.0 ")
    }

    /// Method of a request; of a response the method of its CSeq.
    pub fn method(&self) -> &str {
        if self.is_request() {
            self.start.split(' ').next().unwrap_or_default()
        } else {
            self.cseq().1
        }
    }

    pub fn uri(&self) -> &str {
        assert!(self.is_request(), "the Request-URI of {self}");
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// 0 for a request.
    pub fn status(&self) -> u16 {
        match self.start.strip_prefix("SIP/2.0 ") {
            Some(rest) => rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0),
            None => 0,
        }
    }

    /// All values of a header, compact form included, one item for each line.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name) || is_compact(known, name))
            .map(|(_, value)| value.as_str())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name) || is_compact(known, name))
            .map(|(_, value)| value.as_str())
    }

    pub fn need(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("no {name} in\n{self}"))
    }

    pub fn cseq(&self) -> (u32, &str) {
        let (number, method) = self.need("CSeq").split_once(' ').unwrap_or(("", ""));
        (number.parse().unwrap_or(0), method.trim())
    }

    pub fn call_id(&self) -> &str {
        self.need("Call-ID")
    }

    /// The branch of the top Via.
    pub fn branch(&self) -> &str {
        param(self.need("Via"), "branch").unwrap_or_default()
    }

    pub fn to_tag(&self) -> Option<&str> {
        param(after_uri(self.need("To")), "tag")
    }

    /// The URI of a name-addr header.
    pub fn uri_of(&self, name: &str) -> &str {
        uri_in(self.need(name))
    }

    /// The host in the URI of a name-addr header.
    pub fn host_of(&self, name: &str) -> &str {
        host_in(self.uri_of(name))
    }

    /// Host and port of the top Via.
    pub fn sent_by(&self) -> &str {
        let value = self.need("Via").split_whitespace().nth(1).unwrap_or_default();
        value.split(';').next().unwrap_or_default()
    }

    /// First `a=name:value` or `a=name` of the body.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.body.lines().find_map(|line| attribute(line, name))
    }

    pub fn attributes<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.body.lines().filter_map(move |line| attribute(line, name))
    }

    /// First SDP line of that kind, such as `m` or `c`.
    pub fn line(&self, kind: char) -> Option<&str> {
        self.body.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix('='))
    }

    /// Address and port of the first media.
    pub fn media(&self) -> std::net::SocketAddr {
        let address = self.line('c').and_then(|c| c.rsplit(' ').next()).unwrap_or_default();
        let port = self.line('m').and_then(|m| m.split(' ').nth(1)).unwrap_or_default();
        let address: Option<std::net::IpAddr> = address.parse().ok();
        let media = address.zip(port.parse().ok()).map(std::net::SocketAddr::from);
        media.unwrap_or_else(|| panic!("no media address in\n{self}"))
    }

    /// sendrecv unless said.
    pub fn direction(&self) -> &str {
        ["sendrecv", "sendonly", "recvonly", "inactive"]
            .into_iter()
            .find(|direction| self.attribute(direction).is_some())
            .unwrap_or("sendrecv")
    }
}

impl fmt::Display for Msg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.raw))
    }
}

/// The text without its quoted strings: what a URI could stand in.
pub fn unquoted(text: &str) -> String {
    let (mut out, mut inside, mut escaped) = (String::new(), false, false);
    for c in text.chars() {
        match (inside, escaped, c) {
            (true, false, '\\') => escaped = true,
            (true, false, '"') => inside = false,
            (true, ..) => escaped = false,
            (false, _, '"') => inside = true,
            (false, ..) => out.push(c),
        }
    }
    out
}

/// The URI in a name-addr or addr-spec.
pub fn uri_in(value: &str) -> &str {
    let display = value.rfind('"').filter(|_| value.starts_with('"')).map_or(0, |at| at + 1);
    let value = &value[display..];
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
        None => value.split(';').next().unwrap_or_default(),
    }
}

/// The host in a URI.
pub fn host_in(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let rest = rest.split(';').next().unwrap_or_default();
    let rest = rest.split('?').next().unwrap_or_default();
    let host = rest.rsplit('@').next().unwrap_or_default();
    if host.starts_with('[') {
        return host.split(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default()
}

fn attribute<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = line.strip_prefix("a=")?.strip_prefix(name)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix(':') }
}

fn after_uri(value: &str) -> &str {
    value.split_once('>').map_or(value, |(_, rest)| rest)
}

/// The value of a parameter in what follows the first semicolon.
pub fn param<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(';').skip(1).find_map(|item| {
        let (key, value) = item.split_once('=').unwrap_or((item, ""));
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn is_compact(short: &str, long: &str) -> bool {
    const FORMS: [(&str, &str); 9] = [
        ("v", "Via"),
        ("f", "From"),
        ("t", "To"),
        ("i", "Call-ID"),
        ("m", "Contact"),
        ("l", "Content-Length"),
        ("c", "Content-Type"),
        ("k", "Supported"),
        ("s", "Subject"),
    ];
    FORMS
        .iter()
        .any(|(form, name)| short.eq_ignore_ascii_case(form) && long.eq_ignore_ascii_case(name))
}

/// The first whole message at the beginning of a stream's bytes, and its length; CRLF keep-alives
/// count as nothing read.
pub fn frame(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let skip = bytes.iter().take_while(|b| **b == b'\r' || **b == b'\n').count();
    let rest = &bytes[skip..];
    let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = Msg::read(&rest[..end + 4])?;
    let length: usize = head
        .get("Content-Length")
        .ok_or("no Content-Length on a stream")?
        .parse()
        .map_err(|_| "Content-Length is no number")?;
    let whole = end + 4 + length;
    Ok((rest.len() >= whole).then_some((skip, skip + whole)))
}
