//! How `/v2/check` reads a request, `METHOD path?query`. The needed scopes name the one repository that the routes of
//! Distribution can find in the path, and every repository that the query takes something from.

use wharfinger::domain::scope::{joined, parse_requested};
use wharfinger::http::fuzzing::registry_auth::needed;

/// Checks one input.
pub fn run(text: &str) {
    let (method, uri) = text.split_once(' ').unwrap_or(("GET", text));
    let Some(needed) = needed(method, uri, false) else {
        return;
    };
    // The client will ask for the scopes in the challenge.
    let asked = joined(&needed);
    let read = parse_requested([asked.as_str()]).expect("it is asked for");
    for access in &needed {
        let merged = read
            .iter()
            .find(|read| read.r#type == access.r#type && read.name == access.name);
        let merged = merged.expect("nothing is lost on the way");
        assert!(
            access
                .actions
                .iter()
                .all(|action| merged.actions.contains(action))
        );
    }

    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    assert!(
        !path.contains(['%', '#', '\\', ' ']),
        "{path} has other readings"
    );
    let below = path.strip_prefix("/v2").expect("it is below /v2");
    if below.is_empty() || below == "/" {
        assert!(needed.is_empty() && ["GET", "HEAD"].contains(&method));
        return;
    }
    if below == "/_catalog" {
        assert_eq!(asked, "registry:catalog:*");
        assert!(["GET", "HEAD"].contains(&method));
        return;
    }
    let (first, sources) = needed.split_first().expect("something is needed");
    assert_eq!(repositories(below), [first.name.as_str()], "{path}");
    let actions = match method {
        "GET" | "HEAD" => "pull",
        "POST" | "PUT" | "PATCH" => "pull,push",
        "DELETE" => "delete",
        other => panic!("{other} is no method of a registry"),
    };
    assert_eq!(
        first.to_string(),
        format!("repository:{}:{actions}", first.name)
    );

    let pairs: Vec<_> = query.split('&').map(pair).collect();
    let from: Vec<_> = pairs.iter().filter(|(name, _)| name == "from").collect();
    assert_eq!(from.len(), sources.len());
    for ((_, name), source) in from.into_iter().zip(sources) {
        assert_eq!(
            source.to_string(),
            format!("repository:{}:pull", source.name)
        );
        assert_eq!(name, &source.name);
        assert!(is_name(name));
    }
    if sources.is_empty() {
        assert!(
            pairs.iter().all(|(name, _)| name != "mount"),
            "zot mounts from anywhere"
        );
    }
}

/// Every repository that some route finds in a path, each once.
fn repositories(path: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in path.match_indices('/').skip(1) {
        let (name, rest) = (&path[1..at], &path[at + 1..]);
        let parts: Vec<_> = rest.split('/').collect();
        let is_route = match parts.as_slice() {
            ["tags", "list"] | ["blobs", "uploads"] | ["blobs", "uploads", _] => true,
            ["manifests" | "blobs" | "referrers", reference] => !reference.is_empty(),
            _ => false,
        };
        if is_route && is_name(name) {
            found.push(name);
        }
    }
    found
}

/// Runs of lower-case letters and digits, joined by `.`, `_`, `__`, hyphens or `/`.
fn is_name(name: &str) -> bool {
    let mut joint = String::from("/");
    for letter in name.chars() {
        match letter {
            'a'..='z' | '0'..='9' => {
                let fits = matches!(joint.as_str(), "" | "/" | "." | "_" | "__");
                if !fits && joint.contains(|c| c != '-') {
                    return false;
                }
                joint.clear();
            }
            other => joint.push(other),
        }
    }
    joint.is_empty() && name.len() <= 255
}

/// A pair of a query, decoded.
fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (decoded(name), decoded(value))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = |digit: u8| char::from(digit).to_digit(16);
        let escaped = match after {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        let (byte, length) = match (escaped, first) {
            (Some((high, low)), _) => ((high * 16 + low) as u8, 3),
            (None, b'+') => (b' ', 1),
            (None, other) => (*other, 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
