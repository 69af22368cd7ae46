//! Starts a node's parts in order, and winds them down.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};

use super::{
    NodeError, NodeOptions, Stop,
    dispatch::{Dispatcher, Inboxes},
    drive::{Pace, drive},
    folder::Folder,
    heartbeat::Liaison,
    prophet::Seat,
    store::{Outbox, Tickets},
    watchdog::Watch,
};
use crate::{
    client::{Book, ProphetClient, Router, Rpc},
    config::Config,
    engine::Engine,
    env::{Channel, Env, Listen, NetworkEvent, NetworkLimits, NetworkSetup, SharedIdentity, within},
    http::{self, discovery::Discovery},
    prophet, store,
    store::{Store, StoreConfig},
};

/// Local questions that wait for the dispatcher.
const LOCAL_CALLS: usize = 16_384;
/// Heartbeats that wait for Prophet's answer to the one before.
const BEATS_WAITING: usize = 8;
/// Questions of the store's to Prophet that wait for the answer to the one before.
const ASKS_WAITING: usize = 256;
/// How long a stopping node waits until its leaderships are taken over.
const HAND_OVER: Duration = Duration::from_secs(2);
/// How long it waits for requests in flight.
const DRAIN: Duration = Duration::from_secs(5);
/// Between looks at whether it is done.
const POLL: Duration = Duration::from_millis(20);

/// Runs a node until `stop` says so (then it stops in an orderly way) or until it must not go on.
pub async fn run<E: Env>(env: E, options: NodeOptions, stop: Stop) -> Result<(), NodeError> {
    let (fatal, mut failed) = mpsc::channel(16);
    let mut node = Node::start(env, options, stop.clone(), fatal).await?;
    tokio::select! {
        biased;
        Some(error) = failed.recv() => Err(error),
        () = stop.raised() => {
            node.wind_down().await;
            Ok(())
        }
    }
}

struct Node<E: Env> {
    env: E,
    router: Router<E>,
    inboxes: Inboxes,
    served: mpsc::Receiver<()>,
}

/// What the parts of a starting node share.
struct Parts<E: Env> {
    env: E,
    config: Config,
    shard_capacity: u64,
    engine: Engine,
    folder: Arc<AsyncMutex<Folder>>,
    identity: SharedIdentity,
    network: E::Network,
    rpc: Rpc<E>,
    prophet: ProphetClient<E>,
    router: Router<E>,
    book: Arc<Mutex<Book>>,
    inboxes: Inboxes,
    store_tickets: Tickets,
    prophet_tickets: Tickets,
    fatal: mpsc::Sender<NodeError>,
}

impl<E: Env> Clone for Parts<E> {
    fn clone(&self) -> Self {
        Parts {
            env: self.env.clone(),
            config: self.config.clone(),
            shard_capacity: self.shard_capacity,
            engine: self.engine.clone(),
            folder: self.folder.clone(),
            identity: self.identity.clone(),
            network: self.network.clone(),
            rpc: self.rpc.clone(),
            prophet: self.prophet.clone(),
            router: self.router.clone(),
            book: self.book.clone(),
            inboxes: self.inboxes.clone(),
            store_tickets: self.store_tickets.clone(),
            prophet_tickets: self.prophet_tickets.clone(),
            fatal: self.fatal.clone(),
        }
    }
}

impl<E: Env> Node<E> {
    async fn start(
        env: E,
        options: NodeOptions,
        stop: Stop,
        fatal: mpsc::Sender<NodeError>,
    ) -> Result<Node<E>, NodeError> {
        let config = options.config;
        let folder = Folder::open(&env, &config).await?;
        let identity = SharedIdentity::new(folder.identity());
        tracing::info!(identity = ?identity.get(), capacity = options.shard_capacity, "starting");
        let api_listener = listen(&env, &options.http_address).await?;
        let (network, events) =
            env.network(network_setup(&config, &identity)).await.map_err(|e| NodeError::Start(e.to_string()))?;
        let (local, local_calls) = mpsc::channel(LOCAL_CALLS);
        let rpc = Rpc::new(env.clone(), network.clone(), config.addr_advertise_client.clone(), local);
        let book = Arc::new(Mutex::new(folder.book.clone()));
        let prophet = ProphetClient::new(env.clone(), rpc.clone(), book.clone(), discovery_urls(&config));
        let router = Router::new(env.clone(), rpc.clone(), prophet.clone(), book.clone(), &config);
        let parts = Parts {
            engine: folder.engine.clone(),
            folder: Arc::new(AsyncMutex::new(folder)),
            inboxes: Inboxes::default(),
            store_tickets: Tickets::default(),
            prophet_tickets: Tickets::default(),
            env,
            config,
            shard_capacity: options.shard_capacity,
            identity,
            network,
            rpc,
            prophet,
            router,
            book,
            fatal,
        };
        let contact = parts.dispatch(events, local_calls);
        if parts.config.prophet.prophet_node {
            parts.start_prophet(contact, stop.clone()).await?;
        }
        parts.start_store();
        let (done, served) = mpsc::channel(1);
        let app = http::api(parts.env.clone(), parts.router.clone(), &parts.config.limits);
        let (env, limits) = (parts.env.clone(), parts.config.limits.clone());
        parts.env.spawn("http", async move {
            http::serve(env, api_listener, app, limits, stop).await;
            // Whoever winds the node down may have stopped waiting.
            let _ = done.send(()).await;
        });
        Ok(Node { env: parts.env, router: parts.router, inboxes: parts.inboxes, served })
    }

    /// Leaderships handed over, requests in flight answered. Data needs nothing: what was answered is durable.
    async fn wind_down(&mut self) {
        tracing::info!("stopping");
        self.inboxes.to_prophet(prophet::Input::HandOver);
        self.inboxes.to_store(store::Input::HandOver);
        let handed_over = async {
            while self.router.leads_with_others().await {
                self.env.sleep(POLL).await;
            }
        };
        within(&self.env, HAND_OVER, handed_over).await;
        within(&self.env, DRAIN, self.served.recv()).await;
    }
}

impl<E: Env> Parts<E> {
    /// Runs `task`; its error ends the node.
    fn spawn(&self, name: &'static str, task: impl Future<Output = Result<(), NodeError>> + Send + 'static) {
        let fatal = self.fatal.clone();
        self.env.spawn(name, async move {
            if let Err(error) = task.await {
                // If the queue is full the node is ending already.
                let _ = fatal.try_send(error);
            }
        });
    }

    fn dispatch(
        &self,
        events: mpsc::Receiver<NetworkEvent>,
        local: mpsc::Receiver<crate::client::LocalCall>,
    ) -> watch::Receiver<Option<crate::env::Identity>> {
        let (contact, contacted) = watch::channel(None);
        let dispatcher = Dispatcher {
            network: self.network.clone(),
            rpc: self.rpc.clone(),
            router: self.router.clone(),
            book: self.book.clone(),
            inboxes: self.inboxes.clone(),
            store_tickets: self.store_tickets.clone(),
            prophet_tickets: self.prophet_tickets.clone(),
            contact,
        };
        self.env.spawn("dispatch", dispatcher.run(events, local));
        contacted
    }

    async fn start_prophet(
        &self,
        contact: watch::Receiver<Option<crate::env::Identity>>,
        stop: Stop,
    ) -> Result<(), NodeError> {
        let (discovery, discovered) = watch::channel(Discovery::default());
        let listener = listen(&self.env, &self.config.client_url_bind_address()).await?;
        let (env, limits) = (self.env.clone(), self.config.limits.clone());
        self.env.spawn("discovery", async move {
            http::serve(env, listener, http::discovery::discovery(discovered), limits, stop).await;
        });
        let (sender, inbox) = mpsc::channel(self.config.limits.inbox_messages_max);
        assert!(self.inboxes.prophet.set(sender).is_ok(), "Prophet is started once");
        let seat = Seat {
            env: self.env.clone(),
            config: self.config.clone(),
            network: self.network.clone(),
            rpc: self.rpc.clone(),
            identity: self.identity.clone(),
            folder: self.folder.clone(),
            contact,
            discovery,
            tickets: self.prophet_tickets.clone(),
            watch: self.watched("Prophet's disk"),
        };
        self.spawn("prophet", seat.run(inbox));
        Ok(())
    }

    /// Somebody looks from now on whether the turns of one driver end.
    fn watched(&self, name: &'static str) -> Watch {
        let watch = Watch::default();
        self.spawn(name, watch.clone().watch(self.env.clone(), self.config.limits.disk_stall_max));
        watch
    }

    fn start_store(&self) {
        let liaison = Liaison {
            env: self.env.clone(),
            config: self.config.clone(),
            identity: self.identity.clone(),
            prophet: self.prophet.clone(),
            router: self.router.clone(),
            book: self.book.clone(),
            inboxes: self.inboxes.clone(),
        };
        self.spawn("store", run_store(self.clone(), liaison));
    }
}

/// Registers the store, opens its replicas and drives them.
async fn run_store<E: Env>(parts: Parts<E>, liaison: Liaison<E>) -> Result<(), NodeError> {
    let (cluster, id) = liaison.register(&parts.folder).await?;
    let boot = parts.identity.get().boot;
    let config = StoreConfig::new(&parts.config, parts.shard_capacity);
    let store = Store::open(id, boot, config, parts.env.rng(), &parts.engine.view()?)?;
    let (pulses, pulse_inbox) = mpsc::channel(BEATS_WAITING);
    let (beats, beat_inbox) = mpsc::channel(BEATS_WAITING);
    let (asks, ask_inbox) = mpsc::channel(ASKS_WAITING);
    parts.router.set_store(id, cluster);
    let mut outbox = Outbox {
        network: parts.network.clone(),
        tickets: parts.store_tickets.clone(),
        book: parts.book.clone(),
        router: parts.router.clone(),
        pulses,
        beats,
        asks,
    };
    let (sender, inbox) = mpsc::channel(parts.config.limits.inbox_messages_max);
    assert!(parts.inboxes.store.set(sender).is_ok(), "the store is started once");
    parts.spawn("beat store", liaison.clone().beat_store(pulse_inbox));
    parts.env.spawn("beat shards", liaison.clone().beat_shards(beat_inbox));
    parts.env.spawn("ask Prophet", liaison.clone().ask(ask_inbox));
    parts.env.spawn("watch room", liaison.clone().watch_room());
    parts.spawn("keep house", liaison.keep_house(parts.engine.clone()));
    let pace = Pace {
        tick_interval: parts.config.raft.tick_interval,
        watch: parts.watched("the store's disk"),
        folder: parts.config.dir_data.clone(),
    };
    let deliver = move |_: &Store, sends| outbox.deliver(sends);
    Ok(drive(parts.env, parts.engine, store, inbox, pace, deliver).await?)
}

async fn listen<E: Env>(env: &E, address: &str) -> Result<E::Listener, NodeError> {
    env.listen(address).await.map_err(|error| NodeError::Start(error.to_string()))
}

/// Where Prophet is asked for when nobody is known yet: on a member, itself.
fn discovery_urls(config: &Config) -> Vec<String> {
    if config.prophet.prophet_node {
        vec![config.prophet.embed_etcd.advertise_client_urls.clone()]
    } else {
        config.prophet.external_etcd.clone()
    }
}

fn network_setup(config: &Config, identity: &SharedIdentity) -> NetworkSetup {
    let mut listen = vec![
        Listen { address: config.addr_raft.clone(), channels: vec![Channel::Raft, Channel::Bulk] },
        Listen { address: config.addr_client.clone(), channels: vec![Channel::Client] },
    ];
    if config.prophet.prophet_node {
        listen.push(Listen { address: config.prophet.rpc_addr.clone(), channels: vec![Channel::Prophet] });
        listen.push(Listen { address: config.peer_bind_address(), channels: vec![Channel::Member] });
    }
    let limits = NetworkLimits {
        queue_messages_max: config.limits.peer_queue_messages_max,
        queue_bytes_max: config.limits.peer_queue_bytes_max,
        frame_bytes_max: config.limits.frame_bytes_max,
        events_max: config.limits.inbox_messages_max,
        connections_max: config.limits.connections_max,
    };
    NetworkSetup { identity: identity.clone(), listen, limits }
}
