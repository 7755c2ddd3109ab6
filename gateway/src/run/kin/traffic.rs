//! What goes from process to process while there are several: messages that belong to another one, sends on
//! connections of another one, and how many calls each has.

use std::time::Instant;

use bytes::Bytes;
use sip_stack::endpoint::SendId;
use sip_stack::transport::{FlowId, Source, Target, Transport};
use tracing::info;

use super::{Came, SPARE};
use crate::core::kin::Kin;
use crate::handover::flow;
use crate::handover::heir::{self, Event};
use crate::handover::note::{Address, ENDS, Heard, Note};
use crate::run::driver::Driver;
use crate::run::stop::Stop;

impl Driver {
    /// Sends a message: on a connection of ours, or by the process whose connection it is.
    pub(in crate::run) fn send(&mut self, id: SendId, mut target: Target, bytes: Bytes) {
        if let Some((kin, inner)) = target.flow.and_then(flow::owner) {
            let local = self.kin.name(target.local);
            let to = Address::new(&target, local, Some(inner));
            if self.kin.tell(kin, &Note::Send { id: id.0, to }, &bytes, Vec::new()) {
                return;
            }
            // That process is gone, and its connections with it.
            target.flow = None;
        }
        self.net.send(id, target, bytes);
    }

    /// Hands a message to the process that it belongs to.
    pub(in crate::run) fn hand(&mut self, to: Kin, source: &Source, raw: &[u8]) {
        if let (Kin::Heir, Some(own)) = (to, source.flow.filter(|f| flow::owner(*f).is_none())) {
            self.kin.lent.insert(own);
        }
        let heard = Heard::new(source, self.kin.name(source.local));
        // A datagram will be repeated; what came on a stream never is.
        if source.transport == Transport::Udp && self.kin.is_crowded() {
            return self.kin.lost.add(1);
        }
        if !self.kin.tell(to, &Note::Message(heard), raw, Vec::new()) {
            self.kin.lost.add(1);
        }
    }

    /// A send failed; true: it was another process's, which has been told.
    pub(in crate::run) fn unsent_of_others(&mut self, id: SendId) -> bool {
        let Some(whose) = self.kin.sends.take(id) else { return false };
        if let Some((kin, id)) = whose {
            // Else that process is gone.
            let _ = self.kin.tell(kin, &Note::Unsent { id }, b"", Vec::new());
        }
        true
    }

    /// The core needs a connection no more.
    pub(in crate::run) fn close_flow(&mut self, flow: FlowId) {
        match flow::owner(flow) {
            Some((kin, inner)) => {
                // Else its connections are gone as well.
                let _ = self.kin.tell(kin, &Note::Free { flow: inner.0 }, b"", Vec::new());
            }
            None if self.kin.lent.contains(&flow) => {
                self.kin.done.insert(flow);
            }
            None => self.net.close(flow),
        }
    }

    /// A connection of ours is gone.
    pub(in crate::run) fn forget_flow(&mut self, flow: FlowId) {
        self.kin.lent.remove(&flow);
        self.kin.done.remove(&flow);
    }

    /// Tells the others what concerns them: once a second.
    pub(in crate::run) fn beat_kin(&mut self) {
        self.meters.show_elder(self.kin.elder_calls);
        if self.kin.heir.has_taken_over() {
            self.core.give_up_ports(SPARE);
            let calls = self.core.calls() + self.kin.elder_calls;
            let (depth, all) = (self.kin.depth, self.core.load());
            let mut rest = &all[..];
            loop {
                let (some, left) = rest.split_at(rest.len().min(ENDS));
                let more = rest.len() < all.len();
                let load = Note::Load { calls, depth, ends: some.to_vec(), more };
                let _ = self.kin.tell(Kin::Heir, &load, b"", Vec::new());
                if left.is_empty() {
                    break;
                }
                rest = left;
            }
        }
    }

    /// Serves what the others have said.
    pub(in crate::run) fn serve_kin(&mut self, now: Instant) {
        for _ in 0..self.kin.inbox.len() {
            match self.kin.inbox.pop_front() {
                None => {}
                Some(Came::Newcomer(link)) => self.greet(link, now),
                Some(Came::Packet(kin, packet)) => self.heed(kin, &packet.bytes, now),
                Some(Came::Lost(Kin::Elder)) => self.lose_elder(now),
                Some(Came::Lost(Kin::Heir)) => self.heir_event(Event::Lost, now),
            }
        }
        if self.kin.heir.poll_timeout().is_some_and(|due| due <= now) {
            self.heir_event(Event::Timer, now);
        }
        while self.kin.seek.front().is_some_and(|due| *due <= now) {
            self.kin.seek.pop_front();
            self.take_up_dead(now);
        }
    }

    fn heed(&mut self, kin: Kin, packet: &Bytes, now: Instant) {
        let Some((note, bytes)) = Note::unpack(packet) else {
            return self.kin.lost.add(1);
        };
        match (kin, note) {
            (Kin::Heir, Note::Hello { version, program }) => {
                info!(program, version, "another process wants to take over");
                let unable = if self.stop != Stop::Serving {
                    Some(heir::STOPPING)
                } else {
                    (self.kin.depth >= DEEPEST).then_some(heir::MANY)
                };
                self.heir_event(Event::Hello(version, unable), now);
            }
            (Kin::Heir, Note::Ready { taken }) => {
                self.kin_taken = taken;
                self.heir_event(Event::Ready, now);
            }
            (Kin::Heir, Note::Stop { drain }) => self.heir_event(Event::Stop(drain), now),
            (Kin::Heir, Note::End) => self.heir_event(Event::End, now),
            (Kin::Heir, Note::Free { flow }) => self.free(FlowId(flow)),
            (Kin::Elder, Note::Load { calls, depth, ends, more }) => {
                self.kin.elder_calls = calls;
                self.kin.depth = depth + 1;
                self.core.note_load(ends, more);
            }
            (_, Note::Message(heard)) => self.take_handed(kin, &heard, bytes, now),
            (_, Note::Send { id, to }) => self.send_for(kin, id, &to, bytes),
            (_, Note::Unsent { id }) => {
                if !self.unsent_of_others(SendId(id)) {
                    self.core.handle_send_failed(SendId(id), now);
                }
            }
            (
                _,
                Note::Hello { .. }
                | Note::Refuse { .. }
                | Note::Welcome { .. }
                | Note::Sockets(_)
                | Note::Ready { .. }
                | Note::Known
                | Note::Go
                | Note::Free { .. }
                | Note::Load { .. }
                | Note::Stop { .. }
                | Note::End,
            ) => self.kin.lost.add(1),
        }
    }

    fn take_handed(&mut self, kin: Kin, heard: &Heard, raw: Bytes, now: Instant) {
        let (Some(source), Some(Ok(message))) = (self.kin.source(kin, heard), self.net.read(raw))
        else {
            return self.kin.lost.add(1);
        };
        self.net.note_heard(&source);
        self.core.handle_handed(kin, source, message, now);
    }

    fn send_for(&mut self, kin: Kin, id: u64, to: &Address, bytes: Bytes) {
        let Some(target) = self.kin.target(to) else {
            let _ = self.kin.tell(kin, &Note::Unsent { id }, b"", Vec::new());
            return;
        };
        let id = self.kin.sends.name(kin, id);
        self.send(id, target, bytes);
    }

    /// The heir needs a connection of ours no more.
    fn free(&mut self, flow: FlowId) {
        if flow::owner(flow).is_some() {
            return self.close_flow(flow);
        }
        self.kin.lent.remove(&flow);
        if self.kin.done.remove(&flow) {
            self.net.close(flow);
        }
    }
}

/// Processes that may be left before one that is taken over from: a connection is named over four links.
const DEEPEST: usize = 4;
