//! Keys that sign JWTs, the certificates and keys that registries get, and the check of JWTs with them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use actix_web::rt::spawn;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use wharfinger::clock::Clock as _;
use wharfinger::domain::signing::KeyRole;
use wharfinger::service::janitor::Round;
use wharfinger::service::signing_keys::{Consequence, Rotation};

use crate::harness::{
    Actor, Answer, Backend, Database, KeyPair, Minted, Patience, Program, Server, claims,
    fingerprint, header, is_signed_by, public_key_of,
};

const SERVICE: &str = "team-a.localhost";
/// When the clock of the tests stands still, in seconds since 1970.
const NOON: i64 = 1_795_262_400;
const DAY: i64 = 86_400;

/// A registry's setup: the files in its configuration, and its clock.
#[derive(Clone)]
struct Setup {
    service: &'static str,
    issuer: &'static str,
    /// Certificates of `rootcertbundle`, in DER.
    bundle: Vec<Vec<u8>>,
    /// The file of `jwks`.
    key_set: Option<Value>,
    now: i64,
}

/// The actions that a registry allows with a JWT, or the reason why the registry refuses the JWT.
type Verdict = Result<Vec<String>, &'static str>;

fn certificates(bundle: &str) -> Vec<Vec<u8>> {
    let parsed = pem::parse_many(bundle).unwrap();
    assert!(parsed.iter().all(|part| part.tag() == "CERTIFICATE"));
    parsed.into_iter().map(pem::Pem::into_contents).collect()
}

/// Is a leaf signed by one of these, now?
fn is_chained(leaf: &[u8], roots: &[Vec<u8>], now: i64) -> bool {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(CertificateDer::from(root.clone())).unwrap();
    }
    if store.is_empty() {
        return false;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider)
        .build()
        .unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.unsigned_abs()));
    verifier
        .verify_client_cert(&CertificateDer::from(leaf.to_vec()), &[], now)
        .is_ok()
}

/// OpenSSL's verdict on the same certificates, at its strictest.
fn openssl_says(leaf: &[u8], bundle: &str, now: i64) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let (root, path) = (
        folder.path().join("root.pem"),
        folder.path().join("leaf.pem"),
    );
    std::fs::write(&root, bundle).unwrap();
    let leaf = pem::Pem::new("CERTIFICATE", leaf.to_vec());
    std::fs::write(&path, pem::encode(&leaf)).unwrap();
    Command::new("openssl")
        .args([
            "verify",
            "-x509_strict",
            "-attime",
            &now.to_string(),
            "-CAfile",
        ])
        .args([root, path])
        .output()
        .expect("openssl is needed to check a certificate")
        .status
        .success()
}

fn integer(claims: &Value, name: &str) -> Result<i64, &'static str> {
    claims[name].as_i64().ok_or("a time is no integer")
}

/// A JWT's access in the notation of scopes.
fn access(claims: &Value) -> Vec<String> {
    let list = claims["access"].as_array().unwrap();
    list.iter()
        .flat_map(|access| {
            let text = |name: &str| access[name].as_str().unwrap();
            let place = format!("{}:{}", text("type"), text("name"));
            let actions = access["actions"].as_array().unwrap().clone();
            actions
                .into_iter()
                .map(move |action| format!("{place}:{}", action.as_str().unwrap()))
        })
        .collect()
}

/// Issuer, audience and times as both releases of Distribution have them, with their minute of leeway.
fn in_force(setup: &Setup, claims: &Value) -> Result<(), &'static str> {
    if claims["iss"] != setup.issuer {
        return Err("issuer");
    }
    if integer(claims, "exp")? + 60 < setup.now || integer(claims, "nbf")? - 60 > setup.now {
        return Err("time");
    }
    Ok(())
}

/// The certificate of `x5c`: standard base64 of DER, leaf first.
fn leaf_of(header: &Value) -> Result<Option<Vec<u8>>, &'static str> {
    match header.get("x5c") {
        None => Ok(None),
        Some(chain) => {
            let leaf = chain[0].as_str().ok_or("x5c is no list of texts")?;
            STANDARD
                .decode(leaf)
                .map(Some)
                .map_err(|_| "x5c is no base64")
        }
    }
}

/// As `registry/auth/token` of Distribution 2.8 does it, with libtrust.
fn distribution2(setup: &Setup, jwt: &str) -> Verdict {
    let (header, claims) = (header(jwt), claims(jwt));
    // Its claims have a string there, so an array does not parse.
    if claims["aud"].as_str() != Some(setup.service) {
        return Err("audience");
    }
    in_force(setup, &claims)?;
    assert!(
        !setup.bundle.is_empty(),
        "it does not start without rootcertbundle"
    );
    let key = match leaf_of(&header)? {
        Some(leaf) if is_chained(&leaf, &setup.bundle, setup.now) => public_key_of(&leaf),
        Some(_) => return Err("chain"),
        None => setup
            .bundle
            .iter()
            .map(|certificate| public_key_of(certificate))
            .find(|key| header["kid"] == fingerprint(key))
            .ok_or("unknown kid")?,
    };
    // libtrust knows no more than these for such keys.
    let algorithm = header["alg"].as_str().ok_or("algorithm")?;
    if !matches!(algorithm, "ES256" | "RS256") || !is_signed_by(jwt, algorithm, &key) {
        return Err("signature");
    }
    Ok(access(&claims))
}

/// As Distribution 3.1 does it, with `signingalgorithms: [ES256, RS256]`.
fn distribution3(setup: &Setup, jwt: &str) -> Verdict {
    let (header, claims) = (header(jwt), claims(jwt));
    let algorithm = header["alg"].as_str().ok_or("algorithm")?;
    if !matches!(algorithm, "ES256" | "RS256") {
        return Err("algorithm");
    }
    let own = json!(setup.service);
    if claims["aud"] != own
        && claims["aud"]
            .as_array()
            .is_none_or(|list| !list.contains(&own))
    {
        return Err("audience");
    }
    in_force(setup, &claims)?;
    let key = if let Some(leaf) = leaf_of(&header)? {
        // Without `rootcertbundle` there is nothing that a chain could end at.
        if !is_chained(&leaf, &setup.bundle, setup.now) {
            return Err("chain");
        }
        public_key_of(&leaf)
    } else {
        // Of a key set by its `kid`; certificates are found by the RFC 7638 thumbprint, which ours is never.
        let keys = setup
            .key_set
            .iter()
            .flat_map(|set| set["keys"].as_array().unwrap());
        let mut found = keys.filter(|key| key["kid"] == header["kid"]);
        web_key(found.next().ok_or("unknown kid")?)
    };
    if !is_signed_by(jwt, algorithm, &key) {
        return Err("signature");
    }
    Ok(access(&claims))
}

/// As zot 2.1 does it: one key, no leeway, nothing from the future; neither issuer nor audience.
fn zot(setup: &Setup, jwt: &str) -> Verdict {
    let (header, claims) = (header(jwt), claims(jwt));
    let key = match (&setup.bundle[..], &setup.key_set) {
        ([certificate], None) => public_key_of(certificate),
        ([], Some(set)) => {
            let keys = set["keys"].as_array().unwrap();
            assert_eq!(keys.len(), 1, "it does not start with several keys");
            web_key(&keys[0])
        }
        _ => panic!("it takes one file"),
    };
    if !is_signed_by(jwt, header["alg"].as_str().ok_or("algorithm")?, &key) {
        return Err("signature");
    }
    let time = |name| integer(&claims, name);
    if time("exp")? <= setup.now || time("nbf")? > setup.now || time("iat")? > setup.now {
        return Err("time");
    }
    Ok(access(&claims))
}

/// The `SubjectPublicKeyInfo` of a JSON Web Key (RFC 7517), put together by hand.
fn web_key(key: &Value) -> Vec<u8> {
    let number = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let sequence = |tag: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let head = match content.len() {
            short @ 0..0x80 => vec![tag, u8::try_from(short).unwrap()],
            0x80..0x100 => vec![tag, 0x81, length[1]],
            _ => vec![tag, 0x82, length[0], length[1]],
        };
        [&head, content].concat()
    };
    let bits = |content: &[u8]| sequence(3, &[&[0], content].concat());
    match key["kty"].as_str().unwrap() {
        "EC" => {
            assert_eq!(key["crv"], "P-256");
            let algorithm = sequence(
                0x30,
                &[
                    6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d,
                    3, 1, 7,
                ],
            );
            let point = [vec![4], number("x"), number("y")].concat();
            sequence(0x30, &[algorithm, bits(&point)].concat())
        }
        "RSA" => {
            let algorithm = sequence(
                0x30,
                &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0],
            );
            let positive = |mut number: Vec<u8>| {
                if number[0] >= 0x80 {
                    number.insert(0, 0);
                }
                sequence(2, &number)
            };
            let numbers = [positive(number("n")), positive(number("e"))].concat();
            let key = sequence(0x30, &numbers);
            sequence(0x30, &[algorithm, bits(&key)].concat())
        }
        other => panic!("{other} is no type of ours"),
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
    async fn new(backend: Backend, verifier: &str) -> Self {
        Self::with(Server::start(backend).await, verifier).await
    }

    async fn with(server: Server, verifier: &str) -> Self {
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        let scopes = ["repository:*:*", "registry:catalog:*"];
        let token = admin.mint(&registry, "ci", &scopes).await;
        let bench = Self {
            server,
            admin,
            registry,
            token,
        };
        bench.verify_by(verifier).await;
        bench
    }

    async fn verify_by(&self, verifier: &str) {
        let path = format!("/registries/{}", self.registry);
        let answer = self
            .admin
            .patch(&path, json!({"tokenVerifier": verifier}))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Keeps the janitors that every server runs by itself from all but rotating: only `janitor` does it.
    fn reserve(&self) {
        let until = (self.server.clock.now() + TimeDelta::days(10_000)).timestamp_micros();
        self.server.database.execute(&format!(
            "INSERT INTO leases (name, holder, until) VALUES ('janitor', 'test', {until}) \
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until"
        ));
    }

    async fn janitor(&self) -> Round {
        self.reserve();
        self.server.believe_clock();
        let round = self.server.service.janitor().run("test").await.unwrap();
        round.unwrap()
    }

    async fn jwt(&self) -> String {
        issue(&self.server, &self.token).await
    }

    async fn get(&self, what: &str) -> Answer {
        let path = format!("/registries/{}/{what}", self.registry);
        let answer = self.admin.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    async fn bundle(&self) -> String {
        self.get("auth-bundle.pem").await.text
    }

    async fn key_set(&self) -> Value {
        self.get("jwks.json").await.json
    }

    /// The ids of the key set, in its order.
    async fn kids(&self) -> Vec<String> {
        let set = self.key_set().await;
        let keys = set["keys"].as_array().unwrap().iter();
        keys.map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The status that `/v2/check` answers a JWT with.
    async fn check(&self, jwt: &str) -> u16 {
        let stranger = self.server.anonymous();
        let request = stranger
            .request(Method::GET, &format!("/v2/check/{SERVICE}/v2/"))
            .bearer_auth(jwt);
        stranger.send(request).await.status
    }

    /// The number of keys of each role.
    fn keys(&self) -> BTreeMap<String, usize> {
        let roles = self
            .server
            .database
            .lines("SELECT role AS line FROM signing_keys");
        let mut counted = BTreeMap::new();
        for role in roles {
            *counted.entry(role).or_default() += 1;
        }
        counted
    }

    fn setup(&self) -> Setup {
        Setup {
            service: SERVICE,
            issuer: "wharfinger",
            bundle: Vec::new(),
            key_set: None,
            now: self.server.clock.now().timestamp(),
        }
    }
}

fn counts(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
    pairs
        .iter()
        .map(|(role, count)| ((*role).to_owned(), *count))
        .collect()
}

const WANTED: &str = "repository:team/app:* registry:catalog:* repository::pull";

async fn issue(server: &Server, token: &Minted) -> String {
    let query = [("service", SERVICE), ("scope", WANTED)];
    let answer = server.client(token).ask("/token", &query).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["token"].as_str().unwrap().to_owned()
}

fn kid(jwt: &str) -> String {
    header(jwt)["kid"].as_str().unwrap().to_owned()
}

/// A product's way to open a registry, set up, and the seconds by which its clock may differ.
type Opener = (fn(&Setup, &str) -> Verdict, Setup, i64);

impl Bench {
    fn by_bundle(&self, text: &str) -> Setup {
        Setup {
            bundle: certificates(text),
            ..self.setup()
        }
    }

    fn by_key_set(&self, set: &Value) -> Setup {
        Setup {
            key_set: Some(set.clone()),
            ..self.setup()
        }
    }

    /// The products that a registry with certificates is set up for, once its JWT has been looked at.
    async fn openers_by_certificate(&self, jwt: &str, foreign: &str) -> Vec<Opener> {
        let (head, bundle, key_set) = (header(jwt), self.bundle().await, self.key_set().await);
        let members: Vec<_> = head.as_object().unwrap().keys().collect();
        assert_eq!(members, ["alg", "kid", "typ", "x5c"]);
        assert_eq!(head["x5c"].as_array().unwrap().len(), 1);
        let leaf = leaf_of(&head).unwrap().unwrap();
        assert_eq!(head["kid"], fingerprint(&public_key_of(&leaf)));
        assert!(openssl_says(&leaf, &bundle, NOON));
        assert!(!openssl_says(&leaf, foreign, NOON));
        // It begins an hour early, and ends after half a year.
        for (now, holds) in [
            (NOON - 3601, false),
            (NOON - 3600, true),
            (NOON + 180 * DAY, true),
            (NOON + 180 * DAY + 1, false),
        ] {
            let chained = is_chained(&leaf, &certificates(&bundle), now);
            assert_eq!(chained, holds, "{now}");
        }
        // Only a certificate names its signer.
        assert_eq!(distribution3(&self.by_key_set(&key_set), jwt), Err("chain"));
        assert_eq!(zot(&self.by_bundle(&bundle), jwt), Err("signature"));
        vec![
            (distribution2, self.by_bundle(&bundle), 60),
            (distribution3, self.by_bundle(&bundle), 60),
        ]
    }

    /// The products that a registry with a pinned key is set up for, once its JWT has been looked at.
    async fn openers_by_pinned_key(&self, jwt: &str) -> Vec<Opener> {
        let (head, bundle, key_set) = (header(jwt), self.bundle().await, self.key_set().await);
        let members: Vec<_> = head.as_object().unwrap().keys().collect();
        assert_eq!(members, ["alg", "kid", "typ"]);
        let pinned = public_key_of(&certificates(&bundle)[0]);
        assert_eq!(head["kid"], fingerprint(&pinned));
        assert_eq!(web_key(&key_set["keys"][0]), pinned);
        // It would look for the certificate's key by another name.
        let by_bundle = self.by_bundle(&bundle);
        assert_eq!(distribution3(&by_bundle, jwt), Err("unknown kid"));
        vec![
            (distribution2, self.by_bundle(&bundle), 60),
            (distribution3, self.by_key_set(&key_set), 60),
            (zot, by_bundle, 0),
            (zot, self.by_key_set(&key_set), 0),
        ]
    }
}

/// Checks that clocks may differ: half a minute is always forgiven, and the end of a JWT is kept.
fn check_clocks((open, setup, leeway): &Opener, jwt: &str) {
    for (at, holds) in [
        (-30 - leeway, true),
        (-31 - leeway, false),
        (299 + leeway, true),
        (301 + leeway, false),
    ] {
        let setup = Setup {
            now: NOON + at,
            ..setup.clone()
        };
        assert_eq!(open(&setup, jwt).is_ok(), holds, "{at}");
    }
}

#[rstest]
#[actix_web::test]
async fn jwts_open_every_registry_that_is_set_up_as_it_is_told_to(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("es256", "rs256")] algorithm: &str,
    #[values("x5c", "pinned")] verifier: &str,
) {
    let server = Server::start_with(backend, &["--jwt-algorithm", algorithm]).await;
    let bench = Bench::with(server, verifier).await;
    let admin = &bench.admin;
    let path = format!("/registries/{}", admin.create_registry("team-b").await);
    admin.patch(&path, json!({"tokenVerifier": verifier})).await;
    let foreign = admin.get(&format!("{path}/auth-bundle.pem")).await.text;
    let foreign_keys = admin.get(&format!("{path}/jwks.json")).await.json;

    let jwt = bench.jwt().await;
    assert_eq!(certificates(&bench.bundle().await).len(), 1);
    assert_eq!(claims(&jwt)["aud"], SERVICE);
    assert_eq!(header(&jwt)["typ"], "JWT");
    assert_eq!(header(&jwt)["alg"], algorithm.to_uppercase());
    let openers = if verifier == "x5c" {
        bench.openers_by_certificate(&jwt, &foreign).await
    } else {
        bench.openers_by_pinned_key(&jwt).await
    };
    for opener in openers {
        let (open, setup, _) = &opener;
        assert_eq!(open(setup, &jwt), Ok(allowed()));
        check_clocks(&opener, &jwt);
        // A registry that trusts another registry's keys refuses the JWT, whatever other checks are missing.
        let by_bundle = !setup.bundle.is_empty();
        let elsewhere = Setup {
            bundle: if by_bundle {
                certificates(&foreign)
            } else {
                Vec::new()
            },
            key_set: setup.key_set.as_ref().map(|_| foreign_keys.clone()),
            ..setup.clone()
        };
        assert!(open(&elsewhere, &jwt).is_err());
    }
}

/// The scopes of the bench's JWT.
fn allowed() -> Vec<String> {
    vec![
        "repository:team/app:pull".to_owned(),
        "repository:team/app:push".to_owned(),
        "repository:team/app:delete".to_owned(),
        "registry:catalog:*".to_owned(),
        // zot's name for the catalog.
        "repository::pull".to_owned(),
    ]
}

#[rstest]
#[actix_web::test]
async fn key_sets_and_bundles_are_what_files_of_registries_hold(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("es256", "rs256")] algorithm: &str,
    #[values("x5c", "pinned")] verifier: &str,
) {
    let server = Server::start_with(backend, &["--jwt-algorithm", algorithm]).await;
    let bench = Bench::with(server, verifier).await;
    let answer = bench.get("jwks.json").await;
    assert_eq!(answer.header("content-type"), "application/json");
    let mut key = answer.json["keys"][0].clone();
    let public = web_key(&key);
    for name in ["n", "x", "y"] {
        if let Some(number) = key.get_mut(name) {
            let length = URL_SAFE_NO_PAD
                .decode(number.as_str().unwrap())
                .unwrap()
                .len();
            *number = length.into();
        }
    }
    let expected = if algorithm == "es256" {
        json!({"kty": "EC", "crv": "P-256", "x": 32, "y": 32, "alg": "ES256", "use": "sig", "kid": fingerprint(&public)})
    } else {
        json!({"kty": "RSA", "n": 256, "e": "AQAB", "alg": "RS256", "use": "sig", "kid": fingerprint(&public)})
    };
    assert_eq!(key, expected);
    assert_eq!(answer.json, json!({"keys": [answer.json["keys"][0]]}));
    assert_eq!(kid(&bench.jwt().await), fingerprint(&public));

    let answer = bench.get("auth-bundle.pem").await;
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(
        answer.header("content-disposition"),
        "attachment; filename=\"auth-bundle.pem\""
    );
    assert!(answer.text.starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert!(answer.text.ends_with("-----END CERTIFICATE-----\n"));
    assert!(!answer.text.contains('\r'));
    let trusted = public_key_of(&certificates(&answer.text)[0]);
    // A pinned key is trusted itself, a leaf by its signer.
    assert_eq!(trusted == public, verifier == "pinned");
}

#[rstest]
#[actix_web::test]
async fn keys_are_made_when_first_needed_and_once(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("x5c", "pinned")] verifier: &str,
) {
    let bench = Bench::new(backend, verifier).await;
    let replica = bench.server.replica().await;
    let wrong = bench
        .server
        .actor("ci", "guess")
        .ask("/token", &[("service", SERVICE)])
        .await;
    assert_eq!(wrong.status, 401);
    let own = bench
        .server
        .client(&bench.token)
        .get(&format!("/v2/check/{SERVICE}/v2/"))
        .await;
    assert_eq!(own.status, 200);
    let health = bench.admin.get("/readyz").await.json;
    assert_eq!(
        health["checks"],
        json!({"database": "ok", "migrations": "ok"})
    );
    assert_eq!(bench.keys(), counts(&[]));

    let asked: Vec<_> = (0..20)
        .map(|number| {
            let server = if number % 2 == 0 {
                &bench.server
            } else {
                &replica
            };
            let (client, admin) = (server.client(&bench.token), server.admin());
            let set = format!("/registries/{}/jwks.json", bench.registry);
            spawn(async move {
                if number % 5 == 4 {
                    let answer = admin.get(&set).await;
                    assert_eq!(answer.json["keys"].as_array().unwrap().len(), 1);
                    return answer.json["keys"][0]["kid"].as_str().unwrap().to_owned();
                }
                let answer = client.ask("/token", &[("service", SERVICE)]).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                kid(answer.json["token"].as_str().unwrap())
            })
        })
        .collect();
    let mut kids = BTreeSet::new();
    for answer in asked {
        kids.insert(answer.await.unwrap());
    }
    assert_eq!(kids.len(), 1);
    let (roles, days) = match verifier {
        "x5c" => (counts(&[("ca", 1), ("leaf", 1)]), 180),
        _ => (counts(&[("pinned", 1)]), 20 * 365),
    };
    assert_eq!(bench.keys(), roles);
    let (here, there) = (bench.jwt().await, issue(&replica, &bench.token).await);
    assert_eq!(kid(&here), kid(&there));
    let end = bench.server.clock.now() + TimeDelta::days(days);
    let end = end.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    for admin in [&bench.admin, &replica.admin()] {
        let expected = json!({"database": "ok", "migrations": "ok", "signingCertificatesEnd": end});
        assert_eq!(admin.get("/readyz").await.json["checks"], expected);
    }
    // Each replica accepts JWTs that the other issued.
    let stranger = replica.anonymous();
    let request = stranger.request(Method::GET, &format!("/v2/check/{SERVICE}/v2/"));
    assert_eq!(stranger.send(request.bearer_auth(&here)).await.status, 200);
    assert_eq!(bench.check(&there).await, 200);

    // With the registry they go at once, and a namesake gets new ones.
    let path = format!("/registries/{}", bench.registry);
    let bundle = bench.bundle().await;
    assert_eq!(bench.admin.delete(&path).await.status, 204);
    assert_eq!(bench.keys(), counts(&[]));
    assert_eq!(bench.check(&here).await, 400, "no such service");
    let body =
        json!({"properties": {"name": "team-a", "location": "de/fra", "tokenVerifier": verifier}});
    assert_eq!(bench.admin.put(&path, body).await.status, 201);
    assert_eq!(bench.check(&here).await, 401);
    let new = bench.bundle().await;
    assert_ne!(new, bundle);
    let setup = Setup {
        bundle: certificates(&new),
        ..bench.setup()
    };
    assert!(distribution2(&setup, &here).is_err());
    assert_ne!(bench.kids().await, [kid(&here)]);
}

#[rstest]
#[actix_web::test]
async fn the_key_that_signs_is_replaced_on_schedule_and_nobody_notices(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend, "x5c").await;
    bench.reserve();
    let replica = bench.server.replica().await;
    let other = bench.admin.create_registry("team-b").await;
    let other = format!("/registries/{other}");
    bench
        .admin
        .patch(&other, json!({"tokenVerifier": "pinned"}))
        .await;
    let pinned = bench.admin.get(&format!("{other}/jwks.json")).await.json;
    let (first, bundle) = (bench.jwt().await, bench.bundle().await);
    let setup = || Setup {
        bundle: certificates(&bundle),
        ..bench.setup()
    };

    bench
        .server
        .clock
        .advance(TimeDelta::days(30) - TimeDelta::microseconds(1));
    bench.janitor().await;
    assert_eq!(
        bench.keys(),
        counts(&[("ca", 1), ("leaf", 1), ("pinned", 1)])
    );
    let before = [bench.jwt().await, issue(&replica, &bench.token).await];
    assert_eq!(kid(&before[0]), kid(&first));
    bench.server.clock.advance(TimeDelta::microseconds(1));
    bench.janitor().await;
    assert_eq!(
        bench.keys(),
        counts(&[("ca", 1), ("leaf", 2), ("pinned", 1)])
    );

    // Both replicas sign with the new key from now on; JWTs signed with the old key stay good.
    let after = [bench.jwt().await, issue(&replica, &bench.token).await];
    assert_eq!(kid(&after[0]), kid(&after[1]));
    assert_ne!(kid(&after[0]), kid(&first));
    assert_eq!(bench.bundle().await, bundle);
    for jwt in before.iter().chain(&after) {
        assert_eq!(bench.check(jwt).await, 200);
        assert!(distribution2(&setup(), jwt).is_ok());
        assert!(distribution3(&setup(), jwt).is_ok());
    }
    assert_eq!(bench.kids().await, [kid(&after[0]), kid(&first)]);
    assert_eq!(
        bench.admin.get(&format!("{other}/jwks.json")).await.json,
        pinned
    );

    // The retired one is shown for as long as one of its JWTs can be in force.
    bench
        .server
        .clock
        .advance(TimeDelta::seconds(300) - TimeDelta::microseconds(1));
    assert_eq!(bench.kids().await, [kid(&after[0]), kid(&first)]);
    bench.server.clock.advance(TimeDelta::microseconds(1));
    assert_eq!(bench.kids().await, [kid(&after[0])]);
    // And kept for two days after its last signature.
    bench
        .server
        .clock
        .advance(TimeDelta::days(2) - TimeDelta::seconds(300) - TimeDelta::microseconds(1));
    bench.janitor().await;
    assert_eq!(
        bench.keys(),
        counts(&[("ca", 1), ("leaf", 2), ("pinned", 1)])
    );
    bench.server.clock.advance(TimeDelta::microseconds(1));
    bench.janitor().await;
    assert_eq!(
        bench.keys(),
        counts(&[("ca", 1), ("leaf", 1), ("pinned", 1)])
    );
    assert_eq!(kid(&bench.jwt().await), kid(&after[0]));

    // A service that did not run for longer than a certificate holds goes on with a new leaf at once.
    bench.server.clock.advance(TimeDelta::days(200));
    let late = bench.jwt().await;
    assert_eq!(bench.check(&late).await, 200);
    assert!(distribution2(&setup(), &late).is_ok());
    // Near its own end the authority is replaced too, since no leaf may outlive it.
    bench.server.clock.advance(TimeDelta::days(20 * 365));
    let new = bench.jwt().await;
    assert_ne!(bench.bundle().await, bundle);
    let setup = Setup {
        bundle: certificates(&bench.bundle().await),
        ..bench.setup()
    };
    assert!(distribution2(&setup, &new).is_ok());
}

#[rstest]
#[actix_web::test]
async fn the_age_of_keys_is_a_setting(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let flags = ["--key-rotation", "1h", "--jwt-life", "24h"];
    let bench = Bench::with(Server::start_with(backend, &flags).await, "x5c").await;
    bench.reserve();
    let first = bench.jwt().await;
    let mut kids = vec![kid(&first)];
    for _ in 0..3 {
        bench.server.clock.advance(TimeDelta::hours(1));
        bench.janitor().await;
        kids.insert(0, kid(&bench.jwt().await));
    }
    assert_eq!(kids.iter().collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(bench.kids().await, kids);
    bench
        .server
        .clock
        .advance(TimeDelta::hours(21) - TimeDelta::microseconds(1));
    assert_eq!(bench.check(&first).await, 200);
    bench.server.clock.advance(TimeDelta::microseconds(1));
    assert_eq!(bench.check(&first).await, 401);
    bench.server.clock.advance(TimeDelta::hours(1));
    assert_eq!(bench.kids().await, kids[..3]);
}

#[rstest]
#[actix_web::test]
async fn a_registry_can_change_how_it_verifies_and_back(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend, "x5c").await;
    bench.reserve();
    let (leaf, authority) = (bench.jwt().await, bench.bundle().await);
    bench.verify_by("pinned").await;
    let (pinned, certificate) = (bench.jwt().await, bench.bundle().await);
    assert_eq!(header(&pinned).get("x5c"), None);
    assert_ne!(certificate, authority);
    assert_eq!(bench.kids().await, [kid(&pinned)]);
    let by_key_set = Setup {
        key_set: Some(bench.key_set().await),
        ..bench.setup()
    };
    let by_bundle = Setup {
        bundle: certificates(&certificate),
        ..bench.setup()
    };
    for verdict in [
        distribution2(&by_bundle, &pinned),
        distribution3(&by_key_set, &pinned),
        zot(&by_bundle, &pinned),
        zot(&by_key_set, &pinned),
    ] {
        assert!(verdict.is_ok(), "{verdict:?}");
    }
    assert!(zot(&by_bundle, &leaf).is_err());
    // A proxy still accepts the JWTs that were signed before.
    assert_eq!(
        (bench.check(&leaf).await, bench.check(&pinned).await),
        (200, 200)
    );

    bench.verify_by("x5c").await;
    let again = bench.jwt().await;
    assert_eq!(kid(&again), kid(&leaf));
    assert_eq!(bench.bundle().await, authority);
    assert_eq!(bench.kids().await, [kid(&leaf)]);
    assert_eq!(
        bench.keys(),
        counts(&[("ca", 1), ("leaf", 1), ("pinned", 1)])
    );
    // Meanwhile a leaf that is out of use comes of age like any other.
    bench.verify_by("pinned").await;
    bench.server.clock.advance(TimeDelta::days(30));
    bench.janitor().await;
    assert_eq!(kid(&bench.jwt().await), kid(&pinned));
    bench.verify_by("x5c").await;
    let new = bench.jwt().await;
    assert_ne!(kid(&new), kid(&leaf));
    assert_eq!(bench.bundle().await, authority);
}

#[rstest]
#[actix_web::test]
async fn private_keys_are_sealed_to_their_row(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("es256", "rs256")] algorithm: &str,
) {
    let server = Server::start_with(backend, &["--jwt-algorithm", algorithm]).await;
    let bench = Bench::with(server, "x5c").await;
    let other = bench.admin.create_registry("team-b").await;
    let foreign = bench.admin.mint(&other, "ci", &[]).await;
    let own = bench.jwt().await;
    let query = [("service", "team-b.localhost")];
    let asked = bench.server.client(&foreign).ask("/token", &query).await;
    assert_eq!(asked.status, 200);

    let database = &bench.server.database;
    let hex = match backend {
        Backend::Sqlite => "LOWER(HEX(sealed_private))",
        Backend::Postgres => "ENCODE(sealed_private, 'hex')",
    };
    let sealed = database
        .lines(&format!("SELECT {hex} AS line FROM signing_keys"))
        .join(" ");
    let mut written = vec![("the table".to_owned(), sealed.into_bytes())];
    if backend == Backend::Sqlite {
        for entry in std::fs::read_dir(database.folder()).unwrap() {
            let path = entry.unwrap().path();
            written.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    for (registry, role) in [
        (&bench.registry, KeyRole::Leaf),
        (&bench.registry, KeyRole::Authority),
        (&other, KeyRole::Leaf),
    ] {
        let key = KeyPair::stolen(&bench.server, registry, role).await;
        assert!(key.private.len() > 100);
        // Its public part is everywhere; no 20 bytes beside it may be anywhere.
        let is_public = |piece: &[u8]| {
            let holds = |whole: &[u8]| whole.windows(piece.len()).any(|window| window == piece);
            holds(&key.public) || holds(&key.certificate)
        };
        let pieces: Vec<_> = key
            .private
            .windows(20)
            .filter(|piece| !is_public(piece))
            .collect();
        assert!(pieces.len() > 20);
        for piece in pieces.iter().step_by(7) {
            let hex: Vec<_> = piece.iter().map(|byte| format!("{byte:02x}")).collect();
            let hex = hex.concat();
            for (place, bytes) in &written {
                let plain = bytes.windows(20).any(|window| window == *piece);
                let coded = bytes.windows(40).any(|window| window == hex.as_bytes());
                assert!(!plain && !coded, "{place} has a private key");
            }
        }
    }

    // An altered or moved row does not open: nothing is signed, and clients do not learn the reason.
    let number = |name: &str| {
        database.number(&format!(
            "SELECT key FROM registries WHERE name = '{name}' AND deleted_at IS NULL"
        ))
    };
    let (here, there) = (number("team-a"), number("team-b"));
    let leaf = database.number(&format!(
        "SELECT key FROM signing_keys WHERE registry_key = {here} AND role = 'leaf'"
    ));
    let flip = match backend {
        Backend::Sqlite => "sealed_private = CAST(X'00' || SUBSTR(sealed_private, 2) AS BLOB)",
        Backend::Postgres => {
            "sealed_private = SET_BYTE(sealed_private, 20, 255 - GET_BYTE(sealed_private, 20))"
        }
    };
    database.execute("CREATE TABLE kept AS SELECT * FROM signing_keys");
    for (change, service, token) in [
        (
            format!("registry_key = {there}, active_from = active_from + 1"),
            "team-b.localhost",
            &foreign,
        ),
        (
            format!("registry_key = {there}, active_from = active_from + 1, kid = 'x'"),
            "team-b.localhost",
            &foreign,
        ),
        ("kid = 'x'".to_owned(), SERVICE, &bench.token),
        (flip.to_owned(), SERVICE, &bench.token),
        (
            "seal_key = seal_key + 100".to_owned(),
            SERVICE,
            &bench.token,
        ),
    ] {
        database.execute(&format!(
            "UPDATE signing_keys SET {change} WHERE key = {leaf}"
        ));
        // A process that has not seen the key before.
        let replica = bench.server.replica().await;
        let answer = replica
            .client(token)
            .ask("/token", &[("service", service)])
            .await;
        let message = answer.refused(&change, 500, "UNKNOWN", None);
        assert!(!message.contains("key"), "{message}");
        database.execute("DELETE FROM signing_keys; INSERT INTO signing_keys SELECT * FROM kept");
    }
    let replica = bench.server.replica().await;
    assert_eq!(kid(&issue(&replica, &bench.token).await), kid(&own));
}

#[rstest]
#[actix_web::test]
async fn the_text_to_paste_is_what_each_product_reads(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let flags = ["--jwt-issuer", "Prüfer: \"eins\""];
    let bench = Bench::with(Server::start_with(backend, &flags).await, "x5c").await;
    let path = format!("/registries/{}/auth-config", bench.registry);
    let ask = async |actor: &Actor, product: &str, bundle: &str| {
        actor
            .ask(&path, &[("for", product), ("bundle", bundle)])
            .await
    };
    let realm = format!("http://{}/token", bench.server.address);
    let block = |trust: &str, tail: &str| {
        format!(
            "auth:\n  token:\n    realm: \"{realm}\"\n    service: \"{SERVICE}\"\n    issuer: \"Prüfer: \\\"eins\\\"\"\n    {trust}: \"/etc/a b.pem\"\n{tail}"
        )
    };
    let algorithms = "    signingalgorithms: [ES256, RS256]\n";
    for (verifier, product, expected) in [
        ("x5c", "distribution2", Some(block("rootcertbundle", ""))),
        (
            "x5c",
            "distribution3",
            Some(block("rootcertbundle", algorithms)),
        ),
        ("x5c", "zot", None),
        ("pinned", "distribution2", Some(block("rootcertbundle", ""))),
        ("pinned", "distribution3", Some(block("jwks", algorithms))),
        (
            "pinned",
            "zot",
            Some(format!(
                "{:#}\n",
                json!({"http": {"auth": {"bearer": {"realm": realm, "service": SERVICE, "cert": "/etc/a b.pem"}}}})
            )),
        ),
    ] {
        bench.verify_by(verifier).await;
        for actor in [&bench.admin, &bench.server.analyst()] {
            let answer = ask(actor, product, "/etc/a b.pem").await;
            if let Some(expected) = &expected {
                assert_eq!(answer.status, 200, "{answer:?}");
                assert_eq!(&answer.text, expected, "{verifier} {product}");
                assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
            } else {
                assert_eq!(answer.status, 409, "{answer:?}");
                assert!(answer.message().contains("pinned"), "{answer:?}");
            }
        }
    }
}

#[rstest]
#[actix_web::test]
async fn no_text_is_made_for_another_product_or_a_path_that_is_none(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend, "pinned").await;
    let path = format!("/registries/{}/auth-config", bench.registry);
    for (query, code) in [
        (vec![], "invalid-query"),
        (vec![("for", "zot")], "invalid-query"),
        (vec![("bundle", "/x")], "invalid-query"),
        (vec![("for", ""), ("bundle", "/x")], "invalid-for"),
        (vec![("for", "harbor"), ("bundle", "/x")], "invalid-for"),
        (vec![("for", "Zot"), ("bundle", "/x")], "invalid-for"),
        (vec![("for", "zot"), ("bundle", "")], "invalid-bundle"),
        (vec![("for", "zot"), ("bundle", "/a\nb")], "invalid-bundle"),
        (vec![("for", "zot"), ("bundle", "\0")], "invalid-bundle"),
        (
            vec![("for", "zot"), ("bundle", &"x".repeat(4097))],
            "invalid-bundle",
        ),
        (
            vec![("for", "zot"), ("for", "zot"), ("bundle", "/x")],
            "invalid-query",
        ),
    ] {
        let answer = bench.admin.ask(&path, &query).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (400, vec![code]),
            "{query:?}"
        );
    }
}

/// An address that the client made up must not be handed on.
#[rstest]
#[actix_web::test]
async fn a_host_is_handed_on_only_if_it_is_known(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend, "pinned").await;
    let path = format!("/registries/{}/auth-config", bench.registry);
    for (host, status) in [("registry.example.com", 409), ("localhost:81", 200)] {
        let request = bench
            .admin
            .request(Method::GET, &format!("{path}?for=zot&bundle=/x"))
            .header("host", host);
        let answer = bench.admin.send(request).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(!answer.text.contains("example.com"));
        let named = answer.text.contains("http://localhost:81/token");
        assert_eq!(named, status == 200);
        assert!(status == 200 || answer.message().contains("--public-url"));
    }
    let flags = ["--public-url", "https://tokens.example.com/base/"];
    let bench = Bench::with(Server::start_with(backend, &flags).await, "x5c").await;
    let text = bench
        .get("auth-config?for=distribution2&bundle=/x")
        .await
        .text;
    assert!(
        text.contains("realm: \"https://tokens.example.com/base/token\""),
        "{text}"
    );
}

#[rstest]
#[actix_web::test]
async fn setting_a_registry_up_is_for_those_who_may_see_it(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend, "pinned").await;
    let nobody = "/registries/00000000-0000-4000-8000-000000000000";
    for what in [
        "auth-config?for=zot&bundle=/x",
        "auth-bundle.pem",
        "jwks.json",
    ] {
        for prefix in ["", "/containerregistries"] {
            let path = format!("{prefix}/registries/{}/{what}", bench.registry);
            for (actor, status) in [
                (bench.admin.clone(), 200),
                (bench.server.analyst(), 200),
                (bench.server.anonymous(), 401),
                (bench.server.client(&bench.token), 401),
            ] {
                assert_eq!(actor.get(&path).await.status, status, "{path}");
            }
            let answer = bench.admin.get(&format!("{prefix}{nobody}/{what}")).await;
            assert_eq!(answer.status, 404, "{answer:?}");
            let answer = bench
                .admin
                .get(&format!("{prefix}/registries/x/{what}"))
                .await;
            assert_eq!(answer.status, 400, "{answer:?}");
        }
    }
}

/// Runs a command beside a server. Returns its output if it succeeded, else its error.
fn run(database: &Database, arguments: &[&str]) -> Result<String, String> {
    let output = Program::command(database)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout).unwrap());
    }
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.stdout.is_empty() && !said.contains("panicked"),
        "{said}"
    );
    Err(said)
}

/// A running server with registries of all kinds, each with a token, and the commands beside it.
struct Beside {
    database: Arc<Database>,
    program: Program,
    admin: Actor,
    /// The path and the token of each, by its name.
    registries: BTreeMap<&'static str, (String, Minted)>,
}

impl Beside {
    async fn new(backend: Backend) -> Self {
        let database = Arc::new(Database::fresh(backend));
        let program = Program::start(&database);
        let admin = program.admin();
        let mut registries = BTreeMap::new();
        for (name, verifier) in [
            ("team-a", "x5c"),
            ("team-b", "x5c"),
            ("team-z", "pinned"),
            ("unused", "x5c"),
        ] {
            let id = admin.create_registry(name).await;
            let path = format!("/registries/{id}");
            admin.patch(&path, json!({"tokenVerifier": verifier})).await;
            let token = admin.mint(&id, "ci", &["repository:*:*"]).await;
            registries.insert(name, (path, token));
        }
        Self {
            database,
            program,
            admin,
            registries,
        }
    }

    async fn jwt(&self, name: &str) -> String {
        let client = Actor::of(&self.program.base, "ci", &self.registries[name].1.secret);
        let service = format!("{name}.localhost");
        let answer = client.ask("/token", &[("service", &service)]).await;
        let jwt = answer.json["token"].as_str();
        jwt.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    async fn check(&self, name: &str, jwt: &str) -> u16 {
        let stranger = Actor::anonymous_of(&self.program.base);
        let request = stranger.request(Method::GET, &format!("/v2/check/{name}.localhost/v2/"));
        stranger.send(request.bearer_auth(jwt)).await.status
    }

    async fn shown(&self, name: &str, what: &str) -> Answer {
        let path = format!("{}/{what}", self.registries[name].0);
        let answer = self.admin.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    async fn kids(&self, name: &str) -> Vec<String> {
        let set = self.shown(name, "jwks.json").await.json;
        let keys = set["keys"].as_array().unwrap().iter();
        keys.map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[rstest]
#[actix_web::test]
async fn commands_print_what_the_server_answers(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Beside::new(backend).await;
    for name in ["team-a", "team-z"] {
        let printed = run(&bench.database, &["registry", "auth-bundle", name]).unwrap();
        assert_eq!(printed, bench.shown(name, "auth-bundle.pem").await.text);
        let printed = run(&bench.database, &["registry", "jwks", name]).unwrap();
        let printed: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(printed, bench.shown(name, "jwks.json").await.json);
        for product in ["distribution2", "distribution3", "zot"] {
            let mut command = vec![
                "registry",
                "auth-config",
                name,
                "--for",
                product,
                "--bundle",
                "/x",
            ];
            command.extend(["--public-url", &bench.program.base]);
            let query = format!(
                "{}/auth-config?for={product}&bundle=/x",
                bench.registries[name].0
            );
            let answer = bench.admin.get(&query).await;
            match run(&bench.database, &command) {
                Ok(printed) => assert_eq!(printed, answer.text),
                Err(said) => {
                    assert_eq!((name, product, answer.status), ("team-a", "zot", 409));
                    assert!(said.contains(&answer.message()), "{said}");
                }
            }
        }
    }
}

#[rstest]
#[actix_web::test]
async fn commands_rotate_beside_a_running_server(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Beside::new(backend).await;
    let first = bench.jwt("team-a").await;
    let bundle = bench.shown("team-a", "auth-bundle.pem").await.text;

    // The leaf alone: the running server notices at its next JWT, the registry never.
    let said = run(&bench.database, &["keys", "rotate", "team-a"]).unwrap();
    assert_eq!(said, "team-a signs with a new key.\n");
    let second = bench.jwt("team-a").await;
    assert_ne!(kid(&second), kid(&first));
    assert_eq!(bench.kids("team-a").await, [kid(&second), kid(&first)]);
    assert_eq!(bench.shown("team-a", "auth-bundle.pem").await.text, bundle);
    assert_eq!(
        (
            bench.check("team-a", &first).await,
            bench.check("team-a", &second).await
        ),
        (200, 200)
    );

    // All that have keys, but none that would have to be told.
    let (of_b, of_z) = (bench.jwt("team-b").await, bench.jwt("team-z").await);
    let said = run(&bench.database, &["keys", "rotate", "--all"]).unwrap();
    let lines: BTreeSet<_> = said.lines().collect();
    let expected = [
        "team-a signs with a new key.",
        "team-b signs with a new key.",
    ];
    assert_eq!(lines, BTreeSet::from(expected));
    assert_ne!(kid(&bench.jwt("team-a").await), kid(&second));
    assert_ne!(kid(&bench.jwt("team-b").await), kid(&of_b));
    assert_eq!(kid(&bench.jwt("team-z").await), kid(&of_z));

    // A pinned one by its name, with the warning; several at once.
    let said = run(&bench.database, &["keys", "rotate", "team-z", "unused"]).unwrap();
    let (warned, quiet) = said.trim_end().split_once('\n').unwrap();
    assert!(
        warned.starts_with("team-z ") && warned.contains("restart"),
        "{said}"
    );
    assert_eq!(quiet, "unused signs with a new key.");
    let new = bench.jwt("team-z").await;
    assert_eq!(bench.kids("team-z").await, [kid(&new)]);
    assert_eq!(
        (
            bench.check("team-z", &of_z).await,
            bench.check("team-z", &new).await
        ),
        (200, 200)
    );
}

/// After a theft nothing signed before is worth anything.
#[rstest]
#[actix_web::test]
async fn commands_replace_an_authority_beside_a_running_server(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Beside::new(backend).await;
    let bundle = bench.shown("team-a", "auth-bundle.pem").await.text;
    let first = bench.jwt("team-a").await;
    run(&bench.database, &["keys", "rotate", "team-a"]).unwrap();
    let second = bench.jwt("team-a").await;
    run(&bench.database, &["keys", "rotate", "--all"]).unwrap();
    let third = bench.jwt("team-a").await;
    let said = run(
        &bench.database,
        &["keys", "rotate", "team-a", "--authority"],
    )
    .unwrap();
    assert!(
        said.contains("restart") && said.contains("auth-bundle team-a"),
        "{said}"
    );
    for jwt in [&first, &second, &third] {
        assert_eq!(bench.check("team-a", jwt).await, 401);
    }
    let fourth = bench.jwt("team-a").await;
    assert_eq!(bench.check("team-a", &fourth).await, 200);
    assert_eq!(bench.kids("team-a").await, [kid(&fourth)]);
    let renewed = bench.shown("team-a", "auth-bundle.pem").await.text;
    assert_ne!(renewed, bundle);
    let leaf = leaf_of(&header(&fourth)).unwrap().unwrap();
    let now = claims(&fourth)["iat"].as_i64().unwrap() + 30;
    assert!(is_chained(&leaf, &certificates(&renewed), now));
    assert!(!is_chained(&leaf, &certificates(&bundle), now));
}

#[rstest]
#[actix_web::test]
async fn commands_that_name_no_registry_or_product_rotate_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Beside::new(backend).await;
    let before = kid(&bench.jwt("team-a").await);
    for (arguments, part) in [
        (&["keys", "rotate"][..], "REGISTRY"),
        (
            &["keys", "rotate", "nobody"],
            "registry \"nobody\" not found",
        ),
        (&["keys", "rotate", "--all", "--authority"], "--authority"),
        (&["keys", "rotate", "--all", "team-a"], "--all"),
        (
            &["registry", "jwks", "nobody"],
            "registry \"nobody\" not found",
        ),
        (&["registry", "auth-bundle", ""], "not found"),
        (
            &[
                "registry",
                "auth-config",
                "team-a",
                "--for",
                "harbor",
                "--bundle",
                "/x",
            ],
            "distribution2",
        ),
        (
            &["registry", "auth-config", "team-a", "--for", "zot"],
            "--bundle",
        ),
    ] {
        let said = run(&bench.database, arguments).unwrap_err();
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    assert_eq!(kid(&bench.jwt("team-a").await), before);
}

#[rstest]
#[actix_web::test]
async fn a_rotation_says_what_the_registry_has_to_be_given(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend, "pinned").await;
    let keys = bench.server.service.signing_keys();
    let path = format!("/registries/{}", bench.registry);
    let switch = async |verifier: &str| {
        let patch = json!({"tokenVerifier": verifier});
        assert_eq!(bench.admin.patch(&path, patch).await.status, 200);
        keys.tenant("team-a").await.unwrap()
    };
    // A registry that never had a key has nothing to lose.
    let tenant = switch("pinned").await;
    let said = async |tenant, rotation| keys.rotate(tenant, rotation).await.unwrap();
    assert_eq!(said(&tenant, Rotation::Signer).await, Consequence::None);
    assert_eq!(said(&tenant, Rotation::Signer).await, Consequence::Restart);
    // The registry may hold the pinned key still, and does not know the authority.
    let tenant = switch("x5c").await;
    assert_eq!(said(&tenant, Rotation::Signer).await, Consequence::Restart);
    assert_eq!(said(&tenant, Rotation::Signer).await, Consequence::None);
    assert_eq!(
        said(&tenant, Rotation::Authority).await,
        Consequence::Restart
    );
}

#[rstest]
#[actix_web::test]
async fn a_key_that_cannot_be_replaced_keeps_no_other_waiting(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend, "x5c").await;
    bench.reserve();
    bench.jwt().await;
    bench.server.clock.advance(TimeDelta::hours(1));
    let other = bench.admin.create_registry("team-b").await;
    let other = format!("/registries/{other}/jwks.json");
    let before = bench.admin.get(&other).await.json;
    // The first one's authority opens no more.
    bench.server.database.execute(
        "UPDATE signing_keys SET kid = 'damaged' WHERE role = 'ca' AND key = \
         (SELECT MIN(key) FROM signing_keys WHERE role = 'ca')",
    );
    bench.server.clock.advance(TimeDelta::days(31));
    bench.janitor().await;
    assert_ne!(bench.admin.get(&other).await.json, before);
    assert_eq!(bench.keys(), counts(&[("ca", 2), ("leaf", 3)]));
}

/// The word of `/readyz` on one check.
async fn ready(server: &Server, check: &str) -> Value {
    let answer = server.anonymous().get("/readyz").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["checks"][check].clone()
}

#[rstest]
#[actix_web::test]
async fn what_was_made_while_the_clock_was_ahead_opens_registries_when_it_is_right(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("a request", "the janitor", "a key set")] first: &str,
) {
    let ahead = TimeDelta::days(400);
    let bench = Bench::new(backend, "x5c").await;
    bench.reserve();
    bench.server.clock.set(ahead);
    let early = bench.jwt().await;
    let bundle = bench.bundle().await;
    let begin = bench.server.clock.now() - TimeDelta::hours(1);
    let begin = begin.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    assert!(
        ready(&bench.server, "signingCertificatesBegin")
            .await
            .is_null()
    );

    bench.server.clock.set(-ahead);
    assert_eq!(
        ready(&bench.server, "signingCertificatesBegin").await,
        json!(begin)
    );
    match first {
        "the janitor" => {
            let round = bench.janitor().await;
            assert_eq!((round.rotated, round.early), (1, 1));
            assert_eq!(bench.janitor().await.rotated, 0);
        }
        "a key set" => assert_ne!(bench.kids().await[0], kid(&early)),
        _ => {}
    }
    // The bundle that the registry has stays right; the signing key was made anew.
    let jwt = bench.jwt().await;
    assert_ne!(kid(&jwt), kid(&early));
    let setup = Setup {
        bundle: certificates(&bundle),
        ..bench.setup()
    };
    assert!(distribution2(&setup, &jwt).is_ok());
    assert!(distribution3(&setup, &jwt).is_ok());
    let leaf = leaf_of(&header(&jwt)).unwrap().unwrap();
    assert!(openssl_says(&leaf, &bundle, setup.now));
    assert_eq!(bench.bundle().await, bundle);
    assert_eq!(bench.kids().await[0], kid(&jwt));
    assert_eq!(bench.keys(), counts(&[("ca", 1), ("leaf", 2)]));
    assert!(
        ready(&bench.server, "signingCertificatesBegin")
            .await
            .is_null()
    );
    let named = bench
        .server
        .service
        .signing_keys()
        .early_authorities()
        .await;
    assert_eq!(named.unwrap(), []);
}

#[rstest]
#[actix_web::test]
async fn a_pinned_key_stays_whatever_the_clock_said(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend, "pinned").await;
    bench.reserve();
    let kids = bench.kids().await;
    // An older release made it while the clock was ahead.
    bench
        .server
        .database
        .execute("UPDATE signing_keys SET not_before = not_before + 300000000000000000");
    assert_eq!(bench.janitor().await.rotated, 0);
    assert_eq!([kid(&bench.jwt().await)], *kids);
    assert_eq!(bench.kids().await, kids);
    assert!(
        ready(&bench.server, "signingCertificatesBegin")
            .await
            .is_null()
    );
}

/// An older release made the authority while the clock was ahead: only the operator can give the registry a new one.
#[rstest]
#[actix_web::test]
async fn an_authority_of_the_future_is_named_with_what_helps(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend, "x5c").await;
    bench.reserve();
    bench.jwt().await;
    let begin = "2100-01-01T00:00:00Z";
    bench.server.database.execute(
        "UPDATE signing_keys SET not_before = 4102444800000000 WHERE role = 'ca'; DELETE FROM janitor_clock",
    );
    assert_eq!(
        ready(&bench.server, "signingCertificatesBegin").await,
        json!(begin)
    );

    let program = Program::start(&bench.server.database);
    // Its janitor has looked.
    let looked = "SELECT COUNT(*) FROM janitor_clock";
    let patience = Patience::new();
    while bench.server.database.number(looked) == 0 {
        patience.spend("the janitor has not looked");
        actix_web::rt::task::yield_now().await;
    }
    program.signal("TERM");
    let (_, log) = program.wait();
    for part in [
        "\"level\":\"WARN\"",
        "2100-01-01 00:00:00 UTC",
        "wharfinger keys rotate team-a --authority",
        "wharfinger registry auth-bundle team-a",
    ] {
        let warned = log
            .lines()
            .any(|line| line.contains(part) && line.contains("authority"));
        assert!(warned, "{part} is missing in {log}");
    }

    // That helps.
    let old = bench.bundle().await;
    let keys = bench.server.service.signing_keys();
    let tenant = keys.tenant("team-a").await.unwrap();
    let done = keys.rotate(&tenant, Rotation::Authority).await;
    assert_eq!(done.unwrap(), Consequence::Restart);
    let new = bench.bundle().await;
    assert_ne!(new, old);
    assert!(
        ready(&bench.server, "signingCertificatesBegin")
            .await
            .is_null()
    );
    let setup = Setup {
        bundle: certificates(&new),
        ..bench.setup()
    };
    assert!(distribution2(&setup, &bench.jwt().await).is_ok());
}

#[rstest]
#[actix_web::test]
async fn keys_that_an_older_release_left_go_with_the_rows(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend, "x5c").await;
    bench.reserve();
    bench.jwt().await;
    let end = async || {
        let ready = bench.server.anonymous().get("/readyz").await.json;
        ready["checks"]["signingCertificatesEnd"].clone()
    };
    assert!(end().await.is_string());
    // It knows no keys, and marks the registry alone.
    bench
        .server
        .database
        .execute("UPDATE registries SET deleted_at = created_at");
    assert!(end().await.is_null());
    bench.janitor().await;
    assert_eq!(bench.keys(), counts(&[]));
}
