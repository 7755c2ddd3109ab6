//! Permits over the small configuration of the routing tests.

use std::time::Duration;

use config::{Bound, Rate};

use super::*;
use crate::routing::tests::routes;
use crate::routing::{TenantId, TrunkId};

const T1: End = End::Tenant(TenantId(0));
const T2: End = End::Tenant(TenantId(1));
const TRUNK: End = End::Trunk(TrunkId(0));

/// An admission with its clock.
struct Desk {
    admission: Admission,
    routes: Routes,
    now: Instant,
}

impl Desk {
    fn new(limits: &[(End, Limits)]) -> Self {
        let mut config = routes().config().clone();
        for (end, limits) in limits {
            match end {
                End::Tenant(id) => config.tenants[id.0].limits = limits.clone(),
                End::Trunk(id) => config.trunks[id.0].limits = limits.clone(),
            }
        }
        #[expect(clippy::disallowed_methods, reason = "the origin of virtual time")]
        let now = Instant::now();
        Self { admission: Admission::default(), routes: Routes::new(Arc::new(config)), now }
    }

    fn ask(&mut self, end: End, way: Way, number: &str) -> Result<Permit, Cause> {
        let asked = Request { end, way, number: Some(number), help: false };
        self.admission.admit(&self.routes, asked, self.now)
    }

    fn give_back(&mut self, permit: Permit) {
        self.admission.release(permit, self.now);
    }

    fn help(&mut self, end: End, way: Way) -> Result<Permit, Cause> {
        let asked = Request { end, way, number: None, help: true };
        self.admission.admit(&self.routes, asked, self.now)
    }
}

fn calls(calls: u32) -> Bound {
    Bound { calls: Some(calls), rate: None }
}

fn pace(per_second: u32, burst: u32) -> Bound {
    Bound { calls: None, rate: Some(Rate { per_1000_s: per_second * 1000, burst }) }
}

#[test]
fn a_full_tenant_is_refused_and_its_neighbour_is_not() {
    let mut desk = Desk::new(&[(T1, Limits { all: calls(2), ..Limits::default() })]);
    let first = desk.ask(T1, Way::Received, "1").unwrap();
    let _second = desk.ask(T1, Way::Made, "1").unwrap();
    assert_eq!(desk.ask(T1, Way::Received, "2"), Err(Cause::TenantFull));
    assert_eq!(desk.admission.calls("t001"), 2);
    let _other = desk.ask(T2, Way::Received, "1").unwrap();
    desk.give_back(first);
    assert!(desk.ask(T1, Way::Received, "2").is_ok());
}

#[test]
fn each_way_and_each_number_has_bounds_of_its_own() {
    let limits =
        Limits { made: calls(2), received: calls(3), number: calls(1), ..Limits::default() };
    let mut desk = Desk::new(&[(TRUNK, limits)]);
    let first = desk.ask(TRUNK, Way::Made, "1").unwrap();
    assert_eq!(desk.ask(TRUNK, Way::Made, "1"), Err(Cause::NumberFull));
    let _second = desk.ask(TRUNK, Way::Made, "2").unwrap();
    assert_eq!(desk.ask(TRUNK, Way::Made, "3"), Err(Cause::TrunkFull));
    let _received: Vec<_> =
        ["3", "4", "5"].map(|number| desk.ask(TRUNK, Way::Received, number).unwrap()).into();
    assert_eq!(desk.ask(TRUNK, Way::Received, "6"), Err(Cause::TrunkFull));
    desk.give_back(first);
    assert!(desk.ask(TRUNK, Way::Made, "1").is_ok());
}

#[test]
fn at_07_ten_times_the_rate_gets_exactly_the_rate() {
    let limits = Limits { made: pace(10, 10), ..Limits::default() };
    let mut desk = Desk::new(&[(T1, limits)]);
    let mut taken = 0;
    for _ in 0..6000 {
        desk.now += Duration::from_millis(10);
        match desk.ask(T1, Way::Made, "1") {
            Ok(permit) => {
                taken += 1;
                desk.give_back(permit);
            }
            Err(cause) => assert_eq!(cause, Cause::TooFast),
        }
        // A tenant beside it, and its own calls the other way, notice nothing.
        for (end, way) in [(T2, Way::Made), (T1, Way::Received)] {
            let permit = desk.ask(end, way, "2").unwrap();
            desk.give_back(permit);
        }
    }
    assert_eq!(taken, 600 + 9, "10 a second for 60 s, and the burst at the start");
}

#[test]
fn a_refused_call_takes_nobodys_turn() {
    let limits = Limits { all: pace(1, 1), number: calls(1), ..Limits::default() };
    let mut desk = Desk::new(&[(T1, limits)]);
    let _one = desk.ask(T1, Way::Made, "1").unwrap();
    desk.now += Duration::from_secs(1);
    for _ in 0..5 {
        assert_eq!(desk.ask(T1, Way::Made, "1"), Err(Cause::NumberFull));
    }
    assert!(desk.ask(T1, Way::Made, "2").is_ok());
    assert_eq!(desk.ask(T1, Way::Made, "3"), Err(Cause::TooFast));
}

#[test]
fn r05_an_end_counts_by_its_name_whatever_its_place_is() {
    let mut desk = Desk::new(&[]);
    let permit = desk.ask(T1, Way::Received, "1").unwrap();
    assert_eq!(desk.admission.calls("t001"), 1);
    let mut config = desk.routes.config().clone();
    config.tenants.reverse();
    config.tenants[1].limits.all = calls(1);
    desk.routes = Routes::new(Arc::new(config));
    desk.admission.reload(&desk.routes, desk.now);
    assert_eq!(desk.ask(T2, Way::Received, "1"), Err(Cause::TenantFull), "the same tenant");
    let other = desk.ask(T1, Way::Received, "1").unwrap();
    desk.give_back(permit);
    assert_eq!((desk.admission.calls("t001"), desk.admission.calls("t002")), (0, 1));
    desk.give_back(other);
    desk.admission.reload(&desk.routes, desk.now);
    assert!(desk.admission.usage.is_empty());
}

#[test]
fn a_bound_on_numbers_that_comes_with_calls_up_counts_those_that_come_after() {
    let mut desk = Desk::new(&[]);
    let before = desk.ask(T1, Way::Made, "1").unwrap();
    let mut config = desk.routes.config().clone();
    config.tenants[0].limits.number = calls(1);
    desk.routes = Routes::new(Arc::new(config));
    let _one = desk.ask(T1, Way::Made, "1").unwrap();
    desk.give_back(before);
    assert_eq!(desk.ask(T1, Way::Made, "1"), Err(Cause::NumberFull));
}

#[test]
fn a_million_numbers_leave_nothing_behind() {
    let limits = Limits { number: pace(1, 1), ..Limits::default() };
    let mut desk = Desk::new(&[(TRUNK, limits)]);
    for number in 0..100_000 {
        desk.now += Duration::from_millis(5);
        let permit = desk.ask(TRUNK, Way::Received, &number.to_string()).unwrap();
        desk.give_back(permit);
        assert!(desk.admission.usage.values().all(|usage| usage.numbers() <= 1024));
    }
}

#[test]
fn a_restored_call_counts_though_its_tenant_is_full() {
    let mut desk = Desk::new(&[(T1, Limits { all: calls(2), ..Limits::default() })]);
    let asked = Request { end: T1, way: Way::Received, number: Some("1"), help: false };
    let permits: Vec<_> =
        (0..5).map(|_| desk.admission.readmit(&desk.routes, asked, desk.now)).collect();
    assert_eq!(desk.admission.calls("t001"), 5);
    assert_eq!(desk.ask(T1, Way::Made, "1"), Err(Cause::TenantFull));
    permits.into_iter().for_each(|permit| desk.give_back(permit));
    assert!(desk.ask(T1, Way::Made, "1").is_ok());
}

#[test]
fn tr_068_a_call_for_help_counts_and_is_never_one_too_many() {
    let limits = Limits { all: Bound { calls: Some(2), ..pace(1, 2) }, ..Limits::default() };
    let mut desk = Desk::new(&[(T1, limits.clone()), (TRUNK, limits)]);
    for end in [T1, TRUNK] {
        let _calls: Vec<_> = [1, 2].map(|_| desk.ask(end, Way::Made, "1").unwrap()).into();
        let help: Vec<_> =
            [Way::Made, Way::Received].map(|way| desk.help(end, way).unwrap()).into();
        assert!(desk.ask(end, Way::Made, "1").is_err());
        help.into_iter().for_each(|permit| desk.give_back(permit));
    }
    assert_eq!(desk.admission.calls("t001"), 2);
    desk.admission.drain();
    assert_eq!(desk.help(T1, Way::Made), Err(Cause::Draining));
}

#[test]
fn draining_admits_nobody() {
    let mut desk = Desk::new(&[]);
    desk.admission.drain();
    assert_eq!(desk.ask(T2, Way::Received, "1"), Err(Cause::Draining));
}

/// Who joins a call late is charged from then on, and so is the trunk that has asked for it.
#[test]
fn minutes_of_a_transfer_begin_when_the_target_takes_its_place() {
    let minutes = |limits: &mut Limits| limits.minutes.all = Some(1000);
    let mut limits = Limits::default();
    minutes(&mut limits);
    let mut desk = Desk::new(&[(T1, limits.clone()), (T2, limits.clone()), (TRUNK, limits)]);
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    desk.admission.set_clock(desk.now, start);
    let caller = Some(desk.ask(TRUNK, Way::Made, "1").unwrap());
    let callee = Some(desk.ask(T1, Way::Received, "1").unwrap());
    let mut held = Permits { caller, callee, ..Permits::default() };
    desk.admission.answered(&mut held, || start);
    desk.now += Duration::from_secs(3000);
    let mut book = PermitBook { admission: &mut desk.admission, held: &mut held };
    let asked = Request { end: T2, way: Way::Received, number: Some("2"), help: false };
    book.for_target(&desk.routes, asked, false, desk.now).unwrap();
    book.settle(false, desk.now);
    desk.now += Duration::from_secs(60);
    desk.admission.release_all(held, desk.now);
    let spent = desk.admission.spent(&desk.routes);
    let of = |end: &str| {
        let spent = spent.iter().find(|spent| spent.end == end).unwrap();
        (spent.made / 1000, spent.received / 1000)
    };
    let name = |end| desk.routes.name(end).to_owned();
    assert_eq!(of(&format!("tenant {}", name(T1))), (0, 3000));
    assert_eq!(of(&format!("tenant {}", name(T2))), (0, 60));
    assert_eq!(of(&format!("trunk {}", name(TRUNK))), (3060, 0));
    // Of this day, whatever else is forgotten.
    desk.admission.reload(&desk.routes, desk.now);
    assert_eq!(desk.admission.spent(&desk.routes).len(), 3);
}

#[test]
fn what_was_spent_before_a_restart_outlives_a_reload() {
    let mut limits = Limits::default();
    limits.minutes.made = Some(5);
    let mut desk = Desk::new(&[(T1, limits)]);
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    desk.admission.set_clock(desk.now, start);
    let end = format!("tenant {}", desk.routes.name(T1));
    let spent = Spent { end, day: 1_794_960_000_000, made: 300_000, received: 0 };
    desk.admission.learn_spent(&desk.routes, &[spent], desk.now);
    desk.admission.reload(&desk.routes, desk.now);
    assert_eq!(desk.ask(T1, Way::Made, "1"), Err(Cause::MinutesSpent));
}
