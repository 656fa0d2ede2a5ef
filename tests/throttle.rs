//! The treatment of clients that fail repeatedly, and of all others. Clients come from 127.0.0.1 and 127.0.0.2, and
//! from other addresses that a trusted proxy gives.

use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{ADMIN_PASSWORD, Actor, Answer, Backend, Server, encoded};

const SERVICE: &str = "team-a.localhost";
const ELSEWHERE: [u8; 4] = [127, 0, 0, 2];
/// Long enough for the remembered proofs to end, and for a minute's failures to be forgotten.
const LATER: TimeDelta = TimeDelta::seconds(61);
const LIMITS: [&str; 4] = ["--failures-per-identity", "3", "--failures-per-source", "6"];

async fn start(backend: Backend) -> Server {
    Server::start_with(backend, &LIMITS).await
}

/// Sends a wrong password until it has to wait. Returns how many were told that they are wrong.
async fn exhaust(actor: &Actor) -> usize {
    for number in 0..50 {
        let answer = actor.get("/registries").await;
        match answer.status {
            401 => {}
            429 => return number,
            _ => panic!("{answer:?}"),
        }
    }
    panic!("nothing ever has to wait")
}

#[rstest]
#[actix_web::test]
async fn failures_wait_and_nothing_that_is_right_does(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = start(backend).await;
    let admin = server.admin();
    for name in ["ann", "bob", "eve"] {
        admin.create_account(name, &["Analyst"]).await;
    }
    let right = |name: &str| server.actor(name, "right-password");
    assert_eq!(right("ann").get("/registries").await.status, 200);
    server.clock.advance(LATER);

    let guesses = server.actor("Ann", "wrong-password");
    assert_eq!(exhaust(&guesses).await, 3);
    let answer = guesses.get("/registries").await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), "20");
    assert_eq!(answer.codes(), ["rate-limited"]);
    assert_eq!(
        answer.message(),
        "too many wrong credentials came from this address, or too many are being checked; try again in 20 s"
    );

    // The right password works, though its proof is over and bcrypt is asked again; many requests at once too.
    let checks = server.service.password_checks();
    assert_eq!(right("ann").get("/registries").await.status, 200);
    assert_eq!(server.service.password_checks(), checks + 1);
    let many = (0..40).map(|_| {
        let ann = right("ann");
        actix_web::rt::spawn(async move { ann.get("/registries").await.status })
    });
    for one in many.collect::<Vec<_>>() {
        assert_eq!(one.await.unwrap(), 200);
    }
    // So do other names from here, but clients elsewhere are not limited. A success there does not help a client here.
    assert_eq!(right("bob").get("/registries").await.status, 200);
    assert_eq!(exhaust(&server.actor("eve", "wrong-password")).await, 3);
    assert_eq!(right("eve").get("/registries").await.status, 429);
    let elsewhere = right("eve").at(ELSEWHERE);
    assert_eq!(elsewhere.get("/registries").await.status, 200);
    assert_eq!(right("eve").get("/registries").await.status, 429);

    // Six failures came from here: that is all for every name.
    assert_eq!(exhaust(&server.actor("nobody", "wrong-password")).await, 0);
    assert_eq!(exhaust(&guesses.at(ELSEWHERE)).await, 3);

    // Whoever waits as long as told has one more try.
    server.clock.advance(TimeDelta::seconds(20));
    assert_eq!(exhaust(&guesses).await, 1);
}

#[rstest]
#[actix_web::test]
async fn a_wall_clock_that_is_set_moves_no_wait_and_no_proof(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    for hours in [-1, 1] {
        let server = start(backend).await;
        let admin = server.admin();
        admin.create_account("ann", &["Analyst"]).await;
        let ann = server.actor("ann", "right-password");
        let guesses = server.actor("ann", "wrong-password");
        // Ann has to wait, and fails so often that nothing passes under this name.
        assert_eq!(exhaust(&guesses).await, 3);
        for _ in 0..31 {
            assert_eq!(guesses.get("/registries").await.status, 429);
        }
        let checks = server.service.password_checks();
        assert_eq!(admin.get("/registries").await.status, 200);

        server.clock.set(TimeDelta::hours(hours));
        // No second has passed: the same requests still have to wait, and the remembered proof holds.
        assert_eq!(ann.get("/registries").await.status, 429);
        assert_eq!(admin.get("/registries").await.status, 200);
        assert_eq!(server.service.password_checks(), checks);
        // A minute has passed: the failures are forgotten, and so is the proof.
        server.clock.advance(LATER);
        assert_eq!(ann.get("/registries").await.status, 200, "set by {hours} h");
        assert_eq!(admin.get("/registries").await.status, 200);
        assert_eq!(server.service.password_checks(), checks + 2);
    }
}

#[rstest]
#[actix_web::test]
async fn guesses_side_by_side_are_no_more_than_one_by_one(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = start(backend).await;
    let checks = server.service.password_checks();
    let guesses = (0..40).map(|number| {
        let guess = server.actor("admin", &format!("guess-{number}"));
        actix_web::rt::spawn(async move { guess.get("/registries").await.status })
    });
    let mut statuses = Vec::new();
    for guess in guesses.collect::<Vec<_>>() {
        statuses.push(guess.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses[..3], [401; 3]);
    assert_eq!(statuses[3..], [429; 37]);
    assert_eq!(server.service.password_checks(), checks + 3);
}

#[rstest]
#[actix_web::test]
async fn waiting_is_no_way_to_learn_which_password_is_right(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = start(backend).await;
    // Admin works at one address. At another address a client has used up the allowance, and then guesses right.
    let admin = server.admin();
    assert_eq!(admin.get("/registries").await.status, 200);
    let thief = server.actor("admin", "wrong-password").at(ELSEWHERE);
    assert_eq!(exhaust(&thief).await, 3);
    assert_eq!(admin.at(ELSEWHERE).get("/registries").await.status, 429);

    // At the same address a right password passes, until the failures reach ten times the allowance.
    let neighbour = server.actor("admin", "wrong-password");
    assert_eq!(exhaust(&neighbour).await, 3);
    for _ in 0..29 {
        assert_eq!(neighbour.get("/registries").await.status, 429);
        assert_eq!(admin.get("/registries").await.status, 200);
    }
    for _ in 0..3 {
        assert_eq!(neighbour.get("/registries").await.status, 429);
    }
    assert_eq!(admin.get("/registries").await.status, 429);
    // That is about this name here.
    assert_eq!(
        admin.at([127, 0, 0, 3]).get("/registries").await.status,
        200
    );
    assert_eq!(server.analyst().get("/registries").await.status, 200);
    server.clock.advance(TimeDelta::seconds(10));
    assert_eq!(admin.get("/registries").await.status, 200);
}

#[rstest]
#[actix_web::test]
async fn tokens_and_sessions_pass_where_a_password_has_to_wait(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let registry_token = admin.mint(&registry, "admin", &["repository:a:pull"]).await;
    let body = json!({"name": "n", "role": "Admin"});
    let made = admin.post("/v1/apitokens/generate", body).await;
    let api_token = server.bearer(made.json["token"].as_str().unwrap());
    let session = server.session(&server.sign_in("admin", ADMIN_PASSWORD).await);
    let body = json!({"title": "laptop"});
    let made = session.post("/api/v1/user/apptoken", body).await;
    let code = made.json["token"]["token_code"].as_str().unwrap();
    let app_token = server.actor("$app", code);

    // At the address of the owner somebody guesses the owner's name for as long as it takes.
    let guesses = server.actor("admin", "wrong-password");
    for _ in 0..50 {
        assert_ne!(guesses.get("/registries").await.status, 200);
    }
    assert_eq!(admin.get("/registries").await.status, 429);
    for tokens in [&api_token, &session] {
        assert_eq!(tokens.get("/api/v1/user/apptoken").await.status, 200);
    }
    let query = [("service", SERVICE)];
    for client in [&server.client(&registry_token), &app_token] {
        let answer = client.ask("/token", &query).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(admin.get("/registries").await.status, 429);
}

#[rstest]
#[actix_web::test]
async fn machine_secrets_are_counted_apart_and_right_ones_never_wait(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let ci = admin.mint(&registry, "ci", &["repository:a:pull"]).await;
    let old = admin.mint(&registry, "old", &["repository:a:pull"]).await;
    admin.delete(&old.path).await;
    let query = [("service", SERVICE)];
    let statuses = async |actor: &Actor, times: usize| {
        let mut statuses = Vec::new();
        for _ in 0..times {
            statuses.push(actor.ask("/token", &query).await.status);
        }
        statuses
    };
    // A pipeline that goes on with a token that is gone.
    let gone = server.client(&old);
    assert_eq!(statuses(&gone, 5).await, [401, 401, 401, 429, 429]);
    // Another name spends the rest of the source's allowance.
    let wrong = server.actor("ci", &old.secret);
    assert_eq!(statuses(&wrong, 5).await, [401, 401, 401, 429, 429]);
    // The same name, with the right secret, and a token not seen before.
    assert_eq!(statuses(&server.client(&ci), 3).await, [200; 3]);
    let new = admin.mint(&registry, "new", &["repository:a:pull"]).await;
    assert_eq!(statuses(&server.client(&new), 1).await, [200]);
    // People can still log in, even for the first time.
    admin.create_account("ann", &["Admin"]).await;
    let ann = server.actor("ann", "right-password");
    assert_eq!(statuses(&ann, 1).await, [200]);

    // Unknown keys wait too, and keys in force do not.
    let made = admin
        .post(
            "/v1/apitokens/generate",
            json!({"name": "n", "role": "Admin"}),
        )
        .await;
    let token = made.json["token"].as_str().unwrap();
    let forged = format!("{}x", &token[..token.len() - 1]);
    assert_eq!(exhaust(&server.bearer(&forged)).await, 0);
    assert_eq!(exhaust(&server.bearer(&forged).at(ELSEWHERE)).await, 3);
    assert_eq!(server.bearer(token).get("/registries").await.status, 200);
    // A token's secret where a password belongs is no guess at a password.
    let pasted = server.client(&ci).at([127, 0, 0, 3]);
    assert_eq!(exhaust(&pasted).await, 3);
    let person = server.actor("ci", "some-password").at([127, 0, 0, 3]);
    assert_eq!(person.get("/registries").await.status, 401);
}

#[rstest]
#[actix_web::test]
async fn who_is_shut_out_waits_like_who_guesses(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = start(backend).await;
    let admin = server.admin();
    for name in ["ann", "bob"] {
        let id = admin.create_account(name, &["Admin"]).await;
        let body = json!({"status": "disabled"});
        let answer = admin.patch(&format!("/accounts/{id}"), body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let tried = async |name: &str, password: &str, from: [u8; 4]| {
        let actor = server.actor(name, password).at(from);
        let mut answers = Vec::new();
        for _ in 0..5 {
            let answer = actor.get("/registries").await;
            answers.push((answer.status, answer.text));
        }
        answers
    };
    let wrong = tried("ann", "wrong-password", [127, 0, 0, 1]).await;
    assert_eq!(wrong.iter().filter(|(status, _)| *status == 429).count(), 2);
    assert_eq!(wrong, tried("bob", "right-password", [127, 0, 0, 2]).await);
    assert_eq!(
        wrong,
        tried("nobody", "right-password", [127, 0, 0, 3]).await
    );
    assert_eq!(wrong, tried("ann", "right-password", [127, 0, 0, 4]).await);
}

#[rstest]
#[actix_web::test]
async fn every_surface_says_to_wait_in_its_own_shape(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = start(backend).await;
    let admin = server.admin();
    admin.create_registry("team-a").await;
    let guess = server.actor("admin", "wrong-password");
    let token = format!("/token?service={SERVICE}");
    let check = format!("/v2/check?service={SERVICE}");
    let text = "too many wrong credentials came from this address, or too many are being checked; try again in 20 s";
    let oci = json!({"errors": [{"code": "TOOMANYREQUESTS", "message": text}]});
    let ionos =
        json!({"httpStatus": 429, "messages": [{"errorCode": "rate-limited", "message": text}]});
    let stackrox = json!({"code": 8, "details": [], "error": text, "message": text});
    let form = [
        ("grant_type", "password"),
        ("service", SERVICE),
        ("username", "admin"),
        ("password", "wrong-password"),
    ];
    let expect = |answer: Answer, body: &Value, place: &str| {
        assert_eq!(answer.status, 429, "{place}: {answer:?}");
        assert_eq!(answer.header("retry-after"), "20", "{place}");
        assert_eq!(answer.header("www-authenticate"), "", "{place}");
        assert_eq!(answer.json, *body, "{place}");
    };
    assert_eq!(exhaust(&guess).await, 3);
    for path in [
        "/registries",
        "/locations",
        "/accounts",
        "/audit",
        "/containerregistries/registries",
    ] {
        expect(guess.get(path).await, &ionos, path);
    }
    // Not the body is judged first, nor the path.
    let answer = guess.post("/registries", json!({"nonsense": 1})).await;
    expect(answer, &ionos, "POST /registries");
    for path in ["/v1/apitokens", "/v1/apitokens/nonsense"] {
        expect(guess.get(path).await, &stackrox, path);
    }
    for path in [&token, "/v2/auth?service=team-a.localhost"] {
        expect(guess.get(path).await, &oci, path);
    }
    expect(
        server.anonymous().form("/token", &form).await,
        &oci,
        "POST /token",
    );
    let request = guess
        .request(Method::GET, &check)
        .header("x-original-method", "GET")
        .header("x-original-uri", "/v2/a/manifests/1");
    expect(guess.send(request).await, &oci, "/v2/check");

    let quay = guess.get("/api/v1/user/apptoken").await;
    assert_eq!((quay.status, quay.header("retry-after")), (429, "20"));
    assert_eq!(quay.json["error_type"], "too_many_requests");
    let visitor = server.session(&server.visit().await);
    let body = json!({"username": "admin", "password": "wrong-password"});
    let answer = visitor.post("/api/v1/signin", body).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "20"));
}

#[rstest]
#[actix_web::test]
async fn each_replica_counts_for_itself_and_the_audit_trail_tells(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = start(backend).await;
    let replica = server.replica_with(&LIMITS).await;
    assert_eq!(server.admin().get("/registries").await.status, 200);
    assert_eq!(exhaust(&server.actor("admin", "wrong-password")).await, 3);
    assert_eq!(exhaust(&replica.actor("admin", "wrong-password")).await, 3);
    assert_eq!(server.admin().get("/registries").await.status, 200);
    assert_eq!(replica.admin().get("/registries").await.status, 429);

    server.clock.advance(LATER);
    server.service.flush_audit(false).await.unwrap();
    let events = server.admin().get("/audit?outcome=throttled").await;
    let event = &events.json["items"][0];
    assert_eq!(event["kind"], "refuse", "{events:?}");
    assert_eq!(event["actorName"], "admin");
    assert_eq!(event["address"], "127.0.0.1");
    assert_eq!(event["detail"]["credential"]["kind"], "password");
}

/// Asks through a proxy at 127.0.0.1 that names the client's address.
async fn asked_for(actor: &Actor, from: &str, path: &str) -> u16 {
    let request = actor
        .request(Method::GET, path)
        .header("x-forwarded-for", from);
    actor.send(request).await.status
}

#[rstest]
#[actix_web::test]
async fn behind_a_trusted_proxy_each_client_is_a_source(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let flags = [&LIMITS[..], &["--trusted-proxies", "127.0.0.1,10.0.0.0/8"]].concat();
    let server = Server::start_with(backend, &flags).await;
    let admin = server.admin();
    admin.create_account("ann", &["Admin"]).await;
    let registry = admin.create_registry("team-a").await;
    let guess = server.actor("ann", "wrong-password");
    let statuses = async |from: &[&str]| {
        let mut statuses = Vec::new();
        for from in from {
            statuses.push(asked_for(&guess, from, "/registries").await);
        }
        statuses
    };
    // An IPv6 network is one source. Only the address that the proxy sees counts, not a client's own entries in front.
    let network = [
        "2001:db8::1",
        "2001:db8::2",
        "192.0.2.1, 2001:db8::ffff:3",
        "2001:db8::4, 10.1.2.3",
        "2001:db8:0:1::1",
    ];
    assert_eq!(statuses(&network).await, [401, 401, 401, 429, 401]);
    assert_eq!(statuses(&["192.0.2.1"; 5]).await, [401, 401, 401, 429, 429]);
    assert_eq!(statuses(&["192.0.2.2"]).await, [401]);
    // The right password from where nothing failed, and none from where it did.
    let ann = server.actor("ann", "right-password");
    assert_eq!(asked_for(&ann, "192.0.2.1", "/registries").await, 429);
    assert_eq!(asked_for(&ann, "192.0.2.3", "/registries").await, 200);

    // Other addresses are not trusted proxies: this client counts as 127.0.0.2 in spite of its header.
    let elsewhere = guess.at(ELSEWHERE);
    for (number, status) in [401, 401, 401, 429].into_iter().enumerate() {
        let from = format!("192.0.2.{}", 100 + number);
        assert_eq!(asked_for(&elsewhere, &from, "/registries").await, status);
    }

    // Lists of addresses, last uses and the audit trail see the same address.
    let minted = admin
        .mint_with(
            &registry,
            json!({"name": "ci", "allowedCidrs": ["198.51.100.0/24"]}),
        )
        .await;
    let client = server.client(&minted);
    let login = format!("/token?{}", encoded(&[("service", SERVICE)]));
    assert_eq!(asked_for(&client, "198.51.100.7", &login).await, 200);
    assert_eq!(asked_for(&client, "198.51.101.7", &login).await, 401);
    assert_eq!(client.get(&login).await.status, 401);
    server.service.flush_usage().await.unwrap();
    let shown = admin.get(&minted.path).await;
    assert_eq!(
        shown.json["metadata"]["lastUsedAddress"], "198.51.100.7",
        "{shown:?}"
    );
    server.service.flush_audit(true).await.unwrap();
    let events = admin.get("/audit?kind=login").await;
    assert_eq!(
        events.json["items"][0]["address"], "198.51.100.7",
        "{events:?}"
    );
}

#[rstest]
#[actix_web::test]
async fn without_trusted_proxies_no_header_says_where_a_request_comes_from(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = start(backend).await;
    let guess = server.actor("admin", "wrong-password");
    for (number, status) in [401, 401, 401, 429].into_iter().enumerate() {
        let from = format!("192.0.2.{number}");
        assert_eq!(asked_for(&guess, &from, "/registries").await, status);
    }
    let admin = server.actor("admin", ADMIN_PASSWORD).at(ELSEWHERE);
    assert_eq!(asked_for(&admin, "127.0.0.1", "/registries").await, 200);
}

#[rstest]
#[actix_web::test]
async fn a_password_that_is_no_longer_right_is_a_guess_like_any_other(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = start(backend).await;
    let admin = server.admin();
    let id = admin.create_account("ann", &["Analyst"]).await;
    let ann = server.actor("ann", "right-password");
    assert_eq!(ann.get("/registries").await.status, 200);
    let password = json!({"password": "another-password"});
    let changed = admin.patch(&format!("/accounts/{id}"), password).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    // The proof is over; that the password was right here is still remembered.
    server.clock.advance(LATER);
    let checks = server.service.password_checks();
    assert_eq!(exhaust(&ann).await, 3);
    assert_eq!(server.service.password_checks(), checks + 3);
}
