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
