//! What a configuration grants, read slowly: every question goes through all ends and all their numbers, as the
//! operator's documents say it. It shares nothing with the tables of `routing`.

use config::{Config, ForeignCaller, Number, NumberState};

use super::super::*;
use super::world::{Call, Who};

/// What came of a call, or should.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) hops: Vec<Hop>,
    /// The caller's final answer when no hop takes the call.
    pub(super) status: Option<u16>,
    /// The caller is shown with another number than it gave.
    pub(super) replaced: bool,
}

/// Who was asked, and what they were shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) to: String,
    pub(super) caller: String,
    pub(super) asserted: Option<String>,
    pub(super) diverted: Vec<String>,
}

/// That it was replaced is of the reference alone.
impl PartialEq for Outcome {
    fn eq(&self, other: &Self) -> bool {
        self.hops == other.hops && self.status == other.status
    }
}

impl Outcome {
    /// An INVITE that left.
    pub(super) fn note(&mut self, config: &Config, target: &Target, invite: &str) {
        let user = |value: &str| {
            let uri = value.split_once("sip:").map_or("", |(_, rest)| rest);
            uri.split('@').next().unwrap_or_default().to_owned()
        };
        let all = |name: &str| {
            let prefix = format!("{name}: ");
            invite
                .lines()
                .filter_map(|line| line.strip_prefix(&prefix))
                .map(user)
                .collect::<Vec<_>>()
        };
        let ip = target.remote.ip();
        let trunk = config.trunks.iter().find(|trunk| trunk.networks[0].addr() == ip);
        let to = match trunk {
            Some(trunk) => trunk.name.clone(),
            None => {
                let host = value(invite, "From").split_once('@').unwrap().1;
                let named = |fqdn: &str| {
                    host.starts_with(&format!("{fqdn};")) || host.starts_with(&format!("{fqdn}>"))
                };
                let tenant = config.tenants.iter().find(|tenant| named(&tenant.names[0].fqdn));
                format!("{} by {ip}", tenant.unwrap().name)
            }
        };
        let mut diverted = all("Diversion");
        // The last of History-Info is who is called.
        let mut history = all("History-Info");
        history.pop();
        diverted.extend(history);
        self.hops.push(Hop {
            to,
            caller: user(value(invite, "From")),
            asserted: all("P-Asserted-Identity").pop(),
            diverted,
        });
    }
}

pub(super) fn outcome(config: &Config, call: &Call) -> Outcome {
    let refused = |status| Outcome { status: Some(status), ..Outcome::default() };
    let called = number(&call.called).unwrap();
    let hops = match hops(config, call.from, called) {
        Ok(hops) => hops,
        Err(status) => return refused(status),
    };
    let diverted: Vec<String> = call
        .diverted
        .iter()
        .filter(|it| may_have_diverted(config, call.from, it))
        .cloned()
        .collect();
    let own = |text: &String| number(text).is_some_and(|number| is_own(config, call.from, number));
    let Some((caller, asserted)) = shown(config, call, diverted.iter().any(own)) else {
        return refused(403);
    };
    let given = [call.asserted.as_ref(), Some(&call.caller)];
    let replaced = call.caller != "anonymous" && !given.contains(&Some(&caller));
    let mut asked = Vec::new();
    for to in hops {
        let trunk = |at: usize| config.trunks[at].clone();
        let hop = |to: String, trusted: bool| Hop {
            to,
            caller: caller.clone(),
            asserted: asserted.clone().filter(|_| trusted),
            diverted: diverted.clone(),
        };
        match to {
            Who::Tenant(at) => {
                let name = &config.tenants[at].name;
                asked.extend(
                    ["127.0.0.20", "127.0.0.21"].map(|ip| hop(format!("{name} by {ip}"), false)),
                );
            }
            Who::Trunk(at) => asked.push(hop(trunk(at).name, trunk(at).trusted)),
        }
    }
    Outcome { hops: asked, status: Some(503), replaced }
}

/// Whom a call may be tried at, in order.
fn hops(config: &Config, from: Who, called: Number) -> Result<Vec<Who>, u16> {
    if let Some(owner) = owner(config, from, called) {
        match state(config, owner, called) {
            NumberState::Reserved | NumberState::Quarantine => return Err(404),
            NumberState::Porting if matches!(from, Who::Tenant(_)) => {}
            NumberState::Active | NumberState::Porting => return Ok(vec![owner]),
        }
    }
    let out: Vec<Who> = outbound(config, from).into_iter().map(Who::Trunk).collect();
    if out.is_empty() { Err(404) } else { Ok(out) }
}

/// Whoever has a number and takes calls to it from there.
fn owner(config: &Config, from: Who, called: Number) -> Option<Who> {
    let mut owners =
        all(config).into_iter().filter(|end| has(config, *end, called) && *end != from);
    match from {
        Who::Trunk(trunk) => owners.find(|end| takes(config, *end).contains(&trunk)),
        Who::Tenant(_) if called.is_private() => {
            let owners: Vec<Who> = owners.collect();
            // By the first of its trunks on which the number means somebody.
            let mut found = outbound(config, from).into_iter().filter_map(|trunk| {
                let all = all(config).into_iter().filter(|end| has(config, *end, called));
                let mut on = all.filter(|end| takes(config, *end).contains(&trunk));
                on.next()
            });
            found.next().filter(|end| matches!(end, Who::Trunk(_)) && owners.contains(end))
        }
        Who::Tenant(_) => {
            let by = outbound(config, from);
            owners.find(|end| {
                by.iter()
                    .any(|trunk| *end != Who::Trunk(*trunk) && takes(config, *end).contains(trunk))
            })
        }
    }
}

/// The caller's number and the one vouched for; none when the call is refused.
fn shown(config: &Config, call: &Call, diverted: bool) -> Option<(String, Option<String>)> {
    let vouches = match call.from {
        Who::Tenant(_) => true,
        Who::Trunk(at) => config.trunks[at].trusted,
    };
    let anonymous = call.caller == "anonymous";
    let said = call.asserted.clone().unwrap_or_else(|| call.caller.clone());
    let is_number = |text: &String| text.starts_with('+');
    let caller = match call.from {
        Who::Tenant(_) => call.caller.clone(),
        Who::Trunk(_) if anonymous => call.caller.clone(),
        Who::Trunk(_) => said.clone(),
    };
    let asserted = Some(said).filter(|said| vouches && is_number(said));
    let own = |text: &str| number(text).is_some_and(|number| is_own(config, call.from, number));
    let fine = (anonymous || own(&caller)) && asserted.as_deref().is_none_or(own);
    let (policy, main) = match call.from {
        Who::Tenant(at) => (config.tenants[at].foreign_caller, config.tenants[at].main_number),
        Who::Trunk(at) => {
            let trunk = &config.trunks[at];
            let owners = trunk.owner.and_then(|tenant| config.tenants[tenant].main_number);
            (trunk.foreign_caller, trunk.main_number.or(owners))
        }
    };
    if fine || diverted || policy == ForeignCaller::Pass {
        return Some((caller, asserted));
    }
    if policy == ForeignCaller::Refuse {
        return None;
    }
    let main = main.map(|number| number.to_string());
    let replaced = |text: String| if own(&text) { Some(text) } else { main.clone() };
    let asserted = asserted.and_then(replaced);
    let caller = if anonymous { None } else { replaced(caller) };
    Some((caller.unwrap_or_else(|| "anonymous".to_owned()), asserted))
}

fn is_own(config: &Config, end: Who, number: Number) -> bool {
    let used = |end: Who| {
        has(config, end, number)
            && matches!(state(config, end, number), NumberState::Active | NumberState::Porting)
    };
    let Who::Trunk(at) = end else { return used(end) };
    let trunk = &config.trunks[at];
    let nobodys =
        !number.is_private() && !all(config).into_iter().any(|end| has(config, end, number));
    used(end)
        || trunk.owner.is_some_and(|tenant| used(Who::Tenant(tenant)))
        || trunk.numbers.is_empty() && nobodys
}

fn may_have_diverted(config: &Config, from: Who, text: &str) -> bool {
    let number = number(text).unwrap();
    if number.is_private() {
        return false;
    }
    let owner = all(config).into_iter().find(|end| has(config, *end, number));
    let Some(owner) = owner else { return matches!(from, Who::Trunk(_)) };
    let used = matches!(state(config, owner, number), NumberState::Active | NumberState::Porting);
    used && match from {
        Who::Tenant(_) => owner == from,
        Who::Trunk(trunk) => owner == from || takes(config, owner).contains(&trunk),
    }
}

fn all(config: &Config) -> Vec<Who> {
    let tenants = (0..config.tenants.len()).map(Who::Tenant);
    tenants.chain((0..config.trunks.len()).map(Who::Trunk)).collect()
}

fn has(config: &Config, end: Who, number: Number) -> bool {
    let numbers = match end {
        Who::Tenant(at) => &config.tenants[at].numbers,
        Who::Trunk(at) => &config.trunks[at].numbers,
    };
    numbers.ranges().iter().any(|range| range.first <= number && number <= range.last)
}

fn state(config: &Config, end: Who, number: Number) -> NumberState {
    let states = match end {
        Who::Tenant(at) => &config.tenants[at].states,
        Who::Trunk(at) => &config.trunks[at].states,
    };
    let found =
        states.ranges().iter().find(|(range, _)| range.first <= number && number <= range.last);
    found.map_or(NumberState::Active, |(_, state)| *state)
}

/// The trunks from which an end takes calls.
fn takes(config: &Config, end: Who) -> &[usize] {
    match end {
        Who::Tenant(at) => &config.tenants[at].inbound_trunks,
        Who::Trunk(at) => &config.trunks[at].inbound_trunks,
    }
}

/// The trunks by which an end's calls go out.
fn outbound(config: &Config, end: Who) -> Vec<usize> {
    match end {
        Who::Tenant(at) => config.tenants[at].trunks.clone(),
        Who::Trunk(at) => config.trunks[at].trunks.clone(),
    }
}

fn number(text: &str) -> Option<Number> {
    Number::parse(text)
}
