//! Is this shard as it should be? One file a question; each answers with the one change that comes next.

pub mod replicas;
