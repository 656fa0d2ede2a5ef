//! The environment: variables that look like settings and are none.

use std::ffi::OsString;

use crate::domain::text::{nearest, quoted};
use crate::error::{Field, Result, Violations};

/// The beginning of the names of settings' variables.
const PREFIX: &str = "WHARFINGER_";

/// Refuses variables that look like settings and are none: a mistyped one would be as if it were not there.
///
/// Kubernetes sets variables for each Service. Those of a Service named as this program are passed over, and those of one
/// whose name begins so if its host is among them.
///
/// # Errors
///
/// [`Invalid`](crate::error::Error::Invalid) names each, and the one that it may have meant, without its value.
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

/// Notes the variables of a command and of those below it, without the prefix.
fn note_variables(command: &clap::Command, known: &mut Vec<String>) {
    let variables = command.get_arguments().filter_map(clap::Arg::get_env);
    let variables = variables.filter_map(|name| name.to_str()?.strip_prefix(PREFIX));
    known.extend(variables.map(str::to_owned));
    for command in command.get_subcommands() {
        note_variables(command, known);
    }
}

/// Is this the name of a variable that Kubernetes sets for a Service, after the name of that?
fn is_of_kubernetes(name: &str) -> bool {
    let numbered = |port: &str| {
        let number = port.split_once('_').map(|(number, _)| number);
        number.is_some_and(|number| number.parse::<u16>().is_ok())
    };
    matches!(name, "SERVICE_HOST" | "SERVICE_PORT" | "PORT")
        || name.starts_with("SERVICE_PORT_")
        || name.strip_prefix("PORT_").is_some_and(numbered)
}
