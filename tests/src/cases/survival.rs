//! What happens to calls and records when the process dies, or the disk takes nothing any more.
//!
//! Media of calls that outlive the process are judged by libsrtp: one context for each direction over all lives.
//! `TRUNKGATE_CALLS` sets how many calls are up when the process is killed (`make soak`: 200).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;

use crate::harness::dialog::{Dialog, Persona};
use crate::harness::gateway::Gateway;
use crate::harness::media::{CM_80, Crypto};
use crate::harness::place::{ADMIN, CARRIER_A};
use crate::harness::scene::{Carrier, Scene, TEAMS_CONTACT, Teams, options_without_contact};
use crate::harness::speaking::Speaking;
use crate::harness::talking::{CALLED, CALLER, Talking};
use crate::harness::tape::{Judged, Tape};
use crate::harness::wire::{Inbox, Received};

const TENANT: &str = "t001.sbc.test";
/// Numbers that ring for ever, and numbers that answer at once; the caller never confirms.
const RINGING: &str = "+1555001900";
const ANSWERING: &str = "+1555001910";
const STORM: &str = "storm-";
/// A number behind the trunk.
const NUMBER: &str = "+442079460001";
/// So many packets each way in three seconds make a call that goes on.
const LEAST: usize = 50;

/// Half of the calls from Teams, half from the trunk. libsrtp is the judge of what both ends sent and received.
#[test]
fn r01_answered_calls_survive_kill_9() {
    let rounds = 3;
    let count = std::env::var("TRUNKGATE_CALLS").map_or(60, |n| n.parse().expect("a number"));
    let mut scene = Scene::within("r01_kill_9", Duration::from_secs(300));
    scene.ports("20000-20999").usual_ends();
    let (teams, carrier) =
        (scene.teams_with(1, Box::new(teams_in_a_storm)), scene.carrier_udp(CARRIER_A));
    let mut gateway = scene.start();
    gateway.healthy();
    let (speaking, mut calls, mut judged) = set_up(&scene, &teams, &carrier, count);
    thread::sleep(Duration::from_millis(1500));
    let (storms, mut longest) = (Storms::default(), Duration::ZERO);
    for round in 0..rounds {
        // The last one dies while calls are being set up.
        let storm = (round == rounds - 1).then(|| storms.begin(&carrier));
        if storm.is_some() {
            thread::sleep(Duration::from_millis(700));
        }
        let before = speaking.heard();
        gateway.signal(Signal::KILL);
        gateway.wait(Duration::from_secs(5));
        drop(gateway);
        let died = Instant::now();
        speaking.died();
        let began = Instant::now();
        gateway =
            Gateway::start(&scene.write(), scene.dir().join("state"), scene.place.at(ADMIN, 8080));
        let (took, starved) = (began.elapsed(), gateway.starved());
        answers_options(&teams, &gateway);
        let answering = began.elapsed();
        drop(storm);
        thread::sleep(Duration::from_secs(3));
        let numbers: Vec<_> = calls.iter().map(|call| call.at).collect();
        let (heard, gap) = (speaking.heard(), speaking.longest_gap(died, &numbers));
        for at in &numbers {
            let came = |side: usize| heard[*at][side] > before[*at][side] + LEAST;
            judged[*at].lives += usize::from(came(0) && came(1));
        }
        let alive = numbers.iter().filter(|at| judged[**at].lives == round + 1).count();
        println!(
            "round {round}: {alive} of {} calls go on; ready in {took:?}, of which {starved:?} without a CPU; \
             OPTIONS in {answering:?}, longest gap {gap:?}",
            calls.len()
        );
        assert!(
            alive * 100 >= calls.len() * 99,
            "{alive} of {} calls go on\n{}",
            calls.len(),
            gateway.log()
        );
        assert!(took.saturating_sub(starved) <= Duration::from_secs(1), "{took:?} {starved:?}");
        assert!(gap <= Duration::from_secs(2), "{gap:?}");
        longest = longest.max(gap);
        let left = if round + 1 == rounds { 0 } else { calls.len() - count / rounds };
        hang_up(&teams, &mut calls, left);
    }
    assert!(longest > Duration::ZERO, "the gap was seen");
    let (undecryptable, tape) = speaking.stop();
    assert_eq!(undecryptable, 0, "packets under a key or index that does not fit");
    let verdict = tape.judge(&judged);
    println!("libsrtp, {count} calls: {verdict:?}");
    assert!(verdict.jump > 1, "the index went forward at a restart: {verdict:?}");
    assert!(verdict.reports >= 3 && verdict.least >= LEAST as u64, "{verdict:?}");
    assert!(verdict.packets > (400 * count) as u64, "{verdict:?}");
    // What is left are calls of the storm that came after the restart: nobody confirms them.
    stop_at_once(&mut gateway);
    let storm = storms.taken(&carrier);
    assert!(storm.len() > 20, "{} calls in the storm", storm.len());
    exactly_once(&gateway.records(), count, &storm);
    let journal = fs::read_dir(scene.dir().join("state/journal")).unwrap();
    let left: Vec<_> = journal.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"], "in good order, nothing is left to be taken up");
}

/// R10, by a limit on the size of files in place of a disk that is full.
#[test]
fn r10_calls_go_on_when_nothing_can_be_written_and_every_cdr_comes_later_once() {
    let scene = Scene::usual("r10_disk_full");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let mut gateway = scene.start();
    gateway.healthy();
    let mut before = Talking::incoming_from(&teams, &carrier, CALLED, 7000);
    Talking::incoming_from(&teams, &carrier, CALLED, 7010).carrier_hangs_up();
    gateway.wait_records(1);
    limit_files(&gateway, Some(1));
    for port in 0..5 {
        let mut call = Talking::incoming_from(&teams, &carrier, CALLED, 7020 + 10 * port);
        call.talk();
        if port % 2 == 0 { call.carrier_hangs_up() } else { call.teams_hangs_up() }
    }
    before.talk();
    gateway.until("an alarm", || figure(&gateway, "trunkgate_journal_failed_writes_total") >= 1.0);
    gateway.until("five CDRs in memory", || figure(&gateway, "trunkgate_pending_records") == 5.0);
    assert!(figure(&gateway, "trunkgate_journal_pending_bytes") > 0.0);
    assert_eq!(gateway.records().len(), 1);
    assert_eq!(gateway.get("/health").0, 200, "there is room in memory");
    limit_files(&gateway, None);
    let records = gateway.wait_records(6);
    gateway.until("nothing waits", || {
        figure(&gateway, "trunkgate_pending_records") == 0.0
            && figure(&gateway, "trunkgate_journal_pending_bytes") == 0.0
    });
    before.talk();
    before.teams_hangs_up();
    let ids: BTreeSet<_> = gateway.wait_records(7).iter().map(|r| r["id"].to_string()).collect();
    assert_eq!(ids.len(), 7);
    assert_eq!(gateway.records().len(), 7, "no CDR came twice: {records:?}");
    gateway.signal(Signal::TERM);
    gateway.wait(Duration::from_secs(10));
    assert_eq!(gateway.records().len(), 7);
}

/// Whatever is lost with the memory of a process: a call that it was told on disk is known, and has one CDR.
#[test]
fn a_call_that_ended_while_the_disk_was_full_has_one_cdr_though_the_process_died() {
    let scene = Scene::usual("full_and_killed");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let mut gateway = scene.start();
    gateway.healthy();
    let call = Talking::incoming_from(&teams, &carrier, CALLED, 7000);
    gateway
        .until("the call is kept", || figure(&gateway, "trunkgate_journal_entries_total") >= 2.0);
    limit_files(&gateway, Some(1));
    let call_id = call.carrier.call_id.clone();
    call.carrier_hangs_up();
    gateway.until("its CDR waits", || figure(&gateway, "trunkgate_pending_records") == 1.0);
    gateway.signal(Signal::KILL);
    gateway.wait(Duration::from_secs(5));
    assert!(gateway.records().is_empty());
    drop(gateway);
    let mut gateway = scene.start();
    // Its end was never on disk, so that it goes on, until this process ends it.
    gateway.until("it is taken up", || figure(&gateway, "trunkgate_active_calls") == 1.0);
    stop_at_once(&mut gateway);
    let records = gateway.records();
    let [record] = &records[..] else { panic!("one CDR: {records:?}") };
    assert_eq!(record["legs"][0]["call_id"], call_id.as_str());
    assert_eq!(record["ended_by"], "gateway");
}

/// Ends every call.
fn stop_at_once(gateway: &mut Gateway) {
    gateway.signal(Signal::TERM);
    gateway.until("it stops", || gateway.log().contains("stopping: no new calls"));
    gateway.signal(Signal::TERM);
    gateway.wait(Duration::from_secs(10));
}

fn figure(gateway: &Gateway, name: &str) -> f64 {
    let text = gateway.get("/metrics").1;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

/// No file may be longer than that from now on.
fn limit_files(gateway: &Gateway, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(gateway.pid()).unwrap());
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

/// A call of which both ends speak.
struct Up {
    at: usize,
    teams: Dialog,
    carrier: Dialog,
}

/// Calls from the trunk to Teams and back in turn; their media go on by themselves, and are recorded.
fn set_up(
    scene: &Scene,
    teams: &Teams,
    carrier: &Carrier,
    count: usize,
) -> (Speaking, Vec<Up>, Vec<Judged>) {
    let flow = teams.connect(TENANT);
    let (mut ends, mut calls, mut judged) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..count {
        let port = 7000 + 4 * u16::try_from(at).unwrap();
        let call = if at % 2 == 0 {
            Talking::incoming_from(teams, carrier, CALLED, port)
        } else {
            Talking::outgoing_from(teams, &flow, TENANT, carrier, (NUMBER, port))
        };
        let Talking { teams, carrier, teams_media, carrier_media, own, theirs, .. } = call;
        ends.push([carrier_media, teams_media]);
        calls.push(Up { at, teams, carrier });
        judged.push(Judged { call: at, own, theirs, lives: 0, least: LEAST });
    }
    (Speaking::begin(ends, Tape::new(&scene.dir().join("tape"))), calls, judged)
}

/// Ends calls until so many are left, by one side and the other in turn, Teams on a new connection.
fn hang_up(teams: &Teams, calls: &mut Vec<Up>, left: usize) {
    let flow = teams.connect(TENANT);
    for mut call in calls.split_off(left) {
        // By the side that called, and by the other.
        if call.at / 2 % 2 == 0 {
            call.carrier.send("BYE", "", "");
            call.teams.hung_up();
            call.carrier.took_200("BYE");
        } else {
            call.teams.flow = flow.clone();
            call.teams.send("BYE", "", "");
            call.carrier.hung_up();
            call.teams.took_200("BYE");
        }
    }
}

fn answers_options(teams: &Teams, gateway: &Gateway) {
    let call_id = teams.ping(&teams.connect("sbc.test"), "sbc.test");
    let answer =
        teams.inbox.take("200 to OPTIONS", |r| !r.msg.is_request() && r.msg.call_id() == call_id);
    assert_eq!(answer.msg.status(), 200, "{}", gateway.log());
}

/// Teams answers calls of the storm by itself: some ring, some are answered.
fn teams_in_a_storm(received: &Received) -> bool {
    let msg = &received.msg;
    let to = msg.get("To").unwrap_or_default();
    let storm = msg.is_request() && (to.contains(RINGING) || to.contains(ANSWERING));
    if !storm {
        return options_without_contact(received);
    }
    if msg.method() == "INVITE" && msg.to_tag().is_none() {
        let persona = Persona {
            inbox: Inbox::new("none", Box::new(|_| true)),
            sent_by: String::new(),
            contact: TEAMS_CONTACT.to_owned(),
            extra: String::new(),
            record_route: None,
        };
        let dialog = Dialog::answering(&persona, received);
        let text = if to.contains(RINGING) {
            dialog.reply_text(msg, "180 Ringing", "", "")
        } else {
            let own = Crypto::fresh(1, CM_80);
            let ip = received.flow.local().ip();
            let sdp = format!(
                "v=0\r\no=- 1 0 IN IP4 {ip}\r\ns=session\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 6000 RTP/SAVP 0\r\n\
                 a=rtpmap:0 PCMU/8000\r\na=crypto:{}\r\na=sendrecv\r\n",
                own.write()
            );
            dialog.reply_text(msg, "200 OK", "", &sdp)
        };
        // The gateway may be dead by now.
        drop(received.flow.try_send(text.as_bytes()));
    } else if msg.method() != "ACK" {
        let text: String = ["Via", "From", "To", "Call-ID", "CSeq"]
            .iter()
            .flat_map(|name| msg.all(name).map(move |value| format!("{name}: {value}\r\n")))
            .collect();
        let text = format!("SIP/2.0 200 OK\r\n{text}Content-Length: 0\r\n\r\n");
        drop(received.flow.try_send(text.as_bytes()));
    }
    true
}

/// INVITEs that nobody cares for.
#[derive(Default)]
struct Storms {
    sent: Arc<Mutex<Vec<String>>>,
}

/// Goes on until it is dropped.
struct Storm {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Storms {
    fn begin(&self, carrier: &Carrier) -> Storm {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, sent) = (Arc::clone(&stop), Arc::clone(&self.sent));
        let (flow, ip) = (carrier.flow.clone(), carrier.ip());
        let thread = thread::spawn(move || {
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let called =
                    format!("{}{}", if number % 2 == 0 { RINGING } else { ANSWERING }, number % 10);
                let (call_id, gateway) = (format!("{STORM}{number}"), flow.remote());
                let sdp = format!(
                    "v=0\r\no=- 1 0 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n"
                );
                let text = format!(
                    "INVITE sip:{called}@{gateway} SIP/2.0\r\nVia: SIP/2.0/UDP {ip}:5060;branch=z9hG4bK-{call_id}\r\n\
                     Max-Forwards: 70\r\nFrom: <sip:{CALLER}@{ip}>;tag={call_id}\r\nTo: <sip:{called}@{gateway}>\r\n\
                     Call-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContact: <sip:{ip}:5060>\r\n\
                     Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
                    sdp.len()
                );
                sent.lock().unwrap().push(call_id);
                // A closed port is told by ICMP.
                drop(flow.try_send(text.as_bytes()));
                thread::sleep(Duration::from_millis(8));
            }
        });
        Storm { stop, thread: Some(thread) }
    }

    /// The Call-IDs of those that the gateway took: it said 100. What waited in its socket while it started may be shed
    /// with a 503 of which nothing is kept.
    fn taken(&self, carrier: &Carrier) -> BTreeSet<String> {
        let heard: BTreeSet<String> = carrier
            .inbox
            .all()
            .iter()
            .filter(|r| r.msg.status() == 100)
            .map(|r| r.msg.call_id().to_owned())
            .collect();
        self.sent.lock().unwrap().iter().filter(|id| heard.contains(*id)).cloned().collect()
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// One record for each call that was up, which says that it was hung up, and one for each of the storm.
fn exactly_once(records: &[Value], calls: usize, storm: &BTreeSet<String>) {
    let mut by_call: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for record in records {
        by_call.entry(record["legs"][0]["call_id"].as_str().unwrap()).or_default().push(record);
    }
    let twice: Vec<_> = by_call.values().filter(|records| records.len() > 1).collect();
    assert!(twice.is_empty(), "more than one CDR: {twice:#?}");
    let missing: Vec<_> = storm.iter().filter(|id| !by_call.contains_key(id.as_str())).collect();
    assert!(missing.is_empty(), "without a CDR: {missing:?}");
    let up = by_call.iter().filter(|(id, _)| !id.starts_with(STORM));
    let ended: Vec<_> = up.map(|(_, records)| records[0]["cause"]["sip"].as_u64()).collect();
    assert_eq!(ended, vec![Some(200); calls]);
    let cut = records
        .iter()
        .filter(|record| record["cause"]["text"] == "cut by a restart of the gateway")
        .count();
    println!("{} CDRs, {cut} of calls that were cut", records.len());
}
