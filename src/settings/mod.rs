//! Reads configuration files by hand, so that one look at them finds every mistake.
//!
//! A [`Table`] hands out the keys that its reader asks for. Whatever is wrong (a missing key, a wrong type, a bad value, a key
//! that nobody asked for) is put into [`Notes`] with file, line and column, and reading goes on: readers give `Option`s,
//! and a configuration is usable if no error was noted.
//!
//! Guarantees: nothing panics; a value is quoted in a problem by its own [`Setting`] only, and those that may hold secrets do not.
//! It must not know what the keys mean: each part reads its own table.

mod document;
mod problem;
mod secret;
mod table;
mod value;

pub use document::{Document, File};
pub use problem::{Notes, Place, Problem, Problems, SecretUse};
pub use table::Table;
pub use value::{Item, Setting, Size, Wrong};

/// The name among `known` that `name` was probably meant to be, as `; did you mean "…"?`, else nothing.
pub(crate) fn did_you_mean<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let plain = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    let name = plain(name);
    known
        .into_iter()
        .map(|known| (strsim::osa_distance(&name, &plain(known)), known))
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map_or_else(String::new, |(_, known)| {
            format!("; did you mean \"{known}\"?")
        })
}

/// `"a", "b", "c"`.
pub(crate) fn quoted<'k>(names: impl IntoIterator<Item = &'k str>) -> String {
    let names: Vec<_> = names
        .into_iter()
        .map(|name| format!("\"{name}\""))
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn only_a_near_name_is_suggested() {
        let known = ["interval", "client_id", "client_secret", "url"];
        for (name, meant) in [
            ("intervall", "interval"),
            ("Client-ID", "client_id"),
            ("clientsecret", "client_secret"),
            ("ulr", "url"),
        ] {
            let expected = format!("; did you mean \"{meant}\"?");
            assert_eq!(did_you_mean(name, known), expected);
        }
        assert_eq!(did_you_mean("verify", known), "");
    }
}
