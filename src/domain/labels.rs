//! Labels: names with values that people and programs select by, in the syntax of Kubernetes.
//!
//! The rules are those of `IsQualifiedName` and `IsValidLabelValue` in `k8s.io/apimachinery/pkg/util/validation`, so that
//! the labels of a cluster can be copied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::secret::masked;
use super::text::quoted;
use crate::error::{Error, Field, Result, Violations};

/// The most labels of a thing.
pub const LABELS: usize = 16;
/// The longest value, and the longest name after its prefix, in characters.
pub const LABEL_LENGTH: usize = 63;
/// The longest prefix of a name, in characters.
const PREFIX_LENGTH: usize = 253;

/// The labels of a thing, at most 16. None of them holds a secret, as many may read them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Reads labels as a caller sends them.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for more than 16, for a name or a value outside its syntax, and for a secret.
    pub fn parse(labels: BTreeMap<String, String>) -> Result<Self> {
        let mut violations = Violations::default();
        if labels.len() > LABELS {
            violations.push(
                Field::Labels,
                format!(
                    "labels has {} names; at most {LABELS} are allowed",
                    labels.len()
                ),
            );
        }
        for (name, value) in labels.iter().take(LABELS) {
            if let Some(wrong) = wrong_name(name).or_else(|| wrong_value(name, value)) {
                violations.push(Field::Labels, format!("labels: {wrong}"));
            }
        }
        violations.finish(Some(Self(labels)))
    }

    /// Returns true if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if one of them has this name and this value.
    #[must_use]
    pub fn contain(&self, label: &Label) -> bool {
        self.0.get(&label.name) == Some(&label.value)
    }
}

/// One label, to select by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Label {
    name: String,
    value: String,
}

impl Label {
    /// Reads the labels of a filter, each in the form `name=value`; the same one twice counts once.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for more than a thing can have, and for one that none can have.
    pub fn parse_all(texts: &[String]) -> Result<Vec<Self>> {
        if texts.len() > LABELS {
            return Err(Error::invalid(
                Field::Label,
                format!(
                    "label is there {} times; at most {LABELS} are allowed",
                    texts.len()
                ),
            ));
        }
        let mut violations = Violations::default();
        let labels = texts.iter().map(|text| violations.take(Self::parse(text)));
        let labels: Option<BTreeSet<_>> = labels.collect::<Vec<_>>().into_iter().collect();
        violations.finish(labels.map(|labels| labels.into_iter().collect()))
    }

    /// Reads a label in the form `name=value`, as filters have it.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |wrong: &str| Error::invalid(Field::Label, format!("label: {wrong}"));
        let Some((name, value)) = text.split_once('=') else {
            return Err(wrong(&format!(
                "{} is not in the form name=value",
                quoted(text)
            )));
        };
        if let Some(problem) = wrong_name(name).or_else(|| wrong_value(name, value)) {
            return Err(wrong(&problem));
        }
        Ok(Self {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }

    /// The text that the JSON of labels without spaces contains if and only if this label is one of them: a colon
    /// follows a name and never a value, and no name or value has a quotation mark or needs an escape.
    #[must_use]
    pub fn as_member(&self) -> String {
        format!("\"{}\":\"{}\"", self.name, self.value)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

/// The fault of a label's name, if it has one.
fn wrong_name(text: &str) -> Option<String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if masked(text) != text {
        return Some("a name contains a secret, and many can read it; leave it out".to_owned());
    }
    (!prefix.is_none_or(is_dns_subdomain) || name.is_empty() || !is_label_value(name)).then(|| {
        format!(
            "the name {} is not 1 to {LABEL_LENGTH} letters, digits, \"-\", \"_\" and \".\", a letter or digit first and \
             last; a DNS name in lower case of at most {PREFIX_LENGTH} characters and \"/\" may come before",
            quoted(text)
        )
    })
}

/// The fault of a label's value, if it has one.
fn wrong_value(name: &str, value: &str) -> Option<String> {
    if masked(value) != value {
        return Some(format!(
            "the value of {} contains a secret, and many can read it; leave it out",
            quoted(name)
        ));
    }
    (!is_label_value(value)).then(|| {
        format!(
            "the value {} of {} is not at most {LABEL_LENGTH} letters, digits, \"-\", \"_\" and \".\", a letter or digit \
             first and last",
            quoted(value),
            quoted(name)
        )
    })
}

/// `(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?`, at most 63 characters.
fn is_label_value(text: &str) -> bool {
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let ends = |end: Option<u8>| end.is_none_or(|byte| byte.is_ascii_alphanumeric());
    text.len() <= LABEL_LENGTH
        && text.bytes().all(alphabet)
        && ends(text.bytes().next())
        && ends(text.bytes().last())
}

/// Lower-case parts `[a-z0-9]([-a-z0-9]*[a-z0-9])?` with dots between them, at most 253 characters.
fn is_dns_subdomain(text: &str) -> bool {
    let is_part = |part: &str| {
        let alphabet =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !part.is_empty()
            && part.bytes().all(alphabet)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= PREFIX_LENGTH && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(sent: &[(&str, &str)]) -> Result<Labels> {
        let sent = sent.iter();
        Labels::parse(
            sent.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn names_are_those_of_kubernetes() {
        let longest = format!("{}/{}", "a".repeat(253), "N".repeat(63));
        for right in [
            "a",
            "7",
            "team",
            "Team_1.x-y",
            "app.kubernetes.io/name",
            "a-1.b/x",
            &longest,
        ] {
            assert!(labels(&[(right, "")]).is_ok(), "{right:?} was refused");
        }
        for wrong in [
            "",
            "-a",
            "a-",
            ".a",
            "a_",
            "a b",
            "a=b",
            "ä",
            "/a",
            "a/",
            "a/b/c",
            "A.example/x",
            "a..b/x",
            "-a/x",
            "a_b/x",
            &format!("x{longest}"),
            &format!("{longest}N"),
        ] {
            assert!(labels(&[(wrong, "")]).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn values_may_be_empty_and_are_short() {
        for right in ["", "a", "Prod-1_x.y", &"v".repeat(63)] {
            assert!(labels(&[("a", right)]).is_ok(), "{right:?} was refused");
        }
        for wrong in ["-", "a.", "a b", "a\"b", "a\\", "ö", &"v".repeat(64)] {
            assert!(labels(&[("a", wrong)]).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn no_label_holds_a_secret() {
        let secret = format!("whrt_{}", "a".repeat(20));
        for sent in [(secret.as_str(), ""), ("a", secret.as_str())] {
            let error = labels(&[sent]).unwrap_err().to_string();
            assert!(error.contains("contains a secret"), "{error}");
            assert!(!error.contains(&secret), "{error}");
        }
    }

    #[test]
    fn there_are_at_most_sixteen() {
        let names: Vec<_> = (0..17).map(|number| format!("n{number}")).collect();
        let sent: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
        assert!(labels(sent.split_last().unwrap().1).is_ok());
        let error = labels(&sent).unwrap_err().to_string();
        assert_eq!(error, "labels has 17 names; at most 16 are allowed");
    }

    #[test]
    fn a_filter_has_a_name_and_a_value() {
        let stored = labels(&[("team", "a"), ("a", "team")]).unwrap();
        for (filter, found) in [
            ("team=a", true),
            ("a=team", true),
            ("team=", false),
            ("a=a", false),
        ] {
            let label = Label::parse(filter).unwrap();
            assert_eq!(stored.contain(&label), found, "{filter}");
        }
        for wrong in ["team", "", "=a", "team==a", "te am=a", "team=a b"] {
            let error = Label::parse(wrong).unwrap_err().to_string();
            assert!(error.starts_with("label: "), "{error}");
        }
    }

    proptest! {
        /// The text of a member finds the labels that have it, and no others.
        #[test]
        fn a_member_is_found_in_the_json(
            kept in proptest::collection::btree_map("[ab]{1,2}(/[ab])?", "[ab]{0,2}", 0..4),
            name in "[ab]{1,2}(/[ab])?",
            value in "[ab]{0,2}",
        ) {
            let labels = Labels::parse(kept).unwrap();
            let label = Label::parse(&format!("{name}={value}")).unwrap();
            let json = serde_json::to_string(&labels).unwrap();
            prop_assert_eq!(json.contains(&label.as_member()), labels.contain(&label));
        }
    }
}
