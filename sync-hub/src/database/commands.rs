//! What is written, apart from batches: greetings, deliveries, answers, identities, contact.

use super::accounts::trail;
use super::desk::people::{Given, give, keep_rule, ready};
use super::ledger::SqlLedger;
use super::sql::{self, Connection, params};
use super::{Command, lock, number, queries, signed};
use crate::rules::books::{RuleError, Wish};
use landfall_hub_core::desk::{AnswerError, Draft};
use landfall_hub_core::fleet::clock_offset_ms;
use landfall_hub_core::ledger::{self, Refused};
use landfall_hub_core::session::Greeting;
use landfall_wire::frame::{Hello, Position};
use landfall_wire::id::{DeviceId, Epoch, Ticket};
use landfall_wire::record::Record;

/// A hub that showed nothing for this long is taken for dead. Hubs' clocks must agree better than
/// that; if it is mistaken, its devices greet another hub, and nothing else happens.
pub const DEAD_AFTER_MS: u64 = 10_000;

/// Longest version text that is kept of a hello, in bytes.
const VERSION_BYTES_MAX: usize = 64;

/// A device greets: its marks are looked up, and what it has of the answers is noted.
#[derive(Debug)]
pub struct Greet {
    /// Row of the device.
    pub device: i64,
    /// What it said.
    pub hello: Hello,
    /// Now, by the hub's clock.
    pub now_ms: u64,
    /// Used if the answer stream needs a new epoch.
    pub spare_epoch: Epoch,
    /// The hub that it greets, and that speaks with it from now on.
    pub hub: String,
}

impl Command for Greet {
    type Done = Greeting;

    fn device(&self) -> Option<i64> {
        Some(self.device)
    }

    fn apply(&self, tx: &Connection) -> sql::Result<Greeting> {
        let Greet { device, hello, now_ms, spare_epoch, hub } = self;
        tx.execute(
            "UPDATE device SET contact_ms = ?2, version = ?3, clock_offset_ms = ?4, hub = ?5,
                 frames_received = frames_received + 1 WHERE id = ?1",
            params![
                device,
                number(*now_ms),
                landfall_wire::record::cut(&hello.version, VERSION_BYTES_MAX),
                clock_offset_ms(hello.at_ms, *now_ms),
                hub,
            ],
        )?;
        let mut ledger = SqlLedger::new(tx, *device, *now_ms);
        ledger::greet(&mut ledger, hello, *now_ms, *spare_epoch)
    }
}

/// The greeting of a device, carried here in a parcel: no hub speaks with it now, and how long it
/// was on its way says nothing of the device's clock.
#[derive(Debug)]
pub struct CarriedHello {
    /// Row of the device.
    pub device: i64,
    /// What it said.
    pub hello: Hello,
    /// Now, by the hub's clock.
    pub now_ms: u64,
    /// Used if the answer stream needs a new epoch.
    pub spare_epoch: Epoch,
}

impl Command for CarriedHello {
    type Done = Greeting;

    fn device(&self) -> Option<i64> {
        Some(self.device)
    }

    fn apply(&self, tx: &Connection) -> sql::Result<Greeting> {
        let CarriedHello { device, hello, now_ms, spare_epoch } = self;
        tx.execute(
            "UPDATE device SET contact_ms = ?2 WHERE id = ?1",
            params![device, number(*now_ms)],
        )?;
        let mut ledger = SqlLedger::new(tx, *device, *now_ms);
        ledger::greet(&mut ledger, hello, *now_ms, *spare_epoch)
    }
}

/// Answers below a position are about to be sent.
#[derive(Debug)]
pub struct Offer {
    /// Row of the device.
    pub device: i64,
    /// The end of what is sent.
    pub position: Position,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for Offer {
    type Done = Position;

    fn device(&self) -> Option<i64> {
        Some(self.device)
    }

    fn apply(&self, tx: &Connection) -> sql::Result<Position> {
        ledger::offer(&mut SqlLedger::new(tx, self.device, self.now_ms), self.position)?;
        Ok(self.position)
    }
}

/// The device has every answer below a position.
#[derive(Debug)]
pub struct Deliver {
    /// Row of the device.
    pub device: i64,
    /// What it acknowledged.
    pub position: Position,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for Deliver {
    type Done = ();

    fn device(&self) -> Option<i64> {
        Some(self.device)
    }

    fn apply(&self, tx: &Connection) -> sql::Result<()> {
        tx.execute(
            "UPDATE device SET contact_ms = ?2, frames_received = frames_received + 1
             WHERE id = ?1",
            params![self.device, number(self.now_ms)],
        )?;
        ledger::deliver(&mut SqlLedger::new(tx, self.device, self.now_ms), self.position)
    }
}

/// An operator answers.
#[derive(Debug)]
pub struct GiveAnswer {
    /// The device that asked.
    pub device: DeviceId,
    /// Its ticket.
    pub ticket: Ticket,
    /// Whose word it is, where people must agree: an account, or the name in the draft.
    pub voter: String,
    /// The answer as typed.
    pub draft: Draft,
    /// Whether it is to be decided like this from now on.
    pub rule: Option<Wish>,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

/// Why an answer was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GiveAnswerError {
    /// There is no such escalation.
    #[error("there is no escalation {ticket} of device {device}")]
    NotFound {
        /// The device named.
        device: DeviceId,
        /// The ticket named.
        ticket: Ticket,
    },
    /// The answer is not right for it.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The rule that came with it is not taken, and so the answer is not.
    #[error("the rule is not taken: {0}")]
    Rule(#[from] RuleError),
}

impl Command for GiveAnswer {
    /// Sent, or noted where others must agree.
    type Done = Result<Given, GiveAnswerError>;

    fn apply(&self, tx: &Connection) -> sql::Result<Self::Done> {
        let not_found =
            || GiveAnswerError::NotFound { device: self.device.clone(), ticket: self.ticket };
        let Some(device) = queries::device_id(tx, &self.device)? else {
            return Ok(Err(not_found()));
        };
        lock(tx, device)?;
        let voter = self.voter.trim();
        let rule = match ready(tx, (device, self.ticket), self.rule.as_ref(), (voter, &self.draft))?
        {
            Ok(rule) => rule,
            Err(error) => return Ok(Err(error.into())),
        };
        let given = give(tx, (device, self.ticket), (voter, &self.draft), self.now_ms)?;
        if let Ok(given) = &given {
            keep_rule(tx, rule, given.checked(), (voter, self.now_ms))?;
            let subject = format!("{}/{}", self.device, self.ticket);
            trail(tx, self.now_ms, (voter, "answered", &subject, ""))?;
        }
        Ok(given.map_err(|refused| match refused {
            Refused::NotFound => not_found(),
            Refused::Answer(error) => error.into(),
        }))
    }
}

/// Any record for a device, at the end of its answer stream: it has it as soon as there is a link,
/// and obeys it before it says that it has it.
#[derive(Debug)]
pub struct SendDown {
    /// Row of the device.
    pub device: i64,
    /// What for: a directive, mostly. Answers have [`GiveAnswer`].
    pub record: Record,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for SendDown {
    type Done = Position;

    fn device(&self) -> Option<i64> {
        Some(self.device)
    }

    fn apply(&self, tx: &Connection) -> sql::Result<Position> {
        send_down(tx, self.device, &self.record, self.now_ms)
    }
}

/// The same within another command's transaction, which must hold the device's lock: see
/// [`Command::device`] and [`lock`].
pub(crate) fn send_down(
    tx: &Connection,
    device: i64,
    record: &Record,
    now_ms: u64,
) -> sql::Result<Position> {
    ledger::send_down(&mut SqlLedger::new(tx, device, now_ms), record)
}

/// A certificate was issued to a device.
#[derive(Debug)]
pub struct Enroll {
    /// The device.
    pub device: DeviceId,
    /// Serial number of the certificate in hex.
    pub serial: String,
    /// Name of the authority that issued it.
    pub authority: String,
    /// When it ends.
    pub expires_ms: u64,
    /// Now, by the hub's clock.
    pub now_ms: u64,
    /// Epoch of the answer stream, if the device is new.
    pub answers_epoch: Epoch,
}

impl Command for Enroll {
    type Done = ();

    fn apply(&self, tx: &Connection) -> sql::Result<()> {
        let now_ms = number(self.now_ms);
        let device: i64 = tx.row(
            "INSERT INTO device (name, created_ms, answers_epoch) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET revoked_ms = NULL RETURNING id",
            params![self.device.as_str(), now_ms, signed(self.answers_epoch.0)],
            |row| row.get(0),
        )?;
        tx.execute(
            "INSERT INTO certificate (serial, device, issued_ms, expires_ms, authority)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![self.serial, device, now_ms, number(self.expires_ms), self.authority],
        )
        .map(drop)
    }
}

/// A device gets a new certificate, for a request that it sent.
#[derive(Debug)]
pub struct Renew {
    /// Row of the device.
    pub device: i64,
    /// The request: it is answered once, by whichever hub is first.
    pub request: Vec<u8>,
    /// Serial number of the certificate in hex.
    pub serial: String,
    /// Name of the authority that issued it.
    pub authority: String,
    /// When it ends.
    pub expires_ms: u64,
    /// The certificate, as the device gets it.
    pub record: Record,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for Renew {
    /// Whether it was the first.
    type Done = bool;

    fn device(&self) -> Option<i64> {
        Some(self.device)
    }

    fn apply(&self, tx: &Connection) -> sql::Result<bool> {
        let Renew { device, request, serial, authority, expires_ms, record, now_ms } = self;
        let answered = tx.execute(
            "DELETE FROM renewal WHERE device = ?1 AND request = ?2",
            params![*device, request],
        )?;
        if answered == 0 {
            return Ok(false);
        }
        tx.execute(
            "INSERT INTO certificate (serial, device, issued_ms, expires_ms, authority)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![serial, *device, number(*now_ms), number(*expires_ms), authority],
        )?;
        send_down(tx, *device, record, *now_ms)?;
        Ok(true)
    }
}

/// A request for a certificate that gets none.
#[derive(Debug)]
pub struct DropRenewal {
    /// Row of the device.
    pub device: i64,
    /// The request.
    pub request: Vec<u8>,
    /// Why, for the device's page.
    pub reason: String,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for DropRenewal {
    type Done = ();

    fn device(&self) -> Option<i64> {
        Some(self.device)
    }

    fn apply(&self, tx: &Connection) -> sql::Result<()> {
        tx.execute(
            "DELETE FROM renewal WHERE device = ?1 AND request = ?2",
            params![self.device, &self.request],
        )?;
        let (kind, detail) = (ProblemKind::Refused, self.reason.clone());
        let problem = Problem { device: Some(self.device), kind, detail, now_ms: self.now_ms };
        problem.apply(tx)
    }
}

/// A device is refused from now on, with every certificate it has.
#[derive(Debug)]
pub struct Revoke {
    /// The device.
    pub device: DeviceId,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

/// What a [`Revoke`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// It was valid until now.
    Now,
    /// It was revoked already.
    Already,
    /// No such device.
    Unknown,
}

impl Command for Revoke {
    type Done = Revoked;

    fn apply(&self, tx: &Connection) -> sql::Result<Revoked> {
        let found: Option<(i64, Option<i64>)> = tx.maybe(
            "SELECT id, revoked_ms FROM device WHERE name = ?1",
            params![self.device.as_str()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let Some((device, revoked_ms)) = found else { return Ok(Revoked::Unknown) };
        let now_ms = number(self.now_ms);
        tx.execute(
            "UPDATE certificate SET revoked_ms = ?2 WHERE device = ?1 AND revoked_ms IS NULL",
            params![device, now_ms],
        )?;
        if revoked_ms.is_some() {
            return Ok(Revoked::Already);
        }
        tx.execute("UPDATE device SET revoked_ms = ?2 WHERE id = ?1", params![device, now_ms])?;
        Ok(Revoked::Now)
    }
}

/// A device connected or left.
#[derive(Debug)]
pub struct Contact {
    /// Row of the device.
    pub device: i64,
    /// Whether it is connected.
    pub online: bool,
    /// To this hub.
    pub hub: String,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for Contact {
    type Done = ();

    fn device(&self) -> Option<i64> {
        Some(self.device)
    }

    fn apply(&self, tx: &Connection) -> sql::Result<()> {
        let Contact { device, online, hub, now_ms } = self;
        let now_ms = number(*now_ms);
        if *online {
            let sql = "UPDATE device SET contact_ms = ?2, connected_ms = ?2 WHERE id = ?1";
            return tx.execute(sql, params![device, now_ms]).map(drop);
        }
        // It may be with another hub by now.
        tx.execute(
            "UPDATE device SET contact_ms = ?2, connected_ms = NULL
             WHERE id = ?1 AND (hub IS NULL OR hub = ?3)",
            params![device, now_ms, hub],
        )
        .map(drop)
    }
}

/// A hub lives.
#[derive(Debug)]
pub struct Beat {
    /// Which one.
    pub hub: String,
    /// Now, by its clock.
    pub now_ms: u64,
}

impl Command for Beat {
    /// Devices whose hub is gone; they have none now.
    type Done = Vec<DeviceId>;

    fn apply(&self, tx: &Connection) -> sql::Result<Vec<DeviceId>> {
        let now_ms = number(self.now_ms);
        tx.execute(
            "INSERT INTO hub (id, seen_ms) VALUES (?1, ?2)
             ON CONFLICT (id) DO UPDATE SET seen_ms = excluded.seen_ms",
            params![self.hub, now_ms],
        )?;
        let dead_ms = now_ms.saturating_sub(number(DEAD_AFTER_MS));
        tx.execute("DELETE FROM hub WHERE seen_ms < ?1", params![dead_ms])?;
        let names: Vec<String> = tx.rows(
            "UPDATE device SET hub = NULL, connected_ms = NULL
             WHERE hub IS NOT NULL AND hub NOT IN (SELECT id FROM hub) RETURNING name",
            &[],
            |row| row.get(0),
        )?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }
}

/// A hub stops, and speaks with nobody any more.
#[derive(Debug)]
pub struct Leave {
    /// Which one.
    pub hub: String,
}

impl Command for Leave {
    type Done = ();

    fn apply(&self, tx: &Connection) -> sql::Result<()> {
        tx.execute("DELETE FROM hub WHERE id = ?1", params![self.hub]).map(drop)
    }
}

/// The hub starts: nobody is connected to it, and this is where it serves.
#[derive(Debug)]
pub struct Starting {
    /// `HOST:PORT` for devices, the default of `enroll`.
    pub address: String,
    /// The same for files of releases, if they are handed out.
    pub files: Option<String>,
}

impl Command for Starting {
    type Done = ();

    fn apply(&self, tx: &Connection) -> sql::Result<()> {
        // Who is with another hub stays there.
        tx.execute(
            "UPDATE device SET connected_ms = NULL, hub = NULL
             WHERE connected_ms IS NOT NULL
                 AND (hub IS NULL OR hub NOT IN (SELECT id FROM hub))",
            &[],
        )?;
        tx.execute(
            "INSERT INTO meta (key, value) VALUES ('address', ?1)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            params![self.address],
        )?;
        match &self.files {
            Some(files) => tx.execute(
                "INSERT INTO meta (key, value) VALUES ('files', ?1)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                params![files],
            ),
            None => tx.execute("DELETE FROM meta WHERE key = 'files'", &[]),
        }
        .map(drop)
    }
}

/// Where the files of a broker were written: the list of revoked certificates is kept there.
#[derive(Debug)]
pub struct NoteBrokerDir {
    /// The directory.
    pub dir: String,
}

impl Command for NoteBrokerDir {
    type Done = ();

    fn apply(&self, tx: &Connection) -> sql::Result<()> {
        tx.execute(
            "INSERT INTO meta (key, value) VALUES ('broker-dir', ?1)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            params![self.dir],
        )
        .map(drop)
    }
}

/// Something was wrong with what a device sent.
#[derive(Debug)]
pub struct Problem {
    /// Row of the device; `None` if it could not be told who it was.
    pub device: Option<i64>,
    /// Of which kind.
    pub kind: ProblemKind,
    /// What was wrong.
    pub detail: String,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

/// Kinds of problems, as they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// A payload that is no frame, or one that makes no sense.
    Malformed,
    /// Outside the device's own topics.
    Refused,
    /// A connection that was not let in.
    Connection,
}

impl Command for Problem {
    type Done = ();

    fn device(&self) -> Option<i64> {
        self.device
    }

    fn apply(&self, tx: &Connection) -> sql::Result<()> {
        let (malformed, refused) = match self.kind {
            ProblemKind::Malformed => (1, 0),
            ProblemKind::Refused => (0, 1),
            ProblemKind::Connection => {
                tx.execute(
                    "INSERT INTO counter (name, value) VALUES ('connections_refused', 1)
                     ON CONFLICT (name) DO UPDATE SET value = counter.value + 1",
                    &[],
                )?;
                (0, 0)
            }
        };
        tx.execute(
            "UPDATE device SET frames_malformed = frames_malformed + ?2,
                 frames_refused = frames_refused + ?3, problem = ?4, problem_ms = ?5
             WHERE id = ?1",
            params![self.device, malformed, refused, self.detail, number(self.now_ms)],
        )
        .map(drop)
    }
}
