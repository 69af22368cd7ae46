//! The shard proxy: any node takes any request, and this finds the shard's leader for it.
//!
//! Invariants:
//! - a write is sent a second time only after an answer, or the network, said that the first did not happen;
//! - a read may be repeated at will;
//! - what refusals teach is enough: routing heals without Prophet.

mod book;
mod prophet;
mod router;
mod routes;
mod rpc;

pub use book::Book;
pub use prophet::ProphetClient;
pub use router::{Answer, ClusterStatus, Failure, Router};
pub use routes::RouteCache;
pub use rpc::{CallError, LocalCall, Rpc};
