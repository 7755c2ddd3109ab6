//! How two processes of one state directory meet: the lock, the listener `state/control.sock`, and the link. Carries
//! packets and descriptors (SCM_RIGHTS, unix(7)) and knows no note.
//!
//! Packets, not a stream: a note is whole or not there. What does not leave at once waits, `MOST` packets or
//! `MOST_BYTES` at most; above, the newest is lost. From half of that on datagrams are dropped, which are repeated, and
//! streams are not read ([`Link::is_crowded`]).

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use tokio::io::Interest;
use tokio::net::{UnixDatagram, UnixListener};

/// A right that one process has, or those that share it.
#[derive(Debug)]
pub struct Lock(OwnedFd);

/// What a process may have a right to in a state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To be there. It is shared with the next process.
    Enter,
    /// To read the listening sockets: one process alone.
    Serve,
}

/// Where the next process says Hello.
#[derive(Debug)]
pub struct Listener(UnixListener);

/// The way to another process.
#[derive(Debug)]
pub struct Link {
    /// The runtime has no type of its own for packets in order; datagrams are read and written alike.
    socket: UnixDatagram,
    waiting: VecDeque<Packet>,
    bytes: usize,
    room: Box<[u8]>,
}

/// What one note is carried as.
#[derive(Debug)]
pub struct Packet {
    /// The note.
    pub bytes: Bytes,
    /// What comes along.
    pub descriptors: Vec<OwnedFd>,
}

impl Lock {
    /// Takes a right in this directory; `None` when another process has it.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn take(state: &Path, right: Right) -> io::Result<Option<Self>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state)?;
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let name = match right {
            Right::Enter => "lock",
            Right::Serve => "serving",
        };
        let file = options.open(state.join(name))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file.into()))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The lock of another process.
    pub const fn inherited(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// For another process: the directory stays locked while either lives.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

impl Listener {
    /// Listens in a directory that is locked. Inside a runtime only.
    ///
    /// # Errors
    /// When that cannot be.
    pub fn bind(state: &Path) -> io::Result<Self> {
        let path = state.join(NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let socket = socket()?;
        let (_directory, address) = address(state)?;
        rustix::net::bind(&socket, &address)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        rustix::net::listen(&socket, BACKLOG)?;
        Self::inherited(socket)
    }

    /// The listener of another process. Inside a runtime only.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    pub fn inherited(descriptor: OwnedFd) -> io::Result<Self> {
        UnixListener::from_std(descriptor.into()).map(Self)
    }

    /// For another process.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }

    /// The next process of our own user; others are sent away without a word.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<Link> {
        loop {
            // No descriptor is left: the next turn asks again.
            let Ok((stream, _)) = ready!(self.0.poll_accept(context)) else {
                return Poll::Pending;
            };
            let Ok(socket) = stream.into_std().map(OwnedFd::from) else { continue };
            let ours = rustix::net::sockopt::socket_peercred(&socket)
                .is_ok_and(|peer| peer.uid == rustix::process::geteuid());
            if let Ok(link) = Link::new(socket)
                && ours
            {
                return Poll::Ready(link);
            }
        }
    }
}

impl Link {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = UnixDatagram::from_std(socket.into())?;
        let room = vec![0; LARGEST].into_boxed_slice();
        Ok(Self { socket, waiting: VecDeque::new(), bytes: 0, room })
    }

    /// To the process that listens in this directory. Inside a runtime only.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] or [`io::ErrorKind::ConnectionRefused`] when there is none.
    pub fn connect(state: &Path) -> io::Result<Self> {
        let socket = socket()?;
        let (_directory, address) = address(state)?;
        rustix::net::connect(&socket, &address)?;
        Self::new(socket)
    }

    /// Both ends.
    ///
    /// # Errors
    /// When the system has no socket.
    #[cfg(test)]
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (a, b) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self::new(a)?, Self::new(b)?))
    }

    /// Sends a packet, or lets it wait; false when there is no room.
    #[must_use]
    pub fn send(&mut self, bytes: Vec<u8>, descriptors: Vec<OwnedFd>) -> bool {
        let packet = Packet { bytes: bytes.into(), descriptors };
        if self.waiting.is_empty() {
            match transmit(&self.socket, &packet) {
                Ok(()) => return true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Too large for the socket, or nobody reads: the reading end will tell.
                Err(_) => return false,
            }
        }
        if self.waiting.len() >= MOST || self.bytes + packet.bytes.len() > MOST_BYTES {
            return false;
        }
        self.bytes += packet.bytes.len();
        self.waiting.push_back(packet);
        true
    }

    /// Whether so much waits that no more should come: what nobody would repeat still finds room.
    pub fn is_crowded(&self) -> bool {
        self.waiting.len() >= MOST / 2 || self.bytes >= MOST_BYTES / 2
    }

    /// The next packet, `None` at the end of the link; sends what waits meanwhile.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Packet>> {
        self.poll_flush(context);
        loop {
            let Self { socket, room, .. } = self;
            match socket.try_io(Interest::READABLE, || receive(socket.as_fd(), room)) {
                Ok(packet) => return Poll::Ready(packet),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if ready!(socket.poll_recv_ready(context)).is_err() {
                        return Poll::Ready(None);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Poll::Ready(None),
            }
        }
    }

    /// As [`Link::poll`].
    pub async fn receive(&mut self) -> Option<Packet> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) {
        while let Some(packet) = self.waiting.front() {
            let sent = self.socket.try_io(Interest::WRITABLE, || transmit(&self.socket, packet));
            if let Err(error) = sent
                && error.kind() == io::ErrorKind::WouldBlock
            {
                match self.socket.poll_send_ready(context) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(_)) | Poll::Pending => return,
                }
            }
            self.bytes -= packet.bytes.len();
            self.waiting.pop_front();
        }
    }
}

fn transmit(socket: impl AsFd, packet: &Packet) -> io::Result<()> {
    let descriptors: Vec<_> = packet.descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(socket, &[IoSlice::new(&packet.bytes)], &mut control, flags)?;
    Ok(())
}

fn receive(socket: impl AsFd, room: &mut [u8]) -> io::Result<Option<Packet>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let mut slices = [IoSliceMut::new(room)];
    let received = rustix::net::recvmsg(socket, &mut slices, &mut control, flags)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(carried) = message {
            descriptors.extend(carried);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let bytes = Bytes::copy_from_slice(room.get(..received.bytes).unwrap_or_default());
    Ok(Some(Packet { bytes, descriptors }))
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kind = SocketType::SEQPACKET;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?)
}

/// The listener's address. A path is at most 107 bytes long; a longer one goes by the directory's descriptor, which has
/// to stay open meanwhile.
fn address(state: &Path) -> io::Result<(Option<File>, SocketAddrUnix)> {
    if let Ok(address) = SocketAddrUnix::new(state.join(NAME)) {
        return Ok((None, address));
    }
    let directory = File::open(state)?;
    let path: PathBuf = format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd()).into();
    Ok((Some(directory), SocketAddrUnix::new(path)?))
}

const NAME: &str = "control.sock";
const BACKLOG: i32 = 4;
/// Descriptors that one packet carries.
pub const DESCRIPTORS: usize = 64;
/// The largest packet that is read: the largest message and its note.
const LARGEST: usize = 256 * 1024;
/// Packets that wait for a busy process.
const MOST: usize = 16_384;
const MOST_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};

    #[tokio::test]
    async fn packets_come_whole_in_order_and_with_what_they_carry() {
        let (mut a, mut b) = Link::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello").unwrap();
        for n in 0..3_u8 {
            let carried =
                if n == 1 { vec![OwnedFd::from(file.try_clone().unwrap())] } else { vec![] };
            assert!(a.send(vec![n; 70_000], carried));
        }
        let mut received = Vec::new();
        for n in 0..3_u8 {
            let packet = carry(&mut a, &mut b).await.unwrap();
            assert_eq!(packet.bytes, vec![n; 70_000]);
            received.extend(packet.descriptors);
        }
        let mut copy = File::from(received.pop().unwrap());
        let mut text = String::new();
        copy.rewind().unwrap();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), received.len()), ("hello", 0));
        drop(a);
        assert!(b.receive().await.is_none());
    }

    #[tokio::test]
    async fn a_busy_process_loses_the_newest_and_holds_up_nobody() {
        let (mut a, mut b) = Link::pair().unwrap();
        let sent = (0..20_000).filter(|_| a.send(vec![0; 8], vec![])).count();
        assert!((MOST..20_000).contains(&sent), "{sent}");
        for _ in 0..sent {
            assert!(carry(&mut a, &mut b).await.is_some());
        }
        assert_eq!(a.waiting.len() + a.bytes, 0);
    }

    #[tokio::test]
    async fn a_link_is_crowded_long_before_anything_is_lost() {
        for (size, most) in [(8, MOST), (60_000, MOST_BYTES / 60_000)] {
            let (mut a, mut b) = Link::pair().unwrap();
            let mut sent = 0;
            while !a.is_crowded() {
                assert!(a.send(vec![0; size], vec![]));
                sent += 1;
            }
            let more = (0..most / 2 - 1).filter(|_| a.send(vec![0; size], vec![])).count();
            assert_eq!(more, most / 2 - 1, "of {size}: what nobody repeats finds room");
            for _ in 0..sent + more {
                assert!(carry(&mut a, &mut b).await.is_some());
            }
            assert!(!a.is_crowded());
        }
    }

    #[tokio::test]
    async fn one_directory_has_one_lock_and_one_listener() {
        let scratch = tempfile::tempdir().unwrap();
        let state = scratch.path().join("a".repeat(100)).join("state");
        let error = Link::connect(&state).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);

        let lock = Lock::take(&state, Right::Enter).unwrap().unwrap();
        assert!(Lock::take(&state, Right::Enter).unwrap().is_none());
        let shared = Lock::inherited(lock.share().unwrap());
        drop(lock);
        assert!(Lock::take(&state, Right::Enter).unwrap().is_none(), "the heir still lives");
        drop(shared);
        let _lock = Lock::take(&state, Right::Enter).unwrap().unwrap();
        let _other = Lock::take(&state, Right::Serve).unwrap().unwrap();

        let listener = Listener::bind(&state).unwrap();
        let mode = fs::metadata(state.join(NAME)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let mut heir = Link::connect(&state).unwrap();
        let mut link = std::future::poll_fn(|context| listener.poll_accept(context)).await;
        assert!(heir.send(b"hi".to_vec(), vec![]));
        assert_eq!(link.receive().await.unwrap().bytes, &b"hi"[..]);

        drop(listener);
        let refused = Link::connect(&state).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        Listener::bind(&state).unwrap();
    }

    async fn carry(from: &mut Link, to: &mut Link) -> Option<Packet> {
        std::future::poll_fn(|context| {
            from.poll_flush(context);
            to.poll(context)
        })
        .await
    }
}
