//! Byte streams as a node's code sees them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use matrixkv::env::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};

use super::{
    Net,
    address::{name, resolve},
    fabric::{Fabric, Socket},
    pipe::Polled,
};

/// How long the operating system waits for an answer to its knocking, at first and in all.
const KNOCK_AGAIN: Duration = Duration::from_secs(1);
const KNOCKS_MAX: u32 = 7;

/// One end of a byte stream. Dropping it closes it.
pub struct SimStream {
    net: Net,
    end: (u64, usize),
}

impl SimStream {
    fn polled<T>(polled: Polled<T>) -> Poll<io::Result<T>> {
        match polled {
            Polled::Ready(result) => Poll::Ready(result),
            Polled::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Self::polled(self.net.with(|fabric, _| fabric.poll_read(self.end, out, cx.waker())))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Self::polled(self.net.with(|fabric, now| fabric.poll_write(now, self.end, bytes, cx.waker())))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.net.with(|fabric, now| fabric.shut_down(now, self.end));
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.net.with(|fabric, now| fabric.close_end(now, self.end));
    }
}

/// Accepts byte streams. Dropping it frees the address.
pub struct SimListener {
    net: Net,
    socket: (usize, u16),
    number: u64,
    accepted: mpsc::UnboundedReceiver<SimStream>,
}

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&mut self) -> io::Result<(SimStream, String)> {
        match self.accepted.recv().await {
            Some(stream) => {
                let from = self.net.with(|fabric, _| fabric.other_node(stream.end));
                Ok((stream, from.map_or_else(|| "somebody who left".into(), name)))
            }
            // The process is being killed.
            None => std::future::pending().await,
        }
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.net.with(|fabric, _| fabric.unbind_streams(self.socket, self.number));
    }
}

/// What becomes of a knock at a door.
enum Knock {
    /// No answer: it got lost, or nobody is there.
    Silence,
    /// It gets there, and an answer comes back, after these times.
    Heard(Duration, Duration),
}

impl Net {
    /// Accepts byte streams at `address` of `node`.
    pub(in crate::env) fn listen(&self, node: usize, address: &str) -> io::Result<SimListener> {
        let (accepted_in, accepted) = mpsc::unbounded_channel();
        let (socket, number) = self.with(|fabric, _| {
            let number = fabric.id();
            let socket = fabric.bind(node, address, Socket::Streams { listener: number, accepted: accepted_in })?;
            Ok::<_, io::Error>((socket, number))
        })?;
        Ok(SimListener { net: self.clone(), socket, number, accepted })
    }

    /// Opens a byte stream from `node` to `address`.
    pub(in crate::env) async fn connect(&self, node: usize, address: &str) -> io::Result<SimStream> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot connect to {address}: {error}"));
        let (to, port) = resolve(node, address).map_err(named)?;
        for knocks in 0..KNOCKS_MAX {
            let Knock::Heard(there, back) = self.with(|fabric, _| fabric.knock(node, to)) else {
                self.delay(KNOCK_AGAIN * (1 << knocks)).await;
                continue;
            };
            self.delay(there).await;
            let opened = self.open(node, to, port).map_err(named);
            self.delay(back).await;
            return opened;
        }
        Err(named(io::ErrorKind::TimedOut.into()))
    }

    fn open(&self, node: usize, to: usize, port: u16) -> io::Result<SimStream> {
        let (connection, accepted) = self.with(|fabric, now| match fabric.sockets.get(&(to, port)) {
            Some(Socket::Streams { accepted, .. }) => {
                let accepted = accepted.clone();
                Ok((fabric.open_connection(now, node, to), accepted))
            }
            _ => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
        })?;
        let end = |end| SimStream { net: self.clone(), end: (connection, end) };
        // Not under the lock: a stream that nobody takes is closed at once.
        drop(accepted.send(end(1)));
        Ok(end(0))
    }
}

impl Fabric {
    fn knock(&mut self, from: usize, to: usize) -> Knock {
        use super::policy::Fate::Arrives;
        if self.is_off(to) || self.is_off(from) {
            return Knock::Silence;
        }
        match (self.links.fate((from, to)), self.links.fate((to, from))) {
            (Arrives { after: there, .. }, Arrives { after: back, .. }) => Knock::Heard(there, back),
            _ => Knock::Silence,
        }
    }

    /// Binds `socket` to an address of `node`.
    pub(super) fn bind(&mut self, node: usize, address: &str, socket: Socket) -> io::Result<(usize, u16)> {
        let refuse = |kind: io::ErrorKind| io::Error::new(kind, format!("cannot listen on {address}: {kind}"));
        let place = resolve(node, address).map_err(|error| refuse(error.kind()))?;
        if place.0 != node {
            return Err(refuse(io::ErrorKind::AddrNotAvailable));
        }
        if self.sockets.contains_key(&place) {
            return Err(refuse(io::ErrorKind::AddrInUse));
        }
        self.sockets.insert(place, socket);
        Ok(place)
    }

    fn unbind_streams(&mut self, place: (usize, u16), number: u64) {
        if matches!(self.sockets.get(&place), Some(Socket::Streams { listener, .. }) if *listener == number) {
            self.sockets.remove(&place);
        }
    }
}
