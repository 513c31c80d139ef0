//! Who may ask: see the module above. And what every answer tells the browser.

use super::error::Refused;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, ORIGIN,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

/// Nothing is loaded but the hub's own style; forms go to the hub only; no frames.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// Refuses what may come from a foreign web page, and sets the headers of every response.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut response = match check(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // `no-referrer` would make a browser hide the origin of its own forms.
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn check(method: &Method, headers: &HeaderMap) -> Result<(), Refused> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let host = text(HOST).unwrap_or_default();
    if !names_loopback(host) {
        let shown: String = host.chars().take(80).collect();
        return Err(Refused::new(
            StatusCode::MISDIRECTED_REQUEST,
            "foreign-host",
            format!("'{shown}' is not this hub"),
            "use http://127.0.0.1 or http://localhost with the hub's port",
        ));
    }
    if method == Method::GET || method == Method::HEAD {
        return Ok(());
    }
    let foreign = |message: &str| {
        Refused::new(
            StatusCode::FORBIDDEN,
            "foreign-origin",
            message,
            "send it from the hub's own page, or as JSON from a program",
        )
    };
    let json = text(CONTENT_TYPE).is_some_and(|value| value.starts_with("application/json"));
    match headers.get(ORIGIN).map(HeaderValue::to_str) {
        Some(Ok(origin)) if origin.strip_prefix("http://") == Some(host) => Ok(()),
        Some(_) => Err(foreign("the request comes from another web page")),
        // A browser sends an origin with every form; a program needs none, and a page cannot
        // send JSON elsewhere unasked.
        None if json => Ok(()),
        None => Err(foreign("a form without an origin is not taken")),
    }
}

/// Whether a `Host` is loopback, on any port: tunnels change it.
fn names_loopback(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        Some(_) | None => (host, "0"),
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    port.parse::<u16>().is_ok() && (address || name.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(axum::http::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_loopback_names_are_this_hub() {
        for good in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.0.0.2", "[::1]:80", "[::1]"]
        {
            assert!(names_loopback(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "10.0.0.1",
            "127.0.0.1.evil.example",
            "localhost:x",
            "[::2]:80",
            "0.0.0.0",
        ] {
            assert!(!names_loopback(bad), "{bad}");
        }
    }

    #[test]
    fn what_changes_something_comes_from_here() {
        let host = (HOST, "localhost:80");
        let json = (CONTENT_TYPE, "application/json");
        let form = (CONTENT_TYPE, "application/x-www-form-urlencoded");
        let post = |pairs: &[_]| check(&Method::POST, &headers(pairs)).is_ok();
        assert!(post(&[host.clone(), json.clone()]), "a program");
        assert!(post(&[host.clone(), form.clone(), (ORIGIN, "http://localhost:80")]), "the page");
        assert!(!post(&[host.clone(), form.clone()]), "a form from nowhere");
        for origin in ["http://evil.example", "null", "http://localhost:81", "https://localhost:80"]
        {
            assert!(!post(&[host.clone(), json.clone(), (ORIGIN, origin)]), "{origin}");
        }
        assert!(check(&Method::GET, &headers(&[host])).is_ok());
        assert!(check(&Method::GET, &headers(&[(HOST, "evil.example")])).is_err());
    }
}
