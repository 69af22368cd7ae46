//! The engine on a disk that loses power inside any of its operations, fails, or outlives a killed process.
//!
//! What is held against it, whenever it opens again:
//! - a batch whose commit was Ok is there, unless it may be lost and none that may not was committed after it;
//! - of those that may be lost, and of the one whose commit erred, there are all up to some one of them, each as a whole;
//! - what an engine showed once stays, whatever dies next: the node above acts on what it reads;
//! - it opens: also when it died while it made its file, or while it recovered.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use matrixkv::{
    engine::{Batch, Engine, EngineError, Table},
    env::Disk,
    types::Rng,
};
use matrixkv_sim::env::{SimDisk, Trace, run_seed};

const FOLDER: &str = "/data";
const SEEDS: u64 = 20;
const DEATHS: u64 = 180;

/// Small enough that keys are written over and removed all the time.
const KEYS: u64 = 60;

/// Small ones lie in the journal when death comes; of big ones a few make a checkpoint.
const VALUE_BYTES_MAX: [u64; 2] = [3_000, 60_000];

/// Deaths come in the middle of opening as well as many commits later.
const OPERATIONS_MAX: u64 = 90;

type Rows = BTreeMap<Vec<u8>, Bytes>;

/// How a process dies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Death {
    /// Inside an operation, with the power.
    Power,
    /// By the first error of the disk; the operating system lives on, with what it was given.
    Error,
    /// Between two commits, killed; then the power goes.
    Kill,
}

/// An engine that is killed again and again, and what it must hold.
struct Victim {
    disk: SimDisk,
    dice: Rng,
    value_bytes_max: u64,
    /// What it may hold: what is durable, and that after each batch since.
    states: Vec<Rows>,
    /// Whether the commit of the last one erred.
    is_undecided: bool,
    deaths: BTreeMap<Death, u64>,
    /// How undecided batches ended: absent, there.
    decided: (u64, u64),
    /// Commits that may be lost and were.
    lost: u64,
    opened_dead: u64,
    compacted: u64,
}

impl Victim {
    fn new(seed: u64, trace: Trace) -> Self {
        Victim {
            disk: powered(seed, trace),
            dice: Rng::new(seed),
            value_bytes_max: VALUE_BYTES_MAX[seed as usize % VALUE_BYTES_MAX.len()],
            states: vec![Rows::new()],
            is_undecided: false,
            deaths: BTreeMap::new(),
            decided: (0, 0),
            lost: 0,
            opened_dead: 0,
            compacted: 0,
        }
    }

    /// One life: opens, is checked, commits until it dies.
    fn live(&mut self) {
        let death = [Death::Power, Death::Power, Death::Power, Death::Error, Death::Kill][self.dice.below(5) as usize];
        let operation = self.dice.between(1, OPERATIONS_MAX);
        match death {
            Death::Power => self.disk.arm_crash(operation),
            Death::Error => self.disk.arm_error(operation),
            Death::Kill => {}
        }
        // Often through a compaction, which is a good place to die in.
        let engine = if self.dice.chance(0.4) {
            Engine::open_compact(&self.disk.mount(), &path(), 1).map(|(engine, done)| {
                self.compacted += u64::from(done.is_some());
                engine
            })
        } else {
            Engine::open(&self.disk.mount(), &path())
        };
        match &engine {
            Ok(engine) => {
                self.check(engine);
                self.commit_until_death(engine, death);
            }
            Err(error) => {
                assert!(death != Death::Kill, "nothing stood in the way of opening: {error}");
                self.opened_dead += 1;
            }
        }
        *self.deaths.entry(death).or_default() += 1;
        if death == Death::Error && self.dice.chance(0.5) {
            // It ends in order, with whatever redb writes then.
            drop(engine);
            self.disk.fence();
            self.disk.power_loss();
        } else {
            // The fence comes first: a clean shutdown, which redb writes when dropped, would be too kind.
            self.disk.fence();
            drop(engine);
        }
        if death == Death::Kill {
            self.disk.power_loss();
        }
        self.disk.revive();
    }

    fn commit_until_death(&mut self, engine: &Engine, death: Death) {
        // Often none at all: what a life showed, and did not touch, stays too.
        let commits = if death == Death::Kill { self.dice.below(4) } else { OPERATIONS_MAX };
        for _ in 0..commits {
            let (mut batch, after) = self.batch(engine);
            let may_be_lost = self.dice.chance(0.3);
            if may_be_lost {
                batch.may_be_lost();
            }
            match engine.commit(batch) {
                Ok(()) if may_be_lost => self.states.push(after),
                Ok(()) => self.states = vec![after],
                Err(_) => {
                    assert!(death != Death::Kill, "nothing stood in the way of this commit");
                    self.states.push(after);
                    self.is_undecided = true;
                    let (next, _) = self.batch(engine);
                    assert!(engine.commit(next).is_err(), "it builds upon a commit that failed");
                    return;
                }
            }
        }
        // An error in the shutdown that redb writes when a new file is put down is swallowed there; the sync after it
        // made the file durable all the same.
        assert!(death != Death::Power, "it commits without power");
    }

    /// A batch, and the rows after it.
    fn batch(&mut self, engine: &Engine) -> (Batch, Rows) {
        let mut batch = Batch::new(engine.view().expect("reads meet no fault"));
        let mut after = self.states.last().expect("there is one").clone();
        for _ in 0..self.dice.between(1, 12) {
            let key = self.dice.below(KEYS).to_be_bytes().to_vec();
            if self.dice.chance(0.3) {
                after.remove(&key);
                batch.delete(Table::Data, key);
            } else {
                let byte = self.dice.below(256) as u8;
                let value = Bytes::from(vec![byte; self.dice.below(self.value_bytes_max) as usize]);
                after.insert(key.clone(), value.clone());
                batch.put(Table::Data, key, value);
            }
        }
        (batch, after)
    }

    /// Decides what was undecided: from here on it may not change again.
    fn check(&mut self, engine: &Engine) {
        let found = rows(engine).expect("what opens can be read");
        let states = std::mem::take(&mut self.states);
        let kept = states.iter().rposition(|state| *state == found);
        let kept = kept.expect("the rows are those after no batch that may be the last one");
        let mut lost = (states.len() - 1 - kept) as u64;
        if std::mem::take(&mut self.is_undecided) {
            let is_there = lost == 0;
            self.decided = (self.decided.0 + u64::from(!is_there), self.decided.1 + u64::from(is_there));
            lost = lost.saturating_sub(1);
        }
        self.lost += lost;
        self.states = vec![found];
    }
}

fn path() -> PathBuf {
    Path::new(FOLDER).join("store.redb")
}

fn powered(seed: u64, trace: Trace) -> SimDisk {
    let disk = SimDisk::new(seed, 0, trace);
    disk.mount().create_dir(Path::new(FOLDER)).expect("a new disk works");
    disk
}

fn rows(engine: &Engine) -> Result<Rows, EngineError> {
    let rows = engine.view()?.scan(Table::Data, &[], &[])?;
    rows.collect()
}

fn run(seed: u64) -> (Victim, u64) {
    run_seed(seed, move || async move {
        let trace = Trace::new();
        let mut victim = Victim::new(seed, trace.clone());
        (0..DEATHS).for_each(|_| victim.live());
        let engine = Engine::open(&victim.disk.mount(), &path()).expect("the last life is an easy one");
        victim.check(&engine);
        (victim, trace.hash())
    })
}

#[test]
fn a_commit_is_durable_as_a_whole_or_absent_as_a_whole() {
    let (mut deaths, mut decided, mut opened_dead, mut lost) = (BTreeMap::new(), (0, 0), 0, (0, 0));
    let mut compacted = 0;
    for seed in 0..SEEDS {
        let (victim, _) = run(seed);
        for (death, count) in victim.deaths {
            *deaths.entry(death).or_insert(0) += count;
        }
        decided = (decided.0 + victim.decided.0, decided.1 + victim.decided.1);
        opened_dead += victim.opened_dead;
        compacted += victim.compacted;
        lost = (lost.0 + victim.lost, lost.1 + victim.disk.counters().bytes_lost);
    }
    println!(
        "{deaths:?}; absent, there: {decided:?}; died while opening: {opened_dead}; commits, bytes lost: {lost:?}"
    );
    println!("{compacted} compactions were survived");
    // Without these the test would have asked nothing.
    assert!(decided.0 > 50 && decided.1 > 50 && opened_dead > 50 && lost.0 > 50 && lost.1 > 100_000);
}

#[test]
fn an_engine_that_died_while_it_made_its_file_opens_again() {
    let mut created = 0;
    for seed in 0..8 {
        for operation in 1.. {
            let disk = powered(seed << 32 | operation, Trace::new());
            disk.arm_crash(operation);
            let engine = Engine::open(&disk.mount(), &path());
            let done = engine.is_ok();
            assert_eq!(done, !disk.crashed(), "it opened without the operation that failed");
            disk.fence();
            drop(engine);
            disk.power_loss();
            disk.revive();
            let engine = Engine::open(&disk.mount(), &path()).expect("it opens whatever is left");
            assert_eq!(rows(&engine).expect("it can be read"), Rows::new());
            created += 1;
            if done {
                break;
            }
        }
    }
    println!("{created} creations");
    assert!(created > 8 * 10);
}

/// A file of about two megabytes that is mostly free, and its rows.
fn mostly_free(disk: &SimDisk) -> Rows {
    let engine = Engine::open(&disk.mount(), &path()).expect("nothing stands in the way");
    let change = |keys: std::ops::Range<u64>, value: Option<&Bytes>| {
        let mut batch = Batch::new(engine.view().expect("it can be read"));
        for key in keys.map(|key| key.to_be_bytes().to_vec()) {
            match value {
                Some(value) => batch.put(Table::Data, key, value.clone()),
                None => batch.delete(Table::Data, key),
            }
        }
        engine.commit(batch).expect("nothing stands in the way");
    };
    change(0..500, Some(&Bytes::from(vec![7; 3_000])));
    change(0..470, None);
    rows(&engine).expect("it can be read")
}

/// Opens the file through a compaction with the power cut inside `operation`, then looks at what is left of `before`.
/// Whether all was done before the power went.
fn cut_inside_a_compaction(disk: &SimDisk, operation: u64, before: &Rows) -> bool {
    disk.arm_crash(operation);
    let opened = Engine::open_compact(&disk.mount(), &path(), 1);
    if let Ok((engine, compaction)) = &opened {
        let compaction = compaction.expect("most of it is free");
        assert!(compaction.after < compaction.before / 2, "{compaction:?}");
        assert_eq!(rows(engine).expect("it can be read"), *before);
    }
    let done = opened.is_ok();
    disk.fence();
    drop(opened);
    disk.power_loss();
    disk.revive();
    // What the cut left opens, holds every row, and can be compacted.
    let (engine, _) = Engine::open_compact(&disk.mount(), &path(), 1).expect("it opens whatever is left");
    assert_eq!(rows(&engine).expect("it can be read"), *before, "after a cut at operation {operation}");
    done
}

#[test]
fn a_power_cut_inside_a_compaction_loses_nothing() {
    let (mut cuts, mut lost) = (0, 0);
    for seed in 0..8 {
        for operation in 1.. {
            let disk = powered(seed << 32 | operation, Trace::new());
            let before = mostly_free(&disk);
            let done = cut_inside_a_compaction(&disk, operation, &before);
            lost += disk.counters().bytes_lost;
            if done {
                break;
            }
            cuts += 1;
        }
    }
    println!("{cuts} cuts, {lost} bytes lost");
    assert!(cuts > 8 * 40 && lost > 1_000_000);
}

/// A batch of one row that may be lost.
fn commit_lightly(engine: &Engine, key: &str, value: &Bytes) {
    let mut batch = Batch::new(engine.view().expect("it can be read"));
    batch.put(Table::Data, key.into(), value.clone());
    batch.may_be_lost();
    engine.commit(batch).expect("nothing stands in the way");
}

/// Seen to fail when a life begins with the number and the seed that the one before began with.
#[test]
fn lives_that_begin_alike_do_not_mix() {
    let mut lost_the_first = 0;
    for seed in 0..400 {
        let disk = powered(seed, Trace::new());
        let open = || Engine::open(&disk.mount(), &path()).expect("nothing stands in the way");
        let die = |engine: Engine| {
            disk.fence();
            drop(engine);
        };
        let engine = open();
        // Longer than a sector, so that a power cut may take where it begins and leave where the next ones are.
        let alike = Bytes::from(vec![7; 700]);
        commit_lightly(&engine, "alike", &alike);
        (0..4).for_each(|n| commit_lightly(&engine, "of the first life", &Bytes::from(vec![n; 10])));
        die(engine);
        disk.power_loss();
        disk.revive();
        let engine = open();
        let mut expected = rows(&engine).expect("it can be read");
        lost_the_first += u64::from(expected.is_empty());
        commit_lightly(&engine, "alike", &alike);
        expected.insert("alike".into(), alike);
        die(engine);
        disk.revive();
        assert!(rows(&open()).expect("it can be read") == expected, "seed {seed}: rows of the first life are back");
    }
    println!("{lost_the_first} times the first life left nothing");
    assert!(lost_the_first > 100);
}

#[test]
fn the_same_seed_dies_the_same_deaths() {
    assert_eq!(run(1).1, run(1).1);
    assert_ne!(run(1).1, run(2).1);
}
