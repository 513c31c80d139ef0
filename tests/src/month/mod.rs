//! A month of a ship's life in minutes, through the real agent and hub: hours of a satellite with
//! a budget, days in port, blackouts, power cuts.
//!
//! Time is compressed for the links alone: their hours and days pass faster by a factor
//! (`LANDFALL_LINK_CLOCK` of the agent), so that a day's budget is spent in as many seconds as the
//! day has. Everything else runs in its own time: decisions, TLS, TCP, MQTT, acknowledgements, the
//! disk. So a window is short and a connection costs what it costs: the bytes are those of a month
//! with as many connections, records and days.

mod plot;
mod script;

pub use plot::svg;
pub use script::Place;

use crate::bench::machine;
use crate::client::Client;
use crate::faults::Rig;
use crate::load::TASK;
use anyhow::{Context, Result, ensure};
use script::place;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Steps of a day: something is asked, looked at, and changed at each.
const HOURS: u64 = 24;

/// Bytes that the satellite may carry a day: the least that a configuration allows, and less than a
/// day's records take.
pub const BUDGET_BYTES: u64 = 128 * 1024;

/// A day that spent this much of its budget has used it up: with less left than a connection takes,
/// none is begun.
const USED_UP: f64 = 0.85;

/// Acknowledgements of a window of frames, which may come when nothing more is sent: some 20 of 200
/// bytes. It is a hundredth of a budget of 400 KiB, and three of the least.
const ACKNOWLEDGED_BYTES: u64 = 4 * 1024;

/// Letters of a text, which do not shrink: a record with it takes some 60 bytes on the line.
const LETTERS: usize = 80;

/// Hours of the satellite, as the configuration writes them.
const WINDOWS: &str = "'04:00-10:00', '16:00-22:00'";

/// Of so many texts, one is a question to the hub.
const ESCALATED_ONE_IN: usize = 40;

/// Longest wait at the end for the hub to have everything.
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

/// How long it is, and how much happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The day of the month on which it begins, from 0.
    pub first: u64,
    /// Days.
    pub days: u64,
    /// Seconds that a day takes.
    pub day_secs: u64,
    /// Texts of an hour.
    pub texts: usize,
}

/// One day.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Day {
    /// Where the ship was, by the hour.
    pub places: Vec<Place>,
    /// Bytes of frames sent, by stream: escalations, events, outcomes.
    pub streams: [u64; 3],
    /// Bytes over the satellite and over the port's network, everything included.
    pub carried: [u64; 2],
    /// Hours that the oldest escalation not at the hub was old, at its worst.
    pub oldest_hours: f64,
    /// Records that the hub did not have, at the end of the day.
    pub backlog: u64,
}

/// How it went.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Month {
    plan: Option<Plan>,
    /// Its days.
    pub days: Vec<Day>,
    /// What callers were told.
    pub told: usize,
    /// Escalations among it.
    pub escalated: usize,
    /// Lost, and doubled.
    pub lost: usize,
    /// See `lost`.
    pub doubled: usize,
    /// Connections, and how often the agent lost its power.
    pub kills: u64,
}

struct Ship<'a> {
    rig: Rig,
    plan: Plan,
    flags: &'a Path,
    start: Instant,
    month: Month,
    /// When each escalation that the hub does not have was asked, in hours.
    waiting: VecDeque<u64>,
    at_hub: usize,
    /// What the agent had sent and carried when it was last looked at.
    sent: [u64; 3],
    carried: [u64; 2],
    asked: usize,
}

/// Lives through it.
///
/// # Errors
/// When it cannot be set up, or the hub does not get everything.
pub fn run(executable: &Path, plan: Plan, progress: &dyn Fn(&str)) -> Result<Month> {
    let flags = tempfile::tempdir().context("cannot create a temporary directory")?;
    let probe = |name: &str| {
        let flag = flags.path().join(name);
        format!("probe = ['test', '-e', '{}']\nprobe_every = '1s'\n", flag.display())
    };
    let tables = format!(
        "[[link]]\nname = 'satellite'\nclass = 5\nbytes_per_day = '{BUDGET_BYTES} B'\n\
         windows = [{WINDOWS}]\n{}[[link]]\nname = 'port'\nclass = 1\n{}",
        probe("sky"),
        probe("port")
    );
    let mut rig = Rig::with(executable, &tables)?;
    let factor = 86_400 / plan.day_secs;
    // The month begins at midnight, with the links' clock at the present.
    let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
    let midnight = now_ms / 86_400_000 * 86_400_000;
    let clock = format!("{factor}@{now_ms}={midnight}");
    rig.device.env.push(("LANDFALL_LINK_CLOCK".into(), clock.into()));
    rig.device.start()?;
    let mut ship = Ship {
        rig,
        plan,
        flags: flags.path(),
        start: Instant::now(),
        month: Month { plan: Some(plan), ..Month::default() },
        waiting: VecDeque::new(),
        at_hub: 0,
        sent: [0; 3],
        carried: [0; 2],
        asked: 0,
    };
    for hour in 0..plan.days * HOURS {
        ship.hour(hour)?;
        if hour % HOURS == HOURS - 1 {
            let day = ship.month.days.last().context("a day")?;
            progress(&format!(
                "day {}: {} bytes by satellite, {} in port, {} records wait",
                hour / HOURS + 1,
                day.carried[0],
                day.carried[1],
                day.backlog
            ));
        }
    }
    ship.arrive()
}

impl Ship<'_> {
    fn hour(&mut self, hour: u64) -> Result<()> {
        let of_month = self.plan.first * HOURS + hour;
        let place = place(of_month);
        if hour.is_multiple_of(HOURS) {
            self.month.days.push(Day::default());
        }
        self.flag("sky", place == Place::Sea)?;
        self.flag("port", place == Place::Port)?;
        if script::loses_power(of_month) {
            self.look(hour)?;
            self.rig.device.kill()?;
            self.rig.device.start()?;
            self.month.kills += 1;
            (self.sent, self.carried) = ([0; 3], [0; 2]);
        }
        self.ask(hour)?;
        self.look(hour)?;
        let day = self.month.days.last_mut().context("a day")?;
        day.places.push(place);
        let hour_ms = self.plan.day_secs * 1000 / HOURS;
        let end = self.start + Duration::from_millis((hour + 1) * hour_ms);
        thread::sleep(end.saturating_duration_since(Instant::now()));
        Ok(())
    }

    fn flag(&self, name: &str, is_up: bool) -> Result<()> {
        let path = self.flags.join(name);
        match is_up {
            true => std::fs::write(&path, "").with_context(|| format!("write {}", path.display())),
            false => {
                let _not_there = std::fs::remove_file(&path);
                Ok(())
            }
        }
    }

    fn ask(&mut self, hour: u64) -> Result<()> {
        let client = self.rig.device.address.client();
        let items: Vec<Value> = (0..self.plan.texts)
            .map(|at| {
                let number = self.asked + at;
                let word = if number.is_multiple_of(ESCALATED_ONE_IN) { "ammonia" } else { "leak" };
                json!({ "id": format!("wo-{number}"), "text": format!("{word} at {}", letters(number)) })
            })
            .collect();
        for items in items.chunks(256) {
            let replies = client.post(&format!("/v1/tasks/{TASK}"), &json!(items))?.success()?;
            let replies = replies.as_array().context("replies to a batch")?;
            ensure!(replies.len() == items.len(), "{} replies", replies.len());
            for (item, reply) in items.iter().zip(replies) {
                let id = item["id"].as_str().context("an id")?;
                let outcome = reply["outcome"].as_str().context("an outcome")?;
                self.rig.told.insert(format!("ship-7/{id}"), outcome.to_owned());
                if reply["status"] == "escalated" {
                    self.waiting.push_back(hour);
                    self.month.escalated += 1;
                }
            }
        }
        self.asked += self.plan.texts;
        Ok(())
    }

    /// Looks at agent and hub.
    fn look(&mut self, hour: u64) -> Result<()> {
        let report = get(&self.rig.device.address.client(), "/v1/link")?;
        let stats = get(&self.rig.hub.client(), "/api/v1/stats")?;
        let count = |value: &Value| value.as_u64().context("a count");
        let open = usize::try_from(count(&stats["escalations"]["open"])?)?;
        self.waiting.drain(..(open - self.at_hub).min(self.waiting.len()));
        self.at_hub = open;
        let day = self.month.days.last_mut().context("a day")?;
        let mut backlog = 0;
        for (at, stream) in report["backlog"].as_array().context("streams")?.iter().enumerate() {
            let sent = count(&stream["sent_bytes"])?;
            day.streams[at] += sent - std::mem::replace(&mut self.sent[at], sent);
            backlog += count(&stream["records"])?;
        }
        day.backlog = backlog;
        for (at, link) in report["links"].as_array().context("links")?.iter().enumerate() {
            let carried = count(&link["carried_bytes"])?;
            day.carried[at] += carried - std::mem::replace(&mut self.carried[at], carried);
        }
        let oldest = self.waiting.front().map_or(0, |asked| hour - asked);
        day.oldest_hours = day.oldest_hours.max(oldest as f64);
        Ok(())
    }

    /// In port for good: everything arrives, once.
    fn arrive(mut self) -> Result<Month> {
        self.flag("port", true)?;
        let start = Instant::now();
        let wanted = self.rig.told.len() as u64;
        while self.rig.outcomes()? < wanted {
            ensure!(start.elapsed() < SETTLED_WITHIN, "{} of {wanted}", self.rig.outcomes()?);
            thread::sleep(Duration::from_millis(200));
        }
        let account = self.rig.account()?;
        self.month.told = account.told;
        self.month.lost = account.lost.len() + account.on_record;
        self.month.doubled = account.doubled.len();
        Ok(self.month)
    }
}

fn get(client: &Client, path: &str) -> Result<Value> {
    client.get(path)?.success()
}

/// Letters that differ from number to number and do not shrink much.
fn letters(number: usize) -> String {
    let mut mixed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut text = String::new();
    for at in 0..LETTERS {
        if at % 12 == 0 {
            mixed = (mixed ^ at as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^= mixed >> 31;
        }
        text.push(char::from(b'a' + (mixed % 20) as u8));
        mixed /= 20;
        if at % 6 == 5 {
            text.push(' ');
        }
    }
    text
}

impl Month {
    /// As Markdown; `plot` is where the picture is, from there.
    pub fn text(&self, plot: Option<&str>) -> String {
        let mut text = format!("On {}.\n\n", machine());
        let at_sea = |day: &&Day| day.places.contains(&Place::Sea);
        let most = self.days.iter().map(|day| day.carried[0]).max().unwrap_or(0);
        let worst = self.days.iter().map(|day| day.oldest_hours).fold(0.0, f64::max);
        let plan = self.plan.map_or_else(String::new, |plan| {
            let Plan { days, day_secs, texts, .. } = plan;
            format!("{days} days of {day_secs} s, {texts} texts an hour")
        });
        let spent = self.days_at_sea().map(|day| day.carried[0]);
        let (least, full) = (spent.clone().min().unwrap_or(0), spent.filter(|it| used_up(*it)));
        let of_budget = |bytes: u64| bytes as f64 * 100.0 / BUDGET_BYTES as f64;
        let total = |of: &dyn Fn(&Day) -> u64| self.days.iter().map(of).sum::<u64>();
        let rows = [
            ("the month", plan),
            ("told, of which escalated", format!("{}, {}", self.told, self.escalated)),
            ("**lost, doubled**", format!("**{}, {}**", self.lost, self.doubled)),
            (
                "days at sea, power cuts",
                format!("{}, {}", self.days.iter().filter(at_sea).count(), self.kills),
            ),
            (
                "**most bytes of a day by satellite, of its budget**",
                format!("**{most} of {BUDGET_BYTES}** ({:.1} %)", of_budget(most)),
            ),
            (
                "whole days at sea, of which used the budget up; least of one",
                format!(
                    "{}, {}; {least} ({:.1} %)",
                    self.days_at_sea().count(),
                    full.count(),
                    of_budget(least)
                ),
            ),
            (
                "bytes by satellite, in port",
                format!("{}, {}", total(&|day| day.carried[0]), total(&|day| day.carried[1])),
            ),
            (
                "bytes of frames: escalations, events, outcomes",
                format!(
                    "{}, {}, {}",
                    total(&|day| day.streams[0]),
                    total(&|day| day.streams[1]),
                    total(&|day| day.streams[2])
                ),
            ),
            ("oldest escalation not at the hub", format!("{worst:.0} hours")),
            ("most records that waited at the end of a day", {
                self.days.iter().map(|day| day.backlog).max().unwrap_or(0).to_string()
            }),
        ];
        text.push_str("| a ship's month | |\n|---|---|\n");
        for (what, value) in rows {
            let _infallible = writeln!(text, "| {what} | {value} |");
        }
        if let Some(plot) = plot {
            let _infallible =
                writeln!(text, "\n![Bytes by day, and the oldest escalation]({plot})");
        }
        text
    }

    /// Days with the satellite in all its hours.
    pub fn days_at_sea(&self) -> impl Iterator<Item = &Day> + Clone {
        self.days.iter().filter(|day| day.places.iter().all(|place| *place == Place::Sea))
    }

    /// Nothing lost, nothing doubled, and no day over its budget by more than a hundredth and what the
    /// hub acknowledges of the last frames.
    pub fn is_well(&self) -> bool {
        let over = BUDGET_BYTES + BUDGET_BYTES / 100 + ACKNOWLEDGED_BYTES;
        self.lost == 0 && self.doubled == 0 && self.days.iter().all(|day| day.carried[0] <= over)
    }
}

/// Whether these bytes of a day were all that its budget had.
pub fn used_up(bytes: u64) -> bool {
    bytes as f64 >= BUDGET_BYTES as f64 * USED_UP
}
