//! Speed of the real parts, each beside something known that does the same work in the same run:
//! a ratio says more than a rate, which is the machine's.
//!
//! * `store`: durable records a second of the agent's store, beside raw appends and SQLite.
//! * `ingest`: outcomes a second into the hub, beside bulk insertion of the same rows.
//! * `catchup`: a backlog over a slow line that loses packets, beside the line's own rate and
//!   beside plain TCP.
//! * `wire`: bytes of an outcome and of connections, everything on the line counted, beside JSON.
//! * `load`: a device without a store, to load the hub with.
//! * `records`: what is written and sent.
//! * `machine`: what it ran on.
//!
//! Contenders take turns within a round and the order changes from round to round, because the
//! machine may be shared. Rates are medians over the rounds; a ratio is the median of the
//! rounds' ratios.

pub mod catchup;
pub mod ingest;
mod load;
mod machine;
mod records;
pub mod store;
pub mod wire;

pub use machine::machine;

/// The median; of an even number the mean of the middle two, of none zero.
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Rates of several contenders over some rounds.
#[derive(Debug, Clone, Default, PartialEq)]
struct Rounds(Vec<Vec<f64>>);

impl Rounds {
    /// The median rate of a contender.
    fn rate(&self, contender: usize) -> f64 {
        median(self.0.iter().map(|round| round[contender]))
    }

    /// The median of a contender's ratios to another.
    fn ratio(&self, contender: usize, to: usize) -> f64 {
        median(self.0.iter().map(|round| round[contender] / round[to]))
    }
}

/// A rate with separated thousands: `12,345`.
fn rate(per_sec: f64) -> String {
    let digits = format!("{per_sec:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_are_taken_round_by_round() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([]), 0.0);
        let rounds = Rounds(vec![vec![10.0, 20.0], vec![100.0, 100.0], vec![2.0, 1.0]]);
        assert_eq!(rounds.rate(0), 10.0);
        assert_eq!(rounds.ratio(0, 1), 1.0);
    }

    #[test]
    fn rates_are_readable() {
        assert_eq!(rate(7.4), "7");
        assert_eq!(rate(999.6), "1,000");
        assert_eq!(rate(1_234_567.0), "1,234,567");
    }
}
