//! What the tests stand on. Nothing here uses a crate of the gateway.

pub mod attack;
pub mod audit;
pub mod capture;
pub mod dialog;
pub mod dns;
pub mod gateway;
pub mod kamailio;
pub mod line;
pub mod load;
pub mod media;
pub mod openssl;
pub mod peer;
pub mod place;
pub mod raw;
pub mod robot;
pub mod scene;
pub mod siege;
pub mod sip;
pub mod speaking;
pub mod stage;
pub mod stream;
pub mod talking;
pub mod tape;
pub mod tls;
pub mod watchdog;
pub mod wire;
