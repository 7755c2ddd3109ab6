//! RTP bleed and injection (AT-39; CVE-2017-14099, CVE-2025-53399): ten addresses send to every media port of a call while
//! it is set up, while it talks and while it is held. No media leaves to them, none of theirs arrives, the call is unhurt.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::harness::dialog::Dialog;
use crate::harness::media::{MediaEnd, talk};
use crate::harness::place::{CARRIER_A, EDGE, PROXY, Place};
use crate::harness::scene::{Carrier, Scene, Teams};
use crate::harness::sip::Msg;
use crate::harness::talking::{CALLED, CALLER, answer_to};

const ATTACKERS: u8 = 10;
/// The first host of theirs.
const FIRST: u8 = 100;
/// What their packets carry, and nobody else's.
const MARK: u8 = 0xee;

/// Ten addresses that send without pause, and what they were sent.
struct Spray {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<usize>,
}

impl Spray {
    /// To these ports and to the RTCP ports beside them. `like` is the source that the carrier uses: SSRC and sequence are
    /// no secret.
    fn begin(place: Place, ports: Vec<SocketAddr>, like: (u32, u16)) -> Self {
        let sockets: Vec<_> = (0..ATTACKERS)
            .map(|n| {
                let socket = UdpSocket::bind(place.at(FIRST + n, 7000)).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            })
            .collect();
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            let (mut round, mut bled) = (0_u16, 0);
            let mut buffer = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                for socket in &sockets {
                    for port in &ports {
                        let apart = SocketAddr::new(port.ip(), port.port() + 1);
                        let packet = &packets(like, round)[usize::from(round) % 4];
                        for to in [*port, apart] {
                            drop(socket.send_to(packet, to));
                            counted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    while socket.recv_from(&mut buffer).is_ok() {
                        bled += 1;
                    }
                }
                round = round.wrapping_add(1);
                thread::sleep(Duration::from_millis(20));
            }
            // What was under way.
            thread::sleep(Duration::from_millis(100));
            for socket in &sockets {
                while socket.recv_from(&mut buffer).is_ok() {
                    bled += 1;
                }
            }
            bled
        });
        Self { stop, sent, thread }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many packets they were sent.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// RTP as the carrier would go on, RTP of somebody else, RTP long enough to be SRTP, a sender's report with a BYE.
fn packets((ssrc, sequence): (u32, u16), round: u16) -> [Vec<u8>; 4] {
    let rtp = |ssrc: u32, sequence: u16, length: usize| {
        let mut packet = vec![0x80, 0];
        packet.extend(sequence.to_be_bytes());
        packet.extend((u32::from(sequence) * 160).to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.resize(12 + length, MARK);
        packet
    };
    let mut report = vec![0x80, 200, 0, 6];
    report.extend(ssrc.to_be_bytes());
    report.extend([MARK; 20]);
    report.extend([0x81, 203, 0, 1]);
    report.extend(ssrc.to_be_bytes());
    [
        rtp(ssrc, sequence.wrapping_add(round), 160),
        rtp(0xeeee_eeee, round, 160),
        rtp(0xeeee_eeee, round, 170),
        report,
    ]
}

/// A call that is attacked from the moment its ports are known.
struct Attacked {
    teams: Dialog,
    carrier: Dialog,
    plain: MediaEnd,
    secure: MediaEnd,
    spray: Spray,
}

/// Both ports are known to the attackers before the call is answered. `from_carrier`: who calls.
fn attacked(scene: &Scene, teams: &Teams, carrier: &Carrier, ports: &Ports) -> Attacked {
    let mut plain = MediaEnd::new(carrier.ip(), 7000);
    let mut secure = MediaEnd::new(scene.place.ip(PROXY), 7000);
    let like = (plain.ssrc, plain.sequence);
    // The port that the carrier will be told is not known yet; they try all that there are.
    let mut caller = carrier.call(CALLER, CALLED, &plain.plain_sdp("sendrecv"));
    let (invite, callee) = teams.invited();
    let mut all = ports.of(carrier.flow.remote());
    all.extend(ports.of(SocketAddr::new(scene.place.ip(EDGE), 0)));
    assert!(all.contains(&invite.msg.media()));
    let spray = Spray::begin(scene.place, all, like);
    let (sdp, _, _) = answer_to(&mut secure, &invite.msg);
    thread::sleep(Duration::from_millis(200));
    callee.reply(&invite, "183 Session Progress", "", &sdp);
    let progress = caller.response(183);
    plain.towards(&progress.msg);
    // The callee describes itself, and nobody speaks for a while.
    thread::sleep(Duration::from_millis(300));
    nothing(&mut plain, &mut secure);
    talk(&mut plain, &mut secure, 40);
    callee.reply(&invite, "200 OK", "", &sdp);
    caller.response(200);
    caller.ack();
    callee.take("ACK");
    Attacked { teams: callee, carrier: caller, plain, secure, spray }
}

/// The pairs of a small pool: all of them can be sprayed.
struct Ports(std::ops::RangeInclusive<u16>);

impl Ports {
    fn of(&self, at: SocketAddr) -> Vec<SocketAddr> {
        self.0.clone().step_by(2).map(|port| SocketAddr::new(at.ip(), port)).collect()
    }
}

/// Neither end has heard anything but reports.
fn nothing(plain: &mut MediaEnd, secure: &mut MediaEnd) {
    assert_eq!((plain.hear(), secure.hear()), (vec![], vec![]), "somebody was let in");
}

fn is_inactive(msg: &Msg) -> bool {
    msg.attribute("inactive").is_some()
}

#[test]
fn at_39_ten_addresses_send_during_set_up_talk_and_hold_on_both_legs() {
    let mut scene = Scene::new("at_39_bleed");
    scene.usual_ends();
    scene.ports("20000-20007");
    let (teams, carrier) = (scene.teams(), scene.carrier_udp(CARRIER_A));
    let gateway = scene.start();
    gateway.healthy();
    let mut call = attacked(&scene, &teams, &carrier, &Ports(20000..=20007));
    let before_talk = call.spray.sent();
    assert!(before_talk > 1000, "{before_talk} packets during set-up");
    for _ in 0..5 {
        talk(&mut call.plain, &mut call.secure, 100);
    }
    // A silence long enough to open both latches.
    thread::sleep(Duration::from_millis(2500));
    nothing(&mut call.plain, &mut call.secure);
    talk(&mut call.plain, &mut call.secure, 40);
    // Held by the carrier, then resumed.
    for (direction, answer) in [("inactive", "inactive"), ("sendrecv", "sendrecv")] {
        let sdp = call.plain.plain_sdp(direction);
        call.carrier.send("INVITE", "", &sdp);
        let offer = call.teams.take("INVITE");
        assert_eq!(is_inactive(&offer.msg), direction == "inactive", "{}", offer.msg);
        let own = call.secure.own_sdp(answer);
        call.teams.reply(&offer, "200 OK", "", &own);
        call.carrier.response(200);
        call.carrier.ack();
        call.teams.take("ACK");
        if direction == "inactive" {
            drop((call.plain.hear(), call.secure.hear()));
            thread::sleep(Duration::from_millis(3000));
            nothing(&mut call.plain, &mut call.secure);
        }
    }
    talk(&mut call.plain, &mut call.secure, 100);
    let places: BTreeSet<_> =
        call.plain.sources.iter().chain(&call.secure.sources).map(SocketAddr::ip).collect();
    let gateways = BTreeSet::from([carrier.flow.remote().ip(), scene.place.ip(EDGE)]);
    assert_eq!(places, gateways, "heard from elsewhere");
    let report_of_others = |end: &MediaEnd| {
        end.reports.iter().any(|(_, report)| report.windows(20).any(|w| w == [MARK; 20]))
    };
    assert!(!report_of_others(&call.plain) && !report_of_others(&call.secure));
    let sent = call.spray.sent();
    let bled = call.spray.end();
    println!("{sent} packets of ten addresses, {bled} came back");
    assert_eq!(bled, 0, "media left to a stranger");
    call.carrier.send("BYE", "", "");
    call.teams.hung_up();
    call.carrier.took_200("BYE");
    let record = &gateway.wait_records(1)[0];
    let count = |key: &str| {
        let media = record["media"].as_array().expect("media");
        media.iter().map(|direction| direction[key].as_u64().unwrap_or(0)).collect::<Vec<_>>()
    };
    println!("refused {:?}, foreign {:?}", count("refused"), count("foreign"));
    // Each leg was sprayed: the plain one by addresses that are none of its, the other under no key.
    for key in ["foreign", "refused"] {
        assert!(count(key).iter().sum::<u64>() > 500, "{key}: {record}");
    }
}
