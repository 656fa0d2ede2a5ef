//! The common form of this surface's answers: no cache keeps them, and the `type` of errors is an absolute URL, as far
//! as our own is known.

use actix_web::body::{BoxBody, to_bytes};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::middleware::Next;
use serde_json::Value;

use super::error::Quay;
use crate::error::Error;
use crate::http::dialect::Failure;
use crate::http::links;

/// Wraps the requests of this surface.
pub(in super::super) async fn dress(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let origin = links::origin(request.request()).unwrap_or_default();
    let mut response = next.call(request).await?;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if response.response().error().is_none() {
        return Ok(response);
    }
    let (request, response) = response.into_parts();
    let (response, sent) = response.into_parts();
    let mut body: Value = to_bytes(sent)
        .await
        .map_err(|error| Error::internal(error.to_string()))
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(Error::internal))
        .map_err(Failure::<Quay>::from)?;
    if let Some(Value::String(address)) = body.get_mut("type") {
        address.insert_str(0, &origin);
    }
    let body = BoxBody::new(body.to_string());
    Ok(ServiceResponse::new(request, response.set_body(body)))
}
