//! Trunks that say themselves where they are: PBXs that register with us (RFC 3261 §10.3).

use std::time::Duration;

use ipnet::IpNet;

use super::Transport;

/// What holds for the registration of a trunk with us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registrar {
    /// The user of the address-of-record that it registers.
    pub user: String,
    /// The shortest registration, 10 s to 1 h.
    pub min_expires: Duration,
    /// The longest one, 1 min to 24 h, not below `min_expires`.
    pub max_expires: Duration,
    /// How many contacts it may have, 1 to 10.
    pub max_contacts: u8,
    /// From where it may register; empty: from anywhere.
    pub networks: Vec<IpNet>,
    /// By which transports; never empty.
    pub transports: Vec<Transport>,
    /// Who is asked for by its calls.
    pub request_user: RequestUser,
}

/// The user of the Request-URI of a call to a registered contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestUser {
    /// The called number.
    Number,
    /// That of the contact.
    Contact,
}
