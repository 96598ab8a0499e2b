//! What is benchmarked, and the proof that it answers right.

/// Something that says where a key is in a sorted column of distinct keys.
pub trait Store {
    /// The name in reports.
    fn name(&self) -> String;

    /// Where `key` is, if it is there.
    fn find(&self, key: u64) -> Option<usize>;

    /// How many keys are smaller than `key`; `None` from a store that knows no order, such as a hash table.
    fn lower_bound(&self, key: u64) -> Option<usize>;

    /// Where each of `keys` is, into the same place of `found`, which has the same length. A store that can keep several
    /// lookups under way overrides this.
    #[inline]
    fn find_batch(&self, keys: &[u64], found: &mut [Option<usize>]) {
        for (key, found) in keys.iter().zip(found) {
            *found = self.find(*key);
        }
    }

    /// The bytes it needs beside the key column; all its bytes when it answers without that.
    fn index_bytes(&self) -> u64;
}

/// A wrong answer. A store that gives one is not timed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{store}: {question}({key}) answered {found:?}, right is {expected:?}")]
pub struct WrongAnswer {
    /// Which store.
    pub store: String,
    /// What it was asked: `find`, `find_batch` or `lower_bound`.
    pub question: &'static str,
    /// For which key.
    pub key: u64,
    /// The right answer.
    pub expected: Option<usize>,
    /// Its answer.
    pub found: Option<usize>,
}

/// How many of `wanted` are answered wrongly when asked for alone: how wrong a store is that [`verify`] refuses.
pub fn wrong_answers<S: Store + ?Sized>(store: &S, keys: &[u64], wanted: &[u64]) -> usize {
    let is_wrong = |key: &&u64| store.find(**key) != keys.binary_search(key).ok();
    wanted.iter().filter(is_wrong).count()
}

/// How many keys [`verify`] asks for at once.
const BATCH: usize = 32;

/// Asks `store` for every one of `wanted`, alone, in batches, and by order, and compares with a binary search in `keys`.
///
/// # Errors
/// The first [`WrongAnswer`].
pub fn verify<S: Store + ?Sized>(store: &S, keys: &[u64], wanted: &[u64]) -> Result<(), WrongAnswer> {
    let wrong =
        |question, key, expected, found| WrongAnswer { store: store.name(), question, key, expected, found };
    let mut found = [None; BATCH];
    for batch in wanted.chunks(BATCH) {
        let found = &mut found[..batch.len()];
        found.fill(Some(usize::MAX));
        store.find_batch(batch, found);
        for (&key, &mut in_batch) in batch.iter().zip(found) {
            let place = keys.partition_point(|&other| other < key);
            let expected = (keys.get(place) == Some(&key)).then_some(place);
            let alone = store.find(key);
            if alone != expected {
                return Err(wrong("find", key, expected, alone));
            }
            if in_batch != expected {
                return Err(wrong("find_batch", key, expected, in_batch));
            }
            let ordered = store.lower_bound(key);
            if ordered.is_some() && ordered != Some(place) {
                return Err(wrong("lower_bound", key, Some(place), ordered));
            }
        }
    }
    Ok(())
}
