//! The rules that no compiler knows: which module may use which, and that the documents say what the code does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use mimecast_collector::mimecast::log_types::LOG_TYPES;

/// What every module but these themselves may use.
const BASE: &[&str] = &["model", "secret", "settings", "units"];

/// Module (or part of one, whose row then counts in place of the module's) → what of ours it may use besides [`BASE`]. The table
/// stands in ARCHITECTURE.md too, where the reasons are.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("secret", &[]),
    ("units", &[]),
    ("clock", &["model"]),
    ("settings", &["model", "secret", "units"]),
    ("signals", &[]),
    ("systemd", &[]),
    ("logging", &["clock"]),
    ("redact", &[]),
    ("health", &["redact"]),
    ("http", &["health::Failure", "health::Origin"]),
    (
        "mimecast",
        &[
            "clock",
            "health::Answered",
            "health::Failure",
            "health::Origin",
            "health::failure",
            "http",
        ],
    ),
    ("store", &["clock"]),
    ("status", &[]),
    ("alert", &["health", "redact", "store"]),
    ("pause", &["status", "store"]),
    ("secret_watch", &[]),
    ("watch", &["alert", "health", "store", "subject"]),
    ("watchdog", &["clock"]),
    ("tenure", &["clock"]),
    ("upkeep", &["alert", "store", "subject", "watch"]),
    ("ledger", &["store"]),
    ("state", &["clock", "mimecast::log_types", "store"]),
    (
        "subject",
        &[
            "alert", "clock", "health", "status", "store", "tenure", "watchdog",
        ],
    ),
    (
        "poll",
        &[
            "alert", "clock", "health", "http", "mimecast", "pause", "status", "store", "subject",
            "tenure", "watch",
        ],
    ),
    (
        "output",
        &[
            "clock",
            "health::Answered",
            "health::Failure",
            "health::Origin",
            "health::failure",
            "http",
        ],
    ),
    (
        "output::worker",
        &["alert", "clock", "health", "pause", "store", "subject"],
    ),
    ("simulator", &["clock", "mimecast::log_types"]),
    ("measured", &["clock", "output", "status"]),
    ("cluster", &["clock", "status", "store", "tenure"]),
    (
        "cluster::etcd",
        &["health::failure", "health::lookup", "http"],
    ),
    ("control", &[]),
    ("web", &["status"]),
    (
        "config",
        &[
            "cluster::config",
            "logging",
            "output::config",
            "output::route",
            "poll::config",
            "web::WebConfig",
        ],
    ),
    (
        "connect",
        &[
            "clock",
            "cluster::config",
            "cluster::etcd",
            "cluster::registry",
            "config",
            "health",
            "http",
            "mimecast",
            "output::config",
            "output::exec",
            "output::file",
            "output::hec",
            "output::http",
            "output::syslog",
            "output::webhook",
            "poll::config",
            "status",
            "supervisor::credential",
        ],
    ),
    ("scale", &["clock", "config", "http::is_loopback"]),
    (
        "supervisor",
        &[
            "alert",
            "clock",
            "config",
            "http",
            "measured",
            "mimecast",
            "output",
            "pause",
            "poll",
            "secret_watch",
            "store",
            "subject",
        ],
    ),
    (
        "app",
        &[
            "clock",
            "cluster",
            "config",
            "control",
            "ledger",
            "mimecast",
            "poll",
            "signals",
            "status",
            "store",
            "subject",
            "supervisor",
            "systemd",
            "tenure",
            "upkeep",
            "watchdog",
            "web",
        ],
    ),
    (
        "cli",
        &[
            "alert::ACCOUNT_CODE",
            "app",
            "clock",
            "config",
            "control",
            "health",
            "ledger",
            "logging",
            "mimecast::log_types",
            "redact",
            "scale::ScaleError",
            "signals",
            "simulator",
            "state",
            "status",
            "store::StoreError",
            "store::last_failures",
            "web::WebError",
        ],
    ),
];

/// The base row keeps to itself: what its modules use, they use by rows of their own.
const BASE_ROWS: &[&str] = &[
    "model", "secret", "settings", "units", "clock", "signals", "systemd",
];

/// Lines of a file without its tests. Above it, a file has more than one subject.
const MAX_LINES: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A source file, as far as it is compiled into the program.
struct Source {
    /// Below `src`, such as `poll/gate.rs`.
    path: String,
    /// Its module, such as `poll::gate`.
    module: String,
    /// Without comments and tests.
    code: String,
    lines: usize,
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found.sort();
}

/// Whether the file's module is declared with `#[cfg(test)]` in the folder's own file.
fn is_declared_for_tests(file: &Path) -> bool {
    let parent = file.with_file_name("mod.rs");
    let name = file.file_stem().and_then(|name| name.to_str());
    let declared = format!("#[cfg(test)]\nmod {};", name.unwrap_or_default());
    fs::read_to_string(parent).is_ok_and(|text| text.contains(&declared))
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut files = Vec::new();
    files_below(&src, &mut files);
    let mut sources = Vec::new();
    for file in files {
        let path = file.strip_prefix(&src).unwrap().to_str().unwrap();
        let path = path.to_owned();
        let is_test = |part: &str| matches!(part, "tests" | "tests.rs" | "testing.rs");
        if path.split('/').any(is_test) || path == "main.rs" || path == "lib.rs" {
            continue;
        }
        if is_declared_for_tests(&file) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let all: Vec<&str> = text.lines().collect();
        // Tests come last in a file.
        let tests = all.windows(2).position(|pair| {
            matches!(pair, [attribute, module] if *attribute == "#[cfg(test)]" && module.ends_with('{'))
        });
        let own = all.get(..tests.unwrap_or(all.len())).unwrap();
        let code = own
            .iter()
            .filter(|line| !line.trim_start().starts_with("//"));
        let module = path.trim_end_matches(".rs").trim_end_matches("/mod");
        sources.push(Source {
            module: module.replace('/', "::"),
            code: code.copied().collect::<Vec<_>>().join("\n"),
            lines: own.len(),
            path,
        });
    }
    sources
}

/// The paths that a text names after `crate::`, two parts each: `health::Failure`; a whole module as `health::self`.
fn uses(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let ours = !code
            .get(..at)
            .unwrap()
            .ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let path = code.get(at + "crate::".len()..).unwrap();
        assert!(
            !path.starts_with('{'),
            "use one module a line: crate::{path:.40}"
        );
        let (module, rest) = word(path);
        let Some(rest) = rest.strip_prefix("::").filter(|_| ours) else {
            found.insert(format!("{module}::self"));
            continue;
        };
        match rest.strip_prefix('{') {
            Some(group) => {
                for item in members(group) {
                    found.insert(format!("{module}::{}", word(item).0));
                }
            }
            None => drop(found.insert(format!("{module}::{}", word(rest).0))),
        }
    }
    found
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    text.split_at(end.unwrap_or(text.len()))
}

/// The members of a group in braces, whose first brace is gone.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut found) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.push(group.get(from..at).unwrap().trim());
                from = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found.retain(|member| !member.is_empty());
    found
}

/// The row for a module: the longest one that names it or what it is a part of.
fn row(module: &str) -> Option<&'static (&'static str, &'static [&'static str])> {
    let is = |name: &str| module == name || module.starts_with(&format!("{name}::"));
    let rows = EDGES.iter().filter(|(name, _)| is(name));
    rows.max_by_key(|(name, _)| name.len())
}

#[test]
fn no_module_knows_what_it_must_not() {
    let mut wrong = BTreeSet::new();
    for source in sources() {
        let own = source.module.split("::").next().unwrap();
        let Some((name, allowed)) = row(&source.module) else {
            wrong.insert(format!("{}: no row for {}", source.path, source.module));
            continue;
        };
        for used in uses(&source.code) {
            let (target, _) = used.split_once("::").unwrap();
            let base = BASE.contains(&target) && !BASE_ROWS.contains(name);
            let named = |edge: &&str| *edge == target || *edge == used;
            if target != own && !base && !allowed.iter().any(named) {
                wrong.insert(format!("{}: {name} must not know {used}", source.path));
            }
        }
        let depth = source.module.split("::").count();
        let climbs = "super::".repeat(depth);
        if source.code.contains(&climbs) {
            wrong.insert(format!(
                "{}: leave {own} by crate::, not super::",
                source.path
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_edge_is_used() {
    let mut unused: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (name, allowed) in EDGES {
        unused.extend(allowed.iter().map(|edge| (*name, *edge)));
    }
    for source in sources() {
        let Some((name, allowed)) = row(&source.module) else {
            continue;
        };
        for used in uses(&source.code) {
            let (target, _) = used.split_once("::").unwrap();
            for edge in allowed
                .iter()
                .filter(|edge| **edge == target || **edge == used)
            {
                unused.remove(&(*name, *edge));
            }
        }
    }
    assert!(
        unused.is_empty(),
        "rows allow what nobody needs: {unused:?}"
    );
}

/// The rows of the first table below a heading, as cells without back-quotes.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, below) = page
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading}"));
    let lines = below.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    };
    rows.map(cells).collect()
}

#[test]
fn the_architecture_page_has_the_same_edges() {
    let mut written = BTreeMap::new();
    for row in table(&read("ARCHITECTURE.md"), "## What must not know what") {
        let [module, uses, ..] = row.as_slice() else {
            panic!("{row:?}")
        };
        let uses: BTreeSet<String> = uses
            .split(", ")
            .filter(|name| *name != "–")
            .map(str::to_owned)
            .collect();
        written.insert(module.clone(), uses);
    }
    let mut real = BTreeMap::new();
    for (module, uses) in EDGES {
        let uses: BTreeSet<String> = uses.iter().map(|&name| name.to_owned()).collect();
        real.insert((*module).to_owned(), uses);
    }
    assert_eq!(written, real, "left: ARCHITECTURE.md, right: this test");
}

#[test]
fn every_test_that_a_page_names_exists() {
    let mut files = Vec::new();
    files_below(&root().join("src"), &mut files);
    files_below(&root().join("tests"), &mut files);
    let code: Vec<_> = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let is_test = |name: &str| {
        let head = format!("fn {name}(");
        code.iter().any(|text| text.contains(&head))
    };
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "docs/operations.md",
        "docs/reliability.md",
    ] {
        for name in quoted(&read(page)) {
            let plain = name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            // Codes of the vendor begin with "err_".
            let test = plain && !name.starts_with("err_") && name.matches('_').count() >= 3;
            if test {
                assert!(
                    is_test(name),
                    "{page} names a test that is not there: {name}"
                );
            }
        }
    }
}

/// What stands between back-quotes in the lines of a page.
fn quoted(page: &str) -> impl Iterator<Item = &str> {
    page.lines()
        .filter(|line| !line.starts_with("```"))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn every_promise_names_its_test() {
    for page in ["README.md", "ARCHITECTURE.md"] {
        let rows = table(&read(page), "## Promises");
        assert!(rows.len() >= 5, "{page}: {rows:?}");
        for row in rows {
            let last = row.last().unwrap();
            assert!(last.matches('_').count() >= 3, "{page}: no test: {row:?}");
        }
    }
}

#[test]
fn each_of_the_thirty_traps_names_the_test_that_holds_it_shut() {
    let rows = table(
        &read("ARCHITECTURE.md"),
        "## Traps that other collectors fell into",
    );
    let numbers: Vec<String> = rows.iter().map(|row| row[0].clone()).collect();
    let expected: Vec<String> = (1..=30).map(|n: u32| n.to_string()).collect();
    assert_eq!(numbers, expected);
    for row in rows {
        let names = row.last().unwrap().split(", ");
        for name in names {
            assert!(name.matches('_').count() >= 3, "no test: {row:?}");
        }
    }
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    for page in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        for link in read(page).split("](").skip(1) {
            let link = link.split([')', '#']).next().unwrap();
            if !link.is_empty() && !link.starts_with("http") {
                assert!(root().join(link).exists(), "{page}: {link}");
            }
        }
    }
}

#[test]
fn the_pages_name_every_module_and_every_log_type() {
    let (architecture, readme) = (read("ARCHITECTURE.md"), read("README.md"));
    for source in sources() {
        let top = source.path.split('/').next().unwrap();
        let name = if top.ends_with(".rs") {
            top.to_owned()
        } else {
            format!("{top}/")
        };
        assert!(
            architecture.contains(&format!("  {name}")),
            "ARCHITECTURE.md, folder tree: {name}"
        );
    }
    for log in LOG_TYPES {
        let name = format!("`{}`", log.name);
        assert!(readme.contains(&name), "README.md, logs: {name}");
    }
}

#[test]
fn files_are_short_explain_themselves_and_leave_nothing_for_later() {
    for Source { path, lines, .. } in sources() {
        assert!(
            lines <= MAX_LINES,
            "src/{path} has {lines} lines without its tests"
        );
        let text = read(&format!("src/{path}"));
        assert!(
            text.starts_with("//! "),
            "src/{path} does not say what it is for"
        );
        for line in text.lines() {
            let later = line.contains("TODO") || line.contains("FIXME");
            assert!(!later, "src/{path}: {line}");
        }
    }
}

#[test]
fn imports_are_read_in_every_form() {
    let code = "use crate::health::{Failure, machine::{Attempt, step}, self};\nuse crate::clock::Clock;\n\
                let x = crate::units::show_size(3); pub(in crate::store) fn f() {}";
    let found: Vec<_> = uses(code).into_iter().collect();
    assert_eq!(
        found,
        [
            "clock::Clock",
            "health::Failure",
            "health::machine",
            "health::self",
            "store::self",
            "units::show_size"
        ]
    );
}

#[cfg(feature = "system-tests")]
#[test]
fn every_mutant_has_its_place_in_the_source() {
    let mut mutants = std::process::Command::new(root().join("tests/mutants"));
    let looked = mutants.arg("--check").output().unwrap();
    let said = String::from_utf8_lossy(&looked.stderr);
    assert!(looked.status.success(), "{said}");
}
