//! Every row of the table, whose a place is, and what a restart and a reload leave.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use config::{Host, RequestUser, Secret};

use super::*;
use crate::routing::tests::config;

const SECOND: Duration = Duration::from_secs(1);
const HOME: &str = "192.0.2.9:5062";

/// Two trunks of the first realm that register.
fn registering() -> config::Config {
    let mut config = config();
    for (index, name) in ["one", "two"].into_iter().enumerate() {
        let trunk = &mut config.trunks[index];
        trunk.name = name.to_owned();
        trunk.networks = Vec::new();
        trunk.peers[0].host = Host::Registered;
        trunk.authenticate = Some(Login {
            realm: "sbc.test".to_owned(),
            username: format!("user-{name}"),
            password: Secret::of("word"),
        });
        trunk.registrar = Some(config::Registrar {
            user: format!("user-{name}"),
            min_expires: 60 * SECOND,
            max_expires: 1800 * SECOND,
            max_contacts: 2,
            networks: Vec::new(),
            transports: vec![config::Transport::Udp, config::Transport::Tcp],
            request_user: RequestUser::Number,
        });
    }
    config
}

struct Bench {
    registrar: Registrar,
    local: LocalId,
    now: Instant,
    cseq: u32,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
    fn new() -> Self {
        let mut registrar = Registrar::default();
        let routes = routes(registering());
        assert!(registrar.replace(&routes).is_empty());
        let local = locals::of_realm(routes.config(), RealmId(0));
        Self { registrar, local, now: Instant::now(), cseq: 0 }
    }

    fn source(&self, remote: &str, flow: Option<u64>) -> Source {
        Source {
            transport: flow.map_or(Transport::Udp, |_| Transport::Tcp),
            local: self.local,
            local_addr: "127.0.0.10:5060".parse().unwrap(),
            remote: remote.parse().unwrap(),
            flow: flow.map(FlowId),
        }
    }

    /// What becomes of a REGISTER from there, with a CSeq higher than any before.
    fn ask(&mut self, trunk: &str, remote: &str, wish: &Wish) -> Result<Vec<What>, Refused> {
        let source = self.source(remote, None);
        self.ask_by(trunk, &source, wish)
    }

    fn ask_by(&mut self, trunk: &str, source: &Source, wish: &Wish) -> Result<Vec<What>, Refused> {
        self.cseq += 1;
        let order = (&b"call"[..], self.cseq);
        let changes = self.registrar.register(trunk, source, order, wish, self.now)?;
        Ok(changes.into_iter().map(|change| change.what).collect())
    }

    fn uris(&self, trunk: &str) -> Vec<String> {
        let contacts = self.registrar.contacts(trunk);
        contacts.iter().map(|b| String::from_utf8_lossy(&b.uri).into_owned()).collect()
    }

    fn trunk_at(&self, source: &Source) -> Option<usize> {
        self.registrar.trunk_at(source).map(|trunk| trunk.0)
    }

    /// Everything that is known twice agrees.
    fn check(&self) {
        let registrar = &self.registrar;
        let all = registrar.bindings.len();
        assert_eq!(registrar.timers.len(), all);
        assert_eq!(registrar.held.values().map(BTreeSet::len).sum::<usize>(), all);
        assert_eq!(registrar.origins.values().map(|(_, count)| count).sum::<usize>(), all);
        for binding in registrar.bindings.values() {
            assert_eq!(registrar.origins[&binding.origin].0, binding.trunk);
        }
    }
}

fn routes(config: config::Config) -> Routes {
    Routes::new(Arc::new(config))
}

fn contact(uri: &str, expires: Option<u32>) -> Contact {
    Contact { uri: Bytes::copy_from_slice(uri.as_bytes()), q: 1000, expires }
}

fn set(contacts: &[(&str, u32)]) -> Wish {
    Wish::Set(contacts.iter().map(|(uri, seconds)| contact(uri, Some(*seconds))).collect())
}

#[test]
fn a_contact_is_registered_refreshed_moved_removed_and_expires() {
    let mut bench = Bench::new();
    let wish = set(&[("sip:a@10.0.0.1", 600)]);
    assert_eq!(bench.ask("one", HOME, &wish), Ok(vec![What::Registered]));
    let left = |bench: &Bench| bench.registrar.contacts("one")[0].left(bench.now);
    assert_eq!(left(&bench), 600 * SECOND);
    bench.now += 300 * SECOND;
    assert_eq!(bench.ask("one", HOME, &wish), Ok(vec![What::Refreshed]));
    assert_eq!(bench.ask("one", "192.0.2.9:40000", &wish), Ok(vec![What::Moved]));
    assert_eq!(bench.trunk_at(&bench.source(HOME, None)), None, "the former place is nobody's");
    assert_eq!(bench.trunk_at(&bench.source("192.0.2.9:40000", None)), Some(0));
    assert_eq!(bench.registrar.poll_timeout(), Some(bench.now + 600 * SECOND));
    assert!(bench.registrar.expired(bench.now + 599 * SECOND).is_empty());
    let gone = bench.registrar.expired(bench.now + 600 * SECOND);
    assert_eq!(gone.iter().map(|change| change.what).collect::<Vec<_>>(), [What::Expired]);
    assert_eq!(bench.trunk_at(&bench.source("192.0.2.9:40000", None)), None);
    assert_eq!(bench.ask("one", HOME, &wish), Ok(vec![What::Registered]));
    let none = set(&[("sip:a@10.0.0.1", 0), ("sip:other@10.0.0.1", 0)]);
    assert_eq!(bench.ask("one", HOME, &none), Ok(vec![What::Removed]));
    assert_eq!(bench.registrar.poll_timeout(), None);
    bench.check();
}

#[test]
fn times_are_kept_between_the_shortest_and_the_longest() {
    let mut bench = Bench::new();
    for (asked, granted) in
        [(Some(60), 60), (Some(9999), 1800), (Some(u32::MAX), 1800), (None, 1800)]
    {
        let wish = Wish::Set(vec![contact("sip:a@h", asked)]);
        bench.ask("one", HOME, &wish).unwrap();
        assert_eq!(bench.registrar.contacts("one")[0].left(bench.now), granted * SECOND);
    }
    let brief = Err(Refused::TooBrief(60 * SECOND));
    assert_eq!(bench.ask("one", HOME, &set(&[("sip:b@h", 300), ("sip:a@h", 59)])), brief);
    assert_eq!(bench.uris("one"), ["sip:a@h"], "all or nothing");
}

#[test]
fn a_request_that_was_overtaken_changes_nothing() {
    let mut bench = Bench::new();
    let source = bench.source(HOME, None);
    let mut ask = |call: &'static str, cseq, wish: &Wish| {
        bench.registrar.register("one", &source, (call.as_bytes(), cseq), wish, bench.now)
    };
    let (wish, none) = (set(&[("sip:a@h", 600)]), set(&[("sip:a@h", 0)]));
    assert!(ask("x", 5, &wish).is_ok());
    for cseq in [4, 5] {
        assert_eq!(ask("x", cseq, &none), Err(Refused::Overtaken));
        assert_eq!(ask("x", cseq, &Wish::RemoveAll), Err(Refused::Overtaken));
        let more = set(&[("sip:b@h", 600), ("sip:a@h", 600)]);
        assert_eq!(ask("x", cseq, &more), Err(Refused::Overtaken));
    }
    assert_eq!(ask("x", 1, &Wish::Query), Ok(Vec::new()));
    assert!(ask("y", 1, &wish).is_ok(), "a PBX that was restarted begins anew");
    assert_eq!(ask("y", 2, &Wish::RemoveAll).unwrap().len(), 1);
    bench.check();
}

#[test]
fn contacts_are_tried_by_preference_and_the_oldest_makes_room() {
    let mut bench = Bench::new();
    let mut low = contact("sip:low@h", Some(600));
    low.q = 100;
    bench.ask("one", HOME, &Wish::Set(vec![low, contact("sip:a@h", Some(600))])).unwrap();
    assert_eq!(bench.uris("one"), ["sip:a@h", "sip:low@h"]);
    let more = set(&[("sip:b@h", 600)]);
    assert_eq!(bench.ask("one", HOME, &more), Ok(vec![What::Registered, What::Replaced]));
    assert_eq!(bench.uris("one"), ["sip:b@h", "sip:a@h"], "the newest of equals first");
    let many = set(&[("sip:1@h", 600), ("sip:2@h", 600), ("sip:3@h", 600)]);
    assert_eq!(bench.ask("one", HOME, &many), Err(Refused::TooMany));
    assert_eq!(bench.ask("one", HOME, &Wish::RemoveAll).map(|all| all.len()), Ok(2));
    bench.check();
}

#[test]
fn a_place_is_one_trunks_alone_down_to_the_port_and_the_connection() {
    let mut bench = Bench::new();
    let wish = set(&[("sip:a@10.0.0.1", 600)]);
    bench.ask("one", HOME, &wish).unwrap();
    assert_eq!(bench.ask("two", HOME, &wish), Err(Refused::Taken));
    bench.ask("two", "192.0.2.9:5063", &wish).unwrap();
    assert_eq!(bench.trunk_at(&bench.source("192.0.2.9:5063", None)), Some(1));
    assert_eq!(bench.trunk_at(&bench.source("192.0.2.9:5064", None)), None);
    assert_eq!(bench.trunk_at(&bench.source(HOME, Some(1))), None, "another transport");
    // The same contact in both: neither touches the other's.
    bench.ask("two", "192.0.2.9:5063", &Wish::RemoveAll).unwrap();
    assert_eq!(bench.uris("one"), ["sip:a@10.0.0.1"]);
    let first = bench.source("192.0.2.9:6000", Some(1));
    let second = bench.source("192.0.2.9:6000", Some(2));
    bench.ask_by("two", &first, &wish).unwrap();
    assert_eq!((bench.trunk_at(&first), bench.trunk_at(&second)), (Some(1), None));
    assert!(bench.registrar.leans_on(FlowId(1)) && !bench.registrar.leans_on(FlowId(2)));
    assert!(bench.registrar.closed(FlowId(2)).is_empty());
    assert_eq!(bench.registrar.closed(FlowId(1))[0].what, What::Disconnected);
    assert!(bench.registrar.contacts("two").is_empty());
    assert_eq!(bench.uris("one"), ["sip:a@10.0.0.1"]);
    bench.check();
}

#[test]
fn only_from_its_networks_and_by_its_transports() {
    let mut config = registering();
    let rules = config.trunks[0].registrar.as_mut().unwrap();
    rules.networks = vec!["192.0.2.0/24".parse().unwrap()];
    rules.transports = vec![config::Transport::Tcp];
    let mut bench = Bench::new();
    bench.registrar.replace(&routes(config.clone()));
    let wish = set(&[("sip:a@10.0.0.1", 600)]);
    assert_eq!(bench.ask("one", HOME, &wish), Err(Refused::Elsewhere));
    let elsewhere = bench.source("198.51.100.1:5060", Some(1));
    assert_eq!(bench.ask_by("one", &elsewhere, &wish), Err(Refused::Elsewhere));
    let here = bench.source(HOME, Some(1));
    assert_eq!(bench.ask_by("one", &here, &wish), Ok(vec![What::Registered]));
    assert!(bench.registrar.opens(&bench.source("203.0.113.1:1", None)), "the other may");
    config.trunks[1].registrar = None;
    bench.registrar.replace(&routes(config));
    assert!(!bench.registrar.opens(&bench.source(HOME, None)), "by TCP alone");
    assert!(!bench.registrar.expects(bench.local, "203.0.113.1".parse().unwrap()));
    assert!(bench.registrar.opens(&here));
}

#[test]
fn a_reload_leaves_those_of_trunks_that_remain() {
    let mut bench = Bench::new();
    let wish = set(&[("sip:a@10.0.0.1", 600)]);
    bench.ask("one", HOME, &wish).unwrap();
    bench.ask("two", "192.0.2.9:5063", &wish).unwrap();
    let mut config = registering();
    config.trunks.swap(0, 1);
    assert!(bench.registrar.replace(&routes(config.clone())).is_empty());
    assert_eq!(bench.trunk_at(&bench.source(HOME, None)), Some(1), "where it stands now");
    config.trunks[0].authenticate.as_mut().unwrap().password = Secret::of("another");
    let gone = bench.registrar.replace(&routes(config.clone()));
    assert_eq!((gone.len(), &gone[0].trunk[..], gone[0].what), (1, "two", What::Dropped));
    config.trunks.remove(1);
    assert_eq!(bench.registrar.replace(&routes(config)).len(), 1);
    assert_eq!(bench.trunk_at(&bench.source(HOME, None)), None);
    assert_eq!(bench.registrar.user(bench.local, "user-one"), None);
    bench.check();
}

#[test]
fn what_is_kept_is_taken_up_but_for_what_was_on_connections() {
    let mut bench = Bench::new();
    let wall = |seconds: u64| UNIX_EPOCH + Duration::from_secs(1_795_000_000 + seconds);
    bench.ask("one", HOME, &set(&[("sip:a@10.0.0.1", 600)])).unwrap();
    let stream = bench.source("192.0.2.9:6000", Some(1));
    bench.ask_by("two", &stream, &set(&[("sip:b@10.0.0.1", 600)])).unwrap();
    let kept = bench.registrar.kept(bench.now, wall(0));
    let text = serde_json::to_string(&kept).unwrap();
    let learn = |wall: SystemTime| {
        let mut next = Bench::new();
        let kept = serde_json::from_str(&text).unwrap();
        let lost = next.registrar.learn(kept, next.now, wall);
        next.check();
        (next, lost)
    };
    let (next, lost) = learn(wall(100));
    assert_eq!((lost.len(), &lost[0].trunk[..], lost[0].what), (1, "two", What::Disconnected));
    assert_eq!(next.uris("one"), ["sip:a@10.0.0.1"]);
    assert_eq!(next.registrar.contacts("one")[0].left(next.now), 500 * SECOND);
    assert_eq!(next.trunk_at(&next.source(HOME, None)), Some(0));
    assert!(next.uris("two").is_empty());
    // A repeat of what was served before the restart is still one.
    let (mut next, _) = learn(wall(100));
    assert_eq!(next.ask("one", HOME, &set(&[("sip:a@10.0.0.1", 600)])), Err(Refused::Overtaken));
    assert!(learn(wall(600)).0.uris("one").is_empty(), "its time is over");
    let (late, _) = learn(wall(0) - Duration::from_secs(86_400));
    assert_eq!(late.registrar.contacts("one")[0].left(late.now), 1800 * SECOND);
}
