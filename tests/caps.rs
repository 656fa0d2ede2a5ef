//! Limits on numbers: each surface's message, the ways to make room again, and the requests that no limit refuses.

use chrono::TimeDelta;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Actor, Answer, Backend, Server};

/// One of everything.
const ONE: [&str; 10] = [
    "--maximum-registries",
    "1",
    "--maximum-tokens",
    "1",
    "--maximum-members",
    "1",
    "--maximum-app-tokens",
    "1",
    "--maximum-api-tokens",
    "1",
];
const ID: &str = "11111111-1111-4111-8111-111111111111";
const APP_TOKENS: &str = "/api/v1/user/apptoken";

fn registry(name: &str) -> Value {
    json!({"properties": {"name": name, "location": "de/fra"}})
}

fn token(name: &str) -> Value {
    json!({"properties": {"name": name}})
}

/// Refused in the dialect of the registries API, with these words.
fn full(answer: &Answer, words: &str) {
    let message = format!("{words}; delete one that is not needed any more");
    let message = if words.contains("members") {
        message.replace("; delete", "; remove")
    } else {
        message
    };
    let messages = json!([{"errorCode": "quota-exceeded", "message": message}]);
    assert_eq!(
        answer.json,
        json!({"httpStatus": 409, "messages": messages})
    );
    assert_eq!(answer.status, 409);
}

async fn generate(actor: &Actor, name: &str) -> Answer {
    let wish = json!({"name": name, "role": "Analyst"});
    actor.post("/v1/apitokens/generate", wish).await
}

#[rstest]
#[actix_web::test]
async fn a_full_registry_and_a_full_account_say_so_and_take_one_when_one_is_gone(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &ONE).await;
    let admin = server.admin();
    let one = admin.create_registry("team-a").await;
    let full_account = "your account has made 1 registries, and no more than 1 are allowed";
    full(
        &admin.post("/registries", registry("team-b")).await,
        full_account,
    );
    let put = format!("/registries/{ID}");
    full(&admin.put(&put, registry("team-b")).await, full_account);
    // An existing registry can be replaced, and another account has a count of its own.
    let same = format!("/registries/{one}");
    assert_eq!(admin.put(&same, registry("team-a")).await.status, 200);
    admin.create_account("bob", &["Admin"]).await;
    let bob = server.actor("bob", "right-password");
    bob.create_registry("team-b").await;

    let tokens = format!("/registries/{one}/tokens");
    let first = admin.create_token(&one, "first").await;
    let full_registry = "this registry has 1 tokens, and no more than 1 are allowed";
    full(&admin.post(&tokens, token("second")).await, full_registry);
    let put = format!("{tokens}/{ID}");
    full(&admin.put(&put, token("second")).await, full_registry);
    let first = format!("{tokens}/{first}");
    assert_eq!(admin.put(&first, token("first")).await.status, 200);
    let disabled = admin.patch(&first, json!({"status": "disabled"})).await;
    assert_eq!(disabled.status, 200);
    assert_eq!(admin.get(&tokens).await.json["total"], 1);
    assert_eq!(admin.delete(&first).await.status, 204);
    assert_eq!(admin.put(&put, token("second")).await.status, 201);
    server.database.check_totals();

    let (carol, dave) = (
        admin.create_account("carol", &[]).await,
        admin.create_account("dave", &[]).await,
    );
    let member = |account: &str| format!("/registries/{one}/members/{account}");
    let level = |level: &str| json!({"level": level});
    admin.set_member(&one, &carol, "reader").await;
    full(
        &admin.put(&member(&dave), level("reader")).await,
        "this registry has 1 members, and no more than 1 are allowed",
    );
    let raised = admin.put(&member(&carol), level("owner")).await;
    assert_eq!(raised.status, 200);
    let gone = admin.delete(&format!("/accounts/{carol}")).await;
    assert_eq!(gone.status, 204);
    let second = admin.put(&member(&dave), level("reader")).await;
    assert_eq!(second.status, 201);

    assert_eq!(admin.delete(&same).await.status, 204);
    admin.create_registry("team-c").await;
}

#[rstest]
#[actix_web::test]
async fn app_tokens_are_full_in_the_words_of_quay(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let flags = [&ONE[..], &["--app-token-life", "1h"]].concat();
    let server = Server::start_with(backend, &flags).await;
    let admin = server.admin();
    let made = admin.post(APP_TOKENS, json!({"title": "a"})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let refused = admin.post(APP_TOKENS, json!({"title": "b"})).await;
    assert_eq!(refused.status, 409);
    let detail = "your account has 1 app tokens, and no more than 1 are allowed; delete one that is not needed any more";
    let page = format!("http://{}/api/v1/error/quota_exceeded", server.address);
    assert_eq!(
        refused.json,
        json!({
            "status": 409, "type": page, "title": "quota_exceeded", "detail": detail,
            "error_type": "quota_exceeded", "error_message": detail,
        })
    );
    let explained = server.anonymous().get("/api/v1/error/quota_exceeded").await;
    assert_eq!(explained.status, 200);
    assert_eq!(explained.json["title"], "quota_exceeded");

    // Another account's are others, and an expired one counts as long as it is listed.
    admin.create_account("bob", &["Admin"]).await;
    let bob = server.actor("bob", "right-password");
    let of_bob = bob.post(APP_TOKENS, json!({"title": "b"})).await;
    assert_eq!(of_bob.status, 201);
    server.clock.advance(TimeDelta::hours(2));
    let refused = admin.post(APP_TOKENS, json!({"title": "b"})).await;
    assert_eq!(refused.status, 409);
    let id = made.json["token"]["uuid"].as_str().unwrap();
    assert_eq!(
        admin.delete(&format!("{APP_TOKENS}/{id}")).await.status,
        204
    );
    let again = admin.post(APP_TOKENS, json!({"title": "b"})).await;
    assert_eq!(again.status, 201);
}

#[rstest]
#[actix_web::test]
async fn api_tokens_in_force_are_full_in_the_words_of_stackrox(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &ONE).await;
    let admin = server.admin();
    let first = generate(&admin, "first").await;
    assert_eq!(first.status, 200, "{first:?}");
    let refused = generate(&admin, "second").await;
    assert_eq!(refused.status, 400);
    let message = "this service has 1 API tokens in force, and no more than 1 are allowed; revoke one that is not needed any more";
    assert_eq!(
        refused.json,
        json!({"code": 9, "message": message, "details": [], "error": message})
    );
    // The answer gives no time to retry: clients would retry by themselves, without success.
    assert_eq!(refused.header("retry-after"), "");

    let id = first.json["metadata"]["id"].as_str().unwrap();
    let revoke = format!("/v1/apitokens/revoke/{id}");
    assert_eq!(admin.patch(&revoke, json!({})).await.status, 200);
    assert_eq!(generate(&admin, "second").await.status, 200);
    assert_eq!(generate(&admin, "third").await.status, 400);
    server.clock.advance(TimeDelta::days(366));
    assert_eq!(generate(&admin, "third").await.status, 200);
}

#[rstest]
#[actix_web::test]
async fn what_was_there_before_a_cap_was_lowered_goes_on_working(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let before = server.admin();
    let registry = before.create_registry("team-a").await;
    for name in ["t1", "t2", "t3"] {
        before.create_token(&registry, name).await;
    }
    let minted = before.mint(&registry, "t4", &["repository:a:pull"]).await;

    let server = server.replica_with(&ONE).await;
    let admin = server.admin();
    let tokens = format!("/registries/{registry}/tokens");
    full(
        &admin.post(&tokens, token("t5")).await,
        "this registry has 4 tokens, and no more than 1 are allowed",
    );
    assert_eq!(admin.get(&tokens).await.json["total"], 4);
    let login = server.client(&minted);
    let answer = login
        .ask("/token", &[("service", "team-a.localhost")])
        .await;
    assert_eq!(answer.status, 200);
    let put = format!("{tokens}/{ID}");
    assert_eq!(admin.put(&put, token("t5")).await.status, 409);
}
