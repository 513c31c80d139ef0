//! `[releases]`: how model packages that the hub rolls out come to the device.

use super::section::{At, Section};
use super::site::check_address;
use crate::release::ReleasesConfig;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

/// Less holds no encoder; more than this has no box.
const BYTES_ALLOWED: RangeInclusive<u64> = (1 << 20)..=(1 << 40);

/// Most mirrors or devices: each that does not answer costs its timeout.
const SOURCES_MAX: usize = 16;

pub(super) fn read(mut section: Section<'_>, checks: bool) -> ReleasesConfig {
    let hub = section.string("hub");
    if let Some(hub) = &hub {
        check_address(&section, "hub", hub);
    }
    let mirrors = list(&mut section, "mirrors");
    for mirror in &mirrors {
        check_mirror(&section, mirror);
    }
    let mirror_ca = section.path("mirror_ca");
    if let Some(file) = mirror_ca.as_ref().filter(|file| checks && !file.value.is_file()) {
        section.wrong(
            file.line,
            format!("there is no file {}", file.value.display()),
            "give the PEM file of the authority that the mirror's certificate is from",
        );
    }
    let peers = list(&mut section, "peers");
    for peer in &peers {
        check_address(&section, "peers", peer);
    }
    let serve = section.string("serve").and_then(|at| check_serve(&section, &at));
    let bytes_max = section.size("bytes_max", BYTES_ALLOWED);
    section.finish();
    let values = |list: Vec<At<String>>| list.into_iter().map(|text| text.value).collect();
    ReleasesConfig {
        hub: hub.map(|hub| hub.value),
        mirrors: values(mirrors),
        mirror_ca: mirror_ca.map(|file| file.value),
        peers: values(peers),
        serve,
        bytes_max: bytes_max.map_or(ReleasesConfig::BYTES_MAX_DEFAULT, |bytes| bytes.value),
    }
}

fn list(section: &mut Section<'_>, key: &'static str) -> Vec<At<String>> {
    let Some(found) = section.strings(key) else { return Vec::new() };
    if found.value.len() > SOURCES_MAX {
        let (called, count) = (section.called(key), found.value.len());
        let message = format!("'{called}' has {count} entries, the limit is {SOURCES_MAX}");
        section.wrong(found.line, message, "name the few that are near");
    }
    found.value
}

fn check_mirror(section: &Section<'_>, mirror: &At<String>) {
    let text = &mirror.value;
    let host = text.strip_prefix("https://").unwrap_or_default();
    if host.is_empty() || host.starts_with('/') || text.contains([' ', '?', '#']) {
        section.wrong(
            mirror.line,
            format!("'{}' has '{text}', which is not an HTTPS address", section.called("mirrors")),
            "use the address above the folder `blobs`, such as \"https://mirror.example.org/models\"",
        );
    }
}

fn check_serve(section: &Section<'_>, at: &At<String>) -> Option<SocketAddr> {
    let parsed = at.value.parse().ok();
    if parsed.is_none() {
        section.wrong(
            at.line,
            format!("'{}' is '{}', which is no address", section.called("serve"), at.value),
            "use an IP address of this device and a port, such as \"192.168.1.20:8019\"",
        );
    }
    parsed
}
