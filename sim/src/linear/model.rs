//! One key as a register, its contents reduced to small numbers.
//!
//! Invariants:
//! - Two contents have the same number only if they are equal, or are [`UNSEEN`].
//! - [`UNSEEN`] stands for all values that nobody can have seen. They may share a number because nothing but the
//!   next write can follow. With appends nothing is unseen, since it may live on as part of what is read.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::list::Span;
use super::observe::{Made, Sightings, Text, any_appends, made, seen};
use crate::history::{Operation, Outcome};

/// The number of a content.
pub(super) type Content = u32;

/// A missing key, which every key is at first.
pub(super) const MISSING: Content = 0;

/// Any value that nobody can have seen.
pub(super) const UNSEEN: Content = 1;

/// What an operation does to the content; a delete writes [`MISSING`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    /// Find this.
    Read(Content),
    /// Leave this.
    Write(Content),
    /// Find the first, leave the second.
    Cas(Content, Content),
    /// Add this at the end.
    Append(Content),
}

/// An operation as the search sees it.
pub(super) struct Step {
    pub(super) call: Call,
    pub(super) span: Span,
}

impl Step {
    /// Whether it is known to have happened.
    pub(super) fn is_known(&self) -> bool {
        self.span.1.is_some()
    }
}

/// All operations on one key.
pub(super) struct Model {
    pub(super) steps: Vec<Step>,
    pub(super) contents: Contents,
    pub(super) appends: bool,
}

impl Model {
    /// A model of `operations`, which are of one key and hold neither failures nor unanswered reads.
    pub(super) fn new(operations: &[&Operation]) -> Self {
        let sightings = Sightings::new(operations);
        let appends = any_appends(operations);
        let mut contents = Contents::new();
        let mut steps = Vec::with_capacity(operations.len());
        for operation in operations {
            assert!(operation.outcome != Outcome::Failed, "a failed operation did not happen");
            let visible = made(operation).is_none_or(|made| appends || sightings.include(made, operation.invoke_index));
            let call = contents.call(operation, visible);
            steps.push(Step { call, span: (operation.invoke_index, operation.return_index) });
        }
        Self { steps, contents, appends }
    }

    /// The content after `call` on `content`; `None` where the call would have found something else.
    pub(super) fn next(&mut self, content: Content, call: Call) -> Option<Content> {
        match call {
            Call::Read(found) => (found == content).then_some(content),
            Call::Write(new) => Some(new),
            Call::Cas(expected, new) => (expected == content).then_some(new),
            Call::Append(tail) => Some(self.contents.append(content, tail)),
        }
    }
}

/// The numbers of contents.
pub(super) struct Contents {
    numbers: BTreeMap<Rc<str>, Content>,
    texts: Vec<Rc<str>>,
    appended: BTreeMap<(Content, Content), Content>,
    /// Bytes of text held.
    pub(super) bytes: usize,
}

impl Contents {
    fn new() -> Self {
        let none: Rc<str> = "".into();
        let texts = vec![none.clone(), none];
        Self { numbers: BTreeMap::new(), texts, appended: BTreeMap::new(), bytes: 0 }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.texts.len()
    }

    /// Whether `whole` can be reached from `part` by appending.
    pub(super) fn extends(&self, whole: Content, part: Content) -> bool {
        match (whole, part) {
            (_, MISSING) => true,
            (MISSING, _) => false,
            _ => self.texts[whole as usize].starts_with(&*self.texts[part as usize]),
        }
    }

    fn call(&mut self, operation: &Operation, visible: bool) -> Call {
        let found = seen(operation).map(|text| self.number(text));
        let left = match made(operation) {
            None => None,
            Some(Made::Tail(tail)) => return Call::Append(self.number(Some(tail))),
            Some(Made::Value(_)) if !visible => Some(UNSEEN),
            Some(Made::Value(value)) => Some(self.number(value)),
        };
        match (found, left) {
            (Some(found), None) => Call::Read(found),
            (None, Some(left)) => Call::Write(left),
            // A cas that leaves what it found is a read. As a cas it would pass for a source of that content.
            (Some(found), Some(left)) if found == left => Call::Read(found),
            (Some(found), Some(left)) => Call::Cas(found, left),
            (None, None) => unreachable!("every operation looks or leaves something"),
        }
    }

    fn number(&mut self, text: Text<'_>) -> Content {
        let Some(text) = text else { return MISSING };
        if let Some(known) = self.numbers.get(text) {
            return *known;
        }
        let number = Content::try_from(self.texts.len()).expect("fewer contents than the budget allows bytes");
        let text: Rc<str> = text.into();
        self.bytes += text.len();
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        number
    }

    fn append(&mut self, content: Content, tail: Content) -> Content {
        assert!(content != UNSEEN, "with appends every value may be seen");
        if let Some(known) = self.appended.get(&(content, tail)) {
            return *known;
        }
        let text = format!("{}{}", self.texts[content as usize], self.texts[tail as usize]);
        let number = self.number(Some(&text));
        self.appended.insert((content, tail), number);
        number
    }
}
