//! Writes the man pages and shell completions into a folder: `cargo run --example pages -- FOLDER`.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;
use mimecast_collector::cli::Arguments;

const NAME: &str = "mimecast-collector";

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("name a folder")?.into();
    fs::create_dir_all(&folder)?;
    program_pages(&folder)?;
    fs::write(
        folder.join(format!("{NAME}.toml.5")),
        config_page(include_str!("../config.example.toml")),
    )?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        debug_assert!(Shell::value_variants().contains(&shell));
        clap_complete::generate_to(shell, &mut Arguments::command(), NAME, &folder)?;
    }
    Ok(())
}

/// A page for the program and one for each command.
fn program_pages(folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut command = Arguments::command();
    command.build();
    clap_mangen::generate_to(command, folder)?;
    let mut page = fs::OpenOptions::new()
        .append(true)
        .open(folder.join(format!("{NAME}.1")))?;
    page.write_all(
        b".SH FILES\n.TP\n/etc/mimecast\\-collector/config.toml\nThe configuration, see \
          .BR mimecast\\-collector.toml (5).\n.TP\n/var/lib/mimecast\\-collector\nAll that must outlive the program.\n",
    )?;
    Ok(())
}

/// The example as a page: it names every option with its default.
fn config_page(example: &str) -> String {
    let mut page = String::from(
        ".TH MIMECAST\\-COLLECTOR.TOML 5\n.SH NAME\nmimecast\\-collector.toml \\- configuration of mimecast\\-collector(1)\n\
         .SH DESCRIPTION\nThe file is TOML. It is checked by\n.BR \"mimecast\\-collector check\" .\n\
         Below is every option with its default.\n.SH OPTIONS\n.nf\n",
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
