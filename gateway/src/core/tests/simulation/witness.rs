//! Who watches the line: what reached the gateway and what it sent, whether that reached anybody or not. What it owes is
//! judged by that alone, so that a bad line excuses nothing that is not the line's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_stack::message::{HeaderId, Message, Method};

use super::agent::first_line;
use crate::cdr::{LegRecord, Record};

/// A dialog: the Call-ID, the gateway's tag, the peer's tag.
type Name = (Bytes, Bytes, Bytes);

/// A request of a peer that reached the gateway.
struct Asked {
    /// Its method; a re-INVITE is one of its own.
    kind: String,
    line: String,
    at: Instant,
    answer: Option<u16>,
}

/// A request of the gateway.
struct Asks {
    kind: String,
    line: String,
    since: Instant,
    /// A provisional response has reached it.
    rings: bool,
    answer: Option<u16>,
    /// When that came.
    until: Option<Instant>,
}

/// A dialog that a 2xx has made.
#[derive(Clone, Copy, Default)]
pub(super) struct Made {
    /// When a BYE of the peer reached the gateway.
    pub(super) heard: Option<Instant>,
    /// When the gateway first sent a BYE.
    pub(super) sent: Option<Instant>,
    /// A BYE of the gateway reached the peer.
    pub(super) arrived: bool,
}

#[derive(Default)]
pub(super) struct Witness {
    asked: BTreeMap<(Bytes, Bytes), Asked>,
    dialogs: BTreeMap<Name, Made>,
    /// The INVITEs that began a call at the gateway, by Call-ID: the final status that it sent.
    calls: BTreeMap<Bytes, Option<u16>>,
    /// The same for INVITEs that want to take a place in another call.
    newcomers: BTreeMap<Bytes, Option<u16>>,
    /// REFERs that were accepted, by dialog: whether the last NOTIFY was sent.
    referrals: BTreeMap<Name, (Instant, bool)>,
    /// 2xx that reached the gateway, by dialog and CSeq, and the ACKs that it sent.
    answers: BTreeSet<(Name, u32)>,
    acks: BTreeSet<(Name, u32)>,
    /// The requests that it sent, by branch and method.
    asks: BTreeMap<(Bytes, Bytes), Asks>,
    /// How many messages it sent, by Call-ID.
    sent: BTreeMap<Bytes, usize>,
    pub(super) faults: Vec<String>,
}

impl Witness {
    /// A message reaches the gateway.
    pub(super) fn heard(&mut self, message: &Message, now: Instant) {
        let method = message.method();
        if !message.is_request() {
            let status = message.status();
            match self.asks.get_mut(&transaction(message)) {
                Some(asks) if status >= 200 => {
                    asks.answer.get_or_insert(status);
                    asks.until.get_or_insert(now);
                }
                Some(asks) => asks.rings = true,
                None => {}
            }
            if *method == Method::Invite && (200..300).contains(&message.status()) {
                let name = name(message, message.from_tag(), message.to_tag());
                self.answers.insert((name.clone(), message.cseq()));
                self.dialogs.entry(name).or_default();
            }
            return;
        }
        if *method == Method::Ack {
            return;
        }
        let key = transaction(message);
        let asked =
            || Asked { kind: kind(message), line: first_line(message), at: now, answer: None };
        let known = self.asked.entry(key).or_insert_with(asked);
        if known.answer.is_some() && now - known.at > FORGOTTEN {
            // A repeat that comes after the end of its transaction (RFC 3261 §17.2.1, RFC 6026 §7.1) is a request of its
            // own to the gateway, and may be answered in another way.
            *known = asked();
        }
        match message.to_tag() {
            None if *method == Method::Invite => {
                let replaces = message.value(HeaderId::Replaces).is_some();
                let of_kind = if replaces { &mut self.newcomers } else { &mut self.calls };
                of_kind.entry(message.slice(message.call_id())).or_insert(None);
            }
            Some(_) if *method == Method::Bye => {
                let name = name(message, message.to_tag(), message.from_tag());
                if let Some(made) = self.dialogs.get_mut(&name) {
                    made.heard.get_or_insert(now);
                }
            }
            Some(_) | None => {}
        }
    }

    /// The gateway sends a message.
    pub(super) fn sent(&mut self, message: &Message, now: Instant) {
        *self.sent.entry(message.slice(message.call_id())).or_default() += 1;
        let method = message.method();
        if !message.is_request() {
            return self.answered(message, now);
        }
        let name = name(message, message.from_tag(), message.to_tag());
        if *method == Method::Ack {
            self.acks.insert((name, message.cseq()));
            return;
        }
        if *method == Method::Notify
            && let Some((_, told)) = self.referrals.get_mut(&name)
        {
            let state = message.value(HeaderId::SubscriptionState).unwrap_or_default();
            *told |= state.starts_with(b"terminated");
        }
        let asks = || Asks {
            kind: kind(message),
            line: first_line(message),
            since: now,
            rings: false,
            answer: None,
            until: None,
        };
        self.asks.entry(transaction(message)).or_insert_with(asks);
        if *method == Method::Bye {
            match self.dialogs.get_mut(&name) {
                Some(made) => {
                    made.sent.get_or_insert(now);
                }
                None => self.faults.push(format!("a BYE for no dialog: {}", first_line(message))),
            }
        }
    }

    fn answered(&mut self, message: &Message, now: Instant) {
        let (method, status) = (message.method(), message.status());
        let key = transaction(message);
        let Some(asked) = self.asked.get_mut(&key) else {
            return self.faults.push(format!("a {status} to nothing that was asked"));
        };
        match asked.answer {
            Some(before) if before != status => {
                self.faults.push(format!("{before}, then {status} to {}", asked.line));
            }
            Some(_) | None if status >= 200 => asked.answer = Some(status),
            Some(_) | None => {}
        }
        if *method == Method::Refer && status == 202 {
            let name = name(message, message.to_tag(), message.from_tag());
            self.referrals.entry(name).or_insert((now, false));
        }
        if *method != Method::Invite || status < 200 {
            return;
        }
        for calls in [&mut self.calls, &mut self.newcomers] {
            if let Some(answer) = calls.get_mut(message.call_id()) {
                answer.get_or_insert(status);
            }
        }
        if status < 300 {
            self.dialogs.entry(name(message, message.to_tag(), message.from_tag())).or_default();
        }
    }

    /// A message of the gateway reaches a peer.
    pub(super) fn arrived(&mut self, message: &Message) {
        if message.is_request() && *message.method() == Method::Bye {
            let name = name(message, message.from_tag(), message.to_tag());
            if let Some(made) = self.dialogs.get_mut(&name) {
                made.arrived = true;
            }
        }
    }

    /// What is known of a dialog.
    pub(super) fn dialog(&self, call_id: &Bytes, ours: &Bytes, theirs: &Bytes) -> Made {
        let name = (call_id.clone(), ours.clone(), theirs.clone());
        self.dialogs.get(&name).copied().unwrap_or_default()
    }

    /// Every request that reached the gateway was answered for good, every 2xx acknowledged, every dialog ended by a BYE,
    /// and no call made a storm.
    pub(super) fn judge_messages(&self, now: Instant, faults: &mut Vec<String>) {
        for asked in self.asked.values() {
            // What has come a moment ago may still be on its way through the other side.
            if asked.answer.is_none() && now - asked.at > LONGEST_ANSWER {
                faults.push(format!("never answered: {}", asked.line));
            }
            // Whatever the other side does, a leg is told before it stops waiting for its owner.
            if asked.kind == "re-INVITE" && asked.answer == Some(504) {
                faults.push(format!("left undecided: {}", asked.line));
            }
        }
        for ((branch, _), asks) in &self.asks {
            let cancelled = || self.asks.contains_key(&(branch.clone(), CANCEL));
            let long = asks.until.unwrap_or(now) - asks.since > LONGEST_RINGING;
            if asks.kind == "INVITE" && asks.rings && long && !cancelled() {
                faults.push(format!("left ringing: {}", asks.line));
            }
        }
        for (name, cseq) in self.answers.difference(&self.acks) {
            faults.push(format!("never acknowledged: the 2xx of CSeq {cseq} in {}", show(name)));
        }
        for (name, made) in &self.dialogs {
            if made.heard.is_none() && made.sent.is_none() {
                faults.push(format!("no BYE in {}", show(name)));
            }
        }
        for (call_id, count) in &self.sent {
            if *count > STORM {
                faults.push(format!("{count} messages in {}", String::from_utf8_lossy(call_id)));
            }
        }
    }

    /// Whoever asked for a transfer was told how it ended, unless the call ended first.
    pub(super) fn judge_referrals(&self, now: Instant, faults: &mut Vec<String>) {
        for (name, (since, told)) in &self.referrals {
            let made = self.dialogs.get(name).copied().unwrap_or_default();
            let ended = made.heard.is_some() || made.sent.is_some();
            if !told && !ended && now - *since > LONGEST_TRANSFER {
                faults.push(format!("a referrer was told no end in {}", show(name)));
            }
        }
    }

    /// Each call has one record, which tells what was seen.
    pub(super) fn judge_records(&self, records: &[Record], faults: &mut Vec<String>) {
        // Who was taken into a call stands in its record; who was refused has one of its own.
        let refused = |answer: &&Option<u16>| answer.is_some_and(|status| status >= 300);
        let calls = self.calls.len() + self.newcomers.values().filter(refused).count();
        if records.len() != calls {
            faults.push(format!("{calls} calls, {} records", records.len()));
        }
        for (call_id, answer) in &self.newcomers {
            let of_leg = |leg: &LegRecord| leg.call_id.as_bytes() == call_id;
            let named = records.iter().filter(|record| record.legs.iter().any(of_leg)).count();
            if named != 1 {
                let name = String::from_utf8_lossy(call_id);
                faults.push(format!(
                    "{name} took a place ({answer:?}), and stands in {named} records"
                ));
            }
        }
        for (call_id, answer) in &self.calls {
            let own = |record: &&Record| record.legs[0].call_id.as_bytes() == call_id;
            let name = String::from_utf8_lossy(call_id);
            let mut of_call = records.iter().filter(own);
            let (Some(record), None) = (of_call.next(), of_call.next()) else {
                faults.push(format!("not one record of {name}"));
                continue;
            };
            let Some(status) = *answer else { continue };
            let told = (record.cause.sip, record.ended_by.as_str());
            let answered = record.t_answer.is_some();
            if answered != (200..300).contains(&status) {
                faults.push(format!("{name} was answered {status}, its record says {told:?}"));
            }
            if !answered && !tells(record.cause.sip, status) {
                faults.push(format!("{name} was refused with {status}, its record says {told:?}"));
            }
            if !answered || record.ended_by == "gateway" {
                continue;
            }
            // After a transfer a side is whoever has its place.
            let of_side = |leg: &&LegRecord| record.legs.len() > 2 || leg.role == record.ended_by;
            let of_call = |id: &Bytes| {
                record.legs.iter().filter(of_side).any(|leg| leg.call_id.as_bytes() == id)
            };
            let mut dialogs = self.dialogs.iter().filter(|((id, ..), _)| of_call(id));
            if !dialogs.any(|(_, made)| made.heard.is_some()) {
                faults.push(format!("{name} was ended by {told:?}, who has said no BYE"));
            }
        }
    }

    /// Whether every call was answered by a 2xx.
    pub(super) fn all_answered(&self) -> bool {
        self.calls.values().all(|answer| answer.is_some_and(|status| status < 300))
    }

    /// How often what was answered how: requests of peers, and those of the gateway.
    pub(super) fn tally(&self, tally: &mut BTreeMap<String, usize>) {
        let word =
            |answer: &Option<u16>| answer.map_or("-".to_owned(), |status| status.to_string());
        let asked = self.asked.values().map(|a| format!("{} {}", a.kind, word(&a.answer)));
        let asks = self.asks.values().map(|a| format!("our {} {}", a.kind, word(&a.answer)));
        for what in asked.chain(asks) {
            *tally.entry(what).or_default() += 1;
        }
    }

    /// The most messages that the gateway has sent in one dialog.
    pub(super) fn most(&self) -> usize {
        self.sent.values().copied().max().unwrap_or(0)
    }
}

/// Whether a record's status stands for what the caller was told (`status_map` of the trunks, and what is not for callers).
const fn tells(recorded: u16, status: u16) -> bool {
    match recorded {
        300..=399 => status == 480,
        401 | 407 => status == 403,
        500 | 502 => status == recorded || status == 503,
        _ => status == recorded,
    }
}

fn name(message: &Message, ours: Option<&[u8]>, theirs: Option<&[u8]>) -> Name {
    let tag = |tag: Option<&[u8]>| Bytes::copy_from_slice(tag.unwrap_or_default());
    (message.slice(message.call_id()), tag(ours), tag(theirs))
}

fn transaction(message: &Message) -> (Bytes, Bytes) {
    let method = Bytes::copy_from_slice(message.method().as_bytes());
    (message.slice(message.branch()), method)
}

fn kind(message: &Message) -> String {
    let again = *message.method() == Method::Invite && message.to_tag().is_some();
    let method = String::from_utf8_lossy(message.method().as_bytes());
    if again {
        return format!("re-{method}");
    }
    let replaces = message.value(HeaderId::Replaces).is_some();
    if replaces { format!("{method} with Replaces") } else { method.into_owned() }
}

fn show((call_id, ours, theirs): &Name) -> String {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{} ({} | {})", text(call_id), text(ours), text(theirs))
}

/// As long as the gateway lets a call ring.
const LONGEST_RINGING: Duration = Duration::from_secs(125);
const CANCEL: Bytes = Bytes::from_static(b"CANCEL");
/// 64 * T1: how long a transaction takes repeats for what they are.
const FORGOTTEN: Duration = Duration::from_secs(32);
/// Longer than a target rings, and than a subscription without a NOTIFY lasts after the last one.
const LONGEST_TRANSFER: Duration = Duration::from_secs(210);
/// Longer than a re-INVITE may lie with its owner, and than its other side may take.
const LONGEST_ANSWER: Duration = Duration::from_secs(130);
/// Messages in one dialog.
const STORM: usize = 250;
