//! What this node's client URL says about Prophet.

use tokio::sync::watch;

use crate::{
    http::discovery::Discovery,
    prophet::{Prophet, ProphetStatus},
};

/// Publishes Prophet's status where it changed.
pub(super) fn publish(prophet: &Prophet, last: &mut ProphetStatus, to: &watch::Sender<Discovery>) {
    let status = prophet.status();
    if status != *last {
        *last = status.clone();
        let ProphetStatus { cluster, leader, members } = status;
        to.send_replace(Discovery { cluster, leader, members });
    }
}
