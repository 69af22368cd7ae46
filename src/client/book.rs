//! What a node remembers of the others: addresses, Prophet's members, last routes. Kept on disk, so that a restart
//! does not need Prophet to serve.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    types::{ShardRoute, StoreId},
    wire::{MemberInfo, StoreInfo},
};

/// Addresses and last routes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    /// Stores by id.
    pub stores: BTreeMap<StoreId, StoreInfo>,
    /// Prophet's members.
    pub members: Vec<MemberInfo>,
    /// Last routes.
    pub routes: Vec<ShardRoute>,
}

impl Book {
    /// Takes over what Prophet says of stores and members.
    pub fn learn(&mut self, stores: Vec<StoreInfo>, members: Vec<MemberInfo>) {
        for store in stores {
            let known = self.stores.get(&store.id);
            // Of two accounts the one of the later life counts: an address may have changed with it.
            if known.is_none_or(|known| known.boot <= store.boot) {
                self.stores.insert(store.id, store);
            }
        }
        if !members.is_empty() {
            self.members = members;
        }
    }

    /// What is worth a write: addresses, not heartbeats.
    pub fn essence(&self) -> Book {
        let mut book = self.clone();
        for store in book.stores.values_mut() {
            store.heard_ms_ago = None;
            (store.available, store.shard_count, store.leader_count) = (0, 0, 0);
        }
        book
    }
}
