//! `landfall-sim`: runs seeds, replays one.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command")]

use clap::Parser;
use landfall_sim::{Account, Fault, Options, Plant, campaign, run_caught};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

/// From so many seeds on, a fault that never happened is an error.
const COVERAGE_SEEDS_MIN: u64 = 1_000;

/// Runs devices and a hub on seeds, with everything that can go wrong between them, and checks
/// that nothing is lost, doubled or mixed up.
///
/// Exit status: 0 every promise was kept, 1 one was broken, 2 wrong usage, 3 every promise was
/// kept but some fault never happened (from 1,000 seeds on).
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 2_000, conflicts_with = "seed")]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0, conflicts_with = "seed")]
    from: u64,
    /// Threads.
    #[arg(long, default_value_t = 1, conflicts_with = "seed")]
    jobs: usize,
    /// Run this one seed.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: print everything that happened.
    #[arg(long, requires = "seed")]
    log: bool,
    /// Plant a fault into a shell, to see that it is found; "list" names them.
    #[arg(long, value_name = "NAME")]
    plant: Option<String>,
    /// Print the account as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let plant = match args.plant.as_deref() {
        None => None,
        Some("list") => {
            Plant::ALL.iter().for_each(|plant| println!("{}", plant.name()));
            return ExitCode::SUCCESS;
        }
        Some(name) => match Plant::find(name) {
            Some(plant) => Some(plant),
            None => {
                eprintln!("error: no planted fault is called '{name}'\nremedy: --plant list");
                return ExitCode::from(2);
            }
        },
    };
    match args.seed {
        Some(seed) => one(seed, Options { plant, log: args.log }, args.json),
        None => many(&args, Options { plant, log: false }),
    }
}

fn one(seed: u64, options: Options, json: bool) -> ExitCode {
    let outcome = run_caught(seed, options);
    outcome.log.iter().for_each(|line| println!("{line}"));
    let account = Account::of(&outcome);
    if json {
        print_json(&account);
    } else {
        println!(
            "seed {seed}: {} events in {} simulated seconds, {} told, {} tickets, {} losses",
            outcome.events,
            outcome.simulated_ms / 1000,
            outcome.told,
            outcome.tickets,
            outcome.losses
        );
    }
    match outcome.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            eprintln!("seed {seed} broke {violation}");
            ExitCode::from(1)
        }
    }
}

fn many(args: &Args, options: Options) -> ExitCode {
    let started = Instant::now();
    let shows = std::io::stderr().is_terminal();
    let progress = |account: &Account| {
        if shows && account.seeds.is_multiple_of(50) {
            let rate = account.seeds as f64 / started.elapsed().as_secs_f64();
            eprint!("\r{} of {} seeds, {rate:.0} a second", account.seeds, args.seeds);
            let _ = std::io::stderr().flush();
        }
        true
    };
    let account = campaign(args.from, args.seeds, args.jobs, options, &progress);
    if shows {
        eprintln!();
    }
    if args.json {
        print_json(&account);
    } else {
        print_account(&account, started.elapsed().as_secs_f64());
    }
    let missing = account.missing();
    if account.failed > 0 {
        let seed = account.failures[0].seed;
        eprintln!("{} seeds failed; replay: landfall-sim --seed {seed} --log", account.failed);
        ExitCode::from(1)
    } else if args.seeds >= COVERAGE_SEEDS_MIN && !missing.is_empty() {
        let names: Vec<&str> = missing.into_iter().map(Fault::name).collect();
        eprintln!("never happened, so nothing is known of it: {}", names.join(", "));
        ExitCode::from(3)
    } else {
        ExitCode::SUCCESS
    }
}

fn print_json(account: &Account) {
    match serde_json::to_string_pretty(account) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("error: {error}"),
    }
}

fn print_account(account: &Account, secs: f64) {
    println!("{} seeds in {secs:.1} s", account.seeds);
    println!("  events                    {:>12}", account.events);
    println!("  simulated time            {:>12} s", account.simulated_secs);
    println!("  requests told             {:>12}", account.told);
    println!("  tickets ended             {:>12}", account.tickets);
    println!("  losses on record          {:>12}", account.losses);
    println!("  seeds that failed         {:>12}", account.failed);
    for fault in Fault::ALL {
        println!("  {:<25} {:>12}  {}", fault.name(), account.faults.of(*fault), fault.what());
    }
    for failure in &account.failures {
        println!("  seed {} broke {}: {}", failure.seed, failure.invariant, failure.detail);
    }
}
