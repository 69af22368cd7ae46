//! Texts by number: a run says the same few thousand things a hundred thousand times.

use std::collections::BTreeMap;

/// The number of a text.
pub type Word = usize;

/// All texts so far.
#[derive(Default)]
pub struct Words(BTreeMap<String, Word>);

impl Words {
    /// The number of `text`.
    pub fn of(&mut self, text: impl Into<String>) -> Word {
        let next = self.0.len();
        *self.0.entry(text.into()).or_insert(next)
    }

    /// All texts, each at its number.
    pub fn into_list(self) -> Vec<String> {
        let mut list = vec![String::new(); self.0.len()];
        self.0.into_iter().for_each(|(text, number)| list[number] = text);
        list
    }
}
