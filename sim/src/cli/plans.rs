//! Plans as files: print one, run one, shrink a failing one.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use matrixkv::planted::Bug;
use matrixkv_sim::{
    bite::Bite,
    knobs::Knobs,
    plan::{Plan, Profile, Script, file::PlanFile},
    replay,
    run::{Options, Verdict, run},
    shrink::{self, Case, Progress, Shrunk, shrink},
};

/// Where regressions are kept, seen from the root of the repository.
const REGRESSIONS: &str = "sim/tests/regressions";

/// Dice that each smaller run is tried with, unless said otherwise.
const TRIES: u64 = 3;

/// Runs after which nothing more is tried, unless said otherwise.
const RUNS_MAX: u64 = 1500;

/// Which run is meant.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The seed
    #[arg(long)]
    seed: Option<u64>,
    /// A plan as a file, instead of a seed
    #[arg(long)]
    plan: Option<PathBuf>,
}

/// What a seed is expanded with.
#[derive(Args)]
struct Expand {
    /// Simulated seconds of the seed
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The seed's faults: all, calm, storm, disk, membership, or a file like those in cfg/profiles/
    #[arg(long, default_value = "all")]
    profile: Profile,
}

/// A run as the command line names it.
#[derive(Args)]
pub struct Chosen {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    expand: Expand,
    /// Plant this bug (needs --features planted)
    #[arg(long)]
    bug: Option<String>,
}

#[derive(Args)]
pub struct Print {
    /// The seed
    #[arg(long)]
    seed: u64,
    #[command(flatten)]
    expand: Expand,
    /// Run it, and list each request of the clients too
    #[arg(long)]
    requests: bool,
}

#[derive(Args)]
pub struct Replay {
    #[command(flatten)]
    chosen: Chosen,
    /// Where to write the page
    #[arg(long)]
    html: PathBuf,
}

#[derive(Args)]
pub struct Shrink {
    #[command(flatten)]
    chosen: Chosen,
    /// Runs at a time
    #[arg(long, default_value_t = super::cores())]
    jobs: usize,
    /// Dice that each smaller run is tried with before it is given up
    #[arg(long, default_value_t = TRIES, value_parser = clap::value_parser!(u64).range(1..=100))]
    tries: u64,
    /// Runs after which nothing more is tried
    #[arg(long, default_value_t = RUNS_MAX)]
    runs: u64,
    /// Where to write what is left; a regression under sim/tests/regressions/ if not said
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Expand {
    fn of_seed(&self, seed: u64) -> PlanFile {
        let knobs = Knobs::draw(seed);
        let plan = Plan::draw(&knobs, Duration::from_secs(self.seconds), &self.profile);
        PlanFile { about: None, bug: None, breaks: None, knobs, plan }
    }
}

impl Chosen {
    /// What it is, with its bug: that of the file, unless another one is named, or none is wanted.
    pub fn load(&self, without_bug: bool) -> Result<PlanFile, String> {
        let mut file = match (&self.which.plan, self.which.seed) {
            (Some(path), _) => PlanFile::read(path)?,
            (None, Some(seed)) => self.expand.of_seed(seed),
            (None, None) => return Err("--seed or --plan is needed".into()),
        };
        let name = self.bug.as_deref().or(file.bug.map(Bug::name)).filter(|_| !without_bug);
        file.bug = name.map(super::bug).transpose()?;
        Ok(file)
    }

    /// What it comes from, for the reader of what is left of it.
    fn origin(&self, seed: u64) -> String {
        match &self.which.plan {
            Some(_) => format!("a plan of seed {seed}"),
            None => origin(seed, &self.expand.profile),
        }
    }

    /// What runs it again.
    fn command(&self, bug: Option<Bug>) -> String {
        let features = if bug.is_some() { " --features planted" } else { "" };
        let Expand { seconds, profile } = &self.expand;
        let faults = if profile.is_usual() { String::new() } else { format!(" --profile {}", profile.name()) };
        let which = match (&self.which.plan, self.which.seed) {
            (Some(path), _) => format!("--plan {}", path.display()),
            (None, seed) => format!("--seed {} --seconds {seconds}{faults}", seed.unwrap_or_default()),
        };
        let bug = bug.map_or(String::new(), |bug| format!(" --bug {}", bug.name()));
        format!("cargo run --release -p matrixkv-sim{features} -- run {which}{bug}")
    }
}

/// Prints the plan of a seed.
pub fn print(arguments: &Print) -> Result<bool, String> {
    let mut file = arguments.expand.of_seed(arguments.seed);
    if arguments.requests {
        let report = run(Options::of_plan(file.knobs.clone(), file.plan.clone()));
        file.plan.scripts = Some(Script::of(&report.asked));
    }
    print!("{}", file.text()?);
    Ok(true)
}

/// Draws a run.
pub fn replay(arguments: &Replay) -> Result<bool, String> {
    let PlanFile { bug, knobs, plan, .. } = arguments.chosen.load(false)?;
    let report = run(Options { bug, film: true, ..Options::of_plan(knobs, plan) });
    let page = replay::page(&report, arguments.chosen.command(bug));
    write(&arguments.html, &page)?;
    println!("{}", report.summary());
    report.violations.iter().for_each(|violation| println!("{violation}"));
    println!("drawn in {} ({} bytes)", arguments.html.display(), page.len());
    Ok(report.verdict() == Verdict::Passed)
}

/// Shrinks a failing run, and writes what is left.
pub fn shrink_one(arguments: &Shrink) -> Result<bool, String> {
    let PlanFile { bug, knobs, plan, .. } = arguments.chosen.load(false)?;
    let seed = knobs.seed;
    let out = arguments.out.clone().unwrap_or_else(|| default_out(seed, bug));
    let (bar, tell) = screen(arguments.runs);
    let options = shrink::Options { jobs: arguments.jobs, tries: arguments.tries, runs_max: arguments.runs };
    let shrunk = shrink(Case { knobs, plan }, bug, options, &tell);
    bar.finish_and_clear();
    let shrunk = shrunk?;
    let text = shrunk.file(about(&shrunk, &arguments.chosen.origin(seed))).text()?;
    write(&out, &text)?;
    println!("{}\n{}", shrunk.smallest.report, summary(&shrunk, &out));
    Ok(true)
}

/// Shrinks what found a bug, and writes what is left into `folder`.
pub fn shrink_bite(bite: &mut Bite, folder: &Path) -> Result<(), String> {
    let Some((report, profile)) = &bite.found_by else { return Ok(()) };
    let origin = origin(report.knobs.seed, profile);
    let options = shrink::Options { jobs: super::cores(), tries: TRIES, runs_max: RUNS_MAX };
    let (bar, tell) = screen(RUNS_MAX);
    let done = bite.shrink(options, &tell);
    bar.finish_and_clear();
    done?;
    // What a seed does not decide cannot be shrunk.
    let Some(shrunk) = &bite.left else { return Ok(()) };
    write(&folder.join(format!("{}.toml", bite.bug.name())), &shrunk.file(about(shrunk, &origin)).text()?)
}

fn default_out(seed: u64, bug: Option<Bug>) -> PathBuf {
    Path::new(REGRESSIONS).join(format!("{}-{seed}.toml", bug.map_or("seed", Bug::name)))
}

fn origin(seed: u64, profile: &Profile) -> String {
    if profile.is_usual() { format!("seed {seed}") } else { format!("seed {seed} under {}", profile.name()) }
}

fn about(shrunk: &Shrunk, origin: &str) -> String {
    let with = shrunk.bug.map_or(String::new(), |bug| format!(" with the bug {}", bug.name()));
    format!("left of {origin}{with}: {}", shrunk.smallest.report.violations[0])
}

fn summary(shrunk: &Shrunk, out: &Path) -> String {
    let Plan { faults, end_at, .. } = &shrunk.smallest.case.plan;
    let requests = shrunk.smallest.case.plan.requests();
    let requests = requests.map_or("the dice's requests".to_owned(), |requests| format!("{requests} requests"));
    let enough = if shrunk.gave_up { " (as many as it was given)" } else { "" };
    format!(
        "after {} runs{enough}: {} faults, {requests}, {} nodes, {end_at:?}; the {} still fails\nwritten to {}",
        shrunk.runs,
        faults.len(),
        shrunk.smallest.case.knobs.nodes,
        shrunk.breaks.letter(),
        out.display()
    )
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    folder.and_then(|()| std::fs::write(path, text)).map_err(|error| format!("{}: {error}", path.display()))
}

/// A bar on a terminal, a line for each step elsewhere.
fn screen(runs_max: u64) -> (ProgressBar, impl Fn(Progress)) {
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len} runs, {elapsed}  {msg}");
    let bar = ProgressBar::with_draw_target(Some(runs_max), ProgressDrawTarget::stderr());
    bar.set_style(style.expect("the template is fine"));
    let shown = bar.clone();
    let terminal = std::io::stderr().is_terminal();
    let tell = move |progress: Progress| {
        let requests = progress.requests.map_or(String::new(), |requests| format!(", {requests} requests"));
        let left = format!("{} faults{requests}", progress.faults);
        if terminal {
            shown.set_position(progress.runs);
            shown.set_message(left);
        } else {
            eprintln!("{} runs: {left}", progress.runs);
        }
    };
    (bar, tell)
}
