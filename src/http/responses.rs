//! Answers of operations as the OpenAPI documents describe them.

use std::collections::BTreeMap;

use utoipa::ToSchema;
use utoipa::openapi::content::Content;
use utoipa::openapi::{Ref, RefOr, Response, ResponseBuilder};

/// Answers by status.
pub(super) type Responses = BTreeMap<String, RefOr<Response>>;

/// Answers with JSON of one type, by status and description.
pub(super) fn described<T: ToSchema>(rows: &[(u16, &str)]) -> Responses {
    let schema = Ref::from_schema_name(T::name());
    responses(rows, |answer| {
        answer.content("application/json", Content::new(Some(schema.clone())))
    })
}

/// Answers without a body, by status and description.
pub(super) fn described_bare(rows: &[(u16, &str)]) -> Responses {
    responses(rows, |answer| answer)
}

fn responses(rows: &[(u16, &str)], fill: impl Fn(ResponseBuilder) -> ResponseBuilder) -> Responses {
    let rows = rows.iter().map(|(status, description)| {
        let answer = fill(ResponseBuilder::new().description(*description));
        (status.to_string(), answer.build().into())
    });
    rows.collect()
}
