//! Many texts from one file: what the spool and `batch` share.
//!
//! Items are decided in chunks, so that they share group commits, and their results are kept in
//! the order of the file. Every item has an id, its own or one made of file and line, so that
//! going over the same file again records nothing twice.

mod results;

pub use results::Results;

use crate::http::{ApiError, ErrorBody, ErrorEnvelope, ItemBody, ReplyBody, Status};
use crate::input::{Encoding, Item, ItemError, LineIds};
use crate::pipeline::{DecideError, Pace, Pipeline};
use landfall_agent_core::request::Request;
use landfall_wire::id::TaskName;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

/// Items decided at once: one full group commit of the store, and no more than a model's queue
/// takes.
pub const CHUNK_ITEMS: usize = 64;

/// What became of one item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LineResult {
    /// Decided and recorded.
    Reply(Box<ReplyBody>),
    /// Neither.
    Error(ErrorEnvelope),
}

/// One line of a results file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultLine {
    /// Line of the input, from 1.
    pub line: u64,
    /// The encoding, where it had to be assumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// What became of it.
    #[serde(flatten)]
    pub result: LineResult,
}

/// Why a file could not be finished. What is decided is recorded, and going over the file again
/// goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    /// Try again later.
    #[error("{}", .0.message)]
    Later(ErrorBody),
    /// It will not work without a change.
    #[error("{}", .0.message)]
    Failed(ErrorBody),
    /// The process stops.
    #[error("interrupted")]
    Stopping,
    /// The results cannot be written.
    #[error("cannot write the results: {0}")]
    Write(#[from] std::io::Error),
}

/// Counts of a file's results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Items in all.
    pub items: u64,
    /// Answered by a rule.
    pub rule: u64,
    /// Answered by the model.
    pub model: u64,
    /// Handed to the hub.
    pub escalated: u64,
    /// Refused.
    pub refused: u64,
    /// Neither decided nor recorded.
    pub errors: u64,
    /// Of all of these, decided earlier.
    pub repeated: u64,
}

impl Tally {
    fn count(&mut self, result: &LineResult) {
        self.items += 1;
        let reply = match result {
            LineResult::Reply(reply) => reply,
            LineResult::Error(_) => {
                self.errors += 1;
                return;
            }
        };
        self.repeated += u64::from(reply.repeated);
        match reply.status {
            Status::Answered if reply.mechanism.kind == "model" => self.model += 1,
            Status::Answered => self.rule += 1,
            Status::Escalated => self.escalated += 1,
            Status::Refused => self.refused += 1,
        }
    }
}

/// Decides items chunk by chunk. `decide` gives one result for each item, in order; `keep` takes
/// them.
///
/// # Errors
/// Whatever halts `decide` or `keep`.
pub fn pump(
    items: impl Iterator<Item = Result<Item, ItemError>>,
    ids: &LineIds,
    mut decide: impl FnMut(Vec<ItemBody>) -> Result<Vec<LineResult>, Halt>,
    mut keep: impl FnMut(u64, LineResult, &Tally) -> Result<(), Halt>,
) -> Result<Tally, Halt> {
    let mut items = items.peekable();
    let mut tally = Tally::default();
    while items.peek().is_some() {
        let mut lines = Vec::with_capacity(CHUNK_ITEMS);
        let mut bodies = Vec::with_capacity(CHUNK_ITEMS);
        for item in items.by_ref().take(CHUNK_ITEMS) {
            match item {
                Ok(Item { line, text, id, meta }) => {
                    let id = id.unwrap_or_else(|| ids.line(line));
                    lines.push((line, None));
                    bodies.push(ItemBody { text, id: Some(id), meta });
                }
                Err(error) => lines.push((error.line, Some(LineResult::Error(error.into())))),
            }
        }
        let mut results = if bodies.is_empty() { Vec::new() } else { decide(bodies)? }.into_iter();
        for (line, unread) in lines {
            let result = unread.or_else(|| results.next()).unwrap_or_else(no_result);
            tally.count(&result);
            keep(line, result, &tally)?;
        }
    }
    Ok(tally)
}

/// Decides items at once, and waits for all of them: files can wait until decisions are recorded
/// again. Blocking.
///
/// # Errors
/// [`Halt::Later`] if one of them is to be tried again; the others are recorded, and are found
/// again by their ids.
pub fn decide_all(
    pipeline: &Pipeline,
    task: &TaskName,
    items: Vec<ItemBody>,
    runtime: &Handle,
) -> Result<Vec<LineResult>, Halt> {
    let decide = |item: ItemBody| {
        let (task, pipeline) = (task.clone(), pipeline.clone());
        runtime.spawn(async move {
            let ItemBody { text, id, meta } = item;
            let caller_id = id.clone();
            let request = Request { task: task.clone(), text: text.clone(), caller_id, meta };
            let decided = pipeline.decide_on_record(request, Pace::Bulk).await?;
            Ok(ReplyBody::new(&task, id, &text, &decided))
        })
    };
    let decisions: Vec<_> = items.into_iter().map(decide).collect();
    let results: Vec<Result<ReplyBody, DecideError>> = decisions
        .into_iter()
        .map(|decision| runtime.block_on(decision).unwrap_or(Err(DecideError::Panicked)))
        .collect();
    let result = |result: Result<ReplyBody, DecideError>| match result {
        Ok(reply) => Ok(LineResult::Reply(Box::new(reply))),
        Err(error) if error.is_temporary() => Err(Halt::Later(ApiError::from(error).body().error)),
        Err(error) => Ok(LineResult::Error(ApiError::from(error).body())),
    };
    results.into_iter().map(result).collect()
}

impl From<ItemError> for ErrorEnvelope {
    fn from(error: ItemError) -> ErrorEnvelope {
        let message = error.message;
        ErrorEnvelope { error: ErrorBody { code: "unreadable-line".into(), message, remedy: None } }
    }
}

fn no_result() -> LineResult {
    let message = "the agent gave no result for this line".to_owned();
    LineResult::Error(ErrorEnvelope {
        error: ErrorBody { code: "internal".into(), message, remedy: None },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Format, Reading, items};

    #[test]
    fn results_keep_the_order_of_the_file_whatever_fails() {
        let text: String = (1..=150)
            .map(|n| if n % 7 == 0 { "{\n".to_owned() } else { format!("{{\"text\":\"{n}\"}}\n") })
            .collect();
        let reading = Reading { format: Format::Jsonl, column: "text" };
        let refuse = |item: ItemBody| {
            let error = ErrorBody { code: "x".into(), message: item.text, remedy: None };
            LineResult::Error(ErrorEnvelope { error })
        };
        let mut kept = Vec::new();
        let tally = pump(
            items(&text, reading).unwrap(),
            &LineIds::new("f", b""),
            |bodies| Ok(bodies.into_iter().map(refuse).collect()),
            |line, result, _| {
                kept.push((line, result));
                Ok(())
            },
        );
        assert_eq!(tally.unwrap(), Tally { items: 150, errors: 150, ..Tally::default() });
        for ((line, result), want) in kept.into_iter().zip(1..) {
            assert_eq!(line, want);
            let LineResult::Error(ErrorEnvelope { error }) = result else { panic!("{result:?}") };
            let expected = if want % 7 == 0 { "unreadable-line" } else { "x" };
            assert_eq!(error.code, expected, "line {want}");
            assert!(want % 7 == 0 || error.message == want.to_string());
        }
    }
}
