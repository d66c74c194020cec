//! `forget`: asks a running collector to give up what it keeps for a name that is not configured any more.

use std::io::{self, BufRead, Write};
use std::path::Path;

use super::resume::say;
use super::status::AskError;
use crate::control::{Request, ask};

/// Whether the person is sure, and how else they can be asked.
pub enum Sure<'a> {
    /// By an option of the command line.
    Yes,
    /// A terminal, to be asked there.
    Ask(&'a mut dyn BufRead),
    /// Nobody can be asked.
    No,
}

/// Asks the collector that listens at `socket` what it would give up with `name`, makes sure, and has it given up.
///
/// # Errors
/// No collector there, nothing of that name, or nowhere to write.
pub async fn run(
    socket: &Path,
    name: &str,
    sure: Sure<'_>,
    out: &mut impl Write,
) -> Result<(), AskError> {
    let request = |sure| Request::Forget {
        name: name.to_owned(),
        sure,
    };
    if !matches!(sure, Sure::Yes) {
        say(&ask(socket, &request(false)).await?, out)?;
    }
    if confirm(sure, "Give this up for ever?", out)? {
        say(&ask(socket, &request(true)).await?, out)?;
    }
    Ok(())
}

/// Whether a person says that they are sure; says what to do if nobody can be asked.
pub(super) fn confirm(sure: Sure<'_>, question: &str, out: &mut impl Write) -> io::Result<bool> {
    match sure {
        Sure::Yes => Ok(true),
        Sure::No => {
            writeln!(out, "nothing was done; to do it: --yes")?;
            Ok(false)
        }
        Sure::Ask(terminal) => {
            write!(out, "{question} [y/N] ")?;
            out.flush()?;
            let mut answer = String::new();
            terminal.read_line(&mut answer)?;
            let yes = matches!(answer.trim(), "y" | "Y" | "yes");
            if !yes {
                writeln!(out, "nothing was done")?;
            }
            Ok(yes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        for (answer, sure) in [
            ("y\n", true),
            ("yes\n", true),
            ("\n", false),
            ("", false),
            ("no\n", false),
        ] {
            let mut terminal = answer.as_bytes();
            let said = confirm(Sure::Ask(&mut terminal), "Sure?", &mut Vec::new());
            assert_eq!(said.unwrap(), sure, "{answer:?}");
        }
        assert!(confirm(Sure::Yes, "", &mut Vec::new()).unwrap());
        let mut out = Vec::new();
        assert!(!confirm(Sure::No, "", &mut out).unwrap());
        assert!(String::from_utf8(out).unwrap().contains("--yes"));
    }
}
