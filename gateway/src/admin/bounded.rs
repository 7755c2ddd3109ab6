//! Connections of the admin pages: few at a time, fewer from one address, none for long. Whoever asks slowly, or asks
//! for nothing, holds up neither the pages nor the gateway.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};

/// A listener that closes what is too much.
pub(super) struct Bounded {
    listener: TcpListener,
    held: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection that ends by itself.
pub(super) struct Brief {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _place: Place,
}

/// A connection that is counted as long as this lives.
struct Place {
    held: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, held: Arc::default() }
    }

    fn place(&self, address: IpAddr) -> Option<Place> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = held.values().sum();
        let from_there = held.get(&address).copied().unwrap_or(0);
        if all >= MOST || from_there >= MOST_FROM_ONE {
            return None;
        }
        held.insert(address, from_there + 1);
        Some(Place { held: Arc::clone(&self.held), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.address);
            }
        }
    }
}

impl Listener for Bounded {
    type Io = Brief;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Brief, SocketAddr) {
        loop {
            // Errors (most likely no descriptor is left) are waited out by the listener itself.
            let (stream, remote) = Listener::accept(&mut self.listener).await;
            if let Some(place) = self.place(remote.ip()) {
                let end = Box::pin(sleep(LIFE));
                return (Brief { stream, end, _place: place }, remote);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Brief {
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.end.as_mut().poll(context).is_ready()
    }
}

impl AsyncRead for Brief {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Brief {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Connections at a time.
const MOST: usize = 64;
/// Of these from one address.
const MOST_FROM_ONE: usize = 16;
/// How long one lives: a scraper that keeps its connection opens a new one now and then.
const LIFE: Duration = Duration::from_secs(30);
