//! References: the content of credentials that outlive a request, by which the owner of their secret is found again.

use crate::domain::id::{AccountKey, AppTokenKey, RegistryKey, TokenKey, TrustKey};
use crate::domain::trust::Trust;

/// The holder that a credential was issued to: internal keys and a version, since names and ids can be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference {
    pub registry: RegistryKey,
    pub who: Who,
    /// The version of the token's secret, or of the account: a change ends everything issued before. App tokens never
    /// change. For a trust see [`Reference::of_trust`].
    pub version: i64,
}

/// The owner that a reference names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Token(TokenKey),
    Account(AccountKey),
    AppToken(AppTokenKey),
    Trust(TrustKey),
}

impl Reference {
    pub(super) const LENGTH: usize = 25;

    /// The reference to a trust. It ends with a new generation of the trust and with any change of its issuer: each
    /// counts in a half of the version of its own.
    pub(super) fn of_trust(trust: &Trust) -> Self {
        Self {
            registry: trust.registry,
            who: Who::Trust(trust.key),
            version: trust.generation << 32 | trust.issuer.version & 0xffff_ffff,
        }
    }

    pub(super) fn to_bytes(self) -> [u8; Self::LENGTH] {
        let (kind, key) = match self.who {
            Who::Token(token) => (1, token.0),
            Who::Account(account) => (2, account.0),
            Who::AppToken(token) => (3, token.0),
            Who::Trust(trust) => (4, trust.0),
        };
        let mut bytes = [kind; Self::LENGTH];
        let parts = [self.registry.0, key, self.version];
        for (place, part) in bytes
            .iter_mut()
            .skip(1)
            .zip(parts.map(i64::to_be_bytes).as_flattened())
        {
            *place = *part;
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (registry, rest) = rest.split_first_chunk::<8>()?;
        let (key, rest) = rest.split_first_chunk::<8>()?;
        let version = i64::from_be_bytes(rest.try_into().ok()?);
        let key = i64::from_be_bytes(*key);
        let who = match kind {
            1 => Who::Token(TokenKey(key)),
            2 => Who::Account(AccountKey(key)),
            3 => Who::AppToken(AppTokenKey(key)),
            4 => Who::Trust(TrustKey(key)),
            _ => return None,
        };
        Some(Self {
            registry: RegistryKey(i64::from_be_bytes(*registry)),
            who,
            version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_come_back_as_they_were() {
        for who in [
            Who::Token(TokenKey(7)),
            Who::Account(AccountKey(i64::MAX)),
            Who::AppToken(AppTokenKey(1)),
            Who::Trust(TrustKey(2)),
        ] {
            let reference = Reference {
                registry: RegistryKey(-3),
                who,
                version: 12,
            };
            assert_eq!(
                Reference::from_bytes(&reference.to_bytes()),
                Some(reference)
            );
        }
        assert_eq!(Reference::from_bytes(&[]), None);
        assert_eq!(Reference::from_bytes(&[5; 25]), None);
        assert_eq!(Reference::from_bytes(&[1; 26]), None);
    }
}
