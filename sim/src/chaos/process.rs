//! One node as a process.

#![allow(clippy::disallowed_methods, reason = "real processes at the edge")]

use std::{
    fs::{self, File},
    path::Path,
    process::{ExitStatus, Stdio},
};

use matrixkv::planted::Bug;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::env::Life;

/// What is needed to start it.
pub struct Start<'a> {
    /// The program.
    pub server: &'a Path,
    /// Its configuration.
    pub config: &'a Path,
    /// Where its log goes on.
    pub log: &'a Path,
    /// Where it serves HTTP.
    pub http: &'a str,
    /// Where its hook is.
    pub hook: &'a str,
    /// `--shard-capacity`.
    pub shard_capacity: u64,
    /// A bug on purpose.
    pub bug: Option<Bug>,
}

/// A node.
pub struct Process {
    child: Option<Child>,
    /// How it is.
    pub life: Life,
    /// Whether it is asked to stop.
    pub is_stopping: bool,
    /// The number of the last cuts that it knows of.
    pub told: u64,
}

impl Process {
    /// It was never started.
    pub fn new() -> Self {
        Process { child: None, life: Life::Down, is_stopping: false, told: 0 }
    }

    /// Starts it.
    pub fn start(&mut self, start: &Start<'_>) -> Result<(), String> {
        let log = File::options().create(true).append(true).open(start.log);
        let log = log.map_err(|error| format!("{}: {error}", start.log.display()))?;
        let mut command = Command::new(start.server);
        command
            .arg(format!("--addr={}", start.http))
            .arg(format!("--cfg={}", start.config.display()))
            .arg(format!("--shard-capacity={}", start.shard_capacity))
            .arg(format!("--fault-hook={}", start.hook))
            .arg("--die-with-parent")
            .env_remove("MATRIXKV_PLANT")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for the run alone, which ends its nodes.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(bug) = start.bug {
            command.env("MATRIXKV_PLANT", bug.name());
        }
        let child = command.spawn().map_err(|error| format!("cannot start {}: {error}", start.server.display()))?;
        *self = Process { child: Some(child), life: Life::Up, is_stopping: false, told: 0 };
        Ok(())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(Child::id).and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It may have ended meanwhile; its pid is its own until it is waited for.
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether it has just ended, and how.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status)
    }

    /// Whether there is a process.
    pub fn is_there(&self) -> bool {
        self.child.is_some()
    }
}

/// Makes an empty folder of `folder`. Only what an earlier run of this program left there is removed: a folder that holds
/// anything else is refused.
pub fn make_folder(folder: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mark = folder.join(MARK);
    if folder.exists() {
        let is_empty = fs::read_dir(folder).map_err(told)?.next().is_none();
        if !is_empty && !mark.exists() {
            return Err(format!("{}: is not empty, and not a chaos run's: name another one", folder.display()));
        }
        fs::remove_dir_all(folder).map_err(told)?;
    }
    fs::create_dir_all(folder).map_err(told)?;
    fs::write(mark, "Written by `matrixkv-sim chaos`; the next run with this folder removes it.\n").map_err(told)
}

/// Says whose folder it is.
const MARK: &str = "chaos-run";
