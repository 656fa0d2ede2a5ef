//! Roles: what an account may do.

use std::fmt;

use crate::error::{Error, Result};

/// The stored resource name that stands for every resource.
const EVERY_RESOURCE: &str = "*";

/// Something that permissions speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Registries and their settings.
    Registry,
    /// Registry tokens.
    Token,
    /// Accounts, roles and memberships.
    Access,
    /// What registries hold: reading is pulling, writing is pushing and deleting.
    Image,
}

impl Resource {
    /// The name in the `role_permissions` table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Registry => "Registry",
            Self::Token => "Token",
            Self::Access => "Access",
            Self::Image => "Image",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far a permission goes; writing includes reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// May look.
    Read = 1,
    /// May look and change.
    Write = 2,
}

impl Level {
    /// The level that the `role_permissions` table holds as a number; anything else grants nothing.
    #[must_use]
    pub fn from_stored(level: i64) -> Option<Self> {
        match level {
            1 => Some(Self::Read),
            2 => Some(Self::Write),
            _ => None,
        }
    }
}

/// The union of what an account's roles permit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions(Vec<(String, Level)>);

impl Permissions {
    /// Adds what one row of a role permits. Rows only ever add up.
    pub fn grant(&mut self, resource: String, level: Level) {
        self.0.push((resource, level));
    }

    /// Is this permitted?
    #[must_use]
    pub fn allow(&self, resource: Resource, level: Level) -> bool {
        self.0.iter().any(|(name, held)| {
            *held >= level && (name == EVERY_RESOURCE || name == resource.name())
        })
    }

    /// Refuses what is not permitted.
    pub fn require(&self, resource: Resource, level: Level) -> Result<()> {
        if self.allow(resource, level) {
            return Ok(());
        }
        let verb = if level == Level::Read {
            "read"
        } else {
            "write"
        };
        Err(Error::Forbidden(format!(
            "your roles do not permit this; it needs a role with {verb} permission for {resource}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_includes_reading_and_the_star_every_resource() {
        let mut analyst = Permissions::default();
        analyst.grant("*".to_owned(), Level::Read);
        assert!(analyst.allow(Resource::Token, Level::Read));
        assert!(!analyst.allow(Resource::Token, Level::Write));

        let mut narrow = Permissions::default();
        narrow.grant("Token".to_owned(), Level::Write);
        assert!(narrow.allow(Resource::Token, Level::Read));
        assert!(!narrow.allow(Resource::Registry, Level::Read));
        assert!(matches!(
            narrow.require(Resource::Registry, Level::Read),
            Err(Error::Forbidden(_))
        ));
        assert!(!Permissions::default().allow(Resource::Registry, Level::Read));
    }
}
