//! What shall happen, drawn from the seed before anything does: who calls whom and when, how the called side reacts, what
//! both do while they talk, and what befalls them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use config::{EarlyMedia, Refer};

use super::dice::Dice;
use super::line::{Mood, Weather};
use super::talk::Change;

/// Who somebody is in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Caller,
    Callee,
    /// Whom a REFER asks for.
    Target,
    /// Who takes the place of another by INVITE with Replaces.
    Newcomer,
}

/// What the called side does about an INVITE.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Ring { status: u16, sdp: bool },
    Refuse { status: u16, wait: Option<&'static str> },
    Answer { sdp: bool },
}

/// What the called side does about one attempt: by fork, in milliseconds from its INVITE.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) forks: Vec<Vec<(u64, Step)>>,
    /// Session-Expires in its 2xx.
    pub(super) expires: Option<&'static str>,
}

/// What a side does in its call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Cancel,
    Bye,
    Offer(Change),
    /// A re-INVITE without an offer.
    Ask,
    /// The CANCEL of a re-INVITE.
    Withdraw,
    /// A request that changes nothing.
    Tell(&'static str),
    /// It loses what it knows of the call.
    Forget,
    /// It asks for the target in its own place.
    Refer,
    /// It asks by another dialog for its own place.
    Replace,
}

/// What happens in a call or around it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Call(usize),
    Act(usize, Role, Act),
    /// From now on nothing passes between that side and the gateway in this call.
    Deaf(usize, Role),
    /// A connection of that peer breaks.
    Break(usize),
    Mood(IpAddr, Mood),
    /// The relay takes a side of the call for dead.
    Dead(usize, Role),
    /// The relay has given up on the media of the call.
    Given(usize),
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct CallScript {
    /// The peer that calls, by position.
    pub(super) from: usize,
    pub(super) caller: String,
    pub(super) called: String,
    /// The INVITE has an offer.
    pub(super) offers: bool,
    /// Session-Expires in the INVITE.
    pub(super) expires: Option<&'static str>,
    /// By attempt; the last one holds for all that follow.
    pub(super) programs: Vec<Program>,
    /// What the target of a transfer does.
    pub(super) target: Vec<Program>,
}

/// All that a seed has in store.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) weather: Weather,
    pub(super) early: EarlyMedia,
    pub(super) refer: Refer,
    /// The trunks speak TCP.
    pub(super) tcp: bool,
    pub(super) silent_relay: bool,
    pub(super) calls: Vec<CallScript>,
    pub(super) events: Vec<(Duration, Event)>,
}

/// The peers, by position.
pub(super) const PROXIES: usize = 0;
pub(super) const CARRIER_A: usize = 1;
pub(super) const CARRIER_B: usize = 2;
pub(super) const CENTRE: usize = 3;

const PERFECT: Weather = Weather { lost: 0, doubled: 0, delay: 20 };
const BAD: Weather = Weather { lost: 50, doubled: 30, delay: 200 };
const TERRIBLE: Weather = Weather { lost: 250, doubled: 100, delay: 1500 };

impl Script {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let weather = dice.weigh(&[(3, PERFECT), (5, BAD), (2, TERRIBLE)]);
        let early = dice.pick(&[EarlyMedia::First, EarlyMedia::Pass, EarlyMedia::Generate]);
        let mut script = Self {
            weather,
            early,
            refer: dice.weigh(&[(1, Refer::Refuse), (3, Refer::Local), (3, Refer::Pass)]),
            tcp: dice.chance(300),
            silent_relay: dice.chance(100),
            calls: Vec::new(),
            events: Vec::new(),
        };
        for number in 0..dice.weigh(&[(60, 1), (25, 2), (15, 3)]) {
            script.draw_call(number, dice);
        }
        if dice.chance(150) {
            script.draw_moods(dice);
        }
        script
    }

    /// Whether there is but one call, and nothing that could keep it from being answered.
    pub(super) fn is_unhindered(&self) -> bool {
        let [call] = &self.calls[..] else { return false };
        let fork = &call.programs[0].forks[0];
        let answer = fork.iter().find(|(_, step)| matches!(step, Step::Answer { .. }));
        let Some((answer, _)) = answer else { return false };
        let up = Duration::from_millis(answer + 2000);
        let idle = |event: &Event| matches!(event, Event::Call(_));
        let later = self.events.iter().all(|(at, event)| *at > up || idle(event));
        later && self.weather.lost == 0 && call.expires != Some("60")
    }

    /// Whether nothing is lost, and nobody forgets, falls silent or is transferred: only who talks ends a call.
    pub(super) fn is_calm(&self) -> bool {
        let calm = |event: &Event| match event {
            Event::Call(_) => true,
            Event::Act(_, _, act) => !matches!(act, Act::Forget | Act::Refer | Act::Replace),
            Event::Deaf(..) | Event::Break(_) | Event::Mood(..) => false,
            Event::Dead(..) | Event::Given(_) => false,
        };
        self.weather.lost == 0 && self.events.iter().all(|(_, event)| calm(event))
    }

    /// In short, for the trace.
    pub(super) fn lines(&self) -> Vec<String> {
        let Self { weather, early, refer, tcp, silent_relay, .. } = self;
        let mut lines = vec![format!(
            "{weather:?}, {early:?}, {refer:?}, tcp {tcp}, silent relay {silent_relay}"
        )];
        lines.extend(self.calls.iter().map(|call| format!("{call:?}")));
        lines
    }

    fn draw_call(&mut self, number: usize, dice: &mut Dice) {
        let ways =
            [(CARRIER_A, PROXIES), (PROXIES, CARRIER_A), (CARRIER_A, CENTRE), (CENTRE, CARRIER_B)];
        let (from, to) = dice.weigh(&[(4, ways[0]), (4, ways[1]), (1, ways[2]), (1, ways[3])]);
        let called = match to {
            PROXIES => format!("+44207946000{number}"),
            CENTRE => format!("+44207947000{number}"),
            _ => format!("+3312345678{number}"),
        };
        let caller = if from == CENTRE { "+442079470011" } else { "+442079460011" };
        let attempts = dice.between(1, 3);
        self.calls.push(CallScript {
            from,
            caller: caller.to_owned(),
            called,
            offers: dice.chance(900),
            expires: if dice.chance(250) { dice.pick(&EXPIRES) } else { None },
            programs: (0..attempts).map(|_| Program::draw(dice)).collect(),
            target: (0..2).map(|_| Program::draw(dice)).collect(),
        });
        let begin = if number == 0 { Duration::from_millis(100) } else { dice.millis(1, 15_000) };
        self.events.push((begin, Event::Call(number)));
        let mut roles = vec![Role::Caller, Role::Callee];
        if dice.chance(300) {
            roles.extend([Role::Target, Role::Newcomer]);
            self.draw_transfers(number, begin, dice);
        }
        self.draw_acts(number, begin, &roles, dice);
        self.draw_end(number, begin, dice);
    }

    /// What the sides do before one of them hangs up.
    fn draw_acts(&mut self, number: usize, begin: Duration, roles: &[Role], dice: &mut Dice) {
        for _ in 0..dice.between(0, 6) {
            let at = begin + dice.within(&[(4, 4_000), (3, 20_000), (3, 90_000)]);
            let role = dice.pick(roles);
            let act = |act| Event::Act(number, role, act);
            let change = dice.pick(&CHANGES);
            let told = dice.pick(&["INFO", "NOTIFY", "UPDATE", "OPTIONS", "MESSAGE"]);
            let event = dice.weigh(&[
                (40, act(Act::Offer(change))),
                (10, act(Act::Ask)),
                (15, act(Act::Tell(told))),
                (6, act(Act::Withdraw)),
                (8, act(Act::Cancel)),
                (5, act(Act::Bye)),
                (3, act(Act::Forget)),
                (4, Event::Deaf(number, role)),
                (3, Event::Break(PROXIES)),
                (3, Event::Break(CARRIER_A)),
                (1, Event::Dead(number, role)),
                (1, Event::Given(number)),
            ]);
            self.events.push((at, event));
            if dice.chance(150) {
                // Both sides at once.
                let other = dice.pick(roles);
                let also = at + dice.millis(0, 40);
                self.events.push((also, Event::Act(number, other, Act::Offer(change))));
            }
            if matches!(event, Event::Act(_, _, Act::Offer(_))) && dice.chance(100) {
                let soon = at + dice.millis(1, 2000);
                self.events.push((soon, Event::Act(number, role, Act::Withdraw)));
            }
        }
    }

    /// Sides that want somebody else in their place.
    fn draw_transfers(&mut self, number: usize, begin: Duration, dice: &mut Dice) {
        for _ in 0..dice.weigh(&[(6, 1), (3, 2), (1, 3)]) {
            let at = begin + dice.within(&[(3, 10_000), (4, 40_000), (1, 90_000)]);
            let role = dice.weigh(&[(3, Role::Caller), (4, Role::Callee), (1, Role::Target)]);
            let act = dice.weigh(&[(7, Act::Refer), (3, Act::Replace)]);
            self.events.push((at, Event::Act(number, role, act)));
            if dice.chance(200) {
                // A referrer that does not wait for the outcome.
                let soon = at + dice.millis(1, 1000);
                self.events.push((soon, Event::Act(number, role, Act::Bye)));
            }
        }
    }

    fn draw_end(&mut self, number: usize, begin: Duration, dice: &mut Dice) {
        if dice.chance(200) {
            return;
        }
        let at = begin + dice.within(&[(2, 5_000), (5, 60_000), (3, 120_000)]);
        let bye = |role| Event::Act(number, role, Act::Bye);
        let (first, second) =
            dice.pick(&[(Role::Caller, Role::Callee), (Role::Callee, Role::Caller)]);
        self.events.push((at, bye(first)));
        if dice.chance(250) {
            self.events.push((at + dice.millis(0, 60), bye(second)));
        }
    }

    /// Addresses that take no connections for a while.
    fn draw_moods(&mut self, dice: &mut Dice) {
        for _ in 0..dice.between(1, 3) {
            let host = dice.pick(&[20, 20, 21, 50]);
            let ip = IpAddr::V4(Ipv4Addr::new(127, 0, 0, host));
            let at = dice.millis(0, 30_000);
            self.events.push((at, Event::Mood(ip, dice.pick(&[Mood::Refuses, Mood::Hangs]))));
            if dice.chance(700) {
                self.events.push((at + dice.millis(100, 60_000), Event::Mood(ip, Mood::Open)));
            }
        }
    }
}

impl Program {
    fn draw(dice: &mut Dice) -> Self {
        let answers = dice.weigh(&[(70, Some(true)), (20, Some(false)), (10, None)]);
        let forks = dice.weigh(&[(80, 1), (15, 2), (5, 3)]);
        let mut program = Self {
            forks: (0..forks).map(|_| rings(dice)).collect(),
            expires: if dice.chance(150) { dice.pick(&[EXPIRES[0], EXPIRES[1]]) } else { None },
        };
        let rung = program.forks.iter().flatten().map(|(at, _)| *at).max().unwrap_or(0);
        let at = rung + dice.below(&[(3, 50), (4, 4_000), (3, 30_000)]);
        match answers {
            Some(true) => {
                for (number, fork) in program.forks.iter_mut().enumerate() {
                    let told = fork.iter().any(|(_, s)| matches!(s, Step::Ring { sdp: true, .. }));
                    let sdp = !told || dice.chance(700);
                    if number == 0 || dice.chance(500) {
                        fork.push((at + dice.between(0, 80), Step::Answer { sdp }));
                    }
                }
            }
            Some(false) => {
                let status = dice.pick(&REFUSALS);
                let wait = (status == 503 && dice.chance(500)).then_some("3");
                program.forks.truncate(1);
                program.forks[0].push((at, Step::Refuse { status, wait }));
            }
            None => {}
        }
        program
    }
}

/// The provisional responses of one fork.
fn rings(dice: &mut Dice) -> Vec<(u64, Step)> {
    let mut steps = Vec::new();
    let mut at = 0;
    for _ in 0..dice.weigh(&[(25, 0), (45, 1), (20, 2), (10, 3)]) {
        at += dice.between(1, 2500);
        let (status, sdp) =
            dice.pick(&[(180, false), (180, false), (183, true), (183, true), (183, false)]);
        steps.push((at, Step::Ring { status, sdp }));
    }
    steps
}

const CHANGES: [Change; 8] = [
    Change::Refresh,
    Change::Hold,
    Change::HoldInactive,
    Change::HoldZero,
    Change::Resume,
    Change::Move,
    Change::Rekey,
    Change::Codecs,
];
const EXPIRES: [Option<&str>; 5] =
    [Some("90;refresher=uac"), Some("90;refresher=uas"), Some("120"), Some("1800"), Some("60")];
const REFUSALS: [u16; 12] = [486, 603, 404, 480, 488, 503, 503, 500, 408, 504, 302, 401];
