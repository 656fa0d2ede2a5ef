//! The shortest way through everything.

use rstest::rstest;
use serde_json::json;

use crate::harness::{Backend, Server};

#[rstest]
#[actix_web::test]
async fn a_token_is_made_listed_changed_and_removed(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");

    let created = admin
        .post(&tokens, json!({"properties": {"name": "ci"}}))
        .await;
    assert_eq!(created.status, 201, "{created:?}");
    let secret = created.json["properties"]["credentials"]["password"]
        .as_str()
        .unwrap();
    assert!(secret.starts_with("whrt_"), "{secret}");
    let token = format!("{tokens}/{}", created.json["id"].as_str().unwrap());

    let listed = admin.get(&tokens).await;
    assert_eq!((listed.status, &listed.json["total"]), (200, &json!(1)));
    assert_eq!(
        listed.json["items"][0]["properties"]["credentials"]["password"],
        ""
    );

    let patched = admin.patch(&token, json!({"status": "disabled"})).await;
    assert_eq!(
        (patched.status, &patched.json["metadata"]["state"]),
        (200, &json!("disabled"))
    );

    assert_eq!(admin.delete(&token).await.status, 204);
    assert_eq!(admin.get(&token).await.status, 404);
    assert_eq!(admin.get(&tokens).await.json["total"], 0);
}
