//! What a registry client asks for, and what a token's scopes grant of it.
//!
//! Owns the grammar of requested scopes (the Distribution token specification's `type:name:actions`), the patterns in
//! a token's scopes, and the decision. A token without scopes grants nothing. Types and actions that mean nothing
//! here are kept by the token and grant nothing.

use std::fmt;

use super::text::quoted;
use super::token::Scope;
use crate::error::{Error, Result};

/// The most scopes in one request, after merging.
const SCOPES: usize = 100;
/// The longest text of one request's scopes, in bytes.
const LENGTH: usize = 16 * 1024;
/// The longest name, in bytes: what Distribution allows a repository.
const NAME_LENGTH: usize = 256;

/// What may be done with a repository, in the order grants list it.
pub const REPOSITORY_ACTIONS: [&str; 3] = ["pull", "push", "delete"];
/// Every action.
const ANY: &str = "*";
/// The type of repositories.
const REPOSITORY: &str = "repository";
/// The type of the registry itself, whose only resource is its catalog.
const REGISTRY: &str = "registry";
/// The one resource of the type `registry`.
const CATALOG: &str = "catalog";

/// One resource and what is to be done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The resource's type, such as `repository`.
    pub r#type: String,
    /// The resource's name. Empty in zot's question for the catalog, `repository::pull`.
    pub name: String,
    /// What is to be done, each once, in the order first asked for.
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
/// resource are merged.
///
/// # Errors
///
/// [`Error::Invalid`] for what does not parse, or is too much: 16 KiB of text, 100 resources.
pub fn parse_requested<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Vec<Access>> {
    let mut requested: Vec<Access> = Vec::new();
    let mut length = 0;
    for value in values {
        length += value.len();
        if length > LENGTH {
            return Err(Error::invalid(
                "scopes",
                format!("the scopes are longer than {LENGTH} bytes"),
            ));
        }
        for text in value.split(' ').filter(|text| !text.is_empty()) {
            let full = requested.len() == SCOPES;
            let access = parse_one(text)?;
            match requested
                .iter_mut()
                .find(|held| held.r#type == access.r#type && held.name == access.name)
            {
                Some(held) => {
                    let new: Vec<_> = access
                        .actions
                        .into_iter()
                        .filter(|action| !held.actions.contains(action))
                        .collect();
                    held.actions.extend(new);
                }
                None if full => {
                    return Err(Error::invalid(
                        "scopes",
                        format!("more than {SCOPES} resources are asked for at once"),
                    ));
                }
                None => requested.push(access),
            }
        }
    }
    Ok(requested)
}

/// `type:name:action[,action…]`. A name may contain a colon (`host:port/name`), so the type ends at the first one and
/// the actions begin after the last. The deprecated class in `repository(plugin):…` is dropped.
fn parse_one(text: &str) -> Result<Access> {
    let wrong = || {
        Error::invalid(
            "scopes",
            format!(
                "scope {} is not of the form type:name:action[,action], such as repository:team/app:pull,push",
                quoted(text)
            ),
        )
    };
    let (r#type, rest) = text.split_once(':').ok_or_else(wrong)?;
    let (name, actions) = rest.rsplit_once(':').ok_or_else(wrong)?;
    let r#type = match r#type.split_once('(') {
        Some((bare, class)) if class.len() > 1 && class.ends_with(')') => bare,
        Some(_) => return Err(wrong()),
        None => r#type,
    };
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    // The specification has letters alone, and Distribution asks for `registry:catalog:*`.
    let is_action = |action: &str| action == ANY || action.bytes().all(|b| b.is_ascii_lowercase());
    let is_name = name.len() <= NAME_LENGTH && name.bytes().all(|b| b.is_ascii_graphic());
    if !is_word(r#type) || !is_name || !actions.split(',').all(is_action) {
        return Err(wrong());
    }
    let mut unique: Vec<String> = Vec::new();
    for action in actions.split(',').filter(|action| !action.is_empty()) {
        if !unique.iter().any(|held| held == action) {
            unique.push(action.to_owned());
        }
    }
    Ok(Access {
        r#type: r#type.to_owned(),
        name: name.to_owned(),
        actions: unique,
    })
}

/// What of one request a token's scopes grant: concrete actions only, in a fixed order. May be none.
#[must_use]
pub fn granted(scopes: &[Scope], requested: &Access) -> Vec<String> {
    match requested.r#type.as_str() {
        // zot asks for the catalog by an empty name, and for the action `pull`.
        REPOSITORY if requested.name.is_empty() => {
            let pull = requested
                .actions
                .iter()
                .any(|action| action == "pull" || action == ANY);
            if pull && grants_catalog(scopes) {
                vec!["pull".to_owned()]
            } else {
                Vec::new()
            }
        }
        REPOSITORY => REPOSITORY_ACTIONS
            .iter()
            .filter(|action| {
                requested
                    .actions
                    .iter()
                    .any(|asked| asked == *action || asked == ANY)
            })
            .filter(|action| rule(scopes, REPOSITORY, &requested.name, action).is_some())
            .map(|action| (*action).to_owned())
            .collect(),
        // Distribution knows one action on its catalog and calls it `*`.
        REGISTRY
            if requested.name == CATALOG
                && requested.actions.iter().any(|asked| asked == ANY)
                && grants_catalog(scopes) =>
        {
            vec![ANY.to_owned()]
        }
        _ => Vec::new(),
    }
}

/// The place of the first scope that grants an action on a resource.
#[must_use]
pub fn rule(scopes: &[Scope], r#type: &str, name: &str, action: &str) -> Option<usize> {
    scopes.iter().position(|scope| {
        scope.r#type == r#type
            && scope
                .actions
                .iter()
                .any(|held| held == action || held == ANY)
            && matches(&scope.name, name)
    })
}

fn grants_catalog(scopes: &[Scope]) -> bool {
    rule(scopes, REGISTRY, CATALOG, ANY).is_some()
}

/// Does a name fit a pattern? `*` alone fits everything; in a pattern `*` stands for any run of characters within one
/// path segment, `**` for any run across segments. All else stands for itself.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    if pattern == ANY {
        return true;
    }
    let name = name.as_bytes();
    // fits[i]: the pattern read so far fits the first i bytes of the name.
    let mut fits = vec![false; name.len() + 1];
    if let Some(first) = fits.first_mut() {
        *first = true;
    }
    let mut rest = pattern;
    while let Some(next) = rest.chars().next() {
        let (width, wildcard) = match rest {
            _ if rest.starts_with("**") => (2, Some(true)),
            _ if next == '*' => (1, Some(false)),
            _ => (next.len_utf8(), None),
        };
        let (piece, after) = rest.split_at(width);
        rest = after;
        fits = match wildcard {
            Some(deep) => stretch(&fits, name, deep),
            None => shift(&fits, name, piece.as_bytes()),
        };
    }
    fits.last().copied().unwrap_or(false)
}

/// What fits after a wildcard: all that did, and everything reached from there over bytes that it stands for.
fn stretch(fits: &[bool], name: &[u8], deep: bool) -> Vec<bool> {
    let mut reached = false;
    let crossed = std::iter::once(None).chain(name.iter().map(Some));
    fits.iter()
        .zip(crossed)
        .map(|(fit, crossed)| {
            reached = *fit || (reached && crossed.is_some_and(|byte| deep || *byte != b'/'));
            reached
        })
        .collect()
}

/// What fits after a literal.
fn shift(fits: &[bool], name: &[u8], literal: &[u8]) -> Vec<bool> {
    (0..=name.len())
        .map(|end| {
            end.checked_sub(literal.len()).is_some_and(|start| {
                fits.get(start) == Some(&true) && name.get(start..end) == Some(literal)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scope(r#type: &str, name: &str, actions: &[&str]) -> Scope {
        Scope {
            actions: actions.iter().map(|&action| action.to_owned()).collect(),
            name: name.to_owned(),
            r#type: r#type.to_owned(),
        }
    }

    fn ask(scopes: &[Scope], text: &str) -> Vec<String> {
        let requested = parse_requested([text]).unwrap();
        assert_eq!(requested.len(), 1, "{text}");
        granted(scopes, &requested[0])
    }

    #[test]
    fn requests_parse_as_clients_send_them() {
        let parse = |values: &[&str]| {
            parse_requested(values.iter().copied())
                .unwrap()
                .into_iter()
                .map(|access| {
                    format!(
                        "{}|{}|{}",
                        access.r#type,
                        access.name,
                        access.actions.join(",")
                    )
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(
            parse(&["repository:a/b:pull,push"]),
            ["repository|a/b|pull,push"]
        );
        assert_eq!(
            parse(&["repository:a:pull repository:b:push", "registry:catalog:*"]),
            [
                "repository|a|pull",
                "repository|b|push",
                "registry|catalog|*"
            ]
        );
        assert_eq!(
            parse(&["repository:a:pull", "repository:a:push,pull"]),
            ["repository|a|pull,push"]
        );
        assert_eq!(
            parse(&["repository:localhost:5000/a:pull"]),
            ["repository|localhost:5000/a|pull"]
        );
        assert_eq!(parse(&["repository::pull"]), ["repository||pull"]);
        assert_eq!(parse(&["repository(plugin):a:pull"]), ["repository|a|pull"]);
        assert_eq!(parse(&["repository:a:"]), ["repository|a|"]);
        assert_eq!(parse(&["", "  "]), Vec::<String>::new());
        for wrong in [
            "repository",
            "repository:a",
            ":a:pull",
            "Repository:a:pull",
            "repository(:a:pull",
            "repository():a:pull",
            "repository:ä:pull",
            "repository:a:PULL",
            "repository:a:pull;push",
        ] {
            assert!(parse_requested([wrong]).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn requests_are_bounded() {
        let many: Vec<_> = (0..101)
            .map(|number| format!("repository:r{number}:pull"))
            .collect();
        assert!(parse_requested(many.iter().map(String::as_str)).is_err());
        assert!(parse_requested(many.iter().take(100).map(String::as_str)).is_ok());
        assert!(parse_requested(["x".repeat(LENGTH + 1).as_str()]).is_err());
        assert!(
            parse_requested([format!("repository:{}:pull", "x".repeat(257)).as_str()]).is_err()
        );
    }

    #[test]
    fn patterns_mean_what_the_documentation_says() {
        for (pattern, name) in [
            ("*", "a"),
            ("*", "a/b/c"),
            ("team/*", "team/a"),
            ("team/**", "team/a/b"),
            ("team/**", "team/a"),
            ("**/app", "x/y/app"),
            ("t*m/a", "team/a"),
            ("a", "a"),
        ] {
            assert!(matches(pattern, name), "{pattern} refused {name}");
        }
        for (pattern, name) in [
            ("team/*", "team-x/a"),
            ("team/*", "team"),
            ("team/*", "team/a/b"),
            ("team/**", "team"),
            ("team/**", "team-x/a"),
            ("a", "ab"),
            ("a", "A"),
            ("", "a"),
            ("*/a", "a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} took {name}");
        }
    }

    #[test]
    fn a_grant_is_what_was_asked_for_and_is_allowed() {
        let scopes = [
            scope("repository", "team/*", &["pull", "push"]),
            scope("repository", "own", &["*"]),
            scope("backup", "*", &["*"]),
        ];
        assert_eq!(
            ask(&scopes, "repository:team/a:pull,push,delete"),
            ["pull", "push"]
        );
        assert_eq!(ask(&scopes, "repository:team/a:*"), ["pull", "push"]);
        assert_eq!(ask(&scopes, "repository:own:*"), ["pull", "push", "delete"]);
        assert_eq!(ask(&scopes, "repository:own:read"), Vec::<String>::new());
        assert_eq!(ask(&scopes, "repository:other:pull"), Vec::<String>::new());
        assert_eq!(ask(&scopes, "backup:x:write"), Vec::<String>::new());
        assert_eq!(ask(&[], "repository:team/a:pull"), Vec::<String>::new());
        assert_eq!(rule(&scopes, "repository", "own", "delete"), Some(1));
    }

    #[test]
    fn the_catalog_needs_its_own_scope() {
        let all = [scope("repository", "*", &["*"])];
        let catalog = [scope("registry", "catalog", &["*"])];
        for question in ["registry:catalog:*", "repository::pull"] {
            assert_eq!(ask(&all, question), Vec::<String>::new(), "{question}");
        }
        assert_eq!(ask(&catalog, "registry:catalog:*"), ["*"]);
        assert_eq!(ask(&catalog, "repository::pull"), ["pull"]);
        assert_eq!(ask(&catalog, "registry:catalog:pull"), Vec::<String>::new());
        assert_eq!(
            ask(&catalog, "repository:catalog:pull"),
            Vec::<String>::new()
        );
    }

    /// The obvious way to match, exponential and clear.
    fn slowly(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=name.len()).any(|skip| slowly(rest, &name[skip..])),
            [b'*', rest @ ..] => (0..=name.len())
                .take_while(|skip| !name[..*skip].contains(&b'/'))
                .any(|skip| slowly(rest, &name[skip..])),
            [first, rest @ ..] => name.first() == Some(first) && slowly(rest, &name[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn matching_agrees_with_the_obvious_way(pattern in "[ab/*]{0,8}", name in "[ab/]{0,10}") {
            let expected = pattern == "*" || slowly(pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(matches(&pattern, &name), expected);
        }

        #[test]
        fn parsing_never_panics_and_keeps_what_it_reads(text in "[a-z0-9:,/*() ä]{0,40}") {
            if let Ok(requested) = parse_requested([text.as_str()]) {
                let again: Vec<_> = requested.iter().map(|access| format!("{}:{}:{}", access.r#type, access.name, access.actions.join(","))).collect();
                prop_assert_eq!(parse_requested(again.iter().map(String::as_str)).unwrap(), requested);
            }
        }
    }
}
