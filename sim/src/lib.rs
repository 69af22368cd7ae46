//! The seeded simulator of MatrixKV: whole clusters (Prophet nodes, stores, clients) from one seed, with the very code
//! of the server. `docs/simulation.md` says how to use it and how to read a failure.

#[cfg(not(madsim))]
compile_error!(
    "the simulator exists only under `--cfg madsim`, which .cargo/config.toml sets; an exported RUSTFLAGS replaces \
     that line: unset it, or add `--cfg madsim` to it"
);

pub mod bite;
pub mod chaos;
pub mod check;
pub mod env;
pub mod history;
pub mod knobs;
pub mod linear;
pub mod nemesis;
pub mod plan;
pub mod replay;
pub mod run;
pub mod shrink;
pub mod sweep;
pub mod workload;
pub mod world;
