//! Secrets in files. The variable `NAME` of an option that holds a secret may be replaced by
//! `NAME_FILE`, which names a file whose first line is the value: a mounted secret of a container or
//! a credential of systemd.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::{Arg, Command};

use super::values::{FILE_SUFFIX, Secret, ServerUrl};

/// The variables that name a file with a secret, and those files.
pub type SecretFiles = BTreeMap<String, PathBuf>;

/// What the environment says about the secrets of a command.
#[derive(Debug, Default)]
struct Found {
    files: SecretFiles,
    mistakes: BTreeSet<String>,
}

/// Lets each secret of `command` and of its subcommands be read from the file that the environment
/// names for it. Returns the command and the files that are used, or one message for each secret
/// whose variable and file are both set.
pub fn secret_files(command: Command) -> Result<(Command, SecretFiles), Vec<String>> {
    let mut found = Found::default();
    let command = prepared(command, &mut found);
    let Found { files, mistakes } = found;
    if mistakes.is_empty() { Ok((command, files)) } else { Err(mistakes.into_iter().collect()) }
}

fn prepared(command: Command, found: &mut Found) -> Command {
    let command = command.mut_args(|arg| {
        let Some(name) = secret_variable(&arg) else { return arg };
        let variable = format!("{name}{FILE_SUFFIX}");
        let Some(file) = value_of(&variable) else { return arg };
        if value_of(&name).is_some() {
            found.mistakes.insert(format!("{name} and {variable} are both set: set one of them"));
            return arg;
        }
        found.files.insert(variable.clone(), file);
        // Leaked once for each option of the process: an `Arg` borrows the name of its variable.
        arg.env(&*variable.leak())
    });
    command.mut_subcommands(|command| prepared(command, found))
}

/// Returns the variable of an option that holds a secret.
fn secret_variable(arg: &Arg) -> Option<String> {
    let kind = arg.get_value_parser().type_id();
    let secret = kind == TypeId::of::<Secret>() || kind == TypeId::of::<ServerUrl>();
    arg.get_env().filter(|_| secret)?.to_str().map(str::to_owned)
}

/// Returns the value of a variable. An empty one counts as unset.
fn value_of(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}
