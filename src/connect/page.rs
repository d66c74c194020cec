//! The findings as a table of 80 columns, or as JSON.

use std::io::{self, Write};

use super::finding::{Finding, Part};
use super::{Verdict, all_is_well};
use crate::health::failure::printable;

const WIDTH: usize = 80;
/// Where details begin.
const INDENT: usize = 26;

/// Writes the findings as a table.
///
/// # Errors
/// The writer's.
pub fn render(parts: &[Part], out: &mut impl Write) -> io::Result<()> {
    for part in parts {
        writeln!(out, "{}", printable(&part.subject, WIDTH))?;
        for finding in &part.findings {
            line(finding, out)?;
        }
        writeln!(out)?;
    }
    let count = |verdict| {
        let findings = parts.iter().flat_map(|part| &part.findings);
        findings
            .filter(|finding| finding.verdict == verdict)
            .count()
    };
    if all_is_well(parts) {
        return writeln!(out, "All is well.");
    }
    writeln!(
        out,
        "Not all is well. Failures: {}, warnings: {}, skipped: {}.",
        count(Verdict::Failure),
        count(Verdict::Warning),
        count(Verdict::Skipped)
    )
}

/// Writes the findings as one JSON document.
///
/// # Errors
/// The writer's.
pub fn render_json(parts: &[Part], out: &mut impl Write) -> io::Result<()> {
    let page = serde_json::json!({"version": 1, "all_is_well": all_is_well(parts), "parts": parts});
    writeln!(out, "{page:#}")
}

fn line(finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    let begin = format!("  {:<8}{:<15} ", finding.verdict.as_str(), finding.what);
    let mut lines = wrap(&finding.detail).into_iter();
    let first = lines.next().unwrap_or_default();
    if begin.chars().count() > INDENT {
        writeln!(out, "{}", begin.trim_end())?;
        writeln!(out, "{:INDENT$}{first}", "")?;
    } else {
        writeln!(out, "{}", format!("{begin:<INDENT$}{first}").trim_end())?;
    }
    for line in lines {
        writeln!(out, "{:INDENT$}{line}", "")?;
    }
    if !finding.advice.is_empty() {
        for line in wrap(&format!("To do: {}", finding.advice)) {
            writeln!(out, "{:INDENT$}{line}", "")?;
        }
    }
    Ok(())
}

/// The text in lines that fit behind the indent; a word that does not fit has a line of its own.
fn wrap(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in printable(text, usize::MAX).split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH - INDENT => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<Part> {
        vec![Part {
            subject: "Integration acme (API 2.0)".to_owned(),
            findings: vec![
                Finding::ok("dns", "api.services.mimecast.com is 192.0.2.1"),
                Finding::new(
                    "log threat-feed-customer",
                    Verdict::Failure,
                    "Forbidden: 403 from POST /api/ttp/threat-intel/get-feed: no \u{1b}[31mpermission",
                    "Give the role of the application the permission to read this log.",
                ),
            ],
        }]
    }

    #[test]
    fn the_table_can_be_pasted_into_a_case() {
        let mut page = Vec::new();
        render(&parts(), &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(
            page.lines().all(|line| line.chars().count() <= WIDTH),
            "{page}"
        );
        insta::assert_snapshot!(page, @r"
        Integration acme (API 2.0)
          ok      dns             api.services.mimecast.com is 192.0.2.1
          FAILURE log threat-feed-customer
                                  Forbidden: 403 from POST
                                  /api/ttp/threat-intel/get-feed: no
                                  \u{1b}[31mpermission
                                  To do: Give the role of the application the permission
                                  to read this log.

        Not all is well. Failures: 1, warnings: 0, skipped: 0.
        ");
    }

    #[test]
    fn json_says_whether_all_is_well() {
        let mut page = Vec::new();
        render_json(&parts(), &mut page).unwrap();
        let page: serde_json::Value = serde_json::from_slice(&page).unwrap();
        assert_eq!(page["all_is_well"], false);
        assert_eq!(page["parts"][0]["findings"][1]["verdict"], "failure");
    }
}
