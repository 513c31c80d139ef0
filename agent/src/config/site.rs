//! Everything but the tasks: directories, hub, links, intakes, store, models, redaction.

use super::link::{self, Link};
use super::section::{At, Section};
use super::{Http, Hub, Models, RedactModel, Spool, WhenUnrecordable};
use super::{releases, suggest, units};
use crate::release::ReleasesConfig;
use crate::store::{DAY_MS, StoreConfig, WhenFull};
use landfall_agent_core::redact::{Kind, Redactor, SitePattern};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest limit of the store that makes sense on an edge box.
const STORE_BYTES_MAX: u64 = 1 << 40;
/// Longest time in days that makes sense to keep what the hub has: a box does not live longer.
const JOURNAL_DAYS_MAX: u64 = 3650;
/// A ping waits behind data on a slow link.
const KEEP_ALIVE_DEFAULT: Duration = Duration::from_secs(60);
/// Shorter takes a link of 600 ms that resends for one that is gone; nobody is believed alive for
/// longer by the hub.
const KEEP_ALIVE_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(1200);
/// What `landfall-hub enroll` writes.
const IDENTITY_FILES: [&str; 3] = ["ca.pem", "device.pem", "device.key"];

/// Whether what the file points to is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    MustExist,
    Unseen,
}

/// Everything but the tasks. After a problem its values are placeholders that are never used.
pub(super) struct Site {
    pub(super) data_dir: PathBuf,
    pub(super) hub: Option<Hub>,
    pub(super) links: Vec<Link>,
    pub(super) http: Option<Http>,
    pub(super) spool: Option<Spool>,
    pub(super) store: StoreConfig,
    pub(super) when_unrecordable: WhenUnrecordable,
    pub(super) models: Models,
    pub(super) releases: ReleasesConfig,
    pub(super) redactor: Redactor,
    pub(super) redact_model: RedactModel,
}

pub(super) fn read(top: &mut Section<'_>, files: Files) -> Site {
    let checks = files == Files::MustExist;
    let data_dir = top.path("data_dir");
    match &data_dir {
        None if top.key_line("data_dir").is_none() => {
            top.missing("data_dir", "data_dir = \"/var/lib/landfall\"");
        }
        Some(dir) if checks => not_a_file(top, "data_dir", dir),
        None | Some(_) => {}
    }
    let (redactor, redact_model) =
        top.section("redact").map_or_else(|| (Redactor::default(), RedactModel::default()), redact);
    let (store, when_unrecordable) = store(top.section("store"));
    Site {
        data_dir: data_dir.map(|dir| dir.value).unwrap_or_default(),
        hub: top.section("hub").and_then(|section| hub(section, checks)),
        links: link::read(top, &KEEP_ALIVE_RANGE),
        http: top.section("http").and_then(http),
        spool: top.section("spool").and_then(|section| spool(section, checks)),
        store,
        when_unrecordable,
        models: top
            .section("models")
            .map_or_else(Models::shipped, |section| models(section, checks)),
        releases: top
            .section("releases")
            .map_or_else(ReleasesConfig::default, |section| releases::read(section, checks)),
        redactor,
        redact_model,
    }
}

impl Models {
    fn shipped() -> Models {
        Models { packages: Vec::new(), trust: Vec::new() }
    }
}

fn hub(mut section: Section<'_>, checks: bool) -> Option<Hub> {
    let address = section.string("address");
    if let Some(address) = &address {
        check_address(&section, "address", address);
    }
    let identity = section.path("identity");
    match &identity {
        None if section.key_line("identity").is_none() => {
            section.missing("identity", "identity = \"/etc/landfall/identity\"");
        }
        Some(dir) if checks => check_identity(&section, dir),
        None | Some(_) => {}
    }
    let keep_alive = section.duration("keep_alive", KEEP_ALIVE_RANGE);
    section.finish();
    Some(Hub {
        address: address.map(|a| a.value),
        identity: identity?.value,
        keep_alive: keep_alive.map_or(KEEP_ALIVE_DEFAULT, |keep_alive| keep_alive.value),
    })
}

pub(super) fn check_address(section: &Section<'_>, key: &str, address: &At<String>) {
    let text = &address.value;
    let is_address = text.rsplit_once(':').is_some_and(|(host, port)| {
        let name = !host.is_empty() && !host.contains([' ', '/', ':']);
        let bracketed = host.starts_with('[') && host.ends_with(']');
        (name || bracketed) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if !is_address {
        section.wrong(
            address.line,
            format!("'{}' is '{text}', which is not host:port", section.called(key)),
            match key {
                "peers" => {
                    "use the address where another device of the site hands out its files, \
                            such as \"192.168.1.21:8019\""
                }
                "hub" => {
                    "use the name and port where the hub hands out files, such as \
                          \"hub.example.org:8884\""
                }
                _ => {
                    "use the name and port of the hub's device endpoint, such as \
                      \"hub.example.org:8883\""
                }
            },
        );
    }
}

fn check_identity(section: &Section<'_>, dir: &At<PathBuf>) {
    let missing: Vec<&str> =
        IDENTITY_FILES.into_iter().filter(|file| !dir.value.join(file).is_file()).collect();
    if !missing.is_empty() {
        let (shown, called) = (dir.value.display(), section.called("identity"));
        section.wrong(
            dir.line,
            format!("'{called}' is {shown}, where {} is missing", missing.join(", ")),
            "run `landfall-hub enroll DEVICE` on the hub and copy what it writes there",
        );
    }
}

fn http(mut section: Section<'_>) -> Option<Http> {
    let listen = section.string("listen");
    if listen.is_none() && section.key_line("listen").is_none() {
        section.missing("listen", "listen = \"127.0.0.1:8017\"");
    }
    let parsed = listen.and_then(|listen| check_listen(&section, &listen));
    section.finish();
    Some(Http { listen: parsed? })
}

fn check_listen(section: &Section<'_>, listen: &At<String>) -> Option<SocketAddr> {
    let (text, called) = (&listen.value, section.called("listen"));
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => return Some(address),
        Ok(_) => section.wrong(
            listen.line,
            format!("'{called}' is {text}, which other machines can reach: it has no password"),
            "use 127.0.0.1:8017 or [::1]:8017, and a proxy with TLS in front for other machines",
        ),
        Err(_) => section.wrong(
            listen.line,
            format!("'{called}' is '{text}', which is not an IP address with a port"),
            "use 127.0.0.1:8017; names such as localhost are not looked up",
        ),
    }
    None
}

fn spool(mut section: Section<'_>, checks: bool) -> Option<Spool> {
    let dir = section.path("dir");
    match &dir {
        None if section.key_line("dir").is_none() => {
            section.missing("dir", "dir = \"/var/spool/landfall\"");
        }
        Some(dir) if checks => not_a_file(&section, "dir", dir),
        None | Some(_) => {}
    }
    section.finish();
    Some(Spool { dir: dir?.value })
}

fn store(section: Option<Section<'_>>) -> (StoreConfig, WhenUnrecordable) {
    let Some(mut section) = section else { return Default::default() };
    let allowed = crate::store::BYTES_MIN..=STORE_BYTES_MAX;
    let bytes_max = section.size("bytes_max", allowed).map(|found| found.value);
    let mut store = bytes_max.map_or_else(StoreConfig::default, StoreConfig::new);
    store.outcomes_when_full = when_full(&mut section, "outcomes_when_full");
    store.escalations_when_full = when_full(&mut section, "escalations_when_full");
    if let Some(bytes) = section.size("journal_bytes_max", 0..=STORE_BYTES_MAX) {
        store.journal_bytes_max = bytes.value;
        let least = store.journal_bytes_min();
        if (1..least).contains(&bytes.value) {
            let called = section.called("journal_bytes_max");
            let least = units::show_bytes(least);
            let message = format!("'{called}' is less than {least}, which keeps nothing");
            let remedy = format!("use 0 to keep nothing, or at least {least}");
            section.wrong(bytes.line, message, remedy);
        }
    }
    if let Some(days) = section.days("journal_days", JOURNAL_DAYS_MAX) {
        store.journal_ms = days.value * DAY_MS;
    }
    let when_unrecordable = when_unrecordable(&mut section);
    section.finish();
    (store, when_unrecordable)
}

fn when_unrecordable(section: &mut Section<'_>) -> WhenUnrecordable {
    let key = "when_unrecordable";
    let Some(policy) = section.string(key) else { return WhenUnrecordable::default() };
    match policy.value.as_str() {
        "refuse" => WhenUnrecordable::Refuse,
        "answer" => WhenUnrecordable::Answer,
        other => {
            let message = format!("'{}' is '{other}'", section.called(key));
            let remedy = "use \"refuse\" (callers get an error) or \"answer\" (callers get the \
                          decision and are told that it is not recorded)";
            section.wrong(policy.line, message, remedy);
            WhenUnrecordable::default()
        }
    }
}

fn when_full(section: &mut Section<'_>, key: &'static str) -> WhenFull {
    let Some(policy) = section.string(key) else { return WhenFull::default() };
    match policy.value.as_str() {
        "refuse" => WhenFull::Refuse,
        "drop-oldest" => WhenFull::DropOldest,
        other => {
            let message = format!("'{}' is '{other}'", section.called(key));
            let remedy = "use \"refuse\" (callers are told) or \"drop-oldest\" (the hub is told)";
            section.wrong(policy.line, message, remedy);
            WhenFull::default()
        }
    }
}

fn models(mut section: Section<'_>, checks: bool) -> Models {
    let packages = section.paths("packages");
    let trust = section.paths("trust");
    if packages.is_empty() != trust.is_empty() {
        let (there, missing, example) = if packages.is_empty() {
            ("trust", "packages", "packages = [\"/usr/share/landfall/packages/maintenance\"]")
        } else {
            ("packages", "trust", "trust = [\"/etc/landfall/trust/release.pub\"]")
        };
        section.wrong(
            section.line,
            format!("[models] has '{there}' but no '{missing}'"),
            format!("add {example}, or leave both out to use the shipped packages"),
        );
    }
    if checks {
        for package in packages.iter().filter(|dir| !dir.value.join("manifest.json").is_file()) {
            let shown = package.value.display();
            section.wrong(
                package.line,
                format!("{shown} is not a model package: it has no manifest.json"),
                "give the directory of a package, as `landfall-models inspect` takes it",
            );
        }
        for key in trust.iter().filter(|file| !file.value.is_file()) {
            section.wrong(
                key.line,
                format!("there is no key file {}", key.value.display()),
                "give the minisign public key (.pub) of whoever releases the packages",
            );
        }
    }
    section.finish();
    let values = |list: Vec<At<PathBuf>>| list.into_iter().map(|path| path.value).collect();
    Models { packages: values(packages), trust: values(trust) }
}

fn redact(mut section: Section<'_>) -> (Redactor, RedactModel) {
    let model = RedactModel {
        line: ["model_labels", "model"]
            .iter()
            .find_map(|key| section.key_line(key))
            .unwrap_or(section.line),
        wanted: section.boolean("model").map(|wanted| wanted.value),
        labels: section
            .strings("model_labels")
            .map(|list| list.value.into_iter().map(|label| label.value).collect()),
        floor: section.share("model_floor").map_or(RedactModel::FLOOR_DEFAULT, |floor| floor.value),
    };
    (redactor(section), model)
}

fn redactor(mut section: Section<'_>) -> Redactor {
    let kinds = match section.strings("builtin") {
        None => Kind::DEFAULT.to_vec(),
        Some(names) => names.value.iter().filter_map(|name| kind(&section, name)).collect(),
    };
    let mut patterns = Vec::new();
    let mut lines = Vec::new();
    for mut pattern in section.sections("pattern") {
        let (mask, regex) = (pattern.string("mask"), pattern.string("regex"));
        if mask.is_none() && pattern.key_line("mask").is_none() {
            pattern.missing("mask", "mask = \"berth\"");
        }
        if regex.is_none() && pattern.key_line("regex").is_none() {
            pattern.missing("regex", "regex = '\\bberth \\d+'");
        }
        if let (Some(mask), Some(regex)) = (mask, regex) {
            patterns.push(SitePattern { mask: mask.value, regex: regex.value });
            lines.push(regex.line);
        }
        pattern.finish();
    }
    let redactor = Redactor::new(&kinds, &patterns).unwrap_or_else(|errors| {
        for (index, error) in errors {
            let line = lines.get(index).copied().unwrap_or(section.line);
            section.wrong(line, error.to_string(), error.remedy());
        }
        Redactor::default()
    });
    section.finish();
    redactor
}

fn kind(section: &Section<'_>, name: &At<String>) -> Option<Kind> {
    let kind = Kind::from_name(&name.value);
    if kind.is_none() {
        section.wrong(
            name.line,
            format!("'{}' is not a built-in pattern", name.value),
            suggest::remedy(&name.value, Kind::ALL.map(Kind::name)),
        );
    }
    kind
}

fn not_a_file(section: &Section<'_>, key: &str, dir: &At<PathBuf>) {
    let is_blocked = |path: &Path| path.exists() && !path.is_dir();
    if let Some(file) = dir.value.ancestors().find(|path| is_blocked(path)) {
        let (called, shown) = (section.called(key), dir.value.display());
        section.wrong(
            dir.line,
            format!("'{called}' is {shown}, but {} is a file", file.display()),
            "give a directory; it is made if it does not exist",
        );
    }
}
