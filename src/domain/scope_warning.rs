//! Scopes that grant nothing, as far as their text alone tells.
//!
//! Such scopes are kept as they were sent, since public clients send types, actions and names of their own. So the
//! client is only warned. Owns the reasons; leaves the decision itself to [`super::scope`].

use super::pattern::{ANY, matches};
use super::repository_name::{begins_with_host, impossible};
use super::scope::{CATALOG, REGISTRY, REPOSITORY, REPOSITORY_ACTIONS};
use super::text::{nearest, quoted};
use super::token_scope::Scope;

/// The most actions that a message names.
const SHOWN: usize = 3;

/// The reason for which a scope, or a part of it, grants nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeWarning {
    /// The scope's place among the token's scopes, from 0.
    pub scope: usize,
    /// The reasons, for people.
    pub message: String,
}

/// The warnings about a token's scopes, at most one for each. Host names of registries end in `domain`.
#[must_use]
pub fn scope_warnings(scopes: &[Scope], domain: &str) -> Vec<ScopeWarning> {
    let told = scopes.iter().enumerate().filter_map(|(index, scope)| {
        let reasons = reasons(scope, domain);
        (!reasons.is_empty()).then(|| ScopeWarning {
            scope: index,
            message: reasons.join("; "),
        })
    });
    told.collect()
}

fn reasons(scope: &Scope, domain: &str) -> Vec<String> {
    match scope.r#type.as_str() {
        REPOSITORY => {
            let mut reasons = of_actions(&scope.actions);
            reasons.extend(of_name(&scope.name, domain));
            reasons
        }
        REGISTRY => {
            let mut reasons = Vec::new();
            if !matches(&scope.name, CATALOG) {
                let name = quoted(&scope.name);
                reasons.push(format!(
                    "{name} is no resource of the registry; the only one is catalog"
                ));
            }
            if !scope.actions.iter().any(|action| action == ANY) {
                reasons.push("the catalog needs the action *".to_owned());
            }
            reasons
        }
        other => {
            let hint = match nearest(&[REPOSITORY, REGISTRY], other) {
                Some(name) => format!("did you mean {name}?"),
                None => "the types are repository, and registry for the catalog".to_owned(),
            };
            vec![format!("the type {} grants nothing; {hint}", quoted(other))]
        }
    }
}

fn of_actions(actions: &[String]) -> Vec<String> {
    let has = |action: &str| actions.iter().any(|held| held == action);
    let known = |action: &str| action == ANY || REPOSITORY_ACTIONS.contains(&action);
    let mut reasons = Vec::new();
    if actions.is_empty() {
        reasons.push("the scope has no action, so it grants nothing".to_owned());
    }
    for action in actions.iter().filter(|action| !known(action)).take(SHOWN) {
        let hint = match nearest(&REPOSITORY_ACTIONS, action) {
            Some(name) => format!("did you mean {name}?"),
            None => format!(
                "the actions are {} and {ANY}",
                REPOSITORY_ACTIONS.join(", ")
            ),
        };
        reasons.push(format!(
            "the action {} grants nothing; {hint}",
            quoted(action)
        ));
    }
    if has("push") && !has("pull") && !has(ANY) {
        reasons.push(
            "the scope grants push without pull, which Distribution refuses and zot accepts"
                .to_owned(),
        );
    }
    reasons
}

/// The reason for which no repository can have a name that this pattern fits. Host names of registries end in `domain`.
fn of_name(name: &str, domain: &str) -> Option<String> {
    let (first, rest) = name.split_once('/').unwrap_or((name, ""));
    let host = first.split_once(':').map_or(first, |(host, _)| host);
    let of_registry = host
        .strip_suffix(domain)
        .is_some_and(|registry| registry.ends_with('.'));
    if !rest.is_empty() && of_registry {
        return Some(begins_with_host(name, rest));
    }
    impossible(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(r#type: &str, name: &str, actions: &[&str]) -> String {
        let scope = Scope {
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
            name: name.to_owned(),
            r#type: r#type.to_owned(),
        };
        let mut all = scope_warnings(&[scope], "localhost");
        assert!(all.len() <= 1);
        all.pop().map(|warning| warning.message).unwrap_or_default()
    }

    #[test]
    fn what_can_match_is_not_told_of() {
        for (r#type, name, actions) in [
            ("repository", "*", &["pull", "push"][..]),
            ("repository", "team/*", &["pull"]),
            ("repository", "team/**", &["*"]),
            ("repository", "a.b_c__d---e/x", &["delete"]),
            ("repository", "app-*/v*", &["pull"]),
            ("repository", "example.com/app", &["pull"]),
            ("registry", "catalog", &["*"]),
            ("registry", "*", &["*"]),
        ] {
            assert_eq!(told(r#type, name, actions), "", "{type} {name}");
        }
    }

    #[test]
    fn what_matches_nothing_is_told_with_what_would() {
        for (r#type, name, actions, message) in [
            ("repo", "a", &["pull"][..], "did you mean repository?"),
            ("backup", "a", &["pull"], "the types are repository"),
            (
                "repository",
                "a",
                &["write"],
                "the action \"write\" grants nothing; the actions are pull, push, delete and *",
            ),
            ("repository", "a", &["Pull"], "did you mean pull?"),
            ("repository", "a", &[], "the scope has no action"),
            (
                "repository",
                "a",
                &["push"],
                "the scope grants push without pull, which Distribution refuses and zot accepts",
            ),
            ("repository", "/app/*", &["pull"], "did you mean \"app/*\"?"),
            ("repository", "", &["pull"], "the scope has no name"),
            ("repository", "app:v1", &["pull"], "did you mean \"app\"?"),
            (
                "repository",
                "team/app:v1",
                &["pull"],
                "did you mean \"team/app\"?",
            ),
            (
                "repository",
                "app@sha256",
                &["pull"],
                "did you mean \"app\"?",
            ),
            ("repository", "app//x", &["pull"], "did you mean \"app/x\"?"),
            (
                "repository",
                "App/Web",
                &["pull"],
                "did you mean \"app/web\"?",
            ),
            (
                "repository",
                "team-a.localhost/app",
                &["pull"],
                "leave that out: \"app\"",
            ),
            (
                "repository",
                "team-a.localhost:5000/app",
                &["pull"],
                "leave that out: \"app\"",
            ),
            (
                "repository",
                "a b",
                &["pull"],
                "no repository can have a name that fits",
            ),
            (
                "repository",
                "a..b",
                &["pull"],
                "no repository can have a name that fits",
            ),
            (
                "repository",
                "-a",
                &["pull"],
                "no repository can have a name that fits",
            ),
            (
                "registry",
                "catalog",
                &["pull"],
                "the catalog needs the action *",
            ),
            ("registry", "team", &["*"], "the only one is catalog"),
        ] {
            let found = told(r#type, name, actions);
            assert!(
                found.contains(message),
                "{type} {name} {actions:?}: {found}"
            );
        }
    }
}
