//! `state`: what is kept of a collector that does not run; shown, exported, imported, or a stream of it sent back.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Subcommand};

use super::ConfigFile;
use super::replay::read_time;
use super::status::Look;
use super::status::page::{Page, Tone, fit};
use crate::clock::Clock;
use crate::health::{Standing, State};
use crate::model::{StreamId, Timestamp};
use crate::state::{Document, Held, StateError, import, reset};
use crate::units::{show_count, show_size};

/// Columns of a name; the rest of 80 is for numbers.
const NAME: usize = 32;

/// What to do with the state.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Where each stream and output stands, and what is not well.
    Show {
        /// Print the document of `export` [default: a table].
        #[arg(long)]
        json: bool,
        /// Where the configuration is, which says where the state is.
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Write cursors, positions, states and counts as one JSON document; it holds no event and no secret.
    Export {
        /// Where to; a file that is there is not overwritten [default: standard output].
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Where the configuration is, which says where the state is.
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Put the streams where an exported document says, in the state directory that it came from or in an empty one.
    ///
    /// A stream goes on from where everything was delivered when the document was written, so what waited then comes again, under the
    /// same event ids, and nothing is missing. What waits here stays. A state of health that is known here stays.
    Import {
        /// The document.
        document: PathBuf,
        /// Do it [default: only say what would be done].
        #[arg(long)]
        yes: bool,
        /// Where the configuration is, which says where the state is.
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Send the live streams of an integration back, to fetch again from an earlier time on.
    ///
    /// The events are delivered again to every output, under the same event ids and not marked. For a span that is marked, and to one
    /// output only, see `replay`.
    #[command(group = ArgGroup::new("place").required(true))]
    ResetCursor {
        /// The integration, by its name [default: none, it must be given].
        #[arg(long, value_name = "NAME")]
        integration: String,
        /// The log type [default: all of the integration].
        #[arg(long, value_name = "TYPE")]
        log: Option<String>,
        /// The moment to fetch from, such as 2026-01-06T09:00:00Z or 2026-01-06 [default: none, it or --oldest must be given].
        #[arg(long, value_name = "TIME", value_parser = read_time, group = "place")]
        to: Option<Timestamp>,
        /// Fetch all that Mimecast still has [default: from --to on].
        #[arg(long, group = "place")]
        oldest: bool,
        /// Do it [default: only say what would be done].
        #[arg(long)]
        yes: bool,
        /// Where the configuration is, which says where the state is.
        #[command(flatten)]
        file: ConfigFile,
    },
}

impl StateCommand {
    /// Where the configuration is.
    #[must_use]
    pub fn config(&self) -> &Path {
        match self {
            Self::Show { file, .. }
            | Self::Export { file, .. }
            | Self::Import { file, .. }
            | Self::ResetCursor { file, .. } => &file.config,
        }
    }
}

/// Does what was asked, with the state directory of a collector that does not run.
///
/// # Errors
/// [`StateError`].
pub async fn run(
    command: StateCommand,
    state_dir: &Path,
    clock: &Clock,
    look: Look,
    out: &mut impl Write,
) -> Result<(), StateError> {
    match command {
        StateCommand::Show { json, .. } => {
            let document = document(state_dir, clock).await?;
            if json {
                write_json(&document, out)
            } else {
                Ok(render(&document, state_dir, look, out)?)
            }
        }
        StateCommand::Export { output, .. } => {
            let document = document(state_dir, clock).await?;
            match output {
                None => write_json(&document, out),
                Some(path) => {
                    save(&document, &path)?;
                    Ok(writeln!(out, "the state is in {}", path.display())?)
                }
            }
        }
        StateCommand::Import { document, yes, .. } => {
            let text = fs::read(&document).map_err(file_error("read", &document))?;
            let document = Document::read(&document, &text)?;
            let plan = if yes {
                import::run(&document, state_dir, clock).await?
            } else {
                import::look(&document, state_dir, clock).await?
            };
            Ok(say(&plan.said, yes, out)?)
        }
        StateCommand::ResetCursor {
            integration,
            log,
            to,
            yes,
            ..
        } => {
            let wish = reset::Wish {
                integration,
                log,
                to,
            };
            let held = Held::open(state_dir, clock.clone())?;
            let plan = send_back(&held, &wish, yes).await;
            held.release().await?;
            say(&plan?.said, yes, out)?;
            Ok(writeln!(
                out,
                "what is fetched again is delivered again to every output, under the same event ids; what waits stays"
            )?)
        }
    }
}

async fn send_back(held: &Held, wish: &reset::Wish, yes: bool) -> Result<reset::Plan, StateError> {
    let plan = held.plan_reset(wish).await?;
    if yes {
        held.reset(&plan).await?;
    }
    Ok(plan)
}

async fn document(state_dir: &Path, clock: &Clock) -> Result<Document, StateError> {
    let held = Held::open(state_dir, clock.clone())?;
    let document = held.document().await;
    held.release().await?;
    document
}

fn say(said: &[String], done: bool, out: &mut impl Write) -> io::Result<()> {
    for line in said {
        writeln!(out, "{line}")?;
    }
    if done {
        writeln!(out, "done")
    } else {
        writeln!(out, "nothing was done; to do it: --yes")
    }
}

fn file_error(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::File {
        attempt,
        path,
        source,
    }
}

fn write_json(document: &Document, out: &mut impl Write) -> Result<(), StateError> {
    serde_json::to_writer_pretty(&mut *out, document).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

fn save(document: &Document, path: &Path) -> Result<(), StateError> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).map_err(file_error("make", path))?;
    write_json(document, &mut file)?;
    file.sync_all().map_err(file_error("write", path))
}

/// Writes the state for people: streams, outputs, what is not well.
fn render(
    document: &Document,
    state_dir: &Path,
    look: Look,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut page = Page::new(out, look);
    let title = format!(
        "The state in {}; no collector is running. Spool: {}; put aside: {}.",
        state_dir.display(),
        show_size(document.spool_bytes),
        show_count(document.put_aside)
    );
    page.text(Tone::Strong, 0, &title)?;
    let row = |name: &str, [until, polled, events]: [&str; 3]| {
        let name = fit(name, NAME);
        format!("{name:<NAME$} {until:>17} {polled:>17} {events:>11}")
    };
    let mut above = None;
    for (name, place) in &document.streams {
        let Some(stream) = StreamId::parse(name) else {
            continue;
        };
        if above.as_ref() != Some(&stream.integration) {
            page.blank()?;
            let head = ["FETCHED UNTIL", "LAST POLL (UTC)", "EVENTS"];
            page.line(Tone::Strong, &row(stream.integration.as_str(), head))?;
            above = Some(stream.integration.clone());
        }
        let record = &place.record;
        let cells = [
            minute(record.fetched_until),
            minute(record.poll.map(|poll| poll.started)),
            show_count(record.events),
        ];
        let cells = cells.each_ref().map(String::as_str);
        page.line(Tone::Plain, &row(&stream.log_and_type(), cells))?;
    }
    let mut above = None;
    for place in &document.outputs {
        if above != Some(&place.output) {
            page.blank()?;
            let head = ["ACCEPTED", "REFUSED", "WAITING"];
            page.line(Tone::Strong, &row(place.output.as_str(), head))?;
            above = Some(&place.output);
        }
        let cells = [place.record.accepted, place.record.rejected, place.waiting].map(show_count);
        let cells = cells.each_ref().map(String::as_str);
        page.line(Tone::Plain, &row(place.lane.as_str(), cells))?;
    }
    let mut first = true;
    for (subject, state) in &document.states {
        let Some(said) = not_well(state) else {
            continue;
        };
        if std::mem::take(&mut first) {
            page.blank()?;
        }
        page.text(Tone::Bad, 0, &format!("{subject}: {said}"))?;
    }
    Ok(())
}

fn minute(time: Option<Timestamp>) -> String {
    let Some(time) = time else {
        return "-".to_owned();
    };
    time.calendar().strftime("%Y-%m-%d %H:%M").to_string()
}

/// What stands in the way of a subject; `None` if nothing does.
fn not_well(state: &serde_json::Value) -> Option<String> {
    let standing: Standing = serde_json::from_value(state.clone()).ok()?;
    let (is, cause, until) = match &standing.state {
        State::Healthy => return None,
        State::Renewing { cause, .. } => ("is renewed", cause, None),
        State::Retrying { cause, until, .. } => ("is tried again", cause, Some(*until)),
        State::Throttled { cause, until, .. } => ("is throttled", cause, Some(*until)),
        State::Blocked { cause, until, .. } => ("is blocked", cause, *until),
    };
    let until = until.map_or_else(String::new, |until| format!(" until {until}"));
    Some(format!("{is}{until}, {}", cause.key()))
}
