//! Charts as SVG in the page: no script, no image to load, read out by a screen reader.

use super::html::Esc;
use std::fmt::Write;

/// Of a chart, in its own units.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 140.0;
/// Room for the numbers on the left, and for the days below.
const LEFT: f64 = 44.0;
const BELOW: f64 = 18.0;
const ABOVE: f64 = 8.0;

/// A series of values with a name for each.
pub(super) struct Chart<'a> {
    /// What it shows.
    pub(super) title: &'a str,
    /// Name and value, in order.
    pub(super) values: &'a [(String, f64)],
    /// A part of each value, drawn in front; empty if there is none.
    pub(super) parts: &'a [f64],
    /// Behind a number.
    pub(super) unit: &'a str,
}

/// Bars, one for each value.
pub(super) fn bars(chart: &Chart<'_>) -> String {
    let most = top(chart.values.iter().map(|(_, value)| *value));
    let count = chart.values.len().max(1);
    let step = (WIDTH - LEFT) / as_f64(count);
    let mut svg = open(chart, most);
    for (index, (name, value)) in chart.values.iter().enumerate() {
        let x = LEFT + as_f64(index) * step;
        let mut bar = |value: f64, class: &str, title: &str| {
            let height = (HEIGHT - BELOW - ABOVE) * value / most;
            // Writing to a string cannot fail.
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
                 height=\"{height:.1}\"><title>{}</title></rect>",
                HEIGHT - BELOW - height,
                (step - 2.0).max(1.0),
                Esc(title)
            );
        };
        bar(*value, "bar", &format!("{name}: {}{}", short(*value), chart.unit));
        if let Some(part) = chart.parts.get(index) {
            bar(*part, "bar2", &format!("{name}: {}{}", short(*part), chart.unit));
        }
    }
    close(svg, chart)
}

/// A line through the values.
pub(super) fn line(chart: &Chart<'_>) -> String {
    let most = top(chart.values.iter().map(|(_, value)| *value));
    let count = chart.values.len().max(2);
    let step = (WIDTH - LEFT - 4.0) / as_f64(count - 1);
    let mut svg = open(chart, most);
    let points = chart.values.iter().enumerate().map(|(index, (_, value))| {
        let y = HEIGHT - BELOW - (HEIGHT - BELOW - ABOVE) * value / most;
        format!("{:.1},{y:.1}", LEFT + as_f64(index) * step)
    });
    let points: Vec<String> = points.collect();
    let _ = write!(svg, "<polyline class=\"line\" points=\"{}\"/>", points.join(" "));
    close(svg, chart)
}

fn open(chart: &Chart<'_>, most: f64) -> String {
    let said =
        chart.values.iter().map(|(name, value)| format!("{name} {}{}", short(*value), chart.unit));
    let said: Vec<String> = said.collect();
    let bottom = HEIGHT - BELOW;
    format!(
        "<figure><figcaption>{title}</figcaption><svg class=\"chart\" role=\"img\" \
         aria-label=\"{title}: {said}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">\
         <line class=\"axis\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
         <line class=\"axis\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{ABOVE}\" y2=\"{ABOVE}\"/>\
         <text x=\"{label}\" y=\"{top}\" text-anchor=\"end\">{most}{unit}</text>\
         <text x=\"{label}\" y=\"{bottom}\" text-anchor=\"end\">0</text>",
        title = Esc(chart.title),
        said = Esc(said.join(", ")),
        label = LEFT - 4.0,
        top = ABOVE + 6.0,
        most = short(most),
        unit = Esc(chart.unit),
    )
}

fn close(mut svg: String, chart: &Chart<'_>) -> String {
    let y = HEIGHT - 4.0;
    if let (Some((first, _)), Some((last, _))) = (chart.values.first(), chart.values.last()) {
        let _ = write!(
            svg,
            "<text x=\"{LEFT}\" y=\"{y}\">{}</text>\
             <text x=\"{WIDTH}\" y=\"{y}\" text-anchor=\"end\">{}</text>",
            Esc(first),
            Esc(last)
        );
    }
    svg.push_str("</svg></figure>");
    svg
}

/// The next round number above all values.
fn top(values: impl Iterator<Item = f64>) -> f64 {
    let most = values.fold(0.0, f64::max);
    if most <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(most.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= most).unwrap_or(most)
}

/// A number with as few digits as it needs: 950, 12.5k, 3M.
fn short(value: f64) -> String {
    let (scaled, suffix) = match value {
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e4 => (v / 1e3, "k"),
        v => (v, ""),
    };
    let text = format!("{scaled:.1}");
    format!("{}{suffix}", text.strip_suffix(".0").unwrap_or(&text))
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_says_its_values_and_no_text_gets_out() {
        let values = [("<b>".to_owned(), 3.0), ("2026-11-28".to_owned(), 12_500.0)];
        let chart = Chart { title: "Outcomes \"a\" day", values: &values, parts: &[1.0], unit: "" };
        for svg in [bars(&chart), line(&chart)] {
            assert!(svg.contains("12.5k") && svg.contains("&lt;b&gt;"), "{svg}");
            assert!(!svg.contains("<b>") && !svg.contains("NaN"), "{svg}");
        }
        let none = Chart { title: "t", values: &[], parts: &[], unit: "" };
        assert!(!bars(&none).contains("NaN") && !line(&none).contains("inf"));
    }

    #[test]
    fn tops_are_round() {
        for (most, expected) in [(0.0, 1.0), (1.0, 1.0), (3.0, 5.0), (51.0, 100.0), (0.3, 0.5)] {
            let found = top([most].into_iter());
            assert!((found - expected).abs() < 1e-9, "{most}: {found}");
        }
    }
}
