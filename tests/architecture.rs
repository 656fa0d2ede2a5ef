//! The house: which part may know which.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Modules of the crate, and those that each may name. `app` and `cli` put everything together; `lib` and `main` hold
/// nothing.
const MAY_NAME: [(&str, &[&str]); 12] = [
    ("bell", &[]),
    ("error", &[]),
    ("clock", &["error"]),
    ("metrics", &[]),
    ("telemetry", &["error", "config", "domain"]),
    ("domain", &["error", "clock"]),
    ("store", &["bell", "error", "clock", "metrics", "domain"]),
    ("config", &["error", "clock", "domain", "store"]),
    ("service", &["error", "clock", "metrics", "domain", "store"]),
    (
        "http",
        &["bell", "error", "clock", "metrics", "domain", "service"],
    ),
    ("tls", &["error", "metrics"]),
    ("server", &["error", "config", "http"]),
];

/// Crates, and the modules that may name them.
const NAMED_BY: [(&str, &[&str]); 10] = [
    ("diesel", &["store"]),
    ("diesel_migrations", &["store"]),
    ("prometheus_client", &["metrics"]),
    ("actix_web", &["http", "app", "cli", "server"]),
    ("actix_http", &["server"]),
    ("actix_server", &["server"]),
    ("actix_tls", &["server"]),
    ("utoipa", &["http"]),
    ("utoipa_actix_web", &["http"]),
    ("utoipa_swagger_ui", &["http"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Each file's module of the first level, its path and its text without comments.
fn house() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    assert!(found.len() > 30, "only {} files were found", found.len());
    found
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&root).unwrap();
            let first = inside.components().next().unwrap().as_os_str();
            let module = Path::new(first).file_stem().unwrap();
            let module = module.to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .collect::<Vec<_>>()
                .join("\n");
            (module, path, code)
        })
        .collect()
}

/// The words that follow `before` in a text, such as the module in `crate::store::Store`. Groups are opened.
fn words_after<'a>(code: &'a str, before: &str) -> Vec<&'a str> {
    let mut words = Vec::new();
    for (at, _) in code.match_indices(before) {
        let rest = &code[at + before.len()..];
        match rest.strip_prefix('{') {
            None => words.extend(rest.split(|c: char| !is_word(c)).next()),
            Some(group) => {
                let mut depth = 0;
                let mut fresh = true;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => fresh = true,
                        c if fresh && is_word(c) => {
                            words.extend(group[at..].split(|c: char| !is_word(c)).next());
                            fresh = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    words
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Does the code name the crate: `name::`, not as the end of another name or of a path?
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        before.is_none_or(|c| !is_word(c) && c != ':') || code[..at].ends_with(" ::")
    })
}

#[test]
fn every_part_knows_only_those_below_it() {
    let allowed: BTreeMap<_, _> = MAY_NAME.into_iter().collect();
    let mut faults = Vec::new();
    for (module, path, code) in house() {
        if ["app", "cli", "lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let Some(allowed) = allowed.get(module.as_str()) else {
            faults.push(format!("{module} has no place in the house yet"));
            continue;
        };
        for other in words_after(&code, "crate::") {
            // `crate::Error` is the error's other name.
            let other = if other == "Error" { "error" } else { other };
            // A test may look around.
            let known = other == module || allowed.contains(&other);
            if !known {
                faults.push(format!("{} names {other}", path.display()));
            }
        }
        // The short way to another floor.
        let deep = words_after(&code, "super::super::super::");
        assert!(deep.is_empty(), "{} climbs too far", path.display());
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn each_framework_stays_in_its_room() {
    let mut faults = Vec::new();
    for (module, path, code) in house() {
        for (name, rooms) in NAMED_BY {
            if names_crate(&code, name) && !rooms.contains(&module.as_str()) {
                faults.push(format!("{} names {name}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_eyes_of_these_tests_are_sharp() {
    let code = "use crate::store::Lock;\nuse crate::{http::{self, State}, error::Error};\nlet a = crate::app::x();";
    assert_eq!(
        words_after(code, "crate::"),
        ["store", "http", "error", "app"]
    );
    assert!(names_crate("use diesel::sql_query;", "diesel"));
    assert!(names_crate("let x: Vec<diesel::Row> = y", "diesel"));
    assert!(!names_crate("crate::diesel::x", "diesel"));
    assert!(!names_crate("mydiesel::x", "diesel"));
}
