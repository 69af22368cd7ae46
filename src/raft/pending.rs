//! Who waits for what: proposals by log index, reads by ReadIndex context. Nobody waits longer than role and term
//! last.

use std::collections::BTreeMap;

use super::{Outcome, Refused};
use crate::types::Instant;

/// Names a waiting request; chosen by whoever proposes.
pub type Token = u64;

/// Proposals from the moment that they are taken until they are applied.
#[derive(Default)]
pub(super) struct Proposals {
    /// Encoded commands that are not in the log yet.
    pub queued: Vec<(Token, Vec<u8>)>,
    /// By index: the term in which the entry was appended here, and who waits for it, in the entry's order.
    in_log: BTreeMap<u64, (u64, Vec<Token>)>,
    waiting: usize,
}

impl Proposals {
    pub fn len(&self) -> usize {
        self.queued.len() + self.waiting
    }

    pub fn appended(&mut self, index: u64, term: u64, tokens: Vec<Token>) {
        self.waiting += tokens.len();
        let before = self.in_log.insert(index, (term, tokens));
        assert!(before.is_none(), "two proposals at index {index}");
    }

    /// Who waits for the entry at `index`. With another term there, ours was overwritten before it was committed:
    /// log matching says that it never will be, so those are given as refused.
    pub fn take<R>(&mut self, index: u64, term: u64, outcomes: &mut Vec<(Token, Outcome<R>)>) -> Vec<Token> {
        let Some((proposed, tokens)) = self.in_log.remove(&index) else { return Vec::new() };
        self.waiting -= tokens.len();
        if proposed == term {
            return tokens;
        }
        outcomes.extend(tokens.into_iter().map(|token| (token, Outcome::Refused(Refused::NotLeader))));
        Vec::new()
    }

    /// Leadership is over: what is in the log may still be committed by the next leader, what is not never will be.
    pub fn give_up<R>(&mut self, outcomes: &mut Vec<(Token, Outcome<R>)>) {
        let queued = std::mem::take(&mut self.queued);
        outcomes.extend(queued.into_iter().map(|(token, _)| (token, Outcome::Refused(Refused::NotLeader))));
        for (_, (_, tokens)) in std::mem::take(&mut self.in_log) {
            outcomes.extend(tokens.into_iter().map(|token| (token, Outcome::Unknown)));
        }
        self.waiting = 0;
    }
}

/// Reads from the moment that they are taken until they may be done.
#[derive(Default)]
pub(super) struct Reads {
    /// Not asked for yet.
    pub queued: Vec<Token>,
    /// By context, the oldest first: when it was asked, and who waits for it to be confirmed.
    asked: BTreeMap<Vec<u8>, (Instant, Vec<Token>)>,
    /// By read index: confirmed, waiting for that index to be applied.
    confirmed: BTreeMap<u64, Vec<Token>>,
    counter: u64,
}

impl Reads {
    pub fn len(&self) -> usize {
        self.queued.len()
            + self.asked.values().map(|(_, tokens)| tokens.len()).sum::<usize>()
            + self.confirmed.values().map(Vec::len).sum::<usize>()
    }

    /// Takes all queued reads under one context. It is unique (replica, boot, counter) and used once, since raft-rs
    /// matches late answers by context alone; and it says when it was asked.
    pub fn ask(&mut self, replica: u64, boot: u64, now: Instant) -> Vec<u8> {
        self.counter += 1;
        let context = [replica, boot, self.counter, now.0].map(u64::to_be_bytes).concat();
        self.asked.insert(context.clone(), (now, std::mem::take(&mut self.queued)));
        context
    }

    /// When a context was asked, if it is one of this life's.
    pub fn asked_at(replica: u64, boot: u64, context: &[u8]) -> Option<Instant> {
        let (words, rest) = context.as_chunks::<8>();
        let words: Vec<_> = words.iter().map(|word| u64::from_be_bytes(*word)).collect();
        match words[..] {
            [by, life, _, at] if rest.is_empty() && (by, life) == (replica, boot) => Some(Instant(at)),
            _ => None,
        }
    }

    /// When the oldest question was asked that is not confirmed.
    pub fn oldest(&self) -> Option<Instant> {
        self.asked.first_key_value().map(|(_, (at, _))| *at)
    }

    /// What is asked counts as asked `now`.
    pub fn count_anew(&mut self, now: Instant) {
        self.asked.values_mut().for_each(|(at, _)| *at = now);
    }

    pub fn confirm(&mut self, context: &[u8], index: u64) {
        if let Some((_, tokens)) = self.asked.remove(context).filter(|(_, tokens)| !tokens.is_empty()) {
            self.confirmed.entry(index).or_default().extend(tokens);
        }
    }

    pub fn is_due(&self, applied: u64) -> bool {
        self.confirmed.first_key_value().is_some_and(|(index, _)| *index <= applied)
    }

    /// The reads that may be done on a view in which `applied` is applied.
    pub fn due(&mut self, applied: u64) -> Vec<Token> {
        let later = self.confirmed.split_off(&(applied + 1));
        std::mem::replace(&mut self.confirmed, later).into_values().flatten().collect()
    }

    pub fn give_up(&mut self) -> Vec<Token> {
        let queued = std::mem::take(&mut self.queued).into_iter();
        let asked = std::mem::take(&mut self.asked).into_values().flat_map(|(_, tokens)| tokens);
        let confirmed = std::mem::take(&mut self.confirmed).into_values().flatten();
        queued.chain(asked).chain(confirmed).collect()
    }
}
