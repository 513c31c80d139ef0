//! `[[link]]`: the ways to the hub, cheapest first by class.

use super::section::{At, Section};
use super::suggest;
use landfall_agent_core::link::{
    BUDGET_BYTES_MIN, Carries, LinkPolicy, RATE_BYTES_MIN, Window, Zone,
};
use landfall_wire::limits::NAME_BYTES_MAX;
use landfall_wire::record::StreamId;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Most links: a site has a handful.
const LINKS_MAX: usize = 16;

/// Classes; nine is room enough for an order.
const CLASS_MAX: u64 = 9;

/// Longest name of a network interface in Linux.
const INTERFACE_BYTES_MAX: usize = 15;

/// How often a probe is run, if the file does not say.
const PROBE_EVERY_DEFAULT: Duration = Duration::from_secs(30);
/// More often costs a process all the time; less often and a port call is missed.
const PROBE_EVERY_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3600);

/// One link and how it is found out whether it is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// What may be done with it.
    pub policy: LinkPolicy,
    /// What shows that it is there.
    pub sign: Sign,
    /// How long it may be idle, if not as long as any other.
    pub keep_alive: Option<Duration>,
}

/// What shows that a link is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// Nothing: it is taken to be there unless the site says otherwise.
    Always,
    /// This network interface is up. The connection is bound to it.
    Interface(String),
    /// The default route leads through this network interface.
    Route(String),
    /// This command ends with status 0.
    Probe {
        /// The program and its arguments.
        command: Vec<String>,
        /// How often it is run.
        every: Duration,
    },
}

pub(super) fn read(top: &mut Section<'_>, keep_alive: &RangeInclusive<Duration>) -> Vec<Link> {
    let sections = top.sections("link");
    if let Some(extra) = sections.get(LINKS_MAX) {
        let message = format!("{} links; at most {LINKS_MAX}", sections.len());
        top.wrong(extra.line, message, "remove some");
    }
    let mut links: Vec<Link> = Vec::new();
    for section in sections {
        let line = section.line;
        let Some(link) = one(section, keep_alive) else { continue };
        if links.iter().any(|known| known.policy.name == link.policy.name) {
            let message = format!("there are two links '{}'", link.policy.name);
            top.wrong(line, message, "give each its own name");
        }
        links.push(link);
    }
    links
}

fn one(mut section: Section<'_>, keep_alive: &RangeInclusive<Duration>) -> Option<Link> {
    let name = section.string("name");
    if name.is_none() && section.key_line("name").is_none() {
        section.missing("name", "name = \"satellite\"");
    }
    let name = name.and_then(|name| checked_name(&section, name));
    if section.key_line("class").is_none() {
        section.missing("class", "class = 1 (the cheapest link)");
    }
    let class = class(&mut section, "class");
    let sign = sign(&mut section);
    let rate = section.size("rate", RATE_BYTES_MIN..=1 << 40);
    let per_day = section.size("bytes_per_day", BUDGET_BYTES_MIN..=1 << 50);
    let windows = windows(&mut section);
    let zone = zone(&mut section);
    let carries = carries(&mut section, per_day.is_none());
    let keep_alive = section.duration("keep_alive", keep_alive.clone());
    section.finish();
    Some(Link {
        policy: LinkPolicy {
            name: name?,
            class: class?,
            bytes_per_sec: rate.map(|rate| rate.value),
            bytes_per_day: per_day.map(|per_day| per_day.value),
            windows,
            zone,
            carries,
        },
        sign: sign?,
        keep_alive: keep_alive.map(|keep_alive| keep_alive.value),
    })
}

fn checked_name(section: &Section<'_>, name: At<String>) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let text = &name.value;
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(plain) {
        let message = format!("'{}' is '{text}'", section.called("name"));
        let remedy = format!("use up to {NAME_BYTES_MAX} letters, digits, '-' and '_'");
        section.wrong(name.line, message, remedy);
        return None;
    }
    Some(name.value)
}

/// The class of a link under some name.
pub(super) fn class(section: &mut Section<'_>, key: &'static str) -> Option<u8> {
    let class = section.days(key, CLASS_MAX)?;
    if class.value == 0 {
        let message = format!("'{}' is 0", section.called(key));
        section.wrong(class.line, message, format!("use 1 (the cheapest) to {CLASS_MAX}"));
        return None;
    }
    u8::try_from(class.value).ok()
}

fn sign(section: &mut Section<'_>) -> Option<Sign> {
    let interface = section.string("interface");
    let route = section.string("route");
    let probe = section.strings("probe");
    let every = section.duration("probe_every", PROBE_EVERY_RANGE);
    let given = [interface.is_some(), route.is_some(), probe.is_some()];
    if given.iter().filter(|given| **given).count() > 1 {
        let message = "a link is known by one of 'interface', 'route' and 'probe'";
        section.wrong(section.line, message, "keep one of them");
        return None;
    }
    if let (Some(every), None) = (&every, &probe) {
        let message = format!("'{}' without 'probe'", section.called("probe_every"));
        section.wrong(every.line, message, "add the command, or remove it");
        return None;
    }
    let known = |name: At<String>| {
        let text = &name.value;
        let plain = !text.is_empty() && !text.contains(['/', ' ']) && !text.starts_with('.');
        if plain && text.len() <= INTERFACE_BYTES_MAX {
            return Some(name.value);
        }
        let message = format!("'{text}' is not a name of a network interface");
        section.wrong(name.line, message, "use a name as `ip link` shows it, such as \"wwan0\"");
        None
    };
    match (interface, route, probe) {
        (Some(interface), _, _) => known(interface).map(Sign::Interface),
        (_, Some(route), _) => known(route).map(Sign::Route),
        (_, _, Some(probe)) => {
            let command: Vec<String> = probe.value.into_iter().map(|part| part.value).collect();
            if command.first().is_none_or(String::is_empty) {
                let message = format!("'{}' has no command", section.called("probe"));
                section.wrong(probe.line, message, "give the program and its arguments");
                return None;
            }
            let every = every.map_or(PROBE_EVERY_DEFAULT, |every| every.value);
            Some(Sign::Probe { command, every })
        }
        (None, None, None) => Some(Sign::Always),
    }
}

fn windows(section: &mut Section<'_>) -> Vec<Window> {
    let texts = section.strings("windows").map(|list| list.value).unwrap_or_default();
    let window = |text: At<String>| {
        let window = Window::parse(&text.value);
        if window.is_none() {
            let message =
                format!("'{}' has '{}', which are no hours", section.called("windows"), text.value);
            let remedy = "write them as \"22:00-04:00\" or \"Mon-Fri 08:00-17:30\"";
            section.wrong(text.line, message, remedy);
        }
        window
    };
    texts.into_iter().filter_map(window).collect()
}

fn zone(section: &mut Section<'_>) -> Zone {
    let Some(zone) = section.string("time") else { return Zone::default() };
    match zone.value.as_str() {
        "utc" => Zone::Utc,
        "local" => Zone::Local,
        other => {
            let message = format!("'{}' is '{other}'", section.called("time"));
            let remedy = "use \"utc\", or \"local\" for the time that this machine is set to";
            section.wrong(zone.line, message, remedy);
            Zone::default()
        }
    }
}

/// Where bytes are counted they are dear: without a word model files do not go there.
fn carries(section: &mut Section<'_>, models: bool) -> Carries {
    let streams = section.strings("streams");
    let models = section.boolean("models").map_or(models, |models| models.value);
    let Some(streams) = streams else { return Carries { models, ..Carries::ALL } };
    let mut carries = Carries { outcomes: false, escalations: false, events: false, models };
    for name in streams.value {
        match StreamId::UP.iter().find(|stream| stream.name() == name.value) {
            Some(StreamId::Outcome) => carries.outcomes = true,
            Some(StreamId::Escalation) => carries.escalations = true,
            Some(StreamId::Event) => carries.events = true,
            Some(_) | None => {
                let message = format!("'{}' is not a stream", name.value);
                let known = StreamId::UP.map(StreamId::name);
                section.wrong(name.line, message, suggest::remedy(&name.value, known));
            }
        }
    }
    carries
}
