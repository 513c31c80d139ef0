//! The desk at work: gives questions their place, asks models and ticket systems, and sends what
//! people agreed on.
//!
//! * [`config`]: the tables of the configuration file.
//! * `call`: the requests.
//!
//! One task looks around ([`cases::LookAround`]) when something was committed or is due; each
//! request runs on a thread of its own, a few at a time for each place. Where each question
//! stands is in the database: a hub that is killed leaves nothing but questions that it held,
//! and those are another's, or its own again, when its time with them is over.

pub mod config;

pub(crate) mod call;

pub use call::SIGNATURE;
pub use config::DeskConfig;

use crate::database::desk::cases::{self, LookAround, PassOn, Settle, Take, Taken, Todo};
use crate::database::desk::people::{Send, Sweep};
use crate::database::desk::reads::{self, PastCase};
use crate::database::desk::{Request, Which};
use crate::database::views::{self, EscalationView};
use crate::database::{Database, DbError, queries};
use crate::exchange::Exchange;
use crate::hub::now_ms;
use call::Trouble;
use config::{Model, Webhook};
use landfall_hub_core::desk::prompt::{self, Asked, Call, usage_max};
use landfall_hub_core::desk::route::{Came, Place};
use landfall_hub_core::desk::{BY_BYTES_MAX, Draft};
use landfall_wire::id::{DeviceId, Ticket};
use landfall_wire::record::cut;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

/// The desk looks around at least this often: other hubs and commands write, too.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Questions that devices gave up leave the desk this often.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// A question is this hub's for so much longer than a request can take.
const HOLD_MORE_MS: u64 = 30_000;

/// Requests under way to one ticket system: it only takes them in.
const WEBHOOK_PARALLEL: usize = 2;

/// Past cases that are told to a model.
const PAST_TOLD_MAX: usize = 3;

/// The desk, at work.
#[derive(Debug)]
pub struct Desk {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What all its requests share.
struct Worker {
    database: Database,
    config: Arc<DeskConfig>,
    plan: Arc<landfall_hub_core::desk::route::Plan>,
    holder: String,
    clients: BTreeMap<String, Client>,
    /// Tells the exchange that there are answers.
    wake: Arc<Notify>,
    /// Tells this desk to look around.
    look: Arc<Notify>,
}

/// How a place is asked.
struct Client {
    agent: ureq::Agent,
    room: Arc<Semaphore>,
    how: How,
}

#[derive(Clone)]
enum How {
    Model(Model),
    Webhook(Webhook),
}

impl How {
    fn timeout_ms(&self) -> u64 {
        let reach = match self {
            How::Model(model) => &model.reach,
            How::Webhook(webhook) => &webhook.reach,
        };
        u64::try_from(reach.timeout.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Desk {
    /// Starts it.
    ///
    /// # Errors
    /// What is wrong with a place, in words.
    pub(crate) fn start(
        exchange: &Exchange,
        config: Arc<DeskConfig>,
        look: Arc<Notify>,
    ) -> Result<Desk, String> {
        let mut clients = BTreeMap::new();
        for (name, model) in &config.models {
            let room = Arc::new(Semaphore::new(model.parallel));
            let client =
                Client { agent: call::agent(&model.reach)?, room, how: How::Model(model.clone()) };
            clients.insert(Place::Model(name.clone()).name(), client);
        }
        for (name, webhook) in &config.webhooks {
            let room = Arc::new(Semaphore::new(WEBHOOK_PARALLEL));
            let how = How::Webhook(webhook.clone());
            let client = Client { agent: call::agent(&webhook.reach)?, room, how };
            clients.insert(Place::Webhook(name.clone()).name(), client);
        }
        let worker = Worker {
            database: exchange.database.clone(),
            plan: Arc::new(config.plan.clone()),
            config,
            holder: format!("hub:{}", exchange.hub),
            clients,
            wake: Arc::clone(&exchange.wake),
            look,
        };
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(Arc::new(worker), stopped));
        Ok(Desk { stop, task })
    }

    /// Ends it. Requests under way are given up; their questions are asked again later.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

async fn run(worker: Arc<Worker>, mut stopped: watch::Receiver<bool>) {
    let mut asking = JoinSet::new();
    let mut swept = Instant::now();
    let mut failing = false;
    while !*stopped.borrow() {
        let pause = match worker.look_around(&mut asking).await {
            Ok(pause) => {
                failing = false;
                pause
            }
            Err(DbError::Closed) => break,
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "the desk cannot read its questions; it tries again");
                }
                failing = true;
                LOOK_EVERY
            }
        };
        if swept.elapsed() > SWEEP_EVERY {
            swept = Instant::now();
            let _ = worker.database.write(Sweep).await;
        }
        tokio::select! {
            () = worker.look.notified() => {}
            () = tokio::time::sleep(pause) => {}
            Some(_) = asking.join_next(), if !asking.is_empty() => {}
            _ = stopped.changed() => {}
        }
    }
    asking.abort_all();
}

impl Worker {
    /// Does what is due; returns how long there is nothing to do.
    async fn look_around(self: &Arc<Self>, asking: &mut JoinSet<()>) -> Result<Duration, DbError> {
        let now_ms = now_ms();
        let look = LookAround { plan: Arc::clone(&self.plan), now_ms };
        let Todo { ask, send, next_ms, more } = self.database.write(look).await?;
        for which in send {
            if self.database.write(Send { which, now_ms }).await? {
                self.wake.notify_one();
            }
        }
        for (which, place) in ask {
            self.ask(which, &place, asking).await?;
        }
        if more {
            return Ok(Duration::ZERO);
        }
        let next = next_ms.map(|at| Duration::from_millis(at.saturating_sub(now_ms)));
        Ok(next.map_or(LOOK_EVERY, |next| next.min(LOOK_EVERY)))
    }

    async fn ask(
        self: &Arc<Self>,
        which: Which,
        place: &Place,
        asking: &mut JoinSet<()>,
    ) -> Result<(), DbError> {
        let name = place.name();
        let Some(client) = self.clients.get(&name) else {
            return self.pass_on(which, Came::Declined, format!("{name} is not configured")).await;
        };
        // When it has no room, the question stays due.
        let Ok(permit) = Arc::clone(&client.room).try_acquire_owned() else { return Ok(()) };
        let Some((question, past)) = self.question(&which).await? else { return Ok(()) };
        let body = match &client.how {
            How::Model(model) => match told(&question) {
                Ok(told) => {
                    let call = Call { model: &model.model, tokens_out_max: model.tokens_out_max };
                    let past = past_told(&past);
                    prompt::request(call, told.asked(&question, &past)).to_string()
                }
                Err((came, why)) => {
                    return self.pass_on(which, came, format!("{name}: {why}")).await;
                }
            },
            How::Webhook(_) => self.ticket(&question, &past).to_string(),
        };
        let now_ms = now_ms();
        let (reserve_micros, spend_micros_max) = match &client.how {
            How::Model(model) => {
                let most = usage_max(body.len(), model.tokens_out_max);
                (model.prices.cost_micros(most), model.spend_micros_max)
            }
            How::Webhook(_) => (0, None),
        };
        let take = Take {
            which: which.clone(),
            place: name.clone(),
            holder: self.holder.clone(),
            until_ms: now_ms + client.how.timeout_ms() + HOLD_MORE_MS,
            reserve_micros,
            spend_micros_max,
            plan: Arc::clone(&self.plan),
            now_ms,
        };
        let id = match self.database.write(take).await? {
            Taken::Granted(id) => id,
            Taken::Elsewhere => return Ok(()),
            Taken::Spent => {
                tracing::warn!(place = name, "what may be spent today is spent");
                self.look.notify_one();
                return Ok(());
            }
        };
        let (worker, agent, how) = (Arc::clone(self), client.agent.clone(), client.how.clone());
        let request = Asking { which, place: name, id, at_ms: now_ms, reserve_micros };
        asking.spawn(async move {
            let sent = tokio::task::spawn_blocking(move || {
                let start = Instant::now();
                let came = send(&agent, &how, &body, &question);
                (came, start.elapsed())
            });
            if let Ok((came, took)) = sent.await {
                worker.settle(request, came, took).await;
            }
            drop(permit);
        });
        Ok(())
    }

    async fn question(
        &self,
        which: &Which,
    ) -> Result<Option<(EscalationView, Vec<PastCase>)>, DbError> {
        let id = which.escalation;
        self.database
            .read(move |reader| {
                let Some(question) = queries::escalation_by_id(reader, id)? else {
                    return Ok(None);
                };
                let past = reads::past(reader, &question)?;
                Ok(Some((question, past)))
            })
            .await
    }

    async fn pass_on(&self, which: Which, came: Came, trouble: String) -> Result<(), DbError> {
        let plan = Arc::clone(&self.plan);
        let holder = self.holder.clone();
        let pass_on = PassOn { which, holder, came, trouble, plan, now_ms: now_ms() };
        self.database.write(pass_on).await?;
        self.look.notify_one();
        Ok(())
    }

    /// What a ticket system gets.
    fn ticket(&self, question: &EscalationView, past: &[PastCase]) -> Value {
        let here = self.config.address.as_deref();
        let path = format!("{}/{}", question.device, question.ticket);
        json!({
            "type": "escalation",
            "escalation": question,
            "similar": past,
            "page": here.map(|at| format!("{at}/desk/{path}")),
            "answer": here.map(|at| format!("{at}/api/v1/escalations/{path}/answer")),
        })
    }

    async fn settle(&self, asking: Asking, came: Brought, took: Duration) {
        let Asking { which, place, id, at_ms, reserve_micros } = asking;
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let Brought { usage, cost_micros, result, came, trouble } = came;
        if let Some(trouble) = &trouble {
            tracing::warn!(place, trouble, "a request of the desk brought no answer");
        }
        let request = Request {
            id,
            at_ms,
            reserved_micros: reserve_micros,
            // Without a word on tokens, what was set aside is what it cost.
            cost_micros: cost_micros.unwrap_or(reserve_micros),
            usage,
            took_ms,
            result,
        };
        let settle = Settle {
            which,
            place,
            holder: self.holder.clone(),
            request,
            came,
            trouble,
            plan: Arc::clone(&self.plan),
            now_ms: now_ms(),
        };
        match self.database.write(settle).await {
            Ok(cases::Settled::Answered) => self.wake.notify_one(),
            Ok(cases::Settled::GoesOn | cases::Settled::TooLate) => {}
            Err(error) => {
                tracing::warn!(%error, "what a request brought could not be kept; it is asked again");
            }
        }
        self.look.notify_one();
    }
}

/// A request under way.
struct Asking {
    which: Which,
    place: String,
    id: i64,
    at_ms: u64,
    reserve_micros: u64,
}

/// What a request brought.
struct Brought {
    usage: Option<prompt::Usage>,
    cost_micros: Option<u64>,
    result: String,
    came: Result<Draft, Came>,
    trouble: Option<String>,
}

/// What a model is told of a question, beside its labels.
struct Told {
    kind: landfall_wire::record::TaskKind,
    candidates: Vec<(String, f64)>,
}

impl Told {
    fn asked<'a>(
        &'a self,
        question: &'a EscalationView,
        past: &'a [(String, String)],
    ) -> Asked<'a> {
        Asked {
            task: &question.task,
            kind: self.kind,
            labels: &question.labels,
            text: question.text.as_deref().unwrap_or_default(),
            candidates: &self.candidates,
            past,
        }
    }
}

/// Whether a model can be asked at all.
fn told(question: &EscalationView) -> Result<Told, (Came, &'static str)> {
    if question.text.is_none() {
        return Err((Came::Declined, "the text did not leave the device"));
    }
    let Some(kind) = question.kind.as_deref().map(views::kind) else {
        let later = Came::Failed { after_ms: None };
        return Err((later, "the device has not told its labels yet"));
    };
    if question.labels.is_empty() {
        return Err((Came::Declined, "the task has no labels"));
    }
    let part = |candidate: &Value| {
        Some((candidate.get("label")?.as_str()?.to_owned(), candidate.get("confidence")?.as_f64()?))
    };
    let candidates = question.candidates.as_array().into_iter().flatten().filter_map(part);
    Ok(Told { kind, candidates: candidates.collect() })
}

fn past_told(past: &[PastCase]) -> Vec<(String, String)> {
    let told = past.iter().take(PAST_TOLD_MAX);
    told.map(|case| (case.text.clone(), case.decision.to_string())).collect()
}

/// Sends a request; blocks.
fn send(agent: &ureq::Agent, how: &How, body: &str, question: &EscalationView) -> Brought {
    match how {
        How::Model(model) => ask_model(agent, model, body, question),
        How::Webhook(webhook) => match call::post(agent, webhook, body, now_ms()) {
            Ok(()) => Brought {
                usage: None,
                cost_micros: Some(0),
                result: "taken".to_owned(),
                came: Err(Came::Taken),
                trouble: None,
            },
            Err(trouble) => nothing(trouble, Some(0)),
        },
    }
}

fn ask_model(agent: &ureq::Agent, model: &Model, body: &str, question: &EscalationView) -> Brought {
    let Ok(told) = told(question) else {
        let what = "the question changed".to_owned();
        return nothing(Trouble { what, came: Came::Declined }, Some(0));
    };
    let reply = match call::ask(agent, model, body, told.asked(question, &[])) {
        Ok(reply) => reply,
        // Whether it was worked on, and paid for, is not known: then it was.
        Err(trouble @ Trouble { came: Came::Failed { .. }, .. }) => return nothing(trouble, None),
        Err(trouble) => return nothing(trouble, Some(0)),
    };
    let cost_micros = reply.usage.map(|usage| model.prices.cost_micros(usage));
    let brought = |result: &str, came, trouble| Brought {
        usage: reply.usage,
        cost_micros,
        result: result.to_owned(),
        came,
        trouble,
    };
    match reply.said {
        Ok(said) if said.sure => {
            let by = cut(&format!("model {}", model.model), BY_BYTES_MAX).to_owned();
            let note = Some(said.why).filter(|why| !why.is_empty());
            brought("answered", Ok(Draft { decision: said.decision, by, note }), None)
        }
        Ok(_) => {
            let trouble = Some("not sure: a person should look".to_owned());
            brought("not sure", Err(Came::Declined), trouble)
        }
        Err(error) => {
            let came = Err(Came::Failed { after_ms: None });
            brought(&format!("no answer: {error}"), came, Some(error.to_string()))
        }
    }
}

fn nothing(trouble: Trouble, cost_micros: Option<u64>) -> Brought {
    let Trouble { what, came } = trouble;
    let result = format!("failed: {what}");
    Brought { usage: None, cost_micros, result, came: Err(came), trouble: Some(what) }
}

/// What people do at the desk.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    pub(crate) undo_ms: u64,
    pub(crate) claim_ms: u64,
}

/// The name of a question in paths: `DEVICE/TICKET`.
pub(crate) fn path(device: &DeviceId, ticket: Ticket) -> String {
    format!("{device}/{ticket}")
}
