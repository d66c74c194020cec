//! `init`: writes a configuration for one integration and one output, and says how to put the secrets in place.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::model::IntegrationId;

/// Where `init` tells people to keep encrypted secrets.
const SECRETS: &str = "/etc/mimecast-collector/secrets";

/// A version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Api {
    /// API 1.0.
    #[value(name = "1.0")]
    V1,
    /// API 2.0.
    #[value(name = "2.0")]
    V2,
}

/// What is to be written.
#[derive(Debug)]
pub struct Wish {
    /// The version of the API.
    pub api: Api,
    /// The integration.
    pub name: IntegrationId,
    /// The base URL of Splunk's HTTP Event Collector.
    pub splunk: String,
    /// Where the file goes.
    pub file: PathBuf,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is one already.
    #[error(
        "{path} is there already and is left as it is: name another file, such as --config {beside}, or move it away"
    )]
    There {
        /// The file.
        path: PathBuf,
        /// One that would be read together with it.
        beside: PathBuf,
    },
    /// Its folder is not there.
    #[error(
        "the folder of {path} is not there: run install -d -m 0750 -g mimecast-collector {folder}"
    )]
    NoFolder {
        /// The file.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nowhere to say what is to be done next.
    #[error("cannot write the answer: {0}")]
    Write(#[from] io::Error),
}

/// Writes the configuration and prints the next steps.
///
/// # Errors
/// A file that is there already is not touched.
pub fn run(wish: &Wish, out: &mut impl Write) -> Result<(), InitError> {
    let path = &wish.file;
    let failed = |source: io::Error| {
        let path = path.clone();
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        if source.kind() == io::ErrorKind::AlreadyExists {
            let beside = folder.join(format!("conf.d/{}.toml", wish.name.as_str()));
            InitError::There { path, beside }
        } else if source.kind() == io::ErrorKind::NotFound {
            InitError::NoFolder { path, folder }
        } else {
            InitError::File { path, source }
        }
    };
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o640);
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(config(wish).as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    out.write_all(next_steps(wish, path).as_bytes())?;
    Ok(())
}

/// The secrets that the configuration names, with what each is.
fn secrets(wish: &Wish) -> Vec<(String, &'static str)> {
    let name = wish.name.as_str();
    let parts: &[(&str, &str)] = match wish.api {
        Api::V1 => &[
            ("application-key", "Application Key"),
            ("access-key", "Access Key"),
            ("secret-key", "Secret Key"),
        ],
        Api::V2 => &[("client-secret", "Client Secret")],
    };
    let named = parts
        .iter()
        .map(|(part, what)| (format!("{name}-{part}"), *what));
    named
        .chain([("splunk-hec-token".to_owned(), "HEC token")])
        .collect()
}

fn config(wish: &Wish) -> String {
    let name = wish.name.as_str();
    let mut text = format!(
        "# Made by mimecast-collector init. All options: mimecast-collector.toml(5). After a change:\n\
         #   mimecast-collector check --config {file}\n\n\
         [[integration]]\n\
         # Unique; state is kept under it, so a new name starts anew.\n\
         name = \"{name}\"\n",
        file = wish.file.display()
    );
    text.push_str(&match wish.api {
        Api::V1 => format!(
            "api = \"1.0\"\n\
             # eu (= uk), de, us, usb, uspcom, ca, za, au, je or sandbox.\n\
             region = \"eu\"\n\
             # The registered application, and the keys of the binding of its service user.\n\
             application_id = \"REPLACE-WITH-THE-APPLICATION-ID\"\n\
             application_key = {{ credential = \"{name}-application-key\" }}\n\
             access_key = {{ credential = \"{name}-access-key\" }}\n\
             secret_key = {{ credential = \"{name}-secret-key\" }}\n"
        ),
        Api::V2 => format!(
            "api = \"2.0\"\n\
             # The application registered in the administration console under API and Platform Integrations.\n\
             client_id = \"REPLACE-WITH-THE-CLIENT-ID\"\n\
             client_secret = {{ credential = \"{name}-client-secret\" }}\n"
        ),
    });
    text.push_str("# All that the API version has, or a list such as [\"audit\", \"ttp-url\"].\nlogs = \"all\"\n");
    text.push_str(&format!(
        "\n[[output]]\n\
         name = \"splunk\"\n\
         type = \"splunk_hec\"\n\
         # Scheme, host and port only.\n\
         url = \"{}\"\n\
         token = {{ credential = \"splunk-hec-token\" }}\n",
        wish.splunk
    ));
    text
}

fn next_steps(wish: &Wish, path: &Path) -> String {
    let file = path.display();
    let mut text =
        format!("Wrote {file}. Next, as root:\n\n1. Let the service read it, and nobody else:\n\n");
    text.push_str(&format!(
        "   chown root:mimecast-collector {file}\n   install -d -m 0700 {SECRETS}\n\n"
    ));
    text.push_str("2. Encrypt each secret for this machine (it is asked for, and not shown):\n\n");
    for (name, what) in secrets(wish) {
        // Writing to a string does not fail.
        writeln!(
            text,
            "   systemd-ask-password -n '{what}:' | systemd-creds encrypt --name={name} - {SECRETS}/{name}.cred"
        )
        .ok();
    }
    text.push_str("\n   On systemd before 250, keep it in a file that only root reads, and use LoadCredential= below:\n\n");
    for (name, _) in secrets(wish) {
        writeln!(text, "   install -m 0600 /dev/stdin {SECRETS}/{name}").ok();
    }
    text.push_str("\n3. Hand them to the service: systemctl edit mimecast-collector, and put in\n\n   [Service]\n");
    for (name, _) in secrets(wish) {
        writeln!(
            text,
            "   LoadCredentialEncrypted={name}:{SECRETS}/{name}.cred"
        )
        .ok();
    }
    text.push_str(&format!(
        "\n4. Start it, and see whether all of it works:\n\n   mimecast-collector check --no-secrets --config {file}\n   \
         systemctl enable --now mimecast-collector\n   mimecast-collector check --connect\n"
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn wish(api: Api, file: PathBuf) -> Wish {
        Wish {
            api,
            name: IntegrationId::new("acme").unwrap(),
            splunk: "https://splunk.example.com:8088".to_owned(),
            file,
        }
    }

    #[test]
    fn what_is_written_is_right_and_names_the_secrets_that_are_asked_for() {
        for api in [Api::V1, Api::V2] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("config.toml");
            let mut said = Vec::new();
            run(&wish(api, file.clone()), &mut said).unwrap();
            let config = Config::load(&file).unwrap();
            assert_eq!(config.warnings, []);
            let text = std::fs::read_to_string(&file).unwrap();
            let said = String::from_utf8(said).unwrap();
            for (name, _) in secrets(&wish(api, file.clone())) {
                assert!(text.contains(&format!("credential = \"{name}\"")), "{text}");
                for command in ["systemd-creds encrypt --name=", "LoadCredentialEncrypted="] {
                    assert!(said.contains(&format!("{command}{name}")), "{said}");
                }
            }
        }
    }

    #[test]
    fn a_configuration_that_is_there_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, "mine").unwrap();
        let error = run(&wish(Api::V2, file.clone()), &mut Vec::new()).unwrap_err();
        let beside = folder.path().join("conf.d/acme.toml");
        for words in ["left as it is", beside.to_str().unwrap()] {
            assert!(error.to_string().contains(words), "{error}");
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    }

    #[test]
    fn a_folder_that_is_not_there_is_told_with_the_command_that_makes_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("conf.d/acme.toml");
        let error = run(&wish(Api::V2, file), &mut Vec::new()).unwrap_err();
        let told = format!(
            "install -d -m 0750 -g mimecast-collector {}",
            folder.path().join("conf.d").display()
        );
        assert!(error.to_string().contains(&told), "{error}");
    }

    #[test]
    fn others_cannot_read_what_is_written() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        run(&wish(Api::V2, file.clone()), &mut Vec::new()).unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
    }
}
