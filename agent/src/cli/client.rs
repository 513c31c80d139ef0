//! Talks to the running agent over loopback.

use super::failure::{FAILED, Failure, USAGE};
use crate::bulk::LineResult;
use crate::courier::{Exported, Imported};
use crate::http::{
    ErrorEnvelope, ItemBody, LinkWord, MORE, RECORDS, ReplyBody, StatusBody, TicketBody, WAIT_MAX,
};
use crate::link::UplinkReport;
use crate::queue::{Ask, OutcomePage, Page, RefusedPage, ResendBody, ResentPage, Summary};
use crate::store::OutcomeId;
use landfall_freight::parcel::PARCEL_BYTES_MAX;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::time::Duration;
use ureq::http::{Response, StatusCode};

/// A local connection is there at once or not at all.
const CONNECT: Duration = Duration::from_secs(2);

/// The agent answers within its queue's wait, its longest poll, and a batch's decisions.
const ANSWER: Duration = Duration::from_secs(180);

/// Largest reply: a full batch of long extractions stays under it.
const REPLY_BYTES_MAX: u64 = 16 << 20;

/// A client of one agent.
pub(super) struct Client {
    agent: ureq::Agent,
    address: SocketAddr,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // Never through a proxy: the agent is on this machine.
            .proxy(None)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(ANSWER))
            .build();
        Client { agent: config.new_agent(), address }
    }

    /// Which agent answers there, if one does.
    pub(super) fn instance(&self) -> Option<String> {
        let mut response = self.agent.get(self.url("/healthz")).call().ok()?;
        let health: serde_json::Value = response.body_mut().read_json().ok()?;
        Some(health.get("instance")?.as_str()?.to_owned())
    }

    pub(super) fn ask(&self, task: &str, item: &ItemBody) -> Result<ReplyBody, Failure> {
        let url = self.url(&format!("/v1/tasks/{}", segment(task)));
        read(self.agent.post(url).send_json(item).map_err(unreachable)?)
    }

    pub(super) fn ask_many(
        &self,
        task: &str,
        items: &[ItemBody],
    ) -> Result<Vec<LineResult>, Failure> {
        // A file can wait until decisions are recorded again.
        let url = self.url(&format!("/v1/tasks/{}?record=required", segment(task)));
        read(self.agent.post(url).send_json(items).map_err(unreachable)?)
    }

    /// The ticket's state, after waiting for at most [`WAIT_MAX`].
    pub(super) fn ticket(&self, ticket: &str, wait: Duration) -> Result<TicketBody, Failure> {
        let secs = wait.min(WAIT_MAX).as_secs();
        let url = self.url(&format!("/v1/escalations/{}?wait={secs}s", segment(ticket)));
        read(self.agent.get(url).call().map_err(unreachable)?)
    }

    pub(super) fn status(&self) -> Result<StatusBody, Failure> {
        read(self.agent.get(self.url("/v1/status")).call().map_err(unreachable)?)
    }

    pub(super) fn link(&self) -> Result<UplinkReport, Failure> {
        read(self.agent.get(self.url("/v1/link")).call().map_err(unreachable)?)
    }

    pub(super) fn put_link(&self, word: &LinkWord) -> Result<UplinkReport, Failure> {
        read(self.agent.put(self.url("/v1/link")).send_json(word).map_err(unreachable)?)
    }

    pub(super) fn queue(&self) -> Result<Summary, Failure> {
        read(self.agent.get(self.url("/v1/queue")).call().map_err(unreachable)?)
    }

    pub(super) fn records(&self, ask: &Ask) -> Result<Page, Failure> {
        let Ask { stream, after, limit, kept } = ask;
        let after = after.map_or(String::new(), |after| format!("&after={after}"));
        let stream = stream.name();
        let url = self.url(&format!("/v1/queue/{stream}?limit={limit}&kept={kept}{after}"));
        read(self.agent.get(url).call().map_err(unreachable)?)
    }

    pub(super) fn refused(&self) -> Result<RefusedPage, Failure> {
        read(self.agent.get(self.url("/v1/refused")).call().map_err(unreachable)?)
    }

    pub(super) fn resend(&self, which: &ResendBody) -> Result<ResentPage, Failure> {
        read(
            self.agent
                .post(self.url("/v1/refused/resend"))
                .send_json(which)
                .map_err(unreachable)?,
        )
    }

    pub(super) fn outcome(&self, id: OutcomeId) -> Result<OutcomePage, Failure> {
        let url = self.url(&format!("/v1/outcomes/{id}"));
        read(self.agent.get(url).call().map_err(unreachable)?)
    }

    pub(super) fn courier_export(&self, part: usize) -> Result<Exported, Failure> {
        let url = self.url(&format!("/v1/courier/export?part={part}"));
        let mut response = self.agent.post(url).send_empty().map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return read::<serde_json::Value>(response).and(Err(Failure::new("no parcel")));
        }
        let header = |name: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (records, more) = (header(RECORDS.as_str()), header(MORE.as_str()));
        let body = response.body_mut().with_config().limit(PARCEL_BYTES_MAX as u64 + 1);
        let parcel = body.read_to_vec().map_err(unreachable)?;
        let records = records.parse().unwrap_or(0);
        Ok(Exported { parcel, records, more: more == "true" })
    }

    pub(super) fn courier_import(&self, parcel: Vec<u8>) -> Result<Imported, Failure> {
        let url = self.url("/v1/courier/import");
        read(self.agent.post(url).send(parcel).map_err(unreachable)?)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// One segment of a path: names are plain, and what is not is refused by the agent, by name.
fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.bytes().fold(String::new(), |mut url, byte| {
        if plain(byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
        url
    })
}

fn read<T: DeserializeOwned>(mut response: Response<ureq::Body>) -> Result<T, Failure> {
    let status = response.status();
    let body = response.body_mut().with_config().limit(REPLY_BYTES_MAX);
    if status == StatusCode::OK {
        return body.read_json().map_err(unreachable);
    }
    let ErrorEnvelope { error } = body.read_json().map_err(unreachable)?;
    let usage = status == StatusCode::NOT_FOUND || status == StatusCode::BAD_REQUEST;
    Err(Failure { code: if usage { USAGE } else { FAILED }, ..Failure::from(error) })
}

#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
fn unreachable(error: ureq::Error) -> Failure {
    Failure::new(format!("the agent does not answer: {error}"))
        .remedy("see its log; what it acknowledged is recorded")
}

#[cfg(test)]
mod tests {
    #[test]
    fn segments_cannot_change_the_path() {
        assert_eq!(super::segment("failure-mode"), "failure-mode");
        assert_eq!(super::segment("../x?y ä"), "%2E%2E%2Fx%3Fy%20%C3%A4");
    }
}
