//! Additions to the generated examples of this surface's document.

use serde_json::{Value, json};
use utoipa::openapi::header::Header;
use utoipa::openapi::{Content, Object, OpenApi, RefOr, Type};

use super::evaluation::{EvaluationView, WANTED};
use super::leak::{PATH, Scanning};
use super::lookup;
use super::repeat::REPLAYED;
use super::wire::TrustEvaluationView;
use crate::domain::auth_config;
use crate::domain::bulk::SetChange;
use crate::domain::claims::{ClaimRules, audience_verdict, issuer_verdict};
use crate::domain::evaluation::{evaluate, parse_wanted};
use crate::domain::id::RegistryId;
use crate::domain::issuer_kind::IssuerKind;
use crate::domain::permission::{Level, Resource};
use crate::domain::precondition::{Precondition, Tag};
use crate::domain::role::Permissions;
use crate::domain::token_scope::Scope;
use crate::error::{Error, What};
use crate::http::body::BODY_LIMIT;
use crate::http::examples;
use crate::http::native::Native;
use crate::service::trusts::TrustEvaluation;
use crate::service::{account_rules, issuers, leaks, lookups};

const REGISTRY: &str = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11";
const TOKEN: &str = "5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10";
const API_TOKEN: &str = "4c2f4f0e-6a0e-4f0a-9a53-0d6f3f1c2b11";
const APP_TOKEN: &str = "9d1f6b0e-2f6e-4f7b-8f55-6a0c3f7d1e22";
const BULK: &str = "c1b3a0de-7c62-4a8e-9d54-2f0f6b7a1e90";
const ISSUER: &str = "9d3c4a52-6b0e-4f7a-8c1d-2e5f7a9b0c13";
const TRUST: &str = "c8a1f0de-3b54-4e67-9a20-71d4c5e6f8b2";
const ACCOUNT: &str = "7ee77dcf-093f-48e6-9a14-161c73568589";
/// The schemas of things that have an `ETag`.
const STATED: [&str; 7] = [
    "AccountResponse",
    "IssuedTokenResponse",
    "IssuerResponse",
    "MemberResponse",
    "RegistryResponse",
    "TokenResponse",
    "TrustResponse",
];
/// The expiry of example tokens. Each release moves it to some months after itself.
const END: &str = "2027-03-31T00:00:00Z";
const SECRET: &str = "whrt_exampleexampleexampleexampleexampleexam";

/// Adds the examples.
pub(in super::super) fn illustrate(document: &mut OpenApi) {
    examples::illustrate::<Native>(document, "", error, fit);
    // Errors with messages of their own.
    let refused = |path: &str, status: &str| {
        ((path, status) == (PATH, "401")).then_some(Error::Unauthenticated)
    };
    examples::illustrate::<Scanning>(document, "", refused, |_, _, _| {});
    tell_states(document);
    fill_in(document);
}

/// The safe example body of an operation. Swagger UI fills its forms with these bodies, and people send them unchanged.
/// So a body that makes a thing grants little and for a short time, one that changes a thing removes rights, and no two
/// name the same thing. None has a password, which all readers of the document would know.
fn safe(operation: &str) -> Option<Value> {
    let token = |name: &str| {
        json!({"properties": {
            "name": name,
            "scopes": [{"actions": ["pull"], "name": "app/*", "type": "repository"}],
            "expiryDate": END,
        }})
    };
    let trust = |name: &str| {
        json!({"properties": {
            "name": name,
            "issuer": ISSUER,
            "claims": {"repository_id": "74", "ref": "refs/heads/main"},
            "scopes": [{"actions": ["pull"], "name": "app/*", "type": "repository"}],
            "expiryDate": END,
        }})
    };
    let schedule = json!({"days": ["Sunday"], "time": "04:00:00Z"});
    Some(match operation {
        "registriesPost" => json!({"properties": {"name": "team-a", "location": "de/fra"}}),
        "registriesPut" => json!({"properties": {"name": "team-b", "location": "de/fra"}}),
        "registriesPatch" => json!({"garbageCollectionSchedule": schedule}),
        "registriesTokensPost" => token("ci-pull"),
        "registriesTokensPut" => token("cluster-pull"),
        "registriesTokensPatch" | "registriesTrustsPatch" | "issuersPatch" | "accountsPatch" => {
            json!({"status": "disabled"})
        }
        "accountsPost" => {
            json!({"properties": {"name": "alice@example.com", "roles": []}})
        }
        "tokensBulkPost" => json!({"properties": {
            "filter": {"name": "ci-*", "unusedSince": "P90D"},
            "action": "disable",
            "dryRun": true,
        }}),
        "issuersPost" => json!({"properties": {
            "url": "https://token.actions.githubusercontent.com",
            "kind": "github",
            "status": "disabled",
        }}),
        "issuersPut" => json!({"properties": {
            "url": "https://gitlab.example.com",
            "kind": "gitlab",
            "status": "disabled",
        }}),
        "registriesTrustsPost" => trust("app-ci"),
        "registriesTrustsPut" => trust("app-nightly"),
        "registriesTrustsEvaluate" => json!({
            "claims": {
                "iss": "https://token.actions.githubusercontent.com",
                "aud": "team-a.localhost",
                "repository_id": "75",
            },
            "scope": "repository:app/web:pull",
        }),
        "registriesMembersPut" => json!({"level": "reader"}),
        "tokensLookup" => json!({"secret": SECRET}),
        "registriesApiTokensPost" => {
            json!({"properties": {"name": "nightly", "level": "reader", "expiryDate": END}})
        }
        // It is refused: a password that all readers of the document know would be worse.
        "mePasswordPut" => json!({"properties": {
            "password": "your new password",
            "presentPassword": "your present password",
        }}),
        _ => return None,
    })
}

/// Gives requests their safe examples.
fn fill_in(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        for operation in examples::operations(item) {
            let safe = operation.operation_id.as_deref().and_then(safe);
            let (Some(safe), Some(RefOr::T(body))) = (safe, &mut operation.request_body) else {
                continue;
            };
            for content in body.content.values_mut() {
                if let RefOr::T(content) = content {
                    content.example = Some(safe.clone());
                }
            }
        }
    }
}

/// Adds the `ETag` header to answers with a thing and to 304, and the header of repeats to answers that can be repeats.
fn tell_states(document: &mut OpenApi) {
    let mut header = Header::new(Object::with_type(Type::String));
    header.description =
        Some("The state of the resource, for If-Match and If-None-Match".to_owned());
    header.example = Some(json!("\"2a-3\""));
    let mut replayed = Header::new(Object::with_type(Type::String));
    replayed.description =
        Some("true if this answer was given before, to the same request".to_owned());
    replayed.example = Some(json!("true"));
    for item in document.paths.paths.values_mut() {
        for operation in examples::operations(item) {
            let mut parameters = operation.parameters.iter().flatten();
            let repeatable = parameters.any(|parameter| {
                matches!(parameter, RefOr::T(parameter) if parameter.name == "Idempotency-Key")
            });
            // Operations that make a thing answer with 201, and those that replace a secret with 200.
            let made = operation.responses.responses.contains_key("201");
            let made = if made { "201" } else { "200" };
            for (status, response) in &mut operation.responses.responses {
                let RefOr::T(response) = response else {
                    continue;
                };
                if repeatable && status == made {
                    response
                        .headers
                        .insert(REPLAYED.to_owned(), replayed.clone().into());
                }
                let shown = response.content.values().any(shows_a_state);
                if shown || status == "304" {
                    response
                        .headers
                        .insert("ETag".to_owned(), header.clone().into());
                }
            }
        }
    }
}

/// Returns true for a thing, and false for a list or an error.
fn shows_a_state(content: &RefOr<Content>) -> bool {
    let RefOr::T(content) = content else {
        return false;
    };
    let Some(RefOr::Ref(schema)) = &content.schema else {
        return false;
    };
    let name = schema.ref_location.rsplit('/').next();
    name.is_some_and(|name| STATED.contains(&name))
}

/// An error behind a status.
fn error(path: &str, status: &str) -> Option<Error> {
    let of_tokens = path.ends_with("/tokens") || path.contains("{tokenId}");
    Some(match status {
        "400" => RegistryId::parse("team-a").err()?,
        "401" if path == PATH => return None,
        "401" => Error::Unauthenticated,
        "403" => Permissions::default()
            .require(Resource::Registry, Level::Read)
            .err()?,
        "404" if path == PATH => leaks::off(),
        "404" if path == lookup::PATH => lookups::unknown(),
        "404" if path.ends_with("/members/{accountId}") => Error::not_found(What::Member, ACCOUNT),
        "404" if path.contains("{apiTokenId}") => Error::not_found(What::ApiToken, API_TOKEN),
        "404" if path.contains("{appTokenId}") => Error::not_found(What::AppToken, APP_TOKEN),
        "404" if path.starts_with("/accounts") => Error::not_found(What::Account, ACCOUNT),
        "404" if path.starts_with("/issuers") => Error::not_found(What::Issuer, ISSUER),
        "404" if path.contains("{trustId}") => Error::not_found(What::Trust, TRUST),
        "404" if path.contains("{tokenId}") => Error::not_found(What::Token, TOKEN),
        "404" if path.starts_with("/bulk") => Error::not_found(What::Bulk, BULK),
        "404" => Error::not_found(What::Registry, REGISTRY),
        "408" => Error::RequestTimeout,
        "409" if path == lookup::PATH => lookups::of_a_password(),
        "409" if path.ends_with("/auth-config") => auth_config::no_address(),
        "409" if path == "/accounts" => Error::name_taken(What::Account, "alice@example.com"),
        "409" if path.starts_with("/accounts") => account_rules::last_admin("admin"),
        "409" if path == "/issuers" => {
            Error::name_taken(What::Issuer, "https://token.actions.githubusercontent.com")
        }
        "409" if path.starts_with("/issuers") => issuers::has_trusts(2),
        "409" if path.contains("/trusts") => Error::name_taken(What::Trust, "app-ci"),
        "409" if path.ends_with("/members/{accountId}") => Error::Full(
            "this registry has 1000 members, and no more than 1000 are allowed; \
             remove one that is not needed any more"
                .to_owned(),
        ),
        "409" if path.ends_with("/api-tokens") => Error::Full(
            "this registry has 1000 API tokens in force, and no more than 1000 are allowed; \
             revoke one that is not needed any more"
                .to_owned(),
        ),
        "409" if path.ends_with("/rotate") => Error::Outdated(What::Token),
        "409" if path.ends_with("/bulk") => changed_set(),
        "409" if of_tokens => Error::name_taken(What::Token, "push-token"),
        "409" => Error::name_taken(What::Registry, "team-a"),
        "412" => stale(),
        "413" => Error::TooLarge { limit: BODY_LIMIT },
        "415" => Error::UnsupportedMediaType {
            sent: "the content type \"text/plain\"".to_owned(),
            supported: "application/json",
        },
        "422" => Error::KeyReused,
        "429" => Error::RateLimited { retry_after: 1 },
        "500" => Error::internal("an example"),
        "503" => Error::busy(),
        _ => return None,
    })
}

/// The error of a set of tokens that changed after its dry run.
fn changed_set() -> Error {
    let change = SetChange {
        before: 17,
        left: 0,
        came: 0,
        made: 1,
    };
    let refused = change.require_within(0);
    refused
        .err()
        .unwrap_or_else(|| Error::internal("an example"))
}

/// The error of a change to a thing that somebody else changed meanwhile.
fn stale() -> Error {
    let tag = |version| Tag {
        key: 0x2a,
        version,
        state: 0,
    };
    let condition = Precondition::parse(Some(tag(2).to_string().as_bytes()), None);
    let refused = condition.and_then(|condition| condition.require(What::Registry, Some(tag(3))));
    refused
        .err()
        .unwrap_or_else(|| Error::internal("an example"))
}

/// The answer to the example question of an evaluation.
fn evaluated() -> Option<Value> {
    let scope = Scope {
        actions: vec!["pull".to_owned()],
        name: "team/*".to_owned(),
        r#type: "repository".to_owned(),
    };
    let wanted = parse_wanted(None, Some(WANTED)).ok()?;
    Some(json!(EvaluationView::from(evaluate(
        &[scope],
        &wanted,
        None,
        "localhost",
    ))))
}

/// An identity by an API token.
fn fit_identity(example: &mut Value) {
    if let Some(member) = example.pointer_mut("/metadata/state") {
        *member = json!("enabled");
    }
    let credential = example.pointer_mut("/properties/credential");
    if let Some(credential) = credential.and_then(Value::as_object_mut) {
        for other in [
            "registryId",
            "registryName",
            "level",
            "permissions",
            "signedInDate",
        ] {
            credential.remove(other);
        }
    }
}

/// API tokens, app tokens and registry API tokens share a schema.
fn fit_issued(path: &str, status: &str, example: &mut Value) {
    let (kind, absent): (&str, &[&str]) = if path.contains("/app-tokens") {
        let absent = &[
            "description",
            "roles",
            "registryId",
            "registryName",
            "level",
        ];
        ("app-token", absent)
    } else if path.starts_with("/registries") {
        ("registry-api-token", &["roles"])
    } else {
        (
            "api-token",
            &["description", "registryId", "registryName", "level"],
        )
    };
    let created = status == "201";
    if let Some(Value::Object(metadata)) = example.pointer_mut("/metadata")
        && created
    {
        metadata.remove("lastUsedDate");
    }
    for place in ["", "/items/0"] {
        let Some(Value::Object(token)) = example.pointer_mut(place) else {
            continue;
        };
        if let Some(Value::Object(properties)) = token.get_mut("properties") {
            properties
                .retain(|name, _| !absent.contains(&name.as_str()) && (created || name != "token"));
            token.insert("type".to_owned(), json!(kind));
        }
    }
    if path.contains("/app-tokens")
        && let Some(list) = example.as_object_mut()
        && list.contains_key("items")
    {
        list.insert("id".to_owned(), json!("app-tokens"));
    }
}

/// The example of the evaluation of a trust: the workload of another repository.
fn evaluated_trust() -> Option<Value> {
    let url = "https://token.actions.githubusercontent.com";
    let claims = json!({"iss": url, "aud": "team-a.localhost", "repository_id": "75"});
    let rules = json!({"repository_id": "74"});
    let rules = ClaimRules::parse(rules.as_object()?.clone()).ok()?;
    let mut verdicts = vec![
        issuer_verdict(url, &claims),
        audience_verdict("team-a.localhost", &claims),
    ];
    verdicts.extend(rules.verdicts(IssuerKind::Github, &claims));
    let wanted = parse_wanted(None, Some("repository:app/web:pull")).ok()?;
    let misfit = Some("the claim repository_id does not fit".to_owned());
    let scope = Scope {
        actions: vec!["pull".to_owned()],
        name: "app/*".to_owned(),
        r#type: "repository".to_owned(),
    };
    let evaluation = evaluate(&[scope], &wanted, misfit, "localhost");
    let evaluation = TrustEvaluation {
        verdicts,
        evaluation,
    };
    Some(json!(TrustEvaluationView::from(evaluation)))
}

/// Issuers and trusts share their metadata with tokens. An issuer has its keys in one way, here by its own document.
fn fit_workload(path: &str, status: &str, example: &mut Value) {
    if path.ends_with("/evaluate") {
        *example = evaluated_trust().unwrap_or_default();
        return;
    }
    for place in ["", "/items/0"] {
        let Some(Value::Object(thing)) = example.pointer_mut(place) else {
            continue;
        };
        if let Some(Value::Object(metadata)) = thing.get_mut("metadata") {
            metadata.retain(|name, _| {
                let stamps = ["created", "state", "lastModified"];
                let kept = stamps.iter().any(|begin| name.starts_with(begin));
                kept && !(status == "201" && name.starts_with("lastModified"))
            });
            metadata.insert("state".to_owned(), json!("enabled"));
        }
        if let Some(Value::Object(properties)) = thing.get_mut("properties") {
            properties.retain(|name, _| !["jwks", "jwksUrl", "ca"].contains(&name.as_str()));
        }
    }
}

/// Adjusts examples that share a schema: answers that make a thing differ from others.
fn fit(path: &str, status: &str, example: &mut Value) {
    if let Some(link) = example.pointer_mut("/_links/self") {
        let here = path.replace("{registryId}", REGISTRY);
        *link = json!(format!("http://127.0.0.1:8080{here}?limit=100"));
    }
    if path.starts_with("/issuers") || path.contains("/trusts") {
        return fit_workload(path, status, example);
    }
    if path.ends_with("/tokens/{tokenId}/evaluate") {
        *example = evaluated().unwrap_or_default();
        return;
    }
    if path == lookup::PATH {
        // Of a registry token that is in use.
        if let Value::Object(members) = example {
            for of_others in [
                "roles",
                "level",
                "memberships",
                "membershipTotal",
                "secretExpiryDate",
            ] {
                members.remove(of_others);
            }
            members.insert("reason".to_owned(), Value::Null);
        }
        return;
    }
    if path == "/me" {
        return fit_identity(example);
    }
    if path.contains("/api-tokens") || path.contains("/app-tokens") {
        return fit_issued(path, status, example);
    }
    if path.ends_with("/bulk") || path.starts_with("/bulk/") {
        return;
    }
    let created = status == "201";
    // Only the answer that makes an account can have its password.
    for place in ["/properties", "/items/0/properties"] {
        if path.starts_with("/accounts")
            && !created
            && let Some(Value::Object(properties)) = example.pointer_mut(place)
        {
            properties.remove("credentials");
        }
    }
    let rotated = path.ends_with("/rotate");
    let of_tokens = path.ends_with("/tokens") || path.ends_with("{tokenId}") || rotated;
    let (state, secret_or_host) = match (of_tokens, created || rotated) {
        (true, true) => ("enabled", ("/properties/credentials/password", SECRET)),
        (true, false) => ("enabled", ("/properties/credentials/password", "")),
        (false, true) => ("New", ("/properties/hostname", "")),
        (false, false) => ("Running", ("/properties/hostname", "team-a.localhost")),
    };
    for place in ["", "/items/0"] {
        let mut set = |pointer: &str, value: &str| {
            if let Some(member) = example.pointer_mut(&format!("{place}{pointer}")) {
                *member = json!(value);
            }
        };
        set("/metadata/state", state);
        set(secret_or_host.0, secret_or_host.1);
    }
    for place in ["/metadata", "/items/0/metadata"] {
        if let Some(Value::Object(metadata)) = example.pointer_mut(place) {
            metadata.retain(|name, _| {
                let later = ["lastModified", "previousSecret"];
                let kept = !(created && later.iter().any(|begin| name.starts_with(begin)));
                let of_secret = name.starts_with("secret") || name.starts_with("previousSecret");
                kept && (of_tokens || !of_secret)
                    && (of_tokens && !created || !name.starts_with("lastUsed"))
            });
        }
    }
}
