//! One replica of one raft group, turned by hand.

mod apply;
mod quiet;
mod rounds;
mod snapshot;
mod turn;

pub use snapshot::SnapshotUse;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use protobuf::Message as _;
use raft::{
    RawNode, StateRole,
    eraftpb::{
        ConfChange, ConfChangeType, ConfState, Entry, EntryType, Message, MessageType, Snapshot, SnapshotMetadata,
    },
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    FIRST_INDEX, GroupConfig, GroupRow, Machine, MemberChange, Outcome, Refused,
    log::Log,
    pending::{Proposals, Reads, Token},
};
use crate::{
    engine::{Batch, EngineError, Table, View, group_key},
    planted::{Bug, planted},
    types::{Boot, Epoch, Fact, Instant, Peer, PeerRole, ReplicaId, Rng, ShardId, StoreId},
    wire::{RaftMessage, decode, encode},
};

/// A message larger than this goes over the bulk channel, so that it does not hold up heartbeats. Bytes.
const BULK_BYTES: usize = 256 << 10;
/// Bytes of committed entries that are applied in one turn, about.
const APPLY_BYTES_MAX: u64 = 8 << 20;
/// Bytes of entries that a leader may have uncommitted; more proposals are refused as overload.
const UNCOMMITTED_BYTES_MAX: u64 = 256 << 20;
/// Peers outside of the descriptor that are remembered.
const STRANGERS_MAX: usize = 64;
/// Election time-outs without progress after which a snapshot is held lost and sent again.
const SNAPSHOT_ELECTIONS: usize = 4;

/// A raft message and how to send it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// The message, with both ends.
    pub message: RaftMessage,
    /// Whether it is for the bulk channel.
    pub bulk: bool,
    /// Whether it promises a snapshot: rows of the view of this turn belong to it.
    pub is_snapshot: bool,
}

/// What a turn of a group gives. Everything but `now` and `reads` waits until the batch is committed, which is durable
/// unless the batch [may be lost](Batch::may_be_lost).
#[derive(Debug)]
pub struct GroupReady<R, E> {
    /// Messages to send at once.
    pub now: Vec<Outgoing>,
    /// Messages to send once the batch is committed.
    pub after: Vec<Outgoing>,
    /// Proposals that ended, to be told once the batch is committed.
    pub outcomes: Vec<(Token, Outcome<R>)>,
    /// Reads that may be done now, on the batch's view.
    pub reads: Vec<Token>,
    /// Reads that will not be done.
    pub refused_reads: Vec<Token>,
    /// What this means to whoever holds the replica; it belongs into the same batch.
    pub events: Vec<E>,
    /// What happened.
    pub facts: Vec<Fact>,
}

impl<R, E> Default for GroupReady<R, E> {
    fn default() -> Self {
        Self {
            now: Vec::new(),
            after: Vec::new(),
            outcomes: Vec::new(),
            reads: Vec::new(),
            refused_reads: Vec::new(),
            events: Vec::new(),
            facts: Vec::new(),
        }
    }
}

/// What a group looks like from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether this replica leads.
    pub leads: bool,
    /// Its term.
    pub term: u64,
    /// Who leads, as far as known.
    pub leader: ReplicaId,
    /// Last applied index.
    pub applied: u64,
    /// On a leader: replicas that lack no more than the kept log, have been heard of lately, and answer in time.
    pub caught_up: Vec<ReplicaId>,
    /// On a leader: replicas that have not been heard from within an election time-out, and for how long. Counted from
    /// this leader's election at the earliest.
    pub silent: Vec<(ReplicaId, Duration)>,
}

/// One replica of a raft group and the machine that its log drives.
pub struct Group<M: Machine> {
    shard: ShardId,
    boot: Boot,
    config: GroupConfig,
    raft: RawNode<Log>,
    row: GroupRow,
    machine: Option<M>,
    rng: Rng,
    election_ticks: usize,
    seen: (u64, StateRole),
    proposals: Proposals,
    reads: Reads,
    /// Committed entries that raft-rs gave after the last advance.
    committed: Vec<Entry>,
    outstanding: Option<raft::Ready>,
    /// Outcomes and facts that arose while stepping.
    early: GroupReady<M::Reply, M::Event>,
    /// Where messages came from: how a replica without data answers.
    heard: BTreeMap<ReplicaId, Peer>,
    /// Snapshot messages that are to be filled from the next view.
    promised: Vec<Message>,
    /// Ticks since more of a snapshot has arrived at a follower that needs one.
    snapshot_ticks: BTreeMap<u64, usize>,
    /// On a leader: followers that are being sent a snapshot, or were, and the tick until which the log since then is theirs.
    recovering: BTreeMap<u64, u64>,
    /// Ticks since this group was opened.
    ticks: u64,
    /// On a leader: the tick at which each replica was heard last.
    heard_at: BTreeMap<u64, u64>,
    /// On a leader: how long each replica took for its last answer to a round of heartbeats.
    rounds: BTreeMap<u64, Duration>,
    /// When a round was asked for last.
    round_at: Instant,
    /// It led, and gave up, and nobody was told yet.
    gave_up: bool,
    /// The time of the last tick, if there was one.
    now: Option<Instant>,
    /// Whether this replica stands still, see [`Self::is_quiet`].
    quiet: bool,
    /// The heartbeats that say so are still to be taken from raft-rs.
    quieting: bool,
    /// Replicas whose stores were lost when it went quiet last: their silence goes on.
    absent: BTreeSet<u64>,
    /// Since which tick there has been nothing to do.
    idle_since: u64,
    /// The tick at which this replica began to lead, or last knew a leader.
    led_at: u64,
}

impl<M: Machine> Group<M> {
    /// Puts the first replica of a new group into `batch`: truncated log, durable membership, `machine` as its data.
    pub fn write_first(
        shard: ShardId,
        replica: ReplicaId,
        peers: &[Peer],
        machine: &M,
        batch: &mut Batch,
    ) -> Result<(), EngineError> {
        GroupRow::first(replica, peers, machine.row()).write(shard, batch);
        Log::write_first(shard, batch)
    }

    /// Puts a replica that waits for a snapshot into `batch`; `born` is the `conf_ver` of whoever counts on it.
    pub fn write_uninitialised(shard: ShardId, replica: ReplicaId, born: u64, batch: &mut Batch) {
        GroupRow::uninitialised(replica, born).write(shard, batch);
    }

    /// Removes log, hard state and row of this replica. The machine's data are its holder's to remove.
    pub fn erase(&self, batch: &mut Batch) {
        self.raft.store().erase(batch);
        batch.delete(Table::Group, group_key(self.shard));
    }

    /// As [`Self::erase`], of a replica that cannot be opened.
    pub fn erase_unopened(shard: ShardId, batch: &mut Batch) -> Result<(), EngineError> {
        Log::erase_unopened(shard, batch)?;
        batch.delete(Table::Group, group_key(shard));
        Ok(())
    }

    /// The membership that counted on this replica first.
    pub fn born(&self) -> u64 {
        self.row.born
    }

    /// The newest membership that is known to have this replica: what removes it must be newer.
    pub fn conf_ver(&self) -> u64 {
        self.machine.as_ref().map_or(self.row.born, |machine| machine.epoch().conf_ver.max(self.row.born))
    }

    /// For how long no leader has been known here.
    pub fn leaderless(&self) -> Duration {
        if self.leads() || self.raft.raft.leader_id != 0 {
            return Duration::ZERO;
        }
        self.config.tick * (self.ticks - self.led_at) as u32
    }

    /// Starts an election now instead of after a time-out.
    pub fn campaign(&mut self) {
        // raft-rs refuses only while a membership change is unapplied; the next time-out tries again.
        let _ = self.raft.campaign();
        self.settle();
    }

    /// Leads a new group from its first term on, without an election. Only the replica beside the one whose own proposal made
    /// the group may do so, and only in the life that proposed it: then there is one such replica, so that the first term has
    /// one leader (Raft, section 5.2), and nobody else can win it, since whoever campaigns does so in a later term. Nothing is
    /// committed before it. Where a later term was heard of already, it campaigns.
    pub fn inherit(&mut self) {
        let is_voter = self.row.voters.contains(&self.row.replica.0);
        let raft = &mut self.raft.raft;
        let is_first = raft.term == FIRST_INDEX && raft.vote == 0 && raft.raft_log.last_index() == FIRST_INDEX;
        if !is_first || !is_voter || raft.state != StateRole::Follower {
            return self.campaign();
        }
        raft.state = StateRole::Candidate;
        raft.become_leader();
        raft.bcast_append();
        self.settle();
    }

    /// Hands leadership to `replica`, a voter.
    pub fn transfer(&mut self, replica: ReplicaId) {
        if self.leads() && self.row.voters.contains(&replica.0) {
            self.wake();
            self.raft.transfer_leader(replica.0);
        }
    }

    /// Opens the replica of `shard` that is in `view`.
    pub fn open(
        shard: ShardId,
        boot: Boot,
        config: GroupConfig,
        mut rng: Rng,
        view: &View,
    ) -> Result<Group<M>, EngineError> {
        let row =
            GroupRow::read(view, shard)?.ok_or_else(|| EngineError::Damaged(format!("{shard}: its row is missing")))?;
        let machine = if row.is_initialised() { Some(M::open(&row.machine, view)?) } else { None };
        let mut row = row;
        if planted(Bug::ApplyTwice) && row.applied > row.truncated {
            row.applied -= 1;
        }
        let log = Log::open(shard, &row, view)?;
        let raft = RawNode::new(&raft_config(&config, &row), log, &slog::Logger::root(slog::Discard, slog::o!()))
            .map_err(|error| EngineError::Damaged(format!("{shard}: {error}")))?;
        let election_ticks = draw(&mut rng, config.election_ticks);
        let seen = (raft.raft.term, raft.raft.state);
        let mut early = GroupReady::default();
        let (replica, index, rolling) = (row.replica, row.applied, row.rolling);
        let (term, vote) = raft.store().vote();
        early.facts.push(Fact::Opened { shard, replica, index, rolling, term, vote });
        Ok(Group {
            shard,
            boot,
            config,
            raft,
            row,
            machine,
            rng,
            election_ticks,
            seen,
            proposals: Proposals::default(),
            reads: Reads::default(),
            committed: Vec::new(),
            outstanding: None,
            early,
            heard: BTreeMap::new(),
            promised: Vec::new(),
            snapshot_ticks: BTreeMap::new(),
            ticks: 0,
            heard_at: BTreeMap::new(),
            recovering: BTreeMap::new(),
            rounds: BTreeMap::new(),
            gave_up: false,
            round_at: Instant::default(),
            now: None,
            led_at: 0,
            quiet: false,
            quieting: false,
            absent: BTreeSet::new(),
            idle_since: 0,
        })
    }

    /// This replica's id.
    pub fn replica(&self) -> ReplicaId {
        self.row.replica
    }

    /// The machine, once there is data.
    pub fn machine(&self) -> Option<&M> {
        self.machine.as_ref()
    }

    /// Those whose votes count, by their ids.
    pub fn voters(&self) -> Vec<ReplicaId> {
        let mut voters: Vec<_> = self.row.voters.iter().copied().map(ReplicaId).collect();
        voters.sort();
        voters
    }

    /// Who leads, as far as known, and in which term.
    pub fn leadership(&self) -> (ReplicaId, u64) {
        (ReplicaId(self.raft.raft.leader_id), self.raft.raft.term)
    }

    /// Whether this replica leads.
    pub fn leads(&self) -> bool {
        self.raft.raft.state == StateRole::Leader
    }

    /// A look from outside.
    pub fn status(&self) -> Status {
        let raft = &self.raft.raft;
        let mut status = Status {
            leads: self.leads(),
            term: raft.term,
            leader: ReplicaId(raft.leader_id),
            applied: self.row.applied,
            caught_up: Vec::new(),
            silent: Vec::new(),
        };
        if status.leads {
            let last = raft.raft_log.last_index();
            let kept_from = self.kept_behind(last, 1).max(self.raft.store().truncated());
            let ids: std::collections::BTreeSet<u64> = raft.prs().iter().map(|(id, _)| *id).collect();
            for id in ids {
                let progress = raft.prs().get(id).expect("listed just now");
                let (silent, is_silent) = (self.silence(id), self.is_silent(id));
                let is_near = progress.matched >= kept_from && progress.state != raft::ProgressState::Snapshot;
                if id == raft.id || is_near && !is_silent && !self.is_slow(id) {
                    status.caught_up.push(ReplicaId(id));
                } else if is_silent {
                    status.silent.push((ReplicaId(id), self.config.tick * silent as u32));
                }
            }
        }
        status
    }

    /// Whether the membership knows `replica` and has never got anything to it. Only a leader can say.
    pub fn never_reached(&self, replica: ReplicaId) -> bool {
        self.leads()
            && self.row.learners.contains(&replica.0)
            && self.raft.raft.prs().get(replica.0).is_some_and(|progress| progress.matched == 0)
    }

    /// Starts an election at once, for a group that has no other voter to wait for.
    pub fn campaign_alone(&mut self) {
        if self.row.voters == [self.row.replica.0] {
            // raft-rs refuses only while a membership change is unapplied; the next time-out tries again.
            let _ = self.raft.campaign();
            self.settle();
        }
    }

    /// Hands leadership to the voter that lacks least, if another one has caught up.
    pub fn hand_over(&mut self) {
        if !self.leads() {
            return;
        }
        let own = self.raft.raft.id;
        let others = self.row.voters.iter().filter(|id| **id != own && !self.is_slow(**id));
        let progress = |id: &u64| self.raft.raft.prs().get(*id).filter(|p| p.recent_active).map(|p| p.matched);
        if let Some((_, best)) = others.filter_map(|id| Some((progress(id)?, *id))).max() {
            self.wake();
            self.raft.transfer_leader(best);
        }
    }

    /// The clock advanced by a tick. `ticks` counts those of the store, since a quiet group misses some;
    /// `lost` are stores that are not heard of.
    pub fn tick(&mut self, now: Instant, ticks: u64, lost: &BTreeSet<StoreId>) {
        self.ticks = ticks;
        if self.now.replace(now).is_none() {
            self.reads.count_anew(now);
        }
        if self.quiet {
            return;
        }
        // raft-rs draws its own time-out whenever it resets; ours is set over it before it can be looked at.
        self.raft.raft.set_randomized_election_timeout(self.election_ticks);
        self.raft.tick();
        if !self.leads() && self.raft.raft.leader_id != 0 {
            self.led_at = self.ticks;
        }
        self.retry_snapshots();
        self.count_rounds();
        self.settle();
        self.may_go_quiet(lost);
    }

    /// A message from a peer. Those that raft-rs mishandles are dropped, see the module's facts.
    pub fn step(&mut self, message: RaftMessage) {
        let Ok(inner) = Message::parse_from_bytes(&message.message) else { return };
        if inner.to != self.row.replica.0 || inner.from != message.from.replica.0 || self.is_harmful(&inner) {
            return;
        }
        self.hear(message.from);
        let kind = inner.get_msg_type();
        let is_hush = message.quiet.is_some() && (kind == MessageType::MsgHeartbeat || self.quiet);
        match kind {
            _ if is_hush => {}
            // What groups say when there is nothing to say.
            MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse => self.tick_again(),
            _ => self.wake(),
        }
        self.measure_round(&inner);
        // An error means that raft-rs has no use for the message (from a replica that is no member, say).
        let _ = self.raft.step(inner);
        if let Some(last) = message.quiet.filter(|_| kind == MessageType::MsgHeartbeat) {
            self.follow_quiet(message.from.replica, last);
        }
        self.settle();
    }

    /// Peers that the descriptor does not have yet are remembered: whoever leads may have joined after it.
    fn hear(&mut self, from: Peer) {
        self.heard_at.insert(from.replica.0, self.ticks);
        let is_known = self.machine.as_ref().is_some_and(|machine| machine.peer(from.replica).is_some());
        if !is_known {
            while self.heard.len() >= STRANGERS_MAX {
                self.heard.pop_first();
            }
            self.heard.insert(from.replica, from);
        }
    }

    fn is_harmful(&self, message: &Message) -> bool {
        match message.get_msg_type() {
            // raft-rs forwards proposals and reads silently; ours are refused where they are made.
            MessageType::MsgPropose | MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => true,
            // A late rejection below what matched would move the next index behind it (raft-rs #557).
            MessageType::MsgAppendResponse => {
                let progress = self.raft.raft.prs().get(message.from);
                message.reject && progress.is_some_and(|progress| message.reject_hint < progress.matched)
            }
            other => raft::raw_node::is_local_msg(other),
        }
    }

    /// A peer's store cannot be reached: probe it instead of streaming.
    pub fn unreachable(&mut self, replica: ReplicaId) {
        self.raft.report_unreachable(replica.0);
    }

    /// Takes a command. Its outcome comes under `token`.
    pub fn propose(&mut self, token: Token, command: &M::Command) -> Result<(), Refused> {
        // Also where it is refused: whoever asks a follower does not know the leader, which may be no more.
        self.wake();
        if !self.leads() {
            return Err(Refused::NotLeader);
        }
        if self.raft.raft.lead_transferee.is_some() {
            return Err(Refused::Transferring);
        }
        if self.proposals.len() >= self.config.proposals_max {
            return Err(Refused::Overloaded);
        }
        let encoded = encode(command);
        if encoded.len() as u64 > self.config.max_entry_bytes {
            return Err(Refused::TooLarge);
        }
        match M::membership(command) {
            Some(change) => self.propose_membership(token, change, encoded),
            None => {
                self.proposals.queued.push((token, encoded));
                Ok(())
            }
        }
    }

    fn propose_membership(&mut self, token: Token, change: MemberChange, encoded: Vec<u8>) -> Result<(), Refused> {
        // With a change under way raft-rs would append an empty entry, which looks like success.
        if self.raft.raft.has_pending_conf() {
            return Err(Refused::ChangePending);
        }
        let (change_type, replica) = match change {
            MemberChange::Put(peer) if peer.role == PeerRole::Voter || planted(Bug::PhantomVoter) => {
                (ConfChangeType::AddNode, peer.replica)
            }
            MemberChange::Put(peer) => (ConfChangeType::AddLearnerNode, peer.replica),
            MemberChange::Remove(replica) if replica == self.row.replica => return Err(Refused::IsLeader),
            MemberChange::Remove(replica) => (ConfChangeType::RemoveNode, replica),
        };
        let change = ConfChange { change_type, node_id: replica.0, ..Default::default() };
        let context = encode(&vec![Bytes::from(encoded)]);
        self.flush_proposals();
        self.raft.propose_conf_change(context, change).map_err(|_| Refused::Overloaded)?;
        self.appended(vec![token]);
        Ok(())
    }

    /// Takes a read: it comes out of a later [`Self::ready`], when it may be done.
    pub fn read(&mut self, token: Token) -> Result<(), Refused> {
        self.wake();
        if !self.leads() {
            return Err(Refused::NotLeader);
        }
        if self.reads.len() >= self.config.reads_max {
            return Err(Refused::Overloaded);
        }
        self.reads.queued.push(token);
        Ok(())
    }

    /// Only where a bug is planted: takes a read that asks nobody.
    pub fn read_as_it_is(&mut self, token: Token) {
        self.early.reads.push(token);
    }
}

fn raft_config(config: &GroupConfig, row: &GroupRow) -> raft::Config {
    raft::Config {
        id: row.replica.0,
        election_tick: config.election_ticks,
        heartbeat_tick: config.heartbeat_ticks,
        applied: row.applied,
        max_size_per_msg: config.max_size_per_msg,
        max_inflight_msgs: config.max_inflight_msgs,
        check_quorum: true,
        pre_vote: true,
        max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
        max_committed_size_per_ready: APPLY_BYTES_MAX,
        ..Default::default()
    }
}

pub(super) fn draw(rng: &mut Rng, election_ticks: usize) -> usize {
    rng.between(election_ticks as u64, 2 * election_ticks as u64 - 1) as usize
}
