//! `run`: configuration, logging, signals.

use super::args::{LISTEN_DEFAULT, RunArgs};
use super::failure::Failure;
use super::{Home, out};
use crate::alarms::AlarmsConfig;
use crate::alarms::config::AlarmsTable;
use crate::broker::BrokerConfig;
use crate::desk::DeskConfig;
use crate::desk::config::{DeskTable, Wrong};
use crate::hub::{self, Config, DevicesAt, Met, Ready, now_ms};
use crate::identity::{Authority, BrokerFiles, HUBS_MAX, HubAddress, hub_user};
use crate::web::WebFiles;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};

/// Loopback, for people on this machine or through a tunnel.
const WEB_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// SIGXFSZ on Linux. Handled, so that a file size limit (`ulimit -f`, `LimitFSIZE=`) is a
/// failed write like that of a full disk, and does not end the hub.
const FILE_SIZE_EXCEEDED: SignalKind = SignalKind::from_raw(25);

/// The configuration file; the command line comes first.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    web: Option<SocketAddr>,
    files_listen: Option<SocketAddr>,
    database: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    outcomes_days: Option<std::num::NonZeroU32>,
    broker: Option<BrokerTable>,
    web_certificate: Option<PathBuf>,
    web_key: Option<PathBuf>,
    #[serde(default)]
    desk: DeskTable,
    #[serde(default)]
    alarms: AlarmsTable,
}

/// The table `[broker]` of the configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct BrokerTable {
    address: String,
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    /// Of several hubs behind the broker.
    number: Option<u8>,
}

pub(super) fn run(home: &Home, args: &RunArgs) -> Result<(), Failure> {
    let data = &home.data;
    let Checked { file, desk, alarms } = match &args.config {
        Some(path) => read(path)?,
        None => Checked::default(),
    };
    let names = if args.name.is_empty() { file.names.clone() } else { args.name.clone() };
    landfall_systemd::log_to_stderr("info");
    let config = Config {
        data: data.clone(),
        database: home.database_or(file.database.as_deref())?,
        devices: devices_at(data, args, &file)?,
        web: args.web.or(file.web).unwrap_or(WEB_DEFAULT),
        files: args.files_listen.or(file.files_listen),
        web_files: web_files(args, &file)?,
        desk,
        alarms,
        names,
        outcomes_days: file.outcomes_days.map(std::num::NonZeroU32::get),
    };
    if let DevicesAt::Endpoint(listen) = config.devices
        && listen.ip().is_unspecified()
        && config.names.is_empty()
    {
        tracing::warn!(
            "without --name the hub's certificate is good on this machine only: \
             devices elsewhere will not trust it"
        );
    }
    let failed = |error: std::io::Error| Failure::new(format!("cannot start: {error}"), "");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        // Before anything is served, so that no signal is missed.
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate()).map_err(failed)?,
            signal(SignalKind::interrupt()).map_err(failed)?,
        );
        let _file_size = signal(FILE_SIZE_EXCEEDED).map_err(failed)?;
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        hub::serve(config, ready, stop).await.map_err(Failure::from)
    })
}

/// The command line comes before the file, as a whole: a broker there and an address here are
/// no contradiction.
fn devices_at(data: &Path, args: &RunArgs, file: &File) -> Result<DevicesAt, Failure> {
    if let Some(address) = &args.broker {
        let files = BrokerFiles {
            ca: args.broker_ca.clone(),
            certificate: args.broker_certificate.clone(),
            key: args.broker_key.clone(),
        };
        return broker(data, address.clone(), &files, args.hub_number.unwrap_or(1));
    }
    match (args.listen, file.listen, &file.broker) {
        (None, Some(_), Some(_)) => Err(Failure::usage(
            "the configuration file has both `listen` and `[broker]`",
            "devices are met at one of the two: remove the other",
        )),
        (None, None, Some(table)) => {
            let address = table.address.parse().map_err(|error: String| {
                Failure::usage(error, "correct `address` in `[broker]` of the configuration file")
            })?;
            let BrokerTable { ca, certificate, key, number, .. } = table.clone();
            let number = args.hub_number.or(number).unwrap_or(1);
            broker(data, address, &BrokerFiles { ca, certificate, key }, number)
        }
        (listen, in_file, _) => {
            Ok(DevicesAt::Endpoint(listen.or(in_file).unwrap_or(LISTEN_DEFAULT)))
        }
    }
}

/// Certificate and key of the page, both from the command line or both from the file.
fn web_files(args: &RunArgs, file: &File) -> Result<Option<WebFiles>, Failure> {
    let (certificate, key) = match (&args.web_certificate, &args.web_key) {
        (None, None) => (&file.web_certificate, &file.web_key),
        given => given,
    };
    match (certificate.clone(), key.clone()) {
        (Some(certificate), Some(key)) => Ok(Some(WebFiles { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => Err(Failure::usage(
            "`web_certificate` and `web_key` go together",
            "name both, or neither for a certificate of the hub's own authority",
        )),
    }
}

fn broker(
    data: &Path,
    address: HubAddress,
    files: &BrokerFiles,
    number: u8,
) -> Result<DevicesAt, Failure> {
    if !(1..=HUBS_MAX).contains(&number) {
        return Err(Failure::usage(
            format!("`number` of a hub is 1 to {HUBS_MAX}, not {number}"),
            "give each hub behind the broker another number",
        ));
    }
    if files.certificate.is_some() != files.key.is_some() {
        return Err(Failure::usage(
            "`certificate` and `key` of the broker go together",
            "name both in `[broker]`, or neither for those that the hub issues itself",
        ));
    }
    let tls = Authority::open(data, now_ms())?.broker_tls(files, number, now_ms())?;
    Ok(DevicesAt::Broker(BrokerConfig { address, tls, user: hub_user(number) }))
}

fn ready(ready: Ready) {
    let scheme = if ready.tls { "https" } else { "http" };
    tracing::info!("the page is at {scheme}://{}", ready.web);
    let devices = match ready.devices {
        Met::Endpoint(address) => format!("mqtt={address}"),
        Met::Broker(address) => format!("broker={address}"),
    };
    let files = ready.files.map(|files| format!(" files={files}")).unwrap_or_default();
    out::line(format!("ready {devices} web={}{files}", ready.web));
}

/// Reads the text of a configuration file as `run` does, and takes nothing of it.
///
/// # Errors
/// What is wrong, with file and line, and the remedy.
pub fn check_text(text: &str, path: &Path) -> Result<(), (String, String)> {
    parse(text, path).map(drop).map_err(|failure| (failure.message, failure.remedy))
}

/// Says whether a configuration file can be used.
pub(super) fn check_config(path: &Path) -> Result<(), Failure> {
    read(path)?;
    out::line(format!("{} can be used", path.display()));
    Ok(())
}

/// A file with its tables checked.
#[derive(Debug, Default)]
struct Checked {
    file: File,
    desk: DeskConfig,
    alarms: AlarmsConfig,
}

fn read(path: &Path) -> Result<Checked, Failure> {
    let at = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {at}: {error}"), "check the path"))?;
    parse(&text, path)
}

/// Reads the text of the file at `path`.
fn parse(text: &str, path: &Path) -> Result<Checked, Failure> {
    let at = path.display();
    let line = |byte: usize| text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1;
    let file: File = toml::from_str(text).map_err(|error| {
        let line = line(error.span().map_or(0, |span| span.start));
        Failure::usage(
            format!("{at}:{line}: {}", error.message()),
            "the file may hold `listen`, `web`, `files_listen` (\"ADDR:PORT\"), `names` (a list), \
             `database` (a URL), `outcomes_days` (a number), and a table \
             `[broker]` with `address` (\"HOST:PORT\"), `ca`, `certificate`, `key`, `number`; `[desk]` \
             and `[alarms]` are described in the hub's guide",
        )
    })?;
    match (file.desk.check(), file.alarms.check()) {
        (Ok(desk), Ok(alarms)) => Ok(Checked { file, desk, alarms }),
        (desk, alarms) => {
            let both = [desk.err(), alarms.err()];
            let mut wrong: Vec<Wrong> = both.into_iter().flatten().flatten().collect();
            wrong.sort_by_key(|it| it.at);
            let lines = wrong.iter().map(|it| format!("{at}:{}: {}", line(it.at), it.what));
            let lines: Vec<String> = lines.collect();
            let remedy = "correct the tables of `[desk]` and `[alarms]`; the hub's guide has them";
            Err(Failure::usage(lines.join("\n"), remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_configuration_names_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hub.toml");
        for (text, line, what) in [
            ("listen = \"0.0.0.0:1\"\nwebb = \"x\"\n", ":2: ", "unknown field"),
            ("listen = \"nowhere\"\n", ":1: ", "address"),
            ("names = [\n", ":", ""),
            ("[broker]\naddress = \"b:1\"\nhost = \"x\"\n", ":3: ", "unknown field"),
        ] {
            std::fs::write(&path, text).unwrap();
            let failure = read(&path).unwrap_err();
            assert!(
                failure.message.contains(line) && failure.message.contains(what),
                "{}",
                failure.message
            );
            assert_eq!(failure.exit_code, 2);
        }
    }

    #[test]
    fn the_shipped_file_is_taken_as_it_is_and_with_everything_that_it_offers() {
        let shipped = include_str!("../../landfall-hub.toml");
        let offered = |line: &str| line.contains(" = ") || line.starts_with('[');
        let uncomment = |line| match str::strip_prefix(line, "# ") {
            Some(setting) if offered(setting) => setting,
            _ => line,
        };
        let all: Vec<&str> = shipped.lines().map(uncomment).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hub.toml");
        for text in [shipped.to_owned(), all.join("\n")] {
            std::fs::write(&path, text).unwrap();
            if let Err(failure) = read(&path) {
                panic!("{}", failure.message);
            }
        }
    }

    #[test]
    fn a_broker_and_an_address_of_the_hub_exclude_each_other() {
        use super::super::args::{Cli, Command};
        use clap::Parser;
        let dir = tempfile::tempdir().unwrap();
        let at = |more: &[&str], file: &str| {
            let cli = Cli::try_parse_from(["hub", "run"].iter().chain(more)).unwrap();
            let Command::Run(args) = cli.command else { panic!("run") };
            devices_at(dir.path(), &args, &toml::from_str(file).unwrap())
        };
        let table = "[broker]\naddress = \"b:1\"\n";
        assert!(matches!(at(&[], table), Ok(DevicesAt::Broker(_))));
        let both = format!("listen = \"0.0.0.0:1\"\n{table}");
        assert_eq!(at(&[], &both).unwrap_err().exit_code, 2);
        let listen = ["--listen", "127.0.0.1:2"];
        assert!(matches!(at(&listen, table), Ok(DevicesAt::Endpoint(_))), "the command line");
        assert!(matches!(at(&["--broker", "b:2"], &both), Ok(DevicesAt::Broker(_))));
        let half = format!("{table}key = \"k\"\n");
        assert_eq!(at(&[], &half).unwrap_err().exit_code, 2);
        let missing = at(&["--broker", "b:1", "--broker-ca", "/nowhere/ca.pem"], "").unwrap_err();
        assert!(missing.message.contains("/nowhere/ca.pem"), "{}", missing.message);
    }
}
