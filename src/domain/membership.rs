//! Memberships: the level of an account on a single registry, and its rights there.
//!
//! Owns the permissions of each level, and the combined rights of a membership and an account's roles. Refuses to know
//! where memberships are kept.

use std::fmt;

use super::id::{AccountId, AccountKey, RegistryKey};
use super::permission::{Level, Resource};
use super::precondition::Tag;
use super::scope::{CATALOG, REGISTRY, REPOSITORY, REPOSITORY_ACTIONS};
use super::status::Status;
use super::text::quoted;
use super::token_scope::Scope;
use crate::error::{Error, Field, Result};

/// The level of an account on a registry; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Membership {
    /// Sees the registry and its tokens, and pulls.
    Reader,
    /// Manages tokens too, and pushes.
    Maintainer,
    /// Manages the registry and its members too, and deletes.
    Owner,
}

impl Membership {
    /// Every level, the lowest first.
    pub const ALL: [Self; 3] = [Self::Reader, Self::Maintainer, Self::Owner];

    /// The word on the wire and in the tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Maintainer => "maintainer",
            Self::Owner => "owner",
        }
    }

    /// The level of a stored word. An unknown word is none, and so permits nothing.
    #[must_use]
    pub fn from_stored(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }

    /// Reads a level as a caller sends it.
    pub fn parse(text: &str) -> Result<Self> {
        Self::from_stored(text).ok_or_else(|| {
            Error::invalid(
                Field::Level,
                format!(
                    "level {} is none of \"owner\", \"maintainer\", \"reader\"",
                    quoted(text)
                ),
            )
        })
    }

    /// Its permission on its registry. Members are of the resource Access there.
    #[must_use]
    pub fn permits(self, resource: Resource) -> Option<Level> {
        match (resource, self) {
            (
                Resource::Registry | Resource::Token | Resource::Access | Resource::Image,
                Self::Owner,
            )
            | (Resource::Token, Self::Maintainer) => Some(Level::Write),
            (Resource::Registry | Resource::Token | Resource::Image, _) => Some(Level::Read),
            (Resource::Access | Resource::Integration | Resource::Administration, _) => None,
        }
    }

    /// Its rights on the registry's images. A maintainer pushes and does not delete, which no [`Level`] expresses.
    #[must_use]
    pub fn images(self) -> Images {
        match self {
            Self::Reader => Images::Pull,
            Self::Maintainer => Images::Push,
            Self::Owner => Images::Delete,
        }
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An account as a member of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The registry's internal key.
    pub registry: RegistryKey,
    /// The account's internal key.
    pub key: AccountKey,
    /// The account.
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// The status of the account.
    pub status: Status,
    /// The level on the registry.
    pub level: Membership,
}

impl Member {
    /// The tag of its state. Changes of a membership are not counted, so the tag has all that can change.
    #[must_use]
    pub fn tag(&self) -> Tag {
        let level = match self.level {
            Membership::Reader => 1,
            Membership::Maintainer => 2,
            Membership::Owner => 3,
        };
        let disabled = 4 * u8::from(self.status == Status::Disabled);
        Tag {
            key: self.registry.0,
            version: self.key.0,
            state: level + disabled,
        }
    }
}

/// The rights on a registry's images; each includes those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Images {
    /// No access.
    #[default]
    Nothing,
    /// Pull.
    Pull,
    /// Push.
    Push,
    /// Delete.
    Delete,
}

impl Images {
    /// The rights of a permission for [`Resource::Image`]: reading is pulling, writing is pushing and deleting.
    #[must_use]
    pub fn of(level: Option<Level>) -> Self {
        match level {
            None => Self::Nothing,
            Some(Level::Read) => Self::Pull,
            Some(Level::Write) => Self::Delete,
        }
    }

    /// The actions on repositories, in the order of grants.
    #[must_use]
    pub fn actions(self) -> &'static [&'static str] {
        let count = match self {
            Self::Nothing => 0,
            Self::Pull => 1,
            Self::Push => 2,
            Self::Delete => REPOSITORY_ACTIONS.len(),
        };
        REPOSITORY_ACTIONS.get(..count).unwrap_or_default()
    }

    /// The actions that `other` has and these rights lack.
    #[must_use]
    pub fn lacks_of(self, other: Self) -> &'static [&'static str] {
        other
            .actions()
            .get(self.actions().len()..)
            .unwrap_or_default()
    }

    /// These rights as the scopes of a token: on every repository, and on the catalog if they include pulling.
    #[must_use]
    pub fn scopes(self) -> Vec<Scope> {
        if self == Self::Nothing {
            return Vec::new();
        }
        let scope = |r#type: &str, name: &str, actions: &[&str]| Scope {
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
            name: name.to_owned(),
            r#type: r#type.to_owned(),
        };
        vec![
            scope(REPOSITORY, super::pattern::ANY, self.actions()),
            scope(REGISTRY, CATALOG, &[super::pattern::ANY]),
        ]
    }

    /// The first action of a token's scopes beyond these rights. Words that grant nothing anywhere are never beyond.
    #[must_use]
    pub fn exceeded_by(self, scopes: &[Scope]) -> Option<&str> {
        let held = self.actions();
        let beyond = |scope: &&Scope, action: &&String| match scope.r#type.as_str() {
            REPOSITORY if *action == super::pattern::ANY => self < Self::Delete,
            REPOSITORY => {
                REPOSITORY_ACTIONS.contains(&action.as_str()) && !held.contains(&action.as_str())
            }
            REGISTRY => *action == super::pattern::ANY && self == Self::Nothing,
            _ => false,
        };
        scopes.iter().find_map(|scope| {
            let mut actions = scope.actions.iter();
            actions
                .find(|action| beyond(&scope, action))
                .map(String::as_str)
        })
    }
}

/// The rights of an account on one registry, by its roles and its membership together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// True if it may know that the registry exists.
    pub visible: bool,
    /// On the registry and its settings.
    pub registry: Option<Level>,
    /// On its tokens.
    pub token: Option<Level>,
    /// On its members.
    pub access: Option<Level>,
    /// On its images.
    pub images: Images,
}

impl Rights {
    /// Returns true if this is permitted.
    #[must_use]
    pub fn allow(&self, resource: Resource, level: Level) -> bool {
        match resource {
            Resource::Registry => self.registry >= Some(level),
            Resource::Token => self.token >= Some(level),
            Resource::Access => self.access >= Some(level),
            Resource::Image => self.images >= Images::of(Some(level)),
            // Registries have none of these.
            Resource::Integration | Resource::Administration => false,
        }
    }

    /// Refuses an operation that is not permitted, and names the members that may.
    pub fn require(&self, resource: Resource, level: Level) -> Result<()> {
        if self.allow(resource, level) {
            return Ok(());
        }
        let lowest = Membership::ALL
            .into_iter()
            .find(|membership| membership.permits(resource) >= Some(level));
        let as_what = lowest.map_or(String::new(), |lowest| {
            format!(" from a membership as {lowest} or")
        });
        Err(Error::Forbidden(format!(
            "you may not do this on this registry; it needs {} permission for {resource},{as_what} from a role",
            level.verb()
        )))
    }

    /// Returns true if these rights include all of others. Nobody can give a right that they lack.
    #[must_use]
    pub fn cover(&self, others: &Self) -> bool {
        self.lacks_of(*others).is_empty()
    }

    /// The rights that both these and others have.
    #[must_use]
    pub fn within(self, others: Self) -> Self {
        Self {
            visible: self.visible && others.visible,
            registry: self.registry.min(others.registry),
            token: self.token.min(others.token),
            access: self.access.min(others.access),
            images: self.images.min(others.images),
        }
    }

    /// The level on a resource; pushing without deleting is no more than reading.
    #[must_use]
    pub fn level(&self, resource: Resource) -> Option<Level> {
        let levels = [Level::Write, Level::Read];
        levels
            .into_iter()
            .find(|level| self.allow(resource, *level))
    }

    /// Returns true if these are all rights.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let every = Some(Level::Write);
        (self.registry, self.token, self.access) == (every, every, every)
            && self.images == Images::Delete
    }

    /// The rights that others include and these lack, each as a phrase.
    pub(super) fn lacks_of(self, others: Self) -> Vec<String> {
        let levels = [
            (Resource::Registry, self.registry, others.registry),
            (Resource::Token, self.token, others.token),
            (Resource::Access, self.access, others.access),
        ];
        let levels = levels.into_iter().filter_map(|(resource, held, other)| {
            let beyond = other.filter(|_| other > held)?;
            Some(format!("{} permission for {resource}", beyond.verb()))
        });
        let actions = self.images.lacks_of(others.images).iter();
        let actions = actions.map(|action| format!("the action {action} on its images"));
        levels.chain(actions).collect()
    }

    /// Refuses a token whose scopes go beyond these rights.
    pub fn require_scopes(&self, scopes: &[Scope]) -> Result<()> {
        let Some(action) = self.images.exceeded_by(scopes) else {
            return Ok(());
        };
        let held = match self.images.actions() {
            [] => "nothing".to_owned(),
            actions => actions.join(", "),
        };
        Err(Error::Forbidden(format!(
            "the scopes grant {}, but your rights on the images of this registry are: {held}; nobody obtains more \
             rights than they have",
            quoted(action)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(r#type: &str, actions: &[&str]) -> Scope {
        Scope {
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
            name: "team/app".to_owned(),
            r#type: r#type.to_owned(),
        }
    }

    #[test]
    fn levels_are_what_they_are_called() {
        for level in Membership::ALL {
            assert_eq!(Membership::parse(level.as_str()).unwrap(), level);
        }
        for wrong in ["", "Owner", "owner ", "admin"] {
            assert_eq!(Membership::from_stored(wrong), None);
            assert!(Membership::parse(wrong).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn images_as_scopes_grant_what_they_say() {
        for (images, actions) in [
            (Images::Nothing, &[] as &[&str]),
            (Images::Pull, &["pull"]),
            (Images::Push, &["pull", "push"]),
            (Images::Delete, &["pull", "push", "delete"]),
        ] {
            let scopes = images.scopes();
            let wanted = super::super::scope::parse_requested(["repository:a/b:*"]).unwrap();
            let granted = super::super::scope::granted(&scopes, &wanted[0]);
            assert_eq!(granted, actions, "{images:?}");
            let wanted = super::super::scope::parse_requested(["registry:catalog:*"]).unwrap();
            let granted = super::super::scope::granted(&scopes, &wanted[0]);
            assert_eq!(granted.is_empty(), actions.is_empty(), "{images:?}");
        }
    }

    #[test]
    fn scopes_that_go_further_are_found() {
        for (images, scopes, beyond) in [
            (Images::Nothing, vec![], None),
            (
                Images::Nothing,
                vec![scope("repository", &["pull"])],
                Some("pull"),
            ),
            (Images::Nothing, vec![scope("registry", &["*"])], Some("*")),
            (Images::Nothing, vec![scope("backup", &["*"])], None),
            (Images::Pull, vec![scope("registry", &["*"])], None),
            (
                Images::Pull,
                vec![
                    scope("repository", &["pull"]),
                    scope("repository", &["list", "push"]),
                ],
                Some("push"),
            ),
            (
                Images::Push,
                vec![scope("repository", &["pull", "push"])],
                None,
            ),
            (
                Images::Push,
                vec![scope("repository", &["delete"])],
                Some("delete"),
            ),
            (Images::Push, vec![scope("repository", &["*"])], Some("*")),
            (
                Images::Delete,
                vec![scope("repository", &["*", "delete"])],
                None,
            ),
        ] {
            assert_eq!(images.exceeded_by(&scopes), beyond, "{images:?} {scopes:?}");
        }
    }

    #[test]
    fn rights_permit_what_they_hold_and_nothing_more() {
        let held = Rights {
            visible: true,
            registry: Some(Level::Read),
            token: Some(Level::Write),
            access: None,
            images: Images::Pull,
        };
        for (resource, level) in [
            (Resource::Registry, Some(Level::Read)),
            (Resource::Token, Some(Level::Write)),
            (Resource::Access, None),
            (Resource::Image, Some(Level::Read)),
            (Resource::Integration, None),
            (Resource::Administration, None),
        ] {
            for asked in [Level::Read, Level::Write] {
                let permitted = level >= Some(asked);
                assert_eq!(
                    held.allow(resource, asked),
                    permitted,
                    "{resource} {asked:?}"
                );
                assert_eq!(
                    held.require(resource, asked).is_ok(),
                    permitted,
                    "{resource} {asked:?}"
                );
            }
            assert_eq!(held.level(resource), level, "{resource}");
        }
        // The refusal names the lowest level that would do.
        for (resource, level, lowest) in [
            (Resource::Registry, Level::Write, "as owner"),
            (Resource::Access, Level::Read, "as owner"),
            (Resource::Image, Level::Write, "as owner"),
        ] {
            let told = held.require(resource, level).unwrap_err().to_string();
            assert!(told.contains(lowest), "{told}");
        }
    }

    #[test]
    fn rights_are_full_only_if_nothing_is_missing() {
        let full = Rights {
            visible: true,
            registry: Some(Level::Write),
            token: Some(Level::Write),
            access: Some(Level::Write),
            images: Images::Delete,
        };
        assert!(full.is_full());
        let blind = Rights {
            visible: false,
            ..full
        };
        assert!(!full.within(blind).visible && !blind.within(full).visible);
        let read = Some(Level::Read);
        for less in [
            Rights {
                registry: read,
                ..full
            },
            Rights {
                token: read,
                ..full
            },
            Rights {
                access: read,
                ..full
            },
            Rights {
                images: Images::Push,
                ..full
            },
        ] {
            assert!(!less.is_full(), "{less:?}");
            assert!(full.cover(&less) && !less.cover(&full), "{less:?}");
            assert_eq!(full.within(less), less);
            assert_eq!(less.within(full), less);
        }
    }

    #[test]
    fn a_token_gets_no_scope_beyond_the_rights_of_its_maker() {
        let maker = |images| Rights {
            visible: true,
            registry: None,
            token: Some(Level::Write),
            access: None,
            images,
        };
        let pushes = [scope("repository", &["pull", "push"])];
        assert!(maker(Images::Push).require_scopes(&pushes).is_ok());
        for images in [Images::Pull, Images::Nothing] {
            assert!(maker(images).require_scopes(&pushes).is_err(), "{images:?}");
        }
    }

    #[test]
    fn any_change_of_a_member_changes_its_tag() {
        let mut tags = Vec::new();
        for status in [Status::Enabled, Status::Disabled] {
            for level in Membership::ALL {
                let member = Member {
                    registry: RegistryKey(1),
                    key: AccountKey(2),
                    account: AccountId(uuid::Uuid::nil()),
                    name: "alice".to_owned(),
                    status,
                    level,
                };
                tags.push(member.tag().state);
            }
        }
        assert_eq!(tags, [1, 2, 3, 5, 6, 7]);
    }
}
