//! Secrets: where they come from, and how they are kept out of sight.
//!
//! A [`Secret`] has no `Display` and no `Serialize`, its `Debug` is redacted, its memory is wiped when it goes. It is read by
//! [`Secret::expose`] in the one line that sends it. What may be stored of it is a [`Fingerprint`].

use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A text that must not be seen.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a secret text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the line that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Keeps this process out of core files and away from debuggers of its own user: its memory holds secrets, and events.
///
/// # Errors
/// What the system said; the service's unit forbids core files by itself.
pub fn keep_out_of_core_files() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // The sandbox of the service's unit forbids the call, and has set the limit itself.
    setrlimit(Resource::Core, none).ok();
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// What identifies a credential without revealing it: HMAC-SHA256 of its parts under the key of this
/// installation, 128 bits in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Names a credential by all its parts, under the install id `key`.
    #[must_use]
    pub fn of(key: &[u8], parts: &[&str]) -> Self {
        // HMAC takes a key of any length; the fallback is never reached and still gives a stable value.
        let Ok(mut mac) = Hmac::<sha2::Sha256>::new_from_slice(key) else {
            return Self(String::new());
        };
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let bytes = mac.finalize().into_bytes();
        Self(bytes.iter().take(16).map(|b| format!("{b:02x}")).collect())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the configuration says that a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`, or, where that is not set, among those of the running
    /// service, which root may read.
    Credential(String),
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// In the configuration file itself, which warns.
    Literal(Secret),
}

impl SecretSource {
    /// Whether it can become another one while the program runs.
    #[must_use]
    pub const fn is_file(&self) -> bool {
        match self {
            Self::File(_) => true,
            Self::Credential(_) | Self::Env(_) | Self::Literal(_) => false,
        }
    }

    /// Reads the secret; white space at its ends is dropped. A file that everybody may read or change is refused: what stands in
    /// it is no secret.
    ///
    /// # Errors
    /// Where it was looked for, what went wrong and what to do; never the secret.
    pub fn read(&self) -> Result<Secret, SecretError> {
        let secret = match self {
            Self::Literal(secret) => return Ok(secret.clone()),
            Self::Env(name) => environment(name).ok_or_else(|| {
                SecretError(format!(
                    "the environment variable {name} is not set: set it for this program, or use {{ file = \"…\" }}"
                ))
            })?,
            Self::File(path) => read_private_file(path)?,
            Self::Credential(name) => match environment("CREDENTIALS_DIRECTORY") {
                Some(folder) => {
                    let path = Path::new(&folder).join(name);
                    std::fs::read_to_string(&path).map_err(|e| unreadable(&path, &e))?
                }
                None => credential_of_the_service(Path::new(OF_THE_SERVICE), name)?,
            },
        };
        let secret = Zeroizing::new(secret);
        let text = secret.trim();
        if text.is_empty() {
            return Err(SecretError(format!("{self} is empty")));
        }
        Ok(Secret::new(text.to_owned()))
    }

    /// What is doubtful about its place, though it can be read: a file whose owner, neither root nor the user of this program, can
    /// put another secret there.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        match self {
            Self::File(path) => {
                let found = std::fs::metadata(path).ok()?;
                doubtful_owner(path, found.uid(), rustix::process::geteuid().as_raw())
            }
            Self::Credential(_) | Self::Env(_) | Self::Literal(_) => None,
        }
    }
}

/// Where the secret is, for messages; never the secret.
impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(name) => write!(f, "the systemd credential '{name}'"),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::Literal(_) => f.write_str("the value in the configuration file"),
        }
    }
}

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(String);

#[expect(
    clippy::disallowed_methods,
    reason = "one of the two files that may read the environment"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where systemd keeps the credentials of the service while it runs.
const OF_THE_SERVICE: &str = "/run/credentials/mimecast-collector.service";

/// So that root's `check --connect` asks with what the service asks with.
fn credential_of_the_service(folder: &Path, name: &str) -> Result<String, SecretError> {
    let path = folder.join(name);
    std::fs::read_to_string(&path).map_err(|e| {
        SecretError(format!(
            "cannot read the systemd credential '{name}': $CREDENTIALS_DIRECTORY is not set, and {}: {e}: root can read it there while \
             the service runs with LoadCredential={name}:… or LoadCredentialEncrypted={name}:…; before it does, begin this command with \
             systemd-run --pipe --wait -p LoadCredentialEncrypted={name}:/etc/mimecast-collector/secrets/{name}.cred",
            path.display()
        ))
    })
}

/// Judges and reads what was opened, so that nobody can put another file there in between.
fn read_private_file(path: &Path) -> Result<String, SecretError> {
    let told = |e| unreadable(path, &e);
    let mut file = File::open(path).map_err(told)?;
    refuse_if_public(path, &file.metadata().map_err(told)?)?;
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(told)?;
    Ok(std::mem::take(&mut *text))
}

fn unreadable(path: &Path, error: &std::io::Error) -> SecretError {
    SecretError(format!(
        "cannot read the secret in {}: {error}: it must exist and be readable by the user of this program",
        path.display()
    ))
}

/// The bits by which all users of the machine may read and write a file.
const PUBLIC: u32 = 0o006;

fn refuse_if_public(path: &Path, found: &Metadata) -> Result<(), SecretError> {
    let mode = found.permissions().mode() & 0o777;
    if mode & PUBLIC == 0 {
        return Ok(());
    }
    Err(SecretError(format!(
        "the secret in {} can be read or changed by every user of this machine, as its mode is {mode:04o}: run chmod {:04o} {}, \
         and make a new secret if somebody may have seen this one",
        path.display(),
        mode & 0o770,
        path.display()
    )))
}

fn doubtful_owner(path: &Path, owner: u32, us: u32) -> Option<String> {
    // Root looks on behalf of another user.
    if owner == 0 || owner == us || us == 0 {
        return None;
    }
    Some(format!(
        "{} belongs to the user {owner}, who is neither root nor {us}, the user of this program, and can change the secret: run \
         chown {us} {}",
        path.display(),
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn a_secret_is_not_seen_in_debug_output_or_messages() {
        let source = SecretSource::Literal(Secret::new("hunter2".to_owned()));
        assert!(!format!("{source:?} {source}").contains("hunter2"));
        assert_eq!(source.read().unwrap().expose(), "hunter2");
    }

    /// What is at a place of this process's memory.
    fn memory(at: usize, length: usize) -> Vec<u8> {
        use std::os::unix::fs::FileExt as _;
        let mut bytes = vec![0; length];
        let memory = File::open("/proc/self/mem").unwrap();
        memory.read_exact_at(&mut bytes, at as u64).unwrap();
        bytes
    }

    #[test]
    fn the_memory_of_a_secret_is_wiped_when_it_goes() {
        // So much that what is allocated next does not lie over all of it.
        let text = "canary-in-memory".repeat(512);
        let secret = Secret::new(text.clone());
        let copy = secret.clone();
        for secret in [secret, copy] {
            let at = secret.expose().as_ptr().addr();
            assert_eq!(memory(at, text.len()), text.as_bytes());
            drop(secret);
            let left = memory(at, text.len());
            let found = left.windows(6).any(|window| window == b"canary");
            assert!(!found, "{}", String::from_utf8_lossy(&left));
        }
    }

    #[test]
    fn a_secret_file_may_end_with_a_line_break_but_not_be_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        std::fs::write(&path, "abc\n").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let source = SecretSource::File(path.clone());
        assert_eq!(source.read().unwrap().expose(), "abc");
        std::fs::write(&path, " \n").unwrap();
        assert!(source.read().unwrap_err().to_string().contains("is empty"));
        let gone = SecretSource::File(dir.path().join("none"));
        assert!(gone.read().unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn a_credential_of_the_running_service_is_read_and_one_that_is_not_there_says_how_to_have_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("acme"), "hunter2").unwrap();
        let read = |name| credential_of_the_service(dir.path(), name);
        assert_eq!(read("acme").unwrap(), "hunter2");
        let told = read("other").unwrap_err().to_string();
        for words in [
            "'other'",
            dir.path().to_str().unwrap(),
            "systemd-run --pipe --wait -p LoadCredentialEncrypted=other:",
        ] {
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn a_secret_file_that_everybody_may_read_or_change_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "hunter2").unwrap();
        let source = SecretSource::File(path.clone());
        let read = |mode| {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            source.read().map_err(|e| e.to_string())
        };
        for mode in [0o600, 0o640, 0o400, 0o660] {
            assert!(read(mode).is_ok(), "{mode:o}");
        }
        for (mode, shown, mended) in [
            (0o644, "0644", "chmod 0640 "),
            (0o604, "0604", "chmod 0600 "),
            (0o602, "0602", "chmod 0600 "),
        ] {
            let told = read(mode).unwrap_err();
            for words in [shown, mended, path.to_str().unwrap()] {
                assert!(told.contains(words), "{told}");
            }
            assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn a_secret_file_of_another_user_is_doubtful_and_one_of_root_or_us_is_not() {
        let path = Path::new("/etc/token");
        assert_eq!(doubtful_owner(path, 0, 990), None);
        assert_eq!(doubtful_owner(path, 990, 990), None);
        assert_eq!(doubtful_owner(path, 990, 0), None);
        let doubt = doubtful_owner(path, 1000, 990).unwrap();
        assert!(doubt.contains("the user 1000"), "{doubt}");
        assert!(doubt.contains("chown 990 /etc/token"), "{doubt}");
    }

    #[test]
    fn a_fingerprint_tells_credentials_and_installations_apart() {
        let print = |key: &[u8], parts: &[&str]| Fingerprint::of(key, parts);
        assert_eq!(print(b"k", &["ab", "c"]), print(b"k", &["ab", "c"]));
        assert_ne!(print(b"k", &["ab", "c"]), print(b"k", &["a", "bc"]));
        assert_ne!(print(b"k", &["ab", "c"]), print(b"l", &["ab", "c"]));
    }
}
