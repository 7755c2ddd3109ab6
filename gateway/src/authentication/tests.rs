//! Every row of the table, and 1,000 guesses.

use config::Secret;
use sip_stack::auth::{self, Session};
use sip_stack::message::{Draft, HeaderId, Method};

use super::*;

const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const ROLE: Role = Role::Proxy;
const URI: &str = "sip:+442079460001@gw";
const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    gate: Gate,
    login: Login,
    wall: SystemTime,
    now: Instant,
    salt: u8,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "any instant will do to count from")]
    fn new() -> Self {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        Self {
            gate: Gate::new(&[7; 32], wall),
            login: Login {
                realm: "sbc.test".to_owned(),
                username: "pbx".to_owned(),
                password: Secret::of("word"),
            },
            wall,
            now: Instant::now(),
            salt: 0,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.wall += time;
        self.now += time;
    }

    fn claim(login: &Login) -> Claim<'_> {
        Claim { role: ROLE, scope: "a", name: "a", source: SOURCE, login }
    }

    fn judge(&mut self, request: &Message) -> Verdict {
        let (wall, now) = (self.wall, self.now);
        self.gate.judge(Self::claim(&self.login), request, wall, now)
    }

    fn challenges(&mut self, flaw: Option<Flaw>) -> Vec<Challenge> {
        self.salt += 1;
        let of = (ROLE, "a", self.login.realm.as_str());
        let values = self.gate.challenges(of, flaw, self.wall, [self.salt; 4]);
        values.iter().map(|value| Challenge::parse(ROLE, value).unwrap()).collect()
    }

    /// A client that answers the first challenge, or the second.
    fn session(&mut self, which: usize) -> Session {
        let challenge = self.challenges(None).swap_remove(which);
        Session::new(challenge, "c".into())
    }
}

fn answer(session: &mut Session, username: &str, password: &str) -> Message {
    let login = auth::Login { username, password };
    invite(Some(&session.answer(login, &Method::Invite, URI.as_bytes()).write()))
}

fn invite(answer: Option<&[u8]>) -> Message {
    let mut draft = Draft::request(Method::Invite, URI);
    for (id, value) in [
        (HeaderId::Via, "SIP/2.0/UDP a;branch=z9hG4bKx"),
        (HeaderId::From, "<sip:a@a>;tag=1"),
        (HeaderId::To, "<sip:b@b>"),
        (HeaderId::CallId, "c"),
        (HeaderId::CSeq, "1 INVITE"),
    ] {
        draft.push(id, value);
    }
    if let Some(answer) = answer {
        draft.push(HeaderId::ProxyAuthorization, Bytes::copy_from_slice(answer));
    }
    Message::parse(draft.write()).unwrap()
}

fn flawed(flaw: Flaw) -> Verdict {
    Verdict::Challenge(Some(flaw))
}

#[test]
fn both_algorithms_are_offered_the_stronger_first_and_either_is_taken() {
    let mut bench = Bench::new();
    assert_eq!(bench.judge(&invite(None)), Verdict::Challenge(None));
    let names: Vec<_> = bench.challenges(None).iter().map(|c| c.algorithm.name()).collect();
    assert_eq!(names, ["SHA-256", "MD5"]);
    for which in [0, 1] {
        let mut session = bench.session(which);
        for _ in 0..3 {
            assert_eq!(bench.judge(&answer(&mut session, "pbx", "word")), Verdict::Proven);
        }
    }
}

#[test]
fn at_10_unknown_users_and_wrong_passwords_get_one_answer() {
    let mut bench = Bench::new();
    let mut session = bench.session(0);
    for (username, password) in [("pbx", "Word"), ("abc", "word"), ("pbx2", "word"), ("pbx", "x")] {
        assert_eq!(bench.judge(&answer(&mut session, username, password)), flawed(Flaw::Wrong));
    }
    assert!(bench.challenges(Some(Flaw::Wrong)).iter().all(|challenge| !challenge.stale));
    assert_eq!(bench.judge(&answer(&mut session, "pbx", "word")), Verdict::Proven);
}

#[test]
fn at_10_a_thousand_guesses_are_five_and_then_a_few() {
    let mut bench = Bench::new();
    let mut looked_at = 0;
    for n in 0..1000 {
        let mut session = bench.session(0);
        let verdict = bench.judge(&answer(&mut session, "pbx", &n.to_string()));
        match verdict {
            Verdict::Challenge(Some(Flaw::Wrong)) => looked_at += 1,
            Verdict::LockedOut => {}
            Verdict::Proven | Verdict::Challenge(_) => panic!("{verdict:?}"),
        }
        bench.salt = 0;
        bench.pass(SECOND);
    }
    // 5 at once, then after 30 s, 60 s, 120 s, 240 s, 480 s.
    assert_eq!(looked_at, 10);
    // The right one is not looked at either, until the time is over.
    let mut session = bench.session(0);
    assert_eq!(bench.judge(&answer(&mut session, "pbx", "word")), Verdict::LockedOut);
    bench.pass(1800 * SECOND);
    let mut session = bench.session(0);
    assert_eq!(bench.judge(&answer(&mut session, "pbx", "word")), Verdict::Proven);
}

#[test]
fn at_10_a_stale_nonce_is_said_to_be_so_only_to_who_has_the_password() {
    let mut bench = Bench::new();
    let mut session = bench.session(0);
    bench.pass(LIFE + SECOND);
    assert_eq!(bench.judge(&answer(&mut session, "pbx", "x")), flawed(Flaw::Wrong));
    assert_eq!(bench.judge(&answer(&mut session, "pbx", "word")), flawed(Flaw::Stale));
    assert!(bench.challenges(Some(Flaw::Stale)).iter().all(|challenge| challenge.stale));
    // Another process of the same state directory knows the nonce, but not what was answered under it.
    let mut session = bench.session(0);
    bench.pass(SECOND);
    bench.gate = Gate::new(&[7; 32], bench.wall);
    assert_eq!(bench.judge(&answer(&mut session, "pbx", "word")), flawed(Flaw::Stale));
    let mut session = bench.session(0);
    assert_eq!(bench.judge(&answer(&mut session, "pbx", "word")), Verdict::Proven);
}

#[test]
fn at_10_forged_nonces_and_replays_prove_nothing() {
    let mut bench = Bench::new();
    let mut session = bench.session(0);
    let request = answer(&mut session, "pbx", "word");
    assert_eq!(bench.judge(&request), Verdict::Proven);
    for _ in 0..100 {
        assert_eq!(bench.judge(&request), flawed(Flaw::Replayed));
    }
    assert!(bench.challenges(Some(Flaw::Replayed)).iter().all(|challenge| challenge.stale));
    assert_eq!(bench.judge(&answer(&mut session, "pbx", "word")), Verdict::Proven);
    // Made by whoever has the password, but not the key.
    let mut challenge = bench.challenges(None).swap_remove(0);
    challenge.nonce = "0".repeat(64).into();
    let mut forged = Session::new(challenge, "c".into());
    assert_eq!(bench.judge(&answer(&mut forged, "pbx", "word")), flawed(Flaw::Forged));
    // Of another trunk.
    let other = (ROLE, "b", bench.login.realm.as_str());
    let value = bench.gate.challenges(other, None, bench.wall, [1; 4]).swap_remove(0);
    let mut other = Session::new(Challenge::parse(ROLE, &value).unwrap(), "c".into());
    assert_eq!(bench.judge(&answer(&mut other, "pbx", "word")), flawed(Flaw::Forged));
}

#[test]
fn what_is_for_another_realm_is_none_of_ours_and_what_cannot_be_read_is_wrong() {
    let mut bench = Bench::new();
    let foreign = "Digest username=\"pbx\", realm=\"else\", nonce=\"n\", uri=\"u\", response=\"r\"";
    assert_eq!(bench.judge(&invite(Some(foreign.as_bytes()))), Verdict::Challenge(None));
    let mut session = bench.session(0);
    let login = auth::Login { username: "pbx", password: "word" };
    let elsewhere = session.answer(login, &Method::Invite, b"sip:else@gw").write();
    let plain =
        "Digest username=\"pbx\", realm=\"sbc.test\", nonce=\"n\", uri=\"u\", response=\"r\"";
    for value in [&b"Digest"[..], b"Basic eDp5", &elsewhere, plain.as_bytes()] {
        assert_eq!(bench.judge(&invite(Some(value))), flawed(Flaw::Malformed));
    }
}
