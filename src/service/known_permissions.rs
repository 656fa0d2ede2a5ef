//! The permissions that the roles of an account give, for a version of the account.
//!
//! A change of an account's roles raises its version, and only a migration changes a role. So the version and the time of
//! the last change, which each request reads, tell whether the permissions that are remembered still hold.

use std::time::Duration;

use crate::domain::account::Actor;
use crate::domain::id::AccountKey;
use crate::domain::role::Permissions;

/// Accounts remembered at once.
const ACCOUNTS: u64 = 10_000;
/// The time after which another release may have changed what a role permits.
const REMEMBERED: Duration = Duration::from_mins(1);

/// An account, its version, and the time of its last change in microseconds since 1970.
type Key = (AccountKey, i64, i64);

#[derive(Debug)]
pub(super) struct KnownPermissions(moka::sync::Cache<Key, Permissions>);

impl Default for KnownPermissions {
    fn default() -> Self {
        Self(
            moka::sync::Cache::builder()
                .max_capacity(ACCOUNTS)
                .time_to_live(REMEMBERED)
                .build(),
        )
    }
}

impl KnownPermissions {
    /// The permissions of an account in the state in which it was read.
    pub(super) fn of(&self, account: &Actor, modified_at: i64) -> Option<Permissions> {
        self.0.get(&(account.key, account.version, modified_at))
    }

    /// Remembers the permissions of an actor without an API token, which are those of its account's roles.
    pub(super) fn learn(&self, actor: &Actor, modified_at: i64) {
        if actor.bearer.is_none() {
            let key = (actor.key, actor.version, modified_at);
            self.0.insert(key, actor.permissions.clone());
        }
    }
}
