//! The command line as scripts rely on it: commands, options, their variables, defaults and values;
//! exit codes. `pinned.txt` only grows; descriptions are not in it.

use std::process::ExitCode;

use clap::CommandFactory;

use super::Cli;
use super::outcome::FailureKind;

/// One line for each argument of `command`, which is called as `path`, and of its subcommands.
fn lines(command: &clap::Command, path: &str, lines: &mut Vec<String>) {
    lines.push(path.to_owned());
    for arg in command.get_arguments() {
        let mut line = match (arg.get_long(), arg.get_short()) {
            (Some(long), Some(short)) => format!("{path} --{long} -{short}"),
            (Some(long), None) => format!("{path} --{long}"),
            (None, Some(short)) => format!("{path} -{short}"),
            (None, None) => format!("{path} <{}>", arg.get_id()),
        };
        let texts = |values: &[clap::builder::OsStr]| -> Vec<_> {
            values.iter().map(|value| value.to_string_lossy().into_owned()).collect()
        };
        let values = arg.get_possible_values();
        let values: Vec<_> = values.iter().map(|value| value.get_name().to_owned()).collect();
        for (what, values) in [
            ("required", vec![String::new(); usize::from(arg.is_required_set())]),
            ("values", if arg.get_action().takes_values() { values } else { Vec::new() }),
            ("default", texts(arg.get_default_values())),
            ("env", arg.get_env().into_iter().map(|env| env.display().to_string()).collect()),
        ] {
            if !values.is_empty() {
                line = format!("{line} {what}={}", values.join(","));
            }
        }
        lines.push(line);
    }
    for command in command.get_subcommands() {
        for name in std::iter::once(command.get_name()).chain(command.get_all_aliases()) {
            self::lines(command, &format!("{path} {name}"), lines);
        }
    }
}

#[test]
fn commands_and_their_options() {
    let mut now = Vec::new();
    lines(&Cli::command(), "tributary", &mut now);
    let pinned =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/pinned.txt")).unwrap();
    // What was required may become optional.
    let optional = |pinned: &str| pinned.replacen(" required=", "", 1);
    let holds = |pinned: &str| now.iter().any(|line| *line == pinned || *line == optional(pinned));
    let lost: Vec<_> = pinned.lines().filter(|pinned| !holds(pinned)).collect();
    assert!(lost.is_empty(), "not as pinned: {lost:#?}\nnow:\n{}", now.join("\n"));
}

#[test]
fn exit_codes() {
    for (kind, code) in [
        (FailureKind::ClosedPipe, 0),
        (FailureKind::Failed, 1),
        (FailureKind::Usage, 2),
        (FailureKind::NotReachable, 3),
        (FailureKind::Difference, 4),
    ] {
        assert_eq!(format!("{:?}", ExitCode::from(kind)), format!("{:?}", ExitCode::from(code)));
    }
}
