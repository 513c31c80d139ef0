//! The devices that are here, and what is not listened to.

use super::limits;
use super::link::Letter;
use super::seat::{Left, Mail, Seat};
use crate::exchange::{Exchange, Halt, count};
use axum::body::Bytes;
use landfall_wire::id::DeviceId;
use landfall_wire::topic::{Direction, parse};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Seats of one connection to the broker.
pub(super) struct Seats {
    exchange: Arc<Exchange>,
    outgoing: mpsc::Sender<Letter>,
    taken: BTreeMap<DeviceId, Taken>,
    deaf_until: BTreeMap<DeviceId, Instant>,
    tasks: JoinSet<(DeviceId, u64, Left)>,
    waiting: Arc<Semaphore>,
    ids: u64,
    called: Option<Instant>,
    /// Whether drops were logged since all was well.
    dropping: bool,
}

struct Taken {
    id: u64,
    mailbox: mpsc::UnboundedSender<Mail>,
    room: Arc<Semaphore>,
}

impl Seats {
    pub(super) fn new(exchange: Arc<Exchange>, outgoing: mpsc::Sender<Letter>) -> Seats {
        Seats {
            exchange,
            outgoing,
            taken: BTreeMap::new(),
            deaf_until: BTreeMap::new(),
            tasks: JoinSet::new(),
            waiting: Arc::new(Semaphore::new(limits::WAITING_BYTES_MAX)),
            ids: 0,
            called: None,
            dropping: false,
        }
    }

    /// Who is here.
    pub(super) fn names(&self) -> BTreeSet<DeviceId> {
        self.taken.keys().cloned().collect()
    }

    /// Everybody was called just now.
    pub(super) fn roll_called(&mut self) {
        let now = Instant::now();
        self.called = Some(now);
        self.deaf_until.retain(|_, until| *until > now);
    }

    /// Hands a payload to its device's seat, which never waits: what finds no room is dropped.
    pub(super) fn deliver(&mut self, topic: &str, payload: Bytes) {
        let device = match parse(topic) {
            Some((device, Direction::Up)) => device,
            // The subscription is to these only.
            Some((_, Direction::Down)) | None => return self.drop_one("no topic of a device"),
        };
        if self.deaf_until.get(&device).is_some_and(|until| Instant::now() < *until) {
            return count(&self.exchange.counters.frames_dropped);
        }
        let Some(room) = self.seat(&device).map(|taken| Arc::clone(&taken.room)) else {
            return self.drop_one("more devices than one hub hears");
        };
        let cost = u32::try_from(payload.len() + limits::FRAME_COST_BYTES).unwrap_or(u32::MAX);
        let shares = (
            room.try_acquire_many_owned(cost),
            Arc::clone(&self.waiting).try_acquire_many_owned(cost),
        );
        let (Ok(share), Ok(common)) = shares else {
            return self.drop_one("more frames than the database takes");
        };
        let mail = Mail { payload, _shares: [share, common] };
        if let Some(taken) = self.taken.get(&device) {
            self.dropping = false;
            // It fails only if the seat is being left; the device sends again.
            let _ = taken.mailbox.send(mail);
        }
    }

    fn drop_one(&mut self, why: &str) {
        count(&self.exchange.counters.frames_dropped);
        if !self.dropping {
            tracing::warn!(why, "frames are dropped; their devices will send them again");
        }
        self.dropping = true;
    }

    fn seat(&mut self, device: &DeviceId) -> Option<&Taken> {
        let left = self.taken.get(device).is_none_or(|taken| taken.mailbox.is_closed());
        if left {
            if self.taken.len() >= limits::SEATS_MAX {
                return None;
            }
            self.ids += 1;
            let id = self.ids;
            let (mailbox, mail) = mpsc::unbounded_channel();
            let seat = Seat {
                exchange: Arc::clone(&self.exchange),
                device: device.clone(),
                outgoing: self.outgoing.clone(),
                called: self.called,
                id: 0,
            };
            let name = device.clone();
            self.tasks.spawn(async move { (name, id, seat.sit(mail).await) });
            let room = Arc::new(Semaphore::new(limits::DEVICE_BYTES_MAX));
            self.taken.insert(device.clone(), Taken { id, mailbox, room });
        }
        self.taken.get(device)
    }

    /// Waits until a device has left, and clears its seat. Cancel-safe.
    pub(super) async fn somebody_left(&mut self) {
        let (device, id, left) = match self.tasks.join_next().await {
            Some(Ok(left)) => left,
            // A panic: its mailbox is closed, so that the next frame gets a new seat.
            Some(Err(error)) => return tracing::error!(%error, "a seat panicked"),
            None => return std::future::pending().await,
        };
        if self.taken.get(&device).is_some_and(|taken| taken.id == id) {
            self.taken.remove(&device);
        }
        if let Some(deaf_for) = deaf_for(&left) {
            self.deaf_until.insert(device, Instant::now() + deaf_for);
        }
    }

    /// Lets everybody finish what is handed to the database.
    pub(super) async fn end(mut self) {
        self.taken.clear();
        let gone = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limits::GOODBYE_MAX, gone).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "devices' seats did not end in time");
        }
    }
}

/// For how long a device that left so is not listened to.
fn deaf_for(left: &Left) -> Option<Duration> {
    match left {
        Left::NotAdmitted | Left::Halted(Halt::Nonsense(_) | Halt::Flood | Halt::Bug(_)) => {
            Some(limits::DEAF_FOR)
        }
        Left::Halted(Halt::Database(_)) => Some(limits::REST_FOR),
        // One that was revoked is not admitted again, and one that was not is welcome.
        Left::Halted(Halt::Told(_)) | Left::Silent | Left::Closed => None,
    }
}
