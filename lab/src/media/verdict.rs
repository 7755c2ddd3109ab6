//! What one end sent against what the other heard.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::{Duration, Instant};

use crate::media::Tape;

/// The verdict on one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Audio packets sent while the flow was judged.
    pub sent: usize,
    /// Of these, how many arrived.
    pub received: usize,
    /// Of these, how many never arrived.
    pub lost: usize,
    /// Arrived packets whose payload is not, byte for byte, one that was sent.
    pub altered: usize,
    /// Arrived again.
    pub duplicated: usize,
    /// Arrived after a packet that was sent later.
    pub reordered: usize,
    /// Packets that did not authenticate, or came in clear where SRTP was agreed.
    pub refused: usize,
    /// Good RTCP compounds that arrived.
    pub reports: usize,
    /// From just before the sending system call to just after the receiving one.
    pub delay: Delay,
    /// The tone that was sent, in Hz.
    pub tone: Option<u32>,
    /// The tone that was heard, in Hz.
    pub heard: Option<u32>,
    /// Telephone-event digits sent.
    pub digits_sent: String,
    /// Telephone-event digits heard.
    pub digits_heard: String,
}

/// One-way delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delay {
    /// Half of the packets are faster.
    pub median: Duration,
    /// 99 of 100 packets are faster.
    pub p99: Duration,
    /// The slowest.
    pub worst: Duration,
}

impl Flow {
    /// Everything that was sent arrived once, unchanged and in order, and is the tone that was sent.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.sent > 0
            && self.lost + self.altered + self.duplicated + self.reordered + self.refused == 0
            && self.heard == self.tone
            && self.digits_heard == self.digits_sent
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sent {} relayed {} lost {}", self.sent, self.received, self.lost)?;
        for (count, what) in [
            (self.altered, "altered"),
            (self.duplicated, "twice"),
            (self.reordered, "out of order"),
            (self.refused, "not authentic"),
        ] {
            if count > 0 {
                write!(f, " {what} {count}")?;
            }
        }
        let tone = |tone: Option<u32>| tone.map_or("none".to_owned(), |hertz| hertz.to_string());
        write!(f, ", tone {} Hz heard {} Hz", tone(self.tone), tone(self.heard))?;
        if !self.digits_sent.is_empty() || !self.digits_heard.is_empty() {
            write!(f, ", digits {:?} heard {:?}", self.digits_sent, self.digits_heard)?;
        }
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let Delay { median, p99, worst } = self.delay;
        write!(f, ", delay {:.2} / {:.2} / {:.2} ms", ms(median), ms(p99), ms(worst))?;
        write!(f, ", RTCP {}", self.reports)
    }
}

/// Compares the tapes of the two ends of one direction. Packets sent after `until` are left out:
/// what is under way while a call ends belongs to nobody.
#[must_use]
pub fn judge(sender: &Tape, receiver: &Tape, until: Instant) -> Flow {
    let judged = sender.sent.iter().filter(|(at, _)| *at < until).count();
    let sent: HashMap<u64, usize> =
        sender.sent.iter().enumerate().map(|(i, (_, print))| (*print, i)).collect();
    let mut seen = HashSet::new();
    let (mut altered, mut duplicated, mut reordered, mut newest) = (0, 0, 0, 0);
    let mut delays = Vec::new();
    for packet in receiver.received.iter().filter(|packet| packet.digit.is_none()) {
        let Some(index) = sent.get(&packet.print).copied() else {
            altered += 1;
            continue;
        };
        if !seen.insert(index) {
            duplicated += 1;
            continue;
        }
        reordered += usize::from(index < newest);
        newest = newest.max(index);
        delays.push(packet.at.saturating_duration_since(sender.sent[index].0));
    }
    let received = seen.iter().filter(|index| **index < judged).count();
    Flow {
        sent: judged,
        received,
        lost: judged - received,
        altered,
        duplicated,
        reordered,
        refused: receiver.refused,
        reports: receiver.reports,
        delay: delay(delays),
        tone: sender.tone,
        heard: receiver.heard,
        digits_sent: sender.digits.clone(),
        digits_heard: receiver.digits_heard(),
    }
}

fn delay(mut delays: Vec<Duration>) -> Delay {
    delays.sort_unstable();
    let Some(worst) = delays.last().copied() else {
        return Delay::default();
    };
    let at = |part: usize| delays[(delays.len() - 1) * part / 100];
    Delay { median: at(50), p99: at(99), worst }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::media::Packet;

    fn tapes(arrived: &[usize]) -> (Tape, Tape, Instant) {
        let start = clock::now();
        let at = |i: usize| start + Duration::from_millis(20 * i as u64);
        let sender = Tape { sent: (0..5).map(|i| (at(i), i as u64)).collect(), ..Tape::default() };
        let packet = |i: &usize| Packet {
            at: at(*i) + Duration::from_millis(*i as u64),
            print: *i as u64,
            ..Packet::default_at(start)
        };
        let receiver = Tape { received: arrived.iter().map(packet).collect(), ..Tape::default() };
        (sender, receiver, start + Duration::from_secs(1))
    }

    fn flow(arrived: &[usize]) -> Flow {
        let (sender, receiver, until) = tapes(arrived);
        judge(&sender, &receiver, until)
    }

    #[test]
    fn all_in_order_is_clean() {
        let flow = flow(&[0, 1, 2, 3, 4]);
        assert!(flow.is_clean(), "{flow}");
        assert_eq!(flow.delay.median, Duration::from_millis(2));
        assert_eq!(flow.delay.worst, Duration::from_millis(4));
    }

    #[test]
    fn each_fault_is_counted() {
        let flow_lost = flow(&[0, 1, 3, 4]);
        assert_eq!((flow_lost.lost, flow_lost.received), (1, 4));
        assert_eq!(flow(&[0, 1, 1, 2, 3, 4]).duplicated, 1);
        assert_eq!(flow(&[0, 2, 1, 3, 4]).reordered, 1);
        assert_eq!(flow(&[0, 1, 2, 3, 4, 99]).altered, 1);
        for arrived in [&[0, 1, 3, 4][..], &[0, 1, 1, 2, 3, 4], &[0, 2, 1, 3, 4], &[9]] {
            assert!(!flow(arrived).is_clean());
        }
        assert!(!judge(&Tape::default(), &Tape::default(), clock::now()).is_clean());
    }

    #[test]
    fn what_is_sent_after_the_end_is_not_lost() {
        let (sender, receiver, _) = tapes(&[0, 1]);
        let flow = judge(&sender, &receiver, sender.sent[2].0);
        assert_eq!((flow.sent, flow.lost), (2, 0));
    }
}
