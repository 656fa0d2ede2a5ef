//! The addresses that may use a registry and its tokens. The clients here come from 127.0.0.1 and 127.0.0.2.

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Actor, Backend, Server};

const SERVICE: &str = "team-a.localhost";
const ELSEWHERE: [u8; 4] = [127, 0, 0, 2];
const HERE: &str = "127.0.0.1";
/// The message for all wrong credentials.
const REFUSED: &str = "the credentials are missing or wrong; send a registry token's name and secret, a trust's name and a JWT, or an account's name and password";

/// A client's credentials for the registry.
struct Held {
    names: Vec<(&'static str, String, String)>,
    refresh_token: String,
    jwt: String,
}

/// A registry with a token, an app token and an account that open it, and what a login gives.
async fn hold(server: &Server, registry: &str) -> Held {
    let admin = server.admin();
    let minted = admin
        .mint(registry, "ci", &["repository:a:pull,push"])
        .await;
    let app = admin
        .post("/api/v1/user/apptoken", json!({"title": "laptop"}))
        .await;
    let code = app.json["token"]["token_code"].as_str().unwrap().to_owned();
    admin.create_account("bob", &["Admin"]).await;
    let names = vec![
        ("registry token", minted.name.clone(), minted.secret.clone()),
        ("app token", "$app".to_owned(), code),
        ("account", "bob".to_owned(), "right-password".to_owned()),
    ];
    let query = [
        ("service", SERVICE),
        ("scope", "repository:a:pull"),
        ("offline_token", "true"),
    ];
    let login = server.client(&minted).ask("/token", &query).await;
    assert_eq!(login.status, 200, "{login:?}");
    let text = |member: &str| login.json[member].as_str().unwrap().to_owned();
    Held {
        names,
        refresh_token: text("refresh_token"),
        jwt: text("token"),
    }
}

/// May a proxy let this pass?
async fn check(actor: &Actor) -> (u16, Value) {
    let path = format!("/v2/check?service={SERVICE}");
    let request = actor
        .request(Method::GET, &path)
        .header("x-original-method", "GET")
        .header("x-original-uri", "/v2/a/manifests/1");
    let answer = actor.send(request).await;
    (answer.status, answer.json)
}

/// The statuses of each way to log in, here and elsewhere.
async fn tried(server: &Server, held: &Held) -> Vec<(String, u16, u16)> {
    let mut tried = Vec::new();
    let mut note = |way: String, answers: [(u16, Value); 2]| {
        for (status, body) in &answers {
            if *status != 200 {
                // The same as a wrong secret, to the letter.
                assert_eq!(*status, 401, "{way}: {body}");
                let told = if way.starts_with("app token") && !way.ends_with("check") {
                    json!({"code": "UNAUTHORIZED", "message": "Invalid token", "detail": {}})
                } else {
                    json!({"code": "UNAUTHORIZED", "message": REFUSED})
                };
                assert_eq!(*body, json!({ "errors": [told] }), "{way}");
            }
        }
        tried.push((way, answers[0].0, answers[1].0));
    };
    for (kind, name, secret) in &held.names {
        let here = server.actor(name, secret);
        let both = [here.clone(), here.at(ELSEWHERE)];
        for path in ["/token", "/v2/auth"] {
            let mut answers = Vec::new();
            for actor in &both {
                let answer = actor.ask(path, &[("service", SERVICE)]).await;
                answers.push((answer.status, answer.json));
            }
            note(format!("{kind} GET {path}"), answers.try_into().unwrap());
        }
        let form = [
            ("grant_type", "password"),
            ("service", SERVICE),
            ("username", name),
            ("password", secret),
        ];
        let nobody = server.anonymous();
        let mut answers = Vec::new();
        for actor in [nobody.clone(), nobody.at(ELSEWHERE)] {
            let answer = actor.form("/token", &form).await;
            answers.push((answer.status, answer.json));
        }
        note(format!("{kind} POST"), answers.try_into().unwrap());
        note(
            format!("{kind} check"),
            [check(&both[0]).await, check(&both[1]).await],
        );
    }
    let form = [
        ("grant_type", "refresh_token"),
        ("service", SERVICE),
        ("refresh_token", &held.refresh_token),
    ];
    let nobody = server.anonymous();
    let mut answers = Vec::new();
    for actor in [nobody.clone(), nobody.at(ELSEWHERE)] {
        let answer = actor.form("/token", &form).await;
        answers.push((answer.status, answer.json));
    }
    note("refresh token".to_owned(), answers.try_into().unwrap());
    let jwt = server.bearer(&held.jwt);
    note(
        "JWT".to_owned(),
        [check(&jwt).await, check(&jwt.at(ELSEWHERE)).await],
    );
    tried
}

/// Every way in answers with these statuses, here and elsewhere: those of the token, then those of accounts.
fn expect(tried: &[(String, u16, u16)], of_token: (u16, u16), of_accounts: (u16, u16)) {
    assert_eq!(tried.len(), 14);
    for (way, here, elsewhere) in tried {
        let account = way.starts_with("app token") || way.starts_with("account");
        let expected = if account { of_accounts } else { of_token };
        assert_eq!((*here, *elsewhere), expected, "{way}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_registry_is_entered_from_where_its_list_says_by_everybody(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let path = format!("/registries/{registry}");
    let held = hold(&server, &registry).await;
    expect(&tried(&server, &held).await, (200, 200), (200, 200));
    for (list, here, elsewhere) in [
        (json!([HERE]), 200, 401),
        (json!(["127.0.0.2/32", "2001:db8::/32"]), 401, 200),
        (json!(["::ffff:127.0.0.1"]), 200, 401),
        (json!(["127.0.0.77/8"]), 200, 200),
        (json!(["192.0.2.0/24", "::/0"]), 401, 401),
        (json!([]), 200, 200),
    ] {
        // The list does not apply to the API, so nobody can lock themselves out.
        let patched = admin
            .patch(&path, json!({"apiSubnetAllowList": list}))
            .await;
        assert_eq!(patched.status, 200, "{patched:?}");
        expect(
            &tried(&server, &held).await,
            (here, elsewhere),
            (here, elsewhere),
        );
    }
    // Another registry has another list.
    let other = admin.create_registry("team-b").await;
    let list = json!({"apiSubnetAllowList": ["192.0.2.1"]});
    let patched = admin.patch(&format!("/registries/{other}"), list).await;
    assert_eq!(patched.status, 200);
    expect(&tried(&server, &held).await, (200, 200), (200, 200));
}

#[rstest]
#[actix_web::test]
async fn a_token_is_used_from_where_its_own_list_says(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let replica = server.replica().await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let held = hold(&server, &registry).await;
    let tokens = format!("/registries/{registry}/tokens");
    let listed = admin.get(&tokens).await;
    let token = format!(
        "{tokens}/{}",
        listed.json["items"][0]["id"].as_str().unwrap()
    );
    for (list, here, elsewhere) in [
        (json!([HERE]), 200, 401),
        (json!(["127.0.0.2"]), 401, 200),
        (json!(["127.0.0.0/30"]), 200, 200),
        (json!([]), 200, 200),
    ] {
        let patched = replica
            .admin()
            .patch(&token, json!({"allowedCidrs": list}))
            .await;
        assert_eq!(patched.status, 200, "{patched:?}");
        expect(&tried(&server, &held).await, (here, elsewhere), (200, 200));
    }
    // Both lists count.
    let list = json!({"apiSubnetAllowList": ["127.0.0.2"]});
    admin.patch(&format!("/registries/{registry}"), list).await;
    for (list, here, elsewhere) in [(HERE, 401, 401), ("127.0.0.0/8", 401, 200)] {
        admin.patch(&token, json!({"allowedCidrs": [list]})).await;
        expect(&tried(&server, &held).await, (here, elsewhere), (401, 200));
    }
}

/// The list of a token, as GET shows it; absent is null.
async fn shown(admin: &Actor, token: &str) -> Value {
    admin.get(token).await.json["properties"]
        .get("allowedCidrs")
        .cloned()
        .unwrap_or_default()
}

#[rstest]
#[actix_web::test]
async fn a_list_is_shown_only_where_there_is_one_and_stays_until_it_is_named(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    const ID: &str = "11111111-1111-4111-8111-111111111111";
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let (list, other) = (json!(["10.1.2.3/16", "::1"]), json!(["192.0.2.1"]));
    let token = format!("{tokens}/{ID}");
    let body = |more: Value| {
        let mut properties = json!({"name": "ci"});
        let members = properties.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        json!({"properties": properties})
    };
    for (sent, kept) in [
        (json!({}), Value::Null),
        (json!({"allowedCidrs": null}), Value::Null),
        (json!({"allowedCidrs": []}), Value::Null),
        (json!({"allowedCidrs": list}), list.clone()),
    ] {
        let posted = admin.post(&tokens, body(sent.clone())).await;
        assert_eq!(posted.status, 201, "{sent}");
        let id = posted.json["id"].as_str().unwrap();
        assert_eq!(shown(&admin, &format!("{tokens}/{id}")).await, kept);
        let gone = admin.delete(&format!("{tokens}/{id}")).await;
        assert_eq!(gone.status, 204);
        let put = admin.put(&token, body(sent.clone())).await;
        let answered = put.json["properties"].get("allowedCidrs").cloned();
        assert_eq!((put.status, answered.unwrap_or_default()), (201, kept));
        let gone = admin.delete(&token).await;
        assert_eq!(gone.status, 204);
    }
    admin.put(&token, body(json!({"allowedCidrs": list}))).await;
    for (method, sent, kept, changes) in [
        // The product's clients do not know the property and send these.
        (Method::PUT, json!({}), &list, false),
        (Method::PATCH, json!({}), &list, false),
        (Method::PUT, json!({"allowedCidrs": null}), &list, false),
        (Method::PATCH, json!({"allowedCidrs": null}), &list, false),
        (Method::PUT, json!({"allowedCidrs": list}), &list, false),
        (Method::PATCH, json!({"allowedCidrs": other}), &other, true),
        (Method::PUT, json!({"allowedCidrs": list}), &list, true),
        (
            Method::PATCH,
            json!({"allowedCidrs": []}),
            &Value::Null,
            true,
        ),
        (Method::PUT, json!({"allowedCidrs": other}), &other, true),
        (Method::PUT, json!({"allowedCidrs": []}), &Value::Null, true),
    ] {
        let version = || server.database.number("SELECT version FROM tokens");
        let before = version();
        let answer = if method == Method::PUT {
            admin.put(&token, body(sent.clone())).await
        } else {
            admin.patch(&token, sent.clone()).await
        };
        assert_eq!(answer.status, 200, "{method} {sent}");
        assert_eq!(shown(&admin, &token).await, *kept, "{method} {sent}");
        assert_eq!(version() > before, changes, "{method} {sent}");
    }
    for wrong in [
        json!("10.0.0.1"),
        json!(["x"]),
        json!(["10.0.0.0/33"]),
        json!([5]),
        json!(vec!["10.0.0.1"; 26]),
    ] {
        let refused = [
            admin
                .post(&tokens, body(json!({"allowedCidrs": wrong})))
                .await,
            admin
                .put(&token, body(json!({"allowedCidrs": wrong})))
                .await,
            admin.patch(&token, json!({"allowedCidrs": wrong})).await,
        ];
        for answer in refused {
            assert_eq!(answer.status, 400, "{wrong}");
            assert_eq!(answer.codes(), ["invalid-allowed-cidrs"], "{wrong}");
        }
    }
}

#[rstest]
#[actix_web::test]
async fn an_evaluation_says_what_an_address_is_refused_for(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let minted = admin.mint(&registry, "ci", &["repository:a:pull"]).await;
    let path = format!("{}/evaluate", minted.path);
    let asked = "repository:a:pull";
    let list = json!({"apiSubnetAllowList": ["10.0.0.0/8", "192.0.2.1"]});
    admin.patch(&format!("/registries/{registry}"), list).await;
    admin
        .patch(&minted.path, json!({"allowedCidrs": ["10.1.0.0/16"]}))
        .await;
    let of_registry =
        |address: &str| format!("the registry's apiSubnetAllowList does not contain {address}");
    for (address, reason) in [
        (json!("10.1.2.3"), None),
        (json!("::ffff:10.1.2.3"), None),
        (json!("203.0.113.9"), Some(of_registry("203.0.113.9"))),
        (json!("2001:db8::1"), Some(of_registry("2001:db8::1"))),
        (
            json!("192.0.2.1"),
            Some("the token's allowedCidrs do not contain 192.0.2.1".to_owned()),
        ),
    ] {
        let question = json!({"scope": asked, "address": address});
        let answer = admin.post(&path, question).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let granted = if reason.is_none() { asked } else { "" };
        assert_eq!(answer.json["reason"], json!(reason), "{address}");
        assert_eq!(answer.json["usable"], reason.is_none(), "{address}");
        assert_eq!(answer.json["scope"], granted, "{address}");
    }
    // Without an address lists are not looked at.
    let answer = admin.post(&path, json!({"scope": asked})).await;
    assert_eq!(answer.json["usable"], true);
    for wrong in [json!(""), json!("10.0.0.0/8"), json!(null), json!(5)] {
        let question = json!({"scope": asked, "address": wrong});
        let answer = admin.post(&path, question).await;
        assert_eq!(answer.status, 400, "{wrong}");
        assert_eq!(answer.codes(), ["invalid-address"], "{wrong}");
    }
}
