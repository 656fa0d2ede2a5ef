//! The permissions that the roles of an account give, for a version of the account.
//!
//! A change of an account's roles raises its version, and only a migration changes a role. So whoever reads the version of
//! an account knows whether what is remembered here still holds. A server of the database that lost changes could give a
//! version twice: what was learned before a new connection is not used after it.

use std::time::Duration;

use crate::domain::account::Actor;
use crate::domain::id::AccountKey;
use crate::domain::role::Permissions;

/// Accounts remembered at once.
const ACCOUNTS: u64 = 10_000;
/// The time after which another release may have changed what a role permits.
const REMEMBERED: Duration = Duration::from_mins(1);

/// An account, its version, and the number of connections that the store had opened before it was read.
type Key = (AccountKey, i64, u64);

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
    pub(super) fn of(
        &self,
        account: AccountKey,
        version: i64,
        connections: u64,
    ) -> Option<Permissions> {
        self.0.get(&(account, version, connections))
    }

    /// Remembers the permissions of an actor without an API token, which are those of its account's roles.
    pub(super) fn learn(&self, actor: &Actor, connections: u64) {
        if actor.bearer.is_none() {
            let key = (actor.key, actor.version, connections);
            self.0.insert(key, actor.permissions.clone());
        }
    }
}
