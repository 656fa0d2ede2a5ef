//! The one error of the whole program.
//!
//! Every layer speaks it; each HTTP surface renders it in its own dialect. It owns the messages, so that a fault
//! reads the same wherever it surfaces, and refuses to know about HTTP: statuses live with the surfaces.
//! Messages are for the caller: they name the value that was wrong and what would be right, never a secret and
//! never an internal detail. Sources of [`Error::Unavailable`] and [`Error::Internal`] are for the log alone.

mod field;

use std::fmt;

use uuid::Uuid;

pub use self::field::Field;

/// Anything that can go wrong, as the caller's or as our own fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No credentials, or none that open anything. Says no more on purpose: unknown names, wrong passwords and
    /// disabled accounts must look alike.
    #[error(
        "the credentials are missing or wrong; send HTTP Basic with an account's name and password, or an API token as Bearer"
    )]
    Unauthenticated,
    /// An API token that is in force, all of whose roles are gone or stand for nothing.
    #[error("this API token has no role that is valid; make another one")]
    NoRole,
    /// The caller signed in too long ago for this.
    #[error("the sign-in is too long ago for this; sign in again")]
    StaleLogin,
    /// A request with a session's cookie that does not prove to come from where the session was made.
    #[error(
        "the X-CSRF-Token header is missing or not that of this session; GET /csrf_token answers with the right one"
    )]
    CsrfToken,
    /// A web page of another origin made a browser send this.
    #[error(
        "a web page of another origin may not do this; if that is this service's own address, set --public-url to it"
    )]
    ForeignOrigin,
    /// The caller is known and may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// The caller is known, and its roles do not permit this.
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
    #[error("{what} {which} not found{}", Remark(.hint.as_deref()))]
    NotFound {
        /// What kind of thing was looked for.
        what: What,
        /// Which one, as the caller named it.
        which: String,
        /// A suggestion, if one is likely to be right.
        hint: Option<String>,
    },
    /// The thing is no business of this service.
    #[error(
        "{what} {which}: images are the registry's own data; Wharfinger keeps registries and tokens, so ask the registry itself"
    )]
    Elsewhere {
        /// What kind of thing was looked for.
        what: What,
        /// Where the caller looked.
        which: String,
    },
    /// Another thing has the name.
    #[error("{} {what} named {name}{} already exists", .what.article(), DisplayHolder(.holder.as_ref()))]
    NameTaken {
        /// The kind of the thing.
        what: What,
        /// The name.
        name: String,
        /// The id of the thing that has it, if the caller may know that.
        holder: Option<Uuid>,
    },
    /// The thing exists and is not of a kind or in a state for this.
    #[error("{0}")]
    Unsuited(String),
    /// The thing is not in the state that the caller wants it to be in.
    #[error("{0}")]
    Precondition(String),
    /// Another request came with this key before.
    #[error(
        "this Idempotency-Key came with another body before; send the body that it came with, or a new key for a new request"
    )]
    KeyReused,
    /// What a request made has changed since, so it cannot be answered as it was.
    #[error(
        "the {0} that was made with this Idempotency-Key has changed or gone since, so the answer with what was made, a \
         secret included, cannot be given again; look at it, rotate or replace it if its secret is lost, and send a new key \
         with a new request"
    )]
    Outdated(What),
    /// There are as many of them as there may be.
    #[error("{0}")]
    Full(String),
    /// The request breaks one or more rules; all that were found, in the order of the request.
    #[error("{}", DisplayViolations(.0))]
    Invalid(Vec<Violation>),
    /// The path exists, the method does not.
    #[error("{method} is not supported here; supported: {allow}{}", Remark(*.hint))]
    MethodNotAllowed {
        /// What was sent.
        method: String,
        /// What would do, ready for the `Allow` header.
        allow: String,
        /// A remark on the supported methods, if one is needed.
        hint: Option<&'static str>,
    },
    /// The body is of a type that this path does not read.
    #[error("{sent} is not supported; send {supported}, uncompressed")]
    UnsupportedMediaType {
        /// What was sent, as a phrase.
        sent: String,
        /// The media type that would do.
        supported: &'static str,
    },
    /// The body took too long to arrive.
    #[error("the request body did not arrive in time")]
    RequestTimeout,
    /// The body is larger than this service reads.
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// The largest body read, in bytes.
        limit: usize,
    },
    /// Too much failed from this source, or is under way.
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
    /// A queue is full or the database does not serve; nothing was changed, unless the source says otherwise.
    #[error(
        "the service cannot answer right now; try again in {} s",
        Error::RETRY_AFTER
    )]
    Unavailable {
        /// What kind of failure, for those who retry.
        outage: Outage,
        /// The cause, for the log.
        source: Option<Source>,
    },
    /// The database was restored from a backup, and nobody has confirmed it yet.
    #[error(
        "this service was restored from a backup and is frozen: it lets nobody in and changes nothing until its operator \
         confirms that, with `wharfinger restore confirm`"
    )]
    Frozen,
    /// A defect of ours. The caller learns only that it happened; the log has the cause.
    #[error("an internal error; the log has it under this request's id")]
    Internal(#[source] Source),
}

/// A cause that is logged and never shown.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// What most of this crate returns.
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

    /// What lies behind it, for the log and for the operator's own commands; the message itself where nothing does.
    #[must_use]
    pub fn cause(&self) -> String {
        let cause =
            std::error::Error::source(self).map_or_else(|| self.to_string(), ToString::to_string);
        // libpq spreads its reasons over lines.
        cause.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The whole chain of causes, for the log alone.
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

/// How far something is permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Not at all.
    Nothing,
    /// To look.
    Read,
    /// To look and to change.
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
    /// On what.
    pub resource: String,
    /// How far it would have to go.
    pub needed: Reach,
    /// How far it goes.
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
    /// The noun, in lower case, as messages and error codes use it.
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
            Self::Repository => "repository",
            Self::Artifact => "artifact",
            Self::Vulnerability => "vulnerability",
            Self::Path => "path",
        }
    }
}

impl What {
    /// The indefinite article of its noun.
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

/// Why the service is unavailable: what a retry may expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// A bounded queue is full.
    Busy,
    /// The connection to the database is lost; a new one may work.
    Gone,
    /// The transaction met another one; run alone it may pass.
    Conflict,
    /// The database refuses: full, locked, read-only, broken.
    Refusing,
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "a queue is full",
            Self::Gone => "the database is away",
            Self::Conflict => "transactions conflict",
            Self::Refusing => "the database refuses",
        })
    }
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field at fault, [`Field::Body`] for the whole.
    pub field: Field,
    /// What was wrong and what would be right.
    pub message: String,
}

impl Violation {
    /// Names the field at fault and says what would be right.
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

/// Collects every broken rule of a request before refusing it, so that a caller mends all at once.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Notes a broken rule.
    pub fn push(&mut self, field: Field, message: impl Into<String>) {
        self.0.push(Violation::new(field, message));
    }

    /// Takes the value of a part that holds, or notes what was broken in it.
    ///
    /// Parsing makes no errors but [`Error::Invalid`]; any other would be told as one of the body.
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

    /// The whole, if no rule was broken.
    pub fn finish<T>(self, whole: Option<T>) -> Result<T> {
        match whole {
            Some(whole) if self.0.is_empty() => Ok(whole),
            _ => Err(Error::Invalid(self.0)),
        }
    }
}
