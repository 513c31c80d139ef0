//! The real agent and hub as processes of their own: this very executable, started again with
//! a hidden first argument. What runs is `landfall_agent::cli::main` and
//! `landfall_hub::cli::main`, nothing else.
//!
//! A node's standard input is a pipe that its parent holds: when the parent is gone, however it
//! went, the node ends too. Its log is a file.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Longest wait for a node to serve. Loading a model takes well under a second; a debug build
/// on a busy machine takes longer.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Longest wait for a node that was asked to stop.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Lines of its log that an error about a node shows.
const LOG_LINES_SHOWN: usize = 12;

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `landfall-agent`.
    Agent,
    /// `landfall-hub`.
    Hub,
}

impl Role {
    fn argument(self) -> &'static str {
        match self {
            Role::Agent => "__agent",
            Role::Hub => "__hub",
        }
    }
}

/// Becomes a node if the arguments say so; to be called first in `main` of an executable that
/// starts nodes. `None` means that it was called by a person.
pub fn become_node() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let role = args.next()?;
    let role = [Role::Agent, Role::Hub].into_iter().find(|known| role == known.argument())?;
    thread::spawn(end_with_parent);
    Some(match role {
        Role::Agent => landfall_agent::cli::main(named("landfall-agent", args)),
        Role::Hub => landfall_hub::cli::main(named("landfall-hub", args)),
    })
}

fn named(name: &str, args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    std::iter::once(OsString::from(name)).chain(args).collect()
}

fn end_with_parent() {
    let mut nothing = [0];
    // The parent never writes: this returns when its end of the pipe is closed.
    let _closed = std::io::stdin().read(&mut nothing);
    std::process::exit(1);
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The executable, which calls [`become_node`].
    pub executable: PathBuf,
    /// What it becomes.
    pub role: Role,
    /// Its command line.
    pub args: Vec<OsString>,
    /// Variables set beside those of its parent.
    pub env: Vec<(OsString, OsString)>,
    /// File for its log; appended to.
    pub log: PathBuf,
}

impl Spec {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        // Its own process group: Ctrl-C reaches the parent only, which then stops its nodes.
        command.arg(self.role.argument()).args(&self.args).process_group(0);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end, with its output.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn output(&self) -> Result<Output> {
        // Standard input stays open for as long as the command runs, or it would end at once.
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.executable.display()))?;
        let stdin = child.stdin.take();
        let output = child.wait_with_output().context("cannot wait for a command");
        drop(stdin);
        output
    }

    /// Starts a server and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or says nothing; with the end of its log.
    pub fn start(&self) -> Result<Node> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.executable.display()))?;
        let stdout = child.stdout.take().context("a node without standard output")?;
        let mut node = Node { child, log: self.log.clone(), ready: String::new() };
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Only the first line is waited for; the rest is read so that it never blocks.
                let _not_awaited = sender.send(line);
            }
        });
        match receiver.recv_timeout(READY_WITHIN) {
            Ok(line) => node.ready = line,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("not ready within {} s\n{}", READY_WITHIN.as_secs(), node.log_end())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = node.child.wait().context("cannot wait for a node")?;
                bail!("ended instead of serving ({status})\n{}", node.log_end())
            }
        }
        Ok(node)
    }
}

/// A running server. Dropped, it is killed.
pub struct Node {
    child: Child,
    log: PathBuf,
    ready: String,
}

impl Node {
    /// The address that the ready line gives for `key`, such as `http`.
    ///
    /// # Errors
    /// When the ready line has no such address.
    pub fn address(&self, key: &str) -> Result<SocketAddr> {
        ready_address(&self.ready, key)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("cannot kill a node")?;
        self.child.wait().context("cannot wait for a node")?;
        Ok(())
    }

    /// Asks it to stop (SIGTERM) and waits.
    ///
    /// # Errors
    /// When it does not stop in time.
    pub fn stop(self) -> Result<ExitStatus> {
        let kill = format!("kill -TERM {}", self.child.id());
        let asked = Command::new("sh").args(["-c", &kill]).status().context("cannot run sh")?;
        if !asked.success() {
            bail!("cannot signal a node");
        }
        self.ended("a graceful stop", STOP_WITHIN)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it still runs after `within`; `what` names what was waited for.
    pub fn ended(mut self, what: &str, within: Duration) -> Result<ExitStatus> {
        let child = &mut self.child;
        let status = crate::wait::until(what, within, || match child.try_wait() {
            Ok(Some(status)) => std::ops::ControlFlow::Break(Ok(status)),
            Ok(None) => std::ops::ControlFlow::Continue("still running"),
            Err(error) => std::ops::ControlFlow::Break(Err(error)),
        })?;
        status.context("cannot wait for a node")
    }

    /// The last lines of its log.
    pub fn log_end(&self) -> String {
        log_end(&self.log)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_gone = self.child.wait();
    }
}

fn log_end(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
    format!("end of {}:\n{}", log.display(), shown.join("\n"))
}

fn ready_address(line: &str, key: &str) -> Result<SocketAddr> {
    let words = line.strip_prefix("ready ").with_context(|| format!("not a ready line: {line}"))?;
    let value = words
        .split_whitespace()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        .with_context(|| format!("no {key}= in: {line}"))?;
    value.parse().with_context(|| format!("{key}={value} is not an address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_lines_are_understood() {
        let line = "ready mqtt=127.0.0.1:4001 web=127.0.0.1:4002";
        assert_eq!(ready_address(line, "web").unwrap().port(), 4002);
        assert_eq!(ready_address(line, "mqtt").unwrap().port(), 4001);
        for (line, key) in [(line, "http"), ("ready http=-", "http"), ("http=127.0.0.1:1", "http")]
        {
            assert!(ready_address(line, key).is_err(), "{line}");
        }
    }
}
