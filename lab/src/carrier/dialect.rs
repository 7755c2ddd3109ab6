//! How a plain carrier writes.

use std::net::SocketAddr;

use crate::agent::Invite;
use crate::agent::dialect::Names;
use crate::capture::Transport;

pub(crate) fn contact(home: SocketAddr, transport: Transport, number: &str) -> String {
    let transport = match transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
    };
    format!("sip:{number}@{home}{transport}")
}

pub(crate) fn names(invite: &Invite, gateway: SocketAddr, own: SocketAddr) -> Names {
    Names {
        uri: format!("sip:{}@{}:{}", invite.called, invite.host, gateway.port()),
        from: format!("<sip:{}@{}>", invite.caller, own.ip()),
        to: format!("<sip:{}@{}>", invite.called, invite.host),
    }
}

pub(crate) const REQUEST: &str = "{method} {uri} SIP/2.0
Via: {via}
Max-Forwards: 70
{route}
{record_route}
From: {from}
To: {to}
Call-ID: {call}
CSeq: {cseq} {method}
{contact}
Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, PRACK
User-Agent: trunkgate-lab
{extra}
{content_type}
Content-Length: {length}";

pub(crate) const RESPONSE: &str = "SIP/2.0 {status} {phrase}
{vias}
{record_route}
From: {from}
To: {to}
Call-ID: {call}
CSeq: {cseq}
{contact}
Server: trunkgate-lab
{extra}
{content_type}
Content-Length: {length}";

pub(crate) const OFFER: &str = "v=0
o=carrier 20 {version} IN {address}
s=-
c=IN {address}
t=0 0
m=audio {port} RTP/AVP 8 0 101
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:20
a={way}";
