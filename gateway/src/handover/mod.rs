//! Upgrade in place: a new process takes over from the running one, and no call notices.
//!
//! The *elder* is the process that was there before, the *heir* the one that takes over; the heir of one upgrade is
//! the elder of the next. They speak over a unix socket (`state/control.sock`), which stays open as their *link*:
//!
//! ```text
//! heir                                 elder
//!   | Hello(version) ------------------> |   is alone and serves; gives its free media ports back
//!   | <------- Welcome(who made what)    |
//!   | <------- Sockets(…) + descriptors  |   goes on as before, whatever becomes of the heir
//!   | (reads its configuration, binds)   |
//!   | Ready(what it took) -------------> |   from here on reads none of these sockets,
//!   | <------- Known(its transactions)   |   and takes nothing new
//!   | <------- Go                        |
//!   | reads the sockets, says `ready`    |   its calls, their media and its connections stay until they end
//!   | <===== Message, Send, Unsent =====>|
//! ```
//!
//! What belongs to whom is read from the origin that stands in our tags and branches, and, for initial requests, from
//! the elder's list of transactions ([`crate::core::kin`]). Either side hands over what came to it and is the other's,
//! and sends on its own connections for the other. When the heir ends without a word, the elder takes everything back;
//! when the elder ends, the heir is alone. A chain of several that still drain works the same way, link by link.
//!
//! [`heir`] and [`elder`] are the two ends as pure machines, [`note`] is what is said, [`flow`] names connections of
//! others, [`socket`] carries it, and `run/kin.rs` drives it.
//!
//! Deliberately absent: moving TLS sessions (dialogs live without connections), and any hand-over between machines.

pub mod elder;
pub mod flow;
pub mod heir;
pub mod note;
pub mod socket;

/// The version of everything that two processes say to each other, digests of transactions included. Both must have
/// the same.
pub const VERSION: u16 = 1;
