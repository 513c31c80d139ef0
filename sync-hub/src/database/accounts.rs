//! Accounts, sessions, tokens, and the trail of what people did.
//!
//! Of a session and of a token only the SHA-256 is kept: 32 random bytes need no slow hash, and
//! who reads the database cannot use either. An account that was removed stays as a row, so that
//! its name is never given to somebody else who would stand under old answers.

use super::sql::{self, Connection, params};
use super::views::time;
use super::{Command, number, unsigned};
use landfall_hub_core::account::Role;
use serde::{Deserialize, Serialize};

/// A session ends after this time without use: a shift.
pub const SESSION_IDLE_MS: u64 = 12 * 60 * 60 * 1_000;

/// A session ends after this time in any case.
pub const SESSION_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;

/// Use is noted this often at most: not every look at a page is worth a commit.
pub const SEEN_EVERY_MS: u64 = 5 * 60 * 1_000;

/// Tokens of one account; each belongs to a program.
const TOKENS_MAX: u32 = 50;

/// Longest detail in the trail, in bytes.
const DETAIL_BYTES_MAX: usize = 1_000;

/// SHA-256 of a session or a token.
pub type Digest = [u8; 32];

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// Row of the account.
    pub account: i64,
    /// Its name.
    pub name: String,
    /// What it may.
    pub role: Role,
}

fn who(row: &sql::Row<'_>) -> sql::Result<Who> {
    Ok(Who { account: row.get(0)?, name: row.get(1)?, role: role(row, 2)? })
}

fn role(row: &sql::Row<'_>, index: usize) -> sql::Result<Role> {
    let text: String = row.get(index)?;
    text.parse().map_err(|problem: String| sql::SqlError::Column { index, problem })
}

/// Whether there is any account: without one, the page is open on loopback.
///
/// # Errors
/// Those of the database, here and below.
pub fn any(connection: &Connection) -> sql::Result<bool> {
    let sql = "SELECT 1 FROM account WHERE removed_ms IS NULL LIMIT 1";
    Ok(connection.maybe(sql, &[], |row| row.get::<i64>(0))?.is_some())
}

/// Whose session this is, and when it was last used; `None` if it has ended.
///
/// # Errors
/// Those of the database.
pub fn session(
    connection: &Connection,
    digest: &Digest,
    now_ms: u64,
) -> sql::Result<Option<(Who, u64)>> {
    let sql = "SELECT account.id, account.name, account.role, session.seen_ms
               FROM session JOIN account ON account.id = session.account
               WHERE session.digest = ?1 AND account.removed_ms IS NULL
                 AND session.seen_ms > ?2 AND session.created_ms > ?3";
    let idle = number(now_ms.saturating_sub(SESSION_IDLE_MS));
    let oldest = number(now_ms.saturating_sub(SESSION_MS_MAX));
    connection.maybe(sql, params![&digest[..], idle, oldest], |row| {
        Ok((who(row)?, unsigned(row.get(3)?)))
    })
}

/// Whose token this is; `None` if it is not valid.
///
/// # Errors
/// Those of the database.
pub fn token(connection: &Connection, digest: &Digest, now_ms: u64) -> sql::Result<Option<Who>> {
    let sql = "SELECT account.id, account.name, account.role
               FROM token JOIN account ON account.id = token.account
               WHERE token.digest = ?1 AND account.removed_ms IS NULL
                 AND token.revoked_ms IS NULL
                 AND (token.expires_ms IS NULL OR token.expires_ms > ?2)";
    connection.maybe(sql, params![&digest[..], number(now_ms)], who)
}

/// An account and the hash of its password, for signing in.
///
/// # Errors
/// Those of the database.
pub fn password(connection: &Connection, name: &str) -> sql::Result<Option<(Who, String)>> {
    let sql = "SELECT id, name, role, password FROM account
               WHERE name = ?1 AND removed_ms IS NULL";
    connection.maybe(sql, params![name], |row| Ok((who(row)?, row.get(3)?)))
}

/// An account as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccountView {
    /// Its name.
    pub name: String,
    /// `viewer`, `operator`, `releaser` or `admin`.
    pub role: String,
    /// When it was made.
    pub created_at: String,
    /// Its last session.
    pub seen_at: Option<String>,
    /// Its valid tokens.
    pub tokens: Vec<TokenView>,
}

/// A token as it is shown; the token itself is shown once, when it is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenView {
    /// Its number, to revoke it.
    pub id: i64,
    /// What it is for.
    pub label: String,
    /// When it was made.
    pub created_at: String,
    /// When it ends.
    pub expires_at: Option<String>,
}

/// The accounts, by name.
///
/// # Errors
/// Those of the database.
pub fn list(connection: &Connection) -> sql::Result<Vec<AccountView>> {
    let sql = "SELECT account.id, name, role, created_ms,
                   (SELECT max(seen_ms) FROM session WHERE session.account = account.id)
               FROM account WHERE removed_ms IS NULL ORDER BY name";
    let accounts = connection.rows(sql, &[], |row| {
        let view = AccountView {
            name: row.get(1)?,
            role: row.get(2)?,
            created_at: time(row.get(3)?),
            seen_at: row.get::<Option<i64>>(4)?.map(time),
            tokens: Vec::new(),
        };
        Ok((row.get::<i64>(0)?, view))
    })?;
    let with_tokens = accounts.into_iter().map(|(id, mut view)| {
        let sql = "SELECT id, label, created_ms, expires_ms FROM token
                   WHERE account = ?1 AND revoked_ms IS NULL ORDER BY id";
        view.tokens = connection.rows(sql, params![id], |row| {
            Ok(TokenView {
                id: row.get(0)?,
                label: row.get(1)?,
                created_at: time(row.get(2)?),
                expires_at: row.get::<Option<i64>>(3)?.map(time),
            })
        })?;
        Ok(view)
    });
    with_tokens.collect()
}

/// Something about an account is to be changed.
#[derive(Debug, Clone)]
pub enum Change {
    /// Make it.
    Add {
        /// What it may.
        role: Role,
        /// Hash of its password.
        password: String,
    },
    /// Let it do more or less.
    Role(Role),
    /// Another password, by its hash; ends its sessions.
    Password(String),
    /// Take it away, with its sessions and tokens.
    Remove,
}

/// Changes an account.
#[derive(Debug)]
pub struct ChangeAccount {
    /// Its name, as checked.
    pub name: String,
    /// What is to be changed.
    pub change: Change,
    /// Who changes it.
    pub by: String,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

/// Why an account was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// There is one of the name, or was.
    #[error("there is or was an account {0}: names are not given twice")]
    Taken(String),
    /// There is none.
    #[error("there is no account {0}")]
    Unknown(String),
    /// Nobody could manage accounts any more.
    #[error("{0} is the last admin: make another one first")]
    LastAdmin(String),
    /// The first one must be able to make others.
    #[error("the first account must be an admin")]
    FirstAdmin,
}

impl Command for ChangeAccount {
    type Done = Result<(), ChangeError>;

    fn apply(&self, tx: &Connection) -> sql::Result<Self::Done> {
        let now_ms = number(self.now_ms);
        let name = &self.name;
        let found = tx.maybe(
            "SELECT id, role, removed_ms FROM account WHERE name = ?1",
            params![name],
            |row| Ok((row.get::<i64>(0)?, role(row, 1)?, row.get::<Option<i64>>(2)?.is_some())),
        )?;
        if let Change::Add { role, password } = &self.change {
            if found.is_some() {
                return Ok(Err(ChangeError::Taken(name.clone())));
            }
            if *role != Role::Admin && !any(tx)? {
                return Ok(Err(ChangeError::FirstAdmin));
            }
            tx.execute(
                "INSERT INTO account (name, role, password, created_ms) VALUES (?1, ?2, ?3, ?4)",
                params![name, role.name(), password, now_ms],
            )?;
            return trail(tx, self.now_ms, (&self.by, "account added", name, role.name())).map(Ok);
        }
        let Some((id, old_role, false)) = found else {
            return Ok(Err(ChangeError::Unknown(name.clone())));
        };
        let loses_admin = match &self.change {
            Change::Add { .. } | Change::Password(_) => false,
            Change::Role(role) => *role != Role::Admin,
            Change::Remove => true,
        };
        if loses_admin && old_role == Role::Admin && admins(tx)? <= 1 {
            return Ok(Err(ChangeError::LastAdmin(name.clone())));
        }
        let (what, detail) = match &self.change {
            Change::Add { .. } => ("", ""),
            Change::Role(role) => {
                let sql = "UPDATE account SET role = ?2 WHERE id = ?1";
                tx.execute(sql, params![id, role.name()])?;
                ("role changed", role.name())
            }
            Change::Password(password) => {
                let sql = "UPDATE account SET password = ?2 WHERE id = ?1";
                tx.execute(sql, params![id, password])?;
                tx.execute("DELETE FROM session WHERE account = ?1", params![id])?;
                ("password changed", "")
            }
            Change::Remove => {
                let sql = "UPDATE account SET removed_ms = ?2, password = '' WHERE id = ?1";
                tx.execute(sql, params![id, now_ms])?;
                tx.execute("DELETE FROM session WHERE account = ?1", params![id])?;
                let sql = "UPDATE token SET revoked_ms = ?2
                           WHERE account = ?1 AND revoked_ms IS NULL";
                tx.execute(sql, params![id, now_ms])?;
                ("account removed", "")
            }
        };
        trail(tx, self.now_ms, (&self.by, what, name, detail)).map(Ok)
    }
}

fn admins(tx: &Connection) -> sql::Result<i64> {
    let sql = "SELECT count(*) FROM account WHERE role = 'admin' AND removed_ms IS NULL";
    tx.row(sql, &[], |row| row.get(0))
}

/// Somebody has signed in.
#[derive(Debug)]
pub struct SignIn {
    /// Row of the account.
    pub account: i64,
    /// Its name.
    pub name: String,
    /// SHA-256 of the new session.
    pub digest: Digest,
    /// From where.
    pub from: String,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for SignIn {
    type Done = ();

    fn apply(&self, tx: &Connection) -> sql::Result<()> {
        let idle = number(self.now_ms.saturating_sub(SESSION_IDLE_MS));
        tx.execute("DELETE FROM session WHERE seen_ms <= ?1", params![idle])?;
        tx.execute(
            "INSERT INTO session (digest, account, created_ms, seen_ms) VALUES (?1, ?2, ?3, ?3)",
            params![&self.digest[..], self.account, number(self.now_ms)],
        )?;
        trail(tx, self.now_ms, (&self.name, "signed in", &self.from, ""))
    }
}

/// Somebody has used a session, or signed out.
#[derive(Debug)]
pub struct Touch {
    /// SHA-256 of the session.
    pub digest: Digest,
    /// Whether it ends.
    pub end: bool,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for Touch {
    type Done = ();

    fn apply(&self, tx: &Connection) -> sql::Result<()> {
        if self.end {
            tx.execute("DELETE FROM session WHERE digest = ?1", params![&self.digest[..]])?;
        } else {
            tx.execute(
                "UPDATE session SET seen_ms = ?2 WHERE digest = ?1",
                params![&self.digest[..], number(self.now_ms)],
            )?;
        }
        Ok(())
    }
}

/// Makes a token for an account.
#[derive(Debug)]
pub struct AddToken {
    /// Name of the account.
    pub name: String,
    /// SHA-256 of the token.
    pub digest: Digest,
    /// What it is for.
    pub label: String,
    /// When it ends.
    pub expires_ms: Option<u64>,
    /// Who makes it.
    pub by: String,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for AddToken {
    type Done = Result<(), TokenError>;

    fn apply(&self, tx: &Connection) -> sql::Result<Self::Done> {
        let sql = "SELECT id FROM account WHERE name = ?1 AND removed_ms IS NULL";
        let Some(account) = tx.maybe(sql, params![self.name], |row| row.get::<i64>(0))? else {
            return Ok(Err(TokenError::Account(ChangeError::Unknown(self.name.clone()))));
        };
        let sql = "SELECT count(*) FROM token WHERE account = ?1 AND revoked_ms IS NULL";
        let has: u32 = tx.row(sql, params![account], |row| row.get(0))?;
        if has >= TOKENS_MAX {
            return Ok(Err(TokenError::TooMany));
        }
        tx.execute(
            "INSERT INTO token (digest, account, label, created_ms, expires_ms)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                &self.digest[..],
                account,
                self.label,
                number(self.now_ms),
                self.expires_ms.map(number)
            ],
        )?;
        trail(tx, self.now_ms, (&self.by, "token added", &self.name, &self.label)).map(Ok)
    }
}

/// Why a token was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No such account.
    #[error(transparent)]
    Account(#[from] ChangeError),
    /// The account has enough.
    #[error("the account has {TOKENS_MAX} tokens: revoke one that is not used")]
    TooMany,
}

/// Revokes a token.
#[derive(Debug)]
pub struct RevokeToken {
    /// Its number.
    pub id: i64,
    /// Who revokes it.
    pub by: String,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

impl Command for RevokeToken {
    /// Whether it was valid until now.
    type Done = bool;

    fn apply(&self, tx: &Connection) -> sql::Result<bool> {
        let sql = "UPDATE token SET revoked_ms = ?2 WHERE id = ?1 AND revoked_ms IS NULL";
        if tx.execute(sql, params![self.id, number(self.now_ms)])? == 0 {
            return Ok(false);
        }
        trail(tx, self.now_ms, (&self.by, "token revoked", &self.id.to_string(), ""))?;
        Ok(true)
    }
}

/// Something for the trail, beside what writes its own line.
#[derive(Debug)]
pub struct Note {
    /// Who.
    pub who: String,
    /// Did what.
    pub what: &'static str,
    /// To what.
    pub subject: String,
    /// How.
    pub detail: String,
    /// When.
    pub now_ms: u64,
}

impl Command for Note {
    type Done = ();

    fn apply(&self, tx: &Connection) -> sql::Result<()> {
        trail(tx, self.now_ms, (&self.who, self.what, &self.subject, &self.detail))
    }
}

/// Adds a line to the trail, in the transaction of what it tells of.
pub(crate) fn trail(
    tx: &Connection,
    now_ms: u64,
    (who, what, subject, detail): (&str, &str, &str, &str),
) -> sql::Result<()> {
    let detail = landfall_wire::record::cut(detail, DETAIL_BYTES_MAX);
    tx.execute(
        "INSERT INTO trail (at_ms, who, what, subject, detail) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![number(now_ms), who, what, subject, detail],
    )
    .map(drop)
}

/// A line of the trail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrailView {
    /// Its number; pass the last as `after` for older ones.
    pub id: i64,
    /// When.
    pub at: String,
    /// Who: an account, or `command line`.
    pub who: String,
    /// Did what.
    pub what: String,
    /// To what.
    pub subject: String,
    /// How.
    pub detail: String,
}

/// The trail, newest first.
///
/// # Errors
/// Those of the database.
pub fn trail_lines(
    connection: &Connection,
    after: Option<i64>,
    limit: u32,
) -> sql::Result<Vec<TrailView>> {
    let sql = "SELECT id, at_ms, who, what, subject, detail FROM trail WHERE id < ?1
               ORDER BY id DESC LIMIT ?2";
    connection.rows(sql, params![after.unwrap_or(i64::MAX), limit], |row| {
        Ok(TrailView {
            id: row.get(0)?,
            at: time(row.get(1)?),
            who: row.get(2)?,
            what: row.get(3)?,
            subject: row.get(4)?,
            detail: row.get(5)?,
        })
    })
}
