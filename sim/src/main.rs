//! `matrixkv-sim`: runs whole clusters from one seed.

mod cli;
mod twice;

fn main() -> std::process::ExitCode {
    cli::main()
}
