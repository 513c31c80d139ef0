//! A hub process on its own directory and ports, and the commands beside it.

use landfall_hub::database::sql::{Connection, ValueRef};
use landfall_hub::database::views::{EscalationView, Stats};
use landfall_hub::database::{self, Source, queries};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_landfall-hub");

/// Nothing here takes longer on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A hub's directory, and the hub while it runs.
pub(crate) struct Hub {
    dir: tempfile::TempDir,
    /// Where the database is, if not in a file.
    server: Option<String>,
    process: Option<Running>,
}

struct Running {
    child: Child,
    mqtt: SocketAddr,
    web: SocketAddr,
    files: Option<SocketAddr>,
}

impl Hub {
    pub(crate) fn new() -> Hub {
        let server = crate::POSTGRES.then(landfall_cluster::database).and_then(|made| {
            made.inspect_err(|why| eprintln!("on a file instead of PostgreSQL: {why}")).ok()
        });
        Hub { dir: tempfile::tempdir().unwrap(), server, process: None }
    }

    /// Another hub of the same authority on the same database, not running.
    pub(crate) fn beside(other: &Hub) -> Hub {
        let hub =
            Hub { dir: tempfile::tempdir().unwrap(), server: other.server.clone(), process: None };
        std::fs::create_dir(hub.data()).unwrap();
        for name in ["ca.pem", "ca.key"] {
            std::fs::copy(other.data().join(name), hub.data().join(name)).unwrap();
        }
        hub
    }

    /// Starts it as the hub of a number behind a broker.
    pub(crate) fn start_behind(&mut self, broker: SocketAddr, number: u8) {
        let (broker, number) = (broker.to_string(), number.to_string());
        self.start_with(&["--broker", &broker, "--hub-number", &number]);
    }

    /// A new hub, running, with these devices enrolled.
    pub(crate) fn with_devices(names: &[&str]) -> Hub {
        let mut hub = Hub::new();
        for name in names {
            hub.enroll(name);
        }
        hub.start();
        hub
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The identity of an enrolled device.
    pub(crate) fn identity(&self, name: &str) -> PathBuf {
        self.path("identities").join(name)
    }

    pub(crate) fn enroll(&self, name: &str) {
        let out = self.identity(name);
        self.run_ok(&["enroll", name, "--out", out.to_str().unwrap(), "--hub", "127.0.0.1:1"]);
    }

    pub(crate) fn start(&mut self) {
        self.start_with(&["--listen", "127.0.0.1:0"]);
    }

    /// Starts with more arguments.
    pub(crate) fn start_more(&mut self, more: &[String]) {
        let more = more.iter().map(String::as_str);
        let args: Vec<&str> = ["--listen", "127.0.0.1:0"].into_iter().chain(more).collect();
        self.start_with(&args);
    }

    fn start_with(&mut self, args: &[&str]) {
        assert!(self.process.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        // Unless the test says where.
        let web: &[&str] = if args.contains(&"--web") { &[] } else { &["--web", "127.0.0.1:0"] };
        let args = [&["run"][..], web, args].concat();
        let mut child = self.command(&args).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told = |key: &str| {
            let found = line.split_whitespace().find_map(|word| word.strip_prefix(key));
            found.and_then(|text| text.parse().ok())
        };
        let address = |key: &str| {
            told(key)
                .unwrap_or_else(|| panic!("no {key} in ready line {line:?}; log:\n{}", self.log()))
        };
        let mqtt = if line.contains(" broker=") { "broker=" } else { "mqtt=" };
        let (mqtt, web) = (address(mqtt), address("web="));
        self.process = Some(Running { child, mqtt, web, files: told("files=") });
    }

    /// Whether its database can be shared.
    pub(crate) fn is_shared(&self) -> bool {
        self.server.is_some()
    }

    /// Makes an account.
    pub(crate) fn add_user(&self, name: &str, role: &str, password: &str) {
        let file = self.path("password");
        std::fs::write(&file, format!("{password}\n")).unwrap();
        let file = file.to_str().unwrap();
        self.run_ok(&["user", "add", name, "--role", role, "--password-file", file]);
    }

    fn running(&self) -> &Running {
        self.process.as_ref().expect("the hub runs")
    }

    pub(crate) fn mqtt(&self) -> SocketAddr {
        self.running().mqtt
    }

    pub(crate) fn web(&self) -> SocketAddr {
        self.running().web
    }

    pub(crate) fn files(&self) -> SocketAddr {
        self.running().files.expect("it was told to hand out files")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running().child.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut running = self.process.take().expect("the hub runs");
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }

    /// SIGTERM; it must end by itself and well.
    pub(crate) fn stop(&mut self) {
        let mut running = self.process.take().expect("the hub runs");
        let pid = running.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        let status = wait_for("the hub to stop", || running.child.try_wait().unwrap());
        assert!(status.success(), "{status}; log:\n{}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Runs a command on this hub's directory.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(args).arg("--data").arg(self.data());
        if let Some(url) = &self.server {
            command.args(["--database", url]);
        }
        command
    }

    /// Runs a command that must succeed; returns its standard output.
    pub(crate) fn run_ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail; returns its exit code and standard error.
    pub(crate) fn run_err(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{args:?} succeeded");
        assert!(stderr.contains("error: "), "{stderr}");
        (output.status.code().unwrap(), stderr)
    }

    /// Whether the database is a file.
    pub(crate) fn is_file(&self) -> bool {
        self.server.is_none()
    }

    /// Asks the database, on a thread of its own: tests have a runtime.
    pub(crate) fn ask<T: Send>(&self, question: impl FnOnce(&Connection) -> T + Send) -> T {
        self.ask_mut(|database| question(database))
    }

    /// The same, to change something.
    pub(crate) fn ask_mut<T: Send>(&self, question: impl FnOnce(&mut Connection) -> T + Send) -> T {
        let source = match &self.server {
            Some(url) => url.parse().unwrap(),
            None => Source::file(&self.data()),
        };
        let asked = || question(&mut database::open(&source).unwrap());
        std::thread::scope(|scope| scope.spawn(asked).join().unwrap())
    }

    /// Makes the database take no more, or take everything again.
    pub(crate) fn refuse_writes(&self, refuse: bool) {
        let status = match &self.server {
            // A full disk: the file size limit of the hub's process, too small for the
            // write-ahead log and large enough for the hub's own log.
            None => {
                let bytes = if refuse { "65536" } else { "unlimited" };
                let limit = format!("--fsize={bytes}:unlimited");
                Command::new("prlimit").args(["--pid", &self.pid().to_string(), &limit]).status()
            }
            // A server that stops, and comes back as one that only reads.
            Some(url) => {
                let name = url.trim_start_matches("postgres:///").split('?').next().unwrap();
                let set =
                    if refuse { "SET default_transaction_read_only = on" } else { "RESET ALL" };
                let end = format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
                );
                let alter = format!("ALTER DATABASE {name} {set}");
                let mut psql = landfall_cluster::server().unwrap().tool("psql");
                psql.args(["-q", "-c", &alter, "-c", &end, "postgres"])
                    .stdout(Stdio::null())
                    .status()
            }
        };
        assert!(status.unwrap().success());
    }

    /// Changes one row.
    pub(crate) fn alter(&self, sql: &str, params: &[ValueRef<'_>]) {
        let changed = self.ask(|database| database.execute(sql, params).unwrap());
        assert_eq!(changed, 1, "{sql}");
    }

    pub(crate) fn stats(&self) -> Stats {
        self.ask(|database| queries::stats(database).unwrap())
    }

    /// Waits until the totals are as wanted.
    pub(crate) fn wait_stats(&self, what: &str, wanted: impl Fn(&Stats) -> bool) -> Stats {
        wait_with(what, || {
            let stats = self.stats();
            if wanted(&stats) { Ok(stats) } else { Err(format!("{stats:?}")) }
        })
    }

    pub(crate) fn escalation(&self, device: &str, ticket: &str) -> EscalationView {
        let (device, ticket) = (device.parse().unwrap(), ticket.parse().unwrap());
        let found = self.ask(|database| queries::escalation(database, &device, ticket).unwrap());
        found.expect("it is there")
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let response = agent().get(self.url(path)).call().unwrap();
        (response.status().as_u16(), response.into_body().read_to_string().unwrap())
    }

    pub(crate) fn get_json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) fn post_json(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = agent().post(self.url(path)).content_type("application/json");
        let response = request.send(body.to_string()).unwrap();
        let status = response.status().as_u16();
        let text = response.into_body().read_to_string().unwrap();
        (status, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
    }

    /// Posts a form as a browser would.
    pub(crate) fn post_form(&self, path: &str, body: &str) -> (u16, String) {
        let request = agent()
            .post(self.url(path))
            .content_type("application/x-www-form-urlencoded")
            .header("Origin", format!("http://{}", self.web()));
        let response = request.send(body).unwrap();
        (response.status().as_u16(), response.into_body().read_to_string().unwrap())
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.web())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some(mut running) = self.process.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("log of the hub:\n{}", self.log());
        }
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(DEADLINE))
        .build()
        .into()
}

/// Asks a page over TLS, trusting one authority.
pub(crate) fn get_tls(ca: &[u8], url: &str) -> (u16, String) {
    let root = ureq::tls::Certificate::from_pem(ca).unwrap();
    let tls = ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::from([root]))
        .unversioned_rustls_crypto_provider(rustls::crypto::ring::default_provider().into())
        .build();
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .tls_config(tls)
        .timeout_global(Some(DEADLINE))
        .build();
    let response = ureq::Agent::new_with_config(config).get(url).call().unwrap();
    (response.status().as_u16(), response.into_body().read_to_string().unwrap())
}

/// Copies a directory of plain files.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Waits for a value, with a deadline.
pub(crate) fn wait_for<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    wait_with(what, || get().ok_or_else(|| "not there".to_owned()))
}

/// Waits for a value, and tells the last state if it never comes.
pub(crate) fn wait_with<T>(what: &str, mut get: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match get() {
            Ok(value) => return value,
            Err(state) if start.elapsed() > DEADLINE => {
                panic!("waited {DEADLINE:?} for {what}; last: {state}")
            }
            Err(_) => std::thread::yield_now(),
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
