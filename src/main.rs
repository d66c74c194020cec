//! The program: reads the command line, does what it says, and ends with a code that says how it went.

use std::io::{IsTerminal, Write as _};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use mimecast_collector::app::{self, AppError};
use mimecast_collector::cli::explain::ExplainError;
use mimecast_collector::cli::progress::{Progress, of_stop};
use mimecast_collector::cli::{self, Command, Exit, demo, simulate, status};
use mimecast_collector::clock::Clock;
use mimecast_collector::config::Config;
use mimecast_collector::control::{Request, ask, state_socket};
use mimecast_collector::settings::Problems;
use mimecast_collector::signals::Signals;
use mimecast_collector::simulator::Ports;
use mimecast_collector::state::StateError;
use mimecast_collector::{connect, logging, scale, secret};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

fn main() -> ExitCode {
    let arguments = match cli::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(exit) => return exit.into(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let work = AssertUnwindSafe(|| runtime.block_on(obey(arguments.command)));
            let ended = std::panic::catch_unwind(work);
            // A reader of standard output that does not read must not keep the process.
            runtime.shutdown_timeout(Duration::from_secs(1));
            match ended {
                Ok(ended) => ended,
                // A task panicked; the hook has said where. All state is durable, so a restart goes on.
                Err(_) => return Exit::Bug.into(),
            }
        }
        Err(error) => Err(anyhow!("cannot start the runtime: {error}")),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => {
            let mut stderr = std::io::stderr();
            // Nowhere left to complain.
            writeln!(stderr, "{}", told(&error)).ok();
            exit_of(&error).into()
        }
    }
}

async fn obey(command: Command) -> anyhow::Result<Exit> {
    let mut stdout = std::io::stdout();
    match command {
        Command::Status(wish) => return show_status(wish).await,
        Command::Run(run) => collect(run).await?,
        Command::Check(check) if check.connect => check_connect(check, &mut stdout).await?,
        Command::Check(check) => {
            let config = Config::load(&check.file.config)?;
            for warning in &config.warnings {
                writeln!(stdout, "warning: {warning}")?;
            }
            let unread = if check.no_secrets {
                "; secrets and CA files were not read"
            } else {
                for doubt in app::check(&config)? {
                    writeln!(stdout, "warning: {doubt}")?;
                }
                ""
            };
            writeln!(
                stdout,
                "the configuration is right: {} integrations, {} outputs{unread}",
                config.integrations.len(),
                config.outputs.len()
            )?;
        }
        Command::Init(wish) => {
            let wish = cli::init::Wish {
                api: wish.api,
                name: wish.name,
                splunk: wish.splunk,
                file: wish.file.config,
            };
            cli::init::run(&wish, &mut stdout)?;
        }
        Command::Ledger(ask) => {
            let socket = state_socket(&Config::load(&ask.file.config)?.state_dir);
            if ask.json {
                cli::ledger::run_json(&socket, &mut stdout).await?;
            } else {
                cli::ledger::run(&socket, look(&stdout), &mut stdout).await?;
            }
        }
        Command::Resume(ask) => {
            let socket = state_socket(&Config::load(&ask.file.config)?.state_dir);
            cli::resume::run(&socket, &ask.name, &mut stdout).await?;
        }
        Command::Drain(ask) => {
            let socket = state_socket(&Config::load(&ask.file.config)?.state_dir);
            cli::drain::run(&socket, ask.undo, &mut stdout).await?;
        }
        Command::Pause(ask) => {
            let socket = state_socket(&Config::load(&ask.file.config)?.state_dir);
            cli::pause::run(&socket, &ask.name, ask.duration, &mut stdout).await?;
        }
        Command::Replay(ask) => {
            let socket = state_socket(&Config::load(&ask.file.config)?.state_dir);
            match ask.wish() {
                cli::ReplayWish::List => cli::replay::list(&socket, &mut stdout).await?,
                cli::ReplayWish::Cancel(number) => {
                    cli::replay::cancel(&socket, number, &mut stdout).await?;
                }
                cli::ReplayWish::Begin(request) => {
                    let on_terminal = stdout.is_terminal();
                    cli::replay::run(&socket, &request, on_terminal, &mut stdout).await?;
                }
            }
        }
        Command::Forget(ask) => {
            let socket = state_socket(&Config::load(&ask.file.config)?.state_dir);
            let mut terminal = std::io::stdin().lock();
            let sure = sure(ask.yes, &mut terminal);
            cli::forget::run(&socket, &ask.name, sure, &mut stdout).await?;
        }
        Command::DeadLetters(ask) => dead_letters(ask).await?,
        Command::State(ask) => {
            let state_dir = Config::load(ask.config())?.state_dir;
            let look = look(&stdout);
            cli::state::run(ask, &state_dir, &Clock::system(), look, &mut stdout).await?;
        }
        Command::SupportBundle(ask) => {
            let wish = cli::support_bundle::Wish {
                config: ask.file.config,
                output: ask.output,
                log: ask.log,
                now: Clock::system().wall(),
            };
            cli::support_bundle::run(&wish, &mut stdout).await?;
        }
        Command::Explain(ask) => cli::explain::run(&ask.code, &mut stdout)?,
        Command::Demo(wish) => {
            let clock = demo::clock(Clock::system().wall());
            logging::init(logging::Format::Auto, tracing::Level::INFO, clock.clone())?;
            demo::run(wish.events, clock, &mut std::io::stderr()).await?;
        }
        Command::Simulate(wish) => {
            let clock = Clock::system();
            logging::init(wish.log_format, tracing::Level::INFO, clock.clone())?;
            let ports = Ports {
                api: wish.port,
                objects: wish.objects_port,
                hec: wish.hec_port,
            };
            let wish = simulate::Wish {
                ports,
                per_minute: wish.events_per_minute,
                seed: wish.seed,
            };
            simulate::run(wish, &clock, &mut stdout).await?;
        }
    }
    Ok(Exit::Ok)
}

/// Ends with a code that monitoring understands, also when nobody answers.
async fn show_status(wish: cli::Status) -> anyhow::Result<Exit> {
    let mut stdout = std::io::stdout();
    let socket = state_socket(&Config::load(&wish.file.config)?.state_dir);
    let colours = stdout.is_terminal();
    let look = status::Look { width: 80, colours };
    let shown = if wish.watch {
        status::watch(&socket, colours, &mut stdout)
            .await
            .map(|()| Exit::Ok)
    } else if wish.json {
        status::run_json(&socket, &mut stdout).await.map(Exit::from)
    } else {
        status::run(&socket, look, &mut stdout)
            .await
            .map(Exit::from)
    };
    match shown {
        Err(error) if Exit::from(&error) == Exit::Unavailable => {
            // Nowhere left to complain.
            writeln!(std::io::stderr(), "{}", told(&error.into())).ok();
            Ok(Exit::Unknown)
        }
        shown => Ok(shown?),
    }
}

fn look(stdout: &impl IsTerminal) -> status::Look {
    status::Look {
        width: 80,
        colours: stdout.is_terminal(),
    }
}

/// Asks everybody whom the configuration names.
async fn check_connect(check: cli::Check, out: &mut impl std::io::Write) -> anyhow::Result<()> {
    let config = Config::load(&check.file.config)?;
    let asked = ask(&state_socket(&config.state_dir), &Request::Status).await;
    let running = asked
        .ok()
        .and_then(|report| serde_json::from_value(report).ok());
    let clock = Clock::system();
    let parts = connect::walk(&config, &check.file.config, running.as_ref(), &clock).await;
    if check.json {
        connect::render_json(&parts, out)?;
    } else {
        connect::render(&parts, out)?;
    }
    if connect::all_is_well(&parts) {
        return Ok(());
    }
    Err(NotWell.into())
}

/// Something that the configuration names does not work, or should be looked at.
#[derive(Debug, thiserror::Error)]
#[error("not all is well: see above")]
struct NotWell;

async fn dead_letters(ask: cli::DeadLetters) -> anyhow::Result<()> {
    use cli::{DeadLetters, dead_letters};
    let mut stdout = std::io::stdout();
    let socket = |file: &cli::ConfigFile| {
        let config = Config::load(&file.config)?;
        anyhow::Ok(state_socket(&config.state_dir))
    };
    match ask {
        DeadLetters::List { json, file } => {
            dead_letters::list(&socket(&file)?, json, &mut stdout).await?;
        }
        DeadLetters::Show { number, file } => {
            dead_letters::show(&socket(&file)?, number, &mut stdout).await?;
        }
        DeadLetters::Save { number, to, file } => {
            dead_letters::save(&socket(&file)?, number, &to, &mut stdout).await?;
        }
        DeadLetters::Resend {
            numbers,
            no_wait,
            file,
        } => {
            let follow = if no_wait {
                dead_letters::Follow::No
            } else if stdout.is_terminal() {
                dead_letters::Follow::OnTerminal
            } else {
                dead_letters::Follow::ByLines
            };
            dead_letters::resend(&socket(&file)?, &numbers, follow, &mut stdout).await?;
        }
        DeadLetters::Discard { numbers, yes, file } => {
            let mut terminal = std::io::stdin().lock();
            let sure = sure(yes, &mut terminal);
            dead_letters::discard(&socket(&file)?, &numbers, sure, &mut stdout).await?;
        }
    }
    Ok(())
}

/// How it is known whether a person is sure.
fn sure<'a>(yes: bool, terminal: &'a mut std::io::StdinLock<'static>) -> cli::forget::Sure<'a> {
    use cli::forget::Sure;
    match (yes, terminal.is_terminal()) {
        (true, _) => Sure::Yes,
        (false, true) => Sure::Ask(terminal),
        (false, false) => Sure::No,
    }
}

async fn collect(run: cli::Run) -> anyhow::Result<()> {
    let kept_out = secret::keep_out_of_core_files();
    let load = move || Config::load(&run.file.config);
    let config = load()?;
    let clock = scale::clock(&config, run.time_scale)?;
    let format = run.log.log_format.unwrap_or(config.log.format);
    let level = run.log.log_level.unwrap_or(config.log.level);
    logging::init(format, level, clock.clone())?;
    if let Err(error) = kept_out {
        tracing::warn!(%error, "a core file of this process would hold its secrets: set ulimit -c 0");
    }
    let (sender, signals) = mpsc::channel(1);
    let mut arriving = Signals::new()?;
    let mut forwarder = JoinSet::new();
    forwarder.spawn(async move {
        loop {
            let signal = arriving.next().await;
            if sender.send(signal).await.is_err() {
                return;
            }
        }
    });
    let stderr = std::io::stderr();
    let on_terminal = stderr.is_terminal();
    let terminal = on_terminal.then(|| Progress::new(stderr, true, "stop"));
    Ok(app::run(config, clock, signals, load, of_stop(terminal)).await?)
}

/// The error and its causes, each once: most of our errors tell their cause themselves.
fn told(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// The code for what went wrong, by the kind of the first error that has one.
fn exit_of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if cause.is::<NotWell>() {
            return Exit::Unavailable;
        }
        if cause.is::<Problems>() {
            return Exit::Config;
        }
        if let Some(error) = cause.downcast_ref::<scale::ScaleError>() {
            return error.into();
        }
        if let Some(error) = cause.downcast_ref::<AppError>() {
            return error.into();
        }
        if let Some(error) = cause.downcast_ref::<ExplainError>() {
            return error.into();
        }
        if let Some(error) = cause.downcast_ref::<cli::init::InitError>() {
            return error.into();
        }
        if let Some(error) = cause.downcast_ref::<cli::support_bundle::BundleError>() {
            return error.into();
        }
        if let Some(error) = cause.downcast_ref::<StateError>() {
            return error.into();
        }
        if let Some(error) = cause.downcast_ref::<status::AskError>() {
            return error.into();
        }
        if let Some(demo::DemoError::App(error)) = cause.downcast_ref() {
            return error.into();
        }
    }
    Exit::Store
}
