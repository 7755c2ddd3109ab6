//! What a run showed.

use std::time::Duration;

/// Counted while a run goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) begun: u64,
    /// Neither answered nor refused when the run was over.
    pub(super) open: u64,
    pub(super) byes: u64,
    pub(super) bye_refused: u64,
    pub(super) byes_unanswered: u64,
    pub(super) repeated: u64,
    /// Final responses from 300, other than 503.
    pub(super) failed: u64,
    pub(super) first_failure: Option<u16>,
    /// Microseconds each.
    setup: Vec<u32>,
    refusals: Vec<u32>,
    farewells: Vec<u32>,
    pub(super) late: Vec<u32>,
}

impl Counts {
    pub(super) fn answered(&mut self, after: Duration) {
        self.setup.push(micros(after));
    }

    pub(super) fn refused(&mut self, status: u16, after: Duration) {
        if status == 503 {
            self.refusals.push(micros(after));
        } else {
            self.failed += 1;
            self.first_failure.get_or_insert(status);
        }
    }

    pub(super) fn ended(&mut self, after: Duration) {
        self.farewells.push(micros(after));
    }

    /// Answered so far.
    pub(super) fn answers(&self) -> u64 {
        self.setup.len() as u64
    }

    pub(super) fn report(mut self, rate: f64, window: Duration, in_window: u64) -> Report {
        Report {
            rate,
            window,
            begun: self.begun,
            answered: self.setup.len() as u64,
            goodput: in_window as f64 / window.as_secs_f64(),
            refused: self.refusals.len() as u64,
            failed: self.failed + self.open,
            first_failure: self.first_failure,
            byes: self.byes,
            byes_served: self.farewells.len() as u64,
            repeated: self.repeated,
            setup: Spread::of(&mut self.setup),
            refusal: Spread::of(&mut self.refusals),
            farewell: Spread::of(&mut self.farewells),
            late: Spread::of(&mut self.late),
            own_cpu: Duration::ZERO,
            server_cpu: Duration::ZERO,
        }
    }
}

/// What a run showed.
#[derive(Clone, Debug)]
pub struct Report {
    /// Calls a second, as asked for.
    pub rate: f64,
    /// How long calls began.
    pub window: Duration,
    /// INVITEs sent, repeats not counted.
    pub begun: u64,
    /// Calls that got a 200.
    pub answered: u64,
    /// Calls answered within the window, a second.
    pub goodput: f64,
    /// Calls that got a 503.
    pub refused: u64,
    /// Calls that got another refusal, or nothing.
    pub failed: u64,
    /// The first refusal that was not 503.
    pub first_failure: Option<u16>,
    /// BYEs sent.
    pub byes: u64,
    /// BYEs that got a 200.
    pub byes_served: u64,
    /// Requests sent again.
    pub repeated: u64,
    /// INVITE to 200.
    pub setup: Spread,
    /// INVITE to 503.
    pub refusal: Spread,
    /// BYE to 200.
    pub farewell: Spread,
    /// How late the generator began its calls.
    pub late: Spread,
    /// The generator's own CPU time.
    pub own_cpu: Duration,
    /// The server's CPU time, once whoever started both has noted it.
    pub server_cpu: Duration,
}

impl Report {
    /// No call failed or was refused, and 99 of 100 were answered within 20 ms.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.answered == self.begun
            && self.byes_served == self.byes
            && self.setup.p99 < Duration::from_millis(20)
    }

    /// The share of BYEs that got a 200.
    #[must_use]
    pub fn served(&self) -> f64 {
        if self.byes == 0 { 1.0 } else { self.byes_served as f64 / self.byes as f64 }
    }
}

/// Percentiles.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread {
    /// Half are below.
    pub p50: Duration,
    /// 99 of 100 are below.
    pub p99: Duration,
    /// The largest.
    pub most: Duration,
}

impl Spread {
    fn of(values: &mut [u32]) -> Self {
        values.sort_unstable();
        let at = |share: f64| {
            let index = ((values.len() as f64 * share).ceil() as usize).max(1) - 1;
            Duration::from_micros(values.get(index).copied().unwrap_or(0).into())
        };
        Self { p50: at(0.5), p99: at(0.99), most: at(1.0) }
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut values: Vec<u32> = (1..=1000).rev().collect();
        let spread = Spread::of(&mut values);
        assert_eq!(spread.p50, Duration::from_micros(500));
        assert_eq!(spread.p99, Duration::from_micros(990));
        assert_eq!(spread.most, Duration::from_micros(1000));
        assert_eq!(Spread::of(&mut []).p99, Duration::ZERO);
    }
}
