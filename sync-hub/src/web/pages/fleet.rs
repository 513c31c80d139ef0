//! The fleet and one device.

use super::{Sorry, put, time};
use crate::broker::BrokerStatus;
use crate::database::quality::{self, DayView};
use crate::database::views::{self, DeviceView, Stats};
use crate::database::{number, queries};
use crate::hub::now_ms;
use crate::web::App;
use crate::web::api::{DeviceDetail, find_device};
use crate::web::error::Refused;
use crate::web::html::{Esc, HtmlPage};
use crate::web::svg::{Chart, bars, line};
use axum::extract::{Path, State};
use axum::response::Html;
use std::fmt::Write;

/// Days of the charts: four weeks, so that a weekday is seen four times.
const CHART_DAYS: u64 = 28;

/// Devices whose backlog is drawn: the longest ones.
const BACKLOG_BARS: usize = 12;

pub(in crate::web) async fn fleet(State(app): State<App>) -> Result<HtmlPage, Sorry> {
    let html = format!("<div data-live=\"/live/fleet\">{}</div>", live_html(&app).await?);
    Ok(HtmlPage::new("/", "Fleet", html))
}

/// The part of the page that is kept up to date.
pub(in crate::web) async fn live(State(app): State<App>) -> Result<Html<String>, Sorry> {
    Ok(Html(live_html(&app).await?))
}

async fn live_html(app: &App) -> Result<String, Refused> {
    let now_ms = now_ms();
    let read = app.database.read(move |reader| {
        Ok((
            queries::stats(reader)?,
            queries::devices(reader)?,
            quality::days(reader, now_ms, CHART_DAYS)?,
        ))
    });
    let (stats, devices, days) = read.await?;
    let mut html = figures(&stats);
    if let Some(broker) = &app.broker {
        broker_line(&mut html, &broker.borrow());
    }
    if devices.is_empty() {
        html.push_str(
            "<p>No device is enrolled. <code>landfall-hub enroll NAME --out DIR</code> makes an \
             identity to put on a box.</p>",
        );
        return Ok(html);
    }
    charts(&mut html, &days, &devices);
    html.push_str(
        "<div class=\"wide\"><table><thead><tr><th>Device<th>State<th>Last contact\
         <th class=\"n\">Backlog<th class=\"n\">Outcomes<th class=\"n\">Open questions\
         <th class=\"n\">Answers waiting<th class=\"n\">Lost<th>Streams<th>Remark\
         </tr></thead><tbody>",
    );
    for device in &devices {
        row(&mut html, device);
    }
    html.push_str("</tbody></table></div>");
    html.push_str(
        "<p class=\"soft\">Times are UTC. The backlog is as of a device's last greeting.</p>",
    );
    Ok(html)
}

/// Outcomes a day, the share that was escalated, and where records wait.
fn charts(html: &mut String, days: &[DayView], devices: &[DeviceView]) {
    #[expect(clippy::cast_precision_loss, reason = "drawn in a few hundred pixels")]
    let real = |count: u64| count as f64;
    let short = |day: &DayView| day.day.get(5..).unwrap_or_default().to_owned();
    let outcomes: Vec<_> = days.iter().map(|day| (short(day), real(day.outcomes))).collect();
    let escalated: Vec<_> = days.iter().map(|day| real(day.escalated)).collect();
    let rate = |day: &DayView| {
        let decided = day.outcomes.saturating_sub(day.refused).max(1);
        (short(day), real(day.escalated) * 100.0 / real(decided))
    };
    let rates: Vec<_> = days.iter().map(rate).collect();
    let mut backlog: Vec<&DeviceView> = devices.iter().filter(|it| it.backlog > 0).collect();
    backlog.sort_by_key(|device| std::cmp::Reverse(device.backlog));
    let waiting = backlog.iter().take(BACKLOG_BARS);
    let waiting: Vec<_> =
        waiting.map(|device| (device.device.clone(), real(device.backlog))).collect();
    html.push_str("<div class=\"charts\">");
    html.push_str(&bars(&Chart {
        title: "Outcomes a day, escalated in front",
        values: &outcomes,
        parts: &escalated,
        unit: "",
    }));
    html.push_str(&line(&Chart { title: "Escalated", values: &rates, parts: &[], unit: " %" }));
    if !waiting.is_empty() {
        html.push_str(&bars(&Chart {
            title: "Records that wait on devices",
            values: &waiting,
            parts: &[],
            unit: "",
        }));
    }
    html.push_str("</div>");
}

fn figures(stats: &Stats) -> String {
    let mut html = String::from("<ul class=\"figures\">");
    for (name, value) in [
        ("devices", stats.devices),
        ("online", stats.devices_online),
        ("outcomes", stats.outcomes),
        ("open questions", stats.escalations.open),
        ("answers on their way", stats.escalations.answered),
        ("answers delivered", stats.escalations.delivered),
        ("records lost", stats.losses),
        ("frames refused or malformed", stats.frames.refused + stats.frames.malformed),
    ] {
        put!(html, "<li><b>{value}</b> {name}</li>");
    }
    html.push_str("</ul>");
    html
}

fn broker_line(html: &mut String, broker: &BrokerStatus) {
    let (address, since) = (Esc(&broker.address), time(&views::time(number(broker.since_ms))));
    match (broker.connected, &broker.last_error) {
        (true, _) => put!(
            html,
            "<p>Devices are met behind the broker {address}, connected since {since}. Online is \
             who was heard lately, or answered a call.</p>"
        ),
        (false, error) => put!(
            html,
            "<p class=\"bad\">The broker {address} is not connected since {since}: {}</p>",
            Esc(error.as_deref().unwrap_or("connecting"))
        ),
    }
}

fn state(device: &DeviceView) -> &'static str {
    match (device.revoked, device.online) {
        (true, _) => "<span class=\"bad\">revoked</span>",
        (false, true) => "<span class=\"good\">online</span>",
        (false, false) => "offline",
    }
}

fn row(html: &mut String, device: &DeviceView) {
    let name = Esc(&device.device);
    let contact = device.last_contact_at.as_deref().map_or("never".to_owned(), time);
    put!(
        html,
        "<tr><th scope=\"row\"><a href=\"/devices/{name}\">{name}</a></th><td>{}</td>\
         <td>{contact}</td><td class=\"n\">{}</td>\
         <td class=\"n\"><a href=\"/outcomes?device={name}\">{}</a></td>\
         <td class=\"n\"><a href=\"/escalations?device={name}\">{}</a></td>\
         <td class=\"n\">{}</td><td class=\"n{}\">{}</td><td>",
        state(device),
        device.backlog,
        device.outcomes,
        device.escalations_open,
        device.answers_waiting,
        if device.losses > 0 { " bad" } else { "" },
        device.losses,
    );
    for stream in &device.streams {
        put!(html, "{} {}<br>", Esc(&stream.stream), stream.mark);
    }
    put!(html, "</td><td>{}</td></tr>", Esc(device.problem.as_deref().unwrap_or_default()));
}

pub(in crate::web) async fn device(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<HtmlPage, Sorry> {
    let detail = find_device(&app, &name).await?;
    Ok(HtmlPage::new("/", format!("Device {}", detail.device.device), device_body(&detail)))
}

fn device_body(detail: &DeviceDetail) -> String {
    let device = &detail.device;
    let or_none = |text: &Option<String>| text.as_deref().unwrap_or("–").to_owned();
    let mut html = String::from("<dl>");
    for (name, value) in [
        ("State", state(device).to_owned()),
        ("Last contact", device.last_contact_at.as_deref().map_or("never".into(), time)),
        ("Agent", Esc(or_none(&device.version)).to_string()),
        ("Configuration", Esc(or_none(&device.config)).to_string()),
        ("Clock against the hub's", clock(device.clock_offset_ms)),
        ("Certificate ends", device.certificate_expires_at.as_deref().map_or("–".into(), time)),
        ("Backlog at last greeting", device.backlog.to_string()),
        ("Outcomes", device.outcomes.to_string()),
        ("Open questions", device.escalations_open.to_string()),
        ("Answers waiting", device.answers_waiting.to_string()),
        ("Records lost", device.losses.to_string()),
        ("Records of no use here", device.rejected.to_string()),
        ("Frames received", device.frames.received.to_string()),
        ("Frames malformed", device.frames.malformed.to_string()),
        ("Foreign topics refused", device.frames.refused.to_string()),
        ("Link", Esc(link(device.link.as_ref())).to_string()),
        ("Last problem", Esc(or_none(&device.problem)).to_string()),
        ("At", device.problem_at.as_deref().map_or("–".into(), time)),
    ] {
        put!(html, "<dt>{name}</dt><dd>{value}</dd>");
    }
    let name = Esc(&device.device);
    put!(
        html,
        "</dl><p><a href=\"/outcomes?device={name}\">Its outcomes</a> · \
         <a href=\"/escalations?device={name}\">Its open questions</a></p>\
         <h2>Streams</h2><div class=\"wide\"><table><thead><tr><th>Stream<th>Epoch\
         <th class=\"n\">Here<th class=\"n\">Backlog</tr></thead><tbody>"
    );
    for stream in &device.streams {
        put!(
            html,
            "<tr><td>{}<td class=\"mono\">{}<td class=\"n\">{}<td class=\"n\">{}</tr>",
            Esc(&stream.stream),
            Esc(&stream.epoch),
            stream.mark,
            stream.backlog,
        );
    }
    html.push_str(
        "</tbody></table></div><h2>Tasks</h2><div class=\"wide\"><table><thead><tr><th>Task\
         <th>Kind<th>Package<th>Labels</tr></thead><tbody>",
    );
    for task in &device.tasks {
        put!(
            html,
            "<tr><td>{}<td>{}<td>{}<td>{}</tr>",
            Esc(&task.task),
            Esc(&task.kind),
            Esc(&task.package),
            Esc(task.labels.join(", ")),
        );
    }
    html.push_str(
        "</tbody></table></div><h2>Recent events</h2><div class=\"wide\"><table><thead><tr>\
         <th>Received<th>Event<th>Detail</tr></thead><tbody>",
    );
    for event in &detail.events {
        put!(
            html,
            "<tr><td>{}<td>{}<td class=\"mono\">{}</tr>",
            time(&event.received_at),
            Esc(&event.kind),
            Esc(&event.detail),
        );
    }
    html.push_str("</tbody></table></div>");
    html
}

/// What the device told of its link, in a line.
fn link(told: Option<&serde_json::Value>) -> String {
    let Some(told) = told else { return "–".to_owned() };
    let name = told["link"].as_str().unwrap_or_default();
    let spent = told["spent_bytes"].as_u64().unwrap_or(0);
    let budget = told["budget_bytes"].as_u64();
    let budget = budget.map_or_else(String::new, |budget| format!(" of {budget}"));
    let at = told["at"].as_str().unwrap_or_default();
    format!("{name}, class {}, {spent}{budget} bytes of the day spent, at {at}", told["class"])
}

fn clock(offset_ms: Option<i64>) -> String {
    match offset_ms {
        None => "–".to_owned(),
        Some(ms) if ms >= 0 => format!("{ms} ms ahead"),
        Some(ms) => format!("{} ms behind", ms.unsigned_abs()),
    }
}
