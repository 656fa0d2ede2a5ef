//! The check of the environment for unknown settings.

use std::ffi::OsString;

use crate::domain::text::{nearest, quoted};
use crate::error::{Field, Result, Violations};

/// The prefix of the settings' variables.
const PREFIX: &str = "WHARFINGER_";

/// Refuses variables with the prefix that are no settings: otherwise a mistyped one would be ignored.
///
/// Kubernetes sets variables for each Service. The check ignores those of a Service named like this program, and those
/// of a Service whose name begins like it if its `…SERVICE_HOST` is among them.
///
/// # Errors
///
/// [`Invalid`](crate::error::Error::Invalid) names each, and the nearest setting, without its value.
pub(super) fn check(command: &clap::Command, names: impl Iterator<Item = OsString>) -> Result<()> {
    let names: Vec<_> = names
        .filter_map(|name| Some(name.to_string_lossy().strip_prefix(PREFIX)?.to_owned()))
        .collect();
    let hosts = names
        .iter()
        .filter_map(|name| name.strip_suffix("SERVICE_HOST"));
    let services: Vec<_> = hosts.chain([""]).collect();
    let mut known = Vec::new();
    note_variables(command, &mut known);
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    let mut violations = Violations::default();
    for name in &names {
        let of_service = |service: &&str| name.strip_prefix(*service).is_some_and(is_of_kubernetes);
        if known.contains(&name.as_str()) || services.iter().any(of_service) {
            continue;
        }
        let hint = match nearest(&known, name) {
            Some(near) => format!("did you mean {PREFIX}{near}?"),
            None => "`wharfinger --help` lists them".to_owned(),
        };
        let shown = format!("{PREFIX}{name}");
        let message = format!("there is no variable {}; {hint}", quoted(&shown));
        violations.push(Field::Setting, message);
    }
    violations.finish(Some(()))
}

/// Adds the variables of a command and its subcommands to `known`, without the prefix.
fn note_variables(command: &clap::Command, known: &mut Vec<String>) {
    let variables = command.get_arguments().filter_map(clap::Arg::get_env);
    let variables = variables.filter_map(|name| name.to_str()?.strip_prefix(PREFIX));
    known.extend(variables.map(str::to_owned));
    for command in command.get_subcommands() {
        note_variables(command, known);
    }
}

/// Returns true if Kubernetes sets a variable of this name, given without the Service's name.
fn is_of_kubernetes(name: &str) -> bool {
    let numbered = |port: &str| {
        let number = port.split_once('_').map(|(number, _)| number);
        number.is_some_and(|number| number.parse::<u16>().is_ok())
    };
    matches!(name, "SERVICE_HOST" | "SERVICE_PORT" | "PORT")
        || name.starts_with("SERVICE_PORT_")
        || name.strip_prefix("PORT_").is_some_and(numbered)
}
