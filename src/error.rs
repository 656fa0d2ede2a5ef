//! The error type of the whole program.
//!
//! All layers use it; each HTTP surface renders it in its own dialect. It owns the messages, so that a fault reads the
//! same everywhere. It knows nothing of HTTP: the surfaces own the statuses. Messages are for the caller: they name the
//! wrong value and the right one, and never a secret or an internal detail. Sources of [`Error::Unavailable`] and
//! [`Error::Internal`] are for the log only.

mod field;

use std::fmt;

use uuid::Uuid;

pub use self::field::Field;

/// A failure, by the caller's or our own fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No credentials, or no valid ones. It gives no details on purpose: unknown names, wrong passwords and disabled
    /// accounts must look alike.
    #[error(
        "the credentials are missing or wrong; send HTTP Basic with an account's name and password, or an API token as Bearer"
    )]
    Unauthenticated,
    /// An API token that is in force, but whose roles are all gone or permit nothing.
    #[error("this API token has no valid role; make a new one")]
    NoRole,
    /// The caller signed in too long ago for this.
    #[error("the sign-in is too long ago for this; sign in again")]
    StaleLogin,
    /// A request with a session cookie and without a valid CSRF token.
    #[error(
        "the X-CSRF-Token header is missing or not that of this session; GET /csrf_token answers with the right one"
    )]
    CsrfToken,
    /// A web page of another origin made a browser send this.
    #[error(
        "a web page of another origin may not send this request; if that origin is the address of this service, set \
         --public-url to it"
    )]
    ForeignOrigin,
    /// The caller is authenticated and may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// The caller is authenticated, and its roles do not permit this.
    #[error(
        "your roles do not permit this; it needs a role with {} permission for {}",
        .0.needed,
        .0.resource
    )]
    Unpermitted(Lack),
    /// The caller asks for roles that permit more than its own.
    #[error("these roles permit more than yours: {}", DisplayLacks(.0))]
    Excessive(Vec<Lack>),
    /// The thing does not exist, or the caller may not know that it does.
    #[error("{}", DisplayMissing(*.what, .which, .hint.as_deref()))]
    NotFound {
        /// The kind of the thing.
        what: What,
        /// The name or id, as the caller sent it; of a secret, which is never repeated, the whole sentence.
        which: String,
        /// A suggestion, if one is likely to be right.
        hint: Option<String>,
    },
    /// This service does not manage things of this kind.
    #[error(
        "{what} {which}: images are the registry's own data; Wharfinger keeps registries and tokens, so ask the registry itself"
    )]
    Elsewhere {
        /// The kind of the thing.
        what: What,
        /// The name or path, as the caller sent it.
        which: String,
    },
    /// Another thing has the name.
    #[error(
        "{} {what} {} {name}{} already exists", .what.article(), .what.called(), DisplayHolder(.holder.as_ref())
    )]
    NameTaken {
        /// The kind of the thing.
        what: What,
        /// The name.
        name: String,
        /// The id of the thing that has it, if the caller may know that.
        holder: Option<Uuid>,
    },
    /// The thing exists, but its kind or state does not allow this.
    #[error("{0}")]
    Unsuited(String),
    /// The thing is not in the state that the caller requires.
    #[error("{0}")]
    Precondition(String),
    /// Another request used this idempotency key before.
    #[error(
        "this Idempotency-Key was sent with another body before; send that body again, or a new key with a new request"
    )]
    KeyReused,
    /// A repeat of a request whose result has changed since, so the first answer cannot be given again.
    #[error(
        "the {0} that was made with this Idempotency-Key was changed or deleted since, so the first answer cannot be \
         given again; read the {0}, rotate or replace it if its secret is lost, and send a new key with a new request"
    )]
    Outdated(What),
    /// A maximum is reached.
    #[error("{0}")]
    Full(String),
    /// The request breaks one or more rules: all that were found, in the order of the request.
    #[error("{}", DisplayViolations(.0))]
    Invalid(Vec<Violation>),
    /// The path exists, the method does not.
    #[error("{method} is not supported here; supported: {allow}{}", Remark(*.hint))]
    MethodNotAllowed {
        /// The method of the request.
        method: String,
        /// The supported methods, ready for the `Allow` header.
        allow: String,
        /// A remark on the supported methods, if one is needed.
        hint: Option<&'static str>,
    },
    /// The body is of a type that this path does not read.
    #[error("{sent} is not supported; send {supported}, uncompressed")]
    UnsupportedMediaType {
        /// The type that was sent, as a phrase.
        sent: String,
        /// The supported media type.
        supported: &'static str,
    },
    /// The body took too long to arrive.
    #[error("the request body did not arrive in time")]
    RequestTimeout,
    /// The body is larger than the limit.
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Too many authentications from this source failed, or are running.
    #[error(
        "too many wrong credentials came from this address, or too many are being checked; try again in {retry_after} s"
    )]
    RateLimited {
        /// Seconds to wait before the next try.
        retry_after: u64,
    },
    /// The account changed too much in the last hour for the audit trail.
    #[error(
        "this account made as many changes in the last hour as --changes-per-hour allows; try again in {retry_after} s"
    )]
    TooManyChanges {
        /// Seconds to wait before the next try.
        retry_after: u64,
    },
    /// A queue is full or the database is unavailable. Nothing was changed, unless the source says otherwise.
    #[error(
        "the service cannot answer right now; try again in {} s",
        Error::RETRY_AFTER
    )]
    Unavailable {
        /// The kind of failure, for retries.
        outage: Outage,
        /// The cause, for the log.
        source: Option<Source>,
    },
    /// The database was restored from a backup, and nobody has confirmed it yet.
    #[error(
        "this service was restored from a backup, or lost changes, and is frozen; it lets nobody in and changes nothing until its \
         operator runs `wharfinger restore confirm`"
    )]
    Frozen,
    /// A defect of ours. The caller learns only that it happened; the log has the cause.
    #[error("an internal error happened; the log has its cause under the id of this request")]
    Internal(#[source] Source),
}

/// A cause that is logged and never shown.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Seconds after which a caller may try again when the service was unavailable.
    pub const RETRY_AFTER: u64 = 1;

    /// The thing of this kind does not exist.
    pub fn not_found(what: What, which: impl fmt::Display) -> Self {
        Self::NotFound {
            what,
            which: which.to_string(),
            hint: None,
        }
    }

    /// A thing of this kind already holds the name.
    pub fn name_taken(what: What, name: impl fmt::Display) -> Self {
        Self::NameTaken {
            what,
            name: name.to_string(),
            holder: None,
        }
    }

    /// A single broken rule.
    pub fn invalid(field: Field, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(field, message)])
    }

    /// A queue is full.
    #[must_use]
    pub fn busy() -> Self {
        Self::Unavailable {
            outage: Outage::Busy,
            source: None,
        }
    }

    /// The cause, for the log and the operator's commands, or the message itself if there is none.
    #[must_use]
    pub fn cause(&self) -> String {
        let cause =
            std::error::Error::source(self).map_or_else(|| self.to_string(), ToString::to_string);
        // Messages of libpq have several lines.
        cause.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The whole chain of causes, for the log only.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }

    /// A defect of ours, with its cause.
    pub fn internal(source: impl Into<Source>) -> Self {
        Self::Internal(source.into())
    }
}

/// A level of permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// No access.
    Nothing,
    /// Read access.
    Read,
    /// Read and write access.
    Write,
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "no",
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// A permission that was needed and is not held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The resource.
    pub resource: String,
    /// The level that is needed.
    pub needed: Reach,
    /// The level that the caller has.
    pub held: Reach,
}

struct DisplayLacks<'a>(&'a [Lack]);

impl fmt::Display for DisplayLacks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, lack) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(
                f,
                "{comma}{} instead of {} permission for {}",
                lack.needed, lack.held, lack.resource
            )?;
        }
        Ok(())
    }
}

/// Kinds of things that can be missing or taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A registry, our tenant.
    Registry,
    /// A registry token.
    Token,
    /// A token of this service's own APIs.
    ApiToken,
    /// A token that opens registries on behalf of an account.
    AppToken,
    /// A person's or machine's account.
    Account,
    /// A role.
    Role,
    /// An account as a member of a registry.
    Member,
    /// The owner of a secret.
    Secret,
    /// A run: a change of many tokens.
    Bulk,
    /// A service that signs JWTs for workloads.
    Issuer,
    /// The workloads of an issuer that open a registry.
    Trust,
    /// A repository: the registry's own data.
    Repository,
    /// An artifact: the registry's own data.
    Artifact,
    /// A vulnerability: the registry's own data.
    Vulnerability,
    /// A path of this service.
    Path,
}

impl What {
    /// The noun in lower case, for messages and error codes.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Token => "token",
            Self::ApiToken => "API token",
            Self::AppToken => "app token",
            Self::Account => "account",
            Self::Role => "role",
            Self::Member => "member",
            Self::Secret => "secret",
            Self::Bulk => "bulk run",
            Self::Issuer => "issuer",
            Self::Trust => "trust",
            Self::Repository => "repository",
            Self::Artifact => "artifact",
            Self::Vulnerability => "vulnerability",
            Self::Path => "path",
        }
    }
}

impl What {
    /// The indefinite article of its noun.
    /// The word before its name.
    fn called(self) -> &'static str {
        match self {
            Self::Issuer => "with the URL",
            _ => "named",
        }
    }

    fn article(self) -> &'static str {
        if self.noun().starts_with(['a', 'e', 'i', 'o']) {
            "an"
        } else {
            "a"
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.noun())
    }
}

/// The reason why the service is unavailable, for retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// A bounded queue is full.
    Busy,
    /// The connection to the database is lost; a new one may work.
    Gone,
    /// The transaction conflicted with another one; alone it may succeed.
    Conflict,
    /// The database refuses: full, locked, read-only, broken.
    Refusing,
    /// The keys of an issuer of workloads' JWTs are away.
    Issuer,
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "a queue is full",
            Self::Gone => "the database cannot be reached",
            Self::Conflict => "transactions conflict",
            Self::Refusing => "the database refuses the work",
            Self::Issuer => "the keys of an issuer cannot be fetched",
        })
    }
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field at fault, [`Field::Body`] for the whole.
    pub field: Field,
    /// The message: the wrong value and the right one.
    pub message: String,
}

impl Violation {
    /// Makes a violation of a field with a message.
    pub fn new(field: Field, message: impl Into<String>) -> Self {
        Self {
            field,
            message: message.into(),
        }
    }
}

/// A remark at the end of a sentence.
struct Remark<'a>(Option<&'a str>);

impl fmt::Display for Remark<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |remark| write!(f, "; {remark}"))
    }
}

/// See [`Error::NotFound`].
struct DisplayMissing<'a>(What, &'a str, Option<&'a str>);

impl fmt::Display for DisplayMissing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(what, which, hint) = self;
        match what {
            What::Secret => f.write_str(which),
            what => write!(f, "{what} {which} not found{}", Remark(*hint)),
        }
    }
}

/// The id of the thing that has a name.
struct DisplayHolder<'a>(Option<&'a Uuid>);

impl fmt::Display for DisplayHolder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |id| write!(f, ", with the id {id},"))
    }
}

struct DisplayViolations<'a>(&'a [Violation]);

impl fmt::Display for DisplayViolations<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            f.write_str(&violation.message)?;
        }
        Ok(())
    }
}

/// Collects every broken rule of a request, so that a caller can correct all at once.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Adds a broken rule.
    pub fn push(&mut self, field: Field, message: impl Into<String>) {
        self.0.push(Violation::new(field, message));
    }

    /// Returns the value of a valid part, or adds its violations.
    ///
    /// Parsing returns no other errors than [`Error::Invalid`]; any other would be added as a violation of the body.
    pub fn take<T>(&mut self, part: Result<T>) -> Option<T> {
        match part {
            Ok(value) => Some(value),
            Err(Error::Invalid(mut violations)) => {
                self.0.append(&mut violations);
                None
            }
            Err(other) => {
                self.push(Field::Body, other.to_string());
                None
            }
        }
    }

    /// Returns `whole` if no rule was broken.
    pub fn finish<T>(self, whole: Option<T>) -> Result<T> {
        match whole {
            Some(whole) if self.0.is_empty() => Ok(whole),
            _ => Err(Error::Invalid(self.0)),
        }
    }
}
