//! A locator on a bench: a zone from words, a resolver that answers from it, virtual time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::*;

/// A resolver with one zone.
pub(super) struct Bench {
    pub(super) locator: Locator,
    pub(super) zone: HashMap<(String, Kind), Answer>,
    pub(super) asked: Vec<String>,
    pub(super) now: Instant,
    next_id: u64,
}

pub(super) fn bench(zone: &[(&str, &[&str])]) -> Bench {
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    let now = Instant::now();
    let mut bench = Bench {
        locator: Locator::new(HashMap::new(), [7; 32]),
        zone: HashMap::new(),
        asked: Vec::new(),
        now,
        next_id: 0,
    };
    for (name, records) in zone {
        bench.set(name, 300, records);
    }
    bench
}

/// "A 10.0.0.1", "SRV 10 60 5060 a.example", "NAPTR 50 50 s SIPS+D2T name".
pub(super) fn record(text: &str) -> (Kind, Record) {
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        ["A", ip] => (Kind::A, Record::Address(ip.parse().unwrap())),
        ["AAAA", ip] => (Kind::Aaaa, Record::Address(ip.parse().unwrap())),
        ["SRV", priority, weight, port, target] => (
            Kind::Srv,
            Record::Srv {
                priority: priority.parse().unwrap(),
                weight: weight.parse().unwrap(),
                port: port.parse().unwrap(),
                target: target.to_owned(),
            },
        ),
        ["NAPTR", order, preference, flags, service, replacement] => (
            Kind::Naptr,
            Record::Naptr {
                order: order.parse().unwrap(),
                preference: preference.parse().unwrap(),
                flags: flags.to_owned(),
                service: service.to_owned(),
                replacement: replacement.to_owned(),
            },
        ),
        _ => panic!("{text}"),
    }
}

pub(super) fn to(host: &str) -> Destination {
    Destination {
        host: host.to_owned(),
        port: None,
        transport: None,
        secure: false,
        family: Family::Any,
    }
}

pub(super) fn by(host: &str, transport: Transport) -> Destination {
    Destination { transport: Some(transport), ..to(host) }
}

pub(super) fn text(result: &Located) -> Vec<String> {
    match result {
        Ok(addresses) => {
            addresses.iter().map(|at| format!("{} {}", at.transport, at.addr)).collect()
        }
        Err(error) => vec![format!("{error:?}")],
    }
}

impl Bench {
    /// Replaces the records under a name.
    pub(super) fn set(&mut self, name: &str, ttl: u64, records: &[&str]) {
        self.zone.retain(|(other, _), _| other != name);
        for text in records {
            let (kind, record) = record(text);
            let answer = self
                .zone
                .entry((name.to_owned(), kind))
                .or_insert(Answer::Found { records: Vec::new(), ttl: Duration::from_secs(ttl) });
            if let Answer::Found { records, .. } = answer {
                records.push(record);
            }
        }
    }

    pub(super) fn fail(&mut self, name: &str) {
        for kind in [Kind::Naptr, Kind::Srv, Kind::A, Kind::Aaaa] {
            self.zone.insert((name.to_owned(), kind), Answer::Failed);
        }
    }

    pub(super) fn begin(&mut self, destination: Destination) -> Option<Located> {
        self.next_id += 1;
        self.locator.locate(LookupId(self.next_id), destination, self.now)
    }

    /// Answers all queries from the zone; the look-ups that ended.
    pub(super) fn answer(&mut self) -> Vec<(LookupId, Located)> {
        let mut ended = Vec::new();
        while let Some(output) = self.locator.poll_output() {
            match output {
                Output::Query { id, name, kind } => {
                    self.asked.push(format!("{kind:?} {name}"));
                    let answer = self.zone.get(&(name.to_string(), kind)).cloned();
                    let nothing = Answer::Nothing { ttl: Duration::from_secs(30) };
                    self.locator.handle_answer(id, answer.unwrap_or(nothing), self.now);
                }
                Output::Located { id, result } => ended.push((id, result)),
            }
        }
        ended
    }

    /// Takes the queries without answering them; the look-ups that ended.
    pub(super) fn ignore(&mut self) -> Vec<(LookupId, Located)> {
        let mut ended = Vec::new();
        while let Some(output) = self.locator.poll_output() {
            match output {
                Output::Query { name, kind, .. } => self.asked.push(format!("{kind:?} {name}")),
                Output::Located { id, result } => ended.push((id, result)),
            }
        }
        ended
    }

    /// Locates with a resolver that answers at once.
    pub(super) fn locate(&mut self, destination: Destination) -> Vec<String> {
        if let Some(result) = self.begin(destination) {
            return text(&result);
        }
        let ended = self.answer();
        assert_eq!(ended.len(), 1);
        text(&ended[0].1)
    }

    pub(super) fn pass(&mut self, duration: Duration) -> Vec<(LookupId, Located)> {
        let end = self.now + duration;
        let mut ended = Vec::new();
        while let Some(at) = self.locator.poll_timeout()
            && at <= end
        {
            self.now = self.now.max(at);
            self.locator.handle_timeout(self.now);
            ended.extend(self.answer());
        }
        self.now = end;
        ended
    }

    pub(super) fn asked(&mut self) -> Vec<String> {
        std::mem::take(&mut self.asked)
    }
}
