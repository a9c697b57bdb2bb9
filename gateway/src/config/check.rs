//! Reading the command line so that every mistake in it is reported at once, not one a run.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, value_parser};

/// Everything that is wrong with what was given; or the help that was asked for.
#[derive(Debug)]
pub enum Mistakes {
    /// clap's own answer: help, version, or a command line it cannot make sense of.
    Clap(clap::Error),
    /// One line for each value that is wrong.
    Values(Vec<String>),
}

/// Reads `args`. After a value that is wrong, the rest is read on as if it were right, to find the
/// next.
pub fn parse<T: CommandFactory + FromArgMatches>(
    args: impl IntoIterator<Item = impl Into<OsString>>,
) -> Result<T, Mistakes> {
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let mut command = T::command();
    let mut wrong = Vec::new();
    loop {
        match command.clone().try_get_matches_from(&args) {
            Ok(matches) if wrong.is_empty() => return read(&matches),
            Ok(_) => return Err(Mistakes::Values(wrong)),
            Err(error) => match invalid_value(&error) {
                Some(argument) => {
                    wrong.push(format!("{argument}: {}", reason(&error)));
                    command = accept_anything(command, &argument);
                }
                None if wrong.is_empty() => return Err(Mistakes::Clap(error)),
                None => {
                    wrong.push(plain(&error));
                    return Err(Mistakes::Values(wrong));
                }
            },
        }
    }
}

fn read<T: FromArgMatches>(matches: &ArgMatches) -> Result<T, Mistakes> {
    T::from_arg_matches(matches).map_err(Mistakes::Clap)
}

/// The argument whose value is wrong, as clap shows it.
fn invalid_value(error: &clap::Error) -> Option<String> {
    let about_a_value =
        matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue);
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) if about_a_value => Some(argument.clone()),
        _ => None,
    }
}

fn accept_anything(command: Command, argument: &str) -> Command {
    let mut command = command;
    command.build();
    command
        .mut_args(|arg| {
            if arg.to_string() == argument {
                arg.value_parser(value_parser!(OsString))
            } else {
                arg
            }
        })
        .mut_subcommands(|subcommand| accept_anything(subcommand, argument))
}

/// Why the value is wrong, without the value: it may hold a secret.
fn reason(error: &clap::Error) -> String {
    match (std::error::Error::source(error), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(valid))) => format!("one of {}", valid.join(", ")),
        (None, _) => "not a value it takes".into(),
    }
}

fn plain(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let end = text.find("\nUsage:").unwrap_or(text.len());
    text[..end].trim().to_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Config;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let args = [
            "tributary",
            "--port=http",
            "--worker-lease=long",
            "--mqtt-password=changeme",
            "--nats-url=nats://me:hunter2@no where",
        ];
        let Err(Mistakes::Values(wrong)) = parse::<Cli>(args) else {
            panic!("it was accepted");
        };
        let all = wrong.join("\n");
        assert!(!all.contains("hunter2"), "{all}");
        for part in [
            "--port",
            "--worker-lease",
            "--mqtt-password",
            "--nats-url",
            "--database-url",
            "--signing-key-file",
        ] {
            assert!(all.contains(part), "{part} is not in:\n{all}");
        }
    }

    #[test]
    fn what_is_right_is_read() {
        let args = [
            "tributary",
            "--database-url=postgres://tributary_app:hunter2@localhost/tributary",
            "--signing-key-file=key.pem",
            "--worker-lease=10s",
        ];
        let config = parse::<Cli>(args).unwrap().config;
        assert_eq!(
            config.mistakes(&[]),
            ["--worker-time-limit must be shorter than --worker-lease"]
        );
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_private_configuration_is_complete() {
        let key = std::path::Path::new("key.pem");
        let config = Config::private(
            "postgres://tributary_app@127.0.0.1:5432/tributary",
            "nats://127.0.0.1:4222",
            "mqtt://127.0.0.1:1883",
            key,
        )
        .unwrap();
        assert!(config.mistakes(&crate::config::ProcessRole::ALL).is_empty());
        assert_eq!((config.http.port, config.tokens.signing_key_file.as_path()), (0, key));
    }

    #[test]
    fn help_does_not_show_what_the_environment_holds() {
        for arg in Cli::command().get_arguments() {
            let name = arg.get_id().as_str();
            let secret = ["url", "password", "token"].iter().any(|word| name.contains(word));
            assert_eq!(arg.is_hide_env_values_set(), secret, "{name}");
        }
    }
}
