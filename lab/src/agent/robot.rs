//! Answers calls that nobody expected: rings, picks up, plays a tone until the other side ends.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::agent::{Agent, Call, Fault, Invite, Offer};

/// Takes calls until the agent is dropped, telling `progress` of each.
pub(crate) async fn answer(mut offers: mpsc::Receiver<Offer>, progress: &(dyn Fn(&str) + Sync)) {
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
                    let words = match take(offer, &tell).await {
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

async fn take(offer: Offer, tell: &mpsc::Sender<String>) -> Result<String, Fault> {
    let mut call = offer.take().await?;
    let called = call.invite().map(|it| it.called().to_owned()).unwrap_or_default();
    let from = call.invite().and_then(|it| it.header("From")).unwrap_or_default().to_owned();
    let _ = tell.try_send(format!("call to {called} from {from}"));
    call.ring(180, 0).await;
    if call.stay(RING).await.is_err() {
        return Ok(format!("call to {called}: given up"));
    }
    call.answer(0, PATIENCE).await?;
    call.talk(440).await?;
    talk(&mut call, HOUR).await.map(|words| format!("call to {called}: {words}"))
}

/// One call to the gateway, with a tone for `time` at most.
pub(crate) async fn place(agent: &Agent, invite: Invite, time: Duration) -> Result<String, Fault> {
    let called = invite.called.clone();
    let mut call = agent.call(invite).await?;
    call.answered(LONG).await?;
    call.talk(440).await?;
    talk(&mut call, time).await.map(|words| format!("call to {called}: {words}"))
}

async fn talk(call: &mut Call, time: Duration) -> Result<String, Fault> {
    let by = match call.stay(time).await {
        Ok(()) => {
            call.bye(PATIENCE).await?;
            "us"
        }
        Err(_) => "the other side",
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

const RING: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
