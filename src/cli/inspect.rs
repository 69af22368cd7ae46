//! `matrixkv inspect`: what a stopped node's data folder holds, and whether it adds up.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use indicatif::BinaryBytes;

use crate::{
    engine::Engine,
    env::{Disk, Env, real::RealEnv},
    store::{self, Inspection},
};

/// What to inspect.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 it adds up, 1 it does not or cannot be read, 2 usage.\n\n\
    The node must be stopped. As its own start would, this takes over what a file's journal holds, and begins it anew; no \
    row is changed.")]
pub struct InspectArgs {
    /// The folder: a configuration's dir-data
    pub dir: PathBuf,
    /// Fail also where rows of destroyed replicas are still to be swept
    #[arg(long)]
    pub swept: bool,
}

/// Inspects the folder and says what was found.
pub fn inspect(args: &InspectArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("the system has threads");
    let _inside = runtime.enter();
    let found = match look(&args.dir) {
        Ok(found) => found,
        Err(why) => {
            eprintln!("matrixkv: {why}");
            return ExitCode::FAILURE;
        }
    };
    let Inspection { replicas, waiting, tombs, rows, bytes, garbage_ranges, garbage_rows, orphans, .. } = found;
    let Inspection { installing, installing_rows, .. } = found;
    println!("replicas  {replicas} with data, {waiting} that wait for a snapshot; {tombs} tombs");
    println!("rows      {rows} of replicas ({}), {orphans} of nobody", BinaryBytes(bytes));
    if installing > 0 {
        println!("snapshots {installing} replicas are being replaced, and have {installing_rows} rows meanwhile");
    }
    println!("to sweep  {garbage_rows} rows in {garbage_ranges} ranges of destroyed replicas");
    found.faults.iter().for_each(|fault| println!("FAULT     {fault}"));
    if found.faults_untold > 0 {
        println!("FAULT     and {} more", found.faults_untold);
    }
    if args.swept && garbage_ranges > 0 {
        println!("FAULT     not all is swept");
        return ExitCode::FAILURE;
    }
    if found.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn look(dir: &Path) -> Result<Inspection, String> {
    let (env, path) = (RealEnv::new(), dir.join("store.redb"));
    // Neither lock nor file is made where there is no node's folder.
    if !path.is_file() {
        return Err(format!("{} holds no node's data: there is no store.redb in it", dir.display()));
    }
    let _lock = env.disk().lock(&dir.join("LOCK")).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => format!("{} is in use by a node; stop it first", dir.display()),
        _ => error.to_string(),
    })?;
    let engine = Engine::open(env.disk(), &path).map_err(|error| error.to_string())?;
    say_size(&path, &engine)?;
    let prophet = dir.join("prophet.redb");
    if prophet.is_file() {
        say_size(&prophet, &Engine::open(env.disk(), &prophet).map_err(|error| error.to_string())?)?;
    }
    let view = engine.view().map_err(|error| error.to_string())?;
    store::inspect(&view).map_err(|error| error.to_string())
}

fn say_size(path: &Path, engine: &Engine) -> Result<(), String> {
    let bytes = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.len();
    let used = engine.bytes_used().map_err(|error| error.to_string())?;
    println!("file      {}: {}, {} in use", path.display(), BinaryBytes(bytes), BinaryBytes(used));
    Ok(())
}
