//! What can be said on the command line.

use crate::http::LinkState;
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
     an answer without a record, a batch that was interrupted, an agent that does not run

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
    /// Show which link to the hub is used and what is left of it, or say what the agent cannot see
    ///
    /// `link up port-wifi --for 2h` has this link used; `link down satellite` keeps it from being
    /// used; `link auto` goes back to what is found.
    #[command(after_help = EXIT_CODES)]
    Link(LinkArgs),
    /// Show the rules that the hub gave, beside those of the configuration
    ///
    /// They come after the site's own rules and before the model; where a rule of the site would ask
    /// the hub, they are what the hub has said already.
    #[command(after_help = EXIT_CODES)]
    Rules(StatusArgs),
    /// Show where an escalation stands, and its answer
    #[command(after_help = EXIT_CODES)]
    Ticket(TicketArgs),
    /// Show, check and export what this device holds
    ///
    /// Works while the agent runs, through its HTTP interface, and while it is stopped, on a copy
    /// of its store that is made in TMPDIR (else /var/tmp) and removed again. Neither changes
    /// anything.
    Queue {
        #[command(subcommand)]
        command: QueueCommand,
    },
    /// Run a past decision again, and say whether it comes out the same
    ///
    /// With the package and the configuration that its record names, which must still be here.
    /// Nothing is recorded. Exit status: 0 the same, 1 not, 3 it cannot be told.
    #[command(after_help = EXIT_CODES)]
    Replay(ReplayArgs),
    /// Carry streams to the hub and back as files, where there is no link at all
    ///
    /// The files are sealed and signed: whoever carries them can neither read nor change them.
    /// Importing them twice, late or in any order does no harm.
    Courier {
        #[command(subcommand)]
        command: CourierCommand,
    },
    /// Check the configuration, the packages and what thresholds promise
    #[command(after_help = EXIT_CODES)]
    CheckConfig(StatusArgs),
    /// Look at everything that can keep this box from its work, and say what to do about it
    ///
    /// Identity, clock, disk and its wear, network, the way to the hub step by step, models, what
    /// waits, the last errors. Works whether the agent runs or not, and changes nothing. Exit
    /// status: 0 nothing fails, 1 something does, 2 the configuration is not valid, 3 nothing fails
    /// but the agent does not run.
    #[command(after_help = EXIT_CODES)]
    Doctor(StatusArgs),
    /// Get this device's certificate from its hub, with a one-time token
    ///
    /// On the hub, `landfall-hub token new DEVICE` prints the token. The key is made here and never
    /// leaves the box. Whoever answers at HUB must be vouched for by the authority that the token
    /// names.
    #[command(after_help = EXIT_CODES)]
    Enroll(EnrollArgs),
    /// Collect what support needs in one tar file, without secrets
    ///
    /// The report of `doctor`, the status, the queue's counts, the configuration with keys and
    /// passwords removed, and the end of the log. No keys, and no text of requests.
    #[command(after_help = EXIT_CODES)]
    Diag(DiagArgs),
    /// Print what completes this command line in a shell
    ///
    /// For bash: landfall-agent completions bash > /etc/bash_completion.d/landfall-agent
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages to a directory
    #[command(hide = true)]
    ManPages {
        /// The directory
        dir: PathBuf,
    },
    /// Print the reference of the configuration, in Markdown
    #[command(hide = true)]
    ConfigReference,
}

#[derive(Debug, ClapArgs)]
pub(super) struct EnrollArgs {
    /// Where the hub is: HOST:PORT
    pub(super) hub: String,
    /// The token; `-` or nothing reads standard input, where no list of processes shows it
    pub(super) token: Option<String>,
    /// Write the identity to this directory [default: hub.identity of the configuration]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Replace an identity that is there
    #[arg(long)]
    pub(super) renew: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) common: RunArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct DiagArgs {
    /// Write to this file [default: landfall-diag-DEVICE-TIME.tar here]
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Print what was written as JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) common: RunArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum CourierCommand {
    /// Write what the hub has not acknowledged to a stick
    #[command(after_help = EXIT_CODES)]
    Export(CourierArgs),
    /// Read what the hub sent, and files of releases, from a stick
    #[command(after_help = EXIT_CODES)]
    Import(CourierArgs),
}

#[derive(Debug, ClapArgs)]
pub(super) struct CourierArgs {
    /// Directory of the stick; everything is in its folder `landfall`
    pub(super) dir: PathBuf,
    #[command(flatten)]
    pub(super) common: RunArgs,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// Show what waits for the hub, by stream, or the records of one stream
    #[command(after_help = EXIT_CODES)]
    List(QueueListArgs),
    /// Check that every outcome held here is whole and in its place
    ///
    /// Walks all outcomes, those that wait and those kept after the hub had them, and compares
    /// them with their hash chain and the loss records. Exit status: 0 proven, 3 nothing wrong but
    /// not all proven, 1 broken.
    #[command(after_help = EXIT_CODES)]
    Verify(StatusArgs),
    /// Write every outcome held here as JSON Lines, with all that proves it
    ///
    /// Of each outcome: the record's bytes (`raw`), the hash chain before and after it, and what
    /// it says. SHA-256 of `before` and `raw`, as bytes, is `after`.
    #[command(after_help = EXIT_CODES)]
    Export(QueueExportArgs),
    /// Send what the hub refused once more, under new numbers
    ///
    /// After an update of the hub, for instance: `queue list --refused` shows what it could not
    /// use. The agent must run. A question gets a new ticket, which is printed.
    #[command(after_help = EXIT_CODES)]
    Resend(QueueResendArgs),
}

#[derive(Debug, ClapArgs)]
pub(super) struct QueueResendArgs {
    /// The record, as `queue list --refused` names it
    #[arg(requires = "stream", required_unless_present = "all")]
    pub(super) record: Option<String>,
    /// Its stream: escalation, event or outcome
    #[arg(long, value_name = "NAME", requires = "record")]
    pub(super) stream: Option<String>,
    /// All that are still here
    #[arg(long, conflicts_with = "record")]
    pub(super) all: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) common: RunArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct LinkArgs {
    /// What the site knows better: up, down or auto
    #[arg(value_parser = link_state)]
    pub(super) state: Option<LinkState>,
    /// The link that it is about [default: all]
    pub(super) name: Option<String>,
    /// How long that holds, such as 2h [default: until it is taken back, or the agent stops]
    #[arg(long = "for", value_name = "DURATION", requires = "state", conflicts_with = "until")]
    pub(super) how_long: Option<String>,
    /// Until when, such as 2026-11-21T04:00:00Z
    #[arg(long, value_name = "TIME", requires = "state")]
    pub(super) until: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) common: RunArgs,
}

fn link_state(text: &str) -> Result<LinkState, String> {
    match text {
        "up" => Ok(LinkState::Up),
        "down" => Ok(LinkState::Down),
        "auto" => Ok(LinkState::Auto),
        other => Err(format!("'{other}' is none of up, down and auto")),
    }
}

#[derive(Debug, ClapArgs)]
pub(super) struct QueueListArgs {
    /// The records of this stream: escalation, event or outcome
    #[arg(long, value_name = "NAME")]
    pub(super) stream: Option<String>,
    /// At most so many records
    #[arg(long, value_name = "N", default_value_t = 20, requires = "stream")]
    pub(super) limit: usize,
    /// Records after this one
    #[arg(long, value_name = "RECORD", requires = "stream")]
    pub(super) after: Option<String>,
    /// The records that the hub set aside because it could not use them, with the reason
    #[arg(long, conflicts_with = "stream")]
    pub(super) refused: bool,
    /// Also those that the hub has, as far as they are kept
    #[arg(long, requires = "stream")]
    pub(super) kept: bool,
    /// Print JSON; of records, one on each line
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) common: RunArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct QueueExportArgs {
    /// Write to this file, which appears when it is complete [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// With --out, print the counts as JSON; the export always is JSON Lines
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) common: RunArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ReplayArgs {
    /// The outcome, as a reply or `queue list` names it
    pub(super) outcome: String,
    /// The text that was decided, if the device does not hold it; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub(super) text: Option<PathBuf>,
    /// A fact beside the text that is not recorded; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) meta: Vec<(String, String)>,
    /// Look for the package here too; may be given several times
    #[arg(long, value_name = "DIR")]
    pub(super) package: Vec<PathBuf>,
    /// Where the recorded package or configuration is not here any more, use the present one
    #[arg(long)]
    pub(super) with_current: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) common: RunArgs,
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
