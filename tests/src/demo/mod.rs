//! The main job in one command: a day of work orders through three devices and a hub, with
//! links that go away and an agent that is killed, and the account of it.
//!
//! What is held to: every outcome that a caller was told is at the hub exactly once, and every
//! escalation is answered and back on its device. Anything else is a fault in the report.

mod args;
mod bench;
mod board;
mod feeder;
mod interrupt;
mod ledger;
mod operator;
mod progress;
mod report;
mod script;
mod watch;

pub use args::Args;
pub use ledger::{Ledger, all_outcomes, compare};
pub use report::Report;

use crate::api::{HubStats, Status};
use crate::caller::Caller;
use crate::client::Client;
use crate::input::Day;
use crate::site::{Device, DeviceConfig, Hub};
use anyhow::{Context, Result, bail};
use board::Board;
use feeder::Feeder;
use operator::Operator;
use progress::Progress;
use report::{Accuracy, Decided, Escalations, Outcomes, Times, Wire};
use script::{Script, Step};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use watch::Watch;

/// The task that every order is asked for.
const TASK: &str = "failure-mode";

/// Device that is killed.
const VICTIM: usize = 1;

/// How often the demo looks at itself.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often the operator looks for questions.
const OPERATOR_EVERY: Duration = Duration::from_millis(300);

/// After the day, this long without any progress is a fault. Longer than the longest pause of
/// a device between two attempts to connect.
const STALLED_AFTER: Duration = Duration::from_secs(150);

/// How many faults of one kind are named.
const NAMED_MAX: usize = 5;

/// Runs the demo; `false` if the account has a fault.
///
/// # Errors
/// When something could not be started, or on Ctrl-C before the end.
pub fn run(args: &Args, executable: &Path) -> Result<bool> {
    let interrupted = interrupt::listen()?;
    let mut progress = Progress::new(args.json);
    let day = match &args.input {
        Some(path) => Day::from_file(path, args.column.as_deref())?,
        None => Day::sample()?,
    };
    let pace = args.pace(day.orders.len());
    progress.say(&format!(
        "{}: {} texts for {} devices, {pace:.0} a second",
        day.source,
        day.orders.len(),
        day.devices.len()
    ));
    if day.empty + day.repaired > 0 {
        let Day { empty, repaired, .. } = &day;
        progress.say(&format!("{empty} empty ones left out, {repaired} were not UTF-8"));
    }
    let dir = tempfile::Builder::new().prefix("landfall-demo-").tempdir()?;
    let mut demo = Demo::start(day, dir.path(), executable, interrupted, progress)?;
    let report = demo.day(pace);
    demo.stop.store(true, Ordering::Relaxed);
    let report = report?;
    demo.show(args, &report)?;
    if !args.exit {
        demo.linger(&report.page);
    }
    demo.end();
    Ok(report.faults.is_empty())
}

struct Demo {
    hub: Hub,
    devices: Vec<Device>,
    board: Arc<Board>,
    source: String,
    bench: report::Bench,
    /// Attempts of callers that failed and were repeated.
    repeated: Arc<AtomicU64>,
    /// Ends every thread of the demo.
    stop: Arc<AtomicBool>,
    interrupted: Arc<AtomicBool>,
    progress: Progress,
}

impl Demo {
    fn start(
        day: Day,
        dir: &Path,
        executable: &Path,
        interrupted: Arc<AtomicBool>,
        mut progress: Progress,
    ) -> Result<Demo> {
        let config = DeviceConfig::shipped()?;
        let bench = bench::run(TASK)?;
        let hub = Hub::start(executable, &dir.join("hub"))?;
        progress.say(&format!("hub: devices at {}, page at http://{}/", hub.mqtt, hub.web));
        let mut devices = Vec::new();
        for name in &day.devices {
            let mut device = Device::enroll(&hub, &dir.join(name), name, &config)?;
            device.start()?;
            progress.say(&format!("{name}: enrolled and running"));
            devices.push(device);
        }
        let board = Arc::new(Board::new(day.orders, day.devices));
        let source = day.source;
        let (repeated, stop) = (Arc::default(), Arc::default());
        Ok(Demo { hub, devices, board, source, bench, repeated, stop, interrupted, progress })
    }

    /// The whole day, up to the account.
    fn day(&mut self, pace: f64) -> Result<Report> {
        let start = Instant::now();
        let addresses = self.devices.iter().map(|device| device.address.clone()).collect();
        let watch = Watch::start(addresses, Arc::clone(&self.stop));
        let operator = Arc::new(Operator::new(self.hub.client(), Arc::clone(&self.board)));
        self.start_operator(&operator);
        let feeders = self.start_feeders(pace);
        self.follow_script(&watch)?;
        for feeder in feeders {
            feeder.join().map_err(|_| anyhow::anyhow!("a feeder panicked"))?;
        }
        let mut faults = Vec::new();
        self.progress.say("the day is over; the hub catches up");
        if let Err(stalled) = self.drain(&watch) {
            faults.push(format!("{stalled:#}"));
        }
        let back = self.answers_back(&operator, &mut faults);
        self.account(start.elapsed(), &watch, &operator, back, faults)
    }

    fn start_operator(&self, operator: &Arc<Operator>) {
        let (operator, stop) = (Arc::clone(operator), Arc::clone(&self.stop));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // A failure shows at the end: the escalation is still open.
                let _tried_again = operator.work();
                thread::sleep(OPERATOR_EVERY);
            }
        });
    }

    fn start_feeders(&self, pace: f64) -> Vec<JoinHandle<()>> {
        #[expect(clippy::cast_precision_loss, reason = "a handful of devices")]
        let every = Duration::from_secs_f64(self.devices.len() as f64 / pace);
        let feed = |(index, device): (usize, &Device)| {
            let orders = self.board.orders().iter().enumerate();
            let orders = orders.filter(|(_, order)| order.device == index).map(|(at, _)| at);
            let caller = Caller {
                address: device.address.clone(),
                task: TASK,
                stop: Arc::clone(&self.stop),
                repeated: Arc::clone(&self.repeated),
                unrecorded: Arc::default(),
            };
            let board = Arc::clone(&self.board);
            Feeder { caller, orders: orders.collect(), every, board }.start()
        };
        self.devices.iter().enumerate().map(feed).collect()
    }

    fn follow_script(&mut self, watch: &Watch) -> Result<()> {
        let mut script = Script::default();
        let all = self.board.orders().len();
        loop {
            self.check_interrupt()?;
            let done = self.board.done();
            if let Some(step) = script.due(done, all) {
                self.take(step)?;
            } else if done == all {
                return Ok(());
            }
            let backlog = watch.backlog.load(Ordering::Relaxed);
            let latest = self.board.latest().unwrap_or_default();
            self.progress.live(&format!("{done}/{all} backlog {backlog:>3}  {latest}"));
            thread::sleep(LOOK_EVERY);
        }
    }

    fn take(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Cut => {
                self.devices.iter().for_each(|device| device.link.cut());
                self.progress.say("every link is cut; the devices go on deciding");
            }
            Step::Kill => {
                let device = &mut self.devices[VICTIM];
                device.kill()?;
                self.progress.say(&format!("{}: killed (kill -9)", device.name));
            }
            Step::Restart => {
                let device = &mut self.devices[VICTIM];
                device.start()?;
                self.progress.say(&format!("{}: started again", device.name));
            }
            Step::Restore => {
                self.devices.iter().for_each(|device| device.link.restore());
                self.progress.say("every link is back");
            }
        }
        Ok(())
    }

    /// Waits until the hub has everything and every answer is delivered.
    fn drain(&mut self, watch: &Watch) -> Result<()> {
        let hub = self.hub.client();
        let told = self.board.all_told();
        let asked = self.board.tally().asked;
        let mut seen = None;
        let mut progress_at = Instant::now();
        loop {
            self.check_interrupt()?;
            let stats = hub_stats(&hub)?;
            let HubStats { outcomes, escalations, .. } = stats;
            if outcomes >= told.len() as u64 && escalations.delivered >= asked as u64 {
                return Ok(());
            }
            let state = (outcomes, escalations);
            if seen != Some(state) {
                seen = Some(state);
                progress_at = Instant::now();
            }
            let open = escalations.open;
            let state = format!(
                "hub: {outcomes} of {} outcomes; {open} questions open, {} of {asked} answers delivered; backlog {}",
                told.len(),
                escalations.delivered,
                watch.backlog.load(Ordering::Relaxed)
            );
            if progress_at.elapsed() > STALLED_AFTER {
                bail!("no progress for {} s: {state}", STALLED_AFTER.as_secs());
            }
            self.progress.live(&state);
            thread::sleep(LOOK_EVERY);
        }
    }

    /// How many answers are back on their device, as a caller there sees them.
    fn answers_back(&self, operator: &Operator, faults: &mut Vec<String>) -> usize {
        let clients: BTreeMap<&str, Client> =
            self.devices.iter().map(|d| (d.name.as_str(), d.address.client())).collect();
        let mut back = 0;
        for ((device, ticket), given) in operator.given() {
            let Some(client) = clients.get(device.as_str()) else { continue };
            match ledger::is_back(client, &ticket, given.as_deref()) {
                Ok(true) => back += 1,
                Ok(false) => {}
                Err(error) => faults.push(format!("{device}: {error:#}")),
            }
        }
        back
    }

    fn account(
        &self,
        took: Duration,
        watch: &Watch,
        operator: &Operator,
        back: usize,
        mut faults: Vec<String>,
    ) -> Result<Report> {
        let tally = self.board.tally();
        let replies = self.board.all_told();
        let told = ledger::told(&self.board);
        let ledger = compare(&told, &all_outcomes(&self.hub.client())?);
        let escalations =
            Escalations { asked: tally.asked, answered: operator.given().len(), back };
        find_faults(&self.board, &ledger, &escalations, &mut faults);
        let rejected = self.board.all_rejected();
        let has_labels = self.board.orders().iter().any(|order| order.expected.is_some());
        Ok(Report {
            source: self.source.clone(),
            orders: self.board.orders().len(),
            rejected: rejected.len(),
            rejected_first: rejected.first().map(|(_, why)| why.clone()),
            unanswered: self.board.all_given_up().len(),
            decided: Decided {
                rule: tally.rule,
                model: tally.model,
                escalated: tally.escalated,
                refused: tally.refused,
            },
            accuracy: has_labels.then(|| accuracy(&self.board)),
            decide_ms: Times::of(replies.values().map(|reply| reply.decide_ms).collect()),
            bench: self.bench,
            agent_memory_bytes: watch.memory_peak_bytes.load(Ordering::Relaxed),
            backlog_peak: watch.backlog_peak.load(Ordering::Relaxed),
            wire: self.wire(ledger.at_hub),
            outcomes: Outcomes {
                recorded: ledger.recorded,
                at_hub: ledger.at_hub,
                duplicates: ledger.doubled.len(),
                lost: ledger.lost.len(),
            },
            escalations,
            attempts_repeated: self.repeated.load(Ordering::Relaxed),
            seconds: took.as_secs_f64(),
            page: format!("http://{}/", self.hub.web),
            faults,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "an average, shown without digits")]
    fn wire(&self, outcomes: usize) -> Wire {
        let traffic: Vec<_> = self.devices.iter().map(|device| device.link.traffic()).collect();
        let each = |bytes: u64| bytes as f64 / outcomes.max(1) as f64;
        Wire {
            up_bytes_per_outcome: each(traffic.iter().map(|t| t.up_bytes).sum()),
            down_bytes_per_outcome: each(traffic.iter().map(|t| t.down_bytes).sum()),
            connections: traffic.iter().map(|t| t.connections).sum(),
        }
    }

    fn show(&mut self, args: &Args, report: &Report) -> Result<()> {
        self.progress.print(&format!("\n{report}"));
        if args.json {
            let json = serde_json::to_string_pretty(report).context("the report as JSON")?;
            writeln!(std::io::stdout().lock(), "{json}").context("cannot write the report")?;
        }
        Ok(())
    }

    fn linger(&mut self, page: &str) {
        self.progress.print(&format!("The hub's page is at {page} until Ctrl-C."));
        while !self.interrupted.load(Ordering::Relaxed) {
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Stops everything in good order; what does not stop is killed.
    fn end(mut self) {
        for device in &mut self.devices {
            let _killed_instead = device.node().take().map(crate::node::Node::stop);
        }
        let _killed_instead = self.hub.node().take().map(crate::node::Node::stop);
    }

    fn check_interrupt(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}

fn hub_stats(hub: &Client) -> Result<HubStats> {
    let body = hub.get("/api/v1/stats")?.success()?;
    serde_json::from_value(body).context("the hub's totals")
}

/// Right answers among those given on the spot.
fn accuracy(board: &Board) -> Accuracy {
    let mut accuracy = Accuracy { rule_right: 0, model_right: 0 };
    for (order, reply) in board.all_told() {
        let Some(expected) = &board.orders()[order].expected else { continue };
        let is_right =
            reply.status == Status::Answered && reply.label.as_deref() == expected.label();
        match reply.mechanism.kind.as_str() {
            "rule" => accuracy.rule_right += usize::from(is_right),
            _ => accuracy.model_right += usize::from(is_right),
        }
    }
    accuracy
}

fn find_faults(
    board: &Board,
    ledger: &Ledger,
    escalations: &Escalations,
    faults: &mut Vec<String>,
) {
    let named = |what: &str, names: &[String], faults: &mut Vec<String>| {
        if !names.is_empty() {
            let shown = names[..names.len().min(NAMED_MAX)].join(", ");
            faults.push(format!("{} {what}: {shown}", names.len()));
        }
    };
    let ids = |orders: &[usize]| -> Vec<String> {
        orders.iter().map(|order| board.orders()[*order].id.clone()).collect()
    };
    named("outcomes lost", &ledger.lost, faults);
    named("outcomes doubled", &ledger.doubled, faults);
    named("outcomes under another record", &ledger.changed, faults);
    named("retries told another record", &ids(&board.all_changed()), faults);
    let given_up: Vec<String> = board
        .all_given_up()
        .iter()
        .map(|(order, why)| format!("{} ({why})", board.orders()[*order].id))
        .collect();
    named("requests never answered", &given_up, faults);
    let Escalations { asked, answered, back } = *escalations;
    if asked != answered || answered != back {
        faults.push(format!("{asked} escalations, {answered} answered, {back} back"));
    }
    if ledger.recorded != ledger.at_hub {
        faults.push(format!("{} recorded, {} at the hub", ledger.recorded, ledger.at_hub));
    }
}
