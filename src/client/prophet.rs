//! Asks Prophet, whoever leads it just now.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Book, CallError, Rpc};
use crate::{
    env::{Channel, Env},
    http::discovery::fetch_members,
    wire::{ProphetReply, ProphetRequest, Request, Response},
};

/// How long one member is waited for.
const PATIENCE: Duration = Duration::from_millis(800);
/// Members that one question may be passed on to.
const HOPS: usize = 6;

/// Asks Prophet. Cheap to clone.
pub struct ProphetClient<E: Env> {
    env: E,
    rpc: Rpc<E>,
    book: Arc<Mutex<Book>>,
    /// Prophet's client URLs from the configuration.
    discovery: Arc<Vec<String>>,
    leader: Arc<Mutex<Option<String>>>,
}

impl<E: Env> Clone for ProphetClient<E> {
    fn clone(&self) -> Self {
        ProphetClient {
            env: self.env.clone(),
            rpc: self.rpc.clone(),
            book: self.book.clone(),
            discovery: self.discovery.clone(),
            leader: self.leader.clone(),
        }
    }
}

impl<E: Env> ProphetClient<E> {
    /// `discovery` are client URLs of members, asked when nobody else is known.
    pub fn new(env: E, rpc: Rpc<E>, book: Arc<Mutex<Book>>, discovery: Vec<String>) -> ProphetClient<E> {
        ProphetClient { env, rpc, book, discovery: Arc::new(discovery), leader: Arc::default() }
    }

    /// Asks the leader, following redirections; `Err` says why there is no answer. A question may be repeated, since each is
    /// either harmless or recognised. What an operator wants is not: it may have been decided, and another operator may have
    /// decided otherwise since.
    pub async fn ask(&self, request: ProphetRequest) -> Result<ProphetReply, String> {
        let mut why = "no Prophet member is known".to_owned();
        let mut candidates = self.candidates();
        if candidates.is_empty() {
            candidates = self.discover().await?;
        }
        let mut hops = 0;
        let led = self.leader.lock().expect("no holder panics").clone();
        while let Some(address) = candidates.first().cloned() {
            candidates.remove(0);
            hops += 1;
            if hops > HOPS {
                break;
            }
            match self.rpc.call(Channel::Prophet, &address, Request::Prophet(request.clone()), PATIENCE).await {
                Ok(Response::Prophet(ProphetReply::NotLeader(leader))) => {
                    why = format!("{address} does not lead Prophet");
                    candidates.retain(|candidate| Some(candidate) != leader.as_ref());
                    if let Some(leader) = leader.filter(|leader| *leader != address) {
                        candidates.insert(0, leader);
                    }
                }
                Ok(Response::Prophet(reply)) => {
                    self.remember(Some(address));
                    return Ok(reply);
                }
                Ok(_) => why = format!("{address} answered something else"),
                Err(error) => {
                    // Whoever asks next may have no time for finding out that it is silent.
                    if led.as_ref() == Some(&address) {
                        self.remember(None);
                    }
                    why = match error {
                        CallError::NotSent => format!("Prophet at {address} cannot be reached"),
                        CallError::Lost => format!("Prophet at {address} does not answer"),
                    };
                    if matches!((&request, error), (ProphetRequest::Admin(_), CallError::Lost)) {
                        return Ok(ProphetReply::Unknown(why));
                    }
                }
            }
        }
        self.remember(None);
        // Members may have moved since the book was written.
        let _ = self.discover().await;
        Err(why)
    }

    fn remember(&self, leader: Option<String>) {
        *self.leader.lock().expect("no holder panics") = leader;
    }

    /// The last known leader first, then all members.
    fn candidates(&self) -> Vec<String> {
        let leader = self.leader.lock().expect("no holder panics").clone();
        let book = self.book.lock().expect("no holder panics");
        let members = book.members.iter().map(|member| member.rpc_address.clone());
        let others: Vec<String> = members.filter(|address| Some(address) != leader.as_ref()).collect();
        leader.into_iter().chain(others).collect()
    }

    /// Asks the configured URLs who the members are.
    async fn discover(&self) -> Result<Vec<String>, String> {
        let mut why = "no client URL of a Prophet member is configured".to_owned();
        for url in self.discovery.iter() {
            match fetch_members(&self.env, url, PATIENCE).await {
                Ok(found) if found.members.is_empty() => why = format!("{url} is not a member yet"),
                Ok(found) => {
                    let leads = |id| id == found.leader;
                    let (first, others): (Vec<_>, Vec<_>) =
                        found.members.iter().cloned().partition(|member| leads(member.id));
                    self.book.lock().expect("no holder panics").members = found.members;
                    return Ok(first.into_iter().chain(others).map(|member| member.rpc_address).collect());
                }
                Err(error) => why = format!("{url}: {error}"),
            }
        }
        Err(why)
    }
}
