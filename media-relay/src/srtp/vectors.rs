//! Test vectors of RFC 3711 Appendix B, RFC 6188 §7 and RFC 7714 §16-17, and a corpus of packets
//! by other implementations when there is one.

use std::path::Path;

use aes::{Aes128Enc, Aes256Enc, cipher::KeyInit};
use serde_json::Value;

use super::{
    MasterKey, Receiver, Sender, Suite,
    cm::apply_keystream,
    derive::{Label, key_stream},
    fixture,
    gcm::Gcm,
};
use crate::packet::{Header, Ssrc};

#[test]
fn rfc_3711_b2_key_stream() {
    let key = "2b7e151628aed2a6abf7158809cf4f3c";
    let salt = "f0f1f2f3f4f5f6f7f8f9fafbfcfd0000";
    let mut stream = vec![0; 0xff02 * 16];
    stream_of(&hex(key), &hex(salt), &mut stream);
    let block = |at: usize| &stream[16 * at..16 * (at + 1)];
    assert_eq!(block(0x0000), hex("e03ead0935c95e80e166b16dd92b4eb4"));
    assert_eq!(block(0x0001), hex("d23513162b02d0f72a43a2fe4a5f97ab"));
    assert_eq!(block(0x0002), hex("41e95b3bb0a2e8dd477901e4fca894c0"));
    assert_eq!(block(0xfeff), hex("ec8cdf7398607cb0f2d21675ea9ea1e4"));
    assert_eq!(block(0xff00), hex("362b7c3c6773516318a077d7fc5073ae"));
    assert_eq!(block(0xff01), hex("6a2cc3787889374fbeb4c81b17ba6c44"));
}

#[test]
fn rfc_3711_b3_key_derivation() {
    let key = hex("e1f97a0d3e018be0d64fa32c06de4139");
    let salt = hex("0ec675ad498afeebb6960b3aabe6");
    let cipher_key = key_stream::<16>(&key, &salt, Label::RtpKey);
    assert_eq!(cipher_key[..], hex("c61e7a93744f39ee10734afe3ff7a087"));
    let cipher_salt = key_stream::<14>(&key, &salt, Label::RtpSalt);
    assert_eq!(cipher_salt[..], hex("30cbbc08863d8c85d49db34a9ae1"));
    let auth_key = key_stream::<94>(&key, &salt, Label::RtpAuth);
    let want = "cebe321f6ff7716b6fd4ab49af256a156d38baa48f0a0acf3c34e2359e6cdbcee049646c43d9327ad1\
                75578ef72270986371c10c9a369ac2f94a8c5fbcdddc256d6e919a48b610ef17c2041e474035766b68\
                642c59bbfc2f34db60dbdfb2";
    assert_eq!(auth_key[..], hex(want));
}

#[test]
fn rfc_6188_7_1_key_stream() {
    let key = "57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98";
    let salt = "f0f1f2f3f4f5f6f7f8f9fafbfcfd0000";
    let mut stream = vec![0; 0xff02 * 16];
    stream_of(&hex(key), &hex(salt), &mut stream);
    let block = |at: usize| &stream[16 * at..16 * (at + 1)];
    assert_eq!(block(0x0000), hex("92bdd28a93c3f52511c677d08b5515a4"));
    assert_eq!(block(0x0001), hex("9da71b2378a854f67050756ded165bac"));
    assert_eq!(block(0x0002), hex("63c4868b7096d88421b563b8c94c9a31"));
    assert_eq!(block(0xfeff), hex("cea518c90fd91ced9cbb18c078a54711"));
    assert_eq!(block(0xff00), hex("3dbc4814f4da5f00a08772b63c6a046d"));
    assert_eq!(block(0xff01), hex("6eb246913062a16891433e97dd01a57f"));
}

#[test]
fn rfc_6188_7_2_key_derivation() {
    let key = hex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6");
    let salt = hex("3b04803de51ee7c96423ab5b78d2");
    let cipher_key = key_stream::<32>(&key, &salt, Label::RtpKey);
    let want = "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4";
    assert_eq!(cipher_key[..], hex(want));
    let cipher_salt = key_stream::<14>(&key, &salt, Label::RtpSalt);
    assert_eq!(cipher_salt[..], hex("fa31791685ca444a9e07c6c64e93"));
    let auth_key = key_stream::<20>(&key, &salt, Label::RtpAuth);
    assert_eq!(auth_key[..], hex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"));
}

#[test]
fn rfc_7714_16_srtp() {
    let clear = hex(RTP_7714);
    for (key_len, want) in [
        (
            16,
            "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d1\
             9b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            32,
            "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae\
             0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ] {
        let gcm = session(key_len);
        let header = Header::peek(&clear).unwrap();
        let index = u64::from(header.sequence);
        let mut packet = clear.clone();
        let tag = gcm.seal_rtp(&mut packet, header.len, header.ssrc, index).unwrap();
        assert_eq!([&packet[..], &tag].concat(), hex(want));
        assert!(!gcm.open_rtp(&mut packet, &tag, header.len, header.ssrc, index + (1 << 16)));
        assert!(gcm.open_rtp(&mut packet, &tag, header.len, header.ssrc, index));
        assert_eq!(packet, clear);
    }
}

#[test]
fn rfc_7714_17_srtcp() {
    let clear = hex(RTCP_7714);
    let (ssrc, word) = (Ssrc(0x4d61_7273), [0x80, 0, 0x05, 0xd4]);
    for (key_len, want, tag_alone) in [
        (
            16,
            "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b\
             4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade",
            "841dd9683dd78ec92ae58790125f62b3",
        ),
        (
            32,
            "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f6\
             58c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be",
            "91db4afbfeee5a978fab4393ed2615fe",
        ),
    ] {
        let gcm = session(key_len);
        let mut packet = clear.clone();
        let tag = gcm.seal_rtcp(&mut packet, ssrc, word).unwrap();
        assert_eq!([&packet[..], &tag].concat(), hex(want));
        assert!(!gcm.open_rtcp(&mut packet, &tag, ssrc, [0x80, 0, 0x05, 0xd5]));
        assert!(gcm.open_rtcp(&mut packet, &tag, ssrc, word));
        assert_eq!(packet, clear);

        // §17.3, §17.4: tagged, not encrypted.
        let word = [0, 0, 0x05, 0xd4];
        assert!(gcm.open_rtcp(&mut packet, &hex(tag_alone), ssrc, word));
        assert_eq!(packet, clear);
        assert!(!gcm.open_rtcp(&mut packet, &hex(tag_alone), ssrc, [0, 0, 0x05, 0xd5]));
        packet[20] ^= 1;
        assert!(!gcm.open_rtcp(&mut packet, &hex(tag_alone), ssrc, word));
    }
}

#[test]
fn corpus() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/srtp.json");
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let entries: Vec<Value> = serde_json::from_str(&text).unwrap();
    println!("{} entries", entries.len());
    assert!(!entries.is_empty());
    let (mut sender, mut receiver) = (None, None);
    for entry in &entries {
        let bytes = |name: &str| hex(entry[name].as_str().unwrap());
        let (kind, want) = (entry["kind"].as_str().unwrap(), bytes("out"));
        if kind.contains("keystream block") {
            let mut block = [0; 16];
            stream_of(&bytes("key"), &bytes("counter"), &mut block);
            assert_eq!(block[..], want, "{entry}");
        } else if let Some(label) = kind.strip_prefix("kdf label ") {
            let label = match label {
                "0" => Label::RtpKey,
                "1" => Label::RtpAuth,
                "2" => Label::RtpSalt,
                other => panic!("label {other}"),
            };
            let stream = key_stream::<32>(&bytes("master_key"), &bytes("master_salt"), label);
            assert_eq!(stream[..want.len()], want, "{entry}");
        } else if kind.contains("session key/salt given directly") {
            let mut packet = bytes("packet");
            let header = Header::peek(&packet).unwrap();
            let gcm = Gcm::of_session(&bytes("key"), bytes("salt").try_into().unwrap());
            let index = header.sequence.into();
            let tag = gcm.seal_rtp(&mut packet, header.len, header.ssrc, index).unwrap();
            assert_eq!([&packet[..], &tag].concat(), want, "{entry}");
        } else {
            // Packets; those of one rollover follow each other in one context.
            let key = MasterKey::new(Suite::AesCm128HmacSha1_80, &bytes("master")).unwrap();
            if !kind.contains("step") || kind.contains("step 0") {
                (sender, receiver) = (Some(Sender::new(&key)), Some(Receiver::new(&key)));
            }
            let (sender, receiver) = (sender.as_mut().unwrap(), receiver.as_mut().unwrap());
            assert_eq!(fixture::protect(sender, &bytes("plain")).unwrap(), want, "{entry}");
            assert_eq!(fixture::unprotect(receiver, &want).unwrap(), bytes("plain"), "{entry}");
        }
    }
}

/// RFC 7714 §16: both of its examples protect this packet.
const RTP_7714: &str = "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120696e20\
                        7061727465732074726573";

/// RFC 7714 §17.
const RTCP_7714: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbe\
                         efdeadbeefdeadbeefdeadbeef";

fn session(key_len: u8) -> Gcm {
    let key: Vec<u8> = (0..key_len).collect();
    Gcm::of_session(&key, *b"Quid pro quo")
}

fn stream_of(key: &[u8], iv: &[u8], out: &mut [u8]) {
    let iv = iv.try_into().unwrap();
    match key.len() {
        16 => apply_keystream(&Aes128Enc::new_from_slice(key).unwrap(), iv, out),
        32 => apply_keystream(&Aes256Enc::new_from_slice(key).unwrap(), iv, out),
        other => panic!("a key of {other} bytes"),
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}
