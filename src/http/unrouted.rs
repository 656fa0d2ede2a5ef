//! Requests that match no route: another method of a known path, or an unknown path.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::state::State;
use super::surface::{PREFIX, routed};
use crate::domain::text::{nearest, quoted};
use crate::error::{Error, What};

/// The longest path that gets a suggestion, in bytes: two ids and the names around them fit.
const SUGGESTED: usize = 256;
/// A path with HEAD and without GET, for a hint in the error.
const NAMES: &str = "/names/{name}";

/// Answers requests that match no route: 405 for another method of a known path, or else 404.
///
/// With routes of one method each, actix answers both alike. The pattern that the path matches distinguishes them.
pub(super) async fn unrouted(
    request: HttpRequest,
    state: Data<State>,
) -> actix_web::Result<HttpResponse> {
    let path = routed(&request);
    let error = if let Some((pattern, allow)) = state.route(&request) {
        Error::MethodNotAllowed {
            method: request.method().to_string(),
            allow: allow.clone(),
            hint: (pattern == NAMES).then_some(
                "the status is the answer: 200 for a name that is taken, 404 for one that is free",
            ),
        }
    } else {
        let short = path.len() <= SUGGESTED;
        let meant = short.then(|| meant(path, &request, &state)).flatten();
        Error::NotFound {
            what: What::Path,
            which: quoted(request.path()).to_string(),
            hint: meant.map(|meant| format!("did you mean {meant:?}?")),
        }
    };
    let surface = state.surface(path);
    Err((surface.failure)(path, error))
}

/// The path that the caller probably meant: without empty segments, and with the nearest name in place of an unknown
/// one.
fn meant(path: &str, request: &HttpRequest, state: &State) -> Option<String> {
    let (prefix, bare) = match path.strip_prefix(PREFIX) {
        Some(bare) => (PREFIX, bare),
        None => ("", path),
    };
    let parts: Vec<_> = bare.split('/').filter(|part| !part.is_empty()).collect();
    let patterns = state.served.methods.keys();
    let patterns = patterns.filter(|pattern| state.serves(request, pattern));
    let patterns = patterns.filter_map(|pattern| {
        let pattern: Vec<_> = pattern.split('/').skip(1).collect();
        (pattern.len() == parts.len()).then_some(pattern)
    });
    let likely = patterns.filter_map(|pattern| {
        let mut changed = 0;
        let parts = parts.iter().zip(pattern).map(|(part, own)| {
            if own.starts_with('{') || *part == own {
                return Some(*part);
            }
            changed += 1;
            nearest(&[own], part)
        });
        let parts: Option<Vec<_>> = parts.collect();
        Some((changed, parts?.join("/"))).filter(|(changed, _)| *changed <= 1)
    });
    let mut likely: Vec<(u32, String)> = likely.collect();
    likely.sort();
    let fewest = likely.first()?.0;
    let likely = likely.iter().filter(|(changed, _)| *changed == fewest);
    let likely: Vec<_> = likely.map(|(_, path)| path.as_str()).collect();
    let meant = nearest(&likely, &parts.join("/")).or(likely.first().copied())?;
    let meant = format!("{prefix}/{meant}");
    (meant != path).then_some(meant)
}
