//! States of things, and callers' conditions on them (RFC 9110 §8.8.3 and §13).
//!
//! Owns the tags of states, the reading of conditions, and their check. Refuses to know the source of the things: the
//! present state is an argument.

use std::fmt;

use crate::error::{Error, Field, Result, What};

/// A state of a thing: equal to that of another time if nothing of the thing changed.
///
/// It has the internal key, never a public id, so a new thing under an old id is in another state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// The internal key.
    pub key: i64,
    /// Counts changes.
    pub version: i64,
    /// The part that changes without a change of the thing itself, such as its expiry; 0 at first.
    pub state: u8,
}

impl fmt::Display for Tag {
    /// As an `ETag` header has it, in quotes. Hexadecimal: short, and without meaning.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{:x}-{:x}", self.key, self.version)?;
        match self.state {
            0 => f.write_str("\""),
            state => write!(f, "-{state:x}\""),
        }
    }
}

/// The states that a caller names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    /// Any state, as long as the thing exists.
    Any,
    /// One of these: the text between the quotes, and true if it is marked as weak.
    Tags(Vec<(String, bool)>),
}

impl Named {
    /// Reads the value of a header: `*`, or tags in double quotes with commas between them.
    fn parse(header: &str, field: Field, value: &[u8]) -> Result<Self> {
        let wrong = || {
            Error::invalid(
                field,
                format!(
                    "{header} is neither * nor a list of entity tags; send the ETag of an answer as it is, \
                     with its double quotes: \"5-1\""
                ),
            )
        };
        if value.trim_ascii() == b"*" {
            return Ok(Self::Any);
        }
        let (mut tags, mut rest, mut due) = (Vec::new(), value, true);
        while let Some((first, after)) = rest.split_first() {
            match first {
                b' ' | b'\t' => rest = after,
                b',' => (rest, due) = (after, true),
                _ if due => {
                    let (weak, tag) = match rest.strip_prefix(b"W/") {
                        Some(tag) => (true, tag),
                        None => (false, rest),
                    };
                    let tag = tag.strip_prefix(b"\"").ok_or_else(wrong)?;
                    let end = tag.iter().position(|byte| *byte == b'"');
                    let (tag, after) = end
                        .and_then(|end| tag.split_at_checked(end))
                        .ok_or_else(wrong)?;
                    if tag.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
                        return Err(wrong());
                    }
                    // Our tags have only ASCII letters, so a loss in such a tag does not matter.
                    tags.push((String::from_utf8_lossy(tag).into_owned(), weak));
                    (rest, due) = (after.strip_prefix(b"\"").unwrap_or(after), false);
                }
                _ => return Err(wrong()),
            }
        }
        if tags.is_empty() {
            return Err(wrong());
        }
        Ok(Self::Tags(tags))
    }

    /// Returns true if this is the state. Weak tags are of similar things: enough to keep an answer, not to overwrite.
    fn holds(&self, current: Option<Tag>, weakly: bool) -> bool {
        let Some(current) = current else {
            return false;
        };
        match self {
            Self::Any => true,
            Self::Tags(tags) => {
                let current = current.to_string();
                let mut tags = tags.iter().filter(|(_, weak)| weakly || !weak);
                tags.any(|(tag, _)| current.trim_matches('"') == tag)
            }
        }
    }
}

/// A caller's conditions on the state of a thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Precondition {
    matches: Option<Named>,
    none_matches: Option<Named>,
}

impl Precondition {
    /// Reads the values of the headers `If-Match` and `If-None-Match`.
    pub fn parse(if_match: Option<&[u8]>, if_none_match: Option<&[u8]>) -> Result<Self> {
        let matches = if_match.map(|value| Named::parse("If-Match", Field::IfMatch, value));
        let none_matches =
            if_none_match.map(|value| Named::parse("If-None-Match", Field::IfNoneMatch, value));
        Ok(Self {
            matches: matches.transpose()?,
            none_matches: none_matches.transpose()?,
        })
    }

    /// Refuses to change a thing that does not meet the conditions; `None` is a missing thing.
    ///
    /// # Errors
    ///
    /// [`Error::Precondition`].
    pub fn require(&self, what: What, current: Option<Tag>) -> Result<()> {
        self.require_match(what, current)?;
        match (&self.none_matches, current) {
            (Some(named), Some(tag)) if named.holds(current, true) => {
                Err(Error::Precondition(format!(
                    "If-None-Match: the {what} exists, and its ETag is {tag}; nothing was changed"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Returns the resource, or only its `ETag` if the caller has this state already.
    ///
    /// # Errors
    ///
    /// [`Error::Precondition`] if the resource does not meet the caller's conditions.
    pub fn look<T>(&self, what: What, tag: Tag, thing: T) -> Result<Look<T>> {
        self.require_match(what, Some(tag))?;
        let known = self.none_matches.as_ref();
        Ok(match known.filter(|named| named.holds(Some(tag), true)) {
            Some(_) => Look::Known(tag),
            None => Look::At(thing, tag),
        })
    }

    fn require_match(&self, what: What, current: Option<Tag>) -> Result<()> {
        let Some(named) = &self.matches else {
            return Ok(());
        };
        if named.holds(current, false) {
            return Ok(());
        }
        Err(Error::Precondition(match current {
            Some(tag) if named.holds(current, true) => format!(
                "If-Match: a weak entity tag (W/) is no proof of the state that a change needs; a proxy that compresses \
                 answers makes tags weak, so send {tag} without W/"
            ),
            Some(tag) => format!(
                "If-Match: the {what} changed, and its ETag is {tag} now; look at it again before you change it"
            ),
            None => format!("If-Match: there is no such {what}; without If-Match it would be made"),
        }))
    }
}

/// The result of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look<T> {
    /// The thing, and the tag of its state.
    At(T, Tag),
    /// The caller has seen this state.
    Known(Tag),
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Tag = Tag {
        key: 0x2a,
        version: 3,
        state: 0,
    };

    fn precondition(if_match: Option<&str>, if_none_match: Option<&str>) -> Precondition {
        Precondition::parse(
            if_match.map(str::as_bytes),
            if_none_match.map(str::as_bytes),
        )
        .unwrap()
    }

    #[test]
    fn a_weak_tag_is_told_for_what_it_is() {
        for (value, told) in [
            (r#"W/"2a-3""#, r#"send "2a-3" without W/"#),
            (r#"W/"2a-2""#, "changed"),
        ] {
            let error = precondition(Some(value), None).require(What::Token, Some(TAG));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(told), "{value}: {error}");
        }
    }

    #[test]
    fn a_tag_names_key_version_and_what_came_with_time() {
        assert_eq!(TAG.to_string(), r#""2a-3""#);
        assert_eq!(Tag { state: 1, ..TAG }.to_string(), r#""2a-3-1""#);
    }

    #[test]
    fn what_is_wanted_is_compared_strongly_for_a_change_and_weakly_for_a_look() {
        let gone = None;
        for (value, there, not_there) in [
            ("*", true, false),
            (r#""2a-3""#, true, false),
            (r#" "1-1" , ,"2a-3","#, true, false),
            (r#""a,b", "2a-3""#, true, false),
            (r#"W/"2a-3""#, false, false),
            (r#""2a-4""#, false, false),
            (r#""2a-3-1""#, false, false),
            (r#""2A-3""#, false, false),
            (r#""""#, false, false),
        ] {
            let wanted = precondition(Some(value), None);
            let require = |current| wanted.require(What::Token, current).is_ok();
            assert_eq!(
                (require(Some(TAG)), require(gone)),
                (there, not_there),
                "{value}"
            );
        }
        for (value, known) in [
            ("*", true),
            (r#"W/"2a-3""#, true),
            (r#""1-1", "2a-3""#, true),
            (r#""2a-4""#, false),
        ] {
            let wanted = precondition(None, Some(value));
            let look = wanted.look(What::Token, TAG, ()).unwrap();
            assert_eq!(look == Look::Known(TAG), known, "{value}");
            assert_eq!(
                wanted.require(What::Token, Some(TAG)).is_err(),
                known,
                "{value}"
            );
            assert!(wanted.require(What::Token, None).is_ok(), "{value}");
        }
        let both = precondition(Some(r#""1-1""#), Some(r#""2a-3""#));
        assert!(both.look(What::Token, TAG, ()).is_err());
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused_with_help() {
        for wrong in [
            "",
            " ",
            ",",
            "2a-3",
            "'2a-3'",
            r#""2a-3"#,
            r#""2a-3" "1-1""#,
            r#"*, "2a-3""#,
            r#"w/"2a-3""#,
            "\"a b\"",
            "W/*",
            r#""a"b"#,
        ] {
            let refused = Precondition::parse(Some(wrong.as_bytes()), None).unwrap_err();
            assert!(
                refused.to_string().contains("If-Match is neither * nor"),
                "{wrong:?}: {refused}"
            );
        }
        let foreign = Precondition::parse(None, Some(b"\"\xe4\""));
        assert!(foreign.is_ok());
    }
}
