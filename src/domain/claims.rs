//! The claims of a JWT, and the rules of a trust for them.
//!
//! Owns the grammar of a claim's name, the comparison of values, and the claims by which each kind of issuer names a
//! workload for ever. Refuses to know signatures and times: the claims are an argument.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::claim_name::{self, find};
use super::issuer_kind::IssuerKind;
use super::pattern::{ANY, NAME_LENGTH, matches, wildcards};
use super::pinned_claims::{Pin, SUBJECT, is, pins, risky};
use super::secret::masked;
use super::text::{has_control, quoted};
use crate::error::{Error, Field, Result, Violations};

/// The most claims of a trust.
const CLAIMS: usize = 32;
/// The most values of a claim.
const VALUES: usize = 50;
/// The longest value, in bytes.
const VALUE: usize = 512;
/// The most items of a list in a JWT that are compared.
const ITEMS: usize = 100;
/// The most values with wildcards of a trust.
const WILDCARD_VALUES: usize = 100;
/// All names and values of a trust together, in bytes.
const TEXTS: usize = 8 * 1024;
/// The most wildcards of a value.
const WILDCARDS: usize = 4;
/// The most wrong rules that an error tells of.
const TOLD: usize = 8;
/// The longest excerpt of a claim in a verdict, in characters.
const SHOWN: usize = 200;

/// The wanted value of a claim, or several of which one has to fit; in the form in which it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Wanted {
    One(String),
    Several(Vec<String>),
}

impl Wanted {
    fn values(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        }
    }
}

/// The rules of a trust: for each named claim the values that fit. All rules have to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRules(BTreeMap<String, Wanted>);

/// The comparison of a claim with its rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The name of the claim, as the rule has it.
    pub claim: String,
    /// The values that fit. For a claim without a rule, a phrase about the refused ones.
    pub wanted: Vec<String>,
    /// The JSON of the value that was there, cut and without secrets; `None` if there was none.
    pub found: Option<String>,
    /// True if it fits.
    pub fits: bool,
}

impl ClaimRules {
    /// Reads rules: an object of names with a value or a list of values, each a text, a whole number or a boolean.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with all that is wrong: too much of anything, a name that is reserved or cannot be read, and
    /// values of another type.
    pub fn parse(rules: Map<String, Value>) -> Result<Self> {
        let mut violations = Violations::default();
        if rules.len() > CLAIMS {
            let count = rules.len();
            violations.push(
                Field::Claims,
                format!("claims has {count} members; at most {CLAIMS} are allowed"),
            );
            return violations.finish(None::<Self>);
        }
        let (mut read, mut length, mut wildcards, mut wrong) = (BTreeMap::new(), 0, 0, 0);
        for (name, value) in rules {
            let rule = claim_name::check(&name).and_then(|()| wanted(&name, value));
            let Some(wanted) = violations.take(rule) else {
                wrong += 1;
                if wrong == TOLD {
                    break;
                }
                continue;
            };
            let values = wanted.values().iter().map(String::len);
            length += name.len() + values.sum::<usize>();
            let values = wanted.values().iter();
            wildcards += values.filter(|value| value.contains(ANY)).count();
            read.insert(name, wanted);
        }
        if wildcards > WILDCARD_VALUES {
            violations.push(
                Field::Claims,
                format!(
                    "claims has {wildcards} values with wildcards; at most {WILDCARD_VALUES} are allowed"
                ),
            );
        }
        if length > TEXTS {
            violations.push(
                Field::Claims,
                format!("claims has {length} bytes of text; at most {TEXTS} are allowed"),
            );
        }
        violations.finish(Some(Self(read)))
    }

    /// Refuses rules that pin no claim by which this kind of issuer names a workload for ever, and rules that leave such
    /// a claim open by a wildcard or an empty value.
    pub fn require_pin(&self, kind: IssuerKind) -> Result<()> {
        let pins = pins(kind);
        let mut pinned = false;
        for (name, wanted) in &self.0 {
            if !pins.iter().any(|pin| is(name, *pin)) {
                continue;
            }
            let open = |value: &&String| value.is_empty() || value.contains(ANY);
            if let Some(value) = wanted.values().iter().find(open) {
                return Err(Error::invalid(
                    Field::Claims,
                    format!(
                        "claims: {name} names the workload, so its value {} may be neither empty nor have a wildcard",
                        quoted(value)
                    ),
                ));
            }
            pinned = true;
        }
        if pinned {
            return Ok(());
        }
        let names: Vec<_> = pins.iter().map(|(name, _)| *name).collect();
        let [first, others @ ..] = names.as_slice() else {
            return Ok(());
        };
        let others = if others.is_empty() {
            String::new()
        } else {
            format!(" (or {})", others.join(", "))
        };
        Err(Error::invalid(
            Field::Claims,
            format!(
                "claims pins no claim that an issuer of the kind {kind} never gives to another workload; add {first}{others} with the \
                 exact value"
            ),
        ))
    }

    /// Compares each rule with the claims of a JWT. The JWT fits if every verdict does.
    #[must_use]
    pub fn verdicts(&self, kind: IssuerKind, claims: &Value) -> Vec<Verdict> {
        let rules = self.0.iter().map(|(name, wanted)| {
            let found = find(claims, name);
            Verdict {
                claim: name.clone(),
                wanted: wanted.values().to_vec(),
                found: found.map(shown),
                fits: found.is_some_and(|found| fits(found, wanted.values())),
            }
        });
        rules.chain(self.risk(kind, claims)).collect()
    }

    /// Returns true if the claims of a JWT fit.
    #[must_use]
    pub fn admit(&self, kind: IssuerKind, claims: &Value) -> bool {
        let held = |(name, wanted): (&String, &Wanted)| {
            find(claims, name).is_some_and(|found| fits(found, wanted.values()))
        };
        self.0.iter().all(held) && self.risk(kind, claims).is_none()
    }

    /// The refusal of a value that other people can bring about, if the claims have one that no rule names.
    fn risk(&self, kind: IssuerKind, claims: &Value) -> Option<Verdict> {
        let (claim, risky) = risky(kind)?;
        let found = find(claims, claim.0)?;
        let items = match found {
            Value::Array(items) => items.as_slice(),
            found => std::slice::from_ref(found),
        };
        let mut texts = items.iter().filter_map(text_of);
        let text = texts.find(|text| {
            let text = text.to_ascii_lowercase();
            let named = |(name, wanted): (&String, &Wanted)| {
                is(name, claim) && wanted.values().contains(&text)
            };
            risky.contains(&text.as_str()) && !self.0.iter().any(named)
        })?;
        Some(Verdict {
            claim: claim.0.to_owned(),
            wanted: vec![format!("not {text}, unless the trust names it")],
            found: Some(shown(found)),
            fits: false,
        })
    }
}

/// The claims of a JWT that name its workload, with their values: those by which its kind of issuer pins, or else its
/// subject. Each value is cut.
#[must_use]
pub fn identity(kind: IssuerKind, claims: &Value) -> Vec<(&'static str, String)> {
    let known = |(name, _): &Pin| Some((*name, shown(find(claims, name)?)));
    let found: Vec<_> = pins(kind).iter().filter_map(known).collect();
    if found.is_empty() {
        return known(&SUBJECT).into_iter().collect();
    }
    found
}

/// The comparison of the issuer of a JWT, which is compared byte by byte.
#[must_use]
pub fn issuer_verdict(url: &str, claims: &Value) -> Verdict {
    let found = claims.get("iss");
    Verdict {
        claim: "iss".to_owned(),
        wanted: vec![url.to_owned()],
        found: found.map(shown),
        fits: found.and_then(Value::as_str) == Some(url),
    }
}

/// The audience of a JWT, if it has one alone. A JWT for several parties can be used by each of them at the others.
#[must_use]
pub fn only_audience(claims: &Value) -> Option<&str> {
    match claims.get("aud")? {
        Value::Array(all) => match all.as_slice() {
            [only] => only.as_str(),
            _ => None,
        },
        found => found.as_str(),
    }
}

/// The comparison of the audience of a JWT: it has to be the only one.
#[must_use]
pub fn audience_verdict(audience: &str, claims: &Value) -> Verdict {
    let found = claims.get("aud");
    Verdict {
        claim: "aud".to_owned(),
        wanted: vec![audience.to_owned()],
        found: found.map(shown),
        fits: only_audience(claims) == Some(audience),
    }
}

fn wrong(message: String) -> Error {
    Error::invalid(Field::Claims, message)
}

fn wanted(name: &str, value: Value) -> Result<Wanted> {
    let shown = quoted(name);
    let one = |value: Value| {
        let text = text_of(&value).ok_or_else(|| {
            wrong(format!(
                "claims: a value of {shown} is no text, whole number or boolean"
            ))
        })?;
        if text.len() > VALUE || has_control(&text) {
            return Err(wrong(format!(
                "claims: the value {} of {shown} is not at most {VALUE} bytes without control characters",
                quoted(&text)
            )));
        }
        let count = wildcards(&text);
        if count > WILDCARDS || (count > 0 && text.len() > NAME_LENGTH) {
            return Err(wrong(format!(
                "claims: the value {} of {shown} has {count} wildcards in {} bytes; at most {WILDCARDS} in {NAME_LENGTH} \
                 bytes are allowed",
                quoted(&text),
                text.len()
            )));
        }
        Ok(text)
    };
    match value {
        Value::Array(values) if values.is_empty() || values.len() > VALUES => Err(wrong(format!(
            "claims: {shown} has {} values; send 1 to {VALUES}",
            values.len()
        ))),
        Value::Array(values) => {
            let values: Result<_> = values.into_iter().map(one).collect();
            values.map(Wanted::Several)
        }
        value => one(value).map(Wanted::One),
    }
}

/// The text by which a value is compared. Objects, lists and null have none. Neither has a number that is not whole:
/// two such numbers can have one text.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) => Some(value.to_string()),
        Value::Number(number) if !number.is_f64() => Some(value.to_string()),
        _ => None,
    }
}

/// Returns true if a claim has one of the wanted values; of a list, if one of its first [`ITEMS`] items does.
fn fits(found: &Value, wanted: &[String]) -> bool {
    match found {
        Value::Array(items) => items.iter().take(ITEMS).any(|item| fits_one(item, wanted)),
        found => fits_one(found, wanted),
    }
}

fn fits_one(found: &Value, wanted: &[String]) -> bool {
    let fits = |text: &str| {
        let fits = |wanted: &String| {
            if wanted.contains(ANY) {
                matches(wanted, text)
            } else {
                wanted == text
            }
        };
        wanted.iter().any(fits)
    };
    match found {
        Value::String(text) => fits(text),
        found => text_of(found).is_some_and(|text| fits(&text)),
    }
}

/// The beginning of a value as JSON, without secrets; a text without its quotes.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let text = masked(&text);
    let mut shown: String = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .take(SHOWN)
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// The claims that name a workload, as a member of an event.
pub fn named_claims<N: AsRef<str>>(claims: &[(N, String)]) -> Value {
    let members = claims.iter();
    let members = members.map(|(name, value)| (name.as_ref().to_owned(), value.clone().into()));
    members.collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests;
