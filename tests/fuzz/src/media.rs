//! Packets on media ports: RTP, RTCP, SRTP.

use media_relay::packet::{
    Compound, Header, Packet, Rtp, RtpMut, Ssrc, TelephoneEvent, classify, rewrite_ssrcs,
};
use media_relay::srtp::{MAX_PACKET, MAX_TRAILER, MasterKey, Receiver, Sender, Suite};

/// One datagram as RTP, and its payload as a telephone event.
///
/// # Panics
/// When what must hold does not.
pub fn rtp(bytes: &[u8]) {
    let _ = classify(bytes);
    let header = Header::peek(bytes);
    if let Some(header) = header {
        assert!(header.len >= Header::MIN && header.len <= bytes.len());
    }
    let Some(packet) = Rtp::parse(bytes) else { return };
    let header = header.expect("what is RTP as a whole has a header");
    assert_eq!((packet.ssrc(), packet.sequence()), (header.ssrc, header.sequence));
    assert_eq!((packet.timestamp(), packet.marker()), (header.timestamp, header.marker));
    assert_eq!(packet.payload_type(), header.payload_type);
    assert!(packet.payload().len() + header.len <= bytes.len());
    let _ = (packet.csrcs().count(), packet.extension());
    if let Some(event) = TelephoneEvent::parse(packet.payload()) {
        let _ = event.digit();
        assert_eq!(TelephoneEvent::parse(&event.to_bytes()), Some(event));
    }

    let mut changed = bytes.to_vec();
    let mut rewriter = RtpMut::new(&mut changed).expect("a header");
    rewriter.set_ssrc(Ssrc(7));
    rewriter.set_sequence(8);
    rewriter.set_timestamp(9);
    rewriter.set_payload_type(0xff);
    rewriter.set_marker(true);
    let again = Rtp::parse(&changed).expect("rewriting keeps it whole");
    assert_eq!((again.ssrc(), again.sequence(), again.timestamp()), (Ssrc(7), 8, 9));
    assert_eq!((again.payload_type(), again.marker()), (0x7f, true));
    assert_eq!(again.payload(), packet.payload());
}

/// One datagram as an RTCP compound.
///
/// # Panics
/// When what must hold does not.
pub fn rtcp(bytes: &[u8]) {
    let mut changed = bytes.to_vec();
    let Some(compound) = Compound::parse(bytes) else {
        assert!(!rewrite_ssrcs(&mut changed, |_| Some(Ssrc(1))));
        assert_eq!(changed, bytes, "no compound, and changed");
        return;
    };
    let _ = compound.sender();
    let mut kinds = Vec::new();
    for packet in compound.packets() {
        kinds.push(match packet {
            Packet::SenderReport(report) | Packet::ReceiverReport(report) => {
                assert!(report.blocks().count() <= 31);
                (u8::from(report.info.is_some()), report.blocks().count())
            }
            Packet::SourceDescription(chunks) => (2, chunks.len()),
            Packet::Goodbye(goodbye) => {
                assert!(goodbye.reason.len() <= 255);
                (3, goodbye.sources().count())
            }
            Packet::Other { kind, body, .. } => (kind, body.len()),
        });
    }
    assert!(rewrite_ssrcs(&mut changed, |_| None));
    assert_eq!(changed, bytes, "nothing to rewrite, and changed");
    assert!(rewrite_ssrcs(&mut changed, |ssrc| Some(Ssrc(!ssrc.0))));
    let again = Compound::parse(&changed).expect("rewriting keeps it whole");
    assert_eq!(again.packets().count(), kinds.len());
    assert!(rewrite_ssrcs(&mut changed, |ssrc| Some(Ssrc(!ssrc.0))));
    assert_eq!(changed, bytes, "twice is not nothing");
}

/// The first byte chooses suite and direction; the rest is a packet, of a stranger and of our own.
///
/// # Panics
/// When what must hold does not.
pub fn srtp(bytes: &[u8]) {
    let Some((choice, packet)) = bytes.split_first() else { return };
    let suite = Suite::ALL[usize::from(*choice) % Suite::ALL.len()];
    let material: Vec<u8> = (0..suite.key_salt_len()).map(|at| at as u8 ^ 0x5a).collect();
    let key = MasterKey::new(suite, &material).expect("the suite's own length");

    // A stranger does not have the key: nothing of it is taken, nothing is left of it.
    let mut receiver = Receiver::new(&key);
    let mut wire = packet.to_vec();
    assert!(receiver.unprotect_rtp(&mut wire).is_err());
    assert_eq!(wire, packet, "refused, and changed");
    assert!(receiver.unprotect_rtcp(&mut wire).is_err());
    assert_eq!(wire, packet, "refused, and changed");
    assert!(receiver.snapshot().streams.is_empty(), "state for a stranger");

    // Our own: what was protected comes out as it went in, once.
    if packet.len() + MAX_TRAILER > MAX_PACKET {
        return;
    }
    let mut sender = Sender::new(&key);
    let mut buffer = [packet, &[0; MAX_TRAILER]].concat();
    if *choice & 0x80 == 0 {
        let Ok(len) = sender.protect_rtp(&mut buffer, packet.len()) else { return };
        let mut repeat = buffer[..len].to_vec();
        let plain = receiver.unprotect_rtp(&mut buffer[..len]).expect("our own packet");
        assert_eq!(&buffer[..plain], packet);
        assert!(receiver.unprotect_rtp(&mut repeat).is_err(), "a repeat was taken");
    } else {
        let Ok(len) = sender.protect_rtcp(&mut buffer, packet.len()) else { return };
        let mut repeat = buffer[..len].to_vec();
        let plain = receiver.unprotect_rtcp(&mut buffer[..len]).expect("our own packet");
        assert_eq!(&buffer[..plain], packet);
        assert!(receiver.unprotect_rtcp(&mut repeat).is_err(), "a repeat was taken");
    }
}
