//! Releases on this hub. A release is added by whoever may write to the data directory, and only
//! if one of the keys in `<data>/trust/*.pub`, or one that is named, signed its manifest.

use super::views::ReleaseView;
use crate::database::sql::{self, Connection, params};
use crate::database::{Command, number, unsigned};
use landfall_freight::blobs::{BlobError, Blobs};
use landfall_freight::outline::{
    BLOBS, Keys, MANIFEST, MANIFEST_BYTES_MAX, Outline, OutlineError, SIGNATURE,
    SIGNATURE_BYTES_MAX,
};
use landfall_wire::id::Digest;
use landfall_wire::release::ReleaseRef;
use std::path::{Path, PathBuf};

/// Directory of trusted keys in the data directory.
pub const TRUST: &str = "trust";

/// Why a directory is not added.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No key is trusted.
    #[error("no key is trusted: {} holds no .pub file", .0.display())]
    NoKeys(PathBuf),
    /// A key, the signature or the manifest.
    #[error(transparent)]
    Outline(#[from] OutlineError),
    /// A file of the package is missing or not what the manifest says.
    #[error("{} is missing, or not what the manifest says", .0.display())]
    File(PathBuf),
    /// The directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Files cannot be kept here.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

/// The files of all releases of a data directory.
///
/// # Errors
/// When the directory cannot be made.
pub fn blobs(data: &Path) -> Result<Blobs, BlobError> {
    Blobs::open(&data.join(BLOBS))
}

/// Checks a package's directory and keeps its files; nothing is in the books yet.
///
/// # Errors
/// [`RegistryError`].
pub fn take(
    data: &Path,
    dir: &Path,
    trust: &[PathBuf],
    now_ms: u64,
) -> Result<AddRelease, RegistryError> {
    let keys = Keys::load(&trusted(data, trust)?)?;
    let manifest = read(&dir.join(MANIFEST), MANIFEST_BYTES_MAX)?;
    let signature = read(&dir.join(SIGNATURE), SIGNATURE_BYTES_MAX)?;
    let outline = Outline::read(&manifest, &signature, &keys)?;
    let blobs = blobs(data)?;
    for (digest, bytes) in &outline.files {
        let path = dir.join(BLOBS).join(digest.to_string());
        if !blobs.adopt(&path, *digest, *bytes)? {
            return Err(RegistryError::File(path));
        }
    }
    let release = ReleaseRef {
        version: outline.version.clone(),
        manifest_bytes: u32::try_from(manifest.len()).unwrap_or(u32::MAX),
        signature_bytes: u32::try_from(signature.len()).unwrap_or(u32::MAX),
        signature: blobs.put(&signature)?,
        // The manifest last: with it, all is here.
        manifest: blobs.put(&manifest)?,
    };
    Ok(AddRelease { outline, release, now_ms })
}

fn trusted(data: &Path, named: &[PathBuf]) -> Result<Vec<PathBuf>, RegistryError> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let dir = data.join(TRUST);
    let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
    let mut keys: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pub"))
        .collect();
    keys.sort();
    if keys.is_empty() { Err(RegistryError::NoKeys(dir)) } else { Ok(keys) }
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, RegistryError> {
    let failed = |source| RegistryError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > bytes_max {
        return Err(failed(std::io::Error::other(format!("it has more than {bytes_max} bytes"))));
    }
    std::fs::read(path).map_err(failed)
}

/// A release whose files are here is entered in the books.
#[derive(Debug)]
pub struct AddRelease {
    /// What it consists of.
    pub outline: Outline,
    /// What devices are told.
    pub release: ReleaseRef,
    /// Now, by the hub's clock.
    pub now_ms: u64,
}

/// What adding found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is new.
    New,
    /// It was there already, byte for byte.
    Already,
    /// Another release of this package has this version.
    VersionTaken,
}

impl Command for AddRelease {
    type Done = Added;

    fn apply(&self, tx: &Connection) -> sql::Result<Added> {
        let AddRelease { outline, release, now_ms } = self;
        let (package, version) = (&outline.package, &outline.version);
        let known: Option<String> = tx.maybe(
            "SELECT manifest FROM release WHERE package = ?1 AND version = ?2",
            params![package, version],
            |row| row.get(0),
        )?;
        match known {
            Some(manifest) if manifest == release.manifest.to_string() => {
                return Ok(Added::Already);
            }
            Some(_) => return Ok(Added::VersionTaken),
            None => {}
        }
        let tasks = outline.tasks.join(" ");
        let id: i64 = tx.row(
            "INSERT INTO release (package, version, description, tasks, manifest, manifest_bytes,
                 signature, signature_bytes, bytes, added_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) RETURNING id",
            params![
                package,
                version,
                outline.description,
                tasks,
                release.manifest.to_string(),
                i64::from(release.manifest_bytes),
                release.signature.to_string(),
                i64::from(release.signature_bytes),
                number(outline.bytes()),
                number(*now_ms),
            ],
            |row| row.get(0),
        )?;
        for (digest, bytes) in &outline.files {
            tx.execute(
                "INSERT INTO release_file (release, digest, bytes) VALUES (?1, ?2, ?3)",
                params![id, digest.to_string(), number(*bytes)],
            )?;
        }
        Ok(Added::New)
    }
}

/// A release is taken out of the books, unless somebody needs it.
#[derive(Debug)]
pub struct RemoveRelease {
    /// The package.
    pub package: String,
    /// The version.
    pub version: String,
}

/// What removing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// It is gone; these files may go.
    Gone(Vec<Digest>),
    /// So many devices run it.
    Runs(u64),
    /// A rollout delivers it.
    RollsOut(i64),
    /// There is none.
    Unknown,
}

impl Command for RemoveRelease {
    type Done = Removed;

    fn apply(&self, tx: &Connection) -> sql::Result<Removed> {
        let found: Option<(i64, String, String)> = tx.maybe(
            "SELECT id, manifest, signature FROM release WHERE package = ?1 AND version = ?2",
            params![self.package, self.version],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        let Some((id, manifest, signature)) = found else { return Ok(Removed::Unknown) };
        let runs: i64 = tx.row(
            "SELECT count(*) FROM device_release WHERE manifest = ?1",
            params![manifest],
            |row| row.get(0),
        )?;
        if runs > 0 {
            return Ok(Removed::Runs(unsigned(runs)));
        }
        let rollout: Option<i64> = tx.maybe(
            "SELECT id FROM rollout
                 WHERE manifest = ?1 AND phase IN ('running', 'paused', 'halted')",
            params![manifest],
            |row| row.get(0),
        )?;
        if let Some(rollout) = rollout {
            return Ok(Removed::RollsOut(rollout));
        }
        let alone: Vec<String> = tx.rows(
            "SELECT digest FROM release_file WHERE release = ?1 AND digest NOT IN
                 (SELECT digest FROM release_file WHERE release <> ?1)",
            params![id],
            |row| row.get(0),
        )?;
        tx.execute("DELETE FROM release_file WHERE release = ?1", params![id])?;
        tx.execute("DELETE FROM release WHERE id = ?1", params![id])?;
        let files = alone.into_iter().chain([manifest, signature]);
        Ok(Removed::Gone(files.filter_map(|digest| digest.parse().ok()).collect()))
    }
}

const COLUMNS: &str = "SELECT package, version, description, tasks, manifest, manifest_bytes,
     signature, signature_bytes, bytes, added_ms,
     (SELECT count(*) FROM device_release WHERE device_release.manifest = release.manifest)
     FROM release";

fn view(row: &sql::Row<'_>) -> sql::Result<ReleaseView> {
    Ok(ReleaseView {
        package: row.get(0)?,
        version: row.get(1)?,
        description: row.get(2)?,
        tasks: row.get::<String>(3)?.split(' ').map(str::to_owned).collect(),
        manifest: row.get(4)?,
        manifest_bytes: unsigned(row.get(5)?),
        signature: row.get(6)?,
        signature_bytes: unsigned(row.get(7)?),
        bytes: unsigned(row.get(8)?),
        added_at: crate::database::views::time(row.get(9)?),
        devices: unsigned(row.get(10)?),
    })
}

/// Every release, newest first.
///
/// # Errors
/// Those of the database.
pub fn releases(connection: &Connection) -> sql::Result<Vec<ReleaseView>> {
    connection.rows(&format!("{COLUMNS} ORDER BY id DESC"), &[], view)
}

/// One release.
///
/// # Errors
/// Those of the database.
pub fn release(
    connection: &Connection,
    package: &str,
    version: &str,
) -> sql::Result<Option<ReleaseView>> {
    let sql = format!("{COLUMNS} WHERE package = ?1 AND version = ?2");
    connection.maybe(&sql, params![package, version], view)
}

/// What devices are told of the release with this manifest, if it is here.
///
/// # Errors
/// Those of the database.
pub(super) fn reference(
    connection: &Connection,
    manifest: &str,
) -> sql::Result<Option<ReleaseRef>> {
    let sql = format!("{COLUMNS} WHERE manifest = ?1");
    let found = connection.maybe(&sql, params![manifest], view)?;
    Ok(found.and_then(|found| {
        Some(ReleaseRef {
            version: found.version,
            manifest: found.manifest.parse().ok()?,
            manifest_bytes: u32::try_from(found.manifest_bytes).ok()?,
            signature: found.signature.parse().ok()?,
            signature_bytes: u32::try_from(found.signature_bytes).ok()?,
        })
    }))
}

/// Every file of a release with its size, manifest and signature last; none if there is no such
/// release.
///
/// # Errors
/// Those of the database.
pub fn release_files(
    connection: &Connection,
    package: &str,
    version: &str,
) -> sql::Result<Vec<(Digest, u64)>> {
    let Some(found) = release(connection, package, version)? else { return Ok(Vec::new()) };
    let rows: Vec<(String, i64)> = connection.rows(
        "SELECT release_file.digest, release_file.bytes FROM release_file
             JOIN release ON release.id = release_file.release
             WHERE release.manifest = ?1 ORDER BY release_file.digest",
        params![found.manifest],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let own = [
        (found.signature, number(found.signature_bytes)),
        (found.manifest, number(found.manifest_bytes)),
    ];
    let parsed = |(digest, bytes): (String, i64)| Some((digest.parse().ok()?, unsigned(bytes)));
    Ok(rows.into_iter().chain(own).filter_map(parsed).collect())
}
