//! One value, and how values become what the program works with.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Document, Notes, Place, SecretUse};
use crate::model::{IntegrationId, NodeId, OutputId};
use crate::secret::SecretSource;
use crate::units;

/// What can be read from a value.
pub trait Setting: Sized {
    /// What would be right, to stand after "expected".
    const EXPECTED: &'static str;

    /// Reads the value.
    ///
    /// # Errors
    /// See [`Wrong`].
    fn read(item: &Item<'_>) -> Result<Self, Wrong>;
}

/// Why a value was not taken.
#[derive(Debug)]
pub enum Wrong {
    /// It is of another kind than [`Setting::EXPECTED`].
    Kind,
    /// It is of the right kind; the text says what is wrong and what would be right.
    Value(String),
    /// It was told already.
    Told,
}

impl From<&str> for Wrong {
    fn from(text: &str) -> Self {
        Self::Value(text.to_owned())
    }
}

impl From<String> for Wrong {
    fn from(text: String) -> Self {
        Self::Value(text)
    }
}

/// A value with its place and the path of its key.
#[derive(Clone)]
pub struct Item<'a> {
    pub(super) document: &'a Document<'a>,
    pub(super) notes: &'a Notes,
    pub(super) key: String,
    pub(super) span: Range<usize>,
    pub(super) value: &'a DeValue<'a>,
}

impl<'a> Item<'a> {
    pub(super) fn at(&self, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self {
            span: value.span(),
            value: value.get_ref(),
            ..self.clone()
        }
    }

    /// Reads it; notes what is wrong with it.
    #[must_use]
    pub fn read<T: Setting>(&self) -> Option<T> {
        match T::read(self) {
            Ok(value) => return Some(value),
            Err(Wrong::Told) => {}
            Err(Wrong::Value(text)) => self.reject(text),
            Err(Wrong::Kind) => {
                self.reject(format!("expected {}, found {}", T::EXPECTED, self.kind()))
            }
        }
        None
    }

    /// Notes that it cannot stay as it is.
    pub fn reject(&self, text: String) {
        self.notes.error(self.place(), &self.key, text);
    }

    /// Notes that it works but should be looked at.
    pub fn warn(&self, text: &str) {
        self.notes.warning(self.place(), &self.key, text.to_owned());
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> Place {
        self.document.file.place_of(self.span.start)
    }

    /// Its text, if it is a string.
    ///
    /// # Errors
    /// [`Wrong::Kind`].
    pub fn text(&self) -> Result<&'a str, Wrong> {
        self.value.as_str().ok_or(Wrong::Kind)
    }

    /// Its elements, if it is a list.
    #[must_use]
    pub fn elements(&self) -> Option<Vec<Self>> {
        let elements = self.value.as_array()?;
        Some(elements.iter().map(|element| self.at(element)).collect())
    }

    /// Its keys and what they are set to, if it is a table; a problem with one names its key.
    ///
    /// # Errors
    /// [`Wrong::Kind`].
    pub fn members(&self) -> Result<Vec<(String, Self)>, Wrong> {
        let members = self.table()?.iter().map(|(key, value)| {
            let mut item = self.at(value);
            item.key = format!("{}.{}", item.key, key.get_ref().escape_debug());
            (key.get_ref().clone().into_owned(), item)
        });
        Ok(members.collect())
    }

    /// Its keys and values, if it is a table.
    pub(super) fn table(&self) -> Result<&'a DeTable<'a>, Wrong> {
        self.value.as_table().ok_or(Wrong::Kind)
    }

    /// Its keys with their values read, if it is a table; notes what is wrong with a value.
    ///
    /// # Errors
    /// [`Wrong::Kind`].
    pub fn entries<T: Setting>(&self) -> Result<BTreeMap<String, T>, Wrong> {
        let read = |(key, item): (String, Self)| Some((key, item.read()?));
        Ok(self.members()?.into_iter().filter_map(read).collect())
    }

    /// A path that it names, from the folder that its file is in.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.document.file.resolve(path)
    }

    /// Whether the parser had to guess it.
    pub(super) fn is_guess(&self) -> bool {
        self.document.is_guess(&self.span)
    }

    pub(super) fn note_secret(&self, source: &SecretSource) {
        self.notes.secret(SecretUse {
            place: self.place(),
            key: self.key.clone(),
            source: source.clone(),
        });
    }

    /// What kind of value it is, with its article.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Setting for Size {
    const EXPECTED: &'static str = "a size such as \"512KiB\" or \"10GiB\"";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        Ok(Self(units::parse_size(item.text()?)?))
    }
}

impl Setting for Duration {
    const EXPECTED: &'static str = "a duration such as \"30s\", \"5m\" or \"7d\"";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        Ok(units::parse_duration(item.text()?)?)
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        item.value.as_bool().ok_or(Wrong::Kind)
    }
}

impl Setting for u32 {
    const EXPECTED: &'static str = "a whole number";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let number = item.value.as_integer().ok_or(Wrong::Kind)?;
        let read = Self::from_str_radix(number.as_str(), number.radix());
        read.map_err(|_| "is too large, or negative".into())
    }
}

/// Not empty, without white space at its ends: a blank that came along when an id was copied is refused here, not by a server.
impl Setting for String {
    const EXPECTED: &'static str = "a string";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        let text = item.text()?;
        if text.trim() != text {
            return Err("begins or ends with white space; take it away".into());
        }
        if text.is_empty() {
            return Err("is empty; give a text, or remove the key".into());
        }
        Ok(text.to_owned())
    }
}

/// Relative paths begin at the folder of the file that names them.
impl Setting for PathBuf {
    const EXPECTED: &'static str = "a path such as \"/etc/ssl/ca.pem\"";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        match item.text()? {
            "" => Err("is empty; give a path, or remove the key".into()),
            path => Ok(item.resolve(path)),
        }
    }
}

impl Setting for BTreeMap<String, String> {
    const EXPECTED: &'static str = "a table of strings such as { tenant = \"acme\" }";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        item.entries()
    }
}

impl Setting for BTreeMap<String, SecretSource> {
    const EXPECTED: &'static str = "a table of secrets such as { key = { file = \"PATH\" } }";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        item.entries()
    }
}

macro_rules! name {
    ($type:ident) => {
        impl Setting for $type {
            const EXPECTED: &'static str = "a name such as \"acme-uk\"";

            fn read(item: &Item<'_>) -> Result<Self, Wrong> {
                Ok(Self::new(item.text()?)?)
            }
        }
    };
}

name!(IntegrationId);
name!(OutputId);
name!(NodeId);
