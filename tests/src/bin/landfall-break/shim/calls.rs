//! The functions that stand in the place of the C library's. Each asks the shim, and makes the
//! system call itself.
//!
//! `open` has a variable argument list in C; its third argument comes in the same register as a
//! fixed one on the 64-bit processors that this runs on.

#![expect(unsafe_code, reason = "functions of the C library, and the system calls under them")]

use super::{Shim, with};
use libc::{c_char, c_int, c_long, c_uint, c_void, mode_t, off64_t, size_t, ssize_t};
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const _: () = assert!(size_of::<usize>() == 8, "arguments of 64 bits fit one register");

/// Ends this process as `kill -9` does.
pub(super) fn kill_this_process() -> ! {
    loop {
        // SAFETY: takes no pointers.
        unsafe { libc::syscall(libc::SYS_kill, libc::getpid(), libc::SIGKILL) };
    }
}

/// Fails with `EROFS`.
fn refuse() -> c_long {
    // SAFETY: the address is of this thread's own variable.
    unsafe { *libc::__errno_location() = libc::EROFS };
    -1
}

/// Counts the operation, and makes it if the disk can be written.
fn change(shim: &mut Shim, act: impl FnOnce(&mut Shim) -> c_long) -> c_long {
    if shim.is_read_only() { refuse() } else { shim.step(act) }
}

fn narrow(result: c_long) -> c_int {
    c_int::try_from(result).unwrap_or(-1)
}

/// The path that a call names, seen from a directory.
///
/// # Safety
/// `path` is a C string.
unsafe fn resolve(dir: c_int, path: *const c_char) -> PathBuf {
    // SAFETY: by contract.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
    if path.is_absolute() {
        return path.to_owned();
    }
    let base = match dir {
        libc::AT_FDCWD => std::env::current_dir(),
        dir => std::fs::read_link(super::fd_path(dir)),
    };
    base.unwrap_or_default().join(path)
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let open = |flags: c_int| {
        // SAFETY: the caller's arguments.
        unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) }
    };
    let writes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_CREAT != 0;
    let done = with(|shim| {
        // SAFETY: the caller gives a C string.
        let named = unsafe { resolve(libc::AT_FDCWD, path) };
        if !writes || !shim.covers(&named) {
            return open(flags);
        }
        let is_new = named.symlink_metadata().is_err();
        change(shim, |shim| {
            // Emptied after it is known, so that what it held can come back.
            let done = open(flags & !libc::O_TRUNC);
            let fd = narrow(done);
            if fd >= 0 {
                shim.opened(fd, is_new);
                if flags & libc::O_TRUNC != 0 {
                    truncate(shim, fd, 0);
                }
            }
            done
        })
    });
    narrow(done.unwrap_or_else(|| open(flags)))
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the same contract.
    unsafe { open64(path, flags, mode) }
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    // SAFETY: the caller's arguments.
    let write = || unsafe { libc::syscall(libc::SYS_write, fd, bytes, count) };
    let done = with(|shim| {
        let Some(inode) = shim.tracked(fd) else { return write() };
        // SAFETY: takes no pointers.
        let (flags, at) = unsafe {
            (libc::syscall(libc::SYS_fcntl, fd, libc::F_GETFL), libc::lseek(fd, 0, libc::SEEK_CUR))
        };
        let appends = narrow(flags) & libc::O_APPEND != 0;
        let end = || std::fs::metadata(super::fd_path(fd)).map_or(0, |meta| meta.len());
        let at = if appends { end() } else { u64::try_from(at).unwrap_or_default() };
        change(shim, |shim| {
            shim.will_write(inode, at, count as u64);
            write()
        })
    });
    ssize_t::try_from(done.unwrap_or_else(write)).unwrap_or(-1)
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(
    fd: c_int,
    bytes: *const c_void,
    count: size_t,
    at: off64_t,
) -> ssize_t {
    // SAFETY: the caller's arguments.
    let write = || unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes, count, at) };
    let done = with(|shim| match (shim.tracked(fd), u64::try_from(at)) {
        (Some(inode), Ok(at)) => change(shim, |shim| {
            shim.will_write(inode, at, count as u64);
            write()
        }),
        _ => write(),
    });
    ssize_t::try_from(done.unwrap_or_else(write)).unwrap_or(-1)
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(
    fd: c_int,
    bytes: *const c_void,
    count: size_t,
    at: off64_t,
) -> ssize_t {
    // SAFETY: the same contract.
    unsafe { pwrite64(fd, bytes, count, at) }
}

fn truncate(shim: &mut Shim, fd: c_int, to: off64_t) -> c_long {
    if let (Some(inode), Ok(to)) = (shim.tracked(fd), u64::try_from(to)) {
        shim.will_truncate(inode, to);
    }
    // SAFETY: takes no pointers.
    unsafe { libc::syscall(libc::SYS_ftruncate, fd, to) }
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(fd: c_int, to: off64_t) -> c_int {
    let done = with(|shim| match shim.tracked(fd) {
        Some(_) => change(shim, |shim| truncate(shim, fd, to)),
        None => truncate(shim, fd, to),
    });
    // SAFETY: takes no pointers.
    narrow(done.unwrap_or_else(|| unsafe { libc::syscall(libc::SYS_ftruncate, fd, to) }))
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate(fd: c_int, to: off64_t) -> c_int {
    // SAFETY: the same contract.
    unsafe { ftruncate64(fd, to) }
}

/// Makes a file or the names in a directory durable. The disk is the shim's: nothing is waited
/// for.
fn sync(fd: c_int, number: c_long) -> c_int {
    // SAFETY: takes no pointers.
    let real = || unsafe { libc::syscall(number, fd) };
    let done = with(|shim| {
        change(shim, |shim| {
            shim.synced(fd);
            0
        })
    });
    narrow(done.unwrap_or_else(real))
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fsync)
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fdatasync)
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn sync_file_range(
    fd: c_int,
    from: off64_t,
    bytes: off64_t,
    flags: c_uint,
) -> c_int {
    // SAFETY: takes no pointers.
    let real = || unsafe { libc::syscall(libc::SYS_sync_file_range, fd, from, bytes, flags) };
    narrow(with(|shim| change(shim, |_| 0)).unwrap_or_else(real))
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let real = || {
        let here = libc::AT_FDCWD;
        // SAFETY: the caller's arguments.
        unsafe { libc::syscall(libc::SYS_renameat2, here, from, here, to, 0) }
    };
    let done = with(|shim| {
        // SAFETY: the caller gives C strings.
        let (old, new) = unsafe { (resolve(libc::AT_FDCWD, from), resolve(libc::AT_FDCWD, to)) };
        if !shim.covers(&old) {
            return real();
        }
        change(shim, |shim| {
            let replaced = shim.names.keep(&new);
            let done = real();
            if done == 0 {
                shim.names.renamed(&old, &new, replaced);
            }
            done
        })
    });
    narrow(done.unwrap_or_else(real))
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller's arguments.
    let real = || unsafe { libc::syscall(libc::SYS_unlinkat, dir, path, flags) };
    let done = with(|shim| {
        // SAFETY: the caller gives a C string.
        let named = unsafe { resolve(dir, path) };
        if !shim.covers(&named) {
            return real();
        }
        change(shim, |shim| {
            let aside = shim.names.keep(&named);
            let done = real();
            match aside {
                _ if done != 0 => {}
                Some(aside) => shim.names.removed(&named, aside),
                None => shim.names.removed_dir(&named),
            }
            done
        })
    });
    narrow(done.unwrap_or_else(real))
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the same contract.
    unsafe { unlinkat(libc::AT_FDCWD, path, 0) }
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    // SAFETY: the same contract.
    unsafe { unlinkat(libc::AT_FDCWD, path, libc::AT_REMOVEDIR) }
}

/// # Safety
/// As the function of the C library.
#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the caller's arguments.
    let real = || unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) };
    let done = with(|shim| {
        // SAFETY: the caller gives a C string.
        let named = unsafe { resolve(libc::AT_FDCWD, path) };
        if !shim.covers(&named) {
            return real();
        }
        change(shim, |shim| {
            let done = real();
            if done == 0 {
                shim.names.made(&named);
            }
            done
        })
    });
    narrow(done.unwrap_or_else(real))
}
