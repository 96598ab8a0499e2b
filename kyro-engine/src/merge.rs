//! Merging ordered sources: each key once, the newest source's version.

use std::iter::Peekable;

/// One source's next version of a key.
pub(crate) type Item<T, E> = Result<(u64, T), E>;

/// Merges sources that are each in strictly increasing key order. The first source is the newest: of equal keys its
/// version is given and the others' are dropped. An error of any source ends the merge.
///
/// The sources are few (deltas and runs), so the smallest key is found by looking at each: O(sources) a key.
pub(crate) struct Merge<I: Iterator> {
    sources: Vec<Peekable<I>>,
    failed: bool,
}

impl<T, E, I: Iterator<Item = Item<T, E>>> Merge<I> {
    pub(crate) fn new(newest_first: impl IntoIterator<Item = I>) -> Self {
        Self { sources: newest_first.into_iter().map(Iterator::peekable).collect(), failed: false }
    }
}

impl<T, E, I: Iterator<Item = Item<T, E>>> Iterator for Merge<I> {
    type Item = Item<T, E>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let mut smallest: Option<u64> = None;
        for source in &mut self.sources {
            match source.peek() {
                Some(Ok((key, _))) => smallest = Some(smallest.map_or(*key, |least| least.min(*key))),
                Some(Err(_)) => {
                    self.failed = true;
                    return source.next();
                }
                None => {}
            }
        }
        let smallest = smallest?;
        let mut newest = None;
        for source in &mut self.sources {
            let taken = source.next_if(|item| matches!(item, Ok((key, _)) if *key == smallest));
            newest = newest.or(taken);
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(items: &[(u64, &'static str)]) -> std::vec::IntoIter<Item<&'static str, ()>> {
        items.iter().map(|&item| Ok(item)).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn newest_wins_and_order_holds() {
        let newest = source(&[(0, "n0"), (5, "n5"), (u64::MAX, "nm")]);
        let middle = source(&[(5, "m5"), (6, "m6")]);
        let oldest = source(&[(1, "o1"), (5, "o5"), (6, "o6"), (u64::MAX, "om")]);
        let merged: Result<Vec<_>, ()> = Merge::new([newest, middle, oldest]).collect();
        assert_eq!(merged.unwrap(), [(0, "n0"), (1, "o1"), (5, "n5"), (6, "m6"), (u64::MAX, "nm")]);
    }

    #[test]
    fn an_error_ends_the_merge() {
        let bad = vec![Ok((1, "a")), Err("broken"), Ok((3, "c"))].into_iter();
        let good = vec![Ok((2, "b")), Ok((4, "d"))].into_iter();
        let merged: Vec<Item<&str, &str>> = Merge::new([bad, good]).collect();
        assert_eq!(merged, [Ok((1, "a")), Err("broken")]);
    }
}
