//! The command line: what can be asked of the program, and with what code it ends.
//!
//! The commands that ask a running collector live in files of their own here, as thin clients of its control socket; they write
//! to a writer that is given to them. Nothing here ends the process; that is `main`'s.

pub mod dead_letters;
pub mod demo;
pub mod drain;
mod exit;
pub mod explain;
pub mod forget;
pub mod init;
pub mod ledger;
pub mod pause;
pub mod progress;
pub mod replay;
pub mod resume;
pub mod simulate;
pub mod state;
pub mod status;
pub mod support_bundle;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand};
use tracing::Level;

pub use exit::Exit;

use crate::control::Request;
use crate::logging::Format;
use crate::model::{IntegrationId, Timestamp};

const CONFIG: &str = "/etc/mimecast-collector/config.toml";

const EXAMPLES: &str = "\
Examples:
  mimecast-collector demo                      see it work, without any account
  mimecast-collector check                     is the configuration right?
  mimecast-collector check --connect           does everything work?
  mimecast-collector run                       collect, until stopped
  mimecast-collector status                    how is it doing?
  mimecast-collector status --watch            the same, on a screen that stays
  mimecast-collector status --json | jq .summary
  mimecast-collector ledger                    is anything missing?
  mimecast-collector resume acme-uk            try again now, after a repair
  mimecast-collector pause splunk --for 2h     leave it alone for two hours
  mimecast-collector explain 401/0010          what does this error mean?
  mimecast-collector state show                where did it stop?
  mimecast-collector support-bundle            what support will ask for

Signals: TERM and INT stop in order, the second one at once; HUP reloads.
Exit codes: 0 done, 64 wrong usage, 69 no collector is running, 70 bug, 74 disk,
77 permission, 78 configuration. Of status: 0 well, 1 a person should look,
2 it is urgent, 3 no collector is running.";

/// Collects the logs of Mimecast's e-mail security and delivers every event to Splunk or syslog.
///
/// One process polls any number of Mimecast accounts, keeps every event on disk until each output has taken it, and goes on
/// where it was after a crash or a restart.
#[derive(Debug, Parser)]
#[command(
    name = "mimecast-collector",
    version,
    after_help = EXAMPLES,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Collect and deliver, until stopped.
    Run(Run),
    /// Read the configuration, report every mistake, and do nothing else.
    Check(Check),
    /// Write a configuration to begin with, and say how to put the secrets in place.
    Init(Init),
    /// Say how the running collector is doing, and whether data is at risk.
    Status(Status),
    /// Say whether each record read, each file listed and each event stored is accounted for, at every output.
    Ledger(Status),
    /// Try a blocked integration or output again now, after what was wrong is mended; end a pause.
    ///
    /// One that is paused only goes on; what else is wrong with it is tried when its time comes, or by a second resume.
    ///
    /// A credential that Mimecast has locked out stays locked there: every attempt before its time, this one included, may
    /// prolong the lock.
    Resume(Resume),
    /// Leave an integration or output alone, for a while or until it is resumed; a restart does not end it.
    Pause(Pause),
    /// Hand all integrations over to the other nodes of the cluster, before an update or for good.
    ///
    /// Each integration is handed over when what was fetched of it is delivered, after half a minute whatever it has. The node takes nothing
    /// until it is told otherwise, or restarted.
    Drain(Drain),
    /// Fetch a span of time again, beside the live traffic, and deliver it marked as replayed.
    ///
    /// Live streams come first and stand where they stood. Ctrl-C ends this command only: the replay goes on, also after a restart of the
    /// collector, until it is delivered or cancelled. Its events have the event ids of the originals.
    Replay(Replay),
    /// Give up what is kept for an integration or output that is not in the configuration any more.
    Forget(Forget),
    /// List what was put aside, show it, send it again or throw it away.
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Show, export or import the state of a collector that is stopped, or have a log fetched again from an earlier time on.
    ///
    /// Run it as the collector's user. Import and reset-cursor only say what they would do, unless --yes is given.
    #[command(subcommand)]
    State(state::StateCommand),
    /// Put what support will ask for into one archive, without secrets and without what is about a mail.
    ///
    /// It holds the last failures with the whole answers, request ids, times and account codes; configuration, states, versions and the
    /// end of the log. Nothing is asked of Mimecast or of an output, and no collector need run. Run it as root, so that it can read all.
    SupportBundle(SupportBundle),
    /// Say what an error code means, what the collector does about it, and what you can do.
    Explain(Explain),
    /// Collect from a built-in simulator and write the events to standard output; needs no account and no configuration.
    Demo(Demo),
    /// Serve a simulated Mimecast and a simulated Splunk HEC on 127.0.0.1, to try a configuration on.
    Simulate(Simulate),
}

/// The options of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Where the configuration is.
    #[command(flatten)]
    pub file: ConfigFile,
    /// How the log is written.
    #[command(flatten)]
    pub log: Log,
    /// Lets the schedule's clock run this many times as fast as the real one; only against a simulator.
    #[arg(long, value_name = "N", default_value_t = 1, hide = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub time_scale: u32,
}

/// The options of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Where the configuration is.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Read nothing that the configuration names, for one that is checked on another machine [default: read secrets and CA files].
    #[arg(long)]
    pub no_secrets: bool,
    /// Also ask Mimecast and every output whether all of it works, one line each with what to do [default: ask nobody].
    ///
    /// Each log type is asked for one record, each Splunk receiver is sent one event of the sourcetype mimecast:collector:check. After
    /// the first refusal of a credential, nothing more is asked with it.
    #[arg(long, conflicts_with = "no_secrets")]
    pub connect: bool,
    /// With --connect, print what was found as JSON [default: a table].
    #[arg(long, requires = "connect")]
    pub json: bool,
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration; the files conf.d/*.toml beside it belong to it.
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
}

/// How the program logs; what is not given here is the configuration's to say.
#[derive(Debug, Args)]
pub struct Log {
    /// The form of the log on standard error [default: log.format of the configuration, else auto].
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<Format>,
    /// The least important events that are logged [default: log.level of the configuration, else info].
    #[arg(long, value_name = "LEVEL", value_parser = levels())]
    pub log_level: Option<Level>,
}

/// The options of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The version of Mimecast's API that the credential is for.
    #[arg(long, value_name = "VERSION", value_enum, default_value = "2.0")]
    pub api: init::Api,
    /// The integration's name: letters, digits, ".", "_" and "-" [default: none, it is needed].
    #[arg(long, value_name = "NAME", value_parser = init_name)]
    pub name: IntegrationId,
    /// Splunk's HTTP Event Collector: scheme, host and port.
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://splunk.example.com:8088"
    )]
    pub splunk: String,
    /// Where the configuration is to be.
    #[command(flatten)]
    pub file: ConfigFile,
}

fn init_name(text: &str) -> Result<IntegrationId, String> {
    IntegrationId::new(text).map_err(|e| e.to_string())
}

/// The options of `status` and `ledger`.
#[derive(Debug, Args)]
pub struct Status {
    /// Where the configuration is, which says where the collector listens.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Print the whole report as JSON [default: a table].
    #[arg(long)]
    pub json: bool,
    /// Show the table again and again, as much of it as the terminal has room for [default: once].
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
}

/// The options of `resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// The integration or output, by its name in the configuration.
    pub name: String,
    /// Where the configuration is, which says where the collector listens.
    #[command(flatten)]
    pub file: ConfigFile,
}

/// The options of `drain`.
#[derive(Debug, Args)]
pub struct Drain {
    /// Take a share again [default: hand everything over].
    #[arg(long)]
    pub undo: bool,
    /// Where the configuration is, which says where the collector listens.
    #[command(flatten)]
    pub file: ConfigFile,
}

/// The options of `pause`.
#[derive(Debug, Args)]
pub struct Pause {
    /// The integration or output, by its name in the configuration.
    pub name: String,
    /// For how long, such as 30m or 2h [default: until it is resumed].
    #[arg(long = "for", value_name = "DURATION", value_parser = pause::read_for)]
    pub duration: Option<Duration>,
    /// Where the configuration is, which says where the collector listens.
    #[command(flatten)]
    pub file: ConfigFile,
}

/// The options of `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The integration, by its name in the configuration [default: none, it must be given].
    #[arg(long, value_name = "NAME", required_unless_present_any = ["list", "cancel"])]
    pub integration: Option<String>,
    /// The log type [default: none, it must be given].
    #[arg(long, value_name = "TYPE", required_unless_present_any = ["list", "cancel"])]
    pub log: Option<String>,
    /// The first moment, such as 2026-01-06T09:00:00Z or 2026-01-06 [default: none, it must be given].
    #[arg(long, value_name = "TIME", value_parser = replay::read_time, required_unless_present_any = ["list", "cancel"])]
    pub from: Option<Timestamp>,
    /// The moment behind the last one, written likewise [default: none, it must be given].
    #[arg(long, value_name = "TIME", value_parser = replay::read_time, required_unless_present_any = ["list", "cancel"])]
    pub to: Option<Timestamp>,
    /// The one output that gets the events [default: all].
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
    /// Say what would be asked, and ask nothing [default: ask].
    #[arg(long)]
    pub dry_run: bool,
    /// List the replays that are not over, and do nothing else [default: begin one].
    #[arg(long, conflicts_with = "cancel")]
    pub list: bool,
    /// Give up the replay of this number [default: begin one].
    #[arg(long, value_name = "NUMBER")]
    pub cancel: Option<u64>,
    /// Where the configuration is, which says where the collector listens.
    #[command(flatten)]
    pub file: ConfigFile,
}

/// The options of `forget`.
#[derive(Debug, Args)]
pub struct Forget {
    /// The integration or output, by the name that it had in the configuration.
    pub name: String,
    /// Do it without asking [default: ask on a terminal, else do nothing].
    #[arg(long)]
    pub yes: bool,
    /// Where the configuration is, which says where the collector listens.
    #[command(flatten)]
    pub file: ConfigFile,
}

/// What `replay` is to do.
#[derive(Debug)]
pub enum ReplayWish {
    /// List those that are not over.
    List,
    /// Give one up.
    Cancel(u64),
    /// Begin one, or say what it would be.
    Begin(Request),
}

impl Replay {
    /// What the options ask for.
    #[must_use]
    pub fn wish(self) -> ReplayWish {
        match (self.cancel, self.integration, self.log, self.from, self.to) {
            (Some(number), ..) => ReplayWish::Cancel(number),
            (None, Some(integration), Some(log), Some(from), Some(to)) if !self.list => {
                ReplayWish::Begin(Request::Replay {
                    integration,
                    log,
                    from,
                    to,
                    output: self.output,
                    dry_run: self.dry_run,
                })
            }
            // All four are required where neither of the others is.
            (None, ..) => ReplayWish::List,
        }
    }
}

/// What to do with what was put aside.
#[derive(Debug, Subcommand)]
pub enum DeadLetters {
    /// One line each, oldest first.
    List {
        /// Print JSON [default: a table].
        #[arg(long)]
        json: bool,
        /// Where the configuration is, which says where the collector listens.
        #[command(flatten)]
        file: ConfigFile,
    },
    /// One with its records and the receiver's answer, as JSON.
    Show {
        /// Its number in the list.
        number: u64,
        /// Where the configuration is, which says where the collector listens.
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Send the events again, under the ids they had, to the output that refused them.
    ///
    /// It shows how many are delivered, until all are or the output waits for a person. Ctrl-C ends this command only: the events are
    /// on their way.
    Resend {
        /// The numbers in the list.
        #[arg(required = true)]
        numbers: Vec<u64>,
        /// Do not wait until they are delivered [default: wait, and show the progress].
        #[arg(long)]
        no_wait: bool,
        /// Where the configuration is, which says where the collector listens.
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Copy the damaged file that was kept with one, as it was downloaded.
    Save {
        /// Its number in the list.
        number: u64,
        /// Where to; a file that is there is not overwritten.
        to: PathBuf,
        /// Where the configuration is, which says where the collector listens.
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Throw them away, with their files.
    Discard {
        /// The numbers in the list.
        #[arg(required = true)]
        numbers: Vec<u64>,
        /// Do it without asking [default: ask on a terminal, else do nothing].
        #[arg(long)]
        yes: bool,
        /// Where the configuration is, which says where the collector listens.
        #[command(flatten)]
        file: ConfigFile,
    },
}

/// The options of `support-bundle`.
#[derive(Debug, Args)]
pub struct SupportBundle {
    /// The archive, a .tar.gz [default: mimecast-collector-support-TIME.tar.gz in this folder].
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// A file with the collector's log, where it is not in the journal [default: the journal].
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Where the configuration is.
    #[command(flatten)]
    pub file: ConfigFile,
}

/// The options of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The code as the log shows it, such as 401/0010, 418, hec/7, transport/dns or err_xdk_binding_expired.
    pub code: String,
}

/// The options of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// How many events to collect before it ends.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub events: u64,
}

/// The options of `simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// The port of Mimecast's API, versions 1.0 and 2.0; 0 for any that is free.
    #[arg(long, value_name = "PORT", default_value_t = 8901)]
    pub port: u16,
    /// The port of the object store that batch files come from; 0 for any that is free.
    #[arg(long, value_name = "PORT", default_value_t = 8902)]
    pub objects_port: u16,
    /// The port of the Splunk HTTP Event Collector; 0 for any that is free.
    #[arg(long, value_name = "PORT", default_value_t = 8903)]
    pub hec_port: u16,
    /// How many events happen in a minute, of each log type.
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub events_per_minute: u32,
    /// Where its invention begins: equal seeds give equal events.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The form of the log on standard error.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: Format,
}

fn levels() -> impl clap::builder::TypedValueParser<Value = Level> {
    PossibleValuesParser::new(["error", "warn", "info", "debug", "trace"])
        .try_map(|level| level.parse::<Level>())
}

/// Reads the command line.
///
/// # Errors
/// The code to end with: [`Exit::Ok`] when help or the version was asked for, else [`Exit::Usage`]; what is to be said is
/// printed already.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, Exit> {
    Arguments::try_parse_from(arguments).map_err(|said| {
        let exit = exit_of(&said);
        // A closed standard output is no reason to end with another code.
        said.print().ok();
        exit
    })
}

fn exit_of(said: &clap::Error) -> Exit {
    if said.use_stderr() {
        Exit::Usage
    } else {
        Exit::Ok
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory as _;

    use super::*;

    fn read(line: &str) -> Result<Command, clap::Error> {
        let words = std::iter::once("mimecast-collector").chain(line.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| arguments.command)
    }

    #[test]
    fn the_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_configuration_is_in_etc_unless_said_otherwise() {
        let Ok(Command::Check(check)) = read("check") else {
            panic!()
        };
        assert_eq!(check.file.config, Path::new(CONFIG));
        assert!(!check.no_secrets);
        let Ok(Command::Status(status)) = read("status --config x.toml --json") else {
            panic!()
        };
        assert_eq!(status.file.config, Path::new("x.toml"));
        assert!(status.json);
    }

    #[test]
    fn run_logs_as_configured_unless_said_otherwise() {
        let Ok(Command::Run(run)) = read("run") else {
            panic!()
        };
        assert_eq!(
            (run.log.log_format, run.log.log_level, run.time_scale),
            (None, None, 1)
        );
        let Ok(Command::Run(run)) = read("run --log-format json --log-level debug --time-scale 60")
        else {
            panic!()
        };
        assert_eq!(
            (run.log.log_format, run.log.log_level, run.time_scale),
            (Some(Format::Json), Some(Level::DEBUG), 60)
        );
    }

    #[test]
    fn help_is_asked_for_and_wrong_usage_is_not() {
        for (line, exit) in [
            ("--help", Exit::Ok),
            ("run --help", Exit::Ok),
            ("--version", Exit::Ok),
            ("", Exit::Usage),
            ("fly", Exit::Usage),
            ("run --log-level loud", Exit::Usage),
            ("run --time-scale 0", Exit::Usage),
            ("resume", Exit::Usage),
        ] {
            assert_eq!(exit_of(&read(line).unwrap_err()), exit, "{line}");
        }
    }

    #[test]
    fn nothing_but_the_name_shows_the_help() {
        let said = read("").unwrap_err().to_string();
        assert!(
            said.contains("Usage:") && said.contains("Examples:"),
            "{said}"
        );
    }

    #[test]
    fn the_help_teaches() {
        let help = Arguments::command()
            .term_width(80)
            .render_help()
            .to_string();
        insta::assert_snapshot!(help, @r"
        Collects the logs of Mimecast's e-mail security and delivers every event to
        Splunk or syslog

        Usage: mimecast-collector <COMMAND>

        Commands:
          run             Collect and deliver, until stopped
          check           Read the configuration, report every mistake, and do nothing
                          else
          init            Write a configuration to begin with, and say how to put the
                          secrets in place
          status          Say how the running collector is doing, and whether data is at
                          risk
          ledger          Say whether each record read, each file listed and each event
                          stored is accounted for, at every output
          resume          Try a blocked integration or output again now, after what was
                          wrong is mended; end a pause
          pause           Leave an integration or output alone, for a while or until it
                          is resumed; a restart does not end it
          drain           Hand all integrations over to the other nodes of the cluster,
                          before an update or for good
          replay          Fetch a span of time again, beside the live traffic, and
                          deliver it marked as replayed
          forget          Give up what is kept for an integration or output that is not
                          in the configuration any more
          dead-letters    List what was put aside, show it, send it again or throw it
                          away
          state           Show, export or import the state of a collector that is
                          stopped, or have a log fetched again from an earlier time on
          support-bundle  Put what support will ask for into one archive, without
                          secrets and without what is about a mail
          explain         Say what an error code means, what the collector does about
                          it, and what you can do
          demo            Collect from a built-in simulator and write the events to
                          standard output; needs no account and no configuration
          simulate        Serve a simulated Mimecast and a simulated Splunk HEC on
                          127.0.0.1, to try a configuration on
          help            Print this message or the help of the given subcommand(s)

        Options:
          -h, --help     Print help (see more with '--help')
          -V, --version  Print version

        Examples:
          mimecast-collector demo                      see it work, without any account
          mimecast-collector check                     is the configuration right?
          mimecast-collector check --connect           does everything work?
          mimecast-collector run                       collect, until stopped
          mimecast-collector status                    how is it doing?
          mimecast-collector status --watch            the same, on a screen that stays
          mimecast-collector status --json | jq .summary
          mimecast-collector ledger                    is anything missing?
          mimecast-collector resume acme-uk            try again now, after a repair
          mimecast-collector pause splunk --for 2h     leave it alone for two hours
          mimecast-collector explain 401/0010          what does this error mean?
          mimecast-collector state show                where did it stop?
          mimecast-collector support-bundle            what support will ask for

        Signals: TERM and INT stop in order, the second one at once; HUP reloads.
        Exit codes: 0 done, 64 wrong usage, 69 no collector is running, 70 bug, 74 disk,
        77 permission, 78 configuration. Of status: 0 well, 1 a person should look,
        2 it is urgent, 3 no collector is running.
        ");
    }

    #[test]
    fn every_option_says_its_default() {
        for command in Arguments::command().get_subcommands_mut() {
            let help = command.render_help().to_string();
            let options = help.split("\n      --").skip(1);
            for option in options {
                assert!(
                    option.contains("[default:"),
                    "{}: {option}",
                    command.get_name()
                );
            }
        }
    }
}
