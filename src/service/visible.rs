//! Registries, and things that were found under their ids, as far as an actor may know of them.

use crate::domain::account::Actor;
use crate::domain::id::{RegistryId, RegistryKey};
use crate::domain::membership::{Membership, Rights};
use crate::domain::registry::Registry;
use crate::domain::tenant::{Home, Tenant, TokenRules};
use crate::error::{Error, Result, What};

/// A thing that was found under a registry's id.
pub(super) trait OfRegistry {
    /// The registry's key.
    fn registry(&self) -> RegistryKey;
}

impl OfRegistry for RegistryKey {
    fn registry(&self) -> RegistryKey {
        *self
    }
}

impl OfRegistry for Registry {
    fn registry(&self) -> RegistryKey {
        self.key
    }
}

impl OfRegistry for TokenRules {
    fn registry(&self) -> RegistryKey {
        self.key
    }
}

impl OfRegistry for Home {
    fn registry(&self) -> RegistryKey {
        self.rules.key
    }
}

impl OfRegistry for Tenant {
    fn registry(&self) -> RegistryKey {
        self.key
    }
}

/// Returns the thing found under a registry's id, and the actor's rights on it.
///
/// # Errors
///
/// [`Error::NotFound`] if there is nothing, or nothing that the actor may know of: the two look alike.
pub(super) fn visible<T: OfRegistry>(
    actor: &Actor,
    id: RegistryId,
    found: Option<(T, Option<Membership>)>,
) -> Result<(T, Rights)> {
    found
        .map(|(thing, membership)| {
            let rights = actor.on(thing.registry(), membership);
            (thing, rights)
        })
        .filter(|(_, rights)| rights.visible)
        .ok_or_else(|| Error::not_found(What::Registry, id))
}
