//! `enroll`: the device's first certificate, with a one-time token.

use super::args::EnrollArgs;
use super::failure::Failure;
use super::{Done, output};
use crate::clock::Clock;
use crate::config::Config;
use crate::sync::{self, Identity};
use landfall_wire::token::Token;
use serde_json::json;
use std::io::{BufRead, IsTerminal, stdin};

/// Longest line that is read for a token: longer ones are none.
const LINE_BYTES_MAX: u64 = 4096;

pub(super) fn enroll(args: &EnrollArgs) -> Result<Done, Failure> {
    let config = Config::load_to_run(&super::whole(&args.common.config()))?;
    let dir = match (&args.out, &config.hub) {
        (Some(dir), _) => dir.clone(),
        (None, Some(hub)) => hub.identity.clone(),
        (None, None) => {
            return Err(Failure::usage("the configuration has no [hub]")
                .remedy("add [hub] with identity = \"/etc/landfall/identity\", or pass --out"));
        }
    };
    if let Some(device) = Identity::device_in(&dir)
        && !args.renew
    {
        return Err(Failure::new(format!(
            "{} holds the identity of {device} already",
            dir.display()
        ))
        .remedy("--renew replaces it"));
    }
    let token: Token = token(args)?.parse().map_err(|error| {
        Failure::usage(format!("{error}")).remedy("type it again, as the hub printed it")
    })?;
    let clock = Clock::open(&config.data_dir);
    let device = sync::enroll(&args.hub, &token, &dir, &clock)
        .map_err(|error| Failure::new(format!("not enrolled: {error}")).remedy(error.remedy()))?;
    if args.json {
        output::json_pretty(&json!({ "device": device, "identity": dir }))?;
    } else {
        output::line(format_args!("enrolled as {device}; its identity is in {}", dir.display()))?;
        output::note(format_args!(
            "restart the agent, if it runs: systemctl restart landfall-agent"
        ));
    }
    Ok(Done::Done)
}

/// From the command line or, so that nobody finds it in a list of processes, from standard input.
fn token(args: &EnrollArgs) -> Result<String, Failure> {
    if let Some(token) = args.token.as_ref().filter(|token| *token != "-") {
        return Ok(token.clone());
    }
    if stdin().is_terminal() {
        output::note(format_args!("token, as `landfall-hub token new` printed it:"));
    }
    let mut line = String::new();
    let mut input = std::io::Read::take(stdin().lock(), LINE_BYTES_MAX);
    input.read_line(&mut line).map_err(|error| Failure::new(format!("no token: {error}")))?;
    Ok(line)
}
