//! Phone numbers as data: single numbers and ranges, compact also for millions.
//!
//! A number is "+" and 1 to 15 digits. It is **public** when it can be a full international number
//! (ITU-T E.164) and **private** otherwise: fewer than 8 digits, a leading 0 (no country code
//! begins so), or country code 1 with other than 11 digits. Microsoft allows private numbers such as
//! +1001 in several tenants; they are unique per trunk only.

use std::fmt;

/// One number. Ordered by length, then by value, so that a range of equally long numbers is a
/// range of this type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number(u64);

/// First and last number of a range, both included, of equal length.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NumberRange {
    /// First number.
    pub first: Number,
    /// Last number.
    pub last: Number,
}

/// A set of numbers: sorted ranges that neither overlap nor touch.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Numbers(Box<[NumberRange]>);

impl Number {
    /// Digits of the longest number (E.164).
    pub const MAX_DIGITS: usize = 15;

    /// Reads "+" and 1 to 15 digits, nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('+')?;
        if digits.is_empty() || digits.len() > Self::MAX_DIGITS {
            return None;
        }
        // The leading 1 keeps the length: "+01" and "+1" differ, and numbers sort by length first.
        digits
            .bytes()
            .try_fold(1u64, |sum, digit| {
                digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
            })
            .map(Self)
    }

    /// The number before it in a range.
    pub(crate) const fn before(self) -> Self {
        Self(self.0 - 1)
    }

    /// The number after it in a range.
    pub(crate) const fn after(self) -> Self {
        Self(self.0 + 1)
    }

    /// Number of digits.
    pub fn digits(self) -> u32 {
        self.0.ilog10()
    }

    /// Whether it cannot be a full international number, see the module's text.
    pub fn is_private(self) -> bool {
        let digits = self.digits();
        let value = self.0 - 10u64.pow(digits);
        let leading = value / 10u64.pow(digits - 1);
        digits < 8 || leading == 0 || (leading == 1 && digits != 11)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.digits();
        let value = self.0 - 10u64.pow(digits);
        write!(f, "+{value:0width$}", width = digits as usize)
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl NumberRange {
    /// How many numbers it holds.
    pub fn count(self) -> u64 {
        self.last.0 - self.first.0 + 1
    }

    /// Each of its numbers, in order. A range can hold 10¹⁵: mind [`count`](Self::count).
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Number> {
        (self.first.0..=self.last.0).map(Number)
    }
}

impl fmt::Display for NumberRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl fmt::Debug for NumberRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Numbers {
    /// The set of all numbers in `ranges`, which may overlap and stand in any order.
    pub fn new(mut ranges: Vec<NumberRange>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<NumberRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last)
                    if range.first.0 <= last.last.0 + 1
                        && range.first.digits() == last.last.digits() =>
                {
                    last.last = last.last.max(range.last);
                }
                Some(_) | None => merged.push(range),
            }
        }
        Self(merged.into_boxed_slice())
    }

    /// Whether the number written `text` ("+" and digits) is in the set.
    pub fn contains(&self, text: &str) -> bool {
        Number::parse(text).is_some_and(|number| self.contains_number(number))
    }

    /// Whether `number` is in the set.
    pub fn contains_number(&self, number: Number) -> bool {
        let after = self.0.partition_point(|range| range.first <= number);
        after > 0 && number <= self.0[after - 1].last
    }

    /// The ranges, sorted, neither overlapping nor touching.
    pub fn ranges(&self) -> &[NumberRange] {
        &self.0
    }

    /// How many numbers the set holds.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|range| range.count()).sum()
    }

    /// How many numbers both sets hold.
    pub fn common(&self, other: &Self) -> u64 {
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut count = 0;
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let (first, last) = (a.first.max(b.first), a.last.min(b.last));
            if first <= last {
                count += NumberRange { first, last }.count();
            }
            if a.last < b.last {
                left.next()
            } else {
                right.next()
            };
        }
        count
    }

    /// Whether the set holds no number.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: &str, last: &str) -> NumberRange {
        let read = |text| Number::parse(text).unwrap();
        NumberRange { first: read(first), last: read(last) }
    }

    #[test]
    fn numbers_keep_their_length() {
        for text in ["+0", "+1", "+01", "+001", "+999999999999999", "+15550010000"] {
            assert_eq!(Number::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "+", "1", "++1", "+1 ", "+-1", "+1000000000000000", "+1a", "+\u{661}"] {
            assert_eq!(Number::parse(text), None, "{text:?}");
        }
        assert!(Number::parse("+9") < Number::parse("+01"));
    }

    #[test]
    fn what_cannot_be_an_international_number_is_private() {
        for text in ["+1001", "+1", "+1234567", "+0123456789", "+1555001000", "+155500100000"] {
            assert!(Number::parse(text).unwrap().is_private(), "{text}");
        }
        for text in ["+15550010000", "+442079460000", "+29012345", "+4930123456"] {
            assert!(!Number::parse(text).unwrap().is_private(), "{text}");
        }
    }

    #[test]
    fn a_set_merges_what_overlaps_or_touches_but_not_lengths() {
        let set = Numbers::new(vec![
            range("+30", "+39"),
            range("+15", "+20"),
            range("+10", "+19"),
            range("+21", "+21"),
            range("+99", "+99"),
            range("+000", "+009"),
        ]);
        assert_eq!(format!("{set:?}"), "[+10-+21, +30-+39, +99, +000-+009]");
        assert_eq!((set.count(), set.is_empty()), (33, false));
        for (text, want) in
            [("+10", true), ("+22", false), ("+21", true), ("+9", false), ("+099", false)]
        {
            assert_eq!(set.contains(text), want, "{text}");
        }
        assert!(!set.contains("10") && !set.contains("tel:+10"));
        let other = Numbers::new(vec![range("+20", "+31"), range("+005", "+100")]);
        assert_eq!((set.common(&other), other.common(&set)), (9, 9));
        assert_eq!(set.common(&Numbers::default()), 0);
    }

    #[test]
    fn a_range_gives_each_of_its_numbers() {
        let texts = |first, last| {
            range(first, last).iter().map(|number| number.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(texts("+0998", "+1001"), ["+0998", "+0999", "+1000", "+1001"]);
        assert_eq!(texts("+0", "+0"), ["+0"]);
        assert_eq!(range("+000", "+999").iter().count() as u64, range("+000", "+999").count());
        let whole = range("+000000000000000", "+999999999999999");
        assert_eq!(whole.iter().next_back().map(Number::digits), Some(15));
    }

    #[test]
    fn a_million_numbers_are_compact() {
        let number = |n: u64| Number::parse(&format!("+4930{:08}", n * 2)).unwrap();
        let ranges = (0..1_000_000).map(|n| NumberRange { first: number(n), last: number(n) });
        let set = Numbers::new(ranges.collect());
        assert_eq!(set.count(), 1_000_000);
        assert_eq!(std::mem::size_of_val(set.ranges()), 16_000_000);
        assert!(set.contains("+493000000002") && !set.contains("+493000000003"));
        let block = Numbers::new(vec![range("+493000000000", "+493000999999")]);
        assert_eq!((block.ranges().len(), block.count()), (1, 1_000_000));
    }
}
