//! The access that a registry client asks for, and the part of it that a token's scopes grant.
//!
//! Owns the grammar of requested scopes (the Distribution token specification's `type:name:actions`), the patterns in a
//! token's scopes, and the decision. A token without scopes grants nothing. The token keeps types and actions without a
//! meaning here, and they grant nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::pattern::{ANY, NAME_LENGTH, covers, matches};
use super::repository_name::impossible;
use super::text::quoted;
use super::token_scope::Scope;
use crate::error::{Error, Field, Result};

/// The most scopes in one request, after merging.
const SCOPES: usize = 100;
/// The most actions on one resource.
const ACTIONS: usize = 20;
/// The longest text of one request's scopes, in bytes.
const LENGTH: usize = 64 * 1024;

/// The actions on a repository, in the order of grants.
pub const REPOSITORY_ACTIONS: [&str; 3] = ["pull", "push", "delete"];
/// The type of repositories.
pub(super) const REPOSITORY: &str = "repository";
/// The type of the registry itself, whose only resource is its catalog.
pub(super) const REGISTRY: &str = "registry";
/// The one resource of the type `registry`.
pub(super) const CATALOG: &str = "catalog";

/// One resource and the actions on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The resource's type, such as `repository`.
    pub r#type: String,
    /// The resource's name. Empty in zot's question for the catalog, `repository::pull`.
    pub name: String,
    /// The actions, each once, in the order first asked for.
    pub actions: Vec<String>,
}

impl fmt::Display for Access {
    /// As a request or an answer words it: `repository:team/app:pull,push`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}",
            self.r#type,
            self.name,
            self.actions.join(",")
        )
    }
}

/// Several as one text, separated by spaces.
#[must_use]
pub fn joined(access: &[Access]) -> String {
    let texts: Vec<_> = access.iter().map(ToString::to_string).collect();
    texts.join(" ")
}

/// Reads the scopes of a request: values of `scope` parameters, each with scopes separated by spaces. Those of one
/// resource are merged. An unreadable scope is skipped: it grants nothing, and a client may ask for access that only
/// another product knows.
///
/// # Errors
///
/// [`Error::Invalid`] beyond the limits: 64 KiB of text, and after merging 100 resources, 20 actions on each.
pub fn parse_requested<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Vec<Access>> {
    parse(values, |_| Ok(()))
}

/// [`parse_requested`] with an error for an unreadable scope.
///
/// # Errors
///
/// [`Error::Invalid`] for such a scope too.
pub fn parse_exactly<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Vec<Access>> {
    parse(values, |text| {
        Err(Error::invalid(
            Field::Scopes,
            format!(
                "scope {} is not of the form type:name:action[,action], such as repository:team/app:pull,push",
                quoted(text)
            ),
        ))
    })
}

fn parse<'a>(
    values: impl IntoIterator<Item = &'a str>,
    unreadable: impl Fn(&str) -> Result<()>,
) -> Result<Vec<Access>> {
    let mut requested: Vec<Access> = Vec::new();
    let mut length = 0;
    for value in values {
        length += value.len();
        if length > LENGTH {
            return Err(Error::invalid(
                Field::Scopes,
                format!("the scopes are longer than {LENGTH} bytes"),
            ));
        }
        for text in value.split(' ').filter(|text| !text.is_empty()) {
            match parse_one(text) {
                Some((r#type, name, actions)) => {
                    merge(&mut requested, access(r#type, name, actions)?)?;
                }
                None => unreadable(text)?,
            }
        }
    }
    Ok(requested)
}

/// Adds to a request: to the actions of the resource, if it is already there.
pub(super) fn merge(requested: &mut Vec<Access>, access: Access) -> Result<()> {
    let full = requested.len() == SCOPES;
    let same = |held: &&mut Access| held.r#type == access.r#type && held.name == access.name;
    match requested.iter_mut().find(same) {
        Some(held) => {
            for action in access.actions {
                if !held.actions.contains(&action) {
                    held.actions.push(action);
                }
            }
            check_actions(held)
        }
        None if full => Err(Error::invalid(
            Field::Scopes,
            format!("more than {SCOPES} resources are asked for at once"),
        )),
        None => {
            check_actions(&access)?;
            requested.push(access);
            Ok(())
        }
    }
}

/// `type:name:action[,action…]`. A name may contain a colon (`host:port/name`), so the type ends at the first one and
/// the actions begin after the last. The deprecated class, as in `repository(plugin):…`, is dropped.
fn parse_one(text: &str) -> Option<(&str, &str, &str)> {
    let (r#type, rest) = text.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let r#type = match r#type.split_once('(') {
        Some((bare, class)) => class
            .strip_suffix(')')
            .filter(|class| is_word(class))
            .map(|_| bare)?,
        None => r#type,
    };
    let readable = is_word(r#type) && is_name(name) && actions.split(',').all(is_action);
    readable.then_some((r#type, name, actions))
}

fn access(r#type: &str, name: &str, actions: &str) -> Result<Access> {
    // Before they are compared with each other: nobody has logged in yet.
    let count = actions.split(',').count();
    if count > ACTIONS {
        return Err(too_many_actions(count, name));
    }
    Ok(Access {
        r#type: r#type.to_owned(),
        name: name.to_owned(),
        actions: distinct(actions.split(',')),
    })
}

fn check_actions(access: &Access) -> Result<()> {
    match access.actions.len() {
        count if count > ACTIONS => Err(too_many_actions(count, &access.name)),
        _ => Ok(()),
    }
}

fn too_many_actions(count: usize, name: &str) -> Error {
    Error::invalid(
        Field::Scopes,
        format!(
            "{count} actions on {} are asked for; at most {ACTIONS} are allowed",
            quoted(name)
        ),
    )
}

/// Returns true if this can be a type or its class.
pub(super) fn is_word(word: &str) -> bool {
    !word.is_empty()
        && word
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

pub(super) fn is_name(name: &str) -> bool {
    name.len() <= NAME_LENGTH && name.bytes().all(|b| b.is_ascii_graphic())
}

/// Returns true for an action. The specification has letters alone, and Distribution asks for `registry:catalog:*`.
pub(super) fn is_action(action: &str) -> bool {
    action == ANY || action.bytes().all(|b| b.is_ascii_lowercase())
}

/// Each action once, in order; the specification allows empty actions, which count as none.
pub(super) fn distinct<'a>(actions: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for action in actions {
        if !action.is_empty() && !distinct.iter().any(|held| held == action) {
            distinct.push(action.to_owned());
        }
    }
    distinct
}

/// The parts of several requests that a token's scopes grant; resources without any are left out.
#[must_use]
pub fn grants(scopes: &[Scope], requested: &[Access]) -> Vec<Access> {
    let grant = |access: &Access| Access {
        actions: granted(scopes, access),
        ..access.clone()
    };
    requested
        .iter()
        .map(grant)
        .filter(|access| !access.actions.is_empty())
        .collect()
}

/// The part of one request that a token's scopes grant: concrete actions only, in a fixed order. May be empty.
#[must_use]
pub fn granted(scopes: &[Scope], requested: &Access) -> Vec<String> {
    let fitting = fitting(scopes, requested);
    grantable(requested)
        .into_iter()
        .filter(|grantable| grantable.rule(&fitting).is_some())
        .map(|grantable| grantable.action.to_owned())
        .collect()
}

/// A known action of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grantable {
    /// The granted action.
    pub action: &'static str,
    /// The action that a fitting scope must have for it.
    pub held: &'static str,
}

impl Grantable {
    /// The place of the first of the fitting scopes that grants it.
    pub(super) fn rule(self, fitting: &[(usize, &Scope)]) -> Option<usize> {
        let holds = |scope: &Scope| {
            let mut actions = scope.actions.iter();
            actions.any(|action| action == self.held || action == ANY)
        };
        fitting
            .iter()
            .find(|(_, scope)| holds(scope))
            .map(|(place, _)| *place)
    }
}

/// The type and name that a scope has to fit for a request. zot asks for the catalog by an empty name.
pub(super) fn resource(requested: &Access) -> (&str, &str) {
    if requested.r#type == REPOSITORY && requested.name.is_empty() {
        (REGISTRY, CATALOG)
    } else {
        (&requested.r#type, &requested.name)
    }
}

/// The scopes that fit a request by type and name, with their places.
pub(super) fn fitting<'a>(scopes: &'a [Scope], requested: &Access) -> Vec<(usize, &'a Scope)> {
    let (r#type, name) = resource(requested);
    scopes
        .iter()
        .enumerate()
        .filter(|(_, scope)| scope.r#type == r#type && matches(&scope.name, name))
        .collect()
}

/// The actions of a request that can be granted at all: each once, in the order of grants, with `*` expanded.
pub(super) fn grantable(requested: &Access) -> Vec<Grantable> {
    let asks = |action: &str| requested.actions.iter().any(|asked| asked == action);
    let catalog = |action| Grantable { action, held: ANY };
    match (requested.r#type.as_str(), requested.name.as_str()) {
        // zot calls the one action on the catalog `pull`, Distribution `*`.
        (REPOSITORY, "") if asks("pull") || asks(ANY) => vec![catalog("pull")],
        (REGISTRY, CATALOG) if asks(ANY) => vec![catalog(ANY)],
        (REPOSITORY, name) if !name.is_empty() => REPOSITORY_ACTIONS
            .into_iter()
            .filter(|action| asks(action) || asks(ANY))
            .map(|action| Grantable {
                action,
                held: action,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Returns true if a scope carries an action: by its name, or by `*` if it is one on repositories.
#[must_use]
pub fn carried(scopes: &[Scope], action: &str) -> bool {
    let known = REPOSITORY_ACTIONS.contains(&action);
    scopes.iter().any(|scope| {
        let all = known && scope.r#type == REPOSITORY;
        let mut actions = scope.actions.iter();
        actions.any(|held| held == action || (all && held == ANY))
    })
}

/// Access that tokens are searched by: one resource, and actions that can be granted on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening(Access);

impl Opening {
    /// Reads it in the form of a request, `type:name:action[,action]`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another form, for a name that no repository can have, and for an action that no token is
    /// ever granted.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |problem: &str| {
            Error::invalid(
                Field::CanOpen,
                format!(
                    "canOpen {} {problem}, such as repository:team/app:push",
                    quoted(text)
                ),
            )
        };
        let (r#type, name, actions) =
            parse_one(text).ok_or_else(|| wrong("is not of the form type:name:action[,action]"))?;
        let access = access(r#type, name, actions)?;
        let known = grantable(&access);
        let meant = |action: &String| {
            action == ANY || known.iter().any(|grantable| grantable.action == action)
        };
        if known.is_empty() || !access.actions.iter().all(meant) {
            return Err(wrong(
                "names an action that no token is ever granted there; ask for pull, push or delete on a repository, or for * on registry:catalog",
            ));
        }
        if access.r#type == REPOSITORY && !access.name.is_empty() {
            if access.name.contains(ANY) {
                return Err(wrong("has a pattern; name one repository"));
            }
            if let Some(reason) = impossible(&access.name) {
                return Err(wrong(&format!("names no repository: {reason}")));
            }
        }
        Ok(Self(access))
    }

    /// Returns true if the scopes grant all of it, by the rules of the token endpoint.
    #[must_use]
    pub fn is_granted_by(&self, scopes: &[Scope]) -> bool {
        let fitting = fitting(scopes, &self.0);
        let mut known = grantable(&self.0).into_iter();
        known.all(|grantable| grantable.rule(&fitting).is_some())
    }

    /// The name that a scope has to have, if it is no pattern, and the actions, one of which it has to have.
    #[must_use]
    pub fn hints(&self) -> (&str, Vec<&'static str>) {
        let (_, name) = resource(&self.0);
        let known = grantable(&self.0);
        (name, known.iter().map(|grantable| grantable.held).collect())
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns true if `others` grant everything that `scopes` grant. Returns false if they do not, or if it cannot tell.
///
/// For each action of each of the `scopes`, one of the `others` has to have this action, the same type, and a name that
/// covers the name of the scope.
#[must_use]
pub fn are_within(scopes: &[Scope], others: &[Scope]) -> bool {
    scopes.iter().all(|scope| {
        let covering: Vec<_> = others
            .iter()
            .filter(|other| other.r#type == scope.r#type && covers(&other.name, &scope.name))
            .collect();
        let held = |action: &String| {
            let mut actions = covering.iter().flat_map(|other| &other.actions);
            actions.any(|other| other == action || other == ANY)
        };
        scope.actions.iter().all(held)
    })
}

#[cfg(test)]
mod tests;
