//! What the node shows of its replicas, told as changes: a store has thousands of replicas, and few of them move at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::{Send, StatusChange, Store, route};
use crate::types::{Epoch, ReplicaId, ShardId};

/// Descriptor, leader and term as they were shown last.
type Face = (Epoch, ReplicaId, u64);

/// What was shown.
#[derive(Default)]
pub(super) struct Shown {
    faces: BTreeMap<ShardId, Face>,
    touched: BTreeSet<ShardId>,
    quarantine: bool,
}

impl Shown {
    /// Something may have changed about this shard's replica.
    pub fn touch(&mut self, shard: ShardId) {
        self.touched.insert(shard);
    }

    /// A replica was stopped.
    pub fn quarantine_changed(&mut self) {
        self.quarantine = true;
    }
}

impl Store {
    /// What changed since it was asked last.
    pub(super) fn show(&mut self) -> Option<Send> {
        let mut change = StatusChange::default();
        for shard in std::mem::take(&mut self.status.touched) {
            let group = self.groups.get(&shard);
            match group.and_then(|group| Some((group, group.machine()?.shard().epoch))) {
                Some((group, epoch)) => {
                    let (leader, term) = group.leadership();
                    let face = (epoch, leader, term);
                    if self.status.faces.insert(shard, face) != Some(face) {
                        change.changed.extend(route(group));
                    }
                }
                None if self.status.faces.remove(&shard).is_some() => change.gone.push(shard),
                None => {}
            }
        }
        if std::mem::take(&mut self.status.quarantine) {
            change.quarantined = Some(self.quarantine_reasons());
        }
        (change != StatusChange::default()).then_some(Send::Status(change))
    }
}
