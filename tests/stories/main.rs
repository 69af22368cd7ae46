//! Stories on a cluster that is turned by hand: a text file says what happens, and everything that the stores said
//! stands below `---`. `BLESS=1 cargo test --test stories` writes what was said; read the difference before you
//! accept it.

#![allow(clippy::disallowed_methods, reason = "a test reads its stories")]

mod cluster;
#[path = "../support/memory.rs"]
mod memory;

use std::{fs, path::Path};

use cluster::Cluster;

fn tell(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories").join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).unwrap();
    let script = text.split("\n---\n").next().unwrap().trim_end();
    let mut cluster = Cluster::default();
    let mut said = String::new();
    for line in script.lines() {
        said.push_str(&format!("> {line}\n"));
        if !line.starts_with('#') && !line.is_empty() {
            cluster.command(line, &mut said);
        }
    }
    let told = format!("{script}\n---\n{said}");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, told).unwrap();
    } else {
        assert!(told == text, "{name} tells another story; BLESS=1 writes it down\n{told}");
    }
}

macro_rules! stories {
    ($($name:ident)*) => { $(#[test] fn $name() { tell(stringify!($name)); })* };
}

stories! {
    one_write_on_three_replicas
    a_new_replica_starts_from_a_snapshot
    a_learner_that_nothing_reached_keeps_its_leader_awake
    a_replica_that_has_just_come_has_not_been_silent
    a_snapshot_comes_in_chunks
    what_is_written_during_a_snapshot_follows_it
    acknowledgements_that_were_lost_cost_a_chunk
    chunks_that_overtake_each_other
    a_receiver_that_restarts_begins_anew
    an_installation_survives_crashes
    a_leader_cut_off_refuses_reads_and_writes_nothing
    a_proposal_of_a_deposed_leader_is_unknown
    a_restart_applies_nothing_twice
    a_doubled_request_is_proposed_once
    a_wrong_guess_is_corrected
    a_stale_order_is_void
    a_split_needs_no_election
    a_voter_that_never_was_is_born_by_a_candidate
    a_leader_that_inherits_its_own_removal_steps_down
    a_damaged_entry_costs_one_replica
    a_contradiction_costs_one_replica
    an_unreadable_row_waits_to_be_told_which_it_was
    a_damaged_replica_takes_its_installation_along
    an_installation_that_raft_cannot_end_is_not_over
}
