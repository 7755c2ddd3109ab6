//! Keys, ports, payload types: TR-043 to TR-049, TR-053.

use std::collections::BTreeSet;
use std::time::Duration;

use super::bench::{Bench, Judged, LIMIT, Pair, Trouble, Way, audible, clean, ensure, meanwhile};
use super::rule::Rule;
use super::session::same_media;
use crate::agent::{Edit, pair};
use crate::media::srtp::{Key, Suite};
use crate::sip::{Direction, Sdp};

pub(crate) static RULES: [Rule; 8] = [
    Rule::played(
        43,
        "A new key of Teams after a rollover: decrypted from rollover counter 0; our key stays",
        |bench| Box::pin(new_key(bench)),
    ),
    Rule::played(
        44,
        "After the sequence numbers have gone round: hold, resumption and refresh cost no packet",
        |bench| Box::pin(rollover(bench)),
    )
    .shown_by("tr_044_two_to_the_seventeen_packets_with_hold_refresh_and_transfer"),
    Rule::played(
        45,
        "Crypto tags 0 (_32) and 1 (_80) offered: tag 1, _80, lifetime 2^31 answered",
        |bench| Box::pin(tags(bench)),
    ),
    Rule::played(46, "Lifetime and MKI 1:1 in a key of Teams are taken", |bench| {
        Box::pin(mki(bench))
    }),
    Rule::played(47, "An offer without SDES is 488; SDES beside DTLS is used", |bench| {
        Box::pin(without_keys(bench))
    }),
    Rule::played(
        48,
        "rtcp-mux is answered when it is offered, and only then; RTCP within 5 s in both cases",
        |bench| Box::pin(rtcp(bench)),
    ),
    Rule::played(49, "Our media address and port towards Teams stay for the whole call", |bench| {
        Box::pin(one_place(bench))
    }),
    Rule::played(53, "A payload type that a trunk uses twice is two for Teams", |bench| {
        Box::pin(doubled(bench))
    }),
];

impl Bench {
    /// A call whose streams will soon begin again at sequence number 0.
    async fn rolling(&mut self, way: Way) -> Result<Pair, Trouble> {
        let trunk = self.trunk();
        let mut invite = match way {
            Way::In => self.inbound(&trunk),
            Way::Out => self.outbound(&trunk),
        };
        invite.sequence = Some(FIRST);
        let mut pair = self.talking_with(way, &trunk, invite).await?;
        pair.carrier.begin_with(FIRST);
        pair.teams.begin_with(FIRST);
        // Past the rollover.
        let [there, back] =
            pair::converse(&mut pair.carrier, &mut pair.teams, Duration::from_millis(900)).await?;
        clean(&there, "from the trunk to Teams")?;
        clean(&back, "from Teams to the trunk")?;
        Ok(pair)
    }
}

async fn new_key(bench: &mut Bench) -> Judged {
    for way in [Way::In, Way::Out] {
        bench.sent(match way {
            Way::In => {
                "in a call of the trunk, past a rollover: a re-INVITE of Teams with a new key"
            }
            Way::Out => "the same in a call of Teams",
        });
        let mut pair = bench.rolling(way).await?;
        let before = pair.teams.remote().cloned();
        pair.teams.rekey();
        let answer = pair.reoffer(Way::Out, Direction::SendRecv).await?;
        ensure!(answer.status() == 200, "{}", answer.status());
        let after = pair.teams.remote().cloned();
        ensure!(same_media(before.as_ref(), after.as_ref()), "our port or key has changed");
        bench.converse(&mut pair).await?;
        bench.came("200 with our own key and port unchanged; audio both ways");
        pair.end(way).await?;
    }
    Ok(())
}

async fn rollover(bench: &mut Bench) -> Judged {
    bench.sent("a call of the trunk, past a rollover of both streams; hold and resumption by Teams, by the trunk, a refresh");
    let mut pair = bench.rolling(Way::In).await?;
    for by in [Way::Out, Way::In] {
        pair.reoffer(by, Direction::Inactive).await?;
        pair.reoffer(by, Direction::SendRecv).await?;
        bench.converse(&mut pair).await?;
    }
    let Pair { carrier, teams } = &mut pair;
    meanwhile(teams.refresh(LIMIT), carrier).await?;
    bench.converse(&mut pair).await?;
    bench.came("audio both ways after each, every packet decrypted");
    pair.end(Way::In).await
}

async fn tags(bench: &mut Bench) -> Judged {
    bench.sent("an INVITE of Teams with crypto tag 0 AES_CM_128_HMAC_SHA1_32 and tag 1 AES_CM_128_HMAC_SHA1_80");
    let trunk = bench.trunk();
    let mut invite = bench.outbound(&trunk);
    let other = Key::random(Suite::AesCm128Sha1_32).line(0);
    invite.sdp = Some(Edit::new(move |sdp| {
        sdp.replacen("a=crypto:1 ", &format!("{other}\r\na=crypto:1 "), 1)
    }));
    let mut pair = bench.talking_with(Way::Out, &trunk, invite).await?;
    let answer = pair.teams.remote().cloned();
    let cryptos = answer.map(|sdp| sdp.cryptos).unwrap_or_default();
    let [crypto] = cryptos.as_slice() else {
        return Err(Trouble::Broken(format!("{} crypto lines in the answer", cryptos.len())));
    };
    ensure!(crypto.tag == 1, "tag {} is answered", crypto.tag);
    ensure!(crypto.suite == "AES_CM_128_HMAC_SHA1_80", "{} is answered", crypto.suite);
    let lifetime = crypto.lifetime.clone().unwrap_or_default();
    ensure!(lifetime == "2^31", "lifetime {lifetime:?}");
    bench.came("tag 1, AES_CM_128_HMAC_SHA1_80, lifetime 2^31");
    bench.converse(&mut pair).await?;
    bench.came("audio both ways");
    pair.end(Way::Out).await
}

async fn mki(bench: &mut Bench) -> Judged {
    let key = || Key::random(Suite::AesCm128Sha1_80).with_mki(1, 1);
    let trunk = bench.trunk();
    bench.sent("an INVITE of Teams whose key has lifetime 2^31 and MKI 1:1");
    let mut invite = bench.outbound(&trunk);
    invite.key = Some(key());
    let mut pair = bench.talking_with(Way::Out, &trunk, invite).await?;
    bench.converse(&mut pair).await?;
    bench.came("200; audio both ways");
    pair.end(Way::Out).await?;
    bench.sent("a call of the trunk; a 200 of Teams with such a key");
    let invite = bench.inbound(&trunk);
    let (mut carrier, mut teams) = bench.call_in(&trunk, invite).await?;
    teams.use_key(key());
    pair::join(&mut carrier, &mut teams, 0, LIMIT).await?;
    let mut pair = Pair { carrier, teams };
    bench.converse(&mut pair).await?;
    bench.came("audio both ways");
    pair.end(Way::Out).await
}

async fn without_keys(bench: &mut Bench) -> Judged {
    let trunk = bench.trunk();
    let bare = |sdp: &str| -> String {
        let lines = sdp.lines().filter(|line| !line.starts_with("a=crypto"));
        lines.map(|line| format!("{line}\r\n")).collect()
    };
    for (what, edit) in [
        ("RTP/SAVP without crypto", Edit::new(bare)),
        ("RTP/AVP without crypto", Edit::new(move |sdp| bare(sdp).replace("RTP/SAVP", "RTP/AVP"))),
    ] {
        bench.sent(format!("an INVITE of Teams with {what}"));
        let mut invite = bench.outbound(&trunk);
        invite.sdp = Some(edit);
        let called = invite.called.clone();
        let mut caller = bench.stage.teams.call(invite).await?;
        bench.note(&caller);
        let status = caller.refused(LIMIT).await?;
        ensure!(status == 488, "{status}");
        ensure!(bench.invites(&trunk.carrier, &called).is_empty(), "the trunk is called");
        bench.came("488, no INVITE at the trunk");
    }
    bench.sent("an INVITE of Teams with crypto, and a DTLS fingerprint beside it");
    let mut invite = bench.outbound(&trunk);
    let print = ["AB"; 32].join(":");
    invite.sdp = Some(Edit::new(move |sdp| {
        format!("{sdp}a=fingerprint:sha-256 {print}\r\na=setup:actpass\r\n")
    }));
    let mut pair = bench.talking_with(Way::Out, &trunk, invite).await?;
    let keys = pair.teams.remote().map_or(0, |sdp| sdp.cryptos.len());
    ensure!(keys == 1, "{keys} crypto lines in the answer");
    bench.converse(&mut pair).await?;
    bench.came("an answer with crypto; audio both ways");
    pair.end(Way::Out).await
}

async fn rtcp(bench: &mut Bench) -> Judged {
    let trunk = bench.trunk();
    for mux in [false, true] {
        bench.sent(format!(
            "an INVITE of Teams {} a=rtcp-mux, then 5 s of audio",
            if mux { "with" } else { "without" }
        ));
        let mut invite = bench.outbound(&trunk);
        if mux {
            invite.sdp = Some(Edit::replace("a=label", "a=rtcp-mux\r\na=label"));
        }
        let mut pair = bench.talking_with(Way::Out, &trunk, invite).await?;
        let answered = pair.teams.remote().is_some_and(|sdp| sdp.mux);
        ensure!(answered == mux, "rtcp-mux in the answer: {answered}");
        let time = Duration::from_millis(5000);
        let [to_teams, to_carrier] =
            pair::converse(&mut pair.carrier, &mut pair.teams, time).await?;
        audible(&to_teams, "from the trunk to Teams")?;
        audible(&to_carrier, "from Teams to the trunk")?;
        ensure!(to_teams.reports > 0, "no SRTCP at Teams within 5 s");
        bench.came(format!(
            "{} in the answer; SRTCP within 5 s",
            if mux { "rtcp-mux" } else { "none" }
        ));
        pair.end(Way::Out).await?;
    }
    Ok(())
}

async fn one_place(bench: &mut Bench) -> Judged {
    for way in [Way::In, Way::Out] {
        bench.sent(match way {
            Way::In => {
                "a call of the trunk, held and resumed by both sides, with a new key of Teams"
            }
            Way::Out => "the same with a call of Teams",
        });
        let mut pair = bench.talking(way).await?;
        for by in [Way::In, Way::Out] {
            pair.reoffer(by, Direction::Inactive).await?;
            pair.reoffer(by, Direction::SendRecv).await?;
        }
        pair.teams.rekey();
        pair.reoffer(Way::Out, Direction::SendRecv).await?;
        let heard = bench.heard(&pair.teams);
        let places: BTreeSet<_> = heard
            .iter()
            .filter_map(|message| Sdp::read(&message.sdp()?).map(|sdp| sdp.rtp))
            .collect();
        ensure!(places.len() == 1, "{} addresses or ports in one call", places.len());
        bench.came("one address and port in every SDP at Teams");
        pair.end(way).await?;
    }
    Ok(())
}

async fn doubled(bench: &mut Bench) -> Judged {
    bench.sent("an INVITE of the trunk with payload type 96 for two codecs");
    let trunk = bench.trunk();
    let mut invite = bench.inbound(&trunk);
    invite.sdp = Some(Edit::new(|sdp| {
        let maps = "a=rtpmap:96 iLBC/8000\r\na=rtpmap:96 G726-32/8000\r\n";
        sdp.replace(" 8 0 101", " 8 0 96 96 101") + maps
    }));
    let (mut caller, mut callee) = bench.call_in(&trunk, invite).await?;
    let sdp = callee.invite().and_then(|it| it.sdp()).unwrap_or_default();
    callee.refuse(486, "Busy Here").await;
    caller.refused(LIMIT).await?;
    let formats = sdp.lines().find_map(|line| line.strip_prefix("m=audio ")).unwrap_or_default();
    let formats: Vec<&str> = formats.split_whitespace().skip(2).collect();
    let distinct: BTreeSet<_> = formats.iter().collect();
    ensure!(distinct.len() == formats.len(), "a payload type stands twice in the m= line");
    let maps: Vec<&str> =
        sdp.lines().filter_map(|line| line.strip_prefix("a=rtpmap:")?.split(' ').next()).collect();
    let distinct: BTreeSet<_> = maps.iter().collect();
    ensure!(distinct.len() == maps.len(), "a payload type has two a=rtpmap lines");
    bench.came("an offer at Teams in which each payload type stands for one codec");
    Ok(())
}

/// The stream goes round after 36 packets.
const FIRST: u16 = 65_500;
