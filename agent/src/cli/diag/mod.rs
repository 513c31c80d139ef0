//! `diag`: one tar file for support. It holds what `doctor`, `status` and `queue` say, the
//! configuration without secrets, and the end of the log; no key, and no text of a request.
//!
//! Everything that is put into it passes `scrub`, whatever it is.

mod scrub;

use super::args::DiagArgs;
use super::failure::Failure;
use super::output::{self, Paint, size};
use super::shelf::Shelf;
use super::{Done, desk, doctor, shown_time};
use crate::config::Config;
use crate::sync::{Identity, Wallet};
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of the log that go along: some days of a quiet box.
const LOG_LINES: &str = "2000";

/// Largest part in bytes: the bundle travels over the same link as everything else.
const PART_BYTES_MAX: usize = 1 << 20;

const README: &str = "A support bundle of landfall-agent.

doctor.txt, doctor.json  what `landfall-agent doctor` found
status.json              what the running agent says of itself
queue.json               what waits for the hub: counts, not records
config.json              the configuration, without secrets and comments
identity.json            name and dates of the identity, without its key
system.txt               kernel, memory, load, mounts, interfaces
journal.txt              the end of the log, where the system keeps one

No keys, no passwords, no text of requests.
";

pub(super) fn diag(args: &DiagArgs) -> Result<Done, Failure> {
    let path = super::whole(&args.common.config());
    let report = doctor::examine(&path);
    let mut parts = vec![
        ("README.txt", README.to_owned()),
        ("doctor.txt", report.page(Paint::PLAIN)),
        ("doctor.json", pretty(&report)?),
        ("config.json", scrub::config(&path)),
        ("system.txt", system()),
        ("journal.txt", journal()),
    ];
    let mut device = "unknown".to_owned();
    if let Ok(config) = Config::load_to_run(&path) {
        parts.extend(of_config(&config)?);
        let named = config.hub.as_ref().and_then(|hub| Identity::device_in(&hub.identity));
        device = named.map_or(device, |named| named.to_string());
    }
    let at_ms = crate::stamp::wall_ms();
    let out = args.out.clone().unwrap_or_else(|| file_name(&device, at_ms));
    let bytes = write(&out, &parts, at_ms / 1000).map_err(|error| {
        Failure::new(format!("cannot write {}: {error}", out.display()))
            .remedy("choose another place with --out")
    })?;
    if args.json {
        let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
        output::json_pretty(&json!({ "file": out, "bytes": bytes, "parts": names }))?;
    } else {
        output::line(format_args!("{}: {}, without secrets", out.display(), size(bytes)))?;
    }
    Ok(Done::Done)
}

fn file_name(device: &str, at_ms: u64) -> PathBuf {
    let at = shown_time(at_ms).replace(':', "");
    PathBuf::from(format!("landfall-diag-{device}-{at}.tar"))
}

/// What can be said only with a configuration.
fn of_config(config: &Config) -> Result<Vec<(&'static str, String)>, Failure> {
    let status = desk::running(config).map(|client| client.status());
    let status = match status {
        Some(Ok(status)) => pretty(&status)?,
        Some(Err(failure)) => pretty(&json!({ "error": failure.message }))?,
        None => pretty(&json!({ "running": false }))?,
    };
    let queue = match Shelf::open(config).and_then(|shelf| shelf.summary()) {
        Ok(summary) => pretty(&summary)?,
        Err(failure) => pretty(&json!({ "error": failure.message }))?,
    };
    let identity = config.hub.as_ref().map(|hub| {
        let clock = crate::clock::Clock::open(&config.data_dir);
        match Wallet::new(&hub.identity, &config.data_dir, clock).pick() {
            Ok((identity, _)) => json!({
                "device": identity.device, "hub": identity.hub, "valid": identity.valid,
                "authorities": identity.authorities,
            }),
            Err(error) => json!({ "error": error.to_string() }),
        }
    });
    let identity = pretty(&identity)?;
    Ok(vec![("status.json", status), ("queue.json", queue), ("identity.json", identity)])
}

fn pretty(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
    Ok(text + "\n")
}

/// What the kernel shows of the machine.
fn system() -> String {
    let files = ["/proc/version", "/proc/uptime", "/proc/loadavg", "/proc/meminfo", "/proc/mounts"];
    let more = ["/proc/net/dev", "/proc/net/route", "/etc/os-release"];
    let mut text = String::new();
    for file in files.into_iter().chain(more) {
        let content = std::fs::read_to_string(file).unwrap_or_else(|error| format!("{error}\n"));
        text.push_str(&format!("== {file}\n{content}\n"));
    }
    text
}

fn journal() -> String {
    let output = Command::new("journalctl")
        .args(["-u", "landfall-agent", "-n", LOG_LINES, "--no-pager", "-o", "short-iso"])
        .output();
    match output {
        Ok(output) => {
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            format!("{out}{err}")
        }
        Err(error) => format!("there is no journal here: {error}\n"),
    }
}

/// Writes the bundle, for its owner's eyes only.
fn write(out: &Path, parts: &[(&str, String)], at_secs: u64) -> std::io::Result<u64> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(out)?;
    let mut tar = tar::Builder::new(file);
    for (name, text) in parts {
        let text = scrub::text(text);
        // The end of a log says more than its beginning.
        let start = text.ceil_char_boundary(text.len().saturating_sub(PART_BYTES_MAX));
        let content = &text.as_bytes()[start..];
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(at_secs);
        tar.append_data(&mut header, format!("landfall-diag/{name}"), content)?;
    }
    let mut file = tar.into_inner()?;
    file.flush()?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}
