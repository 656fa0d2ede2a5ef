//! `/v2/check`: what proxies in front of registries ask.

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
use wharfinger::service::accounts::{IssuedTokens, LiveTokens};

use crate::harness::{
    ADMIN_PASSWORD, Actor, Answer, Backend, KeyPair, Minted, Server, claims, fingerprint, header,
    scopes, signed, with_signature,
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

/// What a client sends of itself.
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

#[rstest]
#[actix_web::test]
async fn requests_pass_if_the_token_allows_what_they_need(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let secret = Auth::from(&bench.token);
    let idle = Bearer(bench.jwt(SERVICE, &bench.token, "").await);
    let account = Basic("admin".to_owned(), ADMIN_PASSWORD.to_owned());
    let reader = Basic(
        "analyst@example.com".to_owned(),
        "analyst:pässword".to_owned(),
    );
    let mount = "/v2/own/blobs/uploads/?mount=sha256:00&from=";
    let cases = [
        ("GET", "/v2/", "", true),
        ("HEAD", "/v2/", "", true),
        ("GET", "/v2", "", true),
        ("GET", "/v2/_catalog", "registry:catalog:*", true),
        (
            "HEAD",
            "/v2/_catalog?n=5&last=x",
            "registry:catalog:*",
            true,
        ),
        ("GET", "/v2/own/tags/list?n=5", "repository:own:pull", true),
        (
            "HEAD",
            "/v2/read/manifests/latest",
            "repository:read:pull",
            true,
        ),
        (
            "GET",
            "/v2/team/a/manifests/sha256:00",
            "repository:team/a:pull",
            true,
        ),
        (
            "GET",
            "/v2/team/a/blobs/sha256:00",
            "repository:team/a:pull",
            true,
        ),
        (
            "GET",
            "/v2/team/a/referrers/sha256:00?artifactType=x%2Fy",
            "repository:team/a:pull",
            true,
        ),
        (
            "POST",
            "/v2/team/a/blobs/uploads/",
            "repository:team/a:pull,push",
            true,
        ),
        (
            "PATCH",
            "/v2/team/a/blobs/uploads/u-1?_state=x",
            "repository:team/a:pull,push",
            true,
        ),
        (
            "PUT",
            "/v2/team/a/blobs/uploads/u-1?digest=sha256:00",
            "repository:team/a:pull,push",
            true,
        ),
        (
            "PUT",
            "/v2/team/a/manifests/latest",
            "repository:team/a:pull,push",
            true,
        ),
        (
            "DELETE",
            "/v2/own/manifests/sha256:00",
            "repository:own:delete",
            true,
        ),
        (
            "DELETE",
            "/v2/own/blobs/uploads/u-1",
            "repository:own:delete",
            true,
        ),
        (
            "DELETE",
            "/v2/blind/manifests/sha256:00",
            "repository:blind:delete",
            true,
        ),
        (
            "POST",
            &format!("{mount}team%2Fa"),
            "repository:own:pull,push repository:team/a:pull",
            true,
        ),
        (
            "POST",
            &format!("{mount}read"),
            "repository:own:pull,push repository:read:pull",
            true,
        ),
        // What its scopes do not grant.
        (
            "DELETE",
            "/v2/team/a/manifests/sha256:00",
            "repository:team/a:delete",
            false,
        ),
        (
            "GET",
            "/v2/team/manifests/latest",
            "repository:team:pull",
            false,
        ),
        (
            "GET",
            "/v2/team/a/b/manifests/latest",
            "repository:team/a/b:pull",
            false,
        ),
        (
            "GET",
            "/v2/team-x/a/manifests/latest",
            "repository:team-x/a:pull",
            false,
        ),
        ("GET", "/v2/other/tags/list", "repository:other:pull", false),
        (
            "PUT",
            "/v2/read/manifests/latest",
            "repository:read:pull,push",
            false,
        ),
        (
            "POST",
            "/v2/read/blobs/uploads/",
            "repository:read:pull,push",
            false,
        ),
        (
            "GET",
            "/v2/blind/manifests/latest",
            "repository:blind:pull",
            false,
        ),
        // Pushing needs pulling too, as Distribution has it.
        (
            "PUT",
            "/v2/blind/manifests/latest",
            "repository:blind:pull,push",
            false,
        ),
        (
            "POST",
            &format!("{mount}other"),
            "repository:own:pull,push repository:other:pull",
            false,
        ),
        (
            "POST",
            &format!("{mount}blind"),
            "repository:own:pull,push repository:blind:pull",
            false,
        ),
        (
            "POST",
            &format!("{mount}read&from=other"),
            "repository:own:pull,push repository:read:pull repository:other:pull",
            false,
        ),
    ];
    for (method, uri, scope, allowed) in cases {
        let jwt = Bearer(bench.jwt(SERVICE, &bench.token, scope).await);
        // What a token may not take over from elsewhere it is to upload: clients do on a 401 without `error`.
        let from_elsewhere = !allowed && scope.contains(' ');
        for way in WAYS {
            let what = format!("{way:?} {method} {uri}");
            let ask = |auth: &Auth| bench.ask(way, auth, method, uri, &[]);
            bench.sent_away(&what, &ask(&Auth::None), scope, "");
            for auth in [&secret, &jwt] {
                let answer = ask(auth);
                if from_elsewhere {
                    bench.sent_away(&what, &answer, scope, "");
                    continue;
                }
                assert_eq!(
                    answer.status,
                    if allowed { 200 } else { 403 },
                    "{what} {auth:?}"
                );
                assert_eq!(answer.header("cache-control"), "no-store", "{what}");
                assert_eq!(answer.header("www-authenticate"), "", "{what}");
                if allowed {
                    assert_eq!(answer.text, "", "{what}");
                } else {
                    let message = answer.refused(&what, 403, "DENIED", None);
                    assert!(message.contains("\"ci\""), "{message}");
                }
            }
            // A JWT that was got for something else, or for nothing.
            let answer = ask(&idle);
            match (allowed, scope) {
                (true, "") => assert_eq!(answer.status, 200, "{what}"),
                (true, _) => bench.sent_away(&what, &answer, scope, "insufficient_scope"),
                (false, _) if from_elsewhere => bench.sent_away(&what, &answer, scope, ""),
                (false, _) => assert_eq!(answer.status, 403, "{what}"),
            }
            assert_eq!(ask(&account).status, 200, "{what}");
            let expected = if scope.is_empty() { 200 } else { 403 };
            assert_eq!(ask(&reader).status, expected, "{what}");
        }
    }
    // A JWT for pulling does not push; one for each half of a mount does not mount.
    let jwt = Bearer(
        bench
            .jwt(SERVICE, &bench.token, "repository:own:pull")
            .await,
    );
    let answer = bench.ask(Way::Nginx, &jwt, "PUT", "/v2/own/manifests/x", &[]);
    let scope = "repository:own:pull,push";
    bench.sent_away("pull only", &answer, scope, "insufficient_scope");
    let jwt = Bearer(bench.jwt(SERVICE, &bench.token, scope).await);
    let answer = bench.ask(Way::Nginx, &jwt, "POST", &format!("{mount}read"), &[]);
    let scope = "repository:own:pull,push repository:read:pull";
    bench.sent_away("half a mount", &answer, scope, "insufficient_scope");
}

#[rstest]
#[actix_web::test]
async fn paths_that_could_be_read_otherwise_are_nobodys(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let all = bench
        .admin
        .mint(&bench.registry, "all", &["repository:*:*", "registry:*:*"])
        .await;
    let every = "repository:own:pull,push,delete repository:a:pull,push,delete";
    let auths = [
        Auth::from(&all),
        Basic("admin".to_owned(), ADMIN_PASSWORD.to_owned()),
        Bearer(bench.jwt(SERVICE, &all, every).await),
    ];
    for (method, uri) in [
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
    ] {
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
    // What only headers can carry.
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
    // What is in a form nobody can see here, and Distribution reads `mount` and `from` there.
    for sent in [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-URLencoded; charset=utf-8",
        "multipart/form-data; boundary=x",
    ] {
        for way in WAYS {
            for (method, status) in [("POST", 403), ("PUT", 403), ("PATCH", 403), ("GET", 200)] {
                let uri = "/v2/own/blobs/uploads/u-1";
                let answer = bench.ask(way, &auths[0], method, uri, &[("content-type", sent)]);
                assert_eq!(answer.status, status, "{way:?} {method} {sent}");
            }
        }
    }
    let two = [
        ("content-type", "application/octet-stream"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let answer = bench.ask(
        Way::Envoy,
        &auths[0],
        "POST",
        "/v2/own/blobs/uploads/",
        &two,
    );
    assert_eq!(answer.status, 403);
    let one = &two[..1];
    let answer = bench.ask(Way::Envoy, &auths[0], "POST", "/v2/own/blobs/uploads/", one);
    assert_eq!(answer.status, 200);
}

#[rstest]
#[actix_web::test]
async fn proxies_that_do_not_say_what_is_asked_are_told(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let client = bench.server.client(&bench.token);
    let ask = async |query: &str, headers: &[(&str, &[u8])]| {
        let mut request = client.request(Method::GET, &format!("/v2/check{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        client.send(request).await
    };
    let own: &[u8] = b"/v2/own/tags/list";
    let good = format!("?service={SERVICE}");
    let nginx: [(&str, &[u8]); 2] = [("x-original-method", b"GET"), ("x-original-uri", own)];
    let traefik: [(&str, &[u8]); 2] = [("x-forwarded-method", b"GET"), ("x-forwarded-uri", own)];
    let both = [nginx, traefik].concat();
    assert_eq!(ask(&good, &nginx).await.status, 200);
    assert_eq!(ask(&good, &both).await.status, 200);

    let post: (&str, &[u8]) = ("x-forwarded-method", b"POST");
    let other: (&str, &[u8]) = ("x-forwarded-uri", b"/v2/read/tags/list");
    // What a proxy leaves out is its configuration's fault.
    for headers in [
        vec![],
        vec![nginx[0]],
        vec![nginx[1]],
        vec![traefik[0]],
        vec![traefik[1]],
        vec![nginx[0], traefik[1]],
    ] {
        let what = format!("{headers:?}");
        let answer = ask(&good, &headers).await;
        answer.refused(&what, 400, "UNSUPPORTED", Some("original-request"));
    }
    // What is said twice is a client's doing, and so are odd paths.
    for headers in [
        vec![nginx[0], nginx[1], traefik[1]],
        vec![nginx[0], nginx[1], traefik[0], other],
        vec![nginx[0], nginx[1], post, traefik[1]],
        vec![nginx[0], nginx[1], post],
        vec![nginx[0], nginx[1], ("x-original-url", own)],
        vec![nginx[0], nginx[0], nginx[1]],
        vec![nginx[0], nginx[1], nginx[1]],
        vec![
            nginx[0],
            nginx[1],
            ("x-original-uri", b"/v2/read/tags/list"),
        ],
        vec![nginx[0], ("x-original-uri", b"/v2/\xff/tags/list")],
        vec![("x-original-method", b"\xff"), nginx[1]],
    ] {
        let what = format!("{headers:?}");
        let answer = ask(&good, &headers).await;
        answer.refused(&what, 403, "DENIED", None);
    }
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
        let answer = ask(query, &nginx).await;
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
    for method in ["HEAD", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"] {
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

#[rstest]
#[actix_web::test]
async fn what_happens_to_a_token_bites_on_the_next_request(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let admin = &bench.admin;
    let secret = Auth::from(&bench.token);
    let scope = "repository:own:pull";
    let jwt = Bearer(bench.jwt(SERVICE, &bench.token, scope).await);
    let both = || (bench.status(&secret), bench.status(&jwt));
    assert_eq!(both(), (200, 200));
    for (state, status) in [("disabled", 401), ("enabled", 200)] {
        let body = json!({ "status": state });
        assert_eq!(admin.patch(&bench.token.path, body).await.status, 200);
        assert_eq!(both(), (status, status), "{state}");
    }
    let body = json!({ "status": "disabled" });
    assert_eq!(admin.patch(&bench.token.path, body).await.status, 200);
    let ask = |auth| bench.ask(Way::Nginx, auth, "GET", "/v2/own/tags/list", &[]);
    bench.sent_away("secret", &ask(&secret), scope, "");
    bench.sent_away("JWT", &ask(&jwt), scope, "invalid_token");
    let body = json!({ "status": "enabled" });
    assert_eq!(admin.patch(&bench.token.path, body).await.status, 200);

    // Its secret, as the database will have it when it can be changed.
    for (change, status) in [("+", 401), ("-", 200)] {
        let change = format!("UPDATE tokens SET secret_version = secret_version {change} 1");
        bench.server.database.execute(&change);
        assert_eq!(bench.status(&jwt), status, "{change}");
    }

    // Its scopes, and what a JWT was granted before they were cut.
    let body = json!({"scopes": scopes(&["repository:read:pull"])});
    assert_eq!(admin.patch(&bench.token.path, body).await.status, 200);
    assert_eq!(both(), (403, 403));
    let body = json!({"scopes": scopes(&["repository:own:pull"])});
    assert_eq!(admin.patch(&bench.token.path, body).await.status, 200);
    assert_eq!(both(), (200, 200));

    // Its end, though the JWT would last longer.
    let body = json!({"expiryDate": "2026-11-21T12:02:00Z"});
    assert_eq!(admin.patch(&bench.token.path, body).await.status, 200);
    bench
        .server
        .clock
        .advance(TimeDelta::microseconds(119_999_999));
    assert_eq!(both(), (200, 200));
    bench.server.clock.advance(TimeDelta::microseconds(1));
    assert_eq!(both(), (401, 401));
    let body = json!({"expiryDate": null});
    assert_eq!(admin.patch(&bench.token.path, body).await.status, 200);
    assert_eq!(both(), (200, 200));
    // The JWT's own end, to the second: we have no leeway, since it is our own clock.
    bench
        .server
        .clock
        .advance(TimeDelta::microseconds(179_999_999));
    assert_eq!(both(), (200, 200));
    bench.server.clock.advance(TimeDelta::microseconds(1));
    assert_eq!(both(), (200, 401));
    bench.sent_away("JWT", &ask(&jwt), scope, "invalid_token");

    // Its deletion, and another one with its name and id.
    let jwt = Bearer(bench.jwt(SERVICE, &bench.token, scope).await);
    let both = || (bench.status(&secret), bench.status(&jwt));
    assert_eq!(both(), (200, 200));
    assert_eq!(admin.delete(&bench.token.path).await.status, 204);
    assert_eq!(both(), (401, 401));
    let body = json!({"properties": {"name": "ci", "scopes": scopes(&["repository:own:*"])}});
    let made = admin.put(&bench.token.path, body).await;
    assert_eq!(made.status, 201);
    assert_eq!(both(), (401, 401));

    // That of its registry, and a namesake with the same id and a token of the same name and id.
    let new = made.json["properties"]["credentials"]["password"]
        .as_str()
        .unwrap();
    let token = Minted {
        secret: new.to_owned(),
        ..bench.token.clone()
    };
    let secret = Auth::from(&token);
    let jwt = Bearer(bench.jwt(SERVICE, &token, scope).await);
    let both = || (bench.status(&secret), bench.status(&jwt));
    assert_eq!(both(), (200, 200));
    let path = format!("/registries/{}", bench.registry);
    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(both(), (400, 400));
    let body = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    assert_eq!(admin.put(&path, body).await.status, 201);
    assert_eq!(both(), (401, 401));
    let body = json!({"properties": {"name": "ci", "scopes": scopes(&["repository:own:*"])}});
    let made = admin.put(&token.path, body).await;
    assert_eq!(made.status, 201);
    assert_eq!(both(), (401, 401));
    let new = made.json["properties"]["credentials"]["password"]
        .as_str()
        .unwrap();
    let token = Minted {
        secret: new.to_owned(),
        ..token
    };
    let fresh = Bearer(bench.jwt(SERVICE, &token, scope).await);
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
    let accounts = bench.server.service.accounts();
    let jwt = login(first).await;
    assert_eq!(
        (bench.status(&basic(first)), bench.status(&jwt)),
        (200, 200)
    );
    let new = NewPassword::parse(SecretString::from(second.to_owned())).unwrap();
    accounts
        .set_password(person.to_owned(), &new, IssuedTokens::Keep)
        .await
        .unwrap();
    assert_eq!(
        (bench.status(&basic(first)), bench.status(&jwt)),
        (401, 401)
    );
    let jwt = login(second).await;
    assert_eq!(
        (bench.status(&basic(second)), bench.status(&jwt)),
        (200, 200)
    );
    let off = Status::Disabled;
    accounts.set_status(person.to_owned(), off).await.unwrap();
    assert_eq!(
        (bench.status(&basic(second)), bench.status(&jwt)),
        (401, 401)
    );
    let on = Status::Enabled;
    accounts.set_status(person.to_owned(), on).await.unwrap();
    let jwt = login(second).await;
    assert_eq!(
        (bench.status(&basic(second)), bench.status(&jwt)),
        (200, 200)
    );
    accounts
        .delete(person.to_owned(), LiveTokens::Refuse)
        .await
        .unwrap();
    assert_eq!(
        (bench.status(&basic(second)), bench.status(&jwt)),
        (401, 401)
    );
    // Another account gets the name and the password while the proof of the one before is remembered.
    bench.server.add_account(person, second, "Admin").await;
    let jwt = login(second).await;
    accounts
        .delete(person.to_owned(), LiveTokens::Refuse)
        .await
        .unwrap();
    bench.server.add_account(person, second, "Admin").await;
    assert_eq!(
        (bench.status(&basic(second)), bench.status(&jwt)),
        (200, 401)
    );
}

#[rstest]
#[actix_web::test]
async fn a_known_client_costs_one_store_call(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
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

#[rstest]
#[actix_web::test]
async fn forged_jwts_open_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("ES256", "RS256")] algorithm: &'static str,
) {
    let server = Server::start_with(backend, &["--jwt-algorithm", algorithm]).await;
    let bench = Bench::with(server).await;
    let (server, admin) = (&bench.server, &bench.admin);
    let scope = "repository:own:pull";
    let own = bench.jwt(SERVICE, &bench.token, scope).await;
    let other = admin.create_registry("team-b").await;
    let other_token = admin.mint(&other, "ci", &["repository:own:*"]).await;
    let elsewhere = bench.jwt("team-b.localhost", &other_token, scope).await;
    let query = [("service", SERVICE), ("offline_token", "true")];
    let answer = server.client(&bench.token).ask("/token", &query).await;
    let refresh = answer.json["refresh_token"].as_str().unwrap().to_owned();
    let listed = admin.get("/registries?limit=1").await;
    let cursor = listed.json["pagination"]["token"]
        .as_str()
        .unwrap()
        .to_owned();

    let leaf = KeyPair::stolen(server, &bench.registry, KeyRole::Leaf).await;
    let authority = KeyPair::stolen(server, &bench.registry, KeyRole::Authority).await;
    let foreign = KeyPair::stolen(server, &other, KeyRole::Leaf).await;
    let rogue = KeyPair::generate(algorithm);
    let swapped = KeyPair::generate(if algorithm == "ES256" {
        "RS256"
    } else {
        "ES256"
    });
    let (head, said) = (header(&own), claims(&own));
    assert_eq!(head["kid"], leaf.header()["kid"]);
    // Whoever has the key can make a JWT, so that what follows fails for its one fault alone.
    let status = |jwt: &str| bench.status(&Bearer(jwt.to_owned()));
    assert_eq!(status(&own), 200);
    assert_eq!(status(&signed(&leaf.header(), &said, &leaf)), 200);

    let mut forged: Vec<(String, String)> = Vec::new();
    let mut add = |what: &str, jwt: String| forged.push((what.to_owned(), jwt));
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
        ("jti", Some(json!(refresh))),
        ("jti", Some(json!(refresh.strip_prefix("whrr_").unwrap()))),
        ("jti", Some(json!(cursor))),
        ("jti", Some(claims(&elsewhere)["jti"].clone())),
        ("jti", None),
        ("access", None),
        ("access", Some(json!("repository:own:pull"))),
    ] {
        let what = format!("{name} {new:?}");
        add(&what, signed(&head, &with(&said, name, new), &leaf));
    }
    // Keys that are none of this registry's, or not for this.
    add("of another registry", elsewhere.clone());
    add(
        "key of another registry",
        signed(&foreign.header(), &said, &foreign),
    );
    add(
        "another's key under our name",
        signed(&head, &said, &foreign),
    );
    add(
        "another's name for our key",
        signed(&foreign.header(), &said, &leaf),
    );
    add(
        "the authority's key",
        signed(&authority.header(), &said, &authority),
    );
    add(
        "the authority's key under the leaf's name",
        signed(&head, &said, &authority),
    );
    add("a key nobody knows", signed(&rogue.header(), &said, &rogue));
    add(
        "a key nobody knows under our name",
        signed(&leaf.header(), &said, &rogue),
    );
    // Keys that come along.
    let jwk = if algorithm == "ES256" {
        let point = &rogue.public[rogue.public.len() - 64..];
        json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(&point[..32]),
            "y": URL_SAFE_NO_PAD.encode(&point[32..]), "kid": fingerprint(&rogue.public)})
    } else {
        json!({"kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(&rogue.public[33..289])})
    };
    for kid in [
        Some(head["kid"].clone()),
        Some(json!(fingerprint(&rogue.public))),
        None,
    ] {
        let base = with(&rogue.header(), "kid", kid);
        for (name, value) in [
            ("jwk", jwk.clone()),
            ("jku", json!(format!("http://{}/jwks.json", server.address))),
            ("x5u", json!(format!("http://{}/x.pem", server.address))),
            ("x5c", json!([STANDARD.encode(&rogue.certificate)])),
            (
                "x5c",
                json!([STANDARD.encode(&rogue.certificate), head["x5c"][0]]),
            ),
            ("x5t", json!("x")),
        ] {
            let what = format!("{name} with {}", base["kid"]);
            add(
                &what,
                signed(&with(&base, name, Some(value)), &said, &rogue),
            );
        }
    }
    // Other algorithms for our key.
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let header = with(&head, "alg", Some(json!(none)));
        add(none, with_signature(&header, &said, |_| Vec::new()));
        add(none, signed(&header, &said, &leaf));
    }
    let pem = pem::encode(&pem::Pem::new("PUBLIC KEY", leaf.public.clone()));
    let certificate = pem::encode(&pem::Pem::new("CERTIFICATE", leaf.certificate.clone()));
    let secrets: [&[u8]; 8] = [
        &leaf.public,
        pem.as_bytes(),
        pem.trim().as_bytes(),
        certificate.as_bytes(),
        &leaf.certificate,
        &leaf.public[leaf.public.len() - 65..],
        head["kid"].as_str().unwrap().as_bytes(),
        b"",
    ];
    for secret in secrets {
        let header = with(&head, "alg", Some(json!("HS256")));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let sign = |text: &[u8]| hmac::sign(&key, text).as_ref().to_vec();
        add(
            "HS256 with what is public",
            with_signature(&header, &said, sign),
        );
    }
    let header_of = |algorithm: &str| with(&head, "alg", Some(json!(algorithm)));
    add(
        "another algorithm",
        signed(&header_of(swapped.algorithm), &said, &swapped),
    );
    add(
        "another algorithm",
        signed(&header_of(algorithm), &said, &swapped),
    );
    for wrong in [
        "ES384",
        "PS256",
        "RS384",
        "RS512",
        "HS256",
        "EdDSA",
        swapped.algorithm,
        "es256",
        "rs256",
        "x",
    ] {
        add(wrong, signed(&header_of(wrong), &said, &leaf));
    }
    add(
        "no algorithm",
        signed(&with(&head, "alg", None), &said, &leaf),
    );
    // Names of keys.
    for kid in [
        json!(null),
        json!(""),
        json!(5),
        json!([head["kid"]]),
        json!({"x": head["kid"]}),
        json!("a\0b"),
        json!("\0"),
        json!("../../etc/passwd"),
        json!("' OR '1'='1"),
        json!("\u{fffd}\u{10ffff}"),
        json!(head["kid"].as_str().unwrap().to_lowercase()),
        json!(head["kid"].as_str().unwrap().replace(':', "")),
        json!(format!("{} ", head["kid"].as_str().unwrap())),
        json!("x".repeat(30_000)),
    ] {
        let what: String = format!("kid {kid}").chars().take(50).collect();
        add(&what, signed(&with(&head, "kid", Some(kid)), &said, &leaf));
    }
    add("no kid", signed(&with(&head, "kid", None), &said, &leaf));
    // Broken ones.
    let parts: Vec<_> = own.split('.').collect();
    let mut flipped = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
    flipped[5] ^= 1;
    for jwt in [
        "x".to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        "e30.e30.e30".to_owned(),
        "e30.e30.".to_owned(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{own}.{}", parts[2]),
        format!("{own}."),
        format!(".{own}"),
        format!("{own}="),
        format!("{own}{own}"),
        format!("{own},{own}"),
        format!("{}.{}.{}", parts[1], parts[0], parts[2]),
        format!(
            "{}.{}.{}",
            parts[0],
            parts[1],
            URL_SAFE_NO_PAD.encode(&flipped)
        ),
        format!(
            "{}.{}.{}",
            parts[0],
            parts[1],
            elsewhere.rsplit('.').next().unwrap()
        ),
        format!(
            "{}.{}.{}",
            parts[0],
            URL_SAFE_NO_PAD.encode("null"),
            parts[2]
        ),
        format!("{}.{}.{}", URL_SAFE_NO_PAD.encode("[]"), parts[1], parts[2]),
        format!(
            "{}.{}.{}",
            URL_SAFE_NO_PAD.encode("[".repeat(10_000)),
            parts[1],
            parts[2]
        ),
        own[..own.len() - 1].to_owned(),
        own[1..].to_owned(),
        own.to_lowercase(),
        "x".repeat(100_000),
        format!("{}.{}.{}", "A".repeat(66_000), parts[1], parts[2]),
        // Ours, and no JWTs.
        refresh.clone(),
        refresh.strip_prefix("whrr_").unwrap().to_owned(),
        cursor,
        said["jti"].as_str().unwrap().to_owned(),
        bench.token.secret.clone(),
    ] {
        let what: String = jwt.chars().take(50).collect();
        add(&what, jwt);
    }
    let large = with(&said, "x", Some(json!("x".repeat(60_000))));
    add("huge", signed(&head, &large, &leaf));
    for (what, jwt) in &forged {
        let way = WAYS[jwt.len() % 3];
        let answer = bench.ask(way, &Bearer(jwt.clone()), "GET", "/v2/own/tags/list", &[]);
        bench.sent_away(what, &answer, scope, "invalid_token");
        assert!(
            jwt.len() < 5 || !answer.text.contains(jwt.as_str()),
            "{what}"
        );
    }
    // A JWT claims more than its token has: it is told what is missing, as ever.
    let more = json!([{"type": "repository", "name": "other", "actions": ["pull"]}]);
    let jwt = signed(&head, &with(&said, "access", Some(more)), &leaf);
    let answer = bench.ask(Way::Nginx, &Bearer(jwt), "GET", "/v2/other/tags/list", &[]);
    answer.refused("more than allowed", 403, "DENIED", None);

    // Headers that are none.
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
    assert_eq!(status(&own), 200);
}
