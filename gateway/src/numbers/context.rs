//! Local numbers with a global context (RFC 3966 §5.1.5).

use phonenumber::metadata::DATABASE;

use super::{LONGEST_PUBLIC, Number, SHORTEST_PUBLIC, dialled, national};

impl Number {
    /// The digits of a global context ("+44", "+44-20"); `None` when it is a domain or nonsense.
    pub fn context(text: &[u8]) -> Option<String> {
        let context = dialled(text)?;
        let digits = context.strip_prefix('+')?;
        let fine = (1..LONGEST_PUBLIC).contains(&digits.len());
        (fine && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.to_owned())
    }

    /// Reads a user part beside which a global context stands. That of a country says how a national number is read; a
    /// longer one is what a number lacks. Numbers that are global already and short ones stay what they are.
    pub fn read_within(user: &[u8], context: &str, country: Option<&str>) -> Option<Self> {
        let text = dialled(user)?;
        if !text.bytes().all(|byte| byte.is_ascii_digit()) || text.starts_with("00") {
            return Self::read(user, country);
        }
        let plan =
            context.parse().ok().and_then(|code: u16| DATABASE.by_code(&code)?.first().copied());
        let Some(plan) = plan else {
            return Self::joined(context, &text, SHORTEST_LOCAL);
        };
        if let Some(number) = national(&text, plan.id()) {
            return Some(Self::Public(number));
        }
        let prefix = plan.national_prefix().unwrap_or_default();
        let plain = text.strip_prefix(prefix).unwrap_or(&text);
        match Self::joined(context, plain, SHORTEST_PUBLIC) {
            Some(Self::Private(_)) => Some(Self::Private(text)),
            joined => joined,
        }
    }

    /// Context and local digits as one number; fewer digits than `shortest` are a short code.
    fn joined(context: &str, digits: &str, shortest: usize) -> Option<Self> {
        let length = context.len() + digits.len();
        if digits.len() < shortest || length < SHORTEST_PUBLIC {
            return Some(Self::Private(digits.to_owned()));
        }
        (length <= LONGEST_PUBLIC).then(|| Self::Public(format!("+{context}{digits}")))
    }
}

/// Fewer digits than this are a short code, also where a context stands beside them.
const SHORTEST_LOCAL: usize = 5;
