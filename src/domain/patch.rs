//! A change to a value that may be missing.

use serde::{Deserialize, Deserializer};

/// A change to an optional value. In JSON an absent member keeps the value, null clears it, another value sets it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// The value stays as it is.
    #[default]
    Keep,
    /// The value is removed.
    Clear,
    /// The new value.
    Set(T),
}

impl<T> Patch<T> {
    /// The new value, if there is a change.
    pub fn change(self) -> Option<Option<T>> {
        match self {
            Self::Keep => None,
            Self::Clear => Some(None),
            Self::Set(value) => Some(Some(value)),
        }
    }

    /// The result for a thing without a value.
    pub fn value(self) -> Option<T> {
        self.change().flatten()
    }

    /// The result for a thing with this value.
    pub fn applied_to(self, before: Option<T>) -> Option<T> {
        self.change().unwrap_or(before)
    }

    /// The change to a thing with this value; the same value keeps it.
    #[must_use]
    pub fn unless_already(self, before: Option<&T>) -> Self
    where
        T: PartialEq,
    {
        match (&self, before) {
            (Self::Clear, None) => Self::Keep,
            (Self::Set(new), Some(before)) if new == before => Self::Keep,
            _ => self,
        }
    }

    /// Returns true if the value stays.
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// Maps the new value to another type.
    pub fn try_map<U, E>(self, read: impl FnOnce(T) -> Result<U, E>) -> Result<Patch<U>, E> {
        Ok(match self {
            Self::Keep => Patch::Keep,
            Self::Clear => Patch::Clear,
            Self::Set(value) => Patch::Set(read(value)?),
        })
    }
}

impl<T> From<Option<T>> for Patch<T> {
    /// Sets the value, or clears it.
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Clear, Self::Set)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    /// Reads a member that is there. Each member of this type needs `#[serde(default)]`: serde reads an absent one as null,
    /// which clears the value.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_keeps_null_clears_and_a_value_sets() {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            member: Patch<u8>,
        }
        for (body, of_nothing, of_seven) in [
            ("{}", None, Some(7)),
            (r#"{"member": null}"#, None, None),
            (r#"{"member": 7}"#, Some(7), Some(7)),
            (r#"{"member": 8}"#, Some(8), Some(8)),
        ] {
            let patch = || serde_json::from_str::<Body>(body).unwrap().member;
            assert_eq!(patch().value(), of_nothing, "{body}");
            assert_eq!(patch().applied_to(Some(7)), of_seven, "{body}");
            for before in [None, Some(7)] {
                // A patch that changes nothing is left out, and any other has the same result.
                let result = patch().applied_to(before);
                let needed = patch().unless_already(before.as_ref());
                assert_eq!(needed.is_keep(), result == before, "{body}");
                assert_eq!(needed.applied_to(before), result, "{body}");
            }
        }
    }
}
