//! Somebody who is no peer connects to where nodes talk to each other, over streams: a node of another cluster, one of another
//! protocol version, or one whose connection breaks in the middle of its first words. Nothing may come of it.

use std::time::Duration;

use bytes::BytesMut;
use matrixkv::{
    env::{
        Channel, Env, Identity,
        link::{
            Hello, PROTOCOL,
            frame::{Frame, take_first},
            put_envelope, put_hello,
        },
        within,
    },
    types::{Boot, CallId, ClusterId, NodeToken, StoreId},
    wire::{Body, Envelope, Request},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::Struck;
use crate::{
    check::{Invariant, probe},
    knobs::Transport,
    plan::{Kind, Stranger},
    workload::Ground,
    world::{FIRST_CLIENT, World},
};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A stranger knocks at `node`, which is in its cluster by then: one that is in none may talk to any.
pub async fn knock(world: &World, node: usize, who: Stranger) -> Struck {
    if world.knobs().transport != Transport::Streams || probe::get(world, node, "/ready").await.is_err() {
        return Struck::Skipped;
    }
    let knocking = world.clone();
    let talking = world.watcher().spawn(async move { talk(&knocking, node, who).await });
    talking.await.expect("it does not panic")
}

/// It judges by itself: whoever waits for it may be gone before it ends.
async fn talk(world: &World, node: usize, who: Stranger) -> Struck {
    // Behind the numbers of all clients.
    let (own, life) = (FIRST_CLIENT + world.knobs().lanes(), world.life(node));
    let (env, address) = (world.env(own), world.knobs().config(node).addr_advertise_raft);
    let Some(stream) = enter(world, &env, (node, &address), who).await else { return Struck::Skipped };
    if who == Stranger::HalfFrame {
        // As long as it is open: a stream that was closed ends in an orderly way.
        world.net().reset(own, node);
        return Struck::Yes;
    }
    // Another life may have lost its folder, and is in no cluster.
    listen(world, &env, (node, stream), who, || world.life(node) == life).await;
    Struck::Yes
}

/// Connects to a node at its address and says the first words; a fault that happened if there was somebody to hear them.
pub(crate) async fn enter<G: Ground>(
    ground: &G,
    env: &G::Env,
    (node, address): (usize, &str),
    who: Stranger,
) -> Option<<G::Env as Env>::Stream> {
    let stream = within(env, PATIENCE, say(env, address, &words(who))).await.flatten()?;
    ground.record().fault(Kind::Stranger, ground.now(), &format!("{who:?} at node{node}"));
    Some(stream)
}

/// Hears what a node answers, which must be a refusal as long as it `is_in_a_cluster`. R: no stranger is let in.
pub(crate) async fn listen<G: Ground>(
    ground: &G,
    env: &G::Env,
    (node, mut stream): (usize, <G::Env as Env>::Stream),
    who: Stranger,
    is_in_a_cluster: impl Fn() -> bool,
) {
    match within(env, PATIENCE, hear(&mut stream)).await.flatten() {
        Some(Frame::Refusal(_)) => ground.record().count("strangers refused", 1),
        Some(answer) if is_in_a_cluster() => {
            let message = format!("node{node} let a stranger in ({who:?}) and answered {answer:?}");
            ground.record().violation(Invariant::Ranges, ground.now(), message);
        }
        // The node died, or its links are bad.
        _ => {}
    }
}

/// A hello, and right behind it a question; or half of a hello.
fn words(who: Stranger) -> Vec<u8> {
    // One that speaks another version is of no cluster yet, so that nothing else is wrong with it.
    let (cluster, protocol) = match who {
        Stranger::Protocol => (ClusterId::NONE, PROTOCOL + 1),
        Stranger::Cluster | Stranger::HalfFrame => (ClusterId(77), PROTOCOL),
    };
    let identity = Identity { cluster, node: NodeToken(77), store: StoreId(77), boot: Boot(1) };
    let mut words = Vec::new();
    put_hello(&mut words, &Hello { protocol, ..Hello::new(identity, Channel::Raft) });
    if who == Stranger::HalfFrame {
        words.truncate(words.len() / 2);
        return words;
    }
    let body = Body::Request { call: CallId(1), request: Request::Routes };
    let Identity { node: from, store: from_store, boot: from_boot, .. } = identity;
    put_envelope(&mut words, &Envelope { from, from_store, from_boot, to_boot: Boot(1), seq: 1, body });
    words
}

async fn say<E: Env>(env: &E, address: &str, words: &[u8]) -> Option<E::Stream> {
    let mut stream = env.connect(address).await.ok()?;
    stream.write_all(words).await.ok()?;
    Some(stream)
}

/// The first that comes back.
async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut input = BytesMut::new();
    loop {
        if let Some(frame) = take_first(&mut input).ok()? {
            return Some(frame);
        }
        if stream.read_buf(&mut input).await.ok()? == 0 {
            return None;
        }
    }
}
