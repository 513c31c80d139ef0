//! The links for status pages, as JSON says it.

use super::Uplink;
use crate::store::StreamStatus;
use landfall_agent_core::link::{self, SiteWord, Standing, Wait};
use landfall_wire::record::StreamId;
use serde::{Deserialize, Serialize};
use std::sync::PoisonError;

/// Which link is used, and what is left of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UplinkReport {
    /// The link in use.
    pub link: Option<String>,
    /// Its class; 1 is the cheapest.
    pub class: Option<u8>,
    /// What is waited for, if links are there and none may be used.
    pub waiting: Option<WaitReport>,
    /// What the site said of its links.
    pub site: Option<SiteReport>,
    /// Every link.
    pub links: Vec<LinkView>,
    /// What waits, by stream, with an estimate of its bytes on the line.
    pub backlog: Vec<StreamBacklog>,
    /// When all of that will have left if nothing is added, at the rate, in the hours and within
    /// the budget of the link, milliseconds since 1970; absent while no link is there or its rate
    /// is not known yet.
    pub drained_ms: Option<u64>,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitReport {
    /// The link that is first to be used again.
    pub link: String,
    /// `hours`, or `budget` for the next day's.
    pub what: String,
    /// Until when, milliseconds since 1970.
    pub until_ms: u64,
}

/// What the site said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteReport {
    /// Of which link; of all if absent.
    pub link: Option<String>,
    /// `up` or `down`.
    pub state: String,
    /// How long it still holds; until it is taken back if absent.
    pub for_secs: Option<u64>,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkView {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: u8,
    /// It is there, as far as is known.
    pub is_up: bool,
    /// Its hours.
    pub is_open: bool,
    /// Bytes that went over it since the start, both ways, headers included.
    pub carried_bytes: u64,
    /// Bytes that it may carry a day.
    pub budget_bytes: Option<u64>,
    /// Of which so many are spent.
    pub spent_bytes: u64,
    /// And so many left.
    pub left_bytes: Option<u64>,
    /// When the budget is renewed, milliseconds since 1970.
    pub renews_ms: Option<u64>,
    /// Most bytes a second.
    pub rate_bytes_per_sec: Option<u64>,
    /// Bytes a second while records were waiting, both ways, headers included.
    pub measured_bytes_per_sec: Option<u64>,
    /// Streams that travel on it.
    pub streams: Vec<String>,
    /// Whether model files do.
    pub models: bool,
}

/// What waits of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamBacklog {
    /// Its name.
    pub stream: String,
    /// Records.
    pub records: u64,
    /// About so many bytes on the line, by what others took.
    pub bytes: u64,
    /// Bytes of frames with records of it, since the start.
    #[serde(default)]
    pub sent_bytes: u64,
}

impl Uplink {
    /// The links at a glance, and when what waits in these streams will have left.
    pub fn report(&self, streams: &[StreamStatus]) -> UplinkReport {
        let backlog = self.backlog(streams);
        let links = self.links();
        let now = self.now();
        let name = |at: usize| self.inner.config[at].policy.name.clone();
        let bytes: u64 = backlog.iter().map(|stream| stream.bytes).sum();
        let waiting = match links.standing() {
            Standing::Waits { link, until_ms, what } => {
                let what = match what {
                    Wait::Window => "hours",
                    Wait::Budget => "budget",
                };
                Some(WaitReport { link: name(link), what: what.to_owned(), until_ms })
            }
            Standing::Uses(_) | Standing::Down => None,
        };
        let site = links.site().map(|(SiteWord { link, is_up, .. }, until_ms)| SiteReport {
            link: link.map(name),
            state: if is_up { "up" } else { "down" }.to_owned(),
            for_secs: until_ms.map(|until_ms| until_ms.saturating_sub(now.running_ms) / 1000),
        });
        let one = |(at, policy): (usize, &link::LinkPolicy)| {
            let view: link::LinkView = links.view(at, now);
            let streams = StreamId::UP.into_iter().filter(|of| policy.carries.stream(*of));
            LinkView {
                name: policy.name.clone(),
                class: policy.class,
                is_up: view.is_up,
                is_open: view.is_open,
                carried_bytes: view.carried_bytes,
                budget_bytes: policy.bytes_per_day,
                spent_bytes: view.spent_bytes,
                left_bytes: view.left_bytes,
                renews_ms: view.renews_ms,
                rate_bytes_per_sec: policy.bytes_per_sec,
                measured_bytes_per_sec: view.measured_bytes_per_sec.map(whole),
                streams: streams.map(|of| of.name().to_owned()).collect(),
                models: policy.carries.models,
            }
        };
        UplinkReport {
            link: links.used().map(name),
            class: links.used().map(|at| self.inner.config[at].policy.class),
            waiting,
            site,
            links: links.policies().enumerate().map(one).collect(),
            drained_ms: links.drained_ms(now, bytes),
            backlog,
        }
    }

    fn backlog(&self, streams: &[StreamStatus]) -> Vec<StreamBacklog> {
        let sizes = *self.inner.record_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = *self.inner.sent_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |((stream, size), sent_bytes): ((StreamId, f64), u64)| {
            let parts = streams.iter().filter(|part| part.stream == stream);
            let records = parts.map(StreamStatus::backlog).sum();
            StreamBacklog {
                stream: stream.name().to_owned(),
                records,
                bytes: whole(records as f64 * size),
                sent_bytes,
            }
        };
        sizes.into_iter().zip(totals).map(of).collect()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not less than zero")]
pub(super) fn whole(value: f64) -> u64 {
    value.max(0.0).ceil() as u64
}
