//! The commands about accounts.

use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use zeroize::Zeroizing;

use super::output::{print, print_as};
use super::service::open_service;
use crate::app::Makes;
use crate::config::{
    AccountCommand, Output, PasswordSource, Settings, read_secret, secret_of_file,
};
use crate::domain::account::{Account, AccountName, NewPassword};
use crate::domain::membership::Membership;
use crate::domain::status::Status;
use crate::error::{Error, Field, Result};
use crate::service::account_commands::AccountCommands;
use crate::service::account_rules::{IssuedTokens, LiveTokens};

/// Runs a command about accounts.
pub(super) async fn run(settings: &Settings, command: AccountCommand) -> Result<()> {
    // A first account can be added before the first start, which then makes none.
    let makes = match command {
        AccountCommand::Add { .. } => Makes::DataKeys,
        _ => Makes::Nothing,
    };
    let service = open_service(settings, makes).await?;
    let accounts = service.account_commands();
    let done = match command {
        AccountCommand::Add {
            name,
            roles,
            password,
            output,
        } => {
            let password = choose_password(&accounts, &password)?;
            let parsed = AccountName::parse(&name)?;
            accounts
                .create(
                    parsed,
                    &NewPassword::parse(password.secret().clone())?,
                    roles,
                )
                .await?;
            password.announce(&name, &format!("Added the account {name}."), output.output)
        }
        AccountCommand::List { output } => list(&accounts, output.output).await,
        AccountCommand::Show { name, output } => show(&accounts, name, output.output).await,
        AccountCommand::Role {
            name,
            roles,
            none,
            output,
        } => {
            let roles = (none || !roles.is_empty()).then_some(roles);
            role(&accounts, name, roles, output.output).await
        }
        AccountCommand::Grant {
            name,
            registry,
            level,
        } => {
            let level = Membership::parse(&level)?;
            accounts
                .grant(name.clone(), registry.clone(), level)
                .await?;
            print(&format!("{name} is {level} of {registry} now."))
        }
        AccountCommand::Revoke { name, registry } => {
            accounts.revoke(name.clone(), registry.clone()).await?;
            print(&format!("{name} is no member of {registry} any more."))
        }
        AccountCommand::Passwd {
            name,
            revoke_tokens,
            password,
            output,
        } => {
            let password = choose_password(&accounts, &password)?;
            let (tokens, what_of_them) = if revoke_tokens {
                (IssuedTokens::Revoke, "have ended")
            } else {
                (IssuedTokens::Keep, "go on working")
            };
            let new = NewPassword::parse(password.secret().clone())?;
            accounts.set_password(name.clone(), &new, tokens).await?;
            let done = format!(
                "Set the password of the account {name}. The account's API tokens and app tokens {what_of_them}."
            );
            password.announce(&name, &done, output.output)
        }
        AccountCommand::Enable { name } => {
            accounts.set_status(name.clone(), Status::Enabled).await?;
            print(&format!("Enabled the account {name}."))
        }
        AccountCommand::Disable { name } => {
            accounts.set_status(name.clone(), Status::Disabled).await?;
            print(&format!("Disabled the account {name}."))
        }
        AccountCommand::Delete {
            name,
            revoke_tokens,
        } => {
            let tokens = if revoke_tokens {
                LiveTokens::Revoke
            } else {
                LiveTokens::Refuse
            };
            accounts.delete(name.clone(), tokens).await?;
            print(&format!("Deleted the account {name}."))
        }
    };
    service.close();
    done
}

/// An account in JSON output.
#[derive(Serialize)]
struct Shown<'a> {
    id: String,
    name: &'a str,
    status: &'static str,
    roles: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    memberships: Option<Vec<Member<'a>>>,
}

#[derive(Serialize)]
struct Member<'a> {
    registry: &'a str,
    level: &'static str,
}

impl<'a> Shown<'a> {
    fn of(account: &'a Account, memberships: Option<&'a [(String, Membership)]>) -> Self {
        let member = |(registry, level): &'a (String, Membership)| Member {
            registry,
            level: level.as_str(),
        };
        Self {
            id: account.id.to_string(),
            name: &account.name,
            status: account.status.as_str(),
            roles: &account.roles,
            memberships: memberships.map(|all| all.iter().map(member).collect()),
        }
    }
}

async fn show(accounts: &AccountCommands<'_>, name: String, output: Output) -> Result<()> {
    let (account, memberships) = accounts.show(name).await?;
    let shown = Shown::of(&account, Some(&memberships));
    print_as(output, &shown, || {
        let lines = [
            ("ID", shown.id.clone()),
            ("NAME", account.name.clone()),
            ("STATUS", shown.status.to_owned()),
            ("ROLES", account.roles.join(",")),
        ];
        let lines = lines.map(|(label, value)| format!("{label:<12}{value}").trim_end().to_owned());
        let members = memberships
            .iter()
            .map(|(registry, level)| format!("{:<12}{registry}", level.as_str().to_uppercase()));
        lines
            .into_iter()
            .chain(members)
            .collect::<Vec<_>>()
            .join("\n")
    })
}

/// Replaces the roles of an account if new ones are given, or else shows it.
async fn role(
    accounts: &AccountCommands<'_>,
    name: String,
    roles: Option<Vec<String>>,
    output: Output,
) -> Result<()> {
    if let Some(roles) = &roles {
        accounts.set_roles(name.clone(), roles.clone()).await?;
    }
    match (output, roles.as_deref()) {
        (Output::Text, Some([])) => print(&format!("{name} has no role.")),
        (Output::Text, Some(roles)) => print(&format!("{name} is {} now.", roles.join(", "))),
        _ => show(accounts, name, output).await,
    }
}

async fn list(accounts: &AccountCommands<'_>, output: Output) -> Result<()> {
    let accounts = accounts.list().await?;
    let shown: Vec<_> = accounts
        .iter()
        .map(|account| Shown::of(account, None))
        .collect();
    print_as(output, &shown, || {
        let head = format!("{:<38}{:<10}{:<20}NAME", "ID", "STATUS", "ROLES");
        let line = |shown: &Shown<'_>| {
            let roles = shown.roles.join(",");
            format!(
                "{:<38}{:<10}{roles:<20}{}",
                shown.id, shown.status, shown.name
            )
        };
        let lines = std::iter::once(head).chain(shown.iter().map(line));
        lines.collect::<Vec<_>>().join("\n")
    })
}

enum Password {
    Given(SecretString),
    Made(SecretString),
}

impl Password {
    fn secret(&self) -> &SecretString {
        match self {
            Self::Given(secret) | Self::Made(secret) => secret,
        }
    }

    fn announce(&self, name: &str, done: &str, output: Output) -> Result<()> {
        let made = match self {
            Self::Given(_) => None,
            Self::Made(secret) => Some(secret.expose_secret()),
        };
        let shown = serde_json::json!({"name": name, "password": made});
        print_as(output, &shown, || match made {
            None => done.to_owned(),
            Some(made) => format!("{done} Its password, shown only now: {made}"),
        })
    }
}

fn choose_password(accounts: &AccountCommands<'_>, source: &PasswordSource) -> Result<Password> {
    match &source.password_file {
        None => accounts.generate_password().map(Password::Made),
        // Not by the name /dev/stdin, which cannot be opened if standard input is a socket.
        Some(path) if path == Path::new("-") => std::io::read_to_string(std::io::stdin())
            .map(|text| Password::Given(secret_of_file(&Zeroizing::new(text))))
            .map_err(|error| {
                Error::invalid(
                    Field::Setting,
                    format!("--password-file: standard input cannot be read: {error}"),
                )
            }),
        Some(path) => read_secret("--password-file", path).map(Password::Given),
    }
}
