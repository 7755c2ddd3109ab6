//! Bytes of a known trunk, sent and read without any parser of messages: what a test sends need not be a message, and
//! what comes back is looked at line by line.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::dialog::token;
use super::wire::connect_from;

/// One OPTIONS, whole.
pub fn options(via: SocketAddr, transport: &str, call_id: &str) -> String {
    format!(
        "OPTIONS sip:gateway.test SIP/2.0\r\nVia: SIP/2.0/{transport} {via};branch=z9hG4bK{call_id};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{via}>;tag=p\r\nTo: <sip:gateway.test>\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A trunk's socket.
pub struct Datagrams {
    pub socket: UdpSocket,
    gateway: SocketAddr,
}

impl Datagrams {
    pub fn open(from: SocketAddr, gateway: SocketAddr) -> Self {
        let socket = UdpSocket::bind(from).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        Self { socket, gateway }
    }

    pub fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.gateway).unwrap();
    }

    /// The first final answer with that Call-ID (or, for `None`, without any); an INVITE's is acknowledged.
    pub fn answer(&self, limit: Duration, call_id: Option<&str>) -> Option<Vec<u8>> {
        let end = Instant::now() + limit;
        let mut buffer = vec![0; 65_536];
        while Instant::now() < end {
            let Ok(length) = self.socket.recv(&mut buffer) else { continue };
            let response = &buffer[..length];
            if status(response) >= 200 && header(response, "Call-ID", "i").as_deref() == call_id {
                let ack = ack(response);
                if !ack.is_empty() {
                    self.send(&ack);
                }
                return Some(response.to_vec());
            }
        }
        None
    }

    /// Sends one message and gives the status of its final answer; 0 when an OPTIONS sent after it is answered first, and
    /// nothing else comes.
    pub fn ask(&self, bytes: &[u8]) -> u16 {
        self.send(bytes);
        let call_id = header(bytes, "Call-ID", "i");
        if let Some(response) = self.answer(Duration::from_millis(700), call_id.as_deref()) {
            return status(&response);
        }
        assert!(self.answers_options(), "no answer to OPTIONS");
        let late = self.answer(Duration::from_millis(50), call_id.as_deref());
        late.map_or(0, |response| status(&response))
    }

    pub fn answers_options(&self) -> bool {
        let probe = token("probe-");
        let via = self.socket.local_addr().unwrap();
        self.send(options(via, "UDP", &probe).as_bytes());
        let found = self.answer(Duration::from_secs(3), Some(&probe));
        found.is_some_and(|response| status(&response) == 200)
    }
}

/// A trunk's connection, read without any parser of messages.
pub struct Stream {
    pub stream: TcpStream,
    read: Vec<u8>,
    closed: bool,
}

impl Stream {
    pub fn open(from: IpAddr, to: SocketAddr) -> Self {
        let stream = connect_from(from, to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        Self { stream, read: Vec::new(), closed: false }
    }

    pub fn write(&mut self, bytes: &[u8], size: usize) {
        for chunk in bytes.chunks(size.min(bytes.len())) {
            // The gateway may have refused it before its end.
            if self.stream.write_all(chunk).is_err() {
                return;
            }
        }
    }

    /// The status of the first final answer with the Call-ID of that message (or, where it has none, without any); 0 when
    /// none comes in time.
    pub fn fate(&mut self, bytes: &[u8], limit: Duration) -> u16 {
        let call_id = header(bytes, "Call-ID", "i");
        let found = self.until(limit, |response| {
            status(response) >= 200 && header(response, "Call-ID", "i") == call_id
        });
        let Some(response) = found else { return 0 };
        drop(self.stream.write_all(&ack(&response)));
        status(&response)
    }

    /// Whether the gateway closes it within that time; what it still says is kept.
    pub fn is_closed_within(&mut self, limit: Duration) -> bool {
        self.until(limit, |_| false);
        self.closed
    }

    /// How many whole answers came that nobody has taken.
    pub fn left(&mut self) -> usize {
        self.read.windows(4).filter(|four| four == b"\r\n\r\n").count()
    }

    pub fn answers_options(&mut self) -> bool {
        let probe = token("probe-");
        let via = self.stream.local_addr().unwrap();
        if self.stream.write_all(options(via, "TCP", &probe).as_bytes()).is_err() {
            return false;
        }
        let fits = |response: &[u8]| header(response, "Call-ID", "i").as_deref() == Some(&probe);
        let found = self.until(Duration::from_secs(1), fits);
        found.is_some_and(|response| status(&response) == 200)
    }

    /// The next answer that fits; answers have no body here.
    pub fn until(&mut self, limit: Duration, fits: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let end = Instant::now() + limit;
        let mut buffer = [0; 4096];
        let mut from = 0;
        loop {
            while let Some(at) = self.read[from..].windows(4).position(|four| four == b"\r\n\r\n") {
                let whole = from..from + at + 4;
                if fits(&self.read[whole.clone()]) {
                    return Some(self.read.drain(whole).collect());
                }
                from = whole.end;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => self.closed = true,
                Ok(length) => self.read.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => self.closed = true,
                Err(_) => {}
            }
            if Instant::now() > end || self.closed {
                return None;
            }
        }
    }
}

/// The ACK to a final answer; of no use to any method but INVITE, and then not sent.
pub fn ack(response: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(response);
    let line = |name: &str| {
        text.split("\r\n").find(|line| line.to_ascii_lowercase().starts_with(name)).unwrap_or("")
    };
    let cseq = line("cseq:");
    if !cseq.ends_with("INVITE") {
        return Vec::new();
    }
    let lines = ["via:", "from:", "to:", "call-id:"].map(line);
    let lines = lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\r\n");
    let cseq = cseq.replace("INVITE", "ACK");
    format!("ACK sip:gateway.test SIP/2.0\r\n{lines}\r\n{cseq}\r\nContent-Length: 0\r\n\r\n")
        .into_bytes()
}

pub fn status(response: &[u8]) -> u16 {
    let code = response.strip_prefix(b"SIP/2.0 ").and_then(|rest| rest.get(..3));
    code.and_then(|code| std::str::from_utf8(code).ok()?.parse().ok()).unwrap_or(0)
}

/// The first value of a header, however its name is written.
pub fn header(message: &[u8], name: &str, short: &str) -> Option<String> {
    let text = String::from_utf8_lossy(message);
    // As whoever wrote it means it.
    let text = if text.contains("\r\n") { text.into_owned() } else { text.replace('\n', "\r\n") };
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    head.split("\r\n").find_map(|line| {
        let (known, value) = line.split_once(':')?;
        let known = known.trim();
        let fits = known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(short);
        fits.then(|| value.trim().to_owned())
    })
}
