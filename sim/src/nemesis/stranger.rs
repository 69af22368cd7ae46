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
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Struck;
use crate::{
    check::{Invariant, probe},
    env::SimEnv,
    knobs::Transport,
    plan::{Kind, Stranger},
    world::World,
};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A stranger knocks at `node`, which is in its cluster by then: one that is in none may talk to any.
pub async fn knock(world: &World, node: usize, who: Stranger) -> Struck {
    if world.knobs().transport != Transport::Streams || probe::get(world, node, "/ready").await.is_err() {
        return Struck::Skipped;
    }
    world.record().fault(Kind::Stranger, world.now(), &format!("{who:?} at node{node}"));
    let (knocking, own) = (world.clone(), world.stranger());
    let talking = world.watcher().spawn(async move {
        let env = knocking.env(own);
        let address = knocking.knobs().config(node).addr_advertise_raft;
        let words = words(who);
        match who {
            Stranger::HalfFrame => {
                let stream = within(&env, PATIENCE, say(&env, &address, &words[..words.len() / 2])).await.flatten();
                // As long as it is open: a stream that was closed ends in an orderly way.
                knocking.net().reset(own, node);
                knocking.record().count("strangers cut off", u64::from(stream.is_some()));
                None
            }
            _ => within(&env, PATIENCE, ask(&env, &address, &words)).await.flatten(),
        }
    });
    match talking.await.expect("it does not panic") {
        Some(Frame::Refusal(_)) => world.record().count("strangers refused", 1),
        Some(answer) => {
            let message = format!("node{node} let a stranger in ({who:?}) and answered {answer:?}");
            world.record().violation(Invariant::Ranges, world.now(), message);
        }
        // The node died, or its links are bad.
        None => {}
    }
    Struck::Yes
}

/// A hello, and right behind it a question.
fn words(who: Stranger) -> Vec<u8> {
    // One that speaks another version is of no cluster yet, so that nothing else is wrong with it.
    let (cluster, protocol) = match who {
        Stranger::Protocol => (ClusterId::NONE, PROTOCOL + 1),
        Stranger::Cluster | Stranger::HalfFrame => (ClusterId(77), PROTOCOL),
    };
    let identity = Identity { cluster, node: NodeToken(77), store: StoreId(77), boot: Boot(1) };
    let hello = Hello { protocol, ..Hello::new(identity, Channel::Raft) };
    let body = Body::Request { call: CallId(1), request: Request::Routes };
    let Identity { node: from, store: from_store, boot: from_boot, .. } = identity;
    let mut words = Vec::new();
    put_hello(&mut words, &hello);
    put_envelope(&mut words, &Envelope { from, from_store, from_boot, to_boot: Boot(1), seq: 1, body });
    words
}

async fn say(env: &SimEnv, address: &str, words: &[u8]) -> Option<<SimEnv as Env>::Stream> {
    let mut stream = env.connect(address).await.ok()?;
    stream.write_all(words).await.ok()?;
    Some(stream)
}

/// The first that comes back.
async fn ask(env: &SimEnv, address: &str, words: &[u8]) -> Option<Frame> {
    let mut stream = say(env, address, words).await?;
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
