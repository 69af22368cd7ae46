//! A node's data folder: its lock, its engine, and who it belongs to.

use std::{path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

use super::NodeError;
use crate::{
    client::Book,
    config::Config,
    engine::{Batch, Compaction, Engine, EngineError, Table},
    env::{Disk, Env, Identity, Lock},
    types::{Boot, ClusterId, NodeToken, ReplicaId, StoreId},
    wire::{decode, encode},
};

const RECORD: &[u8] = b"node";
const BOOK: &[u8] = b"book";

/// What a folder knows of its node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub node: NodeToken,
    pub boot: Boot,
    pub cluster: ClusterId,
    pub store: StoreId,
    /// The configured name, unless it was left to the host.
    pub name: Option<String>,
    /// Membership of Prophet, once founded or joined.
    pub member: Option<ReplicaId>,
}

/// An open data folder.
pub(super) struct Folder {
    pub engine: Engine,
    pub record: Record,
    pub book: Book,
    _lock: Arc<Box<dyn Lock>>,
}

impl Folder {
    /// Opens the folder, or makes it, and raises the boot number.
    pub async fn open<E: Env>(env: &E, config: &Config) -> Result<Folder, NodeError> {
        let disk = env.disk().clone();
        let folder = config.dir_data.clone();
        let lock = lock(&disk, &folder)?;
        let engine = open_engine(env, config, "store.redb").await?;
        let (record, book) = read(&engine)?;
        let record = admit(env, config, record)?;
        let folder = Folder { engine, record, book, _lock: Arc::new(lock) };
        folder.save(env).await?;
        Ok(folder)
    }

    /// Makes the record durable.
    pub async fn save<E: Env>(&self, env: &E) -> Result<(), EngineError> {
        put(env, &self.engine, RECORD, encode(&self.record)).await
    }

    pub fn identity(&self) -> Identity {
        let Record { node, boot, cluster, store, .. } = self.record;
        Identity { cluster, node, store, boot }
    }
}

/// Opens one of the folder's files, or makes it. Nobody reads before a file that is mostly free has shrunk.
pub(super) async fn open_engine<E: Env>(env: &E, config: &Config, name: &'static str) -> Result<Engine, EngineError> {
    let (opener, path, slack_max) = (env.disk().clone(), config.dir_data.join(name), config.limits.file_slack_max);
    let began = env.now();
    let (engine, compaction) = env.disk().offload(move || Engine::open_compact(&opener, &path, slack_max)).await?;
    if let Some(Compaction { before, after }) = compaction {
        tracing::info!(name, before, after, took = ?env.now().since(began), "compacted a file that was mostly free");
    }
    Ok(engine)
}

/// Makes the book durable.
pub(super) async fn save_book<E: Env>(env: &E, engine: &Engine, book: &Book) -> Result<(), EngineError> {
    put(env, engine, BOOK, encode(book)).await
}

async fn put<E: Env>(env: &E, engine: &Engine, key: &[u8], value: Vec<u8>) -> Result<(), EngineError> {
    let mut batch = Batch::new(engine.view()?);
    batch.put(Table::Meta, key.to_vec(), value.into());
    let engine = engine.clone();
    env.disk().offload(move || engine.commit(batch)).await
}

fn lock<D: Disk>(disk: &D, folder: &Path) -> Result<Box<dyn Lock>, NodeError> {
    let start = |what: &str, error: std::io::Error| {
        NodeError::Start(format!("dir-data = {:?}: {what}: {error}", folder.display().to_string()))
    };
    disk.create_dir(folder).map_err(|error| start("cannot be made", error))?;
    disk.lock(&folder.join("LOCK")).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => NodeError::Start(format!(
            "dir-data = {:?} is in use by another matrixkv process; stop it, or give this node a folder of its own",
            folder.display().to_string()
        )),
        _ => start("cannot be locked", error),
    })
}

fn read(engine: &Engine) -> Result<(Option<Record>, Book), EngineError> {
    let view = engine.view()?;
    let record = view.get(Table::Meta, RECORD)?.map(|row| decode(&row)).transpose()?;
    // A book of another version is only a loss of hints.
    let book = view.get(Table::Meta, BOOK)?.and_then(|row| decode(&row).ok()).unwrap_or_default();
    Ok((record, book))
}

/// The folder's record for this start, if it may be started under this configuration.
fn admit<E: Env>(env: &E, config: &Config, found: Option<Record>) -> Result<Record, NodeError> {
    let name = Some(config.prophet.name.clone()).filter(|name| *name != Config::default().prophet.name);
    let dice = env.rng().id();
    let Some(mut record) = found else {
        let node = NodeToken(dice);
        let boot = Boot::NONE.next(env.rng().id());
        return Ok(Record { node, boot, cluster: ClusterId::NONE, store: StoreId::NONE, name, member: None });
    };
    if let (Some(ours), Some(theirs)) = (&name, &record.name)
        && ours != theirs
    {
        return Err(NodeError::Start(format!(
            "dir-data = {:?} belongs to the node {theirs:?}, and prophet.name says {ours:?}; one of the two is wrong",
            config.dir_data.display().to_string()
        )));
    }
    if record.member.is_some() && !config.prophet.prophet_node {
        return Err(NodeError::Start(
            "prophet.prophet-node = false, but this data folder holds a Prophet member; it cannot be left out silently"
                .into(),
        ));
    }
    record.name = record.name.or(name);
    record.boot = record.boot.next(dice);
    Ok(record)
}
