//! Untrusted text in messages, and the known name that it may have meant.

use std::fmt;

use super::secret::masked;

/// The longest piece of a caller's text that a message repeats, in characters.
const SHOWN: usize = 80;
/// The least likeness of an unknown name to a known one to count as a slip of it, by Jaro and Winkler: 1 is the same.
const LIKENESS: f64 = 0.7;
/// The longest name that is compared, in bytes.
const COMPARED: usize = 64;

/// Wraps a caller's text for a message: quoted, secrets masked, control characters escaped, cut where it is long.
#[must_use]
pub fn quoted(text: &str) -> Quoted<'_> {
    Quoted(text)
}

/// See [`quoted`].
#[derive(Debug)]
pub struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = masked(self.0);
        match text.char_indices().nth(SHOWN) {
            None => write!(f, "{text:?}"),
            Some((end, _)) => write!(f, "{:?}…", text.split_at(end).0),
        }
    }
}

/// Returns true if a text has C0, DEL or C1 controls: PostgreSQL refuses NUL, logs and terminals act on the others.
#[must_use]
pub fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// The known name that an unknown one is likely to be a slip of, if there is one.
#[must_use]
pub fn nearest<'a>(known: &[&'a str], unknown: &str) -> Option<&'a str> {
    if unknown.len() > COMPARED {
        return None;
    }
    let unknown = unknown.to_ascii_lowercase();
    let alike = known.iter().filter_map(|name| {
        let text = name.to_ascii_lowercase();
        let changes = strsim::damerau_levenshtein(&text, &unknown);
        // Short words look alike by a letter or two. One that only goes on after the other may be cut short.
        let few = changes <= text.len().min(unknown.len()) / 2
            || text.starts_with(&unknown)
            || unknown.starts_with(&text);
        let is_alike = few && strsim::jaro_winkler(&text, &unknown) >= LIKENESS;
        is_alike.then_some((changes, *name))
    });
    // Of several with the same beginning, the one with the fewest changes.
    let (_, name) = alike.min_by_key(|(changes, _)| *changes)?;
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_has_the_fewest_changes() {
        let known = ["MAXIMUM_API_TOKENS", "MAXIMUM_TOKENS", "MAXIMUM_TOKEN_LIFE"];
        assert_eq!(nearest(&known, "MAXIMUN_TOKENS"), Some("MAXIMUM_TOKENS"));
        assert_eq!(
            nearest(&known, "maximumApiToken"),
            Some("MAXIMUM_API_TOKENS")
        );
        assert_eq!(nearest(&known, "locations"), None);
    }

    #[test]
    fn short_words_with_some_letters_in_common_are_no_slips() {
        let known = ["name", "level", "roles", "description", "expiryDate"];
        for (unknown, expected) in [
            ("labels", None),
            ("state", None),
            ("role", Some("roles")),
            ("lvel", Some("level")),
            ("expiry", Some("expiryDate")),
            ("descripton", Some("description")),
        ] {
            assert_eq!(nearest(&known, unknown), expected, "{unknown}");
        }
    }

    #[test]
    fn long_and_odd_text_is_shown_short_and_escaped() {
        assert_eq!(quoted("a\nb").to_string(), r#""a\nb""#);
        assert_eq!(
            quoted(&"ä".repeat(200)).to_string(),
            format!("\"{}\"…", "ä".repeat(80))
        );
    }
}
