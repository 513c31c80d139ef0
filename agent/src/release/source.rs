//! One place that has files: the hub, a mirror, or another device of the site.

use landfall_freight::blobs::Incoming;
use landfall_wire::id::Digest;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::http::StatusCode;
use ureq::http::header::{CONTENT_RANGE, RANGE};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, TcpConnector, Transport,
    TransportAdapter,
};

/// Time for TCP and TLS: some round trips of a bad satellite link.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// Time for the first byte of an answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Time without a byte. What came until then is kept.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The first range, in bytes: a slow link shows what it can with this much.
const RANGE_BYTES_MIN: u64 = 256 * 1024;
/// The largest one: a link that stands gains nothing from more.
const RANGE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// A range that took less than this is followed by one of twice the size, so that round trips
/// of a long link do not count.
const RANGE_SHORT: Duration = Duration::from_secs(10);

/// Bytes that are read at once.
const PIECE_BYTES: usize = 16 * 1024;

/// How much of a file's answer is not worth reading to its end to keep the connection.
const DRAIN_BYTES_MAX: u64 = 1024 * 1024;

/// One place.
pub(super) struct Source {
    /// For people: "the hub", "the mirror https://…".
    pub(super) name: String,
    /// `https://host:port`, without a slash at the end.
    base: String,
    agent: ureq::Agent,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Got {
    /// Every byte is here.
    All,
    /// It does not have the file.
    None,
    /// Somebody does not want it any more, or not over this link.
    Left,
}

impl Source {
    pub(super) fn new(name: String, base: &str, tls: Arc<ClientConfig>) -> Source {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_recv_response(Some(ANSWER_MAX))
            .timeout_per_read(Some(SILENCE_MAX))
            .http_status_as_error(false)
            .max_redirects(0)
            .https_only(true)
            .user_agent(format!("landfall-agent/{}", crate::VERSION))
            .build();
        let connector = ().chain(TcpConnector::default()).chain(Secured { tls });
        let agent = ureq::Agent::with_parts(config, connector, DefaultResolver::default());
        Source { name, base: base.trim_end_matches('/').to_owned(), agent }
    }

    /// Gets what is missing of a file, in ranges. `wanted` is asked between pieces.
    ///
    /// # Errors
    /// In words; what came until then is kept.
    pub(super) fn get(
        &self,
        digest: Digest,
        incoming: &mut Incoming,
        wanted: &dyn Fn() -> bool,
        count: &dyn Fn(u64),
    ) -> Result<Got, String> {
        let url = format!("{}/blobs/{digest}", self.base);
        let mut range_bytes = RANGE_BYTES_MIN;
        while incoming.missing() > 0 {
            if !wanted() {
                return Ok(Got::Left);
            }
            let started = Instant::now();
            let (first, last) =
                (incoming.have(), incoming.have() + range_bytes.min(incoming.missing()) - 1);
            let request = self.agent.get(&url).header(RANGE, format!("bytes={first}-{last}"));
            let mut answer = request.call().map_err(|error| said(&error))?;
            match answer.status() {
                StatusCode::PARTIAL_CONTENT => {
                    let range = answer.headers().get(CONTENT_RANGE);
                    let range = range.and_then(|range| range.to_str().ok()).unwrap_or_default();
                    if !range.starts_with(&format!("bytes {first}-")) {
                        return Err(format!("asked for bytes from {first}, it sent '{range}'"));
                    }
                }
                // It does not know ranges: the whole file, from its first byte.
                StatusCode::OK => incoming.restart().map_err(|error| error.to_string())?,
                StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Got::None),
                status => return Err(format!("it answers {status}")),
            }
            let before = incoming.have();
            let body = answer.body_mut().with_config().limit(u64::MAX).reader();
            if !take(body, incoming, wanted, count)? {
                return Ok(Got::Left);
            }
            if incoming.have() == before {
                return Err("it sent nothing".to_owned());
            }
            if started.elapsed() < RANGE_SHORT {
                range_bytes = (range_bytes * 2).min(RANGE_BYTES_MAX);
            }
        }
        Ok(Got::All)
    }
}

/// Takes an answer's body; `false` if it is not wanted any more.
fn take(
    mut body: impl Read,
    incoming: &mut Incoming,
    wanted: &dyn Fn() -> bool,
    count: &dyn Fn(u64),
) -> Result<bool, String> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut beyond = 0;
    loop {
        let got = match body.read(&mut piece) {
            Ok(0) => return Ok(true),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("the connection broke: {error}")),
        };
        count(got as u64);
        if incoming.missing() == 0 {
            beyond += got as u64;
            if beyond > DRAIN_BYTES_MAX {
                return Ok(true);
            }
        }
        incoming.write(&piece[..got]).map_err(|error| error.to_string())?;
        if !wanted() {
            return Ok(false);
        }
    }
}

fn said(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(io) => format!("it cannot be reached: {io}"),
        ureq::Error::Timeout(_) => "it does not answer in time".to_owned(),
        other => format!("it cannot be asked: {other}"),
    }
}

/// Mutual TLS with the device's own settings, over what ureq has connected.
struct Secured {
    tls: Arc<ClientConfig>,
}

impl std::fmt::Debug for Secured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secured")
    }
}

impl<In: Transport> Connector<In> for Secured {
    type Out = SecuredTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<SecuredTransport>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        let host = details.uri.host().unwrap_or_default().to_owned();
        let name = host.try_into().map_err(|_| ureq::Error::Tls("the host is no name"))?;
        let connection = ClientConnection::new(Arc::clone(&self.tls), name)?;
        let mut socket =
            TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        socket.set_timeout(details.timeout);
        let mut stream = StreamOwned::new(connection, socket);
        stream.conn.complete_io(&mut stream.sock)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(SecuredTransport { buffers, stream }))
    }
}

struct SecuredTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl std::fmt::Debug for SecuredTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecuredTransport")
    }
}

impl Transport for SecuredTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
