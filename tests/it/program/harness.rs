//! The program as its users run it: a process of its own, files, signals, an exit code; opposite it a simulator in this process.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::future::Future;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use mimecast_collector::simulator::{Account, Handle, Key, Options, Request, Simulator};
use tempfile::{NamedTempFile, TempDir};

/// Whatever a test waits for comes within seconds; this is for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);
/// From one look at something that cannot be waited for to the next.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A simulator, and a folder with a configuration for it.
pub(super) struct Bench {
    pub(super) simulator: Simulator,
    pub(super) handle: Handle,
    pub(super) folder: TempDir,
    pub(super) token: String,
}

impl Bench {
    pub(super) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(super) async fn with(options: Options) -> Self {
        let token = options.hec_token.clone();
        let simulator = Simulator::start(options).await.unwrap();
        Self {
            handle: simulator.handle(),
            simulator,
            folder: folder(),
            token,
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // As a secret wants it; for the others it does no harm.
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        options
            .open(path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    /// Writes `config.toml` with these integrations and one HEC output with `output`'s further lines.
    pub(super) fn configure(&self, integrations: &[String], output: &str) {
        let state_dir = self.state_dir();
        let url = self.simulator.hec_url();
        self.write("secrets/hec", &self.token);
        let mut text = format!("state_dir = {state_dir:?}\n");
        text.push_str(&integrations.concat());
        write!(
            text,
            "\n[[output]]\nname = \"splunk\"\ntype = \"splunk_hec\"\nurl = \"{url}\"\ntoken = {{ file = \"secrets/hec\" }}\n{output}\n"
        )
        .unwrap();
        self.write("config.toml", &text);
    }

    /// An integration under the account's own name, with its secrets in files.
    pub(super) fn integration(&self, account: &Account, logs: &str) -> String {
        let (name, url) = (&account.name, self.simulator.api_url());
        let mut text =
            format!("\n[[integration]]\nname = \"{name}\"\nbase_url = \"{url}\"\nlogs = {logs}\n");
        let mut secret = |key: &str, secret: &str| {
            let file = format!("secrets/{name}-{key}");
            self.write(&file, secret);
            writeln!(text, "{key} = {{ file = \"{file}\" }}").unwrap();
        };
        match &account.key {
            Key::V1 {
                application_id,
                application_key,
                access_key,
                secret_key,
            } => {
                secret("application_key", application_key);
                secret("access_key", access_key);
                secret("secret_key", secret_key);
                writeln!(text, "application_id = \"{application_id}\"").unwrap();
            }
            Key::V2 {
                client_id,
                client_secret,
            } => {
                secret("client_secret", client_secret);
                writeln!(text, "client_id = \"{client_id}\"").unwrap();
            }
        }
        text
    }

    /// Starts the program with these arguments and this bench's configuration.
    pub(super) fn start(&self, arguments: &[&str]) -> Program {
        let config = self.path("config.toml");
        let config = config.to_str().unwrap();
        let arguments = [arguments, &["--config", config]].concat();
        Program::start(&arguments, self.folder.path())
    }

    /// Starts the daemon, its schedule `scale` times as fast.
    pub(super) fn run(&self, scale: u32) -> Program {
        self.start(&["run", "--time-scale", &scale.to_string()])
    }

    /// Runs the program to its end.
    pub(super) async fn ended(&self, arguments: &[&str]) -> Ended {
        let mut program = self.start(arguments);
        let code = program.code().await;
        Ended {
            code,
            out: program.out(),
            err: program.log(),
        }
    }

    /// Runs the program to its end, with these arguments alone.
    pub(super) async fn ended_alone(&self, arguments: &[&str]) -> Ended {
        let mut program = Program::start(arguments, self.folder.path());
        Ended {
            code: program.code().await,
            out: program.out(),
            err: program.log(),
        }
    }

    /// Asks the running collector whether all is accounted for.
    pub(super) async fn assert_balanced(&self) {
        let ledger = self.ended(&["ledger"]).await;
        assert_eq!(ledger.code, Some(0), "{ledger:?}");
        assert!(ledger.out.starts_with("The ledger balances"), "{ledger:?}");
    }

    /// Waits until the simulator has seen what `condition` wants.
    pub(super) async fn until(&self, what: &str, condition: impl FnMut(&Handle) -> bool) {
        within(what, self.handle.until(condition)).await;
    }

    /// Waits until every event that was published has arrived.
    pub(super) async fn until_all_arrived(&self) {
        let published = self.handle.published_total();
        let all = |handle: &Handle| handle.hec().distinct() >= published;
        self.until("all events at the receiver", all).await;
    }

    /// The requests shown with an account's credential, those for a token among them.
    pub(super) fn requests_of(&self, account: &str) -> Vec<Request> {
        let mut requests = self.handle.requests();
        requests.retain(|request| request.account.as_deref() == Some(account) && asks(request));
        requests
    }

    /// That every record that was published for these accounts' logs has arrived once, and nothing else, by their bytes.
    pub(super) fn assert_equal_bodies(&self, logs: &[(&str, &str)]) {
        let mut published: Vec<String> = Vec::new();
        for (account, log) in logs {
            let records = self.handle.published(account, log, "").into_iter();
            published.extend(records.map(|record| String::from_utf8(record).unwrap()));
        }
        let events = self.handle.hec().events();
        let mut arrived: Vec<_> = events
            .iter()
            .map(|event| event.event().to_owned())
            .collect();
        published.sort();
        arrived.sort();
        assert_eq!(arrived.len(), published.len());
        let differing = arrived.iter().zip(&published).find(|(a, p)| a != p);
        assert_eq!(differing, None);
    }

    pub(super) fn assert_no_violations(&self) {
        assert_eq!(self.handle.violations(), Vec::<String>::new());
    }
}

/// Whether a request goes to Mimecast with a credential; links to files are signed by themselves.
pub(super) fn asks(request: &Request) -> bool {
    request.service == mimecast_collector::simulator::Service::Api
}

/// A temporary folder, in memory where there is such a file system: what is proved here is what survives a killed process, and
/// that does not depend on the disk.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// What the service's unit sets in the environment.
fn environment() -> impl Iterator<Item = (&'static str, &'static str)> {
    let unit = include_str!("../../../systemd/mimecast-collector.service");
    let lines = unit.lines();
    lines.filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
}

/// Waits, and says for what it waited in vain.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// Waits for what nobody tells: a file that grows, a process that ends.
pub(crate) async fn look_until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(what, keep_looking(look)).await
}

async fn keep_looking<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What a program that has ended said.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

/// A running process of the program; killed when it is dropped.
pub(super) struct Program {
    child: Child,
    /// Standard output and standard error.
    files: [NamedTempFile; 2],
}

impl Program {
    /// Starts it in `folder` with the environment that the service's unit gives it.
    pub(super) fn start(arguments: &[&str], folder: &Path) -> Self {
        Self::start_in(arguments, folder, &[])
    }

    /// As [`Program::start`], with more in the environment.
    pub(super) fn start_in(arguments: &[&str], folder: &Path, more: &[(&str, &str)]) -> Self {
        let files = ["out", "err"].map(|name| {
            let mut builder = tempfile::Builder::new();
            builder.prefix(name).tempfile_in(folder).unwrap()
        });
        let handle = |file: &NamedTempFile| -> File { file.reopen().unwrap() };
        let child = Command::new(env!("CARGO_BIN_EXE_mimecast-collector"))
            .args(arguments)
            .env_clear()
            .envs(environment())
            .envs(more.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(handle(&files[0]))
            .stderr(handle(&files[1]))
            .spawn()
            .unwrap();
        Self { child, files }
    }

    /// By which the kernel knows it.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output so far.
    pub(super) fn out(&self) -> String {
        fs::read_to_string(self.files[0].path()).unwrap()
    }

    /// Its standard error so far.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.files[1].path()).unwrap()
    }

    /// Waits for a line of the log that contains all of `words`, and gives it.
    pub(super) async fn logged(&self, words: &[&str]) -> String {
        let line = keep_looking(|| self.lines(words).into_iter().next());
        match tokio::time::timeout(PATIENCE, line).await {
            Ok(line) => line,
            Err(_) => panic!("no line with {words:?} in:\n{}", self.log()),
        }
    }

    /// The lines of the log that contain all of `words`.
    pub(super) fn lines(&self, words: &[&str]) -> Vec<String> {
        let log = self.log();
        let lines = log
            .lines()
            .filter(|line| words.iter().all(|word| line.contains(word)));
        lines.map(str::to_owned).collect()
    }

    /// Sends a signal by its name.
    pub(super) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success(), "no process {id} to send {name} to");
    }

    /// Ends it as a power cut ends a process, and reaps it.
    pub(super) fn kill_9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub(super) async fn exited(&mut self) -> ExitStatus {
        let child = &mut self.child;
        look_until("the end of the process", || child.try_wait().unwrap()).await
    }

    /// Waits for its end, and gives its exit code; `None` if a signal ended it.
    pub(super) async fn code(&mut self) -> Option<i32> {
        self.exited().await.code()
    }

    /// Its exit code, if it has ended by itself.
    #[cfg(feature = "full-tests")]
    pub(super) fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap()?.code()
    }

    /// The bytes that it has in memory, the most that there ever were (`VmHWM`) or those of now (`VmRSS`).
    pub(super) fn memory(&self, what: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(what));
        let words: Vec<&str> = line.unwrap().split_whitespace().collect();
        assert_eq!(words.last(), Some(&"kB"), "{words:?}");
        words.get(1).unwrap().parse::<usize>().unwrap() << 10
    }

    /// Stops it in order, once it has taken over the signals.
    pub(super) async fn stop(mut self) {
        self.logged(&["INFO", "running"]).await;
        self.signal("TERM");
        let code = self.code().await;
        assert_eq!(code, Some(0), "{}", self.log());
    }
}

impl Drop for Program {
    #[expect(clippy::print_stdout, reason = "read where a test has failed")]
    fn drop(&mut self) {
        // It may have ended already.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            println!("the program's log:\n{}", self.log());
        }
    }
}
