//! The client that progenitor makes, against a running server.

use std::env;

use chrono::{TimeZone as _, Utc};
use generated::types::{
    PatchTokenInput, PostRegistryInput, PostRegistryProperties, PostTokenInput,
    PostTokenProperties, RotateTokenInput, Scope, TokenStatus,
};
use generated::{Client, Error};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

#[allow(clippy::all, unused, reason = "it is as it was made")]
mod generated {
    progenitor::generate_api!(spec = "wharfinger.json", interface = Builder);
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let credentials = HeaderValue::from_str(&env::var("BASIC").unwrap()).unwrap();
    let http = reqwest::Client::builder()
        .default_headers(HeaderMap::from_iter([(AUTHORIZATION, credentials)]))
        .build()
        .unwrap();
    let client = Client::new_with_client(&env::var("SERVER_URL").unwrap(), http);

    let properties = PostRegistryProperties::builder()
        .name("rust")
        .location("de/fra");
    let body = PostRegistryInput::builder().properties(properties);
    let registry = client.registries_post().body(body).send().await.unwrap();
    let registry_id = registry.id;
    assert!(registry.properties.garbage_collection_schedule.is_none());

    let expiry = Utc.with_ymd_and_hms(2036, 1, 13, 16, 27, 42).unwrap();
    let scope = Scope::try_from(
        Scope::builder()
            .actions(vec!["pull".parse().unwrap(), "push".parse().unwrap()])
            .name("*")
            .type_("repository"),
    );
    let properties = PostTokenProperties::builder()
        .name("push-token")
        .expiry_date(expiry)
        .scopes(vec![scope.unwrap()])
        .status(TokenStatus::Enabled);
    let token = client
        .registries_tokens_post()
        .registry_id(registry_id)
        .body(PostTokenInput::builder().properties(properties.clone()))
        .send()
        .await
        .unwrap();
    let first = &token.properties.credentials.password;
    assert!(first.starts_with("whrt_"));
    assert_eq!(token.properties.expiry_date, Some(expiry));
    let token_id = token.id.unwrap();

    let tokens = client
        .registries_tokens_get()
        .registry_id(registry_id)
        .limit("1");
    let tokens = tokens.send().await.unwrap();
    assert_eq!(tokens.total, 1);
    assert_eq!(tokens.items[0].properties.credentials.password, "");

    let changed = client
        .registries_tokens_patch()
        .registry_id(registry_id)
        .token_id(token_id)
        .body(PatchTokenInput::builder().status(TokenStatus::Disabled))
        .send()
        .await
        .unwrap();
    assert_eq!(changed.properties.status, TokenStatus::Disabled);
    assert_eq!(changed.properties.expiry_date, Some(expiry));

    // Its types cannot tell null from absent, and a PUT without an end is without one.
    let endless = client
        .registries_tokens_put()
        .registry_id(registry_id)
        .token_id(token_id.to_string())
        .body(PostTokenInput::builder().properties(properties.expiry_date(None)))
        .send()
        .await
        .unwrap();
    assert_eq!(endless.properties.expiry_date, None);
    assert_eq!(endless.properties.scopes.len(), 1);

    let rotated = client
        .registries_tokens_rotate()
        .registry_id(registry_id)
        .token_id(token_id)
        .body(RotateTokenInput::builder().grace_period("PT0S"))
        .send()
        .await
        .unwrap();
    let second = &rotated.properties.credentials.password;
    assert!(second.starts_with("whrt_") && second != first);

    let removal = client.registries_tokens_delete();
    let removal = removal.registry_id(registry_id).token_id(token_id);
    removal.send().await.unwrap();
    let gone = client.registries_tokens_find_by_id();
    let gone = gone.registry_id(registry_id).token_id(token_id);
    match gone.send().await {
        Err(Error::ErrorResponse(told)) => {
            assert_eq!(
                (told.status(), told.http_status),
                (reqwest::StatusCode::NOT_FOUND, 404)
            );
            assert_eq!(told.messages[0].error_code, "token-not-found");
        }
        other => panic!("{other:?}"),
    }
    client
        .registries_delete()
        .registry_id(registry_id)
        .send()
        .await
        .unwrap();
    println!("the generated Rust client works");
}
