//! Claims: the first line is the name of a claim, the second a value, all others the claims as JSON. A name leads to one
//! claim at most, which is there under its JSON pointer, and only exact rules and wildcards that fit admit it.

use serde_json::{Value, json};
use wharfinger::domain::claim_name::find;
use wharfinger::domain::claims::ClaimRules;
use wharfinger::domain::issuer_kind::IssuerKind;
use wharfinger::domain::strict_json;

/// Checks one input.
pub fn run(text: &str) {
    let mut parts = text.splitn(3, '\n');
    let (Some(name), Some(value), Some(claims)) = (parts.next(), parts.next(), parts.next()) else {
        return;
    };
    let Ok(claims) = strict_json::parse(claims.as_bytes()) else {
        return;
    };
    assert!(depth(&claims) <= 32);
    let found = find(&claims, name);
    let slow = slowly(&claims, name);
    assert_eq!(found, slow);
    let rules = json!({ name: value });
    let Value::Object(rules) = rules else {
        return;
    };
    let Ok(rules) = ClaimRules::parse(rules) else {
        return;
    };
    assert!(name.len() <= 256 && value.len() <= 512);
    let kind = IssuerKind::Other;
    let admitted = rules.admit(kind, &claims);
    let verdicts = rules.verdicts(kind, &claims);
    assert_eq!(verdicts.iter().all(|verdict| verdict.fits), admitted);
    for verdict in &verdicts {
        let shown = verdict.found.as_deref().unwrap_or_default();
        assert!(shown.chars().count() <= 201 && !shown.chars().any(char::is_control));
    }
    if admitted {
        assert!(found.is_some());
        assert!(value.contains('*') || has(found, value), "{value:?}");
    }
    if rules.require_pin(kind).is_ok() {
        assert!(["sub", "/sub"].contains(&name) && !value.is_empty() && !value.contains('*'));
    }
}

/// Is it the value, or a list with it?
fn has(found: Option<&Value>, value: &str) -> bool {
    match found {
        Some(Value::Array(items)) => items
            .iter()
            .any(|item| !item.is_array() && has(Some(item), value)),
        Some(Value::String(text)) => text == value,
        Some(other) => other.to_string() == value,
        None => false,
    }
}

/// The plain reading of a name: the longest member that begins it, then the rest in there.
fn slowly<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    let found = if name.starts_with('/') {
        claims.pointer(name)
    } else {
        inside(claims, name)
    };
    found.filter(|found| !found.is_null())
}

fn inside<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    let members = claims.as_object()?;
    if let Some(found) = members.get(name) {
        return Some(found);
    }
    // No further than sixteen dots from the end, as no rule has a longer name.
    let dots: Vec<_> = name.match_indices('.').map(|(dot, _)| dot).collect();
    let dots = dots.iter().rev().take(16);
    let known = dots
        .copied()
        .find(|dot| members.contains_key(&name[..*dot]))?;
    inside(&members[&name[..known]], &name[known + 1..])
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
