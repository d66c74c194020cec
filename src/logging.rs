//! The program's own log, on standard error: one event a line, whatever a server wrote into a field.
//!
//! Text is for people and `grep`: control characters are escaped, and a value that has more than one word is quoted, so that
//! neither a line nor a field can be forged. JSON is for machines. Times are UTC with milliseconds. Where standard error is the
//! journal, events go there by its own protocol, a field each.

mod journal;

use std::fmt;
use std::io::IsTerminal as _;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Level};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::clock::Clock;

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Fields of the journal under systemd, else text, with colours on a terminal.
    #[default]
    Auto,
    /// Text without colours.
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins to log events of `level` and worse to standard error; those of libraries from warnings on.
///
/// # Errors
/// Somebody else logs already.
pub fn init(
    format: Format,
    level: Level,
    clock: Clock,
) -> Result<(), tracing::dispatcher::SetGlobalDefaultError> {
    if format == Format::Auto
        && let Some(journal) = journal::Journal::behind_stderr()
    {
        let registry = tracing_subscriber::registry().with(filter(level));
        return tracing::dispatcher::set_global_default(Dispatch::new(registry.with(journal)));
    }
    tracing::dispatcher::set_global_default(dispatch(
        format,
        std::io::stderr().is_terminal(),
        level,
        clock,
        std::io::stderr,
    ))
}

fn dispatch<W>(format: Format, terminal: bool, level: Level, clock: Clock, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let registry = tracing_subscriber::registry().with(filter(level));
    let level = LevelFilter::from_level(level);
    // A log that cannot be written is no reason to panic, which is how the layer would report it.
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_timer(Wall(clock))
        .with_target(level > LevelFilter::INFO)
        .log_internal_errors(false);
    match format {
        Format::Auto | Format::Text => {
            let colours = format == Format::Auto && terminal;
            Dispatch::new(registry.with(layer.with_ansi(colours).fmt_fields(Fields)))
        }
        Format::Json => Dispatch::new(
            registry.with(
                layer
                    .json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false),
            ),
        ),
    }
}

/// Ours from `level` on, those of libraries from warnings on.
fn filter(level: Level) -> Targets {
    let level = LevelFilter::from_level(level);
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(env!("CARGO_CRATE_NAME"), level)
}

/// The wall clock, which is what other logs go by.
struct Wall(Clock);

impl FormatTime for Wall {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", self.0.wall())
    }
}

/// Writes the message and `name=value`.
struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line {
            writer,
            begun: false,
            result: Ok(()),
        };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'w> {
    writer: Writer<'w>,
    begun: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn write(&mut self, field: &Field, value: &str) -> fmt::Result {
        if self.begun {
            self.writer.write_char(' ')?;
        }
        self.begun = true;
        if field.name() == "message" {
            return write_sentence(&mut self.writer, value);
        }
        write_value(&mut self.writer, field, value)
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.result = self.result.and_then(|()| self.write(field, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// ` name=value`.
fn write_field(writer: &mut impl fmt::Write, field: &Field, value: &str) -> fmt::Result {
    writer.write_char(' ')?;
    write_value(writer, field, value)
}

/// `name=value`, quoted where it could be taken for more than one value.
fn write_value(writer: &mut impl fmt::Write, field: &Field, value: &str) -> fmt::Result {
    write!(writer, "{}=", field.name())?;
    if is_word(value) {
        writer.write_str(value)
    } else {
        write!(writer, "{value:?}")
    }
}

/// Whether a value needs no quotes.
fn is_word(value: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\');
    !value.is_empty() && value.chars().all(plain)
}

/// Escapes what is not printable: line breaks, escape sequences, marks that turn the direction of writing.
fn write_sentence(writer: &mut impl fmt::Write, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => writer.write_char(c)?,
            c => write!(writer, "{}", c.escape_debug())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::model::Timestamp;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, terminal: bool, level: Level, log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let clock = Clock::manual(Timestamp::from_millis(1_767_690_487_042));
        let dispatch = dispatch(format, terminal, level, clock, move || writer.clone());
        tracing::dispatcher::with_default(&dispatch, log);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const FORGED: &str = "x\n2026-01-06T09:08:07.042Z  INFO all is well\u{1b}[2J\u{202e}";

    fn forge() {
        let span = tracing::info_span!("fetch", stream = FORGED);
        let _inside = span.enter();
        tracing::info!(text = FORGED, display = %FORGED, debug = ?FORGED, "said {FORGED}");
    }

    #[test]
    fn a_server_cannot_write_lines_of_its_own() {
        for (format, terminal) in [
            (Format::Auto, false),
            (Format::Text, true),
            (Format::Json, false),
        ] {
            let text = logged(format, terminal, Level::INFO, forge);
            assert_eq!(text.lines().count(), 1, "{text}");
            let line = text.trim_end();
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }

    #[test]
    fn a_value_of_several_words_cannot_pass_for_several_fields() {
        let text = logged(Format::Text, false, Level::INFO, || {
            tracing::info!(integration = "acme-uk", detail = %"no class=ok", "failed: 'it'");
        });
        insta::assert_snapshot!(text.trim_end(), @r#"2026-01-06T09:08:07.042Z  INFO failed: 'it' integration=acme-uk detail="no class=ok""#);
    }

    #[test]
    fn json_has_the_fields_at_its_top() {
        let text = logged(Format::Json, true, Level::INFO, || {
            tracing::info!(integration = "acme-uk", attempts = 3, "failed");
        });
        insta::assert_snapshot!(text.trim_end(), @r#"{"timestamp":"2026-01-06T09:08:07.042Z","level":"INFO","message":"failed","integration":"acme-uk","attempts":3}"#);
    }

    #[test]
    fn colours_are_for_terminals() {
        let info = || tracing::info!("hello");
        assert!(logged(Format::Auto, true, Level::INFO, info).contains("\u{1b}["));
        assert!(!logged(Format::Auto, false, Level::INFO, info).contains("\u{1b}["));
        assert!(!logged(Format::Text, true, Level::INFO, info).contains("\u{1b}["));
    }

    #[test]
    fn libraries_speak_from_warnings_on() {
        let text = logged(Format::Text, false, Level::DEBUG, || {
            tracing::debug!("ours");
            tracing::debug!(target: "hyper", "theirs");
            tracing::warn!(target: "hyper", "their warning");
            tracing::trace!("too much");
        });
        let said: Vec<_> = text
            .lines()
            .map(|line| line.rsplit(": ").next().unwrap())
            .collect();
        assert_eq!(said, ["ours", "their warning"]);
    }
}
