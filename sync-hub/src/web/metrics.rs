//! For machines that watch: `/healthz`, `/readyz` and `/metrics` (Prometheus text format).

use super::App;
use super::error::Refused;
use crate::alarms::books as alarms;
use crate::database::desk::reads::{self, PlaceView, SpendView};
use crate::database::sql::{self, Connection};
use crate::database::views::Stats;
use crate::database::{Command, queries};
use crate::exchange::Counters;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use std::fmt::Write;
use std::sync::atomic::Ordering;

/// Healthy is: the database answers.
pub(super) async fn healthz(State(app): State<App>) -> Result<&'static str, Refused> {
    app.database.read(queries::data_version).await?;
    Ok("ok\n")
}

/// Ready is: the database takes writes, and the broker, if there is one, is connected.
pub(super) async fn readyz(State(app): State<App>) -> Result<&'static str, Refused> {
    app.database.write(Probe).await?;
    let broker = app.broker.as_ref().map(|broker| broker.borrow().clone());
    if let Some(broker) = broker.filter(|broker| !broker.connected) {
        let why = broker.last_error.as_deref().unwrap_or("connecting");
        return Err(Refused::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "broker",
            format!("the broker {} is not connected: {why}", broker.address),
            "see the hub's log",
        ));
    }
    Ok("ready\n")
}

/// A transaction that changes nothing.
struct Probe;

impl Command for Probe {
    type Done = ();
    fn apply(&self, _: &Connection) -> sql::Result<()> {
        Ok(())
    }
}

pub(super) async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, Refused> {
    let read = app.database.read(|reader| {
        let desk = (reads::places(reader)?, reads::spending(reader)?);
        Ok((queries::stats(reader)?, desk, alarms::count(reader)?))
    });
    let (stats, (places, spending), (holding, unseen)) = read.await?;
    let broker = app.broker.as_ref().map(|broker| broker.borrow().connected);
    let mut text = render(&stats, &app.counters, broker);
    desk(&mut text, &places, &spending);
    for (name, help, value) in [
        ("alarms", "Alarms that hold", holding),
        ("alarms_unseen", "Of these, seen by nobody", unseen),
    ] {
        let name = format!("landfall_hub_{name}");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    }
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}

/// What waits at the desk, and what it costs: a row for each place.
fn desk(text: &mut String, places: &[PlaceView], spending: &[SpendView]) {
    // Names of places are plain (see `desk::config`). Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "# HELP landfall_hub_desk_waiting Questions that wait, by place\n\
         # TYPE landfall_hub_desk_waiting gauge"
    );
    for PlaceView { place, waiting, .. } in places {
        let _ = writeln!(text, "landfall_hub_desk_waiting{{place=\"{place}\"}} {waiting}");
    }
    let _ = writeln!(
        text,
        "# HELP landfall_hub_desk_spent Spent or set aside on the last day with requests\n\
         # TYPE landfall_hub_desk_spent gauge"
    );
    let newest = spending.first().map(|row| row.day.as_str()).unwrap_or_default();
    for SpendView { place, spent, .. } in spending.iter().filter(|row| row.day == newest) {
        let _ = writeln!(text, "landfall_hub_desk_spent{{place=\"{place}\"}} {spent}");
    }
}

fn render(stats: &Stats, counters: &Counters, broker: Option<bool>) -> String {
    let since = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let escalations = stats.escalations;
    #[rustfmt::skip]
    let rows = [
        ("devices", "gauge", "Devices enrolled", stats.devices),
        ("devices_online", "gauge", "Devices connected", stats.devices_online),
        ("outcomes", "gauge", "Outcomes stored", stats.outcomes),
        ("escalations_open", "gauge", "Escalations without an answer", escalations.open),
        ("escalations_answered", "gauge", "Answers not yet on the device", escalations.answered),
        ("escalations_delivered", "gauge", "Answers on the device", escalations.delivered),
        ("escalations_expired", "gauge", "Escalations given up by the device", escalations.expired),
        ("losses", "gauge", "Records that will never arrive", stats.losses),
        ("frames_received_total", "counter", "Well-formed frames", stats.frames.received),
        ("frames_malformed_total", "counter", "Payloads that make no sense", stats.frames.malformed),
        ("frames_refused_total", "counter", "Uses of foreign topics", stats.frames.refused),
        ("records_applied_total", "counter", "Records applied", stats.records.applied),
        ("records_repeated_total", "counter", "Records sent again", stats.records.repeated),
        ("records_rejected", "gauge", "Records kept as they came", stats.records.rejected),
        ("connections_total", "counter", "Connections accepted", since(&counters.accepted)),
        ("connections_over_limit_total", "counter", "Connections over a limit", since(&counters.over_limit)),
        ("handshakes_failed_total", "counter", "TLS handshakes failed", since(&counters.handshakes_failed)),
        ("connections_refused_total", "counter", "Devices not admitted", since(&counters.not_admitted)),
        ("takeovers_total", "counter", "Second connections of a device", since(&counters.takeovers)),
        ("timeouts_total", "counter", "Connections ended for silence", since(&counters.timeouts)),
        ("bytes_received_total", "counter", "MQTT bytes received", since(&counters.bytes_received)),
        ("bytes_sent_total", "counter", "MQTT bytes sent", since(&counters.bytes_sent)),
        ("frames_dropped_total", "counter", "Frames from the broker without room here", since(&counters.frames_dropped)),
        ("broker_connections_total", "counter", "Connections to the broker", since(&counters.broker_connections)),
    ];
    let broker = broker
        .map(|up| ("broker_connected", "gauge", "Whether the broker is connected", u64::from(up)));
    let mut text = String::new();
    for (name, kind, help, value) in rows.into_iter().chain(broker) {
        let name = format!("landfall_hub_{name}");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    text
}
