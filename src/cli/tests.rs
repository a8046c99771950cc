use clap::CommandFactory as _;

use super::*;

/// Words of a line as a shell splits it: quotes hold words together, and what is redirected is not for us.
fn words(line: &str) -> Vec<String> {
    let line = line.split(" > ").next().unwrap();
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Every command that does something, with its words.
fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
    let has_own_work =
        command.get_subcommands().next().is_none() || !command.is_subcommand_required_set();
    if has_own_work {
        found.push((path.to_owned(), command.clone()));
    }
    for sub in command.get_subcommands() {
        leaves(sub, &format!("{path} {}", sub.get_name()), found);
    }
}

#[test]
fn commands_are_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_an_example_that_parses() {
    let mut found = Vec::new();
    leaves(&Cli::command(), "adit", &mut found);
    assert!(found.len() > 25, "all commands are found");
    for (path, command) in found {
        let help = command
            .get_after_help()
            .map(|help| help.to_string().replace(" \\\n", " "))
            .unwrap_or_default();
        let examples: Vec<_> = help
            .lines()
            .filter(|line| line.starts_with("  adit "))
            .collect();
        assert!(
            examples.iter().any(|line| line.trim().starts_with(&path)),
            "{path} has no example of its own: {help:?}"
        );
        for example in examples {
            if let Err(error) = Cli::try_parse_from(words(example)) {
                panic!("{path}: {example}\n{error}");
            }
        }
    }
}

#[test]
fn short_help_names_every_command() {
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(HELP.contains(&format!("  {name} ")), "{name}");
    }
}

#[test]
fn every_flag_and_value_is_explained() {
    let mut found = Vec::new();
    leaves(&Cli::command(), "adit", &mut found);
    for (path, command) in found {
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{path}: {}", arg.get_id());
        }
        assert!(command.get_about().is_some(), "{path}");
    }
}

#[test]
fn operator_options_stand_anywhere() {
    for line in [
        "adit --output json --profile p.toml app list",
        "adit app list --output json --profile p.toml",
        "adit agent list --output json",
        "adit --timeout 3s edge list",
    ] {
        assert!(Cli::try_parse_from(words(line)).is_ok(), "{line}");
    }
}

#[test]
fn wrong_usage_is_refused() {
    for line in [
        "adit",
        "adit app",
        "adit app publish wiki --origin http://a --access passthrough",
        "adit app publish Wiki --host a.example.com --origin http://a --access passthrough",
        "adit app publish wiki --host a.example.com --origin http://a",
        "adit token create",
        "adit token create --group office --uses 0",
        "adit agent --data-dir d list",
        "adit apply",
        "adit status --timeout 0s",
    ] {
        assert!(Cli::try_parse_from(words(line)).is_err(), "{line}");
    }
}
