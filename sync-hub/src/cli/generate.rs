//! What is made from the code's own description of the command line.

use super::args::Cli;
use super::failure::Failure;
use super::out;
use clap::CommandFactory;
use std::path::Path;

pub(super) fn completions(shell: clap_complete::Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "landfall-hub", &mut script);
    out::script(&script);
}

pub(super) fn man_pages(dir: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .map_err(|error| {
            let message = format!("cannot write the pages to {}: {error}", dir.display());
            Failure::new(message, "choose another directory")
        })
}
