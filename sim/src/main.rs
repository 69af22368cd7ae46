//! `matrixkv-sim`: runs whole clusters from one seed.

mod cli;
mod twice;

/// About a quarter of a run was spent in the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
