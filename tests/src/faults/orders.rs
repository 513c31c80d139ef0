//! What the disk shim of `landfall-break` is told to do to a process, and what it says it did.

use crate::node::Spec;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The variable in which a process finds its [`Orders`], as JSON.
pub const VARIABLE: &str = "LANDFALL_DISK_SHIM";

/// Environment variable: by how many seconds the wall clock of a process is behind.
pub const CLOCK_VARIABLE: &str = "LANDFALL_CLOCK_BEHIND_SECS";

/// What happens to the disk under a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Orders {
    /// Everything below this directory is on the disk; absolute, without links.
    pub dir: PathBuf,
    /// Outside of it, on the same file system: where the shim keeps what may come back, its
    /// account, and the file that names an error.
    pub scratch: PathBuf,
    /// When power is cut; never without.
    pub cut: Option<Cut>,
}

/// A power cut.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Cut {
    /// At this operation on the disk, counted from the start of the process.
    pub at_op: u64,
    /// Share of the pages not synced that survive.
    pub keep_percent: u64,
    /// Which ones, whether just before or just after the operation, and where the last write
    /// tears.
    pub seed: u64,
}

/// What a power cut took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Pages written and not synced that are as before.
    pub pages_lost: u64,
    /// Pages written and not synced that stayed.
    pub pages_kept: u64,
    /// Names made, changed or removed that are as before.
    pub names_lost: u64,
    /// Whether the last write is there in part.
    pub torn: bool,
}

impl Orders {
    /// Orders for what is below `dir`, which is created if need be.
    ///
    /// # Errors
    /// When it or the scratch directory cannot be created.
    pub fn new(dir: &Path, scratch: &Path, cut: Option<Cut>) -> Result<Orders> {
        for path in [dir, scratch] {
            std::fs::create_dir_all(path)
                .with_context(|| format!("cannot create {}", path.display()))?;
        }
        let dir = dir.canonicalize().context("a directory that was just created")?;
        let scratch = scratch.canonicalize().context("a directory that was just created")?;
        let orders = Orders { dir, scratch, cut };
        for leftover in [orders.account_path(), orders.error_path()] {
            match std::fs::remove_file(&leftover) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot remove {}", leftover.display()));
                }
                _ => {}
            }
        }
        Ok(orders)
    }

    /// Gives them to a process that is about to be started.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub fn give(&self, spec: &mut Spec) -> Result<()> {
        let json = serde_json::to_string(self).context("a path that is not UTF-8")?;
        spec.env.push((VARIABLE.into(), json.into()));
        Ok(())
    }

    /// What the cut took; `None` if there was none yet.
    ///
    /// # Errors
    /// When the account cannot be read.
    pub fn taken(&self) -> Result<Option<Taken>> {
        let path = self.account_path();
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            bytes => {
                let bytes = bytes.with_context(|| format!("cannot read {}", path.display()))?;
                serde_json::from_slice(&bytes).map(Some).context("the shim's account")
            }
        }
    }

    /// From now on every change of the disk fails as on a file system that turned read-only.
    ///
    /// # Errors
    /// When the file that says so cannot be written.
    pub fn make_read_only(&self) -> Result<()> {
        std::fs::write(self.error_path(), "").context("cannot write to the scratch directory")
    }

    /// The disk can be written again.
    ///
    /// # Errors
    /// When the file that says otherwise cannot be removed.
    pub fn make_writable(&self) -> Result<()> {
        std::fs::remove_file(self.error_path()).context("cannot write to the scratch directory")
    }

    /// Where [`Taken`] is written.
    pub fn account_path(&self) -> PathBuf {
        self.scratch.join("taken.json")
    }

    /// While this file exists, the disk is read-only.
    pub fn error_path(&self) -> PathBuf {
        self.scratch.join("read-only")
    }
}
