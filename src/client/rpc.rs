//! Questions to other nodes and their answers, over envelopes that may be lost.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    env::{Channel, Env, Network, within},
    types::CallId,
    wire::{Body, Request, Response},
};

/// How a question ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// It never left this node: it did not happen.
    NotSent,
    /// It left, and no answer came: it may have happened.
    Lost,
}

/// A question of this node to itself: it does not go over the network.
pub struct LocalCall {
    /// The question.
    pub request: Request,
    /// Where the answer goes. Dropped without one, the outcome is not known.
    pub reply: oneshot::Sender<Response>,
}

type Answer = oneshot::Sender<Result<Response, CallError>>;

#[derive(Default)]
struct Pending {
    calls: BTreeMap<CallId, (Channel, String, Answer)>,
}

/// Asks. Cheap to clone.
pub struct Rpc<E: Env> {
    env: E,
    network: E::Network,
    own_address: String,
    local: mpsc::Sender<LocalCall>,
    pending: Arc<Mutex<Pending>>,
    next: Arc<AtomicU64>,
}

impl<E: Env> Clone for Rpc<E> {
    fn clone(&self) -> Self {
        Rpc {
            env: self.env.clone(),
            network: self.network.clone(),
            own_address: self.own_address.clone(),
            local: self.local.clone(),
            pending: self.pending.clone(),
            next: self.next.clone(),
        }
    }
}

/// Takes the question off the table when nobody waits any more.
struct Forget<'a>(&'a Mutex<Pending>, CallId);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.lock().expect("no holder panics").calls.remove(&self.1);
    }
}

impl<E: Env> Rpc<E> {
    /// `own_address` is this node's client address; questions to it go to `local`.
    pub fn new(env: E, network: E::Network, own_address: String, local: mpsc::Sender<LocalCall>) -> Rpc<E> {
        Rpc { env, network, own_address, local, pending: Arc::default(), next: Arc::new(AtomicU64::new(1)) }
    }

    /// Asks the node at `address` and waits for at most `patience`.
    pub async fn call(
        &self,
        channel: Channel,
        address: &str,
        request: Request,
        patience: Duration,
    ) -> Result<Response, CallError> {
        if channel == Channel::Client && address == self.own_address {
            return self.call_local(request, patience).await;
        }
        let call = CallId(self.next.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        self.lock().calls.insert(call, (channel, address.to_owned(), answer));
        let _forget = Forget(&self.pending, call);
        self.network.send(channel, address, Body::Request { call, request });
        match within(&self.env, patience, answered).await {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(CallError::Lost),
        }
    }

    async fn call_local(&self, request: Request, patience: Duration) -> Result<Response, CallError> {
        let (reply, replied) = oneshot::channel();
        self.local.try_send(LocalCall { request, reply }).map_err(|_| CallError::NotSent)?;
        match within(&self.env, patience, replied).await {
            Some(Ok(response)) => Ok(response),
            Some(Err(_)) | None => Err(CallError::Lost),
        }
    }

    /// An answer came in.
    pub fn answered(&self, call: CallId, response: Response) {
        self.finish(call, Ok(response));
    }

    /// The network gave a question back.
    pub fn dropped(&self, call: CallId) {
        self.finish(call, Err(CallError::NotSent));
    }

    /// A connection broke: answers to what was asked over it will not come.
    pub fn lost(&self, channel: Channel, address: &str) {
        let mut pending = self.lock();
        let calls = pending.calls.iter().filter(|(_, (c, a, _))| *c == channel && a == address);
        for call in calls.map(|(call, _)| *call).collect::<Vec<_>>() {
            let (_, _, answer) = pending.calls.remove(&call).expect("listed just now");
            let _ = answer.send(Err(CallError::Lost));
        }
    }

    fn finish(&self, call: CallId, result: Result<Response, CallError>) {
        let found = self.lock().calls.remove(&call);
        if let Some((_, _, answer)) = found {
            // Whoever asked may have gone away meanwhile.
            let _ = answer.send(result);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().expect("no holder panics")
    }
}
