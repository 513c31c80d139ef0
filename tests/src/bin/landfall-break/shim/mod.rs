//! A disk that forgets what was not synced.
//!
//! The functions in `calls` stand in the place of the C library's in this executable: Rust's
//! standard library, sled and SQLite, which are linked into it, call them. Without [`Orders`] in
//! the environment they pass everything on. It is what a preloaded library would do, without one
//! to build and to find.
//!
//! What is modelled:
//! * a page of 4 kB that was written is durable after `fsync` or `fdatasync` of its file, on any
//!   handle, and not before; `sync_file_range` makes nothing durable;
//! * at the cut each page that is not durable is as it was at the last sync, or stays, as the
//!   dice say; the last write may stay in part, to the sector of 512 bytes;
//! * a file's length goes back with the pages that made it longer;
//! * a name that was made, changed or removed is durable after `fsync` of its directory; at the
//!   cut what is not is undone from the newest on: all of it, or back to a random one.
//!
//! Not modelled: pages that were synced and go bad, `mmap`, `writev`, `sync` and `syncfs`
//! (nothing here uses them on its files; what they wrote would count as durable).

mod calls;
mod clock;
mod file;
mod names;

use file::Page;
pub(crate) use file::Tracked;
use landfall_tests::faults::{Orders, Taken, VARIABLE};
use names::Names;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

thread_local! {
    /// Set while the shim itself works: its own calls pass.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

static SHIM: OnceLock<Option<Mutex<Shim>>> = OnceLock::new();

/// A file, whatever its names.
type Inode = (u64, u64);

/// The disk under this process.
pub(crate) struct Shim {
    orders: Orders,
    ops: u64,
    files: BTreeMap<Inode, Tracked>,
    names: Names,
    last_write: Option<Write>,
    dice: Dice,
}

struct Write {
    inode: Inode,
    from: u64,
    to: u64,
}

/// Acts on the shim; `None` if there is none, or if the shim itself is calling.
fn with<T>(act: impl FnOnce(&mut Shim) -> T) -> Option<T> {
    if INSIDE.get() {
        return None;
    }
    INSIDE.set(true);
    let shim = SHIM.get_or_init(|| {
        let orders = std::env::var(VARIABLE).ok()?;
        let orders: Orders = serde_json::from_str(&orders).ok()?;
        Some(Mutex::new(Shim::new(orders)))
    });
    // A panic under the lock aborts the process: no caller can unwind out of a C function.
    let done =
        shim.as_ref().map(|shim| act(&mut shim.lock().unwrap_or_else(PoisonError::into_inner)));
    INSIDE.set(false);
    done
}

impl Shim {
    fn new(orders: Orders) -> Shim {
        let seed = orders.cut.map_or(0, |cut| cut.seed);
        let names = Names::new(orders.scratch.clone());
        let (files, dice) = (BTreeMap::new(), Dice(seed | 1));
        Shim { orders, ops: 0, files, names, last_write: None, dice }
    }

    fn covers(&self, path: &Path) -> bool {
        path.starts_with(&self.orders.dir)
    }

    fn is_read_only(&self) -> bool {
        self.orders.error_path().exists()
    }

    fn tracked(&self, fd: i32) -> Option<Inode> {
        let inode = inode(&std::fs::metadata(fd_path(fd)).ok()?);
        self.files.contains_key(&inode).then_some(inode)
    }

    /// Counts an operation, and cuts the power before or after it if it is the one.
    fn step<T>(&mut self, act: impl FnOnce(&mut Shim) -> T) -> T {
        self.ops += 1;
        let due = self.orders.cut.is_some_and(|cut| cut.at_op == self.ops);
        if due && self.dice.percent(50) {
            self.cut();
        }
        let done = act(self);
        if due {
            self.cut();
        }
        done
    }

    /// A file was opened; `is_new` if that made it.
    fn opened(&mut self, fd: i32, is_new: bool) {
        let Ok(path) = std::fs::read_link(fd_path(fd)) else { return };
        if !self.covers(&path) {
            return;
        }
        if is_new {
            self.names.made(&path);
        }
        let Ok(meta) = std::fs::metadata(fd_path(fd)) else { return };
        if meta.is_file() && !self.files.contains_key(&inode(&meta)) {
            // A handle of its own: it stays when the file is closed, renamed or removed.
            let file = std::fs::File::options().read(true).write(true).open(fd_path(fd));
            if let Ok(file) = file {
                self.files.insert(inode(&meta), Tracked::new(file, meta.len()));
            }
        }
    }

    fn will_write(&mut self, inode: Inode, from: u64, bytes: u64) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.remember(from, from + bytes);
        }
        self.last_write = Some(Write { inode, from, to: from + bytes });
    }

    fn will_truncate(&mut self, inode: Inode, to: u64) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.remember(to, file.len());
        }
    }

    fn synced(&mut self, fd: i32) {
        let Ok(meta) = std::fs::metadata(fd_path(fd)) else { return };
        if meta.is_dir() {
            if let Ok(path) = std::fs::read_link(fd_path(fd)) {
                self.names.synced(&path);
            }
        } else if let Some(file) = self.files.get_mut(&inode(&meta)) {
            file.synced();
        }
    }

    /// Power is gone: leaves on disk what such a disk would hold, and ends the process. Nobody
    /// else writes meanwhile: the lock is held and never given back.
    fn cut(&mut self) -> ! {
        let mut taken = Taken::default();
        let keep_percent = self.orders.cut.map_or(0, |cut| cut.keep_percent);
        for (inode, file) in &self.files {
            let dice = &mut self.dice;
            let pages = file.pages();
            let torn = self.last_write.as_ref().filter(|write| write.inode == *inode);
            let torn = torn.filter(|_| dice.percent(50)).map(|write| {
                let sector = write.from + dice.below(write.to - write.from + 1);
                sector / file::SECTOR_BYTES * file::SECTOR_BYTES
            });
            let kept: Vec<Page> = pages.filter(|_| dice.percent(keep_percent)).collect();
            let length_stays = dice.percent(keep_percent);
            taken.pages_kept += kept.len() as u64;
            taken.pages_lost += (file.pages().count() - kept.len()) as u64;
            taken.torn |= torn.is_some() && !kept.is_empty();
            file.lose(&kept, torn, length_stays);
        }
        let pending = self.names.pending() as u64;
        let stay = if keep_percent == 0 { 0 } else { self.dice.below(pending + 1) };
        self.names.undo_to(usize::try_from(stay).unwrap_or(0));
        taken.names_lost = pending - stay;
        let account = serde_json::to_vec(&taken).unwrap_or_default();
        let _missing_account_is_noticed = std::fs::write(self.orders.account_path(), account);
        calls::kill_this_process()
    }
}

fn inode(meta: &Metadata) -> Inode {
    (meta.dev(), meta.ino())
}

/// What a descriptor stands for.
fn fd_path(fd: i32) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{fd}"))
}

/// Random numbers that can be repeated: xorshift64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }
}
