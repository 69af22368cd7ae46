//! `matrixkv`: see `matrixkv --help`.

use std::process::ExitCode;

use clap::Parser;
use matrixkv::cli::{Cli, Command, ConfigCommand, config, ctl, demo, inspect, serve};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Some(Command::Inspect(_) | Command::Config { .. })) {
        // `matrixkv inspect ... | head` ends quietly, as other tools do. Whoever has sockets hears of their errors as ever.
        sigpipe::reset();
    }
    let filter = tracing_subscriber::EnvFilter::try_from_env("MATRIXKV_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
    match cli.command {
        None => serve::serve(cli.node),
        Some(Command::Demo(args)) => demo::demo(args),
        Some(Command::Ctl(args)) => ctl::ctl(args),
        Some(Command::Inspect(args)) => inspect::inspect(&args),
        Some(Command::Config { command: ConfigCommand::Check { file } }) => config::check(&file),
        Some(Command::Config { command: ConfigCommand::Default }) => config::default(),
    }
}
