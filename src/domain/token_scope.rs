//! The stored scopes of a token.

use serde::{Deserialize, Serialize};

use super::pattern::wildcards;
use super::text::{has_control, quoted};
use crate::error::{Error, Field, Result};

/// Actions on a resource. Kept verbatim and in order: clients compare the answer with their request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The actions, for example `pull`.
    pub actions: Vec<String>,
    /// The resource's name, for example `team/*`.
    pub name: String,
    /// The resource's type, for example `repository`.
    pub r#type: String,
}

/// The most scopes of a token.
const SCOPES: usize = 100;
/// The most actions of a scope.
const ACTIONS: usize = 20;
/// The longest text in a scope, in characters.
const SCOPE_TEXT: usize = 256;
/// The most wildcards in a scope's name.
const WILDCARDS: usize = 4;
/// All texts of a token's scopes together, in bytes: a page of a list has a thousand tokens.
const SCOPE_TEXTS: usize = 16 * 1024;

/// Refuses control characters in scopes, and scopes beyond their limits in number and length. Any other text is
/// allowed.
pub fn check_scopes(scopes: &[Scope]) -> Result<()> {
    let sizes = [
        (scopes.len(), SCOPES, "scopes has entries"),
        (
            scopes
                .iter()
                .map(|scope| scope.actions.len())
                .max()
                .unwrap_or(0),
            ACTIONS,
            "a scope has actions",
        ),
    ];
    for (size, most, what) in sizes {
        if size > most {
            return Err(Error::invalid(
                Field::Scopes,
                format!("{what}: {size}; at most {most} are allowed"),
            ));
        }
    }
    let texts = scopes
        .iter()
        .flat_map(|scope| scope.actions.iter().chain([&scope.name, &scope.r#type]));
    let mut length = 0;
    for text in texts {
        if has_control(text) {
            return Err(Error::invalid(
                Field::Scopes,
                format!("scope text {} contains a control character", quoted(text)),
            ));
        }
        if text.chars().count() > SCOPE_TEXT {
            return Err(Error::invalid(
                Field::Scopes,
                format!(
                    "scope text {} is longer than {SCOPE_TEXT} characters",
                    quoted(text)
                ),
            ));
        }
        length += text.len();
    }
    if length > SCOPE_TEXTS {
        return Err(Error::invalid(
            Field::Scopes,
            format!(
                "the texts of all scopes are {length} bytes long; at most {SCOPE_TEXTS} are allowed"
            ),
        ));
    }
    Ok(())
}

/// Refuses names with too many wildcards to read in new scopes. Tokens from an earlier release keep such names.
pub(super) fn check_wildcards(scopes: &[Scope]) -> Result<()> {
    for scope in scopes {
        let count = wildcards(&scope.name);
        if count > WILDCARDS {
            return Err(Error::invalid(
                Field::Scopes,
                format!(
                    "scope name {} has {count} wildcards; at most {WILDCARDS} are allowed",
                    quoted(&scope.name)
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_bounded() {
        let scope = |actions: usize, text: usize| Scope {
            actions: vec!["pull".to_owned(); actions],
            name: "x".repeat(text),
            r#type: "repository".to_owned(),
        };
        assert!(check_scopes(&vec![scope(1, 1); 100]).is_ok());
        assert!(check_scopes(&vec![scope(1, 1); 101]).is_err());
        assert!(check_scopes(&[scope(20, 256)]).is_ok());
        assert!(check_scopes(&[scope(21, 1)]).is_err());
        assert!(check_scopes(&[scope(1, 257)]).is_err());
        assert!(check_scopes(&vec![scope(1, 200); 100]).is_err());
    }

    #[test]
    fn a_new_scope_has_few_wildcards() {
        let named = |name: &str| {
            check_wildcards(&[Scope {
                actions: vec!["pull".to_owned()],
                name: name.to_owned(),
                r#type: "repository".to_owned(),
            }])
        };
        let pattern = |count| "a*".repeat(count);
        assert!(named("a").is_ok());
        assert!(named(&pattern(WILDCARDS)).is_ok());
        assert!(named(&pattern(WILDCARDS + 1)).is_err());
    }
}
