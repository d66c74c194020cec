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
        "the configuration is right: 2 integrations, 4 outputs; secrets and CA files were not read\n"
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
    assert!(said.ends_with("5 problems in 1 file\n"), "{said}");
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
