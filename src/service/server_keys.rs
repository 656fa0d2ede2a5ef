//! The change of the server key, with replicas running.
//!
//! Owns what has to be ready before it and that the audit trail is told. How keys are sealed is the
//! [vault](crate::service::data_keys)'s.

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

    /// Seals every data key with another server key: all of them, or none. The caller sees to it that the key is kept
    /// where nothing loses it.
    pub async fn rewrap(&self, new: ServerKey) -> Result<KeyChange> {
        // Made now, since a replica that still has the old key could not make it any more.
        ApiKeys::new(self.core).prepare().await?;
        let (vault, new) = (Arc::clone(&self.core.vault), Arc::new(new));
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
