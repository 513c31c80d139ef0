//! Some days of a ship's life: nothing lost, and the satellite's budget kept.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::executable;
use landfall_tests::month::{BUDGET_BYTES, Plan, run, svg};

#[test]
fn days_at_sea_lose_nothing_and_keep_the_budget() {
    let plan = Plan { first: 3, days: 3, day_secs: 12, texts: 30 };
    let month = run(executable(), plan, &|_| {}).unwrap();
    assert!(month.is_well(), "{month:?}");
    assert_eq!(month.told, 3 * 24 * 30);
    let by_satellite: u64 = month.days.iter().map(|day| day.carried[0]).sum();
    assert!((1..3 * BUDGET_BYTES).contains(&by_satellite), "{month:?}");
    assert!(month.days.iter().any(|day| day.oldest_hours >= 8.0), "nights wait: {month:?}");
    assert!(svg(&month).ends_with("</svg>\n"));
}
