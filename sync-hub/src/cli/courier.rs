//! `courier`: parcels of devices without a link, on a stick.

use super::args::{CourierCommand, ReleaseName};
use super::failure::Failure;
use super::{Home, models, open, out};
use crate::courier::{Courier, CourierError, HOME, Imported, known, parcels, read, write};
use crate::hub::now_ms;
use crate::identity::Authority;
use crate::releases::registry::{self, RegistryError, release_files};
use landfall_freight::blobs::Blobs;
use landfall_freight::parcel::ParcelError;
use landfall_wire::id::DeviceId;
use serde::Serialize;
use serde_json::json;
use std::path::Path;

/// Nothing is lost, but something is still open.
const OPEN: u8 = 3;

/// Returns the exit code.
pub(super) fn courier(home: &Home, command: CourierCommand) -> Result<u8, Failure> {
    match command {
        CourierCommand::Import { dir, json } => import(home, &dir, json),
        CourierCommand::Export { dir, device, release, json } => {
            export(home, &dir, &device, &release, json)
        }
        CourierCommand::Key => {
            let authority = Authority::open(&home.data, now_ms())?;
            let courier = Courier::open(&authority, now_ms())?;
            out::line(format!("courier = \"{}\"", courier.key()));
            Ok(0)
        }
    }
}

/// What an import came to.
#[derive(Debug, Default, Serialize)]
struct Report {
    parcels: Vec<Imported>,
    troubles: Vec<String>,
}

fn import(home: &Home, stick: &Path, json: bool) -> Result<u8, Failure> {
    let mut books = open(home)?;
    let authority = Authority::open(&home.data, now_ms())?;
    let courier = Courier::open(&authority, now_ms())?;
    let mut report = Report::default();
    for path in parcels(stick)? {
        let imported = read(&path).and_then(|parcel| courier.import(&mut books, &parcel, now_ms()));
        match imported {
            Ok(imported) => report.parcels.push(imported),
            // Without its database nothing else can be imported either.
            Err(CourierError::Database(error)) => return Err(error.into()),
            Err(error) => {
                let failure = Failure::from(error);
                let (what, remedy) = (failure.message, failure.remedy);
                report.troubles.push(format!("{}: {what} ({remedy})", path.display()));
            }
        }
    }
    let waiting: u64 = report.parcels.iter().map(|parcel| parcel.waiting).sum();
    if json {
        out::json(&report);
    } else {
        for parcel in &report.parcels {
            let Imported { device, applied, repeated, waiting, .. } = parcel;
            let waits = if *waiting > 0 {
                format!(", {waiting} wait for an earlier part")
            } else {
                String::new()
            };
            out::line(format!("{device}: {applied} new records, {repeated} known{waits}"));
        }
        report.troubles.iter().for_each(|trouble| out::line(format!("not used: {trouble}")));
    }
    Ok(if report.troubles.is_empty() && waiting == 0 { 0 } else { OPEN })
}

fn export(
    home: &Home,
    stick: &Path,
    devices: &[DeviceId],
    releases: &[ReleaseName],
    json: bool,
) -> Result<u8, Failure> {
    let mut books = open(home)?;
    let authority = Authority::open(&home.data, now_ms())?;
    let courier = Courier::open(&authority, now_ms())?;
    let known = known(&books)?;
    if let Some(unknown) = devices.iter().find(|name| !known.iter().any(|k| k.name == **name)) {
        return Err(Failure::new(
            format!("nothing can be sealed for {unknown}: no parcel of it was imported yet"),
            "the first trip goes from the device: `landfall-agent courier export`",
        ));
    }
    let mut parcels = Vec::new();
    for to in known.iter().filter(|known| devices.is_empty() || devices.contains(&known.name)) {
        let (parcel, records) = courier.export(&mut books, to, now_ms())?;
        write(stick, &to.name, &parcel)?;
        if !json {
            out::line(format!("{}: {records} records in {} bytes", to.name, parcel.len()));
        }
        parcels.push(json!({ "device": to.name, "records": records, "bytes": parcel.len() }));
    }
    let mut files = 0;
    for release in releases {
        files += carry(home, &books, stick, release)?;
    }
    if json {
        out::json(&json!({ "parcels": parcels, "files": files }));
    } else if files > 0 {
        out::line(format!("{files} files of releases"));
    }
    Ok(0)
}

/// Puts the files of a release on the stick; returns how many.
fn carry(
    home: &Home,
    books: &crate::database::sql::Connection,
    stick: &Path,
    name: &ReleaseName,
) -> Result<u64, Failure> {
    let files = release_files(books, &name.package, &name.version)?;
    if files.is_empty() {
        return Err(models::unknown(&name.package, &name.version));
    }
    let kept = registry::blobs(&home.data).map_err(RegistryError::from)?;
    let carried = Blobs::open(&stick.join(HOME).join("blobs")).map_err(RegistryError::from)?;
    for (digest, bytes) in &files {
        let adopted = carried.adopt(&kept.path(*digest), *digest, *bytes);
        if !adopted.map_err(RegistryError::from)? {
            return Err(RegistryError::File(kept.path(*digest)).into());
        }
    }
    Ok(files.len() as u64)
}

impl From<CourierError> for Failure {
    fn from(error: CourierError) -> Failure {
        let remedy = match &error {
            CourierError::Parcel(ParcelError::Incomplete) => {
                "copy it again; nothing of it was used, and nothing is lost"
            }
            CourierError::Parcel(ParcelError::OtherKey) => {
                "the device has the key of another hub: see `landfall-hub courier key`"
            }
            CourierError::Parcel(_) | CourierError::Frame(_) => "export it again on the device",
            CourierError::NotAdmitted(_) => "enroll it again with --renew, if it is to be let in",
            CourierError::File { .. } => "check that the stick is there, writable and not full",
            CourierError::Identity(_) | CourierError::Database(_) => "see the message",
        };
        match error {
            CourierError::Identity(error) => error.into(),
            CourierError::Database(error) => error.into(),
            error => Failure::new(error.to_string(), remedy),
        }
    }
}
