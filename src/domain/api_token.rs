//! API tokens, which open this service's own APIs on behalf of their creators.
//!
//! Owns the checks of a wish for one, in the order that StackRox's clients expect, and the rights of a token. The token
//! itself is signed and not stored; its stored part is here. The surface adds words for people to the bare fault.

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Attribution;
use super::account::Actor;
use super::audit::{Recorded, SubjectKind};
use super::escalation::obtain;
use super::id::{AccountKey, ApiTokenId, RegistryId};
use super::registry_api_token::{Confinement, TokenLevel};
use super::role::{self, NONE, Permissions, Role};
use super::secret::masked;
use super::text::has_control;
use crate::error::{Error, Field, Result, Violation};

/// The life of a token if the caller gives no end.
const LIFE: TimeDelta = TimeDelta::days(365);
/// The longest name, in characters: it travels in every request that the token makes.
const NAME_LENGTH: usize = 1024;
/// The most roles, which travel along too.
const ROLES: usize = 100;

/// A caller's wish, not yet checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The name, not empty. It need not be unique.
    pub name: String,
    /// One role, as older clients send it.
    pub role: Option<String>,
    /// The roles, in an order that is kept.
    pub roles: Vec<String>,
    /// The wanted end.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Wish {
    /// The roles asked for, if the wish is well-formed.
    pub fn roles(&self) -> Result<Vec<String>> {
        check_name(&self.name)?;
        let roles = match (&self.role, self.roles.as_slice()) {
            (Some(_), [_, ..]) => {
                return Err(Error::invalid(
                    Field::Other("role"),
                    "must use either role or roles, but not both",
                ));
            }
            (Some(role), []) => vec![role.clone()],
            (None, roles) => roles.to_vec(),
        };
        if roles.len() > ROLES {
            return Err(Error::invalid(
                Field::Roles,
                format!("must not use more than {ROLES} roles"),
            ));
        }
        Ok(roles)
    }

    /// Checks all the rest: `known` are the roles of the wish that exist, `bounded` forbids a token that outlives the
    /// one that the caller came with.
    pub fn grant(
        self,
        id: ApiTokenId,
        actor: &Actor,
        known: &[Role],
        bounded: bool,
        now: DateTime<Utc>,
    ) -> Result<NewApiToken> {
        let roles = self.roles()?;
        let is_known = |name: &&String| known.iter().any(|role| role.name == **name);
        let unknown: Vec<_> = roles.iter().filter(|name| !is_known(name)).collect();
        if !unknown.is_empty() {
            let names: Vec<_> = unknown.into_iter().map(String::as_str).collect();
            return Err(Error::invalid(
                Field::Roles,
                format!("role(s) {} don't exist", names.join(",")),
            ));
        }
        obtain(&role::union(known), &actor.permissions)?;
        if self.expires_at.is_some_and(|end| end < now) {
            return Err(expiration("Expiration date cannot be in the past"));
        }
        let issued_at = now.trunc_subsecs(0);
        let bound = actor.bearer.as_ref().filter(|_| bounded);
        let bound = bound.map(|bearer| bearer.expires_at);
        let expires_at = match (self.expires_at, bound) {
            (Some(end), Some(bound)) if end > bound => {
                return Err(expiration(
                    "Expiration date cannot be after that of the token that this one is made with",
                ));
            }
            (Some(end), _) => end.trunc_subsecs(0),
            (None, bound) => bound.map_or(issued_at + LIFE, |bound| bound.min(issued_at + LIFE)),
        };
        Ok(NewApiToken {
            token: ApiToken {
                id,
                name: self.name,
                roles,
                issued_at,
                expires_at,
                revoked: false,
            },
            account: actor.key,
            created: actor.stamp(now),
            description: None,
            confinement: None,
        })
    }
}

/// Refuses a name that is empty, longer than 1024 characters, or has control characters.
pub fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(Field::Name, "token name cannot be empty"));
    }
    // PostgreSQL refuses a NUL in a text, and logs and terminals act on the others.
    if has_control(name) || name.chars().count() > NAME_LENGTH {
        return Err(Error::invalid(
            Field::Name,
            format!(
                "token name has more than {NAME_LENGTH} characters, or control characters among them"
            ),
        ));
    }
    Ok(())
}

/// Refuses a name with a secret in it, as many may read it. The product's own interface takes any.
pub fn check_no_secret(name: &str) -> Result<()> {
    if masked(name) == name {
        return Ok(());
    }
    let message = "name contains a secret, and many can read it; choose another";
    Err(Error::invalid(Field::Name, message))
}

fn expiration(message: &str) -> Error {
    Error::Invalid(vec![Violation::new(Field::Other("expiration"), message)])
}

/// The roles of which an actor with these permissions may make a token, each by itself, in the order of their bytes.
#[must_use]
pub fn allowed_roles(roles: &[Role], held: &Permissions) -> Vec<String> {
    let allowed = |role: &&Role| role.name != NONE && held.cover(&role.permissions);
    let mut names: Vec<_> = roles
        .iter()
        .filter(allowed)
        .map(|role| role.name.clone())
        .collect();
    names.sort_unstable();
    names
}

/// The stored part of a token, as everybody who may see tokens sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Public id.
    pub id: ApiTokenId,
    /// Its name, which others may have too.
    pub name: String,
    /// Its roles by name, in their order. Their permissions are looked up when the token is used.
    pub roles: Vec<String>,
    /// When it was made, in whole seconds.
    pub issued_at: DateTime<Utc>,
    /// Its end, in whole seconds.
    pub expires_at: DateTime<Utc>,
    /// True if it was revoked.
    pub revoked: bool,
}

/// A new token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiToken {
    /// The public part.
    pub token: ApiToken,
    /// The account on whose behalf it acts.
    pub account: AccountKey,
    /// Its creator and the time.
    pub created: Attribution,
    /// A text for people.
    pub description: Option<String>,
    /// The one registry that it acts on, if it is a registry API token.
    pub confinement: Option<Confinement>,
}

/// A caller's wish for a registry API token.
#[derive(Debug, Clone)]
pub struct NewRegistryApiToken {
    /// The name, not empty. It need not be unique.
    pub name: String,
    /// A text for people.
    pub description: Option<String>,
    /// The most that it may do.
    pub level: TokenLevel,
    /// The wanted end; a year from now if none.
    pub expires_at: Option<DateTime<Utc>>,
}

impl NewRegistryApiToken {
    /// The public part of the token. It has no roles: a release that knows only these lets it do nothing.
    #[must_use]
    pub fn token(&self, id: ApiTokenId, now: DateTime<Utc>) -> ApiToken {
        let issued_at = now.trunc_subsecs(0);
        let expires_at = self.expires_at.map(|end| end.trunc_subsecs(0));
        ApiToken {
            id,
            name: self.name.clone(),
            roles: Vec::new(),
            issued_at,
            expires_at: expires_at.unwrap_or(issued_at + LIFE),
            revoked: false,
        }
    }

    /// Refuses an end that has come.
    pub fn check_end(&self, now: DateTime<Utc>) -> Result<()> {
        if self.expires_at.is_none_or(|end| end > now) {
            return Ok(());
        }
        Err(Error::invalid(
            Field::ExpiryDate,
            "expiryDate is not in the future, so the token would never be in force",
        ))
    }
}

/// The days until an instant, rounded up, at least one.
#[must_use]
pub fn days_until(end: DateTime<Utc>, now: DateTime<Utc>) -> i64 {
    let seconds = (end - now).num_seconds().max(1);
    let day = TimeDelta::days(1).num_seconds();
    (seconds + day - 1) / day
}

impl Recorded for ApiToken {
    const KIND: SubjectKind = SubjectKind::ApiToken;

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn record(&self) -> Value {
        json!({"name": self.name, "roles": self.roles, "expires": self.expires_at})
    }
}

/// An API token, with the registry and the level of one that acts on a single registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiTokenRecord {
    /// The token.
    pub token: ApiToken,
    /// The registry, unless it is deleted.
    pub registry: Option<RegistryId>,
    /// The level in place of roles.
    pub level: Option<TokenLevel>,
}

impl Recorded for ApiTokenRecord {
    const KIND: SubjectKind = SubjectKind::ApiToken;

    fn id(&self) -> Uuid {
        self.token.id.0
    }

    fn registry(&self) -> Option<RegistryId> {
        self.registry
    }

    fn record(&self) -> Value {
        let mut record = self.token.record();
        if let (Value::Object(record), Some(level)) = (&mut record, self.level) {
            record.remove("roles");
            record.insert("level".to_owned(), level.as_str().into());
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::Bearer;
    use crate::domain::id::AccountId;
    use crate::domain::permission::Level;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp_micros(1_795_262_400_250_000).unwrap()
    }

    fn actor(rows: &[(&str, Level)]) -> Actor {
        Actor {
            key: AccountKey(1),
            id: AccountId(uuid::Uuid::nil()),
            name: "alice".to_owned(),
            version: 1,
            permissions: permissions(rows),
            bearer: None,
        }
    }

    fn permissions(rows: &[(&str, Level)]) -> Permissions {
        let mut permissions = Permissions::default();
        for (resource, level) in rows {
            permissions.grant((*resource).to_owned(), *level);
        }
        permissions
    }

    fn role(name: &str, rows: &[(&str, Level)]) -> Role {
        Role {
            name: name.to_owned(),
            permissions: permissions(rows),
        }
    }

    fn wish(name: &str, roles: &[&str]) -> Wish {
        Wish {
            name: name.to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            ..Wish::default()
        }
    }

    fn judge(wish: Wish, actor: &Actor, bounded: bool) -> Result<NewApiToken> {
        let id = ApiTokenId(uuid::Uuid::nil());
        let roles = wish.roles()?;
        let mut known = vec![
            role("Reader", &[("Image", Level::Read)]),
            role("Writer", &[("Image", Level::Write)]),
            role(NONE, &[]),
        ];
        known.retain(|role| roles.contains(&role.name));
        wish.grant(id, actor, &known, bounded, now())
    }

    #[test]
    fn faults_are_told_in_one_order() {
        let reader = actor(&[("Image", Level::Read)]);
        let past = Some(now() - TimeDelta::microseconds(1));
        let mut wish = Wish {
            role: Some("Writer".to_owned()),
            expires_at: past,
            ..wish("", &["Unknown", "Writer", "Other"])
        };
        let told = |wish: &Wish| judge(wish.clone(), &reader, false).unwrap_err().to_string();
        assert_eq!(told(&wish), "token name cannot be empty");
        wish.name = " ".to_owned();
        assert_eq!(told(&wish), "must use either role or roles, but not both");
        wish.role = None;
        assert_eq!(told(&wish), "role(s) Unknown,Other don't exist");
        wish.roles = vec!["Writer".to_owned()];
        assert_eq!(
            told(&wish),
            "these roles permit more than yours: write instead of read permission for Image"
        );
        wish.roles = vec!["Reader".to_owned()];
        assert_eq!(told(&wish), "Expiration date cannot be in the past");
        wish.expires_at = Some(now());
        let made = judge(wish, &reader, false).unwrap().token;
        assert_eq!(made.expires_at, now().trunc_subsecs(0));
    }

    #[test]
    fn no_roles_and_none_are_granted() {
        let nobody = actor(&[]);
        for roles in [&[][..], &[NONE]] {
            let made = judge(wish("n", roles), &nobody, false).unwrap().token;
            assert_eq!(made.roles, roles);
            assert_eq!(made.expires_at - made.issued_at, LIFE);
        }
    }

    #[test]
    fn a_bound_token_does_not_outlive_the_one_it_is_made_with() {
        let end = now().trunc_subsecs(0) + TimeDelta::hours(1);
        let mut bearer = actor(&[]);
        bearer.bearer = Some(Bearer {
            id: ApiTokenId(uuid::Uuid::nil()),
            name: "ci".to_owned(),
            roles: Vec::new(),
            expires_at: end,
            confined: None,
        });
        let asked = |expires_at| Wish {
            expires_at,
            ..wish("n", &[])
        };
        let after = end + TimeDelta::seconds(1);
        let later = Some(after);
        let ends = |wish, bounded| judge(wish, &bearer, bounded).map(|made| made.token.expires_at);
        assert_eq!(ends(asked(None), true).unwrap(), end);
        assert_eq!(ends(asked(Some(end)), true).unwrap(), end);
        assert!(ends(asked(later), true).is_err());
        assert_eq!(ends(asked(later), false).unwrap(), after);
        // A password has no end.
        assert!(judge(asked(later), &actor(&[]), true).is_ok());
    }

    #[test]
    fn roles_are_allowed_one_by_one() {
        let roles = [
            role("b", &[("Image", Level::Read)]),
            role("a", &[("Image", Level::Read)]),
            role("Z", &[]),
            role("c", &[("Image", Level::Write)]),
            role(NONE, &[]),
        ];
        let held = permissions(&[("Image", Level::Read)]);
        assert_eq!(allowed_roles(&roles, &held), ["Z", "a", "b"]);
    }

    #[test]
    fn days_are_rounded_up() {
        let in_days = |time| days_until(now() + time, now());
        assert_eq!(in_days(TimeDelta::hours(1)), 1);
        assert_eq!(in_days(TimeDelta::days(1)), 1);
        assert_eq!(in_days(TimeDelta::days(1) + TimeDelta::seconds(1)), 2);
        assert_eq!(in_days(TimeDelta::days(7)), 7);
    }

    #[test]
    fn names_are_neither_long_nor_secret() {
        assert!(check_name(&"ö".repeat(1024)).is_ok());
        for wrong in ["", "a\nb", &"a".repeat(1025)] {
            assert!(check_name(wrong).is_err(), "{wrong:?} was accepted");
        }
        assert!(check_no_secret("ci").is_ok());
        assert!(check_no_secret("whrt_0123456789abcdefghijklmnopqrstuvwxyzABC").is_err());
    }

    #[test]
    fn a_registry_api_token_ends_in_the_future() {
        let wish = |expires_at| NewRegistryApiToken {
            name: "ci".to_owned(),
            description: None,
            level: TokenLevel::ALL[0],
            expires_at,
        };
        let second = TimeDelta::seconds(1);
        assert!(wish(None).check_end(now()).is_ok());
        assert!(wish(Some(now() + second)).check_end(now()).is_ok());
        for past in [now(), now() - second] {
            assert!(wish(Some(past)).check_end(now()).is_err(), "{past}");
        }
        let id = ApiTokenId(uuid::Uuid::nil());
        let token = |end| wish(end).token(id, now());
        assert_eq!(token(None).expires_at, now().trunc_subsecs(0) + LIFE);
        let end = now() + second;
        assert_eq!(token(Some(end)).expires_at, end.trunc_subsecs(0));
    }

    #[test]
    fn a_token_has_a_bounded_number_of_roles() {
        let wish = |count| wish("n", &vec!["Reader"; count]).roles();
        assert_eq!(wish(ROLES).unwrap().len(), ROLES);
        assert!(wish(ROLES + 1).is_err());
    }
}
