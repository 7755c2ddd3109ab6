//! Calls for help, and who was called before: TR-068, TR-069.

use std::sync::Arc;

use super::bench::{Bench, Judged, LIMIT, Pair, TALK, Way, clean, ensure};
use super::rule::Rule;
use crate::agent::{Around, Invite, pair};

pub(crate) static RULES: [Rule; 2] = [
    Rule::played(
        68,
        "A call for help with a location (multipart, PIDF-LO): the trunk gets SDP; taken beyond all limits",
        |bench| Box::pin(help(bench)),
    ),
    Rule::played(
        69,
        "History-Info of Teams: Diversion or History-Info for the trunk, by its profile; a loop is 482",
        |bench| Box::pin(diverted(bench)),
    ),
];

async fn help(bench: &mut Bench) -> Judged {
    let known = bench.known("it would call for help by an SBC that is not ours")?;
    let trunk = Arc::clone(&known.limited);
    bench.sent("as many calls as the tenant may have, and one more");
    let invite = bench.outbound(&trunk);
    let mut pair = bench.talking_with(Way::Out, &trunk, invite).await?;
    let mut beyond = bench.stage.teams.call(bench.outbound(&trunk)).await?;
    bench.note(&beyond);
    let status = beyond.refused(LIMIT).await?;
    ensure!(status == 503, "{status}");
    bench.came("503 for the last");
    bench.sent("an INVITE of Teams to 112, multipart of SDP and PIDF-LO, with Geolocation");
    let mut invite = Invite::new(&bench.stage.number(&trunk), "112", &trunk.fqdn);
    let part =
        "Content-Type: application/pidf+xml\r\nContent-ID: <place@teams.test>\r\n\r\n<presence/>";
    invite.around = Some(Around::multipart(part));
    let invite = invite.with("GEOLOCATION: <cid:place@teams.test>");
    let (mut caller, mut callee) = bench.call_out(&trunk, invite).await?;
    let at_trunk = callee.invite().cloned();
    pair::join(&mut caller, &mut callee, 0, LIMIT).await?;
    let flow = pair::hear(&callee, &caller, TALK).await?;
    clean(&flow, "from the trunk to Teams")?;
    let mut help = Pair { carrier: callee, teams: caller };
    help.end(Way::Out).await?;
    pair.end(Way::Out).await?;
    let Some(at_trunk) = at_trunk else { return Ok(()) };
    let kind = at_trunk.header("Content-Type").unwrap_or_default();
    if kind.starts_with("multipart/") {
        ensure!(
            at_trunk.header("Geolocation").is_some(),
            "the location is passed without Geolocation"
        );
        bench.came("the INVITE at the trunk with the location; 200, audio");
    } else {
        ensure!(kind == "application/sdp", "a body of {kind}");
        ensure!(at_trunk.header("Geolocation").is_none(), "Geolocation without the location");
        bench.came("the INVITE at the trunk with SDP alone; 200, audio");
    }
    Ok(())
}

async fn diverted(bench: &mut Bench) -> Judged {
    let trunk = bench.trunk();
    let domain = bench.stage.domain.clone();
    bench.sent("an INVITE of Teams with History-Info of a call that was forwarded");
    let mut invite = bench.outbound(&trunk);
    let (number, called) = (invite.caller.clone(), invite.called.clone());
    invite = invite.with(&format!(
        "HISTORY-INFO: <sip:{number}@sip.{domain};user=phone?Reason=SIP%3Bcause%3D302%3Btext%3D%22Moved%22>;index=1,<sip:{called}@{}>;index=1.1",
        trunk.fqdn
    ));
    let (mut caller, mut callee) = bench.call_out(&trunk, invite).await?;
    let at_trunk = callee.invite().cloned();
    callee.refuse(486, "Busy Here").await;
    caller.refused(LIMIT).await?;
    let told = |name: &str| {
        let lines = at_trunk.as_ref().map(|it| it.elements(name)).unwrap_or_default();
        lines.iter().any(|line| line.contains(&number))
    };
    let which = ["Diversion", "History-Info"].into_iter().find(|name| told(name));
    ensure!(which.is_some(), "the trunk is told neither by Diversion nor by History-Info");
    bench
        .came(format!("{} with the number that forwarded at the trunk", which.unwrap_or_default()));
    bench.sent("an INVITE of Teams with 40 entries of History-Info");
    let mut invite = bench.outbound(&trunk);
    let entries: Vec<String> = (1..=40)
        .map(|n| format!("<sip:{number}@sip.{domain}?Reason=SIP%3Bcause%3D302>;index=1.{n}"))
        .collect();
    invite = invite.with(&format!("HISTORY-INFO: {}", entries.join(",")));
    let mut caller = bench.stage.teams.call(invite).await?;
    bench.note(&caller);
    let status = caller.refused(LIMIT).await?;
    ensure!(status == 482, "{status} for a loop");
    bench.came("482");
    Ok(())
}
