//! Accounts: people or machines with a password and roles.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::escalation::Credential;
use super::id::ApiTokenId;
use super::id::{AccountId, AccountKey, RegistryId, RegistryKey};
use super::membership::{Membership, Rights};
use super::patch::Patch;
use super::permission::Resource;
use super::precondition::Tag;
use super::registry_api_token::TokenLevel;
use super::role::{self, NONE, Permissions, Role};
use super::secret;
use super::status::Status;
use super::text::{has_control, quoted};
use super::unicode::{BYTE_ORDER_MARK, composed, folded, is_invisible, opaque};
use crate::error::{Error, Field, Result};

/// The longest account name, in characters.
const NAME_LENGTH: usize = 255;
/// The shortest password, in characters.
pub const PASSWORD_MINIMUM: usize = 8;
/// The longest password, in bytes of UTF-8 in its compared form: bcrypt reads 72 bytes and ends with a NUL, and a
/// password is never cut.
pub const PASSWORD_MAXIMUM: usize = 71;

/// An account's name, in NFC; two names that differ only in case are the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountName(String);

impl AccountName {
    /// Reads a name: 1 to 255 characters without colon (HTTP Basic ends the name there, RFC 7617 §2), without control
    /// characters, and without any that do not show.
    pub fn parse(text: &str) -> Result<Self> {
        let text = &*composed(text);
        if let Some(hidden) = text.chars().find(|c| is_invisible(*c)) {
            return Err(Error::invalid(
                Field::Name,
                format!(
                    "account name {} contains the invisible character U+{:04X}; leave it out",
                    quoted(text),
                    u32::from(hidden)
                ),
            ));
        }
        let length = text.chars().count();
        if length == 0
            || length > NAME_LENGTH
            || text.contains(':')
            || has_control(text)
            || text.trim() != text
        {
            return Err(Error::invalid(
                Field::Name,
                format!(
                    "account name {} is not 1 to {NAME_LENGTH} characters without colon, control characters or space at the ends",
                    quoted(text)
                ),
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as it was sent, in NFC.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key by which names are unique.
    #[must_use]
    pub fn key(&self) -> String {
        folded(&self.0)
    }
}

/// The `name_key`s that an account of this name may have: that of a new account, then that of an account from before
/// case was ignored in all of Unicode. If both accounts exist, the name means the older one.
#[must_use]
pub fn account_keys(name: &str) -> [String; 2] {
    [folded(name), name_key(name)]
}

/// The form in which names of tokens are compared: ASCII letters in lower case, all else as it is.
#[must_use]
pub fn name_key(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// A password fit to be set.
#[derive(Debug, Clone)]
pub struct NewPassword(SecretString);

impl NewPassword {
    /// Accepts 8 characters to 71 bytes without control characters that do not look like a token, in the form in which
    /// passwords are compared ([`opaque`]).
    ///
    /// A password in a token's form is refused because credentials of that form are tried as tokens only.
    #[expect(clippy::needless_pass_by_value, reason = "what was sent is wiped here")]
    pub fn parse(password: SecretString) -> Result<Self> {
        let password = SecretString::from(opaque(password.expose_secret()));
        let text = password.expose_secret();
        let problem = if text.chars().count() < PASSWORD_MINIMUM {
            format!("the password is shorter than {PASSWORD_MINIMUM} characters")
        } else if text.len() > PASSWORD_MAXIMUM {
            format!(
                "the password is {} bytes long; at most {PASSWORD_MAXIMUM} are allowed",
                text.len()
            )
        } else if has_control(text) {
            "the password contains a control character".to_owned()
        } else if text.contains(BYTE_ORDER_MARK) {
            "the password contains a byte order mark (U+FEFF); leave it out".to_owned()
        } else if secret::bare(text).is_some() {
            "the password has the form of a token; choose another".to_owned()
        } else {
            return Ok(Self(password));
        };
        Err(Error::invalid(Field::Password, problem))
    }

    /// The password itself in the form in which it is compared, for hashing.
    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.0
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Internal key.
    pub key: AccountKey,
    /// Public id.
    pub id: AccountId,
    /// Name as given.
    pub name: String,
    /// The status.
    pub status: Status,
    /// Counts every change.
    pub version: i64,
    /// Names of its roles, in their order.
    pub roles: Vec<String>,
    /// A text for people.
    pub description: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed; as it was made, if never.
    pub modified_at: DateTime<Utc>,
}

impl Account {
    /// The tag of its state.
    #[must_use]
    pub fn tag(&self) -> Tag {
        Tag {
            key: self.key.0,
            version: self.version,
            state: 0,
        }
    }
}

/// A caller's wish for a new account.
#[derive(Debug, Clone)]
pub struct CreateAccount {
    /// Its name.
    pub name: AccountName,
    /// Its password; `None` if the service is to make one.
    pub password: Option<NewPassword>,
    /// Names of its roles; empty for an account that is only a member of registries.
    pub roles: Vec<String>,
    /// The status.
    pub status: Status,
    /// A text for people.
    pub description: Option<String>,
}

/// Changes to an account; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct AccountPatch {
    /// The name that the caller read. It cannot be changed, so another one is refused.
    pub name: Option<String>,
    /// A new password.
    pub password: Option<NewPassword>,
    /// Replaces all roles, by their names.
    pub roles: Option<Vec<String>>,
    /// Changes the status.
    pub status: Option<Status>,
    /// Changes the text for people.
    pub description: Patch<String>,
}

/// A new account, with its generated values.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Public id.
    pub id: AccountId,
    /// Its name.
    pub name: AccountName,
    /// The bcrypt hash of its password.
    pub password_hash: String,
    /// The id that its refresh tokens are bound to, beside the hash.
    pub refresh_id: Uuid,
    /// Names of its roles.
    pub roles: Vec<String>,
    /// The status.
    pub status: Status,
    /// A text for people.
    pub description: Option<String>,
    /// When it is made.
    pub at: DateTime<Utc>,
}

/// The account on whose behalf a request acts, as the database had it within that request's own store call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Internal key.
    pub key: AccountKey,
    /// Public id.
    pub id: AccountId,
    /// Name at this time.
    pub name: String,
    /// Counts every change of it.
    pub version: i64,
    /// Its present permissions; through an API token the intersection of the account's and the token's.
    pub permissions: Permissions,
    /// The API token that the request came with, unless it came with the account's password.
    pub bearer: Option<Bearer>,
}

impl Actor {
    /// Its rights on a registry, by its membership or without one.
    #[must_use]
    pub fn on(&self, registry: RegistryKey, membership: Option<Membership>) -> Rights {
        match self.confined() {
            None => self.permissions.on(membership),
            Some(confined) if confined.registry == registry => confined.rights,
            Some(_) => Permissions::default().on(None),
        }
    }

    /// The registries that it may know of. A list shows no others.
    #[must_use]
    pub fn sight(&self) -> Sight {
        match self.confined() {
            Some(confined) if confined.rights.visible => Sight::One(confined.registry),
            Some(_) => Sight::None,
            None if self.permissions.see_all() => Sight::All,
            None => Sight::Memberships,
        }
    }

    /// The one registry that it acts on, if it came with a registry API token.
    #[must_use]
    pub fn confined(&self) -> Option<&Confined> {
        self.bearer.as_ref()?.confined.as_ref()
    }

    /// This account, acting at this time.
    #[must_use]
    pub fn stamp(&self, at: DateTime<Utc>) -> super::Attribution {
        super::Attribution {
            at,
            by: self.id,
            by_name: self.name.clone(),
        }
    }
}

/// All the rights of an account: everywhere by roles, and on registries by memberships of them too.
#[derive(Debug, Clone, Default)]
pub struct Holdings {
    /// The permissions of roles.
    pub permissions: Permissions,
    /// The registries that the account is a member of.
    pub memberships: Vec<(RegistryKey, Membership)>,
}

impl Holdings {
    fn on(&self, registry: RegistryKey) -> Rights {
        let membership = self.memberships.iter().find(|(key, _)| *key == registry);
        self.permissions.on(membership.map(|(_, level)| *level))
    }

    /// The rights that others include and these lack, as phrases. No registry is named: the caller may not know of it.
    fn lacks_of(&self, others: &Self) -> Vec<String> {
        let mut roles = self.permissions.lacks_of(&others.permissions);
        // Resources of this service first: of those of StackRox there are many, and they permit nothing here.
        roles.sort_by_key(|lack| !Resource::ALL.iter().any(|own| own.name() == lack.resource));
        let roles = roles
            .iter()
            .map(|lack| format!("{} permission for {}", lack.needed, lack.resource));
        let mut registries = others.memberships.iter();
        let beyond = registries.find(|(registry, _)| {
            let theirs = others.on(*registry);
            !self.on(*registry).cover(&theirs)
        });
        let beyond =
            beyond.map(|(_, level)| format!("all that its membership gives it as {level}"));
        roles.chain(beyond).collect()
    }
}

/// An account carries all its rights: a caller that sets its password can use them.
impl Credential for Holdings {
    type Held = Self;

    fn require_held(&self, held: &Self) -> Result<()> {
        /// The most rights that an error names.
        const NAMED: usize = 3;
        let lacks = held.lacks_of(self);
        if lacks.is_empty() {
            return Ok(());
        }
        let more = match lacks.len().saturating_sub(NAMED) {
            0 => String::new(),
            count => format!(", and {count} more"),
        };
        let named: Vec<_> = lacks.into_iter().take(NAMED).collect();
        Err(Error::Forbidden(format!(
            "the account may do more than you, by its roles or its memberships: you lack {}{more}; nobody obtains more \
             rights than they have, so only a caller with all rights of an account can make, change or delete it",
            named.join(", ")
        )))
    }
}

/// The registries that an actor may know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Every registry.
    All,
    /// Those that the account is a member of.
    Memberships,
    /// The one of a registry API token.
    One(RegistryKey),
    /// None.
    None,
}

/// The one registry that a registry API token acts on, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confined {
    /// The registry's internal key.
    pub registry: RegistryKey,
    /// Its public id.
    pub id: RegistryId,
    /// Its name.
    pub name: String,
    /// The most that the token may do there.
    pub level: TokenLevel,
    /// Its rights there: those of the level that its maker has now.
    pub rights: Rights,
}

/// The API token of a request, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// Its id.
    pub id: ApiTokenId,
    /// Its name.
    pub name: String,
    /// Its roles that still exist.
    pub roles: Vec<Role>,
    /// Its end.
    pub expires_at: DateTime<Utc>,
    /// The one registry that it acts on, if it is a registry API token. Then it has no roles.
    pub confined: Option<Confined>,
}

impl Bearer {
    /// The union of its roles' permissions: the bound on its creator's rights.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        role::union(&self.roles)
    }

    /// Returns true if a role of it permits access.
    #[must_use]
    pub fn has_role(&self) -> bool {
        self.roles.iter().any(|role| role.name != NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permission::Level;

    #[test]
    fn names_have_no_colon_and_no_control_characters() {
        let longest = "ö".repeat(255);
        for right in [
            "a",
            "alice@example.com",
            "Jörg",
            "two words",
            "דוד",
            &longest,
        ] {
            assert!(AccountName::parse(right).is_ok(), "{right:?} was refused");
        }
        let hidden = [
            "a\u{202e}b",
            "ad\u{200b}min",
            "\u{feff}a",
            "a\u{2066}",
            "a\u{ad}b",
        ];
        for wrong in ["", "a:b", "a\0", "a\n", " a", "a ", &"a".repeat(256)]
            .into_iter()
            .chain(hidden)
        {
            assert!(AccountName::parse(wrong).is_err(), "{wrong:?} was accepted");
        }
        for (one, other) in [("Alice", "aLICE"), ("JÖRG", "jo\u{308}rg")] {
            assert_eq!(
                AccountName::parse(one).unwrap().key(),
                AccountName::parse(other).unwrap().key()
            );
        }
        let name = AccountName::parse("Jörg").unwrap();
        assert_eq!((name.as_str(), name.key().as_str()), ("Jörg", "jörg"));
        // Of before case was ignored in all of Unicode.
        assert_eq!(account_keys("JÖRG"), ["jörg", "jÖrg"]);
    }

    #[test]
    fn passwords_are_never_cut() {
        let parse = |text: &str| NewPassword::parse(text.to_owned().into());
        assert!(parse(&"x".repeat(71)).is_ok());
        assert!(parse("pass:wörd").is_ok());
        assert!(parse("pässwörd").is_ok(), "eight characters");
        let token = secret::token_secret([7; secret::TOKEN_ENTROPY]);
        for wrong in [
            &"x".repeat(72),
            &"ö".repeat(36),
            "short",
            "tab\tinside",
            token.expose_secret(),
            &format!("  {}", token.expose_secret()),
            &format!("{}\u{a0}", token.expose_secret()),
            "\u{feff}correct horse",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?} was accepted");
        }
        // The form that is compared counts: 71 bytes of what was sent as 106.
        let composed = format!("{}x", "ö".repeat(35));
        let parsed = parse(&format!("{}x", "o\u{308}".repeat(35))).unwrap();
        assert_eq!(parsed.secret().expose_secret(), composed);
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

    /// An actor with a role on everything; through a registry API token, if it has rights on the registry 1.
    fn actor(permissions: Permissions, confined: Option<Rights>) -> Actor {
        let confined = confined.map(|rights| Confined {
            registry: RegistryKey(1),
            id: RegistryId(Uuid::nil()),
            name: "prod".to_owned(),
            level: TokenLevel::ALL[1],
            rights,
        });
        let bearer = confined.map(|confined| Bearer {
            id: ApiTokenId(Uuid::nil()),
            name: "ci".to_owned(),
            roles: Vec::new(),
            expires_at: DateTime::UNIX_EPOCH,
            confined: Some(confined),
        });
        Actor {
            key: AccountKey(1),
            id: AccountId(Uuid::nil()),
            name: "alice".to_owned(),
            version: 1,
            permissions,
            bearer,
        }
    }

    #[test]
    fn a_registry_api_token_acts_on_its_own_registry_alone() {
        let nothing = Permissions::default().on(None);
        let owner = Permissions::default().on(Some(Membership::Owner));
        let admin = permissions(&[("*", Level::Write)]);
        let (one, other) = (RegistryKey(1), RegistryKey(2));
        // Its maker is an Admin and an Owner of both: that counts for nothing beyond the token.
        let confined = actor(admin.clone(), Some(owner));
        assert_eq!(confined.on(one, None), owner);
        assert_eq!(confined.on(other, Some(Membership::Owner)), nothing);
        assert_eq!(confined.sight(), Sight::One(one));
        let blind = actor(admin.clone(), Some(nothing));
        assert_eq!(blind.on(one, Some(Membership::Owner)), nothing);
        assert_eq!(blind.sight(), Sight::None);

        let member = actor(Permissions::default(), None);
        assert_eq!(member.on(other, Some(Membership::Owner)), owner);
        assert_eq!(member.on(other, None), nothing);
        assert_eq!(member.sight(), Sight::Memberships);
        assert_eq!(actor(admin, None).sight(), Sight::All);
    }

    #[test]
    fn only_a_caller_with_all_rights_of_an_account_holds_it() {
        let of = |rows: &[(&str, Level)], memberships: &[(i64, Membership)]| Holdings {
            permissions: permissions(rows),
            memberships: memberships
                .iter()
                .map(|(registry, level)| (RegistryKey(*registry), *level))
                .collect(),
        };
        let (owner, reader) = (Membership::Owner, Membership::Reader);
        let admin = of(&[("*", Level::Write)], &[]);
        let nobody = of(&[], &[]);
        let lists = of(&[("Access", Level::Write)], &[]);
        for (account, caller, lacks) in [
            (&nobody, &nobody, None),
            (&admin, &admin, None),
            (&of(&[], &[(1, owner), (2, reader)]), &admin, None),
            (&of(&[], &[(1, reader)]), &of(&[], &[(1, owner)]), None),
            (
                &of(&[], &[(1, owner)]),
                &of(&[], &[(1, reader)]),
                Some("all that its membership gives it as owner"),
            ),
            // A membership of another registry is none of this one.
            (
                &of(&[], &[(1, reader)]),
                &of(&[], &[(2, owner)]),
                Some("all that its membership gives it as reader"),
            ),
            (&lists, &nobody, Some("write permission for Access")),
            // This service's own resources come first.
            (
                &of(&[("Alert", Level::Read), ("Token", Level::Read)], &[]),
                &nobody,
                Some("read permission for Token, read permission for Alert"),
            ),
        ] {
            let refusal = account.require_held(caller).err().map(|e| e.to_string());
            let told = lacks.map(|lacks| format!("you lack {lacks}"));
            match (refusal, told) {
                (None, None) => {}
                (Some(refusal), Some(told)) => assert!(
                    refusal.contains(&format!("{told}; nobody")),
                    "{account:?} {caller:?}: {refusal}"
                ),
                (refusal, _) => panic!("{account:?} {caller:?}: {refusal:?}"),
            }
        }
    }

    #[test]
    fn a_token_may_do_what_its_roles_permit_and_none_permits_nothing() {
        let bearer = |roles| Bearer {
            id: ApiTokenId(Uuid::nil()),
            name: "ci".to_owned(),
            roles,
            expires_at: DateTime::UNIX_EPOCH,
            confined: None,
        };
        let none = || role(NONE, &[]);
        let reader = || role("Reader", &[("Token", Level::Read)]);
        assert!(!bearer(vec![]).has_role());
        assert!(!bearer(vec![none()]).has_role());
        assert!(bearer(vec![none(), reader()]).has_role());
        assert_eq!(bearer(vec![none()]).permissions(), Permissions::default());
        assert_eq!(
            bearer(vec![none(), reader()]).permissions(),
            permissions(&[("Token", Level::Read)])
        );
    }
}
