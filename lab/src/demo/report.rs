//! What the play showed, as text.

use std::fmt;
use std::time::Duration;

use crate::capture::Record;
use crate::ladder;
use crate::media::Flow;

/// The verdict on one call.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was played.
    pub title: String,
    /// The carrier's name, then Teams'.
    pub ends: [String; 2],
    /// The messages of both legs.
    pub records: Vec<Record>,
    /// Each direction and phase of the media, with its name.
    pub flows: Vec<(String, Flow)>,
    /// Suite on the SRTP leg, if media flowed.
    pub suite: Option<&'static str>,
    /// What went wrong, besides the media.
    pub fault: Option<String>,
}

impl Outcome {
    /// Signalling as scripted, and every packet relayed unchanged.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.fault.is_none() && self.flows.iter().all(|(_, flow)| flow.is_clean())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "== {}\n", self.title)?;
        writeln!(f, "{}", ladder::draw(&self.records, &self.ends[0], &self.ends[1]))?;
        for (name, flow) in &self.flows {
            writeln!(f, "  {name}: {flow}")?;
        }
        if let Some(suite) = self.suite {
            writeln!(
                f,
                "  SRTP: {suite} with {}, RTP in clear with {}",
                self.ends[1], self.ends[0]
            )?;
        }
        match &self.fault {
            None if self.is_ok() => writeln!(f, "  verdict: good"),
            None => writeln!(f, "  verdict: FAILED, media are not whole"),
            Some(fault) => writeln!(f, "  verdict: FAILED, {fault}"),
        }
    }
}

/// The whole play.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which proxy was asked with OPTIONS, and what each side answered.
    pub pairing: Vec<String>,
    /// Whether the pairing went as it should.
    pub paired: bool,
    /// One for each call.
    pub outcomes: Vec<Outcome>,
    /// Rules that the gateway broke towards a fake.
    pub complaints: Vec<String>,
    /// Handshakes that failed.
    pub handshakes: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Everything was as it should be.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.paired
            && !self.outcomes.is_empty()
            && self.outcomes.iter().all(Outcome::is_ok)
            && self.complaints.is_empty()
            && self.handshakes.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "== OPTIONS, by which Teams knows the gateway\n")?;
        for line in &self.pairing {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "  verdict: {}\n", if self.paired { "good" } else { "FAILED" })?;
        for outcome in &self.outcomes {
            writeln!(f, "{outcome}")?;
        }
        for complaint in &self.complaints {
            writeln!(f, "Rule broken: {complaint}")?;
        }
        for handshake in &self.handshakes {
            writeln!(f, "TLS handshake failed: {handshake}")?;
        }
        let flows = || self.outcomes.iter().flat_map(|outcome| &outcome.flows);
        let sum = |count: fn(&Flow) -> usize| flows().map(|(_, flow)| count(flow)).sum::<usize>();
        let good = self.outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let worst = flows().map(|(_, flow)| flow.delay.p99).max().unwrap_or_default();
        writeln!(
            f,
            "{} of {} calls good. Packets: sent {}, relayed {}, lost {}. Added delay: 99 of 100 \
             packets under {:.2} ms in the slowest direction. Time: {:.1} s.",
            good,
            self.outcomes.len(),
            sum(|flow| flow.sent),
            sum(|flow| flow.received),
            sum(|flow| flow.lost),
            worst.as_secs_f64() * 1000.0,
            self.took.as_secs_f64(),
        )?;
        writeln!(f, "{}", if self.is_ok() { "The demo went well." } else { "The demo FAILED." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Tape, judge};

    fn outcome(fault: Option<&str>) -> Outcome {
        let now = crate::now();
        let packet = crate::media::Packet { print: 7, ..crate::media::Packet::default_at(now) };
        let sender = Tape { sent: vec![(now, 7)], ..Tape::default() };
        let receiver = Tape { received: vec![packet], ..Tape::default() };
        let flow = judge(&sender, &receiver, now + Duration::from_secs(1));
        Outcome {
            title: "a call".to_owned(),
            ends: ["carrier-a".to_owned(), "Teams".to_owned()],
            records: Vec::new(),
            flows: vec![("there".to_owned(), flow)],
            suite: Some("AES_CM_128_HMAC_SHA1_80"),
            fault: fault.map(str::to_owned),
        }
    }

    fn report(fault: Option<&str>) -> Report {
        Report {
            pairing: vec!["OPTIONS".to_owned()],
            paired: true,
            outcomes: vec![outcome(None), outcome(fault)],
            complaints: Vec::new(),
            handshakes: Vec::new(),
            took: Duration::from_millis(12_340),
        }
    }

    #[test]
    fn a_good_play_says_so_with_its_figures() {
        let good = report(None);
        assert!(good.is_ok());
        let text = good.to_string();
        for part in [
            "2 of 2 calls good. Packets: sent 2, relayed 2, lost 0.",
            "SRTP: AES_CM_128_HMAC_SHA1_80 with Teams, RTP in clear with carrier-a",
            "verdict: good",
            "Time: 12.3 s.",
            "The demo went well.",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn one_fault_anywhere_spoils_it() {
        let failed = report(Some("no ACK in time"));
        let text = failed.to_string();
        assert!(!failed.is_ok() && text.contains("FAILED, no ACK in time"), "{text}");
        assert!(text.contains("1 of 2 calls good") && text.contains("The demo FAILED."));
        assert!(!Report { paired: false, ..report(None) }.is_ok());
        assert!(!Report { outcomes: Vec::new(), ..report(None) }.is_ok());
        let complaints = vec!["an address in Contact".to_owned()];
        let broken = Report { complaints, ..report(None) };
        assert!(!broken.is_ok() && broken.to_string().contains("Rule broken: an address"));
        let handshakes = vec!["expired".to_owned()];
        assert!(!Report { handshakes, ..report(None) }.is_ok());
        let mut lossy = report(None);
        lossy.outcomes[0].flows[0].1.lost = 1;
        assert!(!lossy.is_ok() && lossy.to_string().contains("media are not whole"));
    }
}
