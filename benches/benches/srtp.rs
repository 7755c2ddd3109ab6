//! Protecting and opening one 172-byte RTP packet (20 ms of G.711), ours beside webrtc-srtp.
//!
//! Each measured packet has its own sequence number, in order, as on a quiet line. Groups `one`
//! use one warm context; groups `many` go round 16,384 contexts, so that each is cold in the
//! nearest caches, as in a relay.

use std::{
    hint::black_box,
    process::ExitCode,
    time::{Duration, Instant},
};

use benches::verdict::{Verdicts, nanoseconds};
use criterion::{BenchmarkId, Criterion};
use media_relay::srtp::{MAX_TRAILER, MasterKey, Receiver, Sender, Suite};
use webrtc_srtp::{context::Context, protection_profile::ProtectionProfile};

const PACKET: usize = 172;
const BATCH: u64 = 512;
const MANY: usize = 1 << 14;

fn main() -> ExitCode {
    let results = tempfile::TempDir::with_prefix("srtp-").expect("a directory");
    let mut criterion = Criterion::default().output_directory(results.path()).configure_from_args();
    one(&mut criterion);
    many(&mut criterion);
    derivation(&mut criterion);
    criterion.final_summary();
    let mut verdicts = Verdicts::default();
    let suite = Suite::AesCm128HmacSha1_80.name();
    for what in ["protect", "unprotect"] {
        let of = |whose: &str| nanoseconds(results.path(), &format!("one_{suite}/{what}_{whose}"));
        let ratio = of("ours").zip(of("webrtc-srtp")).map(|(ours, theirs)| ours / theirs);
        verdicts.below(&format!("{what}, {suite}, beside webrtc-srtp"), ratio, 0.75, "");
    }
    verdicts.conclude()
}

fn one(criterion: &mut Criterion) {
    for suite in Suite::ALL {
        let mut group = criterion.benchmark_group(format!("one/{}", suite.name()));
        group.bench_function("protect/ours", |b| {
            let mut sender = Sender::new(&key(suite));
            let mut at = 0;
            b.iter_custom(|count| run(count, &mut at, |at| protect(&mut sender, at)));
        });
        group.bench_function("protect/webrtc-srtp", |b| {
            let mut context = theirs(suite);
            let mut at = 0;
            b.iter_custom(|count| run(count, &mut at, |at| protect_theirs(&mut context, at)));
        });
        group.bench_function("unprotect/ours", |b| {
            let (mut sender, mut receiver) = (theirs(suite), Receiver::new(&key(suite)));
            let mut at = 0;
            b.iter_custom(|count| {
                batches(count, &mut at, &mut sender, |packet| {
                    black_box(receiver.unprotect_rtp(packet)).expect("was just protected");
                })
            });
        });
        group.bench_function("unprotect/webrtc-srtp", |b| {
            let (mut sender, mut receiver) = (theirs(suite), theirs(suite));
            let mut at = 0;
            b.iter_custom(|count| {
                batches(count, &mut at, &mut sender, |packet| {
                    black_box(receiver.decrypt_rtp(packet)).expect("was just protected");
                })
            });
        });
        group.finish();
    }
}

fn many(criterion: &mut Criterion) {
    let suite = Suite::AesCm128HmacSha1_80;
    let mut group = criterion.benchmark_group(format!("many/{}", suite.name()));
    group.bench_function(BenchmarkId::new("protect", "ours"), |b| {
        let mut senders: Vec<_> = (0..MANY).map(|_| Sender::new(&key(suite))).collect();
        let mut at = 0;
        b.iter_custom(|count| {
            run(count, &mut at, |at| protect(&mut senders[spread(at)], at / MANY as u64))
        });
    });
    group.bench_function(BenchmarkId::new("protect", "webrtc-srtp"), |b| {
        let mut contexts: Vec<_> = (0..MANY).map(|_| theirs(suite)).collect();
        let mut at = 0;
        b.iter_custom(|count| {
            run(count, &mut at, |at| protect_theirs(&mut contexts[spread(at)], at / MANY as u64))
        });
    });
    group.finish();
}

fn derivation(criterion: &mut Criterion) {
    let key = key(Suite::AesCm128HmacSha1_80);
    criterion.bench_function("new sender", |b| b.iter(|| Sender::new(black_box(&key))));
}

/// Visits every context once per round, in an order that no prefetcher follows.
fn spread(at: u64) -> usize {
    let mixed = (at as usize).wrapping_mul(0x9e5) % MANY;
    (mixed ^ mixed >> 5).wrapping_mul(0xb2d) % MANY
}

fn protect(sender: &mut Sender, at: u64) {
    let mut buf = [0; PACKET + MAX_TRAILER];
    buf[..PACKET].copy_from_slice(&packet(at));
    black_box(sender.protect_rtp(&mut buf, PACKET)).expect("its index is new");
    black_box(&buf);
}

fn protect_theirs(context: &mut Context, at: u64) {
    black_box(context.encrypt_rtp(&packet(at))).expect("its index is new");
}

fn packet(at: u64) -> [u8; PACKET] {
    let mut packet = [0xd5; PACKET];
    packet[..2].copy_from_slice(&[0x80, 8]);
    packet[2..4].copy_from_slice(&(at as u16).to_be_bytes());
    packet[4..8].copy_from_slice(&(at as u32).wrapping_mul(160).to_be_bytes());
    packet[8..12].copy_from_slice(&[0xca, 0xfe, 0xba, 0xbe]);
    packet
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn run(count: u64, at: &mut u64, mut one: impl FnMut(u64)) -> Duration {
    let start = Instant::now();
    for at in *at..*at + count {
        one(at);
    }
    let elapsed = start.elapsed();
    *at += count;
    elapsed
}

/// Opens `count` packets in batches; only the opening is timed.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn batches(
    count: u64,
    at: &mut u64,
    sender: &mut Context,
    mut open: impl FnMut(&mut [u8]),
) -> Duration {
    let mut elapsed = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let size = left.min(BATCH);
        let mut packets: Vec<Vec<u8>> = (*at..*at + size)
            .map(|at| sender.encrypt_rtp(&packet(at)).expect("its index is new").to_vec())
            .collect();
        let start = Instant::now();
        for packet in &mut packets {
            open(packet);
        }
        elapsed += start.elapsed();
        left -= size;
        *at += size;
    }
    elapsed
}

fn key(suite: Suite) -> MasterKey {
    let bytes: Vec<u8> = (7..).take(suite.key_salt_len()).collect();
    MasterKey::new(suite, &bytes).expect("as long as the suite says")
}

fn theirs(suite: Suite) -> Context {
    let profile = match suite {
        Suite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Suite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Suite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    };
    let key = key(suite);
    let (key, salt) = key.key_salt().split_at(suite.key_len());
    Context::new(key, salt, profile, None, None).expect("key and salt are as long as they must be")
}
