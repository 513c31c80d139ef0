//! Who may ask what: see the module above. And what every answer tells the browser.

use super::App;
use super::error::Refused;
use super::form;
use super::html::HtmlPage;
use super::session::{self, Actor};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST, HeaderValue,
    LOCATION, ORIGIN, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use landfall_hub_core::account::Role;
use std::net::IpAddr;

/// Nothing is loaded but the hub's own style and script, which talks to the hub only; forms go
/// to the hub only; no frames.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
                      img-src data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// Header of the form token, for requests that are no forms.
const CSRF_HEADER: &str = "x-csrf-token";

/// Refuses who may not ask, and what may come from a foreign web page; sets the headers of every
/// response.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let page = !is_api(request.uri().path());
    let mut response = match admit(&app, request).await {
        Ok(Admitted { actor, request }) => session::scope(actor, next.run(request)).await,
        Err(Denied::Refused(refused)) if page => sorry(&refused),
        Err(Denied::Refused(refused)) => refused.into_response(),
        Err(Denied::SignIn(to)) => (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response(),
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
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

/// A refusal before it is known who asks.
fn sorry(refused: &Refused) -> Response {
    let body = format!(
        "<p class=\"notice bad\">{}</p><p>{}</p>",
        super::html::Esc(&refused.message),
        super::html::Esc(&refused.remedy)
    );
    HtmlPage { status: refused.status, title: "Sorry".to_owned(), section: "", body }
        .into_response()
}

struct Admitted {
    actor: Actor,
    request: Request,
}

enum Denied {
    Refused(Refused),
    /// To this page.
    SignIn(String),
}

impl<E: Into<Refused>> From<E> for Denied {
    fn from(error: E) -> Denied {
        Denied::Refused(error.into())
    }
}

fn is_api(path: &str) -> bool {
    path.starts_with("/api/") || path == "/metrics" || path == "/healthz" || path == "/readyz"
}

/// What may be seen by anybody who reaches the hub: that it lives, how to ask, and the way in.
fn is_public(path: &str) -> bool {
    let public = ["/login", "/style.css", "/hub.js", "/healthz", "/readyz", "/api/v1/openapi.json"];
    public.contains(&path)
}

/// What somebody must be allowed to.
pub(super) fn needs(method: &Method, path: &str) -> Role {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let under = |roots: &[&str]| {
        roots.iter().any(|root| {
            path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    if under(&["/accounts", "/trail"]) {
        return Role::Admin;
    }
    if method == Method::GET || method == Method::HEAD || under(&["/account", "/logout"]) {
        return Role::Viewer;
    }
    if under(&["/releases", "/rollouts"]) {
        return Role::Releaser;
    }
    Role::Operator
}

async fn admit(app: &App, request: Request) -> Result<Admitted, Denied> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let headers = request.headers();
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let actor = session::actor_of(app, text(AUTHORIZATION), text(COOKIE)).await?;
    if matches!(actor, Actor::Open) {
        if !app.loopback {
            return Err(Denied::Refused(no_accounts()));
        }
        check_host(headers)?;
    }
    check_origin(&method, headers, &actor, app.tls)?;
    if !is_public(&path) {
        let needed = needs(&method, &path);
        match actor.role() {
            None if method == Method::GET && !is_api(&path) => {
                let here = request.uri().path_and_query().map_or("/", |it| it.as_str());
                return Err(Denied::SignIn(format!("/login?next={}", form::encode(here))));
            }
            None => return Err(Denied::Refused(not_signed_in())),
            Some(role) if role < needed => return Err(Denied::Refused(not_allowed(role, needed))),
            Some(_) => {}
        }
    }
    let request = match &actor {
        Actor::Person { csrf, .. } if method != Method::GET && method != Method::HEAD => {
            check_token(request, csrf).await?
        }
        _ => request,
    };
    Ok(Admitted { actor, request })
}

fn no_accounts() -> Refused {
    Refused::new(
        StatusCode::FORBIDDEN,
        "no-accounts",
        "this hub has no accounts, so it serves its own machine only",
        "make one on the hub: landfall-hub user add NAME --role admin",
    )
}

fn not_signed_in() -> Refused {
    Refused::new(
        StatusCode::UNAUTHORIZED,
        "not-signed-in",
        "who asks is not known",
        "send `Authorization: Bearer TOKEN`; `landfall-hub user token NAME` makes one",
    )
}

fn not_allowed(role: Role, needed: Role) -> Refused {
    Refused::new(
        StatusCode::FORBIDDEN,
        "not-allowed",
        format!("a {role} may not do this"),
        format!("ask an admin to make you {needed}"),
    )
}

/// A form of the hub carries the session's token, which a foreign page cannot know.
async fn check_token(request: Request, csrf: &str) -> Result<Request, Denied> {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, super::BODY_BYTES_MAX).await.map_err(|_| {
        Refused::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "the request is too large",
            "send less at once",
        )
    })?;
    let header = parts.headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
    let given = match header {
        Some(header) => Some(header.to_owned()),
        None => std::str::from_utf8(&bytes).ok().and_then(|text| {
            form::parse(text).into_iter().find(|(key, _)| key == "csrf").map(|(_, value)| value)
        }),
    };
    if given.as_deref() != Some(csrf) {
        return Err(Denied::Refused(Refused::new(
            StatusCode::FORBIDDEN,
            "foreign-form",
            "the form was not made for this session",
            "go back, load the page again, and send it once more",
        )));
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// Without accounts the hub is asked by a loopback name, so that no web page elsewhere reaches
/// it by pointing its own name at 127.0.0.1. With accounts, such a page has no session.
fn check_host(headers: &HeaderMap) -> Result<(), Refused> {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if names_loopback(host) {
        return Ok(());
    }
    let shown: String = host.chars().take(80).collect();
    Err(Refused::new(
        StatusCode::MISDIRECTED_REQUEST,
        "foreign-host",
        format!("'{shown}' is not this hub"),
        "use http://127.0.0.1 or http://localhost with the hub's port",
    ))
}

fn check_origin(
    method: &Method,
    headers: &HeaderMap,
    actor: &Actor,
    tls: bool,
) -> Result<(), Refused> {
    // A page elsewhere cannot send somebody else's token.
    if method == Method::GET || method == Method::HEAD || matches!(actor, Actor::Program { .. }) {
        return Ok(());
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let host = text(HOST).unwrap_or_default();
    let foreign = |message: &str| {
        Refused::new(
            StatusCode::FORBIDDEN,
            "foreign-origin",
            message,
            "send it from the hub's own page, or as JSON from a program",
        )
    };
    let scheme = if tls { "https://" } else { "http://" };
    let json = text(CONTENT_TYPE).is_some_and(|value| value.starts_with("application/json"));
    match headers.get(ORIGIN).map(HeaderValue::to_str) {
        Some(Ok(origin)) if origin.strip_prefix(scheme) == Some(host) => Ok(()),
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
        let asks = |method: Method, pairs: &[_], tls| {
            check_origin(&method, &headers(pairs), &Actor::Open, tls).is_ok()
        };
        let post = |pairs: &[_]| asks(Method::POST, pairs, false);
        assert!(post(&[host.clone(), json.clone()]), "a program");
        assert!(post(&[host.clone(), form.clone(), (ORIGIN, "http://localhost:80")]), "the page");
        assert!(!post(&[host.clone(), form.clone()]), "a form from nowhere");
        for origin in ["http://evil.example", "null", "http://localhost:81", "https://localhost:80"]
        {
            assert!(!post(&[host.clone(), json.clone(), (ORIGIN, origin)]), "{origin}");
        }
        let https = [host.clone(), form, (ORIGIN, "https://localhost:80")];
        assert!(asks(Method::POST, &https, true) && !post(&https));
        assert!(asks(Method::GET, std::slice::from_ref(&host), false));
        assert!(check_host(&headers(&[host])).is_ok());
        assert!(check_host(&headers(&[(HOST, "evil.example")])).is_err());
    }

    #[test]
    fn every_role_has_its_part() {
        for (method, path, role) in [
            (Method::GET, "/", Role::Viewer),
            (Method::GET, "/api/v1/escalations", Role::Viewer),
            (Method::POST, "/desk/next", Role::Operator),
            (Method::POST, "/api/v1/escalations/ship-7/x/answer", Role::Operator),
            (Method::POST, "/api/v1/rollouts", Role::Releaser),
            (Method::POST, "/rollouts/3/halt", Role::Releaser),
            (Method::POST, "/rolloutsx", Role::Operator),
            (Method::GET, "/accounts", Role::Admin),
            (Method::POST, "/accounts", Role::Admin),
            (Method::GET, "/api/v1/trail", Role::Admin),
            (Method::POST, "/account", Role::Viewer),
            (Method::POST, "/logout", Role::Viewer),
        ] {
            assert_eq!(needs(&method, path), role, "{method} {path}");
        }
    }
}
