//! `ask` and `ticket`.

use super::args::{AskArgs, TicketArgs};
use super::desk::Desk;
use super::failure::Failure;
use super::{Done, output};
use crate::http::{ItemBody, ReplyBody, Status, TicketBody};
use crate::input::decode;
use serde::Serialize;
use std::io::Read;
use std::time::{Duration, Instant};

/// Most bytes read from standard input: as large as one request may be.
const STDIN_BYTES_MAX: u64 = crate::http::BODY_BYTES_MAX as u64;

/// What `ask --wait --json` prints.
#[derive(Serialize)]
struct Waited<'a> {
    #[serde(flatten)]
    reply: &'a ReplyBody,
    /// Where its escalation stands.
    ticket: &'a TicketBody,
}

pub(super) fn ask(args: &AskArgs) -> Result<Done, Failure> {
    let text = match args.text.as_deref() {
        Some("-") | None => read_stdin()?,
        Some(text) => text.to_owned(),
    };
    let config = super::load(&args.common.config())?;
    let desk = Desk::open(config)?;
    let meta = args.meta.iter().cloned().collect();
    let done = answer(&desk, args, ItemBody { text, id: args.id.clone(), meta });
    desk.close();
    done
}

fn answer(desk: &Desk, args: &AskArgs, item: ItemBody) -> Result<Done, Failure> {
    let reply = desk.ask(&args.task, item)?;
    let ticket = reply.escalation.as_deref().filter(|_| reply.status == Status::Escalated);
    let (Some(ticket), Some(wait)) = (ticket, args.wait) else {
        if args.json {
            output::json_pretty(&reply)?;
        } else {
            output::line(format_args!("{}", output::reply(&reply)))?;
        }
        let is_open = ticket.is_some() || !reply.recorded;
        return Ok(if is_open { Done::Open } else { Done::Done });
    };
    if !args.json {
        output::line(format_args!("{}", output::reply(&reply)))?;
    }
    let ticket = wait_for(desk, ticket, wait)?;
    if args.json {
        output::json_pretty(&Waited { reply: &reply, ticket: &ticket })?;
    } else {
        output::line(format_args!("{}", output::ticket(&ticket)))?;
    }
    settled(&ticket)
}

pub(super) fn ticket(args: &TicketArgs) -> Result<Done, Failure> {
    let config = super::load(&args.common.config())?;
    let desk = Desk::open(config)?;
    let ticket = wait_for(&desk, &args.ticket, args.wait.unwrap_or_default());
    desk.close();
    let ticket = ticket?;
    if args.json {
        output::json_pretty(&ticket)?;
    } else {
        output::line(format_args!("{}", output::ticket(&ticket)))?;
    }
    settled(&ticket)
}

/// Polls until the ticket is settled or the time is over.
fn wait_for(desk: &Desk, ticket: &str, wait: Duration) -> Result<TicketBody, Failure> {
    let deadline = Instant::now() + wait;
    if matches!(desk, Desk::Local(_)) && wait > Duration::ZERO {
        output::note(format_args!("note: no agent runs, so nothing is sent; not waiting"));
    }
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let status = desk.ticket(ticket, left)?;
        let open = matches!(status.state.as_str(), "queued" | "sent" | "received");
        if !open || left.is_zero() || matches!(desk, Desk::Local(_)) {
            return Ok(status);
        }
    }
}

fn settled(ticket: &TicketBody) -> Result<Done, Failure> {
    match ticket.state.as_str() {
        "answered" | "delivered" => Ok(Done::Done),
        "expired" => Err(Failure::new("the escalation expired without an answer")
            .remedy("ask again, or raise the task's ttl")),
        _ => Ok(Done::Open),
    }
}

fn read_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(STDIN_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::new(format!("cannot read standard input: {error}")))?;
    if bytes.len() as u64 > STDIN_BYTES_MAX {
        return Err(Failure::usage(format!("the text is over {STDIN_BYTES_MAX} bytes"))
            .remedy("for many texts use `batch`"));
    }
    let (text, _) = decode(&bytes);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}
