//! The demo's command line.

use clap::Parser;
use std::path::PathBuf;

/// Orders a second over all devices, at least: a day of some hundred orders is watched in half
/// a minute.
const PACE_MIN: f64 = 12.0;

/// Seconds that a longer day takes by default.
const DAY_SECS: f64 = 90.0;

/// A hub and three devices on this machine: a day of work orders, a cut link, a killed agent,
/// and the account at the end. Everything is in a temporary directory and on free ports.
///
/// Exit status: 0 when every outcome that a caller was told is at the hub exactly once and
/// every escalation came back; 1 when not; 2 for wrong usage.
#[derive(Debug, Parser)]
#[command(name = "landfall-demo", version)]
pub struct Args {
    /// Feed this file instead of the sample: a text a line, or a CSV file.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Column of the CSV file that holds the text [default: text].
    #[arg(long, value_name = "NAME", requires = "input")]
    pub column: Option<String>,
    /// Work orders a second, over all devices [default: the day in half a minute to 90 seconds].
    #[arg(long, value_name = "PER_SECOND", value_parser = pace)]
    pub pace: Option<f64>,
    /// End at once instead of keeping the hub's page up until Ctrl-C.
    #[arg(long)]
    pub exit: bool,
    /// Print the account as one JSON object on standard output; progress goes to standard error.
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// Orders a second for a day of `orders`.
    pub fn pace(&self, orders: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a day has some thousand orders")]
        self.pace.unwrap_or_else(|| PACE_MIN.max(orders as f64 / DAY_SECS))
    }
}

fn pace(text: &str) -> Result<f64, String> {
    let pace: f64 = text.parse().map_err(|_| format!("'{text}' is not a number"))?;
    if pace.is_finite() && pace > 0.0 { Ok(pace) } else { Err("it must be positive".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_long_day_goes_faster() {
        let args = Args::parse_from(["demo"]);
        assert_eq!(args.pace(356), PACE_MIN);
        assert!((args.pace(4534) - 50.38).abs() < 0.01);
        for wrong in ["0", "-1", "NaN", "inf", "fast"] {
            assert!(Args::try_parse_from(["demo", &format!("--pace={wrong}")]).is_err(), "{wrong}");
        }
        assert!(Args::try_parse_from(["demo", "--column", "x"]).is_err());
    }
}
