//! The fields of an event: found where they stand, and cut out or replaced there.
//!
//! A JSON object is never written anew: what stays are the bytes that came. A line of text has its fields as `name=value`, divided by
//! `|`; a `|` that no name follows belongs to the value before it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::Sha256;

use crate::model::{Form, Record};

/// Bytes of a hash that are shown: 128 bits, as an event id has.
const HASH: usize = 16;

/// An event that was understood as far as its fields.
pub(super) struct Fields<'a> {
    form: Form,
    text: &'a str,
}

/// A member of an object, or a field of a line, by its places in the text.
struct Member<'a> {
    name: Cow<'a, str>,
    /// From behind the separator before it to the one behind it.
    whole: Range<usize>,
    value: Range<usize>,
}

impl<'a> Fields<'a> {
    /// The fields of an event; `None` if it is not what its form says.
    pub(super) fn of(record: &'a Record) -> Option<Self> {
        let text = std::str::from_utf8(&record.body).ok()?;
        if record.form == Form::Json {
            members(text)?;
        }
        Some(Self {
            form: record.form,
            text,
        })
    }

    /// The values of a field, as text: the elements of a list, nothing for an absent or a null one.
    pub(super) fn values(&self, path: &str) -> Vec<String> {
        match self.form {
            Form::Json => {
                let mut found = Vec::new();
                json_values(self.text, path, &mut found);
                found
            }
            Form::Text => {
                let fields = line_fields(self.text).into_iter();
                let named = fields.filter(|field| field.name == path);
                let value = |field: Member<'_>| Some(self.text.get(field.value)?.to_owned());
                named.filter_map(value).collect()
            }
        }
    }

    /// The event without some fields, and with hashes for the values of others; `None` if it has none of them.
    pub(super) fn edited(&self, drop: &[String], hash: &[String], key: &[u8]) -> Option<String> {
        let edited = match self.form {
            Form::Json => edit_object(self.text, "", drop, hash, key),
            Form::Text => {
                let fields = line_fields(self.text);
                edit(self.text, &fields, "|", |field| {
                    let is = |path: &String| *path == field.name;
                    if drop.iter().any(is) {
                        return Edit::Drop;
                    }
                    if !hash.iter().any(is) {
                        return Edit::Keep;
                    }
                    let value = self.text.get(field.value.clone()).unwrap_or_default();
                    Edit::Replace(hashed(value, key))
                })
            }
        };
        (edited != self.text).then_some(edited)
    }
}

enum Edit {
    Keep,
    Drop,
    Replace(String),
}

/// Joins what stays of members that are divided by `separator`; all bytes around them stay.
fn edit(
    text: &str,
    members: &[Member<'_>],
    separator: &str,
    mut decide: impl FnMut(&Member<'_>) -> Edit,
) -> String {
    let (Some(first), Some(last)) = (members.first(), members.last()) else {
        return text.to_owned();
    };
    let part = |range: Range<usize>| text.get(range).unwrap_or_default();
    let mut out = String::with_capacity(text.len());
    out.push_str(part(0..first.whole.start));
    let mut any = false;
    for member in members {
        let edit = decide(member);
        if matches!(edit, Edit::Drop) {
            continue;
        }
        if any {
            out.push_str(separator);
        }
        any = true;
        match edit {
            Edit::Replace(value) => {
                out.push_str(part(member.whole.start..member.value.start));
                out.push_str(&value);
                out.push_str(part(member.value.end..member.whole.end));
            }
            Edit::Keep | Edit::Drop => out.push_str(part(member.whole.clone())),
        }
    }
    out.push_str(part(last.whole.end..text.len()));
    out
}

/// Edits an object, or the objects of a list, that stand at `path`; anything else is left as it is.
fn edit_object(text: &str, path: &str, drop: &[String], hash: &[String], key: &[u8]) -> String {
    let Some(members) = members(text) else {
        return match elements(text) {
            Some(elements) => edit(text, &elements, ",", |element| {
                let value = text.get(element.value.clone()).unwrap_or_default();
                Edit::Replace(edit_object(value, path, drop, hash, key))
            }),
            None => text.to_owned(),
        };
    };
    edit(text, &members, ",", |member| {
        let path = if path.is_empty() {
            member.name.to_string()
        } else {
            format!("{path}.{}", member.name)
        };
        let value = text.get(member.value.clone()).unwrap_or_default();
        let below = |chosen: &String| {
            let rest = chosen.strip_prefix(path.as_str());
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        if drop.contains(&path) {
            Edit::Drop
        } else if hash.contains(&path) {
            Edit::Replace(hashed_json(value, key))
        } else if drop.iter().chain(hash).any(below) {
            Edit::Replace(edit_object(value, &path, drop, hash, key))
        } else {
            Edit::Keep
        }
    })
}

/// Hashes of a JSON value: element by element of a list, so that one of several recipients is told by its own; null stays.
fn hashed_json(value: &str, key: &[u8]) -> String {
    if value == "null" {
        return value.to_owned();
    }
    if let Some(elements) = elements(value) {
        return edit(value, &elements, ",", |element| {
            let one = value.get(element.value.clone()).unwrap_or_default();
            Edit::Replace(hashed_json(one, key))
        });
    }
    let text = serde_json::from_str::<String>(value);
    format!("\"{}\"", hashed(text.as_deref().unwrap_or(value), key))
}

/// The keyed hash of a value, in hexadecimal digits.
fn hashed(value: &str, key: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        // A key of any length is taken; without one, nothing is shown.
        return String::new();
    };
    mac.update(value.as_bytes());
    let digest = mac.finalize().into_bytes();
    let shown = digest.iter().take(HASH);
    shown.map(|byte| format!("{byte:02x}")).collect()
}

fn json_values(text: &str, path: &str, found: &mut Vec<String>) {
    if let Some(elements) = elements(text) {
        for element in elements {
            json_values(text.get(element.value).unwrap_or_default(), path, found);
        }
        return;
    }
    for member in members(text).into_iter().flatten() {
        let value = text.get(member.value).unwrap_or_default();
        if *member.name == *path {
            scalars(value, found);
        } else if let Some(rest) = path.strip_prefix(&*member.name)
            && let Some(rest) = rest.strip_prefix('.')
        {
            json_values(value, rest, found);
        }
    }
}

/// The texts of a value: its own, or those of its elements.
fn scalars(value: &str, found: &mut Vec<String>) {
    match elements(value) {
        Some(elements) => {
            for element in elements {
                scalars(value.get(element.value).unwrap_or_default(), found);
            }
        }
        None if value == "null" => {}
        None => {
            let text = serde_json::from_str::<String>(value);
            found.push(text.unwrap_or_else(|_| value.to_owned()));
        }
    }
}

/// The members of a JSON object, in their order; `None` for anything else.
fn members(text: &str) -> Option<Vec<Member<'_>>> {
    struct Object;

    impl<'de> Visitor<'de> for Object {
        type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                members.push((Cow::Owned(name), value));
            }
            Ok(members)
        }
    }

    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = reader.deserialize_map(Object).ok()?;
    reader.end().ok()?;
    let (open, close) = (text.find('{')? + 1, text.rfind('}')?);
    placed(text, open..close, found)
}

/// The elements of a JSON list, in their order; `None` for anything else.
fn elements(text: &str) -> Option<Vec<Member<'_>>> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    let found: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let found = found.into_iter().map(|value| (Cow::Borrowed(""), value));
    let (open, close) = (text.find('[')? + 1, text.rfind(']')?);
    placed(text, open..close, found.collect())
}

/// Where values stand that lie one after another, with a comma between each two.
fn placed<'a>(
    text: &'a str,
    within: Range<usize>,
    found: Vec<(Cow<'a, str>, &'a RawValue)>,
) -> Option<Vec<Member<'a>>> {
    let base = text.as_ptr().addr();
    let (mut members, mut start) = (Vec::with_capacity(found.len()), within.start);
    let last = found.len().saturating_sub(1);
    for (at, (name, value)) in found.into_iter().enumerate() {
        let value = value.get();
        let from = value.as_ptr().addr().checked_sub(base)?;
        let to = from + value.len();
        let end = match at {
            at if at == last => within.end,
            _ => to + text.get(to..)?.find(',')?,
        };
        members.push(Member {
            name,
            whole: start..end,
            value: from..to,
        });
        start = end + 1;
    }
    Some(members)
}

/// The fields of a line; what has no name belongs to the field before it.
fn line_fields(text: &str) -> Vec<Member<'_>> {
    let mut fields: Vec<Member<'_>> = Vec::new();
    let mut start = 0;
    for part in text.split('|') {
        let end = start + part.len();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let name = part.split_once('=').map(|(name, _)| name);
        match name.filter(|name| !name.is_empty() && name.chars().all(plain)) {
            Some(name) => fields.push(Member {
                name: Cow::Borrowed(name),
                whole: start..end,
                value: start + name.len() + 1..end,
            }),
            None => match fields.last_mut() {
                Some(field) => {
                    field.whole.end = end;
                    field.value.end = end;
                }
                None => fields.push(Member {
                    name: Cow::Borrowed(""),
                    whole: start..end,
                    value: start..end,
                }),
            },
        }
        start = end + 1;
    }
    fields
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::fixture::record;
    use super::*;

    const MAIL: &str = r#"{ "Subject" : "a, {\"b\"}" ,"Rcpt":["x@y","z"],"size":12, "in":{"from":"me","to":null},"size":13}"#;

    fn edited(form: Form, body: &str, drop: &[&str], hash: &[&str]) -> String {
        let record = record("receipt", form, body);
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let fields = Fields::of(&record).unwrap();
        let new = fields.edited(&names(drop), &names(hash), b"install");
        new.unwrap_or_else(|| "as it was".to_owned())
    }

    #[test]
    fn fields_are_cut_out_and_every_other_byte_stays() {
        let cut = |drop: &[&str]| edited(Form::Json, MAIL, drop, &[]);
        insta::assert_snapshot!(cut(&["Subject"]), @r#"{"Rcpt":["x@y","z"],"size":12, "in":{"from":"me","to":null},"size":13}"#);
        insta::assert_snapshot!(cut(&["size"]), @r#"{ "Subject" : "a, {\"b\"}" ,"Rcpt":["x@y","z"], "in":{"from":"me","to":null}}"#);
        insta::assert_snapshot!(cut(&["in.from", "Rcpt"]), @r#"{ "Subject" : "a, {\"b\"}" ,"size":12, "in":{"to":null},"size":13}"#);
        insta::assert_snapshot!(cut(&["Subject", "Rcpt", "size", "in"]), @"{}");
        assert_eq!(cut(&["subject", "in.", "from"]), "as it was");
    }

    #[test]
    fn a_hash_is_keyed_the_same_for_the_same_value_and_one_for_each_element() {
        let hash = |hash: &[&str]| edited(Form::Json, MAIL, &[], hash);
        let both = hash(&["Rcpt", "in.to"]);
        let value: serde_json::Value = serde_json::from_str(&both).unwrap();
        assert_eq!(value["Rcpt"][1], hashed("z", b"install"));
        assert!(
            both.ends_with(r#""in":{"from":"me","to":null},"size":13}"#),
            "{both}"
        );
        let line = edited(Form::Text, "Subject=x@y|Rcpt=z", &[], &["Subject"]);
        let of_x = hashed("x@y", b"install");
        assert_eq!(line, format!("Subject={of_x}|Rcpt=z"));
        assert!(hash(&["Rcpt"]).contains(&of_x));
        assert_ne!(hashed("x@y", b"another"), of_x);
    }

    #[test]
    fn a_line_of_text_has_fields_too_and_a_bar_in_a_value_hides_nothing() {
        let line = "datetime=2026|Subject=buy | now|Rcpt=a@b";
        assert_eq!(
            edited(Form::Text, line, &["Subject"], &[]),
            "datetime=2026|Rcpt=a@b"
        );
    }

    #[test]
    fn values_are_read_as_texts() {
        let record = record("receipt", Form::Json, MAIL);
        let values = |path| Fields::of(&record).unwrap().values(path);
        assert_eq!(values("Subject"), ["a, {\"b\"}"]);
        assert_eq!(values("Rcpt"), ["x@y", "z"]);
        assert_eq!(values("size"), ["12", "13"]);
        assert_eq!(values("in.from"), ["me"]);
        assert_eq!(values("in.to"), Vec::<String>::new());
        assert!(
            Fields::of(&super::super::super::fixture::record(
                "x",
                Form::Json,
                "[1]"
            ))
            .is_none()
        );
    }

    proptest! {
        #[test]
        fn an_object_without_a_field_is_the_same_object_without_it(
            members in prop::collection::vec(("[a-d]", "[a-z\",\\\\{}é]{0,6}"), 0..6), space in " {0,2}", drop in "[a-d]",
        ) {
            let written = |members: Vec<&(String, String)>| {
                let text = |(name, value): &&(String, String)| {
                    format!("{space}\"{name}\"{space}:{space}{}", serde_json::Value::from(value.as_str()))
                };
                let texts: Vec<_> = members.iter().map(text).collect();
                format!("{{{}}}", texts.join(","))
            };
            let left: Vec<_> = members.iter().filter(|(name, _)| *name != drop).collect();
            let whole = written(members.iter().collect());
            let new = edited(Form::Json, &whole, &[&drop], &[]);
            let expected = written(left);
            prop_assert_eq!(new, if expected == whole { "as it was".to_owned() } else { expected });
        }
    }
}
