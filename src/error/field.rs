//! The parts of a request, as errors name them.

macro_rules! fields {
    ($($name:ident = $text:literal: $when:literal,)*) => {
        /// The part of a request that breaks a rule. The registries surface reports it as `invalid-` and its name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field {
            $(#[doc = $when] $name,)*
            /// A parameter or a member that only another surface has, by its name there.
            Other(&'static str),
            /// A setting, a file or a command. The operator sees only the message.
            Setting,
        }

        impl Field {
            /// Every field that the registries surface has, in the order of its documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in error codes.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(name) => name,
                    Self::Setting => "setting",
                }
            }

            /// When a request breaks a rule in it, for the documentation.
            #[must_use]
            pub fn when(self) -> &'static str {
                match self {
                    $(Self::$name => $when,)*
                    Self::Other(_) | Self::Setting => "Never on the registries surface.",
                }
            }
        }
    };
}

fields! {
    Body = "body": "The body is missing, is not JSON, lacks a member at its top, has an unknown member, or did not arrive whole.",
    Name = "name": "A name outside its pattern, or another name in a PUT.",
    Description = "description": "Longer than 200 characters, with a control character, or with a secret.",
    Labels = "labels": "More than 16, a name or a value outside [its syntax](#descriptions-and-labels), or a secret in one.",
    Label = "label": "Not in the form `name=value`, with a name or a value that no [labels](#descriptions-and-labels) have, more than 16, or an empty list of a bulk action.",
    Location = "location": "None of `/locations`, or another one in a PUT.",
    GarbageCollectionSchedule = "garbage-collection-schedule": "No day, or no time of day.",
    Features = "features": "The request would switch scanning off, or its properties are too large.",
    ApiSubnetAllowList = "api-subnet-allow-list": "No address or network, or more than 25.",
    TokenVerifier = "token-verifier": "Neither `x5c` nor `pinned`.",
    Frozen = "frozen": "Neither `true` nor `false`.",
    MaximumSecretAge = "maximum-secret-age": "No [period](#a-new-secret), or one shorter than `PT1H`.",
    GracePeriod = "grace-period": "No period, or one longer than `P30D`.",
    For = "for": "No product whose configuration is known.",
    Bundle = "bundle": "No path, or one with a control character.",
    ExpiryDate = "expiry-date": "No RFC 3339 time with a zone, a past one, or [later than may be](#how-long-tokens-last).",
    DefaultTokenLife = "default-token-life": "No [period](#periods) of a second at least, or longer than the maximum.",
    MaximumTokenLife = "maximum-token-life": "No period of a second at least.",
    Scopes = "scopes": "A control character in a scope, a member of one is missing, or there is too much: see [Limits](#limits). In an evaluation also: no access is asked for, or access that no registry can ask for.",
    Scope = "scope": "No text, in an evaluation.",
    AllowedCidrs = "allowed-cidrs": "No address or network, or more than 25.",
    Address = "address": "No address, in an evaluation.",
    Status = "status": "Neither `enabled` nor `disabled`.",
    RegistryId = "registry-id": "Not in the form of an id, or an empty list of a bulk action.",
    TokenId = "token-id": "Not in the form of an id.",
    AccountId = "account-id": "Not in the form of an id.",
    ApiTokenId = "api-token-id": "Not in the form of an id.",
    AppTokenId = "app-token-id": "Not in the form of an id.",
    Password = "password": "Too short, too long, with a control character, or in the form of a token.",
    PresentPassword = "present-password": "Not the present password of the caller's account.",
    Roles = "roles": "There is no such role; the message names the roles.",
    Issuer = "issuer": "Of a trust: missing, not in the form of an id, or of no issuer.",
    IssuerId = "issuer-id": "Not in the form of an id.",
    TrustId = "trust-id": "Not in the form of an id.",
    Audience = "audience": "Empty, longer than 256 characters, or with a control character.",
    Claims = "claims": "No [rules](WORKLOAD.md#rules-for-claims), too many, or none for a claim that names the workload.",
    MaximumLife = "maximum-life": "No [period](#periods) from `PT1M` to `PT1H`.",
    Algorithms = "algorithms": "None, one twice, or one that is not accepted.",
    JwksUrl = "jwks-url": "Not the canonical https URL of a key set.",
    Jwks = "jwks": "No key set of 1 to 64 public keys, or beside `jwksUrl`.",
    Ca = "ca": "No certificates as PEM, or beside `jwks`.",
    Jwt = "jwt": "Of an evaluation: no JWT, or beside `claims`.",
    DeleteTrusts = "delete-trusts": "Neither `true` nor `false`.",
    Level = "level": "None of `owner`, `maintainer`, `reader`.",
    RevokeTokens = "revoke-tokens": "Neither `true` nor `false`.",
    Token = "token": "Of a leaked secret: missing, no text, too long, or with a control character.",
    Type = "type": "Of a leaked secret: no text, too long, or with a control character; of a filter: no type of API tokens.",
    Url = "url": "Of a leaked secret: no text, too long, or with a control character. Of an issuer: not a canonical https URL, or another one in a PUT.",
    Source = "source": "Of a leaked secret: no text, too long, or with a control character.",
    Secret = "secret": "Of a [lookup](#a-secret-that-was-found): missing, no text, or not in the form of a secret of this service.",
    Action = "action": "None of the actions of the request, or missing in the dry run of a [bulk action](#many-tokens-at-once).",
    IdempotencyKey = "idempotency-key": "Not 1 to 255 visible characters, or more than one.",
    IfMatch = "if-match": "Neither `*` nor a list of entity tags in double quotes.",
    IfNoneMatch = "if-none-match": "Neither `*` nor a list of entity tags in double quotes.",
    Query = "query": "The query string cannot be read, for example because a parameter comes twice, or it has a parameter that the operation does not have.",
    Since = "since": "No RFC 3339 time with a zone.",
    Until = "until": "No RFC 3339 time with a zone.",
    Kind = "kind": "Not a kind of [event](AUDIT.md#what-an-event-says), or of issuer.",
    Outcome = "outcome": "Not an outcome of an event.",
    Subject = "subject": "Not in the form of an id.",
    Offset = "offset": "No whole number from 0.",
    Limit = "limit": "No whole number from 0 to 1000.",
    FilterName = "filter-name": "A control character.",
    PaginationToken = "pagination-token": "Not given by this service, of another list, beside `offset`, or used with another filter.",
    ExpiringWithin = "expiring-within": "No [period](#periods).",
    ExpiredSince = "expired-since": "No [period](#periods).",
    UnusedSince = "unused-since": "No [period](#periods).",
    NeverUsed = "never-used": "Neither `true` nor `false`.",
    Filter = "filter": "Of a bulk action: without a condition and without `registryId`, or it finds more than 100000 tokens.",
    DryRun = "dry-run": "No truth value.",
    Confirmation = "confirmation": "Missing, not given by this service, older than 15 minutes, of another account, or with another filter or action.",
    MaximumChange = "maximum-change": "No whole number from 0, or in a dry run.",
    BulkId = "bulk-id": "Not in the form of an id.",
    State = "state": "None of the states that the list has.",
    CreatedBy = "created-by": "Not in the form of an account's id or name.",
    CreatedBefore = "created-before": "No RFC 3339 time with a zone.",
    CreatedAfter = "created-after": "No RFC 3339 time with a zone.",
    CanOpen = "can-open": "Not of the form `type:name:action`, or an action that is granted nowhere.",
    Carries = "carries": "No action: lower-case letters, or `*`.",
    OrderBy = "order-by": "None of the [orders](#find-tokens).",
    Owner = "owner": "Longer than 1024 characters, or with a control character.",
}

impl Field {
    /// The field of a member of a body, such as `expiryDate`; the body as a whole where there is no such field.
    #[must_use]
    pub fn of_member(member: &str) -> Self {
        let named = |field: &Self| {
            let letters = field.as_str().bytes().filter(|byte| *byte != b'-');
            letters.eq(member.bytes().map(|byte| byte.to_ascii_lowercase()))
        };
        Self::ALL.iter().copied().find(named).unwrap_or(Self::Body)
    }
}
