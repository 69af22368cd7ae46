//! TCP. A connection whose other end went silent without a word (a cut cable, a paused machine, a dropped container)
//! is given up by the kernel after some seconds. Without that, unacknowledged bytes are repeated ever more rarely, and
//! a connection that outlived a long partition would carry its next heartbeat only minutes after it healed.

use std::{io, time::Duration};

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};

use super::{links::Links, stream::RealStream};
use crate::env::Listener;

/// How long sent bytes may stay unacknowledged, or untaken: a peer that reads nothing for as long counts as gone.
pub(super) const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(6);

/// An idle connection is probed after this, and then at this pace.
const PROBE_AFTER: Duration = Duration::from_secs(3);
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBES: u32 = 3;

/// A bound TCP socket.
#[derive(Debug)]
pub struct RealListener(TcpListener);

impl RealListener {
    pub(super) async fn bind(address: &str) -> io::Result<Self> {
        let bound = TcpListener::bind(address).await;
        bound.map(Self).map_err(|error| named(&format!("cannot listen on {address}"), error))
    }

    /// The address that it is bound to.
    pub fn local_address(&self) -> io::Result<String> {
        self.0.local_addr().map(|address| address.to_string())
    }
}

impl Listener for RealListener {
    type Stream = RealStream;

    async fn accept(&mut self) -> io::Result<(RealStream, String)> {
        let (stream, from) = self.0.accept().await?;
        // A stream that is gone already fails here; that is its reader's to find out.
        let _ = prepare(&stream);
        Ok((RealStream::new(stream, None), from.to_string()))
    }
}

/// Looks the name up and connects, over the link of `links` if there are any.
pub(super) async fn connect(address: &str, links: Option<&Links>) -> io::Result<RealStream> {
    let opened = async {
        let link = match links {
            Some(links) => Some(links.open(address).await?),
            None => None,
        };
        let stream = TcpStream::connect(address).await?;
        prepare(&stream)?;
        Ok(RealStream::new(stream, link))
    };
    opened.await.map_err(|error| named(&format!("cannot connect to {address}"), error))
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MAX.as_millis() as u32)?;
    Ok(())
}

fn named(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
