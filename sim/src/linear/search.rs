//! The search for an order of one key's operations that explains what everybody saw.
//!
//! Wing and Gong's search in Lowe's form ("Testing for linearizability", 2017): place an operation that may come
//! next, go on, step back where nothing fits, and never enter the same configuration twice. A configuration is the
//! set of placed operations and the content of the key. Both levels and placements are vectors, so that the depth
//! is bounded by memory and not by the stack.
//!
//! Most of the speed comes from not choosing where a choice cannot matter:
//! - A read that finds the present content is placed at once: it changes nothing, so earlier is as good.
//! - A write all of whose readers could come right after it is a *whole block*. Where nobody else needs the present
//!   content it is placed at once. Elsewhere it still goes before any other blind write: cut it out of wherever an
//!   order has it, and nobody misses it there. A value that nobody saw is such a block. Who began after another
//!   blind write that came wholly after this one is no reader of it.
//! - Of equal calls that could come next only the one that ends first is tried: swap them, and the order still holds.
//! - An operation without an answer is placed only where it changes the content and somebody who could come next
//!   finds what it leaves. Otherwise the order does as well without it.
//! - Content is not overwritten while somebody must still find it and nobody is left to bring it back.
//! - With appends, the content must be a beginning of what the next read found, unless something else than an
//!   append may come between.
//!
//! Limit: the set of placed operations is remembered as 128 bits, a fixed random number for each operation,
//! combined by exclusive or. Two sets could share one, and then a history could be called a violation that is none; with ten million
//! configurations the odds are below one in 10^24. A positive verdict does not depend on this: its order is replayed.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher};

use super::list::{List, Span};
use super::model::{Call, Content, MISSING, Model, Step};
use super::observe::{Made, made, relevant, seen};
use super::{Budget, Spent};
use crate::history::Operation;

/// What a search found, and how many placements it took.
pub(super) struct Answer {
    /// Whether there is an order; or what ran out first.
    pub(super) found: Result<bool, Spent>,
    pub(super) steps: u64,
    /// The last answer that the search came to without placing its operation.
    pub(super) reached: usize,
}

/// Searches for an order of `operations`, all of one key and in the order of their invocation.
pub(super) fn search(operations: &[&Operation], budget: Budget) -> Answer {
    let operations = relevant(operations);
    let mut search = Search::new(&operations, budget);
    let found = search.run();
    if found == Ok(true) {
        let order: Vec<&Operation> = search.trail.iter().map(|(step, _)| operations[*step]).collect();
        assert_explains(&operations, &order);
    }
    Answer { found, steps: search.placements, reached: search.reached }
}

/// One configuration on the way, and what may be placed from there.
struct Level {
    choices: Vec<usize>,
    tried: usize,
    trail: usize,
}

/// How many unplaced operations bear on one content.
#[derive(Clone, Copy, Default)]
struct Demand {
    /// Known to have found it.
    needed: u32,
    /// Would find it if they happen.
    hoped: u32,
    /// Can bring it about.
    makers: u32,
}

struct Search {
    model: Model,
    list: List,
    content: Content,
    demands: Vec<Demand>,
    /// For each step, when another blind write has come wholly after it.
    covers: Vec<usize>,
    marks: Vec<u128>,
    placed: Vec<bool>,
    placed_marks: u128,
    known_left: usize,
    levels: Vec<Level>,
    trail: Vec<(usize, Content)>,
    memo: HashSet<u128, BuildHasherDefault<DefaultHasher>>,
    placements: u64,
    reached: usize,
    budget: Budget,
}

impl Search {
    fn new(operations: &[&Operation], budget: Budget) -> Self {
        let model = Model::new(operations);
        let spans: Vec<_> = model.steps.iter().map(|step| step.span).collect();
        let mut random = fastrand::Rng::with_seed(0);
        let mut search = Self {
            list: List::new(&spans),
            content: MISSING,
            demands: vec![Demand::default(); model.contents.count()],
            covers: covers(&model),
            marks: spans.iter().map(|_| random.u128(..)).collect(),
            placed: vec![false; spans.len()],
            placed_marks: 0,
            known_left: model.steps.iter().filter(|step| step.is_known()).count(),
            levels: Vec::new(),
            trail: Vec::new(),
            memo: HashSet::default(),
            placements: 0,
            reached: 0,
            budget,
            model,
        };
        (0..spans.len()).for_each(|step| search.count(step, 1));
        search
    }

    fn run(&mut self) -> Result<bool, Spent> {
        if self.is_hopeless() {
            return Ok(false);
        }
        loop {
            self.settle();
            if self.known_left == 0 {
                return Ok(true);
            }
            self.check_budget()?;
            self.reached = self.reached.max(self.first_return());
            if self.memo.insert(self.configuration()) && !self.is_misled() {
                let choices = self.choices();
                self.levels.push(Level { choices, tried: 0, trail: self.trail.len() });
            }
            if !self.try_next() {
                return Ok(false);
            }
        }
    }

    /// Places the next choice, stepping back as far as it takes to find one.
    fn try_next(&mut self) -> bool {
        while let Some(level) = self.levels.last_mut() {
            let (choice, trail) = (level.choices.get(level.tried).copied(), level.trail);
            level.tried += 1;
            self.step_back(trail);
            match choice {
                Some(choice) => {
                    self.place(choice);
                    return true;
                }
                None => _ = self.levels.pop(),
            }
        }
        false
    }

    fn first_return(&self) -> usize {
        let first = self.list.events().find(|(_, is_return)| *is_return);
        first.and_then(|(step, _)| self.model.steps[step].span.1).expect("a known operation is left")
    }

    fn check_budget(&self) -> Result<(), Spent> {
        match self.budget {
            Budget { steps, .. } if self.placements >= steps => Err(Spent::Steps(steps)),
            Budget { configurations, .. } if self.memo.len() >= configurations => {
                Err(Spent::Configurations(configurations))
            }
            Budget { text_bytes, .. } if self.model.contents.bytes > text_bytes => Err(Spent::TextBytes(text_bytes)),
            _ => Ok(()),
        }
    }

    /// The name of where the search stands. The content is spread over all bits, so that it meets no mark.
    fn configuration(&self) -> u128 {
        const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        self.placed_marks ^ (u128::from(self.content) + 1).wrapping_mul(SPREAD)
    }

    /// Places whatever can as well be placed now.
    fn settle(&mut self) {
        while let Some(step) = self.fitting_read().or_else(|| self.settled_block()) {
            self.place(step);
        }
    }

    fn fitting_read(&self) -> Option<usize> {
        let fits = |step: &Step| step.is_known() && step.call == Call::Read(self.content);
        self.list.available().find(|step| fits(&self.model.steps[*step]))
    }

    fn settled_block(&self) -> Option<usize> {
        if self.model.appends {
            return None;
        }
        // Nobody finds the present content who began after a blind write that is still to be placed had ended.
        let is_blind = |step: usize| matches!(self.model.steps[step].call, Call::Write(_));
        let end = self.list.events().find(|(step, is_return)| *is_return && is_blind(*step));
        let end = end.and_then(|(step, _)| self.model.steps[step].span.1).unwrap_or(usize::MAX);
        if self.is_awaited(self.content, end) { None } else { self.whole_block() }
    }

    /// A write that is known to have happened, all of whose readers could follow at once.
    fn whole_block(&self) -> Option<usize> {
        self.list.available().find(|step| match self.model.steps[*step] {
            Step { call: Call::Write(content), span: (_, Some(_)), .. } => {
                !self.is_awaited(content, self.covers[*step])
            }
            _ => false,
        })
    }

    /// Whether somebody who began before `end` may find `content`, apart from reads that could come next.
    fn is_awaited(&self, content: Content, end: usize) -> bool {
        let Demand { needed, hoped, .. } = self.demands[content as usize];
        if needed + hoped == 0 {
            return false;
        }
        let mut is_available = true;
        for (step, is_return) in self.list.events() {
            is_available &= !is_return;
            let Step { call, span: (invoke, answer), .. } = self.model.steps[step];
            match call {
                _ if is_return => {}
                _ if invoke >= end => return false,
                Call::Read(found) if found == content && !is_available => return true,
                Call::Cas(found, left) if found == content && (answer.is_some() || self.is_wanted(left)) => {
                    return true;
                }
                _ => {}
            }
        }
        false
    }

    /// Whether anybody who is left finds `content`.
    fn is_wanted(&self, content: Content) -> bool {
        let Demand { needed, hoped, .. } = self.demands[content as usize];
        needed + hoped > 0
    }

    /// What is worth placing next, most urgent first, those without an answer last.
    fn choices(&mut self) -> Vec<usize> {
        let block = if self.model.appends { None } else { self.whole_block() };
        let block = block.map(|step| self.model.steps[step].call);
        let mut choices = self.most_urgent();
        choices.retain(|step| {
            let Step { call, span: (_, answer) } = self.model.steps[*step];
            if matches!(call, Call::Write(_)) && block.is_some_and(|block| block != call) {
                return false;
            }
            let Some(next) = self.model.next(self.content, call) else { return false };
            let is_loss = next != self.content && self.is_last_chance(call);
            !is_loss && (answer.is_some() || self.is_of_use(next))
        });
        choices
    }

    /// What could come next, of equal calls only the one that ends first: the others can take its place later.
    fn most_urgent(&self) -> Vec<usize> {
        let urgency = |step: usize| (self.model.steps[step].span.1.unwrap_or(usize::MAX), step);
        let mut first: BTreeMap<Call, usize> = BTreeMap::new();
        for step in self.list.available() {
            let best = first.entry(self.model.steps[step].call).or_insert(step);
            *best = if urgency(step) < urgency(*best) { step } else { *best };
        }
        let mut steps: Vec<usize> = first.into_values().collect();
        steps.sort_unstable_by_key(|step| urgency(*step));
        steps
    }

    /// Whether an unknown operation that leaves `next` is worth considering.
    fn is_of_use(&self, next: Content) -> bool {
        let finds = |step: &Step| match step.call {
            Call::Read(found) => found == next,
            Call::Cas(expected, _) => expected == next,
            Call::Write(_) | Call::Append(_) => false,
        };
        next != self.content && (self.model.appends || self.list.available().any(|step| finds(&self.model.steps[step])))
    }

    /// Whether the present content, once overwritten by `call`, would be missed for ever.
    fn is_last_chance(&self, call: Call) -> bool {
        if self.model.appends {
            return false;
        }
        let Demand { needed, makers, .. } = self.demands[self.content as usize];
        // A known cas that is placed now has found what it needed. An unknown one was never counted as needing it.
        let served = matches!(call, Call::Cas(..)) as u32;
        needed > served && (makers == 0 || self.comes_too_late(self.content, call))
    }

    /// Whether the first that needs `content`, other than by `call`, ends before anybody begins who can leave it.
    fn comes_too_late(&self, content: Content, except: Call) -> bool {
        for (step, is_return) in self.list.events() {
            match self.model.steps[step].call {
                Call::Write(left) | Call::Cas(_, left) if left == content && !is_return => return false,
                Call::Read(found) if found == content && is_return => return true,
                call @ Call::Cas(found, _) if found == content && is_return && call != except => return true,
                _ => {}
            }
        }
        false
    }

    /// Whether somebody found what nobody can have left.
    fn is_hopeless(&self) -> bool {
        let missed = |content: usize, demand: &Demand| demand.needed > 0 && demand.makers == 0 && content != 0;
        !self.model.appends && self.demands.iter().enumerate().any(|(content, demand)| missed(content, demand))
    }

    /// Whether appending can no longer lead to what the next read found.
    fn is_misled(&self) -> bool {
        if !self.model.appends {
            return false;
        }
        for (step, is_return) in self.list.events() {
            match self.model.steps[step].call {
                Call::Read(found) if is_return => return !self.model.contents.extends(found, self.content),
                Call::Write(_) | Call::Cas(..) => return false,
                Call::Read(_) | Call::Append(_) => {}
            }
        }
        false
    }

    fn place(&mut self, step: usize) {
        let call = self.model.steps[step].call;
        let next = self.model.next(self.content, call).expect("only what fits is placed");
        self.trail.push((step, self.content));
        self.content = next;
        self.list.lift(step);
        self.mark(step, true);
        self.placements += 1;
    }

    fn step_back(&mut self, trail: usize) {
        while self.trail.len() > trail {
            let (step, content) = self.trail.pop().expect("longer than trail");
            self.content = content;
            self.list.restore(step);
            self.mark(step, false);
        }
    }

    fn mark(&mut self, step: usize, placed: bool) {
        assert!(self.placed[step] != placed, "an operation is placed once");
        self.placed[step] = placed;
        self.placed_marks ^= self.marks[step];
        let by = if placed { -1 } else { 1 };
        self.count(step, by);
        if self.model.steps[step].is_known() {
            self.known_left = self.known_left.strict_add_signed(by as isize);
        }
    }

    /// Adds `step` to the demands, or takes it out.
    fn count(&mut self, step: usize, by: i32) {
        let Step { call, .. } = self.model.steps[step];
        let (found, left) = match call {
            Call::Read(found) => (Some(found), None),
            Call::Write(left) => (None, Some(left)),
            Call::Cas(found, left) => (Some(found), Some(left)),
            Call::Append(_) => (None, None),
        };
        let is_known = self.model.steps[step].is_known();
        if let Some(found) = found {
            let demand = &mut self.demands[found as usize];
            let count = if is_known { &mut demand.needed } else { &mut demand.hoped };
            *count = count.strict_add_signed(by);
        }
        if let Some(left) = left {
            let makers = &mut self.demands[left as usize].makers;
            *makers = makers.strict_add_signed(by);
        }
    }
}

/// For each step, the first answer to a blind write that was invoked after the step had ended.
fn covers(model: &Model) -> Vec<usize> {
    let mut ends: Vec<Span> = Vec::new();
    for step in model.steps.iter().rev() {
        let (Call::Write(_), (invoke, Some(end))) = (step.call, step.span) else { continue };
        let least = ends.last().and_then(|(_, least)| *least).map_or(end, |least| end.min(least));
        ends.push((invoke, Some(least)));
    }
    ends.reverse();
    let cover =
        |answer: usize| ends.get(ends.partition_point(|(invoke, _)| *invoke < answer)).and_then(|(_, end)| *end);
    model.steps.iter().map(|step| step.span.1.and_then(cover).unwrap_or(usize::MAX)).collect()
}

/// Replays an order on a plain string, with none of the search's shortcuts.
fn assert_explains(operations: &[&Operation], order: &[&Operation]) {
    let known = |operations: &[&Operation]| operations.iter().filter(|one| one.return_index.is_some()).count();
    assert_eq!(known(operations), known(order), "every operation that was done is in the order");
    let mut content: Option<String> = None;
    let mut begun = 0;
    for operation in order {
        begun = begun.max(operation.invoke_index);
        assert!(operation.return_index.is_none_or(|answer| answer > begun), "placed after one that came later");
        assert!(seen(operation).is_none_or(|found| found == content.as_deref()), "found what was not there");
        match made(operation) {
            None => {}
            Some(Made::Value(value)) => content = value.map(str::to_string),
            Some(Made::Tail(tail)) => content.get_or_insert_default().push_str(tail),
        }
    }
}
