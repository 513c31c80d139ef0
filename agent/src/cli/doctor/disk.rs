//! The disk under the data directory: space, rights, and wear where the device tells of it.

use super::super::output::size;
use super::Check;
use crate::config::Config;
use crate::http::StatusBody;
use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// With less free than this, the store cannot be opened again after a failed write.
const FREE_BYTES_MIN: u64 = 16 << 20;

/// eMMC tells its wear in tenths of its life, 1 for up to 10 %, 11 for more than all of it.
const LIFE_TENTHS_MAX: u8 = 8;

pub(super) fn checks(config: &Config, status: Option<&StatusBody>, checks: &mut Vec<Check>) {
    let dir = &config.data_dir;
    let here = dir.ancestors().find(|path| path.exists()).unwrap_or(dir);
    checks.push(space(config, here, status));
    checks.push(rights(dir, here, status.is_some()));
    checks.push(match device(here, Path::new("/sys")) {
        Some(device) => wear(&device),
        None => Check::note("wear", "the disk does not tell of its wear"),
    });
}

fn space(config: &Config, here: &Path, status: Option<&StatusBody>) -> Check {
    let free = match statvfs(here) {
        Ok(vfs) => vfs.f_bavail.saturating_mul(vfs.f_frsize),
        Err(error) => {
            let says = format!("cannot be asked at {}: {error}", here.display());
            return Check::failed("disk", says, "check that it is mounted");
        }
    };
    let used = status.map_or_else(|| bytes_below(&config.data_dir, 0), |status| status.store.bytes);
    let bytes_max = config.store.bytes_max;
    let says = format!(
        "{} free at {}, the store takes {} of {}",
        size(free),
        config.data_dir.display(),
        size(used),
        size(bytes_max)
    );
    if free < FREE_BYTES_MIN {
        return Check::failed("disk", says, "free space on it: du -xh / | sort -h | tail");
    }
    if free < bytes_max.saturating_sub(used) {
        let remedy = "free space, or lower store.bytes_max: the disk is full before the store is";
        return Check::warning("disk", says, remedy);
    }
    Check::ok("disk", says)
}

/// Folders below the store are few and flat.
const DEPTH_MAX: u32 = 8;

fn bytes_below(dir: &Path, depth: u32) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() && depth < DEPTH_MAX => {
            bytes_below(&entry.path(), depth + 1)
        }
        // What is on the disk, not what a sparse file claims.
        Ok(metadata) => metadata.blocks().saturating_mul(512),
        Err(_) => 0,
    });
    bytes.sum()
}

fn rights(dir: &Path, here: &Path, running: bool) -> Check {
    let read_only = statvfs(here).is_ok_and(|vfs| vfs.f_flag.contains(StatVfsMountFlags::RDONLY));
    let shown = here.display();
    if read_only {
        let remedy =
            "see `dmesg` for why the kernel mounted it so; a worn card does that: replace it";
        return Check::failed("writable", format!("{shown} is on a read-only disk"), remedy);
    }
    if access(here, Access::WRITE_OK).is_err() {
        let says = format!("this user may not write to {shown}");
        let remedy = "run doctor as the user of the agent: sudo -u landfall landfall-agent doctor";
        // The agent has its own user; what it says of its store counts.
        return if running {
            Check::note("writable", says)
        } else {
            Check::warning("writable", says, remedy)
        };
    }
    match here == dir {
        true => Check::ok("writable", format!("{shown} can be written")),
        false => Check::note("writable", format!("{} will be made in {shown}", dir.display())),
    }
}

/// The whole disk that holds a path, as the kernel shows it below `sys`.
fn device(path: &Path, sys: &Path) -> Option<PathBuf> {
    let dev = std::fs::metadata(path).ok()?.dev();
    let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
    let block = sys.join(format!("dev/block/{major}:{minor}")).canonicalize().ok()?;
    // A partition is a folder in that of its disk.
    let disk = if block.join("partition").exists() { block.parent()?.to_owned() } else { block };
    disk.join("device").exists().then_some(disk)
}

fn wear(disk: &Path) -> Check {
    let name = disk.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let read = |file: &str| std::fs::read_to_string(disk.join("device").join(file)).ok();
    let hex = |text: &str| u8::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok();
    let Some(life) = read("life_time") else {
        return Check::note("wear", format!("{name} does not tell of its wear"));
    };
    // Two kinds of cells; 0 is "not defined".
    let Some(tenths) = life.split_whitespace().filter_map(hex).max().filter(|tenths| *tenths > 0)
    else {
        return Check::note("wear", format!("{name} does not tell of its wear"));
    };
    let spare = read("pre_eol_info").as_deref().and_then(hex).unwrap_or(0);
    let says = match tenths {
        11.. => format!("{name} is past its life"),
        _ => format!("{name} has used {} to {} % of its life", (tenths - 1) * 10, tenths * 10),
    };
    let remedy = "plan to replace the box or its card: see the device guide";
    match (tenths, spare) {
        // Pre-EOL: 1 normal, 2 80 % of the spare blocks used, 3 urgent.
        (11.., _) | (_, 3) => Check::failed("wear", says, remedy),
        (LIFE_TENTHS_MAX.., _) | (_, 2) => Check::warning("wear", says, remedy),
        _ => Check::ok("wear", says),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn an_emmc_tells_of_its_wear() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("mmcblk0");
        std::fs::create_dir_all(disk.join("device")).unwrap();
        assert_eq!(wear(&disk).level, Level::Note);
        for (life, spare, level) in [
            ("0x01 0x02\n", "0x01\n", Level::Ok),
            ("0x01 0x09\n", "0x01\n", Level::Warning),
            ("0x02 0x02\n", "0x02\n", Level::Warning),
            ("0x02 0x02\n", "0x03\n", Level::Failed),
            ("0x0b 0x02\n", "0x01\n", Level::Failed),
            ("0x00 0x00\n", "0x01\n", Level::Note),
            ("rubbish", "rubbish", Level::Note),
        ] {
            std::fs::write(disk.join("device/life_time"), life).unwrap();
            std::fs::write(disk.join("device/pre_eol_info"), spare).unwrap();
            let check = wear(&disk);
            assert_eq!(check.level, level, "{life}: {check:?}");
        }
    }

    #[test]
    fn a_partition_leads_to_its_disk() {
        let dir = tempfile::tempdir().unwrap();
        let sys = dir.path().join("sys");
        let dev = std::fs::metadata(dir.path()).unwrap().dev();
        let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
        let partition = sys.join("block/mmcblk0/mmcblk0p2");
        std::fs::create_dir_all(&partition).unwrap();
        std::fs::create_dir_all(sys.join("block/mmcblk0/device")).unwrap();
        std::fs::write(partition.join("partition"), "2").unwrap();
        std::fs::create_dir_all(sys.join("dev/block")).unwrap();
        let link = sys.join(format!("dev/block/{major}:{minor}"));
        std::os::unix::fs::symlink(&partition, link).unwrap();
        let found = device(dir.path(), &sys).unwrap();
        assert!(found.ends_with("block/mmcblk0"), "{}", found.display());
    }
}
