//! Roles: what an account may do.

use std::fmt;

use super::membership::{Images, Membership, Rights};
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

    /// Does it belong to registries? Then a role that names it counts only where the account is a member.
    #[must_use]
    pub fn is_of_registries(self) -> bool {
        match self {
            Self::Registry | Self::Token | Self::Image => true,
            Self::Access => false,
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

    /// What one does with it.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// Rows of roles: a resource by its stored name, and how far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Table(Vec<(String, Level)>);

impl Table {
    fn named(&self, name: &str) -> Option<Level> {
        let rows = self.0.iter().filter(|(held, _)| held == name);
        rows.map(|(_, level)| *level).max()
    }

    /// What `*` permits of a resource. Reading everything is looking at what this service keeps, not pulling images.
    fn by_star(&self, name: &str) -> Option<Level> {
        self.named(EVERY_RESOURCE)
            .filter(|level| name != Resource::Image.name() || *level == Level::Write)
    }

    /// By its name or by `*`.
    fn reach(&self, name: &str) -> Option<Level> {
        self.named(name).max(self.by_star(name))
    }
}

/// The union of what an account's roles permit, within the bounds of what acts for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    granted: Table,
    /// Nothing goes beyond any of these, whatever is granted.
    bounds: Vec<Table>,
}

impl Permissions {
    /// Adds what one row of a role permits. Rows only ever add up.
    pub fn grant(&mut self, resource: String, level: Level) {
        self.granted.0.push((resource, level));
    }

    /// These permissions, where they do not exceed others: those of a token that acts for the account.
    ///
    /// A bound speaks of every registry, also by name: what it names is capped, memberships and all, and nothing is
    /// added. So a token with a role that writes tokens lets its Admin write tokens everywhere, and nothing else.
    #[must_use]
    pub fn bounded_by(mut self, bound: Self) -> Self {
        self.bounds.push(bound.granted);
        self.bounds.extend(bound.bounds);
        self
    }

    /// Is this permitted everywhere? Of what belongs to registries a role that names it permits nothing but where the
    /// account is a member; see [`Permissions::on`].
    #[must_use]
    pub fn allow(&self, resource: Resource, level: Level) -> bool {
        self.capped(resource, self.everywhere(resource)) >= Some(level)
    }

    /// Refuses what is not permitted everywhere.
    pub fn require(&self, resource: Resource, level: Level) -> Result<()> {
        if self.allow(resource, level) {
            return Ok(());
        }
        Err(forbidden(resource, level))
    }

    /// Refuses what could not even be permitted to a member of a registry.
    pub fn require_somewhere(&self, resource: Resource, level: Level) -> Result<()> {
        let most = if resource.is_of_registries() {
            Some(Level::Write)
        } else {
            self.everywhere(resource)
        };
        if self.capped(resource, most) >= Some(level) {
            return Ok(());
        }
        Err(forbidden(resource, level))
    }

    /// May every registry be known of?
    #[must_use]
    pub fn see_all(&self) -> bool {
        self.everywhere(Resource::Registry) >= Some(Level::Read)
    }

    /// What is permitted on a registry, to a member of it or to none.
    #[must_use]
    pub fn on(&self, membership: Option<Membership>) -> Rights {
        let held = |resource: Resource| {
            let everywhere = self.everywhere(resource);
            match membership {
                None => everywhere,
                Some(membership) => everywhere
                    .max(self.granted.named(resource.name()))
                    .max(membership.permits(resource)),
            }
        };
        let level = |resource| self.capped(resource, held(resource));
        let images = Images::of(held(Resource::Image))
            .max(membership.map_or(Images::Nothing, Membership::images))
            .min(Images::of(self.capped(Resource::Image, Some(Level::Write))));
        Rights {
            visible: membership.is_some() || self.see_all(),
            registry: level(Resource::Registry),
            token: level(Resource::Token),
            access: level(Resource::Access),
            images,
        }
    }

    /// Do these include all that others permit? What one lacks oneself one cannot give to others.
    #[must_use]
    pub fn cover(&self, others: &Self) -> bool {
        let mine = || std::iter::once(&self.granted).chain(&self.bounds);
        let mut rows = others.granted.0.iter();
        rows.all(|(name, level)| mine().all(|table| table.reach(name) >= Some(*level)))
    }

    fn everywhere(&self, resource: Resource) -> Option<Level> {
        let by_star = self.granted.by_star(resource.name());
        if resource.is_of_registries() {
            by_star
        } else {
            by_star.max(self.granted.named(resource.name()))
        }
    }

    fn capped(&self, resource: Resource, level: Option<Level>) -> Option<Level> {
        let bounds = self.bounds.iter();
        bounds.fold(level, |level, bound| {
            level.min(bound.reach(resource.name()))
        })
    }
}

fn forbidden(resource: Resource, level: Level) -> Error {
    Error::Forbidden(format!(
        "your roles do not permit this; it needs a role with {} permission for {resource}",
        level.verb()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(rows: &[(&str, Level)]) -> Permissions {
        let mut permissions = Permissions::default();
        for (resource, level) in rows {
            permissions.grant((*resource).to_owned(), *level);
        }
        permissions
    }

    /// Registry, Token, Access: `-`, `r` or `w`; images: the letters of their actions; `!` where it is invisible.
    fn line(rights: Rights) -> String {
        let letter = |level: Option<Level>| level.map_or("-", |level| &level.verb()[..1]);
        let images = match rights.images {
            Images::Nothing => "-",
            Images::Pull => "pull",
            Images::Push => "push",
            Images::Delete => "delete",
        };
        format!(
            "{}{}{}{} {images}",
            if rights.visible { "" } else { "!" },
            letter(rights.registry),
            letter(rights.token),
            letter(rights.access),
        )
    }

    type Row = (
        &'static str,
        &'static [(&'static str, Level)],
        [&'static str; 4],
    );

    /// Who, the rows of the roles, and the rights on a registry of which one is nothing, reader, maintainer, owner.
    const TABLE: [Row; 8] = [
        (
            "nobody",
            &[],
            ["!--- -", "rr- pull", "rw- push", "www delete"],
        ),
        ("Admin", &[("*", Level::Write)], ["www delete"; 4]),
        (
            "Analyst",
            &[("*", Level::Read)],
            ["rrr -", "rrr pull", "rwr push", "www delete"],
        ),
        (
            "Continuous Integration",
            &[("Token", Level::Write), ("Image", Level::Write)],
            ["!--- -", "rw- delete", "rw- delete", "www delete"],
        ),
        (
            "Sensor Creator",
            &[("Token", Level::Write)],
            ["!--- -", "rw- pull", "rw- push", "www delete"],
        ),
        (
            "Registry by name",
            &[("Registry", Level::Write)],
            ["!--- -", "wr- pull", "ww- push", "www delete"],
        ),
        (
            "Access",
            &[("Access", Level::Write)],
            ["!--w -", "rrw pull", "rww push", "www delete"],
        ),
        (
            "Image read, and other products' resources",
            &[("Image", Level::Read), ("Cluster", Level::Write)],
            ["!--- -", "rr- pull", "rw- push", "www delete"],
        ),
    ];

    #[test]
    fn rights_are_the_union_of_roles_and_membership() {
        let memberships = [
            None,
            Some(Membership::Reader),
            Some(Membership::Maintainer),
            Some(Membership::Owner),
        ];
        for (who, rows, expected) in TABLE {
            let permissions = permissions(rows);
            let found = memberships.map(|membership| line(permissions.on(membership)));
            assert_eq!(found, expected, "{who}");
        }
    }

    #[test]
    fn bounds_take_and_never_add() {
        let builder = permissions(&[("Token", Level::Write), ("Image", Level::Write)]);
        let analyst = permissions(&[("*", Level::Read)]);
        let admin = permissions(&[("*", Level::Write)]);
        let puller = permissions(&[("Image", Level::Read)]);
        for (what, bounded, expected) in [
            (
                "an Admin's token of a builder writes tokens everywhere, and no more",
                admin.clone().bounded_by(builder.clone()),
                ["-w- delete", "-w- delete"],
            ),
            (
                "an Admin's token of an Analyst pulls nothing",
                admin.clone().bounded_by(analyst.clone()),
                ["rrr -", "rrr -"],
            ),
            (
                "a builder's token of an Admin is a builder",
                builder.clone().bounded_by(admin.clone()),
                ["!--- -", "www delete"],
            ),
            (
                "a bound is bounded in turn",
                admin.clone().bounded_by(builder.clone().bounded_by(puller)),
                ["--- pull", "--- pull"],
            ),
            (
                "a bound of nothing",
                admin.clone().bounded_by(Permissions::default()),
                ["--- -", "--- -"],
            ),
        ] {
            let found =
                [None, Some(Membership::Owner)].map(|membership| line(bounded.on(membership)));
            assert_eq!(found, expected, "{what}");
        }
        let bounded = admin.bounded_by(builder);
        assert!(
            bounded
                .require_somewhere(Resource::Token, Level::Write)
                .is_ok()
        );
        assert!(
            bounded
                .require_somewhere(Resource::Registry, Level::Read)
                .is_err()
        );
        assert!(!bounded.allow(Resource::Access, Level::Read));
        assert!(!bounded.cover(&analyst));
    }

    #[test]
    fn nobody_covers_more_than_they_hold() {
        let star = |level| permissions(&[("*", level)]);
        let named = |name, level| permissions(&[(name, level)]);
        let nobody = Permissions::default();
        for (mine, others, covers) in [
            (star(Level::Write), star(Level::Write), true),
            (star(Level::Write), named("Cluster", Level::Write), true),
            (star(Level::Read), star(Level::Read), true),
            (star(Level::Read), star(Level::Write), false),
            (star(Level::Read), named("Token", Level::Read), true),
            // It reads everything but images.
            (star(Level::Read), named("Image", Level::Read), false),
            (
                named("Token", Level::Write),
                named("Token", Level::Write),
                true,
            ),
            (
                named("Token", Level::Read),
                named("Token", Level::Write),
                false,
            ),
            (named("Token", Level::Write), star(Level::Read), false),
            (
                named("Token", Level::Write),
                named("Access", Level::Read),
                false,
            ),
            (nobody.clone(), nobody.clone(), true),
            (nobody.clone(), named("Token", Level::Read), false),
        ] {
            assert_eq!(mine.cover(&others), covers, "{mine:?} {others:?}");
        }
        for (membership, covered) in [
            (None, [false; 3]),
            (Some(Membership::Reader), [true, false, false]),
            (Some(Membership::Maintainer), [true, true, false]),
            (Some(Membership::Owner), [true; 3]),
        ] {
            let rights = nobody.on(membership);
            assert_eq!(Membership::ALL.map(|given| rights.cover(given)), covered);
        }
        // Who manages accounts has nothing of the registries to give.
        let manager = named("Access", Level::Write).on(None);
        assert!(manager.allow(Resource::Access, Level::Write));
        assert!(!manager.cover(Membership::Reader));
    }

    #[test]
    fn of_registries_a_role_by_name_permits_nothing_everywhere() {
        let builder = permissions(&[("Token", Level::Write), ("Access", Level::Read)]);
        assert!(!builder.allow(Resource::Token, Level::Read));
        assert!(builder.allow(Resource::Access, Level::Read));
        assert!(matches!(
            builder.require(Resource::Token, Level::Read),
            Err(Error::Forbidden(_))
        ));
        assert!(
            builder
                .require_somewhere(Resource::Registry, Level::Write)
                .is_ok()
        );
        assert!(
            builder
                .require_somewhere(Resource::Access, Level::Write)
                .is_err()
        );
        assert!(!builder.see_all());
        let analyst = permissions(&[("*", Level::Read)]);
        assert!(analyst.see_all());
        assert!(analyst.allow(Resource::Token, Level::Read));
        assert!(!analyst.allow(Resource::Token, Level::Write));
        assert!(!analyst.allow(Resource::Image, Level::Read));
    }
}
