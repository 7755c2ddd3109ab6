//! The registrar is played by hand, on virtual time.

use sip_stack::message::{Draft, Method};
use sip_stack::transport::{LocalId, Target, Transport};

use super::*;
use crate::routing::tests::config;

const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    all: Registrations,
    random: Random,
    start: Instant,
    now: Instant,
}

fn register() -> Register {
    Register {
        registrar: "carrier.example".to_owned(),
        user: "u".to_owned(),
        contact: "u".to_owned(),
        expires: 600 * SECOND,
        each_peer: false,
    }
}

/// The first trunk has two peers.
fn with(change: impl FnOnce(&mut config::Trunk)) -> Arc<Routes> {
    let mut config = config();
    let trunk = &mut config.trunks[0];
    let mut second = trunk.peers[0].clone();
    second.port = Some(5099);
    trunk.peers.push(second);
    trunk.register = Some(register());
    change(trunk);
    Arc::new(Routes::new(Arc::new(config)))
}

impl Bench {
    fn new(routes: &Arc<Routes>, seed: u64) -> Self {
        let random = Random::seeded(seed);
        let now = Instant::now();
        let mut bench = Self { all: Registrations::default(), random, start: now, now };
        bench.reload(routes);
        bench
    }

    fn reload(&mut self, routes: &Arc<Routes>) -> Vec<String> {
        self.all.replace(routes, self.now, || ("c".into(), "t".into()))
    }

    /// The next thing to do, and after how many seconds.
    fn next(&mut self) -> Option<(Task, f64)> {
        let before = self.now;
        loop {
            if let Some(task) = self.all.due(self.now) {
                return Some((task, (self.now - before).as_secs_f64()));
            }
            self.now = self.all.poll_timeout()?.max(self.now);
        }
    }

    /// It is to be asked for: at which peer, and after how many seconds.
    fn asks(&mut self) -> (RegistrationId, usize, f64) {
        let Some((Task::Ask { id, place: Place::Peer { peer, .. } }, after)) = self.next() else {
            panic!("nothing is asked for")
        };
        let target = Target {
            transport: Transport::Udp,
            local: LocalId(1),
            remote: "192.0.2.1:5060".parse().unwrap(),
            name: None,
            flow: None,
        };
        let draft = Draft::request(Method::Register, "sip:carrier.example");
        let request = Request { draft, target, sent_by: "a".into(), timeout: None };
        self.all.sends(id, &request);
        (id, peer, after)
    }

    fn granted(&mut self, id: RegistrationId, seconds: u32) -> bool {
        self.all.granted(id, seconds * SECOND, self.now, &mut self.random)
    }

    fn failed(&mut self, id: RegistrationId, why: Failed, told: Option<u32>) -> Option<f64> {
        let told = told.map(|seconds| seconds * SECOND);
        let wait = self.all.failed(id, why, told, self.now, &mut self.random);
        wait.map(|wait| wait.as_secs_f64())
    }

    fn is_up(&self) -> bool {
        self.all.standing("carrier-a").is_some_and(|standing| standing.up)
    }
}

/// RFC 3261 §10.2.4.
#[test]
fn it_is_refreshed_at_a_random_time_of_the_second_half() {
    let mut waits = Vec::new();
    for seed in 0..200 {
        let mut bench = Bench::new(&with(|_| {}), seed);
        let (id, peer, after) = bench.asks();
        assert_eq!((peer, after, bench.is_up()), (0, 0.0, false));
        assert!(bench.granted(id, 100) && bench.is_up());
        let (id, peer, after) = bench.asks();
        assert!(peer == 0 && (50.0..=90.0).contains(&after), "{after}");
        assert!(!bench.granted(id, 100), "no news");
        waits.push(after);
    }
    waits.sort_by(f64::total_cmp);
    assert!(waits[0] < 53.0 && waits[199] > 87.0, "{} {}", waits[0], waits[199]);
}

#[test]
fn what_was_granted_holds_until_its_time_is_over() {
    let mut bench = Bench::new(&with(|trunk| trunk.peers.truncate(1)), 1);
    let (id, ..) = bench.asks();
    bench.granted(id, 60);
    let granted = bench.now;
    loop {
        match bench.next().unwrap().0 {
            Task::Ask { id, .. } => {
                assert!(bench.is_up());
                bench.failed(id, Failed::Refused, None);
            }
            Task::Lapsed { .. } => break,
            Task::Leave { .. } => panic!(),
        }
    }
    assert_eq!((bench.now - granted, bench.is_up()), (60 * SECOND, false));
    let (id, ..) = bench.asks();
    assert!(bench.granted(id, 60) && bench.is_up(), "it is news");
}

/// RFC 5626 §4.5.
#[test]
fn failures_are_waited_out_longer_each_time_with_jitter_and_after_all_peers() {
    let mut firsts = BTreeSet::new();
    for seed in 0..50 {
        let mut bench = Bench::new(&with(|_| {}), seed);
        for round in 0..12_u32 {
            let (id, peer, _) = bench.asks();
            assert_eq!(peer, 0);
            assert_eq!(bench.failed(id, Failed::Elsewhere, None), Some(0.0));
            let (id, peer, after) = bench.asks();
            assert_eq!((peer, after), (1, 0.0));
            let wait = bench.failed(id, Failed::Elsewhere, None).unwrap();
            let most = (30.0 * f64::from(1 << round.min(10))).min(1800.0);
            assert!((most / 2.0..=most).contains(&wait), "{round}: {wait}");
            if round == 0 {
                firsts.insert((wait * 1000.0) as u64);
            }
        }
        let (id, ..) = bench.asks();
        bench.granted(id, 60);
        let (id, ..) = bench.asks();
        bench.failed(id, Failed::Elsewhere, None);
        let (id, ..) = bench.asks();
        let wait = bench.failed(id, Failed::Elsewhere, None).unwrap();
        assert!(wait <= 30.0, "a success starts anew: {wait}");
    }
    assert!(firsts.len() > 40, "{}", firsts.len());
}

#[test]
fn a_refusal_is_the_same_at_every_peer_and_retry_after_is_obeyed() {
    let mut bench = Bench::new(&with(|_| {}), 3);
    let (id, ..) = bench.asks();
    let wait = bench.failed(id, Failed::Refused, None).unwrap();
    assert!((15.0..=30.0).contains(&wait));
    let (id, peer, after) = bench.asks();
    assert!(peer == 0 && (after - wait).abs() < 0.01);
    bench.failed(id, Failed::Elsewhere, Some(300));
    let (id, ..) = bench.asks();
    let wait = bench.failed(id, Failed::Elsewhere, Some(300)).unwrap();
    assert!((300.0..=330.0).contains(&wait), "{wait}");
    bench.asks();
    bench.failed(id, Failed::Elsewhere, None);
    bench.asks();
    let wait = bench.failed(id, Failed::Elsewhere, Some(1_000_000)).unwrap();
    assert!((3600.0..4000.0).contains(&wait), "{wait}");
}

/// RFC 3261 §10.2.8.
#[test]
fn a_registrar_that_wants_more_gets_more_once() {
    let mut bench = Bench::new(&with(|_| {}), 3);
    let (id, ..) = bench.asks();
    assert!(bench.all.too_brief(id, 1800 * SECOND, bench.now));
    let (id, _, after) = bench.asks();
    assert_eq!((after, bench.all.get(id).unwrap().wish), (0.0, 1800 * SECOND));
    assert!(!bench.all.too_brief(id, 1800 * SECOND, bench.now), "it has more than once asked");
    assert!(!bench.all.too_brief(id, 90_000 * SECOND, bench.now));
}

/// A registrar that always wants a second more, and one that grants a second.
#[test]
fn a_registrar_does_not_drive_us() {
    let mut bench = Bench::new(&with(|_| {}), 3);
    for round in 0..5 {
        let (id, ..) = bench.asks();
        let wish = bench.all.get(id).unwrap().wish;
        assert!(bench.all.too_brief(id, wish + SECOND, bench.now), "{round}");
        let (id, _, after) = bench.asks();
        assert!(after == 0.0 && !bench.all.too_brief(id, wish + 2 * SECOND, bench.now));
        assert!(bench.failed(id, Failed::Refused, None).unwrap() >= 15.0);
    }
    let mut bench = Bench::new(&with(|_| {}), 3);
    let (id, ..) = bench.asks();
    for _ in 0..5 {
        bench.granted(id, 1);
        let Some((Task::Lapsed { .. }, lapsed)) = bench.next() else { panic!("it lasts a second") };
        let (_, _, after) = bench.asks();
        assert!((9.9..=10.1).contains(&(lapsed + after)), "{lapsed} {after}");
    }
}

#[test]
fn each_peer_has_a_registration_of_its_own_where_that_is_wanted() {
    let routes = with(|trunk| trunk.register.as_mut().unwrap().each_peer = true);
    let mut bench = Bench::new(&routes, 3);
    let (first, peer, _) = bench.asks();
    let (second, other, after) = bench.asks();
    assert_eq!((peer, other, after), (0, 1, 0.0));
    bench.granted(first, 100);
    assert!(!bench.is_up());
    bench.granted(second, 50);
    let standing = bench.all.standing("carrier-a");
    assert_eq!(standing, Some(Standing { up: true, granted: 50 * SECOND }));
    let (id, ..) = bench.asks();
    assert!(bench.failed(id, Failed::Elsewhere, None).unwrap() >= 15.0, "no other peer");
}

#[test]
fn a_reload_leaves_alone_what_has_not_changed_and_takes_back_what_is_gone() {
    let mut bench = Bench::new(&with(|_| {}), 3);
    let (id, ..) = bench.asks();
    bench.granted(id, 600);
    assert!(bench.reload(&with(|trunk| trunk.numbers = Default::default())).is_empty());
    let due = bench.all.poll_timeout().unwrap();
    assert!(bench.is_up() && due > bench.now + 299 * SECOND);
    // Another lifetime: asked for at once, never taken back.
    let longer = with(|trunk| trunk.register.as_mut().unwrap().expires = 900 * SECOND);
    assert!(bench.reload(&longer).is_empty());
    let (same, _, after) = bench.asks();
    assert!(same == id && after == 0.0 && bench.is_up());
    assert_eq!(bench.all.get(id).unwrap().wish, 900 * SECOND);
    bench.granted(id, 900);
    // Another user: the old one goes, the new one comes.
    let other = with(|trunk| trunk.register.as_mut().unwrap().user = "v".to_owned());
    assert_eq!(bench.reload(&other), ["carrier-a"]);
    let mut tasks = [bench.next().unwrap().0, bench.next().unwrap().0];
    tasks.sort_by_key(|task| matches!(task, Task::Leave { .. }));
    let [Task::Ask { id: new, .. }, Task::Leave { id: old, .. }] = &tasks else {
        panic!("{tasks:?}")
    };
    assert!(*old == id && *new != id && bench.all.leaving() == 1);
    bench.granted(*old, 0);
    assert_eq!((bench.all.leaving(), bench.all.get(id).is_none()), (0, true));
    // And none at all.
    bench.reload(&with(|trunk| trunk.register = None));
    assert_eq!(bench.all.standing("carrier-a"), None);
}

#[test]
fn a_stop_takes_everything_back_and_waits_for_no_answer_for_long() {
    let mut bench = Bench::new(&with(|_| {}), 3);
    let (id, ..) = bench.asks();
    bench.granted(id, 600);
    bench.all.leave_all(bench.now);
    assert_eq!(bench.all.leaving(), 1);
    assert!(matches!(bench.next(), Some((Task::Leave { .. }, 0.0))));
    assert_eq!(bench.next().map(|(_, after)| after), None);
    assert_eq!(bench.now - bench.start, FAREWELL);
    assert_eq!(bench.all.leaving(), 0);
    assert!(bench.reload(&with(|_| {})).is_empty() && bench.all.poll_timeout().is_none());
    // One that never was is forgotten at once; one that is being asked for is taken back.
    for asked in [false, true] {
        let mut bench = Bench::new(&with(|_| {}), 3);
        if asked {
            bench.asks();
        }
        bench.all.leave_all(bench.now);
        let task = bench.next();
        assert_eq!(matches!(task, Some((Task::Leave { .. }, _))), asked);
    }
}
