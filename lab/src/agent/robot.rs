//! Answers calls that nobody expected, as a scenario says; the usual one rings, picks up, plays a tone until the other side ends.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::agent::{Agent, Call, Fault, Invite, Offer, SCENARIOS, Scenario};

/// Takes calls until the agent is dropped, telling `progress` of each.
pub(crate) async fn answer(
    mut offers: mpsc::Receiver<Offer>,
    scenario: &'static Scenario,
    progress: &(dyn Fn(&str) + Sync),
) {
    let (tell, mut told) = mpsc::channel::<String>(64);
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            offer = offers.recv() => {
                let Some(offer) = offer else {
                    return;
                };
                let tell = tell.clone();
                calls.spawn(async move {
                    let words = match take(offer, scenario, &tell).await {
                        Ok(words) => words,
                        Err(fault) => format!("call failed: {fault}"),
                    };
                    // A full queue loses a line of text, no more.
                    let _ = tell.try_send(words);
                });
            }
            Some(words) = told.recv() => progress(&words),
            Some(_) = calls.join_next() => {}
        }
    }
}

async fn take(
    offer: Offer,
    scenario: &'static Scenario,
    tell: &mpsc::Sender<String>,
) -> Result<String, Fault> {
    let mut call = offer.take().await?;
    let called = call.invite().map(|it| it.called().to_owned()).unwrap_or_default();
    let from = call.invite().and_then(|it| it.header("From")).unwrap_or_default().to_owned();
    let _ = tell.try_send(format!("call to {called} from {from}"));
    // Whom a call is transferred to, in the middle of a scenario, plays none.
    let target = call.invite().is_some_and(|it| it.header("Referred-By").is_some());
    let scenario = if target { &SCENARIOS[0] } else { scenario };
    match scenario.ring(&mut call).await {
        Ok(true) => {}
        Ok(false) => return Ok(format!("call to {called}: not answered")),
        Err(Fault::Ended(_)) => return Ok(format!("call to {called}: given up")),
        Err(fault) => return Err(fault),
    }
    call.talk(440).await?;
    talk(&mut call, scenario, HOUR).await.map(|words| format!("call to {called}: {words}"))
}

/// One call to the gateway, with a tone for `time` at most.
pub(crate) async fn place(
    agent: &Agent,
    invite: Invite,
    scenario: &'static Scenario,
    time: Duration,
) -> Result<String, Fault> {
    let called = invite.called.clone();
    let mut call = agent.call(invite).await?;
    call.answered(LONG).await?;
    call.talk(440).await?;
    talk(&mut call, scenario, time).await.map(|words| format!("call to {called}: {words}"))
}

async fn talk(call: &mut Call, scenario: &Scenario, time: Duration) -> Result<String, Fault> {
    let by = match timeout(time, scenario.talk(call)).await {
        Err(_) => {
            call.bye(PATIENCE).await?;
            "us"
        }
        Ok(_) if call.ended_by().is_some() => "the other side",
        Ok(Ok(())) => "us",
        Ok(Err(fault)) => return Err(fault),
    };
    let tape = call.tape().await;
    let tone = tape.heard.map_or("no tone".to_owned(), |hertz| format!("a tone of {hertz} Hz"));
    Ok(format!(
        "ended by {by}; sent {} packets, heard {} ({tone}, digits {:?}), {} not readable",
        tape.sent.len(),
        tape.received.len(),
        tape.digits_heard(),
        tape.refused
    ))
}

const PATIENCE: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
