//! The command line's end of the control socket.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{ControlError, Request, read_answer, write_request};

/// 64 MiB: the report of ten thousand integrations.
const ANSWER: u64 = 64 << 20;
/// A collector that is well answers within milliseconds, or as soon as its disk does.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the collector that listens at `path`.
///
/// # Errors
/// See [`ControlError`]; the texts say what to do.
pub async fn ask(path: &Path, request: &Request) -> Result<Value, ControlError> {
    let exchange = match timeout(PATIENCE, exchange(path, request)).await {
        Ok(exchange) => exchange,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let line = exchange.map_err(|error| name(path, error))?;
    match read_answer(&line) {
        Ok(answer) => answer.map_err(ControlError::Refused),
        Err(why) => Err(ControlError::Answer {
            path: path.to_owned(),
            why,
        }),
    }
}

async fn exchange(path: &Path, request: &Request) -> io::Result<Vec<u8>> {
    let line = write_request(request)?;
    let mut server = UnixStream::connect(path).await?;
    server.write_all(&line).await?;
    server.shutdown().await?;
    let mut answer = Vec::new();
    server.take(ANSWER).read_to_end(&mut answer).await?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

fn name(path: &Path, source: io::Error) -> ControlError {
    let not_running = |why| ControlError::NotRunning {
        why,
        path: path.to_owned(),
    };
    let kind = source.kind();
    if kind == io::ErrorKind::NotFound {
        not_running("there is no control socket at")
    } else if kind == io::ErrorKind::ConnectionRefused {
        not_running("nobody listens at the control socket")
    } else if kind == io::ErrorKind::PermissionDenied {
        ControlError::Denied {
            path: path.to_owned(),
            whose: whose(path),
        }
    } else {
        ControlError::Broken {
            path: path.to_owned(),
            source,
        }
    }
}

/// Says who may open the socket, as far as it, or the folder that hides it, can be seen.
fn whose(path: &Path) -> String {
    let seen = path.ancestors().find_map(|path| fs::metadata(path).ok());
    let Some(seen) = seen else {
        return "run this command as root".to_owned();
    };
    let user = named(Path::new("/etc/passwd"), seen.uid());
    let group = named(Path::new("/etc/group"), seen.gid());
    format!(
        "it is open to the user {user} and the group {group}; run this command as one of them, or as root"
    )
}

/// The name of a user or group in the system's file, or its number.
fn named(file: &Path, id: u32) -> String {
    let id = id.to_string();
    let entries = fs::read_to_string(file).unwrap_or_default();
    let name = entries.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    });
    name.unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_client_hears_whose_the_socket_is() {
        let error = name(Path::new("/"), io::ErrorKind::PermissionDenied.into());
        let text = error.to_string();
        assert!(
            text.contains("open to the user root and the group root"),
            "{text}"
        );
    }

    #[test]
    fn a_user_without_a_name_is_a_number() {
        assert_eq!(named(Path::new("/etc/passwd"), 4_294_967_290), "4294967290");
        assert_eq!(named(Path::new("/no/such/file"), 7), "7");
    }
}
