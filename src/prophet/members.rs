//! How Prophet's group grows: a node asks, becomes a learner, and is promoted once it has caught up.
//!
//! A data folder that asks again gets its old id only while it cannot have voted: as a learner that nothing has
//! reached. A member that comes back without its past is refused; an operator replaces it.

use super::{MetaMachine, Prophet, Send, Ticket, Waiting, meta::Command};
use crate::{
    types::ReplicaId,
    wire::{JoinReply, JoinRequest, MemberInfo},
};

impl Prophet {
    pub(super) fn join(&mut self, ticket: Ticket, request: JoinRequest) {
        let reply = match self.check_join(&request.member) {
            Some(reply) => reply,
            None => match self.propose_member(ticket, request.member) {
                Ok(()) => return,
                Err(why) => JoinReply::Later(why),
            },
        };
        self.early.now.push(Send::JoinReply { ticket, reply });
    }

    fn check_join(&self, member: &MemberInfo) -> Option<JoinReply> {
        let Some(meta) = self.meta().filter(|_| self.group.leads()) else {
            return Some(JoinReply::NotLeader(self.leader_peer()));
        };
        if let Some(known) = meta.member_of(member.node) {
            return Some(if self.group.never_reached(known.id) {
                self.welcome(meta, known.id)
            } else {
                JoinReply::Refused(format!("{} was a member and lost its data; it must be replaced", known.name))
            });
        }
        let members = meta.members();
        let clash = members.iter().find(|known| known.name == member.name || known.peer_address == member.peer_address);
        clash.map(|known| {
            JoinReply::Refused(format!(
                "there is a member {} at {} with another data folder; names and addresses are unique, and a member \
                 that lost its folder must be replaced",
                known.name, known.peer_address
            ))
        })
    }

    fn propose_member(&mut self, ticket: Ticket, member: MemberInfo) -> Result<(), String> {
        if self.ids.is_empty() {
            self.refill_ids();
            return Err("ids are being taken".into());
        }
        let member = MemberInfo { id: ReplicaId(self.ids.start), voter: false, ..member };
        self.next_token += 1;
        self.group
            .propose(self.next_token, &Command::PutMember(member.clone()))
            .map_err(|refused| refused.to_string())?;
        self.ids.start += 1;
        self.waiting.insert(self.next_token, Waiting::Join(ticket, member));
        Ok(())
    }

    pub(super) fn welcome(&self, meta: &MetaMachine, id: ReplicaId) -> JoinReply {
        JoinReply::Joined { cluster: meta.cluster(), id }
    }

    /// One learner at a time: raft-rs takes one membership change at once.
    pub(super) fn promote_members(&mut self) {
        let caught_up = self.group.status().caught_up;
        let Some(meta) = self.meta() else { return };
        let learner = meta.members().into_iter().find(|member| !member.voter && caught_up.contains(&member.id));
        if let Some(learner) = learner {
            self.propose(Waiting::Nobody, &Command::PutMember(MemberInfo { voter: true, ..learner }));
        }
    }

    pub(super) fn member(&self, id: ReplicaId) -> Option<&MemberInfo> {
        let known = self.meta().and_then(|meta| meta.member(id));
        known.or_else(|| self.strangers.get(&id))
    }

    pub(super) fn leader_rpc(&self) -> Option<String> {
        self.member(self.group.status().leader).map(|member| member.rpc_address.clone())
    }

    fn leader_peer(&self) -> Option<String> {
        self.member(self.group.status().leader).map(|member| member.peer_address.clone())
    }
}
