//! The end that is called: answers everything at once and keeps nothing.

use super::text::Persona;

/// A callee on either transport.
pub(super) struct Callee {
    persona: Persona,
    ring: bool,
    answered: u64,
}

impl Callee {
    pub(super) const fn new(persona: Persona, ring: bool) -> Self {
        Self { persona, ring, answered: 0 }
    }

    pub(super) const fn set_ring(&mut self, ring: bool) {
        self.ring = ring;
    }

    /// Answers a request: each response is written to `buffer` and handed to `send`.
    pub(super) fn handle(
        &mut self,
        request: &[u8],
        buffer: &mut Vec<u8>,
        mut send: impl FnMut(&[u8]),
    ) {
        let mut respond = |persona: &Persona, status, tag, sdp| {
            buffer.clear();
            persona.respond(buffer, request, status, tag, sdp);
            send(buffer);
        };
        if request.starts_with(b"INVITE ") {
            self.answered += 1;
            let tag = self.answered;
            respond(&self.persona, "100 Trying", tag, false);
            if self.ring {
                respond(&self.persona, "180 Ringing", tag, false);
            }
            respond(&self.persona, "200 OK", tag, true);
        } else if !request.starts_with(b"ACK ") {
            respond(&self.persona, "200 OK", 0, false);
        }
    }
}
