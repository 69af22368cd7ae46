//! Which operation could have seen which: what may be left out of a search, and out of a report.
//!
//! A write matters through those that see it: reads, and cas by what it expects. An operation without an answer
//! that nobody can have seen is taken as never having happened. That is safe, for take any order of the history in
//! which it does happen and strike it out: until the next write nobody saw the difference, and after that write
//! there is none. (A cas that leaves what it found never makes a difference.) It needs care in three places, and all three err towards keeping:
//! - A cas of unknown outcome may have seen whatever it expects, at any later time.
//! - A delete is seen by whoever finds the key missing.
//! - With appends a value is seen by whoever reads something that begins with it, an appended text by whoever
//!   reads something that contains it, and a delete by everybody.

use std::collections::BTreeMap;

use crate::history::{Function, Operation, Outcome, Value};

/// The content of a key; `None` is a missing key.
pub(super) type Text<'a> = Option<&'a str>;

/// What an operation leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Made<'a> {
    /// The whole content.
    Value(Text<'a>),
    /// The end of the content.
    Tail(&'a str),
}

/// What `operation` leaves behind if it happens; `None` for a read.
pub(super) fn made(operation: &Operation) -> Option<Made<'_>> {
    match (operation.f, &operation.value) {
        (Function::Get, _) => None,
        (Function::Delete, _) => Some(Made::Value(None)),
        (Function::Set, Value::Text(value)) => Some(Made::Value(value.as_deref())),
        (Function::Cas, Value::Pair([_, new])) => Some(Made::Value(new.as_deref())),
        (Function::Append, Value::Text(Some(tail))) => Some(Made::Tail(tail)),
        _ => panic!("{:?} with the value {:?}", operation.f, operation.value),
    }
}

/// What `operation` finds if it happens; `None` where it does not look.
pub(super) fn seen(operation: &Operation) -> Option<Text<'_>> {
    match (operation.f, &operation.value) {
        (Function::Get, Value::Text(value)) => Some(value.as_deref()),
        (Function::Cas, Value::Pair([expected, _])) => Some(expected.as_deref()),
        _ => None,
    }
}

/// Whether content that was `seen` can come from what was `made`.
pub(super) fn shows(made: Made<'_>, seen: Text<'_>, appends: bool) -> bool {
    match made {
        Made::Tail(tail) => seen.is_some_and(|seen| seen.contains(tail)),
        Made::Value(value) if !appends => value == seen,
        Made::Value(None) => true,
        Made::Value(Some(value)) => seen.is_some_and(|seen| seen.starts_with(value)),
    }
}

/// Whether any of `operations` appends, which makes content depend on more than the last write.
pub(super) fn any_appends(operations: &[&Operation]) -> bool {
    operations.iter().any(|operation| operation.f == Function::Append)
}

/// Every content that was seen, with the last moment at which it can have been.
pub(super) struct Sightings<'a> {
    last: BTreeMap<Text<'a>, usize>,
    appends: bool,
}

impl<'a> Sightings<'a> {
    /// What `operations` saw.
    pub(super) fn new(operations: &[&'a Operation]) -> Self {
        let mut last = BTreeMap::new();
        for operation in operations {
            let Some(text) = seen(operation) else { continue };
            let until = operation.return_index.unwrap_or(usize::MAX);
            last.entry(text).and_modify(|last: &mut usize| *last = until.max(*last)).or_insert(until);
        }
        Self { last, appends: any_appends(operations) }
    }

    /// Whether anybody can have seen what was `made` by an operation invoked at `invoke`.
    pub(super) fn include(&self, made: Made<'_>, invoke: usize) -> bool {
        match made {
            Made::Value(value) if !self.appends => self.last.get(&value).is_some_and(|last| *last > invoke),
            _ => self.last.iter().any(|(text, last)| *last > invoke && shows(made, *text, self.appends)),
        }
    }
}

/// The operations that can decide the verdict: not those that failed, and of the unknown ones neither those that
/// change nothing nor those that nobody can have seen.
pub(super) fn relevant<'a>(operations: &[&'a Operation]) -> Vec<&'a Operation> {
    let mut kept: Vec<&Operation> = operations.to_vec();
    kept.retain(|operation| match operation.outcome {
        Outcome::Done => true,
        Outcome::Failed => false,
        Outcome::Unknown => made(operation).is_some_and(|made| seen(operation).map(Made::Value) != Some(made)),
    });
    // A cas that is dropped no longer sees what it expected, which may free another: so again, until none goes.
    loop {
        let before = kept.len();
        let sightings = Sightings::new(&kept);
        kept.retain(|operation| {
            let Some(made) = made(operation) else { return true };
            operation.outcome == Outcome::Done || sightings.include(made, operation.invoke_index)
        });
        if kept.len() == before {
            return kept;
        }
    }
}
