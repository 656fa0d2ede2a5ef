//! The parsers of this surface for the fuzz targets, see [`crate::http::fuzzing`].

use actix_web::http::header::AUTHORIZATION;
use actix_web::test::TestRequest;

use super::demand;
use super::token::{FormRequest, read_form, read_query};
use crate::domain::scope::Access;
use crate::error::Result;
use crate::service::exchanges::Exchange;
use crate::service::grants::Ask;

/// The access that a request to a registry needs, see [`demand::needed`].
#[must_use]
pub fn needed(method: &str, uri: &str, form: bool) -> Option<Vec<Access>> {
    demand::needed(method, uri, form)
}

/// The request of a form.
#[derive(Debug)]
pub enum Form {
    /// For a JWT.
    Ask(Ask),
    /// For a workload's password.
    Exchange(Exchange),
}

/// The request of a form.
pub fn form(text: &[u8]) -> Result<Form> {
    let request = read_form(&TestRequest::default().to_http_request(), text)?;
    Ok(match request {
        FormRequest::Ask(ask) => Form::Ask(ask),
        FormRequest::Exchange(exchange) => Form::Exchange(exchange),
    })
}

/// The question of a query, with an `Authorization` header. `None` if no request can have that query.
#[must_use]
pub fn query(authorization: &str, text: &str) -> Option<Result<Ask>> {
    let uri = format!("/token?{text}");
    uri.parse::<actix_web::http::Uri>().ok()?;
    let request = TestRequest::with_uri(&uri).insert_header((AUTHORIZATION, authorization));
    Some(read_query(&request.to_http_request()))
}
