//! A place to which no TCP connection comes about, and that says nothing of it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// A listener whose backlog is full: a SYN to it gets no answer.
pub struct BlackHole {
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl BlackHole {
    pub fn at(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(0).unwrap();
        let mut waiting = Vec::new();
        // Until no more connections come to be.
        while waiting.len() < 8 {
            match TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
                Ok(stream) => waiting.push(stream),
                Err(_) => return Self { _listener: socket.into(), _waiting: waiting },
            }
        }
        panic!("the backlog of {address} takes everything");
    }
}
