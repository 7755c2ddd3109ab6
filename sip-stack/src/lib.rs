//! SIP as a stack of cores without sockets or clock: messages, transactions, dialogs, legs, SDP and
//! the location of servers. The drivers live in [`net`], behind the default feature of that name.
//!
//! Knows nothing of media, tenants or trunks.
//!
//! Departures from RFC 3261 in what is taken as a message, and why, stand in [`message`]; those
//! in how transactions run in [`transaction`], and in what the transaction layer leaves out in
//! [`endpoint`]; those in how calls run in [`leg`], and in how servers are located in [`locate`].

pub mod auth;
pub mod dialog;
pub mod endpoint;
pub mod framing;
pub mod glance;
pub mod leg;
pub mod locate;
pub mod message;
#[cfg(feature = "net")]
pub mod net;
mod own_map;
mod random;
pub mod sdp;
pub mod transaction;
pub mod transport;
pub mod uri;
