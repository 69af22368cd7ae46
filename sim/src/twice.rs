//! P: the same seed gives the same trace, byte for byte, in another process (or another build). Each seed is run by two
//! processes; their traces are compared by hash, and line by line where the hashes differ.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What is compared.
#[derive(Clone, Debug)]
pub struct Twice {
    /// Runs a seed first.
    pub first: PathBuf,
    /// Runs it again.
    pub second: PathBuf,
    /// Simulated seconds.
    pub seconds: u64,
}

impl Twice {
    /// The hash of `seed`'s trace, if both processes agree; else how they differ.
    pub fn compare(&self, seed: u64) -> Result<String, String> {
        let first = trace_hash(&self.first, seed, self.seconds)?;
        let second = trace_hash(&self.second, seed, self.seconds)?;
        if first == second { Ok(first) } else { Err(self.first_difference(seed, &first, &second)) }
    }

    fn first_difference(&self, seed: u64, first: &str, second: &str) -> String {
        let hashes = format!("seed {seed}: trace {first}, then {second}");
        let texts = trace_text(&self.first, seed, self.seconds).and_then(|a| {
            let b = trace_text(&self.second, seed, self.seconds)?;
            Ok((a, b))
        });
        match texts {
            Ok((a, b)) => format!("{hashes}\n{}", difference(&a, &b)),
            Err(why) => format!("{hashes}; no text to compare: {why}"),
        }
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

fn trace_hash(binary: &Path, seed: u64, seconds: u64) -> Result<String, String> {
    let said = run(binary, seed, seconds, &["--hash-only"])?;
    Ok(said.trim().to_owned())
}

fn trace_text(binary: &Path, seed: u64, seconds: u64) -> Result<String, String> {
    let file = std::env::temp_dir().join(format!("matrixkv-sim-{}-{seed}.trace", std::process::id()));
    run(binary, seed, seconds, &["--hash-only", "--trace", &file.display().to_string()])?;
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()));
    fs::remove_file(&file).ok();
    text
}

/// A failing seed has a trace as well, so the exit status does not matter; the output does.
fn run(binary: &Path, seed: u64, seconds: u64, more: &[&str]) -> Result<String, String> {
    let (seed, seconds) = (seed.to_string(), seconds.to_string());
    let arguments = ["run", "--seed", &seed, "--seconds", &seconds];
    let output = Command::new(binary).args(arguments).args(more).output();
    let output = output.map_err(|error| format!("{}: {error}", binary.display()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if said.trim().len() == 16 {
        return Ok(said);
    }
    Err(format!("{} ended with {} and said {said}", binary.display(), output.status))
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
