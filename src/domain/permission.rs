//! Resources of permissions, and their levels.

use std::fmt;

use crate::error::Reach;

/// The resource of a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Registries and their settings.
    Registry,
    /// Registry tokens.
    Token,
    /// Accounts, roles and memberships.
    Access,
    /// Images in registries: reading is pulling, writing is pushing and deleting.
    Image,
    /// API tokens.
    Integration,
    /// The service itself: audit, keys, backup.
    Administration,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Access,
        Self::Administration,
        Self::Image,
        Self::Integration,
        Self::Registry,
        Self::Token,
    ];

    /// The name in the `role_permissions` table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Registry => "Registry",
            Self::Token => "Token",
            Self::Access => "Access",
            Self::Image => "Image",
            Self::Integration => "Integration",
            Self::Administration => "Administration",
        }
    }

    /// Returns true if it belongs to registries. Then a role that names it counts only for members of a registry.
    #[must_use]
    pub fn is_of_registries(self) -> bool {
        match self {
            Self::Registry | Self::Token | Self::Image => true,
            Self::Access | Self::Integration | Self::Administration => false,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The level of a permission; writing includes reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// May look.
    Read = 1,
    /// May look and change.
    Write = 2,
}

impl Level {
    /// The level of a number in the `role_permissions` table; any other number grants nothing.
    #[must_use]
    pub fn from_stored(level: i64) -> Option<Self> {
        match level {
            1 => Some(Self::Read),
            2 => Some(Self::Write),
            _ => None,
        }
    }

    /// The verb of the level.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl From<Level> for Reach {
    fn from(level: Level) -> Self {
        match level {
            Level::Read => Self::Read,
            Level::Write => Self::Write,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_numbers_of_levels_grant_something() {
        for (number, level) in [
            (-1, None),
            (0, None),
            (1, Some(Level::Read)),
            (2, Some(Level::Write)),
            (3, None),
        ] {
            assert_eq!(Level::from_stored(number), level, "{number}");
        }
        assert_eq!(Reach::from(Level::Read), Reach::Read);
        assert_eq!(Reach::from(Level::Write), Reach::Write);
        for resource in Resource::ALL {
            assert_eq!(resource.to_string(), resource.name());
        }
    }
}
