//! The two HTTP interfaces as a program outside sees them: JSON in, JSON out.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// Longest wait for any reply. Over the agent's longest long-poll.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// One server's interface.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
}

/// A response with its status.
#[derive(Debug, Clone)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body; `null` if it was not JSON.
    pub body: Value,
}

impl Response {
    /// Whether the status is in the 200s.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body of a success.
    ///
    /// # Errors
    /// With status and body of anything else.
    pub fn success(self) -> Result<Value> {
        if !self.is_success() {
            bail!("HTTP {}: {}", self.status, self.body);
        }
        Ok(self.body)
    }

    /// `error.code` of the body, empty if there is none.
    pub fn error_code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

impl Client {
    /// A client of the server at `address`.
    pub fn new(address: SocketAddr) -> Client {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(REPLY_TIMEOUT))
            .http_status_as_error(false)
            .build();
        Client { agent: config.into(), base: format!("http://{address}") }
    }

    /// Asks for `path`, which starts with a slash.
    ///
    /// # Errors
    /// When no reply came.
    pub fn get(&self, path: &str) -> Result<Response> {
        let url = format!("{}{path}", self.base);
        let response = self.agent.get(&url).call().with_context(|| format!("GET {url}"))?;
        read(response)
    }

    /// Sends JSON to `path`.
    ///
    /// # Errors
    /// When no reply came.
    pub fn post(&self, path: &str, body: &Value) -> Result<Response> {
        self.post_bytes(path, body.to_string().as_bytes())
    }

    /// Puts JSON at `path`.
    ///
    /// # Errors
    /// When no reply came.
    pub fn put(&self, path: &str, body: &Value) -> Result<Response> {
        let url = format!("{}{path}", self.base);
        let request = self.agent.put(&url).header("content-type", "application/json");
        read(request.send(body.to_string().as_bytes()).with_context(|| format!("PUT {url}"))?)
    }

    /// What is at `path`, as text.
    ///
    /// # Errors
    /// When no reply came.
    pub fn text(&self, path: &str) -> Result<String> {
        let url = format!("{}{path}", self.base);
        let mut response = self.agent.get(&url).call().with_context(|| format!("GET {url}"))?;
        response.body_mut().read_to_string().context("the reply broke off")
    }

    /// Sends bytes to `path` as if they were JSON.
    ///
    /// # Errors
    /// When no reply came.
    pub fn post_bytes(&self, path: &str, body: &[u8]) -> Result<Response> {
        let url = format!("{}{path}", self.base);
        let request = self.agent.post(&url).header("content-type", "application/json");
        let response = request.send(body).with_context(|| format!("POST {url}"))?;
        read(response)
    }
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Response> {
    let status = response.status().as_u16();
    let bytes = response.body_mut().read_to_vec().context("the reply broke off")?;
    Ok(Response { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
}
