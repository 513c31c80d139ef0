//! A real Mosquitto between devices and the hub, as `landfall-hub broker-config` sets it up.

use crate::wait;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Ports to choose from: below those that the system gives to outgoing connections, so that
/// nobody takes the broker's while it is down.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// Ports that are tried.
const TRIES: usize = 8;

/// Longest wait for it to listen.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Runs a broker until its own standard input is closed, then kills it as `kill -9` does: so it
/// is gone when its parent is, however that went.
const KEEPER: &str = "PATH=$PATH:/usr/sbin; mosquitto -c \"$1\" & read -r _; kill -9 $!; wait";

/// A broker with its directory. Dropped, it is killed.
pub struct Mosquitto {
    dir: PathBuf,
    address: SocketAddr,
    keeper: Option<Child>,
}

impl Mosquitto {
    /// Whether it is installed.
    pub fn is_installed() -> bool {
        let found = "PATH=$PATH:/usr/sbin; command -v mosquitto";
        let found = Command::new("sh").args(["-c", found]).stdout(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    }

    /// Starts one on a free port; `configure` is given the address and writes mosquitto.conf and
    /// what belongs to it into `dir`.
    ///
    /// # Errors
    /// When it is not installed or does not listen.
    pub fn start(dir: &Path, configure: impl Fn(SocketAddr) -> Result<()>) -> Result<Mosquitto> {
        Mosquitto::start_at(dir, IpAddr::from([127, 0, 0, 1]), configure)
    }

    /// The same at this address of the machine.
    ///
    /// # Errors
    /// When it is not installed or does not listen.
    pub fn start_at(
        dir: &Path,
        ip: IpAddr,
        configure: impl Fn(SocketAddr) -> Result<()>,
    ) -> Result<Mosquitto> {
        if !Mosquitto::is_installed() {
            bail!("mosquitto is not installed (apt-get install mosquitto)");
        }
        let mut last = None;
        for _ in 0..TRIES {
            let address = free_address(ip).context("no free port for a broker")?;
            configure(address)?;
            let mut broker = Mosquitto { dir: dir.to_owned(), address, keeper: None };
            match broker.restart() {
                Ok(()) => return Ok(broker),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no try to start a broker")?)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it again, killing one that still runs. It remembers nothing.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        let written = self.dir.join("mosquitto.conf");
        let mut config = std::fs::read_to_string(&written)
            .with_context(|| format!("cannot read {}", written.display()))?;
        // Started as root it would become another user, who cannot read a test's directory.
        config.push_str("\nuser root\n");
        let path = self.dir.join("run.conf");
        std::fs::write(&path, config)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let log = File::options().create(true).append(true).open(self.log_path());
        let log = log.with_context(|| format!("cannot write {}", self.log_path().display()))?;
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().context("cannot share a log")?)
            .stderr(log)
            .spawn()
            .context("cannot run sh")?;
        self.keeper = Some(keeper);
        wait::until("mosquitto to listen", READY_WITHIN, || {
            match TcpStream::connect(self.address) {
                Ok(_) => ControlFlow::Break(()),
                Err(error) => ControlFlow::Continue(error.to_string()),
            }
        })
        .with_context(|| self.log_end())
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut keeper) = self.keeper.take() else { return Ok(()) };
        drop(keeper.stdin.take());
        keeper.wait().context("cannot wait for a broker").map(drop)
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("mosquitto.log")
    }

    /// The end of its log.
    pub fn log_end(&self) -> String {
        let mut text = String::new();
        if let Ok(mut log) = File::open(self.log_path()) {
            let _unreadable = log.read_to_string(&mut text);
        }
        let lines: Vec<&str> = text.lines().rev().take(12).collect();
        format!("end of {}:\n{}", self.log_path().display(), lines.join("\n"))
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _already_gone = self.kill();
    }
}

fn free_address(ip: IpAddr) -> Option<SocketAddr> {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let random = RandomState::new().build_hasher().finish();
    let width = u64::from(PORTS.end - PORTS.start);
    (0..width)
        .filter_map(|step| u16::try_from(random.wrapping_add(step) % width).ok())
        .map(|offset| SocketAddr::from((ip, PORTS.start + offset)))
        .find(|address| TcpListener::bind(address).is_ok())
}

/// One of Mosquitto's own clients, with an identity that `enroll` wrote.
pub struct Tool {
    /// `mosquitto_pub` or `mosquitto_sub`.
    pub name: &'static str,
    /// The identity's directory.
    pub identity: PathBuf,
    /// Where the broker is.
    pub broker: SocketAddr,
}

impl Tool {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.name);
        command
            .args(["-h", &self.broker.ip().to_string(), "-p", &self.broker.port().to_string()])
            .args(["-V", "311", "-q", "1"])
            .arg("--cafile")
            .arg(self.identity.join("ca.pem"))
            .arg("--cert")
            .arg(self.identity.join("device.pem"))
            .arg("--key")
            .arg(self.identity.join("device.key"))
            .args(args);
        command
    }

    /// Runs it to its end; `input` is its standard input. Returns its exit code and its standard
    /// output.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn run(&self, args: &[&str], input: &[u8]) -> Result<(Option<i32>, Vec<u8>)> {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", self.name))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that was refused is gone before it reads.
            let _refused = stdin.write_all(input);
        }
        let output = child.wait_with_output().context("cannot wait for a client")?;
        Ok((output.status.code(), output.stdout))
    }
}
