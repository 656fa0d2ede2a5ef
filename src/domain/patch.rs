//! A change to a value that may be missing.

use serde::{Deserialize, Deserializer};

/// A change to a value that may be missing. In JSON an absent member keeps the value, null clears it, and any other value
/// sets it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// The value stays as it is.
    #[default]
    Keep,
    /// There is no value any more.
    Clear,
    /// This is the value.
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

    /// The value of a thing that had none before.
    pub fn value(self) -> Option<T> {
        self.change().flatten()
    }

    /// The value of a thing that had this one before.
    pub fn applied_to(self, before: Option<T>) -> Option<T> {
        self.change().unwrap_or(before)
    }

    /// Does the value stay?
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// The same change, with the value read as another type.
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
    /// Reads a member that is there; one that is absent needs `#[serde(default)]`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::from)
    }
}
