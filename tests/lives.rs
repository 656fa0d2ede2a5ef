//! Token lifetimes: the rules of a server and of a registry, applied by each way to set an end.

use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use wharfinger::clock::Clock as _;

use crate::harness::{Actor, Answer, Backend, Server};

/// The tests' clock begins here, at a whole second.
fn day(server: &Server, days: i64) -> String {
    let at = server.clock.now() + TimeDelta::days(days);
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

fn end(answer: &Answer) -> &Value {
    &answer.json["properties"]["expiryDate"]
}

async fn make(admin: &Actor, list: &str, name: &str, ends: Value) -> Answer {
    admin.post(list, properties(name, ends)).await
}

/// Without the member if the value is `"absent"`.
fn properties(name: &str, ends: Value) -> Value {
    let mut properties = json!({"name": name, "expiryDate": ends});
    if properties["expiryDate"] == "absent" {
        properties.as_object_mut().unwrap().remove("expiryDate");
    }
    json!({"properties": properties})
}

fn refused(answer: &Answer, text: &str) {
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.codes(), ["invalid-expiry-date"]);
    assert!(answer.message().contains(text), "{answer:?}");
}

async fn rule(admin: &Actor, registry: &str, rules: Value) -> Answer {
    admin.patch(&format!("/registries/{registry}"), rules).await
}

#[rstest]
#[actix_web::test]
async fn who_does_not_ask_gets_the_default_and_nobody_more_than_the_maximum(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let list = format!("/registries/{registry}/tokens");
    // Not at a whole second: ends that are computed from now are shown in whole seconds all the same.
    server.clock.advance(TimeDelta::milliseconds(123));
    let absent = json!("absent");

    // Without rules, as the product has it.
    for ends in [absent.clone(), Value::Null] {
        let answer = make(&admin, &list, &format!("free-{}", ends.is_null()), ends).await;
        assert_eq!((answer.status, end(&answer)), (201, &Value::Null));
    }

    let answer = rule(&admin, &registry, json!({"defaultTokenLife": "P4W"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json["properties"]["defaultTokenLife"], "P28D");
    assert_eq!(answer.json["properties"].get("maximumTokenLife"), None);
    let answer = make(&admin, &list, "default", absent.clone()).await;
    assert_eq!(
        (answer.status, end(&answer)),
        (201, &json!(day(&server, 28)))
    );
    let answer = make(&admin, &list, "never", Value::Null).await;
    assert_eq!((answer.status, end(&answer)), (201, &Value::Null));
    let answer = make(&admin, &list, "long", json!(day(&server, 1000))).await;
    assert_eq!(answer.status, 201, "{answer:?}");

    let rules = json!({"maximumTokenLife": "P90D"});
    assert_eq!(rule(&admin, &registry, rules).await.status, 200);
    let latest = day(&server, 90);
    let answer = make(&admin, &list, "ever", Value::Null).await;
    refused(&answer, "null would let the token last for ever");
    refused(&answer, &latest);
    let later = day(&server, 91);
    refused(&make(&admin, &list, "later", json!(later)).await, &latest);
    let answer = make(&admin, &list, "latest", json!(latest)).await;
    assert_eq!((answer.status, end(&answer)), (201, &json!(latest)));
    let answer = make(&admin, &list, "default-2", absent.clone()).await;
    assert_eq!(end(&answer), &json!(day(&server, 28)));

    // Without a default, a request without an end gets the maximum.
    let rules = json!({"defaultTokenLife": null});
    assert_eq!(rule(&admin, &registry, rules).await.status, 200);
    let answer = make(&admin, &list, "most", absent).await;
    assert_eq!((answer.status, end(&answer)), (201, &json!(latest)));
    assert_eq!(admin.get(&list).await.json["total"], 8);
}

#[rstest]
#[actix_web::test]
async fn what_is_changed_follows_the_rules_and_what_stays_does_not_have_to(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let list = format!("/registries/{registry}/tokens");
    let made = make(&admin, &list, "ci", Value::Null).await;
    let path = format!("{list}/{}", made.json["id"].as_str().unwrap());
    let rules = json!({"defaultTokenLife": "P30D", "maximumTokenLife": "P90D"});
    assert_eq!(rule(&admin, &registry, rules).await.status, 200);

    // A token from before the rules keeps its end if a client sends the token back.
    let tag = admin.get(&path).await.header("etag").to_owned();
    for ends in [Value::Null, json!("absent")] {
        let answer = admin.put(&path, properties("ci", ends)).await;
        assert_eq!((answer.status, end(&answer)), (200, &Value::Null));
    }
    let answer = admin
        .patch(&path, json!({"expiryDate": null, "scopes": []}))
        .await;
    assert_eq!((answer.status, end(&answer)), (200, &Value::Null));
    assert_eq!(admin.get(&path).await.header("etag"), tag);

    // Within the rules it can be given an end, and another, and none.
    for days in [10, 90] {
        let ends = json!({"expiryDate": day(&server, days)});
        let answer = admin.patch(&path, ends.clone()).await;
        assert_eq!((answer.status, end(&answer)), (200, &ends["expiryDate"]));
    }
    let ends = day(&server, 90);
    refused(
        &admin.patch(&path, json!({"expiryDate": null})).await,
        "for ever",
    );
    refused(
        &admin
            .patch(&path, json!({"expiryDate": day(&server, 91)}))
            .await,
        &ends,
    );
    refused(
        &admin.put(&path, properties("ci", Value::Null)).await,
        "for ever",
    );
    refused(
        &admin
            .put(&path, properties("ci", json!(day(&server, 91))))
            .await,
        &ends,
    );
    // A replacement that does not speak of the end keeps it, again and again: Terraform sees no difference.
    server.clock.advance(TimeDelta::days(3));
    let tag = admin.get(&path).await.header("etag").to_owned();
    for _ in 0..2 {
        let answer = admin.put(&path, properties("ci", json!("absent"))).await;
        assert_eq!((answer.status, end(&answer)), (200, &json!(ends)));
        assert_eq!(answer.header("etag"), tag);
    }
    // The maximum counts from the change, so a renewed token lasts longer.
    let renewed = json!({"expiryDate": day(&server, 90)});
    assert_eq!(admin.patch(&path, renewed).await.status, 200);

    // Without rules, the end is the product's.
    let rules = json!({"defaultTokenLife": null, "maximumTokenLife": null});
    assert_eq!(rule(&admin, &registry, rules).await.status, 200);
    let answer = admin.put(&path, properties("ci", json!("absent"))).await;
    assert_eq!((answer.status, end(&answer)), (200, &Value::Null));
}

#[rstest]
#[actix_web::test]
async fn a_registry_is_bound_by_its_server(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let flags = ["--default-token-life", "10d", "--maximum-token-life", "20d"];
    let server = Server::start_with(backend, &flags).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let list = format!("/registries/{registry}/tokens");
    let answer = make(&admin, &list, "own", json!("absent")).await;
    assert_eq!(end(&answer), &json!(day(&server, 10)));
    let rules = json!({"defaultTokenLife": "P5D", "maximumTokenLife": "P30D"});
    assert_eq!(rule(&admin, &registry, rules).await.status, 200);
    let answer = make(&admin, &list, "registrys", json!("absent")).await;
    assert_eq!(end(&answer), &json!(day(&server, 5)));
    refused(
        &make(&admin, &list, "later", json!(day(&server, 21))).await,
        &day(&server, 20),
    );
    // A default above the maximum is refused, whether the maximum is the server's or the registry's.
    let rules = json!({"defaultTokenLife": "P25D"});
    let named = json!({"name": "team-b", "location": "de/fra", "defaultTokenLife": "P25D"});
    let put = "/registries/0000feed-0000-4000-8000-00000000000b";
    for answer in [
        rule(&admin, &registry, rules.clone()).await,
        admin
            .post("/registries", json!({"properties": named}))
            .await,
        admin.put(put, json!({"properties": named})).await,
    ] {
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.codes(), ["invalid-default-token-life"]);
        let message = answer.message();
        assert!(
            message.contains("P25D") && message.contains("P20D"),
            "{message}"
        );
    }
    // One that was there before the maximum is cut, and can be sent back.
    let unbound = server.replica().await;
    let answer = rule(&unbound.admin(), &registry, rules.clone()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(rule(&admin, &registry, rules).await.status, 200);
    let answer = make(&admin, &list, "servers", json!("absent")).await;
    assert_eq!(end(&answer), &json!(day(&server, 20)));
    // A creating PUT is no different.
    let path = format!("{list}/0000feed-0000-4000-8000-000000000001");
    let answer = admin.put(&path, properties("put", json!("absent"))).await;
    assert_eq!(
        (answer.status, end(&answer)),
        (201, &json!(day(&server, 20)))
    );
    refused(
        &admin
            .put(
                &path.replace("000001", "000002"),
                properties("ever", Value::Null),
            )
            .await,
        "for ever",
    );
}

#[rstest]
#[actix_web::test]
async fn clients_that_know_no_rules_leave_a_registrys_as_they_are(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let path = format!("/registries/{registry}");
    let rules = json!({"defaultTokenLife": "PT36H", "maximumTokenLife": "P90D"});
    let answer = rule(&admin, &registry, rules).await;
    let (shown, version) = (
        answer.json["properties"].clone(),
        answer.header("etag").to_owned(),
    );
    assert_eq!(shown["defaultTokenLife"], "P1DT12H");
    let plain = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    let answer = admin.put(&path, plain).await;
    assert_eq!((answer.status, &answer.json["properties"]), (200, &shown));
    assert_eq!(answer.header("etag"), version);
    let cleared =
        json!({"properties": {"name": "team-a", "location": "de/fra", "defaultTokenLife": null}});
    let answer = admin.put(&path, cleared).await;
    assert_eq!(answer.json["properties"].get("defaultTokenLife"), None);
    assert_eq!(answer.json["properties"]["maximumTokenLife"], "P90D");

    for (rules, code) in [
        (
            json!({"defaultTokenLife": "P91D"}),
            "invalid-default-token-life",
        ),
        (
            json!({"defaultTokenLife": "P1D", "maximumTokenLife": "PT1H"}),
            "invalid-default-token-life",
        ),
        (
            json!({"maximumTokenLife": "P1Y"}),
            "invalid-maximum-token-life",
        ),
        (
            json!({"maximumTokenLife": "PT0S"}),
            "invalid-maximum-token-life",
        ),
        (
            json!({"defaultTokenLife": "90d"}),
            "invalid-default-token-life",
        ),
    ] {
        let answer = rule(&admin, &registry, rules.clone()).await;
        assert_eq!(answer.status, 400, "{rules}: {answer:?}");
        assert_eq!(answer.codes(), [code], "{rules}");
    }
    let made =
        json!({"properties": {"name": "team-b", "location": "de/fra", "maximumTokenLife": "P7D"}});
    let answer = admin.post("/registries", made).await;
    assert_eq!(
        (
            answer.status,
            &answer.json["properties"]["maximumTokenLife"]
        ),
        (201, &json!("P7D"))
    );
    let trail = admin.get("/audit?limit=1000").await.text;
    assert!(trail.contains("P7D"), "{trail}");
    let request = admin.request(Method::GET, &path);
    assert_eq!(admin.send(request).await.status, 200);
}
