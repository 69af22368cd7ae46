//! Requests: admitted to a shard's log or its reads, or refused in a way that teaches; and their answers.

use super::{Origin, Send, Store, Ticket, Waiting, route};
use crate::{
    engine::{EngineError, View},
    planted::{Bug, planted},
    raft::{Outcome, Refused},
    shard::{self, Command, Reply},
    types::{KeyRange, Shard, ShardId, ShardRoute, Untimely},
    wire::{DataReply, DataRequest, Op, Refusal},
};

/// Routes that one refusal teaches.
const SIBLINGS_MAX: usize = 64;
/// Bytes of rows in one answer to a scan.
const SCAN_BYTES_MAX: usize = 4 << 20;

impl Store {
    pub(super) fn request(&mut self, ticket: Ticket, origin: Option<Origin>, request: DataRequest) {
        let is_new = origin.is_none_or(|origin| self.doubles.is_new(origin));
        if !is_new && !planted(Bug::ProposeDoubled) {
            self.note_untimely(request.shard, Untimely::Double);
            // No answer: the first copy's answer is on its way, and "refused" would be a lie about it.
            return self.early.now.push(Send::Forget { ticket });
        }
        if let Err(refusal) = self.admit(ticket, request) {
            self.reply_now(ticket, DataReply::Refused(refusal));
        }
    }

    fn admit(&mut self, ticket: Ticket, request: DataRequest) -> Result<(), Refusal> {
        let DataRequest { shard, epoch, op } = request;
        self.check_limits(&op)?;
        self.check_room(&op)?;
        if let Some(bad) = self.quarantined.get(&shard) {
            return Err(Refusal::Unavailable(format!("the replica of {shard} is quarantined: {}", bad.why)));
        }
        let Some((group, here)) = self.groups.get(&shard).and_then(|group| Some((group, route(group)?))) else {
            let routes = self.siblings(None, op.key());
            return Err(if routes.is_empty() { Refusal::NoSuchShard(shard) } else { Refusal::StaleEpoch(routes) });
        };
        let is_stale = here.shard.epoch.version != epoch.version || !here.shard.range.contains(op.key());
        let was_ours = epoch.version + 1 == here.shard.epoch.version && planted(Bug::ReadAcrossSplit);
        let is_let_through = op.is_read() && (planted(Bug::DropRangeCheck) || was_ours);
        if is_stale && !is_let_through {
            self.note_untimely(shard, Untimely::Route);
            return Err(Refusal::StaleEpoch(self.siblings(Some(&here.shard), op.key())));
        }
        if here.shard.peer(group.replica()).is_none() && !planted(Bug::ReadAfterRemoval) {
            return Err(Refusal::NotLeader(Box::new(ShardRoute { leader: None, ..here })));
        }
        if self.waiting.len() >= self.config.requests_max {
            return Err(Refusal::Overloaded("too many requests wait in this store".into()));
        }
        if let Op::Split { key } = op {
            return self.split_at(ticket, shard, key);
        }
        self.enter(ticket, shard, epoch.version, op).map_err(|refused| refusal(refused, here))
    }

    /// What a request for a stale range is taught: the shard that it named, the one that holds the key, and those
    /// between them, which came from the same splits; those that the batch under way bears as well, since nobody but the
    /// replicas of their parent can tell of them yet.
    fn siblings(&self, named: Option<&Shard>, key: &[u8]) -> Vec<ShardRoute> {
        let mut range = KeyRange { start: key.to_vec(), end: [key, &[0]].concat() };
        if let Some(named) = named.filter(|named| *named.range.start < *key) {
            range.start.clone_from(&named.range.start);
        }
        let shards: Vec<_> = self.ranges.overlapping(&range).collect();
        let last = shards.len().saturating_sub(SIBLINGS_MAX);
        shards[last..].iter().filter_map(|shard| self.route(*shard)).collect()
    }

    fn route(&self, shard: ShardId) -> Option<ShardRoute> {
        let born = || {
            let born = self.opening.get(&shard)?.clone()?;
            let leader = self.heirs.contains_key(&shard).then(|| born.peer_on(self.id).copied()).flatten();
            Some(ShardRoute { shard: born, leader, term: 0 })
        };
        self.groups.get(&shard).and_then(route).or_else(born)
    }

    fn check_limits(&self, op: &Op) -> Result<(), Refusal> {
        let key_bytes = op.key().len();
        let least = usize::from(!matches!(op, Op::Scan { .. }));
        if key_bytes < least || key_bytes > self.config.key_bytes_max {
            let max = self.config.key_bytes_max;
            return Err(Refusal::Invalid(format!("key: {key_bytes} bytes; {least} to {max} are valid")));
        }
        match op {
            Op::Set { value, .. } if value.len() > self.config.value_bytes_max => Err(Refusal::Invalid(format!(
                "value: {} bytes; 0 to {} are valid",
                value.len(),
                self.config.value_bytes_max
            ))),
            _ => Ok(()),
        }
    }

    fn enter(&mut self, ticket: Ticket, shard: ShardId, version: u64, op: Op) -> Result<(), Refused> {
        self.next_token += 1;
        let token = self.next_token;
        let buried_below = self.tombs.get(&shard).copied().filter(|_| planted(Bug::ReadAfterRemoval));
        let entered = self.with_group(shard, |group| match &op {
            Op::Get { .. } | Op::Scan { .. } if buried_below.is_some_and(|min_next| group.replica() < min_next) => {
                group.read_as_it_is(token);
                Ok(())
            }
            Op::Get { .. } | Op::Scan { .. } => group.read(token),
            Op::Split { .. } => unreachable!("a split has a job of its own"),
            Op::Set { key, value } => {
                group.propose(token, &Command::Set { version, key: key.clone(), value: value.clone() })
            }
            Op::Delete { key } => group.propose(token, &Command::Delete { version, key: key.clone() }),
        });
        entered.unwrap_or(Err(Refused::NotLeader))?;
        self.dirty.insert(shard);
        if planted(Bug::AcknowledgeBeforeCommit) && !op.is_read() {
            self.reply_now(ticket, DataReply::Written);
            return Ok(());
        }
        self.waiting.insert(token, Waiting { ticket, shard, op });
        Ok(())
    }

    fn reply_now(&mut self, ticket: Ticket, reply: DataReply) {
        self.early.now.push(Send::Reply { ticket, reply });
    }

    pub(super) fn answer_unknown(&mut self, token: u64, why: &str) {
        if let Some(waiting) = self.waiting.remove(&token) {
            let reply = if waiting.op.is_read() {
                DataReply::Refused(Refusal::Unavailable(why.into()))
            } else {
                DataReply::Unknown(why.into())
            };
            self.reply_now(waiting.ticket, reply);
        }
    }

    /// The answer to a proposal that ended.
    pub(super) fn answer_outcome(&mut self, token: u64, outcome: Outcome<Reply>) -> Option<Send> {
        if self.split_outcome(token, &outcome) {
            return None;
        }
        let Waiting { ticket, shard, op } = self.waiting.remove(&token)?;
        let reply = match outcome {
            Outcome::Applied(Reply::Written) => DataReply::Written,
            Outcome::Applied(Reply::Void(now) | Reply::Changed(now)) => {
                DataReply::Refused(Refusal::StaleEpoch(self.siblings(Some(&now), op.key())))
            }
            Outcome::Refused(refused) => DataReply::Refused(self.refusal_of(shard, refused)),
            Outcome::Unknown => DataReply::Unknown("leadership was lost before the write was decided".into()),
        };
        Some(Send::Reply { ticket, reply })
    }

    /// The answer to a read that may be done now, on `view`.
    pub(super) fn answer_read(&mut self, token: u64, view: &View) -> Result<Option<Send>, EngineError> {
        // On an error it waits on, until the replica is quarantined and all who wait are told.
        let Some(Waiting { ticket, shard, op }) = self.waiting.get(&token) else { return Ok(None) };
        let (ticket, shard) = (*ticket, *shard);
        let read = match op {
            Op::Scan { range, rows_max, bytes_max } => {
                let bytes_max = (*bytes_max as usize).min(SCAN_BYTES_MAX);
                let page = shard::scan(view, shard, range, *rows_max as usize, bytes_max)?;
                page.map(|page| DataReply::Rows { rows: page.rows, next: page.next })
            }
            _ => shard::read(view, shard, op.key())?.map(DataReply::Value),
        };
        let Waiting { op, .. } = self.waiting.remove(&token).expect("looked at just now");
        let reply = read.unwrap_or_else(|shard::NotOwned| {
            let named = self.groups.get(&shard).and_then(|group| group.machine()).map(|machine| machine.shard());
            DataReply::Refused(Refusal::StaleEpoch(self.siblings(named, op.key())))
        });
        Ok(Some(Send::Reply { ticket, reply }))
    }

    /// The answer to a read that will not be done.
    pub(super) fn answer_refused_read(&mut self, token: u64) -> Option<Send> {
        let Waiting { ticket, shard, .. } = self.waiting.remove(&token)?;
        Some(Send::Reply { ticket, reply: DataReply::Refused(self.refusal_of(shard, Refused::NotLeader)) })
    }

    fn refusal_of(&self, shard: ShardId, refused: Refused) -> Refusal {
        match self.groups.get(&shard).and_then(route) {
            Some(here) => refusal(refused, here),
            None => Refusal::NoSuchShard(shard),
        }
    }
}

fn refusal(refused: Refused, here: ShardRoute) -> Refusal {
    match refused {
        Refused::NotLeader => Refusal::NotLeader(Box::new(here)),
        Refused::Overloaded => Refusal::Overloaded(refused.to_string()),
        Refused::Transferring | Refused::ChangePending | Refused::IsLeader => Refusal::Unavailable(refused.to_string()),
        Refused::TooLarge => Refusal::Invalid(format!("the request is {refused}")),
    }
}
