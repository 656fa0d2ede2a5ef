//! The commands about a secret that was found.

use std::io::Read as _;

use chrono::{DateTime, SecondsFormat, Utc};
use secrecy::SecretString;
use serde_json::{Map, json};
use zeroize::Zeroizing;

use super::output::print_as;
use super::service::open_service;
use crate::app::Makes;
use crate::config::{Output, Settings, TokenCommand};
use crate::domain::lookup::{Ending, Suspect};
use crate::domain::token_scope::Scope;
use crate::error::{Error, Field, Result};
use crate::service::lookups::Finding;

/// Bytes that are read of standard input: more than any secret has.
const INPUT: u64 = 64 * 1024;

/// Runs a command about the secret on standard input.
pub(super) async fn run(settings: &Settings, command: TokenCommand) -> Result<()> {
    let (ending, output) = match command {
        TokenCommand::Lookup { output } => (None, output.output),
        TokenCommand::End { delete, output } => {
            let ending = if delete {
                Ending::Delete
            } else {
                Ending::Disable
            };
            (Some(ending), output.output)
        }
    };
    let service = open_service(settings, Makes::Nothing).await?;
    let finding = async {
        let suspect = Suspect::parse(&read()?)?;
        service.lookups().look_up_by_command(suspect, ending).await
    }
    .await;
    service.close();
    show(&finding?, output)
}

fn read() -> Result<SecretString> {
    let unreadable = |error| {
        Error::invalid(
            Field::Setting,
            format!("the secret: standard input cannot be read: {error}"),
        )
    };
    let mut text = Zeroizing::new(String::new());
    let read = std::io::stdin().take(INPUT).read_to_string(&mut text);
    read.map_err(unreadable)?;
    Ok(text.as_str().into())
}

fn show(finding: &Finding, output: Output) -> Result<()> {
    let registry = finding.registry.as_ref();
    let account = finding.account.as_ref();
    let used = finding.last_used.as_ref();
    let facts = [
        ("kind", Some(json!(finding.kind.as_str()))),
        ("subjectKind", Some(json!(finding.subject_kind.as_str()))),
        ("id", Some(json!(finding.id))),
        ("name", Some(json!(finding.name))),
        ("registryId", registry.map(|(id, _)| json!(id.0))),
        ("registryName", registry.map(|(_, name)| json!(name))),
        ("accountId", account.map(|(id, _)| json!(id.0))),
        ("accountName", account.map(|(_, name)| json!(name))),
        ("state", Some(json!(finding.state))),
        ("usable", Some(json!(finding.unusable.is_none()))),
        (
            "reason",
            finding.unusable.as_ref().map(|reason| json!(reason)),
        ),
        (
            "expiryDate",
            finding.expiry_date.map(|end| json!(said(end))),
        ),
        (
            "scopes",
            finding.scopes.as_ref().map(|scopes| json!(scopes)),
        ),
        ("roles", finding.roles.as_ref().map(|roles| json!(roles))),
        ("lastUsedDate", used.map(|used| json!(said(used.at)))),
        (
            "lastUsedAddress",
            used.and_then(|used| used.address)
                .map(|address| json!(address)),
        ),
        (
            "lastUsedRepository",
            used.and_then(|used| used.repository.as_ref())
                .map(|name| json!(name)),
        ),
        ("ended", Some(json!(finding.ended))),
    ];
    let shown: Map<_, _> = facts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
    print_as(output, &shown, || lines(finding).join("\n"))
}

/// The facts for people: a label and a value a line.
fn lines(finding: &Finding) -> Vec<String> {
    let kind = finding.kind.as_str();
    let usable = finding.unusable.as_deref().unwrap_or("usable");
    let mut facts = vec![
        ("SECRET", format!("{kind}, {usable}")),
        ("OF", finding.subject_kind.as_str().to_owned()),
        ("ID", finding.id.to_string()),
        ("NAME", finding.name.clone()),
        ("STATE", finding.state.to_owned()),
    ];
    let mut add = |label, value: Option<String>| facts.extend(value.map(|value| (label, value)));
    let named = |id: String, name: &str| format!("{name} ({id})");
    add(
        "REGISTRY",
        finding
            .registry
            .as_ref()
            .map(|(id, name)| named(id.to_string(), name)),
    );
    add(
        "ACCOUNT",
        finding
            .account
            .as_ref()
            .map(|(id, name)| named(id.to_string(), name)),
    );
    add("EXPIRES", finding.expiry_date.map(said));
    add("SCOPES", finding.scopes.as_deref().map(scopes));
    add(
        "ROLES",
        finding.roles.as_ref().map(|roles| roles.join(", ")),
    );
    add(
        "LAST USED",
        finding.last_used.as_ref().map(|used| {
            let address = used.address.map(|address| format!(" from {address}"));
            let repository = used.repository.as_ref().map(|name| format!(" for {name}"));
            format!(
                "{}{}{}",
                said(used.at),
                address.unwrap_or_default(),
                repository.unwrap_or_default()
            )
        }),
    );
    if finding.ended {
        facts.push(("ENDED", "by this command".to_owned()));
    }
    let line = |(label, value): (&str, String)| format!("{label:<12}{value}").trim_end().to_owned();
    facts.into_iter().map(line).collect()
}

fn scopes(scopes: &[Scope]) -> String {
    let shown = scopes.iter().map(|scope| {
        let actions = scope.actions.join(",");
        format!("{}:{}:{actions}", scope.r#type, scope.name)
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn said(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
