//! Cuts a history that fails down to a piece that still fails and says why.
//!
//! Operations cannot be left out as one likes: without the write, any read of its value "fails". So a write goes
//! together with everybody who could have seen it, and those go with whoever saw what they left. Then the cut is
//! honest: had the larger history an order, the smaller one would have it too, with the cut operations struck out.
//! Nobody saw a write past another write that came wholly between the two.
//!
//! The result has no operation to spare: leave out any, with those who saw it, and the rest can be explained. Halves
//! are tried, then quarters and so on, in four orders, and the smallest result is kept. Limit: this is not a search
//! of all subsets, so a piece of another shape could in rare cases be smaller still.

use std::collections::{BTreeMap, BTreeSet};

use super::Budget;
use super::observe::{Made, Text, any_appends, made, relevant, seen, shows};
use super::search::search;
use crate::history::{Function, Operation, Outcome};

/// How many operations before the violation are tried first; then twice as many, and so on.
const END_OPERATIONS_MIN: usize = 32;

/// Where more than this many do not fail by themselves, the whole history is cut down.
const END_OPERATIONS_MAX: usize = 1024;

/// How many answers after the last that the search came to are let in, to make it fail by itself.
const MARGINS: [usize; 4] = [0, 16, 64, 256];

/// The part of the budget that a single search may use; one that needs more counts as not failing.
const SEARCH_PART: u64 = 20;

/// A piece that has no order, and whether it is certain that no operation of it can go.
pub(super) type Piece = (Vec<Operation>, bool);

/// The smallest piece that was found of `operations`, of which a search said that there is no order, having come as
/// far as the answer at `reached`.
pub(super) fn minimise(operations: &[&Operation], reached: usize, budget: Budget) -> Piece {
    let near = minimise_near(operations, reached, budget);
    near.unwrap_or_else(|| Work::new(budget).minimise(relevant(operations).into_iter().cloned().collect()))
}

/// The same of `operations` of which nothing is known, if a few of them around `reached` fail by themselves.
pub(super) fn minimise_near(operations: &[&Operation], reached: usize, budget: Budget) -> Option<Piece> {
    let mut work = Work::new(budget);
    let start = work.failing_near(&relevant(operations), reached)?;
    Some(work.minimise(start))
}

/// What is left out first. Different orders end in different pieces, of which the smallest is shown.
#[derive(Clone, Copy)]
struct Order {
    reads_first: bool,
    from_end: bool,
}

impl Order {
    const ALL: [Self; 4] = [
        Self { reads_first: true, from_end: false },
        Self { reads_first: true, from_end: true },
        Self { reads_first: false, from_end: false },
        Self { reads_first: false, from_end: true },
    ];
}

struct Work {
    budget: Budget,
    /// What is left for all searches together.
    steps: u64,
    /// Whether a search ran out of its part since this was last put back.
    gave_up: bool,
}

impl Work {
    fn new(budget: Budget) -> Self {
        Self { budget, steps: budget.steps, gave_up: false }
    }

    fn minimise(&mut self, operations: Vec<Operation>) -> Piece {
        let cut = self.failing_prefix(&operations.iter().collect::<Vec<_>>());
        let start = relevant(&cut.iter().collect::<Vec<_>>());
        let pieces = Order::ALL.map(|order| self.shrink(start.clone(), order));
        let (shortest, is_minimal) = pieces.into_iter().min_by_key(|(piece, _)| piece.len()).expect("four orders");
        (shortest.into_iter().cloned().collect(), is_minimal)
    }

    /// Whether `operations` certainly have no order.
    fn fail(&mut self, operations: &[&Operation]) -> bool {
        let steps = self.steps.min(self.budget.steps.div_ceil(SEARCH_PART));
        let answer = search(operations, Budget { steps, ..self.budget });
        self.gave_up |= answer.found.is_err();
        // One for the call itself, so that this ends even where nothing had to be placed.
        self.steps = self.steps.saturating_sub(answer.steps + 1);
        answer.found == Ok(false)
    }

    /// A few operations around the moment `reached` that fail by themselves. Most often there are such, and what
    /// follows is quick.
    fn failing_near(&mut self, operations: &[&Operation], reached: usize) -> Option<Vec<Operation>> {
        let ends = ends(operations);
        let place = ends.partition_point(|end| *end < reached);
        for margin in MARGINS {
            let cut = cut(operations, *ends.get(place + margin)?);
            let piece = self.failing_end(&relevant(&cut.iter().collect::<Vec<_>>()));
            if let Some(piece) = piece {
                return Some(piece.into_iter().cloned().collect());
            }
        }
        None
    }

    /// The operations up to the first moment at which it is clear that there is no order.
    fn failing_prefix(&mut self, operations: &[&Operation]) -> Vec<Operation> {
        let ends = ends(operations);
        let (mut passing, mut failing) = (0, ends.len().saturating_sub(1));
        while passing < failing {
            let middle = (passing + failing) / 2;
            let cut = prefix(operations, ends[middle], |_| true);
            match self.fail(&cut.iter().collect::<Vec<_>>()) {
                true => failing = middle,
                false => passing = middle + 1,
            }
        }
        let end = ends.get(failing).copied().unwrap_or(usize::MAX);
        let cut = cut(operations, end);
        match self.fail(&cut.iter().collect::<Vec<_>>()) {
            true => cut,
            false => operations.iter().copied().cloned().collect(),
        }
    }

    /// The last few operations, with those that may have left what they saw, if they fail by themselves.
    fn failing_end<'a>(&mut self, operations: &[&'a Operation]) -> Option<Vec<&'a Operation>> {
        let appends = any_appends(operations);
        let mut count = END_OPERATIONS_MIN;
        while count <= END_OPERATIONS_MAX.min(operations.len()) {
            let start = operations.len() - count;
            let found: BTreeSet<Text<'_>> = operations[start..].iter().filter_map(|one| seen(one)).collect();
            let is_seen = |made: Made<'_>| found.iter().any(|found| shows(made, *found, appends));
            let is_gone = |(place, one): (usize, &&Operation)| place < start && !made(one).is_some_and(is_seen);
            let rest = without(operations, operations.iter().enumerate().map(is_gone).collect());
            if self.fail(&rest) {
                return Some(rest);
            }
            count *= 2;
        }
        None
    }

    /// Leaves out pieces, ever smaller ones, until no operation can go; and whether that is certain.
    fn shrink<'a>(&mut self, mut kept: Vec<&'a Operation>, order: Order) -> (Vec<&'a Operation>, bool) {
        let mut reads_only = order.reads_first;
        let mut piece = kept.len().div_ceil(2);
        while self.steps > 0 {
            let before = kept.len();
            self.gave_up = false;
            kept = self.leave_out(kept, piece, order, reads_only);
            match piece {
                0 | 1 if reads_only => (reads_only, piece) = (false, kept.len().div_ceil(2)),
                0 | 1 if kept.len() == before => return (kept, !self.gave_up && self.steps > 0),
                0 | 1 => {}
                _ => piece /= 2,
            }
        }
        (kept, false)
    }

    /// Tries once to leave out each run of `piece` operations.
    fn leave_out<'a>(
        &mut self,
        mut kept: Vec<&'a Operation>,
        piece: usize,
        order: Order,
        reads_only: bool,
    ) -> Vec<&'a Operation> {
        let mut runs = kept.clone();
        runs.retain(|operation| !reads_only || operation.f == Function::Get);
        if order.from_end {
            runs.reverse();
        }
        for run in runs.chunks(piece.max(1)) {
            let names: BTreeSet<usize> = run.iter().map(|operation| operation.invoke_index).collect();
            let gone: Vec<bool> = kept.iter().map(|operation| names.contains(&operation.invoke_index)).collect();
            if self.steps == 0 || !gone.contains(&true) {
                continue;
            }
            let rest = without(&kept, gone);
            if self.fail(&rest) {
                kept = rest;
            }
        }
        kept
    }
}

/// The places of all answers.
fn ends(operations: &[&Operation]) -> Vec<usize> {
    let mut ends: Vec<usize> = operations.iter().filter_map(|operation| operation.return_index).collect();
    ends.sort_unstable();
    ends
}

/// The history up to and with the event at `end`, as part of the whole. A blind write that was answered later may
/// keep its answer, as it fits wherever it stands. A cas may not: what it expects may have been written later.
fn cut(operations: &[&Operation], end: usize) -> Vec<Operation> {
    prefix(operations, end, |operation| matches!(operation.f, Function::Get | Function::Cas))
}

/// The history up to and with the event at `end`. What `is_open` of that which was answered later is unknown still.
fn prefix(operations: &[&Operation], end: usize, is_open: impl Fn(&Operation) -> bool) -> Vec<Operation> {
    let mut cut: Vec<Operation> = operations.iter().copied().filter(|one| one.invoke_index < end).cloned().collect();
    for operation in &mut cut {
        if operation.return_index.is_some_and(|answer| answer > end) && is_open(operation) {
            operation.outcome = Outcome::Unknown;
            (operation.return_index, operation.return_time) = (None, None);
        }
    }
    cut
}

/// `kept` without those that are to be `gone` and whoever could have seen one that goes.
fn without<'a>(kept: &[&'a Operation], mut gone: Vec<bool>) -> Vec<&'a Operation> {
    let appends = any_appends(kept);
    let shadows = Shadows::new(kept, &gone);
    let mut fresh: Vec<usize> = (0..kept.len()).filter(|place| gone[*place]).collect();
    while !fresh.is_empty() {
        let mut visible: BTreeMap<Made<'_>, Vec<(usize, usize)>> = BTreeMap::new();
        for place in fresh.drain(..) {
            let Some(made) = made(kept[place]) else { continue };
            visible.entry(made).or_default().push((kept[place].invoke_index, shadows.cover(kept[place], made)));
        }
        for (place, operation) in kept.iter().enumerate().filter(|_| !visible.is_empty()) {
            if !gone[place] && sees(operation, &visible, appends) {
                gone[place] = true;
                fresh.push(place);
            }
        }
    }
    kept.iter().zip(&gone).filter(|(_, gone)| !**gone).map(|(operation, _)| *operation).collect()
}

/// Whether `operation` could have seen one of those that left something visible between two moments.
fn sees(operation: &Operation, visible: &BTreeMap<Made<'_>, Vec<(usize, usize)>>, appends: bool) -> bool {
    let Some(found) = seen(operation) else { return false };
    let until = operation.return_index.unwrap_or(usize::MAX);
    let meets =
        |spans: &Vec<(usize, usize)>| spans.iter().any(|(from, to)| until > *from && operation.invoke_index < *to);
    match appends {
        false => visible.get(&Made::Value(found)).is_some_and(meets),
        true => visible.iter().any(|(made, spans)| shows(*made, found, appends) && meets(spans)),
    }
}

/// The blind writes that stay, as what hides earlier operations from later ones.
struct Shadows<'a> {
    /// For each, its invocation, and the first answer of one invoked then or later.
    ends: Vec<(usize, usize)>,
    left: BTreeSet<Made<'a>>,
}

impl<'a> Shadows<'a> {
    fn new(kept: &[&'a Operation], gone: &[bool]) -> Self {
        let is_blind = |operation: &Operation| matches!(operation.f, Function::Set | Function::Delete);
        let staying = kept.iter().zip(gone).filter(|(_, gone)| !**gone).map(|(operation, _)| *operation);
        let blind: Vec<&Operation> = staying.filter(|operation| is_blind(operation)).collect();
        let mut ends: Vec<(usize, usize)> = Vec::new();
        for operation in blind.iter().rev() {
            let Some(end) = operation.return_index else { continue };
            let least = ends.last().map_or(end, |(_, least)| end.min(*least));
            ends.push((operation.invoke_index, least));
        }
        ends.reverse();
        Self { ends, left: blind.into_iter().filter_map(made).collect() }
    }

    /// The first moment by which another write has come wholly after `operation`, so that nobody sees it any more.
    ///
    /// A value that nothing else leaves is never covered. It could be, but then the read of an overwritten value
    /// would be shown alone, as if nobody had ever written that value.
    fn cover(&self, operation: &Operation, made: Made<'_>) -> usize {
        let has_other_source = made == Made::Value(None) || self.left.contains(&made);
        let Some(answer) = operation.return_index.filter(|_| has_other_source) else { return usize::MAX };
        let after = self.ends.partition_point(|(invoke, _)| *invoke <= answer);
        self.ends.get(after).map_or(usize::MAX, |(_, least)| *least)
    }
}
