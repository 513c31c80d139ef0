//! What can be said on the command line.

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

const CONFIG: &str = "/etc/landfall/agent.toml";
const CONFIG_VARIABLE: &str = "LANDFALL_CONFIG";

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed; the error says why
  2  wrong usage, or an invalid configuration
  3  nothing is lost, but something is still open: an escalation without an answer,
     a batch that was interrupted, an agent that does not run

Environment:
  LANDFALL_CONFIG  configuration file, if --config is not given
  RUST_LOG         what is logged on standard error (error, warn, info, debug)";

/// Decides on the device, records, and syncs with the hub.
#[derive(Debug, Parser)]
#[command(name = "landfall-agent", version, after_help = EXIT_CODES)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the agent until SIGTERM or Ctrl-C
    ///
    /// Prints one line on standard output when it takes requests: `ready http=ADDRESS`, with `-`
    /// where HTTP is off.
    #[command(after_help = EXIT_CODES)]
    Run(RunArgs),
    /// Decide one text
    #[command(after_help = EXIT_CODES)]
    Ask(AskArgs),
    /// Decide every text of a file
    ///
    /// Each line has an id, its own or one made of the file's name, its content and the line:
    /// running the same batch again records nothing twice and goes on where it was interrupted.
    #[command(after_help = EXIT_CODES)]
    Batch(BatchArgs),
    /// Show the running agent: tasks, times, store, link
    #[command(after_help = EXIT_CODES)]
    Status(StatusArgs),
    /// Show where an escalation stands, and its answer
    #[command(after_help = EXIT_CODES)]
    Ticket(TicketArgs),
    /// Check the configuration, the packages and what thresholds promise
    #[command(after_help = EXIT_CODES)]
    CheckConfig(StatusArgs),
}

#[derive(Debug, ClapArgs)]
pub(super) struct RunArgs {
    /// Configuration file [default: /etc/landfall/agent.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl RunArgs {
    pub(super) fn config(&self) -> PathBuf {
        let given = self.config.clone();
        let given = given.or_else(|| std::env::var_os(CONFIG_VARIABLE).map(PathBuf::from));
        given.unwrap_or_else(|| PathBuf::from(CONFIG))
    }
}

#[derive(Debug, ClapArgs)]
pub(super) struct AskArgs {
    /// The task
    pub(super) task: String,
    /// The text; `-` or nothing reads standard input
    pub(super) text: Option<String>,
    /// Your own id: asking again with the same id and text gets the same reply
    #[arg(long, value_name = "ID")]
    pub(super) id: Option<String>,
    /// A fact beside the text, for the rules; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) meta: Vec<(String, String)>,
    /// Wait for the answer to an escalation, at most this long [default: 1h]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true,
          default_missing_value = "1h", value_parser = duration)]
    pub(super) wait: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) common: RunArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct BatchArgs {
    /// The task
    pub(super) task: String,
    /// The file; `-` reads standard input
    pub(super) file: PathBuf,
    /// CSV column with the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    pub(super) column: String,
    /// How the file is divided
    #[arg(long, value_enum, default_value_t = FormatArg::Auto)]
    pub(super) format: FormatArg,
    /// Print results as JSON Lines; with --out, the summary as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Write the results here as JSON Lines, when all are there
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) common: RunArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatArg {
    /// By the file's name: .csv, .jsonl, else lines
    Auto,
    /// One text a line
    Lines,
    /// One {"text", "id", "meta"} a line
    Jsonl,
    /// A header, and a column with the text
    Csv,
}

#[derive(Debug, ClapArgs)]
pub(super) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) common: RunArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct TicketArgs {
    /// The ticket, as `ask` printed it
    pub(super) ticket: String,
    /// Wait for the answer, at most this long [default: 1h]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true,
          default_missing_value = "1h", value_parser = duration)]
    pub(super) wait: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) common: RunArgs,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 30s or 2h"))
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn wait_takes_an_optional_time() {
        let wait = |args: &[&str]| match Args::try_parse_from(args).unwrap().command {
            Command::Ask(args) => args.wait,
            other => panic!("{other:?}"),
        };
        assert_eq!(wait(&["x", "ask", "t", "--wait", "text"]), Some(Duration::from_secs(3600)));
        assert_eq!(wait(&["x", "ask", "t", "--wait=30s", "text"]), Some(Duration::from_secs(30)));
        assert_eq!(wait(&["x", "ask", "t", "text"]), None);
    }
}
