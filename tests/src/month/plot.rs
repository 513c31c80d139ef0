//! The month as a picture: bytes by stream and day over the budget, and below it how old the oldest
//! escalation became that the hub did not have.

use super::script::Place;
use super::{BUDGET_BYTES, Day, HOURS, Month};
use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
/// Top and height of each panel.
const BYTES: (f64, f64) = (40.0, 220.0);
const AGE: (f64, f64) = (310.0, 110.0);
const HEIGHT: f64 = 480.0;

/// Escalations, events, outcomes, and what is around them.
const COLOURS: [(&str, &str); 4] = [
    ("escalations", "#c0392b"),
    ("events", "#8e6bbf"),
    ("outcomes", "#2e7d9a"),
    ("headers, TLS, handshakes, acknowledgements", "#b9c4c9"),
];

/// Draws it.
pub fn svg(month: &Month) -> String {
    let days = &month.days;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    let step = (WIDTH - LEFT - RIGHT) / days.len().max(1) as f64;
    let x = |at: usize| LEFT + step * at as f64;
    shade(&mut svg, days, &x, step);
    let total = |day: &Day| day.carried.iter().sum::<u64>().max(day.streams.iter().sum());
    let most = days.iter().map(total).max().unwrap_or(0).max(BUDGET_BYTES) as f64 * 1.05;
    let y = |bytes: f64| BYTES.0 + BYTES.1 * (1.0 - bytes / most);
    for (at, day) in days.iter().enumerate() {
        let around = total(day) - day.streams.iter().sum::<u64>().min(total(day));
        let parts = [day.streams[0], day.streams[1], day.streams[2], around];
        let mut below = 0.0;
        for (bytes, (_, colour)) in parts.into_iter().zip(COLOURS) {
            let bytes = bytes as f64;
            rect(
                &mut svg,
                (x(at) + step * 0.15, y(below + bytes)),
                (step * 0.7, BYTES.1 * bytes / most),
                colour,
            );
            below += bytes;
        }
    }
    let budget = y(BUDGET_BYTES as f64);
    line(&mut svg, (LEFT, budget), (WIDTH - RIGHT, budget), "#333", "5 4");
    text(&mut svg, (LEFT + 4.0, budget - 5.0), "start", "the satellite's budget of a day");
    text(&mut svg, (LEFT, 22.0), "start", "Bytes a day");
    for share in [0.0, 0.5, 1.0] {
        let label = format!("{:.0} kB", most * share / 1000.0);
        text(&mut svg, (LEFT - 6.0, y(most * share) + 4.0), "end", &label);
    }
    let worst = days.iter().map(|day| day.oldest_hours).fold(24.0, f64::max) * 1.05;
    let age = |hours: f64| AGE.0 + AGE.1 * (1.0 - hours / worst);
    for (at, day) in days.iter().enumerate() {
        let top = age(day.oldest_hours);
        rect(&mut svg, (x(at) + step * 0.15, top), (step * 0.7, AGE.0 + AGE.1 - top), "#c0392b");
        text(&mut svg, (x(at) + step / 2.0, AGE.0 + AGE.1 + 16.0), "middle", &(at + 1).to_string());
    }
    text(&mut svg, (LEFT, AGE.0 - 10.0), "start", "Oldest escalation not at the hub, hours");
    for hours in [0.0, 24.0] {
        text(&mut svg, (LEFT - 6.0, age(hours) + 4.0), "end", &format!("{hours:.0}"));
        line(&mut svg, (LEFT, age(hours)), (WIDTH - RIGHT, age(hours)), "#999", "1 3");
    }
    legend(&mut svg);
    svg.push_str("</svg>\n");
    svg
}

/// What links there were, behind everything.
fn shade(svg: &mut String, days: &[Day], x: &dyn Fn(usize) -> f64, step: f64) {
    for (at, day) in days.iter().enumerate() {
        for (hour, place) in day.places.iter().enumerate() {
            let colour = match place {
                Place::Port => "#e3f1e3",
                Place::Sea => continue,
                Place::Dark => "#d9d9d9",
            };
            let wide = step / HOURS as f64;
            let from = x(at) + wide * hour as f64;
            rect(svg, (from, BYTES.0), (wide + 0.3, AGE.0 + AGE.1 - BYTES.0), colour);
        }
    }
}

fn legend(svg: &mut String) {
    let mut at = LEFT;
    let places = [("in port", "#e3f1e3"), ("no link", "#d9d9d9")];
    for (name, colour) in COLOURS.into_iter().chain(places) {
        rect(svg, (at, HEIGHT - 24.0), (12.0, 12.0), colour);
        text(svg, (at + 17.0, HEIGHT - 14.0), "start", name);
        at += 40.0 + 6.4 * name.len() as f64;
    }
}

fn rect(svg: &mut String, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
    let _infallible = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, dash: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _infallible = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" \
         stroke-dasharray=\"{dash}\"/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let _infallible = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222\">{text}</text>"
    );
}
