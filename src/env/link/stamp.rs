//! Stamps: who sent an envelope, in which life, to which life. Put on by the sender's network, checked by the
//! receiver's, over streams and over the simulator's datagrams alike.

use std::sync::atomic::{AtomicU64, Ordering};

use super::hello::{BootTable, Refusal, same_cluster};
use crate::{
    env::{Identity, Sender},
    types::Boot,
    wire::{Body, Envelope},
};

/// Numbers the envelopes of one life of a node, over all its connections. On one connection the numbers rise; between
/// connections they arrive in any order.
#[derive(Debug, Default)]
pub struct Stamp {
    last: AtomicU64,
}

impl Stamp {
    /// Puts `body` into an envelope from `ours` to the life `to` of its receiver. Numbers start at 1.
    pub fn envelope(&self, ours: &Identity, to: Boot, body: Body) -> Envelope {
        assert!(!ours.node.is_none() && !ours.boot.is_none(), "a node without a name sends");
        let seq = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        Envelope { from: ours.node, from_store: ours.store, from_boot: ours.boot, to_boot: to, seq, body }
    }
}

/// Whether an envelope is from the life that said hello as `theirs`, is meant for this life, and comes from no life
/// that is over. The clusters are compared again: this node may have learnt its own since the hello.
pub fn check(ours: &Identity, theirs: &Identity, boots: &BootTable, envelope: &Envelope) -> Result<Sender, Refusal> {
    let Envelope { from, from_store, from_boot, to_boot, seq, .. } = *envelope;
    if (from, from_store, from_boot, to_boot) != (theirs.node, theirs.store, theirs.boot, ours.boot) {
        return Err(Refusal::Stray { from, from_boot, to_boot });
    }
    let highest = boots.highest(from);
    if !from_boot.may_follow(highest) {
        return Err(Refusal::OldBoot { node: from, boot: from_boot, highest });
    }
    same_cluster(ours, theirs)?;
    Ok(Sender { identity: *theirs, seq })
}
