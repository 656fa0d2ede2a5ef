//! The key that signs API tokens, and their form. It is made with the first token, and the same on every replica.
//!
//! An API token is a JWT in the form of StackRox's. Owns its claims, its signature and the check of a token that comes
//! back. The algorithm is fixed, and the key comes from our own table, by the number that the header names. Refuses to
//! know the rights of a token: a right signature proves only that it was once made here.
//!
//! The private key is a data key, sealed by the server key like the others. It is made off the writer's thread.

use std::sync::{Arc, PoisonError};

use secrecy::{ExposeSecret as _, SecretBox, SecretString};

use super::api_key_cache::{ApiKey, KEY_ID};
use super::certificates;
use super::core::Core;
use super::data_keys::API_JWT;
use super::jwt::named_key;
use crate::domain::api_token::ApiToken;
use crate::domain::id::ApiTokenId;
use crate::error::{Error, Result};
use crate::store::Lock;

#[derive(Debug)]
pub(super) struct ApiKeys<'a> {
    core: &'a Core,
}

impl<'a> ApiKeys<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Makes sure that there is a key, and that this process has it.
    pub(super) async fn prepare(&self) -> Result<()> {
        self.key().await.map(drop)
    }

    pub(super) async fn sign(&self, token: &ApiToken) -> Result<SecretString> {
        self.key().await?.sign(token)
    }

    /// The id of the token that a JWT is, if we signed it as one. `None` gives no reason.
    pub(super) async fn verify(&self, jwt: &SecretString) -> Result<Option<ApiTokenId>> {
        let jwt = jwt.expose_secret();
        let number = named_key(jwt).and_then(|kid| kid.strip_prefix(KEY_ID)?.parse().ok());
        let Some(number) = number else {
            return Ok(None);
        };
        if self.core.api_key_cache.get(number).is_none() {
            // Made by another replica, or before this process began.
            self.load().await?;
        }
        let key = self.core.api_key_cache.get(number);
        Ok(key.and_then(|key| key.verify(jwt)))
    }

    async fn key(&self) -> Result<Arc<ApiKey>> {
        let ready = &self.core.api_key_cache;
        if let Some(key) = ready.newest() {
            return Ok(key);
        }
        let _turn = ready.making.lock().await;
        if ready.newest().is_none() {
            self.load().await?;
        }
        if ready.newest().is_none() {
            self.make().await?;
        }
        ready
            .newest()
            .ok_or_else(|| Error::internal("no key for API tokens was made"))
    }

    async fn load(&self) -> Result<()> {
        let vault = Arc::clone(&self.core.data_keys);
        let opened = self
            .core
            .store
            .read(move |connection| {
                // The server key may be changed at this very moment.
                connection.snapshot(|connection| vault.open_data_keys(connection, API_JWT))
            })
            .await?;
        self.ready(opened)
    }

    /// Makes the first key, unless another replica was faster.
    async fn make(&self) -> Result<()> {
        let private = tokio::task::spawn_blocking(certificates::make_rsa_key)
            .await
            .map_err(Error::internal)??;
        let private = Arc::new(private);
        let nonce = self.core.random.bytes()?;
        let (vault, now) = (Arc::clone(&self.core.data_keys), self.core.clock.now());
        let opened = self
            .core
            .store
            .write(Lock::Catalog, move |connection| {
                // The lock makes this look the decisive one.
                let held = vault.open_data_keys(connection, API_JWT)?;
                if !held.is_empty() {
                    return Ok(held);
                }
                let material = private.expose_secret();
                vault.insert_data_key(connection, API_JWT, material, nonce, now)?;
                vault.open_data_keys(connection, API_JWT)
            })
            .await?;
        self.ready(opened)
    }

    fn ready(&self, opened: Vec<(i64, SecretBox<Vec<u8>>)>) -> Result<()> {
        for (number, private) in opened {
            if self.core.api_key_cache.get(number).is_some() {
                continue;
            }
            let key = Arc::new(ApiKey::new(number, &private)?);
            self.core
                .api_key_cache
                .keys
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(number, key);
        }
        Ok(())
    }
}
