//! `GET /metrics` in the text format of Prometheus.

use super::App;
use crate::link::{LinkView, UplinkReport};
use crate::service::memory;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use std::fmt::{Display, Write};

pub(super) async fn show(State(app): State<App>) -> Response {
    const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, TYPE)], render(&app)).into_response()
}

/// A page in the making. Names and labels are ours: task names and constants, which need no
/// escaping.
#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP landfall_{name} {help}"));
        self.line(format_args!("# TYPE landfall_{name} {kind}"));
    }

    fn value(&mut self, name: &str, labels: &str, value: impl Display) {
        self.line(format_args!("landfall_{name}{labels} {value}"));
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.value(name, "", value);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _never = writeln!(self.0, "{line}");
    }
}

fn render(app: &App) -> String {
    let mut page = Page::default();
    decisions(&mut page, app);
    unrecorded(&mut page, app);
    stages(&mut page, app);
    store(&mut page, app);
    link(&mut page, app);
    if let Some(memory) = memory::of_this_process() {
        let (now, peak) = (memory.resident_bytes, memory.peak_bytes);
        page.single("memory_bytes", "gauge", "Resident memory.", now);
        page.single("memory_peak_bytes", "gauge", "Resident memory at its peak.", peak);
    }
    page.0
}

fn decisions(page: &mut Page, app: &App) {
    page.head("decisions_total", "counter", "Requests by task and by what became of them.");
    for (task, counts) in app.pipeline.metrics().tasks() {
        let each = [
            ("rule", counts.rule),
            ("model", counts.model),
            ("escalated", counts.escalated),
            ("refused", counts.refused),
            ("repeated", counts.repeated),
        ];
        for (by, count) in each {
            let labels = format!("{{task=\"{task}\",by=\"{by}\"}}");
            page.value("decisions_total", &labels, count);
        }
    }
}

fn unrecorded(page: &mut Page, app: &App) {
    let help = "Decisions told without a record, by task.";
    page.head("decisions_unrecorded_total", "counter", help);
    for (task, counts) in app.pipeline.metrics().tasks() {
        let labels = format!("{{task=\"{task}\"}}");
        page.value("decisions_unrecorded_total", &labels, counts.unrecorded);
    }
    let untold = app.pipeline.gap().map_or(0, |gap| gap.decisions);
    let help = "Decisions without a record that the hub is to be told of.";
    page.single("decisions_unrecorded_untold", "gauge", help, untold);
}

fn stages(page: &mut Page, app: &App) {
    page.head("stage_seconds", "histogram", "Time of each stage of the decision path.");
    for (stage, histogram) in app.pipeline.metrics().stages.each() {
        let count = histogram.summary().count;
        let (sum, bounds) = histogram.cumulative();
        for (bound, below) in bounds {
            let labels = format!("{{stage=\"{stage}\",le=\"{bound:.6}\"}}");
            page.value("stage_seconds_bucket", &labels, below);
        }
        page.value("stage_seconds_bucket", &format!("{{stage=\"{stage}\",le=\"+Inf\"}}"), count);
        page.value("stage_seconds_sum", &format!("{{stage=\"{stage}\"}}"), sum);
        page.value("stage_seconds_count", &format!("{{stage=\"{stage}\"}}"), count);
    }
}

fn store(page: &mut Page, app: &App) {
    let store = app.pipeline.store().status();
    page.head("backlog_records", "gauge", "Records that the hub does not have yet.");
    for stream in &store.streams {
        let (name, epoch) = (stream.stream.name(), stream.epoch);
        let labels = format!("{{stream=\"{name}\",epoch=\"{epoch}\"}}");
        page.value("backlog_records", &labels, stream.backlog());
    }
    page.single("store_bytes", "gauge", "Bytes of the store on disk.", store.bytes);
    page.single("store_bytes_max", "gauge", "Limit of the store.", store.bytes_max);
    page.single("tickets_open", "gauge", "Escalations without an answer.", store.tickets_open);
    page.single("records_lost_total", "counter", "Records dropped or unreadable.", store.lost);
    let help = "Records that the hub refused, kept here.";
    page.single("records_refused", "gauge", help, store.refused);
    let refusing = u8::from(store.refusing.is_some());
    page.single("store_refusing", "gauge", "1 while new records are refused.", refusing);
}

fn link(page: &mut Page, app: &App) {
    let Some(link) = app.overview.link() else { return };
    let online = u8::from(link.state == crate::sync::LinkState::Online);
    page.single("link_online", "gauge", "1 while the hub is connected.", online);
    page.single("link_connections_total", "counter", "Connections.", link.connections);
    page.head("link_bytes_total", "counter", "Bytes of frames by direction.");
    page.value("link_bytes_total", "{direction=\"up\"}", link.bytes_up);
    page.value("link_bytes_total", "{direction=\"down\"}", link.bytes_down);
    uplink(page, &app.overview.uplink.report(&app.pipeline.store().streams()));
}

fn uplink(page: &mut Page, report: &UplinkReport) {
    // Names of links are letters, digits and dashes.
    let each = |page: &mut Page, name: &str, value: &dyn Fn(&LinkView) -> Option<u64>| {
        for link in &report.links {
            if let Some(value) = value(link) {
                page.value(name, &format!("{{link=\"{}\"}}", link.name), value);
            }
        }
    };
    page.head("link_in_use", "gauge", "1 for the link that is used.");
    each(page, "link_in_use", &|link| Some(u64::from(report.link.as_ref() == Some(&link.name))));
    page.head("link_up", "gauge", "1 while a link is there.");
    each(page, "link_up", &|link| Some(link.is_up.into()));
    let help = "Bytes that went over a link, both ways, headers included.";
    page.head("link_carried_bytes_total", "counter", help);
    each(page, "link_carried_bytes_total", &|link| Some(link.carried_bytes));
    page.head("link_budget_bytes", "gauge", "Bytes that a link may carry a day.");
    each(page, "link_budget_bytes", &|link| link.budget_bytes);
    page.head("link_budget_left_bytes", "gauge", "Bytes of the day's budget that are left.");
    each(page, "link_budget_left_bytes", &|link| link.left_bytes);
    page.head("link_measured_bytes_per_second", "gauge", "Rate while records were waiting.");
    each(page, "link_measured_bytes_per_second", &|link| link.measured_bytes_per_sec);
    let until_ms = report.waiting.as_ref().map_or(0, |waiting| waiting.until_ms);
    let help = "Time, in seconds since 1970, until which no link may be used; 0 otherwise.";
    page.single("link_waits_until_seconds", "gauge", help, until_ms / 1000);
    page.head("backlog_bytes", "gauge", "Estimated bytes on the line of what waits.");
    for stream in &report.backlog {
        page.value("backlog_bytes", &format!("{{stream=\"{}\"}}", stream.stream), stream.bytes);
    }
    page.head("link_stream_bytes_total", "counter", "Bytes of frames with records.");
    for stream in &report.backlog {
        let labels = format!("{{stream=\"{}\"}}", stream.stream);
        page.value("link_stream_bytes_total", &labels, stream.sent_bytes);
    }
    if let Some(at_ms) = report.drained_ms {
        let help = "Time, in seconds since 1970, by which what waits will have left.";
        page.single("backlog_drained_seconds", "gauge", help, at_ms / 1000);
    }
}
