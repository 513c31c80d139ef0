//! Bytes of a day, whatever the clock does, and bytes of a second.

use super::{DAY_MS, HOUR_MS, Now};
use serde::{Deserialize, Serialize};

/// Two renewals are never closer, though a clock that steps over midnight, there and back, may
/// ask for more. A day of local time has at least 23 hours; one hour is left for clocks that run
/// fast.
const RENEWAL_MS_MIN: u64 = 22 * HOUR_MS;

/// Nor further apart than this of running time: after a clock stepped, nobody waits for two
/// midnights. A day of local time has at most 25 hours.
const RENEWAL_MS_MAX: u64 = 26 * HOUR_MS;

/// Bytes are written down before they are spent, this share of the budget at a time: a kill
/// costs at most that much of it, and never lets more be spent.
const AHEAD_SHARE: u64 = 256;
/// Nor less than this at a time: a flash card should not be written for every packet.
const AHEAD_BYTES_MIN: u64 = 4096;

/// What is kept of a link's budget over a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Name of the link.
    pub link: String,
    /// Days since 1970, in the link's time.
    pub day: i64,
    /// Bytes of it that are spent, or may be.
    pub bytes: u64,
    /// Time since the budget was last renewed, as far as it is known.
    pub since_renewal_ms: u64,
    /// Wall clock when this was written, milliseconds since 1970.
    pub wall_ms: u64,
}

/// The bytes that one link may carry in a day.
///
/// It is renewed when a new day begins. A step of the clock begins none: what is spent goes along
/// to whatever day it is, and renewals keep their distance in running time, and, over a restart,
/// in what the clock says of it, if it did not go back.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    pub(super) bytes_per_day: u64,
    day: i64,
    pub(super) spent: u64,
    /// Written down: at least `spent`, and what it will be once all is sent that may be.
    ahead: u64,
    reserved: u64,
    since_renewal_ms: u64,
}

impl Budget {
    pub(super) fn new(bytes_per_day: u64, now: Now, kept: Option<&Spent>) -> Budget {
        let local_ms = now.local_ms();
        let day = local_ms.div_euclid(DAY_MS);
        let Some(kept) = kept else {
            let since_renewal_ms = u64::try_from(local_ms.rem_euclid(DAY_MS)).unwrap_or(0);
            return Budget {
                bytes_per_day,
                day,
                spent: 0,
                ahead: 0,
                reserved: 0,
                since_renewal_ms,
            };
        };
        // How long it was off is not known if the clock went back.
        let off_ms = now.wall_ms.saturating_sub(kept.wall_ms);
        let mut budget = Budget {
            bytes_per_day,
            day: kept.day,
            spent: kept.bytes,
            ahead: kept.bytes,
            reserved: 0,
            since_renewal_ms: kept.since_renewal_ms,
        };
        budget.pass(off_ms, now);
        budget
    }

    /// Time has passed.
    pub(super) fn pass(&mut self, elapsed_ms: u64, now: Now) {
        self.since_renewal_ms = self.since_renewal_ms.saturating_add(elapsed_ms);
        let day = now.local_ms().div_euclid(DAY_MS);
        let new_day = day > self.day && self.since_renewal_ms >= RENEWAL_MS_MIN;
        self.day = day;
        if new_day || self.since_renewal_ms >= RENEWAL_MS_MAX {
            let into_day = u64::try_from(now.local_ms().rem_euclid(DAY_MS)).unwrap_or(0);
            // After a long time off, the day may have begun a while ago.
            self.since_renewal_ms = if new_day { into_day.min(elapsed_ms) } else { 0 };
            // What is under way is spent in the new day.
            (self.spent, self.ahead, self.reserved) = (0, 0, 0);
        }
    }

    pub(super) fn left(&self) -> u64 {
        self.bytes_per_day.saturating_sub(self.spent)
    }

    pub(super) fn spend(&mut self, bytes: u64) {
        self.spent = self.spent.saturating_add(bytes);
    }

    /// So much more is about to be spent: it is to be taken for spent when it is written down next.
    pub(super) fn reserve(&mut self, bytes: u64) {
        self.reserved = self.reserved.max(self.spent.saturating_add(bytes));
    }

    /// Whether more must be written down before more is spent; then it is taken for written.
    pub(super) fn write_ahead(&mut self, is_last: bool) -> bool {
        if is_last {
            self.reserved = 0;
            return std::mem::replace(&mut self.ahead, self.spent) != self.spent;
        }
        let step = (self.bytes_per_day / AHEAD_SHARE).max(AHEAD_BYTES_MIN);
        let least = self.spent.saturating_add(step / 2).max(self.reserved);
        let due = least > self.ahead;
        if due {
            self.ahead = least.saturating_add(step / 2);
        }
        due
    }

    pub(super) fn keep(&self, link: &str, now: Now) -> Spent {
        Spent {
            link: link.to_owned(),
            day: self.day,
            bytes: self.ahead,
            since_renewal_ms: self.since_renewal_ms,
            wall_ms: now.wall_ms,
        }
    }

    /// When it is renewed, if the clock does not step; in local milliseconds.
    pub(super) fn renews(&self, local_ms: i64) -> i64 {
        let midnight = (local_ms.div_euclid(DAY_MS) + 1) * DAY_MS;
        let since = i64::try_from(self.since_renewal_ms).unwrap_or(i64::MAX / 2);
        if since + (midnight - local_ms) >= RENEWAL_MS_MIN.cast_signed() {
            return midnight;
        }
        let latest = local_ms + (RENEWAL_MS_MAX.cast_signed() - since);
        latest.min(midnight + DAY_MS)
    }
}

/// A token bucket: so many bytes a second, a second's worth at once.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub(super) bytes_per_sec: u64,
    /// Thousandths of a byte; less than nothing while what was sent is not paid off.
    tokens: i128,
}

impl Bucket {
    pub(super) fn new(bytes_per_sec: u64) -> Bucket {
        Bucket { bytes_per_sec, tokens: i128::from(bytes_per_sec) * 1000 }
    }

    pub(super) fn pass(&mut self, elapsed_ms: u64) {
        let more = i128::from(elapsed_ms) * i128::from(self.bytes_per_sec);
        self.tokens = (self.tokens + more).min(i128::from(self.bytes_per_sec) * 1000);
    }

    pub(super) fn take(&mut self, bytes: u64) {
        self.tokens -= i128::from(bytes) * 1000;
    }

    /// How long until there is something again, once `pending` bytes are taken; zero if there is.
    pub(super) fn wait_ms(&self, pending: u64) -> u64 {
        let tokens = self.tokens - i128::from(pending) * 1000;
        if tokens > 0 {
            return 0;
        }
        let rate = i128::from(self.bytes_per_sec.max(1));
        u64::try_from((-tokens + rate) / rate).unwrap_or(u64::MAX)
    }
}
