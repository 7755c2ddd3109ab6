//! Keys and packets for the tests of this module.

use super::{MAX_TRAILER, MasterKey, Receiver, Sender, SrtpError, Suite};

/// A key whose bytes all depend on `seed`.
pub(super) fn key(suite: Suite, seed: u8) -> MasterKey {
    let bytes: Vec<u8> =
        (0..suite.key_salt_len()).map(|i| seed ^ (i as u8).wrapping_mul(13)).collect();
    MasterKey::new(suite, &bytes).unwrap()
}

/// An RTP packet without CSRCs and extension.
pub(super) fn rtp(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 8];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A receiver report without blocks and a CNAME.
pub(super) fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut buf = [0; 64];
    let mut writer = crate::packet::RtcpWriter::new(&mut buf);
    writer.receiver_report(crate::packet::Ssrc(ssrc), &[]).unwrap();
    writer.source_description(crate::packet::Ssrc(ssrc), b"gateway@sbc.test").unwrap();
    let len = writer.len();
    buf[..len].to_vec()
}

/// The packet as it goes on the wire.
pub(super) fn protect(sender: &mut Sender, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    in_place(packet, |buf, len| sender.protect_rtp(buf, len))
}

/// The compound as it goes on the wire.
pub(super) fn protect_rtcp(sender: &mut Sender, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    in_place(packet, |buf, len| sender.protect_rtcp(buf, len))
}

/// The packet in the clear. A refused one must be left as it was.
pub(super) fn unprotect(receiver: &mut Receiver, wire: &[u8]) -> Result<Vec<u8>, SrtpError> {
    opened(wire, |buf| receiver.unprotect_rtp(buf))
}

/// The compound in the clear. A refused one must be left as it was.
pub(super) fn unprotect_rtcp(receiver: &mut Receiver, wire: &[u8]) -> Result<Vec<u8>, SrtpError> {
    opened(wire, |buf| receiver.unprotect_rtcp(buf))
}

fn in_place(
    packet: &[u8],
    protect: impl FnOnce(&mut [u8], usize) -> Result<usize, SrtpError>,
) -> Result<Vec<u8>, SrtpError> {
    let mut buf = [packet, &[0; MAX_TRAILER]].concat();
    let result = protect(&mut buf, packet.len());
    match result {
        Ok(len) => buf.truncate(len),
        Err(_) => assert_eq!(buf[..packet.len()], *packet, "refused, and changed"),
    }
    result.map(|_| buf)
}

fn opened(
    wire: &[u8],
    open: impl FnOnce(&mut [u8]) -> Result<usize, SrtpError>,
) -> Result<Vec<u8>, SrtpError> {
    let mut buf = wire.to_vec();
    let result = open(&mut buf);
    match result {
        Ok(len) => buf.truncate(len),
        Err(_) => assert_eq!(buf, wire, "refused, and changed"),
    }
    result.map(|_| buf)
}
