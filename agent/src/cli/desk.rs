//! Who decides for this command: the running agent, or this process with the store open.

use super::client::Client;
use super::failure::Failure;
use crate::bulk::{Halt, LineResult, decide_all};
use crate::config::Config;
use crate::http::{ErrorBody, ItemBody, ReplyBody, TicketBody};
use crate::pipeline::{Pace, Pipeline};
use crate::service::{self, RunFile, StartError};
use crate::store::StoreError;
use landfall_agent_core::request::Request;
use landfall_wire::id::Ticket;
use std::time::Duration;

/// Where decisions come from.
pub(super) enum Desk {
    /// The running agent.
    Remote(Client),
    /// This process.
    Local(Box<Local>),
}

/// This process, with the store open.
pub(super) struct Local {
    runtime: tokio::runtime::Runtime,
    pipeline: Pipeline,
}

/// The running agent of a configuration, asked and not assumed.
pub(super) fn running(config: &Config) -> Option<Client> {
    let run = RunFile::read(&config.data_dir)?;
    let client = Client::new(run.http?);
    (client.instance()? == run.instance).then_some(client)
}

/// The store is in use by an agent that does not answer.
pub(super) fn locked() -> Failure {
    Failure::new("the agent runs, but cannot be asked: its HTTP is off or does not answer")
        .remedy("set http.listen and restart it, or stop it for this command")
}

impl Desk {
    pub(super) fn open(config: Config) -> Result<Desk, Failure> {
        if let Some(client) = running(&config) {
            return Ok(Desk::Remote(client));
        }
        let runtime = service::runtime()
            .map_err(|error| Failure::new(format!("cannot start threads: {error}")))?;
        let opened = {
            let _inside = runtime.enter();
            service::open(config)
        };
        let opened = opened.map_err(|error| match error {
            StartError::Store(StoreError::Locked { .. }) => locked(),
            error => Failure::from(error),
        })?;
        Ok(Desk::Local(Box::new(Local { runtime, pipeline: opened.pipeline })))
    }

    pub(super) fn ask(&self, task: &str, item: ItemBody) -> Result<ReplyBody, Failure> {
        match self {
            Desk::Remote(client) => client.ask(task, &item),
            Desk::Local(local) => local.ask(task, item),
        }
    }

    pub(super) fn ask_many(
        &self,
        task: &str,
        items: Vec<ItemBody>,
    ) -> Result<Vec<LineResult>, Halt> {
        match self {
            Desk::Remote(client) => {
                let results = client.ask_many(task, &items).map_err(halt)?;
                results.into_iter().map(unless_temporary).collect()
            }
            Desk::Local(local) => {
                let task = local.pipeline.task_named(task).map_err(|e| halt(Failure::from(e)))?;
                decide_all(&local.pipeline, &task, items, local.runtime.handle())
            }
        }
    }

    /// The ticket's state, after waiting for at most one long poll. Without an agent nothing
    /// can change, and nothing is waited for.
    pub(super) fn ticket(&self, ticket: &str, wait: Duration) -> Result<TicketBody, Failure> {
        match self {
            Desk::Remote(client) => client.ticket(ticket, wait),
            Desk::Local(local) => local.ticket(ticket),
        }
    }

    /// Writes what waits, if this process has the store.
    pub(super) fn close(self) {
        if let Desk::Local(local) = self {
            let Local { runtime, pipeline } = *local;
            runtime.block_on(pipeline.store().close());
        }
    }
}

impl Local {
    fn ask(&self, task: &str, item: ItemBody) -> Result<ReplyBody, Failure> {
        let task = self.pipeline.task_named(task)?;
        let ItemBody { text, id, meta } = item;
        let request =
            Request { task: task.clone(), text: text.clone(), caller_id: id.clone(), meta };
        let decided = self.runtime.block_on(self.pipeline.decide(request, Pace::Urgent))?;
        Ok(ReplyBody::new(&task, id, &text, &decided))
    }

    fn ticket(&self, ticket: &str) -> Result<TicketBody, Failure> {
        let ticket: Ticket = ticket.parse().map_err(|e| Failure::usage(format!("{e}")))?;
        let status = self.pipeline.store().ticket(ticket)?;
        let status = status.ok_or_else(|| Failure::usage(format!("no escalation {ticket}")))?;
        Ok(TicketBody::from(&status))
    }
}

/// A failure of the whole chunk: of the connection, which may come back, or of the request.
fn halt(failure: Failure) -> Halt {
    let Failure { code, message, remedy } = failure;
    let later = code == super::failure::FAILED;
    let body = ErrorBody { code: "unreachable".into(), message, remedy };
    if later { Halt::Later(body) } else { Halt::Failed(body) }
}

/// What the agent could not do now is tried again with its chunk; ids make that harmless.
fn unless_temporary(result: LineResult) -> Result<LineResult, Halt> {
    match result {
        LineResult::Error(envelope)
            if matches!(envelope.error.code.as_str(), "busy" | "not-recorded") =>
        {
            Err(Halt::Later(envelope.error))
        }
        result => Ok(result),
    }
}
