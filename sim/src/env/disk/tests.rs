use std::path::PathBuf;

use madsim::time::{Instant, sleep, timeout};
use matrixkv::env::File;

use super::*;
use crate::env::run_seed;

fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed, 0, Trace::new());
    disk.mount().create_dir(Path::new("/data")).unwrap();
    disk
}

fn path(name: &str) -> PathBuf {
    Path::new("/data").join(name)
}

fn bytes(disk: &SimDisk, name: &str) -> Vec<u8> {
    let file = disk.mount().open(&path(name)).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_killed_process_loses_nothing_and_writes_nothing_more() {
    let disk = disk(1);
    let file = disk.mount().create(&path("a")).unwrap();
    file.write_at(0, b"given to the system").unwrap();
    disk.fence();
    assert!(file.write_at(0, b"from a destructor").is_err() && file.sync().is_err() && file.len().is_err());
    disk.revive();
    assert!(file.write_at(0, b"from a destructor").is_err());
    assert_eq!(bytes(&disk, "a"), b"given to the system");
}

#[test]
fn names_are_durable_after_sync_dir_only() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..100 {
        let disk = disk(seed);
        let mounted = disk.mount();
        let file = mounted.create(&path("old")).unwrap();
        file.write_at(0, b"x").unwrap();
        file.sync().unwrap();
        mounted.sync_dir(Path::new("/data")).unwrap();
        mounted.rename(&path("old"), &path("new")).unwrap();
        assert_eq!(mounted.list(Path::new("/data")).unwrap(), ["new"]);
        disk.power_loss();
        disk.revive();
        match &disk.mount().list(Path::new("/data")).unwrap()[..] {
            [name] if name == "new" => kept += 1,
            [name] if name == "old" => lost += 1,
            names => panic!("a rename is atomic: {names:?}"),
        }
        assert_eq!(bytes(&disk, if disk.mount().open(&path("new")).is_ok() { "new" } else { "old" }), b"x");
    }
    assert!(lost > 20 && kept > 20, "lost {lost}, kept {kept}");
}

#[test]
fn an_armed_crash_fences_at_its_operation() {
    let (mut torn, mut whole) = (0, 0);
    for seed in 0..50 {
        let disk = disk(seed);
        let mounted = disk.mount();
        let file = mounted.create(&path("a")).unwrap();
        mounted.sync_dir(Path::new("/data")).unwrap();
        file.write_at(0, &[1; 4096]).unwrap();
        file.sync().unwrap();
        disk.arm_crash(2);
        file.write_at(0, &[2; 2048]).unwrap();
        assert!(!disk.crashed());
        assert!(file.write_at(2048, &[3; 2048]).is_err());
        assert!(disk.crashed() && file.read_at(0, &mut [0]).is_err() && mounted.open(&path("a")).is_err());
        disk.revive();
        assert!(!disk.crashed() && file.len().is_err());
        let now = bytes(&disk, "a");
        assert!(now[..2048].iter().all(|byte| [1, 2].contains(byte)));
        assert!(now[2048..].iter().all(|byte| [1, 3].contains(byte)));
        if now.contains(&1) && (now.contains(&2) || now.contains(&3)) { torn += 1 } else { whole += 1 }
    }
    assert!(torn > 5 && whole > 5, "torn {torn}, whole {whole}");
}

#[test]
fn an_error_comes_once_and_a_full_disk_refuses() {
    let disk = disk(1);
    let file = disk.mount().create(&path("a")).unwrap();
    disk.arm_error(1);
    assert!(file.sync().is_err());
    file.sync().unwrap();
    disk.set_capacity(3 * 4096);
    assert_eq!(file.write_at(0, &[0; 3 * 4096 + 1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.write_at(0, &[0; 600]).unwrap();
    let free = || disk.mount().space(Path::new("/data")).unwrap().available;
    assert_eq!(free(), 2 * 4096);
    // What is lengthened has a hole, until it is written.
    file.set_len(100 * 4096).unwrap();
    assert_eq!(free(), 2 * 4096);
    file.write_at(50 * 4096, &[0; 4096]).unwrap();
    file.write_at(10, &[0; 600]).unwrap();
    assert_eq!(free(), 4096);
    assert_eq!(file.write_at(99 * 4096 - 1, &[0; 2]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.set_len(600).unwrap();
    assert_eq!(free(), 2 * 4096);
    assert!(disk.flip_bit("a", None) && !disk.flip_bit("b", None));
    assert_eq!(bytes(&disk, "a").iter().filter(|byte| **byte != 0).count(), 1);
}

#[test]
fn a_lock_is_held_by_one_process_while_it_lives() {
    let disk = disk(1);
    let mounted = disk.mount();
    let held = mounted.lock(&path("lock")).unwrap();
    assert_eq!(mounted.lock(&path("lock")).err().unwrap().kind(), io::ErrorKind::WouldBlock);
    disk.revive();
    let next = disk.mount().lock(&path("lock")).unwrap();
    drop(held);
    assert!(disk.mount().lock(&path("lock")).is_err());
    drop(next);
    disk.mount().lock(&path("lock")).unwrap();
}

#[test]
fn offloaded_work_takes_the_time_of_its_syncs_and_stalls() {
    run_seed(1, || async {
        let disk = disk(1);
        disk.set_latency(Duration::from_millis(3), Duration::from_millis(3));
        let mounted = disk.mount();
        let file = Arc::new(mounted.create(&path("a")).unwrap());
        let twice = |file: Arc<SimFile>| move || (file.sync().unwrap(), file.sync().unwrap());
        let took = Instant::now();
        mounted.offload(twice(file.clone())).await;
        assert_eq!(took.elapsed().as_millis(), 6);
        disk.stall_for(Duration::from_secs(2));
        let took = Instant::now();
        mounted.offload(|| ()).await;
        assert_eq!(took.elapsed().as_secs(), 2);
        disk.arm_crash(1);
        let dead = mounted.offload(move || file.sync());
        assert!(timeout(Duration::from_secs(60), dead).await.is_err(), "a machine without power runs on");
    });
}

/// A pause of ten seconds, and a stall that begins so long after it (just before it, if at once) and lasts so long. Whether the process may give up its disk
/// when it goes on.
async fn may_give_up_after_a_pause(stall_after: Duration, lasts: Duration) -> bool {
    let disk = disk(1);
    let stall = || disk.stall_for(lasts);
    sleep(Duration::from_secs(1)).await;
    let began_before = stall_after.is_zero();
    began_before.then(stall);
    sleep(Duration::from_millis(1)).await;
    let paused_at = Duration::from_nanos(disk.machine().now());
    sleep(stall_after).await;
    (!began_before).then(stall);
    sleep(Duration::from_secs(10) - stall_after).await;
    disk.resume(paused_at);
    disk.stall().is_some()
}

/// Seen to fail when whatever stall a pause saw the end of counts.
#[test]
fn only_a_stall_from_before_a_pause_is_seen_at_its_end() {
    run_seed(1, || async {
        let secs = Duration::from_secs;
        assert!(may_give_up_after_a_pause(secs(0), secs(2)).await, "it began before and ended meanwhile");
        assert!(may_give_up_after_a_pause(secs(0), secs(30)).await, "it began before and lasts");
        assert!(may_give_up_after_a_pause(secs(5), secs(30)).await, "it lasts");
        assert!(!may_give_up_after_a_pause(secs(5), secs(2)).await, "it came and went in the pause");
    });
}
