//! A turn: one batch for every shard that moved.

use super::{Send, Store, StoreReady, quarantine::contained_rows};
use crate::{
    engine::{Batch, EngineError},
    raft::{GroupReady, Outgoing},
    shard::{Event, Reply},
    types::{Fact, ShardId},
};

impl Store {
    /// Whether [`Self::ready`] would have something to do.
    pub fn has_work(&self) -> bool {
        !self.dirty.is_empty()
            || !self.births.is_empty()
            || !self.opening.is_empty()
            || !self.dying.is_empty()
            || self.may_sweep()
            || self.splits.has_work()
            || self.sending.has_work(self.config.snapshot_chunks_max)
            || self.receiving.has_work()
            || !self.installing.is_empty()
            || !self.early.now.is_empty()
            || !self.early.after.is_empty()
            || !self.early.facts.is_empty()
    }

    /// What to write and to say. The batch must be committed, then [`Self::advance`] called, before the next input.
    pub fn ready(&mut self, batch: &mut Batch) -> Result<StoreReady, EngineError> {
        assert!(self.turned.is_empty(), "ready before advance");
        self.open_born(batch.view())?;
        // Told before what this turn makes of it.
        let mut out = StoreReady { facts: std::mem::take(&mut self.early.facts), ..StoreReady::default() };
        let view = batch.view().clone();
        self.write_births(batch)?;
        self.work_on_splits(&view, &mut out)?;
        self.work_on_receiving(batch, &mut out)?;
        let installed = self.work_on_installing(batch)?;
        while let Some(shard) = self.dirty.pop_first() {
            self.turn(shard, batch, &mut out)?;
        }
        self.work_on_sending(&mut out)?;
        self.end_installing(installed, batch);
        self.bury(batch, &mut out)?;
        out.now.extend(self.show());
        let early = std::mem::take(&mut self.early);
        out.facts.extend(early.facts);
        out.now.extend(early.now);
        out.after.extend(early.after);
        Ok(out)
    }

    fn turn(&mut self, shard: ShardId, batch: &mut Batch, out: &mut StoreReady) -> Result<(), EngineError> {
        let is_installing = self.installing.contains_key(&shard);
        let Some(group) = self.groups.get_mut(&shard).filter(|_| !is_installing) else { return Ok(()) };
        // Each group has a batch of its own first, so that a bad one can be left out.
        let mut part = Batch::new(batch.view().clone());
        match contained_rows(|| group.has_work().then(|| group.ready(&mut part)).transpose())? {
            Ok(None) => {}
            Ok(Some(ready)) => {
                batch.absorb(part);
                self.turned.push(shard);
                self.say(shard, ready, batch, out)?;
            }
            Err(why) => self.quarantine(shard, why),
        }
        Ok(())
    }

    fn say(
        &mut self,
        shard: ShardId,
        ready: GroupReady<Reply, Event>,
        batch: &mut Batch,
        out: &mut StoreReady,
    ) -> Result<(), EngineError> {
        let (promises, now): (Vec<_>, Vec<_>) = ready.now.into_iter().partition(|outgoing| outgoing.is_snapshot);
        out.now.extend(now.into_iter().map(send));
        out.after.extend(ready.after.into_iter().map(send));
        let mut damage = None;
        for token in ready.reads {
            match self.answer_read(token, batch.view()) {
                Ok(answer) => out.now.extend(answer),
                Err(EngineError::Damaged(why)) => damage = Some(why),
                Err(error) => return Err(error),
            }
        }
        for token in ready.refused_reads {
            out.now.extend(self.answer_refused_read(token));
        }
        for (token, outcome) in ready.outcomes {
            let answer = self.answer_outcome(token, outcome);
            out.after.extend(answer);
        }
        out.facts.extend(ready.facts);
        self.status.touch(shard);
        ready.events.into_iter().try_for_each(|event| self.event(shard, event, batch, out))?;
        // What follows may put the replica out of service. What the turn itself said is in the batch and holds.
        promises.into_iter().for_each(|promise| self.send_snapshot(promise, batch.view()));
        damage.into_iter().for_each(|why| self.quarantine(shard, why));
        Ok(())
    }

    /// What was applied means something to the store itself; it belongs into the same batch.
    fn event(&mut self, id: ShardId, event: Event, batch: &mut Batch, out: &mut StoreReady) -> Result<(), EngineError> {
        match event {
            Event::Described { shard, removed } => {
                self.ranges.set(id, &shard.range);
                let group = &self.groups[&id];
                let is_newest = group.machine().is_some_and(|machine| machine.shard().epoch == shard.epoch);
                let (replica, voters) = (group.replica(), is_newest.then(|| group.voters()));
                out.facts.push(Fact::Described { replica, shard, voters });
                removed.into_iter().for_each(|peer| self.lost_peer(id, peer, out));
                Ok(())
            }
            Event::Split { left, right } => self.split_off(left, right, batch, out),
        }
    }

    /// The batch of the last [`Self::ready`] is committed. Gives what may be sent now.
    pub fn advance(&mut self) -> Vec<Send> {
        let mut sends = Vec::new();
        for shard in std::mem::take(&mut self.turned) {
            let Some((released, has_work)) = self.with_group(shard, |group| (group.advance(), group.has_work())) else {
                continue;
            };
            sends.extend(released.into_iter().map(send));
            if has_work {
                self.dirty.insert(shard);
            }
        }
        sends
    }
}

fn send(outgoing: Outgoing) -> Send {
    Send::Raft { to: outgoing.message.to.store, bulk: outgoing.bulk, message: outgoing.message }
}
