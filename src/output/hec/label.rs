//! Texts of the configuration that events are shown under: `mimecast_{tag.customer}`.
//!
//! The places are `{integration}`, `{log}`, `{type}`, `{account}` and `{tag.NAME}`. Where a place has no value, such as a tag that an
//! integration lacks, or an integration for what the collector says of itself, the whole text is left out and the default stands.

use crate::output::directory::Tenant;
use crate::settings::{Item, Setting, Wrong};

/// A text that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Place),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Integration,
    Log,
    Type,
    Account,
    Tag(String),
}

/// What the places of a label stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    /// Absent for the collector's own events.
    pub(super) integration: Option<&'a str>,
    pub(super) tenant: Option<&'a Tenant>,
    pub(super) log: &'a str,
    pub(super) kind: &'a str,
}

impl Label {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let Some((name, after)) = behind.split_once('}') else {
                return Err(format!("has a \"{{\" without its \"}}\" before {behind:?}"));
            };
            parts.extend(Part::text(before)?);
            parts.push(Part::Place(Place::parse(name)?));
            rest = after;
        }
        parts.extend(Part::text(rest)?);
        Ok(Self(parts))
    }

    /// The tags that it has places for.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Place(Place::Tag(name)) => Some(name.as_str()),
            Part::Place(Place::Integration | Place::Log | Place::Type | Place::Account)
            | Part::Text(_) => None,
        })
    }

    /// The text for an event; `fit` makes of a value what may stand there.
    pub(super) fn show(&self, origin: &Origin<'_>, fit: fn(char) -> char) -> Option<String> {
        let mut shown = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => shown.push_str(text),
                Part::Place(place) => shown.extend(place.value(origin)?.chars().map(fit)),
            }
        }
        Some(shown)
    }
}

impl Part {
    fn text(text: &str) -> Result<Option<Self>, String> {
        if text.contains('}') {
            return Err("has a \"}\" without its \"{\"".to_owned());
        }
        if text.contains(char::is_control) {
            return Err("has a line break or another control character".to_owned());
        }
        Ok((!text.is_empty()).then(|| Self::Text(text.to_owned())))
    }
}

impl Place {
    fn parse(name: &str) -> Result<Self, String> {
        match (name, name.strip_prefix("tag.")) {
            ("integration", _) => Ok(Self::Integration),
            ("log", _) => Ok(Self::Log),
            ("type", _) => Ok(Self::Type),
            ("account", _) => Ok(Self::Account),
            (_, Some(tag)) if !tag.is_empty() => Ok(Self::Tag(tag.to_owned())),
            _ => Err(format!(
                "has no value for {{{}}}; there are {{integration}}, {{log}}, {{type}}, {{account}} and {{tag.NAME}}",
                name.escape_debug()
            )),
        }
    }

    fn value<'a>(&self, origin: &Origin<'a>) -> Option<&'a str> {
        let value = match self {
            Self::Integration => origin.integration,
            Self::Log => Some(origin.log),
            Self::Type => Some(origin.kind),
            Self::Account => origin.tenant.and_then(|tenant| tenant.account.as_deref()),
            Self::Tag(name) => origin
                .tenant
                .and_then(|tenant| tenant.tags.get(name))
                .map(String::as_str),
        };
        value.filter(|value| !value.is_empty())
    }
}

impl Setting for Label {
    const EXPECTED: &'static str = "a text such as \"mimecast_{integration}\"";

    fn read(item: &Item<'_>) -> Result<Self, Wrong> {
        Self::parse(&String::read(item)?).map_err(Wrong::Value)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    pub(in crate::output::hec) fn label(text: &str) -> Label {
        Label::parse(text).unwrap()
    }

    #[test]
    fn a_wrong_label_is_explained() {
        let told = |text: &str| Label::parse(text).unwrap_err();
        insta::assert_snapshot!(
            [
                told("a{log"),
                told("a}{log}"),
                told("{subject}"),
                told("{tag.}"),
                told("{}"),
                told("a\nb"),
            ]
            .join("\n"),
            @r#"
        has a "{" without its "}" before "log"
        has a "}" without its "{"
        has no value for {subject}; there are {integration}, {log}, {type}, {account} and {tag.NAME}
        has no value for {tag.}; there are {integration}, {log}, {type}, {account} and {tag.NAME}
        has no value for {}; there are {integration}, {log}, {type}, {account} and {tag.NAME}
        has a line break or another control character
        "#
        );
    }

    #[test]
    fn a_place_without_a_value_leaves_the_whole_text_out() {
        let tenant = Tenant {
            account: Some("C1A1".to_owned()),
            tags: BTreeMap::from([("customer".to_owned(), "Acme UK".to_owned())]),
        };
        let origin = Origin {
            integration: Some("acme-uk"),
            tenant: Some(&tenant),
            log: "siem-cg",
            kind: "url protect",
        };
        let show = |text: &str, origin: Origin<'_>| label(text).show(&origin, |c| c);
        let all = "{integration}/{log}/{type}/{account}/{tag.customer}.";
        assert_eq!(
            show(all, origin).unwrap(),
            "acme-uk/siem-cg/url protect/C1A1/Acme UK."
        );
        assert_eq!(show("m_{tag.region}", origin), None);
        let own = Origin {
            integration: None,
            tenant: None,
            ..origin
        };
        for text in ["{integration}", "{account}", "{tag.customer}"] {
            assert_eq!(show(text, own), None, "{text}");
        }
        assert_eq!(show("constant", own).unwrap(), "constant");
    }
}
