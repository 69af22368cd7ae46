//! A thing that happens once and that many may wait for.
//!
//! Not tokio's `watch`: that one spreads its waiters by dice which it seeds from a counter of the whole process, so the
//! order in which they wake differs from one seed of a sweep to the next. Here they wake in the order in which they
//! came.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Shared {
    raised: AtomicBool,
    notify: Notify,
}

/// Raises the signal, at the latest when it is dropped.
#[derive(Debug, Default)]
pub struct Raise(Arc<Shared>);

/// Waits for the signal. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Signal(Arc<Shared>);

impl Raise {
    /// Nobody has raised it yet.
    pub fn new() -> Raise {
        Raise::default()
    }

    /// Somebody who waits.
    pub fn signal(&self) -> Signal {
        Signal(self.0.clone())
    }

    /// From now on it is raised.
    pub fn raise(&self) {
        self.0.raised.store(true, Ordering::Release);
        self.0.notify.notify_waiters();
    }
}

impl Drop for Raise {
    fn drop(&mut self) {
        self.raise();
    }
}

impl Signal {
    /// Whether it is raised.
    pub fn is_raised(&self) -> bool {
        self.0.raised.load(Ordering::Acquire)
    }

    /// Resolves once it is raised.
    pub async fn raised(&self) {
        let mut notified = pin!(self.0.notify.notified());
        // In line before the look, so that nothing is missed between the two.
        notified.as_mut().enable();
        if !self.is_raised() {
            notified.await;
        }
    }
}
