//! A secret in an answer: it is serialised there, hidden in logs, and wiped from memory afterwards.

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, Serializer};

/// A secret that is shown to its owner.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown(SecretString);

impl From<SecretString> for Shown {
    fn from(secret: SecretString) -> Self {
        Self(secret)
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.expose_secret().serialize(serializer)
    }
}
