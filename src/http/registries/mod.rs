//! The registries API of IONOS Container Registry: registries, tokens, names, locations.
//!
//! Served under `/` and under [`PREFIX`]. `docs/API.md` explains the differences from the product.

mod account;
mod api_token;
mod audit;
mod bulk;
mod bulk_request;
mod catalog;
mod elsewhere;
mod evaluation;
mod examples;
#[cfg(fuzzing)]
pub mod fuzzing;
mod ids;
mod issued;
mod issuer;
mod labelled;
mod leak;
mod lookup;
mod me;
mod member;
mod precondition;
mod registry;
mod repeat;
mod rotation;
mod token;
mod token_query;
mod trust;
mod wire;
mod workload;

use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::OpenApi;

use self::elsewhere::{ARTIFACTS, REPOSITORIES, REPOSITORY, VULNERABILITY};
use self::examples::illustrate;
use self::precondition::{Conditional, Unchanged};
use self::repeat::Reused;
use super::dialect::{self, Failure};
use super::native::{ApiErrorResponse, Native};
use super::pieces;
use super::routes::{Routes, Section};
use super::state::State;
use super::surface::{Document, PREFIX, Surface, WhileFrozen};

/// The prefix of most paths.
const REGISTRIES: &str = "/registries";

pub(super) static SURFACE: Surface = Surface {
    name: "registries",
    // It is the fallback for paths that no other surface owns.
    owns: |_| false,
    failure: |_, error| Failure::<Native>::from(error).into(),
    routes: |config| {
        config.configure(routes);
        config.service(web::scope(PREFIX).configure(routes));
    },
    unlisted: &[],
    any_method: &elsewhere::PATHS,
    changes_by_get: &[],
    dress: None,
    while_frozen: WhileFrozen::Reads,
    queues: true,
    challenges_scripts: false,
    document: Some(Document {
        place: 1,
        title: "Registries (IONOS)",
        url: "../openapi/registries.json",
        description: "Manages container registries, the tokens that open them, and the accounts that manage both. The \
                      API of IONOS Container Registry, self-hosted. Ids in examples are made up: `GET /registries`, \
                      `GET /registries/{registryId}/tokens` and `GET /accounts` list the real ones.",
        base,
        routes: |config| routes(config),
        illustrate,
    }),
};

type Answer = dialect::Answer<Native>;
type Call<H = (), B = ()> = super::call::Call<Native, H, B>;

/// The approximate size of a page of a list, in bytes.
const PAGE: usize = 16 * 1024;

/// A page of a list.
fn listed(state: &State, page: &impl Serialize) -> Answer {
    let body = pieces::json(&state.answers.all, page, PAGE)?;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(body))
}

/// Adds every route of this surface.
fn routes(config: &mut impl Routes) {
    config
        .service(registry::list)
        .service(registry::create)
        .section(REGISTRIES, Registry)
        .service(token::list_all)
        .service(bulk::begin)
        .service(bulk::list)
        .service(bulk::show)
        .service(bulk::cancel)
        .service(catalog::locations)
        .service(catalog::check_name)
        .service(account::list)
        .service(account::create)
        .section("/accounts", Account)
        .service(me::show)
        .section("/me", Me)
        .service(issued::api_tokens)
        .service(issued::revoke_api_token)
        .service(issued::app_tokens)
        .service(issued::delete_app_token)
        .service(issuer::list)
        .service(issuer::create)
        .section("/issuers", Issuer)
        .service(audit::export)
        .service(audit::list)
        .service(leak::report)
        .service(lookup::look_up)
        .map(|config| config.route(VULNERABILITY, web::to(elsewhere::vulnerabilities)));
}

/// The routes below the path of an account.
struct Account;

impl Section for Account {
    fn routes(self, config: &mut impl Routes) {
        config
            .service(account::show)
            .service(account::update)
            .service(account::delete);
    }
}

/// The routes below the path of the caller's own account.
struct Me;

impl Section for Me {
    fn routes(self, config: &mut impl Routes) {
        config
            .service(me::set_password)
            .service(issued::own_api_tokens)
            .service(issued::revoke_own_api_token)
            .service(issued::own_app_tokens)
            .service(issued::delete_own_app_token);
    }
}

/// The routes below the path of an issuer.
struct Issuer;

impl Section for Issuer {
    fn routes(self, config: &mut impl Routes) {
        config
            .service(issuer::show)
            .service(issuer::replace)
            .service(issuer::update)
            .service(issuer::delete);
    }
}

/// The routes below the path of a registry, the most frequent first.
struct Registry;

impl Section for Registry {
    fn routes(self, config: &mut impl Routes) {
        config
            .service(token::show)
            .service(token::list)
            .service(token::create)
            .service(token::replace)
            .service(token::update)
            .service(token::delete)
            .service(rotation::rotate)
            .service(rotation::end_previous)
            .service(token::evaluate)
            .service(registry::show)
            .service(registry::replace)
            .service(registry::update)
            .service(registry::delete)
            .service(member::list)
            .service(member::set)
            .service(member::remove)
            .service(api_token::list)
            .service(api_token::create)
            .service(api_token::show)
            .service(api_token::revoke)
            .service(workload::list)
            .service(workload::create)
            .service(workload::show)
            .service(workload::replace)
            .service(workload::update)
            .service(workload::delete)
            .service(workload::evaluate)
            .service(workload::refusals)
            .service(trust::config)
            .service(trust::bundle)
            .service(trust::key_set)
            .map(|config| {
                let below = |path: &'static str| path.strip_prefix(REGISTRIES).unwrap_or(path);
                config
                    .route(below(REPOSITORIES), web::to(elsewhere::repositories))
                    .route(below(REPOSITORY), web::to(elsewhere::repository))
                    .route(below(ARTIFACTS), web::to(elsewhere::artifacts))
            });
    }
}

/// The document without paths.
fn base() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(
        servers(
            (url = "/", description = "This server"),
            (url = "/containerregistries", description = "This server, under the prefix that IONOS clients use"),
        ),
        tags(
            (name = "Registries", description = "Manage registries"),
            (name = "Tokens", description = "Define access permissions to registry resources\n\nThis tag groups all operations for tokens."),
            (name = "Members", description = "Say which accounts belong to a registry"),
            (name = "Accounts", description = "Manage accounts and their roles"),
            (name = "Registry API tokens", description = "Let programs of a team manage the tokens of one registry"),
            (name = "Me", description = "See what you may do, and look after your own credentials"),
            (name = "Issued tokens", description = "See which API tokens and app tokens there are, and end them"),
            (name = "Issuers", description = "Manage the services whose JWTs registries can trust"),
            (name = "Trusts", description = "Let CI jobs and pods open a registry without a stored secret"),
            (name = "Audit", description = "Look at what was done and refused"),
            (name = "Secret scanning", description = "Report secrets that were found where they do not belong"),
            (name = "Names", description = "Check whether a registry name is free"),
            (name = "Locations", description = "List where registries can be made"),
        ),
        components(schemas(ApiErrorResponse)),
    )]
    struct Base;

    Base::openapi()
}
