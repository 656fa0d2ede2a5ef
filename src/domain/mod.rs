//! Pure types and rules: registries, tokens, scopes, secrets and roles, and their limits.
//!
//! Owns every rule that needs neither database nor clock. Refuses to know about storage, HTTP or the present time: an
//! instant that a rule needs is an argument. A value of one of these types is valid by construction.

pub mod account;
pub mod allow_list;
pub mod api_token;
pub mod app_token;
pub mod audit;
pub mod auth_config;
pub mod bulk;
pub mod caps;
pub mod claim_name;
pub mod claims;
pub mod clock_check;
pub mod description;
pub mod escalation;
pub mod evaluation;
pub mod excerpt;
pub mod filter;
pub mod id;
pub mod idempotency;
pub mod issued;
pub mod issuer;
pub mod issuer_kind;
pub mod key_source;
pub mod labels;
pub mod life;
pub mod lookup;
pub mod membership;
pub mod network;
pub mod page;
pub mod patch;
pub mod pattern;
pub mod period;
pub mod permission;
mod pinned_claims;
pub mod precondition;
pub mod registry;
pub mod registry_api_token;
mod repository_name;
pub mod role;
pub mod rotation;
pub mod scope;
pub mod scope_warning;
pub mod secret;
pub mod signing;
pub mod status;
pub mod strict_json;
pub mod tenant;
pub mod text;
pub mod throttle;
pub mod token;
pub mod token_scope;
pub mod token_verifier;
pub mod trust;
pub mod trust_refusal;
pub mod unicode;
pub mod workload_jwt;

use chrono::{DateTime, Utc};

use self::id::AccountId;

/// The account that did something, and the time. Renaming or deleting the account changes no name here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribution {
    /// The time.
    pub at: DateTime<Utc>,
    /// The account.
    pub by: AccountId,
    /// The account's name at that time.
    pub by_name: String,
}
