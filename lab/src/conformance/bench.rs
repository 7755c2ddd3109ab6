//! What the play of one rule has: the stage, its calls, and what it says of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::report::{Entry, Step, Verdict};
use super::rule::Rule;
use super::stage::{Stage, Trunk};
use crate::agent::{Agent, Call, Expected, Fault, Invite, pair};
use crate::capture::Record;
use crate::ladder;
use crate::media::Flow;
use crate::sip::{Direction, Message};

/// How a play ends.
pub(crate) type Judged = Result<(), Trouble>;

/// Why a rule is not kept, or not judged.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It is broken, so.
    Broken(String),
    /// This stage cannot show it, for this reason.
    Unjudged(&'static str),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Broken(fault.to_string())
    }
}

/// Ends the play with a broken rule unless something holds.
macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err($crate::conformance::bench::Trouble::Broken(format!($($why)+)));
        }
    };
}
pub(crate) use ensure;

/// Which side begins a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The trunk calls a tenant.
    In,
    /// Teams calls the trunk.
    Out,
}

/// Both ends of a call through the SBC.
pub(crate) struct Pair {
    pub(crate) carrier: Call,
    pub(crate) teams: Call,
}

/// One rule's place on the stage.
pub(crate) struct Bench {
    pub(crate) stage: Arc<Stage>,
    steps: Vec<Step>,
    calls: Vec<String>,
}

impl Bench {
    pub(crate) fn new(stage: Arc<Stage>) -> Self {
        Self { stage, steps: Vec::new(), calls: Vec::new() }
    }

    /// Says what is sent. Nothing that differs from run to run.
    pub(crate) fn sent(&mut self, what: impl Into<String>) {
        self.steps.push(Step::Sent(what.into()));
    }

    /// Says what came back.
    pub(crate) fn came(&mut self, what: impl Into<String>) {
        self.steps.push(Step::Came(what.into()));
    }

    /// The trunk with which most is played.
    pub(crate) fn trunk(&self) -> Arc<Trunk> {
        Arc::clone(&self.stage.trunks[0])
    }

    /// Another trunk, of another tenant.
    pub(crate) fn other(&self) -> Result<Arc<Trunk>, Trouble> {
        let other = self.stage.trunks.get(1).map(Arc::clone);
        other.ok_or(Trouble::Unjudged("it takes two trunks, each of a tenant of its own"))
    }

    /// A call of the trunk to a fresh number of its tenant.
    pub(crate) fn inbound(&self, trunk: &Trunk) -> Invite {
        Invite::new(CALLER, &self.stage.number(trunk), &trunk.host)
    }

    /// A call of a user of the trunk's tenant to a fresh number outside.
    pub(crate) fn outbound(&self, trunk: &Trunk) -> Invite {
        Invite::new(&self.stage.number(trunk), &self.stage.outside(), &trunk.fqdn)
    }

    /// Places a call of the trunk; the ends at the trunk and at Teams.
    pub(crate) async fn call_in(
        &mut self,
        trunk: &Trunk,
        invite: Invite,
    ) -> Result<(Call, Call), Trouble> {
        let awaited = self.stage.teams.expect(&invite.called);
        self.call(&trunk.carrier, invite, awaited).await
    }

    /// Places a call of Teams; the ends at Teams and at the trunk.
    pub(crate) async fn call_out(
        &mut self,
        trunk: &Trunk,
        invite: Invite,
    ) -> Result<(Call, Call), Trouble> {
        let awaited = trunk.carrier.expect(&invite.called);
        let stage = Arc::clone(&self.stage);
        self.call(&stage.teams, invite, awaited).await
    }

    /// Places a call that is awaited elsewhere; the ends of who calls and of who is called.
    pub(crate) async fn call(
        &mut self,
        from: &Agent,
        invite: Invite,
        awaited: Expected,
    ) -> Result<(Call, Call), Trouble> {
        self.stage.begun.fetch_add(1, Ordering::Relaxed);
        let mut caller = from.call(invite).await?;
        self.calls.push(caller.call_id().to_owned());
        match awaited.call(LIMIT).await {
            Ok(callee) => {
                self.calls.push(callee.call_id().to_owned());
                Ok((caller, callee))
            }
            // Why it came to nothing may stand in what the caller was told.
            Err(fault) => Err(caller.refusal().unwrap_or(fault).into()),
        }
    }

    /// Notes a call that the play placed or took by itself.
    pub(crate) fn note(&mut self, call: &Call) {
        self.calls.push(call.call_id().to_owned());
    }

    /// A call that stands.
    pub(crate) async fn talking(&mut self, way: Way) -> Result<Pair, Trouble> {
        let trunk = self.trunk();
        match way {
            Way::In => {
                let invite = self.inbound(&trunk);
                self.talking_with(way, &trunk, invite).await
            }
            Way::Out => {
                let invite = self.outbound(&trunk);
                self.talking_with(way, &trunk, invite).await
            }
        }
    }

    /// The same with an INVITE of one's own.
    pub(crate) async fn talking_with(
        &mut self,
        way: Way,
        trunk: &Trunk,
        invite: Invite,
    ) -> Result<Pair, Trouble> {
        let (mut caller, mut callee) = match way {
            Way::In => self.call_in(trunk, invite).await?,
            Way::Out => self.call_out(trunk, invite).await?,
        };
        callee.ring(180, 0).await;
        pair::join(&mut caller, &mut callee, 0, LIMIT).await?;
        Ok(match way {
            Way::In => Pair { carrier: caller, teams: callee },
            Way::Out => Pair { carrier: callee, teams: caller },
        })
    }

    /// Both ends say a tone and hear the other's, every packet of it.
    pub(crate) async fn converse(&mut self, pair: &mut Pair) -> Judged {
        // Whoever was told something just now may need a moment; over a bad line, until what was lost is repeated.
        let moment = if self.bad_lines() { REPEATS } else { MOMENT };
        let (stayed, too) = tokio::join!(pair.carrier.stay(moment), pair.teams.stay(moment));
        stayed.and(too)?;
        // What was under way before belongs to nobody.
        drop((pair.carrier.tape().await, pair.teams.tape().await));
        let [to_teams, to_carrier] =
            pair::converse(&mut pair.carrier, &mut pair.teams, TALK).await?;
        clean(&to_teams, "from the trunk to Teams")?;
        clean(&to_carrier, "from Teams to the trunk")
    }

    /// The caller hears ringing. Over a bad line it may not: nobody repeats an 18x for a minute (RFC 3261 §13.3.1.1).
    pub(crate) async fn rung(&self, caller: &mut Call) -> Result<bool, Trouble> {
        let bad = self.bad_lines();
        match caller.ringing(if bad { WHILE } else { LIMIT }).await {
            Ok(_) => Ok(true),
            Err(Fault::Silence(_)) if bad => Ok(false),
            Err(fault) => Err(fault.into()),
        }
    }

    fn bad_lines(&self) -> bool {
        self.stage.bad_lines.load(Ordering::Relaxed)
    }

    /// What came in a call, in order.
    pub(crate) fn heard(&self, call: &Call) -> Vec<Arc<Message>> {
        let records = self.stage.log.calls(&[call.call_id()]);
        records.into_iter().filter(|it| !it.sent).map(|it| it.message).collect()
    }

    /// Requests of one kind that came in a call.
    pub(crate) fn requests(&self, call: &Call, method: &str) -> Vec<Arc<Message>> {
        let mut all = self.heard(call);
        all.retain(|message| message.is_request() && message.method() == method);
        all
    }

    /// Responses to INVITEs that came in a call, 100 left out; a final one that UDP repeats is one.
    pub(crate) fn answers(&self, call: &Call) -> Vec<Arc<Message>> {
        let mut all = self.heard(call);
        all.retain(|message| message.status() > 100 && message.method() == "INVITE");
        all.dedup_by(|one, other| one.status() >= 200 && one.raw() == other.raw());
        all
    }

    /// The INVITEs to a number that came to an end.
    pub(crate) fn invites(&self, end: &Agent, called: &str) -> Vec<Record> {
        let homes: Vec<_> = end.homes().iter().map(|home| home.address).collect();
        let mut seen = Vec::new();
        let mut all = self.stage.log.all();
        all.retain(|record| {
            let message = &record.message;
            let theirs = !record.sent
                && message.is_request()
                && message.method() == "INVITE"
                && message.called() == called
                && homes.contains(&record.local);
            // Over UDP the same one comes again.
            let first = theirs && !seen.contains(&message.branch().to_owned());
            if first {
                seen.push(message.branch().to_owned());
            }
            first
        });
        all
    }

    pub(crate) fn entry(self, rule: &'static Rule, judged: Judged) -> Entry {
        let ids: Vec<&str> = self.calls.iter().map(String::as_str).collect();
        let (verdict, ladder) = match judged {
            Ok(()) => (Verdict::Kept, None),
            Err(Trouble::Unjudged(why)) => (Verdict::NotJudged(why.to_owned()), None),
            Err(Trouble::Broken(why)) => {
                let records = self.stage.log.calls(&ids);
                let left = &self.stage.trunks[0].end;
                (Verdict::Broken(why), Some(ladder::draw(&records, left, "Teams")))
            }
        };
        Entry { rule, steps: self.steps, verdict, ladder }
    }
}

impl Pair {
    /// One of the ends sends a re-INVITE; the other answers what comes of it. The answer.
    pub(crate) async fn reoffer(
        &mut self,
        by: Way,
        direction: Direction,
    ) -> Result<Arc<Message>, Trouble> {
        let (from, other) = self.ends(by);
        Ok(meanwhile(from.offer(direction, LIMIT), other).await?)
    }

    /// The end that a call of that way begins at, and the other.
    pub(crate) fn ends(&mut self, by: Way) -> (&mut Call, &mut Call) {
        match by {
            Way::In => (&mut self.carrier, &mut self.teams),
            Way::Out => (&mut self.teams, &mut self.carrier),
        }
    }

    /// One of the ends hangs up.
    pub(crate) async fn end(&mut self, by: Way) -> Judged {
        let (by, of) = self.ends(by);
        Ok(pair::end(by, of, LIMIT).await?)
    }
}

/// Does something while the other end answers what comes.
pub(crate) async fn meanwhile<T>(doing: impl Future<Output = T>, other: &mut Call) -> T {
    let done = {
        let mut doing = std::pin::pin!(doing);
        loop {
            tokio::select! {
                biased;
                done = &mut doing => break done,
                // An early end is told by what comes next.
                _ = other.stay(LIMIT) => sleep(MOMENT).await,
            }
        }
    };
    // What is on its way to it, an ACK for instance.
    let _ = other.stay(MOMENT).await;
    done
}

/// Everything that was said was heard.
pub(crate) fn clean(flow: &Flow, way: &str) -> Judged {
    audible(flow, way)?;
    ensure!(flow.is_clean(), "audio {way} is not whole: {flow}");
    Ok(())
}

/// What was said was heard, though maybe not every packet of it: for rules that are about something else, of an SBC that may
/// be short of processors.
pub(crate) fn audible(flow: &Flow, way: &str) -> Judged {
    ensure!(flow.sent > 0 && flow.received > 0, "no audio {way}");
    ensure!(flow.refused == 0, "audio {way} cannot be decrypted");
    Ok(())
}

/// Who calls from outside.
pub(crate) const CALLER: &str = "+14155550100";
pub(crate) const LIMIT: Duration = Duration::from_secs(5);
pub(crate) const TALK: Duration = Duration::from_millis(600);
pub(crate) const MOMENT: Duration = Duration::from_millis(60);
/// In which what is lost over UDP is repeated twice (RFC 3261 §17.1.1.1).
const REPEATS: Duration = Duration::from_millis(1600);
/// In which something unwanted would have come.
pub(crate) const WHILE: Duration = Duration::from_millis(500);
