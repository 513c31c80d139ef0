//! Starts the real agent in a directory of its own and talks to it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its own part of it, and fails where it stands"
)]

use serde_json::Value;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for anything: generous, because a test machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A task that decides by rules alone; everything else is escalated for want of a model.
pub(crate) const RULES: &str = r#"
[task.failure-mode]
error_max = 0.10
leave = { text = true, meta = ["asset"] }
text_bytes_max = "16 KiB"
[[task.failure-mode.rule]]
name = "leak"
words = ["leak", "leaking"]
answer = "Leaking"
[[task.failure-mode.rule]]
name = "drill"
words = ["fire drill"]
out_of_scope = true
"#;

/// A site: configuration and data directory.
pub(crate) struct Site {
    pub(crate) dir: tempfile::TempDir,
}

impl Site {
    /// With HTTP on a free port, a spool, and these further lines.
    pub(crate) fn new(more: &str) -> Site {
        let site = Site { dir: tempfile::tempdir().unwrap() };
        site.configure(more);
        site
    }

    pub(crate) fn configure(&self, more: &str) {
        let text = format!(
            "data_dir = \"data\"\n[http]\nlisten = \"127.0.0.1:0\"\n[spool]\ndir = \"spool\"\n{more}"
        );
        std::fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("agent.toml")
    }

    pub(crate) fn spool(&self, name: &str) -> PathBuf {
        self.path().join("spool/failure-mode").join(name)
    }

    /// A command of the binary, with this configuration and without any model package.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall-agent"));
        command
            .args(args)
            .args(["--config".as_ref(), self.config().as_os_str()])
            .env("LANDFALL_PACKAGES", self.path().join("no-packages"))
            .env_remove("LANDFALL_CONFIG")
            .env_remove("RUST_LOG")
            .current_dir(self.path());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command with input to its end.
    pub(crate) fn run_with(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(args);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Starts the agent and waits until it is ready.
    pub(crate) fn start(&self) -> Agent {
        Agent::start(self.command(&["run"]), self.path())
    }
}

/// What a command printed, for failure messages and assertions.
pub(crate) fn text(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let mut text = String::new();
    let _ = write!(text, "{}\n--- stdout\n{out}\n--- stderr\n{err}", output.status);
    text
}

pub(crate) fn stdout_json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(output)))
}

/// A running agent; killed when dropped.
pub(crate) struct Agent {
    child: Child,
    pub(crate) url: String,
    log: PathBuf,
}

impl Agent {
    pub(crate) fn start(mut command: Command, dir: &Path) -> Agent {
        let log = dir.join("agent.log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("ready http=") else {
            let _ = child.kill();
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            panic!("no ready line but '{line}'; log:\n{log}");
        };
        Agent { child, url: format!("http://{address}"), log }
    }

    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// SIGTERM, then its exit.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.terminate();
        self.wait()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "the agent did not end; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let mut response = http().get(format!("{}{path}", self.url)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_json().unwrap())
    }

    pub(crate) fn get_text(&self, path: &str) -> String {
        let mut response = http().get(format!("{}{path}", self.url)).call().unwrap();
        assert_eq!(response.status().as_u16(), 200);
        response.body_mut().read_to_string().unwrap()
    }

    pub(crate) fn post(&self, body: impl AsRef<[u8]>) -> (u16, Value) {
        self.post_to("failure-mode", body)
    }

    pub(crate) fn post_to(&self, task: &str, body: impl AsRef<[u8]>) -> (u16, Value) {
        let url = format!("{}/v1/tasks/{task}", self.url);
        let mut response = http().post(url).send(body.as_ref()).unwrap();
        (response.status().as_u16(), response.body_mut().read_json().unwrap())
    }

    /// The reply to one text, which must be taken.
    pub(crate) fn ask(&self, text: &str, id: Option<&str>) -> Value {
        let mut body = serde_json::json!({"text": text});
        if let Some(id) = id {
            body["id"] = id.into();
        }
        let (status, reply) = self.post(body.to_string());
        assert_eq!(status, 200, "{reply}");
        reply
    }

    pub(crate) fn status(&self) -> Value {
        self.get("/v1/status").1
    }

    /// How many records a stream has ever had.
    pub(crate) fn end_of(&self, stream: &str) -> u64 {
        let status = self.status();
        let streams = status["store"]["streams"].as_array().unwrap();
        let ours = streams.iter().filter(|s| s["stream"] == stream);
        ours.map(|s| s["end"].as_u64().unwrap()).sum()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn http() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(DEADLINE))
        .build()
        .into()
}

/// Waits until `look` gives something; `last` is told if it does not.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) => assert!(start.elapsed() < DEADLINE, "no {what}; last: {last}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for a file and reads it.
pub(crate) fn wait_for_file(path: &Path) -> String {
    wait_for(&format!("file {}", path.display()), || {
        std::fs::read_to_string(path).map_err(|error| {
            let dir = path.parent().and_then(Path::parent).unwrap();
            format!("{error}; spool has {:?}", tree(dir))
        })
    })
}

fn tree(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() { tree(&path) } else { vec![path.display().to_string()] }
        })
        .collect()
}
