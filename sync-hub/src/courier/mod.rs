//! The courier: what devices without a link send and get, as files that anybody may carry.
//!
//! A parcel of a device is a greeting and batches, applied in the same commands as those that
//! come over MQTT, so that what came both ways counts once. A parcel for a device says what is
//! committed here, and holds what it has not acknowledged.
//!
//! ```text
//! <stick>/landfall/up/<device>-<part>.parcel     from devices
//! <stick>/landfall/down/<device>-<part>.parcel   for devices
//! <stick>/landfall/blobs/<sha256>                files of releases
//! ```

mod books;

pub use books::{Known, Learn, known};

use crate::database::commands::{CarriedHello, Offer};
use crate::database::ingest::Ingest;
use crate::database::queries::{self, Admission};
use crate::database::sql::Connection;
use crate::database::{self, DbError};
use crate::identity::{Authority, IdentityError, peer};
use landfall_freight::parcel::{
    BoxKey, Opened, PARCEL_BYTES_MAX, ParcelError, Party, Sealer, Trust, file_name, pack, unpack,
};
use landfall_hub_core::session::Fetch;
use landfall_wire::frame::{Batch, Frame, Hello, Position, Welcome};
use landfall_wire::id::{DeviceId, Epoch};
use landfall_wire::limits::{BATCH_RECORDS_MAX, GREETING_STREAMS_MAX};
use landfall_wire::record::StreamId;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where everything of Landfall is on a stick.
pub const HOME: &str = "landfall";

/// Most bytes of records in one frame.
const BATCH_BYTES_MAX: usize = 128 * 1024;

/// Most bytes of records for one device in one export: what is left comes with the next one.
const DOWN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a parcel was not made or not used.
#[derive(Debug, thiserror::Error)]
pub enum CourierError {
    /// Keys and certificates.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The parcel.
    #[error(transparent)]
    Parcel(#[from] ParcelError),
    /// Its device may not connect, and may not send parcels.
    #[error("{0} is not let in: it is revoked or not enrolled here")]
    NotAdmitted(DeviceId),
    /// What is in it is no frame, or not one that a device sends.
    #[error("the parcel holds what makes no sense: {0}")]
    Frame(String),
    /// The database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// A file.
    #[error("cannot {operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What one parcel came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The device.
    pub device: String,
    /// Records that are new here.
    pub applied: u64,
    /// Records that were here already.
    pub repeated: u64,
    /// Records that are kept as they came, because this hub cannot use them.
    pub rejected: u64,
    /// Records that will never arrive.
    pub lost: u64,
    /// Records that wait for an earlier part, which has not been imported.
    pub waiting: u64,
}

/// This hub, with what it needs to pack and unpack.
pub struct Courier {
    sealer: Sealer,
    /// With the key of the authority before, for devices that were enrolled under it.
    before: Option<Sealer>,
    trust: Trust,
}

impl Courier {
    /// With the keys of a data directory.
    ///
    /// # Errors
    /// [`CourierError`].
    pub fn open(authority: &Authority, now_ms: u64) -> Result<Courier, CourierError> {
        let local = crate::hub::LOCAL_NAMES.map(str::to_owned);
        let server = authority.server_as_it_is(&local, now_ms)?;
        let lasting = authority.key()?;
        let trust = Trust::new(&server.authorities)?;
        let chain = vec![server.certificate];
        let sealer = Sealer::hub(chain.clone(), &server.key, &lasting)?;
        let before = authority.key_before()?;
        let before = before.map(|key| Sealer::hub(chain, &server.key, &key)).transpose()?;
        Ok(Courier { sealer, before, trust })
    }

    /// What devices seal with for this hub.
    pub fn key(&self) -> BoxKey {
        self.sealer.box_key()
    }

    /// Opens a device's parcel and commits what is in it.
    ///
    /// # Errors
    /// [`CourierError`]; what was committed before stays, and importing it again does no harm.
    pub fn import(
        &self,
        books: &mut Connection,
        parcel: &[u8],
        now_ms: u64,
    ) -> Result<Imported, CourierError> {
        let opened = match (unpack(&self.sealer, &self.trust, now_ms, parcel), &self.before) {
            (Err(ParcelError::OtherKey), Some(before)) => {
                unpack(before, &self.trust, now_ms, parcel)
            }
            (opened, _) => opened,
        }?;
        let device = admitted(books, &opened)?;
        let learn = Learn { device, key: opened.reply_to, at_ms: opened.at_ms };
        database::apply(books, &learn)?;
        let mut imported = Imported { device: opened.device.to_string(), ..Imported::default() };
        for payload in &opened.frames {
            let frame = Frame::decode(payload).map_err(|e| CourierError::Frame(e.to_string()))?;
            match frame {
                Frame::Hello(hello) => greet(books, device, hello, now_ms)?,
                Frame::Batch(batch) => ingest(books, device, batch, now_ms, &mut imported)?,
                Frame::Welcome(_) | Frame::Ack(_) | Frame::RollCall => {
                    return Err(CourierError::Frame("a device does not say that".to_owned()));
                }
            }
        }
        Ok(imported)
    }

    /// Packs what is committed here of a device's streams, and what it has not acknowledged.
    /// Returns the parcel and how many records are in it.
    ///
    /// # Errors
    /// [`CourierError`].
    pub fn export(
        &self,
        books: &mut Connection,
        to: &Known,
        now_ms: u64,
    ) -> Result<(Vec<u8>, u64), CourierError> {
        let read = |source| DbError::new("read", source);
        let state = books::state(books, to.device).map_err(read)?;
        let epoch = state.epoch;
        let answers = Position { stream: StreamId::Answer, epoch, next: state.end };
        // What leaves is noted as such before it does.
        database::apply(books, &Offer { device: to.device, position: answers, now_ms })?;
        let mut marks = state.marks;
        marks.truncate(GREETING_STREAMS_MAX);
        let frame = |frame: Frame| frame.encode().map_err(|e| CourierError::Frame(e.to_string()));
        let mut frames = vec![frame(Frame::Welcome(Welcome { at_ms: now_ms, marks, answers }))?];
        let (mut first, mut bytes, floor) = (state.mark, 0, state.mark);
        while first < state.end && bytes < DOWN_BYTES_MAX {
            let fetch = Fetch {
                epoch,
                first,
                end: state.end,
                bytes_max: BATCH_BYTES_MAX,
                records_max: BATCH_RECORDS_MAX,
            };
            let records = queries::answers(books, to.device, fetch).map_err(read)?;
            if records.is_empty() {
                break;
            }
            bytes += records.iter().map(Vec::len).sum::<usize>();
            let next = first + records.len() as u64;
            let stream = StreamId::Answer;
            frames.push(frame(Frame::Batch(Batch { stream, epoch, floor, first, records }))?);
            first = next;
        }
        let party = Party::device(to.name.clone(), to.key);
        Ok((pack(&self.sealer, &party, now_ms, &frames)?, first - state.mark))
    }
}

/// The row of a device that may connect with this certificate.
fn admitted(books: &Connection, opened: &Opened) -> Result<i64, CourierError> {
    let refused = || CourierError::NotAdmitted(opened.device.clone());
    let certificate = opened.certificate.clone().into();
    let peer = peer(&certificate).map_err(|_| refused())?;
    let admission = queries::admission(books, &opened.device, &peer.serial);
    match admission.map_err(|source| DbError::new("read", source))? {
        Admission::Granted(device) => Ok(device),
        Admission::Revoked(_) | Admission::NotEnrolled => Err(refused()),
    }
}

fn greet(
    books: &mut Connection,
    device: i64,
    hello: Hello,
    now_ms: u64,
) -> Result<(), CourierError> {
    let spare_epoch = Epoch(getrandom::u64().map_err(IdentityError::from)?);
    database::apply(books, &CarriedHello { device, hello, now_ms, spare_epoch })?;
    Ok(())
}

fn ingest(
    books: &mut Connection,
    device: i64,
    batch: Batch,
    now_ms: u64,
    into: &mut Imported,
) -> Result<(), CourierError> {
    let (first, count) = (batch.first, batch.records.len() as u64);
    let done = database::apply(books, &Ingest { device, batch, now_ms })?;
    let done = done.map_err(|error| CourierError::Frame(error.to_string()))?;
    into.applied += done.applied;
    into.repeated += done.repeated;
    into.rejected += done.rejected;
    into.lost += done.lost;
    if done.position.next < first + count {
        into.waiting += count;
    }
    Ok(())
}

/// Reads a parcel's file.
///
/// # Errors
/// [`CourierError::File`].
pub fn read(path: &Path) -> Result<Vec<u8>, CourierError> {
    let failed = |source| CourierError::File { operation: "read", path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > PARCEL_BYTES_MAX as u64 {
        return Err(failed(io::Error::other("it is larger than any parcel")));
    }
    fs::read(path).map_err(failed)
}

/// The parcels of devices on a stick, in order.
///
/// # Errors
/// [`CourierError::File`] if the stick cannot be read.
pub fn parcels(stick: &Path) -> Result<Vec<PathBuf>, CourierError> {
    let dir = stick.join(HOME).join("up");
    let failed = |source| CourierError::File { operation: "list", path: dir.clone(), source };
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "parcel") {
            found.push(path);
        }
    }
    // By length first, so that part 10 comes after part 9.
    found.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    Ok(found)
}

/// Writes a parcel for a device: under its name once it is whole and on the stick.
///
/// # Errors
/// [`CourierError::File`].
pub fn write(stick: &Path, device: &DeviceId, parcel: &[u8]) -> Result<PathBuf, CourierError> {
    let dir = stick.join(HOME).join("down");
    let path = dir.join(file_name(device, 0));
    let write = || {
        fs::create_dir_all(&dir)?;
        let part = path.with_extension("part");
        let mut file = File::create(&part)?;
        file.write_all(parcel)?;
        file.sync_all()?;
        fs::rename(&part, &path)?;
        File::open(&dir)?.sync_all()
    };
    let failed = |source| CourierError::File { operation: "write", path: path.clone(), source };
    write().map_err(failed)?;
    Ok(path)
}
