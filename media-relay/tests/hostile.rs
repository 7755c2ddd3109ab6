//! Noise on everything that reads a packet: nothing is accepted that should not be, nothing panics,
//! and memory stays flat. Alone in its process, so that the process's memory is this test's.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime};

use media_relay::packet::{Compound, Header, Packet, Rtp, RtpMut, classify};
use media_relay::ports::PortMap;
use media_relay::shard::Shard;
use media_relay::srtp::{MasterKey, Receiver, Sender, Suite};
use media_relay::{Command, Plan, PoolConfig, PoolId, Port, Security, SessionId, SidePlan};

/// Packets in all, after as many as a tenth to warm up.
const PACKETS: u32 = 200_000;

#[test]
fn noise_harms_nothing_and_memory_stays_flat() {
    let mut noise = Noise(3);
    let mut receivers = Suite::ALL.map(|suite| Receiver::new(&key(suite, 1)));
    let mut wires = Suite::ALL.map(wires);
    let (mut shard, now) = call();
    let mut at_first = 0;
    for round in 0..PACKETS + PACKETS / 10 {
        if round == PACKETS / 10 {
            at_first = resident();
        }
        let suite = (round % 4) as usize;
        let mut buf = [0; 2048];
        let len = noise.packet(&mut buf, &mut wires[suite]);
        parse(&mut buf[..len].to_vec());
        let mut copy = buf;
        assert!(receivers[suite].unprotect_rtp(&mut copy[..len]).is_err());
        assert!(receivers[suite].unprotect_rtcp(&mut copy[..len]).is_err());
        assert_eq!(copy, buf, "what is refused is unchanged");

        let port = port(20000 + 2 * (noise.next() % 10) as u16);
        let socket = shard.socket(port, noise.next().is_multiple_of(2)).unwrap();
        let from = match noise.next() % 3 {
            0 => "192.0.2.1:4000",
            1 => "192.0.2.1:4001",
            _ => "203.0.113.9:9",
        };
        let now = now + Duration::from_micros(u64::from(round) * 50);
        if let Some(forward) =
            shard.handle_packet(socket, from.parse().unwrap(), &mut buf, len, now)
        {
            assert_eq!(
                forward.to.ip(),
                Ipv4Addr::new(198, 51, 100, 1),
                "only a plain peer's noise goes on"
            );
        }
        if shard.poll_timeout().is_some_and(|at| at <= now) {
            shard.handle_timeout(now);
        }
        while shard.poll_transmit(&mut buf, now).is_some() {}
        while shard.poll_output().is_some() {}
        while shard.poll_event().or_else(|| shard.poll_checkpoint(now)).is_some() {}
    }
    for receiver in receivers {
        assert_eq!((receiver.usage(), receiver.snapshot().streams.len()), (Default::default(), 0));
    }
    let grown = resident().saturating_sub(at_first);
    assert!(grown <= 512 * 1024, "{grown} bytes more after {PACKETS} packets");
}

/// Everything that reads.
fn parse(bytes: &mut [u8]) {
    let _ = classify(bytes);
    let _ = Header::peek(bytes);
    if let Some(rtp) = Rtp::parse(bytes) {
        let extension = rtp.extension().map_or(0, |(_, bytes)| 4 + bytes.len());
        let known = 12 + 4 * rtp.csrcs().count() + extension + rtp.payload().len();
        assert!(known <= bytes.len(), "{known} in {bytes:02x?}");
    }
    if let Some(mut rtp) = RtpMut::new(bytes) {
        rtp.set_sequence(1);
        rtp.set_payload_type(200);
    }
    let Some(compound) = Compound::parse(bytes) else { return };
    let _ = compound.sender();
    for packet in compound.packets() {
        match packet {
            Packet::SenderReport(report) | Packet::ReceiverReport(report) => {
                assert!(report.blocks().count() <= 31);
            }
            Packet::SourceDescription(_) | Packet::Goodbye(_) | Packet::Other { .. } => {}
        }
    }
}

/// A valid RTP and a valid RTCP packet under another key than the receivers'.
fn wires(suite: Suite) -> [Vec<u8>; 2] {
    let mut sender = Sender::new(&key(suite, 2));
    let mut rtp = vec![0x55; 2048];
    rtp[..12].copy_from_slice(&[0x80, 8, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
    let len = sender.protect_rtp(&mut rtp, 172).unwrap();
    rtp.truncate(len);
    let mut rtcp = vec![0; 2048];
    rtcp[..8].copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, 1]);
    let len = sender.protect_rtcp(&mut rtcp, 8).unwrap();
    rtcp.truncate(len);
    [rtp, rtcp]
}

/// A plain peer on A, an SRTP peer on B, whose address is all that anything may be sent to.
fn call() -> (Shard, Instant) {
    #[allow(clippy::disallowed_methods, reason = "a test may begin at any time")]
    let now = Instant::now();
    let address = Ipv4Addr::LOCALHOST.into();
    let pool = PoolConfig { id: PoolId(0), address, ports: 20000..=20019, dscp: None };
    let mut shard = Shard::new(PortMap::new(1, &[pool]), 0, [7; 32], now, SystemTime::UNIX_EPOCH);
    let mut sides = [20000, 20002].map(|number| SidePlan::new(port(number)));
    sides[0].rtp = Some("192.0.2.1:4000".parse().unwrap());
    sides[1].rtp = Some("198.51.100.1:5000".parse().unwrap());
    let [send, receive] = [3, 4].map(|byte| key(Suite::AesCm128HmacSha1_80, byte));
    sides[1].security = Some(Security { send, receive: vec![receive] });
    shard.handle_command(&Command::Apply(Box::new(Plan { session: SessionId(1), sides })), now);
    (shard, now)
}

fn port(number: u16) -> Port {
    Port { shard: 0, pool: PoolId(0), index: 0, number }
}

fn key(suite: Suite, byte: u8) -> MasterKey {
    MasterKey::new(suite, &vec![byte; suite.key_salt_len()]).unwrap()
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Noise, noise that begins like RTP or RTCP, or a packet of somebody with some bytes changed.
    fn packet(&mut self, buf: &mut [u8], wires: &mut [Vec<u8>; 2]) -> usize {
        let kind = self.next() % 4;
        let longest = if self.next().is_multiple_of(16) { 1700 } else { 260 };
        let mut len = (self.next() % longest) as usize;
        if kind == 3 {
            let wire = &wires[(self.next() % 2) as usize];
            buf[..wire.len()].copy_from_slice(wire);
            for _ in 0..self.next() % 4 {
                buf[self.next() as usize % wire.len()] = self.next() as u8;
            }
            return wire.len() - (self.next() % 3) as usize;
        }
        for byte in &mut buf[..len] {
            *byte = self.next() as u8;
        }
        if kind > 0 && len > 4 {
            buf[0] = 0x80 | buf[0] & 0x3f;
            if kind == 2 {
                buf[1] = 200 + buf[1] % 8;
                len &= !3;
                buf[2] = 0;
                buf[3] = (len / 4 - 1).min(255) as u8;
            }
        }
        len
    }
}
