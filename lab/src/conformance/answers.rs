//! Refusals, failover, giving up: TR-031 to TR-037.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::bench::{Bench, Judged, LIMIT, Trouble, WHILE, ensure};
use super::rule::{Rule, When};
use crate::clock;

pub(crate) static RULES: [Rule; 7] = [
    Rule::played(31, "486 and 603 of Teams are told once, with their Q.850 cause; no second INVITE", |bench| {
        Box::pin(final_refusals(bench))
    }),
    Rule::played(
        32,
        "503 with Retry-After: the next name within 500 ms, and for new calls until its time is over",
        |bench| Box::pin(retry_after(bench)),
    )
    .at(When::Alone)
    .shown_by("tr_032_retry_after_is_honoured_and_its_connection_is_left"),
    Rule::played(33, "All names of Teams fail: 503 to the trunk within 8 s", |bench| {
        Box::pin(all_fail(bench))
    })
    .at(When::Alone),
    Rule::played(
        34,
        "CANCEL of the trunk reaches Teams; with \"answered elsewhere\" it has Reason SIP;cause=200",
        |bench| Box::pin(given_up(bench)),
    ),
    Rule::played(35, "A dead trunk: 503 or 504 to Teams within 8 s, and no 18x before it", |bench| {
        Box::pin(dead_trunk(bench))
    }),
    Rule::played(36, "A slow trunk: 18x to Teams before its 10 s are over", |bench| {
        Box::pin(slow_trunk(bench))
    }),
    Rule::played(
        37,
        "486, 404 and 603 of a trunk are told to Teams as they are; 500 and 502 by the map",
        |bench| Box::pin(statuses(bench)),
    ),
];

async fn final_refusals(bench: &mut Bench) -> Judged {
    let trunk = bench.trunk();
    for (status, phrase, cause) in [(486, "Busy Here", 17), (603, "Decline", 21)] {
        bench.sent(format!("a call of the trunk; {status} of Teams"));
        let invite = bench.inbound(&trunk);
        let called = invite.called.clone();
        let (mut caller, mut callee) = bench.call_in(&trunk, invite).await?;
        callee.refuse(status, phrase).await;
        let told = caller.refused(LIMIT).await?;
        ensure!(told == status, "{told} at the trunk");
        sleep(WHILE).await;
        ensure!(bench.invites(&bench.stage.teams, &called).len() == 1, "a second INVITE");
        let answers = bench.answers(&caller);
        let finals: Vec<_> = answers.iter().filter(|it| it.status() >= 300).collect();
        // UDP may bring it again before the ACK; it is one transaction.
        let reason = finals.first().and_then(|it| it.header("Reason")).unwrap_or_default();
        ensure!(reason.contains(&format!("cause={cause}")), "Reason lacks Q.850 cause {cause}");
        bench.came(format!("{status} at the trunk with Q.850 cause {cause}; one INVITE at Teams"));
    }
    Ok(())
}

async fn retry_after(bench: &mut Bench) -> Judged {
    if bench.stage.teams.homes().len() < 2 {
        return Err(Trouble::Unjudged("it takes two addresses for the names of Teams"));
    }
    bench.sent("a call of the trunk; 503 with Retry-After: 3 of the first name");
    let trunk = bench.trunk();
    let invite = bench.inbound(&trunk);
    let (called, stage) = (invite.called.clone(), Arc::clone(&bench.stage));
    let (first, second) = (stage.teams.expect(&called), stage.teams.expect(&called));
    let (mut caller, mut refusing) = bench.call(&trunk.carrier, invite, first).await?;
    let refused = clock::now();
    refusing.refuse_with(503, "Service Unavailable", "RETRY-AFTER: 3").await;
    let mut callee = second.call(LIMIT).await?;
    let took = refused.elapsed();
    bench.note(&callee);
    ensure!(callee.home() != refusing.home(), "the same name is asked again");
    ensure!(took < Duration::from_millis(500), "the next name is asked after more than 500 ms");
    bench.came("the INVITE at the next name within 500 ms");
    callee.refuse(486, "Busy Here").await;
    caller.refused(LIMIT).await?;
    bench.sent("another call of the trunk, at once");
    let invite = bench.inbound(&trunk);
    let (mut caller, mut callee) = bench.call_in(&trunk, invite).await?;
    ensure!(callee.home() != refusing.home(), "Retry-After is not heeded");
    bench.came("its INVITE at another name than the first");
    callee.refuse(486, "Busy Here").await;
    caller.refused(LIMIT).await?;
    // The next rule finds the first name as it was.
    sleep(Duration::from_millis(3200)).await;
    Ok(())
}

async fn all_fail(bench: &mut Bench) -> Judged {
    let trunk = bench.trunk();
    for silent in [false, true] {
        bench.sent(format!(
            "a call of the trunk; {} each name of Teams",
            if silent { "nothing at all of" } else { "503 of" }
        ));
        let invite = bench.inbound(&trunk);
        let (called, stage) = (invite.called.clone(), Arc::clone(&bench.stage));
        let homes = stage.teams.homes().len();
        let begun = clock::now();
        let mut caller = if silent {
            stage.teams.ignore(&called);
            trunk.carrier.call(invite).await?
        } else {
            let awaited: Vec<_> = (0..homes).map(|_| stage.teams.expect(&called)).collect();
            let caller = trunk.carrier.call(invite).await?;
            for expected in awaited {
                expected.call(LIMIT).await?.refuse(503, "Service Unavailable").await;
            }
            caller
        };
        bench.note(&caller);
        let status = caller.refused(3 * LIMIT).await?;
        ensure!(begun.elapsed() < Duration::from_secs(8), "{status} after more than 8 s");
        ensure!(status == 503, "{status}");
        let tried = bench.invites(&stage.teams, &called).len();
        ensure!(tried == homes, "{tried} of {homes} names were asked");
        bench.came(format!("an INVITE at each of {homes} names, then 503 within 8 s"));
    }
    Ok(())
}

async fn given_up(bench: &mut Bench) -> Judged {
    let trunk = bench.trunk();
    for elsewhere in [false, true] {
        let reason = if elsewhere {
            "Reason: SIP;cause=200;text=\"Call completed elsewhere\""
        } else {
            "Reason: Q.850;cause=16;text=\"Cancelled\""
        };
        bench.sent(format!("a call of the trunk, then CANCEL with {reason}"));
        let invite = bench.inbound(&trunk);
        let (mut caller, mut callee) = bench.call_in(&trunk, invite).await?;
        callee.ring(180, 0).await;
        bench.rung(&mut caller).await?;
        let (cancelled, done) =
            tokio::join!(callee.cancelled(LIMIT), caller.cancel_with(reason, LIMIT));
        let cancel = cancelled?;
        done?;
        if elsewhere {
            let told = cancel.lines("Reason").any(|line| {
                let line = line.to_ascii_uppercase();
                line.starts_with("SIP") && line.contains("CAUSE=200")
            });
            ensure!(told, "CANCEL without Reason SIP;cause=200");
            bench.came("CANCEL at Teams with Reason SIP;cause=200, 487 at the trunk");
        } else {
            bench.came("CANCEL at Teams, 487 at the trunk");
        }
    }
    Ok(())
}

async fn dead_trunk(bench: &mut Bench) -> Judged {
    bench.sent("a call of Teams; nothing at all of the trunk");
    // A trunk that is found dead is tried last for a while: not the one of the others.
    let trunk = bench.stage.trunks.last().map(Arc::clone).unwrap_or_else(|| bench.trunk());
    let invite = bench.outbound(&trunk);
    trunk.carrier.ignore(&invite.called);
    let begun = clock::now();
    let mut caller = bench.stage.teams.call(invite).await?;
    bench.note(&caller);
    let status = caller.refused(3 * LIMIT).await?;
    ensure!(begun.elapsed() < Duration::from_secs(8), "{status} after more than 8 s");
    ensure!(matches!(status, 503 | 504), "{status}");
    let rang = bench.answers(&caller).iter().any(|it| it.status() < 200);
    ensure!(!rang, "18x before it");
    bench.came(format!("{status} within 8 s, no 18x"));
    Ok(())
}

async fn slow_trunk(bench: &mut Bench) -> Judged {
    bench.sent("a call of Teams; 100 and nothing else of the trunk");
    let trunk = bench.trunk();
    let invite = bench.outbound(&trunk);
    let (mut caller, mut callee) = bench.call_out(&trunk, invite).await?;
    let status = caller.ringing(Duration::from_secs(10)).await?;
    bench.came(format!("{status} within 10 s"));
    callee.refuse(486, "Busy Here").await;
    let status = caller.refused(LIMIT).await?;
    ensure!(status == 486, "{status} afterwards");
    Ok(())
}

async fn statuses(bench: &mut Bench) -> Judged {
    let trunk = bench.trunk();
    for (said, phrase, wanted) in [
        (486, "Busy Here", &[486][..]),
        (404, "Not Found", &[404]),
        (603, "Decline", &[603]),
        (500, "Server Internal Error", &[500, 503]),
        (502, "Bad Gateway", &[502, 503]),
    ] {
        bench.sent(format!("a call of Teams; {said} of the trunk"));
        let invite = bench.outbound(&trunk);
        let (mut caller, mut callee) = bench.call_out(&trunk, invite).await?;
        callee.refuse(said, phrase).await;
        let told = caller.refused(LIMIT).await?;
        ensure!(wanted.contains(&told), "{told} for {said}");
        bench.came(format!("{told} at Teams"));
    }
    Ok(())
}
