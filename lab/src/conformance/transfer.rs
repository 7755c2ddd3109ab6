//! Transfers: TR-055 to TR-062.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::bench::{Bench, Judged, LIMIT, Pair, Trouble, WHILE, Way, ensure, meanwhile};
use super::rule::Rule;
use super::stage::Trunk;
use crate::agent::{Call, Invite, Order};
use crate::sip::{Direction, Message, Sdp, host_of};

pub(crate) static RULES: [Rule; 8] = [
    Rule::played(
        55,
        "REFER to a user: 202, NOTIFY 100, INVITE to Teams with Refer-To and Referred-By byte for byte and the tenant's Contact",
        |bench| Box::pin(to_user(bench)),
    ),
    Rule::played(
        56,
        "REFER to a number: INVITE to Teams, none to the trunk; the call that comes back from Teams has audio",
        |bench| Box::pin(to_number(bench)),
    ),
    Rule::played(
        57,
        "BYE 280 ms after the 202: the transfer completes, nobody else is cut off",
        |bench| Box::pin(early_bye(bench)),
    ),
    Rule::played(58, "The target is busy: NOTIFY 486, the call goes on", |bench| {
        Box::pin(busy(bench))
    }),
    Rule::played(
        59,
        "A Referred-By of more than 400 characters with %3D and both cases leaves unchanged",
        |bench| Box::pin(long_referred_by(bench)),
    ),
    Rule::played(
        60,
        "INVITE with Replaces of a call that stands: it takes over, BYE to the old one; of an unknown call: 481",
        |bench| Box::pin(replaces(bench)),
    ),
    Rule::played(61, "Held before the transfer: the target is offered sendrecv", |bench| {
        Box::pin(held_before(bench))
    }),
    Rule::played(
        62,
        "A REFER that is no transfer is refused, and never relayed to the other side",
        |bench| Box::pin(refused(bench)),
    ),
];

/// What the referrer is told next: the status in the fragment.
async fn told(referrer: &mut Call) -> Result<u16, Trouble> {
    let notice = referrer.notified(LIMIT).await?;
    let event = notice.header("Event").unwrap_or_default();
    ensure!(event.starts_with("refer"), "NOTIFY of event {event}");
    let kind = notice.header("Content-Type").unwrap_or_default();
    ensure!(kind.starts_with("message/sipfrag"), "NOTIFY with a body of {kind}");
    let line = String::from_utf8_lossy(notice.body()).into_owned();
    let status = line.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok());
    status.ok_or_else(|| Trouble::Broken("NOTIFY without a status line".to_owned()))
}

/// Teams asks for the transfer; the INVITE to the target.
async fn refer(bench: &mut Bench, pair: &mut Pair, order: &Order) -> Result<Call, Trouble> {
    let awaited = bench.stage.teams.expect_token(&order.token);
    let Pair { carrier, teams } = pair;
    let status = meanwhile(teams.refer(&order.target, &order.by, LIMIT), carrier).await?;
    ensure!(status == 202, "{status} to REFER");
    ensure!(told(teams).await? == 100, "the first NOTIFY is not 100");
    let target = awaited.call(LIMIT).await?;
    bench.note(&target);
    let Some(invite) = target.invite() else { return Ok(target) };
    ensure!(invite.uri() == order.target, "the Request-URI is not Refer-To");
    let by = invite.header("Referred-By").unwrap_or_default();
    ensure!(by == order.by, "Referred-By is not as it was");
    ensure!(invite.header("Replaces").is_none(), "the INVITE has Replaces");
    let sdp = invite.sdp().as_deref().and_then(Sdp::read);
    ensure!(
        sdp.is_some_and(|sdp| sdp.direction == Direction::SendRecv),
        "the offer is not sendrecv"
    );
    Ok(target)
}

fn names(target: &Call, trunk: &Trunk) -> Judged {
    let host = target.invite().and_then(Message::contact).map(host_of).unwrap_or_default();
    ensure!(host == trunk.fqdn, "Contact of the INVITE is not of the tenant");
    Ok(())
}

/// The target answers; the old call is ended by Teams, if it is still there.
async fn completed(pair: Pair, mut target: Call, left: bool) -> Result<Pair, Trouble> {
    let Pair { mut carrier, mut teams } = pair;
    meanwhile(target.answer(0, LIMIT), &mut carrier).await?;
    if !left {
        loop {
            match told(&mut teams).await? {
                200 => break,
                status => ensure!(status < 200, "NOTIFY {status}"),
            }
        }
        meanwhile(teams.bye(LIMIT), &mut carrier).await?;
    }
    Ok(Pair { carrier, teams: target })
}

async fn to_user(bench: &mut Bench) -> Judged {
    for way in [Way::In, Way::Out] {
        bench.sent(match way {
            Way::In => "in a call of the trunk: REFER of Teams to a user, known by an orgid alone",
            Way::Out => "the same in a call of Teams",
        });
        let mut pair = bench.talking(way).await?;
        let order = pair.teams.order(2);
        let mut target = refer(bench, &mut pair, &order).await?;
        names(&target, &bench.trunk())?;
        bench.came("202, NOTIFY 100, INVITE with Refer-To and Referred-By to the letter, Contact of the tenant, sendrecv");
        target.ring(180, 0).await;
        ensure!(told(&mut pair.teams).await? == 180, "no NOTIFY 180");
        let mut pair = completed(pair, target, false).await?;
        bench.came("NOTIFY 180 and 200");
        bench.converse(&mut pair).await?;
        bench.came("audio between trunk and target; 200 to the BYE of who transferred");
        pair.end(Way::In).await?;
    }
    Ok(())
}

async fn to_number(bench: &mut Bench) -> Judged {
    bench.sent("in a call of the trunk: REFER of Teams to a number of the public network");
    let mut pair = bench.talking(Way::In).await?;
    let trunk = bench.trunk();
    let number = bench.stage.outside();
    let (domain, port) = (&bench.stage.domain, bench.stage.teams.homes()[0].address.port());
    let target = format!("sip:{number}@sip.{domain}:{port};user=phone;transport=tls");
    let order = Order { target, token: number.clone(), by: pair.teams.order(2).by };
    let mut target = refer(bench, &mut pair, &order).await?;
    names(&target, &trunk)?;
    ensure!(bench.invites(&trunk.carrier, &number).is_empty(), "the trunk is called");
    bench.came("202, NOTIFY 100, INVITE to Teams; none at the trunk");
    bench.sent("the call of Teams by which it reaches that number");
    let invite = Invite::new(&bench.stage.number(&trunk), &number, &trunk.fqdn);
    let mut hairpin = bench.talking_with(Way::Out, &trunk, invite).await?;
    target.ring(180, 0).await;
    let mut pair = completed(pair, target, false).await?;
    bench.converse(&mut pair).await?;
    bench.converse(&mut hairpin).await?;
    bench.came("the INVITE at the trunk; audio on both halves of the way");
    pair.end(Way::In).await?;
    hairpin.end(Way::In).await
}

async fn early_bye(bench: &mut Bench) -> Judged {
    bench.sent("in a call of the trunk: REFER of Teams, BYE 280 ms after its 202; the target rings and answers");
    let mut pair = bench.talking(Way::In).await?;
    let order = pair.teams.order(2);
    let mut target = refer(bench, &mut pair, &order).await?;
    sleep(Duration::from_millis(280)).await;
    let Pair { carrier, teams } = &mut pair;
    meanwhile(teams.bye(LIMIT), carrier).await?;
    target.ring(180, 0).await;
    ensure!(carrier.stay(WHILE).await.is_ok(), "the trunk is hung up on");
    let mut pair = completed(pair, target, true).await?;
    bench.came("200 to the BYE, nothing at the trunk");
    bench.converse(&mut pair).await?;
    bench.came("audio between trunk and target");
    pair.end(Way::Out).await
}

async fn busy(bench: &mut Bench) -> Judged {
    bench.sent("in a call of the trunk: REFER of Teams; 486 of the target");
    let mut pair = bench.talking(Way::In).await?;
    let order = pair.teams.order(2);
    let mut target = refer(bench, &mut pair, &order).await?;
    target.refuse(486, "Busy Here").await;
    ensure!(told(&mut pair.teams).await? == 486, "the last NOTIFY is not 486");
    bench.came("NOTIFY 486");
    bench.converse(&mut pair).await?;
    bench.came("audio both ways in the call as it was");
    pair.end(Way::Out).await
}

async fn long_referred_by(bench: &mut Bench) -> Judged {
    let mut pair = bench.talking(Way::Out).await?;
    let order = pair.teams.order(9);
    ensure!(order.by.len() > 400, "the lab's own Referred-By is short");
    bench.sent("in a call of Teams: REFER with a Referred-By of more than 400 characters");
    let target = refer(bench, &mut pair, &order).await?;
    bench.came("the INVITE with the same bytes");
    let mut pair = completed(pair, target, false).await?;
    pair.end(Way::In).await
}

async fn replaces(bench: &mut Bench) -> Judged {
    let trunk = bench.trunk();
    bench.sent("an INVITE of Teams with Replaces of a call that is not there");
    let unknown = "REPLACES: nobody@lab;to-tag=a;from-tag=b";
    let invite = bench.outbound(&trunk).with(unknown);
    let called = invite.called.clone();
    let mut stray = bench.stage.teams.call(invite).await?;
    bench.note(&stray);
    let status = stray.refused(LIMIT).await?;
    ensure!(status == 481, "{status}");
    ensure!(bench.invites(&trunk.carrier, &called).is_empty(), "the trunk is called");
    bench.came("481; nothing at the trunk");

    bench.sent("an INVITE of Teams with Replaces of a call of the trunk that stands");
    let pair = bench.talking(Way::In).await?;
    let invite = bench.outbound(&trunk).with(&pair.teams.replaces());
    let stage = Arc::clone(&bench.stage);
    let mut heir = stage.teams.call(invite).await?;
    bench.note(&heir);
    let Pair { mut carrier, teams: mut old } = pair;
    meanwhile(heir.answered(LIMIT), &mut carrier).await?;
    meanwhile(old.ended(LIMIT), &mut carrier).await?;
    bench.came("200; BYE to the replaced one");
    let mut pair = Pair { carrier, teams: heir };
    bench.converse(&mut pair).await?;
    bench.came("audio between the trunk and who took over");
    pair.end(Way::In).await
}

async fn held_before(bench: &mut Bench) -> Judged {
    bench.sent("in a call of the trunk: inactive of Teams, then REFER");
    let mut pair = bench.talking(Way::In).await?;
    pair.reoffer(Way::Out, Direction::Inactive).await?;
    let order = pair.teams.order(2);
    let target = refer(bench, &mut pair, &order).await?;
    bench.came("the INVITE with an offer of sendrecv");
    let mut pair = completed(pair, target, false).await?;
    bench.converse(&mut pair).await?;
    bench.came("audio between trunk and target");
    pair.end(Way::In).await
}

async fn refused(bench: &mut Bench) -> Judged {
    for way in [Way::Out, Way::In] {
        bench.sent(match way {
            Way::Out => "in a call of Teams: REFER of Teams to a tel: and to a sips: URI",
            Way::In => "the same in a call of the trunk",
        });
        let mut pair = bench.talking(way).await?;
        for target in ["tel:+33123456789", "sips:nobody@sip.teams.test"] {
            let Pair { carrier, teams } = &mut pair;
            let status = meanwhile(teams.refer(target, "", LIMIT), carrier).await?;
            let relayed = !bench.requests(&pair.carrier, "REFER").is_empty();
            ensure!(!relayed, "REFER is relayed to the trunk");
            ensure!((400..700).contains(&status), "{status}");
            bench.came(format!("{status}, no REFER at the trunk"));
        }
        bench.sent("REFER of the trunk, which may not transfer");
        let target = format!("sip:+33123456789@{}", bench.trunk().host);
        let Pair { carrier, teams } = &mut pair;
        let status = meanwhile(carrier.refer(&target, "", LIMIT), teams).await?;
        ensure!(bench.requests(&pair.teams, "REFER").is_empty(), "REFER is relayed to Teams");
        ensure!((400..700).contains(&status), "{status}");
        bench.came(format!("{status}, no REFER at Teams"));
        bench.converse(&mut pair).await?;
        bench.came("audio both ways as before");
        pair.end(Way::In).await?;
    }
    Ok(())
}
