//! A hub in one file: a copy of its database, with the files of its directory as rows of a table.
//!
//! The copy is made by SQLite while the hub runs: a state between two commits, whole. A database on
//! a server is not in it, its own tools copy that (`pg_dump`).

use super::source::{FILE, Source};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

/// A backup holds the authority's key.
const MODE: u32 = 0o600;

/// Largest file that is taken along: what SQLite keeps in one row.
const FILE_BYTES_MAX: u64 = 1_000_000_000;

/// Depth of directories that are looked into; the hub's own are two deep.
const DEPTH_MAX: usize = 8;

const TABLES: &str = "CREATE TABLE backup (made_ms INTEGER NOT NULL, source TEXT NOT NULL) STRICT;
    CREATE TABLE backup_file (
        path    TEXT PRIMARY KEY,
        mode    INTEGER NOT NULL,
        content BLOB NOT NULL
    ) STRICT;";

/// Why there is no backup, or no hub of it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file cannot be read or written.
    #[error("cannot {operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// SQLite cannot copy.
    #[error("cannot copy {}: {source}", path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// It would be overwritten.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// The file is something else, or damaged.
    #[error("{} is no backup of a hub: {reason}", path.display())]
    NotABackup {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Too large for a row.
    #[error("{} is larger than a backup can take", .0.display())]
    TooLarge(PathBuf),
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Files of the directory.
    pub files: u64,
    /// Whether the database is in it; not if it is on a server.
    pub database: bool,
    /// When it was made.
    pub made_ms: i64,
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(std::io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File { operation, path: path.clone(), source }
}

fn copying(path: &Path) -> impl Fn(rusqlite::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Copy { path: path.clone(), source }
}

/// Copies a hub into a new file; it may run meanwhile.
///
/// # Errors
/// [`BackupError`]; then there is no such file.
pub fn backup(
    data: &Path,
    source: &Source,
    to: &Path,
    now_ms: u64,
) -> Result<Contents, BackupError> {
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let unfinished = beside(to);
    let contents = write(data, source, &unfinished, now_ms)
        .and_then(|contents| finish(&unfinished, to).map(|()| contents));
    if contents.is_err() {
        // It is useless, and may hold the key.
        let _ = std::fs::remove_file(&unfinished);
    }
    contents
}

/// The same name with an ending, for what is not finished.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

/// On disk under its temporary name, then under its own.
fn finish(unfinished: &Path, path: &Path) -> Result<(), BackupError> {
    let settle = || {
        File::open(unfinished)?.sync_all()?;
        std::fs::rename(unfinished, path)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        File::open(dir.unwrap_or_else(|| Path::new(".")))?.sync_all()
    };
    settle().map_err(failed("write", path))
}

fn write(data: &Path, source: &Source, to: &Path, now_ms: u64) -> Result<Contents, BackupError> {
    let _ = std::fs::remove_file(to);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(MODE);
    options.open(to).map_err(failed("create", to))?;
    if let Source::Sqlite(path) = source {
        copy(path, to)?;
    }
    let made_ms = super::number(now_ms);
    let connection = rusqlite::Connection::open(to).map_err(copying(to))?;
    connection.execute_batch(TABLES).map_err(copying(to))?;
    let told = source.to_string();
    connection
        .execute("INSERT INTO backup (made_ms, source) VALUES (?1, ?2)", (made_ms, told))
        .map_err(copying(to))?;
    let mut files = 0;
    for path in found(data, DEPTH_MAX)? {
        let meta = std::fs::metadata(&path).map_err(failed("read", &path))?;
        if meta.len() > FILE_BYTES_MAX {
            return Err(BackupError::TooLarge(path));
        }
        let content = std::fs::read(&path).map_err(failed("read", &path))?;
        let name = path.strip_prefix(data).unwrap_or(&path).to_string_lossy().into_owned();
        let mode = meta.permissions().mode() & 0o777;
        connection
            .execute(
                "INSERT INTO backup_file (path, mode, content) VALUES (?1, ?2, ?3)",
                (name, mode, content),
            )
            .map_err(copying(to))?;
        files += 1;
    }
    Ok(Contents { files, database: matches!(source, Source::Sqlite(_)), made_ms })
}

/// A copy of a database, as of one moment, into a file that is empty or not there.
fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    let connection = rusqlite::Connection::open(from).map_err(copying(from))?;
    let name = to.to_string_lossy().into_owned();
    connection.execute("VACUUM INTO ?1", [name]).map_err(copying(from))?;
    Ok(())
}

/// Files of the directory, apart from the database, locks, and what is not finished.
fn found(dir: &Path, depth: usize) -> Result<Vec<PathBuf>, BackupError> {
    let mut paths = Vec::new();
    let entries = std::fs::read_dir(dir).map_err(failed("read", dir))?;
    for entry in entries {
        let entry = entry.map_err(failed("read", dir))?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let kind = entry.file_type().map_err(failed("read", &path))?;
        if kind.is_dir() && depth > 0 {
            paths.extend(found(&path, depth - 1)?);
        }
        let is_ours = name.starts_with(FILE) || name.ends_with(".lock") || name.ends_with(".tmp");
        if kind.is_file() && !is_ours {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Makes a hub of a backup, in a directory that is empty or not there.
///
/// # Errors
/// [`BackupError`]; then the directory holds no hub that could run.
pub fn restore(from: &Path, data: &Path) -> Result<Contents, BackupError> {
    if std::fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(BackupError::Exists(data.to_owned()));
    }
    let wrong = |reason: String| BackupError::NotABackup { path: from.to_owned(), reason };
    std::fs::metadata(from).map_err(failed("read", from))?;
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = rusqlite::Connection::open_with_flags(from, flags).map_err(copying(from))?;
    let sql = "SELECT made_ms, source LIKE 'postgres%' FROM backup";
    let (made_ms, elsewhere): (i64, bool) = connection
        .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(|error| wrong(error.to_string()))?;
    let check: String = connection
        .query_row("PRAGMA quick_check", [], |row| row.get(0))
        .map_err(|error| wrong(error.to_string()))?;
    if check != "ok" {
        return Err(wrong(check));
    }
    std::fs::create_dir_all(data).map_err(failed("create", data))?;
    let files = write_files(&connection, from, data)?;
    if !elsewhere {
        // Last: it says that the rest is there.
        let path = data.join(FILE);
        let unfinished = beside(&path);
        copy(from, &unfinished)?;
        let copied = rusqlite::Connection::open(&unfinished).map_err(copying(&unfinished))?;
        copied
            .execute_batch("DROP TABLE backup; DROP TABLE backup_file; VACUUM")
            .map_err(copying(&unfinished))?;
        drop(copied);
        finish(&unfinished, &path)?;
    }
    Ok(Contents { files, database: !elsewhere, made_ms })
}

fn write_files(
    connection: &rusqlite::Connection,
    from: &Path,
    data: &Path,
) -> Result<u64, BackupError> {
    let mut statement = connection
        .prepare("SELECT path, mode, content FROM backup_file ORDER BY path")
        .map_err(copying(from))?;
    let mut rows = statement.query([]).map_err(copying(from))?;
    let mut files = 0;
    while let Some(row) = rows.next().map_err(copying(from))? {
        let read = || Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?, row.get(2)?));
        let (name, mode, content): (String, u32, Vec<u8>) = read().map_err(copying(from))?;
        let name = PathBuf::from(name);
        if !name.components().all(|part| matches!(part, Component::Normal(_))) {
            let reason = format!("it holds a file outside of the directory: {}", name.display());
            return Err(BackupError::NotABackup { path: from.to_owned(), reason });
        }
        let path = data.join(name);
        let parent = path.parent().unwrap_or(data);
        std::fs::create_dir_all(parent).map_err(failed("create", parent))?;
        let put = || {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(mode & 0o777);
            let mut file = options.open(&path)?;
            std::io::Write::write_all(&mut file, &content)?;
            file.sync_all()
        };
        put().map_err(failed("write", &path))?;
        files += 1;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{self, queries};

    #[test]
    fn a_hub_comes_back_as_it_was_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (data, file) = (dir.path().join("data"), dir.path().join("copy"));
        std::fs::create_dir_all(data.join("mosquitto")).unwrap();
        std::fs::write(data.join("ca.key"), "secret").unwrap();
        std::fs::set_permissions(data.join("ca.key"), PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(data.join("mosquitto/acl"), "pattern").unwrap();
        std::fs::write(data.join("run.lock"), "").unwrap();
        let source = Source::file(&data);
        let books = database::open(&source).unwrap();
        let insert = "INSERT INTO device (name, created_ms, answers_epoch) VALUES ('ship-7', 1, 2)";
        books.execute(insert, &[]).unwrap();
        let contents = backup(&data, &source, &file, 5).unwrap();
        assert_eq!(contents, Contents { files: 2, database: true, made_ms: 5 });
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, MODE, "it holds the key");
        assert!(matches!(backup(&data, &source, &file, 5), Err(BackupError::Exists(_))));
        assert!(matches!(restore(&file, &data), Err(BackupError::Exists(_))));

        let other = dir.path().join("other");
        assert_eq!(restore(&file, &other).unwrap(), contents);
        assert_eq!(std::fs::read_to_string(other.join("mosquitto/acl")).unwrap(), "pattern");
        let key = std::fs::metadata(other.join("ca.key")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        assert!(!other.join("run.lock").exists());
        let restored = database::open(&Source::file(&other)).unwrap();
        assert_eq!(queries::device_names(&restored).unwrap(), ["ship-7"]);
        let tables = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'backup%'";
        let left: i64 = restored.row(tables, &[], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "it is a hub's database again");
    }

    #[test]
    fn what_is_no_backup_makes_no_hub() {
        let dir = tempfile::tempdir().unwrap();
        let (file, data) = (dir.path().join("file"), dir.path().join("data"));
        std::fs::write(&file, "something else, long enough to be looked at by SQLite").unwrap();
        assert!(matches!(restore(&file, &data), Err(BackupError::NotABackup { .. })));
        let source = Source::file(dir.path());
        drop(database::open(&source).unwrap());
        let plain = dir.path().join(FILE);
        assert!(matches!(restore(&plain, &data), Err(BackupError::NotABackup { .. })));
        assert!(!data.exists());
    }
}
