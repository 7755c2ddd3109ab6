//! The four transaction machines of RFC 3261 §17 with the corrections of RFC 6026.
//!
//! Each machine is its own file, begins with its table of transitions and is pure: it gets an input
//! and the time, and names the actions to take. It holds no message, so a table can test every state
//! against every input. [`crate::endpoint`] owns the machines, matches messages to them and carries
//! out the actions.
//!
//! Departures from the RFCs, each explained in its file: a failed ACK is not told to the user who
//! has the final response; Timer C also ends INVITEs that a user forgot, on both sides; a server
//! transaction, INVITE or not, outlives a failure to send a response (RFC 6026 §7.1 says so for
//! INVITE only), so that repeats are absorbed and no request is carried out twice; a request that
//! the user leaves unanswered ends after 64 × T1 (RFC 4320 §4.2: a later answer is useless).

pub mod client_invite;
pub mod client_non_invite;
pub mod server_invite;
pub mod server_non_invite;
pub mod timers;

pub use timers::Timing;

#[cfg(test)]
pub(crate) mod table;
