//! `models`: releases of model packages on this hub.

use super::args::ModelsCommand;
use super::failure::Failure;
use super::{Home, open, out};
use crate::database;
use crate::hub::now_ms;
use crate::releases::registry::{
    self, Added, RegistryError, RemoveRelease, Removed, release, releases, take,
};
use crate::releases::views::ReleaseView;
use landfall_freight::outline::OutlineError;
use serde_json::json;
use std::path::{Path, PathBuf};

pub(super) fn models(home: &Home, command: ModelsCommand) -> Result<(), Failure> {
    match command {
        ModelsCommand::Add { dir, trust, json } => add(home, &dir, &trust, json),
        ModelsCommand::List { json } => list(home, json),
        ModelsCommand::Show { release, json } => {
            let found = find(home, &release.package, &release.version)?;
            show(&found, json);
            Ok(())
        }
        ModelsCommand::Remove { release } => remove(home, release.package, release.version),
    }
}

fn add(home: &Home, dir: &Path, trust: &[PathBuf], json: bool) -> Result<(), Failure> {
    let mut books = open(home)?;
    let taken = take(&home.data, dir, trust, now_ms())?;
    let (package, version) = (taken.outline.package.clone(), taken.outline.version.clone());
    let said = match database::apply(&mut books, &taken)? {
        Added::New => "added",
        Added::Already => "is here already",
        Added::VersionTaken => {
            return Err(Failure::new(
                format!("another release of {package} has version {version}"),
                "give every release a version of its own; `landfall-hub models list` shows them",
            ));
        }
    };
    if json {
        let found = release(&books, &package, &version)?;
        out::json(&json!({ "added": said == "added", "release": found }));
    } else {
        out::line(format!("{package} {version} {said}: {}", taken.release.manifest));
    }
    Ok(())
}

fn list(home: &Home, json: bool) -> Result<(), Failure> {
    let found = releases(&open(home)?)?;
    if json {
        out::json(&json!({ "releases": found }));
        return Ok(());
    }
    let row = |release: ReleaseView| {
        let ReleaseView { package, version, bytes, devices, added_at, manifest, .. } = release;
        vec![
            package,
            version,
            bytes.to_string(),
            devices.to_string(),
            added_at,
            manifest.chars().take(16).collect(),
        ]
    };
    let heading = ["PACKAGE", "VERSION", "BYTES", "DEVICES", "ADDED", "DIGEST"];
    out::table(&heading, &found.into_iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn find(home: &Home, package: &str, version: &str) -> Result<ReleaseView, Failure> {
    release(&open(home)?, package, version)?.ok_or_else(|| unknown(package, version))
}

pub(super) fn unknown(package: &str, version: &str) -> Failure {
    Failure::new(
        format!("there is no release {version} of {package}"),
        "`landfall-hub models list` shows those there are",
    )
}

fn show(release: &ReleaseView, json: bool) {
    if json {
        out::json(release);
        return;
    }
    out::line(format!("{} {}", release.package, release.version));
    out::line(&release.description);
    out::line(format!("tasks     {}", release.tasks.join(", ")));
    out::line(format!("bytes     {}", release.bytes));
    out::line(format!("devices   {}", release.devices));
    out::line(format!("added     {}", release.added_at));
    out::line(format!("manifest  {}", release.manifest));
    out::line(format!("signature {}", release.signature));
}

fn remove(home: &Home, package: String, version: String) -> Result<(), Failure> {
    let mut books = open(home)?;
    let command = RemoveRelease { package, version };
    let RemoveRelease { package, version } = &command;
    match database::apply(&mut books, &command)? {
        Removed::Gone(files) => {
            // The books first: a file too many does no harm.
            let blobs = registry::blobs(&home.data).map_err(RegistryError::from)?;
            for digest in files {
                blobs.remove(digest).map_err(RegistryError::from)?;
            }
            out::line(format!("removed {package} {version}"));
            Ok(())
        }
        Removed::Runs(devices) => Err(Failure::new(
            format!("{devices} devices run {package} {version}"),
            "roll another release out first",
        )),
        Removed::RollsOut(rollout) => Err(Failure::new(
            format!("rollout {rollout} delivers {package} {version}"),
            "roll it back first: `landfall-hub rollout rollback`",
        )),
        Removed::Unknown => Err(unknown(package, version)),
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Failure {
        let remedy = match &error {
            RegistryError::NoKeys(_) => {
                "put the public keys of those who may release there, or name one with --trust"
            }
            RegistryError::Outline(OutlineError::Signature(_)) => {
                "sign it with `landfall-models sign`, and trust the key that belongs to it"
            }
            RegistryError::Outline(OutlineError::Key { .. }) => {
                "name a public key as `landfall-models keygen` or minisign writes it"
            }
            RegistryError::Outline(OutlineError::Manifest(_)) | RegistryError::File(_) => {
                "copy the package again, or ask its maker for a corrected one"
            }
            RegistryError::Read { .. } => "name the directory that holds manifest.json",
            RegistryError::Blobs(_) => "check the data directory and the free space",
        };
        Failure::new(error.to_string(), remedy)
    }
}
