//! `queue list --refused` and `queue resend`.

use super::args::QueueResendArgs;
use super::failure::Failure;
use super::shelf::Shelf;
use super::{Done, desk, output, queue};
use crate::queue::{ResendBody, ResentEntry, unhex};
use landfall_wire::record::Record;

pub(super) fn list(shelf: &Shelf, json: bool) -> Result<Done, Failure> {
    let page = shelf.refused()?;
    if json {
        output::json_pretty(&page)?;
        return Ok(Done::Done);
    }
    for one in &page.refused {
        let record = one.raw.as_deref().and_then(unhex).and_then(|raw| Record::decode(&raw).ok());
        let what = match (&one.raw, record) {
            (_, Some(record)) => queue::sentence(&record),
            (Some(_), None) => "unreadable".to_owned(),
            (None, None) => "no longer held here; the hub has it".to_owned(),
        };
        let (stream, id, reason) = (&one.stream, &one.id, &one.reason);
        output::line(format_args!("{stream:<11}{id}  {what}: {reason}"))?;
    }
    if page.refused.is_empty() {
        output::note(format_args!("the hub refused nothing that is still kept here"));
    }
    Ok(Done::Done)
}

pub(super) fn resend(args: &QueueResendArgs) -> Result<Done, Failure> {
    let config = super::load(&args.common.config())?;
    let client = desk::running(&config).ok_or_else(|| {
        Failure::new("the agent does not run, or cannot be asked".to_owned())
            .remedy("start it, with http.listen set; then try again")
    })?;
    let page =
        client.resend(&ResendBody { stream: args.stream.clone(), id: args.record.clone() })?;
    if args.json {
        output::json_pretty(&page)?;
        return Ok(Done::Done);
    }
    for ResentEntry { id, stream, now, ticket } in &page.resent {
        let ticket = ticket.as_ref().map_or(String::new(), |ticket| format!(", ticket {ticket}"));
        output::line(format_args!("{stream:<11}{id}  is sent once more as {now}{ticket}"))?;
    }
    if page.resent.is_empty() {
        output::note(format_args!("nothing that the hub refused is still here"));
    }
    Ok(Done::Done)
}
