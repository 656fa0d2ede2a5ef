//! The configuration that makes a registry accept its tokens: `/registries/{registryId}/auth-config`, `auth-bundle.pem`
//! and `jwks.json`.

use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, get};
use serde::Deserialize;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::ids::RegistryPath;
use super::{Answer, Call};
use crate::domain::auth_config::{BundlePath, Product};
use crate::domain::id::RegistryId;
use crate::error::Result;
use crate::http::call::{Head, Query, Raw};
use crate::http::links;
use crate::http::native::{ApiErrorResponse, Errors};
use crate::http::schema::one_of;
use crate::http::state::State;
use crate::http::surface::TOKEN_PATH;

/// For which product, and where the bundle will lie.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Target {
    /// The registry's product: `distribution2` (2.8), `distribution3` or `zot` (for registries whose `tokenVerifier` is `pinned`)
    #[param(
        value_type = ProductName, inline,
        example = "distribution2"
    )]
    r#for: String,
    /// The path of `auth-bundle.pem` on the registry's machine; for a `pinned` registry on Distribution 3, `jwks.json`
    #[param(
        max_length = 4096,
        min_length = 1,
        pattern = r"^[^\x00-\x1F\x7F]+$",
        example = "/etc/docker/registry/wharfinger.pem"
    )]
    bundle: String,
}

/// The name of a product.
struct ProductName;

impl PartialSchema for ProductName {
    fn schema() -> RefOr<Schema> {
        one_of(Product::ALL.iter().map(|(name, _)| *name)).into()
    }
}

impl ToSchema for ProductName {}

/// The parsed [`Target`].
struct Destination {
    product: Product,
    path: BundlePath,
}

impl Head for Destination {
    fn read(request: &HttpRequest) -> Result<Self> {
        let Query(target) = Query::<Target>::read(request)?;
        Ok(Self {
            product: Product::parse(&target.r#for)?,
            path: BundlePath::parse(&target.bundle)?,
        })
    }

    fn parameters() -> Vec<Parameter> {
        Query::<Target>::parameters()
    }
}

/// Get the configuration with which a registry accepts its tokens
///
/// The text to paste: for Distribution the `auth:` block of its YAML, for zot the `http.auth` of its JSON.
#[utoipa::path(
    operation_id = "registriesAuthConfigGet", tag = "Registries", params(RegistryPath, Target),
    responses(
        (status = 200, description = "The text", body = String, content_type = "text/plain", example = json!("auth:\n  token:\n    realm: \"https://tokens.example.com/token\"\n    service: \"team-a.localhost\"\n    issuer: \"wharfinger\"\n    rootcertbundle: \"/etc/docker/registry/wharfinger.pem\"\n")),
        (status = 404, description = "The registry does not exist", body = ApiErrorResponse),
        (status = 409, description = "The product cannot verify the tokens of this registry, or the address at which clients reach this service is not known", body = ApiErrorResponse),
        Errors,
    ),
)]
#[get("/{registryId}/auth-config")]
pub(super) async fn config(
    state: Data<State>,
    call: Call<(RegistryId, (Destination, Raw))>,
) -> Answer {
    let (registry, (Destination { product, path }, Raw(request))) = call.head;
    let realm = links::origin(&request).map(|origin| format!("{origin}{TOKEN_PATH}"));
    let text = state
        .service
        .signing_keys()
        .config(&call.caller, registry, product, path, realm)
        .await?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
        .body(text))
}

/// Get the certificate that a registry has to trust
///
/// The file for `rootcertbundle` of Distribution and `cert` of zot. With the `tokenVerifier` `x5c` it is valid for
/// years; with `pinned` it changes with every rotation.
#[utoipa::path(
    operation_id = "registriesAuthBundleGet", tag = "Registries", params(RegistryPath),
    responses(
        (status = 200, description = "A certificate, PEM", body = String, content_type = "text/plain", example = json!("-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n")),
        (status = 404, description = "The registry does not exist", body = ApiErrorResponse),
        Errors,
    ),
)]
#[get("/{registryId}/auth-bundle.pem")]
pub(super) async fn bundle(state: Data<State>, call: Call<RegistryId>) -> Answer {
    let bundle = state
        .service
        .signing_keys()
        .bundle(&call.caller, call.head)
        .await?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((
            CONTENT_DISPOSITION,
            "attachment; filename=\"auth-bundle.pem\"",
        ))
        .body(bundle))
}

/// Get the public keys of a registry's JWTs
///
/// A JSON Web Key Set: the key in use, and earlier keys whose JWTs may still be in force.
#[utoipa::path(
    operation_id = "registriesJwksGet", tag = "Registries", params(RegistryPath),
    responses(
        (status = 200, description = "A JSON Web Key Set", body = Object, content_type = "application/json", example = json!({"keys": [{"kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256", "kid": "BPAH:LGR6:NDWE:SG25:LFLJ:X2E7:VZUN:U4YE:JQMW:362Q:OUTG:PDXN", "x": "fTaTib0K3kzwKb2S0JGdyscy49pbfy8jRC_v7p3lH3c", "y": "IMXe1lFAQ-NfcHEe7NG-vxs7berkDKUlQ-dXwR3yEGo"}]})),
        (status = 404, description = "The registry does not exist", body = ApiErrorResponse),
        Errors,
    ),
)]
#[get("/{registryId}/jwks.json")]
pub(super) async fn key_set(state: Data<State>, call: Call<RegistryId>) -> Answer {
    let set = state
        .service
        .signing_keys()
        .key_set(&call.caller, call.head)
        .await?;
    Ok(HttpResponse::Ok().json(set))
}
