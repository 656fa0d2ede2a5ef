//! What hostile bytes on the wire, hostile pages in browsers and hostile neighbours on the machine meet.

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::sync::Arc;

use reqwest::Method;
use rstest::rstest;

use crate::harness::{Actor, Answer, Backend, Database, Program, Server};
use crate::openapi::{document, operations};

/// What is no operation of the document, as method, path and status without credentials.
const BESIDE: [(&str, &str, u16); 14] = [
    ("GET", "/healthz", 200),
    ("HEAD", "/readyz", 200),
    ("POST", "/healthz", 405),
    ("GET", "/docs", 308),
    ("GET", "/docs/", 200),
    ("GET", "/docs/swagger-initializer.js", 200),
    ("GET", "/docs/nowhere", 404),
    ("GET", "/openapi.json", 200),
    ("GET", "/openapi/quay.json", 200),
    ("GET", "/openapi/nowhere.json", 404),
    ("GET", "/nowhere", 404),
    ("GET", "/v1/nowhere", 404),
    ("TRACE", "/registries", 405),
    ("GET", "/containerregistries/%00", 404),
];

/// Asserts that browsers are bound by an answer, whatever it is.
fn binds(what: &str, answer: &Answer) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        let values: Vec<_> = answer.headers.get_all(name).iter().collect();
        assert_eq!(values, [value], "{name} of {what}: {answer:?}");
    }
    let policies: Vec<_> = answer
        .headers
        .get_all("content-security-policy")
        .iter()
        .collect();
    assert_eq!(policies.len(), 1, "{what}: {policies:?}");
    let policy = answer.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; "),
        "{what}: {policy}"
    );
    assert!(
        policy.ends_with("frame-ancestors 'none'"),
        "{what}: {policy}"
    );
    assert!(
        !policy.contains("unsafe-inline' 'unsafe") && !policy.contains('*'),
        "{what}: {policy}"
    );
    assert_eq!(
        answer.headers.get_all("cache-control").iter().count(),
        1,
        "{what}"
    );
    let kept = answer.header("cache-control");
    assert!(kept.starts_with("no-"), "{what}: {kept}");
}

/// Sends a request without following where its answer leads.
async fn ask(actor: &Actor, method: &str, path: &str) -> Answer {
    actor
        .send(actor.request(Method::from_bytes(method.as_bytes()).unwrap(), path))
        .await
}

#[rstest]
#[actix_web::test]
async fn every_answer_binds_browsers(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let registry = server.admin().create_registry("team-a").await;
    let token = server.admin().create_token(&registry, "ci").await;
    let account = server.admin().create_account("mia@example.com", &[]).await;
    let mut answered = 0;
    for (method, path, _) in operations(&document()) {
        let path = path
            .replace("{registryId}", &registry)
            .replace("{tokenId}", &token)
            .replace("{accountId}", &account)
            .replace("{name}", "team-a");
        for prefix in ["", "/containerregistries"] {
            // What one operation deletes is missing for the next, and answers all the same.
            for actor in [server.anonymous(), server.admin()] {
                for method in [method.as_str(), "OPTIONS"] {
                    let answer = ask(&actor, method, &format!("{prefix}{path}")).await;
                    let what = format!("{method} {prefix}{path}");
                    binds(&what, &answer);
                    assert_eq!(answer.header("strict-transport-security"), "", "{what}");
                    assert!(
                        answer.header("cache-control").starts_with("no-store"),
                        "{what}"
                    );
                    answered += 1;
                }
            }
        }
    }
    assert!(answered > 300, "{answered}");
    for (method, path, status) in BESIDE {
        let answer = ask(&server.anonymous().without_redirects(), method, path).await;
        let what = format!("{method} {path}");
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        binds(&what, &answer);
        let page = status == 200 && path.starts_with("/docs/");
        assert_eq!(
            answer
                .header("content-security-policy")
                .contains("script-src"),
            page || path.starts_with("/docs/"),
            "{what}"
        );
        // What is no secret is looked after by browsers, and asked for anew.
        let public = path.starts_with("/docs/") || path.starts_with("/openapi") && status == 200;
        let kept = if public { "no-cache" } else { "no-store" };
        assert!(answer.header("cache-control").starts_with(kept), "{what}");
    }
    let admin = server.admin();
    let large = admin
        .request(Method::POST, "/registries")
        .header("content-type", "application/json")
        .body(vec![b' '; 1024 * 1024 + 1]);
    let too_large = admin.send(large).await;
    assert_eq!(too_large.status, 413);
    binds("a body too large", &too_large);
}

#[actix_web::test]
async fn browsers_are_told_to_come_by_https_where_that_is_the_way() {
    for (url, told) in [
        ("https://tokens.example.com", "max-age=31536000"),
        ("http://tokens.example.com", ""),
    ] {
        let server = Server::start_with(Backend::Sqlite, &["--public-url", url]).await;
        for path in [
            "/healthz",
            "/registries",
            "/docs/",
            "/nowhere",
            "/v1/ping",
            "/token",
        ] {
            let answer = server.anonymous().get(path).await;
            assert_eq!(
                answer.header("strict-transport-security"),
                told,
                "{url} {path}"
            );
        }
    }
}

/// Root may look into every process, unless it gives that right up.
const PLAIN: [&str; 5] = [
    "setpriv",
    "--bounding-set",
    "-sys_ptrace",
    "--inh-caps",
    "-sys_ptrace",
];

#[rstest]
fn a_crash_leaves_no_memory_behind_unless_that_was_asked_for(#[values(false, true)] asked: bool) {
    let database = Arc::new(Database::fresh(Backend::Sqlite));
    let root = database.folder().metadata().unwrap().uid() == 0;
    let mut command = Program::command(&database);
    if asked {
        command.arg("--core-dumps");
    }
    if root {
        command = Program::through(&PLAIN, &command);
    }
    let program = Program::spawn(&database, command);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", program.child.id())).unwrap();
    let own = std::fs::read_to_string("/proc/self/limits").unwrap();
    let core = |limits: &str| {
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"));
        line.unwrap()
            .split_ascii_whitespace()
            .skip(4)
            .take(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let expected = if asked {
        core(&own)
    } else {
        vec!["0".to_owned(); 2]
    };
    assert_eq!(core(&limits), expected);
    // What cannot be dumped cannot be looked into by other processes of its user either.
    let mut look = Command::new("readlink");
    look.arg(format!("/proc/{}/exe", program.child.id()))
        .env("PATH", "/usr/bin:/bin");
    if root {
        look = Program::through(&PLAIN, &look);
        look.env("PATH", "/usr/bin:/bin");
    }
    let looked = look.output().unwrap();
    assert_eq!(looked.status.success(), asked, "{looked:?}");
}
