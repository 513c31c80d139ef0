//! Writes a primer: records like those that devices send, made of the text in
//! `models/train/corpus`, coded without a primer.
//!
//!     cargo run --release -p landfall-wire --example primer -- models/train/corpus primer-1.bin
//!
//! A primer that was shipped never changes, because both sides must know the same. Another one is
//! another number, beside it.

#![expect(clippy::print_stderr, reason = "a command says what it did")]

use landfall_wire::chain::{ChainMark, ChainValue};
use landfall_wire::coding::{self, Primer};
use landfall_wire::id::{Confidence, Epoch, ShortDigest, TaskName, Ticket};
use landfall_wire::record::{
    Answer, Decision, Escalation, EscalationReason, Event, Field, Masking, Mechanism, Outcome,
    Read, Record, RedactedText, TaskKind, Verdict,
};
use std::path::Path;

/// After so many texts another device goes on, with other digests.
const DEVICE_TEXTS: usize = 40;

type Any = Box<dyn std::error::Error>;

/// Texts of each kind that are used: enough to learn from, and read in a few milliseconds.
const ORDERS: usize = 500;
const NESTED: usize = 160;

fn main() -> Result<(), Any> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [corpus, out] = arguments.as_slice() else {
        return Err("usage: primer CORPUS OUT".into());
    };
    let records = Maker::new(Path::new(corpus))?.records()?;
    let coded = coding::encode(&records, Primer::None);
    std::fs::write(out, [&u16::try_from(records.len())?.to_le_bytes()[..], &coded].concat())?;
    eprintln!("{} records, {} bytes, {} coded", records.len(), records.concat().len(), coded.len());
    Ok(())
}

/// A text, its labelled spans and its failure mode.
struct Text {
    text: String,
    fields: Vec<(String, String, usize)>,
    mode: Option<String>,
}

struct Maker {
    texts: Vec<Text>,
    modes: Vec<String>,
    state: u64,
    at_ms: u64,
    outcomes: u64,
    escalations: u64,
}

impl Maker {
    fn new(corpus: &Path) -> Result<Maker, Any> {
        let lines = |file: &str| -> Result<Vec<String>, Any> {
            let text = std::fs::read_to_string(corpus.join(file))?;
            Ok(text.lines().skip(1).map(str::to_owned).collect())
        };
        let observed: Vec<(String, String)> = lines("failure-modes.tsv")?
            .iter()
            .filter_map(|line| line.split_once('\t'))
            .map(|(mode, text)| (mode.to_owned(), text.to_owned()))
            .collect();
        let mut modes: Vec<String> = observed.iter().map(|(mode, _)| mode.clone()).collect();
        modes.dedup();
        let mode_of = |text: &str| {
            observed.iter().find(|(_, known)| text.contains(known.as_str())).map(|(mode, _)| mode)
        };
        let mut texts = Vec::new();
        for line in every(&lines("orders.txt")?, ORDERS) {
            let mut text = flat(line);
            text.mode = mode_of(&text.text).cloned();
            texts.push(text);
        }
        for line in every(&lines("nested-orders.txt")?, NESTED) {
            texts.push(Text { text: plain(line), fields: Vec::new(), mode: None });
        }
        let at_ms = 1_790_000_000_000;
        Ok(Maker { texts, modes, state: 1, at_ms, outcomes: 0, escalations: 0 })
    }

    /// A number below `below`, from a linear congruential generator (Knuth's constants for 64 bits).
    fn draw(&mut self, below: u64) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % below
    }

    fn digest(&mut self) -> ShortDigest {
        ShortDigest([0; 8].map(|_: u8| u8::try_from(self.draw(256)).unwrap_or(0)))
    }

    fn records(&mut self) -> Result<Vec<Vec<u8>>, Any> {
        let (mut package, mut config) = (self.digest(), self.digest());
        let mut records = vec![Record::Event(Event::Started {
            at_ms: self.at_ms,
            version: "0.1.0".to_owned(),
            config,
        })];
        let spans = [
            "Activity",
            "Agent",
            "Attribute",
            "Cardinality",
            "Consumable",
            "Item",
            "Location",
            "Observation",
            "Specifier",
            "Time",
        ];
        for (task, kind, labels) in [
            ("failure-mode", TaskKind::Classification, self.modes.clone()),
            ("work-order-fields", TaskKind::Extraction, spans.map(str::to_owned).to_vec()),
        ] {
            let package = "maintenance 0.3.0".to_owned();
            records.push(Record::Event(Event::Task { task: task.parse()?, kind, labels, package }));
        }
        let texts = std::mem::take(&mut self.texts);
        for (at, text) in texts.iter().enumerate() {
            self.at_ms += 2_000 + self.draw(90_000);
            if at % DEVICE_TEXTS == 0 {
                (package, config) = (self.digest(), self.digest());
            }
            let is_flat = !text.fields.is_empty() && at % 2 == 0;
            let task: TaskName =
                if is_flat { "work-order-fields" } else { "failure-mode" }.parse()?;
            records.extend(self.decision(text, &task, package, config));
            if self.outcomes.is_multiple_of(64) {
                let mut value = [0; 32];
                for byte in &mut value {
                    *byte = u8::try_from(self.draw(256))?;
                }
                records.push(Record::Event(Event::Chain(ChainMark {
                    epoch: Epoch(self.state),
                    at: self.outcomes,
                    value: ChainValue(value),
                    begins: false,
                })));
            }
        }
        Ok(records.iter().map(Record::encode).collect::<Result<_, _>>()?)
    }

    fn decision(
        &mut self,
        text: &Text,
        task: &TaskName,
        package: ShortDigest,
        config: ShortDigest,
    ) -> Vec<Record> {
        let words = u32::try_from(text.text.split_whitespace().count()).unwrap_or(0);
        let pieces = words + 2 + u32::try_from(self.draw(u64::from(words) + 1)).unwrap_or(0);
        let is_rule = task.as_str() == "failure-mode" && self.draw(7) == 0;
        let confidence = 10_000 - u16::try_from(self.draw(100) * self.draw(100)).unwrap_or(0);
        let is_asked = !is_rule && confidence < 7_000;
        let leaves = self.draw(2) == 0 || is_asked;
        let decision = match task.as_str() {
            "failure-mode" => {
                let any = usize::try_from(self.draw(self.modes.len() as u64)).unwrap_or(0);
                Decision::Label(text.mode.clone().unwrap_or_else(|| self.modes[any].clone()))
            }
            _ => Decision::Fields(
                text.fields
                    .iter()
                    .map(|(label, value, start)| Field {
                        label: label.clone(),
                        value: value.clone(),
                        start: u32::try_from(*start).unwrap_or(0),
                        end: u32::try_from(start + value.chars().count()).unwrap_or(0),
                        confidence: Confidence::from_basis_points(
                            10_000 - u16::try_from(self.draw(70) * self.draw(70)).unwrap_or(0),
                        ),
                    })
                    .collect(),
            ),
        };
        let redacted = leaves.then(|| RedactedText::new(&text.text));
        let mut records = vec![Record::Outcome(Outcome {
            task: task.clone(),
            caller_id: (self.outcomes % 4 == 3).then(|| format!("WO-{}", 70_000 + self.outcomes)),
            at_ms: self.at_ms,
            mechanism: match is_rule {
                true => Mechanism::Rule("leak".to_owned()),
                false => Mechanism::Model,
            },
            verdict: match is_asked {
                true => Verdict::Escalated {
                    reason: EscalationReason::LowConfidence,
                    seq: self.escalations,
                },
                false => Verdict::Answered,
            },
            decision: Some(decision.clone()),
            confidence: match is_rule {
                true => Confidence::CERTAIN,
                false => Confidence::from_basis_points(confidence),
            },
            package: if is_rule { ShortDigest::default() } else { package },
            config,
            decide_us: match is_rule {
                true => 40 + u32::try_from(self.draw(60)).unwrap_or(0),
                false => 1_500 + 60 * pieces + u32::try_from(self.draw(900)).unwrap_or(0),
            },
            read: (!is_rule).then_some(Read { words, words_blank: 0, pieces, windows: 1 }),
            fields_left_out: 0,
            text: redacted.clone(),
            masking: leaves.then_some(Masking::PatternsAndModel {
                spans: u32::try_from(text.text.matches('<').count()).unwrap_or(0),
            }),
            meta: Vec::new(),
        })];
        if is_asked {
            let label = |at: usize| self.modes[at % self.modes.len()].clone();
            let best = Confidence::from_basis_points(confidence);
            let candidates = match &decision {
                Decision::Label(first) => vec![
                    (first.clone(), best),
                    (
                        label(usize::try_from(self.state >> 40).unwrap_or(0)),
                        Confidence::from_basis_points(1_500),
                    ),
                ],
                _ => Vec::new(),
            };
            records.push(Record::Escalation(Escalation {
                outcome_seq: self.outcomes,
                task: task.clone(),
                at_ms: self.at_ms,
                reason: EscalationReason::LowConfidence,
                text: redacted,
                provisional: Some(decision.clone()),
                candidates,
                meta: Vec::new(),
                ttl_secs: 7 * 86_400,
            }));
            records.push(Record::Answer(Answer {
                ticket: Ticket { epoch: Epoch(self.state), seq: self.escalations },
                decision,
                by: "operator".to_owned(),
                at_ms: self.at_ms + 400_000,
                note: None,
            }));
            self.escalations += 1;
        }
        self.outcomes += 1;
        records
    }
}

/// `count` lines spread over all of them.
fn every(lines: &[String], count: usize) -> impl Iterator<Item = &String> {
    lines.iter().step_by((lines.len() / count).max(1)).take(count)
}

/// A line of `orders.txt`: `[Label:words]` and bare words.
fn flat(line: &str) -> Text {
    let mut text = Text { text: String::new(), fields: Vec::new(), mode: None };
    let mut rest = line;
    while !rest.is_empty() {
        let marked = rest.strip_prefix('[').and_then(|inside| inside.split_once(']'));
        if let Some((inside, after)) = marked {
            let (label, words) = inside.split_once(':').unwrap_or(("", inside));
            let start = text.text.chars().count();
            text.fields.push((label.to_owned(), words.to_owned(), start));
            text.text.push_str(words);
            rest = after;
            continue;
        }
        let next = rest[1..].find('[').map_or(rest.len(), |at| at + 1);
        text.text.push_str(&rest[..next]);
        rest = &rest[next..];
    }
    text
}

/// A line of `nested-orders.txt` without its marks: `[O bilge [O pump]] [S blocked]`.
fn plain(line: &str) -> String {
    let mut words = Vec::new();
    for word in line.split_whitespace() {
        let bare = word.trim_end_matches(']');
        if !(bare.starts_with('[') && bare.len() == 2) {
            words.push(bare);
        }
    }
    words.join(" ")
}
