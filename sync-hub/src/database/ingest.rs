//! A batch becomes rows, and the mark moves, in one transaction.

use super::commands::change_state;
use super::{Command, number, signed, unsigned, views};
use landfall_hub_core::desk::State;
use landfall_hub_core::ingest::{BatchError, Content, EPOCHS_PER_DEVICE_MAX, Plan, plan};
use landfall_wire::frame::{Batch, Position};
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::record::{Escalation, Event, Loss, Outcome, Record, StreamId, Verdict};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

/// Apply one batch of a device.
#[derive(Debug)]
pub struct Ingest {
    /// Row of the device.
    pub device: i64,
    /// What it sent.
    pub batch: Batch,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

/// A committed batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// What to acknowledge.
    pub position: Position,
    /// Records applied.
    pub applied: u64,
    /// Records that are kept as they came.
    pub rejected: u64,
    /// Records that will never arrive, told by this batch.
    pub lost: u64,
}

/// Why a batch was refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// It makes no sense.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// More epochs than a device can have.
    #[error("the device has used {EPOCHS_PER_DEVICE_MAX} epochs already")]
    Epochs,
}

/// Where a record stands.
#[derive(Clone, Copy)]
struct Place {
    device: i64,
    epoch: Epoch,
    stream: StreamId,
    seq: u64,
    now_ms: i64,
}

impl Command for Ingest {
    type Done = Result<Ingested, IngestError>;

    fn apply(&self, tx: &Connection) -> rusqlite::Result<Self::Done> {
        let Batch { stream, epoch, .. } = self.batch;
        let known = read_mark(tx, self.device, epoch, stream)?;
        if known.is_none() && epochs(tx, self.device, epoch)? >= EPOCHS_PER_DEVICE_MAX {
            return Ok(Err(IngestError::Epochs));
        }
        let plan = match plan(known.unwrap_or(0), &self.batch) {
            Ok(plan) => plan,
            Err(error) => return Ok(Err(error.into())),
        };
        let place =
            Place { device: self.device, epoch, stream, seq: 0, now_ms: number(self.now_ms) };
        let mut totals = Totals::default();
        if let Some(gap) = &plan.gap {
            let (first, end) = (gap.start, gap.end);
            totals.lost += end - first;
            insert_loss(tx, place, (stream, epoch, first, end, "gap"))?;
        }
        for entry in &plan.entries {
            insert(tx, Place { seq: entry.seq, ..place }, &entry.content, &mut totals)?;
        }
        write_mark(tx, place, &plan)?;
        totals.write(tx, place, &plan)?;
        Ok(Ok(Ingested {
            position: Position { stream, epoch, next: plan.mark },
            applied: plan.entries.len() as u64 - totals.rejected,
            rejected: totals.rejected,
            lost: totals.lost,
        }))
    }
}

#[derive(Default)]
struct Totals {
    outcomes: u64,
    caller_ids: u64,
    rejected: u64,
    lost: u64,
}

impl Totals {
    fn write(&self, tx: &Connection, place: Place, plan: &Plan) -> rusqlite::Result<()> {
        tx.prepare_cached(
            "UPDATE device SET contact_ms = ?2, frames_received = frames_received + 1,
                 records_applied = records_applied + ?3,
                 records_repeated = records_repeated + ?4,
                 outcomes = outcomes + ?5, caller_ids = caller_ids + ?6
             WHERE id = ?1",
        )?
        .execute(params![
            place.device,
            place.now_ms,
            number(plan.entries.len() as u64 - self.rejected),
            number(plan.repeated),
            number(self.outcomes),
            number(self.caller_ids),
        ])
        .map(drop)
    }
}

fn read_mark(
    tx: &Connection,
    device: i64,
    epoch: Epoch,
    stream: StreamId,
) -> rusqlite::Result<Option<u64>> {
    tx.prepare_cached("SELECT mark FROM mark WHERE device = ?1 AND epoch = ?2 AND stream = ?3")?
        .query_row(params![device, signed(epoch.0), stream.name()], |row| row.get(0))
        .optional()
        .map(|mark| mark.map(unsigned))
}

/// Epochs of the device other than this one.
pub(super) fn epochs(tx: &Connection, device: i64, epoch: Epoch) -> rusqlite::Result<usize> {
    tx.prepare_cached("SELECT count(DISTINCT epoch) FROM mark WHERE device = ?1 AND epoch <> ?2")?
        .query_row(params![device, signed(epoch.0)], |row| row.get::<_, i64>(0))
        .map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

fn write_mark(tx: &Connection, place: Place, plan: &Plan) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO mark (device, epoch, stream, mark, device_end) VALUES (?1, ?2, ?3, ?4, ?4)
         ON CONFLICT (device, epoch, stream) DO UPDATE
         SET mark = excluded.mark, device_end = max(device_end, excluded.mark)",
    )?
    .execute(params![place.device, signed(place.epoch.0), place.stream.name(), number(plan.mark)])
    .map(drop)
}

fn insert(
    tx: &Connection,
    place: Place,
    content: &Content,
    totals: &mut Totals,
) -> rusqlite::Result<()> {
    match content {
        Content::Rejected { reason, raw } => {
            totals.rejected += 1;
            insert_rejected(tx, place, reason, raw)
        }
        Content::Record(record) => match record.as_ref() {
            Record::Outcome(outcome) => insert_outcome(tx, place, outcome, totals),
            Record::Escalation(escalation) => insert_escalation(tx, place, escalation),
            Record::Event(event) => insert_event(tx, place, event),
            Record::Loss(Loss { stream, epoch, first, end, reason }) => {
                totals.lost += end.saturating_sub(*first);
                let reason = views::loss_reason(*reason);
                insert_loss(tx, place, (*stream, *epoch, *first, *end, reason))
            }
            // The plan lets no answer into a stream of a device.
            Record::Answer(_) => Ok(()),
        },
    }
}

fn insert_outcome(
    tx: &Connection,
    place: Place,
    outcome: &Outcome,
    totals: &mut Totals,
) -> rusqlite::Result<()> {
    let task = outcome.task.as_str();
    if let Some(caller_id) = &outcome.caller_id {
        let known: bool = tx
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM outcome
                 WHERE device = ?1 AND task = ?2 AND caller_id = ?3)",
            )?
            .query_row(params![place.device, task, caller_id], |row| row.get(0))?;
        totals.caller_ids += u64::from(!known);
    }
    let (status, reason, ticket_seq) = match &outcome.verdict {
        Verdict::Answered => ("answered", None, None),
        Verdict::Refused => ("refused", None, None),
        Verdict::Escalated { reason, seq } => {
            ("escalated", Some(views::reason(reason)), Some(signed(*seq)))
        }
    };
    let (mechanism, mechanism_name) = views::mechanism(&outcome.mechanism);
    let (text, text_bytes) = views::text(outcome.text.as_ref());
    let inserted = tx
        .prepare_cached(
            "INSERT INTO outcome (device, epoch, seq, received_ms, task, caller_id, at_ms,
                 mechanism, mechanism_name, status, reason, escalation_seq, decision,
                 confidence_bp, package, config, decide_us, read, fields_left_out, text,
                 text_bytes, masking, meta)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                 ?18, ?19, ?20, ?21, ?22, ?23)
             ON CONFLICT (device, epoch, seq) DO NOTHING",
        )?
        .execute(params![
            place.device,
            signed(place.epoch.0),
            number(place.seq),
            place.now_ms,
            task,
            outcome.caller_id,
            number(outcome.at_ms),
            mechanism,
            mechanism_name,
            status,
            reason,
            ticket_seq,
            outcome.decision.as_ref().map(|decision| views::decision(decision).to_string()),
            outcome.confidence.basis_points(),
            outcome.package.to_string(),
            outcome.config.to_string(),
            outcome.decide_us,
            outcome.read.as_ref().map(|read| views::read(read).to_string()),
            outcome.fields_left_out,
            text,
            text_bytes,
            outcome.masking.map(views::masking),
            views::meta(&outcome.meta).to_string(),
        ])?;
    totals.outcomes += inserted as u64;
    Ok(())
}

fn insert_escalation(
    tx: &Connection,
    place: Place,
    escalation: &Escalation,
) -> rusqlite::Result<()> {
    let key = params![place.device, signed(place.epoch.0), number(place.seq)];
    let gave_up = tx
        .prepare_cached("DELETE FROM expired_early WHERE device = ?1 AND epoch = ?2 AND seq = ?3")?
        .execute(key)?;
    let state = if gave_up > 0 { State::Expired } else { State::Open };
    let candidates: Vec<Value> = escalation
        .candidates
        .iter()
        .map(|(label, confidence)| {
            json!({ "label": label, "confidence": views::probability(*confidence) })
        })
        .collect();
    let (text, text_bytes) = views::text(escalation.text.as_ref());
    tx.prepare_cached(
        "INSERT INTO escalation (device, epoch, seq, received_ms, outcome_seq, task, at_ms, reason,
             text, text_bytes, provisional, candidates, meta, ttl_secs, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
         ON CONFLICT (device, epoch, seq) DO NOTHING",
    )?
    .execute(params![
        place.device,
        signed(place.epoch.0),
        number(place.seq),
        place.now_ms,
        signed(escalation.outcome_seq),
        escalation.task.as_str(),
        number(escalation.at_ms),
        views::reason(&escalation.reason),
        text,
        text_bytes,
        escalation.provisional.as_ref().map(|decision| views::decision(decision).to_string()),
        json!(candidates).to_string(),
        views::meta(&escalation.meta).to_string(),
        escalation.ttl_secs,
        state.name(),
    ])
    .map(drop)
}

fn insert_event(tx: &Connection, place: Place, event: &Event) -> rusqlite::Result<()> {
    let (kind, detail) = match event {
        Event::Started { at_ms, version, config } => {
            tx.prepare_cached("UPDATE device SET version = ?2, config = ?3 WHERE id = ?1")?
                .execute(params![place.device, version, config.to_string()])?;
            let at = views::time(number(*at_ms));
            let config = config.to_string();
            ("started", json!({ "at": at, "version": version, "config": config }))
        }
        Event::Task { task, kind, labels, package } => {
            let kind = views::kind_name(*kind);
            tx.prepare_cached(
                "INSERT INTO task (device, task, kind, labels, package)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (device, task) DO UPDATE SET kind = excluded.kind,
                     labels = excluded.labels, package = excluded.package",
            )?
            .execute(params![
                place.device,
                task.as_str(),
                kind,
                json!(labels).to_string(),
                package
            ])?;
            ("task", json!({ "task": task, "kind": kind, "package": package }))
        }
        Event::StoreReplaced { old, salvaged, detail } => {
            let old = old.map(|epoch| epoch.to_string());
            ("store-replaced", json!({ "old": old, "salvaged": salvaged, "detail": detail }))
        }
        Event::Expired { ticket } => {
            expire(tx, place.device, *ticket)?;
            ("expired", json!({ "ticket": ticket.to_string() }))
        }
        Event::Trouble { at_ms, detail } => {
            ("trouble", json!({ "at": views::time(number(*at_ms)), "detail": detail }))
        }
    };
    tx.prepare_cached(
        "INSERT INTO event (device, epoch, seq, received_ms, kind, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (device, epoch, seq) DO NOTHING",
    )?
    .execute(params![
        place.device,
        signed(place.epoch.0),
        number(place.seq),
        place.now_ms,
        kind,
        detail.to_string()
    ])
    .map(drop)
}

fn expire(tx: &Connection, device: i64, ticket: Ticket) -> rusqlite::Result<()> {
    let key = params![device, signed(ticket.epoch.0), number(ticket.seq)];
    let found: Option<i64> = tx
        .prepare_cached("SELECT id FROM escalation WHERE device = ?1 AND epoch = ?2 AND seq = ?3")?
        .query_row(key, |row| row.get(0))
        .optional()?;
    match found {
        Some(escalation) => change_state(tx, escalation, State::expired),
        None => tx
            .prepare_cached(
                "INSERT INTO expired_early (device, epoch, seq) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(key)
            .map(drop),
    }
}

/// Stream, epoch, first, end and reason of a loss.
type LossRow<'a> = (StreamId, Epoch, u64, u64, &'a str);

fn insert_loss(tx: &Connection, place: Place, loss: LossRow<'_>) -> rusqlite::Result<()> {
    let (stream, epoch, first, end, reason) = loss;
    tx.prepare_cached(
        "INSERT INTO loss (device, epoch, stream, first, end, reason, received_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (device, epoch, stream, first, end, reason) DO NOTHING",
    )?
    .execute(params![
        place.device,
        signed(epoch.0),
        stream.name(),
        number(first),
        number(end),
        reason,
        place.now_ms
    ])
    .map(drop)
}

fn insert_rejected(
    tx: &Connection,
    place: Place,
    reason: &str,
    raw: &[u8],
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO rejected (device, epoch, stream, seq, received_ms, reason, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (device, epoch, stream, seq) DO NOTHING",
    )?
    .execute(params![
        place.device,
        signed(place.epoch.0),
        place.stream.name(),
        number(place.seq),
        place.now_ms,
        reason,
        raw
    ])
    .map(drop)
}
