//! `user` and `trail`: accounts of the page and the API, and what was done with them.

use super::args::UserCommand;
use super::failure::Failure;
use super::{BY, Home, open, out};
use crate::database::accounts::{
    self, AddToken, Change, ChangeAccount, ChangeError, RevokeToken, TokenError,
};
use crate::database::{self};
use crate::hub::now_ms;
use crate::identity::Authority;
use crate::password;
use crate::web::session::{TOKEN_PREFIX, digest, secret};
use landfall_hub_core::account::{self, PASSWORD_BYTES_MAX};
use serde_json::json;
use std::io::{IsTerminal, Read, stdin};
use std::path::Path;
use std::process::{Command, Stdio};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

pub(super) fn user(home: &Home, command: UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Add { name, role, password_file } => {
            let name = checked(&name)?;
            let password = new_password(&name, password_file.as_deref())?;
            // Like `enroll`, it may come before the first start.
            Authority::open(&home.data, now_ms())?;
            home.database.remember(&home.data)?;
            let mut books = database::open(&home.database)?;
            let change = Change::Add { role: role.into(), password };
            apply(&mut books, name.clone(), change)?;
            out::line(format!("added {name}; the page asks for a name and a password from now on"));
        }
        UserCommand::Role { name, role } => {
            let name = checked(&name)?;
            apply(&mut open(home)?, name.clone(), Change::Role(role.into()))?;
            out::line(format!("changed the role of {name}"));
        }
        UserCommand::Password { name, password_file } => {
            let name = checked(&name)?;
            let password = new_password(&name, password_file.as_deref())?;
            apply(&mut open(home)?, name.clone(), Change::Password(password))?;
            out::line(format!("changed the password of {name}; its sessions have ended"));
        }
        UserCommand::Remove { name } => {
            let name = checked(&name)?;
            apply(&mut open(home)?, name.clone(), Change::Remove)?;
            out::line(format!("removed {name}, with its sessions and tokens"));
        }
        UserCommand::List { json } => list(home, json)?,
        UserCommand::Token { name, label, days } => token(home, &name, label, days)?,
        UserCommand::RevokeToken { id } => {
            let command = RevokeToken { id, by: BY.to_owned(), now_ms: now_ms() };
            let valid = database::apply(&mut open(home)?, &command)?;
            out::line(match valid {
                true => format!("revoked token #{id}"),
                false => format!("there is no valid token #{id}"),
            });
        }
    }
    Ok(())
}

fn checked(name: &str) -> Result<String, Failure> {
    account::name(name).map_err(|error| Failure::usage(error.to_string(), "choose another name"))
}

fn apply(
    books: &mut database::sql::Connection,
    name: String,
    change: Change,
) -> Result<(), Failure> {
    let command = ChangeAccount { name, change, by: BY.to_owned(), now_ms: now_ms() };
    Ok(database::apply(books, &command)??)
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Failure {
        let remedy = match &error {
            ChangeError::Taken(_) => "choose another name",
            ChangeError::Unknown(_) => "`landfall-hub user list` shows them",
            ChangeError::LastAdmin(_) => "`landfall-hub user role NAME admin` makes another",
            ChangeError::FirstAdmin => "pass --role admin",
        };
        Failure::new(error.to_string(), remedy)
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Failure {
        match error {
            TokenError::Account(error) => error.into(),
            TokenError::TooMany => {
                Failure::new(error.to_string(), "`landfall-hub user revoke-token ID` revokes one")
            }
        }
    }
}

/// Reads a new password from a file or standard input, and hashes it.
fn new_password(name: &str, file: Option<&Path>) -> Result<String, Failure> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            let at = path.display();
            Failure::usage(format!("cannot read {at}: {error}"), "check --password-file")
        })?,
        None => from_stdin()?,
    };
    let password = text.trim_end_matches(['\n', '\r']);
    account::password(name, password)
        .map_err(|error| Failure::usage(error.to_string(), "choose another password"))?;
    password::hash(password).map_err(|error| Failure::new(error.to_string(), ""))
}

fn from_stdin() -> Result<String, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(format!("cannot read the password: {error}"), "");
    let mut text = String::new();
    if stdin().is_terminal() {
        out::note("the new password, not shown, and Enter:");
        let _dark = Dark::new();
        stdin().read_line(&mut text).map_err(failed)?;
    } else {
        let mut limited = stdin().take(PASSWORD_BYTES_MAX as u64 + 3);
        limited.read_to_string(&mut text).map_err(failed)?;
    }
    Ok(text)
}

/// A terminal that does not show what is typed, as long as this is there.
struct Dark;

impl Dark {
    fn new() -> Dark {
        stty("-echo");
        Dark
    }
}

impl Drop for Dark {
    fn drop(&mut self) {
        stty("echo");
    }
}

fn stty(what: &str) {
    // Where there is none, the password is seen as it is typed.
    let _ = Command::new("stty").arg(what).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

fn list(home: &Home, json: bool) -> Result<(), Failure> {
    let accounts = accounts::list(&open(home)?)?;
    if json {
        out::json(&json!({ "accounts": accounts }));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = accounts
        .into_iter()
        .map(|account| {
            let tokens = account.tokens.iter().map(|it| format!("#{} {}", it.id, it.label));
            let tokens = tokens.collect::<Vec<_>>().join(", ");
            let seen = account.seen_at.unwrap_or_else(|| "never".to_owned());
            vec![account.name, account.role, account.created_at, seen, tokens]
        })
        .collect();
    out::table(&["NAME", "ROLE", "MADE", "LAST SEEN", "TOKENS"], &rows);
    Ok(())
}

fn token(home: &Home, name: &str, label: String, days: Option<u32>) -> Result<(), Failure> {
    let secret = secret().map_err(|error| Failure::new(error, ""))?;
    let token = format!("{TOKEN_PREFIX}{secret}");
    let now_ms = now_ms();
    let command = AddToken {
        name: checked(name)?,
        digest: digest(&token),
        label,
        expires_ms: days.map(|days| now_ms + u64::from(days) * DAY_MS),
        by: BY.to_owned(),
        now_ms,
    };
    database::apply(&mut open(home)?, &command)??;
    out::note("the token is shown once; send it as `Authorization: Bearer TOKEN`");
    out::line(token);
    Ok(())
}

pub(super) fn trail(home: &Home, limit: u32, json: bool) -> Result<(), Failure> {
    let lines = accounts::trail_lines(&open(home)?, None, limit)?;
    if json {
        out::json(&json!({ "trail": lines }));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = lines
        .into_iter()
        .map(|line| vec![line.at, line.who, line.what, line.subject, line.detail])
        .collect();
    out::table(&["WHEN", "WHO", "WHAT", "TO WHAT", "HOW"], &rows);
    Ok(())
}
