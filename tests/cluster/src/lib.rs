//! A throwaway PostgreSQL server for tests: one for a whole run, a database for each test.
//!
//! The first test that needs it makes the server, as a user without rights (PostgreSQL refuses to
//! run as root) and on a socket in a directory of its own; it ends with the test runner. It does
//! not sync, which no test is about: what a power cut leaves is PostgreSQL's own promise.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::chown;
use std::os::unix::process::{CommandExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// `nobody` on Debian, and a user without rights everywhere.
const NOBODY: u32 = 65_534;

/// The user whom the server knows.
const USER: &str = "landfall";

/// Making a cluster takes a second or two on an idle machine.
const START_MAX: Duration = Duration::from_secs(120);

/// Where Debian keeps what it does not put on the PATH, a directory for each version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A server that runs until the test runner ends.
#[derive(Debug, Clone)]
pub struct Server {
    bin: PathBuf,
    dir: PathBuf,
    syncs: bool,
}

/// A new, empty database; its address as the hub takes it.
///
/// # Errors
/// Why there is none: PostgreSQL is not installed, or does not start.
pub fn database() -> Result<String, String> {
    server()?.database()
}

/// The server of this test run.
///
/// # Errors
/// Why there is none.
pub fn server() -> Result<Server, String> {
    of_this_run("landfall-postgres", false)
}

/// Another that syncs as one in earnest does, for measurements.
///
/// # Errors
/// Why there is none.
pub fn server_that_syncs() -> Result<Server, String> {
    of_this_run("landfall-postgres-synced", true)
}

fn of_this_run(name: &str, syncs: bool) -> Result<Server, String> {
    let bin = binaries().ok_or("PostgreSQL is not installed (package postgresql)")?;
    let runner = parent_id();
    let dir = std::env::temp_dir().join(format!("{name}-{runner}"));
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    std::fs::create_dir_all(&dir).map_err(failed)?;
    // Tests of one runner are processes of their own; the first makes the server.
    let lock = File::create(dir.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let server = Server { bin, dir: dir.clone(), syncs };
    if !server.answers() {
        server.start(runner)?;
    }
    Ok(server)
}

fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut versions: Vec<PathBuf> = std::fs::read_dir(DEBIAN)
        .map(|found| found.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    let mut all = versions.into_iter().rev().chain(std::env::split_paths(&path));
    all.find(|dir| ["initdb", "postgres", "createdb"].iter().all(|name| dir.join(name).is_file()))
}

impl Server {
    /// A program of this version of PostgreSQL that knows where the server is.
    pub fn tool(&self, name: &str) -> Command {
        // The clients are on the PATH where they are not beside the server.
        let beside = self.bin.join(name);
        let mut command = Command::new(if beside.is_file() { beside } else { name.into() });
        command.env("PGHOST", &self.dir).env("PGUSER", USER).env("PGPORT", "5432");
        command
    }

    /// A new, empty database; its address as the hub takes it.
    ///
    /// # Errors
    /// What the server says.
    pub fn database(&self) -> Result<String, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t_{}_{number}", std::process::id());
        quiet(self.tool("createdb").arg(&name))?;
        Ok(self.url(&name))
    }

    /// The address of a database.
    pub fn url(&self, name: &str) -> String {
        format!("postgres:///{name}?host={}&user={USER}", self.dir.display())
    }

    fn answers(&self) -> bool {
        self.tool("psql")
            .args(["-Atc", "SELECT 1", "postgres"])
            .output()
            .is_ok_and(|output| output.status.success() && output.stdout.starts_with(b"1"))
    }

    fn start(&self, runner: u32) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.dir.display());
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|me| {
            use std::os::unix::fs::MetadataExt;
            me.uid() == 0
        });
        if is_root {
            chown(&self.dir, Some(NOBODY), Some(NOBODY)).map_err(failed)?;
        }
        let as_nobody = |program: &OsStr| {
            let mut command = Command::new(program);
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command.current_dir(&self.dir).env("LC_ALL", "C");
            command
        };
        let data = self.dir.join("data");
        if data.exists() {
            // Of a runner that was killed and had the same number.
            std::fs::remove_dir_all(&data).map_err(failed)?;
        }
        let mut init = as_nobody(self.bin.join("initdb").as_os_str());
        init.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--username", USER, "-D"]);
        quiet(init.arg(&data))?;
        let log = self.dir.join("log");
        // Ends the server and removes it when the test runner is gone.
        let script = r#"
            "$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync="$4" \
                -c full_page_writes="$4" -c max_connections=300 -c shared_buffers=128MB \
                > "$2/log" 2>&1 &
            server=$!
            while [ -d "/proc/$3" ] && kill -0 $server 2> /dev/null; do sleep 1; done
            kill -INT $server 2> /dev/null
            wait $server
            rm -rf "$2"
        "#;
        let mut keeper = as_nobody(OsStr::new("sh"));
        keeper.args(["-c", script, "keeper"]).arg(&self.bin).arg(&self.dir).arg(runner.to_string());
        keeper.arg(if self.syncs { "on" } else { "off" });
        keeper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        keeper.process_group(0);
        keeper.spawn().map_err(failed)?;
        let start = Instant::now();
        while !self.answers() {
            if start.elapsed() > START_MAX {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("PostgreSQL did not start: {log}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Where its socket is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn quiet(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}
