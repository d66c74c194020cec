//! The collector's end of the control socket.

use std::convert::Infallible;
use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Answer, ControlError, Request, read_request, write_answer};

/// For the owner and the group.
const MODE: u32 = 0o660;
/// 64 KiB: a hundred times the longest request there is.
const LINE: u64 = 64 << 10;
/// Connections at a time; more wait in the socket's queue.
const CONNECTIONS: usize = 16;
/// How long a client may take to send a request, and to take its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before the next try when the system has no room for a connection, which would else be tried without end.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers requests: the seam between the socket and the program.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers a request, or says in words for people why not.
    fn handle(&self, request: Request) -> impl Future<Output = Result<Value, String>> + Send;
}

/// The control socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    files: Vec<PathBuf>,
}

impl Server {
    /// Makes the socket, in place of one that a dead process left: nobody else is alive who uses the same state
    /// directory. It is open to the process's user and group from its first moment on.
    ///
    /// # Errors
    /// What the system said; the folder must exist and be writable.
    pub fn bind(path: &Path) -> Result<Self, ControlError> {
        let (listener, ()) = put(path, "make", |private| {
            let listener = UnixListener::bind(private)?;
            fs::set_permissions(private, fs::Permissions::from_mode(MODE))?;
            Ok((listener, ()))
        })?;
        Ok(Self {
            listener,
            files: vec![path.to_owned()],
        })
    }

    /// Leaves a link to the socket at `link` as well, unless it is there itself.
    ///
    /// # Errors
    /// What the system said; the folder must exist and be writable.
    pub fn linked_at(mut self, link: &Path) -> Result<Self, ControlError> {
        if let Some(socket) = self.files.first().filter(|socket| *socket != link) {
            put(link, "link", |private| symlink(socket, private))?;
            self.files.push(link.to_owned());
        }
        Ok(self)
    }

    /// Answers requests until `stop` is cancelled; an answer that is under way then is dropped.
    pub async fn run<H: Handler>(self, handler: H, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(ended) = connections.join_next() => pass_on(ended),
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((client, _)) => {
                        connections.spawn(converse(client, handler.clone()));
                    }
                    Err(error) => {
                        warn!(%error, "cannot accept a connection to the control socket");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for file in &self.files {
            if let Err(error) = fs::remove_file(file) {
                debug!(%error, file = %file.display(), "cannot remove the control socket");
            }
        }
    }
}

/// Makes a file with `make` in a folder that nobody else may enter, and moves it to `path` once it is whole.
fn put<T>(
    path: &Path,
    attempt: &'static str,
    make: impl FnOnce(&Path) -> io::Result<T>,
) -> Result<T, ControlError> {
    let put = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        let private = tempfile::Builder::new().prefix(".").tempdir_in(folder)?;
        // A short name: the path of a socket has at most 107 bytes.
        let new = private.path().join("s");
        let made = make(&new)?;
        fs::rename(&new, path)?;
        Ok(made)
    };
    put().map_err(|source| ControlError::Bind {
        attempt,
        path: path.to_owned(),
        source,
    })
}

/// A panic of a connection is one of the process, as everywhere.
fn pass_on(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

async fn converse<H: Handler>(client: UnixStream, handler: H) {
    let Err(end) = answer_all(BufReader::new(client), handler).await;
    if let End::Broken(error) = end {
        debug!(%error, "lost a client of the control socket");
    }
}

/// Why no further request is read.
enum End {
    /// The client is done.
    Closed,
    /// The client is gone, or too slow.
    Broken(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

async fn answer_all<H: Handler>(
    mut client: BufReader<UnixStream>,
    handler: H,
) -> Result<Infallible, End> {
    loop {
        let line = in_time(read_line(&mut client)).await?;
        if line.is_empty() {
            return Err(End::Closed);
        }
        if too_long(&line) {
            // Where the next request begins is not known.
            let error = format!("a request has at most {LINE} bytes");
            reply(&mut client, Err(error)).await?;
            return Err(End::Closed);
        }
        let answer = match read_request(&line) {
            Ok(request) => handler.handle(request).await,
            Err(error) => Err(error),
        };
        reply(&mut client, answer).await?;
    }
}

/// The next line with its end, or what there is of it.
async fn read_line(client: &mut BufReader<UnixStream>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    client.take(LINE + 1).read_until(b'\n', &mut line).await?;
    Ok(line)
}

fn too_long(line: &[u8]) -> bool {
    u64::try_from(line.len()).is_ok_and(|len| len > LINE)
}

async fn reply(client: &mut BufReader<UnixStream>, answer: Answer) -> io::Result<()> {
    let line = write_answer(&answer).map_err(io::Error::other)?;
    in_time(client.write_all(&line)).await
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
