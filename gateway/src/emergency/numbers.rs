//! By which numbers people call for help, country by country: police, fire, ambulance, as their regulators publish them.
//! 112 (3GPP TS 22.101 §10.1, the EU) and 911 reach help from everywhere.

/// Whether these digits call for help in a country (ISO 3166 alpha-2); anywhere, when that is not known.
pub(super) fn reach_help(digits: &str, country: Option<&str>) -> bool {
    if EVERYWHERE.contains(&digits) {
        return true;
    }
    let known = country.and_then(|country| COUNTRIES.iter().find(|(code, _)| *code == country));
    if digits.is_empty() {
        return false;
    }
    match (country, known) {
        (None, _) => UNKNOWN.contains(&digits),
        (Some(_), Some((_, numbers))) => numbers.split(' ').any(|number| number == digits),
        (Some(_), None) => false,
    }
}

/// Whether they call for help in any country.
pub(super) fn reach_help_somewhere(digits: &str) -> bool {
    let listed = |(_, numbers): &(&str, &str)| numbers.split(' ').any(|number| number == digits);
    // Of all calls this is asked, and most call a number that is far longer.
    (1..=LONGEST).contains(&digits.len())
        && (UNKNOWN.contains(&digits) || COUNTRIES.iter().any(listed))
}

pub(super) const EVERYWHERE: [&str; 2] = ["112", "911"];

/// Digits of the longest number in any of these tables.
const LONGEST: usize = longest();

const fn longest() -> usize {
    // 112 and the like.
    let (mut longest, mut country) = (3, 0);
    while country < COUNTRIES.len() {
        let numbers = COUNTRIES[country].1.as_bytes();
        let (mut digits, mut at) = (0, 0);
        while at < numbers.len() {
            digits = if numbers[at] == b' ' { 0 } else { digits + 1 };
            if digits > longest {
                longest = digits;
            }
            at += 1;
        }
        country += 1;
    }
    longest
}

/// Where the country is not known: what calls for help in many.
const UNKNOWN: [&str; 21] = [
    "112", "911", "999", "000", "110", "118", "119", "111", "100", "101", "102", "108", "190",
    "192", "193", "113", "115", "117", "144", "122", "127",
];

/// Beside 112 and 911.
const COUNTRIES: [(&str, &str); 62] = [
    ("AE", "997 998 999"),
    ("AR", "100 101 107"),
    ("AT", "122 133 140 141 144"),
    ("AU", "000 106"),
    ("BE", "100 101"),
    ("BG", "150 160 166"),
    ("BR", "190 192 193"),
    ("CA", ""),
    ("CH", "117 118 144 1414"),
    ("CL", "131 132 133"),
    ("CN", "110 119 120 122"),
    ("CO", "123"),
    ("CY", "199"),
    ("CZ", "150 155 156 158"),
    ("DE", "110"),
    ("DK", "114"),
    ("EE", ""),
    ("EG", "122 123 180"),
    ("ES", "061 062 080 085 088 091 092"),
    ("FI", ""),
    ("FR", "15 17 18 114 115 119 191 196 197"),
    ("GB", "999"),
    ("GR", "100 108 166 199"),
    ("HK", "992 999"),
    ("HR", "192 193 194 195"),
    ("HU", "104 105 107"),
    ("ID", "110 113 115 118 119"),
    ("IE", "999"),
    ("IL", "100 101 102"),
    ("IN", "100 101 102 108"),
    ("IS", ""),
    ("IT", "113 115 117 118 1530"),
    ("JP", "110 118 119"),
    ("KE", "999"),
    ("KR", "113 119 122"),
    ("LT", ""),
    ("LU", "113"),
    ("LV", "110 113"),
    ("MT", ""),
    ("MX", ""),
    ("MY", "991 994 999"),
    ("NG", "199"),
    ("NL", ""),
    ("NO", "110 113"),
    ("NZ", "111"),
    ("PE", "105 106 116 117"),
    ("PH", "117"),
    ("PL", "997 998 999"),
    ("PT", "115"),
    ("RO", ""),
    ("RS", "192 193 194"),
    ("SA", "937 997 998 999"),
    ("SE", ""),
    ("SG", "995 999"),
    ("SI", "113"),
    ("SK", "150 155 158"),
    ("TH", "191 199 1669"),
    ("TR", "110 155 156 158 177"),
    ("TW", "110 118 119"),
    ("UA", "101 102 103 104"),
    ("US", ""),
    ("ZA", "10111 10177"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_have_their_numbers() {
        for (digits, country, want) in [
            ("110", Some("DE"), true),
            ("999", Some("GB"), true),
            ("999", Some("DE"), false),
            ("100", Some("GB"), false),
            ("112", Some("US"), true),
            ("911", Some("DE"), true),
            ("000", Some("AU"), true),
            ("17", Some("FR"), true),
            ("110", None, true),
            ("17", None, false),
            ("999", Some("AQ"), false),
            ("", Some("US"), false),
        ] {
            assert_eq!(reach_help(digits, country), want, "{digits} in {country:?}");
        }
    }

    #[test]
    fn the_table_is_in_order_and_holds_short_numbers_of_real_countries() {
        assert!(COUNTRIES.windows(2).all(|two| two[0].0 < two[1].0));
        assert!(UNKNOWN.into_iter().chain(EVERYWHERE).all(reach_help_somewhere));
        assert!(["", "4420794601", "1"].into_iter().all(|digits| !reach_help_somewhere(digits)));
        for (country, numbers) in COUNTRIES {
            assert!(config::Country::parse(country).is_some(), "{country}");
            for number in numbers.split(' ').filter(|number| !number.is_empty()) {
                let digits = number.bytes().all(|byte| byte.is_ascii_digit());
                assert!(digits && (2..=6).contains(&number.len()), "{number}");
                assert!(reach_help_somewhere(number), "{country}: {number}");
                assert!(!EVERYWHERE.contains(&number), "{country}: {number}");
            }
        }
    }
}
