//! Calls (200; 1,000 in `make soak`) of every kind at a time, drawn from a seed, twenty a second, over lines to the trunks
//! that lose 2 % and disorder 3 %: each ends as it should, nothing of it is left, and the records say what the ends saw.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::time::Duration;

use lab::capture::Record;
use lab::conformance::{Mix, mix, set};
use lab::sip::Message;
use serde_json::Value;

use crate::harness::gateway::Gateway;
use crate::harness::watchdog::Watchdog;

/// How a call ended, by what its ends captured.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Not answered; with this status to the caller.
    Refused(u16),
    /// Answered; one of the ends said BYE.
    HungUp,
}

/// Of the leg on which an end of the lab called: what it was told, by the final answer that it saw first.
fn told(leg: &[&Record]) -> Option<End> {
    let invite = |message: &Message| message.method() == "INVITE";
    let first = leg.first().filter(|r| r.sent && r.message.is_request() && invite(&r.message))?;
    let cseq = first.message.cseq();
    let finals = leg.iter().filter(|r| !r.sent && invite(&r.message) && r.message.cseq() == cseq);
    let status = finals.map(|r| r.message.status()).find(|status| *status >= 200)?;
    Some(if status < 300 { End::HungUp } else { End::Refused(status) })
}

#[test]
fn calls_of_every_kind_over_bad_lines_end_as_they_should() {
    let number = |name: &str, usual: u64| {
        env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    let (calls, seed) = (number("TRUNKGATE_MIX_CALLS", 200), number("TRUNKGATE_SEED", 1));
    println!("TRUNKGATE_MIX_CALLS={calls} TRUNKGATE_SEED={seed}");
    let _limit = Watchdog::start("mix", Duration::from_secs(120 + calls / 4));
    let dir = tempfile::tempdir().expect("a directory");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let own = runtime.block_on(set(dir.path())).expect("a stage");
    let gateway = Gateway::start(&own.config, dir.path().join("state"), own.admin);
    let plan = Mix { calls, rate: 20, seed, lost: 2, late: 3 };
    let mixed = runtime.block_on(mix(&own.stage, plan, &|line| println!("{line}")));
    let mut played: BTreeMap<u16, usize> = BTreeMap::new();
    for entry in &mixed.entries {
        *played.entry(entry.rule.number).or_default() += 1;
    }
    println!("{} calls in {} plays: {played:?}", mixed.calls, mixed.entries.len());
    let broken: Vec<String> = mixed.broken().map(|entry| entry.whole()).collect();
    assert!(
        broken.is_empty(),
        "{} of {}:\n{}",
        broken.len(),
        mixed.entries.len(),
        broken.join("\n")
    );

    // A trunk that missed the last answer hears BYE for 32 s (RFC 3261 §17.1.2.2).
    let end = std::time::Instant::now() + Duration::from_secs(45);
    for figure in ["trunkgate_active_calls", "trunkgate_media_sessions", "trunkgate_transactions"] {
        while gateway.figure(figure) > 0.0 && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(gateway.figure(figure), 0.0, "{figure}");
    }
    gateway.until("all ports are back", || {
        let pairs = |which: &str| gateway.figure(&format!("trunkgate_{which}_port_pairs"));
        pairs("free") > 0.0 && pairs("free") == pairs("bound")
    });
    assert_eq!(gateway.count("trunkgate_faults_total"), 0.0);
    judge(&gateway.records(), &own.stage.log().all());
}

/// Each call that the lab placed has one record, which says of its end what the caller saw.
fn judge(records: &[Value], captured: &[Record]) {
    let mut legs: HashMap<&str, Vec<&Record>> = HashMap::new();
    for record in captured {
        legs.entry(record.message.call_id()).or_default().push(record);
    }
    let mut by_leg: HashMap<&str, Vec<&Value>> = HashMap::new();
    for record in records {
        let id = record["legs"][0]["call_id"].as_str().expect("a Call-ID");
        by_leg.entry(id).or_default().push(record);
    }
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let placed: Vec<_> = legs.iter().filter_map(|(id, leg)| Some((*id, told(leg)?))).collect();
    assert!(placed.len() > 50, "{}", placed.len());
    let mut taken_over = 0;
    for (id, end) in placed {
        let found = by_leg.get(id).map_or(&[][..], |all| all);
        let [record] = found else {
            // A leg that came by Replaces belongs to the call whose leg it took.
            let of = |record: &&Value| {
                let legs = record["legs"].as_array().expect("legs");
                legs.iter().skip(1).any(|leg| leg["call_id"] == id && leg["role"] == "target")
            };
            assert!(found.is_empty() && records.iter().filter(of).count() == 1, "{id}: {found:?}");
            taken_over += 1;
            continue;
        };
        let by = record["ended_by"].as_str().expect("who");
        match end {
            End::HungUp => {
                assert!(!record["t_answer"].is_null(), "{record}");
                assert!(["caller", "callee"].contains(&by), "{record}");
                assert_eq!(record["cause"]["sip"], 200, "{record}");
            }
            End::Refused(status) => {
                assert!(record["t_answer"].is_null(), "{record}");
                let sip = record["cause"]["sip"].as_u64().expect("a status");
                // Who gave up was told 487; what a trunk says of itself reaches Teams by its map.
                let same = sip == u64::from(status) || [500, 502].contains(&sip) && status == 503;
                assert!(same, "{status}: {record}");
            }
        }
        *kinds.entry(format!("{by} {}", record["cause"]["sip"])).or_default() += 1;
    }
    println!("{kinds:?}, {taken_over} taken over");
}
