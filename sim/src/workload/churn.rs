//! A few keys that several clients delete and make again all the time, each time with another value: what was deleted stays
//! away.

use matrixkv::types::Rng;

use super::{
    Asker,
    registers::{Ask, Told},
};
use crate::history::Function;

/// How the keys begin.
pub const PREFIX: &str = "churn/";

/// Clients that delete, make and read.
pub const CLIENTS: usize = 3;

/// Keys.
pub const KEYS: usize = 2;

/// The clients.
pub fn askers() -> Vec<Box<dyn Asker>> {
    (0..CLIENTS).map(|client| Box::new(Churner { client, written: 0 }) as Box<dyn Asker>).collect()
}

struct Churner {
    client: usize,
    written: u64,
}

impl Asker for Churner {
    fn next(&mut self, rng: &mut Rng) -> Option<Ask> {
        let key = format!("{PREFIX}{}", rng.below(KEYS as u64));
        let (f, value) = match rng.below(10) {
            0..4 => (Function::Get, None),
            4..7 => (Function::Delete, None),
            _ => {
                self.written += 1;
                (Function::Set, Some(format!("m{}-{}", self.client, self.written)))
            }
        };
        Some(Ask { f, key, value })
    }

    fn told(&mut self, _ask: &Ask, _told: &Told) {}
}
