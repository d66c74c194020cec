//! STIX bundles: each object as it is written.

use serde::Deserialize;
use serde_json::value::RawValue;

/// The objects of a bundle.
///
/// # Errors
/// Why the text is none.
pub(in crate::mimecast) fn objects(text: &str) -> Result<Vec<&RawValue>, String> {
    #[derive(Deserialize)]
    struct Bundle<'a> {
        #[serde(default)]
        r#type: Option<String>,
        #[serde(default, borrow)]
        objects: Option<Vec<&'a RawValue>>,
    }

    let bundle: Bundle<'_> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    match bundle.r#type.as_deref() {
        Some("bundle") => Ok(bundle.objects.unwrap_or_default()),
        Some(_) | None => Err("no STIX bundle".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_kept_as_they_are_written() {
        let bundle = r#"{"type":"bundle","spec_version":"2.0","objects":[{"type": "malware"},{"type":"indicator"}]}"#;
        let found: Vec<_> = objects(bundle).unwrap().iter().map(|o| o.get()).collect();
        assert_eq!(found, [r#"{"type": "malware"}"#, r#"{"type":"indicator"}"#]);
        assert!(objects(r#"{"type":"bundle"}"#).unwrap().is_empty());
        for bad in ["", "[]", "{}", r#"{"meta":{"status":200},"data":[]}"#] {
            assert!(objects(bad).is_err(), "{bad}");
        }
    }
}
