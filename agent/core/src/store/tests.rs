//! The store on tables in memory: whatever is written, each number is read once, from wherever
//! reading begins.

use super::value::{Kind, PACK_RECORDS_MAX, Value, carve};
use super::*;
use crate::judgement::{Answer as Given, Ruling};
use crate::reply::Reply as CallerReply;
use crate::task::Entry;
use landfall_wire::chain::ChainValue;
use landfall_wire::frame::Position;
use landfall_wire::id::{Confidence, Epoch, ShortDigest};
use landfall_wire::record::{
    Decision, Escalation, EscalationReason, Mechanism, Outcome, Record, RedactedText, StreamId,
    Verdict,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Default)]
struct Files {
    tables: BTreeMap<u64, Content>,
    damaged: BTreeSet<u64>,
    epochs: u64,
}

/// Tables in memory, which can be looked into and damaged.
#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<Files>>);

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn engine(&self, config: &StoreConfig) -> (Engine, Opened) {
        Engine::open(Box::new(self.clone()), config.clone(), 0).unwrap()
    }

    /// Sealed values of records, with how many records each has.
    fn values(&self) -> Vec<(Kind, u64)> {
        let files = self.lock();
        let values = files.tables.values().flat_map(BTreeMap::values);
        let values = values.filter_map(|bytes| Value::open(bytes));
        let counted = values.map(|value| (value.kind, value.records().count() as u64));
        counted.filter(|(_, count)| *count > 0).collect()
    }
}

struct Map {
    memory: Memory,
    number: u64,
}

impl Map {
    fn with<T>(&self, look: impl FnOnce(&mut Content) -> T) -> Result<T, TableError> {
        let mut files = self.memory.lock();
        if files.damaged.contains(&self.number) {
            return Err(TableError::Damaged("a checksum does not match".to_owned()));
        }
        Ok(look(files.tables.entry(self.number).or_default()))
    }
}

fn pair((key, value): (&Vec<u8>, &Vec<u8>)) -> Pair {
    (key.clone(), value.clone())
}

impl Table for Map {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        self.with(|content| content.get(key).cloned())
    }

    fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, TableError> {
        self.with(|content| {
            (from < to).then(|| content.range(from.to_vec()..to.to_vec()).next().map(pair))?
        })
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, TableError> {
        self.with(|content| {
            (from < to).then(|| content.range(from.to_vec()..to.to_vec()).next_back().map(pair))?
        })
    }

    fn commit(&self, changes: Changes) -> Result<(), TableError> {
        self.with(|content| {
            content.extend(changes.put);
            changes.remove.iter().for_each(|key| drop(content.remove(key)));
        })
    }

    fn bytes(&self) -> u64 {
        let bytes = |content: &mut Content| content.values().map(Vec::len).sum::<usize>() as u64;
        self.with(bytes).unwrap_or(0)
    }
}

impl Medium for Memory {
    fn list(&mut self) -> Result<Vec<u64>, StoreError> {
        Ok(self.lock().tables.keys().copied().collect())
    }

    fn open(&mut self, number: u64) -> Result<Box<dyn Table>, TableError> {
        let map = Map { memory: self.clone(), number };
        map.with(|_| ())?;
        Ok(Box::new(map))
    }

    fn remove(&mut self, number: u64, table: Box<dyn Table>) -> Result<(), StoreError> {
        drop(table);
        self.set_aside(number)
    }

    fn raw(&mut self, number: u64, visit: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        let content = self.lock().tables.get(&number).cloned().unwrap_or_default();
        visit(&content.into_values().collect::<Vec<_>>().concat());
        Ok(())
    }

    fn tip(&mut self, _number: u64) -> Vec<u8> {
        Vec::new()
    }

    fn discard(&mut self, number: u64) -> Result<(), StoreError> {
        let mut files = self.lock();
        files.tables.remove(&number);
        files.damaged.remove(&number);
        Ok(())
    }

    fn set_aside(&mut self, number: u64) -> Result<(), StoreError> {
        let mut files = self.lock();
        files.tables.remove(&number);
        files.damaged.remove(&number);
        Ok(())
    }

    fn reserve(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn release(&mut self) {}

    fn keep_witness(&mut self, _bytes: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn witnesses(&mut self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn epoch(&mut self) -> Result<Epoch, StoreError> {
        let mut files = self.lock();
        files.epochs += 1;
        Ok(Epoch(files.epochs))
    }

    fn path(&self, number: Option<u64>) -> PathBuf {
        PathBuf::from(number.unwrap_or(0).to_string())
    }

    fn notice(&self, _notice: Notice<'_>) {}
}

/// A decision with a text of so many words; an escalated one if asked for.
fn entry(number: u64, words: usize, escalated: bool) -> Entry {
    let text = Some(RedactedText::new(&"pump ".repeat(words)));
    let reason = EscalationReason::LowConfidence;
    let task: landfall_wire::id::TaskName = "failure-mode".parse().unwrap();
    let (verdict, ruling) = if escalated {
        let verdict = Verdict::Escalated { reason: reason.clone(), seq: u64::MAX };
        (verdict, Ruling::Escalated(reason.clone()))
    } else {
        (Verdict::Answered, Ruling::Answered)
    };
    let escalation = escalated.then(|| Escalation {
        outcome_seq: u64::MAX,
        task: task.clone(),
        at_ms: number,
        reason,
        text: text.clone(),
        provisional: None,
        candidates: vec![],
        meta: vec![],
        ttl_secs: 3600,
    });
    let outcome = Outcome {
        task,
        caller_id: None,
        at_ms: number,
        mechanism: Mechanism::Model,
        verdict,
        decision: Some(Decision::Label("Leaking".into())),
        confidence: Confidence::CERTAIN,
        package: ShortDigest::default(),
        config: ShortDigest::default(),
        decide_us: 1,
        read: None,
        fields_left_out: 0,
        masking: None,
        text,
        meta: vec![],
    };
    let reply = CallerReply {
        ruling,
        mechanism: Mechanism::Model,
        answer: Some(Given::Label("Leaking".into())),
        confidence: Confidence::CERTAIN,
        candidates: vec![],
        reason: None,
        read: None,
    };
    Entry { outcome, escalation, reply }
}

/// What a caller was told, and which decision that is about.
type Told = Arc<Mutex<BTreeMap<(StreamId, Epoch, u64), u64>>>;

fn told(told: &Told) -> BTreeMap<(StreamId, Epoch, u64), u64> {
    told.lock().unwrap().clone()
}

/// Commits these decisions together: words of each, and whether it is escalated.
fn commit(engine: &mut Engine, known: &Told, group: &[(usize, bool)]) {
    let first = known.lock().unwrap().len() as u64;
    let ops = (first..).zip(group).map(|(number, (words, escalated))| {
        let entry = Box::new(entry(number, *words, *escalated));
        let known = known.clone();
        let reply: Reply<Committed> = Box::new(move |committed| {
            let Committed { epoch, outcome_seq, ticket, .. } = committed.unwrap();
            let mut known = known.lock().unwrap();
            known.insert((StreamId::Outcome, epoch, outcome_seq), number);
            let ticket = ticket.map(|ticket| (StreamId::Escalation, ticket.epoch, ticket.seq));
            known.extend(ticket.map(|ticket| (ticket, number)));
        });
        Op::Commit { entry, key: None, urgent: true, reply }
    });
    let ops = ops.collect();
    assert!(engine.process(0, ops).is_none());
}

fn number_of(record: &[u8]) -> u64 {
    match Record::decode(record).unwrap() {
        Record::Outcome(outcome) => outcome.at_ms,
        Record::Escalation(escalation) => escalation.at_ms,
        other => panic!("neither outcome nor escalation: {other:?}"),
    }
}

/// Everything from `first` on, in chunks of so many bytes.
fn read(shared: &Shared, of: &StreamStatus, first: u64, bytes_max: usize) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut next = first;
    while next < of.end {
        let chunk = shared.read(of.stream, of.epoch, next, of.end, bytes_max).unwrap();
        let bytes: usize = chunk.records.iter().skip(1).map(Vec::len).sum();
        assert!(bytes <= bytes_max, "the first may be larger, but not the others");
        assert!(chunk.next_held > next, "it goes on from {next}: {chunk:?}");
        found.extend((next..).zip(chunk.records));
        next = chunk.next_held;
    }
    found
}

/// What is read from `first` on is what was told, and nothing else.
fn check(
    engine: &Engine,
    known: &Told,
    first: u64,
    bytes_max: usize,
    lost: &BTreeSet<(StreamId, Epoch, u64)>,
) {
    let shared = engine.shared();
    for of in shared.streams().iter().filter(|of| of.stream != StreamId::Event) {
        let first = first % (of.end + 1).max(of.acked + 1);
        let first = first.max(of.acked);
        let found = read(&shared, of, first, bytes_max);
        let numbers: Vec<u64> = found.iter().map(|(seq, _)| *seq).collect();
        let wanted = (first..of.end).filter(|seq| !lost.contains(&(of.stream, of.epoch, *seq)));
        assert_eq!(numbers, wanted.collect::<Vec<_>>(), "{of:?} from {first}");
        let known = told(known);
        for (seq, record) in found {
            assert_eq!(known[&(of.stream, of.epoch, seq)], number_of(&record), "{of:?} {seq}");
        }
    }
    check_journal(&shared, known);
}

/// The outcomes that are held follow from each other, wherever reading begins.
fn check_journal(shared: &Shared, known: &Told) {
    let (mut from, mut all) = (None, Vec::new());
    loop {
        let some = shared.outcomes(from, 7).unwrap();
        let Some(last) = some.last() else { break };
        from = Some(OutcomeId { seq: last.id.seq + 1, ..last.id });
        all.extend(some);
    }
    let mut chain: Option<(OutcomeId, ChainValue)> = None;
    let known = told(known);
    for outcome in &all {
        let OutcomeId { epoch, seq } = outcome.id;
        assert_eq!(known[&(StreamId::Outcome, epoch, seq)], number_of(&outcome.record));
        let before = outcome.before.expect("there is a chain");
        if let Some((_, value)) = chain.filter(|(id, _)| *id == outcome.id) {
            assert_eq!(before, value, "{}", outcome.id);
        }
        let next = OutcomeId { epoch, seq: seq + 1 };
        chain = Some((next, before.after(&outcome.record)));
    }
    let ids: BTreeSet<OutcomeId> = all.iter().map(|outcome| outcome.id).collect();
    assert_eq!(ids.len(), all.len(), "each is given once");
}

/// One step of a store's life.
#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(usize, bool)>),
    Ack(u64),
    Reopen,
    /// The table that is this far along cannot be opened, and a value in it is damaged.
    Damage {
        table: u64,
        value: u64,
    },
    Read {
        first: u64,
        bytes_max: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let decision = (0..60_usize, prop::bool::weighted(0.1));
    prop_oneof![
        6 => prop::collection::vec(decision, 1..150).prop_map(Step::Commit),
        1 => any::<u64>().prop_map(Step::Ack),
        1 => Just(Step::Reopen),
        1 => any::<(u64, u64)>().prop_map(|(table, value)| Step::Damage { table, value }),
        4 => (any::<u64>(), 1..20_000_usize)
            .prop_map(|(first, bytes_max)| Step::Read { first, bytes_max }),
    ]
}

fn config() -> StoreConfig {
    let (generation_records_max, retry_window_outcomes) = (200, 0);
    let config = StoreConfig::new(64 << 20);
    StoreConfig { generation_records_max, retry_window_outcomes, ..config }
}

/// Flips a byte of one value with records, and has the table fail when it is opened. Returns
/// what can be lost by it: what no other table has.
fn damage(memory: &Memory, table: u64, value: u64) -> BTreeSet<(StreamId, Epoch, u64)> {
    let mut files = memory.lock();
    let numbers: Vec<u64> = files.tables.keys().copied().collect();
    let number = numbers[usize::try_from(table % numbers.len() as u64).unwrap()];
    let content = files.tables.get_mut(&number).unwrap();
    let keys: Vec<Vec<u8>> = content.keys().filter(|key| key[0] == b'r').cloned().collect();
    let mut hit = BTreeSet::new();
    if !keys.is_empty() {
        let key = &keys[usize::try_from(value % keys.len() as u64).unwrap()];
        let bytes = content.get_mut(key).unwrap();
        let opened = Value::open(bytes).unwrap();
        let stream = match opened.kind {
            Kind::Record(stream) | Kind::Pack(stream) => stream,
            other => panic!("under a record's key: {other:?}"),
        };
        hit.extend(opened.records().map(|(seq, _)| (stream, opened.epoch, seq)));
        let at = bytes.len() / 2;
        bytes[at] ^= 0x10;
    }
    files.damaged.insert(number);
    hit
}

/// What loss records say.
fn losses(engine: &Engine) -> BTreeSet<(StreamId, Epoch, u64)> {
    let shared = engine.shared();
    let mut lost = BTreeSet::new();
    for of in shared.streams().iter().filter(|of| of.stream == StreamId::Event) {
        for (_, event) in read(&shared, of, of.acked, 4096) {
            if let Record::Loss(loss) = Record::decode(&event).unwrap() {
                lost.extend((loss.first..loss.end).map(|seq| (loss.stream, loss.epoch, seq)));
            }
        }
    }
    lost
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn each_number_is_read_once_and_lost_is_only_what_was_hit(
        steps in prop::collection::vec(step(), 1..20),
    ) {
        let (memory, known) = (Memory::default(), Told::default());
        let config = config();
        let (mut engine, _) = memory.engine(&config);
        let mut lost = BTreeSet::new();
        for step in steps {
            match step {
                Step::Commit(group) => commit(&mut engine, &known, &group),
                Step::Ack(upto) => {
                    let streams = engine.shared().streams();
                    for of in streams.iter().filter(|of| of.stream != StreamId::Event) {
                        let next = of.acked + upto % (of.end - of.acked + 1);
                        let mark = Position { stream: of.stream, epoch: of.epoch, next };
                        let reply: Reply<()> = Box::new(|done| done.unwrap());
                        engine.process(0, vec![Op::Acked { mark, reply }]);
                    }
                }
                Step::Reopen => {
                    engine.stop(0);
                    engine = memory.engine(&config).0;
                }
                Step::Damage { table, value } => {
                    engine.stop(0);
                    let before = losses(&memory.engine(&config).0);
                    let hit = damage(&memory, table, value);
                    engine = memory.engine(&config).0;
                    let now = losses(&engine);
                    let new: BTreeSet<_> = now.difference(&before).copied().collect();
                    assert!(new.is_subset(&hit), "more than {hit:?}: {new:?}");
                    lost.extend(hit);
                }
                Step::Read { first, bytes_max } => {
                    // What was hit may be at the hub, or in another table.
                    let lost: BTreeSet<_> = lost.intersection(&losses(&engine)).copied().collect();
                    check(&engine, &known, first, bytes_max, &lost);
                }
            }
        }
        let lost = losses(&engine);
        check(&engine, &known, 0, 64 * 1024, &lost);
    }
}

#[test]
fn a_group_is_packed_and_a_record_alone_is_not() {
    let (memory, known) = (Memory::default(), Told::default());
    let (mut engine, _) = memory.engine(&config());
    let outcome = Kind::Record(StreamId::Outcome);
    commit(&mut engine, &known, &[(0, false)]);
    assert_eq!(memory.values(), [(outcome, 1)]);
    // A mark is among them, too.
    commit(&mut engine, &known, &[(0, false); 150]);
    let packed: Vec<(Kind, u64)> =
        memory.values().into_iter().filter(|(kind, _)| *kind != outcome).collect();
    let outcomes = packed.iter().filter(|(kind, _)| *kind == Kind::Pack(StreamId::Outcome));
    assert_eq!(outcomes.clone().map(|(_, count)| count).sum::<u64>(), 150);
    assert!(outcomes.clone().count() <= 5, "{packed:?}");
    assert!(packed.iter().all(|(_, count)| *count <= PACK_RECORDS_MAX), "{packed:?}");
    check(&engine, &known, 70, 1000, &BTreeSet::new());
    // As large as can be: none beside another.
    commit(&mut engine, &known, &[(500, true); 5]);
    check(&engine, &known, 151, 1, &BTreeSet::new());
}

/// A store as agents wrote it that knew no packs.
fn take_packs_apart(memory: &Memory) {
    let mut files = memory.lock();
    for content in files.tables.values_mut() {
        for (key, bytes) in content.clone() {
            let Some(value) = Value::open(&bytes).filter(|v| matches!(v.kind, Kind::Pack(_)))
            else {
                continue;
            };
            content.remove(&key);
            for single in value.singles() {
                let Kind::Record(stream) = single.kind else { panic!("{single:?}") };
                let key = keys::record(stream, single.epoch, single.seq);
                content.insert(key, single.seal().unwrap());
            }
        }
    }
}

#[test]
fn a_store_without_packs_goes_on_and_both_are_read_in_order() {
    let (memory, known) = (Memory::default(), Told::default());
    let (mut engine, _) = memory.engine(&config());
    commit(&mut engine, &known, &[(10, true); 90]);
    engine.stop(0);
    take_packs_apart(&memory);
    assert!(
        memory
            .values()
            .iter()
            .all(|(kind, count)| { *count == 1 && matches!(kind, Kind::Record(_)) })
    );
    let (mut engine, opened) = memory.engine(&config());
    assert_eq!(opened, Opened::default());
    commit(&mut engine, &known, &[(10, true); 90]);
    for first in [0, 1, 89, 90, 91, 130, 179] {
        check(&engine, &known, first, 3000, &BTreeSet::new());
    }
}

#[test]
fn a_record_that_is_alone_and_in_a_pack_is_given_once() {
    let (memory, known) = (Memory::default(), Told::default());
    let (mut engine, _) = memory.engine(&config());
    commit(&mut engine, &known, &[(0, false); 60]);
    engine.stop(0);
    let singles = {
        let files = memory.lock();
        let raw = files.tables[&1].values().cloned().collect::<Vec<_>>().concat();
        let singles = carve(&raw).flat_map(Value::singles);
        let singles = singles.filter(|value| value.kind == Kind::Record(StreamId::Outcome));
        singles.map(|value| (value.seq, value.seal().unwrap())).collect::<Vec<_>>()
    };
    // Every third again, in the same table.
    for (seq, sealed) in singles.into_iter().filter(|(seq, _)| seq % 3 == 1) {
        let key = keys::record(StreamId::Outcome, Epoch(1), seq);
        memory.lock().tables.get_mut(&1).unwrap().insert(key, sealed);
    }
    let (engine, _) = memory.engine(&config());
    for first in 0..60 {
        check(&engine, &known, first, 500, &BTreeSet::new());
    }
}

#[test]
fn a_reply_that_is_found_without_its_records_tells_of_the_loss() {
    let memory = Memory::default();
    let (mut engine, _) = memory.engine(&config());
    let before = memory.lock().tables[&1][keys::META].clone();
    let key = CallerKey {
        task: "failure-mode".parse().unwrap(),
        caller_id: "one".into(),
        text_digest: ShortDigest::default(),
    };
    let (entry, key) = (Box::new(entry(0, 3, true)), Some(key));
    let reply: Reply<Committed> = Box::new(|committed| drop(committed.unwrap()));
    engine.process(0, vec![Op::Commit { entry, key, urgent: true, reply }]);
    engine.stop(0);
    {
        // As a torn write may leave it: the reply alone.
        let mut files = memory.lock();
        let content = files.tables.get_mut(&1).unwrap();
        content.retain(|key, _| key.starts_with(b"k"));
        assert_eq!(content.len(), 1);
        content.insert(keys::META.to_vec(), before);
        files.damaged.insert(1);
    }
    let (engine, opened) = memory.engine(&config());
    let lost = [StreamId::Escalation, StreamId::Outcome].map(|stream| (stream, Epoch(1), 0));
    assert_eq!(losses(&engine), BTreeSet::from(lost), "{opened:?}");
}
