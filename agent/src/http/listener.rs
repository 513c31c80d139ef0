//! The socket for requests, and its limits.

use axum::serve::Listener;
use landfall_freight::listener::Limited;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Most connections at once: a site has a handful of programs, and each waiting caller is one.
pub const CONNECTIONS_MAX: usize = 256;

/// How long a connection may stay open between requests, and how long one request may take from
/// its first byte to its reply: see [`Limited::new`]. It exceeds the longest wait for an escalation
/// by what a full model queue may add.
pub const SILENCE: Duration = Duration::from_secs(90);

/// Pause after an error of `accept`, such as too many open files, so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket for requests.
pub struct Socket(TcpListener);

impl Socket {
    /// Takes connections of a bound socket, limited.
    pub fn limited(listener: TcpListener) -> Limited<Socket> {
        Limited::new(Socket(listener), CONNECTIONS_MAX, SILENCE)
    }
}

impl Listener for Socket {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok((stream, address)) => {
                    // Replies are small; Nagle would only delay them.
                    let _unimportant = stream.set_nodelay(true);
                    return (stream, address);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
