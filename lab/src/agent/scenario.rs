//! What an end alone does with a call, by name: before it answers, and while it talks.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::sleep;

use crate::agent::{Call, Fault};
use crate::sip::Direction;

/// A named way to behave in a call.
pub struct Scenario {
    /// As on the command line.
    pub name: &'static str,
    /// What it does, in one line.
    pub title: &'static str,
    /// Until the answer, where the call came in.
    ring: for<'a> fn(&'a mut Call) -> Step<'a, bool>,
    /// From then on, also where the call was placed here; the other side may end it before.
    talk: for<'a> fn(&'a mut Call) -> Step<'a, ()>,
}

type Step<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

impl Scenario {
    const fn ringing(
        name: &'static str,
        title: &'static str,
        ring: for<'a> fn(&'a mut Call) -> Step<'a, bool>,
    ) -> Self {
        Self { name, title, ring, talk: |call| Box::pin(until_it_ends(call)) }
    }

    const fn talking(
        name: &'static str,
        title: &'static str,
        talk: for<'a> fn(&'a mut Call) -> Step<'a, ()>,
    ) -> Self {
        Self { name, title, ring: |call| Box::pin(usual(call)), talk }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// Rings, answers or refuses a call that came in; whether it stands.
    pub(crate) async fn ring(&self, call: &mut Call) -> Result<bool, Fault> {
        (self.ring)(call).await
    }

    /// What follows in a call that stands.
    pub(crate) async fn talk(&self, call: &mut Call) -> Result<(), Fault> {
        (self.talk)(call).await
    }
}

/// All of them; the first is what an end does that is told nothing.
pub static SCENARIOS: [Scenario; 21] = [
    Scenario::talking(
        "answer",
        "180 for a second, 200, a tone until the other side hangs up",
        |call| Box::pin(until_it_ends(call)),
    ),
    Scenario::ringing("ring", "180, and never an answer", |call| Box::pin(ring_only(call))),
    Scenario::ringing("early-media", "183 with SDP and a tone for two seconds, then 200", |call| {
        Box::pin(early_media(call))
    }),
    Scenario::ringing(
        "silent-183",
        "180, 183 with SDP and silence for two seconds, then 200",
        |call| Box::pin(silent_progress(call)),
    ),
    Scenario::ringing(
        "forked",
        "180 of two phones, 183 with SDP of a third, 200 of the second",
        |call| Box::pin(forked(call)),
    ),
    Scenario::ringing(
        "two-answers",
        "180 and 200 of two phones; the second waits for its BYE",
        |call| Box::pin(two_answers(call)),
    ),
    Scenario::ringing("voicemail", "200 at once, without 18x", |call| Box::pin(at_once(call))),
    Scenario::ringing("busy", "486", |call| Box::pin(refuse(call, 486, "Busy Here", ""))),
    Scenario::ringing("decline", "180, then 603", |call| Box::pin(decline(call))),
    Scenario::ringing("unknown", "404", |call| Box::pin(refuse(call, 404, "Not Found", ""))),
    Scenario::ringing("overload", "503 with Retry-After: 10", |call| {
        Box::pin(refuse(call, 503, "Service Unavailable", "Retry-After: 10"))
    }),
    Scenario::talking("hang-up", "hangs up two seconds after the answer", |call| {
        Box::pin(hang_up(call))
    }),
    Scenario::talking("hold", "inactive and sendrecv again, in turn, every two seconds", |call| {
        Box::pin(hold(call, Direction::Inactive))
    }),
    Scenario::talking("hold-sendonly", "sendonly and sendrecv, as carriers hold", |call| {
        Box::pin(hold(call, Direction::SendOnly))
    }),
    Scenario::talking("refresh", "a re-INVITE with the same SDP every two seconds", |call| {
        Box::pin(refresh(call))
    }),
    Scenario::talking("new-key", "a re-INVITE with a new key every two seconds", |call| {
        Box::pin(new_key(call))
    }),
    Scenario::talking("late-offer", "a re-INVITE without offer every two seconds", |call| {
        Box::pin(late_offer(call))
    }),
    Scenario::talking(
        "blind-transfer",
        "REFER to a user of Teams after two seconds; BYE when he has answered",
        |call| Box::pin(transfer(call, false)),
    ),
    Scenario::talking("early-bye", "the same, but BYE 280 ms after the 202", |call| {
        Box::pin(transfer(call, true))
    }),
    Scenario::talking(
        "replaces",
        "after two seconds an INVITE with Replaces takes this call's place",
        |call| Box::pin(replaces(call)),
    ),
    Scenario::talking("digits", "dials 1234# after two seconds", |call| Box::pin(digits(call))),
];

async fn until_it_ends(call: &mut Call) -> Result<(), Fault> {
    call.ended(HOUR).await
}

async fn usual(call: &mut Call) -> Result<bool, Fault> {
    call.ring(180, 0).await;
    if call.stay(SECOND).await.is_err() {
        return Ok(false);
    }
    call.answer(0, PATIENCE).await.map(|()| true)
}

async fn ring_only(call: &mut Call) -> Result<bool, Fault> {
    call.ring(180, 0).await;
    call.cancelled(HOUR).await.map(|_| false)
}

async fn early_media(call: &mut Call) -> Result<bool, Fault> {
    call.progress(0).await?;
    call.talk(900).await?;
    call.stay(2 * SECOND).await?;
    call.answer(0, PATIENCE).await.map(|()| true)
}

async fn silent_progress(call: &mut Call) -> Result<bool, Fault> {
    call.ring(180, 0).await;
    call.stay(SECOND).await?;
    call.progress(0).await?;
    call.stay(2 * SECOND).await?;
    call.answer(0, PATIENCE).await.map(|()| true)
}

async fn forked(call: &mut Call) -> Result<bool, Fault> {
    call.ring(180, 0).await;
    call.ring(180, 1).await;
    call.progress(2).await?;
    call.stay(SECOND).await?;
    call.answer(1, PATIENCE).await.map(|()| true)
}

async fn two_answers(call: &mut Call) -> Result<bool, Fault> {
    call.ring(180, 0).await;
    call.ring(180, 1).await;
    call.answer(0, PATIENCE).await?;
    call.answer_too(1, PATIENCE).await.map(|()| true)
}

async fn at_once(call: &mut Call) -> Result<bool, Fault> {
    call.answer(0, PATIENCE).await.map(|()| true)
}

async fn refuse(call: &mut Call, status: u16, phrase: &str, line: &str) -> Result<bool, Fault> {
    call.refuse_with(status, phrase, line).await;
    Ok(false)
}

async fn decline(call: &mut Call) -> Result<bool, Fault> {
    call.ring(180, 0).await;
    call.stay(SECOND).await?;
    refuse(call, 603, "Decline", "").await
}

async fn hang_up(call: &mut Call) -> Result<(), Fault> {
    call.stay(2 * SECOND).await?;
    call.bye(PATIENCE).await
}

async fn hold(call: &mut Call, way: Direction) -> Result<(), Fault> {
    loop {
        for way in [way, Direction::SendRecv] {
            call.stay(2 * SECOND).await?;
            call.reinvite(way, PATIENCE).await?;
        }
    }
}

async fn refresh(call: &mut Call) -> Result<(), Fault> {
    loop {
        call.stay(2 * SECOND).await?;
        accepted(call.refresh(PATIENCE).await?.status())?;
    }
}

async fn new_key(call: &mut Call) -> Result<(), Fault> {
    if call.suite().is_none() {
        return Err(Fault::Media("no key on this side"));
    }
    loop {
        call.stay(2 * SECOND).await?;
        call.rekey();
        call.reinvite(Direction::SendRecv, PATIENCE).await?;
        // From now on under the new one.
        call.talk(440).await?;
    }
}

async fn late_offer(call: &mut Call) -> Result<(), Fault> {
    loop {
        call.stay(2 * SECOND).await?;
        accepted(call.late_offer(PATIENCE).await?.status())?;
    }
}

async fn transfer(call: &mut Call, early: bool) -> Result<(), Fault> {
    call.stay(2 * SECOND).await?;
    let order = call.order(2);
    accepted(call.refer(&order.target, &order.by, PATIENCE).await?)?;
    if early {
        sleep(Duration::from_millis(280)).await;
        return call.bye(PATIENCE).await;
    }
    loop {
        let notice = call.notified(30 * SECOND).await?;
        let line = String::from_utf8_lossy(notice.body()).into_owned();
        match line.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..1)) {
            Some("1") => {}
            Some("2") => return call.bye(PATIENCE).await,
            _ => return call.ended(HOUR).await,
        }
    }
}

async fn replaces(call: &mut Call) -> Result<(), Fault> {
    call.stay(2 * SECOND).await?;
    let mut heir = call.take_over(PATIENCE).await?;
    heir.talk(440).await?;
    call.ended(PATIENCE).await?;
    heir.ended(HOUR).await
}

async fn digits(call: &mut Call) -> Result<(), Fault> {
    call.stay(2 * SECOND).await?;
    call.dial("1234#").await?;
    call.ended(HOUR).await
}

fn accepted(status: u16) -> Result<(), Fault> {
    match status {
        200..=299 => Ok(()),
        status => Err(Fault::Refused { status, phrase: "inside the call".to_owned() }),
    }
}

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_has_a_name_of_its_own() {
        let names: BTreeSet<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        assert!(Scenario::named("hold").is_some() && Scenario::named("none").is_none());
    }
}
