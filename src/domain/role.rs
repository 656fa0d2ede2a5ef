//! Roles: the permissions of accounts.

use std::collections::BTreeMap;

use super::escalation::{Changeable, Credential};
use super::membership::{Images, Membership, Rights};
use super::permission::{Level, Resource};
use crate::error::{Error, Lack, Reach, Result};

/// The stored resource name that stands for every resource.
const EVERY_RESOURCE: &str = "*";
/// The built-in role without any permission, which does not even let its holders in.
pub const NONE: &str = "None";
/// The names of all resources: ours, and those of StackRox, whose roles use them.
const RESOURCES: [&str; 26] = [
    "Access",
    "Administration",
    "Alert",
    "CVE",
    "Cluster",
    "Compliance",
    "Deployment",
    "DeploymentExtension",
    "Detection",
    "Image",
    "Integration",
    "K8sRole",
    "K8sRoleBinding",
    "K8sSubject",
    "Namespace",
    "NetworkGraph",
    "NetworkPolicy",
    "Node",
    "Registry",
    "Secret",
    "ServiceAccount",
    "Token",
    "VulnerabilityManagementApprovals",
    "VulnerabilityManagementRequests",
    "WatchedImage",
    "WorkflowAdministration",
];

/// Rows of roles: a resource by its stored name, and its level.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Table(Vec<(String, Level)>);

impl Table {
    fn named(&self, name: &str) -> Option<Level> {
        let rows = self.0.iter().filter(|(held, _)| held == name);
        rows.map(|(_, level)| *level).max()
    }

    /// The level that `*` gives on a resource. Reading everything is reading this service's data, not pulling images,
    /// nor, as in StackRox, looking into the service itself.
    fn by_star(&self, name: &str) -> Option<Level> {
        let apart = [Resource::Image, Resource::Administration].map(Resource::name);
        self.named(EVERY_RESOURCE)
            .filter(|level| !apart.contains(&name) || *level == Level::Write)
    }

    /// The level by its name or by `*`.
    fn reach(&self, name: &str) -> Option<Level> {
        self.named(name).max(self.by_star(name))
    }
}

/// The union of the permissions of an account's roles, within the bounds of the API token that acts for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    granted: Table,
    /// The bounds, none of which any permission exceeds.
    bounds: Vec<Table>,
}

impl Permissions {
    /// Adds one row of a role. Rows only ever add up.
    pub fn grant(&mut self, resource: String, level: Level) {
        self.granted.0.push((resource, level));
    }

    /// These permissions, capped by others: those of a token that acts for the account.
    ///
    /// A bound is about every registry, also by name: it caps the resources that it names, memberships included, and
    /// adds nothing. So a token with a role that writes tokens lets its Admin write only tokens, everywhere.
    #[must_use]
    pub fn bounded_by(mut self, bound: Self) -> Self {
        self.bounds.push(bound.granted);
        self.bounds.extend(bound.bounds);
        self
    }

    /// The level that is permitted everywhere. A role that names a resource of registries permits it only on registries
    /// of which the account is a member; see [`Permissions::on`].
    #[must_use]
    pub fn level(&self, resource: Resource) -> Option<Level> {
        self.capped(resource, self.everywhere(resource))
    }

    /// The level that is permitted on registries of which the account is a member, without the membership's own.
    #[must_use]
    pub fn level_of_members(&self, resource: Resource) -> Option<Level> {
        self.level_of(resource.name())
    }

    /// Returns true if this is permitted everywhere, see [`Permissions::level`].
    #[must_use]
    pub fn allow(&self, resource: Resource, level: Level) -> bool {
        self.level(resource) >= Some(level)
    }

    /// Refuses an operation that is not permitted everywhere.
    pub fn require(&self, resource: Resource, level: Level) -> Result<()> {
        if self.allow(resource, level) {
            return Ok(());
        }
        Err(self.lacking(resource, level, self.everywhere(resource)))
    }

    /// Refuses an operation that could not even be permitted to a member of a registry.
    pub fn require_somewhere(&self, resource: Resource, level: Level) -> Result<()> {
        let most = if resource.is_of_registries() {
            Some(Level::Write)
        } else {
            self.everywhere(resource)
        };
        if self.capped(resource, most) >= Some(level) {
            return Ok(());
        }
        Err(self.lacking(resource, level, most))
    }

    /// Returns true if they let the account know of every registry.
    #[must_use]
    pub(super) fn see_all(&self) -> bool {
        self.everywhere(Resource::Registry) >= Some(Level::Read)
    }

    /// The rights on a registry, with a membership of it or without one.
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

    /// Returns true if these include all of others. Nobody can give a permission that they lack.
    #[must_use]
    pub fn cover(&self, others: &Self) -> bool {
        let mine = || std::iter::once(&self.granted).chain(&self.bounds);
        let mut rows = others.granted.0.iter();
        rows.all(|(name, level)| mine().all(|table| table.reach(name) >= Some(*level)))
    }

    /// Returns true if no bound takes anything away, neither elsewhere nor on registries with any of these memberships.
    #[must_use]
    pub fn whole(&self, memberships: &[Membership]) -> bool {
        let unbounded = Self {
            granted: self.granted.clone(),
            bounds: Vec::new(),
        };
        let same =
            |membership: &Membership| self.on(Some(*membership)) == unbounded.on(Some(*membership));
        self.cover(&unbounded) && memberships.iter().all(same)
    }

    /// The permissions of roles that these lack, by resource; empty exactly if these [cover](Self::cover) them.
    #[must_use]
    pub fn lacks_of(&self, roles: &Self) -> Vec<Lack> {
        let lack = |(resource, level): (String, Level)| {
            let held = self.level_of(&resource);
            (held < Some(level)).then(|| Lack {
                resource,
                needed: level.into(),
                held: reach(held),
            })
        };
        let mut lacks: Vec<_> = roles.by_resource().into_iter().filter_map(lack).collect();
        // Every resource is more than all known ones together.
        let (all, held) = (
            roles.level_of(EVERY_RESOURCE),
            self.level_of(EVERY_RESOURCE),
        );
        if let Some(level) = all.filter(|all| lacks.is_empty() && held < Some(*all)) {
            lacks.push(Lack {
                resource: EVERY_RESOURCE.to_owned(),
                needed: level.into(),
                held: reach(held),
            });
        }
        lacks
    }

    /// The level of every permitted resource, by name; those of registries count at least for members.
    #[must_use]
    pub fn by_resource(&self) -> BTreeMap<String, Level> {
        let named = self.granted.0.iter().map(|(name, _)| name.as_str());
        RESOURCES
            .into_iter()
            .chain(named)
            .filter(|name| *name != EVERY_RESOURCE)
            .filter_map(|name| Some((name.to_owned(), self.level_of(name)?)))
            .collect()
    }

    fn level_of(&self, name: &str) -> Option<Level> {
        let bounds = self.bounds.iter();
        bounds.fold(self.granted.reach(name), |level, bound| {
            level.min(bound.reach(name))
        })
    }

    fn lacking(&self, resource: Resource, level: Level, held: Option<Level>) -> Error {
        Error::Unpermitted(Lack {
            resource: resource.name().to_owned(),
            needed: level.into(),
            held: reach(self.capped(resource, held)),
        })
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

/// The permissions of roles are the rights of an API token with these roles.
impl Credential for Permissions {
    type Held = Self;

    fn require_held(&self, held: &Self) -> Result<()> {
        match held.lacks_of(self) {
            lacks if lacks.is_empty() => Ok(()),
            lacks => Err(Error::Excessive(lacks)),
        }
    }
}

/// A role as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name, unique and compared by case.
    pub name: String,
    /// Its permissions.
    pub permissions: Permissions,
}

/// The union of the permissions of roles.
#[must_use]
pub fn union<'a>(roles: impl IntoIterator<Item = &'a Role>) -> Permissions {
    let rows = roles
        .into_iter()
        .flat_map(|role| &role.permissions.granted.0);
    Permissions {
        granted: Table(rows.cloned().collect()),
        bounds: Vec::new(),
    }
}

fn reach(level: Option<Level>) -> Reach {
    level.map_or(Reach::Nothing, Reach::from)
}

/// The rights by a membership of a registry.
#[derive(Debug, Clone, Copy)]
pub struct MemberRights {
    /// The rights of the membership itself: they stay when the account loses its roles.
    alone: Rights,
    /// The rights of the account's roles on it: those that name a resource of registries count for members alone.
    with_roles: Rights,
}

impl MemberRights {
    /// The rights of an account with these permissions, at a level or at none.
    #[must_use]
    pub fn of(permissions: &Permissions, membership: Option<Membership>) -> Self {
        Self {
            alone: Permissions::default().on(membership),
            with_roles: permissions.on(membership),
        }
    }
}

impl Credential for MemberRights {
    type Held = Rights;

    fn require_held(&self, held: &Rights) -> Result<()> {
        let mut lacks = held.lacks_of(self.alone);
        if lacks.is_empty() {
            lacks = held.lacks_of(self.with_roles);
        }
        if lacks.is_empty() {
            return Ok(());
        }
        Err(Error::Forbidden(format!(
            "the account would get rights on this registry that you lack: {}; nobody obtains more rights than they \
             have",
            lacks.join(", ")
        )))
    }
}

impl Changeable for MemberRights {
    fn is_wider_than(&self, before: &Self) -> bool {
        !before.alone.cover(&self.alone) || !before.with_roles.cover(&self.with_roles)
    }
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

    /// The holder, the rows of its roles, and its rights on a registry as nothing, reader, maintainer and owner.
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
            let given = Membership::ALL.map(|given| rights.cover(&nobody.on(Some(given))));
            assert_eq!(given, covered);
        }
        // A manager of accounts has no rights on registries to give.
        let manager = named("Access", Level::Write).on(None);
        assert!(manager.allow(Resource::Access, Level::Write));
        assert!(!manager.cover(&nobody.on(Some(Membership::Reader))));
    }

    #[test]
    fn of_registries_a_role_by_name_permits_nothing_everywhere() {
        let builder = permissions(&[("Token", Level::Write), ("Access", Level::Read)]);
        assert!(!builder.allow(Resource::Token, Level::Read));
        assert!(builder.allow(Resource::Access, Level::Read));
        assert!(matches!(
            builder.require(Resource::Token, Level::Read),
            Err(Error::Unpermitted(_))
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
        assert!(analyst.allow(Resource::Integration, Level::Read));
        assert!(!analyst.allow(Resource::Administration, Level::Read));
    }

    /// The cases of StackRox's `privilege_escalation_test.go` without an access scope: here all roles are unrestricted.
    #[test]
    fn nobody_asks_for_more_than_they_hold() {
        use Level::{Read, Write};
        let write = permissions(&[("Image", Write), ("Deployment", Write)]);
        let read = permissions(&[("Image", Read), ("Deployment", Read)]);
        let none = Permissions::default();
        let parts = permissions(&[("Image", Write), ("Deployment", Write), ("Image", Read)]);
        for (held, asked) in [
            (&none, &none),
            (&write, &none),
            (&read, &read),
            (&write, &read),
            (&parts, &write),
        ] {
            assert_eq!(held.lacks_of(asked), []);
        }
        let lacks = |held| {
            ["Deployment", "Image"].map(|resource| Lack {
                resource: resource.to_owned(),
                needed: Reach::Write,
                held,
            })
        };
        assert_eq!(none.lacks_of(&write), lacks(Reach::Nothing));
        assert_eq!(read.lacks_of(&write), lacks(Reach::Read));
        assert_eq!(
            write.bounded_by(read).lacks_of(&parts),
            lacks(Reach::Read),
            "through a token, what the token may is what one holds"
        );

        let every: Vec<_> = RESOURCES.map(|name| (name, Write)).into();
        let (every, star) = (permissions(&every), permissions(&[("*", Write)]));
        assert_eq!(every.lacks_of(&star).len(), 1);
        assert_eq!(star.lacks_of(&every), []);
        // All but images and the service itself.
        let all = permissions(&[("*", Read)]);
        assert_eq!(none.lacks_of(&all).len(), RESOURCES.len() - 2);
        assert_eq!(all.lacks_of(&permissions(&[("*", Read)])), []);
        assert_eq!(all.by_resource().get("Administration"), None);
        assert_eq!(star.by_resource().len(), RESOURCES.len());
    }

    #[test]
    fn rights_that_differ_in_images_alone_cover_those_that_go_less_far() {
        let with = |images| Rights {
            images,
            ..Permissions::default().on(Some(Membership::Reader))
        };
        let all = [Images::Nothing, Images::Pull, Images::Push, Images::Delete];
        for mine in all {
            for theirs in all {
                let covers = with(mine).cover(&with(theirs));
                assert_eq!(covers, mine >= theirs, "{mine:?} {theirs:?}");
            }
        }
    }

    #[test]
    fn a_membership_is_given_only_by_one_who_holds_its_rights() {
        let nobody = Permissions::default();
        let by_name = permissions(&[("Token", Level::Write), ("Registry", Level::Write)]);
        let rights = |membership| nobody.on(Some(membership));
        let levels = Membership::ALL;
        for given in levels {
            for held in levels {
                let member = MemberRights::of(&nobody, Some(given));
                let taken = member.require_held(&rights(held)).is_ok();
                assert_eq!(taken, given <= held, "{given} by {held}");
                let before = MemberRights::of(&nobody, Some(held));
                assert_eq!(
                    member.is_wider_than(&before),
                    given > held,
                    "{held} to {given}"
                );
            }
        }
        // Its roles give this member more than a Reader has: they count from the day that it is one.
        let member = MemberRights::of(&by_name, Some(Membership::Reader));
        assert!(member.require_held(&rights(Membership::Reader)).is_err());
        assert!(member.require_held(&rights(Membership::Owner)).is_ok());
        assert!(member.is_wider_than(&MemberRights::of(&by_name, None)));
        assert!(member.is_wider_than(&MemberRights::of(&nobody, Some(Membership::Reader))));
        assert!(!member.is_wider_than(&member));
    }

    #[test]
    fn a_bound_that_takes_from_a_membership_leaves_no_whole() {
        let nobody = Permissions::default();
        let admin = permissions(&[("*", Level::Write)]);
        let tokens = permissions(&[("Token", Level::Write)]);
        for (held, memberships, whole) in [
            (nobody.clone(), &[][..], true),
            (nobody.clone(), &Membership::ALL[..], true),
            (
                nobody.clone().bounded_by(admin.clone()),
                &Membership::ALL[..],
                true,
            ),
            (nobody.clone().bounded_by(tokens.clone()), &[][..], true),
            (
                nobody.bounded_by(tokens.clone()),
                &[Membership::Owner][..],
                false,
            ),
            (admin.bounded_by(tokens), &[][..], false),
        ] {
            assert_eq!(held.whole(memberships), whole, "{held:?} {memberships:?}");
        }
    }
}
