//! Permissions: every route for every kind of caller, the order of the checks, and a flood of passwords.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak, mpsc};
use std::time::Instant;

use actix_web::rt::task::JoinHandle;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;
use reqwest::{Method, RequestBuilder};
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};
use utoipa::openapi::path::PathItem;
use wharfinger::Error;
use wharfinger::clock::{Clock, SystemClock};
use wharfinger::domain::account::NewPassword;
use wharfinger::domain::status::Status;
use wharfinger::service::account_rules::{IssuedTokens, LiveTokens};
use wharfinger::service::passwords::{self, Passwords};

use crate::harness::{
    ADMIN_PASSWORD, Actor, Answer, Backend, PATIENCE, Server, WITHOUT_BACKGROUND,
};

const CHALLENGES: [&str; 2] = [
    r#"Basic realm="wharfinger", charset="UTF-8""#,
    r#"Bearer realm="wharfinger""#,
];

/// The status for each caller. `token` sends a registry token's own name and password, `form` the name of an account
/// with a password that has a token's form, `app` the code of an app token of an Admin, `session` an Admin's cookie
/// with its CSRF token. `reader`, `maintainer` and `owner` are members of the registry in the path and have no role;
/// `elsewhere` is an owner of another registry. The account in the path is a reader, the app token an Admin's.
///
/// Names with `t-` send an API token. An Admin made those with the role Admin, Analyst or Continuous Integration, and
/// four that are not valid any more or never were. `t-maintainer` has the role Admin, but its account is only a
/// maintainer now. `t-beyond` may do everything but push and delete images, which the credential in the path may do:
/// `t-beyond` may read, narrow and end this credential, but never obtain, revive or widen it. `t-registry` is a registry
/// API token of the registry in the path.
const TABLE: &str = "
method path                                                none wrong unknown disabled deleted token form app analyst elsewhere t-revoked t-expired t-orphan t-tampered t-analyst reader maintainer owner admin t-maintainer t-ci t-admin session t-beyond t-registry
GET    /accounts                                            401   401     401      401     401   401  401 401     200       403       401       401      401        401       200    403        403   403   200          403  403     200     401      200        403
POST   /accounts                                            401   401     401      401     401   401  401 401     403       403       401       401      401        401       403    403        403   403   201          403  403     201     401      403        403
GET    /accounts/{accountId}                                401   401     401      401     401   401  401 401     200       403       401       401      401        401       200    403        403   403   200          403  403     200     401      200        403
PATCH  /accounts/{accountId}                                401   401     401      401     401   401  401 401     403       403       401       401      401        401       403    403        403   403   200          403  403     200     401      403        403
DELETE /accounts/{accountId}                                401   401     401      401     401   401  401 401     403       403       401       401      401        401       403    403        403   403   204          403  403     204     401      403        403
GET    /api-tokens                                          401   401     401      401     401   401  401 401     200       403       401       401      401        401       200    403        403   403   200          403  403     200     401      200        403
DELETE /api-tokens/{apiTokenId}                             401   401     401      401     401   401  401 401     403       403       401       401      401        401       403    403        403   403   204          403  403     204     401      204        403
GET    /api/v1/error/{error_type}                           200   200     200      200     200   200  200 200     200       200       200       200      200        200       200    200        200   200   200          200  200     200     200      200        200
POST   /api/v1/signin                                       403   403     403      403     403   403  403 403     403       403       403       403      403        403       403    403        403   403   403          403  403     403     200      403        403
POST   /api/v1/signout                                      200   200     200      200     200   200  200 200     200       200       200       200      200        200       200    200        200   200   200          200  200     200     200      200        200
GET    /api/v1/superuser/apptokens                          401   401     401      401     401   401  401 401     200       403       401       401      401        401       403    403        403   403   200          403  403     200     200      403        403
GET    /api/v1/user/apptoken                                401   401     401      401     401   401  401 401     200       200       401       401      401        401       403    200        200   200   200          200  403     200     200      403        403
POST   /api/v1/user/apptoken                                401   401     401      401     401   401  401 401     201       201       401       401      401        401       403    201        201   201   201          201  403     201     201      403        403
GET    /api/v1/user/apptoken/{token_uuid}                   401   401     401      401     401   401  401 401     404       404       401       401      401        401       403    404        404   404   200          404  403     200     200      403        403
DELETE /api/v1/user/apptoken/{token_uuid}                   401   401     401      401     401   401  401 401     404       404       401       401      401        401       403    404        404   404   204          404  403     204     204      403        403
GET    /app-tokens                                          401   401     401      401     401   401  401 401     200       403       401       401      401        401       403    403        403   403   200          403  403     200     401      403        403
DELETE /app-tokens/{appTokenId}                             401   401     401      401     401   401  401 401     403       403       401       401      401        401       403    403        403   403   204          403  403     204     401      403        403
GET    /audit                                               401   401     401      401     401   401  401 401     403       403       401       401      401        401       403    403        403   403   200          403  403     200     401      200        403
GET    /audit/export                                        401   401     401      401     401   401  401 401     403       403       401       401      401        401       403    403        403   403   200          403  403     200     401      200        403
GET    /bulk                                                401   401     401      401     401   401  401 401     200       200       401       401      401        401       200    200        200   200   200          200  200     200     401      200        200
GET    /bulk/{bulkId}                                       401   401     401      401     401   401  401 401     404       404       401       401      401        401       404    404        404   404   200          404  404     200     401      200        404
POST   /bulk/{bulkId}/cancel                                401   401     401      401     401   401  401 401     404       404       401       401      401        401       404    404        404   404   200          404  404     200     401      200        404
GET    /csrf_token                                          200   200     200      200     200   200  200 200     200       200       200       200      200        200       200    200        200   200   200          200  200     200     200      200        200
GET    /issuers                                             401   401     401      401     401   401  401 401     200       200       401       401      401        401       200    200        200   200   200          200  403     200     401      200        403
POST   /issuers                                             401   401     401      401     401   401  401 401     403       403       401       401      401        401       403    403        403   403   201          403  403     201     401      403        403
GET    /issuers/{issuerId}                                  401   401     401      401     401   401  401 401     200       200       401       401      401        401       200    200        200   200   200          200  403     200     401      200        403
PUT    /issuers/{issuerId}                                  401   401     401      401     401   401  401 401     403       403       401       401      401        401       403    403        403   403   200          403  403     200     401      403        403
PATCH  /issuers/{issuerId}                                  401   401     401      401     401   401  401 401     403       403       401       401      401        401       403    403        403   403   200          403  403     200     401      403        403
DELETE /issuers/{issuerId}                                  401   401     401      401     401   401  401 401     403       403       401       401      401        401       403    403        403   403   409          403  403     409     401      409        403
GET    /locations                                           401   401     401      401     401   401  401 401     200       200       401       401      401        401       200    200        200   200   200          200  403     200     401      200        403
GET    /me                                                  401   401     401      401     401   401  401 401     200       200       401       401      401        401       200    200        200   200   200          200  200     200     200      200        200
GET    /me/api-tokens                                       401   401     401      401     401   401  401 401     200       200       401       401      401        401       200    200        200   200   200          403  403     200     200      200        403
DELETE /me/api-tokens/{apiTokenId}                          401   401     401      401     401   401  401 401     404       404       401       401      401        401       403    404        404   404   204          403  403     204     204      204        403
GET    /me/app-tokens                                       401   401     401      401     401   401  401 401     200       200       401       401      401        401       403    200        200   200   200          200  403     200     200      403        403
DELETE /me/app-tokens/{appTokenId}                          401   401     401      401     401   401  401 401     404       404       401       401      401        401       403    404        404   404   204          404  403     204     204      403        403
PUT    /me/password                                         401   401     401      401     401   401  401 401     400       400       401       401      401        401       403    400        400   400   204          403  403     403     401      403        403
HEAD   /names/{name}                                        401   401     401      401     401   401  401 401     200       200       401       401      401        401       200    200        200   200   200          200  403     200     401      200        403
GET    /registries                                          401   401     401      401     401   401  401 401     200       200       401       401      401        401       200    200        200   200   200          200  403     200     401      200        200
POST   /registries                                          401   401     401      401     401   401  401 401     403       403       401       401      401        401       403    403        403   403   201          403  403     201     401      201        403
GET    /registries/{registryId}                             401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    200        200   200   200          200  403     200     401      200        200
PUT    /registries/{registryId}                             401   401     401      401     401   401  401 401     403       403       401       401      401        401       403    403        403   200   200          403  403     200     401      403        403
PATCH  /registries/{registryId}                             401   401     401      401     401   401  401 401     403       404       401       401      401        401       403    403        403   200   200          403  403     200     401      403        403
DELETE /registries/{registryId}                             401   401     401      401     401   401  401 401     403       404       401       401      401        401       403    403        403   204   204          403  403     204     401      204        403
GET    /registries/{registryId}/api-tokens                  401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    200        200   200   200          403  403     200     401      200        403
POST   /registries/{registryId}/api-tokens                  401   401     401      401     401   401  401 401     403       404       401       401      401        401       403    201        201   201   201          403  403     201     401      403        403
GET    /registries/{registryId}/api-tokens/{apiTokenId}     401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    404        404   200   200          403  403     200     401      200        403
DELETE /registries/{registryId}/api-tokens/{apiTokenId}     401   401     401      401     401   401  401 401     404       404       401       401      401        401       403    404        404   204   204          403  403     204     401      204        403
GET    /registries/{registryId}/auth-bundle.pem             401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    200        200   200   200          200  403     200     401      200        200
GET    /registries/{registryId}/auth-config                 401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    200        200   200   200          200  403     200     401      200        200
GET    /registries/{registryId}/jwks.json                   401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    200        200   200   200          200  403     200     401      200        200
GET    /registries/{registryId}/members                     401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    403        403   200   200          403  403     200     401      200        403
PUT    /registries/{registryId}/members/{accountId}         401   401     401      401     401   401  401 401     403       404       401       401      401        401       403    403        403   200   200          403  403     200     401      403        403
DELETE /registries/{registryId}/members/{accountId}         401   401     401      401     401   401  401 401     403       404       401       401      401        401       403    403        403   204   204          403  403     204     401      204        403
GET    /registries/{registryId}/tokens                      401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    200        200   200   200          200  200     200     401      200        200
POST   /registries/{registryId}/tokens                      401   401     401      401     401   401  401 401     403       404       401       401      401        401       403    403        201   201   201          201  201     201     401      403        201
GET    /registries/{registryId}/tokens/{tokenId}            401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    200        200   200   200          200  200     200     401      200        200
PUT    /registries/{registryId}/tokens/{tokenId}            401   401     401      401     401   401  401 401     403       404       401       401      401        401       403    403        200   200   200          200  200     200     401      403        200
PATCH  /registries/{registryId}/tokens/{tokenId}            401   401     401      401     401   401  401 401     403       404       401       401      401        401       403    403        200   200   200          200  200     200     401      403        200
DELETE /registries/{registryId}/tokens/{tokenId}            401   401     401      401     401   401  401 401     403       404       401       401      401        401       403    403        204   204   204          204  204     204     401      204        204
POST   /registries/{registryId}/tokens/{tokenId}/evaluate   401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    200        200   200   200          200  200     200     401      200        200
DELETE /registries/{registryId}/tokens/{tokenId}/previous-secret  401   401     401      401     401   401  401 401     403       404       401       401      401        401       403    403        204   204   204          204  204     204     401      204        204
POST   /registries/{registryId}/tokens/{tokenId}/rotate     401   401     401      401     401   401  401 401     403       404       401       401      401        401       403    403        200   200   200          200  200     200     401      403        200
GET    /registries/{registryId}/trusts                      401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    200        200   200   200          200  200     200     401      200        200
POST   /registries/{registryId}/trusts                      401   401     401      401     401   401  401 401     403       404       401       401      401        401       403    403        201   201   201          201  201     201     401      403        403
GET    /registries/{registryId}/trusts/{trustId}            401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    200        200   200   200          200  200     200     401      200        200
PUT    /registries/{registryId}/trusts/{trustId}            401   401     401      401     401   401  401 401     403       404       401       401      401        401       403    403        200   200   200          200  200     200     401      403        403
PATCH  /registries/{registryId}/trusts/{trustId}            401   401     401      401     401   401  401 401     403       404       401       401      401        401       403    403        200   200   200          200  200     200     401      403        403
DELETE /registries/{registryId}/trusts/{trustId}            401   401     401      401     401   401  401 401     403       404       401       401      401        401       403    403        204   204   204          204  204     204     401      204        204
POST   /registries/{registryId}/trusts/{trustId}/evaluate   401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    200        200   200   200          200  200     200     401      200        200
GET    /registries/{registryId}/trusts/{trustId}/refusals   401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    200        200   200   200          200  200     200     401      200        200
POST   /secret-scanning/report                              401   401     401      401     401   401  401 401     401       401       401       401      401        401       401    401        401   401   401          401  401     401     401      401        401
GET    /tokens                                              401   401     401      401     401   401  401 401     200       200       401       401      401        401       200    200        200   200   200          200  200     200     401      200        200
POST   /tokens/bulk                                         401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    200        200   200   200          200  200     200     401      200        200
POST   /tokens/lookup                                       401   401     401      401     401   401  401 401     404       404       401       401      401        401       404    404        200   200   200          200  200     200     401      200        200
GET    /v1/apitokens                                        401   401     401      401     401   401  401 401     200       403       401       401      401        401       200    403        403   403   200          403  403     200     401      200        403
POST   /v1/apitokens/generate                               401   401     401      401     401   401  401 401     403       403       401       401      401        401       403    403        403   403   200          403  403     200     401      403        403
GET    /v1/apitokens/generate/allowed-roles                 401   401     401      401     401   401  401 401     200       403       401       401      401        401       200    403        403   403   200          403  403     200     401      200        403
PATCH  /v1/apitokens/revoke/{id}                            401   401     401      401     401   401  401 401     403       403       401       401      401        401       403    403        403   403   200          403  403     200     401      200        403
GET    /v1/apitokens/{id}                                   401   401     401      401     401   401  401 401     200       403       401       401      401        401       200    403        403   403   200          403  403     200     401      200        403
GET    /v1/auth/status                                      401   401     401      401     401   401  401 401     200       200       401       401      401        401       200    200        200   200   200          200  200     200     401      200        403
GET    /v1/ping                                             200   200     200      200     200   200  200 200     200       200       200       200      200        200       200    200        200   200   200          200  200     200     200      200        200
GET    /registries/{registryId}/repositories                401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    200        200   200   200          200  403     200     401      200        200
GET    /registries/{registryId}/repositories/a/b            401   401     401      401     401   401  401 401     404       404       401       401      401        401       404    404        404   404   404          404  403     404     401      404        404
DELETE /registries/{registryId}/repositories/a              401   401     401      401     401   401  401 401     404       404       401       401      401        401       404    404        404   404   404          404  403     404     401      404        404
GET    /registries/{registryId}/artifacts                   401   401     401      401     401   401  401 401     200       404       401       401      401        401       200    200        200   200   200          200  403     200     401      200        200
GET    /vulnerabilities/CVE-2026-1                          401   401     401      401     401   401  401 401     404       404       401       401      401        401       404    404        404   404   404          404  404     404     401      404        404
";

/// Paths of the product that the document does not list, since they are the registry's own business.
const ELSEWHERE: [(&str, &str); 5] = [
    ("GET", "/registries/{registryId}/repositories"),
    ("GET", "/registries/{registryId}/repositories/a/b"),
    ("DELETE", "/registries/{registryId}/repositories/a"),
    ("GET", "/registries/{registryId}/artifacts"),
    ("GET", "/vulnerabilities/CVE-2026-1"),
];

/// This route checks for a session before everything else.
const SIGN_IN: &str = "POST /api/v1/signin";

/// These routes need no credentials and do not use the store.
const OPEN: [&str; 5] = [
    // This route does not exist while no token is set for it.
    SCANNING,
    "/v1/ping",
    "/csrf_token",
    "/api/v1/error/{error_type}",
    "/api/v1/signout",
];

/// Only a secret scanner may call this route.
const SCANNING: &str = "/secret-scanning/report";

/// The API whose format an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Surface {
    Registries,
    Scanning,
    StackRox,
    Quay,
}

impl Surface {
    /// The surface of a path whose routes are in the table.
    fn of(path: &str) -> Option<Self> {
        match path {
            // The routes for registry clients have tests of their own.
            "/token" | "/v2/check" | "/oauth2/federation/robot/token" => None,
            "/csrf_token" => Some(Self::Quay),
            SCANNING => Some(Self::Scanning),
            path if path.starts_with("/api/v1/") => Some(Self::Quay),
            path if path.starts_with("/v1/") => Some(Self::StackRox),
            _ => Some(Self::Registries),
        }
    }

    /// Asserts that a refusal is worded as all others of its kind are.
    fn check(self, answer: &Answer, what: &str) {
        match (self, answer.status) {
            (Self::Registries, 401) => assert_unauthenticated(answer, what),
            (Self::Scanning, 401) => {
                assert_eq!(answer.header("www-authenticate"), CHALLENGES[1], "{what}");
                assert_eq!(answer.codes(), ["unauthenticated"], "{what}");
            }
            // An answer to HEAD has no body.
            (Self::Registries, 403) if answer.text.is_empty() => {}
            (Self::Registries, 403) => assert_eq!(answer.codes(), ["forbidden"], "{what}"),
            (Self::StackRox, 401) => {
                assert_eq!(answer.json["code"], 16, "{what}: {answer:?}");
                let message = answer.json["message"].as_str().unwrap();
                assert_eq!(answer.header("www-authenticate"), message, "{what}");
                assert_eq!(
                    answer.header("cache-control"),
                    "no-store, no-cache",
                    "{what}"
                );
            }
            (Self::StackRox, 403) => assert_eq!(answer.json["code"], 7, "{what}: {answer:?}"),
            (Self::Quay, 401) => {
                assert_eq!(answer.json["title"], "invalid_token", "{what}: {answer:?}");
                assert_eq!(answer.header("www-authenticate"), "", "{what}");
                assert_eq!(answer.header("cache-control"), "no-store", "{what}");
            }
            // Signing in needs a session, whatever else is sent.
            (Self::Quay, 403) if what.ends_with(SIGN_IN) => {
                let error = json!({"error": "CSRF token was invalid or missing."});
                assert_eq!(answer.json, error, "{what}");
            }
            (Self::Quay, 403) => {
                let title = &answer.json["title"];
                assert_eq!(title, "insufficient_scope", "{what}: {answer:?}");
            }
            _ => {}
        }
    }
}

/// Every route that has to be in the table, from the document that is made from the code.
fn routes() -> Vec<(Method, String)> {
    let of = |path: &str, item: &PathItem| {
        let methods = [
            (Method::GET, item.get.is_some()),
            (Method::HEAD, item.head.is_some()),
            (Method::POST, item.post.is_some()),
            (Method::PUT, item.put.is_some()),
            (Method::PATCH, item.patch.is_some()),
            (Method::DELETE, item.delete.is_some()),
        ];
        let present = methods.into_iter().filter(|(_, present)| *present);
        present
            .map(|(method, _)| (method, path.to_owned()))
            .collect::<Vec<_>>()
    };
    let mut paths: Vec<_> = wharfinger::http::document()
        .paths
        .paths
        .into_iter()
        .collect();
    paths.retain(|(path, _)| Surface::of(path).is_some());
    paths.sort_by(|one, other| one.0.cmp(&other.0));
    let documented = paths.iter().flat_map(|(path, item)| of(path, item));
    let elsewhere = ELSEWHERE.map(|(method, path)| (method.parse().unwrap(), path.to_owned()));
    documented.chain(elsewhere).collect()
}

/// Accounts without a role, named after their membership of every registry.
struct Members(Vec<(&'static str, String)>);

impl Members {
    async fn make(admin: &Actor) -> Self {
        let owner = admin.create_account("elsewhere", &[]).await;
        let registry = admin.create_registry("elsewhere").await;
        admin.set_member(&registry, &owner, "owner").await;
        Self(vec![
            ("reader", admin.create_account("reader", &[]).await),
            ("maintainer", admin.create_account("maintainer", &[]).await),
            ("owner", admin.create_account("owner", &[]).await),
        ])
    }
}

/// API tokens, by what they are worth.
struct Bearers {
    admin: String,
    analyst: String,
    builder: String,
    /// May do everything but push and delete images.
    steward: String,
    maintainer: String,
    revoked: String,
    expired: String,
    orphan: String,
    tampered: String,
}

impl Bearers {
    /// `maintainer` is the account that is to be no more than that; it has to have the role Admin until then.
    async fn make(server: &Server, maintainer: &str) -> Self {
        let admin = server.admin();
        let generate = async |actor: &Actor, role: &str, end: &str| {
            let wish = json!({"name": "t", "role": role, "expiration": end});
            let made = actor.post("/v1/apitokens/generate", wish).await;
            assert_eq!(made.status, 200, "{made:?}");
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (
                text(&made.json["token"]),
                text(&made.json["metadata"]["id"]),
            )
        };
        let of_admin = async |role: &str| generate(&admin, role, "2027-01-01T00:00:00Z").await;
        let of = async |name: &str| {
            let actor = server.actor(name, "right-password");
            generate(&actor, "Admin", "2027-01-01T00:00:00Z").await.0
        };

        let (revoked, id) = of_admin("Admin").await;
        let path = format!("/v1/apitokens/revoke/{id}");
        assert_eq!(admin.patch(&path, json!({})).await.status, 200);
        let (expired, _) = generate(&admin, "Admin", "2026-11-21T12:01:00Z").await;
        server.clock.advance(TimeDelta::minutes(1));
        server
            .add_account("orphan", "right-password", "Admin")
            .await;
        let orphan = of("orphan").await;
        let accounts = server.service.account_commands();
        accounts
            .set_status("orphan".to_owned(), Status::Disabled)
            .await
            .unwrap();
        let held = of(maintainer).await;
        accounts
            .set_roles(maintainer.to_owned(), Vec::new())
            .await
            .unwrap();
        server
            .database
            .execute("INSERT INTO roles (name, description, built_in) VALUES ('Steward', '', 0)");
        for (resource, level) in [
            ("Access", 2),
            ("Administration", 2),
            ("Image", 1),
            ("Integration", 2),
            ("Registry", 2),
            ("Token", 2),
        ] {
            server.database.execute(&format!(
                "INSERT INTO role_permissions (role_key, resource, level) \
                 SELECT key, '{resource}', {level} FROM roles WHERE name = 'Steward'"
            ));
        }
        let (whole, _) = of_admin("Admin").await;
        // The signature of one token under the claims of another.
        let (said, _) = whole.rsplit_once('.').unwrap();
        let (_, signature) = revoked.rsplit_once('.').unwrap();
        Self {
            tampered: format!("{said}.{signature}"),
            admin: whole,
            analyst: of_admin("Analyst").await.0,
            builder: of_admin("Continuous Integration").await.0,
            steward: of_admin("Steward").await.0,
            maintainer: held,
            revoked,
            expired,
            orphan,
        }
    }
}

/// The issuer of all trusts.
const ISSUER: &str = "33333333-3333-4333-8333-333333333333";

/// A registry with a token, a trust, an account, an API token and an Admin's app token, for one route to be tried on.
struct Place {
    name: String,
    registry: String,
    token: String,
    secret: String,
    trust: String,
    /// An account that is a reader of the registry.
    account: String,
    api_token: String,
    app_token: String,
    /// A registry API token of the registry, as a maintainer, that an Admin made, and its id.
    confined: (String, String),
    /// The app token's password for registries.
    code: String,
    /// An Admin's bulk run, which is over.
    bulk: String,
    /// Do its credentials carry more than the `t-beyond` of the table holds, and do its bodies ask for more?
    beyond: bool,
}

impl Place {
    async fn make(admin: &Actor, name: &str, members: &Members) -> Self {
        let registry = admin.create_registry(name).await;
        let made = admin
            .post(
                &format!("/registries/{registry}/tokens"),
                json!({"properties": {"name": "ci"}}),
            )
            .await;
        assert_eq!(made.status, 201, "{made:?}");
        let issuer = json!({"properties": {"url": "https://ci.example.com", "kind": "other"}});
        let issuer = admin.put(&format!("/issuers/{ISSUER}"), issuer).await;
        assert!(matches!(issuer.status, 200 | 201), "{issuer:?}");
        let trust = admin
            .post(&format!("/registries/{registry}/trusts"), Self::trust("wi"))
            .await;
        assert_eq!(trust.status, 201, "{trust:?}");
        // Keys are made at the first use, which takes more than one store call.
        let keys = admin
            .get(&format!("/registries/{registry}/jwks.json"))
            .await;
        assert_eq!(keys.status, 200, "{keys:?}");
        let account = admin
            .create_account(&format!("{name}@example.com"), &[])
            .await;
        admin.set_member(&registry, &account, "reader").await;
        for (level, member) in &members.0 {
            admin.set_member(&registry, member, level).await;
        }
        let generated = admin
            .post("/v1/apitokens/generate", json!({"name": name}))
            .await;
        assert_eq!(generated.status, 200, "{generated:?}");
        let app_token = admin
            .post("/api/v1/user/apptoken", json!({"title": name}))
            .await;
        assert_eq!(app_token.status, 201, "{app_token:?}");
        let confined = admin
            .post(
                &format!("/registries/{registry}/api-tokens"),
                json!({"properties": {"name": name, "level": "maintainer"}}),
            )
            .await;
        assert_eq!(confined.status, 201, "{confined:?}");
        let nobody = json!({"filter": {"name": "nobody"}, "action": "disable", "dryRun": true});
        let preview = admin
            .post("/tokens/bulk", json!({"properties": nobody}))
            .await;
        let confirmation = &preview.json["properties"]["confirmation"];
        let confirmed = json!({"properties": {"confirmation": confirmation}});
        let bulk = admin.post("/tokens/bulk", confirmed).await;
        assert_eq!(bulk.status, 202, "{bulk:?}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            confined: (
                text(&confined.json["properties"]["token"]),
                text(&confined.json["id"]),
            ),
            bulk: text(&bulk.json["id"]),
            api_token: text(&generated.json["metadata"]["id"]),
            app_token: text(&app_token.json["token"]["uuid"]),
            code: text(&app_token.json["token"]["token_code"]),
            name: name.to_owned(),
            registry,
            token: text(&made.json["id"]),
            secret: secret_of(&made),
            trust: text(&trust.json["id"]),
            account,
            beyond: false,
        }
    }

    /// The same with credentials that carry more: they delete images, and are disabled or restricted.
    async fn beyond(self, admin: &Actor) -> Self {
        let Self {
            registry,
            token,
            trust,
            account,
            ..
        } = &self;
        for (path, body) in [
            (
                format!("/registries/{registry}/tokens/{token}"),
                json!({"scopes": Self::deleting(), "status": "disabled"}),
            ),
            (
                format!("/registries/{registry}/trusts/{trust}"),
                json!({"scopes": Self::deleting(), "status": "disabled"}),
            ),
            (
                format!("/registries/{registry}"),
                json!({"apiSubnetAllowList": ["127.0.0.0/8"]}),
            ),
            (
                format!("/accounts/{account}"),
                json!({"roles": ["Continuous Integration"]}),
            ),
        ] {
            let answer = admin.patch(&path, body).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
        let wish = json!({"name": "whole", "role": "Admin"});
        let generated = admin.post("/v1/apitokens/generate", wish).await;
        Self {
            api_token: generated.json["metadata"]["id"]
                .as_str()
                .unwrap()
                .to_owned(),
            beyond: true,
            ..self
        }
    }

    fn trust(name: &str) -> Value {
        json!({"properties": {"name": name, "issuer": ISSUER, "claims": {"sub": "a"}}})
    }

    fn deleting() -> Value {
        json!([{"type": "repository", "name": "*", "actions": ["pull", "delete"]}])
    }

    /// A body for the route that asks for more than the `t-beyond` of the table holds.
    fn body_beyond(&self, method: &Method, path: &str) -> Option<Value> {
        let token = |name: &str| json!({"properties": {"name": name, "scopes": Self::deleting()}});
        let last = path.rsplit('/').next().unwrap();
        Some(match (method.as_str(), last) {
            ("POST", "accounts") => {
                let roles = ["Continuous Integration"];
                json!({"properties": {"name": format!("{}-new", self.name), "password": "right-password", "roles": roles}})
            }
            ("PATCH", "{accountId}") => json!({"password": "stolen-password"}),
            ("PATCH", "{registryId}") => json!({"apiSubnetAllowList": []}),
            ("PUT", "{accountId}") => json!({"level": "owner"}),
            ("POST", "tokens") => token("new"),
            ("PUT", "{tokenId}") => token("ci"),
            ("PATCH", "{tokenId}" | "{trustId}") => json!({"status": "enabled"}),
            ("POST", "trusts") | ("PUT", "{trustId}") => {
                let mut body = Self::trust(if last == "trusts" { "new" } else { "wi" });
                body["properties"]["scopes"] = Self::deleting();
                body
            }
            ("POST", "issuers") => {
                json!({"properties": {"url": "https://new.example.com", "kind": "other"}})
            }
            ("PUT", "{issuerId}") => {
                let algorithms = ["EdDSA"];
                json!({"properties": {"url": "https://ci.example.com", "kind": "other", "algorithms": algorithms}})
            }
            ("PATCH", "{issuerId}") => json!({"jwksUrl": "https://new.example.com"}),
            ("POST", "generate") => json!({"name": "new", "role": "Admin"}),
            ("POST", "api-tokens") => {
                json!({"properties": {"name": "new", "level": "maintainer"}})
            }
            _ => return None,
        })
    }

    /// The route on this place, with a body that it accepts.
    fn request(&self, actor: &Actor, prefix: &str, method: &Method, path: &str) -> RequestBuilder {
        let of_registry = path.starts_with("/registries");
        let api_token = if of_registry {
            &self.confined.1
        } else {
            &self.api_token
        };
        let filled = path
            .replace("{apiTokenId}", api_token)
            .replace("{appTokenId}", &self.app_token)
            .replace("{registryId}", &self.registry)
            .replace("{tokenId}", &self.token)
            .replace("{accountId}", &self.account)
            .replace("{issuerId}", ISSUER)
            .replace("{trustId}", &self.trust)
            .replace("{name}", &self.name)
            .replace("{bulkId}", &self.bulk)
            .replace("{id}", &self.api_token)
            .replace("{token_uuid}", &self.app_token)
            .replace("{error_type}", "not_found")
            .replace(
                "/auth-config",
                "/auth-config?for=distribution2&bundle=/etc/bundle.pem",
            );
        let request = actor.request(method.clone(), &format!("{prefix}{filled}"));
        if let Some(body) = self.body_beyond(method, path).filter(|_| self.beyond) {
            return request.json(&body);
        }
        let body = match (method.as_str(), path.rsplit('/').next().unwrap()) {
            ("POST", "registries") => {
                json!({"properties": {"name": format!("{}-new", self.name), "location": "de/fra"}})
            }
            ("PUT", "{registryId}") => {
                json!({"properties": {"name": self.name, "location": "de/fra"}})
            }
            ("POST", "accounts") => {
                json!({"properties": {"name": format!("{}-new", self.name), "password": "right-password"}})
            }
            ("PUT", "{accountId}") => json!({"level": "maintainer"}),
            ("POST", "tokens") => json!({"properties": {"name": "new"}}),
            ("PUT", "{tokenId}") => json!({"properties": {"name": "ci"}}),
            ("POST", "lookup") => json!({"secret": self.secret, "action": "disable"}),
            ("POST", "trusts") => Self::trust("new"),
            ("PUT", "{trustId}") => Self::trust("wi"),
            ("POST", "evaluate") if path.contains("trusts") => json!({"claims": {}}),
            ("POST", "issuers") => {
                let url = format!("https://{}.example.com", self.name);
                json!({"properties": {"url": url, "kind": "other"}})
            }
            ("PUT", "{issuerId}") => {
                json!({"properties": {"url": "https://ci.example.com", "kind": "other"}})
            }
            ("POST", "generate") => json!({"name": "new"}),
            ("POST", "api-tokens") => json!({"properties": {"name": "new", "level": "reader"}}),
            // Right for the Admin alone.
            ("PUT", "password") => {
                json!({"properties": {"password": ADMIN_PASSWORD, "presentPassword": ADMIN_PASSWORD}})
            }
            ("POST", "bulk") => {
                let filter = json!({"registryId": [self.registry]});
                json!({"properties": {"filter": filter, "action": "disable", "dryRun": true}})
            }
            ("POST", "evaluate") => json!({"scope": "repository:a:pull"}),
            ("POST", "rotate") => json!({"gracePeriod": "PT1H"}),
            ("POST", "apptoken") => json!({"title": "new"}),
            ("POST", "signin") => json!({"username": "admin", "password": ADMIN_PASSWORD}),
            ("PATCH", _) => json!({}),
            _ => return request,
        };
        request.json(&body)
    }

    /// All that a caller could have changed.
    async fn contents(&self, admin: &Actor) -> [Value; 10] {
        let confined = format!("/registries/{}/api-tokens", self.registry);
        let mut confined = admin.get(&confined).await.json["items"].take();
        // Members may make their own.
        let items = confined.as_array_mut().unwrap();
        items.retain(|item| item["properties"]["ownerName"] == "admin");
        [
            confined,
            admin.get("/registries?limit=1000").await.json,
            admin
                .get(&format!("/registries/{}", self.registry))
                .await
                .json,
            admin
                .get(&format!("/registries/{}/tokens", self.registry))
                .await
                .json,
            admin
                .get(&format!("/registries/{}/members", self.registry))
                .await
                .json,
            admin
                .get(&format!("/registries/{}/trusts", self.registry))
                .await
                .json,
            admin.get("/issuers?limit=1000").await.json,
            admin.get("/accounts?limit=1000").await.json,
            admin.get("/v1/apitokens").await.json,
            // Everybody may make their own.
            admin.get("/api/v1/user/apptoken").await.json,
        ]
    }
}

fn secret_of(created: &Answer) -> String {
    let secret = &created.json["properties"]["credentials"]["password"];
    secret.as_str().unwrap().to_owned()
}

fn password(text: &str) -> NewPassword {
    NewPassword::parse(text.to_owned().into()).unwrap()
}

/// Asserts that an answer is the one and only 401.
fn assert_unauthenticated(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 401, "{what}: {answer:?}");
    let challenges: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(challenges, CHALLENGES, "{what}");
    assert_eq!(answer.header("cache-control"), "no-store", "{what}");
    if !answer.text.is_empty() {
        assert_eq!(answer.codes(), ["unauthenticated"], "{what}");
        assert_eq!(answer.json["httpStatus"], 401, "{what}");
    }
}

/// The prefix is cut off before anything is asked of the database.
#[rstest]
#[actix_web::test]
async fn every_route_for_every_caller(
    #[values((Backend::Sqlite, ""), (Backend::Sqlite, "/containerregistries"), (Backend::Postgres, ""))]
    (backend, prefix): (Backend, &str),
) {
    let flags = [
        "--secret-scanning-token",
        "a-secret-scanner-that-never-comes",
        // Each place has one.
        "--maximum-app-tokens",
        "2000",
    ];
    let server = Server::start_with(backend, &flags).await;
    let admin = server.admin();
    for (name, role) in [("disabled", "Admin"), ("deleted", "Admin")] {
        server.add_account(name, "right-password", role).await;
    }
    let accounts = server.service.account_commands();
    accounts
        .set_status("disabled".to_owned(), Status::Disabled)
        .await
        .unwrap();
    accounts
        .delete("deleted".to_owned(), LiveTokens::Refuse)
        .await
        .unwrap();

    let mut members = Members::make(&admin).await;
    let demoted = admin.create_account("demoted", &["Admin"]).await;
    let bearers = Bearers::make(&server, "demoted").await;
    members.0.push(("maintainer", demoted));
    let ticket = server.sign_in("admin", ADMIN_PASSWORD).await;

    let prefixed = [Surface::Registries, Surface::Scanning];
    let is_here = |path: &str| {
        prefix.is_empty() || Surface::of(path).is_some_and(|surface| prefixed.contains(&surface))
    };
    let header = TABLE.trim().lines().next().unwrap();
    let mut table = vec![header.to_owned()];
    for (number, (method, path)) in routes().iter().enumerate() {
        if !is_here(path) {
            continue;
        }
        let surface = Surface::of(path).unwrap();
        let place = Place::make(&admin, &format!("place-{number}"), &members).await;
        let before = place.contents(&admin).await;
        let callers = [
            ("none", server.anonymous()),
            ("wrong", server.actor("admin", "wrong-password")),
            ("unknown", server.actor("nobody", ADMIN_PASSWORD)),
            ("disabled", server.actor("disabled", "right-password")),
            ("deleted", server.actor("deleted", "right-password")),
            ("token", server.actor("ci", &place.secret)),
            ("form", server.actor("admin", &place.secret)),
            ("app", server.actor("$app", &place.code)),
            ("analyst", server.analyst()),
            ("elsewhere", server.actor("elsewhere", "right-password")),
            ("t-revoked", server.bearer(&bearers.revoked)),
            ("t-expired", server.bearer(&bearers.expired)),
            ("t-orphan", server.bearer(&bearers.orphan)),
            ("t-tampered", server.bearer(&bearers.tampered)),
            ("t-analyst", server.bearer(&bearers.analyst)),
            ("reader", server.actor("reader", "right-password")),
            ("maintainer", server.actor("maintainer", "right-password")),
            ("owner", server.actor("owner", "right-password")),
            ("admin", server.admin()),
            ("t-maintainer", server.bearer(&bearers.maintainer)),
            ("t-ci", server.bearer(&bearers.builder)),
            ("t-admin", server.bearer(&bearers.admin)),
            ("session", server.session(&ticket)),
            ("t-beyond", server.bearer(&bearers.steward)),
            ("t-registry", server.bearer(&place.confined.0)),
        ];
        let mut line = format!("{:<6} {path:<51}", method.as_str());
        for (who, caller) in &callers {
            // Callers that may change something have a place of their own.
            let own = match *who {
                "maintainer" | "owner" | "admin" | "t-maintainer" | "t-ci" | "t-admin"
                | "session" | "t-registry"
                    if !method.is_safe() =>
                {
                    let name = format!("place-{number}-{who}");
                    Some(Place::make(&admin, &name, &members).await)
                }
                "t-beyond" => {
                    let name = format!("place-{number}-{who}");
                    let place = Place::make(&admin, &name, &members).await;
                    Some(place.beyond(&admin).await)
                }
                _ => None,
            };
            let place = own.as_ref().unwrap_or(&place);
            // It is that of the place.
            let confined = (*who == "t-registry").then(|| server.bearer(&place.confined.0));
            let caller = confined.as_ref().unwrap_or(caller);
            let answer = caller
                .send(place.request(caller, prefix, method, path))
                .await;
            surface.check(&answer, &format!("{who}: {method} {path}"));
            let hidden = *who == "elsewhere" && path.contains("{registryId}");
            if hidden && answer.status == 404 {
                assert_eq!(answer.codes(), ["registry-not-found"], "{method} {path}");
            }
            write!(line, " {:>width$}", answer.status, width = who.len()).unwrap();
            if *who == "reader" {
                let after = place.contents(&admin).await;
                assert_eq!(
                    after, before,
                    "{method} {path}: somebody changed what he may not"
                );
            }
        }
        table.push(line);
    }
    let table = table.join("\n");
    let expected: Vec<_> = TABLE
        .trim()
        .lines()
        .filter(|line| is_here(line.split_whitespace().nth(1).unwrap()))
        .collect();
    assert_eq!(
        table,
        expected.join("\n"),
        "this is the table now:\n{table}\n"
    );
}

#[rstest]
#[actix_web::test]
async fn a_request_of_a_known_caller_asks_the_store_once(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &[WITHOUT_BACKGROUND]).await;
    let admin = server.admin();
    let members = Members::make(&admin).await;
    let generated = admin
        .post(
            "/v1/apitokens/generate",
            json!({"name": "t", "role": "Admin"}),
        )
        .await;
    let bearer = server.bearer(generated.json["token"].as_str().unwrap());
    let session = server.session(&server.sign_in("admin", ADMIN_PASSWORD).await);
    for (number, (method, path)) in routes().iter().enumerate() {
        for (who, caller) in [
            ("password", &admin),
            ("token", &bearer),
            ("session", &session),
        ] {
            let quay = Surface::of(path) == Some(Surface::Quay);
            let signs_in = path == "/api/v1/signin";
            if (who == "session" && !quay) || (who != "session" && signs_in) {
                continue;
            }
            let calls = match path.as_str() {
                open if OPEN.contains(&open) => 0,
                // The registry of the token is known, and locked, only after a look.
                // And whoever may not see all API tokens or app tokens takes no turn.
                "/tokens/lookup" | "/api-tokens" | "/app-tokens" => 2,
                _ => 1,
            };
            let expected = (calls, 0);
            let place = Place::make(&admin, &format!("place-{number}-{who}"), &members).await;
            // The events of making it.
            server.service.flush_audit(true).await.unwrap();
            let (calls, checks) = (
                server.service.store_calls(),
                server.service.password_checks(),
            );
            let answer = caller.send(place.request(caller, "", method, path)).await;
            let counts = (
                server.service.store_calls() - calls,
                server.service.password_checks() - checks,
            );
            // An export of a long trail is read in parts, one call each.
            let parts = path == "/audit/export" && counts.0 > 0 && counts.1 == 0;
            assert!(
                parts || counts == expected,
                "{who}: {method} {path}: {counts:?} {answer:?}"
            );
        }
    }
    // The first request reads the hash that the password is checked against; a wrong password ends there.
    for (name, secret, status, expected) in [
        ("analyst@example.com", "analyst:pässword", 200, (2, 1)),
        ("analyst@example.com", "analyst:pässword", 200, (1, 0)),
        ("analyst@example.com", "wrong-password", 401, (1, 1)),
    ] {
        server.service.flush_audit(true).await.unwrap();
        let (calls, checks) = (
            server.service.store_calls(),
            server.service.password_checks(),
        );
        assert_eq!(
            server.actor(name, secret).get("/locations").await.status,
            status
        );
        let counted = (
            server.service.store_calls() - calls,
            server.service.password_checks() - checks,
        );
        assert_eq!(counted, expected, "{name} with {secret}");
    }
}

/// Two replicas, each of which knows the accounts that are made here.
struct Replicas {
    server: Server,
    replica: Server,
    registry: String,
}

impl Replicas {
    async fn new(backend: Backend) -> Self {
        let server = Server::start(backend).await;
        let replica = server.replica().await;
        let registry = server.admin().create_registry("team-a").await;
        Self {
            server,
            replica,
            registry,
        }
    }

    fn both(&self, name: &str, secret: &str) -> [Actor; 2] {
        [&self.server, &self.replica].map(|server| server.actor(name, secret))
    }

    /// Makes an account of an Admin, which both replicas have let in.
    async fn known(&self, name: &str) -> [Actor; 2] {
        let actors = self.both(name, "first-password");
        self.server
            .add_account(name, "first-password", "Admin")
            .await;
        // No token has the id of the registry.
        let token = format!("/registries/{0}/tokens/{0}", self.registry);
        for actor in &actors {
            assert_eq!(actor.get("/locations").await.status, 200);
            assert_eq!(actor.get(&token).await.status, 404);
        }
        actors
    }

    /// Checks that neither replica lets them in, nor says what else was wrong.
    async fn shut_out(&self, actors: &[Actor; 2], what: &str) {
        let registry = &self.registry;
        let paths = [
            "/locations".to_owned(),
            format!("/registries/{registry}/repositories"),
            format!("/registries/{registry}/tokens/{registry}"),
        ];
        for actor in actors {
            for path in &paths {
                assert_unauthenticated(&actor.get(path).await, what);
            }
            let write = actor
                .patch(&format!("/registries/{registry}"), json!({}))
                .await;
            assert_unauthenticated(&write, what);
            // A refused client does not learn of further errors either.
            for query in [
                "/registries?limit=x",
                "/accounts?offset=x",
                "/names/No_name",
                &format!("/registries/{registry}/tokens?limit=x"),
                &format!("/registries/{registry}/members?limit=x"),
                &format!("/registries/{registry}/auth-config?for=x&bundle=x"),
            ] {
                let method = if query.starts_with("/names") {
                    Method::HEAD
                } else {
                    Method::GET
                };
                let answer = actor.send(actor.request(method, query)).await;
                assert_unauthenticated(&answer, &format!("{what}: {query}"));
            }
            let query = format!("/accounts/{registry}?revokeTokens=x");
            assert_unauthenticated(&actor.delete(&query).await, what);
            for (path, body) in [
                ("/registries/no-id/tokens".to_owned(), json!({})),
                (
                    "/registries".to_owned(),
                    json!({"properties": {"name": "team-b", "location": "no/where"}}),
                ),
                (
                    "/registries".to_owned(),
                    json!({"properties": {"name": "B"}}),
                ),
                (
                    format!("/registries/{registry}/tokens"),
                    json!({"properties": {"name": "-"}}),
                ),
            ] {
                assert_unauthenticated(&actor.post(&path, body).await, what);
            }
        }
    }
}

#[rstest]
#[actix_web::test]
async fn what_happens_to_an_account_bites_on_its_next_request(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let replicas = Replicas::new(backend).await;
    let accounts = replicas.server.service.account_commands();
    let actors = replicas.known("disabled").await;
    accounts
        .set_status("disabled".to_owned(), Status::Disabled)
        .await
        .unwrap();
    replicas.shut_out(&actors, "disabled").await;
    accounts
        .set_status("disabled".to_owned(), Status::Enabled)
        .await
        .unwrap();
    for actor in &actors {
        assert_eq!(actor.get("/locations").await.status, 200, "enabled again");
    }
}

#[rstest]
#[actix_web::test]
async fn a_deleted_account_is_shut_out_and_its_namesake_is_somebody_else(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let replicas = Replicas::new(backend).await;
    let (server, accounts) = (&replicas.server, replicas.server.service.account_commands());
    let actors = replicas.known("deleted").await;
    accounts
        .delete("deleted".to_owned(), LiveTokens::Refuse)
        .await
        .unwrap();
    replicas.shut_out(&actors, "deleted").await;
    // A new account of the same name is another account, even if the server remembers the old one's same password.
    server
        .add_account("deleted", "other-password", "Admin")
        .await;
    replicas.shut_out(&actors, "the namesake's").await;
}

#[rstest]
#[actix_web::test]
async fn an_old_password_is_shut_out_on_the_next_request(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let replicas = Replicas::new(backend).await;
    let (server, accounts) = (&replicas.server, replicas.server.service.account_commands());
    let actors = replicas.known("changed").await;
    accounts
        .set_password(
            "changed".to_owned(),
            &password("second-password"),
            IssuedTokens::Keep,
        )
        .await
        .unwrap();
    replicas.shut_out(&actors, "the old password").await;
    for actor in replicas.both("changed", "second-password") {
        assert_eq!(
            actor.get("/locations").await.status,
            200,
            "the new password"
        );
    }
    // The same value again: one check renews the proof, and clients notice nothing.
    accounts
        .set_password(
            "changed".to_owned(),
            &password("second-password"),
            IssuedTokens::Keep,
        )
        .await
        .unwrap();
    let checks = server.service.password_checks();
    for _ in 0..3 {
        let answer = server
            .actor("changed", "second-password")
            .get("/locations")
            .await;
        assert_eq!(answer.status, 200, "the same password set again");
    }
    assert_eq!(server.service.password_checks() - checks, 1);
}

#[rstest]
#[actix_web::test]
async fn a_role_that_was_taken_permits_nothing_on_the_next_request(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let replicas = Replicas::new(backend).await;
    let (server, registry) = (&replicas.server, &replicas.registry);
    let actors = replicas.known("demoted").await;
    server.database.execute(
        "UPDATE account_roles SET role_key = (SELECT key FROM roles WHERE name = 'Analyst') \
         WHERE account_key = (SELECT key FROM accounts WHERE name_key = 'demoted')",
    );
    for actor in &actors {
        let write = actor
            .patch(&format!("/registries/{registry}"), json!({}))
            .await;
        assert_eq!((write.status, write.codes()), (403, vec!["forbidden"]));
        assert_eq!(actor.get("/locations").await.status, 200);
    }
}

/// The permissions of roles are remembered, for one version of the account.
#[rstest]
#[actix_web::test]
async fn an_account_without_roles_sees_no_token_on_the_next_request(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let replicas = Replicas::new(backend).await;
    let (server, registry) = (&replicas.server, &replicas.registry);
    let token = server.admin().mint(registry, "ci", &[]).await;
    let actors = replicas.known("demoted").await;
    let accounts = server.service.account_commands();
    for (roles, status) in [
        (vec![], 404),
        (vec!["Analyst".to_owned()], 200),
        (vec![], 404),
    ] {
        accounts
            .set_roles("demoted".to_owned(), roles)
            .await
            .unwrap();
        for actor in &actors {
            for _ in 0..2 {
                assert_eq!(actor.get(&token.path).await.status, status);
            }
        }
    }
}

#[rstest]
#[actix_web::test]
async fn names_and_passwords_of_all_kinds(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let longest = "x".repeat(71);
    let right = [
        ("alice@example.com", "a:b:c:dddd"),
        ("bob", ":::::::::"),
        ("Jörg Müller", "pässwörd–€"),
        ("中文", "密码密码密码密码"),
        ("spaces", "  around and between  "),
        ("longest", longest.as_str()),
    ];
    for (name, secret) in right {
        server.add_account(name, secret, "Analyst").await;
        let answer = server.actor(name, secret).get("/locations").await;
        assert_eq!(answer.status, 200, "{name} with {secret:?}");
    }
    for (name, secret) in [
        ("ALICE@Example.COM", "a:b:c:dddd"),
        ("aLiCe@eXaMpLe.CoM", "a:b:c:dddd"),
        ("JÖRG MÜLLER", "pässwörd–€"),
    ] {
        let answer = server.actor(name, secret).get("/locations").await;
        assert_eq!(answer.status, 200, "{name}: case makes no other name");
    }
    let longer = "x".repeat(72);
    for (name, secret, why) in [
        ("Jorg Müller", "pässwörd–€", "marks are not folded"),
        ("alice@example.com", "A:B:C:DDDD", "passwords have case"),
        (
            "alice@example.com",
            "a",
            "the password is not cut at a colon",
        ),
        ("alice@example.com", "a:b:c:dddd:", "nor lengthened"),
        (
            "alice@example.com:a",
            "b:c:dddd",
            "the first colon parts, wherever the client drew the line",
        ),
        ("spaces", "around and between", "nothing is trimmed"),
        ("longest", longer.as_str(), "bcrypt's limit cuts nothing"),
        ("bob", "", "an empty password"),
        ("bob", "::::\0::::", "a NUL ends no password"),
        ("", ":::::::::", "an empty name"),
    ] {
        let answer = server.actor(name, secret).get("/locations").await;
        // The one case in which another division means the same.
        let expected = if name.ends_with(":a") { 200 } else { 401 };
        assert_eq!(answer.status, expected, "{why}");
    }
    // Names that PostgreSQL, a log or a terminal cannot take: no account, never a 500.
    for name in [
        "a\0b",
        "\0",
        "a\nb",
        "\u{1b}[31m",
        "\u{85}",
        &"n".repeat(4000),
    ] {
        assert_unauthenticated(
            &server.actor(name, "whatever-it-is").get("/locations").await,
            &format!("{name:?}"),
        );
    }
}

#[rstest]
#[actix_web::test]
async fn forms_of_authorization(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let server = Server::start(backend).await;
    let somebody = server.anonymous();
    let code = STANDARD.encode(format!("admin:{ADMIN_PASSWORD}"));
    let ask = async |values: &[Vec<u8>]| {
        let mut request = somebody.request(Method::GET, "/locations");
        for value in values {
            let value = reqwest::header::HeaderValue::from_bytes(value).unwrap();
            request = request.header("Authorization", value);
        }
        somebody.send(request).await
    };
    for scheme in ["Basic", "basic", "BASIC", "Basic  "] {
        let answer = ask(&[format!("{scheme} {code}").into_bytes()]).await;
        assert_eq!(answer.status, 200, "{scheme}: {answer:?}");
    }
    let good = format!("Basic {code}").into_bytes();
    let of = |decoded: &[u8]| format!("Basic {}", STANDARD.encode(decoded)).into_bytes();
    let refused: [(&str, Vec<Vec<u8>>); 15] = [
        ("missing", vec![]),
        ("empty", vec![vec![]]),
        (
            "another scheme",
            vec![format!("Bearer {code}").into_bytes()],
        ),
        ("the scheme alone", vec![b"Basic".to_vec()]),
        ("the scheme and a space", vec![b"Basic ".to_vec()]),
        ("no space", vec![format!("Basic{code}").into_bytes()]),
        ("a tab", vec![format!("Basic\t{code}").into_bytes()]),
        ("not base64", vec![b"Basic %%%%".to_vec()]),
        (
            "base64 and more",
            vec![format!("Basic {code} {code}").into_bytes()],
        ),
        ("not UTF-8", vec![of(b"admin:\xff\xfe")]),
        ("not ASCII", vec![b"Basic \xc3\xa4".to_vec()]),
        ("no colon", vec![of(b"admin")]),
        ("a colon alone", vec![of(b":")]),
        ("twice, both right", vec![good.clone(), good]),
        ("9 KiB", vec![of(&[b'a'; 9 * 1024])]),
    ];
    for (what, values) in &refused {
        assert_unauthenticated(&ask(values).await, what);
    }
    // The server may hang up on a head of this size; it must not fall over.
    for size in [100 * 1024, 1024 * 1024] {
        let request = somebody
            .request(Method::GET, "/locations")
            .header("Authorization", format!("Basic {}", "a".repeat(size)));
        if let Ok(answer) = somebody.try_send(request).await {
            assert!((400..500).contains(&answer.status), "{size}: {answer:?}");
        }
        // On a connection of its own: the other client may still use a connection that the server closed.
        let admin = Actor::of(
            &format!("http://{}", server.address),
            "admin",
            ADMIN_PASSWORD,
        );
        assert_eq!(admin.get("/locations").await.status, 200, "after {size}");
    }
}

#[rstest]
#[actix_web::test]
async fn all_who_are_refused_look_alike(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    server
        .add_account("disabled", "right-password", "Admin")
        .await;
    let accounts = server.service.account_commands();
    accounts
        .set_status("disabled".to_owned(), Status::Disabled)
        .await
        .unwrap();
    let mut seen = Vec::new();
    for (name, secret) in [
        ("admin", "wrong-password"),
        ("nobody", "wrong-password"),
        ("no\0body", "wrong-password"),
        ("admin", &"too-long".repeat(20)),
        ("disabled", "wrong-password"),
        ("disabled", "right-password"),
    ] {
        let checks = server.service.password_checks();
        let mut answer = server.actor(name, secret).get("/locations").await;
        assert_eq!(
            server.service.password_checks() - checks,
            1,
            "{name} with {secret} did not cost one whole check"
        );
        assert!(answer.headers.remove("date").is_some());
        assert!(answer.headers.remove("x-request-id").is_some());
        seen.push((name, answer.status, answer.headers, answer.text));
    }
    let (_, status, headers, text) = &seen[0];
    assert_eq!(*status, 401);
    for (name, other_status, other_headers, other_text) in &seen {
        assert_eq!(
            (status, headers, text),
            (other_status, other_headers, other_text),
            "{name}"
        );
    }
}

#[rstest]
#[actix_web::test]
async fn proofs_are_shared_and_end_and_failures_are_not_remembered(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let checks = |since: u64| server.service.password_checks() - since;

    let start = checks(0);
    let together: Vec<_> = (0..20)
        .map(|_| {
            let admin = server.admin();
            actix_web::rt::spawn(async move { admin.get("/locations").await.status })
        })
        .collect();
    for request in together {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!(checks(start), 1, "twenty equal first requests");

    for (advance, expected) in [(59, 0), (2, 1), (59, 0), (60, 1)] {
        let start = checks(0);
        server.clock.advance(TimeDelta::seconds(advance));
        assert_eq!(server.admin().get("/locations").await.status, 200);
        assert_eq!(checks(start), expected, "after {advance} seconds more");
    }

    let start = checks(0);
    for _ in 0..3 {
        let answer = server
            .actor("admin", "wrong-password")
            .get("/locations")
            .await;
        assert_eq!(answer.status, 401);
    }
    assert_eq!(checks(start), 3);
    // A password that failed before works as soon as it is set.
    let accounts = server.service.account_commands();
    accounts
        .set_password(
            "admin".to_owned(),
            &password("wrong-password"),
            IssuedTokens::Keep,
        )
        .await
        .unwrap();
    let answer = server
        .actor("admin", "wrong-password")
        .get("/locations")
        .await;
    assert_eq!(answer.status, 200);
}

#[rstest]
#[actix_web::test]
async fn who_did_it_is_the_account_that_called(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    for name in ["Alice@example.com", "Bob@example.com"] {
        server.add_account(name, "right-password", "Admin").await;
    }
    // However they write their names.
    let alice = server.actor("alice@EXAMPLE.com", "right-password");
    let bob = server.actor("bob@example.com", "right-password");
    let ids: std::collections::BTreeMap<_, _> = server
        .service
        .account_commands()
        .list()
        .await
        .unwrap()
        .into_iter()
        .map(|account| (account.name, account.id.to_string()))
        .collect();

    let registry = alice.create_registry("team-a").await;
    let registry = format!("/registries/{registry}");
    let tokens = format!("{registry}/tokens");
    let token = alice
        .create_token(registry.trim_start_matches("/registries/"), "ci")
        .await;
    let token = format!("{tokens}/{token}");
    for (path, change) in [
        (&registry, json!({"apiSubnetAllowList": ["192.0.2.0/24"]})),
        (&token, json!({"status": "disabled"})),
    ] {
        let made = alice.get(path).await.json["metadata"].clone();
        assert_eq!(made["createdBy"], "Alice@example.com");
        assert_eq!(made["createdByUserId"], ids["Alice@example.com"]);
        assert!(made.get("lastModifiedBy").is_none(), "{made}");

        server.clock.advance(TimeDelta::seconds(1));
        assert_eq!(bob.patch(path, change.clone()).await.status, 200);
        let changed = alice.get(path).await.json["metadata"].clone();
        for kept in ["createdBy", "createdByUserId", "createdDate"] {
            assert_eq!(changed[kept], made[kept]);
        }
        assert_eq!(changed["lastModifiedBy"], "Bob@example.com");
        assert_eq!(changed["lastModifiedByUserId"], ids["Bob@example.com"]);
        assert_ne!(changed["lastModifiedDate"], changed["createdDate"]);

        // A patch without a change leaves the metadata alone. Deleted accounts stay named in it.
        assert_eq!(alice.patch(path, change).await.json["metadata"], changed);
    }
    let accounts = server.service.account_commands();
    accounts
        .delete("bob@example.com".to_owned(), LiveTokens::Refuse)
        .await
        .unwrap();
    let after = alice.get(&token).await;
    assert_eq!(after.json["metadata"]["lastModifiedBy"], "Bob@example.com");
}

// The pool that checks passwords, without a server: the tests give the sources, and depend on the order of the answers,
// not on their speed.

/// A count of checks that no pool reaches, so the pool is not held.
const NEVER: u64 = u64::MAX;

fn source(number: u16) -> IpAddr {
    IpAddr::from([10, 0, number.to_be_bytes()[0], number.to_be_bytes()[1]])
}

fn wrong() -> SecretString {
    "wrong-password".to_owned().into()
}

/// A clock that can hold the one thread of a pool. The thread looks at the clock once it has failed somebody, when it holds
/// no lock.
#[derive(Debug)]
struct Gate {
    pool: OnceLock<Weak<Passwords>>,
    /// The count of checks beyond which the thread is held.
    after: AtomicU64,
    arrived: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Clock for Gate {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now()
    }

    fn instant(&self) -> Instant {
        let thread = std::thread::current();
        let is_of_pool = thread
            .name()
            .is_some_and(|name| name.starts_with("passwords"));
        let after = self.after.load(Ordering::SeqCst);
        let is_open = !is_of_pool || after == NEVER;
        let pool = (!is_open).then(|| self.pool.get().and_then(Weak::upgrade));
        if pool.flatten().is_some_and(|pool| pool.checks() > after) {
            self.after.store(NEVER, Ordering::SeqCst);
            self.arrived.send(()).unwrap();
            self.go_on
                .lock()
                .unwrap()
                .recv_timeout(PATIENCE)
                .expect("the test never lets the pool go on");
        }
        Instant::now()
    }
}

/// A pool of one thread that can be held, and its answers in order.
struct Pool {
    threads: Arc<Passwords>,
    gate: Arc<Gate>,
    arrived: mpsc::Receiver<()>,
    go_on: mpsc::Sender<()>,
    right: SecretString,
    hash: String,
    answers: Rc<RefCell<Vec<IpAddr>>>,
    asked: Vec<JoinHandle<()>>,
}

impl Pool {
    fn start() -> Self {
        let (arrived, at_gate) = mpsc::channel();
        let (go_on, told) = mpsc::channel();
        let gate = Arc::new(Gate {
            pool: OnceLock::new(),
            after: AtomicU64::new(NEVER),
            arrived,
            go_on: Mutex::new(told),
        });
        let clock: Arc<dyn Clock> = gate.clone();
        let pool = Arc::new(Passwords::start(1, 4, clock).unwrap());
        gate.pool.set(Arc::downgrade(&pool)).unwrap();
        let right = SecretString::from("right-password".to_owned());
        Self {
            hash: passwords::hash(&right, 4, [7; 16]).unwrap(),
            threads: pool,
            gate,
            arrived: at_gate,
            go_on,
            right,
            answers: Rc::default(),
            asked: Vec::new(),
        }
    }

    /// Lets a source fail, and holds the thread right after.
    async fn hold(&mut self, from: IpAddr) {
        self.gate
            .after
            .store(self.threads.checks(), Ordering::SeqCst);
        self.guess(from, 1).await;
        let arrived = self.arrived.recv_timeout(PATIENCE);
        arrived.expect("the pool does not come to the wrong password");
    }

    /// Lets the thread go on. Returns the sources in the order in which they were answered.
    async fn release(&mut self) -> Vec<IpAddr> {
        self.go_on.send(()).unwrap();
        for asked in self.asked.drain(..) {
            let answered = tokio::time::timeout(PATIENCE, asked).await;
            answered.expect("a check is never answered").unwrap();
        }
        self.answers.take()
    }

    /// Queues so many wrong passwords of a source.
    async fn guess(&mut self, from: IpAddr, count: u16) {
        for _ in 0..count {
            self.ask(from, wrong(), None).await;
        }
    }

    /// Queues the right password.
    async fn prove(&mut self, from: IpAddr) {
        let (right, hash) = (self.right.clone(), self.hash.clone());
        self.ask(from, right, Some(hash)).await;
    }

    async fn ask(&mut self, from: IpAddr, password: SecretString, hash: Option<String>) {
        let (pool, answers) = (Arc::clone(&self.threads), Rc::clone(&self.answers));
        let asked = actix_web::rt::spawn(async move {
            if pool.check(from, password, hash).await.is_ok() {
                answers.borrow_mut().push(from);
            }
        });
        self.asked.push(asked);
        // Lets it come to its wait.
        tokio::task::yield_now().await;
    }

    /// Right away, while the thread is held: a check that is refused needs no turn.
    fn refusal(&self, from: IpAddr) -> Error {
        let check = self.threads.check(from, wrong(), None);
        let refused = check.now_or_never();
        refused
            .expect("it waited instead of being refused")
            .unwrap_err()
    }
}

fn place(answers: &[IpAddr], of: IpAddr) -> usize {
    let found = answers.iter().position(|source| *source == of);
    found.expect("it was not answered")
}

#[actix_web::test]
async fn a_flood_from_one_source_keeps_no_other_waiting() {
    let mut pool = Pool::start();
    for round in 0..3 {
        pool.hold(source(1)).await;
        pool.guess(source(1), 16).await;
        pool.prove(source(2)).await;
        let answers = pool.release().await;
        assert_eq!(answers.len(), 18);
        // Behind the one that was in progress.
        assert_eq!(place(&answers, source(2)), 1, "round {round}: {answers:?}");
    }
}

#[actix_web::test]
async fn the_excess_of_a_source_is_its_own_matter() {
    let mut pool = Pool::start();
    // One is being checked, and sixteen wait.
    pool.hold(source(1)).await;
    pool.guess(source(1), 16).await;
    assert!(matches!(pool.refusal(source(1)), Error::RateLimited { .. }));
    // An IPv6 network is one source, however many addresses it has.
    for address in 1..=16_u16 {
        let neighbour = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, address]);
        pool.guess(neighbour, 1).await;
    }
    let neighbour = IpAddr::from([0x2001, 0xdb8, 0, 0, 0xffff, 0, 0, 1]);
    assert!(matches!(pool.refusal(neighbour), Error::RateLimited { .. }));
    pool.prove(source(2)).await;
    let answers = pool.release().await;
    assert!(answers.contains(&source(2)), "{answers:?}");
    assert_eq!(answers.len(), 17 + 16 + 1);
}

#[actix_web::test]
async fn strangers_who_fail_keep_neither_the_proven_nor_newcomers_waiting() {
    let mut pool = Pool::start();
    pool.hold(source(1000)).await;
    pool.prove(source(1)).await;
    assert_eq!(pool.release().await, [source(1000), source(1)]);

    // The queue is full, and more came. None of them has failed yet. Nor has a source that comes now: it finds a place, and
    // waits for the first guess of each of the others at most.
    pool.hold(source(1000)).await;
    for stranger in 100..140 {
        pool.guess(source(stranger), 16).await;
    }
    pool.prove(source(98)).await;
    let answers = pool.release().await;
    let waited = place(&answers, source(98));
    assert!(waited <= 41, "{waited} were answered before: {answers:?}");

    // By now all of them have failed. Sources that have not, or that proved themselves, wait for the check in progress
    // and each other.
    pool.hold(source(1000)).await;
    for stranger in 100..140 {
        pool.guess(source(stranger), 16).await;
    }
    pool.prove(source(99)).await;
    pool.prove(source(1)).await;
    let answers = pool.release().await;
    for from in [99, 1] {
        let waited = place(&answers, source(from));
        assert!((1..=2).contains(&waited), "source {from}: {answers:?}");
    }
}
