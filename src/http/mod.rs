//! HTTP: the API that people use, and Prophet's client URL. A thin skin over the client room, served by hyper over
//! the Env's byte streams, so that the simulator speaks it too.
//!
//! Invariants:
//! - every answer of a data request says which of the three it is: done, did not happen, may have happened;
//! - whatever comes in is bounded before it is held: connections, headers, body, requests in flight;
//! - no clock but the Env's: hyper gets a timer of ours.

mod answers;
mod api;
mod ask;
pub mod client;
pub mod discovery;
mod operate;
mod serve;
mod timer;

pub use api::api;
pub use ask::ApiError;
pub use serve::serve;
