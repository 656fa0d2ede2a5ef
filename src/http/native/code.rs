//! The error codes of this surface.

use actix_web::http::StatusCode;

use crate::error::{Error, Field, What};

macro_rules! codes {
    ($($name:ident = $text:literal, $status:ident: $when:literal,)*) => {
        /// A kind of error, for programs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            /// A part of the request breaks a rule.
            Invalid(Field),
            $(#[doc = $when] $name,)*
        }

        impl Code {
            const FIXED: &'static [Self] = &[$(Self::$name,)*];

            /// The code in answers.
            #[must_use]
            pub fn text(self) -> String {
                match self {
                    Self::Invalid(field) => format!("invalid-{}", field.as_str()),
                    $(Self::$name => $text.to_owned(),)*
                }
            }

            /// The HTTP status.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self {
                    Self::Invalid(_) => StatusCode::BAD_REQUEST,
                    $(Self::$name => StatusCode::$status,)*
                }
            }

            /// When it is sent, for the documentation.
            #[must_use]
            pub fn when(self) -> &'static str {
                match self {
                    Self::Invalid(field) => field.when(),
                    $(Self::$name => $when,)*
                }
            }
        }
    };
}

codes! {
    Unauthenticated = "unauthenticated", UNAUTHORIZED: "See [above](#who-is-asking).",
    Forbidden = "forbidden", FORBIDDEN: "Neither the account's roles nor its membership permit it, or a foreign web page asks.",
    RegistryNotFound = "registry-not-found", NOT_FOUND: "No registry that the caller may see has this id, or, for HEAD on names, no registry has this name.",
    TokenNotFound = "token-not-found", NOT_FOUND: "No token of this registry has this id.",
    AccountNotFound = "account-not-found", NOT_FOUND: "No account has this id.",
    ApiTokenNotFound = "api-token-not-found", NOT_FOUND: "No API token that the caller may see there has this id.",
    AppTokenNotFound = "app-token-not-found", NOT_FOUND: "No app token that the caller may see there has this id.",
    MemberNotFound = "member-not-found", NOT_FOUND: "No member of this registry has this id.",
    SecretNotFound = "secret-not-found", NOT_FOUND: "No credential that the caller may write has this secret.",
    BulkNotFound = "bulk-not-found", NOT_FOUND: "No bulk run that the caller may see has this id.",
    IssuerNotFound = "issuer-not-found", NOT_FOUND: "No issuer has this id.",
    TrustNotFound = "trust-not-found", NOT_FOUND: "No trust of this registry has this id.",
    RepositoryNotFound = "repository-not-found", NOT_FOUND: "Always, for a repository and all below it: see [below](#where-it-differs-and-why).",
    ArtifactNotFound = "artifact-not-found", NOT_FOUND: "For all methods but GET and HEAD.",
    VulnerabilityNotFound = "vulnerability-not-found", NOT_FOUND: "Always.",
    PathNotFound = "path-not-found", NOT_FOUND: "There is no such path.",
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED: "The path does not have this method; `Allow` lists those that it has.",
    RequestTimeout = "request-timeout", REQUEST_TIMEOUT: "The body took longer than `--body-timeout`.",
    RegistryExists = "registry-exists", CONFLICT: "Another registry has this name.",
    TokenExists = "token-exists", CONFLICT: "Another token of this registry has this name; trusts share the names of tokens.",
    AccountExists = "account-exists", CONFLICT: "Another account has this name.",
    IssuerExists = "issuer-exists", CONFLICT: "Another issuer has this URL.",
    TrustExists = "trust-exists", CONFLICT: "Another trust of this registry has this name.",
    Conflict = "conflict", CONFLICT: "The registry's token verifier does not allow it. Or the account is the last enabled `Admin`, or has API tokens in force. Or the issuer has trusts. Or the tokens of a bulk action changed since its dry run. The message says what would help.",
    QuotaExceeded = "quota-exceeded", CONFLICT: "A [maximum](#limits) is reached; the message names it.",
    AnswerOutdated = "answer-outdated", CONFLICT: "The thing that was made with this key was changed or deleted, so the answer cannot be [given again](#asking-again).",
    PreconditionFailed = "precondition-failed", PRECONDITION_FAILED: "The thing is not in the state that [the request wants](#changing-what-you-have-seen); nothing was changed.",
    TooLarge = "too-large", PAYLOAD_TOO_LARGE: "The body is larger than 1 MiB.",
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE: "The body is not JSON, or is compressed.",
    IdempotencyKeyReused = "idempotency-key-reused", UNPROCESSABLE_ENTITY: "The key came [with another body](#asking-again) before.",
    RateLimited = "rate-limited", TOO_MANY_REQUESTS: "[Too many wrong credentials](SECURITY.md#wrong-credentials) came from this address, or 16 of its passwords are waiting to be checked. `Retry-After` says for how many seconds to wait.",
    TooManyChanges = "too-many-changes", TOO_MANY_REQUESTS: "The account made as many [changes](AUDIT.md#how-much-an-account-can-add) as it may in an hour. A request that ends something still works. `Retry-After` says for how many seconds to wait.",
    Internal = "internal", INTERNAL_SERVER_ERROR: "A defect. The log has its cause under the id of the request.",
    Frozen = "frozen", SERVICE_UNAVAILABLE: "The service was [restored from a backup](OPERATIONS.md#restoring), and its operator has not confirmed it. Until then only administrators get in, with their passwords, and only to read.",
    Unavailable = "unavailable", SERVICE_UNAVAILABLE: "A queue is full, or the database cannot be reached or refuses. `Retry-After` says for how many seconds to wait.",
}

impl Code {
    /// Every code that an answer of this surface can have, in the order of the documentation.
    pub fn all() -> impl Iterator<Item = Self> {
        let fields = Field::ALL.iter().copied().map(Self::Invalid);
        fields.chain(Self::FIXED.iter().copied())
    }

    pub(in super::super) fn of(error: &Error) -> Self {
        match error {
            Error::NotFound { what, .. } | Error::Elsewhere { what, .. } => Self::not_found(*what),
            Error::NameTaken { what, .. } => Self::exists(*what),
            Error::Unauthenticated | Error::NoRole | Error::StaleLogin => Self::Unauthenticated,
            Error::CsrfToken
            | Error::ForeignOrigin
            | Error::Forbidden(_)
            | Error::Unpermitted(_)
            | Error::Excessive(_) => Self::Forbidden,
            Error::Unsuited(_) => Self::Conflict,
            Error::Precondition(_) => Self::PreconditionFailed,
            Error::KeyReused => Self::IdempotencyKeyReused,
            Error::Outdated(_) => Self::AnswerOutdated,
            Error::Full(_) => Self::QuotaExceeded,
            Error::Invalid(_) => Self::Invalid(Field::Body),
            Error::MethodNotAllowed { .. } => Self::MethodNotAllowed,
            Error::UnsupportedMediaType { .. } => Self::UnsupportedMediaType,
            Error::RequestTimeout => Self::RequestTimeout,
            Error::TooLarge { .. } => Self::TooLarge,
            Error::RateLimited { .. } => Self::RateLimited,
            Error::TooManyChanges { .. } => Self::TooManyChanges,
            Error::Unavailable { .. } => Self::Unavailable,
            Error::Frozen => Self::Frozen,
            Error::Internal(_) => Self::Internal,
        }
    }

    fn not_found(what: What) -> Self {
        match what {
            What::Registry => Self::RegistryNotFound,
            What::Token => Self::TokenNotFound,
            What::Account => Self::AccountNotFound,
            What::Member => Self::MemberNotFound,
            What::Secret => Self::SecretNotFound,
            What::Bulk => Self::BulkNotFound,
            What::Issuer => Self::IssuerNotFound,
            What::Trust => Self::TrustNotFound,
            What::Repository => Self::RepositoryNotFound,
            What::Artifact => Self::ArtifactNotFound,
            What::Vulnerability => Self::VulnerabilityNotFound,
            What::ApiToken => Self::ApiTokenNotFound,
            What::AppToken => Self::AppTokenNotFound,
            // Only other surfaces have roles.
            What::Role | What::Path => Self::PathNotFound,
        }
    }

    fn exists(what: What) -> Self {
        match what {
            What::Registry => Self::RegistryExists,
            What::Token => Self::TokenExists,
            What::Account => Self::AccountExists,
            What::Issuer => Self::IssuerExists,
            What::Trust => Self::TrustExists,
            _ => Self::Conflict,
        }
    }
}
