//! What to leave out next: everything, then halves, quarters and so on, down to one at a time (delta debugging, Zeller and
//! Hildebrandt 2002, without its complements: those come as the next halves).

/// The lists that lack one chunk of `size` items of `items`, the last chunk first: what comes late often came after the failure.
pub fn without_chunks<T: Clone>(items: &[T], size: usize) -> Vec<Vec<T>> {
    let starts = (0..items.len()).step_by(size.max(1));
    let lists = starts.rev().map(|start| {
        let end = (start + size).min(items.len());
        items[..start].iter().chain(&items[end..]).cloned().collect()
    });
    lists.collect()
}

/// Leaves out what can be. `try_all` says which of the lists, in their order, is the first that still fails.
pub fn minimise<T: Clone>(mut items: Vec<T>, mut try_all: impl FnMut(&[Vec<T>]) -> Option<usize>) -> Vec<T> {
    let mut size = items.len();
    while size > 0 && !items.is_empty() {
        let mut lists = without_chunks(&items, size);
        match try_all(&lists) {
            Some(chosen) => items = lists.swap_remove(chosen),
            None => size /= 2,
        }
        size = size.min(items.len());
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first list that has all of `needed`.
    fn needing(needed: &[u32]) -> impl FnMut(&[Vec<u32>]) -> Option<usize> {
        move |lists| lists.iter().position(|list| needed.iter().all(|n| list.contains(n)))
    }

    #[test]
    fn what_is_needed_is_left_alone() {
        let items: Vec<u32> = (0..1000).collect();
        for needed in [&[][..], &[0], &[999], &[3, 500, 501], &[0, 1, 2, 3, 998, 999]] {
            assert_eq!(minimise(items.clone(), needing(needed)), needed);
        }
    }

    #[test]
    fn few_lists_are_tried() {
        let mut tried = 0;
        let mut needing = needing(&[17, 700]);
        minimise((0..1000).collect(), |lists| {
            let chosen = needing(lists);
            tried += chosen.map_or(lists.len(), |chosen| chosen + 1);
            chosen
        });
        assert!(tried < 100, "{tried}");
    }
}
