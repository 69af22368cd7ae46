//! `matrixkv config`: look at a configuration file without starting anything.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::config::{Config, default_toml};

/// `config check FILE`: says what is wrong with the file, or that nothing is. Warnings do not fail it.
pub fn check(path: &Path) -> ExitCode {
    match Config::load(path) {
        Ok((_, warnings)) => {
            warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            print(&format!("{}: valid, {} warning(s)\n", path.display(), warnings.len()))
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `config default`: prints a file with every key, its default and its meaning.
pub fn default() -> ExitCode {
    print(&default_toml())
}

/// Prints without a panic where the reader has gone, as in `matrixkv config default | head -1`.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
