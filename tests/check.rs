//! `/v2/check`, for proxies in front of registries.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};
use wharfinger::domain::account::NewPassword;
use wharfinger::domain::signing::KeyRole;
use wharfinger::domain::status::Status;
use wharfinger::service::account_rules::{IssuedTokens, LiveTokens};

use crate::harness::{
    ADMIN_PASSWORD, Actor, Answer, Backend, KeyPair, Minted, Server, WITHOUT_BACKGROUND, claims,
    fingerprint, header, scopes, signed, with_signature,
};

const SERVICE: &str = "team-a.localhost";
const WAYS: [Way; 3] = [Way::Nginx, Way::Traefik, Way::Envoy];

/// How a proxy tells the original request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Nginx,
    Traefik,
    Envoy,
}

/// A client's credentials.
#[derive(Debug, Clone)]
enum Auth {
    None,
    Basic(String, String),
    Bearer(String),
}

use Auth::{Basic, Bearer};

impl From<&Minted> for Auth {
    fn from(token: &Minted) -> Self {
        Basic(token.name.clone(), token.secret.clone())
    }
}

/// A server with one registry and one token in it.
struct Bench {
    server: Server,
    admin: Actor,
    registry: String,
    token: Minted,
}

impl Bench {
    async fn new(backend: Backend) -> Self {
        Self::with(Server::start(backend).await).await
    }

    async fn with(server: Server) -> Self {
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        let scopes = [
            "repository:team/*:pull,push",
            "repository:own:*",
            "repository:read:pull",
            "repository:blind:push,delete",
            "registry:catalog:*",
        ];
        let token = admin.mint(&registry, "ci", &scopes).await;
        Self {
            server,
            admin,
            registry,
            token,
        }
    }

    /// A JWT for these scopes.
    async fn jwt(&self, service: &str, token: &Minted, scope: &str) -> String {
        let query = [("service", service), ("scope", scope)];
        let answer = self.server.client(token).ask("/token", &query).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json["token"].as_str().unwrap().to_owned()
    }

    /// Asks as a proxy does, about a request with these headers too. Nothing makes the path canonical on its way.
    fn ask(&self, way: Way, auth: &Auth, method: &str, uri: &str, more: &[(&str, &str)]) -> Answer {
        self.ask_for(SERVICE, way, auth, method, uri, more)
    }

    fn ask_for(
        &self,
        service: &str,
        way: Way,
        auth: &Auth,
        method: &str,
        uri: &str,
        more: &[(&str, &str)],
    ) -> Answer {
        let ours = format!("GET /v2/check?service={service} HTTP/1.1");
        let mut lines = match way {
            Way::Nginx => vec![
                ours,
                format!("X-Original-Method: {method}"),
                format!("X-Original-URI: {uri}"),
            ],
            Way::Traefik => vec![
                ours,
                format!("X-Forwarded-Method: {method}"),
                format!("X-Forwarded-Uri: {uri}"),
            ],
            Way::Envoy => vec![format!("{method} /v2/check/{service}{uri} HTTP/1.1")],
        };
        if !more.iter().any(|(name, _)| *name == "host") {
            lines.push(format!("Host: {}", self.server.address));
        }
        lines.extend(more.iter().map(|(name, value)| format!("{name}: {value}")));
        match auth {
            Auth::None => {}
            Basic(name, secret) => lines.push(format!(
                "Authorization: Basic {}",
                STANDARD.encode(format!("{name}:{secret}"))
            )),
            Bearer(jwt) => lines.push(format!("Authorization: Bearer {jwt}")),
        }
        let text = lines.join("\r\n") + "\r\nConnection: close\r\n\r\n";
        self.server.raw(text.as_bytes())
    }

    fn challenge(&self, scope: &str, error: &str) -> String {
        let mut text = format!(
            r#"Bearer realm="http://{}/token",service="{SERVICE}""#,
            self.server.address
        );
        for (name, value) in [("scope", scope), ("error", error)] {
            if !value.is_empty() {
                text.extend([",", name, "=\"", value, "\""]);
            }
        }
        text
    }

    /// Checks a 401 with its challenge. HEAD has no body.
    fn sent_away(&self, what: &str, answer: &Answer, scope: &str, error: &str) {
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        if !answer.text.is_empty() {
            answer.refused(what, 401, "UNAUTHORIZED", None);
        }
        let expected = self.challenge(scope, error);
        assert_eq!(answer.header("www-authenticate"), expected, "{what}");
        assert_eq!(answer.headers.get_all("www-authenticate").iter().count(), 1);
    }

    /// The status of a plain question with these credentials.
    fn status(&self, auth: &Auth) -> u16 {
        let answers = WAYS.map(|way| self.ask(way, auth, "GET", "/v2/own/tags/list", &[]).status);
        assert!(answers.iter().all(|status| *status == answers[0]));
        answers[0]
    }
}

/// Methods, paths and the scopes that they need, which the token of the bench has.
const GRANTED: [(&str, &str, &str); 19] = [
    ("GET", "/v2/", ""),
    ("HEAD", "/v2/", ""),
    ("GET", "/v2", ""),
    ("GET", "/v2/_catalog", "registry:catalog:*"),
    ("HEAD", "/v2/_catalog?n=5&last=x", "registry:catalog:*"),
    ("GET", "/v2/own/tags/list?n=5", "repository:own:pull"),
    ("HEAD", "/v2/read/manifests/latest", "repository:read:pull"),
    (
        "GET",
        "/v2/team/a/manifests/sha256:00",
        "repository:team/a:pull",
    ),
    (
        "GET",
        "/v2/team/a/blobs/sha256:00",
        "repository:team/a:pull",
    ),
    (
        "GET",
        "/v2/team/a/referrers/sha256:00?artifactType=x%2Fy",
        "repository:team/a:pull",
    ),
    (
        "POST",
        "/v2/team/a/blobs/uploads/",
        "repository:team/a:pull,push",
    ),
    (
        "PATCH",
        "/v2/team/a/blobs/uploads/u-1?_state=x",
        "repository:team/a:pull,push",
    ),
    (
        "PUT",
        "/v2/team/a/blobs/uploads/u-1?digest=sha256:00",
        "repository:team/a:pull,push",
    ),
    (
        "PUT",
        "/v2/team/a/manifests/latest",
        "repository:team/a:pull,push",
    ),
    (
        "DELETE",
        "/v2/own/manifests/sha256:00",
        "repository:own:delete",
    ),
    (
        "DELETE",
        "/v2/own/blobs/uploads/u-1",
        "repository:own:delete",
    ),
    (
        "DELETE",
        "/v2/blind/manifests/sha256:00",
        "repository:blind:delete",
    ),
    (
        "POST",
        "/v2/own/blobs/uploads/?mount=sha256:00&from=team%2Fa",
        "repository:own:pull,push repository:team/a:pull",
    ),
    (
        "POST",
        "/v2/own/blobs/uploads/?mount=sha256:00&from=read",
        "repository:own:pull,push repository:read:pull",
    ),
];

/// The same with scopes that the token of the bench has not, or not all of them.
const DENIED: [(&str, &str, &str); 12] = [
    (
        "DELETE",
        "/v2/team/a/manifests/sha256:00",
        "repository:team/a:delete",
    ),
    ("GET", "/v2/team/manifests/latest", "repository:team:pull"),
    (
        "GET",
        "/v2/team/a/b/manifests/latest",
        "repository:team/a/b:pull",
    ),
    (
        "GET",
        "/v2/team-x/a/manifests/latest",
        "repository:team-x/a:pull",
    ),
    ("GET", "/v2/other/tags/list", "repository:other:pull"),
    (
        "PUT",
        "/v2/read/manifests/latest",
        "repository:read:pull,push",
    ),
    (
        "POST",
        "/v2/read/blobs/uploads/",
        "repository:read:pull,push",
    ),
    ("GET", "/v2/blind/manifests/latest", "repository:blind:pull"),
    // Pushing needs pulling too, as Distribution has it.
    (
        "PUT",
        "/v2/blind/manifests/latest",
        "repository:blind:pull,push",
    ),
    (
        "POST",
        "/v2/own/blobs/uploads/?mount=sha256:00&from=other",
        "repository:own:pull,push repository:other:pull",
    ),
    (
        "POST",
        "/v2/own/blobs/uploads/?mount=sha256:00&from=blind",
        "repository:own:pull,push repository:blind:pull",
    ),
    (
        "POST",
        "/v2/own/blobs/uploads/?mount=sha256:00&from=read&from=other",
        "repository:own:pull,push repository:read:pull repository:other:pull",
    ),
];

/// Credentials of all kinds.
struct Callers {
    secret: Auth,
    /// A JWT that was got for nothing.
    idle: Auth,
    account: Auth,
    reader: Auth,
}

impl Callers {
    async fn of(bench: &Bench) -> Self {
        let basic = |name: &str, password: &str| Basic(name.to_owned(), password.to_owned());
        Self {
            secret: Auth::from(&bench.token),
            idle: Bearer(bench.jwt(SERVICE, &bench.token, "").await),
            account: basic("admin", ADMIN_PASSWORD),
            reader: basic("analyst@example.com", "analyst:pässword"),
        }
    }

    /// Checks the answers to callers with all rights, and to callers that may only read.
    fn check_accounts(&self, what: &str, scope: &str, ask: impl Fn(&Auth) -> Answer) {
        assert_eq!(ask(&self.account).status, 200, "{what}");
        let expected = if scope.is_empty() { 200 } else { 403 };
        assert_eq!(ask(&self.reader).status, expected, "{what}");
    }
}

fn check_bare(what: &str, answer: &Answer) {
    assert_eq!(answer.header("cache-control"), "no-store", "{what}");
    assert_eq!(answer.header("www-authenticate"), "", "{what}");
}

#[rstest]
#[actix_web::test]
async fn requests_pass_if_the_token_allows_what_they_need(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let callers = Callers::of(&bench).await;
    for (method, uri, scope) in GRANTED {
        let jwt = Bearer(bench.jwt(SERVICE, &bench.token, scope).await);
        for way in WAYS {
            let what = format!("{way:?} {method} {uri}");
            let ask = |auth: &Auth| bench.ask(way, auth, method, uri, &[]);
            bench.sent_away(&what, &ask(&Auth::None), scope, "");
            for auth in [&callers.secret, &jwt] {
                let answer = ask(auth);
                assert_eq!(answer.status, 200, "{what} {auth:?}");
                assert_eq!(answer.text, "", "{what}");
                check_bare(&what, &answer);
            }
            // A JWT that was got for nothing.
            let answer = ask(&callers.idle);
            if scope.is_empty() {
                assert_eq!(answer.status, 200, "{what}");
            } else {
                bench.sent_away(&what, &answer, scope, "insufficient_scope");
            }
            callers.check_accounts(&what, scope, ask);
        }
    }
}

#[rstest]
#[actix_web::test]
async fn requests_are_refused_if_the_token_does_not_allow_what_they_need(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let callers = Callers::of(&bench).await;
    for (method, uri, scope) in DENIED {
        let jwt = Bearer(bench.jwt(SERVICE, &bench.token, scope).await);
        // A client must upload blobs that its token may not mount. Clients do so after a 401 without `error`.
        let from_elsewhere = scope.contains(' ');
        for way in WAYS {
            let what = format!("{way:?} {method} {uri}");
            let ask = |auth: &Auth| bench.ask(way, auth, method, uri, &[]);
            bench.sent_away(&what, &ask(&Auth::None), scope, "");
            for auth in [&callers.secret, &jwt, &callers.idle] {
                let answer = ask(auth);
                if from_elsewhere {
                    bench.sent_away(&what, &answer, scope, "");
                    continue;
                }
                check_bare(&what, &answer);
                let message = answer.refused(&what, 403, "DENIED", None);
                assert!(message.contains("\"ci\""), "{message}");
            }
            callers.check_accounts(&what, scope, ask);
        }
    }
}

#[rstest]
#[actix_web::test]
async fn a_jwt_for_a_part_does_not_open_the_whole(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    // A JWT for pulling does not push; one for each half of a mount does not mount.
    let jwt = Bearer(
        bench
            .jwt(SERVICE, &bench.token, "repository:own:pull")
            .await,
    );
    let answer = bench.ask(Way::Nginx, &jwt, "PUT", "/v2/own/manifests/x", &[]);
    let scope = "repository:own:pull,push";
    bench.sent_away("pull only", &answer, scope, "insufficient_scope");
    let mount = "/v2/own/blobs/uploads/?mount=sha256:00&from=read";
    let jwt = Bearer(bench.jwt(SERVICE, &bench.token, scope).await);
    let answer = bench.ask(Way::Nginx, &jwt, "POST", mount, &[]);
    let scope = "repository:own:pull,push repository:read:pull";
    bench.sent_away("half a mount", &answer, scope, "insufficient_scope");
}

/// Methods and paths that a registry could read otherwise than this service.
const AMBIGUOUS: [(&str, &str); 31] = [
    ("GET", "/"),
    ("GET", "/v2/own"),
    ("GET", "/v2/own/"),
    ("GET", "/v2/own/../a/tags/list"),
    ("GET", "/v2/own/./tags/list"),
    ("GET", "/v2//own/tags/list"),
    ("GET", "/v2/own//tags/list"),
    ("GET", "/v2/own/%2e%2e/a/tags/list"),
    ("GET", "/v2/own%2Fa/tags/list"),
    ("GET", "/v2/own%00/tags/list"),
    ("GET", "/v2/OWN/tags/list"),
    ("GET", "/v2/own/tags/list/"),
    ("GET", "/v2/own;x/tags/list"),
    ("GET", "/v2/own/manifests/.."),
    ("GET", "/v2/own/manifests/"),
    ("GET", "/v2/_zot/ext/search"),
    ("GET", "/v2/_catalog/"),
    ("DELETE", "/v2/_catalog"),
    ("POST", "/v2/"),
    ("DELETE", "/v2/"),
    ("GET", "/v1/own/tags/list"),
    ("GET", "/V2/own/tags/list"),
    ("GET", "/v2/../v2/own/tags/list"),
    ("OPTIONS", "/v2/own/tags/list"),
    ("TRACE", "/v2/own/tags/list"),
    ("PROPFIND", "/v2/own/tags/list"),
    ("get", "/v2/own/tags/list"),
    ("POST", "/v2/own/blobs/uploads/?mount=sha256:00&from=../a"),
    ("POST", "/v2/own/blobs/uploads/?mount=sha256:00&from=A"),
    ("POST", "/v2/own/blobs/uploads/?from"),
    ("POST", "/v2/own/blobs/uploads/?from=a&from="),
];

impl Bench {
    /// A token that opens everything.
    async fn mint_all(&self) -> Minted {
        let scopes = ["repository:*:*", "registry:*:*"];
        self.admin.mint(&self.registry, "all", &scopes).await
    }
}

#[rstest]
#[actix_web::test]
async fn paths_that_could_be_read_otherwise_are_nobodys(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let all = bench.mint_all().await;
    let every = "repository:own:pull,push,delete repository:a:pull,push,delete";
    let auths = [
        Auth::from(&all),
        Basic("admin".to_owned(), ADMIN_PASSWORD.to_owned()),
        Bearer(bench.jwt(SERVICE, &all, every).await),
    ];
    for (method, uri) in AMBIGUOUS {
        for way in WAYS {
            let what = format!("{way:?} {method} {uri}");
            for auth in &auths {
                let answer = bench.ask(way, auth, method, uri, &[]);
                let message = answer.refused(&what, 403, "DENIED", None);
                assert!(message.contains("no"), "{message}");
            }
            let answer = bench.ask(way, &Auth::None, method, uri, &[]);
            bench.sent_away(&what, &answer, "", "");
        }
    }
    // Only headers can carry these.
    for uri in [
        "own/tags/list",
        "",
        "http://x/v2/own/tags/list",
        "/v2/own/tags/list#a",
        "/v2/own\\a/tags/list",
        "/v2/ own/tags/list",
    ] {
        for way in [Way::Nginx, Way::Traefik] {
            let answer = bench.ask(way, &auths[0], "GET", uri, &[]);
            answer.refused(uri, 403, "DENIED", None);
        }
    }
}

/// The check cannot see a form's fields, but Distribution reads `mount` and `from` in a form.
#[rstest]
#[actix_web::test]
async fn forms_are_nobodys(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let bench = Bench::new(backend).await;
    let all = Auth::from(&bench.mint_all().await);
    for sent in [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-URLencoded; charset=utf-8",
        "multipart/form-data; boundary=x",
    ] {
        for way in WAYS {
            for (method, status) in [("POST", 403), ("PUT", 403), ("PATCH", 403), ("GET", 200)] {
                let uri = "/v2/own/blobs/uploads/u-1";
                let answer = bench.ask(way, &all, method, uri, &[("content-type", sent)]);
                assert_eq!(answer.status, status, "{way:?} {method} {sent}");
            }
        }
    }
    let two = [
        ("content-type", "application/octet-stream"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let answer = bench.ask(Way::Envoy, &all, "POST", "/v2/own/blobs/uploads/", &two);
    assert_eq!(answer.status, 403);
    let one = &two[..1];
    let answer = bench.ask(Way::Envoy, &all, "POST", "/v2/own/blobs/uploads/", one);
    assert_eq!(answer.status, 200);
}

type Header = (&'static str, &'static [u8]);

const OWN: &[u8] = b"/v2/own/tags/list";
const NGINX: [Header; 2] = [("x-original-method", b"GET"), ("x-original-uri", OWN)];
const TRAEFIK: [Header; 2] = [("x-forwarded-method", b"GET"), ("x-forwarded-uri", OWN)];

impl Bench {
    /// Asks with this query and these headers of a proxy.
    async fn ask_with(&self, query: &str, headers: &[Header]) -> Answer {
        let client = self.server.client(&self.token);
        let mut request = client.request(Method::GET, &format!("/v2/check{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        client.send(request).await
    }
}

#[rstest]
#[actix_web::test]
async fn proxies_that_do_not_say_what_is_asked_are_told(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let good = format!("?service={SERVICE}");
    assert_eq!(bench.ask_with(&good, &NGINX).await.status, 200);
    let both = [NGINX, TRAEFIK].concat();
    assert_eq!(bench.ask_with(&good, &both).await.status, 200);
    // Missing headers are the fault of the proxy's configuration.
    for headers in [
        vec![],
        vec![NGINX[0]],
        vec![NGINX[1]],
        vec![TRAEFIK[0]],
        vec![TRAEFIK[1]],
        vec![NGINX[0], TRAEFIK[1]],
    ] {
        let what = format!("{headers:?}");
        let answer = bench.ask_with(&good, &headers).await;
        answer.refused(&what, 400, "UNSUPPORTED", Some("original-request"));
    }
}

/// It is a client's doing, and so are odd paths.
#[rstest]
#[actix_web::test]
async fn what_is_said_twice_is_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let good = format!("?service={SERVICE}");
    let post: Header = ("x-forwarded-method", b"POST");
    let other: Header = ("x-forwarded-uri", b"/v2/read/tags/list");
    for headers in [
        vec![NGINX[0], NGINX[1], TRAEFIK[1]],
        vec![NGINX[0], NGINX[1], TRAEFIK[0], other],
        vec![NGINX[0], NGINX[1], post, TRAEFIK[1]],
        vec![NGINX[0], NGINX[1], post],
        vec![NGINX[0], NGINX[1], ("x-original-url", OWN)],
        vec![NGINX[0], NGINX[0], NGINX[1]],
        vec![NGINX[0], NGINX[1], NGINX[1]],
        vec![
            NGINX[0],
            NGINX[1],
            ("x-original-uri", b"/v2/read/tags/list"),
        ],
        vec![NGINX[0], ("x-original-uri", b"/v2/\xff/tags/list")],
        vec![("x-original-method", b"\xff"), NGINX[1]],
    ] {
        let what = format!("{headers:?}");
        let answer = bench.ask_with(&good, &headers).await;
        answer.refused(&what, 403, "DENIED", None);
    }
}

#[rstest]
#[actix_web::test]
async fn services_that_are_none_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    for query in [
        "",
        "?",
        "?service",
        "?x=team-a.localhost",
        "?service=",
        "?service=team-b.localhost",
        "?service=team-a",
        "?service=TEAM-A.localhost",
        "?service=team-a.localhost&service=team-a.localhost",
        "?service=team-a.localhost&service=team-b.localhost",
        "?service=team-a.localhost%22,x=%22",
        "?service=team-a.localhost%0d%0ax:%20y",
        "?service=team-a.localhost%00",
    ] {
        let answer = bench.ask_with(query, &NGINX).await;
        answer.refused(query, 400, "UNSUPPORTED", Some("service"));
    }
    for service in [
        "team-b.localhost",
        "team-a",
        "%74eam-a.localhost",
        "team-a.localhost%2F",
        "team-a.localhost%22",
        "a_b",
        "x:1",
    ] {
        let auth = Auth::from(&bench.token);
        let answer = bench.ask_for(service, Way::Envoy, &auth, "GET", "/v2/", &[]);
        answer.refused(service, 400, "UNSUPPORTED", Some("service"));
    }
}

#[rstest]
#[actix_web::test]
async fn only_proxies_are_let_ask(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let bench = Bench::new(backend).await;
    let client = bench.server.client(&bench.token);
    let good = format!("?service={SERVICE}");
    // Paths that the router takes for ours, though a proxy did not send them so.
    let basic = STANDARD.encode(format!("{}:{}", bench.token.name, bench.token.secret));
    for path in [
        "/v2/%63heck/team-a.localhost/v2/",
        "/v2/check%2fteam-a.localhost/v2/",
        "/v%32/check/team-a.localhost/v2/own/tags/list",
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {basic}");
        let answer = bench
            .server
            .raw(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes());
        answer.refused(path, 404, "UNSUPPORTED", None);
    }
    // Proxies that tell the original request in headers ask by GET.
    for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"] {
        let request = client
            .request(method.parse().unwrap(), &format!("/v2/check{good}"))
            .header("x-original-method", "GET")
            .header("x-original-uri", "/v2/");
        assert_eq!(client.send(request).await.status, 405, "{method}");
    }
    // A web page of another origin gets nothing through.
    let foreign = [("origin", "https://evil.example.com")];
    let auth = Auth::from(&bench.token);
    let answer = bench.ask(
        Way::Envoy,
        &auth,
        "POST",
        "/v2/own/blobs/uploads/",
        &foreign,
    );
    answer.refused("foreign", 403, "DENIED", None);
}

#[rstest]
#[actix_web::test]
async fn challenges_name_an_address_only_if_it_is_known(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    const BASIC: &str = r#"Basic realm="wharfinger", charset="UTF-8""#;
    let bench = Bench::new(backend).await;
    let port = bench.server.address.port();
    let uri = "/v2/own/tags/list";
    for auth in [Auth::None, Basic("ci".to_owned(), "wrong".to_owned())] {
        for (host, expected) in [
            (
                format!("localhost:{port}"),
                format!("http://localhost:{port}"),
            ),
            (format!("[::1]:{port}"), format!("http://[::1]:{port}")),
            ("127.0.0.2".to_owned(), "http://127.0.0.2".to_owned()),
            ("registry.example.com".to_owned(), String::new()),
            ("team-a.localhost".to_owned(), String::new()),
            ("localhost.example.com".to_owned(), String::new()),
            ("localhost@example.com".to_owned(), String::new()),
            ("127.0.0.1\",x=\"".to_owned(), String::new()),
            (String::new(), String::new()),
        ] {
            for way in WAYS {
                let answer = bench.ask(way, &auth, "GET", uri, &[("host", &host)]);
                if host.contains('"') && answer.status == 400 {
                    continue;
                }
                answer.refused(&host, 401, "UNAUTHORIZED", None);
                let challenge = answer.header("www-authenticate");
                if expected.is_empty() {
                    assert_eq!(challenge, BASIC, "{host}");
                } else {
                    let expected = format!(
                        r#"Bearer realm="{expected}/token",service="{SERVICE}",scope="repository:own:pull""#
                    );
                    assert_eq!(challenge, expected, "{host}");
                }
            }
        }
    }
    let flags = ["--public-url", "https://tokens.example.com/base/"];
    let bench = Bench::with(Server::start_with(backend, &flags).await).await;
    let host = [("host", "registry.example.com")];
    let answer = bench.ask(Way::Nginx, &Auth::None, "GET", "/v2/", &host);
    assert_eq!(
        answer.header("www-authenticate"),
        format!(r#"Bearer realm="https://tokens.example.com/base/token",service="{SERVICE}""#)
    );
}

impl Bench {
    /// The secret of a token and a JWT of it.
    async fn credentials(&self, token: &Minted) -> (Auth, Auth) {
        let jwt = self.jwt(SERVICE, token, "repository:own:pull").await;
        (Auth::from(token), Bearer(jwt))
    }

    /// Changes the token.
    async fn patch(&self, body: Value) {
        let answer = self.admin.patch(&self.token.path, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Makes a token with the name and the id of the deleted token.
    async fn put_again(&self) -> Minted {
        let scopes = scopes(&["repository:own:*"]);
        let body = json!({"properties": {"name": "ci", "scopes": scopes}});
        let made = self.admin.put(&self.token.path, body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let secret = &made.json["properties"]["credentials"]["password"];
        Minted {
            secret: secret.as_str().unwrap().to_owned(),
            ..self.token.clone()
        }
    }
}

#[rstest]
#[actix_web::test]
async fn what_happens_to_a_token_bites_on_the_next_request(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (secret, jwt) = bench.credentials(&bench.token).await;
    let both = || (bench.status(&secret), bench.status(&jwt));
    assert_eq!(both(), (200, 200));
    for (state, status) in [("disabled", 401), ("enabled", 200)] {
        bench.patch(json!({ "status": state })).await;
        assert_eq!(both(), (status, status), "{state}");
    }
    bench.patch(json!({"status": "disabled"})).await;
    let ask = |auth| bench.ask(Way::Nginx, auth, "GET", "/v2/own/tags/list", &[]);
    let scope = "repository:own:pull";
    bench.sent_away("secret", &ask(&secret), scope, "");
    bench.sent_away("JWT", &ask(&jwt), scope, "invalid_token");
    bench.patch(json!({"status": "enabled"})).await;

    // Its secret, as the database will have it when it can be changed.
    for (change, status) in [("+", 401), ("-", 200)] {
        let change = format!("UPDATE tokens SET secret_version = secret_version {change} 1");
        bench.server.database.execute(&change);
        assert_eq!(bench.status(&jwt), status, "{change}");
    }

    // Its scopes, and what a JWT was granted before they were cut.
    bench
        .patch(json!({"scopes": scopes(&["repository:read:pull"])}))
        .await;
    assert_eq!(both(), (403, 403));
    bench
        .patch(json!({"scopes": scopes(&["repository:own:pull"])}))
        .await;
    assert_eq!(both(), (200, 200));
}

#[rstest]
#[actix_web::test]
async fn the_ends_of_a_token_and_of_its_jwt_are_kept_to_the_second(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (secret, jwt) = bench.credentials(&bench.token).await;
    let both = || (bench.status(&secret), bench.status(&jwt));
    assert_eq!(both(), (200, 200));
    // Its end, though the JWT would last longer.
    bench
        .patch(json!({"expiryDate": "2026-11-21T12:02:00Z"}))
        .await;
    let clock = &bench.server.clock;
    clock.advance(TimeDelta::microseconds(119_999_999));
    assert_eq!(both(), (200, 200));
    clock.advance(TimeDelta::microseconds(1));
    assert_eq!(both(), (401, 401));
    bench.patch(json!({"expiryDate": null})).await;
    assert_eq!(both(), (200, 200));
    // The JWT's own end, to the second: we have no leeway, since it is our own clock.
    clock.advance(TimeDelta::microseconds(179_999_999));
    assert_eq!(both(), (200, 200));
    clock.advance(TimeDelta::microseconds(1));
    assert_eq!(both(), (200, 401));
    let answer = bench.ask(Way::Nginx, &jwt, "GET", "/v2/own/tags/list", &[]);
    bench.sent_away("JWT", &answer, "repository:own:pull", "invalid_token");
}

#[rstest]
#[actix_web::test]
async fn the_deletion_of_a_token_or_its_registry_bites_on_the_next_request(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let admin = &bench.admin;
    let (secret, jwt) = bench.credentials(&bench.token).await;
    let both = || (bench.status(&secret), bench.status(&jwt));
    assert_eq!(both(), (200, 200));
    // Another one with its name and id is another one.
    assert_eq!(admin.delete(&bench.token.path).await.status, 204);
    assert_eq!(both(), (401, 401));
    let token = bench.put_again().await;
    assert_eq!(both(), (401, 401));

    // So is a namesake of its registry with the same id, and a token of the same name and id.
    let (secret, jwt) = bench.credentials(&token).await;
    let both = || (bench.status(&secret), bench.status(&jwt));
    assert_eq!(both(), (200, 200));
    let path = format!("/registries/{}", bench.registry);
    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(both(), (400, 400));
    let body = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    assert_eq!(admin.put(&path, body).await.status, 201);
    assert_eq!(both(), (401, 401));
    let token = bench.put_again().await;
    assert_eq!(both(), (401, 401));
    let (_, fresh) = bench.credentials(&token).await;
    assert_eq!(bench.status(&fresh), 200);
    assert_eq!(both(), (401, 401));
}

#[rstest]
#[actix_web::test]
async fn what_happens_to_an_account_bites_on_its_next_request(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (person, first, second) = ("person@example.com", "first-password", "second-password");
    bench.server.add_account(person, first, "Admin").await;
    let basic = |password: &str| Basic(person.to_owned(), password.to_owned());
    let login = async |password: &str| {
        let query = [("service", SERVICE), ("scope", "repository:own:pull")];
        let answer = bench
            .server
            .actor(person, password)
            .ask("/token", &query)
            .await;
        Bearer(answer.json["token"].as_str().unwrap().to_owned())
    };
    let both = |password: &str, jwt: &Auth| (bench.status(&basic(password)), bench.status(jwt));
    let accounts = bench.server.service.account_commands();
    let jwt = login(first).await;
    assert_eq!(both(first, &jwt), (200, 200));
    let new = NewPassword::parse(SecretString::from(second.to_owned())).unwrap();
    accounts
        .set_password(person.to_owned(), &new, IssuedTokens::Keep)
        .await
        .unwrap();
    assert_eq!(both(first, &jwt), (401, 401));
    let jwt = login(second).await;
    assert_eq!(both(second, &jwt), (200, 200));
    let off = Status::Disabled;
    accounts.set_status(person.to_owned(), off).await.unwrap();
    assert_eq!(both(second, &jwt), (401, 401));
    let on = Status::Enabled;
    accounts.set_status(person.to_owned(), on).await.unwrap();
    let jwt = login(second).await;
    assert_eq!(both(second, &jwt), (200, 200));
    let delete = || accounts.delete(person.to_owned(), LiveTokens::Refuse);
    delete().await.unwrap();
    assert_eq!(both(second, &jwt), (401, 401));
    // Another account gets the name and the password while the proof of the one before is remembered.
    bench.server.add_account(person, second, "Admin").await;
    let jwt = login(second).await;
    delete().await.unwrap();
    bench.server.add_account(person, second, "Admin").await;
    assert_eq!(both(second, &jwt), (200, 401));
}

#[rstest]
#[actix_web::test]
async fn a_known_client_costs_one_store_call(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::with(Server::start_with(backend, &[WITHOUT_BACKGROUND]).await).await;
    let jwt = bench
        .jwt(SERVICE, &bench.token, "repository:own:pull")
        .await;
    let account = Basic("admin".to_owned(), ADMIN_PASSWORD.to_owned());
    let service = &bench.server.service;
    // The first JWT of a key has its public half read.
    bench.ask(Way::Nginx, &Bearer(jwt.clone()), "GET", "/v2/", &[]);
    for (what, auth, expected) in [
        ("secret", Auth::from(&bench.token), 1),
        ("JWT", Bearer(jwt.clone()), 1),
        ("account", account, 1),
        ("nothing", Auth::None, 0),
        (
            "altered JWT",
            Bearer(format!("{}AAAA", &jwt[..jwt.len() - 4])),
            0,
        ),
    ] {
        let (calls, checks) = (service.store_calls(), service.password_checks());
        bench.ask(Way::Nginx, &auth, "GET", "/v2/own/tags/list", &[]);
        let counted = (
            service.store_calls() - calls,
            service.password_checks() - checks,
        );
        assert_eq!(counted, (expected, 0), "{what}");
    }
}

/// Sets a member, or removes it.
fn with(value: &Value, name: &str, new: Option<Value>) -> Value {
    let mut value = value.clone();
    match new {
        Some(new) => value[name] = new,
        None => drop(value.as_object_mut().unwrap().remove(name)),
    }
    value
}

/// Material for forged JWTs: keys, good JWTs, and secrets that are no JWTs.
struct Forge {
    bench: Bench,
    algorithm: &'static str,
    /// A good JWT, its header and its claims.
    own: String,
    head: Value,
    said: Value,
    /// A good JWT of another registry.
    elsewhere: String,
    refresh: String,
    cursor: String,
    leaf: KeyPair,
    authority: KeyPair,
    /// Of another registry.
    foreign: KeyPair,
    /// Known to nobody.
    rogue: KeyPair,
    /// Known to nobody and for the other algorithm.
    swapped: KeyPair,
}

impl Forge {
    const SCOPE: &str = "repository:own:pull";

    async fn new(backend: Backend, algorithm: &'static str) -> Self {
        let server = Server::start_with(backend, &["--jwt-algorithm", algorithm]).await;
        let bench = Bench::with(server).await;
        let (server, admin) = (&bench.server, &bench.admin);
        let own = bench.jwt(SERVICE, &bench.token, Self::SCOPE).await;
        let other = admin.create_registry("team-b").await;
        let other_token = admin.mint(&other, "ci", &["repository:own:*"]).await;
        let elsewhere = bench.jwt("team-b.localhost", &other_token, Self::SCOPE);
        let elsewhere = elsewhere.await;
        let query = [("service", SERVICE), ("offline_token", "true")];
        let answer = server.client(&bench.token).ask("/token", &query).await;
        let listed = admin.get("/registries?limit=1").await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let other_algorithm = if algorithm == "ES256" {
            "RS256"
        } else {
            "ES256"
        };
        Self {
            algorithm,
            head: header(&own),
            said: claims(&own),
            own,
            elsewhere,
            refresh: text(&answer.json["refresh_token"]),
            cursor: text(&listed.json["pagination"]["token"]),
            leaf: KeyPair::stolen(server, &bench.registry, KeyRole::Leaf).await,
            authority: KeyPair::stolen(server, &bench.registry, KeyRole::Authority).await,
            foreign: KeyPair::stolen(server, &other, KeyRole::Leaf).await,
            rogue: KeyPair::generate(algorithm),
            swapped: KeyPair::generate(other_algorithm),
            bench,
        }
    }
}

/// Forged JWTs, each with its fault.
#[derive(Default)]
struct Forged(Vec<(String, String)>);

impl Forged {
    fn add(&mut self, what: &str, jwt: String) {
        self.0.push((what.to_owned(), jwt));
    }
}

/// Claims that are missing, of another type, or say something else.
fn wrong_claims(forge: &Forge) -> Forged {
    let mut forged = Forged::default();
    let now = 1_795_262_400;
    for (name, new) in [
        ("iss", Some(json!("other"))),
        ("iss", Some(json!(["wharfinger"]))),
        ("iss", None),
        ("aud", Some(json!("team-b.localhost"))),
        ("aud", Some(json!([SERVICE]))),
        ("aud", Some(json!(""))),
        ("aud", None),
        ("exp", Some(json!(now))),
        ("exp", Some(json!(now - 1))),
        ("exp", Some(json!(0))),
        ("exp", Some(json!(-1))),
        ("exp", Some(json!(f64::from(now) + 60.5))),
        ("exp", Some(json!("1895262400"))),
        ("exp", Some(json!(1e300))),
        ("exp", None),
        ("nbf", Some(json!(now + 1))),
        ("nbf", Some(json!(i64::MAX))),
        ("nbf", None),
        ("jti", Some(json!("x"))),
        ("jti", Some(json!(""))),
        ("jti", Some(json!(forge.refresh))),
        (
            "jti",
            Some(json!(forge.refresh.strip_prefix("whrr_").unwrap())),
        ),
        ("jti", Some(json!(forge.cursor))),
        ("jti", Some(claims(&forge.elsewhere)["jti"].clone())),
        ("jti", None),
        ("access", None),
        ("access", Some(json!("repository:own:pull"))),
    ] {
        let what = format!("{name} {new:?}");
        forged.add(
            &what,
            signed(&forge.head, &with(&forge.said, name, new), &forge.leaf),
        );
    }
    forged
}

/// Keys of other registries, or for other purposes.
fn wrong_keys(forge: &Forge) -> Forged {
    let mut forged = Forged::default();
    forged.add("of another registry", forge.elsewhere.clone());
    forged.add(
        "key of another registry",
        signed(&forge.foreign.header(), &forge.said, &forge.foreign),
    );
    forged.add(
        "another's key under our name",
        signed(&forge.head, &forge.said, &forge.foreign),
    );
    forged.add(
        "another's name for our key",
        signed(&forge.foreign.header(), &forge.said, &forge.leaf),
    );
    forged.add(
        "the authority's key",
        signed(&forge.authority.header(), &forge.said, &forge.authority),
    );
    forged.add(
        "the authority's key under the leaf's name",
        signed(&forge.head, &forge.said, &forge.authority),
    );
    forged.add(
        "a key nobody knows",
        signed(&forge.rogue.header(), &forge.said, &forge.rogue),
    );
    forged.add(
        "a key nobody knows under our name",
        signed(&forge.leaf.header(), &forge.said, &forge.rogue),
    );
    forged
}

/// Keys that the JWT itself brings.
fn keys_that_come_along(forge: &Forge) -> Forged {
    let mut forged = Forged::default();
    let jwk = if forge.algorithm == "ES256" {
        let point = &forge.rogue.public[forge.rogue.public.len() - 64..];
        json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(&point[..32]),
            "y": URL_SAFE_NO_PAD.encode(&point[32..]), "kid": fingerprint(&forge.rogue.public)})
    } else {
        json!({"kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(&forge.rogue.public[33..289])})
    };
    for kid in [
        Some(forge.head["kid"].clone()),
        Some(json!(fingerprint(&forge.rogue.public))),
        None,
    ] {
        let base = with(&forge.rogue.header(), "kid", kid);
        for (name, value) in [
            ("jwk", jwk.clone()),
            (
                "jku",
                json!(format!("http://{}/jwks.json", forge.bench.server.address)),
            ),
            (
                "x5u",
                json!(format!("http://{}/x.pem", forge.bench.server.address)),
            ),
            ("x5c", json!([STANDARD.encode(&forge.rogue.certificate)])),
            (
                "x5c",
                json!([
                    STANDARD.encode(&forge.rogue.certificate),
                    forge.head["x5c"][0]
                ]),
            ),
            ("x5t", json!("x")),
        ] {
            let what = format!("{name} with {}", base["kid"]);
            forged.add(
                &what,
                signed(&with(&base, name, Some(value)), &forge.said, &forge.rogue),
            );
        }
    }
    forged
}

/// Without a signature, or signed with public data.
fn no_signature(forge: &Forge) -> Forged {
    let mut forged = Forged::default();
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let header = with(&forge.head, "alg", Some(json!(none)));
        forged.add(none, with_signature(&header, &forge.said, |_| Vec::new()));
        forged.add(none, signed(&header, &forge.said, &forge.leaf));
    }
    let pem = pem::encode(&pem::Pem::new("PUBLIC KEY", forge.leaf.public.clone()));
    let certificate = pem::encode(&pem::Pem::new(
        "CERTIFICATE",
        forge.leaf.certificate.clone(),
    ));
    let secrets: [&[u8]; 8] = [
        &forge.leaf.public,
        pem.as_bytes(),
        pem.trim().as_bytes(),
        certificate.as_bytes(),
        &forge.leaf.certificate,
        &forge.leaf.public[forge.leaf.public.len() - 65..],
        forge.head["kid"].as_str().unwrap().as_bytes(),
        b"",
    ];
    for secret in secrets {
        let header = with(&forge.head, "alg", Some(json!("HS256")));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let sign = |text: &[u8]| hmac::sign(&key, text).as_ref().to_vec();
        forged.add(
            "HS256 with what is public",
            with_signature(&header, &forge.said, sign),
        );
    }
    forged
}

/// Algorithms that are not the key's.
fn other_algorithms(forge: &Forge) -> Forged {
    let mut forged = Forged::default();
    let header_of = |algorithm: &str| with(&forge.head, "alg", Some(json!(algorithm)));
    forged.add(
        "another algorithm",
        signed(
            &header_of(forge.swapped.algorithm),
            &forge.said,
            &forge.swapped,
        ),
    );
    forged.add(
        "another algorithm",
        signed(&header_of(forge.algorithm), &forge.said, &forge.swapped),
    );
    for wrong in [
        "ES384",
        "PS256",
        "RS384",
        "RS512",
        "HS256",
        "EdDSA",
        forge.swapped.algorithm,
        "es256",
        "rs256",
        "x",
    ] {
        forged.add(wrong, signed(&header_of(wrong), &forge.said, &forge.leaf));
    }
    forged.add(
        "no algorithm",
        signed(&with(&forge.head, "alg", None), &forge.said, &forge.leaf),
    );
    forged
}

/// Names that no key has.
fn wrong_names_of_keys(forge: &Forge) -> Forged {
    let mut forged = Forged::default();
    for kid in [
        json!(null),
        json!(""),
        json!(5),
        json!([forge.head["kid"]]),
        json!({"x": forge.head["kid"]}),
        json!("a\0b"),
        json!("\0"),
        json!("../../etc/passwd"),
        json!("' OR '1'='1"),
        json!("\u{fffd}\u{10ffff}"),
        json!(forge.head["kid"].as_str().unwrap().to_lowercase()),
        json!(forge.head["kid"].as_str().unwrap().replace(':', "")),
        json!(format!("{} ", forge.head["kid"].as_str().unwrap())),
        json!("x".repeat(30_000)),
    ] {
        let what: String = format!("kid {kid}").chars().take(50).collect();
        forged.add(
            &what,
            signed(
                &with(&forge.head, "kid", Some(kid)),
                &forge.said,
                &forge.leaf,
            ),
        );
    }
    forged.add(
        "no kid",
        signed(&with(&forge.head, "kid", None), &forge.said, &forge.leaf),
    );
    forged
}

/// Texts that are no JWT, or not a whole one.
fn broken_texts(forge: &Forge) -> Forged {
    let mut forged = Forged::default();
    let own = forge.own.as_str();
    let parts: Vec<_> = own.split('.').collect();
    let (head, said, signature) = (parts[0], parts[1], parts[2]);
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[5] ^= 1;
    let flipped = URL_SAFE_NO_PAD.encode(&flipped);
    let others = forge.elsewhere.rsplit('.').next().unwrap();
    let (null, array) = (URL_SAFE_NO_PAD.encode("null"), URL_SAFE_NO_PAD.encode("[]"));
    let deep = URL_SAFE_NO_PAD.encode("[".repeat(10_000));
    for jwt in [
        "x".to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        "e30.e30.e30".to_owned(),
        "e30.e30.".to_owned(),
        format!("{head}.{said}"),
        format!("{head}.{said}."),
        format!("{own}.{signature}"),
        format!("{own}."),
        format!(".{own}"),
        format!("{own}="),
        format!("{own}{own}"),
        format!("{own},{own}"),
        format!("{said}.{head}.{signature}"),
        format!("{head}.{said}.{flipped}"),
        format!("{head}.{said}.{others}"),
        format!("{head}.{null}.{signature}"),
        format!("{array}.{said}.{signature}"),
        format!("{deep}.{said}.{signature}"),
        own[..own.len() - 1].to_owned(),
        own[1..].to_owned(),
        own.to_lowercase(),
        "x".repeat(100_000),
        format!("{}.{said}.{signature}", "A".repeat(66_000)),
        // Ours, and no JWTs.
        forge.refresh.clone(),
        forge.refresh.strip_prefix("whrr_").unwrap().to_owned(),
        forge.cursor.clone(),
        forge.said["jti"].as_str().unwrap().to_owned(),
        forge.bench.token.secret.clone(),
    ] {
        let what: String = jwt.chars().take(50).collect();
        forged.add(&what, jwt);
    }
    let large = with(&forge.said, "x", Some(json!("x".repeat(60_000))));
    forged.add("huge", signed(&forge.head, &large, &forge.leaf));
    forged
}

#[rstest]
#[actix_web::test]
async fn forged_jwts_open_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("ES256", "RS256")] algorithm: &'static str,
) {
    let forge = Forge::new(backend, algorithm).await;
    let (bench, leaf) = (&forge.bench, &forge.leaf);
    assert_eq!(forge.head["kid"], leaf.header()["kid"]);
    // A JWT made with the key works, so each JWT below fails for its one fault alone.
    let status = |jwt: &str| bench.status(&Bearer(jwt.to_owned()));
    assert_eq!(status(&forge.own), 200);
    assert_eq!(status(&signed(&leaf.header(), &forge.said, leaf)), 200);
    for kind in [
        wrong_claims,
        wrong_keys,
        keys_that_come_along,
        no_signature,
        other_algorithms,
        wrong_names_of_keys,
        broken_texts,
    ] {
        for (what, jwt) in kind(&forge).0 {
            let way = WAYS[jwt.len() % 3];
            let answer = bench.ask(way, &Bearer(jwt.clone()), "GET", "/v2/own/tags/list", &[]);
            bench.sent_away(&what, &answer, Forge::SCOPE, "invalid_token");
            let repeated = jwt.len() >= 5 && answer.text.contains(&jwt);
            assert!(!repeated, "{what}");
        }
    }
    // A JWT claims more than its token has: the challenge names the missing scopes, as ever.
    let more = json!([{"type": "repository", "name": "other", "actions": ["pull"]}]);
    let jwt = signed(&forge.head, &with(&forge.said, "access", Some(more)), leaf);
    let answer = bench.ask(Way::Nginx, &Bearer(jwt), "GET", "/v2/other/tags/list", &[]);
    answer.refused("more than allowed", 403, "DENIED", None);
    assert_eq!(status(&forge.own), 200);
}

#[rstest]
#[actix_web::test]
async fn authorization_headers_that_are_none_open_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let own = bench
        .jwt(SERVICE, &bench.token, "repository:own:pull")
        .await;
    let server = &bench.server;
    let head = format!(
        "GET /v2/check?service={SERVICE} HTTP/1.1\r\nHost: {}\r\nX-Original-Method: GET\r\nX-Original-URI: /v2/\r\nConnection: close\r\n",
        server.address
    );
    let two = format!("Bearer {own}\r\nAuthorization: Bearer {own}");
    for value in [
        b"Bearer \xff\xfe".as_slice(),
        b"Bearer",
        b"Bearer ",
        b"bearer",
        b"\xff",
        two.as_bytes(),
        b"Token x",
    ] {
        let request = [head.as_bytes(), b"Authorization: ", value, b"\r\n\r\n"].concat();
        let answer = server.raw(&request);
        answer.refused(&format!("{value:?}"), 401, "UNAUTHORIZED", None);
    }
    let request = format!("{head}Authorization: bEARER   {own}\r\n\r\n");
    assert_eq!(server.raw(request.as_bytes()).status, 200);
}
