//! The courier: the same streams as over the link, as files that anybody may carry.
//!
//! A parcel for the hub holds everything that the hub has not acknowledged, in the frames that
//! MQTT would have carried; one from the hub is fed to a session as if it came over a link. So an
//! acknowledgement on a stick is worth what one over the air is, and what came both ways, twice
//! or late changes nothing.
//!
//! A device signs with the certificate that it has at that moment. What the hub sealed for the one
//! before is opened too, as long as the wallet has it.
//!
//! Not here: files and directories (see the command line); what is sealed how (see
//! `landfall_freight::parcel`).

use crate::store::{Store, StoreError};
use crate::sync::{Identity, IdentityError, Wallet};
use landfall_agent_core::session::{Event, Held, Persist, Send, Session, SessionLimits};
use landfall_freight::parcel::{BoxKey, Opened, ParcelError, Party, Sealer, Trust, pack, unpack};
use landfall_wire::frame::{Batch, Frame, FrameError, Hello, Position};
use landfall_wire::limits::{BATCH_RECORDS_MAX, GREETING_STREAMS_MAX};
use landfall_wire::record::StreamId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Most bytes of records in one frame.
const BATCH_BYTES_MAX: usize = 128 * 1024;

/// Most bytes of frames in one parcel: they compress, and the limit of a parcel is above it.
const PART_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why nothing was carried.
#[derive(Debug, thiserror::Error)]
pub enum CourierError {
    /// The identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The bundle does not say what to seal for the hub with.
    #[error("the identity does not hold the hub's key for parcels")]
    NoHubKey,
    /// The parcel cannot be made or used.
    #[error(transparent)]
    Parcel(#[from] ParcelError),
    /// The store does not give or take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in the parcel is no frame.
    #[error("the parcel holds what is no frame: {0}")]
    Frame(#[from] FrameError),
    /// What is in it makes no sense.
    #[error("the parcel makes no sense: {0}")]
    Session(String),
}

impl CourierError {
    /// What helps.
    pub fn remedy(&self) -> &'static str {
        match self {
            CourierError::Identity(error) => error.remedy(),
            CourierError::NoHubKey => {
                "add the line that `landfall-hub courier key` prints to bundle.toml"
            }
            CourierError::Parcel(ParcelError::Incomplete) => {
                "copy it again; nothing of it was used, and nothing is lost"
            }
            CourierError::Parcel(ParcelError::OtherKey) => {
                "export here, import that at the hub, and let the hub export again"
            }
            CourierError::Parcel(_) | CourierError::Frame(_) | CourierError::Session(_) => {
                "export it again where it comes from; nothing is lost"
            }
            CourierError::Store(error) => error.remedy(),
        }
    }
}

/// A parcel for the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The file's content.
    pub parcel: Vec<u8>,
    /// Records in it.
    pub records: u64,
    /// Whether there is more, for the next part.
    pub more: bool,
}

/// What a parcel of the hub came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Streams of which the hub has more than was known.
    pub acknowledged: u64,
    /// Records of the hub that are new here.
    pub arrived: u64,
}

/// This device, with what it needs to pack and unpack.
pub struct Courier {
    store: Store,
    wallet: Arc<Wallet>,
}

impl Courier {
    /// With the certificates of a device.
    ///
    /// # Errors
    /// [`CourierError`], if it has none that can be used.
    pub fn open(store: Store, wallet: Arc<Wallet>) -> Result<Courier, CourierError> {
        let (identity, _) = wallet.pick()?;
        sealer(&identity)?;
        Ok(Courier { store, wallet })
    }

    fn now_ms(&self) -> u64 {
        self.wallet.clock().now_ms()
    }

    /// Packs what the hub has not acknowledged; part 0 first, and further ones while there is
    /// more. `linked` is whether a link to the hub stands.
    ///
    /// # Errors
    /// [`CourierError`].
    pub async fn export(&self, part: usize, linked: bool) -> Result<Exported, CourierError> {
        let (identity, _) = self.wallet.pick()?;
        let sealer = sealer(&identity)?;
        let hub: Option<BoxKey> = identity.courier.as_ref().and_then(|key| key.parse().ok());
        let hub = hub.ok_or(CourierError::NoHubKey)?;
        // As for a link: what leaves is noted as such before it does, so that a store that is
        // restored from an old image is found out.
        self.store.offer().await?;
        let gathered = self.gather(part).await;
        if !linked {
            self.store.withdraw();
        }
        let Gathered { frames, records, more, ends } = gathered?;
        let parcel = pack(&sealer, &Party::hub(hub), self.now_ms(), &frames)?;
        ends.into_iter().for_each(|end| self.store.sent(end));
        Ok(Exported { parcel, records, more })
    }

    async fn gather(&self, part: usize) -> Result<Gathered, CourierError> {
        let mut held = self.store.held();
        held.truncate(GREETING_STREAMS_MAX);
        held.sort_by_key(|held| (StreamId::UP.iter().position(|s| *s == held.stream), held.epoch));
        let up = held.iter().map(|held| Position {
            stream: held.stream,
            epoch: held.epoch,
            next: held.end,
        });
        let hello = Hello {
            version: crate::VERSION.to_owned(),
            at_ms: self.now_ms(),
            up: up.collect(),
            answers: self.store.answers(),
        };
        let mut gathered = Gathered {
            frames: vec![Frame::Hello(hello).encode()?],
            records: 0,
            more: false,
            ends: Vec::new(),
        };
        let mut bytes = 0;
        for held in held {
            self.gather_stream(held, part, &mut bytes, &mut gathered).await?;
        }
        Ok(gathered)
    }

    async fn gather_stream(
        &self,
        held: Held,
        part: usize,
        bytes: &mut usize,
        into: &mut Gathered,
    ) -> Result<(), CourierError> {
        let Held { stream, epoch, mut floor, acked, end, .. } = held;
        let mut first = acked.max(floor);
        while first < end {
            let store = self.store.clone();
            let read = move || store.read(stream, epoch, first, end, BATCH_BYTES_MAX);
            let read = tokio::task::spawn_blocking(read).await;
            let chunk = read.unwrap_or(Err(StoreError::Stopped))?;
            let mut records = chunk.records;
            records.truncate(BATCH_RECORDS_MAX);
            if records.is_empty() {
                // A hole that nothing of this stream is before may be jumped; what follows
                // another one waits until the hub has what is before it, or that would look lost.
                if first != acked || chunk.next_held <= first {
                    return Ok(());
                }
                (floor, first) = (chunk.next_held, chunk.next_held);
                continue;
            }
            let count = records.len() as u64;
            let frame = Frame::Batch(Batch { stream, epoch, floor, first, records }).encode()?;
            *bytes += frame.len();
            first += count;
            match (*bytes / PART_BYTES_MAX).cmp(&part) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => {
                    into.frames.push(frame);
                    into.records += count;
                    into.ends.push(Position { stream, epoch, next: first });
                }
                std::cmp::Ordering::Greater => {
                    into.more = true;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Opens a parcel of the hub and applies it, durably.
    ///
    /// # Errors
    /// [`CourierError`]; what was applied before stays, and importing it again does no harm.
    pub async fn import(&self, parcel: &[u8]) -> Result<Imported, CourierError> {
        let opened = self.open_parcel(parcel)?;
        let mut session =
            Session::new(SessionLimits::default(), self.store.held(), self.store.answers());
        let version = crate::VERSION.to_owned();
        let _greeting = session.step(0, Event::Connected { version, at_ms: self.now_ms() });
        let mut imported = Imported::default();
        for payload in &opened.frames {
            let effects = session.step(0, Event::Frame(Frame::decode(payload)?));
            for persist in effects.persist {
                self.persist(persist, &mut imported).await?;
            }
            // There is nobody to send to; what would go out is in the next parcel for the hub.
            let closing = effects.send.into_iter().find_map(|send| match send {
                Send::Close(why) => Some(why),
                Send::Frame(_) | Send::Range(_) => None,
            });
            if let Some(why) = closing {
                return Err(CourierError::Session(why.to_string()));
            }
        }
        Ok(imported)
    }

    /// With the key that it was sealed for, if the device still has that.
    fn open_parcel(&self, parcel: &[u8]) -> Result<Opened, CourierError> {
        let mut refused = None;
        for identity in self.wallet.all() {
            let trust = Trust::new(&identity.credentials.trusted)?;
            match unpack(&sealer(&identity)?, &trust, self.now_ms(), parcel) {
                Ok(opened) => return Ok(opened),
                // What the older ones say of it counts less.
                Err(error) => drop(refused.get_or_insert(error)),
            }
        }
        Err(refused.unwrap_or(ParcelError::OtherKey).into())
    }

    async fn persist(&self, persist: Persist, into: &mut Imported) -> Result<(), CourierError> {
        match persist {
            Persist::Acked(mark) => {
                let known = |held: &Held| (held.stream, held.epoch) == (mark.stream, mark.epoch);
                let before = self.store.held().into_iter().find(known).map(|held| held.acked);
                self.store.acked(mark).await?;
                into.acknowledged += u64::from(before.is_some_and(|before| before < mark.next));
            }
            Persist::Down(batch) => {
                into.arrived += batch.arrived.len() as u64;
                self.store.apply_down(batch).await?;
            }
            // Nothing is offered: there is no connection.
            Persist::Offer => {}
            Persist::RolledBack(mark) => self.store.rolled_back(mark).await?,
        }
        Ok(())
    }
}

fn sealer(identity: &Identity) -> Result<Sealer, ParcelError> {
    let credentials = &identity.credentials;
    Sealer::device(identity.device.clone(), credentials.chain.clone(), &credentials.key)
}

struct Gathered {
    frames: Vec<Vec<u8>>,
    records: u64,
    more: bool,
    ends: Vec<Position>,
}
