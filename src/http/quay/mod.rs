//! App tokens as Quay has them: `/api/v1/user/apptoken`, and the sign-in of those of its clients that have a password.
//!
//! Speaks what Quay's code speaks where its documents say something else, as clients rely on the code. Where that is
//! odd, `docs/QUAY.md` says why.

mod call;
mod cookie;
mod dress;
mod error;
mod examples;
#[cfg(fuzzing)]
pub mod fuzzing;
mod session;
mod titles;
mod token;
mod wire;

use utoipa::OpenApi;
use utoipa::openapi::security::{Flow, Implicit, OAuth2, Scopes, SecurityScheme};

pub(super) use self::dress::dress;
pub(super) use self::error::{Quay, SignIn};
pub(super) use self::examples::illustrate;

use self::error::ApiError;
use super::routes::Routes;
use super::surface;

type Answer = surface::Answer<Quay>;

/// Does this surface answer under a path?
pub(super) fn owns(path: &str) -> bool {
    ["/api/v1", "/csrf_token"].iter().any(|own| {
        path.strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Quay's name of the scheme, and its one scope here.
const OAUTH: &str = "In the product an OAuth access token; here an API token, as `POST /v1/apitokens/generate` gives it, sent as Bearer. It has the scope `user:admin` as long as nothing that its account may do is withheld from it. `authorizationUrl` is the product's: this server has no page that gives tokens away.";

/// What the document says beside its paths.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(
        tags(
            (name = "appspecifictokens", description = "Manages app specific tokens for the current user."),
            (name = "superuser", description = "Look at what all accounts have"),
            (name = "user", description = "Sign in and out with a password, for clients that keep cookies"),
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
pub(super) fn routes(config: &mut impl Routes) {
    config
        .service(token::list)
        .service(token::create)
        .service(token::show)
        .service(token::delete)
        .service(token::list_all)
        .service(session::visit)
        .service(session::sign_in)
        .service(session::sign_out)
        .service(titles::describe);
}
