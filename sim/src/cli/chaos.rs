//! `chaos`: a plan against real processes.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use matrixkv_sim::{
    chaos::{self, Options},
    history::write_file,
    knobs::Knobs,
    plan::{Plan, Profile, file::PlanFile},
    replay,
    run::{Report, Verdict},
};

/// The shortest run: nodes must have started before anything can be harmed.
const SECONDS_MIN: u64 = 10;

/// The longest one.
const SECONDS_MAX: u64 = 24 * 60 * 60;

#[derive(Args)]
pub struct Chaos {
    /// What draws knobs, faults and requests; a fresh one if not said. Real processes do not run alike twice
    #[arg(long, conflicts_with = "plan")]
    seed: Option<u64>,
    /// A plan: what `plan --seed` prints. What cannot be done to processes is left out, and counted
    #[arg(long)]
    plan: Option<PathBuf>,
    /// Seconds of faults and requests; the last checks come on top
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(SECONDS_MIN..=SECONDS_MAX))]
    seconds: u64,
    /// Which faults: chaos, all, calm, storm, disk, membership, or a file like those in cfg/profiles/
    #[arg(long, default_value = "chaos")]
    profile: Profile,
    /// A bug to plant in every node; needs --features planted
    #[arg(long)]
    bug: Option<String>,
    /// The server's program, if it is not beside this one
    #[arg(long)]
    server: Option<PathBuf>,
    /// Where configurations, logs and data go, and stay; else a fresh folder, which stays only if the run fails
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write each operation of the clients here, a JSON object a line, or Jepsen's EDN if it ends in .edn
    #[arg(long)]
    history: Option<PathBuf>,
    /// Draw the run as one page
    #[arg(long)]
    html: Option<PathBuf>,
}

/// Runs it; whether nothing was violated.
pub fn chaos(arguments: Chaos) -> Result<bool, String> {
    let (knobs, plan, planned) = arguments.what()?;
    let bug = arguments.bug.as_deref().map(super::bug).transpose()?.or(planned);
    if bug.is_some() && cfg!(not(feature = "planted")) {
        return Err("bugs are planted only in a build with --features planted".into());
    }
    let server = arguments.server.clone().map_or_else(chaos::server, Ok)?;
    let own = std::env::temp_dir().join(format!("matrixkv-chaos-{}", std::process::id()));
    let folder = arguments.dir.clone().unwrap_or(own);
    let options = Options { knobs, plan, bug, server, folder };
    println!("seed {}", options.knobs.seed);
    let report = chaos::run(&options)?;
    println!("{report}");
    arguments.write(&options, &report)?;
    let good = report.verdict() == Verdict::Passed;
    match (good, &arguments.dir) {
        (true, None) => {
            let removed = std::fs::remove_dir_all(&options.folder);
            removed.map_err(|error| format!("{}: {error}", options.folder.display()))?;
        }
        _ => println!("configurations, logs and data are in {}", options.folder.display()),
    }
    Ok(good)
}

impl Chaos {
    fn what(&self) -> Result<(Knobs, Plan, Option<matrixkv::planted::Bug>), String> {
        if let Some(path) = &self.plan {
            let file = PlanFile::read(path)?;
            return Ok((file.knobs, file.plan, file.bug));
        }
        let seed = self.seed.unwrap_or_else(fresh_seed);
        let knobs = Knobs::draw_real(seed);
        let plan = Plan::draw(&knobs, Duration::from_secs(self.seconds), &self.profile);
        Ok((knobs, plan, None))
    }

    fn write(&self, options: &Options, report: &Report) -> Result<(), String> {
        let filmed = report.filmed.as_ref().expect("such a run is filmed");
        let told = |path: &PathBuf, error: std::io::Error| format!("{}: {error}", path.display());
        if let Some(path) = &self.history {
            write_file(path, &filmed.history).map_err(|error| told(path, error))?;
        }
        if let Some(path) = &self.html {
            let page = replay::page(report, self.command(options.knobs.seed));
            std::fs::write(path, &page).map_err(|error| told(path, error))?;
            println!("drawn in {} ({} bytes)", path.display(), page.len());
        }
        Ok(())
    }

    /// What runs the like again.
    fn command(&self, seed: u64) -> String {
        let which = match &self.plan {
            Some(path) => format!("--plan {}", path.display()),
            None => format!("--seed {seed} --seconds {} --profile {}", self.seconds, self.profile.name()),
        };
        format!("cargo run --release -p matrixkv-sim -- chaos {which}")
    }
}

/// Milliseconds since 1970: no two runs are alike anyway.
fn fresh_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis() as u64)
}
