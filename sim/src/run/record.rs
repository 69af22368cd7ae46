//! What a run leaves behind, whatever becomes of it. The world writes into it; a panic does not take it away.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use super::Counters;
use crate::{
    check::{Invariant, Observer},
    history::Event,
    plan::{Kind, Step},
};

/// What a client asked, and when.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Which client.
    pub client: usize,
    /// What.
    pub step: Step,
    /// When it asked.
    pub began: Duration,
    /// When it was answered, or gave up; as long as it waits, when it asked.
    pub ended: Duration,
}

/// The record of a run. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Record {
    /// Hears every fact, and collects violations.
    pub observer: Observer,
    counters: Arc<Mutex<Counters>>,
    history: Arc<Mutex<Vec<Event>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    faults: Arc<Mutex<Vec<(Duration, String)>>>,
    aloud: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Record {
    /// A record that prints each fault as it happens.
    pub fn aloud() -> Self {
        Record { aloud: true, ..Record::default() }
    }

    /// Adds `n` to a counter.
    pub fn count(&self, name: &str, n: u64) {
        lock(&self.counters).add(name, n);
    }

    /// A fault happened to somebody.
    pub fn fault(&self, kind: Kind, at: Duration, what: &str) {
        lock(&self.counters).fault(kind);
        if self.aloud {
            println!("{:>9.3} s  {kind}: {what}", at.as_secs_f64());
        }
        self.observer.event(at, format!("fault {kind}: {what}"));
        lock(&self.faults).push((at, format!("{kind}: {what}")));
    }

    /// How often a fault happened so far.
    pub fn faults(&self, kind: Kind) -> u64 {
        lock(&self.counters).faults(kind)
    }

    /// A client asked, or was answered. Where clients are threads, one that looked at the clock first may come later: the
    /// order of events is what counts, and their times do not go backwards.
    pub fn event(&self, mut event: Event) {
        let mut history = lock(&self.history);
        event.time = event.time.max(history.last().map_or(0, |last| last.time));
        history.push(event);
    }

    /// The keys that begin with `prefix` and were asked for so far.
    pub fn keys_asked(&self, prefix: &str) -> BTreeSet<String> {
        let history = lock(&self.history);
        let keys = history.iter().map(|event| &event.key);
        keys.filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// `client` takes `step` now. The number of the request, for [`Self::answered`].
    pub fn asks(&self, client: usize, step: Step, now: Duration) -> usize {
        let mut asked = lock(&self.asked);
        asked.push(Asked { client, step, began: now, ended: now });
        asked.len() - 1
    }

    /// The client does not wait any more.
    pub fn answered(&self, number: usize, now: Duration) {
        // It is not there any more if the run is over for a panic.
        if let Some(asked) = lock(&self.asked).get_mut(number) {
            asked.ended = now;
        }
    }

    /// Takes out what was asked, in the order of asking.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *lock(&self.asked))
    }

    /// Something must not be.
    pub fn violation(&self, invariant: Invariant, at: Duration, message: String) {
        self.observer.violation(invariant, at, message);
    }

    /// Takes out which faults happened, in this order.
    pub fn take_faults(&self) -> Vec<(Duration, String)> {
        std::mem::take(&mut *lock(&self.faults))
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
