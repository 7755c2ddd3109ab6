//! A call that is up between a raw trunk and the raw Teams end, with media on both sides.

use std::thread;
use std::time::Duration;

use super::dialog::Dialog;
use super::media::{CM_80, Crypto, MediaEnd, talk};
use super::place::PROXY;
use super::scene::{Carrier, Teams};
use super::sip::Msg;
use super::wire::{Flow, Received};

pub struct Talking {
    pub teams: Dialog,
    pub carrier: Dialog,
    pub teams_media: MediaEnd,
    pub carrier_media: MediaEnd,
    /// The gateway's INVITE to the called side.
    pub invite: Msg,
    /// The gateway's 200 to the calling side.
    pub answer: Msg,
    /// What Teams sends with.
    pub own: Crypto,
    /// What the gateway sends with.
    pub theirs: Crypto,
}

pub const CALLER: &str = "+442071230000";
pub const CALLED: &str = "+15550010001";
/// The tenant of that number, and a number of the public network.
const TENANT: &str = "t001.sbc.test";
const NUMBER: &str = "+442079460001";

/// An answer to the gateway's offer, in its suite.
pub fn answer_to(media: &mut MediaEnd, invite: &Msg) -> (String, Crypto, Crypto) {
    let theirs = Crypto::of(invite);
    let own = Crypto::fresh(theirs.tag, &theirs.suite);
    media.secure(&own, &theirs);
    media.towards(invite);
    media.mux = invite.attribute("rtcp-mux").is_some();
    let mux = if media.mux { "a=rtcp-mux\r\n" } else { "" };
    (media.secure_sdp(&[&own], "sendrecv", mux), own, theirs)
}

impl Talking {
    /// From the trunk to a number of a tenant.
    pub fn incoming(teams: &Teams, carrier: &Carrier, called: &str) -> Self {
        Self::incoming_from(teams, carrier, called, 7000)
    }

    /// From the trunk, or from Teams by `flow`, in the usual scene.
    pub fn either(incoming: bool, teams: &Teams, flow: &Flow, carrier: &Carrier) -> Self {
        if incoming {
            Self::incoming(teams, carrier, CALLED)
        } else {
            Self::outgoing(teams, flow, TENANT, carrier, NUMBER)
        }
    }

    pub fn incoming_from(teams: &Teams, carrier: &Carrier, called: &str, port: u16) -> Self {
        let mut carrier_media = MediaEnd::new(carrier.ip(), port);
        let mut teams_media = MediaEnd::new(teams.place.ip(PROXY), port);
        let mut caller = carrier.call(CALLER, called, &carrier_media.plain_sdp("sendrecv"));
        let (invite, callee) = teams.invited();
        let (sdp, own, theirs) = answer_to(&mut teams_media, &invite.msg);
        callee.reply(&invite, "180 Ringing", "", "");
        caller.response(180);
        callee.reply(&invite, "200 OK", "", &sdp);
        let answer = caller.response(200);
        caller.ack();
        callee.take("ACK");
        carrier_media.towards(&answer.msg);
        Self {
            teams: callee,
            carrier: caller,
            teams_media,
            carrier_media,
            invite: invite.msg,
            answer: answer.msg,
            own,
            theirs,
        }
    }

    /// From a Teams user to a number behind the trunk.
    pub fn outgoing(
        teams: &Teams,
        flow: &Flow,
        fqdn: &str,
        carrier: &Carrier,
        called: &str,
    ) -> Self {
        Self::outgoing_from(teams, flow, fqdn, carrier, (called, 7100))
    }

    /// The same with the port of both ends' media.
    pub fn outgoing_from(
        teams: &Teams,
        flow: &Flow,
        fqdn: &str,
        carrier: &Carrier,
        (called, port): (&str, u16),
    ) -> Self {
        let own = Crypto::fresh(1, CM_80);
        let mut teams_media = MediaEnd::new(teams.place.ip(PROXY), port);
        let offer = teams_media.secure_sdp(&[&own], "sendrecv", "");
        let mut caller = teams.call(flow, fqdn, CALLED, called, &offer);
        let mut carrier_media = MediaEnd::new(carrier.ip(), port);
        let (invite, callee) = carrier.invited();
        callee.reply(&invite, "180 Ringing", "", "");
        caller.response(180);
        callee.reply(&invite, "200 OK", "", &carrier_media.plain_sdp("sendrecv"));
        carrier_media.towards(&invite.msg);
        let answer = caller.response(200);
        caller.ack();
        callee.take("ACK");
        let theirs = Crypto::of(&answer.msg);
        teams_media.secure(&own, &theirs);
        teams_media.towards(&answer.msg);
        Self {
            teams: caller,
            carrier: callee,
            teams_media,
            carrier_media,
            invite: invite.msg,
            answer: answer.msg,
            own,
            theirs,
        }
    }

    pub fn talk(&mut self) {
        talk(&mut self.carrier_media, &mut self.teams_media, 40);
    }

    /// Both speak, and nobody hears anything.
    pub fn is_silent(&mut self) {
        drop((self.carrier_media.hear(), self.teams_media.hear()));
        for _ in 0..20 {
            self.carrier_media.speak();
            self.teams_media.speak();
            thread::sleep(Duration::from_millis(4));
        }
        thread::sleep(Duration::from_millis(50));
        let heard = [self.carrier_media.hear(), self.teams_media.hear()];
        assert_eq!(heard, [vec![], vec![]], "held");
    }

    /// The gateway's last SDP towards Teams: its INVITE on an incoming call, its 200 otherwise.
    pub fn described_to_teams(&self) -> &Msg {
        if self.invite.attribute("crypto").is_some() { &self.invite } else { &self.answer }
    }

    /// Re-INVITE from the trunk; Teams answers with `answer`.
    pub fn carrier_offers(&mut self, direction: &str, answer: &str) -> (Received, Msg) {
        let sdp = self.carrier_media.plain_sdp(direction);
        self.carrier.send("INVITE", "", &sdp);
        let offer = self.teams.take("INVITE");
        let mux = if self.teams_media.mux { "a=rtcp-mux\r\n" } else { "" };
        let sdp = self.teams_media.secure_sdp(&[&self.own], answer, mux);
        self.teams.reply(&offer, "200 OK", "", &sdp);
        let done = self.carrier.response(200);
        self.carrier.ack();
        self.teams.take("ACK");
        (offer, done.msg)
    }

    /// Re-INVITE from Teams; the trunk answers with `answer`.
    pub fn teams_offers(&mut self, direction: &str, answer: &str) -> (Received, Msg) {
        let mux = if self.teams_media.mux { "a=rtcp-mux\r\n" } else { "" };
        let sdp = self.teams_media.secure_sdp(&[&self.own], direction, mux);
        self.teams.send("INVITE", "", &sdp);
        let offer = self.carrier.take("INVITE");
        let sdp = self.carrier_media.plain_sdp(answer);
        self.carrier.reply(&offer, "200 OK", "", &sdp);
        let done = self.teams.response(200);
        self.teams.ack();
        self.carrier.take("ACK");
        (offer, done.msg)
    }

    pub fn carrier_hangs_up(mut self) {
        self.carrier.send("BYE", "", "");
        self.teams.hung_up();
        self.carrier_got_200();
    }

    fn carrier_got_200(&self) {
        // The 200 to our BYE; it may have come before the other side's.
        self.carrier.took_200("BYE");
    }

    pub fn teams_hangs_up(mut self) {
        self.teams.send("BYE", "", "");
        self.carrier.hung_up();
        self.teams.took_200("BYE");
    }
}
