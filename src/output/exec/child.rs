//! One run of a program, from the look whether it may be started to the end of all that it started.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::time::timeout;

use crate::secret::Secret;

/// All of its environment.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("LANG", "C.UTF-8"),
];

/// 4 KiB: the first words of a complaint say what is wrong.
const COMPLAINT: usize = 4 << 10;

/// What a program wrote is in the pipe when it has ended; what others go on to write there is not waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Every user may write.
const PUBLIC: u32 = 0o002;
/// In a folder: only a file's owner may replace it.
const STICKY: u32 = 0o1000;

/// What is to be run.
pub(super) struct Job<'a> {
    pub(super) program: &'a Path,
    pub(super) args: &'a [String],
    pub(super) input: Secret,
    pub(super) timeout: Duration,
}

/// How it ended, with what it said on standard error.
pub(super) enum End {
    /// With exit code 0.
    Done,
    /// It was not started, because it may not be.
    Unfit(String),
    /// It could not be started.
    NotStarted(io::Error),
    /// With another exit code, or by a signal.
    Failed(ExitStatus, String),
    /// It was killed, with all of its group.
    TimedOut(String),
}

/// Why a program may not be started, if there is something: it is not there, not executable, or everybody could put another in its
/// place.
#[must_use]
pub fn unfit(program: &Path) -> Option<String> {
    let shown = program.display();
    let found = match std::fs::metadata(program) {
        Ok(found) => found,
        Err(error) => return Some(format!("{shown}: {error}")),
    };
    if !found.is_file() {
        return Some(format!("{shown} is no file"));
    }
    if let Err(error) = access(program, Access::EXEC_OK) {
        return Some(format!("{shown} is not executable: {error}"));
    }
    if found.permissions().mode() & PUBLIC != 0 {
        return Some(format!(
            "{shown} can be changed by every user of this machine: chmod o-w {shown}"
        ));
    }
    let folder = program.parent()?;
    let mode = std::fs::metadata(folder).ok()?.permissions().mode();
    (mode & PUBLIC != 0 && mode & STICKY == 0).then(|| {
        format!(
            "{shown} can be replaced by every user of this machine: chmod o-w {}",
            folder.display()
        )
    })
}

impl Job<'_> {
    pub(super) async fn run(self) -> End {
        if let Some(why) = unfit(self.program) {
            return End::Unfit(why);
        }
        // Ours close by themselves; those that were open before this program began need not.
        close_fds::set_fds_cloexec_threadsafe(FIRST_OTHER, &[]);
        let mut child = match self.command().spawn() {
            Ok(child) => child,
            Err(error) => return End::NotStarted(error),
        };
        // Dropped before the child: while that is not waited for, its number is nobody else's.
        let group = Group::of(&child);
        let mut said = Vec::new();
        let ended = timeout(self.timeout, talk(&mut child, self.input, &mut said)).await;
        match ended {
            Ok(Ok(status)) => {
                group.leave();
                if status.success() {
                    return End::Done;
                }
                End::Failed(status, String::from_utf8_lossy(&said).into_owned())
            }
            Ok(Err(error)) => End::NotStarted(error),
            Err(_) => {
                drop(group);
                // So that it does not stay as a zombie; it is killed, so this does not last.
                child.wait().await.ok();
                End::TimedOut(String::from_utf8_lossy(&said).into_owned())
            }
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command
            .args(self.args)
            .env_clear()
            .envs(ENVIRONMENT)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// Behind standard input, output and error.
const FIRST_OTHER: i32 = 3;

/// Hands the input over and listens to complaints until the program ends. One that reads nothing, or whose children hold its pipes, ends
/// all the same.
async fn talk(child: &mut Child, input: Secret, said: &mut Vec<u8>) -> io::Result<ExitStatus> {
    let mut feeding = pin!(feed(child.stdin.take(), input));
    let mut hearing = pin!(hear(child.stderr.take(), said));
    let (mut fed, mut heard) = (false, false);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            () = &mut feeding, if !fed => fed = true,
            () = &mut hearing, if !heard => heard = true,
        }
    };
    if !heard {
        timeout(LAST_WORDS, hearing).await.ok();
    }
    Ok(status)
}

async fn feed(stdin: Option<ChildStdin>, input: Secret) {
    if let Some(mut stdin) = stdin {
        // A program need not read what it is told: its exit code counts.
        stdin.write_all(input.expose().as_bytes()).await.ok();
    }
}

/// Keeps the beginning, and reads the rest so that the program can go on.
async fn hear(stderr: Option<ChildStderr>, said: &mut Vec<u8>) {
    let Some(mut stderr) = stderr else { return };
    let mut rest = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut rest).await {
        let room = COMPLAINT.saturating_sub(said.len()).min(read);
        said.extend(rest.iter().take(room));
    }
}

/// The process group of a child, which is killed when this is dropped, with all that is in it.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    /// The child has ended and was waited for, so the number may become somebody else's.
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be empty by now.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}
