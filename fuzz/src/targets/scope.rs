//! Scopes: a client asks for the first line; the other lines are the scopes of a token (`type name action,action`).
//! The grant must equal that of a slow and plain implementation of the rules.

use wharfinger::domain::evaluation::evaluate;
use wharfinger::domain::pattern::{matches, wildcards};
use wharfinger::domain::scope::{Access, grants, joined, parse_requested};
use wharfinger::domain::token_scope::{Scope, check_scopes};

/// Checks one input.
pub fn run(text: &str) {
    let mut lines = text.split('\n');
    let asked = lines.next().unwrap_or_default();
    let scopes: Vec<_> = lines.take(8).map(scope).collect();
    let Ok(requested) = parse_requested([asked]) else {
        return;
    };
    assert!(requested.len() <= 100);
    for access in &requested {
        assert!(access.name.len() <= 256 && access.actions.len() <= 20);
    }
    let again = parse_requested([joined(&requested).as_str()]);
    assert_eq!(again.expect("it was read before"), requested);

    for scope in &scopes {
        for name in requested.iter().map(|access| access.name.as_str()) {
            assert_eq!(
                matches(&scope.name, name),
                slowly_matches(&scope.name, name),
                "{:?} {name:?}",
                scope.name
            );
        }
        assert!(wildcards(&scope.name) <= scope.name.matches('*').count());
    }

    let expected: Vec<_> = requested
        .iter()
        .map(|access| slowly_granted(&scopes, access))
        .filter(|access| !access.actions.is_empty())
        .collect();
    let granted = grants(&scopes, &requested);
    assert_eq!(granted, expected);

    if check_scopes(&scopes).is_ok() {
        let evaluation = evaluate(&scopes, &requested, None, "localhost");
        assert_eq!(
            evaluation.granted, granted,
            "an evaluation says something else"
        );
        let shut = evaluate(
            &scopes,
            &requested,
            Some("it is disabled".to_owned()),
            "localhost",
        );
        assert!(shut.granted.is_empty() && shut.decisions.iter().all(|made| !made.granted));
    }
}

fn scope(line: &str) -> Scope {
    let mut words = line.splitn(3, ' ').map(str::to_owned);
    let mut word = || words.next().unwrap_or_default();
    let (r#type, name, actions) = (word(), word(), word());
    Scope {
        actions: actions.split(',').map(str::to_owned).collect(),
        name,
        r#type,
    }
}

/// A table: does what is left of the pattern at p fit what is left of the name at n? A wildcard ends here, or takes one
/// more letter and goes on.
fn slowly_matches(pattern: &str, name: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let mut fits = vec![vec![false; name.len() + 1]; pattern.len() + 1];
    fits[pattern.len()][name.len()] = true;
    for p in (0..pattern.len()).rev() {
        // Stars are read from the left, in pairs.
        let stars = pattern[..p]
            .iter()
            .rev()
            .take_while(|b| **b == b'*')
            .count();
        let double = stars % 2 == 0 && pattern[p..].starts_with(b"**");
        for n in (0..=name.len()).rev() {
            fits[p][n] = if pattern[p] == b'*' {
                let goes_on = name.get(n).is_some_and(|b| double || *b != b'/');
                let ended = fits[p + if double { 2 } else { 1 }][n];
                ended || (goes_on && fits[p][n + 1])
            } else {
                name.get(n) == Some(&pattern[p]) && fits[p + 1][n + 1]
            };
        }
    }
    name.len() <= 256 && fits[0][0]
}

fn slowly_granted(scopes: &[Scope], asked: &Access) -> Access {
    let asks = |action: &str| asked.actions.iter().any(|a| a == action || a == "*");
    let held = |r#type: &str, name: &str, action: &str| {
        scopes.iter().any(|scope| {
            scope.r#type == r#type
                && slowly_matches(&scope.name, name)
                && scope.actions.iter().any(|a| a == action || a == "*")
        })
    };
    let actions: Vec<&str> = match (asked.r#type.as_str(), asked.name.as_str()) {
        // zot's question for the catalog.
        ("repository", "") => ["pull"]
            .into_iter()
            .filter(|action| asks(action) && held("registry", "catalog", "*"))
            .collect(),
        ("repository", name) => ["pull", "push", "delete"]
            .into_iter()
            .filter(|action| asks(action) && held("repository", name, action))
            .collect(),
        ("registry", "catalog") => ["*"]
            .into_iter()
            .filter(|action| asks(action) && held("registry", "catalog", action))
            .collect(),
        _ => Vec::new(),
    };
    Access {
        actions: actions.into_iter().map(str::to_owned).collect(),
        ..asked.clone()
    }
}
