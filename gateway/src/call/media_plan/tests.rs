//! Offers, answers and plans between an encrypted side (0, the caller) and a plain one (1, the callee).

use media_relay::srtp::Suite;
use media_relay::{PoolId, Port, SessionId};
use sip_stack::sdp::{Direction, Sdp};

use super::*;

mod hold;

const SECURE: MediaRules = MediaRules {
    codecs: Codecs::ANY,
    t38: false,
    secure: Secure::Required,
    offered_suites: &[Suite::AesCm128HmacSha1_80],
    offer_mux: true,
    holds: Holds::InactiveOnly,
};
const PLAIN: MediaRules = MediaRules {
    codecs: Codecs::ANY,
    t38: true,
    secure: Secure::Off,
    offered_suites: &[],
    offer_mux: false,
    holds: Holds::AsOffered,
};

fn random() -> Random {
    let mut next = 0_u8;
    Random::new(move |buffer| {
        for byte in buffer {
            next = next.wrapping_mul(29).wrapping_add(17);
            *byte = next;
        }
    })
}

fn media(rules: [MediaRules; 2]) -> CallMedia {
    let mut random = random();
    let mut side = |pool, address: &str, number, rules| {
        let port = Port { shard: 0, pool: PoolId(pool), index: 0, number };
        MediaSide::new(port, address.parse().unwrap(), rules, Vec::new(), &mut random)
    };
    let a = side(0, "192.0.2.11", 20000, rules[0]);
    let b = side(1, "192.0.2.10", 21000, rules[1]);
    CallMedia::new(SessionId(1), a, b)
}

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";
const KEY_B: &str = "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";

/// An encrypted offer with these crypto lines and further attributes.
fn secure(cryptos: &[&str], more: &str) -> String {
    let lines: String = cryptos.iter().map(|c| format!("a=crypto:{c}\r\n")).collect();
    format!(
        "v=0\r\no=- 1 0 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
         m=audio 49170 RTP/SAVP 104 8 0 101 13\r\na=rtpmap:104 SILK/16000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n{lines}{more}"
    )
}

fn secure_80(more: &str) -> String {
    secure(&[&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31")], more)
}

/// A plain description: payload types 8 and events as 96.
fn plain(more: &str) -> String {
    format!(
        "v=0\r\no=- 1 0 IN IP4 203.0.113.5\r\ns=-\r\nc=IN IP4 203.0.113.5\r\nt=0 0\r\n\
         m=audio 30000 RTP/AVP 8 96\r\na=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\n{more}"
    )
}

/// The caller's offer goes to the callee and its answer comes back: our offer, our answer, the plan.
fn exchange(media: &mut CallMedia, offer: &str, answer: &str) -> (String, String, Plan) {
    let owned = Owned::default();
    let mut random = random();
    media.take_offer(0, offer.as_bytes(), &owned).unwrap();
    let ours = text(media.offer(1, &mut random));
    media.take_answer(1, answer.as_bytes(), &owned).unwrap();
    let back = text(media.answer(0, &mut random).unwrap());
    (ours, back, media.plan())
}

fn text(sdp: Vec<u8>) -> String {
    String::from_utf8(sdp).unwrap()
}

fn crypto_lines(sdp: &str) -> Vec<&str> {
    sdp.lines().filter_map(|l| l.strip_prefix("a=crypto:")).collect()
}

#[test]
fn tr_045_the_80_bit_tag_is_chosen_and_its_number_echoed_with_a_lifetime() {
    let mut media = media([SECURE, PLAIN]);
    let short = format!("0 AES_CM_128_HMAC_SHA1_32 inline:{KEY}|2^31");
    let long = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_B}|2^31");
    let (_, answer, plan) = exchange(&mut media, &secure(&[&short, &long], ""), &plain(""));
    let [crypto] = crypto_lines(&answer)[..] else { panic!("one crypto line: {answer}") };
    assert!(crypto.starts_with("1 AES_CM_128_HMAC_SHA1_80 inline:"), "{crypto}");
    assert!(crypto.ends_with("|2^31"), "{crypto}");
    let security = plan.sides[0].security.as_ref().unwrap();
    let [receive] = &security.receive[..] else { panic!("one key") };
    assert_eq!(receive.suite(), Suite::AesCm128HmacSha1_80);
    assert_eq!(receive.key_salt()[0], 1, "the key of that very line");
    assert!(plan.sides[1].security.is_none());
}

#[test]
fn tr_046_lifetime_and_mki_are_taken() {
    let mut media = media([SECURE, PLAIN]);
    let crypto = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31|1:1");
    let (_, answer, plan) = exchange(&mut media, &secure(&[&crypto], ""), &plain(""));
    let receive = &plan.sides[0].security.as_ref().unwrap().receive[0];
    assert_eq!(receive.mki().unwrap().as_bytes(), [1]);
    assert_eq!(receive.lifetime(), 1 << 31);
    assert!(!crypto_lines(&answer)[0].contains("|1:1"), "our own packets carry no MKI");
}

#[test]
fn tr_047_no_usable_key_is_refused_and_dtls_beside_sdes_is_passed_over() {
    let owned = Owned::default();
    let refused = |offer: &str| media([SECURE, PLAIN]).take_offer(0, offer.as_bytes(), &owned);
    assert_eq!(refused(&secure(&[], "")), Err(Cause::NotEncrypted));
    assert_eq!(refused(&plain("")), Err(Cause::NotEncrypted));
    let unknown = format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}");
    assert_eq!(refused(&secure(&[&unknown], "")), Err(Cause::NotEncrypted));
    let short = "1 AES_CM_128_HMAC_SHA1_80 inline:AAEC";
    assert_eq!(refused(&secure(&[short], "")), Err(Cause::NotEncrypted));
    let weak = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP");
    assert_eq!(refused(&secure(&[&weak], "")), Err(Cause::NotEncrypted));

    let dtls = secure_80("a=fingerprint:sha-256 AA:BB\r\na=setup:actpass\r\n")
        .replace("RTP/SAVP", "UDP/TLS/RTP/SAVP");
    let (_, answer, _) = exchange(&mut media([SECURE, PLAIN]), &dtls, &plain(""));
    assert_eq!(crypto_lines(&answer).len(), 1);
    assert!(answer.contains("UDP/TLS/RTP/SAVP") && !answer.contains("fingerprint"), "{answer}");
}

#[test]
fn an_answer_must_fit_our_offer() {
    let owned = Owned::default();
    let answer_with = |crypto: &str| {
        let mut media = media([PLAIN, SECURE]);
        media.take_offer(0, plain("").as_bytes(), &owned).unwrap();
        let _ = media.offer(1, &mut random());
        media.take_answer(1, secure(&[crypto], "").as_bytes(), &owned)
    };
    assert_eq!(answer_with(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")), Ok(()));
    let other_tag = format!("2 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
    assert_eq!(answer_with(&other_tag), Err(Cause::NotEncrypted));
    let other_suite = format!("1 AES_CM_128_HMAC_SHA1_32 inline:{KEY}");
    assert_eq!(answer_with(&other_suite), Err(Cause::NotEncrypted));
}

#[test]
fn tr_048_rtcp_mux_is_answered_when_offered_and_only_then() {
    let with = secure_80("a=rtcp-mux\r\na=rtcp:49171\r\n");
    let (ours, answer, plan) = exchange(&mut media([SECURE, PLAIN]), &with, &plain(""));
    assert!(answer.contains("a=rtcp-mux") && plan.sides[0].mux);
    assert!(!ours.contains("a=rtcp-mux") && !plan.sides[1].mux, "each side by itself");
    let without = secure_80("a=rtcp:49180\r\n");
    let (_, answer, plan) = exchange(&mut media([SECURE, PLAIN]), &without, &plain(""));
    assert!(!answer.contains("a=rtcp-mux") && answer.contains("a=rtcp:20001"));
    assert_eq!(plan.sides[0].rtcp, Some("198.51.100.1:49180".parse().unwrap()));
}

#[test]
fn tr_049_our_address_port_and_key_stay_over_every_exchange() {
    let mut media = media([SECURE, PLAIN]);
    let (_, first, before) = exchange(&mut media, &secure_80(""), &plain(""));
    let rekeyed = secure(&[&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_B}|2^31")], "")
        .replace("49170", "50000");
    let (_, second, after) = exchange(&mut media, &rekeyed, &plain(""));
    assert_eq!(crypto_lines(&first), crypto_lines(&second));
    assert!(second.contains("m=audio 20000 ") && second.contains("c=IN IP4 192.0.2.11"));
    assert_eq!(after.sides[0].rtp, Some("198.51.100.1:50000".parse().unwrap()));
    let send = |plan: &Plan| plan.sides[0].security.as_ref().unwrap().send.key_salt().to_vec();
    assert_eq!(send(&before), send(&after));
}

#[test]
fn payload_types_are_mapped_by_name_and_what_nobody_agreed_to_is_not_listed() {
    let (ours, answer, plan) = exchange(&mut media([SECURE, PLAIN]), &secure_80(""), &plain(""));
    assert!(ours.contains("m=audio 21000 RTP/AVP 104 8 0 101 13"), "{ours}");
    assert!(answer.contains("m=audio 20000 RTP/SAVP 8 101\r\n"), "{answer}");
    assert_eq!(plan.sides[0].payloads, [(8, 8), (101, 96)]);
    assert!(plan.sides[1].payloads.contains(&(101, 101)), "{:?}", plan.sides[1].payloads);
    assert!(plan.sides[1].payloads.contains(&(96, 101)), "the number of its own answer too");
}

#[test]
fn doubled_payload_types_leave_each_with_a_number_of_its_own() {
    let offer =
        plain("").replace("RTP/AVP 8 96", "RTP/AVP 96 97 96") + "a=rtpmap:97 opus/48000/2\r\n";
    let mut media = media([PLAIN, SECURE]);
    media.take_offer(0, offer.as_bytes(), &Owned::default()).unwrap();
    let ours = text(media.offer(1, &mut random()));
    let numbers = ours.lines().find(|l| l.starts_with("m=audio")).unwrap();
    let numbers: Vec<&str> = numbers.split(' ').skip(3).collect();
    let mut unique = numbers.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(numbers.len(), unique.len(), "{ours}");
}

#[test]
fn every_hold_becomes_inactive_for_a_peer_that_knows_no_other() {
    let owned = Owned::default();
    let holds = ["a=sendonly\r\n", "a=recvonly\r\n", "a=inactive\r\n"];
    let zero = plain("").replace("c=IN IP4 203.0.113.5", "c=IN IP4 0.0.0.0");
    for hold in holds.iter().map(|h| plain(h)).chain([zero]) {
        let mut media = media([SECURE, PLAIN]);
        exchange(&mut media, &secure_80(""), &plain(""));
        media.take_offer(1, hold.as_bytes(), &owned).unwrap();
        assert!(media.concerns_other(1), "{hold}");
        let ours = text(media.offer(0, &mut random()));
        assert!(ours.contains("a=inactive"), "{ours}");
        media.take_answer(0, secure_80("a=inactive\r\n").as_bytes(), &owned).unwrap();
        let back = text(media.answer(1, &mut random()).unwrap());
        assert_eq!(Sdp::parse(back.as_bytes()).unwrap().direction(0), Direction::Inactive);
        let plan = media.plan();
        assert!(!plan.sides[0].send && !plan.sides[1].send);
    }
}

#[test]
fn a_new_address_alone_is_nobody_elses_concern() {
    let mut media = media([SECURE, PLAIN]);
    exchange(&mut media, &secure_80(""), &plain(""));
    let moved = plain("").replace("203.0.113.5", "203.0.113.6");
    media.take_offer(1, moved.as_bytes(), &Owned::default()).unwrap();
    assert!(!media.concerns_other(1));
    media.answer(1, &mut random()).unwrap();
    assert_eq!(media.plan().sides[1].rtp, Some("203.0.113.6:30000".parse().unwrap()));
}

#[test]
fn a_refused_offer_leaves_what_was_agreed() {
    let mut media = media([SECURE, PLAIN]);
    let (_, _, before) = exchange(&mut media, &secure_80(""), &plain(""));
    media.take_offer(1, plain("a=sendonly\r\n").as_bytes(), &Owned::default()).unwrap();
    let _ = media.offer(0, &mut random());
    media.withdraw_offer(0);
    media.drop_offer(1);
    let after = media.plan();
    assert_eq!(after.sides[0].payloads, before.sides[0].payloads);
    assert!(after.sides[0].send && after.sides[1].send);
}

/// The other side answers with a codec that nobody offered it: the offer is refused, and is none that was agreed to.
#[test]
fn an_offer_that_cannot_be_answered_leaves_what_was_agreed() {
    let owned = Owned::default();
    let mut media = media([SECURE, PLAIN]);
    let (_, _, before) = exchange(&mut media, &secure_80(""), &plain(""));
    let rekeyed = secure(&[&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_B}|2^31")], "");
    let offer = rekeyed.replace("104 8 0 101 13", "104 101").replace("49170", "50000");
    media.take_offer(0, offer.as_bytes(), &owned).unwrap();
    assert!(media.concerns_other(0));
    let _ = media.offer(1, &mut random());
    media.take_answer(1, plain("").as_bytes(), &owned).unwrap();
    assert_eq!(media.answer(0, &mut random()), Err(Cause::NothingInCommon));
    media.drop_offer(0);
    let [mut side, was] = [media.plan(), before].map(|plan| plan.sides[0].clone());
    assert!(side.receive && side.send);
    side.payloads.clone_from(&was.payloads);
    assert_eq!(format!("{side:?}"), format!("{was:?}"));
    let keys = |side: &SidePlan| side.security.as_ref().unwrap().receive[0].key_salt().to_vec();
    assert_eq!(keys(&side), keys(&was));
}

#[test]
fn media_are_never_sent_to_ourselves_or_to_a_crowd() {
    let owned = Owned::only("192.0.2.11", 20000..=20999);
    let aimed = |address: &str, port: &str| {
        let offer = plain("").replace("203.0.113.5", address).replace("30000", port);
        media([PLAIN, SECURE]).take_offer(0, offer.as_bytes(), &owned)
    };
    assert_eq!(aimed("203.0.113.5", "30000"), Ok(()));
    for (address, port) in [
        ("192.0.2.11", "20010"),
        ("224.0.0.1", "30000"),
        ("255.255.255.255", "30000"),
        ("169.254.169.254", "30000"),
        ("203.0.113.5", "53"),
    ] {
        assert_eq!(aimed(address, port), Err(Cause::BadOffer), "{address}:{port}");
    }
}

#[test]
fn other_streams_are_refused_in_their_place() {
    let offer = secure_80("m=video 50000 RTP/SAVP 99\r\na=rtpmap:99 H264/90000\r\n");
    let (ours, answer, _) = exchange(&mut media([SECURE, PLAIN]), &offer, &plain(""));
    assert!(answer.contains("m=video 0 RTP/SAVP 99"), "{answer}");
    assert!(!ours.contains("m=video"), "{ours}");
}

#[test]
fn without_an_offer_we_make_our_own() {
    let owned = Owned::default();
    let mut media = media([PLAIN, SECURE]);
    let ours = text(media.offer(1, &mut random()));
    assert!(ours.contains("RTP/SAVP 8 0 101") && crypto_lines(&ours).len() == 1, "{ours}");
    media.take_answer(1, secure_80("").as_bytes(), &owned).unwrap();
    let offer = text(media.offer(0, &mut random()));
    assert!(offer.contains("RTP/AVP ") && !offer.contains("crypto"), "{offer}");
    media.take_answer(0, plain("").as_bytes(), &owned).unwrap();
    assert!(media.plan().sides.iter().all(|side| side.send && side.receive));
}

#[test]
fn the_version_rises_only_with_a_change() {
    let version = |sdp: &str| Sdp::parse(sdp.as_bytes()).unwrap().origin().version;
    let mut media = media([SECURE, PLAIN]);
    let (_, first, _) = exchange(&mut media, &secure_80(""), &plain(""));
    let (_, same, _) = exchange(&mut media, &secure_80(""), &plain(""));
    let (_, held, _) = exchange(&mut media, &secure_80("a=inactive\r\n"), &plain("a=inactive\r\n"));
    assert_eq!([version(&first), version(&same), version(&held)], [0, 0, 1]);
}

/// Forked: every early dialog is heard under its own key, the one described last is sent to, and the answered one alone
/// is left.
#[test]
fn early_answers_bring_their_keys_and_the_answered_one_stays() {
    let owned = Owned::default();
    let key = |n: u8| KEY.replacen("AAEC", &format!("A{}EC", char::from(b'A' + n)), 1);
    let answer = |n: u8, port: u16| {
        let crypto = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{}", key(n));
        secure(&[&crypto], "").replace("49170", &port.to_string())
    };
    let mut media = media([PLAIN, SECURE]);
    media.take_offer(0, plain("").as_bytes(), &owned).unwrap();
    let _ = media.offer(1, &mut random());
    let heard = |media: &CallMedia| -> (Vec<u8>, u16) {
        let side = &media.plan().sides[1];
        let keys = side.security.as_ref().unwrap().receive.iter();
        (keys.map(|key| key.key_salt()[1] >> 4).collect(), side.rtp.unwrap().port())
    };
    let mut early = |tag: &str, n, port| {
        media.take_early(1, tag.as_bytes(), answer(n, port).as_bytes(), &owned).unwrap();
        let _ = media.answer(0, &mut random());
        heard(&media)
    };
    assert_eq!(early("c", 1, 40001), (vec![1], 40001));
    assert_eq!(early("b", 2, 40002), (vec![2, 1], 40002));
    // Who only repeats itself, as reliable and repeated 18x do, takes nothing over; who says something new does.
    assert_eq!(early("c", 1, 40001), (vec![2, 1], 40002));
    assert_eq!(early("c", 3, 40001), (vec![3, 2], 40001));
    // The same key on two dialogs is one key; the fifth dialog displaces the first.
    assert_eq!(early("d", 2, 40004), (vec![2, 3], 40004));
    assert_eq!(early("e", 4, 40005), (vec![4, 2, 3], 40005));
    assert_eq!(early("f", 5, 40006), (vec![5, 4, 2, 3], 40006));
    assert_eq!(early("g", 6, 40007), (vec![6, 5, 4, 2], 40007));

    media.take_answer(1, answer(2, 40002).as_bytes(), &owned).unwrap();
    assert_eq!(heard(&media), (vec![2], 40002));
}

/// Forks that take different suites of one offer: each has its key of ours until one is answered.
#[test]
fn forks_may_choose_different_suites() {
    const BOTH: MediaRules = MediaRules {
        offered_suites: &[Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32],
        ..SECURE
    };
    let owned = Owned::default();
    let answer = |tag: u8, bits: u8| {
        secure(&[&format!("{tag} AES_CM_128_HMAC_SHA1_{bits} inline:{KEY}")], "")
    };
    let mut media = media([PLAIN, BOTH]);
    media.take_offer(0, plain("").as_bytes(), &owned).unwrap();
    let ours = text(media.offer(1, &mut random()));
    assert_eq!(crypto_lines(&ours).len(), 2);
    let sent = |media: &CallMedia| {
        media.plan().sides[1].security.as_ref().map(|security| security.send.suite())
    };
    for (tag, bits) in [(1, 80), (2, 32), (1, 80)] {
        let dialog = [bits, tag];
        media.take_early(1, &dialog, answer(tag, bits).as_bytes(), &owned).unwrap();
        assert!(sent(&media).is_some(), "{bits}");
    }
    media.take_answer(1, answer(2, 32).as_bytes(), &owned).unwrap();
    assert_eq!(sent(&media), Some(Suite::AesCm128HmacSha1_32));
    assert_eq!(media.plan().sides[1].security.as_ref().unwrap().receive.len(), 1);
}

/// In clear the address described last counts; nothing is left of the others.
#[test]
fn early_answers_in_clear_are_taken_one_after_the_other() {
    let owned = Owned::default();
    let mut media = media([PLAIN, PLAIN]);
    media.take_offer(0, plain("").as_bytes(), &owned).unwrap();
    let _ = media.offer(1, &mut random());
    for (tag, port) in [("c", 30100), ("b", 30200)] {
        let sdp = plain("").replace("30000", &port.to_string());
        media.take_early(1, tag.as_bytes(), sdp.as_bytes(), &owned).unwrap();
        let _ = media.answer(0, &mut random());
        assert_eq!(media.plan().sides[1].rtp.unwrap().port(), port);
    }
}
