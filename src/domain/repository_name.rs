//! Names of repositories: the names that none can have.
//!
//! Tokens keep such names in their scopes, as public clients send them. So only questions and warnings ask.

use super::pattern::ANY;
use super::text::quoted;

/// The reason for which a name that begins with a host is none; `rest` is what comes after that.
pub(super) fn begins_with_host(name: &str, rest: &str) -> String {
    format!(
        "the name {} begins with a host; leave that out: {}",
        quoted(name),
        quoted(rest)
    )
}

/// The reason for which no repository can have a name that this pattern fits, by the grammar that Distribution and zot
/// share (OCI Distribution Specification 1.1, "Pulling manifests").
pub(super) fn impossible(name: &str) -> Option<String> {
    let shown = quoted(name);
    let (first, rest) = name.split_once('/').unwrap_or((name, ""));
    if !rest.is_empty() && first.contains(':') {
        return Some(begins_with_host(name, rest));
    }
    if let Some((repository, _)) = name.rsplit_once([':', '@']) {
        return Some(format!(
            "the name {shown} has a tag or a digest, which no scope has; did you mean {}?",
            quoted(repository)
        ));
    }
    if name.is_empty() {
        return Some(
            "the scope has no name, so it fits no repository; * fits every one".to_owned(),
        );
    }
    if name.split('/').any(str::is_empty) {
        let parts: Vec<_> = name.split('/').filter(|part| !part.is_empty()).collect();
        return Some(format!(
            "the name {shown} has an empty part, which no repository has; did you mean {}?",
            quoted(&parts.join("/"))
        ));
    }
    if name.chars().any(char::is_uppercase) {
        return Some(format!(
            "the name {shown} has capital letters, which no repository has; did you mean {}?",
            quoted(&name.to_lowercase())
        ));
    }
    let possible = name
        .split('/')
        .all(|part| part.contains(ANY) || is_part(part));
    let letters = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/*".contains(&byte));
    (!possible || !letters).then(|| {
        format!(
            "no repository can have a name that fits {shown}: the parts between slashes are lower-case letters and digits, with \
             a dot, one or two underscores or hyphens between them"
        )
    })
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_part(part: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators =
        part.split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    part.bytes().next().is_some_and(word)
        && part.bytes().last().is_some_and(word)
        && separators.into_iter().all(|between| {
            matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-')
        })
}
