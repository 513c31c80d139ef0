//! What of a file is not durable yet, page by page.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What a disk writes as a whole.
pub(super) const SECTOR_BYTES: u64 = 512;
/// What the system writes back as a whole.
const PAGE_BYTES: u64 = 4096;

/// Number of a page in its file.
pub(super) type Page = u64;

/// A file on the disk.
///
/// Invariant: a page that is not in `before` is as it was at the last sync.
pub(crate) struct Tracked {
    file: File,
    /// Its length at the last sync.
    durable_bytes: u64,
    /// Pages as they were at the last sync; what lies past the end is zero.
    before: BTreeMap<Page, Vec<u8>>,
}

impl Tracked {
    pub(super) fn new(file: File, durable_bytes: u64) -> Tracked {
        Tracked { file, durable_bytes, before: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |meta| meta.len())
    }

    /// Keeps what is in `from..to`, which is about to change.
    pub(super) fn remember(&mut self, from: u64, to: u64) {
        for page in from / PAGE_BYTES..to.div_ceil(PAGE_BYTES) {
            let file = &self.file;
            self.before.entry(page).or_insert_with(|| read_page(file, page).unwrap_or_default());
        }
    }

    pub(super) fn synced(&mut self) {
        self.before.clear();
        self.durable_bytes = self.len();
    }

    /// Pages that are not durable.
    pub(super) fn pages(&self) -> impl Iterator<Item = Page> {
        self.before.keys().copied()
    }

    /// Puts every page but those in `kept` back, and everything from `torn` to the end of its
    /// page; then the length.
    pub(super) fn lose(&self, kept: &[Page], torn: Option<u64>, length_stays: bool) {
        let len = self.len();
        let mut stays_to = 0;
        for (page, before) in &self.before {
            let (start, end) = (page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
            let back_from =
                if kept.contains(page) { torn.unwrap_or(end).clamp(start, end) } else { start };
            if back_from > start {
                stays_to = stays_to.max(back_from.min(len));
            }
            let offset = usize::try_from(back_from - start).unwrap_or(usize::MAX);
            let Some(back) = before.get(offset..) else { continue };
            // The disk is lost either way; whoever opens it finds out.
            let _broken = self.file.write_all_at(back, back_from);
        }
        let was_shortened = len < self.durable_bytes && length_stays;
        let length = if was_shortened { len } else { self.durable_bytes.max(stays_to) };
        let _broken = self.file.set_len(length);
    }
}

/// A whole page, zeros past the end of the file.
fn read_page(file: &File, page: Page) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(PAGE_BYTES).unwrap_or_default()];
    let mut at = 0;
    while at < bytes.len() {
        match file.read_at(&mut bytes[at..], page * PAGE_BYTES + at as u64)? {
            0 => break,
            read => at += read,
        }
    }
    Ok(bytes)
}
