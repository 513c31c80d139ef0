//! The hash chain: what the hub is told of it agrees with the records.

use super::*;
use landfall_wire::chain::{ChainMark, ChainValue};
use landfall_wire::id::DeviceId;

fn ship() -> DeviceId {
    "ship-7".parse().unwrap()
}

fn named() -> StoreConfig {
    StoreConfig { device: Some(ship()), ..small() }
}

fn fill(store: &Store, from: u64, to: u64) {
    for number in from..to {
        runtime().block_on(store.commit(entry(number, None), None, true)).unwrap();
    }
}

fn marks(store: &Store) -> Vec<ChainMark> {
    let marks = events(store).into_iter().filter_map(|event| match event {
        Record::Event(Event::Chain(mark)) => Some(mark),
        _ => None,
    });
    marks.collect()
}

/// The chain after the outcomes of a stream `from..to`, all of them held.
fn follow(store: &Store, of: StreamStatus, value: ChainValue, from: u64, to: u64) -> ChainValue {
    let mut value = value;
    let mut next = from;
    while next < to {
        let chunk = store.read(of.stream, of.epoch, next, to, 16 * 1024).unwrap();
        assert!(!chunk.records.is_empty(), "{next} is held");
        next += chunk.records.len() as u64;
        value = chunk.records.iter().fold(value, |value, record| value.after(record));
    }
    value
}

#[test]
fn the_hub_is_told_of_the_chain_at_intervals_also_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, named());
    fill(&store, 0, 50);
    runtime().block_on(store.close());
    drop(store);
    let store = open(&dir, named());
    fill(&store, 50, 130);
    let of = stream(&store, StreamId::Outcome);
    let marks = marks(&store);
    assert_eq!(marks.iter().map(|m| m.at).collect::<Vec<_>>(), [64, 128]);
    let mut value = ChainValue::begin(Some(&ship()), of.epoch, 0);
    let mut from = 0;
    for mark in marks {
        value = follow(&store, of, value, from, mark.at);
        assert_eq!((mark.value, mark.begins), (value, false), "at {}", mark.at);
        from = mark.at;
    }
}

#[test]
fn a_device_that_gets_a_name_begins_a_chain_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, small());
    fill(&store, 0, 3);
    runtime().block_on(store.close());
    drop(store);
    let store = open(&dir, named());
    fill(&store, 3, 5);
    let epoch = store.status().epoch;
    let value = ChainValue::begin(Some(&ship()), epoch, 3);
    assert_eq!(marks(&store), [ChainMark { epoch, at: 3, value, begins: true }]);
    // Without the name for once it goes on.
    runtime().block_on(store.close());
    drop(store);
    let store = open(&dir, small());
    fill(&store, 5, 7);
    assert_eq!(marks(&store).len(), 1);
}

#[test]
fn outcomes_that_stand_alone_are_told_of_after_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(dir.path(), Some(ship()));
    let (mut engine, _) = Engine::open(Box::new(files), named(), 0).unwrap();
    let op = |number| Op::Commit {
        entry: Box::new(entry(number, None)),
        key: None,
        urgent: true,
        reply: Box::new(|result| drop(result.unwrap())),
    };
    engine.process(1_000, vec![op(0), op(1)]);
    let events = |engine: &Engine| {
        let shared = engine.shared();
        shared.streams().iter().find(|s| s.stream == StreamId::Event).unwrap().end
    };
    engine.housekeep(3_600_000);
    assert_eq!(events(&engine), 0, "not an hour since the first");
    engine.housekeep(3_601_000);
    assert_eq!(events(&engine), 1);
    engine.housekeep(9_000_000);
    assert_eq!(events(&engine), 1, "nothing is new");
}

#[test]
fn what_is_dropped_is_bridged() {
    let dir = tempfile::tempdir().unwrap();
    let outcomes_when_full = WhenFull::DropOldest;
    let store = open(&dir, StoreConfig { outcomes_when_full, ..named() });
    let mut number = 0;
    while store.status().lost == 0 {
        let runtime = runtime();
        let group = (number..number + 64).map(|number| {
            let store = store.clone();
            runtime.spawn(async move { store.commit(entry(number, None), None, true).await })
        });
        for committed in group.collect::<Vec<_>>() {
            runtime.block_on(committed).unwrap().unwrap();
        }
        number += 64;
        assert!(number < 200_000, "{:?}", store.status());
    }
    let of = stream(&store, StreamId::Outcome);
    let loss = events(&store).into_iter().find_map(|event| match event {
        Record::Loss(loss) => Some(loss),
        _ => None,
    });
    let loss = loss.unwrap();
    let marks = marks(&store);
    let at = |at| marks.iter().find(|mark| mark.at == at).unwrap_or_else(|| panic!("{at}")).value;
    assert_eq!(at(loss.first), ChainValue::begin(Some(&ship()), of.epoch, 0));
    let next = marks.iter().map(|mark| mark.at).filter(|at| *at > loss.end).min().unwrap();
    assert_eq!(follow(&store, of, at(loss.end), loss.end, next), at(next));
}

#[test]
fn a_salvaged_store_tells_where_its_chain_ended() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, named());
    fill(&store, 0, 10);
    let old = stream(&store, StreamId::Outcome);
    let detail = "page 7 does not match its checksum".to_owned();
    store.ops.send(Op::Suspect { number: 1, detail }).unwrap();
    wait_for("a new epoch", &store, |store| store.status().epoch != old.epoch);
    let begin = ChainValue::begin(Some(&ship()), old.epoch, 0);
    let value = follow(&store, old, begin, 0, 10);
    let end = ChainMark { epoch: old.epoch, at: 10, value, begins: false };
    assert_eq!(marks(&store), [end]);
    wait_for("writing", &store, |store| store.status().refusing.is_none());
    fill(&store, 10, 74);
    let of = stream(&store, StreamId::Outcome);
    let begin = ChainValue::begin(Some(&ship()), of.epoch, 0);
    assert_eq!(marks(&store)[1].value, follow(&store, of, begin, 0, 64));
}
