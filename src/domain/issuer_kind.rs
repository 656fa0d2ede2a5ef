//! Kinds of issuers: the CI services and clusters whose claims are known.

use std::fmt;

use super::text::quoted;
use crate::error::{Error, Field, Result};

/// The kind of an issuer. It decides which claims name a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuerKind {
    /// GitHub Actions, of github.com or of a server of one's own.
    Github,
    /// GitLab CI.
    Gitlab,
    /// The service accounts of a Kubernetes cluster.
    Kubernetes,
    /// Buildkite.
    Buildkite,
    /// `CircleCI`.
    Circleci,
    /// Forgejo Actions.
    Forgejo,
    /// A trust domain of SPIFFE.
    Spiffe,
    /// Any other.
    Other,
}

impl IssuerKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Github,
        Self::Gitlab,
        Self::Kubernetes,
        Self::Buildkite,
        Self::Circleci,
        Self::Forgejo,
        Self::Spiffe,
        Self::Other,
    ];

    /// The word on the wire and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Kubernetes => "kubernetes",
            Self::Buildkite => "buildkite",
            Self::Circleci => "circleci",
            Self::Forgejo => "forgejo",
            Self::Spiffe => "spiffe",
            Self::Other => "other",
        }
    }

    /// The kind of a word.
    #[must_use]
    pub fn from_stored(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Reads a kind as a caller sends it.
    pub fn parse(text: &str) -> Result<Self> {
        Self::from_stored(text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
            Error::invalid(
                Field::Kind,
                format!("kind {} is none of {}", quoted(text), known.join(", ")),
            )
        })
    }
}

impl fmt::Display for IssuerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
