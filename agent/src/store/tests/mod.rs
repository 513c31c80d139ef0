//! The store through its public face, on real files.

mod chain;
mod crash;
mod damage;
mod directives;
mod full;
mod journal;
mod life;
mod refused;
mod tickets;

use super::*;
use landfall_agent_core::judgement::{Answer as Given, Ruling};
use landfall_agent_core::reply::Reply as CallerReply;
use landfall_agent_core::session::{Arrived, Down};
use landfall_wire::id::{Confidence, ShortDigest};
use landfall_wire::record::{
    Answer, Decision, Escalation, EscalationReason, LossReason, Mechanism, Outcome, Record,
    RedactedText, Verdict,
};
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A small store, so that limits are reached quickly.
fn small() -> StoreConfig {
    let (retry_window_outcomes, journal_bytes_max) = (0, 0);
    StoreConfig { retry_window_outcomes, journal_bytes_max, ..StoreConfig::new(BYTES_MIN) }
}

fn open(dir: &TempDir, config: StoreConfig) -> Store {
    Store::open(dir.path(), config).unwrap().0
}

/// A decision whose text says its number; an escalated one if it has a time to live.
fn entry(number: u64, ttl_secs: Option<u32>) -> Entry {
    let text = Some(RedactedText::new(&format!("{number} {}", "pump leaks ".repeat(20))));
    let reason = EscalationReason::LowConfidence;
    let verdict = match ttl_secs {
        Some(_) => Verdict::Escalated { reason: reason.clone(), seq: u64::MAX },
        None => Verdict::Answered,
    };
    let ruling = match ttl_secs {
        Some(_) => Ruling::Escalated(reason.clone()),
        None => Ruling::Answered,
    };
    let outcome = Outcome {
        task: "failure-mode".parse().unwrap(),
        caller_id: Some(number.to_string()),
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
        text: text.clone(),
        meta: vec![],
    };
    let escalation = ttl_secs.map(|ttl_secs| Escalation {
        outcome_seq: u64::MAX,
        task: "failure-mode".parse().unwrap(),
        at_ms: number,
        reason,
        text,
        provisional: None,
        candidates: vec![],
        meta: vec![],
        ttl_secs,
    });
    let reply = CallerReply {
        ruling,
        mechanism: Mechanism::Model,
        answer: Some(Given::Label("Leaking".into())),
        confidence: Confidence::CERTAIN,
        candidates: vec![],
        reason: Some(number.to_string()),
        read: None,
    };
    Entry { outcome, escalation, reply }
}

fn key(id: &str, text: u8) -> CallerKey {
    CallerKey {
        task: "failure-mode".parse().unwrap(),
        caller_id: id.into(),
        text_digest: ShortDigest([text; 8]),
    }
}

fn answer_to(ticket: Ticket, label: &str) -> Answer {
    let decision = Decision::Label(label.into());
    Answer { ticket, decision, by: "operator".into(), at_ms: 1, note: None }
}

fn answer_mark(next: u64) -> Position {
    Position { stream: StreamId::Answer, epoch: Epoch(9), next }
}

/// Answers of the hub up to a mark.
fn answers_until(next: u64, answers: Vec<Answer>) -> DownBatch {
    down_until(next, answers.into_iter().map(Down::Answer).collect())
}

/// Records of the hub up to a mark.
fn down_until(next: u64, down: Vec<Down>) -> DownBatch {
    let first = next - down.len() as u64;
    let arrived = (first..).zip(down).map(|(seq, down)| Arrived { seq, down }).collect();
    DownBatch { mark: answer_mark(next), arrived, gone: 0, at_ms: 7 }
}

fn stream(store: &Store, stream: StreamId) -> StreamStatus {
    let epoch = store.status().epoch;
    *store.streams().iter().find(|s| s.stream == stream && s.epoch == epoch).unwrap()
}

fn mark(of: StreamStatus, next: u64) -> Position {
    Position { stream: of.stream, epoch: of.epoch, next }
}

/// Every record of a stream with its number.
fn records(store: &Store, of: StreamStatus) -> Vec<(u64, Record)> {
    let mut found = Vec::new();
    let mut next = of.acked;
    while next < of.end {
        let chunk = store.read(of.stream, of.epoch, next, of.end, 16 * 1024).unwrap();
        let decoded = chunk.records.iter().zip(next..);
        found.extend(decoded.map(|(bytes, seq)| (seq, Record::decode(bytes).unwrap())));
        assert!(chunk.next_held > next, "reading goes on from {next}: {chunk:?}");
        next = chunk.next_held;
    }
    found
}

/// Which of the numbered decisions are there, in the order of their sequence.
fn numbers(store: &Store, of: StreamStatus) -> Vec<u64> {
    let numbered = records(store, of).into_iter().map(|(_, record)| match record {
        Record::Outcome(outcome) => outcome.at_ms,
        other => panic!("not an outcome: {other:?}"),
    });
    numbered.collect()
}

fn events(store: &Store) -> Vec<Record> {
    let of = stream(store, StreamId::Event);
    records(store, of).into_iter().map(|(_, record)| record).collect()
}

/// Waits for a condition on the store, and says what it last was if it never comes.
fn wait_for(what: &str, store: &Store, condition: impl Fn(&Store) -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    let mut changes = (store.durable_changes(), store.ticket_changes());
    while !condition(store) {
        assert!(Instant::now() < until, "{what} never came: {:?}", store.status());
        let changed = async {
            tokio::select! {
                _ = changes.0.changed() => {}
                _ = changes.1.changed() => {}
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        };
        runtime().block_on(changed);
    }
}
