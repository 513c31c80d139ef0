//! One place that has files: the hub, a mirror, or another device of the site.
//!
//! What its connections take is counted as that to the hub is, and told to the link between pieces;
//! each range is within what the link allows at that moment.

use super::gate::{Gate, Leave};
use crate::link::{CLOSE_BYTES, Meter, UNANSWERED_BYTES};
use landfall_freight::blobs::Incoming;
use landfall_wire::id::Digest;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// What is around a range, for what is told before it comes: one in so many, and a connection.
const AROUND_SHARE: u64 = 10;
const CONNECT_BYTES: u64 = landfall_agent_core::link::CONNECT_BYTES;

/// Longest pause for a link's rate before it is looked again whether the file is wanted.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Port of an address without one.
const HTTPS_PORT: u16 = 443;

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
    tally: Arc<Tally>,
}

/// Bytes on the line that the link was not told of yet.
#[derive(Debug, Default)]
struct Tally(AtomicU64);

impl Tally {
    fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// Whether a file is still wanted, and what it may cost.
pub(super) struct Road<'a> {
    pub(super) gate: &'a Gate,
    /// Asked between pieces.
    pub(super) wanted: &'a dyn Fn() -> bool,
    /// Told of bytes of files that came.
    pub(super) count: &'a dyn Fn(u64),
}

/// A range, and what the link allows in all.
#[derive(Clone, Copy)]
struct Asked {
    link: usize,
    bytes: u64,
    bytes_max: u64,
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
        let tally = Arc::default();
        let connector =
            ().chain(TcpConnector::default()).chain(Secured { tls, tally: Arc::clone(&tally) });
        let agent = ureq::Agent::with_parts(config, connector, DefaultResolver::default());
        Source { name, base: base.trim_end_matches('/').to_owned(), agent, tally }
    }

    /// Gets what is missing of a file, in ranges.
    ///
    /// # Errors
    /// In words; what came until then is kept.
    pub(super) fn get(
        &self,
        digest: Digest,
        incoming: &mut Incoming,
        road: &Road<'_>,
    ) -> Result<Got, String> {
        let url = format!("{}/blobs/{digest}", self.base);
        let mut range_bytes = RANGE_BYTES_MIN;
        while incoming.missing() > 0 {
            if !(road.wanted)() {
                return Ok(Got::Left);
            }
            let (link, bytes_max) = match road.gate.leave() {
                Leave::Range { link, bytes } => (link, bytes),
                Leave::Pause(pause) => {
                    std::thread::sleep(pause.min(PAUSE_MAX));
                    continue;
                }
                Leave::Until(_) | Leave::Closed => return Ok(Got::Left),
            };
            let started = Instant::now();
            let bytes = range_bytes.min(incoming.missing()).min(bytes_max);
            let got = self.range(&url, incoming, road, Asked { link, bytes, bytes_max });
            road.gate.carried(link, self.tally.take(), 0);
            if let Some(got) = got? {
                return Ok(got);
            }
            if started.elapsed() < RANGE_SHORT {
                range_bytes = (range_bytes * 2).min(RANGE_BYTES_MAX);
            }
        }
        Ok(Got::All)
    }

    /// One range; `None` if it came.
    fn range(
        &self,
        url: &str,
        incoming: &mut Incoming,
        road: &Road<'_>,
        Asked { link, bytes, bytes_max }: Asked,
    ) -> Result<Option<Got>, String> {
        let (first, total) = (incoming.have(), incoming.have() + incoming.missing());
        // What the kernel has of it is told before it is read from there: what is to come is what was
        // reserved less what was told.
        let mut pending = bytes + bytes / AROUND_SHARE + CONNECT_BYTES;
        road.gate.carried(link, 0, pending);
        let range = format!("bytes={first}-{}", first + bytes - 1);
        let mut answer = self.agent.get(url).header(RANGE, range).call().map_err(|error| {
            if self.tally.0.load(Ordering::Relaxed) == 0 {
                self.tally.add(UNANSWERED_BYTES);
            }
            said(&error)
        })?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = answer.headers().get(CONTENT_RANGE);
                let range = range.and_then(|range| range.to_str().ok()).unwrap_or_default();
                if !range.starts_with(&format!("bytes {first}-")) {
                    return Err(format!("asked for bytes from {first}, it sent '{range}'"));
                }
            }
            StatusCode::OK if total > bytes_max => {
                return Err("it does not know ranges, and a whole file is more than the link \
                            allows now"
                    .to_owned());
            }
            // It does not know ranges: the whole file, from its first byte.
            StatusCode::OK => incoming.restart().map_err(|error| error.to_string())?,
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Some(Got::None)),
            status => return Err(format!("it answers {status}")),
        }
        let before = incoming.have();
        let body = answer.body_mut().with_config().limit(u64::MAX).reader();
        let went_on = take(body, incoming, |piece| {
            (road.count)(piece);
            let carried = self.tally.take();
            pending = pending.saturating_sub(carried);
            road.gate.carried(link, carried, pending);
            self.goes_on(road, link)
        })?;
        if !went_on {
            return Ok(Some(Got::Left));
        }
        if incoming.have() == before {
            return Err("it sent nothing".to_owned());
        }
        Ok(None)
    }

    /// Whether the next piece of a range may be read: at the link's rate, while it is the same link.
    fn goes_on(&self, road: &Road<'_>, link: usize) -> bool {
        loop {
            if !(road.wanted)() {
                return false;
            }
            match road.gate.leave() {
                Leave::Range { link: now, .. } => return now == link,
                Leave::Pause(pause) => std::thread::sleep(pause.min(PAUSE_MAX)),
                // What was asked for is within the budget.
                Leave::Until(_) => return true,
                Leave::Closed => return false,
            }
        }
    }
}

/// Takes an answer's body; `false` if it is not wanted any more, as `came` says of each piece.
fn take(
    mut body: impl Read,
    incoming: &mut Incoming,
    mut came: impl FnMut(u64) -> bool,
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
        if incoming.missing() == 0 {
            beyond += got as u64;
            if beyond > DRAIN_BYTES_MAX {
                return Ok(true);
            }
        }
        incoming.write(&piece[..got]).map_err(|error| error.to_string())?;
        if !came(got as u64) {
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
    tally: Arc<Tally>,
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
        // It stands, so it is the newest to this port.
        let mut meter = Meter::of(details.uri.port_u16().unwrap_or(HTTPS_PORT));
        // Its end is not seen.
        self.tally.add(CLOSE_BYTES);
        let mut socket =
            TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        socket.set_timeout(details.timeout);
        let mut stream = StreamOwned::new(connection, socket);
        let shaken = stream.conn.complete_io(&mut stream.sock);
        self.tally.add(meter.read());
        shaken?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        let tally = Arc::clone(&self.tally);
        Ok(Some(SecuredTransport { buffers, stream, meter, tally }))
    }
}

struct SecuredTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
    meter: Meter,
    tally: Arc<Tally>,
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
        let written = self.stream.write_all(&self.buffers.output()[..amount]);
        self.meter.sent(amount);
        self.tally.add(self.meter.read());
        Ok(written?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let read = self.stream.read(self.buffers.input_append_buf());
        self.meter.received(*read.as_ref().unwrap_or(&0));
        self.tally.add(self.meter.read());
        let amount = read?;
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
