//! What the configuration says of a filter: `filter`, `drop_fields`, `hash_fields`.

use regex_lite::Regex;

use super::{FilterConfig, Rule, Test, Then};
use crate::settings::Table;

const THEN: &[(&str, Then)] = &[("keep", Then::Keep), ("drop", Then::Drop)];

impl FilterConfig {
    /// Reads the keys of an output's filter; what is wrong with them is noted.
    pub fn read(table: &mut Table<'_>) -> Self {
        table.find("filter");
        let mut rules = Vec::new();
        if table.has("filter") {
            let mut tables = table.tables("filter");
            rules.extend(tables.iter_mut().filter_map(Rule::read));
        }
        let drop_fields = fields(table, "drop_fields");
        let hash_fields = fields(table, "hash_fields");
        if let Some(both) = drop_fields.iter().find(|name| hash_fields.contains(name)) {
            let text = format!("{both:?} is in drop_fields too; keep one of the two");
            table.reject("hash_fields", text);
        }
        Self {
            rules,
            drop_fields,
            hash_fields,
        }
    }
}

impl Rule {
    fn read(table: &mut Table<'_>) -> Option<Self> {
        let field = table.required("field");
        let then = table.required_one_of("then", THEN);
        let equals: Option<String> = table.optional("equals");
        let list = table.has("in").then(|| fields(table, "in"));
        if list.is_none() {
            table.find("in");
        }
        let matches: Option<String> = table.optional("matches");
        let tests = ["equals", "in", "matches"];
        let given = tests.iter().filter(|key| table.has(key)).count();
        if given != 1 {
            let text = format!("has {given} of equals, in and matches; expected exactly one");
            table.complain("field", text);
            return None;
        }
        let test = match (equals, list, matches) {
            (Some(value), None, None) => Test::In(vec![value]),
            (None, Some(values), None) => Test::In(values),
            (None, None, Some(text)) => match Regex::new(&text) {
                Ok(expression) => Test::Matches(expression),
                Err(error) => {
                    table.reject("matches", format!("is not a regular expression: {error}"));
                    return None;
                }
            },
            // It could not be read, which is told already.
            (_, _, _) => return None,
        };
        Some(Self {
            field: field?,
            test,
            then: then?,
        })
    }
}

/// A list of texts; empty if there is none.
fn fields(table: &mut Table<'_>, key: &'static str) -> Vec<String> {
    let Some(item) = table.find(key) else {
        return Vec::new();
    };
    let Some(elements) = item.elements().filter(|elements| !elements.is_empty()) else {
        item.reject("expected a list of strings such as [\"Subject\", \"Sender\"]".to_owned());
        return Vec::new();
    };
    elements.iter().filter_map(|one| one.read()).collect()
}
