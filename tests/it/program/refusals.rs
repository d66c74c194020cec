//! A system that refuses: a file system that is read-only or breaks under the running program, a folder without permission, no descriptor
//! left. Each is a clear state that passes, or a clear exit code; and whatever it was, nothing is lost. Needs root, loop devices, python3.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use mimecast_collector::simulator::{Account, Handle};

use super::harness::{Bench, Program, look_until};

/// `FS_IOC_SHUTDOWN` with `NOLOGFLUSH`: from now on each access is an I/O error, and what was not synced is gone.
const SHUT_DOWN: &str = "import fcntl, os, struct, sys; \
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// As root without the power to pass over permissions.
const AS_OTHERS: [&str; 3] = [
    "setpriv",
    "--bounding-set=-dac_override,-dac_read_search",
    "--inh-caps=-dac_override,-dac_read_search",
];

fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).output();
    let done = done.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {said}");
}

/// An ext4 of its own in a file; unmounted with the test.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    fn new(bench: &Bench) -> Self {
        let (image, at) = (bench.path("image"), bench.state_dir());
        fs::create_dir_all(&at).unwrap();
        File::create(&image).unwrap().set_len(64 << 20).unwrap();
        run("mkfs.ext4", &["-q", image.to_str().unwrap()]);
        let disk = Self { image, at };
        disk.mount("loop");
        disk
    }

    fn mount(&self, options: &str) {
        let (image, at) = (self.image.to_str().unwrap(), self.at.to_str().unwrap());
        run("mount", &["-o", options, image, at]);
    }

    fn unmount(&self) {
        run("umount", &[self.at.to_str().unwrap()]);
    }

    fn shut_down(&self) {
        run("python3", &["-c", SHUT_DOWN, self.at.to_str().unwrap()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still hold it.
        let unmounted = Command::new("umount").arg("-l").arg(&self.at).output();
        drop(unmounted);
    }
}

fn configure(bench: &Bench) {
    let integration = bench.integration(&Account::v2("two"), "[\"siem-cg\", \"audit\"]");
    bench.configure(&[integration], "");
}

fn publish(bench: &Bench) {
    bench
        .handle
        .publish("two", "siem-cg", "receipt", 40)
        .unwrap();
    bench.handle.publish("two", "audit", "", 40).unwrap();
}

#[tokio::test]
async fn a_file_system_that_breaks_under_it_ends_the_process_with_74_and_loses_nothing() {
    let bench = Bench::new().await;
    let disk = Disk::new(&bench);
    configure(&bench);
    let mut rounds = 0;
    for already in [0, 20, 90, 150] {
        publish(&bench);
        let mut collector = bench.run(600);
        let some = |handle: &Handle| handle.hec().distinct() >= already;
        bench.until("some events", some).await;
        disk.shut_down();
        publish(&bench);
        assert_eq!(collector.code().await, Some(74), "{}", collector.log());
        let said = collector.lines(&["ERROR", "the state directory failed"]);
        assert!(!said.is_empty(), "{}", collector.log());
        assert!(
            collector.log().contains("Input/output error"),
            "{}",
            collector.log()
        );
        disk.unmount();
        disk.mount("loop");
        rounds += 1;
    }
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    assert!(
        collector.lines(&["is lost"]).is_empty(),
        "{}",
        collector.log()
    );
    collector.stop().await;
    println!(
        "{rounds} file systems broken, {} events: 0 lost, {} repeated",
        bench.handle.published_total(),
        bench.handle.hec().duplicates()
    );
    bench.assert_no_violations();
}

#[tokio::test]
async fn a_read_only_state_directory_is_said_and_ends_the_process_with_74() {
    let bench = Bench::new().await;
    let disk = Disk::new(&bench);
    configure(&bench);
    publish(&bench);
    let collector = bench.run(600);
    bench.until_all_arrived().await;
    collector.stop().await;
    disk.mount("remount,ro");
    let ended = bench.ended(&["run"]).await;
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(ended.err.contains("Read-only file system"), "{ended:?}");
    assert!(ended.err.contains(disk.at.to_str().unwrap()), "{ended:?}");
}

#[tokio::test]
async fn a_state_directory_without_permission_is_said_and_ends_the_process_with_77() {
    let bench = Bench::new().await;
    configure(&bench);
    let state = bench.state_dir();
    fs::create_dir_all(&state).unwrap();
    let config = bench.path("config.toml");
    let start = |mode: &str| {
        run("chmod", &[mode, state.to_str().unwrap()]);
        let binary = env!("CARGO_BIN_EXE_mimecast-collector");
        let mut command = Command::new(AS_OTHERS[0]);
        command.args(&AS_OTHERS[1..]);
        command.args([binary, "run", "--config", config.to_str().unwrap()]);
        command.output().unwrap()
    };
    let ended = start("0500");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(77), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
    assert!(said.contains(state.to_str().unwrap()), "{said}");
}

/// How many descriptors a process has open.
fn descriptors(collector: &Program) -> usize {
    let folder = format!("/proc/{}/fd", collector.id());
    fs::read_dir(Path::new(&folder)).unwrap().count()
}

fn limit_descriptors(collector: &Program, to: usize) {
    let (pid, limit) = (collector.id().to_string(), format!("--nofile={to}:"));
    run("prlimit", &["--pid", &pid, &limit]);
}

#[tokio::test]
async fn a_process_without_a_descriptor_left_says_so_and_goes_on_once_it_has_some_or_is_started_again()
 {
    let bench = Bench::new().await;
    configure(&bench);
    publish(&bench);
    let mut collector = bench.run(600);
    bench.until_all_arrived().await;
    limit_descriptors(&collector, descriptors(&collector).saturating_sub(2));
    publish(&bench);
    let said = look_until("word of it", || {
        collector.lines(&["Too many open files"]).into_iter().next()
    });
    println!("{}", said.await);
    limit_descriptors(&collector, 1_024);
    // What the store could not open ends the process; a service manager starts it again.
    let ended = look_until("its end, or all events", || {
        let hec = bench.handle.hec();
        let all = hec.distinct() >= bench.handle.published_total();
        match collector.ended() {
            Some(code) => Some(Some(code)),
            None => all.then_some(None),
        }
    });
    if let Some(code) = ended.await {
        assert_eq!(code, 74, "{}", collector.log());
        collector = bench.run(600);
    }
    bench.until_all_arrived().await;
    collector.stop().await;
    assert_eq!(
        bench.handle.hec().distinct(),
        bench.handle.published_total()
    );
}
