//! The table at the end.

use serde::Serialize;
use std::fmt;

/// Everything that the demo measured. Times in milliseconds, sizes in bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was fed.
    pub source: String,
    /// Work orders fed.
    pub orders: usize,
    /// Requests that an agent would not take, with the reason of the first.
    pub rejected: usize,
    /// The first rejection.
    pub rejected_first: Option<String>,
    /// Requests without any reply.
    pub unanswered: usize,
    /// What decided.
    pub decided: Decided,
    /// Against the expected labels of the sample; absent for somebody's own input.
    pub accuracy: Option<Accuracy>,
    /// Time to decide, over all orders.
    pub decide_ms: Times,
    /// Model alone on a text of this many word pieces, one core.
    pub bench: Bench,
    /// Largest resident memory of an agent with its model.
    pub agent_memory_bytes: u64,
    /// Most records that waited for the hub at one time, over all devices.
    pub backlog_peak: u64,
    /// Bytes on the wire, TLS included.
    pub wire: Wire,
    /// Told against stored.
    pub outcomes: Outcomes,
    /// Questions to the hub.
    pub escalations: Escalations,
    /// Attempts of callers that failed and were repeated.
    pub attempts_repeated: u64,
    /// Wall clock of the day and the drain after it.
    pub seconds: f64,
    /// Address of the hub's page.
    pub page: String,
    /// What is wrong, in words; empty when all is well.
    pub faults: Vec<String>,
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// Answered by a rule.
    pub rule: usize,
    /// Answered by the model.
    pub model: usize,
    /// Handed to the hub.
    pub escalated: usize,
    /// Refused.
    pub refused: usize,
}

/// Right answers among those given on the spot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Accuracy {
    /// Right answers of rules.
    pub rule_right: usize,
    /// Right answers of the model.
    pub model_right: usize,
}

/// A median and a high percentile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Times {
    /// Half are below.
    pub median: f64,
    /// 99 in 100 are below.
    pub p99: f64,
}

/// The model alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bench {
    /// Word pieces of the text.
    pub tokens: usize,
    /// Median time of one pass.
    pub median_ms: f64,
}

/// Bytes between devices and hub.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Wire {
    /// From devices to the hub, for each outcome.
    pub up_bytes_per_outcome: f64,
    /// From the hub to devices, for each outcome.
    pub down_bytes_per_outcome: f64,
    /// Connections that reached the hub.
    pub connections: u64,
}

/// Told against stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// Told to callers.
    pub recorded: usize,
    /// At the hub.
    pub at_hub: usize,
    /// More than once at the hub.
    pub duplicates: usize,
    /// Told and not at the hub.
    pub lost: usize,
}

/// Questions to the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Escalations {
    /// Asked by devices, audits included.
    pub asked: usize,
    /// Answered by the operator.
    pub answered: usize,
    /// Answers that are back on their device.
    pub back: usize,
}

impl Times {
    /// Of some measurements in any order; zero if there are none.
    pub fn of(mut measured: Vec<f64>) -> Times {
        measured.sort_by(f64::total_cmp);
        let at = |hundredths: usize| {
            let index = (measured.len() * hundredths).div_ceil(100).saturating_sub(1);
            measured.get(index).copied().unwrap_or_default()
        };
        Times { median: at(50), p99: at(99) }
    }
}

/// Width of the left column of the table.
const NAME_WIDTH: usize = 38;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, value: String| {
            writeln!(f, "  {name:<NAME_WIDTH$}{value}")
        };
        writeln!(f, "{} ({} work orders, {:.0} s)", self.source, self.orders, self.seconds)?;
        let share = |count: usize| share(count, self.orders);
        row(f, "decided by a rule", share(self.decided.rule))?;
        row(f, "decided by the model", share(self.decided.model))?;
        row(f, "escalated to the hub", share(self.decided.escalated))?;
        row(f, "refused", share(self.decided.refused))?;
        if let Some(first) = &self.rejected_first {
            row(f, "not taken by the agent", format!("{} (first: {first})", self.rejected))?;
        }
        if let Some(accuracy) = self.accuracy {
            let (rule, model) = (self.decided.rule, self.decided.model);
            let right = accuracy.rule_right + accuracy.model_right;
            row(f, "right among decided on the spot", of(right, rule + model))?;
            row(f, "  by rules", of(accuracy.rule_right, rule))?;
            row(f, "  by the model", of(accuracy.model_right, model))?;
        }
        let Times { median, p99 } = self.decide_ms;
        row(f, "decision time, median / p99", format!("{median:.2} / {p99:.2} ms"))?;
        let Bench { tokens, median_ms } = self.bench;
        row(
            f,
            &format!("model on {tokens} tokens, one core, median"),
            format!("{median_ms:.2} ms"),
        )?;
        row(f, "agent memory with the model", megabytes(self.agent_memory_bytes))?;
        row(f, "backlog at its peak", format!("{} records", self.backlog_peak))?;
        let Wire { up_bytes_per_outcome: up, down_bytes_per_outcome: down, .. } = self.wire;
        row(f, "bytes per outcome on the wire", format!("{up:.0} up, {down:.0} down"))?;
        let Outcomes { recorded, at_hub, duplicates, lost } = self.outcomes;
        let sign = if recorded == at_hub { "=" } else { "≠" };
        row(f, "outcomes recorded / at the hub", format!("{recorded} {sign} {at_hub}"))?;
        row(f, "duplicates", duplicates.to_string())?;
        row(f, "lost", lost.to_string())?;
        let Escalations { asked, answered, back } = self.escalations;
        let escalations = format!("{asked} / {answered} / {back}");
        row(f, "questions asked / answered / back", escalations)?;
        row(f, "callers' attempts repeated", self.attempts_repeated.to_string())?;
        for fault in &self.faults {
            writeln!(f, "  FAULT: {fault}")?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn share(count: usize, all: usize) -> String {
    format!("{count:>5}  {:>5.1} %", 100.0 * count as f64 / all.max(1) as f64)
}

fn of(count: usize, all: usize) -> String {
    format!("{} of {all}", share(count, all))
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            source: "a day".to_owned(),
            orders: 200,
            rejected: 0,
            rejected_first: None,
            unanswered: 0,
            decided: Decided { rule: 50, model: 100, escalated: 48, refused: 2 },
            accuracy: Some(Accuracy { rule_right: 49, model_right: 86 }),
            decide_ms: Times { median: 1.234, p99: 5.0 },
            bench: Bench { tokens: 32, median_ms: 2.5 },
            agent_memory_bytes: 62_500_000,
            backlog_peak: 77,
            wire: Wire {
                up_bytes_per_outcome: 120.4,
                down_bytes_per_outcome: 30.0,
                connections: 7,
            },
            outcomes: Outcomes { recorded: 200, at_hub: 200, duplicates: 0, lost: 0 },
            escalations: Escalations { asked: 48, answered: 48, back: 48 },
            attempts_repeated: 3,
            seconds: 31.0,
            page: "http://127.0.0.1:1/".to_owned(),
            faults: vec![],
        }
    }

    #[test]
    fn the_table_says_what_was_measured() {
        let table = report().to_string();
        let has = |name: &str, value: &str| {
            let line = table.lines().find(|line| line.trim_start().starts_with(name));
            let line = line.unwrap_or_else(|| panic!("no {name} in\n{table}"));
            assert!(line.ends_with(value), "{line}");
        };
        has("decided by a rule", "50   25.0 %");
        has("right among decided", "135   90.0 % of 150");
        has("decision time", "1.23 / 5.00 ms");
        has("model on 32 tokens", "2.50 ms");
        has("agent memory", "62.5 MB");
        has("bytes per outcome", "120 up, 30 down");
        has("outcomes recorded", "200 = 200");
        has("questions asked", "48 / 48 / 48");
        assert!(!table.contains("FAULT") && !table.contains("not taken"));
    }

    #[test]
    fn faults_stand_in_the_table() {
        let mut report = report();
        report.outcomes.at_hub = 199;
        report.faults = vec!["lost: ship/7".to_owned()];
        let table = report.to_string();
        assert!(table.contains("200 ≠ 199") && table.contains("FAULT: lost: ship/7"), "{table}");
    }

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let times = Times::of((1..=200).rev().map(f64::from).collect());
        assert_eq!(times, Times { median: 100.0, p99: 198.0 });
        assert_eq!(Times::of(vec![7.0]), Times { median: 7.0, p99: 7.0 });
        assert_eq!(Times::of(vec![]), Times::default());
    }
}
