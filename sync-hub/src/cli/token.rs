//! `token new`: a one-time token for a device. `ca`: the authority and its successor.

use super::args::{CaCommand, TokenCommand, TokenNewArgs};
use super::failure::Failure;
use super::people::last_address;
use super::{Home, open, out};
use crate::database::queries;
use crate::database::views;
use crate::hub::{is_running, now_ms};
use crate::identity::{Authority, Rotation, new_token};
use serde_json::json;

pub(super) fn token(home: &Home, command: &TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::New(args) => new(home, args),
    }
}

fn new(home: &Home, args: &TokenNewArgs) -> Result<(), Failure> {
    let books = open(home)?;
    let authority = Authority::open(&home.data, now_ms())?;
    let device = &args.device;
    if queries::enrolment(&books, device)?.is_some() && !args.renew {
        return Err(Failure::new(
            format!("{device} is enrolled already"),
            "--renew makes a token for a device that has a certificate, or was revoked",
        ));
    }
    let hub = match &args.hub {
        Some(hub) => hub.clone(),
        None => last_address(&books)?,
    };
    let valid_ms = u64::try_from(args.valid.as_millis()).unwrap_or(u64::MAX);
    let expires_ms = now_ms().saturating_add(valid_ms);
    let token = new_token(&authority, device, &hub, args.days, expires_ms, now_ms())?;
    let until = views::time(i64::try_from(expires_ms).unwrap_or(i64::MAX));
    if args.json {
        out::json(&json!({
            "device": device, "token": token.to_string(), "hub": hub.to_string(),
            "expires_at": until,
        }));
        return Ok(());
    }
    out::line(token.to_string());
    out::note(&format!(
        "for {device}, once, until {until}; on the box: landfall-agent enroll {hub}, which asks for \
         the token"
    ));
    if !is_running(&home.data) {
        out::note("the hub does not run: the token can be used once it does");
    }
    Ok(())
}

/// Names that are told in a sentence; `ca show --json` has all.
const NAMED_MAX: usize = 10;

pub(super) fn ca(home: &Home, command: CaCommand) -> Result<(), Failure> {
    let books = open(home)?;
    let authority = Authority::open(&home.data, now_ms())?;
    let overlaps = authority.rotation() == Rotation::Overlap;
    let left_behind = match overlaps {
        true => queries::left_behind(&books, &authority.issuing())?,
        false => Vec::new(),
    };
    drop(books);
    let rotation = match command {
        CaCommand::Show { json } => {
            let rotation = authority.rotation();
            if json {
                out::json(&json!({
                    "state": rotation.name(), "authorities": authority.dates(),
                    "left_behind": left_behind,
                }));
                return Ok(());
            }
            rotation
        }
        CaCommand::Rotate => authority.rotate(now_ms())?,
        CaCommand::Finish { force } if force || left_behind.is_empty() => authority.finish()?,
        CaCommand::Finish { .. } => {
            return Err(Failure::new(
                format!("{} the old authority only", know(&left_behind)),
                "wait until they are renewed, or renew them at once (enroll --renew); --force shuts \
                 them out",
            ));
        }
    };
    for (name, until_ms) in authority.dates() {
        let until = views::time(i64::try_from(until_ms).unwrap_or(i64::MAX));
        out::line(format!("{name}, until {until}"));
    }
    match rotation {
        Rotation::None => out::line("one authority"),
        Rotation::Overlap => {
            out::line(
                "two authorities: devices that are enrolled or renewed from now on trust both",
            );
            if overlaps {
                out::line(match left_behind.is_empty() {
                    true => "every device knows the new one: `landfall-hub ca finish`".to_owned(),
                    false => format!("{} the old one only", know(&left_behind)),
                });
            }
        }
        Rotation::Finished => {
            out::line("the new authority has taken over; the old one is trusted no more");
        }
    }
    if is_running(&home.data) && !matches!(command, CaCommand::Show { .. }) {
        out::note("restart the hub, so that it goes by this");
    }
    Ok(())
}

/// Who knows something: the subject and verb of a sentence.
fn know(devices: &[String]) -> String {
    let named = devices.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match devices.len() {
        1 => format!("1 device ({named}) knows"),
        all if all > NAMED_MAX => format!("{all} devices ({named} and more) know"),
        all => format!("{all} devices ({named}) know"),
    }
}
