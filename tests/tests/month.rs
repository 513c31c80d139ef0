//! Some days of a ship's life: nothing lost, and the satellite's budget kept.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::executable;
use landfall_tests::month::{Plan, run, svg, used_up};

#[test]
fn days_at_sea_lose_nothing_and_keep_the_budget() {
    let plan = Plan { first: 3, days: 3, day_secs: 24, texts: 150 };
    let month = run(executable(), plan, &|_| {}).unwrap();
    assert!(month.is_well(), "{month:?}");
    assert_eq!(month.told, 3 * 24 * 150);
    // It is the budget that limits: more is said in a day than it has room for.
    let at_sea: Vec<u64> = month.days_at_sea().map(|day| day.carried[0]).collect();
    assert!(at_sea.len() == 2 && at_sea.iter().all(|bytes| used_up(*bytes)), "{month:?}");
    assert!(month.days.iter().any(|day| day.oldest_hours >= 8.0), "nights wait: {month:?}");
    assert!(svg(&month).ends_with("</svg>\n"));
}
