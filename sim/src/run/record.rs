//! What a run leaves behind, whatever becomes of it. The world writes into it; a panic does not take it away.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use super::Counters;
use crate::{
    check::{Invariant, Observer},
    history::Event,
    plan::Kind,
};

/// The record of a run. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Record {
    /// Hears every fact, and collects violations.
    pub observer: Observer,
    counters: Arc<Mutex<Counters>>,
    history: Arc<Mutex<Vec<Event>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Record {
    /// Adds `n` to a counter.
    pub fn count(&self, name: &str, n: u64) {
        lock(&self.counters).add(name, n);
    }

    /// A fault happened to somebody.
    pub fn fault(&self, kind: Kind, at: Duration, what: &str) {
        lock(&self.counters).fault(kind);
        self.observer.event(at, format!("fault {kind}: {what}"));
    }

    /// How often a fault happened so far.
    pub fn faults(&self, kind: Kind) -> u64 {
        lock(&self.counters).faults(kind)
    }

    /// A client asked, or was answered.
    pub fn event(&self, event: Event) {
        lock(&self.history).push(event);
    }

    /// Something must not be.
    pub fn violation(&self, invariant: Invariant, at: Duration, message: String) {
        self.observer.violation(invariant, at, message);
    }

    /// The counters so far.
    pub fn counters(&self) -> Counters {
        lock(&self.counters).clone()
    }

    /// Takes out the history.
    pub fn take_history(&self) -> Vec<Event> {
        std::mem::take(&mut *lock(&self.history))
    }
}
