//! Registries: the tenants, with their names and locations.

use serde::{Deserialize, Serialize};

use super::access::Caller;
use super::core::{Core, Done, Put, Urgency};
use super::idempotency::{Once, StoredAnswer};
use super::visible::visible;
use crate::domain::account::{Actor, Sight};
use crate::domain::audit::Change;
use crate::domain::escalation::change;
use crate::domain::filter::{NameFilter, RegistryFilter};
use crate::domain::id::{RegistryId, RegistryKey};
use crate::domain::idempotency::Attempt;
use crate::domain::labels::Label;
use crate::domain::life::Lives;
use crate::domain::permission::{Level, Resource};
use crate::domain::precondition::{Look, Precondition};
use crate::domain::registry::{NewRegistry, Registry, RegistryName, RegistryPatch};
use crate::domain::text::{has_control, quoted};
use crate::error::{Error, Field, Result, What};
use crate::store::{Lock, Session, api_tokens, members, registries as table, signing_keys};

/// The list that a cursor belongs to.
const LIST: &str = "registries";
/// The length to which a filter is cut, in characters: one more than a name can have.
const FILTER: usize = 64;

/// The wish for a page of registries.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// The filter.
    pub filter: RegistryFilter,
    /// The most registries of the page.
    pub limit: i64,
    /// The cursor from the page before.
    pub token: Option<String>,
}

/// A page of registries.
#[derive(Debug, Clone)]
pub struct RegistryPage {
    /// In creation order.
    pub registries: Vec<Registry>,
    /// The cursor of the next page; none on the last.
    pub next: Option<String>,
}

/// The content of a page cursor. Its field names are short for the sake of URLs; `v` tells later layouts apart.
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    v: u8,
    after: i64,
    contains: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<NameFilter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frozen: Option<bool>,
}

/// The layout of a cursor. A release that does not know a condition must refuse it, rather than list all registries.
fn layout(filter: &RegistryFilter) -> u8 {
    if filter.name.is_some() || filter.location.is_some() || filter.frozen.is_some() {
        3
    } else if filter.labels.is_empty() {
        1
    } else {
        2
    }
}

impl Cursor {
    fn new(filter: RegistryFilter) -> Self {
        Self {
            v: layout(&filter),
            after: 0,
            contains: filter.name_contains,
            labels: filter.labels,
            name: filter.name,
            location: filter.location,
            frozen: filter.frozen,
        }
    }

    fn filter(&self) -> RegistryFilter {
        RegistryFilter {
            name_contains: self.contains.clone(),
            name: self.name.clone(),
            location: self.location.clone(),
            frozen: self.frozen,
            labels: self.labels.clone(),
        }
    }
}

/// Registry use cases.
#[derive(Debug)]
pub struct Registries<'a> {
    core: &'a Core,
}

impl<'a> Registries<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// The host name of a registry, which is also its `service` at a token endpoint.
    #[must_use]
    pub fn hostname(&self, registry: &Registry) -> String {
        self.core.policy.service_name(&registry.name)
    }

    /// The locations in which registries can be made.
    pub async fn locations(&self, caller: &Caller) -> Result<&'a [String]> {
        self.core
            .read(caller, |_, actor| {
                // Not secret: a caller that may see some registry may know the locations.
                let permissions = &actor.permissions;
                permissions.require_somewhere(Resource::Registry, Level::Read)
            })
            .await?;
        Ok(&self.core.policy.locations)
    }

    /// Returns true if there is already a registry of this name.
    pub async fn is_name_taken(&self, caller: &Caller, name: RegistryName) -> Result<bool> {
        self.core
            .read(caller, move |connection, actor| {
                // Names are unique among all registries, so a conflict tells as much.
                let permissions = &actor.permissions;
                permissions.require_somewhere(Resource::Registry, Level::Read)?;
                Ok(table::id_named(connection, name.as_str())?.is_some())
            })
            .await
    }

    /// A page of the registries that the caller may see.
    pub async fn list(&self, caller: &Caller, listing: Listing) -> Result<RegistryPage> {
        // A filter longer than any name can match none, and databases refuse very long patterns.
        let mut filter = listing.filter;
        filter.name_contains = filter
            .name_contains
            .filter(|text| !text.is_empty())
            .map(|text| text.chars().take(FILTER).collect::<String>())
            .map(|text| text.to_ascii_lowercase());
        let contains = filter.name_contains.as_deref();
        if let Some(text) = contains.filter(|text| has_control(text)) {
            return Err(Error::invalid(
                Field::FilterName,
                format!("filter.name {} contains a control character", quoted(text)),
            ));
        }
        let cursor = match &listing.token {
            None => Cursor::new(filter),
            Some(token) => self.open_cursor(token, &filter)?,
        };
        let (limit, after) = (listing.limit, RegistryKey(cursor.after));
        let filter = cursor.filter();
        let mut registries = self
            .core
            .read(caller, move |connection, actor| {
                let member = match actor.sight() {
                    Sight::None => return Ok(Vec::new()),
                    Sight::One(registry) => {
                        let before = RegistryKey(registry.0 - 1).max(after);
                        let found = table::list(connection, before, &filter, None, 1)?;
                        let own = found.into_iter().filter(|found| found.key == registry);
                        return Ok(own.take(usize::from(limit > 0)).collect());
                    }
                    Sight::Memberships => Some(actor.key),
                    Sight::All => None,
                };
                let permissions = &actor.permissions;
                permissions.require_somewhere(Resource::Registry, Level::Read)?;
                // One more than asked for tells whether there is a next page.
                table::list(connection, after, &filter, member, limit + 1)
            })
            .await?;
        let kept = usize::try_from(limit).map_err(Error::internal)?;
        let more = registries.len() > kept;
        registries.truncate(kept);
        let next = match registries.last().filter(|_| more) {
            Some(last) => Some(self.seal_cursor(&Cursor {
                after: last.key.0,
                ..cursor
            })?),
            None => None,
        };
        Ok(RegistryPage { registries, next })
    }

    /// Makes a registry, once for a request that may come again.
    pub async fn create(
        &self,
        caller: &Caller,
        new: NewRegistry,
        attempt: Option<Attempt>,
    ) -> Result<Once<Registry>> {
        let location = self.check_location(&new);
        let location = location.err().map(|error| error.to_string());
        let now = self.core.clock.now();
        let id = RegistryId(self.core.random.uuid_at(now)?);
        let policy = &self.core.policy;
        let (caps, lives, claim) = (policy.caps, policy.lives, self.core.claim(attempt, None)?);
        let name = new.name.clone();
        let made = self
            .core
            .write(caller, Lock::Catalog, move |connection, actor| {
                actor
                    .permissions
                    .require(Resource::Registry, Level::Write)?;
                if let Some(kept) = claim.recall(connection, actor)? {
                    return Ok(Done::nothing(again(connection, actor, kept)?));
                }
                // Only after the caller is admitted: the answer names the locations.
                if let Some(message) = &location {
                    return Err(Error::invalid(Field::Location, message));
                }
                caps.admit_registry(table::count_made_by(connection, actor.id)?)?;
                Lives::default().changed(new.lives).check(lives)?;
                let registry = table::insert(connection, id, &new, &actor.stamp(now))?;
                claim.keep(connection, actor, id.0, registry.tag())?;
                let change = Change::created(&registry);
                Ok(Done::told(Once::now(registry), change))
            })
            .await;
        self.naming_holder(caller, name, made).await
    }

    /// Adds to a conflict of names the id of the registry that has the name, if the caller may see it.
    async fn naming_holder<T>(
        &self,
        caller: &Caller,
        name: RegistryName,
        outcome: Result<T>,
    ) -> Result<T> {
        let find = move |connection: &mut Session, actor: &Actor| {
            let Some(id) = table::id_named(connection, name.as_str())? else {
                return Ok(None);
            };
            let (registry, rights) =
                visible(actor, id, members::registry(connection, id, actor.key)?)?;
            rights.require(Resource::Registry, Level::Read)?;
            Ok(Some(registry.id.0))
        };
        self.core.naming_holder(caller, outcome, find).await
    }

    /// One registry.
    pub async fn show(
        &self,
        caller: &Caller,
        id: RegistryId,
        condition: Precondition,
    ) -> Result<Look<Registry>> {
        self.core
            .read(caller, move |connection, actor| {
                let (registry, rights) =
                    visible(actor, id, members::registry(connection, id, actor.key)?)?;
                rights.require(Resource::Registry, Level::Read)?;
                condition.look(What::Registry, registry.tag(), registry)
            })
            .await
    }

    /// Makes a registry with a given id, once for a request that may come again, or replaces the one that has it.
    pub async fn replace(
        &self,
        caller: &Caller,
        id: RegistryId,
        new: NewRegistry,
        condition: Precondition,
        attempt: Option<Attempt>,
    ) -> Result<Put<Once<Registry>, Registry>> {
        let location = self
            .check_location(&new)
            .err()
            .map(|error| error.to_string());
        let (now, policy) = (self.core.clock.now(), &self.core.policy);
        let (caps, lives) = (policy.caps, policy.lives);
        let claim = self.core.claim(attempt, None)?;
        let name = new.name.clone();
        let put = self
            .core
            .write(
                caller,
                Lock::CatalogAndRegistry(id),
                move |connection, actor| {
                    // Before the condition: the first request's own change must not make its repeat fail.
                    if let Some(kept) = claim.recall(connection, actor)? {
                        let permissions = &actor.permissions;
                        permissions.require(Resource::Registry, Level::Write)?;
                        let once = again(connection, actor, kept)?;
                        return Ok(Done::nothing(Put::Created(once)));
                    }
                    let found = members::registry(connection, id, actor.key)?;
                    // A caller that does not see a registry gets the same answer as for a missing one.
                    let Ok((mut registry, rights)) = visible(actor, id, found) else {
                        let permissions = &actor.permissions;
                        permissions.require(Resource::Registry, Level::Write)?;
                        condition.require(What::Registry, None)?;
                        // Only a new registry needs a location that is offered: an old one may be in a former one.
                        if let Some(message) = &location {
                            return Err(Error::invalid(Field::Location, message));
                        }
                        caps.admit_registry(table::count_made_by(connection, actor.id)?)?;
                        Lives::default().changed(new.lives).check(lives)?;
                        let registry = table::insert(connection, id, &new, &actor.stamp(now))?;
                        claim.keep(connection, actor, id.0, registry.tag())?;
                        let change = Change::created(&registry);
                        return Ok(Done::told(Put::Created(Once::now(registry)), change));
                    };
                    rights.require(Resource::Registry, Level::Write)?;
                    condition.require(What::Registry, Some(registry.tag()))?;
                    let before = registry.clone();
                    if !registry.replace(new.clone(), lives, now)? {
                        return Ok(Done::nothing(Put::Replaced(registry)));
                    }
                    change(&before.restrictions(), &registry.restrictions(), &rights)?;
                    table::update(connection, &mut registry, Some(actor.stamp(now)))?;
                    let change = Change::updated(&before, &registry);
                    Ok(Done::told(Put::Replaced(registry), change))
                },
            )
            .await;
        self.naming_holder(caller, name, put).await
    }

    /// Changes the fields that the patch names. A patch that changes nothing leaves no trace.
    pub async fn update(
        &self,
        caller: &Caller,
        id: RegistryId,
        patch: RegistryPatch,
        condition: Precondition,
    ) -> Result<Registry> {
        let (now, lives) = (self.core.clock.now(), self.core.policy.lives);
        let urgency = Urgency::of_an_end(patch.only_freezes());
        self.core
            .change(
                caller,
                urgency,
                Lock::Registry(id),
                move |connection, actor| {
                    let found = members::registry(connection, id, actor.key)?;
                    let (mut registry, rights) = visible(actor, id, found)?;
                    rights.require(Resource::Registry, Level::Write)?;
                    condition.require(What::Registry, Some(registry.tag()))?;
                    let before = registry.clone();
                    if !registry.update(patch.clone(), lives, now)? {
                        return Ok(Done::nothing(registry));
                    }
                    change(&before.restrictions(), &registry.restrictions(), &rights)?;
                    table::update(connection, &mut registry, Some(actor.stamp(now)))?;
                    let change = Change::updated(&before, &registry);
                    Ok(Done::told(registry, change))
                },
            )
            .await
    }

    /// Freezes a registry, or thaws it, for the operator of the machine: by its id, or else by its name. Returns its name,
    /// and false if it was so already.
    pub async fn set_frozen(&self, registry: &str, frozen: bool) -> Result<(String, bool)> {
        let (now, lives) = (self.core.clock.now(), self.core.policy.lives);
        let missing = Error::not_found(What::Registry, quoted(registry));
        let (asked, by_id) = (registry.to_owned(), RegistryId::parse(registry).ok());
        let find = move |connection: &mut Session| {
            let found = by_id.map(|id| table::find(connection, id)).transpose()?;
            match found.flatten() {
                Some(registry) => Ok(Some(registry.id)),
                None => table::id_named(connection, &asked),
            }
        };
        let id = self.core.store.read(find).await?.ok_or(missing)?;
        self.core
            .command(Lock::Registry(id), move |connection| {
                let found = table::find(connection, id)?;
                let mut registry = found.ok_or_else(|| Error::not_found(What::Registry, id))?;
                let before = registry.clone();
                let patch = RegistryPatch {
                    frozen: Some(frozen),
                    ..RegistryPatch::default()
                };
                if !registry.update(patch, lives, now)? {
                    return Ok(Done::nothing((registry.name, false)));
                }
                table::update(connection, &mut registry, None)?;
                let change = Change::updated(&before, &registry);
                Ok(Done::told((registry.name, true), change))
            })
            .await
    }

    /// Deletes a registry with all its tokens and memberships. It is not found from now on; its rows are removed later.
    pub async fn delete(
        &self,
        caller: &Caller,
        id: RegistryId,
        condition: Precondition,
    ) -> Result<()> {
        let now = self.core.clock.now();
        self.core
            .end(caller, Lock::Registry(id), move |connection, actor| {
                let found = members::registry(connection, id, actor.key)?;
                let (registry, rights) = visible(actor, id, found)?;
                rights.require(Resource::Registry, Level::Write)?;
                condition.require(What::Registry, Some(registry.tag()))?;
                table::remove_members(connection, registry.key)?;
                api_tokens::delete_all_of_registry(connection, registry.key)?;
                // At once, not with the rows: JWTs that they could sign must not outlive the registry.
                signing_keys::delete_all(connection, registry.key)?;
                table::mark_deleted(connection, registry.key, now)?;
                Ok(Done::told((), Change::deleted(&registry)))
            })
            .await
    }

    fn check_location(&self, new: &NewRegistry) -> Result<()> {
        let locations = &self.core.policy.locations;
        if locations.contains(&new.location) {
            return Ok(());
        }
        Err(Error::invalid(
            Field::Location,
            format!(
                "location {} is none of {}",
                quoted(&new.location),
                locations.join(", ")
            ),
        ))
    }

    fn seal_cursor(&self, cursor: &Cursor) -> Result<String> {
        let bytes = serde_json::to_vec(cursor).map_err(Error::internal)?;
        self.core
            .data_keys
            .seal_cursor(&*self.core.random, LIST, &bytes)
    }

    /// The filter is part of the cursor; naming another one beside it is an error.
    fn open_cursor(&self, token: &str, filter: &RegistryFilter) -> Result<Cursor> {
        let cursor = self
            .core
            .data_keys
            .open_cursor(LIST, token)
            .and_then(|bytes| serde_json::from_slice::<Cursor>(&bytes).ok())
            .filter(|cursor| cursor.v == layout(&cursor.filter()));
        match cursor {
            Some(cursor) => {
                let other =
                    if filter.name_contains.is_some() && filter.name_contains != cursor.contains {
                        "filter.name"
                    } else if !filter.labels.is_empty() && filter.labels != cursor.labels {
                        "label"
                    } else if filter.name.is_some() && filter.name != cursor.name {
                        "name"
                    } else if filter.location.is_some() && filter.location != cursor.location {
                        "location"
                    } else if filter.frozen.is_some() && filter.frozen != cursor.frozen {
                        "frozen"
                    } else {
                        return Ok(cursor);
                    };
                Err(Error::invalid(
                    Field::PaginationToken,
                    format!(
                        "pagination.token belongs to a list with another {other}; leave {other} out or as it was"
                    ),
                ))
            }
            None => Err(Error::invalid(
                Field::PaginationToken,
                format!(
                    "pagination.token {} is not one that this service gave; start without one",
                    quoted(token)
                ),
            )),
        }
    }
}

/// The answer for a repeat of the same request.
fn again(connection: &mut Session, actor: &Actor, kept: StoredAnswer) -> Result<Once<Registry>> {
    let id = RegistryId(kept.id);
    let found = members::registry(connection, id, actor.key)?;
    let found = visible(actor, id, found).ok().map(|(registry, _)| registry);
    let (registry, _) = kept.still(What::Registry, found, Registry::tag)?;
    Ok(Once::earlier(registry))
}
