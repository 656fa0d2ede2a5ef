//! Bulk actions: dry runs, confirmations, and runs that change many tokens.

use std::sync::Arc;

use chrono::TimeDelta;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{
    Actor, Answer, Backend, Database, Patience, Program, Server, WITHOUT_BACKGROUND, fill,
};

/// Three registries, and a member: maintainer of the first, reader of the second, and nothing to the third.
struct Estate {
    server: Server,
    admin: Actor,
    mia: Actor,
    account: String,
    registries: [String; 3],
}

impl Estate {
    /// Without work in the background: a test works itself.
    async fn new(backend: Backend) -> Self {
        Self::with(backend, &[]).await
    }

    async fn with(backend: Backend, flags: &[&str]) -> Self {
        let flags: Vec<_> = flags.iter().copied().chain([WITHOUT_BACKGROUND]).collect();
        let server = Server::start_with(backend, &flags).await;
        let admin = server.admin();
        let account = admin.create_account("mia", &[]).await;
        let mut registries = Vec::new();
        for name in ["team-a", "team-b", "team-c"] {
            registries.push(admin.create_registry(name).await);
        }
        admin
            .set_member(&registries[0], &account, "maintainer")
            .await;
        admin.set_member(&registries[1], &account, "reader").await;
        Self {
            mia: server.actor("mia", "right-password"),
            server,
            admin,
            account,
            registries: registries.try_into().unwrap(),
        }
    }

    /// Makes a token in a registry by its place, with further properties.
    async fn make(&self, place: usize, name: &str, more: Value) -> String {
        let mut properties = json!({"name": name});
        for (member, value) in more.as_object().unwrap() {
            properties[member] = value.clone();
        }
        let path = format!("/registries/{}/tokens", self.registries[place]);
        let answer = self
            .admin
            .post(&path, json!({"properties": properties}))
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json["id"].as_str().unwrap().to_owned()
    }

    /// A token's properties as an Admin sees them.
    async fn token(&self, place: usize, id: &str) -> Value {
        let path = format!("/registries/{}/tokens/{id}", self.registries[place]);
        self.admin.get(&path).await.json["properties"].clone()
    }

    /// One token in each registry.
    async fn one_each(&self) -> [String; 3] {
        [
            self.make(0, "ci-a", json!({})).await,
            self.make(1, "ci-b", json!({})).await,
            self.make(2, "ci-c", json!({})).await,
        ]
    }

    /// A registry API token of the member on the first registry, and its id.
    async fn registry_api_token(&self) -> (Actor, String) {
        let path = format!("/registries/{}/api-tokens", self.registries[0]);
        let wish =
            json!({"name": "nightly", "level": "maintainer", "expiryDate": "2027-01-01T00:00:00Z"});
        let made = self.mia.post(&path, json!({"properties": wish})).await;
        assert_eq!(made.status, 201, "{made:?}");
        let secret = made.json["properties"]["token"].as_str().unwrap();
        let id = made.json["id"].as_str().unwrap();
        (self.server.bearer(secret), id.to_owned())
    }

    async fn work(&self) -> i64 {
        self.server.service.bulk().work("test").await.unwrap()
    }

    /// Confirms a dry run, works, and returns the run as it is then.
    async fn run(&self, actor: &Actor, properties: Value) -> Value {
        let preview = dry_run(actor, properties).await;
        let begun = confirm(actor, &preview, json!({})).await;
        assert_eq!(begun.status, 202, "{begun:?}");
        self.work().await;
        shown(actor, &begun).await
    }

    fn events(&self, condition: &str) -> i64 {
        let count = format!("SELECT COUNT(*) FROM audit_events WHERE {condition}");
        self.server.database.number(&count)
    }
}

async fn send(actor: &Actor, properties: Value) -> Answer {
    let body = json!({"properties": properties});
    actor.post("/tokens/bulk", body).await
}

async fn dry_run(actor: &Actor, mut properties: Value) -> Value {
    properties["dryRun"] = json!(true);
    let answer = send(actor, properties).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["properties"].clone()
}

/// Sends the confirmation of a dry run, with further members.
async fn confirm(actor: &Actor, preview: &Value, mut more: Value) -> Answer {
    more["confirmation"] = preview["confirmation"].clone();
    send(actor, more).await
}

fn id(run: &Answer) -> &str {
    run.json["id"].as_str().unwrap()
}

async fn shown(actor: &Actor, run: &Answer) -> Value {
    let answer = actor.get(&format!("/bulk/{}", id(run))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json
}

/// The state, and the numbers of tokens found, changed, unchanged and refused.
fn result(run: &Value) -> (&str, [i64; 4]) {
    let of = |name: &str| run["properties"][name].as_i64().unwrap();
    let numbers = ["found", "changed", "unchanged", "refused"].map(of);
    (run["metadata"]["state"].as_str().unwrap(), numbers)
}

#[rstest]
#[actix_web::test]
async fn a_dry_run_counts_what_the_caller_may_and_changes_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    estate.one_each().await;
    let before = estate.admin.get("/tokens").await.json;
    let events = estate.events("kind <> 'login'");

    let wish = json!({"filter": {"name": "CI-*"}, "action": "disable"});
    let preview = dry_run(&estate.mia, wish).await;
    assert_eq!(
        (&preview["found"], &preview["permitted"]),
        (&json!(2), &json!(1))
    );
    let refused = preview["refused"].as_array().unwrap();
    assert_eq!((refused.len(), &refused[0]["count"]), (1, &json!(1)));
    let reason = refused[0]["reason"].as_str().unwrap();
    assert!(reason.contains("membership as maintainer"), "{reason}");
    let tokens = preview["tokens"].as_array().unwrap();
    let named: Vec<_> = tokens
        .iter()
        .map(|token| (&token["name"], &token["registryName"]))
        .collect();
    assert_eq!(
        named,
        [
            (&json!("ci-a"), &json!("team-a")),
            (&json!("ci-b"), &json!("team-b"))
        ]
    );
    assert_eq!(preview["filter"], json!({"name": "ci-*"}));
    assert_eq!(preview["confirmationExpiryDate"], "2026-11-21T12:15:00Z");

    assert_eq!(estate.work().await, 0);
    assert_eq!(estate.admin.get("/tokens").await.json, before);
    assert_eq!(estate.events("kind <> 'login'"), events);
    assert_eq!(estate.mia.get("/bulk").await.json["total"], 0);
}

#[rstest]
#[actix_web::test]
async fn a_run_changes_what_it_may_and_lists_the_rest(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    let [a, b, c] = estate.one_each().await;
    let wish = json!({"filter": {"name": "ci-*"}, "action": "disable"});
    let preview = dry_run(&estate.mia, wish).await;
    let begun = confirm(&estate.mia, &preview, json!({})).await;
    assert_eq!(
        (begun.status, result(&begun.json)),
        (202, ("running", [2, 0, 0, 0]))
    );
    assert_eq!(begun.json["type"], "bulk");
    let path = begun.header("location");
    assert!(path.ends_with(&format!("/bulk/{}", id(&begun))), "{path}");
    assert_eq!(begun.json["metadata"]["createdBy"], "mia");

    estate.work().await;
    let run = shown(&estate.mia, &begun).await;
    assert_eq!(result(&run), ("done", [2, 1, 0, 1]));
    assert_eq!(run["metadata"]["finishedDate"], "2026-11-21T12:00:00Z");
    let refused = run["properties"]["refusedTokens"].as_array().unwrap();
    assert_eq!((refused.len(), &refused[0]["id"]), (1, &json!(b)));
    assert_eq!(refused[0]["registryName"], "team-b");
    let reason = refused[0]["reason"].as_str().unwrap();
    assert!(reason.contains("membership as maintainer"), "{reason}");
    for (place, token, status) in [(0, &a, "disabled"), (1, &b, "enabled"), (2, &c, "enabled")] {
        assert_eq!(
            estate.token(place, token).await["status"],
            status,
            "{place}"
        );
    }
}

#[rstest]
#[actix_web::test]
async fn each_changed_token_is_an_event_and_the_run_is_two(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    fill(&estate.server, &estate.registries[0], 150).await;
    estate.make(1, "ci-b", json!({})).await;
    let account = &estate.account;
    let registries = [&estate.registries[0], &estate.registries[1]];
    let wish = json!({"filter": {"registryId": registries}, "action": "expire"});
    let run = estate.run(&estate.mia, wish).await;
    assert_eq!(result(&run), ("done", [151, 150, 0, 1]));

    let trail = estate
        .admin
        .get(&format!("/audit?actor={account}&limit=1000"))
        .await;
    let events = trail.json["items"].as_array().unwrap();
    let of = |kind: &str| {
        let events = events.iter().filter(move |event| event["kind"] == kind);
        events.collect::<Vec<_>>()
    };
    let updates = of("update");
    assert_eq!(updates.len(), 150);
    for event in &updates {
        assert_eq!(event["detail"]["bulk"], run["id"], "{event}");
        assert_eq!(event["detail"]["credential"]["kind"], "password");
        assert_eq!(event["detail"]["after"]["expires"], "2026-11-21T12:00:00Z");
        assert_eq!(event["registry"], estate.registries[0]);
        assert_eq!(event["requestId"], updates[0]["requestId"]);
    }
    let runs = of("bulk");
    let states: Vec<_> = runs
        .iter()
        .map(|event| &event["detail"]["after"]["state"])
        .collect();
    assert_eq!(states, ["done", "running"]);
    assert_eq!(runs[0]["detail"]["after"]["changed"], 150);
    assert_eq!(
        (&runs[0]["subjectKind"], &runs[0]["subject"]),
        (&json!("bulk"), &run["id"])
    );
}

#[rstest]
#[actix_web::test]
async fn each_action_does_what_a_single_change_does(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    let soon = "2026-11-21T13:00:00Z";
    for (action, more, status, expiry) in [
        ("disable", json!({}), "disabled", json!(null)),
        ("enable", json!({}), "enabled", json!(null)),
        (
            "expire",
            json!({}),
            "enabled",
            json!("2026-11-21T12:00:00Z"),
        ),
        (
            "expire",
            json!({"expiryDate": soon}),
            "enabled",
            json!(soon),
        ),
        (
            "setExpiry",
            json!({"expiryDate": soon}),
            "enabled",
            json!(soon),
        ),
    ] {
        let registry = estate
            .admin
            .create_registry(&format!("r-{}", estate.events("1 = 1")))
            .await;
        let path = format!("/registries/{registry}/tokens");
        let was = if action == "enable" {
            "disabled"
        } else {
            "enabled"
        };
        let body = json!({"properties": {"name": "ci", "status": was}});
        assert_eq!(estate.admin.post(&path, body).await.status, 201);
        let mut wish = more;
        wish["filter"] = json!({"registryId": [registry]});
        wish["action"] = json!(action);
        let run = estate.run(&estate.admin, wish.clone()).await;
        assert_eq!(result(&run), ("done", [1, 1, 0, 0]), "{action}");
        assert_eq!(run["properties"].get("expiryDate"), wish.get("expiryDate"));
        let token = &estate.admin.get(&path).await.json["items"][0]["properties"];
        assert_eq!(
            (&token["status"], &token["expiryDate"]),
            (&json!(status), &expiry),
            "{action}"
        );
    }
}

#[rstest]
#[actix_web::test]
async fn an_earlier_end_stays_and_null_removes_one(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    let [soon, late] = ["2026-11-21T13:00:00Z", "2026-11-23T13:00:00Z"];
    let first = estate.make(0, "first", json!({"expiryDate": soon})).await;
    let second = estate.make(0, "second", json!({"expiryDate": late})).await;
    let filter = json!({"registryId": [estate.registries[0]]});
    let end = "2026-11-22T13:00:00Z";
    let wish = json!({"filter": filter, "action": "expire", "expiryDate": end});
    let run = estate.run(&estate.mia, wish).await;
    assert_eq!(result(&run), ("done", [2, 1, 1, 0]));
    assert_eq!(estate.token(0, &first).await["expiryDate"], soon);
    assert_eq!(estate.token(0, &second).await["expiryDate"], end);

    let wish = json!({"filter": filter, "action": "setExpiry", "expiryDate": null});
    let run = estate.run(&estate.mia, wish).await;
    assert_eq!(result(&run), ("done", [2, 2, 0, 0]));
    assert_eq!(estate.token(0, &first).await["expiryDate"], json!(null));

    let run = estate
        .run(&estate.mia, json!({"filter": filter, "action": "delete"}))
        .await;
    assert_eq!(result(&run), ("done", [2, 2, 0, 0]));
    assert_eq!(estate.mia.get("/tokens").await.json["total"], 0);
    estate.server.database.check_totals();
}

#[rstest]
#[actix_web::test]
async fn a_confirmation_is_good_for_what_was_shown_to_whom_it_was_shown(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    estate.one_each().await;
    let end = "2026-11-22T13:00:00Z";
    let wish = json!({"filter": {"name": "ci-*"}, "action": "expire", "expiryDate": end});
    let preview = dry_run(&estate.mia, wish.clone()).await;
    let mut text = preview["confirmation"].as_str().unwrap().to_owned();
    text.replace_range(
        20..21,
        if text.as_bytes()[20] == b'A' {
            "B"
        } else {
            "A"
        },
    );
    for (actor, sent) in [
        (&estate.admin, json!({})),
        (&estate.mia, json!({"filter": {"name": "ci-a*"}})),
        (&estate.mia, json!({"filter": {}})),
        (&estate.mia, json!({"action": "disable"})),
        (&estate.mia, json!({"action": "expire"})),
        (
            &estate.mia,
            json!({"action": "expire", "expiryDate": "2026-11-22T13:00:01Z"}),
        ),
    ] {
        let refused = confirm(actor, &preview, sent.clone()).await;
        assert_eq!(
            (refused.status, refused.codes()),
            (400, vec!["invalid-confirmation"]),
            "{sent}"
        );
    }
    for sent in [
        json!({}),
        json!({"confirmation": "AAAA"}),
        json!({"confirmation": text}),
    ] {
        let refused = send(&estate.mia, sent.clone()).await;
        assert_eq!(
            (refused.status, refused.codes()),
            (400, vec!["invalid-confirmation"]),
            "{sent}"
        );
    }
    for (sent, told) in [
        (json!({}), "is missing"),
        (
            json!({"confirmation": "A".repeat(20_001)}),
            "is longer than 20000 bytes",
        ),
    ] {
        let refused = send(&estate.mia, sent).await;
        assert!(refused.message().contains(told), "{refused:?}");
    }
    let begun = confirm(&estate.mia, &preview, wish).await;
    assert_eq!(begun.status, 202, "{begun:?}");
}

#[rstest]
#[actix_web::test]
async fn a_confirmation_begins_one_run_and_is_good_for_fifteen_minutes(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    estate.one_each().await;
    let wish = json!({"filter": {"name": "ci-*"}, "action": "disable"});
    let (first, second) = (
        dry_run(&estate.mia, wish.clone()).await,
        dry_run(&estate.mia, wish).await,
    );
    let begun = confirm(&estate.mia, &first, json!({})).await;
    estate.work().await;
    estate.server.clock.advance(TimeDelta::minutes(15));
    let again = confirm(&estate.mia, &first, json!({})).await;
    assert_eq!((again.status, id(&again)), (202, id(&begun)));
    assert_eq!(estate.mia.get("/bulk").await.json["total"], 1);

    let late = confirm(&estate.mia, &second, json!({})).await;
    assert_eq!(late.codes(), ["invalid-confirmation"]);
    assert!(late.message().contains("15 minutes"), "{late:?}");
}

#[rstest]
#[actix_web::test]
async fn a_changed_set_is_refused_unless_the_caller_allows_for_it(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    let gone = estate.make(0, "ci-1", json!({})).await;
    estate.make(0, "ci-2", json!({})).await;
    let other = estate.make(0, "ci-3", json!({"status": "disabled"})).await;
    let wish = json!({"filter": {"name": "ci-*", "state": "enabled"}, "action": "delete"});
    let preview = dry_run(&estate.mia, wish).await;
    let tokens = format!("/registries/{}/tokens", estate.registries[0]);
    estate.mia.delete(&format!("{tokens}/{gone}")).await;
    // It was made later, so it counts as a change and is not touched.
    let new = estate.make(0, "ci-4", json!({})).await;

    let refused = confirm(&estate.mia, &preview, json!({})).await;
    assert_eq!((refused.status, refused.codes()), (409, vec!["conflict"]));
    assert_eq!(
        refused.message(),
        "the dry run found 2 tokens, and now there are 2: 1 left and 1 came, 1 of them new; maximumChange 0 does not permit \
         that; make the dry run once more, or send maximumChange 2"
    );
    // As many of the old ones as before, but not the same.
    estate
        .mia
        .patch(&format!("{tokens}/{other}"), json!({"status": "enabled"}))
        .await;
    let refused = confirm(&estate.mia, &preview, json!({"maximumChange": 2})).await;
    assert_eq!((refused.status, refused.codes()), (409, vec!["conflict"]));
    let message = refused.message();
    assert!(
        message.contains("there are 3: 1 left and 2 came, 1 of them new"),
        "{message}"
    );
    assert_eq!(estate.mia.get("/tokens").await.json["total"], 3);

    let begun = confirm(&estate.mia, &preview, json!({"maximumChange": 3})).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    assert_eq!(begun.json["properties"]["madeSince"], 1);
    estate.work().await;
    let run = shown(&estate.mia, &begun).await;
    assert_eq!(result(&run), ("done", [2, 2, 0, 0]));
    assert_eq!(run["properties"]["madeSince"], 1);
    assert_eq!(estate.token(0, &new).await["name"], "ci-4");
}

/// What happens to the actor in the middle of a run, and how the run ends.
#[rstest]
#[case::is_a_reader_now("reader", "done", [600, 500, 0, 100])]
#[case::is_no_member_now("removed", "done", [600, 500, 100, 0])]
#[case::is_disabled("disabled", "stopped", [600, 500, 0, 0])]
#[case::is_deleted("deleted", "stopped", [600, 500, 0, 0])]
#[case::has_a_new_password("password", "stopped", [600, 500, 0, 0])]
#[case::was_disabled_for_a_moment("disabled-and-enabled", "stopped", [600, 500, 0, 0])]
#[case::has_another_description("description", "done", [600, 600, 0, 0])]
#[case::has_a_further_role("role", "done", [600, 600, 0, 0])]
#[case::lost_the_token("revoked", "stopped", [600, 500, 0, 0])]
#[case::lost_the_registry_api_token("revoked-at-registry", "stopped", [600, 500, 0, 0])]
#[case::of_the_registry_api_token_is_a_reader_now("maker-reader", "done", [600, 500, 0, 100])]
#[case::of_the_registry_api_token_is_no_member_now("maker-removed", "stopped", [600, 500, 0, 0])]
#[case::of_the_registry_api_token_is_disabled("maker-disabled", "stopped", [600, 500, 0, 0])]
#[actix_web::test]
async fn a_batch_reads_the_rights_of_its_actor_again(
    #[case] change: &str,
    #[case] state: &str,
    #[case] numbers: [i64; 4],
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    let [registry, ..] = &estate.registries;
    fill(&estate.server, registry, 600).await;
    let admin = &estate.admin;
    let wish = json!({"name": "t", "role": "Admin"});
    let generated = admin.post("/v1/apitokens/generate", wish).await;
    // An account with an API token in force cannot be deleted.
    let mut own_id = String::new();
    let actor = match change {
        "revoked" => estate
            .server
            .bearer(generated.json["token"].as_str().unwrap()),
        "revoked-at-registry" | "maker-reader" | "maker-removed" | "maker-disabled" => {
            let (own, id) = estate.registry_api_token().await;
            own_id = id;
            own
        }
        _ => estate.mia.clone(),
    };
    let wish = json!({"filter": {"registryId": [registry]}, "action": "disable"});
    let preview = dry_run(&actor, wish).await;
    let begun = confirm(&actor, &preview, json!({})).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    let bulk = estate.server.service.bulk();
    assert!(bulk.step("test").await.unwrap());

    let account = format!("/accounts/{}", estate.account);
    let member = format!("/registries/{registry}/members/{}", estate.account);
    let token = generated.json["metadata"]["id"].as_str().unwrap();
    let changed = match change {
        "reader" | "maker-reader" => admin.put(&member, json!({"level": "reader"})).await,
        "removed" | "maker-removed" => admin.delete(&member).await,
        "disabled" | "maker-disabled" => admin.patch(&account, json!({"status": "disabled"})).await,
        "disabled-and-enabled" => {
            admin.patch(&account, json!({"status": "disabled"})).await;
            admin.patch(&account, json!({"status": "enabled"})).await
        }
        "description" => admin.patch(&account, json!({"description": "of CI"})).await,
        "role" => admin.patch(&account, json!({"roles": ["Analyst"]})).await,
        "revoked-at-registry" => {
            let tokens = format!("/registries/{registry}/api-tokens");
            admin.delete(&format!("{tokens}/{own_id}")).await
        }
        "deleted" => admin.delete(&account).await,
        "password" => {
            admin
                .patch(&account, json!({"password": "another-password"}))
                .await
        }
        _ => {
            admin
                .patch(&format!("/v1/apitokens/revoke/{token}"), json!({}))
                .await
        }
    };
    assert!((200..300).contains(&changed.status), "{changed:?}");
    estate.work().await;
    let run = shown(admin, &begun).await;
    assert_eq!(result(&run), (state, numbers), "{change}");
    assert_eq!(
        run["properties"].get("reason").is_some(),
        state == "stopped"
    );
    let disabled = "SELECT COUNT(*) FROM tokens WHERE status = 'disabled'";
    assert_eq!(estate.server.database.number(disabled), numbers[1]);
    assert_eq!(estate.events("kind = 'bulk'"), 2);
}

#[rstest]
#[actix_web::test]
async fn every_kind_of_credential_takes_a_run_to_its_end(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    estate.one_each().await;
    let wish = json!({"name": "t", "role": "Admin"});
    let generated = estate.admin.post("/v1/apitokens/generate", wish).await;
    let secret = generated.json["token"].as_str().unwrap();
    let (of_registry, _) = estate.registry_api_token().await;
    for (actor, action, numbers) in [
        (&estate.mia, "disable", [2, 1, 0, 1]),
        // It sees its registry alone.
        (&of_registry, "enable", [1, 1, 0, 0]),
        (&estate.server.bearer(secret), "delete", [3, 3, 0, 0]),
    ] {
        let wish = json!({"filter": {"name": "ci-*"}, "action": action});
        let run = estate.run(actor, wish).await;
        assert_eq!(result(&run), ("done", numbers), "{action}");
    }
}

#[rstest]
#[actix_web::test]
async fn new_tokens_count_as_a_change_and_the_run_tells_of_them(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    estate.one_each().await;
    let wish = json!({"filter": {"name": "ci-*"}, "action": "disable"});
    let preview = dry_run(&estate.admin, wish).await;
    let new = estate.make(0, "ci-new", json!({})).await;
    let refused = confirm(&estate.admin, &preview, json!({})).await;
    assert_eq!((refused.status, refused.codes()), (409, vec!["conflict"]));
    let message = refused.message();
    assert!(
        message.contains("found 3 tokens, and now there are 4: 0 left and 1 came, 1 of them new"),
        "{message}"
    );
    let begun = confirm(&estate.admin, &preview, json!({"maximumChange": 1})).await;
    assert_eq!(begun.json["properties"]["madeSince"], 1, "{begun:?}");
    estate.work().await;
    let run = shown(&estate.admin, &begun).await;
    assert_eq!(result(&run), ("done", [3, 3, 0, 0]));
    assert_eq!(estate.token(0, &new).await["status"], "enabled");
}

#[rstest]
#[actix_web::test]
async fn a_dry_run_tells_which_tokens_have_the_change_already(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    estate.one_each().await;
    estate.make(0, "ci-d", json!({"status": "disabled"})).await;
    let wish = json!({"filter": {"name": "ci-*"}, "action": "disable"});
    let preview = dry_run(&estate.mia, wish.clone()).await;
    let told = ["found", "permitted", "unchanged"].map(|name| preview[name].as_i64().unwrap());
    assert_eq!(told, [3, 2, 1]);
    let run = estate.run(&estate.mia, wish).await;
    assert_eq!(result(&run), ("done", [3, 1, 1, 1]));
}

#[rstest]
#[actix_web::test]
async fn one_cause_is_one_reason_throughout_a_run(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    let [registry, ..] = &estate.registries;
    fill(&estate.server, registry, 600).await;
    let path = format!("/registries/{registry}");
    let rule = json!({"maximumTokenLife": "P10D"});
    assert_eq!(estate.admin.patch(&path, rule).await.status, 200);
    let wish = json!({
        "filter": {"registryId": [registry]},
        "action": "setExpiry",
        "expiryDate": "2027-11-21T00:00:00Z",
    });
    let preview = dry_run(&estate.admin, wish).await;
    let reason =
        "expiryDate 2027-11-21T00:00:00Z is too late: tokens of this registry last P10D at most";
    assert_eq!(
        preview["refused"],
        json!([{"reason": reason, "count": 600}])
    );
    let begun = confirm(&estate.admin, &preview, json!({})).await;
    estate.server.service.bulk().step("test").await.unwrap();
    estate.server.clock.advance(TimeDelta::seconds(5));
    estate.work().await;
    let run = shown(&estate.admin, &begun).await;
    assert_eq!(result(&run), ("done", [600, 0, 0, 600]));
    let refused = run["properties"]["refusedTokens"].as_array().unwrap();
    assert!(
        refused.iter().all(|token| token["reason"] == reason),
        "{}",
        refused[599]
    );
}

#[rstest]
#[actix_web::test]
async fn an_end_that_shortens_may_lie_beyond_the_maximum_of_the_registry(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    let token = estate.make(0, "ci", json!({})).await;
    let path = format!("/registries/{}", estate.registries[0]);
    let rule = json!({"maximumTokenLife": "P10D"});
    assert_eq!(estate.admin.patch(&path, rule).await.status, 200);
    let end = "2027-11-21T00:00:00Z";
    let wish = json!({"filter": {"name": "ci"}, "action": "expire", "expiryDate": end});
    let run = estate.run(&estate.mia, wish).await;
    assert_eq!(result(&run), ("done", [1, 1, 0, 0]));
    assert_eq!(estate.token(0, &token).await["expiryDate"], end);
}

#[rstest]
#[actix_web::test]
async fn the_audit_trail_finds_all_that_a_run_changed(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    let [registry, ..] = &estate.registries;
    let tokens = fill(&estate.server, registry, 600).await;
    let wish = json!({"filter": {"registryId": [registry]}, "action": "disable"});
    let preview = dry_run(&estate.mia, wish.clone()).await;
    let begun = confirm(&estate.mia, &preview, json!({})).await;
    let export = async |more: &str| {
        let path = format!("/audit/export?bulk={}{more}", id(&begun));
        let answer = estate.admin.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text.lines().count()
    };
    assert_eq!(export("").await, 0);
    estate.server.service.bulk().step("test").await.unwrap();
    assert_eq!(export("").await, 500);
    // A label looks like the member, and is none.
    let path = format!("/registries/{registry}/tokens/{}", tokens[0]);
    let labels = json!({"labels": {"bulk": id(&begun), "credential": "x"}});
    assert_eq!(estate.mia.patch(&path, labels).await.status, 200);
    estate.work().await;
    let wish = json!({"filter": {"registryId": [registry]}, "action": "enable"});
    estate.run(&estate.mia, wish).await;

    assert_eq!(export("").await, 600);
    assert_eq!(export("&kind=delete").await, 0);
    let first = format!("/audit?bulk={}&limit=400", id(&begun));
    let page = estate.admin.get(&first).await.json;
    assert_eq!(page["items"].as_array().unwrap().len(), 400);
    assert_eq!(page["items"][0]["detail"]["bulk"], id(&begun));
    let (_, query) = page["_links"]["next"]
        .as_str()
        .unwrap()
        .split_once('?')
        .unwrap();
    let next = estate.admin.get(&format!("/audit?{query}")).await.json;
    assert_eq!(next["items"].as_array().unwrap().len(), 200);
    let unknown = format!("/audit?bulk={}", uuid::Uuid::nil());
    assert_eq!(estate.admin.get(&unknown).await.json["items"], json!([]));
    let wrong = estate.admin.get("/audit?bulk=1").await;
    assert_eq!(wrong.codes(), ["invalid-bulk-id"]);
}

#[rstest]
#[actix_web::test]
async fn nobody_widens_a_token_beyond_their_own_rights(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    let scopes = |action: &str| {
        json!({
            "status": "disabled",
            "scopes": [{"type": "repository", "name": "*", "actions": [action]}],
        })
    };
    estate.make(0, "pushes", scopes("push")).await;
    let deletes = estate.make(0, "deletes", scopes("delete")).await;
    let filter = json!({"registryId": [estate.registries[0]]});
    for (action, more) in [
        ("enable", json!({})),
        ("setExpiry", json!({"expiryDate": null})),
    ] {
        // So that the end would be a later one.
        let path = format!("/registries/{}/tokens", estate.registries[0]);
        let listed = estate.admin.get(&path).await;
        for token in listed.json["items"].as_array().unwrap() {
            let path = format!("{path}/{}", token["id"].as_str().unwrap());
            let body = json!({"expiryDate": "2027-01-01T00:00:00Z"});
            assert_eq!(estate.admin.patch(&path, body).await.status, 200);
        }
        let mut wish = more;
        wish["filter"] = filter.clone();
        wish["action"] = json!(action);
        let preview = dry_run(&estate.mia, wish.clone()).await;
        assert_eq!(
            (&preview["found"], &preview["permitted"]),
            (&json!(2), &json!(1)),
            "{action}"
        );
        let run = estate.run(&estate.mia, wish).await;
        assert_eq!(result(&run), ("done", [2, 1, 0, 1]), "{action}");
        let refused = &run["properties"]["refusedTokens"][0];
        assert_eq!(refused["id"], json!(deletes), "{action}");
        let reason = refused["reason"].as_str().unwrap();
        assert!(reason.contains("nobody obtains more"), "{reason}");
    }
    // An end needs no more than the permission to write.
    let run = estate
        .run(&estate.mia, json!({"filter": filter, "action": "delete"}))
        .await;
    assert_eq!(result(&run), ("done", [2, 2, 0, 0]));
}

#[rstest]
#[actix_web::test]
async fn a_cancelled_run_does_no_further_batch(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    fill(&estate.server, &estate.registries[0], 600).await;
    let wish = json!({"filter": {"name": "t*"}, "action": "disable"});
    let preview = dry_run(&estate.mia, wish).await;
    let begun = confirm(&estate.mia, &preview, json!({})).await;
    estate.server.service.bulk().step("test").await.unwrap();
    let path = format!("/bulk/{}/cancel", id(&begun));
    let cancel = async |actor: &Actor| {
        actor
            .send(actor.request(reqwest::Method::POST, &path))
            .await
    };
    assert_eq!(
        cancel(&estate.server.analyst()).await.codes(),
        ["bulk-not-found"]
    );

    let cancelled = cancel(&estate.mia).await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    assert_eq!(result(&cancelled.json), ("cancelled", [600, 500, 0, 0]));
    estate.work().await;
    // Once more, and by an Admin, changes nothing.
    let again = cancel(&estate.admin).await;
    assert_eq!((again.status, &again.json), (200, &cancelled.json));
    assert_eq!(estate.events("kind = 'bulk'"), 2);
    let disabled = "SELECT COUNT(*) FROM tokens WHERE status = 'disabled'";
    assert_eq!(estate.server.database.number(disabled), 500);
}

#[rstest]
#[actix_web::test]
async fn a_token_that_ceases_to_pass_the_filter_is_left(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    let ids = fill(&estate.server, &estate.registries[0], 600).await;
    let wish = json!({"filter": {"state": "enabled"}, "action": "delete"});
    let preview = dry_run(&estate.mia, wish).await;
    let begun = confirm(&estate.mia, &preview, json!({})).await;
    estate.server.service.bulk().step("test").await.unwrap();
    let path = format!("/registries/{}/tokens/{}", estate.registries[0], ids[550]);
    assert_eq!(
        estate
            .mia
            .patch(&path, json!({"status": "disabled"}))
            .await
            .status,
        200
    );
    estate.work().await;
    let run = shown(&estate.mia, &begun).await;
    assert_eq!(result(&run), ("done", [600, 599, 1, 0]));
    assert_eq!(estate.mia.get("/tokens").await.json["total"], 1);
    estate.server.database.check_totals();
}

#[rstest]
#[actix_web::test]
async fn another_process_goes_on_where_one_died(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    fill(&estate.server, &estate.registries[0], 1_200).await;
    let wish = json!({"filter": {"name": "t*"}, "action": "disable"});
    let preview = dry_run(&estate.mia, wish).await;
    let begun = confirm(&estate.mia, &preview, json!({})).await;
    let bulk = estate.server.service.bulk();
    bulk.step("dead").await.unwrap();
    let replica = estate.server.replica_with(&[WITHOUT_BACKGROUND]).await;

    let elsewhere = replica.service.bulk();
    assert_eq!(elsewhere.work("alive").await.unwrap(), 0);
    estate.server.clock.advance(TimeDelta::seconds(15));
    assert_eq!(elsewhere.work("alive").await.unwrap(), 700);
    let run = shown(&estate.mia, &begun).await;
    assert_eq!(result(&run), ("done", [1200, 1200, 0, 0]));
    assert_eq!(estate.events("kind = 'update'"), 1200);
    assert_eq!(
        estate
            .server
            .database
            .number("SELECT COUNT(*) FROM leases WHERE name = 'bulk'"),
        0
    );
}

#[rstest]
#[actix_web::test]
async fn a_run_survives_a_kill(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    const TOKENS: i64 = 4_000;
    let database = Arc::new(Database::fresh(backend));
    {
        let server = Server::start_on(&database).await;
        let registry = server.admin().create_registry("team-a").await;
        fill(&server, &registry, usize::try_from(TOKENS).unwrap()).await;
    }
    let updates = "SELECT COUNT(*) FROM audit_events WHERE kind = 'update'";
    let before = database.number(updates);
    let program = Program::start(&database);
    let wish = json!({"filter": {"name": "t*"}, "action": "disable"});
    let preview = dry_run(&program.admin(), wish).await;
    let begun = confirm(&program.admin(), &preview, json!({})).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    let patience = Patience::new();
    while database.number(updates) == before {
        patience.spend("no token was changed");
    }
    program.kill();
    // So the next process need not wait.
    database.execute("UPDATE leases SET until = 0 WHERE name = 'bulk'");

    let program = Program::start(&database);
    let patience = Patience::new();
    while database.number("SELECT COUNT(*) FROM bulk_runs WHERE state = 'running'") > 0 {
        patience.spend("the run has not ended");
    }
    let run = shown(&program.admin(), &begun).await;
    assert_eq!(result(&run), ("done", [TOKENS, TOKENS, 0, 0]));
    let disabled = "SELECT COUNT(*) FROM tokens WHERE status = 'disabled' AND version = 2";
    assert_eq!(database.number(disabled), TOKENS);
    assert_eq!(database.number(updates) - before, TOKENS);
    let each = "SELECT COUNT(DISTINCT subject) FROM audit_events WHERE kind = 'update'";
    assert_eq!(database.number(each), TOKENS);
}

#[rstest]
#[actix_web::test]
async fn a_server_works_by_itself(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    admin.create_token(&registry, "ci").await;
    let wish = json!({"filter": {"name": "ci"}, "action": "disable"});
    let preview = dry_run(&admin, wish).await;
    let begun = confirm(&admin, &preview, json!({})).await;
    let patience = Patience::new();
    while shown(&admin, &begun).await["metadata"]["state"] == "running" {
        patience.spend("the run has not ended");
    }
    assert_eq!(result(&shown(&admin, &begun).await), ("done", [1, 1, 0, 0]));
}

#[rstest]
#[actix_web::test]
async fn a_filter_without_a_bound_or_with_a_mistake_is_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    let [a, b, c] = &estate.registries;
    let end = "2026-11-21T11:59:59Z";
    let name = json!({"name": "ci-*"});
    for (wish, code) in [
        (json!({"action": "disable"}), "invalid-filter"),
        (json!({"filter": {}, "action": "delete"}), "invalid-filter"),
        (
            json!({"filter": {"name": "ci", "label": []}, "action": "delete"}),
            "invalid-label",
        ),
        (
            json!({"filter": {"name": "ci", "registryId": []}, "action": "delete"}),
            "invalid-registry-id",
        ),
        (
            json!({"filter": {"name": null}, "action": "delete"}),
            "invalid-filter",
        ),
        (
            json!({"filter": {"nmae": "ci"}, "action": "delete"}),
            "invalid-body",
        ),
        (
            json!({"filter": {"state": "off"}, "action": "delete"}),
            "invalid-state",
        ),
        (
            json!({"filter": {"registryId": ["1"]}, "action": "delete"}),
            "invalid-registry-id",
        ),
        (json!({"filter": name}), "invalid-action"),
        (
            json!({"filter": name, "action": "destroy"}),
            "invalid-action",
        ),
        (
            json!({"filter": name, "action": "delete", "expiryDate": null}),
            "invalid-expiry-date",
        ),
        (
            json!({"filter": name, "action": "setExpiry"}),
            "invalid-expiry-date",
        ),
        (
            json!({"filter": name, "action": "expire", "expiryDate": end}),
            "invalid-expiry-date",
        ),
        (json!({"filter": name, "expiryDate": end}), "invalid-action"),
        (
            json!({"filter": name, "action": "delete", "maximumChange": -1}),
            "invalid-maximum-change",
        ),
        (
            json!({"filter": name, "action": "delete", "maximumChange": 0}),
            "invalid-maximum-change",
        ),
        (
            json!({"filter": name, "action": "delete", "confirmation": "AA"}),
            "invalid-confirmation",
        ),
    ] {
        let mut sent = wish.clone();
        sent["dryRun"] = json!(true);
        let answer = send(&estate.mia, sent).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (400, vec![code]),
            "{wish}: {answer:?}"
        );
    }
    let wish = json!({"filter": {"registryId": [a, b]}, "action": "delete"});
    assert_eq!(dry_run(&estate.mia, wish).await["found"], 0);
    let sent = json!({"filter": {"registryId": [c]}, "action": "delete", "dryRun": true});
    let hidden = send(&estate.mia, sent).await;
    assert_eq!(hidden.codes(), ["registry-not-found"]);
}

#[rstest]
#[actix_web::test]
async fn a_run_is_seen_by_its_actor_and_by_administrators(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    estate.one_each().await;
    let wish = json!({"filter": {"name": "ci-*"}, "action": "disable"});
    let generated = estate
        .admin
        .post(
            "/v1/apitokens/generate",
            json!({"name": "t", "role": "Admin"}),
        )
        .await;
    let bearer = estate
        .server
        .bearer(generated.json["token"].as_str().unwrap());
    let mut runs = Vec::new();
    for actor in [&estate.mia, &bearer] {
        let preview = dry_run(actor, wish.clone()).await;
        runs.push(confirm(actor, &preview, json!({})).await);
    }
    let ids: Vec<_> = runs.iter().map(id).collect();
    for (actor, seen) in [
        (&estate.mia, vec![ids[0]]),
        (&estate.admin, vec![ids[1], ids[0]]),
        (&bearer, vec![ids[1], ids[0]]),
        (&estate.server.analyst(), vec![]),
    ] {
        let list = actor.get("/bulk").await;
        let items = list.json["items"].as_array().unwrap();
        let listed: Vec<_> = items
            .iter()
            .map(|run| run["id"].as_str().unwrap())
            .collect();
        assert_eq!(
            (listed, &list.json["total"]),
            (seen.clone(), &json!(seen.len()))
        );
        for id in &ids {
            let answer = actor.get(&format!("/bulk/{id}")).await;
            let status = if seen.contains(id) { 200 } else { 404 };
            assert_eq!(answer.status, status, "{answer:?}");
        }
    }
    let page = estate.admin.get("/bulk?limit=1&offset=1").await;
    assert_eq!(
        (
            &page.json["items"][0]["id"],
            page.json["items"].as_array().unwrap().len()
        ),
        (&json!(ids[0]), 1)
    );
    assert_eq!(
        estate.admin.get("/bulk/1").await.codes(),
        ["invalid-bulk-id"]
    );
}

#[rstest]
#[actix_web::test]
async fn an_account_has_four_runs_under_way_and_four_that_end(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    estate.one_each().await;
    let wish = json!({"filter": {"name": "ci-*"}, "action": "disable"});
    // Runs that end tokens have as many places again, as others may wait for hours.
    let later = json!({"filter": {"name": "ci-*"}, "action": "setExpiry", "expiryDate": "2026-12-20T00:00:00Z"});
    for (wish, begins) in [(later, 4), (wish.clone(), 4)] {
        for place in 0..=begins {
            let preview = dry_run(&estate.mia, wish.clone()).await;
            let begun = confirm(&estate.mia, &preview, json!({})).await;
            let expected = if place < begins { 202 } else { 409 };
            assert_eq!(begun.status, expected, "{begun:?}");
            if place == begins {
                assert_eq!(begun.codes(), ["quota-exceeded"]);
            }
        }
    }
    // Another account is not concerned, and a run without tokens is over at once.
    let preview = dry_run(&estate.admin, wish).await;
    assert_eq!(
        confirm(&estate.admin, &preview, json!({})).await.status,
        202
    );
    estate.work().await;
    let wish = json!({"filter": {"name": "nobody"}, "action": "disable"});
    let preview = dry_run(&estate.mia, wish).await;
    let begun = confirm(&estate.mia, &preview, json!({})).await;
    assert_eq!(result(&begun.json), ("done", [0, 0, 0, 0]));
}

#[rstest]
#[actix_web::test]
async fn a_run_that_widens_waits_for_room_and_one_that_ends_does_not(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::with(backend, &["--changes-per-hour", "50"]).await;
    fill(&estate.server, &estate.registries[0], 150).await;
    let filter = json!({"name": "t*"});
    let run = estate
        .run(&estate.mia, json!({"filter": filter, "action": "disable"}))
        .await;
    assert_eq!(result(&run), ("done", [150, 150, 0, 0]));
    // So does one whose action would end, and that has nothing left to end: its own events are changes too.
    for action in ["enable", "disable"] {
        let preview = dry_run(&estate.mia, json!({"filter": filter, "action": action})).await;
        let refused = confirm(&estate.mia, &preview, json!({})).await;
        assert_eq!(refused.codes(), ["too-many-changes"], "{action}");
    }

    estate.server.clock.advance(TimeDelta::hours(4));
    let run = estate
        .run(&estate.mia, json!({"filter": filter, "action": "enable"}))
        .await;
    assert_eq!(result(&run), ("running", [150, 100, 0, 0]));
    assert_eq!(estate.work().await, 0);
    estate.server.clock.advance(TimeDelta::hours(4));
    estate.work().await;
    let path = format!("/bulk/{}", run["id"].as_str().unwrap());
    assert_eq!(
        result(&estate.mia.get(&path).await.json),
        ("done", [150, 150, 0, 0])
    );
}

#[rstest]
#[actix_web::test]
async fn old_runs_are_removed_with_their_lists(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    estate.one_each().await;
    let wish = json!({"filter": {"name": "ci-*"}, "action": "disable"});
    estate.run(&estate.mia, wish.clone()).await;
    estate
        .server
        .clock
        .advance(TimeDelta::days(30) - TimeDelta::microseconds(1));
    estate.server.believe_clock();
    let preview = dry_run(&estate.mia, wish).await;
    confirm(&estate.mia, &preview, json!({})).await;
    let janitor = estate.server.service.janitor();
    assert_eq!(janitor.run("test").await.unwrap().unwrap().bulk_runs, 0);
    estate.server.clock.advance(TimeDelta::microseconds(1));
    assert_eq!(janitor.run("test").await.unwrap().unwrap().bulk_runs, 1);
    // The one under way stays.
    assert_eq!(estate.mia.get("/bulk").await.json["total"], 1);
    assert_eq!(
        estate
            .server
            .database
            .number("SELECT COUNT(*) FROM bulk_refusals"),
        0
    );
}

#[rstest]
#[actix_web::test]
async fn no_more_than_a_thousand_refused_tokens_are_listed(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    fill(&estate.server, &estate.registries[1], 1_050).await;
    let wish = json!({"filter": {"name": "t*"}, "action": "disable"});
    let run = estate.run(&estate.mia, wish).await;
    assert_eq!(result(&run), ("done", [1050, 0, 0, 1050]));
    let listed = run["properties"]["refusedTokens"].as_array().unwrap();
    assert_eq!(listed.len(), 1000);
    assert_eq!(listed[999]["name"], "t999");
}

#[rstest]
#[actix_web::test]
async fn while_a_restored_database_is_frozen_no_run_goes_on(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend).await;
    estate.one_each().await;
    let wish = json!({"filter": {"name": "ci-*"}, "action": "disable"});
    let preview = dry_run(&estate.admin, wish).await;
    let begun = confirm(&estate.admin, &preview, json!({})).await;
    let restored = json!({"madeAt": "2026-11-20T00:00:00Z", "restoredAt": "2026-11-21T00:00:00Z"});
    let bytes = match backend {
        Backend::Sqlite => format!("CAST('{restored}' AS BLOB)"),
        Backend::Postgres => format!("convert_to('{restored}', 'UTF8')"),
    };
    let database = &estate.server.database;
    database.execute(&format!(
        "INSERT INTO meta (name, value) VALUES ('frozen', {bytes})"
    ));
    let freeze = estate.server.service.freeze();
    assert!(freeze.heed().await.unwrap().is_some());

    assert_eq!(estate.work().await, 0);
    let refused = confirm(&estate.admin, &preview, json!({})).await;
    assert_eq!((refused.status, refused.codes()), (503, vec!["frozen"]));
    assert_eq!(
        result(&shown(&estate.admin, &begun).await),
        ("running", [3, 0, 0, 0])
    );
    database.execute("DELETE FROM meta WHERE name = 'frozen'");
    assert!(freeze.heed().await.unwrap().is_none());
    assert_eq!(estate.work().await, 3);
}
