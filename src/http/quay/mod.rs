//! App tokens of Quay's API: `/api/v1/user/apptoken`, and the sign-in for clients with a password.
//!
//! It follows Quay's code if that differs from Quay's documents, since clients rely on the code. `docs/QUAY.md`
//! explains oddities.

mod call;
mod dress;
mod error;
mod examples;
mod federation;
#[cfg(fuzzing)]
pub mod fuzzing;
mod session;
mod titles;
mod token;
mod wire;

use utoipa::OpenApi;
use utoipa::openapi::security::{Flow, Implicit, OAuth2, Scopes, SecurityScheme};

use self::dress::dress;
use self::error::{ApiError, Quay};
use self::examples::illustrate;
use super::dialect::{self, Failure};
use super::routes::Routes;
use super::surface::{Document, Surface, WhileFrozen, below};

type Answer = dialect::Answer<Quay>;

pub(super) static SURFACE: Surface = Surface {
    name: "quay",
    owns: |path| {
        below(path, "/api/v1") || below(path, "/csrf_token") || below(path, "/oauth2/federation")
    },
    failure: |_, error| Failure::<Quay>::from(error).into(),
    routes: |config| routes(config),
    unlisted: &[],
    any_method: &[],
    changes_by_get: &[federation::PATH],
    dress: Some(|request, next| Box::pin(dress(request, next))),
    while_frozen: WhileFrozen::None,
    queues: true,
    challenges_scripts: false,
    document: Some(Document {
        place: 4,
        title: "App tokens (Quay)",
        url: "../openapi/quay.json",
        description: "Makes, lists, shows and revokes the tokens of an account that open every registry that it may use. \
                      The app specific tokens of Quay, self-hosted.",
        base,
        routes: |config| routes(config),
        illustrate,
    }),
};

/// Quay's name of the scheme, and its one scope here.
const OAUTH: &str = "In the product an OAuth access token; here an API token, as `POST /v1/apitokens/generate` gives it, sent as Bearer. It has the scope `user:admin` as long as nothing that its account may do is withheld from it. `authorizationUrl` is the product's: this server has no page that gives tokens away.";

/// The document without paths.
fn base() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(
        tags(
            (name = "appspecifictokens", description = "Manages app specific tokens for the current user."),
            (name = "superuser", description = "See the app tokens of all accounts"),
            (name = "user", description = "Sign in and out with a password, for clients that keep cookies"),
            (name = "robot", description = "Passwords for workloads with the JWT of an issuer"),
            (name = "error", description = "Find out what an error means"),
        ),
        components(schemas(ApiError)),
    )]
    struct Base;

    let mut document = Base::openapi();
    let scope = Scopes::from_iter([("user:admin", "Manage what belongs to the account")]);
    let implicit = Flow::Implicit(Implicit::new("/oauth/authorize", scope));
    let scheme = SecurityScheme::OAuth2(OAuth2::with_description([implicit], OAUTH));
    document
        .components
        .get_or_insert_with(Default::default)
        .add_security_scheme("oauth2_implicit", scheme);
    document
}

/// Adds every route of this surface.
fn routes(config: &mut impl Routes) {
    config
        .service(token::list)
        .service(token::create)
        .service(token::show)
        .service(token::delete)
        .service(token::list_all)
        .service(session::visit)
        .service(session::sign_in)
        .service(session::sign_out)
        .service(titles::describe)
        .service(federation::exchange);
}
