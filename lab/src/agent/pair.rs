//! Both ends of one call: how it is answered, talked in and ended.

use std::time::Duration;

use tokio::time::sleep;

use crate::agent::{Call, Fault};
use crate::clock;
use crate::media::{Flow, judge};

/// The callee answers on one of its forks, and the caller hears of it.
pub(crate) async fn join(
    caller: &mut Call,
    callee: &mut Call,
    fork: usize,
    limit: Duration,
) -> Result<(), Fault> {
    let (answered, acked) = tokio::join!(caller.answered(limit), callee.answer(fork, limit));
    answered.and(acked)
}

/// A tone each way for a while, then silence, so that nothing is under way when it is judged:
/// from the one to the other, and back.
pub(crate) async fn converse(
    one: &mut Call,
    other: &mut Call,
    time: Duration,
) -> Result<[Flow; 2], Fault> {
    one.talk(500).await?;
    other.talk(700).await?;
    let (stayed, too) = tokio::join!(one.stay(time), other.stay(time));
    one.mute().await;
    other.mute().await;
    sleep(SETTLE).await;
    let (there, back) = (one.tape().await, other.tape().await);
    let now = clock::now();
    stayed.and(too)?;
    Ok([judge(&there, &back, now), judge(&back, &there, now)])
}

/// A tone from one side only, before anybody has answered.
pub(crate) async fn hear(from: &Call, to: &Call, time: Duration) -> Result<Flow, Fault> {
    from.talk(900).await?;
    sleep(time).await;
    from.mute().await;
    sleep(SETTLE).await;
    let (sent, heard) = (from.tape().await, to.tape().await);
    Ok(judge(&sent, &heard, clock::now()))
}

/// One end hangs up.
pub(crate) async fn end(by: &mut Call, of: &mut Call, limit: Duration) -> Result<(), Fault> {
    let (byed, ended) = tokio::join!(by.bye(limit), of.ended(limit));
    byed.and(ended)
}

/// What is under way arrives within this time.
pub(crate) const SETTLE: Duration = Duration::from_millis(150);
