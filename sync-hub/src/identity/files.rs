//! Small files, written whole or not at all.

use super::IdentityError;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// Readable by the owner only.
pub(crate) const PRIVATE: u32 = 0o600;
/// Readable by all.
pub(crate) const PUBLIC: u32 = 0o644;

pub(crate) fn failed(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::File { operation, path, source: Arc::new(source) }
}

/// Writes a file by way of a temporary one that has the mode from the start; synced, so that
/// it is there after a power cut if anything that follows is.
pub(crate) fn write(path: &Path, content: &str, mode: u32) -> Result<(), IdentityError> {
    let temporary = path.with_extension("tmp");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(failed("replace", &temporary)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let write = || {
        let mut file = options.open(&temporary)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(failed("write", path))
}

/// Reads a file if it is there.
pub(crate) fn read(path: &Path) -> Result<Option<String>, IdentityError> {
    match std::fs::read_to_string(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}
