//! The calls of the play and how each is judged.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::agent::{Agent, Call, Fault, Invite, pair};
use crate::clock;
use crate::demo::report::{Outcome, Report};
use crate::demo::scene::{CARRIERS, Scene, TEAMS, TENANTS};
use crate::sip::{Message, host_of};

/// Plays all calls against the gateway that runs with the scene's configuration, and judges them.
/// `progress` gets a line for each step. Takes about ten seconds; never more than thirty.
pub async fn run(scene: &Scene, progress: &(dyn Fn(&str) + Sync)) -> Report {
    let start = clock::now();
    progress("waiting until the gateway and Teams have exchanged OPTIONS");
    let (paired, pairing) = pair(scene).await;
    progress("calls of tenant t001 with carrier-a (UDP), one each way");
    let (one, two) = tokio::join!(
        watched(scene, 0, progress, async |notes| inbound(scene, notes).await),
        watched(scene, 0, progress, async |notes| outbound(scene, notes).await),
    );
    progress("calls of tenant t002 with carrier-b (TCP), media before the answer; one given up");
    let (three, four, five) = tokio::join!(
        watched(scene, 1, progress, async |notes| inbound_early(scene, notes).await),
        watched(scene, 1, progress, async |notes| outbound_early(scene, notes).await),
        watched(scene, 0, progress, async |notes| given_up(scene, notes).await),
    );
    let agents: [&Agent; 3] = [&scene.teams, &scene.carriers[0], &scene.carriers[1]];
    let failed = scene.teams.handshakes().into_iter().filter_map(|shaken| {
        let fault = shaken.fault?;
        Some(format!("{} with {}: {fault}", shaken.local, shaken.remote))
    });
    Report {
        pairing,
        paired,
        outcomes: vec![one, two, three, four, five],
        complaints: agents.iter().flat_map(|agent| agent.complaints()).collect(),
        handshakes: failed.collect(),
        took: start.elapsed(),
    }
}

/// Each of the three addresses got OPTIONS, and its own were answered.
async fn pair(scene: &Scene) -> (bool, Vec<String>) {
    let good = || {
        let pings = scene.teams.pings();
        scene.teams.homes().iter().all(|home| {
            pings.iter().any(|ping| ping.local == home.address && ping.back == Some(200))
        })
    };
    for _ in 0..50 {
        if good() {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let told = scene.teams.pings().into_iter().map(|ping| {
        let back = ping.back.map_or("nothing".to_owned(), |status| status.to_string());
        let (host, local, status) = (ping.host, ping.local, ping.status);
        format!("OPTIONS of {host} to {local}: {status}; asked in return it answers {back}")
    });
    (good(), told.collect())
}

/// What a script leaves behind, also when it fails half way.
#[derive(Default)]
struct Notes {
    title: &'static str,
    calls: Vec<String>,
    flows: Vec<(String, crate::media::Flow)>,
    suite: Option<&'static str>,
}

async fn watched(
    scene: &Scene,
    carrier: usize,
    progress: &(dyn Fn(&str) + Sync),
    script: impl AsyncFnOnce(&mut Notes) -> Result<(), Fault>,
) -> Outcome {
    let mut notes = Notes::default();
    let played = timeout(LONGEST, script(&mut notes)).await;
    let result = played.unwrap_or(Err(Fault::Silence("end of the call")));
    let ids: Vec<&str> = notes.calls.iter().map(String::as_str).collect();
    let outcome = Outcome {
        title: notes.title.to_owned(),
        ends: [CARRIERS[carrier].to_owned(), TEAMS.to_owned()],
        records: scene.log.calls(&ids),
        flows: notes.flows,
        suite: notes.suite,
        fault: result.err().map(|fault| fault.to_string()),
    };
    let verdict = if outcome.is_ok() { "good" } else { "FAILED" };
    progress(&format!("  {}: {verdict}", outcome.title));
    outcome
}

async fn inbound(scene: &Scene, notes: &mut Notes) -> Result<(), Fault> {
    notes.title = "carrier-a calls t001; two phones ring, the second answers, Teams ends";
    let (mut caller, mut callee) = from_carrier(scene, 0, "+15550010001", notes).await?;
    callee.ring(180, 0).await;
    caller.ringing(LIMIT).await?;
    callee.ring(180, 1).await;
    sleep(RING).await;
    join(&mut caller, &mut callee, 1).await?;
    converse(&mut caller, &mut callee, [CARRIERS[0], TEAMS], notes).await?;
    end(&mut callee, &mut caller).await
}

async fn outbound(scene: &Scene, notes: &mut Notes) -> Result<(), Fault> {
    notes.title = "t001 calls a number at carrier-a; the carrier ends";
    let (mut caller, mut callee) = from_teams(scene, 0, "+14155550101", notes).await?;
    callee.ring(180, 0).await;
    caller.ringing(LIMIT).await?;
    sleep(RING).await;
    join(&mut caller, &mut callee, 0).await?;
    converse(&mut caller, &mut callee, [TEAMS, CARRIERS[0]], notes).await?;
    end(&mut callee, &mut caller).await
}

async fn inbound_early(scene: &Scene, notes: &mut Notes) -> Result<(), Fault> {
    notes.title = "carrier-b calls t002; media come before the answer, the carrier ends";
    let (mut caller, mut callee) = from_carrier(scene, 1, "+15550020001", notes).await?;
    callee.ring(180, 0).await;
    callee.progress(1).await?;
    caller.early(LIMIT).await?;
    hear(&callee, &caller, "Teams to carrier-b, before the answer", notes).await?;
    join(&mut caller, &mut callee, 1).await?;
    converse(&mut caller, &mut callee, [CARRIERS[1], TEAMS], notes).await?;
    end(&mut caller, &mut callee).await
}

async fn outbound_early(scene: &Scene, notes: &mut Notes) -> Result<(), Fault> {
    notes.title = "t002 calls a number at carrier-b; an announcement, then the answer, Teams ends";
    let (mut caller, mut callee) = from_teams(scene, 1, "+14155550102", notes).await?;
    callee.progress(0).await?;
    caller.early(LIMIT).await?;
    hear(&callee, &caller, "carrier-b to Teams, before the answer", notes).await?;
    join(&mut caller, &mut callee, 0).await?;
    converse(&mut caller, &mut callee, [TEAMS, CARRIERS[1]], notes).await?;
    end(&mut caller, &mut callee).await
}

async fn given_up(scene: &Scene, notes: &mut Notes) -> Result<(), Fault> {
    notes.title = "carrier-a calls t001 and gives up while it rings";
    let (mut caller, mut callee) = from_carrier(scene, 0, "+15550010002", notes).await?;
    callee.ring(180, 0).await;
    caller.ringing(LIMIT).await?;
    sleep(RING).await;
    let (caller, callee) = tokio::join!(caller.cancel(LIMIT), callee.cancelled(LIMIT));
    caller?;
    callee.map(drop)
}

async fn from_carrier(
    scene: &Scene,
    at: usize,
    called: &str,
    notes: &mut Notes,
) -> Result<(Call, Call), Fault> {
    let awaited = scene.teams.expect(called);
    let host = scene.sip.ip().to_string();
    let caller = scene.carriers[at].call(Invite::new("+14155550100", called, &host)).await?;
    let (caller, callee) = legs(caller, awaited.call(LIMIT).await, notes)?;
    // The name by which Teams finds the tenant.
    let named = callee.invite().and_then(Message::contact).map(host_of).unwrap_or_default();
    if named != TENANTS[at] {
        return Err(Fault::Rule(format!("Contact names {named} instead of {}", TENANTS[at])));
    }
    Ok((caller, callee))
}

async fn from_teams(
    scene: &Scene,
    at: usize,
    called: &str,
    notes: &mut Notes,
) -> Result<(Call, Call), Fault> {
    let awaited = scene.carriers[at].expect(called);
    let own = ["+15550010003", "+15550020003"][at];
    let caller = scene.teams.call(Invite::new(own, called, TENANTS[at])).await?;
    legs(caller, awaited.call(LIMIT).await, notes)
}

fn legs(
    mut caller: Call,
    callee: Result<Call, Fault>,
    notes: &mut Notes,
) -> Result<(Call, Call), Fault> {
    notes.calls.push(caller.call_id().to_owned());
    let callee = match callee {
        Ok(callee) => callee,
        // Why the gateway did not call may stand in what it told the caller.
        Err(fault) => return Err(caller.refusal().unwrap_or(fault)),
    };
    notes.calls.push(callee.call_id().to_owned());
    Ok((caller, callee))
}

async fn join(caller: &mut Call, callee: &mut Call, fork: usize) -> Result<(), Fault> {
    pair::join(caller, callee, fork, LIMIT).await
}

async fn converse(
    caller: &mut Call,
    callee: &mut Call,
    names: [&str; 2],
    notes: &mut Notes,
) -> Result<(), Fault> {
    notes.suite = caller.suite().or(callee.suite());
    let flows = pair::converse(caller, callee, TALK).await?;
    let [from, to] = names;
    let [there, back] = flows;
    notes.flows.push((format!("{from} to {to}"), there));
    notes.flows.push((format!("{to} to {from}"), back));
    Ok(())
}

/// A tone from one side only.
async fn hear(from: &Call, to: &Call, name: &str, notes: &mut Notes) -> Result<(), Fault> {
    notes.flows.push((name.to_owned(), pair::hear(from, to, EARLY).await?));
    Ok(())
}

async fn end(by: &mut Call, of: &mut Call) -> Result<(), Fault> {
    pair::end(by, of, LIMIT).await
}

/// A call of the play takes seven; twice this and the pairing stay under thirty.
const LONGEST: Duration = Duration::from_secs(11);
const LIMIT: Duration = Duration::from_secs(5);
const RING: Duration = Duration::from_millis(300);
/// Longer than the 4.5 s after which the gateway's own RTCP is due.
const TALK: Duration = Duration::from_millis(5000);
const EARLY: Duration = Duration::from_secs(1);
