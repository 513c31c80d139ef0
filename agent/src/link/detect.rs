//! Which links are there: network interfaces, default routes and probe commands.

use crate::config::{Link, Sign};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often interfaces and routes are looked at: two small files of the kernel.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A probe that takes longer is ended, and its link taken for down.
const PROBE_MAX: Duration = Duration::from_secs(10);

/// How often a running probe is looked at.
const PROBE_LOOK: Duration = Duration::from_millis(50);

/// Looks after every link's sign.
pub(super) struct Detector {
    signs: Vec<Sign>,
    /// What was last found of each, and when a probe is due again.
    found: Vec<(bool, Option<Instant>)>,
}

impl Detector {
    pub(super) fn new(links: &[Link]) -> Detector {
        let signs: Vec<Sign> = links.iter().map(|link| link.sign.clone()).collect();
        let found = vec![(false, None); signs.len()];
        Detector { signs, found }
    }

    /// Which links are there. Blocking: it may run a command.
    pub(super) fn look(&mut self) -> Vec<bool> {
        let mut route = None;
        for (sign, (found, due)) in self.signs.iter().zip(&mut self.found) {
            *found = match sign {
                Sign::Always => true,
                Sign::Interface(name) => is_up(Path::new("/sys/class/net"), name),
                Sign::Route(name) => {
                    route.get_or_insert_with(default_route).as_deref() == Some(name.as_str())
                }
                Sign::Probe { command, every } => {
                    if due.is_none_or(|due| Instant::now() >= due) {
                        *due = Some(Instant::now() + *every);
                        succeeds(command)
                    } else {
                        *found
                    }
                }
            };
        }
        self.found.iter().map(|(found, _)| *found).collect()
    }

    /// When to look again; `None` if nothing can change.
    pub(super) fn pause(&self) -> Option<Duration> {
        let now = Instant::now();
        let pauses = self.signs.iter().zip(&self.found).filter_map(|(sign, (_, due))| match sign {
            Sign::Always => None,
            Sign::Interface(_) | Sign::Route(_) => Some(LOOK_EVERY),
            Sign::Probe { .. } => Some(due.map_or(Duration::ZERO, |due| due - now)),
        });
        pauses.min()
    }
}

/// Whether an interface is up. Tunnels and modems do not tell their state, only that they are on.
fn is_up(interfaces: &Path, name: &str) -> bool {
    let read = |file: &str| std::fs::read_to_string(interfaces.join(name).join(file));
    let is_on = || {
        let flags = read("flags").unwrap_or_default();
        let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16);
        flags.is_ok_and(|flags| flags & libc::IFF_UP.cast_unsigned() != 0)
    };
    match read("operstate").as_deref().map(str::trim) {
        Ok("up") => true,
        Ok("unknown") => is_on(),
        Ok(_) | Err(_) => false,
    }
}

/// The interface of the default route: that of IPv4, or without one that of IPv6.
pub(crate) fn default_route() -> Option<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    parse_route(&read("/proc/net/route")).or_else(|| parse_route_v6(&read("/proc/net/ipv6_route")))
}

fn parse_route(table: &str) -> Option<String> {
    fn route(line: &str) -> Option<(u32, &str)> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [interface, destination, _, flags, _, _, metric, mask, ..] = fields[..] else {
            return None;
        };
        let is_usable = u32::from_str_radix(flags, 16).ok()? & 1 != 0;
        let is_default = destination == "00000000" && mask == "00000000";
        (is_usable && is_default).then(|| Some((metric.parse().ok()?, interface)))?
    }
    // Of equal ones the kernel takes the first.
    table.lines().filter_map(route).min_by_key(|(metric, _)| *metric).map(|(_, name)| name.into())
}

fn parse_route_v6(table: &str) -> Option<String> {
    /// It leads nowhere.
    const REJECT: u32 = 0x0200;
    fn route(line: &str) -> Option<(u32, &str)> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, prefix, _, _, _, metric, _, _, flags, interface] = fields[..] else {
            return None;
        };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let is_default = prefix == "00" && destination.bytes().all(|byte| byte == b'0');
        let metric = u32::from_str_radix(metric, 16).ok()?;
        (is_default && flags & 1 != 0 && flags & REJECT == 0).then_some((metric, interface))
    }
    table.lines().filter_map(route).min_by_key(|(metric, _)| *metric).map(|(_, name)| name.into())
}

/// Runs a probe to its end, or for as long as it may take.
fn succeeds(command: &[String]) -> bool {
    let Some((program, args)) = command.split_first() else { return false };
    let null = Stdio::null;
    let started =
        Command::new(program).args(args).stdin(null()).stdout(null()).stderr(null()).spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            tracing::warn!(program, %error, "a link's probe cannot be run; its link is taken for down");
            return false;
        }
    };
    let until = Instant::now() + PROBE_MAX;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < until => std::thread::sleep(PROBE_LOOK),
            Ok(None) | Err(_) => {
                tracing::warn!(
                    program,
                    "a link's probe takes too long; its link is taken for down"
                );
                // Ended already, if that fails.
                let _ended = child.kill().and_then(|()| child.wait());
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_with_the_least_metric() {
        let table = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
            wwan0 00000000 0102A8C0 0003 0 0 700 00000000 0 0 0\n\
            eth0 00000000 0100A8C0 0003 0 0 100 00000000 0 0 0\n\
            eth1 00000000 0100A8C0 0002 0 0 1 00000000 0 0 0\n\
            eth0 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
        assert_eq!(parse_route(table).as_deref(), Some("eth0"));
        assert_eq!(parse_route(""), None);
        let zeros = "0".repeat(32);
        let v6 = format!(
            "{zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200 lo\n\
             {zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 1 0 00000003 wwan0\n"
        );
        assert_eq!(parse_route_v6(&v6).as_deref(), Some("wwan0"));
    }

    #[test]
    fn an_interface_is_up_if_it_says_so_or_is_on_and_does_not_say() {
        let dir = tempfile::tempdir().unwrap();
        let cases =
            [("up", "0x1003", true), ("down", "0x1003", false), ("unknown", "0x1003", true)];
        for (state, flags, want) in cases.into_iter().chain([("unknown", "0x1002", false)]) {
            let interface = dir.path().join("wwan0");
            std::fs::create_dir_all(&interface).unwrap();
            std::fs::write(interface.join("operstate"), format!("{state}\n")).unwrap();
            std::fs::write(interface.join("flags"), format!("{flags}\n")).unwrap();
            assert_eq!(is_up(dir.path(), "wwan0"), want, "{state} {flags}");
        }
        assert!(!is_up(dir.path(), "eth9"));
    }

    #[test]
    fn a_probe_says_by_its_status() {
        let command = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(succeeds(&command("true")));
        assert!(!succeeds(&command("false")));
        assert!(!succeeds(&command("/no/such/program")));
        assert!(!succeeds(&[]));
    }
}
