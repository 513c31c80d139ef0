//! Two thousand seeds keep every promise, and every kind of fault happens in them.

use landfall_sim::{Account, Fault, Options, campaign, run};

/// Seeds of one test; four tests make two thousand, and share the processor's cores.
const SEEDS: u64 = 500;

fn seeds(from: u64) {
    let account = campaign(from, SEEDS, 1, Options::default(), &|account| account.failed == 0);
    let Account { failures, .. } = &account;
    assert!(
        failures.is_empty(),
        "replay with: landfall-sim --seed {} --log\n{failures:#?}",
        failures[0].seed
    );
    assert_eq!(account.seeds, SEEDS);
    // A fault that never happens proves nothing; five hundred seeds see each of them.
    let missing: Vec<&str> = account.missing().into_iter().map(Fault::name).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
    assert!(account.told > SEEDS * 20, "hardly anything was asked: {account:?}");
}

#[test]
fn the_first_five_hundred_seeds() {
    seeds(0);
}

#[test]
fn the_second_five_hundred_seeds() {
    seeds(500);
}

#[test]
fn the_third_five_hundred_seeds() {
    seeds(1000);
}

#[test]
fn the_fourth_five_hundred_seeds() {
    seeds(1500);
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 10, 26] {
        let options = Options { log: true, ..Options::default() };
        let (first, second) = (run(seed, options), run(seed, options));
        assert!(first.log.len() > 100, "seed {seed} logs what happens");
        assert_eq!(first, second, "seed {seed}");
        let silent = run(seed, Options::default());
        assert_eq!(silent.events, first.events, "the log changes nothing");
    }
}
