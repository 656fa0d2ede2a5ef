//! The access that a request to a registry needs: maps its method and path to resources and actions, like Distribution
//! (its `registry/handlers/app.go`, probed against 2.8 and 3).
//!
//! A proxy forwards the request as it is, and a registry may read the same path differently. So paths are not made
//! canonical here: only a plain path can be allowed.

use crate::domain::scope::Access;

/// The longest repository name, in bytes, as in Distribution.
const NAME: usize = 255;

/// The access that a request needs: `None` if no token allows it, empty if every authenticated client may make it. The
/// access of the request itself comes first, then that to the source of a mounted blob.
///
/// `form` is true if the body is a form: Distribution also reads `mount` and `from` of a blob upload from there, and
/// the body is not available here.
pub(super) fn needed(method: &str, uri: &str, form: bool) -> Option<Vec<Access>> {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let actions = actions(method)?;
    let writes = !matches!(method, "GET" | "HEAD" | "DELETE");
    if writes && form {
        return None;
    }
    let rest = path.strip_prefix("/v2")?;
    if matches!(rest, "" | "/") {
        return (!writes && method != "DELETE").then(Vec::new);
    }
    if rest == "/_catalog" {
        let reads = matches!(method, "GET" | "HEAD");
        return reads.then(|| vec![access("registry", "catalog", &["*"])]);
    }
    let name = repository(rest.strip_prefix('/')?)?;
    // Go before 1.17 also splits a query at semicolons; the official Distribution 2.8.1 was built with it.
    if query.contains(';') {
        return None;
    }
    let mut needed = vec![access("repository", name, actions)];
    let pairs = || url::form_urlencoded::parse(query.as_bytes());
    for (_, source) in pairs().filter(|(key, _)| key == "from") {
        if !is_repository(&source) {
            return None;
        }
        needed.push(access("repository", &source, &["pull"]));
    }
    // zot mounts a blob from any repository if `from` is missing.
    let nowhere = pairs().any(|(key, _)| key == "mount") && needed.len() == 1;
    (!nowhere).then_some(needed)
}

fn actions(method: &str) -> Option<&'static [&'static str]> {
    match method {
        "GET" | "HEAD" => Some(&["pull"]),
        // Distribution refuses push alone.
        "POST" | "PUT" | "PATCH" => Some(&["pull", "push"]),
        "DELETE" => Some(&["delete"]),
        _ => None,
    }
}

fn access(r#type: &str, name: &str, actions: &[&str]) -> Access {
    Access {
        r#type: r#type.to_owned(),
        name: name.to_owned(),
        actions: actions.iter().map(|&action| action.to_owned()).collect(),
    }
}

/// The repository of a path below `/v2/`: all before the last `manifests/…`, `blobs/…`, `blobs/uploads/…`,
/// `tags/list` or `referrers/…`.
fn repository(path: &str) -> Option<&str> {
    // Paths that a proxy or a registry could decode or clean up are refused.
    let plain = path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-/:@+=~".contains(&b));
    if !plain {
        return None;
    }
    let (rest, last) = path.rsplit_once('/')?;
    let (before, kind) = rest.rsplit_once('/')?;
    let name = match (kind, last) {
        ("tags", "list") | ("blobs", "uploads") => before,
        ("uploads", _) => before.strip_suffix("/blobs")?,
        ("manifests" | "blobs" | "referrers", reference) if !reference.is_empty() => before,
        _ => return None,
    };
    let odd = matches!(last, "." | "..");
    (!odd && is_repository(name)).then_some(name)
}

/// The grammar of repository names in the OCI distribution specification:
/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` and slashes between such.
fn is_repository(name: &str) -> bool {
    name.len() <= NAME && name.split('/').all(is_component)
}

fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = component.bytes().next().is_some_and(alphanumeric)
        && component.bytes().last().is_some_and(alphanumeric);
    let separators = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends && separators.into_iter().all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scope::joined;

    fn need(method: &str, uri: &str) -> Option<String> {
        needed(method, uri, false).map(|access| joined(&access))
    }

    #[test]
    fn requests_need_what_distribution_demands() {
        for (method, uri, wanted) in [
            ("GET", "/v2/", ""),
            ("HEAD", "/v2", ""),
            ("GET", "/v2/_catalog?n=10", "registry:catalog:*"),
            ("GET", "/v2/a/tags/list", "repository:a:pull"),
            (
                "GET",
                "/v2/team/app/manifests/latest",
                "repository:team/app:pull",
            ),
            ("HEAD", "/v2/a/manifests/sha256:00", "repository:a:pull"),
            ("PUT", "/v2/a/manifests/1.0", "repository:a:pull,push"),
            ("DELETE", "/v2/a/manifests/sha256:00", "repository:a:delete"),
            ("GET", "/v2/a/blobs/sha256:00", "repository:a:pull"),
            ("DELETE", "/v2/a/blobs/sha256:00", "repository:a:delete"),
            ("POST", "/v2/a/blobs/uploads/", "repository:a:pull,push"),
            ("POST", "/v2/a/blobs/uploads", "repository:a:pull,push"),
            (
                "PATCH",
                "/v2/a/blobs/uploads/0-9?_state=x%2F",
                "repository:a:pull,push",
            ),
            (
                "PUT",
                "/v2/a/blobs/uploads/u?digest=sha256%3A00",
                "repository:a:pull,push",
            ),
            ("GET", "/v2/a/blobs/uploads/u", "repository:a:pull"),
            ("DELETE", "/v2/a/blobs/uploads/u", "repository:a:delete"),
            ("GET", "/v2/a/referrers/sha256:00", "repository:a:pull"),
            (
                "POST",
                "/v2/a/blobs/uploads/?mount=sha256:00&from=b%2Fc",
                "repository:a:pull,push repository:b/c:pull",
            ),
            (
                "POST",
                "/v2/a/blobs/uploads/?%66rom=b&from=c",
                "repository:a:pull,push repository:b:pull repository:c:pull",
            ),
            // Names that look like parts of a path.
            (
                "GET",
                "/v2/a/manifests/manifests/x",
                "repository:a/manifests:pull",
            ),
            (
                "GET",
                "/v2/a/blobs/uploads/tags/list",
                "repository:a/blobs/uploads:pull",
            ),
            (
                "GET",
                "/v2/a/tags/list/manifests/x",
                "repository:a/tags/list:pull",
            ),
            (
                "GET",
                "/v2/a__b/c.d-e--f/tags/list",
                "repository:a__b/c.d-e--f:pull",
            ),
        ] {
            assert_eq!(need(method, uri).as_deref(), Some(wanted), "{method} {uri}");
        }
    }

    #[test]
    fn anything_else_needs_what_nobody_has() {
        for (method, uri) in [
            ("GET", ""),
            ("GET", "/"),
            ("GET", "/v1/a/tags/list"),
            ("GET", "/v2/a"),
            ("GET", "/v2/a/"),
            ("GET", "/v2//tags/list"),
            ("GET", "/v2/a/../b/tags/list"),
            ("GET", "/v2/a/./tags/list"),
            ("GET", "/v2/a//tags/list"),
            ("GET", "/v2/a%2fb/tags/list"),
            ("GET", "/v2/a/%2e%2e/b/tags/list"),
            ("GET", "/v2/a\\b/tags/list"),
            ("GET", "/v2/A/tags/list"),
            ("GET", "/v2/a_/tags/list"),
            ("GET", "/v2/a..b/tags/list"),
            ("GET", "/v2/a/tags/list/"),
            ("GET", "/v2/a/manifests/"),
            ("GET", "/v2/a/manifests/.."),
            ("GET", "/v2/a/blobs/uploads/.."),
            ("GET", "/v2/a/uploads/x"),
            ("GET", "/v2/a/manifests/x/y"),
            ("GET", "/v2/_catalog/"),
            ("DELETE", "/v2/_catalog"),
            ("POST", "/v2/"),
            ("DELETE", "/v2/"),
            ("GET", "/v2/_zot/ext/search"),
            ("GET", "/v2/a/tags/list#b"),
            ("OPTIONS", "/v2/a/tags/list"),
            ("get", "/v2/a/tags/list"),
            ("CONNECT", "/v2/"),
            ("POST", "/v2/a/blobs/uploads/?mount=sha256:00"),
            ("POST", "/v2/a/blobs/uploads/?mount=sha256:00;from=b"),
            ("POST", "/v2/a/blobs/uploads/?from=../b"),
            ("POST", "/v2/a/blobs/uploads/?from="),
            ("GET", "https://other/v2/a/tags/list"),
        ] {
            assert_eq!(need(method, uri), None, "{method} {uri}");
        }
        assert_eq!(needed("POST", "/v2/a/blobs/uploads/", true), None);
        assert!(needed("GET", "/v2/a/tags/list", true).is_some());
    }
}
