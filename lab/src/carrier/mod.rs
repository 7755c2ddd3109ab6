//! A fake carrier: UDP or TCP, RTP in clear, numbers in E.164, no special wishes.

pub(crate) mod dialect;

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;

use crate::agent::{Agent, Dialect, Home};
use crate::capture::{Log, Transport};

/// What a fake carrier is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name in logs and ladders.
    pub end: String,
    /// UDP or TCP.
    pub transport: Transport,
    /// Where it listens, and from where it calls; port 0 takes any.
    pub address: SocketAddr,
    /// Where the gateway listens for it.
    pub gateway: SocketAddr,
}

/// A running fake carrier.
pub struct FakeCarrier {
    agent: Agent,
}

impl FakeCarrier {
    /// Opens its sockets.
    pub async fn start(settings: Settings, log: Log) -> io::Result<Self> {
        let home = Home { transport: settings.transport, address: settings.address };
        let (dialect, gateway) = (Dialect::Carrier, Some(settings.gateway));
        let agent = Agent::start(&settings.end, dialect, &[home], gateway, None, log).await?;
        Ok(Self { agent })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.agent.homes()[0].address
    }
}

impl Deref for FakeCarrier {
    type Target = Agent;

    fn deref(&self) -> &Agent {
        &self.agent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Call, Fault, Invite};
    use crate::media::judge;
    use crate::sip::Direction;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(3);

    async fn pair(transport: Transport, [one, other]: [u8; 2]) -> (FakeCarrier, FakeCarrier) {
        let home = |last: u8| SocketAddr::from(([127, 0, 9, last], 5060));
        let start = |end: &str, own: u8, gateway: u8| {
            let (address, gateway) = (home(own), home(gateway));
            let settings = Settings { end: end.to_owned(), transport, address, gateway };
            FakeCarrier::start(settings, Log::new())
        };
        (start("a", one, other).await.unwrap(), start("b", other, one).await.unwrap())
    }

    async fn set_up(one: &FakeCarrier, other: &FakeCarrier, called: &str) -> (Call, Call) {
        let awaited = other.expect(called);
        let host = other.address().ip().to_string();
        let mut caller = one.call(Invite::new("+1555", called, &host)).await.unwrap();
        let mut callee = awaited.call(LIMIT).await.unwrap();
        callee.ring(180, 0).await;
        assert_eq!(caller.ringing(LIMIT).await.unwrap(), 180);
        let (answered, acked) = tokio::join!(caller.answered(LIMIT), callee.answer(0, LIMIT));
        answered.unwrap();
        acked.unwrap();
        (caller, callee)
    }

    #[tokio::test]
    async fn a_call_with_a_tone_each_way_over_udp_and_tcp() {
        for (transport, homes) in [(Transport::Udp, [1, 2]), (Transport::Tcp, [3, 4])] {
            let (one, other) = pair(transport, homes).await;
            let (mut caller, mut callee) = set_up(&one, &other, "+15550010001").await;
            caller.talk(500).await.unwrap();
            callee.talk(700).await.unwrap();
            caller.dial("7").await.unwrap();
            tokio::time::sleep(Duration::from_millis(600)).await;
            caller.mute().await;
            callee.mute().await;
            tokio::time::sleep(Duration::from_millis(40)).await;
            let (ended, byed) = tokio::join!(callee.ended(LIMIT), caller.bye(LIMIT));
            ended.unwrap();
            byed.unwrap();
            let (there, back) = (caller.tape().await, callee.tape().await);
            let now = crate::now();
            let flows = [judge(&there, &back, now), judge(&back, &there, now)];
            for flow in &flows {
                assert!(flow.is_clean() && flow.sent > 20, "{flow}");
            }
            assert_eq!(flows[0].digits_heard, "7");
            assert_eq!(one.complaints(), other.complaints());
            assert!(one.complaints().is_empty(), "{:?}", one.complaints());
        }
    }

    #[tokio::test]
    async fn a_refusal_and_a_cancel_end_the_call_on_both_sides() {
        let (one, other) = pair(Transport::Udp, [5, 6]).await;
        let awaited = other.expect("1");
        let mut caller = one.call(Invite::new("2", "1", "127.0.9.6")).await.unwrap();
        let mut callee = awaited.call(LIMIT).await.unwrap();
        callee.refuse(486, "Busy Here").await;
        assert_eq!(caller.refused(LIMIT).await.unwrap(), 486);

        let awaited = other.expect("1");
        let mut caller = one.call(Invite::new("2", "1", "127.0.9.6")).await.unwrap();
        callee = awaited.call(LIMIT).await.unwrap();
        callee.ring(180, 0).await;
        caller.ringing(LIMIT).await.unwrap();
        let (cancel, cancelled) = tokio::join!(callee.cancelled(LIMIT), caller.cancel(LIMIT));
        assert_eq!(cancel.unwrap().method(), "CANCEL");
        cancelled.unwrap();
        assert!(matches!(callee.answer(0, LIMIT).await, Err(Fault::Ended(_))));

        let mut nobody = one.call(Invite::new("2", "9", "127.0.9.6")).await.unwrap();
        assert_eq!(nobody.refused(LIMIT).await.unwrap(), 404);
    }

    #[tokio::test]
    async fn a_reinvite_holds_and_resumes() {
        let (one, other) = pair(Transport::Udp, [7, 8]).await;
        let (mut caller, mut callee) = set_up(&one, &other, "3").await;
        for (way, mirrored) in
            [(Direction::SendOnly, Direction::RecvOnly), (Direction::SendRecv, Direction::SendRecv)]
        {
            let (answer, _) =
                tokio::join!(caller.reinvite(way, LIMIT), callee.stay(Duration::from_millis(200)));
            assert_eq!(answer.unwrap().direction, mirrored);
            assert_eq!(callee.remote().unwrap().direction, way);
        }
    }

    #[tokio::test]
    async fn a_ping_is_answered_and_nobody_home_is_silence() {
        let (one, other) = pair(Transport::Tcp, [9, 10]).await;
        assert_eq!(one.ping(0, "127.0.9.10").await.unwrap(), 200);
        assert_eq!(other.pings().len(), 1);
        drop(other);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(one.ping(0, "127.0.9.10").await.is_err());
    }
}
