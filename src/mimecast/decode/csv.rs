//! Tables separated by `|` under a header row: each row as a JSON object under the header's names.

use serde_json::Value;

/// The rows of a table, in its order. A field in quotation marks may hold `|` and line breaks; two marks in it stand for one.
///
/// A field beyond the header is named `column_N`; one that is not there is left out.
pub(in crate::mimecast) fn objects(text: &str) -> impl Iterator<Item = String> {
    let mut rows = Rows(text.trim_start_matches('\u{feff}'));
    let names = rows.next().unwrap_or_default();
    rows.map(move |row| object(&names, &row))
}

fn object(names: &[String], row: &[String]) -> String {
    let mut text = String::from("{");
    for (n, field) in row.iter().enumerate() {
        let name = names.get(n).filter(|name| !name.is_empty());
        let name = name.map_or_else(|| format!("column_{}", n + 1), Clone::clone);
        let comma = if n == 0 { "" } else { "," };
        text.push_str(&format!(
            "{comma}{}:{}",
            Value::from(name),
            Value::from(field.as_str())
        ));
    }
    text.push('}');
    text
}

/// The rows of what is left of a table, each a list of fields; blank lines are none.
struct Rows<'t>(&'t str);

impl Iterator for Rows<'_> {
    type Item = Vec<String>;

    fn next(&mut self) -> Option<Vec<String>> {
        self.0 = self.0.trim_start_matches(['\r', '\n']);
        if self.0.is_empty() {
            return None;
        }
        let mut fields = Vec::new();
        let mut field = String::new();
        let mut quoted = false;
        let mut end = self.0.len();
        let mut chars = self.0.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' if quoted && chars.peek().is_some_and(|(_, next)| *next == '"') => {
                    chars.next();
                    field.push('"');
                }
                '"' if quoted => quoted = false,
                '"' if field.is_empty() => quoted = true,
                '|' if !quoted => fields.push(std::mem::take(&mut field)),
                '\r' | '\n' if !quoted => {
                    end = at;
                    break;
                }
                c => field.push(c),
            }
        }
        fields.push(field);
        self.0 = self.0.split_at(end).1;
        Some(fields)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_is_an_object_under_the_names_of_the_header() {
        let table = "\u{feff}hash|name\r\n\r\nab|\"a|b \"\"c\"\"\nd\"\ncd\nef|g|h";
        let found: Vec<_> = objects(table).collect();
        assert_eq!(
            found,
            [
                r#"{"hash":"ab","name":"a|b \"c\"\nd"}"#,
                r#"{"hash":"cd"}"#,
                r#"{"hash":"ef","name":"g","column_3":"h"}"#,
            ]
        );
        assert_eq!(objects("hash|name\n").count(), 0);
        assert_eq!(objects("").count(), 0);
    }

    #[test]
    fn a_table_of_a_million_rows_takes_no_longer_for_each_than_a_short_one() {
        let table = format!("a|b\n{}", "1|2\n".repeat(1_000_000));
        assert_eq!(objects(&table).count(), 1_000_000);
    }

    proptest! {
        #[test]
        fn every_row_is_an_object_whatever_is_in_it(table in "[ab|\"\\\\\r\n é]{0,60}") {
            for row in objects(&table) {
                prop_assert!(serde_json::from_str::<serde_json::Map<_, _>>(&row).is_ok(), "{}", row);
            }
        }

        #[test]
        fn quoted_fields_come_back_as_they_were(fields in proptest::collection::vec("[a|\"\n]{1,6}", 1..5)) {
            let quoted: Vec<_> = fields.iter().map(|f| format!("\"{}\"", f.replace('"', "\"\""))).collect();
            let row = Rows(&quoted.join("|")).next().unwrap();
            prop_assert_eq!(row, fields);
        }
    }
}
