//! Keeps web pages out. A browser on this machine may be made to call us, by a page of another
//! origin or by a name that an attacker points at 127.0.0.1 (DNS rebinding); both show in
//! `Host` and `Origin`.

use super::error::ApiError;
use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Lets a request through if it is addressed to, and comes from, this machine by name.
pub(super) async fn check(request: Request, next: Next) -> Response {
    match problem(request.headers()) {
        None => next.run(request).await,
        Some(message) => ApiError::new(StatusCode::FORBIDDEN, "foreign-origin", message)
            .remedy("address the agent as 127.0.0.1 or localhost, and not from a web page")
            .into_response(),
    }
}

fn problem(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(&name).map(|v| String::from_utf8_lossy(v.as_bytes()));
    // HTTP/1.0 clients may leave Host out; a browser never does.
    if let Some(host) = text(HOST)
        && !is_loopback(&host)
    {
        return Some(format!("the Host header names '{host}', not this machine"));
    }
    if let Some(origin) = text(ORIGIN)
        && !origin.split_once("://").is_some_and(|(_, host)| is_loopback(host))
    {
        return Some(format!("the request comes from a page of '{origin}'"));
    }
    None
}

/// Whether `host`, with or without a port, is this machine by a name that nobody else controls.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_by_name_passes() {
        for good in ["localhost", "LOCALHOST:80", "127.0.0.1:8017", "127.1.2.3", "[::1]:8017"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in ["", "evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "localhost.x:1"] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }

    #[test]
    fn pages_of_others_are_named() {
        let mut headers = HeaderMap::new();
        assert_eq!(problem(&headers), None);
        headers.insert(HOST, "localhost:8017".parse().unwrap());
        headers.insert(ORIGIN, "https://evil.example".parse().unwrap());
        assert!(problem(&headers).unwrap().contains("evil.example"));
        headers.insert(ORIGIN, "null".parse().unwrap());
        assert!(problem(&headers).is_some());
        headers.insert(ORIGIN, "http://127.0.0.1:3000".parse().unwrap());
        assert_eq!(problem(&headers), None);
    }
}
