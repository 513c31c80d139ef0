//! `courier`: streams and files on a stick, to the hub and back.
//!
//! ```text
//! <stick>/landfall/up/<device>-<part>.parcel     for the hub
//! <stick>/landfall/down/<device>-<part>.parcel   from the hub
//! <stick>/landfall/blobs/<sha256>                files of releases, for whoever needs them
//! ```
//! One stick serves many devices: each touches its own parcels only.

use super::args::{CourierArgs, CourierCommand};
use super::client::Client;
use super::failure::Failure;
use super::{Done, desk, output};
use crate::clock::Clock;
use crate::config::Config;
use crate::courier::{Courier, CourierError, Exported, Imported};
use crate::service;
use crate::store::{Store, StoreConfig, StoreError};
use crate::sync::Wallet;
use landfall_freight::blobs::Blobs;
use landfall_freight::parcel::{PARCEL_BYTES_MAX, ParcelError, file_name};
use landfall_wire::id::DeviceId;
use serde::Serialize;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where everything of Landfall is on a stick.
const HOME: &str = "landfall";

/// Most parts of one export: beyond it the store is larger than any stick.
const PARTS_MAX: usize = 4096;

pub(super) fn courier(command: &CourierCommand) -> Result<Done, Failure> {
    match command {
        CourierCommand::Export(args) => export(args),
        CourierCommand::Import(args) => import(args),
    }
}

/// Who packs: the running agent, or this process with the store open.
enum Packer {
    Remote(Client),
    Local(Box<(tokio::runtime::Runtime, Store, Courier)>),
}

impl Packer {
    fn open(config: &Config) -> Result<(Packer, DeviceId), Failure> {
        let identity = config.hub.as_ref().map(|hub| hub.identity.clone()).ok_or_else(|| {
            Failure::usage("the configuration has no [hub], so that nobody is to be reached")
                .remedy("set hub.identity to the directory from `landfall-hub enroll`")
        })?;
        let wallet = Wallet::new(&identity, &config.data_dir, Clock::open(&config.data_dir));
        let (picked, _) = wallet.pick().map_err(|e| failed(&e.into()))?;
        let device = picked.device;
        if let Some(client) = desk::running(config) {
            return Ok((Packer::Remote(client), device));
        }
        let runtime = service::runtime()
            .map_err(|error| Failure::new(format!("cannot start threads: {error}")))?;
        let store = StoreConfig { device: Some(device.clone()), ..config.store.clone() };
        let opened = Store::open(&config.data_dir, store);
        let (store, _) = opened.map_err(|error| match error {
            StoreError::Locked { .. } => desk::locked(),
            error => Failure::from(error),
        })?;
        let courier = Courier::open(store.clone(), Arc::new(wallet)).map_err(|e| failed(&e))?;
        Ok((Packer::Local(Box::new((runtime, store, courier))), device))
    }

    fn export(&self, part: usize) -> Result<Exported, Failure> {
        match self {
            Packer::Remote(client) => client.courier_export(part),
            Packer::Local(local) => {
                let (runtime, _, courier) = &**local;
                runtime.block_on(courier.export(part, false)).map_err(|error| failed(&error))
            }
        }
    }

    fn import(&self, parcel: Vec<u8>) -> Result<Imported, Failure> {
        match self {
            Packer::Remote(client) => client.courier_import(parcel),
            Packer::Local(local) => {
                let (runtime, _, courier) = &**local;
                runtime.block_on(courier.import(&parcel)).map_err(|error| failed(&error))
            }
        }
    }

    fn close(self) {
        if let Packer::Local(local) = self {
            let (runtime, store, _) = *local;
            runtime.block_on(store.close());
        }
    }
}

fn failed(error: &CourierError) -> Failure {
    let failure = match error {
        CourierError::Parcel(ParcelError::Incomplete) => Failure::open(error.to_string()),
        CourierError::Parcel(_)
        | CourierError::Identity(_)
        | CourierError::NoHubKey
        | CourierError::Store(_)
        | CourierError::Frame(_)
        | CourierError::Session(_) => Failure::new(error.to_string()),
    };
    failure.remedy(error.remedy())
}

fn export(args: &CourierArgs) -> Result<Done, Failure> {
    let config = super::load(&args.common.config())?;
    let (packer, device) = Packer::open(&config)?;
    let dir = args.dir.join(HOME).join("up");
    let write = |error: io::Error| {
        Failure::new(format!("cannot write {}: {error}", dir.display()))
            .remedy("check that the stick is there, writable and not full")
    };
    fs::create_dir_all(&dir).map_err(write)?;
    let (mut records, mut bytes, mut parts) = (0, 0, 0);
    for part in 0..PARTS_MAX {
        let exported = packer.export(part)?;
        replace(&dir, &file_name(&device, part), &exported.parcel).map_err(write)?;
        records += exported.records;
        bytes += exported.parcel.len();
        parts = part + 1;
        if !exported.more {
            break;
        }
    }
    packer.close();
    // Parts of an earlier export that this one has no use for.
    for part in parts.. {
        if fs::remove_file(dir.join(file_name(&device, part))).is_err() {
            break;
        }
    }
    if args.json {
        let said = serde_json::json!({ "device": device, "records": records, "bytes": bytes,
                                        "parts": parts });
        output::json_pretty(&said)?;
    } else {
        output::line(format_args!(
            "{records} records of {device} in {bytes} bytes: {}",
            dir.display()
        ))?;
    }
    Ok(Done::Done)
}

/// What an import came to.
#[derive(Debug, Default, Serialize)]
struct Report {
    parcels: u64,
    acknowledged: u64,
    arrived: u64,
    files: u64,
    troubles: Vec<String>,
}

fn import(args: &CourierArgs) -> Result<Done, Failure> {
    let config = super::load(&args.common.config())?;
    let (packer, device) = Packer::open(&config)?;
    let home = args.dir.join(HOME);
    let mut report = Report::default();
    let mut open = false;
    for path in parcels(&home.join("down"), &device) {
        let imported = read(&path).and_then(|parcel| packer.import(parcel));
        match imported {
            Ok(Imported { acknowledged, arrived }) => {
                report.parcels += 1;
                report.acknowledged += acknowledged;
                report.arrived += arrived;
            }
            Err(failure) => {
                open = true;
                let remedy = failure.remedy.map(|text| format!(" ({text})")).unwrap_or_default();
                report.troubles.push(format!("{}: {}{remedy}", path.display(), failure.message));
            }
        }
    }
    packer.close();
    match files(&config, &home.join("blobs")) {
        Ok(count) => report.files = count,
        Err(trouble) => {
            open = true;
            report.troubles.push(trouble);
        }
    }
    if args.json {
        output::json_pretty(&report)?;
    } else {
        let Report { parcels, arrived, files, .. } = &report;
        output::line(format_args!(
            "{device}: {parcels} parcels with {arrived} records of the hub, {files} files"
        ))?;
        for trouble in &report.troubles {
            output::line(format_args!("not used: {trouble}"))?;
        }
    }
    Ok(if open { Done::Open } else { Done::Done })
}

/// The parcels for this device, in order.
fn parcels(dir: &Path, device: &DeviceId) -> Vec<PathBuf> {
    (0..PARTS_MAX)
        .map(|part| dir.join(file_name(device, part)))
        .take_while(|path| path.is_file())
        .collect()
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(format!("cannot be read: {error}")).remedy("copy it again")
    };
    let size = fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > PARCEL_BYTES_MAX as u64 {
        return Err(failed(&format!("{size} bytes are more than any parcel has")));
    }
    fs::read(path).map_err(|error| failed(&error))
}

/// Takes the files of releases that fit beside what is there; each is compared with its name.
fn files(config: &Config, from: &Path) -> Result<u64, String> {
    let Ok(stick) = Blobs::open(from).and_then(|blobs| blobs.list()) else { return Ok(0) };
    if stick.is_empty() {
        return Ok(0);
    }
    let blobs = crate::release::blobs(&config.data_dir).map_err(|error| error.to_string())?;
    let held = blobs.list().map_err(|error| error.to_string())?;
    let mut room =
        held.iter().fold(config.releases.bytes_max, |left, (_, bytes)| left.saturating_sub(*bytes));
    let (mut taken, mut left) = (0, 0);
    for (digest, bytes) in stick {
        if blobs.size(digest).is_some() {
            continue;
        }
        if bytes > room {
            left += 1;
            continue;
        }
        let path = from.join(digest.to_string());
        match blobs.adopt(&path, digest, bytes) {
            Ok(true) => {
                room -= bytes;
                taken += 1;
            }
            Ok(false) => left += 1,
            Err(error) => return Err(error.to_string()),
        }
    }
    if left > 0 {
        return Err(format!(
            "{left} files on the stick are incomplete, or have no room within releases.bytes_max"
        ));
    }
    Ok(taken)
}

/// Under its name once it is whole and on the stick: sticks are pulled out.
fn replace(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    service::replace(&dir.join(name), content)?;
    File::open(dir)?.sync_all()
}
