//! Who may talk to whom. Each connection starts with a [`Hello`]; [`judge`] says whether the speaker is welcome, and
//! [`BootTable`] remembers the highest life of each data folder.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    env::{Channel, Identity},
    types::{Boot, ClusterId, NodeToken},
    wire,
};

/// How every hello starts.
pub(super) const MAGIC: [u8; 8] = *b"MATRIXKV";

/// What two nodes must agree on: the link's own version above, that of what is said below.
pub const PROTOCOL: u32 = (1 << 8) | wire::VERSION as u32;

/// Data folders that a [`BootTable`] remembers. Beyond it strangers are refused: forgetting one would let its old
/// copies in. A node meets one for each folder that its cluster ever had while it runs, so this takes an attacker.
pub const NODES_MAX: usize = 65_536;

/// The first thing that is said on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the speaker.
    pub protocol: u32,
    /// The speaker.
    pub identity: Identity,
    /// What the connection is used for.
    pub channel: Channel,
}

impl Hello {
    /// The hello of this build.
    pub fn new(identity: Identity, channel: Channel) -> Self {
        Self { protocol: PROTOCOL, identity, channel }
    }

    /// Whether the same speaker may say this after `before`: it learns its cluster and its store, each once.
    pub(super) fn may_follow(&self, before: &Hello) -> bool {
        let (new, old) = (&self.identity, &before.identity);
        self.channel == before.channel
            && (new.node, new.boot) == (old.node, old.boot)
            && (old.cluster.is_none() || old.cluster == new.cluster)
            && (old.store.is_none() || old.store == new.store)
    }
}

/// Why this side does not talk on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    #[error("what came in is not from a MatrixKV peer")]
    NotAPeer,
    #[error("protocol versions {theirs:#x} and {PROTOCOL:#x} do not mix: the nodes run different releases")]
    Protocol { theirs: u32 },
    #[error("the hello names no data folder or no boot")]
    Nameless,
    #[error("{theirs} and {ours} do not mix: an address points into another cluster")]
    Cluster { ours: ClusterId, theirs: ClusterId },
    #[error("{node} came as {boot} after {highest} was seen: an old copy of its data folder, or a late connection")]
    OldBoot { node: NodeToken, boot: Boot, highest: Boot },
    #[error("{node} called on itself as {newer} and {boot}: the lower one is an old copy of the data folder")]
    Superseded { node: NodeToken, boot: Boot, newer: Boot },
    #[error("this socket does not serve {0:?} connections: an address and its use do not match")]
    Channel(Channel),
    #[error("more than {NODES_MAX} data folders were seen")]
    TooManyNodes,
    #[error("an envelope came before the hello")]
    NoHello,
    #[error("a later hello contradicts the first one")]
    Changed,
    #[error("an envelope from {from} {from_boot} to {to_boot} came over a connection of others")]
    Stray { from: NodeToken, from_boot: Boot, to_boot: Boot },
    #[error("a frame of {bytes} bytes; at most {bytes_max} are taken")]
    TooLong { bytes: u64, bytes_max: u64 },
    #[error("a frame was damaged on its way")]
    Damaged,
    #[error("a frame does not decode: {0}")]
    Malformed(String),
}

/// The highest boot of each data folder that was heard of. It only rises.
#[derive(Clone, Debug, Default)]
pub struct BootTable(BTreeMap<NodeToken, Boot>);

impl BootTable {
    /// The highest boot of `node`; [`Boot::NONE`] for a stranger.
    pub fn highest(&self, node: NodeToken) -> Boot {
        self.0.get(&node).copied().unwrap_or_default()
    }

    /// Takes note of a life, unless a later one of the same folder was seen, or another copy's. Two connections of one life are fine.
    pub fn admit(&mut self, node: NodeToken, boot: Boot) -> Result<(), Refusal> {
        let highest = self.highest(node);
        if !boot.may_follow(highest) {
            return Err(Refusal::OldBoot { node, boot, highest });
        }
        if highest.is_none() && self.0.len() >= NODES_MAX {
            return Err(Refusal::TooManyNodes);
        }
        self.0.insert(node, boot);
        Ok(())
    }
}

/// Whether the speaker of a hello is welcome where `channels` are served; takes note of its boot if so.
pub fn judge(ours: &Identity, theirs: &Hello, channels: &[Channel], boots: &mut BootTable) -> Result<(), Refusal> {
    let Hello { protocol, identity, channel } = theirs;
    if *protocol != PROTOCOL {
        return Err(Refusal::Protocol { theirs: *protocol });
    }
    if identity.node.is_none() || identity.boot.is_none() {
        return Err(Refusal::Nameless);
    }
    same_cluster(ours, identity)?;
    if !channels.contains(channel) {
        return Err(Refusal::Channel(*channel));
    }
    not_our_double(ours, identity)?;
    boots.admit(identity.node, identity.boot)
}

/// A node that is in no cluster yet may talk to any: that is how it joins.
pub(super) fn same_cluster(ours: &Identity, theirs: &Identity) -> Result<(), Refusal> {
    if ours.cluster.is_none() || theirs.cluster.is_none() || ours.cluster == theirs.cluster {
        return Ok(());
    }
    Err(Refusal::Cluster { ours: ours.cluster, theirs: theirs.cluster })
}

/// A node may dial itself, in the same life only. Two lives of one folder at once: the lower one is a copy.
fn not_our_double(ours: &Identity, theirs: &Identity) -> Result<(), Refusal> {
    let Identity { node, boot, .. } = *theirs;
    match ours.node == node {
        true if boot < ours.boot => Err(Refusal::OldBoot { node, boot, highest: ours.boot }),
        true if boot > ours.boot => Err(Refusal::Superseded { node, boot: ours.boot, newer: boot }),
        _ => Ok(()),
    }
}
