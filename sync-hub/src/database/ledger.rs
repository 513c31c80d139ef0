//! One device's part of a transaction, in SQL. What is done with it is decided in
//! [`landfall_hub_core::ledger`].

use super::columns::Columns;
use super::quality::Tally;
use super::rows::Outcomes;
use super::sql::{self, Connection, Row, SqlError, params};
use super::{audit, number, queries, reporting, signed, unsigned, views};
use crate::releases;
use crate::rules;
use landfall_hub_core::desk::State;
use landfall_hub_core::ledger::{Answers, Asked, Ingested, Ledger, Lost, Place};
use landfall_wire::frame::Position;
use landfall_wire::id::{Epoch, Ticket};
use landfall_wire::record::{Answer, Escalation, Event, Loss, Outcome, Record, StreamId};
use landfall_wire::rules::RulesReport;
use landfall_wire::sketch::Withheld;
use serde_json::json;

/// A transaction on the rows of one device.
pub(super) struct SqlLedger<'a> {
    tx: &'a Connection,
    device: i64,
    now_ms: i64,
    /// Written when the mark moves, many rows at a time.
    outcomes: Outcomes,
    totals: Totals,
}

/// Counts of one batch, for the device's row.
#[derive(Debug, Default)]
struct Totals {
    outcomes: u64,
    caller_ids: u64,
    rejected: u64,
    /// Whether a loss was told.
    lost: bool,
    tally: Tally,
}

impl<'a> SqlLedger<'a> {
    /// A device that crashed tells once more of what it could not record, and of what came since,
    /// under the same beginning: that takes the place of what it told before.
    fn is_told_again(&mut self, from: &str, detail: &serde_json::Value) -> sql::Result<bool> {
        let same = format!("%\"from\":\"{from}\"%");
        let updated = self.tx.execute(
            "UPDATE event SET detail = ?3
             WHERE device = ?1 AND kind = 'unrecorded' AND detail LIKE ?2",
            params![self.device, same, detail.to_string()],
        )?;
        Ok(updated > 0)
    }

    pub(super) fn new(tx: &'a Connection, device: i64, now_ms: u64) -> SqlLedger<'a> {
        SqlLedger {
            tx,
            device,
            now_ms: number(now_ms),
            outcomes: Outcomes::default(),
            totals: Totals::default(),
        }
    }

    /// Counts an escalation of the device into a state, or out of it.
    fn count_state(&self, state: State, more: i64) -> sql::Result<()> {
        let column = match state {
            State::Open => "escalations_open",
            State::Answered => "escalations_answered",
            State::Delivered => "escalations_delivered",
            State::Expired => "escalations_expired",
        };
        let sql = format!("UPDATE device SET {column} = {column} + ?2 WHERE id = ?1");
        self.tx.execute(&sql, params![self.device, more]).map(drop)
    }

    fn write_outcomes(&mut self) -> sql::Result<()> {
        let outcomes = std::mem::take(&mut self.outcomes);
        self.totals.caller_ids += outcomes.new_caller_ids(self.tx, self.device)?;
        self.totals.outcomes += outcomes.insert(self.tx)?;
        Ok(())
    }

    /// Adds a batch to the device's counts.
    pub(super) fn count(&self, done: &Ingested) -> sql::Result<()> {
        if self.totals.lost {
            let lost = queries::lost(self.tx, self.device)?;
            let sql = "UPDATE device SET lost = ?2 WHERE id = ?1";
            self.tx.execute(sql, params![self.device, number(lost)])?;
        }
        self.totals.tally.write(self.tx, self.device, unsigned(self.now_ms))?;
        self.tx
            .execute(
                "UPDATE device SET contact_ms = ?2, frames_received = frames_received + 1,
                     records_applied = records_applied + ?3,
                     records_repeated = records_repeated + ?4,
                     outcomes = outcomes + ?5, caller_ids = caller_ids + ?6,
                     rejected = rejected + ?7
                 WHERE id = ?1",
                params![
                    self.device,
                    self.now_ms,
                    number(done.applied),
                    number(done.repeated),
                    number(self.totals.outcomes),
                    number(self.totals.caller_ids),
                    number(self.totals.rejected),
                ],
            )
            .map(drop)
    }
}

impl Ledger for SqlLedger<'_> {
    type Error = SqlError;

    fn mark(&mut self, stream: StreamId, epoch: Epoch) -> sql::Result<Option<u64>> {
        self.tx
            .maybe(
                "SELECT mark FROM mark WHERE device = ?1 AND epoch = ?2 AND stream = ?3",
                params![self.device, signed(epoch.0), stream.name()],
                |row| row.get(0),
            )
            .map(|mark| mark.map(unsigned))
    }

    fn set_mark(&mut self, mark: Position) -> sql::Result<()> {
        self.write_outcomes()?;
        self.tx
            .execute(
                "INSERT INTO mark (device, epoch, stream, mark, device_end)
                 VALUES (?1, ?2, ?3, ?4, ?4)
                 ON CONFLICT (device, epoch, stream) DO UPDATE
                 SET mark = excluded.mark, device_end =
                     CASE WHEN mark.device_end > excluded.mark THEN mark.device_end
                         ELSE excluded.mark END",
                params![self.device, signed(mark.epoch.0), mark.stream.name(), number(mark.next)],
            )
            .map(drop)
    }

    fn note_end(&mut self, end: Position) -> sql::Result<()> {
        self.tx
            .execute(
                "INSERT INTO mark (device, epoch, stream, mark, device_end)
                 VALUES (?1, ?2, ?3, 0, ?4)
                 ON CONFLICT (device, epoch, stream)
                 DO UPDATE SET device_end = excluded.device_end",
                params![self.device, signed(end.epoch.0), end.stream.name(), number(end.next)],
            )
            .map(drop)
    }

    fn other_epochs(&mut self, epoch: Epoch) -> sql::Result<usize> {
        self.tx
            .row(
                "SELECT count(DISTINCT epoch) FROM mark WHERE device = ?1 AND epoch <> ?2",
                params![self.device, signed(epoch.0)],
                |row| row.get::<i64>(0),
            )
            .map(|count| usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn outcome(&mut self, place: Place, outcome: &Outcome) -> sql::Result<()> {
        let record = Record::Outcome(outcome.clone()).encode();
        let record = record.map_err(|error| SqlError::Encode(Box::new(error)))?;
        let (epoch, seq) = (signed(place.epoch.0), number(place.seq));
        let place = [self.device.into(), epoch.into(), seq.into(), self.now_ms.into()];
        self.totals.tally.add(outcome);
        self.outcomes.push(place, record, Columns::of(outcome));
        if let Some(caller_id) = &outcome.caller_id {
            self.outcomes.note_caller_id(outcome.task.as_str(), caller_id);
        }
        Ok(())
    }

    fn escalation(
        &mut self,
        place: Place,
        escalation: &Escalation,
        state: State,
    ) -> sql::Result<()> {
        let candidates: Vec<serde_json::Value> = escalation
            .candidates
            .iter()
            .map(|(label, confidence)| {
                json!({ "label": label, "confidence": views::probability(*confidence) })
            })
            .collect();
        let (text, text_bytes) = views::text(escalation.text.as_ref());
        let provisional = escalation.provisional.as_ref().map(views::decision);
        let added = self.tx.execute(
            "INSERT INTO escalation (device, epoch, seq, received_ms, outcome_seq, task, at_ms,
                 reason, text, text_bytes, provisional, candidates, meta, ttl_secs, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
             ON CONFLICT (device, epoch, seq) DO NOTHING",
            params![
                self.device,
                signed(place.epoch.0),
                number(place.seq),
                self.now_ms,
                signed(escalation.outcome_seq),
                escalation.task.as_str(),
                number(escalation.at_ms),
                views::reason(&escalation.reason),
                text,
                text_bytes,
                provisional.map(|decision| decision.to_string()),
                json!(candidates).to_string(),
                views::meta(&escalation.meta).to_string(),
                escalation.ttl_secs,
                state.name(),
            ],
        )?;
        if added > 0 { self.count_state(state, 1) } else { Ok(()) }
    }

    fn event(&mut self, place: Place, event: &Event) -> sql::Result<()> {
        let (kind, detail) = match event {
            Event::Started { at_ms, version, config } => {
                self.tx.execute(
                    "UPDATE device SET version = ?2, config = ?3 WHERE id = ?1",
                    params![self.device, version, config.to_string()],
                )?;
                let at = views::time(number(*at_ms));
                let config = config.to_string();
                ("started", json!({ "at": at, "version": version, "config": config }))
            }
            Event::Task { task, kind, labels, package } => {
                let kind = views::kind_name(*kind);
                self.tx.execute(
                    "INSERT INTO task (device, task, kind, labels, package)
                     VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (device, task) DO UPDATE SET kind = excluded.kind,
                         labels = excluded.labels, package = excluded.package",
                    params![self.device, task.as_str(), kind, json!(labels).to_string(), package],
                )?;
                ("task", json!({ "task": task, "kind": kind, "package": package }))
            }
            Event::StoreReplaced { old, salvaged, detail } => {
                let old = old.map(|epoch| epoch.to_string());
                ("store-replaced", json!({ "old": old, "salvaged": salvaged, "detail": detail }))
            }
            Event::Expired { ticket } => ("expired", json!({ "ticket": ticket.to_string() })),
            Event::Trouble { at_ms, detail } => {
                ("trouble", json!({ "at": views::time(number(*at_ms)), "detail": detail }))
            }
            Event::Unrecorded { from_ms, until_ms, decisions } => {
                let (from, until) = (views::time(number(*from_ms)), views::time(number(*until_ms)));
                let detail = json!({ "from": from, "until": until, "decisions": decisions });
                if self.is_told_again(&from, &detail)? {
                    return Ok(());
                }
                ("unrecorded", detail)
            }
            Event::Release(report) => {
                releases::books::reported(self.tx, self.device, self.now_ms, report)?;
                ("release", releases::report(report))
            }
            Event::Link(report) => {
                reporting::keep_link(self.tx, self.device, report)?;
                ("link", views::link(report))
            }
            Event::Sketch(sketch) => {
                return reporting::keep_sketch(self.tx, self.device, self.now_ms, sketch);
            }
            Event::Clock { first, end, off_ms, behind, exact } => {
                let off = number(*off_ms);
                self.tx.execute(
                    "INSERT INTO clock_fix (device, epoch, seq, first, until, off_ms, exact)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
                    params![
                        self.device,
                        signed(place.epoch.0),
                        number(place.seq),
                        number(*first),
                        number(*end),
                        if *behind { off } else { -off },
                        i64::from(*exact)
                    ],
                )?;
                let detail = json!({ "first": first, "end": end, "off_ms": off_ms,
                                     "behind": behind, "exact": exact });
                ("clock", detail)
            }
            Event::CertificateWanted { request } => {
                self.tx.execute(
                    "INSERT INTO renewal (device, request, received_ms) VALUES (?1, ?2, ?3)
                     ON CONFLICT (device) DO UPDATE SET request = excluded.request,
                         received_ms = excluded.received_ms",
                    params![self.device, request, self.now_ms],
                )?;
                ("certificate-wanted", json!({}))
            }
            Event::Rules(report) => {
                rules::books::reported(self.tx, self.device, self.now_ms, report)?;
                let RulesReport { at_ms, slot, number: order, rule, refused } = report;
                let detail = json!({ "at": views::time(number(*at_ms)), "slot": slot,
                                     "order": order, "rule": rule, "refused": refused });
                ("rules", detail)
            }
            Event::Chain(mark) => return audit::keep(self.tx, self.device, mark),
        };
        self.tx
            .execute(
                "INSERT INTO event (device, epoch, seq, received_ms, kind, detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (device, epoch, seq) DO NOTHING",
                params![
                    self.device,
                    signed(place.epoch.0),
                    number(place.seq),
                    self.now_ms,
                    kind,
                    detail.to_string()
                ],
            )
            .map(drop)
    }

    fn rejected(&mut self, place: Place, reason: &str, raw: &[u8]) -> sql::Result<()> {
        self.totals.rejected += self.tx.execute(
            "INSERT INTO rejected (device, epoch, stream, seq, received_ms, reason, record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (device, epoch, stream, seq) DO NOTHING",
            params![
                self.device,
                signed(place.epoch.0),
                place.stream.name(),
                number(place.seq),
                self.now_ms,
                reason,
                raw
            ],
        )?;
        Ok(())
    }

    fn withheld(&mut self, place: Place, why: Withheld) -> sql::Result<()> {
        reporting::keep_withheld(self.tx, self.device, place, why)
    }

    fn loss(&mut self, _place: Place, lost: &Lost) -> sql::Result<()> {
        self.totals.lost = true;
        let (stream, epoch, first, end, reason) = match *lost {
            Lost::Told(Loss { stream, epoch, first, end, reason }) => {
                (stream, epoch, first, end, views::loss_reason(reason))
            }
            Lost::Gap { stream, epoch, first, end } => (stream, epoch, first, end, "gap"),
        };
        self.tx
            .execute(
                "INSERT INTO loss (device, epoch, stream, first, \"end\", reason, received_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (device, epoch, stream, first, \"end\", reason) DO NOTHING",
                params![
                    self.device,
                    signed(epoch.0),
                    stream.name(),
                    number(first),
                    number(end),
                    reason,
                    self.now_ms
                ],
            )
            .map(drop)
    }

    fn state(&mut self, ticket: Ticket) -> sql::Result<Option<State>> {
        self.tx.maybe(
            "SELECT state FROM escalation WHERE device = ?1 AND epoch = ?2 AND seq = ?3",
            params![self.device, signed(ticket.epoch.0), number(ticket.seq)],
            |row| queries::state(row, 0),
        )
    }

    fn set_state(&mut self, ticket: Ticket, state: State) -> sql::Result<()> {
        let Some(before) = self.state(ticket)? else { return Ok(()) };
        if before == state {
            return Ok(());
        }
        let (device, epoch, seq) = self.key(ticket);
        self.tx.execute(
            "UPDATE escalation SET state = ?4 WHERE device = ?1 AND epoch = ?2 AND seq = ?3",
            params![device, epoch, seq, state.name()],
        )?;
        self.count_state(before, -1)?;
        self.count_state(state, 1)
    }

    fn expired_early(&mut self, ticket: Ticket) -> sql::Result<()> {
        self.tx
            .execute(
                "INSERT INTO expired_early (device, epoch, seq) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO NOTHING",
                params![self.device, signed(ticket.epoch.0), number(ticket.seq)],
            )
            .map(drop)
    }

    fn take_expired_early(&mut self, ticket: Ticket) -> sql::Result<bool> {
        self.tx
            .execute(
                "DELETE FROM expired_early WHERE device = ?1 AND epoch = ?2 AND seq = ?3",
                params![self.device, signed(ticket.epoch.0), number(ticket.seq)],
            )
            .map(|count| count > 0)
    }

    fn asked(&mut self, ticket: Ticket) -> sql::Result<Option<Asked>> {
        let Some(found) = queries::question(self.tx, self.device, ticket)? else {
            return Ok(None);
        };
        let task = queries::task(self.tx, self.device, &found.task)?;
        Ok(Some(Asked { state: found.state, task, text: found.text }))
    }

    fn answers(&mut self) -> sql::Result<Answers> {
        self.tx.row(
            "SELECT answers_epoch, answers_end, answers_reach, answers_mark
                 FROM device WHERE id = ?1",
            params![self.device],
            |row| {
                Ok(Answers {
                    epoch: Epoch(row.get::<i64>(0)?.cast_unsigned()),
                    end: unsigned(row.get(1)?),
                    reach: unsigned(row.get(2)?),
                    mark: unsigned(row.get(3)?),
                })
            },
        )
    }

    fn set_answers(&mut self, answers: Answers) -> sql::Result<()> {
        let Answers { epoch, end, reach, mark } = answers;
        self.tx
            .execute(
                "UPDATE device SET answers_epoch = ?2, answers_end = ?3, answers_reach = ?4,
                     answers_mark = ?5 WHERE id = ?1",
                params![self.device, signed(epoch.0), number(end), number(reach), number(mark)],
            )
            .map(drop)
    }

    fn answer(&mut self, at: Position, answer: &Answer) -> sql::Result<()> {
        let record = Record::Answer(answer.clone()).encode();
        let record = record.map_err(|error| SqlError::Encode(Box::new(error)))?;
        let (device, epoch, seq) = self.key(answer.ticket);
        self.tx
            .execute(
                "INSERT INTO answer (escalation, device, stream_epoch, stream_seq, decision,
                     given_by, at_ms, note, record)
                 SELECT id, device, ?4, ?5, ?6, ?7, ?8, ?9, ?10 FROM escalation
                 WHERE device = ?1 AND epoch = ?2 AND seq = ?3",
                params![
                    device,
                    epoch,
                    seq,
                    signed(at.epoch.0),
                    number(at.next),
                    views::decision(&answer.decision).to_string(),
                    answer.by,
                    number(answer.at_ms),
                    answer.note,
                    record,
                ],
            )
            .map(drop)
    }

    fn down(&mut self, at: Position, record: &Record) -> sql::Result<()> {
        let encoded = record.encode();
        let encoded = encoded.map_err(|error| SqlError::Encode(Box::new(error)))?;
        let (kind, subject) = views::down_subject(record);
        self.tx
            .execute(
                "INSERT INTO down (device, stream_epoch, stream_seq, kind, subject, record,
                     created_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    self.device,
                    signed(at.epoch.0),
                    number(at.next),
                    kind,
                    subject,
                    encoded,
                    self.now_ms,
                ],
            )
            .map(drop)
    }

    fn take_delivered(&mut self, below: Position) -> sql::Result<Vec<Ticket>> {
        self.tx.execute(
            "UPDATE down SET delivered_ms = ?4
                 WHERE device = ?1 AND stream_epoch = ?2 AND stream_seq < ?3
                   AND delivered_ms IS NULL",
            params![self.device, signed(below.epoch.0), number(below.next), self.now_ms],
        )?;
        let ids: Vec<i64> = self.tx.rows(
            "UPDATE answer SET delivered_ms = ?4
                 WHERE device = ?1 AND stream_epoch = ?2 AND stream_seq < ?3
                   AND delivered_ms IS NULL
                 RETURNING escalation",
            params![self.device, signed(below.epoch.0), number(below.next), self.now_ms],
            |row| row.get(0),
        )?;
        let name = "SELECT epoch, seq FROM escalation WHERE id = ?1";
        ids.into_iter().map(|id| self.tx.row(name, params![id], ticket)).collect()
    }

    fn undelivered(&mut self) -> sql::Result<Vec<Position>> {
        // All that is undelivered is of one epoch: a new one takes it along.
        self.tx.rows(
            "SELECT stream_epoch, stream_seq FROM answer
                 WHERE device = ?1 AND delivered_ms IS NULL
             UNION ALL
             SELECT stream_epoch, stream_seq FROM down
                 WHERE device = ?1 AND delivered_ms IS NULL
             ORDER BY stream_seq",
            params![self.device],
            |row| {
                let epoch = Epoch(row.get::<i64>(0)?.cast_unsigned());
                Ok(Position { stream: StreamId::Answer, epoch, next: unsigned(row.get(1)?) })
            },
        )
    }

    fn renumber(&mut self, from: Position, to: Position) -> sql::Result<()> {
        // A number of the stream is in one of the two.
        for sql in [
            "UPDATE answer SET stream_epoch = ?4, stream_seq = ?5
                 WHERE device = ?1 AND stream_epoch = ?2 AND stream_seq = ?3",
            "UPDATE down SET stream_epoch = ?4, stream_seq = ?5
                 WHERE device = ?1 AND stream_epoch = ?2 AND stream_seq = ?3",
        ] {
            self.tx.execute(
                sql,
                params![
                    self.device,
                    signed(from.epoch.0),
                    number(from.next),
                    signed(to.epoch.0),
                    number(to.next),
                ],
            )?;
        }
        Ok(())
    }
}

impl SqlLedger<'_> {
    fn key(&self, ticket: Ticket) -> (i64, i64, i64) {
        (self.device, signed(ticket.epoch.0), number(ticket.seq))
    }
}

fn ticket(row: &Row<'_>) -> sql::Result<Ticket> {
    let epoch = Epoch(row.get::<i64>(0)?.cast_unsigned());
    Ok(Ticket { epoch, seq: unsigned(row.get(1)?) })
}
