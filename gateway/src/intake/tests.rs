//! The queues on virtual time.

use sip_stack::transport::{FlowId, LocalId, Transport};

use super::*;

#[allow(clippy::disallowed_methods, reason = "any instant will do to count from")]
fn start() -> Instant {
    Instant::now()
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn message(name: &str, received: Instant) -> Waiting {
    let source = Source {
        transport: Transport::Udp,
        local: LocalId(0),
        local_addr: "127.0.0.1:5060".parse().unwrap(),
        remote: "127.0.0.2:5060".parse().unwrap(),
        flow: None,
    };
    Waiting { source, received, raw: Bytes::copy_from_slice(name.as_bytes()) }
}

fn on_a_stream(name: &str, received: Instant) -> Waiting {
    let mut message = message(name, received);
    message.source.flow = Some(FlowId(1));
    message
}

fn name(next: &Next) -> String {
    let (kind, waiting) = match next {
        Next::Serve(waiting) => ("", waiting),
        Next::Refuse(waiting) => ("-", waiting),
    };
    format!("{kind}{}", String::from_utf8_lossy(&waiting.raw))
}

fn turn(intake: &mut Intake, now: Instant) -> Vec<String> {
    intake.begin_turn(now);
    std::iter::from_fn(|| intake.next(now)).map(|next| name(&next)).collect()
}

#[test]
fn what_exists_comes_first_and_lanes_take_turns() {
    let (mut intake, now) = (Intake::new(), start());
    for (place, name) in [
        (Place::Call(1), "a1"),
        (Place::Call(1), "a2"),
        (Place::Call(1), "a3"),
        (Place::Priority(1), "options"),
        (Place::Help(1), "112"),
        (Place::Call(2), "b1"),
        (Place::First(1), "bye"),
    ] {
        assert_eq!(intake.push(place, message(name, now)), None);
    }
    assert_eq!(intake.len(), 7);
    assert_eq!(turn(&mut intake, now), ["bye", "112", "options", "a1", "b1", "a2", "a3"]);
    assert!(intake.is_empty());
}

#[test]
fn no_class_starves_another() {
    let (mut intake, now) = (Intake::new(), start());
    for n in 0..2000 {
        intake.push(Place::First(0), message("bye", now));
        intake.push(Place::Help(n as u8), message("112", now));
        intake.push(Place::Priority(0), message("options", now));
        intake.push(Place::Call(n as u8), message("invite", now));
    }
    const { assert!(A_TURN.first >= 6 * A_TURN.calls, "what a call brings with it keeps up") };
    for _ in 0..5 {
        let served = turn(&mut intake, now);
        let Budget { first, help, priority, calls, .. } = A_TURN;
        for (name, most) in
            [("bye", first), ("112", help), ("options", priority), ("invite", calls)]
        {
            assert_eq!(served.iter().filter(|s| *s == name).count(), most, "{name}");
        }
    }
}

#[test]
fn few_are_served_however_old() {
    let (mut intake, now) = (Intake::new(), start());
    for n in 0..FEW {
        intake.push(Place::Call(n as u8), message("a", now));
    }
    let mut served = Vec::new();
    while !intake.is_empty() {
        served.extend(turn(&mut intake, now + ms(300)));
    }
    assert_eq!(served, vec!["a"; FEW]);
}

#[test]
fn a_pause_of_the_machine_refuses_nobody_and_a_standing_queue_does() {
    let (mut intake, start) = (Intake::new(), start());
    for _ in 0..100 {
        intake.push(Place::Call(1), message("paused", start));
    }
    assert_eq!(turn(&mut intake, start + ms(39)), vec!["paused"; A_TURN.calls]);
    let late = turn(&mut intake, start + ms(41));
    assert_eq!(late.iter().filter(|s| *s == "-paused").count(), 100 - A_TURN.calls - FEW);
    while !intake.is_empty() {
        assert!(turn(&mut intake, start + ms(41)).iter().all(|s| s == "paused"));
    }

    // Calls are always waiting from now on; the bound shrinks after a while.
    let mut now = start + ms(1000);
    let mut oldest_served = Duration::ZERO;
    for step in 0..100 {
        for _ in 0..30 {
            intake.push(Place::Call(1), message("x", now));
        }
        now += ms(3);
        intake.begin_turn(now);
        while let Some(next) = intake.next(now) {
            let (waited, served) = match &next {
                Next::Serve(w) => (now - w.received, true),
                Next::Refuse(w) => (now - w.received, false),
            };
            assert!(waited <= ms(45), "{waited:?}");
            if step > 40 {
                assert_eq!(served, waited <= PATIENCE);
                if served {
                    oldest_served = oldest_served.max(waited);
                }
            }
        }
    }
    assert!(oldest_served > ms(6), "it is a queue: {oldest_served:?}");
}

#[test]
fn a_flood_waits_behind_itself() {
    let (mut intake, start) = (Intake::new(), start());
    let mut refused = [0; 2];
    for step in 0..400 {
        let now = start + ms(5) * step;
        for _ in 0..100 {
            intake.push(Place::Call(1), message("flood", now - ms(3)));
        }
        intake.push(Place::Call(2), message("calm", now - ms(3)));
        intake.begin_turn(now);
        while let Some(next) = intake.next(now) {
            if let Next::Refuse(waiting) = next {
                refused[usize::from(waiting.raw == "calm")] += 1;
            }
        }
    }
    assert!(refused[0] > 30_000 && refused[1] == 0, "{refused:?}");
}

#[test]
fn a_full_class_loses_its_oldest_and_only_of_the_longest_lane() {
    let (mut intake, now) = (Intake::new(), start());
    intake.push(Place::Call(9), message("calm", now));
    for n in 1..MOST_CALLS {
        assert_eq!(intake.push(Place::Call(1), message(&n.to_string(), now)), None);
    }
    let victim = intake.push(Place::Call(2), message("new", now)).unwrap();
    assert_eq!(victim.message().raw, "1");
    assert_eq!(intake.len(), MOST_CALLS);
    for (place, most) in [
        (Place::First as fn(u8) -> Place, MOST_FIRST),
        (Place::Help, MOST_HELP),
        (Place::Priority, MOST_PRIORITY),
    ] {
        assert_eq!(intake.push(place(9), message("calm", now)), None);
        for n in 1..most {
            assert_eq!(intake.push(place(1), message(&n.to_string(), now)), None);
        }
        assert_eq!(intake.push(place(1), message("last", now)).unwrap().message().raw, "1");
    }
    assert_eq!(intake.room(), MOST_FIRST, "streams have a room of their own");
}

/// Nobody repeats what came on a stream.
#[test]
fn a_call_that_came_on_a_stream_is_refused_when_it_must_make_room() {
    let (mut intake, now) = (Intake::new(), start());
    for (place, most, refused) in [
        (Place::Call as fn(u8) -> Place, MOST_CALLS, true),
        (Place::Help, MOST_HELP, true),
        (Place::Priority, MOST_PRIORITY, false),
    ] {
        for _ in 0..most {
            assert_eq!(intake.push(place(1), on_a_stream("stream", now)), None);
        }
        let victim = intake.push(place(2), message("datagram", now)).unwrap();
        assert_eq!(victim.message().raw, "stream");
        assert_eq!(matches!(victim, Victim::Refused(_)), refused, "{:?}", place(1));
    }
}

/// AT-29: a wild trunk that knows tags of its own calls fills the first class with datagrams. What comes on streams is
/// neither held up nor lost, and what another trunk sends waits behind one message of the wild one.
#[test]
fn at_29_a_flood_of_datagrams_that_come_first_holds_up_neither_streams_nor_other_peers() {
    let (mut intake, now) = (Intake::new(), start());
    for _ in 0..2 * MOST_FIRST {
        intake.push(Place::First(1), message("flood", now));
    }
    assert_eq!(intake.room(), MOST_FIRST, "streams are read on");
    assert_eq!(intake.push(Place::First(1), on_a_stream("stream", now)), None);
    assert_eq!(intake.room(), MOST_FIRST - 1);
    let victim = intake.push(Place::First(2), message("calm", now)).unwrap();
    assert_eq!(victim.message().raw, "flood", "who floods loses its own");
    let served = turn(&mut intake, now);
    for name in ["stream", "calm"] {
        let at = served.iter().position(|s| s == name).unwrap();
        assert!(at < 4, "{name} is served as number {at}");
    }
}

/// A call for help meets nobody before it but what belongs to calls, however much else waits, and is never made to make
/// room by anything but calls for help of the same caller.
#[test]
fn at_29_a_flood_of_other_requests_neither_delays_nor_drops_a_call_for_help() {
    let (mut intake, start) = (Intake::new(), start());
    for step in 0..200 {
        let now = start + ms(5) * step;
        for n in 0..1000 {
            intake.push(Place::Priority(1), message("options", now));
            intake.push(Place::Call(n as u8), message("invite", now));
        }
        let dropped = intake.push(Place::Help(1), message("112", now));
        assert_eq!(dropped, None);
        let served = turn(&mut intake, now + ms(1));
        assert_eq!(served[0], "112");
    }
    // Even one who calls for help without end waits behind itself.
    let now = start + ms(2000);
    for _ in 0..2 * MOST_HELP {
        intake.push(Place::Help(1), message("wild", now));
    }
    let dropped = intake.push(Place::Help(2), message("112", now)).unwrap();
    assert_eq!(dropped.message().raw, "wild");
    assert!(turn(&mut intake, now)[..2].contains(&"112".to_owned()));
}

/// What one run of [`offered`] showed.
struct Run {
    served: u32,
    offered: u32,
    lost: u32,
    /// How long each waited until its refusal left, and each message inside a call until it was served; sorted.
    refused: Vec<Duration>,
    inside: Vec<Duration>,
}

/// Ten seconds of virtual time with a new call each `gap`. A served call costs 0.4 ms, a refusal a hundredth of that, and
/// each millisecond comes a message inside a call that costs 20 µs.
fn offered(gap: Duration) -> Run {
    let mut intake = Intake::new();
    let start = start();
    let mut now = start;
    let (mut next_call, mut next_inside) = (start, start);
    let mut run = Run { served: 0, offered: 0, lost: 0, refused: Vec::new(), inside: Vec::new() };
    while now < start + Duration::from_secs(10) {
        // All that came during the last turn is read at once.
        while next_call <= now {
            run.offered += 1;
            let lane = Place::Call(run.offered as u8 % 3);
            run.lost += u32::from(intake.push(lane, message("i", next_call)).is_some());
            next_call += gap;
        }
        while next_inside <= now {
            intake.push(Place::First(0), message("b", next_inside));
            next_inside += ms(1);
        }
        intake.begin_turn(now);
        let turn = now;
        while let Some(next) = intake.next(turn) {
            match next {
                Next::Serve(waiting) if waiting.raw == "b" => {
                    now += CALL / 20;
                    run.inside.push(now - waiting.received);
                }
                Next::Serve(_) => {
                    now += CALL;
                    run.served += 1;
                }
                Next::Refuse(waiting) => {
                    now += CALL / 100;
                    run.refused.push(now - waiting.received);
                }
            }
        }
        now = now.max(turn + Duration::from_micros(10));
    }
    run.refused.sort();
    run.inside.sort();
    run
}

const CALL: Duration = Duration::from_micros(400);

/// R16. Capacity is the highest rate at which nobody is refused, with the same messages inside calls beside it.
#[test]
fn r16_at_ten_times_capacity_calls_are_served_refusals_are_quick_and_nothing_inside_a_call_waits() {
    let clean = (400..).step_by(2).map(Duration::from_micros);
    let gap = clean.take(100).find(|gap| offered(*gap).refused.is_empty()).unwrap();
    let capacity = offered(gap);
    assert!(gap <= CALL * 105 / 100, "the queues themselves cost nothing: {gap:?}");
    let run = offered(gap / 10);
    let goodput = f64::from(run.served) / f64::from(capacity.served);
    let at = |all: &[Duration], share: usize| all[all.len() * share / 1000 - 1];
    assert!(goodput >= 0.9, "goodput {goodput:.3}");
    assert!(at(&run.refused, 990) <= ms(50), "{:?}", at(&run.refused, 990));
    assert!(at(&run.inside, 999) <= ms(20), "{:?}", at(&run.inside, 999));
    assert_eq!((capacity.lost, run.lost), (0, 0));
    assert!(run.inside.len() >= 9_990, "all but what the end cut off: {}", run.inside.len());
    assert!(run.refused.len() as f64 > f64::from(run.offered) * 0.85);
}
