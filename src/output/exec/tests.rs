use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::output::fixture::batch;
use crate::output::told::fixture::alert;
use crate::secret::SecretSource;

/// A folder with a program that is this script.
struct Rig {
    folder: tempfile::TempDir,
}

impl Rig {
    /// `$0` of the script is its path, so that it can write beside itself.
    fn new(script: &str) -> Self {
        let rig = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let path = rig.path("program");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn exec(&self, timeout: Duration) -> Exec {
        let key = SecretSource::Literal(Secret::new("hunter2".to_owned()));
        Exec::new(&ExecConfig {
            program: self.path("program"),
            args: vec!["--team".to_owned(), "sec ops; $HOME".to_owned()],
            secrets: BTreeMap::from([("key".to_owned(), key)]),
            max_alerts: None,
            timeout,
            named: config::Named::default(),
        })
        .unwrap()
    }

    async fn tell(&self, words: &[&str]) -> Delivery {
        let alerts = words.iter().map(|word| alert(word, "credential acme"));
        let told = batch("@collector", alerts.collect());
        self.exec(Duration::from_secs(60)).deliver(&told).await
    }
}

fn key(delivery: &Delivery) -> String {
    delivery.failure.as_ref().unwrap().key()
}

#[tokio::test]
async fn a_program_is_told_all_alerts_at_once_and_takes_them_by_its_exit_code() {
    let rig = Rig::new(r#"cd "${0%/*}"; cat > input; printf '%s\n' "$@" > args; echo noise"#);
    assert_eq!(
        rig.tell(&["raised", "cleared"]).await,
        Delivery::accepted(2)
    );
    let input: Value = serde_json::from_str(&rig.read("input")).unwrap();
    assert_eq!((&input["version"], &input["count"]), (&1.into(), &2.into()));
    assert_eq!(input["title"], "Mimecast collector: 1 raised, 1 cleared");
    assert_eq!(input["alerts"][1]["alert"], "cleared");
    assert_eq!(input["alerts"][0]["event_id"].as_str().unwrap().len(), 32);
    assert_eq!(input["secrets"]["key"], "hunter2");
    assert_eq!(rig.read("args"), "--team\nsec ops; $HOME\n");
}

#[tokio::test]
async fn nothing_of_our_environment_or_descriptors_reaches_the_program() {
    let rig = Rig::new(
        r#"here="${0%/*}"; tr '\0' '\n' < /proc/$$/environ | sort > "$here/environ"
        cut -d' ' -f5 /proc/$$/stat > "$here/group"; echo $$ > "$here/id"; pwd > "$here/folder"
        exec ls -l /proc/self/fd > "$here/fds""#,
    );
    // One that does not close by itself, as a parent may leave it.
    let file = fs::File::open(rig.path("program")).unwrap();
    let left_open = rustix::io::dup(&file).unwrap();
    let flags = rustix::io::fcntl_getfd(&left_open).unwrap();
    assert!(!flags.contains(rustix::io::FdFlags::CLOEXEC));
    assert_eq!(rig.tell(&["raised"]).await, Delivery::accepted(1));
    drop(left_open);
    assert_eq!(
        rig.read("environ"),
        "LANG=C.UTF-8\nPATH=/usr/local/bin:/usr/bin:/bin\n"
    );
    let fds = rig.read("fds");
    let open: Vec<_> = fds
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        // What is being listed is open too.
        .filter(|(_, to)| !to.starts_with("/proc/"))
        .filter_map(|(fd, _)| fd.rsplit(' ').next())
        .collect();
    assert_eq!(open, ["0", "1", "2"], "{fds}");
    assert_eq!(rig.read("group"), rig.read("id"));
    assert_eq!(rig.read("folder"), "/\n");
}

#[tokio::test]
async fn a_complaint_is_told_without_secrets_and_control_characters() {
    let rig = Rig::new(
        r#"cat >/dev/null; printf 'no such team\033[31m (key hunter2)\n' >&2; yes | head -c 100000 >&2; exit 3"#,
    );
    let delivery = rig.tell(&["raised"]).await;
    assert_eq!(
        (delivery.accepted, key(&delivery).as_str()),
        (0, "local/exec_status")
    );
    let detail = delivery.failure.unwrap().detail;
    assert!(
        detail.starts_with(r"exit status: 3: no such team\u{1b}[31m (key [secret])\n"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_its_children() {
    // What it leaves behind holds its pipes, and ignores what can be ignored.
    let rig = Rig::new(
        r#"trap '' TERM INT HUP; here="${0%/*}"; echo "before" >&2
        ( trap '' TERM INT HUP; exec sleep 600 ) & echo "$! $$" > "$here/ids"; wait; sleep 600"#,
    );
    let told = batch("@collector", vec![alert("raised", "x")]);
    let exec = rig.exec(Duration::from_secs(1));
    let delivery = exec.deliver(&told).await;
    assert_eq!(key(&delivery), "local/exec_timeout");
    assert_eq!(
        delivery.failure.unwrap().detail,
        r"killed after 1 s: before"
    );
    let ids = rig.read("ids");
    assert_eq!(ids.split_whitespace().count(), 2, "{ids}");
    for id in ids.split_whitespace() {
        until_gone(id).await;
    }
}

#[tokio::test]
async fn a_program_that_is_given_up_is_killed_with_its_children() {
    let rig = Rig::new(
        r#"sleep 600 & echo "$! $$" > "${0%/*}/ids.part"; mv "${0%/*}/ids.part" "${0%/*}/ids"; wait"#,
    );
    let told = batch("@collector", vec![alert("raised", "x")]);
    let exec = rig.exec(Duration::from_secs(60));
    {
        let mut delivery = std::pin::pin!(exec.deliver(&told));
        while rig.read("ids").is_empty() {
            let look_again = tokio::time::sleep(Duration::from_millis(5));
            tokio::select! {
                _ = &mut delivery => panic!("it ended by itself"),
                () = look_again => {}
            }
        }
    }
    for id in rig.read("ids").split_whitespace() {
        until_gone(id).await;
    }
}

/// A killed process is gone, or waits only for its parent to hear of it.
async fn until_gone(id: &str) {
    let is_gone = || {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    let waits = async {
        while !is_gone() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waits).await;
    assert!(waited.is_ok(), "process {id} lives on");
}

#[tokio::test]
async fn what_a_program_leaves_running_is_not_waited_for() {
    let rig = Rig::new(r#"sleep 600 & echo $! > "${0%/*}/id"; exit 0"#);
    assert_eq!(rig.tell(&["raised"]).await, Delivery::accepted(1));
    let id = rig.read("id").trim().parse().unwrap();
    let id = rustix::process::Pid::from_raw(id).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_program_that_reads_nothing_may_take_the_alerts_and_one_that_is_killed_does_not() {
    let many = vec!["raised"; 500];
    assert_eq!(
        Rig::new("exit 0").tell(&many).await,
        Delivery::accepted(500)
    );
    let killed = Rig::new("kill -9 $$").tell(&["raised"]).await;
    assert_eq!(key(&killed), "local/exec_status");
    assert!(killed.failure.unwrap().detail.contains("signal: 9"));
}

#[tokio::test]
async fn a_program_that_anybody_could_have_put_there_is_not_started() {
    let rig = Rig::new(r#"touch "${0%/*}/started""#);
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let (program, folder) = (rig.path("program"), rig.folder.path().to_owned());
    assert_eq!(unfit(&program), None);
    for (path, changed, usual, words) in [
        (&program, 0o644, 0o755, "not executable"),
        (&program, 0o757, 0o755, "changed by every user"),
        (&folder, 0o777, 0o700, "replaced by every user"),
    ] {
        mode(path, changed);
        let delivery = rig.tell(&["raised"]).await;
        assert_eq!(key(&delivery), "local/exec_unfit");
        let detail = delivery.failure.unwrap().detail;
        assert!(detail.contains(words), "{detail}");
        mode(path, usual);
    }
    mode(&folder, 0o1777);
    assert_eq!(unfit(&program), None);
    assert_eq!(rig.read("started"), "");
    assert!(unfit(&folder).unwrap().contains("is no file"));
    fs::remove_file(&program).unwrap();
    assert!(unfit(&program).is_some());
}
