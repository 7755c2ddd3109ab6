//! Datagrams in batches: recvmmsg(2) with the kernel's time of arrival, sendmmsg(2) for what one turn
//! sends. The door for nix; rustix sends.
//!
//! A system call costs 0.2 µs beside the 0.5 µs that the kernel takes for one datagram to read, so
//! batches are worth it under load only; a single datagram costs what it did before.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::take;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg,
};
use nix::sys::time::TimeSpec;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::socket;
use crate::endpoint::SendId;
use crate::transport::LocalId;

/// A bound socket, and what waits to leave by it.
#[derive(Debug)]
pub(super) struct Datagrams {
    pub(super) local: LocalId,
    pub(super) address: SocketAddr,
    pub(super) socket: UdpSocket,
    /// Another process reads it.
    pub(super) idle: bool,
    /// At most [`BATCH`]: then they leave.
    waiting: Vec<(SendId, SocketAddr, Bytes)>,
}

/// Room for one batch of datagrams of any size. Only what was used takes memory.
#[derive(Debug)]
pub(super) struct Arrivals {
    room: Box<[u8]>,
}

/// One datagram that came in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) remote: SocketAddr,
    /// When the kernel got it.
    pub(super) received: Instant,
}

impl Datagrams {
    pub(super) const fn new(local: LocalId, address: SocketAddr, socket: UdpSocket) -> Self {
        Self { local, address, socket, idle: false, waiting: Vec::new() }
    }

    /// Reads one batch at most, and says how many there were; pending when there is none.
    pub(super) fn poll_read(
        &self,
        context: &mut Context<'_>,
        arrivals: &mut Arrivals,
        mut each: impl FnMut(Arrival<'_>),
    ) -> Poll<usize> {
        loop {
            let mut count = 0;
            let read = self.socket.try_io(Interest::READABLE, || {
                count = arrivals.read(&self.socket, &mut each)?;
                // Less than was asked for: nothing is left, and the next datagram wakes us.
                if count < BATCH { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            if count > 0 {
                return Poll::Ready(count);
            }
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match self.socket.poll_recv_ready(context) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) | Poll::Pending => return Poll::Pending,
                    }
                }
                // The network's answer to something we sent.
                Ok(()) | Err(_) => return Poll::Ready(1),
            }
        }
    }

    /// Puts a datagram with those that leave at the end of the turn. What could not leave is added
    /// to `failed`.
    pub(super) fn send(
        &mut self,
        id: SendId,
        remote: SocketAddr,
        bytes: Bytes,
        failed: &mut impl FnMut(SendId, SocketAddr, &io::Error),
    ) {
        self.waiting.push((id, remote, bytes));
        if self.waiting.len() >= BATCH {
            self.flush(failed);
        }
    }

    /// Sends what waits. A full send buffer is as good as a loss on the way: the transaction repeats
    /// what is lost.
    pub(super) fn flush(&mut self, failed: &mut impl FnMut(SendId, SocketAddr, &io::Error)) {
        if self.waiting.is_empty() {
            return;
        }
        let waiting = take(&mut self.waiting);
        let mut rest = &waiting[..];
        while let [(id, remote, bytes), others @ ..] = rest {
            let sent = if others.is_empty() {
                socket::send(&self.socket, bytes, *remote).map(|()| 1)
            } else {
                self.send_all(rest)
            };
            match sent {
                Ok(sent) => rest = rest.get(sent.max(1)..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    failed(*id, *remote, &error);
                    rest = others;
                }
            }
        }
        // The room is kept.
        self.waiting = waiting;
        self.waiting.clear();
    }

    /// How many of them left; an error is the first one's.
    fn send_all(&self, datagrams: &[(SendId, SocketAddr, Bytes)]) -> io::Result<usize> {
        let names: Vec<SocketAddrAny> =
            datagrams.iter().map(|(_, remote, _)| SocketAddrAny::from(*remote)).collect();
        let slices: Vec<[IoSlice<'_>; 1]> =
            datagrams.iter().map(|(.., bytes)| [IoSlice::new(bytes)]).collect();
        let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> =
            datagrams.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let mut headers: Vec<MMsgHdr<'_>> = names
            .iter()
            .zip(&slices)
            .zip(&mut controls)
            .map(|((name, slice), control)| MMsgHdr::new_with_addr(name, slice, control))
            .collect();
        Ok(sendmmsg(&self.socket, &mut headers, SendFlags::DONTWAIT)?)
    }
}

impl Arrivals {
    pub(super) fn new() -> Self {
        Self { room: vec![0; BATCH * DATAGRAM].into_boxed_slice() }
    }

    fn read(
        &mut self,
        socket: &UdpSocket,
        each: &mut impl FnMut(Arrival<'_>),
    ) -> io::Result<usize> {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.room.chunks_mut(DATAGRAM).map(|chunk| [IoSliceMut::new(chunk)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        // Not kept: they point into themselves and cannot go from thread to thread.
        let mut headers = MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(TimeSpec)));
        let read = recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, flags, None)?;
        let clocks = Clocks::read();
        let mut count = 0;
        for datagram in read {
            count += 1;
            let Some(remote) = datagram.address.as_ref().and_then(address) else { continue };
            let bytes = datagram.iovs().next().unwrap_or_default();
            each(Arrival { bytes, remote, received: clocks.received(&datagram) });
        }
        Ok(count)
    }
}

/// Both clocks at one moment: the kernel stamps by the time of day.
struct Clocks {
    now: Instant,
    wall: Duration,
}

impl Clocks {
    #[expect(clippy::disallowed_methods, reason = "a driver reads the clocks")]
    fn read() -> Self {
        let mut before = Instant::now();
        for _ in 0..TRIES {
            let wall = SystemTime::now();
            let now = Instant::now();
            // Whoever took the processor in between would make everything younger.
            if now.saturating_duration_since(before) < TOGETHER {
                let wall = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                return Self { now, wall };
            }
            before = now;
        }
        Self { now: before, wall: Duration::ZERO }
    }

    /// A clock that was set in between must not make a datagram old: at most [`OLDEST`].
    fn received(&self, datagram: &RecvMsg<'_, '_, SockaddrStorage>) -> Instant {
        let Ok(controls) = datagram.cmsgs() else { return self.now };
        for control in controls {
            if let ControlMessageOwned::ScmTimestampns(stamp) = control {
                let age = self.wall.saturating_sub(Duration::from(stamp));
                let age = if age > OLDEST { Duration::ZERO } else { age };
                return self.now.checked_sub(age).unwrap_or(self.now);
            }
        }
        self.now
    }
}

fn address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = || address.as_sockaddr_in().map(|v4| SocketAddr::V4(SocketAddrV4::from(*v4)));
    let v6 = || address.as_sockaddr_in6().map(|v6| SocketAddr::V6(SocketAddrV6::from(*v6)));
    v4().or_else(v6)
}

/// Readings of two clocks so near each other count as one.
const TOGETHER: Duration = Duration::from_micros(100);
const TRIES: usize = 8;
/// Datagrams of one system call.
pub(super) const BATCH: usize = 32;
/// The largest datagram.
const DATAGRAM: usize = 65_536;
/// Nothing waits longer in a socket that is read at all.
const OLDEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn bound() -> Datagrams {
        let socket = socket::datagrams("127.0.0.1:0".parse().unwrap(), None).unwrap();
        Datagrams::new(LocalId(0), socket.local_addr().unwrap(), socket)
    }

    async fn read(datagrams: &Datagrams, arrivals: &mut Arrivals) -> Vec<(Vec<u8>, Instant)> {
        let mut all = Vec::new();
        let each = |a: Arrival<'_>, all: &mut Vec<_>| all.push((a.bytes.to_vec(), a.received));
        poll_fn(|context| datagrams.poll_read(context, arrivals, |a| each(a, &mut all))).await;
        all
    }

    /// A machine that takes the processor away whenever the clocks are read makes a datagram younger, as is documented;
    /// it does not do so every time. Older than it is a datagram never gets.
    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the kernel's stamp is compared with the clock")]
    async fn a_datagram_knows_when_it_came_not_when_it_was_read() {
        let (receiver, mut sender) = (bound(), bound());
        let slack = Duration::from_millis(1);
        for _ in 0..50 {
            let before = Instant::now();
            let bytes = Bytes::from_static(b"a");
            sender.send(SendId(1), receiver.address, bytes, &mut |_, _, _| panic!());
            sender.flush(&mut |_, _, _| panic!("not sent"));
            // From here on it is in the socket, whichever thread of the kernel has put it there.
            receiver.socket.readable().await.unwrap();
            let came = Instant::now();
            std::thread::sleep(Duration::from_millis(10));

            let all = read(&receiver, &mut Arrivals::new()).await;

            let (bytes, received) = &all[0];
            assert_eq!(bytes, b"a");
            assert!(*received + slack >= before, "it is older than it can be");
            if *received <= came + slack {
                return;
            }
        }
        panic!("it is always as old as its reading");
    }

    #[tokio::test]
    async fn a_batch_leaves_and_arrives_whole_and_in_order() {
        let (receiver, mut sender) = (bound(), bound());
        for n in 0..BATCH + 5 {
            let bytes = Bytes::from(vec![u8::try_from(n).unwrap(); n * 1000]);
            sender.send(SendId(0), receiver.address, bytes, &mut |_, _, _| panic!("not sent"));
        }
        sender.flush(&mut |_, _, _| panic!("not sent"));
        sender.flush(&mut |_, _, _| panic!("sent twice"));

        let mut arrivals = Arrivals::new();
        let first = read(&receiver, &mut arrivals).await;
        let second = read(&receiver, &mut arrivals).await;

        assert_eq!((first.len(), second.len()), (BATCH, 5));
        for (n, (bytes, _)) in first.iter().chain(&second).enumerate() {
            assert!(bytes.len() == n * 1000 && bytes.iter().all(|b| usize::from(*b) == n), "{n}");
        }
    }

    #[tokio::test]
    async fn what_cannot_leave_does_not_hold_up_the_others() {
        let (receiver, mut sender) = (bound(), bound());
        let too_large = Bytes::from(vec![0; 70_000]);
        let mut failed = Vec::new();
        let bytes = |n| if n % 2 == 1 { too_large.clone() } else { Bytes::from_static(b"x") };
        for n in 0..5 {
            sender.send(SendId(n), receiver.address, bytes(n), &mut |_, _, _| panic!());
        }
        sender.flush(&mut |id, _, _| failed.push(id.0));

        assert_eq!(failed, [1, 3]);
        assert_eq!(read(&receiver, &mut Arrivals::new()).await.len(), 3);
    }
}
