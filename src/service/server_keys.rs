//! The change of the server key, with replicas running.
//!
//! Owns its preparation and its event in the audit trail. The [vault](crate::service::data_keys) seals the keys.

use std::sync::Arc;

use serde_json::json;

use super::api_keys::ApiKeys;
use super::core::{Core, Done};
use super::data_keys::{KeyChange, ServerKey};
use crate::domain::audit::{Change, Kind};
use crate::error::Result;
use crate::store::Lock;

/// Server key use cases.
#[derive(Debug)]
pub struct ServerKeys<'a> {
    core: &'a Core,
}

impl<'a> ServerKeys<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Seals every data key with another server key: all of them, or none. The caller must keep the new key safe.
    pub async fn rewrap(&self, new: ServerKey) -> Result<KeyChange> {
        // Made now, since a replica that still has the old key could not make it later.
        ApiKeys::new(self.core).prepare().await?;
        let (vault, new) = (Arc::clone(&self.core.data_keys), Arc::new(new));
        let (nonce, now) = (self.core.random.bytes()?, self.core.clock.now());
        self.core
            .command(Lock::Catalog, move |connection| {
                let change = vault.rewrap(connection, &new, nonce, now)?;
                let told = Change::of_service(
                    Kind::Rotate,
                    Some(json!({"serverKey": change.from})),
                    Some(json!({"serverKey": change.to})),
                );
                Ok(Done::told(change, told))
            })
            .await
    }
}
