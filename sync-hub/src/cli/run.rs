//! `run`: configuration, logging, signals.

use super::args::RunArgs;
use super::failure::Failure;
use super::out;
use crate::hub::{self, Config, Ready};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};

/// Every address, on the port of MQTT over TLS.
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8883);
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
    #[serde(default)]
    names: Vec<String>,
}

pub(super) fn run(data: &Path, args: &RunArgs) -> Result<(), Failure> {
    let file = match &args.config {
        Some(path) => read(path)?,
        None => File::default(),
    };
    let names = if args.name.is_empty() { file.names } else { args.name.clone() };
    let config = Config {
        data: data.to_owned(),
        listen: args.listen.or(file.listen).unwrap_or(LISTEN_DEFAULT),
        web: args.web.or(file.web).unwrap_or(WEB_DEFAULT),
        names,
    };
    log_to_stderr();
    if config.listen.ip().is_unspecified() && config.names.is_empty() {
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

fn ready(ready: Ready) {
    tracing::info!("the page is at http://{}", ready.web);
    out::line(format!("ready mqtt={} web={}", ready.mqtt, ready.web));
}

fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // A second hub in the same process (tests) keeps the first one's log.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}

fn read(path: &Path) -> Result<File, Failure> {
    let at = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {at}: {error}"), "check --config"))?;
    toml::from_str(&text).map_err(|error| {
        let before = error.span().map_or("", |span| &text[..span.start.min(text.len())]);
        let line = before.matches('\n').count() + 1;
        Failure::usage(
            format!("{at}:{line}: {}", error.message()),
            "the file may hold `listen`, `web` (\"ADDR:PORT\") and `names` (a list)",
        )
    })
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
}
