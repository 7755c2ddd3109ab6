//! A SIP end that follows a script: it repeats what UDP may lose, absorbs what comes twice, finds
//! calls by Call-ID, and leaves every decision to the one who holds the [`Call`].
//!
//! RFC 3261 §17 in the smallest form that is fair to the other side: requests over UDP are sent
//! again until answered, 2xx until acknowledged, finals are acknowledged, repeats answered alike.

mod call;
mod core;
pub(crate) mod dialect;
mod dialog;
mod etiquette;
mod invite;
mod moods;
pub(crate) mod pair;
pub(crate) mod robot;
pub(crate) mod scenario;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::capture::{Log, Transport};
use crate::sip::Message;
use crate::wire::{Handshake, Tls, Weather, Wire, lock};

pub use self::call::Call;
pub use self::call::transfer::Order;
pub use self::core::{Offer, Ping};
pub(crate) use self::dialect::Dialect;
pub use self::invite::{Around, Edit, Invite};
pub use self::scenario::{SCENARIOS, Scenario};

use self::core::Core;
use self::moods::Wanted;

/// Why a step of a call did not go as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing came in time.
    #[error("no {0} in time")]
    Silence(&'static str),
    /// A final answer that refuses.
    #[error("refused with {status} {phrase}")]
    Refused {
        /// Status.
        status: u16,
        /// Reason phrase.
        phrase: String,
    },
    /// The other side ended the call first.
    #[error("the call ended before {0}")]
    Ended(&'static str),
    /// The SDP is missing, or without usable codec, address or key.
    #[error("unusable SDP: {0}")]
    Media(&'static str),
    /// A socket failed.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
    /// A rule was broken.
    #[error("{0}")]
    Rule(String),
    /// The gateway's address was not given and no request came from it yet.
    #[error("the address of the gateway is not known yet")]
    NoGateway,
}

/// An address that an agent listens on.
#[derive(Clone, Debug)]
pub struct Home {
    /// Over what.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

/// One end with its sockets. Everything it holds ends when it is dropped.
pub struct Agent {
    core: Arc<Core>,
}

impl Agent {
    /// Opens the sockets; port 0 takes any.
    pub(crate) async fn start(
        end: &str,
        dialect: Dialect,
        homes: &[Home],
        gateway: Option<SocketAddr>,
        tls: Option<Tls>,
        log: Log,
    ) -> io::Result<Self> {
        let wire = Wire::new(end, log.clone(), tls);
        let mut open = Vec::new();
        for home in homes {
            let address = wire.listen(home.transport, home.address).await?;
            open.push(Home { transport: home.transport, address });
        }
        let core = Core::new(dialect, open, gateway, wire.shared(), log);
        tokio::spawn(Arc::clone(&core).run(wire));
        Ok(Self { core })
    }

    /// Where it listens, in the order given.
    #[must_use]
    pub fn homes(&self) -> &[Home] {
        &self.core.homes
    }

    /// Calls the gateway: sends INVITE with an offer from the given home.
    pub async fn call(&self, invite: Invite) -> Result<Call, Fault> {
        Call::outgoing(&self.core, invite).await
    }

    /// The next call to this number (digits; a `+` does not count) belongs to the caller of this.
    #[must_use]
    pub fn expect(&self, called: &str) -> Expected {
        self.awaited(Wanted::Number(digits(called)))
    }

    /// The next call to a Request-URI with this in it, in any case, belongs to the caller of this.
    #[must_use]
    pub fn expect_token(&self, token: &str) -> Expected {
        self.awaited(Wanted::Token(token.to_owned()))
    }

    fn awaited(&self, wanted: Wanted) -> Expected {
        let (sender, offer) = oneshot::channel();
        lock(&self.core.expected).push((wanted, sender));
        Expected { offer }
    }

    /// From now on an INVITE to this number gets no answer at all, not even 100.
    pub fn ignore(&self, called: &str) {
        lock(&self.core.moods).silent.push(digits(called));
    }

    /// Whether one of our homes hears anything.
    pub fn deafen(&self, home: usize, deaf: bool) {
        let ip = self.core.homes[home].address.ip();
        let mut moods = lock(&self.core.moods);
        moods.deaf.retain(|known| *known != ip);
        if deaf {
            moods.deaf.push(ip);
        }
    }

    /// From now on OPTIONS that come to one of our homes are refused with this, or answered again.
    pub fn refuse_pings(&self, home: usize, with: Option<(u16, &str)>) {
        let address = self.core.homes[home].address;
        let mut moods = lock(&self.core.moods);
        match with {
            Some((status, extra)) => {
                moods.pings.insert(address, (status, extra.to_owned()));
            }
            None => {
                moods.pings.remove(&address);
            }
        }
    }

    /// Calls that nobody expected; without this they get 404.
    #[must_use]
    pub fn strangers(&self) -> mpsc::Receiver<Offer> {
        let (sender, offers) = mpsc::channel(64);
        *lock(&self.core.strangers) = Some(sender);
        offers
    }

    /// One OPTIONS to `host` at the gateway; the status of the answer.
    pub async fn ping(&self, home: usize, host: &str) -> Result<u16, Fault> {
        Ok(self.core.ping(home, host).await?.0.status())
    }

    /// One OPTIONS to `host` at the gateway: its answer, how long that took, and whether it came on
    /// the connection of the request.
    pub(crate) async fn ask_options(
        &self,
        home: usize,
        host: &str,
    ) -> Result<(Arc<Message>, Duration, bool), Fault> {
        self.core.ping(home, host).await
    }

    /// From now on its datagrams go over a line so bad.
    pub fn weather(&self, weather: Weather) {
        self.core.wire.weather(weather);
    }

    /// OPTIONS that came.
    #[must_use]
    pub fn pings(&self) -> Vec<Ping> {
        lock(&self.core.pings).clone()
    }

    /// What the gateway did against a rule, each once.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        lock(&self.core.complaints).clone()
    }

    /// All TLS handshakes.
    #[must_use]
    pub fn handshakes(&self) -> Vec<Handshake> {
        self.core.wire.handshakes()
    }

    /// What it captured.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.core.log
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.core.stop.notify_one();
    }
}

/// A number at which a call is awaited.
pub struct Expected {
    offer: oneshot::Receiver<Offer>,
}

impl Expected {
    /// The call, with its media port open and nothing but 100 sent.
    pub async fn call(self, limit: Duration) -> Result<Call, Fault> {
        let offer = timeout(limit, self.offer).await.ok().and_then(Result::ok);
        offer.ok_or(Fault::Silence("INVITE"))?.take().await
    }
}

/// The digits of a number.
pub(crate) fn digits(number: &str) -> String {
    number.chars().filter(char::is_ascii_digit).collect()
}
