//! A state directory on a disk of its own that somebody else fills. Needs root, to mount one.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use mimecast_collector::simulator::{Account, Answer, Handle, Request, Service, Target};

use super::harness::{Bench, look_until};

const FULL: &str = "disk of the state directory is full";
const ROOM: &str = "has room again";

/// A filesystem in memory; unmounted with the test.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf, mebibytes: u32) -> Self {
        fs::create_dir_all(&at).unwrap();
        let size = format!("size={mebibytes}m,mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at);
        assert!(mount.status().unwrap().success(), "mount needs root");
        Self(at)
    }

    /// Takes all the room that is left.
    fn fill(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        let mut file = File::create(&path).unwrap();
        for block in [vec![b'x'; 1 << 16], vec![b'x'; 1 << 12]] {
            loop {
                match file.write_all(&block) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        path
    }

    fn has_ballast(&self) -> bool {
        self.0.join("ballast").exists()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still hold it.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        drop(unmounted);
    }
}

/// A text without the breaks of its lines.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_empty(folder: &Path) -> bool {
    let mut left = vec![folder.to_path_buf()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                left.push(entry.path());
            } else {
                return false;
            }
        }
    }
    true
}

#[tokio::test]
async fn it_starts_and_drains_on_a_full_disk_and_polls_again_once_there_is_room() {
    let bench = Bench::new().await;
    let disk = Disk::mount(bench.state_dir(), 48);
    bench.configure(&[bench.integration(&Account::v2("two"), "[\"audit\"]")], "");
    let handle = &bench.handle;
    handle.publish("two", "audit", "", 200).unwrap();
    let down = handle.answer(Target::Hec, Answer::html(503));
    let collector = bench.run(600);
    let to_hec = |request: &Request| request.service == Service::Hec;
    let refused = |handle: &Handle| handle.requests().iter().any(to_hec);
    bench.until("a refused delivery", refused).await;
    collector.kill_9();

    let filler = disk.fill("filler");
    handle.publish("two", "audit", "", 200).unwrap();
    let before = bench.requests_of("two").len();
    let collector = bench.run(600);
    collector.logged(&["INFO", "running"]).await;
    collector.logged(&["ERROR", FULL]).await;
    assert!(
        collector.lines(&["is lost"]).is_empty(),
        "{}",
        collector.log()
    );
    let status = bench.ended(&["status"]).await.out;
    let sentence = "the disk of state_dir is full, and polling pauses until it has room";
    assert!(unwrapped(&status).contains(sentence), "{status}");
    handle.clear(down);
    let stored = |handle: &Handle| handle.hec().distinct() >= 200;
    bench.until("what was stored", stored).await;
    let lanes = bench.state_dir().join("lanes");
    look_until("an empty spool", || is_empty(&lanes).then_some(())).await;
    assert_eq!(bench.requests_of("two").len(), before, "it polled");

    fs::remove_file(filler).unwrap();
    bench.until_all_arrived().await;
    look_until("the ballast", || disk.has_ballast().then_some(())).await;
    assert_eq!(collector.lines(&["INFO", ROOM]).len(), 1);
    collector.stop().await;
    assert_eq!(
        (handle.hec().distinct(), handle.hec().duplicates()),
        (400, 0)
    );
    bench.assert_no_violations();
}

#[tokio::test]
async fn a_disk_that_fills_up_ends_no_process_and_loses_nothing() {
    let bench = Bench::new().await;
    let disk = Disk::mount(bench.state_dir(), 48);
    bench.configure(&[bench.integration(&Account::v2("two"), "[\"audit\"]")], "");
    let handle = &bench.handle;
    handle.publish("two", "audit", "", 50).unwrap();
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    for round in 1..=3 {
        // All there is, and then what was held back for this moment.
        let filler = disk.fill("filler");
        handle.publish("two", "audit", "", 50).unwrap();
        let told = || (collector.lines(&["ERROR", FULL]).len() == round).then_some(());
        look_until("word of the full disk", told).await;
        let more = disk.fill("more");
        handle.publish("two", "audit", "", 50).unwrap();
        fs::remove_file(more).unwrap();
        fs::remove_file(filler).unwrap();
        bench.until_all_arrived().await;
        look_until("the ballast", || disk.has_ballast().then_some(())).await;
    }
    collector.stop().await;
    bench.assert_equal_bodies(&[("two", "audit")]);
    bench.assert_no_violations();
}
