//! Old outcomes are removed, a little at a time.
//!
//! What is removed of an epoch is always everything below one place, and the place is one of which
//! the device told the value of its chain: from there on an audit proves what is kept. How far it
//! went is in the table `removed`; counts of a device go on counting what was.

use super::sql::{self, Connection, params};
use super::{Command, signed};
use landfall_wire::id::Epoch;
use landfall_wire::record::StreamId;

/// Marks of the chain that one transaction goes on by: some 1,000 outcomes, so that what devices
/// send meanwhile waits some milliseconds.
const MARKS_MAX: i64 = 16;

/// Outcomes that one transaction removes where the device keeps no chain.
const OUTCOMES_MAX: i64 = 1_024;

/// The epochs of all devices.
///
/// # Errors
/// Those of the database.
pub fn epochs(connection: &Connection) -> sql::Result<Vec<(i64, Epoch)>> {
    connection.rows(
        "SELECT device, epoch FROM mark WHERE stream = ?1 ORDER BY device, epoch",
        params![StreamId::Outcome.name()],
        |row| Ok((row.get(0)?, Epoch(row.get::<i64>(1)?.cast_unsigned()))),
    )
}

/// Remove some outcomes of an epoch that came before a time.
#[derive(Debug, Clone)]
pub struct RemoveOld {
    /// Row of the device.
    pub device: i64,
    /// The epoch.
    pub epoch: Epoch,
    /// What came before, by the hub's clock, is not kept.
    pub before_ms: i64,
    /// Now, by the hub's clock.
    pub now_ms: i64,
}

impl Command for RemoveOld {
    /// How many were removed; none once it is done.
    type Done = u64;

    fn device(&self) -> Option<i64> {
        Some(self.device)
    }

    fn apply(&self, tx: &Connection) -> sql::Result<u64> {
        let (device, epoch) = (self.device, signed(self.epoch.0));
        let Some(below) = self.below(tx)? else { return Ok(0) };
        let removed = tx.execute(
            "DELETE FROM outcome WHERE device = ?1 AND epoch = ?2 AND seq < ?3",
            params![device, epoch, below],
        )?;
        tx.execute(
            "DELETE FROM chain_mark WHERE device = ?1 AND epoch = ?2 AND at < ?3",
            params![device, epoch, below],
        )?;
        tx.execute(
            "INSERT INTO removed (device, epoch, below, at_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (device, epoch)
             DO UPDATE SET below = excluded.below, at_ms = excluded.at_ms",
            params![device, epoch, below, self.now_ms],
        )?;
        Ok(removed)
    }
}

impl RemoveOld {
    /// The place up to which outcomes can go now; `None` if there is none yet.
    fn below(&self, tx: &Connection) -> sql::Result<Option<i64>> {
        let (device, epoch) = (self.device, signed(self.epoch.0));
        // Numbers rise with the time of arrival.
        let first: Option<(i64, i64)> = tx.maybe(
            "SELECT seq, received_ms FROM outcome WHERE device = ?1 AND epoch = ?2
             ORDER BY seq LIMIT 1",
            params![device, epoch],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let Some((first, _)) = first.filter(|(_, received_ms)| *received_ms < self.before_ms)
        else {
            return Ok(None);
        };
        let places: Vec<i64> = tx.rows(
            "SELECT DISTINCT at FROM chain_mark
             WHERE device = ?1 AND epoch = ?2 AND at > ?3 ORDER BY at LIMIT ?4",
            params![device, epoch, first, MARKS_MAX],
            |row| row.get(0),
        )?;
        for place in places.into_iter().rev() {
            if self.is_old(tx, place)? {
                return Ok(Some(place));
            }
        }
        let chained: bool = tx.row(
            "SELECT EXISTS (SELECT 1 FROM chain_mark WHERE device = ?1 AND epoch = ?2)",
            params![device, epoch],
            |row| row.get(0),
        )?;
        if chained {
            return Ok(None);
        }
        let newest: Option<i64> = tx.maybe(
            "SELECT seq FROM outcome WHERE device = ?1 AND epoch = ?2 AND seq < ?3
                 AND received_ms < ?4
             ORDER BY seq DESC LIMIT 1",
            params![device, epoch, first + OUTCOMES_MAX, self.before_ms],
            |row| row.get(0),
        )?;
        Ok(newest.map(|seq| seq + 1))
    }

    /// Whether everything below a place is old: whether the last one is.
    fn is_old(&self, tx: &Connection, place: i64) -> sql::Result<bool> {
        let last: Option<i64> = tx.maybe(
            "SELECT received_ms FROM outcome WHERE device = ?1 AND epoch = ?2 AND seq < ?3
             ORDER BY seq DESC LIMIT 1",
            params![self.device, signed(self.epoch.0), place],
            |row| row.get(0),
        )?;
        Ok(last.is_some_and(|received_ms| received_ms < self.before_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::commands::Enroll;
    use crate::database::ingest::Ingest;
    use crate::database::testing::on_both;
    use crate::database::{apply, audit, open, queries};
    use landfall_wire::chain::{ChainMark, ChainValue};
    use landfall_wire::frame::Batch;
    use landfall_wire::id::{Confidence, DeviceId, ShortDigest};
    use landfall_wire::record::{Event, Mechanism, Outcome, Record, Verdict};

    const CHAINED: Epoch = Epoch(1);
    const PLAIN: Epoch = Epoch(2);

    fn outcome(seq: u64) -> Vec<u8> {
        let outcome = Outcome {
            task: "failure-mode".parse().unwrap(),
            caller_id: None,
            at_ms: seq,
            mechanism: Mechanism::Model,
            verdict: Verdict::Answered,
            decision: None,
            confidence: Confidence::from_basis_points(9_000),
            package: ShortDigest::default(),
            config: ShortDigest::default(),
            decide_us: 1,
            read: None,
            fields_left_out: 0,
            masking: None,
            text: None,
            meta: vec![],
        };
        Record::Outcome(outcome).encode().unwrap()
    }

    /// 200 old outcomes and 100 new ones of each epoch; marks every 64 in one of them.
    fn fill(books: &mut Connection, name: &DeviceId) -> i64 {
        let enroll = Enroll {
            device: name.clone(),
            serial: "01".into(),
            authority: "landfall hub".into(),
            expires_ms: 1,
            now_ms: 0,
            answers_epoch: Epoch(9),
        };
        apply(books, &enroll).unwrap();
        let device = queries::device_id(books, name).unwrap().unwrap();
        let mut ingest = |stream, epoch, first, records, now_ms| {
            let batch = Batch { stream, epoch, floor: 0, first, records };
            apply(books, &Ingest { device, batch, now_ms }).unwrap().unwrap();
        };
        let mut value = ChainValue::begin(Some(name), CHAINED, 0);
        let mut marks = Vec::new();
        for seq in 0..300 {
            if seq > 0 && seq % 64 == 0 {
                let mark = ChainMark { epoch: CHAINED, at: seq, value, begins: false };
                marks.push(Record::Event(Event::Chain(mark)).encode().unwrap());
            }
            value = value.after(&outcome(seq));
        }
        ingest(StreamId::Event, CHAINED, 0, marks, 1_000);
        for epoch in [CHAINED, PLAIN] {
            ingest(StreamId::Outcome, epoch, 0, (0..200).map(outcome).collect(), 1_000);
            ingest(StreamId::Outcome, epoch, 200, (200..300).map(outcome).collect(), 2_000);
        }
        device
    }

    #[test]
    fn old_outcomes_go_and_what_stays_is_proven() {
        on_both(|source| {
            let mut books = open(source).unwrap();
            let name: DeviceId = "ship-7".parse().unwrap();
            let device = fill(&mut books, &name);
            assert_eq!(epochs(&books).unwrap(), [(device, CHAINED), (device, PLAIN)]);
            let mut removed = Vec::new();
            for epoch in [CHAINED, PLAIN] {
                let some = RemoveOld { device, epoch, before_ms: 1_500, now_ms: 3_000 };
                let mut total = 0;
                while let more @ 1.. = apply(&mut books, &some).unwrap() {
                    total += more;
                }
                removed.push(total);
            }
            assert_eq!(removed, [192, 200], "up to a mark, or up to the time");
            let reports = audit::audit(&books, &name).unwrap().unwrap();
            let [chained, plain] = &reports[..] else { panic!("{reports:?}") };
            assert!(chained.is_intact(), "{chained:?}");
            assert_eq!((chained.removed_below, chained.held, chained.proven), (192, 108, 64));
            assert_eq!((plain.is_intact(), plain.removed_below, plain.unproven), (true, 200, 100));
            // What is missing of the rest is found as before.
            let sql = "DELETE FROM outcome WHERE epoch = 1 AND seq = 250";
            assert_eq!(books.execute(sql, &[]).unwrap(), 1);
            let reports = audit::audit(&books, &name).unwrap().unwrap();
            assert_eq!(reports[0].findings_count, 1, "{reports:?}");
        });
    }
}
