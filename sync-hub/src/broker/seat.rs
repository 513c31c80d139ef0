//! One device that is here: a task from its first frame to its last.

use super::limits;
use super::link::Letter;
use crate::database::commands::{Problem, ProblemKind};
use crate::database::queries::{self, Admission};
use crate::exchange::{Conversation, Exchange, Halt, Said, contact, count, tell};
use crate::hub::now_ms;
use axum::body::Bytes;
use landfall_wire::frame::Frame;
use landfall_wire::id::DeviceId;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

/// A payload with its shares of the room for what waits.
pub(super) struct Mail {
    pub(super) payload: Bytes,
    pub(super) _shares: [OwnedSemaphorePermit; 2],
}

/// Why a device is not here any more.
#[derive(Debug)]
pub(super) enum Left {
    /// It is not in the books, or revoked.
    NotAdmitted,
    /// Nothing was heard for long, and a call went unanswered.
    Silent,
    /// The connection to the broker is over.
    Closed,
    /// The conversation cannot go on.
    Halted(Halt),
}

impl From<Halt> for Left {
    fn from(halt: Halt) -> Left {
        Left::Halted(halt)
    }
}

/// A device's seat.
pub(super) struct Seat {
    pub(super) exchange: Arc<Exchange>,
    pub(super) device: DeviceId,
    pub(super) outgoing: mpsc::Sender<Letter>,
    /// When everybody was last called.
    pub(super) called: Option<Instant>,
    /// Its row, once it is admitted.
    pub(super) id: i64,
}

impl Seat {
    /// Sits until it leaves.
    pub(super) async fn sit(mut self, mut mail: mpsc::UnboundedReceiver<Mail>) -> Left {
        let name = self.device.clone();
        let admission =
            self.exchange.database.read(move |reader| queries::admission_by_name(reader, &name));
        let (device, why) = match admission.await {
            Ok(Admission::Granted(device)) => return self.admitted(device, &mut mail).await,
            Ok(Admission::Revoked(device)) => (Some(device), "it is revoked"),
            Ok(Admission::NotEnrolled) => (None, "it is not in the hub's books"),
            Err(error) => return Left::Halted(error.into()),
        };
        count(&self.exchange.counters.not_admitted);
        let detail = format!("{} sent over the broker: {why}", self.device);
        tracing::warn!(device = %self.device, why, "a device is not listened to");
        let problem = Problem { device, kind: ProblemKind::Refused, detail, now_ms: now_ms() };
        let _ = self.exchange.database.submit(problem).await;
        Left::NotAdmitted
    }

    async fn admitted(&mut self, id: i64, mail: &mut mpsc::UnboundedReceiver<Mail>) -> Left {
        self.id = id;
        let place = self.exchange.registry.enter(&self.device, id, None);
        contact(&self.exchange, id, true).await;
        tracing::info!(device = %self.device, "device heard over the broker");
        let mut conversation = Conversation::new(Arc::clone(&self.exchange), place, id);
        let left = match self.converse(&mut conversation, mail).await {
            Ok(never) => match never {},
            Err(left) => left,
        };
        let place = conversation.end();
        if place.is_current() {
            contact(&self.exchange, id, false).await;
        }
        match &left {
            Left::Halted(halt) => {
                tell(halt, &self.device);
                if let Some((kind, detail)) = halt.problem() {
                    let problem = Problem { device: Some(id), kind, detail, now_ms: now_ms() };
                    let _ = self.exchange.database.submit(problem).await;
                }
            }
            Left::Silent => {
                count(&self.exchange.counters.timeouts);
                tracing::info!(device = %self.device, "device is silent, and counts as offline");
            }
            Left::NotAdmitted | Left::Closed => {}
        }
        left
    }

    async fn converse(
        &mut self,
        conversation: &mut Conversation,
        mail: &mut mpsc::UnboundedReceiver<Mail>,
    ) -> Result<std::convert::Infallible, Left> {
        let mut heard = Instant::now();
        let mut asked = false;
        loop {
            let patience = if asked { limits::SILENCE_MAX } else { limits::CALL_AFTER };
            // Every arm is cancel-safe; what it yields is handled after the choice.
            tokio::select! {
                biased;
                news = conversation.next() => {
                    let said = conversation.hear(news?).await?;
                    self.say(said).await?;
                }
                letter = mail.recv(), if conversation.has_room() => {
                    let letter = letter.ok_or(Left::Closed)?;
                    (heard, asked) = (Instant::now(), false);
                    let said = conversation.take(&letter.payload, None).await?;
                    self.say(said).await?;
                    if !conversation.was_greeted() {
                        self.call_unless_called().await?;
                    }
                }
                () = tokio::time::sleep_until(heard + patience) => {
                    if asked {
                        return Err(Left::Silent);
                    }
                    asked = true;
                    self.call().await?;
                }
            }
        }
    }

    /// A device that sends without a greeting does not know that this hub is new to it.
    async fn call_unless_called(&mut self) -> Result<(), Left> {
        let recently = |at: Instant| at.elapsed() < limits::CALL_AGAIN_AFTER;
        if self.called.is_some_and(recently) {
            return Ok(());
        }
        if self.exchange.shared.frames && self.has_another_hub().await? {
            // The frame is as good here; that hub answers greetings.
            self.called = Some(Instant::now());
            return Ok(());
        }
        self.call().await
    }

    async fn has_another_hub(&self) -> Result<bool, Left> {
        let id = self.id;
        let hub = self.exchange.database.read(move |reader| queries::hub_of(reader, id)).await;
        let hub = hub.map_err(|error| Left::Halted(error.into()))?;
        Ok(hub.is_some_and(|hub| *hub != *self.exchange.hub))
    }

    async fn call(&mut self) -> Result<(), Left> {
        self.called = Some(Instant::now());
        let call = Frame::RollCall.encode().map_err(|error| Halt::Bug(error.to_string()))?;
        self.post(call).await
    }

    async fn say(&self, said: Said) -> Result<(), Left> {
        for payload in said.payloads {
            self.post(payload).await?;
        }
        Ok(())
    }

    async fn post(&self, payload: Vec<u8>) -> Result<(), Left> {
        self.outgoing.send((self.device.clone(), payload)).await.map_err(|_| Left::Closed)
    }
}
