//! `enroll` and `revoke`.

use super::args::EnrollArgs;
use super::failure::Failure;
use super::{Home, open, out};
use crate::broker::mosquitto;
use crate::database::commands::{Revoke, Revoked};
use crate::database::sql::Connection;
use crate::database::{self, queries};
use crate::hub::{LOCAL_NAMES, is_running, now_ms};
use crate::identity::{Authority, Enrolled, HubAddress, Request, enroll as issue};
use landfall_wire::id::DeviceId;
use std::path::Path;

/// Where devices look for a hub that has never run and was told no name.
const ADDRESS_DEFAULT: &str = "localhost:8883";

pub(super) fn enroll(home: &Home, args: &EnrollArgs) -> Result<(), Failure> {
    let data = &home.data;
    // Makes the directory, if this is a new hub.
    let authority = Authority::open(data, now_ms())?;
    let mut books = database::open(&home.database)?;
    let hub = match &args.hub {
        Some(hub) => hub.clone(),
        None => last_address(&books)?,
    };
    let request = Request {
        device: args.device.clone(),
        out: args.out.clone(),
        hub: hub.clone(),
        files: match &args.files {
            Some(files) => Some(files.clone()),
            None => queries::files_address(&books)?.and_then(|files| files.parse().ok()),
        },
        days: args.days,
        renew: args.renew,
    };
    let device = &args.device;
    let at = args.out.display();
    match issue(&authority, &mut books, &request, now_ms())? {
        Enrolled::Issued { expires_at } => {
            out::line(format!("enrolled {device} for {hub}, until {expires_at}"));
            out::line(format!("identity in {at}: put it on the box, and nowhere else"));
        }
        Enrolled::Already { expires_at } => {
            out::line(format!(
                "{device} is enrolled already, until {expires_at}, and its identity is in {at}; \
                 --renew issues a new one"
            ));
        }
    }
    let local = LOCAL_NAMES.contains(&hub.host());
    if !local && !authority.server_names(hub.host())? {
        out::note(&format!(
            "the hub's certificate does not name {0} yet: start it with --name {0}, or devices \
             will not trust it",
            hub.host()
        ));
    }
    Ok(())
}

pub(super) fn last_address(books: &Connection) -> Result<HubAddress, Failure> {
    let known = queries::address(books)?;
    let address = known.as_deref().unwrap_or(ADDRESS_DEFAULT);
    address.parse().map_err(|error: String| Failure::new(error, "pass --hub HOST:PORT"))
}

pub(super) fn revoke(home: &Home, device: &DeviceId) -> Result<(), Failure> {
    let mut books = open(home)?;
    let data = &home.data;
    let command = Revoke { device: device.clone(), now_ms: now_ms() };
    match database::apply(&mut books, &command)? {
        Revoked::Now => {
            let when = if is_running(data) { "is cut off now" } else { "cannot connect again" };
            out::line(format!("revoked {device}: it {when}"));
            tell_broker(data, &books)?;
        }
        Revoked::Already => {
            out::line(format!("{device} was revoked already"));
            tell_broker(data, &books)?;
        }
        Revoked::Unknown => {
            return Err(Failure::new(
                format!("there is no device {device}"),
                "`landfall-hub devices` lists them",
            ));
        }
    }
    Ok(())
}

/// The hub itself hears a revoked device no more; a broker has to be told.
fn tell_broker(data: &Path, books: &Connection) -> Result<(), Failure> {
    let Some(dir) = queries::broker_dir(books)? else { return Ok(()) };
    let authority = Authority::open(data, now_ms())?;
    let serials = queries::revoked_serials(books)?;
    let (path, _) = mosquitto::revoke(&authority, Path::new(&dir), &serials, now_ms())?;
    out::note(&format!(
        "the broker goes by {}: restart it, so that it reads the new list and lets go of who is \
         connected",
        path.display()
    ));
    Ok(())
}
