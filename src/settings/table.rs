//! A table whose keys are asked for one by one.

use std::collections::BTreeSet;

use toml::de::DeTable;

use super::{Document, Item, Notes, Place, Setting, did_you_mean, quoted};

/// A table of the configuration, joined from all files that have a part of it.
///
/// A key that nobody asked for by the time the table is dropped is an error: there is no way to forget the check.
pub struct Table<'a> {
    notes: &'a Notes,
    /// For people, `integration[acme-uk]`; empty for the root.
    label: String,
    /// The same without the name.
    path: String,
    own: Vec<Part<'a>>,
    defaults: Vec<Part<'a>>,
    asked: BTreeSet<&'static str>,
    refused: BTreeSet<&'static str>,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Everything is checked.
    Whole,
    /// Defaults for others: keys and values are checked, completeness is not.
    Defaults,
    /// Nothing more is checked.
    Ignored,
}

/// The part of a table that one file has.
#[derive(Clone)]
struct Part<'a> {
    document: &'a Document<'a>,
    label: String,
    /// Where the table begins.
    start: usize,
    entries: &'a DeTable<'a>,
}

impl<'a> Part<'a> {
    fn of(item: &Item<'a>) -> Option<Self> {
        Some(Self {
            document: item.document,
            label: item.key.clone(),
            start: item.span.start,
            entries: item.value.as_table()?,
        })
    }

    fn item(&self, notes: &'a Notes, key: &str) -> Option<Item<'a>> {
        let value = self.entries.get(key)?;
        Some(Item {
            document: self.document,
            notes,
            key: join(&self.label, key),
            span: value.span(),
            value: value.get_ref(),
        })
    }

    fn place(&self) -> Place {
        self.document.file.place_of(self.start)
    }
}

fn join(label: &str, key: &str) -> String {
    if label.is_empty() {
        key.to_owned()
    } else {
        format!("{label}.{key}")
    }
}

impl<'a> Table<'a> {
    /// The root of all files together.
    #[must_use]
    pub fn root(documents: &'a [Document<'a>], notes: &'a Notes) -> Self {
        let parts = documents.iter().map(|document| Part {
            document,
            label: String::new(),
            start: 0,
            entries: document.root.get_ref(),
        });
        Self::new(notes, String::new(), parts.collect())
    }

    fn new(notes: &'a Notes, label: String, own: Vec<Part<'a>>) -> Self {
        Self {
            notes,
            path: label.clone(),
            label,
            own,
            defaults: Vec::new(),
            asked: BTreeSet::new(),
            refused: BTreeSet::new(),
            mode: Mode::Whole,
        }
    }

    /// Makes this a table of defaults for others, which may be incomplete.
    #[must_use]
    pub fn as_defaults(mut self) -> Self {
        self.mode = Mode::Defaults;
        self
    }

    /// Takes what this table leaves out from `defaults`.
    #[must_use]
    pub fn with_defaults(mut self, defaults: &Self) -> Self {
        self.defaults.clone_from(&defaults.own);
        self
    }

    /// Gives up on a table that cannot be understood: its other keys are not judged.
    pub fn ignore_rest(&mut self) {
        self.mode = Mode::Ignored;
    }

    /// Whether no file says anything in it, defaults aside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own.iter().all(|part| part.entries.is_empty())
    }

    /// Whether the table itself has the key, defaults aside; does not ask for it.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.own.iter().any(|part| part.entries.contains_key(key))
    }

    /// Asks for a key that may be left out.
    pub fn optional<T: Setting>(&mut self, key: &'static str) -> Option<T> {
        self.find(key)?.read()
    }

    /// Asks for a key that must be there.
    pub fn required<T: Setting>(&mut self, key: &'static str) -> Option<T> {
        match self.find(key) {
            Some(item) => item.read(),
            None => {
                self.missing(key, T::EXPECTED);
                None
            }
        }
    }

    /// Asks for a key with one of a few values; it may be left out.
    pub fn one_of<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let item = self.find(key)?;
        let names = || choices.iter().map(|(name, _)| *name);
        let Ok(text) = item.text() else {
            item.reject(format!(
                "expected one of {} (in quotation marks), found {}",
                quoted(names()),
                item.kind()
            ));
            return None;
        };
        let choice = choices.iter().find(|(name, _)| *name == text);
        if choice.is_none() {
            item.reject(format!(
                "expected one of {}, found {text:?}{}",
                quoted(names()),
                did_you_mean(text, names())
            ));
        }
        choice.map(|(_, value)| *value)
    }

    /// Asks for a key with one of a few values, which must be there.
    pub fn required_one_of<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let value = self.one_of(key, choices);
        if self.look(key).is_none() {
            let names = choices.iter().map(|(name, _)| *name);
            self.missing(key, &format!("one of {}", quoted(names)));
        }
        value
    }

    /// Asks for a key as it stands, for values that need more than a [`Setting`]; defaults are looked at last.
    ///
    /// A value that the parser had to guess is not shown.
    pub fn find(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.asked.insert(key);
        let item = self.look(key);
        self.notes.asked(join(&self.path, key), item.is_some());
        item.filter(|item| !item.is_guess())
    }

    fn look(&self, key: &str) -> Option<Item<'a>> {
        self.first(&self.own, key)
            .or_else(|| self.first(&self.defaults, key))
    }

    fn first(&self, parts: &[Part<'a>], key: &str) -> Option<Item<'a>> {
        let mut items = parts.iter().filter_map(|part| part.item(self.notes, key));
        let first = items.next()?;
        for other in items {
            other.reject(format!(
                "is set at {} too; keep it in one place",
                first.place()
            ));
        }
        Some(first)
    }

    /// Notes that a key must be there; `expected` says what it would be.
    pub fn missing(&self, key: &str, expected: &str) {
        let broken = self
            .own
            .iter()
            .chain(&self.defaults)
            .any(|part| part.document.is_broken());
        if self.mode != Mode::Whole || broken {
            return;
        }
        if let Some(part) = self.own.first() {
            let text = format!("is missing; expected {expected}");
            self.notes
                .error(part.place(), &join(&self.label, key), text);
        }
    }

    /// Notes what is wrong with this table as a whole, at the place where it begins.
    pub fn complain(&self, key: &str, text: String) {
        if let Some(part) = self.own.first().filter(|_| self.mode == Mode::Whole) {
            self.notes
                .error(part.place(), &join(&self.label, key), text);
        }
    }

    /// Notes that this table must not have a key, which may stand in its defaults for others.
    pub fn refuse(&mut self, key: &'static str, why: &str) {
        self.refused.insert(key);
        if self.mode == Mode::Whole
            && let Some(item) = self.own.first().and_then(|part| part.item(self.notes, key))
        {
            item.reject(why.to_owned());
        }
    }

    /// Notes that the value of a key does not fit the others of this table.
    pub fn reject(&mut self, key: &'static str, text: String) {
        if self.mode == Mode::Whole
            && let Some(item) = self.find(key)
        {
            item.reject(text);
        }
    }

    /// Notes that the value of a key works but should be looked at.
    pub fn warn(&mut self, key: &'static str, text: &str) {
        if let Some(item) = self.find(key) {
            item.warn(text);
        }
    }

    /// The table `[key]`, joined from all files; empty if none has it.
    pub fn table(&mut self, key: &'static str) -> Self {
        self.asked.insert(key);
        let items = self.own.iter();
        let items: Vec<_> = items
            .filter_map(|part| part.item(self.notes, key))
            .collect();
        for item in items.iter().filter(|item| Part::of(item).is_none()) {
            item.reject(format!(
                "expected one table, written [{}], found {}",
                item.key,
                item.kind()
            ));
        }
        let parts = items.iter().filter_map(Part::of).collect();
        Self::new(self.notes, join(&self.label, key), parts)
    }

    /// The table `[key]` below this one, which takes what it leaves out from the same table of the defaults. Of several that
    /// are alike, `kind` stands for the name in the list of known keys.
    pub fn part(&mut self, key: &'static str, kind: &str) -> Self {
        let defaults = self.defaults.iter();
        let defaults = defaults.filter_map(|part| Part::of(&part.item(self.notes, key)?));
        let defaults = defaults.collect();
        let mut table = self.table(key);
        table.path = join(&self.path, kind);
        table.defaults = defaults;
        table.mode = self.mode;
        table
    }

    /// The tables `[[key]]` of all files, in their order; each is called by its `name` in problems.
    pub fn tables(&mut self, key: &'static str) -> Vec<Self> {
        self.asked.insert(key);
        let mut tables = Vec::new();
        for list in self
            .own
            .iter()
            .filter_map(|part| part.item(self.notes, key))
        {
            let Some(elements) = list.elements().filter(|elements| !elements.is_empty()) else {
                list.reject(format!(
                    "there may be several of these: write [[{key}]] with two brackets at each side"
                ));
                continue;
            };
            for mut item in elements {
                let name = item
                    .value
                    .get("name")
                    .and_then(|name| name.get_ref().as_str());
                if let Some(name) = name {
                    item.key = format!("{}[{}]", item.key, printable(name));
                }
                match Part::of(&item) {
                    Some(part) => {
                        let mut table = Self::new(self.notes, item.key, vec![part]);
                        key.clone_into(&mut table.path);
                        tables.push(table);
                    }
                    None => item.reject(format!("expected a table, written [[{key}]]")),
                }
            }
        }
        tables
    }

    /// Notes an error at each of the tables whose `key` has the same value as that of one before it; `why` ends its text.
    pub fn distinct<T: Setting + PartialEq>(tables: &[Self], key: &'static str, why: &str) {
        let mut seen: Vec<(T, String, Place)> = Vec::new();
        for table in tables {
            let item = table
                .look(key)
                .filter(|item| !table.refused.contains(key) && !item.is_guess());
            let Some(item) = item else { continue };
            let Ok(value) = T::read(&item) else { continue };
            match seen.iter().find(|(other, _, _)| *other == value) {
                Some((_, label, place)) => {
                    item.reject(format!("{label} at {place} has the same; {why}"))
                }
                None => seen.push((value, table.label.clone(), item.place())),
            }
        }
    }

    fn finish(&self) {
        if self.mode == Mode::Ignored {
            return;
        }
        for part in &self.own {
            for key in part.entries.keys() {
                let name: &str = key.get_ref();
                if self.asked.contains(name)
                    || self.refused.contains(name)
                    || part.document.is_guess(&key.span())
                {
                    continue;
                }
                let known = || self.asked.iter().copied();
                let mut text = format!("unknown key{}", did_you_mean(name, known()));
                if !text.ends_with('?') {
                    text = format!("{text}; known are {}", quoted(known()));
                }
                let place = part.document.file.place_of(key.span().start);
                self.notes
                    .error(place, &join(&part.label, &printable(name)), text);
            }
        }
    }
}

/// A text of the file for a problem's line: short, and without characters that could forge another line.
fn printable(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}
