//! API tokens on all surfaces: their rights, their ends, and texts that are no API tokens.

use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use rstest::rstest;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use wharfinger::clock::{Clock as _, SystemRandom};
use wharfinger::domain::account::NewPassword;
use wharfinger::domain::status::Status;
use wharfinger::service::account_rules::{IssuedTokens, LiveTokens};
use wharfinger::service::data_keys::{API_JWT, DataKeys, ServerKey};
use wharfinger::service::janitor::Round;
use wharfinger::store::{self, Store, Target};

use crate::harness::{ADMIN_PASSWORD, Actor, Backend, Server, WITHOUT_BACKGROUND};

/// Makes a token and returns it with its id.
async fn generate(actor: &Actor, body: Value) -> (String, String) {
    let answer = actor.post("/v1/apitokens/generate", body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (
        text(&answer.json["token"]),
        text(&answer.json["metadata"]["id"]),
    )
}

async fn revoke(actor: &Actor, id: &str) {
    let answer = actor
        .patch(&format!("/v1/apitokens/revoke/{id}"), json!({}))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The statuses of the registries API and StackRox's.
async fn statuses(actor: &Actor) -> (u16, u16) {
    (
        actor.get("/locations").await.status,
        actor.get("/v1/auth/status").await.status,
    )
}

#[rstest]
#[actix_web::test]
async fn a_token_opens_the_registries_within_its_roles_until_it_is_revoked(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let replica = server.replica().await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let wish = |role: &str| json!({"name": "t", "role": role});

    let (all, all_id) = generate(&admin, wish("Admin")).await;
    let all = server.bearer(&all);
    let made = all
        .post(&tokens, json!({"properties": {"name": "ci"}}))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    // It acts as the account that made it.
    assert_eq!(made.json["metadata"]["createdBy"], "admin", "{made:?}");

    let (reads, _) = generate(&admin, wish("Analyst")).await;
    let reads = server.bearer(&reads);
    assert_eq!(reads.get(&tokens).await.status, 200);
    let refused = reads
        .post(&tokens, json!({"properties": {"name": "other"}}))
        .await;
    assert_eq!((refused.status, refused.codes()), (403, vec!["forbidden"]));

    let (sensor, _) = generate(&admin, wish("Sensor Creator")).await;
    let sensor = server.bearer(&sensor);
    assert_eq!(
        sensor
            .post(
                "/registries",
                json!({"properties": {"name": "team-b", "location": "de/fra"}})
            )
            .await
            .status,
        403
    );

    let on_replica = async |token: &str| replica.bearer(token).get("/locations").await.status;
    let (again, again_id) = generate(&admin, wish("Admin")).await;
    assert_eq!(on_replica(&again).await, 200);
    revoke(&admin, &again_id).await;
    assert_eq!(on_replica(&again).await, 401);
    assert_eq!(statuses(&server.bearer(&again)).await, (401, 401));

    assert_eq!(statuses(&all).await, (200, 200));
    // It may revoke itself, as its last call.
    revoke(&all, &all_id).await;
    assert_eq!(statuses(&all).await, (401, 401));
    let answer = all.get("/locations").await;
    let challenges: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(
        challenges,
        [
            r#"Basic realm="wharfinger", charset="UTF-8""#,
            r#"Bearer realm="wharfinger""#
        ]
    );
    // A refused client does not learn of further errors.
    for path in ["/registries/no-id/tokens", "/registries?limit=x"] {
        assert_eq!(all.get(path).await.status, 401, "{path}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_token_is_what_its_creator_and_its_roles_are_now(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    server.add_account("bob", "some-password", "Admin").await;
    let bob = server.actor("bob", "some-password");
    let (token, _) = generate(&bob, json!({"name": "t", "role": "Admin"})).await;
    let bearer = server.bearer(&token);
    let registry = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    let accounts = server.service.account_commands();

    // The creator may less now.
    let set_role = |role: &str| {
        server.database.execute(&format!(
            "UPDATE account_roles SET role_key = (SELECT key FROM roles WHERE name = '{role}') \
             WHERE account_key = (SELECT key FROM accounts WHERE name = 'bob')"
        ));
    };
    set_role("Analyst");
    assert_eq!(statuses(&bearer).await, (200, 200));
    assert_eq!(
        bearer.post("/registries", registry.clone()).await.status,
        403
    );
    let refused = bearer
        .post(
            "/v1/apitokens/generate",
            json!({"name": "u", "role": "Admin"}),
        )
        .await;
    assert_eq!(refused.status, 403);
    set_role("Admin");

    // A role may less now.
    server.database.execute(
        "INSERT INTO roles (name, description, built_in) VALUES ('Changing', '', 0); \
         INSERT INTO role_permissions SELECT key, 'Registry', 2 FROM roles WHERE name = 'Changing'",
    );
    let (changing, _) = generate(&bob, json!({"name": "c", "roles": ["Changing", "None"]})).await;
    let changing = server.bearer(&changing);
    assert_eq!(
        changing.post("/registries", registry.clone()).await.status,
        201
    );
    server
        .database
        .execute("UPDATE role_permissions SET level = 1 WHERE role_key = (SELECT key FROM roles WHERE name = 'Changing')");
    assert_eq!(changing.post("/registries", registry).await.status, 403);
    assert_eq!(changing.get("/registries").await.status, 200);

    // A new password changes nothing for a token; disabling, enabling and deleting its creator do.
    let password = NewPassword::parse("other-password".to_owned().into()).unwrap();
    accounts
        .set_password("bob".to_owned(), &password, IssuedTokens::Keep)
        .await
        .unwrap();
    assert_eq!(statuses(&bearer).await, (200, 200));
    accounts
        .set_status("bob".to_owned(), Status::Disabled)
        .await
        .unwrap();
    assert_eq!(statuses(&bearer).await, (401, 401));
    accounts
        .set_status("bob".to_owned(), Status::Enabled)
        .await
        .unwrap();
    assert_eq!(statuses(&bearer).await, (200, 200));
    accounts
        .delete("bob".to_owned(), LiveTokens::Revoke)
        .await
        .unwrap();
    assert_eq!(statuses(&bearer).await, (401, 401));
    // Nor would it open anything if nobody had revoked it.
    server
        .database
        .execute("UPDATE api_tokens SET revoked_at = NULL");
    assert_eq!(statuses(&bearer).await, (401, 401));
    // Nor does a later account of the same name.
    server.add_account("bob", "some-password", "Admin").await;
    assert_eq!(statuses(&bearer).await, (401, 401));
}

#[rstest]
#[actix_web::test]
async fn a_token_ends_with_its_last_second(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let wish = json!({"name": "t", "role": "Admin", "expiration": "2026-11-21T12:01:00Z"});
    let (token, _) = generate(&server.admin(), wish).await;
    let bearer = server.bearer(&token);
    server
        .clock
        .advance(TimeDelta::seconds(60) - TimeDelta::microseconds(1));
    assert_eq!(statuses(&bearer).await, (200, 200));
    server.clock.advance(TimeDelta::microseconds(1));
    assert_eq!(statuses(&bearer).await, (401, 401));
}

#[rstest]
#[actix_web::test]
async fn what_a_token_makes_ends_with_it_if_that_is_set(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values(false, true)] bounded: bool,
) {
    let flags: &[&str] = if bounded {
        &["--bounded-delegation"]
    } else {
        &[]
    };
    let server = Server::start_with(backend, flags).await;
    let end = "2026-12-01T00:00:00Z";
    let wish = json!({"name": "t", "role": "Admin", "expiration": end});
    let (token, id) = generate(&server.admin(), wish).await;
    let bearer = server.bearer(&token);
    let ask = async |body: Value| bearer.post("/v1/apitokens/generate", body).await;
    let later = json!({"name": "u", "role": "Admin", "expiration": "2026-12-01T00:00:01Z"});
    let (default, later) = (
        ask(json!({"name": "u", "role": "Admin"})).await,
        ask(later).await,
    );
    if bounded {
        assert_eq!(default.json["metadata"]["expiration"], end);
        assert_eq!(
            (later.status, &later.json["code"]),
            (400, &json!(3)),
            "{later:?}"
        );
    } else {
        assert_eq!(
            default.json["metadata"]["expiration"],
            "2027-11-21T12:00:00Z"
        );
        assert_eq!(later.status, 200);
    }
    // Revoking a token does not end the tokens that it made.
    revoke(&server.admin(), &id).await;
    let made = server.bearer(default.json["token"].as_str().unwrap());
    assert_eq!(statuses(&made).await, (200, 200));
}

#[rstest]
#[actix_web::test]
async fn what_accounts_are_given_with_a_bounded_token_is_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &["--bounded-delegation"]).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let (ann, bob) = (
        admin.create_account("ann", &[]).await,
        admin.create_account("bob", &["Analyst"]).await,
    );
    admin.set_member(&registry, &bob, "reader").await;
    let (ann, member) = (
        format!("/accounts/{ann}"),
        format!("/registries/{registry}/members/{bob}"),
    );
    let disabled = admin.patch(&ann, json!({"status": "disabled"})).await;
    assert_eq!(disabled.status, 200);
    let (token, _) = generate(&admin, json!({"name": "t", "role": "Admin"})).await;
    let bearer = server.bearer(&token);
    for given in [
        json!({"roles": ["Analyst"]}),
        json!({"status": "enabled"}),
        json!({"password": "another-password"}),
    ] {
        let refused = bearer.patch(&ann, given.clone()).await;
        assert_eq!(refused.status, 403, "{given}: {refused:?}");
        assert_eq!(admin.patch(&ann, given).await.status, 200);
    }
    assert_eq!(
        bearer.put(&member, json!({"level": "owner"})).await.status,
        403
    );
    // Less than before outlives nothing, and nor does an end.
    admin.set_member(&registry, &bob, "owner").await;
    let lowered = bearer.put(&member, json!({"level": "reader"})).await;
    assert_eq!(lowered.status, 200, "{lowered:?}");
    let fewer = bearer.patch(&ann, json!({"roles": []})).await;
    assert_eq!(fewer.status, 200, "{fewer:?}");
    assert_eq!(bearer.delete(&member).await.status, 204);
    assert_eq!(
        bearer
            .patch(&ann, json!({"status": "disabled"}))
            .await
            .status,
        200
    );
}

#[rstest]
#[actix_web::test]
async fn a_request_with_a_token_asks_the_store_once(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &[WITHOUT_BACKGROUND]).await;
    let (token, id) = generate(&server.admin(), json!({"name": "t", "role": "Admin"})).await;
    let bearer = server.bearer(&token);
    let registry = bearer.create_registry("team-a").await;
    let show = format!("/v1/apitokens/{id}");
    let tokens = format!("/registries/{registry}/tokens");
    for (method, path, body) in [
        (Method::GET, "/locations", None),
        (Method::GET, "/registries", None),
        (Method::GET, &tokens, None),
        (
            Method::POST,
            &tokens,
            Some(json!({"properties": {"name": "ci"}})),
        ),
        (Method::GET, "/v1/apitokens", None),
        (Method::GET, &show, None),
        (Method::GET, "/v1/apitokens/generate/allowed-roles", None),
        (
            Method::POST,
            "/v1/apitokens/generate",
            Some(json!({"name": "u", "role": "Admin"})),
        ),
        (Method::GET, "/v1/auth/status", None),
        (Method::PATCH, &format!("/v1/apitokens/revoke/{id}"), None),
        // Revoked by now; of another token's name for its key nobody asks twice.
        (Method::GET, "/locations", None),
    ] {
        let calls = server.service.store_calls();
        let request = bearer.request(method.clone(), path);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = bearer.send(request).await;
        let counted = server.service.store_calls() - calls;
        assert_eq!(counted, 1, "{method} {path}: {answer:?}");
    }
    assert_eq!(server.service.password_checks(), 1);
    // A text without a token's form costs no store call.
    let calls = server.service.store_calls();
    assert_eq!(statuses(&server.bearer("nonsense")).await, (401, 401));
    assert_eq!(server.service.store_calls(), calls);
}

#[rstest]
#[actix_web::test]
async fn replicas_agree_on_one_key(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let server = Server::start(backend).await;
    let replica = server.replica().await;
    assert_eq!(
        key_count(&server),
        0,
        "a key was made that nobody needs yet"
    );
    let (here, there) = (server.admin(), replica.admin());
    let wish = || json!({"name": "t", "role": "Admin"});
    let (one, two, three) = tokio::join!(
        generate(&here, wish()),
        generate(&there, wish()),
        generate(&here, wish())
    );
    assert_eq!(key_count(&server), 1);
    for (token, _) in [&one, &two, &three] {
        assert_eq!(statuses(&server.bearer(token)).await, (200, 200));
        assert_eq!(statuses(&replica.bearer(token)).await, (200, 200));
    }
    // Nor does a replica make one that starts later, and finds it without having made a token.
    let late = server.replica().await;
    assert_eq!(statuses(&late.bearer(&one.0)).await, (200, 200));
    assert_eq!(key_count(&server), 1);
}

fn key_count(server: &Server) -> i64 {
    server
        .database
        .number("SELECT COUNT(*) FROM data_keys WHERE purpose = 'api-jwt'")
}

/// The service's own key, taken out of the database with the server key of the tests: PKCS #8.
async fn steal_key(server: &Server) -> Vec<u8> {
    let store = Store::open(&store::Settings {
        target: Target::parse(&server.database.url).unwrap(),
        readers: 1,
        queue: 1,
        read_fence: None,
    })
    .unwrap();
    let key = ServerKey::parse(&SecretString::from("A".repeat(43) + "=")).unwrap();
    let vault = DataKeys::open(&store, &key, &*server.clock, &SystemRandom)
        .await
        .unwrap();
    let opened = store
        .read(move |connection| vault.open_data_keys(connection, API_JWT))
        .await
        .unwrap();
    store.close();
    opened[0].1.expose_secret().clone()
}

fn pem(label: &str, bytes: &[u8]) -> Vec<u8> {
    pem::encode(&pem::Pem::new(label, bytes)).into_bytes()
}

/// A key of 2 048 bits for signing. PKCS #8 puts 26 bytes before the key.
fn signing_key(pkcs8: &[u8]) -> EncodingKey {
    EncodingKey::from_rsa_der(&pkcs8[26..])
}

fn sign(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    jsonwebtoken::encode(header, claims, key).unwrap()
}

/// Forged JWTs, each with its fault.
type Forged = Vec<(&'static str, String)>;

struct Forge {
    server: Server,
    admin: Actor,
    /// A good token, and one that is made here.
    token: String,
    same: String,
    right: Header,
    claims: Value,
    /// The service's own key, and one that it does not know.
    public: Vec<u8>,
    private: EncodingKey,
    foreign: EncodingKey,
}

impl Forge {
    async fn new(backend: Backend) -> Self {
        let server = Server::start(backend).await;
        let admin = server.admin();
        let (token, id) = generate(&admin, json!({"name": "t", "role": "Admin"})).await;
        let stolen = steal_key(&server).await;
        let pair = RsaKeyPair::from_pkcs8(&stolen).unwrap();
        let private = signing_key(&stolen);
        let foreign = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let right = Header {
            kid: jsonwebtoken::decode_header(&token).unwrap().kid,
            ..Header::new(Algorithm::RS256)
        };
        let now = server.clock.now().timestamp();
        let claims = json!({
            "iss": "https://stackrox.io/jwt", "aud": ["https://stackrox.io/jwt-sources#api-tokens"],
            "jti": id, "iat": now, "exp": now + 3600, "name": "t", "roles": ["Admin"],
        });
        Self {
            server,
            admin,
            token,
            same: sign(&right, &claims, &private),
            right,
            claims,
            public: pair.public_key().as_ref().to_vec(),
            private,
            foreign: signing_key(&foreign.serialize_der()),
        }
    }

    /// Signed by the service's own key with another algorithm, or by none.
    fn other_algorithms(&self) -> Forged {
        let mut forged = Forged::new();
        let parts: Vec<_> = self.same.split('.').collect();
        for algorithm in ["none", "None", "NONE", ""] {
            let header = json!({"typ": "JWT", "alg": algorithm, "kid": self.right.kid});
            let header = URL_SAFE_NO_PAD.encode(header.to_string());
            let (claims, signature) = (parts[1], parts[2]);
            forged.push(("alg none", format!("{header}.{claims}.")));
            let signed = format!("{header}.{claims}.{signature}");
            forged.push(("alg none, signed", signed));
        }
        let with = |algorithm, key: &EncodingKey| {
            let header = Header {
                alg: algorithm,
                ..self.right.clone()
            };
            sign(&header, &self.claims, key)
        };
        for secret in [
            self.public.clone(),
            pem("RSA PUBLIC KEY", &self.public),
            pem("PUBLIC KEY", &self.public),
            Vec::new(),
        ] {
            let secret = EncodingKey::from_secret(&secret);
            for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                forged.push(("HMAC by the public key", with(algorithm, &secret)));
            }
        }
        for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
            forged.push(("another algorithm", with(algorithm, &self.private)));
        }
        forged
    }

    /// Signed by another key, and with headers that bring or name one.
    fn other_keys(&self) -> Forged {
        let jwk = json!({
            "kty": "RSA", "alg": "RS256", "kid": self.right.kid, "e": "AQAB",
            "n": URL_SAFE_NO_PAD.encode([0xab; 256]),
        });
        let right = || self.right.clone();
        let (mut jwk_beside, mut keys_at, mut chain_at) = (right(), right(), right());
        jwk_beside.jwk = Some(serde_json::from_value(jwk).unwrap());
        keys_at.jku = Some("https://evil.example/jwks".to_owned());
        chain_at.x5u = Some("https://evil.example/x5u".to_owned());
        let (mut chain_beside, mut without_kid) = (right(), right());
        chain_beside.x5c = Some(vec!["AAAA".to_owned()]);
        without_kid.kid = None;
        let headers = [
            ("another key", right()),
            ("jwk", jwk_beside),
            ("jku", keys_at),
            ("x5u", chain_at),
            ("x5c", chain_beside),
            ("no kid", without_kid),
        ];
        let foreign =
            headers.map(|(what, header)| (what, sign(&header, &self.claims, &self.foreign)));
        let kids = [
            "",
            "jwtk",
            "jwtk0",
            "jwtk999",
            "jwtk-1",
            "jwtk99999999999999999999",
            "../x",
            "\0",
        ];
        let unknown = kids.map(|kid| {
            let mut header = right();
            header.kid = Some(kid.to_owned());
            (
                "a key that is none",
                sign(&header, &self.claims, &self.private),
            )
        });
        foreign.into_iter().chain(unknown).collect()
    }

    fn other_claims(&self) -> Forged {
        let nobody = "862ba387-230e-4a27-929d-ac48fa3e4916";
        let claims = [
            ("iss", json!("wharfinger")),
            ("iss", json!(null)),
            ("aud", json!("https://stackrox.io/jwt-sources#other")),
            ("aud", json!([])),
            ("jti", json!(null)),
            ("jti", json!(nobody)),
            ("jti", json!("x")),
        ];
        let forged = claims.map(|(name, value)| {
            let mut claims = self.claims.clone();
            claims[name] = value;
            (name, sign(&self.right, &claims, &self.private))
        });
        forged.into()
    }

    fn broken_texts(&self) -> Forged {
        let token = &self.token;
        let parts: Vec<_> = self.same.split('.').collect();
        vec![
            ("cut", token[..token.len() - 1].to_owned()),
            ("longer", format!("{token}A")),
            ("two parts", parts[..2].join(".")),
            ("four parts", format!("{token}.x")),
            ("large", format!("{token}{}", "x".repeat(60_000))),
            ("nothing", String::new()),
        ]
    }

    /// Secrets that this service gives for other purposes.
    async fn other_secrets(&self) -> Forged {
        let registry = self.admin.create_registry("team-a").await;
        let made = self
            .admin
            .mint(&registry, "ci", &["repository:*:pull"])
            .await;
        let query = "service=team-a.localhost&scope=repository:a:pull&offline_token=true";
        let issued = self
            .server
            .client(&made)
            .get(&format!("/token?{query}"))
            .await;
        assert_eq!(issued.status, 200, "{issued:?}");
        let text = |name: &str| issued.json[name].as_str().unwrap().to_owned();
        vec![
            ("token", text("token")),
            ("refresh_token", text("refresh_token")),
            ("secret", made.secret),
            ("password", ADMIN_PASSWORD.to_owned()),
        ]
    }
}

#[rstest]
#[actix_web::test]
async fn what_is_no_api_token_opens_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let forge = Forge::new(backend).await;
    // Each forgery below differs from these in one thing only.
    for good in [&forge.token, &forge.same] {
        assert_eq!(statuses(&forge.server.bearer(good)).await, (200, 200));
    }
    let forged = [
        forge.other_algorithms(),
        forge.other_keys(),
        forge.other_claims(),
        forge.broken_texts(),
        forge.other_secrets().await,
    ];
    for (what, forged) in forged.concat() {
        // A header holds no umlauts.
        let Ok(value) = reqwest::header::HeaderValue::from_str(&format!("Bearer {forged}")) else {
            continue;
        };
        for path in ["/locations", "/v1/auth/status"] {
            let anonymous = forge.server.anonymous();
            let request = anonymous
                .request(Method::GET, path)
                .header("authorization", value.clone());
            let answer = anonymous.send(request).await;
            assert_eq!(answer.status, 401, "{what} at {path}: {forged}: {answer:?}");
        }
    }
}

#[rstest]
#[actix_web::test]
async fn an_api_token_opens_no_registry(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    admin.create_registry("team-a").await;
    let (token, _) = generate(&admin, json!({"name": "t", "role": "Admin"})).await;
    let token_path = "/token?service=team-a.localhost&scope=repository:a:pull";
    let check = "/v2/check?service=team-a.localhost";
    assert_eq!(admin.get(token_path).await.status, 200);
    for actor in [
        server.bearer(&token),
        server.actor("admin", &token),
        server.actor("t", &token),
        server.actor("$token", &token),
    ] {
        assert_eq!(actor.get(token_path).await.status, 401);
        let request = actor
            .request(Method::GET, check)
            .header("x-original-method", "GET")
            .header("x-original-uri", "/v2/a/manifests/latest");
        assert_eq!(actor.send(request).await.status, 401);
    }
    let anonymous = server.anonymous();
    for (grant, name) in [("password", "password"), ("refresh_token", "refresh_token")] {
        let form =
            format!("grant_type={grant}&service=team-a.localhost&username=admin&{name}={token}");
        let request = anonymous
            .request(Method::POST, "/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        assert_eq!(anonymous.send(request).await.status, 401, "{grant}");
    }
}

/// Keeps the janitors that every server runs by itself from the work.
fn reserve(server: &Server, holder: &str) {
    let until = (server.clock.now() + TimeDelta::days(400)).timestamp_micros();
    server.database.execute(&format!(
        "INSERT INTO leases (name, holder, until) VALUES ('janitor', '{holder}', {until}) \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until"
    ));
}

async fn names(actor: &Actor) -> Vec<String> {
    let listed = actor.get("/v1/apitokens").await.json;
    let tokens = listed["tokens"].as_array().unwrap();
    tokens
        .iter()
        .map(|token| token["name"].as_str().unwrap().to_owned())
        .collect()
}

#[rstest]
#[actix_web::test]
async fn tokens_that_are_over_go_at_the_full_hour(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    reserve(&server, "test");
    let admin = server.admin();
    let (_, kept) = generate(&admin, json!({"name": "kept"})).await;
    let (revoked, id) = generate(&admin, json!({"name": "revoked", "role": "Admin"})).await;
    let (_, brief) = generate(
        &admin,
        json!({"name": "brief", "expiration": "2026-11-21T12:30:00Z"}),
    )
    .await;
    // None of them is spoken of now.
    server
        .database
        .execute("UPDATE api_tokens SET noticed_at = 9000000000000000");
    let work = async || {
        reserve(&server, "test");
        let round = server.service.janitor().run("test").await.unwrap().unwrap();
        reserve(&server, "test");
        round.over
    };
    server.clock.advance(TimeDelta::minutes(1));
    revoke(&admin, &id).await;
    assert_eq!(work().await, 0);
    server.clock.advance(TimeDelta::minutes(58));
    assert_eq!(work().await, 0, "it is not the full hour yet");
    assert_eq!(names(&admin).await, ["kept", "revoked", "brief"]);
    server.clock.advance(TimeDelta::minutes(1));
    assert_eq!(work().await, 1);
    assert_eq!(names(&admin).await, ["kept", "brief"]);
    // No token has the id of a deleted token.
    assert_eq!(statuses(&server.bearer(&revoked)).await, (401, 401));
    assert_eq!(admin.get(&format!("/v1/apitokens/{id}")).await.status, 400);
    let again = admin
        .patch(&format!("/v1/apitokens/revoke/{id}"), json!({}))
        .await;
    assert_eq!(again.status, 500);

    // Expired ones stay for the retention, which is a day.
    server.clock.advance(TimeDelta::hours(23));
    assert_eq!(work().await, 0);
    server.clock.advance(TimeDelta::hours(1));
    assert_eq!(work().await, 1);
    assert_eq!(names(&admin).await, ["kept"]);
    for (id, status) in [(&brief, 400), (&kept, 200)] {
        assert_eq!(
            admin.get(&format!("/v1/apitokens/{id}")).await.status,
            status
        );
    }
}

#[rstest]
#[actix_web::test]
async fn the_retention_is_a_setting(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &["--api-token-retention", "0s"]).await;
    reserve(&server, "test");
    let admin = server.admin();
    generate(
        &admin,
        json!({"name": "brief", "expiration": "2026-11-21T12:30:00Z"}),
    )
    .await;
    server.clock.advance(TimeDelta::hours(1));
    let round = server.service.janitor().run("test").await.unwrap();
    assert_eq!(
        round,
        Some(Round {
            over: 1,
            ..Round::default()
        })
    );
    assert_eq!(names(&admin).await, Vec::<String>::new());
}

#[rstest]
#[actix_web::test]
async fn tokens_that_end_soon_are_spoken_of_once_a_day(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    reserve(&server, "test");
    let admin = server.admin();
    let in_days = |days: i64| (server.clock.now() + TimeDelta::days(days)).to_rfc3339();
    for (name, end) in [
        ("soon", in_days(6)),
        ("later", in_days(8)),
        ("revoked", in_days(1)),
    ] {
        let (_, id) = generate(&admin, json!({"name": name, "expiration": end})).await;
        if name == "revoked" {
            revoke(&admin, &id).await;
        }
    }
    let work = async |holder: &str| {
        let round = server.service.janitor().run(holder).await.unwrap();
        reserve(&server, "test");
        round.map(|round| round.ending)
    };
    assert_eq!(work("other").await, None, "another replica is at it");
    assert_eq!(work("test").await, Some(1));
    assert_eq!(work("test").await, Some(0));
    server.clock.advance(TimeDelta::hours(23));
    assert_eq!(work("test").await, Some(0));
    server.clock.advance(TimeDelta::hours(2));
    // A day later the other one is close enough too.
    assert_eq!(work("test").await, Some(2));
    server.clock.advance(TimeDelta::days(5));
    server.believe_clock();
    assert_eq!(
        work("test").await,
        Some(1),
        "one is over, and nobody speaks of it"
    );
}

#[rstest]
#[case::never("0s", "1m", [0, 0, 0, 0])]
#[case::an_hour("1h", "10m", [0, 1, 0, 1])]
#[case::a_month("30d", "3650d", [1, 0, 0, 0])]
#[actix_web::test]
async fn when_and_how_often_tokens_are_spoken_of_are_settings(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[case] window: &str,
    #[case] repeat: &str,
    #[case] spoken: [usize; 4],
) {
    let flags = ["--notice-window", window, "--notice-repeat", repeat];
    let server = Server::start_with(backend, &flags).await;
    reserve(&server, "test");
    let end = server.clock.now() + TimeDelta::hours(1);
    let wish = json!({"name": "soon", "expiration": end.to_rfc3339()});
    generate(&server.admin(), wish).await;
    // Exactly the window before its end, within it, not yet again, and again.
    for (step, minutes) in [0, 1, 9, 1].into_iter().enumerate() {
        server.clock.advance(TimeDelta::minutes(minutes));
        let round = server.service.janitor().run("test").await.unwrap().unwrap();
        assert_eq!(round.ending, spoken[step], "step {step}");
        reserve(&server, "test");
    }
}

/// The commands in docs/STACKROX.md make a token and list registries with it.
#[actix_web::test]
async fn the_page_on_api_tokens_shows_a_role_that_permits_what_it_shows() {
    let page = std::fs::read_to_string("docs/STACKROX.md").unwrap();
    let body = page.split("-d '").nth(1).unwrap();
    let body = serde_json::from_str(body.split('\'').next().unwrap()).unwrap();
    assert!(page.contains("\"Authorization: Bearer $token\" $url/registries"));
    let server = Server::start(Backend::Sqlite).await;
    let (token, _) = generate(&server.admin(), body).await;
    let listed = server.bearer(&token).get("/registries").await;
    assert_eq!(listed.status, 200, "{listed:?}");
}
