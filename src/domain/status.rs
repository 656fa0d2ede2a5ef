//! The status of accounts and tokens, which an operator sets.

use super::text::quoted;
use crate::error::{Error, Field, Result};

/// The status of an account or a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// In use.
    Enabled,
    /// Refused until enabled again.
    Disabled,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Enabled, Self::Disabled];

    /// The word on the wire and in the tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }

    /// The status of a stored word. Only `enabled` opens anything.
    #[must_use]
    pub fn from_stored(word: &str) -> Self {
        if word == "enabled" {
            Self::Enabled
        } else {
            Self::Disabled
        }
    }

    /// Reads a status as a caller sends it.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "enabled" => Ok(Self::Enabled),
            "disabled" => Ok(Self::Disabled),
            _ => Err(Error::invalid(
                Field::Status,
                format!(
                    "status {} is neither \"enabled\" nor \"disabled\"",
                    quoted(text)
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_word_opens_anything() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()).unwrap(), status);
            assert_eq!(Status::from_stored(status.as_str()), status);
        }
        for other in ["", "Enabled", "enabled ", "paused"] {
            assert!(Status::parse(other).is_err(), "{other:?} was accepted");
            assert_eq!(Status::from_stored(other), Status::Disabled, "{other:?}");
        }
    }
}
