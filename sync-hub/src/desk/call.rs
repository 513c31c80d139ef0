//! Requests to models and ticket systems: one at a time, off the runtime's threads.

use super::config::{Model, Reach, Secret, Webhook};
use crate::identity::hex;
use landfall_hub_core::desk::prompt::{self, Asked, Reply};
use landfall_hub_core::desk::route::Came;
use std::io::Read;
use std::sync::Arc;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// Largest reply that is read: a label with its reason has some hundred bytes.
const REPLY_BYTES_MAX: u64 = 256 * 1024;

/// What is shown of a foreign error, in characters.
const SHOWN_CHARS_MAX: usize = 200;

/// Header of the signature: `t=SECONDS,v1=HEX`, the HMAC-SHA256 of `SECONDS.BODY`.
pub const SIGNATURE: &str = "Landfall-Signature";

/// Why a request brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// In words.
    pub(crate) what: String,
    /// What follows for the question.
    pub(crate) came: Came,
}

impl Trouble {
    fn later(what: impl Into<String>) -> Trouble {
        Trouble { what: what.into(), came: Came::Failed { after_ms: None } }
    }
}

/// A client for an address; made once, so that connections are kept.
pub(crate) fn agent(reach: &Reach) -> Result<ureq::Agent, String> {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // A redirect would carry the key or the question elsewhere.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(reach.timeout))
        .user_agent(concat!("landfall-hub/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &reach.ca {
        let failed = |error: String| format!("cannot read {}: {error}", path.display());
        let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let roots: Vec<_> = parse_pem(&pem)
            .filter_map(Result::ok)
            .filter_map(|item| match item {
                PemItem::Certificate(certificate) => Some(certificate),
                _ => None,
            })
            .collect();
        if roots.is_empty() {
            return Err(failed("it holds no certificate".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(roots))
            .unversioned_rustls_crypto_provider(provider)
            .build();
        config = config.tls_config(tls);
    }
    Ok(config.build().into())
}

/// Asks a model. A reply of any worth comes back, for its tokens were used.
pub(super) fn ask(
    agent: &ureq::Agent,
    model: &Model,
    body: &str,
    asked: Asked<'_>,
) -> Result<Reply, Trouble> {
    let mut request = agent.post(&model.url).content_type("application/json");
    if let Some(key) = &model.key {
        request = request.header("Authorization", format!("Bearer {}", key.expose()));
    }
    let (status, bytes, after_ms) = send(request, body)?;
    match status {
        200 => Ok(prompt::read(&bytes, asked)),
        _ => Err(refused(status, &bytes, after_ms)),
    }
}

/// Hands a question to a ticket system, or an alarm to whoever is told.
pub(crate) fn post(
    agent: &ureq::Agent,
    webhook: &Webhook,
    body: &str,
    now_ms: u64,
) -> Result<(), Trouble> {
    let signature = sign(&webhook.secret, now_ms / 1_000, body);
    let request =
        agent.post(&webhook.url).content_type("application/json").header(SIGNATURE, signature);
    let (status, bytes, after_ms) = send(request, body)?;
    match status {
        200..=299 => Ok(()),
        _ => Err(refused(status, &bytes, after_ms)),
    }
}

/// The signature of a body, with its time, so that a copy of it is worth nothing later.
pub(super) fn sign(secret: &Secret, secs: u64, body: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.expose().as_bytes());
    let tag = ring::hmac::sign(&key, format!("{secs}.{body}").as_bytes());
    format!("t={secs},v1={}", hex(tag.as_ref()))
}

type Request = ureq::RequestBuilder<ureq::typestate::WithBody>;

/// Status, body, and what a `Retry-After` says.
fn send(request: Request, body: &str) -> Result<(u16, Vec<u8>, Option<u64>), Trouble> {
    // The message of an error has neither headers nor the body in it.
    let failed = |error: ureq::Error| Trouble::later(shown(&error.to_string()));
    let response = request.send(body).map_err(failed)?;
    let status = response.status().as_u16();
    let after_ms = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok())
        .map(|secs| secs.saturating_mul(1_000));
    let mut bytes = Vec::new();
    let mut reader = response.into_body().into_reader().take(REPLY_BYTES_MAX + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| Trouble::later(format!("the reply broke off: {error}")))?;
    if bytes.len() as u64 > REPLY_BYTES_MAX {
        return Err(Trouble::later("the reply is too long"));
    }
    Ok((status, bytes, after_ms))
}

/// What a status means: a fault of the moment, or of this request for good.
fn refused(status: u16, body: &[u8], after_ms: Option<u64>) -> Trouble {
    let text = shown(&String::from_utf8_lossy(body));
    let what = format!("status {status}: {text}");
    let came = match status {
        408 | 409 | 425 | 429 | 500..=599 => Came::Failed { after_ms },
        _ => Came::Declined,
    };
    Trouble { what, came }
}

fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_work_later_is_told_from_what_never_will() {
        for (status, later) in
            [(429, true), (503, true), (500, true), (400, false), (401, false), (302, false)]
        {
            let came = refused(status, b"", Some(7)).came;
            assert_eq!(came == Came::Failed { after_ms: Some(7) }, later, "{status}");
        }
        assert!(refused(500, "x\u{1b}[2J".repeat(500).as_bytes(), None).what.len() < 1_000);
    }
}
