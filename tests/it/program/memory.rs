//! Flat memory, by what the kernel says that the process had at its height.

use std::fs;
use std::path::Path;

use mimecast_collector::simulator::{Account, Keep, Options, Publication};

use super::harness::{Bench, Program};

const MIB: usize = 1 << 20;
/// For one file, however large.
const PEAK_OF_A_FILE: usize = 64 * MIB;
/// For whatever else a page may hold.
const PEAK: usize = 128 * MIB;
/// A record of the large file.
const RECORD: usize = 64 << 10;

/// MiB of the large file, inflated; `.ci/full` asks for more.
fn large_file() -> usize {
    #[expect(
        clippy::disallowed_methods,
        reason = "how much is tried is no part of the program"
    )]
    let wanted = std::env::var("LARGE_FILE_MIB");
    wanted.map_or(400, |wanted| wanted.parse().unwrap())
}

/// The most bytes that a process ever had in memory.
fn peak(program: &Program) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let words: Vec<&str> = line.unwrap().split_whitespace().collect();
    assert_eq!(words.last(), Some(&"kB"), "{words:?}");
    words.get(1).unwrap().parse::<usize>().unwrap() << 10
}

/// Waits until so many events have arrived, however long it takes while they keep coming.
async fn until_arrived(bench: &Bench, events: u64) {
    let mut arrived = 0;
    while arrived < events {
        bench
            .until("further events", |handle| handle.hec().distinct() > arrived)
            .await;
        arrived = bench.handle.hec().distinct();
    }
}

async fn bench() -> Bench {
    let bench = Bench::with(Options {
        hec_keeps: Keep::Counts,
        ..Options::default()
    })
    .await;
    let integration = bench.integration(&Account::v2("two"), "[\"siem-cg\"]");
    bench.configure(&[integration], "");
    bench
}

fn lines_below(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            lines.extend(lines_below(&entry.path()));
        } else {
            let text = fs::read_to_string(entry.path()).unwrap();
            lines.extend(text.lines().map(str::to_owned));
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_hundreds_of_megabytes_goes_through_in_64_mib() {
    let bench = bench().await;
    let count = large_file() * MIB / RECORD;
    let mut file = Publication::new("two", "siem-cg", "receipt", count);
    file.per_file = Some(count);
    file.padding = RECORD;
    bench.handle.publish_as(&file).unwrap();
    let collector = bench.run(60);
    until_arrived(&bench, count as u64).await;
    let peak = peak(&collector);
    println!("{} MiB in one file: peak {} KiB", large_file(), peak >> 10);
    collector.stop().await;
    assert_eq!(bench.handle.hec().duplicates(), 0);
    assert!(peak < PEAK_OF_A_FILE, "{} KiB at the height", peak >> 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_hundred_files_and_a_bomb_of_lines_of_50_mib_stay_within_128_mib() {
    const LONG: usize = 8;
    let bench = bench().await;
    let publish = |count, per_file, padding| {
        let mut files = Publication::new("two", "siem-cg", "receipt", count);
        files.per_file = Some(per_file);
        files.padding = padding;
        bench.handle.publish_as(&files).unwrap();
    };
    publish(49 * 20, 20, 0);
    // Inflates a thousand times over.
    publish(LONG, LONG, 50 * MIB);
    publish(50 * 20, 20, 0);
    let collector = bench.run(60);
    until_arrived(&bench, 99 * 20).await;
    let peak = peak(&collector);
    println!("a page of a hundred files: peak {} KiB", peak >> 10);
    collector.stop().await;
    assert_eq!(bench.handle.hec().distinct(), 99 * 20);
    assert_eq!(bench.handle.hec().duplicates(), 0);
    let aside = lines_below(&bench.state_dir().join("quarantine"));
    let long = aside
        .iter()
        .filter(|line| line.contains("longer than 1 MiB"));
    assert_eq!((long.count(), aside.len()), (LONG, LONG));
    assert!(peak < PEAK, "{} KiB at the height", peak >> 10);
}
