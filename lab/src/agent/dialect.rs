//! How an end writes: the templates and habits of its kind.

use std::net::SocketAddr;

use crate::agent::core::lines;
use crate::agent::{Invite, Order, etiquette};
use crate::capture::Transport;
use crate::carrier::dialect as carrier;
use crate::clock;
use crate::media::srtp::{Key, Suite};
use crate::sip::{self, Message, Sdp, host_of};
use crate::teams::dialect as teams;
use crate::wire::{Arrival, Channel};

/// One of the two kinds of end.
#[derive(Clone, Debug)]
pub(crate) enum Dialect {
    /// Teams, with its domain and the tenants it knows.
    Teams(teams::Habits),
    /// A carrier.
    Carrier,
}

/// The headers and first line of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) method: &'static str,
    pub(crate) uri: String,
    pub(crate) via: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) call: String,
    pub(crate) cseq: u32,
    pub(crate) contact: String,
    pub(crate) routes: Vec<String>,
    pub(crate) record_route: String,
    /// Whole header lines.
    pub(crate) extra: String,
    pub(crate) sdp: String,
    /// Content-Type of the body; empty: SDP.
    pub(crate) kind: String,
}

/// What an answer that makes a dialog says of its end.
#[derive(Clone, Debug)]
pub(crate) struct Face {
    pub(crate) contact: String,
    /// Put above what the request recorded; empty for none.
    pub(crate) record_route: String,
}

/// The two ends of a call as an end names them.
pub(crate) struct Names {
    pub(crate) uri: String,
    pub(crate) from: String,
    pub(crate) to: String,
}

impl Dialect {
    /// A request.
    pub(crate) fn request(&self, head: &Head) -> Vec<u8> {
        let cseq = head.cseq.to_string();
        let kind = match (head.sdp.as_str(), head.kind.as_str()) {
            ("", _) => "",
            (_, "") => "application/sdp",
            (_, kind) => kind,
        };
        let values = [
            ("method", head.method),
            ("uri", &head.uri),
            ("via", &head.via),
            ("from", &head.from),
            ("to", &head.to),
            ("call", &head.call),
            ("cseq", &cseq),
            ("contact", &self.line("Contact", &head.contact)),
            ("route", &lines(&self.cased("Route"), &head.routes)),
            ("record_route", &self.line("Record-Route", &head.record_route)),
            ("extra", &head.extra),
            ("content_type", &self.line("Content-Type", kind)),
        ];
        let template = match self {
            Self::Teams(_) => teams::REQUEST,
            Self::Carrier => carrier::REQUEST,
        };
        sip::message(template, &values, &head.sdp)
    }

    /// A response. `tag` is added to To if it has none; `face` stands in what makes a dialog.
    #[allow(clippy::too_many_arguments, reason = "the parts of one message, each used once")]
    pub(crate) fn response(
        &self,
        request: &Message,
        status: u16,
        phrase: &str,
        tag: &str,
        face: Option<&Face>,
        extra: &str,
        sdp: &str,
    ) -> Vec<u8> {
        let copy = |name: &str| request.header(name).unwrap_or_default().to_owned();
        let to = copy("To");
        let to = match request.to_tag() {
            None if !tag.is_empty() => format!("{to};tag={tag}"),
            Some(_) | None => to,
        };
        let all = |name: &str| request.lines(name).map(str::to_owned).collect::<Vec<_>>();
        let mut routes = Vec::new();
        if let Some(face) = face {
            routes.push(face.record_route.clone());
            routes.extend(all("Record-Route"));
            routes.retain(|route| !route.is_empty());
        }
        let contact = face.map_or("", |face| &face.contact);
        let status = status.to_string();
        let kind = if sdp.is_empty() { "" } else { "application/sdp" };
        let values = [
            ("status", status.as_str()),
            ("phrase", phrase),
            ("from", &copy("From")),
            ("to", &to),
            ("call", request.call_id()),
            ("cseq", &copy("CSeq")),
            ("vias", &lines(&self.cased("Via"), &all("Via"))),
            ("record_route", &lines(&self.cased("Record-Route"), &routes)),
            ("contact", &self.line("Contact", contact)),
            ("extra", extra),
            ("content_type", &self.line("Content-Type", kind)),
        ];
        let template = match self {
            Self::Teams(_) => teams::RESPONSE,
            Self::Carrier => carrier::RESPONSE,
        };
        sip::message(template, &values, sdp)
    }

    /// An OPTIONS outside a dialog.
    pub(crate) fn options(&self, channel: &Channel, uri: &str, call: &str, tag: &str) -> Vec<u8> {
        let own = match self {
            Self::Teams(habits) => habits.proxy_uri(channel.local.port()),
            Self::Carrier => format!("sip:{}", channel.local),
        };
        self.request(&Head {
            method: "OPTIONS",
            uri: uri.to_owned(),
            via: via(channel, channel.local, &branch()),
            from: format!("<{own}>;tag={tag}"),
            to: format!("<sip:{}>", host_of(uri)),
            call: call.to_owned(),
            cseq: 1,
            contact: format!("<{own}>"),
            ..Head::default()
        })
    }

    /// The URI of a host at the gateway.
    pub(crate) fn host_uri(&self, host: &str, gateway: SocketAddr) -> String {
        match self {
            Self::Teams(_) => format!("sip:{host}:{};transport=tls", gateway.port()),
            Self::Carrier => format!("sip:{host}:{}", gateway.port()),
        }
    }

    /// Contact of a new dialog, without angle brackets.
    pub(crate) fn contact(&self, home: SocketAddr, transport: Transport, number: &str) -> String {
        match self {
            Self::Teams(habits) => habits.contact(),
            Self::Carrier => carrier::contact(home, transport, number),
        }
    }

    /// Record-Route of a new dialog; empty for none.
    pub(crate) fn record_route(&self, home: SocketAddr) -> String {
        match self {
            Self::Teams(habits) => habits.record_route(home.port()),
            Self::Carrier => String::new(),
        }
    }

    /// Request-URI, From and To of a call to the gateway.
    pub(crate) fn names(&self, invite: &Invite, gateway: SocketAddr, own: SocketAddr) -> Names {
        match self {
            Self::Teams(habits) => habits.names(invite, gateway),
            Self::Carrier => carrier::names(invite, gateway, own),
        }
    }

    /// Header lines that every INVITE of this kind carries.
    pub(crate) const fn invite_lines(&self) -> &'static str {
        match self {
            Self::Teams(_) => teams::INVITE_LINES,
            Self::Carrier => "",
        }
    }

    /// The Reason line of a BYE or CANCEL; Teams repeats the GUID of its Contact.
    pub(crate) fn reason(&self, contact: &str, cause: u16, text: &str) -> String {
        match self {
            Self::Teams(_) => teams::reason(contact, cause, text),
            Self::Carrier => format!("Reason: Q.850;cause={cause};text=\"{text}\""),
        }
    }

    /// A key of our own, if this kind speaks SRTP.
    pub(crate) fn key(&self) -> Option<Key> {
        match self {
            Self::Teams(_) => Some(Key::random(Suite::AesCm128Sha1_80)),
            Self::Carrier => None,
        }
    }

    /// An offer with everything this kind knows.
    pub(crate) fn offer(
        &self,
        rtp: SocketAddr,
        key: Option<&Key>,
        version: u64,
        way: &str,
    ) -> String {
        let crypto = key.map_or(String::new(), |key| key.line(1));
        let template = match self {
            Self::Teams(_) => teams::OFFER,
            Self::Carrier => carrier::OFFER,
        };
        description(template, rtp, &crypto, version, way, &[])
    }

    /// The answer to an offer: its first G.711, its telephone-event, its crypto tag, mux if offered.
    pub(crate) fn sdp_answer(
        &self,
        offer: &Sdp,
        rtp: SocketAddr,
        key: Option<&Key>,
        version: u64,
        way: &str,
    ) -> Option<String> {
        let voice = offer.g711()?;
        let law = if offer.is_alaw(voice) { "PCMA" } else { "PCMU" };
        let mut formats = voice.to_string();
        let mut maps = format!("a=rtpmap:{voice} {law}/8000");
        if let Some(event) = offer.payload("telephone-event", 8000) {
            formats.push_str(&format!(" {event}"));
            maps.push_str(&format!(
                "\r\na=rtpmap:{event} telephone-event/8000\r\na=fmtp:{event} 0-16"
            ));
        }
        let tag = accepted_crypto(offer).map_or(1, |(tag, _)| tag);
        let crypto = key.map_or(String::new(), |key| key.line(tag));
        let mux = if offer.mux { "a=rtcp-mux" } else { "" };
        let rest = [
            ("formats", formats.as_str()),
            ("maps", maps.as_str()),
            ("mux", mux),
            ("protocol", offer.protocol.as_str()),
        ];
        Some(description(ANSWER, rtp, &crypto, version, way, &rest))
    }

    /// Why this end would refuse a request outside a dialog, with the status it would use.
    pub(crate) fn refuse(&self, arrival: &Arrival) -> Option<(u16, String)> {
        match self {
            Self::Teams(habits) => habits.refuse(&arrival.message, arrival.channel.peer.as_deref()),
            Self::Carrier => None,
        }
    }

    /// What is wrong with a message inside a dialog or an answer that makes one.
    pub(crate) fn blame(&self, arrival: &Arrival) -> Option<String> {
        match self {
            Self::Teams(_) => teams::blame(&arrival.message, arrival.channel.peer.as_deref()),
            Self::Carrier => etiquette::speaks_of_srtp(&arrival.message)
                .then(|| "SRTP on a carrier's leg".to_owned()),
        }
    }

    /// What is wrong with the answer to our OPTIONS.
    pub(crate) fn blame_ping_answer(&self, answer: &Message) -> Option<String> {
        match self {
            Self::Teams(_) => teams::blame_ping_answer(answer),
            Self::Carrier => None,
        }
    }

    /// Whether an OPTIONS is answered by one in return.
    pub(crate) const fn pings_back(&self) -> bool {
        match self {
            Self::Teams(_) => true,
            Self::Carrier => false,
        }
    }

    /// From which home a request inside a dialog leaves: Teams moves on with each.
    pub(crate) const fn next_home(&self, home: usize, homes: usize) -> usize {
        match self {
            Self::Teams(_) => (home + 1) % homes,
            Self::Carrier => home,
        }
    }

    /// Who is asked for in a REFER.
    pub(crate) fn order(&self, home: SocketAddr, length: usize) -> Order {
        match self {
            Self::Teams(habits) => habits.order(home.port(), length),
            Self::Carrier => {
                let (token, by) = ("+14155550199".to_owned(), String::new());
                Order { target: format!("sip:{token}@{home}"), token, by }
            }
        }
    }

    /// A header's name as this kind writes it.
    pub(crate) fn cased(&self, name: &str) -> String {
        match self {
            Self::Teams(_) => name.to_ascii_uppercase(),
            Self::Carrier => name.to_owned(),
        }
    }

    fn line(&self, name: &str, value: &str) -> String {
        if value.is_empty() { String::new() } else { format!("{}: {value}", self.cased(name)) }
    }
}

/// The crypto line that an end of ours takes: `_80` wherever it stands, else the first known.
pub(crate) fn accepted_crypto(sdp: &Sdp) -> Option<(u32, Key)> {
    let known = |crypto: &crate::sip::Crypto| Some((crypto.tag, Key::from_crypto(crypto)?));
    let usual = sdp.cryptos.iter().find(|crypto| crypto.suite == Suite::AesCm128Sha1_80.name());
    usual.and_then(known).or_else(|| sdp.cryptos.iter().find_map(known))
}

/// A Via of ours. `home` is where the answer may come if the connection is gone.
pub(crate) fn via(channel: &Channel, home: SocketAddr, branch: &str) -> String {
    let rport = if channel.transport == Transport::Udp { ";rport" } else { "" };
    format!("SIP/2.0/{} {home}{rport};branch={branch}", channel.transport.name())
}

/// A fresh branch (RFC 3261 §8.1.1.7).
pub(crate) fn branch() -> String {
    format!("z9hG4bK{}", clock::token::<8>())
}

fn description(
    template: &str,
    rtp: SocketAddr,
    crypto: &str,
    version: u64,
    way: &str,
    rest: &[(&str, &str)],
) -> String {
    let family = if rtp.is_ipv4() { "IP4" } else { "IP6" };
    let (address, version) = (format!("{family} {}", rtp.ip()), version.to_string());
    let (port, rtcp) = (rtp.port().to_string(), rtp.port().saturating_add(1).to_string());
    let mut values = vec![
        ("address", address.as_str()),
        ("version", &version),
        ("port", &port),
        ("rtcp", &rtcp),
        ("crypto", crypto),
        ("way", way),
    ];
    values.extend_from_slice(rest);
    sip::fill(template, &values)
}

const ANSWER: &str = "v=0
o=- 31201 {version} IN {address}
s=session
c=IN {address}
t=0 0
m=audio {port} {protocol} {formats}
a=rtcp:{rtcp}
{mux}
{crypto}
{maps}
a=ptime:20
a={way}";
