//! The tree of commands holds together, and each tells how it is used.

use super::*;
use clap::{Command as Clap, CommandFactory};

/// Every command with its path, the program itself left out.
fn all(command: &Clap, path: &str, found: &mut Vec<(String, Clap)>) {
    for inner in command.get_subcommands() {
        let path = format!("{path} {}", inner.get_name());
        all(inner, &path, found);
        found.push((path, inner.clone()));
    }
}

fn commands() -> Vec<(String, Clap)> {
    let mut found = Vec::new();
    all(&Arguments::command(), "keygate", &mut found);
    assert!(found.len() > 70, "{}", found.len());
    found
}

#[test]
fn clap_finds_no_fault() {
    Arguments::command().debug_assert();
}

/// clap lets an argument of a command take the place of a flag that all below a noun have.
#[test]
fn no_argument_hides_a_shared_one() {
    fn walk(command: &Clap, shared: &[String]) {
        let mut below = shared.to_vec();
        for argument in command.get_arguments() {
            let id = argument.get_id().to_string();
            assert!(!shared.contains(&id), "{}: {id}", command.get_name());
            if argument.is_global_set() {
                below.push(id);
            }
        }
        for inner in command.get_subcommands() {
            walk(inner, &below);
        }
    }
    walk(&Arguments::command(), &[]);
}

#[test]
fn every_command_has_an_example() {
    for (path, command) in commands() {
        let after = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(after.starts_with("Example"), "{path} has no example");
        assert!(
            command.get_about().is_some(),
            "{path} says not what it does"
        );
        let arguments = command
            .get_arguments()
            .filter(|argument| !argument.is_hide_set());
        for argument in arguments {
            assert!(
                argument.get_help().is_some(),
                "{path}: {} has no words",
                argument.get_id()
            );
        }
    }
}

/// What is secret comes by a prompt, a file, standard input or the environment: everybody on the machine sees arguments.
#[test]
fn no_command_takes_a_secret_as_an_argument() {
    for (path, command) in commands() {
        for argument in command.get_arguments() {
            let name = argument.get_id().as_str();
            let is_suspect = ["secret", "token", "password"]
                .iter()
                .any(|word| name.contains(word));
            let named = argument.get_value_names().into_iter().flatten().next();
            let named = named.map_or("", clap::builder::Str::as_str);
            let help = argument
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let is_harmless = !argument.get_action().takes_values()
                || matches!(named, "FILE" | "NUMBER")
                || help.starts_with("Id");
            assert!(!is_suspect || is_harmless, "{path}: {name}");
        }
    }
}

/// What stands in an example is read by the program as it is.
#[test]
fn every_example_can_be_typed() {
    for (path, command) in commands() {
        let after = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let examples: Vec<&str> = after
            .lines()
            .filter(|line| line.starts_with("  "))
            .collect();
        assert!(!examples.is_empty(), "{path}");
        assert!(
            examples.iter().any(|example| example.contains(&path)),
            "{path}"
        );
        for example in examples {
            for part in example.split('|') {
                let words = words(part);
                let read = Arguments::command().try_get_matches_from(&words);
                assert!(read.is_ok(), "{example}\n{}", read.unwrap_err());
            }
        }
    }
}

/// Words as a shell takes them apart; redirections are left out.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut redirected) = (false, false);
    for letter in line.trim().chars() {
        match letter {
            '\'' => quoted = !quoted,
            '<' | '>' => redirected = true,
            ' ' if !quoted => words.push(String::new()),
            _ if redirected => {}
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn words_of_a_line() {
    assert_eq!(words("  keygate a 'b c' < file"), ["keygate", "a", "b c"]);
}

#[test]
fn flags_of_the_gateway_stand_anywhere_behind_the_noun() {
    for line in [
        "keygate keys list -o json",
        "keygate keys -o json list",
        "keygate keys list --url http://a -o name --no-color",
    ] {
        let read = Arguments::command().try_get_matches_from(words(line));
        assert!(read.is_ok(), "{line}: {}", read.unwrap_err());
    }
}
