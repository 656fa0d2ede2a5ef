//! The audit trail: the content of an event.
//!
//! Owns the kinds of events and the record of each thing before and after a change, which never has a secret. Refuses
//! to know how events are chained and kept.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::account::{Account, Actor};
use super::claims::named_claims;
use super::excerpt::{Detail, Text};
use super::id::{AccountId, ApiTokenId, RegistryId, TrustKey};
use super::membership::Membership;
use super::secret::masked;
use super::text::quoted;
use super::trust_refusal::RefusalDetail;
use crate::error::{Error, Field, Result};

/// The longest name of an unknown actor that is kept, in characters.
const NAME: usize = 255;
/// The most bytes of a name in an event, as JSON.
const NAME_LENGTH: usize = 256;
/// The most bytes of a request's id in an event, as JSON.
const REQUEST_ID_LENGTH: usize = 128;

/// The origin of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The peer, or the client that a trusted proxy names; none for a command on the machine itself.
    pub address: Option<IpAddr>,
    /// The id of the request in answers and log lines; empty for a command.
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
            /// All of them, in the order of their declaration.
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
    /// The kind of an event.
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
        /// A restore from a backup was confirmed.
        Restore = "restore",
        /// The database lost events that it had acknowledged.
        Loss = "loss",
        /// A run, a change of many tokens, began or ended.
        Bulk = "bulk",
        /// A leaked secret was found.
        Leak = "leak",
        /// An account or a command asked which credential a secret belongs to.
        Lookup = "lookup",
        /// A login gave something that lasts: a JWT for a registry, or a session.
        Login = "login",
        /// A request was refused.
        Refuse = "refuse",
    }
}

words! {
    /// The outcome of an event.
    Outcome, Field::Outcome => {
        /// It was done.
        Success = "success",
        /// It was refused for want of credentials.
        Unauthenticated = "unauthenticated",
        /// It was refused for want of permission.
        Forbidden = "forbidden",
        /// It was refused after too many failures or changes, or since too much was under way.
        Throttled = "throttled",
    }
}

words! {
    /// The kind of an event's subject.
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
        /// A service that signs JWTs for workloads.
        Issuer = "issuer",
        /// The workloads of an issuer that open a registry.
        Trust = "trust",
        /// The keys that sign for a registry.
        SigningKey = "signing-key",
        /// A run: a change of many tokens.
        Bulk = "bulk",
        /// A session.
        Session = "session",
        /// The service: events of no other subject.
        Service = "service",
    }
}

words! {
    /// The reason to refuse a client whose secret was a right one.
    Reason, Field::Other("reason") => {
        /// The token or the account is disabled.
        Disabled = "disabled",
        /// The token has ended.
        Expired = "expired",
        /// The secret was replaced and its grace is over; or a credential issued for it is from before that, or from
        /// before its token or account was disabled or changed.
        Ended = "secret-ended",
        /// The secret is older than its registry allows.
        TooOld = "secret-too-old",
        /// The token's allow list does not hold the address.
        Address = "address",
        /// The registry's allow list does not hold the address.
        RegistryAddress = "registry-address",
        /// The registry is frozen.
        RegistryFrozen = "registry-frozen",
        /// The account on whose behalf the token acts is disabled.
        AccountDisabled = "account-disabled",
        /// The account may not see the registry.
        NoMember = "no-member",
        /// The JWT of a workload is of another issuer than the trust.
        Issuer = "issuer",
        /// The issuer of the trust is disabled.
        IssuerDisabled = "issuer-disabled",
        /// The JWT of a workload has another audience, several, or none.
        Audience = "audience",
        /// The JWT of a workload has ended.
        JwtExpired = "jwt-expired",
        /// The JWT of a workload is not valid yet, or was made in the future.
        JwtEarly = "jwt-not-yet-valid",
        /// A claim of a workload's JWT does not fit.
        Claims = "claims",
        /// The JWT of a workload was exchanged before.
        Exchanged = "jwt-exchanged",
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
    /// The reason of the refusal.
    pub reason: Option<Reason>,
    /// For a workload whose JWT its issuer signed: the trust, and the facts for the trust's owner.
    pub workload: Option<(TrustKey, RefusalDetail)>,
}

impl Refusal {
    /// Notes the reason. Returns the error for the client, which learns nothing of the reason.
    pub fn because(&mut self, reason: Reason) -> Error {
        self.reason = Some(reason);
        Error::Unauthenticated
    }
}

impl Outcome {
    /// The outcome that an error means, if it is a refusal.
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

/// The credential of an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// An account's password.
    Password,
    /// A session, made with one.
    Session,
    /// An API token.
    ApiToken(ApiTokenId),
    /// The machine itself: a user of it that may read the server key.
    Command,
    /// The token of the operator's secret scanner.
    Scanner,
    /// None: the service acts by itself.
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

/// The kept form of an unproven name. People paste secrets where names belong: those are not kept.
#[must_use]
pub fn told_name(name: &str) -> Option<String> {
    let shown = name.chars().filter(|c| !c.is_control()).take(NAME);
    (masked(name) == name).then(|| shown.collect())
}

/// The actor, its credential and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// The account; none if it is unknown.
    pub actor: Option<AccountId>,
    /// The name at that time.
    pub actor_name: Option<String>,
    /// The credential.
    pub credential: Option<Credential>,
    /// The origin.
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

    /// An unknown actor.
    #[must_use]
    pub fn nobody(origin: Origin) -> Self {
        Self {
            actor: None,
            actor_name: None,
            credential: None,
            origin,
        }
    }

    /// An actor with an unproven name.
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

/// A change of a thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The kind of the change.
    pub kind: Kind,
    /// The kind of the thing.
    pub subject_kind: SubjectKind,
    /// The id of the thing.
    pub subject: Option<Uuid>,
    /// The registry that it is or belongs to.
    pub registry: Option<RegistryId>,
    /// Its record before.
    pub before: Option<Value>,
    /// Its record after.
    pub after: Option<Value>,
    /// Further members of the event.
    pub beside: Map<String, Value>,
}

/// The kept form of an actor's name: accounts may be called like a secret, too.
fn told_actor(name: Option<&str>) -> Option<Text<NAME_LENGTH>> {
    name.map(|name| Text::new(&masked(name)))
}

/// A record in which every string in the form of a secret is masked: people paste secrets where names belong.
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

    /// A change of a thing that leaves its record as it was.
    pub fn done<T: Recorded>(kind: Kind, thing: &T) -> Self {
        Self {
            before: None,
            ..Self::of(kind, None, Some(thing))
        }
    }

    /// The end of a thing that stays listed. [`Event::of_change`] shows it whole, as it is after.
    pub fn revoked<T: Recorded>(thing: &T) -> Self {
        Self::of(Kind::Revoke, Some(thing), Some(thing)).with("status", "revoked")
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

    /// A change of the service itself.
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

    /// Adds a member that no record of the thing shows.
    #[must_use]
    pub fn with(mut self, name: &str, word: &str) -> Self {
        if let Some(Value::Object(after)) = &mut self.after {
            after.insert(name.to_owned(), word.into());
        }
        self
    }

    /// Sets the registry.
    #[must_use]
    pub fn within(mut self, registry: RegistryId) -> Self {
        self.registry = Some(registry);
        self
    }
}

/// An event, at most 2 KiB with any content.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The time.
    pub at: DateTime<Utc>,
    /// The kind of the change or of the try.
    pub kind: Kind,
    /// The outcome.
    pub outcome: Outcome,
    /// The actor; none if it is unknown.
    pub actor: Option<AccountId>,
    /// The name at that time, or the name that was tried.
    pub actor_name: Option<Text<NAME_LENGTH>>,
    /// The registry that the subject is or belongs to.
    pub registry: Option<RegistryId>,
    /// The name of the registry, if it is looked up only when the event is written: a refusal is to cost no lookup.
    pub registry_name: Option<String>,
    /// The kind of the subject.
    pub subject_kind: SubjectKind,
    /// The id of the subject.
    pub subject: Option<Uuid>,
    /// The address of the client; none for a command on the machine itself.
    pub address: Option<IpAddr>,
    /// The id of the request.
    pub request_id: Text<REQUEST_ID_LENGTH>,
    /// All else.
    pub detail: Detail,
}

impl Event {
    /// The same event without its account, address, registry and thing.
    #[must_use]
    pub fn of_nobody(self) -> Self {
        Self {
            actor: None,
            actor_name: None,
            registry: None,
            registry_name: None,
            subject: None,
            address: None,
            detail: Detail::default(),
            ..self
        }
    }

    /// An event without a change: about a thing, or about the service itself.
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

    /// The event of a refused request.
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
        if let Some((_, workload)) = &refusal.workload {
            event.detail = event
                .detail
                .with("claims", named_claims(&workload.identity));
        }
        event
    }

    /// The event of a change, with the members of the records that differ; for a leak, which changes none, with all.
    #[must_use]
    pub fn of_change(change: Change, by: &By, at: DateTime<Utc>) -> Self {
        let credential = by.credential.map(Credential::record);
        let (mut before, mut after) = (change.before, change.after);
        if change.kind == Kind::Revoke {
            before = None;
        }
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

/// A stored event.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptEvent {
    /// The number of its chain.
    pub chain: i64,
    /// Its sequence number there, from 1.
    pub sequence: i64,
    /// Its content. Words of a later release stay as they are.
    pub said: Said,
}

/// The content of a stored event, in the words of the release that wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The time.
    pub at: DateTime<Utc>,
    /// See [`Kind`].
    pub kind: String,
    /// See [`Outcome`].
    pub outcome: String,
    /// The actor.
    pub actor: Option<Uuid>,
    /// The name at that time.
    pub actor_name: Option<String>,
    /// The registry that the subject is or belongs to.
    pub registry: Option<Uuid>,
    /// See [`SubjectKind`].
    pub subject_kind: String,
    /// The id of the subject.
    pub subject: Option<Uuid>,
    /// The address of the client.
    pub address: Option<String>,
    /// The id of the request.
    pub request_id: String,
    /// All else: JSON, verbatim.
    pub detail: String,
}

/// A thing whose changes are recorded.
pub trait Recorded {
    /// The kind of the thing.
    const KIND: SubjectKind;

    /// Its public id.
    fn id(&self) -> Uuid;

    /// The registry that it is or belongs to, if the thing knows it.
    fn registry(&self) -> Option<RegistryId> {
        None
    }

    /// Its record, without a secret or a digest of one.
    fn record(&self) -> Value;
}

impl Recorded for Account {
    const KIND: SubjectKind = SubjectKind::Account;

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn record(&self) -> Value {
        let mut record = json!({
            "name": self.name,
            "status": self.status.as_str(),
            "roles": self.roles,
            "version": self.version,
        });
        if let (Value::Object(record), Some(description)) = (&mut record, &self.description) {
            record.insert("description".to_owned(), json!(description));
        }
        record
    }
}

/// The level of an account on a registry.
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
mod tests;
