//! Signing keys made ready to use.

use std::sync::Arc;
use std::time::Duration;

use super::jwt::{Signer, Verifier};
use crate::domain::id::{RegistryKey, SigningKeyNumber};
use crate::metrics;

/// Keys kept ready at once, of either half.
const READY: u64 = 10_000;
/// The time for which an unused private key is kept ready.
const IDLE: Duration = Duration::from_hours(1);
/// Keys made at once.
const GENERATING: usize = 2;

/// Keys that are ready to use, under attributes that never change.
#[derive(Debug)]
pub(super) struct SigningKeyCache {
    pub(super) signers: moka::sync::Cache<SigningKeyNumber, Arc<Signer>>,
    pub(super) verifiers: moka::sync::Cache<String, Arc<Verifier>>,
    /// The counts of lookups in these two caches.
    pub(super) looked_up: [metrics::Cache; 2],
    /// Requests that find no key of their registry wait here for the one that makes it.
    pub(super) making: moka::sync::Cache<RegistryKey, Arc<tokio::sync::Mutex<()>>>,
    /// Keys made at once: each takes a whole core.
    pub(super) generating: tokio::sync::Semaphore,
}

impl SigningKeyCache {
    /// An empty cache.
    #[must_use]
    pub(super) fn new(caches: &metrics::Caches) -> Self {
        Self {
            looked_up: ["signers", "verifiers"].map(|name| caches.cache(name)),
            // Dropped when idle: they are private keys.
            signers: moka::sync::Cache::builder()
                .max_capacity(READY)
                .time_to_idle(IDLE)
                .build(),
            verifiers: moka::sync::Cache::new(READY),
            making: moka::sync::Cache::new(READY),
            generating: tokio::sync::Semaphore::new(GENERATING),
        }
    }

    pub(super) fn ready_signer(&self, number: SigningKeyNumber) -> Option<Arc<Signer>> {
        let [signers, _] = &self.looked_up;
        signers.found(self.signers.get(&number))
    }

    pub(super) fn ready_verifier(&self, kid: &str) -> Option<Arc<Verifier>> {
        let [_, verifiers] = &self.looked_up;
        verifiers.found(self.verifiers.get(kid))
    }

    /// Updates the counts of ready keys.
    pub(super) fn sample(&self) {
        let [signers, verifiers] = &self.looked_up;
        signers.entries(self.signers.entry_count());
        verifiers.entries(self.verifiers.entry_count());
    }
}
