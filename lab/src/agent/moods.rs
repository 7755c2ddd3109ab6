//! Whom an end waits for, and how it behaves where it is told not to be well.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::agent::digits;
use crate::sip::Message;
use crate::wire::Arrival;

/// Which calls are awaited.
pub(crate) enum Wanted {
    /// To this number (digits).
    Number(String),
    /// To a Request-URI with this in it, in any case.
    Token(String),
}

impl Wanted {
    pub(crate) fn is(&self, invite: &Message) -> bool {
        match self {
            Self::Number(number) => digits(invite.called()) == *number,
            Self::Token(token) => {
                invite.uri().to_ascii_lowercase().contains(&token.to_ascii_lowercase())
            }
        }
    }
}

/// How an end that is not well behaves.
#[derive(Default)]
pub(crate) struct Moods {
    /// Homes that hear nothing.
    pub(crate) deaf: Vec<IpAddr>,
    /// Numbers (digits) whose INVITE is not answered at all.
    pub(crate) silent: Vec<String>,
    /// Homes at which OPTIONS are refused: the status, and header lines.
    pub(crate) pings: HashMap<SocketAddr, (u16, String)>,
}

impl Moods {
    pub(crate) fn ignores(&self, arrival: &Arrival) -> bool {
        let message = &arrival.message;
        self.deaf.contains(&arrival.channel.local.ip())
            || message.is_request() && self.silent.contains(&digits(message.called()))
    }
}
