//! Splits of the shards that are led here: found necessary, prepared, counted, proposed. See [`crate::shard`] for why a
//! split takes two commands.
//!
//! A job goes through its stages as long as its replica leads and its range stays; if not, or if it takes too long, it is
//! dropped and begun anew later. Dropping one is always safe: a preparation without its split means nothing.
//!
//! Invariant: a turn reads a bounded slice of rows for all jobs together, so that a large shard does not hold up the store.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use super::{Send, Store, StoreReady, Ticket, births::Claim, budget::Budget, route};
use crate::{
    engine::{EngineError, Table, View},
    raft::{GroupRow, Outcome},
    shard::{Command, KvMachine, Reply, Sums},
    types::{Epoch, Fact, Instant, KeyRange, ReplicaId, Shard, ShardId},
    wire::{DataReply, Refusal, decode},
};

/// Bytes of rows that one turn reads for all jobs.
const SLICE_BYTES: u64 = 256 << 10;
/// Jobs at once in a store; more shards wait their turn.
const JOBS_MAX: usize = 64;
/// A job that takes longer is dropped, unless rows are being read.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause before a shard that could not be split is looked at again.
const PAUSE: Duration = Duration::from_secs(2);

/// A shard and its replicas, as Prophet gave the ids.
type Ids = (ShardId, Vec<ReplicaId>);

enum Stage {
    /// Looking for a key near the middle.
    Searching(Option<Scan>),
    /// Waiting for Prophet.
    Asking,
    /// Waiting for the first command.
    Preparing(Ids),
    /// Counting what is left of the key; what had changed when the view was taken is to be taken off.
    Counting(Ids, Option<(Scan, Sums)>),
    /// Waiting for the second command, which makes this shard.
    Splitting(ShardId),
}

struct Job {
    epoch: Epoch,
    key: Option<Bytes>,
    stage: Stage,
    since: Instant,
    /// Who asked for it, if it was not the size.
    ticket: Option<Ticket>,
}

/// Rows of a view, read slice by slice.
struct Scan {
    view: View,
    range: KeyRange,
    sums: Sums,
    keys: usize,
    last: Vec<u8>,
}

/// How far a scan got.
#[derive(PartialEq)]
enum Progress {
    /// The budget is used up.
    More,
    /// `last` is where it was to stop; it is not counted.
    Stopped,
    /// Everything is counted, `last` included.
    Over,
}

impl Scan {
    fn new(view: &View, range: KeyRange) -> Scan {
        Scan { view: view.clone(), range, sums: Sums::default(), keys: 0, last: Vec::new() }
    }

    /// Reads on until `stop` says so, the budget is used up, or nothing is left.
    fn read(&mut self, budget: &mut Budget, stop: impl Fn(&Scan) -> bool) -> Result<Progress, EngineError> {
        for row in self.view.scan(Table::Data, &self.range.start, &self.range.end)? {
            let (key, value) = row?;
            if stop(self) {
                self.last = key;
                return Ok(Progress::Stopped);
            }
            self.sums = self.sums.plus(Sums::of(&key, &value));
            self.keys += 1;
            budget.take(key.len() + value.len());
            self.last.clone_from(&key);
            if budget.is_over() {
                // The next slice begins right after this key.
                self.range.start = key;
                self.range.start.push(0);
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Over)
    }
}

/// The splits under way in a store.
#[derive(Default)]
pub(super) struct Splits {
    jobs: BTreeMap<ShardId, Job>,
    /// Which job waits for a proposal.
    tokens: BTreeMap<u64, ShardId>,
    /// Shards that could not be split, and when they are looked at again.
    not_before: BTreeMap<ShardId, Instant>,
    /// Shards that had one key when their rows added up to this: they are looked at again when they add up to something else.
    single: BTreeMap<ShardId, Sums>,
}

impl Splits {
    /// Whether a job has rows to read.
    pub fn has_work(&self) -> bool {
        self.jobs.values().any(|job| matches!(job.stage, Stage::Searching(_) | Stage::Counting(..)))
    }
}

impl Store {
    /// Begins to split what has grown too large, and drops what takes too long.
    pub(super) fn look_for_splits(&mut self, now: Instant) {
        self.splits.not_before.retain(|_, until| *until > now);
        let late = |job: &Job| {
            let waits = !matches!(job.stage, Stage::Searching(_) | Stage::Counting(..));
            waits && now.since(job.since) > PATIENCE
        };
        let late: Vec<_> = self.splits.jobs.iter().filter(|(_, job)| late(job)).map(|(shard, _)| *shard).collect();
        for shard in late {
            self.end_split(shard, Refusal::Unavailable("the split was not done in time".into()));
        }
        for (shard, group) in &self.groups {
            if self.splits.jobs.len() >= JOBS_MAX {
                break;
            }
            let Some(machine) = group.machine().filter(|machine| machine.bytes() > self.config.shard_capacity) else {
                continue;
            };
            let is_single = self.splits.single.get(shard) == Some(&machine.sums());
            let waits = is_single || self.splits.jobs.contains_key(shard) || self.splits.not_before.contains_key(shard);
            if !group.leads() || waits || machine.shard().peer(group.replica()).is_none() {
                continue;
            }
            let (epoch, stage) = (machine.shard().epoch, Stage::Searching(None));
            self.splits.jobs.insert(*shard, Job { epoch, key: None, stage, since: now, ticket: None });
        }
    }

    /// Begins to split a shard at `key` because somebody wants it.
    pub(super) fn split_at(&mut self, ticket: Ticket, shard: ShardId, key: Bytes) -> Result<(), Refusal> {
        let group = &self.groups[&shard];
        let machine = group.machine().ok_or(Refusal::NoSuchShard(shard))?;
        let Shard { range, epoch, peers, .. } = machine.shard();
        if !group.leads() {
            return Err(Refusal::NotLeader(Box::new(route(group).expect("it has a machine"))));
        }
        if key <= range.start {
            return Err(Refusal::Invalid(format!(
                "key: {shard} begins there already, so there is nothing to split off"
            )));
        }
        if self.splits.jobs.contains_key(&shard) {
            return Err(Refusal::Unavailable(format!("{shard} is being split just now")));
        }
        self.early.now.push(Send::AskSplitIds { shard, replicas: peers.len() as u32 });
        let (epoch, since) = (*epoch, self.now);
        let job = Job { epoch, key: Some(key), stage: Stage::Asking, since, ticket: Some(ticket) };
        self.splits.jobs.insert(shard, job);
        Ok(())
    }

    /// Prophet gave ids, or did not.
    pub(super) fn split_ids(&mut self, shard: ShardId, ids: Option<Ids>) {
        let Some(job) = self.splits.jobs.get_mut(&shard).filter(|job| matches!(job.stage, Stage::Asking)) else {
            return;
        };
        let Some(ids) = ids else {
            return self.end_split(shard, Refusal::Unavailable("Prophet gives no ids for a split just now".into()));
        };
        let key = job.key.clone().expect("ids are asked for once the key is known");
        let command = Command::PrepareSplit { version: job.epoch.version, key, shard: ids.0 };
        job.stage = Stage::Preparing(ids);
        self.propose_split(shard, &command);
    }

    fn propose_split(&mut self, shard: ShardId, command: &Command) {
        self.next_token += 1;
        let token = self.next_token;
        let proposed = self.with_group(shard, |group| group.propose(token, command).is_ok()) == Some(true);
        self.touch(shard);
        if proposed {
            self.splits.tokens.insert(token, shard);
        } else {
            self.end_split(shard, Refusal::Unavailable(format!("{shard} takes no proposals just now")));
        }
    }

    /// A proposal ended; says whether it was one of a split.
    pub(super) fn split_outcome(&mut self, token: u64, outcome: &Outcome<Reply>) -> bool {
        let Some(shard) = self.splits.tokens.remove(&token) else { return false };
        let Some(job) = self.splits.jobs.get_mut(&shard) else { return true };
        let stage = std::mem::replace(&mut job.stage, Stage::Asking);
        match (stage, outcome) {
            (Stage::Preparing(ids), Outcome::Applied(Reply::Written)) => {
                (job.stage, job.since) = (Stage::Counting(ids, None), self.now);
            }
            (Stage::Splitting(new), Outcome::Applied(Reply::Changed(_))) => {
                self.heirs.insert(new, Claim::Inherit);
                let ticket = self.splits.jobs.remove(&shard).and_then(|job| job.ticket);
                let reply = DataReply::Written;
                self.early.after.extend(ticket.map(|ticket| Send::Reply { ticket, reply }));
            }
            (_, Outcome::Unknown) => {
                let ticket = self.splits.jobs.remove(&shard).and_then(|job| job.ticket);
                let reply = DataReply::Unknown("leadership was lost before the split was decided".into());
                self.early.after.extend(ticket.map(|ticket| Send::Reply { ticket, reply }));
            }
            _ => self.end_split(shard, Refusal::Unavailable(format!("{shard} changed while it was being split"))),
        }
        true
    }

    fn end_split(&mut self, shard: ShardId, refusal: Refusal) {
        let Some(job) = self.splits.jobs.remove(&shard) else { return };
        self.splits.not_before.insert(shard, self.now + PAUSE);
        // A split that was proposed may still be done.
        let reply = match job.stage {
            Stage::Splitting(_) => DataReply::Unknown("the split was not decided in time".into()),
            _ => DataReply::Refused(refusal),
        };
        self.early.now.extend(job.ticket.map(|ticket| Send::Reply { ticket, reply }));
    }

    /// Reads a slice of rows for the jobs that need some.
    pub(super) fn work_on_splits(&mut self, view: &View, out: &mut StoreReady) -> Result<(), EngineError> {
        let mut budget = Budget::of_bytes(SLICE_BYTES);
        let busy =
            self.splits.jobs.iter().filter(|(_, job)| matches!(job.stage, Stage::Searching(_) | Stage::Counting(..)));
        for shard in busy.map(|(shard, _)| *shard).collect::<Vec<_>>() {
            if budget.is_over() {
                break;
            }
            let is_current =
                self.groups.get(&shard).and_then(|group| Some((group.leads(), group.machine()?.shard().epoch)));
            if is_current != Some((true, self.splits.jobs[&shard].epoch)) {
                self.end_split(shard, Refusal::Unavailable(format!("{shard} changed while it was being split")));
                continue;
            }
            let worked =
                self.search(shard, view, &mut budget, out).and_then(|()| self.count(shard, view, &mut budget, out));
            match worked {
                Err(EngineError::Damaged(why)) => self.quarantine(shard, why),
                other => other?,
            }
        }
        Ok(())
    }

    fn search(
        &mut self,
        shard: ShardId,
        view: &View,
        budget: &mut Budget,
        out: &mut StoreReady,
    ) -> Result<(), EngineError> {
        let group = &self.groups[&shard];
        let machine = group.machine().expect("only a machine is split");
        let half = machine.bytes() / 2;
        let job = self.splits.jobs.get_mut(&shard).expect("listed by the caller");
        let Stage::Searching(scan) = &mut job.stage else { return Ok(()) };
        let scan = scan.get_or_insert_with(|| Scan::new(view, machine.shard().range.clone()));
        match scan.read(budget, |scan| scan.keys > 0 && scan.sums.bytes >= half)? {
            Progress::More => return Ok(()),
            Progress::Over if scan.keys < 2 => {
                self.splits.single.insert(shard, scan.sums);
                self.end_split(shard, Refusal::Unavailable(format!("{shard} has one key and cannot be split")));
                return Ok(());
            }
            Progress::Stopped | Progress::Over => {}
        }
        (job.key, job.stage, job.since) = (Some(scan.last.clone().into()), Stage::Asking, self.now);
        out.now.push(Send::AskSplitIds { shard, replicas: machine.shard().peers.len() as u32 });
        Ok(())
    }

    fn count(
        &mut self,
        shard: ShardId,
        view: &View,
        budget: &mut Budget,
        out: &mut StoreReady,
    ) -> Result<(), EngineError> {
        let Some(job) = self.splits.jobs.get_mut(&shard) else { return Ok(()) };
        let Stage::Counting(ids, scan) = &mut job.stage else { return Ok(()) };
        if scan.is_none() {
            let Some(row) = GroupRow::read(view, shard)? else { return Ok(()) };
            let machine: KvMachine = decode(&row.machine)?;
            // The preparation is in the log, but may not be in this view yet.
            let Some(ours) = machine.preparation().filter(|preparation| preparation.shard == ids.0) else {
                return Ok(());
            };
            let left = KeyRange { start: machine.shard().range.start.clone(), end: ours.key.to_vec() };
            *scan = Some((Scan::new(view, left), ours.changed));
        }
        let (scan, changed) = scan.as_mut().expect("made just now");
        if scan.read(budget, |_| false)? == Progress::More {
            return Ok(());
        }
        let (left, epoch, (new, replicas)) = (scan.sums.minus(*changed), job.epoch, ids.clone());
        (job.stage, job.since) = (Stage::Splitting(new), self.now);
        out.facts.push(Fact::SplitProposed { shard });
        self.propose_split(shard, &Command::Split { epoch, shard: new, replicas, left });
        Ok(())
    }

    /// The replica is no more, or was stopped.
    pub(super) fn forget_split(&mut self, shard: ShardId) {
        self.splits.single.remove(&shard);
        self.end_split(shard, Refusal::Unavailable(format!("the replica of {shard} is gone")));
    }
}
