//! The life of a token's secret: replaced by another, with a grace for the one before, and no older than its registry
//! allows.

use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Actor, Answer, Backend, Minted, Server};

const SERVICE: &str = "team-a.localhost";
const PULL: &str = "repository:a:pull";
/// An id that nothing has.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";
const SCANNER: &str = "scanner-of-these-tests-0123456789";

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
        let token = admin.mint(&registry, "ci", &[PULL]).await;
        Self {
            server,
            admin,
            registry,
            token,
        }
    }

    /// The same token with a new secret.
    async fn rotate(&self, grace: &str) -> Minted {
        let answer = rotate(&self.admin, &self.token.path, grace).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Minted {
            secret: secret_of(&answer),
            ..self.token.clone()
        }
    }

    async fn end_previous(&self) {
        let answer = self.admin.delete(&previous(&self.token.path)).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    }

    async fn metadata(&self) -> Value {
        self.admin.get(&self.token.path).await.json["metadata"].clone()
    }

    /// Changes the registry's `maximumSecretAge`.
    async fn allow(&self, age: Value) {
        let path = format!("/registries/{}", self.registry);
        let answer = self
            .admin
            .patch(&path, json!({"maximumSecretAge": age}))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Why the token opens nothing, by its evaluation.
    async fn reason(&self) -> Value {
        let path = format!("{}/evaluate", self.token.path);
        self.admin.post(&path, json!({"scope": PULL})).await.json["reason"].clone()
    }

    fn advance(&self, by: TimeDelta) {
        self.server.clock.advance(by);
    }
}

fn previous(token: &str) -> String {
    format!("{token}/previous-secret")
}

async fn rotate(actor: &Actor, token: &str, grace: &str) -> Answer {
    let body = json!({"gracePeriod": grace});
    actor.post(&format!("{token}/rotate"), body).await
}

fn secret_of(answer: &Answer) -> String {
    answer.json["properties"]["credentials"]["password"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The result of a login.
struct Login {
    jwt: String,
    refresh: String,
    life: i64,
}

async fn log_in(server: &Server, token: &Minted) -> Login {
    let query = [
        ("service", SERVICE),
        ("scope", PULL),
        ("offline_token", "true"),
    ];
    let answer = server.client(token).ask("/token", &query).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = |name: &str| answer.json[name].as_str().unwrap().to_owned();
    Login {
        jwt: text("token"),
        refresh: text("refresh_token"),
        life: answer.json["expires_in"].as_i64().unwrap(),
    }
}

/// The statuses that a secret gets at the token endpoint and from a proxy's question.
async fn opens(server: &Server, token: &Minted) -> (u16, u16) {
    let client = server.client(token);
    let login = client.ask("/token", &[("service", SERVICE)]).await;
    (login.status, check(&client).await)
}

async fn check(client: &Actor) -> u16 {
    let path = format!("/v2/check?service={SERVICE}");
    let request = client
        .request(Method::GET, &path)
        .header("x-original-method", "GET")
        .header("x-original-uri", "/v2/a/tags/list");
    client.send(request).await.status
}

/// The statuses for a login's refresh token at the token endpoint, and for its JWT at `/v2/check`.
async fn lasts(server: &Server, login: &Login) -> (u16, u16) {
    let fields = [
        ("grant_type", "refresh_token"),
        ("service", SERVICE),
        ("client_id", "test"),
        ("refresh_token", login.refresh.as_str()),
    ];
    let refreshed = server.anonymous().form("/token", &fields).await;
    (refreshed.status, check(&server.bearer(&login.jwt)).await)
}

const YES: (u16, u16) = (200, 200);
const NO: (u16, u16) = (401, 401);

async fn told(admin: &Actor, query: &str) -> Vec<Value> {
    let answer = admin.get(&format!("/audit/export?{query}")).await;
    let events = answer.text.lines();
    events
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[rstest]
#[actix_web::test]
async fn the_old_secret_works_until_its_grace_ends(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("", "/containerregistries")] prefix: &str,
) {
    let bench = Bench::new(backend).await;
    let (server, old) = (&bench.server, &bench.token);
    let before = bench.admin.get(&old.path).await.json;
    assert_eq!(
        before["metadata"]["secretCreatedDate"],
        before["metadata"]["createdDate"]
    );
    for absent in ["secretExpiryDate", "previousSecretExpiryDate"] {
        assert_eq!(before["metadata"].get(absent), None);
    }
    bench.advance(TimeDelta::seconds(90));
    let answer = rotate(&bench.admin, &format!("{prefix}{}", old.path), "PT24H").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let new = Minted {
        secret: secret_of(&answer),
        ..old.clone()
    };
    assert!(new.secret.starts_with("whrt_") && new.secret.len() == 44);
    assert_ne!(new.secret, old.secret);
    // All else is as it was, and the secret is shown this once.
    let mut expected = before.clone();
    expected["metadata"]["secretCreatedDate"] = json!("2026-11-21T12:01:30Z");
    expected["metadata"]["previousSecretExpiryDate"] = json!("2026-11-22T12:01:30Z");
    expected["metadata"]["lastModifiedDate"] = json!("2026-11-21T12:01:30Z");
    expected["metadata"]["lastModifiedBy"] = json!("admin");
    expected["metadata"]["lastModifiedByUserId"] = before["metadata"]["createdByUserId"].clone();
    assert_eq!(bench.admin.get(&old.path).await.json, expected);
    let tokens = format!("/registries/{}/tokens", bench.registry);
    assert_eq!(bench.admin.get(&tokens).await.json["items"][0], expected);
    expected["properties"]["credentials"]["password"] = json!(new.secret);
    assert_eq!(answer.json, expected);
    // A change of something else ends nothing and shows no secret.
    let patched = bench
        .admin
        .patch(&old.path, json!({"allowedCidrs": ["0.0.0.0/0", "::/0"]}))
        .await;
    assert_eq!(
        patched.json["metadata"]["previousSecretExpiryDate"],
        "2026-11-22T12:01:30Z"
    );
    assert_eq!(secret_of(&patched), "");

    assert_eq!(
        (opens(server, old).await, opens(server, &new).await),
        (YES, YES)
    );
    // A JWT for the old secret does not outlive that secret.
    bench.advance(TimeDelta::hours(24) - TimeDelta::seconds(120));
    let (of_old, of_new) = (log_in(server, old).await, log_in(server, &new).await);
    assert_eq!((of_old.life, of_new.life), (120, 300));
    bench.advance(TimeDelta::microseconds(119_999_999));
    assert_eq!(lasts(server, &of_old).await, YES);
    let metadata = bench.metadata().await;
    assert_eq!(metadata["previousSecretExpiryDate"], "2026-11-22T12:01:30Z");
    bench.advance(TimeDelta::microseconds(1));
    assert_eq!(
        (opens(server, old).await, opens(server, &new).await),
        (NO, YES)
    );
    assert_eq!(
        (lasts(server, &of_old).await, lasts(server, &of_new).await),
        (NO, YES)
    );
    assert_eq!(bench.metadata().await.get("previousSecretExpiryDate"), None);
}

#[rstest]
#[actix_web::test]
async fn what_was_got_with_a_secret_ends_with_it_on_every_replica(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let replica = bench.server.replica().await;
    let servers = [&bench.server, &replica];
    let old = &bench.token;
    let of_old = log_in(&replica, old).await;
    let new = bench.rotate("PT24H").await;
    let of_new = log_in(&replica, &new).await;
    for server in servers {
        assert_eq!(
            (opens(server, old).await, opens(server, &new).await),
            (YES, YES)
        );
        assert_eq!(
            (lasts(server, &of_old).await, lasts(server, &of_new).await),
            (YES, YES)
        );
    }
    // Ended early, the second time without a trace.
    bench.advance(TimeDelta::seconds(10));
    bench.end_previous().await;
    let shown = bench.admin.get(&old.path).await.json;
    assert_eq!(
        shown["metadata"]["lastModifiedDate"],
        "2026-11-21T12:00:10Z"
    );
    assert_eq!(shown["metadata"].get("previousSecretExpiryDate"), None);
    for server in servers {
        assert_eq!(
            (opens(server, old).await, opens(server, &new).await),
            (NO, YES)
        );
        assert_eq!(
            (lasts(server, &of_old).await, lasts(server, &of_new).await),
            (NO, YES)
        );
    }
    bench.advance(TimeDelta::seconds(10));
    bench.end_previous().await;
    let metadata = bench.metadata().await;
    assert_eq!(metadata["lastModifiedDate"], "2026-11-21T12:00:10Z");
    // One whose grace is over is none any more.
    bench.rotate("PT1S").await;
    bench.advance(TimeDelta::seconds(1));
    bench.end_previous().await;
    let metadata = bench.metadata().await;
    assert_eq!(metadata["lastModifiedDate"], "2026-11-21T12:00:20Z");
    let id = old.path.rsplit('/').next().unwrap();
    for (kind, times) in [("rotate", 2), ("update", 1)] {
        let query = format!("subject={id}&kind={kind}");
        assert_eq!(told(&bench.admin, &query).await.len(), times, "{kind}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_second_rotation_ends_the_older_secret_and_no_grace_ends_it_at_once(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let replica = bench.server.replica().await;
    let first = bench.token.clone();
    let of_first = log_in(&replica, &first).await;
    let second = bench.rotate("P30D").await;
    let of_second = log_in(&replica, &second).await;
    let third = bench.rotate("PT1H").await;
    for server in [&replica, &bench.server] {
        let found = (
            opens(server, &first).await,
            opens(server, &second).await,
            opens(server, &third).await,
        );
        assert_eq!(found, (NO, YES, YES));
        assert_eq!(
            (
                lasts(server, &of_first).await,
                lasts(server, &of_second).await
            ),
            (NO, YES)
        );
    }
    let metadata = bench.metadata().await;
    assert_eq!(metadata["previousSecretExpiryDate"], "2026-11-21T13:00:00Z");
    let fourth = bench.rotate("PT0S").await;
    for server in [&replica, &bench.server] {
        for dead in [&first, &second, &third] {
            assert_eq!(opens(server, dead).await, NO);
        }
        assert_eq!(opens(server, &fourth).await, YES);
        assert_eq!(lasts(server, &of_second).await, NO);
    }
    assert_eq!(bench.metadata().await.get("previousSecretExpiryDate"), None);
    // The one before stays known, and has ended.
    let known = "SELECT COUNT(*) || '' AS line FROM tokens WHERE previous_digest IS NOT NULL AND previous_until = secret_at";
    assert_eq!(bench.server.database.lines(known), ["1"]);
}

#[rstest]
#[actix_web::test]
async fn rotations_side_by_side_leave_two_secrets(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let replica = bench.server.replica().await;
    let rotations = (0..8).map(|number| {
        let server = [&bench.server, &replica][number % 2];
        let (admin, path) = (server.admin(), bench.token.path.clone());
        actix_web::rt::spawn(async move { rotate(&admin, &path, "PT1H").await })
    });
    let mut secrets = vec![bench.token.secret.clone()];
    for rotation in rotations.collect::<Vec<_>>() {
        let answer = rotation.await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        secrets.push(secret_of(&answer));
    }
    let mut working = 0;
    for secret in secrets {
        let token = Minted {
            secret,
            ..bench.token.clone()
        };
        working += usize::from(opens(&replica, &token).await == YES);
    }
    assert_eq!(working, 2);
}

#[rstest]
#[actix_web::test]
async fn a_grace_has_to_be_named_and_is_no_longer_than_thirty_days(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let path = format!("{}/rotate", bench.token.path);
    let before = bench.admin.get(&bench.token.path).await.json;
    for body in [
        json!({}),
        json!({"gracePeriod": null}),
        json!({"gracePeriod": 0}),
        json!({"gracePeriod": ""}),
        json!({"gracePeriod": "24h"}),
        json!({"gracePeriod": "-PT1S"}),
        json!({"gracePeriod": "P1M"}),
        json!({"gracePeriod": "P30DT1S"}),
        json!({"gracePeriod": "P5W"}),
        json!({"gracePeriod": "P99999999999999999999D"}),
    ] {
        let answer = bench.admin.post(&path, body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert_eq!(answer.codes(), ["invalid-grace-period"], "{body}");
        assert!(answer.message().contains("gracePeriod"), "{answer:?}");
    }
    let unknown = json!({"gracePeriod": "PT1H", "grace": "PT1H"});
    assert_eq!(bench.admin.post(&path, unknown).await.status, 400);
    let request = bench.admin.request(Method::POST, &path);
    assert_eq!(bench.admin.send(request).await.status, 400);
    assert_eq!(bench.admin.get(&bench.token.path).await.json, before);
    assert_eq!(opens(&bench.server, &bench.token).await, YES);
    for right in ["P30D", "PT720H", "P4W", "PT0S", "P0D"] {
        assert_eq!(
            rotate(&bench.admin, &bench.token.path, right).await.status,
            200
        );
    }
}

#[rstest]
#[actix_web::test]
async fn who_may_write_tokens_may_rotate_them_and_nobody_else(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (admin, path) = (&bench.admin, &bench.token.path);
    let other = admin.create_registry("team-b").await;
    let id = path.rsplit('/').next().unwrap();
    for (what, wrong) in [
        (
            "token",
            format!("/registries/{}/tokens/{NOBODY}", bench.registry),
        ),
        ("token", format!("/registries/{other}/tokens/{id}")),
        ("registry", format!("/registries/{NOBODY}/tokens/{id}")),
    ] {
        let code = format!("{what}-not-found");
        for answer in [
            rotate(admin, &wrong, "PT0S").await,
            admin.delete(&previous(&wrong)).await,
        ] {
            assert_eq!((answer.status, answer.codes()), (404, vec![code.as_str()]));
        }
    }
    for (level, status, ended) in [
        ("reader", 403, 403),
        ("maintainer", 200, 204),
        ("owner", 200, 204),
    ] {
        let name = format!("{level}@example.com");
        let account = admin.create_account(&name, &[]).await;
        let member = bench.server.actor(&name, "right-password");
        // Not seen before it is a member.
        let unseen = [
            rotate(&member, path, "PT1H").await.status,
            member.delete(&previous(path)).await.status,
        ];
        assert_eq!(unseen, [404, 404], "{level}");
        admin.set_member(&bench.registry, &account, level).await;
        let seen = [
            rotate(&member, path, "PT1H").await.status,
            member.delete(&previous(path)).await.status,
        ];
        assert_eq!(seen, [status, ended], "{level}");
    }
    let analyst = bench.server.analyst();
    assert_eq!(rotate(&analyst, path, "PT1H").await.status, 403);
    // The token itself opens no API.
    let own = bench.server.client(&bench.token);
    assert_eq!(rotate(&own, path, "PT1H").await.status, 401);
}

#[rstest]
#[actix_web::test]
async fn a_disabled_or_expired_token_gets_a_new_secret_and_stays_what_it_is(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let disabled = json!({"status": "disabled"});
    assert_eq!(
        bench.admin.patch(&bench.token.path, disabled).await.status,
        200
    );
    let new = bench.rotate("PT1H").await;
    assert_eq!(bench.metadata().await["state"], "disabled");
    assert_eq!(
        (
            opens(&bench.server, &bench.token).await,
            opens(&bench.server, &new).await
        ),
        (NO, NO)
    );
    let enabled = json!({"status": "enabled", "expiryDate": "2026-11-21T12:10:00Z"});
    assert_eq!(
        bench.admin.patch(&bench.token.path, enabled).await.status,
        200
    );
    assert_eq!(
        (
            opens(&bench.server, &bench.token).await,
            opens(&bench.server, &new).await
        ),
        (YES, YES)
    );
    bench.advance(TimeDelta::minutes(10));
    let newer = bench.rotate("PT1H").await;
    assert_eq!(bench.metadata().await["state"], "expired");
    assert_eq!(
        (
            opens(&bench.server, &new).await,
            opens(&bench.server, &newer).await
        ),
        (NO, NO)
    );
}

#[rstest]
#[actix_web::test]
async fn with_bounded_delegation_no_secret_is_made_that_outlives_who_makes_it(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::with(Server::start_with(backend, &["--bounded-delegation"]).await).await;
    let wish = json!({"name": "t", "role": "Admin", "expiration": "2026-12-01T00:00:00Z"});
    let made = bench.admin.post("/v1/apitokens/generate", wish).await;
    let bearer = bench.server.bearer(made.json["token"].as_str().unwrap());
    let answer = rotate(&bearer, &bench.token.path, "PT1H").await;
    assert_eq!(
        (answer.status, answer.codes()),
        (400, vec!["invalid-expiry-date"])
    );
    let end = json!({"expiryDate": "2026-12-01T00:00:00Z"});
    assert_eq!(bench.admin.patch(&bench.token.path, end).await.status, 200);
    assert_eq!(rotate(&bearer, &bench.token.path, "PT1H").await.status, 200);
}

#[rstest]
#[actix_web::test]
async fn the_audit_trail_tells_of_it_without_the_secrets(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let new = bench.rotate("PT24H").await;
    bench.end_previous().await;
    let id = bench.token.path.rsplit('/').next().unwrap();
    let events = told(&bench.admin, &format!("subject={id}")).await;
    let [_, rotated, ended] = &events[..] else {
        panic!("{events:?}");
    };
    for (event, kind, before, after) in [
        (
            rotated,
            "rotate",
            json!(null),
            json!("2026-11-22T12:00:00Z"),
        ),
        (
            ended,
            "update",
            json!("2026-11-22T12:00:00Z"),
            json!("2026-11-21T12:00:00Z"),
        ),
    ] {
        assert_eq!(
            [
                &event["kind"],
                &event["subjectKind"],
                &event["registry"],
                &event["actorName"]
            ],
            [kind, "token", &bench.registry, "admin"]
        );
        let ends = |side: &str| event["detail"][side]["previousSecretEnds"].clone();
        assert_eq!((ends("before"), ends("after")), (before, after));
    }
    let versions: Vec<_> = events[1..]
        .iter()
        .map(|event| event["detail"]["after"]["version"].as_i64().unwrap())
        .collect();
    assert_eq!(versions, [2, 3]);
    for secret in [&bench.token.secret, &new.secret] {
        assert!(!json!(events).to_string().contains(secret.as_str()));
    }
}

#[rstest]
#[actix_web::test]
async fn a_leak_of_the_old_secret_ends_that_and_not_the_token(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("disable", "report")] leaked: &str,
) {
    let flags = [
        "--secret-scanning-token",
        SCANNER,
        "--leaked-tokens",
        leaked,
    ];
    let bench = Bench::with(Server::start_with(backend, &flags).await).await;
    let report = async |leak: &str| {
        let scanner = bench.server.bearer(SCANNER);
        let answer = scanner
            .post("/secret-scanning/report", json!([{"token": leak}]))
            .await;
        assert_eq!(answer.status, 202, "{answer:?}");
        told(&bench.admin, "kind=leak").await
    };
    let ends = leaked == "disable";
    let gone = if ends { NO } else { YES };
    // By the secret itself, and by the tokens that a login with the secret got.
    let mut leaks = 0;
    for by_refresh_token in [false, true] {
        let old = bench.rotate("PT0S").await;
        let refresh = log_in(&bench.server, &old).await.refresh;
        let new = bench.rotate("PT1H").await;
        let events = report(if by_refresh_token {
            &refresh
        } else {
            &old.secret
        })
        .await;
        leaks += 1;
        assert_eq!(events.len(), leaks);
        let detail = &events[leaks - 1]["detail"];
        assert_eq!(detail["after"]["status"], "enabled");
        assert_eq!(detail["before"] != detail["after"], ends);
        assert_eq!(
            (
                opens(&bench.server, &old).await,
                opens(&bench.server, &new).await
            ),
            (gone, YES)
        );
        let metadata = bench.metadata().await;
        assert_eq!(metadata.get("previousSecretExpiryDate").is_none(), ends);
        assert_eq!(metadata["lastModifiedBy"] == "secret scanner", ends);
    }
    // A secret after its grace is reported and changes nothing; a replaced secret is not known any more.
    let forgotten = bench.rotate("PT0S").await;
    let old = bench.rotate("PT1H").await;
    let new = bench.rotate("PT1H").await;
    bench.advance(TimeDelta::hours(1));
    let events = report(&old.secret).await;
    assert_eq!(events.len(), leaks + 1);
    let detail = &events[leaks]["detail"];
    assert_eq!(detail["before"], detail["after"]);
    assert_eq!(report(&forgotten.secret).await.len(), leaks + 1);
    assert_eq!(opens(&bench.server, &new).await, YES);
    // So is a secret that was replaced without a grace.
    let last = bench.rotate("PT0S").await;
    let events = report(&new.secret).await;
    assert_eq!(events.len(), leaks + 2);
    assert_eq!(
        events[leaks + 1]["detail"]["before"],
        events[leaks + 1]["detail"]["after"]
    );
    assert_eq!(opens(&bench.server, &last).await, YES);
    // The new secret is the token's.
    report(&last.secret).await;
    assert_eq!(opens(&bench.server, &last).await, gone);
}

#[rstest]
#[actix_web::test]
async fn a_secret_that_is_too_old_for_its_registry_opens_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (server, first) = (&bench.server, &bench.token);
    bench.allow(json!("PT36H")).await;
    let metadata = bench.metadata().await;
    assert_eq!(metadata["secretExpiryDate"], "2026-11-23T00:00:00Z");
    // A JWT for the secret does not outlive the secret.
    bench.advance(TimeDelta::hours(36) - TimeDelta::seconds(100));
    let login = log_in(server, first).await;
    assert_eq!(login.life, 100);
    bench.advance(TimeDelta::microseconds(99_999_999));
    assert_eq!(
        (opens(server, first).await, lasts(server, &login).await),
        (YES, YES)
    );
    assert_eq!(bench.reason().await, Value::Null);
    bench.advance(TimeDelta::microseconds(1));
    let replica = server.replica().await;
    for server in [server, &replica] {
        assert_eq!(
            (opens(server, first).await, lasts(server, &login).await),
            (NO, NO)
        );
    }
    assert_eq!(
        bench.reason().await,
        "the token's secret reached the registry's maximumSecretAge, P1DT12H, at 2026-11-23T00:00:00Z; rotate it"
    );
    // The token is unchanged; its secret is not.
    let metadata = bench.metadata().await;
    assert_eq!(
        (&metadata["state"], &metadata["secretExpiryDate"]),
        (&json!("enabled"), &json!("2026-11-23T00:00:00Z"))
    );

    // A longer age brings it back, none too, a shorter one ends it.
    for (age, expected, end) in [
        (json!("P2D"), YES, json!("2026-11-23T12:00:00Z")),
        (json!("PT1H"), NO, json!("2026-11-21T13:00:00Z")),
        (Value::Null, YES, Value::Null),
        (json!("P1D"), NO, json!("2026-11-22T12:00:00Z")),
    ] {
        bench.allow(age.clone()).await;
        assert_eq!(opens(server, first).await, expected, "{age}");
        assert_eq!(bench.metadata().await["secretExpiryDate"], end, "{age}");
    }
    // So does a new secret; the grace brings no old one back.
    let second = bench.rotate("PT24H").await;
    assert_eq!(
        (opens(server, first).await, opens(server, &second).await),
        (NO, YES)
    );
    let metadata = bench.metadata().await;
    assert_eq!(metadata.get("previousSecretExpiryDate"), None);
    assert_eq!(metadata["secretExpiryDate"], "2026-11-24T00:00:00Z");
    assert_eq!(bench.reason().await, Value::Null);
}

#[rstest]
#[actix_web::test]
async fn an_old_secret_ends_by_its_grace_or_by_its_age(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (server, old) = (&bench.server, &bench.token);
    bench.advance(TimeDelta::hours(10));
    let new = bench.rotate("PT24H").await;
    let ends = async || bench.metadata().await["previousSecretExpiryDate"].clone();
    assert_eq!(ends().await, "2026-11-22T22:00:00Z");
    for (age, end) in [
        (json!("PT40H"), json!("2026-11-22T22:00:00Z")),
        (json!("PT20H"), json!("2026-11-22T08:00:00Z")),
        (json!("PT5H"), Value::Null),
        (Value::Null, json!("2026-11-22T22:00:00Z")),
        (json!("PT11H"), json!("2026-11-21T23:00:00Z")),
    ] {
        bench.allow(age.clone()).await;
        assert_eq!(ends().await, end, "{age}");
        let expected = if end.is_null() { NO } else { YES };
        assert_eq!(opens(server, old).await, expected, "{age}");
    }
    bench.advance(TimeDelta::hours(1));
    assert_eq!(
        (opens(server, old).await, opens(server, &new).await),
        (NO, YES)
    );
    // Ended while it was too old, it is not brought back either.
    bench.end_previous().await;
    bench.allow(Value::Null).await;
    assert_eq!(
        (opens(server, old).await, opens(server, &new).await),
        (NO, YES)
    );
}

#[rstest]
#[actix_web::test]
async fn a_registry_may_say_how_old_a_secret_becomes(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let properties = json!({"name": "team-a", "location": "de/fra", "maximumSecretAge": "P4W"});
    let made = admin
        .post("/registries", json!({"properties": properties}))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.json["properties"]["maximumSecretAge"], "P28D");
    let path = format!("/registries/{}", made.json["id"].as_str().unwrap());
    let shown = async || {
        admin.get(&path).await.json["properties"]
            .get("maximumSecretAge")
            .cloned()
    };
    assert_eq!(shown().await, Some(json!("P28D")));
    // A PATCH keeps members that it does not name; null removes a member.
    for (body, expected) in [
        (json!({"apiSubnetAllowList": []}), Some(json!("P28D"))),
        (json!({"maximumSecretAge": "PT720H"}), Some(json!("P30D"))),
        (json!({"maximumSecretAge": null}), None),
        (json!({"maximumSecretAge": "P1D"}), Some(json!("P1D"))),
    ] {
        assert_eq!(admin.patch(&path, body.clone()).await.status, 200, "{body}");
        assert_eq!(shown().await, expected, "{body}");
    }
    // A PUT that does not name it leaves it: clients that have never heard of it must not lift it.
    let read = admin.get(&path).await.json;
    assert_eq!(admin.put(&path, read).await.status, 200);
    assert_eq!(shown().await, Some(json!("P1D")));
    for (age, expected) in [
        (Some(json!("P90D")), Some(json!("P90D"))),
        (None, Some(json!("P90D"))),
        (Some(json!(null)), None),
    ] {
        let mut properties = json!({"name": "team-a", "location": "de/fra"});
        if let Some(age) = age {
            properties["maximumSecretAge"] = age;
        }
        assert_eq!(
            admin
                .put(&path, json!({"properties": properties}))
                .await
                .status,
            200
        );
        assert_eq!(shown().await, expected);
    }
    for wrong in ["", "90 days", "P3M", "PT0S", "PT59M", "P36501D"] {
        let answer = admin.patch(&path, json!({"maximumSecretAge": wrong})).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (400, vec!["invalid-maximum-secret-age"]),
            "{wrong}"
        );
    }
    let events = told(&admin, "kind=update&outcome=success").await;
    let ages: Vec<_> = events
        .iter()
        .map(|event| event["detail"]["after"]["maximumSecretAge"].clone())
        .collect();
    assert_eq!(json!(ages), json!(["P30D", null, "P1D", "P90D", null]));
}

#[rstest]
#[actix_web::test]
async fn a_rotation_can_be_bound_to_a_state_and_the_end_of_a_grace_is_another(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (admin, path) = (&bench.admin, &bench.token.path);
    let send = async |method: Method, path: String, tag: &str| {
        let request = admin.request(method, &path).header("if-match", tag);
        admin
            .send(request.json(&json!({"gracePeriod": "PT1H"})))
            .await
    };
    let first = admin.get(path).await.header("etag").to_owned();
    let rotated = send(Method::POST, format!("{path}/rotate"), &first).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let second = rotated.header("etag").to_owned();
    assert_ne!(second, first);
    assert_eq!(admin.get(path).await.header("etag"), second);
    // A client that lost the answer and retries does not rotate twice and loses no secret.
    let again = send(Method::POST, format!("{path}/rotate"), &first).await;
    assert_eq!(again.status, 412, "{again:?}");
    let ended = send(Method::DELETE, previous(path), &first).await;
    assert_eq!(ended.status, 412, "{ended:?}");
    assert_eq!(opens(&bench.server, &bench.token).await, (200, 200));
    assert_eq!(admin.get(path).await.header("etag"), second);

    bench.advance(TimeDelta::hours(1));
    let third = admin.get(path).await.header("etag").to_owned();
    assert!(third != first && third != second, "{third}");
    let late = send(Method::DELETE, previous(path), &second).await;
    assert_eq!(late.status, 412, "{late:?}");
}

#[rstest]
#[actix_web::test]
async fn a_rotation_that_comes_again_gives_the_same_secret(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let replica = bench.server.replica().await;
    let path = format!("{}/rotate", bench.token.path);
    let send = async |actor: &Actor, grace: &str| {
        let request = actor
            .request(Method::POST, &path)
            .header("idempotency-key", "a-rotation");
        actor
            .send(request.json(&json!({"gracePeriod": grace})))
            .await
    };
    let first = send(&bench.admin, "PT1H").await;
    assert_eq!(first.status, 200, "{first:?}");
    let again = send(&replica.admin(), "PT1H").await;
    assert_eq!((again.status, &again.text), (200, &first.text));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.header("etag"), first.header("etag"));
    // Both secrets work still: it was one rotation.
    let new = Minted {
        secret: secret_of(&first),
        ..bench.token.clone()
    };
    assert_eq!(opens(&bench.server, &bench.token).await, (200, 200));
    assert_eq!(opens(&bench.server, &new).await, (200, 200));
    let other = send(&bench.admin, "PT2H").await;
    assert_eq!(other.status, 422, "{other:?}");
    // After a change of the token, that secret is not shown any more.
    bench.rotate("PT1H").await;
    let late = send(&bench.admin, "PT1H").await;
    assert_eq!(late.codes(), ["answer-outdated"], "{late:?}");
}
