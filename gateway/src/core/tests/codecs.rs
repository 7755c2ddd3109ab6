//! A trunk that is spoken to in certain codecs.

use config::{Codec, Dialect};

use super::*;

/// The usual configuration with such a carrier.
fn with(codecs: &[Codec]) -> config::Config {
    let mut config = config();
    let dialect = Dialect { codecs: codecs.to_vec(), ..Dialect::default() };
    config.trunks[0].dialect = Arc::new(dialect);
    config
}

/// What Teams offers: SILK, G.722, PCMU, PCMA, events.
fn rich() -> String {
    let map = "a=rtpmap:104 SILK/16000\na=rtpmap:9 G722/8000\na=rtpmap:101";
    SECURE.replace("SAVP 8 101", "SAVP 104 9 0 8 101").replace("a=rtpmap:101", map)
}

/// The encodings of the audio line of a message, in order.
fn codecs(message: &str) -> Vec<String> {
    let line = body(message).lines().find(|line| line.starts_with("m=audio")).expect("m=audio");
    let name = |payload: &str| {
        let start = format!("a=rtpmap:{payload} ");
        let map = body(message).lines().find_map(|line| line.strip_prefix(&start));
        map.map_or(payload, |map| map.split('/').next().unwrap()).to_owned()
    };
    line.split_whitespace().skip(3).map(name).collect()
}

#[test]
fn an_offer_to_a_trunk_has_its_codecs_in_its_order() {
    for (list, want) in [
        (&[][..], &["SILK", "G722", "PCMU", "PCMA", "telephone-event"][..]),
        (&[Codec::Pcma, Codec::Pcmu], &["PCMA", "PCMU", "telephone-event"]),
        (&[Codec::G729, Codec::G722, Codec::Silk], &["G722", "SILK", "telephone-event"]),
    ] {
        let mut world = World::with(with(list));
        world.hear(PROXY, &teams_invite("+33123456789", "t1", "", &rich()));
        assert_eq!(codecs(&world.expect(CARRIER, "INVITE ")), want);
    }
}

/// Never an m= line without a codec: 488, and nobody is asked.
#[test]
fn a_call_without_a_codec_in_common_is_488() {
    let mut world = World::with(with(&[Codec::G729]));
    world.hear(PROXY, &teams_invite("+33123456789", "t1", "", &rich()));
    world.expect(PROXY, "SIP/2.0 488");
    world.nothing_but(CARRIER, &["OPTIONS"]);
    assert_eq!(world.records[0].cause.text, Cause::NothingInCommon.to_string());
    let mut world = World::with(with(&[Codec::G729]));
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    world.expect(CARRIER, "SIP/2.0 488");
    world.nothing_but(PROXY, &["OPTIONS"]);
    assert_eq!(world.core.unfinished(), 0);
}

#[test]
fn a_trunks_own_offer_is_read_as_if_it_had_no_other_codecs() {
    let mut world = World::with(with(&[Codec::Pcmu]));
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let invite = world.expect(PROXY, "INVITE ");
    assert_eq!(codecs(&invite), ["PCMU", "telephone-event"]);
    // An answer with another one all the same is none.
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, SECURE));
    world.expect(CARRIER, "SIP/2.0 488");
    // Without an offer the trunk is offered its own.
    let mut world = World::with(with(&[Codec::Pcmu]));
    world.hear(CARRIER, &carrier_invite("+442079460001", ""));
    let invite = world.expect(PROXY, "INVITE ");
    assert_eq!(codecs(&invite), ["PCMA", "PCMU", "telephone-event"]);
    let secure = SECURE.replace("SAVP 8 101", "SAVP 8 0 101");
    world.hear(PROXY, &reply(&invite, "200 OK", "t1", TEAMS_CONTACT, &secure));
    assert_eq!(codecs(&world.expect(CARRIER, "SIP/2.0 200")), ["PCMU", "telephone-event"]);
}

/// In mid call Teams wants nothing that the trunk is spoken to in: refused, and the call goes on.
#[test]
fn a_change_to_other_codecs_is_refused() {
    let mut world = World::with(with(&[Codec::Pcma]));
    let (invite, _) = answered(&mut world);
    world.sent.clear();
    let other = SECURE.replace("SAVP 8 101", "SAVP 0 101");
    world.hear(PROXY, &in_dialog(&invite, "INVITE", 1, "t1", TEAMS_CONTACT, &other));
    world.expect(PROXY, "SIP/2.0 488");
    world.nothing_but(CARRIER, &["OPTIONS"]);
    assert_eq!(world.core.calls(), 1);
}
