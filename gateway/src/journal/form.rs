//! How what an entry tells becomes bytes: MessagePack with the names of fields, so that fields may be added and left out from
//! version to version. The record of a call that has ended is JSON, as in the CDR file, and so is the head of a segment.
//!
//! A map of MessagePack does not begin as an object of JSON does, so each is told by its first byte: journals that have JSON
//! throughout, as they once were, are read as well.

use serde::{Deserialize, Serialize};

/// Appends a value.
pub(crate) fn encode<T: Serialize>(value: &T, into: &mut Vec<u8>) {
    let mut serializer = rmp_serde::Serializer::new(into).with_struct_map();
    value.serialize(&mut serializer).expect("entries are plain data, and memory takes it");
}

/// The value that these bytes are, in either form.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match bytes.first()? {
        b'{' => serde_json::from_slice(bytes).ok(),
        _ => rmp_serde::from_slice(bytes).ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum End {
        Tenant(String),
        Trunk { name: String },
        Nobody,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Older {
        ends: [End; 3],
        at: SocketAddr,
        #[serde(default)]
        gone: Option<u64>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Newer {
        #[serde(default)]
        colour: Vec<f64>,
        at: SocketAddr,
        ends: [End; 3],
    }

    fn ends() -> [End; 3] {
        [End::Tenant("t".into()), End::Trunk { name: "c\r\n\"".into() }, End::Nobody]
    }

    fn older() -> Older {
        Older { ends: ends(), at: "[::1]:5060".parse().unwrap(), gone: Some(u64::MAX) }
    }

    fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
        let mut bytes = b"before".to_vec();
        encode(value, &mut bytes);
        bytes.split_off(6)
    }

    #[test]
    fn a_process_reads_what_an_older_and_a_newer_one_wrote() {
        let newer = Newer { colour: vec![0.5], at: older().at, ends: ends() };
        assert_eq!(decode::<Older>(&bytes(&older())), Some(older()));
        assert_eq!(decode::<Older>(&bytes(&newer)), Some(Older { gone: None, ..older() }));
        assert_eq!(decode::<Newer>(&bytes(&older())), Some(Newer { colour: vec![], ..newer }));
    }

    #[test]
    fn json_is_read_as_well() {
        assert_eq!(decode::<Older>(&serde_json::to_vec(&older()).unwrap()), Some(older()));
    }

    #[test]
    fn what_is_neither_is_nothing() {
        let whole = bytes(&older());
        for end in 0..whole.len() {
            assert_eq!(decode::<Older>(&whole[..end]), None, "{end}");
        }
        assert_eq!(decode::<Older>(b"{\"ends\":"), None);
        assert_eq!(decode::<Older>(&[0xc1; 9]), None);
    }
}
