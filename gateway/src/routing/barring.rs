//! Numbers that an end may not call through a trunk, where a call can cost more than it should (toll fraud). What its own
//! configuration names comes first, by the longest beginning; then the groups that it bars.
//!
//! A number is judged by what a carrier could make of its digits as well: behind 00 or 011, and behind the 9 or 0 of an
//! outside line. No number of any country begins so.

use config::Barring;

use super::{End, Routes};
use crate::numbers::{self, Number};

impl Routes {
    /// Whether calls of an end to this number may not leave by a trunk.
    pub fn bars(&self, from: End, called: &Number) -> bool {
        let rules = match from {
            End::Tenant(id) => &self.config.tenants[id.0].barring,
            End::Trunk(id) => &self.config.trunks[id.0].barring,
        };
        let number = called.as_str();
        let code = number.contains(['*', '#']);
        // With digits too many or too few it is no number of its country, and may reach one all the same.
        let country = self.country(from).filter(|_| number.len() >= SHORTEST);
        let national = country.and_then(|country| numbers::beyond_plan(number, country));
        code && rules.codes
            || called.is_public() && bars(rules, number)
            || national.is_some_and(|number| bars(rules, &number))
            || abroad(number).iter().any(|number| bars(rules, number))
    }
}

fn bars(rules: &Barring, number: &str) -> bool {
    let named = rules.prefixes.iter().filter(|(prefix, _)| number.starts_with(prefix.as_str()));
    if let Some((_, barred)) = named.max_by_key(|(prefix, _)| prefix.len()) {
        return *barred;
    }
    let begins = |group: &[&str]| group.iter().any(|prefix| number.starts_with(prefix));
    rules.satellite && begins(&SATELLITE)
        || rules.high_risk && begins(&HIGH_RISK)
        || rules.premium && (begins(&PREMIUM) || numbers::is_premium(number))
}

/// What the digits of a number could mean abroad where it is dialled, in E.164.
fn abroad(number: &str) -> Vec<String> {
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let inside = |digits: &str| {
        let rests = ACCESS.iter().filter_map(|access| digits.strip_prefix(access));
        rests.filter(|rest| rest.len() >= SHORTEST).map(|rest| format!("+{rest}")).collect()
    };
    let mut found: Vec<String> = inside(&digits);
    if let Some(rest) = digits.strip_prefix(['9', '0']) {
        found.extend(inside(rest));
    }
    found
}

/// What is dialled before a number abroad: in most of the world, in North America.
const ACCESS: [&str; 2] = ["00", "011"];
/// Fewer digits than this behind them reach nobody.
const SHORTEST: usize = 7;

/// International premium rate (ITU-T E.169.2), and North America's, which its plan spreads over its countries.
const PREMIUM: [&str; 3] = ["+979", "+1900", "+1976"];
/// Country codes of ITU-T E.164 that are of no country: satellites, networks, trials, disaster relief.
const SATELLITE: [&str; 6] = ["+870", "+878", "+881", "+882", "+883", "+888"];
/// Small numbering plans to which most calls from elsewhere are made for a share of their price: islands of the Pacific
/// and Atlantic, and countries that the warnings of carriers name again and again.
const HIGH_RISK: [&str; 27] = [
    "+224", "+232", "+235", "+239", "+245", "+246", "+247", "+252", "+257", "+269", "+290", "+500",
    "+53", "+670", "+672", "+674", "+675", "+677", "+678", "+682", "+683", "+686", "+688", "+690",
    "+692", "+850", "+960",
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::routing::TenantId;
    use crate::routing::tests::config;

    const T1: End = End::Tenant(TenantId(0));

    fn barred(rules: &Barring, dialled: &str, country: Option<&str>) -> bool {
        let mut config = config();
        config.tenants[0].barring = rules.clone();
        config.tenants[0].country = country.and_then(config::Country::parse);
        let called = Number::read(dialled.as_bytes(), country).expect("a number");
        Routes::new(Arc::new(config)).bars(T1, &called)
    }

    fn all() -> Barring {
        let prefixes = [].into();
        Barring { premium: true, satellite: true, high_risk: true, codes: true, prefixes }
    }

    #[test]
    fn at_06_what_costs_more_than_a_call_is_barred_however_it_is_dialled() {
        for (dialled, country) in [
            ("+8821612345678", None),
            ("+44909879000199", None),
            ("0909879000199", Some("GB")),
            ("+979012345678", None),
            ("+19005551234", None),
            ("19005551234", None),
            ("19005551234;phone-context=+1", None),
            ("%2B1900-555-1234", None),
            ("9005551234", Some("US")),
            ("0900 1234567", Some("DE")),
            ("09012345678", Some("GB")),
            ("+449090123456", None),
            ("0088216123456", None),
            ("00882161234567", Some("DE")),
            ("01188216123456", None),
            ("01188216123456", Some("US")),
            ("90118821612345", None),
            ("90088216123456", None),
            ("+5351234567", None),
            ("+2521234567", None),
            ("#31#", None),
            ("*21*00882161234567#", None),
            ("#31#00882161234567", Some("DE")),
            ("#31#+88216123", Some("US")),
        ] {
            assert!(barred(&all(), dialled, country), "{dialled} in {country:?}");
            assert!(!barred(&Barring::default(), dialled, country), "{dialled}");
        }
        // What is no number at all never gets so far.
        for dialled in ["1".repeat(40), "+1900\u{0665}551234".to_owned(), "1+2".to_owned()] {
            assert_eq!(Number::read(dialled.as_bytes(), Some("US")), None);
        }
    }

    #[test]
    fn ordinary_numbers_are_not() {
        for (dialled, country) in [
            ("+442079460000", None),
            ("+33123456789", None),
            ("+12025550143", None),
            ("+18005551234", None),
            ("1001", None),
            ("112", None),
            ("020 7946 0000", Some("GB")),
            ("0044 20 7946 0000", Some("DE")),
            ("+5491123456789", None),
        ] {
            assert!(!barred(&all(), dialled, country), "{dialled} in {country:?}");
        }
    }

    #[test]
    fn the_longest_beginning_counts_before_any_group() {
        let prefixes = [("+53", false), ("+535", true), ("+33", true), ("+331", false)];
        let prefixes = prefixes.map(|(prefix, barred)| (prefix.to_owned(), barred)).into();
        let rules = Barring { prefixes, ..all() };
        for (number, want) in [
            ("+5371234567", false),
            ("+5351234567", true),
            ("+33612345678", true),
            ("+33123456789", false),
            ("0033612345678", true),
        ] {
            assert_eq!(barred(&rules, number, None), want, "{number}");
        }
    }
}
