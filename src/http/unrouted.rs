//! What no route takes: another method of a path that exists, or a path that does not.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::{PREFIX, State, dialects};
use crate::error::{Error, What};

/// Answers what no route took: another method of a path that exists, or a path that does not.
///
/// With routes of one method each, actix answers both alike; the pattern that the path matches tells them apart.
pub(super) async fn unrouted(
    request: HttpRequest,
    state: Data<State>,
) -> actix_web::Result<HttpResponse> {
    let pattern = request.match_pattern();
    let allow = pattern.as_deref().and_then(|pattern| {
        let bare = pattern
            .strip_prefix(PREFIX)
            .filter(|rest| rest.starts_with('/'))
            .unwrap_or(pattern);
        state.methods.get(bare)
    });
    let error = match allow {
        Some(allow) => Error::MethodNotAllowed {
            method: request.method().to_string(),
            allow: allow.clone(),
        },
        None => Error::not_found(What::Path, crate::domain::text::quoted(request.path())),
    };
    Err(dialects::failure(dialects::routed(&request), error))
}
