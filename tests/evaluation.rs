//! `/registries/{registryId}/tokens/{tokenId}/evaluate`: a token's grant, with the rule or the reason for a refusal.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Actor, Backend, Server};
use crate::openapi::members_of;

/// An id that nothing has.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// A token with these scopes; its path.
async fn token(admin: &Actor, registry: &str, name: &str, properties: Value) -> String {
    let tokens = format!("/registries/{registry}/tokens");
    let mut properties = properties;
    properties["name"] = json!(name);
    let made = admin.post(&tokens, json!({"properties": properties})).await;
    assert_eq!(made.status, 201, "{made:?}");
    format!("{tokens}/{}", made.json["id"].as_str().unwrap())
}

async fn evaluate(actor: &Actor, token: &str, body: Value) -> Value {
    let answer = actor.post(&format!("{token}/evaluate"), body.clone()).await;
    assert_eq!(answer.status, 200, "{body}: {answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json
}

/// The decisions as lines: `pull repository team/app: yes by 0, why`.
fn decisions(evaluation: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let decisions = evaluation["decisions"].as_array().unwrap().iter();
    decisions
        .map(|decision| {
            let verdict = if decision["granted"].as_bool().unwrap() {
                "yes"
            } else {
                "no"
            };
            let rule = match &decision["rule"]["index"] {
                Value::Null => String::new(),
                index => format!(" by {index}"),
            };
            format!(
                "{} {} {}: {verdict}{rule}, {}",
                text(&decision["action"]),
                text(&decision["type"]),
                text(&decision["name"]),
                text(&decision["reason"])
            )
        })
        .collect()
}

#[rstest]
#[actix_web::test]
async fn an_answer_has_exactly_its_members(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("", "/containerregistries")] prefix: &str,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let scopes = json!([
        {"type": "repository", "name": "other", "actions": ["*"]},
        {"type": "repository", "name": "team/*", "actions": ["pull", "list"]},
    ]);
    let token = token(&admin, &registry, "ci", json!({"scopes": scopes})).await;
    let token = format!("{prefix}{token}");
    let expected = json!({
        "usable": true,
        "reason": null,
        "scope": "repository:team/app:pull",
        "warnings": [{"scope": 1, "message":
            "the action \"list\" grants nothing; the actions are pull, push, delete and *"}],
        "decisions": [
            {"type": "repository", "name": "team/app", "action": "pull", "granted": true, "reason": "granted by scopes[1]",
                "rule": {"index": 1, "type": "repository", "name": "team/*", "actions": ["pull", "list"]}},
            {"type": "repository", "name": "team/app", "action": "push", "granted": false, "rule": null,
                "reason": "scopes[1] fits the name but grants only pull, list"},
        ],
    });
    // As objects, as text, and as both, which are one question.
    let objects =
        json!([{"type": "repository", "name": "team/app", "actions": ["push", "pull", "push"]}]);
    let text = "repository:team/app:pull,push";
    for body in [
        json!({"scopes": objects}),
        json!({"scope": text}),
        json!({"scope": format!("  repository(image):team/app:pull  {text} ")}),
        json!({"scope": text, "scopes": objects}),
    ] {
        assert_eq!(
            evaluate(&admin, &token, body.clone()).await,
            expected,
            "{body}"
        );
    }
    // The right to read tokens is enough.
    let analyst = server.analyst();
    assert_eq!(
        evaluate(&analyst, &token, json!({"scope": text})).await,
        expected
    );
    for body in [
        json!({}),
        json!({"scopes": []}),
        json!({"scope": " "}),
        json!({"scope": "", "scopes": []}),
    ] {
        let answer = admin.post(&format!("{token}/evaluate"), body.clone()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(
            answer.message().contains("nothing is asked for"),
            "{body}: {}",
            answer.message()
        );
    }
    // Without an action, it says at least whether the token is usable.
    for body in [
        json!({"scope": "repository:a:"}),
        json!({"scopes": [{"type": "repository", "name": "a", "actions": null}]}),
    ] {
        assert_eq!(
            evaluate(&admin, &token, body).await,
            json!({"usable": true, "reason": null, "scope": "", "decisions": [], "warnings": expected["warnings"]})
        );
    }
}

/// A token's properties, the requested scopes, the scope of the answer, and its decisions.
type Reasons = (Value, &'static str, &'static str, Vec<String>);

fn reasons() -> Vec<Reasons> {
    let narrow = json!({"scopes": [
        {"type": "repository", "name": "team/*", "actions": ["pull", "push"]},
        {"type": "repository", "name": "drop", "actions": ["push"]},
        {"type": "backup", "name": "*", "actions": ["*"]},
    ]});
    let catalog = json!({"scopes": [{"type": "registry", "name": "catalog", "actions": ["*"]}]});
    let weak = json!({"scopes": [{"type": "registry", "name": "catalog", "actions": ["pull"]}]});
    let need = "the registry's catalog needs a scope of type registry, name catalog, action *";
    vec![
        (
            json!({}),
            "repository:a:pull",
            "",
            vec!["pull repository a: no, the token has no scopes, so it is granted nothing".to_owned()],
        ),
        (
            catalog.clone(),
            "repository:a:pull",
            "",
            vec!["pull repository a: no, no scope of the token is of type repository".to_owned()],
        ),
        (
            narrow.clone(),
            "repository:app:pull repository:team/a/b:pull",
            "",
            vec![
                r#"pull repository app: no, no scope of type repository has a name that fits "app""#.to_owned(),
                r#"pull repository team/a/b: no, no scope of type repository has a name that fits "team/a/b"; scopes[0] "team/*" does not fit, as * covers one path segment and ** covers several"#.to_owned(),
            ],
        ),
        (
            narrow.clone(),
            "repository:team/a:*",
            "repository:team/a:pull,push",
            vec![
                "pull repository team/a: yes by 0, granted by scopes[0]".to_owned(),
                "push repository team/a: yes by 0, granted by scopes[0]".to_owned(),
                "delete repository team/a: no, scopes[0] fits the name but grants only pull, push".to_owned(),
            ],
        ),
        (
            narrow.clone(),
            "repository:team/a:push repository:drop:pull,push",
            "repository:team/a:push repository:drop:push",
            vec![
                "push repository team/a: yes by 0, granted by scopes[0]; but Distribution refuses push without pull: ask for pull too".to_owned(),
                "pull repository drop: no, scopes[1] fits the name but grants only push".to_owned(),
                "push repository drop: yes by 1, granted by scopes[1]; but Distribution refuses push without pull: no scope of the token grants pull here".to_owned(),
            ],
        ),
        (
            narrow.clone(),
            "backup:x:* repository:team/a:read registry:other:*",
            "",
            vec![
                r#"* backup x: no, type "backup" means nothing here and is never granted; there are repository and registry"#.to_owned(),
                r#"read repository team/a: no, action "read" means nothing here and is never granted; a repository has pull, push, delete"#.to_owned(),
                r#"* registry other: no, name "other" means nothing here and is never granted; a registry has catalog"#.to_owned(),
            ],
        ),
        // Distribution's question for the catalog, and zot's.
        (
            narrow,
            "registry:catalog:* repository::pull",
            "",
            vec![
                format!("* registry catalog: no, {need}; no scope of the token is of type registry"),
                format!("pull repository : no, {need}; no scope of the token is of type registry"),
            ],
        ),
        (
            weak,
            "registry:catalog:* registry:catalog:pull",
            "",
            vec![
                format!("* registry catalog: no, {need}; scopes[0] fits the name but grants only pull"),
                r#"pull registry catalog: no, action "pull" means nothing here and is never granted; the registry's catalog has *"#.to_owned(),
            ],
        ),
        (
            catalog,
            "registry:catalog:* repository::pull,push",
            "registry:catalog:* repository::pull",
            vec![
                "* registry catalog: yes by 0, granted by scopes[0]".to_owned(),
                "pull repository : yes by 0, granted by scopes[0]".to_owned(),
                "push repository : no, an empty name asks for the catalog, and only with the action pull".to_owned(),
            ],
        ),
    ]
}

#[rstest]
#[actix_web::test]
async fn every_refusal_has_its_reason(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    for (number, (held, asked, scope, expected)) in reasons().into_iter().enumerate() {
        let token = token(&admin, &registry, &format!("case-{number}"), held).await;
        let evaluation = evaluate(&admin, &token, json!({"scope": asked})).await;
        assert_eq!(decisions(&evaluation), expected, "{asked}");
        assert_eq!(evaluation["scope"], scope, "{asked}");
        assert_eq!(
            (&evaluation["usable"], &evaluation["reason"]),
            (&json!(true), &Value::Null)
        );
    }
}

#[rstest]
#[actix_web::test]
async fn a_token_that_is_disabled_or_expired_is_granted_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let properties = json!({"expiryDate": "2026-11-21T13:00:00.5Z",
        "scopes": [{"type": "repository", "name": "app", "actions": ["pull"]}]});
    let token = token(&admin, &registry, "ci", properties).await;
    let asked = json!({"scope": "repository:app:pull,push"});
    let unusable = |why: &str| {
        json!({"usable": false, "reason": why, "scope": "", "decisions": [
            {"type": "repository", "name": "app", "action": "pull", "granted": false,
                "rule": {"index": 0, "type": "repository", "name": "app", "actions": ["pull"]},
                "reason": format!("{why}; otherwise: granted by scopes[0]")},
            {"type": "repository", "name": "app", "action": "push", "granted": false, "rule": null,
                "reason": format!("{why}; otherwise: scopes[0] fits the name but grants only pull")},
        ]})
    };
    let usable = evaluate(&admin, &token, asked.clone()).await;
    assert_eq!(
        (&usable["usable"], &usable["scope"]),
        (&json!(true), &json!("repository:app:pull"))
    );
    admin.patch(&token, json!({"status": "disabled"})).await;
    let disabled = unusable("the token is disabled");
    assert_eq!(evaluate(&admin, &token, asked.clone()).await, disabled);
    admin.patch(&token, json!({"status": "enabled"})).await;
    assert_eq!(evaluate(&admin, &token, asked.clone()).await, usable);

    // To the microsecond, and on every replica.
    let replica = server.replica().await;
    server.clock.advance(TimeDelta::microseconds(3_600_499_999));
    assert_eq!(evaluate(&admin, &token, asked.clone()).await, usable);
    server.clock.advance(TimeDelta::microseconds(1));
    let expired = unusable("the token expired at 2026-11-21T13:00:00.500Z");
    for actor in [&admin, &replica.admin()] {
        assert_eq!(evaluate(actor, &token, asked.clone()).await, expired);
    }
    // If both apply, the operator's action is reported rather than the end of the token's time.
    admin.patch(&token, json!({"status": "disabled"})).await;
    assert_eq!(evaluate(&admin, &token, asked).await, disabled);
}

#[rstest]
#[actix_web::test]
async fn an_evaluation_changes_nothing_and_finds_its_own_token_alone(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let other = admin.create_registry("team-b").await;
    let scopes = json!([{"type": "repository", "name": "*", "actions": ["*"]}]);
    let token = token(&admin, &registry, "ci", json!({"scopes": scopes})).await;
    let id = token.rsplit('/').next().unwrap();
    let asked = json!({"scope": "repository:app:pull"});

    let versions = "SELECT CAST(version AS TEXT) || name || scopes AS line FROM tokens \
                    UNION ALL SELECT CAST(version AS TEXT) || name FROM registries \
                    UNION ALL SELECT CAST(next_position AS TEXT) FROM registry_counters ORDER BY 1";
    let (before, shown) = (server.database.lines(versions), admin.get(&token).await);
    server.clock.advance(TimeDelta::hours(1));
    for actor in [&admin, &server.analyst()] {
        evaluate(actor, &token, asked.clone()).await;
    }
    assert_eq!(server.database.lines(versions), before);
    assert_eq!(admin.get(&token).await.json, shown.json);

    let there = |registry: &str, id: &str| format!("/registries/{registry}/tokens/{id}/evaluate");
    for (path, status, code) in [
        (there(&registry, NOBODY), 404, "token-not-found"),
        (there(&other, id), 404, "token-not-found"),
        (there(NOBODY, id), 404, "registry-not-found"),
        (there("x", id), 400, "invalid-registry-id"),
        (there(&registry, "x"), 400, "invalid-token-id"),
    ] {
        let answer = admin.post(&path, asked.clone()).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (status, vec![code]),
            "{path}"
        );
    }
    let stranger = server
        .anonymous()
        .post(&format!("{token}/evaluate"), asked.clone())
        .await;
    assert_eq!(
        (stranger.status, stranger.codes()),
        (401, vec!["unauthenticated"])
    );
    // Without a role or a membership the registry looks as if it did not exist.
    server
        .add_account("nobody", "right-password", "Analyst")
        .await;
    server.database.execute(
        "DELETE FROM account_roles WHERE account_key = (SELECT key FROM accounts WHERE name = 'nobody')",
    );
    for path in [format!("{token}/evaluate"), there(NOBODY, id)] {
        let answer = server
            .actor("nobody", "right-password")
            .post(&path, asked.clone())
            .await;
        assert_eq!(
            (answer.status, answer.codes()),
            (404, vec!["registry-not-found"]),
            "{path}"
        );
    }
}

/// Asks for so many resources.
fn many(count: usize) -> Value {
    let scopes: Vec<_> = (0..count)
        .map(|number| format!("repository:a{number}:pull"))
        .collect();
    json!({"scope": scopes.join(" ")})
}

/// Questions that no registry asks, each with the code and the message of its refusal.
fn wrong_questions() -> Vec<(Value, &'static str, &'static str)> {
    let object = |of_type: &str, name: &str, action: &str| json!({"scopes": [{"type": of_type, "name": name, "actions": [action]}]});
    let nothing = r#"nothing is asked for; send "scopes", a list of objects, or "scope", a text such as repository:team/app:pull,push"#;
    let actions: Vec<_> = ('a'..='u').map(String::from).collect();
    vec![
        (json!({}), "invalid-scopes", nothing),
        (
            object("Repository", "a", "pull"),
            "invalid-scopes",
            r#"scopes[0].type "Repository" is not lower-case letters and digits, and no registry asks for it"#,
        ),
        (
            object("repository", "a b", "pull"),
            "invalid-scopes",
            r#"scopes[0].name "a b" is not up to 256 printable ASCII characters without spaces, and no registry asks for it"#,
        ),
        (
            object("repository", "a", "pull,push"),
            "invalid-scopes",
            r#"scopes[0].actions "pull,push" is not lower-case letters or *, and no registry asks for it"#,
        ),
        (
            object("repository", "a\0", "pull"),
            "invalid-scopes",
            r#"scope text "a\0" contains a control character"#,
        ),
        (
            json!({"scopes": [{"type": "repository", "name": "a"}]}),
            "invalid-scopes",
            "scopes[0]: missing field `actions`",
        ),
        (
            json!({"scopes": ["repository:a:pull"]}),
            "invalid-scopes",
            "scopes[0]: an object is needed, not the text \"repository:a:pull\"",
        ),
        (
            json!({"scope": "repository:a"}),
            "invalid-scopes",
            r#"scope "repository:a" is not of the form type:name:action[,action], such as repository:team/app:pull,push"#,
        ),
        (
            json!({"scopes": null, "scope": ""}),
            "invalid-scopes",
            "scopes: a list is needed, not null",
        ),
        (
            json!({"scope": null}),
            "invalid-scope",
            "scope: a text is needed, not null",
        ),
        (
            json!({"scope": ["repository:a:pull"]}),
            "invalid-scope",
            "scope: a text is needed, not a list",
        ),
        (
            many(101),
            "invalid-scopes",
            "more than 100 resources are asked for at once",
        ),
        (
            json!({"scope": format!("repository:a:{}", "a".repeat(70_000))}),
            "invalid-scopes",
            "the scopes are longer than 65536 bytes",
        ),
        (
            json!({"scope": format!("repository:a:{}", actions.join(","))}),
            "invalid-scopes",
            r#"21 actions on "a" are asked for; at most 20 are allowed"#,
        ),
        // A slip is named.
        (
            json!({"scoppe": ""}),
            "invalid-body",
            r#"unknown member "scoppe"; did you mean "scope"?"#,
        ),
    ]
}

#[rstest]
#[actix_web::test]
async fn questions_that_no_registry_asks_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let token = token(&admin, &registry, "ci", json!({})).await;
    let path = format!("{token}/evaluate");
    for (body, code, message) in wrong_questions() {
        let answer = admin.post(&path, body.clone()).await;
        assert_eq!((answer.status, answer.codes()), (400, vec![code]), "{body}");
        assert_eq!(answer.message(), message, "{body}");
    }
    // No word of what only a PATCH may be told.
    let answer = admin.post(&path, json!({"name": "team/app"})).await;
    let message = answer.message();
    let (said, known) = message.split_once("; known are ").unwrap();
    assert_eq!(said, r#"unknown member "name""#);
    let known: BTreeSet<_> = known.split(", ").map(str::to_owned).collect();
    assert_eq!(known, members_of("EvaluateTokenInput"));
    let evaluation = evaluate(&admin, &token, many(100)).await;
    assert_eq!(evaluation["decisions"].as_array().unwrap().len(), 100);
}
