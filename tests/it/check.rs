//! The command `check`, as a person or a pipeline runs it.

use std::process::{Command, Output};

fn check(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mimecast-collector"))
        .arg("check")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("CREDENTIALS_DIRECTORY")
        .env_remove("ACME_SECRET_KEY")
        .output()
        .unwrap()
}

#[test]
fn the_example_is_right_on_a_machine_without_its_secrets() {
    let done = check(&["--config", "config.example.toml", "--no-secrets"]);
    let said = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert_eq!(
        said,
        "the configuration is right: 2 integrations, 9 outputs; secrets and CA files were not read\n"
    );
}

#[test]
fn each_problem_is_told_once() {
    let done = check(&["--config", "config.example.toml"]);
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(78), "{said}");
    assert_eq!(
        said.matches("ACME_SECRET_KEY is not set").count(),
        1,
        "{said}"
    );
    assert!(said.ends_with("8 problems in 1 file\n"), "{said}");
}

#[test]
fn the_smallest_configuration_of_the_readme_is_right() {
    let readme = include_str!("../../README.md");
    let (_, from) = readme.split_once("```toml\n").unwrap();
    let (toml, _) = from.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, toml).unwrap();
    let done = check(&["--config", file.to_str().unwrap(), "--no-secrets"]);
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(
        said.starts_with("the configuration is right: 1 integrations, 1 outputs"),
        "{said}"
    );
}

/// The commands that a page tells people to type.
fn commands(page: &str) -> Vec<Vec<String>> {
    let lines = page.split(['\n', '`', ',']).map(str::trim);
    let commands = lines
        .filter(|line| line.starts_with("mimecast-collector ") && !line.contains(['…', '<', '(']));
    let words = |line: &str| {
        let line = line
            .split("  ")
            .next()
            .unwrap()
            .split(" | ")
            .next()
            .unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    commands.map(words).collect()
}

#[test]
fn every_command_that_people_are_told_to_type_is_one_that_the_program_takes() {
    let help = check(&["--help"]);
    let program = Command::new(env!("CARGO_BIN_EXE_mimecast-collector"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8([help.stdout, program.stdout].concat()).unwrap();
    let readme = include_str!("../../README.md");
    let operations = include_str!("../../docs/operations.md");
    let found: Vec<_> = [&help, readme, operations]
        .into_iter()
        .flat_map(commands)
        .collect();
    assert!(found.len() > 10, "{found:?}");
    for command in found {
        let words = command.iter().map(std::ffi::OsString::from);
        let taken = mimecast_collector::cli::parse(words);
        assert!(taken.is_ok(), "{command:?}");
    }
}
