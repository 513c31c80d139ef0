//! Who asks: a session or a token, and the way in.
//!
//! As long as there is no account, whoever reaches the hub on loopback may do everything, as it
//! was before there were accounts; with the first account that ends at once.

use super::App;
use super::error::Refused;
use crate::database::accounts::{self, Digest, SEEN_EVERY_MS, Touch, Who};
use crate::hub::now_ms;
use crate::identity::hex;
use crate::password::Passwords;
use landfall_hub_core::account::{Role, Throttle};
use sha2::{Digest as _, Sha256};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The cookie of a session.
pub(super) const COOKIE: &str = "landfall-session";

/// The cookie with the name that somebody gives where there are no accounts.
pub(super) const NAME_COOKIE: &str = "landfall-name";

/// Random bytes of a session or a token: beyond guessing.
const SECRET_BYTES: usize = 32;

/// How a token begins, so that a scanner finds one that was left somewhere.
pub(crate) const TOKEN_PREFIX: &str = "landfall_";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Actor {
    /// There are no accounts.
    Open,
    /// Nobody that is known.
    Nobody,
    /// Somebody with a session.
    Person {
        /// Who.
        who: Who,
        /// What a form must carry.
        csrf: String,
        /// Of the session.
        digest: Digest,
    },
    /// A program with a token.
    Program {
        /// Whose.
        who: Who,
    },
}

impl Actor {
    /// What they may; `None` if they are not known.
    pub(super) fn role(&self) -> Option<Role> {
        match self {
            Actor::Open => Some(Role::Admin),
            Actor::Nobody => None,
            Actor::Person { who, .. } | Actor::Program { who } => Some(who.role),
        }
    }

    /// Their account, where there are any.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Actor::Open | Actor::Nobody => None,
            Actor::Person { who, .. } | Actor::Program { who } => Some(&who.name),
        }
    }

    /// Who it was, for the trail.
    pub(super) fn in_trail(&self) -> String {
        self.name().unwrap_or("page without accounts").to_owned()
    }

    /// Whether they may.
    pub(super) fn may(&self, needed: Role) -> bool {
        self.role().is_some_and(|role| role >= needed)
    }
}

tokio::task_local! {
    /// Set by the guard for every request, so that no page can forget the token of its forms.
    static ACTOR: Actor;
}

/// Runs a request as somebody.
pub(super) async fn scope<F: Future>(actor: Actor, request: F) -> F::Output {
    ACTOR.scope(actor, request).await
}

/// Who asks now.
pub(super) fn actor() -> Actor {
    ACTOR.try_with(Actor::clone).unwrap_or(Actor::Nobody)
}

/// Who it is, for the trail: the account, or where there are none, the name that was given.
pub(super) fn who(named: &str) -> String {
    let named = named.trim();
    match actor() {
        Actor::Open if !named.is_empty() => named.to_owned(),
        actor => actor.in_trail(),
    }
}

/// The hidden field that every form carries.
pub(super) fn csrf_field() -> String {
    match actor() {
        Actor::Person { csrf, .. } => {
            format!("<input type=\"hidden\" name=\"csrf\" value=\"{csrf}\">")
        }
        Actor::Open | Actor::Nobody | Actor::Program { .. } => String::new(),
    }
}

/// What all requests share for signing in.
#[derive(Debug, Default)]
pub(super) struct Doors {
    pub(super) passwords: Passwords,
    throttle: Mutex<Throttle>,
}

impl Doors {
    pub(super) fn throttle(&self) -> MutexGuard<'_, Throttle> {
        // Nothing in here can panic half-way.
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds out who asks.
pub(super) async fn actor_of(
    app: &App,
    authorization: Option<&str>,
    cookies: Option<&str>,
) -> Result<Actor, Refused> {
    let now_ms = now_ms();
    let bearer = authorization.and_then(bearer).map(digest);
    let session = cookies.and_then(|text| cookie(text, COOKIE)).map(str::to_owned);
    let session_digest = session.as_deref().map(digest);
    enum Found {
        Open,
        Nobody,
        Token(Who),
        Session(Who, u64),
    }
    let found = app.database.read(move |reader| {
        if let Some(bearer) = bearer {
            let who = accounts::token(reader, &bearer, now_ms)?;
            let open = who.is_none() && !accounts::any(reader)?;
            return Ok(who.map_or(if open { Found::Open } else { Found::Nobody }, Found::Token));
        }
        if let Some(digest) = session_digest
            && let Some((who, seen_ms)) = accounts::session(reader, &digest, now_ms)?
        {
            return Ok(Found::Session(who, seen_ms));
        }
        Ok(if accounts::any(reader)? { Found::Nobody } else { Found::Open })
    });
    Ok(match (found.await?, session, session_digest) {
        (Found::Session(who, seen_ms), Some(secret), Some(digest)) => {
            if now_ms.saturating_sub(seen_ms) > SEEN_EVERY_MS {
                app.database.write(Touch { digest, end: false, now_ms }).await?;
            }
            Actor::Person { who, csrf: csrf_of(&secret), digest }
        }
        (Found::Token(who), _, _) => Actor::Program { who },
        (Found::Open, _, _) => Actor::Open,
        (Found::Nobody | Found::Session(..), _, _) => Actor::Nobody,
    })
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// The value of a cookie.
pub(super) fn cookie<'a>(cookies: &'a str, name: &str) -> Option<&'a str> {
    cookies.split(';').find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    })
}

/// A new secret, in hex.
///
/// # Errors
/// If the system has no randomness.
pub(crate) fn secret() -> Result<String, String> {
    let mut random = [0; SECRET_BYTES];
    getrandom::fill(&mut random).map_err(|error| format!("no randomness: {error}"))?;
    Ok(hex(&random))
}

/// What is kept of a secret.
pub(crate) fn digest(secret: &str) -> Digest {
    Sha256::digest(secret.as_bytes()).into()
}

/// The token of a session's forms: known to who knows the session.
fn csrf_of(secret: &str) -> String {
    hex(&digest(&format!("form:{secret}")))
}

/// The value of a `Set-Cookie`. `Lax`, so that a link from a ticket finds its reader signed in;
/// what changes something carries a token besides.
pub(super) fn set_cookie(name: &str, value: &str, age_secs: u64, tls: bool) -> String {
    let secure = if tls { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={age_secs}; HttpOnly; SameSite=Lax{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_and_tokens_are_found() {
        let cookies = "a=1; landfall-session=xyz; landfall-sessionx=2";
        assert_eq!(cookie(cookies, COOKIE), Some("xyz"));
        assert_eq!(cookie("b=1", COOKIE), None);
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!((bearer("Basic abc"), bearer("Bearer "), bearer("Bearer")), (None, None, None));
    }

    #[test]
    fn secrets_differ_and_a_form_token_does_not_tell_the_session() {
        let (one, other) = (secret().unwrap(), secret().unwrap());
        assert!(one != other && one.len() == 2 * SECRET_BYTES);
        assert!(!csrf_of(&one).contains(&one) && csrf_of(&one) != csrf_of(&other));
    }
}
