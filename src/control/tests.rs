use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;

/// Says what it was asked.
#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    async fn handle(&self, request: Request) -> Result<Value, String> {
        match request {
            Request::Status | Request::Ledger => Ok(json!({ "fine": true })),
            Request::Resume { name } if name == "nobody" => Err("nobody is unknown".to_owned()),
            Request::Resume { name }
            | Request::Pause { name, .. }
            | Request::Forget { name, .. } => Ok(json!(name)),
            Request::Replay { log, .. } => Ok(json!(log)),
            Request::Replays | Request::DeadLetters => Ok(json!([])),
            Request::CancelReplay { number }
            | Request::DeadLetter { number }
            | Request::SendAgain { number }
            | Request::Discard { number } => Ok(json!(number)),
            Request::Drain { undo } => Ok(json!(undo)),
        }
    }
}

/// A server in a folder of its own.
struct Running {
    folder: TempDir,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::bind(&state_socket(folder.path())).unwrap();
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(server.run(Echo, stop.clone()));
        Self {
            folder,
            stop,
            tasks,
        }
    }

    fn path(&self) -> PathBuf {
        state_socket(self.folder.path())
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path()).await.unwrap()
    }

    /// Sends bytes as they are, and reads until the server closes.
    async fn send(&self, bytes: &[u8]) -> String {
        let mut client = self.connect().await;
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        read(&mut client).await
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        assert!(!self.path().exists());
    }
}

async fn read(client: &mut UnixStream) -> String {
    let mut text = String::new();
    let read = client.read_to_string(&mut text);
    timeout(Duration::from_secs(60), read)
        .await
        .unwrap()
        .unwrap();
    text
}

fn resume(name: &str) -> Request {
    Request::Resume {
        name: name.to_owned(),
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_client_is_answered_or_told_why_not() {
    let server = Running::start();
    let path = server.path();
    assert_eq!(mode(&path), 0o660);
    assert_eq!(
        ask(&path, &Request::Status).await.unwrap(),
        json!({ "fine": true })
    );
    assert_eq!(ask(&path, &resume("acme-uk")).await.unwrap(), "acme-uk");
    let refused = ask(&path, &resume("nobody")).await.unwrap_err();
    assert_eq!(refused.to_string(), "nobody is unknown");
    server.stop().await;
}

#[tokio::test]
async fn hostile_lines_are_answered_and_cost_nobody_else_anything() {
    let server = Running::start();
    let status = b"{\"version\":1,\"command\":\"status\"}\n";
    let ok = "{\"version\":1,\"ok\":{\"fine\":true}}\n";
    for (line, error) in [
        ("\n", "one JSON object"),
        ("hello\n", "one JSON object"),
        ("[1]\n", "one JSON object"),
        ("\u{0}\u{1b}[2J\n", "one JSON object"),
        ("{\"command\":\"status\"}\n", "is missing, it must be 1"),
        (
            "{\"version\":2,\"command\":\"status\"}\n",
            "version 2 is not known, only 1",
        ),
        (
            "{\"version\":1,\"command\":\"fly\"}\n",
            "expected one of `status`, `ledger`, `resume`, `pause`, `replay`, `replays`, `cancel_replay`",
        ),
        ("{\"version\":1}\n", "missing field `command`"),
        (
            "{\"version\":1,\"command\":\"resume\"}\n",
            "missing field `name`",
        ),
        (
            "{\"version\":1,\"command\":\"status\",\"colour\":1}\n",
            "does not know",
        ),
    ] {
        let both = server.send(&[line.as_bytes(), status].concat()).await;
        let (first, second) = both.split_once('\n').unwrap();
        assert!(first.contains("\"error\""), "{line}: {first}");
        assert!(first.contains(error), "{line}: {first}");
        assert_eq!(second, ok, "{line}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_line_without_an_end_is_cut_off() {
    let server = Running::start();
    let mut client = server.connect().await;
    // One byte more than is taken, so that nothing is left unread when the server closes.
    let line = vec![b' '; (64 << 10) + 1];
    client.write_all(&line).await.unwrap();
    let answer = read(&mut client).await;
    assert!(answer.contains("at most 65536 bytes"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_request_may_end_with_the_connection() {
    let server = Running::start();
    let answer = server.send(br#"{"version":1,"command":"status"}"#).await;
    assert_eq!(answer, "{\"version\":1,\"ok\":{\"fine\":true}}\n");
    assert_eq!(server.send(b"").await, "");
    server.stop().await;
}

#[tokio::test]
async fn a_slow_client_does_not_hold_up_others() {
    let server = Running::start();
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut client = server.connect().await;
        client.write_all(b"{\"version\"").await.unwrap();
        slow.push(client);
    }
    let path = server.path();
    let answer = timeout(Duration::from_secs(60), ask(&path, &Request::Status));
    answer.await.unwrap().unwrap();
    server.stop().await;
}

#[tokio::test]
async fn what_a_dead_process_left_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_socket(folder.path());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let nobody = ask(&path, &Request::Status).await.unwrap_err().to_string();
    assert!(
        nobody.starts_with("no collector is running: nobody listens"),
        "{nobody}"
    );
    let server = Server::bind(&path).unwrap();
    assert_eq!(mode(&path), 0o660);
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    drop(server);
    let nobody = ask(&path, &Request::Status).await.unwrap_err().to_string();
    assert!(
        nobody.starts_with("no collector is running: there is no control socket at"),
        "{nobody}"
    );
}

#[tokio::test]
async fn a_client_finds_a_socket_in_the_runtime_directory() {
    let (state, runtime) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (socket, link) = (state_socket(runtime.path()), state_socket(state.path()));
    let server = Server::bind(&socket).unwrap().linked_at(&link).unwrap();
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(server.run(Echo, stop.clone()));
    ask(&link, &Request::Status).await.unwrap();
    stop.cancel();
    tasks.join_next().await.unwrap().unwrap();
    assert!(link.symlink_metadata().is_err());
}

#[test]
fn the_first_runtime_directory_counts() {
    assert_eq!(first_dir("/run/a:/run/b"), Some("/run/a".into()));
    assert_eq!(first_dir(""), None);
}

#[test]
fn an_answer_of_another_version_is_not_guessed_at() {
    for line in [
        "",
        "{}",
        r#"{"version":2,"ok":1}"#,
        r#"{"version":1}"#,
        r#"{"version":1,"error":1}"#,
    ] {
        assert!(read_answer(line.as_bytes()).is_err(), "{line}");
    }
}
