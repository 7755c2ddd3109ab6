//! How a number of the public network is written for a peer that does not read E.164 with its plus.
//!
//! What is written means the same number again when it is read by the same country; a number of which that is not true
//! stays E.164. Private and short numbers, and so those of emergency calls, stay as they are. To write a number in a national
//! form and to read it again takes some 50 µs: it is done once for a number and an INVITE.

use std::borrow::Cow;

use config::NumberForm;
use phonenumber::country::Id;
use phonenumber::metadata::DATABASE;
use phonenumber::{Mode, PhoneNumber};

use super::Number;

/// A number in that form, by a country (ISO 3166 alpha-2).
pub fn written<'n>(number: &'n str, form: NumberForm, country: Option<&str>) -> Cow<'n, str> {
    let public = config::Number::parse(number).is_some_and(|number| !number.is_private());
    let Some(digits) = number.strip_prefix('+').filter(|_| public) else { return number.into() };
    let written = match form {
        NumberForm::E164 => None,
        NumberForm::WithoutPlus => return digits.into(),
        NumberForm::National => national(number, country),
        NumberForm::International => international(digits, country),
    };
    let same = |text: &String| {
        let read = Number::read(text.as_bytes(), country);
        read.is_some_and(|read| read.is_public() && read.as_str() == number)
    };
    written.filter(same).map_or(number.into(), Cow::Owned)
}

/// As it is dialled in that country: without country code if it is one of there.
fn national(number: &str, country: Option<&str>) -> Option<String> {
    let id: Id = country?.parse().ok()?;
    let parsed = phonenumber::parse(None, number).ok()?;
    let own = DATABASE.by_id(id.as_ref())?.country_code();
    if parsed.code().value() != own {
        return international(number.strip_prefix('+')?, country);
    }
    Some(digits(&parsed))
}

fn digits(number: &PhoneNumber) -> String {
    let text = number.format().mode(Mode::National).to_string();
    text.chars().filter(char::is_ascii_digit).collect()
}

/// Behind what is dialled for abroad there.
fn international(digits: &str, country: Option<&str>) -> Option<String> {
    let prefix = country.and_then(international_prefix).unwrap_or("00");
    Some(format!("{prefix}{digits}"))
}

/// What is dialled for abroad in a country: the preferred prefix where there are several.
pub(super) fn international_prefix(country: &str) -> Option<&'static str> {
    let id: Id = country.parse().ok()?;
    let plan = DATABASE.by_id(id.as_ref())?;
    let only = plan.international_prefix().map(|prefix| prefix.as_str());
    let dialled = |prefix: &&str| prefix.bytes().all(|byte| byte.is_ascii_digit());
    plan.preferred_international_prefix().filter(dialled).or(only.filter(dialled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(number: &str, form: NumberForm, country: &str, want: &str) {
        let country = Some(country).filter(|country| !country.is_empty());
        assert_eq!(written(number, form, country), want, "{number} {form:?} {country:?}");
    }

    #[test]
    fn tr_019_numbers_are_written_as_the_trunk_dials_them() {
        use NumberForm::{E164, International, National, WithoutPlus};
        is("+442079460000", E164, "GB", "+442079460000");
        is("+442079460000", WithoutPlus, "GB", "442079460000");
        for (country, number, want) in [
            ("GB", "+442079460000", "02079460000"),
            ("US", "+12025550143", "2025550143"),
            ("US", "+14165550143", "4165550143"),
            ("DE", "+4930123456", "030123456"),
            ("IT", "+390612345678", "0612345678"),
            ("FR", "+33123456789", "0123456789"),
            ("ES", "+34912345678", "912345678"),
            ("GB", "+33123456789", "0033123456789"),
            ("US", "+442079460000", "011442079460000"),
            ("AU", "+442079460000", "0011442079460000"),
        ] {
            is(number, National, country, want);
        }
        is("+442079460000", International, "", "00442079460000");
        is("+442079460000", International, "GB", "00442079460000");
        is("+442079460000", International, "JP", "010442079460000");
        is("+442079460000", National, "", "+442079460000");
    }

    #[test]
    fn what_is_no_number_of_the_public_network_stays() {
        use NumberForm::{E164, International, National, WithoutPlus};
        for number in ["1001", "+1001", "112", "+112", "*21#", "alice", "anonymous", ""] {
            for form in [E164, WithoutPlus, National, International] {
                is(number, form, "GB", number);
            }
        }
    }

    /// Over the examples of all countries: what is written is read as the same number.
    #[test]
    fn tr_019_what_is_written_is_read_again() {
        let (mut national, mut all) = (0, 0);
        for plan in DATABASE.iter() {
            let of = plan.descriptors();
            let kinds = [of.fixed_line(), of.mobile(), of.toll_free(), of.voip()];
            for example in kinds.into_iter().flatten().filter_map(|kind| kind.example()) {
                let number = format!("+{}{example}", plan.country_code());
                let Ok(_) = plan.id().parse::<Id>() else { continue };
                for form in [NumberForm::National, NumberForm::International] {
                    let text = written(&number, form, Some(plan.id()));
                    let read = Number::read(text.as_bytes(), Some(plan.id()));
                    assert_eq!(read.as_ref().map(Number::as_str), Some(&*number), "{text}");
                    all += 1;
                    national += usize::from(!text.starts_with('+'));
                }
            }
        }
        println!("{national} of {all} are written otherwise than E.164");
        assert!(all > 800 && national * 10 > all * 9, "{national} of {all}");
    }
}
