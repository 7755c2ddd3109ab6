//! Session timers, refreshes, hold: TR-040 to TR-042, TR-050, TR-051.

use std::sync::Arc;

use super::bench::{
    Bench, Judged, LIMIT, Pair, TALK, Trouble, WHILE, Way, clean, ensure, meanwhile,
};
use super::rule::Rule;
use crate::agent::{Call, Edit, pair};
use crate::clock;
use crate::media::judge;
use crate::sip::{Direction, Message, Sdp};

pub(crate) static RULES: [Rule; 5] = [
    Rule::played(
        40,
        "Session-Expires 1800 of Teams is agreed with its refresher; as refresher the SBC sends a re-INVITE at half time",
        |bench| Box::pin(timers(bench)),
    )
    .shown_by("tr_040_tr_043_another_key_in_the_answer_to_our_refresh_is_taken"),
    Rule::played(41, "422 of Teams: the INVITE again with its Min-SE", |bench| {
        Box::pin(interval_too_small(bench))
    }),
    Rule::played(
        42,
        "A refresh of Teams with the same SDP: 200 with ours, nothing to the trunk, no gap in the audio",
        |bench| Box::pin(refreshed(bench)),
    ),
    Rule::played(
        50,
        "Each form of hold of the trunk is inactive for Teams (or sendrecv with music), its end sendrecv",
        |bench| Box::pin(held_by_trunk(bench)),
    ),
    Rule::played(51, "inactive of Teams is answered inactive; the call lasts for an hour of it", |bench| {
        Box::pin(held_by_teams(bench))
    })
    .shown_by("tr_051_sixty_minutes_of_hold_after_a_rollover_and_back"),
];

async fn timers(bench: &mut Bench) -> Judged {
    for refresher in ["uac", "uas"] {
        let asked = format!("SESSION-EXPIRES: 1800;refresher={refresher}");
        bench.sent(format!("an INVITE of Teams with {asked}"));
        let trunk = bench.trunk();
        let mut invite = bench.outbound(&trunk);
        invite.text = Some(Edit::replace("SESSION-EXPIRES: 3600", &asked));
        let mut pair = bench.talking_with(Way::Out, &trunk, invite).await?;
        let answers = bench.answers(&pair.teams);
        let accepted = answers.iter().find(|it| it.status() == 200);
        let agreed = accepted.and_then(|it| it.header("Session-Expires")).unwrap_or_default();
        ensure!(
            agreed.starts_with("1800") && agreed.contains(&format!("refresher={refresher}")),
            "Session-Expires {agreed:?} in the 200"
        );
        bench.came(format!("200 with Session-Expires {agreed}"));
        pair.end(Way::Out).await?;
    }
    Ok(())
}

async fn interval_too_small(bench: &mut Bench) -> Judged {
    bench.sent("a call of the trunk; 422 of Teams with Min-SE: 7200");
    let trunk = bench.trunk();
    let invite = bench.inbound(&trunk);
    let (called, stage) = (invite.called.clone(), Arc::clone(&bench.stage));
    let (first, second) = (stage.teams.expect(&called), stage.teams.expect(&called));
    let (mut caller, mut refusing) = bench.call(&trunk.carrier, invite, first).await?;
    refusing.refuse_with(422, "Session Interval Too Small", "MIN-SE: 7200").await;
    let mut callee = second.call(LIMIT).await?;
    bench.note(&callee);
    let again = callee.invite().cloned();
    callee.refuse(486, "Busy Here").await;
    caller.refused(LIMIT).await?;
    let value = |name: &str| {
        let value = again.as_ref().and_then(|it| it.header(name)).unwrap_or_default();
        value.split(';').next().and_then(|number| number.trim().parse::<u32>().ok()).unwrap_or(0)
    };
    ensure!(value("Min-SE") == 7200, "Min-SE is not 7200");
    ensure!(value("Session-Expires") >= 7200, "Session-Expires is shorter than that");
    bench.came("a second INVITE with Min-SE 7200 and a Session-Expires of no less");
    Ok(())
}

async fn refreshed(bench: &mut Bench) -> Judged {
    for way in [Way::In, Way::Out] {
        bench.sent(match way {
            Way::In => "in a call of the trunk: a re-INVITE of Teams with its SDP unchanged, while both talk",
            Way::Out => "the same in a call of Teams",
        });
        let mut pair = bench.talking(way).await?;
        let before = pair.teams.remote().cloned();
        pair.carrier.talk(500).await?;
        pair.teams.talk(700).await?;
        let Pair { carrier, teams } = &mut pair;
        teams.stay(TALK).await?;
        let answer = meanwhile(teams.refresh(LIMIT), carrier).await?;
        teams.stay(TALK).await?;
        carrier.mute().await;
        teams.mute().await;
        tokio::time::sleep(pair::SETTLE).await;
        let (there, back) = (carrier.tape().await, teams.tape().await);
        clean(&judge(&there, &back, clock::now()), "from the trunk to Teams")?;
        clean(&judge(&back, &there, clock::now()), "from Teams to the trunk")?;
        ensure!(answer.status() == 200, "{}", answer.status());
        let after = pair.teams.remote().cloned();
        ensure!(
            same_media(before.as_ref(), after.as_ref()),
            "the answer names another port or key"
        );
        ensure!(reinvites(bench, &pair.carrier).is_empty(), "the trunk gets a re-INVITE");
        bench
            .came("200 with the same address, port and key; nothing at the trunk; the audio whole");
        pair.end(Way::Out).await?;
    }
    Ok(())
}

/// Whether two descriptions of the SBC name the same place and key.
pub(crate) fn same_media(one: Option<&Sdp>, other: Option<&Sdp>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return false };
    let key = |sdp: &Sdp| sdp.cryptos.first().map(|crypto| crypto.key_salt.clone());
    one.rtp == other.rtp && key(one) == key(other)
}

/// The re-INVITEs that came in a call.
pub(crate) fn reinvites(bench: &Bench, call: &Call) -> Vec<Arc<Message>> {
    let mut all = bench.requests(call, "INVITE");
    all.retain(|message| message.to_tag().is_some());
    all
}

/// The SDP in the last INVITE that came in a call.
pub(crate) fn last_offer(bench: &Bench, call: &Call) -> Result<(String, Sdp), Trouble> {
    let all = bench.requests(call, "INVITE");
    let text = all.last().and_then(|message| message.sdp()).unwrap_or_default();
    let sdp = Sdp::read(&text).ok_or(Trouble::Broken("a re-INVITE without SDP".to_owned()))?;
    Ok((text, sdp))
}

async fn held_by_trunk(bench: &mut Bench) -> Judged {
    let null = Edit::new(|sdp| {
        let lines = sdp.lines().map(|line| {
            if line.starts_with("c=IN IP4 ") {
                "c=IN IP4 0.0.0.0\r\n".to_owned()
            } else {
                format!("{line}\r\n")
            }
        });
        lines.collect()
    });
    for way in [Way::In, Way::Out] {
        bench.sent(match way {
            Way::In => "in a call of the trunk: its re-INVITEs with sendonly, recvonly, inactive, c=0.0.0.0, each followed by sendrecv",
            Way::Out => "the same in a call of Teams",
        });
        let mut pair = bench.talking(way).await?;
        for (what, direction, edit) in [
            ("sendonly", Direction::SendOnly, None),
            ("recvonly", Direction::RecvOnly, None),
            ("inactive", Direction::Inactive, None),
            ("c=0.0.0.0", Direction::SendRecv, Some(null.clone())),
        ] {
            pair.carrier.edit(edit);
            let answer = pair.reoffer(Way::In, direction).await?;
            ensure!(answer.status() == 200, "{} to {what}", answer.status());
            let (text, sdp) = last_offer(bench, &pair.teams)?;
            let shown = sdp.direction;
            ensure!(
                matches!(shown, Direction::Inactive | Direction::SendRecv),
                "{what} is {} for Teams",
                shown.name()
            );
            ensure!(!text.contains("0.0.0.0"), "c=0.0.0.0 reaches Teams");
            pair.carrier.edit(None);
            let answer = pair.reoffer(Way::In, Direction::SendRecv).await?;
            ensure!(answer.status() == 200, "{} to the end of {what}", answer.status());
            let (_, sdp) = last_offer(bench, &pair.teams)?;
            ensure!(
                sdp.direction == Direction::SendRecv,
                "the end of {what} is {}",
                sdp.direction.name()
            );
            bench.converse(&mut pair).await?;
            bench.came(format!(
                "{what}: {} at Teams; then sendrecv, and audio both ways",
                shown.name()
            ));
        }
        pair.end(way).await?;
    }
    Ok(())
}

async fn held_by_teams(bench: &mut Bench) -> Judged {
    for way in [Way::In, Way::Out] {
        bench.sent(match way {
            Way::In => "in a call of the trunk: re-INVITEs of Teams with inactive, then sendrecv",
            Way::Out => "the same in a call of Teams",
        });
        let mut pair = bench.talking(way).await?;
        let answer = pair.reoffer(Way::Out, Direction::Inactive).await?;
        let direction = pair.teams.remote().map(|sdp| sdp.direction);
        ensure!(answer.status() == 200, "{}", answer.status());
        ensure!(direction == Some(Direction::Inactive), "inactive is not answered with inactive");
        drop((pair.carrier.tape().await, pair.teams.tape().await));
        pair.carrier.talk(500).await?;
        tokio::time::sleep(WHILE).await;
        pair.carrier.mute().await;
        ensure!(
            pair.teams.tape().await.received.is_empty(),
            "Teams hears the trunk while it holds"
        );
        let answer = pair.reoffer(Way::Out, Direction::SendRecv).await?;
        ensure!(answer.status() == 200, "{} to the end of the hold", answer.status());
        bench.converse(&mut pair).await?;
        bench.came("inactive, and no audio; then sendrecv, and audio both ways");
        pair.end(way).await?;
    }
    Ok(())
}
