//! Generated examples for the documents: bodies from the examples of their members, errors from the service's answers.

use actix_web::ResponseError as _;
use actix_web::http::header::{HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::{Map, Value};
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{ArrayItems, Components};
use utoipa::openapi::{Object, OpenApi, Ref, RefOr, Response, Schema, Type};

use super::dialect::{Dialect, Failure};
use crate::error::Error;

/// The headers of errors, with their descriptions.
const HEADERS: [(HeaderName, Type, &str); 2] = [
    (WWW_AUTHENTICATE, Type::String, "How to authenticate"),
    (
        RETRY_AFTER,
        Type::Integer,
        "Seconds after which to try again",
    ),
];

/// Adds examples to every body and headers to every error, and moves errors that operations share to the components.
///
/// `error` gives the error behind a status of a path. `fit` corrects examples that the members alone do not determine.
/// Names of shared errors begin with `prefix`, since each surface has its own errors.
pub(super) fn illustrate<S: Dialect>(
    document: &mut OpenApi,
    prefix: &str,
    error: fn(path: &str, status: &str) -> Option<Error>,
    fit: fn(path: &str, status: &str, example: &mut Value),
) {
    let mut components = document.components.take().unwrap_or_default();
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            if let Some(RefOr::T(body)) = &mut operation.request_body {
                for content in body.content.values_mut() {
                    let RefOr::T(content) = content else { continue };
                    let schema = content.schema.as_ref();
                    content.example = schema.map(|schema| example(schema, &components));
                }
            }
            for (status, slot) in &mut operation.responses.responses {
                let RefOr::T(response) = slot else { continue };
                let error = error(path, status).map(Failure::<S>::from);
                if let Some(failure) = &error {
                    add_headers(response, failure);
                }
                for content in response.content.values_mut() {
                    let RefOr::T(content) = content else { continue };
                    content.example = match (&error, &content.schema) {
                        (Some(failure), _) => Some(S::body(failure)),
                        // Content that is not JSON has no members to make an example from.
                        (None, _) if content.example.is_some() => continue,
                        (None, Some(schema)) => {
                            let mut example = example(schema, &components);
                            fit(path, status, &mut example);
                            Some(example)
                        }
                        (None, None) => None,
                    };
                }
                if let Some(name) = error
                    .as_ref()
                    .and_then(|failure| name(prefix, failure, response))
                {
                    let shared = components
                        .responses
                        .entry(name.clone())
                        .or_insert_with(|| slot.clone());
                    if shared == slot {
                        *slot = RefOr::Ref(Ref::from_response_name(name));
                    }
                }
            }
        }
    }
    document.components = Some(components);
}

pub(super) fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let methods = [
        &mut item.get,
        &mut item.head,
        &mut item.post,
        &mut item.put,
        &mut item.patch,
        &mut item.delete,
    ];
    methods.into_iter().flatten()
}

fn add_headers<S: Dialect>(response: &mut Response, failure: &Failure<S>) {
    let sent = failure.error_response();
    for (name, kind, description) in HEADERS {
        let Some(value) = sent
            .headers()
            .get(&name)
            .and_then(|value| value.to_str().ok())
        else {
            continue;
        };
        let mut header = Header::new(Object::with_type(kind));
        header.description = Some(description.to_owned());
        header.example = Some(
            value
                .parse::<u64>()
                .map_or_else(|_| value.into(), Value::from),
        );
        let name = match name {
            WWW_AUTHENTICATE => "WWW-Authenticate",
            _ => "Retry-After",
        };
        response.headers.insert(name.to_owned(), header.into());
    }
}

/// The name of an error among the components, after its status. An error without a body belongs to a HEAD request and
/// has its own name.
fn name<S: Dialect>(prefix: &str, failure: &Failure<S>, response: &Response) -> Option<String> {
    let reason = failure.status_code().canonical_reason()?;
    (!response.content.is_empty()).then(|| format!("{prefix}{}", reason.replace(' ', "")))
}

/// The example of a schema: its own, or else its first enum value, or else one made of its parts.
fn example(schema: &RefOr<Schema>, components: &Components) -> Value {
    let schema = match schema {
        RefOr::T(schema) => schema,
        RefOr::Ref(reference) => {
            let name = reference.ref_location.rsplit('/').next();
            return name
                .and_then(|name| components.schemas.get(name))
                .map_or(Value::Null, |schema| example(schema, components));
        }
    };
    match schema {
        Schema::Object(object) => object
            .example
            .clone()
            .or_else(|| object.enum_values.as_ref()?.first().cloned())
            .unwrap_or_else(|| {
                let members = object.properties.iter();
                members
                    .map(|(name, member)| (name.clone(), example(member, components)))
                    .collect::<Map<_, _>>()
                    .into()
            }),
        Schema::Array(array) => array.example.clone().unwrap_or_else(|| match &array.items {
            ArrayItems::RefOrSchema(item) => vec![example(item, components)].into(),
            ArrayItems::False => Value::Array(Vec::new()),
        }),
        // The value; null comes after it.
        Schema::OneOf(one) => one
            .items
            .first()
            .map_or(Value::Null, |item| example(item, components)),
        _ => Value::Null,
    }
}
