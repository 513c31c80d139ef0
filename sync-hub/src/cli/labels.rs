//! `labels export`: answers as labelled data.

use super::args::LabelsCommand;
use super::failure::Failure;
use super::{Home, open, out};
use crate::database::queries::{PAGE_ROWS_MAX, Page};
use crate::labels;
use std::fs::File;
use std::io::{BufWriter, Write, stdout};

pub(super) fn labels(home: &Home, command: LabelsCommand) -> Result<(), Failure> {
    let LabelsCommand::Export { task, device, audits, out: to } = command;
    let books = open(home)?;
    let mut page =
        Page { task: Some(String::from(task)), device, limit: PAGE_ROWS_MAX, ..Page::default() };
    let failed = |error: std::io::Error| {
        let at =
            to.as_ref().map_or_else(|| "standard output".into(), |path| path.display().to_string());
        Failure::new(format!("cannot write {at}: {error}"), "check the path and the free space")
    };
    let mut sink: Box<dyn Write> = match &to {
        Some(path) => Box::new(BufWriter::new(File::create(path).map_err(failed)?)),
        None => Box::new(BufWriter::new(stdout().lock())),
    };
    let mut count = 0_u64;
    loop {
        let (rows, next) = labels::page(&books, &page)?;
        for row in rows.iter().filter(|row| !audits || row.reason == "audit") {
            let line = serde_json::to_string(row).map_err(|error| failed(error.into()))?;
            writeln!(sink, "{line}").map_err(failed)?;
            count += 1;
        }
        let Some(next) = next else { break };
        page.after = Some(next);
    }
    sink.flush().map_err(failed)?;
    drop(sink);
    out::note(&format!("{count} labelled texts"));
    Ok(())
}
