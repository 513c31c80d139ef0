//! What is made from the code's own description of the command line and the configuration.

use super::args::Args;
use super::failure::Failure;
use super::{Done, output};
use crate::config;
use clap::CommandFactory;
use std::path::Path;

pub(super) fn completions(shell: clap_complete::Shell) -> Result<Done, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "landfall-agent", &mut script);
    output::line(format_args!("{}", String::from_utf8_lossy(&script).trim_end()))?;
    Ok(Done::Done)
}

pub(super) fn man_pages(dir: &Path) -> Result<Done, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("cannot write the pages to {}: {error}", dir.display()))
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(Args::command(), dir).map_err(failed)?;
    Ok(Done::Done)
}

pub(super) fn config_reference() -> Result<Done, Failure> {
    output::line(format_args!("{}", config::reference().trim_end()))?;
    Ok(Done::Done)
}
