//! Connections with limits: how many, and how long one may stay silent.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Most connections at once: a site has a handful of programs, and each waiting caller is one.
pub const CONNECTIONS_MAX: usize = 256;

/// How long a connection may stay open between requests, and how long one request may take from
/// its first byte to its reply. Further bytes of a request do not prolong it, so that a client
/// that drips them is cut off. It exceeds the longest wait for an escalation by what a full
/// model queue may add.
pub const SILENCE: Duration = Duration::from_secs(90);

/// Pause after an error of `accept`, such as too many open files, so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket whose connections are limited.
pub struct Limited {
    listener: TcpListener,
    slots: Arc<Semaphore>,
}

impl Limited {
    /// Wraps a bound listener.
    pub fn new(listener: TcpListener) -> Limited {
        Limited { listener, slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl axum::serve::Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            // A slot first: what is over the limit waits in the kernel's queue.
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
                unreachable!("the semaphore is never closed")
            };
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Replies are small; Nagle would only delay them.
                    let _unimportant = stream.set_nodelay(true);
                    let silence = Box::pin(sleep(SILENCE));
                    let state = State::BetweenRequests;
                    return (Connection { stream, silence, state, _slot: slot }, address);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection; it holds its slot until dropped.
pub struct Connection {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    state: State,
    _slot: OwnedSemaphorePermit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    BetweenRequests,
    Requested,
}

impl Connection {
    fn restart(&mut self, state: State) {
        self.state = state;
        self.silence.as_mut().reset(Instant::now() + SILENCE);
    }

    fn check_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.silence.as_mut().poll(cx));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the connection was silent too long"))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.check_silence(cx) {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before && self.state == State::BetweenRequests {
            self.restart(State::Requested);
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        match written {
            Poll::Ready(_) => self.restart(State::BetweenRequests),
            // A reader that stopped reading is as silent as one that stopped sending.
            Poll::Pending => {
                if let Poll::Ready(error) = self.check_silence(cx) {
                    return Poll::Ready(Err(error));
                }
            }
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
