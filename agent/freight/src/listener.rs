//! Connections with limits: how many, and how long one may stay silent.
//!
//! A client that opens many connections, sends a header byte by byte, or stops reading a long
//! answer holds one slot for a bounded time, and nobody else's.

use axum::serve::Listener;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// A listener, plain or over TLS, whose connections are limited.
pub struct Limited<L> {
    listener: L,
    slots: Arc<Semaphore>,
    silence_max: Duration,
}

impl<L> Limited<L> {
    /// Takes at most so many connections at once. One may stay open so long between requests, and
    /// a request may take so long from its first byte to the first byte of its answer; further
    /// bytes of the request do not prolong it. A client that takes nothing of its answer for as
    /// long is cut off too.
    pub fn new(listener: L, connections_max: usize, silence_max: Duration) -> Limited<L> {
        Limited { listener, slots: Arc::new(Semaphore::new(connections_max)), silence_max }
    }
}

impl<L: Listener> Listener for Limited<L> {
    type Io = Connection<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Connection<L::Io>, L::Addr) {
        // A slot first: what is over the limit waits in the kernel's queue.
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
            unreachable!("the semaphore is never closed")
        };
        let (stream, address) = self.listener.accept().await;
        let silence_max = self.silence_max;
        let silence = Box::pin(sleep(silence_max));
        let connection = Connection { stream, silence, silence_max, requested: false, _slot: slot };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<L::Addr> {
        self.listener.local_addr()
    }
}

/// One connection; it holds its slot until dropped.
pub struct Connection<S> {
    stream: S,
    silence: Pin<Box<Sleep>>,
    silence_max: Duration,
    /// Whether a request has begun and its answer has not.
    requested: bool,
    _slot: OwnedSemaphorePermit,
}

impl<S> Connection<S> {
    fn heard(&mut self, requested: bool) {
        self.requested = requested;
        let end = Instant::now() + self.silence_max;
        self.silence.as_mut().reset(end);
    }

    fn check_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.silence.as_mut().poll(cx));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the connection was silent too long"))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
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
        if buf.filled().len() > before && !self.requested {
            self.heard(true);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        match written {
            Poll::Ready(_) => self.heard(false),
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    const SILENCE: Duration = Duration::from_millis(300);

    async fn served(connections_max: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/", get(|| async { "here" }));
        let limited = Limited::new(listener, connections_max, SILENCE);
        tokio::spawn(async move { axum::serve(limited, app).await });
        address
    }

    /// Reads until the other side ends it.
    async fn ended(stream: &mut TcpStream) {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(SILENCE * 100, stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "the connection was not ended");
    }

    #[tokio::test]
    async fn who_says_nothing_or_drips_a_header_is_cut_off() {
        let address = served(8).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        ended(&mut silent).await;
        let dripping = TcpStream::connect(address).await.unwrap();
        let (mut from, mut to) = dripping.into_split();
        let drip = tokio::spawn(async move {
            while to.write_all(b"G").await.is_ok() {
                sleep(SILENCE / 10).await;
            }
        });
        let mut rest = Vec::new();
        let end = tokio::time::timeout(SILENCE * 100, from.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "each byte prolonged it");
        drip.abort();
    }

    #[tokio::test]
    async fn one_too_many_waits_for_a_slot() {
        let address = served(1).await;
        let _holds_the_slot = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let answered = tokio::time::timeout(SILENCE * 100, second.read_to_end(&mut answer)).await;
        answered.unwrap().unwrap();
        // When the first was cut off for its silence.
        assert!(answer.ends_with(b"here"), "{}", String::from_utf8_lossy(&answer));
    }
}
