//! A secret on its one way out: text in an answer, nothing in a log, wiped when it has gone.

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, Serializer};

/// A secret that its owner is shown.
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
