//! Size and content of a set of rows as two numbers that do not depend on the order in which the rows were written, so
//! they can be added and taken away.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::engine::EngineError;

/// What a set of rows adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Bytes of keys and values. Wraps where it holds a difference.
    pub bytes: u64,
    /// Sum over all keys of a hash of key and value.
    pub content: u64,
}

impl Sums {
    /// Of one row.
    pub fn of(key: &[u8], value: &[u8]) -> Sums {
        let content = xxh3_64_with_seed(value, xxh3_64(key));
        Sums { bytes: (key.len() + value.len()) as u64, content }
    }

    /// Of all rows of a scan.
    pub fn count<R: AsRef<[u8]>>(
        rows: impl Iterator<Item = Result<(Vec<u8>, R), EngineError>>,
    ) -> Result<Sums, EngineError> {
        rows.into_iter().try_fold(Sums::default(), |sums, row| {
            let (key, value) = row?;
            Ok(sums.plus(Sums::of(&key, value.as_ref())))
        })
    }

    /// Both together.
    pub fn plus(self, other: Sums) -> Sums {
        Sums { bytes: self.bytes.wrapping_add(other.bytes), content: self.content.wrapping_add(other.content) }
    }

    /// Without the other.
    pub fn minus(self, other: Sums) -> Sums {
        Sums { bytes: self.bytes.wrapping_sub(other.bytes), content: self.content.wrapping_sub(other.content) }
    }
}
