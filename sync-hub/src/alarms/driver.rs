//! Looks for alarms, and tells webhooks, while a hub runs.

use super::AlarmsConfig;
use super::books::{Checked, Post, Posted, Reconcile, TakePosts};
use super::causes::{causes, check_chain};
use super::config::Told;
use crate::database::{Database, DbError};
use crate::desk::call::{self, Trouble};
use crate::hub::now_ms;
use landfall_hub_core::desk::route::Came;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked for causes: an alarm is not a second's matter, and quality takes tens of
/// milliseconds to read.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks between two chains: one device each, and each takes as long as its outcomes are many.
const LOOKS_A_CHAIN: u32 = 120;

/// How often it is looked for what is to be told: one query of an index.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Until the database is closed.
pub(crate) async fn drive(database: Database, config: AlarmsConfig) {
    let config = Arc::new(config);
    let telling = tell_all(database.clone(), Arc::clone(&config));
    tokio::join!(look_all(database, config), telling);
}

async fn look_all(database: Database, config: Arc<AlarmsConfig>) {
    let mut looks: u32 = 0;
    loop {
        let chain = looks.is_multiple_of(LOOKS_A_CHAIN);
        match look(&database, &config, chain).await {
            Ok(()) => {}
            Err(DbError::Closed) => return,
            Err(error) => tracing::warn!(%error, "alarms wait: the database cannot be asked"),
        }
        looks = looks.wrapping_add(1);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(database: &Database, config: &Arc<AlarmsConfig>, chain: bool) -> Result<(), DbError> {
    if chain && let Some((device, findings)) = database.read(check_chain).await? {
        database.write(Checked { device, findings, now_ms: now_ms() }).await?;
    }
    let (its, at_ms) = (Arc::clone(config), now_ms());
    let found = database.read(move |reader| causes(reader, &its, at_ms)).await?;
    let webhooks = config.webhooks.keys().cloned().collect();
    let (raised, cleared) = database.write(Reconcile { found, webhooks, now_ms: at_ms }).await?;
    for cause in raised {
        let (kind, subject) = (cause.kind, cause.subject);
        tracing::error!(kind, subject, detail = cause.detail, "an alarm is raised");
    }
    for alarm in cleared {
        tracing::info!(alarm, "an alarm is over");
    }
    Ok(())
}

async fn tell_all(database: Database, config: Arc<AlarmsConfig>) {
    let agents: BTreeMap<String, ureq::Agent> = config
        .webhooks
        .iter()
        .filter_map(|(name, told)| match call::agent(&told.webhook.reach) {
            Ok(agent) => Some((name.clone(), agent)),
            Err(error) => {
                tracing::error!(webhook = name, error, "a webhook of alarms cannot be used");
                None
            }
        })
        .collect();
    let slowest = config.webhooks.values().map(|told| told.webhook.reach.timeout).max();
    let Some(slowest) = slowest else { return };
    // Twice: then it is sure that nobody waits for an answer any more.
    let held_ms = u64::try_from(slowest.as_millis()).unwrap_or(u64::MAX).saturating_mul(2);
    loop {
        match database.write(TakePosts { now_ms: now_ms(), held_ms }).await {
            Ok(posts) => {
                for post in posts {
                    let known = config.webhooks.get(&post.webhook).zip(agents.get(&post.webhook));
                    let address = config.address.as_deref();
                    if let Err(error) = tell(&database, post, known, address).await {
                        tracing::warn!(%error, "what a webhook said is not kept");
                    }
                }
            }
            Err(DbError::Closed) => return,
            Err(error) => tracing::warn!(%error, "webhooks wait: the database cannot be asked"),
        }
        tokio::time::sleep(TELL_EVERY).await;
    }
}

async fn tell(
    database: &Database,
    post: Post,
    known: Option<(&Told, &ureq::Agent)>,
    address: Option<&str>,
) -> Result<(), DbError> {
    let Post { id, what, webhook, alarm } = post;
    let Some((told, agent)) = known else {
        let trouble = Some("it is not in the configuration of this hub any more".to_owned());
        let (tries_max, pause_ms) = (1, 0);
        let gone = Posted { id, trouble, later: false, tries_max, pause_ms, now_ms: now_ms() };
        return database.write(gone).await.map(drop);
    };
    let link = address.map(|address| format!("{address}/alarms"));
    let body = json!({ "what": what, "alarm": alarm, "link": link }).to_string();
    let (agent, its) = (agent.clone(), told.webhook.clone());
    let post = move || call::post(&agent, &its, &body, now_ms());
    let sent = tokio::task::spawn_blocking(post).await;
    let (trouble, later) = match sent {
        Ok(Ok(())) => (None, false),
        Ok(Err(Trouble { what, came })) => (Some(what), matches!(came, Came::Failed { .. })),
        Err(_) => (Some("it failed unexpectedly; the log has the panic".to_owned()), true),
    };
    if let Some(trouble) = &trouble {
        tracing::warn!(webhook, trouble, "a webhook was not told of an alarm");
    }
    let (tries_max, pause_ms) = (told.tries_max, told.pause_ms);
    let now_ms = now_ms();
    database.write(Posted { id, trouble, later, tries_max, pause_ms, now_ms }).await.map(drop)
}
