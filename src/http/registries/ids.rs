//! The ids in paths.

use actix_web::HttpRequest;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::domain::id::{
    AccountId, ApiTokenId, AppTokenId, BulkId, IssuerId, RegistryId, TokenId, TrustId,
};
use crate::error::Result;
use crate::http::call::{Head, path};

/// The registry of a path.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct RegistryPath {
    /// The unique ID of the registry
    #[param(format = Uuid, pattern = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$", example = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11")]
    registry_id: String,
}

/// The token of a path.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct TokenPath {
    /// The unique ID of the token
    #[param(format = Uuid, pattern = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$", example = "5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10")]
    token_id: String,
}

/// The token of a path that may not exist yet; the product's document gives its id no format.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct PutTokenPath {
    /// The unique ID of the token
    #[param(
        pattern = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$",
        example = "5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10"
    )]
    token_id: String,
}

/// The account of a path.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct AccountPath {
    /// The unique ID of the account
    #[param(format = Uuid, pattern = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$", example = "7ee77dcf-093f-48e6-9a14-161c73568589")]
    account_id: String,
}

/// The API token of a path.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct ApiTokenPath {
    /// The unique ID of the API token
    #[param(format = Uuid, pattern = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$", example = "4c2f4f0e-6a0e-4f0a-9a53-0d6f3f1c2b11")]
    api_token_id: String,
}

/// The app token of a path.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct AppTokenPath {
    /// The unique ID of the app token
    #[param(format = Uuid, pattern = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$", example = "9d1f6b0e-2f6e-4f7b-8f55-6a0c3f7d1e22")]
    app_token_id: String,
}

impl Head for ApiTokenId {
    fn read(request: &HttpRequest) -> Result<Self> {
        Self::parse(&path::<ApiTokenPath>(request)?.api_token_id)
    }
}

impl Head for AppTokenId {
    fn read(request: &HttpRequest) -> Result<Self> {
        Self::parse(&path::<AppTokenPath>(request)?.app_token_id)
    }
}

/// The bulk run of a path.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct BulkPath {
    /// The unique ID of the bulk run
    #[param(format = Uuid, pattern = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$", example = "c1b3a0de-7c62-4a8e-9d54-2f0f6b7a1e90")]
    bulk_id: String,
}

impl Head for BulkId {
    fn read(request: &HttpRequest) -> Result<Self> {
        Self::parse(&path::<BulkPath>(request)?.bulk_id)
    }
}

/// The issuer of a path.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct IssuerPath {
    /// The unique ID of the issuer
    #[param(format = Uuid, pattern = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$", example = "9d3c4a52-6b0e-4f7a-8c1d-2e5f7a9b0c13")]
    issuer_id: String,
}

/// The trust of a path.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct TrustPath {
    /// The unique ID of the trust
    #[param(format = Uuid, pattern = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$", example = "c8a1f0de-3b54-4e67-9a20-71d4c5e6f8b2")]
    trust_id: String,
}

impl Head for IssuerId {
    fn read(request: &HttpRequest) -> Result<Self> {
        Self::parse(&path::<IssuerPath>(request)?.issuer_id)
    }
}

impl Head for TrustId {
    fn read(request: &HttpRequest) -> Result<Self> {
        Self::parse(&path::<TrustPath>(request)?.trust_id)
    }
}

impl Head for RegistryId {
    fn read(request: &HttpRequest) -> Result<Self> {
        Self::parse(&path::<RegistryPath>(request)?.registry_id)
    }
}

impl Head for TokenId {
    fn read(request: &HttpRequest) -> Result<Self> {
        Self::parse(&path::<TokenPath>(request)?.token_id)
    }
}

impl Head for AccountId {
    fn read(request: &HttpRequest) -> Result<Self> {
        Self::parse(&path::<AccountPath>(request)?.account_id)
    }
}

/// The id of a token that may not exist yet.
#[derive(Debug)]
pub(super) struct PutTokenId(pub TokenId);

impl Head for PutTokenId {
    fn read(request: &HttpRequest) -> Result<Self> {
        TokenId::parse(&path::<PutTokenPath>(request)?.token_id).map(Self)
    }
}
