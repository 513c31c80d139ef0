//! Connections with mutual TLS: who has no certificate of the authority says nothing, and who
//! says nothing for long is let go.

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Most connections at once: each may hold one piece of a file in memory, some 100 kB.
pub const CONNECTIONS_MAX: usize = 512;

/// Longest handshake: some round trips of a bad satellite link.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(30);

/// Longest time without a byte in either direction: a stalled satellite link recovers within it.
pub const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Pause after an error of `accept`, such as too many open files, so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is on the other side.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Its address.
    pub address: SocketAddr,
    /// Its certificate, which TLS has verified.
    pub certificate: CertificateDer<'static>,
}

/// A listening socket for `axum::serve`.
pub struct Door {
    address: SocketAddr,
    ready: mpsc::Receiver<(Patient, Guest)>,
    accepting: JoinHandle<()>,
}

impl Door {
    /// Takes connections of a bound socket. `tls` is asked at each, so that a certificate may be
    /// renewed meanwhile; it must ask for client certificates.
    ///
    /// # Errors
    /// When the socket has no address.
    pub fn open(
        listener: TcpListener,
        tls: impl FnMut() -> Arc<ServerConfig> + Send + 'static,
    ) -> io::Result<Door> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(1);
        let accepting = tokio::spawn(accept(listener, tls, sender));
        Ok(Door { address, ready, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl axum::serve::Listener for Door {
    type Io = Patient;
    type Addr = Guest;

    async fn accept(&mut self) -> (Patient, Guest) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The task that accepts has panicked: there will be no connection any more.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Guest> {
        let certificate = CertificateDer::from(Vec::new());
        Ok(Guest { address: self.address, certificate })
    }
}

impl Connected<IncomingStream<'_, Door>> for Guest {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Guest {
        stream.remote_addr().clone()
    }
}

async fn accept(
    listener: TcpListener,
    mut tls: impl FnMut() -> Arc<ServerConfig>,
    ready: mpsc::Sender<(Patient, Guest)>,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // A slot first: what is over the limit waits in the kernel's queue.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                let (acceptor, ready) = (TlsAcceptor::from(tls()), ready.clone());
                tokio::spawn(async move {
                    let handshake = timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await;
                    let Ok(Ok(stream)) = handshake else {
                        tracing::debug!(%address, "a connection for files was not let in");
                        return;
                    };
                    let certificates = stream.get_ref().1.peer_certificates();
                    let Some(certificate) = certificates.and_then(<[_]>::first).cloned() else {
                        return;
                    };
                    let guest = Guest { address, certificate: certificate.into_owned() };
                    let _stopping = ready.send((Patient::new(stream, slot), guest)).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection for files was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection that ends after [`SILENCE_MAX`] without a byte; it holds its slot until then.
pub struct Patient {
    stream: TlsStream<TcpStream>,
    silence: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

impl Patient {
    fn new(stream: TlsStream<TcpStream>, slot: OwnedSemaphorePermit) -> Patient {
        Patient { stream, silence: Box::pin(sleep(SILENCE_MAX)), _slot: slot }
    }

    fn heard<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.silence.as_mut().reset(Instant::now() + SILENCE_MAX);
            return done;
        }
        if self.silence.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.heard(cx, done)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.heard(cx, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(cx);
        if done.is_ready() { done } else { self.heard(cx, done) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
