//! P: the same seed gives the same trace, byte for byte, in another process, in another build, or as one of many in one
//! process. Traces are compared by hash, and line by line where those of two processes differ.

use std::{
    collections::BTreeMap,
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    time::Duration,
};

use matrixkv::planted::Bug;
use matrixkv_sim::{
    run::{Options, run},
    sweep,
};

/// How a seed is run.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Simulated seconds.
    pub seconds: u64,
    /// A leak on purpose.
    pub bug: Option<Bug>,
}

/// With what a process of a seed's own is compared.
#[derive(Clone, Debug)]
pub enum Second {
    /// With another one, of this program.
    Process(PathBuf),
    /// With these hashes.
    Known(BTreeMap<u64, String>),
}

/// What is compared.
#[derive(Clone, Debug)]
pub struct Twice {
    /// Runs a seed first.
    pub first: PathBuf,
    /// What comes second.
    pub second: Second,
    /// How both run it.
    pub how: How,
}

/// The hash of each seed's trace, all run in this process, `jobs` at a time.
pub fn together(seeds: &RangeInclusive<u64>, jobs: usize, how: How) -> BTreeMap<u64, String> {
    let hashes = Mutex::new(BTreeMap::new());
    sweep::for_each(&(*seeds.start()..seeds.end() + 1), jobs, |seed| {
        let options = Options::of_seed(seed, Duration::from_secs(how.seconds));
        let report = run(Options { bug: how.bug, ..options });
        let hash = format!("{:016x}", report.trace_hash.expect("a simulated run has a trace"));
        hashes.lock().expect("no worker panics").insert(seed, hash);
    });
    hashes.into_inner().expect("no worker panics")
}

impl Twice {
    /// The hash of `seed`'s trace, if both agree; else how they differ.
    pub fn compare(&self, seed: u64) -> Result<String, String> {
        let first = self.how.hash(&self.first, seed)?;
        match &self.second {
            Second::Process(second) => {
                let hash = self.how.hash(second, seed)?;
                if first == hash { Ok(first) } else { Err(self.first_difference(seed, &first, second, &hash)) }
            }
            Second::Known(hashes) => match hashes.get(&seed) {
                Some(hash) if *hash == first => Ok(first),
                Some(hash) => Err(format!("seed {seed}: trace {first} alone, {hash} among others")),
                None => Err(format!("seed {seed} was not run among others")),
            },
        }
    }

    fn first_difference(&self, seed: u64, first: &str, second: &Path, hash: &str) -> String {
        let hashes = format!("seed {seed}: trace {first}, then {hash}");
        let texts = self.how.text(&self.first, seed).and_then(|a| {
            let b = self.how.text(second, seed)?;
            Ok((a, b))
        });
        match texts {
            Ok((a, b)) => format!("{hashes}\n{}", difference(&a, &b)),
            Err(why) => format!("{hashes}; no text to compare: {why}"),
        }
    }
}

impl How {
    fn hash(self, binary: &Path, seed: u64) -> Result<String, String> {
        let said = self.run(binary, seed, &["--hash-only"])?;
        Ok(said.trim().to_owned())
    }

    fn text(self, binary: &Path, seed: u64) -> Result<String, String> {
        let file = std::env::temp_dir().join(format!("matrixkv-sim-{}-{seed}.trace", std::process::id()));
        self.run(binary, seed, &["--hash-only", "--trace", &file.display().to_string()])?;
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()));
        fs::remove_file(&file).ok();
        text
    }

    /// A failing seed has a trace as well, so the exit status does not matter; the output does.
    fn run(self, binary: &Path, seed: u64, more: &[&str]) -> Result<String, String> {
        let (seed, seconds) = (seed.to_string(), self.seconds.to_string());
        let mut command = Command::new(binary);
        command.args(["run", "--seed", &seed, "--seconds", &seconds]).args(more);
        if let Some(bug) = self.bug {
            command.args(["--bug", bug.name()]);
        }
        let output = command.output().map_err(|error| format!("{}: {error}", binary.display()))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if said.trim().len() == 16 {
            return Ok(said);
        }
        Err(format!("{} ended with {} and said {said}", binary.display(), output.status))
    }
}

/// The first line that differs, with those before it.
fn difference(a: &str, b: &str) -> String {
    const BEFORE: usize = 10;
    let (a, b): (Vec<_>, Vec<_>) = (a.lines().collect(), b.lines().collect());
    let Some(at) = (0..a.len().max(b.len())).find(|line| a.get(*line) != b.get(*line)) else {
        return "the texts agree this time: a third and a fourth run gave the same".into();
    };
    let mut told = format!("the traces differ from line {} on:\n", at + 1);
    for line in &a[at.saturating_sub(BEFORE)..at] {
        told += &format!("    {line}\n");
    }
    let line = |text: &[&str]| text.get(at).copied().unwrap_or("(the end)").to_owned();
    told + &format!("  1 {}\n  2 {}", line(&a), line(&b))
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn the_first_line_that_differs_is_shown() {
        assert_eq!(difference("a\nb\nc", "a\nx\nc"), "the traces differ from line 2 on:\n    a\n  1 b\n  2 x");
        assert!(difference("a", "a\nb").contains("1 (the end)"));
    }
}
