//! One look at a record of JSON: is it an object, and when did it happen.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::scan;
use crate::model::Timestamp;

/// Checks that the text is one JSON object, and reads the time in its member `field`.
///
/// # Errors
/// Where the text stops being a JSON object.
pub(super) fn time_of(text: &str, field: &str) -> Result<Option<Timestamp>, serde_json::Error> {
    match scan::time(text, field, moment) {
        Some(time) => Ok(time),
        None => time_of_any(text, field),
    }
}

/// [`time_of`] for any text, however it is spelled.
fn time_of_any(text: &str, field: &str) -> Result<Option<Timestamp>, serde_json::Error> {
    let mut input = serde_json::Deserializer::from_str(text);
    let time = TimeOf(field).deserialize(&mut input)?;
    input.end()?;
    Ok(time)
}

/// The record in one line: a line break can only stand between tokens, where a space does as well.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace(['\n', '\r'], " "))
}

/// Reads one member of an object and steps over the others.
struct TimeOf<'f>(&'f str);

impl<'de> DeserializeSeed<'de> for TimeOf<'_> {
    type Value = Option<Timestamp>;

    fn deserialize<D: de::Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TimeOf<'_> {
    type Value = Option<Timestamp>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut time = None;
        while let Some(is_time) = map.next_key_seed(Is(self.0))? {
            if is_time && time.is_none() {
                time = moment(map.next_value::<&RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(time)
    }
}

/// Whether a key is this one, without keeping it.
struct Is<'f>(&'f str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: de::Deserializer<'de>>(self, input: D) -> Result<bool, D::Error> {
        input.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

/// Reads milliseconds since 1970, as a number or a text, or a date with its offset.
fn moment(json: &str) -> Option<Timestamp> {
    let text = json.trim_matches('"').trim();
    match text.parse() {
        Ok(millis) => Some(Timestamp::from_millis(millis)),
        Err(_) => Timestamp::parse(text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(record: &str) -> Option<i64> {
        time_of(record, "when").unwrap().map(Timestamp::as_millis)
    }

    #[test]
    fn the_time_is_read_in_every_form_the_vendor_uses() {
        assert_eq!(
            time(r#"{"a":{"when":1},"when":1767690487000}"#),
            Some(1_767_690_487_000)
        );
        assert_eq!(time(r#"{"when":"1767690487000"}"#), Some(1_767_690_487_000));
        assert_eq!(
            time(r#"{"when":"2026-01-06T10:08:07+0100"}"#),
            Some(1_767_690_487_000)
        );
        assert_eq!(time(r#"{"wh\u0065n":7}"#), Some(7));
        for without in [
            r"{}",
            r#"{"when":null}"#,
            r#"{"when":"soon"}"#,
            r#"{"when":{}}"#,
        ] {
            assert_eq!(time(without), None, "{without}");
        }
    }

    #[test]
    fn what_is_not_one_object_is_an_error() {
        for bad in [
            "",
            "[]",
            "1",
            "null",
            "{",
            r#"{"a":1}{}"#,
            r#"{"a":01}"#,
            "{\"a\":\"\n\"}",
        ] {
            assert!(time_of(bad, "when").is_err(), "{bad}");
        }
    }

    #[test]
    fn line_breaks_between_tokens_become_spaces() {
        assert_eq!(one_line("{\r\n \"a\":\n1}"), "{   \"a\": 1}");
        assert_eq!(one_line(r#"{"a":"\n"}"#), r#"{"a":"\n"}"#);
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = format!(
            r#"{{"when":5,"a":{}1{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        drop(time_of(&deep, "when"));
    }

    proptest! {
        #[test]
        fn the_quick_reader_never_says_other_than_the_strict_one(
            text in r#"\{("(when|a|wh\\u0065n)" ?: ?("[a-z0-9:+é\\"u-]{0,12}"|-?[0-9.e]{1,5}|null|\{\}|\[[0-9,]{0,4}\]|\{"when":[0-9]\}),?){0,4}\} ?"#,
        ) {
            let strict = time_of_any(&text, "when");
            if let Some(time) = scan::time(&text, "when", moment) {
                prop_assert_eq!(time, strict.unwrap(), "{}", text);
            }
        }
    }
}
