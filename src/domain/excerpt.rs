//! The part of an event that the audit trail keeps: short values whole, an excerpt of long ones.
//!
//! An excerpt has the length and the SHA-256 of the whole value. Somebody who has the whole value can prove with them that
//! the excerpt was made from it. No value of these types is beyond its bounds.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};

/// A text of at most `LENGTH` bytes as JSON, quotes included. At least 128, which its length and hash need.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<const LENGTH: usize>(String);

impl<const LENGTH: usize> Text<LENGTH> {
    /// The text, or its beginning with the length and the hash of the whole.
    #[must_use]
    pub fn new(whole: &str) -> Self {
        if json_length(whole) <= LENGTH {
            return Self(whole.to_owned());
        }
        let proof = format!("… ({} bytes, SHA-256 {})", whole.len(), hash(whole));
        let room = LENGTH.saturating_sub(json_length(&proof));
        Self(format!("{}{proof}", beginning(whole, room)))
    }

    /// The text as it is kept.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<const LENGTH: usize> fmt::Display for Text<LENGTH> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The content of an event beside its columns: a JSON object of at most [`Detail::LENGTH`] bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Detail(Map<String, Value>);

/// The rule for excerpts: the bytes of JSON beyond which a value becomes one, and the length of its beginning.
struct Cut {
    /// Members of the objects `before` and `after`, or these objects themselves.
    deep: bool,
    longer_than: usize,
    beginning: usize,
}

/// From the mildest to one that always fits, except for an object of very many members, which is kept as a hash alone.
const CUTS: [Cut; 3] = [
    Cut {
        deep: true,
        longer_than: 240,
        beginning: 96,
    },
    Cut {
        deep: true,
        longer_than: BARE,
        beginning: 0,
    },
    Cut {
        deep: false,
        longer_than: BARE,
        beginning: 0,
    },
];
/// Bytes of an excerpt without a beginning: a shorter value would only become longer.
const BARE: usize = 100;

impl Detail {
    /// The most bytes as JSON.
    pub const LENGTH: usize = 1200;

    /// Keeps these members whole if they fit, else excerpts of their long values.
    pub fn new(members: impl IntoIterator<Item = (String, Value)>) -> Self {
        let whole: Map<_, _> = members.into_iter().collect();
        if value_length(&whole) <= Self::LENGTH {
            return Self(whole);
        }
        for cut in CUTS {
            let members = whole.iter();
            let shorter: Map<_, _> = members
                .map(|(name, value)| (name.clone(), cut.apply(value)))
                .collect();
            if value_length(&shorter) <= Self::LENGTH {
                return Self(shorter);
            }
        }
        Self(excerpt(&Value::Object(whole), 0))
    }

    /// Adds one more member.
    #[must_use]
    pub fn with(self, name: &str, value: impl Into<Value>) -> Self {
        Self::new(self.0.into_iter().chain([(name.to_owned(), value.into())]))
    }

    /// The JSON that is kept.
    #[must_use]
    pub fn into_json(self) -> String {
        Value::Object(self.0).to_string()
    }
}

impl Cut {
    fn apply(&self, value: &Value) -> Value {
        match value {
            Value::Object(members) if self.deep => members
                .iter()
                .map(|(name, value)| (name.clone(), self.shorten(value)))
                .collect(),
            other => self.shorten(other),
        }
    }

    fn shorten(&self, value: &Value) -> Value {
        if value_length(value) <= self.longer_than {
            return value.clone();
        }
        Value::Object(excerpt(value, self.beginning))
    }
}

/// The length and the hash are of a text as it is, and of any other value as compact JSON.
fn excerpt(value: &Value, room: usize) -> Map<String, Value> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut excerpt = Map::new();
    if room > 0 {
        excerpt.insert("beginning".to_owned(), beginning(&text, room).into());
    }
    excerpt.insert("bytes".to_owned(), json!(text.len()));
    excerpt.insert("sha256".to_owned(), hash(&text).into());
    excerpt
}

/// The longest beginning of at most `room` bytes between the quotes of JSON.
fn beginning(text: &str, room: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find_map(|(at, character)| {
        used += json_length(character.encode_utf8(&mut [0; 4])) - 2;
        (used > room).then_some(at)
    });
    end.map_or(text, |end| text.split_at(end).0)
}

fn hash(text: &str) -> String {
    HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref())
}

/// Bytes of a text as JSON, quotes included.
fn json_length(text: &str) -> usize {
    value_length(text)
}

fn value_length(value: &(impl serde::Serialize + ?Sized)) -> usize {
    // A value without a form as JSON counts as too long. This module has none.
    serde_json::to_string(value).map_or(usize::MAX, |json| json.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(detail: &Detail) -> Value {
        serde_json::from_str(&detail.clone().into_json()).unwrap()
    }

    #[test]
    fn what_is_short_is_kept_as_it_is() {
        let text = "é".repeat(127);
        assert_eq!(Text::<256>::new(&text).into_string(), text);
        let members = json!({"after": {"name": "ci", "scopes": ["x".repeat(1000)]}});
        let Value::Object(map) = members.clone() else {
            panic!("no object")
        };
        assert_eq!(kept(&Detail::new(map)), members);
    }

    #[test]
    fn what_is_long_keeps_its_beginning_its_length_and_its_hash() {
        let name = "n".repeat(300);
        let cut = Text::<256>::new(&name).into_string();
        let proof = format!("… (300 bytes, SHA-256 {})", hash(&name));
        assert!(cut.starts_with("nnnn") && cut.ends_with(&proof), "{cut}");

        let scopes =
            json!([{"actions": ["pull"], "name": "x".repeat(15_000), "type": "repository"}]);
        let detail = Detail::new([(
            "after".to_owned(),
            json!({"version": 2, "scopes": scopes, "name": "ci"}),
        )]);
        let whole = scopes.to_string();
        // Every quotation mark takes two bytes.
        let beginning = format!(r#"[{{"actions":["pull"],"name":"{}"#, "x".repeat(60));
        assert_eq!(
            kept(&detail),
            json!({"after": {
                "version": 2,
                "name": "ci",
                "scopes": {
                    "beginning": beginning,
                    "bytes": whole.len(),
                    "sha256": hash(&whole),
                },
            }})
        );
    }

    prop_compose! {
        fn long_text()(text in "[a-z\"\\\\\n\u{1}é€🦀]{0,40}", times in 0_usize..200) -> String {
            text.repeat(times)
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            long_text().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 200, 20, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
                prop::collection::hash_map("[a-z]{1,30}", inner, 0..20)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Any value that an event can hold.
        #[test]
        fn nothing_is_longer_than_its_type_says(
            members in prop::collection::vec(("[a-z]{1,30}", value()), 0..20),
            text in long_text(),
        ) {
            let detail = Detail::new(members).with("count", u64::MAX);
            prop_assert!(detail.clone().into_json().len() <= Detail::LENGTH);
            prop_assert!(kept(&detail).is_object());
            let text = Text::<128>::new(&text).into_string();
            prop_assert!(json_length(&text) <= 128, "{text}");
        }
    }
}
