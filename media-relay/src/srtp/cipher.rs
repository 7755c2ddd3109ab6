//! The session keys of one master key and where each suite puts tag, MKI and SRTCP index
//! (RFC 3711 §3.1, §3.4; RFC 7714 §8.2, §9.2). Knows no stream and no window.

use super::{MAX_PACKET, MasterKey, SrtpError, Suite, cm::Cm, gcm::Gcm};
use crate::packet::{Header, Ssrc};

/// Session keys of one suite.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one, and stays inline")]
pub(super) enum Cipher {
    Cm(Cm),
    Gcm(Gcm),
}

/// Where things lie in a protected packet.
struct Layout {
    /// Header and payload end here.
    end: usize,
    /// SRTCP's encryption flag and index; empty in SRTP.
    word: usize,
    mki: usize,
    tag: usize,
    len: usize,
}

impl Cipher {
    pub(super) fn new(master: &MasterKey) -> Self {
        let suite = master.suite();
        match suite {
            Suite::AesCm128HmacSha1_80 => Self::Cm(Cm::new(master, 10)),
            Suite::AesCm128HmacSha1_32 => Self::Cm(Cm::new(master, 4)),
            Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => Self::Gcm(Gcm::new(master)),
        }
    }

    /// What is after the payload of every SRTP packet, without an MKI.
    pub(super) fn rtp_tag_len(&self) -> usize {
        match self {
            Self::Cm(cm) => cm.rtp_tag_len(),
            Self::Gcm(_) => Gcm::TAG_LEN,
        }
    }

    /// Protects the RTP packet in the first `len` bytes of `buf` and returns its new length.
    pub(super) fn seal_rtp(
        &self,
        buf: &mut [u8],
        len: usize,
        header: &Header,
        index: u64,
        mki: &[u8],
    ) -> Result<usize, SrtpError> {
        let layout = self.rtp_layout(len, mki.len());
        let buf = layout.room(buf)?;
        let (packet, _) = buf.split_at_mut(layout.end);
        match self {
            Self::Cm(cm) => {
                let tag = cm.seal_rtp(packet, header.len, header.ssrc, index);
                layout.put_tag(buf, &tag[..cm.rtp_tag_len()]);
            }
            Self::Gcm(gcm) => {
                let tag = gcm.seal_rtp(packet, header.len, header.ssrc, index);
                layout.put_tag(buf, &tag.ok_or(SrtpError::Malformed)?);
            }
        }
        layout.put_mki(buf, mki);
        Ok(layout.len)
    }

    /// Opens the SRTP packet `buf` as the one with `index` and returns its new length. `None`, and
    /// nothing changed, when it is not authentic or does not carry `mki`.
    pub(super) fn open_rtp(
        &self,
        buf: &mut [u8],
        header: &Header,
        index: u64,
        mki: &[u8],
    ) -> Option<usize> {
        let end = buf.len().checked_sub(self.rtp_layout(0, mki.len()).len)?;
        let layout = self.rtp_layout(end, mki.len());
        if end < header.len || !layout.has_mki(buf, mki) {
            return None;
        }
        let (packet, trailer) = buf.split_at_mut(end);
        let tag = trailer.get(layout.tag - end..)?;
        match self {
            Self::Cm(cm) => {
                if !cm.verify_rtp(packet, tag, index) {
                    return None;
                }
                cm.decrypt_rtp(packet, header.len, header.ssrc, index);
            }
            Self::Gcm(gcm) => {
                let tag = tag.get(..Gcm::TAG_LEN)?;
                if !gcm.open_rtp(packet, tag, header.len, header.ssrc, index) {
                    return None;
                }
            }
        }
        Some(end)
    }

    /// Protects the RTCP compound in the first `len` bytes of `buf`, at least eight, and returns
    /// its new length.
    pub(super) fn seal_rtcp(
        &self,
        buf: &mut [u8],
        len: usize,
        ssrc: Ssrc,
        index: u32,
        mki: &[u8],
    ) -> Result<usize, SrtpError> {
        let layout = self.rtcp_layout(len, mki.len());
        let buf = layout.room(buf)?;
        let word = (index | ENCRYPTED).to_be_bytes();
        buf[layout.word..layout.word + WORD].copy_from_slice(&word);
        match self {
            Self::Cm(cm) => {
                cm.apply_rtcp(&mut buf[RTCP_HEADER..layout.end], ssrc, index);
                let tag = cm.tag_rtcp(&buf[..layout.end + WORD]);
                layout.put_tag(buf, &tag[..Cm::RTCP_TAG_LEN]);
            }
            Self::Gcm(gcm) => {
                let tag = gcm.seal_rtcp(&mut buf[..layout.end], ssrc, word);
                layout.put_tag(buf, &tag.ok_or(SrtpError::Malformed)?);
            }
        }
        layout.put_mki(buf, mki);
        Ok(layout.len)
    }

    /// The index that an SRTCP packet carries, not yet authenticated.
    pub(super) fn rtcp_index(&self, buf: &[u8], mki: &[u8]) -> Option<u32> {
        let layout = self.rtcp_layout_of(buf, mki)?;
        Some(u32::from_be_bytes(layout.word_of(buf)?) & !ENCRYPTED)
    }

    /// Opens the SRTCP packet `buf` and returns its new length. `None`, and nothing changed, when
    /// it is not authentic or does not carry `mki`.
    pub(super) fn open_rtcp(&self, buf: &mut [u8], ssrc: Ssrc, mki: &[u8]) -> Option<usize> {
        let layout = self.rtcp_layout_of(buf, mki)?;
        let word = layout.word_of(buf)?;
        let (end, index) = (layout.end, u32::from_be_bytes(word));
        match self {
            Self::Cm(cm) => {
                if !cm.verify_rtcp(&buf[..end + WORD], &buf[layout.tag..]) {
                    return None;
                }
                if index & ENCRYPTED != 0 {
                    cm.apply_rtcp(&mut buf[RTCP_HEADER..end], ssrc, index & !ENCRYPTED);
                }
            }
            Self::Gcm(gcm) => {
                let (packet, trailer) = buf.split_at_mut(end);
                let tag = trailer.get(..Gcm::TAG_LEN)?;
                if !gcm.open_rtcp(packet, tag, ssrc, word) {
                    return None;
                }
            }
        }
        Some(end)
    }

    /// The layout of a received SRTCP packet, if it is long enough and carries `mki`.
    fn rtcp_layout_of(&self, buf: &[u8], mki: &[u8]) -> Option<Layout> {
        let end = buf.len().checked_sub(self.rtcp_layout(0, mki.len()).len)?;
        let layout = self.rtcp_layout(end, mki.len());
        (end >= RTCP_HEADER && layout.has_mki(buf, mki)).then_some(layout)
    }

    fn rtp_layout(&self, end: usize, mki: usize) -> Layout {
        match self {
            Self::Cm(cm) => {
                let tag = end + mki;
                Layout { end, word: end, mki: end, tag, len: tag + cm.rtp_tag_len() }
            }
            Self::Gcm(_) => {
                let after = end + Gcm::TAG_LEN;
                Layout { end, word: end, mki: after, tag: end, len: after + mki }
            }
        }
    }

    fn rtcp_layout(&self, end: usize, mki: usize) -> Layout {
        match self {
            Self::Cm(_) => {
                let tag = end + WORD + mki;
                Layout { end, word: end, mki: end + WORD, tag, len: tag + Cm::RTCP_TAG_LEN }
            }
            Self::Gcm(_) => {
                let word = end + Gcm::TAG_LEN;
                Layout { end, word, mki: word + WORD, tag: end, len: word + WORD + mki }
            }
        }
    }
}

impl Layout {
    /// The part of `buf` that the protected packet will fill.
    fn room<'a>(&self, buf: &'a mut [u8]) -> Result<&'a mut [u8], SrtpError> {
        if self.len > MAX_PACKET {
            return Err(SrtpError::TooLong);
        }
        buf.get_mut(..self.len).ok_or(SrtpError::NoRoom)
    }

    fn put_tag(&self, buf: &mut [u8], tag: &[u8]) {
        buf[self.tag..self.tag + tag.len()].copy_from_slice(tag);
    }

    fn put_mki(&self, buf: &mut [u8], mki: &[u8]) {
        buf[self.mki..self.mki + mki.len()].copy_from_slice(mki);
    }

    fn has_mki(&self, buf: &[u8], mki: &[u8]) -> bool {
        mki.is_empty() || buf.get(self.mki..self.mki + mki.len()) == Some(mki)
    }

    fn word_of(&self, buf: &[u8]) -> Option<[u8; WORD]> {
        buf.get(self.word..)?.first_chunk().copied()
    }
}

/// What SRTCP leaves in the clear: the first four bytes and the SSRC.
pub(super) const RTCP_HEADER: usize = 8;

/// Bytes of SRTCP's encryption flag and index.
const WORD: usize = 4;

/// SRTCP's encryption flag.
const ENCRYPTED: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::fixture::{key, rtcp, rtp};

    const MKI: &[u8] = &[0xaa, 0xbb];

    fn sealed(suite: Suite, clear: &[u8], mki: &[u8]) -> Vec<u8> {
        let mut buf = [clear, &[0; 64]].concat();
        let header = Header::peek(clear).unwrap();
        let cipher = Cipher::new(&key(suite, 1));
        let len = cipher.seal_rtp(&mut buf, clear.len(), &header, 7, mki).unwrap();
        buf.truncate(len);
        buf
    }

    fn sealed_rtcp(suite: Suite, clear: &[u8], mki: &[u8]) -> Vec<u8> {
        let mut buf = [clear, &[0; 64]].concat();
        let cipher = Cipher::new(&key(suite, 1));
        let len = cipher.seal_rtcp(&mut buf, clear.len(), Ssrc(1), 5, mki).unwrap();
        buf.truncate(len);
        buf
    }

    #[test]
    fn srtp_has_the_mki_before_the_hmac_tag_and_after_the_gcm_tag() {
        let clear = rtp(1, 7, &[3; 50]);
        for suite in Suite::ALL {
            let (bare, with) = (sealed(suite, &clear, &[]), sealed(suite, &clear, MKI));
            let (body, tag) = bare.split_at(clear.len());
            assert_eq!(tag.len(), suite.rtp_tag_len());
            let want = match suite {
                Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => [body, MKI, tag],
                Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => [body, tag, MKI],
            };
            assert_eq!(with, want.concat(), "{suite:?}");
        }
    }

    #[test]
    fn srtcp_has_flag_and_index_before_the_hmac_tag_and_after_the_gcm_tag() {
        let clear = rtcp(1);
        let word = &[0x80, 0, 0, 5][..];
        for suite in Suite::ALL {
            let (bare, with) = (sealed_rtcp(suite, &clear, &[]), sealed_rtcp(suite, &clear, MKI));
            let (body, trailer) = bare.split_at(clear.len());
            assert_eq!(trailer.len(), 4 + suite.rtcp_tag_len());
            match suite {
                Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => {
                    let (found, tag) = trailer.split_at(4);
                    assert_eq!(found, word);
                    assert_eq!(with, [body, word, MKI, tag].concat());
                }
                Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => {
                    let (tag, found) = trailer.split_at(16);
                    assert_eq!(found, word);
                    assert_eq!(with, [body, tag, word, MKI].concat());
                }
            }
        }
    }

    #[test]
    fn exactly_the_trailer_s_room_is_needed() {
        let (clear, report) = (rtp(1, 7, &[3; 50]), rtcp(1));
        let header = Header::peek(&clear).unwrap();
        for suite in Suite::ALL {
            let cipher = Cipher::new(&key(suite, 1));
            let room = suite.rtp_tag_len() + MKI.len();
            for (room, fits) in [(0, false), (room - 1, false), (room, true)] {
                let mut buf = [&clear[..], &vec![0; room]].concat();
                let sealed = cipher.seal_rtp(&mut buf, clear.len(), &header, 7, MKI);
                assert_eq!(sealed, if fits { Ok(buf.len()) } else { Err(SrtpError::NoRoom) });
            }
            let room = suite.rtcp_tag_len() + 4 + MKI.len();
            for (room, fits) in [(0, false), (room - 1, false), (room, true)] {
                let mut buf = [&report[..], &vec![0; room]].concat();
                let sealed = cipher.seal_rtcp(&mut buf, report.len(), Ssrc(1), 7, MKI);
                assert_eq!(sealed, if fits { Ok(buf.len()) } else { Err(SrtpError::NoRoom) });
            }
        }
    }

    /// RFC 3711 §3.4: a peer may leave SRTCP in the clear, but not without a tag.
    #[test]
    fn srtcp_in_the_clear_is_opened_if_authentic() {
        let clear = rtcp(1);
        let key = key(Suite::AesCm128HmacSha1_80, 1);
        let mut wire = [&clear[..], &[0, 0, 0, 5]].concat();
        let tag = Cm::new(&key, 10).tag_rtcp(&wire);
        wire.extend(&tag[..10]);
        let cipher = Cipher::new(&key);
        let mut forged = wire.clone();
        forged[9] ^= 1;
        assert_eq!(cipher.open_rtcp(&mut forged, Ssrc(1), &[]), None);
        assert_eq!(cipher.open_rtcp(&mut wire, Ssrc(1), &[]), Some(clear.len()));
        assert_eq!(wire[..clear.len()], clear);
    }
}
