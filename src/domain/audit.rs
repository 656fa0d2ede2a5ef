//! The audit trail: what an event says.
//!
//! Owns the kinds of events and what is told of each thing before and after a change: never a secret. Refuses to know
//! how events are chained and kept.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::account::{Account, Actor};
use super::api_token::ApiToken;
use super::app_token::AppToken;
use super::excerpt::{Detail, Text};
use super::id::{AccountId, ApiTokenId, RegistryId};
use super::membership::Membership;
use super::secret::masked;
use super::text::quoted;
use crate::error::{Error, Field, Result};

/// The longest name that is kept of somebody unknown, in characters.
const NAME: usize = 255;
/// The most bytes of a name in an event, as JSON.
const NAME_LENGTH: usize = 256;
/// The most bytes of a request's id in an event, as JSON.
const REQUEST_ID_LENGTH: usize = 128;

/// Where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The peer, or who a trusted proxy says it is; none for a command on the machine itself.
    pub address: Option<IpAddr>,
    /// What answers and log lines name the request by; empty for a command.
    pub request_id: String,
}

impl Origin {
    /// A command on the machine itself.
    #[must_use]
    pub fn command() -> Self {
        Self {
            address: None,
            request_id: String::new(),
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $field:expr => { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every one, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word on the wire and in the tables.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// Reads the word as a caller sends it.
            pub fn parse(text: &str) -> Result<Self> {
                let found = Self::ALL.iter().copied().find(|known| known.as_str() == text);
                found.ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|known| known.as_str()).collect();
                    Error::invalid(
                        $field,
                        format!("{} {} is none of {}", $field.as_str(), quoted(text), known.join(", ")),
                    )
                })
            }
        }
    };
}

words! {
    /// What an event tells of.
    Kind, Field::Kind => {
        /// A thing was made.
        Create = "create",
        /// A thing was changed.
        Update = "update",
        /// A thing was deleted.
        Delete = "delete",
        /// A token was revoked: it stays listed and opens nothing.
        Revoke = "revoke",
        /// The code of an app token, or the secret of a token whose making was repeated, was shown again.
        Reveal = "reveal",
        /// The secret of a token or a key was replaced: the one that signs for a registry, or the server key.
        Rotate = "rotate",
        /// What was restored from a backup was confirmed.
        Restore = "restore",
        /// A secret was found where it does not belong.
        Leak = "leak",
        /// Somebody proved who they are to get something that lasts: a JWT for a registry, or a session.
        Login = "login",
        /// A request was refused.
        Refuse = "refuse",
    }
}

words! {
    /// What became of it.
    Outcome, Field::Outcome => {
        /// It was done.
        Success = "success",
        /// It was refused for want of credentials.
        Unauthenticated = "unauthenticated",
        /// It was refused for want of permission.
        Forbidden = "forbidden",
        /// It was refused since too much had failed before, was under way, or was changed by the account.
        Throttled = "throttled",
    }
}

words! {
    /// What kind of thing an event is about.
    SubjectKind, Field::Other("subject-kind") => {
        /// A registry.
        Registry = "registry",
        /// A registry token.
        Token = "token",
        /// An app token.
        AppToken = "app-token",
        /// An API token.
        ApiToken = "api-token",
        /// An account.
        Account = "account",
        /// An account as a member of a registry.
        Member = "member",
        /// The keys that sign for a registry.
        SigningKey = "signing-key",
        /// A session.
        Session = "session",
        /// The service: what belongs to nothing else.
        Service = "service",
    }
}

words! {
    /// Why somebody was refused whose secret was a right one.
    Reason, Field::Other("reason") => {
        /// The token or the account is disabled.
        Disabled = "disabled",
        /// The token has ended.
        Expired = "expired",
        /// The secret was replaced and its grace is over; or what was got with it is of before that, or of before its token or
        /// account was disabled or changed.
        Ended = "secret-ended",
        /// The secret is older than its registry allows.
        TooOld = "secret-too-old",
        /// The token's allow list does not hold the address.
        Address = "address",
        /// The registry's allow list does not hold the address.
        RegistryAddress = "registry-address",
        /// The account on whose behalf the token acts is disabled.
        AccountDisabled = "account-disabled",
        /// The account may not see the registry.
        NoMember = "no-member",
    }
}

/// The facts about a refused login, for the audit trail and the log alone: the client learns nothing of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The registry that was asked for, if it was looked for.
    pub registry: Option<RegistryId>,
    /// Its name, if it was not.
    pub registry_name: Option<String>,
    /// The owner of the secret, if it was a right one.
    pub subject: Option<(SubjectKind, Uuid)>,
    /// The owner's name, which may be another spelling of the name that was sent.
    pub name: Option<String>,
    /// Why it was refused then.
    pub reason: Option<Reason>,
}

impl Refusal {
    /// The error for the client, who learns nothing of the reason.
    pub fn because(&mut self, reason: Reason) -> Error {
        self.reason = Some(reason);
        Error::Unauthenticated
    }
}

impl Outcome {
    /// What an error is to whoever asked, if it is a refusal.
    #[must_use]
    pub fn of(error: &Error) -> Option<Self> {
        match error {
            Error::Unauthenticated | Error::NoRole | Error::StaleLogin => {
                Some(Self::Unauthenticated)
            }
            Error::CsrfToken
            | Error::Forbidden(_)
            | Error::Unpermitted(_)
            | Error::Excessive(_) => Some(Self::Forbidden),
            Error::RateLimited { .. } | Error::TooManyChanges { .. } => Some(Self::Throttled),
            _ => None,
        }
    }
}

/// With what somebody came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// An account's password.
    Password,
    /// A session, made with one.
    Session,
    /// An API token.
    ApiToken(ApiTokenId),
    /// The machine itself: whoever may read the server key.
    Command,
    /// The token of the operator's secret scanner.
    Scanner,
    /// Nothing: the service does it by itself.
    Service,
}

impl Credential {
    fn record(self) -> Value {
        match self {
            Self::Password => json!({"kind": "password"}),
            Self::Session => json!({"kind": "session"}),
            Self::ApiToken(id) => json!({"kind": "api-token", "id": id.to_string()}),
            Self::Command => json!({"kind": "command"}),
            Self::Scanner => json!({"kind": "secret-scanner"}),
            Self::Service => json!({"kind": "service"}),
        }
    }
}

/// What is told of a name that nobody proved. People paste secrets where names belong: those are not kept.
#[must_use]
pub fn told_name(name: &str) -> Option<String> {
    let shown = name.chars().filter(|c| !c.is_control()).take(NAME);
    (masked(name) == name).then(|| shown.collect())
}

/// Who did something, with what and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// The account; none if nobody is known.
    pub actor: Option<AccountId>,
    /// The name at that time.
    pub actor_name: Option<String>,
    /// What it came with.
    pub credential: Option<Credential>,
    /// From where.
    pub origin: Origin,
}

impl By {
    /// A command on the machine itself.
    #[must_use]
    pub fn command() -> Self {
        Self {
            actor: None,
            actor_name: None,
            credential: Some(Credential::Command),
            origin: Origin::command(),
        }
    }

    /// The operator's secret scanner.
    #[must_use]
    pub fn scanner(origin: Origin) -> Self {
        Self {
            credential: Some(Credential::Scanner),
            ..Self::nobody(origin)
        }
    }

    /// Nobody that is known.
    #[must_use]
    pub fn nobody(origin: Origin) -> Self {
        Self {
            actor: None,
            actor_name: None,
            credential: None,
            origin,
        }
    }

    /// Somebody who says this is their name.
    #[must_use]
    pub fn named(name: &str, origin: Origin) -> Self {
        Self {
            actor_name: told_name(name),
            ..Self::nobody(origin)
        }
    }

    /// The account on whose behalf a request acts.
    #[must_use]
    pub fn actor(actor: &Actor, credential: Credential, origin: Origin) -> Self {
        Self {
            actor: Some(actor.id),
            actor_name: Some(actor.name.clone()),
            credential: Some(credential),
            origin,
        }
    }
}

/// What happened to a thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What was done.
    pub kind: Kind,
    /// To what kind of thing.
    pub subject_kind: SubjectKind,
    /// To which one.
    pub subject: Option<Uuid>,
    /// In which registry, or which registry.
    pub registry: Option<RegistryId>,
    /// What it was.
    pub before: Option<Value>,
    /// What it is.
    pub after: Option<Value>,
    /// What else is told.
    pub beside: Map<String, Value>,
}

/// The name of an actor as an event tells it: accounts may be called like a secret, too.
fn told_actor(name: Option<&str>) -> Option<Text<NAME_LENGTH>> {
    name.map(|name| Text::new(&masked(name)))
}

/// A record in which what has the form of a secret is masked: people paste secrets where names belong.
fn without_secrets(record: Value) -> Value {
    match record {
        Value::String(text) => masked(&text).into_owned().into(),
        Value::Array(values) => values.into_iter().map(without_secrets).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (masked(&name).into_owned(), without_secrets(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other,
    }
}

impl Change {
    /// A thing was made.
    pub fn created<T: Recorded>(thing: &T) -> Self {
        Self::of(Kind::Create, None, Some(thing))
    }

    /// A thing was changed.
    pub fn updated<T: Recorded>(before: &T, after: &T) -> Self {
        Self::of(Kind::Update, Some(before), Some(after))
    }

    /// The secret of a thing was shown again.
    pub fn revealed<T: Recorded>(thing: &T) -> Self {
        Self::of(Kind::Reveal, None, Some(thing))
    }

    /// A thing is gone.
    pub fn deleted<T: Recorded>(thing: &T) -> Self {
        Self::of(Kind::Delete, Some(thing), None)
    }

    /// Something was done to a thing that leaves what is recorded of it as it was.
    pub fn done<T: Recorded>(kind: Kind, thing: &T) -> Self {
        Self {
            before: None,
            ..Self::of(kind, None, Some(thing))
        }
    }

    fn of<T: Recorded>(kind: Kind, before: Option<&T>, after: Option<&T>) -> Self {
        let thing = after.or(before);
        Self {
            kind,
            subject_kind: T::KIND,
            subject: thing.map(Recorded::id),
            registry: thing.and_then(Recorded::registry),
            before: before.map(|thing| without_secrets(thing.record())),
            after: after.map(|thing| without_secrets(thing.record())),
            beside: Map::new(),
        }
    }

    /// Something was done to the service itself.
    #[must_use]
    pub fn of_service(kind: Kind, before: Option<Value>, after: Option<Value>) -> Self {
        Self {
            kind,
            subject_kind: SubjectKind::Service,
            subject: None,
            registry: None,
            before,
            after,
            beside: Map::new(),
        }
    }

    /// The same, with a word on what no record of the thing shows.
    #[must_use]
    pub fn with(mut self, name: &str, word: &str) -> Self {
        if let Some(Value::Object(after)) = &mut self.after {
            after.insert(name.to_owned(), word.into());
        }
        self
    }

    /// The same of something in a registry.
    #[must_use]
    pub fn within(mut self, registry: RegistryId) -> Self {
        self.registry = Some(registry);
        self
    }
}

/// An event to be kept: at most 2 KiB, whoever made it happen and with what.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When.
    pub at: DateTime<Utc>,
    /// What was done or tried.
    pub kind: Kind,
    /// What became of it.
    pub outcome: Outcome,
    /// Who; none if nobody is known.
    pub actor: Option<AccountId>,
    /// The name at that time, or the name that was tried.
    pub actor_name: Option<Text<NAME_LENGTH>>,
    /// In which registry, or which registry.
    pub registry: Option<RegistryId>,
    /// The name of the registry, where it is not looked for but when the event is written: a refusal is to cost no look.
    pub registry_name: Option<String>,
    /// What kind of thing it is about.
    pub subject_kind: SubjectKind,
    /// Which one.
    pub subject: Option<Uuid>,
    /// From where; none for a command on the machine itself.
    pub address: Option<IpAddr>,
    /// In which request.
    pub request_id: Text<REQUEST_ID_LENGTH>,
    /// All else.
    pub detail: Detail,
}

impl Event {
    /// Something that changed nothing: about a thing, or about the service itself.
    #[must_use]
    pub fn of(
        kind: Kind,
        outcome: Outcome,
        subject: (SubjectKind, Option<Uuid>),
        by: By,
        at: DateTime<Utc>,
    ) -> Self {
        let By {
            actor,
            actor_name,
            credential,
            origin,
        } = by;
        let credential = credential.map(Credential::record);
        Self {
            at,
            kind,
            outcome,
            actor,
            actor_name: told_actor(actor_name.as_deref()),
            registry: None,
            registry_name: None,
            subject_kind: subject.0,
            subject: subject.1,
            address: origin.address,
            request_id: Text::new(&origin.request_id),
            detail: Detail::new(credential.map(|credential| ("credential".to_owned(), credential))),
        }
    }

    /// A request that was refused.
    #[must_use]
    pub fn of_refusal(outcome: Outcome, refusal: &Refusal, by: By, at: DateTime<Utc>) -> Self {
        let (kind, subject) = match (refusal.subject, by.credential) {
            (Some((kind, id)), _) => (kind, Some(id)),
            (None, Some(Credential::ApiToken(id))) => (SubjectKind::ApiToken, Some(id.0)),
            (None, _) => (SubjectKind::Service, None),
        };
        let actor_name = refusal.name.clone().or(by.actor_name);
        let by = By { actor_name, ..by };
        let mut event = Self::of(Kind::Refuse, outcome, (kind, subject), by, at);
        event.registry = refusal.registry;
        event.registry_name.clone_from(&refusal.registry_name);
        if let Some(reason) = refusal.reason {
            event.detail = event.detail.with("reason", reason.as_str());
        }
        event
    }

    /// A change that was made. Of what was there before and after, only members that differ are told; of a leaked thing all,
    /// as the leak changed none of them.
    #[must_use]
    pub fn of_change(change: Change, by: &By, at: DateTime<Utc>) -> Self {
        let credential = by.credential.map(Credential::record);
        let (mut before, mut after) = (change.before, change.after);
        if let (Some(Value::Object(before)), Some(Value::Object(after))) = (&mut before, &mut after)
            && change.kind != Kind::Leak
        {
            before.retain(|name, value| match after.get(name) {
                Some(same) if same == value => {
                    after.remove(name);
                    false
                }
                _ => true,
            });
        }
        let members = [
            ("credential", credential),
            ("before", before),
            ("after", after),
        ];
        let members = members.into_iter();
        let detail = Detail::new(
            members
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .chain(change.beside),
        );
        Self {
            at,
            kind: change.kind,
            outcome: Outcome::Success,
            actor: by.actor,
            actor_name: told_actor(by.actor_name.as_deref()),
            registry: change.registry,
            registry_name: None,
            subject_kind: change.subject_kind,
            subject: change.subject,
            address: by.origin.address,
            request_id: Text::new(&by.origin.request_id),
            detail,
        }
    }
}

/// An event as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptEvent {
    /// Whose chain it is in.
    pub chain: i64,
    /// Its place there, from 1.
    pub sequence: i64,
    /// What it says. Words of a later release are told as they are.
    pub said: Said,
}

/// What a kept event says, in the words of whoever kept it.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// When.
    pub at: DateTime<Utc>,
    /// See [`Kind`].
    pub kind: String,
    /// See [`Outcome`].
    pub outcome: String,
    /// Who.
    pub actor: Option<Uuid>,
    /// The name at that time.
    pub actor_name: Option<String>,
    /// In which registry, or which registry.
    pub registry: Option<Uuid>,
    /// See [`SubjectKind`].
    pub subject_kind: String,
    /// Which one.
    pub subject: Option<Uuid>,
    /// From where.
    pub address: Option<String>,
    /// In which request.
    pub request_id: String,
    /// All else: JSON, verbatim.
    pub detail: String,
}

/// Something whose changes are told.
pub trait Recorded {
    /// What kind of thing it is.
    const KIND: SubjectKind;

    /// Its public id.
    fn id(&self) -> Uuid;

    /// The registry that it is or belongs to, where the thing knows.
    fn registry(&self) -> Option<RegistryId> {
        None
    }

    /// What is told of it: no secret and nothing that is kept of one.
    fn record(&self) -> Value;
}

impl Recorded for Account {
    const KIND: SubjectKind = SubjectKind::Account;

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn record(&self) -> Value {
        json!({
            "name": self.name,
            "status": self.status.as_str(),
            "roles": self.roles,
            "version": self.version,
        })
    }
}

impl Recorded for AppToken {
    const KIND: SubjectKind = SubjectKind::AppToken;

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn record(&self) -> Value {
        json!({"title": self.title, "expires": self.expires_at})
    }
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

/// What an account is to a registry.
impl Recorded for (AccountId, Membership) {
    const KIND: SubjectKind = SubjectKind::Member;

    fn id(&self) -> Uuid {
        self.0.0
    }

    fn record(&self) -> Value {
        json!({"level": self.1.as_str()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_in_the_names_of_members_too() {
        let secret = "whrt_0123456789abcdefghijklmnopqrstuvwxyzABC";
        let record = json!({"properties": {secret: [secret]}});
        let masked = without_secrets(record);
        assert_eq!(
            masked,
            json!({"properties": {"whrt_[masked]": ["whrt_[masked]"]}})
        );
    }
}
