//! Defences against hostile bytes on the wire, hostile pages in browsers and hostile processes on the same machine.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser as _;
use reqwest::Method;
use rstest::rstest;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use wharfinger::clock::SystemRandom;
use wharfinger::config::Cli;
use wharfinger::domain::account::NewPassword;
use wharfinger::domain::api_token::Wish;
use wharfinger::domain::app_token::Title;
use wharfinger::domain::audit::Origin;
use wharfinger::domain::token::{NewToken, TokenName};
use wharfinger::service::access::Presented;
use wharfinger::service::certificates::make_rsa_key;
use wharfinger::service::data_keys::ServerKey;
use wharfinger::service::grants::{Ask, Login, Pass};

use crate::harness::{ADMIN_PASSWORD, Actor, Answer, Backend, Database, Program, Server};
use crate::openapi::{document, operations};
use crate::wire::{exchange, statuses};

/// Requests beside the document's operations: method, path and status without credentials.
const BESIDE: [(&str, &str, u16); 16] = [
    ("GET", "/healthz", 200),
    ("HEAD", "/readyz", 200),
    ("HEAD", "/%72eadyz", 200),
    ("POST", "/healthz", 405),
    ("GET", "/", 200),
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

/// Asserts that any answer has the headers that restrict browsers.
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
            // One operation may delete the resource of the next, but every answer has the headers.
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
        // Browsers may store public pages, but must revalidate them.
        let public = ["/docs/", "/openapi"]
            .iter()
            .any(|start| path.starts_with(start))
            && status == 200;
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
    // Other processes of the same user cannot read a process that cannot be dumped.
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

/// Texts that a terminal, a log or the next reader of a header would act on.
const HOSTILE: [&str; 9] = [
    "\r\nX-Evil: 1",
    "\n{\"level\":\"ERROR\",\"evil\":1}",
    "\n2026-01-01T00:00:00.000000Z ERROR evil",
    "\u{1b}[31mevil\u{1b}]0;evil\u{7}",
    "\u{0}",
    "\u{9b}31mevil",
    "\u{202e}evil\u{2028}evil\u{85}evil",
    "\"; evil=\"1",
    "\u{e9}\u{1f6a2}\u{301}",
];

/// The requests that carry a text in each place that one can be sent in.
fn carriers(text: &str) -> Vec<String> {
    let escaped: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let as_json = json!(text).to_string();
    let basic = |name: &str| STANDARD.encode(format!("{name}:{ADMIN_PASSWORD}"));
    let (admin, stranger) = (basic("admin"), basic(text));
    let mut requests = Vec::new();
    let mut ask = |line: &str, headers: &str, body: &str| {
        requests.push(format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        ));
    };
    for path in [
        "/",
        "/registries/",
        "/registries?filter.name=",
        "/v1/",
        "/v1/apitokens/",
        "/api/v1/user/apptoken/",
        "/docs/",
        "/openapi/",
        "/token?service=",
        "/token?service=team-a.localhost&scope=",
        "/v2/auth?account=",
        "/audit?limit=",
        "/containerregistries/registries/",
        "/v2/check?registry=",
    ] {
        for authorization in [&admin, &stranger] {
            let headers = format!("Authorization: Basic {authorization}\r\n");
            ask(&format!("GET {path}{escaped}"), &headers, "");
            ask(&format!("DELETE {path}{escaped}"), &headers, "");
        }
        ask(&format!("GET {path}{text}"), "", "");
    }
    for name in [
        "X-Request-Id",
        "Origin",
        "User-Agent",
        "Referer",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "Forwarded",
        "Cookie",
        "X-Original-URI",
        "X-Original-Method",
        "Accept",
        "Authorization",
        "Content-Encoding",
        "Sec-Fetch-Site",
        "Host",
        "X-CSRF-Token",
        "Content-Type",
        "If-Match",
        "If-None-Match",
        "Idempotency-Key",
    ] {
        for line in [
            "GET /registries",
            "POST /registries",
            "GET /v2/check",
            "POST /v1/apitokens/generate",
            "GET /nowhere",
        ] {
            ask(line, &format!("{name}: {text}\r\n"), "");
        }
    }
    let headers = format!("Authorization: Basic {admin}\r\nContent-Type: application/json\r\n");
    for (path, body) in [
        (
            "/registries",
            format!(r#"{{"properties": {{"name": {as_json}, "location": "de/fra"}}}}"#),
        ),
        (
            "/registries",
            format!(r#"{{"properties": {{"name": "team-a", "location": {as_json}}}}}"#),
        ),
        ("/registries", format!("{{{as_json}: {as_json}}}")),
        (
            "/accounts",
            format!(r#"{{"properties": {{"name": {as_json}, "password": "right-password"}}}}"#),
        ),
        (
            "/v1/apitokens/generate",
            format!(r#"{{"name": {as_json}, "roles": ["Admin"]}}"#),
        ),
        (
            "/v1/apitokens/generate",
            format!(r#"{{"name": "a", "roles": [{as_json}]}}"#),
        ),
        (
            "/api/v1/user/apptoken",
            format!(r#"{{"title": {as_json}}}"#),
        ),
    ] {
        ask(&format!("POST {path}"), &headers, &body);
    }
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for parameter in ["grant_type", "service", "username", "scope", "client_id"] {
        let body = format!(
            "grant_type=password&service=a.localhost&username=a&password=b&{parameter}={escaped}"
        );
        ask("POST /token", form, &body);
    }
    requests
}

/// The names of headers that an answer may have.
const HEADERS: [&str; 21] = [
    "allow",
    "cache-control",
    "connection",
    "content-length",
    "content-security-policy",
    "content-type",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "date",
    "docker-distribution-api-version",
    "etag",
    "idempotency-replayed",
    "location",
    "referrer-policy",
    "retry-after",
    "set-cookie",
    "vary",
    "www-authenticate",
    "x-content-type-options",
    "x-frame-options",
    "x-request-id",
];

#[rstest]
#[actix_web::test]
async fn nothing_that_is_sent_becomes_a_header_or_a_line_of_the_log(
    #[values("text", "json")] format: &str,
) {
    let database = Arc::new(Database::fresh(Backend::Sqlite));
    let mut command = Program::command(&database);
    command.args(["--log", "trace", "--log-format", format]);
    let program = Program::spawn(&database, command);
    program.admin().create_registry("team-a").await;
    let address = program.base.trim_start_matches("http://").parse().unwrap();
    let mut answered = 0;
    for text in HOSTILE {
        for request in carriers(text) {
            let answers = exchange(address, request.as_bytes());
            answered += statuses(&answers).len();
            let (head, _) = answers
                .split_once("\r\n\r\n")
                .unwrap_or_else(|| panic!("{request:?}: {answers:?}"));
            for line in head.split("\r\n").skip(1) {
                let (name, value) = line
                    .split_once(": ")
                    .unwrap_or((line.trim_end_matches(':'), ""));
                assert!(HEADERS.contains(&name), "{request:?}: {line:?}");
                assert!(
                    value.chars().all(|c| matches!(c, ' '..='~')),
                    "{request:?}: {line:?}"
                );
            }
        }
    }
    assert!(answered > 1000, "{answered}");
    program.signal("TERM");
    let (_, log) = program.wait();
    assert!(log.lines().count() > 1000, "{}", log.lines().count());
    for line in log.lines() {
        let acts = |c: char| {
            c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!line.contains(acts), "{line:?}");
        if format == "json" {
            let line: Value =
                serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line:?}"));
            assert!(
                line["evil"].is_null() && line["timestamp"].is_string(),
                "{line}"
            );
        } else {
            let (time, rest) = line.split_once(' ').unwrap();
            assert!(
                chrono::DateTime::parse_from_rfc3339(time).is_ok(),
                "{line:?}"
            );
            assert!(!rest.trim_start().starts_with("ERROR evil"), "{line:?}");
        }
    }
}

/// Checks that nothing shows a secret, as it is or in another form.
fn check_hidden(secrets: &[String], shown: &[String]) {
    for secret in secrets {
        assert!(secret.len() > 8, "{secret:?}");
        for form in [
            secret.clone(),
            STANDARD.encode(secret),
            format!("{secret:?}").trim_matches('"').to_owned(),
        ] {
            for debugged in shown {
                assert!(!debugged.contains(&form), "{form:?} is in {debugged}");
            }
        }
    }
}

#[test]
fn no_secret_is_in_the_debug_form_of_settings_and_keys() {
    let mut shown = Vec::new();
    let mut secrets = vec!["known-word".to_owned()];
    let raw_key = *b"a server key of thirty-two bytes";
    let key = STANDARD.encode(raw_key);
    secrets.extend([
        key.clone(),
        "a server key".to_owned(),
        format!("{:?}", &raw_key[..8]).replace(['[', ']'], ""),
    ]);
    let cli = Cli::parse_from([
        "wharfinger",
        "--database-url",
        "postgres://user:known-word@127.0.0.1/x?password=known-word",
        "--server-key",
        &key,
        "--admin-password",
        "known-word",
    ]);
    shown.push(format!(
        "{cli:?} {:?} {}",
        cli.settings.target().unwrap(),
        cli.settings.target().unwrap()
    ));
    shown.push(format!(
        "{:?} {:?}",
        cli.settings.given_admin_password().unwrap(),
        ServerKey::parse(&key.into()).unwrap()
    ));
    let made = ServerKey::generate(&SystemRandom).unwrap();
    secrets.push(made.encode().expose_secret().to_owned());
    shown.push(format!("{made:?} {:?}", made.encode()));
    let password = NewPassword::parse("known-word".into()).unwrap();
    shown.push(format!("{password:?}"));
    let private = make_rsa_key().unwrap();
    shown.push(format!("{private:?}"));
    secrets.push(format!("{:?}", &private.expose_secret()[..12]).replace(['[', ']'], ""));
    check_hidden(&secrets, &shown);
}

/// A caller with a password, from this machine.
fn presented(password: &str) -> Presented {
    Presented::new("admin".to_owned(), password.into(), SOURCE)
}

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn origin() -> Origin {
    Origin {
        address: Some(SOURCE),
        request_id: "x".to_owned(),
    }
}

#[actix_web::test]
async fn no_secret_is_in_the_debug_form_of_what_the_service_gives() {
    let server = Server::start(Backend::Sqlite).await;
    let service = &server.service;
    let caller = service.identify(presented(ADMIN_PASSWORD), origin());
    let caller = caller.await.unwrap();
    let registry = server.admin().create_registry("team-a").await;
    let registry = wharfinger::domain::id::RegistryId::parse(&registry).unwrap();
    let new = NewToken::named(TokenName::parse("ci").unwrap());
    let minted = service
        .tokens()
        .create(&caller, registry, new, None)
        .await
        .unwrap()
        .value;
    let revealed = service
        .app_tokens()
        .create(&caller, Title::parse("laptop".to_owned()).unwrap())
        .await
        .unwrap();
    let wish = Wish {
        name: "ci".to_owned(),
        role: None,
        roles: vec!["Admin".to_owned()],
        expires_at: None,
    };
    let generated = service.api_tokens().generate(&caller, wish).await.unwrap();
    let bearer = service
        .identify_bearer(&generated.secret, origin())
        .await
        .unwrap();
    let shown = format!("{caller:?} {minted:?} {revealed:?} {generated:?} {bearer:?} {service:?}");
    let secrets = [&minted.secret, &revealed.code.unwrap(), &generated.secret];
    let mut secrets = secrets
        .map(|secret| secret.expose_secret().to_owned())
        .to_vec();
    secrets.push(ADMIN_PASSWORD.to_owned());
    check_hidden(&secrets, &[shown]);
}

#[actix_web::test]
async fn no_secret_is_in_the_debug_form_of_a_login() {
    let server = Server::start(Backend::Sqlite).await;
    let service = &server.service;
    server.admin().create_registry("team-a").await;
    let wrong = service.identify(presented("known-word"), origin()).await;
    let visit = service.sessions().visit(None).unwrap();
    let csrf_token = visit.csrf_token.expose_secret();
    let ticket = service
        .sessions()
        .sign_in(
            Some(visit.cookie.expose_secret()),
            Some(csrf_token),
            presented(ADMIN_PASSWORD),
            origin(),
        )
        .await
        .unwrap();
    let session = service
        .sessions()
        .identify(ticket.cookie.expose_secret())
        .unwrap();
    let ask = |login| Ask {
        login,
        service: "team-a.localhost".to_owned(),
        wanted: Vec::new(),
        offline: true,
        origin: origin(),
    };
    let asked = ask(Login::Password(presented(ADMIN_PASSWORD)));
    let mut shown = vec![format!("{asked:?}")];
    let granted = service.grants().issue(asked).await.unwrap();
    let refresh_token = granted.refresh_token.clone().unwrap();
    shown.push(format!(
        "{:?}",
        ask(Login::Refresh {
            token: refresh_token.clone(),
            source: SOURCE
        })
    ));
    shown.push(format!(
        "{:?}",
        Pass::Jwt {
            jwt: granted.jwt.clone(),
            source: SOURCE
        }
    ));
    shown.push(format!("{:?}", Pass::Password(presented("known-word"))));
    shown.push(format!("{:?} {wrong:?}", presented("known-word")));
    // With the vault, the signers and the queues of passwords in it, all of them in use by now.
    shown.push(format!(
        "{visit:?} {ticket:?} {session:?} {granted:?} {service:?}"
    ));
    let mut secrets = vec!["known-word".to_owned(), ADMIN_PASSWORD.to_owned()];
    for secret in [
        &visit.cookie,
        &visit.csrf_token,
        &ticket.cookie,
        &ticket.csrf_token,
        &granted.jwt,
        &refresh_token,
    ] {
        secrets.push(secret.expose_secret().to_owned());
    }
    check_hidden(&secrets, &shown);
}

#[actix_web::test]
async fn scripts_of_pages_are_told_of_a_401_without_the_browsers_sign_in_box() {
    let server = Server::start(Backend::Sqlite).await;
    let client = server.anonymous();
    let challenges = async |path: &str, (name, value): (&str, &str)| {
        let answer = client
            .send(client.request(Method::GET, path).header(name, value))
            .await;
        assert_eq!(answer.status, 401, "{path} {name}");
        let all = answer.headers.get_all("www-authenticate").iter();
        let schemes: Vec<_> = all
            .map(|challenge| {
                let text = challenge.to_str().unwrap();
                text.split(' ').next().unwrap().to_owned()
            })
            .collect();
        (schemes, answer.header("vary").to_owned())
    };
    let bearer = "Bearer".to_owned();
    let both = vec!["Basic".to_owned(), bearer.clone()];
    let decides = "Sec-Fetch-Mode, X-Requested-With";
    for path in ["/registries", "/containerregistries/registries", "/audit"] {
        for (header, expected) in [
            (("Accept", "*/*"), &both),
            (("Sec-Fetch-Mode", "navigate"), &both),
            (("Sec-Fetch-Mode", "cors"), &vec![bearer.clone()]),
            (
                ("X-Requested-With", "XMLHttpRequest"),
                &vec![bearer.clone()],
            ),
        ] {
            let (schemes, vary) = challenges(path, header).await;
            assert_eq!(&schemes, expected, "{path} {header:?}");
            assert!(vary.contains(decides), "{path} {header:?}: {vary}");
        }
    }
    // The clients of registries do as the challenge says.
    let told = challenges("/token", ("Accept", "*/*")).await;
    for header in [
        ("Sec-Fetch-Mode", "cors"),
        ("X-Requested-With", "XMLHttpRequest"),
    ] {
        assert_eq!(challenges("/token", header).await, told);
    }
    assert_eq!(told, (vec!["Basic".to_owned()], String::new()));
}

#[rstest]
#[case::without_a_public_url(&[], "")]
#[case::behind_a_prefix(&["--public-url", "https://tokens.example.com/wharf/"], "https://tokens.example.com/wharf")]
#[actix_web::test]
async fn the_root_leads_people_to_the_page_and_programs_to_the_document(
    #[case] settings: &[&str],
    #[case] base: &str,
) {
    let server = Server::start_with(Backend::Sqlite, settings).await;
    let base = if base.is_empty() {
        server.anonymous().base().to_owned()
    } else {
        base.to_owned()
    };
    let client = server.anonymous().without_redirects();
    let program = client.get("/").await;
    assert_eq!(program.status, 200);
    assert_eq!(program.json["openapi"], format!("{base}/openapi.json"));
    let browser = client.request(Method::GET, "/");
    let browser = client
        .send(browser.header("Accept", "text/html,*/*;q=0.8"))
        .await;
    assert_eq!(browser.status, 302);
    assert_eq!(browser.header("location"), format!("{base}/docs/"));
}
