//! The commands about a secret that was found.

use std::io::{IsTerminal as _, Read as _};

use chrono::{DateTime, SecondsFormat, Utc};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::output::print_as;
use super::service::open_service;
use super::terminal::read_hidden;
use crate::app::Makes;
use crate::config::{Output, Settings, TokenCommand};
use crate::domain::lookup::{Ending, SecretType, Suspect};
use crate::domain::token::LastUse;
use crate::domain::token_scope::Scope;
use crate::error::{Error, Field, Result};
use crate::service::lookups::{Belonging, Finding};

/// Bytes that are read of standard input: more than any secret has.
const INPUT: u16 = u16::MAX;

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
    show(&finding?, ending.is_some(), output)
}

fn read() -> Result<SecretString> {
    let unreadable = |error| {
        Error::invalid(
            Field::Setting,
            format!("the secret: standard input cannot be read: {error}"),
        )
    };
    if std::io::stdin().is_terminal() {
        let text = read_hidden("The secret, which is not shown: ", INPUT.into());
        return Ok(text.map_err(unreadable)?.as_str().into());
    }
    let mut text = Zeroizing::new(String::new());
    let mut input = std::io::stdin().take(INPUT.into());
    input.read_to_string(&mut text).map_err(unreadable)?;
    Ok(text.as_str().into())
}

fn show(finding: &Finding, wanted_end: bool, output: Output) -> Result<()> {
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
        ("level", finding.level.map(|level| json!(level.as_str()))),
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
            "secretExpiryDate",
            finding.secret_expiry_date.map(|end| json!(said(end))),
        ),
        (
            "scopes",
            finding.scopes.as_ref().map(|scopes| json!(scopes)),
        ),
        ("roles", finding.roles.as_ref().map(|roles| json!(roles))),
        (
            "memberships",
            finding
                .memberships
                .as_ref()
                .map(|(shown, _)| shown.iter().map(membership).collect()),
        ),
        (
            "membershipTotal",
            finding.memberships.as_ref().map(|(_, total)| json!(total)),
        ),
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
    print_as(output, &shown, || lines(finding, wanted_end).join("\n"))
}

fn membership((id, name, level): &Belonging) -> Value {
    json!({"registryId": id.0, "registryName": name, "level": level.as_str()})
}

/// The facts for people: a label and a value a line.
fn lines(finding: &Finding, wanted_end: bool) -> Vec<String> {
    let usable = finding
        .unusable
        .as_ref()
        .map_or_else(|| "yes".to_owned(), |reason| format!("no: {reason}"));
    let named = |id: String, name: &str| format!("{name} ({id})");
    let ended = match (wanted_end, finding.ended) {
        (false, _) => None,
        (true, true) => Some("by this command"),
        (true, false) => Some("before"),
    };
    let facts = [
        ("KIND", Some(finding.kind.as_str().to_owned())),
        ("USABLE", Some(usable)),
        ("OF", of(finding).map(str::to_owned)),
        ("ID", Some(finding.id.to_string())),
        ("NAME", Some(finding.name.clone())),
        ("STATE", Some(finding.state.to_owned())),
        (
            "REGISTRY",
            finding
                .registry
                .as_ref()
                .map(|(id, name)| named(id.to_string(), name)),
        ),
        (
            "LEVEL",
            finding.level.map(|level| level.as_str().to_owned()),
        ),
        (
            "ACCOUNT",
            finding
                .account
                .as_ref()
                .map(|(id, name)| named(id.to_string(), name)),
        ),
        ("EXPIRES", finding.expiry_date.map(said)),
        ("SECRET ENDS", finding.secret_expiry_date.map(said)),
        ("SCOPES", finding.scopes.as_deref().map(scopes)),
        (
            "ROLES",
            finding.roles.as_ref().map(|roles| roles.join(", ")),
        ),
        (
            "MEMBER OF",
            finding
                .memberships
                .as_ref()
                .map(|(shown, total)| memberships(shown, *total)),
        ),
        ("LAST USED", finding.last_used.as_ref().map(last_used)),
        ("ENDED", ended.map(str::to_owned)),
    ];
    let facts = facts.into_iter();
    facts
        .filter_map(|(label, value)| Some((label, value.filter(|value| !value.is_empty())?)))
        .map(|(label, value)| format!("{label:<12}{value}"))
        .collect()
}

/// The kind of the credential, where the kind of the secret does not say it.
fn of(finding: &Finding) -> Option<&'static str> {
    match finding.kind {
        SecretType::PreviousSecret
        | SecretType::WorkloadPassword
        | SecretType::RefreshToken
        | SecretType::Jwt => Some(finding.subject_kind.as_str()),
        SecretType::RegistryToken
        | SecretType::AppToken
        | SecretType::ApiToken
        | SecretType::RegistryApiToken => None,
    }
}

fn memberships(shown: &[Belonging], total: i64) -> String {
    let named = shown
        .iter()
        .map(|(_, name, level)| format!("{name} ({level})"));
    let mut named: Vec<_> = named.collect();
    let more = usize::try_from(total).map_or(0, |total| total.saturating_sub(shown.len()));
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    named.join(", ")
}

fn last_used(used: &LastUse) -> String {
    let address = used.address.map(|address| format!(" from {address}"));
    let repository = used.repository.as_ref().map(|name| format!(" for {name}"));
    format!(
        "{}{}{}",
        said(used.at),
        address.unwrap_or_default(),
        repository.unwrap_or_default()
    )
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
