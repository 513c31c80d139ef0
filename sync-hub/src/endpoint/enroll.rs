//! A device without a certificate, with a one-time token. It has offered the enrolment protocol in
//! its TLS greeting, was shown the authority, and is asked for nothing but one message.
//!
//! The order: the books, then the token, then the reply. A hub that dies in between has a
//! certificate in its books that nobody got, and a token that is still good.

use super::{Shared, limits};
use crate::database::commands::{Enroll, Problem, ProblemKind};
use crate::hub::now_ms;
use crate::identity::{Authority, Found, IdentityError, tokens};
use landfall_wire::enroll::{self, Refused, Reply, Request};
use landfall_wire::id::Epoch;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Wrong tokens that are answered within [`WRONG_WITHIN`]; then none is looked at. A person mistypes
/// once or twice, and the checksum finds most of it on the device; who guesses has 64 bits to go.
const WRONG_MAX: usize = 10;

/// See [`WRONG_MAX`].
const WRONG_WITHIN: Duration = Duration::from_secs(60);

/// Issues certificates for tokens, one at a time.
pub(super) struct Desk {
    authority: Arc<Authority>,
    /// One at a time: a token is good once.
    turn: tokio::sync::Mutex<()>,
    wrong: Mutex<Vec<Instant>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Desk {
    pub(super) fn new(authority: Arc<Authority>) -> Desk {
        Desk { authority, turn: tokio::sync::Mutex::default(), wrong: Mutex::default() }
    }

    /// Whether there were too many wrong tokens lately; `one_more` notes another.
    fn is_closed(&self, one_more: bool) -> bool {
        let now = Instant::now();
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.retain(|at| now.duration_since(*at) < WRONG_WITHIN);
        if one_more {
            wrong.push(now);
        }
        wrong.len() >= WRONG_MAX
    }
}

/// Serves one request and ends the connection.
pub(super) async fn serve(mut stream: TlsStream<TcpStream>, address: SocketAddr, shared: &Shared) {
    let talk = async {
        let request = read(&mut stream).await?;
        let reply = match request {
            Some(request) => answer(&request, address, shared).await,
            None => Reply::Refused(Refused::Malformed),
        };
        let bytes = enroll::encode(&reply).map_err(io::Error::other)?;
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    };
    match tokio::time::timeout(limits::HANDSHAKE_MAX, talk).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::info!(%address, %error, "an enrolment broke off"),
        Err(_) => tracing::info!(%address, "an enrolment took too long"),
    }
}

async fn read(stream: &mut TlsStream<TcpStream>) -> io::Result<Option<Request>> {
    let mut first = [0; 4];
    stream.read_exact(&mut first).await?;
    let Ok(length) = enroll::length(first) else { return Ok(None) };
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(enroll::decode(&body).ok())
}

async fn answer(request: &Request, address: SocketAddr, shared: &Shared) -> Reply {
    let desk = &shared.desk;
    if desk.is_closed(false) {
        tracing::warn!(%address, "too many wrong tokens: none is looked at for a minute");
        return Reply::Refused(Refused::Later);
    }
    let _turn = desk.turn.lock().await;
    match issue(request, shared).await {
        Ok(Reply::Refused(Refused::Token)) => {
            desk.is_closed(true);
            tracing::warn!(%address, "a token was refused: used, expired, or never given");
            let detail = format!("{address}: a token that is used, expired, or was never given");
            let kind = ProblemKind::Connection;
            let problem = Problem { device: None, kind, detail, now_ms: now_ms() };
            let _ = shared.exchange.database.submit(problem).await;
            Reply::Refused(Refused::Token)
        }
        Ok(reply) => {
            if let Reply::Issued { device, .. } = &reply {
                tracing::info!(%device, %address, "a device enrolled with a token");
            }
            reply
        }
        Err(error) => {
            tracing::error!(%error, "a certificate could not be issued for a token");
            Reply::Refused(Refused::Failed)
        }
    }
}

async fn issue(request: &Request, shared: &Shared) -> Result<Reply, IssueError> {
    let authority = &shared.desk.authority;
    let now_ms = now_ms();
    let Ok(key) = Authority::requested_key(&request.request) else {
        return Ok(Reply::Refused(Refused::Malformed));
    };
    let issued = |offer: &tokens::Offer, certificate: String| Reply::Issued {
        device: offer.device.clone(),
        certificate,
        authorities: authority.trusted_pem(),
        hub: offer.hub.clone(),
    };
    let offer = match tokens::find(authority, &request.secret, &key, now_ms)? {
        None => return Ok(Reply::Refused(Refused::Token)),
        Some(Found::Again(offer, used)) => return Ok(issued(&offer, used.certificate)),
        Some(Found::New(offer)) => offer,
    };
    let signed = authority.sign(&offer.device, &request.request, offer.days, now_ms)?;
    let command = Enroll {
        device: offer.device.clone(),
        serial: signed.serial,
        authority: authority.issuing(),
        expires_ms: signed.expires_ms,
        now_ms,
        answers_epoch: Epoch(getrandom::u64().map_err(IdentityError::from)?),
    };
    shared.exchange.database.write(command).await?;
    tokens::spend(authority, &request.secret, offer.clone(), &key, &signed.certificate_pem)?;
    Ok(issued(&offer, signed.certificate_pem))
}

#[derive(Debug, thiserror::Error)]
enum IssueError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Database(#[from] crate::database::DbError),
}
