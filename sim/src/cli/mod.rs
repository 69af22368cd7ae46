//! The command line: run a seed or a plan, sweep over many, compare runs, shrink a failing one, check a history, hunt
//! planted bugs.

mod chaos;
mod plans;

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use matrixkv_sim::{
    history, linear,
    plan::{Profile, file::PlanFile},
    replay,
    run::{self, Options, Verdict},
    sweep::Sweep,
};

use crate::twice::{self, How, Second, Twice};

#[derive(Parser)]
#[command(
    name = "matrixkv-sim",
    version,
    about = "Runs whole MatrixKV clusters from one seed, with faults, and checks them"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one seed or plan and report
    Run(Run),
    /// Print the plan of a seed: what `run --plan` reads
    Plan(plans::Print),
    /// Draw a run as one page that needs nothing else
    Replay(plans::Replay),
    /// Run a plan against real processes on this machine, and check what the clients saw
    Chaos(chaos::Chaos),
    /// Make a failing run as small as it still fails
    Shrink(plans::Shrink),
    /// Run many seeds; exit status 1 if one fails
    Sweep {
        /// Which seeds, as A..B (B is not run)
        #[arg(long, value_parser = seeds)]
        seeds: Range<u64>,
        /// How many at a time
        #[arg(long, default_value_t = cores())]
        jobs: usize,
        /// Simulated seconds of each
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Which faults: all, calm, storm, disk, membership, or a file like those in cfg/profiles/
        #[arg(long, default_value = "all")]
        profile: Profile,
    },
    /// Run seeds in two processes each and compare their traces
    Twice(Compare),
    /// Check a history for linearizability: history.jsonl, Jepsen's history.edn or register log, or a kv map
    Check {
        /// The history
        file: PathBuf,
        /// Say it as JSON
        #[arg(long)]
        json: bool,
        /// Draw the history and where it goes wrong as one page
        #[arg(long)]
        html: Option<PathBuf>,
    },
    /// Write a history in another format: Jepsen's EDN if TO ends in .edn, history.jsonl elsewhere
    Convert {
        /// The history, in any format that `check` reads
        from: PathBuf,
        /// Where to
        to: PathBuf,
    },
    /// Plant bugs one at a time and see which seed finds each
    Bite(Bite),
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    chosen: plans::Chosen,
    /// Write each operation of the clients here, a JSON object a line, or Jepsen's EDN if it ends in .edn
    #[arg(long)]
    history: Option<PathBuf>,
    /// Write the trace here
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Print nothing but the hash of the trace
    #[arg(long)]
    hash_only: bool,
    /// Plant none, whatever the plan says
    #[arg(long, conflicts_with = "bug")]
    without_bug: bool,
}

#[derive(Args)]
struct Compare {
    /// One seed
    #[arg(long, conflicts_with = "seeds", required_unless_present = "seeds")]
    seed: Option<u64>,
    /// Several, as A..B
    #[arg(long, value_parser = seeds)]
    seeds: Option<Range<u64>>,
    /// Simulated seconds of each
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Another build of this program for the second run, such as one without optimisation
    #[arg(long)]
    other_binary: Option<PathBuf>,
    /// Run all seeds in one process the second time, so many at a time
    #[arg(long, conflicts_with = "other_binary")]
    together: Option<usize>,
    /// A bug to plant in both runs; needs --features planted
    #[arg(long)]
    bug: Option<String>,
}

#[derive(Args)]
struct Bite {
    /// Which seeds to try, as A..B
    #[arg(long, value_parser = seeds, default_value = "0..300")]
    seeds: Range<u64>,
    /// Only this bug
    #[arg(long)]
    bug: Option<String>,
    /// Simulated seconds of each seed
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Which faults, as elsewhere; a bug that no seed finds under the first profile is hunted under the next
    #[arg(long, value_delimiter = ',', default_values = ["all", "membership"])]
    profile: Vec<Profile>,
    /// How many at a time
    #[arg(long, default_value_t = cores())]
    jobs: usize,
    /// Shrink what was found, and write what is left into this folder, a file a bug
    #[arg(long)]
    shrink_to: Option<PathBuf>,
}

/// Does what the command line says; exit status 0 for good, 1 for a finding, 2 for a command that cannot be done.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    if !matches!(command, Command::Chaos(_)) {
        // `matrixkv-sim run ... | head` ends quietly, as other tools do. Chaos has sockets, and hears of their errors.
        sigpipe::reset();
    }
    let good = match command {
        Command::Run(run) => run_one(run),
        Command::Plan(print) => plans::print(&print),
        Command::Replay(replay) => plans::replay(&replay),
        Command::Chaos(options) => chaos::chaos(options),
        Command::Shrink(shrink) => plans::shrink_one(&shrink),
        Command::Sweep { seeds, jobs, seconds, profile } => {
            Ok(sweep(&Sweep { seeds, jobs, length: Duration::from_secs(seconds), profile }))
        }
        Command::Twice(compare) => twice(compare),
        Command::Check { file, json, html } => check(&file, json, html.as_deref()),
        Command::Convert { from, to } => convert(&from, &to),
        Command::Bite(options) => bite(options),
    };
    match good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

/// `A..B`.
fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (start, end) = text.split_once("..").ok_or("expected A..B, as 0..1000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let range = number(start)?..number(end)?;
    if range.is_empty() { Err(format!("{text} has no seed in it")) } else { Ok(range) }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get())
}

fn run_one(arguments: Run) -> Result<bool, String> {
    let PlanFile { bug, knobs, plan, .. } = arguments.chosen.load(arguments.without_bug)?;
    let (history, trace) = (arguments.history, arguments.trace);
    let report = run::run(Options { bug, history, trace, ..Options::of_plan(knobs, plan) });
    if arguments.hash_only {
        println!("{:016x}", report.trace_hash.expect("a simulated run has a trace"));
    } else {
        println!("{report}");
    }
    Ok(report.verdict() == Verdict::Passed)
}

fn sweep(sweep: &Sweep) -> bool {
    let Sweep { seeds, jobs, length, profile } = sweep;
    println!("seeds {}..{}, {jobs} at a time, {length:?} of simulated time each", seeds.start, seeds.end);
    println!("profile {profile}");
    let sums = sweep.run();
    println!("{}", sums.describe());
    let complaints = sums.complaints(profile);
    complaints.iter().for_each(|complaint| println!("{complaint}"));
    complaints.is_empty()
}

fn twice(compare: Compare) -> Result<bool, String> {
    let Compare { seed, seeds, seconds, other_binary, together, bug: name } = compare;
    let first = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    // One seed more than asked for: two seeds must differ, or the trace says nothing.
    let seeds = seeds.map_or_else(|| seed.map_or(0..=0, |seed| seed..=seed + 1), |seeds| seeds.start..=seeds.end);
    let how = How { seconds, bug: name.as_deref().map(bug).transpose()? };
    let second = match together {
        Some(jobs) => Second::Known(twice::together(&seeds, jobs, how)),
        None => Second::Process(other_binary.unwrap_or_else(|| first.clone())),
    };
    let twice = Twice { first, second, how };
    let mut hashes: BTreeMap<String, u64> = BTreeMap::new();
    let mut good = true;
    for seed in seeds {
        match twice.compare(seed) {
            Ok(hash) => {
                println!("seed {seed}: trace {hash}, twice");
                if let Some(earlier) = hashes.insert(hash, seed) {
                    println!("seeds {earlier} and {seed} have the same trace");
                    good = false;
                }
            }
            Err(why) => {
                println!("{why}");
                good = false;
            }
        }
    }
    Ok(good)
}

fn check(file: &Path, json: bool, html: Option<&Path>) -> Result<bool, String> {
    let name = file.display().to_string();
    let (format, events, verdict) = linear::check_file(file).map_err(|error| format!("{name}: {error}"))?;
    if let Some(path) = html {
        let command = format!("cargo run --release -p matrixkv-sim -- check {name}");
        let page = replay::page_of_history(&name, events, &verdict, command);
        std::fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if json {
        println!("{}", linear::verdict_json(&name, format, &verdict));
    } else {
        println!("{name} ({format}): {verdict}");
    }
    Ok(matches!(verdict, linear::Verdict::Linearizable { .. }))
}

fn convert(from: &Path, to: &Path) -> Result<bool, String> {
    let (format, events) = linear::read_file(from).map_err(|error| format!("{}: {error}", from.display()))?;
    history::write_file(to, &events).map_err(|error| format!("{}: {error}", to.display()))?;
    println!("{} events of {} ({format}) in {}", events.len(), from.display(), to.display());
    Ok(true)
}

fn bug(name: &str) -> Result<matrixkv::planted::Bug, String> {
    use matrixkv::planted::Bug;
    if !cfg!(feature = "planted") {
        let how = "cargo run --release -p matrixkv-sim --features planted -- bite";
        return Err(format!("this build carries no planted bugs; build one that does:\n  {how}"));
    }
    let names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
    let found = Bug::ALL.iter().copied().find(|bug| bug.name() == name);
    found.ok_or_else(|| format!("no such bug {name:?}; there are {}", names.join(", ")))
}

fn bite(options: Bite) -> Result<bool, String> {
    use matrixkv::planted::Bug;
    use matrixkv_sim::bite::{Ground, hunt, table};
    // Says how to build one that can, also where no name was given.
    let one = options.bug.as_deref().unwrap_or(Bug::ALL[0].name());
    let one = bug(one)?;
    let bugs = if options.bug.is_some() { vec![one] } else { Bug::ALL.to_vec() };
    let Bite { seeds, seconds, profile: profiles, jobs, .. } = options;
    let ground = Ground { seeds, length: Duration::from_secs(seconds), profiles, jobs };
    let mut bites = Vec::new();
    for bug in bugs {
        let mut bite = hunt(bug, &ground);
        match &bite.found_by {
            Some((report, _)) => println!("{}: {}", bug.name(), report.violations[0]),
            None => println!("{}: not found; other failures in seeds {:?}", bug.name(), bite.misfires),
        }
        if let Some(folder) = &options.shrink_to {
            plans::shrink_bite(&mut bite, folder)?;
        }
        bites.push(bite);
    }
    println!("{}", table(&bites));
    Ok(bites.iter().all(|bite| bite.found_by.is_some()))
}
