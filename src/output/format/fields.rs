//! An event as named fields, in its own order.
//!
//! Members of an object within become `from.emailAddress`. Of a list, equal names are joined by `, `: `to.emailAddress=a, b`. What is
//! `null` or empty has no field. Values borrow from the body wherever it holds no escape.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::model::Form;

/// Objects within objects are taken apart as deep as this; what lies deeper is a value as it stands.
const DEPTH: usize = 8;

/// A field: the names of its members joined by points, and its value as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) value: Cow<'a, str>,
    /// Whether the value is a number or a boolean of JSON.
    pub(super) bare: bool,
}

impl<'a> Field<'a> {
    fn text(name: Cow<'a, str>, value: impl Into<Cow<'a, str>>) -> Self {
        Self {
            name,
            value: value.into(),
            bare: false,
        }
    }
}

/// The fields of a body.
pub(super) fn of(form: Form, body: &str) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    match form {
        Form::Json => take_apart(Cow::Borrowed(""), body, DEPTH, &mut fields),
        Form::Text => return of_line(body),
    }
    for field in &mut fields {
        if field.name.is_empty() {
            // A body that is no object.
            field.name = Cow::Borrowed("message");
        }
    }
    fields
}

/// A line of `key=value|key=value`. Mimecast escapes nothing in it, so what stands between two `|` and has no name of its own belongs
/// to the value before it.
fn of_line(line: &str) -> Vec<Field<'_>> {
    let mut fields: Vec<Field<'_>> = Vec::new();
    for part in line.split('|') {
        let pair = part.split_once('=').filter(|(name, _)| is_name(name));
        match (pair, fields.last_mut()) {
            (Some((name, value)), _) => fields.push(Field::text(name.into(), value)),
            (None, Some(before)) => {
                let value = before.value.to_mut();
                value.push('|');
                value.push_str(part);
            }
            (None, None) => fields.push(Field::text("message".into(), part)),
        }
    }
    fields.retain(|field| !field.value.is_empty());
    fields
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn take_apart<'a>(name: Cow<'a, str>, json: &'a str, depth: usize, fields: &mut Vec<Field<'a>>) {
    let json = json.trim();
    match json.bytes().next() {
        None | Some(b'n') => {}
        Some(b'"') => match serde_json::from_str::<Text<'a>>(json) {
            Ok(Text(text)) if text.is_empty() => {}
            Ok(Text(text)) => fields.push(Field::text(name, text)),
            Err(_) => fields.push(Field::text(name, json)),
        },
        Some(b'{') if depth > 0 => match serde_json::from_str::<Members<'a>>(json) {
            Ok(Members(members)) => {
                for (member, value) in members {
                    let path = if name.is_empty() {
                        member
                    } else {
                        Cow::Owned(format!("{name}.{member}"))
                    };
                    take_apart(path, value.get(), depth - 1, fields);
                }
            }
            Err(_) => fields.push(Field::text(name, json)),
        },
        Some(b'[') if depth > 0 => match serde_json::from_str::<Vec<&'a RawValue>>(json) {
            Ok(elements) => {
                let mut found = Vec::new();
                for element in elements {
                    take_apart(name.clone(), element.get(), depth - 1, &mut found);
                }
                join(found, fields);
            }
            Err(_) => fields.push(Field::text(name, json)),
        },
        Some(_) => fields.push(Field {
            name,
            value: json.into(),
            bare: !json.starts_with(['{', '[']),
        }),
    }
}

/// Joins the values of equal names.
fn join<'a>(found: Vec<Field<'a>>, fields: &mut Vec<Field<'a>>) {
    let first = fields.len();
    for field in found {
        let same = fields
            .iter_mut()
            .skip(first)
            .find(|other| other.name == field.name);
        match same {
            Some(other) => {
                other.bare = false;
                let value = other.value.to_mut();
                value.push_str(", ");
                value.push_str(&field.value);
            }
            None => fields.push(field),
        }
    }
}

/// A string of JSON, borrowed if it holds no escape.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The members of an object in their order, also those of equal names.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(form: Form, body: &str) -> Vec<String> {
        let fields = of(form, body);
        fields
            .iter()
            .map(|field| format!("{}={}", field.name, field.value))
            .collect()
    }

    #[test]
    fn members_keep_their_order_and_nothing_with_a_value_is_lost() {
        let body = r#"{"b": 1, "a":"x\ny", "no":null, "empty":"", "from":{"emailAddress":"e","n":{"t":true}},
            "to":[{"emailAddress":"a","name":""},{"emailAddress":"b"}], "parts":["Body","Subject",2], "none":[]}"#;
        assert_eq!(
            shown(Form::Json, body),
            [
                "b=1",
                "a=x\ny",
                "from.emailAddress=e",
                "from.n.t=true",
                "to.emailAddress=a, b",
                "parts=Body, Subject, 2"
            ]
        );
    }

    #[test]
    fn a_body_that_is_no_object_is_a_message() {
        assert_eq!(shown(Form::Json, "\"text\""), ["message=text"]);
        assert_eq!(shown(Form::Json, "{broken"), ["message={broken"]);
        assert_eq!(shown(Form::Text, "plain"), ["message=plain"]);
    }

    #[test]
    fn a_bar_within_a_value_of_a_line_stays_in_it() {
        assert_eq!(
            shown(Form::Text, "acc=C1|Subject=a | b|no name=1|Act=|Rcpt=x=y"),
            ["acc=C1", "Subject=a | b|no name=1", "Rcpt=x=y"]
        );
    }

    #[test]
    fn objects_without_end_are_no_danger() {
        let deep = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
        let fields = of(Form::Json, &deep);
        assert_eq!(fields.len(), 1);
        assert_eq!(fields[0].name, "a.a.a.a.a.a.a.a");
    }
}
