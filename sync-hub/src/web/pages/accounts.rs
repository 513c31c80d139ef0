//! Accounts and the trail, for admins.

use super::{Sorry, option, put, time};
use crate::database::accounts::{self, AccountView, Change, ChangeAccount, TrailView};
use crate::hub::now_ms;
use crate::web::App;
use crate::web::error::Refused;
use crate::web::form;
use crate::web::html::{Esc, HtmlPage};
use crate::web::session::{self, csrf_field};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use landfall_hub_core::account::{self, NAME_BYTES_MAX, PASSWORD_CHARS_MIN, Role};
use std::fmt::Write;

/// Lines of the trail on one page.
const TRAIL_ROWS: u32 = 100;

pub(in crate::web) async fn accounts(State(app): State<App>) -> Result<HtmlPage, Sorry> {
    let list = app.database.read(accounts::list).await?;
    Ok(page(&list, None))
}

fn page(list: &[AccountView], notice: Option<&str>) -> HtmlPage {
    let mut html = String::new();
    if let Some(notice) = notice {
        put!(html, "<p class=\"notice bad\" role=\"alert\">{}</p>", Esc(notice));
    }
    html.push_str(
        "<div class=\"wide\"><table><thead><tr><th>Name<th>Role<th>Made<th>Last seen<th>Tokens\
         <th>Change</tr></thead><tbody>",
    );
    for account in list {
        row(&mut html, account);
    }
    html.push_str("</tbody></table></div>");
    if list.is_empty() {
        html.push_str(
            "<p>There are no accounts: whoever reaches this hub on its own machine may do \
             everything. The first is made on the hub: \
             <code>landfall-hub user add NAME --role admin</code>.</p>",
        );
    } else {
        put!(
            html,
            "<h2>New account</h2><form class=\"answer\" method=\"post\" action=\"/accounts\">{}\
             <input type=\"hidden\" name=\"change\" value=\"add\">\
             <label for=\"name\">Name</label><input id=\"name\" name=\"name\" required \
             maxlength=\"{NAME_BYTES_MAX}\" autocapitalize=\"none\" autocomplete=\"off\">\
             <label for=\"role\">Role</label><select id=\"role\" name=\"role\">{}</select>\
             <label for=\"password\">First password, {PASSWORD_CHARS_MIN} characters or more</label>\
             <input id=\"password\" name=\"password\" type=\"password\" required \
             minlength=\"{PASSWORD_CHARS_MIN}\" autocomplete=\"new-password\">\
             <button>Make the account</button></form>",
            csrf_field(),
            roles(Role::Operator.name()),
        );
    }
    html.push_str("<p><a href=\"/trail\">Who did what</a></p>");
    HtmlPage::new("/accounts", "Accounts", html)
}

fn roles(chosen: &str) -> String {
    Role::ALL.map(|role| option(role.name(), role.name(), role.name() == chosen)).concat()
}

fn row(html: &mut String, account: &AccountView) {
    put!(
        html,
        "<tr><th scope=\"row\">{0}</th><td>{1}<td>{2}<td>{3}<td>",
        Esc(&account.name),
        Esc(&account.role),
        time(&account.created_at),
        account.seen_at.as_deref().map_or("never".to_owned(), time),
    );
    for token in &account.tokens {
        put!(html, "{} <span class=\"soft\">#{}</span><br>", Esc(&token.label), token.id);
    }
    put!(
        html,
        "<td><form method=\"post\" action=\"/accounts\" class=\"inline\">{csrf}\
         <input type=\"hidden\" name=\"name\" value=\"{name}\">\
         <select name=\"role\" aria-label=\"Role of {name}\">{roles}</select>\
         <button name=\"change\" value=\"role\">Set role</button>\
         <button name=\"change\" value=\"remove\">Remove</button></form></tr>",
        csrf = csrf_field(),
        name = Esc(&account.name),
        roles = roles(&account.role),
    );
}

pub(in crate::web) async fn change(
    State(app): State<App>,
    body: String,
) -> Result<Response, Sorry> {
    let field = |name: &str| {
        let found = form::parse(&body).into_iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value).unwrap_or_default()
    };
    match apply(&app, &field).await? {
        Ok(()) => Ok(Redirect::to("/accounts").into_response()),
        Err(notice) => {
            let list = app.database.read(accounts::list).await?;
            let mut page = page(&list, Some(&notice));
            page.status = StatusCode::UNPROCESSABLE_ENTITY;
            Ok(page.into_response())
        }
    }
}

async fn apply(
    app: &App,
    field: &(dyn Fn(&str) -> String + Sync),
) -> Result<Result<(), String>, Refused> {
    let name = match account::name(&field("name")) {
        Ok(name) => name,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let role = field("role").parse::<Role>();
    let change = match field("change").as_str() {
        "add" => {
            let password = field("password");
            if let Err(error) = account::password(&name, &password) {
                return Ok(Err(error.to_string()));
            }
            let hash = app.doors.passwords.hash(password).await;
            match (hash, role) {
                (Ok(password), Ok(role)) => Change::Add { role, password },
                (Err(error), _) => return Ok(Err(error.to_string())),
                (_, Err(error)) => return Ok(Err(error)),
            }
        }
        "role" => match role {
            Ok(role) => Change::Role(role),
            Err(error) => return Ok(Err(error)),
        },
        "remove" => Change::Remove,
        _ => return Ok(Err("that is no change".to_owned())),
    };
    let by = session::actor().in_trail();
    let command = ChangeAccount { name, change, by, now_ms: now_ms() };
    Ok(app.database.write(command).await?.map_err(|error| error.to_string()))
}

pub(in crate::web) async fn trail(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<HtmlPage, Sorry> {
    let pairs = form::parse(query.as_deref().unwrap_or_default());
    let after = pairs.iter().find(|(key, _)| key == "after").and_then(|(_, it)| it.parse().ok());
    let lines =
        app.database.read(move |reader| accounts::trail_lines(reader, after, TRAIL_ROWS)).await?;
    let mut html = String::from(
        "<div class=\"wide\"><table><thead><tr><th>When<th>Who<th>What<th>To what<th>How\
         </tr></thead><tbody>",
    );
    for TrailView { at, who, what, subject, detail, .. } in &lines {
        put!(
            html,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            time(at),
            Esc(who),
            Esc(what),
            Esc(subject),
            Esc(detail)
        );
    }
    html.push_str("</tbody></table></div>");
    if lines.len() == TRAIL_ROWS as usize
        && let Some(last) = lines.last()
    {
        put!(html, "<p><a rel=\"next\" href=\"/trail?after={}\">More</a></p>", last.id);
    }
    Ok(HtmlPage::new("/accounts", "Who did what", html))
}
