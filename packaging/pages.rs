//! Writes the man pages and shell completions into a folder: `cargo run --example pages -- FOLDER DATE`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use mimecast_collector::cli::Arguments;

const NAME: &str = "mimecast-collector";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let folder: PathBuf = arguments.next().ok_or("name a folder")?.into();
    let date = arguments.next().ok_or("say the date, such as 2026-01-06")?;
    let date = date.into_string().map_err(|_| "the date is no text")?;
    fs::create_dir_all(&folder)?;
    let mut command = without_help(Arguments::command());
    command.build();
    program_pages(&folder, &command, &date)?;
    fs::write(
        folder.join(format!("{NAME}.toml.5")),
        config_page(include_str!("../config.example.toml"), &date),
    )?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Arguments::command(), NAME, &folder)?;
    }
    Ok(())
}

/// Pages about `help` help nobody.
fn without_help(command: Command) -> Command {
    let command = command.disable_help_subcommand(true);
    let names: Vec<_> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, without_help)
    })
}

/// A page for the program and one for each command.
fn program_pages(folder: &Path, command: &Command, date: &str) -> Result<(), Box<dyn Error>> {
    let name = command.get_display_name().unwrap_or(NAME).to_owned();
    let source = format!("{NAME} {}", env!("CARGO_PKG_VERSION"));
    let page = Man::new(command.clone())
        .title(&name)
        .date(date)
        .source(source);
    let mut bytes = Vec::new();
    page.render(&mut bytes)?;
    let mut text = tidy(&String::from_utf8(bytes)?);
    if name == NAME {
        text.push_str(
            ".SH FILES\n.TP\n/etc/mimecast\\-collector/config.toml\nThe configuration, see\n\
             .BR mimecast\\-collector.toml (5).\n.TP\n/var/lib/mimecast\\-collector\nAll that must outlive the program.\n",
        );
    }
    fs::write(folder.join(format!("{name}.1")), text)?;
    for sub in command.get_subcommands() {
        program_pages(folder, sub, date)?;
    }
    Ok(())
}

/// Paragraphs as what they are, and with the examples under their own name and as they stand.
fn tidy(page: &str) -> String {
    let page = page.replace(".br\n\n.br\n", ".sp\n");
    let Some((before, examples)) = page.split_once(".SH EXTRA\nExamples:\n") else {
        return page;
    };
    let (examples, behind) = examples.split_once("\n\n").unwrap_or((examples, ""));
    format!("{before}.SH EXAMPLES\n.nf\n{examples}\n.fi\n.SH NOTES\n{behind}")
}

/// The example as a page: it names every option with its default.
fn config_page(example: &str, date: &str) -> String {
    let mut page = format!(
        ".TH MIMECAST\\-COLLECTOR.TOML 5 {date} \"{NAME} {}\"\n.SH NAME\nmimecast\\-collector.toml \\- configuration of mimecast\\-collector(1)\n\
         .SH DESCRIPTION\nThe file is TOML. It is checked by\n.BR \"mimecast\\-collector check\" .\n\
         Below is every option with its default.\n.SH OPTIONS\n.nf\n",
        env!("CARGO_PKG_VERSION")
    );
    for line in example.lines() {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        // A line that begins with a dot or a quote would be taken for a request.
        if line.starts_with(['.', '\'']) {
            page.push_str("\\&");
        }
        page.push_str(&line);
        page.push('\n');
    }
    page.push_str(".fi\n.SH SEE ALSO\n.BR mimecast\\-collector (1)\n");
    page
}
