//! What can be typed. Parsing happens here, once; the commands get checked values.

use crate::database::Source;
use crate::identity::HubAddress;
use clap::{Args, Parser, Subcommand, ValueEnum};
use landfall_hub_core::account::Role;
use landfall_hub_core::rollout::{Ring, seconds};
use landfall_wire::directive::ReportingMode;
use landfall_wire::id::{DeviceId, TaskName, Ticket};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Where a hub keeps everything, unless told otherwise: a directory beside the caller, so that
/// a first try needs no rights and leaves nothing elsewhere.
pub(super) const DATA_DIR_DEFAULT: &str = "landfall-hub-data";

/// Every address, on the port of MQTT over TLS.
pub(super) const LISTEN_DEFAULT: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8883);

/// Days that a device's certificate is valid by default: longer than any box stays away.
pub(super) const ENROLL_DAYS_DEFAULT: u32 = 1095;

/// Rows that a listing shows by default: a screen or two.
const LIST_ROWS_DEFAULT: u32 = 50;

/// The hub that landfall devices report to.
#[derive(Debug, Parser)]
#[command(name = "landfall-hub", version, arg_required_else_help = true)]
pub(super) struct Cli {
    /// Directory of the hub's certificates and database.
    #[arg(long, global = true, value_name = "DIR", default_value = DATA_DIR_DEFAULT)]
    pub(super) data: PathBuf,
    /// PostgreSQL database to use instead of a file in the directory: postgres://USER@HOST/NAME;
    /// the password is in the file that PGPASSFILE names, or ~/.pgpass. A hub that has run
    /// remembers it.
    #[arg(long, global = true, value_name = "URL")]
    pub(super) database: Option<Source>,
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve devices (MQTT over mutual TLS) and the page (loopback) until stopped.
    Run(RunArgs),
    /// Say whether a configuration file can be used, or what is wrong with it.
    CheckConfig {
        /// The file that `run --config` would read.
        file: PathBuf,
    },
    /// Issue an identity for a device: a directory to put on the box.
    Enroll(EnrollArgs),
    /// Make one-time tokens, with which devices get their certificates.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Show the hub's certificate authority, or replace it with an overlap.
    #[command(subcommand)]
    Ca(CaCommand),
    /// Refuse a device from now on, with every certificate it has.
    Revoke {
        /// Name of the device.
        device: DeviceId,
    },
    /// Write the configuration of an MQTT broker between devices and this hub.
    #[command(subcommand)]
    BrokerConfig(BrokerConfigCommand),
    /// List the devices.
    Devices {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List, show and answer the questions that devices asked.
    #[command(subcommand)]
    Escalations(EscalationsCommand),
    /// List what devices decided, newest first.
    Outcomes(OutcomesArgs),
    /// Releases of model packages that devices can get from this hub.
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Deliver a release to devices, ring by ring.
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Parcels of devices without a link, carried on a stick.
    #[command(subcommand)]
    Courier(CourierCommand),
    /// Show or change the labels of a device, by which rollouts choose.
    Label(LabelArgs),
    /// What a person should look at: alarms, and who has seen them.
    #[command(subcommand)]
    Alarms(AlarmsCommand),
    /// Rules that devices decide by before their model.
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Prove that a device's outcomes are here, complete and unaltered, or say where they are not.
    ///
    /// Exit code 0: proven. 1: broken. 3: nothing is wrong, but not every outcome is proven (yet).
    Audit {
        /// Name of the device.
        device: DeviceId,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Copy the hub into one file: its database as of this moment, certificates and settings. It
    /// may run meanwhile.
    Backup {
        /// File to write; it must not be there.
        file: PathBuf,
    },
    /// Make a hub of a backup, in the directory of --data, which must be empty or not there.
    Restore {
        /// File that `backup` has written.
        file: PathBuf,
    },
    /// Ask a device for less than every outcome, or list what it was asked for.
    ///
    /// `full`: every outcome. `sampled:0.1`: an even tenth of them. `sketch`: counts and
    /// distributions of each day. What was escalated always comes; what does not come stays in the
    /// device's journal.
    Report {
        /// Name of the device.
        device: DeviceId,
        /// Of this task; without it, of all that were not asked for by name.
        #[arg(long)]
        task: Option<TaskName>,
        /// full, sampled:SHARE or sketch; without it, what was asked for is listed.
        #[arg(value_parser = super::report::mode)]
        mode: Option<ReportingMode>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Accounts of the page and the API. Without one, the page is open on this machine, and
    /// closed to others.
    #[command(subcommand)]
    User(UserCommand),
    /// Who did what on the page, the API and here, newest first.
    Trail {
        /// Lines to print at most.
        #[arg(long, default_value_t = LIST_ROWS_DEFAULT)]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Answers as labelled data, as `landfall-models` reads it.
    #[command(subcommand)]
    Labels(LabelsCommand),
    /// Print what completes this command line in a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages to a directory.
    #[command(hide = true)]
    ManPages {
        /// The directory.
        dir: PathBuf,
    },
    /// Print the totals.
    Stats {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `run`. What is not given comes from the configuration file, then from the
/// defaults.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Address for devices [default: 0.0.0.0:8883].
    #[arg(long, value_name = "ADDR:PORT", conflicts_with = "broker")]
    pub(super) listen: Option<SocketAddr>,
    /// Meet devices behind this MQTT broker, instead of at an address of the hub itself.
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) broker: Option<HubAddress>,
    /// PEM file of the authority that the broker's certificate is from [default: the hub's own].
    #[arg(long, value_name = "FILE", requires = "broker")]
    pub(super) broker_ca: Option<PathBuf>,
    /// PEM file of the hub's certificate for the broker [default: issued by the hub itself].
    #[arg(long, value_name = "FILE", requires_all = ["broker", "broker_key"])]
    pub(super) broker_certificate: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, value_name = "FILE", requires_all = ["broker", "broker_certificate"])]
    pub(super) broker_key: Option<PathBuf>,
    /// Number of this hub, if several share the broker and a PostgreSQL database: each has another
    /// [default: 1].
    #[arg(long, value_name = "1..8", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(super) hub_number: Option<u8>,
    /// Address for the page and the API [default: 127.0.0.1:8080]. Another one than loopback
    /// needs an account (`user add`), and is served over TLS.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) web: Option<SocketAddr>,
    /// Hand files of releases to devices at this address, over HTTPS [default: off].
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) files_listen: Option<SocketAddr>,
    /// PEM file of the page's certificate [default: the hub's own authority issues one].
    #[arg(long, value_name = "FILE", requires = "web_key")]
    pub(super) web_certificate: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, value_name = "FILE", requires = "web_certificate")]
    pub(super) web_key: Option<PathBuf>,
    /// Name or address that devices use for this hub, or for its broker; goes into the hub's
    /// certificate. Repeatable.
    #[arg(long, value_name = "HOST")]
    pub(super) name: Vec<String>,
    /// TOML file with `listen`, `web`, `web_certificate`, `web_key`, `files_listen`, `names`,
    /// `database`, `outcomes_days`, `[broker]` and `[desk]`.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// Brokers whose configuration can be written.
#[derive(Debug, Subcommand)]
pub(super) enum BrokerConfigCommand {
    /// For Mosquitto 2: mosquitto.conf, access list, certificates, list of revoked ones.
    ///
    /// Written again, it changes nothing that somebody has changed since.
    Mosquitto(BrokerConfigArgs),
    /// For EMQX 5: emqx.conf, access list, certificates.
    ///
    /// Written again, it changes nothing that somebody has changed since.
    Emqx(BrokerConfigArgs),
}

/// Arguments of `broker-config`.
#[derive(Debug, Args)]
pub(super) struct BrokerConfigArgs {
    /// Directory to write to [default: named after the broker, in the hub's directory].
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Address that the broker is to listen on.
    #[arg(long, value_name = "ADDR:PORT", default_value_t = LISTEN_DEFAULT)]
    pub(super) listen: SocketAddr,
    /// Name or address under which devices or the hub know the broker; goes into its
    /// certificate. Repeatable.
    #[arg(long, value_name = "HOST")]
    pub(super) name: Vec<String>,
    /// Overwrite files that somebody has changed.
    #[arg(long)]
    pub(super) force: bool,
}

/// Arguments of `enroll`.
#[derive(Debug, Args)]
pub(super) struct EnrollArgs {
    /// Name of the device: a-z, 0-9 and '-'.
    pub(super) device: DeviceId,
    /// Directory to write ca.pem, device.pem, device.key and bundle.toml to.
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Where the device finds the hub [default: where the hub last served].
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) hub: Option<HubAddress>,
    /// Where the device finds files of releases [default: where the hub last handed them out].
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) files: Option<HubAddress>,
    /// Days that the certificate is valid.
    #[arg(long, value_name = "N", default_value_t = ENROLL_DAYS_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..=7300))]
    pub(super) days: u32,
    /// Issue a new certificate for a device that has one, or that was revoked.
    #[arg(long)]
    pub(super) renew: bool,
}

/// Commands on releases.
#[derive(Debug, Subcommand)]
pub(super) enum ModelsCommand {
    /// Add a signed package: its files are kept here, and devices can be told to run it.
    Add {
        /// Directory of the package.
        dir: PathBuf,
        /// Public key that may have signed it; repeatable [default: `trust/*.pub` in the hub's
        /// directory].
        #[arg(long, value_name = "KEY")]
        trust: Vec<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List releases, newest first.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one release.
    Show {
        /// The release, as `PACKAGE@VERSION`.
        release: ReleaseName,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a release that no device runs.
    Remove {
        /// The release, as `PACKAGE@VERSION`.
        release: ReleaseName,
    },
}

/// Commands on parcels.
#[derive(Debug, Subcommand)]
pub(super) enum CourierCommand {
    /// Read the parcels of devices from a stick. Importing them again does no harm.
    ///
    /// Exit code 3: something was not copied to its end, or waits for another part.
    Import {
        /// Directory of the stick; everything is in its folder `landfall`.
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write what devices have not acknowledged to a stick: one parcel for each device of which
    /// one was imported before.
    Export {
        /// Directory of the stick; everything is in its folder `landfall`.
        dir: PathBuf,
        /// Only for this device; repeatable.
        #[arg(long)]
        device: Vec<DeviceId>,
        /// Carry the files of this release too, as `PACKAGE@VERSION`; repeatable.
        #[arg(long)]
        release: Vec<ReleaseName>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the line that a device's bundle.toml needs for parcels; new ones have it.
    Key,
}

/// Commands on alarms.
#[derive(Debug, Subcommand)]
pub(super) enum AlarmsCommand {
    /// List alarms, those that hold first.
    List {
        /// Also those that are over.
        #[arg(long)]
        cleared: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say that somebody has seen an alarm.
    Acknowledge {
        /// Its number.
        alarm: i64,
        /// Who.
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
}

/// Commands on rules.
#[derive(Debug, Subcommand)]
pub(super) enum RulesCommand {
    /// List rules, newest first, with how many devices decide by each.
    List {
        /// Also those that were removed.
        #[arg(long)]
        removed: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one rule, and which devices refuse it and why.
    Show {
        /// Its number.
        rule: i64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Add a file of rules: TOML with the keys of `[[task.NAME.rule]]`, under `[[rule]]`.
    ///
    /// Devices learn it, signed, at their next contact, and decide by it after the rules of their
    /// own configuration and before their model.
    Add {
        /// The task that it is for.
        #[arg(long)]
        task: TaskName,
        /// For devices with this label; without it, for all.
        #[arg(long)]
        label: Option<String>,
        /// Who gives it.
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// The file; `-` reads standard input.
        file: PathBuf,
    },
    /// Take a rule away: devices forget it at their next contact.
    Remove {
        /// Its number.
        rule: i64,
    },
}

/// Commands on rollouts.
#[derive(Debug, Subcommand)]
pub(super) enum RolloutCommand {
    /// Begin to deliver a release.
    Start(StartArgs),
    /// List rollouts, newest first.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one rollout with its devices.
    Show {
        /// Its number.
        rollout: i64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give no more orders until it is resumed.
    Pause {
        /// Its number.
        rollout: i64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Go on after a pause or a halt; what has failed until now is taken as seen.
    Resume {
        /// Its number.
        rollout: i64,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Tell every device that has the release to run what it ran before.
    Rollback {
        /// Its number.
        rollout: i64,
        /// Why, for those who look at it later.
        #[arg(long)]
        reason: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `rollout start`.
#[derive(Debug, Args)]
pub(super) struct StartArgs {
    /// The release, as `PACKAGE@VERSION`.
    pub(super) release: ReleaseName,
    /// A ring, repeatable, first to last: `NAME[:KEY=VALUE,…]` with `device`, `label`, `percent`,
    /// `wait`, such as `canary:label=site:harbour,percent=10,wait=2d` [default: `all`].
    #[arg(long, value_name = "RING")]
    pub(super) ring: Vec<Ring>,
    /// How long the release serves on trial on a device before it is kept.
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub(super) trial: Seconds,
    /// A device that has the order and is not heard of for so long halts the rollout.
    #[arg(long, value_name = "TIME", default_value = "7d")]
    pub(super) silence: Seconds,
    /// Devices that may go back by themselves before the rollout halts.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) failures: u32,
    /// Percent of a ring that must keep the release before the next ring begins.
    #[arg(long, value_name = "PERCENT", default_value_t = 100)]
    pub(super) quorum: u8,
    /// Share of audited answers that may be wrong; surely more halts the rollout.
    #[arg(long, value_name = "SHARE")]
    pub(super) error_max: Option<f64>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `label`.
#[derive(Debug, Args)]
pub(super) struct LabelArgs {
    /// Name of the device.
    pub(super) device: DeviceId,
    /// Labels that it is to have, such as `site:harbour`.
    #[arg(value_parser = label)]
    pub(super) labels: Vec<String>,
    /// A label that it is not to have; repeatable.
    #[arg(long, value_name = "LABEL")]
    pub(super) remove: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Commands on one-time tokens.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token for a device; on the box, `landfall-agent enroll HOST` asks for it.
    New(TokenNewArgs),
}

/// Arguments of `token new`.
#[derive(Debug, Args)]
pub(super) struct TokenNewArgs {
    /// Name of the device: a-z, 0-9 and '-'.
    pub(super) device: DeviceId,
    /// How long the token is good, once.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    pub(super) valid: Duration,
    /// Where the device finds the hub [default: where the hub last served].
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) hub: Option<HubAddress>,
    /// Days that the certificate is valid.
    #[arg(long, value_name = "N", default_value_t = ENROLL_DAYS_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..=7300))]
    pub(super) days: u32,
    /// For a device that has a certificate, or that was revoked.
    #[arg(long)]
    pub(super) renew: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Longest label in bytes.
const LABEL_BYTES_MAX: usize = 63;

fn label(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/');
    if text.is_empty() || text.len() > LABEL_BYTES_MAX || !text.chars().all(plain) {
        return Err(format!("a label has 1 to {LABEL_BYTES_MAX} letters, digits and -_.:/"));
    }
    Ok(text.to_owned())
}

/// Names a release: `PACKAGE@VERSION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReleaseName {
    pub(super) package: String,
    pub(super) version: String,
}

impl FromStr for ReleaseName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let named = text.rsplit_once('@').filter(|(package, _)| !package.is_empty());
        let (package, version) = named.ok_or_else(|| format!("'{text}' is not PACKAGE@VERSION"))?;
        Ok(ReleaseName { package: package.to_owned(), version: version.to_owned() })
    }
}

/// A time such as `90`, `15m`, `6h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seconds(pub(super) u64);

impl FromStr for Seconds {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        seconds(text).map(Seconds).ok_or_else(|| format!("'{text}' is no time such as 15m or 7d"))
    }
}

/// Commands on the certificate authority.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum CaCommand {
    /// Show the authorities that are trusted.
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make the authority that will take over. Both are trusted from then on, and devices learn of
    /// it when they are enrolled or renewed.
    Rotate,
    /// Let it take over. Devices that know the old one only are shut out.
    Finish {
        /// Also if there are such devices; they have to be enrolled again.
        #[arg(long)]
        force: bool,
    },
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 90m or 24h"))
}

/// Commands on escalations.
#[derive(Debug, Subcommand)]
pub(super) enum EscalationsCommand {
    /// List escalations, oldest first.
    List {
        /// Which ones.
        #[arg(long, value_enum, default_value_t = StateFilter::Open)]
        state: StateFilter,
        /// Only of this device.
        #[arg(long)]
        device: Option<DeviceId>,
        /// Rows to print at most.
        #[arg(long, default_value_t = LIST_ROWS_DEFAULT)]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one escalation in full.
    Show {
        /// The escalation, as `DEVICE/TICKET`.
        escalation: EscalationRef,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Answer an escalation; a running hub delivers it at once.
    Answer(AnswerArgs),
}

/// Arguments of `escalations answer`.
#[derive(Debug, Args)]
pub(super) struct AnswerArgs {
    /// The escalation, as `DEVICE/TICKET`.
    pub(super) escalation: EscalationRef,
    /// What was decided.
    #[command(flatten)]
    pub(super) decision: DecisionArgs,
    /// Who decided.
    #[arg(long, value_name = "NAME")]
    pub(super) by: String,
    /// A remark for the asker.
    #[arg(long)]
    pub(super) note: Option<String>,
    /// Decide like this from now on, on devices with this label, or on all devices (`all`): a rule
    /// with the conditions given by the other --rule options.
    #[arg(long, value_name = "LABEL|all")]
    pub(super) rule_for: Option<String>,
    /// The rule holds where any of these words or phrases is.
    #[arg(long, value_name = "WORDS", value_delimiter = ',', requires = "rule_for")]
    pub(super) rule_words: Vec<String>,
    /// The rule holds where all of these words or phrases are.
    #[arg(long, value_name = "WORDS", value_delimiter = ',', requires = "rule_for")]
    pub(super) rule_all_words: Vec<String>,
    /// The rule holds where this pattern matches.
    #[arg(long, value_name = "REGEX", requires = "rule_for")]
    pub(super) rule_regex: Option<String>,
}

/// Exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct DecisionArgs {
    /// One of the task's labels.
    #[arg(long)]
    pub(super) label: Option<String>,
    /// No label fits.
    #[arg(long)]
    pub(super) out_of_scope: bool,
    /// The fields as JSON: `[{"label": "Item", "value": "pump"}]`, with `start` and `end` in
    /// characters, or without them if the value is found in the text.
    #[arg(long, value_name = "JSON")]
    pub(super) fields: Option<String>,
}

/// Commands on accounts.
#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Make an account; the password comes from standard input.
    Add {
        /// Its name.
        name: String,
        /// What it may do.
        #[arg(long, value_enum)]
        role: RoleArg,
        /// Read the password from this file instead.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// List accounts and their tokens.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let an account do more or less.
    Role {
        /// Its name.
        name: String,
        /// What it may do.
        #[arg(value_enum)]
        role: RoleArg,
    },
    /// Set a new password, from standard input; ends the sessions of the account.
    Password {
        /// Its name.
        name: String,
        /// Read the password from this file instead.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Take an account away, with its sessions and tokens. Its name is not given again.
    Remove {
        /// Its name.
        name: String,
    },
    /// Make a token with which a program may do what the account may.
    Token {
        /// Name of the account.
        name: String,
        /// What it is for.
        #[arg(long)]
        label: String,
        /// Days until it ends [default: never].
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: Option<u32>,
    },
    /// Revoke a token.
    RevokeToken {
        /// Its number, from `user list`.
        id: i64,
    },
}

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RoleArg {
    /// See everything.
    Viewer,
    /// Answer questions, too.
    Operator,
    /// Release models and rules, too.
    Releaser,
    /// Manage accounts, too.
    Admin,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Role {
        match role {
            RoleArg::Viewer => Role::Viewer,
            RoleArg::Operator => Role::Operator,
            RoleArg::Releaser => Role::Releaser,
            RoleArg::Admin => Role::Admin,
        }
    }
}

/// Commands on labelled data.
#[derive(Debug, Subcommand)]
pub(super) enum LabelsCommand {
    /// Write the answered questions of a task as JSON lines.
    Export {
        /// The task.
        #[arg(long)]
        task: TaskName,
        /// Only of this device.
        #[arg(long)]
        device: Option<DeviceId>,
        /// Only random audits: an unbiased sample, as an evaluation wants it.
        #[arg(long)]
        audits: bool,
        /// File to write [default: standard output].
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// Arguments of `outcomes`.
#[derive(Debug, Args)]
pub(super) struct OutcomesArgs {
    /// Only of this device.
    #[arg(long)]
    pub(super) device: Option<DeviceId>,
    /// Only of this task.
    #[arg(long)]
    pub(super) task: Option<TaskName>,
    /// Only rows older than this one (`id` of the last row seen).
    #[arg(long, value_name = "ID")]
    pub(super) after: Option<i64>,
    /// Rows to print at most.
    #[arg(long, default_value_t = LIST_ROWS_DEFAULT)]
    pub(super) limit: u32,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Which escalations to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StateFilter {
    /// Not answered yet.
    Open,
    /// Answered, not yet on the device.
    Answered,
    /// The device has the answer.
    Delivered,
    /// The device gave up waiting.
    Expired,
    /// All of them.
    All,
}

/// Names one escalation: `DEVICE/TICKET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EscalationRef {
    /// The device that asked.
    pub(super) device: DeviceId,
    /// Its ticket.
    pub(super) ticket: Ticket,
}

impl FromStr for EscalationRef {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (device, ticket) = text.split_once('/').ok_or_else(|| {
            format!("'{text}' is not DEVICE/TICKET, such as ship-7/00f1e2d3c4b5a697-42")
        })?;
        Ok(EscalationRef {
            device: device.parse().map_err(|e| format!("{e}"))?,
            ticket: ticket.parse().map_err(|e| format!("{e}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_broker_takes_the_place_of_the_hubs_own_address() {
        let parse = |more: &[&str]| Cli::try_parse_from(["hub", "run"].iter().chain(more)).is_ok();
        assert!(parse(&["--broker", "mqtt.example.org:8883"]));
        assert!(!parse(&["--broker", "mqtt.example.org:8883", "--listen", "0.0.0.0:8883"]));
        assert!(!parse(&["--broker", "mqtt.example.org"]), "no port");
        assert!(!parse(&["--broker-ca", "ca.pem"]), "of which broker");
        let cert = ["--broker", "b:1", "--broker-certificate", "c.pem"];
        assert!(!parse(&cert), "without its key");
        assert!(parse(&[&cert[..], &["--broker-key", "c.key"]].concat()));
    }

    #[test]
    fn an_answer_is_exactly_one_decision() {
        let base = ["hub", "escalations", "answer", "ship-7/00f1e2d3c4b5a697-42", "--by", "ann"];
        let parse = |more: &[&str]| Cli::try_parse_from(base.iter().chain(more)).map(|_| ());
        assert!(parse(&[]).is_err());
        assert!(parse(&["--label", "Leaking"]).is_ok());
        assert!(parse(&["--out-of-scope"]).is_ok());
        assert!(parse(&["--label", "Leaking", "--out-of-scope"]).is_err());
    }
}
