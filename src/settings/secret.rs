//! Where a secret is, in exactly one of four forms.
//!
//! Nothing that stands here is ever quoted, not even a key: one may have been mistaken for the other.

use super::value::{Item, Setting, Wrong};
use super::{did_you_mean, quoted};
use crate::secret::{Secret, SecretSource};

const FORMS: [&str; 4] = ["credential", "file", "env", "literal"];

impl Setting for SecretSource {
    const EXPECTED: &'static str = "{ credential = \"NAME\" } (of systemd), { file = \"PATH\" }, { env = \"VARIABLE\" } \
                                    or { literal = \"…\" }";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        if item.text().is_ok() {
            let text = "a secret does not stand here by itself; say where it is: ";
            return Err([text, Self::EXPECTED].concat().into());
        }
        let mut forms = item.table()?.iter();
        let (Some((form, value)), None) = (forms.next(), forms.next()) else {
            let text = "a secret has exactly one source: ";
            return Err([text, Self::EXPECTED].concat().into());
        };
        let value = item.at(value);
        let Ok(text) = value.text() else {
            value.reject(format!("expected a string, found {}", value.kind()));
            return Err(Wrong::Told);
        };
        let source = source(item, form.get_ref(), text.trim())?;
        item.note_secret(&source);
        Ok(source)
    }
}

fn source(item: &Item<'_>, form: &str, text: &str) -> Result<SecretSource, Wrong> {
    match form {
        _ if text.is_empty() => Err("names nothing; give a text that is not empty".into()),
        "credential" if is_file_name(text) => Ok(SecretSource::Credential(text.to_owned())),
        "credential" => {
            Err("a systemd credential is named as in LoadCredential=NAME:…, without slashes".into())
        }
        "file" => Ok(SecretSource::File(item.resolve(text))),
        "env" if is_variable(text) => Ok(SecretSource::Env(text.to_owned())),
        "env" => Err(
            "env takes the name of an environment variable (letters, digits and _), not its value"
                .into(),
        ),
        "literal" => {
            item.warn(
                "the secret stands in the configuration file, where backups and colleagues read it; \
                 { credential = \"NAME\" } or { file = \"PATH\" } keeps it apart",
            );
            Ok(SecretSource::Literal(Secret::new(text.to_owned())))
        }
        other => Err(Wrong::Value(format!(
            "unknown kind of secret{}; known are {}",
            did_you_mean(other, FORMS),
            quoted(FORMS)
        ))),
    }
}

fn is_file_name(text: &str) -> bool {
    !text.contains('/') && text != "." && text != ".."
}

fn is_variable(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
