//! A hub and its devices in one directory, each with its own process, store and link.
//!
//! Everything is set up as a technician would: the hub makes its own CA, `enroll` issues each
//! identity, the agent gets a configuration file. Every port is free for the taking.

use crate::client::Client;
use crate::faults::Orders;
use crate::link::Link;
use crate::mosquitto::Mosquitto;
use crate::node::{Node, Role, Spec};
use anyhow::{Context, Result, bail};
use landfall_models::package::{SHIPPED_KEY, shipped_dirs};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The tasks of the demo, ready to stand in a configuration.
pub const TASKS: &str = include_str!("../samples/tasks.toml");

/// A hub with its data directory.
pub struct Hub {
    executable: PathBuf,
    dir: PathBuf,
    node: Option<Node>,
    /// The broker between it and its devices, if there is one.
    broker: Option<Mosquitto>,
    /// Where its database is, if not in a file.
    database: Option<String>,
    /// Where devices connect: to the hub, or to its broker.
    pub mqtt: SocketAddr,
    /// The page and the API.
    pub web: SocketAddr,
    /// Where files of releases are handed out.
    pub files: SocketAddr,
}

impl Hub {
    /// Makes a hub in `dir` and starts it.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn start(executable: &Path, dir: &Path) -> Result<Hub> {
        Hub::start_at(executable, dir, IpAddr::from([127, 0, 0, 1]))
    }

    /// The same, with its database on a server if one is given.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn start_on(executable: &Path, dir: &Path, database: Option<&str>) -> Result<Hub> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (executable, dir) = (executable.to_owned(), dir.to_owned());
        let database = database.map(str::to_owned);
        let (node, broker, mqtt, web, files) = (None, None, nowhere, nowhere, nowhere);
        let mut hub = Hub { executable, dir, node, broker, database, mqtt, web, files };
        hub.restart()?;
        Ok(hub)
    }

    /// The same, serving devices at this address of the machine.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn start_at(executable: &Path, dir: &Path, address: IpAddr) -> Result<Hub> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (executable, dir) = (executable.to_owned(), dir.to_owned());
        let mqtt = SocketAddr::from((address, 0));
        let (node, broker, web, files) = (None, None, nowhere, nowhere);
        let database = None;
        let mut hub = Hub { executable, dir, node, broker, database, mqtt, web, files };
        hub.restart()?;
        Ok(hub)
    }

    /// The same, with its devices behind a Mosquitto that it configures.
    ///
    /// # Errors
    /// When Mosquitto is not installed, or one of the two does not serve.
    pub fn start_behind_broker(executable: &Path, dir: &Path) -> Result<Hub> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (executable, dir) = (executable.to_owned(), dir.to_owned());
        let (node, broker, mqtt, web, files) = (None, None, nowhere, nowhere, nowhere);
        let database = None;
        let mut hub = Hub { executable, dir, node, broker, database, mqtt, web, files };
        let files = hub.dir.join("data").join("mosquitto");
        let broker = Mosquitto::start(&files, |address| {
            let listen = address.to_string();
            hub.command(&["broker-config", "mosquitto", "--listen", &listen]).map(drop)
        })?;
        hub.mqtt = broker.address();
        hub.broker = Some(broker);
        hub.restart()?;
        Ok(hub)
    }

    /// Starts it again on the same data, on the same ports if they are still free.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn restart(&mut self) -> Result<()> {
        drop(self.node.take());
        let (mqtt, web) = (self.mqtt.to_string(), self.web.to_string());
        let files = self.files.to_string();
        let name = self.mqtt.ip().to_string();
        let met = if self.broker.is_some() { "--broker" } else { "--listen" };
        let files = ["--files-listen", &files];
        let run = ["run", met, &mqtt, "--web", &web, "--name", &name];
        let spec = self.spec(&[&run[..], &files[..]].concat());
        let node = spec.start().context("the hub")?;
        self.mqtt = node.address(if self.broker.is_some() { "broker" } else { "mqtt" })?;
        self.web = node.address("web")?;
        self.files = node.address("files")?;
        self.node = Some(node);
        Ok(())
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.node.take().map_or(Ok(()), Node::kill)
    }

    /// The broker between it and its devices.
    ///
    /// # Errors
    /// When there is none.
    pub fn broker(&mut self) -> Result<&mut Mosquitto> {
        self.broker.as_mut().context("a hub without a broker")
    }

    /// Runs one of the hub's commands to its end.
    ///
    /// # Errors
    /// When it fails, with what it printed.
    pub fn command(&self, args: &[&str]) -> Result<String> {
        let output = self.spec(args).output()?;
        if !output.status.success() {
            bail!("landfall-hub {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The API.
    pub fn client(&self) -> Client {
        Client::new(self.web)
    }

    /// The process, while it runs.
    pub fn node(&mut self) -> &mut Option<Node> {
        &mut self.node
    }

    fn spec(&self, args: &[&str]) -> Spec {
        let data = [OsString::from("--data"), self.dir.join("data").into()];
        let server = self.database.iter().flat_map(|url| ["--database".into(), url.into()]);
        Spec {
            executable: self.executable.clone(),
            role: Role::Hub,
            args: data.into_iter().chain(server).chain(args.iter().map(OsString::from)).collect(),
            env: Vec::new(),
            log: self.dir.join("hub.log"),
        }
    }
}

/// Where a device's HTTP interface is now; it changes with every start.
#[derive(Clone)]
pub struct Address(Arc<Mutex<SocketAddr>>);

impl Address {
    fn set(&self, address: SocketAddr) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// A client of the device as it is now.
    pub fn client(&self) -> Client {
        Client::new(*self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What stands in a device's configuration beside paths.
#[derive(Debug, Clone)]
pub struct DeviceConfig {
    /// The `[task.*]` tables.
    pub tasks: String,
    /// Directories of packages.
    pub packages: Vec<PathBuf>,
    /// Keys that may sign them.
    pub trust: Vec<PathBuf>,
    /// Where the hub is, if not at the end of the device's own link.
    pub hub: Option<SocketAddr>,
    /// Seconds of the keep-alive, if not the usual.
    pub keep_alive_secs: Option<u32>,
}

impl DeviceConfig {
    /// The demo's tasks on the shipped packages.
    ///
    /// # Errors
    /// When the shipped packages are not found.
    pub fn shipped() -> Result<DeviceConfig> {
        let packages = shipped_dirs()?;
        let home = packages.first().and_then(|dir| dir.parent()).context("no shipped package")?;
        let trust = vec![home.join(SHIPPED_KEY)];
        Ok(DeviceConfig {
            tasks: TASKS.to_owned(),
            packages,
            trust,
            hub: None,
            keep_alive_secs: None,
        })
    }

    fn to_toml(&self, dir: &Path) -> String {
        let list = |paths: &[PathBuf]| {
            let quoted: Vec<String> = paths.iter().map(|path| quoted(path)).collect();
            format!("[{}]", quoted.join(", "))
        };
        let mut toml = String::new();
        let (data, identity) = (quoted(&dir.join("data")), quoted(&dir.join("identity")));
        let (packages, trust) = (list(&self.packages), list(&self.trust));
        let mut hub = self.hub.map_or(String::new(), |hub| format!("address = \"{hub}\"\n"));
        if let Some(secs) = self.keep_alive_secs {
            let _infallible = writeln!(hub, "keep_alive = \"{secs}s\"");
        }
        let _infallible = write!(
            toml,
            "data_dir = {data}\n\n[hub]\nidentity = {identity}\n{hub}\n[http]\nlisten = \"127.0.0.1:0\"\n\n\
             [models]\npackages = {packages}\ntrust = {trust}\n\n{}",
            self.tasks
        );
        toml
    }
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A device with its directory and its link to the hub.
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its link to the hub.
    pub link: Link,
    /// Where its HTTP interface is.
    pub address: Address,
    /// The disk under its agent from the next start on, where it is not the real one.
    pub disk: Option<Orders>,
    /// Variables of its agent's environment, from the next start on.
    pub env: Vec<(OsString, OsString)>,
    executable: PathBuf,
    dir: PathBuf,
    node: Option<Node>,
}

impl Device {
    /// Enrolls a device at `hub` over a link of its own and writes its configuration into
    /// `dir`; it does not run yet.
    ///
    /// # Errors
    /// When the hub refuses or the directory cannot be written.
    pub fn enroll(hub: &Hub, dir: &Path, name: &str, config: &DeviceConfig) -> Result<Device> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let link = Link::open(hub.mqtt).context("cannot open a link")?;
        let identity = dir.join("identity");
        let identity = identity.to_str().context("a directory name that is not UTF-8")?;
        hub.command(&["enroll", name, "--out", identity, "--hub", &link.address().to_string()])?;
        let device = Device {
            name: name.to_owned(),
            link,
            address: Address(Arc::new(Mutex::new(SocketAddr::from(([127, 0, 0, 1], 0))))),
            disk: None,
            env: Vec::new(),
            executable: hub.executable.clone(),
            dir: dir.to_owned(),
            node: None,
        };
        device.configure(config)?;
        Ok(device)
    }

    /// Writes its configuration; it holds from the next start.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&self, config: &DeviceConfig) -> Result<()> {
        let path = self.config_path();
        std::fs::write(&path, config.to_toml(&self.dir))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Starts its agent, killing one that still runs.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn start(&mut self) -> Result<()> {
        drop(self.node.take());
        let mut spec = self.spec(&["run"]);
        if let Some(disk) = &self.disk {
            disk.give(&mut spec)?;
        }
        let node = spec.start().with_context(|| self.name.clone())?;
        self.address.set(node.address("http")?);
        self.node = Some(node);
        Ok(())
    }

    /// Kills its agent as `kill -9` does.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.node.take().map_or(Ok(()), Node::kill)
    }

    /// A command line of its agent: `args`, then `--config` with its file.
    pub fn spec(&self, args: &[&str]) -> Spec {
        let config = [OsString::from("--config"), self.config_path().into()];
        Spec {
            executable: self.executable.clone(),
            role: Role::Agent,
            args: args.iter().map(OsString::from).chain(config).collect(),
            env: self.env.clone(),
            log: self.dir.join("agent.log"),
        }
    }

    /// The process, while it runs.
    pub fn node(&mut self) -> &mut Option<Node> {
        &mut self.node
    }

    /// Where its agent keeps its records.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The directory that `enroll` wrote.
    pub fn identity(&self) -> PathBuf {
        self.dir.join("identity")
    }

    /// Its configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.dir.join("agent.toml")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_quotes_survive_toml() {
        assert_eq!(quoted(Path::new("/a \"b\"\\c")), r#""/a \"b\"\\c""#);
    }
}
