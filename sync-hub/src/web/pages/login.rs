//! The way in and out, and one's own password.

use super::{Sorry, put};
use crate::database::accounts::{self, Change, ChangeAccount, SignIn, Touch};
use crate::hub::now_ms;
use crate::web::App;
use crate::web::error::Refused;
use crate::web::form;
use crate::web::html::{Esc, HtmlPage};
use crate::web::session::{self, Actor, COOKIE, csrf_field, set_cookie};
use crate::web::tls::Peer;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{RETRY_AFTER, SET_COOKIE};
use axum::response::{IntoResponse, Redirect, Response};
use landfall_hub_core::account::{self, NAME_BYTES_MAX, PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};
use std::fmt::Write;

/// One answer for a wrong name and a wrong password.
const WRONG: &str = "The name or the password is not right.";

pub(in crate::web) async fn login(RawQuery(query): RawQuery) -> Response {
    let next = field(&query.unwrap_or_default(), "next");
    if session::actor().role().is_some() {
        return Redirect::to(local(&next)).into_response();
    }
    page(&next, "", None).into_response()
}

/// A path of this hub; what leads elsewhere becomes the first page.
fn local(next: &str) -> &str {
    let plain = next.starts_with('/') && !next.starts_with("//") && !next.contains('\\');
    if plain && !next.contains(char::is_control) { next } else { "/" }
}

fn field(text: &str, name: &str) -> String {
    let found = form::parse(text).into_iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value).unwrap_or_default()
}

fn page(next: &str, name: &str, notice: Option<&str>) -> HtmlPage {
    let mut html = String::new();
    if let Some(notice) = notice {
        put!(html, "<p class=\"notice bad\" role=\"alert\">{}</p>", Esc(notice));
    }
    put!(
        html,
        "<form class=\"answer\" method=\"post\" action=\"/login\">\
         <input type=\"hidden\" name=\"next\" value=\"{}\">\
         <label for=\"name\">Name</label><input id=\"name\" name=\"name\" required autofocus \
         maxlength=\"{NAME_BYTES_MAX}\" autocomplete=\"username\" autocapitalize=\"none\" \
         value=\"{}\"><label for=\"password\">Password</label>\
         <input id=\"password\" name=\"password\" type=\"password\" required \
         maxlength=\"{PASSWORD_BYTES_MAX}\" autocomplete=\"current-password\">\
         <button>Sign in</button></form>",
        Esc(local(next)),
        Esc(name),
    );
    HtmlPage::new("", "Sign in", html)
}

pub(in crate::web) async fn sign_in(
    State(app): State<App>,
    ConnectInfo(Peer(from)): ConnectInfo<Peer>,
    body: String,
) -> Result<Response, Sorry> {
    let (next, typed) = (field(&body, "next"), field(&body, "name"));
    let password = field(&body, "password");
    let now_ms = now_ms();
    let address = from.ip().to_string();
    let name = account::name(&typed).unwrap_or_default();
    let keys = [name.as_str(), address.as_str()];
    let wait_ms = app.doors.throttle().wait_ms(&keys, now_ms);
    if wait_ms > 0 {
        let secs = wait_ms.div_ceil(1_000);
        let notice = format!("Too many wrong passwords. Try again in {secs} seconds.");
        let mut page = page(&next, &typed, Some(&notice));
        page.status = StatusCode::TOO_MANY_REQUESTS;
        return Ok(([(RETRY_AFTER, secs.to_string())], page).into_response());
    }
    // Counted before it is verified: many at once must not share one try.
    app.doors.throttle().failed(&keys, now_ms);
    let wanted = name.clone();
    let found = app.database.read(move |reader| accounts::password(reader, &wanted)).await?;
    let (who, hash) = found.unzip();
    let short = password.len() <= PASSWORD_BYTES_MAX;
    let right = app.doors.passwords.verify(password, hash.filter(|_| short)).await;
    let Some(who) = who.filter(|_| right) else {
        tracing::warn!(account = name, from = address, "a wrong password, or no such account");
        let mut page = page(&next, &typed, Some(WRONG));
        page.status = StatusCode::UNAUTHORIZED;
        return Ok(page.into_response());
    };
    app.doors.throttle().succeeded(&name);
    let secret = session::secret().map_err(no_randomness)?;
    let digest = session::digest(&secret);
    let sign_in = SignIn { account: who.account, name: who.name, digest, from: address, now_ms };
    app.database.write(sign_in).await?;
    let cookie = set_cookie(COOKIE, &secret, accounts::SESSION_MS_MAX / 1_000, app.tls);
    Ok(([(SET_COOKIE, cookie)], Redirect::to(local(&next))).into_response())
}

fn no_randomness(error: String) -> Refused {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Refused::new(status, "no-randomness", error, "see the hub's log")
}

pub(in crate::web) async fn sign_out(State(app): State<App>) -> Result<Response, Sorry> {
    if let Actor::Person { digest, .. } = session::actor() {
        app.database.write(Touch { digest, end: true, now_ms: now_ms() }).await?;
    }
    let cookie = set_cookie(COOKIE, "", 0, app.tls);
    Ok(([(SET_COOKIE, cookie)], Redirect::to("/login")).into_response())
}

/// One's own account.
pub(in crate::web) async fn own(State(_): State<App>) -> HtmlPage {
    own_page(None)
}

fn own_page(notice: Option<(&str, bool)>) -> HtmlPage {
    let mut html = String::new();
    if let Some((notice, good)) = notice {
        let class = if good { "notice" } else { "notice bad" };
        put!(html, "<p class=\"{class}\" role=\"alert\">{}</p>", Esc(notice));
    }
    let Actor::Person { who, .. } = session::actor() else {
        html.push_str(
            "<p>There are no accounts on this hub: whoever reaches it on its own machine may do \
             everything. <code>landfall-hub user add NAME --role admin</code> makes the first.</p>",
        );
        return HtmlPage::new("", "Account", html);
    };
    put!(
        html,
        "<p>Signed in as <b>{}</b> ({}).</p>\
         <form method=\"post\" action=\"/logout\">{csrf}<button>Sign out</button></form>\
         <h2>Change the password</h2><form class=\"answer\" method=\"post\" action=\"/account\">{csrf}\
         <label for=\"old\">Password now</label><input id=\"old\" name=\"old\" type=\"password\" \
         required autocomplete=\"current-password\"><label for=\"new\">New password, \
         {PASSWORD_CHARS_MIN} characters or more</label><input id=\"new\" name=\"new\" \
         type=\"password\" required minlength=\"{PASSWORD_CHARS_MIN}\" \
         autocomplete=\"new-password\"><button>Change</button></form>",
        Esc(&who.name),
        who.role,
        csrf = csrf_field(),
    );
    HtmlPage::new("", "Account", html)
}

pub(in crate::web) async fn change_own(
    State(app): State<App>,
    body: String,
) -> Result<Response, Sorry> {
    let Actor::Person { who, .. } = session::actor() else {
        return Ok(own_page(None).into_response());
    };
    let (old, new) = (field(&body, "old"), field(&body, "new"));
    let now_ms = now_ms();
    let refused = |notice: &str| {
        let mut page = own_page(Some((notice, false)));
        page.status = StatusCode::UNPROCESSABLE_ENTITY;
        Ok(page.into_response())
    };
    let keys = [who.name.as_str()];
    if app.doors.throttle().wait_ms(&keys, now_ms) > 0 {
        return refused("Too many wrong passwords. Wait a little.");
    }
    let name = who.name.clone();
    let found = app.database.read(move |reader| accounts::password(reader, &name)).await?;
    app.doors.throttle().failed(&keys, now_ms);
    if !app.doors.passwords.verify(old, found.map(|(_, hash)| hash)).await {
        return refused("The password is not right.");
    }
    app.doors.throttle().succeeded(&who.name);
    if let Err(error) = account::password(&who.name, &new) {
        return refused(&error.to_string());
    }
    let hash = app.doors.passwords.hash(new).await;
    let hash = hash.map_err(|error| no_randomness(error.to_string()))?;
    let change = ChangeAccount {
        name: who.name.clone(),
        change: Change::Password(hash),
        by: who.name,
        now_ms,
    };
    match app.database.write(change).await? {
        // Its sessions have ended, this one too.
        Ok(()) => Ok(Redirect::to("/login").into_response()),
        Err(error) => refused(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn signing_in_leads_nowhere_else() {
        assert_eq!(local("/desk?task=a"), "/desk?task=a");
        for elsewhere in ["", "https://evil.example", "//evil.example", "/\\evil", "/a\r\nb"] {
            assert_eq!(local(elsewhere), "/", "{elsewhere}");
        }
    }
}
