//! Finding the packages that ship with Landfall.

use super::{MANIFEST, PackageError, Trust};
use std::env;
use std::path::{Path, PathBuf};

/// The shipped packages' public key, beside them.
pub const SHIPPED_KEY: &str = "landfall-development.pub";

/// Where packages are in an installed system.
const SYSTEM_DIR: &str = "/usr/share/landfall/packages";

/// The directories of the shipped packages, sorted by name.
///
/// Looked for, in this order: `$LANDFALL_PACKAGES`, `models/packages` under an ancestor of the
/// current directory, then of the executable, then the system's directory.
///
/// # Errors
/// When none of these holds a package.
pub fn shipped_dirs() -> Result<Vec<PathBuf>, PackageError> {
    let home = shipped_home()?;
    packages_in(&home)
}

/// The key of the shipped packages.
///
/// # Errors
/// When no shipped packages are found, or their key cannot be read.
pub fn shipped_trust() -> Result<Trust, PackageError> {
    Trust::load(&[shipped_home()?.join(SHIPPED_KEY)])
}

fn shipped_home() -> Result<PathBuf, PackageError> {
    let candidates = candidates();
    for candidate in &candidates {
        if packages_in(candidate).is_ok_and(|found| !found.is_empty()) {
            return Ok(candidate.clone());
        }
    }
    let looked: Vec<String> = candidates.iter().map(|dir| dir.display().to_string()).collect();
    Err(PackageError::NotFound(looked.join(", ")))
}

fn candidates() -> Vec<PathBuf> {
    if let Some(named) = env::var_os("LANDFALL_PACKAGES") {
        return vec![PathBuf::from(named)];
    }
    let mut found = Vec::new();
    for start in [env::current_dir(), env::current_exe()].into_iter().flatten() {
        let under = start.ancestors().map(|dir| dir.join("models/packages"));
        found.extend(under.filter(|dir| dir.is_dir()));
    }
    found.push(PathBuf::from(SYSTEM_DIR));
    found.dedup();
    found
}

fn packages_in(home: &Path) -> Result<Vec<PathBuf>, PackageError> {
    let io_error = |source| PackageError::Io { operation: "list", path: home.to_owned(), source };
    let mut dirs = Vec::new();
    for entry in std::fs::read_dir(home).map_err(io_error)? {
        let dir = entry.map_err(io_error)?.path();
        if dir.join(MANIFEST).is_file() {
            dirs.push(dir);
        }
    }
    dirs.sort();
    Ok(dirs)
}
