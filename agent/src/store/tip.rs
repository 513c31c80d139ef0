//! The end of sled's log, before sled opens it.
//!
//! sled's file is an array of segments. Opening reads the log to the first message that makes no
//! sense, overwrites the rest of that segment, and all segments that would come after it. What was
//! there, and can be read by its own checksums, is gone then. So the segments that were written
//! last are read beforehand; they are used only if the store turns out to be damaged.
//!
//! A segment begins with 20 bytes: a CRC-32 of the other 16, inverted, the position of the segment
//! in the log (combined with a mask by exclusive or), and a position that does not matter here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// sled's default, which the store does not change.
const SEGMENT_BYTES: usize = 512 * 1024;
const HEADER_BYTES: usize = 20;
const MASK: u64 = 0x7fff_ffff_ffff_ffff;

/// Segments read. What was written since sled's last snapshot, which it reads again when it
/// opens, may be more; but what it discards begins near the end, unless the damage is older.
const SEGMENTS_MAX: usize = 4;

/// The last segments of the log in the file, the last one first.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut segments = Vec::new();
    for offset in (0..bytes).step_by(SEGMENT_BYTES) {
        let mut header = [0; HEADER_BYTES];
        let read = file.read_at(&mut header, offset)?;
        if read == HEADER_BYTES && header != [0; HEADER_BYTES] {
            segments.push((position(&header), offset));
        }
    }
    segments.sort_unstable();
    let mut tip = Vec::new();
    for (_, offset) in segments.iter().rev().take(SEGMENTS_MAX) {
        let from = tip.len();
        tip.resize(from + SEGMENT_BYTES, 0);
        let read = read_fully(&file, &mut tip[from..], *offset)?;
        tip.truncate(from + read);
    }
    Ok(tip)
}

/// A segment whose header is damaged may be the last one.
fn position(header: &[u8; HEADER_BYTES]) -> u64 {
    let (crc, rest) = header.split_at(4);
    let known = !crc32fast::hash(rest);
    let lsn = rest.first_chunk().map_or(MASK, |lsn| u64::from_le_bytes(*lsn)) ^ MASK;
    if crc == known.to_le_bytes() { lsn } else { u64::MAX }
}

fn read_fully(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::table::SledTable;
    use landfall_agent_core::store::{Changes, Table};

    fn holds(bytes: &[u8], number: u32) -> bool {
        let wanted = format!("value {number:06}!");
        bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes())
    }

    #[test]
    fn what_was_written_last_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("1");
        let table = SledTable::open(&dir).unwrap();
        for first in (0..1500_u32).step_by(20) {
            let put = (first..first + 20).map(|number| {
                let value = format!("value {number:06}!").repeat(200).into_bytes();
                (number.to_be_bytes().to_vec(), value)
            });
            table.commit(Changes { put: put.collect(), remove: Vec::new() }).unwrap();
        }
        drop(table);
        let tip = read(&dir.join("db")).unwrap();
        assert!(std::fs::metadata(dir.join("db")).unwrap().len() > 2 * tip.len() as u64);
        assert!(tip.len() <= SEGMENTS_MAX * SEGMENT_BYTES);
        for number in 1400..1500 {
            assert!(holds(&tip, number), "{number}");
        }
        assert!(!holds(&tip, 3), "not all of the file");
        read(&dir.join("none")).unwrap_err();
    }
}
