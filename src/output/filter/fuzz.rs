//! What the fuzzer throws at filters.

use std::path::Path;

use super::{Fate, Fields, Filter, FilterConfig};
use crate::model::{Form, OutputId, Route};
use crate::output::fuzz::record;
use crate::settings::{Document, File, Notes, Table};

/// A filter and an event: lines of TOML, a line of three dashes, a body.
pub fn filters(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some((toml, body)) = text.split_once("\n---\n") else {
        return;
    };
    let file = File::new(0, Path::new("fuzz.toml"), toml.to_owned());
    let notes = Notes::default();
    let documents = [Document::parse(&file, &notes)];
    let config = FilterConfig::read(&mut Table::root(&documents, &notes));
    if notes.finish().is_err() {
        return;
    }
    let Ok(output) = OutputId::new("splunk") else {
        return;
    };
    let filter = Filter {
        route: Route::all(output),
        config,
        key: b"install".to_vec(),
    };
    for is_text in [false, true] {
        let record = record("receipt", body.as_bytes(), is_text);
        let Fate::Stays(left) = filter.fate(&record) else {
            continue;
        };
        assert_eq!(
            (left.id, left.time, left.form),
            (record.id, record.time, record.form)
        );
        assert!(!left.body.contains(&b'\n'), "an event of two lines");
        let Some(fields) = Fields::of(&left) else {
            unreachable!("an event that was understood is not any more")
        };
        for hidden in &filter.config.drop_fields {
            assert!(fields.values(hidden).is_empty(), "{hidden} is seen");
        }
        if left.form == Form::Json {
            let json = serde_json::from_slice::<serde::de::IgnoredAny>(&left.body);
            assert!(json.is_ok(), "an event that is no JSON any more");
        }
    }
}
