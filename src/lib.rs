//! MatrixKV: a distributed, strongly consistent key-value store. `ARCHITECTURE.md` is the map.
//!
//! Rooms, and who may know whom (arrows point one way):
//! `types <- wire <- raft, engine <- shard <- store <- node`, `raft <- prophet <- node`, `env <- node, client`,
//! `wire <- client <- http`. Store and Prophet never import each other.

pub mod cli;
pub mod client;
pub mod config;
pub mod engine;
pub mod env;
pub mod http;
pub mod node;
pub mod planted;
pub mod prophet;
pub mod raft;
pub mod shard;
pub mod store;
pub mod types;
pub mod wire;
