use super::*;
use proptest::prelude::*;

const HOUR: u64 = HOUR_MS;
const DAY: u64 = 24 * HOUR;
/// A Monday, 00:00 UTC.
const MONDAY: u64 = (20_000 / 7 * 7 + 4) * DAY;

fn policy(name: &str, class: u8) -> LinkPolicy {
    LinkPolicy {
        name: name.to_owned(),
        class,
        bytes_per_sec: None,
        bytes_per_day: None,
        windows: Vec::new(),
        zone: Zone::Utc,
        carries: Carries::ALL,
    }
}

fn at(ms: u64) -> Now {
    Now { running_ms: ms, wall_ms: MONDAY + ms, offset_secs: 0 }
}

fn carried(link: usize, bytes: u64) -> Event {
    Event::Carried { link, bytes, busy: None }
}

#[test]
fn the_cheapest_link_that_is_there_is_used() {
    let mut links = Links::new(vec![policy("satellite", 5), policy("port", 1)], &[], at(0));
    assert_eq!(links.standing(), Standing::Down);
    assert!(links.step(at(1), Event::Seen(vec![true, false])).changed);
    assert_eq!(links.used(), Some(0));
    assert!(links.step(at(2), Event::Seen(vec![true, true])).changed);
    assert_eq!(links.used(), Some(1));
    assert!(!links.step(at(3), Event::Seen(vec![false, true])).changed);
    links.step(at(4), Event::Seen(vec![false, false]));
    assert_eq!((links.standing(), links.grant(at(4), 0)), (Standing::Down, Grant::Over));
}

#[test]
fn the_sites_word_holds_until_it_ends() {
    let mut links = Links::new(vec![policy("satellite", 5), policy("port", 1)], &[], at(0));
    links.step(at(0), Event::Seen(vec![true, true]));
    let word = |link, is_up| SiteWord { link, is_up, for_ms: Some(HOUR) };
    links.step(at(1), Event::Site(Some(word(Some(0), true))));
    assert_eq!(links.used(), Some(0), "forced, though it costs more");
    assert_eq!(links.next_wakeup(at(1)), Some(1 + HOUR));
    links.step(at(2), Event::Site(Some(word(Some(1), false))));
    assert_eq!(links.used(), Some(0), "the other is said to be down");
    links.step(at(3), Event::Site(Some(word(None, false))));
    assert_eq!(links.standing(), Standing::Down);
    links.step(Now { wall_ms: 0, ..at(3 + HOUR) }, Event::Tick);
    assert_eq!(links.used(), Some(1), "it ended, whatever the wall clock says");
}

#[test]
fn windows_open_and_close_in_their_own_time() {
    let windows = vec![Window::parse("22:00-04:00").unwrap()];
    let night = LinkPolicy { windows, zone: Zone::Local, ..policy("satellite", 5) };
    let east = |ms| Now { offset_secs: 2 * 3600, ..at(ms) };
    let mut links = Links::new(vec![night], &[], east(12 * HOUR));
    links.step(east(12 * HOUR), Event::Seen(vec![true]));
    let until_ms = MONDAY + 20 * HOUR;
    assert_eq!(links.standing(), Standing::Waits { link: 0, until_ms, what: Wait::Window });
    assert_eq!(links.next_wakeup(east(12 * HOUR)), Some(20 * HOUR));
    assert!(links.step(east(20 * HOUR), Event::Tick).changed);
    assert_eq!(links.next_wakeup(east(20 * HOUR)), Some(26 * HOUR));
    assert!(links.step(east(26 * HOUR), Event::Tick).changed);
}

#[test]
fn a_spent_budget_waits_for_the_next_day_and_says_so() {
    let budget = 1 << 20;
    let paid = LinkPolicy { bytes_per_day: Some(budget), ..policy("satellite", 5) };
    let mut links = Links::new(vec![paid.clone()], &[], at(HOUR));
    links.step(at(HOUR), Event::Seen(vec![true]));
    let effects = links.step(at(HOUR), carried(0, budget - GRANT_BYTES_MIN));
    let kept = effects.persist.expect("written before more is spent");
    assert!(kept[0].bytes >= budget - GRANT_BYTES_MIN);
    assert!(
        matches!(links.grant(at(HOUR), 0), Grant::Bytes(bytes) if (bytes as u64) < GRANT_BYTES_MIN)
    );
    assert!(links.step(at(HOUR), carried(0, 1)).changed);
    let waits = Standing::Waits { link: 0, until_ms: MONDAY + DAY, what: Wait::Budget };
    assert_eq!((links.standing(), links.grant(at(HOUR), 0)), (waits, Grant::Over));
    // A restart, and a clock that went back a year in it.
    let wrong = Now { running_ms: 0, wall_ms: MONDAY - 365 * DAY, offset_secs: 0 };
    let mut links = Links::new(vec![paid], &kept, wrong);
    links.step(wrong, Event::Seen(vec![true]));
    assert!(matches!(links.standing(), Standing::Waits { what: Wait::Budget, .. }));
    // It is put right: no new day by that.
    let right = Now { running_ms: 60_000, ..at(HOUR + 60_000) };
    links.step(right, Event::Tick);
    assert_eq!(links.standing(), waits);
    let midnight = Now { running_ms: 23 * HOUR, ..at(DAY) };
    assert!(links.step(midnight, Event::Tick).changed);
    assert_eq!(links.used(), Some(0));
}

#[test]
fn a_rate_lets_a_second_go_at_once_and_then_waits() {
    let slow = LinkPolicy { bytes_per_sec: Some(1000), ..policy("satellite", 5) };
    let mut links = Links::new(vec![slow], &[], at(0));
    links.step(at(0), Event::Seen(vec![true]));
    assert_eq!(links.sizes(), Sizes { batch_bytes_max: 4000, window_bytes_max: 16_000 });
    assert_eq!(links.grant(at(0), 0), Grant::Bytes(4000));
    links.step(at(0), carried(0, 4000));
    let Grant::At(until_ms) = links.grant(at(0), 0) else { panic!("{:?}", links.grant(at(0), 0)) };
    assert_eq!(until_ms, 3001);
    links.step(at(until_ms), Event::Tick);
    assert_eq!(links.grant(at(until_ms), 0), Grant::Bytes(4000));
}

#[test]
fn an_estimate_minds_rate_hours_and_budget() {
    let windows = vec![Window::parse("00:00-01:00").unwrap()];
    let budget = 1_000_000 + GRANT_BYTES_MIN;
    let paid = LinkPolicy { bytes_per_day: Some(budget), windows, ..policy("satellite", 5) };
    let mut links = Links::new(vec![paid], &[], at(0));
    links.step(at(0), Event::Seen(vec![true]));
    assert_eq!(links.drained_ms(at(0), 1), None, "nobody knows the rate");
    links.step(at(0), Event::Carried { link: 0, bytes: 1000, busy: Some((1000, 1000)) });
    let left = 1_000_000 - 1000;
    assert_eq!(links.drained_ms(at(0), left), Some(MONDAY + 999_000));
    assert_eq!(links.drained_ms(at(0), left + 1000), Some(MONDAY + DAY + 1000));
    assert_eq!(links.drained_ms(at(0), left + 1_001_000), Some(MONDAY + 2 * DAY + 1000));
}

/// A month on a link that always has more to carry; what each real day carried. `steps` are
/// (hour, milliseconds by which the clock then steps), `kills` are hours.
fn month(budget: u64, steps: &[(u64, i64)], kills: &[u64]) -> Vec<u64> {
    const MINUTE: u64 = 60_000;
    let paid = LinkPolicy { bytes_per_day: Some(budget), ..policy("satellite", 5) };
    let mut wrong_ms = 0_i64;
    let mut kept = Vec::new();
    let mut booted_ms = 0;
    let now = |real_ms: u64, booted_ms: u64, wrong_ms: i64| Now {
        running_ms: real_ms - booted_ms,
        wall_ms: (MONDAY + real_ms).saturating_add_signed(wrong_ms),
        offset_secs: 0,
    };
    let mut links = Links::new(vec![paid.clone()], &kept, now(0, 0, 0));
    let mut days = vec![0; 30];
    for real_ms in (0..30 * DAY / MINUTE).map(|minute| minute * MINUTE) {
        for (_, step) in steps.iter().filter(|(hour, _)| hour * HOUR == real_ms) {
            wrong_ms += step;
        }
        let at = |booted_ms| now(real_ms, booted_ms, wrong_ms);
        if kills.iter().any(|hour| hour * HOUR == real_ms) {
            booted_ms = real_ms;
            links = Links::new(vec![paid.clone()], &kept, at(booted_ms));
        }
        let mut events = vec![Event::Seen(vec![true])];
        links.step(at(booted_ms), Event::Tick).persist.inspect(|list| kept.clone_from(list));
        while let Some(event) = events.pop() {
            let effects = links.step(at(booted_ms), event);
            effects.persist.inspect(|list| kept.clone_from(list));
        }
        // Two frames a minute, with headers, and what the hub says.
        for _ in 0..2 {
            if let Grant::Bytes(bytes) = links.grant(at(booted_ms), 0) {
                let handing = Event::Handing { bytes: bytes as u64 + 300 };
                links.step(at(booted_ms), handing).persist.inspect(|list| kept.clone_from(list));
                let bytes = bytes as u64 * 103 / 100 + 120;
                days[usize::try_from(real_ms / DAY).unwrap()] += bytes;
                let effects = links.step(at(booted_ms), carried(0, bytes));
                effects.persist.inspect(|list| kept.clone_from(list));
            }
        }
    }
    days
}

#[test]
fn a_budget_holds_within_a_hundredth_over_a_month() {
    for budget in [1_000_000, 5_000_000, 20_000_000] {
        let kills: Vec<u64> = (1..30).map(|day| day * 17).collect();
        for kills in [vec![], kills] {
            let days = month(budget, &[], &kills);
            for carried in days {
                assert!(carried <= budget + budget / 100, "{carried} of {budget}");
                assert!(carried >= budget - budget * 2 / 100, "{carried} of {budget}: {kills:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_step_of_the_clock_and_no_kill_renews_a_budget(
        steps in prop::collection::vec((0_u64..720, -40 * DAY as i64..40 * DAY as i64), 0..12),
        kills in prop::collection::vec(0_u64..720, 0..12),
    ) {
        const BUDGET: u64 = 1_000_000;
        let days = month(BUDGET, &steps, &kills);
        // A clock that steps while the device is off is all that is known of the time.
        let in_the_dark = kills.iter().any(|kill| steps.iter().any(|(step, _)| step == kill));
        prop_assume!(!in_the_dark);
        let renewals = 30 * 24 / 22 + 1;
        let total: u64 = days.iter().sum();
        prop_assert!(total <= renewals * (BUDGET + BUDGET / 100), "{days:?}");
        // No day has more than two, and none waits for longer than 26 hours.
        prop_assert!(days.iter().all(|carried| *carried <= 2 * (BUDGET + BUDGET / 100)));
        if kills.is_empty() {
            prop_assert!(total >= (30 * 24 / 26) * (BUDGET - BUDGET / 100), "{days:?}");
        }
    }
}

#[test]
fn model_files_leave_a_share_of_the_day_to_records() {
    let budget = 1 << 20;
    let paid = LinkPolicy { bytes_per_day: Some(budget), ..policy("satellite", 5) };
    let mut links = Links::new(vec![paid], &[], at(HOUR));
    assert_eq!(links.files(at(HOUR)), Files::Closed, "no link is there");
    links.step(at(HOUR), Event::Seen(vec![true]));
    let mut taken = 0;
    let until_ms = loop {
        match links.files(at(HOUR)) {
            Files::Range { link: 0, bytes } => {
                // What is asked for is written down before, and is not granted to records.
                let pending = bytes + bytes / 10;
                let effects = links.step(at(HOUR), Event::Files { link: 0, carried: 0, pending });
                assert!(effects.persist.is_none_or(|kept| kept[0].bytes >= taken + pending));
                let Grant::Bytes(granted) = links.grant(at(HOUR), 0) else {
                    panic!("records wait")
                };
                assert!(granted as u64 + pending + taken <= budget);
                links.step(at(HOUR), Event::Files { link: 0, carried: pending, pending: 0 });
                taken += pending;
            }
            Files::Until(until_ms) => break until_ms,
            other => panic!("{other:?}"),
        }
    };
    assert!((budget * 5 / 8..=budget * 3 / 4).contains(&taken), "{taken}");
    assert_eq!(until_ms, MONDAY + DAY);
    assert!(matches!(links.grant(at(HOUR), 0), Grant::Bytes(_)), "records go on");
    links.step(at(DAY), Event::Tick);
    assert!(matches!(links.files(at(DAY)), Files::Range { .. }));
}

#[test]
fn model_files_keep_to_the_rate_and_to_links_that_carry_them() {
    let slow = LinkPolicy { bytes_per_sec: Some(1000), ..policy("satellite", 5) };
    let closed = Carries { models: false, ..Carries::ALL };
    let not = LinkPolicy { carries: closed, ..policy("port", 1) };
    let mut links = Links::new(vec![slow, not], &[], at(0));
    links.step(at(0), Event::Seen(vec![true, false]));
    let Files::Range { bytes, .. } = links.files(at(0)) else { panic!("a range may come") };
    assert_eq!(bytes, WINDOW_SECS * 1000 + 1000);
    links.step(at(0), Event::Files { link: 0, carried: 5000, pending: 0 });
    assert_eq!(links.files(at(0)), Files::At(4001));
    links.step(at(1), Event::Seen(vec![true, true]));
    assert_eq!(links.files(at(1)), Files::Closed);
}
