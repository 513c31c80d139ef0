//! Who the device is, how long that holds, and what time it is.

use super::super::shown_time;
use super::Check;
use crate::clock::Clock;
use crate::config::Config;
use crate::http::StatusBody;
use crate::sync::{Identity, Place, Validity, Wallet};
use landfall_agent_core::clock::{Source, TOLERANCE_MS};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// With less of its time left than this share of it, a certificate should have been renewed: the
/// agent does so when a third is over.
const LEFT_SHARE_MIN: u64 = 3;

pub(super) fn checks(
    config: &Config,
    clock: &Arc<Clock>,
    checks: &mut Vec<Check>,
) -> Option<Identity> {
    let Some(hub) = &config.hub else {
        checks.push(Check::note("identity", "none: the configuration has no [hub]"));
        return None;
    };
    let wallet = Wallet::new(&hub.identity, &config.data_dir, Arc::clone(clock));
    let (identity, place) = match wallet.pick() {
        Ok(picked) => picked,
        Err(error) => {
            checks.push(Check::failed("identity", error.to_string(), error.remedy()));
            return None;
        }
    };
    let now_ms = clock.now_ms();
    checks.push(certificate(&identity, place, now_ms));
    checks.push(authorities(&identity, now_ms));
    checks.extend(wallet.key_files().iter().filter_map(|path| key(path)));
    Some(identity)
}

fn certificate(identity: &Identity, place: Place, now_ms: u64) -> Check {
    let Validity { from_ms, until_ms } = identity.valid;
    let (from, until) = (shown_time(from_ms), shown_time(until_ms));
    let how = match place {
        Place::Enrolled => "",
        Place::Current => ", renewed",
        Place::Trial => ", renewed and not used yet",
    };
    let says = format!("{}, certificate valid {from} to {until}{how}", identity.device);
    let left_ms = until_ms.saturating_sub(now_ms);
    if left_ms < until_ms.saturating_sub(from_ms) / LEFT_SHARE_MIN {
        let days = left_ms / 86_400_000;
        let remedy = "connect it to its hub, so that it gets a new one; or on the hub \
                      `landfall-hub enroll --renew`, and copy the directory";
        return Check::warning("identity", format!("{says}: {days} days left"), remedy);
    }
    Check::ok("identity", says)
}

fn authorities(identity: &Identity, now_ms: u64) -> Check {
    let all = &identity.authorities;
    let until: Vec<String> = all.iter().map(|it| shown_time(it.until_ms)).collect();
    let says = format!("trusts {} authority(s), until {}", all.len(), until.join(" and "));
    if all.iter().all(|it| it.until_ms < now_ms) {
        let remedy = "enroll the device again with `landfall-hub enroll` and copy the directory";
        return Check::failed("authority", says, remedy);
    }
    Check::ok("authority", says)
}

/// A key that everybody can read is nobody's secret.
fn key(path: &Path) -> Option<Check> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o007 != 0).then(|| {
        let says = format!("{} can be read by everybody (mode {:o})", path.display(), mode & 0o777);
        Check::warning("key", says, format!("chmod o= {}", path.display()))
    })
}

/// The time, by the running agent if there is one: it knows what the hub said.
pub(super) fn time(clock: &Clock, status: Option<&StatusBody>) -> Check {
    let shown = clock.shown();
    let live = status.and_then(|status| status.clock.as_ref());
    let (now_ms, source) = match live {
        Some(live) => (live.now_ms, live.source.clone()),
        None => (shown.now_ms, shown.source.name().to_owned()),
    };
    let (now, wall) = (shown_time(now_ms), shown_time(shown.wall_ms));
    let set = "set it: date -s 'YYYY-MM-DD hh:mm', or an NTP server; the agent goes on meanwhile \
               and corrects what it recorded when the hub tells the time";
    if source == Source::Floor.name() {
        let says = format!("the clock shows {wall}, which has passed: at least {now} is known");
        return Check::warning("clock", says, set);
    }
    if source == Source::Hub.name() || shown.wall_ms.abs_diff(now_ms) > TOLERANCE_MS {
        let says = format!("the clock shows {wall}, but by the hub it is {now}");
        return Check::warning("clock", says, set);
    }
    match live.and_then(|live| live.hub_ahead_ms) {
        Some(ms) => Check::ok("clock", format!("{now}, {} s off the hub's", ms.abs() / 1000)),
        None => Check::ok("clock", format!("{now}; the hub has not been asked")),
    }
}
