//! How entries lie in a segment, one after the other:
//!
//! ```text
//! length  u32 LE   of what follows the checksum
//! crc     u32 LE   CRC-32 of what follows
//! kind    u8
//! call    16 bytes the call's UUID; zero in a head
//! payload          as in `form`, or that sealed; JSON in a head, and of a call that has ended
//! ```
//!
//! A segment begins with a head. What cannot be read ends a segment: a write that was cut short leaves a torn tail.

use super::CallId;

/// What an entry tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What the segment is.
    Head,
    /// A call began: its record so far.
    Begun,
    /// A call stands: all of it. Sealed.
    Standing,
    /// Where the media of a call stand.
    Media,
    /// A call is over: its record, as in the CDR file.
    Ended,
    /// A call is over, and the relay's figures are still to come: its record without them.
    Ending,
}

/// One entry as it lies in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) call: CallId,
    pub(crate) payload: &'a [u8],
    /// All of its bytes, to be copied.
    pub(crate) whole: &'a [u8],
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Head => 0,
            Self::Begun => 1,
            Self::Standing => 2,
            Self::Media => 3,
            Self::Ended => 4,
            Self::Ending => 5,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Head,
            1 => Self::Begun,
            2 => Self::Standing,
            3 => Self::Media,
            4 => Self::Ended,
            5 => Self::Ending,
            _ => return None,
        })
    }
}

/// The bytes that bind a payload to its place: kind and call.
pub(crate) fn name(kind: Kind, call: CallId) -> [u8; NAME] {
    let mut name = [kind.code(); NAME];
    name[1..].copy_from_slice(&call.0);
    name
}

/// Appends one entry; `payload` appends its bytes.
pub(crate) fn write(
    buffer: &mut Vec<u8>,
    kind: Kind,
    call: CallId,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; PREFIX]);
    buffer.extend_from_slice(&name(kind, call));
    payload(buffer);
    let body = &buffer[start + PREFIX..];
    let length = u32::try_from(body.len()).expect("an entry is far smaller than 4 GiB");
    let crc = crc32fast::hash(body);
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    buffer[start + 4..start + PREFIX].copy_from_slice(&crc.to_le_bytes());
}

/// The entries of a segment, up to its end or to what cannot be read. Kinds of a newer process are passed over.
pub(crate) fn read(segment: &[u8]) -> Frames<'_> {
    Frames { rest: segment }
}

/// See [`read`].
pub(crate) struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        loop {
            let (prefix, after) = self.rest.split_at_checked(PREFIX)?;
            let length = u32::from_le_bytes(prefix[..4].try_into().ok()?) as usize;
            let crc = u32::from_le_bytes(prefix[4..].try_into().ok()?);
            let (body, rest) = after.split_at_checked(length)?;
            if length < NAME || crc32fast::hash(body) != crc {
                return None;
            }
            let whole = &self.rest[..PREFIX + length];
            self.rest = rest;
            if let Some(kind) = Kind::of(body[0]) {
                let call = CallId(body[1..NAME].try_into().ok()?);
                return Some(Frame { kind, call, payload: &body[NAME..], whole });
            }
        }
    }
}

/// Length and checksum.
const PREFIX: usize = 8;
/// Kind and call.
const NAME: usize = 17;

#[cfg(test)]
mod tests {
    use super::*;

    fn segment() -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Begun, CallId([1; 16]), |b| b.extend_from_slice(b"one"));
        write(&mut bytes, Kind::Ended, CallId([2; 16]), |_| {});
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = segment();
        let frames: Vec<_> = read(&bytes).collect();
        let seen: Vec<_> = frames.iter().map(|f| (f.kind, f.call.0[0], f.payload)).collect();
        assert_eq!(seen, [(Kind::Begun, 1, &b"one"[..]), (Kind::Ended, 2, b"")]);
        assert_eq!(frames.iter().flat_map(|f| f.whole).copied().collect::<Vec<u8>>(), bytes);
    }

    #[test]
    fn a_torn_tail_costs_only_itself_and_no_bit_is_trusted() {
        let bytes = segment();
        for cut in 0..bytes.len() {
            let count = usize::from(cut >= PREFIX + NAME + 3);
            assert_eq!(read(&bytes[..cut]).count(), count, "{cut}");
        }
        for at in 0..PREFIX + NAME + 3 {
            for bit in 0..8 {
                let mut spoilt = bytes.clone();
                spoilt[at] ^= 1 << bit;
                assert_eq!(read(&spoilt).count(), 0, "{at}.{bit}");
            }
        }
    }

    #[test]
    fn kinds_of_a_newer_process_are_passed_over() {
        let mut bytes = segment();
        bytes[PREFIX] = 200;
        let length = NAME + 3;
        let crc = crc32fast::hash(&bytes[PREFIX..PREFIX + length]).to_le_bytes();
        bytes[4..8].copy_from_slice(&crc);
        assert_eq!(read(&bytes).map(|f| f.kind).collect::<Vec<_>>(), [Kind::Ended]);
    }
}
