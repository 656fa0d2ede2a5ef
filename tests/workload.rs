//! Workloads: JWTs of issuers as passwords, their exchange, and the keys of issuers.

use chrono::TimeDelta;
use jsonwebtoken::jwk::JwkSet;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Map, Value, json};

use crate::harness::{
    Actor, Answer, Backend, Issuer, KeyPair, Mood, Server, claims, encoded, jwk, part, scopes,
    signed, with_signature, within_patience,
};

const SERVICE: &str = "team-a.localhost";
/// When the clock of the tests stands still, in seconds since 1970.
const NOON: i64 = 1_795_262_400;
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const TYPE_JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const LOOPBACK: [&str; 2] = ["--outgoing-networks", "127.0.0.0/8,::1/128"];

/// A server that asks this machine for keys, with one registry, one issuer, and one trust in it.
struct Bench {
    server: Server,
    admin: Actor,
    registry: String,
    issuer: Issuer,
    /// Their paths in the registries API.
    issuer_path: String,
    trust_path: String,
}

/// Claims as GitHub's, for the tests' registry.
fn github(issuer: &str) -> Value {
    json!({
        "iss": issuer,
        "aud": SERVICE,
        "iat": NOON,
        "nbf": NOON,
        "exp": NOON + 300,
        "jti": "6a1c",
        "sub": "repo:octo@1/app@2:ref:refs/heads/main",
        "repository_id": "74",
        "repository_owner_id": "65",
        "ref": "refs/heads/main",
        "event_name": "push",
    })
}

/// The claims with some of them replaced, or without those that are null.
fn with(claims: &Value, changes: &Value) -> Value {
    let mut claims = claims.clone();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

async fn add(admin: &Actor, path: &str, properties: Value) -> String {
    let answer = admin.post(path, json!({ "properties": properties })).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    format!("{path}/{}", answer.json["id"].as_str().unwrap())
}

fn id(path: &str) -> &str {
    path.rsplit_once('/').unwrap().1
}

/// The password that a workload gets for its JWT by a new trust `job` of a registry.
pub async fn password_of(server: &Server, registry: &str) -> String {
    let (admin, issuer) = (server.admin(), Issuer::start());
    let inline = json!({"url": issuer.url, "kind": "github", "jwks": issuer.jwks()});
    let trusted = add(&admin, "/issuers", inline).await;
    let trust = json!({"name": "job", "issuer": id(&trusted), "claims": {"repository_id": "74"}});
    add(&admin, &format!("/registries/{registry}/trusts"), trust).await;
    password(&exchange_as(server, "job", &issuer.sign(&github(&issuer.url))).await)
}

impl Bench {
    async fn new(backend: Backend) -> Self {
        let issuer = Issuer::start();
        let discovery = json!({"url": issuer.url, "kind": "github"});
        Self::with(
            Server::start_with(backend, &LOOPBACK).await,
            issuer,
            discovery,
        )
        .await
    }

    /// With its keys pasted, so that nothing is fetched.
    async fn offline(backend: Backend) -> Self {
        let issuer = Issuer::start();
        let inline = json!({"url": issuer.url, "kind": "github", "jwks": issuer.jwks()});
        Self::with(Server::start(backend).await, issuer, inline).await
    }

    async fn with(server: Server, issuer: Issuer, properties: Value) -> Self {
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        let issuer_path = add(&admin, "/issuers", properties).await;
        let trust = json!({
            "name": "ci",
            "issuer": id(&issuer_path),
            "claims": {"repository_id": "74", "ref": ["refs/heads/main", "refs/tags/v*"]},
            "scopes": scopes(&["repository:team/*:pull,push"]),
        });
        let trusts = format!("/registries/{registry}/trusts");
        let trust_path = add(&admin, &trusts, trust).await;
        Self {
            server,
            admin,
            registry,
            issuer,
            issuer_path,
            trust_path,
        }
    }

    /// A right JWT but for these claims.
    fn jwt(&self, changes: &Value) -> String {
        self.issuer.sign(&with(&github(&self.issuer.url), changes))
    }

    fn right(&self) -> String {
        self.jwt(&json!({}))
    }

    async fn get(&self, user: &str, password: &str) -> Answer {
        get(&self.server, user, password).await
    }

    /// The status of a login with a JWT.
    async fn status(&self, jwt: &str) -> u16 {
        self.get("ci", jwt).await.status
    }

    async fn exchange(&self, jwt: &str) -> Answer {
        exchange(&self.server, jwt).await
    }

    async fn patch(&self, path: &str, properties: Value) {
        let answer = self.admin.patch(path, properties).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// The reasons of the refusals that the trust's owner reads, the last first.
    async fn refusals(&self) -> Vec<Value> {
        self.server.service.flush_refused_workloads().await.unwrap();
        let answer = self
            .admin
            .get(&format!("{}/refusals", self.trust_path))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json["items"].as_array().unwrap().clone()
    }

    /// The events of this kind about the trust in the audit trail, the first one first.
    async fn events(&self, kind: &str) -> Vec<Value> {
        self.server.service.flush_audit(true).await.unwrap();
        let answer = self.admin.get(&format!("/audit/export?kind={kind}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let events = answer
            .text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        events
            .filter(|event| event["subjectKind"] == "trust")
            .collect()
    }
}

/// Asks for a JWT that pushes, by a query.
async fn get(server: &Server, user: &str, password: &str) -> Answer {
    let query = [
        ("service", SERVICE),
        ("scope", "repository:team/app:pull,push"),
    ];
    server.actor(user, password).ask("/token", &query).await
}

async fn exchange(server: &Server, jwt: &str) -> Answer {
    exchange_as(server, "ci", jwt).await
}

async fn exchange_as(server: &Server, name: &str, jwt: &str) -> Answer {
    let fields = [
        ("grant_type", EXCHANGE),
        ("service", SERVICE),
        ("client_id", name),
        ("subject_token", jwt),
        ("subject_token_type", TYPE_JWT),
    ];
    server.anonymous().form("/token", &fields).await
}

/// The password of an exchange.
fn password(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json["access_token"].as_str().unwrap().to_owned()
}

/// The grant of a JWT, in words.
fn granted(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    claims(answer.json["token"].as_str().unwrap())["access"].clone()
}

/// Asks for a request to a registry as a proxy does.
async fn check(actor: &Actor, service: &str) -> u16 {
    let request = actor
        .request(Method::GET, &format!("/v2/check?service={service}"))
        .header("x-original-method", "PUT")
        .header("x-original-uri", "/v2/team/app/manifests/1");
    actor.send(request).await.status
}

#[rstest]
#[actix_web::test]
async fn a_jwt_is_a_password_as_often_as_wanted(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let jwt = bench.right();
    let all = json!([{"type": "repository", "name": "team/app", "actions": ["pull", "push"]}]);
    for user in ["ci", "CI", "team-a+ci"] {
        let answer = bench.get(user, &jwt).await;
        assert_eq!(granted(&answer), all, "{user}");
        assert_eq!(answer.json.get("refresh_token"), None);
        let fields = [
            ("grant_type", "password"),
            ("service", SERVICE),
            ("scope", "repository:team/app:pull,push"),
            ("access_type", "offline"),
            ("username", user),
            ("password", &format!("{jwt}\n")),
        ];
        let answer = bench.server.anonymous().form("/token", &fields).await;
        assert_eq!(granted(&answer), all, "{user}");
        assert_eq!(answer.json.get("refresh_token"), None);
        assert_eq!(
            check(&bench.server.actor(user, &jwt), SERVICE).await,
            200,
            "{user}"
        );
    }
    assert_eq!(bench.issuer.fetches(), 1);
    let own = bench.get("ci", &jwt).await.json["token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(check(&bench.server.bearer(&own), SERVICE).await, 200);
    let login = &bench.events("login").await[0];
    assert_eq!(login["actorName"], "ci", "{login}");
    assert_eq!(login["detail"]["claims"]["repository_id"], "74", "{login}");
}

#[rstest]
#[actix_web::test]
async fn a_jwt_opens_its_own_trust_alone(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::offline(backend).await;
    let other = bench.admin.create_registry("team-b").await;
    let trust = json!({
        "name": "ci",
        "issuer": id(&bench.issuer_path),
        "claims": {"repository_id": "75"},
    });
    add(&bench.admin, &format!("/registries/{other}/trusts"), trust).await;
    let jwt = bench.right();
    assert_eq!(bench.status(&jwt).await, 200);
    for user in ["other", "team-b+ci", "+ci", "team-a+", "ci\0", "admin"] {
        let answer = bench.get(user, &jwt).await;
        answer.refused(user, 401, "UNAUTHORIZED", None);
    }
    let client = bench.server.actor("ci", &jwt);
    assert_eq!(check(&client, "team-b.localhost").await, 401);
    let answer = client
        .ask("/token", &[("service", "team-b.localhost")])
        .await;
    answer.refused("another registry", 401, "UNAUTHORIZED", None);
    let answer = client
        .ask("/token", &[("service", "team-c.localhost")])
        .await;
    answer.refused("no registry", 400, "UNSUPPORTED", Some("service"));
    // Neither does it open our own APIs.
    assert_eq!(client.get("/registries").await.status, 401);
    assert_eq!(
        bench.server.bearer(&jwt).get("/registries").await.status,
        401
    );
}

/// The reason that the trust's owner reads, and the claims that are wrong.
type Fault = (&'static str, fn() -> Value);

/// The faults of a JWT.
const FAULTS: [Fault; 10] = [
    ("audience", || json!({"aud": null})),
    ("audience", || json!({"aud": [SERVICE, "team-b.localhost"]})),
    ("audience", || json!({"aud": "team-b.localhost"})),
    ("expired", || json!({"exp": NOON - 60})),
    ("expired", || json!({"exp": null})),
    ("not-yet-valid", || json!({"nbf": NOON + 61})),
    ("not-yet-valid", || json!({"iat": NOON + 3600})),
    ("claims", || json!({"ref": "refs/heads/fork"})),
    ("claims", || json!({"repository_id": null})),
    ("claims", || json!({"event_name": "pull_request_target"})),
];

#[rstest]
#[actix_web::test]
async fn a_jwt_with_a_fault_is_refused_and_its_owner_reads_why(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::offline(backend).await;
    for (at, (reason, changes)) in FAULTS.iter().enumerate() {
        // An identity of its own for each, so that each has a row.
        let mut changes = changes();
        changes["repository_owner_id"] = at.to_string().into();
        let jwt = bench.jwt(&changes);
        let answer = bench.get("ci", &jwt).await;
        answer.refused(reason, 401, "UNAUTHORIZED", None);
        let exchanged = bench.exchange(&jwt).await;
        assert_eq!(exchanged.json, answer.json, "{changes}");
        let refusals = bench.refusals().await;
        let own = |refusal: &&Value| {
            refusal["identity"]["repository_owner_id"] == changes["repository_owner_id"]
        };
        let refusal = refusals.iter().find(own).unwrap();
        assert_eq!(refusal["reason"], *reason, "{refusal}");
        assert_eq!(refusal["times"], 2, "{refusal}");
        assert!(!refusal.to_string().contains(&jwt[..40]), "{refusal}");
    }
    let event = &bench.events("refuse").await[0];
    assert_eq!(event["detail"]["reason"], "audience", "{event}");
    assert_eq!(event["detail"]["claims"]["repository_id"], "74", "{event}");
}

/// Claims as each provider's, rules of which each pins a workload, and the pointer to each of those claims.
fn golden() -> Vec<(&'static str, &'static str, Value, Vec<&'static str>)> {
    vec![
        (
            "github",
            include_str!("../examples/workload/claims/github.json"),
            json!({"repository_id": "74", "repository_owner_id": "1001", "enterprise_id": "12"}),
            vec!["/repository_id", "/repository_owner_id", "/enterprise_id"],
        ),
        (
            "gitlab",
            include_str!("../examples/workload/claims/gitlab.json"),
            json!({"project_id": "20", "namespace_id": "72"}),
            vec!["/project_id", "/namespace_id"],
        ),
        (
            "kubernetes",
            include_str!("../examples/workload/claims/kubernetes.json"),
            json!({
                "kubernetes.io.serviceaccount.uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798",
                "/kubernetes.io/namespace": "builds",
            }),
            vec![
                "/kubernetes.io/serviceaccount/uid",
                "/kubernetes.io/namespace",
            ],
        ),
        (
            "buildkite",
            include_str!("../examples/workload/claims/buildkite.json"),
            json!({
                "organization_id": "3d3c3bf0-7d58-4afe-8fe7-b3017d5504de",
                "pipeline_id": "0184990a-477b-4fa8-9968-496074483cee",
            }),
            vec!["/organization_id", "/pipeline_id"],
        ),
        (
            "circleci",
            include_str!("../examples/workload/claims/circleci.json"),
            json!({"oidc.circleci.com/project-id": "7a8b9c0d-1e2f-4a3b-8c5d-6e7f8a9b0c1d"}),
            vec!["/oidc.circleci.com~1project-id"],
        ),
        (
            "forgejo",
            include_str!("../examples/workload/claims/forgejo.json"),
            json!({"repository_id": "74", "repository_owner_id": "1001"}),
            vec!["/repository_id", "/repository_owner_id"],
        ),
        (
            "spiffe",
            include_str!("../examples/workload/claims/spiffe.json"),
            json!({"sub": "spiffe://example.org/builds/app"}),
            vec!["/sub"],
        ),
    ]
}

#[rstest]
#[actix_web::test]
async fn each_providers_jwt_opens_and_none_with_another_pinned_claim(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::offline(backend).await;
    let trusts = format!("/registries/{}/trusts", bench.registry);
    for (kind, text, rules, pinned) in golden() {
        let mut claims: Value = serde_json::from_str(text).unwrap();
        let url = claims
            .get("iss")
            .cloned()
            .unwrap_or_else(|| "https://spire.example.org".into());
        claims["iss"] = url.clone();
        let issuer = json!({"url": url, "kind": kind, "jwks": bench.issuer.jwks()});
        let issuer = add(&bench.admin, "/issuers", issuer).await;
        let trust = json!({"name": kind, "issuer": id(&issuer), "claims": rules});
        add(&bench.admin, &trusts, trust).await;
        let right = bench.issuer.sign(&claims);
        assert_eq!(bench.get(kind, &right).await.status, 200, "{kind}");
        for pointer in pinned {
            for other in [json!("another"), json!(75), json!(null), json!(["another"])] {
                let mut altered = claims.clone();
                *altered.pointer_mut(pointer).unwrap() = other;
                let answer = bench.get(kind, &bench.issuer.sign(&altered)).await;
                assert_eq!(answer.status, 401, "{kind}: {pointer} {altered}");
            }
        }
    }
}

#[rstest]
#[actix_web::test]
async fn a_jwt_that_its_issuer_did_not_sign_is_refused_and_recorded_for_nobody(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::offline(backend).await;
    let claims = github(&bench.issuer.url);
    let (right, head) = (bench.issuer.key("1"), json!({"alg": "RS256", "kid": "1"}));
    let stranger = KeyPair::generate("RS256");
    let curve = KeyPair::generate("ES256");
    // The public key as a shared one: its text is known to all.
    let public = bench.issuer.jwks().to_string();
    let hmac = |text: &[u8]| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, public.as_bytes());
        aws_lc_rs::hmac::sign(&key, text).as_ref().to_vec()
    };
    let cut = bench.right().rsplit_once('.').unwrap().0.to_owned();
    for (what, jwt) in [
        ("another key", signed(&head, &claims, &stranger)),
        (
            "another type of key",
            signed(&json!({"alg": "ES256", "kid": "1"}), &claims, &curve),
        ),
        (
            "a public key as a shared one",
            with_signature(&json!({"alg": "HS256", "kid": "1"}), &claims, hmac),
        ),
        (
            "an algorithm that is none",
            with_signature(&json!({"alg": "none", "kid": "1"}), &claims, |_| Vec::new()),
        ),
        ("no signature", format!("{cut}.")),
        (
            "an algorithm that the issuer may not have",
            signed(&json!({"alg": "RS512", "kid": "1"}), &claims, &right),
        ),
        (
            "an unknown key",
            signed(&json!({"alg": "RS256", "kid": "2"}), &claims, &right),
        ),
        (
            "an unknown issuer",
            bench.jwt(&json!({"iss": "https://ci.example.com"})),
        ),
        (
            "an issuer with a zero byte",
            bench.jwt(&json!({"iss": "https://ci\0"})),
        ),
        ("no issuer", bench.jwt(&json!({"iss": null}))),
        (
            "an extension",
            signed(
                &json!({"alg": "RS256", "kid": "1", "crit": ["x"]}),
                &claims,
                &right,
            ),
        ),
    ] {
        bench
            .get("ci", &jwt)
            .await
            .refused(what, 401, "UNAUTHORIZED", None);
        bench
            .exchange(&jwt)
            .await
            .refused(what, 401, "UNAUTHORIZED", None);
    }
    assert_eq!(bench.refusals().await, Vec::<Value>::new());
    // With the only key for its algorithm it need not name that.
    assert_eq!(
        bench
            .status(&signed(&json!({"alg": "RS256"}), &claims, &right))
            .await,
        200
    );
}

#[rstest]
#[actix_web::test]
async fn a_jwt_out_of_bounds_is_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::offline(backend).await;
    let key = bench.issuer.key("1");
    let nested = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let doubled =
        github(&bench.issuer.url)
            .to_string()
            .replacen('{', r#"{"repository_id":"0","#, 1);
    let text = format!(
        "{}.{}",
        part(r#"{"alg":"RS256","kid":"1"}"#),
        part(&doubled)
    );
    let doubled = format!("{text}.{}", part_of(&key.sign(text.as_bytes())));
    for (what, jwt) in [
        ("a JWT of 6 kB", bench.jwt(&json!({"x": "x".repeat(5000)}))),
        (
            "a kid of 10 kB",
            signed(
                &json!({"alg": "RS256", "kid": "k".repeat(10_000)}),
                &github(&bench.issuer.url),
                &key,
            ),
        ),
        ("claims 100 deep", bench.jwt(&json!({ "x": nested }))),
        ("two members of one name", doubled),
    ] {
        let fields = [
            ("grant_type", "password"),
            ("service", SERVICE),
            ("username", "ci"),
            ("password", &jwt),
        ];
        let answer = bench.server.anonymous().form("/token", &fields).await;
        answer.refused(what, 401, "UNAUTHORIZED", None);
        bench
            .exchange(&jwt)
            .await
            .refused(what, 401, "UNAUTHORIZED", None);
    }
    let longest = bench.jwt(&json!({"x": "x".repeat(3000)}));
    assert_eq!(bench.status(&longest).await, 200);
}

fn part_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[rstest]
#[actix_web::test]
async fn an_issuer_does_not_speak_for_another_with_the_same_id_of_a_key(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::offline(backend).await;
    let other = Issuer::start();
    let properties = json!({"url": other.url, "kind": "github", "jwks": other.jwks()});
    add(&bench.admin, "/issuers", properties).await;
    // Under its own name, with the claims that the trust wants.
    let own = other.sign(&github(&other.url));
    bench
        .get("ci", &own)
        .await
        .refused("own name", 401, "UNAUTHORIZED", None);
    let refusals = bench.refusals().await;
    assert_eq!(refusals[0]["reason"], "issuer", "{refusals:?}");
    let forged = other.sign(&github(&bench.issuer.url));
    bench
        .get("ci", &forged)
        .await
        .refused("another's name", 401, "UNAUTHORIZED", None);
    assert_eq!(bench.refusals().await.len(), 1);
}

#[rstest]
#[actix_web::test]
async fn what_is_disabled_opens_nothing_on_the_next_request(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::offline(backend).await;
    let replica = bench.server.replica().await;
    let jwt = bench.right();
    let password = password(&bench.exchange(&jwt).await);
    let (issuer, trust) = (&bench.issuer_path, &bench.trust_path);
    let home = format!("/registries/{}", bench.registry);
    for (path, off, on) in [
        (
            trust,
            json!({"status": "disabled"}),
            json!({"status": "enabled"}),
        ),
        (
            issuer,
            json!({"status": "disabled"}),
            json!({"status": "enabled"}),
        ),
        (
            trust,
            json!({"allowedCidrs": ["192.0.2.1"]}),
            json!({"allowedCidrs": []}),
        ),
        (&home, json!({"frozen": true}), json!({"frozen": false})),
        (
            &home,
            json!({"apiSubnetAllowList": ["192.0.2.1"]}),
            json!({"apiSubnetAllowList": []}),
        ),
    ] {
        for server in [&bench.server, &replica] {
            assert_eq!(get(server, "ci", &jwt).await.status, 200, "{off}");
        }
        let own = granted_jwt(&bench.get("ci", &jwt).await);
        bench.patch(path, off.clone()).await;
        for server in [&bench.server, &replica] {
            assert_eq!(get(server, "ci", &jwt).await.status, 401, "{off}");
            assert_eq!(get(server, "ci", &password).await.status, 401, "{off}");
            assert_eq!(check(&server.bearer(&own), SERVICE).await, 401, "{off}");
            assert_eq!(exchange(server, &jwt).await.status, 401, "{off}");
        }
        bench.patch(path, on).await;
    }
    assert_eq!(bench.status(&jwt).await, 200);
    let gone = bench.admin.delete(trust).await;
    assert_eq!(gone.status, 204, "{gone:?}");
    assert_eq!(bench.status(&jwt).await, 401);
}

fn granted_jwt(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["token"].as_str().unwrap().to_owned()
}

#[rstest]
#[actix_web::test]
async fn what_was_issued_ends_with_a_change_of_the_workloads(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::offline(backend).await;
    let (issuer, trust) = (&bench.issuer_path, &bench.trust_path);
    let changes = [
        (trust, json!({"audience": "https://octo.example.com"})),
        (trust, json!({"audience": SERVICE})),
        (trust, json!({"claims": {"repository_id": "74"}})),
        (issuer, json!({"algorithms": ["RS256"]})),
    ];
    for (at, (path, change)) in changes.into_iter().enumerate() {
        let audience = if at == 1 {
            "https://octo.example.com"
        } else {
            SERVICE
        };
        let jwt = bench.jwt(&json!({"aud": audience, "jti": at.to_string()}));
        let password = password(&bench.exchange(&jwt).await);
        let own = granted_jwt(&bench.get("ci", &jwt).await);
        let held = [
            check(&bench.server.bearer(&own), SERVICE).await,
            bench.status(&password).await,
        ];
        assert_eq!(held, [200, 200], "{change}");
        bench.patch(path, change.clone()).await;
        let ended = [
            check(&bench.server.bearer(&own), SERVICE).await,
            bench.status(&password).await,
        ];
        assert_eq!(ended, [401, 401], "{change}");
    }
    let jwt = bench.jwt(&json!({"jti": "last"}));
    let password = password(&bench.exchange(&jwt).await);
    // Scopes are read at each use, and end nothing.
    bench
        .patch(
            trust,
            json!({"scopes": scopes(&["repository:team/*:pull"])}),
        )
        .await;
    let less = json!([{"type": "repository", "name": "team/app", "actions": ["pull"]}]);
    assert_eq!(granted(&bench.get("ci", &password).await), less);
}

#[rstest]
#[actix_web::test]
async fn a_jwt_and_its_grant_end_in_time(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::offline(backend).await;
    let jwt = bench.right();
    assert_eq!(bench.get("ci", &jwt).await.json["expires_in"], 300);
    bench.server.clock.advance(TimeDelta::seconds(330));
    // No longer than the JWT with its leeway.
    assert_eq!(bench.get("ci", &jwt).await.json["expires_in"], 30);
    bench.server.clock.advance(TimeDelta::seconds(29));
    assert_eq!(bench.status(&jwt).await, 200);
    bench.server.clock.advance(TimeDelta::seconds(1));
    assert_eq!(bench.status(&jwt).await, 401);
}

#[rstest]
#[actix_web::test]
async fn a_password_outlives_the_jwt_that_it_was_given_for(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::offline(backend).await;
    let jwt = bench.right();
    let answer = bench.exchange(&jwt).await;
    let password = password(&answer);
    assert!(password.starts_with("whrw_"), "{password}");
    let mut body = answer.json.clone();
    assert_eq!(body["token"], body["access_token"]);
    body["token"] = "[password]".into();
    body["access_token"] = "[password]".into();
    assert_eq!(
        body,
        json!({
            "token": "[password]",
            "access_token": "[password]",
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "N_A",
            "expires_in": 3600,
            "issued_at": "2026-11-21T12:00:00Z",
        })
    );
    bench.server.clock.advance(TimeDelta::minutes(50));
    assert_eq!(bench.status(&jwt).await, 401);
    for user in ["ci", "CI", "team-a+ci"] {
        let answer = bench.get(user, &password).await;
        assert_eq!(answer.status, 200, "{user}: {answer:?}");
        assert_eq!(answer.json.get("refresh_token"), None);
        assert_eq!(
            check(&bench.server.actor(user, &password), SERVICE).await,
            200
        );
    }
    for user in ["admin", "other", "team-b+ci"] {
        assert_eq!(bench.get(user, &password).await.status, 401, "{user}");
    }
    bench.server.clock.advance(TimeDelta::minutes(9));
    assert_eq!(bench.get("ci", &password).await.json["expires_in"], 60);
    bench.server.clock.advance(TimeDelta::minutes(1));
    assert_eq!(bench.status(&password).await, 401);
}

#[rstest]
#[actix_web::test]
async fn a_password_lasts_as_long_as_its_trust_says(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::offline(backend).await;
    bench
        .patch(&bench.trust_path, json!({"maximumLife": "PT10M"}))
        .await;
    let answer = bench.exchange(&bench.jwt(&json!({"jti": "1"}))).await;
    assert_eq!(answer.json["expires_in"], 600, "{answer:?}");
    let end = json!({"expiryDate": "2026-11-21T12:05:00Z"});
    bench.patch(&bench.trust_path, end).await;
    let answer = bench.exchange(&bench.jwt(&json!({"jti": "2"}))).await;
    assert_eq!(answer.json["expires_in"], 300, "{answer:?}");
    let password = password(&answer);
    bench.server.clock.advance(TimeDelta::minutes(5));
    assert_eq!(bench.status(&password).await, 401);
}

#[rstest]
#[actix_web::test]
async fn a_jwt_is_exchanged_once(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let bench = Bench::offline(backend).await;
    let (named, nameless) = (bench.right(), bench.jwt(&json!({"jti": null})));
    for jwt in [&named, &nameless] {
        let given = password(&bench.exchange(jwt).await);
        let again = bench.exchange(jwt).await;
        again.refused("again", 401, "UNAUTHORIZED", None);
        assert_eq!(bench.refusals().await[0]["reason"], "exchanged");
        // The password stays, and is no JWT of the issuer. The JWT stays a password.
        assert_eq!(bench.status(&given).await, 200);
        assert_eq!(bench.status(jwt).await, 200);
        bench
            .exchange(&given)
            .await
            .refused("a password", 401, "UNAUTHORIZED", None);
    }
    // One that is refused is not used up.
    let early = bench.jwt(&json!({"jti": "early", "nbf": NOON + 120}));
    assert_eq!(bench.exchange(&early).await.status, 401);
    bench.server.clock.advance(TimeDelta::seconds(60));
    assert_eq!(bench.exchange(&early).await.status, 200);
    let logins = bench.events("login").await;
    let exchanged = |event: &&Value| event["detail"].get("expires").is_some();
    let exchanges: Vec<_> = logins.iter().filter(exchanged).collect();
    assert_eq!(exchanges.len(), 3, "{logins:?}");
    assert_eq!(
        exchanges[0]["detail"]["claims"]["repository_id"], "74",
        "{exchanges:?}"
    );
}

#[rstest]
#[actix_web::test]
async fn an_issuer_made_anew_exchanges_no_jwt_again(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::offline(backend).await;
    let jwt = bench.right();
    assert_eq!(bench.exchange(&jwt).await.status, 200);
    let gone = bench
        .admin
        .delete(&format!("{}?deleteTrusts=true", bench.issuer_path))
        .await;
    assert_eq!(gone.status, 204, "{gone:?}");
    let properties = json!({
        "url": bench.issuer.url, "kind": "github", "jwks": bench.issuer.jwks(),
    });
    let issuer = add(&bench.admin, "/issuers", properties).await;
    let trust = json!({"name": "ci", "issuer": id(&issuer), "claims": {"repository_id": "74"}});
    let trusts = format!("/registries/{}/trusts", bench.registry);
    add(&bench.admin, &trusts, trust).await;
    assert_eq!(bench.status(&jwt).await, 200);
    assert_eq!(bench.exchange(&jwt).await.status, 401);
    let other = bench.jwt(&json!({"jti": "another"}));
    assert_eq!(bench.exchange(&other).await.status, 200);
}

#[rstest]
#[actix_web::test]
async fn of_two_exchanges_at_once_on_two_replicas_one_is_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::offline(backend).await;
    let replica = bench.server.replica().await;
    for round in 0..10 {
        let jwt = bench.jwt(&json!({"jti": round.to_string()}));
        let (one, other) =
            futures_util::future::join(exchange(&bench.server, &jwt), exchange(&replica, &jwt))
                .await;
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401], "{one:?} {other:?}");
    }
}

#[rstest]
#[actix_web::test]
async fn an_exchange_is_asked_for_as_rfc_8693_says(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::offline(backend).await;
    let jwt = bench.right();
    let form = |changes: &Value| {
        let mut fields: Map<String, Value> = json!({
            "grant_type": EXCHANGE,
            "service": SERVICE,
            "client_id": "ci",
            "subject_token": jwt,
            "subject_token_type": TYPE_JWT,
        })
        .as_object()
        .unwrap()
        .clone();
        for (name, value) in changes.as_object().unwrap() {
            fields.insert(name.clone(), value.clone());
        }
        let pairs = fields
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        encoded(&pairs.collect::<Vec<_>>())
    };
    let send = async |actor: &Actor, changes: Value| {
        let request = actor
            .request(Method::POST, "/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form(&changes));
        actor.send(request).await
    };
    let nobody = bench.server.anonymous();
    for (parameter, change) in [
        ("client_id", json!({"client_id": null})),
        ("subject_token", json!({"subject_token": null})),
        ("subject_token_type", json!({"subject_token_type": null})),
        (
            "subject_token_type",
            json!({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}),
        ),
        ("requested_token_type", json!({"requested_token_type": "x"})),
        ("audience", json!({"audience": "team-b.localhost"})),
        ("service", json!({"service": null})),
        ("scope", json!({"scope": "repository:team/app:pull"})),
    ] {
        let answer = send(&nobody, change.clone()).await;
        answer.refused(&change.to_string(), 400, "UNSUPPORTED", Some(parameter));
    }
    let answer = send(&bench.server.actor("other", ""), json!({})).await;
    answer.refused("two trusts", 400, "UNSUPPORTED", Some("client_id"));
    // Nothing of that used it up. The registry by its name of RFC 8693, the trust by HTTP Basic.
    let basic = bench.server.actor("team-a+ci", "");
    let wanted = json!({
        "client_id": null, "service": null, "audience": SERVICE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "requested_token_type": TYPE_JWT,
    });
    let answer = send(&basic, wanted).await;
    assert_eq!(answer.json["issued_token_type"], TYPE_JWT);
    assert_eq!(claims(&password(&answer))["exp"], NOON + 3600);
    assert_eq!(bench.status(&password(&answer)).await, 200);
}

#[rstest]
#[actix_web::test]
async fn the_path_of_quay_gives_a_password_in_the_form_of_a_jwt(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    const PATH: &str = "/oauth2/federation/robot/token";
    let bench = Bench::offline(backend).await;
    let robot = bench.server.actor("team-a+ci", &bench.right());
    let head = robot.send(robot.request(Method::HEAD, PATH)).await;
    assert_eq!(head.status, 405, "{head:?}");
    for user in ["ci", "team-a+other", "+"] {
        let answer = bench.server.actor(user, &bench.right()).get(PATH).await;
        let known = user.contains("team-a") || !user.contains('+');
        assert_eq!(
            answer.status,
            if known { 401 } else { 400 },
            "{user}: {answer:?}"
        );
    }
    assert_eq!(bench.server.anonymous().get(PATH).await.status, 401);
    let answer = robot.get(PATH).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.json["token"].as_str().unwrap().to_owned();
    assert_eq!(answer.json, json!({ "token": token }));
    assert_eq!(claims(&token)["exp"], NOON + 3600);
    assert_eq!(claims(&token)["access"], json!([]));
    assert_eq!(robot.get(PATH).await.status, 401);
    bench.server.clock.advance(TimeDelta::minutes(59));
    for user in ["team-a+ci", "ci"] {
        assert_eq!(bench.get(user, &token).await.status, 200, "{user}");
        assert_eq!(check(&bench.server.actor(user, &token), SERVICE).await, 200);
    }
    // It is a password and nothing else.
    assert_eq!(bench.get("other", &token).await.status, 401);
    assert_eq!(check(&bench.server.bearer(&token), SERVICE).await, 401);
    let (text, _) = token.rsplit_once('.').unwrap();
    assert_eq!(bench.status(&format!("{text}.AAAA")).await, 401);
    bench.server.clock.advance(TimeDelta::minutes(1));
    assert_eq!(bench.status(&token).await, 401);
}

#[rstest]
#[actix_web::test]
async fn the_issuer_may_be_away_for_a_day(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let later = |hours: i64| {
        let now = NOON + hours * 3600;
        bench.jwt(&json!({"iat": now, "nbf": now, "exp": now + 300}))
    };
    assert_eq!(bench.status(&later(0)).await, 200);
    bench.issuer.set(Mood::Away);
    bench.server.clock.advance(TimeDelta::hours(23));
    assert_eq!(bench.status(&later(23)).await, 200);
    bench.server.clock.advance(TimeDelta::hours(1));
    let answer = bench.get("ci", &later(24)).await;
    answer.refused("keys of a day ago", 503, "UNAVAILABLE", None);
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(bench.exchange(&later(24)).await.status, 503);
    let ready = bench.server.anonymous().get("/readyz").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    bench.issuer.set(Mood::Well);
    bench.server.clock.advance(TimeDelta::minutes(1));
    assert_eq!(bench.status(&later(24)).await, 200);
}

#[rstest]
#[actix_web::test]
async fn an_unknown_key_is_fetched_once_a_minute(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    assert_eq!(bench.status(&bench.right()).await, 200);
    bench.issuer.rotate("2", "ES256");
    // The keys were fetched a moment ago.
    assert_eq!(bench.status(&bench.right()).await, 401);
    assert_eq!(bench.issuer.fetches(), 1);
    bench.server.clock.advance(TimeDelta::minutes(1));
    let jwt = bench.right();
    let same = (0..5).map(|_| bench.status(&jwt));
    assert_eq!(futures_util::future::join_all(same).await, [200; 5]);
    assert_eq!(bench.issuer.fetches(), 2);
    let stranger = KeyPair::generate("ES256");
    for kid in ["3", "4", "5"] {
        let head = json!({"alg": "ES256", "kid": kid});
        let forged = signed(&head, &github(&bench.issuer.url), &stranger);
        assert_eq!(bench.status(&forged).await, 401, "{kid}");
    }
    assert_eq!(bench.issuer.fetches(), 2);
}

#[rstest]
#[actix_web::test]
async fn a_withdrawn_key_counts_for_an_hour_at_most(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let jwt = bench.jwt(&json!({"exp": NOON + 86_400}));
    assert_eq!(bench.status(&jwt).await, 200);
    bench.issuer.rotate("2", "RS256");
    bench.server.clock.advance(TimeDelta::hours(1));
    assert_eq!(bench.status(&jwt).await, 401);
    assert_eq!(bench.issuer.fetches(), 2);
}

#[rstest]
#[actix_web::test]
async fn keys_are_renewed_beside_the_requests_that_use_them(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let jwt = bench.jwt(&json!({"exp": NOON + 86_400}));
    assert_eq!(bench.status(&jwt).await, 200);
    bench.server.clock.advance(TimeDelta::minutes(10));
    // Nobody waits for an issuer that does not answer.
    bench.issuer.set(Mood::Silent);
    assert_eq!(bench.status(&jwt).await, 200);
    bench.issuer.set(Mood::Well);
    let renewed = async {
        while bench.issuer.fetches() < 2 {
            bench.server.clock.advance(TimeDelta::minutes(1));
            assert_eq!(bench.status(&jwt).await, 200);
        }
    };
    within_patience(renewed, "the keys were not renewed").await;
}

#[rstest]
#[actix_web::test]
async fn a_set_without_usable_keys_takes_nobodys_place(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let jwt = bench.jwt(&json!({"exp": NOON + 86_400}));
    assert_eq!(bench.status(&jwt).await, 200);
    let key = jwk("1", &bench.issuer.key("1"));
    let other = |member: &str, value: Value| with(&key, &json!({member: value}));
    let bad = [
        json!({}),
        other("kty", json!("oct")),
        other("use", json!("enc")),
        other("n", json!("AQAB")),
        other("n", json!(1)),
        json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "1"}),
    ];
    let many: Vec<_> = (0..65).map(|_| key.clone()).collect();
    for mood in [
        Mood::Keys(json!({"keys": []})),
        Mood::Keys(json!({ "keys": bad })),
        Mood::Keys(json!({ "keys": many })),
        Mood::Keys(json!({})),
        Mood::Huge,
        Mood::Lying("https://ci.example.com".to_owned()),
        Mood::Lying(format!("{}/", bench.issuer.url)),
        Mood::Elsewhere("https://169.254.169.254/keys".to_owned()),
    ] {
        bench.issuer.set(mood.clone());
        bench.server.clock.advance(TimeDelta::minutes(61));
        assert_eq!(bench.status(&jwt).await, 200, "{mood:?}");
    }
    // One good key among bad ones is used.
    let mixed: Vec<_> = bad.iter().cloned().chain([key]).collect();
    bench.issuer.set(Mood::Keys(json!({ "keys": mixed })));
    bench.server.clock.advance(TimeDelta::minutes(61));
    assert_eq!(bench.status(&jwt).await, 200);
}

#[rstest]
#[actix_web::test]
async fn an_issuer_that_cannot_be_asked_is_a_failure_of_ours(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    for mood in [
        Mood::Away,
        Mood::Silent,
        Mood::Huge,
        Mood::Lying("https://ci.example.com".to_owned()),
        Mood::Elsewhere("http://169.254.169.254/".to_owned()),
    ] {
        let bench = Bench::new(backend).await;
        bench.issuer.set(mood.clone());
        let answer = bench.get("ci", &bench.right()).await;
        answer.refused(&format!("{mood:?}"), 503, "UNAVAILABLE", None);
    }
    // Without the operator's leave nobody asks this machine.
    let issuer = Issuer::start();
    let properties = json!({"url": "https://127.0.0.1", "kind": "github"});
    let bench = Bench::with(Server::start(backend).await, issuer, properties).await;
    let answer = bench
        .get("ci", &bench.jwt(&json!({"iss": "https://127.0.0.1"})))
        .await;
    answer.refused("a private address", 503, "UNAVAILABLE", None);
}

#[rstest]
#[actix_web::test]
async fn a_changed_issuer_is_asked_anew(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let replica = bench.server.replica_with(&LOOPBACK).await;
    for server in [&bench.server, &replica] {
        assert_eq!(get(server, "ci", &bench.right()).await.status, 200);
    }
    // Its keys are pasted now, and another one is among them. Nothing is fetched for that.
    let old = bench.right();
    bench.issuer.rotate("2", "RS256");
    bench
        .patch(&bench.issuer_path, json!({"jwks": bench.issuer.jwks()}))
        .await;
    for server in [&bench.server, &replica] {
        assert_eq!(get(server, "ci", &bench.right()).await.status, 200);
        assert_eq!(get(server, "ci", &old).await.status, 401);
    }
    assert_eq!(bench.issuer.fetches(), 2);
}

#[rstest]
#[actix_web::test]
async fn the_owner_of_a_trust_reads_what_shut_the_registry_to_a_workload(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::offline(backend).await;
    let registry = format!("/registries/{}", bench.registry);
    for (shut, open, reason) in [
        (
            json!({"frozen": true}),
            json!({"frozen": false}),
            "registry-frozen",
        ),
        (
            json!({"apiSubnetAllowList": ["192.0.2.1"]}),
            json!({"apiSubnetAllowList": []}),
            "address",
        ),
    ] {
        assert_eq!(bench.status(&bench.right()).await, 200, "{reason}");
        bench.patch(&registry, shut).await;
        assert_eq!(bench.status(&bench.right()).await, 401, "{reason}");
        let refusals = bench.refusals().await;
        assert!(
            refusals.iter().any(|refusal| refusal["reason"] == reason),
            "{reason}: {refusals:?}"
        );
        bench.patch(&registry, open).await;
    }
}

#[rstest]
#[actix_web::test]
async fn a_disabled_issuer_is_not_asked_and_its_keys_count_again_when_it_is_enabled(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let jwt = bench.jwt(&json!({"exp": NOON + 86_400}));
    assert_eq!(bench.status(&jwt).await, 200);
    bench
        .patch(&bench.issuer_path, json!({"status": "disabled"}))
        .await;
    bench.issuer.set(Mood::Away);
    bench.server.clock.advance(TimeDelta::minutes(30));
    // The keys of before still tell whose JWT it is, so the owner reads the reason.
    assert_eq!(bench.status(&jwt).await, 401);
    assert_eq!(bench.refusals().await[0]["reason"], "issuer-disabled");
    // Without keys nobody knows. A server that is away would be 503 if it were asked.
    let replica = bench.server.replica_with(&LOOPBACK).await;
    assert_eq!(get(&replica, "ci", &jwt).await.status, 401);
    bench.issuer.set(Mood::Well);
    bench.server.clock.advance(TimeDelta::hours(12));
    assert_eq!(bench.status(&jwt).await, 401);
    assert_eq!(bench.issuer.fetches(), 1);
    bench
        .patch(&bench.issuer_path, json!({"status": "enabled"}))
        .await;
    assert_eq!(bench.status(&jwt).await, 200);
    assert_eq!(bench.issuer.fetches(), 2);
}

#[rstest]
#[actix_web::test]
async fn keys_come_by_tls_from_an_authority_that_is_named(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let issuer = Issuer::start_tls();
    let ca = issuer.ca.clone().unwrap();
    let mut properties = json!({"url": issuer.url, "kind": "github"});
    let server = Server::start_with(backend, &LOOPBACK).await;
    let bench = Bench::with(server, issuer, properties.clone()).await;
    let answer = bench.get("ci", &bench.right()).await;
    answer.refused("an unknown authority", 503, "UNAVAILABLE", None);
    bench.patch(&bench.issuer_path, json!({ "ca": ca })).await;
    assert_eq!(bench.status(&bench.right()).await, 200);

    // The same by the operator's file, and by the URL of the keys.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, &ca).unwrap();
    let flags = [
        LOOPBACK[0],
        LOOPBACK[1],
        "--ca-file",
        file.to_str().unwrap(),
    ];
    let server = Server::start_with(backend, &flags).await;
    properties["jwksUrl"] = format!("{}/keys", bench.issuer.url).into();
    let bench = Bench::with(server, bench.issuer, properties).await;
    assert_eq!(bench.status(&bench.right()).await, 200);
}

#[rstest]
#[actix_web::test]
async fn wrong_jwts_count_as_wrong_machine_secrets(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let flags = ["--failures-per-identity", "3", LOOPBACK[0], LOOPBACK[1]];
    let issuer = Issuer::start();
    let inline = json!({"url": issuer.url, "kind": "github", "jwks": issuer.jwks()});
    let bench = Bench::with(Server::start_with(backend, &flags).await, issuer, inline).await;
    let (wrong, right) = (bench.jwt(&json!({"aud": "x"})), bench.right());
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(bench.status(&wrong).await);
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    // A right one opens in any case, and no password was tried.
    assert_eq!(bench.status(&right).await, 200);
    let checked = bench.server.service.password_checks();
    bench.status(&wrong).await;
    assert_eq!(bench.server.service.password_checks(), checked);
}

#[rstest]
#[actix_web::test]
async fn a_leaked_password_of_a_workload_ends(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    const SCANNER: &str = "0123456789abcdef0123456789abcdef";
    let flags = ["--secret-scanning-token", SCANNER];
    let issuer = Issuer::start();
    let inline = json!({"url": issuer.url, "kind": "github", "jwks": issuer.jwks()});
    let bench = Bench::with(Server::start_with(backend, &flags).await, issuer, inline).await;
    let (leaked, jwt) = (
        password(&bench.exchange(&bench.right()).await),
        bench.right(),
    );
    let report = json!([{"token": leaked, "type": "t", "url": "https://example.com/x", "source": "content"}]);
    let scanner = bench.server.bearer(SCANNER);
    let answer = scanner.post("/secret-scanning/report", report).await;
    assert!(answer.status < 300, "{answer:?}");
    assert_eq!(bench.status(&leaked).await, 401);
    // The workload itself gets in by its JWT.
    assert_eq!(bench.status(&jwt).await, 200);
    assert_eq!(bench.events("leak").await.len(), 1);
}

#[test]
fn the_set_of_the_harness_is_one() {
    let issuer = Issuer::start();
    issuer.add_key("2", KeyPair::generate("ES256"));
    let set: JwkSet = serde_json::from_value(issuer.jwks()).unwrap();
    assert_eq!(set.keys.len(), 2);
}
