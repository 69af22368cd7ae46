//! The store and Prophet: registration, then heartbeats and the orders that come back.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::mpsc;

use super::{
    NodeError,
    dispatch::Inboxes,
    folder::{Folder, save_book},
    prophet::check_cluster,
    store::{Ask, Pulse},
};
use crate::{
    client::{Book, ProphetClient, Router},
    config::Config,
    engine::Engine,
    env::{Disk, Env, SharedIdentity, Space},
    store,
    types::{ClusterId, StoreId},
    wire::{ProphetReply, ProphetRequest, ShardBeat, StoreBeat, StoreInfo, StoreState},
};

/// Pause between two tries to register.
const REGISTER_PAUSE: Duration = Duration::from_millis(300);
/// Between looks at the disk's free space.
const LOOK_AT_ROOM: Duration = Duration::from_secs(1);
/// Between looks whether the book is worth a write.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// What stands between a store and Prophet.
pub(super) struct Liaison<E: Env> {
    pub env: E,
    pub config: Config,
    pub identity: SharedIdentity,
    pub prophet: ProphetClient<E>,
    pub router: Router<E>,
    pub book: Arc<Mutex<Book>>,
    pub inboxes: Inboxes,
}

impl<E: Env> Clone for Liaison<E> {
    fn clone(&self) -> Self {
        Liaison {
            env: self.env.clone(),
            config: self.config.clone(),
            identity: self.identity.clone(),
            prophet: self.prophet.clone(),
            router: self.router.clone(),
            book: self.book.clone(),
            inboxes: self.inboxes.clone(),
        }
    }
}

impl<E: Env> Liaison<E> {
    /// This store's cluster and id, asked of Prophet until it answers, then kept for ever.
    pub async fn register(&self, folder: &tokio::sync::Mutex<Folder>) -> Result<(ClusterId, StoreId), NodeError> {
        let known = self.identity.get();
        if !known.store.is_none() {
            return Ok((known.cluster, known.store));
        }
        loop {
            let request = ProphetRequest::Register(self.info(StoreId::NONE, &Pulse::default()));
            match self.prophet.ask(request).await {
                Ok(ProphetReply::Registered { cluster, store }) => {
                    let mut folder = folder.lock().await;
                    check_cluster(folder.record.cluster, cluster)?;
                    (folder.record.cluster, folder.record.store) = (cluster, store);
                    folder.save(&self.env).await?;
                    self.identity.set_cluster(cluster);
                    self.identity.set_store(store);
                    self.router.hear_prophet();
                    tracing::info!(%cluster, %store, "registered");
                    return Ok((cluster, store));
                }
                Ok(ProphetReply::Refused(why)) => return Err(NodeError::Identity(format!("Prophet refuses: {why}"))),
                Ok(other) => tracing::warn!(?other, "Prophet answered something else"),
                Err(why) => tracing::debug!(why, "not registered yet"),
            }
            let pause = self.env.rng().jitter(REGISTER_PAUSE);
            self.env.sleep(pause).await;
        }
    }

    fn info(&self, store: StoreId, pulse: &Pulse) -> StoreInfo {
        let identity = self.identity.get();
        StoreInfo {
            id: store,
            node: identity.node,
            boot: identity.boot,
            raft_address: self.config.addr_advertise_raft.clone(),
            client_address: self.config.addr_advertise_client.clone(),
            labels: self.config.labels.clone(),
            capacity: self.config.capacity.unwrap_or(pulse.capacity),
            available: pulse.available,
            shard_count: pulse.shard_count,
            leader_count: pulse.leader_count,
            state: StoreState::default(),
            heard_ms_ago: None,
        }
    }

    /// Sends the store's heartbeats. Ends only when Prophet says that this store must not go on.
    pub async fn beat_store(self, mut pulses: mpsc::Receiver<Pulse>) -> Result<(), NodeError> {
        while let Some(pulse) = pulses.recv().await {
            let info = self.info(self.identity.get().store, &pulse);
            let beat = StoreBeat { info, quarantined: pulse.quarantined };
            match self.prophet.ask(ProphetRequest::StoreBeat(beat)).await {
                Ok(ProphetReply::Store(orders)) => {
                    self.router.hear_prophet();
                    let mut book = self.book.lock().expect("no holder panics");
                    book.learn(orders.stores.clone(), orders.members.clone());
                    drop(book);
                    self.inboxes.to_store(store::Input::StoreOrders(orders));
                }
                Ok(ProphetReply::Refused(why)) => return Err(NodeError::Identity(format!("Prophet refuses: {why}"))),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Sends the heartbeats of the shards that are led here.
    pub async fn beat_shards(self, mut beats: mpsc::Receiver<Vec<ShardBeat>>) {
        while let Some(beats) = beats.recv().await {
            let store = self.identity.get().store;
            let request = ProphetRequest::ShardBeats { store, beats };
            if let Ok(ProphetReply::Shards { orders, tell_all }) = self.prophet.ask(request).await {
                if tell_all {
                    self.inboxes.to_store(store::Input::TellAll);
                }
                self.inboxes.to_store(store::Input::ShardOrders(orders));
            }
        }
    }

    /// Asks what the store wants to know. It asks again itself if there is no answer.
    pub async fn ask(self, mut asks: mpsc::Receiver<Ask>) {
        while let Some(ask) = asks.recv().await {
            match ask {
                Ask::Membership(asks) => {
                    let answer = self.prophet.ask(ProphetRequest::Membership(asks)).await;
                    let Ok(ProphetReply::Removed(removals)) = answer else { continue };
                    for removal in removals {
                        self.inboxes.to_store(store::Input::Removed(removal));
                    }
                }
                Ask::SplitIds { shard, replicas } => {
                    let answer = self.prophet.ask(ProphetRequest::SplitIds { shard, replicas }).await;
                    let ids = match answer {
                        Ok(ProphetReply::SplitIds { shard, replicas }) => Some((shard, replicas)),
                        _ => None,
                    };
                    self.inboxes.to_store(store::Input::SplitIds { shard, ids });
                }
            }
        }
    }

    /// Tells the store how much room its disk has, for ever: others may write to it, and room may come back, while the
    /// store commits nothing.
    pub async fn watch_room(self) {
        loop {
            let (disk, folder) = (self.env.disk().clone(), self.config.dir_data.clone());
            if let Ok(Space { capacity, available }) = self.env.disk().offload(move || disk.space(&folder)).await {
                self.inboxes.to_store(store::Input::Space { capacity, available });
            }
            self.env.sleep(LOOK_AT_ROOM).await;
        }
    }

    /// Writes the book down where it changed.
    pub async fn keep_house(self, engine: Engine) -> Result<(), NodeError> {
        let mut written = self.book.lock().expect("no holder panics").essence();
        loop {
            let routes = self.router.known().0;
            let book = {
                let mut book = self.book.lock().expect("no holder panics");
                book.routes = routes;
                book.essence()
            };
            if book != written {
                save_book(&self.env, &engine, &book).await?;
                written = book;
            }
            self.env.sleep(HOUSEKEEPING).await;
        }
    }
}
