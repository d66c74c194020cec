//! What the configuration says of a format.

use super::{Format, Template};
use crate::settings::{Item, Setting, Table, Wrong};

#[derive(Clone, Copy)]
enum Name {
    Json,
    KeyValue,
    Cef,
    Leef,
    Leef2,
    Template,
}

const NAMES: &[(&str, Name)] = &[
    ("json", Name::Json),
    ("key_value", Name::KeyValue),
    ("cef", Name::Cef),
    ("leef", Name::Leef),
    ("leef2", Name::Leef2),
    ("template", Name::Template),
];

impl Format {
    /// Reads `format`, and `template` where that is the format; JSON if neither is there.
    pub fn read(table: &mut Table<'_>) -> Option<Self> {
        let name = table.one_of("format", NAMES).unwrap_or(Name::Json);
        let has_template = table.has("template");
        let template = table.optional::<Template>("template");
        let plain = match name {
            Name::Template => {
                if !has_template && template.is_none() {
                    table.missing("template", Template::EXPECTED);
                }
                return template.map(Self::Template);
            }
            Name::Json => Self::Json,
            Name::KeyValue => Self::KeyValue,
            Name::Cef => Self::Cef,
            Name::Leef => Self::Leef,
            Name::Leef2 => Self::Leef2,
        };
        if has_template {
            table.reject("template", "is for format = \"template\" only".to_owned());
        }
        Some(plain)
    }
}

impl Setting for Template {
    const EXPECTED: &'static str = "a text such as \"{time} {integration} {event}\"";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        Ok(Self::parse(item.text()?)?)
    }
}
