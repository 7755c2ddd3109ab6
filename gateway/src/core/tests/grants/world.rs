//! Random configurations, small enough that everything meets, and random calls in them.

use config::{Config, ForeignCaller, NumberRange, NumberState, Numbers, States, Tenant, Trunk};

use super::super::*;
use super::Dice;

/// A call as its end sends it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) from: Who,
    pub(super) called: String,
    /// User part of From.
    pub(super) caller: String,
    /// Number in P-Asserted-Identity.
    pub(super) asserted: Option<String>,
    /// Number in Diversion.
    pub(super) diverted: Option<String>,
}

/// An end by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Tenant(usize),
    Trunk(usize),
}

impl Call {
    pub(super) fn call_id(&self) -> String {
        "grant".to_owned()
    }

    /// The address it comes from.
    pub(super) fn source(&self, config: &Config) -> String {
        match self.from {
            Who::Tenant(_) => PROXY.to_owned(),
            Who::Trunk(at) => format!("{}:5070", config.trunks[at].networks[0].addr()),
        }
    }

    pub(super) fn invite(&self, config: &Config) -> String {
        let Self { called, caller, .. } = self;
        let (via, host, body) = match self.from {
            Who::Tenant(at) => ("TLS", config.tenants[at].names[0].fqdn.clone(), SECURE),
            Who::Trunk(_) => ("UDP", "127.0.0.10".to_owned(), PLAIN),
        };
        let source = self.source(config);
        let mut head = format!(
            "INVITE sip:{called}@{host} SIP/2.0\nVia: SIP/2.0/{via} {source};branch=z9hG4bKg\n\
             Max-Forwards: 70\nFrom: <sip:{caller}@{source}>;tag=g\nTo: <sip:{called}@{host}>\n\
             Call-ID: {}\nCSeq: 1 INVITE\nContact: <sip:x@{source}>\n",
            self.call_id(),
        );
        if let Some(asserted) = &self.asserted {
            head.push_str(&format!("P-Asserted-Identity: <sip:{asserted}@{host}>\n"));
        }
        if let Some(diverted) = &self.diverted {
            head.push_str(&format!("Diversion: <sip:{diverted}@{host}>;reason=no-answer\n"));
        }
        with_body(&head, body)
    }
}

/// Every number that occurs: of the public network, and private.
fn universe() -> Vec<String> {
    let public = (0..10).map(|n| format!("+44207946000{n}"));
    public.chain((0..5).map(|n| format!("+100{n}"))).collect()
}

pub(super) fn random_call(config: &Config, dice: &mut Dice) -> Call {
    let universe = universe();
    let any =
        |dice: &mut Dice| universe[dice.between(0, universe.len() as u64 - 1) as usize].clone();
    let outside = ["+33123456789", "+12025550143"];
    let number = |dice: &mut Dice| match dice.chance(800) {
        true => any(dice),
        false => dice.pick(&outside).to_owned(),
    };
    let ends = config.tenants.len() + config.trunks.len();
    let at = dice.between(0, ends as u64 - 1) as usize;
    let from = match at.checked_sub(config.tenants.len()) {
        None => Who::Tenant(at),
        Some(trunk) => Who::Trunk(trunk),
    };
    let caller = match dice.between(0, 9) {
        0 => "anonymous".to_owned(),
        1 => "alice".to_owned(),
        _ => number(dice),
    };
    Call {
        from,
        called: number(dice),
        caller,
        asserted: dice.chance(300).then(|| number(dice)),
        diverted: dice.chance(300).then(|| number(dice)),
    }
}

pub(super) fn random_config(dice: &mut Dice) -> Config {
    let base = config();
    let (tenants, trunks) = (dice.between(1, 4) as usize, dice.between(1, 5) as usize);
    let mut config = Config { tenants: Vec::new(), trunks: Vec::new(), ..base.clone() };
    for at in 0..trunks {
        let owner = dice.chance(300).then(|| dice.between(0, tenants as u64 - 1) as usize);
        let ip = format!("127.0.1.{at}");
        let mut trunk = base.trunks[0].clone();
        trunk.name = format!("trunk-{at}");
        trunk.owner = owner;
        trunk.peers[0].host = config::Host::Ip(ip.parse().unwrap());
        trunk.networks = vec![format!("{ip}/32").parse().unwrap()];
        trunk.trusted = dice.chance(300);
        config.trunks.push(trunk);
    }
    for at in 0..tenants {
        let mut tenant = base.tenants[0].clone();
        tenant.name = format!("tenant-{at}");
        tenant.names[0].fqdn = format!("n{at}.sbc.test");
        tenant.limits.all.calls = None;
        tenant.trunks = some_trunks(&config, Some(at), None, dice);
        tenant.inbound_trunks = more(&tenant.trunks, some_trunks(&config, Some(at), None, dice));
        config.tenants.push(tenant);
    }
    for at in 0..trunks {
        let owner = config.trunks[at].owner;
        let outbound = some_trunks(&config, owner, Some(at), dice);
        let outbound = if dice.chance(400) { Vec::new() } else { outbound };
        let further = some_trunks(&config, owner, Some(at), dice);
        config.trunks[at].inbound_trunks = more(&outbound, further);
        config.trunks[at].trunks = outbound;
    }
    deal(&mut config, dice);
    config
}

/// Trunks that an end may name: shared ones, and those of its tenant.
fn some_trunks(
    config: &Config,
    tenant: Option<usize>,
    own: Option<usize>,
    dice: &mut Dice,
) -> Vec<usize> {
    let may = |at: &usize| {
        let owner = config.trunks[*at].owner;
        Some(*at) != own && (owner.is_none() || owner == tenant)
    };
    (0..config.trunks.len()).filter(may).filter(|_| dice.chance(500)).collect()
}

fn more(first: &[usize], further: Vec<usize>) -> Vec<usize> {
    let mut all = first.to_vec();
    all.extend(further.into_iter().filter(|at| !first.contains(at)));
    all
}

/// Gives numbers to ends: a public one to one at most, a private one to one for each trunk that it is called by.
fn deal(config: &mut Config, dice: &mut Dice) {
    let ends = config.tenants.len() + config.trunks.len();
    let mut hands: Vec<Vec<(config::Number, NumberState)>> = vec![Vec::new(); ends];
    for text in universe() {
        let number = config::Number::parse(&text).unwrap();
        let mut taken: Vec<usize> = Vec::new();
        for _ in 0..if number.is_private() { 3 } else { 1 } {
            let end = dice.between(0, ends as u64 - 1) as usize;
            // Trunks without numbers are ways to the public network: most of them.
            if !dice.chance(if end < config.tenants.len() { 900 } else { 300 }) {
                continue;
            }
            let inbound = match end.checked_sub(config.tenants.len()) {
                None => &config.tenants[end].inbound_trunks,
                Some(trunk) => &config.trunks[trunk].inbound_trunks,
            };
            if inbound.is_empty() && end >= config.tenants.len() {
                continue;
            }
            let mine = hands[end].iter().any(|(has, _)| *has == number);
            if mine || inbound.iter().any(|trunk| taken.contains(trunk)) {
                continue;
            }
            taken.extend(inbound);
            let state = dice.weigh(&[
                (6, NumberState::Active),
                (1, NumberState::Reserved),
                (1, NumberState::Porting),
                (1, NumberState::Quarantine),
            ]);
            hands[end].push((number, state));
        }
    }
    let policies = [ForeignCaller::Main, ForeignCaller::Refuse, ForeignCaller::Pass];
    for (end, hand) in hands.into_iter().enumerate() {
        let range = |(number, state): &(config::Number, NumberState)| {
            (NumberRange { first: *number, last: *number }, *state)
        };
        let numbers = Numbers::new(hand.iter().map(|one| range(one).0).collect());
        let states = States::new(hand.iter().map(range));
        let in_use = hand.iter().find(|(number, state)| state.is_in_use() && !number.is_private());
        let main = in_use.map(|(number, _)| *number).filter(|_| dice.chance(800));
        let policy = dice.pick(&policies);
        match end.checked_sub(config.tenants.len()) {
            None => {
                let tenant = &mut config.tenants[end];
                *tenant = Tenant {
                    numbers,
                    states,
                    main_number: main,
                    foreign_caller: policy,
                    ..tenant.clone()
                };
            }
            Some(at) => {
                let trunk = &mut config.trunks[at];
                *trunk = Trunk {
                    numbers,
                    states,
                    main_number: main,
                    foreign_caller: policy,
                    ..trunk.clone()
                };
            }
        }
    }
}
