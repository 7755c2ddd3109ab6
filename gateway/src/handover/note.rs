//! What two processes say to each other: one packet a note, its length and its JSON first, then bytes that stay as
//! they are. Fields that a reader does not know are ignored, those that are missing have a default.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sip_stack::endpoint::Origin;
use sip_stack::transport::{FlowId, Source, Target, Transport};

/// One note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// Heir: may I?
    Hello {
        /// [`super::VERSION`].
        version: u16,
        /// The program's version, for the log.
        program: String,
    },
    /// Elder: no.
    Refuse {
        /// In words.
        why: String,
    },
    /// Elder: you may.
    Welcome {
        /// The program's version, for the log.
        program: String,
        /// The newest epoch so far; the heir's is above it.
        epoch: u32,
        /// Whose tags and branches belong on the elder's side.
        origins: Vec<Made>,
        /// How many sockets follow.
        sockets: usize,
        /// How many processes before it are left.
        #[serde(default)]
        depth: usize,
    },
    /// Elder: these, in the order of the descriptors that come along.
    Sockets(Vec<Kind>),
    /// Heir: everything is open.
    Ready {
        /// The listening sockets that the elder shall no longer read.
        taken: Vec<Kind>,
    },
    /// Elder: digests of its server transactions, eight bytes each.
    Known,
    /// Elder: I read no more.
    Go,
    /// This came to me and is yours.
    Message(Heard),
    /// Send this for me.
    Send {
        /// For [`Note::Unsent`].
        id: u64,
        /// Where to.
        to: Address,
    },
    /// That could not be sent.
    Unsent {
        /// Which.
        id: u64,
    },
    /// Heir: nothing of mine needs that connection of yours.
    Free {
        /// As its owner calls it.
        flow: u64,
    },
    /// Elder: my calls, once a second.
    Load {
        /// All of them.
        calls: usize,
        /// How many processes before it are left.
        #[serde(default)]
        depth: usize,
        /// Of each tenant and trunk that has any, at most [`ENDS`].
        #[serde(default)]
        ends: Vec<Load>,
        /// They come in addition to those of the note before.
        #[serde(default)]
        more: bool,
    },
    /// Heir: I was told to stop. Calls may go on so long.
    Stop {
        /// How long.
        drain: Duration,
    },
    /// Heir: end what is left.
    End,
}

/// How many tenants and trunks one [`Note::Load`] tells of: a packet has a largest size.
pub const ENDS: usize = 1000;

/// How many calls a tenant or trunk has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// It is a trunk.
    pub trunk: bool,
    /// Its name.
    pub name: String,
    /// Calls made, calls received.
    pub calls: [u32; 2],
}

/// A process, as its identifiers show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The node.
    pub node: u8,
    /// The shard.
    pub shard: u8,
    /// The start of the process.
    pub epoch: u32,
}

/// What a descriptor is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A SIP listener.
    Sip(Transport, SocketAddr),
    /// The listener of the admin pages.
    Admin(SocketAddr),
    /// The listener of the next upgrade.
    Control,
    /// The lock of the state directory.
    Lock,
}

/// [`Source`] between processes: identities go by name, since their numbers differ with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The transport.
    pub transport: Transport,
    /// The identity.
    pub local: String,
    /// The address of ours.
    pub local_addr: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// The connection, as the writer calls it.
    pub flow: Option<u64>,
}

/// [`Target`] between processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The transport.
    pub transport: Transport,
    /// The identity.
    pub local: String,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The peer's name.
    pub name: Option<String>,
    /// The connection, as the reader calls it.
    pub flow: Option<u64>,
}

impl Note {
    /// As one packet, with these bytes behind it.
    pub fn pack(&self, bytes: &[u8]) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("plain data has a JSON form");
        let length = u32::try_from(json.len()).expect("lists of notes are cut to size");
        let mut packet = Vec::with_capacity(4 + json.len() + bytes.len());
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(&json);
        packet.extend_from_slice(bytes);
        packet
    }

    /// The note in a packet and what came behind it; `None` when it is none that we know.
    pub fn unpack(packet: &Bytes) -> Option<(Self, Bytes)> {
        let (length, _) = packet.split_first_chunk::<4>()?;
        let end = 4_usize.checked_add(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let note = serde_json::from_slice(packet.get(4..end)?).ok()?;
        Some((note, packet.slice(end..)))
    }
}

impl From<Origin> for Made {
    fn from(Origin { node, shard, epoch }: Origin) -> Self {
        Self { node, shard, epoch }
    }
}

impl From<Made> for Origin {
    fn from(Made { node, shard, epoch }: Made) -> Self {
        Self { node, shard, epoch }
    }
}

impl Heard {
    /// Writes it; `local` is the identity's name.
    pub fn new(source: &Source, local: String) -> Self {
        let Source { transport, local_addr, remote, flow, .. } = *source;
        Self { transport, local, local_addr, remote, flow: flow.map(|flow| flow.0) }
    }
}

impl Address {
    /// Writes it; `flow` is what the reader calls the connection.
    pub fn new(target: &Target, local: String, flow: Option<FlowId>) -> Self {
        Self {
            transport: target.transport,
            local,
            remote: target.remote,
            name: target.name.as_deref().map(str::to_owned),
            flow: flow.map(|flow| flow.0),
        }
    }
}

/// Digests as the bytes behind [`Note::Known`], in packets of a size that a socket takes.
pub fn digest_packets(digests: &[u64]) -> impl Iterator<Item = Vec<u8>> {
    digests.chunks(DIGESTS).map(|part| {
        let bytes: Vec<u8> = part.iter().flat_map(|digest| digest.to_be_bytes()).collect();
        Note::Known.pack(&bytes)
    })
}

/// The digests behind [`Note::Known`].
pub fn digests(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks::<8>().0.iter().map(|digest| u64::from_be_bytes(*digest))
}

const DIGESTS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use sip_stack::transport::LocalId;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let source = Source {
            transport: Transport::Tls,
            local: LocalId(3),
            local_addr: "192.0.2.1:5061".parse().unwrap(),
            remote: "[2001:db8::1]:40000".parse().unwrap(),
            flow: Some(FlowId(9)),
        };
        let target = Target { name: Some("sip.example".into()), ..Target::reply(&source) };
        let made = Made { node: 1, shard: 0, epoch: 7 };
        let address = source.local_addr;
        let notes = [
            Note::Hello { version: 1, program: "0.1.0".into() },
            Note::Refuse { why: "no".into() },
            Note::Welcome {
                program: "0.1.0".into(),
                epoch: 7,
                origins: vec![made],
                sockets: 2,
                depth: 1,
            },
            Note::Sockets(vec![Kind::Sip(Transport::Udp, address), Kind::Control, Kind::Lock]),
            Note::Ready { taken: vec![Kind::Admin(address)] },
            Note::Known,
            Note::Go,
            Note::Message(Heard::new(&source, "edge default".into())),
            Note::Send { id: 5, to: Address::new(&target, "edge default".into(), target.flow) },
            Note::Unsent { id: 5 },
            Note::Free { flow: 9 },
            Note::Load {
                calls: 2,
                depth: 0,
                ends: vec![Load { trunk: true, name: "a".into(), calls: [1, 2] }],
                more: true,
            },
            Note::Stop { drain: Duration::from_secs(30) },
            Note::End,
        ];
        for note in notes {
            let packet = Bytes::from(note.pack(b"\r\n{}"));
            assert_eq!(Note::unpack(&packet), Some((note, Bytes::from_static(b"\r\n{}"))));
        }
    }

    #[test]
    fn what_is_no_note_is_none() {
        let mut packet = Note::Go.pack(b"");
        packet[3] += 1;
        let lies =
            [&b""[..], b"\0\0", b"\xff\xff\xff\xff{}", b"\0\0\0\x02{}", b"\0\0\0\0", &packet];
        for bytes in lies {
            assert_eq!(Note::unpack(&Bytes::copy_from_slice(bytes)), None, "{bytes:?}");
        }
        let later = br#"{"Hello":{"version":2,"program":"9","colour":"red"}}"#;
        let mut packet = vec![0, 0, 0, later.len() as u8];
        packet.extend_from_slice(later);
        let (note, _) = Note::unpack(&packet.into()).unwrap();
        assert_eq!(note, Note::Hello { version: 2, program: "9".into() });
    }

    #[test]
    fn digests_come_in_packets() {
        let many: Vec<u64> = (0..10_000).collect();
        let packets: Vec<_> = digest_packets(&many).collect();
        assert!(packets.iter().all(|packet| packet.len() < 64 * 1024));
        let read: Vec<u64> = packets
            .into_iter()
            .flat_map(|packet| {
                let (note, bytes) = Note::unpack(&packet.into()).unwrap();
                assert_eq!(note, Note::Known);
                digests(&bytes).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(read, many);
    }
}
