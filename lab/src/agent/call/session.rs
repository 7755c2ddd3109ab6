//! Changes of a session that stands: hold in each form, refresh, a new key, an offer that comes late.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::invite::Edit;
use crate::agent::{Call, Fault};
use crate::media::srtp::{Key, Suite};
use crate::sip::{Direction, Message, Sdp};
use crate::wire::Arrival;

impl Call {
    /// From now on each SDP of ours is changed so, or as it is.
    pub fn edit(&mut self, edit: Option<Edit>) {
        self.edit = edit;
    }

    /// A key of one's own from the next SDP on.
    pub fn use_key(&mut self, key: Key) {
        self.key = Some(key);
    }

    /// A fresh key from the next SDP on.
    pub fn rekey(&mut self) {
        self.key = Some(Key::random(Suite::AesCm128Sha1_80));
    }

    /// Our packets begin with this sequence number.
    pub const fn begin_with(&mut self, sequence: u16) {
        self.sequence = Some(sequence);
    }

    /// A re-INVITE with this direction; waits for the answer, acknowledges it and gives it.
    pub async fn reinvite(&mut self, way: Direction, limit: Duration) -> Result<Sdp, Fault> {
        let answer = self.offer(way, limit).await?;
        if answer.status() >= 300 {
            let (status, phrase) = (answer.status(), answer.phrase().to_owned());
            return Err(Fault::Refused { status, phrase });
        }
        self.remote.clone().ok_or(Fault::Media("no answer"))
    }

    /// The same; gives the answer as it came, also one that refuses.
    pub async fn offer(&mut self, way: Direction, limit: Duration) -> Result<Arc<Message>, Fault> {
        let sdp = self.offer_sdp(way);
        self.reoffer(&sdp, limit).await
    }

    /// A re-INVITE with the SDP that was said last, to the letter.
    pub async fn refresh(&mut self, limit: Duration) -> Result<Arc<Message>, Fault> {
        self.reoffer(&self.said.clone(), limit).await
    }

    /// A re-INVITE without an offer: our SDP goes with the ACK.
    pub async fn late_offer(&mut self, limit: Duration) -> Result<Arc<Message>, Fault> {
        self.late = true;
        self.reoffer("", limit).await
    }

    async fn reoffer(&mut self, sdp: &str, limit: Duration) -> Result<Arc<Message>, Fault> {
        self.ask("INVITE", self.core.dialect.invite_lines(), sdp, limit).await
    }

    fn offer_sdp(&mut self, way: Direction) -> String {
        let (rtp, key) = (self.port.rtp(), self.key.as_ref());
        let sdp = self.core.dialect.offer(rtp, key, self.version, way.name());
        self.version += 1;
        self.said = Edit::apply(self.edit.as_ref(), sdp);
        self.said.clone()
    }

    pub(super) fn answer_sdp(&mut self, way: &str) -> Result<String, Fault> {
        let offer = self.remote.as_ref().ok_or(Fault::Media("no offer"))?;
        let (rtp, key) = (self.port.rtp(), self.key.as_ref());
        let answer = self.core.dialect.sdp_answer(offer, rtp, key, self.version, way);
        let answer = answer.ok_or(Fault::Media("no G.711 in the offer"))?;
        self.said = Edit::apply(self.edit.as_ref(), answer);
        Ok(self.said.clone())
    }

    pub(super) async fn reinvited(&mut self, arrival: &Arrival) -> Result<(), Fault> {
        self.dialog.refresh(&arrival.message);
        let sdp = match arrival.message.sdp() {
            Some(sdp) => {
                self.apply(&sdp).await?;
                let way = self.remote.as_ref().map(|sdp| sdp.direction);
                let way = way.unwrap_or(Direction::SendRecv).mirrored();
                self.version += 1;
                self.answer_sdp(way.name())?
            }
            None => self.offer_sdp(Direction::SendRecv),
        };
        let (dialect, face) = (&self.core.dialect, self.face());
        let bytes = dialect.response(&arrival.message, 200, "OK", "", Some(&face), "", &sdp);
        self.core.answer(arrival, bytes).await;
        Ok(())
    }
}
