//! Refusals of workloads, as the owner of a trust reads them. None has a token.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::claims::Verdict;

/// The reason to refuse a JWT whose signature fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalReason {
    /// It is of another issuer than the trust.
    Issuer,
    /// It has another audience, several, or none.
    Audience,
    /// It has ended.
    Expired,
    /// It is not valid yet, or was made in the future.
    NotYetValid,
    /// A claim does not fit.
    Claims,
    /// The trust is disabled.
    Disabled,
    /// The issuer is disabled.
    IssuerDisabled,
    /// The trust has ended.
    TrustExpired,
    /// The trust's or the registry's allow list does not hold the address.
    Address,
    /// The registry is frozen.
    RegistryFrozen,
    /// It was exchanged before.
    Exchanged,
    /// A reason of a later release.
    #[serde(other)]
    Other,
}

impl RefusalReason {
    /// All but the one for those of later releases.
    pub const ALL: [Self; 11] = [
        Self::Issuer,
        Self::Audience,
        Self::Expired,
        Self::NotYetValid,
        Self::Claims,
        Self::Disabled,
        Self::IssuerDisabled,
        Self::TrustExpired,
        Self::Address,
        Self::RegistryFrozen,
        Self::Exchanged,
    ];

    /// The word on the wire and in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::Claims => "claims",
            Self::Disabled => "disabled",
            Self::IssuerDisabled => "issuer-disabled",
            Self::TrustExpired => "trust-expired",
            Self::Address => "address",
            Self::RegistryFrozen => "registry-frozen",
            Self::Exchanged => "exchanged",
            Self::Other => "other",
        }
    }
}

/// The facts of a refusal that are kept as one text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalDetail {
    /// The reason.
    pub reason: RefusalReason,
    /// The claims that name the workload, cut.
    pub identity: Vec<(String, String)>,
    /// The compared claims.
    pub verdicts: Vec<Verdict>,
}

/// A refusal of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustRefusal {
    /// The time of the last one.
    pub at: DateTime<Utc>,
    /// How often the workload was refused.
    pub times: i64,
    /// The client's address, the last time.
    pub address: Option<IpAddr>,
    /// The facts of the last one.
    pub detail: RefusalDetail,
}

impl RefusalDetail {
    /// A hash of the claims that name the workload.
    #[must_use]
    pub fn identity_hash(&self) -> Vec<u8> {
        // Two lists of names and values have two texts.
        let text = format!("{:?}", self.identity);
        digest(&SHA256, text.as_bytes()).as_ref().to_vec()
    }
}
