//! The invocations and returns that a search has not placed yet, in the order in which they happened.
//!
//! An operation is lifted out when it is placed and let back in, in the opposite order, when the search steps back.
//! Whatever was invoked before the first remaining return may be placed next; nothing else may, for that return
//! belongs to an operation that came wholly before it.
//!
//! Invariants:
//! - Node 0 is both ends. The others keep the order of the history.
//! - Operations are let back in the opposite order of their lifting; so each node still knows its neighbours.

/// Where an operation begins and, if its outcome is known, where it ends.
pub(super) type Span = (usize, Option<usize>);

#[derive(Clone, Copy)]
struct Node {
    operation: usize,
    is_return: bool,
    before: usize,
    after: usize,
}

/// A doubly linked list inside one vector.
pub(super) struct List {
    nodes: Vec<Node>,
    places: Vec<(usize, Option<usize>)>,
}

impl List {
    /// All of `spans`, the place in the slice being the name of the operation.
    pub(super) fn new(spans: &[Span]) -> Self {
        let mut events = Vec::with_capacity(2 * spans.len());
        for (operation, (invoke, answer)) in spans.iter().enumerate() {
            events.push((*invoke, operation, false));
            events.extend(answer.map(|answer| (answer, operation, true)));
        }
        events.sort_unstable();
        let count = events.len() + 1;
        let mut places = vec![(0, None); spans.len()];
        let mut nodes = vec![Node { operation: usize::MAX, is_return: true, before: count - 1, after: 1 % count }];
        for (_, operation, is_return) in events {
            let place = nodes.len();
            match is_return {
                true => places[operation].1 = Some(place),
                false => places[operation].0 = place,
            }
            nodes.push(Node { operation, is_return, before: place - 1, after: (place + 1) % count });
        }
        Self { nodes, places }
    }

    /// Takes an operation out.
    pub(super) fn lift(&mut self, operation: usize) {
        let (invoke, answer) = self.places[operation];
        self.unlink(invoke);
        if let Some(answer) = answer {
            self.unlink(answer);
        }
    }

    /// Lets the operation that was lifted last back in.
    pub(super) fn restore(&mut self, operation: usize) {
        let (invoke, answer) = self.places[operation];
        if let Some(answer) = answer {
            self.link(answer);
        }
        self.link(invoke);
    }

    /// What may be placed next, in the order of invocation.
    pub(super) fn available(&self) -> impl Iterator<Item = usize> + '_ {
        self.events().take_while(|(_, is_return)| !is_return).map(|(operation, _)| operation)
    }

    /// Everything that is left: operation, and whether this is its return.
    pub(super) fn events(&self) -> impl Iterator<Item = (usize, bool)> + '_ {
        let mut place = 0;
        std::iter::from_fn(move || {
            place = self.nodes[place].after;
            (place != 0).then(|| (self.nodes[place].operation, self.nodes[place].is_return))
        })
    }

    fn unlink(&mut self, place: usize) {
        let Node { before, after, .. } = self.nodes[place];
        self.nodes[before].after = after;
        self.nodes[after].before = before;
    }

    fn link(&mut self, place: usize) {
        let Node { before, after, .. } = self.nodes[place];
        assert!(self.nodes[before].after == after && self.nodes[after].before == before, "restored out of order");
        self.nodes[before].after = place;
        self.nodes[after].before = place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_overlaps_the_first_return_is_available() {
        let mut list = List::new(&[(0, None), (1, Some(3)), (2, Some(5)), (4, Some(6))]);
        assert_eq!(list.available().collect::<Vec<_>>(), [0, 1, 2]);
        list.lift(1);
        assert_eq!(list.available().collect::<Vec<_>>(), [0, 2, 3]);
        list.lift(0);
        list.restore(0);
        list.restore(1);
        assert_eq!(list.available().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(list.events().count(), 7);
    }
}
