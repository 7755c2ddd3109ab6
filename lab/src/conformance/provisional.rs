//! What the caller hears before the answer: TR-027 to TR-030, TR-039.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::bench::{Bench, Judged, LIMIT, MOMENT, Pair, TALK, Trouble, WHILE, Way, clean, ensure};
use super::rule::Rule;
use super::stage::Trunk;
use crate::agent::{Call, pair};

pub(crate) static RULES: [Rule; 5] = [
    Rule::played(
        27,
        "180 of two phones, 183 of a third, 200 of the second: the trunk sees one early dialog, and hears who answered",
        |bench| Box::pin(forked(bench)),
    ),
    Rule::played(28, "Two phones answer: ACK to both, BYE to the second", |bench| {
        Box::pin(two_answers(bench))
    }),
    Rule::played(
        29,
        "180, then 183 with SDP and silence: the trunk gets 180 alone, or by mode the 183, or ringback until Teams speaks",
        |bench| Box::pin(silent_progress(bench)),
    ),
    Rule::played(
        30,
        "A 200 of Teams without 18x, as voicemail gives it: audio both ways",
        |bench| Box::pin(at_once(bench)),
    ),
    Rule::played(
        39,
        "A trunk that requires reliable 18x (100rel): PRACK on its leg alone, nothing of it at Teams",
        |bench| Box::pin(reliable(bench)),
    ),
];

async fn ringing(bench: &mut Bench, trunk: &Trunk) -> Result<(Call, Call), Trouble> {
    let invite = bench.inbound(trunk);
    bench.call_in(trunk, invite).await
}

async fn forked(bench: &mut Bench) -> Judged {
    bench.sent("a call of the trunk; 180 tag A, 180 tag B, 183 with SDP tag C, 200 tag B");
    let (mut caller, mut callee) = ringing(bench, &bench.trunk()).await?;
    callee.ring(180, 0).await;
    let rung = bench.rung(&mut caller).await?;
    callee.ring(180, 1).await;
    callee.progress(2).await?;
    sleep(WHILE).await;
    pair::join(&mut caller, &mut callee, 1, LIMIT).await?;
    bench.came("ACK to tag B at Teams");
    let answers = bench.answers(&caller);
    let tags: Vec<_> = answers.iter().filter_map(|it| it.to_tag()).collect();
    ensure!(tags.windows(2).all(|two| two[0] == two[1]), "the trunk sees several dialogs");
    ensure!(
        !rung || answers.first().is_some_and(|it| it.status() == 180),
        "the trunk's ringback does not begin"
    );
    bench.came("18x and 200 under one tag at the trunk, 180 first");
    let mut pair = Pair { carrier: caller, teams: callee };
    bench.converse(&mut pair).await?;
    bench.came("audio both ways");
    pair.end(Way::Out).await
}

async fn two_answers(bench: &mut Bench) -> Judged {
    bench.sent("a call of the trunk; 200 tag A, then 200 tag B");
    let (mut caller, mut callee) = ringing(bench, &bench.trunk()).await?;
    callee.ring(180, 0).await;
    callee.ring(180, 1).await;
    pair::join(&mut caller, &mut callee, 0, LIMIT).await?;
    callee.answer_too(1, LIMIT).await?;
    bench.came("ACK to both, BYE to tag B");
    let answers = bench.answers(&caller);
    ensure!(answers.iter().filter(|it| it.status() == 200).count() == 1, "the trunk gets two 200s");
    let mut pair = Pair { carrier: caller, teams: callee };
    bench.converse(&mut pair).await?;
    bench.came("one 200 at the trunk; audio both ways with tag A");
    pair.end(Way::Out).await
}

async fn silent_progress(bench: &mut Bench) -> Judged {
    let Some(known) = &bench.stage.known else {
        return told(bench, &bench.trunk(), None).await;
    };
    let (first, pass, generate) =
        (Arc::clone(&known.first), Arc::clone(&known.pass), Arc::clone(&known.generate));
    told(bench, &first, Some(&[180, 200])).await?;
    told(bench, &pass, Some(&[180, 183, 200])).await?;
    ringback(bench, &generate).await
}

/// What the trunk is told of a silent 183; `None`: anything that breaks no ringback.
async fn told(bench: &mut Bench, trunk: &Trunk, wanted: Option<&[u16]>) -> Judged {
    bench.sent(format!("a call of {}; 180, then 183 with SDP and no audio, then 200", trunk.end));
    let (mut caller, mut callee) = ringing(bench, trunk).await?;
    callee.ring(180, 0).await;
    bench.rung(&mut caller).await?;
    callee.progress(0).await?;
    sleep(WHILE).await;
    pair::join(&mut caller, &mut callee, 0, LIMIT).await?;
    let statuses: Vec<u16> = bench.answers(&caller).iter().map(|it| it.status()).collect();
    let words: Vec<String> = statuses.iter().map(u16::to_string).collect();
    bench.came(format!("at the trunk: {}", words.join(", ")));
    match wanted {
        Some(wanted) => ensure!(statuses == wanted, "another order was set"),
        None => ensure!(statuses == [180, 200], "the 183 breaks the ringback that has begun"),
    }
    pair::end(&mut callee, &mut caller, LIMIT).await?;
    Ok(())
}

async fn ringback(bench: &mut Bench, trunk: &Trunk) -> Judged {
    bench.sent(format!(
        "a call of {}, for which the SBC rings itself; 180, then audio of Teams",
        trunk.end
    ));
    let (mut caller, mut callee) = ringing(bench, trunk).await?;
    callee.ring(180, 0).await;
    let status = caller.early(LIMIT).await?;
    ensure!(status == 183, "{status} with SDP");
    sleep(TALK).await;
    let tape = caller.tape().await;
    ensure!(tape.received.len() > 20 && tape.heard.is_some(), "no ringback is heard");
    bench.came("183 with SDP and a tone at the trunk");
    callee.progress(0).await?;
    sleep(MOMENT).await;
    callee.talk(900).await?;
    // The first of it may still meet the ringback.
    sleep(Duration::from_millis(200)).await;
    drop((caller.tape().await, callee.tape().await));
    sleep(Duration::from_millis(1200)).await;
    callee.mute().await;
    sleep(pair::SETTLE).await;
    let heard = caller.tape().await.heard;
    ensure!(heard == Some(900), "the trunk does not hear Teams before the answer");
    bench.came("then the audio of Teams in its place");
    pair::join(&mut caller, &mut callee, 0, LIMIT).await?;
    pair::end(&mut callee, &mut caller, LIMIT).await?;
    Ok(())
}

async fn at_once(bench: &mut Bench) -> Judged {
    bench.sent("a call of the trunk; 200 at once");
    let (mut caller, mut callee) = ringing(bench, &bench.trunk()).await?;
    pair::join(&mut caller, &mut callee, 0, LIMIT).await?;
    let mut pair = Pair { carrier: caller, teams: callee };
    bench.converse(&mut pair).await?;
    bench.came("200 at the trunk; audio both ways");
    pair.end(Way::Out).await
}

async fn reliable(bench: &mut Bench) -> Judged {
    let trunk = bench.trunk();
    for line in ["Supported: 100rel", "Require: 100rel"] {
        bench.sent(format!("an INVITE of the trunk with {line}"));
        let invite = bench.inbound(&trunk).with(line);
        let awaited = bench.stage.teams.expect(&invite.called);
        let mut caller = trunk.carrier.call(invite).await?;
        bench.note(&caller);
        let Ok(mut callee) = awaited.call(LIMIT).await else {
            let status = caller.refused(LIMIT).await?;
            ensure!(status == 420, "{status}");
            bench.came("420; nothing at Teams");
            return Err(Trouble::Unjudged("the SBC does no PRACK: it refuses who requires it"));
        };
        bench.note(&callee);
        callee.ring(180, 0).await;
        let rung = bench.rung(&mut caller).await?;
        if line.starts_with("Require") && rung {
            // The next one is its repeat, for want of a PRACK.
            let status = caller.acknowledge(LIMIT).await?;
            ensure!(status == 200, "{status} to the PRACK");
            bench.came("180 at the trunk until its PRACK, and 200 to that");
        }
        pair::join(&mut caller, &mut callee, 0, LIMIT).await?;
        let flow = pair::hear(&callee, &caller, TALK).await?;
        clean(&flow, "from Teams to the trunk")?;
        pair::end(&mut callee, &mut caller, LIMIT).await?;
        for message in bench.heard(&callee) {
            let named = message.headers().iter().any(|(_, value)| value.contains("100rel"));
            ensure!(!named && message.method() != "PRACK", "100rel reaches Teams");
        }
        bench.came("180 and 200 at the trunk, nothing of 100rel at Teams");
    }
    Ok(())
}
