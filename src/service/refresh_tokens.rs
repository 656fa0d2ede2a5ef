//! Refresh tokens of registries' clients, which replace the stored secret of an earlier login.
//!
//! Nothing is stored for one. It names a registry and an owner, and is bound to the hash of the very secret of the
//! login and to a random id beside that. So it lives as long as the secret, through restores, moves and new roles: keys
//! and versions alone would fit something else after a restore. The hash ends it with the secret, also in an earlier
//! release that knows of no id; the id ends it when the token or the account is disabled.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA256};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::core::Core;
use super::references::{Reference, Who};
use crate::domain::id::RegistryKey;
use crate::domain::rotation::Generation;
use crate::domain::secret::REFRESH_PREFIX;
use crate::domain::tenant::Tenant;
use crate::error::Result;
use crate::store::{Session, accounts, app_tokens, credentials};

/// The context that refresh tokens are sealed to.
const CONTEXT: &str = "refresh-token";
/// The user names under which clients present one as a password: Docker's for what it keeps in a helper, and Azure's.
const USERS: [&str; 2] = ["<token>", "00000000-0000-0000-0000-000000000000"];

/// The secret that a refresh token is bound to.
type Binding = [u8; 32];

/// The content of a refresh token of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefreshToken {
    /// The owner of the secret that it was given for.
    Bound {
        registry: RegistryKey,
        who: Who,
        to: Binding,
    },
    /// The same in the form of an earlier release: it ends with a change of the account, and with a restore.
    Versioned(Reference),
}

/// Returns true if this is a refresh token that comes as a password.
pub(super) fn is_password(name: &str, password: &SecretString) -> bool {
    USERS.contains(&name) && password.expose_secret().starts_with(REFRESH_PREFIX)
}

/// The refresh token for a holder with this reference. `None` if the holder is gone meanwhile.
pub(super) fn of(
    connection: &mut Session,
    tenant: &Tenant,
    holder: &Reference,
) -> Result<Option<RefreshToken>> {
    let candidates = candidates(connection, tenant, holder.who)?;
    let found = candidates.into_iter().find(|(known, _)| known == holder);
    Ok(
        found
            .map(|(Reference { registry, who, .. }, to)| RefreshToken::Bound { registry, who, to }),
    )
}

impl RefreshToken {
    pub(super) fn seal(&self, core: &Core) -> Result<SecretString> {
        let bytes = self.to_bytes();
        let sealed = core.data_keys.seal_text(&*core.random, CONTEXT, &bytes)?;
        Ok(format!("{REFRESH_PREFIX}{sealed}").into())
    }

    /// Opens it, if it is one of ours. `None` gives no reason.
    pub(super) fn open(core: &Core, token: &SecretString) -> Option<Self> {
        let sealed = token.expose_secret().strip_prefix(REFRESH_PREFIX)?;
        Self::from_bytes(&core.data_keys.open_text(CONTEXT, sealed)?)
    }

    pub(super) fn registry(&self) -> RegistryKey {
        match self {
            Self::Bound { registry, .. } => *registry,
            Self::Versioned(reference) => reference.registry,
        }
    }

    /// The owner of the secret that it was issued for.
    pub(super) fn who(&self) -> Who {
        match self {
            Self::Bound { who, .. } => *who,
            Self::Versioned(reference) => reference.who,
        }
    }

    /// The reference to its present holder. `None` if the holder is gone, or if the refresh token is of another
    /// registry.
    pub(super) fn reference(
        &self,
        connection: &mut Session,
        tenant: &Tenant,
    ) -> Result<Option<Reference>> {
        if self.registry() != tenant.key {
            return Ok(None);
        }
        let (who, to) = match self {
            Self::Bound { who, to, .. } => (*who, to),
            Self::Versioned(reference) => return Ok(Some(*reference)),
        };
        let candidates = candidates(connection, tenant, who)?;
        let found = candidates
            .into_iter()
            .find(|(_, known)| verify_slices_are_equal(known, to).is_ok());
        Ok(found.map(|(reference, _)| reference))
    }

    fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Bound { registry, who, to } => {
                let version = 0;
                let whose = Reference {
                    registry,
                    who,
                    version,
                };
                [&whose.to_bytes()[..], &to].concat()
            }
            Self::Versioned(reference) => reference.to_bytes().to_vec(),
        }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if let Some(reference) = Reference::from_bytes(bytes) {
            return Some(Self::Versioned(reference));
        }
        let (whose, to) = bytes.split_last_chunk()?;
        let Reference { registry, who, .. } = Reference::from_bytes(whose)?;
        Some(Self::Bound {
            registry,
            who,
            to: *to,
        })
    }
}

/// The owner that a refresh token may stand for, and the secrets that it may be bound to: a token can have two.
fn candidates(
    connection: &mut Session,
    tenant: &Tenant,
    who: Who,
) -> Result<Vec<(Reference, Binding)>> {
    let reference = |version| Reference {
        registry: tenant.key,
        who,
        version,
    };
    let bound = |id: Option<Uuid>, hash: &[u8]| bind(tenant.id.0, id, hash);
    Ok(match who {
        Who::Token(token) => {
            let Some((found, _)) = credentials::credential(connection, tenant.home(), token)?
            else {
                return Ok(Vec::new());
            };
            let current = Some((Generation::Current, &found.secret));
            let previous = found.previous.as_ref();
            let previous = previous.map(|secret| (Generation::Previous, secret));
            let secrets = current.into_iter().chain(previous);
            let id = found.refresh_id;
            secrets
                .map(|(generation, secret)| {
                    let version = found.version_of(generation);
                    (reference(version), bound(id, &secret.digest))
                })
                .collect()
        }
        Who::Account(account) => accounts::secret(connection, account)?
            .map(|kept| {
                let hash = kept.password_hash.unwrap_or_default();
                let to = bound(kept.refresh_id, hash.as_bytes());
                (reference(kept.version), to)
            })
            .into_iter()
            .collect(),
        Who::AppToken(token) => {
            let Some(found) = app_tokens::credential(connection, token)? else {
                return Ok(Vec::new());
            };
            // A code has no id of its own, and is only disabled with its owner.
            let owner = accounts::secret(connection, found.account)?;
            let id = owner.and_then(|owner| owner.refresh_id);
            vec![(reference(0), bound(id, &found.secret.digest))]
        }
        // A workload gets none: its issuer makes it a new JWT at any time.
        Who::Trust(_) => Vec::new(),
    })
}

/// The registry's id is in it too: after two restores of one backup its key can be another registry's.
fn bind(registry: Uuid, id: Option<Uuid>, hash: &[u8]) -> Binding {
    let mut context = Context::new(&SHA256);
    context.update(CONTEXT.as_bytes());
    context.update(registry.as_bytes());
    context.update(id.unwrap_or_default().as_bytes());
    context.update(hash);
    let mut binding = Binding::default();
    binding.copy_from_slice(context.finish().as_ref());
    binding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{AccountKey, AppTokenKey, TokenKey};

    #[test]
    fn refresh_tokens_come_back_as_they_were() {
        let registry = RegistryKey(-3);
        for who in [
            Who::Token(TokenKey(7)),
            Who::Account(AccountKey(i64::MAX)),
            Who::AppToken(AppTokenKey(1)),
        ] {
            let (to, version) = ([9; 32], 12);
            let bound = RefreshToken::Bound { registry, who, to };
            let versioned = RefreshToken::Versioned(Reference {
                registry,
                who,
                version,
            });
            for token in [bound, versioned] {
                assert_eq!(RefreshToken::from_bytes(&token.to_bytes()), Some(token));
            }
        }
        for wrong in [0, 24, 26, 32, 56, 58] {
            assert_eq!(RefreshToken::from_bytes(&vec![1; wrong]), None, "{wrong}");
        }
    }

    #[test]
    fn each_part_binds() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (id, hash) = (Some(Uuid::from_u128(3)), [1; 32]);
        let bound = bind(one, id, &hash);
        assert_eq!(bind(one, id, &hash), bound);
        for different in [
            bind(other, id, &hash),
            bind(one, Some(Uuid::from_u128(4)), &hash),
            bind(one, None, &hash),
            bind(one, id, &[2; 32]),
        ] {
            assert_ne!(different, bound);
        }
    }
}
